"""May synthetic patients stand in for real ones: associations, subgroups, calibration, support.

What an epidemiologist reads off a table: log odds ratios of pairs of codes and whether their
intervals can be trusted, prevalences within subgroups, predicted risks that mean what they say, and
whether the two sets cover each other. :func:`against_law` asks the same of patients made after the
simulated cohort, whose law gives the exact answers.
"""

from __future__ import annotations

import math
from functools import partial
from typing import NamedTuple

import numpy as np
from scipy import sparse
from scipy.special import logit
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from scoehr.data import simulate
from scoehr.data.matrix import CodeMatrix
from scoehr.files import InputError
from scoehr.metrics import prediction
from scoehr.metrics.arrays import Rows, Undefined, pair, presence, prevalence_of
from scoehr.metrics.neighbours import products, terms
from scoehr.metrics.registry import METRICS, SMALLEST, Metric, Pair

#: Pairs of codes, of those among the most frequent codes that chance alone lets meet so often.
PAIRS = 500
FREQUENT = 100
MEETINGS = 5
#: Subgroups: the patients who have one of the most frequent codes.
SUBGROUPS = 10
#: Predicted codes, and bins of a calibration curve.
PREDICTED = 10
BINS = 10
LEVEL = 1.96  # standard errors either side: 95 %
STEPS = 30  # of the curves of support

WOOLF = "Woolf (1955), Annals of Human Genetics 19; Haldane (1956)"
KUO = "Kuo, Jorm & Gallego (2026), arXiv:2606.08903"
CALSTER = "Van Calster et al. (2019), BMC Medicine 17:230"
ALAA = "Alaa et al. (2022), ICML"

_register = partial(METRICS.register, family="validity")


# Associations -------------------------------------------------------------------------------------


class Odds(NamedTuple):
    """Log odds ratios of pairs of codes with their standard errors, (n_pairs,) each."""

    value: np.ndarray
    error: np.ndarray
    meetings: np.ndarray  # patients with both codes, were the codes independent


def joint(present: np.ndarray) -> np.ndarray:
    """How many patients have both of two codes, (n_codes, n_codes), from presence as 0 and 1."""
    return (present.T @ present).astype(np.float64)


def log_odds(together: np.ndarray, n: int, pairs: np.ndarray) -> Odds:
    """Log odds ratios of ``pairs``, with half a patient added to each cell of the four.

    Source: Woolf (1955), Annals of Human Genetics 19; Haldane (1956), the same 20.

    Args:
        together: what :func:`joint` counts
        n: patients
        pairs: array of shape (n_pairs, 2), columns
    """
    (one, other), held = pairs.T, np.diag(together)
    both, first, second = together[one, other], held[one], held[other]
    cells = np.array([both, first - both, second - both, n - first - second + both]) + 0.5
    value = np.array([1, -1, -1, 1]) @ np.log(cells)
    return Odds(value, np.sqrt((1 / cells).sum(axis=0)), first * second / n)


def registered_pairs(expected: np.ndarray) -> np.ndarray:
    """The pairs of codes whose odds ratios are compared, (n_pairs, 2) columns, 500 at most.

    Taken in a fixed order, of the pairs that at least five patients are expected to have;
    ``expected``, (n_codes, n_codes), comes from prevalences or from a law, never from who has both.
    """
    one, other = np.triu_indices(len(expected), 1)
    turn = np.random.default_rng(FREQUENT).random((FREQUENT, FREQUENT))[one, other]
    enough = np.flatnonzero(expected[one, other] >= MEETINGS)
    chosen = enough[np.argsort(turn[enough], kind="stable")[:PAIRS]]
    return np.c_[one[chosen], other[chosen]]


def by_chance(together: np.ndarray, n: int) -> np.ndarray:
    """How many of ``n`` patients would have both codes if codes were independent."""
    return np.outer(np.diag(together), np.diag(together)) / n


def _frequent(pair_: Pair) -> tuple[np.ndarray, np.ndarray]:
    """Presence of the 100 codes most frequent among held-out patients, most frequent first."""
    real, synthetic = pair(pair_.real, pair_.synthetic)
    order = np.argsort(-prevalence_of(real), kind="stable")[:FREQUENT]
    one, other = (
        presence(rows)[:, order].toarray().astype(np.float32) for rows in (real, synthetic)
    )
    return one, other


