"""What each column of a table is: found by stated rules, and said; or as a person says in a file.

The rules, in this order:

* A column without a value, or with the same one in every row, is left out; so are dates, numbers
  that rise with the rows or differ in all of them (ids), and texts that differ in more than half of
  the rows (ids or free text) or are more than :data:`MOST_LEVELS`.
* Texts that are all intervals, such as ``[70-80)``, ``<30``, ``90+``, are ordered.
* Whole numbers of at most :data:`FEW` values are a category if there are two of them or the name
  says that they are codes (``…_id``, ``…_code``, ``…_type``), else ordered.
* Other numbers are numbers, other texts categories.

A missing cell is a value of its kind of column like any other: nothing is filled in.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import pandas as pd
import yaml

from scoehr.data import cells, reading
from scoehr.data.columns import Column, Columns, as_text
from scoehr.files import InputError

__all__ = ["Wish", "infer", "wishes"]

#: Whole numbers of no more values are levels.
FEW = 10
#: A category has no more levels.
MOST_LEVELS = 200
#: With fewer rows, values that all differ may do so by chance.
_ENOUGH = 20
_CODES = re.compile("(.*[_ ])?(id|code|type)", re.IGNORECASE)
_DATE = re.compile(r"\d{4}[-/]\d{1,2}[-/]\d{1,2}([ T].*)?|\d{1,2}[./-]\d{1,2}[./-]\d{2,4}([ T].*)?")
_WRITTEN = re.compile(r"[+-]?(0|[1-9]\d*)?(\.\d*)?(?<=[\d.])(e[+-]?\d+)?", re.IGNORECASE)
_NUMBER = r"-?\d+(?:\.\d+)?"
_INTERVAL = re.compile(
    rf"(?:([<>≤≥]=?) ?({_NUMBER}))|(?:[\[(]?({_NUMBER}) ?(?:-|–|,|to) ?{_NUMBER}[\])]?)"
    rf"|(?:({_NUMBER}) ?\+)|({_NUMBER})"
)

Kinds = Literal["category", "ordered", "number", "drop"]


class Wish(NamedTuple):
    """What a person says of a column, in place of what would be found.

    ``kind``: one of :data:`Kinds`, "" to have it found. ``level``: "patient" or "visit", "" where
    the table says. ``levels``: the values in their order, none to have them found.
    """

    name: str
    kind: str = ""
    level: str = ""
    levels: tuple[str, ...] = ()

    @classmethod
    def of(cls, column: Column) -> Wish:
        """That a column is to be as this one."""
        return cls(column.name, column.kind, "", column.levels)


# Found ----------------------------------------------------------------------------------------


def infer(
    frame: pd.DataFrame, said: Mapping[str, Wish] | None = None
) -> tuple[Columns, dict[str, str]]:
    """Typed columns of a table, and what each was taken for, or why it was left out.

    Args:
        frame: a row a patient, or a visit; columns of texts, numbers, truth values, categoricals
        said: wishes by name
    """
    said = said or {}
    frame = frame.apply(_tidied)
    found = {str(name): _column(frame[name], said.get(str(name))) for name in frame}
    kept = [column for column in found.values() if isinstance(column, Column)]
    values = tuple(column.read(frame[column.name]) for column in kept)  # in the order of the table
    columns = Columns(tuple(kept), values, len(frame))
    missing = {column.name: _missing(taken) for column, taken in columns}
    account = {name: described(column) + missing.get(name, "") for name, column in found.items()}
    return columns, account


def _tidied(values: pd.Series) -> pd.Series:
    """Texts trimmed, those that mean missing put apart, and numbers where all are numbers.

    Texts with zeros in front, as of postal codes, stay texts.
    """
    if pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values):
        return values.astype("float64")
    if isinstance(values.dtype, pd.CategoricalDtype) or pd.api.types.is_bool_dtype(values):
        return values
    places, texts = pd.factorize(as_text(values))
    words = np.array([*map(cells.trimmed, texts.tolist()), ""], dtype=object)
    known = np.array([not cells.is_missing(word) for word in words])
    if all(_WRITTEN.fullmatch(word) for word in words[known]):
        words = np.where(known, words, "nan").astype(float)
    else:
        words[~known] = None
    return pd.Series(words[places], name=values.name)


def _column(values: pd.Series, wish: Wish | None) -> Column | str:
    """The column, or why it is left out."""
    name = str(values.name)
    if wish is None or not wish.kind:
        return _by_rules(values)
    if wish.kind == "drop":
        return "left out, as said"
    if wish.kind == "number":
        return Column(name, "number")
    return Column(name, wish.kind, wish.levels or _levels(values))  # type: ignore[arg-type]


def _by_rules(values: pd.Series) -> Column | str:
    name, known = str(values.name), values.dropna()
    distinct = known.unique()
    if not len(known):
        return "left out: no value"
    if len(distinct) == 1 and len(known) == len(values):
        return "left out: the same in every row"
    if isinstance(values.dtype, pd.CategoricalDtype):
        return Column(name, "ordered" if values.cat.ordered else "category", _levels(values))
    if values.dtype.kind == "f":
        return _of_numbers(name, values, np.asarray(distinct))
    return _of_texts(name, values)


def _of_numbers(name: str, values: pd.Series, distinct: np.ndarray) -> Column | str:
    whole = bool((distinct == np.rint(distinct)).all())
    if whole and len(distinct) == len(values) >= _ENOUGH:
        return "left out: a different whole number in every row, as ids are"
    codes = _CODES.fullmatch(name) is not None and len(distinct) <= MOST_LEVELS
    if not whole or not (codes or len(distinct) <= FEW):
        return Column(name, "number")
    kind = "category" if codes or len(distinct) == 2 else "ordered"
    return Column(name, kind, _levels(values))  # type: ignore[arg-type]


def _of_texts(name: str, values: pd.Series) -> Column | str:
    texts = as_text(values).dropna()
    distinct = texts.unique()
    if all(_DATE.fullmatch(text) for text in distinct):
        return "left out: dates; give ages, or days since a date of the patient"
    if len(distinct) > max(_ENOUGH, len(texts) / 2):
        return "left out: a different text in most rows, as ids and free texts are"
    if len(distinct) > MOST_LEVELS:
        return f"left out: {len(distinct)} texts, more than {MOST_LEVELS}; say category to keep it"
    ordered = all(_INTERVAL.fullmatch(text) for text in distinct) and len(distinct) > 2
    return Column(name, "ordered" if ordered else "category", _levels(values))


def _levels(values: pd.Series) -> tuple[str, ...]:
    """All values as texts: intervals and numbers by size, others by letter."""
    if isinstance(values.dtype, pd.CategoricalDtype):
        return tuple(as_text(pd.Series(values.cat.categories)))
    texts = as_text(values).dropna().unique().tolist()
    by_size = all(_INTERVAL.fullmatch(text) for text in texts)
    return tuple(sorted(texts, key=_size if by_size else None))


def _size(text: str) -> tuple[float, int, str]:
    """Where an interval begins: ``<30`` before 30, ``>30`` and ``30+`` after it."""
    found = _INTERVAL.fullmatch(text)
    sign, *numbers = found.groups(default="") if found else ("", "0")
    side = {"<": -1, "≤": -1, ">": 1, "≥": 1}.get(sign[:1], 0)
    return float("".join(numbers)), side, text


def described(column: Column | str) -> str:
    """What a column is taken for, or why it is left out."""
    if isinstance(column, str):
        return column
    if column.kind == "number":
        return "number"
    shown = ", ".join(column.levels[:4]) + (", …" if len(column.levels) > 4 else "")
    return f"{column.kind} of {len(column.levels)} ({shown})"


def _missing(values: np.ndarray) -> str:
    gone = np.isnan(values) if values.dtype.kind == "f" else values < 0
    return f", {gone.mean():.1%} missing" if gone.any() else ""


def check_names(said: Mapping[str, Wish], names: Mapping[str, Iterable[str]]) -> None:
    """InputError for a wish of a column that is not there, or not where it says.

    ``names``: those of the columns beside the keys, by level ("patient", "visit").
    """
    levels = {name: level for level, found in names.items() for name in found}
    for wish in said.values():
        level = levels.get(wish.name)
        if level is None:
            known = reading.listed(list(levels)) or "none"
            raise InputError(
                f"column {wish.name}: no table has it (they have {known}); name one of these"
            )
        if wish.level not in ("", level):
            raise InputError(
                f"column {wish.name}: is in the table of {level}s; move it, or leave its level out"
            )


# Said -----------------------------------------------------------------------------------------

_KEYS = ("name", "kind", "level", "levels")
_CHOICES = {"kind": ("", *get_args(Kinds)), "level": ("", "patient", "visit")}


def wishes(path: Path) -> dict[str, Wish]:
    """A file of wishes: CSV with a row a column, or YAML with an entry a column.

    A CSV has the columns ``name``, ``kind``, and perhaps ``level`` and ``levels`` (with | between
    them); a YAML file holds ``name: kind``, or ``name: {kind: …, level: …, levels: […]}``.

    Raises:
        InputError: The file says something else, or one name twice.
    """
    yaml_file = path.suffix.lower() in (".yaml", ".yml")
    found = [_wish(path, row) for row in (_yaml_rows(path) if yaml_file else _csv_rows(path))]
    twice = cells.repeated([wish.name for wish in found])
    if twice is not None:
        raise InputError(f"{path}: column {twice} stands twice; say once what it is")
    return {wish.name: wish for wish in found}


def _csv_rows(path: Path) -> Iterable[dict[str, Any]]:
    names = reading.header(path)
    if not {"name", "kind"} <= set(names):
        raise InputError(f"{path}: has no columns name and kind (it has {reading.listed(names)})")
    with reading.batches(path) as found:
        for batch in found:
            for row in batch.to_pylist():
                yield row | {"levels": (row.get("levels") or "").split("|")}


def _yaml_rows(path: Path) -> Iterable[dict[str, Any]]:
    try:
        loader = yaml.SafeLoader(reading.regular(path).read_text(encoding="utf-8"))
        tree = loader.get_single_node()
        if not isinstance(tree, yaml.MappingNode):
            raise InputError(f"{path}: names no columns; write lines as “age: number”")
        for name, node in tree.value:  # of a name that stands twice, both
            what = loader.construct_object(node, deep=True)
            yield {"name": str(name.value)} | (what if isinstance(what, dict) else {"kind": what})
    except (yaml.YAMLError, UnicodeDecodeError):
        raise InputError(f"{path}: is not YAML; write lines as “age: number”") from None


def _wish(path: Path, row: Mapping[str, Any]) -> Wish:
    name = cells.trimmed(str(row["name"] or ""))
    strange = next((key for key in row if key not in _KEYS), None)
    if strange or not name:
        what = f"says {strange!r} of {name!r}" if strange else "has a row without a name"
        raise InputError(f"{path}: {what}; say {', '.join(_KEYS)} alone")
    found = {key: cells.trimmed(str(row.get(key) or "")).lower() for key in _CHOICES}
    for key, value in found.items():
        if value not in _CHOICES[key]:
            known = ", ".join(_CHOICES[key][1:])
            raise InputError(f"{path}, column {name}: {key} is {value!r}; give one of {known}")
    levels = row.get("levels") or ()
    if not isinstance(levels, list | tuple):
        raise InputError(f"{path}, column {name}: levels are no list; write [low, high]")
    texts = (cells.trimmed(str(level)) for level in levels)
    return Wish(name, found["kind"], found["level"], tuple(text for text in texts if text))
