"""What figures compute before they draw."""

import math

import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from reproduction import figures
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
