"""Identities, ranges and known truths of the scores; the report's formulas; the results as a whole."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import sklearn.cluster
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import sparse, stats
from threadpoolctl import threadpool_limits
from toy import Toy, marginal

from scoehr.data.matrix import CodeMatrix
from scoehr.files import InputError, write_json
from scoehr.metrics import (
    FAMILIES,
    METRICS,
    REFERENCES,
    Undefined,
    evaluate,
    fidelity,
    gaps,
    neighbours,
    privacy,
    references,
    reported,
    utility,
)
from scoehr.metrics.arrays import Correlations, checked, codes_per_patient, independent_columns
from scoehr.metrics.clusters import cluster
from scoehr.metrics.evaluation import standard_errors

CODES = 60


def sample(n: int, seed: int) -> sparse.csr_array:
    return Toy(codes=CODES, mean_cell=0.1).sample(n, seed)


def matrix(rows, kind: str = "count") -> CodeMatrix:
    return CodeMatrix.from_array(rows, [f"{k:03d}" for k in range(rows.shape[1])], kind=kind)


@pytest.fixture(scope="module")
def sets() -> dict[str, CodeMatrix]:
    return {
        name: matrix(sample(n, k))
        for k, (name, n) in enumerate({"real": 300, "train": 700, "synthetic": 320}.items())
    }


@pytest.fixture(scope="module")
def reference(sets) -> dict:
    return references(sets["real"], train=sets["train"], n=300, seed=5)


@pytest.fixture(scope="module")
def results(sets, reference) -> dict:
    return evaluate(
        sets["real"], sets["synthetic"], train=sets["train"], reference=reference, seed=5
    )


def counts(rows: int = 12, codes: int = 5, most: int = 4):
    return arrays(np.int64, (rows, codes), elements=st.integers(0, most))


# The report's code ------------------------------------------------------------------------------------------------


def as_the_report_has_it(
    real: torch.Tensor, synthetic: torch.Tensor, groups: int = 20
) -> dict[str, float]:
    """The four formulas, written from the report's listing."""
    correlations = [torch.corrcoef(rows.T) for rows in (real, synthetic)]
    for table in correlations:
        table[torch.isnan(table)] = 0
    together = np.concatenate((real, synthetic))
    labels = (
        sklearn.cluster.KMeans(n_clusters=groups, random_state=1, init="k-means++", n_init=10)
        .fit(together)
        .labels_
    )
    mine, everyone = (torch.tensor(np.bincount(part)) for part in (labels[: len(real)], labels))
    c = len(real) / (len(real) + len(synthetic))
    similarity = torch.nn.functional.cosine_similarity(real, synthetic, dim=1)
    return {
        "ddm": (torch.sum(torch.mean(torch.abs(real - synthetic), axis=0)) / len(real)).item(),
        "pcd": torch.norm(correlations[0] - correlations[1]).item(),
        "log_cluster": float(math.log(1 / groups) * torch.sum(torch.pow((mine / everyone) - c, 2))),
        "cosine_share": ((similarity > 0.5).sum() / similarity.shape[0]).item(),
    }


def test_reported_scores_are_those_of_the_report_to_the_last_bit():
    real, synthetic = sample(400, 0), sample(400, 1)
    with threadpool_limits(limits=1):
        expected = as_the_report_has_it(
            *(torch.tensor(rows.toarray().astype(np.float32)) for rows in (real, synthetic))
        )
    found = {name: getattr(reported, name)(real, synthetic) for name in expected}
    assert found == expected


def test_dense_and_sparse_input_give_the_same_scores():
    real, synthetic = sample(300, 0), sample(300, 1)
    for score in (
        reported.ddm,
        reported.pcd,
        reported.log_cluster,
        reported.cosine_share,
        fidelity.mean_count_mae,
    ):
        assert score(real, synthetic) == score(real.toarray(), synthetic.toarray())
    assert marginal(real, synthetic) == marginal(real.toarray(), synthetic.toarray())


