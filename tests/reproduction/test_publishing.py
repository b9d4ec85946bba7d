"""The publishing check: what is planted is found, what is published passes, and what was executed on is known."""

import hashlib
import json
import re
import shutil
import struct
import subprocess
import zlib
from pathlib import Path

import nbformat
import numpy as np
import planted
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from matplotlib.figure import Figure
from nbformat import v4
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from safetensors.numpy import load_file, save_file
from scipy import sparse
from shell import inside

from reproduction import figures, leaks, publishing
from scoehr.data import datasets, icd
from scoehr.data.columns import Column, Columns
from scoehr.data.matrix import METADATA_KEY
from scoehr.data.patients import Patients

ROOT = Path(__file__).resolve().parents[2]
RUN = "simulated-standard-thinning-s0-9b948e1e"
BUNDLE = "saved_models/synthesis-simulated-standard"
FOLDER = f"{BUNDLE}/models/thinning-s0"
NOTEBOOK = "book/notebooks/01-cohort.ipynb"
FACTS = {"dataset": "simulated", "fingerprint": "1cec4bba1c4f1722", "credentialed": False}


def cell(*outputs, count=1, source="1"):
    return v4.new_code_cell(source, execution_count=count, outputs=list(outputs), id="cell-000")


def shown(kind, content):
    return v4.new_output("display_data", data={kind: content})


def notebook(where, content):
    """A notebook that has nothing but this, at this place."""
    if where == planted.PROSE:
        return v4.new_notebook(cells=[v4.new_markdown_cell(content, id="cell-000")])
    if where == planted.CODE:
        return v4.new_notebook(cells=[cell(source=content)])
    stream = where in (planted.OUT, planted.ERR)
    output = v4.new_output("stream", name=where, text=content) if stream else shown(where, content)
    return v4.new_notebook(cells=[cell(output)])


def drawing():
    """A figure as the book draws them, with a picture in it."""
    figure = Figure(figsize=(3, 2))
    axes = figure.subplots()
    axes.imshow(np.arange(12).reshape(3, 4))
    axes.set(xlabel="codes per patient", title="share of patients (%)")
    return figures.svg(figure)


# What passes


def test_the_tree_itself_may_be_published():
    assert publishing.check(ROOT) == []


def test_a_figure_of_the_book_passes():
    assert list(publishing.figure(drawing())) == []


@pytest.mark.parametrize(
    "content",
    [
        "1,000 patients each. The least error is 0.0015; births come within a tenth of it at 5 evaluations a patient.",
        "Data set simulated, profile quick, random seed 0. 27,912 training, 4,652 validation and 13,956 test patients.",
        "the difference is 0.0934 [-0.121, -0.0654] against copy-forward 0.487 [0.453, 0.523], 4.00 times as many",
        "simulated-standard-thinning-s0-e459ff20 and others",
        "epochs 10 to 60, batches of 256, 25 steps, 387,201 parameters",
        "patients 1–10 are shown as a range; fewer than 11 patients are not told apart",
    ],
)
def test_ordinary_sentences_pass(content):
    assert publishing.findings(notebook(planted.OUT, content)) == []


@pytest.mark.parametrize(
    "content",
    [
        planted.table(["", "test patients (%)"], ["a", "7"]),
        planted.table(["", "patients"], ["a", "1–10"]),
        planted.table(["", "patients"], ["a", "46,520"]),
        '<abbr title="runs x-paper-s0-1a2b3c4d, x-s1; 0.5 [0.4, 0.6]">0.5</abbr>',
        '<abbr title="python -m benchmarks.speed; 0.5 [0.4, 0.6]">0.5</abbr>',
        planted.table(
            ["", "title", "training (%)"],
            ["401", "Essential hypertension", "36.7"],
            ["427", "Other", "29.7"],
        ),
        planted.table(["patient", "code", "count"], ["1", "401", "2"], ["2", "428", "1"]),
        planted.table(
            ["", "thinning", "fast"],
            ["Density ratio", "0.993", "1"],
            ["Codes never produced", "76", "64"],
        ),
    ],
)
def test_ordinary_tables_pass(content):
    assert publishing.findings(notebook(planted.HTML, content)) == []


