"""A path is data, never text of a shell, of Make or of YAML, whatever it is made of."""

import shutil
import subprocess
import sys

import pytest
from shell import start

from scoehr.files import CHECKOUT

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
    done = subprocess.run(command, cwd=folder, env=environment or None, capture_output=True, text=True, check=True)
    assert not (folder / "hit").exists()
    return done.stdout.split("\0")[:-1]


@pytest.mark.parametrize("name", NAMES)
def test_make_hands_every_source_over_as_it_is(makefile, name):
    assert f"--source={name}" in made(makefile, f"SOURCE={name}")


def test_make_takes_its_variables_from_the_environment_too(makefile):
    assert "--source= $(touch hit)" in made(makefile, SOURCE=" $(touch hit)", PATH="/usr/bin:/bin")
    assert "--profile=$(shell touch hit)" in made(makefile, "PROFILE=$(shell touch hit)")
    assert made(makefile) == ["report", "--dataset=simulated", "--profile=quick", "--seed=0"]


@pytest.mark.parametrize("name", ["one #2", "".join(NAMES).replace("/", "")])
def test_the_workflow_reads_the_folder_that_is_named(tmp_path, name):
    """Also where what YAML would make of the path is a folder too."""
    for patients, folder in {3: name, 4: name.split(" #")[0]}.items():
        (tmp_path / folder).mkdir()
        rows = [f"{patient},X\n" for patient in range(patients)]
        (tmp_path / folder / "table.csv").write_text("patient_id,code\n" + "".join(rows))
    code = (
        "import sys; from scoehr import cli\n"
        "settings = cli._workflow('table', sys.argv[1], 'quick', 0)\n"
        "cli._snakemake(settings, 1, 'build/table-quick/account-0.txt', None)\n"
    )
    command = [sys.executable, "-c", code, tmp_path / name / "table.csv"]
    process = start(command, tmp_path, SCOEHR_ROOT=str(tmp_path))
    _, said = process.communicate(timeout=240)
    assert process.returncode == 0, said
    account = (tmp_path / "build" / "table-quick" / "account-0.txt").read_text().splitlines()
    assert account[[line[:10] for line in account].index("patients  ")].split() == ["patients", "3"]
    assert not list(tmp_path.rglob("hit"))
