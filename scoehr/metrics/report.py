"""The report on a synthetic table: eight numbers, a verdict in words, and one page of HTML.

:func:`headline` takes the numbers from the results of :func:`scoehr.metrics.evaluate` and
:func:`~scoehr.metrics.attack`, each beside its floor; :func:`verdicts` says them in words;
:func:`page` draws the rest. The page loads nothing, holds no row of a patient, and shows no code
that fewer than eleven patients have.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import resources
from typing import Any

from jinja2 import Environment

from scoehr.data.matrix import CodeMatrix
from scoehr.metrics import charts
from scoehr.metrics.attacks import ATTACKS
from scoehr.metrics.disclosure import RISKS
from scoehr.metrics.registry import Metric
from scoehr.metrics.whole import SCORES

#: Kinds of question, in the order of the page, and the scores that answer each.
LIKENESS = (
    "fidelity.prevalence_mae",
    "fidelity.patient_codes_ks",
    "validity.odds_coverage",
    "utility.discriminator_auc",
)
#: The same of whole patients.
WHOLE_LIKENESS = (
    "fidelity.prevalence_mae",
    "whole.pair_variation",
    "validity.odds_coverage",
    "whole.discriminator_auc",
)
USE = ("utility.auroc_loss",)
COPIES = ("copying_risk",)
GUESSES = ("singling_out_risk", "linkability_risk", "inference_risk")
#: Standard errors from the floor that are no accident: of one score, and of the worst of many.
APART, WORST = 2.0, 2.73
#: Shares of the way from the floor to the bad reference point that still count as near.
NEAR, MIDDLE = 0.1, 0.5
#: An excess over the floor from which a privacy score is called large.
LARGE = 0.05
LEVEL = 1.96

ABOUT = {
    "fidelity.prevalence_mae": "mean difference of the share of patients with a code",
    "fidelity.patient_codes_ks": "largest difference of the distributions of codes a patient",
    "validity.odds_coverage": "associations of two codes that agree within their error",
    "utility.discriminator_auc": "a classifier tells synthetic from real; .5 is a coin",
    "whole.pair_variation": "mean difference of the joint distribution of two facts of a visit",
    "whole.discriminator_auc": "a classifier tells synthetic from real; .5 is a coin",
    "utility.auroc_loss": "what predictions lose when learned from synthetic patients",
}


@dataclass(frozen=True)
class Line:
    """One of the eight numbers.

    ``level``: 0 as good as fresh real patients, 1 a little worse, 2 much worse. ``reading`` says
    it in words. ``low`` and ``high`` are a 95 % interval where there is one.
    """

    question: str  # likeness, use or privacy
    title: str
    about: str
    value: float
    low: float | None
    high: float | None
    floor: float
    level: int
    reading: str


# Numbers ------------------------------------------------------------------------------------------


def headline(results: Mapping[str, Any]) -> list[Line]:
    """At most eight numbers with their floors; those that were not computed are left out."""
    likeness = WHOLE_LIKENESS if "whole" in results else LIKENESS
    keys = {**dict.fromkeys(likeness, "likeness"), **dict.fromkeys(USE, "use")}
    lines = [_line(question, key, results) for key, question in keys.items()]
    attacks = results.get("attacks")
    if attacks:
        tpr = [key for key in ATTACKS if key.endswith("_tpr_1")]
        lines += [
            _worst(attacks, tpr, ATTACKS, "the worst of eight attacks: was somebody trained on?"),
            _worst(attacks["risks"], COPIES, RISKS, "equal to a training patient, beyond chance"),
            _worst(
                attacks["risks"], GUESSES, RISKS, "the worst of three: right guesses beyond chance"
            ),
        ]
    return [line for line in lines if line is not None]


def _line(question: str, key: str, results: Mapping[str, Any]) -> Line | None:
    metric, (family, name) = SCORES[key], key.split(".")
    points = {point: made.get(family, {}).get(name) for point, made in results["reference"].items()}
    value, floor = results.get(family, {}).get(name), points["real"]
    if value is None or floor is None:
        return None
    low, high = results["interval"].get(key, (None, None))
    worse = metric.distance(value, _likely(metric, floor))
    if worse <= 0 or _errors(worse, value, low, high) < APART:
        level, reading = 0, "as fresh real patients"
    else:
        level, reading = _alike(_share(key, worse, points, results["gap"].get(key)))
    return Line(question, metric.title, ABOUT[key], value, low, high, floor, level, reading)


def _likely(metric: Metric, floor: float) -> float:
    """The floor, or the ideal where chance put a floor of few patients beyond it."""
    if metric.ideal is None or metric.better == "target":
        return floor
    return max(floor, metric.ideal) if metric.better == "lower" else min(floor, metric.ideal)


def _share(key: str, worse: float, points: Mapping[str, float | None], gap: float | None) -> float:
    """How far the score is on the way from the floor to independent columns.

    To an empty table where independent columns get the score right by construction.
    """
    zero, floor = points["zero"], points["real"]
    if gap is not None or zero is None or floor is None:
        return math.inf if gap is None else gap
    way = SCORES[key].distance(zero, floor)
    return worse / way if way > 0 else math.inf


def _alike(share: float) -> tuple[int, str]:
    """Level and reading of a score of likeness or use that is worse than its floor."""
    if share < NEAR:
        return 1, "nearly as fresh real patients"
    if share < MIDDLE:
        return 1, "worse than fresh real patients"
    return 2, "much worse than fresh real patients"


def _exposing(worse: float, value: float, low: float | None, high: float | None) -> tuple[int, str]:
    """Level and reading of a score of privacy."""
    if worse <= 0 or _errors(worse, value, low, high) < WORST:
        return 0, "no more than fresh real patients"
    return (2 if worse >= LARGE else 1), "more than fresh real patients"


def _errors(worse: float, value: float, low: float | None, high: float | None) -> float:
    """By how many standard errors of a difference; the floor is as uncertain as the score.

    The longer side of the interval counts, since the other may be cut at the range of the score.
    """
    if low is None or high is None or high <= low:
        return math.inf
    return worse / (math.sqrt(2) * max(high - value, value - low) / LEVEL)


def _worst(
    results: Mapping[str, Any], keys: Sequence[str], registry: Mapping[str, Metric], about: str
) -> Line | None:
    """The largest of these scores, beside the largest of the floor."""
    found = {key: results["scores"][key] for key in keys if results["scores"][key] is not None}
    floors = [results["floor"][key] for key in keys if results["floor"][key] is not None]
    if not found or not floors:
        return None
    key, floor = max(found, key=lambda key: found[key]), max(floors)
    low, high = results["interval"].get(key, (None, None))
    level, reading = _exposing(found[key] - floor, found[key], low, high)
    return Line("privacy", registry[key].title, about, found[key], low, high, floor, level, reading)


# Words --------------------------------------------------------------------------------------------


def verdicts(lines: Sequence[Line]) -> dict[str, tuple[int | None, str]]:
    """{question: (level, a sentence)}; level None where nothing was measured."""
    groups = {name: [line for line in lines if line.question == name] for name in ANSWERS}
    return {name: _answer(name, group) for name, group in groups.items()}


#: The sentence of each question by level; {} names the scores that fall short.
ANSWERS = {
    "likeness": (
        "They look like fresh real patients by every number below.",
        "They look much like real patients. Short of fresh real ones: {}.",
        "They can be told from real patients. Far from fresh real ones: {}.",
    ),
    "use": (
        "Predictions learned from them are as good as those learned from real patients.",
        "Predictions learned from them lose a little: {}.",
        "Predictions learned from them are poor: {}.",
    ),
    "privacy": (
        "Nothing tried learned more of the training patients than fresh real patients would tell. "
        "That is a test, not a proof.",
        "They tell a little more of the training patients than fresh real ones would: {}.",
        "They expose training patients: {}. Do not release them as they are.",
    ),
}
UNKNOWN = {
    "likeness": "How like real patients they are was not measured.",
    "use": "What can be learned from them was not measured: that needs the training table (--train)"
    " and at least a hundred patients in each.",
    "privacy": "Whom they expose was not measured: that needs the training table (--train) and "
    "--attacks.",
}
QUESTIONS = {
    "likeness": "Do they look like real patients?",
    "use": "Can one learn from them?",
    "privacy": "Whom do they expose?",
}


def _answer(name: str, lines: list[Line]) -> tuple[int | None, str]:
    if not lines:
        return None, UNKNOWN[name]
    level = max(line.level for line in lines)
    short = ", ".join(line.title for line in lines if line.level == level)
    return level, ANSWERS[name][level].format(short)


def summary(results: Mapping[str, Any]) -> dict[str, Any]:
    """The numbers ("headline") and sentences ("verdicts") as plain JSON values."""
    lines = headline(results)
    answers = verdicts(lines)
    return {
        "headline": [asdict(line) for line in lines],
        "verdicts": {
            name: {"level": level, "sentence": said} for name, (level, said) in answers.items()
        },
    }


def number(value: Any) -> str:
    """A score as printed: three digits that count, a dash where there is none."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return "–"
    if isinstance(value, int) or abs(value) >= 1000:
        return f"{value:,.0f}".replace("-", "−")
    digits = 1 if abs(value) >= 10 else 3 if abs(value) >= 0.0995 else 4
    return f"{value:.{digits}f}".replace("-", "−")


