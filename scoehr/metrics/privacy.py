"""Do synthetic patients give away who was in the training set?

Every score has that of held-out patients beside it: similarity to a training patient is no leak if
patients who were never seen are as similar. Membership goes by the cosine of the counts; every
other distance is the number of codes that one patient has and the other lacks (Hamming on presence,
the squared Euclidean distance there), in which short records are near each other by nature, so that
scores of copies take records with at least five codes.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

import numpy as np
from scipy import sparse

from scoehr.metrics.arrays import (
    Rows,
    Undefined,
    blocks,
    checked,
    codes_per_patient,
    pair,
    presence,
)
from scoehr.metrics.neighbours import Nearest, hamming, nearest
from scoehr.metrics.registry import (
    CHOI,
    CTABGAN,
    METRICS,
    PLATZER,
    SMALLEST,
    YALE,
    YAN,
    Metric,
    Pair,
)
from scoehr.metrics.utility import area

#: Codes by which near duplicates differ at most, and by which a record is claimed for a member.
NEAR = 2
#: Codes of the records that are searched for copies, at least.
FEW = 5
#: Most prevalent codes that the attacker knows of a patient.
KNOWN = 20
PATTERNS = 512  # patterns of known codes at a time

#: Pilgram et al. (2025), Patterns; Yao et al. (2025), ESORICS.
CAUTION = (
    "a distance is no evidence of privacy (Pilgram et al. 2025; Yao et al. 2025): run the attacks"
)

_register = partial(METRICS.register, family="privacy")
_nearby = partial(_register, step="records near by")


# Membership and exact copies ----------------------------------------------------------------------


def _neighbours(pair: Pair) -> tuple[Nearest, Nearest]:
    """Nearest neighbours of the synthetic rows among members, and among as many others."""
    members = pair.training.sample
    others = pair.real[: members.shape[0]]
    return nearest(pair.synthetic, members), nearest(pair.synthetic, others)


def _to_synthetic(pair: Pair) -> tuple[np.ndarray, np.ndarray]:
    members, others = pair.once(_neighbours)
    return members.of_records, others.of_records


def _of_synthetic(pair: Pair) -> tuple[np.ndarray]:
    members, others = pair.once(_neighbours)
    return (np.c_[members.of_synthetic, others.of_synthetic],)


@_register(
    _to_synthetic,
    step="membership",
    membership_auc=Metric(
        "Membership AUC, nearest neighbour", 0, 1, "lower", 0.5, f"{CHOI}; {YAN}"
    ),
)
def membership_auc(members: np.ndarray, others: np.ndarray) -> float:
    """Membership inference: a record is guessed a member by its nearest synthetic neighbour.

    Float in [0, 1], an AUC; 0.5 means that the attack learns nothing, 1 that every member is found.

    Source: Choi et al. (2017), MLHC (presence disclosure); Yan et al. (2022), Nature Communications
    13:7609 (membership inference); here an AUC against held-out patients.

    Args:
        members, others: arrays of shape (n,), the largest cosine similarity of each record to a
            synthetic row, of patients that the generator was trained on and of others
    """
    return area(members, others)


@_register(
    _of_synthetic,
    step="membership",
    nearer_to_train=Metric("Nearer to training than to held-out", 0, 1, "lower", 0.5, PLATZER),
)
def nearer_to_train(similarity: np.ndarray) -> float:
    """Share of synthetic rows whose closest record is a training patient, not a held-out one.

    Float in [0, 1], ties half; 0.5 means no preference, 1 that all are nearer to the training set.

    Source: Distance to the closest record with a holdout: Platzer & Reutterer (2021), Frontiers in
    Big Data 4:679939.

    Args:
        similarity: array of shape (n_synthetic, 2), to the closest of equally many training and
            held-out patients
    """
    return preference(*similarity.T)


def preference(to_train: np.ndarray, to_holdout: np.ndarray) -> float:
    """Share of rows more similar to the first, ties half."""
    return float(((to_train > to_holdout) + 0.5 * (to_train == to_holdout)).mean())


def exact_matches(synthetic: Rows, train: Rows) -> np.ndarray:
    """Whether each non-empty row equals a row of ``train``, shape (n_non_empty,).

    Raises:
        Undefined: When every row is empty.
    """
    left, right = pair(synthetic, train)
    known = set(_keys(right))
    matched = np.array([key in known for key in _keys(left) if key != (b"", b"")], dtype=bool)
    if not len(matched):
        raise Undefined("every row is empty")
    return matched


def _copied(pair: Pair) -> tuple[np.ndarray]:
    return (exact_matches(pair.synthetic, pair.training.train),)


def _copied_holdout(pair: Pair) -> tuple[np.ndarray]:
    return (exact_matches(pair.real, pair.training.train),)


def _close(pair: Pair) -> tuple[np.ndarray]:
    return (near_duplicates(pair.synthetic, pair.training.train),)


def _close_holdout(pair: Pair) -> tuple[np.ndarray]:
    return (near_duplicates(pair.real, pair.training.train),)


# Registered from the last to the first.
@_nearby(
    _close_holdout,
    near_duplicate_rate_holdout=Metric(
        "Near-duplicate rate of held-out patients",
        *(0, 1, "target", None),
        "share of held-out rows of five codes",
    ),
)
@_nearby(
    _close,
    near_duplicate_rate=Metric(
        "Near-duplicate rate, two codes or fewer",
        *(0, 1, "lower", None),
        "share of synthetic rows of five codes",
    ),
)
@_register(
    _copied_holdout,
    step="membership",
    exact_match_rate_holdout=Metric(
        "Exact-match rate of held-out patients",
        *(0, 1, "target", None),
        "share of non-empty held-out rows",
    ),
)
@_register(
    _copied,
    step="membership",
    exact_match_rate=Metric(
        "Exact-match rate", 0, 1, "lower", None, "share of non-empty synthetic rows"
    ),
)
def share(copied: np.ndarray) -> float:
    """Share of the rows that are a copy, or nearly so.

    It should be the rate of held-out patients against the same training set, not 0: short records
    repeat by chance.

    Float in [0, 1], lower is better; ideal is the rate of held-out patients.

    Args:
        copied: array of shape (n_rows,), from :func:`exact_matches` or :func:`near_duplicates`
    """
    if not len(copied):
        raise Undefined(f"no row has {FEW} codes")
    return float(copied.mean())


def near_duplicates(synthetic: Rows, train: Rows) -> np.ndarray:
    """Whether each row with at least five codes differs from a row of ``train`` in at most two.

    Shape (n_such_rows,). Differing in none is a copy of presence; the exact matches compare counts.
    """
    left, right = pair(synthetic, train)
    left = left[codes_per_patient(left) >= FEW]
    return hamming(left, right).first <= NEAR if left.shape[0] else np.empty(0, dtype=bool)


# Records near by ----------------------------------------------------------------------------------


class Distances(NamedTuple):
    """Hamming distances to nearest neighbours; synthetic, members and held-out are as many, n."""

    #: (n, 5): to the nearest and second member, nearest and second held-out patient, own kind
    synthetic: np.ndarray
    #: (n, 2): to the nearest synthetic row, and to the nearest other member
    members: np.ndarray
    #: (n, 2): to the nearest synthetic row, and to the nearest other held-out patient
    holdout: np.ndarray
    #: (n,) codes of each synthetic row
    sizes: np.ndarray


def distances(synthetic: Rows, *, train: Rows, holdout: Rows) -> Distances:
    """The distances within and between the three sets, cut to equal numbers of rows.

    Raises:
        Undefined: With fewer than 20 training or held-out patients.
    """
    if min(checked(rows, "the records").shape[0] for rows in (train, holdout)) < SMALLEST:
        raise Undefined(
            f"membership needs at least {SMALLEST} training and {SMALLEST} held-out patients"
        )
    (made, members), (_, others) = pair(synthetic, train), pair(synthetic, holdout)
    n = min(rows.shape[0] for rows in (made, members, others))
    made, members, others = made[:n], members[:n], others[:n]
    to_members, to_others = hamming(made, members), hamming(made, others)
    own, own_members, own_others = (hamming(rows).first for rows in (made, members, others))
    return Distances(
        np.c_[to_members.first, to_members.second, to_others.first, to_others.second, own],
        np.c_[to_members.of_others, own_members],
        np.c_[to_others.of_others, own_others],
        codes_per_patient(made),
    )


def _distances(pair: Pair) -> Distances:
    return distances(pair.synthetic, train=pair.training.sample, holdout=pair.real)


def _large(pair: Pair) -> tuple[np.ndarray]:
    found = pair.once(_distances)
    return (found.synthetic[found.sizes >= FEW],)


def _three_sets(pair: Pair) -> tuple[np.ndarray, ...]:
    return pair.once(_distances)[:3]


def _records(pair: Pair) -> tuple[np.ndarray, ...]:
    return pair.once(_distances)[1:3]


@_nearby(
    _large,
    dcr=Metric(
        "DCR to training, 5th percentile (codes)",
        *(0, None, "higher", None),
        f"{CTABGAN}; {PLATZER}",
        caution=CAUTION,
    ),
    dcr_holdout=Metric(
        "DCR to held-out, 5th percentile (codes)", 0, None, "target", None, PLATZER, caution=CAUTION
    ),
    nndr=Metric("NNDR to training, median", 0, 1, "higher", None, CTABGAN, caution=CAUTION),
    nndr_holdout=Metric("NNDR to held-out, median", 0, 1, "target", None, CTABGAN, caution=CAUTION),
)
def closest_records(synthetic: np.ndarray) -> dict[str, float]:
    """Distance to the closest record and nearest-neighbour distance ratio.

    Source: Zhao et al. (2021), CTAB-GAN, ACML (DCR and NNDR); Platzer & Reutterer (2021), Frontiers
    in Big Data 4:679939 (an equally large holdout beside them).

    Args:
        synthetic: array of shape (n, 5), rows of :attr:`Distances.synthetic` with at least five
            codes: most short records have their equal in any large set

    Returns:
        dict with:

        - dcr, dcr_holdout: 5th percentile of the distance to the closest training and held-out
          record, codes, [0, inf); the first below the second means copies
        - nndr, nndr_holdout: median of the distance to the closest over that to the second closest
          record, [0, 1], 1 where both are 0; near 0 the synthetic patient points at one person

    Raises:
        Undefined: Without such rows.
    """
    if not len(synthetic):
        raise Undefined(f"no row has {FEW} codes")
    scores = {}
    for name, (first, second) in {"": synthetic.T[:2], "_holdout": synthetic.T[2:4]}.items():
        scores[f"dcr{name}"] = float(np.percentile(first, 5))
        ratio = np.divide(first, second, out=np.ones(len(first)), where=second > 0)
        scores[f"nndr{name}"] = float(np.median(ratio))
    return scores


@_nearby(
    _three_sets,
    adversarial_train=Metric(
        "Adversarial accuracy, training", 0, 1, "target", 0.5, YALE, caution=CAUTION
    ),
    adversarial_holdout=Metric(
        "Adversarial accuracy, held-out", 0, 1, "target", 0.5, YALE, caution=CAUTION
    ),
    adversarial_loss=Metric(
        "Privacy loss (adversarial accuracies)", -1, 1, "lower", 0, YALE, caution=CAUTION
    ),
)
def adversarial_accuracy(
    synthetic: np.ndarray, members: np.ndarray, holdout: np.ndarray
) -> dict[str, float]:
    """Nearest-neighbour adversarial accuracy, from the first three tables of :class:`Distances`.

    The share of rows whose nearest neighbour is of their own set, over both sets:
    1/2 (P[d_TS > d_TT] + P[d_ST > d_SS]). Ties are half, as distances are whole numbers.

    Source: Yale et al. (2020), Neurocomputing 416:244-255, equations of AA and of the privacy loss.

    Returns:
        dict with:

        - adversarial_train, adversarial_holdout: against members and held-out patients, [0, 1]; 0.5
          is indistinguishable, 1 the sets lie apart, towards 0 the synthetic rows sit on others
        - adversarial_loss: held-out less train, [-1, 1], the privacy loss; 0 is none, above it
          members are copied
    """
    to_members, _, to_holdout, _, own = synthetic.T
    train = (preference(*members.T) + preference(to_members, own)) / 2
    test = (preference(*holdout.T) + preference(to_holdout, own)) / 2
    return {
        "adversarial_train": train,
        "adversarial_holdout": test,
        "adversarial_loss": test - train,
    }


@_nearby(
    _records,
    presence_sensitivity=Metric("Presence disclosure, sensitivity", 0, 1, "lower", None, CHOI),
    presence_precision=Metric("Presence disclosure, precision", 0, 1, "lower", 0.5, CHOI),
)
def presence_claims(
    members: np.ndarray, holdout: np.ndarray, *, threshold: int = NEAR
) -> dict[str, float]:
    """Presence disclosure: a record with a synthetic row within the threshold is claimed a member.

    Source: Choi et al. (2017), medGAN, MLHC, section on presence disclosure.

    Args:
        members, holdout: as in :class:`Distances`, as many patients of either kind
        threshold: Hamming distance, in codes

    Returns:
        dict with:

        - presence_sensitivity: share of the members who are claimed, [0, 1]
        - presence_precision: share of members among the claimed, [0, 1]; 0.5 where the attacker
          learns nothing, NaN if nobody is claimed
    """
    right, wrong = ((table[:, 0] <= threshold).sum() for table in (members, holdout))
    return {
        "presence_sensitivity": float(right / len(members)),
        "presence_precision": float(right / (right + wrong)) if right + wrong else np.nan,
    }


# Attributes ---------------------------------------------------------------------------------------


def attribute_attack(records: Rows, synthetic: Rows) -> np.ndarray:
    """Attribute inference: guess the other codes of a patient from the 20 most prevalent ones.

    The guess is what at least half of the nearest synthetic rows have: nearest by the known codes,
    all that tie. At most half of the codes are known.

    Array of shape (n_records, 3): unknown codes guessed rightly, guessed, and had, of each patient;
    to be read by :func:`attribute_f1`.

    Source: Choi et al. (2017), medGAN, MLHC, section on attribute disclosure.

    Args:
        records: array of shape (n_records, n_codes), the patients under attack; their most
            prevalent codes are the known
        synthetic: array of shape (n_synthetic, n_codes), what the attacker holds
    """
    victims, held = (presence(rows) for rows in pair(records, synthetic))
    order = np.argsort(-np.asarray(victims.sum(axis=0)).ravel(), kind="stable")
    known, unknown = np.split(order, [min(KNOWN, len(order) // 2)])
    patterns, which = np.unique(victims[:, known].toarray(), axis=0, return_inverse=True)
    seen, rest = held[:, known].toarray(), held[:, unknown]
    guesses = [_guess(patterns[rows], seen, rest) for rows in blocks(len(patterns), PATTERNS)]
    guess, had = sparse.csr_array(sparse.vstack(guesses))[which], victims[:, unknown]
    counted = (guess.multiply(had), guess, had)
    return np.column_stack([np.asarray(rows.sum(axis=1)) for rows in counted])


def _inferred(pair: Pair) -> tuple[np.ndarray]:
    return (attribute_attack(pair.training.sample, pair.synthetic),)


def _inferred_holdout(pair: Pair) -> tuple[np.ndarray]:
    return (attribute_attack(pair.training.sample, pair.real),)


# Registered from the last to the first.
@_register(
    _inferred_holdout,
    step="attribute inference",
    attribute_f1_holdout=Metric(
        "Attribute inference from held-out, F1", 0, 1, "target", None, CHOI
    ),
)
@_register(
    _inferred,
    step="attribute inference",
    attribute_f1=Metric("Attribute inference, F1", 0, 1, "lower", None, CHOI),
)
def attribute_f1(guesses: np.ndarray) -> float:
    """F1 over all patients and unknown codes.

    Float in [0, 1], NaN if nobody has such a code. It should be that of the same attack with held-
    out patients in place of synthetic ones: what the known codes imply for anybody is no leak.

    Source: Choi et al. (2017), medGAN, MLHC, section on attribute disclosure.

    Args:
        guesses: array of shape (n_records, 3), from :func:`attribute_attack`
    """
    right, guessed, had = guesses.sum(axis=0)
    return float(2 * right / (guessed + had)) if guessed + had else np.nan


def _guess(patterns: np.ndarray, seen: np.ndarray, rest: sparse.csr_array) -> sparse.csr_array:
    """Unknown codes that half of the rows nearest to each pattern have, (n_patterns, n_unknown)."""
    distance = patterns.sum(axis=1)[:, None] + seen.sum(axis=1) - 2 * patterns @ seen.T
    tied = sparse.csr_array(distance == distance.min(axis=1, keepdims=True), dtype=np.float64)
    votes = sparse.csr_array(tied @ rest)
    often = 2 * votes.data >= np.repeat(tied.sum(axis=1), np.diff(votes.indptr))
    votes.data = often.astype(np.float64)
    return votes


def _keys(rows: sparse.csr_array) -> Iterator[tuple[bytes, bytes]]:
    """Columns and values of each row as bytes: equal exactly when the rows are."""
    rows = rows.copy()
    rows.eliminate_zeros()
    for begin, end in zip(rows.indptr[:-1], rows.indptr[1:], strict=True):
        yield rows.indices[begin:end].tobytes(), rows.data[begin:end].tobytes()
