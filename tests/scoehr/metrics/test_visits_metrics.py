"""Scores of admissions: cases worked by hand, the closed forms of the simulated cohort, and sets with known faults."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from scoehr.data import simulate
from scoehr.data.patients import Patients
from scoehr.files import InputError
from scoehr.metrics import Undefined
from scoehr.metrics import visits as scores
from scoehr.metrics.visits import VISIT_METRICS, VISIT_REFERENCES

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


@pytest.fixture(scope="module")
def results() -> dict:
    sets = [cohort(2500, seed)[0] for seed in (1, 2, 3)]
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


def test_new_shares_by_hand():
    found = scores.new_shares(made([[["a"], ["a", "b"], ["b", "c", "a"]], [["a"], ["b"]]]))
    assert found.loc[2].tolist() == pytest.approx([2, 2 / 3])  # of a, b and b two are new
    assert found.loc[3].tolist() == pytest.approx([1, 1 / 3])
    assert found.loc[4, "visits"] == 0 and np.isnan(found.loc[4, "new"])


def test_probabilities_by_hand():
    one = made([[["a", "b"], ["a"]], [["c"]]])
    found = {name: value.toarray().tolist() for name, value in scores._probabilities(one).items()}
    third = pytest.approx(1 / 3)
    assert found["unigram"][0] == pytest.approx([2 / 3, 1 / 3, 1 / 3])
    assert found["within"] == [[0, third, 0], [0, 0, 0], [0, 0, 0]]
    assert found["across"] == [[1, 0, 0], [1, 0, 0], [0, 0, 0]]


def test_r2_is_over_every_pair_that_can_be():
    """The pairs (a, b), (a, c), (b, c) have probabilities 1/2, 0, 0 in truth and 1/2, 1/2, 0 here."""
    real, other = made([[["a", "b"]], [["c"]]]), made([[["a", "b"]], [["a", "c"]]])
    truth, found = np.array([0.5, 0, 0]), np.array([0.5, 0.5, 0])
    by_hand = 1 - np.square(truth - found).sum() / np.square(truth - truth.mean()).sum()
    assert scores.probabilities(real, other)["within_r2"] == pytest.approx(by_hand)
    across = [[1, 0, 0], [1, 0, 0], [0, 0, 0]]
    real, other = made([[["a", "b"], ["a"]]]), made([[["a"], ["a"]]])
    left = np.square(np.array(across) - np.mean(across)).sum()
    assert scores.probabilities(real, other)["across_r2"] == pytest.approx(1 - 1 / left)


def test_correlations_are_those_of_numpy():
    rng = np.random.default_rng(0)
    sets = [
        made([[[c for c in VOCABULARY if rng.random() < 0.5] for _ in range(3)] for _ in range(30)])
        for _ in range(2)
    ]
    within, across = [], []
    for found in sets:
        x, later = found.presence().toarray(), np.flatnonzero(found.order)
        within.append(np.corrcoef(x.T))
        across.append(np.corrcoef(x[later - 1].T, x[later].T)[:3, 3:])
    said = scores.correlations(*sets)
    assert said["within_difference"] == pytest.approx(
        np.abs(within[0] - within[1]).sum() / 6, abs=1e-5
    )
    assert said["across_difference"] == pytest.approx(
        np.abs(across[0] - across[1]).mean(), abs=1e-5
    )


def test_sizes_by_hand():
    real, other = made([[["a"]], [["a", "b"]]]), made([[["a"], ["a"]], [["a", "b", "c"]]])
    assert scores.sizes(real, other) == pytest.approx({"visits_ks": 1 / 2, "visit_codes_ks": 1 / 3})


def test_summaries_by_hand():
    rows = scores.summaries(made([[["a", "b"], ["b"], ["b", "c"]], []])).toarray()
    assert rows[0].tolist() == [3, 5, 3, 2, 2, 1, 2, *(1, 1, 0), *(0, 0, 1), *(0, 2, 0)]
    assert rows[1].tolist() == [0] * 16


# The closed forms of the simulated cohort ---------------------------------------------------------------------------


def test_chronic_codes_recur_at_the_rate_of_the_law(adults):
    """Who has a chronic condition has it for good, and each admission records it with probability rho."""
    law, found = simulate.laws()[0], scores.recurrence(adults)
    chronic = np.flatnonzero(law.recurring & (found["at_risk"] >= 100))
    assert len(chronic) > 20
    rho, risk = law.recurs[chronic], found["at_risk"].to_numpy()[chronic]
    z = (found["again"].to_numpy()[chronic] - rho) / np.sqrt(rho * (1 - rho) / risk)
    assert np.abs(z).max() < 4 and np.sqrt(np.mean(z**2)) < 1.4


def test_codes_and_chronic_pairs_across_admissions_have_the_probability_of_the_law(adults):
    """An admission records code c with probability holds (rho or 1); two in a row a chronic one with holds rho²."""
    law, found = simulate.laws()[0], scores._probabilities(adults)
    holds = sum(
        part
        * (1 - simulate._absence(law.base, law.extra, law.phenotype_shares, level).prod(axis=0))
        for level, part in simulate.COMPLEXITY
    )
    often = np.flatnonzero(holds > 0.02)
    expected = (holds * np.where(law.recurring, law.recurs, 1))[often]
    assert found["unigram"].toarray()[0][often] == pytest.approx(expected, rel=0.12)
    chronic = np.flatnonzero(law.recurring & (holds > 0.05))
    pairs = np.diag(found["across"].toarray())[chronic]
    assert len(chronic) > 10 and pairs == pytest.approx((holds * law.recurs**2)[chronic], rel=0.2)


# Faults that are known ----------------------------------------------------------------------------------------------


def test_every_score_has_a_value_in_its_range_and_its_interval(results):
    for name, metric in VISIT_METRICS.items():
        values = [
            results["visits"][name],
            *(point[name] for point in results["reference"].values()),
        ]
        low, high = results["interval"][name]
        assert low <= values[0] <= high and high > low
        for value in values:
            assert (metric.low is None or value >= metric.low) and (
                metric.high is None or value <= metric.high
            )
    assert list(results["reference"]) == list(VISIT_REFERENCES)
    json.dumps(results, allow_nan=False)


def test_fresh_patients_score_like_the_floor_and_independent_codes_do_not(results):
    for name, gap in results["gap"].items():
        assert (gap is None) == VISIT_METRICS[name].marginal or name == "across_r2", name
        assert gap is None or abs(gap) < (1 if name.startswith("across") else 0.25), (name, gap)


def test_shuffled_admissions_are_right_within_and_wrong_across(results):
    real, shuffled = (results["reference"][name] for name in ("real", "shuffled"))
    for name in ("visits_ks", "visit_codes_ks", "unigram_r2", "within_r2", "within_difference"):
        assert shuffled[name] == pytest.approx(real[name], abs=1e-6)
    assert shuffled["recurrence_mae"] > 3 * real["recurrence_mae"]
    assert shuffled["new_share_mae"] > 3 * real["new_share_mae"]
    assert shuffled["across_r2"] < real["across_r2"]
    assert shuffled["discriminator_auc_returning"] > real["discriminator_auc_returning"] + 0.15


def test_independent_codes_keep_their_shares():
    found, _ = cohort(2000, 5)
    other = scores.independent_codes(found, np.random.default_rng(0))
    shares, again = (visits.presence().mean(axis=0) for visits in (found, other))
    assert np.abs(shares - again).max() < 4 * np.sqrt(0.25 / found.starts[-1])
    assert np.array_equal(found.starts, other.starts)


def test_a_code_of_every_admission_is_no_share_above_one():
    found = made([[["a"]]] * 10)  # whose mean, in 32 bits, rounds above 1
    assert scores.independent_codes(found, np.random.default_rng(0)).counts.sum() == 10


def test_a_copy_is_perfect():
    found, _ = cohort(1000, 6)
    said = scores.score(found, found)
    for name, metric in VISIT_METRICS.items():
        if not name.startswith("discriminator"):
            assert said[name] == pytest.approx(metric.ideal, abs=1e-6)


def test_curves_sum_to_all_and_show_no_small_numbers():
    one, other = cohort(1000, 6)[0], cohort(1000, 7)[0]
    found = scores.curves(one, other)
    for name in ("numbers", "sizes"):
        for side in ("real", "synthetic"):
            assert sum(found[name][side]) == pytest.approx(1)
    assert found["numbers"]["real"][-1] * len(one) >= scores.ENOUGH
    assert (
        len(found["recurrence"]["code"])
        == (scores.recurrence(one)["at_risk"] >= scores.AT_RISK).sum()
        > 5
    )


stays = st.lists(
    st.lists(st.lists(st.sampled_from(VOCABULARY), max_size=3), max_size=4), min_size=1, max_size=8
)


@settings(max_examples=40, deadline=None)
@given(stays, stays, st.randoms())
def test_any_admissions_have_scores_in_range_whatever_the_order_of_patients(one, other, random):
    found = scores.score(made(one), made(other))
    for name, value in found.items():
        low, high = VISIT_METRICS[name].low, VISIT_METRICS[name].high
        assert value is None or (
            (low is None or value >= low - 1e-9) and (high is None or value <= high + 1e-9)
        )
    random.shuffle(other)
    again = scores.score(made(one), made(other))
    assert {k: v for k, v in found.items() if v is not None} == pytest.approx(
        {k: v for k, v in again.items() if v is not None}, abs=1e-5
    )


def test_few_patients_are_undefined_and_too_many_are_refused():
    few = made([[["a"], ["b"]]] * 5)
    with pytest.raises(Undefined, match="at least 20"):
        scores.discriminate(few, few)
    assert scores.score(few, few)["discriminator_auc"] is None
    with pytest.raises(InputError, match="smallest set has 5"):
        scores.evaluate(few, few, train=few, n=6)
