"""Runs: what determines one, how it is made, and how the pages get it.

The rows stand in ``plan.yaml``. A run's folder holds config.json, metrics.json, history.csv,
draws.csv (bootstrap draws of the main figures, nothing about single patients) and
weights.safetensors. Stages of training that several runs share are kept in ``runs/dualk``.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd
import torch
from safetensors.torch import load_file, save_file

from companions.dualk import (
    baselines,
    bridge,
    cohorts,
    counts,
    embeddings,
    evaluate,
    graph,
    history,
    prepare,
    signal,
    simulate,
    train,
)
from companions.dualk.batches import Feed
from companions.dualk.cohorts import Records, Split
from companions.dualk.embeddings import EmbeddingConfig
from companions.dualk.evaluate import Figures
from companions.dualk.history import HistoryConfig
from companions.dualk.models import DuaLK, ModelConfig, parameter_table
from companions.dualk.protocols import CORRECTED, FIRST_DAY, REPORTED, Protocol, with_flaw
from companions.dualk.signal import SignalConfig
from companions.dualk.train import Learner, TrainingConfig
from reproduction import plan as plans
from reproduction import runs
from reproduction.estimates import Estimate, bootstrap
from reproduction.runs import own_data
from reproduction.runs import run as run
from scoehr.data import reading
from scoehr.data.datasets import Digits
from scoehr.files import ROOT, InputError, check_seed, write_json

Kind = Literal["model", "control", "history", "knowledge", "baselines", "bridge", "signal"]
#: Figures whose bootstrap draws are kept.
KEPT = (
    *("recall@20", "ndcg@20", "auprc", "new.recall@20", "recurring.recall@20", "reported.f1"),
    *(f"reported.recall@{k}" for k in evaluate.KS),
)
#: Fewer test patients than these say nothing about a model.
ENOUGH = 100


@dataclass(frozen=True)
class Scale:
    """Sizes of a profile."""

    simulated: int  # patients of the simulated cohort
    digits: Digits
    embedding: EmbeddingConfig
    model: ModelConfig
    training: TrainingConfig
    baseline_epochs: int
    bridge_codes: int  # most frequent codes that the bridge compares, by so many visits
    bridge_admissions: int
    bridge_epochs: int  # of a generator that is gone; it stands in the ids of published runs


PLAN = plans.Plan(Path(__file__).with_name("plan.yaml"))
TITLES: dict[str, str] = {name: row["title"] for name, row in PLAN.text["experiments"].items()}


def scale(profile: str, dataset: str = "") -> Scale:
    """The sizes of a profile on a data set; InputError for a profile that the plan lacks."""
    text = PLAN.scale(profile)
    text = text | text.get(f"of_{dataset}", {})
    text = {key: text[key] for key in Scale.__dataclass_fields__}
    text["embedding"] = EmbeddingConfig(**text["embedding"])
    text["model"] = ModelConfig(**text["model"])
    text["training"] = TrainingConfig(**text["training"])
    return Scale(**text)


class Run(runs.Run):
    """A finished run of the companion.

    ``history`` has the columns stage, epoch, train_loss, scored_on, loss, f1, recall@k,
    learning_rate and seconds; ``draws`` a column a figure of :data:`KEPT`, those of baselines
    as "copy-forward recall@20".
    """

    def __init__(self, experiment: Experiment):
        super().__init__(experiment.stored)
        self.experiment = experiment

    def value(self, name: str, of: str = "") -> Estimate:
        """A figure of the model, or of a baseline, with its interval."""
        found = (self.metrics["baselines"][of] if of else self.metrics["scores"])[name]
        return Estimate.read(found)

    def difference(self, other: Run, name: str, *, mine: str = "", theirs: str = "") -> Estimate:
        """This run's figure less another's, over the same draws of the same test patients.

        ``mine`` and ``theirs`` name baselines in place of the models.
        """
        apart = self.draws[f"{mine} {name}".strip()] - other.draws[f"{theirs} {name}".strip()]
        return bootstrap(self.value(name, mine).value - other.value(name, theirs).value, apart)

    def tensors(self) -> dict[str, torch.Tensor]:
        """The weights."""
        return load_file(self.stored.model / "weights.safetensors")


@dataclass(frozen=True, kw_only=True)
class Experiment(runs.Experiment[Run]):
    """Everything that determines a run."""

    kind: Kind = "model"
    protocol: Protocol = field(default_factory=Protocol)
    copies: bool = False
    laboratory: bool = False  # whether it means nothing without a table of laboratory results
    verbose: bool = False  # print a line an epoch

    study: ClassVar[str] = "dualk"
    prefix: ClassVar[str] = "dualk-"
    APART: ClassVar = runs.Experiment.APART | {"laboratory", "verbose"}

    @property
    def result(self) -> Run:
        """The finished run."""
        return Run(self)

    @property
    def scale(self) -> Scale:
        """The sizes of its profile."""
        return scale(self.profile, self.dataset)

    @property
    def settings(self) -> dict[str, Any]:
        """All that decides the result, sizes and data included."""
        found = super().settings | asdict(self.scale) | {"data": self.data}
        if self.kind == "history":
            found["history"] = asdict(self.history)
        with_visits = self.kind in ("signal", "bridge")
        return found | ({"whole": asdict(self.signal)} if with_visits else {})

    @property
    def history(self) -> HistoryConfig:
        """Settings of the network of the history."""
        return HistoryConfig(**PLAN.scale(self.profile).get("history", {}))

    @property
    def signal(self) -> SignalConfig:
        """Settings of the generator of visits."""
        return SignalConfig(**PLAN.scale(self.profile).get("signal", {}))

    @property
    def data(self) -> str:
        """Which data, where they are not an open set as published; they are read for it."""
        if self.source is None:
            return ""
        found = data_of(self)[0]
        known = own_data(self.dataset, train.fingerprint(found)) == ""
        return "" if known else train.contents(*train.everything(found))[:16]

    def fingerprint(self) -> str:
        """Of the data as they are at hand."""
        return train.fingerprint(data_of(self)[0])

    def make(self, folder: Path, *, progress: bool) -> None:
        """Write the files of the run into an empty folder."""
        begin = time.perf_counter()
        files = MAKERS[self.kind](self, progress)
        found, parts = data_of(self)
        sizes = {name: len(part) for name, part in zip(Split._fields, parts, strict=True)}
        sizes |= {"codes": len(found.codes), "targets": found.targets, "items": len(found.items)}
        config = self.facts() | {
            "scale": asdict(self.scale),
            "data": {"fingerprint": self.fingerprint(), **sizes},
            "seconds": time.perf_counter() - begin,
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
        }
        write_json(folder / "config.json", config | files.pop("config", {}))
        for name, content in files.items():
            _write(folder / name, content)


def _write(path: Path, content: Any) -> None:
    if path.suffix == ".json":
        write_json(path, content)
    elif path.suffix == ".csv":
        content.to_csv(path, index=False, float_format="%.6g")
    else:
        save_file({key: value.contiguous() for key, value in content.items()}, path)


# Plan --------------------------------------------------------------------------------------------


def plan(dataset: str, source: str | None, profile: str, seed: int) -> dict[str, Experiment]:
    """Every run of the companion by name, in the order in which they are best made."""
    if dataset not in prepare.DATASETS:
        raise InputError(
            f"data set {dataset!r} is unknown to DuaLK; choose one of {', '.join(prepare.DATASETS)}"
        )
    PLAN.scale(profile)  # refuses one that is unknown
    at = {"dataset": dataset, "source": source, "profile": profile, "seed": check_seed(seed)}
    rows = PLAN.text["experiments"]
    return {name: _row(name, row, at) for name, row in rows.items()}


def _row(name: str, row: Mapping[str, Any], at: Mapping[str, Any]) -> Experiment:
    facts = {key: value for key, value in row.items() if key not in ("protocol", "flaw", "split")}
    protocol = with_flaw(row["flaw"]) if "flaw" in row else PROTOCOLS[row.get("protocol", "")]
    if "split" in row:
        protocol = replace(protocol, split=row["split"])
    seeds = PLAN.seeds(at["profile"], row.get("group", plans.MAIN))
    return Experiment(name=name, protocol=protocol, seeds=seeds, **facts, **at)


#: How rows of one flaw are named; the profile at which simulated patients are made for a book.
FLAW, QUICK = "flaw-", "quick"
#: Data sets that are shown as they are; for others simulated patients are.
KNOWN = ("mimic3", "mimic4", "diabetes130")
PROTOCOLS = {"": CORRECTED, "reported": REPORTED, "first-day": FIRST_DAY}


def planned(dataset: str, source: str | None, profile: str, seed: int) -> Mapping[str, Experiment]:
    """The rows at this profile that mean anything, on these data if the companion knows them.

    The simulated cohort of the book has no laboratory results and few repeated admissions, so it
    and a source of its tables give way to this companion's own simulated patients.
    """
    known = dataset in KNOWN
    rows = plan(dataset if known else "simulated", source if known else None, profile, seed)
    return {name: row for name, row in rows.items() if applies(row)}


def of_book(dataset: str, source: str | None, profile: str, seed: int) -> Mapping[str, Experiment]:
    """The rows that a book shows.

    Those of its data, if the companion knows them, at the largest profile at which all are
    finished; else those of simulated patients: the finished ones of the largest profile that lacks
    at most single flaws, and where there is none those of ``quick`` at most.
    """
    asked = profile if profile in PLAN.profiles else QUICK
    if dataset in KNOWN:
        return plans.whole(PLAN.upward(asked), lambda size: planned(dataset, source, size, seed))
    beyond = PLAN.upward(QUICK)[1:]
    larger = [size for size in PLAN.upward(asked) if size in beyond]
    for size in reversed(larger):
        rows = planned(dataset, source, size, seed)
        finished = {name: row for name, row in rows.items() if row.finished}
        if all(name.startswith(FLAW) for name in rows.keys() - finished.keys()):
            return finished
    return planned(dataset, source, QUICK if asked in larger else asked, seed)


def applies(experiment: Experiment) -> bool:
    """Whether a run means anything on a data set: some need a table of laboratory results."""
    without = experiment.dataset in ("mimic4", "diabetes130") and not _has_labevents(experiment)
    return not (without and experiment.laboratory)


def _has_labevents(experiment: Experiment) -> bool:
    if experiment.dataset == "diabetes130" or experiment.source is None:
        return False
    return reading.look_for(Path(experiment.source), "labevents") is not None


# Data --------------------------------------------------------------------------------------------


@cache
def records(dataset: str, source: str | None, profile: str, seed: int) -> Records:
    """The visits that runs of this profile are made from, kept for the next run."""
    size = scale(profile)
    return prepare.load(dataset, source, digits=size.digits, simulated=size.simulated, seed=seed)


def data_of(experiment: Experiment) -> tuple[Records, Split]:
    """Visits and cohorts of an experiment."""
    found = records(experiment.dataset, experiment.source, experiment.profile, experiment.seed)
    return found, cohorts.split(found, experiment.protocol.split, seed=42 + experiment.seed)


# Making runs -------------------------------------------------------------------------------------


def _store(experiment: Experiment) -> Path:
    return ROOT / "runs" / "dualk" / f"{experiment.dataset}-{experiment.profile}"


def _knowledge(experiment: Experiment, progress: bool) -> dict[str, Any]:
    """HAKE on the knowledge graph, node features, and its ranks beside RotatE's."""
    found, parts = data_of(experiment)
    config = experiment.scale.embedding
    triples = graph.knowledge(found, parts.pretrain)
    scores: dict[str, Any] = {}
    if experiment.protocol.split == "random":
        hake, scores = embeddings.compare(triples, config, seed=experiment.seed, progress=progress)
    else:
        hake, _ = embeddings.train(triples, config, seed=experiment.seed, progress=progress)
    features = embeddings.features(hake, triples, found.codes, experiment.scale.model.features)
    number = np.bincount(triples.triples[:, 1], minlength=len(triples.relations))
    return {
        "metrics.json": {
            "ranking": scores,
            "entities": len(triples.entities),
            "triples": dict(zip(triples.relations.tolist(), number.tolist(), strict=True)),
            "account": counts.account(found, experiment.protocol.split, 42 + experiment.seed),
        },
        "weights.safetensors": {"features": torch.from_numpy(features)},
    }


