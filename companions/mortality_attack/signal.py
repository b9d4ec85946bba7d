"""Do synthetic stays carry the signal of the real ones, and the weak points of models?

The stays to learn from are cut in two halves by patient. One half has its model, the *victim*. A
generator sees the other half alone, so that what its stays know of the victim's they know from
other patients. Models trained on that other half itself say what such patients can tell at best:
the floor of every difference.

* :func:`scored`: models trained on each set and tested on the same real stays;
* :func:`attacked`: networks of the halves and of synthetic stays under the ensemble of attacks on
  the same real stays, and how alike the series are that are changed;
* :func:`carried`: how many of the victim's right verdicts turn by changes that were found on
  another network.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import stats

from companions.mortality_attack import evaluate, peers, protocol, susceptibility, train
from companions.mortality_attack.attack import AttackConfig, problems
from companions.mortality_attack.ensemble import EnsembleConfig, Strongest, strongest, within
from companions.mortality_attack.generate import GeneratorConfig, StayDiffusion
from companions.mortality_attack.models import Classifier, ModelConfig
from companions.mortality_attack.protocol import CORRECTED, Prepared, Series
from companions.mortality_attack.train import TrainingConfig
from reproduction.estimates import normal

#: The sets of stays, in the order of tables.
VICTIM, OTHER, SYNTHETIC = "victim", "other", "synthetic"
SETS = {
    VICTIM: "real stays, half of them",
    OTHER: "real stays, the other half",
    "quarter": "real stays, a quarter of the other half",
    SYNTHETIC: "synthetic stays",
    "as many": "synthetic stays, as many as it learnt from",
    "normal": "stays of the normal law",
}
#: Sets whose networks are attacked.
ATTACKED = (VICTIM, OTHER, SYNTHETIC)
MODELS = {"bilstm": "bi-LSTM", "logistic": "logistic regression", "boosting": "boosted trees"}
SCORES = ("auroc", "auprc", "brier")
#: How many times as many synthetic stays as real ones a model may learn from, and the share that
#: thresholds and epochs are chosen by.
TIMES, HELD = 4, 5
#: The learning curve: into how many parts the stays are cut, how many of these teach a model, and
#: the deaths that a part needs.
PARTS, FEWEST = {8: 3, 4: 3, 2: 2, 1: 1}, 2
AVERAGED = "averaged"
#: Cells of the attack that is carried over.
BUDGET = 8
Predictions = dict[str, dict[str, np.ndarray]]
Networks = dict[str, Classifier]


# Sets ---------------------------------------------------------------------------------------------


def halves(data: Prepared, seed: int) -> tuple[Series, Series]:
    """Training and validation stays in two halves, by patient, deaths spread."""
    first = protocol.crossed(data, 2, seed)[0]
    return first.train, first.validation


def sets(
    data: Prepared, config: GeneratorConfig, *, seed: int, progress: bool
) -> tuple[dict[str, Series], list[dict[str, Any]]]:
    """The stays of each set of :data:`SETS`, and the history of the score network."""
    victim, other = halves(data, seed)
    found = {VICTIM: victim, OTHER: other, "quarter": other.take(_some(other, 4, seed))}
    made = StayDiffusion(config).fit(other, data.statistics, seed=seed, progress=progress)
    plain = StayDiffusion(GeneratorConfig(components=0))
    plain.fit(other, data.statistics, seed=seed, progress=progress)
    found[SYNTHETIC] = made.sample(TIMES * len(other), seed=seed)
    found["as many"] = found[SYNTHETIC].take(np.arange(len(other)))
    found["normal"] = plain.sample(TIMES * len(other), seed=seed)
    return found, made.history


def _some(series: Series, parts: int, seed: int) -> np.ndarray:
    """Places of one of so many parts of the stays."""
    return protocol.folds(series, parts, seed)[0][1]


def parted(series: Series, data: Prepared, seed: int) -> Prepared:
    """A set with a fifth of it to choose by, and the test stays of the data."""
    learn, choose = protocol.folds(series, HELD, seed)[0]
    return data._replace(train=series.take(learn), validation=series.take(choose))


# Prediction ---------------------------------------------------------------------------------------


def fit_all(
    found: Mapping[str, Series], data: Prepared, model: ModelConfig, training: TrainingConfig, *,
    seed: int, folder: Path, progress: bool,
) -> tuple[Networks, Predictions]:  # fmt: skip
    """A network of each set, and what every model says of the test stays, {set: {model: (n,)}}."""
    networks, chances = {}, {}
    for number, (name, series) in enumerate(found.items()):
        part = parted(series, data, seed)
        network = Classifier(model, data.statistics, seed + number)
        checkpoint = folder / f"{name.replace(' ', '-')}.safetensors"
        train.train(
            network, part, training, CORRECTED, seed=seed + number, checkpoint=checkpoint,
            name=name, progress=progress,
        )  # fmt: skip
        networks[name] = network
        rest: dict[str, Any] = {
            kind: peers.fit(kind, part, model.features, seed) for kind in ("logistic", "boosting")
        }
        models = {"bilstm": network} | rest
        chances[name] = {key: train.probability(each, data.test) for key, each in models.items()}
    return networks, chances


def scored(chances: Predictions, test: Series, seed: int) -> dict[str, Any]:
    """Scores of each set's models, and less those of the other real half: {set: {model: {score:
    {value, interval, less: {value, interval}}}}}.
    """
    drawn = {
        (name, model): evaluate.drawn(chance, test.died, test.patients, 0.5, seed=seed)
        for name, of_set in chances.items()
        for model, chance in of_set.items()
    }
    table: dict[str, Any] = {name: {} for name in chances}
    for (name, model), mine in drawn.items():
        pairs = list(zip(mine, drawn[OTHER, model], strict=True))
        table[name][model] = {
            key: evaluate.estimate([one[key] for one in mine])
            | {"less": evaluate.estimate([one[key] - other[key] for one, other in pairs])}
            for key in SCORES
        }
    return table


def growing(data: Prepared, seed: int) -> dict[str, Series]:
    """Stays to learn from in ever fewer parts, by patient, deaths spread, by :func:`part_name`; no
    parts with too few deaths.
    """
    whole = protocol.together(data)
    return {
        part_name(parts, k): whole.take(protocol.folds(whole, parts, seed)[k][1])
        for parts, count in PARTS.items()
        for k in range(count)
        if whole.died.sum() >= FEWEST * parts or parts == 1
    }


def part_name(parts: int, k: int) -> str:
    """Name of one of so many parts."""
    return f"{k + 1} of {parts}"


def by_size(chances: Predictions, test: Series, seed: int) -> dict[str, dict[str, Any]]:
    """Scores of models of a part of the stays, mean over the parts, {parts: {model: {score:
    {value, interval}}}}; intervals by bootstrap of test patients and of parts.
    """
    draws = [np.arange(len(test)), *evaluate.resample(test.patients, evaluate.DRAWS, seed)]
    rng = np.random.default_rng([seed, 73])
    table: dict[str, dict[str, Any]] = {}
    for parts, count in PARTS.items():
        if part_name(parts, 0) not in chances:
            continue
        picks = [np.arange(count), *rng.integers(count, size=(len(draws) - 1, count))]
        some = [chances[part_name(parts, k)] for k in range(count)]
        some = [each | {AVERAGED: np.mean(list(each.values()), 0)} for each in some]
        for model in some[0]:
            drawn = [
                [evaluate.scores(some[k][model][rows], test.died[rows], 0.5) for k in pick]
                for rows, pick in zip(draws, picks, strict=True)
            ]
            means = [
                {key: float(np.mean([one[key] for one in draw])) for key in SCORES}
                for draw in drawn
            ]
            table.setdefault(str(parts), {})[model] = evaluate.estimates(means)
    return table


# Weak points --------------------------------------------------------------------------------------


def attacked(
    networks: Networks, series: Series, data: Prepared, base: AttackConfig,
    config: EnsembleConfig, *, seed: int, progress: bool,
) -> dict[str, Strongest]:  # fmt: skip
    """The worst of the ensemble on the networks of :data:`ATTACKED`, on the same real stays."""
    return {
        name: strongest(
            networks[name], series, data.statistics, base, config, seed=seed, progress=progress,
            name=f"attack on {name}",
        )
        for name in ATTACKED
    }  # fmt: skip


def changed(found: Strongest, features: np.ndarray) -> np.ndarray:
    """Whether the smallest change of each turned stay moves a series, bool ``(n, features)``."""
    moved = susceptibility.sizes(found.best[found.success][..., features]) > 0
    return np.asarray(moved.any(1))


def _whole(found: Strongest, count: int, features: np.ndarray) -> np.ndarray:
    """The same of each of ``count`` stays, 0 where no change was found."""
    whole = np.zeros((count, len(features)))
    whole[found.rows[found.success]] = changed(found, features)
    return whole


def alike(
    found: Mapping[str, Strongest], series: Series, features: np.ndarray, seed: int
) -> dict[str, Any]:
    """Rank correlations over series of the shares of stays whose change moves them, of each pair of
    networks, with intervals over patients; and by how much the victim's map is less like the
    synthetic one's than like that of the other half.

    Intervals are of a normal law, since resampling adds noise to both maps.
    """
    maps = {name: _whole(one, len(series), features) for name, one in found.items()}
    pairs = [(VICTIM, OTHER), (VICTIM, SYNTHETIC), (OTHER, SYNTHETIC)]
    everyone = np.arange(len(series))
    draws = evaluate.resample(series.patients, evaluate.DRAWS, seed)
    values = np.array(
        [[_ranked(maps[one], maps[other], rows) for one, other in pairs]
         for rows in [everyone, *draws]]
    )  # fmt: skip
    named = {f"{one}, {other}": normal(values[:, k]) for k, (one, other) in enumerate(pairs)}
    named["less"] = normal(values[:, 1] - values[:, 0])
    return {
        name: {"value": each.value, "interval": [each.low, each.high]}
        for name, each in named.items()
    }


def _ranked(one: np.ndarray, other: np.ndarray, rows: np.ndarray) -> float:
    """Spearman's correlation over series of the shares of stays."""
    shares = np.stack([side[rows].sum(0) for side in (one, other)])
    return float(stats.spearmanr(*shares).statistic) if np.ptp(shares, 1).all() else np.nan


