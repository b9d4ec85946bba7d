"""Are synthetic patients like real ones as a whole: columns, codes, days, and what comes again.

Each score compares two sets of :class:`~scoehr.data.patients.Patients` over one vocabulary and the
same columns. A *fact* is a value of a column, or a code that a visit has or lacks; numbers are cut
at the deciles of the real ones, and a missing value is a value. :func:`evaluate` makes all scores
beside the reference points on the same data; :data:`WHOLE` describes each.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import lru_cache, partial
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy import sparse
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from scoehr.data import rules
from scoehr.data.columns import DAYS, Column, Columns
from scoehr.data.patients import Patients
from scoehr.files import InputError, check_seed, small_seed
from scoehr.metrics import attacks, evaluation, utility
from scoehr.metrics.arrays import Undefined, independent_columns
from scoehr.metrics.registry import KS, LOPEZ, METRICS, Members, Metric, Pair, Registry

#: Codes that are facts, and that classifiers see one by one: the most frequent real ones.
TOP = 100
#: Facts whose pairs a logistic regression sees: those of which real patients differ most.
PAIRED = 60
#: A record is long with more occurrences of codes than this.
LONG = 8
#: Real visits at which a code can recur, at least, for its recurrence to be compared.
AT_RISK = 30
#: Visits or patients that a share counts at least.
ENOUGH = 20
REPEATS = 60  # of the bootstrap
ATTACKED = 2000  # patients of each side whose loss an attack reads, at most
MISSING = -1e6  # stands for a missing value among numbers
#: Columns that say an outcome, with the values that mean yes; the first that is there counts. The
#: disposition is that of Diabetes130 (Strack et al. 2014, BioMed Research International 781670).
OUTCOMES = {
    "readmission": (("readmitted", ("<30",)),),
    "death": (("died", ("yes",)), ("discharge_disposition_id", ("11", "19", "20", "21"))),
}
SOON = 30  # days within which a patient is readmitted

SDMETRICS = "as Column Shapes and Column Pair Trends of SDMetrics"
ESTEBAN = "Esteban, Hyland & Rätsch (2017), arXiv:1706.02633"
#: The scores of whole patients.
WHOLE = Registry(("whole",))
#: The reference points: what stands in for the synthetic set.
REFERENCES = {
    "real": "training patients that were set aside: the floor, what fresh real patients score",
    "independent": "the same patients, every column and every code of a visit shuffled on its own",
    "shuffled": "the same patients, real visits permuted among the patients",
    "copy": "training patients copied verbatim",
    "resampled": "training patients drawn with replacement",
}

_register = partial(WHOLE.register, family="whole")


# Columns ------------------------------------------------------------------------------------------


def _columns(pair: Pair) -> tuple[Patients, Patients]:
    if not (pair.real.columns.columns or pair.real.visit_columns.columns):
        raise Undefined("there is no column")
    return pair.real, pair.synthetic


@_register(
    _columns,
    step="columns",
    category_tv=Metric("Categories, total variation", 0, 1, "lower", 0, SDMETRICS, marginal=True),
    number_ks=Metric("Numbers, KS", 0, 1, "lower", 0, SDMETRICS, marginal=True),
    worst_column=Metric("The column farthest off", 0, 1, "lower", 0, SDMETRICS, marginal=True),
)
def marginals(real: Patients, synthetic: Patients) -> dict[str, float]:
    """How far each column's distribution is off.

    Of a category or an ordered column the total variation distance, of a number the
    Kolmogorov-Smirnov statistic, both in [0, 1], 0 is equal. A missing value is a value.

    Returns:
        dict with:

        - category_tv, number_ks: the means over columns of the kind; NaN if there is none
        - worst_column: the largest of all
    """
    apart = columns_apart(real, synthetic)
    categories, numbers = (apart[apart["number"] == kind]["apart"] for kind in (False, True))
    found = {"category_tv": categories.mean(), "number_ks": numbers.mean()}
    return {name: float(value) for name, value in found.items()} | {
        "worst_column": float(apart["apart"].max())
    }


def columns_apart(real: Patients, synthetic: Patients) -> pd.DataFrame:
    """A row a column: its name ``column``, whether it is a ``number``, and how far ``apart``."""
    rows = []
    for per in ("columns", "visit_columns"):
        other = getattr(synthetic, per)
        for column, values in getattr(real, per):
            number, made = column.kind == "number", other.of(column.name)
            distance = _ks if number else partial(_variation, len(column.levels))
            rows.append({"column": column.name, "number": number, "apart": distance(values, made)})
    return pd.DataFrame(rows, columns=["column", "number", "apart"])


def _ks(one: np.ndarray, other: np.ndarray) -> float:
    """Largest difference of the distribution functions, missing values as the largest; or NaN."""
    if not (len(one) and len(other)):
        return math.nan
    sides = [np.sort(np.nan_to_num(side.astype(float), nan=np.inf)) for side in (one, other)]
    at = np.concatenate(sides)
    left, right = (np.searchsorted(side, at, side="right") / len(side) for side in sides)
    return float(np.abs(left - right).max())


def _variation(levels: int, one: np.ndarray, other: np.ndarray) -> float:
    sides = (np.bincount(side + 1, minlength=levels + 1) / len(side) for side in (one, other))
    return float(np.abs(np.subtract(*sides)).sum() / 2)


# Facts --------------------------------------------------------------------------------------------


class Facts(NamedTuple):
    """Facts of visits as zeros and ones, (n_visits, n_facts); ``of``: the column of each fact.

    The first ``columns`` are columns, the others codes.
    """

    real: sparse.csr_array
    synthetic: sparse.csr_array
    of: np.ndarray
    columns: int


def facts(pair: Pair) -> Facts:
    """Columns of patients and visits, and the :data:`TOP` codes, of every visit."""
    chosen = frequent(pair.real)
    sides = [_places(side, pair.real, chosen) for side in (pair.real, pair.synthetic)]
    sizes = np.maximum(*(places.max(axis=0, initial=0) + 1 for places in sides))
    starts = np.cumsum(sizes) - sizes
    rows = [_one_hot(places + starts, int(sizes.sum())) for places in sides]
    of = np.repeat(np.arange(len(sizes)), sizes)
    return Facts(rows[0], rows[1], of, len(sizes) - len(chosen))


def frequent(patients: Patients, top: int = TOP) -> np.ndarray:
    """Places of the codes that most visits have."""
    often = np.asarray(patients.presence().sum(axis=0)).ravel()
    return np.sort(np.argsort(-often, kind="stable")[:top])


def _places(patients: Patients, real: Patients, codes: np.ndarray) -> np.ndarray:
    """The value of each column, and of each code 0 or 1, (n_visits, n), numbered from 0."""
    own = [_cut(*each) for each in zip(patients.columns, real.columns, strict=True)]
    every = [_cut(*each) for each in zip(patients.visit_columns, real.visit_columns, strict=True)]
    columns = [values[patients.owner] for values in own] + every
    presence = patients.presence()[:, codes].toarray().astype(int)
    return np.column_stack([*columns, presence]) if columns else presence


def _cut(mine: tuple[Column, np.ndarray], real: tuple[Column, np.ndarray]) -> np.ndarray:
    """Values of a column from 1, numbers by the deciles of the real ones; 0 for missing."""
    (column, values), known = mine, real[1]
    if column.kind != "number":
        return values + 1
    edges = np.unique(np.quantile(known[~np.isnan(known)], np.arange(1, 10) / 10, method="lower"))
    return np.where(np.isnan(values), 0, 1 + np.searchsorted(edges, values, side="left"))


def _one_hot(places: np.ndarray, width: int) -> sparse.csr_array:
    rows, columns = places.shape
    ones = np.ones(rows * columns, dtype=np.float32)
    return sparse.csr_array((ones, places.ravel(), np.arange(rows + 1) * columns), (rows, width))


@_register(
    lambda pair: pair.once(facts),
    step="pairs",
    interval=False,
    pair_variation=Metric(
        "Pairs of columns, and of columns with codes, total variation", 0, 1, "lower", 0, SDMETRICS
    ),
)
def pair_variation(
    real: sparse.csr_array, synthetic: sparse.csr_array, of: np.ndarray, columns: int
) -> float:
    """Total variation of the joint distribution of two columns, or a column and a code, of a visit.

    The mean over all pairs, [0, 1], 0 is equal; NaN if there is no column.

    Args:
        real, synthetic, of, columns: as :func:`facts` returns them
    """
    apart = _apart(_joint(real, real), _joint(synthetic, synthetic), of)
    pairs = apart[:columns][np.triu_indices(columns, 1, len(apart))]
    return float(pairs.mean()) if len(pairs) else math.nan


def _joint(one: sparse.csr_array, other: sparse.csr_array) -> np.ndarray:
    """Shares of rows that have two facts, (n_facts, n_facts)."""
    return (one.T @ other).toarray() / (one.shape[0] or math.nan)


def _apart(one: np.ndarray, other: np.ndarray, of: np.ndarray) -> np.ndarray:
    """Total variation distances of the joint distributions of columns, (n_columns, n_columns)."""
    first = np.flatnonzero(np.r_[True, np.diff(of) > 0])
    rows = np.add.reduceat(np.abs(one - other), first, axis=0)
    return np.add.reduceat(rows, first, axis=1) / 2


# Time ---------------------------------------------------------------------------------------------


def _days(pair: Pair) -> tuple[np.ndarray, np.ndarray]:
    if DAYS not in pair.real.visit_columns.names:
        raise Undefined(f"there is no column {DAYS}")
    sides = (pair.real, pair.synthetic)
    return tuple(side.visit_columns.of(DAYS)[side.order > 0] for side in sides)


@_register(
    _days, step="time", days_ks=Metric("Days since the visit before, KS", 0, 1, "lower", 0, KS)
)
def days(real: np.ndarray, synthetic: np.ndarray) -> float:
    """Kolmogorov-Smirnov statistic of the days between visits, [0, 1]; NaN if nobody returns."""
    return _ks(real, synthetic)


@_register(
    step="time",
    visits_ks=Metric("Visits per patient, KS", 0, 1, "lower", 0, KS, marginal=True),
    visit_codes_ks=Metric("Codes per visit, KS", 0, 1, "lower", 0, KS),
    overlap_ks=Metric("Codes shared by successive visits, KS", 0, 1, "lower", 0, KS),
)
def sizes(real: Patients, synthetic: Patients) -> dict[str, float]:
    """Kolmogorov-Smirnov statistics: the largest difference of the distribution functions.

    Returns:
        dict of values in [0, 1], 0 is equal:

        - visits_ks: of the number of visits a patient
        - visit_codes_ks: of the number of codes a visit
        - overlap_ks: of the Jaccard index of the codes of two successive visits; NaN if nobody
          returns
    """
    codes = (np.diff(side.counts.indptr) for side in (real, synthetic))
    return {
        "visits_ks": _ks(real.numbers, synthetic.numbers),
        "visit_codes_ks": _ks(*codes),
        "overlap_ks": _ks(overlaps(real), overlaps(synthetic)),
    }


def overlaps(patients: Patients) -> np.ndarray:
    """Shared over all codes of each later visit and the one before, 1 where neither has any."""
    presence, before, later = patients.presence(), patients.previous(), patients.order > 0
    sizes = [np.asarray(rows.sum(axis=1)).ravel() for rows in (presence, before, presence * before)]
    either = sizes[0] + sizes[1] - sizes[2]
    return np.divide(sizes[2], either, out=np.ones(len(either)), where=either > 0)[later]


def _successive(pair: Pair) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Joint shares of facts of a visit and of the next, real and synthetic."""
    found = pair.once(facts)
    joint = []
    for side, rows in ((pair.real, found.real), (pair.synthetic, found.synthetic)):
        later = np.flatnonzero(side.order)
        joint.append(_joint(rows[later - 1], rows[later]))
    return joint[0], joint[1], found.of


