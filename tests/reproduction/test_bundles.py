"""Bundles hold what the folders of their runs held."""

import json

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import save_file

from reproduction import bundles
from scoehr import InputError


def folder(root, name, seed, *, weights=False, versions="torch 2\n", **tables):
    """A finished run in a folder of its own."""
    path = root / f"set-tiny-{name}-s{seed}-00000000"
    path.mkdir(parents=True)
    experiment = {"name": name, "title": f"row {name}", "dataset": "set", "profile": "tiny"}
    config = {"experiment": {**experiment, "seed": seed}, "generator": "thinning", "format": 9}
    reference = {"real": {"fidelity": {"close": 0.1 + 0.2}}}
    metrics = {
        "fidelity": {"close": 1 / 3, "lost": None},
        "gap": {"fidelity.close": 0.7},
        "interval": {"fidelity.close": [0.25, 0.5]},
        "task": {"auc": {"value": 0.75, "interval": [0.5, 1]}},
        "reference": reference,
    }
    (path / "config.json").write_text(json.dumps(config))
    (path / "metrics.json").write_text(json.dumps(metrics))
    (path / "costs.json").write_text(json.dumps({"fit_seconds": 2, "parameters": 5}))
    (path / "environment.txt").write_text(versions)
    for file, table in tables.items():
        table.to_csv(path / f"{file}.csv", index=False)
    if weights:
        save_file({"w": np.ones(3, np.float32)}, path / "model.safetensors")
    return bundles.Folder(path)


def gather(path, stores, models=()):
    bundles.gather(path, stores, ["fidelity.close", "fidelity.absent"], models)
    return bundles.bundle(path)


def test_a_bundle_gives_what_the_folders_held(tmp_path):
    history = pd.DataFrame({"epoch": [1, 2], "loss": [0.1, np.nan], "unmeasured": [np.nan] * 2})
    codes = pd.DataFrame({"code": ["008", "NA"], "real": [0.1, 0.2]})
    stores = [
        folder(tmp_path, "one", 0, history=history, frequency=codes),
        folder(tmp_path, "two", 1, draws=pd.DataFrame({"a": [1, 2]})),
    ]
    save_file({"first/map": np.arange(6, dtype=np.float32).reshape(2, 3)},
              stores[1].path / "maps.safetensors")  # fmt: skip
    found = gather(tmp_path / "saved_models" / "b", stores)
    for old, new in zip(stores, found, strict=True):
        assert (old.id, old.metrics, old.costs) == (new.id, new.metrics, new.costs)
        assert old.environment == new.environment and old.maps.keys() == new.maps.keys()
        for name in bundles.TABLES:
            one, other = old.table(name), new.table(name)
            assert (one is None) == (other is None)
            if one is not None:
                pd.testing.assert_frame_equal(one, other, check_exact=True)
    assert np.array_equal(stores[1].maps["first/map"], list(found)[1].maps["first/map"])


def test_the_scores_are_a_table_with_limits_and_gaps(tmp_path):
    gather(tmp_path / "saved_models" / "b", [folder(tmp_path, "one", 0)])
    table = pd.read_parquet(tmp_path / "saved_models" / "b" / "scores.parquet").set_index("metric")
    assert table.loc["fidelity.close", ["value", "low", "high", "gap"]].tolist() == [
        1 / 3, 0.25, 0.5, 0.7
    ]  # fmt: skip
    assert table.loc["task.auc", ["value", "low", "high"]].tolist() == [0.75, 0.5, 1]
    listed = pd.read_csv(tmp_path / "saved_models" / "b" / "runs.csv").iloc[0]
    assert (listed["row"], listed["seconds"], listed["parameters"]) == ("one", 2, 5)
    assert listed["fidelity.close"] == pytest.approx(1 / 3, abs=1e-4)


def test_a_handful_of_people_is_not_counted(tmp_path):
    store = folder(tmp_path, "one", 0)
    counts = {"success": {"value": 0.5, "stays": 7}, "groups": [{"deaths": 10, "stays": 11}]}
    (store.path / "metrics.json").write_text(json.dumps(counts))
    (found,) = gather(tmp_path / "saved_models" / "b", [store])
    assert found.metrics == {
        "success": {"value": 0.5, "stays": None}, "groups": [{"deaths": None, "stays": 11}]
    }  # fmt: skip


def test_the_same_runs_give_the_same_bytes_in_whatever_order_and_from_a_bundle(tmp_path):
    stores = [folder(tmp_path, name, 0, weights=True) for name in ("one", "two")]
    models = {stores[0].id}
    first = gather(tmp_path / "saved_models" / "a", stores, models)
    gather(tmp_path / "saved_models" / "b", reversed(stores), models)
    gather(tmp_path / "saved_models" / "c", list(first), models)

    def content(name):
        place = tmp_path / "saved_models" / name
        files = [path for path in place.rglob("*") if path.is_file()]
        return {str(path.relative_to(place)): path.read_bytes() for path in files}

    assert content("a") == content("b") == content("c")
    assert [name for name in content("a") if "models/" in name] and not [
        name for name in content("a") if "two-s0" in name
    ]


def test_hashes_of_single_stays_are_not_published_with_a_model(tmp_path):
    store = folder(tmp_path, "one", 0, weights=True)
    save_file({"stays": np.arange(9, dtype=np.uint32)}, store.path / "trained.safetensors")
    gather(tmp_path / "saved_models" / "a", [store], {store.id})
    files = [path.name for path in (tmp_path / "saved_models" / "a" / "models").rglob("*.*")]
    assert "model.safetensors" in files and "trained.safetensors" not in files


def test_runs_of_different_versions_are_not_gathered(tmp_path):
    stores = [folder(tmp_path, "one", 0), folder(tmp_path, "two", 0, versions="torch 3\n")]
    with pytest.raises(InputError, match="different versions"):
        gather(tmp_path / "saved_models" / "b", stores)
    assert not (tmp_path / "saved_models" / "b").exists()
