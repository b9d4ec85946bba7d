"""Predictors taught by synthetic visits: the sets, the parts, and the row of the plan."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from companions.dualk import (
    baselines,
    bridge,
    cohorts,
    evaluate,
    experiments,
    prepare,
    results,
    signal,
)
from companions.dualk.batches import Feed
from reproduction import runs
from scoehr.data.patients import Patients
from scoehr.metrics.whole import shuffled_visits


@pytest.fixture(scope="module")
def records():
    return prepare.load("simulated", digits="three", simulated=900, seed=3)


@pytest.fixture(scope="module")
def parts(records):
    return cohorts.split(records)


def recall(records, parts):
    """Recall@20 of recurrence rates on the test part."""
    feed = Feed(records)
    truth = feed.answers(parts.test).toarray() > 0
    found = baselines.recurrence(feed, parts, parts.test)
    return np.nanmean(evaluate.recall(evaluate.hits(found, truth, 20), truth.sum(axis=1), 20))


def test_test_patients_stay_real_and_stand_in_no_other_part(records, parts):
    made = signal.as_visits(records, parts.pretrain)
    joined, cut = signal.with_test(records, made, parts.test)
    before, after = Feed(records), Feed(joined)
    assert (before.answers(parts.test) != after.answers(cut.test)).nnz == 0
    assert (before.history(parts.test)[0] != after.history(cut.test)[0]).nnz == 0
    every = np.concatenate(cut)
    assert len(np.unique(every)) == len(every) == len(joined.patients)
    assert len(cut.train) + len(cut.validation) == len(parts.train)
    assert not joined.labs.nnz


def test_a_patient_with_a_visit_without_codes_teaches_nothing(records, parts):
    real = signal.as_visits(records, parts.train[:10])
    keep = np.ones(real.counts.shape[0])
    keep[real.starts[3]] = 0
    counts = sparse.csr_array(sparse.diags_array(keep) @ real.counts, dtype=np.int32)
    counts.eliminate_zeros()
    made = Patients(counts, real.starts, real.patients, real.codes, real.titles)
    _, cut = signal.with_test(records, made, parts.test)
    assert len(cut.train) + len(cut.validation) == 9


def test_visits_permuted_among_patients_teach_less_than_real_ones(records, parts):
    real = signal.as_visits(records, np.concatenate([parts.pretrain, parts.validation]))
    dealt = shuffled_visits(real, np.random.default_rng(0))
    found = [recall(*signal.with_test(records, made, parts.test)) for made in (real, dealt)]
    assert found[0] > found[1] + 0.02


def test_the_row_is_made_and_its_tables_and_sentences_are_shown(tmp_path, monkeypatch):
    for module in (runs, experiments, prepare):
        monkeypatch.setattr(module, "ROOT", tmp_path)
    row = experiments.plan("simulated", None, "tiny", 0)["signal"]
    run = experiments.run(row, progress=False)
    table = results.signal_table(run)
    assert list(table.index) == list(signal.SETS.values()) and table.shape[1] <= 6
    assert len(results.signal_differences(run).axes) == len(signal.PREDICTORS)
    assert "keep" in results.signal_kept(run)
    same = run.metrics["scores"]["real"]["retain"]["less recall@20"]
    assert same["value"] == same["low"] == same["high"] == 0
    beside = experiments.run(replace(row, name="bridge", kind="bridge"), progress=False)
    table = results.bridge_table(beside)
    assert list(table) == list(bridge.FIGURES.values()) and len(table) == 5
    assert beside.metrics["visits"]["synthetic"] and "[" in table.iloc[0, 0]
    apart = {"less edges_recovered": {"value": -0.4, "low": -0.5, "high": -0.3}}
    less = {"less edges_recovered": {"value": -0.1, "low": -0.12, "high": -0.08}}
    scores = dict(zip(bridge.TITLES, ({}, less, apart), strict=True))
    told = SimpleNamespace(metrics={"scores": scores}, experiment=row)
    assert "keep: 75 [70, 80] % (edges recovered). The" in results.bridge_kept(told)


def test_a_change_over_seeds_is_the_mean_and_its_interval_holds_the_seeds():
    draws = [pd.Series(np.full(200, value)) for value in (0.1, 0.2, 0.3)]
    one = results._mean([(0.1, draws[0])])
    assert (one.value, one.low, one.high, one.n) == pytest.approx((0.1, 0.1, 0.1, 1))
    three = results._mean([(float(part[0]), part) for part in draws])
    assert three.value == pytest.approx(0.2) and three.n == 3
    assert 0.1 <= three.low < 0.15 and 0.25 < three.high <= 0.3
