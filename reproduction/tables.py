"""Pieces of a page: numbers as text, captioned tables, HTML and Markdown, the line of origin."""

from __future__ import annotations

import html
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from scoehr.files import CHECKOUT, read_json

#: Mark of table cells that hold words.
CLASS = ' class="words"'
#: The letter of a number such as 4.7e-05.
EXPONENT = re.compile(r"(?<=\d)e(?=[+-]\d)")
#: Counts of patients below this are shown as a range, so that no table points at a few people.
SMALLEST_CELL = 11
#: Shown where the numbers are of one of the smallest profiles.
QUICK = "It shows that everything runs; its models are too small to be judged by."
SMALL_PROFILES = ("tiny", "quick")
#: The page on the scale of all runs, beside the other notebooks.
SCALE = "26-scale.html"


class _Piece:
    """A text that a notebook shows unless it is empty."""

    mime: ClassVar[str]

    def __init__(self, text: str):
        self.text = text

    def __repr__(self) -> str:
        return self.text

    def _ipython_display_(self) -> None:
        from IPython.display import display  # only notebooks need IPython

        if self.text:
            display({self.mime: self.text, "text/plain": self.text}, raw=True)


class Html(_Piece):
    """A piece of HTML."""

    mime = "text/html"


class Words(_Piece):
    """A piece of Markdown; a number that runs made says which ones, where it is pointed at."""

    mime = "text/markdown"

    def __init__(self, text: str):
        super().__init__(traced(text))


class Made(float):
    """A number that runs made, and what is reckoned from it alone; as text it says which runs.

    ``source`` holds their ids, parted by ", "; an id names data, profile, row and random seed. Of a
    benchmark it is the command. It is empty where neither is known.
    """

    source: str

    def __new__(cls, value: float = 0.0, source: str = "") -> Made:
        made = super().__new__(cls, value)
        made.source = source
        return made

    def __format__(self, form: str) -> str:
        text = format(float(self), form)
        if self.source:
            trace(text, self.source, f"{text}, no interval")
        return text


def _kept(name: str) -> Callable[..., Any]:
    def operation(*numbers: Any) -> Any:
        found = getattr(float, name)(*numbers)
        return Made(found, sources(numbers)) if isinstance(found, float) else found

    return operation


for _name in ("add", "radd", "sub", "rsub", "mul", "rmul", "truediv", "rtruediv", "neg", "abs"):
    setattr(Made, f"__{_name}__", _kept(f"__{_name}__"))


def sources(numbers: Iterable[Any]) -> str:
    """The ids of all runs that made some numbers, each once."""
    found = [number.source for number in numbers if isinstance(number, Made) and number.source]
    return ", ".join(dict.fromkeys(", ".join(found).split(", "))) if found else ""


def marked(entry: Any, source: str) -> Any:
    """What was read from a run's JSON, each of its numbers with a point as :class:`Made`."""
    if isinstance(entry, Mapping):
        return {key: marked(value, source) for key, value in entry.items()}
    if isinstance(entry, list):
        return [marked(value, source) for value in entry]
    return Made(entry, source) if isinstance(entry, float) else entry


def benchmark(name: str) -> Any:
    """What ``python -m benchmarks.NAME`` measured, None if it has not; numbers know the command."""
    path = CHECKOUT / "benchmarks" / f"{name}.json"
    return marked(read_json(path), f"python -m benchmarks.{name}") if path.exists() else None


#: What made the numbers that the running cell wrote as text, by that text.
_TRACES: dict[str, str] = {}
#: The cell that wrote them.
_CELL: list[int] = []


def trace(number: str, source: str, value: str) -> None:
    """Remember for the running cell what made a number; of two with one text both.

    ``source``: runs, or the command of a benchmark.

    ``value`` is the number with its interval, or says that there is none.
    """
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    if [cell := getattr(shell, "execution_count", 0)] != _CELL:
        _TRACES.clear()
        _CELL[:] = [cell]
    run = "" if source.startswith("python ") else "runs " if ", " in source else "run "
    about = f"{run}{source}; {value}"
    known = _TRACES.setdefault(number, about)
    if about not in known.split("; or "):
        _TRACES[number] = f"{known}; or {about}"


def traced(words: str) -> str:
    """A sentence in which each number of :func:`trace` shows its runs where it is pointed at."""
    longest = sorted((text for text in _TRACES if text in words), key=len, reverse=True)
    if not longest:
        return words
    numbers = "|".join(map(re.escape, longest))
    skipped = r"`[^`]*`|\$[^$]*\$|<[^>]*>"
    pattern = rf"{skipped}|(?<![\w.,\-\[])(?P<number>{numbers})(?![\w%]|[.,]\d)"
    return re.sub(pattern, _pointed, words)


def _pointed(found: re.Match[str]) -> str:
    number = found["number"]
    if number is None or not (set(".[·%") & set(number) or len(number) > 2):  # code; a count as 2
        return found[0]
    title = html.escape(_TRACES[number], quote=True)
    return f'<abbr title="{title}">{number}</abbr>'


