import math

import pytest
import torch
import torchsde

from scoehr.sdes import (
    T_MIN,
    VPSDE,
    ReverseSDE,
    ScoreModel,
    score_matching_loss,
    stratified_times,
    uniform_times,
)
from tests.problems import Gaussian

SDE = VPSDE()


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def test_moments_by_integration_of_beta():
    t = torch.linspace(0, 1, 100_001, dtype=torch.float64)
    integral = torch.cumulative_trapezoid(SDE.beta(t), t)
    torch.testing.assert_close(SDE.integral(t[1:]), integral)
    torch.testing.assert_close(SDE.alpha(t) ** 2 + SDE.sigma(t) ** 2, torch.ones_like(t))


def test_ends_are_data_and_noise():
    t = torch.tensor([0.0, 1.0], dtype=torch.float64)
    assert SDE.alpha(t).tolist() == pytest.approx([1.0, math.exp(-0.25 * 19.9 - 0.05)])
    assert SDE.sigma(t)[0] == 0
    assert 0.9999 < SDE.sigma(t)[1] < 1


def test_marginal_moments_by_simulating_the_forward_sde():
    class Forward:
        noise_type, sde_type = "diagonal", "ito"

        def f(self, t, x):
            return SDE.drift(x, t.expand(len(x)))

        def g(self, t, x):
            return SDE.beta(t).sqrt() * torch.ones_like(x)

    torch.manual_seed(0)
    x0, end = 2.0, 0.3
    bm = torchsde.BrownianInterval(0.0, 1.0, size=(40_000, 1), entropy=1)
    x = torchsde.sdeint(
        Forward(),
        torch.full((40_000, 1), x0),
        torch.tensor([0.0, end]),
        bm=bm,
        dt=end / 200,
        method="euler",
    )[-1]
    t = torch.tensor(end)
    assert float(x.mean()) == pytest.approx(float(SDE.alpha(t)) * x0, abs=0.02)
    assert float(x.std()) == pytest.approx(float(SDE.sigma(t)), rel=0.02)


def test_perturb_has_the_marginal_moments():
    t = torch.full((200_000,), 0.4)
    x = SDE.perturb(torch.full((200_000, 1), 1.5), t, torch.randn(200_000, 1, generator=rng()))
    assert float(x.mean()) == pytest.approx(1.5 * float(SDE.alpha(t[0])), abs=0.01)
    assert float(x.var()) == pytest.approx(float(SDE.sigma(t[0])) ** 2, rel=0.02)


def test_noise_level_is_noise_over_signal():
    t = torch.linspace(1e-4, 1, 1000, dtype=torch.float64)
    torch.testing.assert_close(SDE.noise_level(t), SDE.sigma(t) / SDE.alpha(t))


@pytest.mark.parametrize("n", [64, 128, 256])
def test_reported_times_visit_the_low_end_half_as_often(n):
    times = torch.cat([stratified_times(n, rng(i)) for i in range(20_000 // n * 10)])
    assert T_MIN <= times.min() <= times.max() <= 1
    low = float((times < 0.01).float().mean())
    assert low == pytest.approx({64: 0.0045, 128: 0.0052, 256: 0.0071}[n], abs=0.0012)


def test_uniform_times_are_uniform():
    times = torch.cat([uniform_times(64, rng(i)) for i in range(3000)])
    assert float((times < 0.01).float().mean()) == pytest.approx(0.009, abs=0.001)
    assert float(times.mean()) == pytest.approx(0.5005, abs=0.002)


def test_the_true_score_minimises_the_loss():
    problem, generator = Gaussian(), rng()
    x = problem.mean + math.sqrt(problem.variance) * torch.randn(50_000, 1, generator=generator)
    t, noise = uniform_times(50_000, generator), torch.randn(50_000, 1, generator=generator)

    def loss(factor):
        return float(
            score_matching_loss(lambda y, s: factor * problem.score(y, s), SDE, x, t, noise).mean()
        )

    best = loss(1.0)
    assert best < loss(0.9)
    assert best < loss(1.1)
    assert loss(0.0) == pytest.approx(1.0, abs=0.02)  # one dimension of pure noise
    # E‖ε + σ s‖² = 1 - σ² E[1 / Var x_t], by the tower rule
    _, variance = problem.marginal(t)
    assert best == pytest.approx(float((1 - SDE.sigma(t) ** 2 / variance).mean()), abs=0.02)


def test_noise_and_score_predictions_are_the_same_thing():
    problem, x, t = Gaussian(), torch.randn(10, 3), torch.rand(10) * 0.9 + 0.1

    class Noise(torch.nn.Module):
        def forward(self, y, s):
            return -SDE.sigma(s / 1000)[:, None] * (problem.score(y, s / 1000) + y)

    torch.testing.assert_close(ScoreModel(Noise(), SDE, "noise", 1000.0)(x, t), problem.score(x, t))


def test_reverse_sde_costs_what_was_reported():
    reverse = ReverseSDE(SDE, Gaussian().score)
    torchsde.sdeint(reverse, torch.randn(2, 1), torch.tensor([0.0, 1.0]), method="euler", dt=1e-3)
    assert reverse.evaluations == 1002


def test_an_untrained_noise_model_is_right_about_standard_normal_data():
    x, t = torch.randn(10, 3), torch.rand(10)
    torch.testing.assert_close(
        ScoreModel(Nothing(), SDE, "noise")(x, t), Gaussian(0.0, 1.0).score(x, t)
    )


class Nothing(torch.nn.Module):
    def forward(self, y, s):
        return torch.zeros_like(y)
