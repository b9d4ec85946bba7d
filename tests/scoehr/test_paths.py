"""A path is data, never text of a shell, of Make or of YAML, whatever it is made of."""

import contextlib
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shell import COMMAND, done, inside, long_table, refused, start

from companions.dualk.__main__ import main as dualk
from companions.mortality_attack.__main__ import main as mortality
from reproduction.synthesis import experiments
from scoehr.data import datasets
from scoehr.data.matrix import CodeMatrix, write_batches
from scoehr.files import CHECKOUT, InputError, user_path

#: One path a kind: what a shell, Make, YAML, a pattern or a terminal would read in it.
NAMES = [
    "two words",
    'a"; touch hit; echo "',
    "it's",
    "$HOME and $(touch hit)",
    "$(shell touch hit)",
    "`touch hit`",
    "one #2",
    "c: d",
    "e:",
    "data[1]",
    "{braces},",
    "que?stion*",
    "ünïcode – 病人",
    "back\\slash%",
    "line\nend",
    "; & | < > !",
    "- dash",
]


@pytest.fixture
def makefile(tmp_path):
    """A folder with the Makefile and a command ``scoehr`` that says what it was given."""
    shutil.copy(CHECKOUT / "Makefile", tmp_path)
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    command = tmp_path / ".venv" / "bin" / "scoehr"
    command.write_text("#!/bin/sh\nprintf '%s\\0' \"$@\"\n")
    command.chmod(0o755)
    for name in ("pyproject.toml", "requirements.lock", ".venv/.ready"):
        (tmp_path / name).touch()
    return tmp_path


def made(folder, *variables, **environment):
    """The arguments that ``make report`` gives to ``scoehr``."""
    command = ["make", "--no-print-directory", "-s", "report", *variables]
    done = subprocess.run(
        command, cwd=folder, env=environment or None, capture_output=True, text=True, check=True
    )
    assert not (folder / "hit").exists()
    return done.stdout.split("\0")[:-1]


@pytest.mark.parametrize("name", NAMES)
def test_make_hands_every_source_over_as_it_is(makefile, name):
    assert f"--source={name}" in made(makefile, f"SOURCE={name}")


def test_make_takes_its_variables_from_the_environment_too(makefile):
    assert "--source= $(touch hit)" in made(makefile, SOURCE=" $(touch hit)", PATH="/usr/bin:/bin")
    assert "--profile=$(shell touch hit)" in made(makefile, "PROFILE=$(shell touch hit)")
    assert made(makefile) == ["report", "--dataset=simulated", "--seed=0"]


@pytest.mark.parametrize("name", ["one #2", "".join(NAMES).replace("/", "")])
def test_the_workflow_reads_the_folder_that_is_named(tmp_path, name):
    """Also where what YAML would make of the path is a folder too."""
    for patients, folder in {3: name, 4: name.split(" #")[0]}.items():
        (tmp_path / folder).mkdir()
        rows = [f"{patient},X\n" for patient in range(patients)]
        (tmp_path / folder / "table.csv").write_text("patient_id,code\n" + "".join(rows))
    code = (
        "import sys; from reproduction import cli\nfrom reproduction.synthesis import experiments as study\n"
        "settings = cli._workflow('table', sys.argv[1], 'quick', 0)\n"
        "place = study.place('table', sys.argv[1], 'quick')\n"
        "cli._snakemake(settings, 1, f'build/{place}/account-0.txt', None)\n"
    )
    command = [sys.executable, "-c", code, tmp_path / name / "table.csv"]
    process = start(command, tmp_path, SCOEHR_ROOT=str(tmp_path))
    _, said = process.communicate(timeout=240)
    assert process.returncode == 0, said
    (account,) = [
        path.read_text().splitlines() for path in tmp_path.glob("build/table-quick-*/account-0.txt")
    ]
    assert account[[line[:10] for line in account].index("patients  ")].split() == ["patients", "3"]
    assert not list(tmp_path.rglob("hit"))


