"""A user's own table, in one file.

It is long (patient_id, code and perhaps count), wide (patient_id and a column a code), or as
:meth:`~scoehr.data.matrix.CodeMatrix.write` writes it. What could be read in two ways is refused,
with the remedy; the account says what each column was taken for, which were left out, and which
words were read as missing. The cells are those of :mod:`scoehr.data.cells`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import ArrayLike
from scipy import sparse

from scoehr.data import cells, reading
from scoehr.data.columns import KEYS
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
    if METADATA_KEY in reading.metadata(path):
        matrix, account = _ours_matrix(path)
    else:
        names = named_columns(path)
        matrix, account = (_long_matrix if "code" in names else _wide_matrix)(path, names)
    if not len(matrix.codes):
        raise InputError(
            f"{path}: has no code in any row; give a table of patients and their codes"
        )
    return matrix, account


def _ours_matrix(path: Path) -> tuple[CodeMatrix, Account]:
    matrix = CodeMatrix.read(path)
    if matrix.kind == "signed":
        raise InputError(
            f"{path}: is of kind signed, whose counts may be negative; give counts of patients"
        )
    rows = matrix.counts.nnz
    return matrix, {"form": "scoehr", "rows_read": rows, "rows_kept": rows}


def named_columns(path: Path) -> dict[str, str]:
    """The columns, as they are written by their small letters, patient_id among them."""
    names = {name.casefold(): name for name in reading.header(path, casefold=False)}
    if "patient_id" not in names:
        raise InputError(
            f"{path}: has no column patient_id (it has {reading.listed(names)}); "
            "name the column of patient ids so"
        )
    return names


# Columns --------------------------------------------------------------------------------------


class Column(NamedTuple):
    """A column of a file as texts.

    ``words``: the distinct ones, trimmed; ``place``: which of them each row holds, -1 where it is
    missing; ``missing``: words that mean missing, with how many rows hold each; ``written``: the
    place of each row among ``raw``, the distinct texts as written, -1 for null.
    """

    where: str
    words: list[str]
    place: np.ndarray
    missing: dict[str, int]
    raw: list[Any]
    written: np.ndarray

    @classmethod
    def of(cls, where: str, parts: list[pa.DictionaryArray]) -> Column:
        """From the parts of a column, one a batch."""
        chunks = pa.chunked_array(parts, _TEXTS).unify_dictionaries().chunks
        raw = chunks[-1].dictionary.to_pylist() if chunks else []
        indices = [chunk.indices.fill_null(-1).to_numpy(zero_copy_only=False) for chunk in chunks]
        written = np.concatenate([np.empty(0, dtype=np.int64), *indices])
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
        return cls(where, list(words), new[written], missing, raw, written)

    def texts(self) -> np.ndarray:
        """The text of each row, None where missing."""
        return np.array([*self.words, None], dtype=object)[self.place]

    def among(self, known: ArrayLike) -> np.ndarray:
        """Which of these texts each row holds, -1 for none of them."""
        found = pd.Index(known, dtype=object).get_indexer(pd.Index(self.words, dtype=object))
        return np.append(found, -1)[self.place]

    def refuse(self, wrong: np.ndarray, what: Callable[[int], str]) -> None:
        """:func:`scoehr.data.cells.refuse` of rows of this column."""
        cells.refuse(self.where, wrong, what)

    def refuse_missing(self, remedy: str) -> None:
        """InputError at the first row in which the column is missing, with the remedy."""

        def what(row: int) -> str:
            place = self.written[row]
            word = cells.trimmed(self.raw[place]) if place >= 0 else ""
            return f"{f'{word!r} means missing' if word else 'is empty'}; {remedy}"

        self.refuse(self.place < 0, what)

    def refuse_faults(self, what: str) -> None:
        """Every text is a ``what``, by the rule of :func:`scoehr.data.cells.fault`."""
        faults = [*(cells.fault(word, what) for word in self.words), None]
        wrong = np.array([bool(fault) for fault in faults])[self.place]
        self.refuse(wrong, lambda row: str(faults[self.place[row]]))


_TEXTS = pa.dictionary(pa.int32(), pa.string())


def _as_texts(where: str, column: pa.Array) -> pa.DictionaryArray:
    """A column as texts; InputError for a type that has none."""
    plain = column.dictionary_decode() if pa.types.is_dictionary(column.type) else column
    try:
        return pc.dictionary_encode(plain.cast(pa.string()))
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        what = f"is of the type {column.type}; write it as text or as numbers"
        raise InputError(f"{where}: {what}") from None


#: What to do where a row lacks a key.
_REMEDIES = {
    "patient_id": "give every row a patient id",
    "visit": "give every row the number or date of its visit",
}


def columns(path: Path, wanted: Sequence[str]) -> dict[str, Column]:
    """Some columns of a table as texts, ``patient_id`` among them.

    InputError for a key, code or count of a type that holds no texts, a row without a key, or a
    table without rows, unless it was written here.
    """
    if reading.is_parquet(path):
        _refuse_types(path, wanted)
    parts: dict[str, list[pa.DictionaryArray]] = {name: [] for name in wanted}
    with reading.batches(path, wanted) as found:
        for batch in found:
            for name, column in zip(wanted, batch.columns, strict=True):
                parts[name].append(_as_texts(f"{path}, column {name}", column))
    read = {name: Column.of(f"{path}, column {name}", part) for name, part in parts.items()}
    ours = any(key.startswith(b"scoehr") for key in reading.metadata(path))
    if not ours and not len(read["patient_id"].place):
        raise InputError(f"{path}: is empty but for its header; give the whole table")
    for key in [key for key in KEYS if key in read]:
        read[key].refuse_missing(_REMEDIES[key])
        read[key].refuse_faults(key.removesuffix("_id"))
    return read


def _refuse_types(path: Path, wanted: Sequence[str]) -> None:
    """A column of Parquet is of a type whose values have one way to be written."""
    for name, field in zip(reading.header(path), reading.schema(path), strict=True):
        checked = name in wanted and name in (*KEYS, "code", "count")
        wrong = _wrong_type(name, field.type) if checked else None
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


def ordered_ids(words: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Patient ids in order, int64 where all are whole numbers, and their texts in this order."""
    whole = all(map(cells.is_whole, words))
    ids = np.array([int(word) for word in words] if whole else words, dtype=int if whole else str)
    order = np.argsort(ids, kind="stable")
    return ids[order], np.array(words, dtype=object)[order]


