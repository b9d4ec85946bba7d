"""The four scores of the report (Team 97, 2024), formulas and faults included.

They show what they see and what they cannot see; :mod:`scoehr.metrics.fidelity` has the corrected
ones. Tables of up to 2^26 cells, all published ones among them, are computed dense and in single
precision, to the last bit as in the report; larger ones by the same formulas on sparse rows.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Literal

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from scoehr.metrics.arrays import Correlations, Rows, Undefined, pair, unit
from scoehr.metrics.clusters import Clusters, cluster, clustered
from scoehr.metrics.registry import GONCALVES, METRICS, NASEER, REPORT, Metric, Pair

#: Cells of a set that is computed dense, at most.
CELLS = 2**26

_register = partial(METRICS.register, family="reported", step="scores as reported", interval=False)


@_register(ddm=Metric("DDM as reported", 0, None, "lower", 0, f"{NASEER}, as coded by {REPORT}"))
def ddm(real: Rows, synthetic: Rows) -> float:
    """Dimensional distribution metric as reported: row i of one set against row i of the other.

    Sum over codes of mean |real - synthetic|, divided by the number of patients once more, so that
    it falls with more rows and with fewer codes: an empty table beats fresh real patients.

    Float in [0, inf), lower read as better; 0 only for the same rows in the same order.

    Source: Naseer et al. (2023), ScoEHR, section on DWM and DEM, as coded by Team 97 (2024).

    Args:
        real, synthetic: arrays of shape (n_patients, n_codes), the same number of rows
    """
    left, right = pair(real, synthetic, paired=True)
    if _large(left, right):
        return float(abs(left - right).sum() / left.shape[0] ** 2)
    means = torch.abs(_dense(left) - _dense(right)).mean(dim=0)
    return float((means.sum() / left.shape[0]).item())


@_register(pcd=Metric("PCD as reported", 0, None, "lower", 0, f"{GONCALVES}, as coded by {REPORT}"))
def pcd(real: Rows, synthetic: Rows) -> float:
    """Pairwise correlation difference as reported: a constant column has correlation 0.

    Two samples of the same patients do not get near 0 (about sqrt(2 D (D-1) / n) for D codes), and
    a code that is never produced costs at least 1 under the root.

    Float in [0, 2 n_codes], lower is better; 0 means equal correlations.

    Source: Goncalves et al. (2020), BMC Medical Research Methodology 20:108, as coded by Team 97
    (2024).

    Args:
        real, synthetic: arrays of shape (n_patients, n_codes)

    Raises:
        Undefined: If a set has a single row.
    """
    left, right = pair(real, synthetic)
    if min(left.shape[0], right.shape[0]) < 2:
        raise Undefined("a correlation needs at least two rows")
    if _large(left, right):
        return math.sqrt(Correlations(left).squared_distance(Correlations(right)))
    return float(torch.norm(_correlation(left) - _correlation(right)).item())


def _with_clusters(pair: Pair) -> tuple[Rows, Rows, Clusters]:
    return pair.real, pair.synthetic, *pair.once(clustered)


@_register(
    _with_clusters,
    step="clusters",
    log_cluster=Metric(
        "Log-cluster as reported (sign reversed)",
        *(None, 0, "lower", 0),
        f"after {GONCALVES}, as coded by {REPORT}",
    ),
)
def log_cluster(
    real: Rows,
    synthetic: Rows,
    clusters: Clusters | None = None,
    *,
    on_missing: Literal["raise", "broadcast"] = "raise",
) -> float:
    """Log-cluster as reported: log(1/G) * sum over clusters of (real share - c)^2.

    log(1/G) reverses the sign. The report reads lower as better, but G clusters without any overlap
    get the lowest value and equal shares get 0. It also counts the real rows with ``np.bincount``
    without ``minlength``: if the last clusters hold no real row, the two counts differ in length.
    Its code then stops, unless all real rows lie in the first cluster: there the one count is
    broadcast, and the value is impossible.

    Float in [G log(1/G) max(c, 1-c)^2, 0], the lower the more different; any value beyond is the
    broadcast fault.

    Source: after Goncalves et al. (2020), as coded by Team 97 (2024).

    Args:
        real, synthetic: arrays of shape (n_patients, n_codes)
        clusters: what :func:`~scoehr.metrics.clusters.cluster` made of them, else k-means is run
        on_missing: "raise" makes both cases an error; "broadcast" returns the impossible value
            where the report did

    Raises:
        Undefined: If a cluster is empty or without real rows as described, or a set has fewer rows
            than clusters.
    """
    clusters = clusters or cluster(real, synthetic)
    total = np.bincount(clusters.labels)
    counts = np.bincount(clusters.labels[: clusters.n_real])
    impossible = len(counts) == 1 < len(total) and on_missing == "broadcast"
    if len(counts) != len(total) and not impossible:
        raise Undefined(
            f"cluster {len(total)} of {len(total)} holds no real row, so the report's counts have "
            f"lengths {len(counts)} and {len(total)} and its formula has no valid value"
        )
    if (total == 0).any():
        raise Undefined("a cluster is empty, so the report's formula divides 0 by 0")
    share = torch.tensor(counts) / torch.tensor(total)
    deviation = torch.sum(torch.pow(share - clusters.share, 2))
    return float(math.log(1 / clusters.n_clusters) * deviation)


@_register(cosine_share=Metric("Cosine share as reported", 0, 1, "lower", 0, REPORT))
def cosine_share(real: Rows, synthetic: Rows) -> float:
    """Share of rows i with cosine(real_i, synthetic_i) > 0.5: what the report calls privacy.

    It compares two arbitrary patients, neither from the training set, so a verbatim copy of the
    training set scores like fresh real patients.

    Float in [0, 1], lower read as better; 1 for the same (non-empty) rows in the same order.

    Source: Team 97 (2024), after the presence disclosure of Naseer et al. (2023).

    Args:
        real, synthetic: arrays of shape (n_patients, n_codes), the same number of rows
    """
    left, right = pair(real, synthetic, paired=True)
    if _large(left, right):
        similarity = np.asarray(unit(left).multiply(unit(right)).sum(axis=1)).ravel()
        return float((similarity > 0.5).mean())
    cosine = torch.nn.functional.cosine_similarity(_dense(left), _dense(right), dim=1)
    return float(((cosine > 0.5).sum() / cosine.shape[0]).item())


def _large(*sets: sparse.csr_array) -> bool:
    return max(rows.shape[0] * rows.shape[1] for rows in sets) > CELLS


def _dense(rows: sparse.csr_array) -> Tensor:
    return torch.from_numpy(rows.astype(np.float32).toarray())


def _correlation(rows: sparse.csr_array) -> Tensor:
    """torch.corrcoef over columns, (n_codes, n_codes), NaN as 0: constant columns have none."""
    return torch.nan_to_num(torch.corrcoef(_dense(rows).T), nan=0.0)