@pytest.mark.parametrize("name", NAMES)
def test_every_path_is_read_and_written_as_it_is(tmp_path, name):
    """Of its own kind; what a pattern or a folder of columns would match lies beside it."""
    (tmp_path / name).mkdir()
    long_table(tmp_path / name / "a.csv", patients=30)
    done(
        "data",
        "table",
        "--source",
        tmp_path / name / "a.csv",
        "--out",
        tmp_path / name / f"{name}.csv",
    )
    done("split", tmp_path / name / f"{name}.csv", "--out", tmp_path / name / "parts")
    assert len(CodeMatrix.read(tmp_path / name / "parts" / "train.parquet")) > 10
    assert sorted(path.name for path in tmp_path.iterdir()) == [name]


# A home folder ------------------------------------------------------------------------------------


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    long_table(tmp_path / "table.csv", patients=40)
    return tmp_path


def test_a_home_folder_is_meant_wherever_a_path_is_given(home):
    done("data", "table", "--source", "~/table.csv", "--out", "~/a.parquet")
    done("split", "~/a.parquet", "--out", "~/parts")
    refused(
        inside("evaluate", "~/a.parquet", "~/table.csv", "--json=~/table.csv"),
        str(home / "table.csv"),
        ".json",
    )
    refused(inside("sample", "~/none", "-n", 3, "--out", "~/s.csv"), str(home / "none"))
    assert not (home / "~").exists()


def test_python_means_the_home_folder_too(home):
    assert len(datasets.load("table", "~/table.csv").matrix) == 40
    assert experiments.plan("table", "~/table.csv")["thinning"].source == str(home / "table.csv")


@pytest.mark.parametrize("path", ["~no-such-user/x", ""])
def test_nobodys_home_and_no_path_are_refused(home, path):
    commands = [
        ["data", "table", "--source", path],
        ["split", path, "--out", "parts"],
        ["simulate", "--out", path],
    ]
    commands += [
        ["run", "thinning", "--source", path],
        ["report", "--dataset", "table", "--source", path],
    ]
    for command in commands:
        refused(inside(*command), path or "empty")
    with pytest.raises(InputError, match=path or "empty"):
        user_path(path)


@pytest.mark.parametrize(
    ("shell", "command"), [(dualk, ["prepare", "--json", "x.json"]), (mortality, ["extract"])]
)
def test_the_companions_mean_the_home_folder_too(home, capsys, shell, command):
    for source, said in {
        "~/none": str(home / "none"),
        "~no-such-user/x": "no home",
        "": "empty",
    }.items():
        with pytest.raises(SystemExit) as end:
            shell([*command, "--source", source])
        lines = capsys.readouterr().err.strip().splitlines()
        assert end.value.code == 2 and len(lines) == 1 and said in lines[0], lines
    assert [path.name for path in home.glob("[!.]*")] == [
        "table.csv"
    ]  # libraries may make hidden caches


