r"""A cohort with a known truth, written as full-size tables in the schema of MIMIC-III.

A patient belongs to a population (adults, single newborns, twins), has a number of
admissions :math:`A`, a complexity :math:`m` (how much is wrong and written down) and phenotypes
:math:`z_k \in \{0, 1\}`, all independent. *Lasting* phenotypes (heart failure, chronic kidney
disease, …) are drawn once a patient, the others (sepsis, trauma, …) once an admission. Given these,
code :math:`c` is absent from an admission with probability

.. math:: u_c = \exp\{-m\, \beta_c\, (1 + \sum_k a_{kc} z_k)\},

independently of the other codes (a noisy-or). A *recurring* code works on lasting phenotypes alone:
the patient has the condition for good with probability :math:`1 - u_c`, and each
admission records it with probability :math:`\rho_c`. A recorded category has :math:`1 +
\mathrm{Binomial}(2, \varepsilon_c)` full codes. The affinities :math:`a_{kc}`, :math:`\rho_c`,
:math:`\varepsilon_c` and the rate of each common code are in ``common_codes.csv``; the base hazard
:math:`\beta_c` is solved from the rate.

Because the phenotypes are independent, :math:`E\,u_c` and :math:`E\,u_c u_d` are products over
phenotypes, and means, prevalences and correlations follow exactly by summing over populations,
numbers of admissions and complexities (:class:`Truth`). The one thing the truth leaves out is the
cap of 39 rows an admission, which cuts fewer than one row in a thousand.

What stands beside codes goes with the same phenotypes: a value of a column (a woman, 65 or older,
an emergency, eight nights or more, dead) is absent with a probability of the same form, once a
patient, at each admission, or at the last. So the odds ratios of a value and a code are exact, too
(:meth:`Truth.odds_ratios`). Values have a stream of random numbers of their own.

Rates are those of MIMIC-III v1.4 (Johnson et al., Scientific Data 3:160035, 2016) for the frequent
codes, rounded, and plausible values for the others; this is a test bed, not a model of hospital
care.
"""

from __future__ import annotations

import csv
import hashlib
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import pyarrow as pa
from scipy import sparse, special

from scoehr.data import icd
from scoehr.data.matrix import CodeMatrix
from scoehr.data.writing import seal, timestamps, write_table
from scoehr.files import InputError, check_seed

__all__ = ["Law", "Truth", "laws", "members", "sample_matrix", "write_tables"]

PATIENTS = 46_520
#: Diagnosis rows with a code in a full-size cohort.
ROWS = 651_000
#: Three-digit codes of the law; some are so rare that a full-size cohort lacks them.
VOCABULARY = 1_100
#: Most rows an admission has in MIMIC-III.
ROWS_PER_ADMISSION = 39
#: The rarest codes of a group fall off as rank ** -TAIL_EXPONENT.
TAIL_EXPONENT = 1.7
#: Share of a category's full codes that are its usual one; the others fall off as 1 / rank.
USUAL_SHARE = 0.6
#: Complexity: multiplier of every hazard, and the share of patients that have it.
COMPLEXITY = ((0.50, 0.20), (0.75, 0.25), (1.00, 0.25), (1.35, 0.20), (1.75, 0.10))


#: The law's numbers: phenotypes, populations, tails and the values of descriptive columns.
_LAW_FILE = resources.files(__package__).joinpath("law.toml").read_bytes()
LAW = tomllib.loads(_LAW_FILE.decode())
#: By which tables that were written before another law are known.
LAW_ID = hashlib.sha256(_LAW_FILE).hexdigest()[:16]


class Phenotype(NamedTuple):
    """``share`` of the patients who have it, or of the admissions if it is not ``lasting``."""

    share: float
    lasting: bool


class Population(NamedTuple):
    """Groups of ``common_codes.csv``, and how many patients have how many admissions, in pairs."""

    groups: list[str]
    admissions: list[list[int]]


class Value(NamedTuple):
    """A value of a column: when it is drawn, its share and affinities in adults and newborns."""

    column: str
    value: str
    when: Literal["patient", "each", "last"]
    adult: dict[str, Any]
    newborn: dict[str, Any]

    def times(self, number: int) -> tuple[int, int]:
        """How often lasting and passing phenotypes act on it in ``number`` admissions."""
        often = {"patient": (1, 0), "each": (number, number), "last": (1, 1)}
        return often[self.when]


class Tail(NamedTuple):
    """All other categories from ``first`` to ``last``.

    ``rate``: how many an admission has in all.
    """

    group: str
    first: str
    last: str
    rate: float
    affinity: str


PHENOTYPES = {
    group: {name: Phenotype(**facts) for name, facts in found.items()}
    for group, found in LAW["phenotypes"].items()
}
POPULATIONS = {name: Population(**facts) for name, facts in LAW["populations"].items()}
TAILS = [Tail(*facts) for facts in LAW["tails"]]
VALUES = {(facts["column"], facts["value"]): Value(**facts) for facts in LAW["values"]}


