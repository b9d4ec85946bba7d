"""Admissions: equal to the tables and the matrix, through every file, for any content."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scoehr.data import datasets
from scoehr.data.matrix import CodeMatrix
from scoehr.data.patients import Patients, load
from scoehr.data.simulate import write_tables
from scoehr.files import InputError

codes = st.sampled_from(["001", "250", "V30", "E879", "é"])
patients = st.lists(st.lists(st.lists(codes, max_size=4), max_size=4), min_size=1, max_size=6)


def made(stays: list[list[list[str]]]) -> Patients:
    """From the visits of each patient, numbered from 0."""
    return Patients.from_records(
        [{"patient_id": row, "visits": found} for row, found in enumerate(stays)]
    )


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    """Tables of 600 simulated patients."""
    folder = tmp_path_factory.mktemp("tables")
    write_tables(folder, patients=600, seed=4)
    return folder


def unordered(found):
    """Records whose visits are sorted: the order of codes in an admission is not kept."""
    return [
        (record["patient_id"], [sorted(visit) for visit in record["visits"]]) for record in found
    ]


def agrees(name, source):
    """Summed over visits, what the loader gives is the matrix of the same tables; return it."""
    found, account = load(name, source)
    assert found.to_matrix().equals(datasets.load(name, source).matrix)
    assert (account["patients"], account["admissions"]) == (len(found), found.starts[-1])
    return found


# Data sets ----------------------------------------------------------------------------------------------------------


def test_simulated_tables(tables):
    assert agrees("mimic3", tables).numbers.max() > 3


@pytest.mark.parametrize(
    ("name", "folder", "admissions"),
    [("mimic3", "mimic3-demo", 129), ("mimic4", "mimic4-demo", 275)],
)
def test_demos(shared_data, name, folder, admissions):
    assert agrees(name, shared_data / folder).starts[-1] == admissions


def test_diabetes(shared_data):
    found, _ = load("diabetes130", shared_data / "diabetes130")
    assert (len(found), found.starts[-1]) == (71_518, 101_766)
    assert found.to_matrix().equals(
        datasets.load("diabetes130", shared_data / "diabetes130").matrix
    )
    assert np.asarray(found.counts.sum(axis=1)).max() == 3


def test_split_is_that_of_the_matrix(tables):
    found, _ = load("mimic3", tables)
    parts = zip(found.split(), found.to_matrix().split(), strict=True)
    for mine, theirs in parts:
        assert mine.to_matrix().equals(theirs)


# A user's table -----------------------------------------------------------------------------------------------------


def long_table(path, rows, columns=("patient_id", "visit", "code")):
    pd.DataFrame(rows, columns=list(columns)).to_csv(path, index=False)
    return path


def test_table_with_numbered_visits_comes_in_their_order(tmp_path):
    rows = [("b", 10, "x"), ("b", 9, "y"), ("a", 1, "x"), ("a", 1, "x"), ("a", 2, None)]
    found, account = load("table", long_table(tmp_path / "t.csv", rows))
    assert found.to_records() == [
        {"patient_id": "a", "visits": [["x", "x"], []]},
        {"patient_id": "b", "visits": [["y"], ["x"]]},
    ]
    assert account["visits"] == "of the table" and account["admissions_without_codes"] == 1


def test_table_with_dates_comes_in_their_order(tmp_path):
    rows = [(7, "2150-03-01", "x"), (7, "2149-12-31", "y")]
    found, _ = load("table", long_table(tmp_path / "t.csv", rows))
    assert found.to_records() == [{"patient_id": 7, "visits": [["y"], ["x"]]}]


def test_table_without_visits_has_the_fewest_in_which_no_code_repeats(tmp_path):
    path = long_table(
        tmp_path / "t.csv", [(1, "a", 2), (1, "b", 1), (2, "b", 1)], ("patient_id", "code", "count")
    )
    found, account = load("table", path)
    assert unordered(found.to_records()) == [(1, [["a", "b"], ["a"]]), (2, [["b"]])]
    assert account["visits"] == "made"


@pytest.mark.parametrize(
    ("columns", "rows", "said"),
    [
        (
            ("patient_id", "visit", "code"),
            [(1, 1, "a"), (1, None, "a")],
            "column visit, row 2: is empty",
        ),
        (
            ("patient_id", "visit", "code"),
            [(1, 1, "a"), (None, 2, "a")],
            "column patient_id, row 2: is empty",
        ),
        (("patient_id", "visit"), [(1, 1)], "no column code"),
    ],
)
def test_bad_tables_are_refused(tmp_path, columns, rows, said):
    with pytest.raises(InputError, match=said):
        load("table", long_table(tmp_path / "t.csv", rows, columns))


# Files and forms ----------------------------------------------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(patients)
def test_records_and_files_give_the_admissions_back(tmp_path_factory, stays):
    found = made(stays)
    assert unordered(found.to_records()) == [
        (row, [sorted(v) for v in p]) for row, p in enumerate(stays)
    ]
    assert Patients.from_records(found.to_records(), codes=found.codes).equals(found)
    path = tmp_path_factory.mktemp("file") / "visits.parquet"
    found.write(path)
    assert Patients.read(path).equals(found)
    assert load("table", path).patients.equals(found)


@settings(max_examples=30, deadline=None)
@given(patients)
def test_summed_over_admissions_it_is_the_matrix(stays):
    found = made(stays)
    matrix = CodeMatrix.from_records(
        [{"patient_id": row, "visits": p} for row, p in enumerate(stays)]
    )
    assert found.to_matrix().equals(matrix)


@settings(max_examples=30, deadline=None)
@given(patients)
def test_what_came_before_is_counted_as_by_hand(stays):
    found = made(stays)
    earlier, previous = found.earlier().toarray(), found.previous().toarray()
    row = 0
    for stay in stays:
        for k in range(len(stay)):
            assert found.order[row] == k
            for column, code in enumerate(found.codes):
                assert earlier[row, column] == sum(code in visit for visit in stay[:k])
                assert previous[row, column] == (k > 0 and code in stay[k - 1])
            row += 1
    by_hand = [[sum(code in visit for visit in stay) for code in found.codes] for stay in stays]
    assert found.totals().toarray().tolist() == by_hand


@settings(max_examples=30, deadline=None)
@given(patients, st.data())
def test_patients_drawn_again_keep_their_admissions(stays, data):
    found = made(stays)
    rows = np.array(data.draw(st.lists(st.integers(0, len(stays) - 1), max_size=8)), dtype=np.int64)
    drawn = [visits_ for _, visits_ in unordered(found[rows].to_records())]
    assert drawn == [[sorted(visit) for visit in stays[row]] for row in rows]


def test_a_long_table_is_readable_by_anything(tmp_path):
    found = made([[["a", "b"], []], [["b", "b"]]])
    found.write(tmp_path / "v.parquet")
    frame = pd.read_parquet(tmp_path / "v.parquet").astype({"code": str})
    assert frame.to_numpy().tolist() == [[0, 0, "a"], [0, 0, "b"], [1, 0, "b"], [1, 0, "b"]]
    assert list(frame) == ["patient_id", "visit", "code"]


def test_files_of_others_and_broken_ones_are_refused(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        Patients.read(tmp_path / "none.parquet")
    pd.DataFrame({"patient_id": [1], "visit": [0], "code": ["a"]}).to_parquet(
        tmp_path / "other.parquet"
    )
    with pytest.raises(InputError, match="no vocabulary of visits"):
        Patients.read(tmp_path / "other.parquet")
    (tmp_path / "cut.parquet").write_bytes(b"PAR1")
    with pytest.raises(InputError, match="not a readable Parquet file"):
        Patients.read(tmp_path / "cut.parquet")


def test_admissions_that_belong_to_nobody_are_refused():
    found = made([[["a"], ["b"]], [["a"]]])
    for starts, who in (([0, 2], [1]), ([0, 2, 3], [1]), ([0, 3, 2], [1, 2]), ([1, 2, 3], [1, 2])):
        with pytest.raises(InputError, match="do not fall to"):
            Patients(found.counts, np.array(starts), np.array(who), found.codes, found.titles)
    with pytest.raises(InputError, match="more than once"):
        Patients(found.counts, found.starts, np.array([1, 1]), found.codes, found.titles)


# Columns of hospitals -------------------------------------------------------------------------


def test_columns_of_mimic_by_hand(tmp_path):
    pd.DataFrame(
        [
            (1, 10, "2150-01-01 08:00:00", "2150-01-03 12:00:00", "EMERGENCY", "WARD", 0),
            (1, 11, "2150-01-13 20:00:00", "2150-01-13 22:00:00", "ELECTIVE", "HOME", 1),
            (2, 12, "2150-05-01 00:00:00", "2150-05-02 00:00:00", "EMERGENCY", None, 0),
            (2, 13, "2150-05-01 12:00:00", "2150-05-04 12:00:00", "EMERGENCY", None, 0),
        ],
        columns=[
            *("SUBJECT_ID", "HADM_ID", "ADMITTIME", "DISCHTIME"),
            *("ADMISSION_TYPE", "ADMISSION_LOCATION", "HOSPITAL_EXPIRE_FLAG"),
        ],
    ).to_csv(tmp_path / "ADMISSIONS.csv", index=False)
    pd.DataFrame(
        [(1, "F", "2100-01-02"), (2, "M", "1850-01-01")], columns=["SUBJECT_ID", "GENDER", "DOB"]
    ).to_csv(tmp_path / "PATIENTS.csv", index=False)
    pd.DataFrame(
        [(1, 10, "4280"), (2, 12, "4280")], columns=["SUBJECT_ID", "HADM_ID", "ICD9_CODE"]
    ).to_csv(tmp_path / "DIAGNOSES_ICD.csv", index=False)
    found, account = load("mimic3", tmp_path)
    assert account["visits_before_the_last_ended"] == 1
    people, stays = found.columns.to_frame(), found.visit_columns.to_frame()
    assert people.astype(str).to_numpy().tolist() == [["F", "49"], ["M", "90"]]
    assert stays.astype(object).where(stays.notna(), None).to_numpy().tolist() == [
        [None, "EMERGENCY", "WARD", 2, "no"],
        [10, "ELECTIVE", "HOME", 0, "yes"],
        [None, "EMERGENCY", None, 1, "no"],
        [0, "EMERGENCY", None, 3, "no"],
    ]


@pytest.mark.parametrize(("name", "folder"), [("mimic3", "mimic3-demo"), ("mimic4", "mimic4-demo")])
def test_columns_of_the_demos(shared_data, name, folder):
    found = load(name, shared_data / folder).patients
    age, stays = found.columns.of("age"), found.visit_columns
    assert found.columns.names == ("sex", "age") and 15 <= age.min() <= age.max() <= 91
    assert stays.names == ("days", "admission_type", "admission_source", "nights", "died")
    np.testing.assert_array_equal(np.isnan(stays.of("days")), found.order == 0)
    assert np.nanmin(stays.of("days")) >= 0 and stays.of("nights").min() >= 0
    assert 0 < stays.of("died").mean() < 0.4


def test_columns_of_diabetes(shared_data):
    found, account = load("diabetes130", shared_data / "diabetes130")
    assert found.columns.names == ("race", "gender") and len(found.visit_columns.names) == 41
    assert (account["visits_of_another_race"], account["visits_of_another_gender"]) == (206, 3)
    left_out = [name for name, what in account["columns_of_visits"].items() if "left out" in what]
    assert left_out == ["examide", "citoglipton"]
    frame = found.visit_columns.to_frame()
    assert frame["readmitted"].value_counts().to_dict() == {"NO": 54864, ">30": 35545, "<30": 11357}
    assert frame["age"].cat.ordered and list(frame["A1Cresult"].cat.categories) == [
        *("Norm", ">7", ">8"),
    ]
    kinds = {column.name: column.kind for column in found.visit_columns.columns}
    assert kinds["admission_source_id"] == "category" and kinds["num_medications"] == "number"
