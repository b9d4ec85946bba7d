"""Visits of patients in time order, and the cohorts that the study trains and tests on."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, NamedTuple

import numpy as np
from scipy import sparse

from scoehr.data import icd
from scoehr.files import InputError

#: Laboratory categories of the study, in its order; items of other categories are left out.
CATEGORIES = ("hematology", "chemistry", "blood gas")
#: Multi-visit patients that the study trains on, and that the smaller of its two other parts has.
TRAIN, SMALL = 8_000, 1_000
#: Codes that begin so are heart failure.
HEART_FAILURE = "428"
Splitting = Literal["forced", "random"]


@dataclass(frozen=True)
class Records:
    """Visits of patients, in time order.

    Attributes:
        patients: (n_patients,) int64 ids
        first: (n_patients + 1,) the visits of patient p are rows ``first[p]`` to ``first[p + 1] -
            1``
        days: (n_visits,) float, days since the patient's first visit; 1 a visit where the data have
            no dates
        codes: (n_codes,) str, those of patients with several visits first, both parts sorted
        targets: how many codes those are: the vocabulary of predictions
        visit_codes: (n_visits, n_codes) how often a code stands at a visit (twice where two ICD-10
            codes became one)
        items, labels, categories: (n_items,) laboratory items that are ever abnormal, sorted by
            category
        labs, first_day: (n_visits, n_items) bool, abnormal in the visit, and within 24 hours of its
            beginning
        counts: what was read, kept and dropped
    """

    dataset: str
    patients: np.ndarray
    first: np.ndarray
    days: np.ndarray
    codes: np.ndarray
    targets: int
    visit_codes: sparse.csr_array
    items: np.ndarray
    labels: np.ndarray
    categories: np.ndarray
    labs: sparse.csr_array
    first_day: sparse.csr_array
    counts: dict[str, Any]

    @property
    def visits(self) -> np.ndarray:
        """Visits a patient, (n_patients,)."""
        return np.diff(self.first)

    @property
    def owner(self) -> np.ndarray:
        """The patient of each visit."""
        return np.repeat(np.arange(len(self.patients)), self.visits)

    @property
    def has_labs(self) -> bool:
        """Whether any visit has an abnormal laboratory item."""
        return bool(self.labs.nnz)

    @cached_property
    def titles(self) -> np.ndarray:
        """The name of each code."""
        return np.array([icd.title(code) for code in self.codes.tolist()])

    def category(self, name: str) -> np.ndarray:
        """Places of the items of a category."""
        return np.flatnonzero(self.categories == name)


class Split(NamedTuple):
    """Patients (their places): those with one visit; and of those with several the three parts."""

    single: np.ndarray
    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray

    @property
    def pretrain(self) -> np.ndarray:
        """Patients of the pre-training and of the disease graph."""
        return np.concatenate([self.single, self.train])


def split(records: Records, how: Splitting = "random", seed: int = 42, train: int = TRAIN) -> Split:
    """Single-visit patients, and train, validation and test of those with several visits.

    * ``forced``, as reported: for every code of the vocabulary the first patient who has it, and
      the patient with most visits, are put into training, so that no code of a test patient is ever
      new; the rest is shuffled. The validation part is the large one, and the study never looks at
      it.
    * ``random``: by chance alone; the test part is the large one.

    Training has at most ``train`` patients and at most 70 % of those with several visits; the small
    part has at most :data:`SMALL` and 15 %.
    """
    several = np.flatnonzero(records.visits > 1)
    rng = np.random.default_rng(seed)
    n_train = min(train, int(0.7 * len(several)))
    small = min(SMALL, max(1, int(0.15 * len(several))))
    if n_train < 1 or len(several) < 3:
        number = f"{len(several)} patients have several visits"
        raise InputError(f"{number}; at least 3 are needed to train and to test")
    if how == "random":
        order = rng.permutation(several)
        parts = order[:n_train], order[n_train : n_train + small], order[n_train + small :]
    else:
        forced = _covering(records, several)
        rest = rng.permutation(np.setdiff1d(several, forced))
        order = np.concatenate([forced, rest])
        n_train = min(max(n_train, len(forced)), len(several) - 1)
        end = max(n_train, len(order) - small)
        parts = order[:n_train], order[n_train:end], order[end:]
    return Split(np.flatnonzero(records.visits == 1), *(np.sort(part) for part in parts))


def _covering(records: Records, several: np.ndarray) -> np.ndarray:
    """The first patient with several visits of each target code, and the one with most."""
    owner = records.owner
    visit, code = records.visit_codes.nonzero()
    visit, code = visit[code < records.targets], code[code < records.targets]
    kept = records.visits[owner[visit]] > 1
    first = np.full(records.targets, np.iinfo(np.int64).max)
    np.minimum.at(first, code[kept], owner[visit[kept]])
    longest = several[np.argmax(records.visits[several])]
    return np.unique(np.append(first, longest))


def target_codes(records: Records, patients: np.ndarray) -> sparse.csr_array:
    """Which target codes stand at the last visit of each patient, (n, targets) bool."""
    last = records.first[patients + 1] - 1
    return (records.visit_codes[last][:, : records.targets] > 0).tocsr()


def heart_failure(records: Records) -> np.ndarray:
    """Which codes are heart failure, (n_codes,) bool."""
    return np.char.startswith(records.codes, HEART_FAILURE)
