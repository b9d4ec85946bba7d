"""A user's own table: what is read, what is refused and how, whatever stands in it."""

import csv
import gzip
import io
import json
import os
import random
import time
import zipfile
from collections import Counter

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shell import inside, long_table

from scoehr.data import datasets, interchange, patients
from scoehr.data.cells import MISSING
from scoehr.data.matrix import CodeMatrix
from scoehr.files import InputError

LONG = "patient_id,code\n"


def put(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def read(path):
    """What is read: how often each patient has each code."""
    matrix = datasets.load("table", path).matrix
    rows, columns = matrix.counts.nonzero()
    cells = zip(
        matrix.patients[rows].tolist(),
        matrix.codes[columns].tolist(),
        matrix.counts.data.tolist(),
        strict=True,
    )
    return {(str(patient), code): count for patient, code, count in cells}


def said(path):
    """The one sentence of a refusal."""
    with pytest.raises(InputError) as refusal:
        datasets.load("table", path)
    assert str(refusal.value).startswith(str(path)) and "\n" not in str(refusal.value)
    return str(refusal.value)


# What is read -------------------------------------------------------------------------------------------------------

PLAIN = {("1", "401"): 1, ("2", "402"): 1}


@pytest.mark.parametrize(
    "text",
    [
        "patient_id,code\r1,401\r2,402\r",
        "patient_id,code\r1,401\r2,402",
        "patient_id,code\n1,401\r\n2,402\n",
        "patient_id,code\r\n1,401\n2,402\r\n",
        "patient_id,code\n1,401\r2,402\r\n",
        "\n\r\n  \npatient_id,code\n1,401\n\n2,402\n",
        "patient_id,code,\n1,401,\n2,402,\n",
        "patient_id,code\n1,401,\n2,402,\n",
        "patient_id,code,\n1,401\n2,402\n",
        ",patient_id,code\n0,1,401\n1,2,402\n",
        ',patient_id,code,\n"a",1,401,\n"b",2,402,\n',
        "Unnamed: 0,patient_id,code\n0,1,401\n1,2,402\n",
        "\ufeffpatient_id,code\n1,401\n\ufeff2,402\n",
        "patient_id,code\n1,401\t\n 2\u00a0,\u200b402\n",
        'patient_id,code,note\n1,401,"two\nlines"\n2,402,"a ""b"""\n',
        'patient_id,code\n1,"401\r"\n2,402\n',
        'patient_id,code\n1,401\n2,402\n1,NULL\n2,nan\n1,\\N\n2,"<NA>"\n1,?\n',
    ],
)
def test_tables_that_say_one_thing(tmp_path, text):
    assert read(put(tmp_path / "own.csv", text)) == PLAIN
    packed = put(tmp_path / "own.csv.gz", gzip.compress(text.encode()))
    assert read(packed) == PLAIN


@pytest.mark.parametrize("word", [*sorted(MISSING - {"\\n"}), "\\N", "NaN", "None", "--"])
def test_words_for_missing(tmp_path, word):
    account = datasets.load("table", put(tmp_path / "own.csv", f"{LONG}1,{word}\n1,401\n")).account
    assert account["rows_dropped"] == {"no code": 1} and account["read_as_no_code"] == {word: 1}
    assert "column patient_id, row 2" in said(
        put(tmp_path / "ids.csv", f"{LONG}1,401\n{word},401\n")
    )


def test_account_says_what_columns_were_taken_for(tmp_path):
    table = put(tmp_path / "own.csv", ",patient_id,code,count,admittime\n0,1,401,2,2150-01-01\n")
    account = datasets.load("table", table).account
    assert (account["columns"], account["columns_ignored"]) == (
        "patient_id, code, count",
        "unnamed_1, admittime",
    )
    account = datasets.load(
        "table", put(tmp_path / "wide.csv", "Unnamed: 0,patient_id,401,402\n0,1,2,\n")
    ).account
    assert (account["columns"], account["columns_ignored"]) == ("patient_id, 2 codes", "unnamed: 0")
    assert account["empty_cells_read_as_0"] == 1


# What is refused ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "patient_id,hadm_id,seq_num,icd_code\n1,100,1,4019\n2,200,1,25000\n",
            "no column code, and hadm_id, seq_num",
        ),
        (
            "patient_id,icd_code\n1,I10\n1,E119\n",
            r"name the column that holds the codes code \(icd_code\?\)",
        ),
        ('patient_id,diagnosis\n1,"a"\n', "diagnosis"),
        ("patient_id,age,401\n1,64,1\n", "age cannot be a code"),
        ("patient_id,index,401\n1,0,1\n", "index cannot be a code"),
        ("patient_id,diag_1,diag_2\n1,401,250\n2,0,0\n", "column diag_1: holds ids, codes"),
        ("patient_id,aufenthalt,401\n1,1001,1\n2,1002,0\n", "column aufenthalt: holds ids"),
        (
            "patient_id,401,z\n" + "".join(f"p{n},0,{n}\n" for n in range(12)),
            "column z: holds ids, codes or numbers",
        ),
        ("patient_id,code,A\n1,1,1\n", "codes of a wide table or columns of a long one"),
        (
            "patient_id,code,counts\n1,401,3\n",
            "has a column counts and none named count; name it count",
        ),
        ("patient_id,code,n\n1,401,3\n", "name it count"),
        ("patient_id,code,frequency\n1,401,3\n", "name it count"),
        ('patient_id, "code"\n1, "401"\n', 'the header has a quote inside a cell .*"code"'),
        (LONG + "1,401;428\n", "row 1: '401;428' holds several codes"),
        (LONG + '1,402\n1,"414.00, I25.10"\n', "row 2: '414.00, I25.10' holds several codes"),
        (LONG + "1,\"['401','428']\"\n", "holds several codes"),
        (LONG + "1,401|428\n", "holds several codes"),
        (LONG + "1,401 428\n", "holds several codes"),
        (LONG + "1,401\n2,402\npatient_id,code\n3,403\n", "row 3: repeats the header"),
        (LONG + "1,40\t1\n", r"row 1: '40\\t1' holds a line end, a tab"),
        (LONG + '1,"40\r1"\n', r"row 1: '40\\r1' holds a line end"),
        (LONG + "1,40\ufeff1\n", "holds a line end, a tab or an invisible"),
        (LONG + "1,428.0\n2,\n", "'428.0' was a decimal number"),
        (LONG + "1,4280.0\n2,42.0\n", "was a decimal number"),
        (LONG + "1,401\n2,4\x0001\n", "row 2: holds a NUL"),
        ("patient\x00_id,code\n", "the header holds a NUL"),
        (LONG + '1,"401\n2,402\n', "has a quote that is not closed"),
        ('patient_id,code,note\n1,401,"n\n2,402,x\n3,403,"o\n', "has a quote inside a cell"),
        (LONG + '1,"40"1\n', "row 1: has a quote inside a cell"),
        (LONG + "1,401\n2,402,,\n", "row 2: has 4 columns where the header has 2"),
        (LONG + "".join(f"{n},\n" for n in range(9)), "has no code in any row"),
        ("patient_id,401,402\n1,NA,0\n", "column 401, row 1: 'NA' is not a whole number"),
        ("patient_id,401,Nan\n1,1,0\n", "column Nan: is the name of no code"),
        (LONG + "1," + "x" * 2000 + "\n", "has 2000 characters"),
        (LONG + '1,"' + "x\n" * 9_000_000, "more than 16 MiB"),
        ((LONG + "1,401\n").encode("utf-16"), "the header is not UTF-8 text but UTF-16"),
        ((LONG + "1,401\n2,\xe9\n").encode("latin-1"), "row 2: is not UTF-8 text"),
        ("x" * (17 * 2**20), "has a line of more than 16 MiB"),
    ],
)
def test_tables_that_may_say_two_things(tmp_path, text, words):
    path = put(tmp_path / "own.csv", text)
    with pytest.raises(InputError, match=words):
        datasets.load("table", path)
    assert len(said(path)) < 500


