"""The diffusions: variance-preserving SDE with denoising score matching, and thinning of counts.

Forward, for t in [0, 1] (Song et al. 2021, eq. 11):  dx = -½ β(t) x dt + √β(t) dw,  β(t) = β₀ + t (β₁ - β₀).
Its marginal is Gaussian:  x_t = α(t) x₀ + σ(t) ε,  α(t) = exp(-½ ∫₀ᵗ β),  σ² = 1 - α².

Song, Sohl-Dickstein, Kingma, Kumar, Ermon & Poole (2021), Score-Based Generative Modeling through Stochastic
Differential Equations, ICLR. Vincent (2011), A Connection Between Score Matching and Denoising Autoencoders.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from scoehr.minibatches import Data, SparseRows

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


#: Lengths of record that are told apart, whole numbers: each up to 512, then in steps of 2 %.
LENGTHS = torch.cat([torch.arange(512), (512 * 1.02 ** torch.arange(512)).round()]).double()


class RateModel(nn.Module):
    """A network read as E[x₁ - x_a | x_a]: how many more of each code the whole record holds.

    How many more in all follows by Bayes' rule from how long records are (:meth:`remaining`); which codes, if they were
    independent, from how often each count of a code occurs (:func:`lonely_rates`). The network changes both by factors.
    So untrained it grows records of the right lengths from independent codes, and it need only learn what codes have
    to do with each other and with the length.

    Args:
        network: its ``read(y, s)`` makes tensors of B rows of ``y``, ``log1p`` of counts ``(B, n_codes)``, and times
            ``s`` ``(B,)``; from these ``length(*made)`` ``(B,)`` makes the logarithm of the factor on the length and
            ``codes(y, *made)`` ``(B, n_codes)`` those on each code.
        n_codes: size of the vocabulary.
        blur: by which the lengths of the training records are blurred, relative to them.
    """

    LARGEST, PRESENT, LEVELS = (
        40,
        15,
        33,
    )  # counts told apart in whole and in thinned records; levels tabulated
    NEVER = -30.0  # log of the factor on a code of which no patient had more
    MOST = 12.0  # log of the factor on the length: past the longest record even this brings nothing, so growth ends

    def __init__(self, network: nn.Module, n_codes: int, blur: float = 0.05):
        super().__init__()
        self.network: Any = network
        self.blur = blur
        shares = torch.zeros(self.LARGEST + 1, n_codes)
        shares[0] = 1.0
        self.register_buffer("shares", shares)  # shares[m, j]: of patients who have m of code j
        self.register_buffer(
            "alone", torch.zeros(self.LEVELS, self.PRESENT + 1, n_codes), persistent=False
        )
        self.register_buffer(
            "most", torch.zeros(n_codes), persistent=False
        )  # of a code in any patient
        self.register_buffer(
            "sizes", torch.zeros(len(LENGTHS))
        )  # of patients, shares by the length of the record
        self.register_buffer(
            "lengths", LENGTHS[:1], persistent=False
        )  # those up to the longest, and
        self.register_buffer(
            "odds", torch.zeros(1), persistent=False
        )  # the logarithms of their shares, times m!
        self.register_buffer(
            "log_factorials", torch.zeros(1), persistent=False
        )  # up to the longest
        self.shares: Tensor
        self.alone: Tensor
        self.most: Tensor
        self.sizes: Tensor
        self.lengths: Tensor
        self.odds: Tensor
        self.log_factorials: Tensor

    def learn_shares(self, x: Data) -> None:
        """Take the shares from counts ``x`` ``(n, n_codes)``; a code never seen keeps a small one."""
        counts = SparseRows.of(x).frequencies(self.LARGEST)
        self.take_counts(counts.double(), by_length(x))

    def take_counts(self, counts: Tensor, lengths: Tensor) -> None:
        """Take the shares from numbers of patients, float64.

        ``counts`` ``(LARGEST + 1, n_codes)``: who have m of a code; ``lengths`` ``(1024,)``: whose records are as long
        as :data:`LENGTHS`.
        """
        counts = torch.cat([counts[:1], counts[1:2] + 0.3, counts[2:]])
        self.shares.copy_(counts / counts.sum(0))
        self.sizes.copy_(blurred(lengths / lengths.sum(), self.blur))
        self.tabulate()

    def tabulate(self) -> None:
        """Make the tables that follow from the shares; to be called when these have changed.

        Of a code that is there k times the lonely rate is kept between 0.01 and 5 (k + 1), where that of a geometric
        count is at most k + 1: gaps between the few patients who have many of a code are chance, and would pass for
        certainty.
        """
        levels = torch.linspace(0, 1, self.LEVELS, dtype=torch.float64)
        rates, k = (
            lonely_rates(self.shares.double(), levels, self.PRESENT),
            torch.arange(self.PRESENT + 1)[:, None],
        )
        rates[:, 1:] = rates[:, 1:].clamp(min=0.01).minimum(5.0 * (k[1:] + 1))
        self.alone.copy_(rates.clamp(min=1e-6).log())
        many = torch.arange(len(self.shares))[:, None] * (self.shares > 0)
        self.most.copy_(
            many.amax(0) * torch.where(self.shares[-1] > 0, 2, 1)
        )  # more than LARGEST are not told apart
        possible = (self.sizes > 1e-9) & (self.most.sum() >= LENGTHS)
        longest = int(possible.nonzero()[-1]) if possible.any() else 0
        self.lengths = LENGTHS[: longest + 1].to(self.sizes.device)
        self.log_factorials = torch.lgamma(
            torch.arange(1, float(self.lengths[-1]) + 2).to(self.lengths)
        )
        shares = torch.where(possible, self.sizes, 0.0)[: longest + 1].double()
        self.odds = shares.log() + self.log_factorials[self.lengths.long()]

    def log_rate(self, x: Tensor, level: Tensor) -> Tensor:
        """Log rates ``(B, n_codes)`` of ``x`` ``(B, n_codes)`` thinned to ``level`` ``(B,)``, or ``(1,)``, in [0, 1).

        A code of which no training patient had more does not come again: what feeds on itself must end.
        """
        many, which = self.outlook(x, level)
        return which(slice(None)) + many[:, None]

    def outlook(self, x: Tensor, level: Tensor) -> tuple[Tensor, Callable[[Any], Tensor]]:
        """Log of how many codes are still expected ``(B,)``; and, for the rows asked for, log of each code's share.

        A sampler needs the second only where a birth happens.
        """
        y = torch.log1p(x)
        made = self.network.read(y, 1000 * (1 - level))

        def which(rows: Any) -> Tensor:
            at = level if len(level) == 1 else level[rows]
            log = self._alone(x[rows], at).add_(
                self.network.codes(y[rows], *(part[rows] for part in made))
            )
            return torch.log_softmax(log.masked_fill_(x[rows] >= self.most, self.NEVER), dim=1)

        remaining = self.remaining(x.sum(dim=1), level).clamp(min=1e-6).log().to(x)
        return remaining + self.network.length(*made).clamp(max=self.MOST), which

    def remaining(self, length: Tensor, level: Tensor) -> Tensor:
        """E[|x₁| - |x_a| | |x_a|] ``(B,)`` for lengths ``(B,)`` of records thinned to ``level`` ``(B,)`` or ``(1,)``.

        Of P(|x₁| = m) C(m, n) (1 - a)^(m - n) over m the mean of m - n: Bayes' rule, in which n! and a^n cancel.
        """
        left = (
            self.lengths - length.double().clamp(max=float(self.lengths[-1]))[:, None]
        )  # (B, lengths)
        odds = (
            self.odds
            - self.log_factorials[left.clamp(min=0).long()]
            + left * torch.log1p(-level.double())[:, None]
        )
        return (torch.softmax(odds.masked_fill(left < 0, -torch.inf), dim=1) * left).sum(dim=1)

    def _alone(self, x: Tensor, level: Tensor) -> Tensor:
        """Log lonely rates ``(B, n_codes)``, interpolated between tabulated levels; most cells are empty."""
        place = level * (self.LEVELS - 1)
        below = place.long().clamp(max=self.LEVELS - 2)  # (B,) or (1,)
        left = place - below
        empty = torch.lerp(
            self.alone[below, 0], self.alone[below + 1, 0], left[:, None]
        )  # as many rows as levels
        rows, codes = x.nonzero(as_tuple=True)
        k, at = x[rows, codes].clamp(max=self.PRESENT).long(), below.expand(len(x))[rows]
        present = torch.lerp(
            self.alone[at, k, codes], self.alone[at + 1, k, codes], left.expand(len(x))[rows]
        )
        return empty.expand_as(x).contiguous().index_put_((rows, codes), present)

    def forward(self, x: Tensor, level: Tensor) -> Tensor:
        """Rates ``(B, n_codes)``."""
        return self.log_rate(x, level).exp()


def by_length(x: Data) -> Tensor:
    """Numbers of patients ``(1024,)`` by length of record, each at the nearest of :data:`LENGTHS`."""
    between = (LENGTHS[1:] + LENGTHS[:-1]) / 2
    return torch.bincount(
        torch.bucketize(x.sum(dim=1).double(), between), minlength=len(LENGTHS)
    ).double()


def blurred(sizes: Tensor, blur: float) -> Tensor:
    """Shares by length ``(1024,)``, each spread normally over those near by: no one record's length stands out."""
    cells = torch.diff(LENGTHS, append=LENGTHS[-1:] * 1.02)
    off = (LENGTHS - LENGTHS[:, None]) / (
        max(blur, 1e-6) * (LENGTHS[:, None] + 1)
    )  # (1024 from, 1024 to)
    kernel = torch.exp(-(off**2) / 2) * cells
    return sizes @ (kernel / kernel.sum(dim=1, keepdim=True))


