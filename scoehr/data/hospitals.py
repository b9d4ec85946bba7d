"""Tables of hospitals: read, checked, and left as patients, visits and codes under the same names.

A reader checks the tables of one hospital and leaves two in DuckDB: ``admissions`` (patient, visit,
begin: what orders the visits of a patient) and ``diagnoses`` (patient, visit, raw: the code as it
is written, behind "10:" if it is of ICD-10). :func:`arrange` makes of them what all others read:

* ``patients`` (number, patient): all patients of the admissions, numbered from 0 by their ids
* ``visits`` (number, patient, visit, begin): patient by patient, those of a patient in time order
* ``codes`` (visit, place, n): how often a visit has the code at this place of the vocabulary

What a hospital has beside codes is read when asked for (:meth:`Tables.columns`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import pyarrow as pa
from scipy import sparse

from scoehr.data import cells, icd, kinds, reading
from scoehr.data.columns import Columns
from scoehr.data.kinds import Wish
from scoehr.data.reading import Database, Table
from scoehr.files import InputError

Digits = Literal["three", "full"]
Account = dict[str, Any]

#: Entries of an account that name codes, with how many rows each has: codes that took that of one
#: above them, codes without one in ICD-9, and codes finer than the list of ICD-9.
NAMED = ("codes_by_parent", "codes_unmapped", "codes_not_listed")

ARRANGED = """
create temp table patients as
    select row_number() over (order by patient) - 1 as number, patient
    from (select distinct patient from admissions);
create temp table visits as
    select row_number() over (order by patient, begin, visit) - 1 as number, patient, visit, begin
    from admissions order by number;
create temp table codes as
    select visit, place, count(*)::int as n from diagnoses join places using (raw) group by all
