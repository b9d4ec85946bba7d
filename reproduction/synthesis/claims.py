"""The claims ledger: what the paper and the report say, and what is left of it.

``reproduction/synthesis/claims.yml`` holds the claims. Each names a test of this module, and the test computes its verdict: from the runs
of the plan over their random seeds, or from the printed numbers where they suffice. Printed numbers can refute a claim;
they confirm only what is said of the printed patients themselves.

A difference between two rows of the plan counts where its 95 % interval excludes 0: Welch's for means over random seeds
(Welch 1947, Biometrika 34). So a claimed difference that cannot be told from chance fails.
"""

from __future__ import annotations

import html
import importlib
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
import pandas as pd
import yaml
from scipy import stats

from reproduction import figures
from reproduction.synthesis import reported
from reproduction.synthesis.experiments import Run
from scoehr.data.matrix import CodeMatrix
from scoehr.data.simulate import sample_matrix
from scoehr.metrics import METRICS

CLAIMS = Path(__file__).with_name("claims.yml")
#: A membership AUC above that of fresh real patients by less than this counts as no leak.
MARGIN = 0.05

Found: TypeAlias = Mapping[str, Sequence[Run]]
Verdicts: TypeAlias = Mapping[str, str]


class Finding(NamedTuple):
    """What a test found: "holds", "fails" or "cannot be tested", why, and our values in words."""

    verdict: str
    why: str
    ours: str = "–"


class Untestable(Exception):
    """The runs at hand lack what a test needs; the message says what."""