# What does not


@pytest.mark.parametrize("name", planted.LEAKS)
def test_a_planted_leak_is_found(name):
    assert publishing.findings(notebook(*planted.LEAKS[name]))


@pytest.mark.parametrize(
    ("output", "finding"),
    [
        (shown("text/html", planted.table(["", "SUBJECT_ID"], ["0", "10011"])), "row-level"),
        (shown("text/plain", "   hadm_id  code\n0  105331  276"), "row-level"),
        (shown("text/plain", "admitted 2126-08-14"), "a date"),
        (v4.new_output("stream", text="read /home/ann/mimic/ADMISSIONS.csv"), "a path"),
        (v4.new_output("error", ename="ValueError", evalue="no"), "ValueError: no"),
        (shown("text/html", planted.table(["", "patients"], ["a", "7"])), "1 to 10 patients"),
        (
            shown("text/html", planted.table(["", "value"], ["patients without codes", "3"])),
            "1 to 10",
        ),
        (shown("text/plain", "3 patients have it"), "few patients"),
    ],
)
def test_a_finding_says_what_it_is(output, finding):
    found = publishing.findings(v4.new_notebook(cells=[cell(output)]))
    assert finding in " ".join(reason for _, reason in found)


def test_a_message_does_not_repeat_what_it_complains_of():
    (found, *_) = publishing.findings(notebook(planted.OUT, "subject 10006 on 2126-08-14"))
    assert "10006" not in str(found) and "2126" not in str(found)


def test_a_cell_that_was_not_executed_is_a_finding():
    assert publishing.findings(v4.new_notebook(cells=[cell(count=None)])) == [
        ("cell 0", "not executed")
    ]


def test_a_cell_that_failed_is_a_finding():
    output = v4.new_output("error", ename="ValueError", evalue="no")
    assert publishing.findings(v4.new_notebook(cells=[cell(output)])) == [
        ("cell 0", "ValueError: no")
    ]


def png(*chunks, before=b""):
    """A picture of one point with chunks added."""

    def chunk(kind, body):
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 6, 0, 0, 0))
    body = chunk(b"IDAT", zlib.compress(b"\0" * 5))
    return (
        b"\x89PNG\r\n\x1a\n"
        + head
        + b"".join(chunk(*each) for each in chunks)
        + body
        + chunk(b"IEND", b"")
        + before
    )


def test_a_png_holds_nothing_but_pixels():
    assert list(publishing.picture(png())) == []
    for content in (
        png((b"tEXt", b"Comment\0patient 10006")),
        png((b"zTXt", b"Comment\0\0" + zlib.compress(b"10006"))),
        png((b"iTXt", b"Comment\0\0\0\0\0patient 10006")),
        png((b"eXIf", b"10006")),
        png((b"tIME", b"\x08\x4e\x08\x0e\x13\x04\x00")),
        png((b"prVt", b"10006")),
        png(before=b"patient 10006"),
        png().replace(b"IDAT", b"IDAX"),
        b"GIF89a",
    ):
        assert list(publishing.picture(content))


