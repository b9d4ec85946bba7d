"""Do synthetic patients come back as real ones do: numbers of admissions, recurring codes, pairs of codes.

Each score takes two sets of :class:`~scoehr.data.visits.Visits` over one vocabulary and sees which codes an admission has,
not how often. A pair of codes is of one admission ("within"), or of an admission and the next one of the same patient
("across"). :func:`evaluate` makes all of them, beside four reference points on the same data. :data:`VISIT_METRICS`
says what each is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
from scipy import sparse
from tqdm import tqdm

from scoehr.data.visits import Visits
from scoehr.files import InputError, check_seed
from scoehr.metrics import _versions, utility
from scoehr.metrics.arrays import Undefined
from scoehr.metrics.evaluation import LEVEL, standard_errors
from scoehr.metrics.registry import Metric

#: Codes whose pairs are compared by their correlation: those most frequent among the real admissions.
TOP = 100
#: Real admissions at which a code can come again, at least, for its recurrence to be compared.
AT_RISK = 30
#: Visit numbers (from the second) at which the share of new codes is compared, and admissions there at least.
NUMBERS = (2, 3, 4, 5)
ENOUGH = 20
REPEATS = 60  # of the bootstrap
#: Scores of what independent codes get right by their making, so that they have no gap.
MARGINAL = ("visits_ks", "unigram_r2")

HALO = "Theodorou, Xiao & Sun (2023), Nature Communications 14:5305"
GONCALVES = "after Goncalves et al. (2020)"
VISIT_METRICS: dict[str, Metric] = {
    "visits_ks": Metric(
        "Admissions per patient, KS", 0, 1, "lower", 0, "Kolmogorov-Smirnov statistic"
    ),
    "visit_codes_ks": Metric(
        "Codes per admission, KS", 0, 1, "lower", 0, "Kolmogorov-Smirnov statistic"
    ),
    "unigram_r2": Metric("Codes, R² of probabilities", None, 1, "higher", 1, HALO),
    "within_r2": Metric("Pairs within an admission, R²", None, 1, "higher", 1, HALO),
    "across_r2": Metric("Pairs across admissions, R²", None, 1, "higher", 1, HALO),
    "within_difference": Metric(
        "Pairs within, difference of correlations", 0, 2, "lower", 0, GONCALVES
    ),
    "across_difference": Metric(
        "Pairs across, difference of correlations", 0, 2, "lower", 0, GONCALVES
    ),
    "recurrence_correlation": Metric(
        "Recurrence of codes, Pearson", -1, 1, "higher", 1, "see recurrence"
    ),
    "recurrence_mae": Metric("Recurrence of codes, MAE", 0, 1, "lower", 0, "see recurrence"),
    "new_share_mae": Metric(
        "Share of new codes by visit number, MAE", 0, 1, "lower", 0, "see new_shares"
    ),
    "discriminator_auc": Metric(
        "Discriminator AUC", 0, 1, "lower", 0.5, "Lopez-Paz & Oquab (2017), ICLR"
    ),
    "discriminator_auc_returning": Metric(
        "Discriminator AUC, patients who come back",
        0,
        1,
        "lower",
        0.5,
        "Lopez-Paz & Oquab (2017), ICLR",
    ),
}
#: The reference points: what stands in for the synthetic set.
VISIT_REFERENCES = {
    "real": "training patients that were set aside: the floor, what fresh real patients score",
    "independent": "numbers of admissions as they are, each code of each admission drawn on its own at its share",
    "shuffled": "real admissions dealt to the patients at random",
    "resampled": "training patients drawn with replacement",
}

#: The held-out scores of each discriminator, fold by fold.
Folds: TypeAlias = Mapping[str, list[utility.Scored]]


# Scores -------------------------------------------------------------------------------------------------------------


def sizes(real: Visits, synthetic: Visits) -> dict[str, float]:
    """Kolmogorov-Smirnov statistics of ``visits_ks``, the number of admissions a patient, and ``visit_codes_ks``, the
    number of codes an admission: the largest difference of the distribution functions, [0, 1], 0 is equal.
    """
    codes = (np.diff(visits.counts.indptr) for visits in (real, synthetic))
    return {"visits_ks": _ks(real.numbers, synthetic.numbers), "visit_codes_ks": _ks(*codes)}


def probabilities(real: Visits, synthetic: Visits) -> dict[str, float]:
    """Coefficients of determination of probabilities, real ones as truth: (-inf, 1], 1 is equal, NaN if all are equal.

    Returns
    -------
    dict with
        unigram_r2 : over codes, of the share of admissions that have it
        within_r2 : over unordered pairs of codes, of the share of admissions that have both
        across_r2 : over ordered pairs, of the share of consecutive admissions of which one has the first and the next
            the second; NaN if nobody comes back

    References
    ----------
    Theodorou, Xiao & Sun (2023), Nature Communications 14:5305. A few frequent codes rule these scores, so that
    independent codes get high ones too: read them beside the differences of correlations.
    """
    one, other = (_probabilities(visits) for visits in (real, synthetic))
    return {f"{name}_r2": _r2(one[name], other[name]) for name in one}


def correlations(real: Visits, synthetic: Visits, *, top: int = TOP) -> dict[str, float]:
    """Mean absolute differences of the Pearson correlations of presence, over pairs of the ``top`` most frequent codes.

    Returns
    -------
    dict with
        within_difference : of different codes of one admission, [0, 2], 0 is equal
        across_difference : of a code of one admission and a code, also the same one, of the next, [0, 2]
    A code that is never or always there has correlation 0. NaN if there are no two codes, or nobody comes back.
    After the pairwise correlation difference of Goncalves et al. (2020), BMC Medical Research Methodology 20:108.
    """
    frequent = np.argsort(-np.asarray(real.presence().sum(axis=0)).ravel(), kind="stable")[:top]
    (within, across), (other, next_) = (
        _correlations(visits, frequent) for visits in (real, synthetic)
    )
    pairs = len(frequent) * (len(frequent) - 1)
    return {
        "within_difference": float(np.abs(within - other).sum() / pairs) if pairs else math.nan,
        "across_difference": float(np.abs(across - next_).mean()),
    }


def recurrence(visits: Visits) -> pd.DataFrame:
    """How often a code that was recorded at an earlier admission is recorded again.

    Returns
    -------
    DataFrame, a row a code in the order of the vocabulary
        at_risk : admissions of patients who had the code at an earlier one
        again : the share of these that record it again, in [0, 1]; NaN if there are none
    """
    known = visits.earlier() > 0
    at_risk, again = (
        np.asarray(rows.sum(axis=0)).ravel() for rows in (known, known * visits.presence())
    )
    share = np.divide(again, at_risk, out=np.full(len(again), np.nan), where=at_risk > 0)
    return pd.DataFrame({"at_risk": at_risk.astype(int), "again": share})


def new_shares(visits: Visits) -> pd.DataFrame:
    """What share of an admission's codes the patient has for the first time, by the number of the visit (from 2).

    Returns
    -------
    DataFrame, a row for each of :data:`NUMBERS`
        visits : admissions
        new : share of their codes that no earlier admission of the patient has, [0, 1]; NaN without codes
    """
    presence, known = visits.presence(), visits.earlier() > 0
    total, old = (np.asarray(rows.sum(axis=1)).ravel() for rows in (presence, presence * known))
    rows = [visits.order == number - 1 for number in NUMBERS]
    shares = [
        1 - old[row].sum() / total[row].sum() if total[row].sum() else math.nan for row in rows
    ]
    return pd.DataFrame(
        {"visits": [int(row.sum()) for row in rows], "new": shares}, index=list(NUMBERS)
    )


def recurrences(real: Visits, synthetic: Visits) -> dict[str, float]:
    """Agreement of :func:`recurrence` and of :func:`new_shares`.

    Returns
    -------
    dict with
        recurrence_correlation : Pearson over codes that can come again at 30 real admissions or more, [-1, 1], 1 is
            best; a code that never comes back among the synthetic patients has recurrence 0 there; NaN with fewer than
            three codes, or if one side is constant
        recurrence_mae : mean absolute difference over these codes, [0, 1], 0 is equal; NaN if there are none
        new_share_mae : mean absolute difference over visit numbers that 20 real patients reach, [0, 1]; a number that
            no synthetic patient reaches counts as a share of 1, nothing recurring; NaN if there is none
    """
    one, other = recurrence(real), recurrence(synthetic)
    compared = one["at_risk"] >= AT_RISK
    truth, made = one["again"][compared].to_numpy(), other["again"][compared].fillna(0).to_numpy()
    varies = len(truth) > 2 and np.ptp(truth) > 0 and np.ptp(made) > 0
    new, made_new = new_shares(real), new_shares(synthetic)["new"].fillna(1)
    reached = new["visits"] >= ENOUGH
    return {
        "recurrence_correlation": float(np.corrcoef(truth, made)[0, 1]) if varies else math.nan,
        "recurrence_mae": float(np.abs(truth - made).mean()) if len(truth) else math.nan,
        "new_share_mae": float((new["new"] - made_new)[reached].abs().mean())
        if reached.any()
        else math.nan,
    }


def discriminate(real: Visits, synthetic: Visits, *, seed: int = 0) -> list[utility.Scored]:
    """Can a classifier tell synthetic from real patients by :func:`summaries`? Its held-out scores, fold by fold.

    The classifier and its folds are those of :func:`scoehr.metrics.utility.discriminator_auc`; their mean AUC lies in
    [0, 1], 0.5 is indistinguishable. Undefined with fewer than 20 patients on a side.
    """
    if min(len(real), len(synthetic)) < utility.SMALLEST:
        raise Undefined(f"the discriminator needs at least {utility.SMALLEST} patients in each set")
    return utility.discriminate(summaries(real), summaries(synthetic), seed=seed)


def summaries(visits: Visits) -> sparse.csr_array:
    """What each patient's record looks like over time: ``(n_patients, 7 + 3 n_codes)``.

    Numbers of admissions and of codes, distinct codes, codes at the first and at the last admission, the least and the
    largest number of codes; then for each code whether the first admission has it, how many later ones have it when it
    is new, and how many have it again.
    """
    presence, known, belongs = visits.presence(), visits.earlier() > 0, visits._belongs()
    again = sparse.csr_array(presence * known)
    later = sparse.csr_array(
        sparse.diags_array((visits.order > 0).astype(np.float32)) @ (presence - again)
    )
    first = sparse.csr_array(presence - again - later)
    lengths = np.append(np.diff(visits.counts.indptr), 0)  # a last row for who was never admitted
    numbers = visits.numbers
    has = numbers > 0
    edges = [np.where(has, place, -1) for place in (visits.starts[:-1], visits.starts[1:] - 1)]
    spans = [np.zeros(len(visits)) for _ in range(2)]
    for span, ufunc in zip(spans, (np.minimum, np.maximum), strict=True):
        span[has] = ufunc.reduceat(lengths[:-1], visits.starts[:-1][has]) if has.any() else 0
    distinct = np.diff(visits.totals().indptr)
    shape = np.column_stack(
        [numbers, belongs @ lengths[:-1], distinct, *(lengths[edge] for edge in edges), *spans]
    )
    parts = [sparse.csr_array(belongs @ rows) for rows in (first, later, again)]
    return sparse.csr_array(sparse.hstack([sparse.csr_array(shape.astype(np.float64)), *parts]))


# The whole set ------------------------------------------------------------------------------------------------------


def evaluate(
    real: Visits,
    synthetic: Visits,
    *,
    train: Visits,
    n: int | None = None,
    seed: int = 0,
    progress: bool = False,
) -> dict[str, Any]:
    """Score synthetic admissions against those of held-out real patients.

    Parameters
    ----------
    real : patients that the generator has not seen
    synthetic : patients that it made
    train : patients that it was trained on, of whom the reference points are made
    n : patients drawn from each set (default: as many as the smallest has)
    seed : of the draws, the reference points, the discriminator and the bootstrap

    Returns
    -------
    dict of plain JSON values; a score without a value is None
        visits : {metric: score}
        reference : {name: {metric: score}} for each of :data:`VISIT_REFERENCES`
        gap : {metric: (score - real) / (independent - real)}: 0 is as good as fresh real patients, 1 as bad as
            independent codes; None where real patients and independent codes score alike
        curves : as :func:`curves` returns them
        interval : {metric: [low, high]}: the score ± 1.96 bootstrap standard errors over patients, cut at its range
        n, seed, versions

    Raises
    ------
    InputError
        If a set is empty or has fewer than ``n`` patients, or has a code that the real and training patients lack.
    """
    seed = check_seed(seed)
    codes = np.unique(np.concatenate([real.codes, train.codes]))
    real, synthetic, train = (visits.align(codes) for visits in (real, synthetic, train))
    smallest = min(len(real), len(synthetic), len(train))
    if not 1 <= (n or smallest) <= smallest:
        raise InputError(
            f"n is {n} but the smallest set has {smallest} patients; take n at most that large, from 1"
        )
    n = n or smallest
    test, made = (visits[_places(visits, n, seed)] for visits in (real, synthetic))
    bar = tqdm(
        total=len(VISIT_REFERENCES) + 2, desc="evaluate visits", disable=not progress or None
    )
    folds = _discriminators(test, made, seed)
    scores = _scores(test, made, folds)
    bar.update()
    reference = {}
    for name, point in references(train, n, seed).items():
        reference[name] = score(test, point, seed)
        bar.update()
    spread = intervals(test, made, scores, folds, seed)
    bar.update()
    bar.close()
    return {
        "visits": scores,
        "reference": reference,
        "gap": {name: _gap(name, scores[name], reference) for name in VISIT_METRICS},
        "interval": spread,
        "curves": curves(test, made),
        "n": {"patients": n, "codes": len(codes), "admissions": int(test.starts[-1])},
        "seed": seed,
        "versions": _versions(),
    }


def score(real: Visits, synthetic: Visits, seed: int = 0) -> dict[str, float | None]:
    """Every score of :data:`VISIT_METRICS`; None for one without a value."""
    return _scores(real, synthetic, _discriminators(real, synthetic, seed))


def _scores(real: Visits, synthetic: Visits, discriminators: Folds) -> dict[str, float | None]:
    found: dict[str, float] = {}
    for statistic in STATISTICS:
        found |= statistic(real, synthetic)
    for name, folds in discriminators.items():
        found[name] = utility.mean_auc(folds) if folds else math.nan
    return {name: found[name] if math.isfinite(found[name]) else None for name in VISIT_METRICS}


def references(train: Visits, n: int, seed: int = 0) -> dict[str, Visits]:
    """The sets of ``n`` patients of :data:`VISIT_REFERENCES`, made of the training patients."""
    rng = np.random.default_rng([seed, 3])
    fresh = train[rng.permutation(len(train))[-n:]]
    return {
        "real": fresh,
        "independent": independent_codes(fresh, rng),
        "shuffled": shuffled_admissions(fresh, rng),
        "resampled": train[rng.integers(len(train), size=n)],
    }


def curves(real: Visits, synthetic: Visits) -> dict[str, Any]:
    """What figures show of the two sets, as plain JSON values; no number of it counts fewer than 20 admissions.

    Returns
    -------
    dict with
        numbers, sizes : {"real", "synthetic": share of patients with 0, 1, … admissions, of admissions with 0, 1, …
            codes}; what lies beyond the last entry is counted there
        new : {"visit": numbers, "real", "synthetic": shares}, see :func:`new_shares`
        recurrence : {"code", "title", "real", "synthetic": shares}, see :func:`recurrence`, of the codes compared
    """
    sides = {"real": real, "synthetic": synthetic}
    again = {name: recurrence(visits) for name, visits in sides.items()}
    compared = np.flatnonzero(again["real"]["at_risk"] >= AT_RISK)
    new = {name: new_shares(visits) for name, visits in sides.items()}
    reached = new["real"]["visits"] >= ENOUGH
    return {
        "numbers": _shares({name: visits.numbers for name, visits in sides.items()}),
        "sizes": _shares({name: np.diff(visits.counts.indptr) for name, visits in sides.items()}),
        "new": {"visit": np.array(NUMBERS)[reached].tolist()}
        | {name: table["new"][reached].tolist() for name, table in new.items()},
        "recurrence": {
            "code": real.codes[compared].tolist(),
            "title": real.titles[compared].tolist(),
        }
        | {name: table["again"].iloc[compared].fillna(0).tolist() for name, table in again.items()},
    }


def _shares(values: Mapping[str, np.ndarray]) -> dict[str, list[float]]:
    """The share of each value from 0; the last holds all from there on, where the first set has fewer than 20."""
    tail = np.cumsum(np.bincount(values["real"])[::-1])[::-1]
    last = int(np.flatnonzero(tail >= min(ENOUGH, tail[0]))[-1])
    return {
        name: (np.bincount(np.minimum(found, last), minlength=last + 1) / len(found)).tolist()
        for name, found in values.items()
    }


def independent_codes(visits: Visits, rng: np.random.Generator) -> Visits:
    """As many admissions as each patient has, every code in each on its own, at the share of those that have it."""
    total = visits.counts.shape[0]
    shares = np.asarray(visits.presence().mean(axis=0)).ravel()
    often = rng.binomial(total, np.clip(shares, 0, 1))  # a mean of ones may round above 1
    rows = np.concatenate(
        [rng.choice(total, size, replace=False) for size in often] or [np.empty(0, dtype=int)]
    )
    cells = (np.ones(len(rows), dtype=np.int32), (rows, np.repeat(np.arange(len(often)), often)))
    counts = sparse.csr_array(cells, shape=visits.counts.shape)
    return Visits(counts, visits.starts, visits.patients, visits.codes, visits.titles)


def shuffled_admissions(visits: Visits, rng: np.random.Generator) -> Visits:
    """As many admissions as each patient has, each that of a patient at random: right within, chance across."""
    counts = visits.counts[rng.permutation(visits.counts.shape[0])]
    return Visits(counts, visits.starts, visits.patients, visits.codes, visits.titles)


def intervals(
    real: Visits,
    synthetic: Visits,
    scores: Mapping[str, float | None],
    discriminators: Folds,
    seed: int,
) -> dict[str, list[float]]:
    """{metric: [low, high]}: 95 % over patients, each side's drawn anew with replacement."""
    errors: dict[str, float] = {}
    for statistic in STATISTICS:
        errors |= standard_errors(statistic, (real, synthetic), seed, REPEATS)
    for name, folds in discriminators.items():
        sets = tuple(side for fold in folds for side in fold)
        errors |= standard_errors(_area(name), sets, seed, REPEATS) if sets else {}
    made = {}
    for name, metric in VISIT_METRICS.items():
        value, error = scores[name], errors.get(name, math.nan)
        if value is not None and math.isfinite(error):
            made[name] = np.clip(
                [value - LEVEL * error, value + LEVEL * error], metric.low, metric.high
            ).tolist()
    return made


