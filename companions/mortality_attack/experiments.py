"""What is run: rows of ``plan.yaml``, how each is made, and how the pages get it.

A run's folder holds config.json, metrics.json and, by kind, history.csv, weights with their
settings (one folder a model that is averaged) and maps of susceptibility. A training that was
cut off goes on from its checkpoint.
"""

from __future__ import annotations

import hashlib
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd
import torch
from safetensors.numpy import load_file, save_file
from sklearn.linear_model import LogisticRegression

from companions.mortality_attack import attack as attacks
from companions.mortality_attack import (
    evaluate,
    extract,
    features,
    models,
    peers,
    signal,
    simulate,
    susceptibility,
    train,
)
from companions.mortality_attack.ablation import Ablated, AblationConfig, certified, hidden
from companions.mortality_attack.attack import AttackConfig, Attacked
from companions.mortality_attack.ensemble import EnsembleConfig, Strongest, strongest
from companions.mortality_attack.extract import Stays
from companions.mortality_attack.generate import GeneratorConfig
from companions.mortality_attack.models import Classifier, Committee, ModelConfig
from companions.mortality_attack.protocol import (
    CORRECTED,
    Prepared,
    Protocol,
    Series,
    Statistics,
    apply,
    crossed,
    ladder,
    refuse_leaks,
)
from companions.mortality_attack.train import SparseTraining, TrainingConfig, TuningConfig
from reproduction import plan as plans
from reproduction import runs
from reproduction.runs import own_data
from reproduction.runs import run as run
from scoehr.data import reading
from scoehr.files import ROOT, InputError, check_seed, replacing, write_json

Model = Classifier | peers.Peer
Task = Literal["cohort", "model", "attack", "worst", "signal", "curve"]
#: Random seed of the simulated stays, whatever that of the study.
STAYS_SEED = 0
#: The group of the ladder's rows, and how its rungs are named.
LADDER, RUNG = "ladder", "ladder-{}-{}"


PLAN = plans.Plan(Path(__file__).with_name("plan.yaml"))


class Run(runs.Run):
    """A finished run of the companion.

    ``history`` has a row an epoch and a member; see
    :func:`companions.mortality_attack.train.train`. ``maps`` are arrays of an attack:
    ``<first|best>/<0to1|1to0>/<measure>`` and its histograms.
    """

    def __init__(self, experiment: Experiment):
        super().__init__(experiment.stored)
        self.experiment = experiment

    def load(self) -> tuple[list[Model], Statistics]:
        """The models of a row, those of its parts if it is a blend, and the statistics that
        normalise what they read.
        """
        if not self.experiment.blend:
            return load_models(self.stored.model)
        parts = [part.result.load() for part in map(self.experiment.row, self.experiment.blend)]
        return [model for fitted, _ in parts for model in fitted], parts[0][1]

    def export(self, out: Path) -> None:
        """Copy the run to a new folder, with the models of its parts if it is a blend."""
        with replacing(out) as scratch:
            shutil.copytree(self.stored.model, scratch)
            for part in map(self.experiment.row, self.experiment.blend):
                source = part.stored.model
                for place in sorted(source.glob("model-*")):
                    shutil.copytree(place, scratch / f"{part.name}.{place.name}")
                if (source / TRAINED).exists():
                    shutil.copy(source / TRAINED, scratch / f"{part.name}.{TRAINED}")