class Interval(NamedTuple):
    """A value with its 95 % interval; NaN limits where there is one random seed only."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        around = (
            ""
            if math.isnan(self.low)
            else f" [{figures.cell(self.low)}, {figures.cell(self.high)}]"
        )
        return figures.cell(self.value) + around


def read() -> dict[str, Any]:
    """``reproduction/synthesis/claims.yml``: ``evidence``, the page of every id of the plan, and ``claims``."""
    return yaml.safe_load(CLAIMS.read_text(encoding="utf-8"))


def ledger(found: Found) -> pd.DataFrame:
    """Every claim with its verdict, a row a claim.

    Parameters
    ----------
    found : the finished runs of each row of the plan over its random seeds, as :func:`reproduction.synthesis.experiments.finished` has them

    Returns
    -------
    DataFrame indexed by the claim's id: study, source, statement, evidence, reported, verdict, why, ours. The verdict
    is "holds", "fails", "cannot be tested", or "not run yet: …" with the rows of the plan that are missing.
    """
    return tabulate(read()["claims"], lambda claim, verdicts: judge(claim, found, verdicts), quoted)


def tabulate(
    claims: Iterable[Mapping[str, Any]],
    find: Callable[[Mapping[str, Any], Verdicts], Finding],
    say: Callable[[str], str],
) -> pd.DataFrame:
    """The ledger of a study: ``find`` judges a claim by itself and the verdicts before it, ``say`` puts printed values
    in words."""
    rows: dict[str, dict[str, str]] = {}
    for claim in claims:
        finding = find(claim, {name: row["verdict"] for name, row in rows.items()})
        rows[claim["id"]] = {
            **{name: claim[name] for name in ("study", "source", "statement", "evidence")},
            "reported": say(claim.get("reported", "")),
            **finding._asdict(),
        }
    return pd.DataFrame.from_dict(rows, orient="index")


def companions(
    dataset: str, source: str | None, profile: str, seed: int
) -> dict[str, pd.DataFrame]:
    """The ledgers of the companion studies by title, in the form of ours; ``reproduction/synthesis/claims.yml`` names their modules."""
    modules = {title: importlib.import_module(name) for title, name in read()["companions"].items()}
    return {
        title: module.of_book(dataset, source, profile, seed) for title, module in modules.items()
    }


def judge(claim: Mapping[str, Any], found: Found, verdicts: Verdicts) -> Finding:
    """The finding of one claim; ``verdicts`` are those of the claims before it.

    A claim about a trained model is judged by runs in the regime of its study alone, see ``Run.departures``.
    """
    given = {"verdicts": verdicts} if claim["test"] == together.__name__ else {"found": found}
    if reason := outside(claim, found):
        return Finding("cannot be tested", reason)
    return attempt(claim, found, TESTS, given)


def outside(claim: Mapping[str, Any], found: Found) -> str:
    """Why the runs at hand must not decide a claim; empty where they may.

    A claim marked ``regime: any`` rests on the reference points or on arithmetic, not on how well a model is trained.
    """
    if claim.get("regime") == "any":
        return ""
    parts = []
    for name in claim.get("needs", []):
        departures = next((run.departures for run in found.get(name, []) if run.departures), [])
        parts += [f"{name} was not run as its study ran it ({', '.join(departures)})"] * bool(
            departures
        )
    return "; ".join(parts)


def attempt(
    claim: Mapping[str, Any],
    found: Mapping[str, Any],
    tests: Mapping[str, Callable[..., Finding]],
    given: Mapping[str, Any],
) -> Finding:
    """What the test of a claim finds from ``given`` and what the claim gives it; none without the runs it needs."""
    missing = [name for name in claim.get("needs", []) if not found.get(name)]
    if missing:
        return Finding(f"not run yet: {', '.join(missing)}", "")
    try:
        return tests[claim["test"]](**given, **claim.get("given", {}))
    except Untestable as reason:
        return Finding("cannot be tested", str(reason))


def quoted(text: str) -> str:
    """Reported values in words: ``{place}`` gives way to the value at that place of ``reproduction/synthesis/reported.json``."""
    return (
        re.sub(r"\{(.+?)\}", lambda found: figures.cell(reported.value(found[1]), digits=6), text)
        or "–"
    )


# Over random seeds ---------------------------------------------------------------------------------------------------


def values(found: Found, name: str, key: str) -> list[float]:
    """One quantity of each run of a row that has it; :class:`Untestable` if none has.

    ``key`` is that of a score ("fidelity.pcd"), "costs.score_seconds" for a cost, or "loss.score" for the last
    validation loss of a stage. Runs that diverged have no scores.
    """
    numbers = [value(run, key) for run in found[name]]
    defined = [number for number in numbers if number is not None and math.isfinite(number)]
    if not defined:
        raise Untestable(f"no run of {name} has the {title(key)}")
    return defined


def value(run: Run, key: str) -> float | None:
    """One quantity of a run, None where it has none."""
    family, name = key.split(".")
    if family == "loss":
        losses = run.history.loc[run.history["stage"] == name, "validation_loss"]
        return float(losses.iloc[-1]) if len(losses) else None
    return (run.costs if family == "costs" else run.metrics.get(family, {})).get(name)


def title(key: str) -> str:
    """A quantity by its name."""
    family, name = key.split(".")
    if key in METRICS:
        return METRICS[key].title
    return f"validation loss of the {name}" if family == "loss" else name.replace("_", " ")


class Pool(NamedTuple):
    """Variance over random seeds within the rows of a table, and its degrees of freedom."""

    variance: float
    freedom: int


def pooled(rows: Iterable[Sequence[float]]) -> Pool | None:
    """The variance pooled over the rows of a table where one of them has two random seeds; None where all have more.

    Two seeds alone say next to nothing of their row's own variance. Rows of one seed say nothing at all.
    """
    several = [np.asarray(row, dtype=float) for row in rows if len(row) > 1]
    if min(map(len, several), default=3) > 2:
        return None
    freedom = sum(len(row) - 1 for row in several)
    return Pool(sum(float(((row - row.mean()) ** 2).sum()) for row in several) / freedom, freedom)


def mean(numbers: Sequence[float], pool: Pool | None = None) -> Interval:
    """Mean over random seeds with its 95 % t interval."""
    if pool is None or len(numbers) < 2:
        return difference(numbers, [0.0, 0.0])
    return _around(float(np.mean(numbers)), pool.variance / len(numbers), pool.freedom)


def difference(
    ones: Sequence[float], others: Sequence[float], pool: Pool | None = None
) -> Interval:
    """Mean of the ones less that of the others with its 95 % interval: Welch's, or by the variance of a pool."""
    one, other = np.asarray(ones, dtype=float), np.asarray(others, dtype=float)
    between = float(one.mean() - other.mean())
    if min(len(one), len(other)) < 2:
        return Interval(between, math.nan, math.nan)
    if pool is not None:
        return _around(between, pool.variance * (1 / len(one) + 1 / len(other)), pool.freedom)
    parts = np.array([one.var(ddof=1) / len(one), other.var(ddof=1) / len(other)])
    if not parts.sum():
        return Interval(between, between, between)
    freedom = parts.sum() ** 2 / (parts**2 / [len(one) - 1, len(other) - 1]).sum()
    return _around(between, parts.sum(), freedom)


