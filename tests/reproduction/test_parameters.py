"""What a reader asks of a notebook is what is run and shown: by papermill, over seeds and data sets."""

import re

import nbformat
import pytest
import tiny_study
import yaml

from reproduction import book

pytestmark = [pytest.mark.slow, pytest.mark.timeout(0)]  # processor time is limited, in tiny_study

#: Data set and random seed; another seed on the table stands in test_notebooks.py.
ASKED = [("simulated", 1), ("simulated", 2), ("table", 4)]


def papermill(name, folder, *, profile="tiny"):
    """Run a notebook as the page on re-running says, on the table; the executed notebook."""
    alone, executed = (folder / f"{name}-{word}.ipynb" for word in ("text", "executed"))
    text = f"notebooks/{name}.py"
    tiny_study.python("-m", "jupytext", "--to", "ipynb", "--output", str(alone), text)
    asked = {**tiny_study.setting(), "profile": profile}
    options = [word for key, value in asked.items() for word in ("-p", key, str(value))]
    tiny_study.python("-m", "papermill", str(alone), str(executed), "-k", "python3", *options)
    return nbformat.read(executed, as_version=4)


def shown(notebook):
    """What the notebook shows, as one text."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert [output.ename for output in outputs if output.output_type == "error"] == []
    return "\n".join("".join(output.get("data", {}).get("text/html", "")) for output in outputs)


@pytest.mark.parametrize("dataset, seed", ASKED)  # the notebooks of one setting share its runs
@pytest.mark.parametrize("name", book.notebooks())
def test_what_is_asked_for_is_shown(name, dataset, seed):
    source = str(tiny_study.source()) if dataset == "table" else None
    path = tiny_study.execute(name, dataset=dataset, source=source, seed=seed)
    text = shown(nbformat.read(path, as_version=4))
    path.unlink()  # other tests find those of the study's own seed
    assert f"profile <code>tiny</code>, random seed {seed}" in text
    companion = re.match(r"1[789]|2[0125]", name)
    assert companion or f"Data set <code>{dataset}</code>" in text


def test_a_larger_profile_that_is_finished_is_not_shown_in_place_of_the_one_asked_for(tmp_path):
    plan = tiny_study.root() / "workflow" / "experiments.yaml"
    before = plan.read_text(encoding="utf-8")
    text = yaml.safe_load(before)
    text["profiles"]["larger"] = text["profiles"]["tiny"] | {"evaluated": 150}
    plan.write_text(yaml.safe_dump(text, sort_keys=False), encoding="utf-8")
    try:
        papermill("04-sampling", tmp_path, profile="larger")
        again = shown(papermill("04-sampling", tmp_path))
    finally:
        plan.write_text(before, encoding="utf-8")
    assert "profile <code>tiny</code>, random seed 3" in again and "larger" not in again