@_register(
    _frequent,
    step="associations",
    odds_coverage=Metric(
        "Odds ratios within their 95 % intervals", 0, 1, "higher", 0.95, f"{WOOLF}; {KUO}"
    ),
    odds_mae=Metric("Log odds ratios, mean error", 0, None, "lower", None, f"{WOOLF}; {KUO}"),
    subgroup_mae=Metric("Prevalence in subgroups, MAE", 0, 1, "lower", None, KUO),
    subgroup_worst=Metric("Prevalence in the worst subgroup, MAE", 0, 1, "lower", None, KUO),
    strange_pairs=Metric(
        "Patients with a pair of codes never seen", 0, 1, "lower", None, "share of synthetic rows"
    ),
)
def associations(real: np.ndarray, synthetic: np.ndarray) -> dict[str, float]:
    """Odds ratios of pairs of codes, and prevalences within subgroups.

    A pair of which the synthetic set lacks a code counts as missed. Subgroups are the patients who
    have one of the ten most frequent codes; other codes are compared among them.

    Args:
        real, synthetic: presence of at most 100 codes, (n_patients, n_codes), most frequent first

    Returns:
        dict with:

        - odds_coverage: share of the :func:`registered_pairs` whose real and synthetic log odds
          ratios differ by less than the 95 % interval of a difference, [0, 1]; nominally .95
        - odds_mae: mean absolute difference of the log odds ratios, [0, inf), 0 is equal
        - subgroup_mae, subgroup_worst: mean absolute difference of the prevalences within a
          subgroup, [0, 1], the mean over subgroups and the worst of them
        - strange_pairs: share of synthetic patients with two codes that no held-out patient has
          both of though five should by chance, [0, 1]
    """
    together, made = joint(real), joint(synthetic)
    n, n_made = len(real), len(synthetic)
    pairs = registered_pairs(by_chance(together, n))
    one, other = log_odds(together, n, pairs), log_odds(made, n_made, pairs)
    apart, error = np.abs(one.value - other.value), np.hypot(one.error, other.error)
    groups = _subgroups(together, made)
    return {
        "odds_coverage": _mean((apart <= LEVEL * error) & (other.meetings > 0)),
        "odds_mae": _mean(apart),
        "subgroup_mae": _mean(groups),
        "subgroup_worst": float(groups.max()) if len(groups) else math.nan,
        "strange_pairs": _strange(together, n, synthetic),
    }


def _subgroups(together: np.ndarray, made: np.ndarray) -> np.ndarray:
    """Mean absolute difference of the prevalences within each subgroup, (n_groups,)."""
    large = np.flatnonzero(np.diag(together)[:SUBGROUPS] >= SMALLEST)
    within = [
        table[large] / np.maximum(np.diag(table)[large, None], 1) for table in (together, made)
    ]
    others = max(together.shape[0] - 1, 1)  # a subgroup's own code is in all of it
    return np.abs(within[0] - within[1]).sum(axis=1) / others


def _strange(together: np.ndarray, n: int, synthetic: np.ndarray) -> float:
    unseen = ((together == 0) & (by_chance(together, n) >= MEETINGS)).astype(np.float32)
    return _mean(((synthetic @ unseen) * synthetic).sum(axis=1) > 0)


def _mean(values: np.ndarray) -> float:
    return float(np.mean(values)) if len(values) else math.nan


# Calibration --------------------------------------------------------------------------------------


