"""The graph of all runs: complete, resumable, and nothing made twice."""

import os
import signal
import subprocess
import sys
import time

import pytest
import yaml

from companions.dualk import experiments as dualk
from companions.mortality_attack import experiments as mortality_attack
from reproduction.synthesis import experiments
from scoehr.files import CHECKOUT
from tests.problems import patients

PLAN = """
profiles:
  quick:
    {report: [main], seeds: {main: 2, others: 1}, patients: 240, evaluated: 100,
     factors: {mlp: {width: .05, epochs: .05, autoencoder_epochs: .2}}}
experiments:
  fast: {title: fast path, preset: fast, settings: &small {latent: 16, batch: 32, autoencoder_batch: 32}}
  thinning: {title: thinning, preset: thinning}
  longer: {title: more epochs, group: epochs, preset: fast, settings: {<<: *small, epochs: 6000}, after: fast}
"""
RUNS = 5  # two main rows at two random seeds, one other row at one


@pytest.fixture
def home(tmp_path):
    (tmp_path / "workflow").mkdir()
    (tmp_path / "workflow" / "experiments.yaml").write_text(PLAN)
    patients(600).write(tmp_path / "table.parquet")
    return tmp_path


def start(home, *more):
    command = [
        "experiments",
        "--dataset",
        "table",
        "--source",
        str(home / "table.parquet"),
        "--study",
        "synthesis",
        "--cores",
        "2",
        *more,
    ]
    return subprocess.Popen(
        [sys.executable, "-m", "reproduction", *command], start_new_session=True,
        env={**os.environ, "SCOEHR_ROOT": str(home), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def finish(process):
    out, err = process.communicate(timeout=500)
    assert process.returncode == 0, err[-3000:]
    return out + err


def results(home, file="metrics.json"):
    return {
        path.parent.name: path.stat().st_mtime_ns for path in home.glob(f"runs/done/[!.]*/{file}")
    }


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_killed_half_way_nothing_is_lost_or_repeated_and_one_deleted_result_is_made_again_alone(
    home,
):
    process = start(home)
    deadline = time.monotonic() + 300
    while not results(home) and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.1)
    listed = subprocess.run(
        ["ps", "-ww", "-eo", "pid=,args="], capture_output=True, text=True, check=True
    ).stdout
    for line in listed.splitlines():
        if str(home) in line:  # every process of the graph, as when a machine goes down
            os.kill(int(line.split()[0]), signal.SIGKILL)
    process.communicate()
    before = results(home, "config.json")
    assert 1 <= len(before) < RUNS

    finish(start(home))
    after = results(home)
    assert len(after) == RUNS
    assert before.items() <= results(home, "config.json").items(), (
        "what was finished is not made again"
    )
    assert finish(start(home, "--list")).count("finished ") == RUNS

    gone = sorted(after)[0]
    synthetic = home / "runs" / "done" / gone / "synthetic.parquet"
    made = synthetic.stat().st_mtime_ns
    (home / "runs" / "done" / gone / "metrics.json").unlink()
    finish(start(home))
    again = results(home)
    assert {name for name in again if again[name] != after[name]} == {gone}
    assert synthetic.stat().st_mtime_ns == made, "its patients are scored again, not drawn again"


def test_the_graph_of_the_real_plans_holds_every_run_once(tmp_path):
    command = [
        "-m",
        "snakemake",
        "experiments",
        "--snakefile",
        "workflow/Snakefile",
        "--dry-run",
        "--forceall",
    ]
    command += ["--cores", "1", "--config", "dataset=simulated", "profile=paper"]
    done = subprocess.run(
        [sys.executable, *command], cwd=CHECKOUT, capture_output=True, text=True, check=False,
        env={**os.environ, "SCOEHR_ROOT": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    rows = [
        *experiments.plan(profile="paper").values(),
        *dualk.of_book("simulated", None, "paper", 0).values(),
        *mortality_attack.plan("simulated", "paper").values(),
    ]
    runs = [again for row in rows for again in experiments.replicates(row)]
    text = done.stdout + done.stderr
    for again in runs:
        assert f"{again.study}_{again.name.replace('-', '_')}_{again.seed} " in text
    assert f"{len(runs) + 2}" in text.split("total")[-1], (
        "the runs, the reading of the data, and the target"
    )


def test_every_row_says_what_it_comes_after_in_order():
    plan = experiments.plan()
    order = list(plan)
    for row in plan.values():
        assert row.after is None or order.index(row.after) < order.index(row.name)
        assert row.after is None or plan[row.after].config.latent == row.config.latent


def test_main_rows_have_three_random_seeds_and_ablations_two_at_what_is_published():
    for profile in ("standard", "paper"):
        counts = {row.group == experiments.MAIN: len(experiments.replicates(row)) for row in experiments.plan(profile=profile).values()
                  if row.group not in ("baselines", "private", "whole")}  # fmt: skip
        assert counts == {True: 3, False: 2}


def test_the_cluster_profile_names_options_that_snakemake_knows():
    settings = yaml.safe_load(
        (CHECKOUT / "workflow" / "profiles" / "slurm" / "config.yaml").read_text()
    )
    known = subprocess.run(
        [sys.executable, "-m", "snakemake", "--help"], capture_output=True, text=True, check=True
    ).stdout
    for option in settings:
        assert f"--{option}" in known
