"""Rows of the plan over their random seeds: a mean with its interval in place of one run's score.

Runs of one row differ in everything that is drawn in training and sampling: initial weights, batches, noise, samples.
They are compared with the same held-out patients. With two runs or more the interval is Student's over them. One run
alone has the bootstrap interval over the patients compared, where the score has one; that says nothing about training
again. A run that diverged has no scores: it is counted and named, never dropped in silence.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import pandas as pd

from reproduction import figures
from reproduction.synthesis import claims, experiments
from scoehr.metrics import METRICS

#: Rows of the plan with the runs of each over its random seeds.
Rows: TypeAlias = Mapping[str, Sequence[experiments.Run]]
#: The reference points in tables.
POINTS = {
    "real": "fresh real patients", "independent": "independent columns", "zero": "empty table",
    "copy": "training patients copied", "resampled": "training patients resampled",
}  # fmt: skip


class Estimate(NamedTuple):
    """A quantity over random seeds: mean, 95 % interval (NaN where there is none), and how many runs it is of."""

    value: float
    low: float
    high: float
    seeds: int  # with a value
    diverged: int = 0

    def __str__(self) -> str:
        if not self.seeds:
            return "diverged" if self.diverged else "–"
        around = (
            ""
            if math.isnan(self.low)
            else f" [{figures.cell(self.low)}, {figures.cell(self.high)}]"
        )
        some = (
            f" ({self.diverged} of {self.seeds + self.diverged} diverged)" if self.diverged else ""
        )
        return figures.cell(self.value) + around + some


def over_seeds(
    runs: Sequence[experiments.Run], key: str, pool: claims.Pool | None = None
) -> Estimate:
    """A quantity of a row over its random seeds, its interval by the variance of a pool where there is one.

    The interval of a score is cut at the score's range. ``key`` is that of a score (``"fidelity.pcd"``), of its gap
    (``"gap.fidelity.pcd"``), of a cost (``"costs.sampling_seconds"``), or of the last validation loss of a stage
    (``"loss.score"``).
    """
    limits = runs[0].metrics.get("interval", {}).get(key) if len(runs) == 1 else None
    found = estimate(runs, lambda run: value(run, key), limits, pool=pool)
    score = METRICS.get(key)
    least, most = (
        (score.low, score.high) if score else (0.0 if key.startswith("costs.") else None, None)
    )
    if (
        least is not None and found.value < least
    ):  # of a run that holds negative counts, as the report's did
        return found
    low, high = np.clip([found.low, found.high], least, most)
    return found._replace(low=float(low), high=float(high))


def estimate(
    runs: Sequence[experiments.Run],
    read: Callable[[experiments.Run], float | None],
    limits: Sequence[float] | None = None,
    *,
    least: float = -math.inf,
    pool: claims.Pool | None = None,
) -> Estimate:
    """What ``read`` finds in the runs of a row, over its random seeds.

    ``limits`` are the interval of one run alone; ``least`` is the lowest value that there can be.
    """
    values = numbers(runs, read)
    diverged = sum(run.verdict == "diverged" for run in runs)
    if not values:
        return Estimate(math.nan, math.nan, math.nan, 0, diverged)
    if len(values) == 1:
        low, high = limits or (math.nan, math.nan)
        return Estimate(values[0], low, high, 1, diverged)
    middle, low, high = claims.mean(values, pool)
    return Estimate(middle, max(low, least), high, len(values), diverged)


def numbers(
    runs: Sequence[experiments.Run], read: Callable[[experiments.Run], float | None]
) -> list[float]:
    """The finite values that ``read`` finds in the runs of a row."""
    return [number for run in runs if (number := read(run)) is not None and math.isfinite(number)]


def pool(rows: Rows, key: str) -> claims.Pool | None:
    """The variance of a quantity within the rows of a table, see :func:`reproduction.synthesis.claims.pooled`."""
    return claims.pooled(numbers(runs, lambda run: value(run, key)) for runs in rows.values())


def departs(runs: Sequence[experiments.Run]) -> bool:
    """Whether a run of a row is not in the regime of its study."""
    return any(run.departures for run in runs)


def label(name: str, runs: Sequence[experiments.Run]) -> str:
    """The name of a row, with † where a run of it is not in the regime of its study."""
    return f"{name} †" if departs(runs) else name


def in_regime(rows: Rows) -> dict[str, Sequence[experiments.Run]]:
    """The rows all of whose runs are in the regime of their study."""
    return {name: runs for name, runs in rows.items() if not departs(runs)}


def labelled(rows: Rows) -> dict[str, Sequence[experiments.Run]]:
    """The rows by :func:`label`."""
    return {label(name, runs): runs for name, runs in rows.items()}


def value(run: experiments.Run, key: str) -> float | None:
    """One quantity of one run by its key, see :func:`over_seeds`; None where the run has none."""
    if key.startswith("gap."):
        return run.metrics.get("gap", {}).get(key.removeprefix("gap."))
    return claims.value(run, key)


def reference(rows: Rows, point: str, key: str) -> float | None:
    """A score of a reference point, by the first run that has it."""
    for run in (run for runs in rows.values() for run in runs):
        if point in run.metrics.get("reference", {}):
            family, name = key.split(".")
            return run.metrics["reference"][point][family].get(name)
    return None


def scores(rows: Rows, keys: Iterable[str], *, references: Iterable[str] = ()) -> pd.DataFrame:
    """A row a score, named by its title; a column a row of the plan, then one a reference point."""
    pools = {key: pool(rows, key) for key in keys}
    sheet = {
        METRICS[key].title: {
            **{
                label(name, runs): str(over_seeds(runs, key, pools[key]))
                for name, runs in rows.items()
            },
            **{POINTS[point]: figures.cell(reference(rows, point, key)) for point in references},
        }
        for key in pools
    }
    return pd.DataFrame.from_dict(sheet, orient="index")


def gaps(rows: Rows, keys: Iterable[str] = tuple(METRICS)) -> dict[str, dict[str, Estimate]]:
    """Floor-normalised gaps: {title of a score: {row of the plan: gap}}, of the scores that have one for some row."""
    rows = labelled(rows)
    found = {
        METRICS[key].title: {name: over_seeds(runs, f"gap.{key}") for name, runs in rows.items()}
        for key in keys
    }
    return {title: row for title, row in found.items() if any(gap.seeds for gap in row.values())}


def middles(estimates: Mapping[str, Mapping[str, Estimate]]) -> pd.DataFrame:
    """The means alone, a row an outer name, a column an inner one."""
    return pd.DataFrame(
        {name: {key: one.value for key, one in row.items()} for name, row in estimates.items()}
    ).T


def texts(estimates: Mapping[str, Mapping[str, Any]]) -> pd.DataFrame:
    """Estimates as the text of a table, a row an outer name, a column an inner one."""
    return pd.DataFrame(
        {name: {key: str(one) for key, one in row.items()} for name, row in estimates.items()}
    ).T


def said(rows: Rows) -> str:
    """The sentence of a caption that says over how many random seeds a table is, and what its intervals cover."""
    seeds = sorted({len(runs) for runs in rows.values()})
    marks = " † not in the reported regime." if any(map(departs, rows.values())) else ""
    if seeds in ([], [1]):
        return f"One random seed a row; intervals, 95 %, cover the patients compared and not another training.{marks}"
    number = str(seeds[0]) if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}"
    alone = " (rows of one seed: over the patients compared)" if seeds[0] == 1 else ""
    if 2 in seeds:
        alone += ", with the variance pooled over the rows since some have two"
    return (
        f"Means over {number} random seeds; the intervals, 95 % of Student's t over the seeds{alone}, cover training "
        f"and sampling, not the choice of the patients compared with.{marks}"
    )


def ended(rows: Rows) -> dict[str, Sequence[experiments.Run]]:
    """The rows of which at least one run did not diverge."""
    return {
        name: runs for name, runs in rows.items() if any(run.verdict == "finished" for run in runs)
    }


def divergences(rows: Rows) -> str:
    """A sentence on the runs that diverged."""
    counts = {name: sum(run.verdict == "diverged" for run in runs) for name, runs in rows.items()}
    parts = [
        f"{name} ({count} of {len(rows[name])} runs)" for name, count in counts.items() if count
    ]
    return f"Diverged: {', '.join(parts)}." if parts else "No run diverged."


# Tables that every run keeps -----------------------------------------------------------------------------------------


def curves(runs: Sequence[experiments.Run], stage: str) -> list[pd.DataFrame]:
    """The history of one stage of each run, a table a random seed; runs without the stage are left out."""
    histories = (run.history[run.history["stage"] == stage] for run in runs)
    return [history for history in histories if len(history)]


def mean_cells(run: experiments.Run) -> dict[str, float | None]:
    """Mean cell of the test patients, of what the autoencoder makes of them, and of the synthetic patients."""
    return {
        name: _finite(run.frequency[name].mean()) if name in run.frequency else None
        for name in CELLS
    }


CELLS = ("real", "reconstructed", "synthetic")


def lost(run: experiments.Run) -> float | None:
    """Codes that test patients have and that no test patient has after the autoencoder."""
    table = run.frequency
    if "reconstructed" not in table:
        return None
    return float(((table["real"] > 0) & (table["reconstructed"] <= 0)).sum())


def unreachable(run: experiments.Run) -> float | None:
    """Codes that the decoder cannot produce, wherever in its box the latent vector lies."""
    return (
        float((~run.frequency["reachable"].astype(bool)).sum())
        if "reachable" in run.frequency
        else None
    )


def occurrences(runs: Sequence[experiments.Run], column: str, patients: int) -> np.ndarray:
    """How often each code occurs in so many patients, by a column of ``frequency.csv``: mean over runs, (n_codes,)."""
    found = [run.frequency[column].to_numpy(dtype=float) for run in runs if column in run.frequency]
    return patients * np.mean(found, axis=0)


def deciles(runs: Sequence[experiments.Run]) -> list[Estimate]:
    """Synthetic over real occurrences (%) by decile of real ones, rarest codes first.

    Codes that no test patient has are left out.
    """
    shares = {run.id: _deciles(run.frequency) for run in runs if run.verdict == "finished"}

    def of(decile: int) -> Estimate:
        return estimate(
            runs, lambda run: shares[run.id][decile] if run.id in shares else None, least=0
        )

    return [of(decile) for decile in range(10)]


def _deciles(table: pd.DataFrame) -> list[float]:
    ordered = table[table["real"] > 0].sort_values("real", kind="stable")
    parts = np.array_split(np.arange(len(ordered)), 10)
    sums = [ordered.iloc[part][["real", "synthetic"]].sum() for part in parts]
    return [
        float(100 * part["synthetic"] / part["real"]) if part["real"] else math.nan for part in sums
    ]


def _finite(number: float) -> float | None:
    return float(number) if math.isfinite(number) else None
