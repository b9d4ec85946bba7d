"""Experiments: what determines a run, running it once, and reading it again.

A run leaves a folder in ``saved_models`` (config.json, history.csv, metrics.json, frequency.csv, costs.json,
environment.txt, weights) and a table in ``synthetic_data``. A run that is there is loaded; one that was cut off goes on
from its last checkpoint in ``runs/stages``, where trainings that begin alike share their checkpoints.
"""

from __future__ import annotations

import hashlib
import json
import platform
from dataclasses import asdict, dataclass, replace
from functools import cached_property, lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import yaml

from reproduction.runs import Finished, Planned, mark, own_data, place_name
from scoehr import generators, metrics
from scoehr.data import datasets
from scoehr.data.datasets import Digits
from scoehr.data.matrix import CodeMatrix, Kind
from scoehr.files import (
    ROOT,
    InputError,
    alone,
    check_seed,
    neutral,
    peak_memory,
    read_json,
    replacing,
    restored,
    user_path,
    write_json,
)
from scoehr.generators import Generator, ScoEHR
from scoehr.training import Diverged, parameters

#: The plan of the working root, if it has one of its own, else the package's.
PLAN = Path(__file__).resolve().parents[1] / "workflow" / "experiments.yaml"
if (ROOT / "workflow" / "experiments.yaml").exists():
    PLAN = ROOT / "workflow" / "experiments.yaml"
MAIN = "main"  # the group of the rows that every book shows
#: Presets that no study reported: no scale departs from their regime.
OURS = ("thinning", "private", "copula")
#: Settings that decide whether a model is trained and its process solved. No row may change those of its preset.
DECISIVE = (
    "sampler", "steps", "batch", "epoch_share", "autoencoder_epochs", "autoencoder_batch", "discriminator_steps",
)  # fmt: skip
#: Settings that a profile may scale.
WIDTHS = ("width", "sample_batch")
PACKAGES = (
    "scoehr",
    "torch",
    "torchsde",
    "numpy",
    "scipy",
    "pandas",
    "scikit-learn",
    "duckdb",
    "safetensors",
)


@dataclass(frozen=True)
class Experiment(Planned):
    """Everything that determines a run, with the scale of its profile applied."""

    name: str
    title: str
    config: generators.Config
    dataset: str = "simulated"
    source: str | None = None  # where the data lie on this machine; no part of the id
    data: str = ""  # which data, where they are not the published ones of an open data set
    digits: Digits = "three"
    profile: str = "quick"
    patients: int | None = None  # at most so many to train on
    evaluated: int = 10_000  # synthetic patients made, and held-out ones compared with
    seed: int = 0
    group: str = "main"  # of rows that belong together in a table
    seeds: int = 1  # how many random seeds the row is run under, from the plan's on
    after: str | None = (
        None  # row that shares the beginning of the training, so is better run before
    )

    @property
    def id(self) -> str:
        """Name of the run's folder: readable parts, then a hash of the rest."""
        apart = ("source", "title", "group", "seeds", "after")
        settings = {key: value for key, value in asdict(self).items() if key not in apart}
        return f"{self.dataset}-{self.profile}-{self.name}-s{self.seed}-{mark(settings)}"

    def cohort(self) -> Cohort:
        """The patients this experiment trains on and is judged by."""
        kind: Kind = "binary" if self.config.kind == "binary" else "count"
        whole = cohort(self.dataset, self.source, digits=self.digits, kind=kind)
        return replace(whole, train=whole.train.take(np.arange(len(whole.train))[: self.patients]))


@dataclass(frozen=True)
class Cohort:
    """Three sets of patients with one vocabulary, and the account of how the tables were read."""

    train: CodeMatrix
    validation: CodeMatrix
    test: CodeMatrix
    account: dict[str, Any]
    fingerprint: str


