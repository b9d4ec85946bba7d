"""The paper's model on binary and continuous columns together."""

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from benchmarks import mixed
from reproduction.synthesis import reported
from scoehr.data.columns import Column, Columns
from scoehr.data.patients import Patients
from scoehr.generators import ScoEHRConfig
from scoehr.generators.scoehr import PRESETS


def admissions(nights=(3.0, 9.0, 1.0)):
    """Two patients, with two admissions and one."""
    counts = np.array([[1, 0], [0, 2], [0, 0]], dtype=np.int32)
    visits = (Column("nights", "number"), Column("urgent", "category", ("no", "yes")))
    return Patients(
        sparse.csr_array(counts),
        np.array([0, 2, 3]),
        np.arange(2),
        np.array(["a", "b"]),
        np.array(["", ""]),
        columns=Columns((Column("sex", "category", ("F", "M")),), (np.array([1, -1]),), 2),
        visit_columns=Columns(visits, (np.array(nights), np.array([0, 1, 1])), 3),
    )


def test_an_admission_is_a_row_of_codes_levels_and_numbers_within_their_range():
    ranges = {}
    found = mixed.table(admissions(), ranges)
    columns = dict(zip(found.names, found.rows.toarray().T.tolist(), strict=True))
    assert columns == {
        "code a": [1, 0, 0],
        "code b": [0, 1, 0],
        "sex F": [0, 0, 0],
        "sex M": [1, 1, 0],
        "sex missing": [0, 0, 1],
        "nights": [0.25, 1, 0],
        "urgent no": [1, 0, 0],
        "urgent yes": [0, 1, 1],
        "urgent missing": [0, 0, 0],
    }
    assert [name for name, binary in zip(found.names, found.binary, strict=True) if not binary] == [
        "nights"
    ]
    others = mixed.table(admissions((0.0, 5.0, 20.0)), ranges)  # by the ranges of training
    assert others.rows.toarray()[:, found.names.index("nights")].tolist() == [0, 0.5, 1]
    constant = mixed.table(admissions((2.0, 2.0, 2.0)), {})
    assert not constant.rows.toarray()[:, found.names.index("nights")].any()


@pytest.fixture(scope="module")
def hospital():
    """800 rows of 20 binary columns, of which the first two go together, and two numbers."""
    rng = np.random.default_rng(0)
    rows = (rng.random((800, 22)) < 0.3).astype(np.float32)
    rows[:, 1] = rows[:, 0]
    rows[:, 20:] = rng.random((800, 2))
    names = [f"column {place}" for place in range(22)]
    return mixed.Table(sparse.csr_array(rows), names, np.arange(22) < 20)


def test_what_the_model_makes_is_binary_where_the_table_is_and_a_number_elsewhere(hospital):
    config = ScoEHRConfig(
        **{**PRESETS["paper"], "latent": 16, "width": 16, "epochs": 1, "steps": 10, "batch": 100}
    )
    made = mixed.Mixed(config).fit_table(hospital, None).rows(150).toarray()
    assert made.shape == (150, 22) and set(np.unique(made[:, :20])) <= {0, 1}
    numbers = made[:, 20:]
    assert (numbers >= 0).all() and (numbers <= 1).all() and len(np.unique(numbers)) > 20


def test_scores_tell_independent_columns_from_the_rows_themselves(hospital):
    same = mixed.scores(hospital, hospital.rows, hospital.rows)
    dense = hospital.rows.toarray()
    order = np.random.default_rng(1)
    shuffled = sparse.csr_array(np.column_stack([order.permutation(one) for one in dense.T]))
    apart = mixed.scores(hospital, shuffled, hospital.rows)
    assert same["ddm"] == same["pcd"] == 0 and apart["ddm"] == pytest.approx(0, abs=1e-6)
    assert apart["pcd"] > 1 and apart["log_cluster"] > same["log_cluster"]
    half = sparse.csr_array(np.where(np.arange(22) < 20, dense, dense / 2))
    halved = mixed.scores(hospital, half, hospital.rows)
    middle = dense[:, 20:].mean()
    assert halved["dwm"] == 0 and halved["dem"] == pytest.approx(middle / 2, rel=0.02)


def test_the_table_on_the_page_has_the_printed_row_first():
    score = {"ddm": 0.1, "pcd": 2.0, "log_cluster": -3.0, "sra": 0.5, "discriminator_auc": 0.9}
    table = reported.mixed({"rows": {"here": score}})
    assert table.iloc[0]["DDM"] == reported.QUOTES.value("paper_ed/ScoEHR/ddm")
    assert pd.isna(table.iloc[0]["discriminator AUC"]) and table.loc["here", "SRA"] == 0.5