def test_some_cells_look_like_lists_and_are_none(tmp_path):
    codes = [
        "Diabetes, type 2",
        "chest pain",
        "E11.9",
        "DIAGNOSIS//ICD//9//401",
        "[D]Cough",
        "A/B",
        "Type 2 diabetes",
    ]
    pd.DataFrame({"patient_id": range(len(codes)), "code": codes}).to_csv(
        tmp_path / "own.csv", index=False
    )
    assert {code for _, code in read(tmp_path / "own.csv")} == set(codes)


@pytest.mark.parametrize(
    ("column", "words"),
    [
        (pa.array([[401], [402]]), "column code: holds lists"),
        (pa.array([["401"], ["402", "403"]]), "column code: holds lists"),
        (pa.array([428.0, None]), "column code: holds decimal numbers"),
        (pa.array([428.0, float("nan")]), "column code: holds decimal numbers"),
        (pa.array([b"401", b"402"]), "column code: is of the type binary"),
        (pa.array([True, False]), "column code: is of the type bool"),
    ],
)
def test_parquet_of_other_types(tmp_path, column, words):
    pq.write_table(pa.table({"patient_id": [1, 2], "code": column}), tmp_path / "own.parquet")
    assert words in said(tmp_path / "own.parquet")
    pq.write_table(pa.table({"patient_id": column, "code": ["1", "2"]}), tmp_path / "ids.parquet")
    assert words.replace("code", "patient_id").split(" of the")[0] in said(
        tmp_path / "ids.parquet"
    ).replace("code;", "")


