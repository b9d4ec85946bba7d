"""Canary audit of the private generator: how much do attacks find of what is promised?

A canary is one patient whose codes nobody else has. The generator is fitted many times with the
canary and as often without, and attacks on what it releases (shares, vocabulary, history, and the
noised gradient of every step, which the promise covers too) tell the two apart. Their error rates
bound from below how private it can be, the accountant's ε from above; both are put as μ of Gaussian
differential privacy (Dong, Roth & Su 2022). Settings are the worst for privacy: the canary's
gradient is cut at every step, and weights hardly move. Six faults are planted for the audit to
find. Nasr et al. (2023), Tight Auditing of Differentially Private Machine Learning, USENIX.

Results go to ``benchmarks/audit.json``. Run with ``python -m benchmarks.audit``.
"""

from __future__ import annotations

import json
import os
import platform
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from scipy.optimize import brentq
from scipy.stats import beta, norm
from torch import Tensor

from scoehr.checkpoints import Row
from scoehr.data.matrix import CodeMatrix
from scoehr.files import write_json
from scoehr.generators import Private, PrivateConfig
from scoehr.generators.base import Fitting, Generator
from scoehr.minibatches import SparseRows
from scoehr.thinning import thinning_loss

COMMAND = "python -m benchmarks.audit"
OTHERS, CANARY_CODES, CANARY_COUNT = 120, 8, 40
CODES = ["common", *(f"canary {k}" for k in range(CANARY_CODES))]
#: Few steps on all patients; the smallest network.
WORST = {
    "width": 4,
    "depth": 1,
    "epochs": 4,
    "batch": OTHERS + 1,
    "learning_rate": 1e-9,
    "epsilon": 6.0,
    "delta": 1e-3,
    "max_gradient_norm": 1.0,
    "max_codes": CANARY_CODES,
    "marginals_noise": 4.0,
}
PLANTED = {"epsilon": 2.0}  # of generators with a fault, so that few runs break it
SAMPLED = {"batch": 4, "epochs": 1}  # one patient in thirty a step
NOISED = {"vocabulary": "noised", "vocabulary_noise": 4.0}
RUNS, FEW = 320, 30  # models on each side, of a sound generator and of one with a fault
SOUND: dict[str, tuple[int, dict[str, Any]]] = {
    "all patients a step": (RUNS, {}),
    "one patient in thirty a step": (RUNS // 8, SAMPLED),
    "noised vocabulary": (RUNS // 8, NOISED),
}
CONFIDENCE = 0.95
#: Columns of a history that say nothing of the patients.
PUBLIC = {"stage", "epoch", "epsilon", "learning_rate", "seconds"}


def table(config: PrivateConfig, *, canary: bool) -> CodeMatrix:
    """Patients without codes, whose gradients are 0, or with one for a noised vocabulary to find.

    The canary, if there, has all other codes, often.
    """
    rows = np.zeros((OTHERS + canary, len(CODES)), dtype=int)
    rows[:OTHERS, 0] = config.vocabulary == "noised"
    rows[OTHERS:, 1:] = CANARY_COUNT
    return CodeMatrix.from_array(rows, CODES)


# Generators ---------------------------------------------------------------------------------------


class Watched(Private):
    """The private generator, thinning patients to nothing, which is as bad as levels can be drawn.

    Its noised gradients are kept, and its noise can be drawn again.
    """

    noise: int = 0  # number of the run
    setting: ClassVar[dict[str, Any]] = {}

    def _secret(self, device: str = "cpu") -> torch.Generator:  # type: ignore[override]
        self.drawn = getattr(self, "drawn", 0) + 1
        state = np.random.SeedSequence([self.noise, self.drawn]).generate_state(1)[0]
        return torch.Generator(device).manual_seed(int(state))

    def _levels(self, n: int, rng: torch.Generator) -> Tensor:
        return torch.zeros(n)

    def _step(self, x: Tensor, clipped: Any, optimiser: Any, rng: torch.Generator) -> None:
        super()._step(x, clipped, optimiser, rng)
        found = flat([p.grad for p in self.rate.network.parameters()])
        self.gradients = [*getattr(self, "gradients", []), found * self.config.batch]


class Unclipped(Watched):
    """Gradients are not cut."""

    def _private(self, noise: float) -> Any:
        clipped, optimiser = super()._private(noise)
        clipped.get_clipping_coef = lambda: torch.ones(1)  # type: ignore[method-assign]
        return clipped, optimiser


class LeakedVocabulary(Watched):
    """The table's own codes are learned in place of noised ones."""

    setting = NOISED

    def fit(self, train_set: CodeMatrix, *rest: Any, **options: Any) -> Any:
        own = train_set.codes[train_set.counts.sum(axis=0) > 0]
        return Generator.fit(self, train_set.restrict(own)[0], *rest, **options)


class SeedReuse(Watched):
    """The noise is drawn from the seed, which is published."""

    def _secret(self, device: str = "cpu") -> torch.Generator:  # type: ignore[override]
        return torch.Generator(device).manual_seed(0)


class BareShares(Watched):
    """The distributions of counts and lengths have no noise."""

    def _set_marginals(self, data: SparseRows, rng: torch.Generator) -> None:
        self.rate.fit_marginals(data)


class WrongRate(Watched):
    """All patients are in every batch, one in thirty by the accountant."""

    setting = SAMPLED

    def _batch(self, data: SparseRows, chance: float, rng: torch.Generator) -> Tensor:
        return data.dense()


class ReleasedLoss(Watched):
    """The losses of the training patients are written down."""

    def _train(self, fitting: Fitting) -> list[Row]:
        rows, rng = super()._train(fitting), torch.Generator().manual_seed(0)
        loss = float(self.rate.loss(SparseRows.of(fitting.data).dense(), rng).detach())
        return [row | {"train_loss": loss} for row in rows]


FAULTS = (Unclipped, LeakedVocabulary, SeedReuse, BareShares, WrongRate, ReleasedLoss)


# Attacks ------------------------------------------------------------------------------------------


@dataclass
class Audit:
    """A kind of generator in the worst case, with what is public of it."""

    kind: type[Watched]
    changes: dict[str, Any]

    @property
    def config(self) -> PrivateConfig:
        return PrivateConfig(**WORST | self.kind.setting | self.changes)

    def fit(self, number: int, *, canary: bool) -> Watched:
        """A model of the run of this number."""
        model = self.kind(self.config, device="cpu")
        model.noise = number
        return model.fit(table(self.config, canary=canary), progress=False)

    def scores(self, model: Watched) -> dict[str, float]:
        """What each attack finds in the release of a model, the more the likelier the canary."""
        codes = list(model.vocabulary.codes)
        own = [place for place, code in enumerate(codes) if code != CODES[0]]
        told = [name for name in model.history if name not in PUBLIC]
        towards = direction(model)
        replays = [flat(list(each.rate.state_dict().values())) for each in self.replays]
        weights = flat(list(model.rate.state_dict().values()))
        near = [
            float((weights - each).norm()) if weights.shape == each.shape else 0.0
            for each in replays
        ]
        return {
            "gradients": float(sum(gradient @ towards for gradient in model.gradients)),
            "shares": float(model.rate.count_pmf[1:, own].sum()),
            "vocabulary": float(len(own)),
            "history": float(model.history[told].to_numpy(dtype=float).sum()),
            "replay": near[0] - near[1],
        }

    @property
    def replays(self) -> tuple[Watched, Watched]:
        """Models without and with the canary that anybody can fit under the published seed."""
        return _replays(self.kind, json.dumps(self.changes))


@cache
def _replays(kind: type[Watched], changes: str) -> tuple[Watched, Watched]:
    made = Audit(kind, json.loads(changes))
    return made.fit(2**31, canary=False), made.fit(2**31, canary=True)


def direction(model: Watched) -> Tensor:
    """The canary's gradient, as a vector of norm 1; 0 where there is none."""
    codes = model.vocabulary.codes
    x = torch.from_numpy(table(model.config, canary=True).restrict(codes)[0].dense()[-1:]).float()
    loss = thinning_loss(model.rate, x, torch.zeros_like(x), torch.zeros(1)).sum()
    parameters = list(model.rate.network.parameters())
    slope = flat(list(torch.autograd.grad(loss, parameters, materialize_grads=True)))
    return slope / max(float(slope.norm()), 1e-12)


def flat(tensors: list[Tensor]) -> Tensor:
    """One vector of all values."""
    return torch.cat([tensor.detach().flatten() for tensor in tensors])


# Bounds -------------------------------------------------------------------------------------------


def promised(epsilon: float, delta: float) -> float:
    """The largest μ whose Gaussian differential privacy is as weak as (ε, δ) (Dong et al. 2022)."""

    def over(mu: float) -> float:
        near, far = norm.cdf(mu / 2 - epsilon / mu), norm.cdf(-mu / 2 - epsilon / mu)
        return near - np.exp(epsilon) * far - delta

    return float(brentq(over, 1e-3, 50.0))


def found(without: np.ndarray, with_: np.ndarray, attacks: int = 1) -> float:
    """Lower bound of μ from scores ``(n,)`` of runs without and with the canary.

    The threshold is chosen on the first half of the runs; error rates of the second half are
    bounded by Clopper and Pearson, for both rates and all attacks at once.
    """
    half = len(without) // 2
    first = np.unique(np.r_[without[:half], with_[:half]])
    mean = lambda at: norm.ppf(_rate(with_[:half], at)) - norm.ppf(_rate(without[:half], at))  # noqa: E731
    threshold = max((first[1:] + first[:-1]) / 2, key=mean, default=np.inf)
    miss = (1 - CONFIDENCE) / (2 * attacks)
    caught, n = int((with_[half:] > threshold).sum()), len(with_[half:])
    wrong = int((without[half:] > threshold).sum())
    true = beta.ppf(miss, caught, n - caught + 1) if caught else 0.0
    false = beta.ppf(1 - miss, wrong + 1, n - wrong) if wrong < n else 1.0
    return float(max(0.0, norm.ppf(true) - norm.ppf(false)))


def _rate(scores: np.ndarray, threshold: float) -> float:
    """Share above the threshold, smoothed by half a run."""
    return float((np.sum(scores > threshold) + 0.5) / (len(scores) + 1))


def audit(
    kind: type[Watched] = Watched, *, runs: int, first: int = 0, **changes: Any
) -> dict[str, Any]:
    """Fit ``runs`` models without the canary and as many with it, and attack them.

    Returns the promise (ε, and as μ), and what each attack finds (μ, at 95 % confidence for all).
    """
    made = Audit(kind, changes)
    sides: dict[bool, list[dict[str, float]]] = {False: [], True: []}
    spent = 0.0
    for number in range(first, first + runs):
        for canary, scores in sides.items():
            model = made.fit(2 * number + canary, canary=canary)
            scores.append(made.scores(model))
            spent = max(spent, model.spent)
    attacks = {
        name: found(*(np.array([row[name] for row in sides[canary]]) for canary in sides), 5)
        for name in sides[True][0]
    }
    claim = promised(spent, made.config.delta)
    return {
        "epsilon": spent,
        "delta": made.config.delta,
        "promised_mu": claim,
        "found_mu": max(attacks.values()),
        "attacks": attacks,
        "runs": runs,
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
        row = audit(kind, runs=FEW, **PLANTED)
        made["faults"][kind.__name__] = {"fault": (kind.__doc__ or "").strip(), **row}
        print(kind.__name__, json.dumps(row), flush=True)
    for name, (runs, changes) in SOUND.items():
        made["honest"][name] = audit(runs=runs, **changes)
        print(name, json.dumps(made["honest"][name]), flush=True)
    write_json(Path(__file__).with_suffix(".json"), made | {"seconds": time.process_time()})


if __name__ == "__main__":
    main()
