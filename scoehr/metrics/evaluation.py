"""All scores of one synthetic set against the held-out rows, and how far they would move with other patients."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from functools import wraps
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from scipy import sparse

from scoehr.metrics import attributes, fidelity, prediction, privacy, reported, utility
from scoehr.metrics.arrays import Undefined
from scoehr.metrics.clusters import cluster
from scoehr.metrics.neighbours import nearest
from scoehr.metrics.registry import METRICS

REPEATS = 200  # of the bootstrap
LEVEL = 1.96  # standard errors either side: 95 %

Csr: TypeAlias = sparse.csr_array
Value: TypeAlias = float | Undefined
Statistic: TypeAlias = Callable[..., Mapping[str, float]]


class Members(NamedTuple):
    """Who was in the training set of the rows under test."""

    train: Csr  # all of them, for exact matches
    sample: Csr  # at most as many as there are held-out rows, for membership


class Part(NamedTuple):
    """Some scores of one family, and the statistics whose error the bootstrap can tell: (function, sets of rows)."""

    family: str
    values: Mapping[str, Value]
    statistics: tuple[tuple[Statistic, tuple[Any, ...]], ...] = ()


class Pair(NamedTuple):
    """What is scored: equal numbers of held-out and synthetic rows, and the synthetic rows' training set if known."""

    real: Csr
    synthetic: Csr
    members: Members | None
    seed: int
    dense: bool  # k-means on dense rows, as the report does


#: Functions with the sets of rows that they are computed on.
Measured: TypeAlias = tuple[tuple[Statistic, tuple[Any, ...]], ...]
Measure: TypeAlias = Callable[[Pair, Members], Measured]
Step: TypeAlias = Callable[[Pair], Part | Iterator[Part]]


def rows_as_paired(pair: Pair) -> Part:
    """DDM, PCD and cosine share of the report."""
    scores = (reported.ddm, reported.pcd, reported.cosine_share)
    return Part(
        "reported", {score.__name__: _try(score, pair.real, pair.synthetic) for score in scores}
    )


def clusters(pair: Pair) -> Iterator[Part]:
    """Log-cluster as reported, as published and weighted, from one k-means."""
    made = _try(cluster, pair.real, pair.synthetic, dense=pair.dense)
    if isinstance(made, Undefined):
        yield Part("reported", {"log_cluster": made})
        yield Part("fidelity", {"log_cluster": made, "log_cluster_weighted": made})
        return
    yield Part(
        "reported",
        {"log_cluster": _try(reported.log_cluster, pair.real, pair.synthetic, clusters=made)},
    )
    scores = (fidelity.log_cluster, fidelity.log_cluster_weighted)
    yield Part("fidelity", {score.__name__: score(made) for score in scores})


def marginals(pair: Pair) -> Part:
    """Prevalence, mean counts, density, support, codes per patient, empty rows."""
    scores = fidelity.marginal(pair.real, pair.synthetic)
    return Part("fidelity", scores, ((_smooth_marginals, (pair.real, pair.synthetic)),))


def _smooth_marginals(real: Csr, synthetic: Csr) -> dict[str, float]:
    """Without the numbers of codes: rows drawn again can only lose a code, so the bootstrap has no error for them."""
    scores = fidelity.marginal(real, synthetic)
    return {
        name: value
        for name, value in scores.items()
        if name not in ("codes_produced", "codes_missing")
    }


def correlations(pair: Pair) -> Part:
    """PCD on all, common and frequent codes, and CMD."""
    return Part("fidelity", fidelity.correlation(pair.real, pair.synthetic))


def discriminator(pair: Pair) -> Part:
    """AUC of telling synthetic from real rows."""
    folds = _try(utility.discriminate, pair.real, pair.synthetic, seed=pair.seed)
    if isinstance(folds, Undefined):
        return Part("utility", {"discriminator_auc": folds})
    sets = tuple(scores for fold in folds for scores in fold)
    return Part("utility", _discriminator(*sets), ((_discriminator, sets),))


def _discriminator(*sets: np.ndarray) -> dict[str, float]:
    """From the scores of real and synthetic rows, fold after fold."""
    folds = [utility.Scored(*sets[first : first + 2]) for first in range(0, len(sets), 2)]
    return {"discriminator_auc": utility.mean_auc(folds)}


