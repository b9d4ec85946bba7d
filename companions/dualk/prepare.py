"""From raw tables to visits: the study's phases of preparation, sparse all the way, all counted.

:func:`load` takes the visits and codes of :func:`scoehr.data.datasets.tables` and reads the
laboratory events beside them.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from scipy import sparse

from companions.dualk import simulate
from companions.dualk.cohorts import CATEGORIES, Records
from scoehr.data import datasets, hospitals, reading
from scoehr.data.hospitals import Digits, Tables
from scoehr.data.reading import Database
from scoehr.data.writing import check_seal, written
from scoehr.files import ROOT, InputError, user_path

#: Data sets of this companion; the simulated one has the tables of MIMIC-IV.
DATASETS = tuple(name for name, info in datasets.DATASETS.items() if info.reader)
#: The study keeps admissions whose de-shifted year is later than this.
AFTER = 2012
#: What DuckDB may take.
MEMORY = "2GB"


def load(
    dataset: str,
    source: str | Path | None = None,
    *,
    digits: Digits = "full",
    after: int = AFTER,
    simulated: int = 2_000,
    seed: int = 0,
) -> Records:
    """Read a data set.

    Args:
        dataset: one of :data:`DATASETS`
        source: folder of the tables; optional for ``simulated``, whose tables are written if absent
        digits: "full" codes, as the study, or "three"-digit categories
        after: admissions of MIMIC-IV and of the simulation count if their de-shifted year is later
        simulated: patients of the simulated cohort where it is written here; ``seed`` is its seed

    Raises:
        InputError: For an unknown name, a missing source, a table that cannot be used, or data in
            which nobody has two visits.
    """
    if dataset not in DATASETS:
        raise InputError(
            f"data set {dataset!r} is unknown to DuaLK; choose one of {', '.join(DATASETS)}"
        )
    place = tables_of(dataset, source, simulated, seed)
    name = "mimic4" if dataset == "simulated" else dataset
    with datasets.tables(name, place, digits=digits, memory=MEMORY) as tables:
        _keep(tables.database, datasets.DATASETS[name].dated)
        if name == "mimic4":
            _keep_later(tables.database, place, after)
        counts = _counts(tables) | _laboratory(tables.database, place)
        _choose(tables.database, counts)
        return _arrange(tables, dataset, counts)


def tables_of(dataset: str, source: str | Path | None, patients: int, seed: int) -> Path:
    """Where the tables of a data set lie; the simulated cohort's are written if need be."""
    if source is None and dataset != "simulated":
        raise InputError(
            f"data set {dataset!r} needs the folder of its tables; give it by --source"
        )
    if source is None:
        folder = ROOT / "data" / "dualk-simulated" / f"{patients}-patients-seed-{seed}"
        write = partial(simulate.write_tables, patients=patients, seed=seed)
        return written(folder, [simulate.LAW], write, simulate.FORM)
    place = user_path(source)
    if not place.exists():
        raise InputError(f"{place}: no such file or folder; check the path")
    if dataset == "simulated":
        check_seal(place)
    return place


# Visits ------------------------------------------------------------------------------------------


def _keep(database: Database, dated: bool) -> None:
    """Table ``kept`` (patient, visit, begin) of all visits, a day apart if they have no dates."""
    number = "row_number() over (partition by patient order by number)"
    begin = "begin" if dated else f"timestamp '2000-01-01' + to_days({number}::int)"
    database.execute(
        f"create temp table kept as select patient, visit, {begin} as begin from visits"
    )


def _keep_later(database: Database, source: Path, after: int) -> None:
    """Of ``kept`` the visits of MIMIC-IV whose de-shifted year is later."""
    path = reading.find(source, "patients")
    columns = {"subject_id": "patient", "anchor_year": "anchor", "anchor_year_group": "years"}
    whole = ["subject_id", "anchor_year"]
    table = reading.read(database, "anchors", path, columns, whole=whole)
    table.refuse_cells(
        "years",
        "not coalesce(regexp_matches(years, '^\\d{4}(\\D|$)'), false)",
        lambda value: f"{value or 'empty'!r} does not begin with a year; write it as 2014 - 2016",
    )
    reading.refuse(
        database,
        "select number, patient from visits anti join anchors using (patient)",
        lambda _, patient: (
            f"{path}: has no patient {patient} of admissions; give tables of one release"
        ),
    )
    moved = "anchor - left(years, 4)::int from anchors where anchors.patient = kept.patient"
    database.execute(f"delete from kept where year(begin) - (select {moved}) <= {after}")


