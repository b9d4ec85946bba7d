"""ForestDiffusion on the table of :mod:`benchmarks.peers`: ``peer_forestdiffusion.py FOLDER``.

For an environment with ForestDiffusion 1.0.6, pandas and pyarrow, which has nothing of this
project. Settings are the package's own. The process is ended when its fit has used the processor
time of :data:`TIMES` fits of ours; the file that is there from the start then says so.

Jolicoeur-Martineau, Fatras & Kachman (2024), Generating and Imputing Tabular Data via Diffusion and
Flow-based Gradient-Boosted Trees, AISTATS.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
from ForestDiffusion import ForestDiffusionModel

TIMES = 10
folder = Path(sys.argv[1])
limit = TIMES * json.loads((folder / "whole.json").read_text())["fit_seconds"]
facts = {"version": version("ForestDiffusion")}
said = folder / "forestdiffusion.json"
said.write_text(json.dumps({**facts, "unfinished_seconds": limit}))
(folder / "forestdiffusion.parquet").unlink(missing_ok=True)

train = pd.read_parquet(folder / "train.parquet")
levels = {
    name: sorted(train[name].unique())
    for name in train
    if not pd.api.types.is_numeric_dtype(train[name])
}
wide = [name for name in levels if len(levels[name]) > 2]
# Two-digit places for what is dummy-coded: the package takes column 1 for a part of column 11.
order = [*(name for name in train if name not in wide), *wide]
coded = train.assign(**{name: train[name].map(levels[name].index) for name in levels})[order]
binary = [order.index(name) for name in levels if name not in wide]
places = {
    "bin_indexes": binary,
    "cat_indexes": [order.index(name) for name in wide],
    "int_indexes": [order.index(name) for name in train if name not in levels],
}
assert min(places["cat_indexes"]) >= 10

begun = time.process_time()
most = resource.getrlimit(resource.RLIMIT_CPU)
resource.setrlimit(resource.RLIMIT_CPU, (int(begun + limit), most[1]))
model = ForestDiffusionModel(coded.to_numpy(float), n_jobs=1, seed=0, **places, nthread=1)
fitted = time.process_time()
resource.setrlimit(resource.RLIMIT_CPU, most)
made = pd.DataFrame(model.generate(batch_size=len(train)), columns=order)
sampled = time.process_time()

for name, names in levels.items():
    made[name] = np.array(names)[made[name].astype(int).clip(0, len(names) - 1)]
made[train.columns].to_parquet(folder / "forestdiffusion.parquet")
costs = {"fit_seconds": fitted - begun, "sample_seconds": sampled - fitted}
said.write_text(json.dumps({**facts, **costs}))
