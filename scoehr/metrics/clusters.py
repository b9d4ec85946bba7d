"""k-means on real and synthetic rows together: made once a pair, read by every log-cluster score."""

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

#: Clusters of Goncalves et al. (2020), which the report takes over.
N_CLUSTERS = 20


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
    """k-means++ with ten starts on the concatenated rows, as the report runs it.

    ``dense=True`` is the report's computation to the last bit on one machine. ``dense=False`` keeps the rows sparse,
    which is several times quicker: same algorithm and starts, but ties between equally near centres may fall
    differently. Undefined with fewer than ``n_clusters`` rows in either set.
    """
    left, right = pair(real, synthetic)
    if min(left.shape[0], right.shape[0]) < n_clusters:
        raise Undefined(
            f"k-means with {n_clusters} clusters needs at least {n_clusters} rows in each set"
        )
    rows = sparse.csr_array(sparse.vstack([left, right]), dtype=np.float32)
    model = KMeans(
        n_clusters=n_clusters, random_state=small_seed(seed), init="k-means++", n_init=10
    )
    with (
        warnings.catch_warnings(),
        threadpool_limits(limits=1),
    ):  # threads add up in any order: other last bits each time
        warnings.simplefilter(
            "ignore", ConvergenceWarning
        )  # fewer distinct rows than clusters: some stay empty
        labels = model.fit(rows.toarray() if dense else lean(rows)).labels_
    return Clusters(labels, left.shape[0], n_clusters)