@_register(
    _successive,
    step="time",
    interval=False,
    moves_variation=Metric(
        "Columns and codes from visit to visit, total variation", 0, 1, "lower", 0, SDMETRICS
    ),
)
def moves(real: np.ndarray, synthetic: np.ndarray, of: np.ndarray) -> float:
    """Total variation of the joint distribution of a column, or code, at a visit and at the next.

    The mean over columns of visits and codes, [0, 1]; NaN if nobody returns.
    """
    return float(np.diag(_apart(real, synthetic, of)).mean())


def recurrence(patients: Patients) -> pd.DataFrame:
    """How often a code that an earlier visit recorded is recorded again.

    Returns:
        DataFrame, a row a code in the order of the vocabulary:

        - at_risk: visits of patients who had the code at an earlier one
        - again: the share of these that record it again, in [0, 1]; NaN if there are none
    """
    known = patients.earlier() > 0
    at_risk, again = (
        np.asarray(rows.sum(axis=0)).ravel() for rows in (known, known * patients.presence())
    )
    share = np.divide(again, at_risk, out=np.full(len(again), np.nan), where=at_risk > 0)
    return pd.DataFrame({"at_risk": at_risk.astype(int), "again": share})


@_register(
    step="time",
    recurrence_mae=Metric("Recurrence of codes, MAE", 0, 1, "lower", 0, "see recurrence"),
)
def recurrences(real: Patients, synthetic: Patients) -> float:
    """Mean absolute difference of :func:`recurrence`, [0, 1], 0 is equal.

    Over codes that can recur at 30 real visits or more; a code that never recurs among the
    synthetic patients has recurrence 0 there. NaN if there are none.
    """
    one, other = recurrence(real), recurrence(synthetic)
    apart = (one["again"] - other["again"].fillna(0))[one["at_risk"] >= AT_RISK].abs()
    return float(apart.mean()) if len(apart) else math.nan