def _around(middle: float, variance: float, freedom: float) -> Interval:
    half = float(stats.t.ppf(0.975, freedom)) * math.sqrt(variance)
    return Interval(middle, middle - half, middle + half)


def badness(key: str, numbers: Sequence[float]) -> list[float]:
    """Values turned so that lower is better: a score with a target counts by its distance from it."""
    score = METRICS.get(key)
    if score is None or score.better == "lower":
        return list(numbers)
    return [
        -number if score.better == "higher" else abs(number - (score.ideal or 0.0))
        for number in numbers
    ]


def decide(holds: bool, why: str, ours: str, intervals: Iterable[Interval]) -> Finding:
    """A verdict, unless an interval that it rests on is missing."""
    if any(math.isnan(interval.low) for interval in intervals):
        return Finding("cannot be tested", "one random seed has no interval; run more", ours)
    return Finding("holds" if holds else "fails", why, ours)


# Tests on runs -------------------------------------------------------------------------------------------------------


def better(found: Found, *, run: str, than: list[str], scores: list[str], least: int) -> Finding:
    """Whether a row is better than every other row named, in at least ``least`` of the scores.

    A row all of whose runs diverged is worse than any other.
    """
    alive = {name for name in (run, *than) if any(one.verdict == "finished" for one in found[name])}
    if run not in alive:
        return Finding("fails", f"every run of {run} diverged")
    gaps, parts = {}, []
    for key in scores:
        mine = values(found, run, key)
        theirs = {name: values(found, name, key) for name in than if name in alive}
        worth, rivals = (
            badness(key, mine),
            {name: badness(key, other) for name, other in theirs.items()},
        )
        pool = pooled([worth, *rivals.values()])
        gaps[key] = {name: difference(worth, other, pool) for name, other in rivals.items()}
        parts.append(f"{title(key)} {mean(mine)}{_strongest(gaps[key], theirs)}")
    won = sum(all(gap.high < 0 for gap in rivals.values()) for rivals in gaps.values())
    lost = "".join(f"; every run of {name} diverged" for name in than if name not in alive)
    why = f"better in {won} of {len(scores)} scores by an interval that excludes 0, {least} needed{lost}"
    return decide(
        won >= least,
        why,
        ". ".join(parts),
        (gap for rivals in gaps.values() for gap in rivals.values()),
    )


def _strongest(gaps: Mapping[str, Interval], theirs: Mapping[str, list[float]]) -> str:
    """The strongest rival's mean, and what the difference says."""
    if not gaps:
        return ""
    rival = max(gaps, key=lambda name: gaps[name].value)
    gap = gaps[rival]
    says = "better" if gap.high < 0 else "worse" if gap.low > 0 else "not distinguishable"
    return f", {rival} {mean(theirs[rival])}: {says}"


def ordered(
    found: Found, *, runs: list[str], by: list[str], direction: Literal["rises", "falls"]
) -> Finding:
    """Whether every quantity rises (or falls) from each row to the next, each step by an interval that excludes 0."""
    sign = 1 if direction == "rises" else -1
    steps, parts = {}, []
    for key in by:
        numbers = {name: values(found, name, key) for name in runs}
        pool = pooled(numbers.values())
        parts.append(
            f"{title(key)}: " + ", ".join(f"{name} {mean(row)}" for name, row in numbers.items())
        )
        for one, other in pairwise(runs):
            steps[f"{title(key)} from {one} to {other}"] = difference(
                numbers[other], numbers[one], pool
            )
    against = [name for name, step in steps.items() if min(sign * step.low, sign * step.high) <= 0]
    why = f"no clear step of {'; '.join(against)}" if against else f"it {direction} at every step"
    return decide(not against, why, ". ".join(parts), steps.values())


def falling(found: Found, *, run: str, stage: str, share: float) -> Finding:
    """Whether the validation loss still falls after this share of the epochs."""
    changes = []
    for one in found[run]:
        losses = one.history.loc[one.history["stage"] == stage, "validation_loss"].to_numpy(
            dtype=float
        )
        early = max(1, round(share * len(losses)))
        changes += [losses[-1] / losses[early - 1] - 1] * (len(losses) > early)
    if not changes:
        raise Untestable(f"{run} has no later epoch of {stage}")
    change = mean(changes)
    ours = f"relative change of the validation loss after {share:.0%} of the epochs: {change}"
    why = "it falls on" if change.high < 0 else "no fall can be told from chance"
    return decide(change.high < 0, why, ours, [change])


