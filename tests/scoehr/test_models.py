import numpy as np
import pytest
import torch

from scoehr import InputError
from scoehr.models import (
    Autoencoder,
    ResidualMLP,
    SelfAttention,
    UNet,
    reinitialise,
    time_embedding,
    unet_dim,
    unet_side,
)


def size(module):
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize(
    ("dim", "parameters", "attention"),
    [(64, 24_515_585, 1), (144, 24_515_585, 1), (256, 24_847_105, 6)],
)
def test_unet_is_the_papers(dim, parameters, attention):
    net = UNet(dim)
    assert size(net) == parameters
    assert sum(isinstance(layer, SelfAttention) for layer in net.modules()) == attention


def test_attention_can_be_held_equal_between_sizes():
    assert size(UNet(256, attention=())) == size(UNet(144)) == size(UNet(64))


@pytest.mark.parametrize("net", [UNet(144, 32), ResidualMLP(144, 64)], ids=["unet", "mlp"])
def test_networks_keep_the_shape_and_see_the_time(net):
    x = torch.randn(5, 144)
    for p in net.parameters():  # away from the near-zero start
        torch.nn.init.normal_(p, 0, 0.05)
    early, late = net(x, torch.full((5,), 0.1)), net(x, torch.full((5,), 0.9))
    assert early.shape == x.shape
    assert not torch.allclose(early, late)


def test_patients_do_not_see_each_other():
    net, x, t = reinitialise(UNet(64, 32)), torch.randn(6, 64), torch.rand(6)
    torch.testing.assert_close(net(x, t)[2:4], net(x[2:4], t[2:4]), rtol=1e-4, atol=1e-5)


def test_native_start_is_nearly_zero_and_the_reported_one_is_not():
    torch.manual_seed(0)
    x, t = torch.randn(8, 144), torch.rand(8)
    native = UNet(144, 32)(x, t).abs().mean()
    reported = reinitialise(UNet(144, 32))(x, t).abs().mean()
    assert native < 1e-3 < 1e-2 < reported


def test_reinitialisation_leaves_convolution_biases():
    net = reinitialise(UNet(64, 32))
    assert net.in_proj.bias.abs().sum() == 0
    assert torch.all(net.time[0].bias == 0.01)
    assert float(net.down[0].block.conv2.weight.detach().std()) == pytest.approx(0.02, rel=0.1)


@pytest.mark.parametrize("dim", [1, 15, 100, 143, 145, 36, 0, -4])
def test_unet_refuses_what_it_cannot_halve_twice(dim):
    with pytest.raises(InputError, match=r"does not suit the U-Net.*try"):
        UNet(dim)


def test_the_next_square_holds_all_codes():
    assert unet_dim(1071) == 1296
    for n in range(1, 700, 7):
        assert unet_dim(n) >= n
        assert unet_side(unet_dim(n)) ** 2 == unet_dim(n)


def test_width_must_suit_the_group_norm():
    with pytest.raises(InputError, match="multiple of 4"):
        UNet(64, 42)


def test_unscaled_time_leaves_half_of_the_embedding_nearly_constant():
    t = torch.linspace(0.001, 1, 100)
    raw, scaled = time_embedding(t, 128).std(0), time_embedding(1000 * t, 128).std(0)
    assert (raw < 0.02).float().mean() >= 0.5
    assert (scaled < 0.02).float().mean() < 0.2


class TestAutoencoder:
    def test_size_of_the_published_weights(self):
        assert size(Autoencoder(1071, 144)) == 309_663

    @pytest.mark.parametrize("head", ["relu", "sigmoid", "poisson"])
    def test_decoded_counts_are_whole_and_not_negative(self, head):
        counts = Autoencoder(30, 8, head).decode(
            torch.randn(50, 8), torch.Generator().manual_seed(0)
        )
        assert torch.equal(counts, counts.round())
        assert counts.min() >= 0
        if head == "sigmoid":
            assert counts.max() <= 1

    def test_losses_are_sums_over_codes_and_means_over_patients(self):
        x = torch.tensor([[0.0, 2.0, 1.0], [1.0, 0.0, 0.0]])
        relu = Autoencoder(3, 4, "relu")
        expected = ((relu.output(relu.encode(x)) - x) ** 2).sum() / 2
        torch.testing.assert_close(relu.loss(x), expected)
        y = x.clamp(max=1)
        sigmoid = Autoencoder(3, 4, "sigmoid")
        p = sigmoid.output(sigmoid.encode(y))
        torch.testing.assert_close(
            sigmoid.loss(y), -(y * p.log() + (1 - y) * (1 - p).log()).sum() / 2
        )

    def test_poisson_head_reproduces_its_rates(self):
        net = Autoencoder(4, 8, "poisson")
        z = torch.zeros(200_000, 8)
        drawn = net.decode(z, torch.Generator().manual_seed(0)).mean(0)
        np.testing.assert_allclose(
            drawn.detach().numpy(), net.output(z[:1])[0].detach().numpy(), rtol=0.02
        )

    def test_unknown_head(self):
        with pytest.raises(InputError, match="head 'softmax' is unknown"):
            Autoencoder(3, 2, "softmax")
