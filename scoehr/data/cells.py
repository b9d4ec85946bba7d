"""What a patient id, a code and a count may be: the one rule of every table, file and Python
object.

Blanks of any kind around a text go (spaces, tabs, line ends, byte order marks). Inside it a control
character, a line end or a byte order mark is refused. The words of :data:`MISSING`, and cells of
punctuation alone, mean a missing value. An id or a code is text or a whole number, never a decimal
number: ``428.0`` may have been 428 or 428.0, and zeros in front are lost. A cell holds one code. A
count is a whole number from 0 to :data:`LARGEST_COUNT`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from scoehr.files import InputError

#: Counts are 32-bit.
LARGEST_COUNT = 2**31 - 1
#: Ids and codes are no longer than this.
LONGEST = 1000

#: Words that programs write for a missing value, in small letters.
MISSING = {
    *("null", "(null)", "[null]", "nil", "none", "undefined", "\\n"),
    *("nan", "-nan", "nat", "na", "n/a", "#n/a", "#na", "<na>"),
}
_PUNCTUATION = re.compile(r"[!-/:-@\[-`{-~]*")
#: What goes at the ends of a text beside white space: marks without width.
_MARKS = "\ufeff\u200b\u200c\u200d\u2060"
_BROKEN = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufeff\u200b\u2060]")
_USUAL = "^[A-Za-z0-9._-]*[0-9][A-Za-z0-9._-]*$"
_WHOLE = re.compile(r"-?(0|[1-9]\d{0,18})")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.IGNORECASE)

#: Between codes in one cell, whatever they look like; and where they look like codes of ICD.
_SEPARATORS = re.compile(r"\s*[;,|]\s*")
_BETWEEN_ICD = re.compile(r"\s*[/+&\s]\s*")
_ICD = re.compile(r"[A-Z]?\d[\dA-Z]{1,5}(\.[\dA-Z]{1,4})?", re.IGNORECASE)
_DECIMAL = re.compile(r"\d+\.\d+")


def trimmed(text: str) -> str:
    """The text without blanks, line ends and byte order marks around it."""
    short = text.strip()
    while short and (short[0] in _MARKS or short[-1] in _MARKS):
        short = short.strip(_MARKS).strip()
    return short


def is_missing(text: str) -> bool:
    """Whether a trimmed text stands for a missing value."""
    return text.casefold() in MISSING or _PUNCTUATION.fullmatch(text) is not None


def fault(text: str, what: str) -> str | None:
    """Why a trimmed text that is not missing is no ``what`` ("code", "patient"), and the remedy.

    None if it is one.
    """
    shown = _shown(text)
    if _BROKEN.search(text):
        return f"{shown} holds a line end, a tab or an invisible character; take it out"
    if len(text) > LONGEST:
        return f"{shown} has {len(text)} characters, more than {LONGEST}; write a short {what}"
    if what == "code" and holds_several(text):
        return f"{shown} holds several codes; give each code a row of its own"
    return None


def holds_several(text: str) -> bool:
    """Whether a cell is a list of codes: ``401;428``, ``414.00, I25.10``, ``['401', '428']``."""
    if re.fullmatch(r"\[.*\]|\{.*\}|\(.*\)", text):
        return True
    parts = _SEPARATORS.split(text.strip(";,| "))
    if len(parts) > 1 and all(re.fullmatch(r"\S*\d\S*", part) for part in parts):
        return True
    icd = _BETWEEN_ICD.split(text)
    return len(icd) > 1 and all(_ICD.fullmatch(part) and len(part) > 2 for part in icd)


def were_floats(codes: Iterable[str], *, beside_missing: bool) -> str | None:
    """A code that shows that a program had all codes as decimal numbers, if one does.

    All are like 428.0, and a category has not three digits, or some are missing (what makes pandas
    do so), or there are three of them.
    """
    written = list(codes)
    if not written or not all(code.endswith(".0") and _DECIMAL.fullmatch(code) for code in written):
        return None
    odd = next((code for code in written if code.index(".") != 3), None)
    return odd or (written[0] if beside_missing or len(written) > 2 else None)


def refuse(where: str | Path, wrong: np.ndarray, what: Callable[[int], str]) -> None:
    """InputError at the first row that is wrong; ``what`` says of its position what it is."""
    if wrong.any():
        row = int(wrong.argmax())
        raise InputError(f"{where}, row {row + 1}: {what(row)}")


# Values of Python -----------------------------------------------------------------------------


def name(value: Any, what: str) -> str:
    """An id or a code as text; InputError says why it is none."""
    if isinstance(value, str):
        text = trimmed(str(value))
        if is_missing(text):
            raise InputError(f"a {what} is {text!r}, which means missing; fill or drop it")
        wrong = fault(text, what)
        if wrong:
            raise InputError(f"{what} {wrong}")
        return text
    if _is_integer(value) or isinstance(value, UUID):
        return str(value)
    raise InputError(f"{what} {_wrong_type(value, what)}")


def names(values: Any, what: str) -> np.ndarray:
    """Ids or codes as an array of str; InputError names the first that is none."""
    array = values if isinstance(values, np.ndarray) else None
    if array is not None and array.dtype.kind in "iu":
        return array.astype(str)
    if array is not None and array.dtype.kind == "U" and _plain(array):
        return array
    return np.array([name(value, what) for value in values], dtype=str)


def ids(values: Any) -> np.ndarray:
    """Patient ids: int64 where all are whole numbers, else str.

    InputError names the first that is none.
    """
    kind = values.dtype.kind if isinstance(values, np.ndarray) else "O"
    if kind in "iU":
        return values.astype(np.int64) if kind == "i" else names(values, "patient")
    found = list(values)
    whole = all(_is_integer(value) and abs(int(value)) <= _LARGEST_ID for value in found)
    return np.array(found, dtype=np.int64) if whole else names(found, "patient")


_LARGEST_ID = 2**63 - 1


def _is_integer(value: Any) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def objects(values: Iterable[Any]) -> np.ndarray:
    """Values of any kind as an array of objects of one dimension."""
    found = list(values)
    array = np.empty(len(found), dtype=object)
    array[:] = found
    return array


def repeated(values: Any) -> Any:
    """The first value that stands there more than once, None if there is none."""
    index = pd.Index(values)
    return None if index.is_unique else index[index.duplicated()][0]


def is_whole(text: str) -> bool:
    """Whether a text is a whole number as a program writes it, of 64 bits."""
    return _WHOLE.fullmatch(text) is not None and text != "-0" and abs(int(text)) <= _LARGEST_ID


def _plain(array: np.ndarray) -> bool:
    """Whether each text has a digit, and letters, digits, ".", "-" and "_" alone: no fault."""
    if array.dtype.itemsize > 4 * 64:
        return False
    usual = pc.match_substring_regex(pa.array(array, pa.string()), _USUAL)
    return not len(array) or bool(pc.all(usual).as_py())


def _wrong_type(value: Any, what: str) -> str:
    shown, kind = _shown(str(value)), type(value).__name__
    if isinstance(value, list | tuple | set | frozenset | dict | np.ndarray):
        return f"{shown} is a {kind}, not one {what}; give each {what} a row of its own"
    if pd.isna(value):
        return "is missing; fill or drop it"
    if isinstance(value, float | np.floating):
        return f"{value} is a decimal number, in which zeros are lost; write the {what}s as text"
    return f"{shown} is of type {kind}; write the {what}s as text"


def _shown(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:57] + "...")


# Counts ---------------------------------------------------------------------------------------


def count(text: str | None) -> int | None:
    """A count written as text (``2``, ``2.0``, ``1e3``); None if it is none."""
    short = trimmed(text or "")
    if short.isascii() and short.isdigit() and len(short) < 11:
        number = int(short)
        return number if number <= LARGEST_COUNT else None
    if short in ("true", "false"):
        return int(short == "true")
    if not _NUMBER.fullmatch(short):
        return None
    value = float(short)
    return int(value) if 0 <= value <= LARGEST_COUNT and value == math.floor(value) else None


def counts(words: Sequence[str | None]) -> np.ndarray:
    """Each text as a count, int64; -1 where it is none."""
    found = (count(word) for word in words)
    return np.array([-1 if number is None else number for number in found], dtype=np.int64)


def bad_count(value: Any) -> str:
    """What is wrong with a cell that holds no count, and the remedy."""
    if value is None or str(value).strip() == "":
        return "'empty' is not a whole number from 0; mend the count"
    return f"{_shown(str(value))} is not a whole number from 0; mend the count"


def whole(values: np.ndarray, *, least: int = 0) -> np.ndarray:
    """A mask of the numbers that are no whole number from ``least`` to :data:`LARGEST_COUNT`."""
    if values.dtype.kind == "b":
        return np.zeros(values.shape, dtype=bool)
    if values.dtype.kind not in "iuf":
        raise InputError(f"the counts are of type {values.dtype}; give whole numbers")
    with np.errstate(invalid="ignore"):
        fits = (values >= least) & (values <= LARGEST_COUNT)
        return ~fits if values.dtype.kind in "iu" else ~(fits & (values == np.rint(values)))
