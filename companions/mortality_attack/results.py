"""Tables, figures and sentences of the three notebooks, made from finished runs."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from companions.mortality_attack import experiments, features, signal, simulate
from companions.mortality_attack.claims import QUOTES
from companions.mortality_attack.evaluate import SCORES
from companions.mortality_attack.experiments import Run
from companions.mortality_attack.extract import Stays
from companions.mortality_attack.protocol import (
    CORRECTED,
    Protocol,
    fit_statistics,
    ladder,
    prepare,
)
from companions.mortality_attack.queries import HOURS
from companions.mortality_attack.train import TuningConfig
from reproduction import figures, tables
from reproduction.estimates import Estimate, at_every_seed, bootstrap, listed
from reproduction.plan import done
from reproduction.tables import Html, cell

Runs = Mapping[str, Run]
#: Data sets in a sentence.
DATA = {
    "simulated": "simulated stays of known truth",
    "physionet2012": "PhysioNet/CinC Challenge 2012 (ODC-BY 1.0)",
    "mimic3": "MIMIC-III",
}
#: Flaws in words, in the order in which they are added.
FLAWS = {
    "corrected": "none: the corrected protocol",
    "mixed_patients": "stays, not patients, are split",
    "future_values": "gaps interpolated both ways before the cut",
    "statistics_on_all": "statistics of all stays",
    "clipped": "values cut off at the 5th and 95th percentile",
    "last_step": "output of the last hour only",
    "double_softmax": "softmax twice",
    "balanced_training": "deaths drawn as often as survivals",
    "fixed_epochs": "trained to the last epoch",
    "scored_on_training": "scored on training stays, balanced draw: as reported",
}
#: Budgets of cells that the table of robust accuracy shows.
SHOWN_CELLS = (0, 1, 2, 5, 10, 20)
#: What the recommended model was meant to reach, and on how many unseen stays, trained on as many.
AIMS, AIMED = {"auroc": 0.875, "auprc": 0.58}, 4000
#: Rows of models that were trained to withstand attacks.
DEFENDED = ("defended", "sparse-all")
#: What is asked of a defence: AUROC, and the share of stays right under changes of so many cells.
USEFUL, ROBUST, WITHSTOOD = 0.83, 0.60, 8
#: Of fewer stays than these a cell of a map says little.
FEW_STAYS = 5
DIRECTIONS = {"0to1": "survival → death", "1to0": "death → survival"}


def runs(
    dataset: str, source: str | None, profile: str, seed: int, names: Iterable[str] | None = None
) -> dict[str, Run]:
    """The runs that the book shows (:func:`experiments.of_book`), made if need be."""
    asked = {} if names is None else {"names": list(names)}
    plan = experiments.of_book(dataset, source, profile, seed, **asked)
    wanted = asked.get("names", list(plan))
    return {name: experiments.run(plan[name], progress=False) for name in wanted}


def origin(found: Runs, *, dataset: str, profile: str, seed: int) -> Html:
    """The line on the data and the scale that the numbers of a page come from."""
    made = next(iter(found.values())).experiment
    return tables.origin(
        made.dataset,
        made.profile,
        made.seed,
        f"{DATA[made.dataset]}." if made.dataset in DATA else "",
        "The data set asked for has no intensive-care data." if made.dataset != dataset else "",
    )


def scale(found: Runs) -> pd.DataFrame:
    """What was run beside the study: stays, widths, parameters, epochs, a row a quantity."""
    reported, best = found["reported"], found["bilstm-study"]
    stays = reported.metrics["stays"]
    ladder = experiments.PLAN.text["ladder"]
    rows = {
        "stays": (QUOTES.value("samples/value"), sum(stays.values())),
        "test stays": (None, stays["test"]),
        "hidden units": (ladder["model"]["hidden"], reported.experiment.model.hidden),
        "parameters": (QUOTES.value("parameters/value"), reported.metrics.get("parameters")),
        "epochs, as reported": (QUOTES.value("epochs/value"), reported.experiment.training.epochs),
        "epochs at most, corrected": (None, best.experiment.training.epochs),
        "models averaged, corrected": (None, best.experiment.members),
    }
    return pd.DataFrame(rows, index=["the study", "here"], dtype=object).T


def text(entry: Mapping[str, Any] | None, digits: int = 3) -> str:
    """A value with its 95 % interval as text, a dash where there is none."""
    return f"{Estimate.read(entry):.{digits}f}"


# The cohort ---------------------------------------------------------------------------------------


def availability(found: Run) -> pd.DataFrame:
    """A row a feature: how many stays and hours have it, and its values."""
    rows = found.metrics["features"]
    frame = pd.DataFrame(rows).set_index("title").rename_axis(None)
    frame["stays (%)"], frame["hours (%)"] = 100 * frame["stays"], 100 * frame["cells"]
    frame["5th to 95th percentile"] = [
        f"{cell(low)} to {cell(high)}" if np.isfinite(low) else "–"
        for low, high in zip(frame["low"].astype(float), frame["high"].astype(float), strict=True)
    ]
    frame = frame.rename(columns={"middle": "median"})
    columns = ["group", "unit", "stays (%)", "hours (%)", "median", "5th to 95th percentile"]
    return frame[columns]


@figures.styled
def measured(found: Run) -> Figure:
    """Share of stays with a value, by feature and hour."""
    table = np.array(found.metrics["measured"], dtype=float)
    shown = [bool(row.any()) for row in table]
    figure, ax = figures.axis(7.0, 0.9 + 0.19 * sum(shown))
    image = ax.imshow(
        100 * table[shown], aspect="auto", cmap="Blues", vmin=0, vmax=100, interpolation="nearest"
    )
    titles = [feature.title for feature, has in zip(features.table(), shown, strict=True) if has]
    ax.set_yticks(range(len(titles)), titles, fontsize=8)
    ax.set(xlabel="hour since admission to intensive care")
    ax.grid(False)
    figure.colorbar(image, ax=ax, label="stays with a value (%)")
    return figure


@figures.styled
def filling(seed: int = 0, name: str = "lactate") -> Figure:
    """One simulated stay filled the reported and the corrected way, with what was measured."""
    stays = simulate.simulate(200, seed).stays
    place = features.names().index(name)
    event = {key: value[stays.events["feature"] == place] for key, value in stays.events.items()}
    before = np.bincount(event["stay"], weights=event["hour"] < HOURS, minlength=len(stays))
    chosen = int(np.flatnonzero(stays.died & (before >= 3))[0])
    figure, ax = figures.axis(6.8, 3.0)
    for title, protocol, style, colour in (
        ("corrected filling", CORRECTED, "-", figures.PALETTE[0]),
        ("reported filling", Protocol(future_values=True), "--", figures.PALETTE[1]),
    ):
        line = _filled(stays, chosen, place, protocol)
        ax.plot(np.arange(HOURS), line, style, color=colour, label=title)
    rows = event["stay"] == chosen
    ax.plot(event["hour"][rows], event["value"][rows], "ko", markersize=4, label="measured")
    ax.axvline(HOURS - 0.5, color=figures.GREY, linewidth=1)
    offset: Any = {"xycoords": ("data", "axes fraction"), "textcoords": "offset points"}
    ax.annotate("prediction", (HOURS - 0.5, 1), (3, -3), va="top", fontsize=9, **offset)
    ax.set(xlim=(-1, 2 * HOURS), xlabel="hour since admission to intensive care")
    ax.set_ylabel(f"{name} ({features.table()[place].unit})")
    ax.legend()
    return figure


def _filled(stays: Stays, chosen: int, place: int, protocol: Protocol) -> np.ndarray:
    """One feature of one stay by hour, filled as a protocol does, in clinical units; (HOURS,)."""
    statistics = fit_statistics(stays, np.arange(len(stays)), protocol)
    ready = prepare(stays.take(np.array([chosen])), statistics, protocol)
    line = ready.values[0, :, place]
    if not protocol.future_values:
        last = np.maximum.accumulate(np.where(ready.mask[0, :, place], np.arange(HOURS), -1))
        line = np.where(last >= 0, line[last], np.nan)
    return statistics.clinical(np.tile(line[:, None], len(features.table())))[:, place]


# The model ----------------------------------------------------------------------------------------


def quoted() -> pd.DataFrame:
    """The study's results table."""
    frame = pd.DataFrame(QUOTES.values["results"]).set_index("row").rename_axis(None)
    columns: dict[str, list[str]] = {"model": list(frame["model"]), "inputs": list(frame["inputs"])}
    for key in ("auroc", "f1", "precision", "recall"):
        pairs = zip(frame[key], frame[f"{key} ±"], strict=True)
        columns[SCORES[key]] = [
            "–" if np.isnan(value) else f"{value:g} ± {margin:g}" for value, margin in pairs
        ]
    return pd.DataFrame(columns, index=frame.index)


