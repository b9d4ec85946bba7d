"""Whole patients in tables: all that is known comes back, and a person's own tables are read."""

from __future__ import annotations

import gzip
import json

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from scoehr.cli import app
from scoehr.data import Column, Columns, Patients
from scoehr.data.kinds import Wish
from scoehr.data.patients import load
from scoehr.files import InputError

CODES = np.array(["001", "V30", "é", "p 1"])
SEX = Column("Sex", "category", ("F", "M", "unknown"))
STAGE = Column("stage", "ordered", ("low", "2", "high"))


@st.composite
def people(draw) -> Patients:
    """Any patients: some without visits, visits without codes, columns of all kinds, text ids."""
    numbers = draw(st.lists(st.integers(0, 3), min_size=1, max_size=5))
    n, visits = len(numbers), sum(numbers)
    grid = draw(st.lists(st.lists(st.integers(0, 2), min_size=4, max_size=4), min_size=visits))
    counts = np.array(grid[:visits], dtype=int).reshape(visits, 4)
    ids = draw(
        st.sampled_from(
            [np.arange(n), np.arange(n)[::-1] * 7 - 3, np.array([f"0{k}" for k in range(n)])]
        )
    )

    def columns(rows: int) -> Columns:
        sex = draw(st.lists(st.integers(-1, 2), min_size=rows, max_size=rows))
        stage = draw(st.lists(st.integers(-1, 2), min_size=rows, max_size=rows))
        any_number = st.one_of(st.floats(-1e9, 1e9), st.just(np.nan), st.integers(0, 9).map(float))
        age = draw(st.lists(any_number, min_size=rows, max_size=rows))
        return Columns(
            (SEX, STAGE, Column("age", "number")), tuple(map(np.array, (sex, stage, age)))
        )

    return Patients(
        counts,
        np.concatenate([[0], np.cumsum(numbers)]),
        ids,
        CODES,
        ["a title", "", "", ""],
        draw(st.sampled_from([[], ["diagnosis", "diagnosis", "", "procedure"]])),
        columns(n) if draw(st.booleans()) else Columns.none(n),
        columns(visits) if draw(st.booleans()) else Columns.none(visits),
    )


@settings(max_examples=40, deadline=None)
@given(people())
def test_a_folder_gives_everything_back(tmp_path_factory, found):
    folder = tmp_path_factory.mktemp("folder") / "whole"
    found.write(folder)
    assert Patients.read(folder).equals(found)
    assert load("table", folder).patients.equals(found)


def test_the_tables_are_readable_by_anything(tmp_path):
    counts, starts = np.array([[2, 0, 0, 1]]), np.array([0, 1])
    columns = Columns((SEX, Column("age", "number")), (np.array([1]), np.array([70.0])))
    Patients(counts, starts, [5], CODES, [""] * 4, columns=columns).write(tmp_path / "w")
    found = {path.stem: pd.read_parquet(path) for path in (tmp_path / "w").iterdir()}
    assert found["patients"].astype(str).to_numpy().tolist() == [["5", "M", "70"]]
    assert found["visits"].to_numpy().tolist() == [[5, 0]]
    assert found["codes"].astype({"code": str}).to_numpy().tolist() == [
        [5, 0, "001", 2],
        [5, 0, "p 1", 1],
    ]


def test_levels_that_look_like_numbers_come_back_beside_days(tmp_path):
    stays = Columns(
        (Column("days", "number"), Column("dose", "category", ("1.50", "2.0"))),
        (np.array([np.nan, 7.0]), np.array([0, 1])),
    )
    found = Patients(np.eye(2, dtype=int), [0, 2], [1], ["a", "b"], ["", ""], visit_columns=stays)
    found.write(tmp_path / "w")
    assert Patients.read(tmp_path / "w").equals(found)


# A person's own -------------------------------------------------------------------------------

PEOPLE = "patient_id,Sex,age,born\n7,F,70,1950-01-01\n03,M,34.5,1990-02-01\n10,F,,1980-02-01\n"
VISITS = "patient_id,visit,ward\n7,2020-03-01,A\n7,2020-01-01,B\n03,2019-01-01,A\n"
COUNTS = (
    "patient_id,visit,code,count,system,title\n"
    "7,2020-01-01,428,2,diagnosis,Heart failure\n7,2020-01-01,99.1,1,procedure,\n"
    "03,2019-01-01,428,1,diagnosis,\n10,2020-01-01,,,,\n"
)


