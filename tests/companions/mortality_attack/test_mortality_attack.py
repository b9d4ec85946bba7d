"""The attack against oracles, the victim untouched, the measures by hand, and the study that runs it all."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from companions.mortality_attack import attack as attacks
from companions.mortality_attack import features, models, protocol, simulate, susceptibility, train
from companions.mortality_attack.attack import AttackConfig, attack
from companions.mortality_attack.models import Classifier, ModelConfig
from companions.mortality_attack.protocol import CORRECTED, Protocol, Series
from scoehr.files import InputError

F = len(features.table())
FEW = 3  # features that the linear victim reads


class Linear(nn.Module):
    """A victim whose margin is a known linear function: the optimum of the attack has a closed form."""

    def __init__(self, weight, bias):
        super().__init__()
        self.weight, self.bias = nn.Parameter(weight), bias
        self.inputs = nn.Module()
        self.inputs.chosen = torch.arange(FEW)

    def forward(self, values, mask, static):
        score = (values * self.weight).sum((1, 2)) + self.bias
        return torch.stack([torch.zeros_like(score), score], 1)

    def margin(self, logits):
        return logits[:, 1] - logits[:, 0]


@pytest.fixture(scope="module")
def data():
    return protocol.apply(simulate.simulate(300, seed=4).stays, CORRECTED)


@pytest.fixture(scope="module")
def victim(data):
    model = Classifier(ModelConfig(hidden=8, dense=4, dropout=0.0), data.statistics)
    train.train(
        model,
        data,
        train.TrainingConfig(epochs=8, batch=32, learning_rate=1e-2),
        CORRECTED,
        progress=False,
    )
    return model


@pytest.fixture(scope="module")
def found(victim, data):
    return attack(
        victim,
        data.test,
        data.statistics,
        AttackConfig(penalty=0.05, step_size=0.5, steps=150),
        progress=False,
    )


def stays(n, value=0.5):
    """Stays whose every cell is measured and has one value."""
    values = np.full((n, 48, F), value, np.float32)
    return Series(values, np.ones_like(values, bool), np.zeros((n, 7), np.float32), np.zeros(n), np.arange(n),
                  np.arange(n))  # fmt: skip


def linear_case(seed=0, bias=-1.0):
    rng = np.random.default_rng(seed)
    weight = torch.zeros(48, F)
    weight[:, :FEW] = torch.as_tensor(rng.normal(size=(48, FEW)) * 0.2, dtype=torch.float32)
    weight[7, 1] = 1.5  # the steepest cell
    base = float((0.5 * weight).sum())
    return Linear(weight, bias - base), weight


# Oracles ------------------------------------------------------------------------------------------------------------


def closed_form(weight, margin, room=0.5):
    """Least L1 norm that moves a linear margin by so much in a box: the steepest cells first, to the edge."""
    steep = np.sort(np.abs(weight.numpy()).ravel())[::-1]
    moved = norm = 0.0
    for slope in steep:
        part = min(room, (margin - moved) / slope)
        norm, moved = norm + part, moved + part * slope
        if moved >= margin - 1e-9:
            return norm
    raise AssertionError("the box is too small")


@pytest.mark.parametrize("momentum", [False, True])
@pytest.mark.parametrize("bias", [-0.5, -1.0])
def test_the_closed_form_optimum_on_a_linear_victim(data, bias, momentum):
    model, weight = linear_case(bias=bias)
    config = AttackConfig(penalty=0.9, step_size=0.01, steps=400, patience=0, momentum=momentum)
    result = attack(model, stays(2), data.statistics, config, progress=False)
    best = np.abs(result.best).sum((1, 2))
    # one cell is steep enough for λ and suffices or is moved to the edge
    if -bias <= 1.5 * 0.5:
        assert result.success.all() and best == pytest.approx(closed_form(weight, -bias), abs=0.02)
        assert (result.best != 0).sum((1, 2)).tolist() == [1, 1] and result.best[0, 7, 1] > 0
    else:
        assert not result.success.any()


def test_a_smaller_penalty_frees_flatter_cells_and_stays_near_the_optimum(data):
    model, weight = linear_case(bias=-1.5)
    config = AttackConfig(penalty=0.2, step_size=0.005, steps=600, patience=0)
    result = attack(model, stays(1), data.statistics, config, progress=False)
    best = np.abs(result.best).sum()
    optimum = closed_form(weight, 1.5)
    assert result.success.all() and optimum <= best + 1e-6 and best < 1.35 * optimum


def test_it_agrees_with_the_elastic_net_attack_of_foolbox(data):
    foolbox = pytest.importorskip("foolbox")
    model, weight = linear_case(bias=-0.6)
    n = 48 * FEW

    class Flat(nn.Module):
        def forward(self, x):
            score = x.reshape(len(x), 48, FEW).mul(weight[:, :FEW]).sum((1, 2)) + model.bias_of_rest
            return torch.stack([torch.zeros_like(score), score], 1)

    model.bias_of_rest = model.bias
    wrapped = foolbox.PyTorchModel(Flat().eval(), bounds=(0, 1))
    oracle = foolbox.attacks.EADAttack(steps=600, initial_stepsize=0.02, regularization=0.2, decision_rule="L1",
                                       binary_search_steps=7)  # fmt: skip
    x = torch.full((2, n), 0.5)
    _, clipped, success = oracle(wrapped, x, foolbox.criteria.Misclassification(torch.zeros(2, dtype=torch.long)),
                                 epsilons=None)  # fmt: skip
    config = AttackConfig(penalty=0.9, step_size=0.01, steps=400, patience=0)
    ours = attack(model, stays(2), data.statistics, config, progress=False)
    theirs = (clipped - x).abs().sum(1).numpy()
    mine = np.abs(ours.best).sum((1, 2))
    assert success.all() and ours.success.all()
    assert mine == pytest.approx(closed_form(weight, 0.6), abs=0.02)
    assert (mine <= theirs * 1.1 + 0.02).all() and (theirs <= mine * 1.6).all()
    changed = (clipped - x).abs()[0].reshape(48, FEW)
    assert tuple(np.unravel_index(int(changed.argmax()), (48, FEW))) == (7, 1)


@given(st.floats(-3, 3), st.floats(0, 2))
def test_the_proximal_operator_minimises_its_objective(value, by):
    found_ = float(attacks.soft_threshold(torch.tensor(value), by))
    grid = np.linspace(-4, 4, 801)
    objective = lambda p: 0.5 * (p - value) ** 2 + by * abs(p)  # noqa: E731
    assert objective(found_) <= min(map(objective, grid)) + 1e-4


# What it may and may not do -----------------------------------------------------------------------------------------


def test_the_victim_keeps_its_bits_and_takes_gradients_again(victim, data):
    before = attacks.fingerprint(victim)
    attack(victim, data.test, data.statistics, AttackConfig(steps=5, batch=7), progress=False)
    assert attacks.fingerprint(victim) == before
    assert all(parameter.requires_grad for parameter in victim.parameters())


def test_a_victim_that_changes_is_seen():
    model = nn.Linear(2, 2)
    with pytest.raises(RuntimeError, match="changed the model"), attacks.frozen(model):
        model.weight.data[0, 0] += 1e-6


def test_only_right_verdicts_are_attacked_and_successes_are_wrong_after(victim, data, found):
    right = susceptibility.right(victim, data.test)
    assert np.array_equal(np.flatnonzero(right), found.rows) and found.success.mean() > 0.5
    some = data.test.take(found.rows)
    for changes in (found.first, found.best):
        assert np.array_equal(susceptibility.turned(victim, some, changes), found.success)
    assert not found.best[~found.success].any()
    assert (found.first_step[found.success] <= found.best_step[found.success]).all()
    assert (found.first_step[~found.success] == 0).all()


def test_measured_cells_of_features_that_exist_and_the_box(victim, data, found):
    mask = data.test.mask[found.rows]
    assert not found.best[~mask].any()
    assert not found.best[..., ~data.statistics.available].any()
    values = data.test.values[found.rows]
    after = values + found.best
    assert (after >= np.minimum(values, 0) - 1e-5).all() and (
        after <= np.maximum(values, 1) + 1e-5
    ).all()


def test_the_clinical_box_is_one_of_plausible_values(victim, data):
    config = AttackConfig(penalty=0.01, step_size=5.0, steps=30, box="clinical")
    result = attack(victim, data.test, data.statistics, config, progress=False)
    after = data.statistics.clinical(data.test.values[result.rows] + result.best)
    mask = data.test.mask[result.rows]
    for place, feature in enumerate(features.table()[:19]):
        some = after[..., place][mask[..., place]]
        tolerance = 1e-3 * feature.high
        assert some.min() >= feature.low - tolerance and some.max() <= feature.high + tolerance


def test_absent_features_are_left_alone_where_gaps_may_be_changed():
    made = simulate.simulate(200, seed=6).stays
    gone = features.names().index("calcium")
    kept = made.events["feature"] != gone
    made = replace(made, events={name: column[kept] for name, column in made.events.items()})
    flawed = Protocol(future_values=True)
    data = protocol.apply(made, flawed)
    model = Classifier(ModelConfig(hidden=8, dense=4, dropout=0.0, filled=True), data.statistics)
    train.train(
        model,
        data,
        train.TrainingConfig(epochs=4, batch=32, learning_rate=1e-2),
        flawed,
        progress=False,
    )
    config = AttackConfig(penalty=0.001, step_size=1.0, steps=60, measured_only=False)
    result = attack(model, data.test, data.statistics, config, progress=False)
    assert result.success.any()
    assert not result.best[..., gone].any() and not result.first[..., gone].any()
    assert result.best[~data.test.mask[result.rows]].any()  # filled-in cells are changed


@pytest.mark.parametrize("batch", [5, 17])
def test_batches_and_compaction_change_no_result(victim, data, found, batch):
    some = data.test.take(np.arange(18))
    config = AttackConfig(penalty=0.05, step_size=0.5, steps=120, patience=15)
    one = attack(victim, some, data.statistics, replace(config, batch=batch), progress=False)
    all_ = attack(victim, some, data.statistics, replace(config, batch=64), progress=False)
    assert np.array_equal(one.success, all_.success)
    norms = [
        np.abs(result.best).sum((1, 2)) for result in (one, all_)
    ]  # sums of other batches round otherwise
    assert np.allclose(*norms, rtol=0.05, atol=0.01)
    whole = attack(victim, some, data.statistics, replace(config, patience=0), progress=False)
    assert (whole.success >= all_.success).all() and np.mean(whole.success != all_.success) < 0.1
    assert (all_.steps <= whole.steps).all() and all_.steps.sum() < whole.steps.sum()


def test_directions_and_confidence(victim, data, found):
    for direction, verdict in (("0to1", 0), ("1to0", 1)):
        config = AttackConfig(penalty=0.05, step_size=0.5, steps=30, direction=direction)
        result = attack(victim, data.test, data.statistics, config, progress=False)
        assert (result.verdict == verdict).all() and len(result) == (found.verdict == verdict).sum()


@pytest.mark.parametrize("optimiser", ["adam", "rmsprop"])
def test_other_optimisers_turn_verdicts_too(victim, data, optimiser):
    config = AttackConfig(penalty=0.2, step_size=0.02, steps=80, optimiser=optimiser)
    assert attack(victim, data.test, data.statistics, config, progress=False).success.mean() > 0.5


def test_settings_out_of_range_are_refused():
    for wrong in (
        {"step_size": 0},
        {"kappa": -1},
        {"optimiser": "newton"},
        {"momentum": True, "optimiser": "adam"},
    ):
        with pytest.raises(InputError):
            AttackConfig(**wrong)


# Measures -----------------------------------------------------------------------------------------------------------


def test_measures_by_hand():
    changes = np.zeros((4, 2, 2))
    changes[0, 0, 0], changes[1, 0, 0], changes[2, 1, 1] = 0.5, -0.1, 0.2
    maps = susceptibility.maps(changes)
    assert maps["gmp"][0, 0] == 0.5 and maps["gpp"][0, 0] == 0.5
    assert maps["gap"][0, 0] == pytest.approx(0.15) and maps["ganzp"][0, 0] == pytest.approx(0.3)
    assert maps["s"][0, 0] == pytest.approx(0.25) and maps["sensitivity"][0, 0] == pytest.approx(
        0.5 / 0.3
    )
    assert maps["sensitivity"][0, 1] == 0
    sums = susceptibility.by_feature(changes)
    assert sums["s"] == pytest.approx([0.25, 0.05]) and sums["touched"] == pytest.approx(
        [0.5, 0.25]
    )
    each = susceptibility.per_example(changes)
    assert each["cells"].tolist() == [1, 1, 1, 0] and each["l1"] == pytest.approx(
        [0.5, 0.1, 0.2, 0]
    )
    assert each["largest"] == pytest.approx([0.5, 0.1, 0.2, 0])
    assert susceptibility.objective(changes[:3], "sparsity") == pytest.approx(3 * 0.75)
    assert susceptibility.objective(changes[:3], "sparse_small") == pytest.approx(
        0.75 * (2 + 10 + 5)
    )
    assert susceptibility.objective(changes[:3], "max_num_nonzero_perts") == 3
    assert susceptibility.curve(
        np.array([1, 5, 9]), np.array([True, True, False]), [0, 1, 5, 10]
    ) == pytest.approx([0, 1 / 3, 2 / 3, 2 / 3])


def test_the_norm_is_elementwise_not_the_largest_column():
    changes = np.zeros((1, 48, F))
    changes[0, :2, 0], changes[0, 0, 1] = 0.25, 0.4
    assert susceptibility.per_example(changes)["l1"][0] == pytest.approx(0.9)
    assert float(torch.linalg.matrix_norm(torch.as_tensor(changes[0]), ord=1)) == pytest.approx(
        0.5
    )  # as reported


def test_noise_turns_fewer_verdicts_than_the_attack(victim, data, found):
    noise = susceptibility.noise(victim, data.test, data.statistics, found, measured_only=True)
    assert noise["value"] < 0.5 and noise["stays"] == found.success.sum()


def test_changes_carry_over_to_the_model_they_were_made_against(victim, data, found):
    other = Classifier(ModelConfig("grud", hidden=8, dense=4, dropout=0.0), data.statistics)
    train.train(
        other,
        data,
        train.TrainingConfig(epochs=6, batch=32, learning_rate=1e-2),
        CORRECTED,
        progress=False,
    )
    table = susceptibility.transfer({"one": found}, {"one": victim, "other": other}, data.test)[
        "one"
    ]
    assert table["one"]["value"] == 1 and 0 <= table["other"]["value"] < 1
    assert models.NETWORKS["grud"] is type(other.network)
