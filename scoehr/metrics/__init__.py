"""Scores of synthetic patients, each beside five reference points computed on the same data.

:func:`evaluate` makes all of them. Five families: ``reported`` (the report's formulas, faults
included), ``fidelity``, ``utility``, ``validity`` and ``privacy`` (the corrected ones).
:data:`METRICS` describes each score and computes one alone:
``METRICS["fidelity.pcd"](real, synthetic)``. :func:`evaluate_whole` scores columns, visits and
time as well (:data:`WHOLE`). :func:`attack` asks who was trained on, and what else can be learned
of them (:data:`RISKS`). :mod:`scoehr.metrics.report` makes a page of it all.
"""

from scoehr.metrics.arrays import Undefined
from scoehr.metrics.attacks import ATTACKS, attack
from scoehr.metrics.disclosure import RISKS
from scoehr.metrics.evaluation import REFERENCES, evaluate, gaps, merged, references
from scoehr.metrics.registry import FAMILIES, METRICS, Metric
from scoehr.metrics.whole import WHOLE
from scoehr.metrics.whole import attack as attack_whole
from scoehr.metrics.whole import evaluate as evaluate_whole

__all__ = [
    "ATTACKS",
    "FAMILIES",
    "METRICS",
    "REFERENCES",
    "RISKS",
    "WHOLE",
    "Metric",
    "Undefined",
    "attack",
    "attack_whole",
    "evaluate",
    "evaluate_whole",
    "gaps",
    "merged",
    "references",
]
