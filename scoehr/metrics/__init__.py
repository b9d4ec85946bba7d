"""Scores of synthetic patients, each beside five reference points computed on the same data.

:func:`evaluate` makes the whole set. Four families: ``reported`` (the report's formulas, faults included),
``fidelity``, ``utility`` and ``privacy`` (the corrected ones). :data:`METRICS` says what each score is.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import version
from typing import Any, TypeAlias

import numpy as np
from scipy import sparse
from tqdm import tqdm

import scoehr
from scoehr.data.matrix import CodeMatrix
from scoehr.files import InputError, check_seed
from scoehr.metrics.arrays import Undefined, checked, independent_columns
from scoehr.metrics.evaluation import STEPS, Members, Pair, intervals, predictions, score, table
from scoehr.metrics.registry import FAMILIES, METRICS, Metric

__all__ = [
    "FAMILIES",
    "METRICS",
    "REFERENCES",
    "Metric",
    "Undefined",
    "evaluate",
    "gaps",
    "references",
]

#: The reference points: what stands in for the synthetic set.
REFERENCES = {
    "real": "training patients that were set aside: the floor, what fresh real patients score",
    "independent": "the same patients, every code's column shuffled on its own",
    "zero": "an empty table",
    "copy": "training patients copied verbatim",
    "resampled": "training patients drawn with replacement",
}

#: How often fresh real patients are scored again on other patients, where one value would say too little.
REPLICATES = 5

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

    Parameters
    ----------
    real : patients that the generator has not seen
    synthetic : patients that it made; columns are aligned to the codes of all sets
    train : patients that it was trained on; ``n`` of them at random are the members of the membership scores, so that
        copies of others go unseen, as the reference "resampled" shows. If None, half of ``real`` plays the training set
        of the reference points, and the scores that need the true one, of privacy and prediction, are None
    reference : what :func:`references` returned for the same ``real`` and ``train``; if None, computed
    n : rows drawn from each set; by default those of ``reference``, else as many as the smallest set holds
    seed : of the draws, the reference points, the discriminator and the bootstrap
    progress : True for a bar on stderr, or a function called with (steps done, steps in all, name of the step)

    Returns
    -------
    dict of plain JSON values; a score without a value is None and ``notes`` says why
        reported, fidelity, utility, privacy : {metric: score}
        reference : as :func:`references` returns it
        gap : {"family.metric": (score - real) / (independent - real)}, see :func:`gaps`
        interval : {"family.metric": [low, high]} for the scores that are cheap: 95 % over patients (of the predictions:
            over target codes), the score ± 1.96 bootstrap standard errors, cut at the range of the score
        notes : {"family.metric": reason}
        n : {"rows": used of each set, "real", "synthetic", "train": rows given, "codes"}
        seed, versions

    Raises
    ------
    InputError
        If a set is empty or has fewer rows than ``n``, ``reference`` was made with another ``n``, kinds differ, or two
        sets share no code.
    """
    seed = check_seed(seed)
    given = {"real": real, "synthetic": synthetic, **({} if train is None else {"train": train})}
    sets = _aligned(given)
    held_out, training = _roles(sets, seed)
    if reference is not None and n not in (None, reference["real"]["n"]):
        raise InputError(
            f"n is {n} but the references were made with {reference['real']['n']} rows; make them with n"
        )
    n = _common(reference["real"]["n"] if reference else n, held_out, training, sets["synthetic"])
    bar = _Bar(progress, (0 if reference else _reference_steps(train)) + len(STEPS))
    if reference is None:
        reference = _references(held_out, training, n, seed, train is not None, bar)
    members = Members(training, training[_order(training, seed)[:n]]) if train is not None else None
    pair = Pair(
        _drawn(held_out, n, seed), _drawn(sets["synthetic"], n, seed), members, seed, dense=True
    )
    parts = score(pair, bar.of("synthetic"))
    scores, notes = table(parts)
    bar.close()
    return {
        **scores,
        "reference": {name: dict(reference[name]) for name in REFERENCES},
        "gap": gaps(scores, reference),
        "interval": intervals(parts, seed),
        "notes": notes,
        "n": {
            "rows": n,
            **{name: len(matrix) for name, matrix in given.items()},
            "codes": held_out.shape[1],
        },
        "seed": seed,
        "versions": _versions(),
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

    Scores compare only at equal numbers of rows: give ``n`` when a synthetic set will hold fewer rows than ``real`` and
    ``train``. k-means runs on sparse rows here, which is several times quicker (see
    :func:`~scoehr.metrics.clusters.cluster`).

    Returns {name: {family: {metric: score or None}, "n": rows used}} for each name of :data:`REFERENCES`. "real" also
    has "replicates": {"utility.sra": values, …}, the scores of prediction on five other draws of training and of fresh
    patients; without a training set, or with one that is too small, it is empty.
    """
    seed = check_seed(seed)
    sets = _aligned({"real": real, **({} if train is None else {"train": train})})
    held_out, training = _roles(sets, seed)
    bar = _Bar(progress, _reference_steps(train))
    made = _references(
        held_out, training, _common(n, held_out, training), seed, train is not None, bar
    )
    bar.close()
    return made


def gaps(
    scores: Mapping[str, Any], reference: Mapping[str, Mapping[str, Any]]
) -> dict[str, float | None]:
    """Floor-normalised gap of each corrected score: (score - real) / (independent - real).

    0 is as good as fresh real patients, 1 as bad as independent columns, below 0 better than fresh real patients. None
    where the score cannot tell independent columns from whole patients: unless it puts them behind every reference that
    is made of real rows (real, copy, resampled). So a marginal score has none.
    """
    return {key: _gap(key, scores, reference) for key in METRICS if not key.startswith("reported.")}


def _gap(
    key: str, scores: Mapping[str, Any], reference: Mapping[str, Mapping[str, Any]]
) -> float | None:
    family, name = key.split(".")
    value = scores[family].get(name)
    floor, independent, *whole = (
        reference[point][family].get(name) for point in ("real", "independent", "copy", "resampled")
    )
    if value is None or floor is None or independent is None:
        return None
    worse = {
        "lower": lambda x: x - floor,
        "higher": lambda x: floor - x,
        "target": lambda x: abs(x - floor),
    }
    distance = worse[METRICS[key].better]
    noise = max([0.0, *(distance(other) for other in whole if other is not None)])
    return (
        float((value - floor) / (independent - floor))
        if distance(independent) > noise + 1e-9
        else None
    )


# The sets -----------------------------------------------------------------------------------------------------------


def _aligned(sets: dict[str, CodeMatrix]) -> dict[str, Csr]:
    """The counts of each set over one vocabulary: the codes of the real set, then those that only others have."""
    real = sets["real"]
    for name, matrix in sets.items():
        if (matrix.kind == "binary") != (real.kind == "binary"):
            raise InputError(
                f"the real set is {real.kind} and the {name} set {matrix.kind}; use to_binary() on both"
            )
        if len(real.codes) and not np.isin(matrix.codes, real.codes).any():
            raise InputError(
                f"the real and the {name} set share no code; check that both use the same coding"
            )
    codes = list(dict.fromkeys(code for matrix in sets.values() for code in matrix.codes.tolist()))
    same = {
        name: matrix if matrix.codes.tolist() == codes else matrix.align(codes)
        for name, matrix in sets.items()
    }
    return {name: checked(matrix.counts, f"the {name} set") for name, matrix in same.items()}


def _roles(sets: dict[str, Csr], seed: int) -> tuple[Csr, Csr]:
    """Held-out and training rows; without a training set the real rows are cut in halves."""
    real = sets["real"]
    if "train" in sets:
        return real, sets["train"]
    if real.shape[0] < 2:
        raise InputError(
            "one real patient cannot be cut into halves; give more patients or a training set"
        )
    order = np.random.default_rng([seed, 0]).permutation(real.shape[0])
    half = real.shape[0] // 2
    return real[np.sort(order[half:])], real[np.sort(order[:half])]


def _common(n: int | None, *sets: Csr) -> int:
    """The number of rows to draw from each set."""
    smallest = min(rows.shape[0] for rows in sets)
    if n is not None and not 1 <= n <= smallest:
        raise InputError(
            f"n is {n} but the smallest set has {smallest} rows; take n, and references, at most that large"
        )
    return n or smallest


def _drawn(rows: Csr, n: int, seed: int) -> Csr:
    """``n`` rows without replacement, in their order; sets of one size give the rows at the same places."""
    return rows[np.sort(np.random.default_rng([seed, 1]).permutation(rows.shape[0])[:n])]


def _order(train: Csr, seed: int) -> np.ndarray:
    """Order of the training rows: the first n are the members, the last n are set aside as fresh patients."""
    return np.random.default_rng([seed, 2]).permutation(train.shape[0])


def _fresh(train: Csr, n: int, order: np.ndarray) -> tuple[Csr, Members]:
    """The last ``n`` training rows in this order as fresh patients, and the others as their training set."""
    fresh, rest = train[order[-n:]], train[order[:-n]]
    return fresh, Members(rest, rest[:n])


def _reference_sets(train: Csr, n: int, seed: int) -> Iterator[tuple[str, Csr, Members]]:
    """Name, rows and training set of each reference point; fresh patients are no members of theirs."""
    order, rng = _order(train, seed), np.random.default_rng([seed, 3])
    (fresh, others), everyone = _fresh(train, n, order), Members(train, train[order[:n]])
    yield "real", fresh, others
    yield "independent", independent_columns(fresh, rng), others
    yield "zero", Csr(fresh.shape, dtype=fresh.dtype), everyone
    yield "copy", everyone.sample, everyone
    yield "resampled", train[rng.integers(train.shape[0], size=n)], everyone


def _references(
    held_out: Csr, train: Csr, n: int, seed: int, trained: bool, bar: _Bar
) -> dict[str, dict[str, Any]]:
    test = _drawn(held_out, n, seed)
    made: dict[str, dict[str, Any]] = {}
    for name, rows, members in _reference_sets(train, n, seed):
        pair = Pair(test, rows, members if trained else None, seed, dense=False)
        made[name] = {**table(score(pair, bar.of(name)))[0], "n": n}
    made["real"]["replicates"] = _replicates(test, train, n, seed, bar) if trained else {}
    return made


def _replicates(test: Csr, train: Csr, n: int, seed: int, bar: _Bar) -> dict[str, list[float]]:
    """Scores of prediction of fresh patients, with other patients as the fresh ones and as the training set."""
    found: dict[str, list[float]] = {}
    for k in range(REPLICATES):
        fresh, members = _fresh(
            train, n, np.random.default_rng([seed, 7, k]).permutation(train.shape[0])
        )
        for name, value in predictions(
            Pair(test, fresh, members, seed, dense=False)
        ).values.items():
            if not isinstance(value, Undefined) and np.isfinite(value):
                found.setdefault(f"utility.{name}", []).append(value)
        bar.of("real")(f"replicate {k + 1}")
    return found


def _reference_steps(train: CodeMatrix | None) -> int:
    return len(REFERENCES) * len(STEPS) + (REPLICATES if train is not None else 0)


# What is told -------------------------------------------------------------------------------------------------------


class _Bar:
    """Steps done: a tqdm bar on stderr, a call of the user's function, or nothing."""

    def __init__(self, progress: Progress, steps: int) -> None:
        self.total, self.done = steps, 0
        self.call = progress if callable(progress) else None
        self.bar = tqdm(
            total=self.total, unit="step", desc="evaluate", disable=progress is not True
        )

    def of(self, name: str) -> Callable[[str], None]:
        """What to call with each step of the set ``name``."""
        return lambda step: self._step(f"{name}: {step}")

    def _step(self, label: str) -> None:
        self.done += 1
        self.bar.set_postfix_str(label, refresh=False)
        self.bar.update()
        if self.call is not None:
            self.call(self.done, self.total, label)

    def close(self) -> None:
        self.bar.close()


def _versions() -> dict[str, str]:
    packages = {name: version(name) for name in ("numpy", "scipy", "scikit-learn", "torch")}
    return {"scoehr": scoehr.__version__, "python": platform.python_version(), **packages}
