"""Models without a network: logistic regression and boosted trees on summaries of every series."""

from __future__ import annotations

import warnings
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from safetensors.numpy import load_file, save_file
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from companions.mortality_attack import features
from companions.mortality_attack.features import FeatureSet
from companions.mortality_attack.protocol import Prepared, Series, Statistics
from companions.mortality_attack.queries import HOURS
from scoehr.files import write_json
from scoehr.metrics.utility import area

Kind = Literal["logistic", "boosting"]
Arrays = dict[str, np.ndarray]
#: Strengths of the logistic regression's penalty, one of which validation stays choose.
STRENGTHS = (0.0003, 0.001, 0.003, 0.01)
#: Standard deviations at which the columns of the logistic regression are cut off.
CUT = 4.0
#: Hours over which a summary is taken: all, the first and the second day, the last twelve.
WINDOWS = {"all": (0, HOURS), "early": (0, 24), "late": (24, HOURS), "last": (36, HOURS)}
#: Rows of a node of a tree in the saved model, by its name in scikit-learn.
NODE = ("feature_idx", "num_threshold", "missing_go_to_left", "left", "right", "is_leaf", "value")


# Summaries ----------------------------------------------------------------------------------------


def summary(series: Series, which: FeatureSet, statistics: Statistics) -> np.ndarray:
    """Numbers that describe each stay, ``(n, columns)``; NaN where nothing was measured.

    Of each series: mean, least, largest, first and last value, deviation, slope and rise, how often
    and when last measured, and means, least and largest values of single days. With all features
    the descriptors of the stay and the combinations of :func:`derived` too.
    """
    chosen = features.chosen(which)
    mask = series.mask[..., chosen]
    values = np.where(mask, series.values[..., chosen].astype(float), np.nan)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of a stay without any value
        columns = _moments(values) + _course(values, mask)
        if which == "all":
            columns += [series.static, derived(series, statistics)]
    return np.concatenate(columns, 1)


def _moments(values: np.ndarray) -> list[np.ndarray]:
    part = {name: values[:, slice(*hours)] for name, hours in WINDOWS.items()}
    means = [np.nanmean(part[name], 1) for name in WINDOWS]
    ends = [end(part[name], 1) for name in ("all", "late") for end in (np.nanmin, np.nanmax)]
    return [*means, *ends, np.nanstd(values, 1)]


def _course(values: np.ndarray, mask: np.ndarray) -> list[np.ndarray]:
    """First and last value, rise, slope, shares of hours measured and hours since."""
    hours = np.arange(HOURS)[:, None]
    first = np.where(mask, hours, HOURS).min(1)
    last = np.where(mask, hours, -1).max(1)
    begin, end = (
        np.take_along_axis(values, place.clip(0, HOURS - 1)[:, None], 1)[:, 0]
        for place in (first, last)
    )
    time = np.where(mask, hours / HOURS, np.nan)
    time, level = time - np.nanmean(time, 1)[:, None], values - np.nanmean(values, 1)[:, None]
    width = np.nansum(time**2, 1)
    slope = np.where(width > 0.01, np.nansum(time * level, 1) / np.maximum(width, 0.01), np.nan)
    since = np.where(last >= 0, HOURS - last, HOURS) / HOURS
    return [begin, end, end - begin, slope, mask.mean(1), mask[:, 24:].mean(1), since]


def derived(series: Series, statistics: Statistics) -> np.ndarray:
    """What clinicians read together, ``(n, 12)``: ratios in clinical units, hours out of range, how
    much was measured.
    """
    place = {name: index for index, name in enumerate(features.names())}
    clinical = np.where(series.mask, statistics.clinical(series.values), np.nan)
    of = {name: clinical[..., index] for name, index in place.items()}
    mean = {name: np.nanmean(column, 1) for name, column in of.items()}
    late = {name: np.nanmean(of[name][:, 36:], 1) for name in ("heartrate", "sysbp")}
    columns = [
        mean["heartrate"] / mean["sysbp"],  # shock index
        late["heartrate"] / late["sysbp"],
        mean["sysbp"] - mean["diasbp"],
        mean["bun"] / mean["creatinine"],
        mean["pao2"] / mean["fio2"],
        mean["sodium"] - mean["bicarbonate"],
        np.nansum(of["urine"], 1),
        np.nansum(of["urine"][:, 24:], 1),
        (of["map"] < 65).sum(1),
        (of["heartrate"] > 110).sum(1),
        np.nanmean(np.where(np.isfinite(of["gcs"]), of["gcs"] < 9, np.nan), 1),
        series.mask.sum((1, 2)),
    ]
    return np.stack(columns, 1)