def times(found: Found, *, run: str, than: str, key: str, factor: float) -> Finding:
    """Whether a score is at least ``factor`` times that of another row, by the interval of the ratio of means."""
    logs = difference(*(np.log(values(found, name, key)).tolist() for name in (run, than)))
    ratio = Interval(*map(math.exp, logs))
    ours = f"{title(key)}, {run} over {than}: {ratio}"
    return decide(ratio.low >= factor, f"{factor:g} times would be needed", ours, [ratio])


def settled(found: Found, *, run: str, longer: str, scores: list[str]) -> Finding:
    """Whether training has converged by the epochs of ``run``: refuted where ``longer`` is better in some score.

    Both are under a schedule that lets the network learn; the reported one leaves nothing to learn with.
    """
    gain = better(found, run=longer, than=[run], scores=scores, least=1)
    if gain.verdict == "holds":
        return gain._replace(
            verdict="fails", why=f"under the paper's schedule {longer} is still better than {run}"
        )
    left = 1 - reported.budget("reported", 50, 100) / reported.budget("reported", 100, 100)
    why = (
        f"the reported schedule has {left:.1%} of its learning left after 50 epochs, so its scores stand still "
        "whatever the network could learn; under the paper's schedule no gain can be told from chance"
    )
    return Finding("cannot be tested", why, gain.ours)


def blind(found: Found, *, run: str, key: str) -> Finding:
    """Whether a privacy score sees a training set handed out verbatim, which gives everybody away.

    A share of records at risk that stays below one half there says nothing about privacy.
    """
    family, name = key.split(".")
    here = mean(values(found, run, key))
    reference = found[run][0].metrics["reference"]
    copied, fresh = reference["copy"][family][name], reference["real"][family][name]
    ours = f"{title(key)} {here}, training patients copied {figures.cell(copied)}, fresh real ones {figures.cell(fresh)}"
    if copied > 0.5:
        return Finding("cannot be tested", "what share of such pairs does harm is not said", ours)
    return Finding(
        "fails", "the training set handed out verbatim would count as nearly all protected", ours
    )


def private(found: Found, *, run: str) -> Finding:
    """Whether members are told from others no better than by fresh real patients, within :data:`MARGIN`."""
    key = "privacy.membership_auc"
    excess = mean(_above(found, run, key, "real"))
    why = f"members can be told from others by {'less' if excess.high < MARGIN else 'up to more'} than {MARGIN} of AUC"
    return decide(
        excess.high < MARGIN, why, f"{title(key)}, above fresh real patients: {excess}", [excess]
    )


def above_empty(found: Found, *, run: str) -> Finding:
    """Whether the reported PCD is better than an empty table's, as a score better than those of rivals has to be."""
    key = "reported.pcd"
    above = mean(_above(found, run, key, "zero"))
    ours = f"{title(key)} {mean(values(found, run, key))}, above an empty table by {above}"
    empty = f"as printed, an empty table scores about {reported.empty(**reported.scale())['PCD, with chance']:.1f}"
    if above.high < 0:
        return Finding("cannot be tested", f"the rivals are not run here; {empty}", ours)
    return decide(False, f"no better than an empty table; {empty}", ours, [above])


def _above(found: Found, name: str, key: str, reference: str) -> list[float]:
    """A score of each run of a row less that of one of its reference points."""
    family, score = key.split(".")
    pairs = [
        (value(run, key), run.metrics["reference"][reference][family][score])
        for run in found[name]
        if run.metrics
    ]
    defined = [mine - point for mine, point in pairs if mine is not None and point is not None]
    if not defined:
        raise Untestable(f"no run of {name} has the {title(key)}")
    return defined


def reviewed(found: Found, *, run: str) -> Finding:
    """What clinicians say, which needs clinicians; beside it stands how well a classifier tells the patients."""
    key = "utility.discriminator_auc"
    records = reported.values()["clinicians_records"]
    place = "clinicians/real if most clinicians say so"
    synthetic, real = (int(reported.value(f"{place}/{side}")) for side in ("synthetic", "real"))
    low, high = reported.newcombe(synthetic, real, records)
    why = (
        f"it needs clinicians; the review is ready to hold. By the printed shares of {records} records a side, the "
        f"difference lies between {100 * low:.0f} and {100 * high:+.0f} points"
    )
    return Finding(
        "cannot be tested", why, f"stand-in: {title(key)} {mean(values(found, run, key))}"
    )


