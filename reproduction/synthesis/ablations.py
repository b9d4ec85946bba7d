"""The report's ablations run again: reported values beside ours, and whether the order is found.

The rows of each table, their labels and the reported rows that they repeat stand in the plan. A
reported difference between two rows is found where ours has its sign and its 95 % interval
(Welch's, over random seeds) excludes 0; reversed where the interval lies on the other side; else
there is no clear difference.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import combinations
from typing import Any

import pandas as pd

from reproduction import figures
from reproduction.estimates import Estimate, student, welch
from reproduction.synthesis import experiments, reported, scores
from reproduction.synthesis.experiments import Run, TableRow
from reproduction.synthesis.reported import QUOTES
from reproduction.synthesis.scores import POINTS, Rows, title
from reproduction.tables import Table, Words, cell, folded

#: Scores that the report gives, as it computes them, by their name in its table.
REPORTED = {
    "DDM": "reported.ddm",
    "PCD": "reported.pcd",
    "log-cluster": "reported.log_cluster",
    "cosine share": "reported.cosine_share",
    "density ratio": "fidelity.density_ratio",
}
#: Scores of the corrected tables: those that the page on the metrics finds to see most.
CORRECTED = (
    "fidelity.density_ratio",
    "fidelity.codes_missing",
    "fidelity.pcd_top200",
    "fidelity.log_cluster_weighted",
    "fidelity.patient_codes_ks",
    "utility.discriminator_auc",
)
#: Scores of the figures: three that the report gives, then three that see most.
DRAWN = (
    "fidelity.density_ratio",
    "reported.pcd",
    "reported.log_cluster",
    "fidelity.codes_missing",
    "fidelity.patient_codes_ks",
    "utility.discriminator_auc",
)
#: Scores by which the best row of a table is named.
SEEING = DRAWN[-2:]
#: The sweeps of the report, then those made here alone.
SWEEPS = ("sizes", "rates", "epochs", "official", "start", "counts", "presence")
#: Scores of the main table.
MAIN = (*REPORTED.values(), *CORRECTED[1:], "privacy.membership_auc")
#: Scores by which it is judged whether a factor of scale still matters.
SCALED = (*REPORTED.values(), *CORRECTED[1:])


def labelled(found: Rows, labels: Mapping[str, str]) -> dict[str, Sequence[Run]]:
    """The rows of the plan that have finished runs, {label: runs} from {label: name}."""
    return {label: found[name] for label, name in labels.items() if found.get(name)}


def rows_of(which: str) -> list[TableRow]:
    """The rows of a table of the plan, in their order."""
    return experiments.tables()[which].rows


def pick(found: Rows, which: str) -> dict[str, Sequence[Run]]:
    """The rows of a table of the plan that have finished runs, by label."""
    return labelled(found, {row.label: row.name for row in rows_of(which)})


def names(which: str) -> list[str]:
    """The names in the plan of the rows of a table."""
    return [row.name for row in rows_of(which)]


# Scale --------------------------------------------------------------------------------------------


def widths(name: str, dataset: str, source: str | None, seed: int) -> dict[str, list[Run]]:
    """A row's finished runs in the regime by the width of its network, narrowest first."""
    found: dict[int, list[Run]] = {}
    for profile in experiments.PLAN.profiles:
        row = experiments.plan(dataset, source, profile, seed)[name]
        runs = [again.result for again in experiments.replicates(row) if again.finished]
        if runs and not scores.departs(runs):
            found[asdict(row.config)["width"]] = runs
    return {str(width): found[width] for width in sorted(found)}


def scale(rows: Rows) -> pd.DataFrame:
    """A row a score, a column a width, with runs or intervals."""
    sheet: dict[str, dict[str, str]] = {}
    for key in SCALED:
        found = {name: str(scores.over_seeds(runs, key)) for name, runs in rows.items()}
        sheet[title(key)] = found | {POINTS["real"]: cell(scores.point(rows, "real", key))}
    return pd.DataFrame.from_dict(sheet, orient="index")