# Models -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Peer:
    """A fitted model: ``kept`` columns of the summary, and by kind the arrays that predict from
    them.
    """

    kind: Kind
    features: FeatureSet
    statistics: Statistics
    arrays: Arrays

    def probability(self, series: Series) -> np.ndarray:
        """Probability of death ``(n,)``."""
        rows = summary(series, self.features, self.statistics)[:, self.arrays["kept"]]
        score = _linear(rows, self.arrays) if self.kind == "logistic" else _trees(rows, self.arrays)
        return 1 / (1 + np.exp(-score))

    def write(self, folder: Path, facts: dict[str, Any]) -> None:
        """Arrays as safetensors, the rest as JSON, into a folder that is there."""
        save_file(self.arrays, folder / "model.safetensors")
        known = {
            key: value.tolist() for key, value in asdict(self.statistics).items() if key != "ids"
        }
        kept = {"peer": self.kind, "features": self.features, "statistics": known}
        write_json(folder / "model.json", kept | facts)


def read(folder: Path, facts: dict[str, Any], statistics: Statistics) -> Peer:
    """What :meth:`Peer.write` wrote, of its facts as :func:`models.read` has them."""
    arrays = load_file(folder / "model.safetensors")
    return Peer(facts.pop("peer"), facts.pop("features"), statistics, arrays)


def fit(kind: Kind, data: Prepared, which: FeatureSet, seed: int = 0) -> Peer:
    """Fit on the training stays; validation stays choose the penalty of the logistic regression."""
    rows = summary(data.train, which, data.statistics)
    varies = [len(np.unique(column[np.isfinite(column)])) > 1 for column in rows.T]
    kept = np.flatnonzero(varies)
    with threadpool_limits(limits=1):
        if kind == "boosting":
            arrays = _fit_trees(rows[:, kept], data.train.died, seed)
        else:
            held = summary(data.validation, which, data.statistics)[:, kept]
            arrays = _fit_linear(rows[:, kept], data.train.died, held, data.validation.died)
    return Peer(kind, which, data.statistics, {"kept": kept, **arrays})


def _fit_linear(
    rows: np.ndarray, died: np.ndarray, held: np.ndarray, outcome: np.ndarray
) -> Arrays:
    known = np.isfinite(rows)
    count = np.maximum(known.sum(0), 1)
    mean = np.where(known, rows, 0).sum(0) / count
    spread = np.sqrt(np.where(known, (rows - mean) ** 2, 0).sum(0) / count)
    scale = {"mean": mean, "spread": np.where(spread > 0, spread, 1)}
    learnt, chosen = _standard(rows, scale), _standard(held, scale)
    fits = [LogisticRegression(C=c, max_iter=500).fit(learnt, died) for c in STRENGTHS]
    best = 0
    if outcome.any() and not outcome.all():
        scores = [fit.decision_function(chosen) for fit in fits]
        best = int(np.argmax([area(s[outcome > 0], s[outcome == 0]) for s in scores]))
    return scale | {"weight": fits[best].coef_[0], "bias": fits[best].intercept_}


def _standard(rows: np.ndarray, scale: Arrays) -> np.ndarray:
    """Standardised columns, gaps at the mean, and their absolute values."""
    column = np.clip(np.nan_to_num((rows - scale["mean"]) / scale["spread"]), -CUT, CUT)
    return np.concatenate([column, np.abs(column)], 1)


def _linear(rows: np.ndarray, arrays: Arrays) -> np.ndarray:
    return _standard(rows, arrays) @ arrays["weight"] + arrays["bias"]


def _fit_trees(rows: np.ndarray, died: np.ndarray, seed: int) -> Arrays:
    model = HistGradientBoostingClassifier(
        learning_rate=0.04, max_iter=200, max_leaf_nodes=8, min_samples_leaf=20,
        l2_regularization=5.0, max_features=0.2, early_stopping=False, random_state=seed,
    ).fit(rows, died)  # fmt: skip
    trees = [stage[0].nodes for stage in model._predictors]
    arrays = {name: np.concatenate([tree[name] for tree in trees]) for name in NODE}
    arrays = {
        name: column.astype(column.dtype.newbyteorder("=")) for name, column in arrays.items()
    }
    starts = np.cumsum([0, *(len(tree) for tree in trees[:-1])])
    return arrays | {"starts": starts, "bias": np.ravel(model._baseline_prediction)}


def _trees(rows: np.ndarray, arrays: Arrays) -> np.ndarray:
    """The sum of the leaves that each row falls into, one tree after another."""
    score = np.full(len(rows), float(arrays["bias"][0]))
    every = np.arange(len(rows))
    for start in arrays["starts"]:
        node = np.full(len(rows), start)
        while not arrays["is_leaf"][node].all():
            value = rows[every, arrays["feature_idx"][node]]
            missing = np.isnan(value) & (arrays["missing_go_to_left"][node] > 0)
            left = missing | (value <= arrays["num_threshold"][node])
            below = np.where(left, arrays["left"][node], arrays["right"][node]).astype(int) + start
            node = np.where(arrays["is_leaf"][node] > 0, node, below)
        score += arrays["value"][node]
    return score
