"""DuaLK's preparation: golden counts, the simulated truth, cohorts without leaks, bad input."""

import csv
import gzip
import io
import json
import shutil
import zipfile
from collections import Counter, defaultdict

import numpy as np
import pytest

from companions.dualk import cohorts, counts, graph, prepare, simulate, train
from companions.dualk.__main__ import main
from companions.dualk.claims import _small
from companions.dualk.cohorts import Records
from scoehr.data import icd
from scoehr.files import InputError


def rows(path):
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return [{key.lower(): value for key, value in row.items()} for row in csv.DictReader(file)]


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dualk") / "tables"
    simulate.write_tables(folder, patients=300, seed=4)
    return folder


@pytest.fixture(scope="module")
def records(simulated):
    return prepare.load("simulated", simulated)


# Golden counts, counted again by the csv module --------------------------------------------------


def test_mimic3_demo_counts(shared_data):
    place = shared_data / "mimic3-demo"
    found = prepare.load("mimic3", place)
    codes = defaultdict(set)
    for row in rows(place / "DIAGNOSES_ICD.csv.gz"):
        if row["icd9_code"]:
            codes[row["hadm_id"]].add(row["icd9_code"])
    visits = defaultdict(list)
    for row in rows(place / "ADMISSIONS.csv.gz"):
        visits[row["subject_id"]].append((row["admittime"], row["hadm_id"]))
    categories = {
        row["itemid"]: row["category"].lower() for row in rows(place / "D_LABITEMS.csv.gz")
    }
    abnormal = defaultdict(set)
    for row in rows(place / "LABEVENTS.csv.gz"):
        if (
            row["hadm_id"]
            and row["flag"] == "abnormal"
            and categories.get(row["itemid"]) in cohorts.CATEGORIES
        ):
            abnormal[row["hadm_id"]].add(row["itemid"])
    kept = {
        patient: sorted(of)
        for patient, of in visits.items()
        if all(codes[visit] for _, visit in of)
    }
    assert len(found.patients) == len(kept) == 100
    assert found.visits.sum() == sum(map(len, kept.values())) == 129 and found.visits.max() == 15
    assert len(found.codes) == len(set().union(*codes.values())) == 581
    multi = set().union(*(codes[visit] for of in kept.values() if len(of) > 1 for _, visit in of))
    assert found.targets == len(multi) and set(found.codes[: found.targets]) == multi
    assert found.labs.nnz == sum(len(abnormal[visit]) for of in kept.values() for _, visit in of)
    assert len(found.items) == len(set().union(*abnormal.values()))
    for number, patient in enumerate(found.patients.tolist()):
        for row, (_, visit) in zip(
            range(found.first[number], found.first[number + 1]), kept[str(patient)], strict=True
        ):
            assert set(found.codes[found.visit_codes[[row]].nonzero()[1]]) == codes[visit]
            assert {str(item) for item in found.items[found.labs[[row]].nonzero()[1]]} == abnormal[
                visit
            ]


def test_mimic4_demo_counts(shared_data):
    hosp = shared_data / "mimic4-demo" / "hosp"
    found = prepare.load("mimic4", shared_data / "mimic4-demo")
    people = {row["subject_id"]: row for row in rows(hosp / "patients.csv.gz")}
    kept = defaultdict(list)
    for row in rows(hosp / "admissions.csv.gz"):
        person = people[row["subject_id"]]
        moved = int(person["anchor_year"]) - int(person["anchor_year_group"][:4])
        if int(row["admittime"][:4]) - moved > 2012:
            kept[row["subject_id"]].append(row["hadm_id"])
    codes, dropped = defaultdict(Counter), 0
    for row in rows(hosp / "diagnoses_icd.csv.gz"):
        code = row["icd_code"]
        if row["icd_version"] == "10":
            (code,) = icd.to_icd9([code])
            dropped += code is None
        codes[row["hadm_id"]].update([code] * (code is not None))
    assert found.counts["admissions_kept"] == sum(map(len, kept.values())) == 197
    assert found.counts["diagnosis_rows"] == 4506 and found.counts["diagnosis_rows_icd10"] == 2313
    assert found.counts["diagnosis_rows_unmapped"] == dropped
    whole = {patient: of for patient, of in kept.items() if all(codes[visit] for visit in of)}
    assert len(found.patients) == len(whole)
    assert found.visit_codes.sum() == sum(
        codes[visit].total() for of in whole.values() for visit in of
    )
    assert not found.has_labs