def outside(rows: Rows, base: str, what: str, *, another: bool = False) -> str:
    """A sentence a row: which of its scores lie outside the 95 % intervals of the row ``base``.

    With ``another`` these are the ranges in which another run of that row would lie. Empty where
    there is nothing to compare; scores without an interval are left out.
    """
    if base not in rows or len(rows) < 2:
        return ""
    every = {key: _interval(rows[base], key, another) for key in SCALED}
    known = {key: each for key, each in every.items() if each.has_interval}
    if not known:
        return f"No score of {what} {base} has an interval to compare with."
    of = f"the 95 % {'range of another run at' if another else 'interval of'} {what} {base}"
    lines, others = [], [name for name in rows if name != base]
    for name in others:
        here = {key: scores.over_seeds(rows[name], key).value for key in known}
        far = [title(key) for key, each in known.items() if not each.low <= here[key] <= each.high]
        listed = f" ({'; '.join(far)})" if far else ""
        number = f"{len(far) or 'none'} of {len(known)} scores{listed}"
        lines.append(f"- {what.capitalize()} {name}, outside {of}: {number}.")
    return "\n".join(lines)


def _interval(runs: Sequence[Run], key: str, another: bool) -> Estimate:
    if another:
        return student(scores.values(runs, key), scores.limits(key), another=True)
    return scores.over_seeds(runs, key)


# Reported values ----------------------------------------------------------------------------------


def of_report(experiment: str | None) -> dict[str, float]:
    """The scores that the report gives for a row, by our key, with the digits given elsewhere.

    Among them the published log-cluster that follows from the reported one, where one does.
    """
    facts = QUOTES.values
    row = next((row for row in facts["report"] if row["experiment"] == experiment), None)
    if row is None:
        return {}
    clusters = facts["report_clusters"]
    return {
        "reported.ddm": float(reported.ddm_digits()[row["title"]]),
        "reported.pcd": row["pcd"],
        "reported.log_cluster": row["log_cluster_unrounded"],
        "reported.cosine_share": row["cosine"] / 100,
        "fidelity.density_ratio": row["density"] / facts["report_real_density"],
        "fidelity.log_cluster": reported.published(row["log_cluster_unrounded"], clusters),
    }


#: The paper's scores by our key.
PAPER = {
    "fidelity.mean_count_mae": "ddm",
    "fidelity.pcd": "pcd",
    "fidelity.log_cluster": "log_cluster",
    "utility.sra": "sra",
}


def of_paper(title: str = "ScoEHR") -> dict[str, str]:
    """The scores that the paper gives for a model on MIMIC-III, by our key, with its margins."""
    row = next(row for row in QUOTES.values["paper"] if row["title"] == title)
    margins = {name: f" ± {row[f'{name} ±']}" if f"{name} ±" in row else "" for name in row}
    found = {key: f"{row[name]}{margins[name]}" for key, name in PAPER.items() if name in row}
    return found | ({"reported.cosine_share": f"{row['cosine']:g} %"} if "cosine" in row else {})


def reported_curves(stage: str) -> dict[str, pd.DataFrame]:
    """Reported losses of a stage by latent size: a table with ``set``, ``epoch`` and ``loss``."""
    found: dict[str, list[pd.DataFrame]] = {}
    for curve in QUOTES.values["curves"]:
        if curve["stage"] == stage:
            columns = {"set": curve["set"], "epoch": curve["epochs"], "loss": curve["loss"]}
            found.setdefault(curve["latent"], []).append(pd.DataFrame(columns))
    return {latent: pd.concat(parts) for latent, parts in found.items()}


def reported_codes(name: str) -> list[float]:
    """Codes per patient of every reported row that a row of the plan repeats."""
    every = [row for table in experiments.tables().values() for row in table.rows]
    twins = {row.reported for row in every if row.name == name and row.reported}
    return reported.report().loc[reported.named(sorted(twins)), "codes per patient"].tolist()


# Tables and figures -------------------------------------------------------------------------------


def main_table(
    rows: Rows, theirs: Mapping[str, Mapping[str, float | str]], keys: Sequence[str] = MAIN
) -> pd.DataFrame:
    """A row a score; reported values, our rows, fresh real patients and independent columns.

    ``theirs``: {heading: {key of a score: reported value}}.
    """
    ours = scores.table(rows, keys, references=scores.FLOORS)
    cells = {head: [cell(values.get(key)) for key in keys] for head, values in theirs.items()}
    return pd.concat([pd.DataFrame(cells, index=ours.index), ours], axis=1)


