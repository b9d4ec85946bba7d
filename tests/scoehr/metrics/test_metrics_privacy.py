"""Nearest neighbours, copies and attacks: cases worked by hand, known laws, the toy hospital."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.spatial.distance import cdist
from toy import Conditions, Toy

from scoehr.metrics import Undefined, privacy, reported
from scoehr.metrics.neighbours import hamming
from scoehr.metrics.privacy import KNOWN, attribute_attack, attribute_f1

FEW = 2_000


@pytest.fixture(scope="module")
def toy() -> Conditions:
    return Conditions(FEW)


@pytest.fixture(scope="module")
def distances(toy) -> dict[str, privacy.Distances]:
    return {
        name: privacy.distances(toy[name], train=toy.train, holdout=toy.real) for name in "ADEH"
    }


def presence(rows: int = 25, codes: int = 6):
    return arrays(np.int64, (rows, codes), elements=st.integers(0, 2))


def presence_disclosure(members, holdout, thresholds: int = 20) -> pd.DataFrame:
    """Sensitivity and precision of the claims at each threshold."""
    steps = range(thresholds + 1)
    claims = [privacy.presence_claims(members, holdout, threshold=step) for step in steps]
    table = pd.DataFrame(claims).rename(columns=lambda name: name.removeprefix("presence_"))
    return table.assign(threshold=steps)


# Distances ----------------------------------------------------------------------------------------------------------


def test_hamming_distances_agree_with_scipy_over_several_blocks():
    toy = Toy(codes=40, mean_cell=0.1)
    one, other = toy.sample(1100, 0).toarray(), toy.sample(8300, 1).toarray()
    whole = 40 * cdist(one > 0, other > 0, "hamming")
    found = hamming(one, other)
    assert np.array_equal(np.c_[found.first, found.second], np.sort(whole, axis=1)[:, :2].round())
    assert np.array_equal(found.of_others, whole.min(axis=0).round())
    last = np.arange(8100, 8300)
    within = 40 * cdist(other[last] > 0, other > 0, "hamming")
    within[last - 8100, last] = np.inf
    assert np.array_equal(hamming(other).first[last], within.min(axis=1).round())


def test_the_only_row_has_no_neighbour():
    assert hamming([[1, 0]]).first == np.inf
    assert hamming([[1, 0]], [[0, 3]]).first == 2 and hamming([[1, 0]], [[0, 3]]).second == np.inf


@settings(max_examples=30, deadline=None)
@given(presence(), presence(), presence(), st.permutations(range(25)), st.permutations(range(6)))
def test_scores_of_neighbours_ignore_the_order_of_patients_and_codes(
    made, train, holdout, patients, codes
):
    one = privacy.distances(made, train=train, holdout=holdout)
    other = privacy.distances(
        made[patients][:, codes], train=train[:, codes], holdout=holdout[patients][:, codes]
    )
    assert privacy.adversarial_accuracy(*one[:3]) == pytest.approx(
        privacy.adversarial_accuracy(*other[:3])
    )
    assert privacy.closest_records(one.synthetic) == privacy.closest_records(other.synthetic)
    assert presence_disclosure(*one[1:3]).equals(presence_disclosure(*other[1:3]))
    assert (
        privacy.near_duplicates(made, train).sum()
        == privacy.near_duplicates(made[patients], train).sum()
    )
    assert attribute_f1(attribute_attack(train, made)) == pytest.approx(
        attribute_f1(attribute_attack(train[patients], made[patients])), nan_ok=True
    )


# By hand ------------------------------------------------------------------------------------------------------------


def test_closest_records_by_hand():
    rows = np.array(
        [[0, 4, 2, 4, 9], [3, 4, 4, 4, 9], [0, 0, 1, 4, 9]]
    )  # nearest, second, the same held out, own
    found = privacy.closest_records(rows)
    assert found["dcr"] == 0 and found["dcr_holdout"] == pytest.approx(
        1.1
    )  # a twentieth of the way from 1 to 2, twice
    assert found["nndr"] == 0.75 and found["nndr_holdout"] == 0.5  # of 0, 3/4, 1 and of 1/2, 1, 1/4
    with pytest.raises(Undefined, match="5 codes"):
        privacy.closest_records(rows[:0])


def test_adversarial_accuracy_by_hand():
    synthetic = np.array([[1, 9, 5, 9, 2], [3, 9, 2, 9, 2]])
    members, holdout = np.array([[1, 2], [4, 4]]), np.array([[5, 1], [5, 1]])
    found = privacy.adversarial_accuracy(synthetic, members, holdout)
    assert (
        found["adversarial_train"] == (0.25 + 0.5) / 2
    )  # members: nearer, tie; synthetic: nearer, farther
    assert found["adversarial_holdout"] == (1 + 0.75) / 2
    assert found["adversarial_loss"] == pytest.approx(0.5)


def test_presence_disclosure_by_hand():
    members, holdout = (
        np.array([[0, 9], [2, 9], [3, 9], [9, 9]]),
        np.array([[2, 9], [3, 9], [4, 9], [9, 9]]),
    )
    table = presence_disclosure(members, holdout, thresholds=3)
    assert table["threshold"].tolist() == [0, 1, 2, 3]
    assert table["sensitivity"].tolist() == [0.25, 0.25, 0.5, 0.75]
    assert table["precision"].tolist() == [1, 1, pytest.approx(2 / 3), 0.6]
    assert np.isnan(presence_disclosure(members[3:], holdout)["precision"][0])


def test_near_duplicates_differ_in_two_codes_and_have_five():
    train = np.eye(1, 12) + np.r_[np.zeros(1), np.ones(5), np.zeros(6)]  # codes 0 to 5
    flips = np.eye(12)[[0, 1, 2, 6, 7, 8]]
    made = np.array([train[0], np.abs(train[0] - flips[:1].sum(0)), np.abs(train[0] - flips[[0, 3]].sum(0)),
                     np.abs(train[0] - flips[3:].sum(0)), np.abs(train[0] - flips[:2].sum(0))])  # fmt: skip
    assert privacy.near_duplicates(made, train).tolist() == [
        True,
        True,
        True,
        False,
    ]  # the last has four codes
    assert privacy.near_duplicates(np.zeros((2, 12)), train).tolist() == []
    assert privacy.near_duplicates(3 * train, train).all()  # whatever the counts


def test_attribute_inference_by_hand():
    # Known are the two most prevalent codes, 0 and 1; the guess is what half of the nearest synthetic rows have.
    victims = np.array([[1, 1, 1, 0], [1, 1, 0, 1], [1, 0, 0, 0], [0, 0, 0, 0]])
    made = np.array([[1, 1, 1, 0], [1, 1, 1, 1], [1, 1, 1, 0], [1, 0, 0, 1], [1, 0, 1, 0]])
    guesses = attribute_attack(victims, made)
    #  (1, 1): code 2 by three of three, code 3 by one; (1, 0): each by one of two; (0, 0): nearest are those of (1, 0)
    assert guesses.tolist() == [[1, 1, 1], [0, 1, 1], [0, 2, 0], [0, 2, 0]]
    assert attribute_f1(guesses) == pytest.approx(2 * 1 / (6 + 2))
    assert np.isnan(attribute_f1(attribute_attack(np.eye(4, 2), np.eye(4, 2))[:, :] * 0))


def test_what_follows_from_the_known_codes_for_anybody_is_found_from_either_set():
    rng = np.random.default_rng(0)
    frequent = rng.random((3, 400, KNOWN)) < 0.5
    rare = (
        frequent[:, :, : KNOWN // 2] & frequent[:, :, KNOWN // 2 :]
    )  # follow from two known codes
    victims, made, holdout = np.concatenate([frequent, rare, np.zeros_like(frequent)], axis=2)
    own = attribute_f1(attribute_attack(victims, victims))
    found = [attribute_f1(attribute_attack(victims, rows)) for rows in (made, holdout)]
    assert own == 1 and found[0] == pytest.approx(found[1], abs=0.05) and min(found) > 0.4


@settings(max_examples=30, deadline=None)
@given(presence(), presence())
def test_attacks_stay_in_their_ranges(records, made):
    guesses = attribute_attack(records, made)
    assert (guesses >= 0).all() and (guesses[:, 0] <= guesses[:, 1:].min(axis=1)).all()
    assert np.isnan(attribute_f1(guesses)) or 0 <= attribute_f1(guesses) <= 1
    found = privacy.distances(made, train=records, holdout=records[::-1])
    table = presence_disclosure(found.members, found.holdout)
    assert table["sensitivity"].is_monotonic_increasing and table["sensitivity"].iloc[-1] == 1
    assert (
        table["precision"].dropna().tolist() == [0.5] * table["precision"].count()
    )  # the same patients


# The toy hospital ---------------------------------------------------------------------------------------------------


def test_the_reported_share_does_not_see_a_copy(toy):
    share = {name: reported.cosine_share(toy.real, toy[name]) for name in "AH"}
    assert share["H"] == pytest.approx(share["A"], abs=0.005)


def test_closest_records_see_the_copy(distances):
    found = {
        name: privacy.closest_records(near.synthetic[near.sizes >= privacy.FEW])
        for name, near in distances.items()
        if name != "D"
    }
    assert found["H"]["dcr"] == found["H"]["nndr"] == 0 < found["H"]["dcr_holdout"]
    assert found["A"]["dcr"] == pytest.approx(found["A"]["dcr_holdout"], abs=1)
    assert found["A"]["nndr"] == pytest.approx(found["A"]["nndr_holdout"], abs=0.1)


def test_adversarial_accuracies_see_the_copy(distances):
    found = {name: privacy.adversarial_accuracy(*near[:3]) for name, near in distances.items()}
    assert found["H"]["adversarial_train"] < 0.1 and found["H"]["adversarial_loss"] > 0.35
    assert found["A"]["adversarial_train"] == pytest.approx(0.5, abs=0.03)
    for name in "ADE":
        assert found[name]["adversarial_loss"] == pytest.approx(0, abs=0.03)


def test_presence_disclosure_sees_the_copy(distances):
    found = {
        name: privacy.presence_claims(near.members, near.holdout)
        for name, near in distances.items()
    }
    assert found["H"]["presence_sensitivity"] == 1 and found["H"]["presence_precision"] > 0.7
    assert found["A"]["presence_precision"] == pytest.approx(0.5, abs=0.05)


def test_near_duplicates_see_the_copy(toy):
    usual = privacy.near_duplicates(toy.real, toy.train).mean()
    assert privacy.near_duplicates(toy.H, toy.train).all()
    assert privacy.near_duplicates(toy.A, toy.train).mean() == pytest.approx(usual, abs=0.02)
    assert usual < 0.2


def test_attribute_inference_sees_the_copy(toy):
    found = {name: attribute_f1(attribute_attack(toy.train, toy[name])) for name in "ACDH"}
    assert found["H"] > 3 * found["C"]  # C: held-out patients in place of the synthetic ones
    assert found["A"] == pytest.approx(found["C"], abs=0.02)
    assert found["D"] == 0
