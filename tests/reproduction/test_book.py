"""The book: stripping, failure, publishing check, made pages, figures, and the built HTML."""

import copy
import importlib
import json
import re
import shutil
import subprocess
import sys

import nbformat
import numpy as np
import pandas as pd
import pytest
import tiny_study
from nbformat import v4
from tiny_study import CHECKOUT

from reproduction import book, publishing, tables
from reproduction.estimates import Estimate, student, welch
from reproduction.synthesis import results, try_it
from reproduction.synthesis.reported import QUOTES, report
from reproduction.tables import Made, Table, Words, account, marked
from reproduction.tables import cell as formatted
from scoehr.files import InputError

pytestmark = pytest.mark.timeout(0)  # processor time is limited, in tiny_study

KERNEL = {"name": "python3", "display_name": "Python 3"}


def cell(*outputs, count=1, source="1"):
    return v4.new_code_cell(source, execution_count=count, outputs=list(outputs))


def shown(kind, content):
    return v4.new_output("display_data", data={kind: content})


# Notebooks in, notebooks out


def test_strip_leaves_what_two_runs_share():
    notebook = v4.new_notebook(metadata={"papermill": {"start_time": "now"}, "kernelspec": KERNEL})
    image = shown("image/svg+xml", "<svg/>")
    image.data["text/plain"] = "What\nis seen"
    notebook.cells = [cell(image), cell()]
    notebook.cells[0].metadata = {
        "papermill": {"duration": 1.0},
        "execution": {},
        "tags": ["hide-input"],
    }
    notebook.cells[1].metadata = {"tags": ["injected-parameters"]}
    stripped = publishing.strip(notebook)
    assert [c["id"] for c in stripped.cells] == ["cell-000", "cell-001"]
    assert stripped.metadata == {"kernelspec": KERNEL}
    assert stripped.cells[0].metadata == {
        "tags": ["hide-input"],
        "mystnb": {"image": {"alt": "What is seen"}},
    }
    assert stripped.cells[1].metadata["tags"] == ["injected-parameters", "remove-cell"]


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """A checkout with one notebook, which the test writes."""
    (tmp_path / "notebooks").mkdir()
    shutil.copy(CHECKOUT / "pyproject.toml", tmp_path)
    monkeypatch.setattr(book, "CHECKOUT", tmp_path)
    monkeypatch.setattr(book, "ROOT", tmp_path)

    def write(last):
        header = "# ---\n# jupyter:\n#   kernelspec: {display_name: Python 3, language: python, name: python3}\n# ---\n\n"
        text = (
            header
            + f'# %% tags=["parameters"]\ndataset = source = profile = seed = None\n\n# %%\n{last}\n'
        )
        (tmp_path / "notebooks" / "09-mine.py").write_text(text, encoding="utf-8")

    return write


def test_a_failed_notebook_never_reaches_the_book(elsewhere):
    elsewhere("1 / 0")
    with pytest.raises(
        RuntimeError, match=r"notebook 09-mine, cell \d: ZeroDivisionError: division by zero; see "
    ):
        book.execute("09-mine")
    assert not (book.folder("simulated", "quick") / "notebooks" / "09-mine.ipynb").exists()
    assert (book.folder("simulated", "quick") / "logs" / "09-mine.ipynb").is_file()


def test_bad_input_in_a_notebook_is_told_as_such(elsewhere):
    elsewhere(
        "from scoehr.files import InputError\nraise InputError('table.csv: no such file; check the path')"
    )
    with pytest.raises(InputError, match=r"^table.csv: no such file; check the path$"):
        book.execute("09-mine")


def test_an_unknown_notebook_is_named():
    with pytest.raises(InputError, match="99-nothing: no such notebook; choose one of 00-answer"):
        book.load("99-nothing")


# Publishing


def test_credentialed_data_are_never_published():
    with pytest.raises(InputError, match="credentialed"):
        book.publishable("mimic3", "standard")


@pytest.fixture
def executed(tmp_path, monkeypatch):
    """A checkout that has the notebooks of one data set executed, those of the book, on sources of this machine."""
    monkeypatch.setattr(book, "CHECKOUT", tmp_path)
    monkeypatch.setattr(book, "ROOT", tmp_path)
    (tmp_path / "notebooks").mkdir()
    facts = {"dataset": "diabetes130", "fingerprint": "393a0934130a7cdc", "credentialed": False}
    for name in ("01-cohort", "04-sampling"):
        (tmp_path / "notebooks" / f"{name}.py").touch()
        notebook = nbformat.read(CHECKOUT / "book" / "notebooks" / f"{name}.ipynb", as_version=4)
        for cell in notebook.cells:
            if "injected-parameters" in cell.metadata.get("tags", []):
                cell.source = cell.source.replace(
                    "source = None", f"source = {str(tmp_path / 'table.zip')!r}"
                )
        path = book.folder("diabetes130", "standard") / "notebooks" / f"{name}.ipynb"
        path.parent.mkdir(parents=True, exist_ok=True)
        nbformat.write(publishing.stamp(notebook, facts), path)
    return tmp_path


