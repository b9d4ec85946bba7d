"""Scores of rows of the plan over their random seeds: a mean with its interval, and what each run
keeps.

Runs of one row differ in everything that is drawn in training and sampling: initial weights,
batches, noise, samples. They are compared with the same held-out patients. One run alone has the
bootstrap interval over the patients compared, which does not cover training. A run that diverged
has no scores: it is counted and named.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import fmean
from typing import Any, TypeAlias

import numpy as np
import pandas as pd

from reproduction import estimates
from reproduction.estimates import NO_LIMITS, Estimate, Limits
from reproduction.synthesis.experiments import Run
from reproduction.tables import Made, cell
from scoehr.metrics import METRICS
from scoehr.metrics.registry import Metric
from scoehr.metrics.whole import WHOLE

#: Rows of the plan with the runs of each over its random seeds.
Rows: TypeAlias = Mapping[str, Sequence[Run]]
#: Reads one quantity of a run; None where the run has none.
Read: TypeAlias = Callable[[Run], float | None]
#: The reference points in tables.
POINTS = {
    "real": "fresh real patients",
    "independent": "independent columns",
    "zero": "empty table",
    "copy": "training patients copied",
    "resampled": "training patients resampled",
    "shuffled": "shuffled visits",
}
#: The scores of patients as rows of codes and as wholes.
KNOWN: Mapping[str, Metric] = {**METRICS, **WHOLE}
#: Those of tables and figures.
FLOORS = ("real", "independent")
#: Limits of counts, ratios and seconds.
COUNT: Limits = (0.0, None)


# One quantity -------------------------------------------------------------------------------------


def value(run: Run, key: str) -> float | None:
    """One quantity of a run, None where it has none.

    ``key`` is that of a score (``"fidelity.pcd"``), of its gap (``"gap.fidelity.pcd"``), of a cost
    (``"costs.sampling_seconds"``), or of the last validation loss of a stage (``"loss.score"``).
    """
    family, _, name = key.partition(".")
    if family == "loss":
        losses = run.history.loc[run.history["stage"] == name, "validation_loss"]
        return float(losses.iloc[-1]) if len(losses) else None
    return (run.costs if family == "costs" else run.metrics.get(family, {})).get(name)


def title(key: str) -> str:
    """A quantity by its name."""
    family, _, name = key.partition(".")
    if key in KNOWN:
        return KNOWN[key].title
    return f"validation loss of the {name}" if family == "loss" else name.replace("_", " ")


def badness(key: str, numbers: Sequence[float]) -> list[float]:
    """Values turned so that lower is better; a score with a target by its distance from it."""
    score = KNOWN.get(key)
    if score is None or score.better == "lower":
        return list(numbers)
    if score.better == "higher":
        return [-number for number in numbers]
    return [abs(number - (score.ideal or 0.0)) for number in numbers]


def limits(key: str) -> Limits:
    """The least and the most that a quantity can be; None where there is no limit."""
    if key in KNOWN:
        return KNOWN[key].low, KNOWN[key].high
    return (0.0 if key.startswith("costs.") else None), None


def reference(run: Run, point: str, key: str) -> float | None:
    """A score of a reference point on the patients of a run; None where there is none."""
    family, name = key.split(".")
    return run.metrics.get("reference", {}).get(point, {}).get(family, {}).get(name)


# Over random seeds --------------------------------------------------------------------------------


def estimate(
    runs: Sequence[Run],
    read: Read,
    alone: Sequence[float] | None = None,
    *,
    limits: Limits = NO_LIMITS,
) -> Estimate:
    """The mean over random seeds of what ``read`` finds in the runs of a row.

    ``alone`` is the interval of one run alone; ``limits`` are those of the quantity.
    """
    values = numbers(runs, read)
    diverged = sum(run.verdict == "diverged" for run in runs)
    found = estimates.student(values, limits)
    found = found._replace(value=made(found.value, runs), diverged=diverged)
    if len(values) == 1 and alone:
        found = found._replace(low=alone[0], high=alone[1])
    return found


def made(number: float, runs: Sequence[Run]) -> Made:
    """A number reckoned from some runs, which knows them."""
    return Made(number, ", ".join(run.id for run in runs))


def over_seeds(runs: Sequence[Run], key: str) -> Estimate:
    """A quantity of a row by its key (see :func:`value`)."""
    alone = runs[0].metrics.get("interval", {}).get(key) if len(runs) == 1 else None
    return estimate(runs, lambda run: value(run, key), alone, limits=limits(key))


def relative(runs: Sequence[Run], to: Sequence[Run], read: Read) -> Estimate:
    """What ``read`` finds in the runs of a row over its mean in those of another."""
    below = numbers(to, read)
    scale = 1 / (sum(below) / len(below)) if below else math.nan
    return estimate(runs, read, limits=COUNT).times(scale)


def numbers(runs: Sequence[Run], read: Read) -> list[float]:
    """The finite values that ``read`` finds in the runs of a row."""
    found = (read(run) for run in runs)
    return [number for number in found if number is not None and math.isfinite(number)]


def values(runs: Sequence[Run], key: str) -> list[float]:
    """The finite values of a quantity in the runs of a row."""
    return numbers(runs, lambda run: value(run, key))


def point(rows: Rows, name: str, key: str) -> float | None:
    """A score of a reference point, by the first run that has the point."""
    every = (run for runs in rows.values() for run in runs)
    has = (run for run in every if name in run.metrics.get("reference", {}))
    return next((reference(run, name, key) for run in has), None)


# Rows ---------------------------------------------------------------------------------------------


def departs(runs: Sequence[Run]) -> bool:
    """Whether a run of a row is not in the regime of its study."""
    return any(run.departures for run in runs)


def label(name: str, runs: Sequence[Run]) -> str:
    """The name of a row, with † where a run of it is not in the regime of its study."""
    return f"{name} †" if departs(runs) else name


def labelled(rows: Rows) -> dict[str, Sequence[Run]]:
    """The rows by :func:`label`."""
    return {label(name, runs): runs for name, runs in rows.items()}


def in_regime(rows: Rows) -> dict[str, Sequence[Run]]:
    """The rows all of whose runs are in the regime of their study."""
    return {name: runs for name, runs in rows.items() if not departs(runs)}


def placed(rows: Rows, read: Read) -> dict[str, list[float]]:
    """What ``read`` finds in the rows in the regime that have it, smallest mean first."""
    found = {name: numbers(runs, read) for name, runs in in_regime(rows).items()}
    known = [(name, values) for name, values in found.items() if values]
    return dict(sorted(known, key=lambda row: fmean(row[1])))


def leads(order: Mapping[str, list[float]]) -> bool:
    """Whether the first of :func:`placed` is clearly below the second."""
    first, second, *_ = order.values()
    return estimates.welch(first, second).below()


def ended(rows: Rows) -> dict[str, Sequence[Run]]:
    """The rows of which at least one run did not diverge."""
    finished = {
        name: [run for run in runs if run.verdict == "finished"] for name, runs in rows.items()
    }
    return {name: rows[name] for name, runs in finished.items() if runs}


def divergences(rows: Rows, none: str = "No run diverged.") -> str:
    """A sentence on the runs that diverged."""
    counts = {name: sum(run.verdict == "diverged" for run in runs) for name, runs in rows.items()}
    parts = [f"{name} ({n} of {len(rows[name])} runs)" for name, n in counts.items() if n]
    return f"Diverged: {', '.join(parts)}." if parts else none


def caption(rows: Rows) -> str:
    """The end of a caption: what cells hold, of how many random seeds, and what † means."""
    marks = " † Not in the reported regime." if any(map(departs, rows.values())) else ""
    return f"{estimates.caption([len(runs) for runs in rows.values()])}{marks}"


# Tables -------------------------------------------------------------------------------------------


def table(rows: Rows, keys: Iterable[str], *, references: Iterable[str] = ()) -> pd.DataFrame:
    """A row a score, named by its title; a column a row of the plan, then one a reference point.

    A family of scores that none of the runs has is left out.
    """
    sheet, points = {}, list(references)
    had = {family for runs in rows.values() for run in runs for family in run.metrics}
    for key in (key for key in keys if not had or key.split(".")[0] in had):
        found = {label(name, runs): str(over_seeds(runs, key)) for name, runs in rows.items()}
        beside = {POINTS[name]: cell(point(rows, name, key)) for name in points}
        sheet[title(key)] = found | beside
    return pd.DataFrame.from_dict(sheet, orient="index")


def panels(rows: Rows, keys: Iterable[str]) -> dict[str, dict[str, Estimate]]:
    """What :func:`reproduction.figures.dots` draws: {title of a score: {row: estimate}}."""
    named = labelled(rows)
    return {
        title(key): {name: over_seeds(runs, key) for name, runs in named.items()} for key in keys
    }


def points(
    rows: Rows, keys: Iterable[str], names: Iterable[str] = FLOORS
) -> dict[str, dict[str, float | None]]:
    """The reference points of the same panels: {name: {title of a score: value}}."""
    keys = list(keys)
    return {POINTS[name]: {title(key): point(rows, name, key) for key in keys} for name in names}


def gaps(rows: Rows, keys: Iterable[str] = tuple(METRICS)) -> dict[str, dict[str, Estimate]]:
    """Floor-normalised gaps, {title of a score: {row of the plan: gap}}, where a row has one."""
    found = {}
    for key in keys:
        row = {name: over_seeds(runs, f"gap.{key}") for name, runs in labelled(rows).items()}
        if any(gap.n for gap in row.values()):
            found[title(key)] = row
    return found


def means(found: Mapping[str, Mapping[str, Estimate]]) -> pd.DataFrame:
    """The means alone, a row an outer name, a column an inner one."""
    return _frame(found, lambda estimate: estimate.value)


def formatted(found: Mapping[str, Mapping[str, Any]]) -> pd.DataFrame:
    """Estimates as the text of a table, a row an outer name, a column an inner one."""
    return _frame(found, str)


def _frame(found: Mapping[str, Mapping[str, Any]], form: Callable[[Any], Any]) -> pd.DataFrame:
    rows = {name: {key: form(one) for key, one in row.items()} for name, row in found.items()}
    return pd.DataFrame(rows).T


# What every run keeps -----------------------------------------------------------------------------

CELLS = ("real", "reconstructed", "synthetic")


def curves(runs: Sequence[Run], stage: str) -> list[pd.DataFrame]:
    """The history of one stage of each run that has the stage."""
    histories = (run.history[run.history["stage"] == stage] for run in runs)
    return [history for history in histories if len(history)]


def codes_per_patient(run: Run) -> dict[str, float | None]:
    """Codes per test patient, after reconstruction, and per synthetic patient."""
    frequency = run.frequency
    return {
        name: _finite(frequency[name].sum(min_count=1)) if name in frequency else None
        for name in CELLS
    }


def _finite(number: float) -> float | None:
    return float(number) if math.isfinite(number) else None


def lost(run: Run) -> float | None:
    """Codes that test patients have and that no test patient has after the autoencoder."""
    if "reconstructed" not in run.frequency:
        return None
    real, reconstructed = run.frequency["real"], run.frequency["reconstructed"]
    return float(((real > 0) & (reconstructed <= 0)).sum())


def unreachable(run: Run) -> float | None:
    """Codes that the decoder cannot produce, wherever in its box the latent vector lies."""
    if "reachable" not in run.frequency:
        return None
    return float((~run.frequency["reachable"].astype(bool)).sum())


def occurrences(runs: Sequence[Run], column: str, patients: int) -> np.ndarray:
    """How often each code occurs in so many patients, ``(n_codes,)``: mean over runs.

    ``column`` is that of ``frequency.csv``.
    """
    found = [run.frequency[column].to_numpy(dtype=float) for run in runs if column in run.frequency]
    return patients * np.mean(found, axis=0)


def deciles(runs: Sequence[Run]) -> list[Estimate]:
    """Synthetic over real occurrences (%) by decile of real ones, rarest codes first.

    Codes that no test patient has are left out.
    """
    shares = {run.id: _deciles(run.frequency) for run in runs if run.verdict == "finished"}
    missing = [math.nan] * 10

    def of(decile: int) -> Estimate:
        return estimate(runs, lambda run: shares.get(run.id, missing)[decile], limits=COUNT)

    return [of(decile) for decile in range(10)]


def _deciles(table: pd.DataFrame) -> list[float]:
    ordered = table[table["real"] > 0].sort_values("real", kind="stable")
    shares = []
    for part in np.array_split(np.arange(len(ordered)), 10):
        sums = ordered.iloc[part][["real", "synthetic"]].sum()
        shares.append(float(100 * sums["synthetic"] / sums["real"]) if sums["real"] else math.nan)
    return shares
