"""Scores of whole patients: cases worked by hand, the closed forms of the simulated cohort, and sets with known faults."""

from __future__ import annotations

import json
import tempfile
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from scoehr.data import patients, simulate
from scoehr.data.columns import Column, Columns
from scoehr.data.patients import Patients
from scoehr.files import InputError
from scoehr.metrics import Undefined, evaluation
from scoehr.metrics import whole as scores
from scoehr.metrics.registry import Members, Pair
from scoehr.metrics.whole import WHOLE

VOCABULARY = ["a", "b", "c"]


def made(stays) -> Patients:
    """From the visits of each patient over three codes."""
    found = [{"patient_id": row, "visits": visits} for row, visits in enumerate(stays)]
    return Patients.from_records(found, codes=VOCABULARY)


def cohort(n: int, seed: int) -> tuple[Patients, simulate.Sample]:
    """Simulated patients with their admissions, and how they were drawn."""
    drawn = simulate.sample(n, seed)
    shape = (len(drawn.visit_patient), len(simulate.vocabulary()))
    counts = sparse.csr_array(
        (drawn.entry_rows, (drawn.entry_visit, drawn.entry_code)), shape=shape
    )
    starts = np.concatenate([[0], np.cumsum(drawn.admissions)])
    return Patients(counts, starts, np.arange(n), simulate.vocabulary(), [""] * shape[1]), drawn


@pytest.fixture(scope="module")
def adults() -> Patients:
    """Adults of 40,000 simulated patients."""
    found, drawn = cohort(40_000, 11)
    return found[np.flatnonzero(drawn.population == 0)]


@cache
def simulated(n: int, seed: int) -> Patients:
    """Simulated patients with their columns."""
    with tempfile.TemporaryDirectory() as folder:
        simulate.write_tables(folder, patients=n, seed=seed)
        return patients.load("mimic3", folder).patients


@pytest.fixture(scope="module")
def results() -> dict:
    sets = [simulated(2500, seed) for seed in (1, 2, 3)]
    return scores.evaluate(sets[0], sets[1], train=sets[2], n=1200)


# By hand ------------------------------------------------------------------------------------------------------------


def test_recurrence_by_hand():
    found = scores.recurrence(made([[["a"], ["a", "b"], ["b"]], [["a"], []], [["c"]]]))
    assert found["at_risk"].tolist() == [
        3,
        1,
        0,
    ]  # a: visits 2 and 3 of the first, visit 2 of the second patient
    assert found["again"].tolist()[:2] == pytest.approx([1 / 3, 1])
    assert np.isnan(found["again"][2])


def test_sizes_by_hand():
    real, other = made([[["a"]], [["a", "b"]]]), made([[["a"], ["a"]], [["a", "b", "c"]]])
    found = scores.sizes(real, other)
    assert found["visits_ks"] == 1 / 2 and found["visit_codes_ks"] == pytest.approx(1 / 3)
    assert np.isnan(found["overlap_ks"])
    one = made([[["a", "b"], ["b"], ["b"], [], []], [["c"]]])
    assert scores.overlaps(one).tolist() == [1 / 2, 1, 0, 1]


def wards(ward, days, owner=None) -> Patients:
    """Visits with a ward (0, 1, or -1 for missing) and days; each of a patient of its own."""
    starts = (
        np.arange(len(ward) + 1) if owner is None else np.searchsorted(owner, range(max(owner) + 2))
    )
    column = (Column("ward", "category", ("x", "y")), Column("days", "number"))
    columns = Columns(column, (np.array(ward), np.array(days, dtype=float)), len(ward))
    n = len(starts) - 1
    counts = sparse.csr_array((len(ward), 1), dtype=np.int32)
    return Patients(counts, starts, np.arange(n), ["a"], [""], visit_columns=columns)


def test_columns_by_hand():
    real, other = wards([0, 0, 1, -1], [1, 2, 3, 4]), wards([0, 1, 1, 1], [1, 2, 9, np.nan])
    found = scores.marginals(real, other)
    assert found == pytest.approx({"category_tv": 1 / 2, "number_ks": 1 / 2, "worst_column": 1 / 2})