def test_a_table_without_rows_is_refused(tmp_path):
    table = pd.DataFrame({"patient_id": ["1"], "code": ["401"]})
    table[:0].to_parquet(tmp_path / "own.parquet")
    assert "is empty but for its header" in said(tmp_path / "own.parquet")


def test_visits_of_another_name_are_asked_for(tmp_path):
    table = put(tmp_path / "own.csv", "patient_id,encounter_id,code\n1,7,401\n")
    with pytest.raises(
        InputError, match="a column encounter_id and none named visit; name it visit"
    ):
        patients.load("table", table)


@pytest.mark.parametrize(
    ("written", "order"),
    [
        (["2150-10-01", "2150-2-01"], ["b", "a"]),
        (["2150-10-01T00:00", "2150-09-30 23:00"], ["b", "a"]),
        (["10", "9"], ["b", "a"]),
        (["1", "02"], ["a", "b"]),
    ],
)
def test_visits_come_in_their_order(tmp_path, written, order):
    table = put(
        tmp_path / "own.csv", f"patient_id,visit,code\n1,{written[0]},a\n1,{written[1]},b\n"
    )
    assert patients.load("table", table).patients.to_records()[0]["visits"] == [
        [code] for code in order
    ]


@pytest.mark.parametrize("written", ["v10", "15/01/2020", "infinity"])
def test_visits_without_an_order_are_refused(tmp_path, written):
    table = put(tmp_path / "own.csv", f"patient_id,visit,code\n1,2150-01-01,a\n1,{written},b\n")
    with pytest.raises(InputError, match=f"column visit, row 2: '{written}' is not a date"):
        patients.load("table", table)


# Paths --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["data[1]", "st*r", "que?", "a{b,c}", "it's", "back\\[1]"])
@pytest.mark.parametrize("ending", [".csv", ".parquet"])
def test_a_path_names_one_file(tmp_path, name, ending):
    for code, stem in (
        ("wrong", "data1"),
        ("wrong", "stxr"),
        ("wrong", "queX"),
        ("wrong", "ab"),
        ("right", name),
    ):
        frame = pd.DataFrame({"patient_id": [1], "code": [code]})
        path = tmp_path / f"{stem}{ending}"
        frame.to_csv(path, index=False) if ending == ".csv" else frame.to_parquet(path)
    assert read(tmp_path / f"{name}{ending}") == {("1", "right"): 1}


def test_folders_are_no_columns(tmp_path):
    folder = tmp_path / "code=7" / "count=3" / "patient_id=9"
    folder.mkdir(parents=True)
    frame = pd.DataFrame({"patient_id": [1, 2], "code": ["401", "402"]})
    frame.to_csv(folder / "t.csv", index=False)
    frame.to_parquet(folder / "t.parquet")
    assert read(folder / "t.csv") == read(folder / "t.parquet") == PLAIN


