"""The simulated cohort agrees with its truth, and its tables with its matrix."""

import csv
import gzip
import shutil
import time
from functools import partial

import duckdb
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from companions.dualk import prepare
from scoehr.data import datasets, icd, patients, simulate, writing
from scoehr.files import InputError

N = 20_000


@pytest.fixture(scope="module")
def truth():
    return simulate.truth()


@pytest.fixture(scope="module")
def matrix():
    return simulate.sample_matrix(N, seed=3)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """Tables of 500 patients."""
    folder = tmp_path_factory.mktemp("simulated")
    account = simulate.write_tables(folder, patients=500, seed=2)
    return folder, account


# The seal ------------------------------------------------------------------------------------


@pytest.fixture
def sealed(small, tmp_path):
    return shutil.copytree(small[0], tmp_path / "sealed")


def test_sealed_tables_are_read_wherever_they_lie(sealed):
    assert len(datasets.load("simulated", sealed).matrix) == 500


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda folder: (folder / "seal.json").unlink(), "has no seal.json"),
        (
            lambda folder: (folder / "seal.json").write_text("[]"),
            "is not what scoehr simulate wrote",
        ),
        (lambda folder: (folder / "seal.json").write_text("{"), "not valid JSON"),
        (lambda folder: (folder / "ADMISSIONS.csv").write_text("a"), "ADMISSIONS.csv is not what"),
        (
            lambda folder: (folder / "hosp").mkdir() or (folder / "hosp" / "a.csv").touch(),
            "hosp/a.csv is not what",
        ),
        (
            lambda folder: (folder / "PATIENTS.csv.gz").write_bytes(gzip.compress(b"a")),
            "PATIENTS.csv.gz is not what",
        ),
        (lambda folder: (folder / "PATIENTS.csv.gz").unlink(), "PATIENTS.csv.gz is not what"),
    ],
)
def test_other_tables_are_not_taken_for_simulated_ones(sealed, change, said):
    change(sealed)
    for read in (datasets.load, patients.load, prepare.load):
        with pytest.raises(InputError, match=said):
            read("simulated", sealed)


def test_a_readme_beside_the_tables_does_no_harm(sealed):
    (sealed / "README.md").write_text("mine")
    writing.check_seal(sealed)


def test_tables_written_before_there_was_a_seal_are_known_by_their_bytes(sealed):
    write = partial(simulate.write_tables, patients=500, seed=2)
    (sealed / "seal.json").unlink()
    writing.seal_again(sealed, write)
    writing.check_seal(sealed)
    (sealed / "seal.json").unlink()
    (sealed / "PATIENTS.csv.gz").write_bytes(gzip.compress(b"a"))
    with pytest.raises(InputError, match="holds other tables than the simulated cohort"):
        writing.seal_again(sealed, write)


def test_tables_of_an_earlier_law_are_written_anew(sealed):
    write = partial(simulate.write_tables, patients=500, seed=2)
    names = [f"{name}.csv.gz" for name in simulate.TABLES]
    (sealed / "PATIENTS.csv.gz").write_bytes(gzip.compress(b"a"))
    before = simulate.LAW_ID
    writing.seal(sealed, before)
    writing.written(sealed, names, write, before)
    assert gzip.decompress((sealed / "PATIENTS.csv.gz").read_bytes()) == b"a"
    writing.seal(sealed, "another")
    writing.written(sealed, names, write, before)
    assert len(datasets.load("simulated", sealed).matrix) == 500


def test_real_tables_are_refused_under_the_name_of_simulated_ones(shared_data):
    for read in (datasets.load, patients.load):
        with pytest.raises(InputError, match="read real tables by the name of their data set"):
            read("simulated", shared_data / "mimic3-demo")
    with pytest.raises(InputError, match="read real tables by the name of their data set"):
        prepare.load("simulated", shared_data / "mimic4-demo")


def column(truth, code):
    return int(np.flatnonzero(truth.codes == code)[0])


# Truth --------------------------------------------------------------------------------------------------------------


