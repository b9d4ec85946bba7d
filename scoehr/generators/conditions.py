"""Codes that synthetic patients are to have, and whether training patients have them together."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import sparse

from scoehr.data.matrix import CodeMatrix
from scoehr.files import InputError


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
    present = sparse.csr_array(patients.counts > 0, dtype=np.int32)
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
