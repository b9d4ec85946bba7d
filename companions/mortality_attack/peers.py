"""Two peers without a network: logistic regression and boosted trees on six numbers a series."""

from __future__ import annotations

import warnings
from typing import Literal

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from companions.mortality_attack import features
from companions.mortality_attack.features import FeatureSet
from companions.mortality_attack.protocol import Prepared, Series
from companions.mortality_attack.queries import HOURS
from scoehr.metrics.utility import area

Peer = Literal["logistic", "boosting"]
#: Strengths of the logistic regression's penalty, one of which validation stays choose.
STRENGTHS = (0.001, 0.003, 0.01, 0.03, 0.1)


def summary(series: Series, which: FeatureSet) -> np.ndarray:
    """Mean, least, largest, first, last value and share of hours measured of each series, ``(n, 6 F)``; NaN where none.

    With all features the descriptors of the stay too.
    """
    chosen = features.chosen(which)
    mask = series.mask[..., chosen]
    values = np.where(mask, series.values[..., chosen], np.nan)
    hours = np.arange(HOURS)[:, None]
    first = np.where(mask, hours, HOURS).min(1)
    last = np.where(mask, hours, -1).max(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of a stay without any value
        found = [np.nanmean(values, 1), np.nanmin(values, 1), np.nanmax(values, 1)]
    for hour in (first.clip(max=HOURS - 1), last.clip(min=0)):
        found.append(np.take_along_axis(values, hour[:, None], 1)[:, 0])
    return np.concatenate([*found, mask.mean(1)] + [series.static] * (which == "all"), 1)


def fit_predict(
    peer: Peer, data: Prepared, which: FeatureSet, seed: int = 0
) -> dict[str, np.ndarray]:
    """Probability of death of the stays of each part, ``{"train": …, "validation": …, "test": …}``."""
    rows = {name: summary(getattr(data, name), which) for name in ("train", "validation", "test")}
    varies = [len(np.unique(column[np.isfinite(column)])) > 1 for column in rows["train"].T]
    rows = {name: table[:, varies] for name, table in rows.items()}
    died = data.train.died
    with threadpool_limits(limits=1):
        if peer == "boosting":
            model = HistGradientBoostingClassifier(
                learning_rate=0.04, max_iter=150, max_leaf_nodes=8, min_samples_leaf=20, l2_regularization=5.0,
                max_features=0.3, early_stopping=False, random_state=seed,
            ).fit(rows["train"], died)  # fmt: skip
            return {name: model.predict_proba(table)[:, 1] for name, table in rows.items()}
        return _logistic(rows, died, data.validation.died)


def _logistic(
    rows: dict[str, np.ndarray], died: np.ndarray, held: np.ndarray
) -> dict[str, np.ndarray]:
    """Standardised columns, gaps at the mean and marked by the share of hours measured."""
    known = np.isfinite(rows["train"])
    count = np.maximum(known.sum(0), 1)
    mean = np.where(known, rows["train"], 0).sum(0) / count
    spread = np.sqrt((np.where(known, rows["train"] - mean, 0) ** 2).sum(0) / count)
    spread[spread == 0] = 1
    tables = {
        name: np.clip(np.nan_to_num((table - mean) / spread), -5, 5) for name, table in rows.items()
    }
    fits = [
        LogisticRegression(C=strength, max_iter=500).fit(tables["train"], died)
        for strength in STRENGTHS
    ]
    if held.any() and not held.all():
        scores = [fit.predict_proba(tables["validation"])[:, 1] for fit in fits]
        best = int(np.argmax([area(score[held > 0], score[held == 0]) for score in scores]))
    else:
        best = 0
    return {name: fits[best].predict_proba(table)[:, 1] for name, table in tables.items()}