def test_diabetes130_counts(shared_data):
    found = prepare.load("diabetes130", shared_data / "diabetes130")
    with zipfile.ZipFile(shared_data / "diabetes130" / "diabetic_data.zip") as archive:
        text = io.TextIOWrapper(archive.open("diabetic_data.csv"), encoding="utf-8")
        encounters = defaultdict(list)
        for row in csv.DictReader(text):
            given = [row[f"diag_{n}"] for n in (1, 2, 3) if row[f"diag_{n}"] != "?"]
            encounters[int(row["patient_nbr"])].append((int(row["encounter_id"]), given))
    kept = {
        patient: sorted(of) for patient, of in encounters.items() if all(codes for _, codes in of)
    }
    assert (
        len(found.patients) == len(kept)
        and (found.visits > 1).sum() == 16_773
        and found.visits.max() == 40
    )
    for number in (0, 1000, 50_000):
        patient = kept[int(found.patients[number])]
        for row, (_, codes) in zip(
            range(found.first[number], found.first[number + 1]), patient, strict=True
        ):
            expected = Counter(icd.restore_zeros(code) for code in codes)
            cells = found.visit_codes[[row]].tocoo()
            assert dict(zip(found.codes[cells.coords[1]], cells.data, strict=True)) == expected
    assert np.all(np.diff(found.days)[np.diff(found.owner) == 0] == 1)


# The simulated truth -----------------------------------------------------------------------------


def test_preparation_gives_back_what_was_drawn(simulated, records):
    cohort = simulate.drawn(simulated)
    visit, category = cohort.codes.nonzero()
    full = simulate.full_codes(cohort.seed, cohort.visit_patient[visit], category)
    drawn = defaultdict(set)
    for number, code in zip(visit.tolist(), full.tolist(), strict=True):
        drawn[number].add(code)
    last = np.cumsum(cohort.admissions) - 1
    assert len(records.patients) > 100 and records.has_labs
    for place, patient in enumerate(records.patients - simulate.FIRST_PATIENT):
        row = records.first[place + 1] - 1
        assert set(records.codes[records.visit_codes[[row]].nonzero()[1]]) == drawn[last[patient]]
    assert records.counts["diagnosis_rows"] == cohort.codes.nnz
    assert 0.2 < records.counts["diagnosis_rows_icd10"] / cohort.codes.nnz < 0.6


def test_codes_recur_and_the_oracle_is_calibrated():
    cohort = simulate.draw(3000, 1)
    several = np.flatnonzero(cohort.admissions > 1)
    chance = simulate.oracle(cohort, several, simulate.vocabulary())
    last = cohort.codes[np.cumsum(cohort.admissions)[several] - 1]
    assert chance.sum() == pytest.approx(last.sum(), rel=0.03)
    for low, high in ((0.01, 0.1), (0.1, 0.4), (0.4, 0.9)):
        here = (chance > low) & (chance <= high)
        assert np.asarray(last.toarray())[here].mean() == pytest.approx(
            chance[here].mean(), rel=0.1
        )


def test_the_same_seed_writes_the_same_tables(tmp_path):
    for name in "ab":
        simulate.write_tables(tmp_path / name, patients=40, seed=2)
    files = sorted((tmp_path / "a" / "hosp").iterdir())
    assert len(files) == 5
    for file in files:
        assert file.read_bytes() == (tmp_path / "b" / "hosp" / file.name).read_bytes()


def test_laboratory_results_of_the_first_day_are_some_of_those_of_the_visit(records):
    assert 0 < records.first_day.nnz < records.labs.nnz
    assert (records.first_day > records.labs).nnz == 0
    assert list(records.categories) == sorted(records.categories, key=cohorts.CATEGORIES.index)


# Cohorts -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["forced", "random"])
def test_cohorts_share_nobody_and_leave_nobody_out(records, how):
    parts = cohorts.split(records, how)
    everyone = np.concatenate(parts)
    assert len(everyone) == len(np.unique(everyone)) == len(records.patients)
    assert (records.visits[parts.single] == 1).all() and min(records.visits[parts.test]) > 1
    assert set(parts.pretrain) == set(parts.single) | set(parts.train)


def test_the_reported_split_leaves_no_code_to_the_test_and_the_random_one_does():
    cells = np.ones(
        (120, 21), dtype=int
    )  # 60 patients of two visits; codes 1 to 20 have one patient each
    cells[:, 1:] = 0
    cells[2 * np.arange(20), 1 + np.arange(20)] = 1
    records = Records(
        **{**vars(_small(cells)), "patients": np.arange(60), "first": np.arange(0, 121, 2)}
    )

    def unseen(how):
        there = graph.visits_of(records, cohorts.split(records, how, seed=3).train)
        return (np.asarray(records.visit_codes[there].sum(axis=0)).ravel() == 0).sum()

    assert unseen("forced") == 0 < unseen("random")


def test_another_seed_is_another_split_and_the_same_one_the_same(records):
    one, same, other = (cohorts.split(records, "random", seed) for seed in (1, 1, 2))
    assert np.array_equal(one.test, same.test) and not np.array_equal(one.test, other.test)


def test_account_adds_up(records):
    account = counts.account(records)
    cohorts = account["5 cohorts"]
    assert cohorts["single_visit_patients"] + cohorts["several_visit_patients"] == len(
        records.patients
    )
    assert (
        cohorts["train"] + cohorts["validation"] + cohorts["test"]
        == cohorts["several_visit_patients"]
    )
    assert account["6 graph"]["nodes"] == len(records.codes) + 1
    assert sum(account["3 vocabulary"]["laboratory_items_by_category"].values()) == len(
        records.items
    )


# Shell and bad input -----------------------------------------------------------------------------


