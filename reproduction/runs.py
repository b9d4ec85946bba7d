"""Runs: what determines one, making it once, and reading it again.

A study derives its own :class:`Experiment` (settings, data, how it is made) and :class:`Run`
(what its pages read). A run that is there is loaded, from its folder ``runs/done/<id>`` or from
the bundle in which it is published (:mod:`reproduction.bundles`); else it is made, by one
process, all or nothing.
"""

from __future__ import annotations

import platform
from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np
import pandas as pd
import torch

from reproduction import bundles
from reproduction.tables import marked
from scoehr.data import datasets
from scoehr.files import ROOT, InputError, alone, replacing, restored

#: Packages that bear on results.
PACKAGES = (
    *("scoehr", "torch", "torchsde", "numpy", "scipy", "pandas", "scikit-learn", "duckdb"),
    "safetensors",
)


def mark(settings: Mapping[str, Any]) -> str:
    """Eight hexadecimal digits that stand for all settings at the end of a run's name.

    An entry ``data`` that is empty is left out: the open data set as published is meant.
    """
    named = {key: value for key, value in settings.items() if key != "data" or value}
    return bundles.digest(named)[:8]


def own_data(dataset: str, fingerprint: str) -> str:
    """How ids name data: not at all if open as published, else by their fingerprint."""
    return "" if datasets.is_open(dataset, fingerprint) else fingerprint


def place_name(dataset: str, profile: str, data: str) -> str:
    """Name of the folder for all made of some data at a profile; ``data`` by :func:`own_data`."""
    return "-".join(part for part in (dataset, profile, data[:8]) if part)


class Run:
    """A finished run, read as far as asked."""

    def __init__(self, place: Path | bundles.Store):
        self.stored = bundles.Folder(place) if isinstance(place, Path) else place
        self.id = self.stored.id

    @property
    def folder(self) -> Path:
        """Where people look for it; that of its model, where weights are kept."""
        return self.stored.path

    @property
    def weighted(self) -> bool:
        """Whether its weights are kept."""
        return any(self.stored.model.rglob("*.safetensors"))

    @cached_property
    def config(self) -> dict[str, Any]:
        """The settings, and what the run was made from."""
        return self.stored.config

    @property
    def dataset(self) -> str:
        """Name of the data set that the run was made from."""
        return self.config["experiment"]["dataset"]

    @property
    def verdict(self) -> str:
        """``finished`` or ``diverged``."""
        return self.config.get("verdict", "finished")

    @cached_property
    def metrics(self) -> dict[str, Any]:
        """The scores; each number knows its run (:class:`reproduction.tables.Made`)."""
        return marked(self.stored.metrics, self.id)

    @cached_property
    def costs(self) -> dict[str, Any]:
        """Seconds, memory and parameters, for runs that note them."""
        return marked(self.stored.costs, self.id)

    @cached_property
    def history(self) -> pd.DataFrame:
        """A row an epoch of training; nothing for a run that trains nothing."""
        return self._table("history")

    @cached_property
    def frequency(self) -> pd.DataFrame:
        """A row a code: mean count among ``real`` (test) and ``synthetic`` patients.

        With an autoencoder also among ``reconstructed`` test patients, and whether it is
        ``reachable``.
        """
        return self._table("frequency").set_index("code").rename(index=restored)

    @cached_property
    def draws(self) -> pd.DataFrame:
        """Bootstrap draws of figures, a column a figure."""
        return self._table("draws")

    @cached_property
    def maps(self) -> dict[str, np.ndarray]:
        """Arrays of figures by name."""
        return self.stored.maps

    def _table(self, name: str) -> pd.DataFrame:
        found = self.stored.table(name)
        return pd.DataFrame() if found is None else found


Made = TypeVar("Made", bound=Run)


