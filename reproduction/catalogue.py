"""All published runs: one table, and each of them by the name of its row."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from reproduction import bundles
from reproduction.runs import Run
from reproduction.tables import Html, Table
from scoehr import generators
from scoehr.files import ROOT, InputError
from scoehr.generators import Generator, Whole

#: The score that the table shows of a run, the first that it has, with its title.
SCORES = {
    "utility.discriminator_auc": "discriminator AUC",
    "whole.discriminator_auc": "discriminator AUC of whole patients",
    "scores.recall@20": "recall@20",
    "test.auroc": "AUROC",
    "both.success": "attacks that succeed",
}

COLUMNS = ["row", "title", "study", "data", "profile", "seed", "score", "kept"]


def published() -> pd.DataFrame:
    """A row a published run: row, title, study, data, profile, seed, score, what is kept."""
    return pd.DataFrame([_row(store) for store in _stores()], columns=COLUMNS)


def _stores() -> Iterator[bundles.Bundled]:
    """Every published run, bundle by bundle, those of the main study first."""
    paths = (ROOT / "saved_models").glob("*-*")
    for path in sorted(paths, key=lambda path: (not path.name.startswith("synthesis"), path)):
        yield from bundles.bundle(path) or ()


def _row(store: bundles.Bundled) -> dict[str, Any]:
    experiment = store.config["experiment"]
    return {
        "row": experiment["name"],
        "title": experiment["title"],
        "study": store.bundle.path.name.partition("-")[0].replace("_", " "),
        "data": experiment["dataset"],
        "profile": experiment["profile"],
        "seed": experiment["seed"],
        "score": _score(store),
        "kept": ", ".join(_kept(store)) or "scores",
    }


def _score(store: bundles.Bundled) -> str:
    if store.config.get("verdict") == "diverged":
        return "diverged"
    found = {row["metric"]: row["value"] for row in bundles.scores(store.metrics)}
    known = [f"{title} {found[name]:.3f}" for name, title in SCORES.items() if found.get(name)]
    return known[0] if known else "–"


def _kept(store: bundles.Bundled) -> list[str]:
    places = {"weights": store.model, "patients": store.synthetic}
    return [name for name, place in places.items() if place.exists()]


def searchable(found: pd.DataFrame) -> Html:
    """The table with its titles under the rows; ``book/_static/runs.js`` searches and sorts it."""
    named = found["row"].where(found["title"] == found["row"], found["row"] + ": " + found["title"])
    table = found.drop(columns="title").assign(row=named, seed=found["seed"].astype(str))
    caption = f"{len(found)} published runs; type to search, click a heading to sort"
    return Html(f'<div class="find-runs">{Table(table, caption)._repr_html_()}</div>')


# One of them --------------------------------------------------------------------------------------


def find(
    row: str,
    *,
    study: str = "synthesis",
    dataset: str = "simulated",
    profile: str | None = None,
    seed: int = 0,
) -> Run:
    """A published run by its row in the plan; of several profiles one that has its weights.

    Raises:
        InputError: no such run is published; the message names what is.
    """
    at = {"name": row, "dataset": dataset, "seed": seed} | ({"profile": profile} if profile else {})
    found = [store for store in _stores() if _is(store, study, at)]
    if not found:
        raise InputError(_nothing(study, at))
    return Run(max(found, key=lambda store: store.model.exists()))


def _is(store: bundles.Bundled, study: str, at: dict[str, Any]) -> bool:
    facts = store.config["experiment"]
    mine = store.bundle.path.name.startswith(f"{study}-")
    return mine and all(facts[key] == value for key, value in at.items())


def _nothing(study: str, at: dict[str, Any]) -> str:
    here = [store for store in _stores() if _is(store, study, {"dataset": at["dataset"]})]
    rows = sorted({store.config["experiment"]["name"] for store in here})
    asked = ", ".join(f"{key} {value}" for key, value in at.items())
    return f"no run of {study} is published with {asked}; its rows are {', '.join(rows) or 'none'}"


def load(row: str, **at: Any) -> Generator | Whole:
    """The fitted generator of a published run, see :func:`find`.

    Raises:
        InputError: the run is published without its weights; the message has the command that
            makes them.
    """
    run = find(row, **at)
    if not run.weighted:
        facts = run.config["experiment"]
        options = {key: facts[key] for key in ("dataset", "profile", "seed")}
        options["study"] = at.get("study", "synthesis")
        words = " ".join(f"--{key} {value}" for key, value in options.items())
        raise InputError(
            f"{run.id}: is published with its scores and without its weights; "
            f"`scoehr run {row} {words} --again` makes both"
        )
    return generators.load_any(run.stored.model)
