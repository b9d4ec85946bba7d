"""One list of dependencies, one lock, and a README whose commands exist."""

import importlib.metadata
import itertools
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
import typer
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from reproduction.cli import app

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def listed():
    """Every dependency of pyproject.toml, with those of the extras."""
    return [
        Requirement(line) for line in [*PROJECT["dependencies"], *itertools.chain(*EXTRAS.values())]
    ]


def locked():
    """Pinned versions by package name."""
    lines = (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()
    pins = [line.split("==") for line in lines if not line.startswith("#")]
    return {canonicalize_name(name): version for name, version in pins}


def blocks(language):
    """The code blocks of the README in this language."""
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.DOTALL | re.MULTILINE)


def shell_lines():
    return [line for block in blocks("sh") for line in block.splitlines()]


def makefile_targets():
    return set(
        re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    )


def test_environment_file_names_python_and_this_project_only():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    *conda, by_pip = environment["dependencies"]
    names = [re.match(r"[a-z]+", entry).group() for entry in conda]
    assert names == ["python", "pip"]
    assert (
        Version(conda[0].split("=")[1])
        in Requirement(f"python{PROJECT['requires-python']}").specifier
    )
    lock, install = by_pip["pip"]
    assert lock == "-c requirements.lock"
    extras = re.fullmatch(r"-e \.\[([a-z,]+)\]", install).group(1).split(",")
    assert set(extras) == set(EXTRAS)


@pytest.mark.parametrize("requirement", listed(), ids=str)
def test_lock_pins_what_the_project_lists(requirement):
    assert Version(locked()[canonicalize_name(requirement.name)]) in requirement.specifier


def test_lock_pins_all_that_the_packages_need():
    pins, todo, seen = locked(), [(r.name, r.extras) for r in listed()], set()
    while todo:
        name, extras = todo.pop()
        for extra in {"", *extras} - {
            extra for seen_name, extra in seen if seen_name == canonicalize_name(name)
        }:
            seen.add((canonicalize_name(name), extra))
            needs = map(Requirement, importlib.metadata.distribution(name).requires or [])
            todo += [
                (r.name, r.extras)
                for r in needs
                if r.marker is None or r.marker.evaluate({"extra": extra})
            ]
    assert {name for name, _ in seen} <= set(pins)


def test_lock_is_what_is_installed():
    """The tests speak for the locked versions only if those are here (a local build tag such as +cpu aside)."""
    here = {name: Version(importlib.metadata.version(name)).public for name in locked()}
    assert here == locked()


def test_lock_has_no_address():
    assert not re.search(
        r"://|@|--(index|extra|find)", (ROOT / "requirements.lock").read_text(encoding="utf-8")
    )


