import pytest
import torch
import torchsde

from scoehr import InputError
from scoehr.sampling import (
    SAMPLERS,
    ddim,
    dpm_solver_pp_2m,
    heun,
    power_schedule,
    solve,
    uniform_schedule,
)
from scoehr.sdes import T_MIN, AdditiveReverseSDE, ReverseSDE
from tests.problems import Gaussian

PROBLEM = Gaussian()


@pytest.mark.parametrize(("sampler", "order"), [(ddim, 1), (heun, 2), (dpm_solver_pp_2m, 2)])
def test_order_of_convergence(sampler, order):
    x = torch.randn(100, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    errors = []
    for steps in (40, 80, 160):
        times = power_schedule(PROBLEM.sde, steps, last=0.01).double()
        end = sampler(PROBLEM.score, PROBLEM.sde, x, times)
        errors.append(float((end - PROBLEM.flow(x, times[0], times[-1])).abs().max()))
    ratios = torch.log2(torch.tensor(errors[:-1]) / torch.tensor(errors[1:]))
    assert torch.all((ratios - order).abs() < 0.25), (errors, ratios)


@pytest.mark.parametrize(
    ("name", "steps"),
    [("euler_maruyama", 300), ("sra1", 60), ("ddim", 200), ("heun", 40), ("dpm_solver_pp_2m", 40)],
)
def test_every_sampler_returns_the_data(name, steps):
    rng = torch.Generator().manual_seed(0)
    x = solve(
        name, PROBLEM.score, PROBLEM.sde, torch.randn(20_000, 1, generator=rng), steps, rng=rng
    )
    assert float(x.mean()) == pytest.approx(PROBLEM.mean, abs=0.03)
    assert float(x.var()) == pytest.approx(PROBLEM.variance, rel=0.05)


def test_the_higher_order_method_follows_the_same_path_more_closely():
    """Strong errors on one Brownian path, against steps twenty times as fine."""
    x = torch.randn(400, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    ends = torch.tensor([0.0, 0.9], dtype=x.dtype)
    brownian = torchsde.BrownianInterval(
        0.0,
        1.0,
        size=tuple(x.shape),
        dtype=x.dtype,
        entropy=3,
        levy_area_approximation="space-time",
    )

    def path(kind, method, steps):
        sde = kind(PROBLEM.sde, PROBLEM.score)
        return torchsde.sdeint(sde, x, ends, bm=brownian, method=method, dt=1 / steps)[-1]

    truth = path(AdditiveReverseSDE, "srk", 4000)
    euler = [float((path(ReverseSDE, "euler", steps) - truth).abs().mean()) for steps in (100, 200)]
    sra1 = [
        float((path(AdditiveReverseSDE, "srk", steps) - truth).abs().mean()) for steps in (100, 200)
    ]
    assert sra1[0] < 0.2 * euler[0], (sra1, euler)
    assert sra1[0] / sra1[1] > 2.2 > euler[0] / euler[1], (sra1, euler)


@pytest.mark.parametrize("name", SAMPLERS)
def test_same_generator_same_result(name):
    def once():
        rng = torch.Generator().manual_seed(7)
        return solve(
            name, PROBLEM.score, PROBLEM.sde, torch.randn(5, 2, generator=rng), 10, rng=rng
        )

    assert torch.equal(once(), once())


@pytest.mark.parametrize("name", ["ddim", "heun", "dpm_solver_pp_2m"])
def test_evaluations_are_counted(name):
    calls = []

    def score(x, t):
        calls.append(1)
        return PROBLEM.score(x, t)

    solve(name, score, PROBLEM.sde, torch.randn(3, 1), 12, rng=torch.Generator())
    assert len(calls) == {"heun": 23, "sra1": 24}.get(name, 12)


@pytest.mark.parametrize("steps", [2, 10, 50])
def test_schedules_fall_from_one_to_zero(steps):
    for schedule in (uniform_schedule, power_schedule):
        times = schedule(PROBLEM.sde, steps)
        assert len(times) == steps + 1
        assert times[0] == 1
        assert times[-1] == 0
        assert torch.all(times.diff() < 0)
    assert float(power_schedule(PROBLEM.sde, steps)[-2]) == pytest.approx(T_MIN, rel=1e-3)


def test_bad_sampler_and_steps():
    with pytest.raises(InputError, match="sampler 'rk45' is unknown"):
        solve("rk45", PROBLEM.score, PROBLEM.sde, torch.randn(2, 1), 5, rng=torch.Generator())
    with pytest.raises(InputError, match="at least 2 steps"):
        solve("heun", PROBLEM.score, PROBLEM.sde, torch.randn(2, 1), 1, rng=torch.Generator())
