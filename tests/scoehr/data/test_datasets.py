"""Loaders: the figures of the open data, the forms a table may come in, and the tables that are refused."""

import gzip
import tempfile
import zipfile
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv as pa_csv
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmarks import reference
from companions.dualk import prepare
from companions.mortality_attack import extract
from reproduction.synthesis import experiments
from scoehr.data import datasets, hospitals, reading
from scoehr.data.matrix import CodeMatrix
from scoehr.data.patients import load as load_patients
from scoehr.files import InputError

LOWER = {
    "ADMISSIONS": """row_id,subject_id,hadm_id,admittime,diagnosis
1,12,100,2150-01-31 13:45:00,"CHEST PAIN, ""ATYPICAL"", ACUTE"
2,7,101,2151-02-01 00:00:00,SEPSIS
3,7,102,2152-02-29 23:59:00,
4,30,103,2153-03-01 10:00:00,FALL
""",
    "DIAGNOSES_ICD": """row_id,subject_id,hadm_id,seq_num,icd9_code
1,12,100,1,4019
2,12,100,2,E8788
3,7,101,1,03842
4,7,102,1,4019
5,7,102,2,40211
6,7,101,2,4010
7,30,103,,
""",
}
# The form of the full release: upper case, quoted.
UPPER = {
    "ADMISSIONS": """"ROW_ID","SUBJECT_ID","HADM_ID","ADMITTIME","DIAGNOSIS"
1,12,100,2150-01-31 13:45:00,"CHEST PAIN, ""ATYPICAL"", ACUTE"
2,7,101,2151-02-01 00:00:00,"SEPSIS"
3,7,102,2152-02-29 23:59:00,
4,30,103,2153-03-01 10:00:00,"FALL"
""",
    "DIAGNOSES_ICD": """"ROW_ID","SUBJECT_ID","HADM_ID","SEQ_NUM","ICD9_CODE"
1,12,100,1,"4019"
2,12,100,2,"E8788"
3,7,101,1,"03842"
4,7,102,1,"4019"
5,7,102,2,"40211"
6,7,101,2,"4010"
7,30,103,,
""",
}
GOLDEN = {
    "patients": [7, 12, 30],
    "codes": ["038", "401", "402", "E878"],
    "counts": [[1, 2, 1, 0], [0, 1, 0, 1], [0] * 4],
}


def put(folder, tables, *, ending=".csv", change=lambda text: text.encode()):
    folder.mkdir(exist_ok=True)
    for name, text in tables.items():
        (folder / f"{name}{ending}").write_bytes(change(text))
    return folder


def is_golden(matrix):
    assert matrix.patients.tolist() == GOLDEN["patients"]
    assert matrix.codes.tolist() == GOLDEN["codes"]
    assert matrix.dense().tolist() == GOLDEN["counts"]


# The forms a table may come in --------------------------------------------------------------------------------------

FORMS = {
    "plain": {},
    "gz": {"ending": ".csv.gz", "change": lambda text: gzip.compress(text.encode())},
    "CRLF": {"change": lambda text: text.replace("\n", "\r\n").encode()},
    "BOM": {"change": lambda text: text.encode("utf-8-sig")},
    "all": {
        "ending": ".CSV.GZ",
        "change": lambda text: gzip.compress(text.replace("\n", "\r\n").encode("utf-8-sig")),
    },
    "no last newline": {"change": lambda text: text.rstrip("\n").encode()},
    "lower-case names": {"ending": ".Csv"},
}


@pytest.mark.parametrize("tables", [LOWER, UPPER], ids=["lower", "upper"])
@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_forms_of_a_table(tmp_path, tables, form):
    matrix, account = datasets.load("mimic3", put(tmp_path / "tables", tables, **form))
    is_golden(matrix)
    assert matrix.titles[1] == "Essential hypertension"
    assert account == {
        "dataset": "mimic3",
        "digits": "three",
        "admissions": 4,
        "rows_read": 7,
        "rows_dropped": {"no code": 1},
        "rows_kept": 6,
        "patients": 3,
        "patients_without_codes": 1,
        "codes": 4,
        "total": 6,
        "mean_cell": 0.5,
        "kind": "count",
    }


def test_full_codes_and_binary(tmp_path):
    folder = put(tmp_path / "tables", UPPER)
    full = datasets.load("mimic3", folder, digits="full").matrix
    assert full.codes.tolist() == ["03842", "4010", "4019", "40211", "E8788"]
    assert full.titles[2] == "Unspecified essential hypertension"
    binary = datasets.load("mimic3", folder, kind="binary")
    assert binary.account["kind"] == "binary"
    assert binary.matrix.dense().tolist() == [[1, 1, 1, 0], [0, 1, 0, 1], [0, 0, 0, 0]]


