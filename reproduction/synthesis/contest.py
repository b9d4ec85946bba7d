"""Which generator is recommended, what it is asked to reach, and what it reaches.

Limits are for large comparisons; with fewer patients the scores of fresh real patients themselves scatter, so their
values stand beside every measurement. A target counts as met where the mean over random seeds meets it.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

import pandas as pd

from reproduction.estimates import Estimate, student, welch
from reproduction.synthesis import results, scores
from reproduction.synthesis.experiments import Run, largest
from reproduction.tables import Table, Words, cell, patients
from scoehr import metrics
from scoehr.metrics import METRICS

#: Data sets of simulated patients; the others are real.
SIMULATED = ("simulated",)
#: Rows of the plan that are asked to reach the targets: the recommended generator on counts and on presence.
RECOMMENDED = ("thinning", "thinning-binary")


class Target(NamedTuple):
    """A quantity of a run, and the most that it may be on simulated and on real data."""

    title: str
    read: Callable[[Run], float | None]
    simulated: float
    real: float


def _score(key: str) -> Callable[[Run], float | None]:
    return lambda run: scores.value(run, key)


def _gaps(run: Run, family: str = "") -> list[float]:
    """The gaps that there are; none in a run that diverged."""
    gaps = run.metrics.get("gap", {})
    return [value for key, value in gaps.items() if key.startswith(family) and value is not None]


def _largest_gap(run: Run) -> float | None:
    return max(_gaps(run, "fidelity."), default=None)


def _median_gap(run: Run) -> float | None:
    gaps = _gaps(run)
    return statistics.median(gaps) if gaps else None


def _codes_short(run: Run) -> float | None:
    made, real = (
        scores.value(run, "fidelity.codes_produced"),
        scores.reference(run, "real", "fidelity.codes_produced"),
    )
    return 1 - made / real if made is not None and real else None


def _apart(key: str, ideal: float) -> Callable[[Run], float | None]:
    def read(run: Run) -> float | None:
        value = scores.value(run, key)
        return None if value is None else abs(value - ideal)

    return read


def _below_replicates(key: str) -> Callable[[Run], float | None]:
    """How far a score falls short of the least that fresh real patients score on other draws; 0 if it does not."""

    def read(run: Run) -> float | None:
        drawn = run.metrics.get("reference", {}).get("real", {}).get("replicates", {}).get(key)
        value = scores.value(run, key)
        return max(0.0, min(drawn) - value) if drawn and value is not None else None

    return read


def _attributes(run: Run) -> float | None:
    known, other = (scores.value(run, f"privacy.attribute_f1{end}") for end in ("", "_holdout"))
    return known - other if known is not None and other is not None else None


TARGETS = (
    Target("largest gap of fidelity", _largest_gap, 0.05, 0.10),
    Target("discriminator AUC", _score("utility.discriminator_auc"), 0.52, 0.55),
    Target("share of a real sample's codes missing", _codes_short, 0.03, 0.03),
    Target("density ratio, distance from 1", _apart("fidelity.density_ratio", 1.0), 0.01, 0.01),
    Target(
        "synthetic ranking agreement, below real replicates",
        _below_replicates("utility.sra"),
        0.0,
        0.0,
    ),
    Target(
        "correlation of predictions, below real replicates",
        _below_replicates("utility.prediction_correlation"),
        0,
        0,
    ),
    Target("AUROC lost by training on synthetic", _score("utility.auroc_loss"), 0.01, 0.01),
    Target("membership AUC", _score("privacy.membership_auc"), 0.52, 0.52),
    Target(
        "nearest-neighbour accuracy, distance from ½",
        _apart("privacy.adversarial_train", 0.5),
        0.03,
        0.03,
    ),
    Target("attribute inference, above the holdout's", _attributes, 0.0, 0.0),
)


def table(runs: Sequence[Run], dataset: str) -> pd.DataFrame:
    """A row a target; columns: at most, measured (mean and 95 % interval over random seeds), missed by."""
    rows = {}
    for target in TARGETS:
        limit = target.simulated if dataset in SIMULATED else target.real
        found = scores.estimate(runs, target.read)
        missed = found.value - limit
        said = "–" if math.isnan(missed) else "met" if missed <= 0 else cell(missed)
        rows[target.title] = {
            "at most": cell(limit),
            "measured": str(found),
            "missed by": said,
        }
    return pd.DataFrame.from_dict(rows, orient="index")


def told(runs: Sequence[Run], dataset: str) -> str:
    """One sentence: how many targets are met, and which are not."""
    missed = table(runs, dataset)["missed by"]
    open_ = [title for title, said in missed.items() if said not in ("met", "–")]
    known = int((missed != "–").sum())
    rest = f" Missed: {'; '.join(str(title) for title in open_)}." if open_ else ""
    return f"{known - len(open_)} of {known} targets are met.{rest}"


def farthest(runs: Sequence[Run]) -> str:
    """One sentence: the two largest mean gaps of fidelity, beside those of training patients drawn anew."""
    made = [run.metrics for run in runs if run.metrics.get("gap")]
    drawn = [metrics.gaps(found["reference"]["resampled"], found["reference"]) for found in made]

    def mean(found: Sequence[dict[str, float | None]], key: str) -> float:
        values = [value for gaps in found if (value := gaps.get(key)) is not None]
        return statistics.fmean(values) if values else math.nan

    gaps = {
        key: mean([found["gap"] for found in made], key)
        for key in METRICS
        if key.startswith("fidelity.")
    }
    placed = sorted(
        (key for key, gap in gaps.items() if not math.isnan(gap)), key=lambda key: -gaps[key]
    )
    said = [
        f"{METRICS[key].title} {cell(gaps[key])} ({cell(mean(drawn, key))})" for key in placed[:2]
    ]
    return (
        f"Largest gaps of fidelity, and in brackets those of real rows drawn anew: {'; '.join(said)}."
        if said
        else ""
    )


def reached(
    dataset: str, source: str | None, profile: str, seed: int
) -> Iterator[tuple[Table, Words]]:
    """A table of targets and a sentence for each of :data:`RECOMMENDED`, at the largest profile it has been run at."""
    for name in RECOMMENDED:
        if runs := largest(name, dataset, source, profile, seed):
            made, scored = runs[0].experiment, patients(runs[0].metrics["n"]["rows"])
            of = f"{made['title']}: {dataset}, profile {made['profile']}, {scored} patients a side."
            sheet = Table(table(runs, dataset), f"{of} {scores.caption({name: runs})}")
            yield sheet, Words(f"{told(runs, dataset)} {farthest(runs)}")


#: What the contest shows of every generator, and what it is ordered by.
ORDER = "median gap"
CONTEST: dict[str, Callable[[Sequence[Run]], Estimate]] = {
    ORDER: partial(scores.estimate, read=_median_gap),
    "largest gap of fidelity": partial(scores.estimate, read=_largest_gap),
    "discriminator AUC": partial(scores.over_seeds, key="utility.discriminator_auc"),
    "density ratio": partial(scores.over_seeds, key="fidelity.density_ratio"),
    "codes missing": partial(scores.estimate, read=_codes_short),
    "training (s)": partial(scores.estimate, read=results.training_seconds, least=0),
    "1,000 patients (s)": partial(scores.estimate, read=results.thousand, least=0),
}


def contest(rows: scores.Rows) -> pd.DataFrame:
    """A row a generator, best median gap over all scores first; columns of :data:`CONTEST`, means with intervals."""
    found = {
        name: {title: over(runs) for title, over in CONTEST.items()} for name, runs in rows.items()
    }
    placed = sorted(
        found, key=lambda name: (math.isnan(found[name][ORDER].value), found[name][ORDER].value)
    )
    return scores.formatted({scores.label(name, rows[name]): found[name] for name in placed})


def best(rows: scores.Rows) -> str:
    """One sentence: the generator of the smallest median gap, and whether it is told apart from the next."""
    placed = _placed(rows, _median_gap)
    if len(placed) < 2:
        return ""
    (first, gaps), (second, others) = placed[:2]
    return (
        f"The smallest median gap is that of `{first}` ({student(gaps)}), "
        f"{'told' if _apart_from_next(placed) else 'not told'} apart from the next, `{second}` ({student(others)})."
    )


def choice(contests: Sequence[scores.Rows]) -> str:
    """One sentence: in how many contests one of :data:`RECOMMENDED` comes first, by median gap and by discriminator."""
    said = []
    for title, read in {
        ORDER: _median_gap,
        "discriminator AUC": _score("utility.discriminator_auc"),
    }.items():
        placed = [order for rows in contests if len(order := _placed(rows, read)) > 1]
        led = [order for order in placed if order[0][0] in RECOMMENDED]
        apart = sum(_apart_from_next(order) for order in led)
        said.append(
            f"the smallest {title} in {len(led)} of {len(placed)}, told apart from the next in {apart}"
        )
    return f"In the contests of all data sets, on counts and on presence, thinning diffusion has {', and '.join(said)}."


def _placed(
    rows: scores.Rows, read: Callable[[Run], float | None]
) -> list[tuple[str, list[float]]]:
    """Rows in the regime with what ``read`` finds in their runs, smallest mean first; those without are left out."""
    inside = scores.in_regime(rows)
    found = {
        name: [value for run in runs if (value := read(run)) is not None]
        for name, runs in inside.items()
    }
    return sorted(
        ((name, values) for name, values in found.items() if values),
        key=lambda row: statistics.fmean(row[1]),
    )


def _apart_from_next(placed: Sequence[tuple[str, list[float]]]) -> bool:
    return welch(placed[0][1], placed[1][1]).below()
