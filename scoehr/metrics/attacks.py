"""Membership attacks: who was trained on, judged from the synthetic table or from the model.

An attack scores every record, the higher the more like a member. :func:`attack` runs eight of them
on members, on as many patients never seen, and once more with fresh real patients in place of the
synthetic ones: the floor. The attacker holds reference patients of the same hospital. Four attacks
read a loss: the model's own where one is given, else the distance to the nearest synthetic patient
(Chen et al. 2020, GAN-Leaks). :data:`ATTACKS` describes the scores.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from scipy import sparse
from scipy.stats import rankdata
from sklearn.ensemble import ExtraTreesClassifier, HistGradientBoostingRegressor
from sklearn.metrics import roc_curve

from scoehr.data.matrix import CodeMatrix
from scoehr.files import InputError, check_seed, small_seed
from scoehr.metrics import evaluation, utility
from scoehr.metrics.arrays import codes_per_patient, presence, prevalence_of
from scoehr.metrics.disclosure import RISKS
from scoehr.metrics.neighbours import nearest, products, terms
from scoehr.metrics.registry import SMALLEST, Members, Metric, Pair, Registry

ATTACKS = Registry()
#: False-positive rates at which attacks are judged, by the name in the results.
RATES = {"tpr_10": 0.1, "tpr_1": 0.01, "tpr_01": 0.001}
#: Bandwidths that are tried: log odds that a code is as in the patient beside.
BANDWIDTHS = np.arange(1.5, 8, 0.5)
TRIED = 500  # reference patients on whom the bandwidth is chosen
NEAREST = 5  # synthetic patients of Gen-LRA
TREES = 50
EXPOSED = 10
#: Number of codes at which groups of patients begin, least members of one, points of a curve.
LENGTHS = [4, 8, 16]
GROUP = 50
POINTS = 40

Csr: TypeAlias = sparse.csr_array
Scores: TypeAlias = tuple[np.ndarray, np.ndarray]  # of the members and of the others
Loss: TypeAlias = Callable[[Csr], np.ndarray]


@dataclass
class Target(Pair):
    """What is attacked: ``real`` are the others, as many as the members."""

    reference: Any = None  # rows that the attacker holds
    loss: Loss | None = None  # of the model
    reference_loss: Loss | None = None  # of the same kind of model, trained on the reference

    @property
    def records(self) -> tuple[Csr, Csr]:
        """Members and others."""
        return self.training.sample, self.real


def exposure(name: str, members: np.ndarray, others: np.ndarray) -> dict[str, float]:
    """AUC of an attack, and its true-positive rates at false-positive rates of 10, 1 and .1 %.

    Floats in [0, 1], lower is better; ideal .5, .1, .01 and .001. Ties are broken at random.
    Source: Carlini et al. (2022), Membership Inference Attacks From First Principles, S&P.
    """
    found = {f"{name}_auc": utility.area(members, others)}
    rates = _rates(members, others, np.array(list(RATES.values())))
    return found | {f"{name}_{rate}": float(at) for rate, at in zip(RATES, rates, strict=True)}


def _rates(members: np.ndarray, others: np.ndarray, at: np.ndarray) -> np.ndarray:
    """True-positive rates at these false-positive rates."""
    label = np.r_[np.ones(len(members)), np.zeros(len(others))]
    false, true, _ = roc_curve(label, np.r_[members, others], drop_intermediate=False)
    return np.interp(at, false, true)


def _attack(
    name: str, title: str, source: str
) -> Callable[[Callable[[Target], Scores]], Callable[[Target], Scores]]:
    """Register the scores of an attack."""
    metrics = {f"{name}_auc": Metric(f"{title}, AUC", 0, 1, "lower", 0.5, source)}
    for rate, at in RATES.items():
        shown = f"{title}, TPR at {100 * at:g} % FPR"
        metrics[f"{name}_{rate}"] = Metric(shown, 0, 1, "lower", at, source)

    def add(scores: Callable[[Target], Scores]) -> Callable[[Target], Scores]:
        register = ATTACKS.register(scores, step=name, **metrics)  # type: ignore[arg-type]
        register(partial(exposure, name))
        return scores

    return add


# Attacks ------------------------------------------------------------------------------------------


@_attack("own_loss", "Own loss", "Yeom et al. (2018), CSF; Chen et al. (2020), CCS")
def own_loss(target: Target) -> Scores:
    """A record of low loss is a member."""
    members, others, _ = target.once(_losses)
    return -members, -others


@_attack("calibrated_loss", "Calibrated loss", "Watson et al. (2022), ICLR")
def calibrated_loss(target: Target) -> Scores:
    """The loss less what the features of a record explain, learned on the reference patients."""
    members, others, _ = target.once(_losses)
    usual, usual_others = _explained(target, loss="squared_error")
    return usual - members, usual_others - others


@_attack("reference_loss", "Reference model", "Chen et al. (2020), CCS; Carlini et al. (2022), S&P")
def reference_loss(target: Target) -> Scores:
    """The loss less that of a model, or distance to a table, of the reference patients."""
    members, others, _ = target.once(_losses)
    known, unknown = target.once(_reference_losses)
    return known - members, unknown - others


@_attack("quantile_regression", "Quantile regression", "Bertran et al. (2023), NeurIPS")
def quantile_regression(target: Target) -> Scores:
    """By how many spreads the loss is below the median of patients with such features."""
    members, others, reference = target.once(_losses)
    low, low_others = _explained(target, loss="quantile", quantile=0.1)
    middle, middle_others = _explained(target, loss="quantile", quantile=0.5)
    least = 1e-3 * max(np.std(reference), 1e-9)
    spread, spread_others = np.maximum(middle - low, least), middle_others - low_others
    return (middle - members) / spread, (middle_others - others) / np.maximum(spread_others, least)


@_attack("domias", "DOMIAS", "van Breugel et al. (2023), AISTATS")
def domias(target: Target) -> Scores:
    """The density of the synthetic over that of the reference patients at the record."""
    made, known = target.once(_to_synthetic), target.once(_to_reference)
    members, others = (
        np.log(a.kernel) - np.log(b.kernel) for a, b in zip(made, known, strict=False)
    )
    return members, others


@_attack("gen_lra", "Gen-LRA", "Ward, Wang & Cheng (2025), Gen-LRA")
def gen_lra(target: Target) -> Scores:
    """How much likelier the nearest synthetic patients are once the record joins the reference."""
    members, others, _ = target.once(_to_synthetic)
    return members.gain, others.gain


@_attack("classifier", "Trained classifier", "Hayes et al. (2019), LOGAN, PoPETs")
def classifier(target: Target) -> Scores:
    """How synthetic the record is to trees grown to the last synthetic and reference patient."""
    seen = sparse.csr_matrix(sparse.vstack([target.reference, target.synthetic]))
    truth = np.arange(seen.shape[0]) >= target.reference.shape[0]
    model = ExtraTreesClassifier(TREES, random_state=small_seed(target.seed))
    model.fit(seen.astype(np.float32), truth)
    members, others = (
        model.predict_proba(sparse.csr_matrix(rows.astype(np.float32)))[:, 1]
        for rows in target.records
    )
    return members, others


@_attack("nearest", "Nearest neighbour", "Choi et al. (2017), MLHC; Yan et al. (2022)")
def nearest_neighbour(target: Target) -> Scores:
    """The largest cosine similarity of the record to a synthetic patient."""
    members, others = (nearest(target.synthetic, rows).of_records for rows in target.records)
    return members, others


# What they read -----------------------------------------------------------------------------------


class Near(NamedTuple):
    """A table seen from records."""

    distance: np.ndarray  # (n,) Hamming, to the nearest row
    kernel: np.ndarray  # (n,) mean over rows of exp(-bandwidth * distance)
    gain: np.ndarray  # (n,) sum over the five rows of largest log(1 + kernel / that of reference)


def _near(rows: Csr, table: Csr, bandwidth: float, weights: np.ndarray | None = None) -> Near:
    n = rows.shape[0]
    distance, kernel, gain = np.full(n, np.inf), np.zeros(n), np.zeros((n, NEAREST))
    for here, there, apart in products(*terms(rows, table)):
        close = np.exp(-bandwidth * apart.astype(np.float64))
        distance[here] = np.minimum(distance[here], apart.min(axis=1))
        kernel[here] += close.sum(axis=1)
        if weights is not None:
            both = np.c_[gain[here], close * weights[there]]
            gain[here] = np.partition(both, -NEAREST, axis=1)[:, -NEAREST:]
    density = np.maximum(kernel, np.finfo(float).tiny) / table.shape[0]
    return Near(distance, density, np.log1p(gain).sum(axis=1))


def _bandwidth(target: Target) -> float:
    """The bandwidth under which the reference patients are likeliest, some given the others."""
    reference = target.reference
    few = min(TRIED, reference.shape[0] // 2)
    rows, others = reference[:few], reference[few:]
    likelihood = []
    for bandwidth in BANDWIDTHS:
        density = np.log(_near(rows, others, bandwidth).kernel).mean()
        likelihood.append(density - rows.shape[1] * np.log1p(np.exp(-bandwidth)))
    return float(BANDWIDTHS[np.argmax(likelihood)])


def _to_synthetic(target: Target) -> tuple[Near, ...]:
    """Members, others and reference patients beside the synthetic ones."""
    bandwidth = target.once(_bandwidth)
    density = _near(target.synthetic, target.reference, bandwidth).kernel
    weights = 1 / (density * target.reference.shape[0])
    sets = (*target.records, target.reference)
    return tuple(_near(rows, target.synthetic, bandwidth, weights) for rows in sets)


def _to_reference(target: Target) -> tuple[Near, ...]:
    bandwidth = target.once(_bandwidth)
    return tuple(_near(rows, target.reference, bandwidth) for rows in target.records)


def _losses(target: Target) -> tuple[np.ndarray, ...]:
    """Of members, others and reference patients."""
    if target.loss is None:
        return tuple(near.distance for near in target.once(_to_synthetic))
    return tuple(target.loss(rows) for rows in (*target.records, target.reference))


def _reference_losses(target: Target) -> tuple[np.ndarray, ...]:
    """Of members and others, under what was learned from the reference patients."""
    if target.reference_loss is None:
        return tuple(near.distance for near in target.once(_to_reference))
    return tuple(target.reference_loss(rows) for rows in target.records)


def _features(target: Target) -> tuple[np.ndarray, ...]:
    """Of members, others and reference patients: sizes, and how rare their codes are, (n, 5)."""
    rarity = -np.log(np.maximum(prevalence_of(target.reference), 0.5 / target.reference.shape[0]))
    found = []
    for rows in (*target.records, target.reference):
        has, codes = presence(rows), codes_per_patient(rows)
        total = has @ rarity
        rarest = np.asarray((has * rarity).max(axis=1).todense()).ravel()
        found.append(np.c_[codes, rows.sum(axis=1), total, total / np.maximum(codes, 1), rarest])
    return tuple(found)


def _explained(target: Target, **options: Any) -> Scores:
    """The loss that the features of members and others suggest, learned on the reference."""
    (*_, losses), (members, others, reference) = target.once(_losses), target.once(_features)
    model = HistGradientBoostingRegressor(
        max_leaf_nodes=15, early_stopping=False, random_state=small_seed(target.seed), **options
    )
    model.fit(reference, losses)
    return model.predict(members), model.predict(others)


# The battery --------------------------------------------------------------------------------------


def attack(
    real: CodeMatrix,
    synthetic: CodeMatrix,
    train: CodeMatrix,
    *,
    model: Any = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Run the attacks on a synthetic table, and on the model that made it if it is given.

    Args:
        real: patients never seen; one half are the others, one half the attacker's reference
        synthetic: the table; all of it is used
        train: patients that it was made from; half of them at most are the members
        model: a generator with ``losses``; one with its settings is trained on the reference
        seed: of the draws and of the classifiers

    Returns:
        dict of plain JSON values:

        - scores: {attack_auc, attack_tpr_10, attack_tpr_1, attack_tpr_01: value}
        - floor: the same with fresh training patients in place of the table
        - interval: {score: [low, high]}, 95 % over patients
        - risks: scores, floor and interval of :data:`~scoehr.metrics.disclosure.RISKS`
        - exposed: the ten rows of ``train`` that the attacks rank highest
        - groups: by the number of codes, {label: {"auc", "floor", "members"}} of all attacks
          together, of groups of at least fifty members and fifty others
        - curve: of the attack with the most members at 1 % FPR: its title, "false" and "true"
          positive rates, and "floor", the true-positive rates on fresh patients
        - n: members, reference patients and synthetic patients

    Raises:
        InputError: With fewer than 40 patients in a real set, kinds that differ, no code in common,
            or a model without losses.
    """
    seed = check_seed(seed)
    rows, codes = evaluation.aligned({"real": real, "synthetic": synthetic, "train": train})
    n = min(len(real), len(train)) // 2
    if n < SMALLEST:
        raise InputError(f"attacks need {2 * SMALLEST} training and as many held-out patients")
    rng = np.random.default_rng([seed, 8])
    order, unseen = rng.permutation(len(train)), rows["real"][rng.permutation(len(real))]
    members = Members(rows["train"], rows["train"][order[:n]])
    target = Target(unseen[:n], rows["synthetic"], members, seed, reference=unseen[n:])
    fresh = rows["train"][order[n:]][: len(synthetic)]
    floor = Target(target.real, fresh, members, seed, reference=target.reference)
    if model is not None:
        known = CodeMatrix.from_array(target.reference, codes, kind=real.kind)
        target.loss = _loss_of(model, codes, seed)
        target.reference_loss = _loss_of(_trained_alike(model, known, seed), codes, seed)
    made, risks = _beside_floor(ATTACKS, target, floor), _beside_floor(RISKS, target, floor)
    return {
        **made,
        "risks": risks,
        "exposed": order[_exposed(target)].tolist(),
        "groups": _groups(target, floor),
        "curve": _curve(target, floor, made["scores"]),
        "n": {"members": n, "reference": len(real) - n, "synthetic": len(synthetic)},
    }


