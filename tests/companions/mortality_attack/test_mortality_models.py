"""The networks, their training and their scores: worked by hand, known truth, and the reported artefact."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import average_precision_score, brier_score_loss, f1_score, roc_auc_score

from companions.mortality_attack import (
    evaluate,
    models,
    peers,
    protocol,
    results,
    simulate,
    train,
)
from companions.mortality_attack.models import Classifier, ModelConfig
from companions.mortality_attack.protocol import CORRECTED, REPORTED
from companions.mortality_attack.train import TrainingConfig
from scoehr.files import InputError

SMALL = {"hidden": 8, "dense": 4, "dropout": 0.0}
AS_REPORTED = {"filled": True, "last_step": True, "double_softmax": True}


@pytest.fixture(scope="module")
def cohort():
    return simulate.simulate(400, seed=7)


@pytest.fixture(scope="module")
def data(cohort):
    return protocol.apply(cohort.stays, CORRECTED)


@pytest.fixture(scope="module")
def batch(data):
    return train.tensors(data.train.take(np.arange(9)))


# The networks -------------------------------------------------------------------------------------------------------


def test_the_reported_network_has_the_reported_parameters(data):
    model = Classifier(ModelConfig(**AS_REPORTED), data.statistics)
    assert sum(p.numel() for p in model.network.parameters()) == 156_722


def test_one_hour_of_the_blind_half_gives_what_a_bidirectional_lstm_gives(data, batch):
    from benchmarks.attack import ReportedLSTM

    model = Classifier(ModelConfig(**SMALL, **AS_REPORTED), data.statistics).eval()
    values = batch[0]
    assert torch.allclose(model(*batch[:3]), ReportedLSTM(model).eval()(values), atol=1e-6)


def test_the_backward_half_is_blind_at_the_last_step_and_sees_all_when_mended(data, batch):
    values, mask, static, _ = batch
    other = values + torch.where(torch.arange(48)[:, None] < 47, 1.0, 0.0) * mask
    for last_step, blind in ((True, True), (False, False)):
        model = Classifier(
            ModelConfig(**SMALL, filled=True, last_step=last_step), data.statistics
        ).eval()
        model.network.head[2].weight.data[:, :8] = 0  # take the forward half away
        same = torch.equal(model(values, mask, static), model(other, mask, static))
        assert same == blind


@pytest.mark.parametrize("network", ["bilstm", "grud", "transformer"])
@pytest.mark.parametrize("features", ["study", "all"])
def test_a_network_takes_any_batch_and_no_hidden_value(data, batch, network, features):
    values, mask, static, _ = batch
    model = Classifier(ModelConfig(network, features, **SMALL), data.statistics).eval()
    whole = model(values, mask, static)
    assert whole.shape == (9, 2)
    assert torch.allclose(model(values[:1], mask[:1], static[:1]), whole[:1], atol=1e-5)
    noise = torch.where(mask, values, torch.randn_like(values))
    assert torch.equal(model(noise, mask, static), whole)


def test_values_are_carried_forward_by_hand(data):
    inputs = models.Inputs(ModelConfig(), data.statistics)
    values, mask = torch.zeros(1, 48, 36), torch.zeros(1, 48, 36, dtype=torch.bool)
    values[0, 3, 0], values[0, 10, 0] = 0.7, 0.2
    mask[0, 3, 0] = mask[0, 10, 0] = True
    carried, known, since = (part[0, :, 0] for part in inputs.parts(values, mask))
    scale = lambda value: (value - inputs.mean[0]) / inputs.spread[0]  # noqa: E731
    assert (carried[:3] == 0).all() and torch.allclose(carried[3:10], scale(torch.tensor(0.7)))
    assert torch.allclose(carried[10:], scale(torch.tensor(0.2))) and known.sum() == 2
    assert torch.allclose(since[[0, 3, 9, 47]] * 48, torch.tensor([1.0, 0, 6, 37]))


def test_the_floor_of_the_double_softmax(data):
    model = Classifier(ModelConfig(**SMALL, **AS_REPORTED), data.statistics)
    sure = torch.tensor([[-100.0, 100.0]])
    assert float(model.loss(sure, torch.tensor([1.0]))) == pytest.approx(0.3133, abs=1e-4)


def test_settings_out_of_range_are_refused():
    for wrong in ({"network": "oracle"}, {"dropout": 1.0}, {"hidden": 0}):
        with pytest.raises(InputError):
            ModelConfig(**wrong)
    with pytest.raises(InputError):
        TrainingConfig(epochs=0)


def test_a_model_is_read_as_it_was_written(data, batch, tmp_path):
    model = Classifier(ModelConfig("grud", "all", **SMALL), data.statistics).eval()
    model.threshold.fill_(0.2)
    models.write(tmp_path, model, data.statistics, {"seed": 3})
    again, statistics, facts = models.read(tmp_path)
    assert torch.equal(again(*batch[:3]), model(*batch[:3])) and facts == {"seed": 3}
    assert float(again.threshold) == pytest.approx(0.2) and np.array_equal(
        statistics.mean, data.statistics.mean
    )
    (tmp_path / "model.safetensors").write_bytes(b"broken")
    with pytest.raises(InputError, match="no model that can be read"):
        models.read(tmp_path)


# Training -----------------------------------------------------------------------------------------------------------


def fit(data, config, protocol_=CORRECTED, seed=0, **more):
    model = Classifier(ModelConfig(**SMALL), data.statistics, seed)
    history = train.train(model, data, config, protocol_, seed=seed, progress=False, **more)
    return model, history


def bits(model):
    return [tensor.numpy().tobytes() for tensor in model.state_dict().values()]


def test_training_comes_near_the_best_possible_ranking(cohort, data):
    model, _ = fit(data, TrainingConfig(epochs=25, batch=32, learning_rate=5e-3))
    reached = evaluate.scores(train.probability(model, data.test), data.test.died, 0.5)["auroc"]
    risk = cohort.risk[np.searchsorted(cohort.stays.ids, data.test.ids)]
    assert evaluate.scores(risk, data.test.died, 0.5)["auroc"] - reached < 0.1


def test_the_same_seed_gives_the_same_bits_and_a_killed_training_too(data, tmp_path, monkeypatch):
    config = TrainingConfig(epochs=4, batch=64, hide=0.2)
    whole, history = fit(data, config)
    again, _ = fit(data, config)
    assert bits(whole) == bits(again)
    monkeypatch.setattr(train, "SAVE_EVERY", -1.0)
    held_out, calls = train._held_out, []

    def killed(*arguments):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return held_out(*arguments)

    monkeypatch.setattr(train, "_held_out", killed)
    with pytest.raises(KeyboardInterrupt):
        fit(data, config, checkpoint=tmp_path / "half")
    monkeypatch.setattr(train, "_held_out", held_out)
    resumed, rows = fit(data, config, checkpoint=tmp_path / "half")
    assert bits(resumed) == bits(whole) and not (tmp_path / "half").exists()
    assert [row["train_loss"] for row in rows] == [row["train_loss"] for row in history]


def test_early_stopping_keeps_the_lowest_validation_loss(data):
    model, history = fit(data, TrainingConfig(epochs=30, batch=32, learning_rate=2e-2, patience=3))
    losses = [row["validation_loss"] for row in history]
    assert len(losses) < 30
    assert train._held_out(model, data.validation)["validation_loss"] == pytest.approx(
        min(losses), rel=1e-5
    )


def test_the_reported_scores_are_those_of_memory(cohort):
    """Deaths drawn by lot cannot be predicted; scored as reported, a model that has learnt them by heart can."""
    rng = np.random.default_rng(0)
    stays = replace(cohort.stays, died=rng.random(len(cohort.stays)) < 0.15)
    data = protocol.apply(stays, REPORTED)
    model = Classifier(
        ModelConfig(hidden=32, dense=16, dropout=0.0, **AS_REPORTED), data.statistics
    )
    config = TrainingConfig(epochs=60, batch=32, learning_rate=5e-3, weight_decay=0.0, looks=4)
    history = train.train(model, data, config, REPORTED, progress=False)
    found = train.look(model, data, 0)
    assert found["reported_auroc"] > 0.85 and found["reported_f1"] > 0.8
    assert found["test_auroc"] < 0.7
    assert sum("reported_auroc" in row for row in history) == 4


def test_the_balanced_draw_is_balanced():
    died = np.r_[np.ones(50), np.zeros(950)]
    drawn = evaluate.balanced_draw(died, np.random.default_rng(1))
    assert len(drawn) == 1000 and died[drawn].mean() == pytest.approx(0.5, abs=0.06)


def test_adversarial_values_stay_within_their_radius_and_raise_the_loss(data, batch):
    model, _ = fit(data, TrainingConfig(epochs=3, batch=32, learning_rate=5e-3))
    values, mask, static, died = batch
    worse = train.worsened(model, values, mask, static, died, 0.05)
    assert (worse - values).abs().max() <= 0.05 + 1e-6 and torch.equal(worse[~mask], values[~mask])
    assert model.loss(model(worse, mask, static), died) > model.loss(
        model(values, mask, static), died
    )
    change = train.sparse_change(model, values, mask, static, died, 3)
    assert ((change != 0).sum((1, 2)) <= 3).all() and not change[~mask].any()
    assert model.loss(model(values + change, mask, static), died) > model.loss(
        model(values, mask, static), died
    )


# Peers and scores ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["logistic", "boosting"])
@pytest.mark.parametrize("which", ["study", "all"])
def test_peers_rank_stays_and_are_read_as_they_were_written(data, kind, which, tmp_path):
    peer = peers.fit(kind, data, which)
    found = train.probability(peer, data.test)
    assert evaluate.scores(found, data.test.died, 0.5)["auroc"] > 0.7
    peer.write(tmp_path, {"seed": 3})
    again, _, facts = models.read(tmp_path)
    assert np.array_equal(train.probability(again, data.test), found) and facts == {"seed": 3}


def test_the_saved_trees_are_those_of_scikit_learn(monkeypatch):
    rng = np.random.default_rng(8)
    rows = np.where(rng.random((400, 6)) < 0.2, np.nan, rng.normal(size=(400, 6)))
    died = (np.nansum(rows[:, :2], 1) + rng.normal(size=400) > 0.5).astype(float)
    fitted = []
    kept = peers.HistGradientBoostingClassifier

    def noted(**settings):
        fitted.append(kept(**settings))
        return fitted[0]

    monkeypatch.setattr(peers, "HistGradientBoostingClassifier", noted)
    arrays = peers._fit_trees(rows, died, 0)
    other = np.where(rng.random((90, 6)) < 0.3, np.nan, rng.normal(size=(90, 6)))
    assert peers._trees(other, arrays) == pytest.approx(fitted[0].decision_function(other))


def test_summaries_by_hand(data):
    values, mask = np.zeros((1, 48, 36), np.float32), np.zeros((1, 48, 36), bool)
    for hour, value in ((2, 0.2), (30, 0.8), (40, 0.5)):
        values[0, hour, 0], mask[0, hour, 0] = value, True
    one = protocol.Series(values, mask, np.zeros((1, 7)), np.zeros(1), np.zeros(1), np.zeros(1))
    row = peers.summary(one, "study", data.statistics).reshape(16, 19)[:, 0]
    # means of all, first, second day and last hours; least and largest of all and the second day; deviation
    assert row[:9] == pytest.approx([0.5, 0.2, 0.65, 0.5, 0.2, 0.8, 0.5, 0.8, 0.2449], abs=1e-4)
    hours = np.array([2, 30, 40]) / 48
    slope = np.polyfit(hours, [0.2, 0.8, 0.5], 1)[0]
    assert row[9:] == pytest.approx([0.2, 0.5, 0.3, slope, 3 / 48, 2 / 24, 8 / 48], abs=1e-6)


def test_calibration_by_a_line_makes_probabilities_true():
    rng = np.random.default_rng(6)
    logits = rng.normal(-1.5, 1.5, 6000)
    died = rng.random(6000) < 1 / (1 + np.exp(-logits))
    flat = 1 / (1 + np.exp(-(0.5 * logits + 0.4)))
    line = evaluate.fit_line(flat, died)
    assert line == pytest.approx([2.0, -0.8], abs=0.2)
    assert np.mean(evaluate.on_line(flat, line)) == pytest.approx(died.mean(), abs=0.005)
    same = evaluate.scores(flat, died, 0.5)["auroc"]
    assert evaluate.scores(evaluate.on_line(flat, line), died, 0.5)["auroc"] == pytest.approx(same)


def test_subgroups_are_those_of_the_descriptors(data):
    chance = np.random.default_rng(1).random(len(data.train))
    rows = {row["group"]: row for row in evaluate.subgroups(chance, data.train, data.statistics)}
    male = (
        data.train.static[:, 1] * data.statistics.static_spread[1] + data.statistics.static_mean[1]
    )
    assert rows["men"]["stays"] == (male > 0.5).sum()
    assert rows["men"]["deaths"] == data.train.died[male > 0.5].sum()
    for row in rows.values():
        low, high = row["auroc"]["interval"]
        assert low <= row["auroc"]["value"] <= high and row["deaths"] >= evaluate.FEWEST


def test_a_committee_is_the_mean_of_its_members(data, batch):
    members = [Classifier(ModelConfig(**SMALL), data.statistics, seed).eval() for seed in (1, 2)]
    joined = models.Committee(members, 0.3)
    mean = np.mean([train.probability(m, data.test) for m in members], 0)
    assert train.probability(joined, data.test) == pytest.approx(mean, abs=1e-6)
    assert np.array_equal(train.verdicts(joined, data.test), mean >= 0.3)


def test_scores_are_those_of_scikit_learn():
    rng = np.random.default_rng(5)
    died = rng.random(300) < 0.2
    chance = np.round(np.clip(0.3 * died + rng.random(300) * 0.7, 0, 1), 2)  # with ties
    found = evaluate.scores(chance, died, 0.5)
    assert found["auroc"] == pytest.approx(roc_auc_score(died, chance))
    assert found["auprc"] == pytest.approx(average_precision_score(died, chance))
    assert found["brier"] == pytest.approx(brier_score_loss(died, chance))
    assert found["f1"] == pytest.approx(f1_score(died, chance >= 0.5))
    best = evaluate.best_threshold(chance, died)
    others = [f1_score(died, chance >= cut) for cut in np.unique(chance)]
    assert f1_score(died, chance >= best) == pytest.approx(max(others))


def test_intervals_hold_the_value_and_widen_with_few_patients():
    rng = np.random.default_rng(2)
    died = rng.random(400) < 0.3
    chance = np.clip(0.2 * died + rng.random(400) * 0.8, 0, 1)
    alone, shared = (
        evaluate.estimates(evaluate.drawn(chance, died, patients, 0.5, draws=200))
        for patients in (np.arange(400), np.arange(400) // 20)
    )
    alone = alone["auroc"]
    assert alone["interval"][0] < alone["value"] < alone["interval"][1]
    rows = evaluate.resample(np.array([1, 1, 2, 3]), 50, 0)
    assert all((np.isin([0, 1], draw).all() or not np.isin([0, 1], draw).any()) for draw in rows)
    assert set(shared) == set(evaluate.SCORES)


def test_scores_without_deaths_are_undefined_not_wrong():
    found = evaluate.scores(np.array([0.1, 0.2]), np.array([0, 0]), 0.5)
    assert np.isnan(found["auroc"]) and np.isnan(found["f1"])


def test_calibration_of_true_probabilities(cohort):
    made = simulate.simulate(4000, seed=9)
    table = pd.DataFrame(evaluate.calibration(made.risk, made.stays.died))
    assert (table["predicted"] - table["died"]).abs().max() < 0.08 and table["stays"].sum() == 4000


def test_the_scores_of_the_challenge_are_those_of_its_definition():
    """Two tenths with 10 stays each, of which 2 and 6 died: 4 of 20 are predicted to."""

    metrics = {
        "test": {"recall": {"value": 0.5}, "precision": {"value": 0.4}},
        "calibration": [
            {"predicted": 0.1, "died": 0.2, "stays": 10},
            {"predicted": 0.3, "died": 0.6, "stays": 10},
        ],
    }
    apart = (2 - 1) ** 2 / (10 * 0.1 * 0.9) + (6 - 3) ** 2 / (10 * 0.3 * 0.7)
    assert results.challenge(SimpleNamespace(metrics=metrics)) == {
        "Challenge, score 1": "0.400", "Challenge, score 2": f"{apart / 0.2:.1f}",
    }  # fmt: skip
    metrics["test"] = {"recall": {"value": 0.0}, "precision": {"value": None}}  # none predicted
    none = results.challenge(SimpleNamespace(metrics=metrics))
    assert none["Challenge, score 1"] == "0.000"
