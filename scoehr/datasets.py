"""Diagnosis tables in, a :class:`~scoehr.codes.CodeMatrix` and its account out.

Tables are read by DuckDB. A header may be in any case, quoted or not; files may be gzipped, end their lines with CRLF
and begin with a byte order mark. A table that cannot be used raises :class:`~scoehr.files.InputError`: one sentence
with the file, the column, the row (the first row under the header is row 1) and the remedy.
"""

from __future__ import annotations

import csv
import gzip
import io
import re
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, NamedTuple

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from scipy import sparse

from scoehr import icd, simulate
from scoehr.codes import METADATA_KEY, CodeMatrix, Kind
from scoehr.files import ROOT, InputError

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
    "diabetes130": DatasetInfo("Diabetes 130-US hospitals 1999-2008 (UCI 296)", False, True),
    "table": DatasetInfo("Your own patients × codes: long or wide, .parquet, .csv or .csv.gz", True, True),
}

#: Columns by which a table is known, to say which one was given in another's place.
KNOWN_TABLES = {
    "ADMISSIONS": {"subject_id", "hadm_id", "admittime"},
    "DIAGNOSES_ICD of MIMIC-III": {"subject_id", "hadm_id", "seq_num", "icd9_code"},
    "diagnoses_icd of MIMIC-IV": {"subject_id", "hadm_id", "icd_code", "icd_version"},
    "D_ICD_DIAGNOSES": {"icd9_code", "long_title"},
    "PATIENTS": {"subject_id", "gender", "dod"},
    "Diabetes 130-US": {"encounter_id", "patient_nbr", "diag_1"},
}
#: An ICD-9 code whose category is complete.
ICD9 = re.compile(r"(\d{3}|V\d{2}|E\d{3})[0-9A-Z]*")
LARGEST_COUNT = 2**31 - 1


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
    if source is None and DATASETS[name].needs_source:
        raise InputError(f"data set {name!r} needs a source ({DATASETS[name].description}); give its path by --source")
    readers = {
        "simulated": _simulated,
        "mimic3": _mimic3,
        "mimic4": _mimic4,
        "diabetes130": _diabetes130,
        "table": _table,
    }
    place = None if source is None else Path(source).expanduser()
    if place is not None and not place.exists():
        raise InputError(f"{place}: no such file or folder; check the path")
    with duckdb.connect(config={"threads": 2, "memory_limit": "1GB"}) as database:
        matrix, account = readers[name](database, place, digits)
    matrix = matrix.to_binary() if kind == "binary" and matrix.kind != "binary" else matrix
    return Loaded(matrix, {"dataset": name} | account | _shape(matrix))


def _shape(matrix: CodeMatrix) -> Account:
    without = int((np.diff(matrix.counts.indptr) == 0).sum())
    return {
        "patients": len(matrix),
        "patients_without_codes": without,
        "codes": len(matrix.codes),
        "total": int(matrix.counts.sum()),
        "mean_cell": matrix.mean_cell,
        "kind": matrix.kind,
    }


# Data sets ------------------------------------------------------------------------------------------------------

Database = duckdb.DuckDBPyConnection


def _simulated(database: Database, source: Path | None, digits: Digits) -> tuple[CodeMatrix, Account]:
    folder = source or ROOT / "data" / "simulated"
    if source is None and not all((folder / f"{table}.csv.gz").exists() for table in simulate.TABLES):
        simulate.write_tables(folder)
    return _mimic3(database, folder, digits)


def _mimic3(database: Database, source: Path | None, digits: Digits) -> tuple[CodeMatrix, Account]:
    assert source is not None
    diagnoses = _find(source, "DIAGNOSES_ICD")
    _patients_and_admissions(database, source, str.upper)
    _read(database, "diagnoses", diagnoses, {"SUBJECT_ID": "patient", "HADM_ID": "visit", "ICD9_CODE": "raw"})
    _refer_to_admissions(database, diagnoses, str.upper)

    def translate(raw: str) -> str:
        return _icd9(raw, digits, database, diagnoses, "ICD9_CODE")

    kept = _translate(database, translate)
    return _matrix(database, icd.title), {"digits": digits, "admissions": _number(database, "admissions")} | kept


