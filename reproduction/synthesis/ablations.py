"""The ablations of the report run again: printed values beside ours, and whether the printed order is found.

A printed difference between two rows is found where ours has its sign and its 95 % interval (Welch's, over random
seeds) excludes 0; reversed where the interval lies on the other side; else the rows are not told apart.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import combinations
from typing import Any, NamedTuple

import pandas as pd

from reproduction import figures
from reproduction.estimates import Estimate, student, welch
from reproduction.synthesis import experiments, reported, scores
from reproduction.synthesis.experiments import Run
from reproduction.synthesis.scores import POINTS, Rows, title
from reproduction.tables import Table, cell
from scoehr.metrics import METRICS, REFERENCES


class Row(NamedTuple):
    """A row of an ablation: its name in the plan, what it is called, and the printed row that it makes again."""

    name: str
    label: str
    printed: str | None = None


#: The ablations, each with its rows in the order of the report. Attention and schedule are ours to add.
ABLATIONS: dict[str, tuple[Row, ...]] = {
    "sizes": (
        Row("reported-64", "64", "reported-64"),
        Row("reported", "144", "reported"),
        Row("reported-144-attention", "144, more attention"),
        Row("reported-256-plain", "256, less attention"),
        Row("reported-256", "256", "reported-256"),
        Row("reported-none", "none, negatives cut"),
        Row("reported-none-unclipped", "none", "reported-none"),
    ),
    "rates": (
        Row("reported-rate-00025", "0.00025", "reported-rate-00025"),
        Row("reported-rate-0005", "0.0005", "reported-rate-0005"),
        Row("reported-epochs-30", "0.001", "reported-epochs-30"),
        Row("reported-rate-0025", "0.0025", "reported-rate-0025"),
        Row("reported-rate-005", "0.005", "reported-rate-005"),
    ),
    "epochs": tuple(
        Row(
            "reported" if number == 50 else f"reported-epochs-{number}",
            str(number),
            f"reported-epochs-{number}",
        )
        for number in (12, 25, 30, 50, 75, 100)
    ),
    "official": tuple(
        Row(f"official-epochs-{number}", str(number)) for number in (12, 25, 30, 50, 75, 100)
    ),
    "steps": (
        *(Row(f"reported-steps-{number}", str(number)) for number in (40, 100, 250, 500)),
        Row("reported", "1,000"),
        Row("reported-sra1", "50, order 3/2"),
    ),
    "bare": (
        Row("reported", "144 dimensions", "reported"),
        Row("reported-none", "negatives cut"),
        Row("reported-none-unclipped", "negatives kept", "reported-none"),
    ),
    "start": (
        Row("reported", "re-initialised", "reported"),
        Row("reported-native", "the network's own start"),
    ),
    "counts": (
        Row("reported", "ReLU, squared error", "reported"),
        Row("reported-poisson", "Poisson likelihood"),
    ),
    "presence": (
        Row("reported-binary", "ReLU, squared error"),
        Row("reported-binary-sigmoid", "sigmoid, cross-entropy"),
        Row("paper", "the paper's model"),
    ),
}
#: What each of :data:`ABLATIONS` is about.
TITLES = {
    "steps": "Steps of the sampler",
    "sizes": "Latent dimensions",
    "rates": "Learning rate",
    "epochs": "Epochs under the report's schedule",
    "official": "Epochs under the paper's schedule",
    "start": "Start of the score network",
    "counts": "Heads on counts",
    "presence": "Heads on presence",
}
#: Scores that the report printed, as it computes them, by their name in its table.
REPORTED = {
    "DDM": "reported.ddm",
    "PCD": "reported.pcd",
    "log-cluster": "reported.log_cluster",
    "cosine share": "reported.cosine_share",
    "density ratio": "fidelity.density_ratio",
}
#: Scores that can tell, for the tables of corrected scores and for the figures.
CORRECTED = (
    "fidelity.density_ratio", "fidelity.codes_missing", "fidelity.prevalence_mae", "fidelity.pcd_top200",
    "fidelity.log_cluster_weighted", "fidelity.patient_codes_ks", "utility.discriminator_auc",
)  # fmt: skip
DRAWN = CORRECTED[1:]


#: Rows of the plan with an autoencoder, or a score network, of each printed size.
AUTOENCODERS = {"64": "reported-64", "144": "reported", "256": "reported-256"}
NETWORKS = {**AUTOENCODERS, "none": "reported-none"}
#: Rows whose autoencoders differ in what the decoder is told to mean.
HEADS = {
    "counts, squared error": "reported", "counts, Poisson": "reported-poisson", "counts, fast path": "fast",
    "presence, squared error": "reported-binary", "presence, cross-entropy": "reported-binary-sigmoid",
    "presence, the paper": "paper",
}  # fmt: skip


def labelled(found: Rows, labels: Mapping[str, str]) -> dict[str, Sequence[Run]]:
    """The rows of the plan that have finished runs, {label: runs} from {label: name}."""
    return {label: found[name] for label, name in labels.items() if found.get(name)}


def pick(found: Rows, which: str) -> dict[str, Sequence[Run]]:
    """The rows of an ablation that have finished runs, by label."""
    return labelled(found, {row.label: row.name for row in ABLATIONS[which]})


def names(which: str) -> list[str]:
    """The names in the plan of the rows of an ablation."""
    return [row.name for row in ABLATIONS[which]]


# Scale ---------------------------------------------------------------------------------------------------------------

#: Scores by which it is judged whether a factor of scale still matters.
SCALED = (*REPORTED.values(), *CORRECTED[1:])


def widths(name: str, dataset: str, source: str | None, seed: int) -> dict[str, list[Run]]:
    """A row's finished runs in the regime by the width of its network, narrowest first; nothing is computed."""
    found: dict[int, list[Run]] = {}
    for profile in experiments.profiles():
        row = experiments.plan(dataset, source, profile, seed)[name]
        runs = [again.result for again in experiments.replicates(row) if again.finished]
        if runs and not scores.departs(runs):
            found[asdict(row.config)["width"]] = runs
    return {str(width): found[width] for width in sorted(found)}


