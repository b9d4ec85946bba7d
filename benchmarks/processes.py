"""Trials of whole commands: killed at a random moment, given odd arguments, on terminals and in
places that are odd.

A command runs in a process of its own, forked from one that has the slow imports behind it,
so that a kill strikes the
work; where another root or terminal is wanted, in a fresh one.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.trials import Outcome

PYTHON = [sys.executable, "-m", "reproduction"]
#: Seconds that any command here may take, on a busy machine too.
LONGEST = 900
#: Processor seconds of a fresh command within which it is killed; one that ends before is not
#: counted.
FRESH, STRUCK = 8.0, "killed after"
SMALL = ["--set", "width=8", "--set", "depth=1"]
#: What holds seconds or moments, beside the results.
CLOCKED = ("history.csv", "costs.json", "config.json", "environment.txt")


def environment(folder: Path, **more: str) -> dict[str, str]:
    """One thread, a scratch folder and a root of its own."""
    (folder / "tmp").mkdir(parents=True, exist_ok=True)
    paths = {"TMPDIR": str(folder / "tmp"), "SCOEHR_ROOT": str(folder / "root")}
    own = {"PYTHONPATH": str(Path(__file__).resolve().parents[1]), "OMP_NUM_THREADS": "1"}
    return {**os.environ, **own, **paths, **more}


def _child(arguments: list[str], folder: str) -> None:
    """The command in a forked process; its output goes beside ``folder``, and its processor
    seconds.
    """
    for number, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(f"{folder}.{name}", os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), number)
    os.environ |= environment(Path(folder))
    os.chdir(folder)
    tempfile.tempdir, begin = None, time.process_time()
    from reproduction.cli import main

    try:
        main(arguments)
    finally:
        Path(f"{folder}.seconds").write_text(str(time.process_time() - begin), encoding="utf-8")


@cache
def _server() -> Any:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        [
            "reproduction.cli",
            "scoehr.generators",
            "scoehr.data.datasets",
            "reproduction.synthesis.review",
            "scoehr.data.simulate",
            "sklearn.model_selection",
        ]
    )
    return context


class Command:
    """A command that runs, forked or (``fresh``) started anew, in ``folder``."""

    def __init__(
        self, arguments: list[str], folder: Path, *, fresh: bool = False, **more: str
    ) -> None:
        self.folder, self.fresh = folder, fresh
        (folder / "tmp").mkdir(parents=True, exist_ok=True)
        if fresh:
            with open(f"{folder}.out", "wb") as out, open(f"{folder}.err", "wb") as err:
                self.process: Any = subprocess.Popen(
                    [*PYTHON, *arguments],
                    cwd=folder,
                    env=environment(folder, **more),
                    stdout=out,
                    stderr=err,
                )
        else:
            self.process = _server().Process(target=_child, args=(arguments, str(folder)))
            self.process.start()

    def ended(self, seconds: float) -> bool:
        """Whether it has ended, waited for so long."""
        if not self.fresh:
            self.process.join(seconds)
            return self.process.exitcode is not None
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    @property
    def status(self) -> int | None:
        """The exit status, None while it runs."""
        return self.process.returncode if self.fresh else self.process.exitcode

    @property
    def lines(self) -> list[str]:
        """Standard error."""
        return (
            Path(f"{self.folder}.err")
            .read_text(encoding="utf-8", errors="replace")
            .strip()
            .splitlines()
        )

    def seconds(self) -> float:
        """Processor seconds so far; 0 where it is gone."""
        try:
            fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return 0.0
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def kill_after(self, seconds: float) -> None:
        """SIGKILL once it has taken so many processor seconds, unless it has ended before."""
        while not self.ended(0.01):
            if self.seconds() >= seconds:
                self.process.kill()
                self.ended(LONGEST)


def run(arguments: list[str], folder: Path, **more: Any) -> Command:
    """A command to its end; TimeoutError after :data:`LONGEST`."""
    command = Command(arguments, folder, **more)
    if not command.ended(LONGEST):
        command.process.kill()
        raise TimeoutError
    return command


def _done(arguments: list[str], folder: Path, **more: Any) -> None:
    """A command that has to succeed."""
    command = run(arguments, folder, **more)
    if command.status:
        raise RuntimeError(f"{arguments}: {command.lines}")


# Inputs -------------------------------------------------------------------------------------------


def write_inputs(folder: Path) -> None:
    """A long table, one with visits, synthetic patients and a small model."""
    rng = np.random.default_rng(5)
    counts = rng.poisson(rng.uniform(0.1, 0.9, 16), (240, 16))
    rows, columns = counts.nonzero()
    codes = np.array([f"{400 + number}" for number in range(16)])
    long = pd.DataFrame(
        {"patient_id": rows, "code": codes[columns], "count": counts[rows, columns]}
    )
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
    fresh: bool = False  # it works below SCOEHR_ROOT


SYNTHETIC = [
    ["fit", "t.csv", "--out", "m", *SMALL, "--set", "epochs=1"],
    ["sample", "m", "-n", "100", "--out", "s.parquet"],
]
COMMANDS = [
    Killed("fit", ["fit", "t.csv", "--out", "out", *SMALL, "--set", "epochs=30"], "out/*"),
    Killed("simulate", ["simulate", "--out", "out", "--patients", "3000"], "out/*"),
    Killed("data", ["data", "table", "--source", "t.csv", "--out", "out.parquet"], "out.parquet"),
    Killed("sample", ["sample", "m", "-n", "60000", "--out", "out.parquet"], "out.parquet",
    SYNTHETIC[:1]),
    Killed("split", ["split", "t.csv", "--out", "out"], "out/*"),
    Killed("review", ["review", "t.csv", "s.parquet", "--out", "out", "--records", "20"],
    "out*/**/*", SYNTHETIC),
    Killed("run thinning", ["run", "thinning", "--dataset", "table", "--source", "t.csv"],
    "root/s*/**/*", fresh=True),
    Killed("run whole", ["run", "whole", "--dataset", "table", "--source", "v.csv"], "root/s*/**/*",
    fresh=True),
]  # fmt: skip


def results(folder: Path, pattern: str) -> dict[str, str]:
    """SHA-256 of the results; those that hold seconds are left out."""
    found = sorted(
        path for path in folder.glob(pattern) if path.is_file() and path.name not in CLOCKED
    )
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in found
    }


def litter(folder: Path) -> list[str]:
    """What a finished command has left beside its results and among the temporary files."""
    hidden = [path.name for path in folder.rglob(".*")]
    return hidden + [
        path.name
        for path in (folder / "tmp").iterdir()
        if not path.name.startswith("torchinductor")
    ]


def killed(number: int, seed: int, folder: Path, workers: int = 2) -> Iterator[Outcome]:
    """Each command, killed so many times in all, then started again and compared with one left
    alone.
    """
    times = [
        number // len(COMMANDS) + (place < number % len(COMMANDS)) for place in range(len(COMMANDS))
    ]
    work = [(command, count) for command, count in zip(COMMANDS, times, strict=True) if count]
    with ThreadPoolExecutor(workers) as pool:
        for outcomes in pool.map(lambda each: _kills(*each, seed, folder), work):
            yield from (outcome for outcome in outcomes if STRUCK in outcome.case)


def _prepared(command: Killed, folder: Path) -> Path:
    write_inputs(folder)
    for before in command.needs:
        _done(before, folder)
    return folder


def _kills(command: Killed, count: int, seed: int, folder: Path) -> list[Outcome]:
    place = folder / command.name.replace(" ", "-")
    sound = _prepared(command, place / "sound")
    alone = run(command.arguments, _copy(sound, place / "alone"), fresh=command.fresh)
    if alone.status:
        raise RuntimeError(f"{command.name}: {alone.lines}")
    seconds, wanted = _seconds(place / "alone", command), results(place / "alone", command.results)
    rng = np.random.default_rng([seed, 4, COMMANDS.index(command)])
    return [
        _kill(command, _copy(sound, place / str(each)), seconds * rng.uniform(0, 1), wanted)
        for each in range(count)
    ]


def _seconds(folder: Path, command: Killed) -> float:
    """Processor seconds of the command left alone; of a fresh one, :data:`FRESH`."""
    written = Path(f"{folder}.seconds")
    return float(written.read_text(encoding="utf-8")) if written.exists() else FRESH


def _copy(folder: Path, to: Path) -> Path:
    shutil.copytree(folder, to)
    return to


def _kill(command: Killed, folder: Path, after: float, wanted: dict[str, str]) -> Outcome:
    struck = Command(command.arguments, folder, fresh=command.fresh)
    struck.kill_after(after)
    ending = STRUCK if struck.status == -signal.SIGKILL else "done before"
    what = f"{command.name} {ending} {after:.2f} processor seconds"
    half = results(folder, command.results)
    if any(half[name] != wanted.get(name) for name in half):
        return Outcome(what, "half a result under its final name")
    again = run(command.arguments, folder, fresh=command.fresh)
    if again.status:
        return Outcome(what, f"the second start ends with {again.status}: {again.lines[-1:]}")
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
    "sampler=foo", "sample_batch=0", "width=0", "width=99999999", "ema=2",
    "epochs=99999999999999999999", "epochs=0", "epochs=1e0", "epochs=1.5", "learning_rate=-1", "learning_rate=nan",
    "steps=0",
    "network=foo", "kind=signed", "foo=1", "foo", "=1", "width=", "width=[1]", "width={a: 1}",
    "sampler=<script>alert(1)</script>", "batch=true",
    "width=&a [*a]", "width=!!python/object:os.system x", "width=" + "[" * 200,
    "width=\u0663\u0662",
]  # fmt: skip
OUTS = [
    ".",
    "t.csv",
    "t.csv/m",
    "/proc/m",
    "/dev/null",
    "",
    "~nobody-here/m",
    "a\nb",
    "x" * 300,
    "\udcff\udcfe",
    "pipe",
]
TABLES_OUT = [
    "s.xlsx",
    "s",
    "s.CSV",
    "s.csv",
    "s.csv.gz",
    "m",
    "m/s.parquet",
    "pipe",
    "no/such/s.parquet",
    "a b [1].parquet",
    "/dev/null",
]
SEEDS = [
    "-1",
    "1.5",
    "x",
    "9223372036854775808",
    "18446744073709551616",
    "1e3",
    "",
    " 7 ",
    "٣",
    "9223372036854775807",
]
SOURCES = [
    "",
    "no.csv",
    ".",
    "pipe",
    "/dev/zero",
    "t*.csv",
    "~nobody-here/t.csv",
    "a\nb.csv",
    "t.csv/",
    "file://t.csv",
    "s3://bucket/t.csv",
    "'; rm -rf x",
]
OTHERS = [
    ["fits"], ["--foo"], ["fit"], ["sample", "t.csv", "-n", "5", "--out", "x.parquet"], ["sample",
    "m", "-n", "0", "--out", "x.parquet"],
    ["sample", "m", "-n", "5", "--out", "x.parquet", "--steps", "1"], ["sample", "m", "-n", "5",
    "--out", "x.parquet", "--sampler", "foo"],
    ["sample", "m", "-n", "5", "--out", "x.parquet", "--given", "999"], ["sample", "m", "-n", "5",
    "--out", "x.parquet", "--given", "400", "--given", "401", "--given", "402"],
    ["sample", "m", "-n", "99999999999", "--out", "x.parquet"], ["split", "t.csv", "--out", "x",
    "--test", "1.5"], ["split", "t.csv", "--out", "x", "--test", "nan"],
    ["split", "t.csv", "--out", "x", "--test", "0.9", "--validation", "0.9"], ["evaluate",
    "t.csv", "t.csv", "--json", "t.csv"], ["evaluate", "t.csv", "no.csv", "--json", "x.json"],
    ["evaluate", "t.csv", "t.csv", "--json", "x.txt"], ["data", "foo"], ["data", "table"],
    ["data", "mimic3", "--source", "t.csv"], ["data", "simulated", "--source", "t.csv"],
    ["simulate", "--out", "x", "--patients", "0"], ["simulate", "--out", "x", "--patients", "-5"],
    ["simulate", "--out", "t.csv"], ["run", "foo"], ["run", "thinning", "--profile", "foo"],
    ["run", "thinning", "--dataset", "foo"], ["run", "../thinning"], ["notebook",
    "../scoehr/files"], ["notebook", "foo"], ["run", "whole", "--dataset", "foo"], ["review", "t.csv", "--out", "x",
    "--dataset", "table"], ["review", "t.csv", "t.csv", "t.csv", "--out", "x"], ["review",
    "t.csv", "--score"],
    ["fit", "t.csv", "--out", "x", "--preset", "foo"], ["fit", "t.csv", "--out", "x", "--preset",
    "private"], ["fit", "t.csv", "t.csv", "--out", "x"], ["fit", "t.csv", "--out", "x", "--kind",
    "foo"],
]  # fmt: skip
TERMINALS = [
    {"PYTHONIOENCODING": "ascii"},
    {"LC_ALL": "C", "PYTHONUTF8": "0"},
    {"HOME": "/nonexistent"},
    {"HOME": "/proc"},
    {"TERM": "dumb"},
    {"COLUMNS": "0"},
    {"SCOEHR_ROOT": "t.csv"},
    {"SCOEHR_ROOT": "/proc/x"},
]


def odd_commands() -> list[tuple[list[str], dict[str, str]]]:
    """Arguments and variables of the environment, ordered so that the first few are of every sort."""
    by_sort = [
        [([*FIT, "--out", "x", "--set", each], {}) for each in SETTINGS],
        [([*FIT, "--out", each], {}) for each in OUTS], [([*SAMPLE, "--out", each],
        {}) for each in TABLES_OUT],
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
    _done(SYNTHETIC[0], sound)
    work = list(enumerate(odd_commands()[:number]))
    with ThreadPoolExecutor(workers) as pool:
        yield from pool.map(lambda each: _odd(*each[1], _copy(sound, folder / str(each[0]))), work)


def _odd(arguments: list[str], more: dict[str, str], folder: Path) -> Outcome:
    if "pipe" in arguments:
        os.mkfifo(folder / "pipe")
    before = _snapshot(folder)
    what = " ".join(repr(each)[1:-1][:40] for each in arguments) + "".join(
        f" {key}={value}" for key, value in more.items()
    )
    try:
        done = run(arguments, folder, fresh=bool(more), **more)
    except TimeoutError:
        return Outcome(what, "no answer in time")
    lines = done.lines
    if done.status not in (0, 2):
        return Outcome(what, f"ends with {done.status}: {lines[-1][:120] if lines else ''}")
    if done.status == 2 and len(lines) != 1:
        return Outcome(what, f"{len(lines)} lines: {lines[:2]}")
    after = _snapshot(folder)
    lost = [name for name in before if after.get(name) != before[name]]
    if done.status == 2 and (lost or set(after) != set(before)):
        return Outcome(
            what, f"refused, and yet changed: {sorted(set(before) ^ set(after) | set(lost))[:3]}"
        )
    left = litter(folder)
    return Outcome(what, f"litter: {', '.join(left[:3])}" if left else "")


def _snapshot(folder: Path) -> dict[str, tuple[int, float]]:
    """Size and moment of every file, but for what is temporary."""
    paths = [
        path
        for path in folder.rglob("*")
        if path.is_file() and (folder / "tmp") not in path.parents
    ]
    return {
        str(path.relative_to(folder)): (path.stat().st_size, path.stat().st_mtime) for path in paths
    }