class Run(Finished):
    """A finished run of a generator.

    ``history`` has the columns stage, epoch, train_loss, validation_loss, learning_rate and seconds; ``metrics`` are
    the results of :func:`scoehr.metrics.evaluate`, empty for a run that diverged.
    """

    @property
    def experiment(self) -> dict[str, Any]:
        """The experiment as plain data: name, title, dataset, profile, patients, evaluated, seed, …"""
        return self.config["experiment"]

    @property
    def verdict(self) -> str:
        """``finished`` or ``diverged``."""
        return self.config["verdict"]

    @cached_property
    def departures(self) -> list[str]:
        """How the run leaves the regime in which its study ran the model; empty in the regime, and for models of ours.

        Widths are free. All that decides whether the model is trained and its process solved has to be as reported.
        """
        row = _plan_file()["experiments"].get(self.experiment["name"])
        if row is None or row["preset"] in OURS:
            return []
        return _departures(row, self.config["config"], self.experiment["patients"])

    @cached_property
    def frequency(self) -> pd.DataFrame:
        """A row a code: mean count among ``real`` (test) and ``synthetic`` patients; with an autoencoder also among
        ``reconstructed`` test patients, and whether it is ``reachable``."""
        path, words = self.folder / "frequency.csv", {"code": str}
        table = pd.read_csv(
            path, index_col="code", dtype=words, keep_default_na=False, na_values=[""]
        )
        return table.rename(index=restored)

    @cached_property
    def synthetic(self) -> CodeMatrix:
        return CodeMatrix.read(ROOT / "synthetic_data" / f"{self.id}.parquet")

    @cached_property
    def generator(self) -> Generator:
        return generators.load(self.folder)


# ----------------------------------------------------------------------------
# Plan and data


def plan(
    dataset: str = "simulated",
    source: str | None = None,
    profile: str = "quick",
    seed: int = 0,
    digits: Digits = "three",
) -> dict[str, Experiment]:
    """The experiments of ``workflow/experiments.yaml`` at this profile, by name."""
    rows, size, seed = _plan_file()["experiments"], scale(profile), check_seed(seed)
    if dataset not in datasets.DATASETS:
        raise InputError(
            f"data set {dataset!r} is unknown; choose one of {', '.join(datasets.DATASETS)}"
        )
    source = expanded(source)
    data = identity(dataset, source, digits)
    return {
        name: Experiment(
            name=name,
            title=row["title"],
            config=_scaled(generators.preset(row["preset"], **row.get("settings", {})), profile),
            dataset=dataset,
            source=source,
            data=data,
            digits=digits,
            profile=profile,
            patients=most(row["preset"], profile),
            evaluated=size["evaluated"],
            seed=seed,
            group=row.get("group", MAIN),
            seeds=_seeds(size, row.get("group", MAIN)),
            after=row.get("after"),
        )
        for name, row in rows.items()
    }


def expanded(source: str | Path | None) -> str | None:
    """A source as one path, whether it was written with ``~`` or not."""
    return str(user_path(source)) if source else None


@lru_cache(maxsize=8)
def identity(dataset: str, source: str | None, digits: Digits = "three") -> str:
    """What ids say of the data at ``source``, see :func:`reproduction.runs.own_data`: the data are read for it.

    Without a source the published runs of an open data set are meant.
    """
    if source is None:
        return ""
    return own_data(dataset, datasets.fingerprint(_loaded(dataset, source, digits, "count").matrix))


def place(dataset: str, source: str | None, profile: str) -> str:
    """Name of the folder under ``build`` for a book on these data at a profile."""
    return place_name(dataset, profile, identity(dataset, expanded(source)))


def replicates(experiment: Experiment) -> list[Experiment]:
    """A row of the plan at all its random seeds, its own first."""
    return [
        replace(experiment, seed=experiment.seed + offset) for offset in range(experiment.seeds)
    ]


def main(plan: dict[str, Experiment]) -> dict[str, Experiment]:
    """The rows that the book needs; the ablations are shown where they are found."""
    return {name: experiment for name, experiment in plan.items() if experiment.group == MAIN}


def shown(dataset: str, source: str | None, profile: str, seed: int = 0) -> dict[str, Experiment]:
    """The main rows at the largest profile, from ``profile`` up, at which every one is finished; else at ``profile``.

    So published runs of a larger profile stand in the book in place of smaller ones, all of them or none.
    """
    for size in reversed(upward(profile)[1:]):
        candidate = main(plan(dataset, source, size, seed))
        if all(experiment.finished for experiment in candidate.values()):
            return candidate
    return main(plan(dataset, source, profile, seed))


