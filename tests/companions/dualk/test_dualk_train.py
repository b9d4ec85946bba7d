"""DuaLK's training, runs, shell, interpretation and claims: resumable, blind, repeatable."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse

from companions.dualk import (
    baselines,
    claims,
    cohorts,
    evaluate,
    experiments,
    history,
    interpret,
    prepare,
    results,
    simulate,
    train,
)
from companions.dualk.__main__ import main
from companions.dualk.batches import Feed
from companions.dualk.cohorts import Records
from companions.dualk.history import HistoryConfig
from companions.dualk.models import ModelConfig
from companions.dualk.protocols import CORRECTED, FLAWS, REPORTED, Protocol, with_flaw
from companions.dualk.train import Learner, Stage, TrainingConfig
from reproduction import cli, figures, runs
from reproduction.estimates import Estimate, at_every_seed
from reproduction.tables import cell
from scoehr.files import InputError, write_json

CONFIG = ModelConfig(features=6, width=8, decoder=6)
TRAINING = TrainingConfig(2, 1, 2, 3, 1, 64, 64, 32, 64, rate=5e-3)


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dualk") / "tables"
    simulate.write_tables(folder, patients=300, seed=9)
    return prepare.load("simulated", folder, digits="three")


def learner(records, protocol=CORRECTED, parts=None, **more):
    parts = parts or cohorts.split(records, protocol.split)
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(len(records.codes) + 1, CONFIG.features)).astype(np.float32)
    return Learner(records, parts, vectors, protocol, CONFIG, TRAINING, progress=False, **more)


def same(one, other):
    return all(
        torch.equal(a, b)
        for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    )


# The loop ----------------------------------------------------------------------------------------


def teach(epochs, store=None, loss_of=None, **more):
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Dropout(0.5), torch.nn.Linear(8, 1))
    data = torch.randn(64, 4)
    modes, merits = [], iter(more.pop("merits", range(100)))

    def loss(rows):
        modes.append(net.training)
        return (net(data[rows])[:, 0] - data[rows].sum(dim=1)).square().mean()

    stage = Stage("toy", epochs, 16, lambda epoch: 0.01, **more)
    history = train.fit(
        net,
        loss,
        np.arange(64),
        stage,
        lambda: {"merit": next(merits)},
        facts=0,
        seed=1,
        store=store,
        progress=False,
    )
    return net, history, modes


def test_a_killed_training_goes_on_with_the_same_bits(tmp_path, monkeypatch):
    monkeypatch.setattr(train, "SAVE_EVERY", 0)
    whole, history, _ = teach(6)
    teach(3, tmp_path)
    resumed, again, modes = teach(6, tmp_path, merits=[3, 4, 5])
    assert same(whole, resumed) and len(modes) == 3 * 4
    strip = [{key: value for key, value in row.items() if key != "seconds"} for row in history]
    assert strip == [
        {key: value for key, value in row.items() if key != "seconds"} for row in again
    ]


def test_the_best_epoch_is_kept_where_asked(tmp_path):
    best, _, _ = teach(5, keep="best", merits=[1, 9, 2, 3, 4])
    second, _, _ = teach(2)
    last, _, _ = teach(5)
    assert same(best, second) and not same(best, last)


def test_dropout_is_lost_after_the_first_epoch_only_as_reported():
    for lost in (True, False):
        _, _, modes = teach(3, loses_dropout=lost)
        assert modes == [True] * 4 + [not lost] * 8


def test_a_damaged_checkpoint_and_a_diverging_loss_are_refused(tmp_path, records):
    teach(2, tmp_path)
    (path,) = tmp_path.glob("toy-*.safetensors")
    path.write_bytes(b"not a checkpoint")
    with pytest.raises(InputError, match="delete it to start again"):
        teach(2, tmp_path)
    net = torch.nn.Linear(1, 1)
    with pytest.raises(InputError, match="loss is not finite"):
        train.fit(net, lambda rows: net.weight.sum() * float("nan"), np.arange(4), Stage("nan", 1, 4, lambda e: 1.0),
                  lambda: {"merit": 0}, facts=0, seed=0, store=None, progress=False)  # fmt: skip


def test_the_rates_are_those_of_the_study():
    assert [train.fine_rate(1e-3, epoch) for epoch in (0, 30, 31, 40, 41)] == pytest.approx(
        [1e-3, 1e-3, 5e-4, 5e-4, 1e-4]
    )
    assert [train.joint_rate(1.0, epoch) for epoch in (0, 9, 10, 20)] == [1, 1, 0.5, 0.25]
    assert [train.laboratory_rate(1.0, epoch) for epoch in (0, 19, 20, 40)] == [1, 1, 0.5, 0.25]


def test_the_clipped_loss_is_the_same_in_the_middle_and_has_no_gradient_at_the_ends():
    truth = torch.tensor([1.0, 0.0])
    logits = torch.tensor([0.3, -0.7])
    assert train.cross_entropy(logits, truth, "clipped").item() == pytest.approx(
        train.cross_entropy(logits, truth).item(), abs=1e-6
    )
    grads = []
    for how in ("logits", "clipped"):
        wrong = torch.tensor([-40.0], requires_grad=True)
        train.cross_entropy(wrong, torch.ones(1), how).backward()
        grads.append(abs(wrong.grad.item()))
    assert grads[0] == pytest.approx(1) and grads[1] < 1e-6


# All stages --------------------------------------------------------------------------------------


def test_every_stage_is_logged_with_losses_f1_recall_and_rate(records):
    for protocol, on in ((REPORTED, "test patients"), (CORRECTED, "validation patients")):
        teacher = learner(records, protocol)
        teacher.learn()
        teacher.heart_failure()
        stages = list(dict.fromkeys(row["stage"] for row in teacher.history))
        assert stages == [
            "joint",
            *cohorts.CATEGORIES,
            "laboratory",
            "fine-tuning",
            "heart failure",
        ]
        for row in teacher.history:
            assert {
                "train_loss",
                "loss",
                "f1",
                "recall@10",
                "recall@20",
                "recall@30",
                "recall@40",
                "learning_rate",
            } <= set(row)
            assert "Recall@40" in train.line(row)
        assert teacher.history[-1]["scored_on"] == on
        held = next(row for row in teacher.history if row["stage"] == "joint")["scored_on"]
        assert held == ("training patients" if protocol is REPORTED else "held-out patients")


def spoiled(records, parts):
    """The same records with other codes and items at every visit of the test patients."""
    rows = np.flatnonzero(np.isin(records.owner, parts.test))
    changed = {}
    for name in ("visit_codes", "labs", "first_day"):
        matrix = getattr(records, name).tolil()
        matrix[rows] = matrix[rows][:, ::-1]
        changed[name] = sparse.csr_array(matrix.tocsr())
    return Records(**{**vars(records), **changed})


@pytest.mark.parametrize("leaks", [False, True])
def test_no_test_patient_reaches_training_under_the_corrected_protocol(records, leaks):
    protocol = replace(CORRECTED, selection="test") if leaks else CORRECTED
    parts = cohorts.split(records)
    ones = learner(records, protocol, parts)
    others = learner(spoiled(records, parts), protocol, parts)
    one, other = ones.learn(), others.learn()
    strip = [
        [{k: v for k, v in row.items() if k != "seconds"} for row in each.history]
        for each in (ones, others)
    ]
    assert (strip[0] == strip[1]) is not leaks
    assert leaks or same(one, other)


def test_target_visits_of_training_patients_do_reach_training(records):
    parts = cohorts.split(records)
    moved = cohorts.Split(
        parts.single, parts.test, parts.validation, parts.train
    )  # the changed ones now train
    one, other = (
        learner(records, parts=moved).learn(),
        learner(spoiled(records, parts), parts=moved).learn(),
    )
    assert not same(one, other)


def test_the_same_seed_trains_the_same_network_and_the_laboratory_layer_is_frozen(records):
    teacher = learner(records)
    one, other = teacher.learn(), learner(records).learn()
    assert same(one, other)
    assert torch.equal(one.lab_layer.weight, teacher.laboratory().first.weight)
    assert not same(one, learner(records, seed=1).learn())


def test_data_without_laboratory_results_train_in_one_stage(records):
    nothing = sparse.csr_array((len(records.days), 0), dtype=bool)
    none = np.array([], dtype=str)
    bare = Records(
        **{
            **vars(records),
            "labs": nothing,
            "first_day": nothing,
            "items": none,
            "labels": none,
            "categories": none,
        }
    )
    teacher = learner(bare)
    model = teacher.learn()
    assert {row["stage"] for row in teacher.history} == {"fine-tuning"} and not len(model.decoders)


def test_every_flaw_changes_the_protocol_in_one_field_towards_the_reported_one():
    for name in FLAWS:
        flawed = with_flaw(name).describe()
        apart = [key for key, value in CORRECTED.describe().items() if flawed[key] != value]
        assert apart == [name] and flawed[name] == REPORTED.describe()[name]
    assert set(FLAWS) | {"held_out_pretraining"} == set(Protocol().describe())


# Runs, shell, pages ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A folder for runs at the smallest profile, with the runs that the tests need."""
    place = tmp_path_factory.mktemp("root")
    with pytest.MonkeyPatch.context() as patch:
        for module in (runs, experiments, prepare):
            patch.setattr(module, "ROOT", place)
        patch.setattr(experiments, "records", experiments.records.__wrapped__)
        yield place


