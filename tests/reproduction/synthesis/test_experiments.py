import json
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch

from reproduction.plan import Plan, publish
from reproduction.synthesis import experiments
from scoehr import InputError
from scoehr.data.datasets import fingerprint, load
from scoehr.data.matrix import CodeMatrix
from scoehr.files import sha256
from tests.problems import patients

RUN = """
import sys
from reproduction.synthesis import experiments
experiments.run(experiments.plan("table", sys.argv[1], "tiny")["fast"], progress=False)
"""
PLAN = """
profiles:
  tiny:
    {patients: 240, evaluated: 100, factors: {mlp: {width: .1, epochs: .5, autoencoder_epochs: .5}}}
experiments:
  fast: {title: fast path, preset: fast, settings: &small {latent: 16, batch: 32, autoencoder_batch: 32}}
  wild: {title: far too fast, preset: fast, settings: {<<: *small, autoencoder_learning_rate: 1000}}
"""


@pytest.fixture
def home(tmp_path, monkeypatch):
    """The working root of a study of its own plan, and of this process."""
    (tmp_path / "workflow").mkdir()
    (tmp_path / "workflow" / "experiments.yaml").write_text(PLAN)
    patients(600).write(tmp_path / "table.parquet")
    for name, module in list(sys.modules.items()):
        if name.startswith(("scoehr.", "reproduction.")) and hasattr(module, "ROOT"):
            monkeypatch.setattr(module, "ROOT", tmp_path)
    monkeypatch.setattr(experiments, "PLAN", Plan(tmp_path / "workflow" / "experiments.yaml"))
    return tmp_path


def plan(home, profile="tiny", table="table.parquet"):
    """The rows of the study, its table read again."""
    for cached in (experiments.identity, experiments.cohort, experiments._loaded):
        cached.cache_clear()
    return experiments.plan("table", str(home / table), profile)


def make(home, name="fast", profile="tiny"):
    """Make a run, or load it."""
    return experiments.run(plan(home, profile)[name], progress=False)


