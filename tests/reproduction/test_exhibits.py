"""The page of the studies' tables and figures."""

import re

import pandas as pd
import pytest

from companions.dualk import exhibits as dualk
from companions.mortality_attack import exhibits as mortality
from reproduction.estimates import Estimate
from reproduction.exhibits import Exhibit, apart, beside, page, rest
from reproduction.synthesis import experiments
from reproduction.synthesis.claims import LEDGER
from reproduction.synthesis.exhibits import all_exhibits
from scoehr.files import CHECKOUT


def test_what_is_reported_stands_beside_ours():
    shown = beside({"a": 0.5, "b": 1000}, {"a": Estimate(0.25, 0.2, 0.3)})
    assert shown.loc["a"].tolist() == ["0.5", "0.25 [0.2, 0.3]"]
    assert shown.loc["b"].tolist() == ["1,000", "–"]


def test_how_far_ours_lie_apart_is_computed():
    reported = {"a": 2.0, "b": 4.0, "c": 1.0, "d": -1.0}
    here = {"a": Estimate(1.0, 0.5, 2.5), "b": Estimate(8.0, 7.0, 9.0), "d": Estimate(3.0)}
    said = apart(reported, here)
    assert said.startswith("4 values are reported; without a run here yet: 1; ")
    assert "ours are 0.5 to 2 times the reported ones, 1.2 in the middle" in said
    assert "1 of 2 lie inside our 95 % interval" in said
    assert apart(reported, {}) == "None of the 4 reported values has a run here yet."


def test_the_verdicts_are_those_of_the_claims_that_rest_on_an_exhibit():
    claims = pd.DataFrame({"verdict": ["holds", "fails", "fails"]}, ["T1.a", "T1.b", "T11.c"])
    assert rest(claims, "T1") == " Of 2 claims that rest on it, 1 holds, 1 fails."
    assert rest(claims, "T11") == " The claim that rests on it: fails."
    assert rest(claims, "T2") == ""


def test_text_of_an_exhibit_is_escaped():
    exhibit = Exhibit("a < b", "p & q", "notebooks/06-results#t1", None, "1 < 2")
    html = page("R & D", [exhibit])
    assert "a &lt; b" in html and "p &amp; q" in html and "1 &lt; 2" in html and "R &amp; D" in html
    assert '<a href="06-results.html#t1">results</a>' in html


@pytest.fixture(scope="module")
def report():
    """From the published runs."""
    return all_exhibits(experiments.finished("simulated", None, "standard", 0))


def test_every_exhibit_of_the_ledger_is_shown(report):
    """But for the matrix, privacy, ranking agreement and the workbooks, which are no exhibits."""
    places = {exhibit.place for exhibits in report.values() for exhibit in exhibits}
    plain = {"D2", "PR", "SRA", "W1", "W2"}
    evidence = LEDGER.book["evidence"]
    assert places == {place for name, place in evidence.items() if name not in plain}


def test_places_are_anchors_of_pages(report):
    drawn = [*dualk.DRAWN.values(), *(place for _, place in mortality.DRAWN.values())]
    places = {exhibit.place for exhibits in report.values() for exhibit in exhibits} | set(drawn)
    for place in places:
        file, anchor = place.split("#")
        text = (CHECKOUT / f"{file}.py").read_text(encoding="utf-8")
        assert re.search(rf"^# \({anchor}\)=$", text, re.MULTILINE), place
