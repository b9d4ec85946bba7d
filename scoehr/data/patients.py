"""Whole patients: their columns, and their visits in order with columns and codes of their own.

:class:`Patients` holds all of it; summed over visits, its codes are the
:class:`~scoehr.data.matrix.CodeMatrix` of the tables of counts.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import ArrayLike
from scipy import sparse

from scoehr.data import cells, datasets, folder, interchange, kinds, own, reading
from scoehr.data.columns import DAYS, KEYS, Columns
from scoehr.data.datasets import Account, Digits, Tables
from scoehr.data.kinds import Wish
from scoehr.data.matrix import METADATA_KEY as MATRIX_KEY
from scoehr.data.matrix import CodeMatrix, strings
from scoehr.files import InputError, replacing, user_path

__all__ = ["DAYS", "LoadedPatients", "PatientSplit", "Patients", "load"]

#: Key of the Parquet file metadata that carries what a long table cannot say.
METADATA_KEY = b"scoehr.visits"


class PatientSplit(NamedTuple):
    """Three sets of patients with one vocabulary."""

    train: Patients
    validation: Patients
    test: Patients


class LoadedPatients(NamedTuple):
    """Patients (they and the codes sorted) and how they came about."""

    patients: Patients
    account: Account


@dataclass(frozen=True, eq=False)
class Patients:
    """What is known of each patient, and which codes each of their visits recorded.

    Attributes:
        counts: csr_array of shape (n_visits, n_codes), int32, >= 0: how often a visit recorded a
            code; patient by patient, the visits of a patient in their order
        starts: array of shape (n_patients + 1,), int64: patient i has the rows from starts[i] to
            starts[i + 1] - 1, which may be none
        patients: array of shape (n_patients,), int64 or str, unique
        codes, titles: arrays of shape (n_codes,), str; codes unique, titles "" where unknown
        systems: array of shape (n_codes,), str: the vocabulary of each code, such as "diagnosis" or
            "procedure"; "" where there is one alone
        columns: a row a patient
        visit_columns: a row a visit; of these the number :data:`~scoehr.data.columns.DAYS` says how
            many days after the patient's previous visit each began

    Raises:
        InputError: If the shapes disagree, an id or a code repeats, or a count is negative.
    """

    counts: sparse.csr_array
    starts: np.ndarray
    patients: np.ndarray
    codes: np.ndarray
    titles: np.ndarray
    systems: np.ndarray = field(default_factory=lambda: np.empty(0, dtype=str))
    columns: Columns = field(default_factory=Columns)
    visit_columns: Columns = field(default_factory=Columns)

    def __post_init__(self) -> None:
        rows = self._visits()  # checked as patients are
        starts = np.asarray(self.starts, dtype=np.int64)
        patients = cells.ids(self.patients)
        _check_starts(starts, len(patients), len(rows))
        if cells.repeated(patients) is not None:
            raise InputError(
                "a patient id occurs more than once; give each patient once, with all visits"
            )
        systems = strings(self.systems) if len(self.systems) else np.full(len(rows.codes), "")
        if len(systems) != len(rows.codes):
            raise InputError(f"{len(systems)} systems for {len(rows.codes)} codes; give one a code")
        found = {"counts": rows.counts, "starts": starts, "patients": patients, "systems": systems}
        found |= {"codes": rows.codes, "titles": rows.titles}
        found["columns"] = _rows_of(self.columns, len(patients), "patients")
        found["visit_columns"] = _rows_of(self.visit_columns, len(rows), "visits")
        days = [column.kind for column in self.visit_columns.columns if column.name == DAYS]
        if days not in ([], ["number"]):
            raise InputError(f"column {DAYS} of visits is of kind {days[0]}; it must be a number")
        for name, value in found.items():
            object.__setattr__(self, name, value)

    def __len__(self) -> int:
        return len(self.patients)

    @property
    def shape(self) -> tuple[int, int]:
        """(n_patients, n_codes)."""
        return len(self.patients), len(self.codes)

    @property
    def numbers(self) -> np.ndarray:
        """How many visits each patient has, shape (n_patients,)."""
        return np.diff(self.starts)

    @property
    def owner(self) -> np.ndarray:
        """The patient (position) of each visit, shape (n_visits,)."""
        return np.repeat(np.arange(len(self)), self.numbers)

    @property
    def order(self) -> np.ndarray:
        """How many visits of the same patient came before, shape (n_visits,)."""
        return np.arange(self.starts[-1]) - self.starts[self.owner]

    def presence(self) -> sparse.csr_array:
        """1 where a visit recorded the code, (n_visits, n_codes), float32."""
        return sparse.csr_array(self.counts > 0, dtype=np.float32)

    def earlier(self) -> sparse.csr_array:
        """How many earlier visits of the patient recorded each code, (n_visits, n_codes)."""
        order = self.order
        first = np.repeat(self.starts[self.owner], order)
        within = np.arange(order.sum()) - np.repeat(np.cumsum(order) - order, order)
        indptr = np.concatenate([[0], np.cumsum(order)])
        shape = (len(order), len(order))
        before = sparse.csr_array(
            (np.ones(len(first), dtype=np.float32), first + within, indptr), shape=shape
        )
        return sparse.csr_array(before @ self.presence())

    def previous(self) -> sparse.csr_array:
        """The codes of the visit before, none at a first one, (n_visits, n_codes)."""
        later = np.flatnonzero(self.order)
        shape = (len(self.order), len(self.order))
        before = sparse.csr_array(
            (np.ones(len(later), dtype=np.float32), (later, later - 1)), shape=shape
        )
        return sparse.csr_array(before @ self.presence())

    def totals(self) -> sparse.csr_array:
        """In how many visits of each patient each code was recorded, (n_patients, n_codes)."""
        return sparse.csr_array(self._belongs() @ self.presence())

    def _belongs(self) -> sparse.csr_array:
        """1 where a visit is the patient's, (n_patients, n_visits)."""
        visits = int(self.starts[-1])
        return sparse.csr_array(
            (np.ones(visits, dtype=np.float32), np.arange(visits), self.starts),
            shape=(len(self), visits),
        )

    def equals(self, other: Patients) -> bool:
        """Whether patients, codes, columns and every visit are the same, in the same order."""
        names = ("starts", "patients", "codes", "titles", "systems")
        return (
            all(np.array_equal(getattr(self, name), getattr(other, name)) for name in names)
            and self.columns.equals(other.columns)
            and self.visit_columns.equals(other.visit_columns)
            and self.counts.shape == other.counts.shape
            and (self.counts != other.counts).nnz == 0
        )

    def fingerprint(self) -> str:
        """16 hexadecimal digits of a SHA-256 of all visits, codes and columns, not of ids."""
        parts = (self.counts.indices, self.counts.data, self.counts.indptr, self.starts)
        digest = hashlib.sha256(b"".join(part.astype(np.int64).tobytes() for part in parts))
        digest.update("\n".join(self.codes).encode())
        for column, values in (*self.columns, *self.visit_columns):
            digest.update(repr(column).encode() + values.tobytes())
        return digest.hexdigest()[:16]

    # Parts ------------------------------------------------------------------------------------

    def take(self, rows: ArrayLike) -> Patients:
        """The patients at these positions (no position twice), in this order."""
        rows = np.asarray(rows, dtype=np.int64)
        return replace(self[rows], patients=self.patients[rows])

    def __getitem__(self, rows: np.ndarray) -> Patients:
        """The patients at these positions, as often as they are named, with ids from 0."""
        numbers = self.numbers[rows]
        ends = np.cumsum(numbers)
        chosen = np.arange(numbers.sum()) + np.repeat(self.starts[rows] - (ends - numbers), numbers)
        return replace(
            self,
            counts=self.counts[chosen],
            starts=np.concatenate([[0], ends]),
            patients=np.arange(len(rows)),
            columns=self.columns[rows],
            visit_columns=self.visit_columns[chosen],
        )

    def split(self, *, test: float = 0.30, validation: float = 0.10, seed: int = 1) -> PatientSplit:
        """Cut the patients as :meth:`CodeMatrix.split` cuts those of the matrix."""
        place = {patient: row for row, patient in enumerate(self.patients.tolist())}
        parts = self.to_matrix().split(test=test, validation=validation, seed=seed)
        return PatientSplit(
            *(self.take([place[patient] for patient in part.patients.tolist()]) for part in parts)
        )

    def align(self, codes: ArrayLike) -> Patients:
        """The same visits over another vocabulary, as :meth:`CodeMatrix.align` does it."""
        return self._over(self._visits().align(codes))

    def restrict(self, codes: ArrayLike) -> tuple[Patients, np.ndarray]:
        """The same visits over ``codes``, and the codes with counts that are left out for it."""
        kept, lost = self._visits().restrict(codes)
        return self._over(kept), lost

    def _visits(self) -> CodeMatrix:
        """The visits as if they were patients."""
        return CodeMatrix.from_array(self.counts, self.codes, self.titles)

    def _over(self, rows: CodeMatrix) -> Patients:
        known = dict(zip(self.codes.tolist(), self.systems.tolist(), strict=True))
        systems = np.array([known.get(code, "") for code in rows.codes.tolist()], dtype=str)
        return replace(
            self, counts=rows.counts, codes=rows.codes, titles=rows.titles, systems=systems
        )

    # Other forms ------------------------------------------------------------------------------

    def to_matrix(self) -> CodeMatrix:
        """Counts of each patient, summed over visits."""
        counts = sparse.csr_array(self._belongs().astype(np.int32) @ self.counts)
        return CodeMatrix(counts, self.patients, self.codes, self.titles)

    @classmethod
    def from_matrix(cls, matrix: CodeMatrix) -> Patients:
        """One visit a patient, without codes where the patient has none, so that nothing is lost.

        InputError for a matrix of kind signed.
        """
        starts = np.arange(len(matrix) + 1)
        return cls(matrix.counts, starts, matrix.patients, matrix.codes, matrix.titles)

    def to_records(self) -> list[interchange.Record]:
        """PyHealth-style records ``{"patient_id": …, "visits": [[code, …], …]}``.

        See :func:`scoehr.data.interchange.write`.
        """
        names = np.repeat(self.codes[self.counts.indices], self.counts.data).tolist()
        ends = np.concatenate(
            [[0], np.cumsum(np.asarray(self.counts.sum(axis=1)).ravel())]
        ).tolist()
        lists = [names[start:end] for start, end in pairwise(ends)]
        return [
            {"patient_id": patient, "visits": lists[start:end]}
            for patient, start, end in zip(
                self.patients.tolist(), self.starts[:-1], self.starts[1:], strict=True
            )
        ]

    @classmethod
    def from_records(
        cls, found: Iterable[Mapping[str, Any]], *, codes: ArrayLike | None = None
    ) -> Patients:
        """From PyHealth-style records.

        ``codes`` (default: those that occur, sorted) is the vocabulary.
        """
        found = list(found)
        every = [visit for record in found for visit in record["visits"]]
        matrix = CodeMatrix.from_records(
            [{"patient_id": row, "visits": [visit]} for row, visit in enumerate(every)], codes=codes
        )
        starts = np.concatenate([[0], np.cumsum([len(record["visits"]) for record in found])])
        patients = cells.ids([record["patient_id"] for record in found])
        return cls(matrix.counts, starts, patients, matrix.codes, matrix.titles)

    def write(self, path: str | Path) -> None:
        """Write a folder of plain tables, or codes and visits alone as one .parquet or .jsonl file.

        The folder is that of :mod:`scoehr.data.folder`. The file is a long table ``patient_id,
        visit, code``, a row an occurrence. Its metadata (key ``scoehr.visits``, JSON) adds the
        vocabulary with titles, all patients in order (their number alone when the ids are 0, 1, …)
        and how many visits each has, so that empty ones survive; .jsonl
        are PyHealth's records. InputError where it would lose columns or systems.
        """
        ending = Path(path).suffix.lower()
        if ending not in (".parquet", ".jsonl"):
            folder.write(self, path)
            return
        if self.columns.columns or self.visit_columns.columns or self.systems.any():
            raise InputError(
                f"{path}: a file cannot hold columns, or several systems of codes; give a folder"
            )
        if ending == ".jsonl":
            interchange.write(self.to_records(), path)
            return
        rows, columns = (np.repeat(index, self.counts.data) for index in self.counts.tocoo().coords)
        table = pa.table(
            {
                "patient_id": pa.array(self.patients[self.owner[rows]]),
                "visit": pa.array(self.order[rows].astype(np.int32)),
                "code": interchange.code_column(columns, self.codes),
            }
        )
        facts = {"codes": self.codes, "titles": self.titles, "patients": self.patients}
        schema = interchange.described(table, METADATA_KEY, **facts, visits=self.numbers)
        with replacing(path) as scratch:
            pq.write_table(table.cast(schema), scratch, compression="zstd")

    @classmethod
    def read(cls, path: str | Path) -> Patients:
        """Read what :meth:`write` wrote; ``load("table", path)`` reads it with other tables.

        InputError if the file is missing, damaged, or was not written by :meth:`write`.
        """
        path = user_path(path)
        if path.is_dir():
            return cls(**folder.read(path)[0])
        with interchange.stored(path, METADATA_KEY, "visits", "visit") as long:
            facts, visit = long.facts, long.numbers
            numbers = np.array(facts["visits"], dtype=np.int64)
            strange = len(numbers) != len(facts["patients"]) or (visit < 0).any()
            if strange or (visit >= numbers[long.rows]).any():
                raise InputError(f"a row has a visit that the metadata lack; {interchange.AGAIN}")
            starts = np.concatenate([[0], np.cumsum(numbers)])
            cells_of = (starts[long.rows] + visit, long.columns)
            entries = (np.ones(len(visit), dtype=np.int32), cells_of)
            counts = sparse.csr_array(entries, shape=(int(starts[-1]), len(facts["codes"])))
            return cls(counts, starts, facts["patients"], facts["codes"], facts["titles"])