def test_sparse_clusters_are_as_good_as_dense_ones():
    real, synthetic = sample(400, 0), sample(400, 1)
    spread = []
    for dense in (True, False):
        rows, labels = (
            np.vstack([real.toarray(), synthetic.toarray()]),
            cluster(real, synthetic, dense=dense).labels,
        )
        spread.append(
            sum(
                np.square(rows[labels == k] - rows[labels == k].mean(axis=0)).sum()
                for k in range(20)
            )
        )
    assert spread[0] == pytest.approx(spread[1], rel=0.02)


# Identities ---------------------------------------------------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(counts(), st.randoms(use_true_random=False))
def test_real_rows_in_any_order_are_perfect_for_the_corrected_scores(rows, random):
    order = list(range(len(rows)))
    random.shuffle(order)
    perfect = {
        **marginal(rows + np.eye(12, 5, dtype=int), (rows + np.eye(12, 5, dtype=int))[order])
    }
    for name, value in perfect.items():
        if name.endswith(("mae", "ks", "wasserstein", "missing")):
            assert value == pytest.approx(0, abs=1e-12)
        if name.endswith(("r2", "pearson", "spearman", "ratio")) and not math.isnan(value):
            assert value == pytest.approx(1)
    for name, value in fidelity.correlation(rows, rows[order]).items():
        assert math.isnan(value) or value == pytest.approx(0, abs=1e-9), name


@settings(max_examples=30, deadline=None)
@given(counts(), counts(), st.permutations(range(12)), st.permutations(range(5)))
def test_corrected_scores_ignore_the_order_of_patients_and_codes(real, synthetic, patients, codes):
    real[0, 0] = 1  # not empty
    moved = real[patients][:, codes], synthetic[:, codes]
    for score in (
        fidelity.prevalence,
        fidelity.support,
        fidelity.patient_codes,
        fidelity.correlation,
    ):
        for name, value in score(real, synthetic).items():
            if "decile" in name:  # ties between equally prevalent codes fall either way
                continue
            assert score(*moved)[name] == pytest.approx(value, nan_ok=True, abs=1e-9)
    assert fidelity.mean_count_mae(*moved) == pytest.approx(
        fidelity.mean_count_mae(real, synthetic)
    )
    assert fidelity.density_ratio(*moved) == pytest.approx(fidelity.density_ratio(real, synthetic))


def test_reported_scores_depend_on_the_order_of_patients():
    real = sample(300, 0)
    shuffled = real[np.random.default_rng(0).permutation(300)]
    assert reported.ddm(real, real) == 0 < reported.ddm(real, shuffled)
    assert reported.cosine_share(real, real) > 0.8 > reported.cosine_share(real, shuffled)


# Ranges -------------------------------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(counts(most=9), counts(most=9))
def test_scores_stay_in_their_ranges(real, synthetic):
    real[0, 0] = 1
    found = {
        f"reported.{name}": getattr(reported, name)(real, synthetic)
        for name in ("ddm", "pcd", "cosine_share")
    }
    found |= {f"fidelity.{name}": value for name, value in marginal(real, synthetic).items()}
    found |= {
        f"fidelity.{name}": value for name, value in fidelity.correlation(real, synthetic).items()
    }
    found["privacy.exact_match_rate"] = privacy.share(privacy.exact_matches(real, synthetic))
    for key, value in found.items():
        low, high = METRICS[key].low, METRICS[key].high
        assert math.isnan(value) or (
            (low is None or value >= low) and (high is None or value <= high + 1e-9)
        ), key
    assert found["fidelity.pcd"] <= 2 * 5 and found["fidelity.patient_codes_wasserstein"] <= 5


