"""Trials of whole commands: killed at a random moment, given odd arguments, on terminals and in places that are odd."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.trials import Outcome

PYTHON = [sys.executable, "-m", "scoehr"]
#: Seconds that any command here may take, on a busy machine too.
LONGEST = 900
SMALL = ["--set", "width=8", "--set", "depth=1", "--set", "steps=3"]
#: What holds seconds or moments, beside the results.
CLOCKED = ("history.csv", "costs.json", "config.json", "environment.txt")


def environment(folder: Path, **more: str) -> dict[str, str]:
    """One thread, a scratch folder and a root of its own."""
    (folder / "tmp").mkdir(parents=True, exist_ok=True)
    paths = {"TMPDIR": str(folder / "tmp"), "SCOEHR_ROOT": str(folder / "root")}
    own = {"PYTHONPATH": str(Path(__file__).resolve().parents[1]), "OMP_NUM_THREADS": "1"}
    return {**os.environ, **own, **paths, **more}


def run(arguments: list[str], folder: Path, **more: str) -> subprocess.CompletedProcess[bytes]:
    """A command to its end, in ``folder``."""
    command = [*PYTHON, *arguments]
    return subprocess.run(command, cwd=folder, env=environment(folder, **more), capture_output=True, timeout=LONGEST, check=False)  # fmt: skip


# Inputs -------------------------------------------------------------------------------------------


def write_inputs(folder: Path) -> None:
    """A long table, one with visits, synthetic patients and a small model."""
    rng = np.random.default_rng(5)
    counts = rng.poisson(rng.uniform(0.1, 0.9, 16), (240, 16))
    rows, columns = counts.nonzero()
    codes = np.array([f"{400 + number}" for number in range(16)])
    long = pd.DataFrame({"patient_id": rows, "code": codes[columns], "count": counts[rows, columns]})
    folder.mkdir(parents=True, exist_ok=True)
    long.to_csv(folder / "t.csv", index=False)
    repeated = long.loc[long.index.repeat(long["count"])].drop(columns="count")
    repeated.insert(1, "visit", rng.integers(1, 4, len(repeated)))
    repeated.drop_duplicates().to_csv(folder / "v.csv", index=False)


# Killed -------------------------------------------------------------------------------------------


@dataclass
class Killed:
    """A command and the results that are compared, by pattern below its folder."""

    name: str
    arguments: list[str]
    results: str
    needs: list[list[str]] = field(default_factory=list)


SYNTHETIC = [["fit", "t.csv", "--out", "m", *SMALL, "--set", "epochs=1"], ["sample", "m", "-n", "100", "--out", "s.parquet"]]
COMMANDS = [
    Killed("fit", ["fit", "t.csv", "--out", "out", *SMALL, "--set", "epochs=30"], "out/*"),
    Killed("simulate", ["simulate", "--out", "out", "--patients", "3000"], "out/*"),
    Killed("data", ["data", "table", "--source", "t.csv", "--out", "out.parquet"], "out.parquet"),
    Killed("sample", ["sample", "m", "-n", "60000", "--out", "out.parquet"], "out.parquet", SYNTHETIC[:1]),
    Killed("split", ["split", "t.csv", "--out", "out"], "out/*"),
    Killed("review", ["review", "t.csv", "s.parquet", "--out", "out", "--records", "20"], "out*/**/*", SYNTHETIC),
    Killed("run thinning", ["run", "thinning", "--dataset", "table", "--source", "t.csv"], "root/s*/**/*"),
    Killed("visits", ["visits", "--dataset", "table", "--source", "v.csv"], "root/s*/**/*"),
]  # fmt: skip


def results(folder: Path, pattern: str) -> dict[str, str]:
    """SHA-256 of the results; those that hold seconds are left out."""
    found = sorted(path for path in folder.glob(pattern) if path.is_file() and path.name not in CLOCKED)
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in found}


def litter(folder: Path) -> list[str]:
    """What a finished command has left beside its results and among the temporary files."""
    hidden = [path.name for path in folder.rglob(".*") if not path.name.startswith((".cache", ".config", ".ipython"))]
    return hidden + [path.name for path in (folder / "tmp").iterdir()]


def killed(number: int, seed: int, folder: Path, workers: int = 2) -> Iterator[Outcome]:
    """Each command, killed so many times in all, then started again and compared with one left alone."""
    times = [number // len(COMMANDS) + (place < number % len(COMMANDS)) for place in range(len(COMMANDS))]
    work = [(command, count) for command, count in zip(COMMANDS, times, strict=True) if count]
    with ThreadPoolExecutor(workers) as pool:
        for outcomes in pool.map(lambda each: _kills(*each, seed, folder), work):
            yield from outcomes


def _prepared(command: Killed, folder: Path) -> Path:
    write_inputs(folder)
    for before in command.needs:
        run(before, folder).check_returncode()
    return folder


def _kills(command: Killed, count: int, seed: int, folder: Path) -> list[Outcome]:
    place = folder / command.name.replace(" ", "-")
    sound = _prepared(command, place / "sound")
    begin = time.perf_counter()
    run(command.arguments, _copy(sound, place / "alone")).check_returncode()
    seconds, wanted = time.perf_counter() - begin, results(place / "alone", command.results)
    rng = np.random.default_rng([seed, 4, COMMANDS.index(command)])
    return [_kill(command, _copy(sound, place / str(each)), seconds * rng.uniform(0.3, 1), wanted) for each in range(count)]  # fmt: skip


def _copy(folder: Path, to: Path) -> Path:
    shutil.copytree(folder, to)
    return to


def _kill(command: Killed, folder: Path, after: float, wanted: dict[str, str]) -> Outcome:
    arguments, environ = [*PYTHON, *command.arguments], environment(folder)
    quiet = subprocess.DEVNULL
    process = subprocess.Popen(arguments, cwd=folder, env=environ, stdout=quiet, stderr=quiet, start_new_session=True)
    try:
        process.wait(timeout=after)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    what = f"{command.name} killed after {after:.1f} s" if process.returncode < 0 else f"{command.name}, done in {after:.1f} s"
    half = results(folder, command.results)
    if any(half[name] != wanted.get(name) for name in half):
        return Outcome(what, "half a result under its final name")
    again = run(command.arguments, folder)
    if again.returncode:
        return Outcome(what, f"the second start ends with {again.returncode}: {again.stderr[-120:]!r}")
    if results(folder, command.results) != wanted:
        return Outcome(what, "other bits than undisturbed")
    left = litter(folder)
    return Outcome(what, f"litter: {', '.join(left[:4])}" if left else "")


# Odd commands -------------------------------------------------------------------------------------

Odd = tuple[str, Callable[[Path], tuple[list[str], dict[str, str]]]]


def _plain(*arguments: str, **more: str) -> Callable[[Path], tuple[list[str], dict[str, str]]]:
    return lambda folder: (list(arguments), more)


FIT, SAMPLE = ["fit", "t.csv", *SMALL, "--set", "epochs=1"], ["sample", "m", "-n", "20"]
SETTINGS = [
    "sampler=foo", "sample_batch=0", "width=0", "width=99999999", "ema=2", "epochs=99999999999999999999", "epochs=0", "epochs=1e0", "epochs=1.5", "rate=-1", "rate=nan", "steps=0",
    "network=foo", "kind=signed", "foo=1", "foo", "=1", "width=", "width=[1]", "width={a: 1}", "sampler=<script>alert(1)</script>", "batch=true",
    "width=&a [*a]", "width=!!python/object:os.system x", "width=" + "[" * 200, "width=\u0663\u0662",
]  # fmt: skip
OUTS = [".", "t.csv", "t.csv/m", "/proc/m", "/dev/null", "", "~nobody-here/m", "a\nb", "x" * 300, "\udcff\udcfe", "pipe"]
TABLES_OUT = ["s.xlsx", "s", "s.CSV", "s.csv", "s.csv.gz", "m", "m/s.parquet", "pipe", "no/such/s.parquet", "a b [1].parquet", "/dev/null"]
SEEDS = ["-1", "1.5", "x", "9223372036854775808", "18446744073709551616", "1e3", "", " 7 ", "٣", "9223372036854775807"]
SOURCES = ["", "no.csv", ".", "pipe", "/dev/zero", "t*.csv", "~nobody-here/t.csv", "a\nb.csv", "t.csv/", "file://t.csv", "s3://bucket/t.csv", "'; rm -rf x"]  # fmt: skip
OTHERS = [
    ["fits"], ["--foo"], ["fit"], ["sample", "t.csv", "-n", "5", "--out", "x.parquet"], ["sample", "m", "-n", "0", "--out", "x.parquet"],
    ["sample", "m", "-n", "5", "--out", "x.parquet", "--steps", "1"], ["sample", "m", "-n", "5", "--out", "x.parquet", "--sampler", "foo"],
    ["sample", "m", "-n", "5", "--out", "x.parquet", "--given", "999"], ["sample", "m", "-n", "5", "--out", "x.parquet", "--given", "400", "--given", "401", "--given", "402"],
    ["sample", "m", "-n", "99999999999", "--out", "x.parquet"], ["split", "t.csv", "--out", "x", "--test", "1.5"], ["split", "t.csv", "--out", "x", "--test", "nan"],
    ["split", "t.csv", "--out", "x", "--test", "0.9", "--validation", "0.9"], ["evaluate", "t.csv", "t.csv", "--json", "t.csv"], ["evaluate", "t.csv", "no.csv", "--json", "x.json"],
    ["evaluate", "t.csv", "t.csv", "--json", "x.txt"], ["data", "foo"], ["data", "table"], ["data", "mimic3", "--source", "t.csv"], ["data", "simulated", "--source", "t.csv"],
    ["simulate", "--out", "x", "--patients", "0"], ["simulate", "--out", "x", "--patients", "-5"], ["simulate", "--out", "t.csv"], ["run", "foo"], ["run", "thinning", "--profile", "foo"],
    ["run", "thinning", "--dataset", "foo"], ["run", "../thinning"], ["notebook", "../scoehr/files"], ["notebook", "foo"], ["visits", "--dataset", "foo"],
    ["visits", "--dataset", "table", "--source", "t.csv"], ["review", "t.csv", "--out", "x", "--dataset", "table"], ["review", "t.csv", "t.csv", "t.csv", "--out", "x"], ["review", "t.csv", "--score"],
    ["fit", "t.csv", "--out", "x", "--preset", "foo"], ["fit", "t.csv", "--out", "x", "--preset", "private"], ["fit", "t.csv", "t.csv", "--out", "x"], ["fit", "t.csv", "--out", "x", "--kind", "foo"],
]  # fmt: skip
TERMINALS = [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C", "PYTHONUTF8": "0"}, {"HOME": "/nonexistent"}, {"HOME": "/proc"}, {"TERM": "dumb"}, {"COLUMNS": "0"}, {"SCOEHR_ROOT": "t.csv"}, {"SCOEHR_ROOT": "/proc/x"}]  # fmt: skip


def odd_commands() -> list[tuple[list[str], dict[str, str]]]:
    """Arguments and variables of the environment, ordered so that the first few are of every sort."""
    by_sort = [
        [([*FIT, "--out", "x", "--set", each], {}) for each in SETTINGS],
        [([*FIT, "--out", each], {}) for each in OUTS], [([*SAMPLE, "--out", each], {}) for each in TABLES_OUT],
        [(["split", "t.csv", "--out", "x", "--seed", each], {}) for each in SEEDS],
        [(["data", "table", "--source", each], {}) for each in SOURCES],
        [(each, {}) for each in OTHERS],
        [([*FIT, "--out", "x"], each) for each in TERMINALS],
    ]  # fmt: skip
    longest = max(map(len, by_sort))
    return [sort[place] for place in range(longest) for sort in by_sort if place < len(sort)]


def odd(number: int, folder: Path, workers: int = 2) -> Iterator[Outcome]:
    """The first so many odd commands."""
    sound = folder / "sound"
    write_inputs(sound)
    run(SYNTHETIC[0], sound).check_returncode()
    work = list(enumerate(odd_commands()[:number]))
    with ThreadPoolExecutor(workers) as pool:
        yield from pool.map(lambda each: _odd(*each[1], _copy(sound, folder / str(each[0]))), work)


def _odd(arguments: list[str], more: dict[str, str], folder: Path) -> Outcome:
    if "pipe" in arguments:
        os.mkfifo(folder / "pipe")
    before = _snapshot(folder)
    what = " ".join(repr(each)[1:-1][:40] for each in arguments) + "".join(f" {key}={value}" for key, value in more.items())  # fmt: skip
    try:
        done = run(arguments, folder, **more)
    except subprocess.TimeoutExpired:
        return Outcome(what, "no answer in time")
    lines = done.stderr.decode(errors="replace").strip().splitlines()
    if done.returncode not in (0, 2):
        return Outcome(what, f"ends with {done.returncode}: {lines[-1][:120] if lines else ''}")
    if done.returncode == 2 and len(lines) != 1:
        return Outcome(what, f"{len(lines)} lines: {lines[:2]}")
    after = _snapshot(folder)
    lost = [name for name in before if after.get(name) != before[name]]
    if done.returncode == 2 and (lost or set(after) != set(before)):
        return Outcome(what, f"refused, and yet changed: {sorted(set(before) ^ set(after) | set(lost))[:3]}")
    left = litter(folder)
    return Outcome(what, f"litter: {', '.join(left[:3])}" if left else "")


def _snapshot(folder: Path) -> dict[str, tuple[int, float]]:
    """Size and moment of every file, but for what is temporary."""
    paths = [path for path in folder.rglob("*") if path.is_file() and (folder / "tmp") not in path.parents]
    return {str(path.relative_to(folder)): (path.stat().st_size, path.stat().st_mtime) for path in paths}