@dataclass(frozen=True)
class Law:
    """One population's law over the common vocabulary.

    Arrays of shape (n_codes,) unless stated otherwise.
    """

    share: float
    admissions: np.ndarray  # (n_numbers,) how many admissions
    admission_shares: np.ndarray  # (n_numbers,)
    phenotype_shares: np.ndarray  # (n_phenotypes,)
    lasting: np.ndarray  # (n_phenotypes,) bool
    base: np.ndarray  # beta, 0 where the population never has the code
    extra: np.ndarray  # hazards the phenotypes add, beta * a, (n_phenotypes, n_codes)
    recurs: np.ndarray  # rho, 0 for codes that are drawn again at each admission
    repeats: np.ndarray  # epsilon

    @property
    def recurring(self) -> np.ndarray:
        """Which codes recur, (n_codes,) bool."""
        return self.recurs > 0

    @property
    def mean_rows(self) -> np.ndarray:
        """Mean rows of a code at an admission, given the code's condition holds there."""
        return (1 + 2 * self.repeats) * np.where(self.recurring, self.recurs, 1)

    @property
    def mean_square_rows(self) -> np.ndarray:
        """Mean square of the same."""
        spread = 2 * self.repeats * (1 - self.repeats)
        return (spread + (1 + 2 * self.repeats) ** 2) * np.where(self.recurring, self.recurs, 1)


# Definition -----------------------------------------------------------------------------------


def vocabulary() -> np.ndarray:
    """The three-digit codes of the law, sorted, shape (n_codes,)."""
    return _vocabulary_and_tails()[0]


@cache
def laws() -> tuple[Law, ...]:
    """The law of each of :data:`POPULATIONS`, in order."""
    codes, tails = _vocabulary_and_tails()
    scale = _tail_scale(tails)
    return tuple(_law(codes, tails, scale, population) for population in POPULATIONS.values())


@cache
def _common() -> tuple[dict[str, str], ...]:
    with resources.files(__package__).joinpath("common_codes.csv").open(encoding="utf-8") as file:
        return tuple(csv.DictReader(file))


@cache
def _vocabulary_and_tails() -> tuple[np.ndarray, dict[tuple[str, str], tuple[float, str]]]:
    """All codes, and (rate, affinity) of each that is not common, by group and code."""
    common = {(row["group"], row["code"]) for row in _common()}
    tails = {}
    for group, first, last, rate, affinity in TAILS:
        names = [
            c
            for c in icd.members()
            if first <= c <= last and (group, c) not in common and len(c) == len(first)
        ]
        names.sort(key=lambda c: (-len(icd.members()[c]), c))
        weights = np.arange(1, len(names) + 1) ** -TAIL_EXPONENT
        for name, weight in zip(names, weights / weights.sum(), strict=True):
            tails[group, name] = (rate * float(weight), affinity)
    kept = {code for _, code in common}
    for key in sorted(tails, key=lambda key: -tails[key][0]):
        if len(kept) < VOCABULARY:
            kept.add(key[1])
    return np.array(sorted(kept)), {key: value for key, value in tails.items() if key[1] in kept}


