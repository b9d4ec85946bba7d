"""The book: text notebooks in, executed notebooks and one offline HTML book out.

A notebook is executed by papermill into ``build/<dataset>-<profile>/notebooks``; the prose pages of ``book/`` are
copied beside it, together with pages made from the runs, and Jupyter Book turns the folder to HTML with every warning
an error. Nothing under ``book/`` itself is written except by :func:`publish`.
"""

from __future__ import annotations

import contextlib
import importlib.resources
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jupytext
import nbformat
import papermill
import yaml
from bs4 import BeautifulSoup
from nbformat import NotebookNode
from papermill.exceptions import PapermillExecutionError

from scoehr.files import CHECKOUT, ROOT, InputError, replacing, user_path

#: Stands in the notebooks' first cell for the address of the repository.
ADDRESS = "@repository@"
#: What papermill and the kernel write into a cell that differs between two runs of the same notebook.
VOLATILE = {"papermill", "execution", "widgets"}
#: The files that MathJax needs to set formulas in a page without a network.
MATHJAX = ("tex-mml-chtml.js", "output/chtml/fonts/woff-v2")
#: Seconds that one cell may take. Notebooks read finished runs; one that has to make them may take long.
CELL_SECONDS = 4 * 3600


# Notebooks -----------------------------------------------------------------------------------------------------------


def notebooks() -> list[str]:
    """Names of the notebooks in the order of the book."""
    return sorted(path.stem for path in (CHECKOUT / "notebooks").glob("*.py"))


def repository() -> str:
    """Address of the repository, from the one place where it stands: ``pyproject.toml``."""
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))
    return project["project"]["urls"]["Repository"]


def folder(dataset: str, profile: str, source: str | None = None) -> Path:
    """Where the book of a data set and a profile is made: ``build/<dataset>-<profile>``, with the data where own."""
    from scoehr import study  # brings what reads data with it

    return ROOT / "build" / study.place(dataset, source, profile)


def load(name: str) -> NotebookNode:
    """A text notebook as a notebook with stable cell ids and the repository's address in its first cell.

    Raises :class:`InputError` for a name that no notebook has.
    """
    if name not in notebooks():
        raise InputError(f"{name}: no such notebook; choose one of {', '.join(notebooks())}")
    notebook = jupytext.read(CHECKOUT / "notebooks" / f"{name}.py")
    for place, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{place:03d}"
        if ADDRESS in cell.source:
            cell.source = cell.source.replace(ADDRESS, repository())
    return notebook


def execute(
    name: str, *, dataset: str = "simulated", source: str | None = None, profile: str = "quick", seed: int = 0
) -> Path:
    """Execute one notebook and return the executed file, which appears only when every cell has succeeded.

    Raises :class:`InputError` where the notebook did, and ``RuntimeError`` naming the cell for any other failure; the
    notebook as far as it came then lies in ``logs`` beside the folder ``notebooks``.
    """
    text, place = load(name), folder(dataset, profile, source)
    target, scratch = place / "notebooks" / f"{name}.ipynb", place / "logs" / f"{name}.ipynb"
    parameters = {
        "dataset": dataset,
        "source": source and str(user_path(source).resolve()),
        "profile": profile,
        "seed": seed,
    }
    scratch.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(text, scratch)
    try:
        with _quiet_kernel():
            papermill.execute_notebook(
                scratch, scratch, parameters=parameters, kernel_name="python3", cwd=ROOT,
                progress_bar=False, execution_timeout=CELL_SECONDS, extra_arguments=["--IPKernelApp.log_level=50"],
            )  # fmt: skip
    except PapermillExecutionError as error:
        if error.ename == "InputError":
            raise InputError(error.evalue) from None
        where = f"notebook {name}, cell {error.exec_count}"
        raise RuntimeError(f"{where}: {error.ename}: {error.evalue}; see {scratch}") from error
    with replacing(target) as path:
        nbformat.write(strip(nbformat.read(scratch, as_version=4)), path)
    return target


