"""ICU stays: golden rows of the demo, units, both sources, broken input, and that nothing leaks."""

import gzip
import os
import shutil
import subprocess
import tempfile
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from companions.mortality_attack import extract, features, protocol, queries, simulate, tune
from companions.mortality_attack.protocol import CORRECTED, REPORTED, Protocol
from companions.mortality_attack.queries import HOURS
from scoehr.files import InputError
from scoehr.metrics.utility import area

NAMES = features.names()


@pytest.fixture(scope="module")
def demo(shared_data):
    return extract.load(str(shared_data / "mimic3-demo"))


@pytest.fixture(scope="module")
def challenge(shared_data):
    return extract.load(str(shared_data / "physionet2012"))


@pytest.fixture(scope="module")
def stays():
    return simulate.simulate(300, seed=3).stays


def values(stays, stay, feature):
    """Hour and value of one series of one stay."""
    rows = (stays.ids[stays.events["stay"]] == stay) & (
        stays.events["feature"] == NAMES.index(feature)
    )
    return dict(
        zip(stays.events["hour"][rows].tolist(), stays.events["value"][rows].tolist(), strict=True)
    )


@cache
def table_of(path):
    return pd.read_csv(path, parse_dates=["charttime"], low_memory=False)


def by_hand(folder, stay, table, items, low, high, change=lambda value: value):
    """The same by pandas, straight from the tables: hourly means of plausible values inside the window."""
    icu = (
        pd.read_csv(folder / "ICUSTAYS.csv.gz", parse_dates=["intime"])
        .set_index("icustay_id")
        .loc[stay]
    )
    key, wanted = ("icustay_id", stay) if table == "CHARTEVENTS" else ("hadm_id", icu.hadm_id)
    frame = table_of(folder / f"{table}.csv.gz")
    frame = frame[(frame[key] == wanted) & frame["itemid"].isin(items)]
    frame = frame[(frame["valuenum"] > low) & (frame["valuenum"] < high)]
    if "error" in frame:
        frame = frame[frame["error"] != 1]
    hour = np.floor((frame["charttime"] - icu.intime).dt.total_seconds() / 3600).astype(int)
    inside = hour.between(0, HOURS - 1)
    return change(frame["valuenum"])[inside].groupby(hour[inside]).mean().round(4).to_dict()


# Extraction ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("feature", "table", "items", "low", "high"),
    [
        ("heartrate", "CHARTEVENTS", [211, 220045], 0, 300),
        ("spo2", "CHARTEVENTS", [646, 220277], 0, 100.001),
        ("creatinine", "LABEVENTS", [50912], 0, 150),
    ],
)
def test_golden_rows_of_the_demo(demo, shared_data, feature, table, items, low, high):
    for stay in demo.ids[[0, 20, 66]]:
        found = {
            hour: value for hour, value in values(demo, stay, feature).items() if 0 <= hour < HOURS
        }
        truth = by_hand(shared_data / "mimic3-demo", stay, table, items, low, high)
        assert found == pytest.approx(truth, abs=1e-3)
        assert truth


def test_fahrenheit_becomes_celsius(demo, shared_data):
    checked = 0
    for stay in demo.ids:
        folder = shared_data / "mimic3-demo"
        if checked == 2:
            break
        warm = by_hand(
            folder, stay, "CHARTEVENTS", [678, 223761], 70, 120, lambda value: (value - 32) / 1.8
        )
        cold = by_hand(folder, stay, "CHARTEVENTS", [676, 223762], 10, 50)
        if warm and not cold:
            found = {
                hour: v for hour, v in values(demo, stay, "tempc").items() if 0 <= hour < HOURS
            }
            assert found == pytest.approx(warm, abs=1e-3)
            checked += 1
    assert checked == 2


def test_the_demo_has_all_nineteen_series_of_adults(demo):
    assert demo.available.sum() == 19
    assert len(demo) == demo.account["stays kept"] == 67
    assert demo.account["ICU stays"] == 136
    assert (demo.static[:, 0] >= 18).all() and demo.static[:, 0].max() <= 90
    lost = sum(number for reason, number in demo.account.items() if reason.startswith("left out"))
    assert lost == demo.account["ICU stays"] - len(demo)


