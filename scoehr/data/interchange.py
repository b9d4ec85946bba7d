"""The files that patients travel in: long Parquet tables, and records of visits for PyHealth.

A long Parquet table has a row a cell or an occurrence, so that any tool reads it. Its metadata say
in JSON what rows cannot: the vocabulary with titles and all patients in order (their number alone
if their ids are 0, 1, …), so that patients without codes and codes without patients survive.

A PyHealth record is ``{"patient_id": …, "visits": [[code, …], …]}``, the form that PyHealth and
models of sequences take.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from scoehr.data import cells, reading
from scoehr.files import InputError, about, replacing, user_path

Kind = Literal["count", "binary", "signed"]
Record = dict[str, Any]
AGAIN = "write the file again"


# Long Parquet tables --------------------------------------------------------------------------


def code_column(columns: np.ndarray, codes: np.ndarray) -> pa.DictionaryArray:
    """The code of each row, given its column in the vocabulary."""
    return pa.DictionaryArray.from_arrays(columns.astype(np.int32), pa.array(codes, pa.string()))


def described(table: pa.Table, key: bytes, **facts: Any) -> pa.Schema:
    """The schema of a table with facts in its metadata under this key.

    Arrays become lists, but ids that are 0, 1, … their number.
    """
    for name, value in facts.items():
        if isinstance(value, np.ndarray):
            numbered = name == "patients" and np.array_equal(value, np.arange(len(value)))
            facts[name] = len(value) if numbered else value.tolist()
    return table.schema.with_metadata({key: json.dumps(facts, ensure_ascii=False).encode()})


class Stored(NamedTuple):
    """A long table written here, found to fit its metadata.

    ``facts``: these, ``patients`` as an array of ids; ``rows``, ``columns``, ``numbers``: the
    patient, the code and the count or visit of each row.
    """

    facts: dict[str, Any]
    rows: np.ndarray
    columns: np.ndarray
    numbers: np.ndarray


@contextmanager
def stored(path: str | Path, key: bytes, fact: str, number: str) -> Iterator[Stored]:
    """A long table whose metadata say ``fact`` ("kind" or "visits") beside the vocabulary.

    All is checked before memory is taken for patients; ``number`` is its third column. What is
    wrong, in the block too, is said of the file.
    """
    place = user_path(path)
    metadata = reading.metadata(place).get(key)
    if metadata is None:
        what = "vocabulary of visits" if fact == "visits" else "vocabulary"
        raise InputError(f"{place}: has no {what} in its metadata; read it as the data set 'table'")
    table = reading.parquet(place)
    with about(place):
        if any(table.column_names.count(name) != 1 for name in ("patient_id", "code", number)):
            raise InputError(f"has no one column patient_id, code and {number}; {AGAIN}")
        facts = _facts(metadata, fact, 1000 * (len(table) + 1000))
        numbers = table.column(number)
        if numbers.null_count or not pa.types.is_integer(numbers.type):
            raise InputError(f"column {number}: holds other than whole numbers; {AGAIN}")
        rows = _places(table, "patient_id", pa.array(facts["patients"]))
        columns = _places(table, "code", pa.array(facts["codes"], pa.string()))
        yield Stored(facts, rows, columns, numbers.to_numpy())


def _facts(metadata: bytes, fact: str, most: int) -> dict[str, Any]:
    """The metadata of a long table; more than ``most`` patients or visits are not believed."""
    damaged = InputError(f"its metadata are damaged; {AGAIN}")
    try:
        found = json.loads(metadata)
        codes, titles, patients, said = (found[name] for name in (*_FACTS, fact))
    except (ValueError, TypeError, KeyError, RecursionError):
        raise damaged from None
    numbered = type(patients) is int and 0 <= patients <= most
    visits = said if fact == "visits" else []
    sound = (
        (numbered or _are(patients, str) or _are(patients, int))
        and (_are(codes, str) and _are(titles, str) and len(codes) == len(titles))
        and (_are(visits, int) and min(visits, default=0) >= 0 and sum(visits) <= most)
        and (fact == "visits" or said in get_args(Kind))
    )
    if not sound:
        raise damaged
    return found | {"patients": np.arange(patients) if numbered else cells.ids(patients)}


_FACTS = ("codes", "titles", "patients")


def _are(values: Any, kind: type) -> bool:
    """Whether it is a list of such values."""
    return isinstance(values, list) and all(type(value) is kind for value in values)


def _places(table: pa.Table, name: str, known: pa.Array) -> np.ndarray:
    """Where each value of a column stands among those that the metadata list."""
    column = table.column(name)
    wrong = InputError(f"column {name}: does not fit the file's metadata; {AGAIN}")
    if len(column) and pa.types.is_integer(column.type) != pa.types.is_integer(known.type):
        raise wrong
    try:
        found = pc.index_in(column.cast(known.type), value_set=known)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        raise wrong from None
    if found.null_count or len(known.unique()) < len(known):
        raise wrong
    return found.to_numpy().astype(np.int64)


# Records --------------------------------------------------------------------------------------


def statistics(records: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """Patients, visits and events (codes in visits), and their ratios, as PyHealth counts them."""
    sizes = [[len(visit) for visit in record["visits"]] for record in records]
    patients, visits, events = len(sizes), sum(map(len, sizes)), sum(map(sum, sizes))
    return {
        "patients": patients,
        "visits": visits,
        "visits per patient": visits / patients if patients else float("nan"),
        "events": events,
        "codes per visit": events / visits if visits else float("nan"),
    }


def write(records: Iterable[Mapping[str, Any]], path: str | Path) -> int:
    """Write records as JSON lines, as PyHealth's generation tasks do; return their number.

    ``patient_id`` is text, ``visits`` a list of non-empty lists of codes. Visits without codes, and
    patients without visits, are left out, as those tasks leave them out.
    """
    lines = []
    for record in records:
        visits = [list(visit) for visit in record["visits"] if visit]
        found = {"patient_id": str(record["patient_id"]), "visits": visits}
        if visits:
            lines.append(json.dumps(found, ensure_ascii=False) + "\n")
    with replacing(path) as scratch:
        scratch.write_text("".join(lines), encoding="utf-8")
    return len(lines)


def read(path: str | Path) -> list[Record]:
    """Read JSON lines of records, such as those of :func:`write` or of a PyHealth generator.

    InputError names the first line that is no record.
    """
    try:
        lines = reading.regular(user_path(path)).read_text(encoding="utf-8-sig").split("\n")
    except UnicodeDecodeError:
        raise InputError(f"{path}: not text in UTF-8; write the records as JSON lines") from None
    return [
        _record(line, f"{path}, row {row}") for row, line in enumerate(lines, 1) if line.strip()
    ]


def _record(line: str, where: str) -> Record:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        raise InputError(f"{where}: not JSON; write one record a line") from None
    record = checked(found, where)
    if not all(isinstance(code, str) for visit in record["visits"] for code in visit):
        raise InputError(f"{where}, {NO_LISTS}")
    return dict(record)


NO_LISTS = "visits: not lists of codes; write a list of text codes for each visit"


def checked(record: Any, where: str) -> Mapping[str, Any]:
    """The record, if it has a patient_id and visits that are lists of codes."""
    if not isinstance(record, Mapping) or not {"patient_id", "visits"} <= set(record):
        raise InputError(f"{where}: has no patient_id and visits; write both in every record")
    visits, lists = record["visits"], list | tuple | np.ndarray
    listed = isinstance(visits, lists)
    if not listed or not all(isinstance(visit, lists | set | frozenset) for visit in visits):
        raise InputError(f"{where}, {NO_LISTS}")
    return record
