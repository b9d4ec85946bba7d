"""The claims of the LSTM attack study, each with a verdict computed from runs.

``claims.yml`` holds them, in the form of ``reproduction/synthesis/claims.yml``. A claim about MIMIC-III that rests on a flaw of the
protocol is tested by what that protocol does on the stays at hand; one that needs MIMIC-III itself cannot be tested.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from importlib import resources
from typing import Any

import pandas as pd
import yaml

from companions.mortality_attack import results as shown
from companions.mortality_attack.experiments import Run
from reproduction.synthesis.claims import Finding, Untestable, attempt, tabulate

Runs = Mapping[str, Run]
#: A gap between scores as printed and held-out ones that counts as an artefact.
ARTEFACT = 0.05


def read() -> list[dict[str, Any]]:
    """The claims: id, study, source, statement, reported, test, given, needs, evidence."""
    text = resources.files(__package__).joinpath("claims.yml").read_text(encoding="utf-8")
    return yaml.safe_load(text)["claims"]


def ledger(found: Runs) -> pd.DataFrame:
    """A row a claim, by its id: study, source, statement, evidence, reported, verdict, why, ours."""
    return tabulate(read(), lambda claim, _: judge(claim, found), quoted)


def of_book(dataset: str, source: str | None, profile: str, seed: int) -> pd.DataFrame:
    """:func:`ledger` of the runs that the book shows."""
    return ledger(shown.runs(dataset, source, profile, seed))


def judge(claim: Mapping[str, Any], found: Runs) -> Finding:
    """The finding of one claim."""
    return attempt(claim, found, TESTS, {"found": found})


def table(found: Runs, pages: str) -> pd.DataFrame:
    """The claims whose evidence stands on the page named so, for display."""
    rows = ledger(found)
    rows = rows[rows["evidence"].str.contains(f"mortality-{pages}")]
    return rows[["statement", "reported", "ours", "verdict", "why"]].rename_axis(None)


def quoted(text: str) -> str:
    """A text with ``{row/score}`` and ``{name}`` replaced by what ``reported.json`` holds there."""
    return re.sub(r"{([^}]+)}", lambda match: f"{value(match[1]):g}", " ".join(text.split()))


def value(place: str) -> float:
    """A printed value: ``"Sun et al./auroc"`` of the results table, or ``"samples"``.

    Raises KeyError where nothing stands.
    """
    facts = shown.reported()
    row, _, score = place.rpartition("/")
    if not row:
        return facts[place]["value"]
    return next(entry for entry in facts["results"] if entry["row"] == row)[score]


# Tests --------------------------------------------------------------------------------------------------------------


def artefact(found: Runs, *, score: str) -> Finding:
    """Whether a printed score survives on held-out stays of the same protocol and weights."""
    metrics = found["reported"].metrics
    inside, outside = metrics["reported"][score], metrics["test"][score]
    gap = inside["value"] - outside["value"]
    ours = f"{shown.said(outside)} held out, {shown.said(inside)} as scored"
    if inside["interval"][0] > outside["interval"][1] and gap > ARTEFACT:
        why = f"the reported scoring, of training stays under a balanced draw, gives {gap:.2f} more to the same weights"
        return Finding("fails", why, ours)
    if outside["value"] >= value(f"LSTM attack study/{score}"):
        return Finding("holds", "held-out stays reach it too", ours)
    return Finding(
        "cannot be tested", "the two ways of scoring cannot be told apart on these stays", ours
    )


def beyond_reach(found: Runs, *, why: str) -> Finding:
    """A claim that nothing at hand can test."""
    raise Untestable(why)


def quoted_elsewhere(found: Runs, *, row: str) -> Finding:
    """A row that the study quotes from others: needs MIMIC-III; what held-out stays at hand allow stands beside it."""
    best = max(
        (
            run
            for run in found.values()
            if run.experiment.task == "model" and run.experiment.name.endswith("-study")
        ),
        key=lambda run: run.metrics["test"]["auroc"]["value"],
    )
    ours = f"best here on these series: {best.experiment.title}, {shown.said(best.metrics['test']['auroc'])}"
    raise Untestable(f"it was measured on MIMIC-III by others ({row}); {ours}")


def best_of_table(found: Runs) -> Finding:
    """Whether "best of the table" survives the scoring: it fails if held-out scores lie below a quoted AUROC."""
    outside = found["reported"].metrics["test"]["auroc"]
    inside = found["reported"].metrics["reported"]["auroc"]
    ours = f"{shown.said(outside)} held out, {shown.said(inside)} as scored"
    if inside["interval"][0] > outside["interval"][1]:
        why = "the row was scored on training stays drawn to be half deaths, the others on held-out ones: no comparison"
        return Finding("fails", why, ours)
    return Finding(
        "cannot be tested", "the two ways of scoring cannot be told apart on these stays", ours
    )


def no_overfitting(found: Runs) -> Finding:
    """Whether held-out scores of the reported model go on rising, as its own do."""
    history = found["reported"].history.dropna(subset=["reported_auroc"])
    if len(history) < 3:
        raise Untestable("too few looks at the scores during training")
    third = max(1, len(history) // 3)
    rise = {name: history[f"{name}_auroc"].iloc[-third:].mean() - history[f"{name}_auroc"].iloc[:third].mean()
            for name in ("reported", "test")}  # fmt: skip
    loss = history["test_loss"].iloc[-1] - history["test_loss"].min()
    ours = f"last third over first: {rise['reported']:+.3f} as scored, {rise['test']:+.3f} held out"
    if rise["reported"] > 0 and rise["test"] < rise["reported"] / 2:
        return Finding(
            "fails",
            f"only the stays learnt from show it; held-out loss ends {loss:.3f} above its least",
            ours,
        )
    epochs, printed = int(history["epoch"].iloc[-1]), value("epochs")
    if epochs < printed:
        raise Untestable(
            f"held-out scores rise as well, but only over {epochs} of {printed:,} epochs"
        )
    return Finding("holds", "held-out scores rise as well", ours)


def oversampling(found: Runs) -> Finding:
    """Whether the balanced sampler explains the rise: it does not if held-out scores do not rise with it."""
    finding = no_overfitting(found)
    if finding.verdict == "fails":
        why = "the sampler is the same for both curves; the rise is that of scoring what is learnt from"
        return Finding("fails", why, finding.ours)
    return finding


def batches(found: Runs) -> Finding:
    """Whether stays attacked in batches are turned."""
    entry = found["attack-bilstm-study"].metrics["both"]
    share = entry["success"]
    seconds = found["attack-bilstm-study"].metrics["attack_seconds"]
    ours = f"{shown.said(share, 2)} of {share['stays']} turned, {share['stays'] / seconds:.1f} stays a second"
    return Finding(
        "holds" if share["interval"][0] > 0 else "fails", "stays are attacked together", ours
    )


def lower_later(found: Runs) -> Finding:
    """Whether going on after the first success finds smaller changes."""
    entry = found["attack-bilstm-study"].metrics["both"]
    if entry["success"]["value"] in (None, 0):
        raise Untestable("no verdict was turned")
    first, best = (entry[which]["median"]["l1"] for which in ("first", "best"))
    ours = f"median L1 norm {shown.said(first, 2)} of the first, {shown.said(best, 2)} of the best"
    return Finding(
        "holds" if best["value"] < first["value"] else "fails", "of the same stays", ours
    )


def sparse(found: Runs) -> Finding:
    """Whether small, sparse changes turn verdicts: half of them with at most a tenth of the measured cells."""
    entry = found["attack-bilstm-study"].metrics["both"]
    if not entry["success"]["value"]:
        return Finding("fails", "no verdict was turned")
    cells, noise = entry["best"]["median"]["cells"], found["attack-bilstm-study"].metrics["noise"]
    ours = f"{shown.said(entry['success'], 2)} turned, median {shown.said(cells, 0)} cells; random: {shown.said(noise, 3)}"
    if entry["success"]["interval"][0] > (noise["interval"][1] or 0):
        return Finding("holds", "more than the same sizes of change at random", ours)
    return Finding("fails", "not more than the same sizes of change at random", ours)


def faster(found: Runs) -> Finding:
    """Preprocessing minutes: another machine, other data."""
    raise Untestable(
        "the minutes are of MIMIC-III on another machine; the cost here stands in the run's account"
    )


#: The tests by the name that ``claims.yml`` gives them.
TESTS: dict[str, Callable[..., Finding]] = {
    test.__name__: test
    for test in (
        artefact, beyond_reach, quoted_elsewhere, best_of_table, no_overfitting, oversampling, batches, lower_later,
        sparse, faster,
    )
}  # fmt: skip
