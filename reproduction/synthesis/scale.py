"""What was run beside what the studies ran: widths, parameters, patients, updates, steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import pandas as pd

from reproduction import tables
from reproduction.synthesis import experiments
from reproduction.synthesis.experiments import PLAN, Run
from reproduction.synthesis.reported import QUOTES
from scoehr import generators
from scoehr.generators.base import Unfilled
from scoehr.training import parameters

#: Rows that a study ran.
STUDIED = ("reported", "paper")
#: Where the number of its training patients is quoted, for a study that says it.
PATIENTS = {"reported": "report_train_patients"}


def beside(run: Run) -> pd.DataFrame:
    """The scale of a run beside that of its study, a row a quantity, with the factor here/there.

    The study's network is built, without values, to count its parameters. What follows from the
    number of training patients is left out where the study does not say it.
    """
    here = _quantities(run.config["config"], run.config["data"]["train"], run.costs["parameters"])
    name = run.experiment["name"]
    config, size = _as_studied(name)
    train = QUOTES.value(PATIENTS[name]) if name in PATIENTS else None
    there = _quantities(config, train, size)
    rows = {
        title: (there[title], value, _factor(there[title], value))
        for title, value in here.items()
        if title in there
    }
    return pd.DataFrame.from_dict(rows, orient="index", columns=["the study", "here", "factor"])


def _quantities(config: Mapping[str, Any], train: int | None, parameters: int) -> dict[str, int]:
    """The quantities of settings, training patients where they are known, and parameters."""
    found = {
        "width of the network": config["width"],
        "parameters of the network": parameters,
        "epochs": config["epochs"],
        "batch": config["batch"],
        "epochs of the autoencoder": config.get("autoencoder_epochs"),
        "steps of the sampler": config.get("steps"),
    }
    if train:
        updates = _updates(config, train)
        found |= {"training patients": train, "updates of the weights": updates}
    return {name: value for name, value in found.items() if value is not None}


def _updates(config: Mapping[str, Any], train: int) -> int:
    """How often a training changes the weights; a batch that is not full is dropped."""
    seen = int(config.get("epoch_fraction", 1.0) * train)
    return max(1, seen // config["batch"]) * config["epochs"]


@cache
def _as_studied(name: str) -> tuple[dict[str, Any], int]:
    """The settings of a row as its study had them, and the parameters of its network."""
    row = PLAN.text["experiments"][name]
    model = generators.preset(row["preset"], **row.get("settings", {}))
    with Unfilled():
        model._make_networks(QUOTES.value("report_codes"))
    return vars(model.config), parameters(model.network)


def _factor(there: float, here: float) -> str:
    """How many times as large the run is, as ``1``, ``1/63`` or ``1.3``."""
    quotient = here / there
    if 0.9 < quotient < 1.1:
        return f"{quotient:.2f}".rstrip("0").rstrip(".")
    return f"1/{1 / quotient:.3g}" if quotient < 1 else f"{quotient:.3g}"


def in_words(run: Run) -> str:
    """The scale of a run beside its study, in words."""
    rows = list(beside(run).itertuples())
    differ = [
        f"{row.Index} {row.here:,} in place of {row[1]:,} ({row.factor})"
        for row in rows
        if row.factor != "1"
    ]
    same = [f"{row.Index} ({row.here:,})" for row in rows if row.factor == "1"]
    return (
        f"**{run.experiment['title']}**. Other than in the study: {', '.join(differ) or 'nothing'}."
        f" As in the study: {', '.join(same) or 'nothing'}."
    )


def in_short(run: Run) -> str:
    """The factors of a run beside its study in one sentence."""
    table = beside(run)
    differ = table.loc[table["factor"] != "1", "factor"]
    words = ", ".join(f"{name} {factor}" for name, factor in differ.items())
    return f"{run.experiment['title']}, ours over the study's: {words or 'the same throughout'}."


def table(found: Mapping[str, Sequence[Run]]) -> pd.DataFrame:
    """A row a row of the plan: data, width of the network, parameters, updates, random seeds."""
    rows = {}
    for name, runs in found.items():
        first, config = runs[0], runs[0].config["config"]
        train = (first.config["data"] or {}).get("train")
        rows[first.experiment["title"] or name] = {
            "row": name + (" †" if first.departures else ""),
            "training patients": tables.patients(train) if train else "–",
            "width": _width(first),
            "parameters": tables.cell(first.costs.get("parameters")),
            "updates": tables.cell(
                _updates(config, train) if train and "batch" in config else None
            ),
            "random seeds": str(len(runs)),
        }
    return pd.DataFrame.from_dict(rows, orient="index").reset_index(names="title")


def _width(run: Run) -> str:
    """The width of a run's network, with that of its study where it is another."""
    has = run.config["config"].get("width")
    wanted = experiments.width(run)
    return "–" if has is None else f"{has} of {wanted}" if wanted not in (None, has) else str(has)


def narrowed(found: Mapping[str, Sequence[Run]]) -> str:
    """That some rows are narrower than in their studies, others less so; empty where all alike."""
    widths = {}
    for name, runs in found.items():
        for run in runs[:1]:
            here, there = run.config["config"].get("width"), experiments.width(run)
            if here and there:
                widths[name] = (here, there)
    if len({here / there for here, there in widths.values()}) < 2:
        return ""
    listed = ", ".join(f"{name} {here} of {there}" for name, (here, there) in widths.items())
    return f"the networks have different shares of the widths of their studies ({listed})"


def departures(found: Mapping[str, Sequence[Run]]) -> str:
    """The rows that left the regime of their study, a line each; a sentence where none did."""
    lines = [
        f"- `{name}` †: {', '.join(run.departures)}"
        for name, runs in found.items()
        for run in runs[:1]
        if run.departures
    ]
    return "\n".join(lines) or "Every row shown has its study's batch, updates, rates and sampler."