def origin(dataset: str, profile: str, seed: int, *sentences: str) -> Html:
    """The line on the data and the scale that the numbers of a page come from.

    It leads to the page on what was run beside the studies.
    """
    setting = (
        f"Data set <code>{html.escape(dataset)}</code>, "
        f"profile <code>{html.escape(profile)}</code>, random seed {seed}: "
        f'<a href="{SCALE}">what was run, beside the studies</a>.'
    )
    warning = QUICK if profile in SMALL_PROFILES else ""
    text = " ".join(part for part in (setting, warning, *sentences) if part)
    return Html(f'<p class="origin">{text}</p>')


def folded(line: str, body: Any) -> Html:
    """What opens when its line is clicked: HTML, or a :class:`Table`."""
    inside = body if isinstance(body, str) else body._repr_html_()
    return Html(f"<details><summary>{line}</summary>\n{inside}\n</details>")


class Table:
    """A DataFrame as a captioned HTML table; words left, numbers right.

    Numbers have ``digits`` significant digits, or the format of their column in ``formats``, such
    as ``"{:.1%}"``. An index that is nothing but row numbers is left out.
    """

    def __init__(
        self,
        frame: pd.DataFrame,
        caption: str,
        formats: Mapping[str, str] | None = None,
        digits: int = 3,
    ):
        self.frame, self.caption, self.digits = frame, caption, digits
        self.formats = dict(formats or {})

    def text(self) -> pd.DataFrame:
        """The table with every cell as text; a missing value is a dash."""
        columns = {
            name: [cell(value, self.formats.get(str(name)), self.digits) for value in column]
            for name, column in self.frame.items()
        }
        return pd.DataFrame(columns, index=self.frame.index)

    def _repr_html_(self) -> str:
        wordy = [bool(column.map(_is_words).any()) for _, column in self.frame.items()]
        head = "".join(map(_head, self.frame.columns, wordy))
        rows = [
            "".join(map(_cell, row, wordy))
            for row in self.text().itertuples(index=False, name=None)
        ]
        if not isinstance(self.frame.index, pd.RangeIndex):
            head = "<th></th>" + head
            rows = [
                _head(label, True) + row for label, row in zip(self.frame.index, rows, strict=True)
            ]
        body = "\n".join(f"<tr>{row}</tr>" for row in rows)
        caption = traced(html.escape(self.caption, quote=False))
        return (
            f'<div class="table-scroll"><table class="scores"><caption>{caption}</caption>\n'
            f"<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody></table></div>"
        )

    def __repr__(self) -> str:
        return f"{self.caption}\n{self.text().to_string()}"


def _head(value: Any, words: bool) -> str:
    return f"<th{CLASS if words else ''}>{html.escape(str(value), quote=False)}</th>"


def _cell(value: str, words: bool) -> str:
    text = html.escape(value if words else _unbroken(value), quote=False)
    return f"<td{CLASS if words else ''}>{text}</td>"


def _unbroken(number: str) -> str:
    """A number that breaks only before its interval, and runs only between each other."""
    whole = number.replace(" ", "\N{NO-BREAK SPACE}")
    return whole.replace("\N{NO-BREAK SPACE}[", " [").replace("·\N{NO-BREAK SPACE}", "· ")


def _is_words(value: Any) -> bool:
    return isinstance(value, str) and any(letter.isalpha() for letter in EXPONENT.sub("", value))


def cell(value: Any, form: str | None = None, digits: int = 3) -> str:
    """One table cell as text; missing values are a dash, whole numbers have thousands separated."""
    if isinstance(value, str):
        return value
    if value is None or not np.isfinite(value):
        return "–"
    if form:
        return form.format(value)
    if isinstance(value, int | np.integer) or (abs(value) >= 1000 and float(value).is_integer()):
        return f"{value:,.0f}"
    return f"{value:,.0f}" if abs(value) >= 10**digits else f"{value:.{digits}g}"


def patients(count: int | None) -> str:
    """A number of patients as text; small ones, None where published, as a range."""
    few = count is None or 0 < count < SMALLEST_CELL
    return f"1–{SMALLEST_CELL - 1}" if few else f"{count:,}"


def account(entries: Mapping[str, Any], indent: str = "") -> pd.DataFrame:
    """A loader's account as a table, nested entries under their heading; few people as a range."""
    rows: list[tuple[str, Any]] = []
    for name, value in entries.items():
        title = indent + str(name).replace("_", " ")
        if isinstance(value, Mapping):
            rows.append((title, ""))
            rows += account(value, indent + "\u2003")["value"].items()
        else:
            people = isinstance(value, int) and ("patients" in title or "admissions" in title)
            rows.append((title, patients(value) if people else cell(value)))
    return pd.DataFrame({"value": [value for _, value in rows]}, index=[title for title, _ in rows])