def _counts(tables: Tables) -> dict[str, Any]:
    """What was read, and what became of it."""
    account = tables.account
    unmapped = account.get("codes_unmapped", {})
    tenth = "diagnoses where starts_with(raw, '10:')"
    named = {name: account[name] for name in hospitals.NAMED if name in account}
    codes = reading.number_of_rows(tables.database, f"(select distinct raw from {tenth})")
    return {
        "admissions_read": account["admissions"],
        "admissions_kept": reading.number_of_rows(tables.database, "kept"),
        "diagnosis_rows": account["rows_read"],
        "diagnosis_rows_icd10": account.get("rows_icd10", 0),
        "diagnosis_rows_unmapped": sum(unmapped.values()),
        "icd10_codes": codes,
        "icd10_codes_unmapped": len(unmapped),
        **named,
    }


def _choose(database: Database, counts: dict[str, Any]) -> None:
    """Table ``chosen`` (number, patient, visit, begin) of patients with codes at every visit."""
    database.execute(
        "create temp table incomplete as "
        "select distinct patient from kept anti join codes using (visit); "
        "create temp table chosen as "
        "select row_number() over (order by patient, begin, visit) - 1 as number, kept.* "
        "from kept anti join incomplete using (patient)"
    )
    counts["patients_removed"] = reading.number_of_rows(database, "incomplete")
    sizes = "select count(*) as n from chosen group by patient"
    patients, most = database.execute(f"select count(*), max(n) from ({sizes})").fetchall()[0]
    if not patients or most < 2:
        raise InputError(
            f"{patients} patients are left and none has two visits; "
            "DuaLK needs a history and an answer"
        )


# Laboratory --------------------------------------------------------------------------------------


def _laboratory(database: Database, source: Path) -> dict[str, Any]:
    """Table ``abnormal`` (visit, item, label, category, first): items flagged, and first when."""
    database.execute(
        "create temp table abnormal "
        "(visit bigint, item bigint, label varchar, category varchar, first timestamp)"
    )
    tables = ("d_labitems", "labevents") if source.is_dir() else ()
    paths = [path for table in tables if (path := reading.look_for(source, table))]
    if len(paths) < 2:
        return {"labevents": "no table"}
    names, events = paths
    columns = {"itemid": "item", "label": "label", "category": "category"}
    reading.read(database, "labitems", names, columns, whole=["itemid"]).refuse_repeats("item")
    _tested(database, events)
    database.execute(
        "insert into abnormal select visit, item, label, lower(category) as kind, first "
        "from tested join labitems using (item) join kept using (visit) "
        f"where abnormal > 0 and kind in {CATEGORIES}"
    )
    rows, without, positive = database.execute(
        "select sum(rows), sum(rows) filter (visit is null), "
        "sum(abnormal) filter (visit is not null) from tested"
    ).fetchall()[0]
    elsewhere = "tested anti join visits using (visit) where visit is not null"
    sets = (
        "select count(*) as n from tested join kept using (visit) where abnormal > 0 group by visit"
    )
    return {
        "labevents": int(rows or 0),
        "labevents_without_admission": int(without or 0),
        "labevents_of_no_admission": _number(database, f"select sum(rows) from {elsewhere}"),
        "labevents_abnormal": int(positive or 0),
        "largest_abnormal_set": _number(database, f"select max(n) from ({sets})"),
    }


def _number(database: Database, query: str) -> int:
    """The one number that a query gives, 0 for none."""
    return int((database.execute(query).fetchone() or (0,))[0] or 0)


