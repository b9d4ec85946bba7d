"""A second reader of tables, plain Python a row at a time, that shares nothing with the package's
but the code list.

It says what cells a table holds if it is to be taken at all; :class:`Unclear` where that cannot be
said.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import zipfile
import zlib
from collections import Counter
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from scoehr.data import icd
from scoehr.data.matrix import CodeMatrix

Cells = tuple[set[str], dict[tuple[str, str], int]]  # the patients, and the counts that are not 0
Record = dict[str, Any]
MISSING = {
    "",
    "null",
    "(null)",
    "[null]",
    "nil",
    "none",
    "undefined",
    "\\n",
    "nan",
    "-nan",
    "nat",
    "na",
    "n/a",
    "#n/a",
    "#na",
    "<na>",
    "-",
    "?",
    ".",
    "--",
}

#: Columns that have one name in any case; those of codes keep theirs.
KNOWN = {
    "patient_id", "code", "count", "subject_id", "hadm_id", "icd9_code", "icd_code", "icd_version",
    "patient_nbr", "encounter_id", "diag_1", "diag_2", "diag_3",
}  # fmt: skip


class Unclear(Exception):
    """The table has no one meaning."""


def differs(name: str, source: Path, matrix: CodeMatrix) -> str:
    """How an accepted table differs from what stands in its files; "" if it does not."""
    try:
        patients, wanted = READERS[name](source)
    except Unclear as unclear:
        return f"taken, though {unclear}"
    rows, columns = matrix.counts.nonzero()
    found = {
        (str(matrix.patients[row]), str(matrix.codes[column])): int(matrix.counts[row, column])
        for row, column in zip(rows, columns, strict=True)
    }
    if {str(patient) for patient in matrix.patients} != patients:
        return f"other patients: {sorted({str(patient) for patient in matrix.patients} ^ patients)[:3]}"
    if found != wanted:
        return f"other counts: {sorted(set(found.items()) ^ set(wanted.items()))[:3]}"
    return ""


# Files ------------------------------------------------------------------------------------------


def _rows(data: bytes) -> list[Record]:
    """The rows of a CSV file by the names of the columns, which are folded."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise Unclear("it is not UTF-8") from None
    if "\0" in text:
        raise Unclear("it holds a NUL")
    try:
        lines = [
            line
            for line in csv.reader(io.StringIO(text, newline=""), strict=True)
            if "".join(line).strip() or len(line) > 1
        ]
    except csv.Error as error:
        raise Unclear(str(error)) from None
    if not lines:
        raise Unclear("it is empty")
    names = [name.strip().casefold() for name in lines[0]]
    body = lines[1:]
    if body and all(len(line) == len(names) + 1 and not line[-1].strip() for line in body):
        body = [line[:-1] for line in body]
    if any(len(line) != len(names) for line in body):
        raise Unclear("rows are of unequal length")
    return _records(lines[0], body)


def _records(written: list[str], body: list[Any]) -> list[Record]:
    names = [name.strip().casefold() for name in written]
    named = [name for name in names if name]
    if len(set(named)) < len(named):
        raise Unclear("two columns have one name")
    keys = [
        name if name in KNOWN else old.strip() for name, old in zip(names, written, strict=True)
    ]
    return [{key: cell for key, cell in zip(keys, line, strict=True) if key} for line in body]


def _bytes(path: Path) -> bytes:
    data = path.read_bytes()
    if path.suffix != ".gz":
        return data
    try:
        return gzip.decompress(data)
    except (OSError, EOFError, zlib.error):
        raise Unclear("the gz file is damaged") from None


def _text(value: Any) -> str | None:
    """A cell as text, None where it is missing."""
    if value is None:
        return None
    if isinstance(value, float | bytes | bool | list | dict | Decimal):
        raise Unclear(f"a cell is of {type(value).__name__}")
    text = str(value).strip().strip("\ufeff\u200b\u200c\u200d\u2060").strip()
    return (
        None
        if text.casefold() in MISSING
        or not any(letter.isalnum() or ord(letter) > 127 for letter in text)
        else text
    )


def _count(value: Any) -> int:
    if isinstance(value, bool):
        return int(value)
    try:
        number = Decimal(
            {"true": "1", "false": "0"}.get(str(value).strip(), str(value).strip().strip("\ufeff"))
        )
        if 0 <= number < 2**31 and number == int(number):
            return int(number)
    except (InvalidOperation, OverflowError, ValueError):
        pass
    raise Unclear(f"{str(value)[:30]!r} is no count")


# Own tables -------------------------------------------------------------------------------------


def table(path: Path) -> Cells:
    """A user's table, long or wide."""
    if path.suffix == ".parquet":
        try:
            found = pq.ParquetFile(path).read()
        except (pa.ArrowException, OSError):
            raise Unclear("it is no Parquet file") from None
        if b"scoehr" in (found.schema.metadata or {}):
            return _ours(found)
        body = list(zip(*(column.to_pylist() for column in found.columns), strict=True))
        records = _records(found.column_names, body)
    else:
        records = _rows(_bytes(path))
    if not records:
        raise Unclear("it has no rows")
    return _long(records) if "code" in records[0] else _wide(records)


def _patient(record: Record) -> str:
    patient = _text(record.get("patient_id"))
    if patient is None:
        raise Unclear("a patient id is missing")
    return patient


