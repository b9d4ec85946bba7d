"""Codes that synthetic patients are to have, and whether training patients have them together."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from scoehr.data.matrix import CodeMatrix
from scoehr.files import InputError

MAX_PROPOSALS = 1000  # for each patient accepted


def columns(codes: np.ndarray, condition: Sequence[str]) -> tuple[int, ...]:
    """Columns of the codes of a condition; :class:`InputError` for one that the model lacks."""
    if isinstance(condition, str):
        raise InputError(f"condition {condition!r} is one text; give a list of codes")
    column = {code: j for j, code in enumerate(codes)}
    for code in condition:
        if code not in column:
            raise InputError(
                f"condition {code!r} is no code of this model; its vocabulary.csv lists them"
            )
    return tuple(sorted({column[code] for code in condition}))


def count_pairs(patients: CodeMatrix) -> sparse.csr_array:
    """How many patients have two codes together, ``(n_codes, n_codes)``, the upper triangle."""
    return count_pairs_of(sparse.csr_array(patients.counts > 0, dtype=np.int32))


def count_pairs_of(present: sparse.csr_array) -> sparse.csr_array:
    """How many rows of zeros and ones ``(n, n_facts)`` have two facts together."""
    return sparse.csr_array(sparse.triu(present.T @ present))


def support(pairs: sparse.csr_array, codes: Sequence[str], chosen: Sequence[int], n: int) -> str:
    """How many of ``n`` training patients have the chosen codes, in words.

    :class:`InputError` if two of them are never together; of three and more only a bound is known.
    """
    found = pairs[list(chosen)][:, list(chosen)].toarray()
    least = int(found[np.triu_indices(len(chosen))].min())
    each = ", ".join(f"{code}: {n:,}" for code, n in zip(codes, found.diagonal(), strict=True))
    bound = "at most " if len(chosen) > 2 and least else ""
    text = f"of {n:,} training patients have {each}; all of them: {bound}{least:,}"
    if not least:
        raise InputError(f"{text}; give codes that patients have together")
    return text


class Accepted(NamedTuple):
    """Patients sampled on condition, and what they cost."""

    x: Tensor  # (size, n_codes)
    accepted: int
    proposed: int
    evaluations: int  # of the network, a patient


def sample_by_rejection(
    grow: Callable[[int], tuple[Tensor, int]],
    columns: Sequence[int],
    size: int,
    rng: torch.Generator,
) -> Accepted:
    """Patients who have the codes in these columns, each as often as it is among all patients.

    ``grow(n)`` grows ``n`` patients ``(n, n_codes)`` from one each of the codes, and returns the
    evaluations a patient. As a → 0, nothing but one of each code survives thinning with a chance in
    proportion to the product of their counts, so patients grown from there are drawn that often.
    One is accepted with probability 1 over the product.

    :class:`InputError` if too few are accepted.
    """
    parts, accepted, proposed, evaluations = [], 0, 0, 0
    while (missing := size - accepted) > 0:
        if proposed > MAX_PROPOSALS * max(size, 100):
            raise InputError(
                f"of {proposed:,} patients grown on condition {accepted} were accepted, since they "
                "have these codes many times; give fewer codes"
            )
        n = min(size, math.ceil(missing * (proposed + 1) / (accepted + 1)))
        x, cost = grow(n)
        probability = 1 / x[:, list(columns)].prod(dim=1)
        parts.append(x[torch.rand(n, generator=rng) < probability])
        accepted, proposed = accepted + len(parts[-1]), proposed + n
        evaluations += n * cost
    return Accepted(torch.cat(parts)[:size], accepted, proposed, round(evaluations / size))