def corrected(found: Rows, which: str) -> pd.DataFrame:
    """The corrected scores, a row a row of a table of the plan, then two reference points."""
    return scores.table(pick(found, which), CORRECTED, references=scores.FLOORS).T


def whole(found: Rows, which: str) -> dict[str, Sequence[Run]]:
    """All rows of a table of the plan by label, without a run where none has been made."""
    return {row.label: found.get(row.name, []) for row in rows_of(which)}


def reported_panels(found: Rows, which: str) -> dict[str, dict[str, float]]:
    """The reported values of the panels: {title of a score: {row: value}}."""
    names = scores.labelled(whole(found, which))
    return _reported(dict(zip(names, rows_of(which), strict=True)))


def _reported(rows: Mapping[Any, TableRow]) -> dict[str, dict[Any, float]]:
    """The values that the report gives for rows: {title of a score: {name of the row: value}}."""
    theirs = {name: of_report(row.reported) for name, row in rows.items()}
    return {
        title(key): {name: values[key] for name, values in theirs.items() if key in values}
        for key in DRAWN
    }


def lengths(found: Rows, keys: Sequence[str]) -> dict[str, dict[str, dict[float, Estimate]]]:
    """What :func:`reproduction.figures.against` draws: quantities by epochs and schedule."""
    tables = {"report's schedule": "epochs", "paper's schedule": "official"}
    lines: dict[str, dict[str, dict[float, Estimate]]] = {title(key): {} for key in keys}
    for heading, which in tables.items():
        if rows := scores.in_regime(pick(found, which)):
            for key in keys:
                line = {float(name): scores.over_seeds(runs, key) for name, runs in rows.items()}
                lines[title(key)][heading] = line
    return lines


def reported_lengths() -> dict[str, dict[float, float]]:
    """The reported values of :func:`lengths`: {title of a score: {epochs: value}}."""
    return _reported({float(row.label): row for row in rows_of("epochs")})


def show(found: Rows, which: str) -> None:
    """Display a sweep in a notebook: its conclusion, a figure, a table, and the order in full."""
    from IPython.display import display  # only notebooks need IPython

    display(Words(summary(found, which)))
    draw(found, which)
    show_table(found, which)
    show_order(found, which)


def draw(found: Rows, which: str) -> None:
    """Show the runs of a table of the plan, beside reported values and reference points."""
    rows = whole(found, which)
    here, floors = scores.panels(rows, DRAWN), scores.points(rows, DRAWN)
    drawn = figures.dots(here, floors, reported_panels(found, which))
    quoted = any(row.reported for row in rows_of(which))
    beside = ", diamonds what the report gives for MIMIC-III" if quoted else ""
    finding = best(found, which, SEEING[0]) or f"{experiments.tables()[which].title}."
    figures.show(drawn, f"{finding} Dots are runs here{beside}.")


def show_table(found: Rows, which: str) -> None:
    """Display the corrected scores of a sweep, if any of its rows has been run."""
    from IPython.display import display

    if group := pick(found, which):
        caption = f"{experiments.tables()[which].title}. {scores.caption(group)}"
        display(Table(corrected(found, which), caption))


def show_order(found: Rows, which: str) -> None:
    """Display every reported difference of a sweep, folded."""
    from IPython.display import display

    if len(pairs := order(found, which)):
        table = Table(pairs, "Reported differences between two rows, and ours [95 %, Welch]")
        display(folded(f"All {len(pairs)} reported differences", table))


def show_changes(found: Rows, pairs: Mapping[str, tuple[str, str]], what: str) -> None:
    """Display the changes from one row to another, if both of some pair have been run."""
    from IPython.display import display

    table = changes(found, pairs, CORRECTED)
    caption = f"What {what}: differences [95 %, Welch]"
    display(Table(table, caption) if len(table) else Words("Not run yet."))


def without_autoencoder() -> pd.DataFrame:
    """What the two studies report of a model with and without an autoencoder, a row a score."""
    keys = ("reported.pcd", "reported.log_cluster", "reported.cosine_share", *PAPER)
    columns: dict[str, Mapping[str, float | str]] = {
        "the paper": {**of_paper()},
        "the paper, without": {**of_paper("ScoEHR without autoencoder")},
        "the report": {**of_report("reported")},
        "the report, without": {**of_report("reported-none")},
    }
    cells = {head: [cell(values.get(key)) for key in keys] for head, values in columns.items()}
    return pd.DataFrame(cells, index=[title(key) for key in keys])


