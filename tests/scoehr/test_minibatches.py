"""Sparse rows give what the dense tensor gave, to the bit."""

import hashlib
import subprocess
import sys

import numpy as np
import pytest
import torch
from scipy import sparse
from toy import Toy

from scoehr import generators
from scoehr.checkpoints import digest
from scoehr.data.matrix import CodeMatrix
from scoehr.files import InputError
from scoehr.generators import private
from scoehr.generators.base import Generator
from scoehr.generators.copula import correlation, tetrachoric, thresholds
from scoehr.minibatches import SparseRows
from scoehr.training import TrainingConfig, train

MATRIX = CodeMatrix.from_array(
    Toy(codes=60, mean_cell=0.1).sample(400, seed=1), [f"c{j}" for j in range(60)]
)
SMALL = {
    "thinning": {"epochs": 2, "width": 16},
    "private": {"epochs": 1, "width": 16, "epsilon": 900.0, "marginals_noise": 0.1},
    "fast": {"epochs": 1, "autoencoder_epochs": 2, "latent": 16, "width": 16},
    "reported": {"epochs": 1, "autoencoder_epochs": 1, "latent": 16, "width": 16},
    "paper": {"epochs": 1, "autoencoder_epochs": 1, "latent": 16, "width": 16},
    "medgan": {"epochs": 2, "autoencoder_epochs": 2},
    "medwgan": {"epochs": 1, "autoencoder_epochs": 1, "kind": "count"},
    "edm": {"epochs": 2, "width": 16},
    "copula": {},
}


class Dense(SparseRows):
    """What training had before: the whole table as a dense tensor."""

    def __init__(self, counts, device="cpu"):
        super().__init__(counts, device)
        self.x = torch.from_numpy(self.counts.toarray())

    def __getitem__(self, rows):
        return Dense(self.counts[rows]) if isinstance(rows, slice) else self.x[rows]

    def split(self, size):
        return iter(self.x.split(size))

    def sum(self, dim):
        return self.x.double().sum(dim)

    def mean(self, dim):
        return self.x.mean(dim)

    def std(self):
        return self.x.std()

    def frequencies(self, most):
        return torch.stack([(self.x.clamp(max=most) == m).sum(0) for m in range(most + 1)])


def weights(generator):
    found = hashlib.sha256(
        generator.history.drop(columns="seconds").to_json(double_precision=15).encode()
    )
    for tensors in generator._weights().values():
        for name, value in sorted(tensors.items()):
            found.update(name.encode() + value.detach().contiguous().numpy().tobytes())
    return found.hexdigest()


def fitted(name, settings, folder=None):
    how = {"seed": 5, "folder": folder, "progress": False}
    return generators.preset(name, **settings).fit(MATRIX, MATRIX.take(np.arange(90)), **how)


@pytest.mark.parametrize("name", SMALL)
def test_every_preset_learns_the_weights_that_the_dense_table_gives(name, monkeypatch):
    numbers = {"seed": 0}

    def known(device="cpu"):  # in place of noise that nobody can draw again
        numbers["seed"] += 1
        return torch.Generator(device).manual_seed(numbers["seed"])

    monkeypatch.setattr(private.Private, "_secret", staticmethod(known))
    sparsely = weights(fitted(name, SMALL[name]))
    numbers["seed"] = 0
    monkeypatch.setattr(Generator, "_rows", lambda self, matrix: Dense(self._cut(matrix).counts))
    assert weights(fitted(name, SMALL[name])) == sparsely


def test_the_copula_is_that_of_the_dense_table():
    x = torch.from_numpy(MATRIX.dense())
    levels = range(int(x.max()))
    at_most = torch.stack([(x <= k).double().mean(0) for k in levels], dim=1)
    assert thresholds(x).equal(torch.special.ndtri(at_most))
    present = (x > 0).double()
    shares = present.mean(0)
    expected = torch.outer(shares, shares)
    ratio = (present.T @ present + 5) / (len(x) * expected + 5)
    excess = torch.minimum(expected * ratio, torch.minimum(shares[:, None], shares)) - expected
    dense = correlation(-torch.special.ndtri(shares), excess).fill_diagonal_(1.0)
    assert tetrachoric(x, 5.0).equal(dense)


def test_rows_are_those_of_the_dense_tensor():
    x = torch.from_numpy(MATRIX.dense())
    rows = SparseRows(MATRIX.counts)
    mask = torch.arange(len(x)) % 3 == 0
    chosen = torch.tensor([5, 5, 0, len(x) - 1])
    assert rows.shape == x.shape
    assert rows[chosen].equal(x[chosen])
    assert rows[mask].equal(x[mask])
    assert rows[mask & False].equal(x[:0])
    assert rows[3:17].dense().equal(x[3:17])
    assert rows.dense().equal(x)
    assert [part.tolist() for part in rows.split(64)] == [part.tolist() for part in x.split(64)]
    assert list(rows[:0].split(64)) == []
    assert rows.padded(x.shape[1] + 3).dense()[:, : x.shape[1]].equal(x)
    assert rows.sum(0).equal(x.double().sum(0))
    assert rows.sum(1).equal(x.double().sum(1))
    assert rows.mean(0).equal(x.mean(0))
    assert rows.std().equal(x.std())
    for most in (1, 2, 40):
        counts = torch.stack([(x.clamp(max=most) == m).sum(0) for m in range(most + 1)])
        assert rows.frequencies(most).equal(counts)