def rungs(found: Runs) -> dict[str, list[Run]]:
    """The runs of each step of the ladder, a random seed each, by the flaw added; the last two
    steps are one model.
    """
    named = {}
    for place, flaw in enumerate(ladder()):
        row = found.get(experiments.RUNG.format(place, flaw), found["reported"]).experiment
        named[flaw] = [each.result for each in done(row)]
    return named


def _as_scored(flaw: str) -> str:
    """The part of a run's scores that the protocol of a step prints."""
    return "reported" if flaw == "scored_on_training" else "test"


def _failed(run: Run) -> bool:
    """Whether a training failed: its AUROC is not above that of chance."""
    return not Estimate.read(run.metrics["test"]["auroc"]).above(0.5)


def ladder_table(found: Runs) -> pd.DataFrame:
    """A row a flaw added: scores as its protocol takes them, and of the held-out stays."""
    rows = {}
    for flaw, (run, *_) in rungs(found).items():
        as_scored, unseen = run.metrics[_as_scored(flaw)], run.metrics["test"]
        rows[f"+ {FLAWS[flaw]}" if flaw != "corrected" else FLAWS[flaw]] = {
            f"{SCORES[score]}, as scored": text(as_scored[score]) for score in ("auroc", "f1")
        } | {
            f"{SCORES[score].removesuffix(' score')}, held out": text(unseen[score])
            for score in ("auroc", "auprc", "f1", "brier")
        }
    return pd.DataFrame.from_dict(rows, orient="index")