def _check_starts(starts: np.ndarray, patients: int, visits: int) -> None:
    if (
        len(starts) != patients + 1
        or starts[0] != 0
        or starts[-1] != visits
        or (np.diff(starts) < 0).any()
    ):
        raise InputError(
            f"{visits} visits do not fall to {patients} patients by these starts; "
            "give n_patients + 1 rising row numbers from 0 to the number of visits"
        )


def _rows_of(columns: Columns, rows: int, what: str) -> Columns:
    """The columns, checked; none of them for any number of rows."""
    if not columns.columns:
        return Columns.none(rows)
    if len(columns) != rows:
        raise InputError(f"the columns of {what} have {len(columns)} rows for {rows} {what}")
    taken = next((name for name in columns.names if name in KEYS), None)
    if taken:
        raise InputError(f"column {taken}: has the name of a key; give it another")
    return columns


# Loading --------------------------------------------------------------------------------------


def load(
    name: str,
    source: str | Path | None = None,
    *,
    digits: Digits = "three",
    said: Mapping[str, Wish] | None = None,
) -> LoadedPatients:
    """Whole patients of a data set; arguments as for :func:`scoehr.data.datasets.load`.

    Patients, codes and counts are those of the matrix; columns are typed by the rules of
    :mod:`scoehr.data.kinds`, or by what is ``said`` of them. A ``table`` is a folder of
    :mod:`scoehr.data.folder`, or one long table with columns ``patient_id, visit, code`` and
    perhaps ``count``; visits come in the order of that column, by number where all are numbers,
    else by date. A row without a code makes a visit without codes. A table without the column
    ``visit`` has no visits; they are then the fewest in which no code repeats, and the account says
    so (``visits``: "made").
    """
    place = datasets.source_of(name, source)
    if datasets.DATASETS[name].reader is None:
        return _table(place, said)
    with datasets.tables(name, place, digits=digits) as found:
        return _loaded(*_patients(found, said), "of the tables", name)