def test_equal_cells_have_no_spread_whatever_they_hold():
    for value in (0, 1, 3, 7):
        assert float(SparseRows(sparse.csr_array(np.full((11, 13), value))).std()) == 0


def test_the_digest_is_that_of_the_dense_tensor():
    x = MATRIX.dense()
    rows = SparseRows(MATRIX.counts)
    stored_zeros = sparse.csr_array(np.ones_like(x))
    stored_zeros.data = x.ravel().copy()
    twice = sparse.coo_array((np.r_[1.0, 2.0], (np.r_[0, 0], np.r_[1, 1])), shape=(2, 3))
    assert digest(rows) == digest(torch.from_numpy(x)) == digest(SparseRows(stored_zeros))
    assert digest(SparseRows(twice)) == digest(torch.tensor([[0.0, 3, 0], [0, 0, 0]]))
    wide = SparseRows(sparse.csr_array(([5.0], ([2], [2**21 + 3])), shape=(5, 2**21 + 9)))
    assert digest(wide) == digest(wide.dense()), "in several parts"
    others = {digest(SparseRows(sparse.csr_array(y))) for y in (x[::-1], x.T, x + np.eye(*x.shape))}
    assert (
        len(
            others | {digest(rows), digest(rows[: len(x) - 1]), digest(rows.padded(x.shape[1] + 1))}
        )
        == 6
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"kind": "binary", "head": "sigmoid"},
        {"autoencoder_noise": 0.3},
        {"prediction": "noise"},
        {"time_scale": 1000.0},
        {"times": "uniform"},
    ],
)
def test_a_checkpoint_of_another_loss_is_never_taken_up(changes, tmp_path):
    one = {
        **SMALL["reported"],
        "epochs": 2,
        "autoencoder_epochs": 2,
        "kind": changes.get("kind", "count"),
    }
    other = fitted("reported", {**one, **changes})
    fitted("reported", one, tmp_path)
    assert weights(fitted("reported", {**one, **changes}, tmp_path)) == weights(other)


def test_training_takes_either():
    x = torch.from_numpy(MATRIX.dense())
    made = []
    for data in (x, SparseRows.of(x)):
        torch.manual_seed(0)
        layer = torch.nn.Linear(x.shape[1], 3)
        config = TrainingConfig(epochs=2, batch=33, drop_last=False)
        train(
            layer,
            lambda x, rng, layer=layer: (
                (layer(x) - torch.rand(len(x), 3, generator=rng)).square().mean()
            ),
            data,
            config,
            seed=1,
            validation=data[:70],
            progress=False,
        )
        made.append(layer.weight.detach().clone())
    assert made[0].equal(made[1])


@pytest.mark.parametrize(
    ("name", "changes"),
    [("thinning", {}), ("edm", {}), ("medgan", {"embedding": 10_000}), ("fast", {})],
)
def test_training_that_cannot_fit_in_memory_is_refused_before_it_begins(name, changes):
    large = {"batch": 10**6, "width": 10_000, **changes}
    many = CodeMatrix.from_array(sparse.csr_array((10**6, 9)), list("abcdefghi"))
    with pytest.raises(
        InputError,
        match=r"1,000,000 patients and 9 codes needs about .* GiB are free; set a smaller",
    ):
        generators.preset(name, **large).fit(many, progress=False)


@pytest.mark.parametrize("name", SMALL)
def test_the_memory_that_training_needs_grows_with_width_and_codes(name):
    """Weights, batch and marginal tables: between the weights alone and a hundred times them and the table."""
    model = fitted(name, SMALL[name])
    need = model.need(MATRIX)
    weights = sum(part.nbytes for tensors in model._weights().values() for part in tensors.values())
    wide = CodeMatrix.from_array(sparse.csr_array((400, 6000)), [f"c{j}" for j in range(6000)])
    assert weights < need < 2**28
    assert model.need(wide) > 1.5 * need


def test_free_memory_is_what_a_limit_leaves():
    """Address space is limited in a process of its own."""
    code = (
        "import resource; from scoehr.memory import free_memory; before = free_memory();"
        "resource.setrlimit(resource.RLIMIT_AS, (2**32, 2**32)); print(before, free_memory())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    before, after = map(int, done.stdout.split())
    assert 0 < after < 2**32
    assert before > 2**27
