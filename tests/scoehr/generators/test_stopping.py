"""The epoch that is taken: by whom it is chosen, and what is said of it."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from scoehr import generators
from scoehr.data.matrix import CodeMatrix
from scoehr.generators import ThinningConfig, preset, stopping
from scoehr.generators.private import PrivateConfig
from scoehr.minibatches import SparseRows
from tests.problems import patients

SMALL = {"width": 16, "epochs": 6, "batch": 50}
TRAIN, VALIDATION = patients(400), patients(100, seed=1)


@pytest.mark.parametrize(
    ("validation", "by"),
    [(VALIDATION, "validation patients"), (None, "training patients held out for it")],
)
def test_the_model_and_its_card_say_who_chose_the_epoch(tmp_path, validation, by):
    model = preset("thinning", **SMALL).fit(TRAIN, validation, seed=1, progress=False)
    folder = model.save(tmp_path / "model")
    said = json.loads((folder / "config.json").read_text())["stopping"]
    chosen = model.history.loc[model.history["chosen"], "epoch"]
    assert said == {"epoch": chosen.max(), "trained": len(model.history), "judged_by": by}
    assert by in (folder / "MODEL_CARD.md").read_text()
    again = generators.load(folder)
    assert (
        json.loads((again.save(tmp_path / "again") / "config.json").read_text())["stopping"] == said
    )


def test_without_patience_all_epochs_are_run_and_nobody_is_held_out(tmp_path):
    model = preset("thinning", **SMALL, patience=None).fit(TRAIN, seed=1, progress=False)
    assert len(model.history) == 6 and "chosen" not in model.history
    assert "stopping" not in json.loads((model.save(tmp_path / "m") / "config.json").read_text())


@pytest.mark.parametrize(("n", "held"), [(199, 0), (200, 50), (400, 50), (2_000, 200)])
def test_a_tenth_is_held_out_but_of_few_patients_nobody(n, held):
    x = torch.arange(float(n))[:, None]
    rows, out = stopping.hold_out(SparseRows.of(x), seed=3)
    found = [] if out is None else out.dense()[:, 0].tolist()
    assert len(found) == held
    assert sorted(found + rows.dense()[:, 0].tolist()) == list(range(n))


def test_patients_are_judged_under_the_same_noise():
    model = preset("thinning", **SMALL).fit(TRAIN, VALIDATION, progress=False)
    judged = stopping.judge(model._losses, SparseRows(VALIDATION.counts), 5, "cpu")
    first = judged()
    assert first.shape == () and torch.equal(first, judged())


def test_settings_that_came_later_leave_earlier_names_and_models_as_they_were():
    then: dict = {"patience": None, "least_gain": 0.0, "pooling": 0.0, "support": 0.0}
    before = ThinningConfig(**then)
    assert not set(then) & set(before.distinguishing())
    assert ThinningConfig().distinguishing()["patience"] == ThinningConfig().patience
    assert ThinningConfig.from_saved({"width": 32}) == ThinningConfig(width=32, **then)
    assert ThinningConfig.from_saved({"patience": 3}).patience == 3
    later = {*then, "vocabulary", "vocabulary_noise"}
    assert not later & set(PrivateConfig().distinguishing())


def test_support_hides_who_alone_has_a_code(tmp_path):
    """Twenty patients have a code of their own; twenty like them one that nobody had in training."""
    common = np.random.default_rng(0).random((400, 4)) < 0.4
    own = np.eye(400, 40)  # of the first forty patients
    codes = [f"c{k}" for k in range(44)]
    members = CodeMatrix.from_array(np.c_[common, own * (np.arange(40) < 20)].astype(int), codes)
    others = CodeMatrix.from_array(np.c_[common, np.roll(own, 20, 1)].astype(int)[:20], codes)
    gaps = []
    for support in (0.0, 0.25):
        model = preset("thinning", **SMALL | {"epochs": 30}, patience=None, support=support)
        model.fit(members, seed=1, progress=False)
        known, fresh = (model.losses(who, seed=2) for who in (members.take(np.arange(20)), others))
        gaps.append(np.mean(fresh) - np.mean(known))
    assert gaps[0] > 1 and abs(gaps[1]) < gaps[0] / 4
    network = model.rate.network
    assert (network.trust[4:] == network.trust[4]).all() and network.trust[4] < 0.01
    assert (network.trust[:4] > 0.5).all(), "codes of many patients are learned"
    again = generators.load(model.save(tmp_path / "model"))
    np.testing.assert_array_equal(again.losses(others, seed=2), fresh)


def test_a_small_table_is_not_learned_by_heart():
    """The chosen epoch's loss of patients never seen is lower than the last's."""
    fresh = patients(400, seed=7)
    losses = []
    for patience in (None, 10):
        model = preset("thinning", width=64, epochs=60, batch=32, patience=patience)
        model.fit(patients(300), seed=0, progress=False)
        losses.append(np.mean(model.losses(fresh, seed=1)))
    assert losses[1] < losses[0] - 0.1
