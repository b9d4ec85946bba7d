"""Patients in: tables read and checked, codes, columns, visits, and the simulated cohort.

``datasets.load`` and ``patients.load`` read a data set by its name; ``CodeMatrix`` and ``Patients``
are what all other parts take and give; ``interchange`` has the files in which they travel.
"""

from scoehr.data.columns import Column, Columns
from scoehr.data.matrix import CodeMatrix
from scoehr.data.patients import Patients

__all__ = ["CodeMatrix", "Column", "Columns", "Patients"]
