"""Votes over random parts of a stay, and what their certificate promises."""

import numpy as np
import pytest
import torch

from companions.mortality_attack import protocol, simulate, train
from companions.mortality_attack.ablation import Ablated, AblationConfig, certified, hidden
from companions.mortality_attack.models import Classifier, ModelConfig
from companions.mortality_attack.protocol import CORRECTED


@pytest.fixture(scope="module")
def data():
    return protocol.apply(simulate.simulate(200, seed=4).stays, CORRECTED)


@pytest.fixture(scope="module")
def voter(data):
    model = Classifier(ModelConfig(hidden=8, dense=4, dropout=0.0), data.statistics).eval()
    return Ablated(model, AblationConfig(keep=0.3, draws=21))


def test_the_share_of_votes_is_that_of_the_network_on_each_part(voter, data):
    votes, mean, chances = voter.judged(data.test)
    assert chances.shape == (21, len(data.test)) and mean == pytest.approx(chances.mean(0))
    values, mask, static, _ = train.tensors(data.test)
    part = mask & voter.seen[5]
    with torch.no_grad():
        alone = torch.softmax(voter.model(values * part, part, static), -1)[:, 1]
    assert chances[5] == pytest.approx(alone.numpy(), abs=1e-6)
    assert np.array_equal(train.verdicts(voter, data.test), votes >= 0.5)


def test_a_vote_has_a_slope(voter, data):
    values, mask, static, _ = train.tensors(data.test)
    values.requires_grad_()
    voter.margin(voter(values, mask, static)).sum().backward()
    assert values.grad.abs().sum() > 0 and not values.grad[~mask].any()


def test_the_certificate_by_hand():
    config = AblationConfig(keep=0.1, draws=101)
    died = np.array([1.0, 0.0, 1.0, 0.0])
    cells = certified(np.array([1.0, 0.0, 0.52, 1.0]), died, config)
    low = 0.05 ** (1 / 101)  # all 101 draws agree
    assert cells[0] == cells[1] == max(k for k in range(20) if 1 - 0.9**k < low - 0.5)
    assert cells[2] == -1 and cells[3] == -1  # too even to be sure of, and wrong


def test_no_change_of_so_few_cells_alters_more_votes_than_the_certificate_allows(voter, data):
    """Each cell is seen by about a share ``keep`` of the draws, and the other votes stay bit for bit."""
    values, mask, static, _ = train.tensors(data.test)
    where = mask.float().flatten(1).topk(2, 1).indices
    change = torch.zeros_like(values).flatten(1).scatter(1, where, 5.0).view_as(values) * mask
    with torch.no_grad():
        before, after = (
            voter.votes(values + moved, mask, static)[1] for moved in (0 * change, change)
        )
    blind = ~((change != 0) & voter.seen[:, None]).any(-1).any(-1)
    assert torch.equal(before[blind], after[blind])
    assert 0.3 < blind.float().mean() < 0.7  # 0.49 in the mean


def test_hidden_cells_are_gone(data):
    part = hidden(data.test, 0.2)
    assert not part.values[~part.mask].any() and not (part.mask & ~data.test.mask).any()
    assert part.mask.sum() / data.test.mask.sum() == pytest.approx(0.2, abs=0.02)