def put(folder, **tables):
    folder.mkdir(exist_ok=True)
    for name, text in tables.items():
        (folder / f"{name}.csv").write_text(text)
    return folder


def test_three_tables_of_a_person(tmp_path):
    folder = put(
        tmp_path / "own", patients=PEOPLE, visits=VISITS + "10,2020-01-01,\n", codes=COUNTS
    )
    found, account = load("table", folder)
    assert found.patients.tolist() == ["03", "10", "7"]
    assert found.columns.of("Sex").tolist() == [1, 0, 0]
    np.testing.assert_array_equal(found.columns.of("age"), [34.5, np.nan, 70])
    assert found.to_records()[2]["visits"] == [["428", "428", "99.1"], []]
    assert found.to_records()[1]["visits"] == [[]]
    np.testing.assert_array_equal(found.visit_columns.of("days"), [np.nan, np.nan, np.nan, 60])
    assert found.visit_columns.of("ward").tolist() == [0, -1, 1, 0]
    assert found.systems.tolist() == ["diagnosis", "procedure"]
    assert found.titles.tolist() == ["Heart failure", ""]
    assert account["columns_of_patients"]["born"].startswith("left out: dates")
    assert account["rows_dropped"] == {"no code": 1} and account["admissions"] == 4


def test_columns_are_named_as_they_are_written(tmp_path):
    folder = put(tmp_path / "own", patients="patient_id,Größe\n1,170.5\n2,180\n")
    assert load("table", folder).patients.columns.names == ("Größe",)


def test_patients_alone_have_a_visit_without_codes(tmp_path):
    found, account = load("table", put(tmp_path / "own", patients=PEOPLE))
    assert found.numbers.tolist() == [1, 1, 1] and found.to_matrix().shape == (3, 0)
    assert found.columns.names == ("Sex", "age") and "rows_read" not in account
    said = {"Sex": Wish("Sex", "drop")}
    assert load("table", tmp_path / "own", said=said).patients.columns.names == ("age",)


def test_codes_without_visits_are_one_visit_a_patient(tmp_path):
    folder = put(tmp_path / "own", codes="patient_id,code\n1,a\n1,a\n2,b\n")
    (folder / "patients.csv.gz").write_bytes(gzip.compress(b"patient_id,sex\n2,F\n3,M\n1,F\n"))
    found = load("table", folder).patients
    assert found.to_matrix().dense(int).tolist() == [[2, 0], [0, 1], [0, 0]]
    assert found.columns.of("sex").tolist() == [0, 0, 1]


def test_visits_may_have_counts_in_one_long_table(tmp_path):
    (tmp_path / "t.csv").write_text("patient_id,visit,code,count\n1,1,a,2\n1,2,a,1\n1,2,b,3\n")
    assert load("table", tmp_path / "t.csv").patients.counts.toarray().tolist() == [[2, 0], [1, 3]]


@pytest.mark.parametrize(
    ("tables", "said"),
    [
        ({"notes": "a\n1\n"}, "has no patients, visits or codes"),
        ({"patients": "patient_id,age\n1,2\n1,3\n"}, "patients.csv, row 2: patient 1 has a row"),
        ({"patients": "patient_id,age\n1,2\n,3\n"}, "column patient_id, row 2: is empty"),
        ({"patients": "id,age\n1,2\n"}, "has no column patient_id"),
        ({"visits": "patient_id,ward\n1,2\n"}, "visits.csv: has no column visit"),
        (
            {"visits": "patient_id,visit\n1,2\n1,2\n"},
            "visits.csv, row 2: patient 1 has a row for this visit already",
        ),
        ({"visits": "patient_id,visit\n1,two\n"}, "column visit, row 1: 'two' is not a date"),
        (
            {"patients": "patient_id\n1\n", "codes": "patient_id,code\n1,a\n2,a\n"},
            "codes.csv, row 2: patient 2 has no row in the table of patients",
        ),
        (
            {"visits": "patient_id,visit\n1,2\n", "codes": "patient_id,code,visit\n1,a,3\n"},
            "codes.csv, row 1: patient 1 has no such visit",
        ),
        (
            {"visits": "patient_id,visit\n1,2\n", "codes": "patient_id,code\n1,a\n"},
            "codes.csv: has no column visit",
        ),
        (
            {"codes": "patient_id,code,count\n1,a,1\n1,a,2\n"},
            "row 2: patient 1 and code a have a row already",
        ),
        (
            {"codes": "patient_id,code,system\n1,38,icd\n2,38,drug\n"},
            "column system, row 2: code 38 stands under 'icd' and 'drug'",
        ),
        ({"patients": "patient_id,Age,age\n1,2,3\n"}, "age"),
    ],
)
def test_tables_that_do_not_fit_are_refused(tmp_path, tables, said):
    with pytest.raises(InputError, match=said):
        load("table", put(tmp_path / "own", **tables))


