import torch
from scipy import sparse

from scoehr import checkpoints
from scoehr.checkpoints import Checkpoint, digest, facts_hash
from scoehr.minibatches import SparseRows
from scoehr.training import TrainingConfig

X = torch.arange(12.0).reshape(4, 3)


def state(seed=0):
    torch.manual_seed(seed)
    net = torch.nn.Linear(3, 1)
    adam = torch.optim.Adam(net.parameters(), lr=0.1)
    return Checkpoint(net, {"adam": adam}, torch.Generator().manual_seed(seed))


def step(found):
    found.module.zero_grad()
    noise = torch.randn(4, 3, generator=found.rng)
    found.module(X + noise).square().mean().backward()
    found.optimisers["adam"].step()
    return found.module.weight.detach().clone()


def test_what_was_written_continues_with_the_same_bits(tmp_path):
    one, other = state(), state(seed=1)
    step(one)
    one.keep()
    one.numbers, one.history = {"lowest": 0.5}, [{"epoch": 1, "train_loss": float("inf")}]
    one.write(tmp_path / "new" / "a.checkpoint")
    other.read(tmp_path / "new" / "a.checkpoint")
    assert (other.numbers, other.history) == (one.numbers, one.history)
    assert torch.equal(other.kept["weight"], one.kept["weight"])
    assert torch.equal(step(one), step(other))


def test_nothing_is_read_where_there_is_no_file(tmp_path):
    found = state()
    before = found.module.weight.detach().clone()
    found.read(None)
    found.read(tmp_path / "none.checkpoint")
    assert torch.equal(found.module.weight, before)


def test_every_fact_and_the_version_of_the_code_change_the_hash(monkeypatch):
    net, config = torch.nn.Linear(3, 1), TrainingConfig(5)
    facts = [config, 1, X, net, {"head": "relu"}]
    moved, other = X.clone(), torch.nn.Linear(3, 1)
    moved[0, 0] += 1e-6
    changed = [TrainingConfig(6), 2, moved, other, {"head": "sigmoid"}]
    found = {facts_hash(*facts)}
    for place, value in enumerate(changed):
        found.add(facts_hash(*facts[:place], value, *facts[place + 1 :]))
    monkeypatch.setattr(checkpoints, "CODE_VERSION", "another")
    found.add(facts_hash(*facts))
    assert len(found) == len(facts) + 2


def test_sparse_rows_have_the_digest_of_the_dense_tensor():
    assert digest(SparseRows(sparse.csr_array(X.numpy()))) == digest(X)
