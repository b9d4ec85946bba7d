"""The study of synthetic patients: rows of ``workflow/experiments.yaml``, each run once, then read.

A run is a generator fitted, sampled and scored (:mod:`reproduction.runs`). One that was cut off
goes on from its last checkpoint in ``runs/stages``, where trainings that begin alike share
their checkpoints.
"""

from __future__ import annotations

import hashlib
import platform
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property, lru_cache, partial
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import pandas as pd
import torch

from reproduction import bundles, runs
from reproduction.plan import MAIN, Plan, done, whole
from reproduction.plan import replicates as replicates
from reproduction.runs import own_data, place_name
from reproduction.runs import run as run
from scoehr import generators, metrics
from scoehr.data import datasets
from scoehr.data.datasets import Digits
from scoehr.data.matrix import CodeMatrix, Kind
from scoehr.data.patients import Patients, PatientSplit
from scoehr.data.patients import load as load_patients
from scoehr.files import (
    ROOT,
    InputError,
    check_seed,
    neutral,
    read_json,
    user_path,
    write_json,
)
from scoehr.generators import Generator, ScoEHR, Whole, WholeConfig, cards
from scoehr.memory import peak_memory
from scoehr.metrics import whole as whole_scores
from scoehr.training import Diverged, parameters

#: The plan of the working root, if it has one of its own, else the package's.
OWN = ROOT / "workflow" / "experiments.yaml"
PACKAGED = Path(__file__).resolve().parents[1] / "workflow" / "experiments.yaml"
PLAN = Plan(OWN if OWN.exists() else PACKAGED)
WHOLE = Whole.name  # the preset, and the group, of the generator of whole patients
#: Presets that no study reported: no scale departs from their regime.
OURS = ("thinning", "private", "copula", WHOLE)
#: Settings that decide whether a model is trained and its process solved, as the preset has them.
DECISIVE = (
    *("sampler", "steps", "batch", "epoch_fraction", "autoencoder_epochs", "autoencoder_batch"),
    "discriminator_steps",
)
#: Settings that a profile may scale.
WIDTHS = ("width", "sample_batch")
#: Whole patients of each side that are compared, as a share of those trained on.
COMPARED = 1 / 4
#: Whole validation patients whose loss is written down, at most.
VALIDATED = 1000


# Runs ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Cohort:
    """Three sets of patients with one vocabulary, and the account of how the tables were read."""

    train: CodeMatrix
    validation: CodeMatrix
    test: CodeMatrix
    account: dict[str, Any]
    fingerprint: str


class Run(runs.Run):
    """A finished run of a generator.

    ``history`` has the columns stage, epoch, train_loss, validation_loss, learning_rate and
    seconds; ``metrics`` are the results of :func:`scoehr.metrics.evaluate`, empty for a run
    that diverged.
    """

    @property
    def experiment(self) -> dict[str, Any]:
        """The experiment as plain data: name, title, dataset, profile, patients, seed, …"""
        return self.config["experiment"]

    @cached_property
    def departures(self) -> list[str]:
        """How the run leaves the regime in which its study ran the model; empty for models of ours.

        Widths are free. All that decides whether the model is trained and its process solved
        has to be as reported.
        """
        row = PLAN.text["experiments"].get(self.experiment["name"])
        if row is None or row["preset"] in OURS:
            return []
        return _departures(row, self.config["config"], self.experiment["patients"])

    @cached_property
    def synthetic(self) -> Any:
        """The synthetic patients, a :class:`CodeMatrix`."""
        return CodeMatrix.read(self.stored.synthetic)

    @cached_property
    def generator(self) -> Any:
        """The fitted :class:`Generator`, where its weights are kept."""
        return generators.load(self.stored.model)


class WholeRun(Run):
    """A finished run of the generator of whole patients; ``metrics`` has its own scores."""

    @cached_property
    def synthetic(self) -> Patients:
        """The synthetic patients; drawn again from the weights where the table is not kept."""
        if self.stored.synthetic.exists():
            return Patients.read(self.stored.synthetic)
        return self.generator.sample(self.metrics["n"]["rows"], seed=self.experiment["seed"])

    @cached_property
    def generator(self) -> Whole:
        """The fitted generator, where its weights are kept."""
        return Whole.load(self.stored.model)


