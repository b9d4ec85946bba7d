r"""Rules that no patient of a table breaks, and that chance cannot explain.

A fact is a code that a patient has, or a value that one of their columns has (missing is a value).
Each two facts divide the patients into four cells, of which an empty one may be a rule:

* ``excludes``: nobody has both
* ``implies``: nobody has the first alone; both ways, the facts are equivalent, and where each value
  of a column implies one of another's, it decides that column
* ``one of``: everybody has exactly one of the facts (also of more than two, which exclude each
  other)

If the facts were independent, with E patients expected in the cell, it would be empty with
probability at most :math:`e^{-E}` (hypergeometric; since :math:`1 - x \le e^{-x}`). A rule needs

* :math:`T e^{-E} \le` ``level`` over all T cells looked at (Bonferroni): with probability 1 −
  ``level`` independent facts give no rule at all,
* :math:`E \ge \ln 20 / ` ``rarer``: with 95 % confidence, patients in the cell are rarer than
  ``rarer`` times what independence gives, so that what is merely rare is no rule, and
* an ``implies`` at least ``least`` patients with the first fact: with 95 % confidence the rule is
  wrong of at most 3 / ``least`` of them (the rule of three).

Of facts about visits, E counts each patient once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
from scipy import sparse

from scoehr.data.columns import Columns
from scoehr.data.patients import Patients

__all__ = ["Fact", "Rule", "breakers", "broken", "facts", "find", "table"]

Of = Literal["patient", "visit"]
#: What stands for a missing value among the facts.
MISSING = "(missing)"


class Fact(NamedTuple):
    """A code (``column`` is "") or a value of a column."""

    column: str
    value: str

    def __str__(self) -> str:
        return f"{self.column}={self.value}" if self.column else self.value


class Rule(NamedTuple):
    """A rule about some facts.

    Attributes:
        kind: "excludes" and "implies" of two facts, "one of" of two or more
        facts: which
        support: patients with the first fact (of "one of": all)
        expected: how many patients would break the rule if the facts were independent
    """

    kind: Literal["excludes", "implies", "one of"]
    facts: tuple[Fact, ...]
    support: int
    expected: float

    def __str__(self) -> str:
        if self.kind == "one of":
            return "exactly one of " + ", ".join(map(str, self.facts))
        return f"{self.facts[0]} {self.kind} {self.facts[1]}"


def facts(patients: Patients, of: Of = "patient") -> tuple[list[Fact], sparse.csr_array]:
    """All facts, and who has them.

    Args:
        patients: their codes and columns
        of: "patient": codes recorded at any visit, and the patients' columns; "visit": codes and
            columns of the visit, and the columns of its patient

    Returns:
        The facts, and an array of ones of shape (n_patients, or n_visits, n_facts), int32.
    """
    codes = [Fact("", code) for code in patients.codes.tolist()]
    if of == "patient":
        columns, held = [patients.columns], patients.totals()
    else:
        columns, held = [patients.columns[patients.owner], patients.visit_columns], patients.counts
    parts = [_levels(found) for found in columns]
    names = codes + [fact for found, _ in parts for fact in found]
    stacked = sparse.hstack([held > 0, *(part for _, part in parts)], format="csr")
    return names, sparse.csr_array(stacked, dtype=np.int32)


def _levels(columns: Columns) -> tuple[list[Fact], sparse.csr_array]:
    """The values of the columns that have levels, and which rows have them."""
    names: list[Fact] = []
    places = []
    for column, values in columns:
        if column.kind != "number":
            places.append(len(names) + np.where(values < 0, len(column.levels), values))
            names += [Fact(column.name, level) for level in (*column.levels, MISSING)]
    found = np.array(places, dtype=np.int64).reshape(len(places), len(columns)).T.ravel()
    starts = np.arange(len(columns) + 1) * len(places)
    ones = np.ones(len(found), dtype=np.int32)
    return names, sparse.csr_array((ones, found, starts), shape=(len(columns), len(names)))


def find(
    patients: Patients,
    of: Of = "patient",
    *,
    level: float = 0.01,
    rarer: float = 0.2,
    least: int = 50,
) -> list[Rule]:
    """The rules that all patients keep, as the module states them, the best supported first.

    Args:
        patients: those of training
        of: as for :func:`facts`
        level: probability that independent facts give any rule, in (0, 1)
        rarer: how many times rarer than by chance a broken rule must be, in (0, 1]
        least: patients that a fact needs to imply another
    """
    names, held = facts(patients, of)
    many = _carriers(patients, held, of)
    used = np.flatnonzero(many >= np.log(20) / rarer)
    names, held = [names[place] for place in used], held[:, used]
    n, rows = len(patients), held.shape[0]
    together = np.asarray((held.T @ held).todense())
    share = np.diag(together) / max(rows, 1)
    tests = 4 * len(names) * (len(names) - 1) / 2
    enough = max(np.log(max(tests, 1) / level), np.log(20) / rarer)
    cells = _Cells(names, together, share, np.minimum(many[used], np.diag(together)), n, enough)
    excludes = cells.exclusions()
    rules = [*cells.implications(least), *cells.one_of(excludes)]
    implied = {(rule.facts[0], rule.facts[1].column) for rule in rules if rule.kind == "implies"}
    shown = [rule for rule in excludes if not _follows(rule, implied)]
    return sorted([*rules, *shown], key=lambda rule: -rule.expected)


def _carriers(patients: Patients, held: sparse.csr_array, of: Of) -> np.ndarray:
    """How many patients have each fact, at some visit."""
    if of == "patient":
        return np.asarray(held.sum(axis=0)).ravel()
    owner = sparse.csr_array(
        (np.ones(len(patients.owner)), patients.owner, np.arange(len(patients.owner) + 1)),
        shape=(len(patients.owner), len(patients)),
    )
    return np.asarray(((owner.T @ held) > 0).sum(axis=0)).ravel()


def _follows(rule: Rule, implied: set[tuple[Fact, str]]) -> bool:
    """Whether a fact excludes a value of a column since it implies another."""
    one, other = rule.facts
    return bool(
        (other.column and (one, other.column) in implied)
        or (one.column and (other, one.column) in implied)
    )


class _Cells(NamedTuple):
    """The two-by-two tables of all pairs of facts; ``carriers`` in patients, ``share`` of rows."""

    names: Sequence[Fact]
    together: np.ndarray
    share: np.ndarray
    carriers: np.ndarray
    patients: int
    enough: float

    def _pairs(self, empty: np.ndarray, expected: np.ndarray) -> Iterable[tuple[int, int]]:
        column = np.array([fact.column for fact in self.names])
        same = (column[:, None] == column) & (column[:, None] != "")
        np.fill_diagonal(same, True)
        return zip(*np.nonzero(empty & ~same & (expected >= self.enough)), strict=True)

    def _rule(self, kind: Literal["excludes", "implies"], a: int, b: int, chance: float) -> Rule:
        return Rule(kind, (self.names[a], self.names[b]), int(self.carriers[a]), float(chance))

    def exclusions(self) -> list[Rule]:
        expected = np.minimum(
            np.outer(self.carriers, self.share), np.outer(self.share, self.carriers)
        )
        pairs = self._pairs(self.together == 0, expected)
        return [self._rule("excludes", a, b, expected[a, b]) for a, b in pairs if a < b]

    def implications(self, least: int) -> list[Rule]:
        expected = np.outer(self.carriers, 1 - self.share)
        all_of_first = self.together == np.diag(self.together)[:, None]
        pairs = self._pairs(all_of_first & (self.carriers >= least)[:, None], expected)
        return [self._rule("implies", a, b, expected[a, b]) for a, b in pairs]

    def one_of(self, excludes: Sequence[Rule]) -> list[Rule]:
        """Sets of facts that exclude each other and together are everybody's."""
        place = {fact: number for number, fact in enumerate(self.names)}
        apart = np.zeros(self.together.shape, dtype=bool)
        for rule in excludes:
            a, b = (place[fact] for fact in rule.facts)
            apart[a, b] = apart[b, a] = True
        found: dict[tuple[int, ...], float] = {}
        for first in np.argsort(-self.share).tolist():
            group = _clique(first, apart, self.share)
            absent = 1 - self.share[group]
            none = self.patients * absent.prod()
            if np.isclose(self.share[group].sum(), 1, rtol=0, atol=1e-9) and none >= self.enough:
                one = none * float((self.share[group] / absent).sum())
                found[tuple(sorted(group))] = self.patients - one
        return [
            Rule("one of", tuple(self.names[place] for place in group), self.patients, broken)
            for group, broken in found.items()
        ]


