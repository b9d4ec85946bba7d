"""The generators: ScoEHR with its variants, and thinning diffusion. All ``fit``, ``sample``, ``save``, ``load``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from scoehr.files import InputError
from scoehr.generators.base import Generator, check_memory, saved_config
from scoehr.generators.scoehr import PRESETS, ScoEHR, ScoEHRConfig
from scoehr.generators.thinning import Thinning, ThinningConfig

GENERATORS: dict[str, type[Generator]] = {kind.name: kind for kind in (ScoEHR, Thinning)}
NAMES = (*PRESETS, Thinning.name)


def preset(name: str, **changes: Any) -> Generator:
    """An unfitted generator by name (``reported``, ``paper``, ``fast``, ``thinning``), with changes to its settings."""
    if name not in NAMES:
        raise InputError(f"preset {name!r} is unknown; choose one of {', '.join(NAMES)}")
    return Thinning(ThinningConfig.from_dict(changes)) if name == Thinning.name else ScoEHR.preset(name, **changes)


def unfitted(config: ScoEHRConfig | ThinningConfig) -> Generator:
    """The generator that these settings belong to."""
    return ScoEHR(config) if isinstance(config, ScoEHRConfig) else Thinning(config)


def load(folder: str | Path) -> Generator:
    """A saved generator of any kind; :class:`InputError` if the folder does not hold a whole one."""
    kind = saved_config(Path(folder))["generator"]
    if kind not in GENERATORS:
        raise InputError(f"{folder}: holds a model of kind {kind!r}, which this version does not know")
    return GENERATORS[kind].load(folder)


__all__ = [
    "GENERATORS",
    "NAMES",
    "PRESETS",
    "Generator",
    "ScoEHR",
    "ScoEHRConfig",
    "Thinning",
    "ThinningConfig",
    "check_memory",
    "load",
    "preset",
    "unfitted",
]
