"""Do synthetic patients give away who was in the training set?

Every score stands beside what held-out patients get: similarity to a training patient is no leak if patients who were
never seen are as similar.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from scipy import sparse

from scoehr.metrics.arrays import Rows, Undefined, checked, lean, pair
from scoehr.metrics.utility import area

SMALLEST = 20
BLOCK = 1024  # synthetic rows at a time
RECORDS = 8192  # records at a time


class Nearest(NamedTuple):
    """Largest cosine similarity to any row of the other set, rounded to 5 digits so that equal rows tie."""

    of_records: np.ndarray  # (n_records,) to the synthetic rows
    of_synthetic: np.ndarray  # (n_synthetic,) to the records


def nearest(synthetic: Rows, records: Rows) -> Nearest:
    """Nearest neighbours by cosine of the counts, both ways; 0 for a row without codes.

    Blocks of the product are kept only for their maxima: memory does not grow with the number of pairs.
    """
    left, right = (_unit(rows) for rows in pair(synthetic, records))
    of_records = np.full(right.shape[0], -1.0, dtype=np.float32)
    of_synthetic = np.full(left.shape[0], -1.0, dtype=np.float32)
    for columns in _blocks(right.shape[0], RECORDS):
        block = np.ascontiguousarray(right[columns].toarray().T)  # (n_codes, n_block)
        for rows in _blocks(left.shape[0], BLOCK):
            similarity = lean(left[rows]) @ block
            of_records[columns] = np.maximum(of_records[columns], similarity.max(axis=0))
            of_synthetic[rows] = np.maximum(of_synthetic[rows], similarity.max(axis=1))
    return Nearest(of_records.round(5), of_synthetic.round(5))


def membership_auc(synthetic: Rows, *, train: Rows, holdout: Rows) -> float:
    """Membership inference by nearest neighbour: does a training patient lie nearer to the synthetic set?

    A record is guessed a member by its largest cosine similarity to a synthetic row.

    Parameters
    ----------
    synthetic : array of shape (n_synthetic, n_codes)
    train, holdout : arrays of shape (n, n_codes), members and patients that the generator never saw; at least 20 each

    Returns
    -------
    float in [0, 1]; 0.5 means that the attack learns nothing, 1 that every member is found out.

    References
    ----------
    Choi et al. (2017), MLHC (presence disclosure); Yan et al. (2022), Nature Communications 13:7609 (membership
    inference); read as an AUC against a holdout.
    """
    _enough(train, holdout)
    return area(nearest(synthetic, train).of_records, nearest(synthetic, holdout).of_records)


def nearer_to_train(synthetic: Rows, *, train: Rows, holdout: Rows) -> float:
    """Share of synthetic rows whose closest record is a training patient rather than a held-out one, ties half.

    ``train`` and ``holdout`` must have the same number of rows. Float in [0, 1]; 0.5 means no preference, 1 that
    every synthetic row is nearer to the training set.

    References
    ----------
    Distance to the closest record with a holdout: Platzer & Reutterer (2021), Frontiers in Big Data 4:679939.
    """
    _enough(train, holdout)
    return preference(nearest(synthetic, train).of_synthetic, nearest(synthetic, holdout).of_synthetic)


def preference(to_train: np.ndarray, to_holdout: np.ndarray) -> float:
    """Share of rows more similar to the first, ties half."""
    return float(((to_train > to_holdout) + 0.5 * (to_train == to_holdout)).mean())


def exact_match_rate(synthetic: Rows, train: Rows) -> float:
    """Share of the non-empty rows that equal a row of ``train``, [0, 1].

    It should be the rate of held-out patients against the same training set, not 0: short records repeat by chance.
    Undefined when every row is empty.
    """
    matched = exact_matches(synthetic, train)
    if not len(matched):
        raise Undefined("every row is empty")
    return float(matched.mean())


def exact_matches(synthetic: Rows, train: Rows) -> np.ndarray:
    """Whether each non-empty row equals a row of ``train``, shape (n_non_empty,)."""
    left, right = pair(synthetic, train)
    known = set(_keys(right))
    return np.array([key in known for key in _keys(left) if key != (b"", b"")], dtype=bool)


def _keys(rows: sparse.csr_array) -> Iterator[tuple[bytes, bytes]]:
    """Columns and values of each row as bytes: equal exactly when the rows are."""
    rows = rows.copy()
    rows.eliminate_zeros()
    for begin, end in zip(rows.indptr[:-1], rows.indptr[1:], strict=True):
        yield rows.indices[begin:end].tobytes(), rows.data[begin:end].tobytes()


def _unit(rows: sparse.csr_array) -> sparse.csr_array:
    """Rows at length 1, float32; an empty row stays empty."""
    largest = np.asarray(abs(rows).max(axis=1).toarray()).ravel()
    rows = sparse.csr_array(sparse.diags_array(1 / np.where(largest > 0, largest, 1)) @ rows)
    length = np.sqrt(np.asarray(rows.multiply(rows).sum(axis=1)).ravel())
    return sparse.csr_array(sparse.diags_array(1 / np.where(length > 0, length, 1)) @ rows, dtype=np.float32)


def _blocks(n: int, size: int) -> Iterator[slice]:
    return (slice(begin, min(begin + size, n)) for begin in range(0, n, size))


def _enough(*sets: Rows) -> None:
    if min(checked(rows, "the records").shape[0] for rows in sets) < SMALLEST:
        raise Undefined(f"membership needs at least {SMALLEST} training and {SMALLEST} held-out patients")