def scale(rows: Rows, full: str) -> pd.DataFrame:
    """A row a score, a column a step or a width, with intervals in that of ``full``, by which the others are judged."""
    sheet: dict[str, dict[str, str]] = {}
    for key in SCALED:
        found = {name: scores.over_seeds(runs, key) for name, runs in rows.items()}
        sheet[METRICS[key].title] = {
            scores.label(name, rows[name]): str(each) if name == full else cell(each.value)
            for name, each in found.items()
        } | {POINTS["real"]: cell(scores.point(rows, "real", key))}
    return pd.DataFrame.from_dict(sheet, orient="index")


def moved(rows: Rows, full: str) -> dict[str, list[str]]:
    """By row, the scores that differ from those of the row ``full`` by more than half of that one's 95 % interval.

    Scores without an interval are left out.
    """
    reach = {key: scores.over_seeds(rows[full], key) for key in SCALED}
    known = {key: each for key, each in reach.items() if each.n and each.has_interval}

    def far(runs: Sequence[Run], key: str) -> bool:
        half = (known[key].high - known[key].low) / 2
        return abs(scores.over_seeds(runs, key).value - known[key].value) > half

    return {
        name: [METRICS[key].title for key in known if far(runs, key)]
        for name, runs in rows.items()
        if name != full
    }


def converged(rows: Rows, full: str, what: str) -> str:
    """One sentence a row: which scores still move between it and the row ``full``."""
    if full not in rows or len(rows) < 2:
        return ""
    lines = []
    for name, titles in moved(rows, full).items():
        subject = f"{len(titles)} of {len(SCALED)} scores" if titles else "no score"
        names = f" ({'; '.join(titles)})" if titles else ""
        lines.append(
            f"- {what} {name} against {full}: half its 95 % interval is left by {subject}{names}."
        )
    return "\n".join(lines)