def features(experiment: Experiment, progress: bool = True) -> np.ndarray:
    """First values of the node table for an experiment's cohorts, (n_codes + 1, width)."""
    name = f"knowledge-{experiment.protocol.split}"
    mine = plan(experiment.dataset, experiment.source, experiment.profile, experiment.seed)[name]
    return run(mine, progress=progress).tensors()["features"].numpy()


def learner(experiment: Experiment, progress: bool = True) -> Learner:
    """What trains the network of an experiment."""
    found, parts = data_of(experiment)
    return Learner(
        found,
        parts,
        features(experiment, progress),
        experiment.protocol,
        replace(experiment.scale.model, copies=experiment.copies),
        experiment.scale.training,
        seed=experiment.seed,
        store=_store(experiment),
        progress=progress,
        verbose=experiment.verbose,
    )


def _model(experiment: Experiment, progress: bool) -> dict[str, Any]:
    """All stages, the figures on the test patients, and the heart-failure task."""
    teacher = learner(experiment, progress)
    begin = time.perf_counter()
    model = teacher.learn()
    seconds = time.perf_counter() - begin
    logits = train.predict(model, teacher.graph, teacher.feed, teacher.parts.test)
    scores = _scored(experiment, teacher.feed, logits)
    main = not experiment.name.startswith(FLAW)
    hearts = _hearts(teacher, experiment.seed) if main else {}
    files = {
        "config": {"parameters": parameter_table(model), "training_seconds": seconds},
        "history.csv": pd.DataFrame(teacher.history),
    }
    files |= scores
    files["metrics.json"]["heart_failure"] = hearts
    return files | ({"weights.safetensors": model.state_dict()} if main else {})


