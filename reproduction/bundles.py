"""Bundles: the published runs of a study on a data set at a profile, in readable files.

``saved_models/<study>-<data set>-<profile>/`` (study: synthesis, dualk, mortality_attack) holds

====================  ==============================================================================
``runs.csv``          a row a run: run, row, title, seed, verdict, kind, parameters, seconds, scores
``settings.json``     {run: its config.json without digests and what belongs to the weights}
``results.json``      {run: {metrics: its metrics.json, costs: its costs.json}}; in ``metrics`` the
                      entry ``reference`` is a key of ``references.json``
``references.json``   {key: the scores of the reference points}, each once
``scores.parquet``    run, metric, value, low, high, gap: the numbers of ``results.json`` as a table
``histories.parquet`` run, then the columns of every history.csv
``frequencies.parquet``  run, code, then the columns of every frequency.csv
``draws.parquet``     run, then the columns of every draws.csv (bootstrap draws of figures)
``maps.parquet``      run, name, shape, values: arrays of figures, in the order of their cells
``environment.txt``   packages and their versions, a line each
``models/<row>-s<seed>/``  where weights are published, and only there: config.json with its seal,
                      history.csv, vocabulary.csv, pairs.parquet, MODEL_CARD.md, DATA_CARD.md,
                      ``*.safetensors`` and ``model-<member>/model.{json,safetensors}``
====================  ==============================================================================

A file that no run of the bundle needs is left out. Runs are sorted by id, so that the same runs
give the same bytes. A synthetic table is published as ``synthetic_data/<run>.parquet``. A run
that is not published is a folder ``runs/done/<run>`` with config.json, metrics.json,
costs.json, history.csv, frequency.csv, draws.csv, maps.safetensors, environment.txt,
synthetic.parquet and weights. Whole patients are no file but a folder, of the same name without
its ending (:mod:`scoehr.data.folder`).
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet as pq
from safetensors.numpy import load_file

from scoehr.files import InputError, read_json, replacing, write_json

#: Tables of a run's folder, and the Parquet files that gather them.
TABLES = {
    "history": "histories.parquet",
    "frequency": "frequencies.parquet",
    "draws": "draws.parquet",
}
#: Entries of config.json that seal the files of a saved model.
SEALS = ("format", "weights", "vocabulary", "history", "pairs", "sha256")
#: Entries of config.json that belong to the weights alone.
LEARNED = ("columns", "rules")
#: Files of a run that a bundle gathers, that lie elsewhere, or that are of single stays and never
#: published (``trained``: hashes of the stays a model saw); all others belong to its model.
GATHERED = (
    *("metrics.json", "costs.json", "environment.txt", "frequency.csv", "draws.csv"),
    *("maps.safetensors", "synthetic.parquet", "trained.safetensors"),
)
#: Keys under which runs count people.
PEOPLE = ("stays", "deaths", "patients")
#: Keys under which runs note the number of their parameters.
PARAMETERS = ("parameters", "in all")


def _table(place: Path) -> Path:
    """Synthetic patients: a folder of whole ones if it is there, else one table."""
    return place if place.is_dir() else place.with_name(f"{place.name}.parquet")


class Folder:
    """The files of a run that lies in a folder of its own."""

    def __init__(self, path: Path):
        self.path = self.model = path
        self.id = path.name
        self.synthetic = _table(path / "synthetic")

    @property
    def finished(self) -> bool:
        """Whether the run is there, scores included."""
        return all((self.path / name).exists() for name in ("config.json", "metrics.json"))

    @property
    def config(self) -> dict[str, Any]:
        """The settings, and what the run was made from."""
        return read_json(self.path / "config.json")

    @property
    def metrics(self) -> dict[str, Any]:
        """The scores, with those of the reference points."""
        return read_json(self.path / "metrics.json")

    @property
    def costs(self) -> dict[str, Any]:
        """Empty where the run noted none."""
        path = self.path / "costs.json"
        return read_json(path) if path.exists() else {}

    @property
    def environment(self) -> str:
        """Versions, a line each."""
        path = self.path / "environment.txt"
        return path.read_text(encoding="utf-8") if path.exists() else ""

    @property
    def maps(self) -> dict[str, np.ndarray]:
        """Empty where the run has none."""
        path = self.path / "maps.safetensors"
        return load_file(path) if path.exists() else {}

    def table(self, name: str) -> pd.DataFrame | None:
        """One of :data:`TABLES`; None where the run has none."""
        path = self.path / f"{name}.csv"
        if not path.exists() or not path.stat().st_size:
            return None
        return pd.read_csv(path, dtype={"code": str}, keep_default_na=False, na_values=[""])


class Bundled:
    """The files of a run that is published in a bundle, as :class:`Folder` has them."""

    def __init__(self, bundle: Bundle, run: str):
        self.bundle, self.id = bundle, run
        facts = self.config["experiment"]
        self.model = bundle.path / "models" / f"{facts['name']}-s{facts['seed']}"
        self.synthetic = _table(bundle.path.parents[1] / "synthetic_data" / run)

    finished = True

    @property
    def path(self) -> Path:
        """The folder that people are pointed to."""
        return self.model if self.model.exists() else self.bundle.path

    @property
    def config(self) -> dict[str, Any]:
        """The settings, and what the run was made from."""
        return self.bundle.settings[self.id]

    @property
    def metrics(self) -> dict[str, Any]:
        """The scores, with those of the reference points."""
        metrics = self.bundle.results[self.id]["metrics"]
        if "reference" not in metrics:
            return metrics
        return metrics | {"reference": self.bundle.references[metrics["reference"]]}

    @property
    def costs(self) -> dict[str, Any]:
        """Seconds, memory and parameters."""
        return self.bundle.results[self.id]["costs"]

    @property
    def environment(self) -> str:
        """Versions, a line each."""
        return Folder(self.bundle.path).environment

    @property
    def maps(self) -> dict[str, np.ndarray]:
        """Arrays of figures by name."""
        rows = self.bundle.rows("maps.parquet", self.id).to_pylist()
        return {
            row["name"]: np.array(row["values"], dtype=np.float32).reshape(row["shape"])
            for row in rows
        }

    def table(self, name: str) -> pd.DataFrame | None:
        """One of :data:`TABLES`; None where the run has none."""
        found = self.bundle.rows(TABLES[name], self.id)
        if not found.num_rows:
            return None
        lacking = [key for key in found.column_names if found[key].null_count == found.num_rows]
        return found.drop_columns(lacking).to_pandas()


Store = Folder | Bundled


class Bundle:
    """A folder of published runs; see the head of this module."""

    def __init__(self, path: Path):
        self.path = path

    @cached_property
    def settings(self) -> dict[str, dict[str, Any]]:
        """Entries of config.json by run."""
        return read_json(self.path / "settings.json")

    @cached_property
    def results(self) -> dict[str, dict[str, Any]]:
        """Scores and costs by run."""
        return read_json(self.path / "results.json")

    @cached_property
    def references(self) -> dict[str, dict[str, Any]]:
        """Scores of the reference points by key."""
        return read_json(self.path / "references.json")

    @cached_property
    def _tables(self) -> dict[str, pa.Table]:
        return {path.name: pq.read_table(path) for path in self.path.glob("*.parquet")}

    def rows(self, file: str, run: str) -> pa.Table:
        """The rows of a run in a Parquet file, without the name of the run; none if it has none."""
        table = self._tables.get(file, pa.table({"run": pa.array([], pa.string())}))
        return table.filter(pa.compute.equal(table["run"], run)).drop_columns(["run"])

    def __iter__(self) -> Iterator[Bundled]:
        return (Bundled(self, run) for run in self.settings)


def bundle(path: Path) -> Bundle | None:
    """The bundle in a folder; None where there is none."""
    settings = path / "settings.json"
    return _read(path, settings.stat().st_mtime_ns) if settings.exists() else None


@lru_cache(maxsize=16)
def _read(path: Path, changed: int) -> Bundle:
    """A bundle as it was when last changed."""
    return Bundle(path)


def find(root: Path, run: str, name: str) -> Store:
    """Where a run lies: in its folder ``runs/done/<run>``, or published in the bundle ``name``.

    A run that is nowhere has a folder that is not finished.
    """
    folder = Folder(root / "runs" / "done" / run)
    published = bundle(root / "saved_models" / name)
    if not folder.finished and published is not None and run in published.settings:
        return Bundled(published, run)
    return folder


# Gathering -------------------------------------------------------------------------------------


def gather(
    path: Path, stores: Iterable[Store], headline: Sequence[str], models: Container[str]
) -> None:
    """Write a bundle of finished runs, all or nothing.

    Args:
        path: the bundle's folder; what it held before and is not among the runs is left out.
        stores: the runs.
        headline: metrics that ``runs.csv`` shows.
        models: ids of the runs whose weights are published.

    Raises:
        InputError: two runs were made with different versions of packages.
    """
    runs = sorted(stores, key=lambda store: store.id)
    results, references = _results(runs)
    with replacing(path) as scratch:
        scratch.mkdir()
        write_json(scratch / "settings.json", {run.id: _settings(run) for run in runs})
        write_json(scratch / "results.json", results)
        if references:
            write_json(scratch / "references.json", references)
        numbers = [_scores(run) for run in runs]
        rows = [_summary(*each, headline) for each in zip(runs, numbers, strict=True)]
        pd.DataFrame(rows).to_csv(scratch / "runs.csv", index=False, float_format="%.4g")
        _write(scratch / "scores.parquet", numbers)
        for name, file in TABLES.items():
            _write(scratch / file, [_rows(run, run.table(name)) for run in runs])
        _write(scratch / "maps.parquet", [_maps(run) for run in runs])
        if versions := _environment(runs):
            (scratch / "environment.txt").write_text(versions, encoding="utf-8")
        for run in runs:
            if run.id in models:
                _copy_model(run, scratch / "models")


def _summary(run: Store, numbers: pa.Table, headline: Sequence[str]) -> dict[str, Any]:
    """A row of ``runs.csv``: what a run is, what it cost, and its main scores."""
    config, metrics = run.config, run.metrics
    facts, costs = config["experiment"], run.costs or metrics.get("costs", {})
    found = dict(zip(*(numbers[name].to_pylist() for name in ("metric", "value")), strict=True))
    sizes = (costs, metrics, config.get("parameters", {}))
    seconds = [value for name, value in costs.items() if name.endswith("_seconds")]
    return {
        "run": run.id,
        "row": facts["name"],
        "title": facts["title"],
        "seed": facts["seed"],
        "verdict": config.get("verdict", "finished"),
        "kind": config.get("generator") or facts.get("kind") or facts.get("task"),
        "parameters": next(
            (size[key] for size in sizes for key in PARAMETERS if key in size), None
        ),
        "seconds": costs.get("seconds") or config.get("seconds") or sum(seconds),
        **{name: found.get(name) for name in headline if name in found},
    }


def _settings(run: Store) -> dict[str, Any]:
    return {key: value for key, value in run.config.items() if key not in (*SEALS, *LEARNED)}


def _results(runs: list[Store]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Scores and costs by run, and the reference points by a key that is a part of their digest."""
    results, references = {}, {}
    for run in runs:
        metrics = _without_few(run.metrics)
        if "reference" in metrics:
            key = digest(metrics["reference"])[:12]
            references[key] = metrics["reference"]
            metrics["reference"] = key
        results[run.id] = {"metrics": metrics, "costs": run.costs}
    return results, dict(sorted(references.items()))


