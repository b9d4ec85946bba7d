"""The table of targets and the contest, on made-up runs whose truth is known."""

import pytest

from scoehr import targets
from tests.test_pages import run, world  # noqa: F401

AUC = "utility.discriminator_auc"


def test_limits_are_met_or_missed_by_so_much(world):  # noqa: F811
    runs = world("thinning", [0.53, 0.55], AUC)
    real, simulated = (targets.table(runs, name).loc["discriminator AUC"] for name in ("diabetes130", "simulated"))
    assert (real["at most"], real["missed by"]) == ("0.55", "met")
    assert (simulated["at most"], simulated["missed by"]) == ("0.52", "0.02")
    assert simulated["measured"].startswith("0.54 [")


def test_what_was_not_measured_counts_neither_way(world):  # noqa: F811
    runs = world("thinning", [0.60], AUC)
    sheet = targets.table(runs, "simulated")
    assert (sheet["missed by"] == "–").sum() == len(targets.TARGETS) - 1
    assert targets.told(runs, "simulated") == "0 of 1 targets are met. Missed: discriminator AUC."
    assert targets.told(world("other", [0.51], AUC), "simulated") == "1 of 1 targets are met."


@pytest.mark.parametrize(
    ("key", "value", "points", "title", "read"),
    [
        ("fidelity.codes_produced", 90.0, {"real": {"fidelity": {"codes_produced": 100.0}}}, "missing", 0.1),
        ("fidelity.density_ratio", 0.9, None, "density ratio", 0.1),
        ("privacy.adversarial_train", 0.52, None, "nearest-neighbour accuracy", 0.02),
    ],
)
def test_distances_from_the_ideal(tmp_path, key, value, points, title, read):
    made = run(tmp_path, "a", 0, value, key, points=points)
    target = next(target for target in targets.TARGETS if title in target.title)
    assert target.read(made) == pytest.approx(read)


def test_the_contest_is_in_order_of_the_median_gap(world):  # noqa: F811
    rows = {
        "worse": world("worse", [0.9, 0.8, 0.85], AUC),
        "failed": world("failed", [None, None], AUC),
        "better": world("better", [0.6, 0.55, 0.65], AUC),
    }
    sheet = targets.contest(rows)
    assert list(sheet.index) == ["better", "worse", "failed"]
    assert sheet.loc["better", "discriminator AUC"].startswith("0.6 [")
    assert sheet.loc["better", "1,000 patients (s)"].startswith("4 [")
    assert sheet.loc["failed", "median gap"] == "diverged"
    assert targets.best(rows).startswith("The smallest median gap is that of `better`")
    assert "told apart from the next, `worse`" in targets.best(rows) and "not told" not in targets.best(rows)
    near = {"one": world("one", [0.6, 0.8], AUC), "two": world("two", [0.65, 0.8], AUC)}
    assert "not told apart" in targets.best(near)
    assert targets.best({"one": near["one"]}) == ""
