"""Patients in: tables read and checked, codes of diagnoses, visits, and the simulated cohort.

``datasets.load`` and ``visits.load`` read a data set by its name; ``CodeMatrix`` and ``Visits`` are
what all other parts take and give; ``interchange`` has the files in which they travel.
"""

from scoehr.data.matrix import CodeMatrix
from scoehr.data.visits import Visits

__all__ = ["CodeMatrix", "Visits"]