# Discriminators -----------------------------------------------------------------------------------


def summaries(patients: Patients, codes: np.ndarray) -> np.ndarray:
    """A row a patient, of all that stands in the record, in the order of visits.

    Columns of the patient, of the first and of the last visit, and how often each of the latter
    changed; how often each of ``codes`` was recorded; numbers of visits, of codes, and of codes
    that came again, from any earlier visit and from the one before.
    """
    presence, has = patients.presence(), patients.numbers > 0
    again = presence * (patients.earlier() > 0)
    counted = [patients.counts, again, presence * patients.previous()]
    totals = [patients._belongs() @ np.asarray(rows.sum(axis=1)).ravel() for rows in counted]
    values = _values(patients.visit_columns)
    edges = [np.full((len(patients), values.shape[1]), MISSING) for _ in range(2)]
    for edge, rows in zip(edges, (patients.starts[:-1], patients.starts[1:] - 1), strict=True):
        edge[has] = values[rows[has]]
    often = patients.to_matrix().counts[:, codes].toarray()
    parts = [_values(patients.columns), *edges, patients._belongs() @ _changed(patients, values)]
    return np.column_stack([*parts, often, patients.numbers, *totals])


def _values(columns: Columns) -> np.ndarray:
    """Values as numbers (n_rows, n_columns), missing ones far below all others."""
    found = [np.nan_to_num(values, nan=MISSING) for _, values in columns]
    return np.column_stack(found) if found else np.empty((len(columns), 0))