def test_a_run_is_made_once_and_its_files_are_plain(root):
    plan = experiments.plan("simulated", None, "tiny", 0)
    made = experiments.run(plan["better"], progress=False)
    assert {path.name for path in made.folder.iterdir()} == {
        "config.json", "metrics.json", "history.csv", "draws.csv", "weights.safetensors", "environment.txt"
    }  # fmt: skip
    before = {path: path.stat().st_mtime_ns for path in made.folder.iterdir()}
    again = experiments.run(plan["better"], progress=False)
    assert before == {path: path.stat().st_mtime_ns for path in again.folder.iterdir()}
    model, teacher = experiments.network(again)
    logits = train.predict(model, teacher.graph, teacher.feed, teacher.parts.test)
    judged = experiments.judge(teacher.records, teacher.parts, teacher.protocol, {"": logits}, 0)[
        ""
    ]
    assert judged.values["recall@20"].value == pytest.approx(made.value("recall@20").value)
    assert made.config["parameters"]["in all"] == sum(p.numel() for p in model.parameters())


def test_settings_and_data_decide_the_name_of_a_run_and_the_place_of_the_tables_does_not(
    shared_data, tmp_path
):
    plan = experiments.plan("simulated", None, "tiny", 0)
    assert len({experiment.id for experiment in plan.values()}) == len(plan)
    demo = shared_data / "mimic3-demo"
    shutil.copytree(demo, tmp_path / "elsewhere")
    there, here = (
        replace(plan["corrected"], dataset="mimic3", source=str(place))
        for place in (demo, tmp_path / "elsewhere")
    )
    assert there.id == here.id != replace(there, source=None).id
    assert experiments.plan("simulated", None, "tiny", 1)["corrected"].id != plan["corrected"].id
    with pytest.raises(InputError, match="profile 'huge' is unknown"):
        experiments.plan("simulated", None, "huge", 0)