# What was printed ----------------------------------------------------------------------------------------------------


def quoted(experiment: str | None) -> dict[str, float]:
    """The scores that the report printed of a row, by our key, with the digits that it printed elsewhere.

    Among them the published log-cluster that follows from the printed one, where one does.
    """
    facts = reported.QUOTES.values
    row = next((row for row in facts["report"] if row["experiment"] == experiment), None)
    if row is None:
        return {}
    return {
        "reported.ddm": float(reported.ddm_digits()[row["title"]]),
        "reported.pcd": row["pcd"],
        "reported.log_cluster": row["log_cluster_unrounded"],
        "reported.cosine_share": row["cosine"] / 100,
        "fidelity.density_ratio": row["density"] / facts["report_real_density"],
        "fidelity.log_cluster": reported.published(
            row["log_cluster_unrounded"], facts["report_clusters"]
        ),
    }


def quoted_paper(title: str = "ScoEHR") -> dict[str, str]:
    """The scores that the paper printed of a model for MIMIC-III, by our key, with its margins."""
    row = next(row for row in reported.QUOTES.values["paper"] if row["title"] == title)
    keys = {
        "ddm": "fidelity.mean_count_mae",
        "pcd": "fidelity.pcd",
        "log_cluster": "fidelity.log_cluster",
        "sra": "utility.sra",
    }
    said = {
        key: f"{row[name]}" + (f" ± {row[f'{name} ±']}" if f"{name} ±" in row else "")
        for name, key in keys.items()
        if name in row
    }
    return said | ({"reported.cosine_share": f"{row['cosine']:g} %"} if "cosine" in row else {})


def quoted_curves(stage: str) -> dict[str, pd.DataFrame]:
    """Printed losses of a stage by latent size: a table with ``set`` (train or test), ``epoch`` and ``loss``."""
    found: dict[str, list[pd.DataFrame]] = {}
    for curve in reported.QUOTES.values["curves"]:
        if curve["stage"] == stage:
            points = pd.DataFrame(
                {"set": curve["set"], "epoch": curve["epochs"], "loss": curve["loss"]}
            )
            found.setdefault(curve["latent"], []).append(points)
    return {latent: pd.concat(parts) for latent, parts in found.items()}


def quoted_density(name: str) -> list[float]:
    """Every mean cell that the report printed for what a row of the plan makes again."""
    asked = {row.printed for rows in ABLATIONS.values() for row in rows if row.name == name}
    return [
        row["density"] for row in reported.QUOTES.values["report"] if row["experiment"] in asked
    ]


# Tables --------------------------------------------------------------------------------------------------------------


#: Scores of the main table.
MAIN = (
    "reported.ddm", "reported.pcd", "reported.log_cluster", "reported.cosine_share",
    "fidelity.density_ratio", "fidelity.codes_missing", "fidelity.prevalence_mae", "fidelity.mean_count_mae",
    "fidelity.pcd", "fidelity.pcd_top200", "fidelity.cmd", "fidelity.log_cluster", "fidelity.log_cluster_weighted",
    "fidelity.patient_codes_ks", "utility.discriminator_auc", "utility.auroc_loss", "utility.sra",
    "privacy.membership_auc",
)  # fmt: skip


def main_table(rows: Rows, said: Mapping[str, Mapping[str, Any]]) -> pd.DataFrame:
    """The main table of one kind of data: a row a score; columns: printed values, our rows, reference points.

    ``said``: {heading: {key of a score: printed value}}.
    """
    ours = scores.table(rows, MAIN, references=REFERENCES)
    cells = {heading: [cell(values.get(key)) for key in MAIN] for heading, values in said.items()}
    return pd.concat([pd.DataFrame(cells, index=ours.index), ours], axis=1)