def test_both_systems_of_the_hospital_are_read(demo, shared_data):
    icu = pd.read_csv(shared_data / "mimic3-demo" / "ICUSTAYS.csv.gz").set_index("icustay_id")[
        "dbsource"
    ]
    rates = pd.Series(
        [len(values(demo, stay, "heartrate")) for stay in demo.ids],
        index=icu.loc[demo.ids].to_numpy(),
    )
    assert (rates.groupby(level=0).median() > 40).all() and {"carevue", "metavision"} <= set(
        rates.index
    )


def test_upper_case_quoted_and_unpacked_tables_give_the_same(demo, shared_data, tmp_path):
    for table in extract.SCHEMA:
        with gzip.open(shared_data / "mimic3-demo" / f"{table}.csv.gz", "rt") as file:
            head, rest = file.readline(), file.read()
        quoted = ",".join(f'"{name.upper()}"' for name in head.strip().split(","))
        (tmp_path / f"{table}.csv").write_text(
            quoted + "\r\n" + rest.replace("\n", "\r\n"), newline=""
        )
    again = extract.load(str(tmp_path))
    assert again.account == demo.account
    for name, column in demo.events.items():
        assert np.array_equal(again.events[name], column)


def test_a_challenge_set_in_text_files_gives_what_the_long_table_gives(
    challenge, shared_data, tmp_path
):
    long = pd.read_parquet(shared_data / "physionet2012" / "set-a.parquet")
    some = challenge.ids[:40]
    for stay in some:
        rows = long[long["record_id"] == stay]
        lines = ["Time,Parameter,Value", f"00:00,RecordID,{stay}"]
        lines += [
            f"{m // 60:02}:{m % 60:02},{p},{v:g}"
            for m, p, v in rows[["minutes", "parameter", "value"]].to_numpy()
        ]
        (tmp_path / f"{stay}.txt").write_text("\r\n".join(lines) + "\r\n")
    found = extract.load(str(tmp_path), shared_data / "physionet2012" / "outcomes-a.csv")
    part = challenge.take(np.arange(40))
    assert np.array_equal(found.ids, some) and np.array_equal(found.died, part.died)
    for name in ("stay", "hour", "feature"):
        assert np.array_equal(found.events[name], part.events[name])
    assert np.allclose(found.events["value"], part.events["value"], rtol=1e-4)
    assert np.array_equal(found.static, part.static, equal_nan=True)


def test_the_challenge_as_published(challenge):
    assert (len(challenge), int(challenge.died.sum())) == (4000, 554)
    absent = [NAMES[place] for place in np.flatnonzero(~challenge.available)]
    assert absent == ["calcium", "spo2"]
    ph = challenge.events["value"][challenge.events["feature"] == NAMES.index("ph")]
    assert ph.min() > 6.5 and ph.max() < 8.1  # 735 has become 7.35
    first = values(challenge, 132539, "heartrate")
    # 73 and 77 in the first hour
    assert first[0] == 75 and challenge.static[0, 0] == 54


def record(folder, name, *rows):
    (folder / name).write_text("\n".join(["Time,Parameter,Value", *rows, ""]))


def long_set(folder, rows, outcomes):
    """A set in long form, with its outcomes beside it."""
    columns = ["record_id", "minutes", "parameter", "value"]
    pd.DataFrame(rows, columns=columns).to_parquet(folder / "set-a.parquet")
    (folder / "Outcomes-a.txt").write_text("\n".join(["RecordID,In-hospital_death", *outcomes, ""]))
    return str(folder / "set-a.parquet")


