"""Patients sampled on condition of a code, beside the real patients who have it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from reproduction.synthesis import results
from scoehr.data.matrix import CodeMatrix
from scoehr.generators import Generator

ENOUGH = 100  # real patients with a code; fewer say little of the rest of their records


def beside(
    model: Generator, real: CodeMatrix, *, codes: int = 6, patients: int = 1000, seed: int = 0
) -> pd.DataFrame:
    """The most common ``codes`` of held-out ``real`` patients, a row each.

    Mean occurrences in a record, of real patients with the code and of as many synthetic ones as ``patients`` on
    condition of it; and how the prevalence of all other codes among the real patients with the code correlates with
    that among the synthetic ones, and among all real patients, which is what ignoring the condition gives. Empty where
    no code has :data:`ENOUGH` patients.
    """
    rows = list(_rows(model, real.align(model.vocabulary.codes), codes, patients, seed))
    return pd.DataFrame(rows).set_index("code") if rows else pd.DataFrame()


def _rows(
    model: Generator, real: CodeMatrix, codes: int, patients: int, seed: int
) -> Iterator[dict[str, Any]]:
    has = real.counts > 0
    many, everyone = np.asarray(has.sum(axis=0)).ravel(), results.shares(real)
    for place in np.argsort(-many, kind="stable")[:codes]:
        if many[place] < ENOUGH:
            return
        name = str(real.codes[place])
        sick = real.take(np.flatnonzero(has[:, [place]].toarray()[:, 0]))
        made = model.sample(patients, seed=seed, condition=[name], progress=False)
        others = np.arange(len(real.codes)) != place
        among = results.shares(sick)[others]
        yield {
            "code": f"{name} {real.titles[place]}".strip(),
            "patients": len(sick),
            "occurrences": sick.counts.sum() / len(sick),
            "synthetic": made.counts.sum() / patients,
            "correlation, all patients": _correlation(everyone[others], among),
            "correlation": _correlation(results.shares(made)[others], among),
        }


def _correlation(one: np.ndarray, other: np.ndarray) -> float:
    """Pearson's, not a number where a side does not vary."""
    return float(np.corrcoef(one, other)[0, 1]) if one.std() and other.std() else float("nan")