# Page ---------------------------------------------------------------------------------------------


def page(
    results: Mapping[str, Any],
    real: CodeMatrix,
    synthetic: CodeMatrix,
    facts: Mapping[str, Any],
) -> str:
    """The report as HTML of one file, without scripts and without anything to load.

    Args:
        results: of :func:`scoehr.metrics.evaluate`, with those of :func:`scoehr.metrics.attack`
            as "attacks" if they were run
        real, synthetic: the tables that were compared
        facts: what was made, {name: text or number}
    """
    lines = headline(results)
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters["number"] = number
    text = resources.files(__package__).joinpath("report.html").read_text(encoding="utf-8")
    return environment.from_string(text).render(
        facts=facts,
        n=results["n"],
        lines=lines,
        verdicts=verdicts(lines),
        questions=QUESTIONS,
        charts=charts.drawn(results, real, synthetic),
        furthest=charts.furthest(real, synthetic),
        families=_families(results),
        attacks=_attacks(results.get("attacks")),
        notes={SCORES[key].title: why for key, why in results["notes"].items()},
        versions=results["versions"],
        seed=results["seed"],
        least=charts.LEAST,
    )


def _families(results: Mapping[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """Rows of the table of all scores, by family."""
    found: dict[str, list[dict[str, Any]]] = {}
    points = results["reference"]
    for key, metric in SCORES.items():
        family, name = key.split(".")
        if family not in results:
            continue
        row = {
            "title": metric.title,
            "value": results.get(family, {}).get(name),
            "interval": results["interval"].get(key),
            "floor": points["real"].get(family, {}).get(name),
            "independent": points["independent"].get(family, {}).get(name),
            "gap": results["gap"].get(key),
            "better": metric.better,
            "source": metric.source,
            "caution": metric.caution,
        }
        found.setdefault(family, []).append(row)
    return found


def _attacks(results: Mapping[str, Any] | None) -> dict[str, list[dict[str, Any]]]:
    """Rows of the tables of attacks."""
    if not results:
        return {}
    parts = {
        "Membership attacks": (ATTACKS, results),
        "Copies, singling out, linkability, attribute inference": (RISKS, results["risks"]),
    }
    return {
        title: [
            {
                "title": metric.title,
                "value": made["scores"][key],
                "interval": made["interval"].get(key),
                "floor": made["floor"][key],
                "source": metric.source,
            }
            for key, metric in registry.items()
        ]
        for title, (registry, made) in parts.items()
    }