@dataclass(frozen=True, kw_only=True)
class Experiment(ABC, Generic[Made]):
    """Everything that determines a run, and how the plan shows it."""

    name: str
    title: str = ""
    dataset: str = "simulated"
    source: str | None = None  # where the data lie on this machine
    profile: str = "quick"
    seed: int = 0
    group: str = "main"  # of rows that belong together in a table
    seeds: int = 1  # how many random seeds the row is run under, from the plan's on
    after: str | None = None  # row that is better run before, since both begin alike

    #: Name of the study, and what ids of its runs begin with.
    study: ClassVar[str]
    prefix: ClassVar[str] = ""
    #: Fields that decide nothing of the result.
    APART: ClassVar[frozenset[str]] = frozenset(
        {"title", "source", "outcomes", "group", "seeds", "after"}
    )

    @property
    def settings(self) -> dict[str, Any]:
        """All that decides the result, the identity of the data included."""
        return {key: value for key, value in asdict(self).items() if key not in self.APART}

    @property
    def id(self) -> str:
        """Name of the run: readable parts, then a hash of its settings."""
        parts = (self.dataset, self.profile, self.name, f"s{self.seed}", mark(self.settings))
        return self.prefix + "-".join(parts)

    @property
    def bundle(self) -> str:
        """Name of the bundle in which the run is published, if it is."""
        return f"{self.study}-{self.dataset}-{self.profile}"

    @property
    def folder(self) -> Path:
        """Where the run is made."""
        return ROOT / "runs" / "done" / self.id

    @property
    def stored(self) -> bundles.Store:
        """Where the run lies."""
        return bundles.find(ROOT, self.id, self.bundle)

    @property
    def finished(self) -> bool:
        """Whether its run is there, scores included."""
        return self.stored.finished

    @property
    def needs(self) -> tuple[str, ...]:
        """Rows that are better run before, or have to be."""
        return (self.after,) if self.after else ()

    @property
    def at_hand(self) -> bool:
        """Whether the data can be read on this machine to compare their fingerprint."""
        return self.source is not None and Path(self.source).exists()

    @property
    @abstractmethod
    def result(self) -> Made:
        """The finished run."""

    @abstractmethod
    def fingerprint(self) -> str:
        """Of the data as they are at hand."""

    @abstractmethod
    def make(self, folder: Path, *, progress: bool) -> None:
        """Write the files of the run, all but its environment, into an empty folder."""

    def facts(self) -> dict[str, Any]:
        """Entries of every config.json: study, experiment, whether its data are credentialed."""
        open_ = not datasets.credentialed(self.dataset, self.fingerprint())
        apart = ("source", "outcomes", "after")
        plain = {key: value for key, value in asdict(self).items() if key not in apart}
        return {"study": self.study, "experiment": plain, "credentialed": not open_}


def run(experiment: Experiment[Made], *, again: bool = False, progress: bool = True) -> Made:
    """Make the run, or what is left of it; load it if it is finished.

    With ``again`` a run that is only published, perhaps without weights, is made here.

    Raises:
        InputError: the data cannot be read, are not those of the finished run, or another
            process is making this run.
    """
    place = bundles.Folder(experiment.folder) if again else experiment
    if place.finished:
        _refuse_other_data(experiment)
        return experiment.result
    with _alone(experiment):
        if not place.finished:
            _make(experiment, progress)
    return experiment.result


def with_weights(experiment: Experiment[Made], *, progress: bool = True) -> Made:
    """The run with its weights at hand: made again in its folder where its scores alone are kept.

    Raises:
        InputError: as :func:`run`.
    """
    if not run(experiment, progress=progress).weighted:
        with _alone(experiment):
            _make(experiment, progress)
    return experiment.result


def _alone(experiment: Experiment[Any]) -> AbstractContextManager[Any]:
    """The lock against another process that makes this run."""
    lock = ROOT / "runs" / "locks" / f"{experiment.id}.lock"
    return alone(lock, f"the run {experiment.id}")


def _make(experiment: Experiment[Any], progress: bool) -> None:
    with replacing(experiment.folder) as scratch:
        scratch.mkdir()
        experiment.make(scratch, progress=progress)
        (scratch / "environment.txt").write_text(environment(), encoding="utf-8")


def _refuse_other_data(experiment: Experiment[Any]) -> None:
    """A finished run is only used for the data that it was made from, where those are at hand."""
    if not experiment.at_hand:
        return
    stored, found = experiment.stored, experiment.fingerprint()
    if stored.config["data"].get("fingerprint", found) != found:  # none beside a promise of privacy
        raise InputError(
            f"{stored.path}: holds a run on other data than {experiment.source}; delete it"
        )


def environment() -> str:
    """Python, the packages that bear on results, and the number of threads, a line each."""
    versions = [f"{name} {metadata.version(name)}" for name in PACKAGES]
    lines = [f"python {platform.python_version()}", *versions, f"threads {torch.get_num_threads()}"]
    return "\n".join(lines) + "\n"


def stores(study: str, dataset: str) -> list[bundles.Store]:
    """The finished runs of a study on a data set, in folders and in bundles, sorted by id."""
    found: dict[str, bundles.Store] = {}
    for path in (ROOT / "saved_models").glob(f"{study}-{dataset}-*"):
        if published := bundles.bundle(path):
            found |= {store.id: store for store in published}
    folders = [bundles.Folder(path) for path in (ROOT / "runs" / "done").glob(f"*{dataset}-*")]
    found |= {store.id: store for store in folders if store.finished}
    kept = [store for store in found.values() if _is_of(store, study, dataset)]
    return sorted(kept, key=lambda store: store.id)


def _is_of(store: bundles.Store, study: str, dataset: str) -> bool:
    config = store.config
    return config["experiment"]["dataset"] == dataset and config.get("study", study) == study
