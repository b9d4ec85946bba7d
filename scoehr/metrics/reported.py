"""The four scores of the report (Team 97, 2024), formulas and faults included.

They are kept to show what they see and what they cannot see; :mod:`scoehr.metrics.fidelity` has the corrected ones.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from scoehr.metrics.arrays import Rows, Undefined, pair
from scoehr.metrics.clusters import Clusters, cluster


def ddm(real: Rows, synthetic: Rows) -> float:
    """Dimensional distribution metric as reported: sum over codes of mean |real - synthetic|, over the patients again.

    Row i of one set is set against row i of the other, whoever they are, and the divisor is the number of patients, so
    the score falls with more rows and with fewer codes: an empty table beats fresh real patients.

    Parameters
    ----------
    real, synthetic : arrays of shape (n_patients, n_codes), the same number of rows

    Returns
    -------
    float in [0, inf), lower read as better; 0 only for the same rows in the same order.

    References
    ----------
    Naseer et al. (2023), ScoEHR, section on DWM and DEM, as coded by Team 97 (2024).
    """
    left, right = _tensors(real, synthetic)
    return float((torch.abs(left - right).mean(dim=0).sum() / len(left)).item())


def pcd(real: Rows, synthetic: Rows) -> float:
    """Pairwise correlation difference as reported: Frobenius norm, the correlation of a constant column set to 0.

    Parameters
    ----------
    real, synthetic : arrays of shape (n_patients, n_codes)

    Returns
    -------
    float in [0, 2 n_codes], lower is better; 0 means equal correlations. Two samples of the same patients do not get
    near 0 (about sqrt(2 D (D-1) / n) for D codes), and a code that is never produced costs at least 1 under the root.

    References
    ----------
    Goncalves et al. (2020), BMC Medical Research Methodology 20:108, as coded by Team 97 (2024).
    """
    left, right = _tensors(real, synthetic, paired=False)
    return float(torch.norm(_correlation(left) - _correlation(right)).item())


def log_cluster(
    real: Rows,
    synthetic: Rows,
    *,
    on_missing: Literal["raise", "broadcast"] = "raise",
    clusters: Clusters | None = None,
) -> float:
    """Log-cluster as reported: log(1/G) * sum over clusters of (real share - c)^2, with the sign reversed by log(1/G).

    The report reads it as lower is better, but G clusters without any overlap get the lowest value and equal shares
    get 0. The report also counts the real rows with ``np.bincount`` without ``minlength``: if the last clusters hold
    no real row the two counts differ in length. Its code then stops, unless all real rows lie in the first cluster:
    there the one count is broadcast, and the value is impossible.

    Parameters
    ----------
    real, synthetic : arrays of shape (n_patients, n_codes)
    on_missing : "raise" makes both cases a ValueError; "broadcast" returns the impossible value where the report did
    clusters : what :func:`~scoehr.metrics.clusters.cluster` made of the same rows, else k-means is run

    Returns
    -------
    float in [G log(1/G) max(c, 1-c)^2, 0], the lower the more different; any value beyond is the broadcast fault.

    Raises
    ------
    Undefined (a ValueError)
        If a cluster holds no real row as described, is empty, or the sets have fewer rows than clusters.

    References
    ----------
    After Goncalves et al. (2020), as coded by Team 97 (2024).
    """
    clusters = clusters or cluster(real, synthetic)
    total = np.bincount(clusters.labels)
    counts = np.bincount(clusters.labels[: clusters.n_real])
    impossible = len(counts) == 1 < len(total) and on_missing == "broadcast"
    if len(counts) != len(total) and not impossible:
        raise Undefined(
            f"cluster {len(total)} of {len(total)} holds no real row, so the report's counts have lengths "
            f"{len(counts)} and {len(total)} and its formula has no valid value"
        )
    if (total == 0).any():
        raise Undefined("a cluster is empty, so the report's formula divides 0 by 0")
    share = torch.tensor(counts) / torch.tensor(total)
    return float(
        math.log(1 / clusters.n_clusters) * torch.sum(torch.pow(share - clusters.share, 2))
    )


def cosine_share(real: Rows, synthetic: Rows) -> float:
    """Share of rows i with cosine(real_i, synthetic_i) > 0.5: what the report calls privacy.

    It compares two arbitrary patients, neither from the training set, so a verbatim copy of the training set scores
    like fresh real patients.

    Parameters
    ----------
    real, synthetic : arrays of shape (n_patients, n_codes), the same number of rows

    Returns
    -------
    float in [0, 1], lower read as better; 1 for the same (non-empty) rows in the same order.

    References
    ----------
    Team 97 (2024), after the presence disclosure of Naseer et al. (2023).
    """
    similarity = torch.nn.functional.cosine_similarity(*_tensors(real, synthetic), dim=1)
    return float(((similarity > 0.5).sum() / similarity.shape[0]).item())


def _tensors(real: Rows, synthetic: Rows, *, paired: bool = True) -> tuple[Tensor, Tensor]:
    left, right = (
        rows.astype(np.float32).toarray() for rows in pair(real, synthetic, paired=paired)
    )
    return torch.from_numpy(left), torch.from_numpy(right)


def _correlation(rows: Tensor) -> Tensor:
    """torch.corrcoef over columns, (n_codes, n_codes), NaN set to 0 (a constant column has no correlation)."""
    if len(rows) < 2:
        raise Undefined("a correlation needs at least two rows")
    return torch.nan_to_num(torch.corrcoef(rows.T), nan=0.0)
