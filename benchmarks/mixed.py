"""The paper's model on binary and continuous columns together, as for its second data set.

The paper's records of an emergency department are not public in this form. Here a row is an
admission of Diabetes130, all of them: presence of every code, a binary column for each level of
each category, and numbers cut to [0, 1] by their range in training. The model is the preset
``paper`` with the 5 epochs of the paper's published configuration for emergency records; its
decoder gives the numbers as they are and cuts the binary columns at one half.

    python -m benchmarks.mixed diabetic_data.zip [FOLDER]

FOLDER keeps checkpoints. Results go to ``benchmarks/mixed.json``; an hour on one core.
"""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from scoehr.data import patients as data
from scoehr.data.columns import Columns
from scoehr.data.matrix import CodeMatrix
from scoehr.data.patients import Patients
from scoehr.files import write_json
from scoehr.generators import ScoEHR, ScoEHRConfig
from scoehr.generators.base import Fitting, Sampling, stream
from scoehr.generators.scoehr import PRESETS
from scoehr.metrics import fidelity, prediction, utility
from scoehr.metrics.arrays import independent_columns
from scoehr.metrics.clusters import cluster
from scoehr.minibatches import SparseRows

OUT = Path(__file__).with_suffix(".json")
COMPARED = 2_000  # admissions of each side
WIDTH = 16  # of the U-Net, as in the published runs; the paper's is 128
EPOCHS = 5  # in the paper's published configuration for emergency records


class Table(NamedTuple):
    """Admissions as rows of columns in [0, 1]."""

    rows: sparse.csr_array  # (n, d)
    names: list[str]
    binary: np.ndarray  # (d,)


def table(patients: Patients, ranges: dict[str, tuple[float, float]]) -> Table:
    """Every admission; numbers are cut by ``ranges``, to which unknown ones are added."""
    parts, names = [patients.presence()], [f"code {code}" for code in patients.codes]
    binary = [True] * len(names)
    for columns in (patients.columns[patients.owner], patients.visit_columns):
        for name, values, is_binary in _unfolded(columns, ranges):
            parts.append(sparse.csr_array(values[:, None].astype(np.float32)))
            names.append(name)
            binary.append(is_binary)
    return Table(sparse.csr_array(sparse.hstack(parts)), names, np.array(binary))


def _unfolded(
    columns: Columns, ranges: dict[str, tuple[float, float]]
) -> Iterator[tuple[str, np.ndarray, bool]]:
    """Name, values in [0, 1] and whether binary: a level of a category, or a number, at a time."""
    for column, values in columns:
        if column.kind == "number":
            known = np.nan_to_num(values)
            low, high = ranges.setdefault(column.name, (known.min(), known.max()))
            span = high - low or 1.0  # a number that never differs in training is zero
            yield column.name, np.clip((known - low) / span, 0, 1), False
            continue
        for place, level in enumerate([*column.levels, "missing"]):
            wanted = place if place < len(column.levels) else -1
            yield f"{column.name} {level}", values == wanted, True


class Mixed(ScoEHR):
    """The model on the rows of a :class:`Table`."""

    def fit_table(self, train: Table, folder: Path | None) -> Mixed:
        """Train autoencoder and score network."""
        empty = sparse.csr_array((0, len(train.names)), dtype=np.int32)
        self._build(CodeMatrix.from_array(empty, np.array(train.names)), seed=0)
        self.binary = torch.from_numpy(train.binary)
        self._train(Fitting(SparseRows(train.rows), None, 0, folder, progress=False))
        return self

    def decode(self, latents: Tensor, rng: torch.Generator | None = None) -> Tensor:
        """Latents ``(n, D)`` to columns in [0, 1], ``(n, d)``."""
        assert self.autoencoder is not None
        expected = self.autoencoder.output(latents)
        return torch.where(self.binary, (expected > 0.5).to(expected), expected)

    @torch.no_grad()
    def rows(self, n: int) -> sparse.csr_array:
        """``n`` synthetic admissions, ``(n, d)``."""
        how, batch = Sampling(self.config.sampler, self.config.steps, ()), self.config.sample_batch
        parts = []
        for start in range(0, n, batch):
            latents = self._draw(min(batch, n - start), stream(0, start, 0), how)
            parts.append(sparse.csr_array(self.decode(latents).numpy()))
        return sparse.csr_array(sparse.vstack(parts))


def scores(real: Table, made: sparse.csr_array, train: sparse.csr_array) -> dict[str, float]:
    """The paper's four scores as they are published, and the discriminator's AUC.

    DDM is DWM, over the binary columns, and DEM, over the others, added; SRA and the discriminator
    take a number as whether it is above the median of the training rows.
    """
    binary, other = np.flatnonzero(real.binary), np.flatnonzero(~real.binary)
    dwm = fidelity.mean_count_mae(real.rows[:, binary], made[:, binary])
    dem = fidelity.mean_count_mae(real.rows[:, other], made[:, other])
    middle = np.where(real.binary, 0.5, np.median(train.toarray(), axis=0))
    sides = [sparse.csr_array(side.toarray() > middle) for side in (real.rows, made, train)]
    held, drawn, known = (side.astype(np.float64) for side in sides)
    agreements = prediction.rankings(held, drawn, train=known)
    told = utility.discriminate(held, drawn)
    return {
        "dwm": dwm,
        "dem": dem,
        "ddm": dwm + dem,
        "pcd": fidelity.correlation(real.rows, made)["pcd"],
        "log_cluster": fidelity.log_cluster(cluster(real.rows, made)),
        "sra": prediction.sra(
            np.array([prediction.ranking_agreement(a, b) for a, b, _ in agreements])
        ),
        "discriminator_auc": utility.discriminator_auc(*utility.flat(told)),
    }


def _some(of: Table, n: int, rng: np.random.Generator) -> np.ndarray:
    """Places ``(n,)`` of rows drawn without replacement."""
    return rng.permutation(of.rows.shape[0])[:n]


def main(source: str, folder: str = "") -> None:
    """Train, sample, score, and write the results."""
    torch.set_num_threads(1)
    parts = data.load("diabetes130", source).patients.split()
    ranges: dict[str, tuple[float, float]] = {}
    train, test = table(parts.train, ranges), table(parts.test, ranges)
    rng = np.random.default_rng(0)
    places = _some(test, 2 * COMPARED, rng)
    real = test._replace(rows=test.rows[places[:COMPARED]])
    fresh = test.rows[places[COMPARED:]]
    known = train.rows[_some(train, COMPARED, rng)]
    shuffled = independent_columns(train.rows, rng)[:COMPARED]
    model = Mixed(ScoEHRConfig(**{**PRESETS["paper"], "width": WIDTH, "epochs": EPOCHS}))
    model.fit_table(train, Path(folder) if folder else None)
    sets = {"fresh real admissions": fresh, "independent columns": shuffled}
    sets[f"{EPOCHS} epochs, as published"] = model.rows(COMPARED)
    made: dict[str, Any] = {"rows": {}, "command": "python -m benchmarks.mixed"}
    made |= {"train": train.rows.shape[0], "columns": len(train.names), "compared": COMPARED}
    made |= {"numbers": int((~train.binary).sum()), "width": WIDTH}
    made |= {"cores": os.cpu_count(), "platform": platform.platform()}
    for title, rows in sets.items():
        made["rows"][title] = scores(real, rows, known)
        print(title, made["rows"][title], flush=True)
    write_json(OUT, made)


if __name__ == "__main__":
    main(*sys.argv[1:])
