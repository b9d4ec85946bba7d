"""Can what is unknown of a patient be guessed from synthetic patients who resemble what is known?"""

from __future__ import annotations

import numpy as np
from scipy import sparse

from scoehr.metrics.arrays import Rows, pair, presence

#: Most prevalent codes that the attacker knows of a patient.
KNOWN = 20
BLOCK = 512  # patterns of known codes at a time


def attribute_attack(records: Rows, synthetic: Rows) -> np.ndarray:
    """Attribute inference: who knows which of the 20 most prevalent codes a patient has guesses the other codes.

    The guess is what at least half of the nearest synthetic rows have: nearest by the known codes, all that tie. At
    most half of the codes are known.

    Parameters
    ----------
    records : array of shape (n_records, n_codes), the patients under attack; their most prevalent codes are the known
    synthetic : array of shape (n_synthetic, n_codes), what the attacker holds

    Returns
    -------
    array of shape (n_records, 3): unknown codes guessed rightly, guessed, and had, of each patient; to be read by
    :func:`attribute_f1`.

    References
    ----------
    Choi et al. (2017), medGAN, MLHC, section on attribute disclosure.
    """
    victims, held = (presence(rows) for rows in pair(records, synthetic))
    order = np.argsort(-np.asarray(victims.sum(axis=0)).ravel(), kind="stable")
    known, unknown = np.split(order, [min(KNOWN, len(order) // 2)])
    patterns, which = np.unique(victims[:, known].toarray(), axis=0, return_inverse=True)
    seen, rest = held[:, known].toarray(), held[:, unknown]
    guesses = [
        _guess(patterns[begin : begin + BLOCK], seen, rest)
        for begin in range(0, len(patterns), BLOCK)
    ]
    guess, had = sparse.csr_array(sparse.vstack(guesses))[which], victims[:, unknown]
    return np.column_stack(
        [np.asarray(part.sum(axis=1)) for part in (guess.multiply(had), guess, had)]
    )


def attribute_f1(guesses: np.ndarray) -> float:
    """F1 over all patients and unknown codes, [0, 1], from :func:`attribute_attack`; NaN if there is no such code.

    It should be that of the same attack with held-out patients in place of the synthetic ones: what follows from the
    known codes for anybody is no leak.
    """
    right, guessed, had = guesses.sum(axis=0)
    return float(2 * right / (guessed + had)) if guessed + had else np.nan


def _guess(patterns: np.ndarray, seen: np.ndarray, rest: sparse.csr_array) -> sparse.csr_array:
    """Unknown codes that at least half of the rows nearest to each pattern have, (n_patterns, n_unknown)."""
    distance = patterns.sum(axis=1)[:, None] + seen.sum(axis=1) - 2 * patterns @ seen.T
    tied = sparse.csr_array(distance == distance.min(axis=1, keepdims=True), dtype=np.float64)
    votes = sparse.csr_array(tied @ rest)
    votes.data = (2 * votes.data >= np.repeat(tied.sum(axis=1), np.diff(votes.indptr))).astype(
        np.float64
    )
    return votes
