"""How good a ranking of codes is: the study's figures by explicit names, beside plain ones.

Every figure is a mean over patients or a ratio of sums over patients, so its interval comes from
resampling patients (percentiles of :data:`DRAWS` bootstrap draws). The draws depend on the random
seed and the number of patients alone: two models judged on the same patients are resampled alike,
and their difference has an interval of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy import sparse, special

from reproduction.estimates import Estimate, bootstrap

KS = (10, 20, 30, 40)
DRAWS = 500
#: Bins of predicted probabilities, even in logits from -LIMIT to LIMIT.
BINS, LIMIT = 200, 12.0
#: Codes are cut by how often training has them into so many strata of about as many answers.
STRATA = 4


@dataclass(frozen=True)
class Figures:
    """Values of every figure and their bootstrap draws (kept for differences)."""

    values: dict[str, Estimate]
    draws: dict[str, np.ndarray] = field(repr=False)

    def difference(self, other: Figures, name: str) -> Estimate:
        """This less the other, over the same draws of the same patients."""
        apart = self.draws[name] - other.draws[name]
        return bootstrap(self.values[name].value - other.values[name].value, apart)


# Per patient -------------------------------------------------------------------------------------


def hits(scores: np.ndarray, truth: np.ndarray, most: int) -> np.ndarray:
    """Whether each of the ``most`` best-scored codes is true, (n, most); as :func:`ranking`."""
    return np.take_along_axis(truth, ranking(scores, most), axis=1)


def ranking(scores: np.ndarray, most: int) -> np.ndarray:
    """Places of the ``most`` best-scored codes of each row, best first; ties by place."""
    return np.argsort(-scores, axis=1, kind="stable")[:, :most]


def recall(found: np.ndarray, true: np.ndarray, k: int) -> np.ndarray:
    """|top k ∩ true| / |true| of each patient, by :func:`hits`; NaN where nothing is true."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(true > 0, found[:, :k].sum(axis=1) / true, np.nan)


def capped_recall(found: np.ndarray, true: np.ndarray, k: int) -> np.ndarray:
    """|top k ∩ true| / min(k, |true|): the study's recall, 1 even with more than k true codes."""
    return recall(found, np.minimum(true, k), k)


def ndcg(found: np.ndarray, true: np.ndarray, k: int) -> np.ndarray:
    """Discounted gain of the top k over that of the best order (Järvelin & Kekäläinen 2002)."""
    k = min(k, found.shape[1])
    discount = 1 / np.log2(np.arange(2, k + 2))
    best = np.concatenate([[0], np.cumsum(discount)])[np.minimum(true, k).astype(int)]
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(true > 0, (found[:, :k] * discount).sum(axis=1) / best, np.nan)


