"""Scores of synthetic patients, each beside five reference points computed on the same data.

:func:`evaluate` makes all of them. Four families: ``reported`` (the report's formulas, faults
included), ``fidelity``, ``utility`` and ``privacy`` (the corrected ones). :data:`METRICS` describes
each score and computes one alone: ``METRICS["fidelity.pcd"](real, synthetic)``.
"""

from scoehr.metrics.arrays import Undefined
from scoehr.metrics.evaluation import REFERENCES, evaluate, gaps, references
from scoehr.metrics.registry import FAMILIES, METRICS, Metric

__all__ = [
    "FAMILIES",
    "METRICS",
    "REFERENCES",
    "Metric",
    "Undefined",
    "evaluate",
    "gaps",
    "references",
]
