"""Do synthetic visits carry the disease graph and the laboratory knowledge of the real ones?

Graphs of training patients' visits, of synthetic ones and of independent columns are compared with
that of test patients, and the laboratory stage is trained on each and tested on these. Intervals
are over test patients.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy import sparse

from companions.dualk import evaluate, graph, signal
from companions.dualk.batches import dense
from companions.dualk.cohorts import Records, Split
from companions.dualk.signal import SignalConfig
from companions.dualk.train import TrainingConfig, train_laboratory
from reproduction.estimates import normal
from scoehr.data.patients import Patients

#: Neighbours of a code that are compared.
NEIGHBOURS = 10
#: Codes that fewer visits have are left out: their neighbours are chance.
LEAST = 30
DRAWS = 200
APART = "independent columns"
TITLES = {
    signal.REAL: "real training patients",
    signal.SYNTHETIC: "synthetic patients",
    APART: APART,
}
#: Figures, with their titles.
FIGURES = {
    "edges_recovered": "edges recovered",
    "neighbour_overlap": "neighbour overlap",
    "association_correlation": "correlation of associations",
    "laboratory.recall@20": "laboratory stage, recall@20",
}


@dataclass(frozen=True)
class Visits:
    """Visits as rows of codes and of abnormal items, both (n, …); ``owner``: whose they are."""

    codes: sparse.csr_array
    labs: sparse.csr_array
    owner: np.ndarray

    def of(self, codes: np.ndarray) -> Visits:
        """The same visits, of these codes (places)."""
        return Visits(self.codes[:, codes], self.labs, self.owner)

    def some(self, most: int, rng: np.random.Generator) -> Visits:
        """At most so many of them."""
        rows = rng.permutation(len(self.owner))[:most]
        return Visits(self.codes[rows], self.labs[rows], self.owner[rows])


def visits(patients: Patients, items: int) -> Visits:
    """The visits of patients, of whose codes the first so many are abnormal items."""
    there = sparse.csr_array(patients.counts > 0, dtype=np.int32)
    return Visits(there[:, items:], there[:, :items], patients.owner)


def independent(matrix: sparse.csr_array, seed: int) -> sparse.csr_array:
    """Every column shuffled on its own."""
    rng, columns = np.random.default_rng(seed), matrix.tocsc()
    rows = np.concatenate([rng.permutation(matrix.shape[0])[:n] for n in np.diff(columns.indptr)])
    column = np.repeat(np.arange(matrix.shape[1]), np.diff(columns.indptr))
    return sparse.csr_array((columns.data, (rows, column)), shape=matrix.shape)


# The graph ----------------------------------------------------------------------------------------


class Associations(NamedTuple):
    """Mutual information of pairs of codes, and where it is among the strongest of a code."""

    information: sparse.csr_array
    edges: sparse.csr_array

    @classmethod
    def of(cls, codes: sparse.csr_array, most: int = NEIGHBOURS) -> Associations:
        """Those of visits as rows of codes, (n, codes)."""
        information = graph.mutual_information(codes)
        return cls(information, graph.strongest(information, most) > 0)


def fidelity(real: Associations, made: Associations) -> dict[str, float]:
    """How well visits keep the co-occurrence graph of real ones.

    * ``edges_recovered``: share of the real graph's edges (each code's strongest) that the other
      has, [0, 1];
    * ``neighbour_overlap``: mean over codes of shared over all neighbours (Jaccard), [0, 1];
    * ``association_correlation``: Pearson correlation of the mutual information of pairs that both
      have, [-1, 1].

    Higher is better in all; independent columns have nearly 0.
    """
    shared = np.asarray(real.edges.multiply(made.edges).sum(axis=1)).ravel()
    either = np.asarray((real.edges + made.edges).astype(bool).sum(axis=1)).ravel()
    overlap = shared[either > 0] / either[either > 0]
    sides = real.information, made.information
    both = (sides[0] != 0).multiply(sides[1] != 0).tocoo()
    pairs = [np.asarray(side[both.row, both.col]).ravel() for side in sides]
    enough = len(both.row) > 2 and min(np.ptp(side) for side in pairs) > 0
    return {
        "edges_recovered": float(shared.sum() / max(1, real.edges.sum())),
        "neighbour_overlap": float(overlap.mean()) if len(overlap) else float("nan"),
        "association_correlation": float(np.corrcoef(pairs)[0, 1]) if enough else float("nan"),
    }


def _graphs(
    sets: Mapping[str, Visits], test: Visits, times: np.ndarray
) -> dict[str, dict[str, np.ndarray]]:
    """:func:`fidelity` of each set to test visits repeated so many ``times``, (draws, n)."""
    kept = np.flatnonzero(np.asarray(test.codes.sum(axis=0)).ravel() >= LEAST)
    made = {name: Associations.of(each.of(kept).codes) for name, each in sets.items()}
    drawn: dict[str, list[dict[str, float]]] = {name: [] for name in sets}
    for number in times.astype(int):
        rows = np.repeat(np.arange(len(number)), number)
        real = Associations.of(test.codes[rows][:, kept])
        for name, graphs in made.items():
            drawn[name].append(fidelity(real, graphs))
    return {
        name: {key: np.array([each[key] for each in found]) for key in found[0]}
        for name, found in drawn.items()
    }


# Laboratory knowledge -----------------------------------------------------------------------------


def _taught(
    taught: Visits, test: Visits, times: np.ndarray, training: TrainingConfig, **how: Any
) -> np.ndarray:
    """Recall@20 of the codes of the test visits by the laboratory stage of a set, last epoch."""
    net, _ = train_laboratory(
        taught.labs, taught.codes, training=training, keep="last", held=(test.labs, test.codes),
        **how,
    )  # fmt: skip
    with torch.no_grad():
        logits = net.eval()(dense(test.labs)).numpy()
    truth = test.codes.toarray() > 0
    best = evaluate.hits(logits, truth, 20)
    return evaluate.means(times, evaluate.recall(best, truth.sum(axis=1), 20))


# Both ---------------------------------------------------------------------------------------------


def compare(
    sets: Mapping[str, Visits], test: Visits, training: TrainingConfig, **how: Any
) -> dict[str, dict[str, Any]]:
    """Every one of :data:`FIGURES` of each set by the test visits, and "less …", the same less that
    of real visits; ``how``: width, seed and progress of the laboratory stage.

    Intervals are of a normal law, since resampling makes the graph of the test visits noisier.
    """
    owner = np.unique(test.owner, return_inverse=True)[1]
    times = evaluate.weights(int(owner.max()) + 1, how["seed"], DRAWS)[:, owner]
    drawn = _graphs(sets, test, times)
    if test.labs.shape[1]:
        for name, each in sets.items():
            drawn[name]["laboratory.recall@20"] = _taught(each, test, times, training, **how)
    scores = {}
    for name, found in drawn.items():
        values = {key: normal(draws) for key, draws in found.items()}
        real = drawn[signal.REAL]
        values |= {f"less {key}": normal(draws - real[key]) for key, draws in found.items()}
        scores[name] = evaluate.plain(values)
    return scores


def sets(
    records: Records, parts: Split, config: SignalConfig, most: int, codes: int, **how: Any
) -> tuple[dict[str, Visits], Visits]:
    """At most so many visits of training patients, of synthetic ones and of independent columns,
    and of test patients, all of the most frequent so many ``codes``.

    ``how``: seed, folder and progress of the generator.
    """
    rng, items = np.random.default_rng([how["seed"], 9]), len(records.items)
    real, made = signal.real_and_made(records, parts, config, rng, **how)
    tested = signal.as_visits(records, parts.test)
    found = {
        name: visits(each.align(real.codes), items).some(most, rng)
        for name, each in {signal.REAL: real, signal.SYNTHETIC: made, "test": tested}.items()
    }
    number = np.asarray(found[signal.REAL].codes.sum(axis=0)).ravel()
    chosen = np.sort(np.argsort(-number, kind="stable")[:codes])
    found = {name: each.of(chosen) for name, each in found.items()}
    test, fresh = found.pop("test"), found[signal.REAL]
    whole = independent(sparse.hstack([fresh.labs, fresh.codes], format="csr"), how["seed"])
    found[APART] = Visits(whole[:, items:], whole[:, :items], fresh.owner)
    return found, test