def test_the_shell_trains_and_evaluates_in_one_command(root, shared_data, tmp_path, capsys):
    source = shared_data / "mimic3-demo"
    for command in ("train", "evaluate"):
        with pytest.raises(SystemExit) as end:
            main(
                [
                    command,
                    "--profile",
                    "tiny",
                    "--dataset",
                    "mimic3",
                    "--source",
                    str(source),
                    "--json",
                    str(tmp_path / f"{command}.json"),
                ]
            )
        assert end.value.code == 0
    said = capsys.readouterr()
    assert said.err.count("too few for these figures") == 1 and "fine-tuning, epoch 2" in said.err
    assert "recall@20" in json.loads((tmp_path / "evaluate.json").read_text())["scores"]
    stages = {row["stage"] for row in json.loads((tmp_path / "train.json").read_text())["history"]}
    assert stages >= {"joint", "hematology", "laboratory", "fine-tuning", "heart failure"}


def test_the_shell_refuses_what_it_does_not_know(tmp_path, capsys, shared_data):
    for arguments, says in (
        (["train", "--run", "best"], "no run 'best'"),
        (["train", "--dataset", "eicu"], "unknown to DuaLK"),
        (
            ["train", "--dataset", "diabetes130", "--run", "first-day"],
            "needs a table of laboratory events",
        ),
    ):
        with pytest.raises(SystemExit) as end:
            main([*arguments, "--json", str(tmp_path / "o.json")])
        said = capsys.readouterr().err
        assert end.value.code == 2 and says in said and said.count("\n") == 1