@pytest.mark.parametrize(
    "first", ["", "Time,Parameter,Value\n", "Time,Parameter,Value\n00:00,RecordID,1\n"]
)
def test_an_empty_record_is_named_wherever_it_stands(tmp_path, first):
    (tmp_path / "1.txt").write_text(first)
    record(tmp_path, "2.txt", "00:00,RecordID,2", "00:07,HR,73")
    record(tmp_path, "3.txt")
    (tmp_path / "Outcomes-a.txt").write_text("RecordID,In-hospital_death\n1,0\n2,1\n3,0\n")
    found = extract.load(str(tmp_path))
    assert found.ids.tolist() == [2] and found.died.tolist() == [True]
    assert (
        found.account["records that are empty"] == "1, 3"
        and found.account["outcomes without a record"] == 2
    )


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ("00:00,RecordID,999999", "2.txt, row 2: RecordID is 999999; name the file by its record"),
        ("-01:30,HR,80", "2.txt, row 2: '-01:30' is not a time"),
        ("00:75,HR,80", "2.txt, row 2: '00:75' is not a time"),
        ("00:05,HR,", "2.txt, row 2: the value of HR is empty, no number"),
        ("00:05,HR,inf", "2.txt, row 2: the value of HR is 'inf', no number"),
        ("00:00,Gender,2", "2.txt, row 2: Gender is 2; write 0 or 1"),
        ("00:00,ICUType,7", "2.txt, row 2: ICUType is 7; write 1 to 4"),
    ],
)
def test_a_row_of_a_record_is_refused_with_its_place(tmp_path, row, says):
    record(tmp_path, "1.txt", "00:07,HR,73")
    record(tmp_path, "2.txt", "00:07,HR,73", row)
    (tmp_path / "Outcomes-a.txt").write_text("RecordID,In-hospital_death\n1,0\n2,1\n")
    with pytest.raises(InputError) as refusal:
        extract.load(str(tmp_path))
    assert str(refusal.value).startswith(str(tmp_path / says.split(",")[0])) and says in str(
        refusal.value
    )


def test_a_record_without_its_header_is_read(tmp_path):
    record(tmp_path, "1.txt", "00:00,RecordID,1", "00:07,HR,73")
    (tmp_path / "2.txt").write_text("00:07,HR,91\n01:00,HR,92\n")
    (tmp_path / "Outcomes-a.txt").write_text("RecordID,In-hospital_death\n1,0\n2,1\n")
    assert values(extract.load(str(tmp_path)), 2, "heartrate") == {0: 91, 1: 92}


def test_two_files_of_one_record_are_refused(tmp_path):
    record(tmp_path, "1.txt", "00:07,HR,73")
    (tmp_path / "1.txt.gz").write_bytes(gzip.compress((tmp_path / "1.txt").read_bytes()))
    (tmp_path / "Outcomes-a.txt").write_text("RecordID,In-hospital_death\n1,0\n")
    with pytest.raises(InputError, match=r"two files of one record"):
        extract.load(str(tmp_path))


def test_folders_named_like_patterns_or_columns_are_folders(tmp_path):
    for name, rate in (("set-a[1]", 73), ("set-a1", 99), ("value=7", 74)):
        (tmp_path / name).mkdir()
        record(tmp_path / name, "1.txt", f"00:07,HR,{rate}")
        (tmp_path / name / "Outcomes-a.txt").write_text("RecordID,In-hospital_death\n1,0\n")
    for name, rate in (("set-a[1]", 73), ("value=7", 74)):
        assert values(extract.load(str(tmp_path / name)), 1, "heartrate") == {0: rate}


def test_whole_numbers_that_were_floats_are_read(tmp_path):
    rows = [(1.0, 0.0, "HR", 80.0), (1.0, 75.0, "HR", 90.0), (2.0, 5.0, "HR", 70.0)]
    found = extract.load(long_set(tmp_path, rows, ["1,1.0", "2,0.0"]))
    assert values(found, 1, "heartrate") == {0: 80, 1: 90} and found.died.tolist() == [True, False]
    with pytest.raises(InputError, match=r"column minutes, row 2: '7\.5' is not a whole number"):
        extract.load(long_set(tmp_path, [rows[0], (1.0, 7.5, "HR", 80.0)], ["1,1.0"]))


def test_labels_may_be_written_in_any_usual_way(tmp_path):
    rows = [(1, 0, "HR", 80.0), (2, 5, "HR", 70.0)]
    for true, false in (("1.0", "0.0"), ("True", "False"), ("t", "f")):
        found = extract.load(long_set(tmp_path, rows, [f"1,{true}", f"2,{false}"]))
        assert found.died.tolist() == [True, False]
    with pytest.raises(InputError, match=r"column In-hospital_death, row 2: is empty"):
        extract.load(long_set(tmp_path, rows, ["1,1", "2,"]))


