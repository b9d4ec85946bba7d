"""Nearest neighbours between sets of patients, by a product in blocks of pairs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from scipy import sparse

from scoehr.metrics.arrays import Rows, blocks, lean, pair, presence, unit

BLOCK = 1024  # rows of the first set at a time
RECORDS = 8192  # rows of the second set at a time, fewer where it has many codes
CELLS = 2**25  # dense cells of the second set at a time


class Nearest(NamedTuple):
    """Largest cosine similarity to a row of the other set, to 5 digits so that equal rows tie."""

    of_records: np.ndarray  # (n_records,) to the synthetic rows
    of_synthetic: np.ndarray  # (n_synthetic,) to the records


class Hamming(NamedTuple):
    """Number of codes that one patient has and the other lacks, to the nearest row of a set."""

    first: np.ndarray  # (n_rows,)
    second: np.ndarray  # (n_rows,) to the second nearest; inf if there is none
    of_others: np.ndarray  # (n_others,) from each other row to the nearest of the rows


def nearest(synthetic: Rows, records: Rows) -> Nearest:
    """Nearest neighbours by cosine of the counts, both ways; 0 for a row without codes."""
    left, right = (unit(rows) for rows in pair(synthetic, records))
    of_records = np.full(right.shape[0], -1.0, dtype=np.float32)
    of_synthetic = np.full(left.shape[0], -1.0, dtype=np.float32)
    for rows, columns, similarity in products(left, right):
        of_records[columns] = np.maximum(of_records[columns], similarity.max(axis=0))
        of_synthetic[rows] = np.maximum(of_synthetic[rows], similarity.max(axis=1))
    return Nearest(of_records.round(5), of_synthetic.round(5))


def hamming(rows: Rows, others: Rows | None = None) -> Hamming:
    """Nearest neighbours by Hamming distance of presence: in ``others``, or the rest of ``rows``.

    The Hamming distance of presence is the squared Euclidean one, |a| + |b| - 2 a·b, in codes.
    """
    left, right = pair(rows, rows if others is None else others)
    smallest = np.full((2, left.shape[0]), np.inf, dtype=np.float32)
    of_others = np.full(right.shape[0], np.inf, dtype=np.float32)
    for here, there, distance in products(*terms(left, right)):
        if others is None:
            own = np.arange(max(here.start, there.start), min(here.stop, there.stop))
            distance[own - here.start, own - there.start] = np.inf
        of_others[there] = np.minimum(of_others[there], distance.min(axis=0))
        smallest[:, here] = np.sort([*smallest[:, here], *_two_smallest(distance)], axis=0)[:2]
    return Hamming(smallest[0], smallest[1], of_others)


def products(
    left: sparse.csr_array, right: sparse.csr_array
) -> Iterator[tuple[slice, slice, np.ndarray]]:
    """Blocks of left @ right.T with the rows and the columns where they stand.

    Memory does not grow with the number of pairs.
    """
    for columns in blocks(right.shape[0], max(1, min(RECORDS, CELLS // right.shape[1]))):
        block = np.ascontiguousarray(right[columns].toarray().T)  # (n_codes, n_block)
        for rows in blocks(left.shape[0], BLOCK):
            yield rows, columns, lean(left[rows]) @ block


def _two_smallest(distance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Smallest and second smallest of each row; the smallest become inf in ``distance``."""
    every, first = np.arange(distance.shape[0]), distance.argmin(axis=1)
    smallest = distance[every, first]
    distance[every, first] = np.inf
    return smallest, distance.min(axis=1)


def terms(
    left: sparse.csr_array, right: sparse.csr_array
) -> tuple[sparse.csr_array, sparse.csr_array]:
    """Rows whose products are the Hamming distances: (-2 a, |a|, 1) and (b, 1, |b|).

    In float32, which holds every sum of whole numbers as small as these exactly.
    """
    a, b = presence(left), presence(right)
    one, other = (np.ones((rows.shape[0], 1)) for rows in (a, b))
    terms = [-2 * a, a.sum(axis=1)[:, None], one], [b, other, b.sum(axis=1)[:, None]]
    first, second = (sparse.csr_array(sparse.hstack(parts), dtype=np.float32) for parts in terms)
    return first, second
