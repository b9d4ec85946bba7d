"""The reported reading of MIMIC-III's tables, line by line in plain Python.

This is the algorithm that the report took over from medGAN (Choi et al., 2017), written anew:
dictionaries from patients to admissions and from admissions to codes, quotes removed by cutting off
the first and last character, one dense float32 matrix. It is kept as the yardstick of the benchmark
and as the oracle of the parser's tests, with what the reported code does and the loader does not:

* an unquoted code loses its first and last digit;
* a missing code becomes the pseudo-code ``"D_"``;
* columns stand in the order in which codes first occur.
"""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import TextIO

import numpy as np


def read(folder: Path) -> tuple[np.ndarray, list[int], list[str]]:
    """The count matrix (n_patients, n_codes) float32, the patient ids and the codes (``"D_"`` +
    three digits).
    """
    admissions_of: dict[int, list[int]] = {}
    with _open(folder, "ADMISSIONS") as file:
        next(file)
        for line in file:
            cells = line.strip().split(",")
            admissions_of.setdefault(int(cells[1]), []).append(int(cells[2]))
    codes_of: dict[int, list[str]] = {}
    with _open(folder, "DIAGNOSES_ICD") as file:
        next(file)
        for line in file:
            cells = line.strip().split(",")
            codes_of.setdefault(int(cells[2]), []).append("D_" + three_digits(cells[4][1:-1]))
    column_of: dict[str, int] = {}
    for admissions in admissions_of.values():
        for admission in admissions:
            for code in codes_of.get(admission, []):
                column_of.setdefault(code, len(column_of))
    matrix = np.zeros((len(admissions_of), len(column_of)), dtype=np.float32)
    for row, admissions in enumerate(admissions_of.values()):
        for admission in admissions:
            for code in codes_of.get(admission, []):
                matrix[row, column_of[code]] += 1
    return matrix, list(admissions_of), list(column_of)


def three_digits(code: str) -> str:
    """The category: four characters of E codes, three of others."""
    return code[:4] if code.startswith("E") else code[:3]


def _open(folder: Path, table: str) -> TextIO:
    plain = folder / f"{table}.csv"
    return (
        plain.open(encoding="utf-8")
        if plain.exists()
        else gzip.open(f"{plain}.gz", "rt", encoding="utf-8")
    )
