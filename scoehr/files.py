"""Where things lie, how files are written, and what bad input raises."""

from __future__ import annotations

import ctypes
import hashlib
import json
import numbers
import os
import platform
import re
import secrets
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

#: The folder around the package. In a checkout ``notebooks`` and ``book`` lie here.
CHECKOUT = Path(__file__).resolve().parents[1]
#: Whether there is no checkout around the package.
INSTALLED = not (CHECKOUT / "pyproject.toml").is_file()
#: The folder that holds ``data``, ``saved_models`` and ``synthetic_data``: ``SCOEHR_ROOT``, or the
#: checkout, or, for an installed package, the folder that it is called in.
ROOT = Path(
    os.path.abspath(
        os.path.expanduser(os.environ.get("SCOEHR_ROOT") or (os.curdir if INSTALLED else CHECKOUT))
    )
)
#: The largest seed that every random number generator used here takes.
LARGEST_SEED = 2**63 - 1
#: What a spreadsheet runs as a formula, or may: the first letter of a cell, after blanks.
FORMULA = re.compile(r"'*(?:\s*[=+\-@\uff1d\uff0b\uff0d\uff20]|[\t\r\n])")


class InputError(ValueError):
    """What the user gave cannot be used.

    The message is one sentence that names the file, column and row, and says what to do.
    The shell prints it alone and exits with status 2.
    """


@contextmanager
def about(what: str | Path) -> Iterator[None]:
    """Put a path, or another place, in front of what an InputError says."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{what}: {error}") from None


def warn(text: str) -> None:
    """One line on standard error for what is done nevertheless."""
    print(f"scoehr: warning: {text}", file=sys.stderr)


def user_path(path: str | Path) -> Path:
    """A path as people write it, with ``~`` and ``~name`` expanded.

    InputError if it is empty or nobody has that name.
    """
    if not str(path):
        raise InputError("the path is empty; write it out, or leave the option away")
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise InputError(f"{path}: no home folder is known for it; write the whole path") from None


# Seeds and cells ------------------------------------------------------------------------------


def check_seed(value: Any) -> int:
    """A seed from 0 to 2⁶³ - 1: a whole number of any type, or its digits (papermill's ``-r``)."""
    whole = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    digits = isinstance(value, str) and re.fullmatch(r"\s*[0-9]{1,19}\s*", value)
    if not (whole or digits) or not 0 <= int(value) <= LARGEST_SEED:
        raise InputError(f"seed {str(value)[:40]!r}: give a whole number from 0 to {LARGEST_SEED}")
    return int(value)


def small_seed(seed: int) -> int:
    """The seed below 2³² that scikit-learn takes: the seed itself, or a hash of a larger one."""
    return seed if seed < 2**32 else int(hashlib.sha256(str(seed).encode()).hexdigest()[:8], 16)


def neutral(text: str) -> str:
    """``text`` as a cell that no spreadsheet runs as a formula; :func:`restored` reads it back."""
    return f"'{text}" if FORMULA.match(text) else text


def restored(cell: str) -> str:
    """The text that :func:`neutral` made ``cell`` of."""
    return cell[1:] if cell.startswith("'") and FORMULA.match(cell) else cell


# Files ----------------------------------------------------------------------------------------


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Yield a scratch path beside ``path``, which it replaces on success and leaves else.

    The scratch path does not exist yet: the body makes a file or a folder of it. A folder is
    replaced without a moment in which it is missing, where the system can exchange two paths. What
    killed processes left of the same ``path`` is cleared first.

    Raises:
        InputError: ``path`` cannot be replaced (before the body runs); it is a folder and the body
            made a file.
        OSError: the place cannot be written (before the body runs), or the disk is full.
    """
    target = Path(os.path.abspath(path))
    _check_target(path, target)
    clear(target)
    nest = _new_nest(target)
    try:
        scratch = nest / target.name
        yield scratch
        _put(scratch, target, path)
    finally:
        shutil.rmtree(nest, ignore_errors=True)


@contextmanager
def scratch_folder(name: str) -> Iterator[Path]:
    """An empty folder among the temporary files, gone after the block.

    Those that killed processes left under this ``name`` are cleared first. For whatever may hold
    records of patients: unpacked tables, what a database puts on disk.
    """
    target = Path(tempfile.gettempdir()).absolute() / f"scoehr-{name}"
    clear(target)
    nest = _new_nest(target)
    try:
        yield nest
    finally:
        shutil.rmtree(nest, ignore_errors=True)


def clear(path: str | Path) -> None:
    """Remove scratch folders of ``path`` whose process is gone.

    Put an old ``path`` back if missing.
    """
    target = Path(os.path.abspath(path))
    name = re.compile(rf"\.{re.escape(target.name)}\.([0-9a-f]{{8}})-(\d+)-(\d+)\.[0-9a-f]{{8}}")
    with suppress(OSError):
        for nest in list(target.parent.iterdir()):
            owner = name.fullmatch(nest.name)
            if owner and owner[1] == _machine() and _start(int(owner[2])) != owner[3]:
                _clear_nest(nest, target)


def _clear_nest(nest: Path, target: Path) -> None:
    if nest.is_symlink() or nest.stat().st_uid != os.getuid():
        return
    if (nest / "old").exists() and not os.path.lexists(target):
        os.replace(nest / "old", target)
    shutil.rmtree(nest, ignore_errors=True)


def _new_nest(target: Path) -> Path:
    """A new folder beside ``target`` whose name says which process made it."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        owner = f"{_machine()}-{os.getpid()}-{_start(os.getpid())}"
        nest = target.with_name(f".{target.name}.{owner}.{secrets.token_hex(4)}")
        nest.mkdir(mode=0o700)
    except (FileExistsError, NotADirectoryError):
        raise InputError(f"{target}: lies below a file; give a place in a folder") from None
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(target)) from None
    return nest


def _check_target(path: str | Path, target: Path) -> None:
    """Refuse what cannot be replaced."""
    if not target.name or os.path.ismount(target):
        raise InputError(f"{path}: is a whole disk; give the name of something on it")
    if target.is_dir() and Path(os.path.realpath(os.curdir)).is_relative_to(target.resolve()):
        raise InputError(
            f"{path}: is the folder you are in; give another, such as a new name in it"
        )
    if target.exists() and not target.is_dir() and not target.is_file():
        raise InputError(f"{path}: is a device or a pipe; give the name of a file or a folder")
    if target.is_dir() and not os.access(target, os.W_OK):
        raise PermissionError(13, "Permission denied", str(path))


def _put(scratch: Path, target: Path, path: str | Path) -> None:
    """Put ``scratch`` in the place of ``target``; what was there then lies in the nest."""
    if target.is_dir() and not scratch.is_dir():
        raise InputError(f"{path}: is a folder; give the name of a file")
    if not scratch.is_dir() or not os.path.lexists(target):
        os.replace(scratch, target)
    elif not _exchange(scratch, target):
        old = scratch.with_name("old")
        os.replace(target, old)
        try:
            os.replace(scratch, target)
        except BaseException:
            os.replace(old, target)
            raise


def _exchange(one: Path, other: Path) -> bool:
    """Exchange two paths in one step; False where the system cannot."""
    try:
        rename = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError, TypeError):
        return False
    here, exchange = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    return rename(here, os.fsencode(one), here, os.fsencode(other), exchange) == 0


def _machine() -> str:
    """A name for this machine, or container: process numbers mean something within it."""
    space = Path("/proc/self/ns/pid")
    inside = os.readlink(space) if space.is_symlink() else ""
    return hashlib.sha256(f"{platform.node()} {inside}".encode()).hexdigest()[:8]


def _start(pid: int) -> str | None:
    """When a process was started, in clock ticks since boot; None if it is gone.

    0 where the system does not say.
    """
    if not Path("/proc/self/stat").exists():
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return None
        except PermissionError:
            pass
        return "0"
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else fields[19]  # a zombie is gone, too


@contextmanager
def alone(path: Path, what: str) -> Iterator[int]:
    """Hold the lock file ``path``, which one process can, with the children that inherit it.

    Raises :class:`InputError` where ``what`` is being made by another process.
    """
    import fcntl

    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(f"{what} is being made here; wait for it ({path} is held)") from None
        yield file.fileno()


def write_json(path: str | Path, value: Any) -> None:
    """Write ``value`` as indented JSON, all or nothing; NaN and infinity become ``null``."""
    with replacing(path) as scratch:
        scratch.write_text(
            json.dumps(_finite(value), indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
        )


def read_json(path: str | Path) -> Any:
    """Read a JSON file; :class:`InputError` if it is missing or not JSON."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; check the path") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check the path") from None
    except (ValueError, RecursionError) as error:  # other encodings and endless numbers, too
        what = f"not valid JSON ({error}); restore the file or delete its folder"
        raise InputError(f"{path}: {what}") from None


def sha256(path: str | Path) -> str:
    """Hexadecimal SHA-256 of a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


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