def worth(found: Runs) -> dict[str, list[Estimate]]:
    """What each flaw, by its title, adds to the AUROC as scored, at each random seed: less the last
    row above whose training did not fail, over the same bootstrap draws of patients where the stays
    are the same, and over independent ones where they differ.
    """
    steps = rungs(found)
    changes: dict[str, list[Estimate]] = {FLAWS[flaw]: [] for flaw in list(steps)[1:]}
    for runs_of_seed in zip(*steps.values(), strict=False):
        base, *_ = ends = [
            (run.metrics[part]["auroc"]["value"], np.array(run.draws.get(f"{part}.auroc", np.nan)))
            for flaw, run in zip(steps, runs_of_seed, strict=True)
            for part in [_as_scored(flaw)]
        ]
        for flaw, run, end in zip(changes, runs_of_seed[1:], ends[1:], strict=True):
            changes[flaw].append(bootstrap(end[0] - base[0], end[1] - base[1]))
            base = base if _failed(run) else end
    return changes


def ladder_words(found: Runs) -> str:
    """Which steps of the ladder can be told from none, in sentences that follow the numbers."""
    changes, steps = worth(found), rungs(found)
    failed = [FLAWS[flaw] for flaw, made in steps.items() if any(map(_failed, made))]
    known = {title: each for title, each in changes.items() if title not in failed}
    words = at_every_seed(known, "AUROC as scored")
    if failed:
        words += (
            f" Training failed, with an AUROC no better than chance, with {listed(failed)}; the "
            "step after it is compared with the step before."
        )
    return words


def artefact(found: Runs) -> str:
    """How much of the reported score is the scoring, in a sentence from the numbers of the run."""
    run = found["reported"]
    inside, outside = run.metrics["reported"], run.metrics["test"]
    quoted_row = QUOTES.values["results"][-1]
    gap = {
        key: Estimate.read(inside[key]).value - Estimate.read(outside[key]).value
        for key in ("f1", "auroc")
    }
    return (
        f"The study reports an AUROC of {quoted_row['auroc']} and an F1 of {quoted_row['f1']}. Its "
        f"protocol gives this model an AUROC of {text(inside['auroc'])} and an F1 of "
        f"{text(inside['f1'])}; held-out stays give the same "
        f"weights {text(outside['auroc'])} and {text(outside['f1'])}. Of the F1, "
        f"{gap['f1']:.2f} is the scoring, and of the AUROC {gap['auroc']:.2f}."
    )


@figures.styled
def two_curves(found: Runs) -> Figure:
    """Scores of the reported model over its epochs, as reported and of held-out stays."""
    history = found["reported"].history.dropna(subset=["reported_auroc"])
    figure, axes = figures.panels(2, width=4.2, height=3.0)
    for ax, score in zip(axes, ("auroc", "f1"), strict=True):
        for which, title, colour in (
            ("reported", "as reported: training stays, balanced draw", figures.PALETTE[1]),
            ("test", "held-out stays", figures.PALETTE[0]),
        ):
            line = history[f"{which}_{score}"]
            ax.plot(history["epoch"], line, "o-", markersize=3, color=colour, label=title)
        ax.set(xlabel="epoch", title=SCORES[score], ylim=(0, 1))
    axes[0].legend(fontsize=8.5, loc="lower left")
    return figure


def peers_table(found: Runs) -> pd.DataFrame:
    """A row a model under the corrected protocol: scores of held-out stays."""
    kinds = {"study": "the study's", "all": "all", "": "–"}
    rows: list[dict[str, str]] = []
    for run in found.values():
        made = run.experiment
        if made.task != "model" or made.protocol != CORRECTED or made.group == experiments.LADDER:
            continue
        number = f", {made.members} averaged" if made.members > 1 else ""
        which = "" if made.severity else made.model.features
        row = {"model": made.title + number, "series": kinds[which]}
        scores = {SCORES[key]: text(run.metrics["test"][key]) for key in signal.SCORES}
        rows.append(row | scores | challenge(run))
    rows.sort(key=lambda row: list(kinds.values()).index(row["series"]))
    return pd.DataFrame(rows).set_index("model").rename_axis(None)


def challenge(run: Run) -> dict[str, str]:
    """The scores of the PhysioNet/CinC Challenge 2012 (Silva et al. 2012, Computing in Cardiology
    39): the smaller of recall and precision, 1 best; and Hosmer and Lemeshow's H over tenths of the
    stays, by the range of their mean predictions, 0 best.
    """
    test, groups = run.metrics["test"], pd.DataFrame(run.metrics["calibration"])
    first = min(test["recall"]["value"], test["precision"]["value"] or 0.0)  # none called dead: 0
    chance = groups["predicted"].clip(1e-6, 1 - 1e-6)
    apart = groups["stays"] * (groups["died"] - chance) ** 2 / (chance * (1 - chance))
    second = apart.sum() / max(float(np.ptp(chance)), 1e-6)
    return {"Challenge, score 1": f"{first:.3f}", "Challenge, score 2": f"{second:.1f}"}


