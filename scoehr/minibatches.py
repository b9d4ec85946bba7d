"""Counts that stay sparse from the table to the minibatch."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from typing import overload

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

CELLS = 2**22  # that are made dense at a time where all rows are looked at


class SparseRows:
    """Counts ``(n, D)``, stored sparse, in the place of a dense float32 tensor.

    Only the rows that are asked for become dense, on ``device``. Names mean what they mean for a
    tensor: ``shape``, ``device``, ``len``, ``to``, ``split``, ``mean``, ``std``.

    Args:
        counts: ``(n, D)``, any sparse array; values beyond 2²⁴ are rounded to float32.
        device: where dense rows are put.
    """

    def __init__(self, counts: sparse.sparray, device: str | torch.device = "cpu"):
        self.counts = sparse.csr_array(counts, dtype=np.float32)
        self.counts.sum_duplicates()
        self.device = torch.device(device)

    @classmethod
    def of(cls, data: Data) -> SparseRows:
        """The same data; a dense tensor ``(n, D)`` is made sparse."""
        if isinstance(data, SparseRows):
            return data
        return cls(sparse.csr_array(data.cpu().numpy()), data.device)

    def __len__(self) -> int:
        return self.counts.shape[0]

    @property
    def shape(self) -> torch.Size:
        """(n, D)."""
        return torch.Size(self.counts.shape)

    @overload
    def __getitem__(self, rows: slice) -> SparseRows: ...
    @overload
    def __getitem__(self, rows: Tensor) -> Tensor: ...
    def __getitem__(self, rows: slice | Tensor) -> SparseRows | Tensor:
        """A slice, still sparse; or the rows at positions ``(B,)`` or under a mask, dense."""
        if isinstance(rows, slice):
            return SparseRows(self.counts[rows], self.device)
        chosen = self.counts[rows.cpu().numpy()]
        dense = torch.empty(chosen.shape)  # aligned by torch, so bits never vary
        chosen.toarray(out=dense.numpy())
        return dense.to(self.device)

    def dense(self) -> Tensor:
        """All rows ``(n, D)``."""
        return self[torch.arange(len(self))]

    def split(self, size: int) -> Iterator[Tensor]:
        """All rows in their order, dense, ``size`` at a time."""
        for rows in torch.arange(len(self)).split(size):
            if len(rows):
                yield self[rows]

    def parts(self) -> Iterator[Tensor]:
        """All rows in their order, dense, in even parts of at most 16 MiB, or a row each."""
        most = max(1, CELLS // max(1, self.shape[1]))
        return self.split(max(1, math.ceil(len(self) / math.ceil(max(1, len(self)) / most))))

    def to(self, device: str | torch.device) -> SparseRows:
        """The same counts, whose dense rows are put on ``device``."""
        return SparseRows(self.counts, device)

    def padded(self, width: int) -> SparseRows:
        """``(n, width)``: empty columns are added on the right."""
        parts = (self.counts.data, self.counts.indices, self.counts.indptr)
        return SparseRows(sparse.csr_array(parts, shape=(len(self), width)), self.device)

    def sum(self, dim: int) -> Tensor:
        """Sums over rows ``(D,)`` for ``dim`` 0, over columns ``(n,)`` for 1, float64."""
        return torch.from_numpy(self.counts.sum(axis=dim, dtype=np.float64))

    def mean(self, dim: int) -> Tensor:
        """Means over rows ``(D,)`` for ``dim`` 0, over columns ``(n,)`` for 1."""
        return self.sum(dim).float() / self.shape[dim]

    def std(self) -> Tensor:
        """Standard deviation (unbiased) of all cells, one value."""
        n = self.shape[0] * self.shape[1]
        mean = self.counts.sum(dtype=np.float64) / n
        squares = np.square(self.counts.data - mean).sum(dtype=np.float64)
        squares += (n - self.counts.nnz) * mean**2
        return torch.tensor(squares / (n - 1)).sqrt().float()

    def present(self) -> sparse.csr_array:
        """1 where a count is above 0, ``(n, D)`` float64."""
        return sparse.csr_array(self.counts > 0, dtype=np.float64)

    def frequencies(self, most: int) -> Tensor:
        """How many rows hold each count: ``(most + 1, D)`` int64; the last are those with ``most``
        or more."""
        width = self.shape[1]
        cells = np.minimum(self.counts.data, most).astype(np.int64) * width + self.counts.indices
        held = np.bincount(cells, minlength=(most + 1) * width).reshape(most + 1, width)
        held[0] = len(self) - held[1:].sum(axis=0)
        return torch.from_numpy(held)

    def digest(self) -> str:
        """SHA-256 of type, shape and every byte of the equal dense tensor, made part by part."""
        found = hashlib.sha256(f"{torch.float32} {list(self.shape)}".encode())
        for part in self.parts():
            found.update(part.cpu().view(torch.uint8).numpy().data)
        return found.hexdigest()


#: What training takes: rows ``(n, D)``, dense or sparse.
Data = Tensor | SparseRows
