"""What each score is: range, direction, the value of a perfect generator, and where it comes from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

FAMILIES = ("reported", "fidelity", "utility", "privacy")

CHOI = "Choi et al. (2017), MLHC"
YAN = "Yan et al. (2022), Nature Communications 13:7609"
GONCALVES = "Goncalves et al. (2020), BMC Medical Research Methodology 20:108"
NASEER = "Naseer et al. (2023), PMLR 219"
EHRDIFF = "Yuan et al. (2023), EHRDiff"
REPORT = "Team 97 (2024)"
JORDON = "Jordon, Yoon & van der Schaar (2018), arXiv:1806.11345"
PLATZER = "Platzer & Reutterer (2021), Frontiers in Big Data 4"
YALE = "Yale et al. (2020), Neurocomputing 416"
CTABGAN = "Zhao et al. (2021), ACML"


@dataclass(frozen=True)
class Metric:
    """One score of the results.

    ``low`` and ``high`` bound it (None: no bound). ``better``: "lower", "higher", or "target" when being off on either
    side is as bad. ``ideal``: the value of a perfect generator, None when that depends on the data and only the
    real-vs-real reference tells. ``paper``: the source.
    """

    title: str
    low: float | None
    high: float | None
    better: Literal["lower", "higher", "target"]
    ideal: float | None
    paper: str


def _deciles() -> dict[str, Metric]:
    ends = {1: " (rarest codes)", 10: " (most prevalent codes)"}
    return {
        f"fidelity.prevalence_mae_decile_{k:02d}": Metric(
            f"Prevalence MAE, decile {k}{ends.get(k, '')}", 0, 1, "lower", 0, CHOI
        )
        for k in range(1, 11)
    }


#: Key: "family.metric", as in the gaps, intervals and notes of the results. The direction of the reported scores is the
#: one that the report reads them in; its log-cluster has the sign reversed, so "lower" is not better there.
METRICS: dict[str, Metric] = {
    "reported.ddm": Metric(
        "DDM as reported", 0, None, "lower", 0, f"{NASEER}, as coded by {REPORT}"
    ),
    "reported.pcd": Metric(
        "PCD as reported", 0, None, "lower", 0, f"{GONCALVES}, as coded by {REPORT}"
    ),
    "reported.log_cluster": Metric(
        "Log-cluster as reported (sign reversed)",
        None,
        0,
        "lower",
        0,
        f"after {GONCALVES}, as coded by {REPORT}",
    ),
    "reported.cosine_share": Metric("Cosine share as reported", 0, 1, "lower", 0, REPORT),
    "fidelity.prevalence_mae": Metric("Prevalence MAE", 0, 1, "lower", 0, f"{CHOI}; {YAN}"),
    "fidelity.prevalence_r2": Metric("Prevalence R²", None, 1, "higher", 1, CHOI),
    "fidelity.prevalence_pearson": Metric("Prevalence, Pearson", -1, 1, "higher", 1, CHOI),
    "fidelity.prevalence_spearman": Metric("Prevalence, Spearman", -1, 1, "higher", 1, CHOI),
    **_deciles(),
    "fidelity.mean_count_mae": Metric(
        "Mean-count MAE (DDM as published)", 0, None, "lower", 0, NASEER
    ),
    "fidelity.density_ratio": Metric(
        "Density ratio", 0, None, "target", 1, "mean cell, synthetic over real"
    ),
    "fidelity.codes_produced": Metric("Codes produced", 0, None, "higher", None, EHRDIFF),
    "fidelity.codes_missing": Metric("Codes never produced", 0, None, "lower", None, EHRDIFF),
    "fidelity.pcd": Metric("PCD", 0, None, "lower", 0, GONCALVES),
    "fidelity.pcd_common": Metric("PCD, codes present in both", 0, None, "lower", 0, GONCALVES),
    "fidelity.pcd_top200": Metric("PCD, 200 most prevalent codes", 0, None, "lower", 0, GONCALVES),
    "fidelity.cmd": Metric("Correlation matrix distance", 0, 2, "lower", 0, EHRDIFF),
    "fidelity.log_cluster": Metric("Log-cluster as published", None, 0, "lower", None, GONCALVES),
    "fidelity.log_cluster_weighted": Metric(
        "Log-cluster, weighted by size", None, 0, "lower", None, f"after {GONCALVES}"
    ),
    "fidelity.patient_codes_ks": Metric(
        "Codes per patient, KS", 0, 1, "lower", 0, "Kolmogorov-Smirnov statistic"
    ),
    "fidelity.patient_codes_wasserstein": Metric(
        "Codes per patient, Wasserstein (codes)", 0, None, "lower", 0, "Wasserstein-1 distance"
    ),
    "fidelity.zero_rows": Metric(
        "Patients without codes", 0, 1, "target", None, "share of synthetic rows"
    ),
    "utility.discriminator_auc": Metric(
        "Discriminator AUC", 0, 1, "lower", 0.5, "Lopez-Paz & Oquab (2017), ICLR"
    ),
    "utility.prediction_auroc_mae": Metric(
        "Dimension-wise prediction, AUROC MAE", 0, 1, "lower", 0, CHOI
    ),
    "utility.prediction_f1_mae": Metric(
        "Dimension-wise prediction, F1 MAE", 0, 1, "lower", 0, CHOI
    ),
    "utility.prediction_correlation": Metric(
        "Dimension-wise prediction, Pearson of AUROC", -1, 1, "higher", 1, CHOI
    ),
    "utility.auroc_loss": Metric(
        "AUROC lost by training on synthetic", -1, 1, "lower", 0, f"after {CHOI}"
    ),
    "utility.sra": Metric("Synthetic ranking agreement (SRA)", 0, 1, "higher", 1, JORDON),
    "privacy.membership_auc": Metric(
        "Membership AUC, nearest neighbour", 0, 1, "lower", 0.5, f"{CHOI}; {YAN}"
    ),
    "privacy.nearer_to_train": Metric(
        "Nearer to training than to held-out", 0, 1, "lower", 0.5, PLATZER
    ),
    "privacy.exact_match_rate": Metric(
        "Exact-match rate", 0, 1, "lower", None, "share of non-empty synthetic rows"
    ),
    "privacy.exact_match_rate_holdout": Metric(
        "Exact-match rate of held-out patients",
        0,
        1,
        "target",
        None,
        "share of non-empty held-out rows",
    ),
    "privacy.near_duplicate_rate": Metric(
        "Near-duplicate rate, two codes or fewer",
        0,
        1,
        "lower",
        None,
        "share of synthetic rows of five codes",
    ),
    "privacy.near_duplicate_rate_holdout": Metric(
        "Near-duplicate rate of held-out patients",
        0,
        1,
        "target",
        None,
        "share of held-out rows of five codes",
    ),
    "privacy.dcr": Metric(
        "DCR to training, 5th percentile (codes)", 0, None, "higher", None, f"{CTABGAN}; {PLATZER}"
    ),
    "privacy.dcr_holdout": Metric(
        "DCR to held-out, 5th percentile (codes)", 0, None, "target", None, PLATZER
    ),
    "privacy.nndr": Metric("NNDR to training, median", 0, 1, "higher", None, CTABGAN),
    "privacy.nndr_holdout": Metric("NNDR to held-out, median", 0, 1, "target", None, CTABGAN),
    "privacy.adversarial_train": Metric(
        "Adversarial accuracy, training", 0, 1, "target", 0.5, YALE
    ),
    "privacy.adversarial_holdout": Metric(
        "Adversarial accuracy, held-out", 0, 1, "target", 0.5, YALE
    ),
    "privacy.adversarial_loss": Metric(
        "Privacy loss (adversarial accuracies)", -1, 1, "lower", 0, YALE
    ),
    "privacy.presence_sensitivity": Metric(
        "Presence disclosure, sensitivity", 0, 1, "lower", None, CHOI
    ),
    "privacy.presence_precision": Metric(
        "Presence disclosure, precision", 0, 1, "lower", 0.5, CHOI
    ),
    "privacy.attribute_f1": Metric("Attribute inference, F1", 0, 1, "lower", None, CHOI),
    "privacy.attribute_f1_holdout": Metric(
        "Attribute inference from held-out, F1", 0, 1, "target", None, CHOI
    ),
}
