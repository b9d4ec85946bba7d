"""The MOSTLY AI engine on the table of :mod:`benchmarks.peers`: ``peer_mostlyai.py FOLDER``.

For an environment with mostlyai-engine 2.7.3, which has nothing of this project. Settings are the
package's own, but that rare values are not replaced, as in the other generators.

Tiwald et al. (2025), TabularARGN: A Flexible and Efficient Auto-Regressive Framework for Generating
High-Fidelity Synthetic Data, arXiv:2501.12012.
"""

from __future__ import annotations

import json
import sys
import time
from importlib.metadata import version
from pathlib import Path

import pandas as pd
import torch
from mostlyai.engine import TabularARGN

folder = Path(sys.argv[1])
train = pd.read_parquet(folder / "train.parquet")
torch.set_num_threads(1)

begun = time.process_time()
model = TabularARGN(value_protection=False, device="cpu", random_state=0)
model.fit(train)
fitted = time.process_time()
made = pd.DataFrame(model.sample(n_samples=len(train)))
sampled = time.process_time()

for name in train:
    numeric = pd.api.types.is_numeric_dtype(train[name])
    made[name] = made[name].astype(float) if numeric else made[name].astype(str)
made[train.columns].to_parquet(folder / "mostlyai.parquet")
costs = {"fit_seconds": fitted - begun, "sample_seconds": sampled - fitted}
facts = {"version": version("mostlyai-engine"), **costs}
(folder / "mostlyai.json").write_text(json.dumps(facts))
