"""Problems with known answers, shared by the tests of processes, samplers and training."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from scoehr.data.matrix import CodeMatrix
from scoehr.sdes import VPSDE


class Alone(torch.nn.Module):
    """The network of a RateModel whose codes have nothing to do with each other."""

    def read(self, y: Tensor, s: Tensor) -> tuple[Tensor]:
        return (y,)

    def codes(self, y: Tensor, read: Tensor) -> Tensor:
        return torch.zeros_like(y)

    def length(self, read: Tensor) -> Tensor:
        return torch.zeros(len(read))


@dataclass
class Gaussian:
    """Data N(mean, variance) in every dimension; under the VP-SDE score and probability flow are known."""

    mean: float = 0.7
    variance: float = 0.25
    sde: VPSDE = field(default_factory=VPSDE)

    def marginal(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance of x_t."""
        return self.sde.alpha(t) * self.mean, self.sde.alpha(
            t
        ) ** 2 * self.variance + self.sde.sigma(t) ** 2

    def score(self, x: Tensor, t: Tensor) -> Tensor:
        mean, variance = self.marginal(t[:, None])
        return (mean - x) / variance

    def flow(self, x: Tensor, start: Tensor, end: Tensor) -> Tensor:
        """Where the probability flow takes x from time ``start`` to time ``end``: quantiles are kept."""
        (m0, v0), (m1, v1) = self.marginal(start), self.marginal(end)
        return m1 + torch.sqrt(v1 / v0) * (x - m0)


def patients(n: int = 400, n_codes: int = 60, seed: int = 0) -> CodeMatrix:
    """Counts with a few latent conditions behind them, a long tail, and some empty records."""
    rng = np.random.default_rng(seed)
    conditions = rng.gamma(0.2, 5.0, (6, n_codes)) * np.exp(-np.arange(n_codes) / 20)
    severity = rng.gamma(1.0, 1.0, (n, 1)) * rng.dirichlet(np.full(6, 0.2), n)
    codes = [f"{i:03d}" for i in range(n_codes)]
    return CodeMatrix.from_array(
        rng.poisson(severity @ conditions), codes, titles=[f"condition {c}" for c in codes]
    )
