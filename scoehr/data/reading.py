"""Tables of text, read row by row and checked: CSV, gzipped or in a zip file, and Parquet.

A header may be in any case, quoted or not; files may be gzipped, end their lines in any way and
begin with a byte order mark or blank lines. A column without a name is left out. A path names one
file: no pattern, no folder's name as a column. What cannot be used raises
:class:`~scoehr.files.InputError`: one sentence with the file, the column, the row (the first under
the header is row 1) and the remedy.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import lzma
import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from scoehr.data import cells
from scoehr.files import InputError, scratch_folder

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


@contextmanager
def database(memory: str = "1GB") -> Iterator[Database]:
    """DuckDB in memory; what does not fit lies in a scratch folder that is cleared afterwards."""
    settings: dict[str, Any] = {"threads": 2, "memory_limit": memory}
    with (
        scratch_folder("tables") as scratch,
        duckdb.connect(config=settings | {"temp_directory": str(scratch)}) as connection,
    ):
        yield connection


def find(folder: Path, table: str) -> Path:
    """:func:`look_for`, or InputError."""
    path = look_for(folder, table)
    if path is None:
        raise InputError(
            f"{folder}: has no {table}.csv or {table}.csv.gz; give the folder that holds that table"
        )
    return path


def look_for(folder: Path, table: str) -> Path | None:
    """A table's file in a folder or its ``hosp``, in any case, .csv before .csv.gz; None if absent.

    A folder of the file's name, as some programs make it when they unpack, may hold the file.
    """
    if not folder.is_dir():
        raise InputError(
            f"{folder}: not a folder; give the folder that holds {table}.csv or {table}.csv.gz"
        )
    inner = [place for place in folder.iterdir() if place.is_dir() and place.name.lower() == "hosp"]
    for ending in (".csv", ".csv.gz"):
        for place in [folder, *inner]:
            for path in sorted(place.iterdir()):
                if path.name.lower() == table.lower() + ending:
                    found = path / path.name if path.is_dir() else path
                    if found.is_file():
                        return found
    return None


# Forms of cells -------------------------------------------------------------------------------


def text(name: str) -> str:
    """SQL: a column as trimmed text, NULL for ""."""
    return f"nullif(trim({quoted(name.lower())}::varchar), '')"


def whole(value: str) -> str:
    """SQL: text as a whole number, ``7`` or ``7.0``; NULL if it is none."""
    usual = f"try_cast({value} as bigint)"
    digits = f"regexp_extract({value}, '^([+-]?\\d+)(\\.0*)?$', 1)"
    return f"if({usual}::varchar = {value}, {usual}, try_cast({digits} as bigint))"


def number(value: str) -> str:
    """SQL: text as a finite number; NULL if it is none."""
    return f"if(isfinite(try_cast({value} as double)), try_cast({value} as double), null)"


def date(value: str) -> str:
    """SQL: text as a timestamp, an offset from UTC applied; NULL if it is no date.

    Dates are written 2150-01-31 13:45:00, or in a form near that; the usual one is tried first,
    since the others take ten times as long.
    """
    usual = f"try_strptime({value}, '%Y-%m-%d %H:%M:%S')"
    utc = f"make_timestamp(epoch_us(try_cast({value} as timestamptz)))"
    shape = "^\\d{4}[-/]\\d{1,2}[-/]\\d{1,2}([ T]\\d.*)?$"
    offset = ":\\d{2}\\S* ?[+-]\\d{2}(:?\\d{2})?$"
    return (
        f"coalesce(if(length({value}) = 19 and {value}[5] = '-', {usual}, null), "
        f"case when not regexp_matches({value}, '{shape}') then null "
        f"when regexp_matches({value}, '{offset}') then {utc} "
        f"else try_cast({value} as timestamp) end)"
    )


def flag(value: str) -> str:
    """SQL: text that says yes or no (1, 0, 1.0, 0.0, true, false, t, f) as 1 or 0, else NULL."""
    yes, no = "('1', '1.0', 'true', 't')", "('0', '0.0', 'false', 'f')"
    return f"case when lower({value}) in {yes} then 1 when lower({value}) in {no} then 0 end"


class Form(NamedTuple):
    """What the text of a column has to be: SQL that converts it, its type, else what to say."""

    sql: Callable[[str], str]
    kind: str
    words: str


FORMS = {
    "whole": Form(whole, "bigint", "is not a whole number; restore it"),
    "number": Form(number, "double", "is not a number; restore it or leave it empty"),
    "date": Form(date, "timestamp", "is not a date; write it as 2150-01-31 13:45:00"),
    "flag": Form(flag, "integer", "is neither 0 nor 1; restore it"),
}


# Tables that are held -------------------------------------------------------------------------


@dataclass(frozen=True)
class Table:
    """A table in DuckDB whose rows are those of a file: ``rowid`` is the row number less one.

    ``names``: name in the table -> name in the file.
    """

    database: Database
    name: str
    path: Path
    names: Mapping[str, str]

    def refuse(self, query: str, what: Callable[..., str], column: str = "") -> None:
        """InputError about the first row that ``query`` (rowid, values …) finds, if any.

        ``what(values …)`` says what is wrong in it, or in its cell in ``column``, and the remedy.
        """
        where = f"{self.path}, column {self.names[column]}" if column else f"{self.path}"
        refuse(self.database, query, lambda row, *values: f"{where}, row {row}: {what(*values)}")

    def refuse_cells(self, column: str, wrong: str, what: Callable[[Any], str]) -> None:
        """InputError at the first cell of ``column`` for which the SQL condition holds."""
        self.refuse(f"select rowid, {column} from {self.name} where {wrong}", what, column)

    def refuse_empty(self, column: str, what: str) -> None:
        """No cell of the column is empty; ``what`` says what it should hold."""
        self.refuse_cells(column, f"{column} is null", lambda _: f"is empty; restore the {what}")

    def refuse_repeats(self, column: str) -> None:
        """Every value of the column stands in one row."""
        self.refuse(
            f"select max(rowid), {column} from {self.name} group by {column} having count(*) > 1",
            lambda value: f"{value} has a row already; give each {column} one row",
            column,
        )

    def refuse_pasted(self, key: Sequence[str]) -> None:
        """No two rows have the same values, none of them empty, in the columns of ``key``."""
        *others, last = [self.names[column] for column in key]
        title = f"{', '.join(others)} and {last}" if others else last
        full = " and ".join(f"{column} is not null" for column in key)
        self.refuse(
            f"select max(rowid), min(rowid) + 1 from {self.name} where {full} "
            f"group by {', '.join(key)} having count(*) > 1",
            lambda first: f"repeats row {first} (the same {title}); give every row once",
        )

    def convert(self, form: str, columns: Iterable[str]) -> None:
        """Columns of text become what ``form`` of :data:`FORMS` says; empty cells stay empty.

        InputError at the first cell of other text.
        """
        sql, kind, words = FORMS[form]
        for column in columns:
            self.refuse_cells(
                column,
                f"{column} is not null and {sql(column)} is null",
                lambda value: f"{value!r} {words}",
            )
            change = f"alter column {column} set data type {kind} using {sql(column)}"
            self.database.execute(f"alter table {self.name} {change}")


def read(
    database: Database,
    table: str,
    path: Path,
    columns: Mapping[str, str],
    *,
    whole: Iterable[str] = (),
) -> Table:
    """Make ``table`` of the named columns of a file (name in any case -> name in the table).

    Columns in ``whole`` become whole numbers, none of them empty, the others trimmed text with
    NULL for "". InputError if a column or every row is missing, or a whole number is none.
    """
    _require(path, columns)
    chosen = ", ".join(f"{text(name)} as {alias}" for name, alias in columns.items())
    with _registered(database, path, [name.lower() for name in columns]) as source:
        database.execute(f"create temp table {table} as select {chosen} from {source}").fetchall()
    if not number_of_rows(database, table):
        raise InputError(f"{path}: is empty but for its header; give the whole table")
    found = Table(database, table, path, {alias: name for name, alias in columns.items()})
    empty = "'empty' is not a whole number; restore the id"
    for name in whole:
        found.refuse_cells(columns[name], f"{columns[name]} is null", lambda _: empty)
        found.convert("whole", [columns[name]])
    return found


def _require(path: Path, columns: Iterable[str]) -> None:
    names = header(path)
    missing = next((name for name in columns if name.lower() not in names), None)
    if missing:
        fits = next((title for title, known in KNOWN_TABLES.items() if known <= set(names)), None)
        which = f"this is the table {fits}" if fits else f"it has {listed(names)}"
        raise InputError(f"{path}: has no column {missing} ({which}); give the table that has it")


def refuse(database: Database, query: str, sentence: Callable[..., str]) -> None:
    """InputError ``sentence(row, values …)`` about the first row that a query finds, if any.

    The query gives (rowid, values …); ``row`` is counted from 1.
    """
    found = database.execute(f"select * from ({query}) order by 1 limit 1").fetchone()
    if found:
        raise InputError(sentence(found[0] + 1, *found[1:]))


def number_of_rows(database: Database, table: str) -> int:
    """How many rows a table has."""
    found = database.execute(f"select count(*) from {table}").fetchone()
    return int(found[0]) if found else 0


# Tables that are too large to be held ---------------------------------------------------------


@contextmanager
def streamed(database: Database, path: Path, forms: Mapping[str, str]) -> Iterator[str]:
    """SQL that gives some columns of a file, once, NULL for "", as long as the block lasts.

    ``forms``: name of a column -> one of :data:`FORMS`, or "text". InputError if a column is
    missing, or at the first cell of another form, which ends the query.
    """
    _require(path, forms)
    chosen = ", ".join(f"{_checked(name, form)} as {name}" for name, form in forms.items())
    try:
        with _registered(database, path, list(forms)) as source:
            yield f"(select {chosen} from {source})"
    except duckdb.Error as error:
        wrong = re.search(r"cell of (\w+) is no (\w+)", str(error))
        if not wrong:
            what = f"cannot be read ({_first_line(error)}); write the table again"
            raise InputError(f"{path}: {what}") from None
        database.execute("set preserve_insertion_order = true")
        read(database, "misfits", path, {wrong[1]: "cell"}).convert(wrong[2], ["cell"])


def _checked(name: str, form: str) -> str:
    """SQL: a column in a form; any other text stops the query with a message that names both."""
    value = text(name)
    if form == "text":
        return value
    found = f"coalesce({FORMS[form].sql(value)}, error('cell of {name} is no {form}'))"
    return f"case when {value} is not null then {found} end"


# Reading --------------------------------------------------------------------------------------

#: What is read at once; no row is longer.
BLOCK = 16 * 2**20
#: A CSV in a zip file is no larger.
LARGEST_MEMBER = 2**30
#: Columns that a program names when they have no name.
UNNAMED = re.compile(r"unnamed: ?\d+|unnamed_\d+|__index_level_\d+__", re.IGNORECASE)
_QUOTE = ord('"')
#: What stands before the first quote of a cell and after its last.
_AROUND = frozenset(b',\r\n"')
_LINE_END = re.compile(rb"\r\n|\n|\r(?=[^\n])", re.DOTALL)


@contextmanager
def batches(path: Path, columns: Sequence[str] | None = None) -> Iterator[Iterator[pa.RecordBatch]]:
    """The rows of a file in batches, of ``columns`` (small letters) in this order, or of all.

    Columns of a CSV are text, "" where empty, those of Parquet as they are. Raises InputError, also
    while read.
    """
    names = header(path)
    chosen = list(names if columns is None else columns)
    if is_parquet(path):
        yield _parquet_batches(path, names, chosen)
        return
    with _opened(path) as stream:
        yield _csv_batches(path, _Text(path, stream), chosen)


def _parquet_batches(path: Path, names: list[str], chosen: list[str]) -> Iterator[pa.RecordBatch]:
    with _parquet(path) as file:
        written = file.schema_arrow.names
        few = None  # a dot in a name stands for what lies inside a column
        if len(chosen) < len(names) and not any("." in name for name in written):
            few = [written[names.index(name)] for name in chosen]
        rows = max(1, 2_000_000 // max(1, len(few or names)))
        new = dict(zip(written, names, strict=True))
        for batch in file.iter_batches(batch_size=rows, columns=few):
            batch.validate(full=True)
            yield batch.rename_columns([new[name] for name in batch.schema.names]).select(chosen)


def _csv_batches(path: Path, text: _Text, chosen: list[str]) -> Iterator[pa.RecordBatch]:
    names = text.header()
    ragged: list[Any] = []

    def refuse(row: Any) -> str:
        ragged.append(row)
        return "error"

    try:
        reader = pa_csv.open_csv(
            text,
            read_options=pa_csv.ReadOptions(
                column_names=[name.casefold() for name in names],
                block_size=BLOCK,
                use_threads=False,
            ),
            parse_options=pa_csv.ParseOptions(newlines_in_values=True, invalid_row_handler=refuse),
            convert_options=pa_csv.ConvertOptions(
                include_columns=chosen,
                column_types=dict.fromkeys(chosen, pa.string()),
                check_utf8=False,
            ),
        )
        yield from reader
    except pa.ArrowInvalid as error:
        if "Empty CSV" in str(error):
            return
        what = f": cannot be read ({_first_line(error)}); write the table again"
        if "straddl" in str(error):
            what = f": has a row of more than {BLOCK >> 20} MiB; close its quotes or its line"
        for row in ragged[:1]:
            what = f", row {row.number}: has {row.actual_columns} columns where the header has "
            what += f"{row.expected_columns}; mend the row"
        raise InputError(f"{path}{what}") from None


@contextmanager
def _registered(database: Database, path: Path, columns: list[str]) -> Iterator[str]:
    """The name of a view of these columns, which can be read once."""
    faults: list[InputError] = []

    def remembered(found: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        try:
            yield from found
        except InputError as error:  # DuckDB would turn it into words of its own
            faults.append(error)
            raise

    with batches(path, columns) as found:
        rows = remembered(found)
        try:
            first = next(rows, None)
            if first is None:
                raise InputError(f"{path}: is empty but for its header; give the whole table")
            reader = pa.RecordBatchReader.from_batches(first.schema, chain([first], rows))
            database.execute("select 1").fetchall()  # ends a result that was not read to its end
            database.register("source_rows", reader)
            yield "source_rows"
        except duckdb.Error as error:
            if faults:
                raise faults[0] from error
            raise
        finally:
            with suppress(duckdb.Error):  # of a result that was never finished
                database.unregister("source_rows")


# Files ----------------------------------------------------------------------------------------


def regular(path: Path) -> Path:
    """The file that holds the table: itself, or the zip file it lies in.

    InputError if it is none.
    """
    inside = _zip_of(path)
    place = inside[0] if inside else path
    try:
        kind = place.stat().st_mode
    except FileNotFoundError:
        raise InputError(f"{place}: no such file; check the path") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise InputError(f"{place}: cannot be opened ({reason}); {_CHECK}") from None
    if stat.S_ISDIR(kind):
        raise InputError(f"{place}: is a folder; give the file")
    if not stat.S_ISREG(kind):
        raise InputError(f"{place}: is a device or a pipe, not a file; save the table as a file")
    return place


def is_blank(path: Path) -> bool:
    """Whether a file holds nothing but blanks."""
    with _opened(path) as stream:
        return not any(block.strip() for block in iter(lambda: stream.read(BLOCK), b""))


def zipped(place: Path, name: str) -> Path:
    """The path of the file with this name in a zip file, for the functions of this module."""
    file = regular(place)
    try:
        with zipfile.ZipFile(file) as archive:
            inside = [place / _inside(member) for member in archive.namelist()]
    except (zipfile.BadZipFile, RuntimeError, OSError, ValueError, OverflowError, struct.error):
        raise InputError(f"{place}: the zip file is damaged; fetch it again") from None
    found = [path for path in inside if path.name == name]
    if not found:
        raise InputError(f"{place}: holds no {name}; give the zip file that holds it")
    return found[0]


def _inside(name: str) -> str:
    """The name of a file in a zip file as a path that stays in it."""
    return "/".join(part for part in name.split("/") if part not in ("", ".", ".."))


def _zip_of(path: Path) -> tuple[Path, str] | None:
    """A zip file and the name of a file in it, if the path leads through a zip file."""
    for place in path.parents:
        if place.suffix.lower() == ".zip" and place.is_file():
            return place, path.relative_to(place).as_posix()
    return None


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    """The bytes of a file, unpacked if its name ends in .gz or it lies in a zip file."""
    place, inside = regular(path), _zip_of(path)
    kind, again = "zip" if inside else "gz", "fetch or write it again"
    try:
        if inside:
            with zipfile.ZipFile(place) as archive, _member(archive, *inside) as file:
                yield file
            return
        with gzip.open(place) if path.suffix.lower() == ".gz" else place.open("rb") as file:
            yield file  # type: ignore[misc]
    except InputError:
        raise
    except NotImplementedError:
        how = "packed in a way that cannot be read here"
        raise InputError(f"{place}: the {kind} file is {how}; {again}") from None
    except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, gzip.BadGzipFile):
        how = "damaged" if inside else "truncated or damaged"
        raise InputError(f"{place}: the {kind} file is {how}; {again}") from None
    except (OSError, ValueError, struct.error) as error:
        if inside:
            raise InputError(f"{place}: the zip file is damaged; {again}") from None
        if not isinstance(error, OSError):
            raise
        reason = error.strerror or _first_line(error)
        raise InputError(f"{place}: cannot be opened ({reason}); {_CHECK}") from None


_CHECK = "check the path and its permissions"


def _member(archive: zipfile.ZipFile, place: Path, name: str) -> BinaryIO:
    info = next(info for info in archive.infolist() if _inside(info.filename) == name)
    if info.flag_bits & 1:
        raise InputError(f"{place}: the zip file is locked by a password; unpack it first")
    if info.file_size > LARGEST_MEMBER:
        what = f"{name} would have {info.file_size:,} bytes; give a zip file of the table alone"
        raise InputError(f"{place}: {what}")
    return archive.open(info)  # type: ignore[return-value]


class _Text(io.RawIOBase):
    """The bytes of a CSV under its header, checked: UTF-8 with quotes around whole cells."""

    def __init__(self, path: Path, stream: BinaryIO) -> None:
        super().__init__()
        self.path, self.stream = path, stream
        self.decoder = codecs.getincrementaldecoder("utf-8")()
        self.waiting = b""
        self.offset = 0  # of the next chunk in the file
        self.quoted, self.last = False, ord("\n")

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        """At most so many bytes, b"" at the end."""
        found = self.waiting or self._chunk()
        end = len(found) if size < 0 else size
        self.waiting = found[end:]
        return found[:end]

    def header(self) -> list[str]:
        """The names in the first line that is not blank, "" where there is none."""
        names, rest = self._record(self._chunk())
        if not any(name.strip() for name in names or []):
            raise InputError(f"{self.path}: is empty; give the whole table")
        first, whole = self._record(rest, keep=True)
        self.waiting = whole
        return _fitted([name.strip() for name in names or []], first)

    def _record(self, buffer: bytes, *, keep: bool = False) -> tuple[list[str] | None, bytes]:
        """The next line that is not blank, or None, and what follows it (``keep``: all of it)."""
        start = quotes = place = 0
        while True:
            for end in _LINE_END.finditer(buffer, place):
                quotes += buffer.count(b'"', place, end.start())
                place = end.end()
                if quotes % 2:
                    continue
                line = buffer[start : end.start()]
                if line.strip():
                    return self._cells(line), buffer if keep else buffer[place:]
                start = place
            if len(buffer) > BLOCK:
                what = f"has a line of more than {BLOCK >> 20} MiB; give a table"
                raise InputError(f"{self.path}: {what}")
            more = self._chunk()
            if not more:
                line = buffer[start:]
                return self._cells(line) if line.strip() else None, buffer if keep else b""
            quotes += buffer.count(b'"', place)
            place = len(buffer) - buffer.endswith(b"\r")
            buffer += more

    def _cells(self, line: bytes) -> list[str]:
        try:
            return next(csv.reader(io.StringIO(line.decode("utf-8"), newline="")), [])
        except csv.Error:
            what = "a cell has more than 100,000 letters; give a table"
            raise InputError(f"{self.path}: {what}") from None

    def _chunk(self) -> bytes:
        chunk = self.stream.read(BLOCK // 4)
        if self.offset == 0:
            chunk = self._without_mark(chunk)
        if b"\0" in chunk:
            what = "holds a NUL, so it is no text or damaged; write the table again"
            self._refuse(chunk.index(b"\0"), what)
        self._check_encoding(chunk)
        if self.quoted or self.last == _QUOTE or b'"' in chunk:
            self._check_quotes(chunk)
        self.last = chunk[-1] if chunk else self.last
        self.offset += len(chunk)
        return chunk

    def _without_mark(self, chunk: bytes) -> bytes:
        if chunk.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            what = "the header is not UTF-8 text but UTF-16"
            raise InputError(f"{self.path}: {what}; save the table as comma-separated UTF-8")
        marks = len(chunk) - len(chunk.lstrip(codecs.BOM_UTF8))
        whole = marks // 3 * 3 if chunk.startswith(codecs.BOM_UTF8) else 0
        self.offset += whole
        return chunk[whole:]

    def _check_encoding(self, chunk: bytes) -> None:
        pending = self.decoder.getstate()[0]
        if chunk.isascii() and chunk and not pending:
            return
        try:
            self.decoder.decode(chunk, final=not chunk)
        except UnicodeDecodeError as error:
            what = "is not UTF-8 text; save the table in one encoding, UTF-8"
            self._refuse(max(0, error.start - len(pending)), what)

    def _check_quotes(self, chunk: bytes) -> None:
        """Quotes open after a comma or line end and close before one; inside they are doubled."""
        letters = np.frombuffer(chunk, dtype=np.uint8)
        places = np.flatnonzero(letters == _QUOTE)
        around = np.concatenate([[self.last], letters, [ord(",")]]).astype(np.uint8)
        opens = (np.arange(len(places)) + self.quoted) % 2 == 0
        before, after = around[places], around[places + 2]
        wrong = ~np.isin(np.where(opens, before, after), list(_AROUND))
        if self.last == _QUOTE and not self.quoted and chunk and chunk[0] not in _AROUND:
            wrong, places = np.array([True]), np.array([0])
        if not chunk and self.quoted:
            self._refuse(0, "has a quote that is not closed; close it")
        if wrong.any():
            place = int(places[wrong.argmax()])
            near = chunk[max(0, place - 10) : place + 10].decode("utf-8", errors="ignore")
            remedy = "put quotes around whole cells, without blanks before them, and double those"
            self._refuse(place, f"has a quote inside a cell (near {near!r}); {remedy} inside")
        self.quoted = bool((len(places) + self.quoted) % 2)

    def _refuse(self, place: int, what: str) -> None:
        row = _row(self.path, self.offset + place)
        if row == 0 and "UTF-8" in what:
            what = "is not UTF-8 text; save the table as comma-separated UTF-8"
        where = f"{self.path}, row {row}:" if row else f"{self.path}: the header"
        raise InputError(f"{where} {what}")


def _row(path: Path, offset: int) -> int:
    """The row, counted from 1 under the header, in which this byte of the file stands."""
    with _opened(path) as stream:
        start = io.TextIOWrapper(
            io.BytesIO(stream.read(offset + 1)), "utf-8", errors="replace", newline=""
        )
        try:
            return max(0, sum(1 for row in csv.reader(start) if row) - 1)
        except csv.Error:
            return 0


def _fitted(names: list[str], first: list[str] | None) -> list[str]:
    """A name for every column of the first row; commas at line ends make unnamed columns."""
    if first and len(first) == len(names) + 1 and not first[-1].strip():
        names = [*names, ""]
    if first and len(first) == len(names) - 1 and not names[-1]:
        names = names[:-1]
    return [name or f"unnamed_{number}" for number, name in enumerate(names, 1)]


def header(path: Path, *, casefold: bool = True) -> list[str]:
    """The column names of a CSV or Parquet file; InputError if there are none or two are the same.

    A column without a name is called ``unnamed_`` and its number.
    """
    if is_parquet(path):
        written = enumerate(schema(path).names, 1)
        names = [name.strip() or f"unnamed_{number}" for number, name in written]
    else:
        with _opened(path) as stream:
            names = _Text(path, stream).header()
    folded = [name.casefold() for name in names]
    twice = cells.repeated(folded)
    if twice is not None:
        raise InputError(f"{path}: has the column {twice!r} twice; give each column one name")
    if len(names) == 1 and re.search(r"[;\t|]", names[0]):
        raise InputError(
            f"{path}: the columns are not separated by commas; save it as comma-separated values"
        )
    return folded if casefold else names


def is_parquet(path: Path) -> bool:
    """Whether a file is Parquet, by its name; else it is a CSV."""
    return path.suffix.lower() == ".parquet"


def schema(path: Path) -> pa.Schema:
    """The schema of a Parquet file."""
    with _parquet(path) as file:
        return file.schema_arrow


def metadata(path: Path) -> dict[bytes, bytes]:
    """What a Parquet file says of itself; {} for a CSV."""
    return dict(schema(path).metadata or {}) if regular(path) and is_parquet(path) else {}


def parquet(path: Path) -> pa.Table:
    """The whole of a Parquet file."""
    with _parquet(path) as file:
        table = file.read()
        table.validate(full=True)
        return table


@contextmanager
def _parquet(path: Path) -> Iterator[pq.ParquetFile]:
    """A Parquet file, open; InputError where its reader finds that it is damaged."""
    errors = (OSError, ValueError, LookupError, OverflowError, RecursionError)
    place = regular(path)
    try:
        with place.open("rb") as file:
            yield pq.ParquetFile(file)
    except (pa.ArrowException, *errors) as error:
        what = f"not a readable Parquet file ({_first_line(error)}); write it again"
        raise InputError(f"{path}: {what}") from None


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def quoted(name: str) -> str:
    """A column name in SQL."""
    return '"' + name.replace('"', '""') + '"'


def listed(names: Iterable[Any]) -> str:
    """The first few names."""
    found = [str(name) for name in names]
    return ", ".join(found[:8]) + (", …" if len(found) > 8 else "")
