import shutil

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from scoehr import InputError, generators
from scoehr.generators import gan
from scoehr.generators.gan import (
    GAN,
    Discriminator,
    GANConfig,
    LatentGenerator,
    RecordAutoencoder,
    discriminator_loss,
    generator_loss,
    gradient_norms,
)
from scoehr.training import Diverged
from tests.problems import patients

MATRIX = patients()
SMALL = {"embedding": 16, "width": 16, "autoencoder_epochs": 3, "epochs": 3, "batch": 50}
PRESETS = ("medgan", "medbgan", "medwgan")


@pytest.fixture(autouse=True)
def few(monkeypatch):
    monkeypatch.setattr(gan, "BURN_IN", 50)
    monkeypatch.setattr(gan, "SAVE_EVERY", 0.0)


def fitted(preset="medgan", kind="count", folder=None, **changes):
    model = generators.preset(preset, kind=kind, **{**SMALL, **changes})
    return model.fit(MATRIX, MATRIX, seed=1, folder=folder, progress=False)


def weights(model):
    return torch.cat(
        [value.flatten().double() for part in model._weights().values() for value in part.values()]
    )


def random(*shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


# Networks and objectives ---------------------------------------------------------------------------------------------


def test_the_discriminator_sees_each_record_beside_the_mean_of_its_batch():
    torch.manual_seed(0)
    network, x = Discriminator(5, 8), random(7, 5)
    assert network(x).shape == (7,)
    assert network.layers[0].in_features == 10
    alone = torch.cat([network(row[None]) for row in x])
    assert not torch.allclose(network(x), alone)
    beside = network.layers(torch.cat([x, x.mean(0).repeat(7, 1)], dim=1))[:, 0]
    torch.testing.assert_close(network(x), beside)


def test_the_generator_adds_its_layers_to_the_noise():
    network = LatentGenerator(6, "sigmoid").eval()
    z = random(9, 6)
    for norm in network.norms:
        nn.init.zeros_(norm.weight)
    torch.testing.assert_close(network(z), z)
    nn.init.ones_(network.norms[-1].weight)
    assert (network(z) - z).abs().max() < 1  # tanh, for presence; nothing below zero, for counts
    counts = LatentGenerator(6, "relu").eval()
    assert (counts(z) - z).min() >= 0


def test_the_code_of_counts_is_rectified_that_of_presence_lies_in_the_box():
    x = 5 * random(20, 8)
    torch.manual_seed(0)
    assert RecordAutoencoder(8, 4, "relu").encode(x).min() == 0
    assert RecordAutoencoder(8, 4, "sigmoid").encode(x).abs().max() <= 1


def test_objectives_are_those_of_their_papers():
    logits = torch.tensor([-2.0, 0.3, 1.5])
    d = torch.sigmoid(logits)
    torch.testing.assert_close(generator_loss("gan", logits), -d.log().mean())
    torch.testing.assert_close(
        generator_loss("boundary", logits), 0.5 * (d.log() - (1 - d).log()).square().mean()
    )
    torch.testing.assert_close(generator_loss("wasserstein", logits), -logits.mean())
    real, made, rng = random(4, 1), random(4, 1, seed=1), torch.Generator()

    def total(x):
        return x.sum(1)

    for objective in ("gan", "boundary"):
        expected = (
            -torch.sigmoid(real[:, 0]).log().mean() - (1 - torch.sigmoid(made[:, 0])).log().mean()
        )
        torch.testing.assert_close(discriminator_loss(total, objective, real, made, rng), expected)
    slope = discriminator_loss(lambda x: 3 * total(x), "wasserstein", real, made, rng)
    torch.testing.assert_close(slope, 3 * (made.mean() - real.mean()) + 10 * (3.0 - 1) ** 2)


def test_gradient_norms_of_a_known_function():
    x = random(6, 3)
    torch.testing.assert_close(gradient_norms(lambda x: x.square().sum(1), x), 2 * x.norm(dim=1))


def test_the_wasserstein_critic_keeps_its_slope_and_finds_the_distance():
    """Two point masses 5 apart: a linear critic of slope s loses -5 s + 10 (s - 1)², least at s = 1.25."""
    torch.manual_seed(0)
    network, rng = Discriminator(2, 32), torch.Generator().manual_seed(0)
    real, made = torch.zeros(64, 2), torch.tensor([3.0, 4.0]).expand(64, 2)
    optimiser = torch.optim.Adam(network.parameters(), lr=5e-3)
    for _ in range(400):
        optimiser.zero_grad()
        discriminator_loss(network, "wasserstein", real, made, rng).backward()
        optimiser.step()
    for place in (0.1, 0.5, 0.9):
        norms = gradient_norms(network, torch.lerp(real, made, place)).detach()
        assert norms.numpy() == pytest.approx(1.25, abs=0.05)
    assert float((network(real).mean() - network(made).mean()).detach()) == pytest.approx(
        5 * 1.25, rel=0.05
    )


# The model -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["count", "binary"])
@pytest.mark.parametrize("preset", PRESETS)
def test_each_makes_patients_of_its_kind(preset, kind):
    model = fitted(preset, kind)
    sample = model.sample(120, seed=2, progress=False)
    assert sample.shape == (120, 60)
    assert sample.kind == kind
    assert list(sample.codes) == list(MATRIX.codes)
    history = model.history
    assert list(history["stage"]) == ["autoencoder"] * 3 + ["gan"] * 3
    assert np.isfinite(history[["train_loss", "validation_loss"]].to_numpy()).all()
    assert np.isfinite(history["generator_loss"].iloc[3:]).all()
    assert model.evaluations == 1


def test_the_presets_are_what_their_sources_set():
    for preset, objective in zip(PRESETS, ("gan", "boundary", "wasserstein"), strict=True):
        config = generators.preset(preset).config
        assert config == GANConfig(objective=objective)
    assert (config.embedding, config.width, config.batch, config.epochs) == (128, 256, 1000, 1000)
    assert (config.autoencoder_epochs, config.autoencoder_batch, config.discriminator_steps) == (
        100,
        100,
        2,
    )
    assert (config.learning_rate, config.weight_decay, config.kind) == (1e-3, 1e-3, "binary")


def test_it_approaches_the_marginals():
    model = fitted(
        "medwgan", "binary", embedding=32, width=64, autoencoder_epochs=60, epochs=120, batch=100
    )
    real, made = (
        MATRIX.to_binary().dense().mean(0),
        model.sample(1000, seed=1, progress=False).dense().mean(0),
    )
    assert np.corrcoef(real, made)[0, 1] > 0.8
    assert made.mean() == pytest.approx(real.mean(), rel=0.5)


def test_same_seed_same_patients():
    model = fitted()
    sample = model.sample(60, seed=3, progress=False)
    assert fitted().sample(60, seed=3, progress=False).equals(sample)
    assert torch.equal(weights(fitted()), weights(model))
    assert not torch.equal(weights(fitted(epochs=4)), weights(model))
    assert not model.sample(60, seed=4, progress=False).equals(sample)


def test_fitting_does_not_touch_the_global_generator():
    before = torch.get_rng_state()
    fitted(epochs=1)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("preset", PRESETS)
def test_interrupted_and_resumed_is_the_same_as_never_interrupted(tmp_path, monkeypatch, preset):
    whole = fitted(preset, epochs=5)
    epoch, calls = gan._AdversarialTraining._epoch, 0

    def interrupted(game):
        nonlocal calls
        calls += 1
        if calls == 4:
            raise KeyboardInterrupt
        return epoch(game)

    monkeypatch.setattr(gan._AdversarialTraining, "_epoch", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fitted(preset, epochs=5, folder=tmp_path)
    assert calls == 4
    resumed = fitted(preset, epochs=5, folder=tmp_path)
    assert calls == 6, "three epochs were done"
    assert torch.equal(weights(resumed), weights(whole))
    numbers = ["train_loss", "validation_loss", "generator_loss"]
    assert resumed.history[numbers].equals(whole.history[numbers])
    fitted(preset, epochs=5, folder=tmp_path)
    assert calls == 6, "all were"


def test_a_checkpoint_of_other_settings_is_not_taken_up(tmp_path):
    fitted("medgan", folder=tmp_path)
    fresh = fitted("medbgan")
    assert torch.equal(weights(fitted("medbgan", folder=tmp_path)), weights(fresh))


def test_a_damaged_checkpoint_is_named(tmp_path):
    fitted(folder=tmp_path)
    (path,) = tmp_path.glob("gan-*.checkpoint")
    path.write_bytes(b"nothing")
    with pytest.raises(InputError, match=rf"{path.name}: not a readable checkpoint"):
        fitted(folder=tmp_path)


def test_divergence_is_told_with_its_history():
    with pytest.raises(Diverged, match="diverged in epoch") as error:
        fitted("medwgan", learning_rate=30.0, autoencoder_epochs=1, epochs=10)
    assert error.value.history


def test_a_saved_model_makes_the_same_patients_and_holds_no_discriminator(tmp_path):
    model = fitted()
    folder = model.save(tmp_path / "model")
    again = generators.load(folder)
    assert isinstance(again, GAN)
    assert again.config == model.config
    assert again.sample(60, seed=3, progress=False).equals(model.sample(60, seed=3, progress=False))
    assert {path.name for path in folder.glob("*.safetensors")} == {
        "generator.safetensors",
        "autoencoder.safetensors",
    }
    shutil.copy(folder / "generator.safetensors", folder / "autoencoder.safetensors")
    with pytest.raises(InputError, match=r"autoencoder\.safetensors: not the file"):
        generators.load(folder)


def test_the_running_means_are_those_of_the_trained_weights(monkeypatch):
    monkeypatch.setattr(gan, "BURN_IN", 1000)
    model = fitted()
    z = torch.randn(20_000, 16, generator=torch.Generator().manual_seed(0))
    first = F.linear(z, model.generator.layers[0].weight)
    torch.testing.assert_close(
        model.generator.norms[0].running_mean, first.mean(0), atol=0.05, rtol=0
    )
    torch.testing.assert_close(
        model.generator.norms[0].running_var, first.var(0), atol=0.02, rtol=0.15
    )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"objective": "hinge"}, "objective 'hinge' is unknown"),
        ({"kind": "signed"}, "kind 'signed' is unknown"),
        ({"discriminator_steps": 0}, "discriminator_steps must be at least 1"),
        ({"batch": 1}, "width and batch must be at least 2"),
        ({"widht": 3}, "unknown setting 'widht'"),
    ],
)
def test_settings_are_checked(settings, message):
    with pytest.raises(InputError, match=message):
        generators.preset("medgan", **settings)


def test_what_cannot_be_done_is_refused():
    with pytest.raises(InputError, match="sampler 'heun' does not suit gan; it has none"):
        fitted(epochs=1).sample(3, sampler="heun", progress=False)
    with pytest.raises(InputError, match="one patient is too few"):
        GAN(GANConfig(**SMALL)).fit(MATRIX.take([0]), progress=False)
    with pytest.raises(InputError, match="preset 'biggan' is unknown"):
        generators.preset("biggan")
