"""Runs of the generator of whole patients: made once, then read, each of its own data."""

import json
import re
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import tiny_study
from scipy import sparse

from benchmarks import peers
from reproduction.synthesis import whole
from scoehr.data.columns import Column, Columns
from scoehr.data.patients import Patients
from scoehr.data.simulate import sample_matrix
from scoehr.metrics.whole import WHOLE

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


# Pages --------------------------------------------------------------------------------------------


def made(auc, readmitted, seconds):
    """A made-up run of 10,000 patients."""
    values = {key.removeprefix("whole."): 0.5 for key in WHOLE}
    synthetic = values | {"discriminator_auc": auc, "readmission_auroc": readmitted}
    metrics = {"whole": synthetic, "interval": {}, "reference": {"real": {"whole": values}}}
    costs = {"training_seconds": 600.0, "sampling_seconds": seconds, "patients_sampled": 10_000}
    return SimpleNamespace(id="made", verdict="finished", metrics=metrics, costs=costs)


def test_targets_are_reached_or_not_as_the_numbers_say():
    found = whole.targets(
        {"diabetes130": [made(0.54, 0.47, 61.0)], "simulated": [made(0.54, 0.5, 9.0)]}
    )
    reached = dict(
        zip(zip(found["data set"], found["measure"], strict=True), found["reached"], strict=True)
    )
    assert reached["diabetes130", "discriminator AUC, all columns"] == "yes"
    assert reached["simulated", "discriminator AUC, all columns"] == "no"
    assert reached["diabetes130", "AUROC of readmission lost"] == "no"
    assert reached["diabetes130", "seconds for 10,000 patients"] == "no"
    assert reached["simulated", "minutes of training"] == "yes"
    lost = found[found["measure"] == "AUROC of readmission lost"]["measured"]
    assert lost.tolist() == ["0.03"]


def someone(n, sex="F"):
    """Patients of two visits, the second after 30 days, whose titles and levels need escaping."""
    counts = sparse.csr_array(np.tile([[1, 1], [0, 1]], (n, 1)).astype(np.int32))
    own = Columns((Column("sex", "category", (sex, "<b>")),), (np.zeros(n, int),), n)
    days = np.tile([np.nan, 30.0], n)
    every = Columns((Column("days", "number"), Column("nights", "number")), (days, days), 2 * n)
    titles = ["Heart <failure>", "Fever"]
    starts = np.arange(0, 2 * n + 1, 2)
    return Patients(
        counts, starts, np.arange(n), ["428", "780"], titles, columns=own, visit_columns=every
    )


def test_timelines_are_escaped_and_blinded():
    found = whole.timeline(someone(1), 0)
    assert "sex f" in found and "Heart &lt;failure&gt;; Fever" in found and "<b>" not in found
    assert found.count("<li>") == 2 and "after 30 days: nights 30<br>Fever" in found
    cards, answer = whole.blinded(someone(12, "real"), someone(12, "made"), seed=1)
    letters = re.findall(r"<strong>(\w)</strong> sex (\w+)", cards.text)
    assert [letter for letter, _ in letters] == list("ABCDEFGHIJKLMNOPQRST")
    synthetic = [letter for letter, sex in letters if sex == "made"]
    assert len(synthetic) == 10 and f"Synthetic: {', '.join(synthetic)}." in answer.text
    assert synthetic != list("ABCDEFGHIJ") and synthetic != list("KLMNOPQRST")
    alone, answer = whole.blinded(None, someone(12, "made"))
    assert alone.text.count("sex made") == 10


def test_the_words_on_peers_begin_with_those_least_told_apart_and_say_what_they_cost():
    costs = {"fit_seconds": 31.0, "sample_seconds": 2.0}
    rows = {
        "arfpy": {"auc": 0.7, "interval": [0.68, 0.72]} | costs,
        "real": {"auc": 0.5, "interval": [0.48, 0.52]},
        "whole": {"auc": 0.6, "interval": [0.58, 0.62]} | costs,
        "forestdiffusion": {"version": "1", "unfinished_seconds": 310.0},
    }
    said = whole.beside_peers({"patients": 2000, "columns": 63, "rows": rows})
    places = [said.index(words) for words in ("real patients 0.500 [", "whole patients 0.6", "0.7")]
    assert places == sorted(places) and "2,000 patients and 63 columns" in said
    assert said.count("31 s of processor time") == 2
    assert said.endswith("ForestDiffusion was not fitted after 310 s.")


def test_the_table_of_peers_is_the_first_visits_with_codes_as_columns():
    counts = np.array([[1, 0, 2], [0, 1, 0], [0, 3, 0]], dtype=np.int32)
    sex = Columns((Column("sex", "category", ("F", "M")),), (np.array([1, -1]),), 2)
    nights = Columns((Column("nights", "number"),), (np.array([3.0, 9.0, 1.0]),), 3)
    found = Patients(
        sparse.csr_array(counts),
        np.array([0, 2, 3]),
        np.arange(2),
        np.array(["a", "b", "c"]),
        np.array(["", "", ""]),
        columns=sex,
        visit_columns=nights,
    )
    table = peers.frame(peers.first_visits(found, np.array([1, 2])))
    assert table.to_dict("list") == {
        "sex": ["M", "missing"],
        "nights": [3.0, 1.0],
        "code b": ["no", "yes"],
        "code c": ["yes", "no"],
    }


def test_patients_of_one_law_are_not_told_apart_and_others_are():
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"x": rng.normal(size=900), "y": rng.choice(["u", "v"], 900)})
    same = peers.told_apart(table[:450], table[450:])
    other = peers.told_apart(table[:450], table[450:].assign(x=lambda part: part["x"] + 1))
    assert abs(same["auc"] - 0.5) < 0.06 < other["interval"][0] - 0.6