def _scored(
    experiment: Experiment,
    feed: Feed,
    logits: np.ndarray,
    others: Mapping[str, np.ndarray] = MappingProxyType({}),
) -> dict[str, Any]:
    """Figures of a model on the test patients, beside others and those that need no training."""
    found, parts = data_of(experiment)
    plain = {name: made(feed, parts, parts.test) for name, made in baselines.PLAIN.items()}
    others = plain | dict(others)
    judged = judge(found, parts, experiment.protocol, {"": logits} | others, experiment.seed)
    metrics = {
        "scores": evaluate.plain(judged[""].values),
        "baselines": {name: evaluate.plain(judged[name].values) for name in others},
        "patients": len(parts.test),
    }
    return {"metrics.json": metrics, "draws.csv": _draws(judged)}


def _control(experiment: Experiment, progress: bool) -> dict[str, Any]:
    """The same training on shuffled answers, scored on the true ones.

    A model that does no worse with its true answers has learnt nothing from histories.
    """
    found, parts = data_of(experiment)
    dealt = shuffled(found, np.concatenate([parts.train, parts.validation]), experiment.seed)
    teacher = replace(learner(experiment, progress), records=dealt)
    model = teacher.learn()
    feed = Feed(found, labs=teacher.feed.labs, repeated=experiment.protocol.repeated_codes)
    logits = train.predict(model, teacher.graph, feed, parts.test)
    return _scored(experiment, feed, logits) | {"history.csv": pd.DataFrame(teacher.history)}


