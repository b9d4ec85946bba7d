"""ICU stays from MIMIC-III (files or a PostgreSQL server) and from the Challenge 2012, in one form.

DuckDB reads the files as they are, streams them, and keeps to a memory limit, so the 330 million
chart events of the full release need no server. Values are hourly means in the units of
``features.csv``; implausible ones are dropped.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from companions.mortality_attack import features, queries
from companions.mortality_attack.queries import HOURS
from scoehr.data import reading
from scoehr.files import InputError, replacing, user_path

Kind = Literal["simulated", "physionet2012", "mimic3"]
#: ICU types of the Challenge 2012, and the care units of MIMIC-III that they are.
UNITS = {"CCU": 1, "CSRU": 2, "MICU": 3, "SICU": 4, "TSICU": 4}
#: Ages above are shifted to 300 years for privacy in MIMIC-III, or cut to this in the Challenge.
OLDEST = 90
#: A temperature below this is an error of the Challenge's files; heights in cm.
COLDEST, HEIGHTS = 20, (120, 230)
#: DuckDB's memory, of which the full release needs a part.
MEMORY = "2GB"
RECORD = re.compile(r"(\d+)\.txt(\.gz)?", re.IGNORECASE)
TIME = re.compile(r"\d+:\d\d(:\d\d)?")
SET = re.compile(r"set-\w+\.(parquet|csv)(\.gz)?", re.IGNORECASE)


@dataclass(frozen=True)
class Stays:
    """ICU stays, a row each, and their hourly measurements in long form.

    ``ids``, ``patients``, ``died`` have the shape ``(n,)``, ``static`` ``(n, 7)`` by
    :data:`features.STATIC`, NaN where unknown. ``events`` are equally long columns: ``stay`` (place
    in ``ids``), ``hour`` since ICU admission (from 0; others are outside the window), ``feature``
    (place in :func:`features.table`), ``value`` (hourly mean). ``severity``: scores that come
    with the outcomes, by name, each ``(n,)``, NaN where unknown.
    """

    kind: Kind
    ids: np.ndarray
    patients: np.ndarray
    died: np.ndarray
    static: np.ndarray
    events: dict[str, np.ndarray]
    account: dict[str, Any]
    severity: dict[str, np.ndarray] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def available(self) -> np.ndarray:
        """Which features any stay has inside the window, ``(F,)``."""
        inside = (self.events["hour"] >= 0) & (self.events["hour"] < HOURS)
        return np.bincount(self.events["feature"][inside], minlength=len(features.table())) > 0

    def take(self, rows: np.ndarray) -> Stays:
        """The stays at these places."""
        rows = np.asarray(rows)
        place = np.full(len(self), -1)
        place[rows] = np.arange(len(rows))
        new = place[self.events["stay"]]
        events = {name: column[new >= 0] for name, column in self.events.items()}
        events["stay"] = new[new >= 0].astype(np.int32)
        severity = {name: column[rows] for name, column in self.severity.items()}
        return replace(self, ids=self.ids[rows], patients=self.patients[rows], died=self.died[rows],
                       static=self.static[rows], events=events, severity=severity)  # fmt: skip

    def window(self) -> tuple[np.ndarray, np.ndarray]:
        """Values and where they were measured, both ``(n, 48, F)``.

        Nothing of another hour is in them.
        """
        values = np.zeros((len(self), HOURS, len(features.table())), np.float32)
        mask = np.zeros(values.shape, bool)
        inside = (self.events["hour"] >= 0) & (self.events["hour"] < HOURS)
        where = tuple(self.events[name][inside] for name in ("stay", "hour", "feature"))
        values[where], mask[where] = self.events["value"][inside], True
        return values, mask

    def write(self, folder: Path) -> None:
        """Two Parquet files, ``stays`` and ``events``, all or nothing."""
        with replacing(folder) as scratch:
            scratch.mkdir()
            frame = pd.DataFrame(self.static, columns=list(features.STATIC))
            frame.insert(0, "stay", self.ids)
            frame.insert(1, "patient", self.patients)
            frame.insert(2, "died", self.died)
            frame.to_parquet(scratch / "stays.parquet", index=False)
            named = pa.DictionaryArray.from_arrays(
                self.events["feature"].astype(np.int32), features.names()
            )
            columns = {
                "stay": self.ids[self.events["stay"]],
                "hour": self.events["hour"],
                "feature": named,
            }
            pq.write_table(
                pa.table(columns | {"value": self.events["value"]}), scratch / "events.parquet"
            )


def load(source: str, outcomes: str | Path | None = None) -> Stays:
    """Stays of a source.

    Args:
        source: the folder of MIMIC-III's tables, ``postgresql://…`` of a server that has them, or
            a set of the Challenge 2012: the folder of its text files, or a Parquet or CSV file
            ``record_id, minutes, parameter, value``.
        outcomes: the outcomes of a set of the Challenge, found beside the set if it lies there.

    Raises:
        InputError: the source is none of these, or a table of it cannot be used.
    """
    if "://" in source:
        return _stays_of_mimic(*_from_server(source))
    path = user_path(source)
    if not path.exists():
        raise InputError(f"{path}: no such file or folder; check --source")
    if path.is_dir() and reading.look_for(path, "CHARTEVENTS"):
        return _stays_of_mimic(*_from_files(path))
    return _challenge(path, Path(outcomes) if outcomes else None)


# MIMIC-III ------------------------------------------------------------------------------------

#: Columns of the tables that the queries use, with their forms (of
#: :data:`scoehr.data.reading.FORMS`, or text).
SCHEMA = {
    "ICUSTAYS": {
        "icustay_id": "whole", "subject_id": "whole", "hadm_id": "whole", "intime": "date",
        "outtime": "date", "first_careunit": "text",
    },
    "ADMISSIONS": {
        "hadm_id": "whole", "subject_id": "whole", "admittime": "date", "dischtime": "date",
        "hospital_expire_flag": "flag", "has_chartevents_data": "flag",
    },
    "PATIENTS": {"subject_id": "whole", "gender": "text", "dob": "date"},
    "LABEVENTS": {
        "subject_id": "whole", "hadm_id": "whole", "itemid": "whole", "charttime": "date",
        "valuenum": "number",
    },
    "CHARTEVENTS": {
        "icustay_id": "whole", "itemid": "whole", "charttime": "date", "valuenum": "number",
        "error": "flag",
    },
}  # fmt: skip
#: The tables of events, which are too large to be held.
EVENTS = ("LABEVENTS", "CHARTEVENTS")


def _from_files(folder: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Stays and events of a folder of CSV files; the chart events are read once and never held."""
    paths = {table: reading.find(folder, table) for table in SCHEMA}
    with reading.database(MEMORY) as connection:
        held = {
            table: _hold(connection, table, paths[table]) for table in SCHEMA if table not in EVENTS
        }
        _refuse_strangers(held["ICUSTAYS"])
        # both results have an order of their own
        connection.execute("set preserve_insertion_order = false")
        with _events_of(connection, "LABEVENTS", paths["LABEVENTS"]) as source:
            wanted = ", ".join(map(str, queries.itemids("laboratory")))
            connection.execute(
                f"create temp table labevents as select * from {source} where itemid in ({wanted})"
            )
        with _events_of(connection, "CHARTEVENTS", paths["CHARTEVENTS"]) as source:
            connection.execute(f"create temp view chartevents as select * from {source}")
            stays, events = (connection.execute(query()).df() for query in QUERIES)
            return stays, events