codes = st.sampled_from(
    ["4019", "4280", "42731", "03842", "V3001", "E8788", "E9320", "042", "25000", ""]
)
visits = st.lists(
    st.tuples(st.integers(1, 6), st.lists(codes, max_size=5)), min_size=1, max_size=12
)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(visits=visits, crlf=st.booleans(), zipped=st.booleans(), order=st.randoms())
def test_loader_counts_as_the_reported_algorithm(tmp_path_factory, visits, crlf, zipped, order):
    """On quoted tables the two differ in the order of patients and codes and in the pseudo-code D_ alone."""
    folder = tmp_path_factory.mktemp("tables")
    rows = [
        (patient, number, code) for number, (patient, found) in enumerate(visits) for code in found
    ]
    rows = rows if any(code for *_, code in rows) else [(visits[0][0], 0, "4019")]
    order.shuffle(rows)
    admissions = [f"{n},{patient},{n},2150-01-01 00:00:00" for n, (patient, _) in enumerate(visits)]
    quoted = [
        f'{n},{patient},{visit},{n},"{code}"' for n, (patient, visit, code) in enumerate(rows)
    ]
    end = "\r\n" if crlf else "\n"
    text = {
        "ADMISSIONS": end.join(['"ROW_ID","SUBJECT_ID","HADM_ID","ADMITTIME"', *admissions]) + end,
        "DIAGNOSES_ICD": end.join(
            ['"ROW_ID","SUBJECT_ID","HADM_ID","SEQ_NUM","ICD9_CODE"', *quoted]
        )
        + end,
    }
    ending, pack = (".csv.gz", gzip.compress) if zipped else (".csv", bytes)
    put(folder, text, ending=ending, change=lambda text: pack(text.encode()))
    matrix = datasets.load("mimic3", folder).matrix
    counts, patients, names = reference.read(folder)
    columns = [names.index(f"D_{code}") for code in matrix.codes]
    assert sorted(patients) == matrix.patients.tolist()
    assert set(names) - {"D_"} == {f"D_{code}" for code in matrix.codes}
    np.testing.assert_array_equal(counts[np.argsort(patients)][:, columns], matrix.dense())


# Real data ----------------------------------------------------------------------------------------------------------


def test_mimic3_demo(shared_data):
    matrix, account = datasets.load("mimic3", shared_data / "mimic3-demo")
    assert matrix.shape == (100, 275)
    assert account["admissions"] == 129
    assert account["rows_kept"] == 1_761
    assert round(matrix.mean_cell, 4) == 0.0640
    assert all(matrix.titles)
    assert (
        datasets.load("mimic3", shared_data / "mimic3-demo", digits="full").account["codes"] == 581
    )


def test_mimic3_demo_in_the_form_of_the_full_release(shared_data, tmp_path):
    for table in ("ADMISSIONS", "DIAGNOSES_ICD", "PATIENTS"):
        frame = pd.read_csv(
            shared_data / "mimic3-demo" / f"{table}.csv.gz", dtype={"icd9_code": str}
        )
        columns = {name.upper(): pa.array(frame[name], from_pandas=True) for name in frame}
        pa_csv.write_csv(pa.table(columns), tmp_path / f"{table}.csv")
    assert (tmp_path / "DIAGNOSES_ICD.csv").read_text().startswith('"ROW_ID","SUBJECT_ID"')
    again = datasets.load("mimic3", tmp_path)
    original = datasets.load("mimic3", shared_data / "mimic3-demo")
    assert again.matrix.equals(original.matrix)
    assert again.account == original.account


def test_mimic4_demo(shared_data):
    matrix, account = datasets.load("mimic4", shared_data / "mimic4-demo")
    assert len(matrix) == 100
    assert (account["admissions"], account["rows_read"]) == (275, 4_506)
    assert (account["rows_icd9"], account["rows_icd10"]) == (2_193, 2_313)
    assert account["rows_dropped"]["no code"] == 0
    assert account["rows_read"] == account["rows_kept"] + account["rows_dropped"]["unmapped ICD-10"]
    assert 0 < account["rows_dropped"]["unmapped ICD-10"] < 0.02 * account["rows_icd10"]
    assert all(matrix.titles)


def test_diabetes130(shared_data):
    matrix, account = datasets.load("diabetes130", shared_data / "diabetes130")
    assert matrix.shape == (71_518, 881)
    assert account["admissions"] == 101_766
    assert account["rows_dropped"] == {"no code": 21 + 358 + 1_423}
    assert round(matrix.mean_cell, 4) == 0.0048
    assert matrix.counts.max() == 40
    assert {"008", "041", "250", "365", "V57", "E878"} <= set(matrix.codes)
    assert all(matrix.titles)


def test_table_of_patients_by_code_as_published(shared_data, tmp_path):
    """The long table that one data set gives is a table that the data set 'table' reads."""
    matrix = datasets.load("mimic3", shared_data / "mimic3-demo").matrix
    matrix.write(tmp_path / "demo.parquet")
    assert datasets.load("table", tmp_path / "demo.parquet").matrix.equals(matrix)
    matrix.to_long().to_csv(tmp_path / "demo.csv.gz", index=False)
    again = datasets.load("table", tmp_path / "demo.csv.gz").matrix
    np.testing.assert_array_equal(again.dense(), matrix.dense())
    assert again.codes.tolist() == matrix.codes.tolist()