def by_series(found: Mapping[str, Strongest], features: np.ndarray) -> dict[str, np.ndarray]:
    """Share of the turned stays whose series is changed, of each network, ``(features,)``."""
    return {
        name: np.nan_to_num(changed(one, features).mean(0)).astype(np.float32)
        for name, one in found.items()
    }


# Transfer -----------------------------------------------------------------------------------------


def carried(
    networks: Networks, series: Series, data: Prepared, base: AttackConfig, steps: int, seed: int
) -> dict[str, Any]:
    """Share of the victim's right verdicts that turn by changes of :data:`BUDGET` cells, by where
    they were found: on the victim itself, on the network of the other half, on that of synthetic
    stays, and nowhere, as many cells at random.

    A change is the one that the source's margin falls to most, whether or not the source has the
    stay right; so every source is asked about the same stays.
    """
    right = susceptibility.right(networks[VICTIM], series)
    some = series.take(np.flatnonzero(right))
    turned = {}
    for name in ATTACKED:
        change = within(networks[name], some, data.statistics, base, BUDGET, steps)
        turned[name] = susceptibility.turned(networks[VICTIM], some, change)
    turned["random"] = np.mean(_at_random(networks[VICTIM], some, data, base, seed), 0)
    shares = {
        name: susceptibility.share(hit, some.patients, seed=seed) for name, hit in turned.items()
    }
    apart = turned[SYNTHETIC].astype(float) - turned[OTHER]
    less = evaluate.over_patients(np.mean, apart, some.patients, seed=seed)
    return {"shares": shares, "less": less}


def _at_random(
    model: Classifier,
    series: Series,
    data: Prepared,
    base: AttackConfig,
    seed: int,
    draws: int = 10,
) -> list[np.ndarray]:
    """Which verdicts turn when as many measured cells go to a random end of their bounds."""
    rng = np.random.default_rng([seed, 72])
    hits = []
    posed = problems(model, series, data.statistics, base, torch.arange(len(series)))
    bounds = [(problem.low.cpu().numpy(), problem.high.cpu().numpy()) for problem in posed]
    low, high = (np.concatenate(side) for side in zip(*bounds, strict=True))
    for _ in range(draws):
        score = np.where(high > low, rng.random(low.shape), -1.0).reshape(len(low), -1)
        last = np.sort(score, 1)[:, [-BUDGET]]
        where = ((score >= last) & (score >= 0)).reshape(low.shape)
        end = np.where(rng.random(low.shape) < 0.5, low, high)
        hits.append(susceptibility.turned(model, series, where * end))
    return hits