def _tested(database: Database, path: Path) -> None:
    """Table ``tested`` (visit, item, rows, abnormal, first) of the events, which are never held."""
    forms = {"hadm_id": "whole", "itemid": "whole", "charttime": "date", "flag": "text"}
    names = reading.header(path)
    keys = [name for name in ("labevent_id", "row_id") if name in names]
    forms |= dict.fromkeys(keys, "text")
    key = keys[0] if keys else "null"
    flagged = "lower(flag) = 'abnormal'"
    with reading.streamed(database, path, forms) as source:
        database.execute(
            "create temp table tested as select hadm_id as visit, itemid as item, "
            f"count(*) as rows, count(*) filter ({flagged}) as abnormal, "
            f"min(charttime) filter ({flagged}) as first, "
            f"if(count({key}) > 1 and min({key}) = max({key}), min({key}), null) as again "
            f"from {source} group by all"
        )
    twice = database.execute("select min(again) from tested").fetchone()
    if twice and twice[0] is not None:
        raise InputError(
            f"{path}: the row with the id {twice[0]} stands there more than once; "
            "give every row once"
        )


# Arrays ------------------------------------------------------------------------------------------


def _arrange(tables: Tables, dataset: str, counts: dict[str, Any]) -> Records:
    """Arrays from the tables ``chosen``, ``codes`` and ``abnormal``."""
    rows = tables.database.execute(
        "select patient, epoch(begin) / 86400 as day from chosen order by number"
    ).fetchnumpy()
    patients, first = np.unique(rows["patient"], return_index=True)
    bounds = np.append(first, len(rows["patient"]))
    visits = np.diff(bounds)
    days = rows["day"] - np.repeat(rows["day"][first], visits)
    codes, targets, visit_codes = _codes(tables, np.repeat(visits > 1, visits))
    items, labels, categories, labs, first_day = _labs(tables, len(days))
    counts |= _sizes(visit_codes, bounds, labs, categories)
    return Records(
        dataset, patients.astype(np.int64), bounds.astype(np.int64), days.astype(np.float32),
        codes, targets, visit_codes, items, labels, categories, labs, first_day, counts,
    )  # fmt: skip


def _codes(tables: Tables, several: np.ndarray) -> tuple[np.ndarray, int, sparse.csr_array]:
    """Codes, those of patients with several visits first, how many these are, visits × codes.

    ``several`` says of each visit whether its patient has others.
    """
    counts = tables.counts(
        "select chosen.number, place, n from codes join chosen using (visit)",
        (len(several), len(tables.vocabulary)),
    )
    used, multi = (np.asarray(part.sum(axis=0)) > 0 for part in (counts, counts[several]))
    order = np.concatenate([np.flatnonzero(multi), np.flatnonzero(used & ~multi)])
    found = sparse.csr_array(counts[:, order], dtype=np.int16)
    found.sort_indices()
    return tables.vocabulary[order], int(multi.sum()), found


def _labs(tables: Tables, visits: int) -> tuple[Any, ...]:
    """Items, labels, categories, and visits × items: abnormal at all, and early."""
    database = tables.database
    rank = " ".join(f"when '{name}' then {number}" for number, name in enumerate(CATEGORIES))
    database.execute(
        "create temp table items as "
        f"select row_number() over (order by case kind {rank} end, item) - 1 as place, * from "
        "(select item, min(label) as label, min(category) as kind "
        "from abnormal join chosen using (visit) group by item)"
    )
    known = database.execute("select item, label, kind from items order by place").fetchall()
    found = (
        "select number, place, true from abnormal join chosen using (visit) join items using (item)"
    )
    early = f"{found} where first <= begin + interval 24 hour"
    shape = (visits, len(known))
    kinds: tuple[Any, ...] = (np.int64, str, str)
    names = [np.array([row[n] for row in known], dtype=kind) for n, kind in enumerate(kinds)]
    return *names, tables.counts(found, shape), tables.counts(early, shape)


def _sizes(
    codes: sparse.csr_array, bounds: np.ndarray, labs: sparse.csr_array, kinds: np.ndarray
) -> dict[str, Any]:
    found = np.asarray(labs.sum(axis=0)).ravel() if labs.shape[1] else np.zeros(0)
    rows = np.asarray(codes.sum(axis=1)).ravel()
    return {
        "patients": len(bounds) - 1,
        "visits": codes.shape[0],
        "most_visits": int(np.diff(bounds).max()),
        "most_codes_a_visit": int(rows.max()),
        "repeated_codes": int(codes.sum() - codes.nnz),
        "abnormal_sets": {name: int(found[kinds == name].sum()) for name in CATEGORIES},
        "most_abnormal_a_visit": int(np.diff(labs.indptr).max(initial=0)),
    }
