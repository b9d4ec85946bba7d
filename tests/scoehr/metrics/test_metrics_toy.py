"""Nine synthetic sets with known faults: what each score sees of them, and what it cannot see.

Conditions: A independent real sample, B real rows shuffled, C real rows as they are, D all zeros, E independent
columns, F counts thinned to 64 %, G 350 rarest codes never produced, H training rows copied, I diverged
(see ``toy.py``).
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from toy import CODES, MEAN_CELL, Conditions, Toy
from toy import marginal as marginals

from scoehr.metrics import METRICS, Undefined, fidelity, reported
from scoehr.metrics.clusters import Clusters, cluster

FULL = 10_048  # rows of the report's evaluation
FEW = 2_000  # where k-means is run; the orderings are the same
NAMES = "ABCDEFGHI"


@pytest.fixture(scope="module")
def toy() -> Conditions:
    return Conditions(FULL)


@pytest.fixture(scope="module")
def marginal(toy) -> dict[str, dict[str, float]]:
    return {name: marginals(toy.real, toy[name]) for name in NAMES}


@pytest.fixture(scope="module")
def correlation(toy) -> dict[str, dict[str, float]]:
    return {name: fidelity.correlation(toy.real, toy[name]) for name in NAMES}


@pytest.fixture(scope="module")
def ddm(toy) -> dict[str, float]:
    return {name: reported.ddm(toy.real, toy[name]) for name in NAMES}


@pytest.fixture(scope="module")
def cosine(toy) -> dict[str, float]:
    return {name: 100 * reported.cosine_share(toy.real, toy[name]) for name in NAMES}


@pytest.fixture(scope="module")
def clusters() -> dict[str, Clusters]:
    few = Conditions(FEW, 1)
    return {name: cluster(few.real, few[name], dense=False) for name in NAMES}


@pytest.fixture(scope="module")
def replicates(clusters) -> dict[str, list[Clusters]]:
    """A and E again on other patients."""
    made = {"A": [clusters["A"]], "E": [clusters["E"]]}
    for few in (Conditions(FEW, seed) for seed in (3, 4)):
        for name, found in made.items():
            found.append(cluster(few.real, few[name], dense=False))
    return made


# The toy ------------------------------------------------------------------------------------------------------------


def test_the_toy_is_as_sparse_as_the_real_matrix(toy):
    assert toy.real.shape == (FULL, CODES)
    assert toy.real.mean() == pytest.approx(MEAN_CELL, rel=0.03)
    assert toy.F.mean() / toy.A.mean() == pytest.approx(0.64, abs=0.01)
    assert toy.I.mean() == pytest.approx(51, rel=0.01)


def test_its_mean_counts_are_the_known_ones(toy):
    noise = np.sqrt(toy.real.toarray().var(axis=0) / FULL)
    assert np.mean(np.abs(toy.real.mean(axis=0) - Toy().mean) < 3 * noise) > 0.97


# DDM ----------------------------------------------------------------------------------------------------------------


def test_reported_ddm_calls_an_empty_table_better_than_fresh_real_patients(ddm):
    assert ddm["D"] < 0.6 * ddm["A"]
    assert ddm["D"] < min(ddm[name] for name in "ABEFGHI")


def test_reported_ddm_falls_as_codes_are_left_out(ddm):
    assert ddm["D"] < ddm["F"] < ddm["G"] < ddm["A"]


def test_reported_ddm_depends_on_who_stands_in_which_row(ddm):
    assert ddm["C"] == 0
    assert ddm["B"] == pytest.approx(ddm["A"], rel=0.05)


def test_reported_ddm_cannot_tell_real_from_independent_columns_or_a_copy(ddm):
    assert ddm["E"] == pytest.approx(ddm["A"], rel=0.02)
    assert ddm["H"] == pytest.approx(ddm["A"], rel=0.05)


def test_reported_ddm_is_a_mean_of_the_two_densities_over_the_number_of_rows(toy, ddm):
    for name in "DI":  # nothing to overlap with, or too much for the overlap to matter
        assert ddm[name] == pytest.approx(
            CODES * (toy.real.mean() + toy[name].mean()) / FULL, rel=0.01
        )
    half = FULL // 2
    assert reported.ddm(toy.real[:half], toy.A[:half]) == pytest.approx(2 * ddm["A"], rel=0.05)


def test_mean_count_mae_puts_them_in_order_and_is_bounded_by_the_density_difference(toy, marginal):
    score = {name: found["mean_count_mae"] for name, found in marginal.items()}
    assert score["C"] == 0 and score["B"] == pytest.approx(0, abs=1e-12)
    assert max(score[name] for name in "AEH") < score["G"] < score["F"] < score["D"] < score["I"]
    for name in NAMES:
        assert score[name] >= abs(toy.real.mean() - toy[name].mean()) - 1e-12


# Prevalence, support, density ---------------------------------------------------------------------------------------


def test_prevalence_puts_them_in_order(marginal):
    mae = {name: found["prevalence_mae"] for name, found in marginal.items()}
    r2 = {name: found["prevalence_r2"] for name, found in marginal.items()}
    assert mae["B"] == mae["C"] == 0 and r2["B"] == r2["C"] == 1
    assert max(mae[name] for name in "AEH") < mae["G"] < mae["F"] < mae["D"] < mae["I"]
    assert min(r2[name] for name in "AEH") > r2["G"] > 0.98 > r2["F"] > 0 > r2["D"] > r2["I"]


def test_marginals_cannot_tell_independent_columns_from_the_sample_they_were_made_of(marginal):
    for name, value in marginal["A"].items():
        if name.startswith(("prevalence", "mean_count", "density", "codes_")):
            assert marginal["E"][name] == pytest.approx(value)


def test_codes_never_produced_are_counted(marginal):
    missing = {name: found["codes_missing"] for name, found in marginal.items()}
    assert missing == {**dict.fromkeys("ABCEFHI", 0), "D": CODES, "G": 350}
    assert all(
        found["codes_missing"] + found["codes_produced"] == CODES for found in marginal.values()
    )


def test_rare_codes_left_out_show_in_the_low_deciles_and_not_in_correlations(marginal):
    assert marginal["G"]["prevalence_pearson"] > 0.99
    assert (
        marginal["G"]["prevalence_spearman"] > marginal["A"]["prevalence_spearman"]
    )  # a tie costs less than noise
    assert marginal["G"]["prevalence_mae_decile_01"] > 3 * marginal["A"]["prevalence_mae_decile_01"]
    assert marginal["G"]["prevalence_mae_decile_10"] == marginal["A"]["prevalence_mae_decile_10"]


def test_density_and_empty_rows(marginal):
    assert marginal["D"]["density_ratio"] == 0 and marginal["D"]["zero_rows"] == 1
    assert marginal["F"]["density_ratio"] == pytest.approx(0.64, abs=0.03)
    assert marginal["E"]["zero_rows"] < 0.5 * marginal["A"]["zero_rows"]
    assert marginal["F"]["zero_rows"] > marginal["A"]["zero_rows"]


def test_codes_per_patient_see_what_marginals_cannot(marginal):
    for score in ("patient_codes_ks", "patient_codes_wasserstein"):
        assert marginal["E"][score] > 5 * marginal["A"][score]
        assert marginal["F"][score] > 5 * marginal["A"][score]
        assert marginal["B"][score] == 0


# Correlation --------------------------------------------------------------------------------------------------------


def test_reported_pcd_is_the_frobenius_norm_over_all_codes(toy, correlation):
    for name in "ADG":
        assert reported.pcd(toy.real, toy[name]) == pytest.approx(
            correlation[name]["pcd"], rel=1e-3
        )  # in float32


def test_unweighted_pcd_hardly_tells_real_from_independent_columns_and_the_frequent_codes_do(
    correlation,
):
    assert correlation["E"]["pcd"] == pytest.approx(correlation["A"]["pcd"], rel=0.15)
    assert correlation["E"]["pcd_top200"] > 1.4 * correlation["A"]["pcd_top200"]


def test_pcd_has_a_floor_of_sampling_noise(correlation):
    assert correlation["A"]["pcd"] > math.sqrt(2 * CODES * (CODES - 1) / FULL)
    assert correlation["B"]["pcd"] == pytest.approx(0, abs=1e-6)


def test_pcd_of_an_empty_table_is_the_norm_of_the_real_correlations(correlation):
    assert math.sqrt(CODES) < correlation["D"]["pcd"] < 1.3 * math.sqrt(CODES)
    assert correlation["D"]["pcd"] < correlation["I"]["pcd"]


def test_pcd_counts_missing_codes_and_common_support_does_not_see_them(correlation):
    assert correlation["G"]["pcd"] > correlation["A"]["pcd"]
    assert correlation["G"]["pcd_common"] < 0.8 * correlation["A"]["pcd_common"]
    assert correlation["G"]["pcd_top200"] == pytest.approx(correlation["A"]["pcd_top200"])
    assert math.isnan(
        correlation["D"]["pcd_common"]
    )  # no code in common: no score, not a perfect one


def test_no_correlation_score_sees_thinning_or_a_copy(correlation):
    for name in "FH":
        assert correlation[name]["pcd"] == pytest.approx(correlation["A"]["pcd"], rel=0.05)


# Log-cluster --------------------------------------------------------------------------------------------------------


def _reported_log_cluster(found: Clusters) -> float:
    return reported.log_cluster([[0]], [[0]], clusters=found)


def test_reported_log_cluster_has_the_sign_reversed(clusters):
    assert _reported_log_cluster(clusters["B"]) == _reported_log_cluster(clusters["C"]) == 0
    worst = _reported_log_cluster(clusters["D"])
    assert (
        20 * 0.25 * math.log(1 / 20) <= worst < -13
    )  # "lower is better": an empty table would win
    for name in "AEF":
        assert worst < _reported_log_cluster(clusters[name]) < 0


def test_reported_and_published_log_cluster_convert_into_each_other(clusters):
    for name in "ADEF":
        total = _reported_log_cluster(clusters[name]) / math.log(1 / 20)
        assert fidelity.log_cluster(clusters[name]) == pytest.approx(math.log(total / 20), rel=1e-5)


def test_published_log_cluster_is_minus_infinity_for_the_same_rows(clusters):
    for name in "BC":
        assert (
            fidelity.log_cluster(clusters[name])
            == fidelity.log_cluster_weighted(clusters[name])
            == -math.inf
        )


def test_published_log_cluster_is_made_by_clusters_of_a_few_outliers(replicates):
    for found in replicates["A"]:
        small = found.total < 20
        deviation = np.square(found.real / found.total - found.share)
        assert small.sum() >= 3 and deviation[small].sum() > 0.9 * deviation.sum()


def test_published_log_cluster_cannot_tell_real_from_independent_columns_and_the_weighted_one_can(
    replicates,
):
    published = {
        name: [fidelity.log_cluster(found) for found in many] for name, many in replicates.items()
    }
    weighted = {
        name: [fidelity.log_cluster_weighted(found) for found in many]
        for name, many in replicates.items()
    }
    assert min(published["E"]) < max(published["A"])  # independent columns before real patients
    assert np.ptp(published["A"]) > 0.3  # the same comparison on other patients
    assert max(weighted["A"]) < min(weighted["E"])
    assert np.mean(weighted["A"]) < np.mean(weighted["E"]) - 0.7


def test_size_weighted_log_cluster_puts_them_in_order(clusters):
    score = {name: fidelity.log_cluster_weighted(found) for name, found in clusters.items()}
    assert score["B"] == score["C"] == -math.inf
    assert max(score[name] for name in "AH") < min(score["E"], score["F"])
    assert max(score["E"], score["F"]) < score["D"] < score["I"]


def test_diverged_rows_leave_the_real_ones_in_one_cluster(clusters):
    found = clusters["I"]
    assert (found.real > 0).sum() == 1
    with pytest.raises(Undefined, match="no real row"):
        _reported_log_cluster(found)


def test_a_last_cluster_without_real_rows_is_an_error_and_the_impossible_value_can_be_made():
    labels = np.r_[np.zeros(500, int), np.arange(500) % 20]  # every real row in cluster 0
    found = Clusters(labels, n_real=500)
    with pytest.raises(ValueError, match="no valid value"):
        reported.log_cluster([[0]], [[0]], clusters=found)
    impossible = reported.log_cluster([[0]], [[0]], clusters=found, on_missing="broadcast")
    assert impossible < 20 * 0.25 * math.log(1 / 20)  # below the lowest value of the formula
    labels = np.r_[
        np.arange(500) % 19, np.arange(500) % 20
    ]  # the last cluster has synthetic rows only
    for option in ("raise", "broadcast"):
        with pytest.raises(ValueError, match="no valid value"):
            reported.log_cluster(
                [[0]], [[0]], clusters=Clusters(labels, n_real=500), on_missing=option
            )


# Privacy ------------------------------------------------------------------------------------------------------------


def test_reported_privacy_depends_on_the_pairing_alone(toy, cosine):
    filled = 100 * (toy.real.sum(axis=1) > 0).mean()
    assert cosine["C"] == pytest.approx(filled, abs=0.01) and filled > 97
    assert cosine["B"] < 0.6  # the same patients in another order


def test_reported_privacy_gives_a_copy_of_the_training_set_the_score_of_fresh_real_patients(cosine):
    assert abs(cosine["H"] - cosine["A"]) < 0.3
    assert max(cosine[name] for name in "ABEFGH") < 0.6
    assert cosine["D"] == 0 and cosine["I"] < 0.6


def test_membership_auc_finds_the_copy_and_nothing_else(toy):
    auc = {
        name: METRICS["privacy.membership_auc"](toy.real, toy[name], train=toy.train)
        for name in "ADEH"
    }
    assert auc["H"] == pytest.approx(0.97, abs=0.02)
    assert auc["D"] == 0.5
    assert auc["A"] == pytest.approx(0.5, abs=0.02) and auc["E"] == pytest.approx(0.5, abs=0.02)


def test_membership_auc_turns_around_when_the_held_out_rows_are_copied():
    few = Conditions(FEW)
    assert METRICS["privacy.membership_auc"](few.real, few.C, train=few.train) < 0.05


def test_exact_matches_find_the_copy(toy):
    rate = METRICS["privacy.exact_match_rate"]
    usual = rate(toy.real, toy.real, train=toy.train)
    assert rate(toy.real, toy.H, train=toy.train) == 1
    assert rate(toy.real, toy.A, train=toy.train) == pytest.approx(usual, abs=0.01)
    assert rate(toy.real, toy.E, train=toy.train) < usual


# Utility ------------------------------------------------------------------------------------------------------------


def test_the_discriminator_sees_every_fault_but_the_copy():
    few = Conditions(FEW)
    auc = {name: METRICS["utility.discriminator_auc"](few.real, few[name]) for name in "ACDEFGHI"}
    for name in "ACH":
        assert auc[name] == pytest.approx(0.5, abs=0.04)
    assert auc["E"] > 0.7 and auc["F"] > 0.55 and auc["G"] > 0.6
    assert auc["D"] > 0.97 and auc["I"] > 0.99