def computed(found: Found, *, run: str, key: str) -> Finding:
    """Whether a score said to be out of reach has been computed."""
    return Finding(
        "fails",
        "it is computed, with codes held out as labels",
        f"{title(key)} {mean(values(found, run, key))}",
    )


def sizes(found: Found) -> Finding:
    """Patients and codes of the matrix, where the runs are on MIMIC-III."""
    run = next((run for runs in found.values() for run in runs), None)
    if run is None or run.experiment["dataset"] != "mimic3":
        raise Untestable("it needs MIMIC-III; the loader is tested on small tables of its schema")
    account = run.config["data"]["account"]
    same = all(
        account[name] == reported.value(f"cohort/matrix/{name}") for name in ("patients", "codes")
    )
    return Finding(
        "holds" if same else "fails",
        "",
        f"{account['patients']:,} patients, {account['codes']:,} codes",
    )


def beyond_reach(found: Found, *, why: str) -> Finding:
    """A claim that nothing at hand can test."""
    raise Untestable(why)


def round_trip(found: Found) -> Finding:
    """Whether synthetic patients lack codes and visits: then their records would not give their matrix back."""
    matrix = sample_matrix(200, seed=0)
    lossless = not (
        CodeMatrix.from_records(matrix.to_records(), codes=matrix.codes).counts != matrix.counts
    ).nnz
    why = "codes travel with the matrix: it gives records of visits, and they give the same matrix"
    return (
        Finding("fails", why)
        if lossless
        else Finding("holds", "records of a matrix do not give it back")
    )


# Tests on printed numbers --------------------------------------------------------------------------------------------


def two_cohorts(found: Found) -> Finding:
    """The number of patients in the report's text against that of its own matrix."""
    said = reported.value("cohort/text/patients")
    matrix = reported.value("cohort/matrix/train") + reported.value("cohort/matrix/test")
    why = f"the report's own matrix has {matrix:,} patients, as its workbook counts; the text describes other data"
    return Finding("holds" if said == matrix else "fails", why)


def fewer(found: Found, *, of: str) -> Finding:
    """Whether a printed row's patients have fewer codes than the report's real patients, by their mean cells."""
    made, real = reported.value(f"report/{of}/density"), reported.value("report_real_density")
    why = f"as printed, its patients have {made / real:.2f} times the codes of real patients"
    return Finding("holds" if made < real else "fails", why)


def converted(found: Found, *, of: str, than: list[str]) -> Finding:
    """Whether a row's log-cluster is still the lowest once the report's are turned into the published score."""
    table = reported.report()["log-cluster, corrected"]
    (mine,), models = reported.named([of]), reported.paper()["log-cluster"]
    rivals = {name: models[name] for name in than if name in models}
    rivals |= {
        name: table[name] for name in reported.named([name for name in than if name not in models])
    }
    lower = [f"{name} {score:.2f}" for name, score in rivals.items() if score < table[mine]]
    why = f"turned into the published score it is {table[mine]:.2f}"
    if lower:
        return Finding("fails", f"{why}; lower are {', '.join(lower)}")
    return Finding("cannot be tested", f"{why}, still the lowest, in one run a row")


def bounded(found: Found, *, of: str, than: list[str]) -> Finding:
    """Whether a row's published DDM can be lower than others', given how few codes it emits."""
    least = reported.least_error(reported.value(f"report/{of}/density"))
    lower = [
        f"{name} {score}" for name, score in reported.paper()["DDM"][than].items() if score < least
    ]
    why = f"with so few codes its published DDM is at least {least:.4f}"
    if lower:
        nothing = reported.empty(**reported.scale())["DDM"]
        return Finding(
            "fails",
            f"{why}; lower are {', '.join(lower)}. As coded, an empty table wins with {nothing:.4f}",
        )
    return Finding("cannot be tested", f"{why}; more cannot be read off the printed numbers")


def ranges(found: Found, *, table: str, score: str, than: list[str]) -> Finding:
    """Whether the paper's range for ScoEHR lies apart from those of its rivals, on the better side."""
    apart = reported.apart(table, "ScoEHR", score, than)
    if same := [name for name in than if not apart[name]]:
        return Finding(
            "fails", f"not distinguishable: its printed range overlaps that of {', '.join(same)}"
        )
    column, sign = reported.paper(table)[score], -1 if score == "SRA" else 1
    if worse := [name for name in than if sign * column[name] < sign * column["ScoEHR"]]:
        return Finding("fails", f"better as printed: {', '.join(worse)}")
    return Finding(
        "cannot be tested",
        "its printed range lies apart, but neither scores nor rivals are published as code",
    )