FIGURES = {
    "a date as a coordinate": lambda svg: re.sub(r' x="[\d.]+"', ' x="2150-10-01"', svg, count=1),
    "an id as a coordinate": lambda svg: re.sub(r' x="[\d.]+"', ' x="10006"', svg, count=1),
    "ids as a path": lambda svg: svg.replace(' d="M', ' d="M 10006 10011 L 10013 10017 M', 1),
    "an attribute twice": lambda svg: svg.replace(' x="', ' x="2150-10-01" x="', 1),
    "an attribute of its own": lambda svg: svg.replace("<g id=", '<g data-subject="10006" id=', 1),
    "a label": lambda svg: svg.replace("<g id=", '<g aria-label="patient" id=', 1),
    "a name": lambda svg: svg.replace('id="axes_1"', 'id="patient_10006"'),
    "a style": lambda svg: svg.replace("fill: #ffffff", "fill: #ffffff; --subject: 10006", 1),
    "a link": lambda svg: svg.replace("#DejaVuSans", "https://x.org/10006#DejaVuSans", 1),
    "a comment": lambda svg: svg.replace("<defs>", "<!-- patient 10006 --><defs>", 1),
    "a date in a comment": lambda svg: svg.replace("<defs>", "<!-- 14 Aug 2126 --><defs>", 1),
    "a tick that is a date": lambda svg: svg.replace("<!-- codes per patient -->", "<!-- 2126-08 -->"),
    "an instruction": lambda svg: svg.replace("<metadata>", "<?subject 10006?><metadata>", 1),
    "a text": lambda svg: svg.replace("</svg>", "<text>patient 10006</text></svg>"),
    "a title": lambda svg: svg.replace("</svg>", "<title>10006</title></svg>"),
    "a description": lambda svg: svg.replace("</svg>", "<desc>10006</desc></svg>"),
    "a script": lambda svg: svg.replace("</svg>", "<script>let a = 10006</script></svg>"),
    "a foreign object": lambda svg: svg.replace("</svg>", "<foreignObject><p>10006</p></foreignObject></svg>"),
    "words between": lambda svg: svg.replace("<defs>", "10006 <defs>", 1),
    "its own metadata": lambda svg: svg.replace("https://matplotlib.org/", "https://matplotlib.org/ 10006"),
    "a subject in the metadata": lambda svg: svg.replace("<dc:creator>", "<dc:subject>10006</dc:subject><dc:creator>"),
    "a date in the metadata": lambda svg: svg.replace("<dc:creator>", "<dc:date>2126-08-14</dc:date><dc:creator>"),
    "an entity": lambda svg: svg.replace("svg11.dtd\">", 'svg11.dtd" [<!ENTITY a "10006">]>'),
    "a section": lambda svg: svg.replace("</metadata>", "</metadata><![CDATA[10006]]>"),
    "another prologue": lambda svg: svg[svg.index("<svg") :],
    "another picture": lambda svg: another_picture(svg, "PNG"),
    "a photograph": lambda svg: another_picture(svg, "JPEG"),
}  # fmt: skip


def another_picture(svg, kind):
    """A scan of a page in place of the picture that was drawn."""
    import base64
    import io

    begin = svg.index("data:image/png;base64,")
    end = svg.index('"', begin)
    buffer = io.BytesIO()
    Image.fromarray(np.zeros((9, 9, 4 if kind == "PNG" else 3), np.uint8)).save(buffer, kind)
    return (
        svg[:begin]
        + f"data:image/{kind.lower()};base64,"
        + base64.b64encode(buffer.getvalue()).decode()
        + svg[end:]
    )


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_holds_only_what_was_drawn(name):
    changed = FIGURES[name](drawing())
    assert changed != drawing()
    assert publishing.findings(notebook("image/svg+xml", changed))


def test_letters_are_read_as_they_are_drawn():
    """A number drawn as letters is found though no comment tells it."""
    figure = Figure(figsize=(3, 2))
    figure.subplots().set_title("patient 10006")
    drawn = figures.svg(figure)
    assert list(publishing.figure(drawn.replace("<!-- patient 10006 -->", "")))


@pytest.mark.parametrize(
    "mime", ["image/png", "image/jpeg", "application/json", "text/latex", "application/pdf"]
)
def test_outputs_of_another_kind_are_refused(mime):
    content = {"a": 1} if mime == "application/json" else "aGk="
    assert publishing.findings(v4.new_notebook(cells=[cell(shown(mime, content))]))


