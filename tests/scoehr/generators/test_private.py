"""The private generator: what it clips, what it spends, and what it learns nevertheless."""

import json
import math

import numpy as np
import pytest
import torch
from opacus.accountants.utils import get_noise_multiplier
from scipy.stats import norm

from scoehr import InputError, generators
from scoehr.data.matrix import CodeMatrix
from scoehr.generators import Private, PrivateConfig, private
from scoehr.thinning import LENGTHS, RateModel
from tests.problems import patients

MATRIX = patients(2_000)  # so many that lengths of record stand out of any draw of the noise
SMALL = {"width": 32, "epochs": 2, "batch": 60, "delta": 1e-4, "marginals_noise": 1.0}


@pytest.fixture(scope="module")
def model():
    return Private(PrivateConfig(**SMALL)).fit(MATRIX, progress=False)


def test_it_spends_what_was_asked_and_says_so(model, tmp_path):
    assert 7.9 < model.spent <= 8.0
    folder = model.save(tmp_path / "model")
    again = generators.load(folder)
    assert isinstance(again, Private) and again.spent == pytest.approx(model.spent)
    assert again.sample(40, seed=1, progress=False).equals(model.sample(40, seed=1, progress=False))
    card = (folder / "MODEL_CARD.md").read_text()
    assert f"ε = {model.spent:.3g}" in card and "no formal guarantee" not in card


def test_nothing_is_kept_that_was_not_noised(model):
    assert set(model.history) == {"stage", "epoch", "epsilon", "learning_rate", "seconds"}
    assert model.history["epsilon"].is_monotonic_increasing


def test_the_noise_is_not_the_seeds(model):
    other = Private(PrivateConfig(**SMALL)).fit(MATRIX, progress=False)
    same = [
        torch.equal(a, b)
        for a, b in zip(model.rate.parameters(), other.rate.parameters(), strict=True)
    ]
    assert not all(same)


def test_a_patient_moves_the_sum_of_gradients_by_the_norm_and_no_more():
    """With the noise off: the step's gradient is the sum of clipped ones, as one by one."""
    model = Private(PrivateConfig(**SMALL, max_gradient_norm=0.5))
    model._build(MATRIX, seed=0)
    counts = torch.from_numpy(MATRIX.dense())
    x = counts[counts.sum(1).argsort(descending=True)[:7]]  # the longest: each loss has a slope
    model.rate.fit_marginals(counts)
    torch.manual_seed(0)
    torch.nn.init.normal_(model.rate.network.out_proj[1].weight, std=0.3)
    clipped, optimiser = model._private(0.0)

    def gradient(rows, seed=5):
        before = {name: value.clone() for name, value in model.rate.network.state_dict().items()}
        model._step(rows, clipped, optimiser, torch.Generator().manual_seed(seed))
        found = (
            torch.cat([p.grad.flatten() for p in model.rate.network.parameters()])
            * model.config.batch
        )
        model.rate.network.load_state_dict(before)
        return found

    single = gradient(x[:1])
    assert float(single.norm()) == pytest.approx(0.5, rel=1e-3)
    assert float(gradient(x[:0]).norm()) == 0
    assert float(gradient(x).norm()) <= 7 * 0.5 + 1e-4


@pytest.mark.parametrize(("n", "epochs"), [(6_000, 3), (46_520, 40)])
def test_the_noise_agrees_with_the_librarys_own_choice(n, epochs):
    """Where the shares cost nearly nothing."""
    config = PrivateConfig(epochs=epochs, marginals_noise=1e4, epsilon=3.0)
    each = config.batch / n
    steps = epochs * math.ceil(1 / each)
    theirs = get_noise_multiplier(
        target_epsilon=3.0, target_delta=config.delta, sample_rate=each, steps=steps, accountant="rdp",
        epsilon_tolerance=0.001,
    )  # fmt: skip
    assert private.noise_for(config, each, steps) == pytest.approx(theirs, rel=0.01)


def test_shares_move_by_no_more_than_their_sensitivity():
    """One patient more moves the counts above 0 by √max_codes at most, whatever the patient has."""
    config = PrivateConfig(max_codes=9, marginals_noise=1e-9)
    few = torch.zeros(50, 100)
    many = torch.cat([few, torch.randint(1, 60, (1, 100)).float()])
    one, other = (
        private.noised_counts(x, config, torch.Generator().manual_seed(0)) for x in (few, many)
    )
    assert float((other - one)[1:].norm()) == pytest.approx(3.0, abs=1e-6)
    short, long = (
        private.noised_lengths(x, config, torch.Generator().manual_seed(0)) for x in (few, many)
    )
    assert float((long - short).abs().sum()) == pytest.approx(1.0, abs=1e-6)
    assert private._spread(config) == pytest.approx(1e-9 * math.sqrt(10))
    assert one.shape == (RateModel.MAX_COUNT + 1, 100)
    assert torch.allclose(other.sum(0), torch.tensor(51.0, dtype=torch.float64))


def test_shares_of_common_codes_survive_the_noise():
    rng = torch.Generator().manual_seed(0)
    x = (torch.rand(20_000, 30, generator=rng) < 0.2).float()
    counts = private.noised_counts(x, PrivateConfig(), rng)
    assert float((counts[1] / 20_000 - 0.2).abs().max()) < 0.02
    assert float(counts[2:].sum()) < 0.01 * float(counts[1].sum())


