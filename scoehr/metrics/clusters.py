"""k-means on real and synthetic rows together, made once for every log-cluster score."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from scipy import sparse
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import threadpool_limits

from scoehr.files import small_seed
from scoehr.metrics.arrays import Rows, Undefined, lean, pair
from scoehr.metrics.registry import Pair

#: Clusters of Goncalves et al. (2020), which the report took over.
N_CLUSTERS = 20
#: Cells of both sets together that k-means takes dense at most (half a GiB, twice).
CELLS = 2**27


@dataclass(frozen=True)
class Clusters:
    """Cluster of each row, the real rows first."""

    labels: np.ndarray  # (n_real + n_synthetic,)
    n_real: int
    n_clusters: int = N_CLUSTERS

    @property
    def real(self) -> np.ndarray:
        """Real rows of each cluster, shape (n_clusters,)."""
        return np.bincount(self.labels[: self.n_real], minlength=self.n_clusters)

    @property
    def total(self) -> np.ndarray:
        """Rows of each cluster, shape (n_clusters,)."""
        return np.bincount(self.labels, minlength=self.n_clusters)

    @property
    def share(self) -> float:
        """Share of real rows, the c of the formulas."""
        return self.n_real / len(self.labels)


def cluster(
    real: Rows, synthetic: Rows, *, n_clusters: int = N_CLUSTERS, seed: int = 1, dense: bool = True
) -> Clusters:
    """k-means++ with ten starts on the concatenated rows, as in the report.

    Args:
        real, synthetic: arrays of shape (n_patients, n_codes)
        dense: True is the report's computation to the last bit on one machine. False keeps the rows
            sparse, which is several times quicker: same algorithm and starts, but ties between
            equally near centres may fall differently. Tables of more than 2^27 cells are always
            kept sparse.

    Raises:
        Undefined: If a set has fewer rows than ``n_clusters``.
    """
    left, right = pair(real, synthetic)
    if min(left.shape[0], right.shape[0]) < n_clusters:
        raise Undefined(
            f"k-means with {n_clusters} clusters needs at least {n_clusters} rows in each set"
        )
    rows = sparse.csr_array(sparse.vstack([left, right]), dtype=np.float32)
    dense = dense and rows.shape[0] * rows.shape[1] <= CELLS
    model = KMeans(
        n_clusters=n_clusters, random_state=small_seed(seed), init="k-means++", n_init=10
    )
    # One thread: more would add up in another order, with other last bits. Fewer distinct rows than
    # clusters leave some empty, of which scikit-learn warns.
    with warnings.catch_warnings(), threadpool_limits(limits=1):
        warnings.simplefilter("ignore", ConvergenceWarning)
        labels = model.fit(rows.toarray() if dense else lean(rows)).labels_
    return Clusters(labels, left.shape[0], n_clusters)


def clustered(pair: Pair) -> tuple[Clusters]:
    """The clusters of the two sets of a pair."""
    return (cluster(pair.real, pair.synthetic, dense=pair.dense),)