# The other data sets in small ---------------------------------------------------------------------------------------


def test_mimic4_in_small(tmp_path):
    hosp = tmp_path / "hosp"
    put(
        hosp,
        {"admissions": "subject_id,hadm_id,admittime\n1,10,2150-01-01\n2,20,2150-01-01 10:00:00\n"},
    )
    rows = ["1,10,1,4019,9", "1,10,2,I10,10", "1,10,3,U071,10", "2,20,1,,10"]
    diagnoses = "\n".join(["subject_id,hadm_id,seq_num,icd_code,icd_version", *rows])
    put(hosp, {"diagnoses_icd": diagnoses})
    matrix, account = datasets.load("mimic4", tmp_path)
    assert matrix.codes.tolist() == ["401"]
    assert matrix.dense().tolist() == [[2], [0]]
    assert account["rows_dropped"] == {"no code": 1, "unmapped ICD-10": 1}
    put(hosp, {"diagnoses_icd": diagnoses.replace("I10,10", "I10,11")})
    with pytest.raises(InputError, match="icd_version, row 2: '11' is neither 9 nor 10"):
        datasets.load("mimic4", tmp_path)


DIABETES = (
    "encounter_id,patient_nbr,diag_1,diag_2,diag_3\n1,5,250.83,8,?\n2,5,365.44,V57,41\n3,6,?,?,?\n"
)


@pytest.mark.parametrize("zipped", [False, True])
def test_diabetes130_in_small(tmp_path, zipped):
    if zipped:
        with zipfile.ZipFile(tmp_path / "diabetic_data.zip", "w") as archive:
            archive.writestr("dataset_diabetes/diabetic_data.csv", DIABETES)
    else:
        (tmp_path / "diabetic_data.csv").write_text(DIABETES)
    matrix, account = datasets.load("diabetes130", tmp_path)
    assert matrix.codes.tolist() == ["008", "041", "250", "365", "V57"]
    assert matrix.dense().tolist() == [[1, 1, 1, 1, 1], [0] * 5]
    assert (account["rows_read"], account["rows_dropped"]) == (9, {"no code": 4})
    assert "25083" in datasets.load("diabetes130", tmp_path, digits="full").matrix.codes


def test_diabetes130_refused(tmp_path):
    with pytest.raises(InputError, match="has no diabetic_data"):
        datasets.load("diabetes130", tmp_path)
    (tmp_path / "diabetic_data.zip").write_bytes(b"PK but no more")
    with pytest.raises(InputError, match="zip file is damaged"):
        datasets.load("diabetes130", tmp_path)


# Codes, dates and repeats -------------------------------------------------------------------------------------------


def mimic3(folder, rows, admissions=("10,100,2150-01-31 13:45:00", "11,101,2151-01-31 13:45:00")):
    """Tables of MIMIC-III with these diagnoses (SUBJECT_ID,HADM_ID,SEQ_NUM,ICD9_CODE) and admissions."""
    head = "SUBJECT_ID,HADM_ID,ADMITTIME", "SUBJECT_ID,HADM_ID,SEQ_NUM,ICD9_CODE"
    texts = zip(("ADMISSIONS", "DIAGNOSES_ICD"), head, (admissions, rows), strict=True)
    return put(folder, {name: "\n".join([first, *lines]) + "\n" for name, first, lines in texts})


def mimic4(folder, codes):
    """Tables of MIMIC-IV: patient 1 with one admission and these (code, version)."""
    rows = [f"1,10,{n},{code},{version}" for n, (code, version) in enumerate(codes)]
    put(folder, {"admissions": "subject_id,hadm_id,admittime\n1,10,2150-01-01\n"})
    put(
        folder,
        {
            "diagnoses_icd": "\n".join(["subject_id,hadm_id,seq_num,icd_code,icd_version", *rows])
            + "\n"
        },
    )
    return folder


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("42.0", "it looks like a number"),
        ("38.9", "it looks like a number"),
        ("4280.0", "it looks like a number"),
        ("41401.0", "it looks like a number"),
        ("486.0", "the list has none such"),
        ("E119", "it is one of ICD-10"),
        ("E785", "it is one of ICD-10"),
        ("I10", "it is one of ICD-10"),
        ("V4352XA", "it is one of ICD-10"),
        ("4019999999", "the list has none such"),
        ("401XYZ", "the list has none such"),
        ("42.80", "it looks like a number"),
    ],
)
def test_what_is_no_icd9_code_is_refused(tmp_path, code, why):
    folder = mimic3(tmp_path / "tables", ["10,100,1,4019", f"11,101,1,{code}"])
    with pytest.raises(InputError) as refusal:
        datasets.load("mimic3", folder)
    place = f"{folder / 'DIAGNOSES_ICD.csv'}, column ICD9_CODE, row 2: {code!r} is not an ICD-9 code ({why})"
    assert str(refusal.value).startswith(place)
    with pytest.raises(InputError, match="is not an ICD-9 code"):
        datasets.load("mimic4", mimic4(tmp_path / "hosp", [("4019", 9), (code, 9)]))


