import math
import signal
import subprocess
import sys
import time

import pytest
import torch
from torch import nn

from scoehr import InputError
from scoehr.training import Diverged, TrainingConfig, learning_rate_factor, train

X = torch.randn(200, 3, generator=torch.Generator().manual_seed(0))


def regression(seed=0):
    """A linear layer that is to find the identity."""
    torch.manual_seed(seed)
    net = nn.Linear(3, 3)
    return (
        net,
        lambda x, rng: (
            ((net(x + 0.1 * torch.randn(x.shape, generator=rng)) - x) ** 2).sum(1).mean()
        ),
    )


def weights(net):
    return torch.cat([p.detach().flatten() for p in net.parameters()])


def test_it_learns_and_writes_the_history_down():
    net, loss = regression()
    history = train(
        net,
        loss,
        X,
        TrainingConfig(60, batch=20, learning_rate=0.02),
        seed=1,
        validation=X[:50],
        progress=False,
    )
    assert [row["epoch"] for row in history] == list(range(1, 61))
    assert history[-1]["train_loss"] < 0.1 * history[0]["train_loss"]
    assert history[-1]["validation_loss"] == pytest.approx(history[-1]["train_loss"], rel=0.5)
    torch.testing.assert_close(net.weight, torch.eye(3), atol=0.1, rtol=0)


def test_same_seed_same_bits_other_seed_other_bits():
    def once(seed):
        net, loss = regression()
        train(net, loss, X, TrainingConfig(3, batch=20), seed=seed, progress=False)
        return weights(net)

    assert torch.equal(once(1), once(1))
    assert not torch.equal(once(1), once(2))


@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_interrupted_and_resumed_is_the_same_as_never_interrupted(tmp_path, ema):
    config = TrainingConfig(8, batch=20, schedule="cosine", ema=ema)

    def once(store, stop=None):
        net, loss = regression()
        calls = 0

        def interrupted(x, rng):
            nonlocal calls
            calls += 1
            if stop and calls > stop:
                raise KeyboardInterrupt
            return loss(x, rng)

        history = train(
            net, interrupted, X, config, seed=1, store=store, progress=False, save_every=0
        )
        return weights(net), [row["train_loss"] for row in history]

    whole, losses = once(None)
    with pytest.raises(KeyboardInterrupt):
        once(tmp_path, stop=45)
    resumed, again = once(tmp_path)
    assert torch.equal(whole, resumed)
    assert losses == again


def kept(folder):
    return sorted(path.suffix for path in folder.iterdir())


def trained(store, **settings):
    """Weights and number of epochs that had to be computed, with or without a store."""
    net, loss = regression()
    calls = 0

    def counting(x, rng):
        nonlocal calls
        calls += net.training
        return loss(x, rng)

    train(
        net, counting, X, TrainingConfig(batch=20, **settings), seed=1, store=store, progress=False
    )
    return weights(net), calls // 10


@pytest.mark.parametrize(
    "change", [{"learning_rate": 0.002}, {"weight_decay": 0.1}, {"schedule": "cosine"}]
)
def test_a_checkpoint_of_other_settings_is_not_taken_up(tmp_path, change):
    trained(tmp_path, epochs=2)
    fresh, _ = trained(None, epochs=3, **change)
    again, computed = trained(tmp_path, epochs=3, **change)
    assert computed == 3
    assert torch.equal(again, fresh)


def test_a_longer_training_goes_on_from_a_shorter_one_of_the_same_beginning(tmp_path):
    for epochs, computed in ((3, 3), (7, 4), (7, 0), (3, 0), (8, 1)):
        whole, _ = trained(None, epochs=epochs, schedule="reported")
        weights, did = trained(tmp_path, epochs=epochs, schedule="reported")
        assert did == computed
        assert torch.equal(weights, whole)
    assert kept(tmp_path) == [".checkpoint"] * 3, "one for each length asked for"


def test_the_paper_s_schedule_shares_its_twenty_constant_epochs(tmp_path):
    for epochs, computed in ((25, 25), (30, 9), (12, 12), (12, 0)):  # the rate turns after epoch 21
        whole, _ = trained(None, epochs=epochs, schedule="official")
        weights, did = trained(tmp_path, epochs=epochs, schedule="official")
        assert did == computed
        assert torch.equal(weights, whole)


