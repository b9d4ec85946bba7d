"""What the pages make of runs over random seeds: means, intervals, the printed order, and runs that diverged."""

import json
import math
from dataclasses import asdict

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from reproduction.estimates import pooled, student, welch
from reproduction.synthesis import ablations, answer, claims, experiments, results, scale, scores
from reproduction.synthesis.claims import LEDGER
from reproduction.synthesis.reported import QUOTES
from scoehr.data.simulate import sample_matrix
from scoehr.metrics import METRICS, REFERENCES

CODES = ["001", "002", "003", "004"]


#: The rows of the plan at the reported scale.
PLAN = experiments.plan(profile="paper")


@pytest.fixture
def world(tmp_path):
    """Rows of made-up runs whose truth is known, each with the files that are published of a sweep and no more."""

    def row(name, values, key="reported.pcd", **more):
        return [run(tmp_path, name, seed, value, key, **more) for seed, value in enumerate(values)]

    return row


def run(
    root,
    name,
    seed,
    value,
    key="reported.pcd",
    *,
    kind="count",
    interval=None,
    losses=(3.0, 2.0, 1.0),
    points=None,
):
    """A run that has this value of one score, or that diverged if it is None."""
    family, metric = key.split(".")
    scores = {"reported": {}, "fidelity": {}, "utility": {}, "privacy": {}}
    scores[family][metric] = value
    reference = {
        point: {**{each: {} for each in scores}, family: {metric: 5.0}} for point in REFERENCES
    }
    for point, given in (points or {}).items():
        reference[point] = {each: given.get(each, {}) for each in scores}
    results = {
        **scores,
        "reference": reference,
        "gap": {key: value},
        "interval": {key: interval} if interval else {},
    }
    results["n"] = {"rows": 1000}
    folder = root / f"{name}-{seed}"
    folder.mkdir()
    config = {"kind": kind, "network": "unet", "width": 16, "epochs": 3, "schedule": "reported", "latent": 8,
              "head": "relu", "autoencoder_epochs": 2, "standardise": False, "prediction": "score",
              "sampler": "euler_maruyama", "steps": 10}  # fmt: skip
    if planned := PLAN.get(name):  # a row of the plan, run as its study ran it
        config |= {**asdict(planned.config), "kind": kind}
    experiment = {"name": name, "title": name, "group": "sizes", "seed": seed, "evaluated": 500, "profile": "quick",
                  "dataset": "simulated", "patients": None}  # fmt: skip
    data = {"train": 100, "validation": 20, "test": 40}
    verdict = "diverged" if value is None else "finished"
    head = {
        "config": config,
        "generator": "scoehr",
        "experiment": experiment,
        "verdict": verdict,
        "data": data,
    }
    files = {
        "config.json": head,
        "metrics.json": {} if value is None else results,
        "costs.json": {"parameters": 10, "peak_memory_bytes": 2**20, "score_seconds": 1.0 + seed, "threads": 1}
        | ({} if value is None else {"sampling_seconds": 2.0, "evaluations_per_patient": 11}),
    }  # fmt: skip
    for file, content in files.items():
        (folder / file).write_text(json.dumps(content))
    history = pd.DataFrame(
        {"stage": "score", "epoch": [1, 2, 3], "train_loss": losses, "validation_loss": losses}
    )
    history.assign(learning_rate=[4.0, 3.0, 1.0], seconds=1.0).to_csv(
        folder / "history.csv", index=False
    )
    frequency = {"code": CODES, "real": [2, 1, 0.5, 0], "synthetic": [1, 1, 0, 0], "reconstructed": [2, 0, 0, 0.1],
                 "reachable": [True, False, False, True]}  # fmt: skip
    pd.DataFrame(frequency).to_csv(folder / "frequency.csv", index=False)
    return experiments.Run(folder)


# Over random seeds


