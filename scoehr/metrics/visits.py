"""Do synthetic patients return as real ones do: admissions, recurring codes, pairs of codes.

Each score compares two sets of :class:`~scoehr.data.patients.Patients` over one vocabulary by which
codes an admission has, not how often. A pair of codes is of one admission ("within"), or of an
admission and the next one of the same patient ("across"). :func:`evaluate` makes all scores, beside
four reference points on the same data; :data:`VISIT_METRICS` describes each.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse

from scoehr.data.patients import Patients
from scoehr.files import InputError, check_seed
from scoehr.metrics import evaluation, utility
from scoehr.metrics.arrays import Undefined
from scoehr.metrics.registry import KS, LOPEZ, Metric, Pair, Registry

#: Codes whose pairs are compared by their correlation: those most frequent among real admissions.
TOP = 100
#: Real admissions at which a code can recur, at least, for its recurrence to be compared.
AT_RISK = 30
#: Visit numbers (from the second) at which the share of new codes is compared, and admissions there
#: at least.
NUMBERS = (2, 3, 4, 5)
ENOUGH = 20
REPEATS = 60  # of the bootstrap

HALO = "Theodorou, Xiao & Sun (2023), Nature Communications 14:5305"
GONCALVES = "after Goncalves et al. (2020)"
#: The scores of admissions; the key is the name alone.
VISIT_METRICS = Registry()
#: The reference points: what stands in for the synthetic set.
VISIT_REFERENCES = {
    "real": "training patients that were set aside: the floor, what fresh real patients score",
    "independent": "numbers of admissions as they are, each code of each admission drawn on its "
    "own at its share",
    "shuffled": "real admissions dealt to the patients at random",
    "resampled": "training patients drawn with replacement",
}

_register = partial(VISIT_METRICS.register, step="synthetic")


# Scores -------------------------------------------------------------------------------------------


@_register(
    visits_ks=Metric("Admissions per patient, KS", 0, 1, "lower", 0, KS, marginal=True),
    visit_codes_ks=Metric("Codes per admission, KS", 0, 1, "lower", 0, KS),
)
def sizes(real: Patients, synthetic: Patients) -> dict[str, float]:
    """Kolmogorov-Smirnov statistics: the largest difference of the distribution functions.

    Returns:
        dict with:

        - visits_ks: of the number of admissions a patient, [0, 1], 0 is equal
        - visit_codes_ks: of the number of codes an admission, [0, 1], 0 is equal
    """
    codes = (np.diff(visits.counts.indptr) for visits in (real, synthetic))
    return {"visits_ks": _ks(real.numbers, synthetic.numbers), "visit_codes_ks": _ks(*codes)}


@_register(
    unigram_r2=Metric("Codes, R² of probabilities", None, 1, "higher", 1, HALO, marginal=True),
    within_r2=Metric("Pairs within an admission, R²", None, 1, "higher", 1, HALO),
    across_r2=Metric("Pairs across admissions, R²", None, 1, "higher", 1, HALO),
)
def probabilities(real: Patients, synthetic: Patients) -> dict[str, float]:
    """Coefficients of determination of probabilities, the real ones as truth.

    A few frequent codes rule these scores, so that independent codes get high ones too: read them
    beside the differences of correlations.

    Source: Theodorou, Xiao & Sun (2023), Nature Communications 14:5305.

    Returns:
        dict of values in (-inf, 1], 1 is equal, NaN if all are equal:

        - unigram_r2: over codes, of the share of admissions that have it
        - within_r2: over unordered pairs of codes, of the share of admissions that have both
        - across_r2: over ordered pairs, of the share of consecutive admissions of which one has the
          first and the next the second; NaN if nobody returns
    """
    one, other = (_probabilities(visits) for visits in (real, synthetic))
    return {f"{name}_r2": _r2(one[name], other[name]) for name in one}


@_register(
    within_difference=Metric(
        "Pairs within, difference of correlations", 0, 2, "lower", 0, GONCALVES
    ),
    across_difference=Metric(
        "Pairs across, difference of correlations", 0, 2, "lower", 0, GONCALVES
    ),
)
def correlations(real: Patients, synthetic: Patients, *, top: int = TOP) -> dict[str, float]:
    """Differences of the Pearson correlations of presence, over pairs of the most frequent codes.

    A code that is never or always there has correlation 0.

    Source: after the pairwise correlation difference of Goncalves et al. (2020), BMC Medical
    Research Methodology 20:108.

    Args:
        top: number of codes

    Returns:
        dict with:

        - within_difference: mean absolute difference, of different codes of one admission, [0, 2],
          0 is equal; NaN if there are no two codes
        - across_difference: of a code of one admission and a code, also the same one, of the next,
          [0, 2]; NaN if nobody returns
    """
    often = np.asarray(real.presence().sum(axis=0)).ravel()
    frequent = np.argsort(-often, kind="stable")[:top]
    within, across = _correlations(real, frequent)
    other, next_ = _correlations(synthetic, frequent)
    pairs = len(frequent) * (len(frequent) - 1)
    return {
        "within_difference": float(np.abs(within - other).sum() / pairs) if pairs else math.nan,
        "across_difference": float(np.abs(across - next_).mean()),
    }


def recurrence(visits: Patients) -> pd.DataFrame:
    """How often a code that was recorded at an earlier admission is recorded again.

    Returns:
        DataFrame, a row a code in the order of the vocabulary:

        - at_risk: admissions of patients who had the code at an earlier one
        - again: the share of these that record it again, in [0, 1]; NaN if there are none
    """
    known = visits.earlier() > 0
    at_risk, again = (
        np.asarray(rows.sum(axis=0)).ravel() for rows in (known, known * visits.presence())
    )
    share = np.divide(again, at_risk, out=np.full(len(again), np.nan), where=at_risk > 0)
    return pd.DataFrame({"at_risk": at_risk.astype(int), "again": share})


def new_shares(visits: Patients) -> pd.DataFrame:
    """Share of an admission's codes that are new to the patient, by the number of the visit.

    Returns:
        DataFrame, a row for each of :data:`NUMBERS`:

        - visits: admissions
        - new: share of their codes that no earlier admission of the patient has, [0, 1]; NaN
          without codes
    """
    presence, known = visits.presence(), visits.earlier() > 0
    total, old = (np.asarray(rows.sum(axis=1)).ravel() for rows in (presence, presence * known))
    found = []
    for number in NUMBERS:
        rows = visits.order == number - 1
        codes = total[rows].sum()
        new = 1 - old[rows].sum() / codes if codes else math.nan
        found.append({"visits": int(rows.sum()), "new": new})
    return pd.DataFrame(found, index=list(NUMBERS))


@_register(
    recurrence_correlation=Metric(
        "Recurrence of codes, Pearson", -1, 1, "higher", 1, "see recurrence"
    ),
    recurrence_mae=Metric("Recurrence of codes, MAE", 0, 1, "lower", 0, "see recurrence"),
    new_share_mae=Metric(
        "Share of new codes by visit number, MAE", 0, 1, "lower", 0, "see new_shares"
    ),
)
def recurrences(real: Patients, synthetic: Patients) -> dict[str, float]:
    """Agreement of :func:`recurrence` and of :func:`new_shares`.

    Returns:
        dict with:

        - recurrence_correlation: Pearson over codes that can recur at 30 real admissions or more,
          [-1, 1], 1 is best; a code that never recurs among the synthetic patients has recurrence 0
          there; NaN with fewer than three codes, or if one side is constant
        - recurrence_mae: mean absolute difference over these codes, [0, 1], 0 is equal; NaN if
          there are none
        - new_share_mae: mean absolute difference over visit numbers that 20 real patients reach,
          [0, 1], 0 is equal; a number that no synthetic patient reaches has share 1, nothing
          recurring; NaN if there is none
    """
    one, other = recurrence(real), recurrence(synthetic)
    compared = one["at_risk"] >= AT_RISK
    truth, made = one["again"][compared].to_numpy(), other["again"][compared].fillna(0).to_numpy()
    varies = len(truth) > 2 and np.ptp(truth) > 0 and np.ptp(made) > 0
    new, made_new = new_shares(real), new_shares(synthetic)["new"].fillna(1)
    reached = new["visits"] >= ENOUGH
    apart = (new["new"] - made_new)[reached].abs()
    return {
        "recurrence_correlation": float(np.corrcoef(truth, made)[0, 1]) if varies else math.nan,
        "recurrence_mae": float(np.abs(truth - made).mean()) if len(truth) else math.nan,
        "new_share_mae": float(apart.mean()) if reached.any() else math.nan,
    }


def discriminate(real: Patients, synthetic: Patients, *, seed: int = 0) -> list[utility.Scored]:
    """How synthetic each patient looks to a classifier of :func:`summaries`, fold by fold.

    The classifier and its folds are those of :func:`scoehr.metrics.utility.discriminate`.

    Source: Lopez-Paz & Oquab (2017), Revisiting classifier two-sample tests, ICLR.

    Raises:
        Undefined: With fewer than 20 patients on a side.
    """
    if min(len(real), len(synthetic)) < utility.SMALLEST:
        raise Undefined(f"the discriminator needs at least {utility.SMALLEST} patients in each set")
    return utility.discriminate(summaries(real), summaries(synthetic), seed=seed)


def _everyone(pair: Pair) -> tuple[np.ndarray, ...]:
    return utility.flat(discriminate(pair.real, pair.synthetic, seed=pair.seed))


def _returning(pair: Pair) -> tuple[np.ndarray, ...]:
    real, made = (side[np.flatnonzero(side.numbers > 1)] for side in (pair.real, pair.synthetic))
    return utility.flat(discriminate(real, made, seed=pair.seed))


_register(_everyone, discriminator_auc=Metric("Discriminator AUC", 0, 1, "lower", 0.5, LOPEZ))(
    utility.discriminator_auc
)
_register(
    _returning,
    discriminator_auc_returning=Metric(
        "Discriminator AUC, patients who come back", 0, 1, "lower", 0.5, LOPEZ
    ),
)(utility.discriminator_auc)


def summaries(visits: Patients) -> sparse.csr_array:
    """What each patient's record looks like over time: ``(n_patients, 7 + 3 n_codes)``.

    Numbers of admissions and of codes, distinct codes, codes at the first and at the last
    admission, the least and the largest number of codes; then for each code whether the first
    admission has it, how many later ones have it when it is new, and how many when it is not.
    """
    presence, known, belongs = visits.presence(), visits.earlier() > 0, visits._belongs()
    again = sparse.csr_array(presence * known)
    is_later = sparse.diags_array((visits.order > 0).astype(np.float32))
    later = sparse.csr_array(is_later @ (presence - again))
    first = sparse.csr_array(presence - again - later)
    parts = [sparse.csr_array(belongs @ rows) for rows in (first, later, again)]
    shape = sparse.csr_array(_shape(visits).astype(np.float64))
    return sparse.csr_array(sparse.hstack([shape, *parts]))


def _shape(visits: Patients) -> np.ndarray:
    """The first seven columns of :func:`summaries`."""
    lengths = np.append(np.diff(visits.counts.indptr), 0)  # a last row for who was never admitted
    numbers, starts = visits.numbers, visits.starts[:-1]
    has = numbers > 0
    first, last = (np.where(has, edge, -1) for edge in (starts, visits.starts[1:] - 1))
    least, most = np.zeros(len(visits)), np.zeros(len(visits))
    if has.any():
        least[has] = np.minimum.reduceat(lengths[:-1], starts[has])
        most[has] = np.maximum.reduceat(lengths[:-1], starts[has])
    total = visits._belongs() @ lengths[:-1]
    distinct = np.diff(visits.totals().indptr)
    return np.column_stack([numbers, total, distinct, lengths[first], lengths[last], least, most])


# The whole set ------------------------------------------------------------------------------------


def evaluate(
    real: Patients,
    synthetic: Patients,
    *,
    train: Patients,
    n: int | None = None,
    seed: int = 0,
    progress: bool = False,
) -> dict[str, Any]:
    """Score synthetic admissions against those of held-out real patients.

    Args:
        real: patients that the generator has not seen
        synthetic: patients that it made
        train: patients that it was trained on, of whom the reference points are made
        n: patients drawn from each set (default: as many as the smallest has)
        seed: of the draws, the reference points, the discriminator and the bootstrap

    Returns:
        dict of plain JSON values; a score without a value is None:

        - visits: {metric: score}
        - reference: {name: {metric: score}} for each of :data:`VISIT_REFERENCES`
        - gap: {metric: floor-normalised :func:`~scoehr.metrics.evaluation.gap`}
        - curves: as :func:`curves` returns them
        - interval: {metric: [low, high]}, see :func:`~scoehr.metrics.evaluation.intervals` n, seed,
          versions

    Raises:
        InputError: If a set is empty or has fewer than ``n`` patients, or has a code that the real
            and training patients lack.
    """
    seed = check_seed(seed)
    codes = np.unique(np.concatenate([real.codes, train.codes]))
    real, synthetic, train = (visits.align(codes) for visits in (real, synthetic, train))
    n = _common(n, real, synthetic, train)
    test, made = (evaluation.drawn(visits, n, seed) for visits in (real, synthetic))
    bar = evaluation.Bar(progress, len(VISIT_REFERENCES) + 1, "evaluate visits")
    pair = Pair(test, made, seed=seed)
    scores = evaluation.score(VISIT_METRICS, pair, bar.step).values
    reference = {}
    for name, point in references(train, n, seed).items():
        reference[name] = score(test, point, seed)
        bar.step(name)
    bar.close()
    return {
        "visits": scores,
        "reference": reference,
        "gap": evaluation.gaps_of(VISIT_METRICS, scores, reference),
        "interval": evaluation.intervals(VISIT_METRICS, pair, scores, REPEATS),
        "curves": curves(test, made),
        "n": {"patients": n, "codes": len(codes), "admissions": int(test.starts[-1])},
        "seed": seed,
        "versions": evaluation.versions(),
    }


def score(real: Patients, synthetic: Patients, seed: int = 0) -> dict[str, float | None]:
    """Every score of :data:`VISIT_METRICS`; None for one without a value."""
    return evaluation.score(VISIT_METRICS, Pair(real, synthetic, seed=seed)).values


def _common(n: int | None, *sets: Patients) -> int:
    """The number of patients to draw from each set."""
    smallest = min(len(visits) for visits in sets)
    if not 1 <= (n or smallest) <= smallest:
        raise InputError(
            f"n is {n} but the smallest set has {smallest} patients; take n at most that large, "
            "from 1"
        )
    return n or smallest


def references(train: Patients, n: int, seed: int = 0) -> dict[str, Patients]:
    """The sets of ``n`` patients of :data:`VISIT_REFERENCES`, made of the training patients."""
    rng = np.random.default_rng([seed, 3])
    fresh = train[rng.permutation(len(train))[-n:]]
    return {
        "real": fresh,
        "independent": independent_codes(fresh, rng),
        "shuffled": shuffled_admissions(fresh, rng),
        "resampled": train[rng.integers(len(train), size=n)],
    }


def curves(real: Patients, synthetic: Patients) -> dict[str, Any]:
    """What figures show of the two sets, as plain JSON values.

    No number of it counts fewer than 20 admissions.

    Returns:
        dict with:

        - numbers, sizes: {"real", "synthetic": share of patients with 0, 1, … admissions, of
          admissions with 0, 1, … codes}; what lies beyond the last entry is counted there
        - new: {"visit": numbers, "real", "synthetic": shares}, see :func:`new_shares`
        - recurrence: {"code", "title", "real", "synthetic": shares}, see :func:`recurrence`, of the
          codes compared
    """
    sides = {"real": real, "synthetic": synthetic}
    numbers = {name: visits.numbers for name, visits in sides.items()}
    sizes = {name: np.diff(visits.counts.indptr) for name, visits in sides.items()}
    shares = {name: new_shares(visits) for name, visits in sides.items()}
    again = {name: recurrence(visits) for name, visits in sides.items()}
    reached = shares["real"]["visits"] >= ENOUGH
    compared = np.flatnonzero(again["real"]["at_risk"] >= AT_RISK)
    new: dict[str, Any] = {"visit": np.array(NUMBERS)[reached].tolist()}
    codes, titles = (names[compared].tolist() for names in (real.codes, real.titles))
    recurs = {"code": codes, "title": titles}
    for name in sides:
        new[name] = shares[name]["new"][reached].tolist()
        recurs[name] = again[name]["again"].iloc[compared].fillna(0).tolist()
    return {"numbers": _shares(numbers), "sizes": _shares(sizes), "new": new, "recurrence": recurs}


def _shares(values: Mapping[str, np.ndarray]) -> dict[str, list[float]]:
    """The share of each value from 0; the last holds all from there on, 20 of the first set."""
    tail = np.cumsum(np.bincount(values["real"])[::-1])[::-1]
    last = int(np.flatnonzero(tail >= min(ENOUGH, tail[0]))[-1])
    shares = {}
    for name, found in values.items():
        often = np.bincount(np.minimum(found, last), minlength=last + 1)
        shares[name] = (often / len(found)).tolist()
    return shares


def independent_codes(visits: Patients, rng: np.random.Generator) -> Patients:
    """Numbers of admissions as they are; each code on its own, at its share of the admissions."""
    total = visits.counts.shape[0]
    shares = np.asarray(visits.presence().mean(axis=0)).ravel()
    often = rng.binomial(total, np.clip(shares, 0, 1))  # a mean of ones may round above 1
    rows = [rng.choice(total, size, replace=False) for size in often]
    places = np.concatenate([*rows, np.empty(0, dtype=int)])
    cells = np.ones(len(places), dtype=np.int32), (places, np.repeat(np.arange(len(often)), often))
    counts = sparse.csr_array(cells, shape=visits.counts.shape)
    return Patients(counts, visits.starts, visits.patients, visits.codes, visits.titles)


def shuffled_admissions(visits: Patients, rng: np.random.Generator) -> Patients:
    """Numbers of admissions as they are; each admission that of a patient at random.

    Right within admissions, chance across.
    """
    counts = visits.counts[rng.permutation(visits.counts.shape[0])]
    return Patients(counts, visits.starts, visits.patients, visits.codes, visits.titles)


# Parts --------------------------------------------------------------------------------------------


def _ks(one: np.ndarray, other: np.ndarray) -> float:
    """Largest difference of the distribution functions of two samples of whole numbers, or NaN."""
    if not (len(one) and len(other)):
        return math.nan
    longest = max(one.max(), other.max()) + 1
    left, right = (np.cumsum(np.bincount(x, minlength=longest)) / len(x) for x in (one, other))
    return float(np.abs(left - right).max())


def _probabilities(visits: Patients) -> dict[str, sparse.csr_array]:
    """Shares of codes (1, n_codes), pairs within (upper triangle) and across (n_codes, n_codes)."""
    presence, later = visits.presence().astype(np.float64), np.flatnonzero(visits.order)
    before, after, total = presence[later - 1], presence[later], max(1, presence.shape[0])
    return {
        "unigram": sparse.csr_array(presence.sum(axis=0)[None, :]) / total,
        "within": sparse.csr_array(sparse.triu(presence.T @ presence, 1)) / total,
        "across": sparse.csr_array(before.T @ after) / (len(later) or math.nan),
    }


def _r2(truth: sparse.csr_array, made: sparse.csr_array) -> float:
    """Over all cells, but those of "within" below the diagonal, which are 0 on both sides."""
    size = truth.shape[0] * truth.shape[1]
    if truth.shape[0] > 1 and not sparse.tril(truth).nnz:
        size = truth.shape[0] * (truth.shape[0] - 1) // 2
    spread = np.square(truth.data).sum() - truth.sum() ** 2 / size if size else 0.0
    error = np.square((truth - made).data).sum()
    return float(1 - error / spread) if spread > 0 and np.isfinite(error) else math.nan


def _correlations(visits: Patients, codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Correlations of the codes within an admission, and of one (rows) with the next (columns)."""
    presence = visits.presence()[:, codes].toarray().astype(np.float32)
    later = np.flatnonzero(visits.order)
    return _pearson(presence, presence), _pearson(presence[later - 1], presence[later])


def _pearson(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Correlations of columns of one with those of the other, 0 for constants; NaN without rows."""
    if not len(one):
        return np.full((one.shape[1], other.shape[1]), math.nan)
    one, other = (side - side.mean(axis=0) for side in (one, other))
    scale = [np.sqrt(np.square(side).sum(axis=0)) for side in (one, other)]
    product = np.outer(*scale)
    return np.divide(one.T @ other, product, out=np.zeros_like(product), where=product > 1e-6)
