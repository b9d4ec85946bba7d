"""The kit on a toy study: a run is made once, whole or not at all, and is found where it is published."""

import shutil
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pandas as pd
import pytest
import yaml
from safetensors.numpy import save_file

from reproduction import catalogue, plan, runs
from scoehr import InputError
from scoehr.files import write_json

OPEN = "1cec4bba1c4f1722"  # of the simulated cohort
PLAN = {
    "profiles": {"small": {"seeds": {"main": 2}}, "large": {}},
    "published": {
        "headline": ["score"],
        "weights": {"simulated-small": ["kept"]},
        "patients": {"simulated-small": ["kept"]},
    },
}


@dataclass(frozen=True, kw_only=True)
class Toy(runs.Experiment[runs.Run]):
    """Writes what it is told."""

    value: float = 0.5
    fails: bool = False

    study: ClassVar[str] = "toy"
    made: ClassVar[list[str]] = []

    @property
    def result(self):
        return runs.Run(self.stored)

    def fingerprint(self):
        return OPEN if self.source is None else "0" * 16

    def make(self, folder, *, progress):
        self.made.append(self.id)
        write_json(folder / "metrics.json", {"score": self.value})
        if self.fails:
            raise InputError("it fails")
        pd.DataFrame({"epoch": [1], "loss": [self.value]}).to_csv(
            folder / "history.csv", index=False
        )
        save_file({"w": np.ones(2, np.float32)}, folder / "model.safetensors")
        (folder / "synthetic.parquet").write_bytes(b"patients")
        write_json(folder / "config.json", self.facts() | {"data": {"fingerprint": OPEN}})


@pytest.fixture
def home(tmp_path, monkeypatch):
    for module in (runs, plan, catalogue):
        monkeypatch.setattr(module, "ROOT", tmp_path)
    Toy.made.clear()
    (tmp_path / "plan.yaml").write_text(yaml.safe_dump(PLAN, sort_keys=False))
    return tmp_path


def row(name="kept", **more):
    return Toy(name=name, title=f"row {name}", profile="small", **more)


def test_a_run_is_made_once(home):
    first, again = runs.run(row()), runs.run(row())
    assert first.metrics == again.metrics == {"score": 0.5} and len(Toy.made) == 1
    assert "torch" in first.stored.environment


def test_a_run_that_fails_leaves_nothing(home):
    with pytest.raises(InputError, match="it fails"):
        runs.run(row(fails=True))
    assert not row(fails=True).finished and not list((home / "runs" / "done").iterdir())


def test_a_run_of_other_data_is_refused(home):
    runs.run(row())
    (home / "tables").mkdir()
    with pytest.raises(InputError, match="other data"):
        runs.run(row(source=str(home / "tables")))


def test_what_decides_the_result_is_in_the_id_and_the_rest_is_not():
    ids = {row().id, row(value=0.6).id, row(seed=1).id, row("other").id}
    assert len(ids) == 4
    shown = {"title": "x", "group": "g", "seeds": 3, "after": "y", "source": "z"}
    assert Toy(**{"name": "kept", "profile": "small", **shown}).id == row().id


def test_a_published_run_is_found_without_its_folder(home):
    rows = [row(seeds=2), row("other", value=0.25)]
    for each in rows:
        for seed in plan.replicates(each):
            runs.run(seed)
    before = [each.result.history for each in rows]
    bundle = plan.publish(plan.Plan(home / "plan.yaml"), rows)
    shutil.rmtree(home / "runs" / "done")
    assert bundle == home / "saved_models" / "toy-simulated-small"
    assert [path.name for path in (bundle / "models").iterdir()] == ["kept-s0"]
    assert [path.name for path in (home / "synthetic_data").iterdir()] == [f"{row().id}.parquet"]
    assert all(each.finished for one in rows for each in plan.replicates(one))
    assert [each.result.metrics["score"] for each in rows] == [0.5, 0.25]
    for each, history in zip(rows, before, strict=True):
        pd.testing.assert_frame_equal(each.result.history, history)
    assert rows[0].result.weighted and not rows[1].result.weighted
    assert len(runs.stores("toy", "simulated")) == 3


@pytest.fixture
def published(home):
    """Two rows that are published, one of them with its weights, and whose folders are gone."""
    rows = {"kept": row(), "other": row("other", value=0.25)}
    for each in rows.values():
        runs.run(each)
    plan.publish(plan.Plan(home / "plan.yaml"), rows.values())
    shutil.rmtree(home / "runs" / "done")
    return rows


def test_a_published_run_is_found_by_the_name_of_its_row(published):
    table = catalogue.published().set_index("row")
    assert table.loc["kept", "kept"] == "weights, patients"
    assert table.loc["other", "kept"] == "scores"
    assert set(table["study"]) == {"toy"} and set(table["seed"]) == {0}
    assert catalogue.find("other", study="toy").metrics == {"score": 0.25}
    with pytest.raises(InputError, match=r"with name lost, .* its rows are kept, other"):
        catalogue.find("lost", study="toy")
    with pytest.raises(
        InputError, match=r"`scoehr run other .*--seed 0 --study toy --again` makes both"
    ):
        catalogue.load("other", study="toy")


def test_a_published_run_is_made_here_only_when_asked(published):
    runs.run(published["other"])
    assert len(Toy.made) == 2 and not published["other"].result.weighted
    runs.run(published["other"], again=True)
    assert len(Toy.made) == 3 and published["other"].result.weighted
    runs.run(published["other"], again=True)
    assert len(Toy.made) == 3


def test_the_table_of_runs_is_searched_by_titles_too(published):
    html = catalogue.searchable(catalogue.published()).text
    assert html.startswith('<div class="find-runs">') and "row other" in html
    assert "2 published runs" in html


def test_the_largest_whole_profile_is_shown(home):
    sizes = plan.Plan(home / "plan.yaml").upward("small")

    def rows(size):
        return {name: Toy(name=name, profile=size) for name in ("one", "two")}

    for name, shown in (("one", "small"), ("two", "large")):
        runs.run(Toy(name=name, profile="large"))
        assert {each.profile for each in plan.whole(sizes, rows).values()} == {shown}
    with pytest.raises(InputError, match="profile 'huge' is unknown"):
        plan.Plan(home / "plan.yaml").scale("huge")
