"""The page on validity: equally many patients of each set, and the law's verdict in words."""

from types import SimpleNamespace

import numpy as np
import pytest

from reproduction.synthesis import validity
from reproduction.tables import Words
from scoehr.data import simulate
from scoehr.data.matrix import CodeMatrix


@pytest.fixture(scope="module")
def cohort():
    drawn = simulate.sample_matrix(4_000, 6)
    return SimpleNamespace(
        test=drawn.take(np.arange(1_500)), train=drawn.take(np.arange(1_500, 4_000))
    )


@pytest.fixture(scope="module")
def found(cohort):
    """Fresh patients, others of the law over fewer codes, and one patient over and over."""
    others = simulate.sample_matrix(1_000, 7)
    kept = np.asarray(others.counts.sum(axis=0)).ravel() > 0
    fewer = CodeMatrix.from_array(others.counts[:, kept], others.codes[kept])
    one = CodeMatrix.from_array(cohort.test.counts[np.zeros(1_300, dtype=int)], cohort.test.codes)
    runs = {"law": SimpleNamespace(synthetic=fewer), "one": SimpleNamespace(synthetic=one)}
    return validity.sets(runs, cohort)


def test_sets_are_as_large_and_of_one_vocabulary(found, cohort):
    assert list(found) == [validity.FRESH, "law", "one"]
    assert {len(matrix) for matrix in found.values()} == {1_000}
    assert all(matrix.codes.tolist() == cohort.test.codes.tolist() for matrix in found.values())


def test_scores_and_law_put_patients_of_the_law_before_one_patient(found, cohort):
    runs = {"law": SimpleNamespace(id="x-law-s0"), "one": SimpleNamespace(id="x-one-s0")}
    scores, law = validity.scored(found, cohort), validity.against_law(found, runs)
    assert len(scores) == len(validity.KEYS) and scores[validity.FRESH].notna().all()
    for name in ("α-precision", "β-recall"):
        assert scores.loc[name, "law"] > scores.loc[name, "one"]
    row = law[validity.LAW["odds_coverage"]]
    assert row["law"] == pytest.approx(0.95, abs=0.03) and row["one"] < row["law"]
    sentence = validity.coverage(law)
    assert (
        f"law {row['law']:.1%}" in sentence
        and f"{row[validity.FRESH]:.1%} of the pairs" in sentence
    )
    assert f"run x-law-s0; {row['law']:.1%}" in Words(sentence).text


def test_odds_ratios_are_of_the_same_pairs(found, cohort):
    real, made = validity.odds(found, cohort)["law"]
    assert len(real) == len(made) > 100
    assert np.corrcoef(real, made)[0, 1] > 0.5