@dataclass(frozen=True, kw_only=True)
class Experiment(runs.Experiment[Run]):
    """Everything that determines one run.

    ``peer``, if given, stands in place of ``model`` and ``training``; ``members``: how many models,
    at random seeds one apart, whose probabilities are averaged: where there are several, each
    leaves out another fifth of the training and validation stays to stop by; ``blend``: rows whose
    probabilities are averaged instead, ``calibrated`` on validation stays; ``victims`` are the rows
    an attack is made against, the first, and tried on, the others, with the members of ``ensemble``
    if given; ``ablation``: verdicts are votes over random parts of a stay; ``tuning``: the network
    and its training are found by a search; ``generator``: of synthetic stays; ``stays``: how many
    are simulated; ``attacked``: how many test stays at most.
    """

    task: Task
    outcomes: str | None = None  # where the outcomes of the stays lie on this machine
    data: str = ""  # which stays, where they are not those of an open set as published
    stays: int | None = None
    protocol: Protocol = CORRECTED
    peer: peers.Kind | None = None
    severity: str = ""  # name of a score that stands in place of a model
    model: ModelConfig = field(default_factory=ModelConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    members: int = 1
    blend: tuple[str, ...] = ()
    calibrated: bool = False
    attack: AttackConfig = field(default_factory=AttackConfig)
    ensemble: EnsembleConfig | None = None
    ablation: AblationConfig | None = None
    tuning: TuningConfig | None = None
    generator: GeneratorConfig | None = None
    attacked: int = 0
    victims: tuple[str, ...] = ()

    study: ClassVar[str] = "mortality_attack"
    prefix: ClassVar[str] = "mortality_attack-"

    #: Settings that came later: they stay out of the ids of rows that do not use them.
    LATER: ClassVar[frozenset[str]] = frozenset(
        {"calibrated", "ensemble", "ablation", "tuning", "generator", "severity"}
    )

    #: What ids still call settings that have another name now.
    FORMER: ClassVar[dict[str, str]] = {"learning_rate": "rate", "step_size": "rate"}

    @property
    def settings(self) -> dict[str, Any]:
        found = super().settings
        for part in ("training", "attack"):
            found[part] = {self.FORMER.get(key, key): value for key, value in found[part].items()}
        return {key: value for key, value in found.items() if value or key not in self.LATER}

    @property
    def result(self) -> Run:
        """The finished run."""
        return Run(self)

    @property
    def needs(self) -> tuple[str, ...]:
        """Rows whose models it averages or attacks."""
        return self.blend + self.victims

    def row(self, name: str) -> Experiment:
        """Another row of the same plan."""
        at = (self.dataset, self.profile, self.seed, self.source, self.outcomes)
        return replace(plan(*at)[name], data=self.data)

    def cohort(self) -> Stays:
        """All stays of the data set."""
        return stays(self.dataset, self.source, self.outcomes, self.stays)

    def prepared(self) -> Prepared:
        """What is trained on and scored."""
        at = (self.dataset, self.source, self.outcomes, self.stays)
        return prepared(*at, self.protocol, self.seed)

    def fingerprint(self) -> str:
        """Of the data as they are at hand."""
        return fingerprint(self.cohort())

    def make(self, folder: Path, *, progress: bool) -> None:
        """Write the files of the run into an empty folder."""
        start, processor = time.perf_counter(), time.process_time()
        match self.task:
            case "cohort":
                metrics = cohort(self.cohort())
            case "model":
                metrics = _train(self, folder, progress)
            case "signal":
                metrics = _signal(self, folder, progress)
            case "curve":
                metrics = _curve(self, progress)
            case _:
                metrics = _attack_rows(self, folder, progress)
        metrics["costs"] = {
            "seconds": time.perf_counter() - start,
            "processor_seconds": time.process_time() - processor,
            "threads": torch.get_num_threads(),
            "accelerator": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        }
        config = self.facts() | {"data": {"fingerprint": self.fingerprint()}}
        if "threshold" in metrics:
            config |= {key: metrics[key] for key in ("threshold", "line") if key in metrics}
        write_json(folder / "config.json", config)
        write_json(folder / "metrics.json", metrics)


def load_models(folder: Path) -> tuple[list[Model], Statistics]:
    """All models of a run's folder, one a member.

    Raises:
        InputError: there is none.
    """
    places = sorted(path.parent for path in Path(folder).glob("*/model.json"))
    if not places:
        raise InputError(f"{folder}: holds no trained model; give a folder that `train` wrote")
    found = [models.read(place) for place in places]
    return [model for model, _, _ in found], found[0][1]


# Plan ------------------------------------------------------------------------------------------


def plan(
    dataset: str,
    profile: str = "quick",
    seed: int = 0,
    source: str | None = None,
    outcomes: str | None = None,
) -> dict[str, Experiment]:
    """All rows on a data set at a profile, by name, in an order in which they can be run.

    The data at ``source`` are read, since they are part of every id; without one the published
    stays are meant.
    """
    text, scale = PLAN.text, PLAN.scale(profile)
    base = Experiment(
        name="cohort",
        title="the stays",
        task="cohort",
        dataset=dataset,
        profile=profile,
        seed=check_seed(seed),
        source=source,
        outcomes=outcomes,
        data=_identity(dataset, source, outcomes),
        stays=scale["stays"] if dataset == "simulated" else None,
        seeds=PLAN.seeds(profile, plans.MAIN),
    )
    rows = {"cohort": base} | _ladder(base, text["ladder"], scale)
    rows |= {
        name: _model(replace(base, name=name, task="model"), row, scale)
        for name, row in text["models"].items()
        if "severity" not in row or dataset == "physionet2012"
    }
    tasks: tuple[Task, ...] = ("attack", "worst")
    for task in tasks:
        for name, row in text["attacks"][task].items():
            attacked = _attack(replace(base, task=task), name, row, text["attacks"], scale)
            rows[attacked.name] = attacked
    rows["signal"] = _of_signal(base, text["signal"], rows, text["attacks"], scale)
    like = rows[text["curve"]["network"]]
    curve = replace(base, name="curve", title=text["curve"]["title"], task="curve")
    rows["curve"] = replace(curve, model=like.model, training=like.training)
    return rows


def _identity(dataset: str, source: str | None, outcomes: str | None) -> str:
    """How ids name the stays, see :func:`reproduction.runs.own_data`."""
    return own_data(dataset, fingerprint(stays(dataset, source, outcomes))) if source else ""


def _ladder(
    base: Experiment, text: Mapping[str, Any], scale: Mapping[str, Any]
) -> dict[str, Experiment]:
    """A row a rung, but the last, which scores the model of the one before: ``reported``."""
    base = replace(base, task="model", group=LADDER, seeds=PLAN.seeds(base.profile, LADDER))
    training, rows = TrainingConfig(**text["training"]), {}
    long = replace(training, epochs=text["fixed_epochs"], looks=text["looks"])
    for place, (flaw, protocol) in enumerate(list(ladder().items())[:-1]):
        name = "reported" if protocol.fixed_epochs else RUNG.format(place, flaw)
        row = replace(base, name=name, title=flaw, protocol=protocol)
        row = replace(row, training=long if protocol.fixed_epochs else training)
        flaws = {key: getattr(protocol, key) for key in ("last_step", "double_softmax")}
        model = ModelConfig(**text["model"], filled=protocol.future_values, **flaws)
        rows[name] = _scaled(replace(row, model=model), scale, "ladder")
    return rows


def _model(base: Experiment, row: Mapping[str, Any], scale: Mapping[str, Any]) -> Experiment:
    training = row.get("training", {})
    kind = SparseTraining if "cells" in training else TrainingConfig
    study = replace(
        base,
        title=row["title"],
        peer=row.get("peer"),
        severity=row.get("severity", ""),
        model=ModelConfig(**row.get("model", {})),
        training=kind(**training),
        members=scale["members"] if "peer" in row or row.get("average") else 1,
        blend=tuple(row.get("blend", ())),
        calibrated=row.get("calibrated", False),
        ablation=_ablation(row, scale) if "ablation" in row else None,
        tuning=TuningConfig(**scale["tuning"]) if row.get("tuned") else None,
    )
    return _scaled(study, scale, "others") if training else study


def _ablation(row: Mapping[str, Any], scale: Mapping[str, Any]) -> AblationConfig:
    config = AblationConfig(**row["ablation"])
    return replace(config, draws=2 * (scaled_steps(config.draws, scale) // 2) + 1)


def _scaled(study: Experiment, scale: Mapping[str, Any], group: str) -> Experiment:
    factor = scale["fixed_epochs" if study.protocol.fixed_epochs else "epochs"]
    epochs = max(2, round(study.training.epochs * factor))
    hidden = max(8, 4 * round(study.model.hidden * scale["width"][group] / 4))
    training = replace(study.training, epochs=epochs, looks=min(study.training.looks, epochs))
    return replace(study, model=replace(study.model, hidden=hidden), training=training)


def _attack(
    base: Experiment, name: str, row: Mapping[str, Any], text: Mapping[str, Any],
    scale: Mapping[str, Any],
) -> Experiment:  # fmt: skip
    """An attack of the task of ``base``, tried on the other victims too."""
    first, others = row["victim"], text["transfer"]
    if base.task == "attack":
        others = [other["victim"] for other in text["attack"].values()]
    others = [other for other in others if "reported" not in (first, other) and other != first]
    config = AttackConfig(**text["settings"][base.task] | row.get("settings", {}))
    return replace(
        base,
        name=f"{base.task}-{name}",
        title=row["title"],
        attack=replace(config, steps=scaled_steps(config.steps, scale)),
        attacked=scale["attacked"][base.task],
        ensemble=_ensemble(scale) if base.task == "worst" else None,
        victims=(first, *others),
    )


def _of_signal(
    base: Experiment, row: Mapping[str, Any], rows: Mapping[str, Experiment],
    attack: Mapping[str, Any], scale: Mapping[str, Any],
) -> Experiment:  # fmt: skip
    """Synthetic stays: the network of another row, trained on them, and the attack of the worst
    case.
    """
    like, config = rows[row["network"]], AttackConfig(**attack["settings"]["worst"])
    generator = GeneratorConfig(**row["generator"])
    epochs = max(2, round(generator.epochs * scale["epochs"]))
    return replace(
        base,
        name="signal",
        title=row["title"],
        task="signal",
        model=like.model,
        training=like.training,
        generator=replace(generator, epochs=epochs),
        attack=replace(config, steps=scaled_steps(config.steps, scale)),
        ensemble=_ensemble(scale),
        attacked=scale["attacked"]["signal"],
    )


def _ensemble(scale: Mapping[str, Any]) -> EnsembleConfig:
    hard = EnsembleConfig()
    steps, queries = (scaled_steps(number, scale) for number in (hard.sparse_steps, hard.queries))
    return replace(hard, sparse_steps=steps, queries=queries)


def scaled_steps(number: int, scale: Mapping[str, Any]) -> int:
    """Steps of an attack at the scale of a profile."""
    return max(5, round(number * scale["steps"]))


# Data ---------------------------------------------------------------------------------------------


@lru_cache(maxsize=2)
def stays(
    dataset: str, source: str | None = None, outcomes: str | None = None, number: int | None = None
) -> Stays:
    """The stays of a data set; of ``simulated`` so many."""
    if dataset == "simulated":
        return simulate.simulate(number or 4000, STAYS_SEED).stays
    if source is None:
        raise InputError(f"{dataset} has to be told where its data lie; give --source")
    return extract.load(str(source), outcomes)


@lru_cache(maxsize=2)
def prepared(
    dataset: str,
    source: str | None,
    outcomes: str | None,
    number: int | None,
    protocol: Protocol,
    seed: int,
) -> Prepared:
    """The three parts under a protocol, checked for leaks."""
    data = apply(stays(dataset, source, outcomes, number), protocol, seed)
    refuse_leaks(data, protocol)
    if any(not part.died.any() or part.died.all() for part in (data.train, data.test)):
        raise InputError(
            "the stays are too few to train on and to score: each part needs deaths and survivals"
        )
    return data


# Run -------------------------------------------------------------------------------------------


def fingerprint(data: Stays) -> str:
    """Of the stays, their outcomes and measurements."""
    digest = hashlib.sha256(data.ids.tobytes() + data.died.tobytes())
    for column in data.events.values():
        digest.update(np.ascontiguousarray(column).tobytes())
    return digest.hexdigest()[:16]


def cohort(data: Stays) -> dict[str, Any]:
    """The account, and of each feature how much is measured, with percentiles of its values.

    Shares of stays and of hourly cells; the middle and the 5th and 95th percentile of the values.
    """
    values, mask = data.window()
    rows = []
    for place, feature in enumerate(features.table()):
        found = values[..., place][mask[..., place]]
        low, middle, high = np.percentile(found, [5, 50, 95]) if len(found) else [np.nan] * 3
        facts = {key: getattr(feature, key) for key in ("title", "group", "unit")}
        known = {"low": low, "middle": middle, "high": high}
        there = mask[..., place]
        shares = {"stays": float(there.any(1).mean()), "cells": float(there.mean())}
        rows.append({"feature": feature.name} | facts | shares | known)
    return {
        "account": data.account,
        "stays": len(data),
        "deaths": int(data.died.sum()),
        "features": rows,
        "measured": mask.mean(0).T.round(4),  # (F, 48)
    }


def _train(study: Experiment, folder: Path, progress: bool) -> dict[str, Any]:
    """Fit the models of a row and score them on test stays and as reported."""
    data = study.prepared()
    facts: dict[str, Any] = {"stays": {name: len(getattr(data, name)) for name in PARTS}}
    if study.blend:
        chance, facts["candidates"] = _blended(study, progress)
        if study.calibrated:
            line = evaluate.fit_line(chance["held"], chance["held_died"])
            facts["line"] = line
            chance |= {name: evaluate.on_line(chance[name], line) for name in KEPT[:3]}
    elif study.severity:
        chance = _by_severity(study, data)
    else:
        if study.tuning:
            study, facts["search"] = _tuned(study, data, progress)
        chance = _fit(study, data, folder, facts, progress)
        both = [trace(part) for part in (data.train, data.validation)]
        save_file({"stays": np.unique(np.concatenate(both))}, folder / TRAINED)
    save_file({name: chance[name].astype(np.float32) for name in KEPT}, _predictions(study))
    return facts | _scores(study, data, chance, folder)


def _tuned(study: Experiment, data: Prepared, progress: bool) -> tuple[Experiment, dict[str, Any]]:
    """A row with the network and the training that a search found, and the search."""
    from companions.mortality_attack import tune

    assert study.tuning
    storage = ROOT / "runs" / "stages" / f"{study.id}.log"
    how: dict[str, Any] = {"seed": study.seed, "storage": storage, "progress": progress}
    model, training, found = tune.tuned(data, study.tuning, **how)
    epochs, patience = study.training.epochs, study.training.patience
    training = replace(training, epochs=epochs, patience=patience)
    return replace(study, model=model, training=training), found


def _scores(
    study: Experiment, data: Prepared, chance: dict[str, np.ndarray], folder: Path
) -> dict[str, Any]:
    """Scores of test stays, of those held back to stop by, and of training stays as reported; the
    bootstrap draws of some become a table.
    """
    threshold, seed, test = 0.5, study.seed, data.test
    if not study.protocol.balanced_training:
        threshold = evaluate.best_threshold(chance["held"], chance["held_died"])
    again = evaluate.balanced_draw(data.train.died, np.random.default_rng([seed, 7]))
    judged = {
        "test": (chance["test"], test, threshold),
        "reported": (chance["train"][again], data.train.take(again), 0.5),
    }
    drawn = {
        part: evaluate.drawn(chances, stays.died, stays.patients, limit, seed=seed)
        for part, (chances, stays, limit) in judged.items()
    }
    columns = {
        f"{part}.{score}": [one[score] for one in found[1:]]
        for part, found in drawn.items()
        for score in DRAWN[part]
    }
    pd.DataFrame(columns).to_csv(folder / "draws.csv", index=False, float_format="%.5g")
    return {
        "threshold": threshold,
        "held": evaluate.scores(chance["held"], chance["held_died"], threshold),
        **{part: evaluate.estimates(found) for part, found in drawn.items()},
        "calibration": evaluate.calibration(chance["test"], test.died),
        "subgroups": evaluate.subgroups(chance["test"], test, data.statistics, seed=seed),
    }


#: Scores whose bootstrap draws are kept, by part: of differences between models of the same stays.
DRAWN = {"test": ("auroc", "auprc", "f1", "brier"), "reported": ("auroc", "f1")}
PARTS = ("train", "validation", "test")
#: Predictions kept beside the runs, never in them: of training, test and held-out stays.
KEPT = ("train", "test", "held", "held_died")
#: Parts into which training and validation stays are cut for models that are averaged.
FOLDS = 5
#: Traces of the stays that a row was trained on.
TRAINED = "trained.safetensors"


def trace(series: Series) -> np.ndarray:
    """A 32-bit hash of the measurements of each stay that has any, in no order; of no use to find a
    stay.
    """
    known = series.mask.any((1, 2))
    cells = zip(series.values[known], series.mask[known], strict=True)
    digests = [hashlib.sha256(v.tobytes() + m.tobytes()).digest()[:4] for v, m in cells]
    return np.unique(np.frombuffer(b"".join(digests), np.uint32))


def seen(folder: Path, series: Series) -> int | None:
    """How many of the stays the models in a folder were trained on; None where they do not say."""
    traces = [load_file(path)["stays"] for path in Path(folder).glob(f"*{TRAINED}")]
    return int(np.isin(trace(series), np.concatenate(traces)).sum()) if traces else None


def _predictions(study: Experiment) -> Path:
    """Where a row's predictions of single stays lie: with work in progress."""
    path = ROOT / "runs" / "predictions" / f"{study.id}.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def _blended(
    study: Experiment, progress: bool
) -> tuple[dict[str, np.ndarray], dict[str, dict[str, float]]]:
    """Mean predictions of other rows on the same stays, and how each scores on those held back to
    stop by.

    Predictions of a row made elsewhere are computed from its weights.
    """
    found = {}
    for row in map(study.row, study.blend):
        made, path = run(row, progress=progress), _predictions(row)
        if not path.exists():
            data = row.prepared()
            chance = _predict(made.load()[0], data, _parts(row, data))
            save_file({key: chance[key].astype(np.float32) for key in KEPT}, path)
        found[row.name] = load_file(path)
    mean = {
        name: np.mean([part[name].astype(float) for part in found.values()], axis=0)
        for name in KEPT
    }
    judged = {
        name: evaluate.scores(part["held"].astype(float), part["held_died"], 0.5)
        for name, part in (found | {study.name: mean}).items()
    }
    return mean, judged


def _by_severity(study: Experiment, data: Prepared) -> dict[str, np.ndarray]:
    """Probabilities by a logistic regression on one score of severity, unknown ones at the mean.

    Raises:
        InputError: the outcomes lack the score.
    """
    stays = study.cohort()
    if study.severity not in stays.severity:
        raise InputError(f"the outcomes have no column {study.severity}; give those that have")
    known = dict(zip(stays.ids.tolist(), stays.severity[study.severity].tolist(), strict=True))
    columns = {
        name: np.array([[known[stay]] for stay in getattr(data, name).ids.tolist()])
        for name in PARTS
    }
    middle = np.nanmean(columns["train"])
    columns = {name: np.nan_to_num(column, nan=middle) for name, column in columns.items()}
    fitted = LogisticRegression(C=np.inf).fit(columns["train"], data.train.died)
    chance = {name: fitted.predict_proba(column)[:, 1] for name, column in columns.items()}
    held = {"held": chance.pop("validation"), "held_died": data.validation.died}
    return chance | held


def _parts(study: Experiment, data: Prepared) -> list[Prepared]:
    """What each member is trained on."""
    return crossed(data, FOLDS, study.seed)[: study.members] if study.members > 1 else [data]


def _predict(fitted: list[Model], data: Prepared, parts: list[Prepared]) -> dict[str, np.ndarray]:
    """Mean probabilities of training and test stays; of those left out to stop by, that of the
    model that did.
    """
    chance = {name: ensemble(fitted, getattr(data, name)) for name in ("train", "test")}
    held = [
        train.probability(model, part.validation) for model, part in zip(fitted, parts, strict=True)
    ]
    died = [part.validation.died for part in parts]
    return chance | {"held": np.concatenate(held), "held_died": np.concatenate(died)}


def _fit(
    study: Experiment, data: Prepared, folder: Path, facts: dict[str, Any], progress: bool
) -> dict[str, np.ndarray]:
    """Fit the members, write them, a folder each, and the history; their predictions."""
    parts, fitted, history = _parts(study, data), [], []
    for member, part in enumerate(parts):
        place = folder / f"model-{member}"
        place.mkdir()
        model, rows = _member(study, part, member, place, progress)
        history += [{"member": member, **row} for row in rows]
        fitted.append(model)
    if history:
        pd.DataFrame(history).to_csv(folder / "history.csv", index=False, float_format="%.6g")
    if isinstance(fitted[0], Classifier):
        facts["parameters"] = sum(p.numel() for p in fitted[0].parameters())
    if isinstance(fitted[0], Ablated):
        facts["certified"] = _certified(fitted[0], data.test)
    if study.members > 1:
        chances = [train.probability(model, data.test) for model in fitted]
        single = [evaluate.scores(chance, data.test.died, 0.5) for chance in chances]
        facts["single"] = {name: [found[name] for found in single] for name in signal.SCORES}
    return _predict(fitted, data, parts)


def _certified(model: Ablated, test: Series) -> dict[str, Any]:
    """Share of all stays whose right verdict is certain under so many changed cells, and the middle
    of that number.
    """
    cells = certified(model.judged(test)[0], test.died, model.ablation)
    curve = {
        str(k): susceptibility.share(cells >= k, test.patients, seed=0)
        for k in range(int(max(cells.max(), 0)) + 1)
    }
    return {"curve": curve, "median": float(np.median(cells))}


def _member(
    study: Experiment, data: Prepared, member: int, place: Path, progress: bool
) -> tuple[Model, list[train.Row]]:
    """One model of a row, fitted and written, and the history of its training."""
    seed = study.seed + member
    facts = {"protocol": asdict(study.protocol), "seed": seed}
    if study.peer:
        peer = peers.fit(study.peer, data, study.model.features, seed)
        peer.write(place, facts)
        return peer, []
    model = Classifier(study.model, data.statistics, seed)
    checkpoint = ROOT / "runs" / "stages" / f"{study.id}-{member}.safetensors"
    name = f"{study.name} {member}"
    if study.ablation:
        hid = hidden(data.validation, study.ablation.keep, seed)
        data = data._replace(validation=hid)
    rows = train.train(
        model, data, study.training, study.protocol, seed=seed, checkpoint=checkpoint, name=name,
        progress=progress,
    )  # fmt: skip
    made = model
    if study.ablation:
        made = Ablated(model, study.ablation, seed)
        made.fit_threshold(study.prepared().validation)
    models.write(place, model, data.statistics, facts)
    return made, rows


def ensemble(fitted: Sequence[Model], series: Series) -> np.ndarray:
    """Mean probability of death over the models, ``(n,)``."""
    return np.mean([train.probability(model, series) for model in fitted], axis=0)


# Attacks ---------------------------------------------------------------------------------------

#: Bins of the histograms of changed cells, and of absolute changes.
CELL_BINS, CHANGE_BINS = np.arange(0.5, 101.5), np.linspace(0, 1, 51)
#: Budgets of the curves: cells changed, L1 norm.
BUDGETS: dict[str, list[float]] = {
    "cells": [1, 2, 3, 5, 8, 12, 20, 35, 60, 100],
    "l1": [0.05, 0.1, 0.2, 0.3, 0.5, 0.8, 1.2, 2, 3, 5, 8],
}
DIRECTIONS = {"0to1": 0, "1to0": 1}


def victim(row: Experiment) -> Classifier:
    """What is attacked of a row: the networks of a blend or of an ablation together, else its first
    network.
    """
    fitted = [model for model in row.result.load()[0] if isinstance(model, Classifier)]
    if row.ablation:
        return Ablated(fitted[0], row.ablation, row.seed)
    if row.blend:
        return Committee(fitted, row.result.config["threshold"])
    return fitted[0]


def _attack_rows(study: Experiment, folder: Path, progress: bool) -> dict[str, Any]:
    """Attack the victim's row, and try the changes on the others."""
    for row in map(study.row, study.victims):
        run(row, progress=progress)
        for part in map(row.row, row.blend or (row.name,)):
            runs.with_weights(part, progress=progress)
    first = study.row(study.victims[0])
    data = first.prepared()
    series = data.test.take(np.arange(len(data.test))[: study.attacked])
    loaded = {name: victim(study.row(name)) for name in study.victims}
    model, start = loaded[first.name], time.perf_counter()
    found = _attacked(study, model, series, data, progress)
    seconds = time.perf_counter() - start
    facts = summary(found, series, study.attack.steps, study.seed) | {"attack_seconds": seconds}
    save_file(arrays(found), folder / "maps.safetensors")
    if isinstance(found, Strongest):
        facts["robust"] = susceptibility.robust(found, series, seed=study.seed)
        facts["clinical"] = susceptibility.clinical(found, series, data.statistics)
    measured_only = study.attack.measured_only
    facts["noise"] = susceptibility.noise(
        model, series, data.statistics, found, measured_only=measured_only, seed=study.seed
    )
    facts["transfer"] = susceptibility.transfer({first.name: found}, loaded, series)[first.name]
    return facts


def _attacked(
    study: Experiment, model: Classifier, series: Series, data: Prepared, progress: bool
) -> Attacked:
    """The attack of a row, or the worst of its ensemble."""
    if study.ensemble is None:
        return attacks.attack(
            model, series, data.statistics, study.attack, progress=progress, name=study.name
        )
    return strongest(
        model, series, data.statistics, study.attack, study.ensemble, seed=study.seed,
        progress=progress, name=study.name,
    )  # fmt: skip


def summary(found: Attacked, series: Series, steps: int, seed: int = 0) -> dict[str, Any]:
    """Success and size of an attack, all and by direction, with intervals over patients."""
    patients = series.patients[found.rows]
    picked = {"both": np.ones(len(found), bool)} | {
        name: found.verdict == v for name, v in DIRECTIONS.items()
    }
    table: dict[str, Any] = {"stays": len(series), "attacked": len(found), "steps": steps}
    for name, rows in picked.items():
        success, some = found.success[rows], patients[rows]
        entry: dict[str, Any] = {"success": susceptibility.share(success, some, seed=seed)}
        for which in ("first", "best"):
            sizes = susceptibility.per_example(getattr(found, which)[rows])
            first = getattr(found, f"{which}_step")[rows]
            median: dict[str, Any] = {"seed": seed, "draws": 200}
            entry[which] = {
                "median": {
                    key: evaluate.over_patients(np.median, of[success], some[success], **median)
                    for key, of in sizes.items()
                },
                "curves": {
                    key: susceptibility.curve(sizes[key], success, points).tolist()
                    for key, points in BUDGETS.items()
                },
                "discovery": susceptibility.curve(first, success, range(1, steps + 1))
                .round(4)
                .tolist(),
            }
        table[name] = entry
    return table


def arrays(found: Attacked) -> dict[str, np.ndarray]:
    """Maps and histograms, by which change and direction."""
    kept: dict[str, np.ndarray] = {}
    for which in ("first", "best"):
        for name, verdict in DIRECTIONS.items():
            rows = found.success & (found.verdict == verdict)
            changes = getattr(found, which)[rows]
            prefix = f"{which}/{name}"
            kept |= {
                f"{prefix}/{key}": value for key, value in susceptibility.maps(changes).items()
            }
            sizes = susceptibility.per_example(changes)
            for key, bins in (
                ("cells", CELL_BINS),
                ("mean", CHANGE_BINS),
                ("largest", CHANGE_BINS),
            ):
                kept[f"{prefix}/histogram/{key}"] = np.histogram(
                    np.minimum(sizes[key], bins[-1]), bins
                )[0]
    return {key: np.ascontiguousarray(value, dtype=np.float32) for key, value in kept.items()}


# Synthetic stays -------------------------------------------------------------------------------


def _signal(study: Experiment, folder: Path, progress: bool) -> dict[str, Any]:
    """Models trained on synthetic stays, tested and attacked beside those of real ones."""
    assert study.generator and study.ensemble
    data = study.prepared()
    how: dict[str, Any] = {"seed": study.seed, "progress": progress}
    found, history = signal.sets(data, study.generator, **how)
    pd.DataFrame(history).to_csv(folder / "history.csv", index=False, float_format="%.6g")
    store = ROOT / "runs" / "stages" / study.id
    networks, chances = signal.fit_all(
        found, data, study.model, study.training, **how, folder=store
    )
    series = data.test.take(np.arange(len(data.test))[: study.attacked])
    broken = signal.attacked(networks, series, data, study.attack, study.ensemble, **how)
    read = np.flatnonzero(data.statistics.available)
    carried = signal.carried(
        networks, series, data, study.attack, study.ensemble.sparse_steps, study.seed
    )
    save_file(signal.by_series(broken, read), folder / "maps.safetensors")
    loaded = {name: networks[name] for name in broken}
    return {
        "sets": {name: [len(each), int(each.died.sum())] for name, each in found.items()},
        "test": len(data.test),
        "scores": signal.scored(chances, data.test, study.seed),
        "attacks": {
            name: summary(one, series, study.attack.steps, study.seed)["both"]
            for name, one in broken.items()
        },
        "alike": signal.alike(broken, series, read, study.seed),
        "carried": carried,
        "transfer": susceptibility.transfer(broken, loaded, series),
    }


def _curve(study: Experiment, progress: bool) -> dict[str, Any]:
    """Models of ever more stays, tested on the same ones."""
    data, store = study.prepared(), ROOT / "runs" / "stages" / study.id
    how: dict[str, Any] = {"seed": study.seed, "progress": progress, "folder": store}
    found = signal.growing(data, study.seed)
    _, chances = signal.fit_all(found, data, study.model, study.training, **how)
    return {
        "sizes": {
            str(parts): [len(some), int(some.died.sum())]
            for parts in signal.PARTS
            if (some := found.get(signal.part_name(parts, 0))) is not None
        },
        "scores": signal.by_size(chances, data.test, study.seed),
    }


# What pages show -------------------------------------------------------------------------------


def planned(dataset: str, source: str | None, profile: str, seed: int) -> Mapping[str, Experiment]:
    """The rows at this profile: of a source of ICU stays, of the Challenge 2012, or simulated."""
    if kind := _of_stays(dataset, source):
        return plan(kind, profile, seed, source)
    return plan("physionet2012" if dataset == "physionet2012" else "simulated", profile, seed)


def of_book(
    dataset: str,
    source: str | None,
    profile: str,
    seed: int,
    names: Sequence[str] = ("cohort", "reported", "best-all"),
) -> Mapping[str, Experiment]:
    """The rows that a book shows.

    Those of the given source, if it is one of ICU stays, at its profile or the largest one that
    is finished; else the published ones of the Challenge 2012, if those of ``names`` are among
    them; else simulated stays at the profile.
    """
    sizes = PLAN.profiles
    asked = profile if profile in sizes else sizes[0]
    if kind := _of_stays(dataset, source):
        return plans.whole(PLAN.upward(asked), lambda size: plan(kind, size, seed, source))
    for size in reversed(PLAN.upward("standard")):
        rows = plan("physionet2012", size, 0)
        published = {name: row for name, row in rows.items() if row.finished}
        if published.keys() >= set(names):
            return published
    return plan("simulated", asked, seed)


def _of_stays(dataset: str, source: str | None) -> str | None:
    """The kind of ICU stays at a source of these data, None where there are none."""
    return readable(source) if dataset in ("mimic3", "physionet2012") else None


def readable(source: str | None) -> str | None:
    """The kind of ICU stays that a source holds, None if it holds none that can be read."""
    if source is None:
        return None
    if "://" in source:
        return "mimic3"
    path = Path(source)
    if path.is_dir() and reading.look_for(path, "CHARTEVENTS"):
        return "mimic3"
    files = list(path.iterdir()) if path.is_dir() else [path] if path.is_file() else []
    looks = " ".join(file.name for file in files)
    return "physionet2012" if "set-" in looks.lower() or extract.RECORD.search(looks) else None
