"""The claims of the paper and of the report, and the tests that judge them.

``claims.yml`` beside this module holds the claims, see :mod:`reproduction.claims`. A test computes
its verdict from the runs of the plan over their random seeds, or from the values reported where
they suffice. Reported values can refute a claim; they confirm only what is claimed of the reported
patients themselves. A difference between two rows of the plan counts where its 95 % interval
excludes 0; where that leaves both signs open, the claim is not shown.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np

from reproduction.claims import (
    CONTRADICTED,
    HOLDS,
    NOT_SHOWN,
    OPEN,
    Claim,
    Finding,
    Ledger,
    Untestable,
    verdict,
)
from reproduction.estimates import Estimate, newcombe, pooled, student, welch, wilson
from reproduction.synthesis import reported, scale, scores
from reproduction.synthesis.experiments import Run
from reproduction.synthesis.reported import QUOTES
from reproduction.synthesis.scores import title
from reproduction.tables import cell
from scoehr.data.matrix import CodeMatrix
from scoehr.data.simulate import sample_matrix

#: A membership AUC above that of fresh real patients by less than this counts as no leak.
MARGIN = 0.05

#: The finished runs of each row of the plan, see
#: :func:`reproduction.synthesis.experiments.finished`.
Found: TypeAlias = Mapping[str, Sequence[Run]]


def outside(claim: Claim, found: Found) -> str:
    """Why the runs at hand must not decide a claim on a trained model; empty where they may.

    They must not where a run departs from the regime of its study, see ``Run.departures``, or where
    one network was narrowed more than another. A claim marked ``regime: any`` rests on the
    reference points or on arithmetic.
    """
    if claim.get("regime") == "any":
        return ""
    needed = {name: found.get(name, []) for name in claim.get("needs", [])}
    parts = [scale.narrowed(needed)]
    for name, runs in needed.items():
        departures = next((run.departures for run in runs if run.departures), [])
        if departures:
            parts.append(f"{name} was not run as its study ran it ({', '.join(departures)})")
    return "; ".join(filter(None, parts))


LEDGER = Ledger(Path(__file__).with_name("claims.yml"), QUOTES, outside, home="mimic3")
test = LEDGER.test


def values(found: Found, name: str, key: str) -> list[float]:
    """One quantity of each run of a row that has it; :class:`Untestable` if none has."""
    defined = scores.values(found[name], key)
    if not defined:
        raise Untestable(f"no run of {name} has the {title(key)}")
    return defined


def mean(found: Found, name: str, key: str) -> Estimate:
    """The mean of a quantity over the random seeds of a row; :class:`Untestable` if none has it."""
    return student(values(found, name, key), limits=scores.limits(key))


def above(found: Found, name: str, key: str, point: str) -> Estimate:
    """A score of the runs of a row less that of one of their reference points."""
    pairs = [(scores.value(run, key), scores.reference(run, point, key)) for run in found[name]]
    defined = [mine - other for mine, other in pairs if mine is not None and other is not None]
    if not defined:
        raise Untestable(f"no run of {name} has the {title(key)}")
    return student(defined)


# Tests on runs ------------------------------------------------------------------------------------


@test
def better(found: Found, *, run: str, than: list[str], scores: list[str], least: int) -> Finding:
    """Whether a row is better than every other row named, in at least ``least`` of the scores.

    A row all of whose runs diverged is worse than any other.
    """
    alive = {name for name in (run, *than) if any(one.verdict == "finished" for one in found[name])}
    if run not in alive:
        return Finding(CONTRADICTED, f"every run of {run} diverged")
    rivals = [name for name in than if name in alive]
    gaps = {key: differences(found, run, rivals, key) for key in scores}
    parts = [
        f"{title(key)} {mean(found, run, key)}{_strongest(found, key, gaps[key])}" for key in scores
    ]
    won = sum(all(gap.below() for gap in row.values()) for row in gaps.values())
    lost = sum(any(gap.above() for gap in row.values()) for row in gaps.values())
    gone = "".join(f"; every run of {name} diverged" for name in than if name not in alive)
    why = (
        f"better in {won} of {len(scores)} scores by an interval that excludes 0, "
        f"{least} needed{gone}"
    )
    every = [gap for row in gaps.values() for gap in row.values()]
    hopeless = lost > len(scores) - least
    return verdict(won >= least, why, ". ".join(parts), every, against=hopeless)


def differences(found: Found, run: str, rivals: Sequence[str], key: str) -> dict[str, Estimate]:
    """By how much a row is worse than each rival in a score; below 0 it is better."""
    worth = {name: scores.badness(key, values(found, name, key)) for name in (run, *rivals)}
    pool = pooled(worth.values())
    return {name: welch(worth[run], worth[name], pool) for name in rivals}


def _strongest(found: Found, key: str, gaps: Mapping[str, Estimate]) -> str:
    """The strongest rival's mean, and the sign of the difference."""
    if not gaps:
        return ""
    rival = max(gaps, key=lambda name: gaps[name].value)
    gap = gaps[rival]
    sign = "better" if gap.below() else "worse" if gap.above() else "not distinguishable"
    return f", {rival} {mean(found, rival, key)}: {sign}"


