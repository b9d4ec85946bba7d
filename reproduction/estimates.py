"""A value with its 95 % interval: over random seeds, over patients, of a share, of a difference.

An interval lies on the scale of its quantity, so that it never leaves the range: logarithmic with
one limit (ratios, counts, seconds), logistic between two (shares). Two or three runs are printed
themselves, since their interval says more of Student's t than of them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats
from scipy.special import expit, logit

from reproduction.tables import Made, cell, sources, trace

#: So many values are printed one by one, not as a mean with its interval.
FEW = 3
#: The least and the most that a quantity can be; None where there is no limit.
Limits = tuple[float | None, float | None]
NO_LIMITS: Limits = (None, None)


class Estimate(NamedTuple):
    """A value, its 95 % interval (NaN where there is none), and how many values it is the mean of.

    ``runs`` are these values where they are few (:data:`FEW`), and printed in its place;
    ``diverged`` counts the runs of the same row that have no value since their training diverged.
    The value knows its runs (:class:`reproduction.tables.Made`), and shows them in a sentence.
    """

    value: float = math.nan
    low: float = math.nan
    high: float = math.nan
    n: int = 1
    diverged: int = 0
    runs: tuple[float, ...] = ()

    @classmethod
    def read(cls, entry: Mapping[str, Any] | None) -> Estimate:
        """From JSON, ``{"value", "interval"}`` or ``{"value", "low", "high"}``, None being NaN."""
        if not entry:
            return cls(n=0)
        low, high = entry.get("interval") or (entry.get("low"), entry.get("high"))
        value, low, high = (
            math.nan if part is None else part for part in (entry["value"], low, high)
        )
        return cls(value, low, high)

    @property
    def has_interval(self) -> bool:
        """Whether there is an interval."""
        return not math.isnan(self.low)

    def above(self, limit: float = 0.0) -> bool:
        """Whether the whole interval lies above a limit; never without an interval."""
        return self.low > limit

    def below(self, limit: float = 0.0) -> bool:
        """Whether the whole interval lies below a limit; never without an interval."""
        return self.high < limit

    def times(self, factor: float) -> Estimate:
        """The estimate in another unit, as in percent."""
        return self._replace(
            value=factor * self.value,
            low=factor * self.low,
            high=factor * self.high,
            runs=tuple(factor * run for run in self.runs),
        )

    def kept(self, whole: float) -> Estimate:
        """What is left of a whole, in percent, of which this (below 0) is missing."""
        part = self.times(100 / whole)
        return part._replace(value=100 + part.value, low=100 + part.low, high=100 + part.high)

    def __format__(self, form: str) -> str:
        """Value and interval, or the few runs, to three digits or by a form such as ``.3f``."""

        def text(number: float) -> str:
            number = float(number)  # alone it is not traced
            return format(number, form) if form and math.isfinite(number) else cell(number)

        if not self.n:
            return "diverged" if self.diverged else "–"
        around = f" [{text(self.low)}, {text(self.high)}]" if self.has_interval else ""
        shown = " · ".join(map(text, self.runs)) or text(self.value) + around
        gone = f" ({self.diverged} of {self.n + self.diverged} diverged)" if self.diverged else ""
        if source := sources([self.value]):
            trace(shown, source, f"{text(self.value)}{around or ', no interval'}")
        return shown + gone

    def __str__(self) -> str:
        return format(self, "")


def caption(numbers: Iterable[int]) -> str:
    """What the cells of a table hold, by the numbers of random seeds of its rows."""
    least, most = min(found := list(numbers) or [0]), max(found)
    form = "Mean [95 %]" if most > FEW else "Each run" if most > 1 else "One run [95 %]"
    number = f"n = {least}" if least == most else f"{least} to {most} random seeds"
    return f"{form}, {number}."


class Pool(NamedTuple):
    """Variance over random seeds within the rows of a table, and its degrees of freedom."""

    variance: float
    freedom: float


def pooled(rows: Iterable[Sequence[float]]) -> Pool | None:
    """The variance pooled over the rows of a table if one of them has two random seeds, else None.

    Two seeds alone say next to nothing of their row's own variance. Rows of one seed say nothing at
    all.
    """
    several = [np.asarray(row, dtype=float) for row in rows if len(row) > 1]
    if min(map(len, several), default=3) > 2:
        return None
    freedom = sum(len(row) - 1 for row in several)
    return Pool(sum(float(((row - row.mean()) ** 2).sum()) for row in several) / freedom, freedom)


def student(
    numbers: Sequence[float], limits: Limits = NO_LIMITS, *, another: bool = False
) -> Estimate:
    """The mean with Student's interval (1908), or with that in which another value would lie.

    Where the quantity has limits, the interval is that of its logarithm or logit by the delta
    method.
    """
    values = np.asarray(numbers, dtype=float)
    number = len(values)
    if number < 2:
        return Estimate(numbers[0] if number else math.nan, n=number)
    variance = float(values.var(ddof=1)) * (1 / number + another)
    found = _around(float(values.mean()), variance, number - 1, number)
    low, high = _inside(found.value, found.high - found.value, *limits)
    runs = tuple(values.tolist()) if number <= FEW else ()
    value = Made(found.value, sources(numbers))
    return found._replace(value=value, low=low, high=high, runs=runs)


def _inside(mean: float, half: float, least: float | None, most: float | None) -> list[float]:
    """An interval ``mean ± half`` on the scale that a range leaves; symmetrical without limits."""
    lowest = -math.inf if least is None else least
    highest = math.inf if most is None else most
    if not lowest < mean < highest:  # at a limit no other scale is left
        return np.clip([mean - half, mean + half], min(lowest, mean), max(highest, mean)).tolist()
    if least is None and most is None:
        return [mean - half, mean + half]
    if least is None or most is None:
        room = mean - (lowest if most is None else highest)
        return sorted(mean - room + room * math.exp(side * half / room) for side in (-1, 1))
    width = highest - lowest
    share = (mean - lowest) / width
    step = half / width / (share * (1 - share))
    return [lowest + width * float(expit(logit(share) + side * step)) for side in (-1, 1)]


def welch(ones: Sequence[float], others: Sequence[float], pool: Pool | None = None) -> Estimate:
    """The mean of the ones less that of the others with Welch's interval (1947, Biometrika 34).

    By the variance of a pool where there is one. No interval where a side has fewer than two
    values.
    """
    found = _welch(np.asarray(ones, dtype=float), np.asarray(others, dtype=float), pool)
    return found._replace(value=Made(found.value, sources([*ones, *others])))


def _welch(one: np.ndarray, other: np.ndarray, pool: Pool | None) -> Estimate:
    between, number = float(one.mean() - other.mean()), min(len(one), len(other))
    if number < 2:
        return Estimate(between, n=number)
    if pool is not None:
        variance = pool.variance * (1 / len(one) + 1 / len(other))
        return _around(between, variance, pool.freedom, number)
    parts = np.array([one.var(ddof=1) / len(one), other.var(ddof=1) / len(other)])
    if not parts.sum():
        return Estimate(between, between, between, number)
    freedom = parts.sum() ** 2 / (parts**2 / [len(one) - 1, len(other) - 1]).sum()
    return _around(between, float(parts.sum()), float(freedom), number)


def _around(mean: float, variance: float, freedom: float, n: int) -> Estimate:
    half = float(stats.t.ppf(0.975, freedom)) * math.sqrt(variance)
    return Estimate(mean, mean - half, mean + half, n)


def wilson(part: int, whole: int) -> Estimate:
    """The share ``part / whole`` with its score interval (Wilson 1927, JASA 22)."""
    found = stats.binomtest(int(part), int(whole))
    low, high = found.proportion_ci(method="wilson")
    return Estimate(float(found.statistic), float(low), float(high), int(whole))


def newcombe(one: Estimate, other: Estimate) -> Estimate:
    """The difference of two shares with its hybrid score interval.

    Newcombe (1998), Statistics in Medicine 17, method 10; both shares as :func:`wilson` gives them.
    """
    between = one.value - other.value
    low = between - math.hypot(one.value - one.low, other.high - other.value)
    high = between + math.hypot(one.high - one.value, other.value - other.low)
    return Estimate(between, low, high, min(one.n, other.n))


def normal(values: ArrayLike) -> Estimate:
    """The first value, and 1.96 standard deviations of the others, its bootstrap draws, around it.

    For figures that lie lower (or higher) in resampled data than in all, since resampling adds
    noise to them: percentiles of the draws would leave out the value.
    """
    value, *draws = np.asarray(values, dtype=float)
    known = np.array(draws)[np.isfinite(draws)]
    if known.size < 2:
        return Estimate(float(value))
    half = 1.96 * float(known.std())
    return Estimate(float(value), float(value) - half, float(value) + half)


def at_every_seed(changes: Mapping[str, Sequence[Estimate]], what: str) -> str:
    """Which changes of ``what``, by title and of a random seed each, have one sign beyond their
    intervals at every seed, in sentences that follow the numbers; those of fewer seeds are named.
    """
    number = max(map(len, changes.values()))
    fewer = [title for title, each in changes.items() if len(each) < number]
    told = {
        "rises": lambda change: change.above(),
        "falls": lambda change: change.below(),
        "is the very same": lambda change: change.low == change.high == 0,
    }
    rest, parts = [title for title in changes if title not in fewer], []
    for verb, of in told.items():
        some = [title for title in rest if all(map(of, changes[title]))]
        rest = [title for title in rest if title not in some]
        parts += [f"{verb} with {listed(some)}"] if some else []
    seeds = f"each of {number} random seeds" if number > 1 else "the one random seed here"
    words = f"Under {seeds} the {what} {'; it '.join(parts)}. " if parts else ""
    if rest:
        words += (
            f"No change of one sign can be shown with {listed(rest)}; intervals are over "
            "patients, not over trainings. "
        )
    words += f"Under fewer random seeds was run {listed(fewer)}." if fewer else ""
    return words.strip()


def listed(titles: Iterable[str]) -> str:
    """Titles in a sentence."""
    return ", ".join(f"*{title}*" for title in titles)


def bootstrap(value: float, draws: ArrayLike) -> Estimate:
    """A value with the 2.5th and 97.5th percentile of its bootstrap draws that are defined."""
    known = np.asarray(draws, dtype=float)
    known = known[np.isfinite(known)]
    if not known.size:
        return Estimate(float(value))
    low, high = np.quantile(known, [0.025, 0.975])
    return Estimate(float(value), float(low), float(high))
