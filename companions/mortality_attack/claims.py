"""The claims of the LSTM attack study and the tests that judge them by runs.

``claims.yml`` holds the claims, see :mod:`reproduction.claims`. A claim about MIMIC-III that rests
on a flaw of the protocol is tested by what that protocol does on the stays at hand, and is at worst
not supported by others than the study's; one that needs MIMIC-III itself cannot be tested.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from companions.mortality_attack.experiments import BUDGETS, Run
from reproduction.claims import CONTRADICTED, HOLDS, NOT_SHOWN, Finding, Ledger, Untestable
from reproduction.estimates import Estimate
from reproduction.quotes import Quotes

Runs = Mapping[str, Run]
#: A gap between scores as reported and held-out ones that counts as an artefact.
ARTEFACT = 0.05
UNCLEAR = "the two ways of scoring do not differ clearly; it takes more held-out stays"


QUOTES = Quotes(Path(__file__).with_name("reported.json"))
LEDGER = Ledger(Path(__file__).with_name("claims.yml"), QUOTES, home="mimic3")
test = LEDGER.test


# Tests --------------------------------------------------------------------------------------------


def _scored(found: Runs, score: str) -> tuple[Estimate, Estimate, str]:
    """A score of the reported model as its study scores it and on held-out stays, and in words."""
    metrics = found["reported"].metrics
    inside, outside = (Estimate.read(metrics[which][score]) for which in ("reported", "test"))
    return inside, outside, f"{outside:.3f} held out, {inside:.3f} as scored"


@test
def artefact(found: Runs, *, score: str) -> Finding:
    """Whether a reported score survives on held-out stays of the same protocol and weights."""
    inside, outside, ours = _scored(found, score)
    gap = inside.value - outside.value
    if inside.above(outside.high) and gap > ARTEFACT:
        why = (
            "the reported scoring, of training stays under a balanced draw, gives "
            f"{gap:.2f} more to the same weights"
        )
        return Finding(CONTRADICTED, why, ours)
    if outside.value >= QUOTES.value(f"results/LSTM attack study/{score}"):
        return Finding(HOLDS, "held-out stays reach it too", ours)
    return Finding(NOT_SHOWN, UNCLEAR, ours)


@test
def best_of_table(found: Runs) -> Finding:
    """Whether "best of the table" survives the scoring."""
    inside, outside, ours = _scored(found, "auroc")
    if inside.above(outside.high):
        why = (
            "the row was scored on training stays drawn to be half deaths, the others on held-out "
            "ones: no comparison"
        )
        return Finding(CONTRADICTED, why, ours)
    return Finding(NOT_SHOWN, UNCLEAR, ours)


@test
def quoted_elsewhere(found: Runs, *, row: str) -> Finding:
    """A row that the study quotes from others: needs MIMIC-III; the best one here stands beside."""
    models = [run for run in found.values() if run.experiment.task == "model"]
    same = [run for run in models if run.experiment.name.endswith("-study")]
    scores = {run.experiment.title: Estimate.read(run.metrics["test"]["auroc"]) for run in same}
    best = max(scores, key=lambda title: scores[title].value)
    ours = f"best here on these series: {best}, {scores[best]:.3f}"
    raise Untestable(f"it was measured on MIMIC-III by others ({row}); {ours}")


@test
def no_overfitting(found: Runs) -> Finding:
    """Whether held-out scores of the reported model keep rising, as its own do."""
    history = found["reported"].history.dropna(subset=["reported_auroc"])
    if len(history) < 3:
        raise Untestable("too few looks at the scores during training")
    own, other = (_rise(history[f"{name}_auroc"]) for name in ("reported", "test"))
    ours = f"last third over first: {own:+.3f} as scored, {other:+.3f} held out"
    if own > 0 and other < own / 2:
        loss = history["test_loss"].iloc[-1] - history["test_loss"].min()
        why = f"only the training stays show it; held-out loss ends {loss:.3f} above its least"
        return Finding(CONTRADICTED, why, ours)
    epochs, asked = int(history["epoch"].iloc[-1]), QUOTES.value("epochs/value")
    if epochs < asked:
        raise Untestable(
            f"held-out scores rise as well, but only over {epochs} of {asked:,} epochs"
        )
    return Finding(HOLDS, "held-out scores rise as well", ours)


def _rise(scores: pd.Series) -> float:
    """Mean of the last third of the looks less that of the first."""
    third = max(1, len(scores) // 3)
    return float(scores.iloc[-third:].mean() - scores.iloc[:third].mean())


@test
def oversampling(found: Runs) -> Finding:
    """Whether the balanced sampler explains the rise; not where held-out scores do not rise."""
    finding = no_overfitting(found)
    if finding.verdict != CONTRADICTED:
        return finding
    why = (
        "the sampler is the same for both curves; the rise is that of scoring the stays trained on"
    )
    return Finding(CONTRADICTED, why, finding.ours)


@test
def flat(found: Runs) -> Finding:
    """Whether the folds that chose the settings of a model overestimate it by little."""
    run = found["tuned-study"]
    outside = Estimate.read(run.metrics["test"]["auroc"])
    inside = run.metrics["search"]["trials"][0]["auroc"]
    ours = f"AUROC {inside:.3f} on the folds that chose, {outside:.3f} held out"
    if inside - outside.low <= ARTEFACT:
        return Finding(HOLDS, f"by at most {inside - outside.low:.2f}", ours)
    if inside - outside.high > ARTEFACT:
        return Finding(CONTRADICTED, f"by at least {inside - outside.high:.2f}", ours)
    return Finding(NOT_SHOWN, "it takes more held-out stays", ours)


@test
def batches(found: Runs) -> Finding:
    """Whether stays attacked in batches are turned."""
    run = found["attack-bilstm-study"]
    success, stays = _turned(run), run.metrics["both"]["success"]["stays"]
    speed = stays / run.metrics["attack_seconds"]
    ours = f"{success:.2f} of {stays} turned, {speed:.1f} stays a second"
    return Finding(HOLDS if success.above() else NOT_SHOWN, "stays are attacked together", ours)


@test
def lower_later(found: Runs) -> Finding:
    """Whether continuing after the first success finds smaller changes."""
    run = found["attack-bilstm-study"]
    if not _turned(run).value > 0:
        raise Untestable("no verdict was turned")
    both = run.metrics["both"]
    first, best = (Estimate.read(both[which]["median"]["l1"]) for which in ("first", "best"))
    ours = f"median L1 norm {first:.2f} of the first, {best:.2f} of the best"
    return Finding(HOLDS if best.value < first.value else CONTRADICTED, "of the same stays", ours)


@test
def sparse(found: Runs) -> Finding:
    """Whether few cells moved by little turn verdicts, and more of them than at random.

    Few: half of the verdicts turn within five cells. Little: the largest change is below half of
    the range of its series in the middle. More: than the same sizes of change in random cells.
    """
    run = found["attack-bilstm-study"]
    success, noise = _turned(run), Estimate.read(run.metrics["noise"])
    if not success.value > 0:
        return Finding(CONTRADICTED, "no verdict was turned")
    best = run.metrics["both"]["best"]
    within = best["curves"]["cells"][BUDGETS["cells"].index(5)]
    largest = Estimate.read(best["median"]["largest"])
    ours = (
        f"{within:.2f} turned within 5 cells, largest change {largest:.2f} of a range in the "
        f"middle; "
        f"random: {noise:.3f} turned"
    )
    if not success.above(noise.high if noise.has_interval else 0.0):
        why = "not clearly more than the same sizes of change at random; it takes more stays"
        return Finding(NOT_SHOWN, why, ours)
    if within < 0.5 or largest.value > 0.5:
        return Finding(CONTRADICTED, "sparse or small, not both", ours)
    return Finding(HOLDS, "few cells, by less than half of a range", ours)


def _turned(run: Run) -> Estimate:
    """Share of the attacked stays whose verdict was turned."""
    return Estimate.read(run.metrics["both"]["success"])


@test
def faster(found: Runs) -> Finding:
    """Preprocessing minutes: another machine, other data."""
    raise Untestable(
        "the minutes are of MIMIC-III on another machine; the cost here stands in the run's account"
    )