def rewritten(tree, change):
    path = book.folder("diabetes130", "standard") / "notebooks" / "01-cohort.ipynb"
    notebook = nbformat.read(path, as_version=4)
    change(notebook)
    nbformat.write(notebook, path)


def test_publish_writes_notebooks_that_know_no_machine(executed):
    ready = book.publishable("diabetes130", "standard")
    assert list(ready) == book.notebooks() == ["01-cohort", "04-sampling"]
    for name, notebook in ready.items():
        nbformat.write(notebook, place(executed / "new" / "book" / "notebooks" / f"{name}.ipynb"))
    shutil.copy(
        CHECKOUT / "book" / "_static" / "answer.png",
        place(executed / "new" / "book" / "_static" / "answer.png"),
    )
    written = book.release(executed / "new")
    published = sorted((executed / "book" / "notebooks").glob("*.ipynb"))
    assert [path.stem for path in published] == book.notebooks() and set(published) < set(written)
    for path in published:
        assert str(executed) not in path.read_text(encoding="utf-8")
        assert "source = 'data/diabetes130'" in path.read_text(encoding="utf-8")
    assert (executed / "book" / "_static" / "answer.png").read_bytes().startswith(b"\x89PNG")


def place(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda notebook: notebook.metadata.pop("scoehr"), "no fingerprint of its data"),
        (
            lambda notebook: notebook.metadata["scoehr"].update(fingerprint="0123456789abcdef"),
            "known to be open",
        ),
        (lambda notebook: notebook.metadata["scoehr"].update(fingerprint=None), "known to be open"),
        (
            lambda notebook: notebook.metadata["scoehr"].update(credentialed=True),
            "executed on credentialed data",
        ),
        (
            lambda notebook: notebook.metadata["scoehr"].update(dataset="simulated"),
            "executed on simulated",
        ),
        (
            lambda notebook: notebook.cells[1].update(source="subject 10006"),
            "changed since it was executed",
        ),
    ],
)
def test_a_notebook_of_other_data_is_not_published(executed, change, said):
    rewritten(executed, change)
    with pytest.raises(InputError, match=said):
        book.publishable("diabetes130", "standard")


def test_nothing_is_published_where_one_file_shows_too_much(executed):
    ready = book.publishable("diabetes130", "standard")
    ready["04-sampling"].cells[1].source = "The worst is subject 10006."
    for name, notebook in ready.items():
        publishing.stamp(notebook, notebook.metadata["scoehr"])
        nbformat.write(notebook, place(executed / "new" / "book" / "notebooks" / f"{name}.ipynb"))
    with pytest.raises(InputError, match=r"04-sampling\.ipynb, cell 1: source: an id"):
        book.release(executed / "new")
    assert not (executed / "book").exists()


# Colab


def test_the_first_cell_runs_twice_and_after_a_restart(tmp_path):
    """With a small repository in place of the project's."""
    content, environment = tiny_study.colab(
        tmp_path, lambda origin: shutil.copy(CHECKOUT / "pyproject.toml", origin)
    )
    cell = book.load("01-cohort").cells[0].source
    for _ in range(2):  # a restart begins in the same folder
        code = f"{cell}\n{cell}\nprint(os.getcwd(), sys.path[0])"
        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=content,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-2000:]
        assert done.stdout.split() == [str(content / "scoehr")] * 2


def test_colab_installs_what_the_lock_pins():
    lock = (CHECKOUT / "requirements.lock").read_text(encoding="utf-8").split()
    cell = book.load("01-cohort").cells[0].source
    assert all(f'"{line}"' in cell for line in lock if line.split("==")[0] in book.COLAB_LACKS)
    assert len(book.pinned()) == len(book.COLAB_LACKS) and all(
        "==" in name for name in book.pinned()
    )


# Made pages


def test_the_corrected_log_cluster_of_the_printed_values():
    """The report's U is log(1/G) S; the published one is log(S/G). Values by hand, to three decimals."""
    corrected = report()["log-cluster, corrected"]
    assert corrected["144-dimensional code (headline)"] == pytest.approx(-2.482, abs=1e-3)
    assert corrected["no autoencoder"] == pytest.approx(-2.904, abs=2e-3)
    assert corrected.idxmin() == "no autoencoder"
    assert corrected.idxmax() == "rate 0.001, 12 epochs"
    assert np.isnan(corrected["rate 0.005, 30 epochs"])


