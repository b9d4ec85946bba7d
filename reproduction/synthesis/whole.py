"""What pages show of the runs of the generator of whole patients, row ``whole`` of the plan."""

from __future__ import annotations

import html
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from reproduction import figures
from reproduction.estimates import Estimate, student
from reproduction.plan import done
from reproduction.synthesis import experiments, scores
from reproduction.synthesis.experiments import WHOLE, WholeRun
from reproduction.synthesis.scores import over_seeds, reference, value
from reproduction.synthesis.validity import FRESH, against_law, coverage
from reproduction.tables import Html, cell, folded, patients
from scoehr.data import datasets
from scoehr.data.columns import DAYS, Columns
from scoehr.data.patients import Patients
from scoehr.metrics.whole import REFERENCES
from scoehr.metrics.whole import WHOLE as WHOLE_SCORES

#: What the rows of :mod:`benchmarks.peers` are called.
PEERS = {
    "real": "other real patients",
    "whole": "whole patients",
    "mostlyai": "the MOSTLY AI engine",
    "arfpy": "adversarial random forests (arfpy)",
    "forestdiffusion": "ForestDiffusion",
}
#: Titles of a visit that a timeline shows; the others are counted.
SHOWN = 6


def shown(dataset: str, source: str | None, profile: str, seed: int = 0) -> Sequence[WholeRun]:
    """The finished runs at a profile, over random seeds from ``seed`` on; the first is made."""
    planned = experiments.plan(dataset, source, profile, seed)[WHOLE]
    stored = planned.stored
    lacking = planned.finished and not (stored.synthetic.exists() or planned.result.weighted)
    experiments.run(planned, again=lacking, progress=False)
    return [each.result for each in done(planned)]  # type: ignore[misc]


def summary(runs: Sequence[WholeRun]) -> str:
    """What the runs were made of and what they cost, in words."""
    sizes, costs, n = runs[0].config["data"], runs[0].costs, runs[0].metrics["n"]
    return (
        f"{patients(sizes['train'])} training patients; {n['rows']:,} synthetic patients "
        f"compared with as many of {patients(sizes['test'])} held-out ones. Training took "
        f"{costs['training_seconds']:,.0f} s and sampling {costs['sampling_seconds']:,.0f} s on "
        f"{costs['threads']} thread{'s' if costs['threads'] > 1 else ''}."
    )


def published() -> dict[str, Sequence[WholeRun]]:
    """Finished runs of each data set at the largest profile that has any; none is made."""
    smallest = experiments.PLAN.profiles[0]
    found = {name: experiments.largest(WHOLE, name, None, smallest) for name in datasets.DATASETS}
    return {name: runs for name, runs in found.items() if runs}  # type: ignore[misc]


# Scores -------------------------------------------------------------------------------------------


def sheet(runs: Sequence[WholeRun]) -> pd.DataFrame:
    """A row a score: the generator with its interval, reference points, floor-normalised gap."""
    named = [name for name in REFERENCES if name != "resampled"]  # which scores as copies do
    table = scores.table({"synthetic": runs}, WHOLE_SCORES, references=named)
    return table.assign(gap=[str(over_seeds(runs, f"gap.{key}")) for key in WHOLE_SCORES])


@figures.styled
def shares(curves: dict[str, Any]) -> Figure:
    """Shares of patients by number of visits, and of visits by number of codes."""
    figure, axes = figures.panels(2, width=3.7, height=2.9)
    words = {"numbers": ("visits", "patients (%)"), "sizes": ("codes", "visits (%)")}
    for ax, (key, (xlabel, ylabel)) in zip(axes, words.items(), strict=True):
        for side, colour in figures.colours(["real", "synthetic"]).items():
            values = [100 * share or np.nan for share in curves[key][side]]  # no mark for nothing
            ax.plot(np.arange(len(values)), values, "o-", markersize=3, color=colour, label=side)
        ax.set(xlabel=xlabel, ylabel=ylabel)
        ax.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    axes[0].set_yscale("log")
    axes[0].legend()
    return figure