def _without_few(value: Any) -> Any:
    """The same without counts of 1 to 10 people, which are not published: null in their place."""
    if isinstance(value, list):
        return [_without_few(each) for each in value]
    if not isinstance(value, Mapping):
        return value
    return {
        key: None if key in PEOPLE and _few(each) else _without_few(each)
        for key, each in value.items()
    }


def _few(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value <= 10


def digest(value: Any) -> str:
    """SHA-256 of a value of JSON, in whatever order its keys stand."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def scores(metrics: Mapping[str, Any], path: str = "") -> Iterator[dict[str, Any]]:
    """The numbers of a run's ``metrics``: metric, value, low, high and gap of each.

    A dictionary with ``value`` has its limits beside it (``low`` and ``high``, or
    ``interval``); those of plain numbers, and their floor-normalised gaps, stand under
    ``interval`` and ``gap``.
    """
    for key, value in metrics.items():
        name = f"{path}{key}"
        if key in ("reference", "gap", "interval", "versions"):
            continue
        if isinstance(value, Mapping) and "value" in value:
            low, high = value.get("interval") or (value.get("low"), value.get("high"))
            yield {"metric": name, "value": value["value"], "low": low, "high": high, "gap": None}
        elif isinstance(value, Mapping):
            yield from scores(value, f"{name}.")
        elif isinstance(value, int | float):
            yield {"metric": name, "value": value, "low": None, "high": None, "gap": None}


def _scores(run: Store) -> pa.Table:
    metrics = run.metrics
    gaps, limits = metrics.get("gap", {}), metrics.get("interval", {})
    rows = []
    for row in scores(metrics):
        name = row["metric"]
        known = name if name in gaps else name.partition(".")[2]
        low, high = limits.get(known) or (row["low"], row["high"])
        rows.append({"run": run.id, **row, "low": low, "high": high, "gap": gaps.get(known)})
    kinds = [("run", pa.string()), ("metric", pa.string())]
    kinds += [(name, pa.float64()) for name in ("value", "low", "high", "gap")]
    return pa.Table.from_pylist(rows, schema=pa.schema(kinds))


def _rows(run: Store, table: pd.DataFrame | None) -> pa.Table | None:
    """A table with the name of its run; an empty cell stays not a number, which no null is."""
    if table is None:
        return None
    columns = {"run": pa.array([run.id] * len(table))}
    for name, values in table.items():
        numbers = pd.api.types.is_numeric_dtype(values)
        columns[str(name)] = pa.array(values.to_numpy() if numbers else values.to_list())
    return pa.table(columns)


def _maps(run: Store) -> pa.Table | None:
    arrays = run.maps
    if not arrays:
        return None
    names = sorted(arrays)
    values = [arrays[name].astype(np.float32).ravel() for name in names]
    return pa.table(
        {
            "run": [run.id] * len(names),
            "name": names,
            "shape": pa.array([list(arrays[name].shape) for name in names], pa.list_(pa.int32())),
            "values": pa.array(values, pa.list_(pa.float32())),
        }
    )


def _write(path: Path, tables: list[pa.Table | None]) -> None:
    """One Parquet of the tables of all runs; a column that a run lacks is null there."""
    found = [table for table in tables if table is not None]
    if found:
        whole = pa.concat_tables(found, promote_options="permissive")
        pq.write_table(whole, path, compression="zstd")


def _environment(runs: list[Store]) -> str:
    found = {run.environment for run in runs} - {""}
    if len(found) > 1:
        names = ", ".join(run.id for run in runs)
        raise InputError(f"made with different versions of packages: {names}; make them again")
    return "".join(found)


def _copy_model(run: Store, models: Path) -> None:
    """The files of a model, where its weights are there."""
    files = [path for path in run.model.rglob("*") if path.is_file()]
    kept = [path for path in files if path.name not in GATHERED and path.parent != run.synthetic]
    if not any(path.suffix == ".safetensors" for path in kept):
        return
    facts = run.config["experiment"]
    for path in kept:
        if path.name == "history.csv" and "history" not in read_json(run.model / "config.json"):
            continue
        place = models / f"{facts['name']}-s{facts['seed']}" / path.relative_to(run.model)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, place)
