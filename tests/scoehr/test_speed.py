"""What the benchmark of speed holds side by side computes the same."""

import numpy as np
import pytest
import torch

from benchmarks import speed, unet
from scoehr.data.matrix import CodeMatrix
from scoehr.data.simulate import sample_matrix
from scoehr.metrics.neighbours import nearest
from scoehr.models import UNet, reinitialise


@pytest.mark.parametrize(("dim", "attention"), [(64, ()), (256, (16,))])
def test_the_plain_unet_is_the_unet(dim, attention):
    torch.manual_seed(0)
    network = reinitialise(UNet(dim, width=16, attention=attention)).eval()
    x, t = torch.randn(5, dim), torch.rand(5)
    torch.testing.assert_close(speed.PlainUNet(network)(x, t), network(x, t), rtol=1e-5, atol=1e-5)


def test_row_by_row_is_block_by_block():
    counts = sample_matrix(400).counts.astype(np.float32)
    few, records = counts[:50], counts[50:]
    np.testing.assert_allclose(
        speed.reported_nearest(few.toarray(), records.toarray()),
        nearest(few, records).of_synthetic,
        atol=2e-5,
    )


def test_growth_knows_every_stage():
    for stage in speed.STAGES:
        found = speed.grown(speed.command(stage), 300)
        assert found["seconds"] > 0
        assert found["peak_mb"] > 50


def test_even_records_have_the_size_asked_for():
    matrix = speed.records_of(200, 1000)
    assert isinstance(matrix, CodeMatrix)
    assert matrix.shape == (200, 1000)
    assert matrix.counts.sum() == 200 * 14


def test_a_product_over_patches_is_the_convolution():
    x, weight = torch.randn(3, 5, 6, 6), torch.randn(4, 5, 3, 3)
    found = unet.by_patches(x, weight.permute(2, 3, 1, 0).flatten(0, 2))
    wanted = torch.nn.functional.conv2d(x, weight, padding=1).permute(0, 2, 3, 1).flatten(0, 2)
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)