def _beside_floor(registry: Registry, target: Target, floor: Target) -> dict[str, Any]:
    """Scores of a registry on the target and on the floor, and intervals of the former."""
    scores = evaluation.score(registry, target).values
    return {
        "scores": scores,
        "floor": evaluation.score(registry, floor).values,
        "interval": evaluation.intervals(registry, target, scores),
    }


def _trained_alike(model: Any, reference: CodeMatrix, seed: int) -> Any:
    """A generator with the settings of the model, trained on the reference patients."""
    return type(model)(model.config).fit(reference, seed=seed, progress=False)


def _loss_of(model: Any, codes: list[str], seed: int) -> Loss:
    return lambda rows: model.losses(CodeMatrix.from_array(rows, codes), seed=seed)


def _ranked(target: Target) -> Scores:
    """Mean rank of members and others over all attacks."""
    sides = [target.once(measure.of) for measure in ATTACKS.measures]
    ranks = np.mean([rankdata(np.concatenate(scores)) for scores in sides], axis=0)
    members, _ = target.records
    return ranks[: members.shape[0]], ranks[members.shape[0] :]


def _sides(target: Target, of: Callable[[Pair], tuple[Any, ...]]) -> Scores:
    members, others = target.once(of)
    return members, others


def _exposed(target: Target) -> np.ndarray:
    """The members that the attacks rank highest, on average, the first first."""
    members, _ = target.once(_ranked)
    return np.argsort(-members, kind="stable")[:EXPOSED]


