"""Whole patients as a folder of plain tables: those of a user, and those written here.

* ``patients``: ``patient_id`` and a column for each thing that is known; a row a patient
* ``visits``: ``patient_id``, ``visit`` (a number or a date, by which visits are ordered) and a
  column for each thing that is known; a row a visit
* ``codes``: ``patient_id``, ``code`` and perhaps ``visit``, ``count``, ``title``, and ``system``,
  where there are several vocabularies; a row an occurrence, or a cell with its count

Each is a .parquet, .csv or .csv.gz; one is enough. Columns are what the rules of
:mod:`scoehr.data.kinds` find, or a person says. Tables written here are Parquet whose metadata hold
the kinds and levels of the columns, and the vocabulary.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from scipy import sparse

from scoehr.data import cells, interchange, kinds, own, reading
from scoehr.data.columns import DAYS, KEYS, Column, Columns
from scoehr.data.interchange import AGAIN
from scoehr.data.kinds import Wish
from scoehr.files import InputError, about, replacing

if TYPE_CHECKING:
    from scoehr.data.patients import Patients

Account = dict[str, Any]
TABLES = ("patients", "visits", "codes")
#: What a folder that is written here holds.
FILES = tuple(f"{name}.parquet" for name in TABLES)
METADATA_KEY = b"scoehr.table"


# Out ------------------------------------------------------------------------------------------


def write(patients: Patients, folder: str | Path) -> None:
    """Write the three tables, all of them Parquet."""
    rows, columns = patients.counts.tocoo().coords
    owner, order = patients.patients[patients.owner], patients.order.astype(np.int32)
    codes = {"code": interchange.code_column(columns, patients.codes)}
    codes |= {"count": patients.counts.data}
    if patients.systems.any():
        codes["system"] = patients.systems[columns]
    words = {name: getattr(patients, name).tolist() for name in ("codes", "titles", "systems")}
    with replacing(folder) as scratch:
        scratch.mkdir()
        _write(scratch, "patients", {"patient_id": patients.patients}, patients.columns)
        _write(scratch, "visits", {"patient_id": owner, "visit": order}, patients.visit_columns)
        keys = {"patient_id": owner[rows], "visit": order[rows]}
        _write(scratch, "codes", keys | codes, Columns.none(len(rows)), words)


def _write(
    folder: Path, name: str, keys: Mapping[str, Any], columns: Columns, facts: Any = None
) -> None:
    found = {key: pa.array(values) for key, values in keys.items()}
    found |= {key: pa.Array.from_pandas(values) for key, values in columns.to_frame().items()}
    said = facts or {"columns": [asdict(column) for column in columns.columns]}
    schema = {METADATA_KEY: json.dumps(said, ensure_ascii=False).encode()}
    table = pa.table(found).replace_schema_metadata(schema)
    pq.write_table(table, folder / f"{name}.parquet", compression="zstd")


# In -------------------------------------------------------------------------------------------


class Sheet(NamedTuple):
    """One table, its cells as texts.

    ``beside``: the columns beside the keys, as they are written; ``facts``: what the metadata of a
    table written here say; ``counts``: of the rows of codes, and ``account``: of these.
    """

    path: Path
    columns: dict[str, own.Column]
    beside: list[str]
    facts: dict[str, Any]
    counts: np.ndarray
    account: Account

    @classmethod
    def read(cls, path: Path, name: str) -> Sheet:
        """A file as the table of this name."""
        names, facts = own.named_columns(path), _facts(path)
        beside = [written for key, written in names.items() if key not in KEYS]
        if name == "codes":
            columns, counts, account = own.long(path, names, ("visit", "title", "system"))
            return cls(path, columns, beside, facts, counts, account)
        if name == "visits" and "visit" not in names:
            raise InputError(
                f"{path}: has no column visit (it has {reading.listed(names)}); "
                "number the visits of each patient in it"
            )
        return cls(path, own.columns(path, list(names)), beside, facts, np.empty(0), {})

    def among(self, ids: np.ndarray) -> np.ndarray:
        """Which of these patients each row is of, -1 where of none."""
        return self.columns["patient_id"].among(ids)

    def refuse(self, wrong: np.ndarray, what: str) -> None:
        """InputError at the first row that is wrong; ``what`` says why, of its patient."""
        patient = self.columns["patient_id"]
        cells.refuse(
            self.path, wrong, lambda row: f"patient {patient.words[patient.place[row]]} {what}"
        )

    def typed(self, said: Mapping[str, Wish], order: np.ndarray) -> tuple[Columns, dict[str, str]]:
        """The columns beside the keys, rows in this order, and what each was taken for."""
        texts = {name: self.columns[name.casefold()].texts()[order] for name in self.beside}
        frame = pd.DataFrame(texts, index=pd.RangeIndex(len(order)))
        known = {column.name: column for column in self.facts.get("columns", ())}
        with about(self.path):
            if known and not said.keys() & known.keys():
                account = {name: kinds.described(column) for name, column in known.items()}
                return Columns.from_frame(frame, known), account
            wishes = {DAYS: Wish(DAYS, "number")} if "visit" in self.columns else {}
            wishes |= {name: Wish.of(column) for name, column in known.items()}
            return kinds.infer(frame, {**wishes, **said})


def _facts(path: Path) -> dict[str, Any]:
    """The metadata of a table written here, checked; {} for those of others."""
    raw = reading.metadata(path).get(METADATA_KEY)
    if raw is None:
        return {}
    damaged = InputError(f"{path}: its metadata are damaged; {AGAIN}")
    try:
        found = json.loads(raw)
        if "columns" in found:
            return {"columns": [Column(**each) for each in found["columns"]]}
        words = {name: found[name] for name in ("codes", *_WORDS)}
    except (ValueError, TypeError, KeyError, RecursionError):
        raise damaged from None
    sizes = {len(each) if isinstance(each, list) else None for each in words.values()}
    if len(sizes) > 1 or None in sizes:
        raise damaged
    return words


def _file(folder: Path, name: str) -> Path | None:
    """The table of this name in a folder, None if there is none."""
    endings = [folder / f"{name}{ending}" for ending in own.ENDINGS]
    found = [path for path in endings if path.is_file()]
    if len(found) > 1:
        raise InputError(f"{folder}: has {found[0].name} and {found[1].name}; keep one")
    return found[0] if found else None


def read(folder: Path, said: Mapping[str, Wish] | None = None) -> tuple[dict[str, Any], Account]:
    """What :class:`~scoehr.data.patients.Patients` is made of, by name, and the account.

    Args:
        folder: holds at least one of the tables
        said: what columns are, by name, in place of what the rules find

    Raises:
        InputError: No table is there, one cannot be used, or they do not fit each other.
    """
    files = {name: path for name in TABLES if (path := _file(folder, name))}
    if not files:
        raise InputError(
            f"{folder}: has no patients, visits or codes (.parquet, .csv or .csv.gz); "
            "give a folder with one of these tables"
        )
    found = {name: Sheet.read(path, name) for name, path in files.items()}
    parts, account = _parts(found, said or {})
    return parts, account | {"form": "folder"}


def named_columns(path: Path) -> list[str]:
    """The columns beside the keys that a folder's tables of patients and visits have, as written.

    A file has none.
    """
    files = [_file(path, name) for name in ("patients", "visits")] if path.is_dir() else []
    names = [own.named_columns(file) for file in files if file]
    return [written for each in names for name, written in each.items() if name not in KEYS]


def long(path: Path) -> tuple[dict[str, Any], Account]:
    """The same as :func:`read` of a table of codes and visits alone, a file of any name."""
    return _parts({"codes": Sheet.read(path, "codes")}, {})


def _parts(found: Mapping[str, Sheet], said: Mapping[str, Wish]) -> tuple[dict[str, Any], Account]:
    people, stays, coded = map(found.get, TABLES)
    ids, texts = _ids(people, list(found.values()))
    visits = _Visits.of(stays, coded, texts)
    parts: dict[str, Any] = {"patients": ids, "starts": visits.starts}
    words, account = _codes(coded, visits, texts)
    columns = Columns.none(int(visits.starts[-1]))
    if people:
        order = np.argsort(people.among(texts))
        parts["columns"], account["columns_of_patients"] = people.typed(said, order)
    if stays:
        columns, account["columns_of_visits"] = stays.typed(said, visits.order)
    parts["visit_columns"] = visits.with_days(columns)
    names = {"patient": people.beside if people else (), "visit": stays.beside if stays else ()}
    kinds.check_names(said, names)
    return parts | words, {name: value for name, value in account.items() if value != {}}


def _ids(people: Sheet | None, sheets: Sequence[Sheet]) -> tuple[np.ndarray, np.ndarray]:
    """The patients' ids, and their texts in this order: sorted, or as a table of ours has them."""
    patients = [sheet.columns["patient_id"] for sheet in ([people] if people else sheets)]
    words = list(dict.fromkeys(word for patient in patients for word in patient.words))
    if people:
        people.refuse(pd.Series(patients[0].place).duplicated().to_numpy(), "has a row already")
    ids, texts = own.ordered_ids(words)
    if people and people.facts:
        whole = pa.types.is_integer(reading.schema(people.path).field("patient_id").type)
        texts = np.array(words, dtype=object)
        ids = texts.astype(np.int64 if whole else str)
    for sheet in sheets:
        sheet.refuse(sheet.among(texts) < 0, "has no row in the table of patients; add it")
    return ids, texts


