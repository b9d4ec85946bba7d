"""Figures: what they compute before they draw, what they draw, and that they draw it alike every time."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reproduction import figures
from reproduction.estimates import Estimate
from reproduction.tables import Table

numbers = st.floats(0, 100) | st.just(math.nan)


@given(st.dictionaries(st.text(max_size=3), st.tuples(st.floats(0, 100), numbers), max_size=8))
def test_nothing_on_the_front_is_beaten_and_all_else_is(points):
    front = figures.pareto(points)
    known = {name: point for name, point in points.items() if not math.isnan(point[1])}
    for name, (cost, value) in known.items():
        beaten = any(
            c <= cost and v <= value and (c, v) != (cost, value) for c, v in known.values()
        )
        twin = any(points[other] == (cost, value) for other in front)
        assert (name in front) <= (not beaten)
        assert beaten or name in front or twin
    assert set(front) <= set(known)


def test_numbers_stand_right_and_break_only_before_their_interval():
    frame = pd.DataFrame(
        {"score": ["0.1 [4.7e-05, 0.2]", "2 ± 1"], "verdict": ["holds [1, 2]", "–"]},
        index=["a", "b"],
    )
    rows = [line for line in Table(frame, "caption")._repr_html_().splitlines() if "<td" in line]
    assert rows == [
        '<tr><th class="words">a</th><td>0.1 [4.7e-05,\xa00.2]</td><td class="words">holds [1, 2]</td></tr>',
        '<tr><th class="words">b</th><td>2\xa0±\xa01</td><td class="words">–</td></tr>',
    ]


def test_runs_break_only_between_each_other():
    text = Table(pd.DataFrame({"score": ["1 [0, 2]", "3 · 4"]}), "c")._repr_html_()
    assert "<td>3\xa0· 4</td>" in text


def test_colours_are_distinct_and_fixed():
    names = ["fast", "one", "reported", "two", "paper", "three"]
    chosen = figures.colours(names)
    assert len(set(chosen.values())) == len(names)
    assert chosen["fast"] == figures.colours(["fast"])["fast"]


REAL, *MADE = np.random.default_rng(0).beta(0.2, 5, (3, 60))
MADE = {"reported": MADE[0], "fast": np.where(np.arange(60) < 20, 0, MADE[1])}
COUNTS = {name: np.round(1000 * value) for name, value in MADE.items()}
GAP = pd.DataFrame({"reported": [0.1, 5.0, np.nan], "fast": [-3.0, 0.4, 1.0]}, index=list("abc"))
HISTORY = pd.DataFrame({"epoch": [1, 2], "train_loss": [2.0, 1.0], "validation_loss": [2.1, 1.4]})
QUOTED = pd.DataFrame(
    {"set": ["train", "train", "test"], "epoch": [1, 50, 50], "loss": [3.0, 1.0, 2.0]}
)
SEEN = pd.DataFrame({"x": [True, None], "y": [False, True]}, index=["a", "b"])
GONE, LINES = Estimate(), {"fresh": {"score": 0.4, "more": None}}
PANELS = {
    "score": {"one": Estimate(1.0, 0.5, 1.5), "other": GONE},
    "more": {"one": Estimate(2.0), "other": GONE},
}
DRAWN = {
    "distribution": lambda: figures.distribution(COUNTS, xlabel="codes per patient"),
    "lines": lambda: figures.lines({"a": ([1, 2], [0, 90])}, xlabel="t", ylabel="%", log="xy"),
    "marked lines": lambda: figures.lines(
        {"a": ([5, 10], [0.3, 0.2]), "b": ([9], [1])}, xlabel="n", ylabel="e", mark="o-", floor=0.1
    ),
    "curves": lambda: figures.curves({"a": [HISTORY], "b": [HISTORY, HISTORY]}, ylabel="loss"),
    "reported curves": lambda: figures.curves(
        {"a": [HISTORY, 2 * HISTORY], "b": [HISTORY]}, {"a": QUOTED}, ylabel="loss", log=True
    ),
    "prevalence": lambda: figures.prevalence(REAL, MADE),
    "frequency": lambda: figures.frequency(np.round(1000 * REAL), COUNTS),
    "frequency from 10": lambda: figures.frequency(np.round(1000 * REAL), COUNTS, start=10),
    "frequency of two": lambda: figures.frequency(
        [3, 0, 20], {"a": [2, 0, 9]}, labels=("before", "after")
    ),
    "correlations": lambda: figures.correlations({"real": np.eye(4), "a": np.eye(4)}, list("abcd")),
    "gaps": lambda: figures.gaps(GAP),
    "verdicts": lambda: figures.verdicts(SEEN),
    "bars": lambda: figures.bars({"fast": 1.0, "reported": 9.0}, xlabel="seconds"),
    "answer": lambda: figures.answer(REAL, MADE, GAP),
    "dots": lambda: figures.dots(PANELS, LINES),
    "against": lambda: figures.against(
        {"score": {"a": {1: Estimate(1.0, 0.5, 1.5), 2: GONE}, "b": {}}},
        xlabel="epochs",
        references=LINES,
    ),
    "tradeoff": lambda: figures.tradeoff(
        {"a": (1.0, Estimate(0.5, 0.4, 0.6)), "b": (9.0, GONE)}, xlabel="s", ylabel="AUC", floor=0.5
    ),
    "agreement": lambda: figures.agreement(
        {"a": ([0.5, 0.9], [0.4, 0.8]), "b": ([0.5], [0.5])}, xlabel="real", ylabel="synthetic"
    ),
}


@pytest.mark.parametrize("name", DRAWN)
def test_a_figure_has_the_same_bytes_every_time_and_labels_its_axes(name):
    figure = DRAWN[name]()
    assert figures.svg(figure) == figures.svg(DRAWN[name]())
    assert [ax for ax in figure.axes if ax.get_xlabel()] or name == "verdicts"


def test_what_a_caption_says_is_what_is_drawn():
    """Codes never produced stand at the lower edge of the prevalence panel, and in the bar of the histogram."""
    real, made = np.array([0.5, 0.1, 0.01]), np.array([0.4, 0.0, 0.02])
    (panel,) = figures.prevalence(real, {"fast": made}).axes
    heights = panel.collections[0].get_offsets()[:, 1]
    assert heights.min() == pytest.approx(100 * 0.01 / 2)
    (panel,) = figures.frequency(1000 * real, {"fast": 1000 * made}).axes
    assert [bar.get_height() for bars in panel.containers for bar in bars] == [0, 1]


def test_what_a_figure_of_dots_draws():
    left, right = DRAWN["dots"]().axes
    assert [line.get_xdata()[0] for line in left.lines if line.get_marker() == "o"] == [1.0]
    assert [text.get_text() for text in left.texts] == ["no value"]
    assert [label.get_text() for label in left.get_yticklabels()] == ["one", "other"]
    assert {tuple(line.get_xdata()) for line in left.lines} >= {(0.4, 0.4), (0.5, 1.5)}
    assert (0.4, 0.4) not in {tuple(line.get_xdata()) for line in right.lines}


@pytest.mark.parametrize(("scale", "text"), [(1, "-3,000"), (0.0001, "-0.3")])
def test_a_reported_value_that_leaves_no_room_is_written(scale, text):
    ours = {"one": Estimate(1.0 * scale), "other": Estimate(1.5 * scale)}
    said = {"one": 1.2 * scale, "other": -3000.0 * scale}
    (panel,) = figures.dots({"score": ours}, reported={"score": said}).axes
    diamonds = [line for line in panel.lines if line.get_marker() == "D"]
    assert [list(line.get_xdata()) for line in diamonds] == [[1.2 * scale]]
    (written,) = panel.texts
    assert text in written.get_text() and panel.get_xlim()[0] > 0
