"""Canary audit of the private generator: how much do attacks find of what is promised?

A canary is one patient whose code nobody else has. Each of many is put in by the toss of a coin,
the generator is fitted once, and attacks on what it releases (shares, vocabulary, history, and the
noised gradient of every step, which the promise covers too) guess which were in. How many of the
surest guesses are right bounds from below how private it can be, the accountant's ε from above;
both are put as μ of Gaussian differential privacy (Dong, Roth & Su 2022). Settings are the worst
for privacy: a canary's gradient is cut at every step, and weights hardly move. Six faults are
planted for the audit to find; one that shows in the sum over all canaries alone is looked for in
many models of one canary each.

Steinke, Nasr & Jagielski (2023), Privacy Auditing with One (1) Training Run, NeurIPS. Mahloujifar,
Melis & Chaudhuri (2025), Auditing f-Differential Privacy in One Run, ICML.

Results go to ``benchmarks/audit.json``. Run with ``python -m benchmarks.audit``.
"""

from __future__ import annotations

import json
import math
import os
import platform
import time
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from scipy import sparse
from scipy.optimize import brentq
from scipy.special import ndtr, ndtri
from scipy.stats import norm
from torch import Tensor

from scoehr.checkpoints import Row
from scoehr.data.matrix import CodeMatrix
from scoehr.files import write_json
from scoehr.generators import Private, PrivateConfig
from scoehr.generators.base import Fitting, Generator
from scoehr.minibatches import SparseRows
from scoehr.thinning import thinning_loss

COMMAND = "python -m benchmarks.audit"
CANARY_COUNT = 40  # of its code that a canary has
EMPTY = 120  # patients without codes, whose gradients are 0; so has a canary that is left out
COMMON = "common"  # a code that these have where the vocabulary is noised, for it to hold any
#: Few steps on all patients; the smallest network.
WORST = {
    "width": 4,
    "depth": 1,
    "epochs": 4,
    "learning_rate": 1e-9,
    "epsilon": 6.0,
    "delta": 2e-4,
    "max_gradient_norm": 1.0,
    "max_codes": 1,
    "marginals_noise": 4.0,
}
PLANTED: dict[str, Any] = {
    "epsilon": 2.0
}  # of generators with a fault, so that few canaries break it
CANARIES, FEW = 4_000, 100  # of a sound generator, and of one with a fault
SURE, SURE_OF_FEW = 0.1, 0.5  # share of the canaries that are guessed
CONFIDENCE = 0.95
#: Columns of a history that say nothing of the patients.
PUBLIC = {"stage", "epoch", "epsilon", "learning_rate", "seconds"}
ATTACKS = ("gradients", "shares", "vocabulary", "history", "replay")


# Generators ---------------------------------------------------------------------------------------


class Watched(Private):
    """The private generator, thinning patients to nothing, which is as bad as levels can be drawn.

    Its noised gradients are kept, and its noise can be drawn again. All codes are as likely before
    training, so that no canary's gradient hides behind the others'.
    """

    noise: int = 0  # number of the run
    runs: ClassVar[int] = 1  # models that share the canaries
    every: ClassVar[int] = 1  # one patient in so many is in a batch
    setting: ClassVar[dict[str, Any]] = {}

    def _secret(self, device: str = "cpu") -> torch.Generator:  # type: ignore[override]
        self.drawn = getattr(self, "drawn", 0) + 1
        state = np.random.SeedSequence([self.noise, self.drawn]).generate_state(1)[0]
        return torch.Generator(device).manual_seed(int(state))

    def _levels(self, n: int, rng: torch.Generator) -> Tensor:
        return torch.zeros(n)

    def _set_marginals(self, data: SparseRows, rng: torch.Generator) -> None:
        super()._set_marginals(data, rng)
        self.rate.max_count.fill_(CANARY_COUNT)
        self.rate.marginal_log_rates.zero_()

    def _step(self, x: Tensor, clipped: Any, optimiser: Any, rng: torch.Generator) -> None:
        super()._step(x, clipped, optimiser, rng)
        last = self.rate.network.out_proj[1]
        found = torch.cat([last.weight.grad, last.bias.grad[:, None]], dim=1) * self.config.batch
        self.gradients = [*getattr(self, "gradients", []), found]  # (n_codes, width + 1) a step
        self.spread = float(optimiser.noise_multiplier)


class Sampled(Watched):
    """One patient in thirty is in a batch."""

    every = 30


class Noised(Watched):
    """The vocabulary is noised too."""

    setting: ClassVar[dict[str, Any]] = {"vocabulary": "noised", "vocabulary_noise": 4.0}