def _mimic4(database: Database, source: Path | None, digits: Digits) -> tuple[CodeMatrix, Account]:
    assert source is not None
    diagnoses = _find(source, "diagnoses_icd")
    _patients_and_admissions(database, source, str.lower)
    columns = {"subject_id": "patient", "hadm_id": "visit", "icd_code": "written", "icd_version": "version"}
    _read(database, "diagnoses", diagnoses, columns)
    _refer_to_admissions(database, diagnoses, str.lower)
    _refuse(
        database,
        "select rowid, version from diagnoses where version is null or version not in ('9', '10')",
        lambda row, value: f"{diagnoses}, column icd_version, row {row}: {value!r} is not 9 or 10; restore the row",
    )
    database.execute("alter table diagnoses add column raw varchar")
    database.execute("update diagnoses set raw = version || ':' || written")

    def translate(raw: str) -> str | None:
        version, code = raw.split(":", 1)
        if version == "10":
            (mapped,) = icd.to_icd9([code.upper()])
            return mapped and _cut(mapped, digits)
        return _icd9(code, digits, database, diagnoses, "icd_code")

    kept = _translate(database, translate, lost="unmapped ICD-10")
    versions = dict(database.execute("select version, count(*) from diagnoses group by all").fetchall())
    extra = {"rows_icd9": versions.get("9", 0), "rows_icd10": versions.get("10", 0)}
    account = {"digits": digits, "admissions": _number(database, "admissions")} | kept | extra
    return _matrix(database, icd.title), account


def _diabetes130(database: Database, source: Path | None, digits: Digits) -> tuple[CodeMatrix, Account]:
    assert source is not None
    columns = {"encounter_id": "visit", "patient_nbr": "patient", "diag_1": "d1", "diag_2": "d2", "diag_3": "d3"}
    with _unzipped(source) as path:
        _read(database, "admissions", path, columns)
    _whole_numbers(database, "admissions", path, {"patient": "patient_nbr", "visit": "encounter_id"})
    _distinct(database, "admissions", "visit", path, "encounter_id")
    parts = " union all ".join(
        f"select patient, nullif({column}, '?') as raw from admissions" for column in ("d1", "d2", "d3")
    )
    database.execute(f"create temp table diagnoses as {parts}")

    def translate(raw: str) -> str:
        return _icd9(icd.restore_zeros(raw), digits, database, path, "diag_1 to diag_3")

    kept = _translate(database, translate)
    return _matrix(database, icd.title), {"digits": digits, "admissions": _number(database, "admissions")} | kept


def _table(database: Database, source: Path | None, digits: Digits) -> tuple[CodeMatrix, Account]:
    assert source is not None
    del digits
    if source.is_dir() or not source.name.lower().endswith((".parquet", ".csv", ".csv.gz")):
        raise InputError(f"{source}: not a table; give one .parquet, .csv or .csv.gz file")
    if source.suffix.lower() == ".parquet" and METADATA_KEY in (_schema(source).metadata or {}):
        matrix = CodeMatrix.read(source)
        return matrix, {"form": "scoehr", "rows_read": matrix.counts.nnz, "rows_kept": matrix.counts.nnz}
    names = _header(source)
    if "patient_id" not in names:
        raise InputError(
            f"{source}: has no column patient_id; name the column of patient ids so (it has {_list(names)})"
        )
    return _long_table(database, source, names) if "code" in names else _wide_table(database, source, names)


def _long_table(database: Database, path: Path, names: Sequence[str]) -> tuple[CodeMatrix, Account]:
    counted = "count" in names
    columns = {"patient_id": "patient", "code": "raw"} | ({"count": "number"} if counted else {})
    _read(database, "diagnoses", path, columns)
    _no_missing_patient(database, path)
    if counted:
        _refuse(
            database,
            f"select rowid, number from diagnoses where {_not_a_count('number')}",
            lambda row, value: _bad_count(path, "count", row, value),
        )
        _refuse(
            database,
            "select max(rowid), patient, raw from diagnoses where raw is not null group by all having count(*) > 1",
            lambda row, patient, code: (
                f"{path}, row {row}: patient {patient} and code {code} have a row already; put their counts in one row"
            ),
        )
    database.execute("create temp table admissions as select distinct patient from diagnoses")
    kept = _translate(database, lambda raw: raw, number="number::double::int" if counted else "1")
    return _matrix(database, lambda code: ""), {"form": "long"} | kept


