"""The command line: what it prints, what it writes, how it ends."""

import ast
import errno
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from shell import COMMAND, done, inside, long_table, refused, scoehr, start

from companions.dualk import experiments as dualk
from companions.mortality_attack import experiments as mortality
from reproduction import book
from reproduction.synthesis import experiments
from scoehr import files, generators
from scoehr import shell as shells
from scoehr.data.matrix import CodeMatrix
from scoehr.files import InputError
from scoehr.shell import explain

ROOT = Path(__file__).resolve().parents[2]
COMMANDS = [
    "simulate",
    "data",
    "split",
    "fit",
    "sample",
    "complete",
    "evaluate",
    "review",
]
COMMANDS += ["experiments", "run", "report", "pdf", "notebook", "build", "publish", "check"]


def readme_block(language, word):
    """The README's code block of this language that holds this word."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (block,) = [
        b
        for b in re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
        if word in b
    ]
    return block


# Help ---------------------------------------------------------------------------------------------------------------


def test_help_lists_the_commands():
    assert re.findall(r"^  ([a-z]+)  ", inside("--help").stdout, re.MULTILINE) == COMMANDS
    assert inside().stdout == inside("--help").stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_each_command(command):
    assert done(command, "--help").startswith(f"Usage: scoehr {command}")


def test_help_imports_nothing_heavy():
    code = "import sys, reproduction.cli; print([name for name in ('numpy', 'pandas', 'torch') if name in sys.modules])"
    assert ast.literal_eval(subprocess.check_output([sys.executable, "-c", code], text=True)) == []


def test_console_script_is_the_module():
    script = Path(sys.executable).with_name("scoehr")
    assert subprocess.check_output([script, "--help"], text=True) == inside("--help").stdout


@pytest.mark.parametrize(
    "arguments", [["fitt"], ["fit"], ["sample", "model", "-n", "0", "--out", "x"], ["data", "--no"]]
)
def test_wrong_usage(arguments):
    refused(scoehr(*arguments), "--help")


# Data ---------------------------------------------------------------------------------------------------------------


def test_mimic3_demo_figures(shared_data, tmp_path):
    said = done(
        "data",
        "mimic3",
        "--source",
        shared_data / "mimic3-demo",
        "--out",
        tmp_path / "matrix.parquet",
    )
    figures = {line[:44].strip(): line[44:].strip() for line in said.splitlines()}
    assert figures["patients"] == "100"
    assert figures["admissions"] == "129"
    assert figures["codes"] == "275"
    assert figures["mean cell"] == "0.0640"
    assert any("dropped" in line for line in said.splitlines())
    assert CodeMatrix.read(tmp_path / "matrix.parquet").shape == (100, 275)


def test_simulated_tables_are_read_back(tmp_path):
    done("simulate", "--out", tmp_path / "tables", "--patients", 50, "--seed", 3)
    done("data", "mimic3", "--source", tmp_path / "tables", "--out", tmp_path / "matrix.parquet")
    assert len(CodeMatrix.read(tmp_path / "matrix.parquet")) == 50


def test_split_keeps_every_patient_once(tmp_path):
    done("split", long_table(tmp_path / "table.csv"), "--out", tmp_path / "parts")
    parts = [
        CodeMatrix.read(tmp_path / "parts" / f"{name}.parquet")
        for name in ("train", "validation", "test")
    ]
    patients = [patient for part in parts for patient in part.patients]
    assert sorted(patients) == sorted(set(pd.read_csv(tmp_path / "table.csv")["patient_id"]))


# One generator ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def readme_folder(tmp_path_factory):
    """The folder in which the README's shell commands for one's own table have been run, on a narrow network."""
    folder = tmp_path_factory.mktemp("readme")
    long_table(folder / "patients.csv")
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    script = readme_block("sh", "fit parts/train.parquet").replace(
        "--out model", "--out model --set width=64", 1
    )
    subprocess.run(
        ["bash", "-euc", script], cwd=folder, env={**os.environ, "PATH": path}, check=True
    )
    return folder


def test_readme_shell_commands(readme_folder):
    synthetic = CodeMatrix.read(readme_folder / "synthetic.parquet")
    train = CodeMatrix.read(readme_folder / "parts" / "train.parquet")
    assert len(synthetic) == 500
    assert list(synthetic.codes) == list(train.codes)
    assert set(pd.read_parquet(readme_folder / "synthetic.parquet")) == {
        "patient_id",
        "code",
        "count",
    }


def test_scores_have_the_agreed_form(readme_folder):
    scores = json.loads((readme_folder / "scores.json").read_text())
    assert set(scores) >= {
        "reported",
        "fidelity",
        "utility",
        "privacy",
        "reference",
        "gap",
        "n",
        "seed",
        "versions",
    }
    assert set(scores["reference"]) == {"real", "independent", "zero", "copy", "resampled"}


def test_readme_python(readme_folder, tmp_path):
    long_table(tmp_path / "patients.csv")
    script = readme_block("python", "generators.preset").replace(
        'preset("thinning")', 'preset("thinning", width=64)'
    )
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, check=True)
    assert (tmp_path / "model" / "config.json").exists()


def test_same_seed_same_patients(readme_folder, tmp_path):
    for name, seed in {"a": 5, "b": 5, "c": 6}.items():
        done(
            "sample",
            readme_folder / "model",
            "-n",
            60,
            "--seed",
            seed,
            "--out",
            tmp_path / f"{name}.parquet",
        )
    a, b, c = (CodeMatrix.read(tmp_path / f"{name}.parquet") for name in "abc")
    assert a.equals(b) and not a.equals(c)


def test_fewer_steps(readme_folder, tmp_path):
    leaps = ("--sampler", "tau_leaping", "--steps", 4)
    said = done(
        "sample", readme_folder / "model", "-n", 30, *leaps, "--out", tmp_path / "out.parquet"
    )
    assert "30 patients" in said
    assert len(CodeMatrix.read(tmp_path / "out.parquet")) == 30


def test_evaluate_says_verdicts(readme_folder, tmp_path):
    parts = readme_folder / "parts"
    said = done(
        "evaluate", parts / "test.parquet", parts / "train.parquet", "--train", parts / "train.parquet",
        "--all",
    )  # fmt: skip
    assert "as fresh real patients" in said and "They look like fresh real patients" in said
    assert "Whom they expose was not measured" in said
    assert "reported\n  DDM as reported" in said


def test_evaluate_without_the_training_table(readme_folder, tmp_path):
    table, synthetic = readme_folder / "parts" / "test.parquet", readme_folder / "synthetic.parquet"
    done("evaluate", table, synthetic, "--json", tmp_path / "scores.json")
    assert json.loads((tmp_path / "scores.json").read_text())["fidelity"]


def test_evaluate_attacks_the_table_and_the_model(readme_folder, tmp_path):
    parts, out = readme_folder / "parts", tmp_path / "scores.json"
    sets = parts / "test.parquet", readme_folder / "synthetic.parquet"
    model = shutil.copytree(readme_folder / "model", tmp_path / "model")
    options = ["--train", parts / "train.parquet", "--model", model, "--card", "--all"]
    said = done("evaluate", *sets, *options, "--json", out)
    assert "Reference model, TPR at 0.1 % FPR" in said and "no evidence of privacy" in said
    assert "Linkability, risk" in said
    found = json.loads(out.read_text())
    attacks = found["attacks"]
    assert set(attacks["scores"]) == set(attacks["floor"]) and len(attacks["exposed"]) == 10
    assert len(found["headline"]) == 8
    card = (model / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert found["verdicts"]["privacy"]["sentence"] in card and "| Copies, risk |" in card


def test_a_private_generator_keeps_no_scores_in_its_cards(readme_folder, monkeypatch):
    kind = type(generators.load(readme_folder / "model"))
    monkeypatch.setattr(kind, "releases_data_facts", False)
    table = readme_folder / "parts" / "test.parquet"
    options = ("--train", table, "--model", readme_folder / "model", "--card")
    refused(inside("evaluate", table, table, *options), "without noise")


def test_evaluate_prints_eight_numbers_and_writes_a_report(readme_folder, tmp_path):
    parts, page = readme_folder / "parts", tmp_path / "report.html"
    sets = parts / "test.parquet", readme_folder / "synthetic.parquet"
    said = done("evaluate", *sets, "--train", parts / "train.parquet", "--html", page)
    numbers = said.split("fresh real\n")[1].split("\n\n")[0].splitlines()
    assert len(numbers) == 8 and "DDM" not in said
    assert said.rstrip().endswith(f"wrote {page}")
    assert "synthetic.parquet, 500 patients" in page.read_text(encoding="utf-8")
    refused(inside("evaluate", *sets, "--html", tmp_path / "report.json"), ".html")
    refused(inside("evaluate", *sets, "--card"), "--model")


def test_attacks_need_the_training_table(readme_folder, tmp_path):
    table = readme_folder / "parts" / "test.parquet"
    refused(inside("evaluate", table, table, "--attacks", "--json", tmp_path / "s.json"), "--train")


# The study ----------------------------------------------------------------------------------------------------------


def test_experiments_lists_the_plan():
    lines = done("experiments", "--list").splitlines()
    assert {"finished", "to do"} >= {line[:9].strip() for line in lines}
    for row in ("reported", "official-epochs-100", "thinning"):
        assert any(f"simulated-quick-{row}-s0-" in line for line in lines)


def test_run_of_an_unknown_name():
    refused(inside("run", "fastest"), "fastest", "fast")


@pytest.mark.parametrize(
    "command", [["run", "fast"], ["experiments"], ["report"], ["notebook", "01-cohort"]]
)
def test_a_profile_is_one_of_the_plan(command):
    sizes = list(yaml.safe_load((ROOT / "workflow" / "experiments.yaml").read_text())["profiles"])
    refused(inside(*command, "--profile", "huge"), "'huge' is unknown; choose one of", *sizes)


def test_a_seed_is_a_whole_number_of_any_type():
    plans = [
        lambda seed: [each.id for each in experiments.plan(seed=seed).values()],
        lambda seed: [each.id for each in dualk.plan("simulated", None, "quick", seed).values()],
        lambda seed: [each.id for each in mortality.plan("simulated", "quick", seed).values()],
    ]
    for plan in plans:
        assert plan("3") == plan(np.int64(3)) == plan(3) != plan(0)
        for wrong in ("three", -1, 2**64, 1.5, True, ""):
            with pytest.raises(InputError, match="whole number"):
                plan(wrong)


@pytest.mark.parametrize("seed", ["-1", "1.5", "x", str(2**63)])
def test_a_seed_of_the_shell_is_checked_at_once(seed):
    for command in (
        ["run", "fast"],
        ["split", "none.csv", "--out", "none"],
        ["report"],
    ):
        refused(inside(*command, f"--seed={seed}"), "--seed", seed, "whole number")


def test_every_profile_of_the_plan_may_be_listed():
    for size in yaml.safe_load((ROOT / "workflow" / "experiments.yaml").read_text())["profiles"]:
        assert f" simulated-{size}-fast-s0-" in done("experiments", "--list", "--profile", size)


@pytest.mark.parametrize("name", ["../scoehr/files", "nothing", "01-cohort.py", ""])
def test_a_notebook_is_one_of_the_book(name, tmp_path, monkeypatch):
    monkeypatch.setattr(book, "ROOT", tmp_path)
    refused(inside("notebook", name), "no such notebook", "01-cohort")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--dataset", "mimic5"], ["mimic5"]),
        (["--dataset", "mimic3"], ["--source"]),
        (["--dataset", "mimic3", "--source", "nowhere"], ["nowhere"]),
    ],
)
def test_report_refuses_at_once(arguments, words):
    refused(inside("report", *arguments), *words)


TOY = """
rule all:
    input: "b.txt"