def test_a_fault_is_seen_beyond_the_spread_of_fresh_samples():
    def result(value):
        return {
            "fidelity": {"prevalence_mae": value, "prevalence_r2": value, "density_ratio": value}
        }

    scored = {
        "a": result(1.0),
        "b": result(1.2),
        "near": result(1.3),
        "far": result(1.5),
        "none": result(None),
    }
    keys = ["fidelity.prevalence_mae", "fidelity.prevalence_r2", "fidelity.density_ratio"]
    seen = results.sees(scored, keys, fresh=["a", "b"])
    assert seen["near"].tolist() == [False, False, False]
    assert seen["far"].tolist() == [
        True,
        False,
        True,
    ]  # lower is better, higher is better, off target
    assert seen["none"].tolist() == [None, None, None]


def test_account_shows_few_people_as_a_range():
    entries = {
        "patients": 46520,
        "rows dropped": {"no code": 5},
        "patients without codes": 3,
        "mean cell": 0.01317,
    }
    text = account(entries)["value"].to_dict()
    assert text == {
        "patients": "46,520",
        "rows dropped": "",
        "\u2003no code": "5",
        "patients without codes": "1–10",
        "mean cell": "0.0132",
    }


def test_a_number_in_a_sentence_says_which_runs_made_it():
    made = Estimate(Made(0.8125, "a-b-s0-c, a-b-s1-d"), 0.75, 0.875)
    assert Words(f"An AUC of {made}, not `{made}`, over 3 runs.").text == (
        'An AUC of <abbr title="runs a-b-s0-c, a-b-s1-d; 0.812 [0.75, 0.875]">0.812 [0.75, 0.875]'
        "</abbr>, not `0.812 [0.75, 0.875]`, over 3 runs."
    )
    assert Words(f"No runs: {Estimate(0.123, 0.1, 0.2)}").text == "No runs: 0.123 [0.1, 0.2]"


def test_a_number_keeps_its_runs_when_it_is_read_reckoned_with_and_written(monkeypatch):
    monkeypatch.setattr(tables, "_TRACES", {})  # as at the start of a cell

    def said(number):
        return Words(f"It is {number}.").text

    read = marked(
        {"auc": [0.25], "floor": {"value": 0.5, "interval": [0.45, 0.55]}, "n": 7}, "x-s0"
    )
    value, other = read["auc"][0], marked(0.75, "x-s1")
    assert said(f"{value:.0%}") == 'It is <abbr title="run x-s0; 25%, no interval">25%</abbr>.'
    assert 'title="run x-s0; 0.5 [0.45, 0.55]"' in said(Estimate.read(read["floor"]))
    assert 'title="runs x-s1, x-s0; 0.5, no interval"' in said(formatted(other - value))
    assert 'title="runs x-s0, x-s1; 0.5 [' in said(student([value, other, value, other]))
    assert 'title="runs x-s0, x-s1; -0.5 [' in said(welch([value] * 2, [other] * 2))
    assert said(f"{read['n']} of {1 - 0.75}") == "It is 7 of 0.25."
    speed = tables.benchmark("speed")["pairs"]["unet"]["ratio"]
    assert 'title="python -m benchmarks.speed; 1' in said(f"{speed:.2f}")
    copied = copy.deepcopy(value)
    assert (copied, copied.source, json.dumps(copied)) == (0.25, "x-s0", "0.25")


# Tables and figures


@pytest.mark.parametrize(
    ("value", "form", "text"),
    [
        (None, None, "–"),
        (float("nan"), None, "–"),
        (1234567, None, "1,234,567"),
        (0.000123456, None, "0.000123"),
        (12345.6, None, "12,346"),
        (46520.0, None, "46,520"),
        (0.5, "{:.1%}", "50.0%"),
        ("word", None, "word"),
    ],
)
def test_cells_of_a_table(value, form, text):
    assert formatted(value, form) == text


def test_a_table_is_escaped_captioned_and_aligned():
    frame = pd.DataFrame({"title": ["a < b", "c"], "n": [1, 2]})
    markup = Table(frame, "R & D")._repr_html_()
    assert "<caption>R &amp; D</caption>" in markup
    assert '<td class="words">a &lt; b</td><td>1</td>' in markup
    assert markup.count("<th") == 3  # row numbers are no column: thead and two heads


# The built book


