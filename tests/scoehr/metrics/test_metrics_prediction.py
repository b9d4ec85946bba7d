"""Dimension-wise prediction and ranking agreement: cases worked by hand, known laws, the toy hospital."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import sparse
from toy import Conditions

from scoehr.metrics import METRICS, Undefined, prediction

FLIPPED = 0.2  # share of patients whose two twin codes differ


def twins(n: int, seed: int, *, flipped: float = FLIPPED) -> np.ndarray:
    """Two codes, each in half of the patients; they agree but in a share of the patients."""
    rng = np.random.default_rng(seed)
    one = rng.random(n) < 0.5
    return np.column_stack([one, one ^ (rng.random(n) < flipped)]).astype(float)


@pytest.fixture(scope="module")
def toy() -> Conditions:
    return Conditions(1500)


@pytest.fixture(scope="module")
def tables(toy) -> dict:
    return {
        name: prediction.dimension_wise(toy.real, toy[name], train=toy.train) for name in "ADEH"
    }


@pytest.fixture(scope="module")
def scores(tables) -> dict[str, dict[str, float]]:
    return {
        name: prediction.agreement(table.iloc[:, 2:].to_numpy()) for name, table in tables.items()
    }


# Ranking agreement --------------------------------------------------------------------------------------------------


def test_ranking_agreement_by_hand():
    real = [0.7, 0.8, 0.9]
    assert prediction.ranking_agreement(real, [0.5, 0.6, 0.7]) == 1
    assert prediction.ranking_agreement(real, [0.7, 0.6, 0.5]) == 0
    assert prediction.ranking_agreement(real, [0.6, 0.5, 0.9]) == pytest.approx(
        4 / 6
    )  # one of three pairs swapped
    assert prediction.ranking_agreement(real, [0.9, 0.5, 0.7]) == pytest.approx(2 / 6)


def test_ties_agree_with_nothing_not_even_with_ties():
    assert prediction.ranking_agreement([0.8, 0.8, 0.8], [0.8, 0.8, 0.8]) == 0
    assert prediction.ranking_agreement([0.7, 0.8, 0.9], [0.6, 0.6, 0.9]) == pytest.approx(4 / 6)
    assert prediction.ranking_agreement([0.6, 0.6, 0.9], [0.6, 0.6, 0.9]) == pytest.approx(4 / 6)


@settings(max_examples=50, deadline=None)
@given(
    arrays(float, 6, elements=st.floats(0, 1, width=16)),
    arrays(float, 6, elements=st.floats(0, 1, width=16)),
    st.permutations(range(6)),
)
def test_ranking_agreement_depends_on_the_order_alone(real, synthetic, order):
    found = prediction.ranking_agreement(real, synthetic)
    assert 0 <= found <= 1
    assert prediction.ranking_agreement(synthetic, real) == found
    assert prediction.ranking_agreement(real[order], synthetic[order]) == found
    assert prediction.ranking_agreement(2 * real, synthetic / 4) == found


def test_sra_of_real_patients_is_high_of_an_empty_table_zero_and_independent_columns_lie_between(
    toy,
):
    found = {name: METRICS["utility.sra"](toy.real, toy[name], train=toy.train) for name in "ADE"}
    assert found["D"] == 0  # no classifier learns anything: all tie
    assert found["A"] > found["E"] > 0
    assert found["A"] > 0.6


# Dimension-wise prediction ------------------------------------------------------------------------------------------


def test_a_twin_predicts_its_code_as_well_as_they_agree():
    test, train, same = (twins(20_000, seed) for seed in range(3))
    table = prediction.dimension_wise(test, same, train=train)
    assert sorted(table["code"]) == [0, 1] and table["prevalence"].tolist() == pytest.approx(
        [0.5, 0.5], abs=0.02
    )
    for column in ("auroc_real", "auroc_synthetic", "f1_real", "f1_synthetic"):
        assert table[column].tolist() == pytest.approx([1 - FLIPPED] * 2, abs=0.02)


def test_the_loss_of_twins_that_never_agree_and_of_an_empty_table_is_the_analytic_one():
    test, train = twins(20_000, 0), twins(20_000, 1)
    for made, loss in (
        (twins(20_000, 2, flipped=1 - FLIPPED), 1 - 2 * FLIPPED),
        (np.zeros((200, 2)), 0.5 - FLIPPED),
    ):
        found = prediction.agreement(
            prediction.dimension_wise(test, made, train=train).iloc[:, 2:].to_numpy()
        )
        assert found["auroc_loss"] == pytest.approx(loss, abs=0.02)
        assert found["prediction_auroc_mae"] == pytest.approx(loss, abs=0.02)


def test_agreement_by_hand():
    table = np.array([[0.9, 0.8, 0.5, 0.5], [0.7, 0.8, 0.4, 0.1], [0.6, 0.5, 0.3, 0.3]])
    found = prediction.agreement(table)
    assert found["prediction_auroc_mae"] == pytest.approx(0.1)
    assert found["auroc_loss"] == pytest.approx(0.1 / 3)
    assert found["prediction_f1_mae"] == pytest.approx(0.1)
    assert found["prediction_correlation"] == pytest.approx(
        np.corrcoef([0.9, 0.7, 0.6], [0.8, 0.8, 0.5])[0, 1]
    )
    assert np.isnan(prediction.agreement(table[:2])["prediction_correlation"])


def test_real_patients_lose_nothing_and_a_copy_is_the_same(scores):
    assert scores["H"].pop("prediction_correlation") == pytest.approx(1)
    assert set(scores["H"].values()) == {0}
    assert abs(scores["A"]["auroc_loss"]) < 0.02 and scores["A"]["prediction_auroc_mae"] < 0.05


def test_independent_columns_and_an_empty_table_lose_what_there_is_to_learn(scores):
    for name in "DE":
        assert scores[name]["auroc_loss"] > 5 * abs(scores["A"]["auroc_loss"])
        assert scores[name]["prediction_auroc_mae"] > 3 * scores["A"]["prediction_auroc_mae"]
        assert scores[name]["prediction_f1_mae"] > scores["A"]["prediction_f1_mae"]


def test_targets_are_the_most_prevalent_codes_that_some_have_and_some_lack(toy, tables):
    table = tables["A"]
    prevalence = (toy.real > 0).mean(axis=0)
    assert len(table) == prediction.TARGETS == table["code"].nunique()
    assert table["prevalence"].is_monotonic_decreasing
    assert table["prevalence"].tolist() == pytest.approx(sorted(prevalence)[::-1][: len(table)])
    everyone = sparse.hstack([toy.real, np.ones((toy.real.shape[0], 1))])
    assert prediction.targets(everyone).tolist() == prediction.targets(toy.real).tolist()


def test_the_order_of_patients_and_codes_does_not_matter(toy, tables):
    rng = np.random.default_rng(0)
    n, codes = toy.real.shape
    moved = rng.permutation(codes)
    real, made, train = (
        rows[rng.permutation(n)][:, moved] for rows in (toy.real, toy.A, toy.train)
    )
    found = prediction.dimension_wise(real, made, train=train)
    before = tables["A"].set_index("code").loc[moved[found["code"]]]
    for column in ("auroc_real", "auroc_synthetic"):
        assert np.allclose(
            before[column], found[column], atol=5e-3
        )  # the solver visits codes in another order


def test_too_few_rows_and_codes_that_nobody_has_are_undefined():
    with pytest.raises(Undefined, match="at least 100 rows"):
        prediction.dimension_wise(twins(99, 0), twins(200, 1), train=twins(200, 2))
    with pytest.raises(Undefined, match="two codes"):
        prediction.dimension_wise(
            *(twins(200, seed)[:, :1] for seed in range(2)), train=twins(200, 2)[:, :1]
        )
    for nobody in (np.zeros((200, 2)), np.ones((200, 2))):
        with pytest.raises(Undefined, match="20 held-out patients have"):
            METRICS["utility.sra"](nobody, twins(200, 1), train=twins(200, 2))
