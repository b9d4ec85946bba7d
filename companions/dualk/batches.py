"""What the networks see: histories, laboratory items and answers, as padded index tables."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from companions.dualk.cohorts import CATEGORIES, Records
from companions.dualk.graph import Edges
from companions.dualk.models import Batch, Graph
from companions.dualk.protocols import Labs

YEAR = 365.25


class Feed:
    """Batches from records, under one rule of what may be seen of the visit to predict.

    ``whole`` patients are given with all their visits (pre-training); else the last visit is the
    answer, and nothing of it goes in but what ``labs`` says.
    """

    def __init__(
        self, records: Records, *, labs: Labs = "none", repeated: bool = False, whole: bool = False
    ):
        self.records, self.labs, self.whole = records, labs, whole
        self.repeated = repeated

    @cached_property
    def _codes(self) -> tuple[np.ndarray, np.ndarray]:
        """(n_visits + 1, C) nodes of each visit, row 0 empty; and how many each has."""
        counts = self.records.visit_codes
        times = counts.data.astype(np.int64) if self.repeated else np.ones(counts.nnz, np.int64)
        visit = np.repeat(np.repeat(np.arange(counts.shape[0]), np.diff(counts.indptr)), times)
        node = np.repeat(counts.indices + 1, times)
        sizes = np.bincount(visit, minlength=counts.shape[0])
        table = np.zeros((counts.shape[0] + 1, sizes.max(initial=1)), dtype=np.int32)
        table[visit + 1, np.arange(len(visit)) - np.searchsorted(visit, visit)] = node
        return table, np.append(0, sizes)

    @cached_property
    def present(self) -> sparse.csr_array:
        """(n_visits, targets) presence of the target codes, float32."""
        part = self.records.visit_codes[:, : self.records.targets].astype(np.float32).tocsr()
        part.data[:] = 1
        return part

    @cached_property
    def _ever(self) -> sparse.csr_array:
        """(n_patients, targets) share of the visible visits that have each code, float32."""
        records, hidden = self.records, 0 if self.whole else 1
        number = records.visits - hidden
        visit = np.arange(len(records.days))
        seen = visit < (records.first[1:] - hidden)[records.owner]
        weight = (1 / np.maximum(number, 1))[records.owner[seen]].astype(np.float32)
        shape = (len(records.patients), len(records.days))
        shares = sparse.csr_array((weight, (records.owner[seen], visit[seen])), shape=shape)
        return (shares @ self.present).tocsr()

    @cached_property
    def _days(self) -> np.ndarray:
        return np.append(0, self.records.days)

    def last_seen(self, patients: np.ndarray) -> np.ndarray:
        """The row of the last visit that may be seen."""
        return self.records.first[patients + 1] - (1 if self.whole else 2)

    def seen(self, patients: np.ndarray) -> np.ndarray:
        """(n, T) 1 + row of each visible visit, the oldest first, 0 is padding at the end."""
        first, last = self.records.first[patients], self.last_seen(patients)
        steps = np.arange((last - first).max(initial=0) + 1)
        rows = first[:, None] + steps
        return np.where(rows <= last[:, None], rows + 1, 0)

    def batch(self, patients: np.ndarray) -> Batch:
        """What the network sees of these patients."""
        rows = self.seen(patients)
        visits, places = np.unique(rows, return_inverse=True)
        if visits[0] != 0:
            visits, places = np.append(0, visits), places + 1
        table, sizes = self._codes
        codes = table[visits[1:], : sizes[visits].max()]
        days = self._days[self.last_seen(patients) + 1][:, None] - self._days[rows]
        since = np.where(rows > 0, days, 0) / YEAR
        ever, last = self.history(patients)
        return Batch(
            torch.from_numpy(codes.astype(np.int64)),
            torch.from_numpy(places.reshape(rows.shape)),
            torch.from_numpy(since.astype(np.float32)),
            self.laboratory(patients),
            dense(last),
            dense(ever),
        )

    def history(self, patients: np.ndarray) -> tuple[sparse.csr_array, sparse.csr_array]:
        """Share of visible visits with each target code; whether the last has it. (n, targets)"""
        return self._ever[patients], self.present[self.last_seen(patients)]

    def laboratory(self, patients: np.ndarray) -> Tensor:
        """(n, items) abnormal items that may be seen."""
        records, last = self.records, self.records.first[patients + 1] - 1
        if self.labs == "none":
            return torch.zeros(len(patients), len(records.items))
        if self.labs == "previous visit":
            return dense(records.labs[last - 1])
        return dense((records.first_day if self.labs == "first day" else records.labs)[last])

    def answers(self, patients: np.ndarray) -> sparse.csr_array:
        """(n, targets) codes of the last visit."""
        return self.present[self.records.first[patients + 1] - 1]

    def abnormal(self, patients: np.ndarray) -> dict[str, Tensor]:
        """Items of each category that are abnormal at any visit, (n, items of the category)."""
        rows = self.seen(patients)
        member, place = np.nonzero(rows)
        cells, shape = (member, rows[member, place] - 1), (len(patients), len(self.records.days))
        sums = sparse.csr_array((np.ones(len(member)), cells), shape=shape)
        found = dense((sums @ self.records.labs.astype(np.float32)) > 0)
        known = [name for name in CATEGORIES if name in self.records.categories]
        return {name: found[:, self.records.category(name)] for name in known}


def dense(matrix: sparse.csr_array) -> Tensor:
    """A sparse matrix as float32."""
    return torch.from_numpy(matrix.toarray().astype(np.float32))


def in_parts(rows: np.ndarray, size: int) -> list[np.ndarray]:
    """Rows cut into batches of about equal size, none larger than ``size``."""
    return np.array_split(rows, max(1, -(-len(rows) // size)))


def as_graph(edges: Edges, weighted: bool) -> Graph:
    """Edges for the network."""
    index = torch.from_numpy(np.stack([edges.source, edges.target]).astype(np.int64))
    return Graph(index, torch.from_numpy(edges.weight)[:, None] if weighted else None)