def shuffled(found: Records, patients: np.ndarray, seed: int) -> Records:
    """Records in which the last visits of these patients, but for dates, have changed hands."""
    last = found.first[patients + 1] - 1
    rows = np.arange(len(found.days))
    rows[last] = np.random.default_rng([seed, 5]).permutation(last)
    return replace(
        found,
        visit_codes=found.visit_codes[rows],
        labs=found.labs[rows],
        first_day=found.first_day[rows],
    )


def _history(experiment: Experiment, progress: bool) -> dict[str, Any]:
    """The network of the history, on the cohorts of the corrected protocol."""
    found, parts = data_of(experiment)
    net, feed, rows = history.learn(
        found, parts, experiment.history,
        seed=experiment.seed, store=_store(experiment), progress=progress,
    )  # fmt: skip
    logits = baselines.logits_of(net, feed, parts.test)
    alone = baselines.logits_of(net.members[1], feed, parts.test)
    number = sum(part.numel() for part in net.parameters())
    return _scored(experiment, feed, logits, {"retain, every visit": alone}) | {
        "config": {"parameters": {"in all": number}, "history": asdict(experiment.history)},
        "history.csv": pd.DataFrame(rows),
    }


def judge(
    found: Records, parts: Split, protocol: Protocol, logits: dict[str, np.ndarray], seed: int
) -> dict[str, Figures]:
    """Figures of several predictors on the same test patients, under the protocol's vocabulary."""
    feed, test = Feed(found), parts.test
    allowed = np.ones(found.targets, dtype=bool)
    if protocol.vocabulary == "training":
        allowed = known_codes(found, parts)
    shared = {
        "truth": feed.answers(test),
        "seen": feed.history(test)[0],
        "frequency": np.asarray(feed.answers(parts.train).sum(axis=0)).ravel(),
        "seed": seed,
    }
    return {
        name: evaluate.figures(np.where(allowed, made, -np.inf), **shared)
        for name, made in logits.items()
    }