def test_calibration(truth):
    """A full-size cohort has MIMIC-III's published size."""
    n = simulate.PATIENTS
    visits = sum(law.share * law.admissions @ law.admission_shares for law in simulate.laws()) * n
    assert round(visits) == 58_976
    assert truth.expected_counts.sum() * n == pytest.approx(651_000)
    present = 1 - np.exp(-truth.expected_counts * n)
    assert present.sum() == pytest.approx(1_070, abs=10)
    assert truth.expected_counts.sum() / present.sum() == pytest.approx(0.013, abs=0.0005)
    repeated = sum(
        law.share * law.admission_shares[law.admissions > 1].sum() for law in simulate.laws()
    )
    assert repeated == pytest.approx(7_537 / 46_520)


def test_rates_are_the_tables(truth):
    """The mean count of a common code that no newborn has is its rate times rows and admissions."""
    adults = simulate.laws()[0]
    visits = adults.share * adults.admissions @ adults.admission_shares
    for code, rate in {"401": 0.43, "427": 0.31 * 1.12, "584": 0.205, "428": 0.265 * 1.5}.items():
        assert truth.expected_counts[column(truth, code)] == pytest.approx(rate * visits, rel=1e-9)
    assert truth.prevalence[column(truth, "401")] / adults.share == pytest.approx(0.45, abs=0.02)
    newborns = 1 - adults.share
    assert newborns == pytest.approx(0.17, abs=0.005)
    assert truth.prevalence[column(truth, "V30")] + truth.prevalence[
        column(truth, "V31")
    ] == pytest.approx(0.985 * newborns)


def test_truth_is_the_mean_over_phenotypes():
    """The closed form against brute force: every combination of two phenotypes written out."""
    law = simulate.laws()[1]
    assert len(law.phenotype_shares) == 2
    (p, q), number = law.phenotype_shares, law.admissions[0]
    assert number == 1
    absent = np.zeros_like(law.base)
    for level, part in simulate.COMPLEXITY:
        for first in (0, 1):
            for second in (0, 1):
                weight = part * (p if first else 1 - p) * (q if second else 1 - q)
                absent += weight * np.exp(
                    -level * (law.base + first * law.extra[0] + second * law.extra[1])
                )
    exact = sum(part * simulate._never(law, 1, level)[0] for level, part in simulate.COMPLEXITY)
    np.testing.assert_allclose(exact, absent, rtol=1e-12)


def test_expected_counts(truth, matrix):
    """Each code within 6 standard errors, and the errors as wide as they should be."""
    counts = matrix.dense()
    enough = truth.expected_counts * N > 20
    error = counts.mean(0) - truth.expected_counts
    score = error[enough] / (counts.std(0)[enough] / np.sqrt(N))
    assert np.abs(score).max() < 6
    assert 0.8 < score.std() < 1.2
    assert counts.sum() == pytest.approx(truth.expected_counts.sum() * N, rel=0.01)


def test_prevalence(truth, matrix):
    enough = truth.prevalence * N > 20
    spread = np.sqrt(truth.prevalence * (1 - truth.prevalence) / N)
    score = (((matrix.counts > 0).sum(0) / N - truth.prevalence) / spread)[enough]
    assert np.abs(score).max() < 6
    assert 0.8 < score.std() < 1.2


def test_rare_codes_are_as_often_absent_as_they_should(truth, matrix):
    """The probability that a code is in no patient follows from its prevalence."""
    absent = (1 - truth.prevalence) ** N
    found = int((matrix.counts.sum(0) == 0).sum())
    assert found == pytest.approx(absent.sum(), abs=6 * np.sqrt((absent * (1 - absent)).sum()))


def test_binary_correlation(truth, matrix):
    codes = truth.codes[np.argsort(-truth.prevalence)[:100]]
    exact = truth.correlation("binary", codes)
    found = np.corrcoef((matrix.dense()[:, np.searchsorted(truth.codes, codes)] > 0).T)
    off = ~np.eye(100, dtype=bool)
    assert np.abs(found - exact)[off].max() < 8 / np.sqrt(N)
    assert (found - exact)[off].std() < 1.5 / np.sqrt(N)
    assert exact[off].std() > 5 / np.sqrt(N)


