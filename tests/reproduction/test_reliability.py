"""What comes damaged or would leak, by the generators of benchmarks.reliability under seeds of their own."""

import json
import subprocess
import sys

import pytest
import torch
from nbformat import v4

from benchmarks import (
    altered_models,
    mutated_tables,
    planted_leaks,
    reliability,
    slow_reader,
    trials,
)
from reproduction import leaks, publishing
from scoehr.data import datasets
from scoehr.files import InputError
from scoehr.models import Autoencoder

#: Seeds that the benchmark does not use.
FEW, MANY = 11, 12


def faults(outcomes, expected):
    """The outcomes that failed; so many were tried."""
    found = list(outcomes)
    assert len(found) == expected
    return [each for each in found if each.fault]


def test_a_few_damaged_tables_are_refused_or_read_right(tmp_path):
    assert faults(mutated_tables.cases(30, FEW, tmp_path), 30) == []


def test_a_few_altered_models_are_refused_or_draw_the_same(tmp_path):
    assert faults(altered_models.cases(15, FEW, tmp_path), 15) == []


def test_a_few_leaks_are_found(tmp_path):
    assert faults(planted_leaks.notebooks(60, FEW), 60) == []
    plants = len(planted_leaks.PLANTS)
    assert faults(planted_leaks.folders(plants, FEW, tmp_path), plants) == []


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_two_thousand_tables_models_and_notebooks(tmp_path):
    assert faults(mutated_tables.cases(900, MANY, tmp_path / "tables"), 900) == []
    assert faults(altered_models.cases(400, MANY, tmp_path / "models"), 400) == []
    assert faults(planted_leaks.notebooks(700, MANY), 700) == []


# The trials themselves: what is wrong is found


@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        (lambda: 1 / 0, "traceback: ZeroDivisionError"),
        (lambda: refuse("two\nlines about t.csv"), "2 lines"),
        (lambda: refuse("says nothing of where"), "does not name t.csv"),
        (lambda: refuse("t.csv: has no rows"), ""),
        (lambda: 3, "other"),
        (lambda: 2, ""),
    ],
)
def test_an_answer_is_judged(answer, fault, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    named = tmp_path.relative_to(tmp_path) / "t.csv"
    outcome = trials.judged("a case", answer, lambda found: "" if found == 2 else "other", named)
    assert fault in outcome.fault and bool(fault) == bool(outcome.fault)


def refuse(message):
    raise InputError(message)


def test_an_answer_that_never_comes_is_given_up(monkeypatch):
    monkeypatch.setattr(trials, "PATIENCE", 0.2)

    def forever():
        while True:
            pass

    assert trials.judged("a case", forever, lambda found: "").fault == "no answer in time"


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("1,401,2\n2,428,1\n", ""),
        ("1,401,3\n2,428,1\n", "other counts"),
        ("1,401,2\n", "other patients"),
    ],
)
def test_the_second_reader_sees_other_values(text, fault, tmp_path):
    sound, other = tmp_path / "sound.csv", tmp_path / "other.csv"
    sound.write_text("patient_id,code,count\n1,401,2\n2,428,1\n")
    other.write_text(f"patient_id,code,count\n{text}")
    matrix = datasets.load("table", sound).matrix
    assert fault in slow_reader.differs("table", other, matrix)
    assert bool(slow_reader.differs("table", other, matrix)) == bool(fault)


def test_nearly_equal_tables_are_others():
    counts = altered_models.patients().dense(int)
    for change in reliability.NEARLY.values():
        assert change(counts).shape == counts.shape and (change(counts) != counts).any()


def test_the_command_writes_its_figures(tmp_path, monkeypatch):
    monkeypatch.setattr(reliability, "RESULT", tmp_path / "reliability.json")
    monkeypatch.setattr(sys, "argv", ["reliability", "--only", "notebooks", "--number", "5"])
    reliability.main()
    found = json.loads((tmp_path / "reliability.json").read_text())
    assert (
        found["kinds"]["notebooks"] | {"tried": 5, "failed": 0, "faults": []}
        == found["kinds"]["notebooks"]
    )
    assert (
        found["kinds"]["notebooks"]["command"]
        == "python -m benchmarks.reliability --only notebooks --number 5"
    )


# What the trials found


def test_a_member_of_a_zip_file_is_no_path_of_this_machine(tmp_path):
    outside = tmp_path / "diabetic_data.csv"
    outside.write_text("encounter_id,patient_nbr,diag_1,diag_2,diag_3\n1,2,428,?,?\n")
    source = tmp_path / "z.zip"
    code = "import sys, zipfile; zipfile.ZipFile(sys.argv[1], 'w').writestr(sys.argv[2], 'x')"
    subprocess.run([sys.executable, "-c", code, source, str(outside)], check=True)
    with pytest.raises(InputError, match=r"z\.zip"):
        datasets.load("diabetes130", source)


@pytest.mark.parametrize(
    "text", ["number of deaths: 2", "admissions: 9", "men: 7", "1 admissions have it"]
)
def test_a_small_count_is_found_where_people_write(text):
    for cell in (
        v4.new_markdown_cell(text),
        v4.new_code_cell(f"x = 1  # {text}", execution_count=1),
    ):
        assert publishing.findings(v4.new_notebook(cells=[cell]))
    assert list(leaks.written("def plan(patients: int, deaths: 4.5)")) == []


def test_a_run_that_does_not_say_whether_it_is_credentialed_is_not_published(tmp_path):
    run = planted_leaks.copied(planted_leaks.published_run(), tmp_path)
    config = json.loads((run / "config.json").read_text(encoding="utf-8"))
    (run / "config.json").write_text(json.dumps(config | {"credentialed": None}))
    assert "credentialed" in [each.place for each in publishing.check(tmp_path)]


def test_latents_that_are_no_numbers_are_said_to_diverge():
    network = Autoencoder(5, latent=3, head="poisson")
    assert (network.decode(torch.zeros(2, 3)) >= 0).all()
    with pytest.raises(FloatingPointError, match="sampling diverged"):
        network.decode(torch.full((2, 3), float("nan")))


def test_the_page_reads_figures_that_are_there():
    figures = json.loads(reliability.RESULT.read_text(encoding="utf-8"))
    assert set(figures["kinds"]) == set(reliability.KINDS)
    assert all(kind["tried"] > 0 for kind in figures["kinds"].values())