def target(found: Runs) -> str:
    """The model that stays held back to choose by prefer, in a sentence."""
    judged = found["best-all"].metrics["candidates"]
    name = min(judged, key=lambda row: judged[row]["brier"])
    best = found[name]
    reached = []
    for score, aim in AIMS.items():
        made = Estimate.read(best.metrics["test"][score])
        verdict = "reached" if made.value >= aim else "missed"
        within = ", though within the interval" if made.value < aim <= made.high else ""
        reached.append(f"{SCORES[score]} {aim:.3f} {verdict}{within}")
    stays = best.metrics["stays"]
    learnt = stays["train"] + stays["validation"]
    return (
        f"The lowest Brier score on the stays held back to choose by has: {best.experiment.title}. "
        f"Its AUROC on {stays['test']:,} held-out stays is {text(best.metrics['test']['auroc'])}, "
        f"its area under the precision-recall curve {text(best.metrics['test']['auprc'])}. On the "
        f"{learnt:,} stays that it is chosen by, each scored by models that were not trained on "
        f"it, these are {judged[name]['auroc']:.3f} and {judged[name]['auprc']:.3f}. Aimed at: "
        f"{'; '.join(reached)}. The aims are of {AIMED:,} unseen stays and as many to learn from; "
        f"here are {learnt + stays['test']:,} stays in all, and each model learns from four fifths "
        f"of {learnt:,}."
    )


def search_curves(found: Run) -> Figure:
    """Mean validation loss of every trial of a search over its epochs, the best one in colour."""
    search, config = found.metrics["search"], found.experiment.tuning
    assert config
    best = search["trials"][0]["trial"]
    figure, ax = figures.axis(6.6, 3.0)
    for number, course in enumerate(search["courses"]):
        chosen = number == best
        style: Any = {"color": figures.PALETTE[0] if chosen else figures.GREY, "markersize": 3,
                      "zorder": 3 if chosen else 2, "linewidth": 2 if chosen else 0.8}  # fmt: skip
        epochs = config.epochs * np.arange(1, len(course) + 1)
        ax.plot(epochs, course, "o-", label="the best" if chosen else None, **style)
    ax.set(xlabel="epoch", ylabel="cross-entropy, mean over folds")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.legend()
    return figure


def search_words(found: Runs) -> str:
    """What the study's search is worth on held-out stays, in sentences that follow the numbers."""
    tuned, plain = found["tuned-study"], found["bilstm-study"]
    config, theirs = tuned.experiment.tuning, TuningConfig()
    assert config
    single = plain.metrics["single"]["auroc"]
    return (
        f"The study's search has {theirs.trials} trials of {theirs.folds} folds and "
        f"{theirs.blocks * theirs.epochs} epochs; this one {config.trials} of {config.folds} and "
        f"{config.blocks * config.epochs}. Its best trial has an AUROC of "
        f"{tuned.metrics['search']['trials'][0]['auroc']:.3f} on the folds that chose it. Trained "
        "on all training stays, stopped early by validation stays, the same settings give "
        f"{text(tuned.metrics['test']['auroc'])} on held-out stays. Single networks of the "
        f"settings that this page uses give {min(single):.3f} to {max(single):.3f}."
    )


@figures.styled
def learning_curve(found: Run) -> Figure:
    """AUROC and AUPRC on the test stays against how many stays were learnt from, a line a model."""
    titles = {**signal.MODELS, signal.AVERAGED: "all three averaged"}
    figure, axes = figures.panels(2, width=4.2, height=3.2)
    shades = figures.colours(list(titles.values()))
    sizes = [stays for stays, _ in found.metrics["sizes"].values()]
    for ax, score in zip(axes, ("auroc", "auprc"), strict=True):
        for shift, (model, title) in zip((0.97, 0.99, 1.01, 1.03), titles.items(), strict=True):
            made = [Estimate.read(found.metrics["scores"][parts][model][score])
                    for parts in found.metrics["sizes"]]  # fmt: skip
            x = shift * np.array(sizes)
            ax.vlines(x, [one.low for one in made], [one.high for one in made],
                      color=shades[title], linewidth=1.2, alpha=0.6)  # fmt: skip
            ax.plot(x, [one.value for one in made], "o-", markersize=4, color=shades[title],
                    label=title)  # fmt: skip
        ax.set(xscale="log", xlabel="stays learnt from", title=SCORES[score])
        ax.set_xticks(sizes, [f"{size:,}" for size in sizes])
        ax.tick_params(axis="x", which="minor", bottom=False, labelbottom=False)
    return figures.shared_legend(figure, axes, columns=2)


def learning_words(found: Run) -> str:
    """What ever more stays are worth, in a sentence."""
    made = {
        stays: text(found.metrics["scores"][parts][signal.AVERAGED]["auroc"])
        for parts, (stays, _) in found.metrics["sizes"].items()
    }
    steps = [f"{auroc} from {stays:,}" for stays, auroc in made.items()]
    return f"All three averaged reach an AUROC of {', '.join(steps)} stays."


@figures.styled
def calibration(found: Runs, names: Sequence[str]) -> Figure:
    """Share who died against mean prediction, in tenths of held-out stays, a panel a model."""
    figure, axes = figures.panels(len(names), width=3.3, height=3.2)
    for ax, name in zip(axes, names, strict=True):
        table = pd.DataFrame(found[name].metrics["calibration"])
        error = 1.96 * np.sqrt(table["died"] * (1 - table["died"]) / table["stays"])
        ax.plot([0, 1], [0, 1], color=figures.GREY, linewidth=0.9)
        low, high = (table["died"] - error).clip(lower=0), (table["died"] + error).clip(upper=1)
        ax.vlines(table["predicted"], low, high, color=figures.PALETTE[0])
        ax.plot(table["predicted"], table["died"], "o", color=figures.PALETTE[0], markersize=4)
        title = f"{found[name].experiment.title}, {found[name].experiment.model.features}"
        title = "reported" if name == "reported" else textwrap.fill(title, 32)
        ax.set(
            xlim=(0, 1),
            ylim=(0, 1),
            aspect="equal",
            xlabel="predicted probability of death",
            title=title,
        )
    axes[0].set_ylabel("share who died")
    return figure