def _groups(target: Target, floor: Target) -> dict[str, dict[str, float]]:
    """How well members are told from others among patients with as many codes."""
    sizes = [np.digitize(codes_per_patient(rows), LENGTHS) for rows in target.records]
    found = {}
    for group, (low, high) in enumerate(zip([0, *LENGTHS], [*LENGTHS, None], strict=True)):
        chosen = [side == group for side in sizes]
        if min(side.sum() for side in chosen) < GROUP:
            continue
        label = f"{low} or more" if high is None else f"{low} to {high - 1}"
        made, fresh = (
            utility.area(*(side[who] for side, who in zip(one.once(_ranked), chosen, strict=True)))
            for one in (target, floor)
        )
        found[label] = {"auc": made, "floor": fresh, "members": int(chosen[0].sum())}
    return found


def _curve(target: Target, floor: Target, scores: dict[str, Any]) -> dict[str, Any]:
    """Receiver operating characteristic of the worst attack, and of the same on the floor."""
    worst = max(ATTACKS.measures, key=lambda measure: scores[f"{measure.step}_tpr_1"] or 0)
    at = np.geomspace(1e-3, 1, POINTS)
    made, fresh = (_rates(*_sides(one, worst.of), at).tolist() for one in (target, floor))
    return {
        "attack": ATTACKS[f"{worst.step}_auc"].title.removesuffix(", AUC"),
        "false": at.tolist(),
        "true": made,
        "floor": fresh,
    }