def _changed(patients: Patients, values: np.ndarray) -> np.ndarray:
    """1 where a visit has another value than the one before, (n_visits, n_columns)."""
    changed = np.zeros(values.shape)
    changed[1:] = values[1:] != values[:-1]
    changed[patients.order == 0] = 0
    return changed


def _trees(seed: int) -> Any:
    return HistGradientBoostingClassifier(
        max_leaf_nodes=15, early_stopping=False, random_state=small_seed(seed)
    )


def _told_apart(
    of: Callable[[Pair], tuple[np.ndarray, np.ndarray]], classifier: Callable[[int], Any]
) -> Callable[[Pair], tuple[np.ndarray, ...]]:
    """How synthetic each row looks to a classifier that has not seen it, fold after fold."""

    def scores(pair: Pair) -> tuple[np.ndarray, ...]:
        real, made = of(pair)

        def learned(rows: np.ndarray, truth: np.ndarray, test: np.ndarray) -> np.ndarray:
            return (
                classifier(pair.seed).fit(rows[~test], truth[~test]).decision_function(rows[test])
            )

        return utility.flat(utility.folds(real, made, learned, seed=pair.seed))

    return scores


def _everyone(pair: Pair) -> tuple[np.ndarray, np.ndarray]:
    codes = frequent(pair.real)
    return summaries(pair.real, codes), summaries(pair.synthetic, codes)