@pytest.mark.parametrize("word", ["NULL", "nan", "NA"])
def test_words_for_a_missing_code_are_refused_with_their_remedy(tmp_path, word):
    folder = mimic3(tmp_path / "tables", ["10,100,1,4019", f"11,101,1,{word}"])
    with pytest.raises(InputError, match=f"row 2: '{word}' is not a code .*; leave the cell empty"):
        datasets.load("mimic3", folder)


def test_codes_with_a_dot_and_headings_are_read(tmp_path):
    rows = [
        "10,100,1,428.0",
        "10,100,2,V30.01",
        "11,101,1,e878.8",
        "11,101,2,585",
        "11,101,3, 042 ",
    ]
    matrix = datasets.load("mimic3", mimic3(tmp_path / "tables", rows), digits="full").matrix
    assert matrix.codes.tolist() == ["042", "4280", "585", "E8788", "V3001"]


def test_codes_finer_than_the_list_take_the_listed_one_and_are_named(tmp_path):
    folder = mimic3(tmp_path / "tables", ["10,100,1,71970", "11,101,1,71970", "11,101,2,7197"])
    matrix, account = datasets.load("mimic3", folder, digits="full")
    assert matrix.codes.tolist() == ["7197"] and matrix.dense().tolist() == [[1], [2]]
    assert account["codes_not_listed"] == {"71970": 2}


def test_diabetes130_written_as_floats_is_refused(tmp_path):
    (tmp_path / "diabetic_data.csv").write_text(
        "encounter_id,patient_nbr,diag_1,diag_2,diag_3\n1,5,250.83,V57,8.0\n"
    )
    with pytest.raises(
        InputError,
        match=r"column diag_3, row 1: '8\.0' is not an ICD-9 code \(it looks like a number",
    ):
        datasets.load("diabetes130", tmp_path)


@pytest.mark.parametrize(
    ("tenth", "ninth"),
    [
        ("I4820", "42731"), ("I48.21", "42731"), ("I4811", "42731"), ("N1830", "5853"), ("E7800", "2720"),
        ("M5450", "7242"), ("I2510", "41401"), ("A419", "0389"), ("I10", "4019"), ("e11.9", "25000"), ("E11", "250"),
        ("I21", "410"), ("R188", "78959"),
    ],
)  # fmt: skip
def test_icd10_becomes_icd9_by_the_rule(tmp_path, tenth, ninth):
    matrix, account = datasets.load(
        "mimic4", mimic4(tmp_path / "hosp", [(tenth, 10), ("4019", 9)]), digits="full"
    )
    assert set(matrix.codes) == {ninth, "4019"}
    assert account["rows_dropped"] == {"no code": 0, "unmapped ICD-10": 0}


def test_one_disease_is_one_column_in_both_versions(tmp_path):
    codes = [
        ("41401", 9),
        ("I2510", 10),
        ("0389", 9),
        ("A419", 10),
        ("42731", 9),
        ("I4891", 10),
        ("I4819", 10),
    ]
    matrix = datasets.load("mimic4", mimic4(tmp_path / "hosp", codes)).matrix
    assert dict(zip(matrix.codes.tolist(), matrix.dense()[0].tolist(), strict=True)) == {
        "038": 2,
        "414": 2,
        "427": 3,
    }


def test_what_has_no_icd9_code_is_named_and_counted(tmp_path):
    codes = [("U071", 10), ("U071", 10), ("F32A", 10), ("E8788", 10), ("I4820", 10), ("", 10)]
    account = datasets.load("mimic4", mimic4(tmp_path / "hosp", codes)).account
    assert account["codes_unmapped"] == {"E8788": 1, "F32A": 1, "U071": 2}
    assert account["codes_by_parent"] == {"I4820": 1}
    assert account["rows_dropped"] == {"no code": 1, "unmapped ICD-10": 4}
    with pytest.raises(InputError, match=r"row 1: no code \(U071\) has one in ICD-9"):
        datasets.load("mimic4", mimic4(tmp_path / "hosp", [("U071", 10)]))


@pytest.mark.parametrize("code", ["4019", "25000", "nonsense", "W", "I1000000"])
def test_what_is_no_icd10_code_is_refused(tmp_path, code):
    folder = mimic4(tmp_path / "hosp", [("I10", 10), (code, 10)])
    with pytest.raises(InputError, match=f"column icd_code, row 2: '{code}' is not an ICD-10 code"):
        datasets.load("mimic4", folder)


def test_versions_and_ids_that_were_floats_are_read(tmp_path):
    folder = mimic4(tmp_path / "hosp", [("4019", "9.0"), ("I10", "10.0")])
    put(folder, {"admissions": "subject_id,hadm_id,admittime\n1.0,10.0,2150-01-01\n"})
    matrix, account = datasets.load("mimic4", folder)
    assert matrix.patients.tolist() == [1] and matrix.dense().tolist() == [[2]]
    assert (account["rows_icd9"], account["rows_icd10"]) == (1, 1)