def test_a_mean_has_students_interval_over_the_seeds(world):
    found = scores.over_seeds(world("a", [1.0, 2.0, 3.0]), "reported.pcd")
    half = stats.t.ppf(0.975, 2) / math.sqrt(3)
    above = math.exp(half / 2)  # on the logarithm's scale, since the score has no values below 0
    assert found[:5] == pytest.approx((2.0, 2 / above, 2 * above, 3, 0))
    assert str(found) == "1 · 2 · 3" and found.runs == (1, 2, 3)
    free = scores.over_seeds(world("b", [-1.0, 1.0, 3.0, 5.0]), "fidelity.prevalence_r2")
    again = student([-1.0, 1.0, 3.0, 5.0])
    assert str(free) != str(again) == "2 [-2.11, 6.11]"


@pytest.mark.parametrize(
    ("values", "limits"),
    [
        ([0.001, 0.002, 9.0, 0.5], (0, None)),
        ([-3.0, -0.01, -0.02, -5.0], (None, 0)),
        ([0.999, 0.9, 0.98, 1.0, 0.97], (0, 1)),
        ([1.0, 1.0, 1.0, 1.0], (0, 1)),
        ([0.0, 0.0, 0.0, 0.0], (0, None)),
    ],
)
def test_an_interval_never_leaves_the_range(values, limits):
    found = student(values, limits=limits)
    least, most = (
        given if given is not None else end
        for given, end in zip(limits, (-math.inf, math.inf), strict=True)
    )
    assert least <= found.low <= found.value <= found.high <= most
    spread = 1e-6 * np.array([-1, 1, -1, 1])  # where the range is far it is Student's interval
    near, plain = (student(0.5 + spread, limits=each) for each in (limits, (None, None)))
    if limits != (None, 0):
        assert near[:3] == pytest.approx(plain[:3], abs=1e-9)


def test_few_runs_are_printed_themselves():
    assert str(student([0.61, 0.66, 0.7])) == "0.61 · 0.66 · 0.7"
    assert f"{student([0.61, 0.66]).times(100):.1f}" == "61.0 · 66.0"
    assert "[" in str(student([1.0, 2.0, 3.0, 4.0]))


def test_students_interval_covers_the_mean_as_often_as_it_says(world):
    runs, rng = world("a", [1.0] * 4), np.random.default_rng(0)
    truth, covered = 7.0, 0
    for _ in range(2000):
        draws = dict(zip([run.id for run in runs], truth + rng.normal(size=4), strict=True))
        low, high = scores.estimate(runs, lambda run, draws=draws: draws[run.id])[1:3]
        covered += low <= truth <= high
    assert 0.935 < covered / 2000 < 0.965


def test_one_seed_alone_has_the_interval_over_patients(world):
    assert (
        str(scores.over_seeds(world("a", [2.0], interval=[1.5, 2.5]), "reported.pcd"))
        == "2 [1.5, 2.5]"
    )
    assert str(scores.over_seeds(world("b", [2.0]), "reported.pcd")) == "2"
    assert scores.caption({"a": world("c", [2.0])}) == "One run [95 %], n = 1."
    rows = {"a": world("d", [2.0, 1.0]), "b": world("e", [2.0, 1.0, 3.0])}
    assert scores.caption(rows) == "Each run, 2 to 3 random seeds."
    assert scores.caption({"a": world("f", [1.0] * 5)}) == "Mean [95 %], n = 5."


def test_diverged_runs_are_named_and_never_dropped(world):
    rows = {
        "all": world("all", [None, None]),
        "some": world("some", [1.0, None, 3.0]),
        "none": world("none", [1.0]),
    }
    shown = scores.table(rows, ["reported.pcd"], references=["real"]).loc[
        METRICS["reported.pcd"].title
    ]
    assert shown["all"] == "diverged"
    assert shown["some"] == "1 · 3 (1 of 3 diverged)"
    assert shown["fresh real patients"] == "5"
    assert scores.divergences(rows) == "Diverged: all (2 of 2 runs), some (1 of 3 runs)."
    assert scores.divergences({"none": rows["none"]}) == "No run diverged."
    assert list(scores.ended(rows)) == ["some", "none"]
    assert "diverged under every random seed (2)" in answer.summary("all", rows["all"])
    assert results.costs(rows).loc["all", "1,000 patients (s)"] == "diverged"
    assert results.costs(rows).loc["none", "1,000 patients (s)"] == "4"


