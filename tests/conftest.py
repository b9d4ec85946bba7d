"""What all tests share: where the open data lie, and the repository's own folders on the path."""

import os
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # benchmarks/ is not installed


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