# The attack ---------------------------------------------------------------------------------------


def attacked(found: Runs, task: str = "attack") -> dict[str, Run]:
    """The attacks by title, of one kind."""
    return {run.experiment.title: run for run in found.values() if run.experiment.task == task}


def attack_table(found: Runs) -> pd.DataFrame:
    """A row an attack and direction: share turned, and what the best changes are like."""
    rows = []
    for title, run in attacked(found).items():
        for direction, words in DIRECTIONS.items():
            row = {"victim": title, "direction": words, **_changes(run.metrics[direction])}
            rows.append(row)
    return pd.DataFrame(rows).set_index("victim").rename_axis(None)


def _changes(entry: Mapping[str, Any]) -> dict[str, str]:
    """How many stays an attack turned, and how large its best changes are."""
    median = entry["best"]["median"]
    return {
        "attacked": tables.patients(entry["success"]["stays"]),
        "turned": text(entry["success"], 2),
        "cells changed, median": text(median["cells"], 0),
        "L1 norm, median": text(median["l1"], 2),
        "largest change, median": text(median["largest"], 2),
    }


def noise_words(found: Run) -> str:
    """What the same sizes of change do at random, in a sentence."""
    own = found.metrics["transfer"][found.experiment.victims[0]]
    return (
        f"Is it the place or the size? The changes of the {found.experiment.title} turn "
        f"{text(own, 2)} of the verdicts; the same sizes in random cells of the same stays, with "
        f"random signs, turn {text(found.metrics['noise'], 3)}."
    )


def transfer_table(found: Runs) -> pd.DataFrame:
    """Share of changes made against one model (row) that turn another's verdict (column).

    The smallest changes that the ensemble of attacks found; those of the other models' own rows.
    """
    shares = _carried(found)
    names = {row: found[f"worst-{row}"].experiment.title if f"worst-{row}" in found
             else found[row].experiment.title for row in next(iter(shares.values()))}  # fmt: skip
    rows = {
        names[victim]: {names[name]: text(tried.get(name), 2) for name in names}
        for victim, tried in shares.items()
    }
    return pd.DataFrame.from_dict(rows, orient="index")


def _carried(found: Runs) -> dict[str, Mapping[str, Any]]:
    """Shares of verdicts turned by the changes of each attack that were tried on other models, by
    its victim.
    """
    worst = attacked(found, "worst").values()
    made = {run.experiment.victims[0]: run.metrics["transfer"] for run in worst}
    return {victim: tried for victim, tried in made.items() if len(tried) > 1}


def transfer_words(found: Runs) -> str:
    """How far changes carry over between models, in a sentence that follows the numbers."""
    others = [
        (share["value"], victim, name)
        for victim, tried in _carried(found).items()
        for name, share in tried.items()
        if name != victim and share["value"] is not None  # no verdict was turned
    ]
    if not others:
        return ""
    most, victim, name = max(others)
    titles = (found[f"worst-{victim}"].experiment.title, found[name].experiment.title)
    middle = np.median([share for share, *_ in others])
    return (
        f"Changes found on one model turn {middle:.2f} of the right verdicts of another, in the "
        f"middle of all pairs; most, {most:.2f}, of the {titles[1]} by those found on the "
        f"{titles[0]}."
    )


def maps_words(found: Run) -> str:
    """How many stays a cell of the maps rests on, in a sentence."""
    turned = [
        np.rint(found.maps[f"{which}/gpp"] * found.maps[f"{which}/histogram/cells"].sum())
        for which in (f"best/{direction}" for direction in DIRECTIONS)
    ]
    moved = np.concatenate([stays[stays > 0] for stays in turned])
    share = 100 * np.mean(moved < FEW_STAYS)
    return (
        f"Of the cells that the smallest changes move, {share:.0f} % are moved in fewer than "
        f"{FEW_STAYS} stays. The maps show which series and parts of the two days matter; a single "
        "cell says little."
    )


@figures.styled
def heat_maps(found: Run, measure: str, label: str) -> Figure:
    """A measure by hour and feature, a panel a direction and change, on one logarithmic scale."""
    names = [feature for feature in features.table() if feature.group != "further"]
    tables = {(which, direction): found.maps[f"{which}/{direction}/{measure}"][:, : len(names)].T
              for which in ("first", "best") for direction in DIRECTIONS}  # fmt: skip
    positive = np.concatenate([table[table > 0] for table in tables.values()])
    figure = Figure(figsize=(9.2, 7.0), layout="constrained")
    axes = figure.subplots(2, 2, sharex=True, sharey=True)
    norm = (
        LogNorm(positive.min(), positive.max())
        if len(positive) and positive.max() > positive.min()
        else None
    )
    for ax, ((which, direction), table) in zip(axes.flat, tables.items(), strict=True):
        shown = np.where(table > 0, table, np.nan)
        style: Any = {"aspect": "auto", "cmap": "RdYlBu_r", "interpolation": "nearest"}
        image = ax.imshow(shown, norm=norm, **style)
        ax.set(title=f"{which} change found, {DIRECTIONS[direction]}")
        ax.grid(False)
        ax.set_yticks(range(len(names)), [feature.title for feature in names], fontsize=7.5)
    for ax in axes[1]:
        ax.set_xlabel("hour since admission")
    if norm is not None:
        figure.colorbar(image, ax=axes, label=label, shrink=0.8)
    return figure


