"""How well the private generator does at a tight bound, and what holds it back.

Each row is a setting of the preset ``private`` at ε = 3 on 20,000 training patients, of the width
of the published rows, judged by whether a discriminator tells its patients from real ones. In
``codes alone`` no network is trained: codes are independent, and their noised distributions are all
that is learned; in ``codes alone, without noise`` they are exact, which promises nothing.

Results go to ``benchmarks/private.json``. Run with ``python -m benchmarks.private DATASET
[SOURCE]``.
"""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path
from typing import Any

import torch

from benchmarks.overfitting import COMPARED, Hospital
from scoehr.data.matrix import CodeMatrix
from scoehr.files import read_json, write_json
from scoehr.generators import Private, PrivateConfig
from scoehr.metrics import utility
from scoehr.minibatches import SparseRows

COMMAND = "python -m benchmarks.private"
PATIENTS = 20_000
SHARED: dict[str, Any] = {"width": 32, "epsilon": 3.0}
UNTRAINED: dict[str, Any] = {"epochs": 1, "learning_rate": 1e-12}
SETTINGS: dict[str, dict[str, Any]] = {
    "as set": {},
    "less noise on distributions": {"marginals_noise": 2.5, "max_codes": 15},
    "and gradients cut shorter": {
        "marginals_noise": 2.5,
        "max_codes": 15,
        "max_gradient_norm": 40.0,
    },
    "codes alone": UNTRAINED,
    "codes alone, without noise": UNTRAINED,
}
OUT = Path(__file__).with_suffix(".json")


class Exact(Private):
    """The distributions of counts and lengths without noise: nothing is promised."""

    def _set_marginals(self, data: SparseRows, rng: torch.Generator) -> None:
        self.rate.fit_marginals(data)


def discriminator_auc(name: str, hospital: Hospital) -> float:
    """Of patients made under these settings, and as many held out."""
    kind = Exact if name.endswith("without noise") else Private
    model = kind(PrivateConfig(**SHARED, **SETTINGS[name]))
    made = model.fit(hospital.members, seed=0, progress=False).sample(
        COMPARED, seed=1, progress=False
    )
    sides: list[CodeMatrix] = [hospital.others, made.align(hospital.others.codes)]
    told = utility.discriminate(*(side.counts[:COMPARED].astype(float) for side in sides))
    return utility.discriminator_auc(*utility.flat(told))


def main() -> None:
    """Run all settings on the data set named by the arguments, and add them to the file."""
    torch.set_num_threads(1)
    dataset, source = [*sys.argv[1:], None, None][:2]
    hospital = Hospital(dataset or "simulated", source or None, PATIENTS)
    for name in SETTINGS:
        made: dict[str, Any] = read_json(OUT) if OUT.exists() else {"rows": {}}
        made["rows"].setdefault(hospital.dataset, {})[name] = discriminator_auc(name, hospital)
        print(hospital.dataset, name, made["rows"][hospital.dataset][name], flush=True)
        made |= {"command": COMMAND, "patients": PATIENTS, "compared": COMPARED}
        made |= {"shared": SHARED, "settings": SETTINGS}
        write_json(OUT, made | {"cores": os.cpu_count(), "platform": platform.platform()})


if __name__ == "__main__":
    main()