# Targets ------------------------------------------------------------------------------------------


class Target(NamedTuple):
    """What was asked of the generator: at most ``most``, on a data set or (None) on each."""

    title: str
    dataset: str | None
    key: str  # of a score or of a cost
    most: float


TARGETS = (
    Target("discriminator AUC, all columns", "diabetes130", "whole.discriminator_auc", 0.55),
    Target("the same, long records", "diabetes130", "whole.discriminator_auc_long", 0.54),
    Target("AUROC of readmission lost", "diabetes130", "whole.readmission_auroc", 0.01),
    Target("discriminator AUC, all columns", "simulated", "whole.discriminator_auc", 0.53),
    Target("share of patients who break a rule", None, "whole.rules_broken", 0.002),
    Target("minutes of training", None, "training", 20.0),
    Target("seconds for 10,000 patients", None, "sampling", 60.0),
)


def targets(found: Mapping[str, Sequence[WholeRun]]) -> pd.DataFrame:
    """A row a target and data set: what was asked, what was measured, whether it is reached."""
    rows = [
        {"data set": name, "measure": target.title, "target": f"≤ {target.most:g}"}
        | _reached(measured(runs, target.key), target)
        for target in TARGETS
        for name, runs in found.items()
        if target.dataset in (None, name)
    ]
    return pd.DataFrame(rows, columns=["data set", "measure", "target", "measured", "reached"])


def measured(runs: Sequence[WholeRun], key: str) -> Estimate:
    """A score, what it falls short of real patients (an AUROC), or a cost, over random seeds."""
    costs = [run.costs for run in runs]
    if key == "training":
        return student([cost["training_seconds"] / 60 for cost in costs])
    if key == "sampling":
        seconds = [cost["sampling_seconds"] / cost["patients_sampled"] for cost in costs]
        return student(seconds).times(1e4)
    if "auroc" not in key:
        return over_seeds(runs, key)
    lost = [(reference(run, "real", key), value(run, key)) for run in runs]
    known = [(floor, ours) for floor, ours in lost if floor is not None and ours is not None]
    return student([floor - ours for floor, ours in known])


def _reached(found: Estimate, target: Target) -> dict[str, str]:
    return {"measured": str(found), "reached": "yes" if found.value <= target.most else "no"}


def covered(run: WholeRun, held_out: Patients) -> str:
    """How often intervals of true odds ratios hold the truth among a run's patients of the
    simulated cohort, beside as many held-out ones.
    """
    made, fresh = run.synthetic.to_matrix(), held_out.to_matrix()
    n = min(len(made), len(fresh))
    sets = {FRESH: fresh, "whole patients": made}
    found = {name: matrix.take(np.arange(n)) for name, matrix in sets.items()}
    return coverage(against_law(found, {"whole patients": run}))


def beside_peers(found: Mapping[str, Any]) -> str:
    """How well boosted trees tell patients of each generator of :mod:`benchmarks.peers` from real
    ones, and what they cost, in words; the hardest to tell from real first.
    """
    done = {name: row for name, row in found["rows"].items() if "auc" in row}
    rows = sorted(done.items(), key=lambda row: row[1]["auc"])
    said = [
        f"{PEERS[name]} {Estimate(row['auc'], *row['interval']):.3f}{_seconds(row)}"
        for name, row in rows
    ]
    ended = [
        f" {PEERS[name]} was not fitted after {cell(row['unfinished_seconds'])} s."
        for name, row in found["rows"].items()
        if name not in done
    ]
    return (
        f"On one table of {patients(found['patients'])} patients and {found['columns']} columns, "
        f"boosted trees tell from held-out patients, AUC [95 %]: {'; '.join(said)}.{''.join(ended)}"
    )


def _seconds(row: Mapping[str, Any]) -> str:
    if "fit_seconds" not in row:
        return ""
    fit, sample = (row[f"{part}_seconds"] for part in ("fit", "sample"))
    return f" ({cell(fit)} s of processor time to fit, {cell(sample)} s to sample)"