def as_reported(found: Rows, which: str) -> pd.DataFrame:
    """The scores as the report computes them: printed and ours, a row a row of the ablation, then reference points."""
    rows = pick(found, which)
    table: dict[str, dict[str, str]] = {}
    for row in ABLATIONS[which]:
        if row.label in rows:
            said = quoted(row.printed)
            table[scores.label(row.label, rows[row.label])] = {
                column: text
                for name, key in REPORTED.items()
                for column, text in (
                    (f"{name}, printed", cell(said.get(key))),
                    (f"{name}, here", str(scores.over_seeds(rows[row.label], key))),
                )
            }
    for point in REFERENCES:
        table[POINTS[point]] = {
            f"{name}, here": cell(scores.point(rows, point, key)) for name, key in REPORTED.items()
        }
    columns = [f"{name}, {whose}" for name in REPORTED for whose in ("printed", "here")]
    sheet = pd.DataFrame.from_dict(table, orient="index").reindex(columns=columns).fillna("–")
    return sheet.loc[:, [column for column in columns if (sheet[column] != "–").any()]]


def corrected(found: Rows, which: str, keys: Sequence[str] = CORRECTED) -> pd.DataFrame:
    """Scores that can tell, a row a row of the ablation, then the reference points."""
    return scores.table(pick(found, which), keys, references=REFERENCES).T


def panels(found: Rows, which: str, keys: Sequence[str] = DRAWN) -> dict[str, dict[str, Estimate]]:
    """What :func:`reproduction.figures.dots` draws: {title of a score: {row: (mean, low, high)}}."""
    rows = scores.labelled(pick(found, which))
    return {
        METRICS[key].title: {label: scores.over_seeds(runs, key) for label, runs in rows.items()}
        for key in keys
    }


def lengths(found: Rows, keys: Sequence[str]) -> dict[str, dict[str, dict[float, Estimate]]]:
    """What :func:`reproduction.figures.against` draws: each quantity against the epochs, under both schedules."""
    series = {
        title: scores.in_regime(pick(found, which))
        for title, which in {"report's schedule": "epochs", "paper's schedule": "official"}.items()
    }
    return {
        title(key): {
            name: {float(label): scores.over_seeds(runs, key) for label, runs in rows.items()}
            for name, rows in series.items()
            if rows
        }
        for key in keys
    }


def points(
    found: Rows, which: str, keys: Sequence[str] = DRAWN
) -> dict[str, dict[str, float | None]]:
    """The two reference points of the figures: {name: {title of a score: value}}."""
    rows = pick(found, which)
    return {
        POINTS[point]: {METRICS[key].title: scores.point(rows, point, key) for key in keys}
        for point in ("real", "independent")
    }


def show(
    found: Rows, which: str, *, of: str = "", report: bool = True, figure: bool = True
) -> None:
    """Display an ablation in a notebook: rows not run yet, scores as the report computes them, scores that can tell,
    and these as a figure. Without ``report`` or ``figure`` that part is left out; ``of`` is put before captions."""
    from IPython.display import Markdown, display  # only notebooks need IPython

    heading = of + TITLES[which]
    if lacking := [name for name in names(which) if name not in found]:
        display(Markdown(f"Not run yet: {', '.join(f'`{name}`' for name in lacking)}."))
    if not (group := pick(found, which)):
        return
    said = f"{scores.caption(group)} {scores.divergences(group)}"
    if report:
        display(
            Table(
                as_reported(found, which), f"{heading}, scores as the report computes them. {said}"
            )
        )
    display(Table(corrected(found, which), f"{heading}, scores that can tell. {said}"))
    if figure:
        caption = (
            f"{heading}: means over random seeds with 95 % intervals, and two reference points."
        )
        figures.show(figures.dots(panels(found, which), points(found, which)), caption)