@dataclass(frozen=True, kw_only=True)
class Experiment(runs.Experiment[Run]):
    """Everything that determines a run, with the scale of its profile applied."""

    config: Any  # the settings of its generator
    data: str = ""  # which data, where they are not the published ones of an open data set
    digits: Digits = "three"
    patients: int | None = None  # at most so many to train on
    evaluated: int = 10_000  # synthetic patients made, and held-out ones compared with

    study: ClassVar[str] = "synthesis"

    @property
    def settings(self) -> dict[str, Any]:
        """All that decides the result; settings that came later count once they are changed."""
        return super().settings | {"config": self.config.distinguishing()}

    @property
    def result(self) -> Run:
        """The finished run."""
        return Run(self.stored)

    def fingerprint(self) -> str:
        """Of the data as they are at hand."""
        return self.cohort().fingerprint

    def cohort(self) -> Cohort:
        """The patients this experiment trains on and is judged by."""
        kind: Kind = "binary" if getattr(self.config, "kind", "") == "binary" else "count"
        whole = cohort(self.dataset, self.source, digits=self.digits, kind=kind)
        return replace(whole, train=whole.train.take(np.arange(len(whole.train))[: self.patients]))

    def facts(self) -> dict[str, Any]:
        """Entries of config.json; the generator's settings have one of their own."""
        found = super().facts()
        del found["experiment"]["config"]  # a saved model has it in an entry of its own
        return found

    @property
    def promises(self) -> bool:
        """Whether nothing exact of the patients may stand beside a promise of privacy."""
        return getattr(self.config, "vocabulary", "public") == "noised"

    def make(self, folder: Path, *, progress: bool) -> None:
        """Fit, sample and score; only score where the patients are there."""
        kept = self.folder / "synthetic.parquet"
        if (self.folder / "config.json").exists() and kept.exists():
            shutil.copytree(self.folder, folder, dirs_exist_ok=True)
            return write_json(folder / "metrics.json", _scores(self, CodeMatrix.read(kept)))
        data = self.cohort()
        model, verdict = _fit(self, data, ROOT / "runs" / "stages", progress)
        if self.promises:
            data = replace(data, test=data.test.restrict(model.vocabulary.codes)[0])
        synthetic: CodeMatrix | None = None
        costs: dict[str, Any] = {}
        if verdict == "finished":
            synthetic, costs, verdict = _sample(model, self, progress)
        costs["peak_memory_bytes"] = peak_memory()
        results: dict[str, Any] = {}
        if synthetic is not None:
            results = _scores(self, synthetic)
            synthetic.write(folder / "synthetic.parquet")
        write_json(folder / "metrics.json", results)  # before the model, whose card shows them
        _write_model(self, model, data, verdict, folder)
        write_json(folder / "costs.json", _costs(model, costs))
        frequency = _frequency(model, data.test, synthetic).rename(index=neutral)
        frequency.to_csv(folder / "frequency.csv", float_format="%.6g")


