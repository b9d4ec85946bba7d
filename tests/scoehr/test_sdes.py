import math

import pytest
import torch
import torchsde

from scoehr.models import RecordMLP
from scoehr.sdes import (
    LENGTHS,
    T_MIN,
    VPSDE,
    RateModel,
    ReverseSDE,
    ScoreModel,
    blurred,
    by_length,
    lonely_rates,
    score_matching_loss,
    stratified_times,
    thin,
    thinning_loss,
    thinning_times,
    uniform_times,
)
from tests.problems import Alone, Gaussian

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


class TestThinning:
    def test_what_survives_has_the_binomial_moments(self):
        x, level = torch.full((100_000, 1), 4.0), torch.full((100_000,), 0.3)
        thinned = thin(x, level, rng())
        assert float(thinned.mean()) == pytest.approx(1.2, abs=0.01)
        assert float(thinned.var()) == pytest.approx(4 * 0.3 * 0.7, rel=0.02)
        assert torch.all(thinned <= x)

    def test_an_untrained_model_is_right_about_independent_poisson_counts(self):
        """Of Poisson counts, what was removed does not depend on what is left: the loss has its minimum there."""
        mean = torch.tensor([0.1, 0.5, 2.0])
        model = RateModel(Alone(), 3)
        x = torch.poisson(mean.expand(100_000, 3), generator=rng())
        level = thinning_times(len(x), rng(1))
        thinned = thin(x, level, rng(2))

        def loss(factor):
            model.learn_shares(torch.poisson(factor * mean.expand(100_000, 3), generator=rng(3)))
            return float(thinning_loss(model, x, thinned, level).mean())

        assert loss(1.0) < min(loss(0.9), loss(1.1))

    def test_the_loss_is_smallest_at_the_conditional_mean(self):
        """Counts are 0 or 3, even odds; given level a and nothing left, three are missing with odds (1 - a)³ : 1."""
        x = 3.0 * (torch.rand(200_000, 1, generator=rng()) < 0.5)
        level = torch.full((len(x),), 0.4)
        thinned = thin(x, level, rng(1))
        removed = (x - thinned)[thinned == 0].mean()
        assert float(removed) == pytest.approx(3 * 0.6**3 / (1 + 0.6**3), abs=0.01)

    def test_lonely_rates_are_bayes_rule(self):
        """Against the definition, summed by hand over what a patient may have had; and three closed forms."""
        chance = {0: 0.5, 1: 0.2, 3: 0.2, 7: 0.1}
        shares = torch.zeros(8, 1, dtype=torch.float64)
        for m, share in chance.items():
            shares[m] = share
        levels = torch.tensor([0.0, 0.3, 0.9, 1.0], dtype=torch.float64)
        found = lonely_rates(shares, levels, 4)
        for i, a in enumerate((0.0, 0.3, 0.9)):
            for k in range(5):
                odds = {
                    m: p * math.comb(m, k) * (1 - a) ** (m - k) for m, p in chance.items() if m >= k
                }
                whole = sum(odds.values())
                mean = (
                    sum((m - k) * odd for m, odd in odds.items()) / whole / (1 - a)
                    if whole
                    else 0.0
                )
                assert float(found[i, k, 0]) == pytest.approx(mean, rel=1e-9)
        assert float(found[3, 0, 0]) == pytest.approx(0.2 / 0.5, rel=1e-4)  # the limit: P(1) / P(0)
        poisson = torch.exp(
            torch.arange(41).double() * math.log(0.7)
            - torch.lgamma(torch.arange(41).double() + 1)
            - 0.7
        )
        assert torch.allclose(
            lonely_rates(poisson[:, None], levels, 5), torch.tensor(0.7, dtype=torch.float64)
        )
        binary = lonely_rates(torch.tensor([[0.8], [0.2]], dtype=torch.float64), levels, 2)
        torch.testing.assert_close(
            binary[:, 0, 0], 0.2 / (0.8 + 0.2 * (1 - levels)), rtol=1e-5, atol=0
        )
        assert not binary[:, 1:].any()  # who has it cannot get it again

    def test_how_many_more_follows_by_bayes_rule(self):
        """Against the definition, summed by hand over the lengths that records may have."""
        chance = {1: 0.4, 2: 0.3, 5: 0.2, 30: 0.1}
        model = RateModel(Alone(), 40, blur=0.0)
        patients = [torch.arange(40) < n for n, p in chance.items() for _ in range(round(10 * p))]
        model.learn_shares(torch.stack(patients).float())
        for a in (0.0, 0.4, 0.95):
            for n in (0, 1, 3, 30, 31):
                odds = {
                    m: p * math.comb(m, n) * (1 - a) ** (m - n) for m, p in chance.items() if m >= n
                }
                mean = (
                    sum((m - n) * odd for m, odd in odds.items()) / sum(odds.values())
                    if odds
                    else 0.0
                )
                found = model.remaining(torch.tensor([float(n)]), torch.tensor([a]))
                assert float(found[0]) == pytest.approx(mean, rel=1e-6, abs=1e-9)

    @pytest.mark.parametrize("levels", [1, 50])
    def test_how_many_and_which_make_the_rates_of_any_rows(self, levels):
        torch.manual_seed(0)
        network = RecordMLP(6, width=16)
        for weights in network.parameters():
            torch.nn.init.normal_(weights, std=0.1)
        model = RateModel(network, 6)
        model.learn_shares(torch.poisson(torch.full((500, 6), 0.7), generator=rng()))
        x, level = (
            torch.poisson(torch.full((50, 6), 0.7), generator=rng(1)),
            torch.rand(levels, generator=rng(2)),
        )
        rates, (many, which) = model(x, level), model.outlook(x, level)
        torch.testing.assert_close(rates.sum(1), many.exp())
        rows = torch.arange(50) % 3 == 0
        torch.testing.assert_close(rates[rows], which(rows).exp() * many[rows].exp()[:, None])
        assert which(rows & False).shape == (0, 6)

    def test_records_of_any_length_are_told_apart_and_blurred_without_bias(self):
        x = torch.tensor([[0.0], [3.0], [3.0], [200.0], [1e6]])
        counts = by_length(x)
        assert counts[[0, 3, 200]].tolist() == [1, 2, 1] and int(counts.sum()) == 5
        assert float(LENGTHS[counts.nonzero()[-1, 0]]) == pytest.approx(1e6, rel=0.01)
        for m in (0, 3, 50, 400):
            one = blurred(torch.nn.functional.one_hot(torch.tensor(m), len(LENGTHS)).double(), 0.05)
            assert float(one.sum()) == pytest.approx(1)
            assert float((one * LENGTHS).sum()) == pytest.approx(m, rel=2e-3, abs=1e-9)
            spread = float((one * (LENGTHS - m) ** 2).sum()) ** 0.5
            assert spread == pytest.approx(0.05 * (m + 1), rel=0.02) if m >= 50 else spread < 0.01