def _clique(first: int, apart: np.ndarray, share: np.ndarray) -> list[int]:
    """Facts that exclude each other, from one on, the most frequent that fits next."""
    group, left = [first], apart[first].copy()
    total = share[first]
    for place in np.argsort(-share).tolist():
        if left[place] and total + share[place] <= 1 + 1e-9:
            group.append(place)
            total += share[place]
            left &= apart[place]
    return group


def broken(rules: Sequence[Rule], patients: Patients, of: Of = "patient") -> sparse.csr_array:
    """Who breaks which rule, an array of bool of shape (n_patients, or n_visits, n_rules).

    A fact that is not among the codes and levels of ``patients`` is one that nobody has.
    """
    names, held = facts(patients, of)
    place = {fact: number for number, fact in enumerate(names)}
    by_fact = held.tocsc()

    def has(fact: Fact) -> np.ndarray:
        number = place.get(fact)
        found = np.zeros(held.shape[0], dtype=bool)
        if number is not None:
            found[by_fact.indices[by_fact.indptr[number] : by_fact.indptr[number + 1]]] = True
        return found

    def breaks(rule: Rule) -> np.ndarray:
        if rule.kind == "one of":
            return np.add.reduce([has(fact).astype(int) for fact in rule.facts]) != 1
        first, second = map(has, rule.facts)
        return first & second if rule.kind == "excludes" else first & ~second

    if not rules:
        return sparse.csr_array((held.shape[0], 0), dtype=bool)
    return sparse.csr_array(np.column_stack([breaks(rule) for rule in rules]))


def breakers(kept: Mapping[Of, Sequence[Rule]], patients: Patients) -> np.ndarray:
    """Which patients break a rule, of themselves or of one of their visits, (n_patients,)."""
    found = np.zeros(len(patients), dtype=bool)
    for of, rules in kept.items():
        rows = np.flatnonzero(np.asarray(broken(rules, patients, of).sum(axis=1)).ravel())
        found[rows if of == "patient" else patients.owner[rows]] = True
    return found


def table(rules: Sequence[Rule]) -> pd.DataFrame:
    """A row a rule: what it says, ``support`` and how many would break it by chance."""
    rows = [(str(rule), rule.support, rule.expected) for rule in rules]
    return pd.DataFrame(rows, columns=["rule", "support", "broken by chance"])