def test_lengths_of_common_records_survive_the_noise():
    rng = torch.Generator().manual_seed(0)
    x = torch.poisson(torch.full((20_000, 30), 0.3), generator=rng)
    x[0] = 1_000.0
    lengths = private.noised_lengths(x, PrivateConfig(), rng)
    shares = lengths / lengths.sum()
    assert float((shares * LENGTHS).sum()) == pytest.approx(9.0, abs=0.3)
    assert float(shares[LENGTHS > 40].sum()) == 0, "a single long record does not show"
    with pytest.raises(InputError, match="100 patients are too few"):
        private.noised_lengths(x[:100], PrivateConfig(), rng)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"epsilon": 0.0}, "epsilon must be above 0"),
        ({"delta": 0.5}, "delta 0.5 promises nothing"),
        ({"epsilon": 0.05}, "epsilon 0.05 is less than the marginals"),
    ],
)
def test_promises_that_cannot_be_kept(settings, message):
    with pytest.raises(InputError, match=message):
        generators.preset("private", **{**SMALL, **settings}).fit(MATRIX, progress=False)


def test_on_condition(model):
    made = model.sample(30, condition=[MATRIX.codes[0]], progress=False)
    assert (made.counts[:, [0]].toarray() >= 1).all()


def test_records_are_as_long_as_the_noised_lengths_say(model):
    made = model.sample(2000, seed=1, progress=False)
    said = float((model.rate.length_pmf * LENGTHS).sum())
    assert made.counts.sum() / 2000 == pytest.approx(said, rel=0.1)
    assert 0 < said < MATRIX.counts.sum(axis=1).max()
    assert made.shape == (2000, MATRIX.shape[1])
    assert np.all(made.counts.data >= 0)


@pytest.mark.parametrize("credentialed", [True, False])
def test_facts_of_the_data_stand_beside_a_private_model_only_if_the_data_are_open(
    model, tmp_path, credentialed
):
    facts = {"fingerprint": "abc", "train": 2_000}
    folder = model.save(tmp_path / "model", credentialed=credentialed, data=facts)
    assert json.loads((folder / "config.json").read_text())["data"] == (
        {} if credentialed else facts
    )
    assert not (folder / "pairs.parquet").exists()


def test_public_codes_take_the_place_of_the_tables_own():
    matrix = CodeMatrix.from_array([[1, 0, 2], [0, 3, 0]], ["A", "B", "C"], titles=["a", "b", "c"])
    public = generators.on_codes(matrix, {"C": "public", "X": ""})
    assert public.dense().tolist() == [[2, 0], [0, 0]]
    assert (list(public.codes), list(public.titles)) == (["C", "X"], ["public", ""])


NOISED = {**SMALL, "vocabulary": "noised", "delta": 1e-4}


def test_a_noised_vocabulary_has_common_codes_and_none_of_one_patient():
    rare = patients(2_000).dense()
    rare = np.c_[rare, np.eye(2_000, 40, dtype=rare.dtype)]  # forty patients have a code alone
    codes = [*MATRIX.codes, *(f"9{k:02d}" for k in range(40))]
    matrix = CodeMatrix.from_array(rare, codes, titles=["told by a patient"] * 100)
    found = private.noised_vocabulary(
        matrix, PrivateConfig(**NOISED), torch.Generator().manual_seed(0)
    )
    common = np.asarray((matrix.counts > 0).sum(axis=0)).ravel() > 200
    assert common.sum() > 5 and set(matrix.codes[common]) <= set(found)
    assert not [code for code in found if code.startswith("9")]
    assert set(found.values()) == {""} and list(found) == sorted(found)


def test_a_patient_moves_the_noised_vocabularys_sums_by_one():
    config = PrivateConfig(**{**NOISED, "max_codes": 25})
    for codes in (0, 4, 100):
        x = private.SparseRows.of(torch.tensor([[7.0] * codes + [0.0] * (100 - codes)]))
        moved = private._shares(x, config, torch.Generator().manual_seed(0))
        assert int((moved > 0).sum()) == min(codes, 25)
        assert float(moved.norm()) == pytest.approx(min(codes, 1))


@pytest.mark.parametrize("most", [1, 7, 40])
def test_codes_of_one_patient_pass_with_the_chance_that_delta_leaves_them(most):
    config = PrivateConfig(**{**NOISED, "max_codes": most})
    least = private.vocabulary_threshold(config)
    k = np.arange(1, most + 1)
    passing = 1 - norm.cdf((least - 1 / np.sqrt(k)) / config.vocabulary_noise) ** k
    assert passing.max() == pytest.approx(0.1 * config.delta, rel=1e-6)


def test_a_noised_vocabulary_is_paid_for(tmp_path):
    config = PrivateConfig(**NOISED)
    public = PrivateConfig(**SMALL)
    assert private.noise_for(config, 0.03, 66) > private.noise_for(public, 0.03, 66)
    model = Private(config).fit(MATRIX, progress=False)
    assert 7.9 < model.spent <= 8.0
    card = (model.save(tmp_path / "model") / "MODEL_CARD.md").read_text()
    assert "vocabulary was chosen under noise within it" in card
    with pytest.raises(InputError, match="stands out"):
        Private(config).fit(MATRIX.take(np.arange(30)), progress=False)