@dataclass(frozen=True, kw_only=True)
class WholeExperiment(Experiment):
    """A run of the generator of whole patients."""

    config: WholeConfig

    @property
    def result(self) -> WholeRun:
        """The finished run."""
        return WholeRun(self.stored)

    def fingerprint(self) -> str:
        """Of the data as they are at hand."""
        return whole_cohort(self.dataset, self.source, self.digits)[1]

    def split(self) -> PatientSplit:
        """Training patients of the profile, validation and held-out ones."""
        parts = whole_cohort(self.dataset, self.source, self.digits)[0]
        train = parts.train.take(np.arange(len(parts.train))[: self.patients])
        validation = parts.validation.take(np.arange(len(parts.validation))[:VALIDATED])
        return parts._replace(train=train, validation=validation)

    def make(self, folder: Path, *, progress: bool) -> None:
        """Fit, sample and score; only score where the patients are there."""
        parts, kept = self.split(), self.folder / "synthetic"
        if (self.folder / "config.json").exists() and kept.exists():
            shutil.copytree(self.folder, folder, dirs_exist_ok=True)
        else:
            self._draw(parts, folder, progress)
        synthetic = Patients.read(folder / "synthetic")
        how: dict[str, Any] = {"reference": self.references(parts, progress), "progress": progress}
        how["n"] = len(synthetic)
        results = whole_scores.evaluate(parts.test, synthetic, parts.train, **how)
        write_json(folder / "metrics.json", results)
        cards.write(folder, Whole.summary)

    def references(self, parts: PatientSplit, progress: bool = False) -> dict[str, Any]:
        """The five reference points of the data; computed once, then read."""
        n = _drawn(parts)
        facts = [self.fingerprint(), len(parts.train), n, list(whole_scores.WHOLE)]
        make = partial(whole_scores.references, parts.test, parts.train, n, progress=progress)
        return _kept(self.dataset, facts, make)

    def _draw(self, parts: PatientSplit, folder: Path, progress: bool) -> None:
        """Fit, sample, and write the model, its patients and what they cost."""
        model, begun = Whole(self.config), time.perf_counter()
        store = ROOT / "runs" / "stages"
        model.fit(parts.train, parts.validation, seed=self.seed, folder=store, progress=progress)
        fitted = time.perf_counter()
        n = _drawn(parts)
        synthetic = model.sample(n, seed=self.seed, progress=progress)
        costs = {
            "training_seconds": float(model.history["seconds"].sum()),
            "fitting_seconds": fitted - begun,
            "sampling_seconds": time.perf_counter() - fitted,
            "patients_sampled": n,
            "parameters": parameters(model.rate),
            "threads": torch.get_num_threads(),
        }
        sizes = {name: len(part) for name, part in parts._asdict().items()}
        model.write(folder, **self.facts(), data={"fingerprint": self.fingerprint(), **sizes})
        synthetic.write(folder / "synthetic")
        write_json(folder / "costs.json", costs)


# Plan ------------------------------------------------------------------------------------------


def plan(
    dataset: str = "simulated",
    source: str | None = None,
    profile: str = "quick",
    seed: int = 0,
    digits: Digits = "three",
) -> dict[str, Experiment]:
    """The experiments of ``workflow/experiments.yaml`` at this profile, by name."""
    size, seed = PLAN.scale(profile), check_seed(seed)
    if dataset not in datasets.DATASETS:
        raise InputError(
            f"data set {dataset!r} is unknown; choose one of {', '.join(datasets.DATASETS)}"
        )
    source = expanded(source)
    shared: dict[str, Any] = {"dataset": dataset, "source": source, "digits": digits}
    shared |= {"profile": profile, "evaluated": size["evaluated"], "seed": seed}
    shared["data"] = identity(dataset, source, digits)
    rows = PLAN.text["experiments"]
    return {name: _row(name, row, shared) for name, row in rows.items()}


def _row(name: str, row: Mapping[str, Any], shared: dict[str, Any]) -> Experiment:
    """A row of the plan as an experiment at the scale of its profile."""
    profile, group = shared["profile"], row.get("group", MAIN)
    patients = PLAN.scale(profile).get("patients")  # at most, of all presets or by preset
    facts = shared | {
        "name": name,
        "title": row["title"],
        "patients": patients.get(row["preset"]) if isinstance(patients, dict) else patients,
        "group": group,
        "seeds": PLAN.seeds(profile, group),
        "after": row.get("after"),
    }
    model = generators.preset(row["preset"], **row.get("settings", {}))
    kind = model.config.network if isinstance(model, ScoEHR) else model.name
    model.config = scaled(model.config, kind, profile)
    if isinstance(model.config, WholeConfig):
        return WholeExperiment(config=model.config, **facts)
    closed = shared["data"] and datasets.credentialed(shared["dataset"], shared["data"])
    if isinstance(model.config, generators.PrivateConfig) and closed:
        model.config = replace(model.config, vocabulary="noised")
        facts["data"] = _named_by_place(shared["source"])
    return Experiment(config=model.config, **facts)


