"""Do synthetic patients look like real ones: marginals, correlations, clusters, codes per patient.

Functions of two sets take arrays (n_patients, n_codes), dense or sparse; the rows need not be
paired nor equal in number. A part of a dictionary that has no value on the data is NaN.
"""

from __future__ import annotations

import math
from functools import partial

import numpy as np
from scipy.stats import rankdata

from scoehr.metrics.arrays import (
    Correlations,
    Rows,
    codes_per_patient,
    pair,
    prevalence_of,
    squares,
)
from scoehr.metrics.clusters import Clusters, clustered
from scoehr.metrics.registry import (
    CHOI,
    EHRDIFF,
    GONCALVES,
    KS,
    METRICS,
    NASEER,
    YAN,
    Metric,
)

DECILES = 10
#: Codes of the restricted correlation difference.
TOP = 200

_register = partial(METRICS.register, family="fidelity")
_marginal = partial(_register, step="marginals")


def _decile(number: int) -> Metric:
    ends = {1: " (rarest codes)", DECILES: " (most prevalent codes)"}
    title = f"Prevalence MAE, decile {number}{ends.get(number, '')}"
    return Metric(title, 0, 1, "lower", 0, CHOI)


@_marginal(
    prevalence_mae=Metric("Prevalence MAE", 0, 1, "lower", 0, f"{CHOI}; {YAN}"),
    prevalence_r2=Metric("Prevalence R²", None, 1, "higher", 1, CHOI),
    prevalence_pearson=Metric("Prevalence, Pearson", -1, 1, "higher", 1, CHOI),
    prevalence_spearman=Metric("Prevalence, Spearman", -1, 1, "higher", 1, CHOI),
    **{f"prevalence_mae_decile_{k:02d}": _decile(k) for k in range(1, DECILES + 1)},
)
def prevalence(real: Rows, synthetic: Rows) -> dict[str, float]:
    """Dimension-wise probability: the share of patients with each code, real against synthetic.

    Pearson is ruled by the few frequent codes, Spearman by the many rare ones.

    Source: Choi et al. (2017), medGAN, MLHC (dimension-wise probability); Yan et al. (2022), Nature
    Communications 13:7609.

    Returns:
        dict with:

        - prevalence_mae: mean absolute difference over codes, [0, 1], 0 is equal
        - prevalence_r2: coefficient of determination with the real prevalence as truth, (-inf, 1],
          1 is equal
        - prevalence_pearson, prevalence_spearman: correlation of values and of ranks over codes,
          [-1, 1], 1 is best; NaN if one side is constant prevalence_mae_decile_01 … _10 : the MAE
          among a tenth of the codes, from the rarest to the most prevalent in the real set; NaN for
          a tenth without codes
    """
    p, q = (prevalence_of(rows) for rows in pair(real, synthetic))
    error = np.abs(p - q)
    spread = np.square(p - p.mean()).sum() if np.ptp(p) else 0.0
    scores = {
        "prevalence_mae": float(error.mean()),
        "prevalence_r2": float(1 - np.square(p - q).sum() / spread) if spread > 0 else math.nan,
        "prevalence_pearson": _pearson(p, q),
        "prevalence_spearman": _pearson(rankdata(p), rankdata(q)),
    }
    for place, codes in enumerate(np.array_split(np.argsort(p, kind="stable"), DECILES), start=1):
        mae = float(error[codes].mean()) if len(codes) else math.nan
        scores[f"prevalence_mae_decile_{place:02d}"] = mae
    return scores


@_marginal(mean_count_mae=Metric("Mean-count MAE (DDM as published)", 0, None, "lower", 0, NASEER))
def mean_count_mae(real: Rows, synthetic: Rows) -> float:
    """Mean absolute difference of each code's mean count: the DDM as published.

    Float in [0, inf), occurrences a patient and code; 0 is equal means.

    Source: Naseer et al. (2023), DEM with the dimension's mean for d.
    """
    left, right = pair(real, synthetic)
    return float(np.abs(left.mean(axis=0) - right.mean(axis=0)).mean())


@_marginal(
    density_ratio=Metric("Density ratio", 0, None, "target", 1, "mean cell, synthetic over real")
)
def density_ratio(real: Rows, synthetic: Rows) -> float:
    """Mean cell of the synthetic over that of the real set.

    Float in [0, inf), 1 is right, below 1 codes are missing; NaN when the real set has no codes.
    """
    left, right = pair(real, synthetic)
    return float(right.mean() / left.mean()) if left.mean() else math.nan


# Resampled rows can only lose a code, so the bootstrap has no error for these numbers.
@_marginal(
    interval=False,
    codes_produced=Metric("Codes produced", 0, None, "higher", None, EHRDIFF),
    codes_missing=Metric("Codes never produced", 0, None, "lower", None, EHRDIFF),
)
def support(real: Rows, synthetic: Rows) -> dict[str, int]:
    """How many of the codes that occur in the real set the synthetic set has.

    Source: Yan et al. (2022) and EHRDiff (Yuan et al. 2023) call the first the number of non-zero
    columns.

    Returns:
        dict with codes_produced, at least once, and codes_missing; together the codes of the real
        set.
    """
    present, made = (prevalence_of(rows) > 0 for rows in pair(real, synthetic))
    return {
        "codes_produced": int((present & made).sum()),
        "codes_missing": int((present & ~made).sum()),
    }


