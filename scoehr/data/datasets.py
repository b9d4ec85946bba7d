"""The data sets by name: what each is, whether it is open, and its patients as a matrix.

:func:`load` gives a :class:`~scoehr.data.matrix.CodeMatrix` and its account, :func:`tables` the
patients, visits and codes of a hospital as tables of DuckDB. To add a hospital, write its reader in
:mod:`scoehr.data.hospitals` and add an entry to :data:`DATASETS`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from scoehr.data import hospitals, own, reading, simulate, writing
from scoehr.data.hospitals import Account, Digits, Tables
from scoehr.data.matrix import CodeMatrix, Kind
from scoehr.files import ROOT, InputError, user_path

__all__ = ["DATASETS", "Loaded", "credentialed", "fingerprint", "is_open", "load"]


class Loaded(NamedTuple):
    """A matrix (patients and codes sorted) and its account: rows read, dropped and why, …"""

    matrix: CodeMatrix
    account: Account


class DatasetInfo(NamedTuple):
    """What a data set is.

    ``credentialed``: by its name, real patients under a data use agreement (:func:`credentialed`).
    ``reader``: of a hospital's tables; None for a user's own table. ``dated``: whether its visits
    have dates, or an order alone.
    """

    description: str
    credentialed: bool
    needs_source: bool
    reader: hospitals.Reader | None
    dated: bool = True


DATASETS = {
    "simulated": DatasetInfo(
        "Simulated cohort of known truth in MIMIC-III's schema", False, False, hospitals.mimic3
    ),
    "mimic3": DatasetInfo(
        "MIMIC-III v1.4: the folder of ADMISSIONS.csv and DIAGNOSES_ICD.csv",
        True, True, hospitals.mimic3,
    ),
    "mimic4": DatasetInfo(
        "MIMIC-IV v2 or v3: the folder that holds hosp/", True, True, hospitals.mimic4
    ),
    "diabetes130": DatasetInfo(
        "Diabetes 130-US hospitals 1999-2008 (UCI 296): the folder or the zip file",
        False, True, hospitals.diabetes130, dated=False,
    ),
    "table": DatasetInfo(
        "Your own patients × codes: long or wide, .parquet, .csv or .csv.gz", True, True, None
    ),
}  # fmt: skip


@cache
def open_facts() -> dict[str, Any]:
    """What is known to be open: fingerprints by data set."""
    return json.loads(
        resources.files(__package__).joinpath("open.json").read_text(encoding="utf-8")
    )


#: Names of open data, here and in the companions. A name alone opens nothing: see
#: :func:`credentialed`.
OPEN = tuple(open_facts()["data"])


def is_open(name: str | None, fingerprint: str | None) -> bool:
    """Whether data of this fingerprint are known to be the open data of this name."""
    return fingerprint in open_facts()["data"].get(name, ())


def credentialed(name: str, fingerprint: str | None = None) -> bool:
    """Whether data stay where they are: all but simulated ones and those known to be open.

    A source of ``simulated`` is refused where it is read unless ``simulate`` has sealed it, so its
    name is enough. Other data may bear the name of an open set; they are known by their
    ``fingerprint``.
    """
    return name != "simulated" and not is_open(name, fingerprint)


def fingerprint(matrix: CodeMatrix) -> str:
    """Sixteen hexadecimal digits of the counts and codes of a data set."""
    digest = hashlib.sha256(matrix.counts.data.tobytes() + matrix.counts.indices.tobytes())
    digest.update(matrix.counts.indptr.tobytes() + "\n".join(matrix.codes).encode())
    return digest.hexdigest()[:16]


def facts(name: str, source: str | Path | None = None) -> dict[str, Any]:
    """What a notebook records of its data: ``dataset``, ``credentialed`` and ``fingerprint``.

    Data that are credentialed by their name are not read, so nothing exact is recorded of them.
    """
    digest = fingerprint(load(name, source).matrix) if name in OPEN else None
    return {"dataset": name, "fingerprint": digest, "credentialed": credentialed(name, digest)}


def load(
    name: str, source: str | Path | None = None, *, digits: Digits = "three", kind: Kind = "count"
) -> Loaded:
    """Load a data set.

    Args:
        name: one of :data:`DATASETS`
        source: folder or file; optional for ``simulated``, whose tables are written first if they
            are absent
        digits: "three" cuts ICD-9 codes to their category (E codes to four characters), as the
            report does; "full" keeps them. The codes of ``table`` are taken as they are.
        kind: "count" (rows of the diagnosis table per patient and code) or "binary"

    Returns:
        All patients of the admissions are rows of the matrix, with or without codes; codes are
        those that occur. Rows without a code are dropped and counted in the account, as are ICD-10
        codes that have none in ICD-9 (``mimic4``), which it names.

    Raises:
        InputError: For an unknown name, a missing source, or a table that cannot be used.
    """
    if digits not in ("three", "full") or kind not in ("count", "binary"):
        raise InputError(
            f"digits={digits!r}, kind={kind!r}: give digits 'three' or 'full', "
            "kind 'count' or 'binary'"
        )
    place = source_of(name, source)
    if DATASETS[name].reader is None:
        matrix, account = own.read(place)
    else:
        with tables(name, place, digits=digits) as found:
            matrix, account = _matrix(found), found.account
    matrix = matrix.to_binary() if kind == "binary" else matrix
    return Loaded(matrix, {"dataset": name} | account | _shape(matrix))


@contextmanager
def tables(
    name: str, place: Path, *, digits: Digits = "three", memory: str = "1GB"
) -> Iterator[Tables]:
    """The tables ``patients``, ``visits`` and ``codes`` of a hospital, as long as the block lasts.

    Args:
        name, digits: as for :func:`load`, but not ``table``; ``place`` is what :func:`source_of`
            gives
        memory: that DuckDB may take; what does not fit lies in a scratch folder, cleared afterwards
    """
    reader = DATASETS[name].reader
    if reader is None:
        raise InputError(f"data set {name!r} has no tables of a hospital; give one that has")
    with reading.database(memory) as database:
        yield hospitals.arrange(database, place, reader, digits)


def source_of(name: str, source: str | Path | None) -> Path:
    """Where a data set lies; the tables of the simulated cohort are written first if absent.

    InputError for an unknown name, a missing source, or tables of ``simulated`` that were not.
    """
    if name not in DATASETS:
        raise InputError(f"data set {name!r} is unknown; choose one of {', '.join(DATASETS)}")
    if source is None and DATASETS[name].needs_source:
        raise InputError(
            f"data set {name!r} needs a source ({DATASETS[name].description}); "
            "give its path by --source"
        )
    if source is None:
        names = (f"{table}.csv.gz" for table in simulate.TABLES)
        write, law = simulate.write_tables, simulate.LAW_ID
        return writing.written(ROOT / "data" / "simulated", names, write, law)
    place = user_path(source)
    if not place.exists():
        raise InputError(f"{place}: no such file or folder; check the path")
    if name == "simulated":
        writing.check_seal(place)
    return place


def _matrix(found: Tables) -> CodeMatrix:
    """All patients of the admissions with the sums of their visits."""
    patients = found.column("select patient from patients order by number").astype(np.int64)
    counts = found.counts(
        "select patients.number::int, place, sum(n)::bigint from codes join visits using (visit) "
        "join patients using (patient) group by all",
        (len(patients), len(found.vocabulary)),
    )
    return CodeMatrix(counts, patients, found.vocabulary, found.titles)


def _shape(matrix: CodeMatrix) -> Account:
    return {
        "patients": len(matrix),
        "patients_without_codes": int((np.diff(matrix.counts.indptr) == 0).sum()),
        "codes": len(matrix.codes),
        "total": int(matrix.counts.sum()),
        "mean_cell": matrix.mean_cell,
        "kind": matrix.kind,
    }