rule a:
    output: "a.txt"
    shell: "echo made >> log.txt; touch {output}"
rule b:
    input: "a.txt"
    output: "b.txt"
    shell: "touch {output}; test -e go || sleep 60"
"""


def toy_report(folder):
    """The report's way to run a workflow, on a graph of two steps of which the second hangs until ``go`` is there."""
    (folder / "Snakefile").write_text(TOY)
    code = (
        "import sys, pathlib, reproduction.cli as cli\n"
        "cli.WORKFLOW = pathlib.Path('Snakefile').resolve()\n"
        "cli.main(['report', '--cores', '1'])\n"
    )
    return start([sys.executable, "-c", code], folder, SCOEHR_ROOT=str(folder))


def wait_for(path):
    end = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < end, f"{path} was not made"
        time.sleep(0.05)


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGKILL])
def test_report_goes_on_after_it_was_stopped(tmp_path, ending):
    first = toy_report(tmp_path)
    wait_for(tmp_path / "b.txt")
    workflow = int(Path(f"/proc/{first.pid}/task/{first.pid}/children").read_text())
    first.send_signal(ending)
    _, err = (
        first.communicate(timeout=60) if ending == signal.SIGINT else (first.wait(timeout=60), "")
    )
    if ending == signal.SIGINT:
        assert first.returncode == 2 and err.splitlines()[-1] == "scoehr: error: interrupted"
    else:  # the workflow lives on alone: a second report has to wait for it
        assert "another report" in toy_report(tmp_path).communicate(timeout=60)[1]
        os.killpg(workflow, signal.SIGKILL)
    (tmp_path / "go").touch()
    again = toy_report(tmp_path)
    out, err = again.communicate(timeout=90)
    assert again.returncode == 0, err
    assert "index.html" in out
    assert (tmp_path / "log.txt").read_text() == "made\n"  # the finished step was not made again