@settings(max_examples=30, deadline=None)
@given(arrays(float, 15, elements=st.floats(-5, 5)), arrays(float, 20, elements=st.floats(-5, 5)))
def test_an_area_and_its_mirror_add_up_to_one(inside, outside):
    assert 0 <= utility.area(inside, outside) <= 1
    assert utility.area(inside, outside) + utility.area(outside, inside) == pytest.approx(1)


# Known truths -------------------------------------------------------------------------------------------------------


def test_distances_between_two_poisson_numbers_of_codes_are_the_analytic_ones():
    rng = np.random.default_rng(0)

    def with_poisson_rows(rate):  # as many codes as a Poisson number says, of 40
        return np.arange(40) < rng.poisson(rate, size=(40_000, 1))

    found = fidelity.patient_codes(with_poisson_rows(5.0), with_poisson_rows(7.0))
    difference = np.abs(stats.poisson.cdf(np.arange(40), 5) - stats.poisson.cdf(np.arange(40), 7))
    assert found["patient_codes_ks"] == pytest.approx(difference.max(), abs=0.01)
    assert found["patient_codes_wasserstein"] == pytest.approx(
        2.0, abs=0.05
    )  # ordered distributions: the difference of the means


def test_codes_per_patient_agree_with_scipy():
    sizes = [codes_per_patient(rows) for rows in (sample(300, 0), sample(200, 1))]
    found = fidelity.patient_codes(sample(300, 0), sample(200, 1))
    assert found["patient_codes_ks"] == pytest.approx(stats.ks_2samp(*sizes).statistic)
    assert found["patient_codes_wasserstein"] == pytest.approx(stats.wasserstein_distance(*sizes))


def test_prevalence_scores_agree_with_their_definitions():
    real, synthetic = sample(300, 0), sample(300, 1)
    p, q = ((rows.toarray() > 0).mean(axis=0) for rows in (real, synthetic))
    found = fidelity.prevalence(real, synthetic)
    assert found["prevalence_mae"] == pytest.approx(np.abs(p - q).mean())
    assert found["prevalence_pearson"] == pytest.approx(stats.pearsonr(p, q).statistic)
    assert found["prevalence_spearman"] == pytest.approx(stats.spearmanr(p, q).statistic)
    assert found["prevalence_r2"] == pytest.approx(
        1 - np.sum((p - q) ** 2) / np.sum((p - p.mean()) ** 2)
    )
    deciles = [found[f"prevalence_mae_decile_{k:02d}"] for k in range(1, 11)]  # of 6 codes each
    assert np.mean(deciles) == pytest.approx(found["prevalence_mae"])


def test_correlation_agrees_with_numpy_also_on_dense_and_constant_columns():
    rng = np.random.default_rng(0)
    for rows in (
        sample(300, 0).toarray(),
        rng.poisson(3, size=(200, 8)) * 10**6,
        rng.normal(size=(50, 4)),
    ):
        assert np.allclose(Correlations(checked(rows))[:], np.corrcoef(rows.T), atol=1e-9)
    found = Correlations(checked([[2.1, 0, 1], [2.1, 0, 3]]))
    assert np.array_equal(found[:], np.diag([0, 0, 1]))
    assert found.varies.tolist() == [False, False, True]


def test_the_floor_of_pcd_is_the_analytic_one_for_independent_codes():
    rng = np.random.default_rng(1)
    one, other = rng.normal(size=(2, 2000, 40))
    assert fidelity.correlation(one, other)["pcd"] == pytest.approx(
        math.sqrt(2 * 40 * 39 / 2000), rel=0.1
    )


def test_expected_difference_of_mean_counts():
    rng = np.random.default_rng(2)
    rates = rng.uniform(1, 5, size=30)
    found = fidelity.mean_count_mae(
        rng.poisson(rates, (50_000, 30)), rng.poisson(1.2 * rates, (50_000, 30))
    )
    assert found == pytest.approx(0.2 * rates.mean(), rel=0.02)
    assert fidelity.density_ratio([[1, 1]], [[1, 2]]) == 1.5