def changed(change):
    """The findings about a notebook that was changed."""
    made = v4.new_notebook(
        cells=[cell(shown("text/plain", "a")), v4.new_markdown_cell("a", id="cell-001")]
    )
    change(made)
    return publishing.findings(made)


def test_a_notebook_holds_only_what_it_shows():
    assert changed(lambda made: None) == []
    for change in (
        lambda made: made.metadata.update(authors=[{"name": "Ann"}]),
        lambda made: made.metadata.update(papermill={"parameters": {"source": "x"}}),
        lambda made: made.metadata.update(
            kernelspec={"name": "python3", "display_name": "ann-10006"}
        ),
        lambda made: made.metadata.update(scoehr={**FACTS, "cells": "0", "note": "patient 10006"}),
        lambda made: made.cells[0].metadata.update(note="patient 10006"),
        lambda made: made.cells[0].metadata.update(tags=["subject-10006"]),
        lambda made: made.cells[0].metadata.update(mystnb={"image": {"alt": "patient 10006"}}),
        lambda made: made.cells[0].outputs[0].metadata.update(note="patient 10006"),
        lambda made: made.cells[1].update(attachments={"a.png": {"image/png": "aGk="}}),
        lambda made: made.cells.append(v4.new_raw_cell("patient 10006", id="cell-002")),
        lambda made: made.cells[0].update(id="subject-10006"),
        lambda made: made.cells[0].outputs[0].update(transient={"note": "10006"}),
    ):
        assert changed(change)


# The tree


MODELS = {
    "synthesis-simulated-standard": "thinning-s0",
    "dualk-diabetes130-standard": "better-s0",
    "mortality_attack-physionet2012-standard": "bilstm-study-s0",
}


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """A small tree of what is published."""
    tree = tmp_path_factory.mktemp("tree")
    for bundle, model in MODELS.items():
        for path in (ROOT / "saved_models" / bundle).iterdir():
            if path.is_file():
                (tree / "saved_models" / bundle).mkdir(parents=True, exist_ok=True)
                shutil.copy(path, tree / "saved_models" / bundle)
        model = f"saved_models/{bundle}/models/{model}"
        shutil.copytree(ROOT / model, tree / model)
    for name in (
        NOTEBOOK,
        "book/reading.md",
        "book/_static/answer.png",
        f"synthetic_data/{RUN}.parquet",
    ):
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tree / name)
    return tree


@pytest.fixture
def tree(original, tmp_path):
    return shutil.copytree(original, tmp_path / "tree")


def whole_patients(names=("sex", "days"), levels=("F", "M"), first=0):
    """Two whole patients of three visits."""
    codes = ["428", "585"]
    counts = sparse.csr_array(np.array([[1, 0], [1, 1], [0, 1]], dtype=np.int32))
    own = Columns((Column(names[0], "category", levels),), (np.array([0, 1]),), 2)
    every = Columns((Column(names[1], "number"),), (np.array([np.nan, 30, np.nan]),), 3)
    titles = [leaks.title(code) for code in codes]
    ids = np.arange(first, first + 2)
    return Patients(counts, [0, 2, 3], ids, codes, titles, columns=own, visit_columns=every)


@pytest.mark.parametrize(
    ("patients", "reason"),
    [
        (whole_patients(), None),
        (whole_patients(first=10006), "is not numbered from 0"),
        (whole_patients(names=("subject_id", "days")), "row-level"),
        (whole_patients(levels=("patient 10006", "M")), "sex"),
    ],
)
def test_whole_patients_are_published_as_a_folder(tree, patients, reason):
    folder = tree / "synthetic_data" / RUN
    patients.write(folder)
    found = " ".join(map(str, publishing.check(tree)))
    assert (reason in found) if reason else found == ""
    table = pq.read_table(folder / "visits.parquet")
    pq.write_table(table.append_column("note", pa.array(["a"] * 3)), folder / "visits.parquet")
    assert publishing.check(tree)
    (folder / "patients.parquet").unlink()
    assert "without its table of patients" in " ".join(map(str, publishing.check(tree)))


