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
    counts = patients.counts
    rows = np.repeat(np.arange(counts.shape[0]), np.diff(counts.indptr))
    owner, order = patients.patients[patients.owner], patients.order.astype(np.int32)
    codes = {"code": interchange.code_column(counts.indices, patients.codes), "count": counts.data}
    if patients.systems.any():
        codes["system"] = patients.systems[counts.indices]
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

    ``names``: as they are written, by their small letters; ``facts``: what the metadata of a table
    written here say.
    """

    path: Path
    names: dict[str, str]
    texts: dict[str, own.Column]
    facts: dict[str, Any]

    @classmethod
    def read(cls, folder: Path, name: str) -> Sheet | None:
        """The table of this name, its keys checked; None if there is none."""
        endings = [folder / f"{name}{ending}" for ending in own.ENDINGS]
        found = [path for path in endings if path.is_file()]
        if len(found) > 1:
            raise InputError(f"{folder}: has {found[0].name} and {found[1].name}; keep one")
        return cls.of(found[0], name) if found else None

    @classmethod
    def of(cls, path: Path, name: str) -> Sheet:
        """A file as the table of this name."""
        names = own.named_columns(path)
        if name == "codes":
            names = [each for each in names if each in (*KEYS, *_OF_CODES)]
        if name == "visits" and "visit" not in names:
            raise InputError(
                f"{path}: has no column visit (it has {reading.listed(names)}); "
                "number the visits of each patient in it"
            )
        texts, facts = own.texts(path, names), _facts(path)
        if not len(texts["patient_id"].place) and not facts:
            raise InputError(f"{path}: is empty but for its header; give the whole table")
        written = {each.lower(): each for each in reading.header(path, casefold=False)}
        written = {each: written[each] for each in names}
        sheet = cls(path, written, texts, facts)
        for key in [key for key in KEYS if key in names]:
            own.refuse_missing(path, key, sheet.texts[key], f"give every row a {key}")
            own.refuse_faults(path, key, sheet.texts[key], key)
        return sheet

    @property
    def patients(self) -> np.ndarray:
        """The patient's id in each row, as text."""
        return self.column("patient_id")

    def among(self, places: pd.Index) -> np.ndarray:
        """Which of these patients each row is of, -1 where of none."""
        found = self.texts["patient_id"]
        return places.get_indexer(pd.Index(found.words, dtype=object))[found.place]

    def column(self, name: str) -> np.ndarray:
        """The cells of a column as texts, None where missing."""
        found = self.texts[name]
        return np.array([*found.words, None], dtype=object)[found.place]

    def refuse(self, wrong: np.ndarray, what: str) -> None:
        """InputError at the first row that is wrong; ``what`` says why, of its {patient}."""
        own.refuse(
            self.path, "", wrong, lambda row: what.format(patient=f"patient {self.patients[row]}")
        )

    def columns(
        self, said: Mapping[str, Wish], order: np.ndarray
    ) -> tuple[Columns, dict[str, str]]:
        """The columns beside the keys, rows in this order, and what each was taken for."""
        frame = pd.DataFrame({name: self.column(name.lower())[order] for name in self.beside})
        frame = frame.set_axis(pd.RangeIndex(len(order)))
        known = {column.name: column for column in self.facts.get("columns", ())}
        with about(self.path):
            if known and not said.keys() & known.keys():
                account = {name: kinds.described(column) for name, column in known.items()}
                return Columns.from_frame(frame, known), account
            wishes = {name: Wish.of(column) for name, column in known.items()}
            return kinds.infer(frame, {**wishes, **said})

    @property
    def beside(self) -> list[str]:
        """The columns beside the keys, as they are written."""
        return [written for name, written in self.names.items() if name not in KEYS]