def calibration(real: Rows, synthetic: Rows, *, train: Rows) -> np.ndarray:
    """Calibration of risks of ten frequent codes, predicted from the other codes.

    Logistic regression on the presence of the 100 most frequent codes, learned once from real and
    once from synthetic patients, both tested on held-out patients.

    Source: Van Calster et al. (2019), BMC Medicine 17:230.

    Args:
        real: array of shape (n_patients, n_codes), held-out patients
        synthetic, train: arrays of shape (n, n_codes), what is learned from

    Returns:
        Array of shape (n_targets, 4), to be read by :func:`calibration_scores`: error learned from
        real and from synthetic, slope of the same two.

    Raises:
        Undefined: With fewer than 100 rows in a set, or without a target code.
    """
    test, made, known = prediction.presences(real, synthetic, train)
    codes = prediction.targets(test, PREDICTED)
    order = np.argsort(-np.asarray(test.sum(axis=0)).ravel(), kind="stable")
    columns = np.union1d(codes, order[:FREQUENT])
    test, made, known = (sparse.csr_array(rows[:, columns]) for rows in (test, made, known))
    found = []
    with threadpool_limits(limits=1):
        for code in np.searchsorted(columns, codes):
            (error, slope), (made_error, made_slope) = (
                _calibrated(rows, test, code) for rows in (known, made)
            )
            found.append([error, made_error, slope, made_slope])
    return np.array(found)


def _calibrated(fitted: sparse.csr_array, test: sparse.csr_array, code: int) -> tuple[float, float]:
    """Error and slope on the test rows; without both labels to learn from, their share is said."""
    (known, label), (seen, truth) = (prediction.without(rows, code) for rows in (fitted, test))
    if label.all() or not label.any():
        return abs(float(label.mean() - truth.mean())), 0.0
    model = LogisticRegression(C=0.1, solver="liblinear", random_state=0).fit(known, label)
    risk = model.predict_proba(seen)[:, 1]
    return calibration_error(risk, truth), calibration_slope(risk, truth)


def calibration_error(risk: np.ndarray, truth: np.ndarray) -> float:
    """Mean over ten equal bins of |mean risk - share who had it|; float in [0, 1], 0 is best."""
    bins = np.array_split(np.argsort(risk, kind="stable"), BINS)
    gaps = [len(rows) * abs(risk[rows].mean() - truth[rows].mean()) for rows in bins if len(rows)]
    return float(sum(gaps) / len(risk))


def calibration_slope(risk: np.ndarray, truth: np.ndarray) -> float:
    """Slope of the outcome on the log odds of the risk; below 1 the risks are too extreme."""
    odds = logit(np.clip(risk, 1e-6, 1 - 1e-6))[:, None]
    if np.ptp(odds) < 1e-9:
        return 0.0
    return float(LogisticRegression(C=1e6).fit(odds, truth).coef_[0, 0])


def _risks(pair: Pair) -> tuple[np.ndarray]:
    return (calibration(pair.real, pair.synthetic, train=pair.training.sample),)


@_register(
    _risks,
    step="calibration",
    calibration_error=Metric(
        "Calibration error, learned from synthetic", 0, 1, "lower", None, CALSTER
    ),
    calibration_error_real=Metric(
        "Calibration error, learned from real", 0, 1, "target", None, CALSTER
    ),
    calibration_slope=Metric(
        "Calibration slope, learned from synthetic", None, None, "target", 1, CALSTER
    ),
)
def calibration_scores(table: np.ndarray) -> dict[str, float]:
    """Means over target codes.

    Args:
        table: array of shape (n_targets, 4), from :func:`calibration`

    Returns:
        dict with:

        - calibration_error, calibration_error_real: mean :func:`calibration_error`, [0, 1]
        - calibration_slope: mean slope, (-inf, inf); 1 is right
    """
    error_real, error, _, slope = table.mean(axis=0).tolist()
    return {
        "calibration_error": error,
        "calibration_error_real": error_real,
        "calibration_slope": slope,
    }


# Evaluation on synthetic patients -----------------------------------------------------------------


def _tested(pair: Pair) -> tuple[np.ndarray]:
    """AUROC of the classifiers learned from real patients, on real and on synthetic ones."""
    return (pair.once(prediction.performances)[:, [0, 2]],)