# Errors -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (InputError("a\nb"), "a b"),
        (KeyboardInterrupt(), "interrupted"),
        (MemoryError(), "not enough memory"),
        (
            RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"),
            "not enough memory",
        ),
        (OSError(errno.ENOSPC, "No space left on device", "x"), "no space left on device"),
        (ValueError("I/O error: No space left on device (os error 28)"), "no space left on device"),
        (PermissionError(errno.EACCES, "Permission denied", "there"), "there: Permission denied"),
        (FloatingPointError("sampling diverged"), "sampling diverged"),
        (
            ModuleNotFoundError("No module named 'papermill'", name="papermill"),
            "papermill is missing",
        ),
        (
            ModuleNotFoundError("x", name="bs4"),
            "beautifulsoup4 is missing; install scoehr with its extra book",
        ),
        (
            ModuleNotFoundError("x", name="torch_geometric.nn"),
            "torch-geometric is missing; install scoehr with its",
        ),
        (ModuleNotFoundError("x", name="captum.attr"), "extra companions"),
        (ModuleNotFoundError("x", name="opacus"), "extra private"),
        (ModuleNotFoundError("x", name="snakemake"), "extra pipeline"),
        (ModuleNotFoundError("x", name="sklearn"), "scikit-learn is missing; install scoehr anew"),
        (ModuleNotFoundError("x", name="tensorflow"), "tensorflow is missing; install it"),
        (
            OSError(errno.EIO, "Input/output error", "/d/.a b.0123abcd-17-4.89abcdef/a b"),
            "/d/a b: Input",
        ),
    ],
)
def test_errors_in_one_sentence(error, sentence):
    assert sentence in explain(error)