def test_visits_come_in_the_order_of_their_dates(tmp_path):
    admissions = [
        "10,100,2150-10-01 00:00:00", "10,101,2150-2-01 00:00:00",
        "11,102,2150-10-01T00:00:00", "11,103,2150-10-01 23:00:00", "11,104,2150-10-01 23:30:00+05:00",
    ]  # fmt: skip
    rows = ["10,100,1,4019", "10,101,1,25000", "11,102,1,4019", "11,103,1,25000", "11,104,1,4280"]
    folder = mimic3(tmp_path / "tables", rows, admissions)
    expected = [
        {"patient_id": 10, "visits": [["250"], ["401"]]},
        {"patient_id": 11, "visits": [["401"], ["428"], ["250"]]},
    ]
    assert load_patients("mimic3", folder).patients.to_records() == expected


@pytest.mark.parametrize(
    "date", ["infinity", "epoch", "31-01-2150", "01/31/2150 05:00", "2150", "now"]
)
def test_what_is_no_date_is_refused(tmp_path, date):
    folder = mimic3(tmp_path / "tables", ["10,100,1,4019"], ["10,100,2150-01-01", f"10,101,{date}"])
    with pytest.raises(InputError, match=f"column ADMITTIME, row 2: '{date}' is not a date"):
        datasets.load("mimic3", folder)


def test_rows_pasted_twice_are_refused(tmp_path):
    rows = ["10,100,1,4019", "10,100,2,4280", "11,101,1,4019"]
    folder = mimic3(tmp_path / "tables", rows * 2)
    with pytest.raises(
        InputError, match=r"row 4: repeats row 1 \(the same HADM_ID, SEQ_NUM and ICD9_CODE"
    ):
        datasets.load("mimic3", folder)
    numbered = [
        "ROW_ID,SUBJECT_ID,HADM_ID,ICD9_CODE",
        "7,10,100,4019",
        "8,10,100,4019",
        "8,10,100,4019",
    ]
    put(folder, {"DIAGNOSES_ICD": "\n".join(numbered)})
    with pytest.raises(InputError, match=r"row 3: repeats row 2 \(the same ROW_ID"):
        datasets.load("mimic3", folder)
    put(folder, {"DIAGNOSES_ICD": "\n".join(numbered[:3])})
    assert datasets.load("mimic3", folder).matrix.dense().tolist() == [[2], [0]]


OTHER = [
    "42.0",
    "38.9",
    "E119",
    "I10",
    "01/31/2150",
    "NULL",
    "1e3",
    "7.5",
    "infinity",
    "4280.0",
    "x",
    "-",
    "00099",
]
OTHER += ["2150-13-01", "V99999", "401999", "True"]


@settings(max_examples=40, deadline=None)
@given(
    column=st.sampled_from(["patient", "visit", "begin", "code"]),
    row=st.integers(0, 1),
    cell=st.sampled_from(OTHER),
)
def test_no_cell_that_is_used_is_misread(tmp_path_factory, column, row, cell):
    """Anything foreign in a column that is read is refused, in one sentence that names the row."""
    admissions, rows = (
        [["10", "100", "2150-01-31"], ["11", "101", "2151-01-31"]],
        [["10", "100", "1", "4019"]],
    )
    rows.append(["11", "101", "1", "V3001"])
    place = {"patient": (rows, 0), "visit": (rows, 1), "begin": (admissions, 2), "code": (rows, 3)}[
        column
    ]
    place[0][row][place[1]] = cell
    folder = tmp_path_factory.mktemp("cells") / "tables"
    mimic3(folder, [",".join(line) for line in rows], [",".join(line) for line in admissions])
    with pytest.raises(InputError, match=f"row {row + 1}: ") as refusal:
        datasets.load("mimic3", folder)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("name", ["mimic [v1]", "mimi? *", "subject_id=7", "hadm_id=1"])
def test_a_folder_is_no_pattern_and_no_column(tmp_path, name):
    mimic3(tmp_path / "mimic v", ["10,100,1,4280", "11,101,1,4280"])
    folder = mimic3(tmp_path / name, ["10,100,1,4019", "11,101,1,25000"])
    matrix = datasets.load("mimic3", folder).matrix
    assert matrix.patients.tolist() == [10, 11] and matrix.codes.tolist() == ["250", "401"]


@pytest.mark.parametrize(
    ("name", "folder", "fingerprint"),
    [("simulated", None, "1cec4bba1c4f1722"), ("diabetes130", "diabetes130", "393a0934130a7cdc")],
)
def test_open_cohorts_are_those_of_the_published_runs(shared_data, name, folder, fingerprint):
    assert experiments.cohort(name, folder and str(shared_data / folder)).fingerprint == fingerprint


# The simulated cohort -----------------------------------------------------------------------------------------------


def test_simulated_is_written_once(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets, "ROOT", tmp_path)
    monkeypatch.setattr(
        datasets.simulate.write_tables, "__kwdefaults__", {"patients": 300, "seed": 0}
    )
    first = datasets.load("simulated")
    written = {
        file.name: file.stat().st_mtime_ns for file in (tmp_path / "data" / "simulated").iterdir()
    }
    second = datasets.load("simulated")
    assert {
        file.name: file.stat().st_mtime_ns for file in (tmp_path / "data" / "simulated").iterdir()
    } == written
    assert first.matrix.equals(second.matrix)
    assert first.account["patients"] == 300