def chosen_by_oracle(scores: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """The study's predictions for F1, (n, codes) bool: as many codes as the patient truly has."""
    true = truth.sum(axis=1)
    order = ranking(scores, int(true.max(initial=0)))
    made = np.zeros_like(truth)
    kept = np.arange(order.shape[1]) < true[:, None]
    made[np.nonzero(kept)[0], order[kept]] = True
    return made


# Figures -----------------------------------------------------------------------------------------


def weights(n: int, seed: int, draws: int = DRAWS) -> np.ndarray:
    """How often each of ``n`` patients is drawn, (draws + 1, n); in the first row once each."""
    rng = np.random.default_rng([seed, n])
    sampled = rng.multinomial(n, np.full(n, 1 / n), size=draws) if n else np.zeros((draws, 0))
    return np.vstack([np.ones(n), sampled]).astype(np.float32)


def figures(
    scores: np.ndarray,
    truth: sparse.csr_array,
    *,
    seen: sparse.csr_array,
    frequency: np.ndarray,
    seed: int = 0,
) -> Figures:
    """Every figure of a ranking.

    Args:
        scores: (n, codes) logits; -inf for codes that cannot be predicted
        truth: (n, codes) the answers
        seen: (n, codes) whether a patient's history has the code
        frequency: (codes,) how often training targets have it

    Returns:
        Figures
        ``reported.f1`` and ``reported.recall@k`` (with the number of true codes known, and recall
        over min(k, true)); ``recall@k``, ``precision@k``, ``ndcg@k``; ``auprc`` over all
        patient-code pairs; ``calibration`` (expected calibration error, a share of the mean number
        of codes, 0 is best) and ``codes.ratio`` (predicted over true codes, 1 is best);
        ``recurring.recall@20``, ``new.recall@20`` (among codes that the history lacks) and
        ``stratum n.recall@20``. All in [0, 1] but the last ratio, higher is better but for
        calibration.
    """
    true = np.asarray(truth.toarray() > 0)
    repeats = np.asarray(seen.toarray() > 0)
    draw = weights(len(true), seed)
    each = _per_patient(scores, true, repeats, frequency)
    found = {name: means(draw, value) for name, value in each.items()}
    found["reported.f1"] = _weighted_f1(draw, scores, true)
    found |= _pairs(draw, scores, true)
    values = {name: bootstrap(all_[0], all_[1:]) for name, all_ in found.items()}
    # no interval, since resampling moves a sum of absolute gaps upwards
    values["calibration"] = Estimate(values["calibration"].value)
    return Figures(values, {name: all_[1:] for name, all_ in found.items()})


def _per_patient(
    scores: np.ndarray, true: np.ndarray, repeats: np.ndarray, frequency: np.ndarray
) -> dict[str, np.ndarray]:
    number = true.sum(axis=1)
    order = ranking(scores, max(KS))
    best = np.take_along_axis(true, order, axis=1)
    found = {}
    for k in KS:
        found[f"reported.recall@{k}"] = capped_recall(best, number, k)
        found[f"recall@{k}"] = recall(best, number, k)
        found[f"precision@{k}"] = best[:, :k].mean(axis=1)
        found[f"ndcg@{k}"] = ndcg(best, number, k)
    old, top = true & repeats, order[:, :20]
    found["recurring.recall@20"] = recall(np.take_along_axis(old, top, axis=1), old.sum(axis=1), 20)
    new, fresh = true & ~repeats, np.where(repeats, -np.inf, scores)
    found["new.recall@20"] = recall(hits(fresh, new, 20), new.sum(axis=1), 20)
    for number, codes in enumerate(strata(frequency, true.sum(axis=0)), start=1):
        mine = true & codes
        caught = np.take_along_axis(mine, top, axis=1)
        found[f"stratum {number}.recall@20"] = recall(caught, mine.sum(axis=1), 20)
    return found


def strata(frequency: np.ndarray, answers: np.ndarray) -> list[np.ndarray]:
    """Masks of codes, the rarest in training first, each of about as many answers."""
    order = np.argsort(frequency, kind="stable")
    running = np.cumsum(answers[order])
    bounds = np.searchsorted(running, running[-1] * np.arange(1, STRATA) / STRATA)
    return [np.isin(np.arange(len(order)), part) for part in np.split(order, bounds)]


def means(draw: np.ndarray, value: np.ndarray) -> np.ndarray:
    """Weighted means over the patients that have a value, one a draw; weights (draws, n)."""
    there = np.isfinite(value)
    with np.errstate(invalid="ignore", divide="ignore"):
        return (draw[:, there] @ value[there]) / draw[:, there].sum(axis=1)


def _weighted_f1(draw: np.ndarray, scores: np.ndarray, true: np.ndarray) -> np.ndarray:
    """F1 of codes weighted by their number of answers: scikit-learn's average="weighted"."""
    made = sparse.csr_array(chosen_by_oracle(scores, true))
    parts = made.multiply(true).tocsr(), made, sparse.csr_array(true)
    sums = (np.asarray((part.astype(np.float32).T @ draw.T).T) for part in parts)
    right, predicted, actual = sums
    with np.errstate(invalid="ignore", divide="ignore"):
        f1 = np.where(predicted + actual > 0, 2 * right / (predicted + actual), 1.0)
        return (f1 * actual).sum(axis=1) / actual.sum(axis=1)


def _pairs(draw: np.ndarray, scores: np.ndarray, true: np.ndarray) -> dict[str, np.ndarray]:
    """AUPRC and calibration over all patient-code pairs, from histograms of the logits."""
    inner, owner = np.linspace(-LIMIT, LIMIT, BINS - 1), np.arange(len(true))
    place = np.searchsorted(inner, scores.ravel()) + BINS * np.repeat(owner, true.shape[1])

    def drawn(weights: np.ndarray | None) -> np.ndarray:
        sums = np.bincount(place, weights=weights, minlength=BINS * len(true))
        return draw @ sums.reshape(len(true), BINS).astype(np.float32)

    all_, right = drawn(None), drawn(true.ravel())
    made = drawn(special.expit(scores.ravel()))
    above, caught = (np.cumsum(part[:, ::-1], axis=1) for part in (all_, right))
    with np.errstate(invalid="ignore", divide="ignore"):
        precision = np.where(above > 0, caught / above, 0)
        auprc = (precision * right[:, ::-1]).sum(axis=1) / right.sum(axis=1)
        gap = np.abs(made - right).sum(axis=1) / right.sum(axis=1)
        ratio = made.sum(axis=1) / right.sum(axis=1)
    return {"auprc": auprc, "calibration": gap, "codes.ratio": ratio}


def plain(found: Mapping[str, Estimate]) -> dict[str, Any]:
    """For JSON: {name: {"value": …, "low": …, "high": …}}."""
    return {
        name: {"value": figure.value, "low": figure.low, "high": figure.high}
        for name, figure in found.items()
    }


# One yes-or-no answer ----------------------------------------------------------------------------


def binary(logits: np.ndarray, truth: np.ndarray, seed: int = 0) -> dict[str, Estimate]:
    """AUROC, AUPRC and F1 at one half, with intervals over patients; NaN with one class only."""
    from sklearn.metrics import average_precision_score, f1_score, roc_auc_score

    def all_of(rows: np.ndarray) -> tuple[float, ...]:
        if not 0 < truth[rows].sum() < len(rows):
            return (float("nan"),) * 3
        true, said = truth[rows], logits[rows]
        areas = roc_auc_score(true, said), average_precision_score(true, said)
        return *map(float, areas), float(f1_score(true, said > 0, zero_division=0))

    rng, n = np.random.default_rng([seed, len(truth)]), len(truth)
    draws = np.array([all_of(rng.integers(n, size=n)) for _ in range(100)])
    values = zip(("auroc", "auprc", "f1"), all_of(np.arange(n)), draws.T, strict=True)
    return {name: bootstrap(value, again) for name, value, again in values}
