"""Whole patients beside peers on one table, what each costs and how its patients are told apart.

The table has the first visit of patients of Diabetes130: every column, and of the most frequent
codes whether the visit has them. A peer runs in an environment of its own, on the same core::

    python -m benchmarks.peers tables diabetic_data.zip FOLDER
    python -m benchmarks.peers whole diabetic_data.zip FOLDER
    PEER/bin/python benchmarks/peer_arfpy.py FOLDER     # or mostlyai, forestdiffusion
    python -m benchmarks.peers score diabetic_data.zip FOLDER

The first command writes ``train.parquet``, with the missing values of categories as a category.
Each generator writes ``NAME.parquet`` and, into ``NAME.json``, the processor seconds of fitting and
sampling (a peer its version too), or after how many it was ended; the last command writes
``peers.json``. Minutes on one core.
"""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import cross_val_predict

from scoehr.data import patients as data
from scoehr.data.columns import Column, Columns
from scoehr.data.patients import Patients
from scoehr.files import read_json, write_json
from scoehr.generators import Whole, WholeConfig
from scoehr.metrics.whole import frequent

RESULTS = Path(__file__).with_name("peers.json")
PATIENTS, CODES = 2_000, 20
GENERATORS = ("whole", "mostlyai", "arfpy", "forestdiffusion")
MISSING = "missing"
REPEATS = 500  # of the bootstrap


def tables(source: str) -> tuple[Patients, Patients, Patients]:
    """Training patients, others of the training set and held-out ones, one visit each, no codes."""
    parts = data.load("diabetes130", source).patients.split()
    codes, first = frequent(parts.train, CODES), np.arange(PATIENTS)
    sets = (parts.train[first], parts.train[first + PATIENTS], parts.test[first])
    train, fresh, held_out = (first_visits(part, codes) for part in sets)
    return train, fresh, held_out


def first_visits(patients: Patients, codes: np.ndarray) -> Patients:
    """The first visit of each patient, and the columns of all and ``codes`` as columns of it."""
    first, n = patients.starts[:-1], len(patients)
    presence = patients.presence()[first][:, codes].toarray().astype(int)
    names = [f"code {code}" for code in patients.codes[codes]]
    added = tuple(Column(name, "category", ("no", "yes")) for name in names)
    own, visit = patients.columns, patients.visit_columns[first]
    every = (*own.columns, *visit.columns, *added)
    none = np.empty(0, dtype=str)
    return replace(
        patients,
        counts=sparse.csr_array((n, 0), dtype=np.int32),
        starts=np.arange(n + 1),
        codes=none,
        titles=none,
        systems=none,
        columns=Columns(every, (*own.values, *visit.values, *presence.T), n),
        visit_columns=Columns((), (), n),
    )


def frame(patients: Patients) -> pd.DataFrame:
    """The columns as a table of texts and numbers."""
    found = {}
    for column, values in patients.columns:
        levels = np.array([*column.levels, MISSING])
        found[column.name] = values if column.kind == "number" else levels[values]
    return pd.DataFrame(found)


def told_apart(real: pd.DataFrame, made: pd.DataFrame) -> dict[str, Any]:
    """AUC of boosted trees that tell real patients from made ones, and its 95 % interval."""
    both = pd.concat([real, made], ignore_index=True)
    rows = np.column_stack([_numbers(both[name]) for name in real.columns])
    truth = np.repeat([0, 1], [len(real), len(made)])
    trees = HistGradientBoostingClassifier(max_leaf_nodes=15, early_stopping=False, random_state=0)
    order = np.random.default_rng(0).permutation(len(truth))
    rows, truth = rows[order], truth[order]
    scores = cross_val_predict(trees, rows, truth, cv=5, method="decision_function")
    rng = np.random.default_rng(1)
    drawn = [rng.integers(len(truth), size=len(truth)) for _ in range(REPEATS)]
    areas = [roc_auc_score(truth[rows], scores[rows]) for rows in drawn]
    return {
        "auc": float(roc_auc_score(truth, scores)),
        "interval": np.quantile(areas, [0.025, 0.975]).tolist(),
    }


def _numbers(values: pd.Series) -> np.ndarray:
    numeric = pd.api.types.is_numeric_dtype(values)
    return values.to_numpy(float) if numeric else values.astype("category").cat.codes.to_numpy()


def whole(train: Patients, folder: Path) -> None:
    """Patients of ours, and what they cost."""
    begun = time.process_time()
    model = Whole(WholeConfig()).fit(train, progress=False)
    fitted = time.process_time()
    made = model.sample(PATIENTS, progress=False)
    costs = {"fit_seconds": fitted - begun, "sample_seconds": time.process_time() - fitted}
    frame(made).to_parquet(folder / "whole.parquet")
    write_json(folder / "whole.json", costs)


def score(fresh: Patients, held_out: Patients, folder: Path) -> dict[str, Any]:
    """The results: a row a generator, and one of real patients."""
    real = frame(held_out)
    rows: dict[str, dict[str, Any]] = {"real": told_apart(real, frame(fresh))}
    for name in GENERATORS:
        rows[name], made = read_json(folder / f"{name}.json"), folder / f"{name}.parquet"
        if "unfinished_seconds" not in rows[name]:
            rows[name] |= told_apart(real, pd.read_parquet(made)[real.columns])
    return {"patients": PATIENTS, "columns": len(real.columns), "rows": rows}


def main(command: str, source: str, folder: str) -> None:
    """Write the table, the patients of ours, or the results."""
    train, fresh, held_out = tables(source)
    at = Path(folder)
    if command == "tables":
        frame(train).to_parquet(at / "train.parquet")
    elif command == "whole":
        whole(train, at)
    else:
        write_json(RESULTS, score(fresh, held_out, at))


if __name__ == "__main__":
    main(*sys.argv[1:])