@cache
def members() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All full codes by category, the usual one of each first, and how they are drawn.

    Returns:
        Three arrays:

        - names: (n_full,) str
        - first: (n_codes + 1,) where each category of :func:`vocabulary` begins in ``names``
        - ends: (n_full,) upper ends of the codes' shares within their category, plus its number, so
          that ``searchsorted(ends, category + u)`` with a uniform u draws a full code
    """
    usual = {row["code"]: row["leaf"] for row in _common()}
    names: list[str] = []
    first, ends = [0], []
    for number, category in enumerate(vocabulary().tolist()):
        codes = sorted(icd.members()[category], key=lambda code: code != usual.get(category))
        shares = 1 / np.arange(1, len(codes) + 1)
        if len(codes) > 1:
            shares[0] = shares[1:].sum() * USUAL_SHARE / (1 - USUAL_SHARE)
        names += codes
        first.append(len(names))
        ends.append(number + np.cumsum(shares) / shares.sum())
    return np.array(names), np.array(first), np.concatenate(ends)


def _tail_scale(tails: dict[tuple[str, str], tuple[float, str]]) -> float:
    """The factor on all tail rates that makes a full-size cohort have ROWS rows."""
    visits = dict.fromkeys(("adult", "newborn", "single", "twin"), 0)
    for population in POPULATIONS.values():
        for group in population.groups:
            visits[group] += sum(number * patients for number, patients in population.admissions)
    common = sum(
        visits[r["group"]] * float(r["rate"]) * (1 + 2 * float(r["extra"] or 0)) for r in _common()
    )
    return (ROWS - common) / sum(visits[group] * rate for (group, _), (rate, _) in tails.items())


def _law(
    codes: np.ndarray,
    tails: dict[tuple[str, str], tuple[float, str]],
    scale: float,
    who: Population,
) -> Law:
    phenotypes = PHENOTYPES[who.groups[0]]
    place = {code: column for column, code in enumerate(codes.tolist())}
    rate, recurs, repeats = np.zeros((3, len(codes)))
    affinity = np.zeros((len(phenotypes), len(codes)))

    def put(code: str, code_rate: float, text: str) -> int:
        column = place[code]
        rate[column] = code_rate
        affinity[:, column] = _affinity(text, phenotypes)
        return column

    for (group, code), (tail_rate, text) in tails.items():
        if group in who.groups:
            put(code, scale * tail_rate, text)
    for row in _common():
        if row["group"] in who.groups:
            column = put(row["code"], float(row["rate"]), row["affinity"])
            recurs[column] = float(row["recurs"] or 0)
            repeats[column] = float(row["extra"] or 0)
    shares = np.array([phenotype.share for phenotype in phenotypes.values()])
    numbers, patients = np.array(who.admissions).T
    base = _solve_base(rate / np.where(recurs > 0, recurs, 1), affinity, shares)
    return Law(
        share=patients.sum() / PATIENTS,
        admissions=numbers,
        admission_shares=patients / patients.sum(),
        phenotype_shares=shares,
        lasting=np.array([phenotype.lasting for phenotype in phenotypes.values()]),
        base=base,
        extra=affinity * base,
        recurs=recurs,
        repeats=repeats,
    )


def _affinity(text: str, phenotypes: dict[str, Phenotype]) -> np.ndarray:
    """Affinities ``(n_phenotypes,)`` from pairs of a phenotype and a number."""
    words = text.split()
    found = dict(zip(words[::2], map(float, words[1::2]), strict=True))
    return np.array([found.get(name, 0.0) for name in phenotypes])


@cache
def _value_laws(column: str, name: str) -> tuple[Law, ...]:
    """The laws of the populations, with a value of a column as their one code."""
    found, value = [], VALUES[column, name]
    for law, who in zip(laws(), POPULATIONS.values(), strict=True):
        facts = value.adult if who.groups[0] == "adult" else value.newborn
        affinity = _affinity(facts["affinity"], PHENOTYPES[who.groups[0]])[:, None]
        levels = ((1.0, 1.0),) if value.when == "patient" else COMPLEXITY
        shares = law.phenotype_shares
        base = _solve_base(np.array([float(facts["share"])]), affinity, shares, levels)
        none = np.zeros(1)
        found.append(replace(law, base=base, extra=affinity * base, recurs=none, repeats=none))
    return tuple(found)


def _solve_base(
    probability: np.ndarray,
    affinity: np.ndarray,
    shares: np.ndarray,
    levels: tuple[tuple[float, float], ...] = COMPLEXITY,
) -> np.ndarray:
    """The hazard at which a condition holds with this probability a visit (by bisection)."""
    low, high = np.full((2, len(probability)), [[-20.0], [6.0]])
    for _ in range(60):
        middle = (low + high) / 2
        base = np.exp(middle)
        holds = sum(
            part * (1 - _absence(base, affinity * base, shares, level).prod(axis=0))
            for level, part in levels
        )
        low, high = (
            np.where(holds < probability, middle, low),
            np.where(holds < probability, high, middle),
        )
    return np.where(probability > 0, np.exp(low), 0)


def _absence(base: np.ndarray, extra: np.ndarray, shares: np.ndarray, level: float) -> np.ndarray:
    """The factors of E u at complexity ``level``: the base's, then each phenotype's.

    (1 + n_phenotypes, n_codes).
    """
    shares = shares[:, None]
    return np.vstack([np.exp(-level * base), 1 - shares + shares * np.exp(-level * extra)])


# Truth ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Truth:
    """What a cohort of endless size would show, a patient.

    Attributes:
        codes: (n_codes,) str
        expected_counts: (n_codes,) mean count a patient, >= 0
        prevalence: (n_codes,) probability that a patient has the code at all, in [0, 1]
    """

    codes: np.ndarray
    expected_counts: np.ndarray
    prevalence: np.ndarray

    def odds_ratios(self, column: str, value: str) -> np.ndarray:
        """Odds ratios of a value of a column and of each code, over patients, exact.

        The value is ever the patient's, the code ever recorded: :data:`VALUES` has the choice.

        Returns:
            shape (n_codes,), in [0, inf]; 1 where the two are independent, NaN for a value or a
            code that all patients have.

        Raises:
            InputError: For another column or value.
        """
        if (column, value) not in VALUES:
            known = ", ".join("=".join(each) for each in VALUES)
            raise InputError(f"{column}={value}: the law has no odds ratios of it; ask for {known}")
        never, without, neither = _with_value(VALUES[column, value])
        with np.errstate(divide="ignore", invalid="ignore"):
            both, value_alone = 1 - never - without + neither, never - neither
            return both * neither / (value_alone * (without - neither))

    def correlation(
        self, kind: Literal["count", "binary"] = "count", codes: np.ndarray | None = None
    ) -> np.ndarray:
        """Pearson correlations between codes over patients, shape (n_codes, n_codes), exact.

        ``kind`` says whether of the counts or of "ever recorded"; ``codes`` chooses and orders
        (default: all).
        """
        columns = (
            np.arange(len(self.codes)) if codes is None else np.searchsorted(self.codes, codes)
        )
        if codes is not None and not np.array_equal(
            self.codes[np.minimum(columns, len(self.codes) - 1)], codes
        ):
            raise InputError(
                "a code is not in the vocabulary of the simulated cohort; see simulate.vocabulary()"
            )
        second = _second_moments if kind == "count" else _both_present
        mean = (self.expected_counts if kind == "count" else self.prevalence)[columns]
        products = sum(law.share * second(_of_codes(law, columns)) for law in laws())
        covariance = products - np.outer(mean, mean)
        spread = np.sqrt(np.diag(covariance))
        return covariance / np.outer(spread, spread)


@cache
def truth() -> Truth:
    """The exact means and prevalences of the law; correlations on demand."""
    expected, prevalence = np.zeros((2, len(vocabulary())))
    for law in laws():
        mean_admissions = law.admissions @ law.admission_shares
        for level, part in COMPLEXITY:
            holds = 1 - _absence(law.base, law.extra, law.phenotype_shares, level).prod(axis=0)
            expected += law.share * part * mean_admissions * law.mean_rows * holds
        prevalence += _prevalence(law)
    return Truth(vocabulary(), expected, prevalence)


def _prevalence(law: Law) -> np.ndarray:
    """P(of this population, and the code is ever recorded), shape (n_codes,)."""
    found = np.zeros(len(law.base))
    for weight, number, level in _strata(law):
        never, _, _ = _never(law, number, level)
        found += law.share * weight * (1 - never)
    return found


def _with_value(value: Value) -> tuple[np.ndarray, float, np.ndarray]:
    """P(code never recorded), P(value never there), P(neither); codes have shape (n_codes,)."""
    never, without, neither = np.zeros(len(vocabulary())), 0.0, np.zeros(len(vocabulary()))
    for law, of_value in zip(laws(), _value_laws(value.column, value.value), strict=True):
        for weight, number, level in _strata(law):
            no_code, varying, survival = _never(law, number, level)
            no_value, excess = _value_never(of_value, value, number, level, survival)
            share = law.share * weight
            never += share * no_code
            without += share * no_value
            neither += share * no_value * (no_code + varying * (excess - 1))
    return never, without, neither


def _value_never(
    law: Law, value: Value, number: int, level: float, survival: np.ndarray
) -> tuple[float, np.ndarray]:
    """P(value never there), and by how much likelier it is with each code never recorded.

    ``survival`` (n_phenotypes, n_codes) is that of the codes under each phenotype (:func:`_never`).
    """
    lasting, passing = value.times(number)
    level = 1.0 if value.when == "patient" else level
    survives = np.exp(-level * law.extra * np.where(law.lasting[:, None], lasting, 1))
    power = np.where(law.lasting, 1, passing)[:, None]
    shares = law.phenotype_shares[:, None]
    factors = 1 - shares + shares * survives  # (n_phenotypes, 1)
    both = 1 - shares + shares * survives * survival
    excess = (both / (factors * (1 - shares + shares * survival))) ** power
    alone = np.exp(-level * law.base[0] * lasting) * (factors**power).prod()
    return float(alone), excess.prod(axis=0)


def _strata(law: Law) -> Iterator[tuple[float, int, float]]:
    """Weight, number of admissions and complexity of each stratum of a population."""
    for number, share in zip(law.admissions.tolist(), law.admission_shares.tolist(), strict=True):
        for level, part in COMPLEXITY:
            yield share * part, number, level


def _of_codes(law: Law, columns: np.ndarray) -> Law:
    chosen = {name: getattr(law, name)[columns] for name in ("base", "recurs", "repeats")}
    return Law(**{**vars(law), **chosen, "extra": law.extra[:, columns]})


def _excess(shares: np.ndarray, survival: np.ndarray, powers: np.ndarray) -> np.ndarray:
    """E u_c u_d / (E u_c E u_d), (n_codes, n_codes): phenotypes' factors to their powers."""
    ratio = np.ones((survival.shape[1], survival.shape[1]))
    for share, survives, power in zip(shares, survival, powers, strict=True):
        acts = np.flatnonzero(survives < 1)
        survives = survives[acts]
        alone = 1 - share + share * survives
        both = 1 - share + share * np.outer(survives, survives)
        ratio[np.ix_(acts, acts)] *= (both / np.outer(alone, alone)) ** power
    return ratio