def lonely_rates(shares: Tensor, levels: Tensor, most: int) -> Tensor:
    """E[x₁ - k | x_a = k] / (1 - a) of a code on its own, ``(levels, most + 1, n_codes)`` for k = 0 … ``most``.

    With P(x₁ = m) = ``shares[m]`` it is Σ_m (m - k) w_m / Σ_m w_m, w_m = P(x₁ = m) C(m, k) (1 - a)^(m - k), over 1 - a:
    Bayes' rule, in which a^k cancels. At a = 1 its limit, (k + 1) P(x₁ = k + 1) / P(x₁ = k). It is 0 where no patient
    has so many.
    """
    m, k = torch.arange(len(shares)).double(), torch.arange(most + 1).double()[:, None]
    missing = (m - k).clamp(min=0)  # (most + 1, M + 1)
    choose = (torch.lgamma(m + 1) - torch.lgamma(missing + 1) - torch.lgamma(k + 1)).exp() * (
        m >= k
    )
    kept = (1 - levels).clamp(min=1e-6)[:, None, None]
    weights = choose * kept**missing  # (levels, most + 1, M + 1)
    held, removed = weights @ shares, (weights * missing / kept) @ shares
    return torch.where(held > 0, removed / held.clamp(min=1e-300), torch.zeros_like(held))