def _named_by_place(source: str) -> str:
    """An identity of data that says where they lie and nothing of the patients."""
    return hashlib.sha256(source.encode()).hexdigest()[:16]


def expanded(source: str | Path | None) -> str | None:
    """A source as one path, whether it was written with ``~`` or not."""
    return str(user_path(source)) if source else None


@lru_cache(maxsize=8)
def identity(dataset: str, source: str | None, digits: Digits = "three") -> str:
    """How ids name the data at ``source`` (:func:`reproduction.runs.own_data`); they are read.

    Without a source the published runs of an open data set are meant.
    """
    if source is None:
        return ""
    return own_data(dataset, datasets.fingerprint(_loaded(dataset, source, digits, "count").matrix))


def place(dataset: str, source: str | None, profile: str) -> str:
    """Name of the folder under ``build`` for a book on these data at a profile."""
    return place_name(dataset, profile, identity(dataset, expanded(source)))


planned = of_book = plan  # a book shows those rows that are finished


def main(plan: dict[str, Experiment]) -> dict[str, Experiment]:
    """The rows that the book needs; the ablations are shown where they are found."""
    return {name: experiment for name, experiment in plan.items() if experiment.group == MAIN}


def published_profile(dataset: str, source: str | None, seed: int = 0) -> str:
    """The largest profile at which every main row is finished, else the smallest.

    A book is made at it where nobody asks for another.
    """
    rows = whole(PLAN.profiles, lambda size: main(plan(dataset, source, size, seed)))
    return next(iter(rows.values())).profile


def finished(dataset: str, source: str | None, profile: str, seed: int = 0) -> dict[str, list[Run]]:
    """The finished runs of every row of codes that has any, over its random seeds."""
    rows = plan(dataset, source, profile, seed).values()
    found = {row.name: _results(row) for row in rows if row.group != WHOLE}
    return {name: results for name, results in found.items() if results}


def largest(name: str, dataset: str, source: str | None, profile: str, seed: int = 0) -> list[Run]:
    """The finished runs of one row over its seeds, at the largest profile that has any."""
    for size in reversed(PLAN.upward(profile)):
        if found := _results(plan(dataset, source, size, seed)[name]):
            return found
    return []


def _results(row: Experiment) -> list[Run]:
    return [each.result for each in done(row)]


def published(dataset: str) -> list[Run]:
    """Every finished run of codes on a data set, of the largest profile first."""
    sizes = PLAN.profiles
    found = [Run(store) for store in runs.stores("synthesis", dataset)]
    found = [run for run in found if run.config["generator"] in generators.GENERATORS]
    return sorted(found, key=lambda run: -sizes.index(run.experiment["profile"]))


class TableRow(NamedTuple):
    """A row of a table: a row of the plan, its label, and the reported row that it repeats."""

    name: str
    label: str
    reported: str | None = None


class RowTable(NamedTuple):
    """A table that compares rows of the plan."""

    title: str
    rows: list[TableRow]


def tables() -> dict[str, RowTable]:
    """The tables of the plan that compare rows, in their order."""
    found = {}
    for name, table in PLAN.text["tables"].items():
        rows = [TableRow(row["row"], row["label"], row.get("reported")) for row in table["rows"]]
        found[name] = RowTable(table.get("title", ""), rows)
    return found


def recommended() -> list[str]:
    """The rows of the recommended generator, on counts and on presence."""
    return PLAN.text["recommended"]


def scaled(config: Any, kind: str, profile: str) -> Any:
    """Settings with the factors and replacements that a profile has for a kind of generator.

    Whole numbers stay whole, and a width stays one that the network can have.
    """
    has, changes, size = asdict(config), {}, PLAN.scale(profile)
    for name, factor in size.get("factors", {}).get(kind, {}).items():
        value = factor * has[name]
        changes[name] = max(1, round(value)) if isinstance(has[name], int) else value
    changes |= size.get("settings", {}).get(kind, {})
    if "width" in changes:
        changes["width"] = max(16 if kind == "unet" else 8, 4 * round(changes["width"] / 4))
    return replace(config, **changes)


