"""Are synthetic patients as good to learn from as real ones?

Patients of this kind have no labels, so that each code in turn is the label: its presence is
predicted from that of the other codes. A classifier whose training rows all have one label has
learned nothing: its AUROC is 0.5.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np
import pandas as pd
from scipy import sparse
from sklearn import config_context
from sklearn.base import ClassifierMixin
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import BernoulliNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.tree import DecisionTreeClassifier
from threadpoolctl import threadpool_limits

from scoehr.files import small_seed
from scoehr.metrics.arrays import Rows, Undefined, pair, presence
from scoehr.metrics.registry import CHOI, JORDON, METRICS, Metric, Pair
from scoehr.metrics.utility import area

#: Target codes of the dimension-wise prediction, and of the ranking agreement, which fits many more
#: classifiers.
TARGETS = 30
RANKED = 8
#: Held-out patients with a target code and without it, at least.
POSITIVES = 20
#: Rows of each set, at least.
SMALLEST = 100
#: The ranking agreement uses the codes most frequent in the held-out set, and at most so many rows
#: of each set.
FREQUENT = 100
LARGEST = 3000

SCORES = ("auroc_real", "auroc_synthetic", "f1_real", "f1_synthetic")

_register = partial(METRICS.register, family="utility", step="prediction")


def dimension_wise(real: Rows, synthetic: Rows, *, train: Rows) -> pd.DataFrame:
    """Dimension-wise prediction: each target code by one classifier from real, one from synthetic.

    Logistic regression on the presence of all other codes; both classes weigh the same, so that the
    F1 at one half is that of a usable rule for rare codes too. Targets are the 30 codes most
    prevalent in the held-out set, of those that at least 20 patients have and 20 lack.

    Source: Choi et al. (2017), medGAN, MLHC, section on dimension-wise prediction.

    Args:
        real: array of shape (n_patients, n_codes), held-out patients, on whom both are tested
        synthetic, train: arrays of shape (n, n_codes), what they are trained on

    Returns:
        DataFrame, a row a target code in falling order of prevalence:

        - code: its column
        - prevalence: share of held-out patients who have it
        - auroc_real, auroc_synthetic: in [0, 1], of the classifier trained on real and on synthetic
        - f1_real, f1_synthetic: in [0, 1]

    Raises:
        Undefined: With fewer than 100 rows in a set, or without a target code.
    """
    test, made, known = presences(real, synthetic, train)
    found = []
    for code in targets(test):
        (auroc, f1), (auroc_made, f1_made) = (_judge(rows, test, code) for rows in (known, made))
        scores = dict(zip(SCORES, (auroc, auroc_made, f1, f1_made), strict=True))
        found.append({"code": code, "prevalence": float(test[:, [code]].mean()), **scores})
    return pd.DataFrame(found)


def _predicted(pair: Pair) -> tuple[np.ndarray]:
    """Scores of the target codes, (n_targets, 4)."""
    table = dimension_wise(pair.real, pair.synthetic, train=pair.training.sample)
    return (table[list(SCORES)].to_numpy(),)


@_register(
    _predicted,
    prediction_auroc_mae=Metric("Dimension-wise prediction, AUROC MAE", 0, 1, "lower", 0, CHOI),
    prediction_f1_mae=Metric("Dimension-wise prediction, F1 MAE", 0, 1, "lower", 0, CHOI),
    prediction_correlation=Metric(
        "Dimension-wise prediction, Pearson of AUROC", -1, 1, "higher", 1, CHOI
    ),
    auroc_loss=Metric("AUROC lost by training on synthetic", -1, 1, "lower", 0, f"after {CHOI}"),
)
def agreement(table: np.ndarray) -> dict[str, float]:
    """Scores of a dimension-wise prediction.

    Source: Choi et al. (2017), medGAN, MLHC, section on dimension-wise prediction.

    Args:
        table: array of shape (n_targets, 4), its columns auroc_real, auroc_synthetic, f1_real,
            f1_synthetic

    Returns:
        dict with:

        - prediction_auroc_mae, prediction_f1_mae: mean absolute difference over codes, [0, 1], 0 is
          equal
        - prediction_correlation: Pearson correlation of the two AUROCs over codes, [-1, 1], 1 is
          best; NaN if one side is constant or there are fewer than three codes
        - auroc_loss: mean AUROC of training on real less that of training on synthetic rows, [-1,
          1], 0 is no loss
    """
    auroc, other, f1, other_f1 = np.asarray(table, dtype=float).T
    varies = len(auroc) > 2 and np.ptp(auroc) > 0 and np.ptp(other) > 0
    return {
        "prediction_auroc_mae": float(np.abs(auroc - other).mean()),
        "prediction_f1_mae": float(np.abs(f1 - other_f1).mean()),
        "prediction_correlation": float(np.corrcoef(auroc, other)[0, 1]) if varies else math.nan,
        "auroc_loss": float((auroc - other).mean()),
    }


def rankings(real: Rows, synthetic: Rows, *, train: Rows, seed: int = 0) -> np.ndarray:
    """AUROC of six classifiers, learned and tested on real or synthetic patients, for eight codes.

    Logistic regression, naive Bayes, decision tree, random forest, nearest neighbours, boosted
    trees. A: trained on ``train`` and tested on ``real``; B: trained on one half of ``synthetic``
    and tested on the other; C: A's, tested on that half of ``synthetic``. Equal numbers of rows. A
    target that a set lacks there puts all classifiers at 0.5.

    Array of shape (n_targets, 3, n_classifiers): A, B, C.

    Args:
        real, synthetic, train: as for :func:`dimension_wise`; at most 3,000 rows of each are used,
            and the 100 codes most frequent among the held-out patients

    Raises:
        Undefined: With fewer than 100 rows in a set, or without a target code.
    """
    test, made, known = presences(real, synthetic, train)
    codes = targets(test, RANKED)
    order = np.argsort(-np.asarray(test.sum(axis=0)).ravel(), kind="stable")
    frequent = np.union1d(codes, order[:FREQUENT])
    half = min(LARGEST, test.shape[0], made.shape[0], known.shape[0]) // 2
    rng = np.random.default_rng([seed, 6])
    left, right, whole = (
        rows[rng.permutation(rows.shape[0])[: 2 * half]][:, frequent].toarray().astype(np.float32)
        for rows in (known, test, made)
    )
    fitted, held, learned, tested = left[:half], right[:half], whole[:half], whole[half:]
    found = []
    for place in np.searchsorted(frequent, codes):
        a, c = _performances(fitted, (held, tested), place, seed)
        (b,) = _performances(learned, (tested,), place, seed)
        found.append([a, b, c])
    return np.array(found)


def performances(pair: Pair) -> np.ndarray:
    """The :func:`rankings` of a pair."""
    train = pair.training.sample
    return rankings(pair.real, pair.synthetic, train=train, seed=pair.seed)


def _ranked(pair: Pair) -> tuple[np.ndarray]:
    return (np.array([ranking_agreement(a, b) for a, b, _ in pair.once(performances)]),)


@_register(_ranked, sra=Metric("Synthetic ranking agreement (SRA)", 0, 1, "higher", 1, JORDON))
def sra(agreements: np.ndarray) -> float:
    """Synthetic ranking agreement: do synthetic patients rank classifiers as real ones do?

    Fresh real patients do not reach 1, since classifiers that are equally good change places by
    chance: read it beside the real-vs-real replicates.

    Float in [0, 1], the mean; 1 is the same order for every target.

    Source: Jordon, Yoon & van der Schaar (2018), arXiv:1806.11345.

    Args:
        agreements: array of shape (n_targets,), :func:`ranking_agreement` of A and B of
            :func:`rankings`
    """
    return float(agreements.mean())


def ranking_agreement(real: np.ndarray, synthetic: np.ndarray) -> float:
    """Share of the ordered pairs of algorithms that both sides put in the same strict order.

    1 / (L (L - 1)) times the sum over j and k ≠ j of [(A_j - A_k) (B_j - B_k) > 0]. A tie on either
    side is a disagreement, as the strict sign has it, also where both sides tie.

    Float in [0, 1]; 1 is the same order.

    Source: Jordon, Yoon & van der Schaar (2018), definition of the synthetic ranking agreement.

    Args:
        real, synthetic: arrays of shape (L,), the performances A and B of the same L ≥ 2 algorithms
    """
    a, b = (np.asarray(side) for side in (real, synthetic))
    a, b = (np.sign(np.subtract.outer(side, side)) for side in (a, b))
    return float((a * b > 0).sum() / (len(a) * (len(a) - 1)))


def targets(real: Rows, most: int = TARGETS) -> np.ndarray:
    """Columns of the target codes, the most prevalent first; Undefined when there is none."""
    held = np.asarray((sparse.csr_array(real) > 0).sum(axis=0)).ravel()
    enough = np.flatnonzero((held >= POSITIVES) & (np.shape(real)[0] - held >= POSITIVES))
    if not len(enough):
        raise Undefined(
            f"no code is there that {POSITIVES} held-out patients have and {POSITIVES} lack"
        )
    return enough[np.argsort(-held[enough], kind="stable")][:most]


def presences(*sets: Rows) -> Iterator[sparse.csr_array]:
    """Presence of the codes in sets over one vocabulary, each large enough."""
    rows = [pair(sets[0], other)[1] for other in sets]
    if min(found.shape[0] for found in rows) < SMALLEST or rows[0].shape[1] < 2:
        raise Undefined(f"prediction needs two codes and at least {SMALLEST} rows in each set")
    return (presence(found) for found in rows)


def _judge(fitted: sparse.csr_array, test: sparse.csr_array, code: int) -> tuple[float, float]:
    """AUROC and F1 on the test rows of a logistic regression fitted to the others."""
    (known, label), (seen, truth) = without(fitted, code), without(test, code)
    if label.all() or not label.any():
        score = np.full(len(truth), label[0] - 0.5)
    else:
        model = LogisticRegression(
            C=0.1, class_weight="balanced", solver="liblinear", random_state=0
        )
        score = model.fit(known, label).decision_function(seen)
    claimed = score > 0
    f1 = 2 * claimed[truth].sum() / (claimed.sum() + truth.sum())
    return area(score[truth], score[~truth]), float(f1)


def without(rows: sparse.csr_array, code: int) -> tuple[sparse.csr_array, np.ndarray]:
    """The rows with one code taken out, and who had it."""
    others = rows.copy()
    others.data = np.where(rows.indices == code, 0, rows.data)
    return others, rows[:, [code]].toarray().ravel() > 0


def _performances(
    fitted: np.ndarray, tests: Sequence[np.ndarray], code: int, seed: int
) -> list[np.ndarray]:
    """AUROC of each classifier on each of the tests, shape (L,) each.

    0.5 where the code is in all or none of the fitted or of the test rows.
    """
    label, truths = fitted[:, code] > 0, [test[:, code] > 0 for test in tests]
    models = _classifiers(seed)
    if label.all() or not label.any():
        return [np.full(len(models), 0.5) for _ in tests]
    # Small fits: quicker on one thread, with the same bits, and checks would take as long as fits.
    with (
        threadpool_limits(limits=1),
        config_context(assume_finite=True, skip_parameter_validation=True),
    ):
        for model in models:
            model.fit(np.delete(fitted, code, axis=1), label)
        return [
            _areas(models, np.delete(test, code, axis=1), truth)
            for test, truth in zip(tests, truths, strict=True)
        ]


def _areas(models: list[ClassifierMixin], seen: np.ndarray, truth: np.ndarray) -> np.ndarray:
    if truth.all() or not truth.any():
        return np.full(len(models), 0.5)
    scores = [model.predict_proba(seen)[:, 1] for model in models]
    return np.array([area(score[truth], score[~truth]) for score in scores])


def _classifiers(seed: int) -> list[ClassifierMixin]:
    """The algorithms that are ranked; boosting and bagging both grow trees."""
    return [
        LogisticRegression(C=0.1, solver="liblinear", random_state=small_seed(seed)),
        BernoulliNB(),
        DecisionTreeClassifier(min_samples_leaf=20, random_state=small_seed(seed)),
        RandomForestClassifier(10, min_samples_leaf=5, random_state=small_seed(seed)),
        KNeighborsClassifier(25, algorithm="brute"),
        HistGradientBoostingClassifier(
            max_iter=20, max_leaf_nodes=8, early_stopping=False, random_state=small_seed(seed)
        ),
    ]