@contextlib.contextmanager
def _quiet_kernel() -> Iterator[None]:
    """The kernel's own start-up notes (its TCP transport, the notebook's default parameters) are of no use here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def strip(notebook: NotebookNode) -> NotebookNode:
    """An executed notebook without what differs between two runs, ready for a page.

    Cell ids are numbered, timings go, the parameter cells are hidden (a page states its parameters in words), and a
    figure's caption becomes the alternative text of its image.
    """
    notebook = nbformat.from_dict(notebook)
    notebook.metadata = {
        key: value for key, value in notebook.metadata.items() if key in ("kernelspec", "language_info")
    }
    notebook.metadata.get("language_info", {}).pop("version", None)
    for place, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{place:03d}"
        cell.metadata = {key: value for key, value in cell.metadata.items() if key not in VOLATILE}
        tags = cell.metadata.get("tags", [])
        if {"parameters", "injected-parameters"} & set(tags) and "remove-cell" not in tags:
            cell.metadata["tags"] = [*tags, "remove-cell"]
        if alt := _alternative_text(cell):
            cell.metadata["mystnb"] = {"image": {"alt": alt}}
    return nbformat.from_dict(notebook)


def _alternative_text(cell: NotebookNode) -> str:
    for output in cell.get("outputs", []):
        data = output.get("data", {})
        if "image/svg+xml" in data:
            return re.sub(r"\s+", " ", data["text/plain"])
    return ""


# The book ------------------------------------------------------------------------------------------------------------


def build(*, dataset: str = "simulated", source: str | None = None, profile: str = "quick", seed: int = 0) -> Path:
    """Make the HTML book from executed notebooks and return its ``index.html``.

    Notebooks not yet executed are executed first. Every warning of Sphinx is an error: ``RuntimeError`` lists them.
    """
    setting: dict[str, Any] = {"dataset": dataset, "source": source, "profile": profile, "seed": seed}
    from scoehr import pages  # brings the whole study with it, which executing a notebook does not need here

    place = folder(dataset, profile, source)
    for name in notebooks():
        if not (place / "notebooks" / f"{name}.ipynb").is_file():
            execute(name, **setting)
    assemble(place)
    pages.write(place / "generated", **setting)
    return render(place)


def assemble(place: Path) -> None:
    """Copy prose, style and settings of ``book/`` to ``place``, with the repository's address and MathJax added."""
    kept = {"notebooks", "logs", "runs", "_build"}
    for old in place.iterdir():
        if old.is_dir() and old.name not in kept:
            shutil.rmtree(old)
    shutil.copytree(CHECKOUT / "book", place, dirs_exist_ok=True, ignore=shutil.ignore_patterns("notebooks", "_build"))
    config = yaml.safe_load((place / "_config.yml").read_text(encoding="utf-8"))
    config["repository"] = {"url": repository(), "path_to_book": "book", "branch": "main"}
    (place / "_config.yml").write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    assets = importlib.resources.files("mathjax") / "static" / "mathjax" / "es5"
    with importlib.resources.as_file(assets) as es5:
        for part in MATHJAX:
            target = place / "offline" / "mathjax" / part
            target.parent.mkdir(parents=True, exist_ok=True)
            copy = shutil.copytree if (es5 / part).is_dir() else shutil.copyfile
            copy(es5 / part, target)


def render(place: Path) -> Path:
    """Run Jupyter Book on an assembled folder, warnings as errors, and return the ``index.html`` made."""
    command = [sys.executable, "-c", "from jupyter_book.cli.main import main; main()", "build", str(place)]
    shutil.rmtree(place / "_build", ignore_errors=True)
    environment = {**os.environ, "PYTHONWARNINGS": "ignore", "NO_COLOR": "1", "PYTHONIOENCODING": "utf-8"}
    done = subprocess.run(
        [*command, "--all", "-W", "-n", "--keep-going"], capture_output=True, env=environment, check=False,
        encoding="utf-8", errors="replace",
    )  # fmt: skip
    (place / "logs").mkdir(exist_ok=True)
    (place / "logs" / "build.txt").write_text(done.stdout + done.stderr, encoding="utf-8")
    if done.returncode:
        complaints = [line for line in done.stderr.splitlines() if re.search(r"WARNING|ERROR|Error", line)]
        listed = "\n".join(complaints[-20:]) or done.stderr[-2000:]
        raise RuntimeError(f"the book was not built:\n{listed}")
    return place / "_build" / "html" / "index.html"


# Publishing ----------------------------------------------------------------------------------------------------------

#: Column heads that belong to one person, one stay or one row of a source table.
ROW_LEVEL = re.compile(
    r"\b(subject_?id|hadm_?id|icustay_?id|stay_?id|row_?id|patient_?(?:id|nbr)|encounter_?id|chart_?time|admit_?time"
    r"|disch_?time|death_?time|dob|dod)\b",
    re.IGNORECASE,
)
DATE = re.compile(r"\b(?:1[89]|2[0-2])\d\d-[01]\d-[0-3]\d\b")
MACHINE_PATH = re.compile(r"(?<![\w/.:])/(?:home|root|Users|tmp|work|mnt|data|content)/[\w.-]+")
#: "1 patient" to "10 patients" in words, as a number beside the word.
FEW_PATIENTS = re.compile(r"\b(?:[1-9]|10) patients?\b", re.IGNORECASE)