"""


class Beside(NamedTuple):
    """Queries for what is known beside codes: of patients (patient, …) and of visits (visit, …).

    ``said``: what some columns are, in place of what the rules would find. ``changed``: queries for
    how many visits have a value that could not be kept, by what the account says of them.
    """

    patients: str
    visits: str
    said: Mapping[str, Wish] = {}
    changed: Mapping[str, str] = {}


NOTHING = Beside("select patient from patients", "select visit from visits")


class Written(NamedTuple):
    """How a reader found the codes of ``diagnoses`` written, and ``beside``: how to read the rest.

    ``where`` names the file, column and row in which a raw code first stands. ``account`` has the
    reader's own entries. ``mapped``: some codes may be of ICD-10. ``lost_zeros``: as in
    :func:`scoehr.data.icd.read_icd9`.
    """

    where: Callable[[str], str]
    account: Account
    beside: Callable[[], Beside] = lambda: NOTHING
    mapped: bool = False
    lost_zeros: bool = False


Reader = Callable[[Database, Path], Written]


class Tables(NamedTuple):
    """A database with the tables ``patients``, ``visits`` and ``codes``.

    ``vocabulary`` holds the sorted codes, ``account`` what was read, dropped and kept.
    """

    database: Database
    vocabulary: np.ndarray
    account: Account
    beside: Callable[[], Beside]

    def columns(self, said: Mapping[str, Wish] | None) -> tuple[Columns, Columns, Account]:
        """What is known of each patient and of each visit beside codes, and what it was taken for.

        Both in the order of ``patients`` and ``visits``; ``said``: what columns are, in place of
        what the reader says or the rules find.
        """
        found = self.beside()
        wishes = {**found.said, **(said or {})}
        people = self._columns(found.patients, "patient", wishes)
        visits = self._columns(found.visits, "visit", wishes)
        kinds.check_names(said or {}, {"patient": people[1], "visit": visits[1]})
        account: Account = {"columns_of_patients": people[1], "columns_of_visits": visits[1]}
        account |= {name: int(self.column(query)[0]) for name, query in found.changed.items()}
        return people[0], visits[0], account

    def _columns(
        self, query: str, key: str, said: Mapping[str, Wish]
    ) -> tuple[Columns, dict[str, str]]:
        found = self.database.execute(
            f"select found.* from {key}s k left join ({query}) found on k.{key} = found.{key} "
            "order by number"
        )
        return kinds.infer(found.df().drop(columns=key), said)

    @property
    def titles(self) -> np.ndarray:
        """The name of each code, "" where unknown."""
        return np.array([icd.title(code) for code in self.vocabulary.tolist()], dtype=str)

    def column(self, query: str) -> np.ndarray:
        """The one column that a query gives."""
        return np.asarray(next(iter(self.database.execute(query).fetchnumpy().values())))

    def counts(self, query: str, shape: tuple[int, int]) -> sparse.csr_array:
        """The rows (row, column, count) that a query gives, as a sparse array."""
        found = self.database.execute(query).fetchnumpy().values()
        row, column, count = (np.asarray(values) for values in found)
        return sparse.csr_array((count, (row, column)), shape=shape)


def arrange(database: Database, source: Path, reader: Reader, digits: Digits) -> Tables:
    """Read the tables of a hospital with ``reader`` and leave them under the names that all share.

    Raises:
        InputError: A table cannot be used, a code is none, or no row has a code with one in ICD-9.
    """
    written = reader(database, source)
    rows = dict(
        database.execute(
            "select raw, count(*) from diagnoses where raw is not null "
            "group by raw order by min(rowid)"
        ).fetchall()
    )
    if not rows:
        raise InputError(
            f"{source}: has no code in any row of its diagnoses; give the table with its codes"
        )
    read = {raw: _read_code(raw, written) for raw in rows}
    found = {raw: _cut(code, digits) for raw, (code, _) in read.items() if code}
    if not found:
        some = reading.listed([raw.removeprefix("10:") for raw in rows])
        first = written.where(next(iter(rows)))
        raise InputError(f"{first}: no code ({some}) has one in ICD-9; give codes that do")
    vocabulary = np.array(sorted(set(found.values())), dtype=str)
    place = np.searchsorted(vocabulary, list(found.values())).astype(np.int32)
    database.register("places", pa.table({"raw": list(found), "place": place}))
    database.execute(ARRANGED)
    account = {"digits": digits, "admissions": reading.number_of_rows(database, "visits")}
    account |= written.account | _rows(database, rows, found, written.mapped) | _named(rows, read)
    return Tables(database, vocabulary, account, written.beside)


def _rows(database: Database, rows: dict[str, int], found: dict[str, str], mapped: bool) -> Account:
    """How many rows of ``diagnoses`` were read, dropped and kept."""
    read, kept = reading.number_of_rows(database, "diagnoses"), sum(rows[raw] for raw in found)
    dropped = {"no code": read - sum(rows.values())}
    if mapped:
        dropped["unmapped ICD-10"] = sum(rows.values()) - kept
    return {"rows_read": read, "rows_dropped": dropped, "rows_kept": kept}


def _named(rows: dict[str, int], read: dict[str, tuple[str | None, str]]) -> Account:
    """The entries of :data:`NAMED` that are not empty."""
    notes: dict[str, dict[str, int]] = {}
    for raw, (_, note) in sorted(read.items()):
        if note:
            notes.setdefault(note, {})[raw.removeprefix("10:")] = rows[raw]
    return notes


def _read_code(raw: str, written: Written) -> tuple[str | None, str]:
    """The full ICD-9 code of a raw one, or None, and where the account names it, if at all."""
    text = raw.removeprefix("10:")
    try:
        if cells.is_missing(text):
            raise ValueError("is not a code (it means that there is none); leave the cell empty")
        if text != raw:
            return _from_icd10(text)
        code = icd.read_icd9(text, lost_zeros=written.lost_zeros)
    except ValueError as error:
        raise InputError(f"{written.where(raw)}: {text!r} {error}") from None
    listed = icd.nearest_icd9(code)
    return listed, "" if listed == code else "codes_not_listed"


def _from_icd10(text: str) -> tuple[str | None, str]:
    if not icd.is_icd10(text):
        raise ValueError("is not an ICD-10 code; mend the code, or its version")
    (code,) = icd.to_icd9([text])
    if code is None:
        return None, "codes_unmapped"
    return code, "" if icd.is_mapped(text) else "codes_by_parent"


def _cut(code: str, digits: Digits) -> str:
    return icd.three_digit(code) if digits == "three" else code


# MIMIC ----------------------------------------------------------------------------------------


def mimic3(database: Database, source: Path) -> Written:
    """The tables of MIMIC-III, and of the simulated cohort."""
    path = reading.find(source, "DIAGNOSES_ICD")
    _admissions(database, source, str.upper)
    _diagnoses(database, path, str.upper, {"ICD9_CODE": "raw"})
    beside = partial(_beside, database, source, str.upper)
    return Written(_first_row(database, path, "ICD9_CODE"), {}, beside)


def mimic4(database: Database, source: Path) -> Written:
    """The tables of MIMIC-IV."""
    path = reading.find(source, "diagnoses_icd")
    _admissions(database, source, str.lower)
    table = _diagnoses(database, path, str.lower, {"icd_code": "raw", "icd_version": "version"})
    database.execute("update diagnoses set version = regexp_replace(version, '\\.0+$', '')")
    table.refuse_cells(
        "version",
        "version is null or version not in ('9', '10')",
        lambda value: f"{value or 'empty'!r} is neither 9 nor 10; restore the version",
    )
    database.execute("update diagnoses set raw = '10:' || raw where version = '10'")
    tenth = reading.number_of_rows(database, "diagnoses where version = '10'")
    ninth = reading.number_of_rows(database, "diagnoses") - tenth
    account = {"rows_icd9": ninth, "rows_icd10": tenth}
    beside = partial(_beside, database, source, str.lower)
    return Written(_first_row(database, path, "icd_code"), account, beside, mapped=True)


def _admissions(database: Database, folder: Path, case: Callable[[str], str]) -> None:
    """``admissions`` and, if the folder has PATIENTS, its dates, checked.

    ``case`` writes names as the release does.
    """
    path = reading.find(folder, case("admissions"))
    times = [name for name in ("dischtime", "deathtime") if name in reading.header(path)]
    ids = {case("subject_id"): "patient", case("hadm_id"): "visit"}
    dates = {case("admittime"): "begin"} | {case(name): name for name in times}
    table = reading.read(database, "admissions", path, ids | dates, whole=ids)
    table.refuse_repeats("visit")
    table.refuse_empty("begin", "date")
    table.convert("date", dates.values())
    people = reading.look_for(folder, case("patients"))
    if people:
        lives = [name for name in ("dob", "dod") if name in reading.header(people)]
        columns = {case("subject_id"): "patient"} | {case(name): name for name in lives}
        table = reading.read(database, "people", people, columns, whole=[case("subject_id")])
        table.refuse_repeats("patient")
        table.convert("date", lives)


def _diagnoses(
    database: Database, path: Path, case: Callable[[str], str], code: dict[str, str]
) -> Table:
    """``diagnoses``, checked against ``admissions``; ``code``: its columns of code and version."""
    ids = {case("subject_id"): "patient", case("hadm_id"): "visit"}
    optional = [name for name in ("row_id", "seq_num") if name in reading.header(path)]
    columns = ids | code | {case(name): name for name in optional}
    table = reading.read(database, "diagnoses", path, columns, whole=ids)
    remedy = "give tables of one release"
    table.refuse(
        "select rowid, visit from diagnoses anti join admissions using (visit)",
        lambda visit: f"admission {visit} is not in ADMISSIONS; {remedy}",
        "visit",
    )
    table.refuse(
        "select d.rowid, d.patient, visit from diagnoses d join admissions a using (visit) "
        "where a.patient <> d.patient",
        lambda patient, visit: (
            f"admission {visit} is not of patient {patient} in ADMISSIONS; {remedy}"
        ),
        "patient",
    )
    keys = {"row_id": ["row_id"], "seq_num": ["visit", "seq_num", "raw"]}
    for column in optional:
        table.refuse_pasted(keys[column])
    return table


#: What the columns of a stay are called here, in MIMIC's ADMISSIONS, and how they are read.
_STAY = {
    "admission_type": ("admission_type", "admission_type"),
    "admission_source": ("admission_location", "admission_location"),
    "nights": ("dischtime", "date_diff('day', begin, dischtime)"),
    "died": ("hospital_expire_flag", "if(hospital_expire_flag = 1, 'yes', 'no')"),
}
_MIMIC = {
    **{name: Wish(name, "number") for name in ("age", "days", "nights")},
    **{name: Wish(name, "category") for name in ("sex", "admission_type", "admission_source")},
    "died": Wish("died", "category", levels=("no", "yes")),
}
#: The age of all who are older, whose dates of birth MIMIC-III has moved 300 years back.
_OLDEST = 90
_PEOPLE = {
    "gender": "gender as sex",
    "dob": f"least({_OLDEST}, date_diff('year', dob, first) - "
    "if(strftime(dob, '%m%d') > strftime(first, '%m%d'), 1, 0)) as age",
    "anchor_age": "anchor_age + year(first) - anchor_year as age",
}


def _beside(database: Database, folder: Path, case: Callable[[str], str]) -> Beside:
    """Sex and age (years at the first admission), and of each stay type, source, nights and death.

    The days are those since the stay before ended, or began where no end is known; stays that
    overlap, as a few do, follow after 0 days.
    """
    path = reading.find(folder, case("admissions"))
    there = [name for name, (column, _) in _STAY.items() if column in reading.header(path)]
    found = [_STAY[name][0] for name in there]
    columns = {case("hadm_id"): "visit"} | {case(column): column for column in found}
    stays = reading.read(database, "stays", path, columns, whole=[case("hadm_id")])
    stays.convert("date", [column for column in found if column == "dischtime"])
    stays.convert("flag", [column for column in found if column == "hospital_expire_flag"])
    end = "coalesce(dischtime, begin)" if "dischtime" in found else "begin"
    before = f"lag({end}) over (partition by patient order by number)"
    days = f"if({before} > begin, 0, date_diff('day', {before}, begin)) as days"
    chosen = ", ".join([days, *(f"{_STAY[name][1]} as {name}" for name in there)])
    visits = f"select visit, {chosen} from visits join stays using (visit)"
    before_end = f"(select {before} > begin as early from visits join stays using (visit))"
    changed = {
        "visits_before_the_last_ended": f"select count(*) from {before_end} where early",
    }
    return Beside(_people(database, folder, case), visits, _MIMIC, changed)


def _people(database: Database, folder: Path, case: Callable[[str], str]) -> str:
    """The query for sex and age; of the ids alone where there is no table of patients."""
    path = reading.look_for(folder, case("patients"))
    if path is None:
        return "select patient from patients"
    there = [name for name in _PEOPLE if name in reading.header(path)]
    years = ["anchor_year"] if "anchor_age" in there else []
    columns = {case("subject_id"): "patient"} | {case(name): name for name in [*there, *years]}
    table = reading.read(database, "lives", path, columns, whole=[case("subject_id")])
    table.convert("date", [name for name in there if name == "dob"])
    table.convert("whole", [name for name in ("anchor_age", *years) if years])
    chosen = "".join(f", {_PEOPLE[name]}" for name in there)
    first = "select patient, min(begin) as first from visits group by patient"
    return f"select patient{chosen} from lives join ({first}) using (patient)"


def _first_row(database: Database, path: Path, column: str) -> Callable[[str], str]:
    """Where a raw code first stands, looked for when asked."""
    query = "select min(rowid) + 1 from diagnoses where raw = ?"

    def where(raw: str) -> str:
        found = database.execute(query, [raw]).fetchone()
        return f"{path}, column {column}, row {found[0] if found else '?'}"

    return where


# Diabetes 130-US ------------------------------------------------------------------------------


def diabetes130(database: Database, source: Path) -> Written:
    """The one table of Diabetes 130-US (folder, zip or csv).

    Encounters come in the order of their ids, the only hint of time there is.
    """
    ids = {"patient_nbr": "patient", "encounter_id": "visit"}
    columns = {"diag_1": "d1", "diag_2": "d2", "diag_3": "d3"}
    path = _diabetic_data(source)
    table = reading.read(database, "encounters", path, ids | columns, whole=ids)
    table.refuse_repeats("visit")
    database.execute(
        "create temp table admissions as select patient, visit, visit as begin from encounters; "
        "create temp table diagnoses as "
        "select patient, visit, nullif(unnest([d1, d2, d3]), '?') as raw, "
        "unnest([1, 2, 3]) as field, rowid + 1 as row from encounters order by row, field"
    )
    first = "select field, row from diagnoses where raw = ? order by rowid"

    def where(raw: str) -> str:
        found = database.execute(first, [raw]).fetchone()
        return f"{source}, column diag_{found[0]}, row {found[1]}" if found else str(source)

    return Written(where, {}, partial(_beside_diabetes, database, path), lost_zeros=True)


#: What the rules would not find in Diabetes 130-US: results in the order of their meaning.
_DIABETES = [
    Wish("max_glu_serum", "ordered", levels=("Norm", ">200", ">300")),
    Wish("A1Cresult", "ordered", levels=("Norm", ">7", ">8")),
    Wish("num_procedures", "number"),
]
#: Its columns that are of the patient (the first value that is known counts), and those that are
#: ids or codes.
_OF_PATIENT = ("race", "gender")
_NOT_BESIDE = ("encounter_id", "patient_nbr", "diag_1", "diag_2", "diag_3")


def _beside_diabetes(database: Database, path: Path) -> Beside:
    """All columns of Diabetes 130-US but ids and codes. They have no dates."""
    names = reading.header(path, casefold=False)
    others = {name: f'"{name}"' for name in names if name.lower() not in _NOT_BESIDE}
    columns = {"encounter_id": "visit"} | others
    reading.read(database, "stays", path, columns, whole=["encounter_id"])
    people = [name for name in _OF_PATIENT if name in others]
    first = "".join(f", arg_min(nullif({name}, '?'), number) as {name}" for name in people)
    beside = f"exclude ({', '.join(people)})" if people else ""
    firsts = f"select patient{first} from stays join visits using (visit) group by patient"
    changed = {
        f"visits_of_another_{name}": f"select count(*) from stays s join visits using (visit) "
        f"join ({firsts}) f using (patient) where nullif(s.{name}, '?') <> f.{name}"
        for name in people
    }
    shown = f"select * {beside} from stays"
    return Beside(firsts, shown, {wish.name: wish for wish in _DIABETES}, changed)


def _diabetic_data(source: Path) -> Path:
    """The path of the table in a folder or a zip file, as :mod:`scoehr.data.reading` reads it."""
    if source.is_dir():
        names = ("diabetic_data.csv", "diabetic_data.zip")
        found = [source / name for name in names if (source / name).is_file()]
        if not found:
            raise InputError(f"{source}: has no {' or '.join(names)}; copy it there")
        source = found[0]
    zipped = source.suffix.lower() == ".zip"
    return reading.zipped(source, "diabetic_data.csv") if zipped else source