def finished(dataset: str, source: str | None, profile: str, seed: int = 0) -> dict[str, list[Run]]:
    """The finished runs of every row that has any, over its random seeds; nothing is computed.

    All are of one profile, ``profile`` or a larger one: that with the most rows, the largest of those.
    """
    best: dict[str, list[Run]] = {}
    for size in upward(profile):
        rows = plan(dataset, source, size, seed)
        runs = {
            name: [Run(again.folder) for again in replicates(experiment) if again.finished]
            for name, experiment in rows.items()
        }
        runs = {name: found for name, found in runs.items() if found}
        best = runs if len(runs) >= len(best) else best
    return best


def largest(name: str, dataset: str, source: str | None, profile: str, seed: int = 0) -> list[Run]:
    """The finished runs of one row over its random seeds, at the largest profile from ``profile`` up that has any."""
    for size in reversed(upward(profile)):
        row = plan(dataset, source, size, seed)[name]
        if runs := [Run(again.folder) for again in replicates(row) if again.finished]:
            return runs
    return []


def profiles() -> list[str]:
    """The profiles of the plan, from small to large."""
    return list(_plan_file()["profiles"])


def upward(profile: str) -> list[str]:
    """A profile and the larger ones, from small to large; one that the plan lacks alone."""
    sizes = profiles()
    return sizes[sizes.index(profile) :] if profile in sizes else [profile]


def scale(profile: str) -> dict[str, Any]:
    """What a profile says: see ``workflow/experiments.yaml``. InputError for one that the plan lacks."""
    profiles = _plan_file()["profiles"]
    if profile not in profiles:
        raise InputError(f"profile {profile!r} is unknown; choose one of {', '.join(profiles)}")
    return profiles[profile]


def _plan_file() -> dict[str, Any]:
    """``profiles``, from small to large, and ``experiments``, as they stand in the plan."""
    return _parsed(PLAN, PLAN.stat().st_mtime_ns)


@lru_cache(maxsize=2)
def _parsed(path: Path, changed: int) -> dict[str, Any]:
    """A plan as it was when last changed; not to be altered."""
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def _seeds(size: dict[str, Any], group: str) -> int:
    """How many random seeds the rows of a group are run under at the size of a profile."""
    numbers = size.get("seeds", {})
    return numbers.get(group, numbers.get("others", 1))


def _departures(row: dict[str, Any], has: dict[str, Any], patients: int | None) -> list[str]:
    """What settings ``has`` and a cap on patients change of a row of the plan, each in words."""
    asked = asdict(generators.preset(row["preset"], **row.get("settings", {})).config)
    asked |= {
        name: value
        for name, value in asdict(generators.preset(row["preset"]).config).items()
        if name in DECISIVE
    }
    found = [
        f"{name.replace('_', ' ')} {_plain(has.get(name))} in place of {_plain(value)}"
        for name, value in asked.items()
        if name not in WIDTHS and _plain(has.get(name)) != _plain(value)
    ]
    return found if patients is None else [*found, f"{patients:,} patients at most to train on"]


def narrower(run: Run) -> str:
    """How wide the network of a run is beside its study's, in words; empty where it is as wide."""
    row = _plan_file()["experiments"].get(run.experiment["name"])
    has = run.config["config"].get("width")
    asked = row and asdict(generators.preset(row["preset"], **row.get("settings", {})).config).get(
        "width"
    )
    return f"the network is {has} wide in place of {asked}" if asked and has != asked else ""


def _plain(value: Any) -> str:
    """A setting as text, the same before and after JSON."""
    return (
        f"{value:g}"
        if isinstance(value, float)
        else str(list(value) if isinstance(value, tuple) else value)
    )


def most(kind: str, profile: str) -> int | None:
    """How many patients a preset, or the generator of visits, is trained on at most in a profile; None: on all."""
    patients = scale(profile).get("patients")
    return patients.get(kind) if isinstance(patients, dict) else patients


