"""Whether the published synthetic patients may stand in for real ones, computed on the page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from reproduction.synthesis.experiments import Cohort, Run
from reproduction.tables import marked
from scoehr.data.matrix import CodeMatrix
from scoehr.metrics import METRICS, Undefined
from scoehr.metrics import validity as measured
from scoehr.metrics.arrays import checked
from scoehr.metrics.attacks import RATES
from scoehr.metrics.registry import Members, Pair

FRESH = "fresh real patients"


def sets(runs: Mapping[str, Run], cohort: Cohort) -> dict[str, CodeMatrix]:
    """Fresh real patients, then the synthetic patients of each run: equally many, one vocabulary.

    The fresh patients are the first of the training set, which no score is learned from.
    """
    made = {name: run.synthetic.align(cohort.test.codes) for name, run in runs.items()}
    sizes = [len(cohort.test), len(cohort.train) // 2, *map(len, made.values())]
    first = np.arange(min(sizes))
    return {name: matrix.take(first) for name, matrix in {FRESH: cohort.train, **made}.items()}


def scored(found: Mapping[str, CodeMatrix], cohort: Cohort) -> pd.DataFrame:
    """The scores of validity, a row a score, a column a set of :func:`sets`."""
    n = len(found[FRESH])
    test = checked(cohort.test.take(np.arange(n)).counts)
    train = checked(cohort.train.take(np.arange(n, 2 * n)).counts)
    measures = [one for one in METRICS.measures if next(iter(one.keys.values())) in KEYS]
    columns = {}
    for name, matrix in found.items():
        pair = Pair(test, checked(matrix.counts), Members(train, train))
        values = {key: value for one in measures for key, value in one(pair).items()}
        columns[name] = {METRICS[key].title: _number(values[key]) for key in KEYS}
    return pd.DataFrame(columns)


def against_law(
    found: Mapping[str, CodeMatrix], runs: Mapping[str, Run]
) -> dict[str, dict[str, float]]:
    """What the law of the simulated cohort says of each set, by quantity and set."""
    ids = {name: run.id for name, run in runs.items()}
    made = {
        name: marked(measured.against_law(matrix), ids.get(name, ""))
        for name, matrix in found.items()
    }
    return {title: {name: made[name][key] for name in made} for key, title in LAW.items()}


def coverage(law: Mapping[str, Mapping[str, float]]) -> str:
    """One sentence a set: how often its nominal intervals hold the truth."""
    fresh, *_ = law[LAW["odds_coverage"]].values()
    parts = []
    for name, share in law[LAW["odds_coverage"]].items():
        if name == FRESH:
            continue
        points = 100 * (share - fresh)
        sign = "−" if points < 0 else "+"
        parts.append(f"{name} {share:.1%} ({sign}{abs(points):.1f} points)")
    return (
        f"A nominal 95 % interval holds the true odds ratio for {fresh:.1%} of the pairs among "
        f"fresh real patients; among synthetic ones: {'; '.join(parts)}."
    )


def odds(found: Mapping[str, CodeMatrix], cohort: Cohort) -> dict[str, tuple[np.ndarray, ...]]:
    """Log odds ratios of the registered pairs, of held-out and of each set's patients."""
    n = len(found[FRESH])
    test = cohort.test.take(np.arange(n)).counts
    order = np.argsort(-(test > 0).sum(axis=0), kind="stable")[: measured.FREQUENT]
    together = measured.joint((test[:, order] > 0).toarray().astype(float))
    pairs = measured.registered_pairs(measured.by_chance(together, n))
    real = measured.log_odds(together, n, pairs).value
    made = {
        name: measured.joint((matrix.counts[:, order] > 0).toarray().astype(float))
        for name, matrix in found.items()
    }
    return {name: (real, measured.log_odds(one, n, pairs).value) for name, one in made.items()}


KEYS = [key for key in METRICS if key.startswith("validity.")]
#: What the table against the law shows.
LAW = {
    "odds_coverage": "True odds ratios within 95 % intervals",
    "odds_mae": "Log odds ratios, mean error against the truth",
    "odds_bias": "Log odds ratios, too strong (+) or too weak (−) by",
    "prevalence_coverage": "True prevalences within 95 % intervals",
    "impossible": "Patients whom the law cannot make",
}


def _number(value: Any) -> float:
    return np.nan if isinstance(value, Undefined) else float(value)


def attacked(row: Mapping[str, Any], titles: Mapping[str, str]) -> dict[str, Any]:
    """What each attack finds of a model of ``benchmarks/overfitting.json``, and what it costs."""
    found, shown = row["attacks"], {}
    for name, title in titles.items():
        at = " / ".join(f"{100 * found[f'{name}_{rate}']:.2g}" for rate in RATES)
        shown[title] = f"{found[f'{name}_auc']:.3f}; {at}"
    return shown | {
        "loss of members, of others": f"{row['loss_of_members']:.2f}, {row['loss_of_others']:.2f}",
        "epoch": row["epochs"],
        "discriminator AUC": f"{row['discriminator_auc']:.3f}",
    }
