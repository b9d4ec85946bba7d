"""What successful changes say of a model: where, how often and how far its inputs have to be moved.

All functions take changes ``(N, T, F)`` of N stays whose verdict was turned, in units of models.
Names as in the LSTM attack study, after Sun et al. (2018, KDD).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from companions.mortality_attack import evaluate, features
from companions.mortality_attack.attack import Attacked, allowed
from companions.mortality_attack.ensemble import CELLS, Strongest
from companions.mortality_attack.evaluate import FEWEST
from companions.mortality_attack.models import Classifier
from companions.mortality_attack.protocol import Series, Statistics
from companions.mortality_attack.train import tensors, verdicts

Maps = dict[str, np.ndarray]
#: A change of less than a thousandth of a series' range is none.
NEGLIGIBLE = 1e-3


def maps(changes: np.ndarray) -> Maps:
    """Per hour and feature, each ``(T, F)``; zeros where no change is.

    gmp: largest absolute change. gap: mean absolute change over all N (the study's code averages
    over cells too, and gives one number). gpp: share of the stays whose cell is changed. ganzp:
    mean absolute change where it is changed. s: gmp · gpp. sensitivity: gpp / ganzp, large where
    small changes turn many verdicts.
    """
    size = sizes(changes)
    count = max(len(size), 1)
    changed = (size > 0).sum(0)
    total = size.sum(0)
    gpp = changed / count
    ganzp = np.divide(total, changed, out=np.zeros_like(total), where=changed > 0)
    gmp = size.max(0) if len(size) else np.zeros(size.shape[1:])
    sensitivity = np.divide(gpp, ganzp, out=np.zeros_like(gpp), where=ganzp > 0)
    return {
        "gmp": gmp,
        "gap": total / count,
        "gpp": gpp,
        "ganzp": ganzp,
        "s": gmp * gpp,
        "sensitivity": sensitivity,
    }


def sizes(changes: np.ndarray) -> np.ndarray:
    """Absolute changes, 0 where they are negligible."""
    size = np.abs(np.asarray(changes, float))
    return np.where(size < NEGLIGIBLE, 0, size)


def by_feature(changes: np.ndarray) -> Maps:
    """s_j and sensitivity_j, the sums over hours of the maps, and the share of stays with any
    change, each ``(F,)``.
    """
    found = maps(changes)
    touched = (
        (sizes(changes) > 0).any(1).mean(0) if len(changes) else np.zeros(np.shape(changes)[2])
    )
    return {"s": found["s"].sum(0), "sensitivity": found["sensitivity"].sum(0), "touched": touched}


def per_example(changes: np.ndarray) -> Maps:
    """Of each stay, ``(N,)``: cells changed, their share of all, L1 norm, largest and mean absolute
    change.
    """
    size = sizes(changes)
    size = size.reshape(len(size), int(np.prod(size.shape[1:])))
    number, total = (size > 0).sum(1), size.sum(1)
    return {
        "cells": number,
        "share": number / size.shape[1],
        "l1": total,
        "largest": size.max(1, initial=0),
        "mean": total / np.maximum(number, 1),
    }


def objective(changes: np.ndarray, name: str, cut_off: int = 10) -> float:
    """What tuning maximises: a sum over successful stays.

    sparsity: 1 less the share of changed cells. sparse_small: that over the L1 norm.
    sparse_small_max: that over the largest change. max_num_nonzero_perts: 1 for a stay with at most
    ``cut_off`` changed cells.
    """
    found = per_example(changes)
    sparsity = 1 - found["share"]
    changed = found["cells"] > 0
    match name:
        case "sparsity":
            return float(sparsity.sum())
        case "sparse_small":
            return float((sparsity[changed] / found["l1"][changed]).sum())
        case "sparse_small_max":
            return float((sparsity[changed] / found["largest"][changed]).sum())
        case "max_num_nonzero_perts":
            return float((found["cells"] <= cut_off).sum())
    raise ValueError(f"objective {name!r} is unknown")


OBJECTIVES = ("sparsity", "sparse_small", "sparse_small_max", "max_num_nonzero_perts")


def curve(measure: np.ndarray, success: np.ndarray, points: Sequence[float]) -> np.ndarray:
    """Share of attacked stays turned within each of ``points`` of a measure (steps, cells, L1),
    ``(len(points),)``.
    """
    reached = np.where(success, measure, np.inf)
    return np.array(
        [float(np.mean(reached <= point)) if len(reached) else np.nan for point in points]
    )


def share(success: np.ndarray, patients: np.ndarray, *, seed: int = 0) -> dict[str, Any]:
    """Share of attacked stays that were turned, with its 95 % bootstrap interval over patients."""
    found = evaluate.over_patients(np.mean, success, patients, seed=seed)
    return found | {"stays": len(success)}


def turned(model: Any, series: Series, changes: np.ndarray) -> np.ndarray:
    """Whether the verdict of each stay, right before, is wrong after a change ``(N, T, F)``; False
    where it was wrong.

    A model that reads no filled-in values is given the change where something was measured.
    """
    moved = replace(series, values=series.values + changes.astype(np.float32))
    after = verdicts(model, moved) != (series.died > 0)
    return right(model, series) & after


def right(model: Any, series: Series) -> np.ndarray:
    """Whether the model has each stay right."""
    return verdicts(model, series) == (series.died > 0)


def transfer(
    crafted: Mapping[str, Attacked], models: Mapping[str, Any], series: Series
) -> dict[str, dict[str, dict[str, Any]]]:
    """How often changes made against one model turn another's right verdict: {made against: {tried
    on: share}}.

    Of the successful changes on stays that the other model has right too.
    """
    table: dict[str, dict[str, dict[str, Any]]] = {}
    for source, found in crafted.items():
        some = series.take(found.rows[found.success])
        changes = found.best[found.success]
        table[source] = {}
        for name, model in models.items():
            fit = right(model, some)
            table[source][name] = share(turned(model, some, changes)[fit], some.patients[fit])
    return table


def noise(
    model: Classifier,
    series: Series,
    statistics: Statistics,
    found: Attacked,
    *,
    measured_only: bool,
    seed: int = 0,
    draws: int = 10,
) -> dict[str, Any]:
    """The baseline: the same sizes of change with random signs in random allowed cells of the same
    stays.
    """
    if not found.success.any():
        return share(np.zeros(0), np.zeros(0))
    some = series.take(found.rows[found.success])
    cells = (
        allowed(model, tensors(some)[1], statistics, measured_only).numpy().reshape(len(some), -1)
    )
    moves = np.abs(found.best[found.success]).reshape(len(some), -1)
    rng = np.random.default_rng([seed, 5])
    hits = []
    for _ in range(draws):
        moved = np.zeros_like(moves)
        for row in range(len(some)):
            steps = moves[row][moves[row] > 0]
            where = rng.permutation(np.flatnonzero(cells[row]))[: len(steps)]
            moved[row, where] = steps * rng.choice([-1, 1], len(steps))
        hits.append(turned(model, some, moved.reshape(found.best[found.success].shape)))
    return share(np.mean(hits, 0), some.patients)


def robust(found: Strongest, series: Series, *, seed: int = 0) -> dict[str, Any]:
    """Share of all stays that the model has right whatever is done to at most so many cells, by
    budget, with 0.
    """
    stands = np.zeros(len(series))
    stands[found.rows] = found.needed
    return {str(cells): share(stands > cells, series.patients, seed=seed) for cells in (0, *CELLS)}


def clinical(found: Attacked, series: Series, statistics: Statistics) -> list[dict[str, Any]]:
    """What the changes with the least L1 norm are in clinical units, a row a series that is changed
    in ten stays.
    """
    before = series.values[found.rows[found.success]]
    changes = found.best[found.success]
    changed = sizes(changes) > 0
    old, new = statistics.clinical(before), statistics.clinical(before + changes)
    rows = []
    for place, feature in enumerate(features.table()):
        where = changed[..., place]
        if (touched := int(where.any(1).sum())) < FEWEST:
            continue
        one, other = old[..., place][where], new[..., place][where]
        sides = {"before": one, "after": other, "moved": np.abs(other - one)}
        facts = {"feature": feature.title, "unit": feature.unit, "stays": touched / len(changes)}
        rows.append(facts | {key: float(np.median(side)) for key, side in sides.items()})
    return rows
