"""What pages show of the runs of the generator of admissions, row ``visits`` of the plan."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from reproduction import figures
from reproduction.estimates import Estimate, student
from reproduction.plan import done
from reproduction.synthesis import experiments
from reproduction.synthesis.experiments import VISITS, Run
from reproduction.synthesis.scores import POINTS
from reproduction.tables import cell, patients
from scoehr.data import datasets
from scoehr.metrics.visits import VISIT_METRICS, VISIT_REFERENCES

NAMES = POINTS | {"independent": "independent codes", "shuffled": "shuffled admissions"}


def shown(dataset: str, source: str | None, profile: str, seed: int = 0) -> Sequence[Run]:
    """The finished runs at a profile, over random seeds from ``seed`` on; the first is made."""
    planned = experiments.plan(dataset, source, profile, seed)[VISITS]
    stored = planned.stored
    lacking = planned.finished and not (stored.synthetic.exists() or planned.result.weighted)
    experiments.run(planned, again=lacking, progress=False)
    return [each.result for each in done(planned)]


def summary(runs: Sequence[Run]) -> str:
    """What the runs were made of and what they cost, in words."""
    sizes, costs, n = runs[0].config["data"], runs[0].costs, runs[0].metrics["n"]
    return (
        f"{patients(sizes['train'])} training patients; {n['patients']:,} synthetic patients "
        f"compared with as many of {patients(sizes['test'])} held-out ones. Training took "
        f"{costs['training_seconds']:,.0f} s and sampling {costs['sampling_seconds']:,.0f} s on "
        f"{costs['threads']} thread{'s' if costs['threads'] > 1 else ''}."
    )


def published() -> dict[str, Sequence[Run]]:
    """Finished runs of each data set at the largest profile that has any; none is made."""
    smallest = experiments.profiles()[0]
    found = {name: experiments.largest(VISITS, name, None, smallest) for name in datasets.DATASETS}
    return {name: runs for name, runs in found.items() if runs}


@figures.styled
def shares(curves: dict[str, Any]) -> Figure:
    """Shares of patients by number of admissions, and of admissions by number of codes."""
    figure, axes = figures.panels(2, width=3.7, height=2.9)
    words = {"numbers": ("admissions", "patients (%)"), "sizes": ("codes", "admissions (%)")}
    for ax, (key, (xlabel, ylabel)) in zip(axes, words.items(), strict=True):
        for side, colour in figures.colours(["real", "synthetic"]).items():
            values = np.array(
                [100 * share or np.nan for share in curves[key][side]]
            )  # no mark for nothing
            ax.plot(np.arange(len(values)), values, "o-", markersize=3, color=colour, label=side)
        ax.set(xlabel=xlabel, ylabel=ylabel)
        ax.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    axes[0].set_yscale("log")
    axes[0].legend()
    return figure


def scores(runs: Sequence[Run]) -> pd.DataFrame:
    """A row a score: the generator with its interval, reference points, floor-normalised gap."""
    sheet = {}
    for name, metric in VISIT_METRICS.items():
        point = {NAMES[key]: runs[0].metrics["reference"][key][name] for key in VISIT_REFERENCES}
        gap = str(student(_known(run.metrics["gap"][name] for run in runs)))
        sheet[metric.title] = {"synthetic": str(estimate(runs, name))} | point | {"gap": gap}
    table = pd.DataFrame.from_dict(sheet, orient="index")
    return table.map(lambda value: value if isinstance(value, str) else cell(value))


def estimate(runs: Sequence[Run], name: str) -> Estimate:
    """A score over random seeds; of one run alone, with its interval over patients."""
    metric = VISIT_METRICS[name]
    alone = runs[0].metrics["interval"].get(name) if len(runs) == 1 else None
    found = student(
        _known(run.metrics["visits"][name] for run in runs), limits=(metric.low, metric.high)
    )
    return found._replace(low=alone[0], high=alone[1]) if alone and found.n == 1 else found


def _known(values: Iterable[float | None]) -> list[float]:
    return [value for value in values if value is not None]