def thinning_times(n: int, rng: torch.Generator) -> Tensor:
    """Levels a ``(n,)`` in [0, 0.999], of density ½ (1 - a)^(-½), one in each of n equally likely cells, shuffled.

    Close to 1 little is removed and each removal weighs much in :func:`thinning_loss`. Under this density the removals
    of all levels add alike to the variance of the loss, which makes the whole smallest.
    """
    cells = (torch.arange(n) + torch.rand(n, generator=rng)) / n
    return (1 - cells[torch.randperm(n, generator=rng)] ** 2).clamp(max=1 - T_MIN)


def thin(x: Tensor, level: Tensor, rng: torch.Generator) -> Tensor:
    """x_a ~ Binomial(x₁, a) for counts ``x`` ``(B, n_codes)`` and levels ``(B,)``."""
    return torch.binomial(x, level[:, None].expand_as(x).contiguous(), generator=rng)


def thinning_loss(rate: RateModel, x: Tensor, thinned: Tensor, level: Tensor) -> Tensor:
    """Poisson (Bregman) loss of the removed counts at levels of :func:`thinning_times`: ``(B,)`` (Chen & Zhou 2023).

    Its minimum is the conditional mean of what was removed. Weighted by 1 / (1 - a) and integrated over a it is the
    negative log-likelihood of the births that grow the record back, up to a constant; over the density of the levels
    that leaves a weight of 2 / √(1 - a).
    """
    log_rate = rate.log_rate(thinned, level)  # (B, n_codes)
    bound = ((x - thinned) * log_rate).neg_().add_(log_rate.exp())
    return 2 * bound.sum(dim=1) / (1 - level).sqrt()


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


class AdditiveReverseSDE(ReverseSDE):
    """The same equation, told to be one of additive noise: methods of higher order ask for that form."""

    noise_type = "additive"

    def g(self, s: Tensor, x: Tensor) -> Tensor:
        """√β I for every patient, ``(B, D, D)``."""
        unit = torch.eye(x.shape[1], dtype=x.dtype, device=x.device)
        return (torch.sqrt(self.sde.beta(1.0 - s)) * unit).expand(len(x), -1, -1)
