"""The plan of a study: a YAML file of profiles, from small to large, and of rows.

Which profile is shown is decided here: the largest one whose runs are all there, so that published
runs stand in a book in place of smaller ones, all of them or none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from shutil import copyfile, copytree
from typing import Any, TypeVar

import yaml

from reproduction import bundles
from reproduction.runs import Experiment
from scoehr.files import ROOT, InputError

MAIN = "main"  # the group of the rows that every book shows
E = TypeVar("E", bound=Experiment[Any])
Rows = Mapping[str, E]


class Plan:
    """A YAML file with ``profiles`` and whatever rows its study has; read again when it changes."""

    def __init__(self, path: Path):
        self.path = path

    @property
    def text(self) -> dict[str, Any]:
        """All of it; not to be altered."""
        return _parsed(self.path, self.path.stat().st_mtime_ns)

    @property
    def profiles(self) -> list[str]:
        """The profiles, from small to large."""
        return list(self.text["profiles"])

    def upward(self, profile: str) -> list[str]:
        """A profile and the larger ones, from small to large; one that the plan lacks alone."""
        sizes = self.profiles
        return sizes[sizes.index(profile) :] if profile in sizes else [profile]

    def scale(self, profile: str) -> dict[str, Any]:
        """The sizes of a profile; InputError for one that the plan lacks."""
        if profile not in self.text["profiles"]:
            raise InputError(
                f"profile {profile!r} is unknown; choose one of {', '.join(self.profiles)}"
            )
        return self.text["profiles"][profile]

    def seeds(self, profile: str, group: str) -> int:
        """How many random seeds the rows of a group are run under at a profile."""
        numbers = self.scale(profile).get("seeds", {})
        return numbers.get(group, numbers.get("others", 1))


@lru_cache(maxsize=8)
def _parsed(path: Path, changed: int) -> dict[str, Any]:
    """A plan as it was when last changed."""
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def replicates(experiment: E) -> list[E]:
    """A row of the plan at all its random seeds, its own first."""
    numbers = range(experiment.seed, experiment.seed + experiment.seeds)
    return [replace(experiment, seed=seed) for seed in numbers]


def whole(profiles: Iterable[str], rows: Callable[[str], Rows[E]]) -> Rows[E]:
    """The rows at the largest of these profiles at which every one is finished; else at the first.

    Args:
        profiles: from small to large.
        rows: the rows that have to be finished, at a profile.
    """
    first, *larger = profiles
    for profile in reversed(larger):
        found = rows(profile)
        if found and all(row.finished for row in found.values()):
            return found
    return rows(first)


def done(row: E) -> list[E]:
    """A row at those of its random seeds at which it is finished."""
    return [each for each in replicates(row) if each.finished]


# Publishing ------------------------------------------------------------------------------------


def publish(plan: Plan, rows: Iterable[Experiment[Any]]) -> Path | None:
    """Gather the finished runs of rows of one data set and profile into their bundle.

    Which rows are published with their weights, and with their synthetic patients, at their first
    random seed, stands in the plan under ``published``. None if no run is finished.

    Raises:
        InputError: a run is of credentialed data.
    """
    runs = [run for row in rows for run in done(row)]
    if not runs:
        return None
    for run in runs:
        if run.stored.config.get("credentialed") is not False:
            raise InputError(f"{run.id}: is of credentialed data, which stay where they are")
    path = ROOT / "saved_models" / runs[0].bundle
    shown = plan.text["published"]
    models = {run.id for run in runs if _is_listed(run, shown["weights"])}
    bundles.gather(path, [run.stored for run in runs], shown["headline"], models)
    for run in runs:
        made, place = run.stored.synthetic, ROOT / "synthetic_data"
        if _is_listed(run, shown.get("patients", {})) and made.parent != place:
            place.mkdir(exist_ok=True)
            if made.is_dir():
                copytree(made, place / run.id, dirs_exist_ok=True)
            else:
                copyfile(made, place / f"{run.id}.parquet")
    return path


def _is_listed(run: Experiment[Any], listed: Mapping[str, Any]) -> bool:
    """Whether a run is the first of a row that is listed for its data set and profile."""
    return run.seed == 0 and run.name in listed.get(f"{run.dataset}-{run.profile}", ())