def findings(notebook: NotebookNode, *, credentialed: bool = False) -> list[str]:
    """What an executed notebook shows that must not be published; empty when it may be.

    Outputs are searched for the heads of row-level tables, dates, paths of this machine and, for credentialed data,
    numbers of one to ten patients, in sentences and in columns headed "patients". A cell that failed or was not
    executed is a finding too.
    """
    found = []
    for place, cell in enumerate(notebook.cells):
        if cell.cell_type != "code":
            continue
        if cell.source.strip() and cell.execution_count is None:
            found.append(f"cell {place}: not executed")
        for output in cell.outputs:
            found += [f"cell {place}: {complaint}" for complaint in _complaints(output, credentialed)]
    return found


def _complaints(output: NotebookNode, credentialed: bool) -> Iterator[str]:
    if output.output_type == "error":
        yield f"{output.ename}: {output.evalue}"
    data: dict[str, Any] = output.get("data", {"text/plain": output.get("text", "")})
    for kind, content in data.items():
        if kind.startswith("image/"):
            continue
        text = re.sub(r"<[^>]+>", " ", content if isinstance(content, str) else json.dumps(content))
        for title, pattern in (("a row-level column", ROW_LEVEL), ("a date", DATE), ("a path", MACHINE_PATH)):
            if match := pattern.search(text):
                yield f"{title} ({match.group()})"
        if credentialed and (few := FEW_PATIENTS.search(text)):
            yield f"a count of few patients ({few.group()})"
        if credentialed and kind == "text/html" and _small_cells(content):
            yield "a table with counts of 1 to 10 patients"


def _small_cells(content: str) -> bool:
    """Whether a table has a number from 1 to 10 in a column or a row headed "patients"."""
    for table in BeautifulSoup(content, "html.parser").find_all("table"):
        rows = [[cell.get_text().strip() for cell in row.find_all(["th", "td"])] for row in table.find_all("tr")]
        for row in rows[1:]:
            for head, cell in zip(rows[0], row, strict=False):
                titles = f"{head} {row[0]}".lower()
                if "patients" in titles and "%" not in titles and re.fullmatch(r"[1-9]|10", cell):
                    return True
    return False


def publish(*, dataset: str, source: str | None = None, profile: str = "standard", seed: int = 0) -> list[Path]:
    """Copy the executed notebooks of an open data set to ``book/notebooks``, where the launch buttons find them.

    The picture of the front page goes to ``book/_static/answer.png``. Raises :class:`InputError` for credentialed data,
    for a notebook not executed, and for one that shows what must not be published; then no file is written.
    """
    from scoehr import pages, plots, study
    from scoehr.datasets import DATASETS

    if DATASETS[dataset].credentialed:
        raise InputError(f"{dataset}: the data are credentialed, so nothing made from them is published")
    home = f"data/{dataset}" if DATASETS[dataset].needs_source else None
    checked = {}
    for name in notebooks():
        path = folder(dataset, profile, source) / "notebooks" / f"{name}.ipynb"
        if not path.is_file():
            raise InputError(f"{path}: no such file; execute the notebook first")
        notebook = portable(nbformat.read(path, as_version=4), home)
        if found := findings(notebook):
            raise InputError(f"{path}: not published, it shows {'; '.join(found)}")
        checked[name] = notebook
    test = study.cohort(dataset, source).test
    picture = pages.picture(pages.runs(dataset, source, profile, seed), pages.shares(test))
    target = CHECKOUT / "book"
    written = [_write(target / "notebooks" / f"{name}.ipynb", notebook) for name, notebook in checked.items()]
    return [*written, plots.save(picture, target / "_static" / "answer.png")]


def portable(notebook: NotebookNode, source: str | None) -> NotebookNode:
    """The notebook with ``source`` in place of the folder of this machine that it was executed with."""
    for cell in notebook.cells:
        if "injected-parameters" in cell.metadata.get("tags", []):
            cell.source = re.sub(r"^source = .*$", f"source = {source!r}", cell.source, flags=re.MULTILINE)
    return notebook


def _write(path: Path, notebook: NotebookNode) -> Path:
    with replacing(path) as scratch:
        nbformat.write(notebook, scratch)
    return path