def _second_moments(law: Law) -> np.ndarray:
    """E x_c x_d of the counts of one population, shape (n_codes, n_codes)."""
    one = law.admissions @ law.admission_shares
    two = (law.admissions * (law.admissions - 1)) @ law.admission_shares
    weights = np.outer(law.mean_rows, law.mean_rows)
    total = np.zeros_like(weights)
    for level, part in COMPLEXITY:
        absent = _absence(law.base, law.extra, law.phenotype_shares, level).prod(axis=0)
        holds, survival = 1 - absent, np.exp(-level * law.extra)
        within, across = (
            weights
            * (
                np.outer(holds, holds)
                + np.outer(absent, absent) * (_excess(law.phenotype_shares, survival, p) - 1)
            )
            for p in (np.ones(len(law.lasting)), law.lasting.astype(float))
        )
        np.fill_diagonal(within, law.mean_square_rows * holds)
        np.fill_diagonal(across, np.where(law.recurring, law.mean_rows**2 * holds, np.diag(across)))
        total += part * (one * within + two * across)
    return total


def _never(law: Law, number: int, level: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """P(never recorded in ``number`` visits); its part by phenotypes; the survival factors.

    Never = missed + (1 - missed) * v, with v = u for a recurring code (missed: recorded at no
    admission though the condition holds) and the product of u over admissions for others (missed =
    0).
    """
    times = np.where(law.recurring, 1, number)
    survival = np.exp(-level * law.extra * np.where(law.lasting[:, None], times, 1))
    shares = law.phenotype_shares[:, None]
    factors = (1 - shares + shares * survival) ** np.where(law.lasting[:, None], 1, number)
    missed = np.where(law.recurring, (1 - law.recurs) ** number, 0)
    varying = (1 - missed) * np.exp(-level * law.base * times) * factors.prod(axis=0)
    return missed + varying, varying, survival


def _both_present(law: Law) -> np.ndarray:
    """P(x_c > 0, x_d > 0) in one population, shape (n_codes, n_codes)."""
    total = np.zeros((len(law.base), len(law.base)))
    for weight, number, level in _strata(law):
        never, varying, survival = _never(law, number, level)
        excess = _excess(law.phenotype_shares, survival, np.where(law.lasting, 1, number))
        both = np.outer(1 - never, 1 - never) + np.outer(varying, varying) * (excess - 1)
        np.fill_diagonal(both, 1 - never)
        total += weight * both
    return total


# Sample ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sample:
    """Drawn patients with their admissions; an entry is a code at an admission.

    ``population`` and ``admissions`` have shape (n_patients,); ``entry_visit``, ``entry_code`` and
    ``entry_rows`` have shape (n_entries,), sorted by visit. Visits are numbered patient by patient.
    ``states`` has one entry a population that occurs.
    """

    population: np.ndarray
    admissions: np.ndarray
    entry_visit: np.ndarray
    entry_code: np.ndarray
    entry_rows: np.ndarray
    rows_cut: int
    states: tuple[State, ...]

    @property
    def visit_patient(self) -> np.ndarray:
        """The patient of each visit, shape (n_visits,)."""
        return np.repeat(np.arange(len(self.admissions)), self.admissions)


class State(NamedTuple):
    """What is wrong with the patients of one population."""

    population: int
    patients: np.ndarray  # (n,)
    visits: np.ndarray  # (n_visits,)
    patient: np.ndarray  # (n_visits,) of each visit, a place among patients
    level: np.ndarray  # (n,) complexity
    lasting: np.ndarray  # (n, n_lasting) phenotypes, 0 or 1
    passing: np.ndarray  # (n_visits, n_passing)


def sample_matrix(n: int = PATIENTS, seed: int = 0) -> CodeMatrix:
    """Draw ``n`` patients: the count matrix over :func:`vocabulary`, patients 0 … n-1.

    The same law and the same draws as :func:`write_tables`. The numbers of newborns and of
    admissions are drawn systematically, so their totals are within a few of what is expected.
    """
    drawn = sample(n, seed)
    codes = vocabulary()
    entries = (drawn.entry_rows, (drawn.visit_patient[drawn.entry_visit], drawn.entry_code))
    counts = sparse.csr_array(entries, shape=(n, len(codes)), dtype=np.int32)
    return CodeMatrix(
        counts, np.arange(n), codes, np.array([icd.title(code) for code in codes.tolist()]), "count"
    )


def sample(n: int, seed: int = 0) -> Sample:
    """Draw ``n`` patients (at least 1) from the law; the same seed gives the same patients."""
    seed = check_seed(seed)
    if n < 1:
        raise InputError(f"patients={n}: give at least 1 patient")
    rng = np.random.default_rng(seed)
    population, admissions = _draw_admissions(n, rng)
    first_visit = np.cumsum(admissions) - admissions
    parts, states = [], []
    for number, law in enumerate(laws()):
        members = np.flatnonzero(population == number)
        if not len(members):
            continue
        visit, code, rows, *state = _draw_codes(law, admissions[members], rng)
        local_first = np.cumsum(admissions[members]) - admissions[members]
        visits = np.arange(admissions[members].sum()) + np.repeat(
            first_visit[members] - local_first, admissions[members]
        )
        parts.append((visits[visit], code, rows, rng.random(len(code)) + law.recurring[code]))
        patient = np.repeat(np.arange(len(members)), admissions[members])
        states.append(State(number, members, visits, patient, *state))
    visit, code, rows, order = (np.concatenate(column) for column in zip(*parts, strict=True))
    by_visit = np.lexsort((order, visit))
    visit, code, rows = visit[by_visit], code[by_visit], rows[by_visit]
    kept = _within_cap(visit, rows)
    entries = (visit[kept], code[kept], rows[kept], int(rows[~kept].sum()))
    return Sample(population, admissions, *entries, tuple(states))


def _draw_admissions(n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Population and admissions of each patient, by systematic sampling in random order."""
    cells = [
        (number, times) for number, law in enumerate(laws()) for times in law.admissions.tolist()
    ]
    shares = np.concatenate([law.share * law.admission_shares for law in laws()])
    cell = np.searchsorted(np.cumsum(shares)[:-1], (np.arange(n) + rng.random()) / n, side="right")
    chosen = np.array(cells)[rng.permutation(cell)]
    return chosen[:, 0], chosen[:, 1]


def _draw_codes(
    law: Law, admissions: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, ...]:
    """Visit (numbered within the population), code and rows of each entry; then the level and the
    lasting phenotypes of each patient, and the passing ones of each visit.
    """
    levels, parts = np.array(COMPLEXITY).T
    level = rng.choice(levels, len(admissions), p=parts).astype(np.float32)
    lasting = (
        rng.random((len(admissions), law.lasting.sum())) < law.phenotype_shares[law.lasting]
    ).astype(np.float32)
    passing_shares = law.phenotype_shares[~law.lasting]
    acute = np.flatnonzero((law.base > 0) & ~law.recurring)
    chronic = np.flatnonzero((law.base > 0) & law.recurring)
    has = np.zeros((len(admissions), len(chronic)), dtype=bool)
    for rows in blocks(len(admissions)):
        has[rows] = _holds(law, chronic, law.lasting, level[rows], lasting[rows], rng)
    patient = np.repeat(np.arange(len(admissions)), admissions)
    everything = np.concatenate([np.flatnonzero(law.lasting), np.flatnonzero(~law.lasting)])
    found, passed = [], []
    for rows in blocks(len(patient)):
        who = patient[rows]
        passing = (rng.random((len(who), len(passing_shares))) < passing_shares).astype(np.float32)
        passed.append(passing)
        present = _holds(
            law, acute, everything, level[who], np.hstack([lasting[who], passing]), rng
        )
        recorded = has[who] & (rng.random(has[who].shape, dtype=np.float32) < law.recurs[chronic])
        for columns, hits in ((acute, present), (chronic, recorded)):
            visit, column = np.nonzero(hits)
            found.append((visit + rows.start, columns[column]))
    visit, code = (np.concatenate(column) for column in zip(*found, strict=True))
    rows_of = 1 + rng.binomial(2, law.repeats[code])
    return visit, code, rows_of, level, lasting, np.concatenate(passed)


def _holds(
    law: Law,
    columns: np.ndarray,
    acting: np.ndarray,
    level: np.ndarray,
    z: np.ndarray,
    rng: np.random.Generator,
) -> np.ndarray:
    """Whether conditions hold, (len(level), len(columns)): variates fall below hazards."""
    hazard = z @ law.extra[acting][:, columns].astype(np.float32) + law.base[columns].astype(
        np.float32
    )
    return rng.standard_exponential(hazard.shape, dtype=np.float32) < level[:, None] * hazard


def blocks(n: int, size: int = 4096) -> Iterator[slice]:
    """Slices of at most ``size`` rows that make up ``n``."""
    for start in range(0, n, size):
        yield slice(start, min(start + size, n))


def _within_cap(visit: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Which entries, sorted by visit, lie in the first ROWS_PER_ADMISSION rows of their visit."""
    running = np.cumsum(rows)
    before = np.concatenate([[0], running])[np.searchsorted(visit, visit)]
    return running - before <= ROWS_PER_ADMISSION


# Tables ---------------------------------------------------------------------------------------

TABLES = ("PATIENTS", "ADMISSIONS", "D_ICD_DIAGNOSES", "DIAGNOSES_ICD")
DAY, HOUR = 86_400, 3_600
#: 1 January 2100, in seconds since 1970: where shifted dates begin.
SHIFTED_START = 4_102_444_800
#: Days of a stay: mean and standard deviation of the logarithm, longest short and shortest long.
STAY = (1.8, 0.9, 6.8, 8.0)
#: Age of adults: least, most frequent and greatest of a triangular distribution, and old age.
AGE = (17.0, 70.0, 89.0, 65.0)


def write_tables(folder: str | Path, *, patients: int = PATIENTS, seed: int = 0) -> dict[str, Any]:
    """Write PATIENTS, ADMISSIONS, DIAGNOSES_ICD, D_ICD_DIAGNOSES (.csv.gz) of a cohort.

    Headers are upper case, headers and strings are quoted, dates lie between 2100 and 2220. An
    admission without any code has one row with an empty SEQ_NUM and ICD9_CODE. Cut to three digits,
    the tables give ``sample_matrix(patients, seed)``.

    Returns the account: patients, admissions, diagnoses (rows), null_codes, rows_cut (by the cap),
    seed. Raises InputError for fewer than 1 patient or a negative seed.
    """
    drawn = sample(patients, seed)
    rng = np.random.default_rng([seed, 1])
    subject = np.sort(rng.choice(max(99_998, 2 * patients), patients, replace=False)) + 2
    visits = drawn.visit_patient
    visit_id = rng.choice(max(100_000, 2 * len(visits)), len(visits), replace=False) + 100_000
    diagnoses = _diagnoses(drawn, subject, visit_id, rng)
    admissions, people = _visits_and_people(drawn, subject, visit_id, rng, draw_values(drawn, seed))
    tables = {
        "PATIENTS": people,
        "ADMISSIONS": admissions,
        "D_ICD_DIAGNOSES": {
            "ICD9_CODE": list(icd.full_titles()),
            "SHORT_TITLE": list(icd.short_titles().values()),
            "LONG_TITLE": list(icd.full_titles().values()),
        },
        "DIAGNOSES_ICD": diagnoses,
    }
    for name in TABLES:
        columns = tables[name]
        rows = {"ROW_ID": np.arange(1, len(next(iter(columns.values()))) + 1)} | columns
        write_table(Path(folder) / f"{name}.csv.gz", [rows])
    seal(folder, LAW_ID)
    return {
        "patients": patients,
        "admissions": len(visits),
        "diagnoses": len(diagnoses["ICD9_CODE"]),
        "null_codes": diagnoses["ICD9_CODE"].null_count,
        "rows_cut": drawn.rows_cut,
        "seed": seed,
    }


def _diagnoses(
    drawn: Sample, subject: np.ndarray, visit_id: np.ndarray, rng: np.random.Generator
) -> dict[str, pa.Array]:
    """Columns of DIAGNOSES_ICD: entries as full codes; an empty row for a visit without."""
    entry = np.repeat(np.arange(len(drawn.entry_code)), drawn.entry_rows)
    codes = _full_codes(drawn, entry, rng)
    empty = np.setdiff1d(np.arange(len(visit_id)), drawn.entry_visit)
    visit = np.concatenate([drawn.entry_visit[entry], empty])
    order = np.argsort(visit, kind="stable")
    visit = visit[order]
    null = (np.arange(len(visit)) >= len(entry))[order]
    number = np.arange(len(visit)) - np.searchsorted(visit, visit) + 1
    return {
        "SUBJECT_ID": pa.array(subject[drawn.visit_patient[visit]]),
        "HADM_ID": pa.array(visit_id[visit]),
        "SEQ_NUM": pa.array(number, mask=null),
        "ICD9_CODE": pa.array(np.concatenate([codes, np.full(len(empty), "")])[order], mask=null),
    }


def _full_codes(drawn: Sample, entry: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The full code of each row; rows of one entry get different codes of the category."""
    names, first, ends = members()
    place = drawn.entry_code + rng.random(len(drawn.entry_code))
    chosen = np.searchsorted(ends, place, side="right")
    category = drawn.entry_code[entry]
    nth = np.arange(len(entry)) - np.searchsorted(entry, entry)
    inside = (chosen[entry] - first[category] + nth) % (first[category + 1] - first[category])
    return names[first[category] + inside]


def _visits_and_people(
    drawn: Sample,
    subject: np.ndarray,
    visit_id: np.ndarray,
    rng: np.random.Generator,
    values: dict[tuple[str, str], np.ndarray],
) -> tuple[dict[str, pa.Array], dict[str, pa.Array]]:
    """Columns of ADMISSIONS and of PATIENTS."""
    visits, n = drawn.visit_patient, len(subject)
    newborn, first = drawn.population > 0, np.cumsum(drawn.admissions) - drawn.admissions
    last = first + drawn.admissions - 1
    length = (_stays(values["nights", "8 or more"], rng) * DAY + 4 * HOUR).astype(np.int64)
    waited = (rng.exponential(300, len(visits)) * DAY).astype(np.int64) + DAY
    begin = np.cumsum(length + waited) - length
    begin += SHIFTED_START + rng.integers(0, 95 * 365 * DAY, n)[visits] - begin[first][visits]
    begin, length = begin // 60 * 60, length // 60 * 60
    dies = np.zeros(len(visits), dtype=bool)
    dies[last] = values["died", "yes"][last]
    age = _ages(values["age", "65 or older"], rng)
    born = begin[first] - np.where(newborn, 0, age * 365.25 * DAY).astype(np.int64)
    later = (begin + length)[last] + (rng.exponential(900, n) * DAY).astype(np.int64)
    dead_later = ~dies[last] & (rng.random(n) < np.where(newborn, 0.005, 0.27))
    death_day = np.where(dies[last], (begin + length)[last], later) // DAY * DAY
    people = {
        "SUBJECT_ID": pa.array(subject),
        "GENDER": pa.array(np.where(values["sex", "F"], "F", "M")),
        "DOB": timestamps(born // DAY * DAY),
        "DOD": timestamps(death_day, dies[last] | dead_later),
        "DOD_HOSP": timestamps(death_day, dies[last]),
        "DOD_SSN": timestamps(death_day, dead_later),
        "EXPIRE_FLAG": pa.array((dies[last] | dead_later).astype(int)),
    }
    emergency = values["admission_type", "EMERGENCY"]
    end = begin + length
    return _admissions(drawn, subject, visit_id, begin, end, dies, emergency, rng), people


def draw_values(drawn: Sample, seed: int) -> dict[tuple[str, str], np.ndarray]:
    """Whether each of :data:`VALUES` is there, of patients or of visits."""
    rng = np.random.default_rng([seed, 2])
    found = {}
    for name, value in VALUES.items():
        once = value.when == "patient"
        has = np.zeros(len(drawn.admissions if once else drawn.visit_patient), dtype=bool)
        for state in drawn.states:
            law = _value_laws(*name)[state.population]
            hazard = law.base + state.lasting @ law.extra[law.lasting, 0]  # of patients
            if not once:
                passing = state.passing @ law.extra[~law.lasting, 0]
                hazard = state.level[state.patient] * (hazard[state.patient] + passing)
            where = state.patients if once else state.visits
            has[where] = rng.standard_exponential(len(where)) < hazard
        found[name] = has
    return found


def _stays(long: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Days in hospital, log-normal among long stays and among others.

    None lies between the two, so that the number of nights, too, says which it is.
    """
    mean, spread, short, least = STAY
    below, above = (special.ndtr((np.log(days) - mean) / spread) for days in (short, least))
    u = rng.random(len(long))
    at = np.where(long, above + (1 - above) * u, below * u)
    return np.exp(mean + spread * special.ndtri(at.clip(1e-9, 1 - 1e-9)))


def _ages(old: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Years of adults, triangular among the old and among the others."""
    least, mode, greatest, limit = AGE
    width, rise = greatest - least, mode - least
    split = (limit - least) ** 2 / (width * rise)  # share of those below the limit
    u = rng.random(len(old))
    at = np.where(old, split + (1 - split) * u, split * u)
    rising, falling = np.sqrt(at * width * rise), np.sqrt((1 - at) * width * (greatest - mode))
    return np.where(at < rise / width, least + rising, greatest - falling)


def _admissions(
    drawn: Sample,
    subject: np.ndarray,
    visit_id: np.ndarray,
    begin: np.ndarray,
    end: np.ndarray,
    dies: np.ndarray,
    emergency: np.ndarray,
    rng: np.random.Generator,
) -> dict[str, pa.Array]:
    """Columns of ADMISSIONS, given when each begins and ends, who dies, and the emergencies."""
    newborn = (drawn.population > 0)[drawn.visit_patient]
    text = {}
    for name, shares in LAW["choices"].items():
        values = np.array([value or None for value in shares], dtype=object)
        text[name] = rng.choice(values, len(visit_id), p=list(shares.values()))
    text["ADMISSION_TYPE"][emergency] = "EMERGENCY"
    text["ADMISSION_TYPE"][newborn] = "NEWBORN"
    text["DISCHARGE_LOCATION"][dies] = "DEAD/EXPIRED"
    text["MARITAL_STATUS"][newborn] = None
    arrives = begin - rng.integers(1, 12 * 60, len(visit_id)) * 60
    return {
        "SUBJECT_ID": pa.array(subject[drawn.visit_patient]),
        "HADM_ID": pa.array(visit_id),
        "ADMITTIME": timestamps(begin),
        "DISCHTIME": timestamps(end),
        "DEATHTIME": timestamps(end, dies),
        **{name: pa.array(values, pa.string()) for name, values in text.items()},
        "EDREGTIME": timestamps(arrives, emergency),
        "EDOUTTIME": timestamps(begin + rng.integers(0, 4 * 60, len(visit_id)) * 60, emergency),
        "DIAGNOSIS": _principal(drawn, newborn),
        "HOSPITAL_EXPIRE_FLAG": pa.array(dies.astype(int)),
        "HAS_CHARTEVENTS_DATA": pa.array(np.ones(len(visit_id), dtype=int)),
    }


def _principal(drawn: Sample, newborn: np.ndarray) -> pa.Array:
    """The heading of an admission's first code, in capitals; NEWBORN for newborns."""
    headings = np.array([icd.title(code).upper() for code in vocabulary().tolist()], dtype=object)
    text = np.full(len(newborn), None, dtype=object)
    visit, first = np.unique(drawn.entry_visit, return_index=True)
    text[visit] = headings[drawn.entry_code[first]]
    text[newborn] = "NEWBORN"
    return pa.array(text, pa.string())