def test_the_small_tree_passes(tree):
    assert publishing.check(tree) == []


def put(name, content):
    def change(tree):
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_bytes(content if isinstance(content, bytes) else content.encode())

    return change


def edit(name, old, new):
    def change(tree):
        text = (tree / name).read_text(encoding="utf-8")
        assert old in text
        (tree / name).write_text(text.replace(old, new, 1), encoding="utf-8")

    return change


def rewrite(name, change):
    """A change of a JSON file's value."""

    def written(tree):
        value = json.loads((tree / name).read_text(encoding="utf-8"))
        change(value)
        (tree / name).write_text(json.dumps(value), encoding="utf-8")

    return written


def tensors(**more):
    def change(tree):
        path = tree / FOLDER / "rate.safetensors"
        save_file(load_file(path) | more.get("add", {}), path, metadata=more.get("metadata"))
        rewrite(
            CONFIG,
            lambda value: value["weights"].update(
                {path.name: hashlib.sha256(path.read_bytes()).hexdigest()}
            ),
        )(tree)

    return change


def parquet(change, metadata=None, keys=None):
    """A change of the table of synthetic patients, with what scoehr adds to it."""

    def written(tree):
        path = tree / "synthetic_data" / f"{RUN}.parquet"
        table = pq.read_table(path)
        extra = json.loads(table.schema.metadata[METADATA_KEY]) | (metadata or {})
        table = change(table).replace_schema_metadata(
            {METADATA_KEY: json.dumps(extra).encode(), **(keys or {})}
        )
        pq.write_table(table, path)

    return written


def ids(table):
    """The same patients under the ids of a source."""
    return table.set_column(0, "patient_id", pa.array(table["patient_id"].to_numpy() * 7 + 10006))


def first_row(file, **cells):
    """Other cells in the first row of a table of the bundle, or a column more."""

    def change(tree):
        path = tree / BUNDLE / file
        table = pq.read_table(path)
        for name, value in cells.items():
            column = table[name].to_pylist() if name in table.column_names else [""] * len(table)
            if name in table.column_names:
                table = table.drop_columns([name])
            table = table.append_column(name, pa.array([value, *column[1:]]))
        pq.write_table(table, path, compression="zstd")

    return change


def text_in_picture(tree):
    info = PngInfo()
    info.add_text("Comment", "patient 10006")
    path = tree / "book" / "_static" / "answer.png"
    Image.open(path).save(path, pnginfo=info, dpi=(192, 192))


def link(tree):
    (tree / "book" / "data.md").symlink_to("/etc/hostname")