def test_a_share_shortens_epochs_and_leaves_the_schedule(tmp_path):
    _, computed = trained(None, epochs=6, schedule="reported", epoch_fraction=0.3)
    assert computed * 10 <= 6 * 3 + 9
    rates = TrainingConfig(6, batch=20, schedule="reported", epoch_fraction=0.3).learning_rates()
    assert rates == TrainingConfig(6, batch=20, schedule="reported").learning_rates()


def test_a_damaged_checkpoint_is_named(tmp_path):
    trained(tmp_path, epochs=2)
    (path,) = tmp_path.iterdir()
    path.write_bytes(b"nonsense")
    with pytest.raises(InputError, match=r"not a readable checkpoint.*delete it"):
        trained(tmp_path, epochs=2)


SCRIPT = """
import sys, torch
from pathlib import Path
from tests.scoehr.test_training import X, regression, weights
from scoehr.training import TrainingConfig, train
import time
net, loss = regression()
def slow(x, rng):
    time.sleep(float(sys.argv[2]))
    return loss(x, rng)
config = TrainingConfig(30, batch=20, ema=.9)
train(net, slow, X, config, seed=1, store=Path(sys.argv[1]), progress=False, save_every=0)
print(weights(net).tolist())
"""


def test_killed_in_the_middle_it_ends_with_the_same_weights(tmp_path):
    def start(pause):
        return subprocess.Popen(
            [sys.executable, "-c", SCRIPT, str(tmp_path), str(pause)],
            stdout=subprocess.PIPE,
            text=True,
        )

    process = start(0.02)
    deadline = time.monotonic() + 120
    while not kept(tmp_path) and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.5)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    resumed, _ = start(0).communicate(timeout=120)
    net, loss = regression()
    train(net, loss, X, TrainingConfig(30, batch=20, ema=0.9), seed=1, progress=False)
    assert resumed.strip() == str(weights(net).tolist())


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_divergence_stops_with_a_message(bad):
    net, loss = regression()
    calls = 0

    def breaking(x, rng):
        nonlocal calls
        calls += 1
        return loss(x, rng) * (bad if calls > 15 else 1)

    with pytest.raises(Diverged, match=r"diverged in epoch 2.*lower the learning rate") as caught:
        train(net, breaking, X, TrainingConfig(5, batch=20), seed=1, progress=False)
    assert len(caught.value.history) == 2


def test_a_loss_that_explodes_is_divergence_too():
    net, loss = regression()
    with pytest.raises(Diverged):
        train(net, loss, X, TrainingConfig(50, batch=20, learning_rate=100), seed=1, progress=False)


class TestSchedules:
    def total(self, name, epochs):
        return sum(learning_rate_factor(name, epoch, epochs) for epoch in range(epochs))

    def test_the_reported_one_freezes(self):
        budget = self.total("reported", 50)
        assert budget == pytest.approx(5.22, abs=0.01)
        for epochs, share in {12: 0.70, 25: 0.92, 30: 0.96, 75: 1.006, 100: 1.007}.items():
            assert self.total("reported", epochs) / budget == pytest.approx(share, abs=0.005)

    def test_the_official_one_gives_seven_times_as_much(self):
        assert self.total("official", 50) == pytest.approx(39.1, abs=0.2)
        assert learning_rate_factor("official", 20, 50) == 1
        assert learning_rate_factor("official", 21, 50) < 1

    def test_cosine_ends_near_zero(self):
        assert learning_rate_factor("cosine", 0, 10) == 1
        assert learning_rate_factor("cosine", 9, 10) < 0.03


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"epochs": 0}, "epochs must be"),
        ({"epochs": 1, "learning_rate": -1}, "rate must be"),
        ({"epochs": 1, "schedule": "step"}, "is unknown"),
    ],
)
def test_settings_are_checked_at_the_door(settings, message):
    with pytest.raises(InputError, match=message):
        TrainingConfig(**settings)


