"""What the paper and the report give, and what follows from it by arithmetic: no data, no run.

The values stand in ``reported.json`` beside this module. Notation: N patients scored on each side,
D codes, G clusters, c the share of real rows among all rows, m the mean count in a cell of a
table, M = D m its codes per patient.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from reproduction import figures
from reproduction.quotes import Quotes
from reproduction.synthesis import experiments
from scoehr.metrics.clusters import Clusters
from scoehr.training import Schedule, learning_rate_factor

#: The values that the paper and the report give.
QUOTES = Quotes(Path(__file__).with_name("reported.json"))
#: The report's scores as its tables name them, with the direction in which it reads them: lower is
#: better in all four.
SCORES = {"DDM": "ddm", "PCD": "pcd", "log-cluster": "log_cluster", "cosine share (%)": "cosine"}
#: The paper's scores as its tables name them.
PAPER = {"ddm": "DDM", "pcd": "PCD", "log_cluster": "log-cluster", "sra": "SRA"}


def report() -> pd.DataFrame:
    """The report's table of results, a row a model, with its log-cluster as published."""
    facts = QUOTES.values
    rows = pd.DataFrame(facts["report"]).set_index("title")
    columns = {**SCORES, "mean count": "density"}
    table = pd.DataFrame({title: rows[name] for title, name in columns.items()}).rename_axis(None)
    table["codes per patient"] = facts["report_codes"] * table["mean count"]
    clusters = facts["report_clusters"]
    table["log-cluster, corrected"] = [
        published(score, clusters) for score in rows["log_cluster_unrounded"]
    ]
    return table


def named(names: Sequence[str]) -> list[str]:
    """Titles in :func:`report` of the rows that these experiments make again."""
    titles = {row["experiment"]: row["title"] for row in QUOTES.values["report"]}
    return [titles[name] for name in names]


def paper(which: str = "paper", of: str = "") -> pd.DataFrame:
    """A table of the paper, a row a model: ``"paper"`` for MIMIC-III, ``"paper_ed"`` for its
    emergency records; of its values, or of their margins (``" ±"``), missing where none is given.
    """
    rows = pd.DataFrame(QUOTES.values[which]).set_index("title")
    return pd.DataFrame({title: rows[f"{name}{of}"] for name, title in PAPER.items()})


def mixed(found: Mapping[str, Any]) -> pd.DataFrame:
    """The paper's model on binary and continuous columns, as :mod:`benchmarks.mixed` scored it,
    under the row that the paper printed; a row a model, with the discriminator's AUC.
    """
    printed = paper("paper_ed").loc[["ScoEHR"]].set_axis(["ScoEHR, as the paper prints it"])
    rows = pd.DataFrame.from_dict(found["rows"], orient="index")
    rows = rows[[*PAPER, "discriminator_auc"]]
    titles = PAPER | {"discriminator_auc": "discriminator AUC"}
    return pd.concat([printed, rows.rename(columns=titles)])


# Log-cluster --------------------------------------------------------------------------------------


def published(score: float, clusters: int) -> float:
    """The published log-cluster, log(S / G), from the report's log(1/G) S; NaN if impossible.
    S = Σ_j (share of real rows in cluster j - c)² is at most G max(c, 1-c)², which is G/4 for sets
    of one size.
    """
    total = score / math.log(1 / clusters)
    return math.log(total / clusters) if 0 < total <= clusters / 4 else math.nan


def bounds(clusters: float, share: float = 0.5) -> tuple[float, float]:
    """Lowest and highest value that log(1/G) Σ_j (share of real rows - c)² can have."""
    return clusters * math.log(1 / clusters) * max(share, 1 - share) ** 2, 0.0


