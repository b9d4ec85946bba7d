"""Samplers of the VP-SDE: from noise to data, one function each, one signature::

    sampler(score, sde, x, times, *, rng) -> x

``x`` is ``(B, D)`` noise at ``times[0]``; ``times`` ``(n + 1,)`` falls from 1 to the final time and
is the schedule. Only the final state is kept. The three ODE samplers work on x̄ = x / α(t) as a
function of the noise level ρ = σ(t) / α(t), in which the probability flow (Song et al. 2021, eq.
13) reads dx̄/dρ = ε(x, t): the linear drift is solved exactly and the whole error is in ε. Where
the last time is 0 the last step ends on the predicted data.

DDIM: Song, Meng & Ermon (2021). Heun: Karras, Aittala, Aila & Laine (2022), Algorithm 1.
DPM-Solver++(2M): Lu, Zhou, Bao, Chen, Li & Zhu (2022), Algorithm 2. Euler-Maruyama: through
torchsde (Li, Wong, Chen & Duvenaud 2020).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
import torchsde
from torch import Tensor

from scoehr.files import InputError
from scoehr.sdes import T_MIN, VPSDE, AdditiveReverseSDE, ReverseSDE, Score

__all__ = [
    "ddim",
    "dpm_solver_pp_2m",
    "euler_maruyama",
    "heun",
    "power_schedule",
    "solve",
    "sra1",
    "uniform_schedule",
]

Sampler = Callable[..., Tensor]

# ----------------------------------------------------------------------------
# Schedules


def uniform_schedule(sde: VPSDE, steps: int, last: float = 0.0) -> Tensor:
    """``steps + 1`` times, evenly spaced from 1 to ``last``: the paper's, for Euler-Maruyama."""
    return torch.linspace(1.0, last, steps + 1)


def power_schedule(sde: VPSDE, steps: int, last: float = 0.0, power: float = 2.0) -> Tensor:
    """``steps + 1`` times from 1 to ``last``, evenly spaced in t^(1/power): densest near the data.

    Below T_MIN there is only ``last`` itself. On Gaussian data, where the exact flow is known,
    these times leave a smaller error in the variance than the noise levels of Karras et al. (2022,
    eq. 5): those of the VP-SDE reach 150, and steps up there are wasted.
    """
    below = last < T_MIN
    n = steps if below else steps + 1
    end = max(last, T_MIN) ** (1 / power)
    times = torch.linspace(1.0, end, n, dtype=torch.float64) ** power
    return torch.cat([times, times.new_tensor([last])]).float() if below else times.float()


# ----------------------------------------------------------------------------
# Samplers


def euler_maruyama(
    score: Score, sde: VPSDE, x: Tensor, times: Tensor, *, rng: torch.Generator
) -> Tensor:
    """The reverse SDE by torchsde's Euler, in ``len(times) - 1`` equal steps: the paper's.

    Strong order 1/2. As reported, steps of 0.001 added up in float32 leave a rest of time, so a
    thousand steps cost a little over a thousand evaluations, the last below the smallest time of
    training.
    """
    return _torchsde(ReverseSDE(sde, score), x, len(times) - 1, "euler", "none", rng)


def sra1(score: Score, sde: VPSDE, x: Tensor, times: Tensor, *, rng: torch.Generator) -> Tensor:
    """The reverse SDE by a stochastic Runge-Kutta method of strong order 3/2, through torchsde.

    Rößler's SRA1 (2010), SIAM Journal on Numerical Analysis 48, for additive noise: two evaluations
    a step. A check on Euler.
    """
    return _torchsde(AdditiveReverseSDE(sde, score), x, len(times) - 1, "srk", "space-time", rng)


def _torchsde(
    sde: ReverseSDE, x: Tensor, steps: int, method: str, levy: str, rng: torch.Generator
) -> Tensor:
    """The end of a path from ``x`` in equal steps; ``levy``: the area that the method needs."""
    brownian = torchsde.BrownianInterval(
        0.0,
        1.0,
        size=tuple(x.shape),
        dtype=x.dtype,
        device=x.device,
        entropy=int(torch.randint(2**31 - 1, (), generator=rng)),
        levy_area_approximation=levy,
    )
    ends = torch.tensor([0.0, 1.0], dtype=x.dtype, device=x.device)
    return torchsde.sdeint(sde, x, ends, bm=brownian, method=method, dt=1.0 / steps)[-1]


def ddim(
    score: Score, sde: VPSDE, x: Tensor, times: Tensor, *, rng: torch.Generator | None = None
) -> Tensor:
    """Probability flow by Euler in the noise level: order 1, one evaluation a step."""
    x = x / sde.alpha(times[0])
    levels = sde.noise_level(times)
    for i in range(len(times) - 1):
        x = x + (levels[i + 1] - levels[i]) * _noise(score, sde, x, times[i])
    return x * sde.alpha(times[-1])


def heun(
    score: Score, sde: VPSDE, x: Tensor, times: Tensor, *, rng: torch.Generator | None = None
) -> Tensor:
    """Probability flow by Heun: order 2, two evaluations a step (one if it ends at 0)."""
    slope = lambda x, i: _noise(score, sde, x, times[i])  # noqa: E731
    x = heun_steps(slope, x / sde.alpha(times[0]), sde.noise_level(times))
    return x * sde.alpha(times[-1])


def heun_steps(slope: Callable[[Tensor, int], Tensor], x: Tensor, levels: Tensor) -> Tensor:
    """The end of dx/dρ = ``slope(x, i)`` from ``x`` ``(B, D)`` along noise levels ρᵢ ``(n + 1,)``.

    Karras et al. (2022), Algorithm 1; a step that ends at level 0 is one of Euler.
    """
    for i in range(len(levels) - 1):
        step = levels[i + 1] - levels[i]
        here = slope(x, i)
        guess = x + step * here
        x = x + step * (here + slope(guess, i + 1)) / 2 if levels[i + 1] > 0 else guess
    return x


def dpm_solver_pp_2m(
    score: Score, sde: VPSDE, x: Tensor, times: Tensor, *, rng: torch.Generator | None = None
) -> Tensor:
    """DPM-Solver++(2M): multistep in the log noise level; order 2, one evaluation a step."""
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


def solve(
    sampler: str, score: Score, sde: VPSDE, x: Tensor, steps: int, *, rng: torch.Generator
) -> Tensor:
    """Run the named sampler on its own schedule; :class:`InputError` for an unknown name."""
    if sampler not in SAMPLERS:
        raise InputError(f"sampler {sampler!r} is unknown; choose one of {', '.join(SAMPLERS)}")
    if steps < 2:
        raise InputError(f"a sampler needs at least 2 steps, not {steps}")
    method, schedule = SAMPLERS[sampler]
    with torch.no_grad():
        return method(score, sde, x, schedule(sde, steps).to(x), rng=rng)
