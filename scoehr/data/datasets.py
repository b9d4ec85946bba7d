"""Diagnosis tables in, a :class:`~scoehr.data.matrix.CodeMatrix` and its account out.

DuckDB holds the tables under the same names for every data set: ``admissions`` (patient, visit), ``diagnoses``
(patient, raw: the code as it is written) and ``events`` (patient, place in the vocabulary, number). How files are
read and refused is in :mod:`scoehr.data.reading`, what a code is and becomes in :mod:`scoehr.data.icd`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, Literal, NamedTuple

import duckdb
import numpy as np
import pyarrow as pa
from scipy import sparse

from scoehr.data import cells, icd, own, reading, simulate
from scoehr.data.matrix import CodeMatrix, Kind
from scoehr.data.reading import Database, refuse
from scoehr.files import ROOT, InputError, scratch_folder, user_path

Digits = Literal["three", "full"]
Account = dict[str, Any]


class Loaded(NamedTuple):
    """A matrix (patients and codes sorted) and how it came about: rows read, rows dropped and why, patients, …"""

    matrix: CodeMatrix
    account: Account


class DatasetInfo(NamedTuple):
    """``credentialed``: by their name, real patients under a data use agreement (see :func:`credentialed`)."""

    description: str
    credentialed: bool
    needs_source: bool


DATASETS = {
    "simulated": DatasetInfo("Simulated cohort of known truth in MIMIC-III's schema", False, False),
    "mimic3": DatasetInfo(
        "MIMIC-III v1.4: the folder of ADMISSIONS.csv and DIAGNOSES_ICD.csv", True, True
    ),
    "mimic4": DatasetInfo("MIMIC-IV v2 or v3: the folder that holds hosp/", True, True),
    "diabetes130": DatasetInfo(
        "Diabetes 130-US hospitals 1999-2008 (UCI 296): the folder or the zip file", False, True
    ),
    "table": DatasetInfo(
        "Your own patients × codes: long or wide, .parquet, .csv or .csv.gz", True, True
    ),
}


@cache
def open_facts() -> dict[str, Any]:
    """What is known to be open: fingerprints by data set."""
    return json.loads(
        resources.files(__package__).joinpath("open.json").read_text(encoding="utf-8")
    )


#: Names of open data, here and in the companions. A name alone opens nothing: see :func:`credentialed`.
OPEN = tuple(open_facts()["data"])


def is_open(name: str | None, fingerprint: str | None) -> bool:
    """Whether data of this fingerprint are known to be the open data of this name."""
    return fingerprint in open_facts()["data"].get(name, ())


def credentialed(name: str, fingerprint: str | None = None) -> bool:
    """Whether data are to be kept where they are: all but those simulated here and those known to be open.

    A source of ``simulated`` is refused where it is read unless ``simulate`` has sealed it, so its name is enough.
    Other data may bear the name of an open set; they are known by their ``fingerprint``.
    """
    return name != "simulated" and not is_open(name, fingerprint)


def fingerprint(matrix: CodeMatrix) -> str:
    """Sixteen hexadecimal digits of the counts and codes of a data set."""
    digest = hashlib.sha256(matrix.counts.data.tobytes() + matrix.counts.indices.tobytes())
    digest.update(matrix.counts.indptr.tobytes() + "\n".join(matrix.codes).encode())
    return digest.hexdigest()[:16]


def facts(name: str, source: str | Path | None = None) -> dict[str, Any]:
    """What a notebook says of its data: ``dataset``, ``credentialed`` and ``fingerprint``.

    Data that are credentialed by their name are not read: nothing exact is said of them.
    """
    digest = fingerprint(load(name, source).matrix) if name in OPEN else None
    return {"dataset": name, "fingerprint": digest, "credentialed": credentialed(name, digest)}


def load(
    name: str, source: str | Path | None = None, *, digits: Digits = "three", kind: Kind = "count"
) -> Loaded:
    """Load a data set.

    Parameters
    ----------
    name : one of :data:`DATASETS`
    source : folder or file; optional for ``simulated``, whose tables are written first if they are absent
    digits : "three" cuts ICD-9 codes to their category (E codes to four characters), as the report does;
        "full" keeps them. The codes of ``table`` are taken as they are.
    kind : "count" (rows of the diagnosis table per patient and code) or "binary"

    Returns
    -------
    Loaded
        All patients of the admissions are rows of the matrix, with or without codes; codes are those that occur.
        Rows without a code are dropped and counted in the account, as are ICD-10 codes that have none in ICD-9
        (``mimic4``), which it names.

    Raises
    ------
    InputError
        For an unknown name, a missing source, or a table that cannot be used.
    """
    if name not in DATASETS:
        raise InputError(f"data set {name!r} is unknown; choose one of {', '.join(DATASETS)}")
    if digits not in ("three", "full") or kind not in ("count", "binary"):
        raise InputError(
            f"digits={digits!r}, kind={kind!r}: give digits 'three' or 'full', kind 'count' or 'binary'"
        )
    place = _source(name, source)
    settings: dict[str, Any] = {"threads": 2, "memory_limit": "1GB"}
    with (
        scratch_folder("tables") as scratch,
        duckdb.connect(config={**settings, "temp_directory": str(scratch)}) as database,
    ):
        matrix, account = READERS[name](database, place, digits)
    matrix = matrix.to_binary() if kind == "binary" else matrix
    return Loaded(matrix, {"dataset": name} | account | _shape(matrix))


def _source(name: str, source: str | Path | None) -> Path:
    if source is None and DATASETS[name].needs_source:
        raise InputError(
            f"data set {name!r} needs a source ({DATASETS[name].description}); give its path by --source"
        )
    if source is None:
        place = ROOT / "data" / "simulated"
        if not all((place / f"{table}.csv.gz").exists() for table in simulate.TABLES):
            simulate.write_tables(place)
        elif not (place / simulate.SEAL).exists():
            simulate.seal_again(place, simulate.write_tables)
        simulate.check_seal(place)
        return place
    place = user_path(source)
    if not place.exists():
        raise InputError(f"{place}: no such file or folder; check the path")
    if name == "simulated":
        simulate.check_seal(place)
    return place


def _shape(matrix: CodeMatrix) -> Account:
    return {
        "patients": len(matrix),
        "patients_without_codes": int((np.diff(matrix.counts.indptr) == 0).sum()),
        "codes": len(matrix.codes),
        "total": int(matrix.counts.sum()),
        "mean_cell": matrix.mean_cell,
        "kind": matrix.kind,
    }


# Hospitals ------------------------------------------------------------------------------------------------------
# A reader leaves ``admissions`` (patient, visit, begin: what orders the visits of a patient), ``diagnoses`` (patient,
# visit, raw: the code as it is written, behind "10:" if it is of ICD-10) and ``places`` (raw, place, code).

#: Entries of an account that name codes: those that took the code of one above them, that have none in ICD-9, and that
#: are finer than the list of ICD-9; how many rows each has.
NAMED = ("codes_by_parent", "codes_unmapped", "codes_not_listed")


def _mimic3(database: Database, source: Path, digits: Digits) -> tuple[list[str], Account]:
    path = reading.find(source, "DIAGNOSES_ICD")
    account = {"digits": digits, "admissions": read_admissions(database, source, str.upper)}
    read_diagnoses(database, path, "ICD9_CODE")
    codes, kept = map_codes(database, digits, _row_of(database, path, "ICD9_CODE"))
    return codes, account | kept


def _mimic4(database: Database, source: Path, digits: Digits) -> tuple[list[str], Account]:
    path = reading.find(source, "diagnoses_icd")
    account = {"digits": digits, "admissions": read_admissions(database, source, str.lower)}
    read_diagnoses(database, path, "icd_code", "icd_version")
    codes, kept = map_codes(database, digits, _row_of(database, path, "icd_code"), mapped=True)
    rows = dict(
        database.execute("select version, count(*) from diagnoses group by version").fetchall()
    )
    kept |= {"rows_icd9": rows.get("9", 0), "rows_icd10": rows.get("10", 0)}
    return codes, account | kept


def _diabetes130(database: Database, source: Path, digits: Digits) -> tuple[list[str], Account]:
    account = {"digits": digits, "admissions": read_encounters(database, source)}

    def where(raw: str) -> str:
        found = database.execute(
            "select field, row from diagnoses where raw = ? order by rowid", [raw]
        ).fetchone()
        return f"{source}, column diag_{found[0]}, row {found[1]}" if found else str(source)

    codes, kept = map_codes(database, digits, where, lost_zeros=True)
    return codes, account | kept


def read_admissions(database: Database, folder: Path, case: Callable[[str], str]) -> int:
    """Table ``admissions`` of MIMIC and, if the folder has it, PATIENTS, checked; the number of admissions.

    ``case`` writes names as the release does. ``begin`` and the other times are timestamps.
    """
    subject, visit, begin = case("subject_id"), case("hadm_id"), case("admittime")
    path = reading.find(folder, case("admissions"))
    dates = {begin: "begin"}
    dates |= {
        case(name): name for name in ("dischtime", "deathtime") if name in reading.header(path)
    }
    ids = {subject: "patient", visit: "visit"}
    reading.read(database, "admissions", path, ids | dates, whole=ids)
    reading.refuse_repeats(database, "admissions", "visit", path, visit)
    reading.refuse_empty(database, "admissions", path, {begin: "begin"}, "date")
    reading.convert(database, "admissions", path, "date", dates)
    people = reading.look_for(folder, case("patients"))
    if people:
        dates = {case(name): name for name in ("dob", "dod") if name in reading.header(people)}
        reading.read(database, "patients", people, {subject: "patient"} | dates, whole=[subject])
        reading.refuse_repeats(database, "patients", "patient", people, subject)
        reading.convert(database, "patients", people, "date", dates)
    return reading.number_of_rows(database, "admissions")


def read_diagnoses(database: Database, path: Path, code: str, version: str = "") -> None:
    """Table ``diagnoses`` of MIMIC, checked against ``admissions``.

    ``code`` and ``version`` are the columns of the code and, in MIMIC-IV, of the version of the ICD.
    """
    case = str.upper if code.isupper() else str.lower
    ids = {case("subject_id"): "patient", case("hadm_id"): "visit"}
    optional = [name for name in ("row_id", "seq_num") if name in reading.header(path)]
    columns = ids | {code: "raw"} | ({version: "version"} if version else {})
    reading.read(
        database, "diagnoses", path, columns | {case(name): name for name in optional}, whole=ids
    )
    _refer_to_admissions(database, path, ids)
    if version:
        _versions(database, path, version)
    if "row_id" in optional:
        reading.refuse_pasted(database, "diagnoses", ["row_id"], path, case("row_id"))
    if "seq_num" in optional:
        key = ["visit", "seq_num", "raw"]
        reading.refuse_pasted(
            database, "diagnoses", key, path, f"{case('hadm_id')}, {case('seq_num')} and {code}"
        )


def _versions(database: Database, path: Path, name: str) -> None:
    """The version is 9 or 10 in every row; codes of the latter get it in front."""
    database.execute("update diagnoses set version = regexp_replace(version, '\\.0+$', '')")
    refuse(
        database,
        "select rowid, version from diagnoses where version is null or version not in ('9', '10')",
        lambda row, value: (
            f"{path}, column {name}, row {row}: {value or 'empty'!r} is neither 9 nor 10; restore the version"
        ),
    )
    database.execute("update diagnoses set raw = '10:' || raw where version = '10'")


def read_encounters(database: Database, source: Path) -> int:
    """The tables ``admissions`` and ``diagnoses`` of Diabetes 130-US (folder, zip or csv); the number of encounters.

    Encounters come in the order of their ids, the only hint of time there is. ``diagnoses`` has the columns row and
    field (1, 2, 3) beside the usual ones.
    """
    ids = {"patient_nbr": "patient", "encounter_id": "visit"}
    columns = {"diag_1": "d1", "diag_2": "d2", "diag_3": "d3"}
    path = diabetic_data(source)
    reading.read(database, "encounters", path, ids | columns, whole=ids)
    reading.refuse_repeats(database, "encounters", "visit", path, "encounter_id")
    database.execute(
        "create temp table admissions as select patient, visit, visit as begin from encounters"
    )
    database.execute(
        "create temp table diagnoses as select patient, visit, nullif(unnest([d1, d2, d3]), '?') as raw, "
        "unnest([1, 2, 3]) as field, rowid + 1 as row from encounters order by row, field"
    )
    return reading.number_of_rows(database, "encounters")


def _refer_to_admissions(database: Database, path: Path, ids: Iterable[str]) -> None:
    """Every diagnosis belongs to an admission, of the same patient; ``ids`` names the columns of patient and visit."""
    subject, visit = ids
    refuse(
        database,
        "select rowid, visit from diagnoses anti join admissions using (visit)",
        lambda row, value: (
            f"{path}, column {visit}, row {row}: admission {value} is not in ADMISSIONS; give tables of one release"
        ),
    )
    refuse(
        database,
        "select d.rowid, d.patient, visit from diagnoses d join admissions a using (visit) "
        "where a.patient <> d.patient",
        lambda row, patient, value: (
            f"{path}, column {subject}, row {row}: admission {value} is not of patient {patient} in ADMISSIONS; "
            "give tables of one release"
        ),
    )


def map_codes(
    database: Database,
    digits: Digits,
    where: Callable[[str], str],
    *,
    mapped: bool = False,
    lost_zeros: bool = False,
) -> tuple[list[str], Account]:
    """Table ``places`` from ``diagnoses``; the sorted codes, and what became of the rows.

    Parameters
    ----------
    where : file, column and row in which a raw code first stands
    mapped : some codes may be of ICD-10; they become ICD-9 by the rule of :func:`scoehr.data.icd.to_icd9`
    lost_zeros : as in :func:`scoehr.data.icd.read_icd9`

    Returns
    -------
    codes, account
        The account has the rows read, dropped and kept, and the entries of :data:`NAMED` that are not empty.

    Raises
    ------
    InputError
        A code is none, or there are codes and no one becomes one of ICD-9.
    """
    rows = dict(
        database.execute(
            "select raw, count(*) from diagnoses where raw is not null group by raw order by min(rowid)"
        ).fetchall()
    )
    read = {raw: _read_code(raw, where, lost_zeros) for raw in rows}
    found = {raw: _cut(code, digits) for raw, (code, _) in read.items() if code}
    if rows and not found:
        some = reading.listed([raw.removeprefix("10:") for raw in rows])
        raise InputError(
            f"{where(next(iter(rows)))}: no code ({some}) has one in ICD-9; give codes that do"
        )
    codes = sorted(set(found.values()))
    place = {code: number for number, code in enumerate(codes)}
    columns = {"raw": list(found), "code": list(found.values())}
    texts = {name: pa.array(values, pa.string()) for name, values in columns.items()}
    database.register(
        "places",
        pa.table(texts | {"place": pa.array([place[code] for code in found.values()], pa.int32())}),
    )
    notes: dict[str, dict[str, int]] = {}
    for raw, (_, note) in sorted(read.items()):
        if note:
            notes.setdefault(note, {})[raw.removeprefix("10:")] = rows[raw]
    kept = sum(rows[raw] for raw in found)
    dropped = {"no code": reading.number_of_rows(database, "diagnoses") - sum(rows.values())}
    dropped |= {"unmapped ICD-10": sum(rows.values()) - kept} if mapped else {}
    return codes, {
        "rows_read": sum(dropped.values()) + kept,
        "rows_dropped": dropped,
        "rows_kept": kept,
    } | notes


def _read_code(raw: str, where: Callable[[str], str], lost_zeros: bool) -> tuple[str | None, str]:
    """The full ICD-9 code of a raw one, or None, and where the account names it, if at all."""
    written = raw.removeprefix("10:")
    try:
        if cells.is_missing(written):
            raise ValueError("is not a code (it means that there is none); leave the cell empty")
        if written != raw:
            return _from_icd10(written)
        code = icd.read_icd9(written, lost_zeros=lost_zeros)
    except ValueError as error:
        raise InputError(f"{where(raw)}: {written!r} {error}") from None
    listed = icd.nearest_icd9(code)
    return listed, "" if listed == code else "codes_not_listed"


def _from_icd10(written: str) -> tuple[str | None, str]:
    if not icd.is_icd10(written):
        raise ValueError("is not an ICD-10 code; mend the code, or its version")
    (code,) = icd.to_icd9([written])
    if code is None:
        return None, "codes_unmapped"
    return code, "" if icd.is_mapped(written) else "codes_by_parent"


def _cut(code: str, digits: Digits) -> str:
    return icd.three_digit(code) if digits == "three" else code


def _row_of(database: Database, path: Path, column: str) -> Callable[[str], str]:
    """Where a raw code first stands, said when asked."""

    def where(raw: str) -> str:
        found = database.execute(
            "select min(rowid) + 1 from diagnoses where raw = ?", [raw]
        ).fetchone()
        return f"{path}, column {column}, row {found[0] if found else '?'}"

    return where


def diabetic_data(source: Path) -> Path:
    """The table of Diabetes 130-US in a folder or a zip file: a path that :mod:`scoehr.data.reading` reads, zipped or not."""
    if source.is_dir():
        found = [
            source / name
            for name in ("diabetic_data.csv", "diabetic_data.zip")
            if (source / name).is_file()
        ]
        if not found:
            raise InputError(
                f"{source}: has no diabetic_data.csv or diabetic_data.zip; copy it there"
            )
        source = found[0]
    return (
        reading.zipped(source, "diabetic_data.csv") if source.suffix.lower() == ".zip" else source
    )


# A user's own table ---------------------------------------------------------------------------------------------


def _table(database: Database, source: Path, digits: Digits) -> tuple[CodeMatrix, Account]:
    del database, digits
    return own.read(source)


# From rows to the matrix ----------------------------------------------------------------------------------------


Reader = Callable[[Database, Path, Digits], tuple[CodeMatrix, Account]]


def _counted(reader: Callable[[Database, Path, Digits], tuple[list[str], Account]]) -> Reader:
    """The reader of a hospital's tables as one of a matrix."""

    def read(database: Database, source: Path, digits: Digits) -> tuple[CodeMatrix, Account]:
        codes, account = reader(database, source, digits)
        return _matrix(database, codes), account

    return read


