"""What lowers the attacks on a model's own weights, and what it costs.

The attacker has the weights, other patients of the same hospital, and a model of as many of them
(10,000 at most), of the settings ``all codes alike``: it finds more than one that is trained to the
end. The four attacks of :mod:`scoehr.metrics.attacks` that read losses are run on every setting;
beside them stand the losses and whether a discriminator tells the model's patients from real ones.
``before`` are the published weights where there are any.

Results go to ``benchmarks/overfitting.json``. Run with
``python -m benchmarks.overfitting DATASET [SOURCE]``.
"""

from __future__ import annotations

import os
import platform
import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from reproduction.synthesis.experiments import cohort
from scoehr.data.matrix import CodeMatrix
from scoehr.files import ROOT, read_json, write_json
from scoehr.generators import Generator, load, preset
from scoehr.metrics import utility
from scoehr.metrics.attacks import ATTACKS, Target, own_loss
from scoehr.metrics.registry import Members

COMMAND = "python -m benchmarks.overfitting"
JUDGED = 10_000  # members, and others, and patients that the attacker holds, at most
DRAWS = 8  # of noise
COMPARED = 3_000  # patients of a side whom a discriminator tells apart
SETTINGS: dict[str, dict[str, Any]] = {
    "before": {"patience": None, "pooling": 0.0, "least_gain": 0.0, "support": 0.0},
    "all codes alike": {"support": 0.0},
    "now": {},
}
SIZES = (1_500, 20_000)  # training patients
#: The attacks that read losses.
ATTACKED = ("own_loss", "calibrated_loss", "reference_loss", "quantile_regression")
OUT = Path(__file__).with_suffix(".json")
STAGES = ROOT / "runs" / "stages"


@dataclass(frozen=True)
class Hospital:
    """Patients in their roles."""

    dataset: str
    source: str | None
    size: int

    @cached_property
    def members(self) -> CodeMatrix:
        """Whom the models are trained on."""
        return self._parts.train.take(np.arange(self.size))

    @cached_property
    def reference(self) -> CodeMatrix:
        """Whom the attacker's model is trained on."""
        rest = np.arange(self.size, len(self._parts.train))
        return self._parts.train.take(rest[: min(self.size, JUDGED)])

    @cached_property
    def others(self) -> CodeMatrix:
        """Who was never seen."""
        return self._parts.test.take(np.arange(min(JUDGED, self.size)))

    @cached_property
    def held(self) -> CodeMatrix:
        """Whose losses the attacker compares, as many as there are."""
        rest = np.arange(len(self.others), len(self._parts.test))
        return self._parts.test.take(rest[: len(self.others)])

    @cached_property
    def validation(self) -> CodeMatrix:
        parts = self._parts.validation
        return parts.take(np.arange(min(len(parts), max(50, self.size // 10))))

    @property
    def _parts(self) -> Any:
        return cohort(self.dataset, self.source)


def fitted(name: str, hospital: Hospital, patients: CodeMatrix, seed: int) -> Generator:
    """A model of these settings; the published one where it is the same."""
    place = ROOT / "saved_models" / f"synthesis-{hospital.dataset}-standard/models/thinning-s0"
    published = name == "before" and patients is hospital.members and hospital.size == 20_000
    if published and place.exists():
        return load(place)
    model = preset("thinning", **SETTINGS[name])
    return model.fit(patients, hospital.validation, seed=seed, folder=STAGES, progress=False)


def row(model: Generator, hospital: Hospital, reference: Generator) -> dict[str, Any]:
    """Losses, the attacks on them, and the discriminator."""
    target = attacked(model, hospital, reference)
    of_members, of_others = (-float(side.mean()) for side in own_loss(target))
    measures = [measure for name in ATTACKED for measure in ATTACKS.steps[name]]
    n = min(COMPARED, hospital.size)
    made = model.sample(n, seed=1, progress=False).align(hospital.others.codes)
    sides = (side.astype(float) for side in (hospital.others.counts[:n], made.counts))
    told = utility.flat(utility.discriminate(*sides))
    return {
        "loss_of_members": of_members,
        "loss_of_others": of_others,
        "epochs": epochs(model),
        "attacks": {key: value for each in measures for key, value in each(target).items()},
        "discriminator_auc": utility.discriminator_auc(*told),
    }


def attacked(model: Generator, hospital: Hospital, reference: Generator) -> Target:
    """What the attacks read: losses under the same noise for both models, no synthetic table."""
    others, held = hospital.others.counts, hospital.held.counts
    members = Members(None, hospital.members.counts[: others.shape[0]])
    codes = hospital.others.codes

    def losses_of(which: Generator) -> Any:
        return lambda rows: which.losses(CodeMatrix.from_array(rows, codes), draws=DRAWS, seed=9)

    target = Target(others, others[:0], members, reference=held)
    target.loss, target.reference_loss = losses_of(model), losses_of(reference)
    return target


def epochs(model: Generator) -> int:
    """Whose weights were taken."""
    history = model.history
    return int(history["epoch"][history["chosen"]].max() if "chosen" in history else len(history))


def study(hospital: Hospital) -> None:
    """Add the rows of a hospital of this size to the file, each as soon as it is there."""
    place = f"{hospital.dataset}, {hospital.size:,} patients"
    reference = fitted("all codes alike", hospital, hospital.reference, seed=1)
    for name in SETTINGS:
        model = fitted(name, hospital, hospital.members, seed=0)
        found = row(model, hospital, reference)
        print(place, name, found, flush=True)
        made: dict[str, Any] = read_json(OUT) if OUT.exists() else {"rows": {}}
        rows = made["rows"].setdefault(place, {})
        rows[name] = found
        made |= {
            "command": COMMAND,
            "settings": SETTINGS,
            "attacked": ATTACKED,
            "judged": JUDGED,
            "cores": os.cpu_count(),
        }
        made |= {"threads": torch.get_num_threads(), "platform": platform.platform()}
        write_json(OUT, made)


def main() -> None:
    """Run both sizes on the data set named by the arguments."""
    torch.set_num_threads(1)
    dataset, source = [*sys.argv[1:], None, None][:2]
    for size in map(int, sys.argv[3:] or SIZES):
        study(Hospital(dataset or "simulated", source or None, size))


if __name__ == "__main__":
    main()