def _wide_table(database: Database, path: Path, names: Sequence[str]) -> tuple[CodeMatrix, Account]:
    if len(names) < 2:
        raise InputError(f"{path}: has no column but patient_id; add a column for each code, or columns code and count")
    _read(database, "diagnoses", path, {"patient_id": "patient"})
    _no_missing_patient(database, path)
    _refuse(
        database,
        "select max(rowid), patient from diagnoses group by patient having count(*) > 1",
        lambda row, patient: f"{path}, row {row}: patient {patient} has a row already; give each patient one row",
    )
    titles = {
        f"c{number}": name for number, name in enumerate(_header(path, casefold=False)) if names[number] != "patient_id"
    }
    columns = ", ".join(f"{_quote(name.casefold())}::varchar as {alias}" for alias, name in titles.items())
    with _reading(path):
        database.execute(
            "create temp table cells as select patient, c, trim(value) as number from (unpivot "
            f"(select trim(patient_id::varchar) as patient, {columns} from {_scan(path)}) "
            "on columns(* exclude patient) into name c value value) "
            "where try_cast(value as double) is distinct from 0 and trim(value) <> ''",
            [str(path)],
        )
    found = database.execute(
        f"select diagnoses.rowid, c, number from cells join diagnoses using (patient) "
        f"where {_not_a_count('number')} order by 1 limit 1"
    ).fetchone()
    if found:
        raise InputError(_bad_count(path, titles[found[1]], found[0] + 1, found[2]))
    return _wide_matrix(database, titles)


def _wide_matrix(database: Database, titles: dict[str, str]) -> tuple[CodeMatrix, Account]:
    """The matrix of the non-zero ``cells``; every column of the table is in the vocabulary."""
    _people(database, "diagnoses")
    names = np.array(sorted(titles.values()))
    place = dict(zip(titles, np.searchsorted(names, list(titles.values())).tolist(), strict=True))
    cells = database.execute(
        "select place, c, number::double::int as n from cells join people using (patient)"
    ).fetchnumpy()
    columns = np.array([place[alias] for alias in cells["c"].tolist()], dtype=int)
    patients = _patients(database)
    counts = sparse.csr_array(
        (cells["n"], (cells["place"], columns)), shape=(len(patients), len(names)), dtype=np.int32
    )
    account = {"form": "wide", "rows_read": len(patients), "rows_kept": len(patients)}
    return CodeMatrix(counts, patients, names, np.full(len(names), "")), account


# Steps ----------------------------------------------------------------------------------------------------------


def _patients_and_admissions(database: Database, folder: Path, case: Callable[[str], str]) -> None:
    """Tables ``admissions`` (patient, visit) and, if the folder has it, PATIENTS, checked.

    ``case`` writes names as the release does.
    """
    subject, visit, begin = case("subject_id"), case("hadm_id"), case("admittime")
    path = _find(folder, case("admissions"))
    dates = [begin, *(case(name) for name in ("dischtime", "deathtime") if name in _header(path))]
    _read(database, "admissions", path, {subject: "patient", visit: "visit"} | {name: name for name in dates})
    _whole_numbers(database, "admissions", path, {"patient": subject, "visit": visit})
    _distinct(database, "admissions", "visit", path, visit)
    _refuse(
        database,
        f"select rowid from admissions where {begin} is null",
        lambda row: f"{path}, column {begin}, row {row}: is empty; restore the date",
    )
    _dates(database, "admissions", path, dates)
    people = _look_for(folder, case("patients"))
    if people:
        dates = [case(name) for name in ("dob", "dod") if name in _header(people)]
        _read(database, "patients", people, {subject: "patient"} | {name: name for name in dates})
        _whole_numbers(database, "patients", people, {"patient": subject})
        _distinct(database, "patients", "patient", people, subject)
        _dates(database, "patients", people, dates)


def _refer_to_admissions(database: Database, path: Path, case: Callable[[str], str]) -> None:
    """Every diagnosis belongs to an admission, of the same patient."""
    subject, visit = case("subject_id"), case("hadm_id")
    _whole_numbers(database, "diagnoses", path, {"patient": subject, "visit": visit})
    _refuse(
        database,
        "select rowid, visit from diagnoses anti join admissions using (visit)",
        lambda row, value: (
            f"{path}, column {visit}, row {row}: admission {value} is not in ADMISSIONS; give tables of one release"
        ),
    )
    _refuse(
        database,
        "select d.rowid, d.patient, visit from diagnoses d join admissions a using (visit) "
        "where a.patient <> d.patient",
        lambda row, patient, value: (
            f"{path}, column {subject}, row {row}: admission {value} is not of patient {patient} in ADMISSIONS; "
            "give tables of one release"
        ),
    )


