"""Copies, singling out, linkability and attribute inference: what a table tells of its patients.

The definitions of Giomi et al. (2023), made for tables of counts. An attacker who holds the
synthetic table makes guesses about training patients; the same guesses about patients never seen
are the control, which tells what the table teaches about anybody, and guesses made without the
table are the baseline. The risk is what is left of the success beyond the control. :data:`RISKS`
describes the scores.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple, TypeAlias

import numpy as np
from scipy import sparse

from scoehr.metrics import privacy
from scoehr.metrics.arrays import (
    Undefined,
    codes_per_patient,
    independent_columns,
    presence,
    prevalence_of,
)
from scoehr.metrics.neighbours import products, terms
from scoehr.metrics.registry import SMALLEST, Metric, Pair, Registry

RISKS = Registry()
#: Guesses of each kind.
GUESSES = 2000
#: Codes that single a patient out together, nearest rows that link, and codes that are secret.
SINGLING = 4
LINKING = 5
SECRETS = 10

GIOMI = "Giomi, Boenisch, Wehmeyer & Tasnádi (2023), Anonymeter, PoPETs"
Csr: TypeAlias = sparse.csr_array


class Guesses(NamedTuple):
    """Which guesses were right, 0 or 1, (n_guesses,) each."""

    train: np.ndarray
    control: np.ndarray  # patients never seen
    baseline: np.ndarray  # training patients, guessed without the table


def risk(name: str, train: np.ndarray, control: np.ndarray, baseline: np.ndarray) -> dict:
    """Success on training patients, and how much of it is not owed to what holds for anybody.

    Source: Giomi et al. (2023), PoPETs, section on the privacy risk.

    Returns:
        dict with, of the attack ``name``:

        - _risk: (train - control) / (1 - control), (-inf, 1]; 0 is none
        - _success, _control, _baseline: share of right guesses, [0, 1]
    """
    known, anybody, blind = (float(np.mean(side)) for side in (train, control, baseline))
    excess = (known - anybody) / (1 - anybody) if anybody < 1 else 0.0
    shares = {"success": known, "control": anybody, "baseline": blind}
    return {f"{name}_risk": excess, **{f"{name}_{side}": share for side, share in shares.items()}}


def _risk(name: str, title: str) -> Callable[[Callable[[Pair], Guesses]], Callable]:
    """Register the four scores of an attack."""
    metrics = {f"{name}_risk": Metric(f"{title}, risk", None, 1, "lower", 0, GIOMI)}
    for side, of in {
        "success": "training patients",
        "control": "patients never seen",
        "baseline": "guesses without the table",
    }.items():
        shown = f"{title}, success: {of}"
        metrics[f"{name}_{side}"] = Metric(shown, 0, 1, "lower", None, GIOMI)

    def add(guess: Callable[[Pair], Guesses]) -> Callable[[Pair], Guesses]:
        register = RISKS.register(guess, step=name, **metrics)  # type: ignore[arg-type]
        register(partial(risk, name))
        return guess

    return add


# The attacks --------------------------------------------------------------------------------------


@_risk("singling_out", "Singling out")
def singling_out(pair: Pair) -> Guesses:
    """Four codes that a synthetic patient has, or all if fewer, fit exactly one real patient.

    The baseline combines codes by their prevalence in the table.
    """
    rng, real = _prepared(pair, 0)
    made = presence(pair.synthetic)
    able = np.flatnonzero(codes_per_patient(made) > 0)
    if not len(able):
        raise Undefined("no synthetic patient has a code to single anybody out by")
    chosen = rng.choice(able, GUESSES)
    claims = _claims([_few(made[[row]].indices, rng) for row in chosen], made.shape[1])
    share = prevalence_of(made)
    sizes = np.asarray(claims.sum(axis=1), dtype=int).ravel()
    most = np.minimum(sizes, np.count_nonzero(share))
    blind = [rng.choice(len(share), size, replace=False, p=share / share.sum()) for size in most]
    known, anybody = (_fits_one(claims, rows) for rows in real)
    return Guesses(known, anybody, _fits_one(_claims(blind, len(share)), real[0]))


@_risk("linkability", "Linkability")
def linkability(pair: Pair) -> Guesses:
    """Two halves of a patient's codes lead to one synthetic patient among their five nearest.

    The codes are cut in two at random. The baseline takes synthetic patients at random.
    """
    rng, real = _prepared(pair, 1)
    made = presence(pair.synthetic)
    order = rng.permutation(made.shape[1])
    halves = np.sort(order[: len(order) // 2]), np.sort(order[len(order) // 2 :])
    if not len(halves[0]):
        raise Undefined("linking needs at least two codes")
    most = min(LINKING, made.shape[0])
    found = []
    for rows in real:
        victims = rows[rng.permutation(rows.shape[0])[:GUESSES]]
        found.append(_shared(*(_closest(victims[:, h], made[:, h], most, rng) for h in halves)))
    shape = (2, len(found[0]), most)
    known, anybody = found
    return Guesses(known, anybody, _shared(*rng.integers(made.shape[0], size=shape)))


@_risk("inference", "Attribute inference")
def inference(pair: Pair) -> Guesses:
    """Whether a patient has one of ten frequent codes, read off the nearest synthetic patient.

    The other codes are known. Half of the victims have the secret code, so that the baseline, a
    coin, is right for one in two.
    """
    rng, real = _prepared(pair, 2)
    made = presence(pair.synthetic)
    secrets = np.argsort(-prevalence_of(real[1]), kind="stable")[:SECRETS]
    known: list[list[np.ndarray]] = [[], []]
    for secret in secrets:
        rest = np.delete(np.arange(made.shape[1]), secret)
        held = made[:, [secret]].toarray().ravel()
        for side, rows in zip(known, real, strict=True):
            victims, truth = _balanced(rows, secret, rng)
            if len(victims) and len(rest):
                near = _closest(rows[victims][:, rest], made[:, rest], 1, rng)[:, 0]
                side.append(held[near] == truth)
    if not all(known):
        raise Undefined("no frequent code is there that some patients have and some lack")
    train, control = (np.concatenate(side).astype(float) for side in known)
    return Guesses(train, control, rng.integers(2, size=len(train)).astype(float))


@_risk("copying", "Copies")
def copying(pair: Pair) -> Guesses:
    """A synthetic patient of five codes or more is a real one, code for code and count for count.

    The baseline shuffles the columns of the table.
    """
    rng, _ = _prepared(pair, 3)
    made = pair.synthetic[codes_per_patient(pair.synthetic) >= privacy.FEW]
    if not made.shape[0]:
        raise Undefined(f"no row has {privacy.FEW} codes")
    made = made[rng.permutation(made.shape[0])[:GUESSES]]
    members, others = pair.training.sample, pair.real
    n = min(members.shape[0], others.shape[0])
    blind = independent_columns(made, rng)
    return Guesses(_equal(made, members[:n]), _equal(made, others[:n]), _equal(blind, members[:n]))


# What they do -------------------------------------------------------------------------------------


def _prepared(pair: Pair, attack: int) -> tuple[np.random.Generator, tuple[Csr, Csr]]:
    """Random numbers, and presence of equally many training patients and patients never seen."""
    members, others = pair.training.sample, pair.real
    n = min(members.shape[0], others.shape[0])
    if n < SMALLEST or not pair.synthetic.shape[0]:
        raise Undefined(f"guesses need at least {SMALLEST} training and held-out patients")
    rng = np.random.default_rng([pair.seed, 9, attack])
    return rng, (presence(members[:n]), presence(others[:n]))


def _equal(rows: Csr, known: Csr) -> np.ndarray:
    try:
        return privacy.exact_matches(rows, known).astype(float)
    except Undefined:  # every row is empty
        return np.zeros(1)


def _few(codes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return rng.permutation(codes)[:SINGLING]


def _claims(codes: list[np.ndarray], width: int) -> Csr:
    """A row a guess, 1 where a code is claimed."""
    ends = np.cumsum([0, *map(len, codes)])
    return Csr((np.ones(ends[-1]), np.concatenate(codes), ends), shape=(len(codes), width))


def _fits_one(claims: Csr, rows: Csr) -> np.ndarray:
    """Whether exactly one row has all codes of a claim, (n_claims,)."""
    sizes = np.asarray(claims.sum(axis=1)).ravel()
    met = sparse.csc_array(claims @ rows.T)
    fits = met.data >= sizes[met.indices] - 0.5
    return (np.bincount(met.indices[fits], minlength=claims.shape[0]) == 1).astype(float)


def _closest(rows: Csr, table: Csr, most: int, rng: np.random.Generator) -> np.ndarray:
    """The ``most`` nearest rows of the table by Hamming distance, ties at random, (n, most)."""
    distance = np.full((rows.shape[0], most), np.inf)
    which = np.zeros((rows.shape[0], most), dtype=np.intp)
    for here, there, apart in products(*terms(rows, table)):
        apart = apart + rng.random(apart.shape, dtype=np.float32) / 2
        few = min(most, apart.shape[1])
        best = np.argpartition(apart, few - 1, axis=1)[:, :few]
        both = np.c_[distance[here], np.take_along_axis(apart, best, axis=1)]
        places = np.c_[which[here], best + there.start]
        kept = np.argsort(both, axis=1, kind="stable")[:, :most]
        distance[here] = np.take_along_axis(both, kept, axis=1)
        which[here] = np.take_along_axis(places, kept, axis=1)
    return which


def _shared(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Whether two lists of neighbours have one in common, (n,)."""
    return (one[:, :, None] == other[:, None, :]).any(axis=(1, 2)).astype(float)


def _balanced(rows: Csr, secret: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """As many patients with the code as without it, and whether they have it."""
    held = rows[:, [secret]].toarray().ravel() > 0
    sides = [rng.permutation(np.flatnonzero(held == has)) for has in (True, False)]
    most = min(GUESSES // (2 * SECRETS), *map(len, sides))
    return np.concatenate([side[:most] for side in sides]), np.repeat([1.0, 0.0], most)