def _some(chosen: Callable[[Patients], np.ndarray]) -> Callable[[Pair], Any]:
    """The rows of patients who are chosen."""

    def of(pair: Pair) -> tuple[np.ndarray, ...]:
        rows, sides = pair.once(_everyone), (pair.real, pair.synthetic)
        return tuple(part[chosen(side)] for part, side in zip(rows, sides, strict=True))

    return of


def _occurrences(patients: Patients) -> np.ndarray:
    return np.asarray(patients.to_matrix().counts.sum(axis=1)).ravel()


def _pairs_of_facts(pair: Pair) -> tuple[np.ndarray, np.ndarray]:
    """The facts of which real patients differ most, at any visit, and the products of all pairs."""
    found = pair.once(facts)
    sides = [
        np.asarray((side._belongs() @ rows > 0).toarray(), dtype=np.float32)
        for side, rows in ((pair.real, found.real), (pair.synthetic, found.synthetic))
    ]
    chosen = np.sort(np.argsort(-sides[0].var(axis=0), kind="stable")[:PAIRED])
    first, second = np.triu_indices(len(chosen), 1)
    few = [side[:, chosen] for side in sides]
    real, made = (np.hstack([side, side[:, first] * side[:, second]]) for side in few)
    return real, made


def _logistic(seed: int) -> Any:
    return make_pipeline(StandardScaler(), LogisticRegression(C=1e-3, max_iter=300))


def _area(name: str, title: str, of: Any, classifier: Callable[[int], Any] = _trees) -> None:
    """Register the AUC of telling apart the rows of ``of(pair)``."""
    metric: Any = {name: Metric(title, 0, 1, "lower", 0.5, LOPEZ)}
    scores = _told_apart(of, classifier)
    _register(scores, step="discriminators", **metric)(utility.discriminator_auc)


_area("discriminator_auc", "Discriminator AUC, all columns and codes", lambda p: p.once(_everyone))
_area(
    "discriminator_auc_long",
    f"Discriminator AUC, more than {LONG} occurrences of codes",
    _some(lambda side: _occurrences(side) > LONG),
)
_area(
    "discriminator_auc_returning",
    "Discriminator AUC, patients with several visits",
    _some(lambda side: side.numbers > 1),
)
_area("pairs_auc", "Discriminator AUC, logistic regression on pairs", _pairs_of_facts, _logistic)


# Rules and outcomes -------------------------------------------------------------------------------


@lru_cache(maxsize=4)
def _kept(train: Patients) -> dict[rules.Of, list[rules.Rule]]:
    """Rules that all training patients keep, and all their visits."""
    return {"patient": rules.find(train, "patient"), "visit": rules.find(train, "visit")}


@_register(
    lambda pair: (pair.training.train, pair.synthetic),
    step="rules",
    interval=False,
    rules_broken=Metric(
        "Patients who break a rule of the training set", 0, 1, "lower", None, "see rules"
    ),
)
def rules_broken(train: Patients, synthetic: Patients) -> float:
    """Share of patients who break a rule that no training patient breaks, by chance or not, [0, 1].

    The rules are those of :mod:`scoehr.data.rules`.
    """
    return float(rules.breakers(_kept(train), synthetic).mean())


def readmitted(patients: Patients) -> np.ndarray:
    """1 where another visit begins within :data:`SOON` days of this one, (n_visits,)."""
    later, soon = np.flatnonzero(patients.order), np.zeros(len(patients.order), dtype=int)
    soon[later - 1] = patients.visit_columns.of(DAYS)[later] <= SOON
    return soon