def _scaled(generator: Generator, profile: str) -> Any:
    """The settings of a generator at the scale of a profile."""
    kind = generator.config.network if isinstance(generator, ScoEHR) else generator.name
    return scaled(generator.config, kind, profile)


def scaled(config: Any, kind: str, profile: str) -> Any:
    """Settings with the factors, and those replaced, that a profile has for a kind of network or generator.

    Whole numbers stay whole, and a width stays one that the network can have.
    """
    has, changes = asdict(config), {}
    for name, factor in scale(profile).get("factors", {}).get(kind, {}).items():
        value = factor * has[name]
        changes[name] = max(1, round(value)) if isinstance(has[name], int) else value
    changes |= scale(profile).get("settings", {}).get(kind, {})
    if "width" in changes:
        changes["width"] = max(16 if kind == "unet" else 8, 4 * round(changes["width"] / 4))
    return replace(config, **changes)


@lru_cache(maxsize=4)
def cohort(
    dataset: str, source: str | None = None, *, digits: Digits = "three", kind: Kind = "count"
) -> Cohort:
    """Load a data set and cut it into 60 % train, 10 % validation and the report's 30 % test set."""
    matrix, account = _loaded(dataset, source, digits, kind)
    train, validation, test = matrix.split()
    return Cohort(train, validation, test, dict(account), datasets.fingerprint(matrix))


@lru_cache(maxsize=2)
def _loaded(dataset: str, source: str | None, digits: Digits, kind: Kind) -> datasets.Loaded:
    return datasets.load(dataset, source, digits=digits, kind=kind)


def references(experiment: Experiment) -> dict[str, Any]:
    """The five reference points for the data, kind and size of an experiment; computed once, then read."""
    data = experiment.cohort()
    facts = [
        data.fingerprint,
        len(data.train),
        experiment.evaluated,
        data.test.kind,
        list(metrics.METRICS),
    ]
    key = f"{experiment.dataset}-{hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]}"
    path = ROOT / "runs" / "references" / f"{key}.json"
    if not path.exists():
        write_json(
            path, metrics.references(data.test, train=data.train, n=_compared(experiment, data))
        )
    return read_json(path)


def _compared(experiment: Experiment, data: Cohort) -> int:
    """How many patients of each side are compared."""
    return min(experiment.evaluated, len(data.test), len(data.train))


# ----------------------------------------------------------------------------
# Run


def run(experiment: Experiment, *, progress: bool = True) -> Run:
    """Make the run, or what is left of it; load it if it is finished.

    Raises:
        InputError: the data cannot be read, or another process is making this run.
    """
    done = Run(experiment.folder)
    if experiment.finished:
        return done
    with alone(ROOT / "runs" / "locks" / f"{experiment.id}.lock", f"the run {experiment.id}"):
        if not experiment.finished:
            _make(experiment, done, progress)
    return done


def _make(experiment: Experiment, done: Run, progress: bool) -> None:
    """Make the run, or only its scores where its patients are there."""
    if (experiment.folder / "config.json").exists() and experiment.synthetic_path.exists():
        return write_json(experiment.folder / "metrics.json", _scores(experiment, done.synthetic))
    data = experiment.cohort()
    store = ROOT / "runs" / "stages"
    model, verdict = _fit(experiment, data, store, progress)
    synthetic: CodeMatrix | None = None
    costs: dict[str, Any] = {}
    if verdict == "finished":
        synthetic, costs, verdict = _sample(model, experiment, store, progress)
    costs["peak_memory_bytes"] = peak_memory()
    results: dict[str, Any] = {}
    if synthetic is not None:
        results = _scores(experiment, synthetic)
        synthetic.write(experiment.synthetic_path)
    _write(
        experiment, data, model, verdict, results, costs, _frequency(model, data.test, synthetic)
    )


def _scores(experiment: Experiment, synthetic: CodeMatrix) -> dict[str, Any]:
    """What the metrics say of the synthetic patients of an experiment.

    Under whatever random seed they were made, they are compared with the held-out patients of the reference points.
    """
    data = experiment.cohort()
    private = not generators.unfitted(experiment.config).releases_data_facts
    if private and datasets.credentialed(experiment.dataset, data.fingerprint):
        return metrics.evaluate(data.test, synthetic)  # training patients would show without noise
    return metrics.evaluate(
        data.test,
        synthetic,
        train=data.train,
        reference=references(experiment),
        n=_compared(experiment, data),
    )