def test_a_score_that_no_run_has_is_a_dash(world):
    assert str(scores.over_seeds(world("a", [1.0, 2.0]), "fidelity.pcd")) == "–"
    assert scores.gaps({"a": world("b", [1.0, 2.0])}, ["fidelity.pcd"]) == {}
    assert scores.gaps({"a": world("c", [1.0, 3.0])})[METRICS["reported.pcd"].title]["a"].value == 2


def test_tables_that_every_run_keeps(world):
    (one,) = world("a", [1.0])
    assert (scores.lost(one), scores.unreachable(one)) == (2, 2)
    assert scores.codes_per_patient(one) == {
        "real": 3.5, "reconstructed": 2.1, "synthetic": 2.0,
    }  # fmt: skip
    assert scores.occurrences([one, one], "real", 40).tolist() == [80, 40, 20, 0]
    shares = [each.value for each in scores.deciles([one])]
    assert shares[:3] == [0, 100, 50] and all(
        math.isnan(share) for share in shares[3:]
    )  # three codes fill three


def test_rows_are_grouped_by_what_their_patients_hold(world):
    rows = {kind: world(kind, [1.0], kind=kind) for kind in ("count", "signed", "binary")}
    assert {kind: list(group) for kind, group in results.by_kind(rows).items()} == {
        "count": ["count", "signed"], "binary": ["binary"],
    }  # fmt: skip
    assert results.settings(rows).loc["data", "signed"] == results.KINDS["count"]
    assert list(results.coded(rows)) == list(results.scored(rows)) == list(rows)


def test_rows_that_are_not_run_are_named(world):
    rows = {"a": world("a", [1.0])}
    assert results.missing(rows, ["a", "b"]) == "Not run yet: `b`."
    assert results.missing(rows, ["a"]) == ""


# The printed order

NOISE = [-0.1, 0.0, 0.1]


def test_the_printed_order_is_found_reversed_or_open(world):
    """PCD as printed: 35.65, 36.95, 39.51, 39.15; .005 has no order to be found where all its runs diverged."""
    truth = {
        "reported-rate-00025": 20,
        "reported-rate-0005": 30,
        "reported-epochs-30": 10,
        "reported-rate-0025": 10,
    }
    found = {name: world(name, [mean + noise for noise in NOISE]) for name, mean in truth.items()}
    found["reported-rate-005"] = world("reported-rate-005", [None, None])
    pairs = ablations.order(found, "rates")
    pairs = pairs[pairs["score"] == "PCD"].set_index("rows")["verdict"]
    assert pairs["0.00025 – 0.0005"] == ablations.FOUND
    assert pairs["0.00025 – 0.001"] == pairs["0.0005 – 0.0025"] == ablations.REVERSED
    assert pairs["0.001 – 0.0025"] == ablations.OPEN
    assert pairs["0.001 – 0.005"] == ablations.GONE
    whole = ablations.order(found, "rates")
    assert pairs.value_counts().to_dict() == {
        ablations.FOUND: 1, ablations.REVERSED: 4, ablations.OPEN: 1, ablations.GONE: 4,
    }  # fmt: skip
    assert "In no score" in ablations.order_summary(whole)
    drawn = scores.panels(ablations.whole(found, "rates"), ablations.DRAWN)["PCD as reported"]
    assert str(drawn["0.005"]) == "diverged" and drawn["0.001"].runs == (9.9, 10.0, 10.1)
    quoted = ablations.reported_panels(found, "rates")["PCD as reported"]
    assert quoted["0.005"] == ablations.of_report("reported-rate-005")["reported.pcd"]
    sheet = ablations.overview(found).loc["Learning rate"]
    assert sheet["rows run"] == "5 of 5" and sheet[ablations.REVERSED].startswith("4 of ")