def _hold(connection: reading.Database, table: str, path: Path) -> reading.Table:
    """A small table, under its name: one row an id, times as timestamps, flags as 1 or 0."""
    forms = SCHEMA[table]
    ids = [column for column, form in forms.items() if form == "whole"]
    columns = {column: column for column in forms}
    held = reading.read(connection, table.lower(), path, columns, whole=ids)
    held.refuse_repeats(ids[0])
    held.convert("date", [column for column, form in forms.items() if form == "date"])
    for column, form in forms.items():
        if form == "flag":
            held.convert("flag", [column])
            held.refuse_empty(column, "flag, 0 or 1")
    return held


@contextmanager
def _events_of(connection: reading.Database, table: str, path: Path) -> Iterator[str]:
    """SQL that gives a table of events once, with its key ``row_id``, NULL if it has none."""
    keyed = "row_id" in reading.header(path)
    forms = SCHEMA[table] | ({"row_id": "whole"} if keyed else {})
    with reading.streamed(connection, path, forms) as source:
        yield source if keyed else f"(select *, cast(null as bigint) as row_id from {source})"


def _refuse_strangers(stays: reading.Table) -> None:
    """Every ICU stay belongs to an admission of the same patient, who is in PATIENTS."""
    remedy = "give tables of one release"
    for column, table in (("hadm_id", "ADMISSIONS"), ("subject_id", "PATIENTS")):
        stays.refuse(
            f"select rowid, {column} from icustays anti join {table.lower()} using ({column})",
            lambda value, table=table: f"{value} is not in {table}; {remedy}",
            column,
        )
    stays.refuse(
        "select i.rowid, hadm_id, i.subject_id from icustays i join admissions a using (hadm_id) "
        "where a.subject_id <> i.subject_id",
        lambda visit, patient: (
            f"admission {visit} is not of patient {patient} in ADMISSIONS; {remedy}"
        ),
        "subject_id",
    )


