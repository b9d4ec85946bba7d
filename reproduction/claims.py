"""A ledger of claims: what a study claims, a test that judges each, and the table of verdicts.

The claims stand in a YAML file, one entry a claim: ``id``, ``study``, ``source``, ``statement``,
``evidence`` (the page and anchor), ``reported`` (with ``{places}`` of the values reported), and one
of ``test`` (the name of a function that the study registers, called with what is ``given``) or
``rests_on`` (ids of claims above it). ``needs`` lists the rows that have to be run; ``headline``
marks the claims of the first page.
"""

from __future__ import annotations

import html
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias, TypeVar

import pandas as pd
import yaml

from reproduction import tables
from reproduction.estimates import Estimate
from reproduction.quotes import Quotes
from reproduction.tables import Html

Claim: TypeAlias = Mapping[str, Any]
#: Finished runs by the name of their row.
Found: TypeAlias = Mapping[str, Any]
Test = TypeVar("Test", bound=Callable[..., "Finding"])

HOLDS, OPEN = "holds", "cannot be tested"
CONTRADICTED = "contradicted"  # what is claimed lies outside the interval, or arithmetic refutes it
UNSUPPORTED = "not supported"  # the same by runs on other data than the study's
NOT_SHOWN = "not shown"  # the interval leaves both open
#: Of as many times the runs that were made nobody would speak.
TOO_MANY = 1000


class Finding(NamedTuple):
    """A verdict (:data:`HOLDS` and the like), the reason, and our values in words."""

    verdict: str
    why: str
    ours: str = "–"


def verdict(
    holds: bool,
    why: str,
    ours: str = "–",
    intervals: Iterable[Estimate] = (),
    *,
    against: bool = True,
    limit: float = 0.0,
) -> Finding:
    """A finding, unless an interval that it rests on is missing.

    Where a claim does not hold it is contradicted if the intervals are ``against`` it; else it is
    not shown, with what it would take to tell them from ``limit``.
    """
    intervals = list(intervals)
    if not all(interval.has_interval for interval in intervals):
        return Finding(OPEN, "one random seed has no interval; run more", ours)
    if holds or against:
        return Finding(HOLDS if holds else CONTRADICTED, why, ours)
    return Finding(NOT_SHOWN, "; ".join(filter(None, (why, _takes(intervals, limit)))), ours)


def _takes(intervals: Iterable[Estimate], limit: float) -> str:
    """How many times as many runs, or patients, would settle intervals around a limit.

    An interval shrinks with the root of their number, so one that reaches k times as far as its
    value lies from the limit needs k² times as many.
    """
    unclear = [one for one in intervals if not one.above(limit) and not one.below(limit)]
    reach = [(one.high - one.low) / max(2 * abs(one.value - limit), 1e-12) for one in unclear]
    if not reach:
        return ""
    times = math.ceil(max(reach) ** 2)
    what = "random seeds" if unclear[0].n > 1 else "patients"
    if times > TOO_MANY:
        return f"the difference found is so small that no number of {what} in reach would show it"
    return f"were the difference as found, about {times:,} times as many {what} would show it"


class Untestable(Exception):
    """The runs at hand lack what a test needs; the message says what."""


class Ledger:
    """The claims of a study, with the tests that judge them.

    Args:
        path: the YAML file of the claims
        quotes: the values that the study reported
        unfit: why the runs at hand must not decide a claim, empty where they may
        home: the data set of the study; by runs on others no claim can fail. Empty: any decides
    """

    def __init__(
        self,
        path: Path,
        quotes: Quotes,
        unfit: Callable[[Claim, Found], str] = lambda claim, found: "",
        home: str = "",
    ):
        self.path, self.quotes, self.unfit, self.home = path, quotes, unfit, home
        self.tests: dict[str, Callable[..., Finding]] = {"beyond_reach": _beyond_reach}

    @cached_property
    def book(self) -> dict[str, Any]:
        """All of the file: ``claims``, and ``evidence``, the page of every exhibit."""
        return yaml.safe_load(self.path.read_text(encoding="utf-8"))

    @property
    def claims(self) -> list[dict[str, Any]]:
        """The claims as they stand in the file."""
        return self.book["claims"]

    def shown(self, found: Found, *parts: str) -> pd.DataFrame:
        """The claims of a page, a row a statement: verdict, reported, here and why.

        One of ``parts`` is in their id (as ``"DK-D"``) or in the address of their evidence.
        """
        table = self.table(found)
        places = table.index + table["evidence"]
        table = table[[any(part in place for part in parts) for place in places]]
        table = table.set_index("statement").rename_axis(None).rename(columns={"ours": "here"})
        return table[["verdict", "reported", "here", "why"]]

    def headlines(self, found: Found) -> pd.DataFrame:
        """The claims marked ``headline``, a row a statement: reported, here, verdict."""
        ids = [claim["id"] for claim in self.claims if claim.get("headline")]
        table = self.table(found).loc[ids].set_index("statement").rename_axis(None)
        return table[["reported", "ours", "verdict"]].rename(columns={"ours": "here"})

    def test(self, function: Test) -> Test:
        """Register a test by its name. It is called with the runs and with what a claim gives."""
        self.tests[function.__name__] = function
        return function

    def table(self, found: Found) -> pd.DataFrame:
        """Every claim with its verdict by the finished runs ``found``.

        Returns a DataFrame indexed by id with the columns study, source, statement, evidence,
        reported, verdict, why and ours. The verdict is "holds", "contradicted", "not supported",
        "not shown", "cannot be tested", or "not run yet: …" with the rows that are missing.
        """
        rows: dict[str, dict[str, str]] = {}
        for claim in self.claims:
            verdicts = {name: row["verdict"] for name, row in rows.items()}
            finding = self.judge(claim, found, verdicts)
            facts = {name: claim[name] for name in ("study", "source", "statement", "evidence")}
            reported = self.quotes.fill(claim.get("reported", ""))
            rows[claim["id"]] = {**facts, "reported": reported, **finding._asdict()}
        return pd.DataFrame.from_dict(rows, orient="index")

    def judge(self, claim: Claim, found: Found, verdicts: Mapping[str, str]) -> Finding:
        """The finding of one claim; ``verdicts`` are those of the claims before it."""
        if reason := self.unfit(claim, found):
            return Finding(OPEN, reason)
        if missing := [name for name in claim.get("needs", []) if not found.get(name)]:
            return Finding(f"not run yet: {', '.join(missing)}", "")
        if others := claim.get("rests_on"):
            return _together({name: verdicts[name] for name in others})
        try:
            finding = self.tests[claim["test"]](found, **claim.get("given", {}))
        except Untestable as reason:
            return Finding(OPEN, str(reason))
        if finding.verdict == CONTRADICTED and self._elsewhere(claim, found):
            return finding._replace(verdict=UNSUPPORTED)
        return finding

    def _elsewhere(self, claim: Claim, found: Found) -> bool:
        """Whether a claim is judged by runs on other data than the study's."""
        if not self.home or claim.get("regime") == "any":
            return False
        runs = [found[name] for name in claim.get("needs", [])]
        each = [run for one in runs for run in (one if isinstance(one, Sequence) else [one])]
        return any(run.dataset != self.home for run in each)


