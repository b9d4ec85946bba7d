import numpy as np
import pytest
import torch
from torch import nn

from scoehr import InputError, generators
from scoehr.generators.edm import (
    EDM,
    SIGMA_MAX,
    Denoiser,
    EDMConfig,
    denoising_loss,
    noise_levels,
    probability_flow,
)
from tests.problems import patients

MATRIX = patients()
SMALL = EDMConfig(kind="count", width=32, depth=1, epochs=4, batch=50, steps=5)


def fitted(**changes):
    return EDM(EDMConfig(**{**SMALL.__dict__, **changes})).fit(MATRIX, seed=1, progress=False)


class Zero(nn.Module):
    def forward(self, x, t):
        return torch.zeros_like(x)


@pytest.fixture(scope="module")
def small():
    return fitted()


class TestGaussian:
    """Data N(mean, covariance), whose denoiser and probability flow are known."""

    mean = torch.tensor([0.5, -1.0, 2.0], dtype=torch.float64)
    root = torch.tensor([[0.3, 0.0, 0.0], [0.2, 0.1, 0.0], [-0.1, 0.4, 0.5]], dtype=torch.float64)
    covariance = root @ root.T
    one = torch.eye(3, dtype=torch.float64)

    def denoiser(self, x, sigma):
        gain = self.covariance @ torch.linalg.inv(self.covariance + sigma[0] ** 2 * self.one)
        return self.mean + (x - self.mean) @ gain.T

    def flow(self, x, level=0.0):
        """Along the eigenvectors of the covariance, x keeps its quantile from noise level 80 to ``level``."""
        values, vectors = torch.linalg.eigh(self.covariance)
        shrink = (
            vectors @ torch.diag(((values + level**2) / (values + SIGMA_MAX**2)).sqrt()) @ vectors.T
        )
        return self.mean + (x - self.mean) @ shrink.T

    def noise(self, n=4000):
        return SIGMA_MAX * torch.randn(
            n, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64
        )

    def test_heun_reaches_mean_and_covariance(self):
        x = probability_flow(self.denoiser, self.noise(), noise_levels(32))
        torch.testing.assert_close(x.mean(0), self.mean, atol=0.04, rtol=0)
        torch.testing.assert_close(x.T.cov(), self.covariance, atol=0.03, rtol=0)

    def test_heun_follows_the_flow_with_order_two(self):
        x = self.noise(200)
        errors = []
        for steps in (16, 32, 64):
            levels = noise_levels(steps)[:-1]  # to 0.02; the last step, to 0, is one of Euler's
            errors.append(
                (probability_flow(self.denoiser, x, levels) - self.flow(x, levels[-1])).abs().max()
            )
        assert 3 < errors[0] / errors[1] < 6
        assert 3 < errors[1] / errors[2] < 6
        torch.testing.assert_close(
            probability_flow(self.denoiser, x, noise_levels(64)), self.flow(x), atol=0.01, rtol=0
        )


def test_a_point_mass_is_reached_exactly():
    point = torch.tensor([0.0, 1.0, 3.0])
    noise = 80 * torch.randn(10, 3, generator=torch.Generator().manual_seed(0))
    made = probability_flow(lambda x, sigma: point.expand_as(x), noise, noise_levels(8))
    torch.testing.assert_close(made, point.expand(10, 3), atol=1e-4, rtol=0)


def test_the_noise_levels_are_those_of_the_source():
    levels = noise_levels(32)
    assert (len(levels), levels[-1]) == (33, 0)
    assert levels[0] == pytest.approx(80)
    assert levels[-2] == pytest.approx(0.02)
    assert np.allclose(
        np.diff(levels[:-1].numpy() ** (1 / 7)), (0.02 ** (1 / 7) - 80 ** (1 / 7)) / 31
    )


