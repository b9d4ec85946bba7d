"""The canary audit: it finds every planted fault, and never more than is promised."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom, norm

from benchmarks import audit
from scoehr.files import read_json
from scoehr.generators import Private
from tests.conftest import ROOT

FOUND_BY = {
    audit.Unclipped: "gradients",
    audit.LeakedVocabulary: "vocabulary",
    audit.SeedReuse: "replay",
    audit.BareShares: "shares",
    audit.WrongRate: "gradients",
    audit.ReleasedLoss: "history",
}


def test_six_faults_are_planted():
    assert set(FOUND_BY) == set(audit.FAULTS) and len(audit.FAULTS) == 6


@pytest.mark.parametrize("kind", FOUND_BY, ids=lambda kind: kind.__name__)
def test_a_planted_fault_breaks_the_promise(kind):
    found = audit.audit(kind, canaries=audit.FEW, sure=audit.SURE_OF_FEW, **audit.PLANTED)
    assert found["broken"], found
    assert found["attacks"][FOUND_BY[kind]] > found["promised_mu"]


@pytest.mark.parametrize(
    "kind", [kind for _, kind in audit.SOUND.values()], ids=lambda kind: kind.__name__
)
def test_the_sound_generator_keeps_it(kind):
    found = audit.audit(kind, canaries=audit.FEW, sure=audit.SURE_OF_FEW, **audit.PLANTED)
    assert not found["broken"], found
    assert found["epsilon"] <= audit.PLANTED["epsilon"]


def test_the_committed_audit_finds_half_of_the_promise_and_never_more():
    made = read_json(ROOT / "benchmarks" / "audit.json")
    for name, row in made["honest"].items():
        assert row["found_mu"] <= row["promised_mu"], name
    whole = made["honest"]["all patients a step"]
    assert whole["found_mu"] >= whole["promised_mu"] / 2
    assert all(row["broken"] for row in made["faults"].values()) and len(made["faults"]) == 6


def test_what_is_watched_trains_as_the_generator_does():
    """The audit changes the draws of a fit and keeps what it sees, nothing else."""
    changed = {name for name in vars(audit.Watched) if callable(getattr(audit.Watched, name))}
    assert changed == {"_secret", "_levels", "_set_marginals", "_step"}
    assert issubclass(audit.Watched, Private)


def test_a_promise_of_gaussian_privacy_by_hand():
    """At ε = 0 it is the distance in total variation of two normal distributions."""
    distance = 2 * norm.cdf(1.3 / 2) - 1
    assert audit.promised(0.0, distance) == pytest.approx(1.3)


@pytest.mark.parametrize("mu", [0.0, 1.0, 3.0])
def test_bounds_lie_below_the_truth_and_above_half_of_it(mu):
    """Canaries whose scores are drawn from the two laws that μ-GDP is as hard to tell apart as."""
    rng = np.random.default_rng(0)
    included = rng.random(4_000) < 0.5
    found = audit.found(rng.normal(size=4_000) + mu * included, included, sure=0.1)
    assert mu / 2 <= found <= mu


def test_the_chance_of_right_guesses_without_a_leak_is_of_tossing_coins():
    """At μ = 0 the bound cannot be below the binomial's own chance (Mahloujifar et al. 2025)."""
    for right in range(50, 101):
        contradicted = audit.contradicts(right, 100, 100, 0.0, 0.05)
        assert not contradicted or binom.sf(right - 1, 100, 0.5) < 0.05
    assert audit.contradicts(70, 100, 100, 0.0, 0.05)
