"""A user's own table, in one file.

It is long (patient_id, code and perhaps count), wide (patient_id and a column a code), or as
:meth:`~scoehr.data.matrix.CodeMatrix.write` writes it. What could be read in two ways is refused,
with the remedy; the account says what each column was taken for, which were left out, and which
words were read as missing. The cells are those of :mod:`scoehr.data.cells`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from scipy import sparse

from scoehr.data import cells, reading
from scoehr.data.matrix import METADATA_KEY, CodeMatrix
from scoehr.files import InputError

Account = dict[str, Any]

ENDINGS = (".parquet", ".csv", ".csv.gz")
#: What people call the column count, and the column visit.
COUNT_NAMES = re.compile(
    "counts|cnt|n|num|number|freq|frequency|frequencies|times|occurrences?|values?|total|amount|"
    "quantity|numeric_value|n_codes|n_rows"
)
VISIT_NAMES = re.compile(
    "visits|visit_?(id|no|num|number|date|start_date|occurrence_id)|encounters?|"
    "encounter_?(id|date)|hadm_?id|admissions?|admission_?id|admittime|(icu)?stay_?id|episodes?|"
    "episode_?id"
)
#: Words of which the names of columns are made that are no codes.
_HEADING = re.compile(
    "(?:icd(?:9|10|11)?|cm|codes?|coded|dx|diags?|diagnos[ei]s|diagnose|diagnostic|conditions?|"
    "concept|snomed(?:ct)?|ccsr?|phecode|loinc|atc|cpt|hcpcs|drg|procedures?|proc|drug|medication|"
    "item|source|target|standard|primary|secondary|principal|main|events?|title|description|desc|"
    "names?|label|long|short|version|system|vocabulary|type|category|seq|sequence|num|number|no|nr|"
    "nbr|priority|rank|order|ids?|key|visits?|encounters?|admissions?|admit|hadm|stay|icustay|"
    "episode|case|date|time|datetime|timestamp|start|end|begin|chart|disch|discharge|age|sex|"
    "gender|race|ethnicity|birth|dob|dod|year|month|day|patients?|person|subject|occurrence|"
    "hospital|hosp|ward|unit|provider|care|row|index|idx|level|line|record|counts?|cnt|freq|"
    "frequency|values?|total|amount|quantity|numeric|text|notes?|comment|los|status|flag|file)+"
)
_MAY_BE_CODE = re.compile(
    "icd|code|dx|diag|condition|concept|snomed|ccs|phecode|loinc|atc|cpt|drg|proc|drug|medic|item"
)
_IS_NOT_CODE = re.compile(
    "version|seq|num|nr|title|desc|name|label|date|time|type|system|vocab|categ|rank|prior|start"
)
#: A count as large as this in a whole column, or in columns numbered like diag_1, is no count.
_NO_COUNT = 100


def read(path: Path) -> tuple[CodeMatrix, Account]:
    """The matrix (patients and codes sorted) of a user's table, and what was read and left out.

    Raises:
        InputError: If the path is no such file, or the table cannot be read in one way alone.
    """
    if path.is_dir() or not path.name.lower().endswith(ENDINGS):
        raise InputError(f"{path}: not a table; give one .parquet, .csv or .csv.gz file")
    reading.regular(path)
    names = [] if is_ours(path, METADATA_KEY) else named_columns(path)
    form = _ours_matrix if not names else _long_matrix if "code" in names else _wide_matrix
    matrix, account = form(path, names)
    if not len(matrix.codes):
        raise InputError(
            f"{path}: has no code in any row; give a table of patients and their codes"
        )
    return matrix, account


def is_ours(path: Path, key: bytes) -> bool:
    """Whether a file is Parquet with our metadata under this key."""
    return path.suffix.lower() == ".parquet" and key in (reading.schema(path).metadata or {})


def _ours_matrix(path: Path, names: Sequence[str]) -> tuple[CodeMatrix, Account]:
    del names
    matrix = CodeMatrix.read(path)
    if matrix.kind == "signed":
        raise InputError(
            f"{path}: is of kind signed, whose counts may be negative; give counts of patients"
        )
    rows = matrix.counts.nnz
    return matrix, {"form": "scoehr", "rows_read": rows, "rows_kept": rows}


def named_columns(path: Path) -> list[str]:
    """The names of the columns, in small letters, patient_id among them."""
    names = reading.header(path)
    if "patient_id" not in names:
        raise InputError(
            f"{path}: has no column patient_id (it has {reading.listed(names)}); "
            "name the column of patient ids so"
        )
    return names


# Columns --------------------------------------------------------------------------------------


class Column(NamedTuple):
    """A column of texts.

    ``words``: the distinct ones, trimmed; ``place``: which of them each row holds, -1 where it is
    missing; ``missing``: words that mean missing, with how many rows hold each; ``written``: the
    place of each row among ``raw``, the distinct texts as written, -1 for null.
    """

    words: list[str]
    place: np.ndarray
    missing: dict[str, int]
    raw: list[Any]
    written: np.ndarray

    def sorted_words(self) -> tuple[list[str], np.ndarray]:
        """The words sorted, and the position of each word among them."""
        found = sorted(self.words)
        known = pd.Index(found, dtype=object)
        return found, known.get_indexer(pd.Index(self.words, dtype=object))

    def sorted_ids(self) -> tuple[np.ndarray, np.ndarray]:
        """The same of ids, which are int64 where all are whole numbers."""
        whole = all(cells.is_whole(word) for word in self.words)
        numbers = [int(word) for word in self.words] if whole else self.words
        ids = np.array(numbers, dtype=np.int64 if whole else str)
        order = np.argsort(ids, kind="stable")
        place = np.empty(len(ids), dtype=np.int64)
        place[order] = np.arange(len(ids))
        return ids[order], place


def _columns(path: Path, wanted: Sequence[str]) -> dict[str, Column]:
    """Some columns; InputError if one is of a type that holds no texts, or there are no rows."""
    if path.suffix.lower() == ".parquet":
        _refuse_types(path, wanted)
    found = texts(path, wanted)
    if not len(found["patient_id"].place):
        raise InputError(f"{path}: is empty but for its header; give the whole table")
    return found


def texts(path: Path, wanted: Sequence[str]) -> dict[str, Column]:
    """Some columns, of any type that can be written as text."""
    parts: dict[str, list[pa.Array]] = {name: [] for name in wanted}
    with reading.batches(path, wanted) as found:
        for batch in found:
            for name, column in zip(wanted, batch.columns, strict=True):
                parts[name].append(pc.dictionary_encode(_written(path, name, column)))
    return {name: _cleaned(arrays) for name, arrays in parts.items()}


def _written(path: Path, name: str, column: pa.Array) -> pa.Array:
    """A column as text; InputError for a type that has no texts."""
    plain = column.dictionary_decode() if pa.types.is_dictionary(column.type) else column
    try:
        return plain.cast(pa.string())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        what = f"is of the type {column.type}; write it as text or as numbers"
        raise InputError(f"{path}, column {name}: {what}") from None


def _cleaned(arrays: list[pa.Array]) -> Column:
    """The texts trimmed, those that mean missing put apart."""
    if not arrays:
        return Column([], np.empty(0, dtype=np.int64), {}, [], np.empty(0, dtype=np.int64))
    chunks = pa.chunked_array(arrays).unify_dictionaries().chunks
    raw = chunks[-1].dictionary.to_pylist()
    written = np.concatenate(
        [chunk.indices.fill_null(-1).to_numpy(zero_copy_only=False) for chunk in chunks]
    )
    words: dict[str, int] = {}
    missing: dict[str, int] = {}
    rows = np.bincount(written[written >= 0], minlength=len(raw))
    new = np.full(len(raw) + 1, -1, dtype=np.int64)
    for number, text in enumerate(raw):
        word = cells.trimmed(text)
        if not cells.is_missing(word):
            new[number] = words.setdefault(word, len(words))
        elif word and len(missing) < 20:
            missing[word] = missing.get(word, 0) + int(rows[number])
    return Column(list(words), new[written], missing, raw, written)


def _refuse_types(path: Path, wanted: Sequence[str]) -> None:
    """A column of Parquet is of a type whose values have one way to be written."""
    schema = reading.schema(path)
    for name, field in zip(reading.header(path), schema, strict=True):
        wrong = _wrong_type(name, field.type) if name in wanted else None
        if wrong:
            raise InputError(f"{path}, column {name}: {wrong}")


def _wrong_type(name: str, kind: pa.DataType) -> str | None:
    types = pa.types
    kind = kind.value_type if types.is_dictionary(kind) else kind
    text = (types.is_string, types.is_large_string, types.is_string_view, types.is_null)
    usual = any(fits(kind) for fits in (*text, types.is_integer))
    number = types.is_floating(kind) or types.is_decimal(kind)
    if usual or (name == "visit" and types.is_temporal(kind)):
        return None
    if name == "count" and (number or types.is_boolean(kind)):
        return None
    if number:
        return (
            "holds decimal numbers, which may have lost zeros and meaning (428.0); "
            "write whole numbers or text"
        )
    if types.is_nested(kind):
        return f"holds lists or the like ({kind}); give each code a row of its own"
    return f"is of the type {kind}; write it as text"


def refuse(path: Path, name: str, wrong: np.ndarray, what: Callable[[int], str]) -> None:
    """InputError at the first row that is wrong; ``what`` says of its position what it is."""
    if wrong.any():
        row = int(wrong.argmax())
        where = f"{path}, column {name}" if name else path
        raise InputError(f"{where}, row {row + 1}: {what(row)}")


def refuse_missing(path: Path, name: str, column: Column, remedy: str) -> None:
    """InputError at the first row in which the column is missing, with the remedy."""

    def what(row: int) -> str:
        place = column.written[row]
        word = cells.trimmed(column.raw[place]) if place >= 0 else ""
        return f"{f'{word!r} means missing' if word else 'is empty'}; {remedy}"

    refuse(path, name, column.place < 0, what)


def refuse_faults(path: Path, name: str, column: Column, what: str) -> None:
    """Every text of the column is a ``what``, by the rule of :func:`scoehr.data.cells.fault`."""
    faults = [cells.fault(word, what) for word in column.words]
    wrong = np.array([bool(fault) for fault in faults] + [False])[column.place]
    refuse(path, name, wrong, lambda row: str(faults[column.place[row]]))


# Long -----------------------------------------------------------------------------------------


class Long(NamedTuple):
    """The rows of a long table that have a code, or all of them where it has visits."""

    columns: dict[str, Column]
    counts: np.ndarray  # a row; 1 where there is no column count
    account: Account


def long(path: Path, names: Sequence[str], *, visit: bool = False) -> Long:
    """The columns patient_id, code, count and perhaps visit of a long table, checked."""
    if "code" not in names:
        raise InputError(
            f"{path}: has no column code (it has {reading.listed(names)}); "
            "name the column of codes so"
        )
    if not visit:
        refuse_other_name(path, names, "count", COUNT_NAMES)
    keys = ("patient_id", "code", "visit") if visit else ("patient_id", "code")
    wanted = [name for name in (*keys, "count") if name in names]
    found = _columns(path, wanted)
    count = found.pop("count", None)
    _refuse_header_inside(path, found)
    refuse_missing(path, "patient_id", found["patient_id"], "give every row a patient id")
    if visit:
        remedy = "give every row the number or date of its visit"
        refuse_missing(path, "visit", found["visit"], remedy)
    for name, column in found.items():
        refuse_faults(path, name, column, name.removesuffix("_id"))
    _refuse_floats(path, found["code"])
    counts = np.ones(len(found["code"].place), dtype=np.int64)
    if count:
        counts = _counts(path, count, found["code"])
        _refuse_repeated_cells(path, found)
    return Long(found, counts, _account(names, wanted, found["code"]))


def _long_matrix(path: Path, names: Sequence[str]) -> tuple[CodeMatrix, Account]:
    columns, counts, account = long(path, names)
    if "count" not in names:
        _refuse_wide_with_code(path, names, columns)
    patient, code = columns["patient_id"], columns["code"]
    ids, row_of = patient.sorted_ids()
    codes, column_of = code.sorted_words()
    kept = code.place >= 0
    entries = (row_of[patient.place[kept]], column_of[code.place[kept]])
    found = sparse.csr_array((counts[kept], entries), shape=(len(ids), len(codes)))
    return _built(found, ids, codes), account


def _account(names: Sequence[str], wanted: Sequence[str], code: Column) -> Account:
    ignored = [name for name in names if name not in wanted]
    rows, empty = len(code.place), int((code.place < 0).sum())
    account: Account = {"form": "long", "columns": ", ".join(wanted)}
    account |= {"columns_ignored": ", ".join(ignored)} if ignored else {}
    account |= {"rows_read": rows, "rows_dropped": {"no code": empty}, "rows_kept": rows - empty}
    return account | ({"read_as_no_code": code.missing} if code.missing else {})


def refuse_other_name(path: Path, names: Sequence[str], name: str, others: re.Pattern[str]) -> None:
    """No column has one of the names that people give to the column ``name``, which is missing."""
    found = [other for other in names if others.fullmatch(other)]
    if found and name not in names:
        raise InputError(
            f"{path}: has a column {found[0]} and none named {name}; "
            f"name it {name} if it is that, else leave it out"
        )


def _refuse_wide_with_code(path: Path, names: Sequence[str], columns: dict[str, Column]) -> None:
    """A table whose every column but patient_id holds counts may be wide, with a code "code"."""
    known = ("patient_id", "code", "count", "visit")
    others = [name for name in names if name not in known]
    others = [name for name in others if not is_heading(name) and not _unnamed(name)]
    code, patient = columns["code"], columns["patient_id"]
    once = len(np.unique(patient.place)) == len(patient.place)
    if not others or not once or (cells.counts(code.words) < 0).any():
        return
    try:
        _wide_cells(path, others, others)
    except InputError:
        return
    raise InputError(
        f"{path}: columns code and {reading.listed(others)} may be codes of a wide table or "
        "columns of a long one; give the code another name than code if it is wide, and leave the "
        "others out if it is long"
    )


def _refuse_repeated_cells(path: Path, columns: dict[str, Column]) -> None:
    code = columns["code"]
    cell = pd.DataFrame({name: column.place for name, column in columns.items()})
    again = cell.duplicated().to_numpy() & (code.place >= 0)

    def what(row: int) -> str:
        words = {name: column.words[column.place[row]] for name, column in columns.items()}
        key = " and ".join(f"{name.removesuffix('_id')} {word}" for name, word in words.items())
        return f"{key} have a row already; put their counts in one row"

    refuse(path, "", again, what)


def _counts(path: Path, count: Column, code: Column) -> np.ndarray:
    """The counts of the rows, -1 where a row without a code has none."""
    values = np.append(cells.counts(count.raw), -1)[count.written]

    def what(row: int) -> str:
        place = count.written[row]
        return cells.bad_count(count.raw[place] if place >= 0 else None)

    refuse(path, "count", (values < 0) & (code.place >= 0), what)
    return values


def _refuse_header_inside(path: Path, columns: dict[str, Column]) -> None:
    """No row repeats the names of the columns, as in files pasted under each other."""
    again = np.ones(len(columns["code"].place), dtype=bool)
    for name, column in columns.items():
        same = [word.casefold().strip("\"'") == name for word in column.words]
        again &= np.array([*same, False])[column.place]
    what = "repeats the header, as in files pasted together; take the row out"
    refuse(path, "", again, lambda row: what)


def _refuse_floats(path: Path, code: Column) -> None:
    beside_missing = bool((code.place < 0).any())
    found = cells.were_floats(code.words, beside_missing=beside_missing)
    if found:
        what = (
            f"{found!r} was a decimal number in some program, as all codes here, "
            "and may have lost its zeros; write the codes as text"
        )
        refuse(path, "code", code.place == code.words.index(found), lambda row: what)


def _built(counts: sparse.csr_array, ids: np.ndarray, codes: Sequence[str]) -> CodeMatrix:
    if counts.nnz and counts.max() > cells.LARGEST_COUNT:
        raise InputError(
            f"a count is {counts.max()}; the largest that fits is {cells.LARGEST_COUNT}, "
            "so scale it"
        )
    return CodeMatrix(counts, ids, np.array(codes, dtype=str), np.full(len(codes), "", dtype=str))


def ranks(path: Path, visit: Column) -> tuple[np.ndarray, np.ndarray | None]:
    """The rank of each word for a visit, by number or by date, and the date of each in days.

    The dates are None where the words are numbers. InputError if they are neither.
    """
    words = "select unnest(?) as word, unnest(range(?)) as row"
    with duckdb.connect() as database:
        for value in ("try_cast(word as hugeint)", reading.number("word"), reading.date("word")):
            dated = value == reading.date("word")
            days = "epoch(value) / 86400" if dated else "null"
            found = database.execute(
                f"select dense_rank() over (order by value) - 1 as rank, {days}::double as days, "
                f"value is null as wrong from (select {value} as value, row from ({words})) "
                "order by row",
                [visit.words, len(visit.words)],
            ).fetchnumpy()
            wrong = np.asarray(found["wrong"])
            if not wrong.any():
                rank = np.asarray(found["rank"]).astype(np.int64)
                return rank, np.floor(np.asarray(found["days"])) if dated else None
    row = int((visit.place == int(wrong.argmax())).argmax())
    raise InputError(
        f"{path}, column visit, row {row + 1}: {visit.words[visit.place[row]]!r} is not a date as "
        "2150-01-31, nor are all visits numbers; number the visits of each patient"
    )


# Wide -----------------------------------------------------------------------------------------


def _wide_matrix(path: Path, names: Sequence[str]) -> tuple[CodeMatrix, Account]:
    others = [name for name in names if name != "patient_id" and not _unnamed(name)]
    ignored = [name for name in names if _unnamed(name)]
    if not others:
        raise InputError(
            f"{path}: has no column but patient_id; "
            "add one for each code, or columns code and count"
        )
    _refuse_headings(path, others)
    patient = _columns(path, ["patient_id"])["patient_id"]
    refuse_missing(path, "patient_id", patient, "give every row a patient id")
    refuse_faults(path, "patient_id", patient, "patient")
    refuse(
        path,
        "patient_id",
        pd.Series(patient.place).duplicated().to_numpy(),
        lambda row: (
            f"{patient.words[patient.place[row]]} has a row already; "
            "give each patient one row, or name the column that holds the codes code"
        ),
    )
    written = {name.casefold(): name for name in reading.header(path, casefold=False)}
    codes = [_code_name(path, written[name]) for name in others]
    counts, empty = _wide_cells(path, others, codes)
    _refuse_no_counts(path, counts, codes)
    ids, row_of = patient.sorted_ids()
    order = sorted(range(len(codes)), key=codes.__getitem__)
    rows = np.argsort(row_of[patient.place], kind="stable")
    account: Account = {"form": "wide", "columns": f"patient_id, {len(codes)} codes"}
    account |= {"columns_ignored": ", ".join(ignored)} if ignored else {}
    account |= {"rows_read": len(rows), "rows_kept": len(rows), "empty_cells_read_as_0": empty}
    sorted_counts = sparse.csr_array(counts.tocsc()[:, order]).tocsr()[rows]
    return _built(sorted_counts, ids, [codes[place] for place in order]), account


def _code_name(path: Path, name: str) -> str:
    word = cells.trimmed(name)
    wrong = cells.fault(word, "code")
    if cells.is_missing(word):
        wrong = "is the name of no code; name it"
    if wrong:
        raise InputError(f"{path}, column {name}: {wrong}")
    return word


def _wide_cells(
    path: Path, names: Sequence[str], codes: Sequence[str]
) -> tuple[sparse.coo_array, int]:
    """The counts of the columns, rows of the file × names, and how many cells are empty.

    Refusals name ``codes``.
    """
    rows = empty = 0
    parts: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    with reading.batches(path, names) as found:
        for batch in found:
            slab = max(1, 4_000_000 // max(1, len(batch)))
            for first in range(0, len(names), slab):
                chosen = slice(first, min(first + slab, len(names)))
                values, blank = _slab(path, batch, codes, chosen, rows)
                column, row = values.nonzero()
                parts.append((values[column, row], row + rows, column + first))
                empty += blank
            rows += len(batch)
    data, row, column = (np.concatenate(each) for each in zip(*parts, strict=True))
    return sparse.coo_array((data, (row, column)), shape=(rows, len(names))), empty


def _slab(
    path: Path, batch: pa.RecordBatch, names: Sequence[str], chosen: slice, before: int
) -> tuple[np.ndarray, int]:
    """The counts of some columns of a batch, (columns, rows), and how many cells are empty."""
    names = names[chosen]
    columns = [_written(path, *each) for each in zip(names, batch.columns[chosen], strict=True)]
    texts = pc.dictionary_encode(pa.concat_arrays(columns))
    words = texts.dictionary.to_pylist()
    blank = np.array([*(cells.trimmed(word) == "" for word in words), True])
    numbers = np.where(blank, 0, np.append(cells.counts(words), 0))
    place = texts.indices.fill_null(len(words)).to_numpy(zero_copy_only=False)
    values = numbers[place].reshape(len(names), len(batch))
    if (numbers < 0).any():
        row = int((values < 0).any(axis=0).argmax())
        column = int((values[:, row] < 0).argmax())
        word = words[place.reshape(values.shape)[column, row]]
        raise InputError(
            f"{path}, column {names[column]}, row {before + row + 1}: {cells.bad_count(word)}, "
            "or name the column that holds the codes code"
        )
    return values, int(blank[place].sum())


def _refuse_no_counts(path: Path, counts: sparse.coo_array, codes: Sequence[str]) -> None:
    """No column holds ids, years or codes in place of counts, or the numbers of the rows."""
    found = counts.tocsc()
    rows = counts.shape[0]
    sizes = np.diff(found.indptr)
    most = np.asarray(found.max(axis=0).todense()).ravel()
    numbered = np.array([_is_numbered(code) for code in codes])
    wrong = (most >= _NO_COUNT) & numbered
    for place in np.flatnonzero(sizes >= rows - 1).tolist():
        data = found.data[found.indptr[place] : found.indptr[place + 1]]
        large = rows > 1 and sizes[place] == rows and data.min() >= _NO_COUNT
        wrong[place] |= large or (rows >= 10 and _counts_rows(found, place, rows))
    if wrong.any():
        raise InputError(
            f"{path}, column {codes[int(wrong.argmax())]}: holds ids, codes or numbers of rows, "
            "not counts; leave it out, or name it code if it holds the codes"
        )


def _counts_rows(found: sparse.csc_array, place: int, rows: int) -> bool:
    """Whether a column is 0, 1, 2, … or 1, 2, 3, …."""
    cells_of = slice(found.indptr[place], found.indptr[place + 1])
    dense = np.zeros(rows, dtype=np.int64)
    dense[found.indices[cells_of]] = found.data[cells_of]
    return np.array_equal(dense, dense[0] + np.arange(rows)) and dense[0] in (0, 1)


# Names of columns -----------------------------------------------------------------------------


def is_heading(name: str) -> bool:
    """Whether a name is made of words for columns alone, as hadm_id or icd_code, so is no code."""
    quotes = len(name) > 1 and name[0] == name[-1] and name[0] in "\"'"
    return quotes or _HEADING.fullmatch(_compact(name)) is not None


def _is_numbered(name: str) -> bool:
    """Whether a name is a word for a column and a number, as diag_1."""
    stem = _compact(name).rstrip("0123456789")
    return stem != _compact(name) and _HEADING.fullmatch(stem) is not None


def _compact(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.casefold())


def _unnamed(name: str) -> bool:
    return reading.UNNAMED.fullmatch(name) is not None


def _refuse_headings(path: Path, others: Sequence[str]) -> None:
    """A table without a column code is wide only if no column looks like one of a long table."""
    wrong = [name for name in others if is_heading(name)]
    if not wrong:
        return
    likely = [name for name in wrong if _MAY_BE_CODE.search(name) and not _IS_NOT_CODE.search(name)]
    maybe = f" ({' or '.join(likely[:3])}?)" if likely else ""
    raise InputError(
        f"{path}: has no column code, and {reading.listed(wrong)} cannot be a code of a wide "
        f"table; name the column that holds the codes code{maybe}, or leave out what is no code"
    )