# A user's own table -------------------------------------------------------------------------------------------------

LONG = pd.DataFrame({"patient_id": ["b", "a", "b"], "code": ["x", "x", "y"], "count": [2, 1, 3]})
WIDE = pd.DataFrame({"patient_id": ["b", "a"], "x": [2, 1], "y": [3, 0], "z": [0, 0]})


@pytest.mark.parametrize("ending", [".parquet", ".csv", ".csv.gz"])
@pytest.mark.parametrize(("frame", "width"), [(LONG, 2), (WIDE, 3)], ids=["long", "wide"])
def test_own_table(tmp_path, frame, width, ending):
    path = tmp_path / f"own{ending}"
    frame.to_parquet(path) if ending == ".parquet" else frame.to_csv(path, index=False)
    matrix, account = datasets.load("table", path)
    assert matrix.patients.tolist() == ["a", "b"]
    assert matrix.codes.tolist() == ["x", "y", "z"][:width]
    assert matrix.dense().tolist() == [[1, 0, 0][:width], [2, 3, 0][:width]]
    assert account["form"] == ("long" if width == 2 else "wide")
    assert account["rows_read"] == len(frame)


def read_own(tmp_path, text):
    path = tmp_path / "own.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return datasets.load("table", path).matrix


def test_own_table_without_counts(tmp_path):
    matrix = read_own(tmp_path, "Code,Patient_ID\nx,2\nx,2\ny,10\n,3\n")
    assert matrix.patients.tolist() == [2, 3, 10]
    assert matrix.dense().tolist() == [[2, 0], [0, 0], [0, 1]]


def test_own_ids_keep_their_zeros(tmp_path):
    assert read_own(tmp_path, "patient_id,code\n007,x\n7,x\n").patients.tolist() == ["007", "7"]


def test_own_codes_are_taken_as_they_are(tmp_path):
    assert read_own(tmp_path, "patient_id,code\n1,e11.9\n1,E11.9\n").codes.tolist() == [
        "E11.9",
        "e11.9",
    ]


def test_wide_table_with_empty_cells(tmp_path):
    matrix = read_own(tmp_path, "patient_id,4019,it's\n1,2.0,\n2,,1\n")
    assert matrix.codes.tolist() == ["4019", "it's"]
    assert matrix.dense().tolist() == [[2, 0], [0, 1]]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "is empty; give the whole table"),
        ("patient_id,code\n", "is empty but for its header"),
        ("code,count\n401,1\n", r"has no column patient_id \(it has code, count\)"),
        ("patient_id\n1\n", "has no column but patient_id"),
        (
            "patient_id,code,count\n1,401,two\n",
            "column count, row 1: 'two' is not a whole number from 0",
        ),
        ("patient_id,code,count\n1,401,1\n1,402,-2\n", "column count, row 2: '-2'"),
        ("patient_id,code,count\n1,401,1.5\n", "column count, row 1: '1.5'"),
        ("patient_id,code,count\n1,401,\n", "column count, row 1: 'empty'"),
        ("patient_id,code,count\n1,401,3000000000\n", "column count, row 1: '3000000000'"),
        (
            "patient_id,code,count\n1,401,2\n2,401,1\n1,401,3\n",
            "row 3: patient 1 and code 401 have a row already",
        ),
        ("patient_id,code\n1,401\n,402\n", "column patient_id, row 2: is empty"),
        ("patient_id,401\n1,0\n1,1\n", "column patient_id, row 2: 1 has a row already"),
        ("patient_id,401,402\n1,0,0\n2,0,no\n", "column 402, row 2: 'no' is not a whole number"),
        ("patient_id,401,402\n1,-1,0\n", "column 401, row 1: '-1'"),
        ("patient_id,401,401\n1,0,1\n", "has the column '401' twice"),
        ("patient_id;code\n1;401\n", "not separated by commas"),
        ("patient_id,code\n1,401\n2,402,5\n", "row 2: has 3 columns where the header has 2"),
        (b"patient_id,code\n1,401\n2,caf\xe9\n", "is not UTF-8 text"),
        ("patient_id,code\n1,401\n".encode("utf-16"), "the header is not UTF-8 text"),
    ],
)
def test_own_table_refused(tmp_path, text, sentence):
    with pytest.raises(InputError, match=sentence) as refusal:
        read_own(tmp_path, text)
    assert str(refusal.value).startswith(str(tmp_path / "own.csv"))
    assert "\n" not in str(refusal.value)


def test_own_table_is_one_file(tmp_path):
    with pytest.raises(InputError, match="not a table"):
        datasets.load("table", tmp_path)
    (tmp_path / "own.xlsx").write_bytes(b"")
    with pytest.raises(InputError, match=r"give one \.parquet, \.csv or \.csv\.gz"):
        datasets.load("table", tmp_path / "own.xlsx")
    (tmp_path / "own.parquet").write_bytes(b"PAR1")
    with pytest.raises(InputError, match="not a readable Parquet file"):
        datasets.load("table", tmp_path / "own.parquet")


