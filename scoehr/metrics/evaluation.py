"""All scores of one synthetic set, beside reference points on the same data, with intervals.

:func:`evaluate` walks the registry of :mod:`scoehr.metrics.registry`; :func:`score`,
:func:`intervals` and :func:`gap` serve any registry, also that of visits.
"""

from __future__ import annotations

import math
import platform
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib.metadata import version
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from scipy import sparse
from tqdm import tqdm

import scoehr
from scoehr.data.matrix import CodeMatrix
from scoehr.files import InputError, check_seed
from scoehr.metrics import (  # noqa: F401
    fidelity,
    prediction,
    privacy,
    reported,
    utility,
    validity,
)
from scoehr.metrics.arrays import Undefined, checked, independent_columns
from scoehr.metrics.registry import METRICS, Measure, Members, Metric, Pair, Registry, Value

#: The reference points: what stands in for the synthetic set.
REFERENCES = {
    "real": "training patients that were set aside: the floor, what fresh real patients score",
    "independent": "the same patients, every code's column shuffled on its own",
    "zero": "an empty table",
    "copy": "training patients copied verbatim",
    "resampled": "training patients drawn with replacement",
}
#: How often fresh real patients are scored again on other patients, where one value is not enough.
REPLICATES = 5
REPEATS = 200  # of the bootstrap
LEVEL = 1.96  # standard errors either side: 95 %

Csr: TypeAlias = sparse.csr_array
Progress: TypeAlias = bool | Callable[[int, int, str], None] | None


def evaluate(
    real: CodeMatrix,
    synthetic: CodeMatrix,
    *,
    train: CodeMatrix | None = None,
    reference: Mapping[str, Mapping[str, Any]] | None = None,
    n: int | None = None,
    seed: int = 0,
    progress: Progress = None,
) -> dict[str, Any]:
    """Score synthetic patients against held-out real ones.

    Args:
        real: patients that the generator has not seen
        synthetic: patients that it made; columns are aligned to the codes of all sets
        train: patients that it was trained on, ``n`` of them the members. If None, half of ``real``
            is the training set of the references, and scores of privacy and prediction are None
        reference: what :func:`references` returned for these sets; if None, computed
        n: rows drawn from each set; by default those of ``reference``, else of the smallest set
        progress: True for a bar on stderr, or a function of (steps done, steps in all, step)

    Returns:
        dict of plain JSON values; a score without a value is None and ``notes`` gives the reason:

        - reported, fidelity, utility, privacy: {metric: score}
        - reference, gap, interval: see :func:`references`, :func:`gaps` and :func:`intervals`
        - notes: {"family.metric": reason}
        - n: {"rows": used of each set, "real", "synthetic", "train": rows given, "codes"} seed,
          versions

    Raises:
        InputError: If a set has fewer rows than ``n``, or kinds, codes or the references do not
            fit.
    """
    seed = check_seed(seed)
    given = {"real": real, "synthetic": synthetic, **({} if train is None else {"train": train})}
    held_out, training, made = _sets(given, seed)
    n = common(_agreed(n, reference), held_out, training, made)
    steps = len(METRICS.steps)
    bar = Bar(progress, steps + (0 if reference else _reference_steps(train)), "evaluate")
    if reference is None:
        reference = _references(held_out, training, n, seed, train is not None, bar)
    members = Members(training, training[_order(training, seed)[:n]]) if train is not None else None
    pair = Pair(drawn(held_out, n, seed), drawn(made, n, seed), members, seed, dense=True)
    values, notes = score(METRICS, pair, bar.of("synthetic"))
    bar.close()
    scores = by_family(values)
    sizes = {name: len(matrix) for name, matrix in given.items()}
    return {
        **scores,
        "reference": {name: dict(reference[name]) for name in REFERENCES},
        "gap": gaps(scores, reference),
        "interval": intervals(METRICS, pair, values),
        "notes": notes,
        "n": {"rows": n, **sizes, "codes": held_out.shape[1]},
        "seed": seed,
        "versions": versions(),
    }


