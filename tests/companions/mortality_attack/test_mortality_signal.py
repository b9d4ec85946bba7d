"""Synthetic stays: what the generator keeps of real ones, and how weak points are compared."""

from dataclasses import replace

import numpy as np
import pytest

from companions.mortality_attack import (
    attack,
    experiments,
    generate,
    protocol,
    results,
    signal,
    simulate,
    train,
)
from companions.mortality_attack.ensemble import within
from companions.mortality_attack.generate import GeneratorConfig, StayDiffusion
from companions.mortality_attack.models import Classifier, ModelConfig
from companions.mortality_attack.protocol import CORRECTED
from reproduction import runs

CONFIG = GeneratorConfig(components=8, width=32, epochs=20)


@pytest.fixture(scope="module")
def data():
    return protocol.apply(simulate.simulate(600, seed=5).stays, CORRECTED)


@pytest.fixture(scope="module")
def model(data):
    return StayDiffusion(CONFIG).fit(data.train, data.statistics, progress=False)


@pytest.fixture(scope="module")
def made(model):
    return model.sample(800, seed=1)


def means(series):
    """The mean of each series of each stay, NaN where it was never measured."""
    mask = series.mask
    return np.where(mask.any(1), (series.values * mask).sum(1) / np.maximum(mask.sum(1), 1), np.nan)


def test_stays_are_measured_as_often_die_as_often_and_lie_where_real_ones_lie(data, made):
    real = data.train
    assert made.died.mean() == pytest.approx(real.died.mean(), abs=0.005)
    rates = [series.mask.mean((0, 1)) for series in (real, made)]
    np.testing.assert_allclose(*rates, atol=0.02)
    assert not made.values[~made.mask].any() and np.isfinite(made.values).all()
    used = real.mask.any((0, 1))
    levels, spreads = (
        [measure(means(series)[:, used], axis=0) for series in (real, made)]
        for measure in (np.nanmean, np.nanstd)
    )
    np.testing.assert_allclose(*levels, atol=0.06)
    np.testing.assert_allclose(*spreads, rtol=0.35)


def test_what_tells_death_in_real_stays_tells_it_in_synthetic_ones(data, made):
    apart = []
    for series in (data.train, made):
        died, found = series.died > 0, means(series)[:, :19]
        apart.append(np.nanmean(found[died], 0) - np.nanmean(found[~died], 0))
    assert np.corrcoef(apart)[0, 1] > 0.8


def test_the_same_seed_draws_the_same_stays_and_no_stay_is_a_real_one(data, model, made):
    again, other = model.sample(800, seed=1), model.sample(800, seed=2)
    assert np.array_equal(again.values, made.values) and not np.array_equal(other.mask, made.mask)
    seen = {row.tobytes() for row in data.train.values}
    assert not any(row.tobytes() in seen for row in made.values)


def test_without_components_the_law_is_normal_and_nothing_is_trained(data):
    plain = StayDiffusion(GeneratorConfig(components=0))
    plain.fit(data.train, data.statistics, progress=False)
    assert not plain.history and plain.sample(50).mask.any()


def test_curves_keep_the_spread_of_levels_that_few_measurements_hide():
    rng = np.random.default_rng(0)
    level, noise = rng.normal(size=(4000, 1)), rng.normal(size=(4000, 48))
    mask = rng.random((4000, 48)) < 0.05
    law, drawn = generate.fit_curves(level + 0.5 * noise, mask, rng)
    assert law.covariance[0, 0] == pytest.approx(1, abs=0.15)
    assert drawn[:, 0].std() == pytest.approx(1, abs=0.08)


def test_means_that_differ_by_chance_alone_are_put_together():
    rng = np.random.default_rng(1)
    normal, died = rng.normal(size=(500, 40)), rng.random(500) < 0.3
    normal[died, 0] += 2
    low, high = generate.shrunken_means(normal, died)
    apart = high - low
    assert apart[0] > 1.5 and (apart[1:] == 0).mean() > 0.5