def _icd9(raw: str, digits: Digits, database: Database, path: Path, column: str) -> str:
    code = raw.upper().replace(".", "")
    if not ICD9.fullmatch(code):
        raise InputError(
            f"{path}, column {column}{_row_of(database, raw)}: {raw!r} is not an ICD-9 code; "
            "write it as text, with its leading zeros"
        )
    return _cut(code, digits)


def _cut(code: str, digits: Digits) -> str:
    return icd.three_digit(code) if digits == "three" else code


def _row_of(database: Database, raw: str) -> str:
    found = database.execute(
        "select min(rowid) + 1 from diagnoses where raw = $1 or raw = '9:' || $1", [raw]
    ).fetchone()
    return f", row {found[0]}" if found and found[0] else ""


def _translate(
    database: Database, translate: Callable[[str], str | None], *, lost: str = "", number: str = "1"
) -> Account:
    """Table ``events`` (patient, code, number) from ``diagnoses`` (patient, raw); the rows kept and dropped.

    ``translate`` turns a distinct raw code into a code, or into None for the reason ``lost``.
    """
    raw = [
        value for (value,) in database.execute("select distinct raw from diagnoses where raw is not null").fetchall()
    ]
    map_of_codes = pa.table({"raw": pa.array(raw, pa.string()), "code": pa.array(map(translate, raw), pa.string())})
    database.register("map_of_codes", map_of_codes)
    database.execute(
        f"create temp table events as select patient, code, {number} as number from diagnoses "
        "join map_of_codes using (raw) where code is not null"
    )
    (rows, empty), kept = (
        database.execute("select count(*), count(*) - count(raw) from diagnoses").fetchone() or (0, 0),
        _number(database, "events"),
    )
    dropped = {"no code": empty} | ({lost: rows - empty - kept} if lost else {})
    return {"rows_read": rows, "rows_dropped": dropped, "rows_kept": kept}


def _matrix(database: Database, title: Callable[[str], str]) -> CodeMatrix:
    """The count matrix of ``events`` with all patients of ``admissions``; patients and codes sorted."""
    _people(database, "admissions")
    patients = _patients(database)
    codes = [code for (code,) in database.execute("select distinct code from events order by code").fetchall()]
    database.register("vocabulary", pa.table({"code": pa.array(codes, pa.string()), "column": np.arange(len(codes))}))
    cells = database.execute(
        'select place, "column", sum(number) as n from events join people using (patient) '
        "join vocabulary using (code) group by all"
    ).fetchnumpy()
    entries = (np.asarray(cells["n"], dtype=np.int32), (cells["place"], cells["column"]))
    counts = sparse.csr_array(entries, shape=(len(patients), len(codes)), dtype=np.int32)
    return CodeMatrix(
        counts, patients, np.array(codes, dtype=str), np.array([title(code) for code in codes], dtype=str)
    )


def _people(database: Database, table: str) -> None:
    """Table ``people`` (patient, place): ids sorted, as numbers where all are whole numbers without leading zeros."""
    whole = database.execute(
        f"select bool_and(coalesce(try_cast(patient as bigint)::varchar = patient::varchar, false)) from {table}"
    ).fetchone()
    order = "patient::bigint" if whole and whole[0] else "patient"
    database.execute(
        f"create temp table people as select patient, (row_number() over (order by {order}) - 1)::int as place "
        f"from (select distinct patient from {table})"
    )


def _patients(database: Database) -> np.ndarray:
    ids = [patient for (patient,) in database.execute("select patient from people order by place").fetchall()]
    numbers = all(isinstance(patient, int) or _is_number(patient) for patient in ids)
    return np.array(ids).astype(np.int64) if numbers else np.array(ids, dtype=str)


def _is_number(text: str) -> bool:
    return bool(re.fullmatch(r"0|-?[1-9]\d{0,17}", text))


def _number(database: Database, table: str) -> int:
    found = database.execute(f"select count(*) from {table}").fetchone()
    return int(found[0]) if found else 0


# Checks ---------------------------------------------------------------------------------------------------------


