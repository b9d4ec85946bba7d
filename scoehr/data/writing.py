"""Simulated tables, written as MIMIC's are, and sealed: no others pass for simulated."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv

from scoehr.files import InputError, read_json, replacing, scratch_folder, sha256, write_json

#: The file that says which tables of a folder were simulated: their SHA-256 by name.
SEAL = "seal.json"


def write_table(
    path: Path, blocks: Iterable[Mapping[str, Any]], *, quoted: bool = True, level: int = 4
) -> int:
    """Write blocks of columns under each other as one .csv.gz; return the number of rows.

    ``quoted``: header and texts stand in quotes, as in MIMIC-III. ``level``: of compression. The
    same blocks give the same bytes.
    """
    style = "needed" if quoted else "none"
    rows = 0
    with (
        replacing(path) as scratch,
        scratch.open("wb") as raw,
        gzip.GzipFile("", "wb", level, fileobj=raw, mtime=0) as file,
    ):
        for block in blocks:
            options = pa_csv.WriteOptions(include_header=False, quoting_style=style)
            table = pa.table(dict(block))
            if not rows:
                names = [f'"{name}"' if quoted else name for name in table.column_names]
                file.write((",".join(names) + "\n").encode())
            pa_csv.write_csv(table, file, options)
            rows += len(table)
    return rows


def timestamps(seconds: np.ndarray, known: np.ndarray | None = None) -> pa.Array:
    """Seconds since 1970 as a column of timestamps, empty where not ``known``."""
    return pa.array(seconds.astype("datetime64[s]"), mask=None if known is None else ~known)


# The seal -------------------------------------------------------------------------------------


def seal(folder: str | Path, law: str = "") -> None:
    """Write the hash of every file of a folder of simulated tables into its seal.

    ``law``: the law that they were drawn from.
    """
    found = {"written by": "scoehr simulate", "law": law, "files": _hashes(Path(folder))}
    write_json(Path(folder) / SEAL, found)


def check_seal(folder: str | Path) -> None:
    """Raise :class:`InputError` unless all that a folder holds was simulated, by its seal.

    So that real patients are never taken for simulated ones, whatever name they are read by.
    """
    folder = Path(folder)
    remedy = "read real tables by the name of their data set (mimic3, mimic4), or simulate others"
    if not (folder / SEAL).is_file():
        raise InputError(
            f"{folder}: has no {SEAL}, so these tables were not written by scoehr simulate; "
            f"{remedy}"
        )
    content = read_json(folder / SEAL)
    sealed = content.get("files") if isinstance(content, dict) else None
    found = _hashes(folder)
    if not isinstance(sealed, dict):
        sealed, found = {}, {SEAL: ""}
    names = sorted({*found, *sealed})
    strange = next((name for name in names if found.get(name) != sealed.get(name)), None)
    if strange:
        raise InputError(f"{folder}: {strange} is not what scoehr simulate wrote; {remedy}")


def written(folder: Path, names: Iterable[str], write: Callable[[Path], Any], law: str) -> Path:
    """The folder, sealed, of simulated tables.

    ``write`` writes them unless all ``names`` exist, and anew where those that exist are sealed as
    of another ``law``.
    """
    if not all((folder / name).exists() for name in names):
        write(folder)
    elif not (folder / SEAL).exists():
        seal_again(folder, write)
    check_seal(folder)
    if read_json(folder / SEAL).get("law") != law:
        write(folder)
    return folder


def seal_again(folder: Path, write: Callable[[Path], Any]) -> None:
    """Seal tables of before there were seals, if they are to the byte what ``write`` writes."""
    with scratch_folder("simulated") as scratch:
        write(scratch / "again")
        same = _hashes(folder) == _hashes(scratch / "again")
    if not same:
        raise InputError(
            f"{folder}: holds other tables than the simulated cohort; "
            "move them away to have it written"
        )
    seal(folder)


def _hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of every file below a folder, but the seal, a README and what is hidden."""
    hashes = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        hidden = any(part.startswith(".") for part in name.parts)
        if path.is_file() and not hidden and path.name not in (SEAL, "README.md"):
            hashes[name.as_posix()] = sha256(path)
    return hashes
