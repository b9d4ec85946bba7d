"""Can a classifier tell synthetic patients from real ones?"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from scipy import sparse
from scipy.stats import rankdata
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.model_selection import cross_val_predict
from sklearn.naive_bayes import BernoulliNB
from threadpoolctl import threadpool_limits

from scoehr.files import small_seed
from scoehr.metrics.arrays import Rows, Undefined, codes_per_patient, pair, presence
from scoehr.metrics.registry import LOPEZ, METRICS, Metric, Pair

#: Codes that the trees see one by one; naive Bayes sees all of them.
FREQUENT = 100
FOLDS = 2
SMALLEST = 20
Fitted: TypeAlias = Callable[[Any, np.ndarray, np.ndarray], np.ndarray]
LOG_ODDS = np.array([-1.0, 1.0])  # from the logs of the two probabilities


class Scored(NamedTuple):
    """Scores of held-out rows in one fold; higher looks more synthetic."""

    real: np.ndarray
    synthetic: np.ndarray


def area(positive: np.ndarray, negative: np.ndarray) -> float:
    """Area under the ROC curve: chance that a positive scores above a negative, ties half.

    Float in [0, 1], the Mann-Whitney statistic over the number of pairs.
    """
    ranks = rankdata(np.r_[positive, negative])[: len(positive)]
    wins = ranks.sum() - len(positive) * (len(positive) + 1) / 2
    return float(wins / (len(positive) * len(negative)))


def discriminate(real: Rows, synthetic: Rows, *, seed: int = 0) -> list[Scored]:
    """Classifier two-sample test: how synthetic a row looks to a classifier that has not seen it.

    Naive Bayes weighs the presence of every code, however rare; boosted trees then see its
    log-odds, the numbers of codes and of occurrences and the counts of the most frequent codes, and
    so the combinations. Two-fold cross-validation.

    Source: Lopez-Paz & Oquab (2017), Revisiting classifier two-sample tests, ICLR.

    Args:
        real, synthetic: arrays of shape (n_patients, n_codes)

    Returns:
        The scores of each fold, to be read by :func:`discriminator_auc`.

    Raises:
        Undefined: With fewer than 20 rows in a set.
    """
    left, right = pair(real, synthetic)

    def score(rows: Any, truth: np.ndarray, test: np.ndarray) -> np.ndarray:
        return _fit_score(rows, truth, test, seed)

    return folds(left, right, score, seed=seed)


def folds(left: Any, right: Any, score: Fitted, *, seed: int = 0) -> list[Scored]:
    """Scores of held-out rows by a classifier fitted to the other fold, in two folds.

    Folds are balanced by position: a row that stands in both sets at one place is never trained on
    with one label and tested with the other.

    Args:
        left, right: rows of real and of synthetic patients, sparse or dense
        score: of all rows, their truth and which are tested, gives the scores of the tested ones

    Raises:
        Undefined: With fewer than 20 rows in a set.
    """
    if min(left.shape[0], right.shape[0]) < SMALLEST:
        raise Undefined(f"the discriminator needs at least {SMALLEST} rows in each set")
    dense = isinstance(left, np.ndarray)
    rows = np.vstack([left, right]) if dense else sparse.csr_array(sparse.vstack([left, right]))
    truth = np.r_[np.zeros(left.shape[0]), np.ones(right.shape[0])]
    order = np.random.default_rng(seed).permutation(max(left.shape[0], right.shape[0]))
    fold = np.r_[order[: left.shape[0]], order[: right.shape[0]]] % FOLDS
    found = []
    with threadpool_limits(limits=1):  # small fits: quicker on one thread, and the same bits
        for k in range(FOLDS):
            scores, label = score(rows, truth, fold == k), truth[fold == k]
            found.append(Scored(scores[label == 0], scores[label == 1]))
    return found


def _held_out_scores(pair: Pair) -> tuple[np.ndarray, ...]:
    return flat(discriminate(pair.real, pair.synthetic, seed=pair.seed))


def flat(folds: list[Scored]) -> tuple[np.ndarray, ...]:
    """The scores of real and of synthetic rows, fold after fold: what the bootstrap resamples."""
    return tuple(scores for fold in folds for scores in fold)


@METRICS.register(
    _held_out_scores,
    family="utility",
    step="discriminator",
    discriminator_auc=Metric("Discriminator AUC", 0, 1, "lower", 0.5, LOPEZ),
)
def discriminator_auc(*scores: np.ndarray) -> float:
    """AUC of telling synthetic from real rows, the mean of the folds.

    Float in [0, 1], lower is better; 0.5 means indistinguishable (a little below happens by
    chance), 1 perfectly distinguished.

    Source: Lopez-Paz & Oquab (2017), Revisiting classifier two-sample tests, ICLR.

    Args:
        scores: of real and of synthetic rows, fold after fold, from :func:`discriminate`
    """
    folds = zip(scores[::2], scores[1::2], strict=True)
    return float(np.mean([area(synthetic, real) for real, synthetic in folds]))


def _fit_score(
    rows: sparse.csr_array, truth: np.ndarray, test: np.ndarray, seed: int
) -> np.ndarray:
    """Scores of the test rows from a classifier fitted to the others, shape (n_test,)."""
    fitted, known = ~test, truth[~test]
    found = sparse.csr_matrix(presence(rows))
    counts = _counts(rows, found)
    bayes = BernoulliNB()
    inside = cross_val_predict(bayes, found[fitted], known, method="predict_log_proba")
    outside = bayes.fit(found[fitted], known).predict_log_proba(found[test])
    trees = HistGradientBoostingClassifier(
        max_leaf_nodes=15, early_stopping=False, random_state=small_seed(seed)
    )
    trees.fit(np.c_[counts[fitted], inside @ LOG_ODDS], known)
    return trees.decision_function(np.c_[counts[test], outside @ LOG_ODDS])


def _counts(rows: sparse.csr_array, found: sparse.csr_matrix) -> np.ndarray:
    """Numbers of codes and occurrences, and the counts of frequent codes, (n, 2 + FREQUENT)."""
    frequent = np.argsort(-np.asarray(found.sum(axis=0)).ravel(), kind="stable")[:FREQUENT]
    return np.c_[codes_per_patient(rows), rows.sum(axis=1), rows[:, frequent].toarray()]
