"""Copies, singling out, linkability and inference: planted leaks are found, and nothing where there is none."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse
from toy import Toy

from scoehr.metrics import RISKS, Undefined, evaluation
from scoehr.metrics.arrays import checked, independent_columns
from scoehr.metrics.disclosure import _closest, _fits_one, risk
from scoehr.metrics.registry import Members, Pair

N = 1500
ATTACKS = ("copying", "singling_out", "linkability", "inference")


@pytest.fixture(scope="module")
def sets():
    """Held-out, training and fresh patients."""
    toy = Toy(codes=200, mean_cell=0.05)
    return [checked(toy.sample(N, seed)) for seed in range(3)]


def risks(real, synthetic, train) -> tuple[dict, dict]:
    pair = Pair(real, synthetic, Members(train, train))
    scores = evaluation.score(RISKS, pair).values
    return scores, evaluation.intervals(RISKS, pair, scores)


def test_fresh_patients_and_independent_columns_put_nobody_at_risk(sets):
    real, train, fresh = sets
    for made in (fresh, independent_columns(fresh, np.random.default_rng(0))):
        scores, intervals = risks(real, made, train)
        for name in ATTACKS:
            low, high = intervals[f"{name}_risk"]
            assert low <= scores[f"{name}_risk"] <= high
            assert scores[f"{name}_risk"] == pytest.approx(0, abs=0.08), name


def test_a_copy_of_everybody_is_found_by_all(sets):
    real, train, _ = sets
    scores, intervals = risks(real, train, train)
    for name in ATTACKS:
        assert intervals[f"{name}_risk"][0] > 0.1, name
        assert scores[f"{name}_success"] > scores[f"{name}_control"], name
    assert scores["copying_success"] == 1 and scores["inference_success"] > 0.95


def test_one_copy_in_five_is_told_from_chance(sets):
    real, train, fresh = sets
    made = checked(sparse.vstack([fresh[: 4 * N // 5], train[: N // 5]]))
    _, intervals = risks(real, made, train)
    for name in ("copying", "singling_out", "linkability"):
        assert intervals[f"{name}_risk"][0] > 0, name


def test_a_leak_of_one_code_is_found_by_inference_alone(sets):
    """Fresh patients with the secret codes of the training patients nearest to them."""
    real, train, _ = sets
    scores, _ = risks(real, train, train)
    held, _ = risks(train, train, real)  # the other way round: those never seen are in the table
    assert scores["inference_risk"] > 0.9 > 0 > held["inference_risk"]


def test_risk_by_hand():
    train, control, baseline = np.array([1, 1, 1, 0]), np.array([1, 0, 0, 0]), np.zeros(4)
    found = risk("a", train, control, baseline)
    assert found == pytest.approx(
        {"a_risk": 2 / 3, "a_success": 0.75, "a_control": 0.25, "a_baseline": 0}
    )
    assert risk("a", np.ones(2), np.ones(2), np.ones(2))["a_risk"] == 0


def test_a_claim_fits_exactly_one_patient():
    rows = checked(np.array([[1, 1, 0], [1, 0, 1], [1, 0, 0]]))
    claims = checked(np.array([[1, 0, 0], [1, 1, 0], [0, 1, 1], [0, 0, 1]]))
    assert _fits_one(claims, rows).tolist() == [0, 1, 0, 1]


def test_nearest_rows_are_the_nearest():
    rng = np.random.default_rng(0)
    rows, table = (checked((rng.random((n, 12)) < 0.4).astype(float)) for n in (30, 50))
    apart = np.abs(rows.toarray()[:, None] - table.toarray()[None]).sum(axis=2)
    found = np.take_along_axis(apart, _closest(rows, table, 5, rng), axis=1)
    assert np.array_equal(np.sort(found, axis=1), np.sort(apart, axis=1)[:, :5])


def test_too_few_patients_have_no_risk(sets):
    real, train, fresh = (rows[:10] for rows in sets)
    with pytest.raises(Undefined, match="20 training"):
        RISKS["linkability_risk"](real, fresh, train=train[:25])
