"""What generators made for tables of a few dozen columns take with a column a code: CTGAN and TVAE
by width.

Xu et al. (2019), Modeling Tabular Data using Conditional GAN, NeurIPS. Their package is no
dependency of the project: its licence (BUSL-1.1) is not an open one. Run with ``pip install
ctgan==0.12.1`` and ``python -m benchmarks.wide``; results go to ``benchmarks/wide.json``.
"""

from __future__ import annotations

import importlib.metadata
import json
import math
import os
import platform
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from scoehr.data.simulate import sample_matrix
from scoehr.files import InputError, write_json
from scoehr.memory import peak_memory

COMMAND = "python -m benchmarks.wide"
PATIENTS, BATCH, WIDTHS = 490, 490, (50, 100, 200, 400)
#: What training on MIMIC-III would take: patients, codes, and the epochs that the package sets.
FULL_PATIENTS, FULL_CODES, EPOCHS = 32_564, 1_071, 300


def step_seconds(kind: Any, table: pd.DataFrame, epochs: int = 20) -> float:
    """Processor seconds of a training step: of some epochs more than one, so that what comes before
    is left out.
    """

    def fit(epochs: int) -> float:
        model, begin = kind(epochs=epochs, batch_size=BATCH, enable_gpu=False), time.process_time()
        model.fit(table, discrete_columns=list(table.columns))
        return time.process_time() - begin

    short = min(fit(1), fit(1))  # the first also warms up
    return (fit(1 + epochs) - short) / (epochs * (len(table) // BATCH))


def measure() -> dict[str, Any]:
    """Seconds a step by number of the most common codes, presence only; growth goes on as over the
    last doubling.
    """
    try:
        from ctgan import CTGAN, TVAE
    except ImportError:
        raise InputError(
            "no package ctgan here; install it with: pip install ctgan==0.12.1"
        ) from None
    present = sample_matrix(PATIENTS, seed=1).counts > 0
    common = np.argsort(-np.asarray(present.sum(axis=0)).ravel(), kind="stable")
    steps = EPOCHS * (FULL_PATIENTS // BATCH)
    found: dict[str, Any] = {}
    for kind in (CTGAN, TVAE):
        seconds = {}
        for width in WIDTHS:
            table = pd.DataFrame(present[:, common[:width]].toarray().astype(int)).rename(
                columns=str
            )
            seconds[width] = step_seconds(kind, table)
            print(f"{kind.__name__:<8}{width:>6} codes{seconds[width]:>10.2f} s a step", flush=True)
        last, most = WIDTHS[-2:]
        power = math.log(seconds[most] / seconds[last]) / math.log(most / last)
        full = seconds[most] * (FULL_CODES / most) ** power
        found[kind.__name__] = {
            "seconds_a_step": seconds,
            "power": power,
            "hours_at_full_size": steps * full / 3_600,
        }
    return found


def main() -> None:
    """Measure, print and keep."""
    begin = time.perf_counter()
    made = {
        "command": COMMAND,
        "package": f"ctgan {importlib.metadata.version('ctgan')}",
        "patients": PATIENTS,
        "batch": BATCH,
        "full": {"patients": FULL_PATIENTS, "codes": FULL_CODES, "epochs": EPOCHS},
        "generators": measure(),
        "seconds": time.perf_counter() - begin,
        "peak_mb": peak_memory() / 1e6,
        "threads": torch.get_num_threads(),
        "cores": os.cpu_count(),
        "platform": platform.platform(),
    }
    write_json(Path(__file__).with_suffix(".json"), made)
    print(json.dumps(made["generators"], indent=2))


if __name__ == "__main__":
    main()