def test_torch_is_pinned():
    assert locked()["torch"] == "2.13.0"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, made from a copy of the checkout."""
    place = tmp_path_factory.mktemp("wheel")
    for name in ("scoehr", "reproduction", "companions", "workflow"):
        shutil.copytree(ROOT / name, place / name, symlinks=True)
    for name in ("pyproject.toml", "README.md", "LICENSE", "LICENSE-TEXT"):
        shutil.copy(ROOT / name, place / name)
    build = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "-q",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        "wheel",
        ".",
    ]
    subprocess.run(build, cwd=place, check=True)
    (made,) = (place / "wheel").iterdir()
    return made


@pytest.fixture(scope="module")
def installed(wheel):
    """A function that runs Python in a folder, with the wheel installed and no checkout in sight."""
    site = wheel.parents[1] / "site"
    install = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "-q",
        "--no-deps",
        "--no-index",
        "--target",
        site,
        wheel,
    ]
    subprocess.run(install, check=True)
    kept = {key: value for key, value in os.environ.items() if key != "SCOEHR_ROOT"}

    def python(folder, *arguments):
        return subprocess.run(
            [sys.executable, *map(str, arguments)], cwd=folder, env={**kept, "PYTHONPATH": str(site)},
            capture_output=True, text=True, check=False,
        )  # fmt: skip

    before = {path for path in site.rglob("*") if "__pycache__" not in path.parts}
    yield python
    assert {path for path in site.rglob("*") if "__pycache__" not in path.parts} == before


def test_wheel_holds_every_file_of_the_package(wheel):
    files = {
        path.relative_to(ROOT).as_posix()
        for package in ("scoehr", "reproduction", "companions")
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "workflow" not in path.parts
    }
    held = set(zipfile.ZipFile(wheel).namelist())
    assert {file for file in files if "__pycache__" not in file} <= held
    plans = {
        f"reproduction/{path.relative_to(ROOT).as_posix()}"
        for path in (ROOT / "workflow").rglob("*.yaml")
    }
    assert {"reproduction/workflow/Snakefile", *plans} <= held


@pytest.mark.parametrize(
    "command", [["report"], ["notebook", "01-cohort"], ["build"], ["publish"]], ids=" ".join
)
def test_what_needs_a_checkout_says_so_before_any_work(installed, tmp_path, command):
    done = installed(tmp_path, "-m", "reproduction", *command)
    sentence = (
        f"needs a checkout of the repository; clone {PROJECT['urls']['Repository']} and run there"
    )
    assert (done.returncode, done.stderr) == (2, f"scoehr: error: the book {sentence}\n")
    assert list(tmp_path.iterdir()) == []


def test_an_installed_package_works_in_the_folder_it_is_called_in(installed, tmp_path):
    code = (
        "from reproduction.synthesis.experiments import ROOT, plan; from scoehr import files; "
        "print(ROOT, files.INSTALLED, len(plan()) > 20)"
    )
    assert installed(tmp_path, "-c", code).stdout.split() == [str(tmp_path), "True", "True"]


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_an_installed_package_runs_its_plan(installed, tmp_path):
    """In a folder of the user's own, on a table of his own, with the plan that came with the package."""
    rows = [f"{patient},{visit},C{code}" for patient in range(200) for visit in range(1 + patient % 3)
            for code in {patient % 7, (patient + visit) % 5, 9}]  # fmt: skip
    (tmp_path / "visits.csv").write_text("\n".join(["patient_id,visit,code", *rows]) + "\n")
    data = ("--dataset", "table", "--source", "visits.csv")
    assert (
        len(
            installed(
                tmp_path, "-m", "reproduction", "experiments", "--list", *data
            ).stdout.splitlines()
        )
        > 20
    )
    for name in ("whole", "copula"):
        done = installed(tmp_path, "-m", "reproduction", "run", name, *data)
        assert done.returncode == 0, (name, done.stderr)
    plan = yaml.safe_load((ROOT / "workflow" / "experiments.yaml").read_text(encoding="utf-8"))
    own = {
        "profiles": plan["profiles"],
        "experiments": {"copula-counts": plan["experiments"]["copula-counts"]},
    }
    (tmp_path / "workflow").mkdir()
    (tmp_path / "workflow" / "experiments.yaml").write_text(yaml.safe_dump(own, sort_keys=False))
    own_study = ("--study", "synthesis", "--cores", 1)
    done = installed(tmp_path, "-m", "reproduction", "experiments", *data, *own_study)
    assert done.returncode == 0, done.stderr
    made = {path.name.split("-s0")[0] for path in (tmp_path / "runs" / "done").iterdir()}
    assert made == {f"table-quick-{row}" for row in ("whole", "copula", "copula-counts")}


def test_address_of_the_repository_stands_in_one_place():
    address = PROJECT["urls"]["Repository"]
    files = subprocess.run(
        ["git", "grep", "-l", "-F", address], cwd=ROOT, capture_output=True, text=True
    ).stdout.split()
    assert [file for file in files if not file.endswith(".ipynb")] == ["pyproject.toml"]


def test_citation_agrees_with_the_project():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == importlib.metadata.version("scoehr")
    assert citation["license"] == PROJECT["license"]


def test_makefile_says_what_each_target_does():
    said = subprocess.run(
        ["make", "--no-print-directory", "help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert {line.split()[0] for line in said.splitlines()} == makefile_targets()


@pytest.mark.parametrize("line", [line for line in shell_lines() if line.startswith("make")])
def test_readme_make_commands_exist(line):
    assert shlex.split(line)[1] in makefile_targets()
    dry = subprocess.run(
        ["make", "-n", *shlex.split(line)[1:]], cwd=ROOT, capture_output=True, text=True
    )
    assert dry.returncode == 0, dry.stderr


@pytest.mark.parametrize("line", [line for line in shell_lines() if line.startswith("scoehr")])
def test_readme_scoehr_commands_parse(line):
    group = typer.main.get_command(app)
    name, *arguments = shlex.split(line)[1:]
    group.commands[name].make_context(name, arguments).close()


@pytest.mark.parametrize("block", blocks("python"))
def test_readme_python_compiles(block):
    compile(block, "README.md", "exec")


def test_readme_shows_its_commands_and_picture_first():
    first = "\n".join(README.splitlines()[:30])
    assert "make report" in first and "make test" in first
    picture = re.search(r"!\[.+\]\((.+)\)", first).group(1)
    assert (ROOT / picture).is_file()


def test_readme_names_folders_that_exist():
    named = re.findall(r"^\| `([a-z_]+)/`", README, re.MULTILINE)
    made = {"build", "runs"}
    assert [name for name in named if name not in made and not (ROOT / name).is_dir()] == []


def test_continuous_integration_runs_the_readme_commands():
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    first = blocks("sh")[0].split("\n")[:2]
    assert all(command in script for command in first)
    for file in (ROOT / ".github" / "workflows").glob("*.yml"):
        runs = [
            step["run"]
            for job in yaml.safe_load(file.read_text())["jobs"].values()
            for step in job["steps"]
            if "run" in step
        ]
        assert all(
            line.split()[1] in makefile_targets() for run in runs for line in run.splitlines()
        )
