"""Samplers: from noise to data, one function each, one signature.

    sampler(score, sde, x, times, *, rng) -> x

``x`` is ``(B, D)`` noise at ``times[0]``; ``times`` ``(n + 1,)`` falls from 1 to the final time and is the schedule.
Only the final state is kept. The three ordinary-differential-equation samplers work on x̄ = x / α(t) as a function of
the noise level ρ = σ(t) / α(t), in which the probability flow (Song et al. 2021, eq. 13) reads dx̄/dρ = ε(x, t): the
linear drift is solved exactly and the whole error is in ε. Where the last time is 0 the last step ends on the predicted
data.

DDIM: Song, Meng & Ermon (2021). Heun: Karras, Aittala, Aila & Laine (2022), Algorithm 1. DPM-Solver++(2M): Lu, Zhou,
Bao, Chen, Li & Zhu (2022), Algorithm 2. Euler-Maruyama: through torchsde (Li, Wong, Chen & Duvenaud 2020).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from itertools import pairwise

import torch
import torchsde
from torch import Tensor

from scoehr.files import InputError
from scoehr.sdes import T_MIN, VPSDE, AdditiveReverseSDE, RateModel, ReverseSDE, Score

Sampler = Callable[..., Tensor]

# ----------------------------------------------------------------------------
# Schedules


def uniform_schedule(sde: VPSDE, steps: int, last: float = 0.0) -> Tensor:
    """``steps + 1`` times, evenly spaced from 1 to ``last``: the paper's, for Euler-Maruyama."""
    return torch.linspace(1.0, last, steps + 1)


def power_schedule(sde: VPSDE, steps: int, last: float = 0.0, power: float = 2.0) -> Tensor:
    """``steps + 1`` times that fall from 1 to ``last``, evenly spaced in t^(1/power) and so densest near the data.

    Below T_MIN only ``last`` itself is visited. On Gaussian data, where the exact flow is known, these times leave a
    smaller error in the variance than noise levels spaced as by Karras et al. (2022, eq. 5): the noise level of the
    VP-SDE reaches 150, and steps up there are wasted.
    """
    below = last < T_MIN
    grid = torch.linspace(
        1.0, max(last, T_MIN) ** (1 / power), steps if below else steps + 1, dtype=torch.float64
    )
    times = grid**power
    return torch.cat([times, times.new_tensor([last])]).float() if below else times.float()


# ----------------------------------------------------------------------------
# Samplers


def euler_maruyama(
    score: Score, sde: VPSDE, x: Tensor, times: Tensor, *, rng: torch.Generator
) -> Tensor:
    """The reverse SDE by torchsde's Euler, with as many equal steps as ``times`` has: the paper's sampler.

    Strong order 1/2. As reported, adding up a step of 0.001 in float32 leaves a sliver of time, so a thousand steps
    cost a little over a thousand evaluations, the last of them below the least time of training.
    """
    return _torchsde(ReverseSDE(sde, score), x, len(times) - 1, "euler", "none", rng)


def sra1(score: Score, sde: VPSDE, x: Tensor, times: Tensor, *, rng: torch.Generator) -> Tensor:
    """The same reverse SDE by a stochastic Runge-Kutta method of strong order 3/2, through torchsde: a check on Euler.

    Rößler's SRA1 (2010), SIAM Journal on Numerical Analysis 48, for additive noise: two evaluations a step.
    """
    return _torchsde(AdditiveReverseSDE(sde, score), x, len(times) - 1, "srk", "space-time", rng)


def _torchsde(
    sde: ReverseSDE, x: Tensor, steps: int, method: str, levy: str, rng: torch.Generator
) -> Tensor:
    """The end of a path of ``sde`` from ``x`` in equal steps; ``levy``: what the method needs of the Brownian path."""
    brownian = torchsde.BrownianInterval(
        0.0, 1.0, size=tuple(x.shape), dtype=x.dtype, device=x.device,
        entropy=int(torch.randint(2**31 - 1, (), generator=rng)), levy_area_approximation=levy,
    )  # fmt: skip
    ends = torch.tensor([0.0, 1.0], dtype=x.dtype, device=x.device)
    return torchsde.sdeint(sde, x, ends, bm=brownian, method=method, dt=1.0 / steps)[-1]


def ddim(
    score: Score, sde: VPSDE, x: Tensor, times: Tensor, *, rng: torch.Generator | None = None
) -> Tensor:
    """Probability flow by Euler in the noise level: deterministic, order 1, one evaluation a step."""
    x = x / sde.alpha(times[0])
    levels = sde.noise_level(times)
    for i in range(len(times) - 1):
        x = x + (levels[i + 1] - levels[i]) * _noise(score, sde, x, times[i])
    return x * sde.alpha(times[-1])


def heun(
    score: Score, sde: VPSDE, x: Tensor, times: Tensor, *, rng: torch.Generator | None = None
) -> Tensor:
    """Probability flow by Heun: deterministic, order 2, two evaluations a step (one where the step ends at 0)."""
    x = x / sde.alpha(times[0])
    levels = sde.noise_level(times)
    for i in range(len(times) - 1):
        step = levels[i + 1] - levels[i]
        slope = _noise(score, sde, x, times[i])
        guess = x + step * slope
        if times[i + 1] > 0:
            slope = (slope + _noise(score, sde, guess, times[i + 1])) / 2
        x = x + step * slope
    return x * sde.alpha(times[-1])


