"""How stays become what a model is given and is judged on: the reported way, the corrected way, and
all between.

Each flaw of the LSTM attack study is an option of :class:`Protocol`; all off is ``corrected``, all
on ``reported``.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import NamedTuple

import numpy as np

from companions.mortality_attack import features
from companions.mortality_attack.extract import Stays
from companions.mortality_attack.queries import HOURS

#: Shares of the patients: validation and test; the rest is trained on.
VALIDATION, TEST = 0.16, 0.20
#: Percentiles that become 0 and 1: as reported, and of the corrected protocol, which cuts nothing
#: off there.
REPORTED_RANGE, RANGE = (5, 95), (1, 99)


@dataclass(frozen=True)
class Protocol:
    """The flaws that are made; without any it is the corrected protocol.

    * ``mixed_patients``: stays, not patients, are split, so that one patient may be learnt from and
      scored;
    * ``future_values``: gaps are filled by linear interpolation in both directions over the whole
      admission before it
      is cut to 48 hours, so that later values reach back, and models are not told what was
      measured. What is corrected carries the last value forward;
    * ``statistics_on_all``: percentiles and medians are those of all stays, the scored ones too;
    * ``clipped``: values beyond the 5th and 95th percentile, which tell most about death, are cut
      off;
    * ``last_step``: the head sees the output at the last hour, whose backward half has read that
      hour alone;
    * ``double_softmax``: a softmax inside the model and another in the loss, whose floor is then
      0.3133, so that
      gradients vanish and probabilities saturate;
    * ``balanced_training``: deaths are drawn as often as survivals, so probabilities are those of
      another population;
    * ``fixed_epochs``: training goes on to its last epoch, and the state kept is the one with the
      lowest loss on what
      is scored. What is corrected keeps the state that ranks validation stays best;
    * ``scored_on_training``: scores are those of the training stays under a balanced draw.
    """

    mixed_patients: bool = False
    future_values: bool = False
    statistics_on_all: bool = False
    clipped: bool = False
    last_step: bool = False
    double_softmax: bool = False
    balanced_training: bool = False
    fixed_epochs: bool = False
    scored_on_training: bool = False


CORRECTED = Protocol()
REPORTED = Protocol(**{field.name: True for field in fields(Protocol)})


def ladder() -> dict[str, Protocol]:
    """From corrected to reported, a flaw more at each step; the key is the flaw added."""
    steps, protocol = {"corrected": CORRECTED}, CORRECTED
    for field in fields(Protocol):
        protocol = replace(protocol, **{field.name: True})
        steps[field.name] = protocol
    return steps


class Split(NamedTuple):
    """Places of the stays to learn from, to choose by and to score on."""

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray


def split(stays: Stays, seed: int = 0, *, mixed: bool = False) -> Split:
    """64 % training, 16 % validation and 20 % test patients, with as many deaths in each; of stays
    if ``mixed``.
    """
    group = np.arange(len(stays)) if mixed else np.unique(stays.patients, return_inverse=True)[1]
    died = np.bincount(group, weights=stays.died) > 0
    rng = np.random.default_rng([seed, 48])
    part = np.empty(len(died), int)
    for outcome in (False, True):
        members = rng.permutation(np.flatnonzero(died == outcome))
        part[members] = np.searchsorted(
            [TEST, TEST + VALIDATION], (np.arange(len(members)) + 0.5) / len(members)
        )
    return Split(*(np.flatnonzero(part[group] == wanted) for wanted in (2, 1, 0)))


@dataclass(frozen=True)
class Statistics:
    """What is learnt from stays to normalise others: all arrays have the shape ``(F,)``.

    ``low`` and ``high`` become 0 and 1, ``median`` and ``mean`` and ``spread`` are in these units;
    ``static_mean`` and ``static_spread`` ``(7,)`` in their own. ``ids`` are the stays they were
    fitted on. ``log`` says which features are on a logarithmic scale, log(1 + value).
    """

    low: np.ndarray
    high: np.ndarray
    median: np.ndarray
    mean: np.ndarray
    spread: np.ndarray
    static_mean: np.ndarray
    static_spread: np.ndarray
    available: np.ndarray
    log: np.ndarray
    ids: np.ndarray

    def normalise(self, values: np.ndarray) -> np.ndarray:
        """Clinical units ``(..., F)`` to those of models."""
        logs = np.where(self.log, np.log1p(np.maximum(values, 0)), values)
        return ((logs - self.low) / (self.high - self.low)).astype(np.float32)

    def clinical(self, values: np.ndarray) -> np.ndarray:
        """Units of models ``(..., F)`` back to clinical ones."""
        raw = np.asarray(values, float) * (self.high - self.low) + self.low
        return np.where(self.log, np.expm1(np.where(self.log, raw, 0)), raw)

    def limits(self) -> tuple[np.ndarray, np.ndarray]:
        """The plausible values of each feature in units of models, two arrays ``(F,)``."""
        low, high = (
            np.array([getattr(f, side) for f in features.table()]) for side in ("low", "high")
        )
        return self.normalise(low), self.normalise(high)


def fit_statistics(stays: Stays, rows: np.ndarray, protocol: Protocol) -> Statistics:
    """Statistics of these stays, those of the reported protocol over whole admissions."""
    part = stays.take(rows)
    kept = np.ones(len(part.events["hour"]), bool)
    if not protocol.future_values:
        kept = (part.events["hour"] >= 0) & (part.events["hour"] < HOURS)
    feature, value = part.events["feature"][kept], part.events["value"][kept].astype(float)
    log = np.array([f.log for f in features.table()]) & (not protocol.clipped)
    count = len(log)
    table = np.tile(
        np.array([[0.0], [1.0], [0.5], [0.5], [1.0]]), count
    )  # of a feature that no stay has
    for place in np.unique(feature):
        found = value[feature == place]
        found = np.log1p(np.maximum(found, 0)) if log[place] else found
        low, median, high = np.percentile(
            found, np.insert(REPORTED_RANGE if protocol.clipped else RANGE, 1, 50)
        )
        high = high if high > low else low + 1
        scaled = (found - low) / (high - low)
        table[:, place] = (
            low,
            high,
            (median - low) / (high - low),
            scaled.mean(),
            max(float(scaled.std()), 1e-3),
        )
    known = np.isfinite(part.static)
    mean = np.where(
        known.any(0), np.where(known, part.static, 0).sum(0) / np.maximum(known.sum(0), 1), 0
    )
    spread = np.sqrt(
        (np.where(known, part.static - mean, 0) ** 2).sum(0) / np.maximum(known.sum(0), 1)
    )
    available = np.bincount(feature, minlength=count) > 0
    low, high, median, centre, width = table
    spread = np.where(spread > 0, spread, 1)
    return Statistics(low, high, median, centre, width, mean, spread, available, log, part.ids)


@dataclass(frozen=True)
class Series:
    """What a model is given: arrays over the same ``n`` stays, float32.

    ``values`` ``(n, 48, F)`` normalised, 0 where ``mask`` ``(n, 48, F)`` says that nothing was
    measured, unless the protocol filled the gap; ``static`` ``(n, 7)`` standardised, 0 where
    unknown; ``died`` ``(n,)``; ``ids`` ``(n,)``.
    """

    values: np.ndarray
    mask: np.ndarray
    static: np.ndarray
    died: np.ndarray
    ids: np.ndarray
    patients: np.ndarray

    def __len__(self) -> int:
        return len(self.died)

    def take(self, rows: np.ndarray) -> Series:
        """These stays."""
        return Series(*(getattr(self, field.name)[rows] for field in fields(self)))


def prepare(stays: Stays, statistics: Statistics, protocol: Protocol) -> Series:
    """Stays in the units of models. Without ``future_values`` nothing from hour 48 on is read."""
    values, mask = stays.window()
    values = np.where(mask, statistics.normalise(values), 0).astype(np.float32)
    if protocol.future_values:
        values = _interpolated(stays, statistics)
    if protocol.clipped:
        values = np.clip(values, 0, 1)
    mask &= statistics.available
    values[..., ~statistics.available] = 0
    static = (stays.static - statistics.static_mean) / statistics.static_spread
    static = np.where(np.isfinite(static), static, 0).astype(np.float32)
    return Series(values, mask, static, stays.died.astype(np.float32), stays.ids, stays.patients)


def _interpolated(stays: Stays, statistics: Statistics) -> np.ndarray:
    """The reported filling: straight lines between measurements, also to those outside the window;
    else the median.
    """
    count = len(statistics.low)
    filled = np.empty((len(stays), HOURS, count), np.float32)
    filled[:] = statistics.median
    clinical = stays.events["value"]
    order = np.lexsort((stays.events["hour"], stays.events["feature"], stays.events["stay"]))
    stay, feature, hour = (stays.events[name][order] for name in ("stay", "feature", "hour"))
    scale = statistics.high - statistics.low
    logs = np.where(
        statistics.log[feature], np.log1p(np.maximum(clinical[order], 0)), clinical[order]
    )
    value = (logs - statistics.low[feature]) / scale[feature]
    starts = np.flatnonzero(np.r_[True, (np.diff(stay) != 0) | (np.diff(feature) != 0)])
    grid = np.arange(HOURS)
    for start, end in zip(starts, np.r_[starts[1:], len(stay)], strict=True):
        filled[stay[start], :, feature[start]] = np.interp(grid, hour[start:end], value[start:end])
    return filled


class Prepared(NamedTuple):
    """The three parts under a protocol, and the statistics that made them."""

    train: Series
    validation: Series
    test: Series
    statistics: Statistics


def apply(stays: Stays, protocol: Protocol, seed: int = 0) -> Prepared:
    """Split, fit and prepare."""
    parts = split(stays, seed, mixed=protocol.mixed_patients)
    fitted_on = np.arange(len(stays)) if protocol.statistics_on_all else parts.train
    statistics = fit_statistics(stays, fitted_on, protocol)
    train, validation, test = (prepare(stays.take(rows), statistics, protocol) for rows in parts)
    return Prepared(train, validation, test, statistics)


def folds(series: Series, number: int, seed: int = 0) -> list[tuple[np.ndarray, np.ndarray]]:
    """Places to train on and to choose by, ``number`` pairs that together choose by all: by
    patient, deaths spread.
    """
    _, group = np.unique(series.patients, return_inverse=True)
    died = np.bincount(group, weights=series.died) > 0
    part = np.empty(len(died), int)
    rng = np.random.default_rng([seed, 60])
    for outcome in (False, True):
        members = rng.permutation(np.flatnonzero(died == outcome))
        part[members] = np.arange(len(members)) % number
    return [
        (np.flatnonzero(part[group] != k), np.flatnonzero(part[group] == k)) for k in range(number)
    ]


def together(data: Prepared) -> Series:
    """Training and validation stays."""
    names = [field.name for field in fields(Series)]
    return Series(
        *(np.concatenate([getattr(data.train, n), getattr(data.validation, n)]) for n in names)
    )


def crossed(data: Prepared, number: int, seed: int = 0) -> list[Prepared]:
    """Training and validation stays put together and parted anew ``number`` times; test stays are
    left alone.
    """
    both = together(data)
    return [data._replace(train=both.take(learn), validation=both.take(choose))
            for learn, choose in folds(both, number, seed)]  # fmt: skip


def refuse_leaks(prepared: Prepared, protocol: Protocol) -> None:
    """Stop where a patient stands in two parts, or statistics saw stays that are not trained on,
    unless so reported.

    Raises:
        AssertionError: it names what leaks.
    """
    train, held = prepared.train, (prepared.validation, prepared.test)
    if not protocol.mixed_patients and any(
        np.isin(part.patients, train.patients).any() for part in held
    ):
        raise AssertionError("a patient stands in the training part and in another")
    if not protocol.statistics_on_all and not np.isin(prepared.statistics.ids, train.ids).all():
        raise AssertionError("the statistics were fitted on stays outside the training part")
