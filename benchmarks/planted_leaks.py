"""What must not be published, planted where it would be: in executed notebooks, and in the folders
of runs.

The publishing check (:mod:`reproduction.publishing`) is to complain of every one.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from nbformat import NotebookNode, v4

from benchmarks.trials import Outcome
from reproduction import publishing
from scoehr.files import CHECKOUT

Rng = np.random.Generator
MONTHS = ["January", "March", "April", "July", "August", "October"]
HEADS = [
    "SUBJECT_ID",
    "subject_id",
    "hadm_id",
    "patient_id",
    "Patient ID",
    "patientId",
    "MRN",
    "stay_id",
    "icustay_id",
    "encounter_id",
]
PEOPLE = ["patients", "people", "women", "men", "deaths", "admissions"]
FOLDERS = [
    "/home/{}/mimic",
    "/scratch/{}/x.csv",
    "/Users/{}/mimic",
    "/mnt/{}/mimic",
    "C:\\Users\\{}\\mimic",
    "\\\\server\\{}\\x",
    "s3://{}/mimic",
]


# What is planted ----------------------------------------------------------------------------------


def _id(rng: Rng) -> str:
    return str(rng.integers(10_000, 99_999_999))


def _date(rng: Rng) -> str:
    year, month, day = rng.integers(2100, 2200), rng.integers(1, 13), rng.integers(1, 29)
    forms = [
        f"{year}-{month:02}-{day:02}", f"{day:02}/{month:02}/{year}", f"{month}/{day}/{year}",
        f"{day}.{month}.{year}", f"{year}-{month:02}-{day:02} 19:04:00",
        f"{day} {rng.choice(MONTHS)} {year}", f"{rng.choice(MONTHS)} {day}, {year}",
        f"{year}{month:02}{day:02}", f"{day}-{str(rng.choice(MONTHS))[:3]}-{year}",
    ]  # fmt: skip
    return str(rng.choice(forms))


def _path(rng: Rng) -> str:
    return str(rng.choice(FOLDERS)).format(rng.choice(["ann", "m.lee", "project7"]))


def _few(rng: Rng) -> str:
    count, who = rng.integers(1, 11), rng.choice(PEOPLE)
    return str(
        rng.choice([f"{count} {who} have the code", f"{who}: {count}", f"number of {who}: {count}"])
    )


def _row(rng: Rng) -> str:
    return json.dumps(
        {str(rng.choice(HEADS)): int(rng.integers(1, 99_999)), "codes": ["4019", "25000"]}
    )


THINGS: dict[str, Callable[[Rng], str]] = {
    "an id": lambda rng: f"patient {_id(rng)}",
    "ids": lambda rng: " ".join(_id(rng) for _ in range(4)),
    "a date": lambda rng: f"admitted {_date(rng)}", "a path": lambda rng: f"read {_path(rng)}",
    "few people": _few, "a record": _row,
}  # fmt: skip


def _table(rng: Rng) -> str:
    """An HTML table with a column or an index that tells people apart, dates, or a small count."""
    kind = int(rng.integers(4))
    rows = [[_id(rng), str(round(rng.random(), 3))] for _ in range(3)]
    heads = [str(rng.choice(HEADS)), "value"]
    if kind == 1:
        heads = ["", "value"]
    if kind == 2:
        heads, rows = (
            ["", str(rng.choice(PEOPLE))],
            [["401", "900"], ["037", str(rng.integers(1, 11))]],
        )
    if kind == 3:
        heads, rows = ["", "begin"], [["a", _date(rng)]]
    head = "".join(f"<th>{name}</th>" for name in heads)
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f'<table class="scores"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'


# Where --------------------------------------------------------------------------------------------


def _shown(kind: str, content: str) -> NotebookNode:
    return _cell(v4.new_output("display_data", data={kind: content}))


def _cell(*outputs: NotebookNode, source: str = "1") -> NotebookNode:
    return v4.new_code_cell(source, execution_count=1, outputs=list(outputs), id="cell-000")


PLACES: dict[str, Callable[[str], NotebookNode]] = {
    "stdout": lambda text: _cell(v4.new_output("stream", name="stdout", text=text)),
    "stderr": lambda text: _cell(v4.new_output("stream", name="stderr", text=text)),
    "text": lambda text: _shown("text/plain", text),
    "HTML": lambda text: _shown("text/html", f"<p>{text}</p>"),
    "Markdown": lambda text: _shown("text/markdown", text),
    "an attribute": lambda text: _shown("text/html", f"<p title='{text}'>a</p>"),
    "a comment": lambda text: _shown("text/html", f"<p>a</p><!-- {text} -->"),
    "a script": lambda text: _shown("text/html", f"<script>'{text}'</script>"),
    "JSON": lambda text: _shown("application/json", text),
    "a drawing": lambda text: _shown("image/svg+xml",
    f"<svg xmlns='http://www.w3.org/2000/svg'><text>{text}</text></svg>"),
    "a drawing's description": lambda text: _shown("image/svg+xml",
    f"<svg xmlns='http://www.w3.org/2000/svg'><desc>{text}</desc></svg>"),
    "an error": lambda text: _cell(v4.new_output("error", ename="KeyError", evalue=text,
    traceback=[text])),
    "a comment of the code": lambda text: _cell(source=f"x = 1  # {text}"),
    "a text of the code": lambda text: _cell(source=f"x = {text!r}"),
    "the prose": lambda text: v4.new_markdown_cell(text, id="cell-000"),
    "a raw cell": lambda text: v4.new_raw_cell(text, id="cell-000"),
}  # fmt: skip


def _metadata(notebook: NotebookNode, text: str) -> None:
    notebook.metadata["note"] = text


def notebook(rng: Rng) -> tuple[str, NotebookNode]:
    """What was planted where, and the notebook."""
    place = str(rng.choice([*PLACES, "a table", "a table", "metadata"]))
    if place == "a table":
        return place, v4.new_notebook(cells=[_shown("text/html", _table(rng))])
    thing = str(rng.choice(list(THINGS)))
    text = THINGS[thing](rng)
    found = v4.new_notebook(cells=[PLACES[place](text)] if place in PLACES else [])
    if place == "metadata":
        found.metadata["note"] = text
    return f"{thing} in {place}: {text[:60]}", found


def notebooks(number: int, seed: int) -> Iterator[Outcome]:
    """So many leaks, each in a notebook of its own."""
    for each in range(number):
        what, found = notebook(np.random.default_rng([seed, 2, each]))
        yield Outcome(what, "" if publishing.findings(found) else "passes")


# Folders ------------------------------------------------------------------------------------------


def _config(folder: Path, **entries: object) -> None:
    path = folder / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    for key, value in entries.items():
        (config["experiment"] if key == "dataset" else config)[key] = value
    path.write_text(json.dumps(config), encoding="utf-8")


def _other_fingerprint(run: Path) -> None:
    config = json.loads((run / "config.json").read_text(encoding="utf-8"))
    _config(run, data=config["data"] | {"fingerprint": "0" * 16})


def _append(path: Path, text: str) -> None:
    path.write_text(path.read_text(encoding="utf-8") + text, encoding="utf-8")


def _patients(path: Path, **metadata: str) -> None:
    """Row-level Parquet, with our metadata or without."""
    extra = {"kind": "count", "codes": ["401"], "titles": [""], "patients": [10006, 10011]}
    table = pa.table(
        {
            "patient_id": pa.array([10006, 10011]),
            "code": ["401", "401"],
            "count": pa.array([1, 2], pa.int32()),
        }
    )
    path.parent.mkdir(exist_ok=True)
    pq.write_table(table.replace_schema_metadata({"scoehr": json.dumps(extra)} | metadata), path)


#: Plants something in the folder of a model in a bundle; ``rng`` chooses the words.
PLANTS: dict[str, Callable[[Rng, Path], object]] = {
    "patients beside the run": lambda rng,
    run: (run / "patients.csv").write_text(f"subject_id\n{_id(rng)}\n"),
    "a note": lambda rng, run: (run / "notes.txt").write_text("nothing"),
    "a table of records": lambda rng, run: _patients(run / "train.parquet"),
    "credentialed": lambda rng, run: _config(run, credentialed=True),
    "credentialed left out": lambda rng, run: _config(run, credentialed=None),
    "of MIMIC-III": lambda rng, run: _config(run, dataset="mimic3"),
    "of other data": lambda rng, run: _other_fingerprint(run),
    "a path in the config": lambda rng, run: _config(run, source=_path(rng)),
    "a record in the config": lambda rng, run: _config(run,
    example={"subject_id": int(rng.integers(9, 99_999))}),
    "a date in the config": lambda rng, run: _config(run, begun=_date(rng)),
    "an id in the card": lambda rng, run: _append(run / "MODEL_CARD.md",
    f"\nWorst: patient {_id(rng)}.\n"),
    "a date in the card": lambda rng, run: _append(run / "DATA_CARD.md",
    f"\nFirst admission on {_date(rng)}.\n"),
    "few people in the card": lambda rng, run: _append(run / "DATA_CARD.md", f"\n{_few(rng)}\n"),
    "a comment in the card": lambda rng, run: _append(run / "MODEL_CARD.md",
    f"\n<!-- {_id(rng)} -->\n"),
    "ids in the losses": lambda rng, run: _append(run / "history.csv", f"{_id(rng)},{_id(rng)}\n"),
    "an id among the codes": lambda rng, run: _append(run / "vocabulary.csv",
    f'"{_id(rng)}","x"\n'),
    "a name in the environment": lambda rng, run: _append(run.parents[1] / "environment.txt",
    "host db7.hospital.internal\n"),
    "other weights": lambda rng, run: next(run.glob("*.safetensors")).write_bytes(rng.bytes(64)),
    "pickled weights": lambda rng, run: (run / "model.pt").write_bytes(b"\x80\x04."),
    "a folder below": lambda rng, run: _patients(run / "checkpoints" / "a.parquet"),
    "a link": lambda rng,
    run: (run / "history.csv").unlink() or (run / "history.csv").symlink_to("config.json"),
    "a run of MIMIC": lambda rng,
    run: run.parents[1].rename(run.parents[2] / "synthesis-mimic4-standard"),
    "a run without a config": lambda rng, run: (run / "config.json").unlink(),
    "patients of no run": lambda rng,
    run: _patients(_synthetic(run) / "simulated-quick-thinning-s9-00000000.parquet"),
    "real patients in a sample": lambda rng,
    run: _patients(_synthetic(run) / f"{_id_of(run)}.parquet"),
    "a source in a sample": lambda rng, run: _patients(_synthetic(run) / f"{_id_of(run)}.parquet",
    source=_path(rng)),
    "records as CSV": lambda rng,
    run: _folder(_synthetic(run)) / "x.csv" and (_folder(_synthetic(run)) / "x.csv").write_text("a\n"),
    "a hidden file": lambda rng, run: (run / ".patients").write_text(_id(rng)),
}  # fmt: skip


def _synthetic(run: Path) -> Path:
    return run.parents[3] / "synthetic_data"


def _folder(path: Path) -> Path:
    path.mkdir(exist_ok=True)
    return path


def _id_of(run: Path) -> str:
    """The run whose model this is."""
    settings = json.loads((run.parents[1] / "settings.json").read_text(encoding="utf-8"))
    return next(name for name in settings if f"-{run.name}-" in name)


def published_run() -> Path:
    """A published model of the simulated cohort."""
    return CHECKOUT / "saved_models" / "synthesis-simulated-standard" / "models" / "thinning-s0"


def copied(run: Path, tree: Path) -> Path:
    """The model in a copy of its bundle that has no other."""
    bundle = run.parents[1]
    place = tree / "saved_models" / bundle.name
    ignored = shutil.ignore_patterns("models")
    shutil.copytree(bundle, place, ignore=ignored)
    return Path(shutil.copytree(run, place / "models" / run.name))


def folders(number: int, seed: int, folder: Path) -> Iterator[Outcome]:
    """So many plants in copies of a published run below ``folder``."""
    sound = published_run()
    for each in range(number):
        name = list(PLANTS)[each % len(PLANTS)]
        tree = folder / str(each)
        run = copied(sound, tree)
        PLANTS[name](np.random.default_rng([seed, 3, each]), run)
        yield Outcome(name, "" if publishing.check(tree) else "passes")
        shutil.rmtree(tree)


def sound_ones() -> Iterator[Outcome]:
    """The other way round: every published notebook and run is to pass."""
    complaints = [str(each) for each in publishing.check(CHECKOUT)]
    for name in publishing.committed(CHECKOUT):
        found = [each for each in complaints if each.startswith(name)]
        yield Outcome(name, found[0] if found else "")
