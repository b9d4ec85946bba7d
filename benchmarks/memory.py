"""Peak memory of training on wide and on long tables, of scoring a wide one, of reading a long one.

Each case runs in a fresh process: a long Parquet table is read as ``scoehr fit`` reads it, and
thinning diffusion is trained up to its 20th batch, or independent columns of the table are scored
against it. Results go to ``benchmarks/memory.json``. Run with ``python -m benchmarks.memory``.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.optim.optimizer import register_optimizer_step_post_hook

from scoehr import generators
from scoehr.data.datasets import load
from scoehr.files import write_json
from scoehr.memory import peak_memory
from scoehr.metrics import METRICS
from scoehr.metrics.arrays import independent_columns, pair
from scoehr.metrics.registry import Pair

COMMAND = "python -m benchmarks.memory"
BATCHES = 20
#: The steps that compare whole tables of codes.
STEPS = ("scores as reported", "marginals", "correlations")


class Case(NamedTuple):
    """A table of patients with so many codes each, and what is done with it."""

    patients: int
    codes: int
    each: int
    stage: str = "train"


CASES = {
    "200,000 x 2,000": Case(200_000, 2_000, 12),
    "46,520 x 10,000": Case(46_520, 10_000, 12),
    "46,520 x 10,000, scores": Case(46_520, 10_000, 12, "score"),
    "5 million rows, reading": Case(400_000, 2_000, 13, "read"),
}


class _Enough(Exception):
    """The 20th batch is done."""


def train_batches(matrix: Any, batches: int = BATCHES) -> None:
    """Train thinning diffusion, as preset, until so many batches are done."""
    done = []

    def count(*_: Any) -> None:
        done.append(1)
        if len(done) == batches:
            raise _Enough

    hook = register_optimizer_step_post_hook(count)
    try:
        generators.preset("thinning", epochs=1).fit(matrix, progress=False)
    except _Enough:
        pass
    finally:
        hook.remove()


def score_columns(matrix: Any) -> None:
    """Score independent columns of the table against the table."""
    made = independent_columns(pair(matrix.counts, matrix.counts)[0], np.random.default_rng(0))
    sets = Pair(matrix.counts, made)
    for step in STEPS:
        for each in METRICS.steps[step]:
            each(sets)


def measure(path: Path, stage: str) -> dict[str, float]:
    """Seconds, and bytes at the peak of this process, by stage."""
    found: dict[str, float] = {"imports_bytes": peak_memory()}
    begin = time.process_time()
    matrix = load("table", path, digits="full").matrix
    found |= {
        "reading_processor_seconds": time.process_time() - begin,
        "reading_bytes": peak_memory(),
    }
    found |= {
        "patients": matrix.shape[0],
        "codes": matrix.shape[1],
        "cells": int(matrix.counts.nnz),
    }
    begin = time.process_time()
    if stage == "train":
        train_batches(matrix)
        found |= {"batches": BATCHES, "training_processor_seconds": time.process_time() - begin}
    if stage == "score":
        score_columns(matrix)
        found |= {"scoring_processor_seconds": time.process_time() - begin}
    return found | {"peak_bytes": peak_memory()}


def in_a_process(case: Case) -> dict[str, float]:
    """:func:`measure` of one case in a process of its own; the table has no metadata of ours."""
    from benchmarks.speed import records_of  # imports more than a training does

    with TemporaryDirectory() as folder:
        path = Path(folder) / "table.parquet"
        table = records_of(case.patients, case.codes, case.each).to_long()
        table.to_parquet(path, index=False)
        line = [sys.executable, "-m", "benchmarks.memory", str(path), case.stage]
        done = subprocess.run(
            line, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[1]
        )
        return {"rows": len(table), **json.loads(done.stdout)}


def main(arguments: list[str]) -> None:
    """Measure, write, print."""
    if arguments:
        print(json.dumps(measure(Path(arguments[0]), arguments[1])))
        return
    found = {}
    for name, case in CASES.items():
        found[name] = in_a_process(case)
        print(f"{name:26}{found[name]['peak_bytes'] / 2**30:6.2f} GiB  {found[name]}", flush=True)
    machine = {
        "threads": torch.get_num_threads(),
        "cores": os.cpu_count(),
        "platform": platform.platform(),
    }
    write_json(Path(__file__).with_suffix(".json"), {"command": COMMAND, "cases": found, **machine})


if __name__ == "__main__":
    main(sys.argv[1:])
