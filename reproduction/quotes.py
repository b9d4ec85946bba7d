"""What a study reported: values with their places, from a JSON file that is read once."""

from __future__ import annotations

import math
import re
from functools import cached_property
from pathlib import Path
from typing import Any

from reproduction.tables import cell
from scoehr.files import read_json


class Quotes:
    """The values that a study reported, as they stand in a JSON file."""

    def __init__(self, path: Path):
        self.path = path

    @cached_property
    def values(self) -> Any:
        """All of the file; not to be altered."""
        return read_json(self.path)

    def value(self, place: str) -> Any:
        """What stands at a place such as ``"report/reported-64/pcd"``: KeyError if nothing does.

        A list is searched for the row that has the word; ``#3`` is its row 3, counted from 0. Of
        several places, ``"a * b"``, it is the product, to three digits.
        """
        try:
            first, *others = (find(self.values, part) for part in place.split(" * "))
            return float(f"{math.prod([first, *others]):.3g}") if others else first
        except (KeyError, IndexError, TypeError, ValueError):
            raise KeyError(f"{self.path.name} has no {place}") from None

    def fill(self, words: str) -> str:
        """A text with every ``{place}`` replaced by the value there; a dash in place of no text."""
        return re.sub(r"\{(.+?)\}", lambda found: text(self.value(found[1])), words) or "–"


def find(within: Any, place: str) -> Any:
    """What stands at a place of nested dictionaries and lists, see :meth:`Quotes.value`."""
    for part in place.split("/"):
        if isinstance(within, list):
            words = [list(map(str, row.values())) for row in within]
            row = int(part[1:]) if part[0] == "#" else [part in each for each in words].index(True)
            within = within[row]
        elif part in within or part not in map(str, within.values()):  # else a word of the row
            within = within[part]
    return within


def text(value: Any) -> str:
    """A reported value, or the several sizes of a table, in words."""
    if isinstance(value, list):
        return " × ".join(f"{part:,}" for part in value)
    return cell(value, digits=6)