def test_every_page_says_where_its_numbers_come_from_and_fetches_nothing():
    html = tiny_study.book().parent
    assert "notebooks/00-answer.html" in (html / "index.html").read_text(encoding="utf-8")
    for page in (html / "notebooks").glob("*.html"):
        text = page.read_text(encoding="utf-8")
        assert "profile <code>tiny</code>" in text, page.name
        assert 'href="26-scale.html"' in text, page.name
        assert re.findall(r'<(?:script|img|iframe)[^>]*\ssrc="(?:https?:)?//', text) == [], (
            page.name
        )
        assert re.findall(r'<link[^>]*rel="stylesheet"[^>]*href="(?:https?:)?//', text) == [], (
            page.name
        )


def test_a_book_on_data_that_are_not_open_carries_no_model():
    text = (tiny_study.book().parent / try_it.SCRIPT).read_text(encoding="utf-8")
    assert "is of no data that are known to be open" in text and len(text) < 1000


def test_notebook_pages_have_launch_and_download_buttons_and_described_images():
    html = tiny_study.book().parent
    address = book.repository().removeprefix("https://github.com/")
    for name in book.notebooks():
        text = (html / "notebooks" / f"{name}.html").read_text(encoding="utf-8")
        assert (
            f"colab.research.google.com/github/{address}/blob/main/book/notebooks/{name}.ipynb"
            in text
        )
        assert "mybinder.org/v2/gh/" in text and f"{name}.ipynb" in text
        images = re.findall(r"<img[^>]*_images[^>]*>", text)
        assert all(re.search(r'alt="[^"]{20,}"', image) for image in images), name


PUBLIC = (
    "scoehr", "scoehr.data.columns", "scoehr.data.datasets", "scoehr.data.kinds",
    "scoehr.data.matrix", "scoehr.data.patients", "scoehr.data.rules",
    "scoehr.data.simulate", "scoehr.generators", "scoehr.metrics", "scoehr.thinning", "scoehr.sdes",
    "scoehr.sampling",
)  # fmt: skip


@pytest.mark.parametrize("module", PUBLIC)
def test_the_reference_has_every_public_name(module):
    text = (tiny_study.book().parent / "reference.html").read_text(encoding="utf-8")
    names = importlib.import_module(module).__all__
    defined = [name for name in names if callable(getattr(sys.modules[module], name))]
    assert [name for name in defined if f'id="{module}.{name}"' not in text] == []


def test_a_dead_reference_stops_the_build(tmp_path):
    book.assemble(tmp_path)
    toc = "format: jb-book\nroot: page\nchapters: [{file: references}]\n"
    (tmp_path / "_toc.yml").write_text(toc, encoding="utf-8")
    page = tmp_path / "page.md"
    page.write_text("# A page\n\nAfter {cite:t}`naseer2023`.\n", encoding="utf-8")
    assert book.render(tmp_path).is_file()
    dead = "\nSee {numref}`no-such-figure` and {cite:t}`nobody1900`.\n"
    page.write_text(page.read_text(encoding="utf-8") + dead, encoding="utf-8")
    with pytest.raises(RuntimeError) as stopped:
        book.render(tmp_path)
    assert "no-such-figure" in str(stopped.value) and "nobody1900" in str(stopped.value)


def snakemake(*arguments):
    """Snakemake on the tiny study; what it printed."""
    command = [
        "-m",
        "snakemake",
        "--snakefile",
        "workflow/Snakefile",
        "--cores",
        "2",
        *arguments,
        "--config",
    ]
    setting = {**tiny_study.PARAMETERS, "source": tiny_study.source()}
    done = tiny_study.python(
        *command, *(f"{name}={value}" for name, value in setting.items()), check=False
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    return done.stdout + done.stderr


def test_the_workflow_repeats_nothing_that_is_finished():
    place = tiny_study.book().parents[2]
    (place / "account-3.txt").touch()
    snakemake("--touch")
    assert "Nothing to be done" in snakemake("--dry-run")
    changed = tiny_study.root() / "notebooks" / "13-artefacts.py"
    changed.write_text(changed.read_text(encoding="utf-8") + "\n", encoding="utf-8")
    planned = snakemake("--dry-run")
    jobs = dict(re.findall(r"^(\w+) +(\d+)$", planned, re.MULTILINE))
    assert jobs == {"notebook": "1", "book": "1", "all": "1", "total": "3"}


def test_reported_values_are_quoted_from_the_report():
    facts = QUOTES.values
    assert len(facts["report"]) == 14 and len(facts["paper"]) == 5
    assert {row["experiment"] for row in facts["report"]} >= {"reported"}
