"""The diffusions: variance-preserving SDE with denoising score matching, and thinning of counts.

Forward, for t in [0, 1] (Song et al. 2021, eq. 11):  dx = -½ β(t) x dt + √β(t) dw,  β(t) = β₀ + t (β₁ - β₀).
Its marginal is Gaussian:  x_t = α(t) x₀ + σ(t) ε,  α(t) = exp(-½ ∫₀ᵗ β),  σ² = 1 - α².

Song, Sohl-Dickstein, Kingma, Kumar, Ermon & Poole (2021), Score-Based Generative Modeling through Stochastic
Differential Equations, ICLR. Vincent (2011), A Connection Between Score Matching and Denoising Autoencoders.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

Score = Callable[[Tensor, Tensor], Tensor]  # (B, D), (B,) -> (B, D)
Prediction = Literal["score", "noise"]

T_MIN = 1e-3  # the least time that training visits


@dataclass(frozen=True)
class VPSDE:
    """Variance-preserving SDE with linear β; the defaults are the paper's."""

    beta_min: float = 0.1
    beta_max: float = 20.0

    def beta(self, t: Tensor) -> Tensor:
        return self.beta_min + t * (self.beta_max - self.beta_min)

    def integral(self, t: Tensor) -> Tensor:
        """∫₀ᵗ β(s) ds."""
        return self.beta_min * t + 0.5 * (self.beta_max - self.beta_min) * t**2

    def alpha(self, t: Tensor) -> Tensor:
        """What is left of the data: 1 at t = 0, about 0.007 at t = 1."""
        return torch.exp(-0.5 * self.integral(t))

    def sigma(self, t: Tensor) -> Tensor:
        """Standard deviation of the noise: 0 at t = 0, about 1 at t = 1."""
        return torch.sqrt(-torch.expm1(-self.integral(t)))

    def noise_level(self, t: Tensor) -> Tensor:
        """σ / α, the noise of x / α; infinite signal at 0."""
        return torch.sqrt(torch.expm1(self.integral(t)))

    def drift(self, x: Tensor, t: Tensor) -> Tensor:
        """-½ β(t) x for ``x`` ``(B, D)``, ``t`` ``(B,)``."""
        return -0.5 * self.beta(t)[:, None] * x

    def perturb(self, x: Tensor, t: Tensor, noise: Tensor) -> Tensor:
        """x_t from x₀ ``(B, D)``, ``t`` ``(B,)`` and standard normal ``noise`` ``(B, D)``."""
        return self.alpha(t)[:, None] * x + self.sigma(t)[:, None] * noise


class ScoreModel(nn.Module):
    """A network read as the score ∇ log p_t(x).

    Args:
        network: maps ``(B, D)``, ``(B,)`` to ``(B, D)``.
        sde: the forward process.
        prediction: what the network puts out: the score itself (the paper), or the noise ε, of which the score is
            -ε / σ(t) (Ho et al. 2020), less σ(t) x, the noise to expect if the data were standard normal. So the output
            is of order one at every time and an untrained network is right about mean and variance.
        time_scale: factor on t before the embedding; 1 in the paper, 1000 in the fast path, since the embedding's
            frequencies were made for a thousand whole steps.
    """

    def __init__(self, network: nn.Module, sde: VPSDE, prediction: Prediction = "score", time_scale: float = 1.0):
        super().__init__()
        self.network, self.sde = network, sde
        self.prediction, self.time_scale = prediction, time_scale

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        output = self.network(x, self.time_scale * t)
        if self.prediction == "score":
            return output
        return -x - output / self.sde.sigma(t)[:, None]


def stratified_times(n: int, rng: torch.Generator) -> Tensor:
    """The paper's times ``(n,)`` in [0.001, 1]: one jittered around each of n grid points, shuffled.

    The jitter is as wide as two cells, so the low end is visited less often than by uniform times: P(t < 0.01) is about
    0.005 for batches of 64 to 256, in place of 0.01.
    """
    grid = torch.linspace(1 / n + T_MIN, 1 - 1 / n, n)
    times = grid + (1 - 2 * torch.rand(n, generator=rng)) / n
    return times[torch.randperm(n, generator=rng)].clamp(T_MIN, 1.0)