def test_count_correlation(truth):
    """Counts have heavy tails (up to 42 admissions), so the covariance is compared by its own standard error."""
    codes = truth.codes[np.argsort(-truth.expected_counts)[:60]]
    counts = simulate.sample_matrix(simulate.PATIENTS, seed=5).dense(np.float64)[
        :, np.searchsorted(truth.codes, codes)
    ]
    z = (counts - counts.mean(0)) / counts.std(0)
    exact = truth.correlation("count", codes)
    score = []
    for i in range(60):
        for j in range(i):
            products = z[:, i] * z[:, j] - exact[i, j] * (z[:, i] ** 2 + z[:, j] ** 2) / 2
            score.append(products.mean() / (products.std() / np.sqrt(len(products))))
    assert np.abs(score).max() < 6
    assert 0.7 < np.std(score) < 1.3


def test_correlation_matrices(truth):
    for kind in ("count", "binary"):
        matrix = truth.correlation(kind, truth.codes[:40])
        np.testing.assert_allclose(np.diag(matrix), 1)
        np.testing.assert_allclose(matrix, matrix.T)
        assert np.linalg.eigvalsh(matrix).min() > -1e-9
    pair = truth.correlation("binary", np.array(["428", "V30", "425"]))
    assert pair[0, 2] > 0.15
    assert pair[0, 1] < -0.1
    with pytest.raises(InputError, match="not in the vocabulary"):
        truth.correlation("count", np.array(["nothing"]))


# Sample -------------------------------------------------------------------------------------------------------------


def test_same_seed_same_patients():
    first, second = simulate.sample_matrix(700, seed=9), simulate.sample_matrix(700, seed=9)
    assert first.equals(second)
    assert not first.equals(simulate.sample_matrix(700, seed=10))


@pytest.mark.parametrize("n", [1, 2, 17])
def test_few_patients(n, tmp_path):
    assert simulate.sample_matrix(n).shape == (n, simulate.VOCABULARY)
    simulate.write_tables(tmp_path, patients=n)
    assert len(datasets.load("mimic3", tmp_path).matrix) == n


@pytest.mark.parametrize(
    ("arguments", "words"), [((0, 0), "at least 1 patient"), ((5, -1), "seed '-1'")]
)
def test_refused(arguments, words):
    with pytest.raises(InputError, match=words):
        simulate.sample(*arguments)


def test_admissions():
    drawn = simulate.sample(N, seed=4)
    rows = np.bincount(drawn.entry_visit, drawn.entry_rows, minlength=drawn.admissions.sum())
    assert rows.max() <= simulate.ROWS_PER_ADMISSION
    assert drawn.rows_cut < 1e-3 * rows.sum()
    assert drawn.admissions.sum() == pytest.approx(N * 58_976 / 46_520, abs=20)
    adult = (drawn.population == 0)[drawn.visit_patient]
    assert (drawn.admissions[drawn.population > 0] == 1).all()
    assert rows[adult].mean() == pytest.approx(11.8, abs=0.3)
    assert 5.5 < rows[adult].std() < 7
    assert (rows == 0).mean() < 0.003


def test_recurring_codes_recur():
    """Among patients admitted twice, hypertension on the first admission makes it likely on the second."""
    drawn = simulate.sample(simulate.PATIENTS, seed=4)
    twice = np.flatnonzero(drawn.admissions == 2)
    code = int(np.flatnonzero(simulate.vocabulary() == "401")[0])
    has = np.zeros(drawn.admissions.sum(), dtype=bool)
    has[drawn.entry_visit[drawn.entry_code == code]] = True
    first = (np.cumsum(drawn.admissions) - drawn.admissions)[twice]
    before, after = has[first], has[first + 1]
    assert after[before].mean() == pytest.approx(0.85, abs=0.04)
    assert after[~before].mean() < 0.2


# Tables -------------------------------------------------------------------------------------------------------------


