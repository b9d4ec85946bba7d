"""Tables as they come damaged, and a slow reader of its own that says what an accepted one must
hold.

Each case takes a small sound table of one form, changes it in one to three ways, and gives it to
:func:`scoehr.data.datasets.load`. A case passes if the table is refused in one line that names it,
or if every cell
is what :mod:`benchmarks.slow_reader` finds.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks import slow_reader
from benchmarks.trials import Outcome, judged
from scoehr.data.datasets import load
from scoehr.data.matrix import METADATA_KEY

Rng = np.random.Generator
Rows = list[list[str]]
#: Codes of the sound tables: of ICD-9, the last two of ICD-10.
CODES = [
    "4019",
    "4280",
    "25000",
    "0389",
    "42731",
    "V3000",
    "E8788",
    "5849",
    "2724",
    "486",
    "E119",
    "I10",
]
CATEGORIES = ["401", "428", "250", "038", "427", "V30", "E878", "584", "272", "486"]
#: What a cell may turn into.
CELLS = [
    "",
    " ",
    "NULL",
    "NaN",
    "nan",
    "None",
    "\\N",
    "-",
    "?",
    "0",
    "-1",
    "1.7",
    "2.0",
    "1e3",
    "4294967301",
    "1e400",
    "007",
    "428.0",
    "401;428",
    "401 428",
    "['401', '428']",
    "=1+1",
    '=HYPERLINK("x")',
    "\ufeff401",
    "a\tb",
    "a\nb",
    "a\r\nb",
    'a"b',
    "a,b",
    "ü",
    "\u2028",
    "\u202e401",
    "９",
    "Infinity",
    "True",
    "x" * 1200,
    "2150-01-31",
    "31/01/2150",
    "2150-13-45 99:00:00",
    "9" * 25,
    "+5",
    "0x10",
    "1_000",
    "1,000",
    "patient_id",
    "code",
]
#: What may stand anywhere in the bytes.
BYTES = [
    b"\0",
    b"\r",
    b"\n",
    b"\r\n",
    b'"',
    b'""',
    b",",
    b";",
    b"\t",
    b"\xef\xbb\xbf",
    b"\xff",
    b"\xed\xa0\x80",
    b"\xc3",
    b"\x1a",
    b"\x1b[31m",
    b"' or 1=1 --",
]
NAMES = [
    "",
    "code",
    "patient_id",
    "count",
    "visit",
    "n",
    "index",
    "Unnamed: 0",
    "icd9_code",
    "hadm_id",
    "subject_id",
    "CODE ",
    "patient_id.1",
    "x;y",
]


# Sound tables -------------------------------------------------------------------------------------


def long_rows(rng: Rng) -> Rows:
    """patient_id, code and count of a few patients."""
    codes = CATEGORIES if rng.random() < 0.7 else ["alpha", "beta", "gamma b", "I10", "E11.9"]
    rows = [["patient_id", "code", "count"]]
    for patient in range(1, 9):
        chosen = rng.choice(codes, int(rng.integers(1, 5)), replace=False)
        rows += [[str(patient), str(code), str(rng.integers(1, 5))] for code in chosen]
    return rows


def wide_rows(rng: Rng) -> Rows:
    """patient_id and a column a code."""
    counts = rng.integers(0, 3, (8, len(CATEGORIES)))
    body = [[str(100 + 7 * row), *map(str, cells)] for row, cells in enumerate(counts)]
    return [["patient_id", *CATEGORIES], *body]


def mimic_tables(rng: Rng, version: int) -> dict[str, Rows]:
    """ADMISSIONS, PATIENTS and DIAGNOSES_ICD of MIMIC-III (3) or MIMIC-IV (4)."""
    admissions = [["SUBJECT_ID", "HADM_ID", "ADMITTIME", "DISCHTIME"]]
    diagnoses = [["SUBJECT_ID", "HADM_ID", "SEQ_NUM", "ICD9_CODE"]]
    if version == 4:
        diagnoses = [["SUBJECT_ID", "HADM_ID", "SEQ_NUM", "ICD_CODE", "ICD_VERSION"]]
    for visit in range(12):
        subject, stay = str(10 + visit % 7), str(1000 + visit)
        admissions.append(
            [
                subject,
                stay,
                f"21{50 + visit}-0{1 + visit % 9}-11 10:00:00",
                f"21{51 + visit}-01-12 10:00:00",
            ]
        )
        for place, number in enumerate(rng.choice(12 if version == 4 else 10, 3, replace=False), 1):
            ends = [CODES[number]] + (["10" if number > 9 else "9"] if version == 4 else [])
            diagnoses.append([subject, stay, str(place), *ends])
    people = [
        ["SUBJECT_ID", "GENDER", "DOB"],
        *([str(10 + n), "MF"[n % 2], "2100-01-01 00:00:00"] for n in range(7)),
    ]
    found = {"ADMISSIONS": admissions, "DIAGNOSES_ICD": diagnoses, "PATIENTS": people}
    if version == 3:
        return found
    small = {name: [[cell.lower() for cell in rows[0]], *rows[1:]] for name, rows in found.items()}
    small["PATIENTS"] = [["subject_id", "gender"], *([row[0], row[1]] for row in people[1:])]
    return {name.lower(): rows for name, rows in small.items()}


def diabetes_rows(rng: Rng) -> Rows:
    """Encounters of Diabetes 130-US."""
    rows = [["encounter_id", "patient_nbr", "race", "diag_1", "diag_2", "diag_3"]]
    codes = ["428", "250.01", "8", "414", "V57", "E909", "?", "276", "41.4"]
    for number in range(15):
        rows.append([str(500 + number), str(20 + number % 6), "?", *map(str, rng.choice(codes, 3))])
    return rows


# Changes of rows and bytes ------------------------------------------------------------------------


def _cell(rng: Rng, rows: Rows) -> Rows:
    rows = [list(row) for row in rows]
    row = rows[int(rng.integers(1 if rng.random() < 0.8 else 0, len(rows)))]
    row[int(rng.integers(len(row)))] = str(rng.choice(CELLS))
    return rows


COLUMN: list[Callable[[str], str]] = [
    lambda cell: f"{cell}.0", lambda cell: f" {cell} ", lambda cell: cell.lstrip("0"),
    lambda cell: f"-{cell}", lambda cell: f"'{cell}'",
    lambda cell: f"{cell}e0", lambda cell: "NULL", lambda cell: "", lambda cell: "1",
    lambda cell: f"\t{cell}", lambda cell: cell.lower(), lambda cell: f"0{cell}",
]  # fmt: skip


def _column(rng: Rng, rows: Rows) -> Rows:
    place, change = int(rng.integers(len(rows[0]))), COLUMN[int(rng.integers(len(COLUMN)))]
    return [rows[0], *([*row[:place], change(row[place]), *row[place + 1 :]] for row in rows[1:])]


def _no_column(rng: Rng, rows: Rows) -> Rows:
    place = int(rng.integers(len(rows[0])))
    return [row[:place] + row[place + 1 :] for row in rows]


def _twice_a_column(rng: Rng, rows: Rows) -> Rows:
    place = int(rng.integers(len(rows[0])))
    return [[*row, row[place]] for row in rows]


def _name(rng: Rng, rows: Rows) -> Rows:
    place = int(rng.integers(len(rows[0])))
    return [[*rows[0][:place], str(rng.choice(NAMES)), *rows[0][place + 1 :]], *rows[1:]]


def _index(rng: Rng, rows: Rows) -> Rows:
    head = str(rng.choice(["", "Unnamed: 0", "index"]))
    return [[head, *rows[0]], *([str(number), *row] for number, row in enumerate(rows[1:]))]


def _order(rng: Rng, rows: Rows) -> Rows:
    return [rows[0], *(rows[1 + place] for place in rng.permutation(len(rows) - 1))]


def _columns_order(rng: Rng, rows: Rows) -> Rows:
    order = rng.permutation(len(rows[0]))
    return [[row[place] for place in order] for row in rows]


ROWS: dict[str, Callable[[Rng, Rows], Rows]] = {
    "a cell": _cell, "another cell": _cell, "a column": _column, "no column": _no_column,
    "a column twice": _twice_a_column,
    "a name": _name, "an index": _index, "rows in another order": _order,
    "columns in another order": _columns_order,
    "a row twice": lambda rng, rows: [*rows, rows[int(rng.integers(len(rows)))]],
    "pasted twice": lambda rng, rows: [*rows, *rows[int(rng.integers(2)) :]],
    "no row": lambda rng, rows: rows[: 1 + int(rng.integers(len(rows)))],
    "no header": lambda rng, rows: rows[1:],
    "a short row": lambda rng, rows: [*rows[:-1], rows[-1][:-1]],
    "a long row": lambda rng, rows: [*rows[:-1], [*rows[-1], "1"]],
    "a comma behind": lambda rng, rows: [rows[0], *([*row, ""] for row in rows[1:])],
    "commas behind": lambda rng, rows: [[*row, ""] for row in rows],
    "names in capitals": lambda rng, rows: [[name.upper() for name in rows[0]], *rows[1:]],
    "a blank row": lambda rng, rows: [rows[0], [""] * len(rows[0]), *rows[1:]],
}  # fmt: skip


def _bytes(rng: Rng, data: bytes) -> bytes:
    place = int(rng.integers(len(data) + 1))
    return data[:place] + BYTES[int(rng.integers(len(BYTES)))] + data[place:]


def _bit(rng: Rng, data: bytes) -> bytes:
    if not data:
        return data
    place = int(rng.integers(len(data)))
    return data[:place] + bytes([data[place] ^ (1 << int(rng.integers(8)))]) + data[place + 1 :]


def _cut_out(rng: Rng, data: bytes) -> bytes:
    begin, length = int(rng.integers(len(data) + 1)), int(rng.integers(1, 60))
    return data[:begin] + data[begin + length :]


def _some_line_ends(rng: Rng, data: bytes) -> bytes:
    lines = data.split(b"\n")
    ends = [b"\r\n" if other else b"\n" for other in rng.random(len(lines)) < 0.5]
    return b"".join(line + end for line, end in zip(lines, ends, strict=True))


ANY: dict[str, Callable[[Rng, bytes], bytes]] = {
    "a bit": _bit, "bits": lambda rng, data: _bit(rng, _bit(rng, _bit(rng, data))),
    "a piece cut out": _cut_out,
    "the end cut off": lambda rng, data: data[: int(rng.integers(len(data) + 1))],
    "a piece twice": lambda rng, data: data + data[int(rng.integers(len(data) + 1)) :],
    "random bytes": lambda rng, data: data + rng.bytes(int(rng.integers(1, 40))),
}  # fmt: skip
TEXT: dict[str, Callable[[Rng, bytes], bytes]] = ANY | {
    "some bytes": _bytes, "other bytes": _bytes, "mixed line ends": _some_line_ends,
    "CR line ends": lambda rng, data: data.replace(b"\n", b"\r"),
    "CRLF line ends": lambda rng, data: data.replace(b"\n", b"\r\n"),
    "UTF-16": lambda rng, data: data.decode(errors="replace").encode("utf-16"),
    "UTF-16 without a mark": lambda rng, data: data.decode(errors="replace").encode("utf-16-le"),
    "Latin-1": lambda rng, data: data.decode(errors="replace").encode("latin-1",
    "replace") + "é,é,1\n".encode("latin-1"),
    "a byte order mark": lambda rng, data: b"\xef\xbb\xbf" + data,
    "semicolons": lambda rng, data: data.replace(b",", b";"), "tabs": lambda rng,
    data: data.replace(b",", b"\t"),
    "a blank first line": lambda rng, data: b"\n" + data, "a comment first": lambda rng,
    data: b"# made by hand\n" + data,
    "blanks behind commas": lambda rng, data: data.replace(b",", b", "),
    "nothing": lambda rng, data: b"", "no last line end": lambda rng, data: data.rstrip(b"\n"),
    "an open quote": lambda rng, data: data + b'"', "spreadsheet's first line": lambda rng,
    data: b"sep=,\n" + data,
}  # fmt: skip


def _csv(rows: Rows, rng: Rng) -> bytes:
    stream = io.StringIO(newline="")
    quoting = csv.QUOTE_ALL if rng.random() < 0.3 else csv.QUOTE_MINIMAL
    csv.writer(stream, lineterminator="\n", quoting=quoting).writerows(rows)
    return stream.getvalue().encode()


class Changes:
    """Draws changes and remembers their names."""

    def __init__(self, rng: Rng) -> None:
        self.rng, self.names = rng, list[str]()

    def one(self, value: Any, changes: dict[str, Callable[[Rng, Any], Any]]) -> Any:
        """``value`` changed in one way."""
        name = str(self.rng.choice(list(changes)))
        self.names.append(name)
        return changes[name](self.rng, value)

    def some(self, chance: float) -> bool:
        """True so often."""
        return bool(self.rng.random() < chance)

    def text(self, rows: Rows) -> bytes:
        """A CSV file of rows changed in one to three ways."""
        if self.some(0.7):
            rows = self.one(rows, ROWS)
            whole = len(rows) > 1 and len({len(row) for row in rows}) == 1
            rows = self.one(rows, ROWS) if whole and self.some(0.2) else rows
        data = _csv(rows, self.rng)
        return self.one(data, TEXT) if not self.names or self.some(0.2) else data


# Packed files -------------------------------------------------------------------------------------


def _gzipped(changes: Changes, data: bytes) -> bytes:
    packed = gzip.compress(data, mtime=0)
    more = {
        "packed twice": lambda rng, data: gzip.compress(data), "not packed": lambda rng,
        packed: data,
        "two members": lambda rng, packed: packed + gzip.compress(b"9,401,1\n", mtime=0),
        "zeros behind": lambda rng, packed: packed + bytes(64),
    }  # fmt: skip
    return changes.one(packed, ANY | more) if not changes.names or changes.some(0.3) else packed


def _zipped(changes: Changes, data: bytes) -> bytes:
    rng, stream = changes.rng, io.BytesIO()
    names = [
        "diabetic_data.csv",
        "data/diabetic_data.csv",
        "../diabetic_data.csv",
        "/etc/diabetic_data.csv",
        "other.csv",
        "DIABETIC_DATA.CSV",
    ]
    name = str(rng.choice(names)) if changes.some(0.4) else names[0]
    method = int(
        rng.choice([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
    )
    with zipfile.ZipFile(stream, "w", method) as archive:
        info = zipfile.ZipInfo(name)
        info.compress_type = method
        info.external_attr = (
            (0o120777 << 16) if changes.some(0.05) else info.external_attr
        )  # a link
        archive.writestr(info, data)
        if changes.some(0.2):
            archive.writestr("IDs_mapping.csv", "a,b\n1,2\n")
    changes.names.append(f"{name} by method {method}")
    packed = stream.getvalue()
    heads = [packed.find(b"PK\x01\x02"), packed.find(b"PK\x03\x04")]
    fields = {
        "said to be encrypted": lambda rng, packed: _field(
            packed, [heads[0] + 8, heads[1] + 6], b"\x01\x00"
        ),
        "unknown method": lambda rng, packed: _field(
            packed, [heads[0] + 10, heads[1] + 8], int(rng.integers(15, 99)).to_bytes(2, "little")
        ),
        "another sum": lambda rng, packed: _field(
            packed, [heads[0] + 16, heads[1] + 14], rng.bytes(4)
        ),
        "another size": lambda rng, packed: _field(
            packed, [heads[0] + 24, heads[1] + 22], rng.bytes(4)
        ),
    }
    return changes.one(packed, ANY | fields) if changes.some(0.6) else packed


def _field(data: bytes, places: list[int], value: bytes) -> bytes:
    for place in places:
        data = data[:place] + value + data[place + len(value) :]
    return data


# Parquet ------------------------------------------------------------------------------------------

TYPES: list[pa.DataType] = [
    pa.int8(), pa.uint64(), pa.float64(), pa.float32(), pa.bool_(), pa.binary(),
    pa.large_string(), pa.decimal128(20, 2),
    pa.dictionary(pa.int8(), pa.string()), pa.timestamp("s"), pa.date32(),
]  # fmt: skip


def _retyped(rng: Rng, table: pa.Table) -> pa.Table:
    place = int(rng.integers(table.num_columns))
    column, kind = table.column(place), TYPES[int(rng.integers(len(TYPES)))]
    try:
        new = column.cast(kind, safe=False)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return table
    return table.set_column(place, table.column_names[place], new)


def _replaced(rng: Rng, table: pa.Table) -> pa.Table:
    """One column's values replaced by others of Python."""
    place, length = int(rng.integers(table.num_columns)), len(table)
    values: list[Any] = [
        [None] * length, [1.7] * length, [2.0] * length, [2**32 + 5] * length, [-1] * length,
        [["401", "428"]] * length, [{"a": 1}] * length,
        [float("nan")] * length, [428.0] * length, ["428.0"] * length, [True] * length,
        [b"401"] * length, ["401", None] * (length // 2) + ["401"] * (length % 2),
    ]  # fmt: skip
    new = pa.array(values[int(rng.integers(len(values)))])
    return table.set_column(place, table.column_names[place], new)


TABLE: dict[str, Callable[[Rng, pa.Table], pa.Table]] = {
    "a type": _retyped, "another type": _retyped, "a column's values": _replaced,
    "no column": lambda rng, table: table.remove_column(int(rng.integers(table.num_columns))),
    "a column twice": lambda rng, table: table.append_column(table.column_names[0],
    table.column(0)),
    "a name": lambda rng, table: table.rename_columns([str(rng.choice(NAMES)),
    *table.column_names[1:]]),
    "rows twice": lambda rng, table: pa.concat_tables([table, table.slice(0, int(rng.integers(1,
    4)))]),
    "no rows": lambda rng, table: table.slice(0, 0),
}  # fmt: skip


def _as_table(rows: Rows) -> pa.Table:
    names, *body = rows
    columns: dict[str, list[Any]] = {
        name: [row[place] for row in body] for place, name in enumerate(names)
    }
    whole = {
        name: [int(cell) for cell in cells] for name, cells in columns.items() if name != "code"
    }
    return pa.table(columns | whole)


def _parquet(changes: Changes, table: pa.Table) -> bytes:
    if changes.some(0.8):
        table = changes.one(table, TABLE)
    stream = io.BytesIO()
    pq.write_table(table, stream)
    data = stream.getvalue()
    return changes.one(data, ANY) if not changes.names else data


#: Entries that our metadata may be damaged to.
ENTRIES: dict[str, list[Any]] = {
    "kind": ["signed", "binary", "", None, 3, ["count"]],
    "codes": [[], None, "401", ["401", "401"], [1, 2, 3], {}, ["401"] * 99, [["401"]]],
    "titles": [[], None, "x", [1, 2], {}],
    "patients": [
        0,
        -1,
        3,
        300_000_000,
        1e9,
        None,
        "8",
        [1, 1, 2],
        ["a"],
        [1.5],
        {"a": 1},
        [None],
        True,
    ],
}
WHOLE = [
    b"",
    b"{",
    b"null",
    b"[]",
    b"3",
    b'"x"',
    b"\xff\xfe",
    b"[" * 5000,
    b'{"kind": "count"}',
    b"NaN",
]


def _ours(rng: Rng, table: pa.Table) -> pa.Table:
    """With our metadata, sound or damaged."""
    codes = sorted({code for code in table.column("code").to_pylist() if isinstance(code, str)})
    extra: dict[str, Any] = {
        "kind": "count",
        "codes": codes,
        "titles": [""] * len(codes),
        "patients": sorted(set(table.column("patient_id").to_pylist())),
    }
    draw = rng.random()
    if draw < 0.15:
        return table.replace_schema_metadata({METADATA_KEY: WHOLE[int(rng.integers(len(WHOLE)))]})
    if draw < 0.75:
        key = str(rng.choice(list(ENTRIES)))
        if rng.random() < 0.2:
            del extra[key]
        else:
            extra[key] = ENTRIES[key][int(rng.integers(len(ENTRIES[key])))]
    return table.replace_schema_metadata({METADATA_KEY: json.dumps(extra).encode()})


def _ours_parquet(changes: Changes, rng: Rng) -> bytes:
    table = changes.one(_as_table(long_rows(rng)), {"our metadata": _ours})
    return _parquet(changes, table) if changes.some(0.4) else _parquet(_Unchanged(rng), table)


class _Unchanged(Changes):
    def __init__(self, rng: Rng) -> None:
        super().__init__(rng)
        self.names = ["none"]

    def some(self, chance: float) -> bool:
        return False


# Cases --------------------------------------------------------------------------------------------


def _table(changes: Changes, folder: Path) -> tuple[str, Path]:
    rng = changes.rng
    form = str(
        rng.choice(
            ["long.csv", "wide.csv", "long.csv.gz", "long.parquet", "wide.parquet", "ours.parquet"]
        )
    )
    path = folder / f"my {form}"
    rows = wide_rows(rng) if "wide" in form else long_rows(rng)
    if form == "ours.parquet":
        data = _ours_parquet(changes, rng)
    elif form.endswith(".parquet"):
        data = _parquet(changes, _as_table(rows))
    elif form.endswith(".gz"):
        data = _gzipped(changes, changes.text(rows) if changes.some(0.4) else _csv(rows, rng))
    else:
        data = changes.text(rows)
    path.write_bytes(data)
    return "table", path


def _mimic(changes: Changes, folder: Path, version: int) -> tuple[str, Path]:
    tables = mimic_tables(changes.rng, version)
    place = folder / ("hosp" if version == 4 else "")
    place.mkdir(exist_ok=True)
    chosen = str(changes.rng.choice(list(tables)))
    for name, rows in tables.items():
        data = changes.text(rows) if name == chosen else _csv(rows, changes.rng)
        packed = changes.some(0.4)
        ending = ".csv.gz" if packed else ".csv"
        (place / (name + ending)).write_bytes(gzip.compress(data, mtime=0) if packed else data)
    changes.names.insert(0, chosen)
    return f"mimic{version}", folder


def _diabetes(changes: Changes, folder: Path) -> tuple[str, Path]:
    rows = diabetes_rows(changes.rng)
    if changes.some(0.5):
        path = folder / "diabetic_data.csv"
        path.write_bytes(changes.text(rows))
        return "diabetes130", path
    path = folder / "diabetic_data.zip"
    path.write_bytes(
        _zipped(changes, changes.text(rows) if changes.some(0.3) else _csv(rows, changes.rng))
    )
    return "diabetes130", path


FORMS: list[Callable[[Changes, Path], tuple[str, Path]]] = [
    _table, _table, lambda changes, folder: _mimic(changes, folder, 3), _table, lambda changes,
    folder: _mimic(changes, folder, 4), _diabetes,
]  # fmt: skip


def cases(number: int, seed: int, folder: Path) -> Iterator[Outcome]:
    """So many mutated tables, written below ``folder`` one after the other."""
    for each in range(number):
        yield case(each, seed, folder / str(each))


def case(each: int, seed: int, folder: Path) -> Outcome:
    """The mutated table of this number."""
    changes = Changes(np.random.default_rng([seed, each]))
    folder.mkdir(parents=True)
    name, source = FORMS[each % len(FORMS)](changes, folder)
    what = f"{name} {source.name if source.is_file() else ''} ({', '.join(changes.names)})"
    return judged(
        what,
        lambda: load(name, source).matrix,
        lambda matrix: slow_reader.differs(name, source, matrix),
        source,
    )