def test_mimic_in_a_folder_with_brackets(tmp_path):
    """Neither the table of another folder is read, nor the folder's name taken for a column."""
    for folder, code in (("mimic v", "428"), ("mimic [v]", "401")):
        (tmp_path / folder / "subject_id=9").mkdir(parents=True)
        place = tmp_path / folder / "subject_id=9"
        put(place / "ADMISSIONS.csv", "subject_id,hadm_id,admittime\n1,10,2150-01-01\n")
        (place / "DIAGNOSES_ICD.csv").mkdir()  # as some programs unpack it
        nested = place / "DIAGNOSES_ICD.csv" / "DIAGNOSES_ICD.csv"
        put(nested, f"subject_id,hadm_id,seq_num,icd9_code,\n1,10,1,{code},\r\n")
    matrix = datasets.load("mimic3", tmp_path / "mimic [v]" / "subject_id=9").matrix
    assert (matrix.patients.tolist(), matrix.codes.tolist()) == ([1], ["401"])


def test_what_is_no_file_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe.csv")
    assert "is a device or a pipe" in said(tmp_path / "pipe.csv")
    (tmp_path / "zero.csv").symlink_to("/dev/zero")
    assert "is a device or a pipe" in said(tmp_path / "zero.csv")
    (tmp_path / "pipe.parquet").symlink_to(tmp_path / "pipe.csv")
    assert "is a device or a pipe" in said(tmp_path / "pipe.parquet")
    for reader in (CodeMatrix.read, patients.Patients.read, interchange.read):
        with pytest.raises(InputError, match="is a device or a pipe"):
            reader(tmp_path / "pipe.parquet")
        with pytest.raises(InputError, match="no home folder is known"):
            reader("~nobody-of-this-name/x.parquet")


# The zip file of Diabetes 130-US ------------------------------------------------------------------------------------

DIABETES = "encounter_id,patient_nbr,diag_1,diag_2,diag_3\n" + "".join(
    f"{n},{n},250.83,?,?\n" for n in range(200)
)


def zipped(path, method=zipfile.ZIP_DEFLATED, content=DIABETES):
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("dataset_diabetes/diabetic_data.csv", content)
    return bytearray(path.read_bytes())


def patched(path, data, local, central, value):
    """The zip file with two bytes put into both its headers."""
    data[local : local + 2] = data[(at := data.index(b"PK\x01\x02") + central) : at + 2] = value
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("value", "words"), [(1, "locked by a password"), (None, "cannot be read here")]
)
def test_zip_files_that_cannot_be_unpacked(tmp_path, value, words):
    path = tmp_path / "diabetic_data.zip"
    data = zipped(path)
    patched(path, data, 6, 8, b"\x01\x00") if value else patched(path, data, 8, 10, b"\x63\x00")
    with pytest.raises(InputError, match=words) as refusal:
        datasets.load("diabetes130", path)
    assert str(refusal.value).startswith(str(path))


def test_zip_files_that_would_not_end(tmp_path):
    path = tmp_path / "diabetic_data.zip"
    data = zipped(path)
    at = data.index(b"PK\x01\x02") + 24
    data[at : at + 4] = (2**31).to_bytes(4, "little")
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"would have 2,147,483,648 bytes"):
        datasets.load("diabetes130", path)