def with_driver(url: str) -> str:
    """A URL of a PostgreSQL server that names the driver psycopg, if it names none."""
    head, rest = url.split("://", 1)
    return f"{'postgresql+psycopg' if head == 'postgresql' else head}://{rest}"


def _from_server(url: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The same of a PostgreSQL server, in the schema ``mimiciii`` or on the search path."""
    import sqlalchemy

    try:
        engine = sqlalchemy.create_engine(with_driver(url))
        with engine.connect() as connection:
            connection.execute(sqlalchemy.text("set search_path to mimiciii, public"))
            stays, events = (pd.read_sql(sqlalchemy.text(query()), connection) for query in QUERIES)
            return stays, events
    except ModuleNotFoundError as error:
        raise InputError(
            f"the driver {error.name} of PostgreSQL is missing; install it, such as psycopg"
        ) from None
    except sqlalchemy.exc.SQLAlchemyError as error:
        reason = str(getattr(error, "orig", None) or error).splitlines()[0]
        raise InputError(
            f"the database cannot be used ({reason}); check the URL and the schema mimiciii"
        ) from None


#: What both kinds of source are asked.
QUERIES = (queries.stays, queries.events)


def _stays_of_mimic(stays: pd.DataFrame, events: pd.DataFrame) -> Stays:
    """Both tables in the common form, with the account of what was left out."""
    again = int(events["repeated"].sum())
    if again:
        raise InputError(
            f"{again:,} events stand in CHARTEVENTS or LABEVENTS again (same ROW_ID); "
            "give every row once"
        )
    account: dict[str, Any] = {"ICU stays": len(stays)}
    for place, reason in enumerate(queries.KEPT):
        kept = stays[f"kept_{place}"] == 1
        account[f"left out, {reason}"] = int((~kept).sum())
        stays = stays[kept]
    if stays.empty:
        raise InputError("no ICU stay of an adult lasts 48 hours; give the whole tables")
    static = pd.DataFrame(index=stays.index, columns=list(features.STATIC), dtype=float)
    static["age"] = stays["age"].clip(upper=OLDEST)
    static["male"] = stays["gender"].str.upper().map({"M": 1.0, "F": 0.0})
    unit = stays["unit"].map(UNITS)
    for number in (1, 2, 3, 4):
        static[f"unit_{number}"] = (unit == number).astype(float)
    unknown = {
        "stays of unknown sex": static["male"].isna(),
        "stays of unknown care unit": unit.isna(),
    }
    account |= {what: int(there.sum()) for what, there in unknown.items() if there.any()}
    return _stays("mimic3", stays, static, events, account)


def _stays(
    kind: Kind,
    stays: pd.DataFrame,
    static: pd.DataFrame,
    events: pd.DataFrame,
    account: dict[str, Any],
) -> Stays:
    """Stays in the order of their ids, events in that of stay, feature and hour."""
    order = np.argsort(stays["stay"].to_numpy(), kind="stable")
    ids = stays["stay"].to_numpy()[order]
    columns = {
        "stay": np.searchsorted(ids, events["stay"].to_numpy()).astype(np.int32),
        "hour": events["hour"].to_numpy().astype(np.int32),
        "feature": events["feature"].to_numpy().astype(np.int32),
        # parallel sums differ in their last bits: cut them off
        "value": np.round(events["value"].to_numpy(dtype=float), 4).astype(np.float32),
    }
    if stays["died"].isna().any():
        stay = stays.loc[stays["died"].isna(), "stay"].iloc[0]
        raise InputError(f"stay {stay}: whether the patient died is empty; restore it")
    died = stays["died"].to_numpy().astype(bool)[order]
    account |= {
        "stays kept": len(ids),
        "deaths in hospital": int(died.sum()),
        "hourly values": len(events),
    }
    patients = stays["patient"].to_numpy()[order]
    account["patients"] = len(np.unique(patients))
    return Stays(
        kind, ids, patients, died, static.to_numpy(dtype=np.float32)[order], columns, account
    )


# Challenge 2012 -------------------------------------------------------------------------------

#: Hourly values: limits are those of MIMIC-III, but for known errors of the Challenge's files; of a
#: feature's sources the preferred one that has a value counts.
HOURLY = """
with read as (
    select e.record as stay, cast(floor(e.minutes / 60) as integer) as hour, m.*,
           case when m.ph and e.value between 650 and 810 then e.value / 100
                when m.ph and e.value between 65 and 81 then e.value / 10
                else e.value end as corrected
    from events e join map m on m.parameter = lower(e.parameter)
), means as (
    select stay, hour, feature, rank, avg(corrected) as value
    from read where corrected > low and corrected < high group by all
)
select stay, hour, feature, arg_min(value, rank) as value from means
group by all order by stay, feature, hour
"""
DESCRIPTORS = """
select record as stay, lower(parameter) as name, first(value order by rowid) as value from events
where lower(parameter) in ('age', 'gender', 'height', 'icutype') and value >= 0 group by 1, 2
"""
#: Scores of severity among the outcomes of the Challenge; -1 is unknown.
SEVERITY = {"SAPS-I": "saps", "SOFA": "sofa"}
DIED = """
select distinct e.record as stay, o.died from events e join outcomes o on o.stay = e.record
order by 1
"""


def _challenge(path: Path, outcomes: Path | None) -> Stays:
    """Stays of a set of the Challenge."""
    file = _outcomes(path, outcomes)
    with reading.database(MEMORY) as connection:
        account = _long(connection, path)
        columns = {"RecordID": "stay", "In-hospital_death": "died"}
        there = reading.header(file)
        columns |= {name: short for name, short in SEVERITY.items() if name.lower() in there}
        table = reading.read(connection, "outcomes", file, columns, whole=["RecordID"])
        _check_outcomes(table)
        connection.register("map", _map())
        events, static, stays = (
            connection.execute(query).df() for query in (HOURLY, DESCRIPTORS, DIED)
        )
        unused = reading.number_of_rows(connection, "outcomes") - len(stays)
        judged = connection.execute("select * from outcomes").df().set_index("stay")
    account["outcomes without a record"] = unused
    early = events.loc[events["hour"] < HOURS, "stay"].nunique()
    if not early:
        raise InputError(
            f"{path}: no record has a known parameter in its first {HOURS} hours; "
            "give records that have"
        )
    account["records without a value of these features"] = len(stays) - events["stay"].nunique()
    account[f"records without one in the first {HOURS} hours"] = len(stays) - early
    stays["patient"] = stays["stay"]  # a patient has one record
    found = _stays("physionet2012", stays, _descriptors(stays, static), events, account)
    judged = judged.reindex(found.ids).apply(pd.to_numeric, errors="coerce")
    severity = {
        name: judged[short].where(judged[short] >= 0).to_numpy(float)
        for name, short in SEVERITY.items()
        if short in judged
    }
    return replace(found, severity=severity)


def _map() -> pd.DataFrame:
    rows = []
    for place, feature in enumerate(features.table()):
        low = max(feature.low, COLDEST) if feature.name == "tempc" else feature.low
        for rank, parameter in enumerate(feature.challenge):
            rows.append((parameter.lower(), place, rank, low, feature.high, feature.name == "ph"))
    return pd.DataFrame(rows, columns=["parameter", "feature", "rank", "low", "high", "ph"])


def _descriptors(stays: pd.DataFrame, found: pd.DataFrame) -> pd.DataFrame:
    wide = found.pivot(index="stay", columns="name", values="value").reindex(stays["stay"])
    wide = wide.reindex(columns=["age", "gender", "height", "icutype"]).reset_index(drop=True)
    static = pd.DataFrame(index=stays.index, columns=list(features.STATIC), dtype=float)
    static["age"] = wide["age"].clip(upper=OLDEST)
    static["male"] = wide["gender"]
    static["height"] = wide["height"].where(wide["height"].between(*HEIGHTS))
    for number in (1, 2, 3, 4):
        static[f"unit_{number}"] = (wide["icutype"] == number).astype(float)
    return static


def _outcomes(path: Path, given: Path | None) -> Path:
    """The outcomes named, or the one file that lies beside the set: Outcomes-b.txt for set-b."""
    if given is not None:
        if not given.is_file():
            raise InputError(
                f"{given}: no such file; "
                "give --outcomes the table of RecordID and In-hospital_death"
            )
        return given
    found: list[Path] = []
    for place in [path, path.parent] if path.is_dir() else [path.parent]:
        found += sorted(file for file in place.iterdir() if _begins(file, "outcomes"))
    if len(found) > 1:
        letter = path.stem.lower()[-2:]
        found = [file for file in found if file.stem.lower().endswith(letter)]
    if len(found) != 1:
        raise InputError(
            f"{path}: no one table of outcomes lies beside it; name it with --outcomes"
        )
    return found[0]


def _begins(file: Path, word: str) -> bool:
    return file.name.lower().startswith(word)


def _check_outcomes(outcomes: reading.Table) -> None:
    """Every record has one outcome, 0 or 1."""
    outcomes.refuse_repeats("stay")
    outcomes.convert("flag", ["died"])
    outcomes.refuse_empty("died", "outcome, 0 or 1")
    missing = outcomes.database.execute(
        "select record from events anti join outcomes on record = stay order by 1 limit 1"
    ).fetchall()
    for (record,) in missing:
        raise InputError(
            f"{outcomes.path}: has no row for record {record}; give the outcomes of this set"
        )


def _long(connection: reading.Database, path: Path) -> dict[str, Any]:
    """Make the table ``events`` (record, minutes, parameter, value, row); what was read."""
    if not path.is_dir():
        ids = {"record_id": "record", "minutes": "minutes"}
        texts = {"parameter": "parameter", "value": "number"}
        reading.read(connection, "source", path, ids | texts, whole=ids)
        connection.execute(
            "alter table source add column row bigint; update source set row = rowid + 1"
        )
        where = f"{path}, row"
        records = _records(connection, "source")
        return _events(connection, lambda _, row: f"{where} {row}", records)
    files: dict[int, Path] = {}
    for file in sorted(path.iterdir()):
        name = RECORD.fullmatch(file.name)
        if name and int(name[1]) in files:
            raise InputError(f"{path}: has two files of one record; keep one of them")
        if name:
            files[int(name[1])] = file
    if files:
        return _text_files(connection, files)
    sets = [file for file in path.iterdir() if SET.fullmatch(file.name)]
    if len(sets) != 1:
        raise InputError(
            f"{path}: holds neither CHARTEVENTS.csv nor records such as 132539.txt nor one "
            "set-a.parquet; give the folder or the file of the data"
        )
    return _long(connection, sets[0])


def _events(
    connection: reading.Database, where: Callable[[int, int], str], records: np.ndarray
) -> dict[str, Any]:
    """Make ``events`` of ``source``, checked; rows that stand there again are taken once.

    ``where(record, row)`` says where a row stands, ``records`` which records the set has.
    """
    _refuse_source(connection, where)
    connection.execute("delete from source where lower(parameter) = 'recordid'")
    read = reading.number_of_rows(connection, "source")
    value = reading.number("number")
    connection.execute(
        f"create temp table events as select record, minutes, parameter, {value} as value, "
        "min(row) as row from source group by all order by record, row"
    )
    again = read - reading.number_of_rows(connection, "events")
    empty = np.setdiff1d(records, _records(connection, "events")).tolist()
    account: dict[str, Any] = {"rows read": read}
    account |= {"rows that stand there again": again} if again else {}
    return account | ({"records that are empty": ", ".join(map(str, empty))} if empty else {})


def _records(connection: reading.Database, table: str) -> np.ndarray:
    found = connection.execute(f"select distinct record from {table}").fetchnumpy()
    return np.asarray(found["record"])


def _refuse_source(connection: reading.Database, where: Callable[[int, int], str]) -> None:
    """Every row of ``source`` (record, minutes, parameter, number, row) can be used."""
    name, value = "lower(parameter)", reading.number("number")
    unknown = "or -1 if it is unknown"
    faults: dict[str, Callable[..., str]] = {
        "minutes < 0": lambda minutes, *_: f"{minutes} minutes are before the stay; mend the time",
        f"parameter is not null and {value} is null": lambda _, name, value: (
            f"the value of {name} is {'empty' if value is None else repr(value)}, no number; "
            "mend the record"
        ),
        f"{name} = 'recordid' and {reading.whole('number')} is distinct from record": (
            lambda _, __, value: f"RecordID is {value}; name the file by its record"
        ),
        f"{name} = 'gender' and {value} not in (-1, 0, 1)": (
            lambda _, __, value: f"Gender is {value}; write 0 or 1, {unknown}"
        ),
        f"{name} = 'icutype' and {value} not in (-1, 1, 2, 3, 4)": (
            lambda _, __, value: f"ICUType is {value}; write 1 to 4, {unknown}"
        ),
    }
    for fault, words in faults.items():
        reading.refuse(
            connection,
            f"select rowid, record, row, minutes, parameter, number from source where {fault}",
            lambda _, record, row, *cells, words=words: f"{where(record, row)}: {words(*cells)}",
        )


def _text_files(connection: reading.Database, files: dict[int, Path]) -> dict[str, Any]:
    """Read a record a file: ``Time,Parameter,Value`` with times as HH:MM since ICU admission."""
    found = [part for record, file in files.items() for part in _record(record, file)]
    if not found:
        folder = next(iter(files.values())).parent
        raise InputError(f"{folder}: all records are empty; give the whole set")

    def where(record: int, row: int) -> str:
        return f"{files[record]}, row {row}"

    connection.register("written", pa.concat_tables(found))
    clock = "^(\\d+):([0-5]?\\d)(:[0-5]?\\d)?$"
    hours, minutes = (
        f"try_cast(regexp_extract(trim(time), '{clock}', {part}) as bigint)" for part in (1, 2)
    )
    connection.execute(
        f"create temp table source as select record, 60 * {hours} + {minutes} as minutes, "
        "nullif(trim(parameter), '') as parameter, nullif(trim(value), '') as number, "
        "trim(time) as time, row from written"
    )
    reading.refuse(
        connection,
        "select rowid, record, row, time from source where minutes is null",
        lambda _, record, row, time: (
            f"{where(record, row)}: {time!r} is not a time; write it as 07:30"
        ),
    )
    return _events(connection, where, np.array(list(files)))


def _record(record: int, path: Path) -> Iterator[pa.Table]:
    """The rows of a record's file (record, row, time, parameter, value), all text.

    Nothing if it has none.
    """
    if reading.is_blank(path):
        return
    names = reading.header(path)
    cells: list[list[Any]] = [[], [], []]
    if len(names) == 3 and TIME.fullmatch(names[0]):  # it lacks the header, so this is a row
        cells = [[name] for name in names]
    elif names != ["time", "parameter", "value"]:
        raise InputError(
            f"{path}: has the columns {reading.listed(names)}; a record has Time, Parameter, Value"
        )
    with reading.batches(path) as batches:
        for batch in batches:
            for column, more in zip(cells, batch.columns, strict=True):
                column += more.to_pylist()
    if cells[0]:
        time, parameter, value = (pa.array(column, pa.string()) for column in cells)
        rows = np.arange(len(cells[0])) + 1
        ids = {"record": np.full(len(rows), record), "row": rows}
        yield pa.table(ids | {"time": time, "parameter": parameter, "value": value})
