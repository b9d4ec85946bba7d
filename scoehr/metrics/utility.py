"""Can a classifier tell synthetic patients from real ones?"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import sparse
from scipy.stats import rankdata
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.model_selection import cross_val_predict
from sklearn.naive_bayes import BernoulliNB
from threadpoolctl import threadpool_limits

from scoehr.files import small_seed
from scoehr.metrics.arrays import Rows, Undefined, codes_per_patient, pair, presence

#: Codes that the trees see one by one; naive Bayes sees all of them.
FREQUENT = 100
FOLDS = 2
SMALLEST = 20
LOG_ODDS = np.array([-1.0, 1.0])  # from the logs of the two probabilities


class Scored(NamedTuple):
    """Scores of held-out rows in one fold; higher looks more synthetic."""

    real: np.ndarray
    synthetic: np.ndarray

    @property
    def auc(self) -> float:
        """Chance that a synthetic row scores above a real one, ties half."""
        return area(self.synthetic, self.real)


def area(positive: np.ndarray, negative: np.ndarray) -> float:
    """Area under the ROC curve: chance that a positive scores above a negative, ties half; in [0, 1]."""
    ranks = rankdata(np.r_[positive, negative])[: len(positive)]
    wins = ranks.sum() - len(positive) * (len(positive) + 1) / 2  # the Mann-Whitney statistic
    return float(wins / (len(positive) * len(negative)))


def discriminator_auc(real: Rows, synthetic: Rows, *, seed: int = 0) -> float:
    """Classifier two-sample test: AUC of telling synthetic from real rows, on rows that the classifier has not seen.

    Naive Bayes weighs the presence of every code, however rare; boosted trees then see its log-odds, the numbers of
    codes and of occurrences and the counts of the most frequent codes, and so the combinations. Two-fold
    cross-validation, folds by position in the set; the mean of the folds' AUC.

    Parameters
    ----------
    real, synthetic : arrays of shape (n_patients, n_codes), at least 20 rows each

    Returns
    -------
    float in [0, 1]; 0.5 means indistinguishable (a little below happens by chance), 1 told apart every time.

    References
    ----------
    Lopez-Paz & Oquab (2017), Revisiting classifier two-sample tests, ICLR.
    """
    return mean_auc(discriminate(real, synthetic, seed=seed))


def discriminate(real: Rows, synthetic: Rows, *, seed: int = 0) -> list[Scored]:
    """The held-out scores behind :func:`discriminator_auc`, fold by fold."""
    left, right = pair(real, synthetic)
    if min(left.shape[0], right.shape[0]) < SMALLEST:
        raise Undefined(f"the discriminator needs at least {SMALLEST} rows in each set")
    rows = sparse.csr_array(sparse.vstack([left, right]))
    truth = np.r_[np.zeros(left.shape[0]), np.ones(right.shape[0])]
    # Balanced folds by position: a row that stands in both sets at one place is never trained on with one label
    # and tested with the other.
    order = np.random.default_rng(seed).permutation(max(left.shape[0], right.shape[0]))
    fold = np.r_[order[: left.shape[0]], order[: right.shape[0]]] % FOLDS
    with threadpool_limits(
        limits=1
    ):  # small fits: threads cost more than they give, and one makes the same bits
        scores = [_fit_score(rows, truth, fold == k, seed) for k in range(FOLDS)]
    held_out = [truth[fold == k] for k in range(FOLDS)]
    return [
        Scored(score[label == 0], score[label == 1])
        for score, label in zip(scores, held_out, strict=True)
    ]


def mean_auc(folds: list[Scored]) -> float:
    """Mean of the folds' AUC."""
    return float(np.mean([scored.auc for scored in folds]))


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
    """Numbers of codes and of occurrences, and the counts of the most frequent codes, (n, 2 + FREQUENT)."""
    frequent = np.argsort(-np.asarray(found.sum(axis=0)).ravel(), kind="stable")[:FREQUENT]
    return np.c_[codes_per_patient(rows), rows.sum(axis=1), rows[:, frequent].toarray()]