def uniform_times(n: int, rng: torch.Generator) -> Tensor:
    """Times ``(n,)`` uniform on [0.001, 1], one in each of n equal cells (low variance), shuffled."""
    cells = (torch.arange(n) + torch.rand(n, generator=rng)) / n
    return (T_MIN + (1 - T_MIN) * cells)[torch.randperm(n, generator=rng)]


def score_matching_loss(score: Score, sde: VPSDE, x: Tensor, t: Tensor, noise: Tensor) -> Tensor:
    """Denoising score matching, σ² ‖s(x_t, t) + ε / σ‖², summed over dimensions: ``(B,)`` (Vincent 2011; paper eq. 7).

    A score of zero scores D on average; the unreachable best is the noise that x_t does not tell.
    """
    sigma = sde.sigma(t)[:, None]
    residual = sigma * score(sde.perturb(x, t, noise), t) + noise  # (B, D)
    return residual.square().sum(dim=1)


# ----------------------------------------------------------------------------
# Thinning


class RateModel(nn.Module):
    """A network read as E[x₁ - x_a | x_a]: how many more of each code the whole record holds.

    The rate is exp(network) times what an average patient lacks at level a, so an untrained network grows records with
    the right marginals and no dependence.
    """

    def __init__(self, network: nn.Module, n_codes: int):
        super().__init__()
        self.network = network
        self.register_buffer("log_mean", torch.zeros(n_codes))
        self.log_mean: Tensor

    def log_rate(self, x: Tensor, level: Tensor) -> Tensor:
        """``x`` ``(B, n_codes)`` thinned to ``level`` ``(B,)`` in [0, 1): log rates ``(B, n_codes)``."""
        average = self.log_mean + torch.log1p(-level)[:, None]
        return (self.network(torch.log1p(x), 1000 * (1 - level)) + average).clamp(max=8.0)

    def forward(self, x: Tensor, level: Tensor) -> Tensor:
        return self.log_rate(x, level).exp()


def thinning_times(n: int, rng: torch.Generator) -> Tensor:
    """Levels ``(n,)`` in [0, 1), one uniform in each of n equal cells, shuffled."""
    cells = (torch.arange(n) + torch.rand(n, generator=rng)) / n
    return cells[torch.randperm(n, generator=rng)].clamp(max=1 - T_MIN)


def thin(x: Tensor, level: Tensor, rng: torch.Generator) -> Tensor:
    """x_a ~ Binomial(x₁, a) for counts ``x`` ``(B, n_codes)`` and levels ``(B,)``."""
    return torch.binomial(x, level[:, None].expand_as(x).contiguous(), generator=rng)


def thinning_loss(rate: RateModel, x: Tensor, thinned: Tensor, level: Tensor) -> Tensor:
    """Poisson (Bregman) loss of the removed counts, per unit of level: ``(B,)`` (Chen & Zhou 2023).

    Its minimum is the conditional mean of what was removed. The weight 1 / (1 - a) makes it the negative log-likelihood
    of the births that grow the record back, up to a constant.
    """
    log_rate = rate.log_rate(thinned, level)  # (B, n_codes)
    return (log_rate.exp() - (x - thinned) * log_rate).sum(dim=1) / (1 - level)


# ----------------------------------------------------------------------------
# Reverse SDE


class ReverseSDE:
    """The SDE that turns noise into data, in the form torchsde asks for (time s = 1 - t runs from 0 to 1).

    dx = [½ β x + β s(x, t)] ds + √β dw  (Song et al. 2021, eq. 6).
    """

    noise_type = "diagonal"
    sde_type = "ito"

    def __init__(self, sde: VPSDE, score: Score):
        self.sde, self.score = sde, score
        self.evaluations = 0

    def f(self, s: Tensor, x: Tensor) -> Tensor:
        t = (1.0 - s).expand(len(x))  # (B,)
        self.evaluations += 1
        return -self.sde.drift(x, t) + self.sde.beta(t)[:, None] * self.score(x, t)

    def g(self, s: Tensor, x: Tensor) -> Tensor:
        return torch.sqrt(self.sde.beta(1.0 - s)) * torch.ones_like(x)
