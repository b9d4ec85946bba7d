"""The report on a synthetic table: what it says, what it must not show, and that a browser shows it on any width."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import numpy as np
import pytest
from scipy import sparse
from toy import Toy

from scoehr.data.matrix import CodeMatrix
from scoehr.metrics import METRICS, attack, charts, evaluate, report

N = 400
TITLE = "<script>alert('title')</script>"
EVIL = "<img src=x onerror=alert(1)>"


def matrix(rows) -> CodeMatrix:
    codes = [EVIL, *(f"{k:03d}" for k in range(1, rows.shape[1]))]
    return CodeMatrix.from_array(rows, codes, titles=[TITLE] * len(codes))


@pytest.fixture(scope="module")
def sets() -> list[CodeMatrix]:
    """Held-out, training and fresh patients; one code is too rare to be shown."""
    toy = Toy(codes=40, mean_cell=0.15)
    found = []
    for seed, n in enumerate((N, 2 * N, N)):
        rows = toy.sample(n, seed).toarray()
        rows[:, 39] = np.arange(n) < 3
        found.append(matrix(rows))
    return found


@pytest.fixture(scope="module")
def results(sets) -> dict:
    real, train, fresh = sets
    return evaluate(real, fresh, train=train) | {"attacks": attack(real, fresh, train=train)}


@pytest.fixture(scope="module")
def page(sets, results) -> str:
    return report.page(results, sets[0], sets[2], {"synthetic": f"{EVIL}.csv, 400 patients"})


class Seen(HTMLParser):
    """Tags, addresses and text of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags, self.addresses, self.text = [], [], ""
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.addresses += [value for name, value in attributes if name in ("src", "href")]
        assert not [name for name, _ in attributes if name.startswith("on")]

    def handle_data(self, data):
        self.text += data


# What it says -------------------------------------------------------------------------------------------------------


def test_fresh_patients_pass_by_eight_numbers(results):
    lines = report.headline(results)
    assert len(lines) == 8
    assert [level for level, _ in report.verdicts(lines).values()] == [0, 0, 0]
    assert all(line.level == 0 for line in lines), lines


def test_copies_are_said_to_expose_and_independent_columns_to_differ(sets):
    real, train, fresh = sets
    rng = np.random.default_rng(0)
    shuffled = matrix(rng.permuted(fresh.counts.toarray(), axis=0))
    copies = train.take(np.arange(N))
    found = {}
    for name, made in {"copies": copies, "shuffled": shuffled}.items():
        scores = evaluate(real, made, train=train) | {"attacks": attack(real, made, train=train)}
        found[name] = report.verdicts(report.headline(scores))
    level, sentence = found["copies"]["privacy"]
    assert level == 2 and "Do not release" in sentence and "Copies, risk" in sentence
    assert found["copies"]["likeness"][0] == 0
    assert found["shuffled"]["likeness"][0] == 2 and found["shuffled"]["use"][0] == 2
    assert found["shuffled"]["privacy"][0] == 0


def test_what_was_not_measured_is_said(sets):
    scores = evaluate(sets[0], sets[2])
    lines = report.headline(scores)
    found = report.verdicts(lines)
    assert len(lines) == 4
    assert [level for level, _ in found.values()] == [0, None, None]
    assert "--train" in found["privacy"][1]
    assert "was not measured" in Seen(report.page(scores, sets[0], sets[2], {})).text


def test_a_floor_beyond_the_ideal_is_chance():
    auc, coverage = METRICS["utility.discriminator_auc"], METRICS["validity.odds_coverage"]
    assert [report._likely(auc, floor) for floor in (0.44, 0.53)] == [0.5, 0.53]
    assert [report._likely(coverage, floor) for floor in (0.98, 0.9)] == [0.95, 0.9]


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "–"), (float("nan"), "–"), (3, "3"), (12345.6, "12,346"), (0.01234, "0.0123"), (-0.5, "−0.500"), (12.34, "12.3")],
)  # fmt: skip
def test_numbers_as_printed(value, text):
    assert report.number(value) == text


# What it must not show ----------------------------------------------------------------------------------------------


def test_the_page_loads_nothing_and_text_from_data_is_escaped(page):
    seen = Seen(page)
    assert set(seen.tags) & {"script", "link", "iframe", "object"} == set()
    assert all(address.startswith("data:image/svg+xml;base64,") for address in seen.addresses)
    assert not re.search(r"url\(|@import", page)
    assert f"{EVIL}.csv" in seen.text and TITLE in seen.text
    assert len(seen.addresses) == 7


def test_no_code_of_a_few_patients_is_shown(sets, page):
    assert "039" not in {row["code"] for row in charts.furthest(sets[0], sets[2])}
    assert "039" not in Seen(page).text.split()


def test_bars_hold_enough_patients_of_either_side():
    rng = np.random.default_rng(0)
    for sizes in (
        [rng.poisson(9, 500), rng.poisson(7, 90)],
        [np.r_[np.zeros(50), 900], np.arange(40)],
    ):
        sizes = [np.asarray(size, dtype=int) for size in sizes]
        edges = charts._edges(*sizes)
        counts = [np.histogram(size, edges)[0] for size in sizes]
        assert all(count.sum() == len(size) for count, size in zip(counts, sizes, strict=True))
        assert len(edges) == 2 or np.min(counts) >= charts.LEAST


def test_the_same_results_give_the_same_page(sets, results, page):
    again = report.page(results, sets[0], sets[2], {"synthetic": f"{EVIL}.csv, 400 patients"})
    assert again == page


def test_empty_and_tiny_tables_have_a_page(sets):
    real = sets[0]
    empty = matrix(sparse.csr_array((30, 40)))
    scores = evaluate(real, empty)
    assert report.verdicts(report.headline(scores))["likeness"][0] == 2
    assert "30 synthetic patients" in report.page(scores, real, empty, {})