class _Visits(NamedTuple):
    """All visits, patient by patient.

    ``order``: the row of the table of visits that each is; ``keys``: patient and rank of each in
    one number, rising; ``rank``: of each text of a visit; ``days``: since the patient's visit
    before, where they have dates.
    """

    starts: np.ndarray
    order: np.ndarray
    keys: np.ndarray
    rank: dict[str, int]
    days: np.ndarray | None

    @classmethod
    def of(cls, stays: Sheet | None, coded: Sheet | None, patients: np.ndarray) -> _Visits:
        """From the table of visits, else of codes; one visit a patient where neither has any."""
        sheet = stays or (coded if coded and "visit" in coded.columns else None)
        if sheet is None:
            one = np.arange(len(patients))
            return cls(np.arange(len(patients) + 1), one, one, {}, None)
        visit = sheet.columns["visit"]
        ranks, dates = own.ranks(visit)
        many = int(ranks.max(initial=0)) + 1
        rows = sheet.among(patients) * many + ranks[visit.place]
        if stays is not None:
            again = pd.Series(rows).duplicated().to_numpy()
            stays.refuse(again, "has a row for this visit already; give each visit one")
        keys, order = np.unique(rows, return_index=True)
        starts = np.searchsorted(keys // many, np.arange(len(patients) + 1))
        rank = dict(zip(visit.words, ranks.tolist(), strict=True))
        if dates is None:
            return cls(starts, order, keys, rank, None)
        first = np.isin(np.arange(len(keys)), starts[:-1])
        days = np.diff(dates[visit.place][order], prepend=np.nan)
        return cls(starts, order, keys, rank, np.where(first, np.nan, days))

    def with_days(self, columns: Columns) -> Columns:
        """The columns, and the days between visits first where their dates say so."""
        if self.days is None or DAYS in columns.names:
            return columns
        return Columns(
            (Column(DAYS, "number"), *columns.columns), (self.days, *columns.values), len(columns)
        )

    def rows(self, coded: Sheet, patient: np.ndarray) -> np.ndarray:
        """The visit of each row of the table of codes."""
        if "visit" not in coded.columns:
            if self.rank:
                what = "has no column visit, as the table of visits has; add it"
                raise InputError(f"{coded.path}: {what}")
            return patient
        visit = coded.columns["visit"]
        many = max(self.rank.values(), default=0) + 1
        ranks = np.array([self.rank.get(word, -1) for word in visit.words], dtype=np.int64)
        keys = patient * many + ranks[visit.place]
        found = np.searchsorted(self.keys, keys)
        wrong = (ranks[visit.place] < 0) | (np.append(self.keys, -1)[found] != keys)
        coded.refuse(wrong, "has no such visit in the table of visits; add it")
        return found


def _codes(
    coded: Sheet | None, visits: _Visits, patients: np.ndarray
) -> tuple[dict[str, Any], Account]:
    """Counts, codes, titles and systems of the table of codes."""
    many = int(visits.starts[-1])
    if coded is None or not len(coded.counts):
        facts = coded.facts if coded else {}
        words = {name: np.array(facts.get(name, []), dtype=str) for name in ("codes", *_WORDS)}
        shape = (many, len(words["codes"]))
        return {"counts": sparse.csr_array(shape, dtype=np.int32)} | words, {}
    code = coded.columns["code"]
    rows = visits.rows(coded, coded.among(patients))
    known = coded.facts.get("codes") or sorted(code.words)
    column, kept = code.among(known), code.place >= 0
    if (column[kept] < 0).any():
        raise InputError(f"{coded.path}: a code is not among its metadata; {AGAIN}")
    entries = (coded.counts[kept], (rows[kept], column[kept]))
    found = {"counts": sparse.csr_array(entries, shape=(many, len(known)))}
    texts = {name: coded.facts.get(name) or _of_codes(coded, name[:-1], known) for name in _WORDS}
    words = {name: np.array(text, dtype=str) for name, text in (texts | {"codes": known}).items()}
    return found | words, dict(coded.account)


_WORDS = ("titles", "systems")


def _of_codes(coded: Sheet, name: str, known: Sequence[str]) -> list[str]:
    """The title or the system of each code: "" where unknown, and never two."""
    if name not in coded.columns:
        return [""] * len(known)
    pairs = pd.DataFrame({key: coded.columns[key].texts() for key in ("code", name)})
    first = pairs.groupby("code")[name].transform("first")
    wrong = (pairs[name].notna() & first.notna() & (pairs[name] != first)).to_numpy()
    coded.columns[name].refuse(
        wrong,
        lambda row: (
            f"code {pairs['code'][row]} stands under {first[row]!r} and {pairs[name][row]!r}; "
            f"give each code one {name}, or write the {name} in front of it"
        ),
    )
    texts = dict(zip(pairs["code"], first.where(first.notna(), ""), strict=True))
    return [texts.get(code, "") for code in known]