#: The scores whose error is found by computing them again on patients drawn anew.
STATISTICS: tuple[Callable[[Visits, Visits], dict[str, float]], ...] = (
    sizes,
    probabilities,
    correlations,
    recurrences,
)


# Parts --------------------------------------------------------------------------------------------------------------


def _discriminators(real: Visits, synthetic: Visits, seed: int) -> Folds:
    """The discriminator on all patients, and on those with more than one admission; no folds if there are too few."""
    found: dict[str, list[utility.Scored]] = {}
    sides = (real, synthetic)
    returning = tuple(visits[np.flatnonzero(visits.numbers > 1)] for visits in sides)
    for name, pair in {
        "discriminator_auc": sides,
        "discriminator_auc_returning": returning,
    }.items():
        try:
            found[name] = discriminate(*pair, seed=seed)
        except Undefined:
            found[name] = []
    return found


def _area(name: str) -> Callable[..., dict[str, float]]:
    """The mean AUC, under this name, from the scores of real and synthetic patients, fold after fold."""

    def statistic(*sets: np.ndarray) -> dict[str, float]:
        folds = [utility.Scored(*sets[first : first + 2]) for first in range(0, len(sets), 2)]
        return {name: utility.mean_auc(folds)}

    return statistic


def _gap(
    name: str, value: float | None, reference: Mapping[str, Mapping[str, float | None]]
) -> float | None:
    """As :func:`scoehr.metrics.gaps` has it: None unless independent codes score worse than every real set."""
    if name in MARGINAL:
        return None
    floor, independent, resampled = (
        reference[point][name] for point in ("real", "independent", "resampled")
    )
    if value is None or floor is None or independent is None:
        return None
    sign = -1 if VISIT_METRICS[name].better == "higher" else 1
    noise = max(0.0, sign * ((floor if resampled is None else resampled) - floor))
    return (
        (value - floor) / (independent - floor)
        if sign * (independent - floor) > noise + 1e-9
        else None
    )


