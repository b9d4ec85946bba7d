"""A whole study of a few hundred patients in a folder of its own, made once for all tests of notebooks and book."""

import atexit
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

import yaml

from scoehr.data.simulate import sample_matrix

CHECKOUT = Path(__file__).resolve().parents[1]
#: Seconds of a processor that one process of the tiny study may take, however busy the machine is.
PROCESSOR_SECONDS = 3600
#: What the notebooks are run with, none of it their default.
PARAMETERS = {"dataset": "table", "profile": "tiny", "seed": 3}
PROFILE = {
    "report": ["main"],
    "patients": 400,
    "evaluated": 200,
    "factors": {
        "unet": {"width": 0.1, "epoch_fraction": 0.1, "autoencoder_epochs": 0.02},
        "mlp": {"width": 0.03, "epochs": 0.02, "autoencoder_epochs": 0.3},
        "whole": {"width": 0.06, "epochs": 0.02},
    },
    "settings": {"unet": {"steps": 10}},
}


@cache
def root() -> Path:
    """A copy of the checkout whose plan has the one profile ``tiny``, with a table of 900 patients in it."""
    folder = Path(tempfile.mkdtemp(prefix="scoehr-tiny-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    copy_checkout(folder)
    path = folder / "workflow" / "experiments.yaml"
    plan = yaml.safe_load(path.read_text(encoding="utf-8"))
    plan["profiles"] = {"tiny": PROFILE}
    path.write_text(yaml.safe_dump(plan, sort_keys=False), encoding="utf-8")
    sample_matrix(900, seed=5).write(source(folder))
    return folder


def copy_checkout(folder: Path) -> None:
    """Copy what a notebook or the book needs of the checkout."""
    for part in ("scoehr", "reproduction", "companions", "book", "notebooks", "workflow"):
        ignored = shutil.ignore_patterns("__pycache__", ".snakemake")
        shutil.copytree(CHECKOUT / part, folder / part, ignore=ignored)
    for part in (
        "pyproject.toml",
        "benchmarks/speed.json",
        "benchmarks/wide.json",
        "benchmarks/reliability.json",
        "benchmarks/audit.json",
        "benchmarks/rules.json",
        "benchmarks/peers.json",
        "benchmarks/mixed.json",
        "benchmarks/overfitting.json",
        "benchmarks/private.json",
    ):
        (folder / part).parent.mkdir(exist_ok=True)
        shutil.copy(CHECKOUT / part, folder / part)


def environment(**more: str) -> dict[str, str]:
    """Of a process that works in :func:`root` and imports the copy of the package that lies there."""
    kept = {key: value for key, value in os.environ.items() if key != "SCOEHR_ROOT"}
    return {**kept, "PYTHONPATH": str(root()), "OMP_NUM_THREADS": "1", **more}


def colab(place: Path, fill: Callable[[Path], object]) -> tuple[Path, dict[str, str]]:
    """An empty folder and the environment of Colab: a stub of google.colab, and to clone what ``fill`` writes."""
    origin, content, stub = place / "origin", place / "content", place / "stub" / "google" / "colab"
    for path in (origin, content, stub):
        path.mkdir(parents=True)
    (stub / "__init__.py").touch()
    fill(origin)
    identity = ["-c", "user.name=test", "-c", "user.email=test@example.org"]
    commit = [*identity, "commit", "--quiet", "-m", "all"]
    for command in (["init", "--quiet"], ["add", "."], commit):
        subprocess.run(["git", *command], cwd=origin, check=True)
    there = {"SCOEHR_REPOSITORY": origin.as_uri(), "PYTHONPATH": str(place / "stub")}
    return content, environment(**there)


def source(folder: Path | None = None) -> Path:
    """The table of patients."""
    return (folder or root()) / "patients.parquet"


def python(*arguments: str, check: bool = True) -> subprocess.CompletedProcess:
    """Run Python in :func:`root`."""
    command = [sys.executable, *arguments]
    done = subprocess.run(
        command,
        cwd=root(),
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=_limit,
    )
    if check and done.returncode:
        raise AssertionError(done.stderr[-3000:])
    return done


def _limit() -> None:
    """A process that hangs at work ends; one that waits for its turn does not."""
    resource.setrlimit(resource.RLIMIT_CPU, (PROCESSOR_SECONDS, PROCESSOR_SECONDS))


def setting() -> dict[str, str | int]:
    """All parameters of a notebook."""
    return {**PARAMETERS, "source": str(source())}


@cache
def place() -> Path:
    """The folder of the book, whose name ends with a part of its data's fingerprint."""
    code = "from reproduction import book; print(book.folder('table', 'tiny', sys.argv[1]))"
    return Path(python("-c", f"import sys; {code}", str(source())).stdout.strip().splitlines()[-1])


def executed(name: str) -> Path:
    """A notebook executed on the tiny study."""
    path = place() / "notebooks" / f"{name}.ipynb"
    if not path.is_file():
        execute(name)
    return path


def execute(name: str, **asked: str | int | None) -> Path:
    """Execute a notebook by papermill, whether it was before or not, with other parameters where
    asked; the executed file.
    """
    process = _executor()
    process.stdin.write(json.dumps({"name": name, **setting(), **asked}) + "\n")
    process.stdin.flush()
    path, complaint = json.loads(process.stdout.readline())
    if complaint:
        raise AssertionError(f"{name}: {complaint}")
    return Path(path)


@cache
def _executor() -> subprocess.Popen:
    """A process that executes the notebooks that it reads: to import the book takes seconds."""
    code = """
import json, os, sys
from reproduction import book
answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)  # what it and its children print is no answer
for line in sys.stdin:
    try:
        answer = str(book.execute(**json.loads(line))), None
    except Exception as error:
        answer = None, repr(error)
    print(json.dumps(answer), file=answers, flush=True)
"""
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=root(),
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        preexec_fn=_limit,
    )
    atexit.register(process.kill)
    return process


@cache
def book() -> Path:
    """``index.html`` of the book of the tiny study."""
    setting = {**PARAMETERS, "source": source()}
    options = [f"--{name}={value}" for name, value in setting.items()]
    done = python("-m", "reproduction", "build", *options)
    return Path(done.stdout.strip().splitlines()[-1].removeprefix("wrote "))