# Tables that are refused --------------------------------------------------------------------------------------------


def test_names_and_choices(tmp_path):
    with pytest.raises(InputError, match="'mimic5' is unknown; choose one of simulated, mimic3"):
        datasets.load("mimic5", tmp_path)
    with pytest.raises(InputError, match="needs a source"):
        datasets.load("mimic4")
    with pytest.raises(InputError, match="no such file or folder"):
        datasets.load("mimic3", tmp_path / "absent")
    with pytest.raises(InputError, match="digits='two'"):
        datasets.load("mimic3", tmp_path, digits="two")
    readerless = {name for name, info in datasets.DATASETS.items() if info.reader is None}
    assert readerless == {"table"}


def test_missing_table(tmp_path):
    folder = put(tmp_path / "tables", LOWER)
    (folder / "ADMISSIONS.csv").unlink()
    with pytest.raises(InputError, match=r"has no ADMISSIONS\.csv or ADMISSIONS\.csv\.gz"):
        datasets.load("mimic3", folder)
    with pytest.raises(InputError, match="not a folder"):
        datasets.load("mimic3", folder / "DIAGNOSES_ICD.csv")


@pytest.mark.parametrize(
    ("table", "old", "new", "sentence"),
    [
        (
            "ADMISSIONS",
            "admittime",
            "time",
            "has no column ADMITTIME (it has row_id, subject_id, hadm_id, time",
        ),
        (
            "ADMISSIONS",
            None,
            LOWER["DIAGNOSES_ICD"],
            "(this is the table DIAGNOSES_ICD of MIMIC-III)",
        ),
        (
            "DIAGNOSES_ICD",
            None,
            LOWER["ADMISSIONS"],
            "has no column ICD9_CODE (this is the table ADMISSIONS)",
        ),
        (
            "ADMISSIONS",
            "2151-02-01 00:00:00",
            "2151-02-30",
            "ADMITTIME, row 2: '2151-02-30' is not a date",
        ),
        ("ADMISSIONS", "2151-02-01 00:00:00", "", "column ADMITTIME, row 2: is empty"),
        ("ADMISSIONS", "2,7,101", "2,7,100", "column HADM_ID, row 2: 100 has a row already"),
        ("ADMISSIONS", "2,7,101", "2,x,101", "column SUBJECT_ID, row 2: 'x' is not a whole number"),
        (
            "ADMISSIONS",
            "2,7,101",
            "2,7.5,101",
            "column SUBJECT_ID, row 2: '7.5' is not a whole number",
        ),
        (
            "ADMISSIONS",
            "2,7,101",
            "2,,101",
            "column SUBJECT_ID, row 2: 'empty' is not a whole number",
        ),
        (
            "DIAGNOSES_ICD",
            "4,7,102",
            "4,7,999",
            "column HADM_ID, row 4: admission 999 is not in ADMISSIONS",
        ),
        (
            "DIAGNOSES_ICD",
            "4,7,102",
            "4,12,102",
            "column SUBJECT_ID, row 4: admission 102 is not of patient 12",
        ),
        ("DIAGNOSES_ICD", "40211", "41", "column ICD9_CODE, row 5: '41' is not an ICD-9 code"),
        ("DIAGNOSES_ICD", "40211", "CHF", "column ICD9_CODE, row 5: 'CHF' is not an ICD-9 code"),
    ],
)
def test_spoilt_mimic3(tmp_path, table, old, new, sentence):
    text = LOWER[table].replace(old, new, 1) if old else new
    folder = put(tmp_path / "tables", LOWER | {table: text})
    with pytest.raises(InputError) as refusal:
        datasets.load("mimic3", folder)
    assert sentence in str(refusal.value)
    assert str(refusal.value).startswith(str(folder / f"{table}.csv"))


def test_spoilt_patients(tmp_path):
    people = "row_id,subject_id,gender,dob,dod\n1,7,F,2100-01-01,\n2,12,M,2100-13-01,\n"
    folder = put(tmp_path / "tables", LOWER | {"PATIENTS": people})
    with pytest.raises(InputError, match="column DOB, row 2: '2100-13-01' is not a date"):
        datasets.load("mimic3", folder)
    put(folder, {"PATIENTS": people.replace("2,12,M,2100-13-01", "2,7,M,2100-12-01")})
    with pytest.raises(InputError, match="column SUBJECT_ID, row 2: 7 has a row already"):
        datasets.load("mimic3", folder)


def test_damaged_gz(tmp_path):
    rows = "".join(f"{n},7,101,{n},{n % 900 + 100}\n" for n in range(20_000))
    text = LOWER["DIAGNOSES_ICD"].splitlines()[0] + "\n" + rows
    folder = put(tmp_path / "tables", {"ADMISSIONS": LOWER["ADMISSIONS"]})
    for packed in (
        gzip.compress(text.encode())[:20_000],
        gzip.compress(text.encode())[:-6],
        text.encode(),
        b"",
    ):
        (folder / "DIAGNOSES_ICD.csv.gz").write_bytes(packed)
        with pytest.raises(
            InputError,
            match=r"DIAGNOSES_ICD\.csv\.gz: (the gz file is truncated or damaged|is empty)",
        ):
            datasets.load("mimic3", folder)