def test_a_whole_order_is_told(world):
    truth = {
        "reported-rate-00025": 1,
        "reported-rate-0005": 2,
        "reported-rate-0025": 3,
        "reported-epochs-30": 4,
    }
    found = {
        name: world(name, [mean + 0.01 * noise for noise in NOISE]) for name, mean in truth.items()
    }
    pairs = ablations.order(found, "rates")
    assert set(pairs.loc[pairs["score"] == "PCD", "verdict"]) == {ablations.FOUND}
    assert "The whole order is found in PCD." in ablations.order_summary(pairs)
    assert ablations.best(found, "rates", "reported.pcd").startswith(
        "Best by PCD as reported is 0.00025 (0.999 · 1 · 1)"
    )
    assert "which is clearly better than the next, 0.0005" in ablations.best(
        found, "rates", "reported.pcd"
    )
    assert ablations.change(
        found, "reported-rate-00025", "reported-rate-0005", "reported.pcd"
    ).startswith("1 [")


def test_with_one_row_there_is_no_order(world):
    found = {"reported": world("reported", [1.0])}
    assert ablations.order(found, "sizes").empty
    said = ablations.summary(found, "sizes")
    assert "Order" not in said and "Best" not in said and "Not run yet: 64; 144, more" in said
    assert (
        str(
            scores.panels(ablations.whole(found, "sizes"), ablations.DRAWN)["PCD as reported"]["64"]
        )
        == "–"
    )
    assert ablations.leader(found, "sizes", "reported.pcd") == "–"


def test_every_row_of_an_ablation_is_planned_and_quoted():
    plan = experiments.plan("simulated", None, "quick")
    known = {row["experiment"] for row in QUOTES.values["report"]}
    rows = [row for table in experiments.tables().values() for row in table.rows]
    assert {row.name for row in rows} <= set(plan)
    assert {row.reported for row in rows if row.reported} == known
    assert {
        name
        for name, row in plan.items()
        if row.group not in (experiments.MAIN, "baselines", "private", experiments.WHOLE)
    } <= {row.name for row in rows}


def test_quoted_values():
    headline = ablations.of_report("reported")
    assert headline["reported.cosine_share"] == pytest.approx(0.0279)
    assert headline["fidelity.log_cluster"] == pytest.approx(-2.482, abs=1e-3)
    assert headline["fidelity.density_ratio"] == pytest.approx(0.0085 / 0.0132)
    assert ablations.of_report(None) == {}
    assert ablations.of_paper()["utility.sra"] == "0.87 ± 0.02"
    curve = ablations.reported_curves("score")["144"]
    assert curve[curve["set"] == "test"]["loss"].iloc[[0, -1]].tolist() == [12.8265, 10.1112]


def test_a_frozen_training_is_told_from_its_history(world):
    runs = world("a", [1.0, 1.0], losses=(4.0, 2.0, 1.5))
    assert ablations.frozen(runs, 2).value == pytest.approx(-25)
    assert ablations.left(runs, 2) == pytest.approx(1 / 8)
    assert math.isnan(ablations.left([], 2)) and not ablations.frozen(runs, 7).n


# Privacy


def test_a_score_sees_copies_beyond_chance(world):
    points = {
        "real": {
            "reported": {"cosine_share": 0.0023},
            "privacy": {"membership_auc": 0.49, "dcr": 3, "nndr": 0.9},
        },
        "copy": {
            "reported": {"cosine_share": 0.0024},
            "privacy": {"membership_auc": 0.97, "dcr": 0, "nndr": 0.0},
        },
    }
    keys = [
        "reported.cosine_share",
        "privacy.membership_auc",
        "privacy.dcr",
        "privacy.nndr",
        "privacy.attribute_f1",
    ]
    seen = results.copies_seen({"a": world("a", [1.0], points=points)}, keys)["sees the copies"]
    assert seen.tolist() == ["no", "yes", "yes", "yes"], (
        "a score without reference points is left out"
    )