def test_pairs_of_columns_by_hand():
    """Equal marginals; ward and days together in one set and against each other in the other."""
    real, other = wards([0, 0, 1, 1], [1, 1, 9, 9]), wards([0, 0, 1, 1], [9, 9, 1, 1])
    found = scores.facts(Pair(real, other))
    apart = scores._apart(
        *(scores._joint(rows, rows) for rows in (found.real, found.synthetic)), found.of
    )
    assert apart == pytest.approx(np.array([[0, 1, 0], [1, 0, 0], [0, 0, 0]]))
    assert scores.pair_variation(*found) == pytest.approx(1 / 3)
    assert np.isnan(scores.pair_variation(*scores.facts(Pair(made([[["a"]]]), made([[["b"]]])))))


def test_moves_by_hand():
    owner = [0, 0, 1, 1]
    real, other = wards([0, 0, 1, 1], [1] * 4, owner), wards([0, 1, 1, 0], [1] * 4, owner)
    found = scores.moves(*scores._successive(Pair(real, other)))
    assert found == pytest.approx(1 / 3)  # of ward, days and the code the ward alone: 1


def test_readmission_is_of_the_visit_before():
    one = wards([0] * 5, [np.nan, 30, 31, np.nan, 2], [0, 0, 0, 1, 1])
    assert scores.outcome("readmission", one).tolist() == [1, 0, 0, 1, 0]
    with pytest.raises(Undefined, match="no column says death"):
        scores.outcome("death", one)


def test_summaries_by_hand():
    one = made([[["a", "b"], ["b"], ["b", "c"]], []])
    often, shape = [1, 3, 1], [3, 5, 2, 2]  # visits, codes, those that came again, at once
    assert scores.summaries(one, np.arange(3)).tolist() == [often + shape, [0] * 7]
    two = wards([0, 1, 1], [np.nan, 4, 5], [0, 0, 0])
    first, last, changed = [0, scores.MISSING], [1, 5], [1, 2]
    expected = [*first, *last, *changed, 0, 3, 0, 0, 0]
    assert scores.summaries(two, np.arange(1)).tolist() == [expected]


def test_levels_of_other_orders_are_one_column():
    real, other = wards([0, 1], [1, 2]), wards([0, 1], [1, 2])
    swapped = Columns(
        (Column("ward", "category", ("y", "x")), other.visit_columns.columns[1]),
        other.visit_columns.values,
        2,
    )
    _, moved = scores.aligned(real, replace(other, visit_columns=swapped))
    assert moved.visit_columns.of("ward").tolist() == [1, 0]
    with pytest.raises(InputError, match="column ward: a set lacks it"):
        scores.aligned(real, made([[["a"]]]))


# The closed forms of the simulated cohort ---------------------------------------------------------------------------


def test_chronic_codes_recur_at_the_rate_of_the_law(adults):
    """Who has a chronic condition has it for good, and each admission records it with probability rho."""
    law, found = simulate.laws()[0], scores.recurrence(adults)
    chronic = np.flatnonzero(law.recurring & (found["at_risk"] >= 100))
    assert len(chronic) > 20
    rho, risk = law.recurs[chronic], found["at_risk"].to_numpy()[chronic]
    z = (found["again"].to_numpy()[chronic] - rho) / np.sqrt(rho * (1 - rho) / risk)
    assert np.abs(z).max() < 4 and np.sqrt(np.mean(z**2)) < 1.4


# Faults that are known ----------------------------------------------------------------------------------------------


def test_every_score_has_a_value_in_its_range_and_its_interval(results):
    for key, metric in WHOLE.items():
        name = key.removeprefix("whole.")
        made = results["whole"][name]
        points = [point["whole"][name] for point in results["reference"].values()]
        assert all(metric.low <= value <= metric.high for value in (made, *points)), key
        if metric.measure.interval:
            low, high = results["interval"][key]
            assert low <= made <= high and high > low
    assert list(results["reference"]) == list(scores.REFERENCES) and not results["notes"]
    json.dumps(results, allow_nan=False)