def references(
    real: CodeMatrix,
    *,
    train: CodeMatrix | None,
    n: int | None = None,
    seed: int = 0,
    progress: Progress = None,
) -> dict[str, dict[str, Any]]:
    """The five reference points on these data, to hand to :func:`evaluate` for each synthetic set.

    Scores compare only at equal numbers of rows: give ``n`` when a synthetic set will hold fewer
    rows than ``real`` and ``train``. k-means runs on sparse rows here, which is several times
    quicker (see :func:`~scoehr.metrics.clusters.cluster`).

    Returns:
        {name: {family: {metric: score or None}, "n": rows used}} for each name of
        :data:`REFERENCES`. "real" also has "replicates": {"utility.sra": values, …}, the scores of
        prediction on five other draws of training and of fresh patients; without a training set, or
        with one that is too small, it is empty.
    """
    seed = check_seed(seed)
    given = {"real": real, **({} if train is None else {"train": train})}
    held_out, training, _ = _sets(given, seed)
    bar = Bar(progress, _reference_steps(train), "evaluate")
    n = common(n, held_out, training)
    made = _references(held_out, training, n, seed, train is not None, bar)
    bar.close()
    return made


def merged(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """Results of two registries on the same patients as one, with the numbers of the first."""
    points = one["reference"].keys() | other["reference"].keys()
    parts = ("gap", "interval", "notes")
    return {
        **other,
        **one,
        **{part: {**one[part], **other[part]} for part in parts},
        "reference": {
            name: {**other["reference"].get(name, {}), **one["reference"].get(name, {})}
            for name in sorted(points)
        },
    }


def gaps(
    scores: Mapping[str, Any], reference: Mapping[str, Mapping[str, Any]]
) -> dict[str, float | None]:
    """{"family.metric": floor-normalised :func:`gap`} of each corrected score."""
    points = {point: flat(made) for point, made in reference.items()}
    corrected = [key for key in METRICS if not key.startswith("reported.")]
    return gaps_of(METRICS, flat(scores), points, corrected)


# Any registry -------------------------------------------------------------------------------------


class Scores(NamedTuple):
    """Every score of a registry, in its order, and why some have no value."""

    values: dict[str, float | None]
    notes: dict[str, str]


def score(
    registry: Registry, pair: Pair, tick: Callable[[str], object] = lambda step: None
) -> Scores:
    """All scores of a pair; ``tick`` is called with the name of each step once it is done."""
    found: dict[str, Value] = {}
    for step, measures in registry.steps.items():
        found |= _values(measures, pair)
        tick(step)
    values: dict[str, float | None] = {}
    notes: dict[str, str] = {}
    for key in registry:
        value = found[key]
        values[key] = value if _defined(value) else None  # type: ignore[assignment]
        if not _defined(value):
            notes[key] = str(value) if isinstance(value, Undefined) else _why(value)
    return Scores(values, notes)


def gap(metric: Metric, value: float | None, points: Mapping[str, float | None]) -> float | None:
    """Floor-normalised gap of a score: (score - real) / (independent - real).

    0 is as good as fresh real patients, 1 as bad as independent columns, below 0 better than fresh
    real patients. None where the score cannot tell independent columns from whole patients: unless
    it puts them behind every reference that is made of real rows (real, copy, resampled). So a
    marginal score has none.

    Args:
        points: {name of the reference point: its score}, with "real" and "independent"
    """
    floor, independent = points["real"], points["independent"]
    if metric.marginal or value is None or floor is None or independent is None:
        return None
    whole = [points.get(name) for name in ("copy", "resampled")]
    noise = max([0.0, *(metric.distance(other, floor) for other in whole if other is not None)])
    if metric.distance(independent, floor) <= noise + 1e-9:
        return None
    return float((value - floor) / (independent - floor))


def gaps_of(
    registry: Registry,
    scores: Mapping[str, float | None],
    points: Mapping[str, Mapping[str, float | None]],
    keys: Iterable[str] = (),
) -> dict[str, float | None]:
    """The :func:`gap` of each score, or of those of ``keys``; points: {reference: {key: score}}."""
    found = {}
    for key in keys or registry:
        values = {point: made.get(key) for point, made in points.items()}
        found[key] = gap(registry[key], scores.get(key), values)
    return found


def intervals(
    registry: Registry,
    pair: Pair,
    scores: Mapping[str, float | None],
    repeats: int = REPEATS,
) -> dict[str, list[float]]:
    """{key: [low, high]} of the scores that are cheap: 95 % over patients (of the predictions: over
    target codes), the score ± 1.96 bootstrap standard errors, cut at its range.

    Percentiles would not do: a distance near 0 only grows when its rows are resampled, and its
    score would lie outside.
    """
    errors: dict[str, float] = {}
    for of, measures in _resampled(registry).items():
        try:
            sets = pair.once(of)
        except Undefined:
            continue
        errors |= standard_errors(_together(measures), sets, pair.seed, repeats)
    made = {}
    for key, metric in registry.items():
        value, error = scores[key], errors.get(key, math.nan)
        if value is not None and math.isfinite(error):
            ends = [value - LEVEL * error, value + LEVEL * error]
            made[key] = np.clip(ends, metric.low, metric.high).tolist()
    return made


def standard_errors(
    statistic: Callable[..., Mapping[str, float]],
    sets: tuple[Any, ...],
    seed: int,
    repeats: int = REPEATS,
) -> dict[str, float]:
    """Bootstrap standard error of each value of ``statistic(*sets)``, each set resampled by rows.

    A value that half of the resamples leave undefined has none.
    """
    rng = np.random.default_rng([seed, 5])
    draws: dict[str, list[float]] = {}
    for _ in range(repeats):
        again = [rows[rng.integers(rows.shape[0], size=rows.shape[0])] for rows in sets]
        for name, value in statistic(*again).items():
            draws.setdefault(name, []).append(value)
    enough = {name: found for name, found in draws.items() if len(found) >= repeats // 2}
    return {name: float(np.std(found, ddof=1)) for name, found in enough.items()}


def _values(measures: list[Measure], pair: Pair) -> dict[str, Value]:
    found: dict[str, Value] = {}
    for measure in measures:
        found |= measure(pair)
    return found


def _resampled(registry: Registry) -> dict[Callable[[Pair], tuple[Any, ...]], list[Measure]]:
    """The measures with intervals, by what makes the sets that are resampled."""
    found: dict[Callable[[Pair], tuple[Any, ...]], list[Measure]] = {}
    for measure in registry.measures:
        if measure.interval:
            found.setdefault(measure.of, []).append(measure)
    return found


def _together(measures: list[Measure]) -> Callable[..., dict[str, float]]:
    """The scores of all measures of the same sets, but those undefined."""

    def statistic(*sets: Any) -> dict[str, float]:
        found: dict[str, float] = {}
        for measure in measures:
            try:
                found |= measure.of_sets(*sets)
            except Undefined:
                continue
        return found

    return statistic


def _defined(value: Value) -> bool:
    return not isinstance(value, Undefined) and math.isfinite(value)


def _why(value: float) -> str:
    if value == -math.inf:
        return "equal shares in every cluster: the logarithm is minus infinity"
    return "no value on these data: a set or a group of codes is empty or constant"


# The sets -----------------------------------------------------------------------------------------


def _sets(given: dict[str, CodeMatrix], seed: int) -> tuple[Csr, Csr, Csr]:
    """Held-out, training and synthetic rows (or again the held-out) over one vocabulary.

    Without a training set the real rows are cut in halves.
    """
    sets, _ = aligned(given)
    real = sets["real"]
    made = sets.get("synthetic", real)
    if "train" in sets:
        return real, sets["train"], made
    if real.shape[0] < 2:
        raise InputError(
            "one real patient cannot be cut into halves; give more patients or a training set"
        )
    order, half = np.random.default_rng([seed, 0]).permutation(real.shape[0]), real.shape[0] // 2
    return real[np.sort(order[half:])], real[np.sort(order[:half])], made


def aligned(given: dict[str, CodeMatrix]) -> tuple[dict[str, Csr], list[str]]:
    """The counts of each set over one vocabulary, and its codes: first those of the real set."""
    real = given["real"]
    for name, matrix in given.items():
        if (matrix.kind == "binary") != (real.kind == "binary"):
            raise InputError(
                f"the real set is {real.kind} and the {name} set {matrix.kind}; use to_binary() on "
                "both"
            )
        if len(real.codes) and not np.isin(matrix.codes, real.codes).any():
            raise InputError(
                f"the real and the {name} set share no code; check that both use the same coding"
            )
    codes = list(dict.fromkeys(code for matrix in given.values() for code in matrix.codes.tolist()))
    found = {}
    for name, matrix in given.items():
        same = matrix if matrix.codes.tolist() == codes else matrix.align(codes)
        found[name] = checked(same.counts, f"the {name} set")
    return found, codes


def _agreed(n: int | None, reference: Mapping[str, Mapping[str, Any]] | None) -> int | None:
    """The number of rows asked for, which is that of the references if they are given."""
    if reference is None:
        return n
    if n not in (None, reference["real"]["n"]):
        raise InputError(
            f"n is {n} but the references were made with {reference['real']['n']} rows; make them "
            "with n"
        )
    return reference["real"]["n"]


def common(n: int | None, *sets: Csr) -> int:
    """The number of rows to draw from each set."""
    smallest = min(rows.shape[0] for rows in sets)
    if n is not None and not 1 <= n <= smallest:
        raise InputError(
            f"n is {n} but the smallest set has {smallest} rows; take n, and references, at most "
            "that large"
        )
    return n or smallest


def drawn(rows: Any, n: int, seed: int) -> Any:
    """``n`` rows without replacement, in order; the same places in sets of one size."""
    return rows[np.sort(np.random.default_rng([seed, 1]).permutation(rows.shape[0])[:n])]


def _order(train: Csr, seed: int) -> np.ndarray:
    """Order of training rows: the first n are the members, the last n are set aside as fresh."""
    return np.random.default_rng([seed, 2]).permutation(train.shape[0])


def _fresh(train: Csr, n: int, order: np.ndarray) -> tuple[Csr, Members]:
    """The last ``n`` training rows in this order as fresh patients, the others as training set."""
    fresh, rest = train[order[-n:]], train[order[:-n]]
    return fresh, Members(rest, rest[:n])


def _reference_sets(train: Csr, n: int, seed: int) -> Iterator[tuple[str, Csr, Members]]:
    """Name, rows and training set of each reference point; fresh patients are not in theirs."""
    order, rng = _order(train, seed), np.random.default_rng([seed, 3])
    (fresh, others), everyone = _fresh(train, n, order), Members(train, train[order[:n]])
    yield "real", fresh, others
    yield "independent", independent_columns(fresh, rng), others
    yield "zero", Csr(fresh.shape, dtype=fresh.dtype), everyone
    yield "copy", everyone.sample, everyone
    yield "resampled", train[rng.integers(train.shape[0], size=n)], everyone


def _references(
    held_out: Csr, train: Csr, n: int, seed: int, trained: bool, bar: Bar
) -> dict[str, dict[str, Any]]:
    test = drawn(held_out, n, seed)
    made: dict[str, dict[str, Any]] = {}
    for name, rows, members in _reference_sets(train, n, seed):
        pair = Pair(test, rows, members if trained else None, seed)
        made[name] = {**by_family(score(METRICS, pair, bar.of(name)).values), "n": n}
    made["real"]["replicates"] = _replicates(test, train, n, seed, bar) if trained else {}
    return made


def _replicates(test: Csr, train: Csr, n: int, seed: int, bar: Bar) -> dict[str, list[float]]:
    """Scores of prediction of fresh patients, with others as the fresh ones and training set."""
    found: dict[str, list[float]] = {}
    for k in range(REPLICATES):
        order = np.random.default_rng([seed, 7, k]).permutation(train.shape[0])
        fresh, members = _fresh(train, n, order)
        pair = Pair(test, fresh, members, seed)
        for key, value in _values(METRICS.steps["prediction"], pair).items():
            if _defined(value):
                found.setdefault(key, []).append(value)  # type: ignore[arg-type]
        bar.of("real")(f"replicate {k + 1}")
    return found


def _reference_steps(train: CodeMatrix | None) -> int:
    return len(REFERENCES) * len(METRICS.steps) + (REPLICATES if train is not None else 0)


def by_family(scores: Mapping[str, float | None]) -> dict[str, dict[str, float | None]]:
    """{family: {metric: score}}."""
    nested: dict[str, dict[str, float | None]] = {}
    for key, value in scores.items():
        family, name = key.split(".")
        nested.setdefault(family, {})[name] = value
    return nested


def flat(scores: Mapping[str, Any], registry: Registry = METRICS) -> dict[str, float | None]:
    """{"family.metric": score} of scores by family, without what else stands beside them."""
    families = {name: made for name, made in scores.items() if name in registry.families}
    return {
        f"{name}.{key}": value for name, made in families.items() for key, value in made.items()
    }


# Progress and versions ----------------------------------------------------------------------------


class Bar:
    """Steps done: a tqdm bar on stderr, a call of the user's function, or nothing."""

    def __init__(self, progress: Progress, steps: int, title: str) -> None:
        self.total, self.done = steps, 0
        self.call = progress if callable(progress) else None
        self.bar = tqdm(total=steps, unit="step", desc=title, disable=progress is not True)

    def of(self, name: str) -> Callable[[str], None]:
        """What to call with each step of the set ``name``."""
        return lambda step: self.step(f"{name}: {step}")

    def step(self, label: str) -> None:
        """One more step is done."""
        self.done += 1
        self.bar.set_postfix_str(label, refresh=False)
        self.bar.update()
        if self.call is not None:
            self.call(self.done, self.total, label)

    def close(self) -> None:
        """The end."""
        self.bar.close()


def versions() -> dict[str, str]:
    """Versions of scoehr, Python and the packages that the scores depend on."""
    packages = {name: version(name) for name in ("numpy", "scipy", "scikit-learn", "torch")}
    return {"scoehr": scoehr.__version__, "python": platform.python_version(), **packages}