def test_mixed_encodings(tmp_path):
    change = {"DIAGNOSES_ICD": LOWER["DIAGNOSES_ICD"].replace("40211", "é")}
    folder = put(tmp_path / "tables", LOWER)
    put(folder, change, change=lambda text: text.encode("cp1252"))
    with pytest.raises(InputError, match=r"DIAGNOSES_ICD\.csv, row 5: is not UTF-8 text"):
        datasets.load("mimic3", folder)


def test_nothing_is_lost_between_matrix_and_table(tmp_path):
    """A matrix of random counts, written as a user's long and wide table, is read back."""
    rng = np.random.default_rng(0)
    matrix = CodeMatrix.from_array(
        rng.poisson(0.3, (200, 30)), [f"{code:03d}" for code in range(30)]
    )
    patients = pd.Index(matrix.patients, name="patient_id")
    wide = pd.DataFrame(matrix.dense(), index=patients, columns=matrix.codes)
    wide.to_csv(tmp_path / "wide.csv")
    assert datasets.load("table", tmp_path / "wide.csv").matrix.equals(matrix)
    wide.reset_index().to_parquet(tmp_path / "wide.parquet")
    assert datasets.load("table", tmp_path / "wide.parquet").matrix.equals(matrix)


# All hospitals alike ------------------------------------------------------------------------------


def toy(database, source):
    """The reader of a hospital with one table: patient, visit, day, code."""
    path = source / "toy.csv"
    ids = {"patient": "patient", "visit": "visit"}
    columns = ids | {"day": "begin", "code": "raw"}
    reading.read(database, "rows", path, columns, whole=ids).convert("date", ["begin"])
    database.execute(
        "create temp table admissions as select distinct patient, visit, begin from rows; "
        "create temp table diagnoses as select patient, visit, raw from rows"
    )
    return hospitals.Written(lambda raw: f"{path}, code {raw}", {"wards": 1})


def test_a_data_set_is_a_reader_and_an_entry(tmp_path, monkeypatch):
    """Matrix, visits and the shell's list know it; no other module names it."""
    rows = "patient,visit,day,code\n2,5,2150-03-01,4019\n2,4,2150-02-01,4280\n1,9,2150-01-01,\n"
    (tmp_path / "toy.csv").write_text(rows)
    entry = datasets.DatasetInfo("A toy hospital", True, True, toy)
    monkeypatch.setitem(datasets.DATASETS, "toy", entry)
    matrix, account = datasets.load("toy", tmp_path)
    assert (matrix.patients.tolist(), matrix.codes.tolist()) == ([1, 2], ["401", "428"])
    assert matrix.dense().tolist() == [[0, 0], [1, 1]]
    assert (account["wards"], account["rows_dropped"]) == (1, {"no code": 1})
    assert load_patients("toy", tmp_path).patients.to_records() == [
        {"patient_id": 1, "visits": [[]]},
        {"patient_id": 2, "visits": [["428"], ["401"]]},
    ]
    (tmp_path / "toy.csv").write_text(rows.replace("4019", "x"))
    with pytest.raises(InputError, match=r"toy.csv, code x: 'x' is not an ICD-9 code"):
        datasets.load("toy", tmp_path)


@pytest.mark.parametrize("load", [datasets.load, load_patients, prepare.load])
def test_tables_without_any_code_are_refused(tmp_path, load):
    third = mimic3(tmp_path / "mimic3", ["10,100,1,", "11,101,,"])
    fourth = mimic4(tmp_path / "mimic4", [("", 9), ("", 10)])
    header, _, _, last, _ = DIABETES.split("\n")
    (tmp_path / "diabetic_data.csv").write_text(f"{header}\n{last}\n")
    sources = {"mimic3": third, "mimic4": fourth, "diabetes130": tmp_path}
    for name, source in sources.items():
        with pytest.raises(InputError, match=f"^{source}: has no code in any row of its diagnoses"):
            load(name, source)


def test_what_a_database_puts_on_disk_lies_in_a_folder_that_is_cleared(
    tmp_path, shared_data, monkeypatch
):
    """Patients' rows that do not fit in memory never lie among the temporary files themselves."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    connect, places = duckdb.connect, []

    def spied(*arguments, **options):
        places.append(Path(options["config"]["temp_directory"]))
        assert places[-1].is_dir()
        return connect(*arguments, **options)

    monkeypatch.setattr(duckdb, "connect", spied)
    demo = shared_data / "mimic3-demo"
    for load in (datasets.load, load_patients, prepare.load):
        load("mimic3", demo)
    extract.load(str(demo))
    assert len(places) == 4
    assert all(place.parent == tmp_path and not place.exists() for place in places)