def _of_members(
    family: str, *names: str, empty: str = ""
) -> Callable[[Measure], Callable[[Pair], Part]]:
    """Make a step of statistics that need the training set.

    Without it ``names`` are undefined; those whose sets have no rows are so for the reason ``empty``.
    """

    def decorate(measure: Measure) -> Callable[[Pair], Part]:
        @wraps(measure)
        def step(pair: Pair) -> Part:
            made = (
                _try(measure, pair, pair.members)
                if _enough(pair.members)
                else Undefined(_lacking(pair.members))
            )
            if isinstance(made, Undefined):
                return Part(family, dict.fromkeys(names, made))
            filled = tuple(
                (statistic, sets) for statistic, sets in made if all(len(rows) for rows in sets)
            )
            found = {
                name: value
                for statistic, sets in filled
                for name, value in statistic(*sets).items()
            }
            return Part(family, {name: found.get(name, Undefined(empty)) for name in names}, filled)

        return step

    return decorate


def _enough(members: Members | None) -> bool:
    return members is not None and members.sample.shape[0] >= privacy.SMALLEST


def _lacking(members: Members | None) -> str:
    if members is None:
        return "no training set was given"
    return f"fewer than {privacy.SMALLEST} training patients are left when as many as there are rows are set aside"


@_of_members(
    "utility",
    "prediction_auroc_mae",
    "prediction_f1_mae",
    "prediction_correlation",
    "auroc_loss",
    "sra",
)
def predictions(pair: Pair, members: Members) -> Measured:
    """Dimension-wise prediction and ranking agreement; rows of the bootstrap are target codes."""
    table = prediction.dimension_wise(pair.real, pair.synthetic, train=members.sample)
    ranked = prediction.rankings(pair.real, pair.synthetic, train=members.sample, seed=pair.seed)
    scores = table[["auroc_real", "auroc_synthetic", "f1_real", "f1_synthetic"]].to_numpy()
    return (prediction.agreement, (scores,)), (_mean("sra"), (ranked,))


@_of_members(
    "privacy",
    *("membership_auc", "nearer_to_train", "exact_match_rate", "exact_match_rate_holdout"),
    empty="every row is empty",
)
def leaks(pair: Pair, members: Members) -> Measured:
    """Membership AUC, nearest-record preference and exact matches, beside the held-out rows."""
    inside, outside = members.sample, pair.real[: members.sample.shape[0]]
    near, far = nearest(pair.synthetic, inside), nearest(pair.synthetic, outside)
    return (
        (_membership, (near.of_records, far.of_records)),
        (_preference, (np.c_[near.of_synthetic, far.of_synthetic],)),
        (_mean("exact_match_rate"), (privacy.exact_matches(pair.synthetic, members.train),)),
        (_mean("exact_match_rate_holdout"), (privacy.exact_matches(pair.real, members.train),)),
    )


def _membership(inside: np.ndarray, outside: np.ndarray) -> dict[str, float]:
    return {"membership_auc": utility.area(inside, outside)}


def _preference(nearest: np.ndarray) -> dict[str, float]:
    return {"nearer_to_train": privacy.preference(*nearest.T)}


def _mean(name: str) -> Statistic:
    """The mean of the rows, under this name."""
    return lambda rows: {name: float(rows.mean())}


@_of_members(
    "privacy",
    *(
        "near_duplicate_rate",
        "near_duplicate_rate_holdout",
        "dcr",
        "dcr_holdout",
        "nndr",
        "nndr_holdout",
    ),
    *(
        "adversarial_train",
        "adversarial_holdout",
        "adversarial_loss",
        "presence_sensitivity",
        "presence_precision",
    ),
    empty=f"no row has {privacy.FEW} codes",
)
def records_nearby(pair: Pair, members: Members) -> Measured:
    """Near duplicates, closest records, adversarial accuracy and presence disclosure, beside the held-out rows."""
    found = privacy.distances(pair.synthetic, train=members.sample, holdout=pair.real)
    return (
        (_mean("near_duplicate_rate"), (privacy.near_duplicates(pair.synthetic, members.train),)),
        (
            _mean("near_duplicate_rate_holdout"),
            (privacy.near_duplicates(pair.real, members.train),),
        ),
        (privacy.closest_records, (found.synthetic[found.sizes >= privacy.FEW],)),
        (privacy.adversarial_accuracy, (found.synthetic, found.members, found.holdout)),
        (privacy.presence_claims, (found.members, found.holdout)),
    )


