"""The study as it is run: the plan, the shell, its JSON, another set than was trained on, claims, tuning."""

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from shell import inside

from companions.mortality_attack import claims, experiments, protocol, results, simulate, tune
from companions.mortality_attack.__main__ import main
from companions.mortality_attack.attack import AttackConfig
from companions.mortality_attack.models import Classifier, ModelConfig
from companions.mortality_attack.protocol import CORRECTED
from companions.mortality_attack.train import TrainingConfig, TuningConfig, train
from reproduction import runs
from scoehr.files import InputError

CHECKOUT = Path(__file__).resolve().parents[3]
SCORES = ("auroc", "auprc", "brier", "f1")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Runs go to a folder of their own."""
    folder = tmp_path_factory.mktemp("root")
    with pytest.MonkeyPatch.context() as patch:
        for module in (runs, experiments):
            patch.setattr(module, "ROOT", folder)
        yield folder


def shell(*arguments):
    """Run the command in this process; status, output and errors."""
    done = inside(*arguments, main=main)
    return done.returncode, done.stdout, done.stderr


@pytest.fixture(scope="module")
def trained(root):
    status, out, err = shell(
        "train", "--profile", "tiny", "--row", "bilstm-study", "--json", root / "train.json"
    )
    assert status == 0, err
    return Path(re.search(r"model: (.*)", out)[1])


def text_set(folder, n=30):
    """A set of the Challenge in its own form, from simulated stays."""
    names = {
        place: feature.challenge[0]
        for place, feature in enumerate(experiments.features.table())
        if feature.challenge
    }
    stays = simulate.simulate(n, seed=8).stays
    folder.mkdir()
    for stay in range(n):
        lines = ["Time,Parameter,Value", f"00:00,RecordID,{stay + 1}", "00:00,Age,70"]
        rows = (stays.events["stay"] == stay) & (stays.events["hour"] < 48)
        for hour, feature, value in zip(
            *(stays.events[c][rows] for c in ("hour", "feature", "value")), strict=True
        ):
            if feature in names:
                lines.append(f"{hour:02}:00,{names[feature]},{value:g}")
        (folder / f"{stay + 1}.txt").write_text("\n".join(lines))
    outcomes = folder.parent / "Outcomes-x.txt"
    table = [f"{stay + 1},1,1,5,-1,{int(died)}" for stay, died in enumerate(stays.died)]
    outcomes.write_text(
        "\n".join(["RecordID,SAPS-I,SOFA,Length_of_stay,Survival,In-hospital_death", *table])
    )
    return outcomes


# The shell ----------------------------------------------------------------------------------------------------------


def test_evaluate_writes_each_score_with_its_interval(root, trained):
    status, out, err = shell(
        "evaluate", "--model", trained, "--profile", "tiny", "--json", root / "evaluate.json"
    )
    assert status == 0, err
    found = json.loads((root / "evaluate.json").read_text())
    for name in SCORES:
        low, high = found[name]["interval"]
        assert low <= found[name]["value"] <= high
    assert 0 < found["threshold"]["value"] < 1
    made = json.loads((root / "train.json").read_text())
    assert found["auroc"]["value"] == pytest.approx(made["test"]["auroc"]["value"], abs=1e-9)
    assert found["f1"]["value"] == pytest.approx(
        made["test"]["f1"]["value"], abs=1e-9
    )  # the same test stays
    assert "AUROC" in out


def test_a_model_is_evaluated_and_attacked_on_another_set(root, trained, tmp_path):
    outcomes = text_set(tmp_path / "set-x")
    given = ["--source", tmp_path / "set-x", "--outcomes", outcomes, "--model", trained]
    status, _, err = shell("evaluate", *given, "--json", tmp_path / "e.json")
    assert status == 0, err
    found = json.loads((tmp_path / "e.json").read_text())
    assert found["stays"] == 30 and found["auroc"]["value"] is not None
    status, _, err = shell(
        "attack", *given, "--stays", 8, "--steps", 20, "--rate", 2, "--json", tmp_path / "a.json"
    )
    assert status == 0, err
    attack = json.loads((tmp_path / "a.json").read_text())
    assert (
        attack["victim"]["before"] == attack["victim"]["after"]
        and attack["both"]["success"]["stays"] <= 8
    )
    assert attack["features"]["calcium"]["touched"] == 0 == attack["features"]["spo2"]["touched"]


def test_trees_have_no_slopes_to_attack(root, tmp_path):
    trees = tmp_path / "trees"
    status, _, err = shell(
        "train", "--profile", "tiny", "--row", "boosting-study", "--model", trees
    )
    assert status == 0, err
    status, _, err = shell("attack", "--model", trees, "--profile", "tiny")
    assert (status, len(err.splitlines())) == (2, 1) and f"{trees}: holds no network" in err


def test_a_blend_is_copied_with_its_models_and_knows_what_it_was_trained_on(root, tmp_path):
    out = tmp_path / "model"
    status, _, err = shell("train", "--profile", "tiny", "--row", "best-all", "--model", out)
    assert status == 0, err
    row = experiments.plan("simulated", "tiny")["best-all"]
    fitted, _ = experiments.load_models(out)
    assert len(fitted) == len(row.result.load()[0]) == 2 * len(row.blend)
    words = {}
    for part in ("test", "all"):
        status, _, err = shell(
            "evaluate", "--model", out, "--profile", "tiny", "--part", part,
            "--json", tmp_path / f"{part}.json",
        )  # fmt: skip
        assert status == 0, err
        words[part] = (json.loads((tmp_path / f"{part}.json").read_text()), err)
    made = row.result.metrics["test"]["auroc"]["value"]
    assert words["test"][0]["auroc"]["value"] == pytest.approx(made, abs=1e-6)
    assert words["test"][0]["trained_on"] == 0 and "warning" not in words["test"][1]
    stays = row.prepared()
    assert words["all"][0]["trained_on"] == len(stays.train) + len(stays.validation)
    assert "were trained on" in words["all"][1]
    for path in out.glob("*trained.safetensors"):
        path.unlink()  # as in what is published
    status, _, err = shell("evaluate", "--model", out, "--profile", "tiny", "--part", "test")
    assert status == 0 and "does not say which stays it was trained on" in err


def test_extract_says_what_was_kept(root, shared_data, tmp_path):
    out = tmp_path / "stays"
    status, text, err = shell(
        "extract", "--source", shared_data / "mimic3-demo", "--out", out, "--json", out / "x.json"
    )
    assert status == 0, err
    assert "stays kept" in text and (out / "events.parquet").exists()
    facts = json.loads((out / "x.json").read_text())
    assert facts["stays"] == 67 and facts["source"] == "mimic3"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["evaluate", "--source", "/nowhere"], "no such file"),
        (["evaluate", "--model", "/nowhere"], "no trained model"),
        (["train", "--row", "none", "--profile", "tiny"], "choose one of"),
        (["attack", "--step-size", "-1", "--profile", "tiny"], "step_size"),
        (["attack", "--optimiser", "newton"], "newton"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(root, arguments, words):
    status, _, err = shell(*arguments)
    assert (
        status == 2
        and words in err
        and err.strip().splitlines()[-1].startswith("mortality_attack: error: ")
    )


def test_the_module_is_a_command():
    done = subprocess.run(
        [sys.executable, "-m", "companions.mortality_attack", "--help"], capture_output=True, text=True, cwd=CHECKOUT,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0 and all(
        name in done.stdout for name in ("extract", "train", "evaluate", "attack")
    )


# Runs ---------------------------------------------------------------------------------------------------------------


def test_a_finished_run_is_loaded_not_made(root, trained, monkeypatch):
    row = experiments.plan("simulated", "tiny")["bilstm-study"]
    assert row.folder == trained and row.finished
    monkeypatch.setattr(experiments, "_train", None)
    assert experiments.run(row).metrics["stays"]["test"] > 0


def test_what_determines_a_run_is_in_its_name():
    rows = experiments.plan("simulated", "tiny")
    assert len({row.id for row in rows.values()}) == len(rows)
    assert experiments.plan("simulated", "tiny", seed=1)["reported"].id != rows["reported"].id
    with pytest.raises(InputError):
        experiments.plan("simulated", "huge")


def test_no_row_level_result_is_kept_with_a_run(root, trained):
    rows = experiments.plan("simulated", "tiny")
    run = experiments.run(rows["attack-bilstm-study"], progress=False)
    test = rows["bilstm-study"].prepared().test
    for path in run.folder.rglob("*"):
        assert path.suffix in ("", ".json", ".safetensors", ".txt", ".csv")
    assert all(len(test) not in array.shape for array in run.maps.values())
    noise, own = run.metrics["noise"], run.metrics["transfer"]["bilstm-study"]
    assert own["value"] in (None, 1) and (noise["value"] or 0) <= 1


def test_a_run_on_other_data_is_refused(root, tmp_path):
    outcomes = text_set(tmp_path / "set-x", 60)
    row = experiments.plan("physionet2012", "tiny")["cohort"]
    row = replace(row, source=str(tmp_path / "set-x"), outcomes=str(outcomes))
    experiments.run(row, progress=False)
    (tmp_path / "set-x" / "1.txt").write_text("Time,Parameter,Value\n00:00,HR,99\n")
    experiments.stays.cache_clear()
    with pytest.raises(InputError, match="other data"):
        experiments.run(row, progress=False)


# Claims -------------------------------------------------------------------------------------------------------------


def test_every_row_of_the_results_table_and_every_test_is_in_the_claims():
    ids = [claim["id"] for claim in claims.LEDGER.claims]
    assert len(set(ids)) == len(ids)
    assert {claim["test"] for claim in claims.LEDGER.claims} == set(claims.LEDGER.tests)
    said = " ".join(claims.QUOTES.fill(claim.get("reported", "")) for claim in claims.LEDGER.claims)
    for row in claims.QUOTES.values["results"]:
        assert f"{row['auroc']:g}" in said
    for claim in claims.LEDGER.claims:
        file = claim["evidence"].partition("#")
        text = (CHECKOUT / f"{file[0]}.py").read_text(encoding="utf-8")
        assert f"({file[2]})=" in text


@pytest.mark.parametrize(
    ("dataset", "verdict"), [("mimic3", "contradicted"), ("physionet2012", "not supported")]
)
def test_a_claim_is_contradicted_on_the_data_of_its_study_alone(dataset, verdict):
    def entry(value):
        return {"auroc": {"value": value, "interval": [value - 0.04, value + 0.04]}}

    run = SimpleNamespace(
        metrics={"test": entry(0.74), "reported": entry(0.89)},
        dataset=dataset,
    )
    claim = next(each for each in claims.LEDGER.claims if each["id"] == "M4.auroc")
    finding = claims.LEDGER.judge(claim, {"reported": run}, {})
    assert finding.verdict == verdict
    assert "gives 0.15 more to the same weights" in finding.why


def test_a_claim_without_its_runs_has_no_verdict():
    ledger = claims.LEDGER.table({})
    assert ledger.loc["M4.auroc", "verdict"] == "not run yet: reported"
    assert ledger.loc["M1.samples", "verdict"] == "cannot be tested"


# Tuning -------------------------------------------------------------------------------------------------------------


def test_a_search_of_models_is_resumed(tmp_path):
    data = protocol.apply(simulate.simulate(120, seed=2).stays, CORRECTED)
    goal = tune.model_objective(data, TuningConfig(folds=2, epochs=1, blocks=1))
    for trials in (1, 2, 2):
        opened = tune.open_study("s", direction="minimize", storage=tmp_path / "trials.log")
        tune.search(opened, goal, trials, logs=tmp_path / "board", progress=False)
        assert len(opened.trials) == trials
    best = tune.table(opened)[0]
    assert np.isfinite(best["value"]) and 1e-5 <= best["learning_rate"] <= 1e-1
    assert list((tmp_path / "board").rglob("events*"))


def draws(trial):
    """What a trial is about, without the model."""
    return trial.suggest_float("x", 0, 1) + (trial.suggest_categorical("y", ["a", "b"]) == "a")


def test_a_resumed_search_draws_what_one_without_a_break_does(tmp_path):
    found = []
    for name, steps in (("whole", [14]), ("broken", [3, 5, 14])):
        for trials in steps:
            at = {"direction": "minimize", "storage": tmp_path / f"{name}.log", "seed": 3}
            opened = tune.open_study(name, **at)
            tune.search(opened, draws, trials, progress=False)
        found.append([trial.params for trial in opened.trials])
    assert found[0] == found[1]
    assert len({params["x"] for params in found[0]}) == 14


def test_workers_that_share_a_storage_repeat_no_trial(tmp_path):
    at = {"direction": "minimize", "storage": f"sqlite:///{tmp_path / 't.db'}", "seed": 3}
    workers = [tune.open_study("s", **at) for _ in range(2)]
    asked = [worker.ask() for _ in range(3) for worker in workers]
    assert len({trial.suggest_float("x", 0, 1) for trial in asked}) == 6


def test_a_search_of_attacks_maximises_its_objective_in_sqlite(tmp_path):
    data = protocol.apply(simulate.simulate(150, seed=2).stays, CORRECTED)
    model = Classifier(ModelConfig(hidden=8, dense=4, dropout=0.0), data.statistics)
    train(
        model,
        data,
        TrainingConfig(epochs=4, batch=32, learning_rate=1e-2),
        CORRECTED,
        progress=False,
    )
    goal = tune.attack_objective(
        model, data.test, data.statistics, AttackConfig(steps=15), "sparsity"
    )
    url = f"sqlite:///{tmp_path / 'trials.db'}"
    opened = tune.search(
        tune.open_study("a", direction="maximize", storage=url), goal, 3, progress=False
    )
    values = [entry["value"] for entry in tune.table(opened)]
    assert values == sorted(values, reverse=True) and len(values) == 3
    with pytest.raises(InputError, match="choose one of"):
        tune.attack_objective(model, data.test, data.statistics, AttackConfig(), "beauty")
    with pytest.raises(InputError, match="storage"):
        tune.open_study("a", direction="maximize", storage="nonsense://x")


def test_the_search_and_the_learning_curve_are_made_and_shown(root):
    plan = experiments.plan("simulated", "tiny")
    names = ("bilstm-study", "tuned-study", "curve")
    found = {name: experiments.run(plan[name], progress=False) for name in names}
    tuned, curve = found["tuned-study"], found["curve"]
    best, *others = tuned.metrics["search"]["trials"]
    assert all(best["value"] <= other["value"] for other in others)
    config = tuned.load()[0][0].config
    assert (config.hidden, config.dropout) == (2 ** best["log2_hidden"], best["dropout"])
    assert len(tuned.metrics["search"]["courses"]) == tuned.experiment.tuning.trials
    assert f"{best['auroc']:.3f}" in results.search_words(found)
    assert claims.flat(found).verdict in (
        claims.HOLDS,
        claims.CONTRADICTED,
        claims.NOT_SHOWN,
    )
    sizes = [stays for stays, _ in curve.metrics["sizes"].values()]
    assert sizes == sorted(sizes) and sizes[-1] == sum(
        tuned.metrics["stays"][part] for part in ("train", "validation")
    )
    more = curve.metrics["scores"]["1"]["averaged"]["auroc"]["value"]
    assert f"{more:.3f}" in results.learning_words(curve)
    for figure in (results.search_curves(tuned), results.learning_curve(curve)):
        assert figure.axes[0].lines


def test_a_flaw_is_worth_its_difference_over_the_same_patients(monkeypatch):
    shared = np.random.default_rng(0).normal(0, 0.02, 500)

    def run(auroc, apart=0.0):
        draws = auroc + shared + apart * np.random.default_rng(1).normal(size=500)
        low, high = np.quantile(draws, [0.025, 0.975])
        entry = {"auroc": {"value": auroc, "interval": [low, high]}}
        return SimpleNamespace(
            metrics={"test": entry, "reported": {"auroc": {"value": auroc + 0.2}}},
            draws=pd.DataFrame({"test.auroc": draws, "reported.auroc": draws + 0.2}),
        )

    steps = {
        "corrected": [run(0.8)],
        "mixed_patients": [run(0.8)],
        "clipped": [run(0.78, 0.002)],
        "double_softmax": [run(0.5)],
        "balanced_training": [run(0.775, 0.005)],
        "fixed_epochs": [run(0.75, 0.001)],
        "scored_on_training": [run(0.75, 0.001)],
    }
    monkeypatch.setattr(results, "rungs", lambda found: steps)
    titled = results.worth({})
    worth = {flaw: titled[results.FLAWS[flaw]][0] for flaw in list(steps)[1:]}
    assert worth["mixed_patients"][:3] == (0, 0, 0)
    clipped = steps["clipped"][0].metrics["test"]["auroc"]["interval"]
    assert clipped[1] > 0.8 and worth["clipped"].below()  # its own interval holds the other value
    assert worth["clipped"].value == pytest.approx(-0.02)
    assert worth["balanced_training"].value == pytest.approx(-0.005)  # less clipped, not the failed
    assert worth["scored_on_training"].value == pytest.approx(0.2)
    words = results.ladder_words({})
    scored = "rises with *scored on training stays, balanced draw: as reported*; it falls with "
    lower = (
        "*values cut off at the 5th and 95th percentile*, *trained to the last epoch*; it is the "
    )
    assert (
        f"AUROC as scored {scored}{lower}very same with *stays, not patients, are split*." in words
    )
    assert "be shown with *deaths drawn as often as survivals*; intervals" in words
    assert "chance, with *softmax twice*; the step after" in words
    steps["clipped"].append(run(0.9))
    steps["corrected"].append(run(0.8))
    assert (
        len(results.worth({})[results.FLAWS["clipped"]]) == 1
    )  # a seed counts once all its steps are there
    steps["clipped"][0].draws = pd.DataFrame()  # of a run that kept none
    assert not results.worth({})[results.FLAWS["clipped"]][0].has_interval


@pytest.mark.parametrize(
    ("inside", "low", "high", "verdict"),
    [
        (0.8, 0.76, 0.84, claims.HOLDS),
        (0.9, 0.76, 0.84, claims.CONTRADICTED),
        (0.8, 0.7, 0.8, claims.NOT_SHOWN),
    ],
)
def test_the_claim_on_flat_folds_follows_the_held_out_interval(inside, low, high, verdict):
    entry = {"value": (low + high) / 2, "interval": [low, high]}
    metrics = {"test": {"auroc": entry}, "search": {"trials": [{"auroc": inside}]}}
    finding = claims.flat({"tuned-study": SimpleNamespace(metrics=metrics)})
    assert finding.verdict == verdict


def test_a_defence_holds_only_with_all_that_is_asked_of_one():
    def run(**metrics):
        return SimpleNamespace(metrics=metrics, experiment=SimpleNamespace(title="a network"))

    def found(auroc, share):
        stands = {str(cells): {"value": share} for cells in (0, results.WITHSTOOD)}
        rows = {"worst-bilstm-study": run(robust=stands)}
        for name in results.DEFENDED:
            rows[name] = run(test={"auroc": {"value": auroc}})
            rows[f"worst-{name}"] = run(robust=stands)
        return rows

    assert "a network: holds." in results.defence(found(0.84, 0.61))
    for auroc, share in ((0.82, 0.9), (0.9, 0.59)):
        assert "none of the defences" in results.defence(found(auroc, share))
    words = results.defence(found(0.9, None))  # no stay was right, so that none was attacked
    assert "none of the defences" in words and "highest such share –." in words


def test_the_sentence_on_transfer_leaves_out_models_of_which_no_verdict_was_turned():
    def run(victim, **shares):
        tried = {name: {"value": share} for name, share in shares.items()}
        about = SimpleNamespace(title=f"the {victim}", victims=[victim], task="worst")
        return SimpleNamespace(metrics={"transfer": tried}, experiment=about)

    found = {"worst-one": run("one", one=1.0, two=0.2), "worst-two": run("two", two=1.0, one=None)}
    models = {name: SimpleNamespace(experiment=SimpleNamespace(title=f"model {name}", task="model"))
              for name in ("one", "two")}  # fmt: skip
    words = results.transfer_words(found | models)
    assert "0.20 of the right verdicts" in words and "of the model two by those found on" in words
    found["worst-one"] = run("one", one=1.0, two=None)
    assert results.transfer_words(found | models) == ""


def test_cells_of_maps_that_few_stays_move_are_counted():
    maps = {"best/0to1/gpp": np.array([[0.5, 0.1, 0]]), "best/1to0/gpp": np.array([[1.0, 0, 0]])}
    maps |= {"best/0to1/histogram/cells": [30, 20], "best/1to0/histogram/cells": [3, 0]}
    found = SimpleNamespace(maps={name: np.array(each) for name, each in maps.items()})
    assert "move, 33 % are moved in fewer than 5 stays" in results.maps_words(found)


def test_the_model_to_use_is_that_of_the_stays_held_back_and_its_aims_are_of_more_stays():
    def run(auroc):
        scores = {"auroc": {"value": auroc, "interval": [auroc - 0.02, auroc + 0.02]}}
        scores["auprc"] = {"value": 0.6, "interval": [0.5, 0.7]}
        title = SimpleNamespace(title=f"model of {auroc}")
        stays = {"train": 2400, "validation": 600, "test": 750}
        return SimpleNamespace(metrics={"test": scores, "stays": stays}, experiment=title)

    found = {"best-all": run(0.8), "grud-all": run(0.86)}
    held = {"auroc": 0.871, "auprc": 0.56}
    found["best-all"].metrics["candidates"] = {
        "best-all": held | {"brier": 0.1}, "grud-all": held | {"brier": 0.09, "auroc": 0.88},
    }  # fmt: skip
    words = results.target(found)
    assert "has: model of 0.86." in words and "AUROC on 750 held-out stays is 0.860" in words
    assert "On the 3,000 stays" in words and "are 0.880 and 0.560. Aimed at" in words
    assert "AUROC 0.875 missed, though within the interval; AUPRC 0.580 reached. The" in words
    assert "4,000 unseen stays" in words and "here are 3,750 stays in all" in words


def test_published_rows_are_shown_but_for_those_that_are_not_made_yet(monkeypatch):
    made = {"cohort", "reported", "best-all", "grud-all"}

    def finished(row):
        return (row.dataset, row.profile) == ("physionet2012", "standard") and row.name in made

    monkeypatch.setattr(experiments.Experiment, "finished", property(finished))
    found = experiments.of_book("simulated", None, "tiny", 0)
    assert found.keys() == made and {row.dataset for row in found.values()} == {"physionet2012"}
    asked = experiments.of_book("simulated", None, "tiny", 0, ["signal"])
    assert (asked["signal"].dataset, asked["signal"].profile) == ("simulated", "tiny")
    named = experiments.planned("simulated", None, "tiny", 0)  # for `scoehr run`
    assert {(row.dataset, row.profile) for row in named.values()} == {("simulated", "tiny")}


def test_a_victim_whose_scores_alone_are_kept_is_made_again(root):
    row = experiments.plan("simulated", "tiny")["logistic-study"]
    made = experiments.run(row, progress=False)
    for path in made.folder.rglob("*.safetensors"):
        path.unlink()
    assert not row.result.weighted
    again = runs.with_weights(row, progress=False)
    assert again.weighted and len(again.load()[0]) == row.members
    assert again.metrics["test"] == made.metrics["test"]
