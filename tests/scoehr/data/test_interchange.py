"""Records of visits: equal to the matrix both ways, and in the schema that PyHealth documents."""

import json
import zipfile
from collections import Counter

import jsonschema
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scoehr.data import datasets, interchange
from scoehr.data import patients as loaders
from scoehr.data.matrix import CodeMatrix
from scoehr.data.simulate import write_tables
from scoehr.files import InputError

#: What PyHealth's generation tasks give and its nested sequence processor reads: one such object a line.
PYHEALTH = {
    "type": "object",
    "required": ["patient_id", "visits"],
    "additionalProperties": False,
    "properties": {
        "patient_id": {"type": "string", "minLength": 1},
        "visits": {
            "type": "array",
            "minItems": 1,
            "items": {"type": "array", "minItems": 1, "items": {"type": "string", "minLength": 1}},
        },
    },
}


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    """Tables of 600 simulated patients, some with several admissions."""
    folder = tmp_path_factory.mktemp("tables")
    write_tables(folder, patients=600, seed=4)
    return folder


def records(name, source, **options):
    """PyHealth records of a data set's visits."""
    return loaders.load(name, source, **options).patients.to_records()


def as_matrix(found, like):
    """Records as a matrix over the vocabulary of another."""
    return CodeMatrix.from_records(found, codes=like.codes, kind=like.kind).align(
        like.codes, like.titles
    )


def both_ways(name, source):
    """Records equal the matrix of the same tables, and its records give it back; return the records."""
    found, matrix = records(name, source), datasets.load(name, source).matrix
    assert as_matrix(found, matrix).equals(matrix)
    assert as_matrix(matrix.to_records(), matrix).equals(matrix)
    return found


def test_simulated_tables_both_ways(tables):
    found = both_ways("mimic3", tables)
    assert max(len(record["visits"]) for record in found) > 3


def test_binary_matrix_both_ways(tables):
    matrix = datasets.load("mimic3", tables, kind="binary").matrix
    assert as_matrix(records("mimic3", tables), matrix).equals(matrix)
    assert as_matrix(matrix.to_records(), matrix).equals(matrix)


@pytest.mark.parametrize(
    ("name", "folder", "patients", "visits", "events"),
    [("mimic3", "mimic3-demo", 100, 129, 1761), ("mimic4", "mimic4-demo", 100, 275, 4499)],
)
def test_demos_both_ways(shared_data, name, folder, patients, visits, events):
    said = interchange.statistics(both_ways(name, shared_data / folder))
    assert said == {
        "patients": patients,
        "visits": visits,
        "visits per patient": visits / patients,
        "events": events,
        "codes per visit": events / visits,
    }


def test_demo_visit_by_visit(shared_data):
    """Every admission's codes as pandas reads them from the tables, admissions in the order of their time."""
    folder = shared_data / "mimic3-demo"
    stays = (
        pd.read_csv(folder / "ADMISSIONS.csv.gz").rename(columns=str.lower).sort_values("admittime")
    )
    rows = (
        pd.read_csv(folder / "DIAGNOSES_ICD.csv.gz", dtype=str)
        .rename(columns=str.lower)
        .dropna(subset="icd9_code")
    )
    by_stay = rows.groupby(rows["hadm_id"].astype(int))["icd9_code"].apply(list).to_dict()
    for record in records("mimic3", folder, digits="full"):
        theirs = stays.loc[stays["subject_id"] == record["patient_id"], "hadm_id"]
        found = [sorted(visit) for visit in record["visits"]]
        assert found == [sorted(by_stay.get(stay, [])) for stay in theirs]


def test_diabetes_both_ways(shared_data, tmp_path):
    """The encounters of the first 3,000 rows."""
    with zipfile.ZipFile(shared_data / "diabetes130" / "diabetic_data.zip") as archive:
        (member,) = [name for name in archive.namelist() if name.endswith("diabetic_data.csv")]
        first = pd.read_csv(archive.open(member), nrows=3000, dtype=str)
    first.to_csv(tmp_path / "diabetic_data.csv", index=False)
    found = both_ways("diabetes130", tmp_path)
    assert sum(len(record["visits"]) for record in found) == 3000
    assert max(len(visit) for record in found for visit in record["visits"]) == 3


