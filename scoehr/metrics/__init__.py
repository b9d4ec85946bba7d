"""Scores of synthetic patients, each beside five reference points computed on the same data.

:func:`evaluate` makes all of them. Five families: ``reported`` (the report's formulas, faults
included), ``fidelity``, ``utility``, ``validity`` and ``privacy`` (the corrected ones).
:data:`METRICS` describes each score and computes one alone:
``METRICS["fidelity.pcd"](real, synthetic)``. :func:`attack` asks who was trained on, and what else
can be learned of them (:data:`RISKS`). :mod:`scoehr.metrics.report` makes a page of it all.
"""

from scoehr.metrics.arrays import Undefined
from scoehr.metrics.attacks import ATTACKS, attack
from scoehr.metrics.disclosure import RISKS
from scoehr.metrics.evaluation import REFERENCES, evaluate, gaps, references
from scoehr.metrics.registry import FAMILIES, METRICS, Metric

__all__ = [
    "ATTACKS",
    "FAMILIES",
    "METRICS",
    "REFERENCES",
    "RISKS",
    "Metric",
    "Undefined",
    "attack",
    "evaluate",
    "gaps",
    "references",
]
