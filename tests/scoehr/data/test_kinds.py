"""What columns are taken for: the stated rules, what a person says instead, and what is refused."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from scoehr.data.columns import Column, as_text
from scoehr.data.kinds import Wish, infer, wishes
from scoehr.files import InputError

N = 60
RNG = np.random.default_rng(0)
EXAMPLES = {
    "sex": (RNG.choice(["F", "M"], N), "category of 2 (F, M)"),
    "died": (RNG.choice([True, False], N), "category of 2 (False, True)"),
    "smoker": (RNG.choice([0, 1], N), "category of 2 (0, 1)"),
    "children": (RNG.integers(0, 5, N), "ordered of 5 (0, 1, 2, 3, …)"),
    "admission_type_id": (np.arange(N) % 29 + 1, "category of 29 (1, 2, 3, 4, …)"),
    "nights": (np.arange(N) % 30, "number"),
    "weight": (RNG.normal(70, 9, N), "number"),
    "creatinine": (np.arange(N).astype(str) + np.array([".5"]), "number"),
    "postcode": (np.array(["01234", "01235"])[np.arange(N) % 2], "category of 2 (01234, 01235)"),
    "age": (
        np.array(["[90-100)", "[0-10)", "[10-20)"])[np.arange(N) % 3],
        "ordered of 3 ([0-10), [10-20), [90-100))",
    ),
    "sugar": (
        np.array([">300", "<100", "200"])[np.arange(N) % 3],
        "ordered of 3 (<100, 200, >300)",
    ),
    "readmitted": (
        np.array(["NO", "<30", ">30"])[np.arange(N) % 3],
        "category of 3 (<30, >30, NO)",
    ),
    "ward": (np.array(["A", "B", "?"])[np.arange(N) % 3], "category of 2 (A, B), 33.3% missing"),
    "rare": (np.array(["yes", None, ""])[np.arange(N) % 3], "category of 1 (yes), 66.7% missing"),
    "hospital": (np.full(N, "north"), "left out: the same in every row"),
    "nothing": (np.full(N, "NA"), "left out: no value"),
    "record": (np.arange(N) + 7_000, "left out: a different whole number in every row, as ids are"),
    "note": (
        np.array([f"seen at {row}" for row in range(N)]),
        "left out: a different text in most rows, as ids and free texts are",
    ),
    "born": (
        np.array(["1950-01-31", "1.2.1960"])[np.arange(N) % 2],
        "left out: dates; give ages, or days since a date of the patient",
    ),
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_column_is_what_the_rules_say(name):
    values, said = EXAMPLES[name]
    columns, account = infer(pd.DataFrame({name: values}))
    assert account == {name: said}
    assert columns.names == (() if said.startswith("left out") else (name,))


def test_rows_are_read_as_they_are_written():
    frame = pd.DataFrame({"a": [" x ", "none", "y"], "b": ["1.5", "", "2e1"], "c": [1, 2, 2]})
    columns, _ = infer(frame)
    assert columns.of("a").tolist() == [0, -1, 1] and columns.of("c").tolist() == [0, 1, 1]
    np.testing.assert_array_equal(columns.of("b"), [1.5, np.nan, 20])


def test_what_a_person_says_counts(tmp_path):
    (tmp_path / "columns.csv").write_text(
        "name,kind,levels\nstage,ordered,low|high\nrecord,number,\nsex,drop,\nward,,\n"
    )
    (tmp_path / "columns.yaml").write_text(
        "stage: {kind: ordered, levels: [low, high]}\nrecord: number\nsex: drop\nward:\n"
    )
    frame = pd.DataFrame({"stage": ["high", "low"], "record": [1, 2], "sex": ["F", "M"]})
    frame["ward"] = ["A", "B"]
    for path in tmp_path.iterdir():
        columns, account = infer(frame, wishes(path))
        assert columns.columns == (
            Column("stage", "ordered", ("low", "high")),
            Column("record", "number"),
            Column("ward", "category", ("A", "B")),
        )
        assert account["sex"] == "left out, as said"
    assert wishes(tmp_path / "columns.csv")["ward"] == Wish("ward")


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("c.csv", "name,sort\na,number\n", "has no columns name and kind"),
        ("c.csv", "name,kind\na,colour\n", "column a: kind is 'colour'; give one of category"),
        ("c.csv", "name,kind\na,number\na,drop\n", "column a stands twice"),
        ("c.csv", "name,kind,level\na,number,ward\n", "column a: level is 'ward'"),
        ("c.csv", "name,kind\n,number\n", "a row without a name"),
        ("c.yaml", "- a\n", "names no columns"),
        ("c.yaml", "a: number\na: drop\n", "column a stands twice"),
        ("c.yaml", "a: [\n", "is not YAML"),
        ("c.yaml", "a: {unit: kg}\n", "says 'unit' of 'a'"),
        ("c.yaml", "a: {levels: 3}\n", "levels are no list"),
    ],
)
def test_files_that_say_something_else_are_refused(tmp_path, name, text, said):
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=said):
        wishes(tmp_path / name)


def test_a_cell_that_is_no_value_of_the_said_kind_is_refused():
    frame = pd.DataFrame({"age": ["3", "old"]})
    with pytest.raises(InputError, match="column age, row 2: 'old' is not a number"):
        infer(frame, {"age": Wish("age", "number")})


def test_numbers_as_texts_are_the_same_whatever_stands_beside_them():
    assert as_text(pd.Series([2.0, 1.5, -0.0, np.nan])).tolist() == ["2", "1.5", "0", None]
    assert as_text(pd.Series([2.0])).tolist() == ["2"]
    assert as_text(pd.Series(["2.0"])).tolist() == ["2.0"]