def test_the_discriminator_reaches_the_best_possible_auc_on_shifted_data_and_half_on_equal_data():
    rng = np.random.default_rng(3)
    rate = np.array([1.0])
    one, other = rng.poisson(rate, (3000, 1)), rng.poisson(2 * rate, (3000, 1))
    k = np.arange(40)
    p, q = stats.poisson.pmf(k, 1), stats.poisson.pmf(k, 2)
    best = sum(
        q[a] * (p[:a].sum() + 0.5 * p[a]) for a in k
    )  # the likelihood ratio grows with the count
    assert METRICS["utility.discriminator_auc"](one, other) == pytest.approx(best, abs=0.02)
    assert METRICS["utility.discriminator_auc"](other, one) == pytest.approx(best, abs=0.02)
    assert METRICS["utility.discriminator_auc"](one, rng.poisson(rate, (3000, 1))) == pytest.approx(
        0.5, abs=0.03
    )


def test_the_discriminator_needs_no_marginal_difference():
    rng = np.random.default_rng(4)
    x = rng.integers(0, 2, size=(2000, 1))
    together, apart = np.hstack([x, x, 1 - x, 1 - x]), rng.integers(0, 2, size=(2000, 4))
    assert METRICS["utility.discriminator_auc"](together, apart) > 0.85


def test_nearest_neighbours_agree_with_the_whole_product():
    one, other = sample(1500, 0).toarray(), sample(400, 1).toarray()
    unit = [
        rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
        for rows in (one, other)
    ]
    whole = unit[0] @ unit[1].T
    found = neighbours.nearest(one, other)
    assert np.allclose(found.of_records, whole.max(axis=0), atol=2e-5)
    assert np.allclose(found.of_synthetic, whole.max(axis=1), atol=2e-5)


def test_membership_of_a_copy_of_a_part_of_the_training_set_is_found_in_proportion():
    train, holdout = (
        sparse.csr_array(np.eye(100)),
        sparse.csr_array(np.eye(200)[100:, :100] + np.eye(100, k=1)),
    )
    copied = sparse.csr_array(train.toarray()[:50])
    membership = METRICS["privacy.membership_auc"]
    assert membership(1 - np.eye(100), train, train=train) == 1
    assert 0.5 < membership(holdout, copied, train=train) < 1


def test_exact_matches_are_rows_with_equal_counts():
    train = [[1, 0, 2], [0, 0, 0], [3, 0, 0]]
    assert (
        privacy.exact_matches([[1, 0, 2], [0, 0, 0], [1, 0, 1]], train).mean() == 0.5
    )  # empty rows do not count
    nearer = METRICS["privacy.nearer_to_train"]
    assert nearer(np.eye(20)[::-1], np.eye(20), train=np.eye(20)) == 0.5
    with pytest.raises(Undefined, match="empty"):
        privacy.exact_matches([[0, 0, 0]], train)


def test_independent_columns_keep_each_column_and_no_row():
    rows = sample(500, 0)
    shuffled = independent_columns(rows, np.random.default_rng(0))
    assert np.array_equal(np.sort(rows.toarray(), axis=0), np.sort(shuffled.toarray(), axis=0))
    off = np.corrcoef(shuffled.toarray().T)[~np.eye(CODES, dtype=bool)]
    assert np.sqrt(np.nanmean(off**2)) == pytest.approx(1 / math.sqrt(500), rel=0.1)


def test_bootstrap_errors_are_those_of_theory():
    rows = np.random.default_rng(0).normal(size=4000)
    found = standard_errors(
        lambda x, y: {"difference": x.mean() - y.mean()}, (rows, rows[:1000]), seed=0, repeats=400
    )
    assert found["difference"] == pytest.approx(math.sqrt(1 / 4000 + 1 / 1000), rel=0.15)


# The results as a whole ---------------------------------------------------------------------------------------------