@test
def ordered(
    found: Found, *, runs: list[str], by: list[str], direction: Literal["rises", "falls"]
) -> Finding:
    """Whether every quantity rises (or falls) at each step, by an interval that excludes 0."""
    steps, parts = {}, []
    for key in by:
        numbers = {name: values(found, name, key) for name in runs}
        pool = pooled(numbers.values())
        means = ", ".join(f"{name} {mean(found, name, key)}" for name in runs)
        parts.append(f"{title(key)}: {means}")
        for one, other in pairwise(runs):
            step = welch(numbers[other], numbers[one], pool)
            steps[f"{title(key)} from {one} to {other}"] = step
    clear, other_way = Estimate.above, Estimate.below
    if direction == "falls":
        clear, other_way = other_way, clear
    unclear = [name for name, step in steps.items() if not clear(step)]
    against = any(other_way(step) for step in steps.values())
    why = f"no clear step of {'; '.join(unclear)}" if unclear else f"it {direction} at every step"
    return verdict(not unclear, why, ". ".join(parts), steps.values(), against=against)


@test
def falling(found: Found, *, run: str, stage: str, share: float) -> Finding:
    """Whether the validation loss still falls after this share of the epochs."""
    changes = []
    for one in found[run]:
        of_stage = one.history["stage"] == stage
        losses = one.history.loc[of_stage, "validation_loss"].to_numpy(dtype=float)
        early = max(1, round(share * len(losses)))
        if len(losses) > early:
            changes.append(losses[-1] / losses[early - 1] - 1)
    if not changes:
        raise Untestable(f"{run} has no later epoch of {stage}")
    change = student(changes)
    ours = f"relative change of the validation loss after {share:.0%} of the epochs: {change}"
    why = "it still falls" if change.below() else "no fall can be told from chance"
    return verdict(change.below(), why, ours, [change], against=change.above())


@test
def times(found: Found, *, run: str, than: str, key: str, factor: float) -> Finding:
    """Whether a score is at least ``factor`` times another row's, by the ratio of the means."""
    logs = [np.log(values(found, name, key)).tolist() for name in (run, than)]
    apart = welch(*logs)
    ratio = Estimate(math.exp(apart.value), math.exp(apart.low), math.exp(apart.high), apart.n)
    ours = f"{title(key)}, {run} over {than}: {ratio}"
    why, short = f"{factor:g} times would be needed", ratio.below(factor)
    return verdict(ratio.low >= factor, why, ours, [ratio], against=short, limit=factor)


