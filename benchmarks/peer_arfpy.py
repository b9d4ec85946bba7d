"""Adversarial random forests on the table of :mod:`benchmarks.peers`: ``peer_arfpy.py FOLDER``.

For an environment with arfpy 0.1.1, pandas 2 and pyarrow, which has nothing of this project. The
numbers that it draws are rounded, as all of the table are whole.

Watson, Blesch, Kapar & Wright (2023), Adversarial Random Forests for Density Estimation and
Generative Modeling, AISTATS.
"""

from __future__ import annotations

import json
import sys
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd

if not hasattr(np, "in1d"):  # which arfpy calls, and newer versions of NumPy lack
    np.in1d = np.isin  # noqa: NPY201
from arfpy import arf

folder = Path(sys.argv[1])
train = pd.read_parquet(folder / "train.parquet")
texts = [name for name in train if not pd.api.types.is_numeric_dtype(train[name])]
train[texts] = train[texts].astype("category")
numbers = [name for name in train if name not in texts]
train[numbers] = train[numbers].astype(float)
np.random.seed(0)  # noqa: NPY002 (arfpy draws from the global state)

begun = time.process_time()
model = arf.arf(x=train, random_state=0)
model.forde()
fitted = time.process_time()
made = model.forge(n=len(train))
sampled = time.process_time()

made[numbers] = made[numbers].round().astype(int)
made[texts] = made[texts].astype(str)
made.to_parquet(folder / "arfpy.parquet")
costs = {"fit_seconds": fitted - begun, "sample_seconds": sampled - fitted}
facts = {"version": version("arfpy"), **costs}
(folder / "arfpy.json").write_text(json.dumps(facts))
