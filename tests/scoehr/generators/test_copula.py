import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal, norm

from scoehr import InputError, generators
from scoehr.data.matrix import CodeMatrix
from scoehr.data.simulate import sample_matrix
from scoehr.generators.copula import Copula, correlation, factorised, tetrachoric, thresholds
from tests.problems import patients

MATRIX = patients(600)


@pytest.fixture(scope="module")
def model():
    return Copula().fit(MATRIX, progress=False)


def both_above(a, b, rho):
    return multivariate_normal([0, 0], [[1, rho], [rho, 1]]).cdf([-a, -b])


@pytest.mark.parametrize("rho", [-0.9, -0.3, 0.0, 0.2, 0.7, 0.95])
def test_the_correlation_of_a_pair_is_found(rho):
    heights = torch.tensor([-0.5, 0.0, 1.2, 2.5], dtype=torch.float64)
    excess = torch.tensor(
        [[both_above(a, b, rho) - norm.sf(a) * norm.sf(b) for b in heights] for a in heights]
    )
    found = correlation(heights, excess)
    for i, a in enumerate(heights):
        for j, b in enumerate(heights):
            assert both_above(a, b, found[i, j]) == pytest.approx(both_above(a, b, rho), abs=1e-4)
    assert found[1, 1] == pytest.approx(
        rho, abs=2e-3
    )  # further out, many correlations give the same


def test_known_normals_behind_presence_are_recovered():
    truth = torch.tensor([[1, 0.6, -0.4], [0.6, 1, 0.1], [-0.4, 0.1, 1]], dtype=torch.float64)
    z = torch.randn(60_000, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    present = (z @ torch.linalg.cholesky(truth).T > torch.tensor([0.5, 1.0, 0.0])).double()
    torch.testing.assert_close(tetrachoric(present, 1.0), truth, atol=0.03, rtol=0)


def test_rare_pairs_that_never_meet_are_independent_common_ones_opposed():
    present = torch.zeros(1000, 4, dtype=torch.float64)
    present[:3, 0] = present[3:6, 1] = present[:500, 2] = present[500:, 3] = 1
    found = tetrachoric(present, 5.0)
    assert found[0, 1].abs() < 0.05
    assert found[2, 3] < -0.9


def test_a_factor_gives_back_what_is_a_correlation_and_mends_what_is_none():
    good = torch.tensor([[1, 0.5], [0.5, 1]], dtype=torch.float64)
    torch.testing.assert_close(factorised(good) @ factorised(good).T, good)
    bad = torch.tensor([[1, 0.9, 0.9], [0.9, 1, -0.9], [0.9, -0.9, 1]], dtype=torch.float64)
    mended = factorised(bad) @ factorised(bad).T
    torch.testing.assert_close(mended.diagonal(), torch.ones(3, dtype=torch.float64))
    assert torch.linalg.eigvalsh(mended).min() > -1e-9


def test_thresholds_are_quantiles_of_the_counts():
    limits = thresholds(torch.tensor([[0.0, 0.0], [0.0, 0.0], [1.0, 0.0], [2.0, 0.0]]))
    assert limits[0].tolist() == pytest.approx([0.0, norm.ppf(0.75)])
    assert torch.isinf(limits[1]).all()


def test_the_margins_are_those_of_the_training_patients(model):
    sample = model.sample(20_000, seed=1, progress=False)
    for level in (1, 2, 4):
        real, made = (MATRIX.dense() >= level).mean(0), (sample.dense() >= level).mean(0)
        assert np.abs(real - made).max() < 0.016  # 4.5 standard errors of one half
    assert not made[real == 0].any()


def test_the_dependence_of_pairs_is_that_of_the_simulation():
    """Fresh patients of the known law are nearer to the copula's than to independent columns."""
    train, fresh = sample_matrix(4000, seed=1).to_binary(), sample_matrix(4000, seed=2).to_binary()
    top = np.argsort(-np.asarray(train.counts.mean(axis=0)).ravel())[:40]
    train = CodeMatrix.from_array(
        train.dense()[:, top].astype(int), train.codes[top], kind="binary"
    )
    sample = (
        generators.preset("copula", kind="binary")
        .fit(train, progress=False)
        .sample(4000, progress=False)
    )
    truth = np.corrcoef(fresh.dense()[:, top], rowvar=False)
    distance = np.linalg.norm(np.corrcoef(sample.dense(), rowvar=False) - truth)
    floor = np.linalg.norm(np.corrcoef(train.dense(), rowvar=False) - truth)
    independent = np.linalg.norm(np.eye(40) - truth)
    assert distance < floor + 0.25 * (independent - floor)


def test_a_saved_model_makes_the_same_patients(model, tmp_path):
    again = generators.load(model.save(tmp_path / "model"))
    assert isinstance(again, Copula)
    assert again.config == model.config
    assert again.sample(50, seed=3, progress=False).equals(model.sample(50, seed=3, progress=False))


def test_same_seed_same_patients(model):
    sample = model.sample(50, seed=3, progress=False)
    assert Copula().fit(MATRIX, progress=False).sample(50, seed=3, progress=False).equals(sample)
    assert not model.sample(50, seed=4, progress=False).equals(sample)


def test_codes_that_everybody_or_nobody_has_stay_so():
    counts = np.c_[np.ones(20), np.zeros(20), np.arange(20) % 2].astype(int)
    sample = (
        Copula()
        .fit(CodeMatrix.from_array(counts, ["001", "002", "003"]), progress=False)
        .sample(200, progress=False)
    )
    assert sample.dense()[:, 0].min() == 1
    assert sample.dense()[:, 1].max() == 0
    assert sample.dense()[:, 2].mean() == pytest.approx(0.5, abs=0.15)


def test_settings_are_checked(model):
    with pytest.raises(InputError, match="kind 'signed' is unknown"):
        generators.preset("copula", kind="signed")
    with pytest.raises(InputError, match="sampler 'heun' does not suit copula; it has none"):
        model.sample(3, sampler="heun", progress=False)