def misquoted(found: Found) -> Finding:
    """The mean cell that the report's text gives for its model against that of its output."""
    said, headline = (
        reported.value(f"report/{name}/density") for name in ("reported-256", "reported")
    )
    why = f"{said} is that of 256 dimensions; the model of its table of results has {headline}"
    return Finding("holds" if said == headline else "fails", why)


def handful(found: Found) -> Finding:
    """How many patients the matrix of the report's PyHealth workbook has."""
    made, whole = reported.value("workbook_patients"), reported.value("cohort/matrix/patients")
    why = f"the loop of the workbook stops early: its matrix has {made} of {whole:,} patients"
    return Finding("holds" if made == whole else "fails", why)


def together(verdicts: Verdicts, *, claims: list[str]) -> Finding:
    """A conclusion that rests on other claims: it fails with any of them."""
    if failed := [name for name in claims if verdicts[name] == "fails"]:
        return Finding("fails", f"it rests on claims that fail: {', '.join(failed)}")
    if open_ := [name for name in claims if verdicts[name] != "holds"]:
        return Finding(
            "cannot be tested", f"it rests on claims without a verdict: {', '.join(open_)}"
        )
    return Finding("holds", "all claims that it rests on hold")


#: The tests by the name that ``reproduction/synthesis/claims.yml`` gives them.
TESTS: dict[str, Callable[..., Finding]] = {
    test.__name__: test
    for test in (
        better, ordered, falling, times, settled, blind, private, above_empty, reviewed, computed, sizes,
        beyond_reach, round_trip, two_cohorts, fewer, converted, bounded, ranges, misquoted, handful, together,
    )
}  # fmt: skip


# The table -----------------------------------------------------------------------------------------------------------

#: A mark and a colour for each verdict, dark enough on white and light enough on black; the word stands beside them.
MARKS = {"holds": ("✓", "#0072B2"), "fails": ("✗", "#C04A00"), "cannot be tested": ("?", "#767676")}
#: Verdicts on several claims.
SAID = {"holds": "hold", "fails": "fail", "not run yet": "are not run yet"}


def page(claims: pd.DataFrame) -> str:
    """The ledger as Markdown: how many claims hold, then a table whose rows link to their evidence."""
    return f"Of {len(claims)} claims {tally(claims)}.\n\n{_sheet(claims)}"


def folded(title: str, claims: pd.DataFrame) -> str:
    """The ledger of a companion study as HTML that opens when its line, the title and the tally, is clicked."""
    said = f"<strong>{title}</strong>: of {len(claims)} claims {tally(claims)}"
    return f'<details class="ledger"><summary>{said}</summary>\n{_sheet(claims)}\n</details>'


def tally(claims: pd.DataFrame) -> str:
    """How many claims have each verdict, in words."""
    counts = claims["verdict"].str.partition(":")[0].value_counts()
    return ", ".join(
        f"{number} {SAID.get(str(name), name) if number > 1 else name}"
        for name, number in counts.items()
    )


def _sheet(claims: pd.DataFrame) -> str:
    heads = "".join(
        f'<th class="words">{head}</th>'
        for head in ("claim", "printed", "here", "verdict", "evidence")
    )
    body = "\n".join(_row(str(name), row) for name, row in claims.iterrows())
    caption = "What the study claims, a row a claim; verdicts are computed when the book is made"
    return (
        f'<div class="table-scroll"><table class="scores claims"><caption>{caption}</caption>\n'
        f"<thead><tr>{heads}</tr></thead>\n<tbody>\n{body}\n</tbody></table></div>"
    )


def _row(name: str, row: pd.Series) -> str:
    file, _, anchor = row["evidence"].partition("#")
    word = row["verdict"].partition(":")[0]
    mark, colour = MARKS.get(word, ("…", "#767676"))
    text = {key: html.escape(value, quote=False) for key, value in row.items()}
    cells = (
        f"<strong>{name}</strong> {text['statement']} <em>({text['source']})</em>",
        text["reported"],
        text["ours"],
        f'<strong style="color: {colour}">{mark} {text["verdict"]}</strong>{": " * bool(text["why"])}{text["why"]}',
        f'<a href="{file}.html#{anchor}">{file.rpartition("/")[2]}</a>',
    )
    return (
        f'<tr id="claim-{name.lower().replace(".", "-")}">'
        + "".join(f'<td class="words">{cell}</td>' for cell in cells)
        + "</tr>"
    )
