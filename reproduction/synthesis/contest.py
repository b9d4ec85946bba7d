"""Which generator is recommended, the targets that it has, and what it reaches.

Limits are for large comparisons; with fewer patients the scores of fresh real patients themselves
scatter, so their values stand beside every measurement. A target is met where the mean over random
seeds meets it.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

import pandas as pd

from reproduction import figures
from reproduction.estimates import Estimate, student
from reproduction.synthesis import experiments, results, scores
from reproduction.synthesis.experiments import Run
from reproduction.synthesis.scores import Read, Rows
from reproduction.tables import Html, Table, cell, folded, patients
from scoehr.data.datasets import DATASETS


class Target(NamedTuple):
    """A quantity of a run, and the most that it may be on simulated and on real data."""

    title: str
    read: Read
    simulated: float
    real: float


def _score(key: str) -> Read:
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
    key = "fidelity.codes_produced"
    made, real = scores.value(run, key), scores.reference(run, "real", key)
    return 1 - made / real if made is not None and real else None


def _apart(key: str, ideal: float) -> Read:
    def read(run: Run) -> float | None:
        value = scores.value(run, key)
        return None if value is None else abs(value - ideal)

    return read


def _below(key: str) -> Read:
    """By how much a score is below the least of other draws of fresh real patients, or 0."""

    def read(run: Run) -> float | None:
        real = run.metrics.get("reference", {}).get("real", {})
        drawn, value = real.get("replicates", {}).get(key), scores.value(run, key)
        return max(0.0, min(drawn) - value) if drawn and value is not None else None

    return read


def _attributes(run: Run) -> float | None:
    known, other = (scores.value(run, f"privacy.attribute_f1{end}") for end in ("", "_holdout"))
    return known - other if known is not None and other is not None else None


AUC = "utility.discriminator_auc"
TARGETS = (
    Target("largest gap of fidelity", _largest_gap, 0.05, 0.10),
    Target("discriminator AUC", _score(AUC), 0.52, 0.55),
    Target("share of a real sample's codes missing", _codes_short, 0.03, 0.03),
    Target("density ratio, distance from 1", _apart("fidelity.density_ratio", 1.0), 0.01, 0.01),
    Target("synthetic ranking agreement, below real replicates", _below("utility.sra"), 0.0, 0.0),
    Target(
        "correlation of predictions, below real replicates",
        *(_below("utility.prediction_correlation"), 0.0, 0.0),
    ),
    Target("AUROC lost by training on synthetic", _score("utility.auroc_loss"), 0.01, 0.01),
    Target("membership AUC", _score("privacy.membership_auc"), 0.52, 0.52),
    Target("attribute inference, above the holdout's", _attributes, 0.0, 0.0),
)


def table(runs: Sequence[Run], dataset: str) -> pd.DataFrame:
    """A row a target; columns: at most, measured, and what it is missed by."""
    simulated = not DATASETS[dataset].needs_source
    rows = {}
    for target in TARGETS:
        limit = target.simulated if simulated else target.real
        found = scores.estimate(runs, target.read)
        missed = found.value - limit
        verdict = "–" if math.isnan(missed) else "met" if missed <= 0 else cell(missed)
        rows[target.title] = {"at most": cell(limit), "measured": str(found), "missed by": verdict}
    return pd.DataFrame.from_dict(rows, orient="index")


def summary(runs: Sequence[Run], dataset: str) -> str:
    """One sentence: how many targets are met, and which are not."""
    verdicts = table(runs, dataset)["missed by"]
    known = verdicts[verdicts != "–"]
    missed = known[known != "met"]
    rest = f" Missed: {'; '.join(map(str, missed.index))}." if len(missed) else ""
    return f"{len(known) - len(missed)} of {len(known)} targets are met.{rest}"


def reached(dataset: str, source: str | None, profile: str, seed: int) -> Iterator[Html]:
    """The targets of each recommended row, at its largest profile, folded under a sentence."""
    for name in experiments.recommended():
        if runs := experiments.largest(name, dataset, source, profile, seed):
            made, scored = runs[0].experiment, patients(runs[0].metrics["n"]["rows"])
            line = (
                f"<strong>{made['title']}</strong>, {dataset}, profile {made['profile']}, {scored} "
                f"patients a side: {summary(runs, dataset)}"
            )
            yield folded(line, Table(table(runs, dataset), scores.caption({name: runs})))


# The contest --------------------------------------------------------------------------------------

#: What the contest shows of every generator, and the quantity that orders it.
ORDER = "median gap"
SCORES = {
    "discriminator AUC": AUC,
    "density ratio": "fidelity.density_ratio",
    "membership AUC": "privacy.membership_auc",
}
CONTEST: dict[str, Callable[[Sequence[Run]], Estimate]] = {
    ORDER: partial(scores.estimate, read=_median_gap),
    **{title: partial(scores.over_seeds, key=key) for title, key in SCORES.items()},
    "training (s)": partial(scores.estimate, read=results.training_seconds, limits=scores.COUNT),
    "1,000 patients (s)": partial(scores.estimate, read=results.thousand, limits=scores.COUNT),
}


def contest(rows: Rows) -> pd.DataFrame:
    """A row a generator, smallest median gap first, then the reference points."""
    found = {
        name: {title: of(runs) for title, of in CONTEST.items()} for name, runs in rows.items()
    }
    order = pd.Series({name: row[ORDER].value for name, row in found.items()}, dtype=float)
    placed = order.sort_values(kind="stable", na_position="last").index
    sheet = scores.formatted({scores.label(name, rows[name]): found[name] for name in placed})
    for name, row in floors(rows).items():
        sheet.loc[name] = pd.Series({title: cell(value) for title, value in row.items()})
    return sheet.fillna("–")


def floors(rows: Rows) -> dict[str, dict[str, float | None]]:
    """The reference points of the contest: {name: {title: value}}."""
    known = zip(scores.FLOORS, (0, 1), strict=True)
    return {
        scores.POINTS[point]: {ORDER: gap}
        | {title: scores.point(rows, point, key) for title, key in SCORES.items()}
        for point, gap in known
    }


def panels(rows: Rows) -> dict[str, dict[str, Estimate]]:
    """What :func:`reproduction.figures.dots` draws of the contest, smallest median gap first."""
    names = [name for name in contest(rows).index if name not in scores.POINTS.values()]
    known = scores.labelled(rows)
    return {
        title: {name: of(known[name]) for name in names}
        for title, of in list(CONTEST.items())[: 1 + len(SCORES)]
    }


def show(rows: Rows, heading: str) -> None:
    """Display a contest in a notebook: a figure and a table."""
    from IPython.display import display  # only notebooks need IPython

    figures.show(
        figures.dots(panels(rows), floors(rows)),
        f"{nearest(rows)} {heading}, smallest median gap first; dots are runs.",
    )
    display(Table(contest(rows), f"{heading}, smallest median gap first. {scores.caption(rows)}"))


def best(rows: Rows) -> str:
    """One sentence: the generator of the smallest median gap, and whether clearly so."""
    placed = scores.placed(rows, _median_gap)
    if len(placed) < 2:
        return ""
    (first, gaps), (second, others), *_ = placed.items()
    return (
        f"The smallest median gap is that of `{first}` ({student(gaps)}), "
        f"{'' if scores.leads(placed) else 'not '}clearly below that of the next, `{second}` "
        f"({student(others)})."
    )


def nearest(rows: Rows) -> str:
    """One sentence: the generator that a classifier finds hardest to tell from real patients."""
    if not (placed := scores.placed(rows, _score(AUC))):
        return ""
    name, values = next(iter(placed.items()))
    return (
        f"A classifier finds {name} hardest to tell from real patients: AUC {student(values)}, "
        f"fresh real patients {cell(scores.point(rows, 'real', AUC))}."
    )


def choice(contests: Sequence[Rows]) -> str:
    """One sentence: how often a recommended row is first, by gap and by discriminator."""
    parts = []
    for title, read in {ORDER: _median_gap, "discriminator AUC": _score(AUC)}.items():
        orders = [order for rows in contests if len(order := scores.placed(rows, read)) > 1]
        first = [order for order in orders if next(iter(order)) in experiments.recommended()]
        won, apart = f"{len(first)} of {len(orders)}", sum(map(scores.leads, first))
        parts.append(f"the smallest {title} in {won} (beyond chance in {apart})")
    return (
        "In the contests of all data sets, on counts and on presence, thinning diffusion has "
        f"{', and '.join(parts)}."
    )
