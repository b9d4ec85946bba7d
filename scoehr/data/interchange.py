"""The files that patients travel in: long Parquet tables, and records of visits for PyHealth.

A long Parquet table has a row a cell or an occurrence, so that any tool reads it. Its metadata say
in JSON what rows cannot: the vocabulary with titles and all patients in order (their number alone
if their ids are 0, 1, …), so that patients without codes and codes without patients survive.

A PyHealth record is ``{"patient_id": …, "visits": [[code, …], …]}``, the form that PyHealth and
models of sequences take.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar, get_args

import numpy as np
import pandas as pd
import pyarrow as pa

from scoehr.data import cells, reading
from scoehr.files import InputError, about, replacing, user_path

Kind = Literal["count", "binary", "signed"]
Record = dict[str, Any]
T = TypeVar("T")
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


class Facts(NamedTuple):
    """What the metadata of a long table say; ``visits``: how many each patient has."""

    codes: list[str]
    titles: list[str]
    patients: int | list[int] | list[str]
    kind: Kind = "count"
    visits: Sequence[int] = ()

    def ids(self) -> np.ndarray:
        """The patients' ids."""
        if isinstance(self.patients, int):
            return np.arange(self.patients)
        return cells.ids(self.patients)

    def fault(self, most: int) -> str:
        """What cannot be used, "" if all can.

        ``most`` patients and visits are no more than that.
        """
        few = "for its few rows"
        if self.kind not in get_args(Kind):
            return f"name the kind {str(self.kind)[:40]!r}"
        named = _are(self.codes, str) and _are(self.titles, str)
        if not named or len(self.codes) != len(self.titles):
            return "do not hold a title for each code"
        numbered = type(self.patients) is int
        if not (numbered or _are(self.patients, str) or _are(self.patients, int)):
            return "do not list the patients"
        if numbered and not 0 <= self.patients <= most:  # type: ignore[operator]
            return f"say {self.patients} patients {few}"
        if self.visits != () and not _are(self.visits, int):
            return "do not say how many visits each patient has"
        if any(number < 0 for number in self.visits) or sum(self.visits) > most:
            return f"say {sum(self.visits)} visits {few}"
        return ""


def _are(values: Any, kind: type) -> bool:
    """Whether it is a list of such values."""
    return isinstance(values, list) and all(type(value) is kind for value in values)


class Stored(NamedTuple):
    """A long table with what its metadata say, checked before memory is taken for patients."""

    table: pa.Table
    facts: Facts

    @classmethod
    def read(cls, path: Path, key: bytes, last: str) -> Stored:
        """From a Parquet file; ``last`` ("kind" or "visits") stands in its metadata, too."""
        metadata = (reading.schema(path).metadata or {}).get(key)
        if metadata is None:
            what = "vocabulary of visits" if last == "visits" else "vocabulary"
            raise InputError(
                f"{path}: has no {what} in its metadata; read it as the data set 'table'"
            )
        table = reading.parquet(path)
        names = ["codes", "titles", "patients", last]
        with about(path):
            try:
                found = json.loads(metadata)
            except (ValueError, RecursionError):
                raise InputError(f"its metadata are damaged; {AGAIN}") from None
            if not isinstance(found, dict) or not set(names) <= set(found):
                raise InputError(f"its metadata lack codes, titles, patients or {last}; {AGAIN}")
            facts = Facts(**{name: found[name] for name in names})
            wrong = facts.fault(1000 * (len(table) + 1000))
            if wrong:
                raise InputError(f"its metadata {wrong}; {AGAIN}")
        return cls(table, facts)

    @classmethod
    def built(cls, path: str | Path, key: bytes, last: str, make: Callable[[Stored], T]) -> T:
        """What ``make`` makes of a file; what is wrong is said of the file."""
        place = user_path(path)
        long = cls.read(place, key, last)
        with about(place):
            return make(long)

    def entries(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The patients' ids, and which patient and code each row has."""
        patients = self.facts.ids()
        rows = self.places("patient_id", patients)
        return patients, rows, self.places("code", np.array(self.facts.codes, dtype=object))

    def places(self, name: str, known: np.ndarray) -> np.ndarray:
        """Where each value of a column stands among those that the metadata list."""
        column = self._column(name)
        kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
        numbers = pa.types.is_integer(column.type)
        text = pa.types.is_string(kind) or pa.types.is_large_string(kind)
        if not (numbers or text) and len(column):
            raise InputError(
                f"column {name}: holds {column.type}, neither text nor whole numbers; {AGAIN}"
            )
        twice = cells.repeated(known)
        if twice is not None:
            raise InputError(f"its metadata list {twice} more than once; {AGAIN}")
        if numbers != (known.dtype.kind == "i") and len(column):
            raise InputError(
                f"column {name}: holds {column.type} where the metadata list others; {AGAIN}"
            )
        places = pd.Index(known).get_indexer(
            pd.Index(column.to_numpy() if numbers else column.to_pylist())
        )
        if (places < 0).any():
            row = int((places < 0).argmax()) + 1
            raise InputError(
                f"column {name}, row {row}: is not listed in the file's metadata; {AGAIN}"
            )
        return places

    def integers(self, name: str) -> np.ndarray:
        """A column of whole numbers, none of them missing."""
        column = self._column(name)
        if not pa.types.is_integer(column.type):
            raise InputError(f"column {name}: holds {column.type}, not whole numbers; {AGAIN}")
        return column.to_numpy()

    def _column(self, name: str) -> pa.ChunkedArray:
        place = self.table.schema.get_field_index(name)
        if place < 0:
            names = reading.listed(self.table.column_names)
            raise InputError(f"has no one column {name} (it has {names}); {AGAIN}")
        column = self.table.column(place)
        if column.null_count:
            row = column.is_null().to_pylist().index(True) + 1
            raise InputError(f"column {name}, row {row}: is empty; {AGAIN}")
        return column


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