SOUND: dict[str, tuple[int, type[Watched]]] = {
    "all patients a step": (CANARIES, Watched),
    "one patient in thirty a step": (CANARIES // 2, Sampled),
    "noised vocabulary": (CANARIES // 8, Noised),
}


class Unclipped(Watched):
    """Gradients are not cut."""

    def _private(self, noise: float) -> Any:
        clipped, optimiser = super()._private(noise)
        clipped.get_clipping_coef = lambda: torch.ones(1)
        return clipped, optimiser


class LeakedVocabulary(Watched):
    """The table's own codes are learned in place of noised ones."""

    def fit(self, train_set: CodeMatrix, *rest: Any, **options: Any) -> Any:
        held = train_set.counts.sum(axis=0) > 0
        own = train_set.codes[held] if held.any() else train_set.codes[:1]
        return Generator.fit(self, train_set.restrict(own)[0], *rest, **options)


class SeedReuse(Watched):
    """The noise is drawn from the seed, which is published."""

    def _secret(self, device: str = "cpu") -> torch.Generator:  # type: ignore[override]
        return torch.Generator(device).manual_seed(0)


class BareShares(Watched):
    """The distributions of counts and lengths have no noise."""

    def _set_marginals(self, data: SparseRows, rng: torch.Generator) -> None:
        self.rate.fit_marginals(data)


class WrongRate(Sampled):
    """All patients are in every batch, one in thirty by the accountant."""

    def _batch(self, data: SparseRows, chance: float, rng: torch.Generator) -> Tensor:
        return data.dense()


class ReleasedLoss(Watched):
    """The losses of the training patients are written down."""

    runs = FEW  # their sum tells of one canary alone

    def _train(self, fitting: Fitting) -> list[Row]:
        rows, rng = super()._train(fitting), torch.Generator().manual_seed(0)
        with torch.no_grad():
            loss = float(self._losses(SparseRows.of(fitting.data).dense(), 16, rng).mean())
        return [row | {"train_loss": loss} for row in rows]


FAULTS = (Unclipped, LeakedVocabulary, SeedReuse, BareShares, WrongRate, ReleasedLoss)


# Attacks ------------------------------------------------------------------------------------------


def table(included: np.ndarray, noised: bool) -> CodeMatrix:
    """Patients beside, and canaries ``(n,)``, those included with a code of their own, often."""
    n = len(included)
    beside = np.full((EMPTY, 1), noised)
    canaries = sparse.diags_array(included * CANARY_COUNT, dtype=int)
    counts = sparse.block_diag([beside, canaries], format="csr", dtype=int)
    return CodeMatrix.from_array(counts, [COMMON, *names(n)])


def names(n: int) -> list[str]:
    """The codes of the canaries."""
    return [f"canary {k:04}" for k in range(n)]


def fit(kind: type[Watched], included: np.ndarray, number: int, changes: dict[str, Any]) -> Watched:
    """A model of the run of this number, of canaries included or not ``(n,)``."""
    patients = table(included, "vocabulary" in kind.setting)
    batch = {"batch": math.ceil(len(patients) / kind.every)}
    model = kind(PrivateConfig(**WORST | batch | kind.setting | changes), device="cpu")
    model.noise = number
    return model.fit(patients, progress=False)


def scores(model: Watched, replays: list[Watched], canaries: int) -> dict[str, np.ndarray]:
    """What each attack finds of each canary in the release of a model, the more the likelier in.

    ``replays`` are models without and with all canaries, as anybody can fit who knows the seed.
    """
    place = pd.Index(model.vocabulary.codes).get_indexer(pd.Index(names(canaries)))
    sums, *alike = (towards(each, canaries) for each in (model, *replays))
    history, *histories = (told(each) for each in (model, *replays))
    odds = (sums - 0.5) / model.spread**2  # log odds that a canary was in a step, were it in half
    return {
        "gradients": np.logaddexp(odds, math.log(max(model.every - 1, 1e-300))).sum(axis=0),
        "shares": model.rate.count_pmf[1:].sum(dim=0).numpy()[place] * (place >= 0),
        "vocabulary": (place >= 0).astype(float),
        "history": np.full(
            canaries, (history - np.mean(histories, axis=0)) @ (histories[1] - histories[0])
        ),
        "replay": (sums - np.mean(alike, axis=0)).sum(axis=0),
    }


def told(model: Watched) -> np.ndarray:
    """What the history says of the patients, ``(n,)``."""
    columns = [name for name in model.history if name not in PUBLIC]
    return model.history[columns].to_numpy(dtype=float).ravel()


def towards(model: Watched, canaries: int) -> np.ndarray:
    """Noised gradients towards each canary's, in units of its norm, ``(steps, canaries)``.

    0 where its code is not in the vocabulary.
    """
    place = pd.Index(model.vocabulary.codes).get_indexer(pd.Index(names(canaries)))
    steps = torch.stack([gradient @ direction(model) for gradient in model.gradients]).numpy()
    return steps[:, place] * (place >= 0)


def direction(model: Watched) -> Tensor:
    """The gradient by the weights of its own code that a canary has, of norm 1: ``(width + 1,)``."""
    x = torch.zeros(1, len(model.vocabulary.codes))
    x[0, -1] = CANARY_COUNT
    loss = thinning_loss(model.rate, x, torch.zeros_like(x), torch.zeros(1)).sum()
    weight, bias = torch.autograd.grad(loss, list(model.rate.network.out_proj[1].parameters()))
    return F.normalize(torch.cat([weight[-1], bias[-1:]]), dim=0)


# Bounds -------------------------------------------------------------------------------------------


def promised(epsilon: float, delta: float) -> float:
    """The largest μ whose Gaussian differential privacy is as weak as (ε, δ) (Dong et al. 2022)."""

    def over(mu: float) -> float:
        near, far = norm.cdf(mu / 2 - epsilon / mu), norm.cdf(-mu / 2 - epsilon / mu)
        return near - np.exp(epsilon) * far - delta

    return float(brentq(over, 1e-3, 50.0))


def found(scores: np.ndarray, included: np.ndarray, sure: float, attacks: int = 1) -> float:
    """Lower bound of μ from scores ``(n,)`` of canaries, included or not by the toss of a coin.

    The highest are guessed to be in, as many of the lowest to be out, a share ``sure`` of all; so
    that the bounds of all attacks hold at once.
    """
    half = math.ceil(sure * len(scores) / 2)
    order = np.argsort(scores, kind="stable")
    right = int(included[order[-half:]].sum() + (~included[order[:half]]).sum())
    miss = (1 - CONFIDENCE) / attacks
    low, high = 0.0, 16.0
    while high - low > 1e-3:
        middle = (low + high) / 2
        if contradicts(right, 2 * half, len(scores), middle, miss):
            low = middle
        else:
            high = middle
    return low


def contradicts(right: int, guesses: int, canaries: int, mu: float, miss: float) -> bool:
    """Whether μ-GDP lets so many guesses be right with a chance below ``miss`` (Mahloujifar et al.
    2025, Algorithms 3 and 4)."""
    share = guesses / canaries
    correct, wrong = miss * share * right / guesses, miss * share * (guesses - right) / guesses
    for i in reversed(range(right)):
        before, wrong = wrong, max(wrong, ndtr(ndtri(correct) - mu))
        correct += i / (guesses - i) * (wrong - before)
    return bool(correct + wrong > share)


def audit(
    kind: type[Watched] = Watched, *, canaries: int, sure: float, first: int = 0, **changes: Any
) -> dict[str, Any]:
    """Fit a generator with about half of the canaries, and attack what it releases.

    ``canaries`` are divided among the models of the kind, one if it does not say otherwise. Returns
    the promise (ε, and as μ), and what each attack finds (μ, at 95 % confidence for all).
    """
    each = canaries // kind.runs
    none, everyone = np.zeros(each, dtype=bool), np.ones(each, dtype=bool)
    replays = [fit(kind, which, 2**31, changes) for which in (none, everyone)]
    sides, rows = [], []
    for number in range(first, first + kind.runs):
        sides.append(np.random.default_rng([number, canaries]).random(each) < 0.5)
        model = fit(kind, sides[-1], number, changes)
        rows.append(scores(model, replays, each))
    included = np.concatenate(sides)
    attacks = {
        name: found(np.concatenate([row[name] for row in rows]), included, sure, len(ATTACKS))
        for name in ATTACKS
    }
    claim = promised(model.spent, model.config.delta)
    return {
        "epsilon": model.spent,
        "delta": model.config.delta,
        "promised_mu": claim,
        "found_mu": max(attacks.values()),
        "attacks": attacks,
        "canaries": canaries,
        "guessed": sure,
        "runs": kind.runs,
        "broken": max(attacks.values()) > claim,
    }


def main() -> None:
    """Audit the generator in three settings and with each fault; print and keep."""
    torch.set_num_threads(1)
    made: dict[str, Any] = {
        "command": COMMAND,
        "settings": WORST,
        "confidence": CONFIDENCE,
        "honest": {},
        "faults": {},
        "threads": torch.get_num_threads(),
        "cores": os.cpu_count(),
        "platform": platform.platform(),
    }
    for kind in FAULTS:
        row = audit(kind, canaries=FEW, sure=SURE_OF_FEW, **PLANTED)
        made["faults"][kind.__name__] = {"fault": (kind.__doc__ or "").strip(), **row}
        print(kind.__name__, json.dumps(row), flush=True)
    for name, (canaries, sound) in SOUND.items():
        made["honest"][name] = audit(sound, canaries=canaries, sure=SURE)
        print(name, json.dumps(made["honest"][name]), flush=True)
    write_json(Path(__file__).with_suffix(".json"), made | {"seconds": time.process_time()})


if __name__ == "__main__":
    main()
