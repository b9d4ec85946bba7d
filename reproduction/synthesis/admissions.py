"""Runs of the generator of admissions: made once, then read.

A run leaves ``saved_models/visits-<data set>-<profile>-s<seed>`` (config.json, history.csv, metrics.json, costs.json,
environment.txt, weights) and ``synthetic_data/visits-<data set>-<profile>-s<seed>.parquet``. The profiles are those of
``workflow/experiments.yaml``, which know this generator as ``visits``.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from reproduction import figures
from reproduction.runs import Planned, Results, own_data
from reproduction.synthesis import claims, experiments
from reproduction.synthesis.seeds import POINTS, Estimate
from scoehr.data import datasets, visits
from scoehr.data.datasets import Account, Digits
from scoehr.data.visits import Visits, VisitSplit
from scoehr.files import ROOT, InputError, check_seed, replacing, write_json
from scoehr.generators.visits import VisitConfig, VisitThinning
from scoehr.metrics.visits import VISIT_METRICS, VISIT_REFERENCES, evaluate
from scoehr.training import parameters

#: Patients of each side that are compared, as a share of those trained on: only one in six comes back.
COMPARED = 1 / 3
#: Validation patients whose loss is written down, at most.
VALIDATED = 1000
NAMES = POINTS | {"independent": "independent codes", "shuffled": "shuffled admissions"}


@dataclass(frozen=True)
class VisitRun(Planned, Results):
    """A run, finished or to be made; ``metrics`` are the results of :func:`scoehr.metrics.visits.evaluate`."""

    dataset: str = "simulated"
    source: str | None = None  # where the data lie on this machine
    profile: str = "quick"
    seed: int = 0
    digits: Digits = "three"

    def __post_init__(self) -> None:
        object.__setattr__(self, "seed", check_seed(self.seed))

    @property
    def id(self) -> str:
        data = (
            self.source
            and own_data(self.dataset, cohort(self.dataset, self.source, self.digits)[2])[:8]
        )
        return "-".join(filter(None, ["visits", self.dataset, self.profile, f"s{self.seed}", data]))

    @property
    def settings(self) -> VisitConfig:
        """Those of the generator at the scale of the profile."""
        return experiments.scaled(VisitConfig(), "visits", self.profile)

    def patients(self) -> tuple[VisitSplit, str]:
        """Training patients of the profile, validation and held-out ones; and a fingerprint of them."""
        parts, _, digest = cohort(self.dataset, self.source, self.digits)
        train = _first(parts.train, experiments.most("visits", self.profile))
        return parts._replace(train=train, validation=_first(parts.validation, VALIDATED)), digest

    @cached_property
    def synthetic(self) -> Visits:
        """The synthetic patients; drawn again from the weights where the table is not kept."""
        if self.synthetic_path.exists():
            return Visits.read(self.synthetic_path)
        return self.generator.sample(self.metrics["n"]["patients"], seed=self.seed)

    @cached_property
    def generator(self) -> VisitThinning:
        return VisitThinning.load(self.folder)


def _first(patients: Visits, most: int | None) -> Visits:
    return patients.take(np.arange(len(patients))[:most])


@lru_cache(maxsize=2)
def cohort(
    dataset: str, source: str | None = None, digits: Digits = "three"
) -> tuple[VisitSplit, Account, str]:
    """A data set cut as :func:`reproduction.synthesis.experiments.cohort` cuts it, its account, and a fingerprint."""
    whole, account = visits.load(dataset, source, digits=digits)
    digest = hashlib.sha256(
        whole.counts.indices.tobytes() + whole.counts.indptr.tobytes() + whole.starts.tobytes()
    )
    digest.update("\n".join(whole.codes).encode())
    return whole.split(), account, digest.hexdigest()[:16]


def run(planned: VisitRun, *, progress: bool = True) -> VisitRun:
    """Make the run, or take up an interrupted one; nothing is done if it is finished.

    Raises:
        InputError: the folder holds a run with other settings, or the data cannot be read.
    """
    if planned.finished:
        _same(planned)
        return planned
    parts, digest = planned.patients()
    model, begun = VisitThinning(planned.settings), time.perf_counter()
    store = ROOT / "runs" / "stages"
    model.fit(parts.train, parts.validation, seed=planned.seed, folder=store, progress=progress)
    fitted = time.perf_counter()
    n = max(1, min(len(parts.test), round(COMPARED * len(parts.train))))
    synthetic = model.sample(n, seed=planned.seed, progress=progress)
    costs = {
        "training_seconds": float(model.history["seconds"].sum()),
        "fitting_seconds": fitted - begun,
        "sampling_seconds": time.perf_counter() - fitted,
        "patients_sampled": n,
        "parameters": parameters(model.model),
        "threads": torch.get_num_threads(),
    }
    results = evaluate(parts.test, synthetic, train=parts.train, n=n, progress=progress)
    synthetic.write(planned.synthetic_path)
    facts = {
        "dataset": planned.dataset,
        "profile": planned.profile,
        "seed": planned.seed,
        "digits": planned.digits,
    }
    sizes = {name: len(part) for name, part in parts._asdict().items()}
    with replacing(planned.folder) as scratch:
        scratch.mkdir()
        credentialed = datasets.credentialed(planned.dataset, digest)
        model.write(
            scratch,
            experiment=facts,
            credentialed=credentialed,
            data={"fingerprint": digest, **sizes},
        )
        write_json(scratch / "metrics.json", results)
        write_json(scratch / "costs.json", costs)
        (scratch / "environment.txt").write_text(experiments.environment(), encoding="utf-8")
    return planned


def _same(planned: VisitRun) -> None:
    """A run is only reused with the settings it was made with."""
    where = planned.folder / "config.json"
    if (
        planned.config["config"] != asdict(planned.settings)
        or planned.config["experiment"]["digits"] != planned.digits
    ):
        raise InputError(
            f"{where}: the run was made with other settings; delete the folder to run anew"
        )


def shown(dataset: str, source: str | None, profile: str, seed: int = 0) -> list[VisitRun]:
    """The finished runs over random seeds at the largest profile, from ``profile`` up, that has one from ``seed`` on.

    Made at ``profile`` if there is none.
    """
    seed = check_seed(seed)
    for size in reversed(experiments.upward(profile)):
        if found := finished(dataset, source, size, seed):
            return found
    return [run(VisitRun(dataset, source, profile, seed))]


def finished(dataset: str, source: str | None, profile: str, seed: int = 0) -> list[VisitRun]:
    """The finished runs at consecutive random seeds from ``seed`` on."""
    found: list[VisitRun] = []
    while (next_ := VisitRun(dataset, source, profile, seed + len(found))).finished:
        found.append(next_)
    return found


# What is told -------------------------------------------------------------------------------------------------------


def told(runs: Sequence[VisitRun]) -> str:
    """What the runs were made of and what they cost, in words."""
    sizes, costs, n = runs[0].config["data"], runs[0].costs, runs[0].metrics["n"]
    return (
        f"{figures.patients(sizes['train'])} training patients; {n['patients']:,} synthetic patients compared with as "
        f"many of {figures.patients(sizes['test'])} held-out ones. Training took {costs['training_seconds']:,.0f} s and "
        f"sampling {costs['sampling_seconds']:,.0f} s on {costs['threads']} thread(s). Runs: "
        + ", ".join(f"`{run.id}`" for run in runs)
        + "."
    )


def said(runs: Sequence[VisitRun]) -> str:
    """The sentence of a caption on random seeds and intervals."""
    if len(runs) == 1:
        return "One random seed; the intervals, 95 %, cover the patients compared and not another training."
    return f"Means over {len(runs)} random seeds; the intervals, 95 % of Student's t, cover training and sampling."


def published() -> dict[str, list[VisitRun]]:
    """Finished runs of each data set at the largest profile that has any, over random seeds from 0; none is made."""
    sizes = experiments.profiles()
    found: dict[str, list[VisitRun]] = {}
    for name in datasets.DATASETS:
        for size in sizes:
            if runs := finished(name, None, size):
                found[name] = runs
    return found


@figures.styled
def shares(curves: dict[str, Any]) -> Figure:
    """Shares of patients by number of admissions (logarithmic), and of admissions by number of codes."""
    figure, axes = figures._panels(2, width=3.7, height=2.9)
    words = {"numbers": ("admissions", "patients (%)"), "sizes": ("codes", "admissions (%)")}
    for ax, (key, (xlabel, ylabel)) in zip(axes, words.items(), strict=True):
        for side, colour in figures.colours(["real", "synthetic"]).items():
            values = np.array(
                [100 * share or np.nan for share in curves[key][side]]
            )  # no mark for nothing
            ax.plot(np.arange(len(values)), values, "o-", markersize=3, color=colour, label=side)
        ax.set(xlabel=xlabel, ylabel=ylabel)
        ax.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    axes[0].set_yscale("log")
    axes[0].legend()
    return figure


def scores(runs: Sequence[VisitRun]) -> pd.DataFrame:
    """A row a score: the generator with its interval, the reference points, and the floor-normalised gap."""
    sheet = {}
    for name, metric in VISIT_METRICS.items():
        point = {NAMES[key]: runs[0].metrics["reference"][key][name] for key in VISIT_REFERENCES}
        gap = str(_estimate(run.metrics["gap"][name] for run in runs))
        sheet[metric.title] = {"synthetic": str(estimate(runs, name))} | point | {"gap": gap}
    table = pd.DataFrame.from_dict(sheet, orient="index")
    return table.map(lambda value: value if isinstance(value, str) else figures.cell(value))


def estimate(runs: Sequence[VisitRun], name: str) -> Estimate:
    """A score over random seeds; of one run alone, with its interval over patients."""
    metric = VISIT_METRICS[name]
    alone = runs[0].metrics["interval"].get(name) if len(runs) == 1 else None
    found = _estimate((run.metrics["visits"][name] for run in runs), alone)
    low, high = np.clip([found.low, found.high], metric.low, metric.high)
    return found._replace(low=float(low), high=float(high))


def _estimate(values: Iterable[float | None], limits: Sequence[float] | None = None) -> Estimate:
    numbers = [value for value in values if value is not None]
    if len(numbers) < 2:
        low, high = limits or (np.nan, np.nan)
        return Estimate(numbers[0] if numbers else np.nan, low, high, len(numbers), 0)
    return Estimate(*claims.mean(numbers), len(numbers), 0)