@test
def settled(found: Found, *, run: str, longer: str, scores: list[str]) -> Finding:
    """Whether training has converged by the epochs of ``run``: not where ``longer`` is better.

    Both are under a schedule that lets the network learn; the reported one leaves nothing to learn
    with.
    """
    gain = better(found, run=longer, than=[run], scores=scores, least=1)
    if gain.verdict == HOLDS:
        why = f"under the paper's schedule {longer} is still better than {run}"
        return gain._replace(verdict=CONTRADICTED, why=why)
    left = 1 - reported.budget("reported", 50, 100) / reported.budget("reported", 100, 100)
    why = (
        f"the reported schedule has {left:.1%} of its learning left after 50 epochs, so its scores "
        "stand still whatever the network could learn; under the paper's schedule no gain can be "
        "told from chance"
    )
    return Finding(OPEN, why, gain.ours)


@test
def blind(found: Found, *, run: str, key: str) -> Finding:
    """Whether a privacy score sees a training set handed out verbatim, which betrays everybody.

    A share of records at risk that stays below one half there tells nothing about privacy.
    """
    copied, fresh = (scores.reference(found[run][0], point, key) for point in ("copy", "real"))
    ours = (
        f"{title(key)} {mean(found, run, key)}, training patients copied {cell(copied)}, "
        f"fresh real ones {cell(fresh)}"
    )
    if copied is not None and copied > 0.5:
        return Finding(OPEN, "which share of such pairs does harm is not stated", ours)
    why = (
        "the training set handed out verbatim would count as nearly all protected; it takes a "
        "score that sees that"
    )
    return Finding(NOT_SHOWN, why, ours)


@test
def private(found: Found, *, run: str) -> Finding:
    """Whether members are told from others no better than by fresh real patients."""
    key = "privacy.membership_auc"
    excess = above(found, run, key, "real")
    amount = "less" if excess.below(MARGIN) else "up to more"
    why = f"members can be told from others by {amount} than {MARGIN} of AUC"
    ours = f"{title(key)}, above fresh real patients: {excess}"
    leaks = excess.above(MARGIN)
    return verdict(excess.below(MARGIN), why, ours, [excess], against=leaks, limit=MARGIN)


@test
def above_empty(found: Found, *, run: str) -> Finding:
    """Whether the reported PCD is better than an empty table's, as the best of scores has to be."""
    key = "reported.pcd"
    excess = above(found, run, key, "zero")
    ours = f"{title(key)} {mean(found, run, key)}, above an empty table by {excess}"
    pcd = reported.empty(**reported.scale())["PCD, with chance"]
    empty = f"as reported, an empty table scores about {pcd:.1f}"
    if excess.below():
        return Finding(OPEN, f"the rivals are not run here; {empty}", ours)
    why = f"not better than an empty table; {empty}"
    return verdict(False, why, ours, [excess], against=excess.above())


@test
def reviewed(found: Found, *, run: str) -> Finding:
    """The judgement of clinicians, which needs clinicians; beside it that of a classifier."""
    key = "utility.discriminator_auc"
    records = QUOTES.values["clinicians_records"]
    place = "clinicians/real if most clinicians say so"
    sides = (QUOTES.value(f"{place}/{side}") for side in ("synthetic", "real"))
    apart = newcombe(*(wilson(side, records) for side in sides)).times(100)
    why = (
        "it needs clinicians; the review is ready to hold. By the reported shares of "
        f"{records} records a side, the difference lies between {apart.low:.0f} and "
        f"{apart.high:+.0f} points"
    )
    return Finding(OPEN, why, f"stand-in: {title(key)} {mean(found, run, key)}")


@test
def computed(found: Found, *, run: str, key: str) -> Finding:
    """Whether a score that was called out of reach has been computed."""
    ours = f"{title(key)} {mean(found, run, key)}"
    return Finding(CONTRADICTED, "it is computed, with codes held out as labels", ours)


