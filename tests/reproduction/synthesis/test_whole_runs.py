"""Runs of the generator of whole patients: made once, then read, each of its own data."""

import json

import pytest
import tiny_study

from scoehr.data.simulate import sample_matrix

pytestmark = pytest.mark.timeout(600)

RUN = """
from reproduction.synthesis import experiments
made = experiments.run(experiments.plan('table', {source!r}, 'tiny', 3)['whole'], progress=False)
"""


def run(more="", source=None, check=True):
    code = RUN.format(source=str(source or tiny_study.source()))
    return tiny_study.python("-c", code + more, check=check)


@pytest.fixture(scope="module")
def folder():
    run()
    return next((tiny_study.root() / "runs" / "done").glob("table-tiny-whole-s3-*"))


def test_a_run_leaves_its_files(folder):
    names = {path.name for path in folder.iterdir()}
    assert names == {
        "config.json", "vocabulary.csv", "history.csv", "metrics.json", "costs.json", "environment.txt",
        "facts.safetensors", "pairs.parquet", "synthetic", "MODEL_CARD.md", "DATA_CARD.md",
    }  # fmt: skip
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    assert config["credentialed"] and str(tiny_study.root()) not in json.dumps(config)


def test_a_finished_run_is_read_and_its_weights_give_its_patients_again(folder):
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    run(
        "assert made.synthetic.equals(made.generator.sample(len(made.synthetic), seed=3, progress=False))"
    )
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == before


def test_other_data_have_a_run_of_their_own(folder, tmp_path):
    sample_matrix(500, seed=1).write(tmp_path / "other.parquet")
    run(source=tmp_path / "other.parquet")
    assert len(list(folder.parent.glob("table-tiny-whole-s3-*"))) == 2


def test_a_run_with_other_settings_is_another(folder):
    change = "from dataclasses import replace; row = experiments.plan('table', {0!r}, 'tiny', 3)['whole']\n"
    more = change + "other = replace(row, config=replace(row.config, depth=3))\n"
    run(
        (more + "assert row.id == made.id != other.id and not other.finished").format(
            str(tiny_study.source())
        )
    )