def known_codes(found: Records, parts: Split) -> np.ndarray:
    """Target codes that stand at a visit of a pre-training patient, (targets,) bool."""
    rows = graph.visits_of(found, parts.pretrain)
    return np.asarray((found.visit_codes[rows][:, : found.targets] > 0).sum(axis=0)).ravel() > 0


def _draws(judged: dict[str, Figures]) -> pd.DataFrame:
    named = [(name, key) for name in judged for key in KEPT]
    return pd.DataFrame({f"{name} {key}".strip(): judged[name].draws[key] for name, key in named})


def _hearts(teacher: Learner, seed: int) -> dict[str, Any]:
    """Heart failure among all test patients, and among those without it so far."""
    _, logits = teacher.heart_failure()
    test, feed = teacher.parts.test, Feed(teacher.records)
    truth = train.hearts(teacher.records, feed, test)
    columns = cohorts.heart_failure(teacher.records)[: teacher.records.targets]
    before = truth * 0
    if columns.any():
        before = np.asarray(feed.history(test)[0][:, columns].max(axis=1).todense()).ravel()
    fresh = before == 0
    groups = {
        "all": (logits, truth),
        "without earlier": (logits[fresh], truth[fresh]),
        "copy-forward": (before - 0.5 + 1e-3, truth),
    }
    found = {name: evaluate.plain(evaluate.binary(*each, seed)) for name, each in groups.items()}
    sizes = {"all": len(truth), "without earlier": int(fresh.sum()), "positive": int(truth.sum())}
    return {**found, "n": sizes}


def _baselines(experiment: Experiment, progress: bool) -> dict[str, Any]:
    """Every baseline on the corrected cohorts, and on simulated data the oracle."""
    found, parts = data_of(experiment)
    settings = {"epochs": experiment.scale.baseline_epochs, "seed": experiment.seed}
    logits = baselines.all_of(
        found, parts, parts.test, **settings, store=_store(experiment), progress=progress
    )
    if (truth := _oracle(experiment, found, parts)) is not None:
        logits["oracle"] = truth
    judged = judge(found, parts, CORRECTED, logits, experiment.seed)
    return {
        "metrics.json": {
            "baselines": {name: evaluate.plain(figures.values) for name, figures in judged.items()},
            "patients": len(parts.test),
        },
        "draws.csv": _draws(judged),
    }