def _facts(path: Path) -> dict[str, Any]:
    """The metadata of a table written here, checked; {} for those of others."""
    if not own.is_ours(path, METADATA_KEY):
        return {}
    damaged = InputError(f"{path}: its metadata are damaged; {AGAIN}")
    try:
        found = json.loads(reading.schema(path).metadata[METADATA_KEY])
        if "columns" in found:
            return {"columns": [Column(**each) for each in found["columns"]]}
        words = [found[name] for name in ("codes", "titles", "systems")]
    except (ValueError, TypeError, KeyError, RecursionError):
        raise damaged from None
    if not all(isinstance(each, list) and len(each) == len(words[0]) for each in words):
        raise damaged
    return {"codes": words[0], "titles": words[1], "systems": words[2]}


def read(folder: Path, said: Mapping[str, Wish] | None = None) -> tuple[dict[str, Any], Account]:
    """What :class:`~scoehr.data.patients.Patients` is made of, by name, and the account.

    Args:
        folder: holds at least one of the tables
        said: what columns are, by name, in place of what the rules find

    Raises:
        InputError: No table is there, one cannot be used, or they do not fit each other.
    """
    found = {name: Sheet.read(folder, name) for name in TABLES}
    if not any(found.values()):
        raise InputError(
            f"{folder}: has no patients, visits or codes (.parquet, .csv or .csv.gz); "
            "give a folder with one of these tables"
        )
    parts, account = _parts(found, said or {})
    return parts, account | {"form": "folder"}


def named_columns(folder: Path) -> list[str]:
    """The columns beside the keys of all tables, as they are written."""
    sheets = [Sheet.read(folder, name) for name in ("patients", "visits")]
    return [name for sheet in sheets if sheet for name in sheet.beside]


def long(path: Path) -> tuple[dict[str, Any], Account]:
    """The same of a table of codes and visits alone, a file of any name."""
    return _parts({"codes": Sheet.of(path, "codes")}, {})


def _parts(
    found: Mapping[str, Sheet | None], said: Mapping[str, Wish]
) -> tuple[dict[str, Any], Account]:
    people, stays, coded = map(found.get, TABLES)
    ids, places = _ids(people, [sheet for sheet in found.values() if sheet])
    visits = _Visits.of(stays, coded, places)
    parts: dict[str, Any] = {"patients": ids, "starts": visits.starts}
    words, account = _codes(coded, visits, places)
    columns = Columns.none(int(visits.starts[-1]))
    if people:
        order = np.argsort(people.among(places))
        parts["columns"], account["columns_of_patients"] = people.columns(said, order)
    if stays:
        days = {DAYS: Wish(DAYS, "number")}
        columns, account["columns_of_visits"] = stays.columns({**days, **said}, visits.order)
    parts["visit_columns"] = visits.with_days(columns)
    names = {"patient": people.beside if people else (), "visit": stays.beside if stays else ()}
    kinds.check_names(said, names)
    return parts | words, {name: value for name, value in account.items() if value != {}}