@_of_members("privacy", "attribute_f1", "attribute_f1_holdout")
def attribute_inference(pair: Pair, members: Members) -> Measured:
    """F1 of guessing the members' other codes from the synthetic rows, and from as many held-out rows."""
    return tuple(
        (_f1(name), (attributes.attribute_attack(members.sample, rows),))
        for name, rows in {
            "attribute_f1": pair.synthetic,
            "attribute_f1_holdout": pair.real,
        }.items()
    )


def _f1(name: str) -> Statistic:
    return lambda guesses: {name: attributes.attribute_f1(guesses)}


#: The parts in the order in which they are made, with what the progress bar calls them.
STEPS: dict[str, Step] = {
    "scores as reported": rows_as_paired,
    "clusters": clusters,
    "marginals": marginals,
    "correlations": correlations,
    "discriminator": discriminator,
    "prediction": predictions,
    "membership": leaks,
    "records near by": records_nearby,
    "attribute inference": attribute_inference,
}


def score(pair: Pair, tick: Callable[[str], None]) -> list[Part]:
    """All parts; ``tick`` is told the name of each step once it is done."""
    parts: list[Part] = []
    for name, step in STEPS.items():
        made = step(pair)
        parts.extend([made] if isinstance(made, Part) else made)
        tick(name)
    return parts


def table(parts: list[Part]) -> tuple[dict[str, dict[str, float | None]], dict[str, str]]:
    """{family: {metric: score or None}} in the order of :data:`METRICS`, and {"family.metric": why it is None}."""
    found = {
        f"{part.family}.{name}": value for part in parts for name, value in part.values.items()
    }
    scores: dict[str, dict[str, float | None]] = {}
    notes: dict[str, str] = {}
    for key in METRICS:
        family, name = key.split(".")
        value = found[key]
        defined = not isinstance(value, Undefined) and math.isfinite(value)
        scores.setdefault(family, {})[name] = value if defined else None  # type: ignore[assignment]
        if not defined:
            notes[key] = str(value) if isinstance(value, Undefined) else _why(value)
    return scores, notes


def intervals(parts: list[Part], seed: int) -> dict[str, list[float]]:
    """{"family.metric": [low, high]}: score ± 1.96 bootstrap standard errors, cut at the range of the score.

    Rows of each set are drawn anew with replacement. Percentiles would not do: a distance near 0 only grows when its
    rows are resampled, and its score would lie outside.
    """
    made: dict[str, list[float]] = {}
    for part in parts:
        for statistic, sets in part.statistics:
            for name, error in standard_errors(statistic, sets, seed).items():
                key, value = f"{part.family}.{name}", part.values[name]
                if (
                    math.isfinite(error)
                    and not isinstance(value, Undefined)
                    and math.isfinite(value)
                ):
                    low, high = METRICS[key].low, METRICS[key].high
                    made[key] = np.clip(
                        [value - LEVEL * error, value + LEVEL * error], low, high
                    ).tolist()
    return {key: made[key] for key in METRICS if key in made}


def standard_errors(
    statistic: Statistic, sets: tuple[Any, ...], seed: int, repeats: int = REPEATS
) -> dict[str, float]:
    """Bootstrap standard error of each value of ``statistic(*sets)``, the rows of each set resampled on their own."""
    rng = np.random.default_rng([seed, 5])
    draws = []
    for _ in range(repeats):
        again = [rows[rng.integers(rows.shape[0], size=rows.shape[0])] for rows in sets]
        drawn = _try(statistic, *again)
        if not isinstance(drawn, Undefined):
            draws.append(drawn)
    if len(draws) < repeats // 2:
        return {}
    return {name: float(np.std([drawn[name] for drawn in draws], ddof=1)) for name in draws[0]}


def _try(function: Callable[..., Any], *values: Any, **options: Any) -> Any:
    """What the function returns, or the reason why it has no value."""
    try:
        return function(*values, **options)
    except Undefined as reason:
        return reason


def _why(value: float) -> str:
    if value == -math.inf:
        return "equal shares in every cluster: the logarithm is minus infinity"
    return "no value on these data: a set or a group of codes is empty or constant"