def _refuse(database: Database, query: str, sentence: Callable[..., str]) -> None:
    """Raise the sentence about the first row that ``query`` (rowid, values …) finds, if any."""
    found = database.execute(f"select * from ({query}) order by 1 limit 1").fetchone()
    if found:
        raise InputError(sentence(found[0] + 1, *found[1:]))


def _whole_numbers(database: Database, table: str, path: Path, columns: dict[str, str]) -> None:
    """Turn id columns into numbers, or name the first row where that fails."""
    for column, name in columns.items():
        _refuse(
            database,
            f"select rowid, {column} from {table} where try_cast({column} as bigint) is null",
            lambda row, value, name=name: (
                f"{path}, column {name}, row {row}: {value or 'empty'!r} is not a whole number; restore the id"
            ),
        )
        database.execute(f"alter table {table} alter {column} type bigint")


def _distinct(database: Database, table: str, column: str, path: Path, name: str) -> None:
    _refuse(
        database,
        f"select max(rowid), {column} from {table} group by {column} having count(*) > 1",
        lambda row, value: f"{path}, column {name}, row {row}: {value} has a row already; give each {column} one row",
    )


def _dates(database: Database, table: str, path: Path, columns: Sequence[str]) -> None:
    for name in columns:
        _refuse(
            database,
            f"select rowid, {name} from {table} where {name} is not null and try_cast({name} as timestamp) is null",
            lambda row, value, name=name: (
                f"{path}, column {name}, row {row}: {value!r} is not a date; write it as 2150-01-31 13:45:00"
            ),
        )


def _no_missing_patient(database: Database, path: Path) -> None:
    _refuse(
        database,
        "select rowid from diagnoses where patient is null",
        lambda row: f"{path}, column patient_id, row {row}: is empty; give every row a patient id",
    )


def _not_a_count(column: str) -> str:
    """SQL: the text in ``column`` is not a whole number from 0 that fits the matrix."""
    value = f"try_cast({column} as double)"
    return f"coalesce(not ({value} >= 0 and {value} <= {LARGEST_COUNT} and {value} = floor({value})), true)"


def _bad_count(path: Path, column: str, row: int, value: str | None) -> str:
    return f"{path}, column {column}, row {row}: {value or 'empty'!r} is not a whole number from 0; mend the count"


# Files ----------------------------------------------------------------------------------------------------------


def _find(folder: Path, table: str) -> Path:
    """:func:`_look_for`, or InputError."""
    path = _look_for(folder, table)
    if path is None:
        raise InputError(f"{folder}: has no {table}.csv or {table}.csv.gz; give the folder that holds that table")
    return path


def _look_for(folder: Path, table: str) -> Path | None:
    """The table's file in the folder or in its ``hosp``, name in any case, .csv before .csv.gz; None if absent."""
    if not folder.is_dir():
        raise InputError(f"{folder}: not a folder; give the folder that holds {table}.csv or {table}.csv.gz")
    places = [folder, *(place for place in folder.iterdir() if place.is_dir() and place.name.lower() == "hosp")]
    for ending in (".csv", ".csv.gz"):
        for place in places:
            for path in sorted(place.iterdir()):
                if path.name.lower() == table.lower() + ending:
                    return path
    return None


@contextmanager
def _unzipped(source: Path) -> Iterator[Path]:
    """The .csv of Diabetes 130-US, taken out of diabetic_data.zip for as long as the block runs."""
    if source.is_dir():
        found = [source / name for name in ("diabetic_data.csv", "diabetic_data.zip") if (source / name).exists()]
        if not found:
            raise InputError(f"{source}: has no diabetic_data.csv or diabetic_data.zip; copy it there")
        source = found[0]
    if source.suffix.lower() != ".zip":
        yield source
        return
    with tempfile.TemporaryDirectory() as scratch:
        try:
            with zipfile.ZipFile(source) as archive:
                member = next((name for name in archive.namelist() if name.endswith("diabetic_data.csv")), None)
                if member is None:
                    raise InputError(f"{source}: holds no diabetic_data.csv; fetch it from the UCI repository again")
                path = Path(archive.extract(member, scratch))
        except (zipfile.BadZipFile, zlib.error, EOFError):
            raise InputError(f"{source}: the zip file is damaged; fetch it from the UCI repository again") from None
        yield path