def _ids(people: Sheet | None, sheets: Sequence[Sheet]) -> tuple[np.ndarray, pd.Index]:
    """The patients' ids, and their texts in this order: sorted, or as a table of ours has them."""
    if people is None:
        words = sorted({word for sheet in sheets for word in sheet.texts["patient_id"].words})
    else:
        words = people.patients.tolist()
        people.refuse(pd.Series(words).duplicated().to_numpy(), "{patient} has a row already")
    whole = all(cells.is_whole(word) for word in words)
    ours = people is not None and bool(people.facts)
    if people is not None and ours:
        whole = pa.types.is_integer(reading.schema(people.path).field("patient_id").type)
    ids = np.array([int(word) for word in words] if whole else words, dtype=None if words else int)
    order = np.arange(len(ids)) if ours else np.argsort(ids, kind="stable")
    places = pd.Index(np.array(words, dtype=object)[order])
    for sheet in sheets:
        sheet.refuse(
            sheet.among(places) < 0, "{patient} has no row in the table of patients; add it"
        )
    return ids[order], places


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
    def of(cls, stays: Sheet | None, coded: Sheet | None, places: pd.Index) -> _Visits:
        """From the table of visits, else of codes; one visit a patient where neither has any."""
        sheet = stays or (coded if coded and "visit" in coded.texts else None)
        if sheet is None:
            one = np.arange(len(places))
            return cls(np.arange(len(places) + 1), one, one, {}, None)
        visit = sheet.texts["visit"]
        ranks, dates = own.ranks(sheet.path, visit)
        many = int(ranks.max(initial=0)) + 1
        rows = sheet.among(places) * many + ranks[visit.place]
        if stays is not None:
            again = pd.Series(rows).duplicated().to_numpy()
            stays.refuse(again, "{patient} has a row for this visit already; give each visit one")
        keys, order = np.unique(rows, return_index=True)
        starts = np.searchsorted(keys // many, np.arange(len(places) + 1))
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
        if "visit" not in coded.texts:
            if self.rank:
                what = "has no column visit, as the table of visits has; add it"
                raise InputError(f"{coded.path}: {what}")
            return patient
        visit = coded.texts["visit"]
        many = max(self.rank.values(), default=0) + 1
        ranks = np.array([self.rank.get(word, -1) for word in visit.words], dtype=np.int64)
        keys = patient * many + ranks[visit.place]
        found = np.searchsorted(self.keys, keys)
        wrong = (ranks[visit.place] < 0) | (np.append(self.keys, -1)[found] != keys)
        coded.refuse(wrong, "{patient} has no such visit in the table of visits; add it")
        return found


def _codes(
    coded: Sheet | None, visits: _Visits, places: pd.Index
) -> tuple[dict[str, Any], Account]:
    """Counts, codes, titles and systems of the table of codes."""
    many = int(visits.starts[-1])
    if coded is None or not len(coded.among(places)):
        facts = coded.facts if coded else {}
        words = {name: np.array(facts.get(name, []), dtype=str) for name in ("codes", *_WORDS)}
        shape = (many, len(words["codes"]))
        return {"counts": sparse.csr_array(shape, dtype=np.int32)} | words, {}
    names = own.named_columns(coded.path)
    columns, counts, account = own.long(coded.path, names, visit="visit" in names)
    code = columns["code"]
    rows = visits.rows(coded, coded.among(places))
    known = coded.facts.get("codes") or sorted(code.words)
    column = pd.Index(known, dtype=object).get_indexer(pd.Index(code.words, dtype=object))
    if (column < 0).any():
        raise InputError(f"{coded.path}: a code is not among its metadata; {AGAIN}")
    kept = code.place >= 0
    entries = (counts[kept], (rows[kept], column[code.place[kept]]))
    found = {"counts": sparse.csr_array(entries, shape=(many, len(known)))}
    texts = {name: coded.facts.get(name) or _of_codes(coded, name[:-1], known) for name in _WORDS}
    words = {name: np.array(text, dtype=str) for name, text in (texts | {"codes": known}).items()}
    return found | words, account


_WORDS = ("titles", "systems")
_OF_CODES = ("code", "count", "title", "system")


def _of_codes(coded: Sheet, name: str, known: Sequence[str]) -> list[str]:
    """The title or the system of each code: "" where unknown, and never two."""
    if name not in coded.texts:
        return [""] * len(known)
    pairs = pd.DataFrame({"code": coded.column("code"), "text": coded.column(name)})
    first = pairs.groupby("code")["text"].transform("first")
    wrong = (pairs["text"].notna() & first.notna() & (pairs["text"] != first)).to_numpy()
    own.refuse(
        coded.path,
        name,
        wrong,
        lambda row: (
            f"code {pairs['code'][row]} stands under {first[row]!r} and {pairs['text'][row]!r}; "
            f"give each code one {name}, or write the {name} in front of it"
        ),
    )
    texts = dict(zip(pairs["code"], first.where(first.notna(), ""), strict=True))
    return [texts.get(code, "") for code in known]
