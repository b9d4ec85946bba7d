"""The notebooks: as text, executed with other parameters, and alone on Colab."""

import ast
import json
import re
import subprocess
import sys

import jupytext
import nbformat
import pytest
import tiny_study
from bs4 import BeautifulSoup
from tiny_study import CHECKOUT

from reproduction import book
from tests.reproduction.synthesis.test_claims import VALUES

pytestmark = pytest.mark.timeout(0)  # processor time is limited, in tiny_study

NAMES = book.notebooks()
TEXTS = {name: jupytext.read(CHECKOUT / "notebooks" / f"{name}.py") for name in NAMES}


def code(name):
    return [cell for cell in TEXTS[name].cells if cell.cell_type == "code"]


def test_every_notebook_is_in_the_table_of_contents():
    toc = (CHECKOUT / "book" / "_toc.yml").read_text(encoding="utf-8")
    assert sorted(re.findall(r"(?:file|root): notebooks/(\S+)$", toc, re.MULTILINE)) == NAMES != []


@pytest.mark.parametrize("name", NAMES)
def test_text_of_a_notebook(name):
    notebook = TEXTS[name]
    assert notebook.metadata["kernelspec"]["name"] == "python3"
    parameters = code(name)[0]
    assert parameters.metadata["tags"] == ["parameters"]
    assigned = [node.targets[0].id for node in ast.parse(parameters.source).body]
    assert assigned == ["dataset", "source", "profile", "seed"]
    assert notebook.cells[0].source.startswith("# ")


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_shows_and_does_not_define(name):
    for cell in code(name):
        for node in ast.walk(ast.parse(cell.source)):
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                assert node.end_lineno - node.lineno < 5, f"{node.name} belongs in a module"
            switch = isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
            assert not (switch and isinstance(node.value.value, bool)), "no switches in cells"


@pytest.mark.parametrize("name", NAMES)
def test_the_seed_is_checked_before_it_is_used(name):
    """Papermill's ``-r`` hands it over as text."""
    cells = [ast.parse(cell.source) for cell in code(name)[1:]]
    lines = [
        line
        for cell in cells
        for line in cell.body
        if not isinstance(line, ast.Import | ast.ImportFrom)
    ]
    first = next(
        line
        for line in lines
        if "seed" in {n.id for n in ast.walk(line) if isinstance(n, ast.Name)}
    )
    assert ast.unparse(first) == "seed = check_seed(seed)"


@pytest.mark.parametrize("name", NAMES)
def test_executes_with_other_parameters(name):
    notebook = nbformat.read(tiny_study.executed(name), as_version=4)
    nbformat.validate(notebook)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip()]
    assert all(cell.execution_count for cell in cells)
    outputs = [output for cell in cells for output in cell.outputs]
    assert [output.ename for output in outputs if output.output_type == "error"] == []
    assert [output.text for output in outputs if output.get("name") == "stderr"] == []
    assert [
        data for output in outputs for data in output.get("data", {}).items() if not data[1]
    ] == [], "empty boxes"
    assert "profile <code>tiny</code>, random seed 3" in json.dumps(notebook.cells)


def test_the_same_run_gives_the_same_bytes():
    before = tiny_study.executed("04-sampling").read_bytes()
    tiny_study.execute("04-sampling")
    assert tiny_study.executed("04-sampling").read_bytes() == before


def test_papermill_runs_a_notebook_alone(tmp_path):
    """As the page on re-running says: jupytext, then papermill, from the root of the checkout."""
    alone, executed = tmp_path / "cohort.ipynb", tmp_path / "executed.ipynb"
    tiny_study.python(
        "-m", "jupytext", "--to", "ipynb", "--output", str(alone), "notebooks/01-cohort.py"
    )
    parameters = [
        "-p",
        "dataset",
        "table",
        "-p",
        "source",
        str(tiny_study.source()),
        "-p",
        "profile",
        "tiny",
    ]
    tiny_study.python("-m", "papermill", str(alone), str(executed), "-k", "python3", *parameters)
    assert "profile <code>tiny</code>" in executed.read_text(encoding="utf-8")


def test_on_colab_a_notebook_fetches_the_project(tmp_path):
    """A notebook alone in an empty folder."""
    empty, environment = tiny_study.colab(tmp_path, tiny_study.copy_checkout)
    notebook = book.load("01-cohort")
    notebook.cells.append(nbformat.v4.new_code_cell("import scoehr\nprint(scoehr.__file__)"))
    nbformat.write(notebook, empty / "01-cohort.ipynb")
    run = [sys.executable, "-m", "papermill", "01-cohort.ipynb", "out.ipynb", "-k", "python3"]
    run += ["-p", "dataset", "table", "-p", "source", str(tiny_study.source())]
    done = subprocess.run(
        run, cwd=empty, env=environment, check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    printed = nbformat.read(empty / "out.ipynb", as_version=4).cells[-1].outputs[0].text.strip()
    assert printed == str(empty / "scoehr" / "scoehr" / "__init__.py")


def test_the_published_address_is_that_of_pyproject():
    first = {book.load(name).cells[0].source for name in NAMES}
    assert len(first) == 1 and book.repository() in first.pop()


def test_every_printed_value_is_shown_on_the_pages_that_need_no_data():
    names = ("08-printed-numbers", "08-paper-tables", "08-all-reported")
    notebooks = [nbformat.read(tiny_study.executed(name), as_version=4) for name in names]
    outputs = [
        output for page in notebooks for cell in page.cells for output in cell.get("outputs", [])
    ]
    shown = " ".join(
        BeautifulSoup(output.data[form], "html.parser").get_text(" ")
        for output in outputs
        for form in ("text/html", "text/markdown")
        if form in output.get("data", {})
    )
    seen = {float(number) for number in re.findall(r"-?\d+(?:\.\d+)?", shown.replace(",", ""))}
    for name, values in VALUES.items():
        assert [value for value in values if float(value) not in seen] == [], name
