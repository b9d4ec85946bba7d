"""What lowers the attacks on a model's own weights, and what it costs.

The attacker has the weights, and as many patients of the same hospital as the model was trained on,
on whom models of every setting here are trained as references. Each setting is attacked with all of
them; the worst is written down, beside the losses and whether a discriminator tells its patients
from real ones. ``as before`` are the published weights where there are any.

Results go to ``benchmarks/overfitting.json``. Run with
``python -m benchmarks.overfitting DATASET [SOURCE]``.
"""

from __future__ import annotations

import os
import platform
import sys
import time
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
from scoehr.metrics.attacks import exposure

COMMAND = "python -m benchmarks.overfitting"
JUDGED, COMPARED, DRAWS = 5_000, 3_000, 8  # members and others, patients of a side, draws of noise
SETTINGS: dict[str, dict[str, Any]] = {
    "as before": {"patience": None, "width": 256},
    "width 64": {"patience": None, "width": 64},
    "chosen epoch": {"patience": 10, "width": 256},
    "chosen epoch, width 64": {"patience": 10, "width": 64},
}
#: Training patients, and the settings that are run; of small tables all.
SCALES = {1_500: tuple(SETTINGS), 20_000: ("as before", "chosen epoch, width 64")}
OUT = Path(__file__).with_suffix(".json")


@dataclass(frozen=True)
class Hospital:
    """Patients in their roles."""

    dataset: str
    source: str | None
    size: int

    @cached_property
    def members(self) -> CodeMatrix:
        return self._parts.train.take(np.arange(self.size))

    @cached_property
    def reference(self) -> CodeMatrix:
        """The attacker's, as many or as there are."""
        rest = np.arange(self.size, len(self._parts.train))
        return self._parts.train.take(rest[: self.size])

    @cached_property
    def others(self) -> CodeMatrix:
        return self._parts.test

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
    published = name == "as before" and patients is hospital.members and hospital.size == 20_000
    if published and place.exists():
        return load(place)
    model = preset("thinning", **SETTINGS[name])
    return model.fit(patients, hospital.validation, seed=seed, progress=False)


def losses(model: Generator, hospital: Hospital) -> tuple[np.ndarray, np.ndarray]:
    """Of members and others, under the same noise for all models."""
    sets = (hospital.members, hospital.others)
    n = min(JUDGED, *map(len, sets))
    members, others = (model.losses(part.take(np.arange(n)), draws=DRAWS, seed=9) for part in sets)
    return members, others


def row(model: Generator, hospital: Hospital, references: dict[str, Any]) -> dict[str, Any]:
    """Losses, the worst attack, and the discriminator."""
    members, others = losses(model, hospital)
    found = {"own loss": exposure("attack", -members, -others)}
    for name, (known, unknown) in references.items():
        found[f"reference: {name}"] = exposure("attack", known - members, unknown - others)
    worst = {key: max(each[key] for each in found.values()) for key in found["own loss"]}
    n = min(COMPARED, hospital.size)
    real, made = hospital.others.take(np.arange(n)), model.sample(n, seed=1, progress=False)
    rows = [part.align(real.codes).counts.astype(float) for part in (real, made)]
    told = utility.discriminator_auc(*utility.flat(utility.discriminate(*rows)))
    return {
        "loss_of_members": float(members.mean()),
        "loss_of_others": float(others.mean()),
        "epochs": len(model.history),
        "worst": worst,
        "attacks": found,
        "discriminator_auc": told,
    }


def study(hospital: Hospital) -> None:
    """Add the rows of a hospital of this size to the file."""
    settings = SCALES[hospital.size]
    place, models, references = f"{hospital.dataset}, {hospital.size:,} patients", {}, {}
    begin = time.process_time()
    for name in settings:
        models[name] = fitted(name, hospital, hospital.members, seed=0)
        if name != "as before" or hospital.size < 20_000:
            alike = fitted(name, hospital, hospital.reference, seed=1)
            references[name] = losses(alike, hospital)
    found = {each: row(model, hospital, references) for each, model in models.items()}
    made: dict[str, Any] = read_json(OUT) if OUT.exists() else {"rows": {}, "seconds": {}}
    made["rows"][place] = found
    made["seconds"][place] = time.process_time() - begin
    made |= {"command": COMMAND, "settings": SETTINGS, "patients_judged": JUDGED}
    made |= {"threads": torch.get_num_threads(), "platform": platform.platform()}
    write_json(OUT, made | {"cores": os.cpu_count()})
    for each, values in found.items():
        print(f"{place} {each:24} {values['worst']} {values['discriminator_auc']:.4f}")
        print(values["loss_of_members"], values["loss_of_others"], values["epochs"], flush=True)


def main() -> None:
    """Run both sizes on the data set named by the arguments."""
    torch.set_num_threads(1)
    dataset, source = [*sys.argv[1:], None, None][:2]
    for size in map(int, sys.argv[3:] or SCALES):
        study(Hospital(dataset or "simulated", source or None, size))


if __name__ == "__main__":
    main()
