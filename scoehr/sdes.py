"""The variance-preserving SDE, denoising score matching, and the reverse SDE.

Forward, for t in [0, 1] (Song et al. 2021, eq. 11): dx = -½ β(t) x dt + √β(t) dw with
β(t) = β₀ + t (β₁ - β₀). Its marginal is Gaussian: x_t = α(t) x₀ + σ(t) ε, α(t) = exp(-½ ∫₀ᵗ β),
σ² = 1 - α².

Song, Sohl-Dickstein, Kingma, Kumar, Ermon & Poole (2021), Score-Based Generative Modeling through
Stochastic Differential Equations, ICLR. Vincent (2011), A Connection Between Score Matching and
Denoising Autoencoders, Neural Computation 23(7).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

__all__ = [
    "VPSDE",
    "AdditiveReverseSDE",
    "ReverseSDE",
    "ScoreModel",
    "score_matching_loss",
    "stratified_times",
    "uniform_times",
]

Score = Callable[[Tensor, Tensor], Tensor]  # (B, D), (B,) -> (B, D)
Prediction = Literal["score", "noise"]

T_MIN = 1e-3  # the smallest time in training

# ----------------------------------------------------------------------------
# Forward


@dataclass(frozen=True)
class VPSDE:
    """Variance-preserving SDE with linear β; the defaults are the paper's."""

    beta_min: float = 0.1
    beta_max: float = 20.0

    def beta(self, t: Tensor) -> Tensor:
        """β₀ + t (β₁ - β₀)."""
        return self.beta_min + t * (self.beta_max - self.beta_min)

    def integral(self, t: Tensor) -> Tensor:
        """∫₀ᵗ β(s) ds."""
        return self.beta_min * t + 0.5 * (self.beta_max - self.beta_min) * t**2

    def alpha(self, t: Tensor) -> Tensor:
        """Factor on the data: 1 at t = 0, about 0.007 at t = 1."""
        return torch.exp(-0.5 * self.integral(t))

    def sigma(self, t: Tensor) -> Tensor:
        """Standard deviation of the noise: 0 at t = 0, about 1 at t = 1."""
        return torch.sqrt(-torch.expm1(-self.integral(t)))

    def noise_level(self, t: Tensor) -> Tensor:
        """σ / α, the noise of x / α: 0 at t = 0, about 150 at t = 1."""
        return torch.sqrt(torch.expm1(self.integral(t)))

    def drift(self, x: Tensor, t: Tensor) -> Tensor:
        """-½ β(t) x for ``x`` ``(B, D)``, ``t`` ``(B,)``."""
        return -0.5 * self.beta(t)[:, None] * x

    def perturb(self, x: Tensor, t: Tensor, noise: Tensor) -> Tensor:
        """x_t from x₀ ``(B, D)``, ``t`` ``(B,)`` and standard normal ``noise`` ``(B, D)``."""
        return self.alpha(t)[:, None] * x + self.sigma(t)[:, None] * noise


# ----------------------------------------------------------------------------
# Training


class ScoreModel(nn.Module):
    """A network as the score ∇ log p_t(x).

    Args:
        network: maps ``(B, D)``, ``(B,)`` to ``(B, D)``.
        sde: the forward process.
        prediction: output of the network: the score (the paper); or the noise ε, of which the score
            is -ε / σ(t) (Ho et al. 2020), minus σ(t) x, the noise to expect of standard normal
            data. Then the output is of order one at every time, and an untrained network is right
            about mean and variance.
        time_scale: factor on t before the embedding; 1 in the paper, 1000 in the fast path, since
        the
            frequencies of the embedding were chosen for a thousand integer steps.
    """

    def __init__(
        self,
        network: nn.Module,
        sde: VPSDE,
        prediction: Prediction = "score",
        time_scale: float = 1.0,
    ):
        super().__init__()
        self.network, self.sde = network, sde
        self.prediction, self.time_scale = prediction, time_scale

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        output = self.network(x, self.time_scale * t)
        if self.prediction == "score":
            return output
        return -x - output / self.sde.sigma(t)[:, None]


def stratified_times(n: int, rng: torch.Generator) -> Tensor:
    """The paper's times ``(n,)`` in [0.001, 1]: one jittered around each grid point, shuffled.

    The jitter is as wide as two cells, so small times are rarer than among uniform ones:
    P(t < 0.01) is about 0.005 for batches of 64 to 256, in place of 0.01.
    """
    grid = torch.linspace(1 / n + T_MIN, 1 - 1 / n, n)
    times = grid + (1 - 2 * torch.rand(n, generator=rng)) / n
    return times[torch.randperm(n, generator=rng)].clamp(T_MIN, 1.0)


def uniform_times(n: int, rng: torch.Generator) -> Tensor:
    """Times ``(n,)`` uniform on [0.001, 1], one in each of n equal cells, shuffled."""
    cells = (torch.arange(n) + torch.rand(n, generator=rng)) / n
    return (T_MIN + (1 - T_MIN) * cells)[torch.randperm(n, generator=rng)]


def score_matching_loss(score: Score, sde: VPSDE, x: Tensor, t: Tensor, noise: Tensor) -> Tensor:
    """Denoising score matching, σ² ‖s(x_t, t) + ε / σ‖², summed over dimensions: ``(B,)``.

    Vincent (2011); eq. 7 of the paper. The zero score has a loss of D on average; the minimum is
    the variance of the noise given x_t.
    """
    sigma = sde.sigma(t)[:, None]
    residual = sigma * score(sde.perturb(x, t, noise), t) + noise  # (B, D)
    return residual.square().sum(dim=1)


# ----------------------------------------------------------------------------
# Reverse


class ReverseSDE:
    """The SDE from noise to data in torchsde's form (time s = 1 - t from 0 to 1).

    dx = [½ β x + β s(x, t)] ds + √β dw  (Song et al. 2021, eq. 6).
    """

    noise_type = "diagonal"
    sde_type = "ito"

    def __init__(self, sde: VPSDE, score: Score):
        self.sde, self.score = sde, score
        self.evaluations = 0

    def f(self, s: Tensor, x: Tensor) -> Tensor:
        """Drift ``(B, D)`` of ``x`` ``(B, D)`` at ``s`` ``()``."""
        t = (1.0 - s).expand(len(x))  # (B,)
        self.evaluations += 1
        return -self.sde.drift(x, t) + self.sde.beta(t)[:, None] * self.score(x, t)

    def g(self, s: Tensor, x: Tensor) -> Tensor:
        """√β of each dimension, ``(B, D)``."""
        return torch.sqrt(self.sde.beta(1.0 - s)) * torch.ones_like(x)


class AdditiveReverseSDE(ReverseSDE):
    """The same equation in the form of additive noise, which methods of higher order need."""

    noise_type = "additive"

    def g(self, s: Tensor, x: Tensor) -> Tensor:
        """√β I for every patient, ``(B, D, D)``."""
        unit = torch.eye(x.shape[1], dtype=x.dtype, device=x.device)
        return (torch.sqrt(self.sde.beta(1.0 - s)) * unit).expand(len(x), -1, -1)