# Weak points --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def networks(data):
    found = {}
    for seed, name in enumerate(signal.ATTACKED):
        network = Classifier(ModelConfig(hidden=8, dense=4, dropout=0.0), data.statistics, seed)
        config = train.TrainingConfig(epochs=6, batch=32, learning_rate=1e-2)
        train.train(network, data, config, CORRECTED, seed=seed, progress=False)
        found[name] = network
    return found


def test_a_change_within_a_budget_keeps_bounds_and_lowers_every_margin(networks, data):
    network, series = networks[signal.VICTIM], data.test.take(np.arange(20))
    change = within(network, series, data.statistics, attack.AttackConfig(), 3, 10)
    cells = (change != 0).sum((1, 2))
    assert (cells <= 3).all() and cells.any() and not change[~series.mask].any()
    moved = replace(series, values=series.values + change)
    sign = 2 * series.died - 1
    before, after = (sign * np.diff(train.predict(network, each))[:, 0] for each in (series, moved))
    assert (after <= before + 1e-5).all() and (after < before - 0.1).mean() > 0.8


def test_changes_found_on_the_victim_turn_it_most_and_random_ones_least(networks, data):
    found = signal.carried(networks, data.test, data, attack.AttackConfig(), 10, 0)["shares"]
    value = {name: entry["value"] for name, entry in found.items()}
    assert value[signal.VICTIM] >= value[signal.OTHER] > value["random"]
    assert len({entry["stays"] for entry in found.values()}) == 1


def planted(order, rows=80):
    """An attack in which each stay's change moves five of 15 series, the first of an order most."""
    rng = np.random.default_rng(2)
    best = np.zeros((rows, 48, 15), np.float32)
    for row in best:
        row[
            rng.integers(48), order[rng.choice(15, 5, replace=False, p=np.arange(15, 0, -1) / 120)]
        ] = 0.5
    every, none = np.arange(rows), np.zeros(rows, int)
    return signal.Strongest(every, none, none == 0, best, best, none, none, none, best)


def test_maps_that_agree_are_alike_and_turned_ones_are_opposite(data):
    series, order = data.test.take(np.arange(80)), np.arange(15)
    one, turned = planted(order), planted(order[::-1])
    found = {signal.VICTIM: one, signal.OTHER: one, signal.SYNTHETIC: turned}
    maps = signal.alike(found, series, order, 0)
    assert maps["victim, other"]["value"] == pytest.approx(1)
    assert maps["victim, synthetic"]["value"] < -0.5
    assert maps["less"]["interval"][1] < 0
    shares = signal.by_series(found, order)
    assert shares[signal.VICTIM].sum() == pytest.approx(5)
    np.testing.assert_allclose(shares[signal.VICTIM], shares[signal.SYNTHETIC][::-1], atol=1e-6)


def test_halves_and_parts_share_no_patient(data):
    victim, other = signal.halves(data, 0)
    assert not np.isin(victim.patients, other.patients).any()
    part = signal.parted(other, data, 0)
    assert len(part.train) + len(part.validation) == len(other)
    assert not np.isin(part.train.patients, part.validation.patients).any()


# The row and its tables ---------------------------------------------------------------------------


def test_the_row_is_made_and_its_tables_and_sentences_are_shown(tmp_path, monkeypatch):
    for module in (runs, experiments):
        monkeypatch.setattr(module, "ROOT", tmp_path)
    row = experiments.plan("simulated", "tiny")["signal"]
    found = experiments.run(row, progress=False)
    table = results.signal_table(found)
    assert list(table.index) == list(signal.SETS.values()) and table.shape[1] <= 6
    assert len(results.signal_differences(found).axes) == 3
    assert results.broken_words(found).count("right verdicts") == 3
    assert results.alike_table(found).shape == (4, 1)
    assert results.carried_table(found).shape == (4, 2)
    assert "keep" in results.signal_kept(found) and "attack surface" in results.carried_words(found)
    assert results.weak_points(found).axes