def test_tables_have_the_schema_of_the_release(small):
    folder, account = small
    headers = {}
    for table in simulate.TABLES:
        with gzip.open(folder / f"{table}.csv.gz", "rt") as file:
            line = file.readline().strip()
        assert line.startswith('"ROW_ID","')
        headers[table] = next(csv.reader([line]))
    assert headers["DIAGNOSES_ICD"] == ["ROW_ID", "SUBJECT_ID", "HADM_ID", "SEQ_NUM", "ICD9_CODE"]
    assert headers["D_ICD_DIAGNOSES"] == ["ROW_ID", "ICD9_CODE", "SHORT_TITLE", "LONG_TITLE"]
    assert headers["PATIENTS"] == [
        "ROW_ID",
        "SUBJECT_ID",
        "GENDER",
        "DOB",
        "DOD",
        "DOD_HOSP",
        "DOD_SSN",
        "EXPIRE_FLAG",
    ]
    assert len(headers["ADMISSIONS"]) == 19
    assert account["patients"] == 500


def test_tables_have_the_schema_of_the_demo(small, shared_data):
    for table in simulate.TABLES:
        ours = pd.read_csv(small[0] / f"{table}.csv.gz", nrows=1)
        theirs = pd.read_csv(shared_data / "mimic3-demo" / f"{table}.csv.gz", nrows=1)
        assert [name.lower() for name in ours] == list(theirs)


def test_tables_give_the_sampled_matrix(small):
    folder, account = small
    loaded = datasets.load("simulated", folder)
    drawn = simulate.sample_matrix(500, seed=2)
    present = drawn.codes[drawn.counts.sum(0) > 0]
    assert loaded.matrix.codes.tolist() == present.tolist()
    np.testing.assert_array_equal(loaded.matrix.align(drawn.codes).dense(), drawn.dense())
    assert loaded.account["rows_dropped"] == {"no code": account["null_codes"]}
    assert loaded.account["rows_read"] == account["diagnoses"]
    assert loaded.account["admissions"] == account["admissions"]


def test_codes_are_real_and_distinct_in_an_admission(small):
    frame = pd.read_csv(small[0] / "DIAGNOSES_ICD.csv.gz", dtype={"ICD9_CODE": str})
    coded = frame.dropna(subset="ICD9_CODE")
    assert set(coded["ICD9_CODE"]) <= set(icd.full_titles())
    assert not coded.duplicated(["HADM_ID", "ICD9_CODE"]).any()
    assert frame["SEQ_NUM"].isna().equals(frame["ICD9_CODE"].isna())
    assert (coded.groupby("HADM_ID")["SEQ_NUM"].max() == coded.groupby("HADM_ID").size()).all()


def test_dates_and_deaths(small):
    folder, _ = small
    with duckdb.connect() as database:
        stays, people = (
            database.read_csv(str(folder / f"{name}.csv.gz")).df()
            for name in ("ADMISSIONS", "PATIENTS")
        )
    assert stays["HADM_ID"].is_unique
    assert set(stays["SUBJECT_ID"]) == set(people["SUBJECT_ID"])
    assert stays["ADMITTIME"].dt.year.between(2100, 2230).all()
    assert (stays["ADMITTIME"] < stays["DISCHTIME"]).all()
    dead = stays["HOSPITAL_EXPIRE_FLAG"] == 1
    assert dead.equals(stays["DEATHTIME"].notna())
    assert not stays.loc[dead, "SUBJECT_ID"].duplicated().any()
    joined = stays.sort_values("ADMITTIME").merge(people, on="SUBJECT_ID")
    assert (joined["ADMITTIME"] >= joined["DOB"]).all()
    assert (joined["EXPIRE_FLAG"] == joined["DOD"].notna()).all()
    gap = joined.groupby("SUBJECT_ID")["ADMITTIME"].shift(-1) - joined["DISCHTIME"]
    assert (gap.dropna() > pd.Timedelta(0)).all()