def _places(visits: Visits, n: int, seed: int) -> np.ndarray:
    return np.sort(np.random.default_rng([seed, 1]).permutation(len(visits))[:n])


def _ks(one: np.ndarray, other: np.ndarray) -> float:
    """The largest difference of the distribution functions of two samples of whole numbers; NaN without any."""
    if not (len(one) and len(other)):
        return math.nan
    longest = max(one.max(), other.max()) + 1
    left, right = (
        np.cumsum(np.bincount(side, minlength=longest)) / len(side) for side in (one, other)
    )
    return float(np.abs(left - right).max())


def _probabilities(visits: Visits) -> dict[str, sparse.csr_array]:
    """Shares of single codes (1, n_codes), of pairs within (upper triangle) and across (n_codes, n_codes)."""
    presence, later = visits.presence().astype(np.float64), np.flatnonzero(visits.order)
    before, after = presence[later - 1], presence[later]
    return {
        "unigram": sparse.csr_array(presence.sum(axis=0)[None, :]) / max(1, presence.shape[0]),
        "within": sparse.csr_array(sparse.triu(presence.T @ presence, 1))
        / max(1, presence.shape[0]),
        "across": sparse.csr_array(before.T @ after) / (len(later) or math.nan),
    }


def _r2(truth: sparse.csr_array, made: sparse.csr_array) -> float:
    """Over all cells; those of "within" below the diagonal are nothing on both sides, so that they are taken off."""
    size = truth.shape[0] * truth.shape[1]
    if truth.shape[0] > 1 and not sparse.tril(truth).nnz:
        size = truth.shape[0] * (truth.shape[0] - 1) // 2
    spread = np.square(truth.data).sum() - truth.sum() ** 2 / size if size else 0.0
    error = np.square((truth - made).data).sum()
    return float(1 - error / spread) if spread > 0 and np.isfinite(error) else math.nan


def _correlations(visits: Visits, codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Correlations within an admission, and of one (rows) with the next (columns): two (len(codes), len(codes))."""
    presence = visits.presence()[:, codes].toarray().astype(np.float32)
    later = np.flatnonzero(visits.order)
    return _pearson(presence, presence), _pearson(presence[later - 1], presence[later])


def _pearson(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Correlations of the columns of one with those of the other, 0 where a column is constant; NaN without rows."""
    if not len(one):
        return np.full((one.shape[1], other.shape[1]), math.nan)
    one, other = (side - side.mean(axis=0) for side in (one, other))
    scale = [np.sqrt(np.square(side).sum(axis=0)) for side in (one, other)]
    product = np.outer(*scale)
    return np.divide(one.T @ other, product, out=np.zeros_like(product), where=product > 1e-6)