def show_tally(pairs: pd.DataFrame) -> None:
    """Display :func:`tally` of printed differences, if there are any."""
    from IPython.display import display

    if len(pairs):
        display(
            Table(
                tally(pairs),
                "Printed differences between two rows: how many are found here, by score",
            )
        )


# The printed level ---------------------------------------------------------------------------------------------------


def spread() -> dict[str, float]:
    """What separates the report's two printed runs of one model, by the key of a score."""
    one, other = (quoted(name) for name in reported.TWINS)
    return {key: abs(one[key] - other[key]) for key in one}


def level(found: Rows, which: str) -> pd.DataFrame:
    """Every printed value of a row of an ablation that was run in the regime, beside ours.

    Columns: score, row, printed, here, within (whether ours is as near to it as the report's two runs of one model are
    to each other).
    """
    table, apart = [], spread()
    for row in ABLATIONS[which]:
        runs = scores.in_regime(pick(found, which)).get(row.label, [])
        said = quoted(row.printed)
        for name, key in REPORTED.items():
            here = scores.over_seeds(runs, key) if runs and key in said else None
            if here is not None and here.n:
                near = abs(here.value - said[key]) <= apart[key]
                table.append((name, row.label, cell(said[key]), str(here), near))
    return pd.DataFrame(table, columns=["score", "row", "printed", "here", "within"])


def leveled(values: pd.DataFrame) -> str:
    """One sentence on how much of the printed level is found, by score."""
    if not len(values):
        return ""
    parts = [
        f"{name} {int(part.sum())} of {len(part)}"
        for name, part in values.groupby("score", sort=False)["within"]
    ]
    return (
        f"Level: {int(values['within'].sum())} of {len(values)} printed values are met within what separates the "
        f"report's two printed runs of one model ({', '.join(parts)}). The report's patients are those of MIMIC-III."
    )


# The printed order ---------------------------------------------------------------------------------------------------

FOUND, REVERSED, OPEN, GONE = "as printed", "reversed", "not told apart", "no score"


def order(found: Rows, which: str) -> pd.DataFrame:
    """Every printed difference between two rows of an ablation beside ours, of rows in the regime alone.

    Columns: score, rows, printed (first less second), here (with interval), verdict: "as printed", "reversed", "not
    told apart", or "no score" where a row has none here, as when all its runs diverged. Equal printed values are left
    out.
    """
    rows, table = scores.in_regime(pick(found, which)), []
    told = [row for row in ABLATIONS[which] if row.printed and row.label in rows]
    for name, key in REPORTED.items():
        numbers = {row.label: _numbers(rows[row.label], key) for row in told}
        for one, other in combinations(told, 2):
            said = quoted(one.printed)[key] - quoted(other.printed)[key]
            if said:  # no order between equal values
                here, verdict = _verdict(said, numbers[one.label], numbers[other.label])
                table.append((name, f"{one.label} – {other.label}", cell(said), here, verdict))
    return pd.DataFrame(table, columns=["score", "rows", "printed", "here", "verdict"])


def _numbers(runs: Sequence[Run], key: str) -> list[float]:
    return scores.numbers(runs, lambda run: scores.value(run, key))


def _verdict(said: float, ones: Sequence[float], others: Sequence[float]) -> tuple[str, str]:
    if not (ones and others):
        return "–", GONE
    gap = welch(ones, others)
    if not (gap.low > 0 or gap.high < 0):  # also where one random seed leaves no interval
        return str(gap), OPEN
    return str(gap), FOUND if gap.value * said > 0 else REVERSED


def tally(pairs: pd.DataFrame) -> pd.DataFrame:
    """How many printed differences are found, a row a score, a column a verdict."""
    counts = pd.crosstab(pairs["score"], pairs["verdict"]).reindex(index=list(REPORTED))
    columns = [verdict for verdict in (FOUND, REVERSED, OPEN, GONE) if verdict in counts]
    return counts[columns].rename_axis(index=None, columns=None)