def test_attention_of_a_patient_sums_to_one_and_names_its_codes(records):
    teacher = learner(records)
    model = teacher.learn()
    patient = int(teacher.parts.test[np.argmax(records.visits[teacher.parts.test])])
    seen = interpret.attention(model, teacher.graph, teacher.feed, patient)
    assert (
        seen.visits["weight"].sum() == pytest.approx(1, abs=1e-5)
        and len(seen.visits) == records.visits[patient] - 1
    )
    assert seen.codes.groupby("visit")["weight"].sum().to_numpy() == pytest.approx(
        np.ones(len(seen.visits)), abs=1e-5
    )
    first = records.visit_codes[[records.first[patient]]].nonzero()[1]
    assert set(seen.codes.loc[seen.codes["visit"] == 1, "code"]) == set(records.codes[first])


def test_integrated_gradients_have_a_row_an_item_and_shares_that_sum_to_one(records):
    teacher = learner(records, replace(CORRECTED, labs="whole visit"))
    model = teacher.learn()
    items = interpret.decoder_gradients(
        model, teacher.graph, teacher.feed, teacher.parts.test[:20], 0
    )
    assert len(items) == len(records.items) and items["attribution"].abs().max() > 0
    assert interpret.by_category(items).sum() == pytest.approx(1)


def test_the_map_has_a_point_for_each_chosen_code(records):
    vectors = np.random.default_rng(0).normal(size=(len(records.codes) + 1, 5))
    table = interpret.embedding_map(records, vectors, ["4", "25"], most=20)
    assert (
        len(table) >= 10
        and table["code"].is_unique
        and np.isfinite(table[["x", "y"]]).all(axis=None)
    )


# Claims ------------------------------------------------------------------------------------------


def test_every_claim_has_a_test_a_place_and_a_verdict():
    listed = claims.LEDGER.claims
    assert len({claim["id"] for claim in listed}) == len(listed) == 15
    table = claims.LEDGER.table({})
    assert set(table["verdict"].str.partition(":")[0]) <= {
        "holds",
        "contradicted",
        "cannot be tested",
        "not run yet",
    }
    assert (table["reported"] != "").all() and {claim["test"] for claim in listed} <= set(
        claims.LEDGER.tests
    )


def test_what_the_text_says_of_its_own_code_is_tried():
    table = claims.LEDGER.table({})["verdict"]
    about = "weights sequence hyperbolic macro matched items adaptive aggregation pipeline"
    for name in about.split():
        assert table[f"DK-C.{name}"] == "contradicted"


def test_every_line_of_the_logs_is_shown_beside_ours(root):
    run = experiments.run(experiments.plan("simulated", None, "tiny", 0)["reported"])
    table = results.logs(run)
    for line in claims.QUOTES.values["logs"]:
        row = table.loc[f"{line['stage']}, epoch {line['epoch']}, reported"]
        shown = {results.LOGGED[key]: line[key] for key in results.SHOWN if key in line}
        assert all(row[title] == value for title, value in shown.items())
    assert np.isfinite(table.loc["fine-tuning, epoch 1, here", "training loss"])


DRAWS = 0.5 + 0.02 * np.random.default_rng(0).normal(size=500)


def planted(name, baselines, value=0.5, patients=500, dataset="simulated", items=9):
    """A finished run of this recall@20, with baselines lower by given amounts, all drawn alike."""
    run = experiments.Run(experiments.plan("simulated", None, "tiny", 0)[name])
    below = {
        other: {"recall@20": {"value": value - less, "low": 0.3, "high": 0.6}}
        for other, less in baselines.items()
    }
    mine = {"recall@20": {"value": value, "low": 0.4, "high": 0.6}}
    write_json(
        run.folder / "metrics.json",
        {"patients": patients, "scores": mine, "baselines": below},
    )
    draws = {"recall@20": DRAWS - 0.5 + value}
    draws |= {f"{other} recall@20": value - less for other, less in baselines.items()}
    pd.DataFrame(draws).to_csv(run.folder / "draws.csv")
    facts = {"experiment": {"dataset": dataset}, "data": {"items": items}}
    write_json(run.folder / "config.json", facts)
    return run