@test
def sizes(found: Found) -> Finding:
    """Patients and codes of the matrix, where the runs are on MIMIC-III."""
    run = next((run for runs in found.values() for run in runs), None)
    if run is None or run.experiment["dataset"] != "mimic3":
        raise Untestable("it needs MIMIC-III; the loader is tested on small tables of its schema")
    account = run.config["data"]["account"]
    names = ("patients", "codes")
    same = all(account[name] == QUOTES.value(f"cohort/matrix/{name}") for name in names)
    return verdict(same, "", f"{account['patients']:,} patients, {account['codes']:,} codes")


@test
def round_trip(found: Found) -> Finding:
    """Whether synthetic patients lack codes and visits, so that records do not give the matrix."""
    matrix = sample_matrix(200, seed=0)
    again = CodeMatrix.from_records(matrix.to_records(), codes=matrix.codes)
    if (again.counts != matrix.counts).nnz:
        return Finding(HOLDS, "records of a matrix do not give it back")
    why = "codes travel with the matrix: it gives records of visits, and they give the same matrix"
    return Finding(CONTRADICTED, why)


# Tests on reported values -------------------------------------------------------------------------


@test
def quoted(found: Found, *, of: str, against: str, why: str) -> Finding:
    """Whether two numbers that the report gives for one thing agree; places in reported.json."""
    return verdict(QUOTES.value(of) == QUOTES.value(against), QUOTES.fill(why))


@test
def fewer(found: Found, *, of: str) -> Finding:
    """Whether a reported row's patients have fewer codes than its real patients."""
    made, real = QUOTES.value(f"report/{of}/density"), QUOTES.value("report_real_density")
    why = f"as reported, its patients have {made / real:.2f} times the codes of real patients"
    return verdict(made < real, why)


@test
def converted(found: Found, *, of: str, than: list[str]) -> Finding:
    """Whether a row's log-cluster is the lowest once the report's are the published score."""
    table = reported.report()["log-cluster, corrected"]
    (mine,), models = reported.named([of]), reported.paper()["log-cluster"]
    rivals = {name: models[name] for name in than if name in models}
    others = reported.named([name for name in than if name not in models])
    rivals |= {name: table[name] for name in others}
    lower = [f"{name} {score:.2f}" for name, score in rivals.items() if score < table[mine]]
    why = f"turned into the published score it is {table[mine]:.2f}"
    if lower:
        return Finding(CONTRADICTED, f"{why}; lower are {', '.join(lower)}")
    return Finding(OPEN, f"{why}, still the lowest, in one run a row")


@test
def bounded(found: Found, *, of: str, than: list[str]) -> Finding:
    """Whether a row's published DDM can be lower than others', given how few codes it has."""
    (row,) = reported.named([of])
    least = reported.least_error(reported.report().loc[row, "codes per patient"])
    rivals = reported.paper()["DDM"][than]
    lower = [f"{name} {score}" for name, score in rivals.items() if score < least]
    why = f"with so few codes its published DDM is at least {least:.4f}"
    if not lower:
        return Finding(OPEN, f"{why}; the reported values tell no more")
    empty = reported.empty(**reported.scale())["DDM"]
    why = f"{why}; lower are {', '.join(lower)}. As coded, an empty table wins with {empty:.4f}"
    return Finding(CONTRADICTED, why)


@test
def ranges(found: Found, *, table: str, score: str, than: list[str]) -> Finding:
    """Whether the paper's range for ScoEHR lies apart from its rivals', on the better side."""
    apart = reported.apart(table, "ScoEHR", score, than)
    if same := [name for name in than if not apart[name]]:
        why = (
            f"its published range overlaps that of {', '.join(same)}; it takes the scores of "
            "single runs"
        )
        return Finding(NOT_SHOWN, why)
    column, sign = reported.paper(table)[score], -1 if score == "SRA" else 1
    if worse := [name for name in than if sign * column[name] < sign * column["ScoEHR"]]:
        return Finding(CONTRADICTED, f"better as published: {', '.join(worse)}")
    why = "its published range lies apart, but neither scores nor rivals are published as code"
    return Finding(OPEN, why)
