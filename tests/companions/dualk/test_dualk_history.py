"""The network of the history: what it learns beyond rates of recurrence, and never sees."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import sparse, special
from sklearn.metrics import average_precision_score

from companions.dualk import baselines, experiments, history, rates
from companions.dualk.batches import Feed
from companions.dualk.cohorts import Split
from companions.dualk.history import HistoryConfig
from tests.companions.dualk.test_dualk_evaluate import chronic as chronic

CONFIG = HistoryConfig(
    width=16, dropout=0.0, pretraining_epochs=2, epochs=30, batch=32, retain_rate=0.01
)


@pytest.fixture(scope="module")
def followed(chronic):
    """Patients whose code 3 at a visit brings code 4 at the next, which no visit before had."""
    records, parts = chronic
    cells = records.visit_codes.toarray()
    rng = np.random.default_rng(1)
    cause = rng.random(len(records.patients)) < 0.5
    cells[:, 3:5] = 0
    cells[1::3, 3], cells[2::3, 4] = cause, cause
    return replace(records, visit_codes=sparse.csr_array(cells)), parts


def learnt(records, parts, **more):
    net, feed, rows = history.learn(
        records, parts, replace(CONFIG, **more), seed=0, store=None, progress=False
    )
    return baselines.logits_of(net, feed, parts.test), rows


def test_every_visit_after_the_first_is_an_answer(chronic):
    records, _ = chronic
    patients = np.array([5, 2])
    every = history.prefixes(records, patients)
    assert every.visits.tolist() == [2, 3, 2, 3]
    whole, part = Feed(records), Feed(every)
    assert np.array_equal(
        part.answers(np.array([1, 3])).toarray(), whole.answers(patients).toarray()
    )
    second = records.visit_codes[records.first[patients] + 1].toarray() > 0
    assert np.array_equal(part.answers(np.array([0, 2])).toarray() > 0, second)
    assert np.array_equal(every.days, np.tile([0.0, 1, 0, 1, 2], 2))


def test_it_starts_as_the_rates_of_recurrence(chronic):
    records, parts = chronic
    feed = Feed(records)
    net = history.HistoryNet(records.targets, 0, CONFIG).eval()
    net.rates[:] = torch.from_numpy(rates.table(feed, parts.train))
    made = baselines.logits_of(net, feed, parts.test)
    assert np.allclose(made, baselines.recurrence(feed, parts, parts.test), atol=1e-6)


def test_new_codes_are_known_from_others_where_rates_know_nothing(followed):
    records, parts = followed
    truth = Feed(records).answers(parts.test).toarray()[:, 4]
    found, rows = learnt(records, parts)
    alone = baselines.recurrence(Feed(records), parts, parts.test)
    assert average_precision_score(truth, found[:, 4]) > 0.95
    assert average_precision_score(truth, alone[:, 4]) < 0.75
    stages = [row["stage"] for row in rows]
    assert stages == ["masked codes"] * 2 + ["histories"] * 30 + ["Retain"] * 10


def test_masked_pretraining_learns_which_codes_go_together(chronic):
    records, parts = chronic
    cells = records.visit_codes.toarray()
    cells[:, 6] = cells[:, 5]
    twins = replace(records, visit_codes=sparse.csr_array(cells))
    feed = Feed(twins)
    net = history.HistoryNet(records.targets, 0, CONFIG)
    config = replace(CONFIG, pretraining_epochs=60, learning_rate=0.02)
    how = {"facts": "", "seed": 0, "store": None, "progress": False}
    history.pretrain(net, feed, parts, config, **how)
    batch = feed.batch(parts.test)
    shown = [torch.zeros_like(batch.last) for _ in range(2)]
    shown[1][:, 5] = 1
    without, with_it = (
        net(batch._replace(last=part, ever=part)).detach()[:, 6].mean() for part in shown
    )
    assert special.expit(with_it) > 2 * special.expit(without)


def test_no_answer_of_a_test_patient_is_seen(followed):
    records, parts = followed
    cells = records.visit_codes.toarray()
    last = records.first[parts.test + 1] - 1
    cells[last] = 1 - (cells[last] > 0)
    other = replace(records, visit_codes=sparse.csr_array(cells))
    one, another = (learnt(each, parts, epochs=2)[0] for each in (records, other))
    assert np.array_equal(one, another)


def test_shuffled_answers_are_those_of_the_given_patients_alone(chronic):
    records, parts = chronic
    parts = Split(parts.single, parts.train, parts.validation, parts.test)
    dealt = experiments.shuffled(records, parts.train, seed=3)
    before, after = (each.visit_codes.toarray() for each in (records, dealt))
    last = records.first[parts.train + 1] - 1
    others = np.setdiff1d(np.arange(len(before)), last)
    assert np.array_equal(before[others], after[others])
    assert not np.array_equal(before[last], after[last])
    assert np.array_equal(np.sort(before[last], axis=0), np.sort(after[last], axis=0))
