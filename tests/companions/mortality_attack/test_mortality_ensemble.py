"""The worst of several attacks: against the attack of a kept library, weakened on purpose, and where slopes fail."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from companions.mortality_attack import features, protocol, simulate, susceptibility, train
from companions.mortality_attack.attack import AttackConfig, attack, fingerprint
from companions.mortality_attack.ensemble import EnsembleConfig, strongest
from companions.mortality_attack.models import Classifier, ModelConfig
from companions.mortality_attack.protocol import CORRECTED

F = len(features.table())
BASE = AttackConfig(step_size=0.2, steps=150)
CONFIG = EnsembleConfig(sparse_steps=20, queries=30)


@pytest.fixture(scope="module")
def data():
    return protocol.apply(simulate.simulate(300, seed=4).stays, CORRECTED)


@pytest.fixture(scope="module")
def victim(data):
    model = Classifier(ModelConfig(hidden=8, dense=4, dropout=0.0), data.statistics)
    config = train.TrainingConfig(epochs=8, batch=32, learning_rate=1e-2)
    train.train(model, data, config, CORRECTED, progress=False)
    return model


@pytest.fixture(scope="module")
def series(data):
    """Stays within the box, as the library's attack needs them."""
    some = data.test.take(np.arange(14))
    return replace(some, values=np.clip(some.values, 0, 1) * some.mask)


@pytest.fixture(scope="module")
def found(victim, series, data):
    before = fingerprint(victim)
    result = strongest(victim, series, data.statistics, BASE, CONFIG, progress=False)
    assert fingerprint(victim) == before
    return result


def elastic_net(victim, series, rows):
    """L1 norms of the elastic-net attack of foolbox on the same stays."""
    foolbox = pytest.importorskip("foolbox")
    some = series.take(rows)
    values, mask, static, died = train.tensors(some)

    class Flat(nn.Module):
        def forward(self, x):
            score = victim.margin(victim(x, mask, static))
            return torch.stack([torch.zeros_like(score), score], 1)

    oracle = foolbox.attacks.EADAttack(
        steps=300, initial_stepsize=0.02, regularization=0.01, decision_rule="L1",
        binary_search_steps=7, abort_early=False,
    )  # fmt: skip
    wrapped = foolbox.PyTorchModel(Flat().eval(), bounds=(0, 1))
    wrong = foolbox.criteria.Misclassification(died.long())
    _, moved, success = oracle(wrapped, values, wrong, epsilons=None)
    norm = (moved - values).abs().sum((1, 2)).numpy()
    return np.where(success.numpy(), norm, np.inf)


def weaker(result, theirs, tolerance=0.02):
    """Whether an attack needs more than another on any stay, or more in the middle."""
    mine = np.where(result.success, np.abs(result.best).sum((1, 2)), np.inf)
    return bool((mine > theirs * (1 + tolerance)).any() or np.median(mine) > np.median(theirs))


def test_it_is_never_weaker_than_the_elastic_net_attack_of_foolbox(victim, series, data, found):
    theirs = elastic_net(victim, series, found.rows)
    assert len(found) > 5 and np.isfinite(theirs).mean() > 0.8
    assert not weaker(found, theirs)
    # the same comparison sees an attack that was weakened: long steps, one penalty, an early stop
    blunt = AttackConfig(step_size=2.0, penalty=0.02, steps=40, patience=10)
    weakened = attack(victim, series, data.statistics, blunt, progress=False)
    assert np.array_equal(weakened.rows, found.rows) and weaker(weakened, theirs)


def test_what_was_kept_turns_verdicts_within_bounds_and_budgets(victim, series, found):
    some = series.take(found.rows)
    for changes in (found.best, found.sparsest):
        assert np.array_equal(susceptibility.turned(victim, some, changes), found.success)
        after = some.values + changes
        assert after.min() >= -1e-5 and after.max() <= 1 + 1e-5 and not changes[~some.mask].any()
    cells = (found.best != 0).sum((1, 2))
    assert (found.needed[found.success] <= cells[found.success]).all()
    assert np.isinf(found.needed[~found.success]).all()


def test_few_cells_are_found_that_the_proximal_attack_misses(victim, series, data, found):
    alone = attack(victim, series, data.statistics, BASE, progress=False)
    cells = np.where(alone.success, (alone.best != 0).sum((1, 2)), np.inf)
    assert (found.needed <= cells).all() and found.needed.sum() < cells.sum()


class Steps(nn.Module):
    """A victim without slopes: it calls death where any of the first three series is above 0.9."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.inputs = nn.Module()
        self.inputs.chosen = torch.arange(3)

    def forward(self, values, mask, static):
        high = (values[..., :3] > 0.9).sum((1, 2)).to(values) - 0.5 + 0 * values.sum((1, 2))
        return torch.stack([torch.zeros_like(high), high], 1)

    def margin(self, logits):
        return logits[:, 1] - logits[:, 0]


def test_the_random_search_turns_what_has_no_slope(data):
    values = np.full((4, 48, F), 0.5, np.float32)
    series = protocol.Series(
        values, np.ones_like(values, bool), np.zeros((4, 7), np.float32), np.zeros(4),
        np.arange(4), np.arange(4),
    )  # fmt: skip
    base, config = AttackConfig(steps=20), replace(CONFIG, restarts=0)
    seen = strongest(Steps(), series, data.statistics, base, config, progress=False)
    unasked = replace(config, queries=0)
    blind = strongest(Steps(), series, data.statistics, base, unasked, progress=False)
    assert seen.success.all() and (seen.needed == 1).all() and not blind.success.any()


def test_no_stay_to_attack_gives_an_empty_result(victim, series, data):
    wrong = series.take(np.flatnonzero(~susceptibility.right(victim, series)))
    result = strongest(victim, wrong, data.statistics, BASE, CONFIG, progress=False)
    assert len(result) == 0 and result.needed.shape == (0,)
