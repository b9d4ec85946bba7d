"""Typed columns: what goes in comes out, for any values; what is none of a column is refused."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scoehr.data import Column, Columns, Patients
from scoehr.data.matrix import CodeMatrix
from scoehr.files import InputError

SEX = Column("sex", "category", ("F", "M"))
STAGE = Column("stage", "ordered", ("low", "middle", "high"))
AGE = Column("age", "number")

rows_of_values = st.lists(
    st.tuples(
        st.integers(-1, 1),
        st.integers(-1, 2),
        st.one_of(st.just(np.nan), st.integers(-5, 5).map(float), st.floats(-1e300, 1e300)),
    ),
    max_size=8,
)


def columns(rows) -> Columns:
    values = list(zip(*rows, strict=True)) or [(), (), ()]
    return Columns((SEX, STAGE, AGE), tuple(np.array(found) for found in values))


@settings(max_examples=50, deadline=None)
@given(rows_of_values)
def test_a_frame_gives_the_columns_back(rows):
    found = columns(rows)
    frame = found.to_frame()
    kinds = {column.name: column for column in found.columns}
    assert Columns.from_frame(frame, kinds).equals(found)
    assert Columns.from_frame(frame).equals(found)
    assert len(frame) == len(found) == len(rows)


@settings(max_examples=30, deadline=None)
@given(rows_of_values, st.data())
def test_rows_and_names_are_chosen(rows, data):
    found = columns(rows)
    chosen = data.draw(st.lists(st.integers(0, max(0, len(rows) - 1)), max_size=5 * bool(rows)))
    drawn = found[np.array(chosen, dtype=int)]
    assert drawn.equals(columns([rows[row] for row in chosen]))
    assert found.take(["age", "sex"]).names == ("age", "sex")
    np.testing.assert_array_equal(found.of("stage"), [row[1] for row in rows])


def test_texts_numbers_and_truth_values_are_told_apart():
    frame = pd.DataFrame(
        {"ward": ["B", None, "A"], "weight": [1.5, np.nan, 2], "died": [True, False, True]}
    )
    found = Columns.from_frame(frame)
    assert found.columns == (
        Column("ward", "category", ("A", "B")),
        Column("weight", "number"),
        Column("died", "category", ("False", "True")),
    )
    assert [values.tolist() for _, values in found][::2] == [[1, -1, 0], [1, 0, 1]]


def test_categories_written_as_numbers_are_the_texts_that_a_person_writes():
    kinds = {"grade": Column("grade", "ordered", ("1", "2", "10"))}
    found = Columns.from_frame(pd.DataFrame({"grade": [10.0, np.nan, 1.0]}), kinds)
    assert found.of("grade").tolist() == [2, -1, 0]


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Column("", "number"), "column"),
        (lambda: Column("a", "colour"), "kind 'colour' is unknown"),
        (lambda: Column("a", "number", ("1",)), "has no levels"),
        (lambda: Column("a", "category", ("x", "x")), "stands twice"),
        (lambda: Column("a", "category", ("",)), "level '' is no text"),
        (lambda: Column("a", "category", ("NA",)), "level 'NA' is no text"),
        (lambda: Columns((AGE, AGE), (np.zeros(1), np.zeros(1))), "column age stands twice"),
        (lambda: Columns((AGE, SEX), (np.zeros(1), np.zeros(2))), r"have \[1, 2\] rows"),
        (lambda: Columns((SEX,), (np.array([0, 2]),)), "column sex, row 2: 2 is no place"),
        (lambda: Columns((AGE,), (np.array([0, np.inf]),)), "column age, row 2: is not finite"),
        (lambda: Columns.none(2).of("age"), "column age is not among the columns"),
        (
            lambda: Columns.from_frame(pd.DataFrame({"age": ["3", "x"]}), {"age": AGE}),
            "column age, row 2: 'x' is not a number",
        ),
        (
            lambda: Columns.from_frame(pd.DataFrame({"sex": ["F", "f"]}), {"sex": SEX}),
            r"column sex, row 2: 'f' is none of its levels \(F, M\)",
        ),
    ],
)
def test_what_is_no_column_or_no_value_is_refused(make, said):
    with pytest.raises(InputError, match=said):
        make()


def test_values_do_not_change():
    with pytest.raises(ValueError, match="read-only"):
        columns([(0, 0, 1.0)]).of("age")[0] = 2


# Of patients ----------------------------------------------------------------------------------


def patients() -> Patients:
    """Five patients with 1, 0, 2, 1 and 1 visits."""
    starts = np.array([0, 1, 1, 3, 4, 5])
    counts = CodeMatrix.from_array(np.arange(10).reshape(5, 2) % 3, ["a", "p"]).counts
    known = columns([(0, 0, 50.0), (1, 2, np.nan), (-1, 1, 7.5), (0, 0, 1.0), (1, 1, 2.0)])
    days = Columns((Column("days", "number"),), (np.array([np.nan, np.nan, 3, np.nan, np.nan]),))
    systems = np.array(["diagnosis", "procedure"])
    return Patients(
        counts, starts, np.array([3, 5, 7, 8, 9]), ["a", "p"], ["", ""], systems, known, days
    )


def test_columns_go_with_their_patients_and_visits():
    found = patients()
    again = found[np.array([2, 1, 2])]
    assert again.columns.of("age")[[0, 2]].tolist() == [7.5, 7.5]
    np.testing.assert_array_equal(again.visit_columns.of("days"), [np.nan, 3, np.nan, 3])
    assert again.take([1]).visit_columns.equals(found.visit_columns[[]])
    assert found.align(["p", "x", "a"]).systems.tolist() == ["procedure", "", "diagnosis"]
    parts = found.split(test=0.4, validation=0.2)
    assert sorted(np.concatenate([part.patients for part in parts])) == [3, 5, 7, 8, 9]
    for part in parts:
        rows = np.flatnonzero(np.isin(found.patients, part.patients))
        assert part.equals(found.take(np.searchsorted(found.patients, part.patients)))
        assert len(part.columns) == len(rows)


def test_a_matrix_is_one_visit_a_patient():
    matrix = CodeMatrix.from_array([[1, 2, 0], [0, 0, 0]], ["a", "b", "c"], patients=["x", "y"])
    found = Patients.from_matrix(matrix)
    assert found.numbers.tolist() == [1, 1] and found.to_matrix().equals(matrix)
    assert len(found.columns) == 2 and found.columns.columns == ()


def test_columns_that_do_not_fit_the_patients_are_refused():
    found = patients()
    few = found.columns[:2]
    with pytest.raises(InputError, match="columns of patients have 2 rows for 5 patients"):
        Patients(found.counts, found.starts, found.patients, found.codes, found.titles, columns=few)
    visit = Columns((Column("visit", "number"),), (np.zeros(5),))
    with pytest.raises(InputError, match="column visit: has the name of a key"):
        Patients(
            found.counts, found.starts, found.patients, found.codes, found.titles, columns=visit
        )