def test_a_record_id_of_another_record_is_refused_in_long_form_too(tmp_path):
    rows = [(1, 0, "RecordID", 1.0), (1, 0, "HR", 80.0), (2, 0, "RecordID", 1.0)]
    with pytest.raises(InputError, match=r"set-a\.parquet, row 3: RecordID is 1\.0"):
        extract.load(long_set(tmp_path, rows, ["1,1", "2,0"]))
    assert len(extract.load(long_set(tmp_path, rows[:2], ["1,1"]))) == 1


def test_minutes_before_the_stay_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"set-a\.parquet, row 2: -5 minutes are before the stay"):
        extract.load(long_set(tmp_path, [(1, 0, "HR", 80.0), (1, -5, "HR", 80.0)], ["1,0"]))


def test_rows_that_stand_there_again_count_once(tmp_path):
    rows = [(1, 0, "HR", 80.0), (1, 10, "HR", 90.0), (1, 0, "HR", 80.0), (1, 0, "HR", 80.0)]
    found = extract.load(long_set(tmp_path, rows, ["1,0"]))
    assert (
        values(found, 1, "heartrate") == {0: 85}
        and found.account["rows that stand there again"] == 2
    )


def test_records_without_a_value_in_the_window_are_counted_and_a_set_of_them_is_refused(tmp_path):
    late, other = (1, 49 * 60, "HR", 80.0), (2, 5, "Shoe size", 43.0)
    with pytest.raises(InputError, match="no record has a known parameter in its first 48 hours"):
        extract.load(long_set(tmp_path, [late, other], ["1,0", "2,1"]))
    account = extract.load(
        long_set(tmp_path, [late, other, (3, 5, "HR", 70.0)], ["1,0", "2,1", "3,0"])
    ).account
    assert account["records without one in the first 48 hours"] == 2
    assert account["records without a value of these features"] == 1


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (
            lambda folder: (folder / "1.txt").write_text("Time,Parameter,Value\n00:00,HR,many\n"),
            "many",
        ),
        (
            lambda folder: (folder / "1.txt").write_text("Time,Parameter,Value\nsoon,HR,80\n"),
            "soon",
        ),
        (
            lambda folder: (folder / "1.txt").write_text("hour,what\n1,2\n"),
            "Time, Parameter, Value",
        ),
        (
            lambda folder: (folder / "2.txt").write_text("Time,Parameter,Value\n00:00,HR,80\n"),
            "record 2",
        ),
        (
            lambda folder: (folder / "Outcomes-a.txt").write_text(
                "RecordID,In-hospital_death\n1,7\n"
            ),
            "neither 0 nor 1",
        ),
        (lambda folder: (folder / "Outcomes-a.txt").unlink(), "outcomes"),
        (lambda folder: (folder / "1.txt").unlink(), "132539.txt"),
    ],
)
def test_broken_sets_are_refused_in_one_sentence(tmp_path, spoil, words):
    (tmp_path / "1.txt").write_text("Time,Parameter,Value\n00:00,HR,80\n")
    (tmp_path / "Outcomes-a.txt").write_text("RecordID,In-hospital_death\n1,0\n")
    assert len(extract.load(str(tmp_path))) == 1
    spoil(tmp_path)
    with pytest.raises(InputError, match=words):
        extract.load(str(tmp_path))


