"""The command line, run as people run it."""

import contextlib
import io
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from reproduction.cli import main

COMMAND = [sys.executable, "-m", "reproduction"]


def scoehr(*arguments, cwd=None, **environment):
    """Run the command to its end; a CompletedProcess with text in stdout and stderr."""
    return subprocess.run(
        [*COMMAND, *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


def inside(*arguments, main=main):
    """The same in this process, which has the slow imports behind it; a fault of ours is raised."""
    out, err = io.StringIO(), io.StringIO()
    with (
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        pytest.raises(SystemExit) as end,
    ):
        main([*map(str, arguments)])
    return subprocess.CompletedProcess(arguments, end.value.code, out.getvalue(), err.getvalue())


def start(command, cwd, **environment):
    """Begin a command that listens to SIGINT, also where the tests themselves run in the background and do not."""
    return subprocess.Popen(
        [*map(str, command)],
        cwd=cwd,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


def done(*arguments):
    """The standard output of a command that succeeds."""
    result = inside(*arguments)
    assert result.returncode == 0, result.stderr
    return result.stdout


def refused(result, *words):
    """The command has left with status 2 and one line that holds these words."""
    lines = result.stderr.strip().splitlines()
    assert (result.returncode, len(lines)) == (2, 1), result.stderr
    assert lines[0].startswith("scoehr: error: ")
    assert [word for word in words if word not in lines[0]] == [], lines[0]


def long_table(path: Path, patients=700, codes=24, seed=0) -> Path:
    """Write a long CSV of patients whose codes come in two correlated groups."""
    rng = np.random.default_rng(seed)
    group = rng.integers(0, 2, patients)[:, None] == np.arange(codes) % 2
    counts = rng.poisson(np.where(group, 0.6, 0.1))
    rows, columns = counts.nonzero()
    frame = pd.DataFrame(
        {
            "patient_id": rows,
            "code": [f"{400 + c}" for c in columns],
            "count": counts[rows, columns],
        }
    )
    frame.to_csv(path, index=False)
    return path
