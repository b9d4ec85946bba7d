"""Small, sparse changes of a stay's measurements that turn a model's verdict: the elastic attack
with its L1 part done.

For each stay that the model has right, minimise over changes P, with m the model's margin towards
the right verdict,

    max(m(X + P), -κ) + λ ‖P‖₁   subject to X + P in a box,

by proximal gradient steps: a step on the margin alone, then soft thresholding by λ times the step
size, then clipping (ISTA; Beck & Teboulle 2009, SIAM J. Imaging Sci. 2, with momentum FISTA). The
margin is that of Carlini & Wagner (2017, IEEE S&P), the L1 form that of Chen et al. (2018, AAAI)
and Sun et al. (2018, KDD). λ is in logits per unit of change: a cell whose slope is smaller never
leaves 0.

The model is frozen, and its bits are compared afterwards. Every step's success is looked at: the
first and the best change of each stay, the one with the lowest objective, are kept. Stays that no
longer improve leave the batch.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from companions.mortality_attack import features
from companions.mortality_attack.models import Classifier
from companions.mortality_attack.protocol import Series, Statistics
from companions.mortality_attack.train import Optimiser, device, tensors, verdicts
from scoehr.files import InputError
from scoehr.generators.settings import Settings, within

Box = Literal["normalised", "clinical"]
Direction = Literal["both", "0to1", "1to0"]
#: Steps between two looks for stays that are finished, and the relative fall of the objective that
#: counts.
COMPACT_EVERY, WORTHWHILE = 10, 1e-3
BETAS, EPSILON = (0.9, 0.999), 1e-8
SMOOTHING = 0.99  # of RMSprop


@dataclass(frozen=True)
class AttackConfig(Settings):
    """Everything that determines an attack but the model and the stays.

    ``kappa`` κ and ``penalty`` λ as above; ``step_size``: of each step; ``momentum``:
    FISTA, for plain gradient steps; ``box``: changed values stay in [0, 1] in units of models or
    where they were, or within the plausible clinical values; ``measured_only``: cells that were
    filled in are left alone; ``direction``: which verdicts are attacked, those of survival (0to1)
    or of death; ``patience``: steps without a worthwhile fall of the objective after which a stay
    is finished, turned or not, 0 for never.
    """

    kappa: float = 0.0
    penalty: float = 0.1
    step_size: float = within("(0, inf)", 0.05)
    steps: int = 300
    optimiser: Optimiser = "sgd"
    momentum: bool = False
    box: Box = "normalised"
    measured_only: bool = True
    direction: Direction = "both"
    patience: int = within("[0, 1000000]", 40)
    batch: int = 256

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.momentum and self.optimiser != "sgd":
            raise InputError(f"momentum is that of FISTA, for sgd; {self.optimiser} has its own")


@dataclass(frozen=True)
class Attacked:
    """What became of each attacked stay, a row each.

    ``rows`` place in the series, ``verdict`` the right one (0 survival, 1 death), ``success``;
    ``first`` and ``best`` changes ``(n, 48, F)`` in units of models, 0 where there is none;
    ``first_step``, ``best_step`` from 1, 0 for none; ``steps``: how many were made before the stay
    was finished.
    """

    rows: np.ndarray
    verdict: np.ndarray
    success: np.ndarray
    first: np.ndarray
    best: np.ndarray
    first_step: np.ndarray
    best_step: np.ndarray
    steps: np.ndarray

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(frozen=True)
class Problem:
    """Stays attacked together: the model, what it reads of them, and how far each cell may move.

    ``values``, ``mask``, ``low``, ``high`` ``(B, 48, F)``, ``static`` ``(B, 7)``; ``sign`` ``(B,)``
    is 1 where the right verdict is death and -1 where it is survival.
    """

    model: Classifier
    values: Tensor
    mask: Tensor
    static: Tensor
    sign: Tensor
    low: Tensor
    high: Tensor

    def __len__(self) -> int:
        return len(self.values)

    def take(self, rows: Tensor) -> Problem:
        """These stays, by place or by a mask."""
        names = ("values", "mask", "static", "sign", "low", "high")
        return replace(self, **{name: getattr(self, name)[rows] for name in names})

    def margin(self, change: Tensor) -> Tensor:
        """Logits towards the right verdict after a change, ``(B,)``: below 0 once the verdict has
        turned.
        """
        logits = self.model(self.values + change, self.mask, self.static)
        return self.sign * self.model.margin(logits)

    def slope(self, change: Tensor, floor: float = -torch.inf) -> tuple[Tensor, Tensor]:
        """The margin, and its gradient with respect to the change where it is above ``floor``."""
        change = change.detach().requires_grad_()
        margin = self.margin(change)
        (slope,) = torch.autograd.grad(margin.clamp(min=floor).sum(), change)
        return margin.detach(), slope


def attack(
    model: Classifier,
    series: Series,
    statistics: Statistics,
    config: AttackConfig,
    *,
    progress: bool = True,
    name: str = "attack",
) -> Attacked:
    """Attack every stay that the model has right, with one penalty.

    Raises:
        RuntimeError: a weight of the model is not what it was.
    """
    with frozen(model):
        rows, verdict, problems = posed(model, series, statistics, config)
        parts = []
        with tqdm(total=len(rows), desc=name, disable=not progress or None) as bar:
            for problem in problems:
                parts.append(ProximalAttack(problem, config).run())
                bar.update(len(problem))
    return gathered(rows, verdict, parts, series.values.shape[1:])


def posed(
    model: Classifier, series: Series, statistics: Statistics, config: AttackConfig
) -> tuple[np.ndarray, np.ndarray, Iterator[Problem]]:
    """Places of the stays that the model has right, their verdicts, and batches of them ready to be
    attacked.
    """
    where = device()
    model.to(where).eval()
    died = tensors(series, where)[3]
    verdict = torch.as_tensor(verdicts(model, series)).to(where)
    asked = {"both": died >= 0, "0to1": died == 0, "1to0": died > 0}[config.direction]
    rows = ((verdict == (died > 0)) & asked).nonzero()[:, 0]
    return rows.cpu().numpy(), verdict[rows].long().cpu().numpy(), problems(
        model, series, statistics, config, rows
    )  # fmt: skip


def problems(
    model: Classifier, series: Series, statistics: Statistics, config: AttackConfig, rows: Tensor
) -> Iterator[Problem]:
    """Batches of stays ready to be attacked, whether or not the model has them right."""
    values, mask, static, died = tensors(series, device())
    low, high = bounds(values, statistics, config.box)
    free = allowed(model, mask, statistics, config.measured_only)
    for some in rows.split(config.batch):
        down, up = ((side[some] - values[some]) * free[some] for side in (low, high))
        sign = died[some].to(values) * 2 - 1
        yield Problem(model, values[some], mask[some], static[some], sign, down, up)


def gathered(
    rows: np.ndarray, verdict: np.ndarray, parts: list[tuple[Tensor, ...]], shape: tuple[int, ...]
) -> Attacked:
    """Results of batches put together: first, best, first_step, best_step, steps, each with a row a
    stay.
    """
    if not parts:
        none, nothing = np.zeros(0, int), np.zeros((0, *shape), np.float32)
        return Attacked(none, none, none > 0, nothing, nothing, none, none, none)
    found = [torch.cat(column).cpu().numpy() for column in zip(*parts, strict=True)]
    return Attacked(rows, verdict, found[2] > 0, *found)


class ProximalAttack:
    """Stays attacked together; those that are finished leave the tensors, not the results."""

    def __init__(self, problem: Problem, config: AttackConfig, start: Tensor | None = None):
        self.problem, self.config = problem, config
        values, sign = problem.values, problem.sign
        change = torch.zeros_like(values) if start is None else start
        #: what is kept a stay, cut together when some are finished
        self.parts = {"change": change, "last": change.clone()}
        if config.optimiser != "sgd":
            self.parts |= {"mean": torch.zeros_like(values), "square": torch.zeros_like(values)}
        self.parts |= {name: torch.full_like(sign, torch.inf) for name in ("lowest", "least")}
        self.parts["since"] = torch.zeros_like(sign)
        self.place = torch.arange(len(values), device=values.device)
        zeros = torch.zeros(len(values), dtype=torch.long, device=values.device)
        self.first, self.best = torch.zeros_like(values), torch.zeros_like(values)
        self.first_step, self.best_step, self.steps = zeros.clone(), zeros.clone(), zeros.clone()

    def run(self) -> tuple[Tensor, ...]:
        """first, best, first_step, best_step, steps of all stays."""
        for step in range(1, self.config.steps + 1):
            slope = self._look(step)
            self._move(slope, step)
            if self.config.patience and step % COMPACT_EVERY == 0 and not self._compact():
                break
        return self.first, self.best, self.first_step, self.best_step, self.steps

    def _look(self, step: int) -> Tensor:
        """Judge the present changes, keep the successes, and return the slope of the margin."""
        change = self.parts["change"]
        margin, slope = self.problem.slope(change, -self.config.kappa)
        self.judge(step, change, margin)
        return slope

    def judge(self, step: int, change: Tensor, margin: Tensor) -> None:
        """Keep changes that turned the verdict first or at the lowest objective, and note who still
        improves.
        """
        part, config = self.parts, self.config
        objective = margin.clamp(min=-config.kappa) + config.penalty * change.abs().sum((1, 2))
        turned = margin < 0
        new = turned & (self.first_step[self.place] == 0)
        better = turned & (objective < part["lowest"])
        worth = objective < part["least"] - WORTHWHILE * objective.abs()
        self.first[self.place[new]], self.first_step[self.place[new]] = change[new], step
        self.best[self.place[better]], self.best_step[self.place[better]] = change[better], step
        part["lowest"] = torch.where(better, objective, part["lowest"])
        part["least"] = torch.where(worth, objective, part["least"])
        part["since"] = torch.where(worth, torch.zeros_like(part["since"]), part["since"] + 1)
        self.steps[self.place] = step

    def _move(self, slope: Tensor, step: int) -> None:
        """A step on the margin, the proximal step of λ‖P‖₁, the box; with momentum, on to where
        FISTA looks next.
        """
        part, config, problem = self.parts, self.config, self.problem
        slope = self._scaled(slope, step)
        moved = part["change"] - config.step_size * slope
        moved = soft_threshold(moved, config.step_size * config.penalty)
        part["change"] = moved = torch.clamp(moved, problem.low, problem.high)
        if config.momentum:
            ahead = moved + (step - 1) / (step + 2) * (moved - part["last"])
            part["change"], part["last"] = torch.clamp(ahead, problem.low, problem.high), moved

    def _scaled(self, slope: Tensor, step: int) -> Tensor:
        """The slope as Adam or RMSprop scale it."""
        part, config = self.parts, self.config
        if config.optimiser == "adam":
            part["mean"] = torch.lerp(slope, part["mean"], BETAS[0])
            part["square"] = torch.lerp(slope**2, part["square"], BETAS[1])
            mean, square = (
                part["mean"] / (1 - BETAS[0] ** step),
                part["square"] / (1 - BETAS[1] ** step),
            )
            return mean / (square.sqrt() + EPSILON)
        if config.optimiser == "rmsprop":
            part["square"] = torch.lerp(slope**2, part["square"], SMOOTHING)
            return slope / (part["square"].sqrt() + EPSILON)
        return slope

    def _compact(self) -> bool:
        """Drop the finished stays from the tensors; False where none is left."""
        going = self.parts["since"] < self.config.patience
        if not going.all():
            self.parts = {name: tensor[going] for name, tensor in self.parts.items()}
            self.problem, self.place = self.problem.take(going), self.place[going]
        return len(self.place) > 0


def soft_threshold(values: Tensor, by: float) -> Tensor:
    """The proximal operator of ``by`` times the elementwise L1 norm: towards 0 by so much, and no
    farther.
    """
    return values - values.clamp(-by, by)


def bounds(values: Tensor, statistics: Statistics, box: Box) -> tuple[Tensor, Tensor]:
    """Lowest and highest value that a changed cell may have; the value itself is always inside."""
    if box == "normalised":
        return values.clamp(max=0), values.clamp(min=1)
    low, high = (torch.as_tensor(side).to(values) for side in statistics.limits())
    return torch.minimum(values, low), torch.maximum(values, high)


def allowed(model: Classifier, mask: Tensor, statistics: Statistics, measured_only: bool) -> Tensor:
    """Cells that may be changed, bool: of features that the model reads and the data have, measured
    if so wanted.
    """
    usable = torch.zeros(len(features.table()), dtype=torch.bool, device=mask.device)
    usable[model.inputs.chosen] = True
    usable &= torch.as_tensor(statistics.available).to(mask.device).bool()
    return mask & usable if measured_only else usable.expand_as(mask)


def fingerprint(model: torch.nn.Module) -> str:
    """SHA-256 over the bits of all parameters and buffers."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode() + tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


@contextmanager
def frozen(model: torch.nn.Module) -> Iterator[None]:
    """No parameter of the model takes a gradient inside, and none may have changed afterwards.

    Raises:
        RuntimeError: the model's bits are not what they were.
    """
    before = fingerprint(model)
    took = {name: parameter.requires_grad for name, parameter in model.named_parameters()}
    model.requires_grad_(False)
    try:
        yield
    finally:
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(took[name])
    if fingerprint(model) != before:
        raise RuntimeError("the attack changed the model that it attacked; its results are void")