def small(folder, **tables):
    """MIMIC-III of three stays, with these tables put in place of its own."""
    rows = {
        "ICUSTAYS": ["icustay_id,subject_id,hadm_id,intime,outtime,first_careunit"]
        + [
            f"{1000 + n},{n},{100 + n},2150-01-01 01:00:00,2150-01-05 00:00:00,MICU"
            for n in (1, 2, 3)
        ],
        "ADMISSIONS": [
            "subject_id,hadm_id,admittime,dischtime,hospital_expire_flag,has_chartevents_data"
        ]
        + [
            f"{n},{100 + n},2150-01-01 00:00:00,2150-01-09 00:00:00,{int(n == 1)},1"
            for n in (1, 2, 3)
        ],
        "PATIENTS": ["subject_id,gender,dob"] + [f"{n},F,2090-01-01 00:00:00" for n in (1, 2, 3)],
        "LABEVENTS": ["row_id,subject_id,hadm_id,itemid,charttime,valuenum"]
        + [f"{n},{n},{100 + n},50912,2150-01-01 06:00:00,1.1" for n in (1, 2, 3)],
        "CHARTEVENTS": ["row_id,icustay_id,itemid,charttime,valuenum,error"]
        + [
            f"{10 * n + h},{1000 + n},220045,2150-01-01 0{h}:00:00,8{h},0"
            for n in (1, 2, 3)
            for h in (3, 4)
        ],
    }
    folder.mkdir(exist_ok=True)
    for name, lines in rows.items():
        (folder / f"{name}.csv").write_text(
            "\n".join(tables.get(name, lambda lines: lines)(lines)) + "\n"
        )
    return str(folder)


def swapped(row, old, new):
    """Rows in which this row (from 1 under the header) has ``new`` for ``old``."""
    return lambda lines: [
        line.replace(old, new) if n == row else line for n, line in enumerate(lines)
    ]


@pytest.mark.parametrize(
    ("true", "false"),
    [("1", "0"), ("True", "False"), ("TRUE", "FALSE"), ("1.0", "0.0"), ("t", "f")],
)
def test_a_flag_may_be_written_in_any_usual_way(tmp_path, true, false):
    def written(lines):
        return [lines[0]] + [
            line.rsplit(",", 2)[0] + f",{true if n == 0 else false},1"
            for n, line in enumerate(lines[1:])
        ]

    found = extract.load(small(tmp_path / "t", ADMISSIONS=written))
    assert found.died.tolist() == [True, False, False] and found.account["hourly values"] == 9


