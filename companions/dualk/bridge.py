"""To the generator and back: does a synthetic table carry the disease graph and the laboratory
knowledge of the real?

:func:`fidelity` compares co-occurrence graphs; :func:`transfer` trains the laboratory stage on
synthetic admissions and tests it on real ones. Both say what fresh real admissions and independent
columns get, beside the generator.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from scipy import sparse

from companions.dualk import graph
from companions.dualk.cohorts import Records
from companions.dualk.train import TrainingConfig, train_laboratory
from scoehr.data.matrix import CodeMatrix

#: Neighbours of a code that are compared.
NEIGHBOURS = 10
#: Codes that fewer admissions have are left out: their neighbours are chance.
LEAST = 30


def admissions(records: Records, rows: np.ndarray, codes: np.ndarray) -> CodeMatrix:
    """Visits as a binary matrix: abnormal items, named "lab …", beside codes, by their places."""
    part = (records.visit_codes[rows][:, codes] > 0).astype(np.int32)
    whole = sparse.hstack([records.labs[rows].astype(np.int32), part], format="csr")
    names = np.concatenate([np.char.add("lab ", records.items.astype(str)), records.codes[codes]])
    titles = np.concatenate([records.labels, records.titles[codes]])
    return CodeMatrix(sparse.csr_array(whole), rows.astype(np.int64), names, titles, "binary")


def fidelity(
    real: sparse.csr_array, made: sparse.csr_array, most: int = NEIGHBOURS
) -> dict[str, float]:
    """How well a table keeps the co-occurrence graph of real rows; both (rows, codes) with the same
    columns.

    Of the codes that at least :data:`LEAST` real rows have, with mutual information as in
    :func:`companions.dualk.graph.mutual_information`:

    * ``edges_recovered``: share of the real graph's edges (each code's ``most`` strongest) that the
      other has, [0, 1];
    * ``neighbour_overlap``: mean over codes of shared over all neighbours (Jaccard), [0, 1];
    * ``association_correlation``: Pearson correlation of the mutual information of pairs that both
      have, [-1, 1].

    Higher is better in all; a table of independent columns has nearly 0.
    """
    kept = np.flatnonzero(np.asarray((real > 0).sum(axis=0)).ravel() >= LEAST)
    ones, others = (
        graph.mutual_information(sparse.csr_array(part)[:, kept]) for part in (real, made)
    )
    first, second = (graph.strongest(part, most) > 0 for part in (ones, others))
    shared = np.asarray(first.multiply(second).sum(axis=1)).ravel()
    either = np.asarray((first + second > 0).sum(axis=1)).ravel()
    both = (ones != 0).multiply(others != 0).tocoo()
    pairs = [np.asarray(part[both.row, both.col]).ravel() for part in (ones, others)]
    enough = len(both.row) > 2 and min(np.ptp(part) for part in pairs) > 0
    overlap = shared[either > 0] / either[either > 0]
    return {
        "edges_recovered": float(shared.sum() / max(1, first.sum())),
        "neighbour_overlap": float(overlap.mean()) if len(overlap) else float("nan"),
        "association_correlation": float(np.corrcoef(np.stack(pairs))[0, 1])
        if enough
        else float("nan"),
        "codes": len(kept),
    }


def independent(matrix: sparse.csr_array, seed: int) -> sparse.csr_array:
    """Every column shuffled on its own."""
    rng, columns = np.random.default_rng(seed), matrix.tocsc()
    rows = np.concatenate([rng.permutation(matrix.shape[0])[:n] for n in np.diff(columns.indptr)])
    column = np.repeat(np.arange(matrix.shape[1]), np.diff(columns.indptr))
    return sparse.csr_array((columns.data, (rows, column)), shape=matrix.shape)


def transfer(
    sets: dict[str, CodeMatrix],
    test: CodeMatrix,
    items: int,
    training: TrainingConfig,
    *,
    width: int,
    seed: int,
    progress: bool,
) -> dict[str, dict[str, Any]]:
    """The laboratory stage trained on each set and scored on the same real admissions, last epoch;
    the first ``items`` columns are laboratory items, the others codes.
    """
    held = test.counts[:, :items], test.counts[:, items:]
    found = {}
    for name, matrix in sets.items():
        _, history = train_laboratory(
            matrix.counts[:, :items], matrix.counts[:, items:], width=width, training=training,
            keep="last", seed=seed, held=held, progress=progress,
        )  # fmt: skip
        found[name] = {key: history[-1][key] for key in ("recall@20", "recall@40", "loss")}
    return found


def compare(
    records: Records, train: np.ndarray, test: np.ndarray, made: CodeMatrix, codes: np.ndarray, *,
    training: TrainingConfig, width: int, seed: int, progress: bool,
) -> dict[str, Any]:  # fmt: skip
    """Graph fidelity and transfer of synthetic admissions ``made``, beside other real ones and
    independent columns.

    ``train`` and ``test`` are rows of visits of different patients; ``made`` has the columns of
    :func:`admissions`.
    """
    real, fresh = (admissions(records, rows, codes) for rows in (test, train))
    made = made.align(real.codes).to_binary()
    items = len(records.items)
    apart = replace(fresh, counts=independent(fresh.counts, seed))
    sets = {"real": fresh, "synthetic": made, "independent columns": apart}
    of_codes = real.counts[:, items:]
    how: dict[str, Any] = {"width": width, "seed": seed, "progress": progress}
    return {
        "graph": {name: fidelity(of_codes, one.counts[:, items:]) for name, one in sets.items()},
        "laboratory": transfer(sets, real, items, training, **how) if items else {},
        "n": {name: len(matrix) for name, matrix in sets.items()},
    }