# Long -----------------------------------------------------------------------------------------


def long(
    path: Path, names: Collection[str], more: Sequence[str] = ()
) -> tuple[dict[str, Column], np.ndarray, Account]:
    """patient_id, code and ``more`` of the columns, checked, and the count of each row, 1 if none.

    ``names``: of all columns.
    """
    if "code" not in names:
        raise InputError(
            f"{path}: has no column code (it has {reading.listed(names)}); "
            "name the column of codes so"
        )
    wanted = [name for name in ("patient_id", "code", *more, "count") if name in names]
    if "visit" not in wanted:
        refuse_other_name(path, names, "count", COUNT_NAMES)
    found = columns(path, wanted)
    count = found.pop("count", None)
    code = found["code"]
    _refuse_header_inside(path, found)
    code.refuse_faults("code")
    _refuse_floats(code)
    counts = np.ones(len(code.place), dtype=np.int64)
    if count:
        counts = _counts(count, code)
        _refuse_repeated_cells(path, {key: found[key] for key in found if key in (*KEYS, "code")})
    return found, counts, _account(names, wanted, code)


def _long_matrix(path: Path, names: Mapping[str, str]) -> tuple[CodeMatrix, Account]:
    found, counts, account = long(path, names)
    patient, code = found["patient_id"], found["code"]
    if "count" not in names:
        _refuse_wide_with_code(path, names, patient, code)
    ids, words = ordered_ids(patient.words)
    codes, kept = sorted(code.words), code.place >= 0
    entries = (counts[kept], (patient.among(words)[kept], code.among(codes)[kept]))
    return _matrix(sparse.csr_array(entries, shape=(len(ids), len(codes))), ids, codes), account


def _account(names: Collection[str], wanted: Sequence[str], code: Column) -> Account:
    ignored = [name for name in names if name not in wanted]
    rows, empty = len(code.place), int((code.place < 0).sum())
    account: Account = {"form": "long", "columns": ", ".join(wanted)}
    account |= {"columns_ignored": ", ".join(ignored)} if ignored else {}
    account |= {"rows_read": rows, "rows_dropped": {"no code": empty}, "rows_kept": rows - empty}
    return account | ({"read_as_no_code": code.missing} if code.missing else {})


def refuse_other_name(
    path: Path, names: Collection[str], name: str, others: re.Pattern[str]
) -> None:
    """No column has one of the names that people give to the column ``name``, which is missing."""
    found = [other for other in names if others.fullmatch(other)]
    if found and name not in names:
        raise InputError(
            f"{path}: has a column {found[0]} and none named {name}; "
            f"name it {name} if it is that, else leave it out"
        )


def _refuse_wide_with_code(
    path: Path, names: Collection[str], patient: Column, code: Column
) -> None:
    """A table whose every column but patient_id holds counts may be wide, with a code "code"."""
    others = [name for name in names if name not in (*KEYS, "code", "count")]
    others = [name for name in others if not is_heading(name) and not _unnamed(name)]
    once = len(np.unique(patient.place)) == len(patient.place)
    if not others or not once or (cells.counts(code.words) < 0).any():
        return
    try:
        _wide_counts(path, others, others)
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

    cells.refuse(path, again, what)


def _counts(count: Column, code: Column) -> np.ndarray:
    """The counts of the rows, -1 where a row without a code has none."""
    values = np.append(cells.counts(count.raw), -1)[count.written]

    def what(row: int) -> str:
        place = count.written[row]
        return cells.bad_count(count.raw[place] if place >= 0 else None)

    count.refuse((values < 0) & (code.place >= 0), what)
    return values