def test_fresh_patients_score_like_the_floor_and_independent_columns_do_not(results):
    for key, gap in results["gap"].items():
        marginal = WHOLE[key].marginal or "auroc" in key or "pair_variation" in key  # of so few
        assert gap is not None or marginal, key
        assert gap is None or abs(gap) < 0.6 or marginal, (key, gap)


def test_shuffled_visits_are_right_within_and_wrong_across(results):
    real, shuffled = (results["reference"][name]["whole"] for name in ("real", "shuffled"))
    for name in ("visits_ks", "visit_codes_ks", "category_tv", "number_ks"):
        assert shuffled[name] == pytest.approx(real[name], abs=1e-6)
    for name in ("recurrence_mae", "overlap_ks", "moves_variation"):
        assert shuffled[name] > 1.5 * real[name], name
    assert shuffled["discriminator_auc_returning"] > real["discriminator_auc_returning"] + 0.15


def test_independent_columns_keep_their_values_and_break_rules(results):
    found = simulated(1000, 5)
    other = scores.independent_facts(found, np.random.default_rng(0))
    assert np.array_equal(found.counts.sum(axis=0), other.counts.sum(axis=0))
    for one, again in zip(found.visit_columns.values, other.visit_columns.values, strict=True):
        assert np.array_equal(np.sort(one), np.sort(again), equal_nan=one.dtype.kind == "f")
    broken = {name: point["whole"]["rules_broken"] for name, point in results["reference"].items()}
    assert broken["independent"] > 0.2 > 0.02 > broken["real"] and broken["copy"] == 0


def test_a_copy_is_perfect():
    found = simulated(1000, 6)
    said = evaluation.score(WHOLE, Pair(found, found, Members(found, found))).values
    for key, metric in WHOLE.items():
        if metric.ideal == 0:
            assert said[key] == pytest.approx(0, abs=1e-6)
    assert said["whole.rules_broken"] == 0


def test_curves_sum_to_all_and_show_no_small_numbers():
    one, other = simulated(1000, 6), simulated(1000, 7)
    found = scores.curves(one, other)
    for name in ("numbers", "sizes"):
        for side in ("real", "synthetic"):
            assert sum(found[name][side]) == pytest.approx(1)
    assert found["numbers"]["real"][-1] * len(one) >= scores.ENOUGH
    at_risk = scores.recurrence(one)["at_risk"]
    assert len(found["recurrence"]["code"]) == (at_risk >= scores.AT_RISK).sum() > 5
    assert found["columns"]["column"] == [*one.columns.names, *one.visit_columns.names]


stays = st.lists(
    st.lists(st.lists(st.sampled_from(VOCABULARY), max_size=3), max_size=4), min_size=1, max_size=8
)


@settings(max_examples=40, deadline=None)
@given(stays, stays, st.randoms())
def test_any_visits_have_scores_in_range_whatever_the_order_of_patients(one, other, random):
    found = evaluation.score(WHOLE, Pair(made(one), made(other))).values
    for key, value in found.items():
        low, high = WHOLE[key].low, WHOLE[key].high
        assert value is None or low - 1e-9 <= value <= high + 1e-9
    random.shuffle(other)
    again = evaluation.score(WHOLE, Pair(made(one), made(other))).values
    assert {k: v for k, v in found.items() if v is not None} == pytest.approx(
        {k: v for k, v in again.items() if v is not None}, abs=1e-5
    )


def test_few_patients_are_undefined_and_too_many_are_refused():
    few = made([[["a"], ["b"]]] * 5)
    found = scores.evaluate(few, few)
    assert found["whole"]["discriminator_auc"] is None and found["n"]["rows"] == 2
    assert "at least 20" in found["notes"]["whole.discriminator_auc"]
    assert found["notes"]["whole.rules_broken"] == "no training set was given"
    with pytest.raises(InputError, match="smallest set has 5"):
        scores.evaluate(few, few, train=few, n=6)