def _matrix(database: Database, codes: Sequence[str]) -> CodeMatrix:
    """Rows of ``diagnoses`` a patient and code; the table ``people`` (id) has the patients in the order of the rows."""
    database.execute(
        "create temp table people as select distinct patient, patient as id from admissions order by id"
    )
    patients = database.execute("select id from people order by rowid").fetchnumpy()["id"]
    found = database.execute(
        "select people.rowid::int as row, place from diagnoses join places using (raw) join people using (patient)"
    ).fetchnumpy()
    row, place = (np.asarray(found[name]) for name in ("row", "place"))
    shape = (len(patients), len(codes))
    counts = sparse.csr_array((np.ones(len(row), dtype=np.int64), (row, place)), shape=shape)
    titles = np.array([icd.title(code) for code in codes], dtype=str)
    return CodeMatrix(
        counts, np.asarray(patients, dtype=np.int64), np.array(codes, dtype=str), titles
    )


#: Hospitals: readers that leave their tables, and give the sorted codes and the account.
HOSPITALS = {
    "simulated": _mimic3,
    "mimic3": _mimic3,
    "mimic4": _mimic4,
    "diabetes130": _diabetes130,
}
READERS: dict[str, Reader] = {name: _counted(reader) for name, reader in HOSPITALS.items()} | {
    "table": _table
}
