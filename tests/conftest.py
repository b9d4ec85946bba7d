"""What all tests share: where the open data lie, and the repository's own folders on the path."""

import os
import random
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import settings
from xdist.scheduler import LoadFileScheduling

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # benchmarks/ is not installed

# The same examples in every run, so that a failure is of the change; HYPOTHESIS_PROFILE=search tries new ones.
settings.register_profile("same", derandomize=True, deadline=None)
settings.register_profile("search", deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "same"))


@pytest.fixture(autouse=True)
def same_numbers():
    """Global generators start alike in every test."""
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002 - the one that libraries draw from
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of open clinical data: ``SCOEHR_DATA``, or ``../shared/data`` where that exists."""
    given = os.environ.get("SCOEHR_DATA")
    folder = Path(given) if given else ROOT.parent / "shared" / "data"
    if given and not folder.is_dir():
        pytest.fail(f"SCOEHR_DATA is {folder}, which is no folder")
    if not folder.is_dir():
        pytest.skip("no open data here: set SCOEHR_DATA to their folder (see data/README.md)")
    return folder


class TinyTogether(LoadFileScheduling):
    """By file, with all files that share the tiny study on one worker: it is dear to make."""

    def _split_scope(self, nodeid: str) -> str:
        file = super()._split_scope(nodeid)
        return "tiny" if "tiny_study" in (ROOT / file).read_text(encoding="utf-8") else file


def pytest_xdist_make_scheduler(config, log):
    return TinyTogether(config, log)
