"""What every metric needs of its input: checked sparse rows, column moments, independent columns."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from scipy import sparse

from scoehr.files import InputError

#: Dense array or SciPy sparse array of shape (n_patients, n_codes).
Rows: TypeAlias = np.ndarray | sparse.sparray | sparse.spmatrix

#: Share of non-zero cells above which a dense product is quicker than a sparse one.
DENSE = 0.1


class Undefined(ValueError):
    """The score has no value on these data; the message says why."""


def checked(array: Rows, name: str = "the array") -> sparse.csr_array:
    """The rows as canonical CSR, float64, 32-bit indices; InputError if there are none, or a NaN or infinite value."""
    if not isinstance(array, sparse.sparray | sparse.spmatrix):
        array = np.asarray(array)
    if len(array.shape) != 2 or not all(array.shape):
        raise InputError(f"{name} has shape {array.shape}; give at least one patient and one code")
    rows = sparse.csr_array(array, dtype=np.float64)
    if not rows.has_canonical_format:
        rows = rows.copy()
        rows.sum_duplicates()
    rows.indices, rows.indptr = (
        index.astype(np.int32, copy=False) for index in (rows.indices, rows.indptr)
    )
    if not np.isfinite(rows.data).all():
        raise InputError(
            f"{name} holds NaN or infinite values; give finite counts (a diverged model makes such rows)"
        )
    return rows


def pair(
    real: Rows, synthetic: Rows, *, paired: bool = False
) -> tuple[sparse.csr_array, sparse.csr_array]:
    """Both sets checked; they must have the same columns and, if ``paired``, the same number of rows."""
    left, right = checked(real, "the real set"), checked(synthetic, "the synthetic set")
    if left.shape[1] != right.shape[1]:
        raise InputError(
            f"the sets have {left.shape[1]} and {right.shape[1]} codes; align them to one vocabulary"
        )
    if paired and left.shape[0] != right.shape[0]:
        raise InputError(
            f"the sets have {left.shape[0]} and {right.shape[0]} rows; this score pairs them, cut one"
        )
    return left, right


def lean(rows: sparse.csr_array) -> sparse.csr_array | np.ndarray:
    """The rows in the form that makes products quick: dense when more than a tenth of the cells are in use."""
    return rows.toarray() if rows.nnz > DENSE * rows.shape[0] * rows.shape[1] else rows


def presence(rows: sparse.csr_array) -> sparse.csr_array:
    """1 where a code was recorded, else 0."""
    return sparse.csr_array(rows > 0, dtype=np.float64)


def prevalence_of(rows: sparse.csr_array) -> np.ndarray:
    """Share of patients with each code, shape (n_codes,), in [0, 1]."""
    return presence(rows).mean(axis=0)


def codes_per_patient(rows: sparse.csr_array) -> np.ndarray:
    """Number of distinct codes of each patient, shape (n_patients,)."""
    return np.asarray(presence(rows).sum(axis=1)).astype(int)


def correlation_of(rows: sparse.csr_array) -> tuple[np.ndarray, np.ndarray]:
    """Pearson correlations (n_codes, n_codes), 0 where a column is constant, and which columns vary (n_codes,).

    The scale of each column is taken out first, so that diverged counts cannot overflow.
    """
    n = rows.shape[0]
    scale = np.asarray(abs(rows).max(axis=0).toarray()).ravel()
    scale[scale == 0] = 1
    rows = sparse.csr_array(rows @ sparse.diags_array(1 / scale))
    varies = np.asarray((rows.max(axis=0) - rows.min(axis=0)).toarray()).ravel() > 0
    mean = np.asarray(rows.mean(axis=0)).ravel()
    covariance = _gram(rows) / n - np.outer(mean, mean)
    spread = np.sqrt(
        np.where(varies, np.maximum(np.diag(covariance), np.finfo(float).tiny), np.inf)
    )
    correlation = np.clip(covariance / spread / spread[:, None], -1, 1)
    np.fill_diagonal(correlation, varies)
    return correlation, varies


def independent_columns(rows: sparse.csr_array, rng: np.random.Generator) -> sparse.csr_array:
    """Each column shuffled on its own: the marginals stay to the last patient, every dependence goes."""
    columns = sparse.csc_array(rows)
    n = rows.shape[0]
    places = [rng.choice(n, size, replace=False) for size in np.diff(columns.indptr)]
    indices = np.concatenate([*places, np.empty(0)]).astype(columns.indptr.dtype)
    return sparse.csr_array(
        sparse.csc_array((columns.data, indices, columns.indptr), shape=rows.shape)
    )


def _gram(rows: sparse.csr_array) -> np.ndarray:
    columns = lean(rows)
    gram = columns.T @ columns
    return gram if isinstance(gram, np.ndarray) else gram.toarray()
