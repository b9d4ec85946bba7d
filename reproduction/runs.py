"""The folder of a run: what it is named, whether it is finished, and what every finished one holds."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from scoehr.data import datasets
from scoehr.files import ROOT, read_json


def mark(settings: Mapping[str, Any]) -> str:
    """Eight hexadecimal digits that stand for all settings at the end of a run's name.

    An entry ``data`` that is empty is left out: the open data set as published is meant (see :func:`own_data`).
    """
    named = {key: value for key, value in settings.items() if key != "data" or value}
    return hashlib.sha256(json.dumps(named, sort_keys=True).encode()).hexdigest()[:8]


def own_data(dataset: str, fingerprint: str) -> str:
    """What the id of a run says of its data: nothing for an open data set as published, else their fingerprint."""
    return "" if datasets.is_open(dataset, fingerprint) else fingerprint


def place_name(dataset: str, profile: str, data: str) -> str:
    """Name of the folder for all that is made of some data at a profile; ``data`` as by :func:`own_data`."""
    return "-".join(part for part in (dataset, profile, data[:8]) if part)


class Planned(ABC):
    """What determines a run, and so where it lies."""

    @property
    @abstractmethod
    def id(self) -> str:
        """Name of the run's folder."""

    @property
    def folder(self) -> Path:
        return ROOT / "saved_models" / self.id

    @property
    def synthetic_path(self) -> Path:
        """The table of synthetic patients, for runs that make some."""
        return ROOT / "synthetic_data" / f"{self.id}.parquet"

    @property
    def finished(self) -> bool:
        """Whether its run is there, scores included."""
        return all((self.folder / name).exists() for name in ("config.json", "metrics.json"))


class Results(ABC):
    """What a finished run leaves in its folder, read as far as asked."""

    @property
    @abstractmethod
    def folder(self) -> Path: ...

    @cached_property
    def config(self) -> dict[str, Any]:
        """The settings, and what the run was made from."""
        return read_json(self.folder / "config.json")

    @cached_property
    def metrics(self) -> dict[str, Any]:
        """The scores."""
        return read_json(self.folder / "metrics.json")

    @cached_property
    def history(self) -> pd.DataFrame:
        """A row an epoch of training."""
        return pd.read_csv(self.folder / "history.csv")

    @cached_property
    def costs(self) -> dict[str, Any]:
        """Seconds, memory and parameters, for runs that note them."""
        return read_json(self.folder / "costs.json")


class Finished(Results):
    """A finished run, known by its folder alone."""

    def __init__(self, folder: Path):
        self._folder = folder

    @property
    def folder(self) -> Path:
        return self._folder

    @property
    def id(self) -> str:
        return self.folder.name
