"""Associations, calibration and support: known answers, planted faults, and the exact law of the simulated cohort."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from toy import Toy

from scoehr.data import simulate
from scoehr.data.matrix import CodeMatrix
from scoehr.files import InputError
from scoehr.metrics import METRICS, Undefined, validity
from scoehr.metrics.arrays import checked, independent_columns
from scoehr.metrics.registry import Members, Pair

NAMES = [key for key in METRICS if key.startswith("validity.")]


@pytest.fixture(scope="module")
def cohort():
    """Held-out, training and fresh patients of the simulated cohort."""
    drawn = simulate.sample_matrix(9_000, 3)
    return [drawn.take(np.arange(3_000) + 3_000 * k) for k in range(3)]


def scores(real, synthetic, train) -> dict[str, float]:
    rows = [checked(matrix) for matrix in (real, synthetic, train)]
    pair = Pair(*rows[:2], Members(rows[2], rows[2]))
    measures = {METRICS[key].measure: None for key in NAMES}
    return {key: value for measure in measures for key, value in measure(pair).items()}


@pytest.fixture(scope="module")
def found(cohort):
    """Scores of fresh patients, of independent columns and of one patient who is everybody."""
    real, train, fresh = (matrix.counts for matrix in cohort)
    alone = independent_columns(checked(fresh), np.random.default_rng(0))
    sets = {"fresh": fresh, "independent": alone, "one": fresh[np.zeros(3_000, dtype=int)]}
    return {name: scores(real, rows, train) for name, rows in sets.items()}


def test_every_score_puts_fresh_patients_before_independent_columns(found):
    for key in NAMES:
        if key != "validity.calibration_error_real":  # of the real patients alone
            metric, fresh = METRICS[key], found["fresh"][key]
            ideal = metric.ideal if metric.better == "target" else fresh
            assert metric.distance(found["independent"][key], ideal) > metric.distance(
                fresh, ideal
            ), key


def test_one_patient_copied_is_worse_still_in_support(found):
    for name in ("alpha_precision", "beta_recall"):
        assert found["one"][f"validity.{name}"] < found["independent"][f"validity.{name}"]


def test_intervals_of_fresh_patients_cover_as_often_as_they_say(found):
    assert found["fresh"]["validity.odds_coverage"] == pytest.approx(0.95, abs=0.025)
    assert found["fresh"]["validity.calibration_slope"] == pytest.approx(1, abs=0.15)


def test_a_score_without_a_training_set_has_a_reason(cohort):
    real, _, fresh = (checked(matrix.counts) for matrix in cohort)
    with pytest.raises(Undefined, match="no training set"):
        METRICS["validity.calibration_error"](real, fresh)
    assert METRICS["validity.odds_mae"](real, fresh) > 0


# Associations -------------------------------------------------------------------------------------------------------


def test_log_odds_by_hand():
    present = np.zeros((100, 2))
    present[:30, 0], present[20:60, 1] = 1, 1  # both: 10, first: 20, second: 30, neither: 40
    (value,), (error,), (meetings,) = validity.log_odds(
        validity.joint(present), 100, np.array([[0, 1]])
    )
    assert value == pytest.approx(np.log(10.5 * 40.5 / (20.5 * 30.5)))
    assert error == pytest.approx(np.sqrt(1 / 10.5 + 1 / 40.5 + 1 / 20.5 + 1 / 30.5))
    assert meetings == pytest.approx(12)


def test_pairs_are_registered_without_a_look_at_who_has_both():
    rng = np.random.default_rng(0)
    present = (rng.random((2_000, 40)) < 0.2).astype(float)
    shuffled = np.column_stack([rng.permutation(column) for column in present.T])
    one, other = (
        validity.registered_pairs(validity.by_chance(validity.joint(rows), 2_000))
        for rows in (present, shuffled)
    )
    assert np.array_equal(one, other) and len(one) == validity.PAIRS
    assert len(validity.registered_pairs(np.zeros((40, 40)))) == 0


def test_an_empty_table_agrees_with_nothing():
    rows = Toy(codes=60, mean_cell=0.2).sample(500, 0)
    assert METRICS["validity.odds_coverage"](rows, rows) == 1
    assert METRICS["validity.odds_coverage"](rows, rows * 0) == 0


def test_pairs_never_seen_together_are_found():
    rng = np.random.default_rng(0)
    real = (rng.random((1_000, 30)) < 0.2).astype(float)
    real[:, 1] = np.where(real[:, 0] > 0, 0, rng.random(1_000) < 0.3)
    made = real.copy()
    made[:50, :2] = 1
    assert METRICS["validity.strange_pairs"](real, real) == 0
    assert METRICS["validity.strange_pairs"](real, made) == pytest.approx(0.05)


def test_a_subgroup_that_is_wrong_is_the_worst():
    rng = np.random.default_rng(0)
    real = (rng.random((4_000, 20)) < np.linspace(0.5, 0.2, 20)).astype(float)
    made = real.copy()
    made[:, 19] = np.where(real[:, 0] > 0, 1, 0)
    right, wrong = (validity.associations(real, rows) for rows in (real, made))
    assert right["subgroup_worst"] == 0
    assert wrong["subgroup_worst"] > 1.2 * wrong["subgroup_mae"] > 0


# Calibration --------------------------------------------------------------------------------------------------------


def test_risks_that_mean_what_they_say():
    rng = np.random.default_rng(0)
    risk = rng.random(20_000)
    truth = rng.random(20_000) < risk
    assert validity.calibration_error(risk, truth) < 0.01
    assert validity.calibration_slope(risk, truth) == pytest.approx(1, abs=0.05)
    extreme = risk**3 / (risk**3 + (1 - risk) ** 3)  # log odds times three
    assert validity.calibration_slope(extreme, truth) == pytest.approx(1 / 3, abs=0.02)
    assert validity.calibration_error(np.full(20_000, 0.8), truth) == pytest.approx(0.3, abs=0.01)


def test_models_are_tested_on_synthetic_patients_as_on_real_ones():
    same = np.repeat(np.random.default_rng(0).random((5, 1, 4)), 2, axis=1)
    assert validity.tested(same) == {"tested_auroc_mae": 0, "tested_ranking": 1}
    turned = np.stack([same[:, 0], 1 - same[:, 0]], axis=1)
    assert validity.tested(turned)["tested_ranking"] == 0


# Support ------------------------------------------------------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(
    arrays(int, (9, 6), elements=st.integers(0, 1)), arrays(int, (7, 6), elements=st.integers(0, 1))
)
def test_nearest_rows_are_those_of_every_pair(rows, others):
    apart = np.abs(rows[:, None] - others[None]).sum(axis=2)
    distance, which = validity._closest(checked(rows), checked(others))
    assert np.array_equal(distance, apart.min(axis=1))
    assert np.array_equal(apart[np.arange(9), which], distance)


def test_a_set_covers_itself_and_nothing_far_away():
    rows = Toy(codes=60, mean_cell=0.2).sample(300, 0)
    assert METRICS["validity.alpha_precision"](rows, rows) == 1
    far = np.ones((300, 60))
    assert METRICS["validity.alpha_precision"](rows, far) == pytest.approx(0, abs=0.05)


# The law ------------------------------------------------------------------------------------------------------------


def test_the_law_holds_for_patients_drawn_from_it(cohort):
    law = validity.against_law(simulate.sample_matrix(10_000, 4))
    assert law["odds_coverage"] == pytest.approx(0.95, abs=0.02)
    assert law["prevalence_coverage"] >= 0.9 and abs(law["odds_bias"]) < 0.05
    assert law["impossible"] == 0


def test_patients_whom_no_population_has_are_counted(cohort):
    real, (adults, *newborns) = cohort[0], simulate.laws()
    born = np.any([law.base > 0 for law in newborns], axis=0)
    rows = np.zeros((100, len(real.codes)))
    rows[:, np.flatnonzero((adults.base > 0) & ~born)[0]] = 1
    rows[:25, np.flatnonzero(born & (adults.base == 0))[0]] = 1
    found = validity.against_law(CodeMatrix.from_array(rows, real.codes))
    assert found["impossible"] == 0.25


def test_other_codes_have_no_law():
    with pytest.raises(InputError, match="simulated cohort"):
        validity.against_law(CodeMatrix.from_array(np.ones((3, 2)), ["x", "y"]))
