"""Time of the whole set of scores with its five reference points on 10,000 patients and some 1,071 codes.

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

from scoehr.files import write_json
from scoehr.metrics import REFERENCES, evaluate
from scoehr.simulate import sample_matrix

PATIENTS = 10_000
LIMIT = 120.0  # seconds
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
        "command": COMMAND,
        "rows": results["n"]["rows"],
        "codes": results["n"]["codes"],
        "sets": 1 + len(REFERENCES),
        "seconds": time.perf_counter() - begin,
        "processor_seconds": time.process_time() - processor,
        "limit_seconds": LIMIT,
        "steps": dict(clock.seconds),
        "cores": os.cpu_count(),
        "platform": platform.platform(),
        "versions": results["versions"],
    }


def main() -> None:
    """Measure, write, and say whether the limit holds."""
    found = measure()
    write_json(Path(__file__).with_suffix(".json"), found)
    print(
        f"{found['rows']:,} x {found['codes']:,}, {found['sets']} sets: {found['seconds']:.1f} s "
        f"({found['processor_seconds']:.1f} s of one core; limit {LIMIT:.0f} s)"
    )


if __name__ == "__main__":
    main()
