"""Do synthetic patients look like real ones: marginals, correlations, clusters, codes per patient.

Each function takes two arrays (n_patients, n_codes), dense or sparse; the rows need not be paired nor equal in number.
Functions that return a dictionary give NaN for a part that has no value on the data.
"""

from __future__ import annotations

import math

import numpy as np
from scipy.stats import rankdata

from scoehr.metrics.arrays import Rows, codes_per_patient, correlation_of, pair, prevalence_of
from scoehr.metrics.clusters import Clusters

DECILES = 10
#: Codes of the restricted correlation difference.
TOP = 200


def prevalence(real: Rows, synthetic: Rows) -> dict[str, float]:
    """Dimension-wise probability: the share of patients with each code, real against synthetic.

    Returns
    -------
    dict with
        mae : mean absolute difference over codes, [0, 1], 0 is equal
        r2 : coefficient of determination with the real prevalence as truth, (-inf, 1], 1 is equal
        pearson, spearman : correlation of values and of ranks over codes, [-1, 1], 1 is best; Pearson is ruled by the
            few frequent codes, Spearman by the many rare ones; NaN if one side is constant
        mae_decile_01 … mae_decile_10 : the MAE among a tenth of the codes, from the rarest to the most prevalent in the
            real set; NaN for a tenth without codes

    References
    ----------
    Choi et al. (2017), medGAN, MLHC (dimension-wise probability); Yan et al. (2022), Nature Communications 13:7609.
    """
    p, q = (prevalence_of(rows) for rows in pair(real, synthetic))
    error = np.abs(p - q)
    spread = np.square(p - p.mean()).sum() if np.ptp(p) else 0.0
    scores = {
        "mae": float(error.mean()),
        "r2": float(1 - np.square(p - q).sum() / spread) if spread > 0 else math.nan,
        "pearson": _pearson(p, q),
        "spearman": _pearson(rankdata(p), rankdata(q)),
    }
    for place, codes in enumerate(np.array_split(np.argsort(p, kind="stable"), DECILES), start=1):
        scores[f"mae_decile_{place:02d}"] = float(error[codes].mean()) if len(codes) else math.nan
    return scores


def mean_count_mae(real: Rows, synthetic: Rows) -> float:
    """Mean absolute difference of each code's mean count: the dimensional distribution metric as published.

    Float in [0, inf), occurrences a patient and code; 0 is equal means. Naseer et al. (2023), DEM with the dimension's
    mean for d.
    """
    left, right = pair(real, synthetic)
    return float(np.abs(left.mean(axis=0) - right.mean(axis=0)).mean())


def density_ratio(real: Rows, synthetic: Rows) -> float:
    """Mean cell of the synthetic over that of the real set: [0, inf), 1 is right, below 1 codes are missing.

    NaN when the real set has no codes.
    """
    left, right = pair(real, synthetic)
    return float(right.mean() / left.mean()) if left.mean() else math.nan


def support(real: Rows, synthetic: Rows) -> dict[str, int]:
    """How many of the codes that occur in the real set are ``produced`` at least once, and how many ``missing``.

    Yan et al. (2022) and EHRDiff (Yuan et al. 2023) call the first the number of non-zero columns.
    """
    present, made = (prevalence_of(rows) > 0 for rows in pair(real, synthetic))
    return {"produced": int((present & made).sum()), "missing": int((present & ~made).sum())}


