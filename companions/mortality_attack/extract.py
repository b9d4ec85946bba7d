"""ICU stays from MIMIC-III (files or a PostgreSQL server) and from the Challenge 2012, in one form.

DuckDB reads the files as they are, streams them, and keeps to a memory limit, so the 330 million chart events of the
full release need no server. Values are hourly means in the units of ``features.csv``; implausible ones are dropped.
"""

from __future__ import annotations

import re
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from companions.mortality_attack import features, queries
from companions.mortality_attack.queries import HOURS
from scoehr import tables
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
Times = pd.DataFrame


@dataclass(frozen=True)
class Stays:
    """ICU stays, a row each, and their hourly measurements in long form.

    ``ids``, ``patients``, ``died`` have the shape ``(n,)``, ``static`` ``(n, 7)`` by :data:`features.STATIC`, NaN where
    unknown. ``events`` are equally long columns: ``stay`` (place in ``ids``), ``hour`` since ICU admission (from 0;
    others are outside the window), ``feature`` (place in :func:`features.table`), ``value`` (hourly mean).
    """

    kind: Kind
    ids: np.ndarray
    patients: np.ndarray
    died: np.ndarray
    static: np.ndarray
    events: dict[str, np.ndarray]
    account: dict[str, Any]

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
        return replace(self, ids=self.ids[rows], patients=self.patients[rows], died=self.died[rows],
                       static=self.static[rows], events=events)  # fmt: skip

    def window(self) -> tuple[np.ndarray, np.ndarray]:
        """Values and where they were measured, both ``(n, 48, F)``; nothing of another hour is in them."""
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
            named = pa.DictionaryArray.from_arrays(self.events["feature"].astype(np.int32), features.names())
            columns = {"stay": self.ids[self.events["stay"]], "hour": self.events["hour"], "feature": named}
            pq.write_table(pa.table(columns | {"value": self.events["value"]}), scratch / "events.parquet")


def load(source: str, outcomes: str | Path | None = None) -> Stays:
    """Stays of a source.

    Args:
        source: the folder of MIMIC-III's tables, ``postgresql://…`` of a server that has them, or a set of the
            Challenge 2012: the folder of its text files, or a Parquet or CSV file ``record_id, minutes, parameter,
            value``.
        outcomes: the outcomes of a set of the Challenge, found beside the set if it lies there.

    Raises:
        InputError: the source is none of these, or a table of it cannot be used.
    """
    if "://" in source:
        return _stays_of_mimic(*_from_server(source))
    path = user_path(source)
    if not path.exists():
        raise InputError(f"{path}: no such file or folder; check --source")
    if path.is_dir() and tables.look_for(path, "CHARTEVENTS"):
        return _stays_of_mimic(*_from_files(path))
    return _challenge(path, Path(outcomes) if outcomes else None)


# MIMIC-III ----------------------------------------------------------------------------------------------------------

#: Columns of the tables that the queries use, with their types.
SCHEMA = {
    "ICUSTAYS": {"icustay_id": "bigint", "subject_id": "bigint", "hadm_id": "bigint", "intime": "timestamp",
                 "outtime": "timestamp", "first_careunit": "varchar"},
    "ADMISSIONS": {"hadm_id": "bigint", "admittime": "timestamp", "dischtime": "timestamp",
                   "hospital_expire_flag": "integer", "has_chartevents_data": "integer"},
    "PATIENTS": {"subject_id": "bigint", "gender": "varchar", "dob": "timestamp"},
    "LABEVENTS": {"subject_id": "bigint", "hadm_id": "bigint", "itemid": "bigint", "charttime": "timestamp",
                  "valuenum": "double"},
    "CHARTEVENTS": {"icustay_id": "bigint", "itemid": "bigint", "charttime": "timestamp", "valuenum": "double",
                    "error": "integer"},
}  # fmt: skip


def database() -> tables.Database:
    """DuckDB in memory, bounded; what does not fit spills to the folder of temporary files."""
    settings: dict[str, Any] = {
        "memory_limit": MEMORY,
        "temp_directory": tempfile.gettempdir(),
        "preserve_insertion_order": "false",
    }
    return duckdb.connect(config=settings)