def start(home):
    """Make the run "fast" in another process."""
    return subprocess.Popen(
        [sys.executable, "-c", RUN, str(home / "table.parquet")],
        env={**os.environ, "SCOEHR_ROOT": str(home), "OMP_NUM_THREADS": str(torch.get_num_threads())},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def folder(home, name="fast"):
    return next((home / "runs" / "done").glob(f"table-tiny-{name}-*"))


def wait_for(condition):
    deadline = time.monotonic() + 180
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert condition()


def test_a_run_is_made_once_and_survives_kill(home):
    process = start(home)
    wait_for(lambda: list(home.glob("runs/stages/autoencoder-*")))
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not list(home.glob("runs/done/[!.]*")), "nothing half-made is left"
    make(home)
    made = folder(home)
    resumed = sha256(made / "score.safetensors"), sha256(made / "autoencoder.safetensors")
    assert {path.name for path in made.iterdir()} == {
        "config.json", "vocabulary.csv", "history.csv", "metrics.json", "frequency.csv", "costs.json",
        "environment.txt", "synthetic.parquet", "autoencoder.safetensors", "score.safetensors", "MODEL_CARD.md", "DATA_CARD.md",
    }  # fmt: skip

    before = {path: path.stat().st_mtime_ns for path in made.iterdir()}
    make(home)
    assert before == {path: path.stat().st_mtime_ns for path in made.iterdir()}, (
        "finished work is loaded, not made anew"
    )

    made.rename(home / "first")
    shutil.rmtree(home / "runs" / "stages")
    make(home)
    again = (
        sha256(folder(home) / "score.safetensors"),
        sha256(folder(home) / "autoencoder.safetensors"),
    )
    assert resumed == again, "killed and resumed, or never killed: the same weights"
    results = json.loads((made.parent / folder(home).name / "metrics.json").read_text())
    assert {
        "reported",
        "fidelity",
        "utility",
        "privacy",
        "reference",
        "gap",
        "n",
        "seed",
        "versions",
    } <= set(results)


def test_divergence_is_a_verdict_and_a_users_data_are_not_published(home):
    make(home, "wild")
    made = folder(home, "wild")
    assert json.loads((made / "config.json").read_text())["verdict"] == "diverged"
    assert json.loads((made / "metrics.json").read_text()) == {}
    with pytest.raises(InputError, match="is of credentialed data"):
        publish(experiments.PLAN, plan(home).values())
    assert not (home / "saved_models").exists()


def test_the_data_are_part_of_the_id(home):
    """A changed file, another file and a path written otherwise: each run is of the data it was given."""
    made = []
    for seed in (0, 9):
        patients(600, seed=seed).write(home / "table.parquet")
        make(home, "wild")
        made.append({path.name for path in (home / "runs" / "done").glob("table-tiny-wild-*")})
    assert len(made[0]) == 1 and len(made[1]) == 2 and made[0] < made[1], (
        "the first run is kept, the second its own"
    )
    prints = {json.loads((home / "runs" / "done" / name / "config.json").read_text())["data"]["fingerprint"]
              for name in made[1]}  # fmt: skip
    assert len(prints) == 2
    assert plan(home)["wild"].finished
    patients(600, seed=10).write(home / "other.parquet")
    assert not plan(home, table="other.parquet")["wild"].finished


def test_the_id_follows_from_the_settings():
    plans = [
        experiments.plan(profile=profile, seed=seed)
        for profile in ("quick", "standard")
        for seed in (0, 1)
    ]
    ids = [experiment.id for plan in plans for experiment in plan.values()]
    assert len(set(ids)) == len(ids)
    first = experiments.plan()["reported"]
    assert first.id.startswith("simulated-quick-reported-s0-")


def test_the_paper_profile_is_the_reported_scale():
    config = experiments.plan(profile="paper")["reported"].config
    assert (
        config.width,
        config.epochs,
        config.autoencoder_epochs,
        config.steps,
        config.latent,
    ) == (
        128,
        50,
        200,
        1000,
        144,
    )
    assert experiments.plan(profile="paper")["reported"].patients is None


@pytest.mark.parametrize(
    ("argument", "message"),
    [({"profile": "huge"}, "profile 'huge'"), ({"dataset": "mimic9"}, "data set 'mimic9'")],
)
def test_unknown_names(argument, message):
    with pytest.raises(InputError, match=message):
        experiments.plan(**argument)


def test_a_book_is_made_at_the_largest_profile_whose_runs_are_all_there(home):
    small = PLAN.split("profiles:\n")[1].split("experiments:")[0]
    text = PLAN.replace("experiments:", small.replace("tiny", "big") + "experiments:")
    text = text.replace("&small {", "&small {autoencoder_learning_rate: 1000, ")  # a quick end
    (home / "workflow" / "experiments.yaml").write_text(text)
    make(home, "fast", "big")
    assert experiments.published_profile("table", str(home / "table.parquet")) == "tiny"
    make(home, "wild", "big")
    assert experiments.published_profile("table", str(home / "table.parquet")) == "big"


def test_open_data_as_published_keep_the_ids_of_published_runs(shared_data):
    """With or without a source, and whatever it is called on this machine."""
    source = shared_data / "diabetes130"
    assert experiments.identity("diabetes130", str(source)) == ""
    assert experiments.plan("diabetes130", str(source), "standard") != {}
    ids = [
        experiments.plan("diabetes130", given, "standard")["thinning"].id
        for given in (None, str(source))
    ]
    assert ids[0] == ids[1]
    assert experiments.identity("mimic3", str(shared_data / "mimic3-demo")) != ""


def test_two_processes_never_work_on_one_run(home):
    process = start(home)
    wait_for(lambda: list(home.glob("runs/stages/autoencoder-*")))
    with pytest.raises(InputError, match="is being made here; wait for it"):
        make(home)
    _, err = process.communicate(timeout=240)
    assert process.returncode == 0, err[-3000:]


def test_a_row_that_samples_otherwise_takes_the_weights_of_the_row_before(home):
    few = (
        "  few: {title: fewer steps, preset: fast, settings: {<<: *small, steps: 5}, after: fast}\n"
    )
    (home / "workflow" / "experiments.yaml").write_text(PLAN + few)
    make(home)
    shutil.rmtree(home / "runs" / "stages")
    make(home, "few")
    assert not list((home / "runs" / "stages").glob("score-*")), "nothing is trained again"
    both = [sha256(folder(home, name) / "score.safetensors") for name in ("fast", "few")]
    assert both[0] == both[1]
    assert json.loads((folder(home, "few") / "config.json").read_text())["config"]["steps"] == 5


def test_a_private_row_writes_nothing_exact_of_a_users_patients(home):
    """Codes of one patient, fingerprints, totals and losses stay out; it is run once."""
    small = "{width: 8, epochs: 1, marginals_noise: 0.1, delta: 1.0e-4, epsilon: 1.0e+4}"
    (home / "workflow" / "experiments.yaml").write_text(
        PLAN + f"  private: {{title: private, preset: private, settings: {small}}}\n"
    )
    table, counts = home / "table.parquet", patients(1_000).dense()
    codes = [*patients(1).codes, "SECRET"]
    secret = np.r_[1, np.zeros(len(counts) - 1, dtype=int)]
    CodeMatrix.from_array(np.c_[counts, secret], codes).write(table)
    make(home, "private")
    made = folder(home, "private")
    texts = {path.name: path.read_bytes() for path in made.iterdir()}
    found = fingerprint(load("table", str(table)).matrix)
    assert not [name for name, text in texts.items() if b"SECRET" in text or found.encode() in text]
    assert json.loads(texts["config.json"])["data"] == {}
    assert "train" not in json.loads(texts["metrics.json"])["n"]
    before = sha256(made / "rate.safetensors")
    make(home, "private")
    assert sha256(made / "rate.safetensors") == before
