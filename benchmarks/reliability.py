"""How the project stands up to mishaps: kills, damaged tables and models, leaks, odd commands,
nearly equal data.

Run with ``python -m benchmarks.reliability``; results go to ``benchmarks/reliability.json``.
``--only KIND`` tries one kind and keeps the rest, ``--number N`` tries at most so many of each.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import platform
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

import scoehr
from benchmarks import altered_models, mutated_tables, planted_leaks, processes
from benchmarks.trials import Outcome
from scoehr import generators
from scoehr.data.matrix import CodeMatrix
from scoehr.files import CHECKOUT, read_json, write_json

COMMAND = "python -m benchmarks.reliability"
RESULT = Path(__file__).with_suffix(".json")
#: Faults of each kind that are kept in words; of a kind with no more cases, all are.
NAMED = 12


# Two trainings ----------------------------------------------------------------------------------

TINY: dict[str, dict[str, Any]] = {
    **altered_models.PRESETS,
    "reported": {"epochs": 1, "autoencoder_epochs": 1, "width": 16, "latent": 16, "steps": 3},
}
NEARLY: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "two codes exchanged in half of the patients": lambda counts: np.vstack([counts[:40, [1, 0,
    *range(2, 24)]], counts[40:]]),
    "two columns exchanged": lambda counts: counts[:, [*range(22), 23, 22]],
    "one diagnosis moved to another code": lambda counts: _moved(counts),
    "two patients exchanged": lambda counts: counts[[1, 0, *range(2, len(counts))]],
}  # fmt: skip


def _moved(counts: np.ndarray) -> np.ndarray:
    new = counts.copy()
    row = int((counts[:, 3] > 0).argmax())
    new[row, 3] -= 1
    new[row, 4] += 1
    return new


def _weights(
    name: str, data: CodeMatrix, folder: Path | None = None
) -> dict[str, dict[str, Tensor]]:
    model = generators.preset(name, **TINY[name])
    return model.fit(data, seed=0, folder=folder, progress=False)._weights()


def _same(one: dict[str, dict[str, Tensor]], other: dict[str, dict[str, Tensor]]) -> bool:
    digests = [_digest(weights) for weights in (one, other)]
    return digests[0] == digests[1]


def _digest(weights: dict[str, dict[str, Tensor]]) -> str:
    digest = hashlib.sha256()
    for file in sorted(weights):
        for name in sorted(weights[file]):
            digest.update(name.encode() + weights[file][name].detach().numpy().tobytes())
    return digest.hexdigest()


def twins(number: int, seed: int, folder: Path) -> Iterator[Outcome]:
    """A training in the folder of checkpoints that one on nearly the same table has left."""
    data = altered_models.patients()
    pairs = [(name, change) for name in ("thinning", "edm", "fast", "medgan") for change in NEARLY]
    for name, change in pairs[:number]:
        store = folder / name / change
        other = CodeMatrix.from_array(
            NEARLY[change](data.dense(np.int64)), data.codes, titles=data.titles
        )
        _weights(name, data, store)
        beside, alone = _weights(name, other, store), _weights(name, other)
        yield Outcome(
            f"{name}: {change}",
            "" if _same(beside, alone) else "went on from weights of the other table",
        )


def repeats(number: int, seed: int, folder: Path) -> Iterator[Outcome]:
    """The same training and sample, twice."""
    del folder
    for name in list(TINY)[:number]:
        drawn = [altered_models.fitted(name, TINY[name], seed) for _ in range(2)]
        same = _same(drawn[0]._weights(), drawn[1]._weights())
        samples = [model.sample(30, seed=seed, progress=False) for model in drawn]
        fault = "other patients" if not samples[0].equals(samples[1]) else ""
        yield Outcome(name, fault if same else "other weights")


# Memory -----------------------------------------------------------------------------------------


def memory(number: int, seed: int, folder: Path) -> Iterator[Outcome]:
    """What ``benchmarks/memory.json`` measured: no peak reaches the size of the dense matrix in 32
    bits.
    """
    del seed, folder
    path = RESULT.with_name("memory.json")
    measured = read_json(path)["cases"] if path.exists() else {}
    for name, case in list(measured.items())[:number]:
        dense, peak = 4 * case["patients"] * case["codes"], case["peak_bytes"]
        yield Outcome(
            f"{name}: {peak / 1e9:.2f} GB",
            "" if peak < dense else f"peak of {peak / 1e9:.2f} GB, dense {dense / 1e9:.2f} GB",
        )


# Kinds ------------------------------------------------------------------------------------------


class Kind(NamedTuple):
    """A kind of trial: in words, how many by default, what makes them (number, seed, folder)."""

    what: str
    number: int
    trial: Callable[[int, int, Path], Iterator[Outcome]]


KINDS = {
    "kills": Kind(
        "Killed (kill −9) at a random moment, then the command again: other bits, half a result, "
        "refusal, litter",
        16,
        processes.killed,
    ),
    "tables": Kind(
        "Tables damaged in one to three ways (own, MIMIC-III, MIMIC-IV, Diabetes 130-US; CSV, "
        "gzip, zip, Parquet): "
        "a traceback, no answer, an unclear message, another value than a second reader finds",
        1200,
        mutated_tables.cases,
    ),
    "models": Kind(
        "Saved models altered (bits, entries, rows, tensors, files): a traceback, other patients "
        "drawn",
        400,
        altered_models.cases,
    ),
    "notebooks": Kind(
        "Leaks planted in notebooks (ids, dates, paths, records, small counts): published",
        2000,
        lambda number, seed, folder: planted_leaks.notebooks(number, seed),
    ),
    "folders": Kind(
        "Leaks planted in folders of runs and samples: published",
        2 * len(planted_leaks.PLANTS),
        planted_leaks.folders,
    ),
    "published": Kind(
        "The published files themselves: refused by the check",
        10_000,
        lambda number, seed, folder: islice(planted_leaks.sound_ones(), number),
    ),
    "commands": Kind(
        "Odd commands (paths, seeds, settings, outputs, terminals): another status than 0 or 2, "
        "several lines, "
        "a file changed by what was refused",
        len(processes.odd_commands()),
        lambda number, seed, folder: processes.odd(number, folder),
    ),
    "twins": Kind(
        "A training beside the checkpoints of one on nearly the same table: the other's weights "
        "taken up",
        4 * len(NEARLY),
        twins,
    ),
    "repeats": Kind(
        "The same training and sample twice, one thread: other bits", len(TINY), repeats
    ),
    "memory": Kind(
        "Reading and training on large tables: a peak as large as the dense matrix", 10, memory
    ),
}


def measure(name: str, number: int | None = None, seed: int = 0) -> dict[str, Any]:
    """The figures of one kind."""
    kind, begin = KINDS[name], time.perf_counter()
    wanted = min(kind.number, kind.number if number is None else number)
    with tempfile.TemporaryDirectory(prefix="scoehr-trials-") as folder:
        outcomes = list(kind.trial(wanted, seed, Path(folder)))
    faults = [f"{each.case}: {each.fault}".replace(folder, "…") for each in outcomes if each.fault]
    command = f"{COMMAND} --only {name}" + (f" --number {number}" if wanted < kind.number else "")
    print(
        f"{name:<10} {len(outcomes):>6} tried {len(faults):>5} failed "
        f"{time.perf_counter() - begin:>8.0f} s",
        *faults[:NAMED],
        sep="\n  ",
        flush=True,
    )
    return {
        "what": kind.what,
        "tried": len(outcomes),
        "failed": len(faults),
        "faults": faults[:NAMED],
        "cases": [each.case for each in outcomes] if len(outcomes) <= NAMED else [],
        "command": command,
        "tree": _tree(),
        "seconds": time.perf_counter() - begin,
    }


def _tree() -> str | None:
    """The name that git gives the package's files."""
    done = subprocess.run(
        ["git", "rev-parse", "HEAD:scoehr"],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.strip()[:12] or None


def about() -> dict[str, Any]:
    """What was measured, and on what machine."""
    return {
        "command": COMMAND,
        "version": scoehr.__version__,
        "machine": f"{platform.system()} on {platform.machine()}, cores: {os.cpu_count()}",
        "threads": torch.get_num_threads(),
        "load": os.getloadavg()[0],
    }


def main() -> None:
    """Measure and keep."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--only", choices=KINDS, action="append", help="a kind of trial; repeatable"
    )
    parser.add_argument("--number", type=int, help="at most so many of each kind")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    torch.set_num_threads(1)
    found = {name: measure(name, given.number, given.seed) for name in given.only or KINDS}
    before = read_json(RESULT)["kinds"] if given.only and RESULT.exists() else {}
    kinds = {name: found.get(name) or before.get(name) for name in KINDS}
    write_json(
        RESULT,
        about()
        | {"seed": given.seed, "kinds": {name: kind for name, kind in kinds.items() if kind}},
    )


if __name__ == "__main__":
    main()