def _long(records: list[Record]) -> Cells:
    patients, cells = set(), Counter[tuple[str, str]]()
    for record in records:
        patients.add(_patient(record))
        code = _text(record["code"])
        if code is None:
            continue
        cell = (_patient(record), code)
        if "count" in record and cell in cells:
            raise Unclear("a cell stands twice")
        cells[cell] += _count(record["count"]) if "count" in record else 1
    return patients, {cell: count for cell, count in cells.items() if count}


def _wide(records: list[Record]) -> Cells:
    patients, cells = set(), {}
    for record in records:
        patient = _patient(record)
        if patient in patients:
            raise Unclear("a patient stands twice")
        patients.add(patient)
        for code, value in record.items():
            if code == "patient_id" or code.casefold().startswith("unnamed"):
                continue
            blank = value is None or not str(value).strip()
            cells[patient, code] = 0 if blank else _count(value)
    return patients, {(patient, code): count for (patient, code), count in cells.items() if count}


def _ours(found: pa.Table) -> Cells:
    try:
        extra = json.loads(found.schema.metadata[b"scoehr"])
        patients, codes, kind = extra["patients"], extra["codes"], extra["kind"]
        known = list(range(patients)) if type(patients) is int else list(patients)
        extra["titles"][0]
    except (ValueError, KeyError, TypeError, IndexError, RecursionError):
        raise Unclear("its metadata are damaged") from None
    if (
        kind not in ("count", "binary")
        or len(set(codes)) < len(codes)
        or len(set(known)) < len(known)
    ):
        raise Unclear("its metadata are damaged")
    cells: dict[tuple[str, str], int] = {}
    for record in found.to_pylist():
        patient, code, count = record["patient_id"], record["code"], record["count"]
        if (
            patient not in known
            or code not in codes
            or type(count) is not int
            or not 0 <= count < 2**31
        ):
            raise Unclear("a row is not of its metadata")
        if (str(patient), str(code)) in cells:
            raise Unclear("a cell stands twice")
        cells[str(patient), str(code)] = count
    return {str(patient) for patient in known}, {
        cell: count for cell, count in cells.items() if count
    }


# Hospitals --------------------------------------------------------------------------------------


def _number(value: Any) -> str:
    """An id of a hospital: a whole number."""
    text = str(value or "").strip()
    whole, _, rest = text.partition(".")
    sign = whole[:1] if whole[:1] in ("+", "-") else ""
    if (
        not whole.removeprefix(sign).isascii()
        or not whole.removeprefix(sign).isdigit()
        or rest.strip("0")
    ):
        raise Unclear(f"{text[:30]!r} is no id")
    return str(int(whole))


def _hospital(folder: Path, name: str) -> list[Record]:
    for place in (folder, folder / "hosp"):
        for path in (place / f"{name}.csv", place / f"{name}.csv.gz"):
            if path.exists():
                return _rows(_bytes(path))
    raise Unclear(f"{name} is missing")


def _code(raw: str, version: str = "9", *, lost_zeros: bool = False) -> str | None:
    try:
        if version == "10":
            (mapped,) = icd.to_icd9([raw.replace(".", "").upper()])
            return mapped and icd.three_digit(mapped)
        return icd.three_digit(icd.nearest_icd9(icd.read_icd9(raw, lost_zeros=lost_zeros)))
    except (ValueError, StopIteration):
        raise Unclear(f"{raw[:30]!r} is no code") from None


def mimic(folder: Path, names: tuple[str, str], code: str) -> Cells:
    """MIMIC-III or MIMIC-IV."""
    try:
        of = {
            _number(row["hadm_id"]): _number(row["subject_id"])
            for row in _hospital(folder, names[0])
        }
        counts = Counter[tuple[str, str]]()
        for row in _hospital(folder, names[1]):
            if of.get(_number(row["hadm_id"])) != _number(row["subject_id"]):
                raise Unclear("a diagnosis is of no admission")
            raw = row[code].strip()
            version = str(row.get("icd_version", "9")).strip().removesuffix(".0")
            category = _code(raw, version) if raw else None
            if category:
                counts[_number(row["subject_id"]), category] += 1
    except KeyError as missing:
        raise Unclear(f"it has no column {missing}") from None
    return set(of.values()), dict(counts)


def diabetes(path: Path) -> Cells:
    """Diabetes 130-US, zipped or not."""
    data = path.read_bytes()
    if path.suffix == ".zip":
        try:
            with zipfile.ZipFile(path) as archive:
                name = next(
                    name for name in archive.namelist() if Path(name).name == "diabetic_data.csv"
                )
                data = archive.read(name)
        except (
            StopIteration,
            RuntimeError,
            OSError,
            EOFError,
            zlib.error,
            ValueError,
            zipfile.BadZipFile,
        ):
            raise Unclear("the zip file is damaged") from None
    patients, counts = set(), Counter[tuple[str, str]]()
    try:
        for row in _rows(data):
            patients.add(_number(row["patient_nbr"]))
            _number(row["encounter_id"])
            for name in ("diag_1", "diag_2", "diag_3"):
                raw = row[name].strip()
                if raw not in ("", "?"):
                    counts[_number(row["patient_nbr"]), str(_code(raw, lost_zeros=True))] += 1
    except KeyError as missing:
        raise Unclear(f"it has no column {missing}") from None
    return patients, dict(counts)


READERS = {
    "table": table,
    "mimic3": lambda folder: mimic(folder, ("ADMISSIONS", "DIAGNOSES_ICD"), "icd9_code"),
    "mimic4": lambda folder: mimic(folder, ("admissions", "diagnoses_icd"), "icd_code"),
    "diabetes130": diabetes,
}