def test_zip_files_lead_nowhere_else(tmp_path):
    """A name in the zip file that is a path of the machine is a name in the zip file."""
    outside = put(tmp_path / "diabetic_data.csv", DIABETES.replace("250.83", "401"))
    for name in (str(outside), "../diabetic_data.csv"):
        with zipfile.ZipFile(tmp_path / "z.zip", "w") as archive:
            archive.writestr(name, DIABETES)
        assert datasets.load("diabetes130", tmp_path / "z.zip").matrix.codes.tolist() == ["250"]


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_zip_files_name_themselves(tmp_path, method, monkeypatch):
    """Nothing is unpacked beside them; a damaged row is named with the zip file."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "absent"))
    path = tmp_path / "diabetic_data.zip"
    zipped(path, method)
    assert datasets.load("diabetes130", path).matrix.shape == (200, 1)
    data = zipped(path, method, DIABETES + "7,x\n")
    with pytest.raises(
        InputError, match=r"diabetic_data\.zip/dataset_diabetes/diabetic_data\.csv, row 201: has 2"
    ):
        datasets.load("diabetes130", path)
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(InputError, match=r"diabetic_data\.zip: the zip file is damaged"):
        datasets.load("diabetes130", path)


# Files of ours, damaged ---------------------------------------------------------------------------------------------

OURS = {"kind": "count", "codes": ["a", "b"], "titles": ["", ""], "patients": 3}
CELLS = {"patient_id": [0, 1], "code": ["a", "b"], "count": [1, 2]}


def ours(path, metadata, columns):
    raw = metadata if isinstance(metadata, bytes) else json.dumps(metadata).encode()
    pq.write_table(pa.table(columns).replace_schema_metadata({b"scoehr": raw}), path)
    return path


def test_undamaged_file_of_ours(tmp_path):
    assert read(ours(tmp_path / "own.parquet", OURS, CELLS)) == {("0", "a"): 1, ("1", "b"): 2}


@pytest.mark.parametrize(
    "change",
    [
        *({"kind": value} for value in ("signed", "ternary", ["count"], None)),
        *(
            {"patients": value}
            for value in (300_000_000, -1, True, None, "3", 2.0, [0, 0, 1], [0, "1"], ["0", "1"])
        ),
        *({"patients": value} for value in ([0, 1, 2**70], [0], [None, 1], {"0": 1})),
        *(
            {"codes": value}
            for value in (["a", "a"], [1, 2], None, ["a"], ["a", "c"], [["a"], "b"], ["a", None])
        ),
        *({"titles": value} for value in ([""], None, [None, ""], "ab")),
    ],
)
def test_metadata_are_checked(tmp_path, change):
    said(ours(tmp_path / "own.parquet", OURS | change, CELLS))
    without = {name: value for name, value in OURS.items() if name not in change}
    said(ours(tmp_path / "own.parquet", without, CELLS))


@pytest.mark.parametrize("raw", [b"", b"{", b"\xff\xfe", b"[1]", b"[" * 100_000, b"3", b"null"])
def test_metadata_that_are_no_json(tmp_path, raw):
    said(ours(tmp_path / "own.parquet", raw, CELLS))


@pytest.mark.parametrize(
    "change",
    [
        *(
            {"count": value}
            for value in ([2**32 + 5, 1], [1.7, 1.0], [-1, 1], [None, 1], ["1", "2"], [[1], [2]])
        ),
        *({"patient_id": value} for value in ([0.0, 1.0], ["0", "1"], [None, 1], [0, 7])),
        *({"code": value} for value in ([["a"], ["b"]], ["a", None], [1, 2], ["a", "c"])),
        {"patient_id": [0, 0], "code": ["a", "a"]},
    ],
)
def test_cells_of_files_of_ours_are_checked(tmp_path, change):
    said(ours(tmp_path / "own.parquet", OURS, CELLS | change))


@pytest.mark.parametrize(
    "visit", [{"visits": None}, {"visits": [10**12, 1]}, {"visits": ["1"]}, {"visits": [1]}, {}]
)
def test_metadata_of_visits_are_checked(tmp_path, visit):
    raw = json.dumps({"codes": ["a"], "titles": [""], "patients": 1} | visit).encode()
    table = pa.table(
        {"patient_id": [0], "visit": [0 if visit.get("visits") != [1] else 1], "code": ["a"]}
    )
    pq.write_table(table.replace_schema_metadata({b"scoehr.visits": raw}), tmp_path / "own.parquet")
    with pytest.raises(InputError, match=r"own\.parquet: "):
        patients.load("table", tmp_path / "own.parquet")


# Python -------------------------------------------------------------------------------------------------------------


def long(**columns):
    return lambda: CodeMatrix.from_long(
        pd.DataFrame({"patient_id": [1, 2], "code": ["401", "402"]} | columns)
    )


def made_of_records(patient, visits):
    return lambda: CodeMatrix.from_records([{"patient_id": patient, "visits": visits}])


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (long(code=[428.0, 250.0]), "row 1: code 428.0 is a decimal number"),
        (long(code=["401", "nan"]), "row 2: a code is 'nan', which means missing"),
        (long(code=["401", "401;402"]), "row 2: code '401;402' holds several codes"),
        (long(code=[["401"], ["402"]]), "row 1: .* is a list"),
        (long(patient_id=[1.0, 2.0]), "row 1: patient 1.0 is a decimal number"),
        (long(patient_id=[1.0, np.nan]), "column 'patient_id', row 2: is empty"),
        (long(count=[2**32 + 5, 1]), "'4294967301' is not a whole number"),
        (long(count=[1.7, 1]), "'1.7' is not a whole number"),
        (long(count=pd.to_datetime(["2020-01-01"] * 2)), "is not a whole number"),
        (made_of_records("1", ["4019", "25000"]), "record 1, visits: not lists of codes"),
        (made_of_records("1", "4019"), "record 1, visits: not lists of codes"),
        (made_of_records("1", [["4019", None]]), "code is missing"),
        (made_of_records("1", [[428.0]]), "is a decimal number"),
        (made_of_records(None, [["4019"]]), "patient is missing"),
        (lambda: CodeMatrix.from_records([["4019"]]), "record 1: has no patient_id and visits"),
        (lambda: CodeMatrix.from_array([[1]], ["a\rb"]), "holds a line end"),
        (lambda: CodeMatrix(np.array([[2**32 + 5]]), [1], ["a"], [""]), "a count is 4294967301"),
        (lambda: CodeMatrix(np.array([[1.7]]), [1], ["a"], [""]), "a count is 1.7"),
    ],
)
def test_python_objects_are_checked_as_tables_are(make, words):
    with pytest.raises(InputError, match=words) as refusal:
        make()
    assert "\n" not in str(refusal.value)


def test_validation_with_a_code_that_training_lacks(tmp_path):
    table = long_table(tmp_path / "train.csv", patients=60, codes=6)
    validation = put(tmp_path / "validation.csv", LONG + "1,400\n2,499\n")
    command = ["fit", table, "--out", tmp_path / "model", "--preset", "copula", "--validation"]
    result = inside(*command, validation)
    assert result.returncode == 0, result.stderr
    assert (
        f"warning: {validation}: codes that training lacks are left out: 499 (1 in all)"
        in result.stderr
    )
    nothing = put(tmp_path / "other.csv", LONG + "1,499\n")
    result = inside(*command, nothing)
    assert result.returncode == 2 and f"{nothing}: has no code that training has" in result.stderr


def test_restricted_to_other_codes():
    matrix = CodeMatrix.from_array([[2, 0, 1], [0, 0, 3]], ["a", "b", "c"], ["A", "B", "C"])
    kept, lost = matrix.restrict(["c", "d"])
    assert (kept.dense().tolist(), kept.titles.tolist(), lost.tolist()) == (
        [[1, 0], [3, 0]],
        ["C", ""],
        ["a"],
    )


# Size ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", [".csv", ".parquet"])
def test_wide_tables_of_twenty_thousand_columns(tmp_path, ending):
    """Seconds of a processor, where a look-up for each pair of columns takes minutes."""
    counts = np.random.default_rng(0).random((60, 20_000)) < 0.01
    frame = pd.DataFrame(counts.astype(np.uint8), columns=[f"C{code}" for code in range(20_000)])
    frame.insert(0, "patient_id", np.arange(60))
    path = tmp_path / f"own{ending}"
    frame.to_csv(path, index=False) if ending == ".csv" else frame.to_parquet(path)
    begin = time.process_time()
    matrix = datasets.load("table", path).matrix
    assert time.process_time() - begin < 20
    assert matrix.counts.nnz == counts.sum()
    assert matrix.counts[7, matrix.codes.tolist().index("C123")] == counts[7, 123]


# Whatever stands in it ----------------------------------------------------------------------------------------------

BASES = [
    "patient_id,code,count\n1,401,2\n2,428.0,1\n2,V30,1\n3,,1\n10,E11.9,3\n",
    'patient_id,code,note\n"a","401","x, y"\n"b","402","z ""q"""\n"a","401",""\n',
    "patient_id,401,402,V30\n1,0,2,\n2,1,0,1\n3,,,3\n",
    "\ufeffPatient_ID,Code\r\n7,401\r\n007,401\r\n8,x y\r\n",
]
PIECES = [
    b",",
    b'"',
    b"\n",
    b"\r",
    b"\r\n",
    b"\0",
    b"\xff",
    b"\xef\xbb\xbf",
    b"NaN",
    b";",
    b"-",
    b"1e3",
    b" ",
    b"\t",
]
SMALL = [b" ", b"\t", b"NaN", b"0", b"V", b"\xc3\xa9", b".", b"'", b"\xc2\xa0", b"7", b"", b""]
PIECES += [b"patient_id", b"code", b"count", b"1,401,1\n", b"'", b"0", b"[", b"\xc3\xa9", b"."]