def test_too_few_patients_for_a_batch():
    net, loss = regression()
    with pytest.raises(InputError, match="do not fill one batch"):
        train(net, loss, X[:5], TrainingConfig(1, batch=20), seed=1, progress=False)


def test_a_checkpoint_of_other_data_is_never_taken_up(tmp_path):
    held_out = X[:40] + 1
    two_rows_exchanged = X.clone()
    two_rows_exchanged[[0, 1]] = X[[1, 0]]
    moved = X.clone()  # the sum of all cells stays
    moved[5, 0], moved[5, 1] = moved[5, 0] + 1, moved[5, 1] - 1
    names = []
    for data, validation in (
        (X, held_out),
        (two_rows_exchanged, held_out),
        (moved, held_out),
        (X, X[:40]),
        (X, None),
    ):
        net, loss = regression()
        store = tmp_path / str(len(names))
        train(
            net,
            loss,
            data,
            TrainingConfig(2, batch=20),
            seed=1,
            validation=validation,
            store=store,
            progress=False,
        )
        names += [path.name for path in store.iterdir()]
    assert len(names) == len(set(names)) == 5


def test_a_checkpoint_of_other_weights_is_never_taken_up(tmp_path):
    trained(tmp_path, epochs=2)
    net, loss = regression()
    with torch.no_grad():
        net.weight[0, 0] += 1e-6  # too little to show in a loss of three digits
    train(net, loss, X, TrainingConfig(2, batch=20), seed=1, store=tmp_path, progress=False)
    assert len(kept(tmp_path)) == 2


def overfitting(patience, *, store=None, stop=None):
    """Ten numbers learned by heart: training goes on lowering its loss, validation turns."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(20, 64), nn.Tanh(), nn.Linear(64, 1))
    x, noise = torch.randn(60, 20), torch.randn(60, 1)
    data = torch.cat([x, x[:, :1] + noise], dim=1)
    error = lambda rows: (net(rows[:, :20]) - rows[:, 20:]).square()[:, 0]  # noqa: E731
    calls = 0

    def loss(rows, rng):
        nonlocal calls
        calls += 1
        if stop and calls > stop:
            raise KeyboardInterrupt
        return error(rows).mean()

    config = TrainingConfig(
        60, batch=10, learning_rate=0.01, ema=0.9, drop_last=False, patience=patience
    )
    train_on, held = data[:20], data[20:]
    how = {"seed": 1, "validation": held, "judge": lambda: error(held).mean()}
    history = train(net, loss, train_on, config, **how, store=store, progress=False, save_every=0)
    return history, float(error(held).mean().detach()), weights(net)


def test_validation_patients_choose_the_epoch_and_end_the_training():
    every, last, _ = overfitting(None)
    history, taken, _ = overfitting(5)
    chosen = [row["epoch"] for row in history if row["chosen"]]
    assert len(every) == 60 and len(history) == chosen[-1] + 5 < 60
    assert taken == pytest.approx(history[chosen[-1] - 1]["validation_loss"], rel=1e-5)
    assert taken < last
    assert "chosen" not in every[0], "without patience nothing is chosen"


def test_an_epoch_that_gains_too_little_is_not_taken():
    net, loss = regression()
    judged = iter([10.0, 9.95, 9.6, 9.59, 9.55, 9.51, 9.0])
    config = TrainingConfig(60, batch=20, patience=3, least_gain=0.01)
    judge = lambda: torch.tensor(next(judged))  # noqa: E731
    history = train(net, loss, X, config, seed=1, judge=judge, progress=False)
    assert [row["chosen"] for row in history] == [True, False, True, False, False, False]


def test_an_interrupted_choice_is_the_same_as_one_that_was_not(tmp_path):
    history, taken, ended = overfitting(5)
    with pytest.raises(KeyboardInterrupt):
        overfitting(5, store=tmp_path, stop=2 * (len(history) - 2))
    again, resumed, same = overfitting(5, store=tmp_path)
    assert [row["chosen"] for row in again] == [row["chosen"] for row in history]
    assert resumed == taken and torch.equal(same, ended)