def published(dataset: str) -> list[Run]:
    """Every finished run on a data set that is found in ``saved_models``, of the largest profile first."""
    runs = [
        Run(path.parent)
        for path in sorted((ROOT / "saved_models").glob(f"{dataset}-*/config.json"))
    ]
    runs = [run for run in runs if run.experiment["dataset"] == dataset]
    sizes = profiles()
    return sorted(runs, key=lambda run: -sizes.index(run.experiment["profile"]))


def _fit(
    experiment: Experiment, data: Cohort, store: Path, progress: bool
) -> tuple[Generator, str]:
    if trained := _trained(experiment):
        return trained, "finished"
    model = generators.unfitted(experiment.config)
    try:
        model.fit(
            data.train, data.validation, seed=experiment.seed, folder=store, progress=progress
        )
    except Diverged as error:
        model.history = pd.DataFrame([{"stage": "diverged", **row} for row in error.history])
        return model, "diverged"
    return model, "finished"


def _trained(experiment: Experiment) -> Generator | None:
    """The model of the row before, if this one differs from it in how it samples alone and its weights are kept."""
    if experiment.after is None:
        return None
    at = (
        experiment.dataset,
        experiment.source,
        experiment.profile,
        experiment.seed,
        experiment.digits,
    )
    before = plan(*at)[experiment.after]
    ones, others = (
        {
            name: value
            for name, value in asdict(row.config).items()
            if name not in ("sampler", "steps", "sample_batch")
        }
        for row in (experiment, before)
    )
    alike = ones == others and before.patients == experiment.patients and before.finished
    if not (alike and list(before.folder.glob("*.safetensors"))):
        return None
    model = generators.load(before.folder)
    model.config = experiment.config
    return model


def _sample(
    model: Generator, experiment: Experiment, store: Path, progress: bool
) -> tuple[CodeMatrix | None, dict[str, Any], str]:
    """Synthetic patients and what they cost."""
    try:
        synthetic = model.sample(
            experiment.evaluated, seed=experiment.seed, store=store, progress=progress
        )
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


def _write(
    experiment: Experiment,
    data: Cohort,
    model: Generator,
    verdict: str,
    results: dict[str, Any],
    costs: dict[str, Any],
    frequency: pd.DataFrame,
) -> None:
    """The run's folder, all or nothing."""
    facts = {
        key: value
        for key, value in asdict(experiment).items()
        if key not in ("config", "source", "after")
    }
    credentialed = datasets.credentialed(experiment.dataset, data.fingerprint)
    seconds = model.history.groupby("stage")["seconds"].sum()
    costs = {
        **{f"{stage}_seconds": float(value) for stage, value in seconds.items()},
        **costs,
        "parameters": parameters(model.network),
        "threads": torch.get_num_threads(),
        "processor": platform.machine(),
        "accelerator": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }
    with replacing(experiment.folder) as scratch:
        scratch.mkdir()
        write_json(
            scratch / "metrics.json", results
        )  # before the model, whose card shows the scores
        model.write(
            scratch,
            experiment=facts,
            verdict=verdict,
            credentialed=credentialed,
            data={
                "fingerprint": data.fingerprint,
                "train": len(data.train),
                "validation": len(data.validation),
                "test": len(data.test),
                "account": data.account,
            },
        )
        write_json(scratch / "costs.json", costs)
        frequency.rename(index=neutral).to_csv(scratch / "frequency.csv", float_format="%.6g")
        (scratch / "environment.txt").write_text(environment(), encoding="utf-8")


def environment() -> str:
    """Python, the packages that bear on results, and the number of threads, a line each."""
    versions = [f"{name} {metadata.version(name)}" for name in PACKAGES]
    return (
        "\n".join(
            [f"python {platform.python_version()}", *versions, f"threads {torch.get_num_threads()}"]
        )
        + "\n"
    )