def _read(database: Database, table: str, path: Path, columns: dict[str, str]) -> None:
    """Make ``table`` of the named columns of a file (casefolded name -> name in the table), as trimmed text.

    Empty text is NULL. The row number less one is DuckDB's ``rowid``. InputError if a column or every row is missing.
    """
    names = _header(path)
    missing = [name for name in columns if name.lower() not in names]
    if missing:
        fits = [title for title, known in KNOWN_TABLES.items() if known <= set(names)]
        which = f"this is the table {fits[0]}" if fits else f"it has {_list(names)}"
        raise InputError(f"{path}: has no column {missing[0]} ({which}); give the table that has it")
    chosen = ", ".join(
        f"nullif(trim({_quote(name.lower())}::varchar), '') as {alias}" for name, alias in columns.items()
    )
    with _reading(path):
        database.execute(f"create temp table {table} as select {chosen} from {_scan(path)}", [str(path)])
    if not _number(database, table):
        raise InputError(f"{path}: is empty but for its header; give the whole table")


def _scan(path: Path) -> str:
    """SQL that reads the file (its path is the parameter) with casefolded column names, all text if it is CSV."""
    names = _header(path)
    if path.suffix.lower() == ".parquet":
        columns = zip(_schema(path).names, names, strict=True)
        return f"(select {', '.join(f'{_quote(old)} as {_quote(new)}' for old, new in columns)} from read_parquet(?))"
    types = ", ".join(f"'{name.replace(chr(39), chr(39) * 2)}': 'varchar'" for name in names)
    return (
        f"read_csv(?, columns={{{types}}}, auto_detect=false, header=true, delim=',', quote='\"', escape='\"', "
        "nullstr='', max_line_size=16777216)"
    )


def _header(path: Path, *, casefold: bool = True) -> list[str]:
    """The column names of a CSV or Parquet file; InputError if there are none or two are the same."""
    names = _schema(path).names if path.suffix.lower() == ".parquet" else _first_row(path)
    names = [name.strip() for name in names]
    folded = [name.casefold() for name in names]
    twice = next((name for name in folded if folded.count(name) > 1), None) if len(set(folded)) < len(folded) else None
    if twice is not None:
        raise InputError(f"{path}: has the column {twice!r} twice; give each column one name")
    if names and len(names) == 1 and re.search(r"[;\t|]", names[0]):
        raise InputError(f"{path}: the columns are not separated by commas; save it as comma-separated values")
    return folded if casefold else names


def _first_row(path: Path) -> list[str]:
    try:
        with path.open("rb") as raw:
            unpacked = gzip.GzipFile(fileobj=raw) if path.suffix.lower() == ".gz" else raw
            row = next(csv.reader(io.TextIOWrapper(unpacked, encoding="utf-8-sig", newline="")), None)
    except (gzip.BadGzipFile, EOFError, zlib.error):
        raise InputError(f"{path}: the gz file is truncated or damaged; fetch or write it again") from None
    except (UnicodeDecodeError, csv.Error):
        raise InputError(f"{path}: the header is not UTF-8 text; save the table as comma-separated UTF-8") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be opened ({error.strerror}); check the path and its permissions") from None
    if not row:
        raise InputError(f"{path}: is empty; give the whole table")
    return row


def _schema(path: Path) -> pa.Schema:
    try:
        return pq.read_schema(path)
    except (pa.ArrowException, OSError):
        raise InputError(f"{path}: not a readable Parquet file; write it again") from None


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Turn DuckDB's errors about a file into one sentence."""
    try:
        yield
    except duckdb.Error as error:
        text = str(error)
        line = re.search(r"Line: (\d+)", text)
        where = f"{path}, row {int(line[1]) - 1}" if line else str(path)
        if "gzip" in text.lower():
            sentence = f"{path}: the gz file is truncated or damaged; fetch or write it again"
        elif "unicode" in text or "utf-8" in text:
            sentence = f"{where}: is not UTF-8 text; save the table in one encoding, UTF-8"
        elif found := re.search(r"Expected Number of Columns: (\d+) Found: (\d+)", text):
            sentence = f"{where}: has {found[2]} columns where the header has {found[1]}; mend the row"
        else:
            sentence = f"{where}: cannot be read ({text.splitlines()[0]}); save the table as comma-separated UTF-8"
        raise InputError(sentence) from None


def _quote(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _list(names: Sequence[str]) -> str:
    return ", ".join(names[:8]) + (", …" if len(names) > 8 else "")