@_register(
    _tested,
    step="tests on synthetic",
    tested_auroc_mae=Metric("AUROC when tested on synthetic, MAE", 0, 1, "lower", None, KUO),
    tested_ranking=Metric(
        "Ranking when tested on synthetic, agreement", 0, 1, "higher", 1, prediction.JORDON
    ),
)
def tested(performances: np.ndarray) -> dict[str, float]:
    """Does a test on synthetic patients say of models made for real patients what a real one says?

    Args:
        performances: array of shape (n_targets, 2, n_classifiers), AUROCs of classifiers learned
            from real patients, tested on real and on synthetic ones

    Returns:
        dict with:

        - tested_auroc_mae: mean absolute difference of the two AUROCs, [0, 1], 0 is equal
        - tested_ranking: share of the pairs of classifiers that both put in one order, [0, 1]
    """
    agreements = [prediction.ranking_agreement(*sides) for sides in performances]
    return {
        "tested_auroc_mae": float(np.abs(performances[:, 0] - performances[:, 1]).mean()),
        "tested_ranking": float(np.mean(agreements)),
    }


# Support ------------------------------------------------------------------------------------------


class Support(NamedTuple):
    """Distances of either set, by Hamming of presence, and squared Euclidean to a centre."""

    #: (n_synthetic, 1) to the centre of the real set
    synthetic: np.ndarray
    #: (n_real, 4): to the centre of the real set; to the nearest other real row; to the nearest
    #: synthetic row; of that row to the centre of the synthetic set
    real: np.ndarray


def support(real: Rows, synthetic: Rows) -> Support:
    """What :func:`coverage` reads.

    Raises:
        Undefined: With fewer than 20 rows in a set.
    """
    left, right = pair(real, synthetic)
    if min(left.shape[0], right.shape[0]) < SMALLEST:
        raise Undefined(f"support needs at least {SMALLEST} rows in each set")
    one, other = presence(left), presence(right)
    centre, made_centre = one.mean(axis=0), other.mean(axis=0)
    own, _ = _closest(one, one, itself=True)
    near, which = _closest(one, other)
    made = _to_centre(other, made_centre)
    return Support(
        _to_centre(other, centre)[:, None], np.c_[_to_centre(one, centre), own, near, made[which]]
    )


def _to_centre(rows: sparse.csr_array, centre: np.ndarray) -> np.ndarray:
    return rows.sum(axis=1) - 2 * (rows @ centre) + centre @ centre