# Regime ----------------------------------------------------------------------------------------


def _departures(row: dict[str, Any], has: dict[str, Any], patients: int | None) -> list[str]:
    """What settings ``has`` and a cap on patients change of a row of the plan, each in words."""
    preset = asdict(generators.preset(row["preset"]).config)
    asked = _asked(row) | {name: preset[name] for name in DECISIVE if name in preset}
    found = [
        f"{name.replace('_', ' ')} {_plain(has.get(name))} in place of {_plain(value)}"
        for name, value in asked.items()
        if name not in WIDTHS and _plain(has.get(name)) != _plain(value)
    ]
    return found if patients is None else [*found, f"{patients:,} patients at most to train on"]


def _asked(row: dict[str, Any]) -> dict[str, Any]:
    """The settings of a row before its profile scales them."""
    return asdict(generators.preset(row["preset"], **row.get("settings", {})).config)


def width(run: Run) -> int | None:
    """How wide the network of a run is in its study, or at the scale of ``paper`` for ours."""
    row = PLAN.text["experiments"].get(run.experiment["name"])
    return _asked(row).get("width") if row else None


def _plain(value: Any) -> str:
    """A setting as text, the same before and after JSON."""
    if isinstance(value, float):
        return f"{value:g}"
    return str(list(value) if isinstance(value, tuple) else value)


# Data ------------------------------------------------------------------------------------------


@lru_cache(maxsize=4)
def cohort(
    dataset: str, source: str | None = None, *, digits: Digits = "three", kind: Kind = "count"
) -> Cohort:
    """A data set cut into 60 % train, 10 % validation and the report's 30 % test set."""
    matrix, account = _loaded(dataset, source, digits, kind)
    train, validation, test = matrix.split()
    return Cohort(train, validation, test, dict(account), datasets.fingerprint(matrix))


@lru_cache(maxsize=2)
def _loaded(dataset: str, source: str | None, digits: Digits, kind: Kind) -> datasets.Loaded:
    return datasets.load(dataset, source, digits=digits, kind=kind)


@lru_cache(maxsize=2)
def whole_cohort(
    dataset: str, source: str | None = None, digits: Digits = "three"
) -> tuple[PatientSplit, str]:
    """The whole patients of a data set, cut as :func:`cohort` cuts it, and a fingerprint."""
    whole, _ = load_patients(dataset, source, digits=digits)
    return whole.split(), whole.fingerprint()


def references(experiment: Experiment) -> dict[str, Any]:
    """The five reference points of an experiment's data; computed once, then read."""
    data = experiment.cohort()
    size, keys = experiment.evaluated, list(metrics.METRICS)
    facts = [data.fingerprint, len(data.train), size, data.test.kind, keys]
    n = _compared(experiment, data)
    make = partial(metrics.references, data.test, train=data.train, n=n)
    return _kept(experiment.dataset, facts, make)