def _beyond_reach(found: Found, *, why: str) -> Finding:
    """The test of every study for a claim that nothing at hand can test."""
    raise Untestable(why)


def _together(verdicts: Mapping[str, str]) -> Finding:
    """A conclusion from other claims: no better than the worst of them."""
    for worst in (CONTRADICTED, UNSUPPORTED, NOT_SHOWN):
        if found := [name for name, verdict in verdicts.items() if verdict == worst]:
            return Finding(worst, f"so are claims that it rests on: {', '.join(found)}")
    if others := [name for name, verdict in verdicts.items() if verdict != HOLDS]:
        return Finding(OPEN, f"it rests on claims without a verdict: {', '.join(others)}")
    return Finding(HOLDS, "all claims that it rests on hold")


# The page -----------------------------------------------------------------------------------------

#: A mark for each verdict, and the class that gives it a colour (``book/_static/style.css``).
MARKS = {
    HOLDS: ("✓", "holds"),
    CONTRADICTED: ("✗", "fails"),
    UNSUPPORTED: ("✗", "fails"),
    NOT_SHOWN: ("–", "open"),
    OPEN: ("?", "open"),
}
#: Verdicts as what is said of one claim, and of several.
SAID = {
    HOLDS: ("holds", "hold"),
    CONTRADICTED: ("is contradicted", "are contradicted"),
    UNSUPPORTED: ("is not supported", "are not supported"),
    NOT_SHOWN: ("is not shown", "are not shown"),
    "not run yet": ("is not run yet", "are not run yet"),
}
HEADS = ("claim", "verdict", "reported", "here", "evidence")


def folded(title: str, claims: pd.DataFrame) -> Html:
    """A ledger that opens when its line, the title and the tally, is clicked."""
    line = f"<strong>{title}</strong>: of {len(claims)} claims {tally(claims)}"
    return tables.folded(line, page(claims))


def tally(claims: pd.DataFrame) -> str:
    """How many claims have each verdict, in words."""
    counts = claims["verdict"].str.partition(":")[0].value_counts()
    return ", ".join(f"{number} {said(str(name), number)}" for name, number in counts.items())


def said(verdict: str, number: int = 1) -> str:
    """A verdict as what is said of so many claims: "is contradicted", "are contradicted"."""
    one, several = SAID.get(verdict, (verdict, verdict))
    return several if number > 1 else one


def page(claims: pd.DataFrame) -> str:
    """A ledger as an HTML table whose rows link to their evidence."""
    heads = "".join(f'<th class="words">{head}</th>' for head in HEADS)
    body = "\n".join(_row(str(name), row) for name, row in claims.iterrows())
    caption = "What the study claims, a row a claim; verdicts are computed when the book is made"
    return (
        '<div class="table-scroll"><table class="scores claims">'
        f"<caption>{caption}</caption>\n<thead><tr>{heads}</tr></thead>\n"
        f"<tbody>\n{body}\n</tbody></table></div>"
    )


def _row(name: str, row: pd.Series) -> str:
    file, _, anchor = row["evidence"].partition("#")
    mark, kind = MARKS.get(row["verdict"].partition(":")[0], ("…", "open"))
    text = {key: html.escape(value, quote=False) for key, value in row.items()}
    reason = f": {text['why']}" if text["why"] else ""
    cells = (
        f"<strong>{name}</strong> {text['statement']} <em>({text['source']})</em>",
        f'<strong class="{kind}">{mark} {text["verdict"]}</strong>{reason}',
        text["reported"],
        text["ours"],
        f'<a href="{file}.html#{anchor}">{file.rpartition("/")[2]}</a>',
    )
    place = f"claim-{name.lower().replace('.', '-')}"
    return f'<tr id="{place}">' + "".join(map(_words, cells)) + "</tr>"


def _words(text: str) -> str:
    return f'<td class="words">{text}</td>'