CONFIG = f"{FOLDER}/config.json"
RESULTS, SETTINGS = f"{BUNDLE}/results.json", f"{BUNDLE}/settings.json"
FILES = {
    "patients beside a run": put(f"{FOLDER}/patients.csv", "subject_id\n10006\n"),
    "a table of the tree": put(f"{FOLDER}/train.parquet", b"PAR1"),
    "a pickle": put(f"{FOLDER}/model.pkl", b"\x80\x04"),
    "a hidden file": put(f"{FOLDER}/.cache", "10006"),
    "a folder in a run": put(f"{FOLDER}/notes/metrics.json", "{}"),
    "a run of MIMIC": lambda tree: shutil.copytree(tree / FOLDER, tree / "saved_models/synthesis-mimic3-standard/models/fast-s0"),
    "a run without a config": put("saved_models/synthesis-simulated-quick/results.json", "{}"),
    "MIMIC under an open name": rewrite(CONFIG, lambda value: value["data"].update(fingerprint="0123456789abcdef")),
    "credentialed": rewrite(CONFIG, lambda value: value.update(credentialed=True)),
    "no word on credentials": rewrite(CONFIG, lambda value: value.pop("credentialed")),
    "no fingerprint": rewrite(CONFIG, lambda value: value["data"].pop("fingerprint")),
    "no data": rewrite(CONFIG, lambda value: value.pop("data")),
    "another data set": rewrite(CONFIG, lambda value: value["experiment"].update(dataset="mimic3")),
    "a fingerprint of another set": rewrite(CONFIG, lambda value: value["data"].update(fingerprint="393a0934130a7cdc")),
    "credentialed twice": edit(CONFIG, '"credentialed": false', '"credentialed": true, "credentialed": false'),
    "a source": rewrite(CONFIG, lambda value: value["experiment"].update(source="/home/ann/mimic")),
    "patients in a config": rewrite(CONFIG, lambda value: value["data"].update(people=[10006, 10011, 10013])),
    "ids as keys": rewrite(RESULTS, lambda value: value.update({"10006": 0.5, "10011": 0.7})),
    "an id in scores": rewrite(RESULTS, lambda value: value.update(subject_id=7)),
    "the worst patient": rewrite(RESULTS, lambda value: value.update(worst_patient=10006)),
    "a note in scores": rewrite(RESULTS, lambda value: value.update(note="patient 10006 was odd")),
    "a date in costs": rewrite(RESULTS, lambda value: value.update(begun="2126-08-14 19:04")),
    "a machine in costs": rewrite(RESULTS, lambda value: value.update(place="/gpfs/ann")),
    "few deaths": rewrite(RESULTS, lambda value: value.update(deaths=3)),
    "a person in scores": rewrite(RESULTS, lambda value: value.update(x={"age": 67, "gender": "F"})),
    "not JSON": put(RESULTS, "subject_id,10006"),
    "a column of history": edit(f"{FOLDER}/history.csv", "seconds", "subject_id"),
    "words in history": edit(f"{FOLDER}/history.csv", "rate,1,", "patient 10006,1,"),
    "ids in history": edit(f"{FOLDER}/history.csv", "rate,1,", "rate,10006,"),
    "ids in frequencies": first_row("frequencies.parquet", code="10006"),
    "a count in frequencies": first_row("frequencies.parquet", real=10006.0),
    "another table as frequencies": first_row("frequencies.parquet", gender="F"),
    "a title of its own": edit(f"{FOLDER}/vocabulary.csv", "Amebiasis, unspecified", "Ann Smith's amebiasis"),
    "a code of its own": edit(f"{FOLDER}/vocabulary.csv", '\n"006",', '\n"10006",'),
    "versions and a machine": put(f"{BUNDLE}/environment.txt", "python 3.11.7\nhost node7.cluster.local\n"),
    "versions and an id": put(f"{BUNDLE}/environment.txt", "patient 10006\n"),
    "a card with a patient": edit(f"{FOLDER}/MODEL_CARD.md", "## Use", "Patient 10006 is one of them.\n\n## Use"),
    "a card with a picture": edit(f"{FOLDER}/DATA_CARD.md", "No record", "![](http://x.org/a.png)<img src=x>"),
    "credentialed in the settings": rewrite(SETTINGS, lambda value: value[RUN].update(credentialed=True)),
    "MIMIC in the settings": rewrite(SETTINGS, lambda value: value[RUN]["data"].update(fingerprint="0123456789abcdef")),
    "a run of MIMIC in the settings": rewrite(SETTINGS, lambda value: value.update({"mimic3-x-s0-1": value[RUN]})),
    "no settings": lambda tree: (tree / SETTINGS).unlink(),
    "a patient in the list of runs": edit(f"{BUNDLE}/runs.csv", "Gaussian copula on counts", "patient 10006"),
    "a date in histories": first_row("histories.parquet", stage="2126-08-14"),
    "an id in histories": first_row("histories.parquet", epoch=10006),
    "a note in the table of scores": first_row("scores.parquet", metric="worst: patient 10006"),
    "weights and metadata": tensors(metadata={"subject_id": "10006"}),
    "weights and a table": tensors(add={"patients": np.array([10006, 10011, 10013])}),
    "weights and ids": tensors(add={"scale": np.array([10006, 10011, 10013], np.float32)}),
    "other weights": put(f"{FOLDER}/rate.safetensors", b"\x02\0\0\0\0\0\0\0{}"),
    "weights that are none": put(f"{FOLDER}/rate.safetensors", "subject_id\n10006\n"),
    "ids of a source": parquet(ids, {"patients": 20_000}),
    "ids in the metadata": parquet(lambda table: table, {"patients": [10006, 10011]}),
    "more in the metadata": parquet(lambda table: table, {"source": "mimic"}),
    "other metadata": parquet(lambda table: table, keys={b"note": b"patient 10006"}),
    "a column more": parquet(lambda table: table.append_column("age", pa.array([67] * len(table)))),
    "titles of its own": parquet(lambda table: table, {"titles": ["patient 10006"] * 1059}),
    "a table of no run": lambda tree: shutil.copy(
        tree / "synthetic_data" / f"{RUN}.parquet", tree / "synthetic_data" / "simulated-standard-fast-s0-0.parquet"
    ),
    "a CSV of patients": put("synthetic_data/simulated-standard-thinning-s0-e459ff20.csv", "patient_id,code\n0,428\n"),
    "a text in the picture": text_in_picture,
    "another picture": put("book/_static/scan.png", png()),
    "a scan as the picture": put("book/_static/answer.png", png()),
    "a scan as the still": put("book/_static/try-it.png", png()),
    "a notebook of another name": put("book/notebooks/Untitled.ipynb", "{}"),
    "a checkpoint of a notebook": put("book/notebooks/.ipynb_checkpoints/01-cohort-checkpoint.ipynb", "{}"),
    "a table in the book": put("book/patients.csv", "subject_id\n10006\n"),
    "an id in the prose": edit("book/reading.md", "\n\n", "\n\nThe worst is subject 10006.\n\n"),
    "a path in the prose": edit("book/reading.md", "\n\n", "\n\nThe tables lie in /gpfs/ann/mimic.\n\n"),
    "a script in the prose": edit("book/reading.md", "\n\n", "\n\n<script src=x></script>\n\n"),
    "a picture in the prose": put("book/_static/logo.svg", "<svg><text>patient 10006</text></svg>"),
    "a style that fetches": put("book/_static/style.css", "@import url(https://x.org/10006);"),
    "a script that sends": put("book/_static/thinning.js", "await fetch('x')"),
    "a script of markup": put("book/_static/thinning.js", "body.innerHTML = text"),
    "an id in a script": put("book/_static/thinning.js", "// subject 10006 is"),
    "weights in a script": put("book/_static/thinning.js", f"x = '{'Zk9' * 30}'"),
    "a model in the book": put("book/try-it/model.js", "scoehrModel = 1;"),
    "a link": link,
    "too large": put("book/_static/style.css", "a" * 40_000),
}  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_a_leak_in_a_file_is_found(tree, name):
    FILES[name](tree)
    assert publishing.check(tree)


