"""The two generators without a model."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from toy import Toy

from scoehr.baselines import IndependentColumns, ResampledRows
from scoehr.codes import CodeMatrix
from scoehr.files import InputError
from scoehr.metrics import fidelity, privacy

BOTH = pytest.mark.parametrize("baseline", [IndependentColumns, ResampledRows])


@pytest.fixture(scope="module")
def matrix() -> CodeMatrix:
    codes = [f"{k:03d}" for k in range(60)]
    return CodeMatrix.from_array(Toy(codes=60).sample(3000, 0), codes, [f"title {code}" for code in codes])


@BOTH
def test_a_sample_has_the_shape_vocabulary_and_kind_of_the_data_and_follows_the_seed(baseline, matrix):
    model = baseline().fit(matrix.to_binary())
    sample = model.sample(500, seed=3)
    assert sample.shape == (500, 60) and sample.kind == "binary"
    assert np.array_equal(sample.codes, matrix.codes) and np.array_equal(sample.titles, matrix.titles)
    assert sample.equals(model.sample(500, seed=3)) and not sample.equals(model.sample(500, seed=4))


@BOTH
def test_saved_and_loaded_it_draws_the_same(baseline, matrix, tmp_path):
    model = baseline().fit(matrix)
    folder = model.save(tmp_path / "model")
    assert baseline.load(folder).sample(200, seed=1).equals(model.sample(200, seed=1))
    assert not [path for path in folder.iterdir() if path.suffix not in (".json", ".parquet")]


@BOTH
def test_marginals_are_those_of_the_data_within_sampling_noise(baseline, matrix):
    sample = baseline().fit(matrix).sample(20_000, seed=0)
    mean, spread = matrix.dense().mean(axis=0), matrix.dense().std(axis=0)
    assert np.all(np.abs(sample.dense().mean(axis=0) - mean) < 5 * spread / np.sqrt(20_000) + 1e-6)


def test_independent_columns_have_no_correlation_and_resampled_rows_keep_it(matrix):
    real = matrix.counts
    independent = IndependentColumns().fit(matrix).sample(3000, seed=0).counts
    resampled = ResampledRows().fit(matrix).sample(3000, seed=0).counts
    off = np.corrcoef(independent.toarray().T)[~np.eye(60, dtype=bool)]
    assert np.sqrt(np.square(off).mean()) < 1.1 / np.sqrt(3000)  # what independent columns have by chance
    assert fidelity.correlation(real, resampled)["cmd"] < fidelity.correlation(real, independent)["cmd"]


def test_resampled_rows_are_training_rows(matrix):
    assert privacy.exact_match_rate(ResampledRows().fit(matrix).sample(300).counts, matrix.counts) == 1


@settings(max_examples=20, deadline=None)
@given(st.lists(st.lists(st.integers(0, 9), min_size=3, max_size=3), min_size=1, max_size=8), st.integers(0, 9))
def test_independent_columns_only_draw_counts_that_were_seen(rows, seed):
    matrix = CodeMatrix.from_array(np.array(rows), ["a", "b", "c"])
    sample = IndependentColumns().fit(matrix).sample(20, seed=seed).dense()
    for seen, drawn in zip(matrix.dense().T, sample.T, strict=True):
        assert set(drawn) <= set(seen)


@BOTH
def test_nothing_to_learn_from_and_nothing_to_load_are_refused(baseline, matrix, tmp_path):
    with pytest.raises(InputError, match="no patients"):
        baseline().fit(CodeMatrix.from_array(sparse.csr_array((0, 2)), ["a", "b"]))
    with pytest.raises(InputError, match="no such file"):
        baseline.load(tmp_path / "nowhere")
    folder = baseline().fit(matrix).save(tmp_path / "model")
    other = ResampledRows if baseline is IndependentColumns else IndependentColumns
    with pytest.raises(InputError, match="not a saved"):
        other.load(folder)
    (folder / baseline.table).write_bytes(b"damaged")
    with pytest.raises(InputError, match="altered"):
        baseline.load(folder)