def run(capsys, *arguments):
    with pytest.raises(SystemExit) as end:
        main([*map(str, arguments)])
    return end.value.code, capsys.readouterr()


def test_prepare_writes_every_count_beside_the_printed_ones(simulated, tmp_path, capsys):
    out = tmp_path / "counts.json"
    code, said = run(
        capsys, "prepare", "--dataset", "simulated", "--source", simulated, "--json", out
    )
    written = json.loads(out.read_text())
    assert code == 0 and "1,725,287" in said.out
    assert written["reported"]["6 graph"]["edges"]["value"] == 1_725_287
    assert [title[0] for title in written["account"] if title != "dataset"] == list("123456789")


@pytest.mark.parametrize(
    ("file", "old", "new", "says"),
    [
        ("patients", "2008 - 2010", "unknown", "anchor_year_group"),
        ("diagnoses_icd", ",9\n", ",8\n", "icd_version"),
        ("diagnoses_icd", "icd_code", "code", "has no column icd_code"),
        ("labevents", "flag", "flags", "has no column flag"),
        ("labevents", "50016,2", "50016,on 2", "is not a date; write it as 2150-01-31 13:45:00"),
        ("labevents", ",20000000,", ",visit 20000000,", "'visit 20000000' is not a whole number"),
        ("labevents", ",50016,", ",potassium,", "'potassium' is not a whole number"),
        (
            "diagnoses_icd",
            "10000000,20000000",
            "10000001,20000000",
            "is not of patient 10000001 in ADMISSIONS",
        ),
        (
            "diagnoses_icd",
            "10000000,20000000",
            "10000000,90000000",
            "admission 90000000 is not in ADMISSIONS",
        ),
        (
            "diagnoses_icd",
            "\n10000000,20000000,1,",
            "\n10000000,20000000,1,E11",
            "is not an ICD-9 code",
        ),
        ("admissions", "hadm_id", "hadm", "has no column hadm_id"),
    ],
)
def test_a_broken_table_is_refused_in_one_sentence(
    simulated, tmp_path, capsys, file, old, new, says
):
    shutil.copytree(simulated, tmp_path / "t")
    path = tmp_path / "t" / "hosp" / f"{file}.csv.gz"
    text = gzip.decompress(path.read_bytes()).decode()
    assert old in text
    path.write_bytes(gzip.compress(text.replace(old, new, 1).encode()))
    code, said = run(
        capsys,
        "prepare",
        "--dataset",
        "mimic4",
        "--source",
        tmp_path / "t",
        "--json",
        tmp_path / "o.json",
    )
    assert (
        code == 2
        and says in said.err
        and said.err.count("\n") == 1
        and not (tmp_path / "o.json").exists()
    )


@pytest.mark.parametrize("file", ["diagnoses_icd", "admissions", "patients", "d_labitems"])
def test_tables_pasted_twice_are_refused(simulated, tmp_path, file):
    shutil.copytree(simulated, tmp_path / "t")
    path = tmp_path / "t" / "hosp" / f"{file}.csv.gz"
    first, *others = gzip.decompress(path.read_bytes()).decode().splitlines(keepends=True)
    path.write_bytes(gzip.compress("".join([first, *others, *others]).encode()))
    with pytest.raises(InputError, match=r"has a row already|repeats row"):
        prepare.load("mimic4", tmp_path / "t")


def test_laboratory_events_are_known_by_their_id_and_counted_by_admission(
    simulated, records, tmp_path
):
    shutil.copytree(simulated, tmp_path / "t")
    path = tmp_path / "t" / "hosp" / "labevents.csv.gz"
    first, *others = gzip.decompress(path.read_bytes()).decode().splitlines()
    lines = [f"labevent_id,{first}", *(f"{n},{line}" for n, line in enumerate(others))]
    lines.append("9999999,10000000,99999999,50016,2184-03-19 00:31:01,abnormal")
    path.write_bytes(gzip.compress("\n".join(lines).encode()))
    counts = prepare.load("mimic4", tmp_path / "t").counts
    assert (
        counts["labevents_of_no_admission"] == 1
        and records.counts["labevents_of_no_admission"] == 0
    )
    path.write_bytes(gzip.compress("\n".join([*lines, *lines[1:]]).encode()))
    with pytest.raises(
        InputError, match=r"labevents\.csv\.gz: the row with the id \d+ stands there more than once"
    ):
        prepare.load("mimic4", tmp_path / "t")


def test_tables_of_diabetes130_give_what_they_gave(shared_data):
    found = prepare.load("diabetes130", shared_data / "diabetes130", digits="three")
    assert train.fingerprint(found) == "dcdbdda25aba2706"  # of the published runs


def test_unknown_names_and_places_are_refused(tmp_path):
    with pytest.raises(InputError, match="unknown to DuaLK"):
        prepare.load("eicu")
    with pytest.raises(InputError, match="give it by --source"):
        prepare.load("mimic4")
    with pytest.raises(InputError, match="no such file"):
        prepare.load("mimic4", tmp_path / "none")
    with pytest.raises(InputError, match="at least 1 patient"):
        simulate.draw(0)
