"""Thinning diffusion of counts: process, loss, rates and samplers of the recommended generator.

Forward, every occurrence of a code survives to level a in [0, 1] with probability a, independently:
x_a | x₁ ~ Binomial(x₁, a). At a = 1 a patient vector is whole, at a = 0 it is empty. A network
learns the rates λ(x_a, a) = E[x₁ - x_a | x_a], how many more of each code the whole vector has. In
reverse, code j is added at the intensity λⱼ(x, a) / (1 - a) as a rises from 0 to 1::

    import torch
    from scoehr.models import RecordMLP
    from scoehr.thinning import RateModel, exact_jumps
    rng = torch.Generator().manual_seed(0)
    x = torch.poisson(torch.rand(1000, 20, generator=rng), generator=rng)  # patients by codes
    rate = RateModel(RecordMLP(n_codes=20, width=64), n_codes=20)
    rate.fit_marginals(x)
    adam = torch.optim.Adam(rate.parameters(), lr=1e-3)
    for batch in x.split(100):
        adam.zero_grad()
        rate.loss(batch, rng).backward()
        adam.step()
    synthetic, evaluations = exact_jumps(rate, torch.zeros(500, 20), rng=rng)

Chen & Zhou (2023), Learning to Jump: Thinning and Thickening Latent Counts for Generative Modeling,
ICML. Lewis & Shedler (1979) and Ogata (1981) for exact simulation of jumps by rejection.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from scoehr.minibatches import Data, SparseRows

__all__ = ["RateModel", "exact_jumps", "tau_leaping", "thin", "thinning_levels", "thinning_loss"]

MAX_LEVEL = 1 - 1e-3  # the largest level that training and exact sampling visit
#: Lengths (sums of counts) of patient vectors: each up to 512, then in steps of 2 %.
LENGTHS = torch.cat([torch.arange(512), (512 * 1.02 ** torch.arange(512)).round()]).double()
ROWS = 1024  # patients that one evaluation takes at most, which bounds the memory
FEW = 11  # patients with a code at whom it is as frequent as they say

# Process and loss ---------------------------------------------------------------------------------


def thin(x: Tensor, level: Tensor, rng: torch.Generator) -> Tensor:
    """x_a ~ Binomial(x₁, a) for counts ``x`` ``(B, n_codes)`` and levels ``(B,)``."""
    return torch.binomial(x, level[:, None].expand_as(x).contiguous(), generator=rng)


def thinning_levels(n: int, rng: torch.Generator) -> Tensor:
    """Levels a ``(n,)`` in [0, 0.999] of density ½ (1 - a)^(-½), stratified, in random order.

    Under this density all levels add alike to the variance of :func:`thinning_loss`.
    """
    cells = (torch.arange(n) + torch.rand(n, generator=rng)) / n
    return (1 - cells[torch.randperm(n, generator=rng)] ** 2).clamp(max=MAX_LEVEL)


def thinning_loss(rate: RateModel, x: Tensor, thinned: Tensor, level: Tensor) -> Tensor:
    """Poisson (Bregman) loss of the removed counts: ``(B,)`` (Chen & Zhou 2023).

    Least at the conditional mean of what was removed. With weight 1 / (1 - a), here 2 / √(1 - a),
    its mean over :func:`thinning_levels` bounds the negative log-likelihood, up to a constant.
    """
    return thinning_bound(rate.log_rate(thinned, level), x, thinned, level)


def thinning_bound(log_rate: Tensor, x: Tensor, thinned: Tensor, level: Tensor) -> Tensor:
    """The same of log rates ``(B, n_codes)`` that are at hand."""
    bound = ((x - thinned) * log_rate).neg_().add_(log_rate.exp())
    return 2 * bound.sum(dim=1) / (1 - level).sqrt()


# Rates --------------------------------------------------------------------------------------------


class RateModel(nn.Module):
    """The rates λ(x_a, a) = E[x₁ - x_a | x_a], as a total over codes times a probability a code.

    The total follows by Bayes' rule from the distribution of lengths (:meth:`remaining`), and the
    probabilities, were codes independent, from that of each code's counts (:func:`marginal_rates`).
    The network multiplies both by factors, which are 1 before training.

    Args:
        network: ``read(y, s)`` encodes log1p of counts ``(B, n_codes)`` at times ``(B,)``; then the
            log factors are ``length(*encoding)`` ``(B,)`` and ``codes(y, *encoding)``.
        blur: standard deviation of the noise on the lengths, relative to them.
        supported: whether the noise is less where patients are many (:func:`blur_lengths`).
        pooling: patients' worth of the counts of all codes that is added to those of each.
        support: share of the patients with a code at whom half of what the network learns of it
            counts; above 0, codes of fewer than :data:`FEW` are as frequent as one another.
    """

    MAX_COUNT, MAX_THINNED = 40, 15  # counts distinguished in whole and in thinned vectors
    LEVELS = 33  # at which marginal rates are tabulated
    IMPOSSIBLE = -30.0  # log factor on a code of which no training patient had more
    MAX_FACTOR = 12.0  # of the log factor on the total, so that growth ends whatever the network

    count_pmf: Tensor  # (MAX_COUNT + 1, n_codes) P(a patient has m of code j)
    length_pmf: Tensor  # (1024,) P(length)
    marginal_log_rates: Tensor  # (LEVELS, MAX_THINNED + 1, n_codes)
    max_count: Tensor  # (n_codes,) of a code in any training patient
    lengths: Tensor  # (n_lengths,) up to the longest possible
    log_length_weights: Tensor  # (n_lengths,) log P(length m) m!
    log_factorials: Tensor  # of 0, 1, … the longest

    def __init__(
        self,
        network: nn.Module,
        n_codes: int,
        blur: float = 0.05,
        supported: bool = False,
        pooling: float = 0.0,
        support: float = 0.0,
    ):
        super().__init__()
        self.network: Any = network
        self.blur, self.supported, self.pooling, self.support = blur, supported, pooling, support
        if support:
            network.trust = torch.ones(n_codes)
        count_pmf = torch.zeros(self.MAX_COUNT + 1, n_codes)
        count_pmf[0] = 1.0
        self.register_buffer("count_pmf", count_pmf)
        self.register_buffer("length_pmf", torch.zeros(len(LENGTHS)))
        tables = (self.LEVELS, self.MAX_THINNED + 1, n_codes)
        self.register_buffer("marginal_log_rates", torch.zeros(tables), persistent=False)
        self.register_buffer("max_count", torch.zeros(n_codes), persistent=False)
        for name in ("lengths", "log_length_weights", "log_factorials"):
            self.register_buffer(name, torch.zeros(1), persistent=False)

    def fit_marginals(self, x: Data) -> None:
        """Set the distributions of counts and lengths from patients ``x`` ``(n, n_codes)``."""
        counts = SparseRows.of(x).frequencies(self.MAX_COUNT)
        self.set_marginals(counts.double(), count_lengths(x))

    def set_marginals(self, counts: Tensor, lengths: Tensor) -> None:
        """Set them from patients by count ``(MAX_COUNT + 1, n_codes)`` and length ``(1024,)``."""
        if self.support:
            counts = level_few(counts)
            share = counts[1:].sum(0) / counts.sum(0)
            self.network.trust.copy_(share / (share + self.support))
        counts = torch.cat([counts[:1], counts[1:2] + 0.3, counts[2:]])
        counts = pool_counts(counts, self.pooling) if self.pooling else counts
        self.count_pmf.copy_(counts / counts.sum(0))
        support = lengths if self.supported else torch.ones(())
        self.length_pmf.copy_(blur_lengths(lengths / lengths.sum(), self.blur, support))
        self.build_tables()

    def build_tables(self) -> None:
        """Make the tables that follow from the distributions.

        The rate of a code present k times is kept below 5 (k + 1), and above 0.01 where counts are
        not pooled: gaps between the counts of few patients would pass for certainty.
        """
        levels = torch.linspace(0, 1, self.LEVELS, dtype=torch.float64)
        rates = marginal_rates(self.count_pmf.double(), levels, self.MAX_THINNED)
        k = torch.arange(1, self.MAX_THINNED + 1)[:, None]
        least = 0.0 if self.pooling else 0.01
        rates[:, 1:] = rates[:, 1:].clamp(min=least).minimum(5.0 * (k + 1))
        self.marginal_log_rates.copy_(rates.clamp(min=1e-6).log())
        seen = torch.arange(len(self.count_pmf))[:, None] * (self.count_pmf > 0)
        unbounded = self.count_pmf[-1] > 0  # counts from MAX_COUNT on are not distinguished
        self.max_count.copy_(seen.amax(0) * torch.where(unbounded, 2, 1))
        possible = (self.length_pmf > 1e-9) & (self.max_count.sum() >= LENGTHS)
        longest = int(possible.nonzero()[-1]) if possible.any() else 0
        self.lengths = LENGTHS[: longest + 1].to(self.length_pmf.device)
        self.log_factorials = torch.arange(1, float(self.lengths[-1]) + 2).to(self.lengths).lgamma()
        pmf = torch.where(possible, self.length_pmf, 0.0)[: longest + 1].double()
        self.log_length_weights = pmf.log() + self.log_factorials[self.lengths.long()]

    def loss(self, x: Tensor, rng: torch.Generator) -> Tensor:
        """Mean loss of patients ``x`` ``(B, n_codes)`` thinned to random levels: one value."""
        return self.losses(x, thinning_levels(len(x), rng), rng).mean()

    def losses(self, x: Tensor, level: Tensor, rng: torch.Generator) -> Tensor:
        """Loss of each, thinned to its level, both ``(B,)``."""
        return thinning_loss(self, x, thin(x.cpu(), level, rng).to(x), level.to(x))

    def forward(self, x: Tensor, level: Tensor) -> Tensor:
        """Rates of ``x``, both ``(B, n_codes)``, at levels in [0, 1), ``(B,)`` or ``(1,)``."""
        return self.log_rate(x, level).exp()

    def log_rate(self, x: Tensor, level: Tensor) -> Tensor:
        """Log rates ``(B, n_codes)``."""
        encoding = self.encode(x, level)
        log_total = self.log_total(x, level, encoding)
        return self.code_log_probs(x, level, encoding) + log_total[:, None]

    def encode(self, x: Tensor, level: Tensor) -> tuple[Tensor, ...]:
        """What the network reads in ``x`` ``(B, n_codes)``: tensors with a row a patient."""
        return self.network.read(torch.log1p(x), 1000 * (1 - level))

    def log_total(self, x: Tensor, level: Tensor, encoding: tuple[Tensor, ...]) -> Tensor:
        """Log of how many occurrences are still expected, ``(B,)``."""
        remaining = self.remaining(x.sum(dim=1), level).clamp(min=1e-6).log().to(x)
        return remaining + self.network.length(*encoding).clamp(max=self.MAX_FACTOR)

    def code_log_probs(self, x: Tensor, level: Tensor, encoding: tuple[Tensor, ...]) -> Tensor:
        """Log probabilities ``(B, n_codes)`` that the next occurrence is of each code.

        A code of which no training patient had more is as good as impossible, so growth ends.
        """
        log = self._marginal(x, level).add_(self.network.codes(torch.log1p(x), *encoding))
        return torch.log_softmax(log.masked_fill_(x >= self.max_count, self.IMPOSSIBLE), dim=1)

    def remaining(self, length: Tensor, level: Tensor) -> Tensor:
        """``E[|x₁| - |x_a| | |x_a|]`` ``(B,)`` for ``length`` ``|x_a|`` ``(B,)``.

        By Bayes' rule the mean of m - n under weights ``P(|x₁| = m) C(m, n) (1 - a)^(m - n)``.
        """
        length = length.double().clamp(max=float(self.lengths[-1]))
        missing = self.lengths - length[:, None]  # (B, n_lengths)
        log_weights = self.log_length_weights - self.log_factorials[missing.clamp(min=0).long()]
        log_weights = log_weights + missing * torch.log1p(-level.double())[:, None]
        posterior = torch.softmax(log_weights.masked_fill(missing < 0, -torch.inf), dim=1)
        return (posterior * missing).sum(dim=1)

    def _marginal(self, x: Tensor, level: Tensor) -> Tensor:
        """Marginal log rates ``(B, n_codes)``, interpolated; most cells are empty."""
        place = level * (self.LEVELS - 1)
        below = place.long().clamp(max=self.LEVELS - 2)  # (B,) or (1,)
        part = place - below
        table = self.marginal_log_rates
        absent = torch.lerp(table[below, 0], table[below + 1, 0], part[:, None])
        rows, codes = x.nonzero(as_tuple=True)
        k = x[rows, codes].clamp(max=self.MAX_THINNED).long()
        at, part = below.expand(len(x))[rows], part.expand(len(x))[rows]
        present = torch.lerp(table[at, k, codes], table[at + 1, k, codes], part)
        return absent.expand_as(x).contiguous().index_put_((rows, codes), present)


def marginal_rates(count_pmf: Tensor, levels: Tensor, most: int) -> Tensor:
    """E[x₁ - k | x_a = k] / (1 - a) of each code by itself, for k = 0 … ``most``.

    From P(x₁ = m), ``count_pmf`` ``(M + 1, n_codes)``, at ``levels`` a ``(n_levels,)``: by Bayes'
    rule Σ_m (m - k) w_m / Σ_m w_m / (1 - a) with w_m = P(x₁ = m) C(m, k) (1 - a)^(m - k); at a = 1
    its limit, (k + 1) P(x₁ = k + 1) / P(x₁ = k). ``(n_levels, most + 1, n_codes)``; 0 where no
    patient has so many.
    """
    m, k = torch.arange(len(count_pmf)).double(), torch.arange(most + 1).double()[:, None]
    missing = (m - k).clamp(min=0)  # (most + 1, M + 1)
    log_choose = torch.lgamma(m + 1) - torch.lgamma(missing + 1) - torch.lgamma(k + 1)
    choose = log_choose.exp() * (m >= k)
    removal = (1 - levels).clamp(min=1e-6)[:, None, None]  # probability of it
    weights = choose * removal**missing  # (n_levels, most + 1, M + 1)
    total, removed = weights @ count_pmf, (weights * missing / removal) @ count_pmf
    return torch.where(total > 0, removed / total.clamp(min=1e-300), torch.zeros_like(total))


def pool_counts(counts: Tensor, pooling: float) -> Tensor:
    """Patients by count ``(M + 1, n_codes)``, of those with a code drawn towards all codes' counts.

    As many have a code as before; how often, they have it as if ``pooling`` patients more had, with
    the counts of all codes together. So no count of one patient alone stands out, and none is
    impossible that another code has.
    """
    present = counts[1:]
    common = present.sum(1, keepdim=True) / present.sum()
    held = present.sum(0)
    return torch.cat([counts[:1], (present + pooling * common) * (held / (held + pooling))])


def level_few(counts: Tensor) -> Tensor:
    """Patients by count ``(M + 1, n_codes)``, the mean in place of codes of fewer than :data:`FEW`.

    So it does not show that one patient alone has a code, or that nobody has it.
    """
    few = counts[1:].sum(0) < FEW
    return torch.where(few, counts[:, few].mean(1, keepdim=True), counts)


def count_lengths(x: Data) -> Tensor:
    """Numbers of patients ``(1024,)`` by the nearest of :data:`LENGTHS`, float64."""
    between = (LENGTHS[1:] + LENGTHS[:-1]) / 2
    nearest = torch.bucketize(x.sum(dim=1).double(), between)
    return torch.bincount(nearest, minlength=len(LENGTHS)).double()


def blur_lengths(pmf: Tensor, blur: float, support: Tensor) -> Tensor:
    """A distribution of lengths ``(1024,)`` under noise, so that no one patient stands out.

    The noise falls with the root of the ``support`` ``(1024,)`` or ``()``, how many patients have a
    length (Abramson 1982, On bandwidth variation in kernel estimates, Annals of Statistics).
    """
    widths = torch.diff(LENGTHS, append=LENGTHS[-1:] * 1.02)
    spread = max(blur, 1e-6) * (LENGTHS[:, None] + 1) / support.clamp(min=1).sqrt()[..., None]
    off = (LENGTHS - LENGTHS[:, None]) / spread  # (1024 from, 1024 to)
    kernel = torch.exp(-(off**2) / 2) * widths
    return pmf @ (kernel / kernel.sum(dim=1, keepdim=True))


# Samplers -----------------------------------------------------------------------------------------


@torch.no_grad()
def exact_jumps(
    rate: RateModel, start: Tensor, *, device: str = "cpu", rng: torch.Generator
) -> tuple[Tensor, float]:
    """Grow vectors from ``start`` ``(B, n_codes)`` occurrence by occurrence, without time error.

    While a vector stays as it is, its total rate Λ can only fall as a rises. So Λ at the last
    evaluation bounds the intensity Λ / (1 - a) until the next jump, and jumps are drawn by
    rejection, each vector at a level of its own. Proposals and jumps cost an evaluation each.

    Returns vectors and evaluations a vector; FloatingPointError if a rate is not finite.
    """
    x, growing, evaluations = start.clone(), torch.arange(len(start)), 0
    level = torch.zeros(len(x), dtype=torch.float64)
    bound = torch.full_like(level, torch.inf)  # no proposal yet
    while len(growing):
        for rows in growing.split(ROWS):
            there, at = x[rows].to(device), level[rows].float().to(device)
            encoding, evaluations = rate.encode(there, at), evaluations + len(rows)
            total = rate.log_total(there, at, encoding).cpu().double().exp()
            if not bool(torch.isfinite(total).all()):
                raise FloatingPointError(
                    "sampling diverged: rates are not finite; train at a lower learning rate"
                )
            uniform = torch.rand(len(rows), generator=rng)
            wait = torch.empty_like(total).exponential_(generator=rng)
            jumps = bound[rows].isfinite() & (uniform < total / bound[rows])
            at_jumps = [tensor[jumps.to(device)] for tensor in (there, at, *encoding)]
            code_log_probs = rate.code_log_probs(at_jumps[0], at_jumps[1], tuple(at_jumps[2:]))
            running = code_log_probs.cpu().double().exp().cumsum(dim=1)
            x[rows[jumps], draw_codes(running, rng)] += 1
            bound[rows] = torch.where(jumps, torch.inf, total)
            proposed = 1 - (1 - level[rows]) * torch.exp(-wait / total)
            level[rows] = torch.where(jumps, level[rows], proposed)
        growing = growing[level[growing] < MAX_LEVEL]
    return x, evaluations / len(x)


@torch.no_grad()
def tau_leaping(
    rate: RateModel,
    start: Tensor,
    steps: int,
    *,
    binary: bool = False,
    device: str = "cpu",
    rng: torch.Generator,
) -> Tensor:
    """Grow vectors from ``start`` ``(B, n_codes)`` in ``steps`` leaps of the level, all together.

    From a to b each code is added Poisson(λ (b - a) / (1 - a)) times (Chen & Zhou 2023, Algorithm
    2); with ``binary`` at most once, with that probability. The levels are (i / steps)^1.5, since
    the first occurrences say most about a patient. Order 1, one evaluation a step.
    """
    x = start
    for a, b in pairwise(torch.linspace(0, 1, steps + 1) ** 1.5):
        expected = rate(x.to(device), a[None].to(device)).cpu() * (b - a) / (1 - a)
        if binary:
            x = x + torch.bernoulli((expected * (1 - x)).clamp(0, 1), generator=rng)
        else:
            x = x + _poisson(expected, rng)
    return x


def _poisson(mean: Tensor, rng: torch.Generator) -> Tensor:
    """Poisson counts of ``mean`` ``(B, n_codes)``: first how many a row, then of which codes."""
    running = mean.double().cumsum(dim=1)
    totals = torch.poisson(running[:, -1], generator=rng).long()  # (B,)
    rows = torch.repeat_interleave(torch.arange(len(mean)), totals)
    cells = rows, draw_codes(running[rows], rng)
    return torch.zeros_like(mean).index_put_(cells, torch.ones(len(rows)), accumulate=True)


def draw_codes(running: Tensor, rng: torch.Generator) -> Tensor:
    """A code ``(B,)`` a row, in proportion to the terms of the running sums ``(B, n_codes)``."""
    place = torch.rand(len(running), 1, generator=rng, dtype=running.dtype) * running[:, -1:]
    return torch.searchsorted(running, place, right=True)[:, 0].clamp(max=running.shape[1] - 1)
