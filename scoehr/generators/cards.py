"""Model card and data card: what a saved generator is, and what it was made from.

Made from the saved files themselves. The questions are those of Mitchell et al. (2019), Model Cards
for Model Reporting, FAT*, and of Gebru et al. (2021), Datasheets for Datasets, Communications of
the ACM 64(12).
"""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scoehr.files import read_json, replacing

#: Whether the data are behind an agreement, where that is known.
AGREEMENT: dict[Any, str] = {True: "yes", False: "no"}
#: What the data card says of the table by which conditions are checked.
PAIRS = (
    " `pairs.parquet` counts the training patients who have two codes together, small numbers "
    "among them: it is not for publication where the data are behind an agreement."
)
#: Scores that a card shows where they are known, with the value of fresh real patients beside them.
SCORES = {
    "fidelity.density_ratio": "mean cell, synthetic over real",
    "fidelity.prevalence_mae": "mean absolute error of the codes' prevalence",
    "fidelity.pcd_top200": "distance of correlations, 200 most prevalent codes",
    "utility.discriminator_auc": "AUC of telling synthetic from real patients",
    "privacy.membership_auc": "AUC of telling training from other patients",
    "whole.category_tv": "total variation of categories, mean over columns",
    "whole.number_ks": "Kolmogorov-Smirnov statistic of numbers, mean over columns",
    "whole.discriminator_auc": "AUC of telling synthetic from real patients, columns included",
    "whole.recurrence_mae": "mean absolute error of the recurrence of codes",
    "whole.rules_broken": "share of patients who break a rule of the training set",
}


def write(folder: Path, summary: str) -> None:
    """Write MODEL_CARD.md and DATA_CARD.md beside the config.json of a saved generator.

    ``summary`` says what the generator does, in a sentence.
    """
    config = read_json(folder / "config.json")
    metrics = folder / "metrics.json"
    scores = read_json(metrics) if metrics.exists() else {}
    for name, text in {
        "MODEL_CARD.md": model_card(config, scores, summary),
        "DATA_CARD.md": data_card(config, scores),
    }.items():
        with replacing(folder / name) as scratch:
            scratch.write_text(text, encoding="utf-8")


def model_card(config: Mapping[str, Any], scores: Mapping[str, Any], summary: str) -> str:
    """The model card as Markdown.

    ``config`` is what config.json of a saved generator holds; ``scores`` what
    :func:`scoehr.metrics.evaluate` returned, or nothing.
    """
    settings = [f"| {plain(name)} | {plain(value)} |" for name, value in config["config"].items()]
    parts = [
        f"# Model card: {plain(config.get('experiment', {}).get('title', config['generator']))}",
        summary,
        f"It makes patients as {_kind(config)} over {config['vocabulary']['codes']:,} codes, which "
        "`vocabulary.csv` lists with their titles. It was made by scoehr; "
        f"`scoehr.generators.load{'_any' * ('columns' in config)}` reads it.",
        "## Settings\n\n| setting | value |\n|---|---|\n" + "\n".join(settings),
        *_stopping(config.get("stopping")),
        "## How good it is\n\n" + _scored(scores),
        "## Use\n\nFor developing and testing methods, teaching, and deciding whether access to "
        "the real records is worth asking for. Not for care, and not for estimates published as "
        "if they were of real patients: repeat those on real records.",
        f"## Limits\n\n{_scope(config)} "
        "Groups that are rare in the training set are rendered worse than "
        "common ones, and biases "
        "of the records stay. " + _promise(config.get("privacy")),
    ]
    return "\n\n".join(parts) + "\n"


