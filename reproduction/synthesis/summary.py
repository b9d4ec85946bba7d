"""The summary in the form of the ML Reproducibility Challenge; its numbers are computed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from reproduction import catalogue
from reproduction.claims import OPEN, tally
from reproduction.synthesis import results, scale
from reproduction.synthesis.claims import LEDGER
from reproduction.synthesis.reported import QUOTES
from reproduction.synthesis.scores import Rows


def scope(ledgers: dict[str, pd.DataFrame]) -> str:
    """What was tried to be reproduced."""
    numbers = ", ".join(f"{len(claims)} of {title}" for title, claims in ledgers.items())
    return (
        f"Every claim of three studies is tested: {numbers}. The claim that the others lead to is "
        "that latent diffusion makes patients at least as good as those of the generators before "
        "it, and gives no patient away."
    )


def methodology(found: Rows) -> str:
    """How it was done, at which scale, and what it cost."""
    words = " ".join(scale.in_short(found[name][0]) for name in scale.STUDIED if found.get(name))
    hours = sum(_seconds(run) for runs in found.values() for run in runs) / 3600
    number = sum(map(len, found.values()))
    return (
        "The models are written anew after the report's code and the paper's text, and each runs "
        "beside reference points: fresh real patients, shuffled columns, an empty table and "
        f"copies. {words} The {number} runs shown took {hours:.1f} hours of training and sampling."
    )


def _seconds(run: Any) -> float:
    sampling = run.costs.get("sampling_seconds") or 0.0
    return (results.training_seconds(run) or 0.0) + sampling


def verdicts(ledgers: dict[str, pd.DataFrame]) -> str:
    """The tally of each study, a line each."""
    return "\n".join(f"- {title}: {tally(claims)}." for title, claims in ledgers.items())


def easy() -> str:
    """What needed no guess."""
    number = sum(1 for _ in _numbers(QUOTES.values))
    plain = [claim for claim in LEDGER.claims if not claim.get("needs")]
    return (
        f"The report's code is public, so that its scores can be recomputed: {number:,} reported "
        f"numbers are on file here, and {len(plain)} of {len(LEDGER.claims)} claims need no run at "
        "all, since what is reported decides them. The cohort can be rebuilt from two tables."
    )


def _numbers(values: Any) -> Iterator[float]:
    """Every number in nested dictionaries and lists."""
    if isinstance(values, dict):
        values = list(values.values())
    if isinstance(values, list):
        for value in values:
            yield from _numbers(value)
    elif isinstance(values, int | float):
        yield values


def difficult(claims: pd.DataFrame) -> str:
    """What stood in the way."""
    facts = {row["where"]: row for row in QUOTES.values["cohort"]}
    gone = claims["verdict"].str.startswith((OPEN, "not run yet")).sum()
    published = catalogue.published()
    return (
        "MIMIC-III is credentialed, so no model here has seen it. "
        f"The report's text describes {facts['text']['patients']:,} patients and its matrix "
        f"{facts['matrix']['patients']:,}, two different cohorts. Neither study says what its "
        "margins are or gives a random seed. The reported networks want a GPU; of "
        f"{len(claims)} claims on them {gone} have no verdict yet. {len(published)} runs are "
        "published, so that nobody has to make them again to check a number."
    )
