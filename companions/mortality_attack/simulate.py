"""Simulated ICU stays of known truth: irregular measurements, and deaths whose risk is a known
function of the stay.

Severity s(h) starts at a level of the patient, drifts, and wanders. A value of feature f at hour h
is mean_f + sd_f · (load_f · s(h) + noise). Death has the probability sigmoid(a + b · s(48)), so
that no model can rank stays better than the risk does, and :attr:`Simulated.risk` gives the best
possible AUROC. After hour 48, when the prediction has been made, those who will die get worse and
the others better: values from there tell the outcome.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from companions.mortality_attack import features
from companions.mortality_attack.extract import Stays
from companions.mortality_attack.queries import HOURS

#: Mean, standard deviation, load of severity and share of hours measured, of the 19 series of the
#: study.
SERIES = {
    "potassium": (4.2, 0.6, 0.3, 0.08), "calcium": (1.13, 0.08, -0.3, 0.06),
    "ph": (7.38, 0.06, -0.6, 0.12), "pco2": (40, 8, 0.1, 0.12),
    "lactate": (2.2, 0.9, 0.9, 0.05), "albumin": (3.0, 0.6, -0.5, 0.02),
    "bun": (27, 12, 0.8, 0.08), "creatinine": (1.4, 0.6, 0.6, 0.08),
    "sodium": (139, 4.5, 0.0, 0.08), "bicarbonate": (23, 4, -0.7, 0.08),
    "platelet": (190, 70, -0.4, 0.08), "glucose": (140, 40, 0.2, 0.08),
    "magnesium": (2.0, 0.3, 0.0, 0.08), "heartrate": (87, 15, 0.6, 0.9),
    "sysbp": (119, 19, -0.6, 0.88), "diasbp": (60, 11, -0.5, 0.88),
    "tempc": (37.0, 0.7, -0.1, 0.35), "resprate": (19, 4.5, 0.6, 0.85),
    "spo2": (97, 2, -0.6, 0.85),
}  # fmt: skip
#: Intercept and slope of the risk, for some 14 % deaths.
RISK = (-2.9, 1.7)
#: A patient's share of the variance of the first severity, and how many stays have an earlier one
#: of the same patient.
PATIENT, AGAIN = 0.5, 0.15
#: How far severity goes after hour 48 within a day, down for survivors and up for the others.
AFTER = 1.5


class Simulated(NamedTuple):
    """Stays and each one's true probability of death, ``(n,)``."""

    stays: Stays
    risk: np.ndarray


def simulate(n: int = 1200, seed: int = 0) -> Simulated:
    """``n`` stays; the same seed gives the same stays."""
    rng = np.random.default_rng([seed, 12])
    patients = np.arange(n)
    again = rng.random(n) < AGAIN
    again[0] = False
    patients[again] = rng.integers(0, n, again.sum()) % np.flatnonzero(
        again
    )  # an earlier stay's patient
    level = rng.normal(size=n)[patients] * PATIENT**0.5 + rng.normal(size=n) * (1 - PATIENT) ** 0.5
    hours = 2 * HOURS
    path = level[:, None] + rng.normal(size=(n, 1)) * 0.5 * np.arange(hours) / HOURS
    path = path + np.cumsum(rng.normal(size=(n, hours)) * 0.08, axis=1)
    risk = 1 / (1 + np.exp(-(RISK[0] + RISK[1] * path[:, HOURS - 1])))
    died = rng.random(n) < risk
    later = np.clip(np.arange(hours) - HOURS + 1, 0, None) / 24
    path = path + np.where(died, AFTER, -AFTER)[:, None] * later
    events = _measure(path, rng)
    static = np.zeros((n, len(features.STATIC)), np.float32)
    static[:, 0] = np.clip(rng.normal(64, 16, n), 18, 90)
    static[:, 1] = rng.random(n) < 0.56
    static[:, 2] = np.nan
    static[np.arange(n), 3 + rng.integers(0, 4, n)] = 1
    account = {
        "stays simulated": n,
        "patients": len(np.unique(patients)),
        "deaths in hospital": int(died.sum()),
    }
    account["hourly values"] = len(events["value"])
    return Simulated(
        Stays("simulated", np.arange(n), patients, died, static, events, account), risk
    )


def _measure(path: np.ndarray, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Hourly values where they are measured, as the columns of :class:`Stays`."""
    series = np.array(list(SERIES.values()))  # (19, 4)
    mean, sd, load, share = series.T
    noise = rng.normal(size=(*path.shape, len(series))) * 0.8
    values = mean + sd * (load * path[..., None] + noise)  # (n, hours, 19)
    limits = np.array([(feature.low, feature.high) for feature in features.table()[: len(series)]])
    values = np.clip(values, limits[:, 0] + 0.1, limits[:, 1] - 0.001)
    measured = rng.random(values.shape) < share
    stay, feature, hour = np.nonzero(measured.transpose(0, 2, 1))
    return {
        "stay": stay.astype(np.int32),
        "hour": hour.astype(np.int32),
        "feature": feature.astype(np.int32),
        "value": np.round(values[stay, hour, feature], 4).astype(np.float32),
    }