@pytest.mark.parametrize(
    ("table", "row", "old", "new", "says"),
    [
        ("ADMISSIONS", 2, ",0,1", ",,1", "column hospital_expire_flag, row 2: is empty"),
        ("ADMISSIONS", 2, ",0,1", ",2,1", "column hospital_expire_flag, row 2: '2' is neither 0 nor 1"),
        ("ADMISSIONS", 2, ",0,1", ",died,1", "column hospital_expire_flag, row 2: 'died' is neither 0 nor 1"),
        ("ADMISSIONS", 2, ",0,1", ",0,", "column has_chartevents_data, row 2: is empty"),
        ("ADMISSIONS", 3, "2150-01-09", "09.01.2150", "column dischtime, row 3: '09.01.2150 00:00:00' is not a date"),
        ("ADMISSIONS", 3, "3,103", "3,102", "column hadm_id, row 3: 102 has a row already"),
        ("ADMISSIONS", 3, "3,103", "9,103", "column subject_id, row 3: admission 103 is not of patient 3"),
        ("ADMISSIONS", 3, "3,103", "3,109", "ICUSTAYS.csv, column hadm_id, row 3: 103 is not in ADMISSIONS"),
        ("PATIENTS", 2, "2090-01-01 00:00:00", "01/01/2090", "column dob, row 2: '01/01/2090' is not a date"),
        ("PATIENTS", 2, "2,F", "1,F", "column subject_id, row 2: 1 has a row already"),
        ("PATIENTS", 2, "2,F", "7,F", "ICUSTAYS.csv, column subject_id, row 2: 2 is not in PATIENTS"),
        ("ICUSTAYS", 2, "2150-01-01 01:00:00", "01/01/2150 01:00", "column intime, row 2: '01/01/2150 01:00' is not a"),
        ("ICUSTAYS", 2, "1002,", "1001,", "column icustay_id, row 2: 1001 has a row already"),
        ("ICUSTAYS", 2, "1002,", "ICU2,", "column icustay_id, row 2: 'ICU2' is not a whole number"),
        ("LABEVENTS", 2, "2150-01-01", "01/01/2150", "column charttime, row 2: '01/01/2150 06:00:00' is not a date"),
        ("LABEVENTS", 2, "50912", "creatinine", "column itemid, row 2: 'creatinine' is not a whole number"),
        ("LABEVENTS", 2, "1.1", "high", "column valuenum, row 2: 'high' is not a number"),
        ("CHARTEVENTS", 5, "2150-01-01", "01/01/2150", "column charttime, row 5: '01/01/2150 03:00:00' is not a date"),
        ("CHARTEVENTS", 5, "220045", "HR", "column itemid, row 5: 'HR' is not a whole number"),
        ("CHARTEVENTS", 5, "1003,", "ICU3,", "column icustay_id, row 5: 'ICU3' is not a whole number"),
        ("CHARTEVENTS", 5, ",83,", ",inf,", "column valuenum, row 5: 'inf' is not a number"),
        ("CHARTEVENTS", 5, ",0", ",no", "column error, row 5: 'no' is neither 0 nor 1"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_refused_and_never_dropped(tmp_path, table, row, old, new, says):
    assert old in Path(small(tmp_path / "t"), f"{table}.csv").read_text().splitlines()[row]
    with pytest.raises(InputError) as refusal:
        extract.load(small(tmp_path / "t", **{table: swapped(row, old, new)}))
    assert says in str(refusal.value) and f"{tmp_path / 't'}" in str(refusal.value)


@pytest.mark.parametrize("table", ["CHARTEVENTS", "LABEVENTS"])
def test_events_pasted_twice_are_refused(tmp_path, table):
    with pytest.raises(InputError, match="events stand in CHARTEVENTS or LABEVENTS again"):
        extract.load(small(tmp_path / "t", **{table: lambda lines: lines + lines[1:]}))


def test_a_missing_time_is_left_out_under_its_reason(tmp_path):
    source = small(tmp_path / "t", ICUSTAYS=swapped(2, "2150-01-05 00:00:00", ""))
    account = extract.load(source).account
    assert account["left out, with a time missing"] == 1 and account["stays kept"] == 2
    assert (
        account["left out, younger than 18 years"]
        == account["left out, in the ICU for less than a day"]
        == 0
    )


def test_a_mimic_table_without_a_column_is_refused(shared_data, tmp_path):
    for table in extract.SCHEMA:
        shutil.copy(shared_data / "mimic3-demo" / f"{table}.csv.gz", tmp_path)
    (tmp_path / "PATIENTS.csv.gz").unlink()
    (tmp_path / "PATIENTS.csv").write_text("subject_id,gender\n1,F\n")
    with pytest.raises(InputError, match="no column dob"):
        extract.load(str(tmp_path))


def test_the_queries_are_one_text_for_duckdb_and_postgresql():
    text = queries.stays() + queries.events()
    for dialect in ("qualify", "datediff", "try_cast", "::", "arg_min", "group by all"):
        assert dialect not in text


def test_a_server_that_is_not_there_is_refused():
    with pytest.raises(InputError, match=r"PostgreSQL|database"):
        extract.load("postgresql://nobody@127.0.0.1:1/none")


#: Types of the columns that the queries compute with; the others are text.
TYPES = {"valuenum": "double precision", "error": "integer", "has_chartevents_data": "integer"}
TYPES |= {"hospital_expire_flag": "integer", "dob": "timestamp"}
TYPES |= dict.fromkeys(["row_id", "subject_id", "hadm_id", "icustay_id", "itemid"], "bigint")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """The URL of a PostgreSQL server of its own, on a socket in a folder."""
    if not (shutil.which("initdb") and shutil.which("pg_ctl")):
        pytest.skip("PostgreSQL's initdb and pg_ctl are not on the path")
    pytest.importorskip("psycopg")
    folder = Path(tempfile.mkdtemp(prefix="pg-"))  # a short path, as sockets need
    as_user = []
    if os.geteuid() == 0:  # the server refuses to be root
        try:
            shutil.chown(folder, "postgres")
        except LookupError:
            pytest.skip("no user postgres, and the server refuses to be root")
        as_user = ["runuser", "-u", "postgres", "--"]

    def call(*command):
        subprocess.run([*as_user, *command], check=True, cwd="/", stdout=subprocess.DEVNULL)

    call("initdb", "-D", f"{folder}/data", "-A", "trust", "-U", "reader", "--no-sync")
    options = f"-k {folder} -c listen_addresses='' -c fsync=off"
    call("pg_ctl", "-D", f"{folder}/data", "-w", "-l", f"{folder}/log", "-o", options, "start")
    yield f"postgresql://reader@/postgres?host={folder}"
    call("pg_ctl", "-D", f"{folder}/data", "-w", "-m", "immediate", "stop")
    shutil.rmtree(folder, ignore_errors=True)


def filled(url, folder):
    """Copy MIMIC-III's tables from a folder into the schema of the server."""
    import psycopg

    with psycopg.connect(url) as connection:
        connection.execute("create schema mimiciii")
        connection.execute("set search_path to mimiciii")
        for name in ("ICUSTAYS", "ADMISSIONS", "PATIENTS", "LABEVENTS", "CHARTEVENTS"):
            path = next(folder.glob(f"{name}.csv*"))
            with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as lines:
                header = next(lines).decode().strip().replace('"', "").lower().split(",")
                kinds = (
                    TYPES.get(column, "timestamp" if column.endswith("time") else "text")
                    for column in header
                )
                columns = ", ".join(map(" ".join, zip(header, kinds, strict=True)))
                connection.execute(f"create table {name} ({columns})")
                with connection.cursor().copy(f"copy {name} from stdin csv") as copy:
                    while part := lines.read(1 << 20):
                        copy.write(part)


def test_a_server_gives_the_stays_that_the_files_give(server, demo, shared_data):
    filled(server, shared_data / "mimic3-demo")
    found = extract.load(server)
    assert found.account == demo.account
    for name in ("ids", "patients", "died", "static"):
        np.testing.assert_array_equal(getattr(found, name), getattr(demo, name))
    for name, column in demo.events.items():
        np.testing.assert_array_equal(found.events[name], column)


def test_a_server_keeps_the_trials_of_a_search(server):
    for number in (1, 2):
        study = tune.open_study("search", direction="minimize", storage=server)
        study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=1)
        assert len(study.trials) == number


def test_scores_of_severity_come_with_the_outcomes_and_minus_one_is_unknown(tmp_path, shared_data):
    table = pd.read_csv(shared_data / "physionet2012" / "outcomes-a.csv").set_index("RecordID")
    found = extract.load(str(shared_data / "physionet2012")).take(np.arange(100, 900))
    for name in ("SAPS-I", "SOFA"):
        there = table.loc[found.ids, name]
        assert (there < 0).any()
        np.testing.assert_array_equal(found.severity[name], there.where(there >= 0).to_numpy(float))
    rows = [(1, 0, "Age", "60"), (1, 60, "HR", "80"), (2, 60, "HR", "90")]
    assert not extract.load(long_set(tmp_path, rows, ["1,0", "2,1"])).severity


# The simulation -----------------------------------------------------------------------------------------------------


def test_no_ranking_beats_the_true_risk():
    made = simulate.simulate(3000, seed=1)
    died = made.stays.died
    best = area(made.risk[died], made.risk[~died])
    assert 0.85 < best < 0.95 and died.mean() == pytest.approx(made.risk.mean(), abs=0.02)
    values_, mask = made.stays.window()
    for place in range(19):
        known = mask[..., place].any(1)
        mean = values_[..., place].sum(1)[known] / mask[..., place].sum(1)[known]
        one = area(mean[died[known]], mean[~died[known]])
        assert max(one, 1 - one) < best


def test_the_same_seed_gives_the_same_stays():
    one, other = simulate.simulate(50, seed=2).stays, simulate.simulate(50, seed=2).stays
    assert all(np.array_equal(one.events[name], other.events[name]) for name in one.events)
    assert not np.array_equal(one.died, simulate.simulate(50, seed=4).stays.died)


# Leaks --------------------------------------------------------------------------------------------------------------


def changed(stays, where, by=5.0):
    """The same stays with other values where ``where`` says."""
    events = dict(stays.events)
    events["value"] = np.where(where, events["value"] * by + 1, events["value"]).astype(np.float32)
    return replace(stays, events=events)


@settings(max_examples=20, deadline=None)
@given(hour=st.integers(HOURS, 2 * HOURS - 1), by=st.floats(0.1, 50))
def test_nothing_after_the_cut_reaches_a_corrected_model(stays, hour, by):
    before = protocol.apply(stays, CORRECTED)
    after = protocol.apply(changed(stays, stays.events["hour"] >= hour, by), CORRECTED)
    for one, other in zip(before[:3], after[:3], strict=True):
        assert np.array_equal(one.values, other.values) and np.array_equal(one.mask, other.mask)
    assert np.array_equal(before.statistics.mean, after.statistics.mean)


def test_values_after_the_cut_do_reach_a_reported_model(stays):
    later = changed(stays, stays.events["hour"] >= HOURS)
    fixed = protocol.fit_statistics(stays, np.arange(len(stays)), REPORTED)
    only = Protocol(future_values=True)
    one, other = (protocol.prepare(some, fixed, only).values for some in (stays, later))
    assert not np.array_equal(one, other)


def test_statistics_see_training_stays_alone(stays):
    data = protocol.apply(stays, CORRECTED)
    held = np.isin(stays.ids, np.concatenate([data.validation.ids, data.test.ids]))
    again = protocol.apply(changed(stays, held[stays.events["stay"]]), CORRECTED)
    for name in ("low", "high", "median", "mean", "spread"):
        assert np.array_equal(getattr(data.statistics, name), getattr(again.statistics, name))
    assert np.array_equal(data.train.values, again.train.values)
    flawed = Protocol(statistics_on_all=True)
    assert not np.array_equal(protocol.apply(stays, flawed).statistics.mean, data.statistics.mean)


def test_no_patient_stands_in_two_parts_and_the_guard_sees_one_that_does(stays):
    data = protocol.apply(stays, CORRECTED)
    parts = [set(part.patients) for part in data[:3]]
    assert not (parts[0] & parts[1] or parts[0] & parts[2] or parts[1] & parts[2])
    assert sum(len(part) for part in data[:3]) == len(stays)
    protocol.refuse_leaks(data, CORRECTED)
    mixed = data._replace(test=replace(data.test, patients=data.train.patients[: len(data.test)]))
    with pytest.raises(AssertionError, match="patient"):
        protocol.refuse_leaks(mixed, CORRECTED)
    wide = protocol.fit_statistics(stays, np.arange(len(stays)), CORRECTED)
    with pytest.raises(AssertionError, match="statistics"):
        protocol.refuse_leaks(data._replace(statistics=wide), CORRECTED)


def test_folds_part_patients_and_choose_by_all(stays):
    data = protocol.apply(stays, CORRECTED)
    pairs = protocol.crossed(data, 5)
    for pair in pairs:
        assert not set(pair.train.patients) & set(pair.validation.patients)
        assert not set(pair.test.patients) & set(pair.train.patients)
    assert sorted(np.concatenate([pair.validation.ids for pair in pairs])) == sorted(
        np.concatenate([data.train.ids, data.validation.ids])
    )


def test_units_of_models_go_back_to_clinical_ones(stays):
    data = protocol.apply(stays, CORRECTED)
    raw = np.tile(np.linspace(1, 60, 7)[:, None], len(NAMES))
    back = data.statistics.clinical(data.statistics.normalise(raw))
    assert np.allclose(back, raw, rtol=1e-4)


def test_the_ladder_adds_one_flaw_a_step():
    steps = list(protocol.ladder().values())
    assert steps[0] == CORRECTED and steps[-1] == REPORTED
    assert [sum(asdict(step).values()) for step in steps] == list(range(len(steps)))


def test_reported_filling_is_that_of_pandas(stays):
    fixed = protocol.fit_statistics(stays, np.arange(len(stays)), Protocol(future_values=True))
    ready = protocol.prepare(stays, fixed, Protocol(future_values=True))
    place = NAMES.index("lactate")
    for stay in range(5):
        hours = values(stays, stay, "lactate")
        line = pd.Series(hours).reindex(range(2 * HOURS))
        scaled = (np.log1p(line) - fixed.low[place]) / (fixed.high[place] - fixed.low[place])
        want = scaled.interpolate("linear", limit_direction="both")[:HOURS]
        assert np.allclose(ready.values[stay, :, place], want, atol=1e-4)
