"""Exhibits: the tables and figures of a study, each opened beside what stands here in its place."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from reproduction import figures
from reproduction.claims import tally
from reproduction.estimates import Estimate
from reproduction.tables import Table, cell

#: A value by the name of its line.
Values = Mapping[str, float | str | None]


class Exhibit(NamedTuple):
    """A table or figure of a study.

    ``place`` is the page and anchor of its counterpart, such as ``notebooks/06-results#t1``;
    ``shown`` holds reported values beside ours, nothing where no number is quoted; ``meaning`` is
    a computed sentence.
    """

    title: str
    source: str
    place: str
    shown: pd.DataFrame | Figure | None
    meaning: str


def beside(reported: Values, here: Mapping[str, Estimate | float | str | None]) -> pd.DataFrame:
    """Reported values and ours, a line a name, in the order in which they are reported."""
    columns = {"reported": reported.values(), "here": map(here.get, reported)}
    texts = {head: list(map(_text, column)) for head, column in columns.items()}
    return pd.DataFrame(texts, index=list(reported))


def _text(value: Estimate | float | str | None) -> str:
    return str(value) if isinstance(value, Estimate) else cell(value, digits=5)


def apart(reported: Mapping[str, float], here: Mapping[str, Estimate]) -> str:
    """How far our values lie from the reported ones, in one sentence."""
    run = [name for name in reported if name in here and np.isfinite(here[name].value)]
    known = {name: here[name] for name in run}
    missing = len(reported) - len(known)
    lacking = f"; without a run here yet: {missing}" if missing else ""
    if not known:
        return f"None of the {len(reported)} reported values has a run here yet."
    judged = {name: found for name, found in known.items() if found.has_interval}
    inside = sum(found.low <= reported[name] <= found.high for name, found in judged.items())
    intervals = f", and {inside} of {len(judged)} lie inside our 95 % interval" if judged else ""
    return f"{len(reported)} values are reported{lacking}{_ratio(reported, known)}{intervals}."


def _ratio(reported: Mapping[str, float], here: Mapping[str, Estimate]) -> str:
    """Ours over the reported, least, median and most, of values that have a sign in common."""
    pairs = [(each.value, reported[name]) for name, each in here.items() if reported[name]]
    ratios = [ours / theirs for ours, theirs in pairs if ours / theirs > 0]
    if len(ratios) < 2:
        return f"; ours is {ratios[0]:.2g} times the reported one" if ratios else ""
    ends, middle = f"{min(ratios):.2g} to {max(ratios):.2g}", float(np.median(ratios))
    return f"; ours are {ends} times the reported ones, {middle:.2g} in the middle"


def rest(claims: pd.DataFrame, exhibit: str) -> str:
    """The verdicts on the claims that rest on an exhibit, in one sentence; empty where none does.

    ``claims`` as :meth:`reproduction.claims.Ledger.table` gives them; the id of a claim begins
    with that of its exhibit.
    """
    mine = claims[[name.split(".")[0] == exhibit for name in claims.index.astype(str)]]
    if mine.empty:
        return ""
    if len(mine) == 1:
        return f" The claim that rests on it: {mine['verdict'].iloc[0]}."
    return f" Of {len(mine)} claims that rest on it, {tally(mine)}."


# The page -----------------------------------------------------------------------------------------


def page(title: str, exhibits: Sequence[Exhibit]) -> str:
    """The exhibits of a study as HTML: a line each, which opens."""
    heading = f"<h3>{html.escape(title)}</h3>"
    return heading + "\n".join(_folded(exhibit) for exhibit in exhibits)


def _folded(exhibit: Exhibit) -> str:
    file, _, anchor = exhibit.place.partition("#")
    name = file.rpartition("/")[2]
    link = f'<a href="{name}.html#{anchor}">{name.partition("-")[2].replace("-", " ")}</a>'
    source = html.escape(exhibit.source, quote=False)
    meaning = html.escape(exhibit.meaning, quote=False)
    return (
        '<details class="exhibit"><summary>'
        f"<strong>{html.escape(exhibit.title, quote=False)}</strong> ({source}), here: {link}"
        f"</summary>\n<p>{meaning}</p>\n{_drawn(exhibit)}</details>"
    )


def _drawn(exhibit: Exhibit) -> str:
    if isinstance(exhibit.shown, Figure):
        return "<p>The curves stand below, at the end of the page.</p>"
    if isinstance(exhibit.shown, pd.DataFrame):
        return Table(exhibit.shown, f"{exhibit.title}; reported and here", digits=5)._repr_html_()
    return ""


def show_curves(exhibits: Sequence[Exhibit]) -> None:
    """Display the exhibits that are figures, each with its caption."""
    for exhibit in exhibits:
        if isinstance(exhibit.shown, Figure):
            caption = f"{exhibit.title.partition(': ')[2].capitalize()}. {exhibit.meaning}"
            figures.show(exhibit.shown, caption)
