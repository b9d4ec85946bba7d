"""What every metric needs of its input: checked rows, correlations, independent columns."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from scipy import sparse

from scoehr.files import InputError

#: Dense array or SciPy sparse array of shape (n_patients, n_codes).
Rows: TypeAlias = np.ndarray | sparse.sparray | sparse.spmatrix

#: Share of non-zero cells above which a dense product is quicker than a sparse one.
DENSE = 0.1
#: Cells of a block of correlations: 128 MiB; up to 4,096 codes are one block.
CELLS = 2**24


class Undefined(ValueError):
    """The score has no value on these data; the message says why."""


def checked(array: Rows, name: str = "the array") -> sparse.csr_array:
    """The rows as canonical CSR, float64, 32-bit indices.

    InputError if there are none, or if a value is NaN or infinite.
    """
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
            f"{name} holds NaN or infinite values; give finite counts (a diverged model makes such "
            "rows)"
        )
    return rows


def pair(
    real: Rows, synthetic: Rows, *, paired: bool = False
) -> tuple[sparse.csr_array, sparse.csr_array]:
    """Both sets checked: the same columns and, if ``paired``, the same number of rows."""
    left, right = checked(real, "the real set"), checked(synthetic, "the synthetic set")
    if left.shape[1] != right.shape[1]:
        raise InputError(
            f"the sets have {left.shape[1]} and {right.shape[1]} codes; align them to one "
            "vocabulary"
        )
    if paired and left.shape[0] != right.shape[0]:
        raise InputError(
            f"the sets have {left.shape[0]} and {right.shape[0]} rows; this score pairs them, cut "
            "one"
        )
    return left, right


def blocks(n: int, size: int) -> list[slice]:
    """Slices of at most ``size`` that cover ``n``."""
    return [slice(begin, min(begin + size, n)) for begin in range(0, n, size)]


def lean(rows: sparse.csr_array) -> sparse.csr_array | np.ndarray:
    """The rows as products are quick: dense when more than a tenth of the cells are not 0."""
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


def squares(table: np.ndarray) -> float:
    """Sum of the squared cells, added up as :func:`numpy.linalg.norm` does."""
    cells = table.ravel(order="K")
    return float(cells.dot(cells))


def unit(rows: sparse.csr_array) -> sparse.csr_array:
    """Rows at length 1, float32; an empty row stays empty."""
    largest = np.asarray(abs(rows).max(axis=1).toarray()).ravel()
    rows = sparse.csr_array(sparse.diags_array(1 / np.where(largest > 0, largest, 1)) @ rows)
    length = np.sqrt(np.asarray(rows.multiply(rows).sum(axis=1)).ravel())
    scale = sparse.diags_array(1 / np.where(length > 0, length, 1))
    return sparse.csr_array(scale @ rows, dtype=np.float32)


class Correlations:
    """Pearson correlations between the codes of a table, made a block of codes at a time.

    ``found[codes]`` is the block (n_block, n_codes) of that slice: 0 where a column is constant.
    ``varies`` (n_codes,) tells which columns are not; ``blocks`` cut the codes so that a block has
    at most :data:`CELLS` cells. The scale of each column is divided out first, so that diverged
    counts cannot overflow.
    """

    def __init__(self, rows: sparse.csr_array) -> None:
        self.n = rows.shape[0]
        scale = np.asarray(abs(rows).max(axis=0).toarray()).ravel()
        scale[scale == 0] = 1
        rows = sparse.csr_array(rows @ sparse.diags_array(1 / scale))
        self.varies = np.asarray((rows.max(axis=0) - rows.min(axis=0)).toarray()).ravel() > 0
        self.blocks = blocks(rows.shape[1], max(1, CELLS // rows.shape[1]))
        self._mean, self._columns = np.asarray(rows.mean(axis=0)).ravel(), lean(rows)
        variances = [np.diagonal(self._covariance(codes)[:, codes]) for codes in self.blocks]
        variance = np.maximum(np.concatenate(variances), np.finfo(float).tiny)
        self._spread = np.sqrt(np.where(self.varies, variance, np.inf))

    def __getitem__(self, codes: slice) -> np.ndarray:
        spread = self._spread
        correlation = np.clip(self._covariance(codes) / spread / spread[codes, None], -1, 1)
        which = np.arange(len(spread))[codes]
        correlation[np.arange(len(which)), which] = self.varies[codes]
        return correlation

    def squared_distance(self, other: Correlations) -> float:
        """Sum of the squared differences over all pairs of codes."""
        return sum(squares(self[codes] - other[codes]) for codes in self.blocks)

    def _covariance(self, codes: slice) -> np.ndarray:
        gram = self._columns[:, codes].T @ self._columns
        gram = gram if isinstance(gram, np.ndarray) else gram.toarray()
        return gram / self.n - np.outer(self._mean[codes], self._mean)


def independent_columns(rows: sparse.csr_array, rng: np.random.Generator) -> sparse.csr_array:
    """Each column shuffled on its own: the marginals stay as they are, every dependence goes."""
    columns = sparse.csc_array(rows)
    n = rows.shape[0]
    places = [rng.choice(n, size, replace=False) for size in np.diff(columns.indptr)]
    indices = np.concatenate([*places, np.empty(0)]).astype(columns.indptr.dtype)
    return sparse.csr_array(
        sparse.csc_array((columns.data, indices, columns.indptr), shape=rows.shape)
    )