@figures.styled
def histograms(found: Run) -> Figure:
    """How many cells are changed, and how far, among the best changes: a row a direction."""
    figure = Figure(figsize=(9.2, 4.6), layout="constrained")
    axes = figure.subplots(2, 3, sharex="col")
    parts = (
        ("cells", experiments.CELL_BINS, "cells changed"),
        ("mean", experiments.CHANGE_BINS, "mean absolute change"),
        ("largest", experiments.CHANGE_BINS, "largest absolute change"),
    )
    for row, (direction, words) in zip(axes, DIRECTIONS.items(), strict=True):
        for ax, (key, bins, label) in zip(row, parts, strict=True):
            for which, colour in (("first", figures.PALETTE[1]), ("best", figures.PALETTE[0])):
                heights = found.maps[f"{which}/{direction}/histogram/{key}"]
                ax.stairs(
                    100 * heights / max(heights.sum(), 1),
                    bins,
                    color=colour,
                    label=f"{which} found",
                )
            if direction == list(DIRECTIONS)[-1]:
                ax.set_xlabel(label)
        row[0].set_ylabel(f"{words}\nstays turned (%)")
    axes[0][0].legend(fontsize=8.5)
    return figure


@figures.styled
def discovery(found: Runs) -> Figure:
    """Share of attacked stays turned by each step: first (dashed) and best (solid) change."""
    figure, axes = figures.panels(2, width=4.2, height=3.0)
    made = attacked(found)
    shades = figures.colours(list(made))
    for ax, (direction, words) in zip(axes, DIRECTIONS.items(), strict=True):
        for title, run in made.items():
            for which, style in (("first", "--"), ("best", "-")):
                curve = np.array(run.metrics[direction][which]["discovery"], float)
                ax.plot(np.arange(1, len(curve) + 1), 100 * curve, style, color=shades[title],
                        label=title if which == "best" else None)  # fmt: skip
        ax.set(title=words, xlabel="step", ylim=(0, 102))
    axes[0].set_ylabel("stays (%)")
    return figures.shared_legend(figure, axes, columns=2)


def robust_table(found: Runs) -> pd.DataFrame:
    """Share of all stays whose right verdict stands, by cells that may be changed."""
    rows = {
        title: {
            f"{cells} cell" + "s" * (cells != 1): text(run.metrics["robust"][str(cells)], 2)
            for cells in SHOWN_CELLS
        }
        for title, run in attacked(found, "worst").items()
    }
    return pd.DataFrame.from_dict(rows, orient="index")


