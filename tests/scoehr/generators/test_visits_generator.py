"""The generator of admissions against laws that are known, and its files."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import sparse

from scoehr.data import simulate
from scoehr.data.patients import Patients
from scoehr.files import InputError
from scoehr.generators.visits import (
    AdmissionModel,
    Moments,
    Record,
    VisitConfig,
    VisitThinning,
    admission_loss,
)
from scoehr.metrics import visits as scores
from tests.scoehr.metrics.test_visits_metrics import cohort

RHO = np.array([0.9, 0.7, 0.5, 0.3])  # chance that each admission records a chronic condition
HAS = 0.4  # share of patients with each
ACUTE = 0.15  # chance of each other code at an admission; of the last two both or none
CODES, MOST, AGAIN = (
    12,
    4,
    0.5,
)  # at most so many admissions, each but the last followed by another with this chance


def hospital(n: int, seed: int) -> Patients:
    """Patients by the law above."""
    rng = np.random.default_rng(seed)
    numbers = 1 + (rng.random((n, MOST - 1)) < AGAIN).cumprod(axis=1).sum(axis=1)
    owner = np.repeat(np.arange(n), numbers)
    chronic = (rng.random((n, len(RHO))) < HAS)[owner] & (rng.random((len(owner), len(RHO))) < RHO)
    acute = rng.random((len(owner), CODES - len(RHO))) < ACUTE
    acute[:, -1] = acute[:, -2]
    codes = [f"{k:03d}" for k in range(CODES)]
    counts = sparse.csr_array(np.hstack([chronic, acute]).astype(np.int32))
    return Patients(
        counts, np.concatenate([[0], np.cumsum(numbers)]), np.arange(n), codes, [""] * CODES
    )


@pytest.fixture(scope="module")
def fitted() -> VisitThinning:
    config = VisitConfig(width=48, depth=1, epochs=14, batch=256, learning_rate=4e-3)
    return VisitThinning(config, device="cpu").fit(
        hospital(4000, 0), hospital(300, 1), progress=False
    )


@pytest.fixture(scope="module")
def drawn(fitted) -> Patients:
    return fitted.sample(4000, seed=1, progress=False)


# The law ------------------------------------------------------------------------------------------------------------


def test_numbers_of_admissions_follow_the_law(drawn):
    at_risk = np.array([(drawn.numbers >= k).sum() for k in range(1, MOST + 1)])
    assert at_risk[0] == len(drawn) and drawn.numbers.max() == MOST
    assert at_risk[1:] / at_risk[:-1] == pytest.approx(AGAIN, abs=0.05)


def test_codes_have_the_shares_of_the_law(drawn):
    expected = np.r_[HAS * RHO, np.full(CODES - len(RHO), ACUTE)]
    assert drawn.presence().mean(axis=0) == pytest.approx(expected, abs=0.025)


def test_chronic_codes_come_again_and_acute_ones_by_chance(drawn):
    found = scores.recurrence(drawn)["again"].to_numpy()
    assert found == pytest.approx(np.r_[RHO, np.full(CODES - len(RHO), ACUTE)], abs=0.07)


def test_codes_that_come_together_come_together(drawn):
    pairs = scores._probabilities(drawn)["within"].toarray()
    assert pairs[CODES - 2, CODES - 1] == pytest.approx(ACUTE, abs=0.025)
    assert pairs[4, 5] == pytest.approx(ACUTE**2, abs=0.015)
    assert pairs[0, 1] == pytest.approx(HAS**2 * RHO[0] * RHO[1], abs=0.025)


def test_pairs_across_admissions_have_the_chance_of_the_law(drawn):
    pairs = scores._probabilities(drawn)["across"].toarray()
    assert np.diag(pairs)[:4] == pytest.approx(HAS * RHO**2, abs=0.03)
    assert pairs[0, 1] == pytest.approx(HAS**2 * RHO[0] * RHO[1], abs=0.03)
    assert np.diag(pairs)[4:] == pytest.approx(ACUTE**2, abs=0.03)


def test_a_condition_that_was_never_seen_grows_less_likely(fitted):
    """Bayes: after k admissions without the first chronic code its chance is HAS' RHO, HAS' the posterior."""
    record = Record(torch.zeros(1, CODES), torch.zeros(1, CODES), torch.tensor([2]))
    silent = HAS * (1 - RHO[0]) ** 2
    expected = silent / (silent + 1 - HAS) * RHO[0]
    many = Record(*(part.expand(1500, *part.shape[1:]) for part in record))
    with torch.no_grad():
        codes = fitted._admission(many, torch.Generator().manual_seed(0))
    assert codes[:, 0].mean() == pytest.approx(expected, abs=0.05)


def test_simulated_chronic_codes_recur_at_the_rate_of_the_law():
    """Trained on a cohort whose recurrence has a closed form, on its fifty most frequent codes of adults."""
    whole, sample = cohort(9000, 21)
    adults = whole[np.flatnonzero(sample.population == 0)]
    law = simulate.laws()[0]
    often = np.sort(np.argsort(-adults.presence().sum(axis=0))[:50])
    few = Patients(
        adults.counts[:, often],
        adults.starts,
        adults.patients,
        adults.codes[often],
        adults.titles[often],
    )
    config = VisitConfig(width=48, depth=1, epochs=14, learning_rate=4e-3)
    drawn = (
        VisitThinning(config, device="cpu")
        .fit(few, progress=False)
        .sample(6000, seed=3, progress=False)
    )
    found = scores.recurrence(drawn)
    chronic = np.flatnonzero((law.recurs[often] > 0) & (found["at_risk"] >= 150))
    assert len(chronic) >= 10
    error = found["again"].to_numpy()[chronic] - law.recurs[often][chronic]
    assert np.abs(error).mean() < 0.06 and abs(error.mean()) < 0.045


# The parts ----------------------------------------------------------------------------------------------------------


def test_an_untrained_network_adds_nothing():
    patients = hospital(3000, 2)
    model = VisitThinning(
        VisitConfig(width=16, depth=1, epochs=1, learning_rate=1e-12), device="cpu"
    )
    model.fit(patients, progress=False)
    record, _, comes = Moments(patients).at(np.arange(len(Moments(patients))))
    with torch.no_grad():
        context = model.model.read(record)
        chance = torch.sigmoid(model.model.hazard(record, context))
        average = torch.sigmoid(context.average)
    for k in range(MOST):
        assert float(chance[record.number == k].mean()) == pytest.approx(
            float(comes[record.number == k].float().mean()), abs=0.02
        )
    later = record.number > 0
    assert float(average[later & (record.history[:, 0] > 0), 0].mean()) == pytest.approx(
        RHO[0], abs=0.03
    )
    assert average[record.number == 0].mean(dim=0).tolist() == pytest.approx(
        np.r_[HAS * RHO, np.full(CODES - len(RHO), ACUTE)], abs=0.03
    )


def test_the_loss_of_guessing_evenly_is_that_of_any_order():
    """Where every absent code is as likely next, m of S codes grown out of n cost log(n - m), whatever the order."""
    n, size = 9, 4
    codes = torch.zeros(1, n)
    codes[0, :size] = 1
    total = 0.0
    for m in range(size):
        grown = codes.clone()
        grown[0, m:size] = 0
        births = torch.full((1, n), -math.inf)
        births[grown == 0] = -math.log(n - m)
        total += float(admission_loss(births, codes, grown)) / (
            size + 1
        )  # each m has chance 1 / (S + 1)
    assert float(admission_loss(torch.zeros(1, n), codes, codes)) == 0
    assert total == pytest.approx(sum(math.log(n - m) for m in range(size)), rel=1e-5)


def test_births_are_a_distribution_over_absent_codes():
    torch.manual_seed(0)
    model = AdmissionModel(CODES, MOST, CODES, 16, 1)
    record = Record(torch.rand(5, CODES).round(), torch.rand(5, CODES).round(), torch.arange(5))
    grown = torch.rand(5, CODES).round()
    grown[:, 0] = 0
    births = model(grown, torch.arange(1, 6), model.read(record)).exp()
    assert births.sum(dim=1).tolist() == pytest.approx([1] * 5, abs=1e-5)
    assert births[grown > 0].abs().max() == 0


def test_moments_are_before_each_admission_and_after_the_last():
    found = Patients.from_records(
        [{"patient_id": 0, "visits": [["a"], ["a", "b"]]}, {"patient_id": 1, "visits": []}]
    )
    record, codes, comes = Moments(found).at(np.arange(4))
    assert comes.tolist() == [True, True, False, False] and record.number.tolist() == [0, 1, 2, 0]
    assert record.history.tolist() == [[0, 0], [1, 0], [2, 1], [0, 0]]
    assert record.last.tolist() == [[0, 0], [1, 0], [1, 1], [0, 0]]
    assert codes.tolist() == [[1, 0], [1, 1], [0, 0], [0, 0]]


# Use ----------------------------------------------------------------------------------------------------------------


def test_no_code_twice_and_no_more_than_was_ever_seen(fitted, drawn):
    assert drawn.counts.data.max() == 1
    assert np.diff(drawn.counts.indptr).max() <= fitted.limits["max_codes"]
    assert drawn.numbers.max() <= fitted.limits["max_admissions"]


def test_the_same_seed_gives_the_same_patients_and_another_does_not(fitted):
    one, again, other = (fitted.sample(50, seed=seed, progress=False) for seed in (5, 5, 6))
    assert one.equals(again) and not one.equals(other)


def test_the_same_seed_gives_the_same_model_and_a_finished_training_is_taken_up(tmp_path):
    patients, config = hospital(600, 3), VisitConfig(width=16, depth=1, epochs=3)
    places = (tmp_path, None, tmp_path)
    models = [
        VisitThinning(config).fit(patients, seed=1, folder=place, progress=False)
        for place in places
    ]
    for key, value in models[0].model.state_dict().items():
        assert all(torch.equal(value, model.model.state_dict()[key]) for model in models[1:])
    assert models[2].history.equals(models[0].history) and not models[1].history.equals(
        models[0].history
    )


def test_a_saved_model_draws_the_same_patients(fitted, tmp_path):
    fitted.save(tmp_path / "model", note="kept")
    loaded = VisitThinning.load(tmp_path / "model")
    assert loaded.config == fitted.config and len(loaded.history) == len(fitted.history)
    assert loaded.sample(40, seed=2, progress=False).equals(
        fitted.sample(40, seed=2, progress=False)
    )


def test_an_altered_or_missing_file_is_refused(fitted, tmp_path):
    folder = fitted.save(tmp_path / "model")
    weights = folder / "admissions.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    with pytest.raises(InputError, match="not the file that config"):
        VisitThinning.load(folder)
    weights.unlink()
    with pytest.raises(InputError, match="no such file"):
        VisitThinning.load(folder)
    config = folder / "config.json"
    config.write_text(
        config.read_text().replace('"generator": "visits"', '"generator": "thinning"')
    )
    with pytest.raises(InputError, match="holds a model of kind 'thinning'"):
        VisitThinning.load(folder)


def test_what_cannot_be_learned_or_drawn_is_refused(fitted):
    with pytest.raises(InputError, match="not fitted"):
        VisitThinning().sample(1)
    with pytest.raises(InputError, match="at least 1"):
        fitted.sample(0)
    nobody = Patients.from_records([{"patient_id": 0, "visits": []}], codes=["a"])
    with pytest.raises(InputError, match="no patient has an admission"):
        VisitThinning().fit(nobody)
    with pytest.raises(InputError, match="unknown setting 'latent'"):
        VisitConfig.from_dict({"latent": 3})
