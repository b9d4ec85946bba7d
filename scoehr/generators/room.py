"""Whether what is asked for fits into memory and onto the disk."""

from __future__ import annotations

import math
import shutil
from pathlib import Path

from scoehr.files import InputError
from scoehr.memory import free_memory

CELL = 8  # bytes of a stored count and its column


def check_memory(n: int, n_codes: int) -> None:
    """:class:`InputError` unless ``n`` sparse patient vectors fit in the memory that is free."""
    _check(n, 100 + 2 * _bytes(n_codes), free_memory(), "of memory")  # the parts, and the whole


def check_disk(n: int, n_codes: int, path: Path) -> None:
    """:class:`InputError` unless a table of ``n`` patients fits on the disk of ``path``."""
    folder = next(parent for parent in path.absolute().parents if parent.exists())
    _check(n, _bytes(n_codes), shutil.disk_usage(folder).free, f"on the disk of {path}")


def check_training(shape: tuple[int, int], need: int) -> None:
    """:class:`InputError` unless ``need`` bytes, for a table of this shape, are free."""
    if need > (free := free_memory()):
        raise InputError(
            f"training on {shape[0]:,} patients and {shape[1]:,} codes needs about {_size(need)} "
            f"of memory and {_size(free)} are free; set a smaller batch or width"
        )


def _bytes(n_codes: int) -> int:
    """Of a patient with 4 % of the codes, some three times as many as in MIMIC-III."""
    return CELL * math.ceil(0.04 * n_codes)


def _check(n: int, each: int, free: int, where: str) -> None:
    if n < 1:
        raise InputError(f"the number of patients must be at least 1, not {n}")
    if n * each > free:
        raise InputError(
            f"{n:,} patients need about {_size(n * each)} {where} and {_size(free)} are free; ask "
            f"for at most {free // each:,} at a time, under different seeds"
        )


def _size(count: float) -> str:
    """A number of bytes in the unit that suits it, up to GiB."""
    power = min(3, int(math.log2(max(count, 1)) // 10))
    return f"{count / 1024**power:,.1f} {('B', 'KiB', 'MiB', 'GiB')[power]}"
