"""The targets read the scores that they name; the contest puts generators in order."""

import pytest

from reproduction.synthesis import contest
from tests.reproduction.synthesis.test_results import world  # noqa: F401

AUC = "utility.discriminator_auc"


class Fake:
    """What a finished run shows of its scores."""

    id = "simulated-standard-fake-s0-00000000"

    verdict = "finished"

    def __init__(self, **changed):
        scores = {
            "fidelity": {"codes_produced": 98, "density_ratio": 0.995},
            "utility": {"discriminator_auc": 0.51, "auroc_loss": 0.0, "sra": 0.8, "prediction_correlation": 0.9},
            "privacy": {
                "membership_auc": 0.5, "attribute_f1": 0.1, "attribute_f1_holdout": 0.11
            },
        }  # fmt: skip
        for key, value in changed.items():
            family, name = key.split("__")
            scores[family][name] = value
        replicates = {"utility.sra": [0.7, 0.9], "utility.prediction_correlation": [0.85, 0.95]}
        real = {"fidelity": {"codes_produced": 100}, "replicates": replicates}
        gap = {"fidelity.pcd_top200": 0.04, "fidelity.pcd": None, "utility.discriminator_auc": 0.9}
        self.metrics = {**scores, "gap": gap, "reference": {"real": real}}


def missed(**changed):
    table = contest.table([Fake(**changed)], "simulated")
    return {title for title, said in table["missed by"].items() if said != "met"}


def test_all_met_and_each_missed_alone():
    assert missed() == set()
    assert contest.summary([Fake()], "simulated") == "9 of 9 targets are met."
    cases = {
        "discriminator AUC": {"utility__discriminator_auc": 0.54},
        "share of a real sample's codes missing": {"fidelity__codes_produced": 96},
        "density ratio, distance from 1": {"fidelity__density_ratio": 1.02},
        "synthetic ranking agreement, below real replicates": {"utility__sra": 0.6},
        "correlation of predictions, below real replicates": {
            "utility__prediction_correlation": 0.8
        },
        "AUROC lost by training on synthetic": {"utility__auroc_loss": 0.02},
        "membership AUC": {"privacy__membership_auc": 0.6},
        "attribute inference, above the holdout's": {"privacy__attribute_f1": 0.2},
    }
    for title, changed in cases.items():
        assert missed(**changed) == {title}


def test_real_data_have_limits_of_their_own():
    run = Fake(utility__discriminator_auc=0.54)
    assert contest.table([run], "diabetes130").loc["discriminator AUC", "missed by"] == "met"
    said = contest.table([run], "simulated").loc["discriminator AUC", "missed by"]
    assert float(said) == pytest.approx(0.02, abs=1e-6)
    assert "Missed: discriminator AUC." in contest.summary([run], "simulated")


def test_what_was_not_measured_counts_neither_way(world):  # noqa: F811
    runs = world("thinning", [0.60], AUC)
    sheet = contest.table(runs, "simulated")
    assert (sheet["missed by"] == "–").sum() == len(contest.TARGETS) - 1
    assert (
        contest.summary(runs, "simulated") == "0 of 1 targets are met. Missed: discriminator AUC."
    )
    assert contest.summary(world("other", [0.51], AUC), "simulated") == "1 of 1 targets are met."


def test_the_contest_is_in_order_of_the_median_gap(world):  # noqa: F811
    rows = {
        "worse": world("worse", [0.9, 0.8, 0.85], AUC),
        "failed": world("failed", [None, None], AUC),
        "better": world("better", [0.6, 0.55, 0.65], AUC),
    }
    sheet = contest.contest(rows)
    points = ["fresh real patients", "independent columns"]
    assert list(sheet.index) == ["better", "worse", "failed", *points]
    assert sheet.loc[points, "discriminator AUC"].tolist() == ["5", "5"]  # as the runs are made up
    assert list(contest.panels(rows)["median gap"]) == ["better", "worse", "failed"]
    assert "finds better hardest to tell" in contest.nearest(rows)
    assert sheet.loc["better", "discriminator AUC"] == "0.6 · 0.55 · 0.65"
    assert sheet.loc["better", "1,000 patients (s)"].startswith("4 · 4")
    assert sheet.loc["failed", "median gap"] == "diverged"
    assert contest.best(rows).startswith("The smallest median gap is that of `better`")
    assert "clearly below that of the next, `worse`" in contest.best(
        rows
    ) and "not clearly" not in contest.best(rows)
    near = {"one": world("one", [0.6, 0.8], AUC), "two": world("two", [0.65, 0.8], AUC)}
    assert "not clearly below" in contest.best(near)
    assert contest.best({"one": near["one"]}) == ""