def _closest(
    rows: sparse.csr_array, others: sparse.csr_array, *, itself: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Hamming distance of each row to the nearest of the others, and which it is."""
    distance = np.full(rows.shape[0], np.inf, dtype=np.float32)
    which = np.zeros(rows.shape[0], dtype=np.intp)
    for here, there, apart in products(*terms(rows, others)):
        if itself:
            own = np.arange(max(here.start, there.start), min(here.stop, there.stop))
            apart[own - here.start, own - there.start] = np.inf
        best = apart.argmin(axis=1)
        found = apart[np.arange(len(best)), best]
        nearer = found < distance[here]
        distance[here] = np.where(nearer, found, distance[here])
        which[here] = np.where(nearer, best + there.start, which[here])
    return distance, which


def _supported(pair: Pair) -> tuple[np.ndarray, np.ndarray]:
    return support(pair.real, pair.synthetic)


@_register(
    _supported,
    step="support",
    alpha_precision=Metric("α-precision", 0, 1, "higher", 1, ALAA),
    beta_recall=Metric("β-recall", 0, 1, "higher", None, ALAA),
)
def coverage(synthetic: np.ndarray, real: np.ndarray) -> dict[str, float]:
    """Does each set lie where the other does: integrated α-precision and β-recall.

    On presence itself, not on an embedding. Two samples of one population have a β-recall of about
    one half, since a synthetic row is the nearest as often as another real one.

    Source: Alaa, van Breugel, Saveliev & van der Schaar (2022), ICML, section on evaluation.

    Args:
        synthetic, real: the two tables of :class:`Support`

    Returns:
        dict with:

        - alpha_precision: 1 less twice the area between α and the share of synthetic rows within
          the ball that holds a share α of the real ones, [0, 1], 1 is best
        - beta_recall: the same of the share of real rows that have a synthetic row nearer than any
          real one, within the ball of a share β of the synthetic ones
    """
    (made,), (typical, own, near, reached) = synthetic.T, real.T
    share = np.linspace(0, 1, STEPS)
    radius, ball = np.quantile(typical, share), np.quantile(reached, share)
    inside, expected = _within(made, radius), _within(typical, radius)
    recalled = np.array([np.mean((near <= own) & (reached <= edge)) for edge in ball])
    precision = 1 - np.abs(inside - expected).sum() / share.sum()
    recall = 1 - np.abs(recalled - _within(reached, ball)).sum() / share.sum()
    return {
        "alpha_precision": float(np.clip(precision, 0, 1)),
        "beta_recall": float(np.clip(recall, 0, 1)),
    }


def _within(distances: np.ndarray, radius: np.ndarray) -> np.ndarray:
    """Share of the distances that are at most each radius."""
    return np.searchsorted(np.sort(distances), radius, side="right") / len(distances)


# The simulated cohort -----------------------------------------------------------------------------


def against_law(patients: CodeMatrix) -> dict[str, float]:
    """Patients made after the simulated cohort, judged by its exact law.

    Args:
        patients: over codes of the simulated cohort

    Returns:
        dict with:

        - odds_coverage: share of 500 pairs of codes, registered by the law as those that at least
          five in 10,000 patients have, whose nominal 95 % interval holds the true log odds ratio
        - odds_mae: mean absolute error of the log odds ratios, [0, inf)
        - odds_bias: mean of (log odds ratio - truth) · sign of the truth; below 0 associations are
          too weak
        - prevalence_coverage: share of the law's 100 most frequent codes whose 95 % interval
          (Wilson) holds the true prevalence, [0, 1]
        - impossible: share of the patients whom no population of the law can have, [0, 1]

    Raises:
        InputError: If no code is one of the cohort's.
    """
    law = simulate.truth()
    if not len(patients) or not np.isin(patients.codes, law.codes).any():
        raise InputError("no code is one of the simulated cohort's; give patients made after it")
    order = np.argsort(-law.prevalence, kind="stable")[:FREQUENT]
    codes, prevalence = law.codes[order], law.prevalence[order]
    common, _ = patients.restrict(codes)
    found = presence(common.counts).toarray()
    both = _law_joint(law, codes, prevalence)
    pairs = registered_pairs(10_000 * both)
    made = log_odds(joint(found), len(found), pairs)
    true = _true_odds(both, pairs)
    error = made.value - true
    held = (np.abs(error) <= LEVEL * made.error) & (made.meetings > 0)
    return {
        "odds_coverage": float(held.mean()),
        "odds_mae": float(np.abs(error).mean()),
        "odds_bias": float((error * np.sign(true)).mean()),
        "prevalence_coverage": float(_wilson_holds(found.mean(axis=0), len(found), prevalence)),
        "impossible": _impossible(patients),
    }


def _law_joint(law: simulate.Truth, codes: np.ndarray, prevalence: np.ndarray) -> np.ndarray:
    """Exact probability that a patient has both codes, (n_codes, n_codes)."""
    spread = np.sqrt(prevalence * (1 - prevalence))
    covariance = law.correlation("binary", codes) * np.outer(spread, spread)
    return covariance + np.outer(prevalence, prevalence)


def _true_odds(both: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """The exact log odds ratios of the law."""
    one, other = pairs.T
    together = both[one, other]
    first, second = np.diag(both)[one] - together, np.diag(both)[other] - together
    neither = 1 - together - first - second
    return np.log(together) - np.log(first) - np.log(second) + np.log(neither)


def _wilson_holds(share: np.ndarray, n: int, truth: np.ndarray) -> float:
    """How many of the true shares lie within the score interval, that is, are not rejected."""
    return float(np.mean(np.abs(share - truth) <= LEVEL * np.sqrt(truth * (1 - truth) / n)))


def _impossible(patients: CodeMatrix) -> float:
    """Share of patients with codes that no population of the law has together."""
    place = {code: column for column, code in enumerate(simulate.vocabulary().tolist())}
    columns = np.array([place.get(code, -1) for code in patients.codes.tolist()])
    never = np.array(
        [np.where(columns < 0, True, law.base[columns] == 0) for law in simulate.laws()]
    )
    return float((presence(patients.counts) @ never.T.astype(float) > 0).all(axis=1).mean())