def pairs(tree, **columns):
    pq.write_table(pa.table(columns), tree / FOLDER / "pairs.parquet")
    return publishing.check(tree)


def test_pairs_of_codes_are_places_and_numbers(tree):
    assert pairs(tree, first=[0, 0], second=[1, 2], patients=[40, 12]) == []
    assert pairs(tree, first=[0, 0], second=[1, 2], patients=[40, 12], age=[67, 50])
    assert pairs(tree, subject_id=[0, 0], second=[1, 2], patients=[40, 12])
    assert pairs(tree, first=[10006, 30011], second=[1, 2], patients=[40, 12])


def test_what_git_ignores_is_not_looked_at(tree):
    subprocess.run(["git", "init", "--quiet", str(tree)], check=True)
    (tree / ".gitignore").write_text("saved_models/table-*\n")
    put("saved_models/table-mine/patients.csv", "subject_id\n10006\n")(tree)
    assert publishing.check(tree) == []
    (tree / ".gitignore").write_text("")
    assert publishing.check(tree)[0].file == "saved_models/table-mine/patients.csv"


@pytest.mark.parametrize(
    "path",
    [
        "parts/train.parquet", "model/config.json", "packet/packet.csv", "packet-key-not-for-reviewers.csv",
        "scores.json", "synthetic.parquet", "failing.parquet", "counts.json", "synthetic.jsonl", "packet2/packet.html",
        "runs/done/table-quick-thinning-s0-1/config.json", "runs/done/mimic3-standard-thinning-s0-1/synthetic.parquet",
        "data/mimic3/ADMISSIONS.csv.gz", "runs/stages/x.pt", ".model.abcdefgh/model/config.json",
    ],
)  # fmt: skip
def test_what_the_commands_of_the_readme_write_is_ignored(path):
    done = subprocess.run(
        ["git", "check-ignore", "--quiet", "--no-index", path], cwd=ROOT, check=False
    )
    assert done.returncode == 0


