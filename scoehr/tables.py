"""Tables of text read by DuckDB and checked: CSV, gzipped CSV and Parquet.

A header may be in any case, quoted or not; files may be gzipped, end their lines with CRLF and begin with a byte order
mark. What cannot be used raises :class:`~scoehr.files.InputError`: one sentence with the file, the column, the row (the
first under the header is row 1) and the remedy.
"""

from __future__ import annotations

import csv
import gzip
import re
import zlib
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from scoehr.files import InputError

Database = duckdb.DuckDBPyConnection

#: Columns by which a table is known, to say which one was given in another's place.
KNOWN_TABLES = {
    "ADMISSIONS": {"subject_id", "hadm_id", "admittime"},
    "DIAGNOSES_ICD of MIMIC-III": {"subject_id", "hadm_id", "seq_num", "icd9_code"},
    "diagnoses_icd of MIMIC-IV": {"subject_id", "hadm_id", "icd_code", "icd_version"},
    "D_ICD_DIAGNOSES": {"icd9_code", "long_title"},
    "PATIENTS": {"subject_id", "gender", "dod"},
    "diabetic_data": {"encounter_id", "patient_nbr", "diag_1"},
}


def find(folder: Path, table: str) -> Path:
    """:func:`look_for`, or InputError."""
    path = look_for(folder, table)
    if path is None:
        raise InputError(f"{folder}: has no {table}.csv or {table}.csv.gz; give the folder that holds that table")
    return path


def look_for(folder: Path, table: str) -> Path | None:
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


def read(database: Database, table: str, path: Path, columns: dict[str, str], *, whole: Container[str] = ()) -> None:
    """Make ``table`` of the named columns of a file (name in any case -> name in the table).

    Columns in ``whole`` become whole numbers, the others trimmed text with NULL for "". DuckDB's ``rowid`` is the row
    number less one. InputError if a column or every row is missing, or a whole number is none.
    """
    names = header(path)
    missing = next((name for name in columns if name.lower() not in names), None)
    if missing:
        fits = next((title for title, known in KNOWN_TABLES.items() if known <= set(names)), None)
        which = f"this is the table {fits}" if fits else f"it has {listed(names)}"
        raise InputError(f"{path}: has no column {missing} ({which}); give the table that has it")
    chosen = (f"{(_whole if name in whole else text)(name)} as {alias}" for name, alias in columns.items())
    with reading(path):
        database.execute(f"create temp table {table} as select {', '.join(chosen)} from {scan(path)}", [str(path)])
    if not number_of_rows(database, table):
        raise InputError(f"{path}: is empty but for its header; give the whole table")
    for name, alias in columns.items():
        if name in whole:
            _refuse_broken_number(database, table, alias, path, name)


def text(name: str) -> str:
    """SQL: a column as trimmed text, NULL for ""."""
    return f"nullif(trim({quoted(name.lower())}::varchar), '')"


def whole(value: str) -> str:
    """SQL: text as a whole number, ``7`` or ``7.0``; NULL if it is none."""
    digits = f"regexp_extract({value}, '^([+-]?\\d+)(\\.0*)?$', 1)"
    return f"try_cast({digits} as bigint)"


def number(value: str) -> str:
    """SQL: text as a finite number; NULL if it is none."""
    return f"if(isfinite(try_cast({value} as double)), try_cast({value} as double), null)"


def date(value: str) -> str:
    """SQL: text such as 2150-01-31 13:45:00 as a timestamp, an offset from UTC applied; NULL if it is no date."""
    shape = "^\\d{4}[-/]\\d{1,2}[-/]\\d{1,2}([ T]\\d.*)?$"
    offset = ":\\d{2}\\S* ?[+-]\\d{2}(:?\\d{2})?$"
    return (
        f"case when not regexp_matches({value}, '{shape}') then null "
        f"when regexp_matches({value}, '{offset}') then make_timestamp(epoch_us(try_cast({value} as timestamptz))) "
        f"else try_cast({value} as timestamp) end"
    )


def flag(value: str) -> str:
    """SQL: text that says yes or no (1, 0, 1.0, 0.0, true, false) as 1 or 0; NULL if it is neither."""
    return (
        f"case when lower({value}) in ('1', '1.0', 'true') then 1 when lower({value}) in ('0', '0.0', 'false') then 0 "
        "end"
    )


class Form(NamedTuple):
    """What the text of a column may have to be: SQL that makes it of text, its type, what to say of other text."""

    sql: Callable[[str], str]
    kind: str
    words: str


FORMS = {
    "whole": Form(whole, "bigint", "is not a whole number; restore it"),
    "number": Form(number, "double", "is not a number; restore it or leave it empty"),
    "date": Form(date, "timestamp", "is not a date; write it as 2150-01-31 13:45:00"),
    "flag": Form(flag, "integer", "is neither 0 nor 1; restore it"),
}


def _whole(name: str) -> str:
    return whole(text(name))


def _refuse_broken_number(database: Database, table: str, column: str, path: Path, name: str) -> None:
    found = database.execute(f"select min(rowid) from {table} where {column} is null").fetchone()
    if found and found[0] is not None:
        query = f"select {text(name)} from {scan(path)} limit 1 offset {found[0]}"
        value = (database.execute(query, [str(path)]).fetchone() or ("",))[0]
        where = f"{path}, column {name}, row {found[0] + 1}"
        raise InputError(f"{where}: {value or 'empty'!r} is not a whole number; restore the id")


def number_of_rows(database: Database, table: str) -> int:
    """How many rows a table has."""
    found = database.execute(f"select count(*) from {table}").fetchone()
    return int(found[0]) if found else 0


# Checks ---------------------------------------------------------------------------------------------------------


