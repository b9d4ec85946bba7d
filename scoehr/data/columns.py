"""Typed columns: what is known of each patient, or of each visit, beside the codes.

A column is a ``category`` (sex), ``ordered`` (age group) or a ``number`` (age); values may be
missing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from scoehr.data import cells
from scoehr.files import InputError

__all__ = ["Column", "Columns"]

Kind = Literal["category", "ordered", "number"]
#: By these names tables are joined, so that no column may have one.
KEYS = ("patient_id", "visit")
#: The number column of visits that says how many days after the patient's previous visit each
#: began: after its end, or its beginning where no end is known; missing at a first one.
DAYS = "days"


@dataclass(frozen=True)
class Column:
    """Name, kind and possible values of a column.

    Attributes:
        name: not empty
        kind: "category", "ordered" or "number"
        levels: the values of a category (in any order) or of an ordered column (in its order), each
            once and none empty; () for a number

    Raises:
        InputError: If the name, the kind or the levels are not so.
    """

    name: str
    kind: Kind
    levels: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        cells.name(self.name, "column")
        object.__setattr__(self, "levels", tuple(self.levels))
        if self.kind not in get_args(Kind):
            raise InputError(
                f"column {self.name}: kind {str(self.kind)[:40]!r} is unknown; "
                f"give one of {', '.join(get_args(Kind))}"
            )
        if self.kind == "number" and self.levels:
            raise InputError(
                f"column {self.name}: is a number, which has no levels; leave them out"
            )
        wrong = [level for level in self.levels if not _is_level(level)]
        if wrong:
            raise InputError(
                f"column {self.name}: level {wrong[0]!r} is no text, has blanks around it or means "
                "missing; write each level as text"
            )
        twice = cells.repeated(self.levels)
        if twice is not None:
            raise InputError(f"column {self.name}: level {twice!r} stands twice; give each once")

    def values(self, found: ArrayLike) -> np.ndarray:
        """Values in the form of :class:`Columns`; InputError at the first that is no value."""
        array = np.asarray(found)
        if self.kind == "number":
            return self._numbers(array.astype(np.float64))
        places = array.astype(np.int32)
        wrong = (places < -1) | (places >= len(self.levels)) | (places != array)
        what = f"is no place among its {len(self.levels)} levels"
        cells.refuse(f"column {self.name}", wrong, lambda row: f"{array[row]} {what}")
        return places

    def _numbers(self, numbers: np.ndarray) -> np.ndarray:
        what = "is not finite; mend the number"
        cells.refuse(f"column {self.name}", np.isinf(numbers), lambda _: what)
        return numbers

    def read(self, found: pd.Series) -> np.ndarray:
        """Values as a person writes them (texts, numbers, missing ones) in the same form."""
        if self.kind == "number":
            numbers = pd.to_numeric(found, errors="coerce").to_numpy(np.float64, na_value=np.nan)
            self._refuse(found, np.isnan(numbers) & found.notna().to_numpy(), "is not a number")
            return self._numbers(numbers)
        texts = as_text(found)
        places = pd.Index(self.levels, dtype=object).get_indexer(pd.Index(texts, dtype=object))
        what = f"is none of its levels ({', '.join(self.levels[:8])})"
        self._refuse(texts, (places < 0) & texts.notna().to_numpy(), what)
        return places.astype(np.int32)

    def _refuse(self, found: pd.Series, wrong: np.ndarray, what: str) -> None:
        cells.refuse(
            f"column {self.name}",
            wrong,
            lambda row: f"{str(found.iloc[row])[:60]!r} {what}; mend the cell",
        )

    def written(self, values: np.ndarray) -> pd.Series:
        """The inverse of :meth:`read`: a Series of categories, or of (whole) numbers."""
        if self.kind == "number":
            known = values[~np.isnan(values)]
            whole = (np.abs(known) < 2**53).all() and (known == np.rint(known)).all()
            return pd.Series(values, name=self.name).astype("Int64" if whole else "float64")
        found = pd.Categorical.from_codes(values, list(self.levels), ordered=self.kind == "ordered")
        return pd.Series(found, name=self.name)


def _is_level(level: Any) -> bool:
    return isinstance(level, str) and cells.trimmed(level) == level and not cells.is_missing(level)


def as_text(found: pd.Series) -> pd.Series:
    """A Series of texts, whole numbers without a decimal point, None where missing."""
    places, distinct = pd.factorize(found)
    words = [str(int(value)) if _is_whole(value) else str(value) for value in distinct]
    texts = np.array([*words, None], dtype=object)
    return pd.Series(texts[places], index=found.index, name=found.name, dtype=object)


def _is_whole(value: Any) -> bool:
    return isinstance(value, float | np.floating) and value.is_integer()


@dataclass(frozen=True, eq=False)
class Columns:
    """Typed columns with a value, or a missing one, in each row; immutable.

    Attributes:
        columns: the columns in order, each name once
        values: an array of shape (rows,) a column: int32 places in the levels of a category or an
            ordered column, -1 where missing; float64 for a number, NaN where missing
        rows: how many rows there are; needs to be given only where there is no column

    Raises:
        InputError: If a name repeats, lengths differ, or a value is none of its column.
    """

    columns: tuple[Column, ...] = ()
    values: tuple[np.ndarray, ...] = ()
    rows: int = 0

    def __post_init__(self) -> None:
        pairs = list(zip(self.columns, self.values, strict=True))
        values = tuple(column.values(found) for column, found in pairs)
        rows = {len(found) for found in values} or {self.rows}
        twice = cells.repeated([name.casefold() for name in self.names])
        if twice is not None:
            raise InputError(f"column {twice} stands twice; give each column one name")
        if len(rows) != 1:
            raise InputError(f"the columns have {sorted(rows)} rows; give each as many")
        for found in values:
            found.flags.writeable = False
        object.__setattr__(self, "columns", tuple(self.columns))
        object.__setattr__(self, "values", values)
        object.__setattr__(self, "rows", rows.pop())

    @classmethod
    def none(cls, rows: int) -> Columns:
        """So many rows of no column."""
        return cls(rows=rows)

    def __len__(self) -> int:
        return self.rows

    def __iter__(self) -> Iterator[tuple[Column, np.ndarray]]:
        """Each column with its values."""
        return iter(zip(self.columns, self.values, strict=True))

    @property
    def names(self) -> tuple[str, ...]:
        """The columns' names, in order."""
        return tuple(column.name for column in self.columns)

    def __getitem__(self, rows: Any) -> Columns:
        """The rows at these positions (or of this mask or slice), as often as they are named."""
        chosen = np.arange(self.rows)[rows]
        return Columns(self.columns, tuple(found[chosen] for found in self.values), len(chosen))

    def of(self, name: str) -> np.ndarray:
        """The values of one column; InputError if there is none of this name."""
        return self.take([name]).values[0]

    def take(self, names: Sequence[str]) -> Columns:
        """The columns of these names, in this order; InputError for one that is not there."""
        missing = next((name for name in names if name not in self.names), None)
        if missing is not None:
            known = ", ".join(self.names) or "none"
            raise InputError(
                f"column {missing} is not among the columns ({known}); name one of them"
            )
        places = [self.names.index(name) for name in names]
        return Columns(
            tuple(self.columns[place] for place in places),
            tuple(self.values[place] for place in places),
            self.rows,
        )

    def equals(self, other: Columns) -> bool:
        """Whether columns, their order and all values are the same."""
        return (
            self.columns == other.columns
            and self.rows == other.rows
            and all(
                np.array_equal(mine, theirs, equal_nan=mine.dtype.kind == "f")
                for mine, theirs in zip(self.values, other.values, strict=True)
            )
        )

    @classmethod
    def from_frame(cls, frame: pd.DataFrame, kinds: Mapping[str, Column] | None = None) -> Columns:
        """From a table with a row a patient (or a visit).

        ``kinds`` says what a column is by its name. Where it does not, a column of numbers is a
        number, an ordered pandas categorical is ordered, all others are categories of their sorted
        texts. (:func:`scoehr.data.kinds.infer` looks closer.)
        """
        found = [(kinds or {}).get(str(name)) or _plain(frame[name]) for name in frame]
        values = [column.read(frame[name]) for column, name in zip(found, frame, strict=True)]
        return cls(tuple(found), tuple(values), len(frame))

    def to_frame(self) -> pd.DataFrame:
        """A table with the columns as categories (ordered where they are) and numbers."""
        found = {column.name: column.written(values) for column, values in self}
        return pd.DataFrame(found, index=pd.RangeIndex(self.rows))


def _plain(found: pd.Series) -> Column:
    name = str(found.name)
    if isinstance(found.dtype, pd.CategoricalDtype):
        levels = tuple(as_text(pd.Series(found.cat.categories)))
        return Column(name, "ordered" if found.cat.ordered else "category", levels)
    if pd.api.types.is_numeric_dtype(found) and not pd.api.types.is_bool_dtype(found):
        return Column(name, "number")
    return Column(name, "category", tuple(sorted(as_text(found).dropna().unique())))