@pytest.mark.parametrize("option", ["--out", "--source"])
def test_bytes_that_are_no_text_are_refused(tmp_path, option):
    command = [*COMMAND, "data", "table", option, b"x\xff.csv"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    refused(result, "x?.csv", "UTF-8")
    assert list(tmp_path.iterdir()) == []


# Outputs ------------------------------------------------------------------------------------------


@contextlib.contextmanager
def in_a_new_folder():
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        yield


@settings(deadline=None, max_examples=40)
@given(st.data())
def test_a_csv_keeps_every_patient_and_every_code(data):
    """Also those without the other, in whatever batches they come."""
    patients, codes = data.draw(st.integers(1, 6)), data.draw(st.integers(1, 5))
    cells = st.lists(st.integers(0, 3) | st.just(0), min_size=codes, max_size=codes)
    array = np.array([data.draw(cells) for _ in range(patients)])
    names = np.array(['0"1,', "10", "1.50", "é", "Z"])[:codes]
    ids = data.draw(st.sampled_from([None, [f"p{row}" for row in range(patients)]]))
    matrix = CodeMatrix.from_array(array, names, patients=ids)
    cut = data.draw(st.integers(1, patients))
    batches = [
        matrix.take(rows) for rows in (np.arange(cut), np.arange(cut, patients)) if len(rows)
    ]
    path = Path("out.csv")
    with in_a_new_folder():
        written = write_batches(path, iter(batches), patients)
        found = datasets.load("table", path).matrix
    assert written == (codes, array.sum())
    assert found.equals(CodeMatrix.from_array(array, names, patients=ids).align(sorted(names)))


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A model made in a moment, and its table."""
    place = tmp_path_factory.mktemp("model")
    done("fit", long_table(place / "table.csv"), "--out", place / "model", "--preset", "copula")
    return place / "model"


def test_what_is_written_as_csv_is_read_again(model, tmp_path):
    done("sample", model, "-n", 30, "--out", tmp_path / "s.csv")
    done("sample", model, "-n", 30, "--out", tmp_path / "s.parquet")
    drawn, same = (
        datasets.load("table", tmp_path / name).matrix for name in ("s.csv", "s.parquet")
    )
    assert (tmp_path / "s.csv").read_text().startswith("patient_id,code,count\n0,")
    assert drawn.shape == (30, 24) and drawn.equals(same)


def outputs(folder, model):
    """Commands and what they write; what they read lies in the folder."""
    table = folder / "table.csv"
    return {
        "data": (["data", "table", "--source", table, "--out"], ".csv"),
        "sample": (["sample", model, "-n", 3, "--out"], ".csv"),
        "evaluate": (["evaluate", table, table, "--json"], ".json"),
        "train": (
            ["evaluate", model.parent / "table.csv", table, "--train", table, "--json"],
            ".json",
        ),
        "key": (["review", table, table, "--out", folder / "packet", "--key"], ".csv"),
        "said": (["review", "--score", table, "--key", table, "--json"], ".json"),
    }


@pytest.mark.parametrize("name", ["data", "sample", "evaluate", "train", "key", "said"])
def test_a_name_that_does_not_say_what_is_written_is_refused(model, tmp_path, name):
    long_table(tmp_path / "table.csv")
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    command, ending = outputs(tmp_path, model)[name]
    others = ["x.txt", "x.xlsx", "x.csv.gz", f"x{ending}.bak"]
    others += [] if name == "data" else ["x"]  # a folder of whole patients has no ending
    for other in others:
        refused(inside(*command, tmp_path / other), other, ending)
    (tmp_path / f"folder{ending}").mkdir()
    refused(inside(*command, tmp_path / f"folder{ending}"), f"folder{ending}", "is a folder")
    refused(inside(*command, tmp_path / "table.csv" / f"x{ending}"), "table.csv", "no folder")
    (tmp_path / f"folder{ending}").rmdir()
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize("how", ["itself", "a link to it", "it by a link"])
@pytest.mark.parametrize("name", ["data", "evaluate", "train", "key", "said"])
def test_what_is_read_is_never_replaced(model, tmp_path, name, how):
    ending = outputs(tmp_path, model)[name][1]
    table = long_table(tmp_path / f"table{ending}")
    content = table.read_bytes()
    (tmp_path / f"link{ending}").symlink_to(table)
    read, written = {
        "itself": "table table",
        "a link to it": "table link",
        "it by a link": "link table",
    }[how].split()
    command = [tmp_path / f"{read}{ending}" if part == tmp_path / "table.csv" else part
               for part in outputs(tmp_path, model)[name][0]]  # fmt: skip
    refused(inside(*command, tmp_path / f"{written}{ending}"), "is read")
    assert table.read_bytes() == content and (tmp_path / f"link{ending}").is_symlink()


def test_no_file_of_a_folder_that_is_read_is_replaced(model, tmp_path):
    copy = shutil.copytree(model, tmp_path / "model")
    refused(inside("sample", copy, "-n", 3, "--out", copy / "vocabulary.csv"), "is read")
    done("split", long_table(tmp_path / "table.csv"), "--out", tmp_path / "parts")
    refused(
        inside("split", tmp_path / "parts" / "train.parquet", "--out", tmp_path / "parts"),
        "would be replaced",
    )
    assert (copy / "vocabulary.csv").read_bytes() == (model / "vocabulary.csv").read_bytes()


@pytest.mark.parametrize(
    ("shell", "command"), [(dualk, "prepare"), (dualk, "train"), (mortality, "extract")]
)
def test_the_companions_keep_what_they_read(home, capsys, shell, command):
    (home / "table.json").write_text("{}")
    for source, target, said in [
        ("table.json", "table.json", "is read"),
        ("table.csv", "table.csv", ".json"),
    ]:
        with pytest.raises(SystemExit) as end:
            shell([command, "--source", source, "--json", target])
        lines = capsys.readouterr().err.strip().splitlines()
        assert end.value.code == 2 and len(lines) == 1 and said in lines[0], lines
    assert (home / "table.json").read_text() == "{}"