def data_card(config: Mapping[str, Any], scores: Mapping[str, Any]) -> str:
    """The data card as Markdown: aggregates over the whole training set.

    ``config`` and ``scores`` as for :func:`model_card`.
    """
    data, experiment = config.get("data", {}), config.get("experiment", {})
    account = data.get("account", {})
    facts = {
        "data set": experiment.get("dataset", "the user's own table"),
        "patients trained on": data.get("train"),
        "held out": scores["n"]["real"] if "headline" in scores else data.get("test"),
        "admissions in the source": account.get("admissions"),
        "diagnosis rows read": account.get("rows_read"),
        "codes": config["vocabulary"]["codes"],
        "cells": _kind(config),
        "mean cell of the source": account.get("mean_cell"),
        "behind an agreement": AGREEMENT.get(config.get("credentialed")),
    }
    rows = [f"| {name} | {_number(value)} |" for name, value in facts.items() if value is not None]
    parts = [
        "# Data card",
        "What the generator in this folder was trained on.",
        "| | |\n|---|---|\n" + "\n".join(rows),
        "No record of a patient lies in this folder: weights and sums over patients only. Weights "
        "can carry traces of records they were trained on, so the terms of the source hold for "
        "them too." + (PAIRS if "pairs" in config else ""),
    ]
    return "\n\n".join(parts) + "\n"


def _scope(config: Mapping[str, Any]) -> str:
    """What a patient is, and what is not modelled."""
    if "columns" not in config:
        return (
            "A patient has codes and how often they were recorded; times, values and texts are not "
            "modelled."
        )
    names = [plain(column["name"]) for column in config["columns"] if column["per"] != "derived"]
    return (
        f"A patient has visits in order, codes, and {len(names)} columns"
        f"{': ' * bool(names)}{', '.join(names)}. Texts and what happens within a visit are not "
        "modelled."
    )


def _promise(privacy: Mapping[str, Any] | None) -> str:
    if not privacy:
        return (
            "Training gave no formal guarantee of privacy: the scores above are tests, not proofs."
        )
    public = "the vocabulary and the number of patients are"
    if privacy.get("vocabulary") == "noised":
        public = "the vocabulary was chosen under noise within it and the number of patients is"
    return (
        f"Training kept (ε = {privacy['epsilon']:.3g}, δ = {privacy['delta']:.3g}) differential "
        f"privacy, where neighbours differ by {plain(privacy['neighbours'])}, {public} public. "
        "Choosing settings on the same patients is not counted in it."
    )


def _stopping(stopping: Mapping[str, Any] | None) -> list[str]:
    if not stopping:
        return []
    trained, epoch = plain(stopping["trained"]), plain(stopping["epoch"])
    return [
        f"Of {trained} epochs the weights after {epoch} were taken, under which the loss of "
        f"{plain(stopping['judged_by'])} was the lowest."
    ]


def _kind(config: Mapping[str, Any]) -> str:
    return {"binary": "presence or absence", "signed": "counts, negative ones among them"}.get(
        config["config"].get("kind", "count"), "counts"
    )


def _scored(scores: Mapping[str, Any]) -> str:
    if not scores:
        return "Not scored. `scoehr evaluate` compares its patients with held-out real ones."
    if "headline" in scores:
        return _reported(scores)
    lines = ["| score | this model | fresh real patients |", "|---|---|---|"]
    for key, title in SCORES.items():
        family, name = key.split(".")
        if family not in scores:
            continue
        cells = (scores[family].get(name), scores["reference"]["real"][family].get(name))
        lines.append(f"| {title} | {_number(cells[0])} | {_number(cells[1])} |")
    return (
        "\n".join(lines)
        + f"\n\n{scores['n']['rows']:,} patients a side; all scores are in `metrics.json`."
    )


def _reported(scores: Mapping[str, Any]) -> str:
    """The verdicts and the numbers that ``scoehr evaluate`` came to."""
    sentences = [made["sentence"] for made in scores["verdicts"].values()]
    lines = ["| score | this model | fresh real patients | reading |", "|---|---|---|---|"]
    for line in scores["headline"]:
        cells = (line["title"], _number(line["value"]), _number(line["floor"]), line["reading"])
        lines.append(f"| {' | '.join(cells)} |")
    counted = f"{scores['n']['rows']:,} patients a side; all scores are in `metrics.json`."
    return "\n\n".join([" ".join(sentences), "\n".join(lines), counted])


def _number(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) else plain(value)


def plain(value: Any) -> str:
    """A value as Markdown on one line: no markup, no HTML, no end of a cell."""
    text = html.escape(" ".join(str(value).split()), quote=False)
    return re.sub(r"([\\`*\[\]|$~#])", r"\\\1", text)