def _refuse_header_inside(path: Path, columns: dict[str, Column]) -> None:
    """No row repeats the names of the columns, as in files pasted under each other."""
    again = np.ones(len(columns["code"].place), dtype=bool)
    for name, column in columns.items():
        same = [word.casefold().strip("\"'") == name for word in column.words]
        again &= np.array([*same, False])[column.place]
    what = "repeats the header, as in files pasted together; take the row out"
    cells.refuse(path, again, lambda row: what)


def _refuse_floats(code: Column) -> None:
    beside_missing = bool((code.place < 0).any())
    found = cells.were_floats(code.words, beside_missing=beside_missing)
    if found:
        what = (
            f"{found!r} was a decimal number in some program, as all codes here, "
            "and may have lost its zeros; write the codes as text"
        )
        code.refuse(code.place == code.words.index(found), lambda row: what)


def _matrix(counts: sparse.csr_array, ids: np.ndarray, codes: ArrayLike) -> CodeMatrix:
    names = np.array(codes, dtype=str)
    return CodeMatrix(counts, ids, names, np.full(len(names), "", dtype=str))


def ranks(visit: Column) -> tuple[np.ndarray, np.ndarray | None]:
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
    word = int(wrong.argmax())
    row = int((visit.place == word).argmax())
    raise InputError(
        f"{visit.where}, row {row + 1}: {visit.words[word]!r} is not a date as 2150-01-31, nor are "
        "all visits numbers; number the visits of each patient"
    )


# Wide -----------------------------------------------------------------------------------------


def _wide_matrix(path: Path, names: Mapping[str, str]) -> tuple[CodeMatrix, Account]:
    others = [name for name in names if name != "patient_id" and not _unnamed(name)]
    ignored = [name for name in names if _unnamed(name)]
    if not others:
        raise InputError(
            f"{path}: has no column but patient_id; "
            "add one for each code, or columns code and count"
        )
    _refuse_headings(path, others)
    patient = columns(path, ["patient_id"])["patient_id"]
    patient.refuse(
        pd.Series(patient.place).duplicated().to_numpy(),
        lambda row: (
            f"{patient.words[patient.place[row]]} has a row already; "
            "give each patient one row, or name the column that holds the codes code"
        ),
    )
    codes = [_code_name(path, names[name]) for name in others]
    counts, empty = _wide_counts(path, others, codes)
    _refuse_no_counts(path, counts, codes)
    ids, words = ordered_ids(patient.words)
    order = np.argsort(np.array(codes, dtype=object), kind="stable")
    rows = np.argsort(patient.among(words))
    account: Account = {"form": "wide", "columns": f"patient_id, {len(codes)} codes"}
    account |= {"columns_ignored": ", ".join(ignored)} if ignored else {}
    account |= {"rows_read": len(rows), "rows_kept": len(rows), "empty_cells_read_as_0": empty}
    return _matrix(counts[:, order].tocsr()[rows], ids, np.array(codes)[order]), account


def _code_name(path: Path, name: str) -> str:
    word = cells.trimmed(name)
    wrong = cells.fault(word, "code")
    if cells.is_missing(word):
        wrong = "is the name of no code; name it"
    if wrong:
        raise InputError(f"{path}, column {name}: {wrong}")
    return word


def _wide_counts(
    path: Path, names: Sequence[str], codes: Sequence[str]
) -> tuple[sparse.csc_array, int]:
    """The counts of the columns, rows of the file × names, and how many cells are empty.

    Refusals name ``codes``.
    """
    rows = empty = 0
    parts: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    with reading.batches(path, names) as found:
        for batch in found:
            for column, (code, part) in enumerate(zip(codes, batch.columns, strict=True)):
                values, blank = _wide_column(f"{path}, column {code}", part, rows)
                (row_of,) = values.nonzero()
                parts.append((values[row_of], row_of + rows, np.full(len(row_of), column)))
                empty += blank
            rows += len(batch)
    data, row_of, column_of = (np.concatenate(each) for each in zip(*parts, strict=True))
    shape = (rows, len(names))
    return sparse.csc_array((data, (row_of, column_of)), shape=shape), empty


def _wide_column(where: str, column: pa.Array, before: int) -> tuple[np.ndarray, int]:
    """The counts of a part of a column, and how many cells are empty; ``before``: rows above it."""
    texts = _as_texts(where, column)
    words = [*map(cells.trimmed, texts.dictionary.to_pylist()), ""]
    place = texts.indices.fill_null(len(words) - 1).to_numpy(zero_copy_only=False)
    blank = np.array([not word for word in words])
    values = np.where(blank, 0, cells.counts(words))[place]
    if (values < 0).any():
        row = int((values < 0).argmax())
        what = cells.bad_count(words[place[row]])
        remedy = "or name the column that holds the codes code"
        raise InputError(f"{where}, row {before + row + 1}: {what}, {remedy}")
    return values, int(blank[place].sum())


def _refuse_no_counts(path: Path, found: sparse.csc_array, codes: Sequence[str]) -> None:
    """No column holds ids, years or codes in place of counts, or the numbers of the rows."""
    rows = found.shape[0]
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
