"""Time and peak memory of DuaLK at full size: preparation of a simulated MIMIC-IV, and a step of
training.

The tables have as many diagnosis rows as MIMIC-IV. Each measurement runs in a process of its own;
results go to ``benchmarks/dualk.json``. Run with ``python -m benchmarks.dualk [FOLDER]``; the
tables are written to FOLDER (default ``data/dualk-simulated/full``) if they are absent.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from scoehr.files import ROOT, write_json
from scoehr.memory import peak_memory

COMMAND = "python -m benchmarks.dualk"
#: Patients of a pre-training epoch and of a fine-tuning epoch in the study.
PRETRAINING, FINE_TUNING = 90_377, 8_000


def prepare(folder: Path) -> dict[str, Any]:
    """Read the tables and count every phase."""
    from companions.dualk import counts
    from companions.dualk import prepare as phases

    begin = time.perf_counter()
    records = phases.load("simulated", folder)
    read = time.perf_counter() - begin
    account = counts.account(records)
    return {
        "seconds_reading": read,
        "seconds": time.perf_counter() - begin,
        "diagnosis_rows": records.counts["diagnosis_rows"],
        "labevents": records.counts["labevents"],
        "patients": len(records.patients),
        "edges": account["6 graph"]["edges"],
    }


def step(folder: Path) -> dict[str, Any]:
    """Seconds of a step at the study's width with the pruned graph: fine-tuning, batch 256, a
    random network.
    """
    import numpy as np
    import torch

    from companions.dualk import prepare as phases
    from companions.dualk.batches import dense
    from companions.dualk.models import ModelConfig
    from companions.dualk.protocols import CORRECTED
    from companions.dualk.train import Learner, TrainingConfig, cross_entropy

    records = phases.load("simulated", folder)
    parts = phases.split(records)
    features = (
        np.random.default_rng(0).normal(size=(len(records.codes) + 1, 2000)).astype(np.float32)
    )
    teacher = Learner(
        records, parts, features, CORRECTED, ModelConfig(), TrainingConfig(), progress=False
    )
    model = teacher._new(teacher.config, teacher.sizes)
    optimiser = torch.optim.Adam(p for p in model.parameters() if p.requires_grad)
    spent = []
    for rows in np.array_split(parts.train[: 256 * 6], 6):
        begin = time.perf_counter()
        optimiser.zero_grad()
        cross_entropy(
            model(teacher.graph, teacher.feed.batch(rows)), dense(teacher.feed.answers(rows))
        ).backward()
        optimiser.step()
        spent.append(time.perf_counter() - begin)
    seconds = float(np.median(spent[1:]))
    return {
        "seconds_a_step": seconds,
        "codes": len(records.codes),
        "edges": teacher.graph.edges.shape[1],
        "minutes_an_epoch_of_fine_tuning": seconds * FINE_TUNING / 256 / 60,
        "minutes_an_epoch_of_pretraining": seconds * PRETRAINING / 256 / 60,
    }


def main(folder: Path) -> None:
    """Measure each in a process of its own."""
    from companions.dualk import simulate

    if not folder.exists():
        simulate.write_tables(folder, patients=simulate.FULL)
    found: dict[str, Any] = {
        "command": COMMAND,
        "cpus": os.cpu_count(),
        "processor": platform.machine(),
    }
    for name in MEASURED:
        print(f"measuring {name}", file=sys.stderr)
        call = [sys.executable, "-m", "benchmarks.dualk", str(folder), name]
        found[name] = json.loads(
            subprocess.run(call, check=True, capture_output=True, text=True).stdout
        )
    write_json(Path(__file__).with_suffix(".json"), found)
    print(json.dumps(found, indent=2))


MEASURED = {"prepare": prepare, "step": step}

if __name__ == "__main__":
    place = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "data" / "dualk-simulated" / "full"
    if len(sys.argv) > 2:
        made = MEASURED[sys.argv[2]](place)
        print(
            json.dumps(made | {"peak_mb": peak_memory() / 1e6, "cpu_seconds": time.process_time()})
        )
    else:
        main(place)