def told(pairs: pd.DataFrame) -> str:
    """One sentence on how much of the printed order is found."""
    counts = pairs["verdict"].value_counts()
    share = ", ".join(
        f"{counts[verdict]} {verdict}"
        for verdict in (FOUND, REVERSED, OPEN, GONE)
        if verdict in counts
    )
    whole = [
        name
        for name, part in pairs.groupby("score", sort=False)["verdict"]
        if (part == FOUND).all()
    ]
    kept = (
        f"The whole printed order is found in {', '.join(whole)}."
        if whole
        else "In no score is all of it found."
    )
    return f"Order: of {len(pairs)} printed differences between two rows, {share}. {kept}"


def best(found: Rows, which: str, key: str) -> str:
    """One sentence on the best row of an ablation by a score, and whether it can be told from the next; empty for
    fewer than two rows with a value."""
    rows = scores.in_regime(pick(found, which))
    means = {label: numbers for label, runs in rows.items() if (numbers := _numbers(runs, key))}
    if len(means) < 2:
        return ""
    worth = {label: scores.badness(key, numbers) for label, numbers in means.items()}
    first, second, *_ = sorted(worth, key=lambda label: sum(worth[label]) / len(worth[label]))
    gap = welch(worth[first], worth[second])
    apart = "which is told apart from" if gap.high < 0 else "which is not told apart from"
    return (
        f"Best by {METRICS[key].title} is {first} ({student(means[first])}), {apart} the next, {second} "
        f"({student(means[second])})."
    )


def says(found: Rows, which: str) -> str:
    """What an ablation says, as a Markdown list: the printed level, the printed order, and what better scores say.

    All three rest on rows in the regime alone.
    """
    pairs = order(found, which)
    lines = [leveled(level(found, which))] + [told(pairs)] * (len(pairs) > 0)
    lines += [best(found, which, key) for key in DRAWN]
    return "\n".join(f"- {line}" for line in lines if line)


def change(found: Rows, one: str, other: str, key: str) -> str:
    """The change of a quantity from one row of the plan to another, with its interval; a dash where one lacks it."""
    parts = [_numbers(found.get(name, []), key) for name in (one, other)]
    return str(welch(parts[1], parts[0])) if all(parts) else "–"


def changes(found: Rows, pairs: Mapping[str, tuple[str, str]], keys: Sequence[str]) -> pd.DataFrame:
    """Changes between two rows each, {name: (from, to)}, a column a pair that is run; a row a quantity."""
    pairs = {name: pair for name, pair in pairs.items() if all(found.get(row) for row in pair)}
    if not pairs:
        return pd.DataFrame()
    table: dict[str, dict[str, Any]] = {
        title(key): {name: change(found, *pair, key) for name, pair in pairs.items()}
        for key in keys
    }
    return pd.DataFrame.from_dict(table, orient="index")


# Frozen training ----------------------------------------------------------------------------------------------------


def frozen(runs: Sequence[Run], epoch: int) -> Estimate:
    """Change in percent of the validation loss of the score network from ``epoch`` to the last one of each run."""

    def change(run: Run) -> float | None:
        losses = run.history.loc[run.history["stage"] == "score"].set_index("epoch")[
            "validation_loss"
        ]
        return (
            100 * float(losses.iloc[-1] / losses.loc[epoch] - 1) if epoch in losses.index else None
        )

    return scores.estimate(runs, change)


def left(runs: Sequence[Run], epoch: int) -> float:
    """Share of the learning rate, summed over epochs, that is spent after ``epoch``; NaN without a run."""
    if not runs:
        return math.nan
    rates = (
        runs[0].history.loc[runs[0].history["stage"] == "score"].set_index("epoch")["learning_rate"]
    )
    return float(rates[rates.index > epoch].sum() / rates.sum())