def overview(found: Rows) -> pd.DataFrame:
    """A row a sweep: rows run, reported values met, reported order, best row."""
    table = {}
    for which in SWEEPS:
        values, pairs = level(found, which), order(found, which)
        table[experiments.tables()[which].title] = {
            "rows run": f"{len(pick(found, which))} of {len(rows_of(which))}",
            "values met": _share(values["within"].sum(), len(values)),
            **{name: _share((pairs["verdict"] == name).sum(), len(pairs)) for name in VERDICTS[:2]},
            "best by discriminator AUC": leader(found, which, SEEING[-1]),
        }
    return pd.DataFrame.from_dict(table, orient="index")


def _share(part: int, whole: int) -> str:
    return f"{part} of {whole}" if whole else "–"


# The reported level -------------------------------------------------------------------------------


def spread() -> dict[str, float]:
    """The difference between the report's two runs of one model, by the key of a score."""
    one, other = (of_report(name) for name in reported.TWINS)
    return {key: abs(one[key] - other[key]) for key in one}


def level(found: Rows, which: str) -> pd.DataFrame:
    """Every reported value of a row that was run in the regime, beside ours.

    Columns: score, row, reported, here, within (whether ours is as near to it as the report's two
    runs of one model are to each other).
    """
    table, apart, rows = [], spread(), scores.in_regime(pick(found, which))
    for row in rows_of(which):
        theirs, runs = of_report(row.reported), rows.get(row.label, [])
        for name, key in REPORTED.items():
            here = scores.over_seeds(runs, key) if runs and key in theirs else Estimate(n=0)
            if here.n:
                near = abs(here.value - theirs[key]) <= apart[key]
                table.append((name, row.label, cell(theirs[key]), str(here), near))
    return pd.DataFrame(table, columns=["score", "row", "reported", "here", "within"])


def level_summary(values: pd.DataFrame) -> str:
    """One sentence on how much of the reported level is found, by score."""
    if not len(values):
        return ""
    counts = values.groupby("score", sort=False)["within"].agg(["sum", "count"])
    parts = [f"{name} {row['sum']} of {row['count']}" for name, row in counts.iterrows()]
    return (
        f"Level: {int(values['within'].sum())} of {len(values)} reported values are met within the "
        f"difference of the report's two runs of one model ({', '.join(parts)}). The report's "
        "patients are those of MIMIC-III."
    )


# The reported order -------------------------------------------------------------------------------

VERDICTS = ("as reported", "reversed", "no clear difference", "no score")
FOUND, REVERSED, OPEN, GONE = VERDICTS


def order(found: Rows, which: str) -> pd.DataFrame:
    """Every reported difference between two rows of a table beside ours, in the regime alone.

    Columns: score, rows, reported (first less second), here (with interval), verdict: "as
    reported", "reversed", "no clear difference", or "no score" where a row has none here, as when
    all its runs diverged. Equal reported values are left out.
    """
    rows, table = scores.in_regime(pick(found, which)), []
    compared = [row for row in rows_of(which) if row.reported and row.label in rows]
    for name, key in REPORTED.items():
        numbers = {row.label: scores.values(rows[row.label], key) for row in compared}
        for one, other in combinations(compared, 2):
            gap = of_report(one.reported)[key] - of_report(other.reported)[key]
            if gap:  # no order between equal values
                pair = f"{one.label} – {other.label}"
                here, verdict = _verdict(gap, numbers[one.label], numbers[other.label])
                table.append((name, pair, cell(gap), here, verdict))
    return pd.DataFrame(table, columns=["score", "rows", "reported", "here", "verdict"])


def _verdict(theirs: float, ones: Sequence[float], others: Sequence[float]) -> tuple[str, str]:
    if not (ones and others):
        return "–", GONE
    gap = welch(ones, others)
    if not (gap.above() or gap.below()):  # also where one random seed leaves no interval
        return str(gap), OPEN
    return str(gap), FOUND if gap.value * theirs > 0 else REVERSED


