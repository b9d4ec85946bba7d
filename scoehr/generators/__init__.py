"""Generators of patients: ScoEHR, thinning diffusion, GANs, EDM and a Gaussian copula.

All ``fit``, ``sample``, ``save``, ``load``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from scoehr.files import InputError
from scoehr.generators import saved
from scoehr.generators.base import Generator, Model
from scoehr.generators.copula import Copula, CopulaConfig
from scoehr.generators.edm import EDM, EDMConfig
from scoehr.generators.gan import GAN, GANConfig
from scoehr.generators.private import Private, PrivateConfig
from scoehr.generators.public import on_codes, public_codes
from scoehr.generators.room import check_disk, check_memory
from scoehr.generators.scoehr import ScoEHR, ScoEHRConfig
from scoehr.generators.settings import shown
from scoehr.generators.thinning import Thinning, ThinningConfig
from scoehr.generators.whole import Whole, WholeConfig

Config = ScoEHRConfig | ThinningConfig | PrivateConfig | GANConfig | EDMConfig | CopulaConfig
GENERATORS: dict[str, type[Generator]] = {
    kind.name: kind for kind in (ScoEHR, Thinning, Private, GAN, EDM, Copula)
}
#: Named variants: the generator, and what the name changes in its settings.
VARIANTS: dict[str, tuple[type[Generator], dict[str, Any]]] = {
    name: (kind, changes)
    for kind in GENERATORS.values()
    for name, changes in (kind.presets or {kind.name: {}}).items()
}
NAMES = tuple(VARIANTS)


def preset(name: str, **changes: Any) -> Any:
    """An unfitted generator by the name of its preset, with changes to the settings.

    It learns codes, a :class:`Generator`; that of ``whole`` learns :class:`Whole` patients.
    """
    if name == Whole.name:
        return Whole(WholeConfig.from_dict(changes))
    if name not in VARIANTS:
        raise InputError(f"preset {name!r} is unknown; choose one of {', '.join(NAMES)}")
    kind, fixed = VARIANTS[name]
    return kind(kind.settings.from_dict({**fixed, **changes}))


def unfitted(config: Config) -> Generator:
    """The generator that these settings belong to."""
    return next(kind for kind in GENERATORS.values() if kind.settings is type(config))(config)


def load(folder: str | Path) -> Generator:
    """A saved generator of codes of any kind; :class:`InputError` unless the folder holds one."""
    kind = saved.config(Path(folder))["generator"]
    if kind == Whole.name:
        raise InputError(f"{folder}: makes whole patients, not a table of codes; use scoehr sample")
    if kind == "visits":
        raise InputError(
            f"{folder}: holds a generator of admissions, which this version replaced by whole "
            "patients; fit preset whole on the same table"
        )
    if kind not in GENERATORS:
        raise InputError(
            f"{folder}: holds a model of kind {shown(kind)}, which this version does not know"
        )
    return GENERATORS[kind].load(folder)


def load_any(folder: str | Path) -> Generator | Whole:
    """A saved generator, of codes or of whole patients."""
    if saved.config(Path(folder))["generator"] == Whole.name:
        return Whole.load(folder)
    return load(folder)


def model_files() -> set[str]:
    """Names of the files that a saved generator of any kind may have."""
    kinds: list[type[Model]] = [*GENERATORS.values(), Whole]
    weights = {name for kind in kinds for name in kind.weights}
    tables = {"vocabulary.csv", "history.csv", "pairs.parquet", "metrics.json"}
    return {"config.json", "MODEL_CARD.md", "DATA_CARD.md"} | tables | weights


__all__ = [
    "EDM",
    "GAN",
    "GENERATORS",
    "NAMES",
    "Config",
    "Copula",
    "CopulaConfig",
    "EDMConfig",
    "GANConfig",
    "Generator",
    "Model",
    "Private",
    "PrivateConfig",
    "ScoEHR",
    "ScoEHRConfig",
    "Thinning",
    "ThinningConfig",
    "Whole",
    "WholeConfig",
    "check_disk",
    "check_memory",
    "load",
    "load_any",
    "model_files",
    "on_codes",
    "preset",
    "public_codes",
    "unfitted",
]