# What it was made from


def stamped(tree, **facts):
    path = tree / NOTEBOOK
    made = publishing.stamp(nbformat.read(path, as_version=4), FACTS | facts)
    nbformat.write(made, path)
    return [complaint.reason for complaint in publishing.check(tree)]


def test_a_notebook_says_what_it_was_executed_on(tree):
    assert stamped(tree) == []
    assert "known to be open" in stamped(tree, fingerprint="0123456789abcdef")[0]
    assert "known to be open" in stamped(tree, dataset="diabetes130")[0]
    assert stamped(tree, credentialed=True) == ["executed on credentialed data"]
    assert any(
        "known to be open" in reason for reason in stamped(tree, dataset="mimic3", fingerprint=None)
    )


def test_a_notebook_without_a_fingerprint_is_refused(tree):
    rewrite(NOTEBOOK, lambda value: value["metadata"].pop(publishing.STAMP))(tree)
    assert "no fingerprint" in publishing.check(tree)[0].reason


def test_a_notebook_changed_by_hand_is_told(tree):
    stamped(tree)
    edit(NOTEBOOK, "has a long tail of", "has a short tail of")(tree)
    assert [complaint.reason.split(";")[0] for complaint in publishing.check(tree)] == [
        "changed since it was executed"
    ]


def test_facts_of_credentialed_data_are_not_read():
    assert datasets.facts("mimic3", "nowhere") == {
        "dataset": "mimic3",
        "fingerprint": None,
        "credentialed": True,
    }
    assert datasets.facts("table", "nowhere")["credentialed"]


def test_a_name_alone_opens_nothing():
    assert datasets.credentialed("diabetes130") and datasets.credentialed(
        "diabetes130", "0123456789abcdef"
    )
    assert datasets.credentialed("physionet2012", "1cec4bba1c4f1722") and datasets.credentialed(
        "mine"
    )
    assert not datasets.credentialed(
        "diabetes130", "393a0934130a7cdc"
    ) and not datasets.credentialed("simulated")


def test_every_code_of_the_tree_is_known():
    assert icd.title("428") and not icd.title("10006")


# The shell


def test_the_command_lists_complaints_and_fails(tree):
    put(f"{FOLDER}/patients.csv", "subject_id\n10006\n")(tree)
    done = inside("check", tree)
    assert done.returncode == 2
    assert (
        done.stdout
        == f"{FOLDER}/patients.csv: is no file that is published here; move it elsewhere\n"
    )
    assert done.stderr.count("\n") == 1 and "1 reasons not to publish" in done.stderr
