"""How often codes come back, counted in training patients by where a history last had them."""

from __future__ import annotations

import numpy as np
from scipy import special

from companions.dualk.batches import Feed, in_parts

#: Training patients that a code's rate is drawn to the mean of all codes by, as if so many more had
#: been seen.
PRIOR = 5.0
#: States of a code in a history: at the last visit, at an earlier one only, at none.
STATES = 3


def states(last: np.ndarray, ever: np.ndarray) -> np.ndarray:
    """0, 1 or 2 for each patient and code: at the last visit, at an earlier one only, at none."""
    return np.where(last > 0, 0, np.where(ever > 0, 1, 2))


def of(feed: Feed, patients: np.ndarray) -> np.ndarray:
    """States of the target codes in the histories of patients, (n, targets)."""
    ever, last = feed.history(patients)
    return states(last.toarray(), ever.toarray())


def counts(feed: Feed, patients: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Patients in each state of each code, and those whose next visit has it; (3, targets) each."""
    there, positive = np.zeros((2, STATES, feed.records.targets))
    for part in in_parts(patients, 2048):
        state, answer = of(feed, part), feed.answers(part).toarray() > 0
        for number in range(STATES):
            there[number] += (state == number).sum(axis=0)
            positive[number] += ((state == number) & answer).sum(axis=0)
    return there, positive


def smoothed(there: np.ndarray, positive: np.ndarray) -> np.ndarray:
    """Rates (k, targets), each drawn to the mean rate of its row."""
    mean = (positive.sum(axis=1, keepdims=True) + 1) / (there.sum(axis=1, keepdims=True) + 2)
    return (positive + PRIOR * mean) / (there + PRIOR)


def table(feed: Feed, patients: np.ndarray) -> np.ndarray:
    """Logits of the rate at which each code follows, by its state; (3, targets) float32."""
    return special.logit(smoothed(*counts(feed, patients))).astype(np.float32)


def overall(feed: Feed, patients: np.ndarray) -> np.ndarray:
    """Logits of the rate at which each code stands at the visit to predict, (targets,)."""
    there, positive = (part.sum(axis=0, keepdims=True) for part in counts(feed, patients))
    return special.logit(smoothed(there, positive))[0].astype(np.float32)