def spoilt(rng, text):
    """The table with a few pieces cut out, put in, doubled or exchanged."""
    data = text.encode()
    for _ in range(rng.randint(1, 2)):
        start = rng.randrange(len(data) + 1)
        end = min(len(data), start + rng.choice([0, 0, 0, 1, 1, 8]))
        lines = data.splitlines(keepends=True)
        piece = rng.choice([rng.choice(SMALL), rng.choice(SMALL), rng.choice(PIECES), lines[-1]])
        data = data + piece if piece == lines[-1] else data[:start] + piece + data[end:]
    return data


def slow(data):
    """What a plain reader, written apart, finds in the bytes: how often each patient has each code."""
    text = data.decode("utf-8")
    rows = [row for row in csv.reader(io.StringIO(text, newline=""), strict=True) if row]
    rows = rows[next(n for n, row in enumerate(rows) if "".join(row).strip().strip("\ufeff")) :]
    names = [clean(name).casefold() for name in rows[0]]
    if len(rows[1]) == len(names) + 1:
        names.append("")
    found = Counter()
    for row in rows[1:]:
        cells = dict(zip(names, map(clean, row), strict=False))
        if "code" in names:
            pairs = [(cells["code"], cells.get("count", "1"))]
        else:
            pairs = [
                (name, cells[name.casefold()])
                for name in map(clean, rows[0])
                if name and name.casefold() != "patient_id"
            ]
        for code, count in pairs:
            named = any(letter.isalnum() for letter in code) and not code.casefold().startswith(
                "unnamed"
            )
            if named and code.casefold() not in MISSING:
                found[cells["patient_id"], code] += int(float(count or "0"))
    return {key: count for key, count in found.items() if count}