def test_the_cosine_share_drawn_again_does_not_see_copies_nor_does_chance(world):
    """One draw may differ by chance, as here twofold; many draws of the same patients do not."""
    whole = sample_matrix(2400, seed=2)
    data = experiments.Cohort(
        whole.take(range(1200)), whole.take(np.arange(0)), whole.take(range(1200, 2400)), {}, ""
    )
    draws = results.cosine_draws(data, 400, seed=0)
    assert len(draws["real"]) == len(draws["copy"]) == 20 and 0 < np.mean(draws["real"]) < 0.1
    points = {
        "real": {"reported": {"cosine_share": 0.01}},
        "copy": {"reported": {"cosine_share": 0.03}},
    }
    rows = {"a": world("a", [1.0], points=points)}
    key = "reported.cosine_share"
    assert results.copies_seen(rows, [key])["sees the copies"].tolist() == ["yes"]
    assert results.copies_seen(rows, [key], {key: draws})["sees the copies"].tolist() == ["no"]
    assert results.copies_seen(rows, [key], {key: {**draws, "copy": [0.9]}})[
        "sees the copies"
    ].tolist() == ["yes"]


def test_the_variance_is_pooled_where_rows_have_two_seeds(world):
    rows = {"a": world("a", [10.0, 12.0]), "b": world("b", [20.0, 26.0]), "c": world("c", [30.0])}
    pool = pooled(scores.values(runs, "reported.pcd") for runs in rows.values())
    assert pool == pytest.approx(((2.0 + 18.0) / 2, 2))
    assert pooled([[1.0, 2.0, 3.0], [30.0]]) is None
    gap = welch([10.0, 12.0], [20.0, 26.0], pool)
    assert gap.high - gap.low == pytest.approx(2 * stats.t.ppf(0.975, 2) * math.sqrt(10))


def test_pooled_intervals_cover_as_often_as_they_say():
    rng, covered = np.random.default_rng(0), 0
    for _ in range(2000):
        rows = rng.normal(size=(6, 2))
        gap = welch(rows[0], rows[1] - 7, pooled(rows))
        covered += gap.low <= 7 <= gap.high
    assert 0.935 < covered / 2000 < 0.965


def test_another_value_lies_in_its_range_as_often_as_it_says():
    rng, covered = np.random.default_rng(0), 0
    for row in rng.normal(size=(2000, 4)):
        found = student(row[:3], another=True)
        covered += found.low <= row[3] <= found.high
    assert 0.935 < covered / 2000 < 0.965


def test_a_width_differs_where_another_random_seed_would_not_lie(world):
    of_three = [9.0, 10.0, 11.0]
    most = 10 * math.exp(stats.t.ppf(0.975, 2) * math.sqrt(4 / 3) / 10)  # no PCD is below 0
    for value, number in ((0.99 * most, "none"), (1.01 * most, "1")):
        rows = {"16": world(f"narrow {value}", of_three), "32": world(f"wide {value}", [value])}
        said = ablations.outside(rows, "16", "width", another=True)
        assert f"Width 32, outside the 95 % range of another run at width 16: {number} of 1" in said
        assert "width 16: 1 of 1" in ablations.outside(rows, "16", "width")  # of the mean


def test_a_single_run_without_an_interval_says_nothing_of_other_widths(world):
    rows = {"16": world("narrow", [10.0]), "32": world("wide", [90.0])}
    said = ablations.outside(rows, "16", "width", another=True)
    assert said == "No score of width 16 has an interval to compare with."
    assert ablations.outside({"16": rows["16"]}, "16", "width") == ""


# The regime


def altered(made, **changes):
    """The same runs with other settings, as if they had been made so."""
    for one in made:
        config = json.loads((one.folder / "config.json").read_text())
        for name, value in changes.items():
            config["experiment" if name == "patients" else "config"][name] = value
        (one.folder / "config.json").write_text(json.dumps(config))
    return [experiments.Run(one.folder) for one in made]


