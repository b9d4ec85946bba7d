"""Time of the whole set of scores with its five reference points on 10,000 patients and some 1,071 codes.

Beside it time and memory of all privacy scores of 10,000 synthetic patients against 32,000 that were
trained on, and of the membership attacks on 10,000 members and 10,000 others, their model given.

Written to ``benchmarks/metrics.json``. Run with ``make bench`` or ``python -m benchmarks.metrics``.
"""

from __future__ import annotations

import os
import platform
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

from scoehr.data.simulate import sample_matrix
from scoehr.files import write_json
from scoehr.generators import preset
from scoehr.memory import peak_memory
from scoehr.metrics import METRICS, REFERENCES, attack, evaluate
from scoehr.metrics.registry import Members, Pair

PATIENTS = 10_000
TRAINED = 32_000
LIMIT = 120.0  # seconds
ATTACKS_LIMIT = 900.0
PRIVACY = ("membership", "records near by", "attribute inference")
COMMAND = "python -m benchmarks.metrics"


class Clock:
    """Wall time of each step, told by the progress of :func:`scoehr.metrics.evaluate`."""

    def __init__(self) -> None:
        self.seconds: dict[str, dict[str, float]] = defaultdict(dict)
        self.last = time.perf_counter()

    def __call__(self, done: int, total: int, label: str) -> None:
        """Book the time since the last step under "set: step"."""
        now = time.perf_counter()
        name, step = label.split(": ")
        self.seconds[name][step] = now - self.last
        self.last = now
        print(f"{done:3}/{total} {label:36} {self.seconds[name][step]:7.2f} s", file=sys.stderr)


def measure(patients: int = PATIENTS) -> dict[str, Any]:
    """Score an independent sample against held-out patients; seconds in all, by set and by step."""
    real, synthetic = (sample_matrix(patients, seed=seed) for seed in (1, 2))
    train = sample_matrix(3 * patients, seed=3)
    begin, processor, clock = time.perf_counter(), time.process_time(), Clock()
    results = evaluate(real, synthetic, train=train, progress=clock)
    return {
        "rows": results["n"]["rows"],
        "codes": results["n"]["codes"],
        "sets": 1 + len(REFERENCES),
        "seconds": time.perf_counter() - begin,
        "processor_seconds": time.process_time() - processor,
        "limit_seconds": LIMIT,
        "steps": dict(clock.seconds),
        "versions": results["versions"],
    }


def measure_privacy(patients: int = PATIENTS, trained: int = TRAINED) -> dict[str, Any]:
    """All privacy scores of one synthetic set: seconds by step, and by how much the peak memory of the process grew."""
    real, synthetic, train = (
        sample_matrix(n, seed=seed).counts
        for n, seed in ((patients, 1), (patients, 2), (trained, 3))
    )
    pair = Pair(real, synthetic, Members(train, train[:patients]), seed=0, dense=False)
    before, processor, seconds = peak_memory(), time.process_time(), {}
    for name in PRIVACY:
        begin = time.perf_counter()
        for measure in METRICS.steps[name]:
            measure(pair)
        seconds[name] = time.perf_counter() - begin
    return {
        "synthetic": patients,
        "train": trained,
        "holdout": patients,
        "codes": train.shape[1],
        "seconds": sum(seconds.values()),
        "processor_seconds": time.process_time() - processor,
        "limit_seconds": LIMIT,
        "steps": seconds,
        "memory_bytes": peak_memory() - before,
    }


def measure_attacks(patients: int = PATIENTS) -> dict[str, Any]:
    """Seconds of the eight attacks, the training of their reference model among them."""
    real, train = (sample_matrix(2 * patients, seed=seed) for seed in (1, 3))
    model = preset("thinning").fit(train, progress=False)
    synthetic = model.sample(patients, progress=False)
    begin, processor = time.perf_counter(), time.process_time()
    found = attack(real, synthetic, train=train, model=model)
    return {
        "n": found["n"],
        "seconds": time.perf_counter() - begin,
        "processor_seconds": time.process_time() - processor,
        "limit_seconds": ATTACKS_LIMIT,
        "scores": found["scores"],
    }


def main() -> None:
    """Measure, write, and say whether the limits hold."""
    privacy = measure_privacy()  # first, so that no earlier peak hides its memory
    found, attacks = measure(), measure_attacks()
    machine = {"cores": os.cpu_count(), "load": os.getloadavg()[1], "platform": platform.platform()}
    write_json(
        Path(__file__).with_suffix(".json"),
        {"command": COMMAND, **found, "privacy": privacy, "attacks": attacks, **machine},
    )
    print(
        f"{found['rows']:,} x {found['codes']:,}, {found['sets']} sets: {found['seconds']:.1f} s "
        f"({found['processor_seconds']:.1f} s of one core; limit {LIMIT:.0f} s)"
    )
    print(
        f"privacy, {privacy['synthetic']:,} x {privacy['train']:,} x {privacy['codes']:,}: {privacy['seconds']:.1f} s, "
        f"{privacy['memory_bytes'] / 2**20:.0f} MB (limit {LIMIT:.0f} s)"
    )
    print(
        f"attacks, {attacks['n']}: {attacks['seconds']:.1f} s "
        f"({attacks['processor_seconds']:.1f} s of one core; limit {ATTACKS_LIMIT:.0f} s)"
    )


if __name__ == "__main__":
    main()
