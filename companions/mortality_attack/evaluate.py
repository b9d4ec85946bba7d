"""How well a model ranks and how true its probabilities are, with intervals over patients."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import precision_recall_curve

from companions.mortality_attack import features
from companions.mortality_attack.protocol import Series, Statistics
from scoehr.metrics.utility import area

#: Scores of one set of predictions, in the order of tables, with their titles.
SCORES = {
    "auroc": "AUROC",
    "auprc": "AUPRC",
    "brier": "Brier score",
    "f1": "F1",
    "precision": "precision",
    "recall": "recall",
    "accuracy": "accuracy",
}
DRAWS = 500
#: Deaths and survivals that a group needs to be shown.
FEWEST = 10
#: Care units among the descriptors of a stay.
UNITS = {
    "unit_1": "coronary care",
    "unit_2": "cardiac surgery",
    "unit_3": "medical intensive care",
    "unit_4": "surgical intensive care",
}
Scores = dict[str, float]


def scores(probability: np.ndarray, died: np.ndarray, threshold: float) -> Scores:
    """The scores of predictions ``(n,)``; NaN where they are undefined, as with no death.

    auroc, auprc (average precision), f1, precision, recall and accuracy lie in [0, 1], 1 best;
    brier, the mean squared error of the probability, in [0, 1], 0 best. Death is called from
    ``threshold`` on.
    """
    died = np.asarray(died).astype(bool)
    called = probability >= threshold
    hits = float((called & died).sum())
    mixed = bool(died.any() and not died.all())
    precision = hits / called.sum() if called.any() else np.nan
    recall = hits / died.sum() if died.any() else np.nan
    return {
        "auroc": area(probability[died], probability[~died]) if mixed else np.nan,
        "auprc": average_precision(probability, died) if mixed else np.nan,
        "brier": float(np.mean((probability - died) ** 2)),
        "f1": float(2 * hits / (called.sum() + died.sum()))
        if called.any() or died.any()
        else np.nan,
        "precision": float(precision),
        "recall": float(recall),
        "accuracy": float((called == died).mean()),
    }


def average_precision(probability: np.ndarray, died: np.ndarray) -> float:
    """Area under the precision-recall curve as a sum of steps, in [0, 1]; the share who died is
    that of chance.
    """
    order = np.argsort(-probability, kind="stable")
    ends = np.append(
        np.diff(probability[order]) != 0, True
    )  # stays of equal probability are called together
    hits = np.cumsum(died[order])[ends]
    precision = hits / (np.flatnonzero(ends) + 1)
    return float(np.sum(np.diff(hits, prepend=0) * precision) / max(hits[-1], 1))


def resample(patients: np.ndarray, draws: int, seed: int) -> list[np.ndarray]:
    """Bootstrap draws of patients, each the rows of all stays of the patients drawn."""
    _, group = np.unique(patients, return_inverse=True)
    order = np.argsort(group, kind="stable")
    bounds = np.searchsorted(group[order], np.arange(group.max() + 2))
    rng = np.random.default_rng([seed, 95])
    rows = []
    for _ in range(draws):
        drawn = rng.integers(0, group.max() + 1, group.max() + 1)
        rows.append(np.concatenate([order[bounds[g] : bounds[g + 1]] for g in drawn]))
    return rows


def interval(values: list[float] | np.ndarray) -> list[float]:
    """The 2.5th and 97.5th percentile of bootstrap values, those undefined left out."""
    known = np.asarray(values, float)
    known = known[np.isfinite(known)]
    return [float(v) for v in np.percentile(known, [2.5, 97.5])] if len(known) else [np.nan, np.nan]


def drawn(
    probability: np.ndarray,
    died: np.ndarray,
    patients: np.ndarray,
    threshold: float,
    *,
    seed: int = 0,
    draws: int = DRAWS,
) -> list[Scores]:
    """The scores of all stays, then those of each bootstrap draw of patients; models of the same
    stays and seed have the same draws.
    """
    rows = [np.arange(len(died)), *resample(patients, draws, seed)]
    return [scores(probability[some], died[some], threshold) for some in rows]


def estimate(values: Sequence[float]) -> dict[str, Any]:
    """The first value, with the 95 % interval of the others, bootstrap draws of it."""
    return {"value": float(values[0]), "interval": interval(list(values[1:]))}


def over_patients(
    statistic: Callable[[np.ndarray], Any],
    values: np.ndarray,
    patients: np.ndarray,
    *,
    seed: int = 0,
    draws: int = DRAWS,
) -> dict[str, Any]:
    """A statistic of ``values`` ``(n,)`` with its 95 % bootstrap interval over patients, NaN of
    nothing.
    """
    if not len(values):
        return {"value": np.nan, "interval": [np.nan, np.nan]}
    rows = [np.arange(len(values)), *resample(patients, draws, seed)]
    return estimate([statistic(values[some]) for some in rows])


def estimates(found: Sequence[Scores]) -> dict[str, dict[str, Any]]:
    """Each score of :func:`drawn` as ``{"value", "interval"}``."""
    return {name: estimate([one[name] for one in found]) for name in found[0]}


def best_threshold(probability: np.ndarray, died: np.ndarray) -> float:
    """The probability from which calling death gives the highest F1, to be chosen on validation
    stays; 0.5 if none died."""
    if not np.any(died):
        return 0.5
    precision, recall, thresholds = precision_recall_curve(died, probability)
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
    return float(np.clip(thresholds[np.argmax(f1[:-1])], 1e-6, 1 - 1e-6))


def calibration(
    probability: np.ndarray, died: np.ndarray, bins: int = 10
) -> list[dict[str, float]]:
    """Mean probability and share who died in groups of equal size, by rising probability."""
    groups = np.array_split(np.argsort(probability, kind="stable"), bins)
    return [
        {
            "predicted": float(probability[rows].mean()),
            "died": float(np.mean(died[rows])),
            "stays": len(rows),
        }
        for rows in groups
        if len(rows)
    ]


def fit_line(probability: np.ndarray, died: np.ndarray) -> list[float]:
    """Slope and intercept on the scale of logits that make probabilities true (Platt 1999), from
    stays held back.
    """
    fitted = LogisticRegression(C=np.inf).fit(_logit(probability)[:, None], died)
    return [float(fitted.coef_[0, 0]), float(fitted.intercept_[0])]


def on_line(probability: np.ndarray, line: Sequence[float]) -> np.ndarray:
    """Probabilities moved along a line of :func:`fit_line`."""
    slope, intercept = line
    return 1 / (1 + np.exp(-(slope * _logit(probability) + intercept)))


def _logit(probability: np.ndarray) -> np.ndarray:
    chance = np.clip(np.asarray(probability, float), 1e-6, 1 - 1e-6)
    return np.log(chance / (1 - chance))


def subgroups(
    probability: np.ndarray, series: Series, statistics: Statistics, *, seed: int = 0
) -> list[dict[str, Any]]:
    """AUROC and calibration in the large (deaths over those expected) by age, sex and unit, with
    intervals.

    Groups with fewer than ten deaths or survivals are left out.
    """
    raw = series.static * statistics.static_spread + statistics.static_mean
    column = {name: raw[:, place] for place, name in enumerate(features.STATIC)}
    groups = {
        "younger than 50": column["age"] < 50,
        "50 to 64": (column["age"] >= 50) & (column["age"] < 65),
        "65 to 79": (column["age"] >= 65) & (column["age"] < 80),
        "80 and older": column["age"] >= 80,
        "women": column["male"] < 0.5,
        "men": column["male"] > 0.5,
        **{title: column[name] > 0.5 for name, title in UNITS.items()},
    }
    died, rows = series.died > 0, []
    for title, some in groups.items():
        if min((died & some).sum(), (~died & some).sum()) < FEWEST:
            continue
        known, patients = np.column_stack([probability, died])[some], series.patients[some]
        facts = {"group": title, "stays": int(some.sum()), "deaths": int((died & some).sum())}
        scored = {
            name: over_patients(score, known, patients, seed=seed)
            for name, score in (("auroc", _auroc), ("ratio", _ratio))
        }
        rows.append(facts | scored)
    return rows


def _auroc(known: np.ndarray) -> float:
    """Of probabilities and outcomes, ``(n, 2)``."""
    died = known[:, 1] > 0
    return area(known[died, 0], known[~died, 0]) if 0 < died.sum() < len(died) else np.nan


def _ratio(known: np.ndarray) -> float:
    return float(known[:, 1].sum() / max(known[:, 0].sum(), 1e-9))


def balanced_draw(died: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The reported sampler: as many rows as there are, with replacement, deaths as often as
    survivals.
    """
    weight = np.where(np.asarray(died) > 0, 1 / max(np.sum(died), 1), 1 / max(np.sum(1 - died), 1))
    return rng.choice(len(died), len(died), p=weight / weight.sum())
