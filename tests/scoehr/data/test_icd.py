"""ICD-9 codes: cut, restored, mapped, named."""

import doctest

import pytest

from scoehr.data import icd


def test_examples_in_the_docstrings():
    assert doctest.testmod(icd).failed == 0


@pytest.mark.parametrize(
    ("code", "category"), [("40301", "403"), ("V3001", "V30"), ("E8788", "E878"), ("042", "042")]
)
def test_three_digits(code, category):
    assert icd.three_digit(code) == category


def test_code_list():
    assert len(icd.full_titles()) == len(icd.short_titles()) == 14_567
    assert all(
        icd.three_digit(code) == category
        for category, codes in icd.members().items()
        for code in codes
    )


def test_icd10_is_mapped():
    mapped = icd.to_icd9(["I10", "E11.9", "J189", "U071", "nonsense", "Z9981"])
    assert mapped[:3] == ["4019", "25000", "486"]
    assert mapped[3:5] == [None, None]


def test_a_code_without_counterpart_is_none():
    assert icd.NO_COUNTERPART not in icd.to_icd9(icd._icd10_to_icd9())
    assert None in icd.to_icd9(icd._icd10_to_icd9())


def test_every_code_of_the_list_is_read_and_every_shorter_one_is_a_heading():
    for code in icd.full_titles():
        assert icd.nearest_icd9(icd.read_icd9(code)) == code
        assert icd.read_icd9(icd.three_digit(code)) == icd.three_digit(code)


def test_targets_are_codes_of_the_list():
    targets = {code for code in icd.to_icd9(icd._icd10_to_icd9()) if code}
    assert targets <= set(icd.full_titles()) and set(icd.CORRECTED.values()) <= targets


def test_codes_of_2024_mostly_have_a_target_above_them():
    newer = [
        code
        for code in ("I4811", "I4819", "N1831", "N1832", "K8510", "I2720", "A0471")
        if not icd.is_mapped(code)
    ]
    assert len(newer) == 7 and None not in icd.to_icd9(newer)


def test_a_heading_over_several_categories_has_no_target():
    assert icd.to_icd9(["F10", "S72001", "I48", "E11"]) == [None, None, "4273", "250"]


@pytest.mark.parametrize(
    ("code", "title"),
    [
        ("401", "Essential hypertension"),
        ("4019", "Unspecified essential hypertension"),
        ("486", "Pneumonia, organism unspecified"),
        ("123", "Cestode infection, unspecified"),
        ("XYZ", ""),
    ],
)
def test_titles(code, title):
    assert icd.title(code) == title


def test_every_category_has_a_title():
    assert all(icd.title(category) for category in icd.members())
    assert set(icd.headings()) <= set(icd.members())
