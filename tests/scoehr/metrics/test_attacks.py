"""Membership attacks: they find planted patients and nothing where there is nothing to find."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import sparse
from toy import Toy

from scoehr.data.matrix import CodeMatrix
from scoehr.files import InputError
from scoehr.generators import preset
from scoehr.metrics import attacks
from scoehr.metrics.attacks import ATTACKS, Target, attack, exposure
from scoehr.metrics.registry import Members

N = 1200
NAMES = [measure.step for measure in ATTACKS.measures]


def matrix(rows) -> CodeMatrix:
    return CodeMatrix.from_array(rows, [f"{k:04d}" for k in range(rows.shape[1])])


@pytest.fixture(scope="module")
def sets():
    """Held-out, training and fresh patients."""
    toy = Toy(codes=400, mean_cell=0.03)
    return [toy.sample(n, seed) for seed, n in enumerate((2 * N, 2 * N, N))]


def planted(sets) -> tuple[Target, np.ndarray]:
    """Fresh patients among whom one in a hundred members was copied; who these are."""
    real, train, fresh = sets
    copied = np.arange(0, N, 100)
    made = sparse.csr_array(sparse.vstack([fresh, train[copied]]))
    return Target(real[:N], made, Members(train, train[:N]), reference=real[N:]), copied


def test_there_are_eight_attacks_with_four_scores_each():
    assert len(NAMES) == 8 and len(ATTACKS) == 32


def test_six_of_eight_attacks_find_a_copy_of_one_in_a_hundred_patients(sets):
    target, copied = planted(sets)
    found = {}
    for measure in ATTACKS.measures:
        members, others = measure.of(target)
        claimed = members > np.quantile(others, 0.99)
        found[measure.step] = claimed[copied].mean()
    assert sum(share >= 0.5 for share in found.values()) >= 6, found


def test_the_most_exposed_are_the_copied(sets):
    target, copied = planted(sets)
    assert np.isin(attacks._exposed(target), copied).mean() >= 0.8


def test_fresh_patients_give_nobody_away(sets):
    real, train, fresh = (matrix(rows) for rows in sets)
    found = attack(real, fresh, train=train)
    json.dumps(found, allow_nan=False)
    for scores in (found["scores"], found["floor"]):
        assert list(scores) == list(ATTACKS)
        for name in NAMES:
            assert scores[f"{name}_auc"] == pytest.approx(0.5, abs=0.05), name
            assert scores[f"{name}_tpr_1"] < 0.03, name
    for key, (low, high) in found["interval"].items():
        assert low <= found["scores"][key] <= high


def test_the_loss_of_an_overtrained_model_finds_members():
    toy = Toy(codes=60, mean_cell=0.1)
    real, train = (matrix(toy.sample(300, seed)) for seed in range(2))
    model = preset("thinning", epochs=40, width=64, batch=32, patience=None).fit(
        train, progress=False
    )
    assert model.losses(real, seed=1).tolist() == model.losses(real, seed=1).tolist()
    found = attack(real, model.sample(100, progress=False), train=train, model=model)
    assert found["scores"]["reference_loss_auc"] > 0.6
    assert found["floor"]["reference_loss_auc"] == pytest.approx(0.5, abs=0.12)


def test_a_model_without_losses_is_refused(sets):
    real, train, fresh = (matrix(rows[:60, :30]) for rows in sets)
    model = preset("copula").fit(train, progress=False)
    with pytest.raises(InputError, match="no loss"):
        attack(real, fresh, train=train, model=model)
    with pytest.raises(InputError, match="40 training"):
        attack(real, fresh, train=train.take(np.arange(30)))


def test_rates_by_hand():
    members, others = np.r_[np.full(10, 3.0), np.zeros(90)], np.r_[2.0, np.zeros(99)]
    found = exposure("a", members, others)
    assert found["a_tpr_10"] >= found["a_tpr_1"]
    assert found["a_tpr_1"] == pytest.approx(0.1)  # ten above the one in a hundred
    assert found["a_tpr_01"] == pytest.approx(0.1)
    chance = exposure("a", np.zeros(50), np.zeros(70))
    assert chance == pytest.approx(
        {"a_auc": 0.5, "a_tpr_10": 0.1, "a_tpr_1": 0.01, "a_tpr_01": 0.001}
    )


@settings(max_examples=30, deadline=None)
@given(arrays(float, 15, elements=st.floats(-5, 5)), arrays(float, 20, elements=st.floats(-5, 5)))
def test_rates_stay_in_range_and_in_order(members, others):
    found = exposure("a", members, others)
    assert 0 <= found["a_tpr_01"] <= found["a_tpr_1"] <= found["a_tpr_10"] <= 1