def order_summary(pairs: pd.DataFrame) -> str:
    """One sentence on how much of the reported order is found."""
    counts = pairs["verdict"].value_counts()
    share = ", ".join(f"{counts[name]} {name}" for name in VERDICTS if name in counts)
    complete = (pairs["verdict"] == FOUND).groupby(pairs["score"], sort=False).all()
    whole = ", ".join(complete[complete].index)
    kept = f"The whole order is found in {whole}." if whole else "In no score is all of it found."
    return f"Order: of {len(pairs)} reported differences between two rows, {share}. {kept}"


def _placed(found: Rows, which: str, key: str) -> dict[str, list[float]]:
    """The rows of a table that have a score, best first, with values turned so that low is good."""

    def worth(run: Run) -> float | None:
        value = scores.value(run, key)
        return None if value is None else scores.badness(key, [value])[0]

    return scores.placed(pick(found, which), worth)


def leader(found: Rows, which: str, key: str) -> str:
    """The best row of a table by a score, in brackets where it is not clearly better."""
    placed = _placed(found, which, key)
    if len(placed) < 2:
        return "–"
    first = next(iter(placed))
    return first if scores.leads(placed) else f"({first})"


def best(found: Rows, which: str, key: str) -> str:
    """One sentence on the best row of a table by a score, and whether it is told from the next.

    Empty for fewer than two rows with a value.
    """
    placed = _placed(found, which, key)
    if len(placed) < 2:
        return ""
    rows, (first, second, *_) = pick(found, which), placed
    apart = "" if scores.leads(placed) else "not "
    here = [scores.over_seeds(rows[label], key) for label in (first, second)]
    return (
        f"Best by {title(key)} is {first} ({here[0]}), which is {apart}clearly better than the "
        f"next, {second} ({here[1]})."
    )


def lacking(found: Rows, which: str) -> str:
    """One sentence on the rows of a table that have not been run."""
    absent = [row.label for row in rows_of(which) if not found.get(row.name)]
    return f"Not run yet: {'; '.join(absent)}." if absent else ""


def summary(found: Rows, which: str) -> str:
    """An ablation as a Markdown list: reported level, reported order, best rows by better scores.

    All rest on rows in the regime alone.
    """
    pairs = order(found, which)
    lines = [level_summary(level(found, which)), order_summary(pairs) if len(pairs) else ""]
    lines += [best(found, which, SEEING[-1]), scores.divergences(pick(found, which), "")]
    lines.append(lacking(found, which))
    return "\n".join(f"- {line}" for line in lines if line)


def change(found: Rows, one: str, other: str, key: str) -> str:
    """The change of a quantity from one row of the plan to another; a dash where one lacks it."""
    before, after = (scores.values(found.get(name, []), key) for name in (one, other))
    return str(welch(after, before)) if before and after else "–"


def changes(found: Rows, pairs: Mapping[str, tuple[str, str]], keys: Sequence[str]) -> pd.DataFrame:
    """Changes between two rows each, {name: (from, to)}, a column a pair; a row a quantity."""
    pairs = {name: pair for name, pair in pairs.items() if all(found.get(row) for row in pair)}
    table = {
        title(key): {name: change(found, *pair, key) for name, pair in pairs.items()}
        for key in keys
    }
    return pd.DataFrame.from_dict(table, orient="index") if pairs else pd.DataFrame()


# Frozen training ----------------------------------------------------------------------------------


def frozen(runs: Sequence[Run], epoch: int) -> Estimate:
    """Change in percent of the score network's validation loss from ``epoch`` to the last one."""

    def change(run: Run) -> float | None:
        losses = _of_score(run)["validation_loss"]
        if epoch not in losses.index:
            return None
        return 100 * float(losses.iloc[-1] / losses.loc[epoch] - 1)

    return scores.estimate(runs, change)


def left(runs: Sequence[Run], epoch: int) -> float:
    """Share of the learning rate's sum that is spent after ``epoch``; NaN without a run."""
    if not runs:
        return math.nan
    rates = _of_score(runs[0])["learning_rate"]
    return float(rates[rates.index > epoch].sum() / rates.sum())


def _of_score(run: Run) -> pd.DataFrame:
    return run.history[run.history["stage"] == "score"].set_index("epoch")