def test_results_have_every_score_and_reference_in_finite_json(results, tmp_path):
    json.dumps(results, allow_nan=False)
    write_json(tmp_path / "results.json", results)
    assert list(results) == [
        *FAMILIES,
        "reference",
        "gap",
        "interval",
        "notes",
        "n",
        "seed",
        "versions",
    ]
    assert [f"{family}.{name}" for family in FAMILIES for name in results[family]] == list(METRICS)
    assert list(results["reference"]) == list(REFERENCES)
    for point in results["reference"].values():
        assert [f"{family}.{name}" for family in FAMILIES for name in point[family]] == list(
            METRICS
        )
    assert results["n"] == {
        "rows": 300,
        "real": 300,
        "synthetic": 320,
        "train": 700,
        "codes": CODES,
    }
    assert results["seed"] == 5 and {"scoehr", "python", "numpy", "torch"} <= set(
        results["versions"]
    )


def test_each_missing_score_has_its_reason(results):
    missing = {
        f"{family}.{name}"
        for family in FAMILIES
        for name, value in results[family].items()
        if value is None
    }
    assert set(results["notes"]) == missing


def test_intervals_hold_the_score_and_stay_in_range(results):
    assert {
        "fidelity.prevalence_mae",
        "utility.discriminator_auc",
        "privacy.membership_auc",
    } <= set(results["interval"])
    for key, (low, high) in results["interval"].items():
        family, name = key.split(".")
        assert low <= results[family][name] <= high
        assert METRICS[key].low is None or low >= METRICS[key].low
        assert METRICS[key].high is None or high <= METRICS[key].high


def test_the_reference_points_are_what_they_say(results):
    point = results["reference"]
    assert (
        point["zero"]["fidelity"]["density_ratio"] == 0
        and point["zero"]["fidelity"]["zero_rows"] == 1
    )
    assert (
        point["copy"]["privacy"]["exact_match_rate"]
        == point["resampled"]["privacy"]["exact_match_rate"]
        == 1
    )
    assert point["copy"]["privacy"]["membership_auc"] > 0.8
    assert point["real"]["privacy"]["membership_auc"] == pytest.approx(0.5, abs=0.08)
    assert point["real"]["privacy"]["exact_match_rate"] < 0.5
    for name in (
        "prevalence_mae",
        "mean_count_mae",
        "density_ratio",
        "codes_missing",
    ):  # the same marginals
        assert point["independent"]["fidelity"][name] == pytest.approx(
            point["real"]["fidelity"][name]
        )


def test_a_gap_is_zero_at_the_floor_and_one_at_independent_columns(results):
    point = results["reference"]
    defined = [key for key, gap in results["gap"].items() if gap is not None]
    assert {"fidelity.patient_codes_ks", "utility.discriminator_auc"} <= set(defined)
    for key in defined:
        assert gaps(point["real"], point)[key] == 0
        assert gaps(point["independent"], point)[key] == 1
    family, name = "fidelity", "patient_codes_ks"
    floor, independent = (point[p][family][name] for p in ("real", "independent"))
    expected = (results[family][name] - floor) / (independent - floor)
    assert results["gap"]["fidelity.patient_codes_ks"] == pytest.approx(expected)


def test_results_made_before_a_score_was_there_are_still_read(results):
    older = json.loads(json.dumps(results))
    for scores in (older, *older["reference"].values()):
        scores["utility"] = {"discriminator_auc": scores["utility"]["discriminator_auc"]}
        scores["privacy"] = {"membership_auc": scores["privacy"]["membership_auc"]}
    del older["reference"]["real"]["replicates"]
    found = gaps(older, older["reference"])
    assert found["utility.discriminator_auc"] == results["gap"]["utility.discriminator_auc"]
    assert found["utility.sra"] is None and found["privacy.dcr"] is None