def dpm_solver_pp_2m(
    score: Score, sde: VPSDE, x: Tensor, times: Tensor, *, rng: torch.Generator | None = None
) -> Tensor:
    """DPM-Solver++(2M): multistep in the log noise level on predicted data; order 2, one evaluation a step."""
    x = x / sde.alpha(times[0])
    levels = sde.noise_level(times)
    log_levels = torch.log(levels)  # minus the paper's λ, half the log signal-to-noise ratio
    previous = None
    for i in range(len(times) - 1):
        data = x - levels[i] * _noise(score, sde, x, times[i])  # predicted x₀
        blend = data
        if previous is not None and times[i + 1] > 0:
            ratio = (log_levels[i] - log_levels[i - 1]) / (log_levels[i + 1] - log_levels[i])
            blend = data + (data - previous) / (2 * ratio)
        x = levels[i + 1] / levels[i] * (x - blend) + blend
        previous = data
    return x * sde.alpha(times[-1])


def _noise(score: Score, sde: VPSDE, scaled: Tensor, t: Tensor) -> Tensor:
    """ε = -σ · score at x = α · ``scaled``."""
    x = sde.alpha(t) * scaled
    return -sde.sigma(t) * score(x, t.expand(len(x)))


SAMPLERS: dict[str, tuple[Sampler, Callable[..., Tensor]]] = {
    "euler_maruyama": (euler_maruyama, uniform_schedule),
    "sra1": (sra1, uniform_schedule),
    "ddim": (ddim, power_schedule),
    "heun": (heun, power_schedule),
    "dpm_solver_pp_2m": (dpm_solver_pp_2m, partial(power_schedule, power=3.0)),
}


def evaluations(sampler: str, steps: int) -> int:
    """Network evaluations that ``steps`` steps cost (the SDE's samplers may need a step more, see there)."""
    return {"heun": 2 * steps - 1, "sra1": 2 * steps}.get(sampler, steps)


TOGETHER = 1024  # records looked at together, however many grow: it bounds the memory


def events(
    rate: RateModel,
    start: Tensor,
    *,
    device: str = "cpu",
    rng: torch.Generator,
) -> tuple[Tensor, float]:
    """Grow records from ``start`` ``(B, n_codes)`` birth by birth, without error of time: the learned process itself.

    Of a record that stays as it is, the number of codes still expected only falls as the level a rises: the likelier
    the larger ends were, the sooner they would have shown. So it bounds all that comes before the next birth, and
    births at the intensity rate / (1 - a) are drawn by rejection (Lewis & Shedler 1979; Ogata 1981), each record at a
    level of its own. Every proposal costs a record an evaluation, and so does every birth.

    Returns the records and the evaluations a record took on average.
    """
    x, left, spent = start.clone(), torch.arange(len(start)), 0
    level, bound = torch.zeros(2, len(x), dtype=torch.float64)
    bound[:] = math.inf  # not known: the record has just changed, and nothing was proposed
    while len(left):
        for rows in left.split(TOGETHER):
            many, which = rate.outlook(x[rows].to(device), level[rows].float().to(device))
            total, spent = many.cpu().double().exp(), spent + len(rows)  # codes still expected
            if not bool(torch.isfinite(total).all()):
                raise FloatingPointError(
                    "sampling diverged: rates are not finite; train anew at a lower rate"
                )
            uniform, wait = (
                torch.rand(len(rows), generator=rng),
                torch.empty_like(total).exponential_(generator=rng),
            )
            born = bound[rows].isfinite() & (uniform < total / bound[rows])
            running = which(born.to(device)).cpu().double().exp().cumsum(dim=1)
            x[rows[born], _drawn(running, rng)] += 1
            bound[rows] = torch.where(born, math.inf, total)
            level[rows] = torch.where(
                born, level[rows], 1 - (1 - level[rows]) * torch.exp(-wait / total)
            )
        left = left[level[left] < 1 - T_MIN]
    return x, spent / len(x)


def births(
    rate: RateModel,
    start: Tensor,
    steps: int,
    *,
    binary: bool = False,
    device: str = "cpu",
    rng: torch.Generator,
) -> Tensor:
    """The same by ``steps`` leaps in the level a, from 0 to 1, all records together: as many evaluations as leaps.

    Between a and b each code gets Poisson(rate · (b - a) / (1 - a)) births (Chen & Zhou 2023, Algorithm 2); in a binary
    record at most one, with that probability. Leaps are short at first, when every birth says much about the patient:
    the levels are (i / steps)^1.5. Order 1 in the length of the leap, one evaluation a step.
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
    """Poisson counts of ``mean`` ``(B, n_codes)``, small in sum: first how many a record, then which."""
    running = mean.double().cumsum(dim=1)
    many = torch.poisson(running[:, -1], generator=rng).long()  # (B,)
    rows = torch.repeat_interleave(torch.arange(len(mean)), many)
    counts = torch.zeros_like(mean)
    return counts.index_put_(
        (rows, _drawn(running[rows], rng)), torch.ones(len(rows)), accumulate=True
    )


def _drawn(running: Tensor, rng: torch.Generator) -> Tensor:
    """A code ``(B,)`` of each row, in proportion to what the running sums ``(B, n_codes)`` are of."""
    place = torch.rand(len(running), 1, generator=rng, dtype=running.dtype) * running[:, -1:]
    return torch.searchsorted(running, place, right=True)[:, 0].clamp(max=running.shape[1] - 1)


def solve(
    sampler: str, score: Score, sde: VPSDE, x: Tensor, steps: int, *, rng: torch.Generator
) -> Tensor:
    """Run the named sampler on its own schedule with ``steps`` steps; :class:`InputError` for a name unknown."""
    if sampler not in SAMPLERS:
        raise InputError(f"sampler {sampler!r} is unknown; choose one of {', '.join(SAMPLERS)}")
    if steps < 2:
        raise InputError(f"a sampler needs at least 2 steps, not {steps}")
    method, schedule = SAMPLERS[sampler]
    with torch.no_grad():
        return method(score, sde, x, schedule(sde, steps).to(x), rng=rng)