def away_from_law(truth, value, true, recorded):
    """By how many standard errors log odds ratios are off, of codes that are frequent enough."""
    tables = []
    for has in (true, ~true):
        often = np.asarray(recorded[has].sum(axis=0)).ravel()
        tables += [often, has.sum() - often]
    cells = np.array(tables, dtype=float)
    enough = cells.min(axis=0) >= 25
    n11, n10, n01, n00 = cells[:, enough]
    error = np.log(n11 * n00 / (n10 * n01)) - np.log(truth.odds_ratios(*value)[enough])
    return error / np.sqrt((1 / cells[:, enough]).sum(axis=0))


def test_odds_ratios_of_columns_and_codes_are_those_of_the_law(truth, tmp_path):
    simulate.write_tables(tmp_path, patients=8_000, seed=6)
    found = patients.load("mimic3", tmp_path).patients
    recorded = found.to_matrix().align(truth.codes).counts > 0
    kinds = next(c for c in found.visit_columns.columns if c.name == "admission_type").levels
    emergency = found.visit_columns.of("admission_type") == kinds.index("EMERGENCY")
    ever = lambda visits: np.bincount(found.owner, visits, len(found)) > 0  # noqa: E731
    has = {
        ("sex", "F"): found.columns.of("sex") == 0,
        ("age", "65 or older"): found.columns.of("age") >= 65,
        ("age", "0"): found.columns.of("age") == 0,
        ("admission_type", "EMERGENCY"): ever(emergency),
        ("nights", "8 or more"): ever(found.visit_columns.of("nights") >= 8),
        ("died", "yes"): ever(found.visit_columns.of("died") == 1),
    }
    assert has.keys() == simulate.VALUES.keys()
    for value, true in has.items():
        away = away_from_law(truth, value, true, recorded)
        many = 3 if value == ("age", "0") else 60  # few codes are those of adults and of newborns
        assert len(away) >= many and np.abs(away).max() < 4.5, value
        assert (np.abs(away) < 1.96).mean() > 0.9, value
    ratios = truth.odds_ratios("died", "yes")[np.isin(truth.codes, ["038", "518", "V30"])]
    assert ratios[0] > 1.8 and ratios[1] > 1.8 and ratios[2] < 0.2  # sepsis, breathing; born here
    with pytest.raises(InputError, match="the law has no odds ratios of it; ask for sex=F"):
        truth.odds_ratios("sex", "X")


@pytest.mark.slow
def test_odds_ratios_are_exact_in_200_000_patients(truth):
    drawn = simulate.sample(200_000, seed=5)
    visits = (drawn.visit_patient[drawn.entry_visit], drawn.entry_code)
    shape = (len(drawn.admissions), len(truth.codes))
    recorded = sparse.csr_array((drawn.entry_rows, visits), shape=shape) > 0
    last = np.cumsum(drawn.admissions) - 1
    for value, true in simulate.draw_values(drawn, seed=5).items():
        when = simulate.VALUES[value].when
        if when != "patient":
            ever = np.bincount(drawn.visit_patient, true, shape[0]) > 0
            true = true[last] if when == "last" else ever
        away = away_from_law(truth, value, true, recorded)
        assert len(away) > 20 and 0.7 < (away**2).mean() < 1.4 and np.abs(away).max() < 4.5, value


def test_what_stands_beside_codes_changes_no_code():
    """Codes of the cohort before there were such columns."""
    drawn = simulate.sample_matrix(2_000, seed=1)
    assert datasets.fingerprint(drawn) == "50086c7d747ea3a2"


def test_same_seed_same_files(small, tmp_path):
    simulate.write_tables(tmp_path, patients=500, seed=2)
    for file in small[0].iterdir():
        assert (tmp_path / file.name).read_bytes() == file.read_bytes()


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_full_size(tmp_path):
    """Full-size tables within a minute; read within 3 seconds."""
    begin = time.perf_counter()
    account = simulate.write_tables(tmp_path)
    assert time.perf_counter() - begin < 60
    assert (account["patients"], account["admissions"]) == (46_520, 58_976)
    begin = time.perf_counter()
    matrix = datasets.load("mimic3", tmp_path).matrix
    assert time.perf_counter() - begin < 3
    assert matrix.mean_cell == pytest.approx(0.0132, abs=0.0003)