def _kept(dataset: str, facts: list[Any], make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Reference points that these facts decide: made where they are not there yet."""
    path = ROOT / "runs" / "references" / f"{dataset}-{bundles.digest(facts)[:16]}.json"
    if not path.exists():
        write_json(path, make())
    return read_json(path)


def _drawn(parts: PatientSplit) -> int:
    """How many whole patients of each side are compared."""
    return max(1, min(len(parts.test), round(COMPARED * len(parts.train))))


def _compared(experiment: Experiment, data: Cohort) -> int:
    """How many patients of each side are compared."""
    return min(experiment.evaluated, len(data.test), len(data.train))


# Making a run ----------------------------------------------------------------------------------


def _scores(experiment: Experiment, synthetic: CodeMatrix) -> dict[str, Any]:
    """The scores of the synthetic patients of an experiment.

    Under whatever random seed they were made, they are compared with the held-out patients of
    the reference points.
    """
    data = experiment.cohort()
    if experiment.promises:  # training patients, and codes of theirs, would show without noise
        return metrics.evaluate(data.test.restrict(synthetic.codes)[0], synthetic)
    n, reference = _compared(experiment, data), references(experiment)
    return metrics.evaluate(data.test, synthetic, train=data.train, reference=reference, n=n)


def _fit(
    experiment: Experiment, data: Cohort, store: Path, progress: bool
) -> tuple[Generator, str]:
    """The fitted generator and the verdict; a diverged one has the history of its losses alone."""
    if trained := _trained(experiment):
        return trained, "finished"
    model, seed = generators.unfitted(experiment.config), experiment.seed
    try:
        model.fit(data.train, data.validation, seed=seed, folder=store, progress=progress)
    except Diverged as error:
        model.history = pd.DataFrame([{"stage": "diverged", **row} for row in error.history])
        return model, "diverged"
    return model, "finished"


def _trained(experiment: Experiment) -> Generator | None:
    """The kept model of the row before, if this one differs in how it samples alone."""
    if experiment.after is None:
        return None
    row, shared = PLAN.text["experiments"][experiment.after], asdict(experiment)
    facts = ("dataset", "source", "data", "digits", "profile", "evaluated", "seed")
    before = _row(experiment.after, row, {name: shared[name] for name in facts})
    if _training(before) != _training(experiment) or not before.finished:
        return None
    if not list(before.stored.model.glob("*.safetensors")):
        return None
    model = generators.load(before.stored.model)
    model.config = experiment.config
    return model


def _training(experiment: Experiment) -> dict[str, Any]:
    """The settings that decide the weights."""
    settings = asdict(experiment.config) | {"patients": experiment.patients}
    sampling = ("sampler", "steps", "sample_batch")
    return {name: value for name, value in settings.items() if name not in sampling}


def _sample(
    model: Generator, experiment: Experiment, progress: bool
) -> tuple[CodeMatrix | None, dict[str, Any], str]:
    """Synthetic patients, what they cost, and the verdict."""
    n, seed, store = experiment.evaluated, experiment.seed, ROOT / "runs" / "stages"
    try:
        synthetic = model.sample(n, seed=seed, store=store, progress=progress)
    except FloatingPointError:
        return None, {}, "diverged"
    costs = {"sampling_seconds": model.seconds, "evaluations_per_patient": model.evaluations}
    return synthetic, costs, "finished"


def _frequency(model: Generator, test: CodeMatrix, synthetic: CodeMatrix | None) -> pd.DataFrame:
    """The table of :attr:`Run.frequency`."""

    def mean(matrix: CodeMatrix) -> np.ndarray:
        return np.asarray(matrix.align(test.codes).counts.mean(axis=0)).ravel()

    table = pd.DataFrame({"real": mean(test)}, index=pd.Index(test.codes, name="code"))
    table["synthetic"] = np.nan if synthetic is None else mean(synthetic)
    if isinstance(model, ScoEHR) and model.autoencoder is not None:
        table["reconstructed"] = mean(model.reconstruct(test))
        table["reachable"] = ~np.isin(test.codes, model.unreachable())
    return table


def _write_model(
    experiment: Experiment, model: Generator, data: Cohort, verdict: str, folder: Path
) -> None:
    """The files of the model, and what it was made from."""
    sizes = {name: len(getattr(data, name)) for name in ("train", "validation", "test")}
    facts = {"fingerprint": data.fingerprint, **sizes, "account": data.account}
    model.write(folder, **experiment.facts(), verdict=verdict, data=facts)


def _costs(model: Generator, costs: dict[str, Any]) -> dict[str, Any]:
    """Seconds by stage, memory, and what ran it."""
    seconds = model.history.groupby("stage")["seconds"].sum()
    return {
        **{f"{stage}_seconds": float(value) for stage, value in seconds.items()},
        **costs,
        "parameters": parameters(model.network),
        "threads": torch.get_num_threads(),
        "processor": platform.machine(),
        "accelerator": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }
