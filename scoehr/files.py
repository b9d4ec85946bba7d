"""Where things lie, how files are written, what bad input raises, and what memory was used."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import resource
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

#: The checkout: ``workflow``, ``notebooks`` and ``book`` lie here.
CHECKOUT = Path(__file__).resolve().parents[1]
#: The folder that holds ``data``, ``saved_models`` and ``synthetic_data``; ``SCOEHR_ROOT`` moves it.
ROOT = Path(os.environ.get("SCOEHR_ROOT", CHECKOUT))


class InputError(ValueError):
    """What the user gave cannot be used.

    The message is one sentence that names the file, column and row, and says what to do.
    The shell prints it alone and exits with status 2.
    """


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Yield a scratch path beside ``path``; on success it takes the place of ``path``, on failure it goes.

    The scratch path does not exist yet: the body makes a file or a folder of it.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    nest = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    try:
        scratch = nest / path.name
        yield scratch
        if scratch.is_dir() and path.exists():
            os.replace(path, nest / "old")
        os.replace(scratch, path)
    finally:
        shutil.rmtree(nest, ignore_errors=True)


def write_json(path: str | Path, value: Any) -> None:
    """Write ``value`` as indented JSON, all or nothing; NaN and infinity become ``null``."""
    with replacing(path) as scratch:
        scratch.write_text(json.dumps(_finite(value), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def read_json(path: str | Path) -> Any:
    """Read a JSON file; :class:`InputError` if it is missing or not JSON."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; check the path") from None
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise InputError(f"{path}: not valid JSON ({error}); restore the file or delete its folder") from None


def sha256(path: str | Path) -> str:
    """Hexadecimal SHA-256 of a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def peak_memory() -> int:
    """Peak memory of this process in bytes: by its status, since a child's resource usage begins with its parent's."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    scale = 1 if platform.system() == "Darwin" else 1024  # bytes there, KiB elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if hasattr(value, "tolist"):  # NumPy scalars and arrays
        return _finite(value.tolist())
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return None
    return value