def clean(cell):
    return cell.strip().strip("\ufeff").strip()


def check(path, data):
    """Refused in one line that names the file, or read as the plain reader reads it; whether it was read."""
    put(path, data)
    try:
        found = read(path)
    except InputError as error:
        assert str(error).startswith(str(path)) and len(str(error).splitlines()) == 1
        assert "Error" not in str(error), error
        return False
    assert found == slow(data)
    return True


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from(BASES))
def test_spoilt_tables(tmp_path_factory, seed, text):
    check(tmp_path_factory.mktemp("spoilt") / "own.csv", spoilt(random.Random(seed), text))


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_two_thousand_spoilt_tables(tmp_path):
    rng = random.Random(0)
    loaded = sum(
        check(tmp_path / "own.csv", spoilt(rng, BASES[n % len(BASES)])) for n in range(2000)
    )
    assert 300 < loaded < 1600  # both happen


@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("ending", [".csv.gz", ".parquet", ".zip"])
def test_a_thousand_spoilt_binary_files(tmp_path, ending):
    """Bytes changed, cut and doubled in gz, Parquet (plain and ours) and zip files: never more than one line."""
    path = tmp_path / f"own{ending}"
    name = "diabetes130" if ending == ".zip" else "table"
    wholes = [gzip.compress(BASES[0].encode())] if ending == ".csv.gz" else []
    if ending == ".parquet":
        pd.read_csv(io.StringIO(BASES[2])).to_parquet(path)
        wholes = [path.read_bytes(), ours(path, OURS, CELLS).read_bytes()]
    if ending == ".zip":
        wholes = [zipped(path), zipped(path, zipfile.ZIP_STORED)]
    rng = random.Random(1)
    for number in range(1000):
        data = bytearray(wholes[number % len(wholes)])
        for _ in range(rng.randint(1, 4)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        if rng.random() < 0.2:
            del data[rng.randrange(len(data)) :]
        put(path, bytes(data))
        try:
            datasets.load(name, path)
        except InputError as error:
            assert str(error).startswith(str(path)) and len(str(error).splitlines()) == 1, error
