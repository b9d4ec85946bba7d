"""The patient × code matrix that every other part takes and gives.

A :class:`CodeMatrix` holds sparse counts together with the patient ids, the code vocabulary and the
titles of the codes, so that a column never loses its meaning between data, model and output.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple, get_args

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import ArrayLike, DTypeLike
from scipy import sparse

from scoehr.data import cells, interchange, reading
from scoehr.data.cells import LARGEST_COUNT, ids
from scoehr.data.interchange import Kind
from scoehr.files import InputError, about, check_seed, replacing, small_seed

__all__ = ["CodeMatrix", "Split"]

#: Key of the Parquet file metadata that carries what a long table cannot say.
METADATA_KEY = b"scoehr"


class Split(NamedTuple):
    """Three matrices with disjoint patients and one vocabulary."""

    train: CodeMatrix
    validation: CodeMatrix
    test: CodeMatrix


@dataclass(frozen=True, eq=False)
class CodeMatrix:
    """How often each code was recorded for each patient.

    Attributes:
        counts: csr_array of shape (n_patients, n_codes), int32, canonical, values >= 0 unless
            signed
        patients: array of shape (n_patients,), int64 or str, unique
        codes: array of shape (n_codes,), str, unique
        titles: array of shape (n_codes,), str, "" where unknown
        kind: "count" (occurrences), "binary" (0 or 1: ever recorded), or "signed" (what a generator
            without a decoder puts out when nobody cuts its negative numbers; no real patients are
            so)

    Raises:
        InputError: If the shapes disagree, an id or a code repeats, a count is negative, or a
            binary matrix holds other than 0, 1.
    """

    counts: sparse.csr_array
    patients: np.ndarray
    codes: np.ndarray
    titles: np.ndarray
    kind: Kind = "count"

    def __post_init__(self) -> None:
        object.__setattr__(self, "counts", _canonical(self.counts))
        object.__setattr__(self, "patients", ids(self.patients))
        object.__setattr__(self, "codes", cells.names(self.codes, "code"))
        object.__setattr__(self, "titles", strings(self.titles))
        _check(self)

    def __len__(self) -> int:
        return self.counts.shape[0]

    @property
    def shape(self) -> tuple[int, int]:
        """(n_patients, n_codes)."""
        return self.counts.shape

    @property
    def mean_cell(self) -> float:
        """Sum of the counts over patients × codes; NaN for an empty matrix."""
        cells = self.shape[0] * self.shape[1]
        return float(self.counts.sum() / cells) if cells else float("nan")

    def equals(self, other: CodeMatrix) -> bool:
        """Whether patients, codes, titles, kind and every count are the same, in the same order."""
        return (
            self.kind == other.kind
            and self.shape == other.shape
            and all(
                np.array_equal(getattr(self, name), getattr(other, name))
                for name in ("patients", "codes", "titles")
            )
            and (self.counts != other.counts).nnz == 0
        )

    def dense(self, dtype: DTypeLike = np.float32) -> np.ndarray:
        """The counts as an array of shape (n_patients, n_codes)."""
        return self.counts.astype(dtype).toarray()

    def to_binary(self) -> CodeMatrix:
        """1 where the code was ever recorded, else 0."""
        ones = (self.counts > 0).astype(np.int32)
        return replace(self, counts=ones, kind="binary")

    def take(self, rows: ArrayLike) -> CodeMatrix:
        """The patients at these positions (no position twice), in this order."""
        rows = np.asarray(rows)
        return replace(self, counts=self.counts[rows], patients=self.patients[rows])

    def align(self, codes: ArrayLike, titles: ArrayLike | None = None) -> CodeMatrix:
        """The same patients over other codes: columns are moved, added, or dropped if empty.

        ``titles`` has the shape of ``codes``; when None, known titles are kept. InputError if a
        code with counts is not in ``codes``.
        """
        codes = cells.names(codes, "code")
        place = pd.Index(codes).get_indexer(pd.Index(self.codes))
        lost = self.codes[(place < 0) & (self.counts.sum(axis=0) > 0)]
        if len(lost):
            raise InputError(
                f"code {lost[0]} is not in the vocabulary; "
                f"use one that has it ({len(lost)} missing)"
            )
        if titles is None:
            titles = np.full(len(codes), "", dtype=object)
            titles[place[place >= 0]] = self.titles[place >= 0]
        rows, columns = self.counts.tocoo().coords
        cells_of = (self.counts.data, (rows, place[columns]))
        counts = sparse.csr_array(cells_of, shape=(len(self), len(codes)))
        return replace(self, counts=counts, codes=codes, titles=strings(titles))

    def restrict(self, codes: ArrayLike) -> tuple[CodeMatrix, np.ndarray]:
        """The same patients over ``codes``, and the codes with counts that are left out for it."""
        known = pd.Index(self.codes).isin(cells.names(codes, "code"))
        lost = self.codes[~known & (self.counts.sum(axis=0) > 0)]
        kept = replace(
            self, counts=self.counts[:, known], codes=self.codes[known], titles=self.titles[known]
        )
        return kept.align(codes), lost

    def split(self, *, test: float = 0.30, validation: float = 0.10, seed: int = 1) -> Split:
        """Cut the patients into train, validation and test.

        ``test`` and ``validation`` are fractions of all patients. The test set is the report's
        (scikit-learn's ``train_test_split`` with ``random_state=1``); the validation set is cut
        from the rest with the same seed, so the choice of epochs never sees the test set.
        InputError if a part would be empty.
        """
        if not (0 < test < 1 and 0 <= validation < 1 and test + validation < 1):
            raise InputError(
                f"test={test} and validation={validation} must be fractions that sum to less than 1"
            )
        if len(self) * min(test, validation or test, 1 - test - validation) < 1:
            raise InputError(
                f"{len(self)} patients are too few to split; give more patients or larger fractions"
            )
        from sklearn.model_selection import train_test_split  # takes a second to import

        seed = small_seed(check_seed(seed))
        rest, held_out = train_test_split(np.arange(len(self)), test_size=test, random_state=seed)
        chosen = rest[:0]
        if validation:
            rest, chosen = train_test_split(
                rest, test_size=round(validation * len(self)), random_state=seed
            )
        return Split(self.take(rest), self.take(chosen), self.take(held_out))

    # Files ------------------------------------------------------------------------------------

    def write(self, path: str | Path) -> None:
        """Write a long table ``patient_id, code, count``: CSV if the name ends so, else Parquet.

        A CSV loses titles and order; rows with count 0 keep patients without codes and codes
        without patients. A Parquet file's metadata (key ``scoehr``, JSON) adds the kind, the
        vocabulary with titles and all patients in order (their number alone when the ids are 0, 1,
        …), so codes without patients and patients without codes survive.
        """
        write_batches(path, iter([self]), self.patients)

    def _table(self) -> pa.Table:
        """Columns ``patient_id, code, count`` of the cells that are not empty."""
        rows, columns = self.counts.tocoo().coords
        code = interchange.code_column(columns, self.codes)
        patient = pa.array(self.patients[rows])
        return pa.table({"patient_id": patient, "code": code, "count": pa.array(self.counts.data)})

    @classmethod
    def read(cls, path: str | Path) -> CodeMatrix:
        """Read what :meth:`write` wrote; other tables are read by the data set ``table``.

        InputError if the file is missing, damaged, or was not written by :meth:`write`.
        """
        with interchange.stored(path, METADATA_KEY, "kind", "count") as long:
            facts, entries = long.facts, (long.numbers, (long.rows, long.columns))
            shape = (len(facts["patients"]), len(facts["codes"]))
            counts = sparse.csr_array(entries, shape=shape)
            if counts.nnz < len(long.rows):
                raise InputError(f"a row repeats a patient and a code; {interchange.AGAIN}")
            return cls(counts, facts["patients"], facts["codes"], facts["titles"], facts["kind"])

    # Other forms ------------------------------------------------------------------------------

    @classmethod
    def from_array(
        cls,
        array: ArrayLike | sparse.sparray | sparse.spmatrix,
        codes: ArrayLike,
        titles: ArrayLike | None = None,
        patients: ArrayLike | None = None,
        kind: Kind = "count",
    ) -> CodeMatrix:
        """From a dense or sparse array of whole counts, shape (n_patients, n_codes).

        ``titles`` default to "", ``patients`` to 0 … n-1. InputError if a value is not a whole
        number >= 0.
        """
        grid: Any = array if sparse.issparse(array) else np.asarray(array)
        if grid.dtype.kind not in "biuf":
            raise InputError(f"the array holds values of type {grid.dtype}; give whole numbers")
        counts = sparse.csr_array(grid, copy=True)
        who = np.arange(counts.shape[0]) if patients is None else ids(patients)
        names = cells.names(codes, "code")
        found = strings([""] * len(names) if titles is None else titles)
        return cls(counts, who, names, found, kind)

    @classmethod
    def from_long(
        cls,
        frame: pd.DataFrame,
        *,
        patients: ArrayLike | None = None,
        codes: ArrayLike | None = None,
        titles: Mapping[str, str] | None = None,
    ) -> CodeMatrix:
        """From a long table ``patient_id, code`` and perhaps ``count`` (else a row counts 1).

        Rows with the same patient and code are summed. ``patients`` (order of the rows; default:
        sorted ids) may name patients without codes, ``codes`` (default: sorted) codes without
        patients; InputError if either misses one that occurs.
        """
        rows, row_names = _positions(frame, "patient_id", patients)
        columns, column_names = _positions(frame, "code", codes)
        values = _whole(frame["count"]) if "count" in frame else np.ones(len(frame), dtype=np.int64)
        counts = sparse.csr_array(
            (values, (rows, columns)), shape=(len(row_names), len(column_names))
        )
        found = [(titles or {}).get(code, "") for code in column_names.tolist()]
        return cls(counts, row_names, column_names, strings(found))

    def to_long(self) -> pd.DataFrame:
        """Columns ``patient_id, code, count``.

        One row a non-zero cell, in the order of the matrix.
        """
        rows, columns = self.counts.tocoo().coords
        return pd.DataFrame(
            {
                "patient_id": self.patients[rows],
                "code": self.codes[columns],
                "count": self.counts.data.copy(),
            }
        )

    @classmethod
    def from_records(
        cls,
        records: Iterable[Mapping[str, Any]],
        *,
        kind: Kind = "count",
        codes: ArrayLike | None = None,
    ) -> CodeMatrix:
        """From PyHealth-style records ``{"patient_id": …, "visits": [[code, …], …]}``.

        A count is occurrences.
        """
        records = [
            interchange.checked(record, f"record {row}") for row, record in enumerate(records, 1)
        ]
        numbers = [sum(map(len, record["visits"])) for record in records]
        found = [code for record in records for visit in record["visits"] for code in visit]
        columns, names = _places(cells.objects(found), "code", codes)
        rows = np.repeat(np.arange(len(records)), numbers)
        counts = sparse.csr_array(
            (np.ones(len(found), dtype=np.int64), (rows, columns)), (len(records), len(names))
        )
        patients = ids([record["patient_id"] for record in records])
        matrix = cls(counts, patients, names, strings([""] * len(names)))
        return matrix.to_binary() if kind == "binary" else matrix

    def to_records(self) -> list[dict[str, Any]]:
        """PyHealth-style records.

        Visit k holds the codes counted at least k times, so no code repeats in a visit.
        """
        records = []
        for row, patient in enumerate(self.patients.tolist()):
            cells = slice(self.counts.indptr[row], self.counts.indptr[row + 1])
            codes, times = self.codes[self.counts.indices[cells]], self.counts.data[cells]
            visits = [codes[times >= k].tolist() for k in range(1, times.max(initial=0) + 1)]
            records.append({"patient_id": patient, "visits": visits})
        return records


def write_batches(
    path: str | Path, batches: Iterator[CodeMatrix], patients: int | np.ndarray
) -> tuple[int, int]:
    """Write matrices of one vocabulary under each other, as :meth:`CodeMatrix.write` would in one.

    Only one is held at a time. ``patients``: the ids of all, or their number if these are 0, 1, ….
    Returns the number of codes and the sum of all counts.
    """
    if Path(path).suffix.lower() == ".csv":
        return _write_csv(path, batches)
    first = next(batches)
    facts = {"kind": first.kind, "codes": first.codes, "titles": first.titles}
    schema = interchange.described(first._table(), METADATA_KEY, **facts, patients=patients)
    total = 0
    with (
        replacing(path) as scratch,
        pq.ParquetWriter(scratch, schema, compression="zstd") as writer,
    ):
        for batch in chain([first], batches):
            writer.write_table(batch._table())
            total += int(batch.counts.sum())
    return len(first.codes), total


def _write_csv(path: str | Path, batches: Iterator[CodeMatrix]) -> tuple[int, int]:
    """The same as a long CSV.

    A patient without codes, and a code without patients, has a row with count 0.
    """
    first = next(batches)
    if first.kind == "signed" or not len(first.codes):
        raise InputError(
            f"{path}: a CSV cannot hold counts below 0, or patients of no code; write .parquet"
        )
    unseen, total = np.ones(len(first.codes), dtype=bool), 0
    with replacing(path) as scratch, scratch.open("w", encoding="utf-8", newline="") as file:
        for batch in chain([first], batches):
            empty = batch.patients[np.diff(batch.counts.indptr) == 0]
            for frame in (batch.to_long(), _zeros(empty, first.codes[:1])):
                frame.to_csv(file, index=False, header=not file.tell())
            unseen[batch.counts.indices] = False
            unseen[:1] &= not len(empty)
            total += int(batch.counts.sum())
        _zeros(first.patients[:1], first.codes[unseen]).to_csv(file, index=False, header=False)
    return len(first.codes), total


def _zeros(patients: np.ndarray, codes: np.ndarray) -> pd.DataFrame:
    """Rows with count 0 of a long table: a patient with each code, or each patient with a code."""
    many = max(len(patients), len(codes)) if len(patients) and len(codes) else 0
    rows = {"patient_id": np.resize(patients, many), "code": np.resize(codes, many)}
    return pd.DataFrame(rows | {"count": np.zeros(many, dtype=int)})


def _check(matrix: CodeMatrix) -> None:
    """What the docstring of :class:`CodeMatrix` promises."""
    if matrix.kind not in get_args(Kind):
        raise InputError(f"kind is {matrix.kind!r}; it must be 'count', 'binary' or 'signed'")
    patients, codes, titles = len(matrix.patients), len(matrix.codes), len(matrix.titles)
    if matrix.counts.shape != (patients, codes) or titles != codes:
        raise InputError(
            f"counts have shape {matrix.counts.shape} but there are {patients} patients, {codes} "
            f"codes and {titles} titles; give one of each per row and column"
        )
    for name, values in (("patient", matrix.patients), ("code", matrix.codes)):
        twice = cells.repeated(values)
        if twice is not None:
            raise InputError(f"{name} {twice} occurs more than once; give each {name} once")
    data = matrix.counts.data
    if len(data) and data.min() < 0 and matrix.kind != "signed":
        raise InputError("a count is negative; counts are whole numbers from 0")
    if matrix.kind == "binary" and len(data) and data.max() > 1:
        raise InputError("a binary matrix holds a count above 1; use kind 'count' or to_binary()")


def _canonical(counts: Any) -> sparse.csr_array:
    """Counts of 32 bits, each cell once; InputError before a number would become another."""
    found = sparse.csr_array(counts)
    if found.dtype != np.int32 or not found.has_canonical_format:
        _refuse_no_counts(found.data)
        found = sparse.csr_array(found, dtype=np.int64)
        found.sum_duplicates()
        _refuse_no_counts(found.data)
        found = sparse.csr_array(found, dtype=np.int32)
    found.eliminate_zeros()
    return found


def _refuse_no_counts(values: np.ndarray) -> None:
    wrong = cells.whole(values, least=-LARGEST_COUNT)
    if wrong.any():
        raise InputError(
            f"a count is {values[wrong][0]}, which is not whole or too large; "
            f"the largest count that fits is {LARGEST_COUNT}"
        )


def strings(values: Any) -> np.ndarray:
    """Titles as an array of str of one dimension, "" for what is missing."""
    if isinstance(values, np.ndarray) and values.dtype.kind == "U":
        return values
    return np.array(
        ["" if value is None or value != value else str(value) for value in values], dtype=str
    )


def _column(frame: pd.DataFrame, name: str) -> pd.Series:
    """A column of a table; InputError if it is not there once."""
    if name not in frame:
        listed = reading.listed(frame)
        raise InputError(f"the table has no column {name!r} (it has {listed}); name it so")
    if frame[name].ndim > 1:
        raise InputError(f"the table has the column {name!r} twice; give each column one name")
    return frame[name]


def _positions(frame: pd.DataFrame, name: str, names: Any) -> tuple[np.ndarray, np.ndarray]:
    """Places of a column's values in ``names`` (default: the sorted values), and the names."""
    column = _column(frame, name)
    empty = column.isna().to_numpy()
    cells.refuse(f"column {name!r}", empty, lambda _: "is empty; fill or drop the row")
    return _places(column.to_numpy(), name, names)


def _places(values: np.ndarray, column: str, names: Any) -> tuple[np.ndarray, np.ndarray]:
    tidy = (lambda found: cells.names(found, "code")) if column == "code" else ids
    try:
        places, distinct = pd.factorize(values, use_na_sentinel=False)
        found = tidy(distinct)
    except (TypeError, InputError):
        for row, value in enumerate(values, 1):
            with about(f"column {column!r}, row {row}"):
                tidy([value])
        raise
    if names is None:
        known, again = np.unique(found, return_inverse=True)
        return again[places], known
    known = tidy(names)
    again = pd.Index(known).get_indexer(pd.Index(found))
    if (again < 0).any():
        raise InputError(
            f"{column} {found[again < 0][0]} occurs in the table but not in the list of names given"
        )
    return again[places], known


def _whole(values: pd.Series) -> np.ndarray:
    """The counts of a column as int64; InputError names the first that is no count."""
    places, words = pd.factorize(values.map(str))
    numbers = cells.counts([word.lower() for word in words])[places]
    what = "is not a whole number from 0"
    where = f"column {str(values.name)!r}"
    cells.refuse(where, numbers < 0, lambda row: f"{words[places[row]][:60]!r} {what}")
    return numbers