# Rules --------------------------------------------------------------------------------------------


def broken(kept: Mapping[str, Any]) -> pd.DataFrame:
    """A row a rule of :mod:`benchmarks.rules`: per cent of each kind of patient who break it."""
    table = 100 * pd.DataFrame(kept["broken"]).rename(index={"any": "any of them"})
    return table.map(lambda share: f"{share:.2f}")


def broken_words(kept: Mapping[str, Any]) -> str:
    """What the table comes to, and that rare pairs survive."""
    codes, whole = (kept["broken"][name]["any"] for name in ("thinning, codes alone", "whole"))
    rare = kept["rare"]
    return (
        f"{codes:.1%} of the patients of the generator of codes break a rule, {whole:.2%} of whole "
        f"patients. {kept['rules']} rules were found, and {kept['kept']:.1%} of the patients drawn "
        f"keep them all. Of {rare['pairs']:,} pairs of codes that other real patients show once or "
        f"twice, {rare['allowed']:.1%} stay allowed."
    ).replace("%", " %")


# Patients to look at ------------------------------------------------------------------------------


def blinded(
    real: Patients | None, synthetic: Patients, *, n: int = 10, seed: int = 0
) -> tuple[Html, Html]:
    """Real and synthetic patients in one order by chance, each a timeline, and which are which.

    Without real ones the synthetic patients alone.
    """
    rng = np.random.default_rng(seed)
    sides = {"synthetic": synthetic} if real is None else {"real": real, "synthetic": synthetic}
    cards = []
    for name, side in sides.items():
        cards += [(timeline(side, row), name) for row in rng.permutation(len(side))[:n]]
    shown = {chr(ord("A") + k): cards[row] for k, row in enumerate(rng.permutation(len(cards)))}
    articles = [f"<strong>{letter}</strong> {card}" for letter, (card, _) in shown.items()]
    body = "".join(f"<article>{article}</article>" for article in articles)
    made = ", ".join(letter for letter, (_, name) in shown.items() if name == "synthetic")
    answer = f"<p>Synthetic: {made}. All others are held-out patients.</p>"
    return Html(f'<div class="patients">{body}</div>'), folded("Which are synthetic?", answer)


def timeline(found: Patients, row: int) -> str:
    """One patient as HTML: columns, then visit by visit days, columns and titles of codes."""
    own = ", ".join(_values(found.columns, row))
    visits = range(int(found.starts[row]), int(found.starts[row + 1]))
    items = "".join(f"<li>{_visit(found, visit)}</li>" for visit in visits)
    return f"{html.escape(own)}<ol>{items}</ol>"


def _visit(found: Patients, visit: int) -> str:
    names = tuple(name for name in found.visit_columns.names if name != DAYS)
    facts = ", ".join(_values(found.visit_columns.take(names), visit))
    days = found.visit_columns.of(DAYS)[visit] if DAYS in found.visit_columns.names else np.nan
    after = "" if np.isnan(days) else f"after {days:,.0f} days: "
    codes = found.counts[[visit]].indices
    titles = [str(found.titles[j]) or str(found.codes[j]) for j in codes]
    more = f"; and {len(titles) - SHOWN} more" if len(titles) > SHOWN else ""
    return f"{after}{html.escape(facts)}<br>{html.escape('; '.join(titles[:SHOWN]))}{more}"


def _values(columns: Columns, row: int) -> Iterator[str]:
    """``name value`` of each column that has one; the name alone for a yes, nothing for a no."""
    for column, values in columns:
        value, name = values[row], column.name.replace("_", " ")
        if column.kind == "number" and not np.isnan(value):
            yield f"{name} {value:,g}"
        elif column.kind != "number" and value >= 0:
            level = column.levels[value].lower()
            yield from {"yes": [name], "no": []}.get(level, [f"{name} {level}"])
