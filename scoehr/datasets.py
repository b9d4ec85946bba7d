"""Diagnosis tables in, a :class:`~scoehr.codes.CodeMatrix` and its account out.

DuckDB holds the tables under the same names for every data set: ``admissions`` (patient, visit), ``diagnoses``
(patient, raw: the code as it is written) and ``events`` (patient, place in the vocabulary, number). How files are
read and refused is in :mod:`scoehr.tables`.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import duckdb
import numpy as np
import pyarrow as pa
from scipy import sparse

from scoehr import icd, own, simulate, tables
from scoehr.cells import LARGEST_COUNT
from scoehr.codes import CodeMatrix, Kind
from scoehr.files import ROOT, InputError, user_path
from scoehr.tables import Database, refuse

Digits = Literal["three", "full"]
Account = dict[str, Any]


class Loaded(NamedTuple):
    """A matrix (patients and codes sorted) and how it came about: rows read, rows dropped and why, patients, …"""

    matrix: CodeMatrix
    account: Account


class DatasetInfo(NamedTuple):
    """``credentialed``: real patients under a data use agreement, so nothing row-level may be published."""

    description: str
    credentialed: bool
    needs_source: bool


DATASETS = {
    "simulated": DatasetInfo("Simulated cohort of known truth in MIMIC-III's schema", False, False),
    "mimic3": DatasetInfo("MIMIC-III v1.4: the folder of ADMISSIONS.csv and DIAGNOSES_ICD.csv", True, True),
    "mimic4": DatasetInfo("MIMIC-IV v2 or v3: the folder that holds hosp/", True, True),
    "diabetes130": DatasetInfo(
        "Diabetes 130-US hospitals 1999-2008 (UCI 296): the folder or the zip file", False, True
    ),
    "table": DatasetInfo("Your own patients × codes: long or wide, .parquet, .csv or .csv.gz", True, True),
}

#: An ICD-9 code whose category is complete.
ICD9 = re.compile(r"(\d{3}|V\d{2}|E\d{3})[0-9A-Z]*")


def load(name: str, source: str | Path | None = None, *, digits: Digits = "three", kind: Kind = "count") -> Loaded:
    """Load a data set.

    Parameters
    ----------
    name : one of :data:`DATASETS`
    source : folder or file; optional for ``simulated``, whose tables are written first if they are absent
    digits : "three" cuts ICD-9 codes to their category (E codes to four characters), as the report does;
        "full" keeps them. The codes of ``table`` are taken as they are.
    kind : "count" (rows of the diagnosis table per patient and code) or "binary"

    Returns
    -------
    Loaded
        All patients of the admissions are rows of the matrix, with or without codes; codes are those that occur.
        Rows without a code are dropped and counted in the account, as are unmapped ICD-10 codes (``mimic4``).

    Raises
    ------
    InputError
        For an unknown name, a missing source, or a table that cannot be used.
    """
    if name not in DATASETS:
        raise InputError(f"data set {name!r} is unknown; choose one of {', '.join(DATASETS)}")
    if digits not in ("three", "full") or kind not in ("count", "binary"):
        raise InputError(f"digits={digits!r}, kind={kind!r}: give digits 'three' or 'full', kind 'count' or 'binary'")
    place = _source(name, source)
    scratch = tempfile.gettempdir()
    with duckdb.connect(config={"threads": 2, "memory_limit": "1GB", "temp_directory": scratch}) as database:
        matrix, account = READERS[name](database, place, digits)
    matrix = matrix.to_binary() if kind == "binary" else matrix
    return Loaded(matrix, {"dataset": name} | account | _shape(matrix))


def _source(name: str, source: str | Path | None) -> Path:
    if source is None and DATASETS[name].needs_source:
        raise InputError(f"data set {name!r} needs a source ({DATASETS[name].description}); give its path by --source")
    if source is None:
        place = ROOT / "data" / "simulated"
        if not all((place / f"{table}.csv.gz").exists() for table in simulate.TABLES):
            simulate.write_tables(place)
        return place
    place = user_path(source)
    if not place.exists():
        raise InputError(f"{place}: no such file or folder; check the path")
    return place


def _shape(matrix: CodeMatrix) -> Account:
    return {
        "patients": len(matrix),
        "patients_without_codes": int((np.diff(matrix.counts.indptr) == 0).sum()),
        "codes": len(matrix.codes),
        "total": int(matrix.counts.sum()),
        "mean_cell": matrix.mean_cell,
        "kind": matrix.kind,
    }


# MIMIC ----------------------------------------------------------------------------------------------------------


def _mimic3(database: Database, source: Path, digits: Digits) -> tuple[CodeMatrix, Account]:
    path = tables.find(source, "DIAGNOSES_ICD")
    admissions = _patients_and_admissions(database, source, str.upper)
    ids = {"SUBJECT_ID": "patient", "HADM_ID": "visit"}
    tables.read(database, "diagnoses", path, ids | {"ICD9_CODE": "raw"}, whole=ids)
    _refer_to_admissions(database, path, ids)
    codes, kept = _translate(database, lambda raw: _icd9(raw, digits, _place(database, path, "ICD9_CODE", raw)))
    return _matrix(database, "admissions", codes, icd.title), {"digits": digits, "admissions": admissions} | kept


def _mimic4(database: Database, source: Path, digits: Digits) -> tuple[CodeMatrix, Account]:
    path = tables.find(source, "diagnoses_icd")
    admissions = _patients_and_admissions(database, source, str.lower)
    ids = {"subject_id": "patient", "hadm_id": "visit"}
    tables.read(database, "diagnoses", path, ids | {"icd_code": "written", "icd_version": "version"}, whole=ids)
    _refer_to_admissions(database, path, ids)
    refuse(
        database,
        "select rowid, version from diagnoses where version is null or version not in ('9', '10')",
        lambda row, value: (
            f"{path}, column icd_version, row {row}: {value or 'empty'!r} is neither 9 nor 10; restore the version"
        ),
    )
    database.execute("alter table diagnoses add column raw varchar")
    database.execute("update diagnoses set raw = version || ':' || written")

    def translate(raw: str) -> str | None:
        version, code = raw.split(":", 1)
        if version == "9":
            return _icd9(code, digits, _place(database, path, "icd_code", raw))
        (mapped,) = icd.to_icd9([code.upper()])
        return mapped and _cut(mapped, digits)

    codes, kept = _translate(database, translate, lost="unmapped ICD-10")
    versions = dict(database.execute("select version, count(*) from diagnoses group by all").fetchall())
    kept |= {"rows_icd9": versions.get("9", 0), "rows_icd10": versions.get("10", 0)}
    return _matrix(database, "admissions", codes, icd.title), {"digits": digits, "admissions": admissions} | kept


def _patients_and_admissions(database: Database, folder: Path, case: Callable[[str], str]) -> int:
    """Table ``admissions`` and, if the folder has it, PATIENTS, checked; the number of admissions.

    ``case`` writes names as the release does.
    """
    subject, visit, begin = case("subject_id"), case("hadm_id"), case("admittime")
    path = tables.find(folder, case("admissions"))
    dates = [begin, *(case(name) for name in ("dischtime", "deathtime") if name in tables.header(path))]
    ids = {subject: "patient", visit: "visit"}
    tables.read(database, "admissions", path, ids | {name: name for name in dates}, whole=ids)
    tables.refuse_repeats(database, "admissions", "visit", path, visit)
    tables.refuse_empty(database, "admissions", path, {begin: begin}, "date")
    tables.convert(database, "admissions", path, "date", {name: name for name in dates})
    people = tables.look_for(folder, case("patients"))
    if people:
        dates = [case(name) for name in ("dob", "dod") if name in tables.header(people)]
        columns = {subject: "patient"} | {name: name for name in dates}
        tables.read(database, "patients", people, columns, whole=[subject])
        tables.refuse_repeats(database, "patients", "patient", people, subject)
        tables.convert(database, "patients", people, "date", {name: name for name in dates})
    return tables.number_of_rows(database, "admissions")


def _refer_to_admissions(database: Database, path: Path, ids: Iterable[str]) -> None:
    """Every diagnosis belongs to an admission, of the same patient; ``ids`` names the columns of patient and visit."""
    subject, visit = ids
    refuse(
        database,
        "select rowid, visit from diagnoses anti join admissions using (visit)",
        lambda row, value: (
            f"{path}, column {visit}, row {row}: admission {value} is not in ADMISSIONS; give tables of one release"
        ),
    )
    refuse(
        database,
        "select d.rowid, d.patient, visit from diagnoses d join admissions a using (visit) "
        "where a.patient <> d.patient",
        lambda row, patient, value: (
            f"{path}, column {subject}, row {row}: admission {value} is not of patient {patient} in ADMISSIONS; "
            "give tables of one release"
        ),
    )


# Diabetes 130-US ------------------------------------------------------------------------------------------------


def _diabetes130(database: Database, source: Path, digits: Digits) -> tuple[CodeMatrix, Account]:
    ids = {"patient_nbr": "patient", "encounter_id": "visit"}
    columns = {"diag_1": "d1", "diag_2": "d2", "diag_3": "d3"}
    path = diabetic_data(source)
    tables.read(database, "admissions", path, ids | columns, whole=ids)
    tables.refuse_repeats(database, "admissions", "visit", path, "encounter_id")
    parts = (f"select patient, nullif({column}, '?') as raw from admissions" for column in columns.values())
    database.execute(f"create temp table diagnoses as {' union all '.join(parts)}")
    codes, kept = _translate(
        database, lambda raw: _icd9(icd.restore_zeros(raw), digits, lambda: f"{source}, columns diag_1 to diag_3")
    )
    account = {"digits": digits, "admissions": tables.number_of_rows(database, "admissions")} | kept
    return _matrix(database, "admissions", codes, icd.title), account


def diabetic_data(source: Path) -> Path:
    """The table of Diabetes 130-US in a folder or a zip file: a path that :mod:`scoehr.tables` reads, zipped or not."""
    if source.is_dir():
        found = [source / name for name in ("diabetic_data.csv", "diabetic_data.zip") if (source / name).is_file()]
        if not found:
            raise InputError(f"{source}: has no diabetic_data.csv or diabetic_data.zip; copy it there")
        source = found[0]
    return tables.zipped(source, "diabetic_data.csv") if source.suffix.lower() == ".zip" else source


# A user's own table ---------------------------------------------------------------------------------------------


def _table(database: Database, source: Path, digits: Digits) -> tuple[CodeMatrix, Account]:
    del database, digits
    return own.read(source)


# From rows to the matrix ----------------------------------------------------------------------------------------


def _icd9(raw: str, digits: Digits, where: Callable[[], str]) -> str:
    code = raw.upper().replace(".", "")
    if not ICD9.fullmatch(code):
        raise InputError(f"{where()}: {raw!r} is not an ICD-9 code; write it as text, with its leading zeros")
    return _cut(code, digits)


def _cut(code: str, digits: Digits) -> str:
    return icd.three_digit(code) if digits == "three" else code


def _place(database: Database, path: Path, column: str, raw: str) -> Callable[[], str]:
    """Where a raw code first stands, said when asked."""

    def where() -> str:
        found = database.execute("select min(rowid) + 1 from diagnoses where raw = ?", [raw]).fetchone()
        return f"{path}, column {column}, row {found[0] if found else '?'}"

    return where


def _translate(
    database: Database, translate: Callable[[str], str | None], *, lost: str = "", number: str = "1"
) -> tuple[list[str], Account]:
    """Table ``events`` from ``diagnoses``; the sorted codes in which ``place`` points, and the rows kept and dropped.

    ``translate`` turns a distinct raw code into a code, or into None for the reason ``lost``.
    """
    raw = [
        value for (value,) in database.execute("select distinct raw from diagnoses where raw is not null").fetchall()
    ]
    found = {value: code for value in raw if (code := translate(value)) is not None}
    codes = sorted(set(found.values()))
    place = {code: number for number, code in enumerate(codes)}
    columns = {
        "raw": pa.array(found, pa.string()),
        "place": pa.array([place[code] for code in found.values()], pa.int32()),
    }
    database.register("places", pa.table(columns))
    database.execute(
        f"create temp table events as select patient, place, {number} as number from diagnoses join places using (raw)"
    )
    rows, empty = database.execute("select count(*), count(*) - count(raw) from diagnoses").fetchall()[0]
    kept = tables.number_of_rows(database, "events")
    dropped = {"no code": empty} | ({lost: rows - empty - kept} if lost else {})
    return codes, {"rows_read": rows, "rows_dropped": dropped, "rows_kept": kept}


def _matrix(database: Database, people: str, codes: Sequence[str], title: Callable[[str], str]) -> CodeMatrix:
    """The count matrix of ``events`` with all patients of the table ``people``, sorted.

    Ids are int64 where all are whole numbers as DuckDB writes them, else str.
    """
    same = "coalesce(try_cast(patient as bigint)::varchar = patient::varchar, false)"
    whole = database.execute(f"select bool_and({same}) from {people}").fetchall()[0][0]
    kind = "bigint" if whole else "varchar"
    ids = f"select distinct patient, patient::{kind} as id from {people}"
    database.execute(f"create temp table people as {ids} order by id")
    patients = database.execute("select id from people order by rowid").fetchnumpy()["id"]
    cells = database.execute(
        "select people.rowid::int as row, place, number::bigint as number from events join people using (patient)"
    ).fetchnumpy()
    row, place, number = (np.asarray(cells[name]) for name in ("row", "place", "number"))
    counts = sparse.csr_array((number, (row, place)), shape=(len(patients), len(codes)))
    if counts.nnz and counts.max() > LARGEST_COUNT:
        raise InputError(f"a count is {counts.max()}; the largest that fits is {LARGEST_COUNT}, so scale it")
    titles = np.array([title(code) for code in codes], dtype=str)
    return CodeMatrix(
        counts, np.asarray(patients, dtype=np.int64 if whole else str), np.array(codes, dtype=str), titles
    )


READERS: dict[str, Callable[[Database, Path, Digits], tuple[CodeMatrix, Account]]] = {
    "simulated": _mimic3,
    "mimic3": _mimic3,
    "mimic4": _mimic4,
    "diabetes130": _diabetes130,
    "table": _table,
}
