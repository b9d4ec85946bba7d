"""Time and peak memory of reading full-size tables to a matrix, beside the reported line-by-line
algorithm.

Each reading runs in a process of its own, five times; medians count. They go to
``benchmarks/read_tables.json``. Run with ``make bench`` or ``python -m benchmarks.read_tables
[FOLDER]``; the folder defaults to the simulated cohort.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from scoehr.files import ROOT, write_json
from scoehr.memory import peak_memory

READERS = {
    "loader": "scoehr.data.datasets.load",
    "reference": "line-by-line Python (the reported algorithm)",
}
REPEATS = 5
COMMAND = "python -m benchmarks.read_tables"


def read_once(reader: str, folder: Path) -> dict[str, Any]:
    """Read the tables in this process; seconds, peak memory of the process in MB, and a digest of
    the matrix.
    """
    begin = time.perf_counter()
    if reader == "loader":
        from scoehr.data.datasets import load

        imported = time.perf_counter()
        matrix = load("mimic3", folder).matrix
        seconds = time.perf_counter() - imported
        peak = peak_memory() / 1e6
        counts, patients, codes = matrix.dense(), matrix.patients.tolist(), matrix.codes.tolist()
    else:
        from benchmarks.reference import read

        imported = time.perf_counter()
        counts, patients, codes = read(folder)
        seconds = time.perf_counter() - imported
        peak = peak_memory() / 1e6
        codes = [code.removeprefix("D_") for code in codes]
    return {
        "seconds": seconds,
        "import_seconds": imported - begin,
        "peak_mb": peak,
        "patients": len(patients),
        "codes": len(codes),
        "digest": _digest(counts, patients, codes),
    }


def _digest(counts: np.ndarray, patients: list[int], codes: list[str]) -> str:
    """SHA-256 of the matrix with patients and codes sorted, without the pseudo-code of missing
    codes.
    """
    rows, columns = np.argsort(patients), [codes.index(code) for code in sorted(codes) if code]
    return hashlib.sha256(counts[rows][:, columns].astype(np.int32).tobytes()).hexdigest()


def measure(folder: Path) -> dict[str, dict[str, Any]]:
    """For each reader, the medians over REPEATS processes; the readers take turns, so that both
    meet the same load.
    """
    runs: dict[str, list[dict[str, Any]]] = {reader: [] for reader in READERS}
    for _ in range(REPEATS):
        for reader, found in runs.items():
            command = [
                sys.executable,
                "-m",
                "benchmarks.read_tables",
                "--once",
                reader,
                str(folder),
            ]
            done = subprocess.run(
                command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[1]
            )
            found.append(json.loads(done.stdout))
    names = ("seconds", "import_seconds", "peak_mb")
    return {
        reader: found[0] | {name: statistics.median(run[name] for run in found) for name in names}
        for reader, found in runs.items()
    }


def main(arguments: list[str]) -> int:
    if arguments[:1] == ["--once"]:
        print(json.dumps(read_once(arguments[1], Path(arguments[2]))))
        return 0
    folder = Path(arguments[0]) if arguments else ROOT / "data" / "simulated"
    if not arguments and not (folder / "DIAGNOSES_ICD.csv.gz").exists():
        from scoehr.data.simulate import write_tables

        write_tables(folder)
    results = measure(folder)
    ratios = {
        name: results["reference"][name] / results["loader"][name]
        for name in ("seconds", "peak_mb")
    }
    same = results["loader"].pop("digest") == results["reference"].pop("digest")
    print(f"{'':<48}{'seconds':>10}{'peak MB':>10}{'codes':>8}")
    for reader, title in READERS.items():
        figures = results[reader]
        print(
            f"{title:<48}{figures['seconds']:>10.2f}{figures['peak_mb']:>10.0f}{figures['codes']:>8}"
        )
    print(f"{'ratio, reference / loader':<48}{ratios['seconds']:>10.2f}{ratios['peak_mb']:>10.2f}")
    print(f"same counts: {same} (the reference has one column more where codes are missing)")
    machine = {
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "system": platform.system(),
    }
    report = {"command": COMMAND, "repeats": REPEATS, "same_counts": same, "ratio": ratios}
    if not arguments:
        write_json(
            Path(__file__).with_suffix(".json"), report | {"readers": results, "machine": machine}
        )
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