def test_fresh_real_patients_are_scored_again_on_other_patients(results):
    point = results["reference"]["real"]
    assert set(point["replicates"]) == {
        f"utility.{name}"
        for name, value in point["utility"].items()
        if value is not None and "discrim" not in name
    }
    for values in point["replicates"].values():
        assert len(values) == 5 and len(set(values)) > 1
    losses = point["replicates"]["utility.auroc_loss"]
    assert (
        abs(np.mean(losses)) < 0.05 < results["reference"]["independent"]["utility"]["auroc_loss"]
    )


def test_a_marginal_or_privacy_score_has_no_gap(results):
    marginal = ("fidelity.prevalence", "fidelity.mean", "fidelity.density", "fidelity.codes")
    leaks = (
        "privacy.membership",
        "privacy.exact",
        "privacy.near",
        "privacy.attribute",
        "privacy.adversarial_loss",
    )
    assert {
        key
        for key in results["gap"]
        if key.startswith(marginal + leaks) and results["gap"][key] is not None
    } == set()
    assert not [key for key in results["gap"] if key.startswith("reported")]


def test_references_are_made_when_none_are_handed_in(sets, reference, results):
    assert evaluate(sets["real"], sets["synthetic"], train=sets["train"], seed=5) == results
    loaded = json.loads(json.dumps(reference))  # as from a file
    assert (
        evaluate(sets["real"], sets["synthetic"], train=sets["train"], reference=loaded, seed=5)
        == results
    )
    with pytest.raises(InputError, match="n is 300 but the smallest set has 100"):
        evaluate(
            sets["real"],
            sets["synthetic"].take(np.arange(100)),
            train=sets["train"],
            reference=reference,
        )
    with pytest.raises(InputError, match="n is 100 but the references were made with 300"):
        evaluate(sets["real"], sets["synthetic"], train=sets["train"], reference=reference, n=100)


def test_another_seed_draws_other_patients(sets, reference, results):
    other = evaluate(
        sets["real"], sets["synthetic"], train=sets["train"], reference=reference, seed=6
    )
    assert other["n"]["rows"] == 300
    assert other["fidelity"] != results["fidelity"]


def test_without_a_training_set_half_of_the_real_one_plays_it(sets):
    found = evaluate(sets["real"], sets["synthetic"])
    assert found["n"]["rows"] == 150 and "train" not in found["n"]
    assert set(found["privacy"].values()) == {None}
    for key in ("privacy.membership_auc", "privacy.dcr", "privacy.attribute_f1", "utility.sra"):
        assert found["notes"][key] == "no training set was given"
    assert found["reference"]["real"]["replicates"] == {}
    assert found["reference"]["copy"]["fidelity"]["prevalence_mae"] is not None


def test_vocabularies_are_aligned(sets, reference):
    real, synthetic = sets["real"], sets["synthetic"]
    turned = synthetic.align(synthetic.codes[::-1])
    extended = synthetic.align([*synthetic.codes, "V99"])
    expected = evaluate(real, synthetic, train=sets["train"], reference=reference)
    for other in (turned, extended):
        found = evaluate(real, other, train=sets["train"], reference=reference)
        assert found["fidelity"]["patient_codes_ks"] == expected["fidelity"]["patient_codes_ks"]
        assert found["fidelity"]["codes_missing"] == expected["fidelity"]["codes_missing"]


def test_progress_is_told_to_a_function_or_shown_on_stderr(sets, capsys):
    told = []
    evaluate(sets["real"], sets["synthetic"], n=40, progress=lambda *step: told.append(step))
    assert told[0] == (1, 78, "real: scores as reported") and told[-1] == (
        78,
        78,
        "synthetic: attribute inference",
    )
    evaluate(sets["real"], sets["synthetic"], n=40, progress=True)
    shown = capsys.readouterr()
    assert "78/78" in shown.err and not shown.out
    told.clear()
    references(sets["real"], train=sets["train"], n=30, progress=lambda *step: told.append(step))
    assert [step[0] for step in told] == list(range(1, told[0][1] + 1))
    assert not capsys.readouterr().err


