"""The settings of a generator: plain data, every value checked when it is given."""

from __future__ import annotations

import math
from dataclasses import Field, asdict, field, fields
from types import NoneType, UnionType
from typing import Any, Literal, Self, get_args, get_origin, get_type_hints

import numpy as np

from scoehr.files import InputError

#: Where settings of these names may lie; a round bracket leaves its limit out. The large limits are
#: sizes that no machine holds and lengths that no training lasts.
LIMITS = {
    "attention": "[1, 4096]",
    "autoencoder_batch": "[1, 1048576]",
    "autoencoder_epochs": "[1, 1000000]",
    "autoencoder_learning_rate": "(0, inf)",
    "batch": "[1, 1048576]",
    "clip": "(0, inf)",
    "delta": "(0, 1)",
    "depth": "[1, 256]",
    "discriminator_steps": "[1, 1000]",
    "ema": "[0, 1)",
    "embedding": "[1, 16384]",
    "epoch_fraction": "(0, 1]",
    "epochs": "[1, 1000000]",
    "epsilon": "(0, inf)",
    "latent": "[1, 16384]",
    "learning_rate": "(0, inf)",
    "least_gain": "[0, 1)",
    "marginals_noise": "(0, inf)",
    "max_codes": "[1, 1000000]",
    "max_gradient_norm": "(0, inf)",
    "patience": "[1, 1000000]",
    "prior": "(0, inf)",
    "sample_batch": "[1, 131072]",
    "steps": "[1, 1000000]",
    "support": "[0, 1]",
    "time_scale": "(0, inf)",
    "vocabulary_noise": "(0, inf)",
    "width": "[1, 16384]",
}
#: How a type is named in a message.
TYPES = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "a word",
    NoneType: "null",
}


def since(default: Any, *, before: Any) -> Any:
    """A field that came later: models of the time before have the value ``before``."""
    return field(default=default, metadata={"before": before})


def within(limits: str, default: Any) -> Any:
    """A field with limits of its own, such as ``[0, 1)``."""
    return field(default=default, metadata={"limits": limits})


class Settings:
    """Base of frozen settings, which are plain data both ways.

    :class:`InputError` if a value is not of the type its field declares, not finite, or outside
    its limits (:func:`within`, else :data:`LIMITS`).
    """

    def __post_init__(self) -> None:
        own = {each.name: each.metadata.get("limits") for each in _fields(type(self))}
        for name, kind in get_type_hints(type(self)).items():
            value = getattr(self, name)
            if isinstance(value, np.generic):
                value = value.item()
            if isinstance(value, list):
                value = tuple(value)
            object.__setattr__(self, name, value)
            _check_type(name, value, kind)
            for number in value if isinstance(value, tuple) else [value]:
                check_limits(name, number, own[name] or LIMITS.get(name, "[0, inf)"))

    @classmethod
    def from_dict(cls, settings: dict[str, Any]) -> Self:
        """From plain data, such as JSON; an :class:`InputError` names an unknown entry."""
        unknown = sorted(set(settings) - {each.name for each in _fields(cls)})
        if unknown:
            raise InputError(
                f"unknown setting {shown(unknown[0])}; see {cls.__name__} for the names"
            )
        return cls(**settings)

    @classmethod
    def from_saved(cls, settings: dict[str, Any]) -> Self:
        """Those of a saved model, which may be older than some of the fields (:func:`since`)."""
        return cls.from_dict(_before(cls) | settings)

    def distinguishing(self) -> dict[str, Any]:
        """Plain data without the fields that came later and have the value of the time before.

        So what was named by its settings keeps its name.
        """
        before = _before(type(self))
        return {
            name: value
            for name, value in asdict(self).items()  # type: ignore[call-overload]
            if name not in before or value != before[name]
        }


def _fields(kind: Any) -> tuple[Field[Any], ...]:
    return fields(kind)


def _before(kind: type[Settings]) -> dict[str, Any]:
    """The values that models of the time before have, by field."""
    later = (each for each in _fields(kind) if "before" in each.metadata)
    return {each.name: each.metadata["before"] for each in later}


def _check_type(name: str, value: Any, kind: Any) -> None:
    """:class:`InputError` unless the value is of this type; whole numbers are real ones."""
    if get_origin(kind) is Literal:
        check_choice(name, value, get_args(kind))
    elif not _is(value, kind):
        raise InputError(f"setting {name} must be {_named(kind)}, not {shown(value)}")


def _is(value: Any, kind: Any) -> bool:
    if get_origin(kind) is UnionType:
        return any(_is(value, each) for each in get_args(kind))
    if get_origin(kind) is tuple:
        return isinstance(value, tuple) and all(_is(each, get_args(kind)[0]) for each in value)
    return type(value) is kind or (kind is float and type(value) is int)


def _named(kind: Any) -> str:
    if get_origin(kind) is UnionType:
        return " or ".join(map(_named, get_args(kind)))
    return "a list of whole numbers" if get_origin(kind) is tuple else TYPES[kind]


def check_choice(name: str, value: Any, choices: Any) -> None:
    """:class:`InputError` unless the value is one of these words, spelled exactly so."""
    if value not in tuple(choices):
        raise InputError(f"{name} {shown(value)} is unknown; choose one of {', '.join(choices)}")


def check_limits(name: str, value: Any, limits: str) -> None:
    """:class:`InputError` unless a number is in an interval such as ``[0, 1)``."""
    if type(value) not in (int, float):
        return
    low, high = map(float, limits[1:-1].split(","))
    if isinstance(value, float) and not math.isfinite(value):
        wanted = "finite"
    elif value < low or (value == low and limits[0] == "("):
        wanted = f"{'above' if limits[0] == '(' else 'at least'} {low:g}"
    elif value > high or (value == high and limits[-1] == ")"):
        wanted = f"{'below' if limits[-1] == ')' else 'at most'} {high:.15g}"
    else:
        return
    raise InputError(f"setting {name} must be {wanted}, not {shown(value)}")


def check_whole(name: str, value: Any, limits: str) -> None:
    """:class:`InputError` unless the value is a whole number in an interval such as ``[1, 9]``."""
    _check_type(name, value, int)
    check_limits(name, value, limits)


def shown(value: Any) -> str:
    """A value as a message quotes it, never a long one."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # a number of endless length
        text = type(value).__name__
    return text if len(text) <= 60 else f"{text[:57]}..."
