"""Files are replaced whole, what killed processes leave is cleared, seeds and cells are checked."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scoehr import files
from scoehr.files import (
    InputError,
    check_seed,
    neutral,
    replacing,
    restored,
    scratch_folder,
    small_seed,
)

HOLDER = """
import sys, time
from scoehr.files import {how} as held
with held({name!r}) as scratch:
    {make}
    print("ready", flush=True)
    time.sleep(60)
"""


def held(folder, how, name, make="pass"):
    """A process that has begun to replace something, and says so."""
    code = HOLDER.format(how=how, name=str(name), make=make)
    environment = {**os.environ, "TMPDIR": str(folder)}
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        env=environment,
        cwd=Path(files.__file__).parents[1],
    )
    assert process.stdout.readline()
    return process


def make_folder(scratch, text):
    scratch.mkdir()
    (scratch / "file").write_text(text)


@pytest.mark.parametrize(
    "make",
    [
        "pass",
        "scratch.write_text('records')",
        "scratch.mkdir(); (scratch / 'a').write_text('records')",
    ],
)
def test_what_a_killed_process_leaves_goes_with_the_next_of_its_name(tmp_path, make):
    process = held(tmp_path, "replacing", tmp_path / "out", make)
    process.send_signal(signal.SIGKILL)
    time.sleep(0.1)  # not waited for: it is a zombie
    assert len(list(tmp_path.iterdir())) == 1
    with replacing(tmp_path / "other") as scratch:
        scratch.write_text("other")
    assert len(list(tmp_path.iterdir())) == 2
    with replacing(tmp_path / "out") as scratch:
        scratch.write_text("new")
    process.wait()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other", "out"]
    assert (tmp_path / "out").read_text() == "new"


def test_what_a_running_process_makes_is_left_alone(tmp_path):
    process = held(tmp_path, "replacing", tmp_path / "out", "scratch.write_text('records')")
    with replacing(tmp_path / "out") as scratch:
        scratch.write_text("new")
    assert sorted(path.name for path in tmp_path.iterdir())[-1] == "out"
    assert len(list(tmp_path.iterdir())) == 2
    process.kill()
    process.wait()


def test_the_same_number_of_another_process_is_no_owner(tmp_path):
    """The number of a dead process has been given to another."""
    nest = tmp_path / f".out.{files._machine()}-{os.getpid()}-1.01234567"
    nest.mkdir()
    files.clear(tmp_path / "out")
    assert not nest.exists()


@pytest.mark.parametrize(
    "name", [".out.0123abcd", ".out.training", ".out.x-1-1.01234567", ".out2.aaaaaaaa-1-1.01234567"]
)
def test_other_hidden_things_are_left_alone(tmp_path, name):
    (tmp_path / name).mkdir()
    files.clear(tmp_path / "out")
    assert (tmp_path / name).exists()


def test_unpacked_tables_of_a_killed_process_go(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    process = held(
        tmp_path, "scratch_folder", "zip", "(scratch / 'table.csv').write_text('records')"
    )
    process.kill()
    process.wait()
    assert len(list(tmp_path.iterdir())) == 1
    with scratch_folder("zip") as scratch:
        assert scratch.is_dir() and scratch.stat().st_mode & 0o077 == 0
        assert list(tmp_path.iterdir()) == [scratch]
    assert list(tmp_path.iterdir()) == []


def test_a_folder_is_never_missing_while_it_is_replaced(tmp_path):
    target, missing, ended = tmp_path / "model", [], threading.Event()
    with replacing(target) as scratch:
        make_folder(scratch, "0")

    def watch():
        while not ended.is_set():
            if not target.exists():
                missing.append(time.monotonic())

    watcher = threading.Thread(target=watch)
    watcher.start()
    for text in map(str, range(300)):
        with replacing(target) as scratch:
            make_folder(scratch, text)
    ended.set()
    watcher.join()
    assert missing == []
    assert (target / "file").read_text() == "299"
    assert list(tmp_path.iterdir()) == [target]


def test_without_exchange_the_old_folder_is_put_back_by_the_next(tmp_path, monkeypatch):
    """Killed between the two renames of a system that cannot exchange paths."""
    target = tmp_path / "model"
    with replacing(target) as scratch:
        make_folder(scratch, "old")
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    nest = tmp_path / f".model.{files._machine()}-{dead.pid}-1.01234567"
    nest.mkdir()
    target.rename(nest / "old")
    make_folder(nest / "model", "new")
    with pytest.raises(ZeroDivisionError), replacing(target) as scratch:
        assert (target / "file").read_text() == "old"
        scratch.mkdir(1 // 0)
    assert (target / "file").read_text() == "old"
    monkeypatch.setattr(files, "_exchange", lambda *paths: False)
    with replacing(target) as scratch:
        make_folder(scratch, "newer")
    assert (target / "file").read_text() == "newer"
    assert list(tmp_path.iterdir()) == [target]


def test_what_cannot_be_replaced_is_refused_before_the_work(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.chdir(tmp_path)
    places = {
        ".": "is the folder you are in",
        "file/model": "lies below a file",
        "/": "whole disk",
        "/dev/null": "device",
    }
    for place, words in places.items():
        with pytest.raises(InputError, match=words), replacing(place):
            pytest.fail("the work began")
    with pytest.raises(InputError, match="folder: is a folder; give the name of a file"):
        (tmp_path / "folder").mkdir()
        with replacing("folder") as scratch:
            scratch.write_text("")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]


@pytest.mark.parametrize("value", [3, np.int64(3), np.uint8(3), "3", " 3 "])
def test_seeds_of_every_type(value):
    assert check_seed(value) == 3 and type(check_seed(value)) is int


@pytest.mark.parametrize(
    "value", [-1, 2**63, "-1", "3.0", 3.0, True, None, "", "9" * 30, "three", np.float64(1)]
)
def test_what_is_no_seed(value):
    with pytest.raises(InputError, match="give a whole number from 0 to 9223372036854775807"):
        check_seed(value)


def test_a_seed_that_scikit_learn_takes():
    assert small_seed(2**32 - 1) == 2**32 - 1
    large = {small_seed(2**32 + k) for k in range(100)}
    assert len(large) == 100 and max(large) < 2**32


@settings(deadline=None)
@given(st.text(max_size=6) | st.text("'=+-@\t\r\n a", max_size=6))
def test_a_cell_is_no_formula_and_reads_back(text):
    cell = neutral(text)
    assert restored(cell) == text
    assert cell.lstrip()[:1] not in ("=", "+", "-", "@") or cell.startswith("'")
    assert not cell.startswith(("\t", "\r", "\n"))


@pytest.mark.parametrize(
    "text", ["=1+1", "+1", "-1", "@SUM(A1)", "\tx", "\rx", " =1", "＝1", "'=1"]
)
def test_formulas_are_neutralised(text):
    assert neutral(text) == "'" + text