@pytest.mark.parametrize(
    ("middle", "verdict"), [(0.1, "holds"), (0.01, "not shown"), (-0.1, "contradicted")]
)
def test_beating_copy_forward_needs_an_interval_above_zero(tmp_path, monkeypatch, middle, verdict):
    monkeypatch.setattr(runs, "ROOT", tmp_path)
    found = {
        "corrected": planted("corrected", {"copy-forward": middle, "frequency": 0.2}),
        "control": planted("control", {}, value=0.3),
    }
    finding = claims.beats(found, run="corrected", baseline="copy-forward")
    assert finding.verdict == verdict and f"difference {cell(middle)}" in finding.why


def test_a_single_training_contradicts_no_claim(tmp_path, monkeypatch):
    monkeypatch.setattr(runs, "ROOT", tmp_path)
    run = planted("knowledge-random", {})
    ranking = {"trained": {"mrr": 0.2}, "fixed": {"mrr": 0.15}}
    write_json(run.folder / "metrics.json", {"ranking": ranking})
    finding = claims.ranks({"knowledge-random": run}, method="trained", than="fixed")
    assert finding.verdict == "not shown"


def test_a_claim_is_judged_by_the_last_data_that_give_a_verdict(tmp_path, monkeypatch):
    monkeypatch.setattr(runs, "ROOT", tmp_path)
    found = {
        "corrected": planted("corrected", {"copy-forward": 0.1, "frequency": 0.2}),
        "control": planted("control", {}, value=0.3),
    }
    monkeypatch.setattr(results, "runs", lambda *asked: {"corrected": found["corrected"]})
    monkeypatch.setattr(results, "published", lambda seed: {"one": found, "without runs": {}})
    table = results.judged("simulated", None, "tiny", 0)
    assert table.loc["DK-C.next-visit", "verdict"] == "holds"
    assert table.loc["DK-C.refinement", "verdict"] == "not run yet: reported"
    assert table.loc["DK-C.weights", "verdict"] == "contradicted"


def test_what_a_flaw_is_worth_is_over_the_same_patients(tmp_path, monkeypatch):
    monkeypatch.setattr(runs, "ROOT", tmp_path)
    base = planted("corrected", {"copy-forward": 0.1})
    found = {"corrected": base, "flaw-loss": planted("flaw-loss", {}, value=0.49)}
    ((change,),) = results.worth(found).values()
    assert DRAWS.std() > 0.015 and change.low == pytest.approx(change.high)
    assert change.value == pytest.approx(-0.01)
    words = at_every_seed(results.worth(found) | {"same": [Estimate(0, 0, 0)]}, "recall@20")
    assert words == (
        f"Under the one random seed here the recall@20 falls with *{FLAWS['loss']}*; it is the "
        "very same with *same*."
    )


def test_a_change_needs_one_sign_beyond_its_interval_at_every_seed():
    up, unclear, down = Estimate(2, 1, 3), Estimate(1, -1, 3), Estimate(-2, -3, -1)
    changes = {"a": [up, up], "b": [up, unclear], "c": [up, down], "d": [down, down], "e": [up]}
    words = at_every_seed(changes, "score")
    assert words.startswith("Under each of 2 random seeds the score rises with *a*; it falls with")
    assert "with *d*. No change of one sign can be shown with *b*, *c*; intervals" in words
    assert words.endswith("Under fewer random seeds was run *e*.")
    assert len(figures.by_seed(changes, 3).axes) == 2