def test_days_are_a_number_however_few_they_are(tmp_path):
    visits = "patient_id,visit,days\n1,1,\n1,2,30\n1,3,30\n2,1,\n"
    found = load("table", put(tmp_path / "own", visits=visits)).patients
    np.testing.assert_array_equal(found.visit_columns.of("days"), [np.nan, 30, 30, np.nan])
    with pytest.raises(InputError, match="column days of visits is of kind category"):
        load("table", tmp_path / "own", said={"days": Wish("days", "category")})


def test_a_long_table_with_dates_has_the_days_between_visits(tmp_path):
    text = (
        "patient_id,visit,code\n1,2150-01-31 23:00:00,a\n1,2150-02-02 01:00:00,a\n2,2150-01-01,b\n"
    )
    (tmp_path / "t.csv").write_text(text)
    found = load("table", tmp_path / "t.csv").patients
    np.testing.assert_array_equal(found.visit_columns.of("days"), [np.nan, 2, np.nan])


def test_two_files_of_one_name_are_refused(tmp_path):
    folder = put(tmp_path / "own", patients=PEOPLE)
    pd.DataFrame({"patient_id": [1]}).to_parquet(folder / "patients.parquet")
    with pytest.raises(InputError, match=r"and patients\.csv; keep one"):
        load("table", folder)


@pytest.mark.parametrize("facts", ["[", {"columns": [{"name": 3}]}, {"codes": ["a"], "titles": []}])
def test_damaged_metadata_are_refused(tmp_path, facts):
    load("table", put(tmp_path / "own", patients=PEOPLE)).patients.write(tmp_path / "w")
    path = tmp_path / "w" / "patients.parquet"
    raw = facts if isinstance(facts, str) else json.dumps(facts)
    table = pq.read_table(path).replace_schema_metadata({b"scoehr.table": raw.encode()})
    pq.write_table(table, path)
    with pytest.raises(InputError, match=r"patients\.parquet: its metadata are damaged"):
        Patients.read(tmp_path / "w")


def test_what_a_file_cannot_hold_is_refused(tmp_path):
    found = load("table", put(tmp_path / "own", patients=PEOPLE)).patients
    with pytest.raises(InputError, match="a file cannot hold columns"):
        found.write(tmp_path / "w.parquet")


# Shell ----------------------------------------------------------------------------------------


def shell(*arguments):
    return CliRunner().invoke(app, list(map(str, arguments)))


def test_the_shell_reads_writes_and_splits_whole_patients(tmp_path):
    rows = "".join(f"{k},{'FM'[k % 2]},{k / 3}\n" for k in range(20))
    folder = put(tmp_path / "own", patients="patient_id,sex,age\n" + rows)
    wishes = put(tmp_path / "said", columns="name,kind\nsex,drop\n") / "columns.csv"
    read = shell("data", "table", "--source", folder, "--columns", wishes, "--out", tmp_path / "w")
    assert read.exit_code == 0 and "left out, as said" in read.output, read.output
    assert sorted(path.name for path in (tmp_path / "w").iterdir()) == [
        *("codes.parquet", "patients.parquet", "visits.parquet"),
    ]
    cut = shell("split", tmp_path / "w", "--out", tmp_path / "parts")
    assert cut.exit_code == 0, cut.output
    sizes = [
        len(Patients.read(tmp_path / "parts" / name)) for name in ("train", "validation", "test")
    ]
    assert sizes == [12, 2, 6]
    again = shell("split", tmp_path / "w", "--out", tmp_path / "parts")
    assert again.exit_code == 0, again.output


def test_whole_patients_are_not_written_to_a_file(tmp_path):
    folder = put(tmp_path / "own", patients=PEOPLE)
    found = shell("data", "table", "--source", folder, "--out", tmp_path / "w.csv")
    assert isinstance(found.exception, InputError) and "give --out a folder" in str(found.exception)