def correlation(real: Rows, synthetic: Rows, *, top: int = TOP) -> dict[str, float]:
    """Differences of the Pearson correlations between codes, (n_codes, n_codes); a constant column has correlation 0.

    Returns
    -------
    dict with
        pcd : Frobenius norm over all codes (Goncalves et al. 2020), [0, 2 n_codes]
        pcd_common : over the codes that vary in both sets; it does not see codes that are never produced
        pcd_top200 : over the ``top`` codes most prevalent in the real set, where sampling noise does not drown it
        cmd : mean absolute difference over pairs of different codes (EHRDiff, Yuan et al. 2023), [0, 2]
    All are 0 for equal correlations and NaN where no code or pair is left.
    """
    left, right = pair(real, synthetic)
    (one, varies), (other, also) = correlation_of(left), correlation_of(right)
    difference = one - other
    common = np.flatnonzero(varies & also)
    frequent = np.argsort(-prevalence_of(left), kind="stable")[:top]
    pairs = len(difference) * (len(difference) - 1)
    off_diagonal = np.abs(difference).sum() - np.abs(np.diag(difference)).sum()
    return {
        "pcd": float(np.linalg.norm(difference)),
        "pcd_common": float(np.linalg.norm(difference[np.ix_(common, common)]))
        if len(common)
        else math.nan,
        "pcd_top200": float(np.linalg.norm(difference[np.ix_(frequent, frequent)])),
        "cmd": float(off_diagonal / pairs) if pairs else math.nan,
    }


def log_cluster(clusters: Clusters) -> float:
    """Log-cluster as published: log of the mean over clusters of (real share - c)^2.

    Float in [-inf, 2 log max(c, 1-c)], lower is better, -inf for equal shares in every cluster. On raw counts most
    of it comes from clusters of a few outlying patients: see :func:`log_cluster_weighted`.

    References
    ----------
    Goncalves et al. (2020), BMC Medical Research Methodology 20:108, equation of U_c.
    """
    return _log(_deviation(clusters).sum() / clusters.n_clusters)


def log_cluster_weighted(clusters: Clusters) -> float:
    """Log-cluster with each cluster weighted by its share of the rows, so that a lone outlier counts as one row.

    Float in [-inf, 2 log max(c, 1-c)], lower is better, -inf for equal shares in every cluster.
    """
    return _log(_deviation(clusters) @ clusters.total / clusters.total.sum())


def patient_codes(real: Rows, synthetic: Rows) -> dict[str, float]:
    """Distance between the distributions of the number of distinct codes a patient.

    Returns
    -------
    dict with
        ks : Kolmogorov-Smirnov statistic, the largest difference of the distribution functions, [0, 1]
        wasserstein : the area between them, in codes, [0, n_codes]
    Both are 0 for equal distributions.
    """
    sizes = [codes_per_patient(rows) for rows in pair(real, synthetic)]
    longest = max(size.max() for size in sizes) + 1
    one, other = (np.cumsum(np.bincount(size, minlength=longest)) / len(size) for size in sizes)
    return {"ks": float(np.abs(one - other).max()), "wasserstein": float(np.abs(one - other).sum())}


def zero_rows(real: Rows, synthetic: Rows) -> float:
    """Share of synthetic patients without any code, [0, 1]; it should be the share among real patients."""
    return float((codes_per_patient(pair(real, synthetic)[1]) == 0).mean())


def marginal(real: Rows, synthetic: Rows) -> dict[str, float]:
    """All scores of this module that take milliseconds, under the names they bear in the results."""
    real, synthetic = pair(real, synthetic)
    return {
        **{f"prevalence_{name}": value for name, value in prevalence(real, synthetic).items()},
        "mean_count_mae": mean_count_mae(real, synthetic),
        "density_ratio": density_ratio(real, synthetic),
        **{f"codes_{name}": value for name, value in support(real, synthetic).items()},
        **{
            f"patient_codes_{name}": value for name, value in patient_codes(real, synthetic).items()
        },
        "zero_rows": zero_rows(real, synthetic),
    }


def _pearson(x: np.ndarray, y: np.ndarray) -> float:
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return math.nan
    return float(np.clip(np.corrcoef(x, y)[0, 1], -1, 1))


def _deviation(clusters: Clusters) -> np.ndarray:
    """(real share - c)^2 of each cluster, 0 for an empty one."""
    total = clusters.total
    share = np.divide(
        clusters.real, total, out=np.full(len(total), clusters.share), where=total > 0
    )
    return np.square(share - clusters.share)


def _log(value: float) -> float:
    return math.log(value) if value > 0 else -math.inf
