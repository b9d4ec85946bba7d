"""A score is added by one registration; large tables are scored by the same formulas."""

from __future__ import annotations

import pytest
from toy import Toy
from typer.testing import CliRunner

from scoehr.cli import app
from scoehr.data.matrix import CodeMatrix
from scoehr.metrics import METRICS, Metric, Undefined, arrays, evaluate, fidelity, reported
from scoehr.metrics.registry import Registry

KEY = "fidelity.most_codes"


def sample(n: int, seed: int) -> CodeMatrix:
    rows = Toy(codes=30, mean_cell=0.1).sample(n, seed)
    return CodeMatrix.from_array(rows, [f"{k:03d}" for k in range(30)])


@pytest.fixture()
def most_codes():
    """Difference of the mean numbers of occurrences, registered while a test runs."""
    title = "Occurrences a patient"

    @METRICS.register(
        family="fidelity", most_codes=Metric(title, 0, None, "lower", 0, "a test of this module")
    )
    def most_codes(real, synthetic) -> float:
        return float(abs(real.sum(axis=1).std() - synthetic.sum(axis=1).std()))

    yield title
    del METRICS[KEY]


def test_a_score_is_added_by_one_registration(most_codes, tmp_path):
    real, synthetic = sample(120, 0), sample(120, 1)
    found = evaluate(real, synthetic)
    value, (low, high) = found["fidelity"]["most_codes"], found["interval"][KEY]
    assert METRICS[KEY](real.counts[:], synthetic.counts) > 0
    assert low <= value <= high and high > low
    assert KEY in found["gap"] and "most_codes" in found["reference"]["real"]["fidelity"]
    paths = [tmp_path / name for name in ("real.parquet", "made.parquet")]
    for matrix, path in zip((real, synthetic), paths, strict=True):
        matrix.to_long().to_parquet(path, index=False)
    shown = CliRunner().invoke(app, ["evaluate", *map(str, paths), "--all"])
    assert shown.exit_code == 0, shown.output
    assert most_codes in shown.output


def test_a_registry_keeps_families_in_order_and_measures_once():
    found = Registry(("one", "two"))
    score = Metric("", 0, 1, "lower", 0, "")
    found.register(family="two", a=score)(lambda real, synthetic: 0.5)
    found.register(family="one", step="both", b=score, c=score)(lambda real, made: {"b": 0, "c": 1})
    assert list(found) == ["one.b", "one.c", "two.a"]
    assert list(found.steps) == ["both", "a"] and len(found.measures) == 2
    assert found["one.c"](0, 0) == 1 and found["two.a"](0, 0) == 0.5


def test_a_score_alone_is_that_of_the_whole_set():
    real, synthetic, train = (sample(n, seed).counts for seed, n in enumerate((150, 150, 150)))
    assert METRICS["fidelity.pcd"](real, synthetic) == fidelity.correlation(real, synthetic)["pcd"]
    with pytest.raises(Undefined, match="no training set"):
        METRICS["privacy.membership_auc"](real, synthetic)
    assert 0 < METRICS["privacy.membership_auc"](real, synthetic, train=train) < 1


def test_large_tables_have_the_scores_of_the_dense_formulas(monkeypatch):
    real, synthetic = (Toy(codes=60).sample(400, seed) for seed in range(2))
    scores = (reported.ddm, reported.pcd, reported.cosine_share, fidelity.correlation)
    dense = [score(real, synthetic) for score in scores]
    monkeypatch.setattr(reported, "CELLS", 100)
    monkeypatch.setattr(arrays, "CELLS", 60 * 7)  # blocks of seven codes
    for score, expected in zip(scores, dense, strict=True):
        assert score(real, synthetic) == pytest.approx(expected, rel=1e-5)
