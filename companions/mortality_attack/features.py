"""The series of the study and where each source keeps them: one table, ``features.csv``.

Columns: ``name``; ``title``; ``group`` (laboratory or vital sign: the 19 of the study; further:
what the Challenge 2012 has beside them); ``unit``; the plausible values lie between ``low`` and
``high``, both excluded; ``log``: the values are skewed, so models see their logarithm; ``specimen``
(gas: from a blood gas analysis); ``items``: the ITEMIDs of MIMIC-III, CareVue and MetaVision, in
LABEVENTS or CHARTEVENTS by group, an F behind those in degrees Fahrenheit; ``challenge``: the
parameters of the Challenge 2012, the preferred one first.

The items and limits follow the queries of the LSTM attack study, which come from the MIMIC Code
Repository (Johnson et al. 2018, JAMIA 25); limits are added where the queries have none. Calcium is
the ionised calcium of blood gas analyses. The Challenge has neither that nor pulse oximetry;
arterial saturation is a series of its own, never taken for SpO2.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Literal

import pandas as pd

FeatureSet = Literal["study", "all"]

#: Descriptors of a stay that do not change during it, used by the set "all".
STATIC = ("age", "male", "height", "unit_1", "unit_2", "unit_3", "unit_4")


@dataclass(frozen=True)
class Feature:
    """A row of ``features.csv``."""

    name: str
    title: str
    group: str
    unit: str
    low: float
    high: float
    log: bool
    specimen: str
    items: tuple[str, ...]
    challenge: tuple[str, ...]


@cache
def table() -> tuple[Feature, ...]:
    """All features, those of the study first."""
    text = resources.files(__package__).joinpath("features.csv")
    with resources.as_file(text) as path:
        frame = pd.read_csv(path, dtype={"items": str}, keep_default_na=False)
    return tuple(
        Feature(row.name, row.title, row.group, row.unit, float(row.low), float(row.high),
                bool(row.log), row.specimen, tuple(row.items.split()), tuple(row.challenge.split()))
        for row in frame.itertuples(index=False)
    )  # fmt: skip


def chosen(which: FeatureSet) -> list[int]:
    """Places in :func:`table` of the 19 series of the study, or of all."""
    return [
        place
        for place, feature in enumerate(table())
        if which == "all" or feature.group != "further"
    ]


def names() -> list[str]:
    """Names of all features in the order of :func:`table`."""
    return [feature.name for feature in table()]
