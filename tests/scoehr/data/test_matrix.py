"""The patient × code matrix: what it refuses, and that it survives every form it is turned into."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import sparse
from sklearn.model_selection import train_test_split

from scoehr.data.matrix import METADATA_KEY, CodeMatrix
from scoehr.files import InputError

COUNTS = np.array([[2, 0, 1, 0], [0, 0, 0, 0], [0, 1, 0, 0]])
CODES = ["401", "428", "V30", "E878"]
TITLES = ["Essential hypertension", "Heart failure", "Single liveborn", ""]


@pytest.fixture
def matrix():
    """Three patients, one without codes; four codes, one without patients."""
    return CodeMatrix.from_array(COUNTS, CODES, TITLES, patients=[7, 3, 5])


matrices = st.builds(
    lambda counts, text: CodeMatrix.from_array(
        counts,
        [f"{code:03d}" for code in range(counts.shape[1])],
        patients=[f"p{row}" for row in range(len(counts))] if text else None,
    ),
    st.tuples(st.integers(0, 6), st.integers(0, 5)).flatmap(
        lambda shape: arrays(np.int32, shape, elements=st.integers(0, 3))
    ),
    st.booleans(),
)


def test_shape_and_cells(matrix):
    assert matrix.shape == (3, 4)
    assert len(matrix) == 3
    assert matrix.mean_cell == 4 / 12
    assert matrix.dense().dtype == np.float32
    np.testing.assert_array_equal(matrix.dense(), COUNTS)


def test_counts_are_canonical():
    doubled = sparse.coo_array(([1, 1, 0], ([0, 0, 1], [1, 1, 0])), shape=(2, 2))
    counts = CodeMatrix.from_array(doubled, ["a", "b"]).counts
    assert counts.dtype == np.int32
    assert counts.has_canonical_format
    assert counts.nnz == 1
    assert counts[0, 1] == 2


def test_the_given_array_is_not_changed():
    array = sparse.csr_array(COUNTS)
    CodeMatrix.from_array(array, CODES).to_binary()
    np.testing.assert_array_equal(array.toarray(), COUNTS)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"codes": ["a", "b"]}, "2 codes"),
        ({"codes": ["a", "a", "b", "c"]}, "code a occurs more than once"),
        ({"patients": [1, 1, 2]}, "patient 1 occurs more than once"),
        ({"titles": ["one"]}, "1 titles"),
        ({"array": -COUNTS}, "negative"),
        ({"array": COUNTS / 2}, "not whole"),
        ({"array": np.where(COUNTS, np.nan, 0)}, "not whole"),
        ({"array": COUNTS * 2.0**31}, "largest count that fits"),
        ({"kind": "binary"}, "above 1"),
        ({"kind": "ternary"}, "ternary"),
    ],
)
def test_what_is_refused(arguments, words):
    with pytest.raises(InputError, match=words):
        CodeMatrix.from_array(**{"array": COUNTS, "codes": CODES} | arguments)


def test_equality(matrix):
    assert matrix.equals(
        CodeMatrix.from_array(sparse.csr_array(COUNTS), CODES, TITLES, patients=[7, 3, 5])
    )
    assert not matrix.equals(matrix.to_binary())
    assert not matrix.equals(matrix.take([0, 1]))
    assert not matrix.equals(CodeMatrix.from_array(COUNTS, CODES, TITLES))


def test_binary(matrix):
    binary = matrix.to_binary()
    assert binary.kind == "binary"
    np.testing.assert_array_equal(binary.dense(), COUNTS > 0)
    assert binary.to_binary().equals(binary)


def test_take(matrix):
    taken = matrix.take([2, 0])
    assert taken.patients.tolist() == [5, 7]
    np.testing.assert_array_equal(taken.dense(), COUNTS[[2, 0]])


def test_align(matrix):
    wider = matrix.align(["000", "V30", "428", "401"])
    np.testing.assert_array_equal(wider.dense()[:, 1:], COUNTS[:, [2, 1, 0]])
    assert wider.titles.tolist() == [
        "",
        "Single liveborn",
        "Heart failure",
        "Essential hypertension",
    ]
    assert wider.align(CODES, TITLES).equals(matrix)
    with pytest.raises(InputError, match="code 428 is not in the vocabulary"):
        matrix.align(["401", "V30"])


# Splits -------------------------------------------------------------------------------------------------------------


def test_split_is_the_reports():
    n = 500
    matrix = CodeMatrix.from_array(np.eye(n, dtype=int), range(n))
    train, validation, test = matrix.split()
    expected_rest, expected_test = train_test_split(np.arange(n), test_size=0.30, random_state=1)
    np.testing.assert_array_equal(test.patients, expected_test)
    assert (len(train), len(validation), len(test)) == (300, 50, 150)
    assert set(train.patients) | set(validation.patients) == set(expected_rest)
    assert set(train.patients).isdisjoint(validation.patients)
    for part in (train, validation, test):
        np.testing.assert_array_equal(part.counts.indices, part.patients)


def test_split_of_the_reports_size():
    matrix = CodeMatrix.from_array(sparse.csr_array((46_520, 1)), ["401"])
    train, validation, test = matrix.split(validation=0)
    assert (len(train), len(validation), len(test)) == (32_564, 0, 13_956)


@pytest.mark.parametrize(
    "fractions",
    [{"test": 0}, {"test": 1.5}, {"test": 0.7, "validation": 0.4}, {"validation": -0.1}],
)
def test_split_refuses_fractions(matrix, fractions):
    with pytest.raises(InputError, match="fractions"):
        matrix.split(**fractions)


def test_split_refuses_few_patients(matrix):
    with pytest.raises(InputError, match="3 patients are too few"):
        matrix.split()


# Files --------------------------------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(matrix=matrices, binary=st.booleans())
def test_file_round_trip(tmp_path_factory, matrix, binary):
    matrix = matrix.to_binary() if binary else matrix
    path = tmp_path_factory.mktemp("matrix") / "matrix.parquet"
    matrix.write(path)
    assert CodeMatrix.read(path).equals(matrix)


def test_file_is_a_plain_long_table(matrix, tmp_path):
    matrix.write(tmp_path / "matrix.parquet")
    frame = pd.read_parquet(tmp_path / "matrix.parquet")
    assert list(frame.columns) == ["patient_id", "code", "count"]
    assert frame.to_numpy().tolist() == [[7, "401", 2], [7, "V30", 1], [5, "428", 1]]
    assert [file.name for file in tmp_path.iterdir()] == ["matrix.parquet"]


def test_read_refuses(matrix, tmp_path):
    with pytest.raises(InputError, match="no such file"):
        CodeMatrix.read(tmp_path / "absent.parquet")
    matrix.to_long().to_parquet(tmp_path / "plain.parquet")
    with pytest.raises(InputError, match="no vocabulary"):
        CodeMatrix.read(tmp_path / "plain.parquet")
    matrix.write(tmp_path / "cut.parquet")
    (tmp_path / "cut.parquet").write_bytes((tmp_path / "cut.parquet").read_bytes()[:-20])
    with pytest.raises(InputError, match="not a readable Parquet file"):
        CodeMatrix.read(tmp_path / "cut.parquet")
    assert METADATA_KEY == b"scoehr"


# Other forms --------------------------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(matrix=matrices)
def test_round_trips(matrix):
    names = {"patients": matrix.patients, "codes": matrix.codes}
    assert CodeMatrix.from_long(matrix.to_long(), **names).equals(matrix)
    assert CodeMatrix.from_records(matrix.to_records(), codes=matrix.codes).equals(
        matrix
    ) or not len(matrix)


def test_long_table_with_events():
    frame = pd.DataFrame({"patient_id": [2, 1, 2, 2], "code": ["428", "401", "428", "401"]})
    matrix = CodeMatrix.from_long(frame, titles={"401": "Hypertension"})
    assert matrix.patients.tolist() == [1, 2]
    assert matrix.codes.tolist() == ["401", "428"]
    assert matrix.titles.tolist() == ["Hypertension", ""]
    assert matrix.dense().tolist() == [[1, 0], [1, 2]]
    assert matrix.to_binary().dense().tolist() == [[1, 0], [1, 1]]


@pytest.mark.parametrize(
    ("frame", "words"),
    [
        ({"patient_id": [1], "cod": ["401"]}, "no column 'code'"),
        (
            {"patient_id": [1], "code": ["401"], "count": ["two"]},
            "row 1: 'two' is not a whole number",
        ),
        ({"patient_id": [1, 2], "code": ["401", "401"], "count": [1, -1]}, "row 2"),
        ({"patient_id": [1, 2], "code": ["401", None]}, "column 'code', row 2: is empty"),
    ],
)
def test_long_table_refused(frame, words):
    with pytest.raises(InputError, match=words):
        CodeMatrix.from_long(pd.DataFrame(frame))


def test_long_table_with_a_code_outside_the_names():
    frame = pd.DataFrame({"patient_id": [1], "code": ["401"]})
    with pytest.raises(InputError, match="code 401"):
        CodeMatrix.from_long(frame, codes=["428"])


def test_records_are_pyhealths(matrix):
    assert matrix.to_records() == [
        {"patient_id": 7, "visits": [["401", "V30"], ["401"]]},
        {"patient_id": 3, "visits": []},
        {"patient_id": 5, "visits": [["428"]]},
    ]
    repeated = CodeMatrix.from_records([{"patient_id": "a", "visits": [["401", "401"], ["401"]]}])
    assert repeated.dense().tolist() == [[3]]