def _patients(found: Tables, said: Mapping[str, Wish] | None) -> tuple[Patients, Account]:
    """The patients of a hospital's tables, and all their visits, with and without codes."""
    ids = found.column("select patient from patients order by number").astype(np.int64)
    owner = found.column("select patient from visits order by number")
    counts = found.counts(
        "select number, place, n from codes join visits using (visit)",
        (len(owner), len(found.vocabulary)),
    )
    starts = np.searchsorted(owner, np.append(ids, np.iinfo(np.int64).max))
    columns, visit_columns, account = found.columns(said)
    patients = Patients(
        counts,
        starts,
        ids,
        found.vocabulary,
        found.titles,
        columns=columns,
        visit_columns=visit_columns,
    )
    return patients, found.account | account


def _table(path: Path, said: Mapping[str, Wish] | None) -> LoadedPatients:
    if path.is_dir():
        parts, account = folder.read(path, said)
        return _loaded(Patients(**parts), account, "of the tables")
    kinds.check_names(said or {}, {})
    ours = reading.metadata(path)
    if METADATA_KEY in ours:
        return _loaded(Patients.read(path), {"form": "scoehr"}, "of the table")
    names = [] if MATRIX_KEY in ours else reading.header(path)
    if "visit" in names:
        parts, account = folder.long(path)
        return _loaded(Patients(**parts), account, "of the table")
    own.refuse_other_name(path, names, "visit", own.VISIT_NAMES)
    matrix, account = datasets.load("table", path)
    found = Patients.from_records(matrix.to_records(), codes=matrix.codes)
    return _loaded(replace(found, titles=matrix.titles), account, "made")


def _loaded(found: Patients, account: Account, made: str, name: str = "table") -> LoadedPatients:
    return LoadedPatients(found, {"dataset": name} | account | _shape(found, made))


def _shape(visits: Patients, made: str) -> Account:
    sizes = np.diff(visits.counts.indptr)
    return {
        "visits": made,
        "patients": len(visits),
        "admissions": int(visits.starts[-1]),
        "most_admissions": int(visits.numbers.max(initial=0)),
        "admissions_without_codes": int((sizes == 0).sum()),
        "codes": len(visits.codes),
    }