@pytest.mark.parametrize(("package", "extra"), [("snakemake", "pipeline"), ("papermill", "book")])
def test_a_missing_package_is_told_before_any_work(tmp_path, monkeypatch, package, extra):
    """As where scoehr was installed without its extras."""
    find = metadata.distribution

    def distribution(name):
        if name == package:
            raise metadata.PackageNotFoundError(name)
        return find(name)

    monkeypatch.setattr(metadata, "distribution", distribution)
    refused(
        inside("report"), f"the package {package} is missing; install scoehr with its extra {extra}"
    )


SAYING = """
import typer
from scoehr import shell
app = typer.Typer()
@app.command()
def say(what: str): print(what + chr(0xdcff))
shell.run_shell(app, "say", ["ε = 3 at δ = 1e-5, R², 3 × 4, café, … → ’x’ – 📈"])
"""


@pytest.mark.parametrize(
    ("encoding", "spelt"),
    [
        ("ascii", "epsilon = 3 at delta = 1e-5, R2, 3 x 4, cafe, ... -> 'x' - ??"),
        ("latin-1", "epsilon = 3 at delta = 1e-5, R², 3 × 4, café, ... -> 'x' - ??"),
        ("utf-8", "ε = 3 at δ = 1e-5, R², 3 × 4, café, … → ’x’ – 📈?"),
    ],
)
def test_a_terminal_without_some_letters_loses_no_result(encoding, spelt):
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    said = subprocess.run(
        [sys.executable, "-c", SAYING], capture_output=True, check=True, env=environment
    )
    assert said.stdout.decode(encoding).strip() == spelt


@pytest.mark.parametrize(("home", "moved"), [("/dev/null/home", True), (".", False)])
def test_a_home_folder_that_cannot_be_written_is_not_needed(tmp_path, monkeypatch, home, moved):
    """Programs keep their caches in the working root then, and only then."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(files, "ROOT", tmp_path / "root")
    monkeypatch.setenv("HOME", home)
    for variable in shells.CACHES:
        monkeypatch.setenv(variable, "")
    done("--help")
    kept = {variable: os.environ[variable] for variable in shells.CACHES}
    place = tmp_path / "root" / "build" / "home"
    assert kept == {
        name: str(place / below) if moved else "" for name, below in shells.CACHES.items()
    }


@pytest.mark.parametrize(
    "fault", [TypeError("x"), KeyError("x"), ModuleNotFoundError("x", name="scoehr.x")]
)
def test_our_own_faults_are_not_hidden(fault):
    assert explain(fault) is None


def test_command_of_the_module_is_named_in_its_help():
    result = subprocess.run(
        [*COMMAND, "sample", "--help"], capture_output=True, text=True, check=True
    )
    assert "-n, --patients" in result.stdout