def test_a_narrower_network_is_in_the_regime(world):
    made = altered(world("reported", [1.0, 2.0, 3.0]), width=16)
    assert [one.departures for one in made] == [[]] * 3
    assert experiments.width(made[0]) == 128
    assert altered(world("thinning", [1.0]), patients=6000)[0].departures == [], (
        "no study reported that one"
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [("steps", 40), ("batch", 16), ("epochs", 12), ("epoch_fraction", 0.5), ("autoencoder_epochs", 30), ("learning_rate", 0.008),
     ("schedule", "constant"), ("sampler", "heun"), ("patients", 6000)],
)  # fmt: skip
def test_what_decides_whether_a_model_is_trained_and_solved_departs_from_the_regime(
    world, name, value
):
    (one,) = altered(world("reported", [1.0]), **{name: value})
    assert len(one.departures) == 1
    assert (f"{value:,}" if name == "patients" else str(value)) in one.departures[0]


def test_a_row_of_the_plan_may_vary_what_the_report_varied_but_not_the_sampler(world):
    assert world("reported-epochs-12", [1.0])[0].departures == []
    assert world("reported-64", [1.0])[0].departures == []
    assert world("reported-steps-40", [1.0])[0].departures == ["steps 40 in place of 1000"]


@pytest.mark.parametrize("name", ["A1.epochs", "N1.epochs", "T1.pcd"])
def test_forty_steps_put_back_leave_no_verdict_on_the_model(world, name):
    claim = next(claim for claim in LEDGER.claims if claim["id"] == name)
    points = {"zero": {"reported": {"pcd": 9.0}}}
    found = {"reported": world("reported", [20.0, 21.0, 22.0], points=points)}
    frame = pd.DataFrame({"stage": "autoencoder", "epoch": range(1, 21), "train_loss": 1.0, "learning_rate": 1.0,
                          "validation_loss": np.linspace(9, 1, 20), "seconds": 1.0})  # fmt: skip
    for place, one in enumerate(found["reported"]):
        both = pd.concat([frame.assign(stage=stage, validation_loss=frame["validation_loss"] + 0.1 * place)
                          for stage in ("autoencoder", "score")])  # fmt: skip
        both.to_csv(one.folder / "history.csv", index=False)
    before = LEDGER.judge(claim, found, {})
    assert before.verdict in ("holds", "not supported"), before
    after = LEDGER.judge(claim, {"reported": altered(found["reported"], steps=40)}, {})
    assert after.verdict == "cannot be tested"
    assert "reported was not run as its study ran it (steps 40 in place of 1000)" in after.why


def test_a_narrowed_network_is_not_judged_against_whole_ones(world):
    claim = next(claim for claim in LEDGER.claims if claim["id"] == "P1.ranking")
    found = {name: world(name, [1.0, 2.0], kind="binary") for name in claim["needs"]}
    assert claims.outside(claim, found) == ""
    found["paper"] = altered(found["paper"], width=16)
    after = LEDGER.judge(claim, found, {})
    assert after.verdict == "cannot be tested"
    assert "(paper 16 of 128, medgan 256 of 256, medbgan 256 of 256, medwgan 256" in after.why

    narrow = [altered(world(name, [1.0]), width=16) for name in ("reported", "reported-none")]
    alike = dict(zip(("reported", "reported-none"), narrow, strict=True))
    assert claims.outside({"needs": list(alike)}, alike) == ""


def test_rows_outside_the_regime_are_marked_and_compared_with_nothing_printed(world):
    rows = {"reported": world("reported", [37.0, 38.0, 39.0])}
    assert list(scores.table(rows, ["reported.pcd"])) == ["reported"]
    assert "†" not in scores.caption(rows)
    pcd = ablations.level(rows, "sizes").set_index("score").loc["PCD"]
    assert pcd["reported"] == "37.2" and pcd["within"] == (
        abs(38.0 - 37.25) <= ablations.spread()["reported.pcd"]
    )

    rows = {"reported": altered(rows["reported"], steps=40)}
    assert list(scores.table(rows, ["reported.pcd"])) == ["reported †"]
    assert scores.caption(rows).endswith("† Not in the reported regime.")
    assert scale.departures(rows) == "- `reported` †: steps 40 in place of 1000"
    assert (
        "144 †" in scores.panels(ablations.whole(rows, "sizes"), ablations.DRAWN)["Density ratio"]
    )
    assert ablations.level(rows, "sizes").empty and ablations.order(rows, "sizes").empty