def _oracle(experiment: Experiment, found: Records, parts: Split) -> np.ndarray | None:
    """Logits of who knows all that is hidden; None but for simulated tables."""
    if experiment.dataset != "simulated":
        return None
    size = experiment.scale.simulated
    place = prepare.tables_of("simulated", experiment.source, size, experiment.seed)
    cohort = simulate.drawn(place)
    if cohort is None:
        return None
    people = found.patients[parts.test] - simulate.FIRST_PATIENT
    chance = simulate.oracle(cohort, people, found.codes[: found.targets])
    return np.log(np.clip(chance, 1e-9, 1) / np.clip(1 - chance, 1e-9, 1)).astype(np.float32)


def _bridge(experiment: Experiment, progress: bool) -> dict[str, Any]:
    """Graphs of synthetic and of real visits, and the laboratory stage taught by each."""
    found, parts = data_of(experiment)
    scale = experiment.scale
    how: dict[str, Any] = {"seed": experiment.seed, "progress": progress}
    sets, test = bridge.sets(
        found, parts, experiment.signal, scale.bridge_admissions, scale.bridge_codes,
        folder=_store(experiment), **how,
    )  # fmt: skip
    scores = bridge.compare(sets, test, scale.training, width=scale.model.width, **how)
    sizes = {name: len(each.owner) for name, each in sets.items()}
    return {
        "metrics.json": {
            "scores": scores,
            "visits": sizes | {"test": len(test.owner)},
            "patients": len(np.unique(test.owner)),
        }
    }


def _signal(experiment: Experiment, progress: bool) -> dict[str, Any]:
    """Predictors taught by synthetic visits, beside those taught by real ones."""
    found, parts = data_of(experiment)
    scale = experiment.scale
    how: dict[str, Any] = {"seed": experiment.seed, "progress": progress}
    store = _store(experiment)
    judged: dict[str, dict[str, Figures]] = {}
    sizes = {}
    taught = signal.sets(found, parts, experiment.signal, folder=store, **how)
    for name, visits in taught.items():
        joined, cut = signal.with_test(found, visits, parts.test)
        sizes[name] = {"patients": len(visits), "several": len(cut.train) + len(cut.validation)}
        logits = signal.predictions(
            joined, cut, experiment.signal.retain_epochs, scale.embedding, scale.model,
            scale.training, store=store, **how,
        )  # fmt: skip
        logits |= {"frequency": baselines.frequency(Feed(joined), cut, cut.test)}
        judged[name] = judge(joined, cut, CORRECTED, logits, experiment.seed)
    return {"metrics.json": {"sets": sizes, "patients": len(parts.test), "scores": _beside(judged)}}


#: Figures that are kept of each predictor and set.
OF_SIGNAL = ("recall@20", "new.recall@20", "auprc")


def _beside(judged: Mapping[str, Mapping[str, Figures]]) -> dict[str, Any]:
    """Figures of each set and predictor, and less those taught by real patients:
    {set: {predictor: {figure: …, "less figure": …}}}.
    """
    found: dict[str, Any] = {}
    for name, made in judged.items():
        found[name] = {}
        for predictor, each in made.items():
            real = judged[signal.REAL][predictor]
            values = {key: each.values[key] for key in OF_SIGNAL}
            values |= {f"less {key}": each.difference(real, key) for key in OF_SIGNAL}
            found[name][predictor] = evaluate.plain(values)
    return found


MAKERS: dict[str, Any] = {
    "knowledge": _knowledge,
    "model": _model,
    "control": _control,
    "history": _history,
    "baselines": _baselines,
    "bridge": _bridge,
    "signal": _signal,
}


def network(done: Run) -> tuple[DuaLK, Learner]:
    """The trained network of a run, with the learner that holds its data, graph and feed."""
    teacher = learner(done.experiment, progress=False)
    model = DuaLK(torch.from_numpy(teacher.features), teacher.sizes, teacher.config)
    model.load_state_dict(done.tensors())
    return model.eval(), teacher
