"""Two generators without a model, with the interface of the others: what any model has to beat, and what leaks.

:class:`IndependentColumns` gets every marginal right and every dependence wrong; :class:`ResampledRows` gets everything
right and gives its training patients away.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd
import pyarrow as pa
from scipy import sparse

from scoehr.codes import CodeMatrix
from scoehr.files import InputError, read_json, replacing, sha256, write_json

FORMAT = 1  # of a saved baseline


class _Baseline(ABC):
    """Saving and loading: one Parquet table and config.json."""

    name: ClassVar[str]
    table: ClassVar[str]

    @abstractmethod
    def _write(self, path: Path) -> dict[str, Any]:
        """Write the table; what it cannot hold goes to config.json."""

    @abstractmethod
    def _read(self, path: Path, extra: dict[str, Any]) -> None:
        """Take back what :meth:`_write` wrote."""

    def save(self, folder: str | Path) -> Path:
        """Write config.json and a Parquet table to a new folder, all or nothing."""
        folder = Path(folder)
        with replacing(folder) as scratch:
            scratch.mkdir()
            extra = self._write(scratch / self.table)
            config = {"format": FORMAT, "generator": self.name, "sha256": sha256(scratch / self.table), **extra}
            write_json(scratch / "config.json", config)
        return folder

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """A saved baseline; InputError if a file is missing, altered, or of another generator or version."""
        folder = Path(folder)
        config, table = read_json(folder / "config.json"), folder / cls.table
        if not isinstance(config, dict) or (config.get("generator"), config.get("format")) != (cls.name, FORMAT):
            raise InputError(f"{folder / 'config.json'}: not a saved {cls.__name__} of this version; fit it anew")
        if not table.exists() or sha256(table) != config.get("sha256"):
            raise InputError(f"{table}: missing or altered since it was saved; fit the baseline anew")
        made = cls()
        made._read(table, config)
        return made


class IndependentColumns(_Baseline):
    """Each code drawn on its own from its distribution of counts among the training patients."""

    name = "independent"
    table = "marginals.parquet"

    def fit(self, matrix: CodeMatrix) -> Self:
        """Count the patients with each (code, count) of the matrix."""
        _not_empty(matrix)
        entries = matrix.counts.tocoo()
        cells = pd.DataFrame({"code": entries.col, "count": entries.data})
        self.marginals = cells.groupby(["code", "count"], as_index=False).size()  # columns code (position), count, size
        self.patients = len(matrix)
        self.vocabulary = matrix.take(np.arange(0))
        return self

    def sample(self, n: int, seed: int = 0) -> CodeMatrix:
        """``n`` patients; the same seed gives the same ones."""
        rng = np.random.default_rng(seed)
        rows, columns, values = [], [], []
        for code, marginal in self.marginals.groupby("code", sort=True):
            size = marginal["size"].to_numpy()
            drawn = rng.multinomial(n, np.r_[size, self.patients - size.sum()] / self.patients)[:-1]
            rows.append(rng.choice(n, drawn.sum(), replace=False))
            columns.append(np.full(drawn.sum(), code))
            values.append(np.repeat(marginal["count"].to_numpy(), drawn))
        shape = (n, len(self.vocabulary.codes))
        cells = [np.concatenate([*part, np.empty(0, dtype=int)]) for part in (values, rows, columns)]
        return _matrix(sparse.csr_array((cells[0], (cells[1], cells[2])), shape=shape), self.vocabulary)

    def _write(self, path: Path) -> dict[str, Any]:
        self.marginals.to_parquet(path, index=False)
        words = self.vocabulary
        kept = {"codes": words.codes.tolist(), "titles": words.titles.tolist(), "kind": words.kind}
        return {"patients": self.patients, "vocabulary": kept}

    def _read(self, path: Path, extra: dict[str, Any]) -> None:
        try:
            self.marginals = pd.read_parquet(path)
        except (pa.ArrowException, OSError) as error:
            raise InputError(f"{path}: not a readable Parquet file ({error}); fit the baseline anew") from None
        self.patients, words = extra["patients"], extra["vocabulary"]
        none = sparse.csr_array((0, len(words["codes"])), dtype=np.int32)
        self.vocabulary = CodeMatrix.from_array(none, words["codes"], words["titles"], kind=words["kind"])


class ResampledRows(_Baseline):
    """Training patients drawn with replacement. A saved one holds its training patients: never publish it."""

    name = "resampled"
    table = "patients.parquet"

    def fit(self, matrix: CodeMatrix) -> Self:
        """Keep the patients; their ids are forgotten."""
        _not_empty(matrix)
        self.kept = _matrix(matrix.counts, matrix)
        return self

    def sample(self, n: int, seed: int = 0) -> CodeMatrix:
        """``n`` patients; the same seed gives the same ones."""
        rows = np.random.default_rng(seed).integers(len(self.kept), size=n)
        return _matrix(self.kept.counts[rows], self.kept)

    def _write(self, path: Path) -> dict[str, Any]:
        self.kept.write(path)
        return {}

    def _read(self, path: Path, extra: dict[str, Any]) -> None:
        self.kept = CodeMatrix.read(path)


def _matrix(counts: sparse.csr_array, like: CodeMatrix) -> CodeMatrix:
    """These counts under the vocabulary of another matrix, patients numbered from 0."""
    return CodeMatrix.from_array(counts, like.codes, like.titles, kind=like.kind)


def _not_empty(matrix: CodeMatrix) -> None:
    if not len(matrix):
        raise InputError("the matrix has no patients to learn from; give at least one")
