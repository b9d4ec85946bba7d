"""Do synthetic patients give away who was in the training set?

Every score stands beside what held-out patients get: similarity to a training patient is no leak if patients who were
never seen are as similar. Membership is told by the cosine of the counts; every other distance is the number of codes
that one patient has and the other lacks (Hamming on presence, the squared Euclidean distance there), in which short
records lie near each other by nature, so that scores of copies look at records with at least five codes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import sparse

from scoehr.metrics.arrays import Rows, Undefined, checked, codes_per_patient, pair
from scoehr.metrics.neighbours import hamming, nearest
from scoehr.metrics.utility import area

SMALLEST = 20
#: Codes by which near duplicates differ at most, and by which a record is claimed for a member.
NEAR = 2
#: Codes of the records that are looked at for copies, at least.
FEW = 5


def membership_auc(synthetic: Rows, *, train: Rows, holdout: Rows) -> float:
    """Membership inference by nearest neighbour: does a training patient lie nearer to the synthetic set?

    A record is guessed a member by its largest cosine similarity to a synthetic row.

    Parameters
    ----------
    synthetic : array of shape (n_synthetic, n_codes)
    train, holdout : arrays of shape (n, n_codes), members and patients that the generator never saw; at least 20 each

    Returns
    -------
    float in [0, 1]; 0.5 means that the attack learns nothing, 1 that every member is found out.

    References
    ----------
    Choi et al. (2017), MLHC (presence disclosure); Yan et al. (2022), Nature Communications 13:7609 (membership
    inference); read as an AUC against a holdout.
    """
    _enough(train, holdout)
    return area(nearest(synthetic, train).of_records, nearest(synthetic, holdout).of_records)


def nearer_to_train(synthetic: Rows, *, train: Rows, holdout: Rows) -> float:
    """Share of synthetic rows whose closest record is a training patient rather than a held-out one, ties half.

    ``train`` and ``holdout`` must have the same number of rows. Float in [0, 1]; 0.5 means no preference, 1 that
    every synthetic row is nearer to the training set.

    References
    ----------
    Distance to the closest record with a holdout: Platzer & Reutterer (2021), Frontiers in Big Data 4:679939.
    """
    _enough(train, holdout)
    return preference(
        nearest(synthetic, train).of_synthetic, nearest(synthetic, holdout).of_synthetic
    )


def preference(to_train: np.ndarray, to_holdout: np.ndarray) -> float:
    """Share of rows more similar to the first, ties half."""
    return float(((to_train > to_holdout) + 0.5 * (to_train == to_holdout)).mean())


def exact_match_rate(synthetic: Rows, train: Rows) -> float:
    """Share of the non-empty rows that equal a row of ``train``, [0, 1].

    It should be the rate of held-out patients against the same training set, not 0: short records repeat by chance.
    Undefined when every row is empty.
    """
    matched = exact_matches(synthetic, train)
    if not len(matched):
        raise Undefined("every row is empty")
    return float(matched.mean())


def exact_matches(synthetic: Rows, train: Rows) -> np.ndarray:
    """Whether each non-empty row equals a row of ``train``, shape (n_non_empty,)."""
    left, right = pair(synthetic, train)
    known = set(_keys(right))
    return np.array([key in known for key in _keys(left) if key != (b"", b"")], dtype=bool)


class Distances(NamedTuple):
    """Hamming distances to nearest neighbours, from which the scores of records near by are read.

    Synthetic rows, members and held-out patients are as many, n.
    """

    synthetic: (
        np.ndarray
    )  # (n, 5): to the nearest and second member, nearest and second held-out patient, own kind
    members: np.ndarray  # (n, 2): to the nearest synthetic row, and to the nearest other member
    holdout: (
        np.ndarray
    )  # (n, 2): to the nearest synthetic row, and to the nearest other held-out patient
    sizes: np.ndarray  # (n,) codes of each synthetic row


def distances(synthetic: Rows, *, train: Rows, holdout: Rows) -> Distances:
    """The distances within and between the three sets, cut to equal numbers of rows; at least 20 rows each."""
    _enough(train, holdout)
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


def closest_records(synthetic: np.ndarray) -> dict[str, float]:
    """Distance to the closest record and nearest-neighbour distance ratio, from rows of :attr:`Distances.synthetic`.

    Give the rows with at least five codes: most short records have their equal in any large set.

    Returns
    -------
    dict with
        dcr, dcr_holdout : 5th percentile of the distance to the closest training and held-out record, codes; the first
            below the second means copies
        nndr, nndr_holdout : median of the distance to the closest over that to the second closest record, [0, 1], 1
            where both are 0; near 0 the synthetic patient points at one single person

    References
    ----------
    Zhao et al. (2021), CTAB-GAN, ACML (DCR and NNDR); Platzer & Reutterer (2021), Frontiers in Big Data 4:679939 (an
    equally large holdout beside them).
    """
    if not len(synthetic):
        raise Undefined(f"no synthetic row has {FEW} codes")
    scores = {}
    for name, (first, second) in {"": synthetic.T[:2], "_holdout": synthetic.T[2:4]}.items():
        scores[f"dcr{name}"] = float(np.percentile(first, 5))
        ratio = np.divide(first, second, out=np.ones(len(first)), where=second > 0)
        scores[f"nndr{name}"] = float(np.median(ratio))
    return scores


def adversarial_accuracy(
    synthetic: np.ndarray, members: np.ndarray, holdout: np.ndarray
) -> dict[str, float]:
    """Nearest-neighbour adversarial accuracy, from the first three tables of :class:`Distances`.

    The share of rows whose nearest neighbour is of their own set, over both sets: 1/2 (P[d_TS > d_TT] + P[d_ST >
    d_SS]). Ties count half, as distances are whole numbers.

    Returns
    -------
    dict with
        adversarial_train, adversarial_holdout : against members and held-out patients, [0, 1]; 0.5 cannot be told
            apart, 1 the sets lie apart, towards 0 the synthetic rows sit on the others
        adversarial_loss : held-out less train, [-1, 1], the privacy loss; 0 is none, above it members are copied

    References
    ----------
    Yale et al. (2020), Neurocomputing 416:244-255, equations of AA and of the privacy loss.
    """
    to_members, _, to_holdout, _, own = synthetic.T
    train = (preference(*members.T) + preference(to_members, own)) / 2
    test = (preference(*holdout.T) + preference(to_holdout, own)) / 2
    return {
        "adversarial_train": train,
        "adversarial_holdout": test,
        "adversarial_loss": test - train,
    }


def presence_disclosure(
    members: np.ndarray, holdout: np.ndarray, *, thresholds: int = 20
) -> pd.DataFrame:
    """Presence disclosure: who has a synthetic row within the threshold is claimed to have been in the training set.

    Parameters
    ----------
    members, holdout : as in :class:`Distances`, as many patients of either kind
    thresholds : the largest Hamming distance, in codes

    Returns
    -------
    DataFrame, a row a threshold from 0
        threshold, sensitivity : share of the members who are claimed
        precision : share of members among the claimed, 0.5 where the attacker learns nothing; NaN if nobody is claimed

    References
    ----------
    Choi et al. (2017), medGAN, MLHC, section on presence disclosure.
    """
    claims = [
        presence_claims(members, holdout, threshold=threshold)
        for threshold in range(thresholds + 1)
    ]
    table = pd.DataFrame(claims).rename(columns=lambda name: name.removeprefix("presence_"))
    table.insert(0, "threshold", range(thresholds + 1))
    return table


def presence_claims(
    members: np.ndarray, holdout: np.ndarray, *, threshold: int = NEAR
) -> dict[str, float]:
    """Sensitivity and precision of :func:`presence_disclosure` at one threshold."""
    right, wrong = ((table[:, 0] <= threshold).sum() for table in (members, holdout))
    return {
        "presence_sensitivity": float(right / len(members)),
        "presence_precision": float(right / (right + wrong)) if right + wrong else np.nan,
    }


def near_duplicates(synthetic: Rows, train: Rows) -> np.ndarray:
    """Whether each row with at least five codes differs from some row of ``train`` in at most two, (n_such_rows,).

    Its mean should be that of held-out patients against the same training set. Differing in none is a copy of presence;
    the exact matches compare counts.
    """
    left, right = pair(synthetic, train)
    left = left[codes_per_patient(left) >= FEW]
    return hamming(left, right).first <= NEAR if left.shape[0] else np.empty(0, dtype=bool)


def _keys(rows: sparse.csr_array) -> Iterator[tuple[bytes, bytes]]:
    """Columns and values of each row as bytes: equal exactly when the rows are."""
    rows = rows.copy()
    rows.eliminate_zeros()
    for begin, end in zip(rows.indptr[:-1], rows.indptr[1:], strict=True):
        yield rows.indices[begin:end].tobytes(), rows.data[begin:end].tobytes()


def _enough(*sets: Rows) -> None:
    if min(checked(rows, "the records").shape[0] for rows in sets) < SMALLEST:
        raise Undefined(
            f"membership needs at least {SMALLEST} training and {SMALLEST} held-out patients"
        )