@pytest.mark.parametrize(
    ("dataset", "verdict"), [("mimic4", "contradicted"), ("diabetes130", "not supported")]
)
def test_by_runs_on_other_data_a_claim_is_at_worst_not_supported(
    tmp_path, monkeypatch, dataset, verdict
):
    monkeypatch.setattr(runs, "ROOT", tmp_path)
    found = {
        "corrected": planted(
            "corrected", {"copy-forward": -0.1, "frequency": 0.2}, dataset=dataset, items=0
        ),
        "control": planted("control", {}, value=0.3, dataset=dataset, items=0),
    }
    table = claims.LEDGER.table(found)
    assert table.loc["DK-C.next-visit", "verdict"] == verdict
    assert table.loc["DK-C.weights", "verdict"] == "contradicted"  # tried on the code, not by runs
    laboratory = table.loc["DK-C.laboratory"]  # its run is not missing, it can never be made
    assert laboratory["verdict"] == "cannot be tested" and laboratory["why"] == claims.NO_TABLE


@pytest.mark.parametrize(
    ("frequency", "control", "patients", "why"),
    [
        (0.01, 0.3, 500, "no better than the most frequent codes"),
        (-0.1, 0.3, 500, "no better than the most frequent codes"),
        (0.2, 0.5, 500, "no more from true answers"),
        (0.2, 0.3, 50, "too few"),
    ],
)
def test_a_network_that_learnt_nothing_gets_no_verdict(
    tmp_path, monkeypatch, frequency, control, patients, why
):
    monkeypatch.setattr(runs, "ROOT", tmp_path)
    beaten = {"copy-forward": 0.1, "frequency": frequency}
    names = ("reported", "corrected", "flaw-labs")
    found = {name: planted(name, beaten, patients=patients) for name in names}
    found["control"] = planted("control", {}, value=control)
    listed = {claim["id"]: claim for claim in claims.LEDGER.claims}
    for name in ("DK-C.next-visit", "DK-C.reported-setting", "DK-C.laboratory"):
        finding = claims.LEDGER.judge(listed[name], found, {})
        assert finding.verdict == "cannot be tested" and why in finding.why


def test_the_control_of_a_model_that_learns_falls_and_that_of_a_blind_one_does_not(records):
    """Retrained on shuffled answers, what had learnt falls."""
    parts = cohorts.split(records)
    truth = Feed(records).answers(parts.test).toarray() > 0
    dealt = experiments.shuffled(records, np.concatenate(parts[1:3]), seed=0)
    config = HistoryConfig(width=8, pretraining_epochs=1, epochs=4, retain_epochs=2)
    recalls = []
    for given in (records, dealt):
        net, _, _ = history.learn(given, parts, config, seed=0, store=None, progress=False)
        feed = Feed(records, labs="previous visit")
        logits = baselines.logits_of(net, feed, parts.test)
        found = evaluate.recall(evaluate.hits(logits, truth, 20), truth.sum(axis=1), 20)
        recalls.append(np.nanmean(found))
    assert recalls[0] > recalls[1] + 0.05


def test_the_books_own_simulated_cohort_gives_way_to_one_with_visits():
    for given in (("table", "x.csv"), ("simulated", None)):
        rows = experiments.of_book(*given, "tiny", 0).values()
        assert {(row.dataset, row.source) for row in rows} == {("simulated", None)}
    rows = experiments.of_book("diabetes130", None, "paper", 0).values()
    assert {row.dataset for row in rows} == {"diabetes130"}


def test_larger_simulated_runs_stand_in_a_book_once_single_flaws_alone_are_lacking(monkeypatch):
    rows = experiments.planned("simulated", None, "standard", 0)
    made = {name for name in rows if not name.startswith("flaw-")} | {"flaw-labs"}

    def finished(row):
        return row.profile == "standard" and row.name in made

    monkeypatch.setattr(experiments.Experiment, "finished", property(finished))
    for profile in ("quick", "standard"):
        assert experiments.of_book("simulated", None, profile, 0).keys() == made
    made.remove("reported")
    found = experiments.of_book("simulated", None, "standard", 0)
    assert found.keys() == rows.keys() and found["reported"].profile == "quick"


def test_a_row_is_listed_and_run_at_the_profile_that_is_asked_for(capsys):
    """A book may show smaller runs in place of unfinished ones; who asks for a row means it."""
    with pytest.raises(SystemExit, match="0"):
        cli.main(["experiments", "--list", "--study", "dualk", "--profile", "paper"])
    listed = capsys.readouterr().out.splitlines()
    assert len(listed) > 20
    assert all(line.split()[-1].startswith("dualk-simulated-paper-") for line in listed)