def outcome(name: str, patients: Patients) -> np.ndarray:
    """1 where a visit has the outcome, (n_visits,); Undefined where nothing says it."""
    if name == "readmission" and DAYS in patients.visit_columns.names:
        return readmitted(patients)
    levels = {column.name: column.levels for column in patients.visit_columns.columns}
    for column, yes in OUTCOMES[name]:
        if column in levels:
            meant = [place for place, level in enumerate(levels[column]) if level in yes]
            return np.isin(patients.visit_columns.of(column), meant).astype(int)
    raise Undefined(f"no column says {name}")


def visit_facts(patients: Patients, codes: np.ndarray) -> np.ndarray:
    """What a prediction is made from, a row a visit: all but columns that say an outcome."""
    says = [column for ways in OUTCOMES.values() for column, _ in ways]
    kept = [name for name in patients.visit_columns.names if name not in says]
    earlier = patients.earlier()[:, codes].toarray()
    own = _values(patients.columns)[patients.owner]
    every = _values(patients.visit_columns.take(kept))
    size = np.diff(patients.counts.indptr)
    presence = patients.presence()[:, codes].toarray()
    return np.column_stack([own, every, patients.order, size, presence, earlier])


def _predicted(name: str) -> Callable[[Pair], tuple[np.ndarray, np.ndarray]]:
    """Scores of real visits with the outcome and without, learned from the synthetic patients."""

    def scores(pair: Pair) -> tuple[np.ndarray, np.ndarray]:
        codes = frequent(pair.real)
        known, truth = (outcome(name, side) for side in (pair.synthetic, pair.real))
        if min(np.bincount(truth, minlength=2)) < ENOUGH or not 0 < known.mean() < 1:
            raise Undefined(f"too few visits have the outcome {name}, or lack it")
        learned = _trees(pair.seed).fit(visit_facts(pair.synthetic, codes), known)
        found = learned.decision_function(visit_facts(pair.real, codes))
        return found[truth == 1], found[truth == 0]

    return scores


for _name, _title in {
    "readmission": f"Readmission within {SOON} days",
    "death": "Death in hospital",
}.items():
    _metric: Any = {
        f"{_name}_auroc": Metric(f"{_title}, AUROC on real visits", 0, 1, "higher", None, ESTEBAN)
    }
    _register(_predicted(_name), step="outcomes", **_metric)(utility.area)


#: All scores that may stand in the results, those of codes first.
SCORES: dict[str, Metric] = {**METRICS, **WHOLE}


# Attacks ------------------------------------------------------------------------------------------


def attack(
    real: Patients, synthetic: Patients, train: Patients, *, model: Any = None, seed: int = 0
) -> dict[str, Any]:
    """The attacks of :func:`scoehr.metrics.attack` on all codes of each patient.

    Where the generator is given, its loss of whole patients is read too: :data:`ATTACKED` of the
    training set and as many others.
    """
    matrices = [side.to_matrix() for side in (real, synthetic, train)]
    found = attacks.attack(*matrices, seed=seed)
    if model is None:
        return found
    n, rng = min(len(real), len(train), ATTACKED), np.random.default_rng([seed, 10])
    sides = tuple(
        -model.losses(side[rng.permutation(len(side))[:n]], seed=seed) for side in (train, real)
    )
    exposed = partial(attacks.exposure, "own_loss")
    errors = evaluation.standard_errors(exposed, sides, seed)
    found["scores"] |= exposed(*sides)
    for key, error in errors.items():
        ends = found["scores"][key] + evaluation.LEVEL * error * np.array([-1, 1])
        found["interval"][key] = np.clip(ends, 0, 1).tolist()
    return found


# The whole set ------------------------------------------------------------------------------------


