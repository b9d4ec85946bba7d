"""DuaLK's figures by hand, by scikit-learn and by properties; baselines on known answers."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse, special
from sklearn.metrics import average_precision_score, f1_score, ndcg_score

from companions.dualk import baselines, bridge, evaluate, rates
from companions.dualk.batches import Feed
from companions.dualk.claims import _small
from companions.dualk.cohorts import Records, Split
from companions.dualk.train import TrainingConfig
from reproduction.estimates import Estimate


def example(seed=0, n=60, codes=50, share=0.15):
    rng = np.random.default_rng(seed)
    truth = rng.random((n, codes)) < share
    truth[truth.sum(axis=1) == 0, 0] = True
    return rng.normal(size=(n, codes)) + 1.5 * truth - 2, truth


def figures(scores, truth, seen=None, seed=0):
    seen = np.zeros_like(truth) if seen is None else seen
    return evaluate.figures(
        scores,
        sparse.csr_array(truth),
        seen=sparse.csr_array(seen),
        frequency=truth.sum(axis=0),
        seed=seed,
    )


def test_recall_capped_and_plain_by_hand():
    scores, truth = np.array([[4.0, 3, 2, 1, 0]]), np.array([[1, 0, 1, 0, 1]], dtype=bool)
    found, true = evaluate.hits(scores, truth, 5), truth.sum(axis=1)
    assert evaluate.recall(found, true, 2) == pytest.approx(1 / 3)
    assert evaluate.capped_recall(found, true, 2) == pytest.approx(1 / 2)
    assert evaluate.capped_recall(found, true, 5) == evaluate.recall(found, true, 5) == 1


def test_a_patient_without_codes_has_no_recall_and_spoils_no_mean():
    scores, truth = example()
    truth[0] = False
    assert np.isnan(evaluate.recall(evaluate.hits(scores, truth, 20), truth.sum(axis=1), 20)[0])
    whole, rest = figures(scores, truth), figures(scores[1:], truth[1:])
    assert whole.values["recall@20"].value == pytest.approx(rest.values["recall@20"].value)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000))
def test_figures_agree_with_scikit_learn(seed):
    scores, truth = example(seed)
    found = figures(scores, truth).values
    made = evaluate.chosen_by_oracle(scores, truth)
    assert (made.sum(axis=1) == truth.sum(axis=1)).all()
    expected = f1_score(truth, made, average="weighted", zero_division=1)
    assert found["reported.f1"].value == pytest.approx(expected, abs=1e-5)
    assert found["ndcg@20"].value == pytest.approx(ndcg_score(truth, scores, k=20), abs=1e-6)
    assert found["auprc"].value == pytest.approx(
        average_precision_score(truth.ravel(), scores.ravel()), abs=0.03
    )


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.permutations(range(50)))
def test_order_of_codes_and_patients_does_not_matter(seed, order):
    scores, truth = example(seed)
    rows = np.random.default_rng(seed).permutation(len(truth))
    one, other = (
        figures(scores, truth).values,
        figures(scores[rows][:, order], truth[rows][:, order]).values,
    )
    for name in ("recall@10", "ndcg@20", "reported.f1", "auprc", "calibration"):
        assert one[name].value == pytest.approx(other[name].value, abs=1e-5)


def test_capped_recall_is_never_below_the_plain_and_a_perfect_ranking_has_one():
    scores, truth = example(share=0.6)
    found = figures(scores, truth).values
    assert found["reported.recall@10"].value > found["recall@10"].value
    best = figures(np.where(truth, 5.0, -5.0), truth).values
    assert (
        best["reported.recall@10"].value
        == best["recall@40"].value
        == best["reported.f1"].value
        == 1
    )
    assert best["auprc"].value == pytest.approx(1) and best["calibration"].value < 0.02


def test_true_probabilities_are_calibrated_and_doubled_logits_are_not():
    rng = np.random.default_rng(0)
    logits = rng.normal(-2, 1.5, (800, 40))
    truth = rng.random(logits.shape) < special.expit(logits)
    right, wrong = (figures(made, truth).values for made in (logits, 2 * logits))
    assert right["calibration"].value < 0.1 < 0.25 < wrong["calibration"].value
    assert right["codes.ratio"].value == pytest.approx(1, abs=0.05)


def test_new_codes_are_ranked_among_those_that_the_history_lacks():
    truth, seen = np.zeros((2, 100), dtype=bool), np.zeros((2, 100), dtype=bool)
    seen[:, :30] = truth[:, :10] = truth[:, 50] = True
    scores = -np.tile(np.arange(100.0), (2, 1))
    scores[:, 50] = -30.5  # the first code after those of the history
    found = figures(scores, truth, seen).values
    assert found["new.recall@20"].value == 1 and found["recurring.recall@20"].value == 1
    assert found["recall@20"].value == pytest.approx(10 / 11)


def test_strata_have_about_as_many_answers_and_go_from_rare_to_frequent():
    frequency = np.arange(1, 101)
    masks = evaluate.strata(frequency, frequency)
    assert len(masks) == evaluate.STRATA and np.sum(masks) == 100
    assert all(abs(frequency[mask].sum() / frequency.sum() - 0.25) < 0.05 for mask in masks)
    assert [frequency[mask].max() for mask in masks] == sorted(
        frequency[mask].max() for mask in masks
    )


def test_an_interval_covers_the_truth_about_as_often_as_it_says():
    inside = 0
    for seed in range(60):
        scores, truth = example(seed, n=120, codes=30)
        value = figures(scores, truth, seed=seed).values["recall@10"]
        inside += value.low <= EXPECTED <= value.high
    assert inside >= 50


EXPECTED = float(
    np.mean(
        [
            figures(*example(seed, n=400, codes=30)).values["recall@10"].value
            for seed in range(900, 910)
        ]
    )
)


def test_differences_are_paired():
    scores, truth = example(n=100)
    one, other = (
        figures(scores, truth),
        figures(scores + 0.05 * np.random.default_rng(0).normal(size=scores.shape), truth),
    )
    apart = one.difference(other, "recall@20")
    alone = one.values["recall@20"]
    assert apart.high - apart.low < 0.5 * (alone.high - alone.low)
    assert one.difference(one, "recall@20")[:3] == (0, 0, 0)


def test_heart_failure_figures_of_a_perfect_and_of_a_blind_answer():
    truth = np.arange(200) % 4 == 0
    assert evaluate.binary(np.where(truth, 1.0, -1.0), truth)["auroc"][:3] == (1, 1, 1)
    assert evaluate.binary(np.zeros(200), truth)["auroc"].value == 0.5
    assert np.isnan(evaluate.binary(np.zeros(9), np.zeros(9, dtype=bool))["auroc"].value)


# Baselines ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def chronic():
    """200 patients of three visits: code 0 is for life, 1 never comes back, 2 is a coin."""
    rng = np.random.default_rng(0)
    cells = np.zeros((600, 12), dtype=int)
    cells[:, 2:] = rng.random((600, 10)) < 0.3
    has = rng.random(200) < 0.5
    cells[:, 0], cells[::3, 1] = np.repeat(has, 3), ~has
    first, patients = np.arange(0, 601, 3), np.arange(200)
    records = Records(
        **{
            **vars(_small(cells)),
            "patients": patients,
            "first": first,
            "days": np.tile([0.0, 1, 2], 200),
        }
    )
    return records, Split(
        np.array([], dtype=int), patients[:140], patients[140:160], patients[160:]
    )


def test_rates_of_recurrence_are_those_that_were_drawn(chronic):
    records, parts = chronic
    table = special.expit(rates.table(Feed(records), parts.train))
    assert table[0, 0] > 0.9 and table[2, 0] < 0.05 and table[1, 1] < 0.1
    assert table[0, 2:].mean() == pytest.approx(0.3, abs=0.06)


def test_copy_forward_puts_the_last_visit_first_then_earlier_ones_then_frequency(chronic):
    records, parts = chronic
    feed = Feed(records)
    scores = baselines.copy_forward(feed, parts, parts.test)
    state = rates.of(feed, parts.test)
    common = rates.overall(feed, parts.train)
    for row, here in zip(scores, state, strict=True):
        groups = [row[here == number] for number in range(3)]
        assert all(
            one.min() > other.max() for one, other in pairwise(groups) if len(one) and len(other)
        )
        rest = np.flatnonzero(here == 2)
        assert np.array_equal(
            np.argsort(row[rest], kind="stable"), np.argsort(common[rest], kind="stable")
        )


def test_every_baseline_learns_what_lasts_and_none_sees_the_answer(chronic, tmp_path):
    records, parts = chronic
    truth = Feed(records).answers(parts.test).toarray() > 0
    found = baselines.all_of(
        records, parts, parts.test, epochs=40, seed=0, store=tmp_path, progress=False
    )
    area = {
        name: average_precision_score(truth[:, 0], scores[:, 0]) for name, scores in found.items()
    }
    assert (
        min(area[name] for name in ("copy-forward", "recurrence", "logistic", "retain"))
        > 0.9
        > 0.7
        > area["frequency"]
    )
    cells = records.visit_codes.toarray()
    cells[records.first[1:] - 1] = 0
    blind = Records(**{**vars(records), "visit_codes": sparse.csr_array(cells)})
    here = rates.of(Feed(records), parts.test)
    assert np.array_equal(here, rates.of(Feed(blind), parts.test))


# Bridge ------------------------------------------------------------------------------------------


def test_graph_fidelity_of_a_copy_of_fresh_rows_and_of_shuffled_columns():
    rng = np.random.default_rng(0)
    groups = rng.random((6000, 5)) < 0.3
    rows = sparse.csr_array(
        (np.repeat(groups, 4, axis=1) & (rng.random((6000, 20)) < 0.7)).astype(int)
    )
    real, fresh = rows[:3000], rows[3000:]
    mine = bridge.Associations.of(real, 3)
    others = {"copy": real, "fresh": fresh, "shuffled": bridge.independent(fresh, 1)}
    scores = {
        name: bridge.fidelity(mine, bridge.Associations.of(other, 3))
        for name, other in others.items()
    }
    assert scores["copy"] == pytest.approx(
        {"edges_recovered": 1, "neighbour_overlap": 1, "association_correlation": 1}
    )
    assert scores["fresh"]["edges_recovered"] > 0.95 > 0.4 > scores["shuffled"]["edges_recovered"]
    assert (
        scores["fresh"]["association_correlation"]
        > 0.9
        > abs(scores["shuffled"]["association_correlation"])
    )


def test_the_bridge_tells_real_visits_from_independent_columns_by_whole_intervals():
    rng = np.random.default_rng(0)

    def visits(patients, seed):
        groups = np.random.default_rng(seed).random((2 * patients, 12)) < 0.2
        cells = np.repeat(groups, 5, axis=1) & (rng.random((2 * patients, 60)) < 0.7)
        labs, codes = cells[:, ::5], np.delete(cells, np.arange(0, 60, 5), axis=1)
        both = (sparse.csr_array(part.astype(np.int32)) for part in (codes, labs))
        return bridge.Visits(*both, np.repeat(np.arange(patients), 2))

    real, test = visits(1200, 1), visits(600, 2)
    apart = bridge.Visits(bridge.independent(real.codes, 3), real.labs, real.owner)
    scores = bridge.compare(
        {"real": real, "synthetic": visits(1200, 4), "independent columns": apart}, test,
        TrainingConfig(laboratory_epochs=4), width=16, seed=0, progress=False,
    )  # fmt: skip
    for key in ("association_correlation", "laboratory.recall@20"):
        less = {name: Estimate.read(found[f"less {key}"]) for name, found in scores.items()}
        assert less["independent columns"].below() and not less["synthetic"].below()
        mine = Estimate.read(scores["synthetic"][key])
        assert mine.low < mine.value < mine.high and less["real"].value == less["real"].high == 0


def test_shuffled_columns_keep_their_sums():
    rng = np.random.default_rng(0)
    matrix = sparse.csr_array((rng.random((50, 7)) < 0.3).astype(int))
    apart = bridge.independent(matrix, 3)
    assert np.array_equal(apart.sum(axis=0), matrix.sum(axis=0)) and (apart != matrix).nnz