def refuse(database: Database, query: str, sentence: Callable[..., str]) -> None:
    """Raise ``sentence(row, values …)`` about the first row that ``query`` (rowid, values …) finds, if any."""
    found = database.execute(f"select * from ({query}) order by 1 limit 1").fetchone()
    if found:
        raise InputError(sentence(found[0] + 1, *found[1:]))


def refuse_repeats(database: Database, table: str, column: str, path: Path, name: str) -> None:
    """Every value of the column stands in one row."""
    refuse(
        database,
        f"select max(rowid), {column} from {table} group by {column} having count(*) > 1",
        lambda row, value: f"{path}, column {name}, row {row}: {value} has a row already; give each {column} one row",
    )


def refuse_pasted(database: Database, table: str, key: Sequence[str], path: Path, name: str) -> None:
    """No two rows have the same values, none of them empty, in the columns of ``key``, which ``name`` names."""
    full = " and ".join(f"{column} is not null" for column in key)
    refuse(
        database,
        f"select max(rowid), min(rowid) + 1 from {table} where {full} group by {', '.join(key)} having count(*) > 1",
        lambda row, first: f"{path}, row {row}: repeats row {first} (the same {name}); give every row once",
    )


def convert(database: Database, table: str, path: Path, form: str, columns: Mapping[str, str]) -> None:
    """Columns of text become what ``form`` of :data:`FORMS` says; InputError at the first cell that is no such thing.

    ``columns``: name in the file -> name in the table. Empty cells stay empty.
    """
    sql, kind, words = FORMS[form]
    for name, alias in columns.items():
        refuse(
            database,
            f"select rowid, {alias} from {table} where {alias} is not null and {sql(alias)} is null",
            lambda row, value, name=name: f"{path}, column {name}, row {row}: {value!r} {words}",
        )
        database.execute(f"alter table {table} alter column {alias} set data type {kind} using {sql(alias)}")


def refuse_empty(database: Database, table: str, path: Path, columns: Mapping[str, str], what: str) -> None:
    """No cell of these columns (name in the file -> name in the table) is empty; ``what`` says what it should hold."""
    for name, alias in columns.items():
        refuse(
            database,
            f"select rowid from {table} where {alias} is null",
            lambda row, name=name: f"{path}, column {name}, row {row}: is empty; restore the {what}",
        )


# Files ----------------------------------------------------------------------------------------------------------


def scan(path: Path) -> str:
    """SQL that reads the file (its path is the parameter) with casefolded column names, all text if it is CSV."""
    names = header(path)
    if path.suffix.lower() == ".parquet":
        columns = zip(schema(path).names, names, strict=True)
        return f"(select {', '.join(f'{quoted(old)} as {quoted(new)}' for old, new in columns)} from read_parquet(?))"
    types = ", ".join(f"'{name.replace(chr(39), chr(39) * 2)}': 'varchar'" for name in names)
    return (
        f"read_csv(?, columns={{{types}}}, auto_detect=false, header=true, delim=',', quote='\"', escape='\"', "
        "nullstr='')"
    )


def header(path: Path, *, casefold: bool = True) -> list[str]:
    """The column names of a CSV or Parquet file; InputError if there are none or two are the same."""
    names = schema(path).names if path.suffix.lower() == ".parquet" else _first_row(path)
    names = [name.strip() for name in names]
    folded = [name.casefold() for name in names]
    if len(set(folded)) < len(folded):
        twice = next(name for name in folded if folded.count(name) > 1)
        raise InputError(f"{path}: has the column {twice!r} twice; give each column one name")
    if len(names) == 1 and re.search(r"[;\t|]", names[0]):
        raise InputError(f"{path}: the columns are not separated by commas; save it as comma-separated values")
    return folded if casefold else names


def _first_row(path: Path) -> list[str]:
    try:
        with gzip.open(path) if path.suffix.lower() == ".gz" else path.open("rb") as file:
            row = next(csv.reader([file.readline().decode("utf-8-sig")]), None)
    except (gzip.BadGzipFile, EOFError, zlib.error):
        raise InputError(f"{path}: the gz file is truncated or damaged; fetch or write it again") from None
    except (UnicodeDecodeError, csv.Error):
        raise InputError(f"{path}: the header is not UTF-8 text; save the table as comma-separated UTF-8") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be opened ({error.strerror}); check the path and its permissions") from None
    if not row:
        raise InputError(f"{path}: is empty; give the whole table")
    return row


def schema(path: Path) -> pa.Schema:
    """The schema of a Parquet file."""
    try:
        return pq.read_schema(path)
    except (pa.ArrowException, OSError):
        raise InputError(f"{path}: not a readable Parquet file; write it again") from None


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn DuckDB's errors about a file into one sentence."""
    try:
        yield
    except duckdb.Error as error:
        raise InputError(_sentence(path, str(error))) from None


def _sentence(path: Path, message: str) -> str:
    line = re.search(r"Line: (\d+)", message)
    where = f"{path}, row {int(line[1]) - 1}" if line else str(path)
    wrong = re.search(r"Expected Number of Columns: (\d+) Found: (\d+)", message)
    if "gzip" in message.lower():
        return f"{path}: the gz file is truncated or damaged; fetch or write it again"
    if "unicode" in message or "utf-8" in message:
        return f"{where}: is not UTF-8 text; save the table in one encoding, UTF-8"
    if wrong:
        return f"{where}: has {wrong[2]} columns where the header has {wrong[1]}; mend the row"
    return f"{where}: cannot be read ({message.splitlines()[0]}); save the table as comma-separated UTF-8"


def quoted(name: str) -> str:
    """A column name in SQL."""
    return '"' + name.replace('"', '""') + '"'


def listed(names: Sequence[str]) -> str:
    """The first few names."""
    return ", ".join(names[:8]) + (", …" if len(names) > 8 else "")