def test_table_has_visits_made_of_counts(tmp_path):
    frame = pd.DataFrame({"patient_id": [1, 1, 2], "code": ["a", "b", "b"], "count": [2, 1, 1]})
    frame.to_csv(tmp_path / "table.csv", index=False)
    found = records("table", tmp_path / "table.csv")
    assert found == [
        {"patient_id": 1, "visits": [["a", "b"], ["a"]]},
        {"patient_id": 2, "visits": [["b"]]},
    ]


def test_statistics_of_nobody():
    said = interchange.statistics([])
    assert said["patients"] == said["visits"] == 0 and np.isnan(said["codes per visit"])


# The file -----------------------------------------------------------------------------------------------------------


def test_file_has_the_schema_of_pyhealth(tables, tmp_path):
    found = records("mimic3", tables)
    path = tmp_path / "records.jsonl"
    number = interchange.write(found, path)
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert number == len(lines) == sum(any(record["visits"]) for record in found) > 500
    schema = jsonschema.Draft202012Validator(PYHEALTH)
    for line in lines:
        schema.validate(line)


def test_file_keeps_every_code(tables, tmp_path):
    """The file, read again, is the matrix of the patients that have codes."""
    interchange.write(records("mimic3", tables), tmp_path / "records.jsonl")
    matrix = datasets.load("mimic3", tables).matrix
    coded = matrix.take(np.flatnonzero(np.diff(matrix.counts.indptr)))
    again = as_matrix(interchange.read(tmp_path / "records.jsonl"), matrix)
    assert again.patients.tolist() == coded.patients.astype(str).tolist()
    assert (again.counts != coded.counts).nnz == 0


words = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=5)
visits = st.lists(st.lists(words, max_size=4), max_size=4)


@settings(max_examples=40)
@given(st.lists(visits, max_size=5))
def test_any_codes_survive_the_file(tmp_path_factory, patients):
    path = tmp_path_factory.mktemp("file") / "records.jsonl"
    interchange.write(
        [{"patient_id": n, "visits": codes} for n, codes in enumerate(patients)], path
    )
    kept = {str(n): [visit for visit in codes if visit] for n, codes in enumerate(patients)}
    assert {record["patient_id"]: record["visits"] for record in interchange.read(path)} == {
        patient: codes for patient, codes in kept.items() if codes
    }


codes = st.from_regex(r"[A-Z]\d[\w.]{0,3}", fullmatch=True)


@settings(max_examples=40)
@given(st.lists(st.lists(st.lists(codes, max_size=4), max_size=4), min_size=1, max_size=5))
def test_a_matrix_counts_occurrences(patients):
    matrix = CodeMatrix.from_records(
        [{"patient_id": n, "visits": codes} for n, codes in enumerate(patients)]
    )
    for row, codes in zip(matrix.dense(int), patients, strict=True):
        found = {
            code: int(count)
            for code, count in zip(matrix.codes.tolist(), row, strict=True)
            if count
        }
        assert found == Counter(code for visit in codes for code in visit)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"patient_id": "1", "visits": [["a"]]}\nno\n', "row 2: not JSON"),
        ('{"patient_id": "1"}\n', "row 1: has no patient_id and visits"),
        ("[1]\n", "row 1: has no patient_id and visits"),
        ('{"patient_id": "1", "visits": ["a"]}\n', "row 1, visits: not lists of codes"),
        ('{"patient_id": "1", "visits": [[250]]}\n', "row 1, visits: not lists of codes"),
    ],
)
def test_bad_files_are_refused(tmp_path, text, said):
    path = tmp_path / "records.jsonl"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=said):
        interchange.read(path)


def test_missing_file_is_refused(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        interchange.read(tmp_path / "none.jsonl")