# Degenerate input ---------------------------------------------------------------------------------------------------


def finite(results: dict) -> dict:
    json.dumps(results, allow_nan=False)
    return results


def test_all_zero_synthetic_rows(sets, reference):
    empty = matrix(sparse.csr_array((300, CODES)))
    found = finite(evaluate(sets["real"], empty, train=sets["train"], reference=reference))
    assert found["fidelity"]["pcd_common"] is None and found["privacy"]["exact_match_rate"] is None
    assert found["utility"]["discriminator_auc"] > 0.9


def test_all_zero_real_rows(sets):
    empty = matrix(sparse.csr_array((300, CODES)))
    found = finite(evaluate(empty, sets["synthetic"], train=sets["train"]))
    assert (
        found["fidelity"]["density_ratio"] is None
        and "empty" in found["notes"]["fidelity.density_ratio"]
    )
    assert set(finite(evaluate(empty, empty, train=empty))["gap"].values()) == {None}


def test_constant_columns_and_one_code():
    constant = matrix(np.tile([1, 0, 2], (60, 1)))
    found = finite(evaluate(constant, constant, train=constant))
    assert found["fidelity"]["prevalence_mae"] == 0 and found["fidelity"]["pcd_common"] is None
    one = matrix(np.random.default_rng(0).poisson(1, size=(200, 1)))
    found = finite(evaluate(one, one, train=one))
    assert found["fidelity"]["cmd"] is None and found["fidelity"]["prevalence_r2"] is None


def test_huge_diverged_counts(sets, reference):
    rng = np.random.default_rng(0)
    huge = matrix(rng.integers(0, np.iinfo(np.int32).max, size=(300, CODES)))
    found = finite(evaluate(sets["real"], huge, train=sets["train"], reference=reference))
    assert found["utility"]["discriminator_auc"] > 0.99
    assert "reported.log_cluster" in found["notes"]


def test_very_few_rows(sets):
    few = {name: matrix(rows.counts[:12]) for name, rows in sets.items()}
    found = finite(evaluate(few["real"], few["synthetic"], train=few["train"]))
    for key in (
        "reported.log_cluster",
        "fidelity.log_cluster_weighted",
        "utility.discriminator_auc",
    ):
        assert "at least 20 rows" in found["notes"][key]
    assert "privacy.membership_auc" in found["notes"]
    one = {name: matrix(rows.counts[:1]) for name, rows in sets.items()}
    finite(evaluate(one["real"], one["synthetic"], train=one["train"]))


def test_nan_infinity_and_misfits_are_refused():
    fine = np.ones((3, 2))
    for bad in (np.nan, np.inf):
        with pytest.raises(InputError, match="the synthetic set holds NaN or infinite"):
            marginal(fine, np.full((3, 2), bad))
        with pytest.raises(InputError, match="NaN or infinite"):
            reported.ddm(fine, np.full((3, 2), bad))
    with pytest.raises(InputError, match="2 and 3 codes"):
        fidelity.mean_count_mae(fine, np.ones((3, 3)))
    with pytest.raises(InputError, match="3 and 4 rows"):
        reported.ddm(fine, np.ones((4, 2)))
    with pytest.raises(InputError, match="at least one patient"):
        reported.pcd(fine, np.ones((0, 2)))


def test_sets_that_cannot_be_compared_are_refused(sets):
    real, synthetic = sets["real"], sets["synthetic"]
    with pytest.raises(InputError, match="to_binary"):
        evaluate(real, synthetic.to_binary())
    with pytest.raises(InputError, match="share no code"):
        evaluate(real, CodeMatrix.from_array(np.ones((30, 2)), ["x", "y"]))
    with pytest.raises(InputError, match="n is 1000"):
        evaluate(real, synthetic, n=1000)
    with pytest.raises(InputError, match="at least one patient"):
        evaluate(real, matrix(sparse.csr_array((0, CODES))))