def evaluate(
    real: Patients,
    synthetic: Patients,
    train: Patients | None = None,
    *,
    reference: Mapping[str, Mapping[str, Any]] | None = None,
    n: int | None = None,
    seed: int = 0,
    progress: evaluation.Progress = None,
) -> dict[str, Any]:
    """Score synthetic whole patients against held-out real ones.

    Args:
        real: patients that the generator has not seen
        synthetic: patients that it made
        train: patients that it was trained on, of whom the reference points are made; if None, half
            of ``real``, and there is no score of rules
        reference: what :func:`references` returned for these sets; if None, computed
        n: patients drawn from each set (default: as many as the smallest has)
        seed: of the draws, the reference points, the classifiers and the bootstrap
        progress: True for a bar on stderr

    Returns:
        dict of plain JSON values, in the form of :func:`scoehr.metrics.evaluate`: whole {metric:
        score}, reference, gap, interval, notes, n, seed, versions; and curves, see :func:`curves`

    Raises:
        InputError: If a set is empty or has fewer than ``n`` patients, or lacks a column of the
            others.
    """
    seed, given = check_seed(seed), train is not None
    if train is None:
        order = np.random.default_rng([seed, 0]).permutation(len(real))
        real, train = real[np.sort(order[len(real) // 2 :])], real[order[: len(real) // 2]]
    real, synthetic, train = aligned(real, synthetic, train)
    n = evaluation.common(n, real, synthetic, train)
    test, made = (evaluation.drawn(side, n, seed) for side in (real, synthetic))
    bar = evaluation.Bar(progress, len(WHOLE.steps), "evaluate whole patients")
    pair = Pair(test, made, Members(train, test) if given else None, seed)
    scores, notes = evaluation.score(WHOLE, pair, bar.of("synthetic"))
    bar.close()
    nested = reference or references(real, train, n, seed, known=given, progress=progress)
    points = {name: evaluation.flat(made, WHOLE) for name, made in nested.items()}
    return {
        **evaluation.by_family(scores),
        "reference": nested,
        "gap": evaluation.gaps_of(WHOLE, scores, points),
        "interval": evaluation.intervals(WHOLE, pair, scores, REPEATS),
        "notes": notes,
        "curves": curves(test, made),
        "n": {"rows": n, "codes": len(real.codes), "admissions": int(test.starts[-1])},
        "seed": seed,
        "versions": evaluation.versions(),
    }


def references(
    real: Patients,
    train: Patients,
    n: int,
    seed: int = 0,
    *,
    known: bool = True,
    progress: evaluation.Progress = None,
) -> dict[str, dict[str, Any]]:
    """Scores of each of :data:`REFERENCES`, {name: {"whole": {metric: score}, "n": patients}}.

    Args:
        known: whether ``train`` is the training set of the synthetic patients
    """
    real, train = aligned(real, train)
    test, found = evaluation.drawn(real, n, seed), {}
    bar = evaluation.Bar(progress, len(REFERENCES) * len(WHOLE.steps), "reference points")
    for name, rows, rest in _reference_sets(train, n, seed):
        point = Pair(test, rows, Members(rest, rows) if known else None, seed)
        scores = evaluation.score(WHOLE, point, bar.of(name)).values
        found[name] = evaluation.by_family(scores) | {"n": n}
    bar.close()
    return found


def _reference_sets(train: Patients, n: int, seed: int) -> Iterator[tuple[str, Patients, Patients]]:
    """Name, ``n`` patients and training set of each of :data:`REFERENCES`."""
    rng = np.random.default_rng([seed, 3])
    order = rng.permutation(len(train))
    fresh, rest = train[order[-n:]], train[order[:-n]]
    rest = rest if len(rest) else train
    yield "real", fresh, rest
    yield "independent", independent_facts(fresh, rng), rest
    yield "shuffled", shuffled_visits(fresh, rng), rest
    yield "copy", train[order[:n]], train
    yield "resampled", train[rng.integers(len(train), size=n)], train


def aligned(*sets: Patients) -> tuple[Patients, ...]:
    """The sets over the codes of all, with the columns of the first, levels in one order.

    InputError for a column that a set lacks, or has as another kind.
    """
    codes = np.unique(np.concatenate([side.codes for side in sets]))
    own, every = (
        _alike([side.columns for side in sets]),
        _alike([side.visit_columns for side in sets]),
    )
    found = zip((side.align(codes) for side in sets), own, every, strict=True)
    return tuple(replace(side, columns=c, visit_columns=v) for side, c, v in found)


def _alike(sets: list[Columns]) -> list[Columns]:
    """Columns of the names and kinds of the first, over the levels of all."""
    columns = []
    for column in sets[0].columns:
        others = [c for side in sets for c in side.columns if c.name == column.name]
        kinds = {other.kind == "number" for other in others}
        if len(others) < len(sets) or len(kinds) > 1:
            raise InputError(
                f"column {column.name}: a set lacks it, or has it as another kind; give the sets "
                "the same columns"
            )
        levels = dict.fromkeys(level for other in others for level in other.levels)
        columns.append(Column(column.name, column.kind, tuple(levels)))
    return [_over(tuple(columns), side) for side in sets]


def _over(columns: tuple[Column, ...], side: Columns) -> Columns:
    values = []
    for column in columns:
        own = next(each for each in side.columns if each.name == column.name)
        place = {level: k for k, level in enumerate(column.levels)}
        moved = np.array([place[level] for level in own.levels] + [-1])
        found = side.of(column.name)
        values.append(found if column.kind == "number" else moved[found])
    return Columns(columns, tuple(values), len(side))


def curves(real: Patients, synthetic: Patients) -> dict[str, Any]:
    """What figures show of the two sets, as plain JSON values.

    No number of it counts fewer than 20 visits.

    Returns:
        dict with:

        - columns: {"column", "apart"}, see :func:`columns_apart`
        - numbers, sizes: {"real", "synthetic": share of patients with 0, 1, … visits, of visits
          with 0, 1, … codes}; what lies beyond the last entry is counted there
        - recurrence: {"code", "title", "real", "synthetic": shares}, see :func:`recurrence`, of the
          codes compared
    """
    sides = {"real": real, "synthetic": synthetic}
    numbers = {name: side.numbers for name, side in sides.items()}
    sizes = {name: np.diff(side.counts.indptr) for name, side in sides.items()}
    again = {name: recurrence(side) for name, side in sides.items()}
    compared = np.flatnonzero(again["real"]["at_risk"] >= AT_RISK)
    codes, titles = (names[compared].tolist() for names in (real.codes, real.titles))
    recurs = {"code": codes, "title": titles}
    for name in sides:
        recurs[name] = again[name]["again"].iloc[compared].fillna(0).tolist()
    columns = columns_apart(real, synthetic)[["column", "apart"]].to_dict("list")
    curves = {"numbers": _shares(numbers), "sizes": _shares(sizes)}
    return curves | {"recurrence": recurs, "columns": columns}


def _shares(values: Mapping[str, np.ndarray]) -> dict[str, list[float]]:
    """The share of each value from 0; the last holds all from there on, 20 of the first set."""
    tail = np.cumsum(np.bincount(values["real"])[::-1])[::-1]
    last = int(np.flatnonzero(tail >= min(ENOUGH, tail[0]))[-1])
    shares = {}
    for name, found in values.items():
        often = np.bincount(np.minimum(found, last), minlength=last + 1)
        shares[name] = (often / len(found)).tolist()
    return shares


def independent_facts(patients: Patients, rng: np.random.Generator) -> Patients:
    """Numbers of visits as they are; each column, and each code over visits, shuffled alone."""
    visits = int(patients.starts[-1])
    counts = independent_columns(patients.counts, rng)
    own, every = (
        Columns(found.columns, tuple(rng.permutation(v) for v in found.values), rows)
        for found, rows in ((patients.columns, len(patients)), (patients.visit_columns, visits))
    )
    return replace(patients, counts=counts, columns=own, visit_columns=every)


def shuffled_visits(patients: Patients, rng: np.random.Generator) -> Patients:
    """Numbers of visits as they are; each visit that of a patient at random.

    Right within visits, chance across.
    """
    order = rng.permutation(int(patients.starts[-1]))
    counts, columns = patients.counts[order], patients.visit_columns[order]
    return replace(patients, counts=counts, visit_columns=columns)