def _from_files(folder: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Stays and events of a folder of CSV files; the chart events are read once and never held."""
    with database() as connection:
        for table, columns in SCHEMA.items():
            _table(connection, table, tables.find(folder, table), columns)
        with tables.reading(folder):
            stays, events = (connection.execute(query()).df() for query in QUERIES)
            return stays, events


def _table(connection: tables.Database, table: str, path: Path, columns: dict[str, str]) -> None:
    """Give a file the name of its table: a view of the chart events, a small table of any other."""
    names = tables.header(path)
    missing = next((name for name in columns if name not in names), None)
    if missing:
        raise InputError(f"{path}: has no column {missing} (it has {tables.listed(names)}); give the table {table}")
    casts = ", ".join(f"try_cast({tables.text(name)} as {kind}) as {name}" for name, kind in columns.items())
    query = f"select {casts} from {tables.scan(path)}"
    what = "view"
    if table != "CHARTEVENTS":
        what = "table"
        if "itemid" in columns:
            query = f"select * from ({query}) where itemid in ({_listed(queries.itemids('laboratory'))})"
    with tables.reading(path):
        connection.execute(f"create temp {what} {table.lower()} as {query}")
    if table in ("ICUSTAYS", "ADMISSIONS", "PATIENTS"):
        for column, kind in columns.items():
            if kind == "timestamp":
                _refuse_all_null(connection, table, column, path)


def _refuse_all_null(connection: tables.Database, table: str, column: str, path: Path) -> None:
    found = connection.execute(f"select count(*), count({column}) from {table.lower()}").fetchone() or (0, 0)
    if not found[0]:
        raise InputError(f"{path}: is empty but for its header; give the whole table")
    if not found[1]:
        raise InputError(f"{path}, column {column}: holds no date; write them as 2150-01-31 13:45:00")


def _listed(items: list[int]) -> str:
    return ", ".join(map(str, items))


def _from_server(url: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The same of a PostgreSQL server, whose tables lie in the schema ``mimiciii`` or on the search path."""
    import sqlalchemy

    try:
        engine = sqlalchemy.create_engine(url)
        with engine.connect() as connection:
            connection.execute(sqlalchemy.text("set search_path to mimiciii, public"))
            stays, events = (pd.read_sql(sqlalchemy.text(query()), connection) for query in QUERIES)
            return stays, events
    except ModuleNotFoundError as error:
        raise InputError(f"the driver {error.name} of PostgreSQL is missing; install it, such as psycopg") from None
    except sqlalchemy.exc.SQLAlchemyError as error:
        reason = str(getattr(error, "orig", None) or error).splitlines()[0]
        raise InputError(f"the database cannot be used ({reason}); check the URL and the schema mimiciii") from None


#: What both kinds of source are asked.
QUERIES = (queries.stays, queries.events)


def _stays_of_mimic(stays: pd.DataFrame, events: pd.DataFrame) -> Stays:
    """Both tables in the common form, with the account of what was left out."""
    account: dict[str, Any] = {"ICU stays": len(stays)}
    for place, reason in enumerate(queries.KEPT):
        kept = stays[f"kept_{place}"] == 1
        account[f"left out, {reason}"] = int((~kept).sum())
        stays = stays[kept]
    if stays.empty:
        raise InputError("no ICU stay of an adult lasts 48 hours; give the whole tables")
    static = pd.DataFrame(index=stays.index, columns=list(features.STATIC), dtype=float)
    static["age"] = stays["age"].clip(upper=OLDEST)
    static["male"] = stays["gender"].map({"M": 1.0, "F": 0.0})
    unit = stays["unit"].map(UNITS)
    for number in (1, 2, 3, 4):
        static[f"unit_{number}"] = (unit == number).astype(float)
    return _stays("mimic3", stays, static, events, account)


def _stays(
    kind: Kind, stays: pd.DataFrame, static: pd.DataFrame, events: pd.DataFrame, account: dict[str, Any]
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
    died = stays["died"].to_numpy().astype(bool)[order]
    account |= {"stays kept": len(ids), "deaths in hospital": int(died.sum()), "hourly values": len(events)}
    patients = stays["patient"].to_numpy()[order]
    account["patients"] = len(np.unique(patients))
    return Stays(kind, ids, patients, died, static.to_numpy(dtype=np.float32)[order], columns, account)


# Challenge 2012 -----------------------------------------------------------------------------------------------------

#: The limits of MIMIC-III, but for what is known to be wrong in the Challenge's files.
CORRECTED = """
select record as stay, cast(floor(minutes / 60) as integer) as hour, feature, avg(value) as value, rank
from (select e.record, e.minutes, m.feature, m.rank, m.low, m.high,
             case when m.ph and e.value between 650 and 810 then e.value / 100
                  when m.ph and e.value between 65 and 81 then e.value / 10 else e.value end as value
      from events e join map m on m.parameter = lower(e.parameter))
where value > low and value < high
group by all
"""


def _challenge(path: Path, outcomes: Path | None) -> Stays:
    """Stays of a set of the Challenge; events before the preferred source of a feature has any take the next one."""
    file = _outcomes(path, outcomes)
    with database() as connection:
        rows = _long(connection, path)
        tables.read(connection, "outcomes", file, {"RecordID": "stay", "In-hospital_death": "died"},
                    whole=("RecordID", "In-hospital_death"))  # fmt: skip
        tables.refuse_repeats(connection, "outcomes", "stay", file, "RecordID")
        _refuse_outcomes(connection, file)
        connection.register("map", _map())
        query = f"select stay, hour, feature, arg_min(value, rank) as value from ({CORRECTED}) group by all"
        events = connection.execute(f"{query} order by stay, feature, hour").df()
        static = connection.execute(
            "select record as stay, lower(parameter) as name, first(value order by rowid) as value from events "
            "where lower(parameter) in ('age', 'gender', 'height', 'icutype') and value >= 0 group by 1, 2"
        ).df()
        stays = connection.execute(
            "select distinct e.record as stay, o.died from events e join outcomes o on o.stay = e.record order by 1"
        ).df()
    account = {"rows read": rows, "records without a value of these features": len(stays) - events["stay"].nunique()}
    stays["patient"] = stays["stay"]  # a patient has one record
    return _stays("physionet2012", stays, _descriptors(stays, static), events, account)


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
            raise InputError(f"{given}: no such file; give --outcomes the table of RecordID and In-hospital_death")
        return given
    places = [path, path.parent] if path.is_dir() else [path.parent]
    found = [file for place in places for file in sorted(place.iterdir()) if file.name.lower().startswith("outcomes")]
    letter = path.stem.lower()[-2:]
    found = [file for file in found if file.stem.lower().endswith(letter)] if len(found) > 1 else found
    if len(found) != 1:
        raise InputError(f"{path}: no one table of outcomes lies beside it; name it with --outcomes")
    return found[0]


def _refuse_outcomes(connection: tables.Database, file: Path) -> None:
    tables.refuse(
        connection,
        "select rowid, died from outcomes where died not in (0, 1)",
        lambda row, value: f"{file}, column In-hospital_death, row {row}: {value} is neither 0 nor 1; restore it",
    )
    missing = connection.execute(
        "select record from events where record not in (select stay from outcomes) order by 1 limit 1"
    ).fetchone()
    if missing:
        raise InputError(f"{file}: has no row for record {missing[0]}; give the outcomes of this set")


def _long(connection: tables.Database, path: Path) -> int:
    """Make the table ``events`` (record, minutes, parameter, value) and return its number of rows."""
    if path.is_dir():
        files = [file for file in sorted(path.iterdir()) if RECORD.fullmatch(file.name)]
        sets = [file for file in sorted(path.iterdir()) if re.match(r"set-\w+\.(parquet|csv)", file.name.lower())]
        if files:
            _text_files(connection, path, files)
        elif len(sets) == 1:
            return _long(connection, sets[0])
        else:
            raise InputError(
                f"{path}: holds neither CHARTEVENTS.csv nor records such as 132539.txt nor one set-a.parquet; "
                "give the folder or the file of the data"
            )
    else:
        columns = {"record_id": "record", "minutes": "minutes", "parameter": "parameter", "value": "number"}
        tables.read(connection, "source", path, columns, whole=("record_id", "minutes"))
        connection.execute("create temp table events as select * replace (number as number), "
                           "try_cast(number as double) as value from source")  # fmt: skip
    tables.refuse(
        connection,
        "select rowid, record, parameter, number from events where value is null and parameter is not null",
        lambda row, record, parameter, number: (
            f"{path}, record {record}: the value of {parameter} is {number!r}, no number; mend the record"
        ),
    )
    return tables.number_of_rows(connection, "events")


def _text_files(connection: tables.Database, folder: Path, files: list[Path]) -> None:
    """Read a record a file: ``Time,Parameter,Value`` with times as HH:MM since ICU admission."""
    names = tables.header(files[0])
    if names != ["time", "parameter", "value"]:
        raise InputError(f"{files[0]}: has the columns {tables.listed(names)}; a record has Time, Parameter, Value")
    columns = "{'time': 'varchar', 'parameter': 'varchar', 'value': 'varchar'}"
    places = ", ".join(tables.literal(file) for file in files)
    with tables.reading(folder):
        connection.execute(
            "create temp table events as select cast(regexp_extract(filename, '([0-9]+)[.][^/]*$', 1) as bigint) "
            "as record, 60 * try_cast(split_part(trim(time), ':', 1) as integer) "
            "+ try_cast(split_part(trim(time), ':', 2) as integer) as minutes, nullif(trim(parameter), '') as parameter"
            ", value as number, try_cast(value as double) as value, time from "
            f"read_csv([{places}], columns={columns}, auto_detect=false, header=true, delim=',', quote='\"', "
            "filename=true, hive_partitioning=false) where lower(trim(parameter)) <> 'recordid' or parameter is null"
        )
    tables.refuse(
        connection,
        "select rowid, record, time from events where minutes is null",
        lambda row, record, time: f"{folder}, record {record}: {time!r} is not a time; write it as 07:30",
    )