def impossible(score: float, clusters: int, patients: int) -> Clusters:
    """Clusters of ``patients`` rows a side that give ``score`` once the counts are broadcast.
    All real rows lie in the first cluster and the synthetic ones are spread evenly over the others,
    so that the report divides the one count of real rows, N, by the size of every cluster: S = Σ_j
    (N / n_j - c)². The size of the others follows from the score; synthetic rows that are left over
    join the first cluster.
    """
    total = score / math.log(1 / clusters)
    size = np.arange(1, patients // (clusters - 1) + 1)
    first = 2 * patients - (clusters - 1) * size
    sums = (patients / first - 0.5) ** 2 + (clusters - 1) * (patients / size - 0.5) ** 2
    best = int(size[np.abs(np.log(sums / total)).argmin()])
    sizes = [patients - (clusters - 1) * best, *[best] * (clusters - 1)]
    synthetic = np.repeat(np.arange(clusters), sizes)
    return Clusters(np.concatenate([np.zeros(patients, dtype=int), synthetic]), patients, clusters)


# DDM and PCD --------------------------------------------------------------------------------------


def ddm_digits() -> pd.Series:
    """DDM of every reported model with the digits that its table rounds away.

    The report also gives each DDM in percent of the paper's 0.0029, with two decimals.
    """
    rows = pd.DataFrame(QUOTES.values["report"]).set_index("title").rename_axis(None)
    changes = rows["ddm_change"].rename(None)
    return QUOTES.value("paper/ScoEHR/ddm") * (1 + changes / 100)


def real_codes() -> float:
    """Codes per real patient of the report's matrix."""
    facts = QUOTES.values
    return facts["report_codes"] * facts["report_real_density"]


def least_error(codes: Any) -> Any:
    """The least mean-count error with so many codes per patient (triangle inequality).

    The mean over codes of |mean count of real - of synthetic patients| is the published DDM for
    counts.
    """
    return np.abs(codes - real_codes()) / QUOTES.values["report_codes"]


def scale() -> dict[str, float]:
    """Size of the report's evaluation: mean real count, codes, patients a side, clusters."""
    names = {"density": "real_density", "patients": "patients_scored"}
    sizes = ("density", "codes", "patients", "clusters")
    return {name: QUOTES.values[f"report_{names.get(name, name)}"] for name in sizes}


def empty(density: float, codes: float, patients: float, clusters: float) -> dict[str, float]:
    """What the report's code gives a table without a single code; the size as in :func:`scale`.

    * DDM = Σ_codes mean count / N = D m / N, exactly.
    * PCD: all correlations of the empty table count as 0, so the score is the norm of the real
      correlation matrix. Its D ones on the diagonal give √D, if every code occurs; chance adds
      D (D - 1) / N under the root, real correlation what it adds.
    * Log-cluster: the empty rows share one cluster and the other G - 1 hold real rows alone, so S
      is at least (G - 1) / 4 and at most G / 4.
    """
    low, _ = bounds(clusters)
    return {
        "DDM": codes * density / patients,
        "PCD, diagonal alone": math.sqrt(codes),
        "PCD, with chance": math.sqrt(codes + codes * (codes - 1) / patients),
        "log-cluster, at least": low,
        "log-cluster, at most": low * (clusters - 1) / clusters,
        "cosine share (%)": 0.0,
    }


def chance_pcd(codes: float, patients: float) -> float:
    """PCD of two samples of N patients with unrelated codes: D (D - 1) cells of variance 2 / N."""
    return math.sqrt(2 * codes * (codes - 1) / patients)


# Spread, schedule, ranges -------------------------------------------------------------------------

#: The two runs of one configuration: 144 dimensions, rate 0.001, 50 epochs.
TWINS = ("reported", "reported-epochs-50")
#: The report's ablations, by their tables in the plan.
SWEEPS = ("sizes", "rates", "epochs")
#: Printed scores in which rows are compared, the log-cluster put right.
COMPARED = ("log-cluster, corrected", "PCD", "codes per patient", "cosine share (%)")


def spread() -> pd.Series:
    """Difference between the two runs of one configuration, by score."""
    one, other = (report().loc[title, list(COMPARED)] for title in named(TWINS))
    return (one - other).abs().astype(float)


def sweep(which: str) -> list[str]:
    """Titles in :func:`report` of the rows of an ablation that have a log-cluster."""
    twins = [row.reported for row in experiments.tables()[which].rows if row.reported]
    scores = report()["log-cluster, corrected"]
    return [title for title in named(twins) if not math.isnan(scores[title])]


def differences() -> pd.DataFrame:
    """Every difference between two rows of an ablation, beside that of the twins, a row a score."""
    table, twins, found = report(), spread(), []
    for which in SWEEPS:
        for one, other in combinations(sweep(which), 2):
            for score in COMPARED:
                gap = abs(table.loc[one, score] - table.loc[other, score])
                found.append((which, f"{one} / {other}", score, gap, twins[score]))
    return pd.DataFrame(found, columns=["ablation", "rows", "score", "difference", "between twins"])


def best(which: str) -> pd.DataFrame:
    """The best row of an ablation by each score, as the report reads it and corrected.
    Corrected, the log-cluster is the published one, DDM gives way to the least error that the
    number of codes leaves possible, and PCD stays, being lower-is-better both ways.
    """
    rows = report().loc[sweep(which)]
    digits, least = ddm_digits()[rows.index], least_error(rows["codes per patient"])
    read = {"log-cluster": rows["log-cluster"], "DDM": digits, "PCD": rows["PCD"]}
    right = {"log-cluster": rows["log-cluster, corrected"], "DDM": least, "PCD": rows["PCD"]}
    table = {}
    for score, column in right.items():
        chosen, ranks = read[score].idxmin(), column.rank()
        table[score] = {
            "best as reported": chosen,
            "best corrected": column.idxmin(),
            "corrected rank of the best as reported": f"{ranks[chosen]:.0f} of {len(ranks)}",
        }
    return pd.DataFrame.from_dict(table, orient="index")


def budget(schedule: Schedule, epochs: int, planned: int) -> float:
    """Sum of the learning rate's factor over the first ``epochs`` of a run of ``planned``."""
    return sum(learning_rate_factor(schedule, epoch, planned) for epoch in range(epochs))


def apart(which: str, model: str, score: str, others: Sequence[str]) -> dict[str, bool]:
    """Whether the published range of ``model`` lies outside that of each other model."""
    middle, width = paper(which)[score], paper(which, " ±")[score]
    return {
        other: bool(abs(middle[model] - middle[other]) > width[model] + width[other])
        for other in others
    }


# Figures ------------------------------------------------------------------------------------------


@figures.styled
def conversion(
    rows: pd.DataFrame, named: Sequence[str], rivals: Mapping[str, float], clusters: int
) -> Figure:
    """The published log-cluster against the report's, a dot a model; the paper's as lines.
    ``rows`` as :func:`report` has them; the dots of ``named`` are labelled.
    """
    figure, ax = figures.axis(6.6, 3.6)
    scores, (blue, red, *_) = np.linspace(-8, -0.1, 200), figures.PALETTE
    curve = [published(score, clusters) for score in scores]
    ax.plot(scores, curve, color=figures.GREY, linewidth=1.2)
    points = rows[["log-cluster", "log-cluster, corrected"]]
    ax.plot(*points.to_numpy().T, "o", color=red, markersize=5)
    style: Any = {"textcoords": "offset points", "fontsize": 9}
    for name in named:
        ax.annotate(name, points.loc[name], (4, 5), **style)
    for name, score in rivals.items():
        ax.axhline(score, color=blue, linewidth=1, linestyle=":")
        ax.annotate(name, (-8, score), (2, 2), color=blue, **style)
    ax.set(xlabel="log-cluster as the report computes it (read as: lower is better)", xlim=(-8, 0))
    ax.set_ylabel("published log-cluster\n(lower is better)")
    return figure


@figures.styled
def scatter(
    made: pd.Series, ddm: pd.Series, disjoint: pd.Series, *, real: float, empty: float
) -> Figure:
    """Reported DDM by codes per patient, beside ``disjoint`` patients and an empty table."""
    figure, ax = figures.axis(6.6, 3.4)
    order = made.sort_values().index
    style: Any = {"color": figures.GREY, "linewidth": 1.2, "label": "no code shared"}
    ax.plot([0, *made[order]], [empty, *disjoint[order]], **style)
    ax.plot(made, ddm, "o", color=figures.PALETTE[1], markersize=5, label="reported models")
    ax.plot(0, empty, "s", color=figures.PALETTE[0], label="empty table")
    ax.axvline(real, color="black", linewidth=1, linestyle=":", label="real patients")
    ax.set(xlabel="codes per synthetic patient", ylabel="DDM as reported", ylim=(0, None))
    ax.legend(loc="lower left")
    return figure


@figures.styled
def budgets(spent: Mapping[str, Sequence[float]], lengths: Sequence[int]) -> Figure:
    """Share of the learning spent by each epoch, a line a schedule, dots at ``lengths``."""
    figure, ax = figures.axis(6.6, 3.0)
    titles = {"reported": "the report's schedule", "official": "the paper's schedule"}
    for name, colour in zip(spent, (figures.PALETTE[1], figures.PALETTE[2]), strict=False):
        share = 100 * np.asarray(spent[name]) / spent[name][-1]
        ax.plot(np.arange(1, len(share) + 1), share, color=colour, label=titles[name])
        ax.plot(lengths, share[np.asarray(lengths) - 1], "o", color=colour, markersize=5)
    ax.set(xlabel="epoch", ylabel="of the learning rate's sum (%)", ylim=(0, 104))
    ax.legend(loc="lower right")
    return figure