@pytest.mark.parametrize("sigma", [0.02, 0.3, 5.0])
def test_an_untrained_network_is_the_best_linear_denoiser(sigma):
    rng = torch.Generator().manual_seed(0)
    x = 0.4 * torch.randn(20_000, 2, generator=rng)
    noise, levels = torch.randn(x.shape, generator=rng), torch.full((len(x),), sigma)
    denoiser = Denoiser(Zero(), 0.4)
    best = 0.4**2 / (0.4**2 + sigma**2)
    torch.testing.assert_close(denoiser(x, levels), best * x)
    assert denoising_loss(denoiser, x, levels, noise).mean() == pytest.approx(1, abs=0.03)


def test_the_network_sees_and_is_asked_for_unit_variance():
    class Echo(nn.Module):
        def forward(self, x, t):
            self.seen = x
            return x

    rng = torch.Generator().manual_seed(0)
    x, noise = 0.4 * torch.randn(20_000, 1, generator=rng), torch.randn(20_000, 1, generator=rng)
    for sigma in (0.05, 0.4, 20.0):
        network = Echo()
        noised = x + sigma * noise
        left = x - Denoiser(Zero(), 0.4)(noised, torch.full((len(x),), sigma))
        denoiser = Denoiser(network, 0.4)
        scale = denoiser(noised, torch.full((len(x),), sigma)) - Denoiser(Zero(), 0.4)(
            noised, torch.full((len(x),), sigma)
        )
        assert network.seen.std() == pytest.approx(1, abs=0.03)
        assert float(left.std() / (scale / network.seen).mean()) == pytest.approx(1, abs=0.03)


@pytest.mark.parametrize("kind", ["count", "binary"])
def test_it_learns_the_marginals(kind):
    model = fitted(kind=kind, width=64, epochs=200, batch=100, learning_rate=5e-3, steps=16)
    sample = model.sample(1000, seed=1, progress=False)
    assert sample.kind == kind
    real, made = MATRIX.to_binary().dense().mean(0), sample.to_binary().dense().mean(0)
    assert np.corrcoef(real, made)[0, 1] > 0.9
    assert made.mean() == pytest.approx(real.mean(), rel=0.5)
    assert model.evaluations == 31
    losses = model.history["train_loss"]
    assert losses.iloc[-5:].mean() < 0.9 * losses.iloc[:5].mean()
    assert set(model.history["stage"]) == {"denoiser"}


def test_counts_are_whole_and_not_negative(small):
    cells = torch.tensor([[-2.0, 0.4, 0.6, 3.2]])
    assert small.decode(cells).tolist() == [[0, 0, 1, 3]]
    assert EDM().decode(cells).tolist() == [[0, 0, 1, 1]]


def test_same_seed_same_patients(small):
    again = fitted()
    sample = small.sample(40, seed=3, progress=False)
    assert again.sample(40, seed=3, progress=False).equals(sample)
    assert not small.sample(40, seed=4, progress=False).equals(sample)


def test_a_saved_model_makes_the_same_patients(small, tmp_path):
    model = generators.load(small.save(tmp_path / "model"))
    assert isinstance(model, EDM)
    assert model.config == small.config
    assert model.denoiser.sigma_data == pytest.approx(MATRIX.dense().std(), rel=1e-3)
    assert model.sample(40, seed=3, progress=False).equals(small.sample(40, seed=3, progress=False))


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"kind": "signed"}, "kind 'signed' is unknown"), ({"widht": 3}, "unknown setting 'widht'")],
)
def test_settings_are_checked(settings, message):
    with pytest.raises(InputError, match=message):
        generators.preset("edm", **settings)


def test_what_cannot_be_done_is_refused(small):
    with pytest.raises(InputError, match="sampler 'tau_leaping' does not suit edm"):
        small.sample(3, sampler="tau_leaping", progress=False)
    with pytest.raises(InputError, match="at least 2 steps"):
        small.sample(3, steps=1, progress=False)
    with pytest.raises(InputError, match="every cell of the matrix is the same"):
        EDM(SMALL).fit(MATRIX.take(np.flatnonzero(MATRIX.dense().sum(1) == 0)), progress=False)