@_register(
    step="correlations",
    interval=False,
    pcd=Metric("PCD", 0, None, "lower", 0, GONCALVES),
    pcd_common=Metric("PCD, codes present in both", 0, None, "lower", 0, GONCALVES),
    pcd_top200=Metric("PCD, 200 most prevalent codes", 0, None, "lower", 0, GONCALVES),
    cmd=Metric("Correlation matrix distance", 0, 2, "lower", 0, EHRDIFF),
)
def correlation(real: Rows, synthetic: Rows, *, top: int = TOP) -> dict[str, float]:
    """Differences of the Pearson correlations between codes; a constant column has correlation 0.

    Source: Goncalves et al. (2020), BMC Medical Research Methodology 20:108 (PCD); EHRDiff, Yuan et
    al. (2023) (CMD).

    Returns:
        dict with All are 0 for equal correlations and NaN where no code or pair is left.:

        - pcd: Frobenius norm over all codes, [0, 2 n_codes]
        - pcd_common: over the codes that vary in both sets; codes never produced do not count
        - pcd_top200: over the ``top`` codes most prevalent in the real set, where sampling noise
          does not drown it
        - cmd: mean absolute difference over pairs of different codes, [0, 2]
    """
    left, right = pair(real, synthetic)
    one, other = Correlations(left), Correlations(right)
    varies = np.flatnonzero(one.varies & other.varies)
    frequent = np.argsort(-prevalence_of(left), kind="stable")[:top]
    among = np.zeros((len(frequent), len(frequent)))
    total, common, apart = 0.0, 0.0, 0.0
    for codes in one.blocks:
        difference = one[codes] - other[codes]
        here, also = (_within(codes, places) for places in (varies, frequent))
        total += squares(difference)
        common += squares(difference[np.ix_(varies[here] - codes.start, varies)])
        apart += np.abs(difference).sum() - np.abs(difference[:, codes].diagonal()).sum()
        among[also] = difference[np.ix_(frequent[also] - codes.start, frequent)]
    pairs = left.shape[1] * (left.shape[1] - 1)
    return {
        "pcd": math.sqrt(total),
        "pcd_common": math.sqrt(common) if len(varies) else math.nan,
        "pcd_top200": math.sqrt(squares(among)),
        "cmd": float(apart / pairs) if pairs else math.nan,
    }


@_register(
    clustered,
    step="clusters",
    interval=False,
    log_cluster=Metric("Log-cluster as published", None, 0, "lower", None, GONCALVES),
)
def log_cluster(clusters: Clusters) -> float:
    """Log-cluster as published: log of the mean over clusters of (real share - c)^2.

    On raw counts most of it comes from clusters of a few outlying patients: see
    :func:`log_cluster_weighted`.

    Float in [-inf, 2 log max(c, 1-c)], lower is better, -inf for equal shares in every cluster.

    Source: Goncalves et al. (2020), BMC Medical Research Methodology 20:108, equation of U_c.
    """
    return _log(_deviation(clusters).sum() / clusters.n_clusters)


@_register(
    clustered,
    step="clusters",
    interval=False,
    log_cluster_weighted=Metric(
        "Log-cluster, weighted by size", None, 0, "lower", None, f"after {GONCALVES}"
    ),
)
def log_cluster_weighted(clusters: Clusters) -> float:
    """Log-cluster weighted by each cluster's share of the rows: an outlier counts as one row.

    Float in [-inf, 2 log max(c, 1-c)], lower is better, -inf for equal shares in every cluster.

    Source: after Goncalves et al. (2020), equation of U_c.
    """
    return _log(_deviation(clusters) @ clusters.total / clusters.total.sum())


@_marginal(
    patient_codes_ks=Metric("Codes per patient, KS", 0, 1, "lower", 0, KS),
    patient_codes_wasserstein=Metric(
        "Codes per patient, Wasserstein (codes)", 0, None, "lower", 0, "Wasserstein-1 distance"
    ),
)
def patient_codes(real: Rows, synthetic: Rows) -> dict[str, float]:
    """Distance between the distributions of the number of distinct codes a patient.

    Returns:
        dict with Both are 0 for equal distributions.:

        - patient_codes_ks: largest difference of the distribution functions, [0, 1]
        - patient_codes_wasserstein: the area between them, in codes, [0, n_codes]
    """
    sizes = [codes_per_patient(rows) for rows in pair(real, synthetic)]
    longest = max(size.max() for size in sizes) + 1
    one, other = (np.cumsum(np.bincount(size, minlength=longest)) / len(size) for size in sizes)
    apart = np.abs(one - other)
    return {
        "patient_codes_ks": float(apart.max()),
        "patient_codes_wasserstein": float(apart.sum()),
    }


@_marginal(
    zero_rows=Metric("Patients without codes", 0, 1, "target", None, "share of synthetic rows")
)
def zero_rows(real: Rows, synthetic: Rows) -> float:
    """Share of synthetic patients without any code.

    Float in [0, 1]; it should be the share among real patients.
    """
    return float((codes_per_patient(pair(real, synthetic)[1]) == 0).mean())


def _pearson(x: np.ndarray, y: np.ndarray) -> float:
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return math.nan
    return float(np.clip(np.corrcoef(x, y)[0, 1], -1, 1))


def _within(codes: slice, places: np.ndarray) -> np.ndarray:
    """Which of the places lie in the slice."""
    return np.flatnonzero((places >= codes.start) & (places < codes.stop))


def _deviation(clusters: Clusters) -> np.ndarray:
    """(real share - c)^2 of each cluster, 0 for an empty one."""
    total, same = clusters.total, np.full(clusters.n_clusters, clusters.share)
    share = np.divide(clusters.real, total, out=same, where=total > 0)
    return np.square(share - clusters.share)


def _log(value: float) -> float:
    return math.log(value) if value > 0 else -math.inf