@figures.styled
def robust_curves(found: Runs) -> Figure:
    """Share of stays whose right verdict stands, by the cells that may be changed and by the L1
    norm of the change; what is certain of the model of randomized ablation as a dashed line.
    """
    figure, (cells, norms) = figures.panels(2, width=4.4, height=3.4)
    made, ablated = attacked(found, "worst"), found.get("ablated-all")
    shades = figures.colours(list(made))
    for place, (title, run) in enumerate(made.items()):
        marker = "os"[place // len(figures.PALETTE)]  # of those that share a colour
        style: Any = {"color": shades[title], "label": title, "marker": marker, "markersize": 3.5}
        curve = run.metrics["robust"]
        cells.plot(
            [int(k) for k in curve],
            [Estimate.read(share).value for share in curve.values()],
            **style,
        )
        turned = np.array([0.0, *run.metrics["both"]["best"]["curves"]["l1"]], float)
        stands = Estimate.read(curve["0"]).value * (1 - turned)
        norms.plot([0.0, *experiments.BUDGETS["l1"]], stands, **style)
    if ablated:
        curve = ablated.metrics["certified"]["curve"]
        shares = [Estimate.read(share).value for share in curve.values()]
        cells.step(range(len(shares) + 1), [*shares, 0.0], "k--", where="post",
                   label=f"{ablated.experiment.title}, certified")  # fmt: skip
    cells.set(xlabel="cells that may be changed", ylabel="stays right", xlim=(-0.05, 55))
    norms.set(xlabel="L1 norm of the change", xlim=(-0.02, 9))
    for ax, linear, ticks in (
        (cells, 1, (0, 1, 2, 5, 10, 20, 48)),
        (norms, 0.1, (0, 0.1, 0.5, 2, 8)),
    ):
        ax.set_xscale("symlog", linthresh=linear, linscale=0.5)
        ax.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        ax.minorticks_off()
        ax.set_ylim(0, 1)
    return figures.shared_legend(figure, [cells], columns=2)


def clinical_table(found: Run) -> pd.DataFrame:
    """What the changes of one attack are in clinical units, the series most often changed first."""
    names = {
        "stays": "stays changed (%)",
        "before": "before, median",
        "after": "after, median",
        "moved": "moved by, median",
    }
    rows = sorted(found.metrics["clinical"], key=lambda row: -row["stays"])
    columns = ["feature", "unit", *names]
    frame = pd.DataFrame(rows, columns=columns).set_index("feature").rename_axis(None)
    frame["stays"] = [f"{100 * share:.0f}" for share in frame["stays"]]
    return frame.rename(columns=names)


def defence(found: Runs) -> str:
    """What each defence costs and what is left of it under the attack, and whether one has all that
    is asked of a defence.
    """
    plain = found["worst-bilstm-study"]
    parts = [
        f"The plain bi-LSTM has {_standing(plain, 0)} of the stays right, and "
        f"{_standing(plain, WITHSTOOD)} once any {WITHSTOOD} cells may be changed."
    ]
    for name in DEFENDED:
        run = found[f"worst-{name}"]
        parts.append(
            f"The {run.experiment.title}: {_standing(run, 0)} and {_standing(run, WITHSTOOD)}, "
            f"with an AUROC of {text(found[name].metrics['test']['auroc'], 2)}."
        )
    if "ablated-all" in found:
        run = found["ablated-all"]
        median = run.metrics["certified"]["median"]
        certain = (
            f"half of the held-out stays keep a right verdict for certain whatever {median:.0f} "
            "cells are given"
            if median >= 0
            else "fewer than half of the held-out stays have a right verdict for certain"
        )
        parts.append(
            f"The {run.experiment.title} needs no attack to be judged: {certain}, with an AUROC of "
            f"{text(run.metrics['test']['auroc'], 2)}."
        )
    return " ".join([*parts, _asked(found)])


def _asked(found: Runs) -> str:
    """Whether a defence predicts well enough and withstands the attack, in a sentence."""
    named = [name for name in (*DEFENDED, "ablated-all") if name in found]
    auroc = {name: Estimate.read(found[name].metrics["test"]["auroc"]).value for name in named}
    stands = {name: _withstands(found, name) for name in named}
    holding = [name for name in named if auroc[name] >= USEFUL and stands[name] >= ROBUST]
    titles = ", ".join(found[name].experiment.title for name in holding)
    said = f"{titles}: holds." if holding else "none of the defences tried here holds."
    best, most = (max(filter(math.isfinite, each.values()), default=math.nan)
                  for each in (auroc, stands))  # fmt: skip
    return (
        f"A defence is asked for an AUROC of {USEFUL:.2f} and {ROBUST:.2f} of the stays right "
        f"whatever is done to {WITHSTOOD} cells: {said} The highest AUROC is "
        f"{cell(best, '{:.2f}')}, the highest such share {cell(most, '{:.2f}')}."
    )


def _withstands(found: Runs, name: str) -> float:
    """Share of stays right under the attack; what is certain of a model that was not attacked.

    NaN where no stay was attacked.
    """
    if (run := found.get(f"worst-{name}")) is not None:
        return Estimate.read(run.metrics["robust"][str(WITHSTOOD)]).value
    curve = found[name].metrics["certified"]["curve"]
    return Estimate.read(curve.get(str(WITHSTOOD), {"value": 0.0})).value


def _standing(run: Run, cells: int) -> str:
    return text(run.metrics["robust"][str(cells)], 2)


def subgroups_table(found: Run) -> pd.DataFrame:
    """How a model does in groups of the held-out stays."""
    rows = {
        row["group"]: {
            "stays": tables.patients(row["stays"]),
            "AUROC": text(row["auroc"], 2),
            "deaths over those expected": text(row["ratio"], 2),
        }
        for row in found.metrics["subgroups"]
    }
    return pd.DataFrame.from_dict(rows, orient="index")


def beside_library() -> str:
    """How small a change is needed beside the attack of a library, in a sentence."""
    found = tables.benchmark("elastic_net")
    if found is None:
        return "No library is compared yet: `python -m benchmarks.elastic_net` does."
    return (
        f"Beside the elastic-net attack of foolbox {found['foolbox']} ({found['searches']} "
        f"searches of {found['steps']} steps), on the same {found['stays']} stays that the bi-LSTM "
        f"has right, the ensemble needs a median L1 norm of {found['ours']:.2f} against "
        f"{found['theirs']:.2f}; stay by stay it needs {found['ratio']:.2f} times as much in the "
        f"middle, and {found['largest']:.2f} times at most."
    )


def speed() -> str:
    """Attacked stays a second beside the reported loop, from ``benchmarks/attack.json``."""
    found = tables.benchmark("attack")
    if found is None:
        return "The speed has not been measured: `python -m benchmarks.attack` does."
    ours, theirs = found["package"], found["reported_loop"]
    return (
        f"Beside a plain transcription of the reported loop, on one machine, {found['threads']} "
        "thread, the same "
        f"{found['stays']} stays of {found['data']} and the same {found['steps']} steps at most: "
        f"{ours['per_second']:.2f} stays a second against {theirs['per_second']:.2f}, "
        f"{found['ratio']:.1f} times as many, with {100 * ours['success']:.0f} % and "
        f"{100 * theirs['success']:.0f} % turned and a median L1 norm of "
        f"{ours['l1']:.2f} and {theirs['l1']:.2f} (`{found['command']}`)."
    )


# Synthetic stays ----------------------------------------------------------------------------------


def signal_table(found: Run) -> pd.DataFrame:
    """A row a set of stays: AUROC on real test stays of the models that learnt from it."""
    rows = {}
    for name, title in signal.SETS.items():
        stays, deaths = found.metrics["sets"][name]
        sizes = {"stays": tables.patients(stays), "deaths": tables.patients(deaths)}
        scores = found.metrics["scores"][name]
        rows[title] = sizes | {
            words: text(scores[model]["auroc"]) for model, words in signal.MODELS.items()
        }
    return pd.DataFrame.from_dict(rows, orient="index")


def signal_differences(found: Run) -> Figure:
    """Scores of each set's models less those of the other real half, a panel a model and score."""
    panels = {
        f"{SCORES[key]}, {signal.MODELS[model]}": (model, key)
        for model, key in (("bilstm", "auroc"), ("boosting", "auroc"), ("boosting", "auprc"))
    }
    scores = found.metrics["scores"]
    return figures.dots(
        {
            words: {
                title: Estimate.read(scores[name][model][key]["less"])
                for name, title in signal.SETS.items()
                if name != signal.OTHER
            }
            for words, (model, key) in panels.items()
        },
        references={"the other half": dict.fromkeys(panels, 0.0)},
    )


def signal_kept(found: Run) -> str:
    """How much of the signal synthetic stays keep, in a sentence a model."""
    real, made = (found.metrics["scores"][name] for name in (signal.OTHER, signal.SYNTHETIC))
    parts = []
    for model, title in signal.MODELS.items():
        whole = real[model]["auroc"]["value"] - 0.5
        kept = Estimate.read(made[model]["auroc"]["less"]).kept(whole)
        parts.append(f"{kept:z.0f} % ({title})")
    return (
        "Of what the real stays that the generator saw tell above chance, in AUROC on the test "
        f"stays, models of its synthetic stays keep {', '.join(parts)}."
    )


NETWORKS = {
    signal.VICTIM: "the victim",
    signal.OTHER: "the network of the other half",
    signal.SYNTHETIC: "the network of synthetic stays",
}


def alike_table(found: Run) -> pd.DataFrame:
    """A row a pair of networks: how alike the series are that their changes move."""
    maps = found.metrics["alike"]
    pairs = {
        "the two real halves: the floor": f"{signal.VICTIM}, {signal.OTHER}",
        "synthetic stays and the real stays they were learnt from": (
            f"{signal.OTHER}, {signal.SYNTHETIC}"
        ),
        "synthetic stays and the victim": f"{signal.VICTIM}, {signal.SYNTHETIC}",
        "the last less the floor": "less",
    }
    rows = {title: {"rank correlation": text(maps[key], 2)} for title, key in pairs.items()}
    return pd.DataFrame.from_dict(rows, orient="index")


def broken_words(found: Run) -> str:
    """What the ensemble of attacks does to each network, in a sentence."""
    parts = []
    for name, title in NETWORKS.items():
        entry = found.metrics["attacks"][name]
        median = entry["best"]["median"]
        parts.append(
            f"of {title} {text(entry['success'], 2)} of {entry['success']['stays']} right verdicts "
            f"turn, by a median L1 norm of {text(median['l1'], 2)}"
        )
    return f"Under the ensemble of attacks {'; '.join(parts)}."


def carried_table(found: Run) -> pd.DataFrame:
    """A row a place where changes were found: how many of the victim's right verdicts they turn."""
    shares = found.metrics["carried"]["shares"]
    least = {name: table[signal.VICTIM] for name, table in found.metrics["transfer"].items()}
    rows = {
        title: {
            f"changes of {signal.BUDGET} cells": text(shares[name], 2),
            "smallest changes": text(least.get(name), 2),
        }
        for name, title in (NETWORKS | {"random": "nowhere: random cells, random ends"}).items()
    }
    return pd.DataFrame.from_dict(rows, orient="index")


def carried_words(found: Run) -> str:
    """Whether synthetic stays are an attack surface, in sentences that follow the numbers."""
    carried = found.metrics["carried"]
    shares = {name: Estimate.read(entry) for name, entry in carried["shares"].items()}
    made, less = shares[signal.SYNTHETIC], Estimate.read(carried["less"])
    surface = made.low > shares["random"].high
    verdict = "are an attack surface" if surface else "could not be shown to be an attack surface"
    beside = "worse than" if less.below() else "better than" if less.above() else "as well as"
    return (
        f"Synthetic stays {verdict}: who has them alone turns {made:.2f} of the victim's right "
        f"verdicts by changes of {signal.BUDGET} cells, where as many random cells turn "
        f"{shares['random']:.2f}. They serve an attacker {beside} real stays of other patients "
        f"(difference {less:.2f})."
    )


@figures.styled
def weak_points(found: Run) -> Figure:
    """Share of turned stays whose series is changed: the victim against the two other networks."""
    figure, axes = figures.panels(2, width=3.4, height=3.3)
    x = found.maps[signal.VICTIM]
    for ax, name in zip(axes, (signal.OTHER, signal.SYNTHETIC), strict=True):
        y = found.maps[name]
        top = float(max(x.max(), found.maps[signal.OTHER].max(), y.max())) + 0.02
        ax.plot([0, top], [0, top], color=figures.GREY, linewidth=0.9)
        ax.scatter(x, y, s=18, color=figures.PALETTE[0], alpha=0.75, linewidths=0)
        ax.set(xlabel="the victim", title=NETWORKS[name], xlim=(0, top), ylim=(0, top))
        ax.set_aspect("equal")
    axes[0].set_ylabel("share of stays whose series is changed")
    return figure
