"""From raw tables to visits: the study's phases of preparation, sparse all the way, every count kept.

DuckDB reads the CSV(.gz) tables as they are released (:mod:`scoehr.tables`). The result, :class:`Records`, holds the
visits of all patients in time order, their codes and their abnormal laboratory items; :func:`split` makes the cohorts;
:func:`account` says of every phase what a holder of MIMIC-IV can compare with the study's figures.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple

import duckdb
import numpy as np
import pyarrow as pa
from scipy import sparse

from companions.dualk import simulate
from scoehr import icd, tables
from scoehr.datasets import ICD9, Digits, diabetic_data
from scoehr.files import ROOT, InputError, user_path
from scoehr.tables import Database

#: Data sets of this companion, and whether they hold real patients under a data use agreement.
DATASETS = {"simulated": False, "mimic3": True, "mimic4": True, "diabetes130": False}
#: Laboratory categories of the study, in its order; items of other categories are left out.
CATEGORIES = ("hematology", "chemistry", "blood gas")
#: The study keeps admissions whose de-shifted year is later than this.
AFTER = 2012
#: Numbers of multi-visit patients that the study trains on, and that the smaller of its two other parts has.
TRAIN, SMALL = 8_000, 1_000
#: Codes with at most so many positive targets are rare in the study.
RARE = 3
#: Codes that begin so are heart failure.
HEART_FAILURE = "428"


@dataclass(frozen=True)
class Records:
    """Visits of patients, in time order.

    Attributes
    ----------
    patients : (n_patients,) int64 ids
    first : (n_patients + 1,) the visits of patient p are rows ``first[p]`` to ``first[p + 1] - 1``
    days : (n_visits,) float, days since the patient's first visit; 1 a visit where the data have no dates
    codes : (n_codes,) str, those of patients with several visits first, both parts sorted
    targets : how many codes those are: the vocabulary of predictions
    visit_codes : (n_visits, n_codes) how often a code stands at a visit (twice where two ICD-10 codes became one)
    items, labels, categories : (n_items,) laboratory items that are ever abnormal, sorted by category
    labs, first_day : (n_visits, n_items) bool, abnormal in the visit, and within 24 hours of its beginning
    counts : what was read, kept and dropped
    """

    dataset: str
    patients: np.ndarray
    first: np.ndarray
    days: np.ndarray
    codes: np.ndarray
    targets: int
    visit_codes: sparse.csr_array
    items: np.ndarray
    labels: np.ndarray
    categories: np.ndarray
    labs: sparse.csr_array
    first_day: sparse.csr_array
    counts: dict[str, Any]

    @property
    def visits(self) -> np.ndarray:
        """Visits a patient, (n_patients,)."""
        return np.diff(self.first)

    @property
    def owner(self) -> np.ndarray:
        """The patient of each visit."""
        return np.repeat(np.arange(len(self.patients)), self.visits)

    @property
    def has_labs(self) -> bool:
        return bool(self.labs.nnz)

    @cached_property
    def titles(self) -> np.ndarray:
        """The name of each code."""
        return np.array([icd.title(code) for code in self.codes.tolist()])

    def category(self, name: str) -> np.ndarray:
        """Places of the items of a category."""
        return np.flatnonzero(self.categories == name)


class Split(NamedTuple):
    """Patients (their places): those with one visit; and of those with several the three parts."""

    single: np.ndarray
    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray

    @property
    def pretrain(self) -> np.ndarray:
        """Patients of the pre-training and of the disease graph."""
        return np.concatenate([self.single, self.train])


# Reading ---------------------------------------------------------------------------------------------------------


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

    Parameters
    ----------
    dataset : one of :data:`DATASETS`
    source : folder of the tables; optional for ``simulated``, whose tables are written first if they are absent
    digits : "full" codes, as the study, or "three"-digit categories
    after : admissions of MIMIC-IV and of the simulation count if their de-shifted year is later
    simulated : patients of the simulated cohort where it is written here; ``seed`` is its random seed

    Raises
    ------
    InputError
        For an unknown name, a missing source, a table that cannot be used, or data in which nobody has two visits.
    """
    if dataset not in DATASETS:
        raise InputError(f"data set {dataset!r} is unknown to DuaLK; choose one of {', '.join(DATASETS)}")
    place = tables_of(dataset, source, simulated, seed)
    scratch = tempfile.gettempdir()
    with duckdb.connect(config={"threads": 2, "memory_limit": "2GB", "temp_directory": scratch}) as database:
        database.execute("set preserve_insertion_order = false")
        counts = READERS[dataset](database, place, after)
        _map_codes(database, place, digits, counts)
        _valid_visits(database, counts)
        records = _arrange(database, dataset, counts)
    return records


def tables_of(dataset: str, source: str | Path | None, patients: int, seed: int) -> Path:
    """Where the tables of a data set lie; those of the simulated cohort are written if need be."""
    if source is None and dataset != "simulated":
        raise InputError(f"data set {dataset!r} needs the folder of its tables; give it by --source")
    if source is None:
        place = ROOT / "data" / "dualk-simulated" / f"{patients}-patients-seed-{seed}-{simulate.FORM}"
        if not place.exists():
            simulate.write_tables(place, patients=patients, seed=seed)
        return place
    place = user_path(source)
    if not place.exists():
        raise InputError(f"{place}: no such file or folder; check the path")
    return place


def _mimic4(database: Database, source: Path, after: int) -> dict[str, Any]:
    """Tables ``stays`` (patient, visit, begin) of the kept admissions, ``written`` and ``abnormal``; the counts."""
    counts = _admissions(database, source, ("subject_id", "hadm_id", "admittime"))
    path = tables.find(source, "patients")
    columns = {"subject_id": "patient", "anchor_year": "anchor", "anchor_year_group": "years"}
    tables.read(database, "people", path, columns, whole=["subject_id", "anchor_year"])
    tables.refuse_repeats(database, "people", "patient", path, "subject_id")
    tables.refuse(
        database,
        "select rowid, years from people where try_cast(left(years, 4) as int) is null",
        lambda row, value: (
            f"{path}, column anchor_year_group, row {row}: {value or 'empty'!r} does not begin with a year; "
            "write it as 2014 - 2016"
        ),
    )
    tables.refuse(
        database,
        "select rowid, patient from stays anti join people using (patient)",
        lambda row, value: f"{path}: has no patient {value} of admissions row {row}; give tables of one release",
    )
    moved = "anchor - left(years, 4)::int from people where people.patient = stays.patient"
    database.execute(f"delete from stays where year(begin) - (select {moved}) <= {after}")
    counts["admissions_kept"] = tables.number_of_rows(database, "stays")
    path = tables.find(source, "diagnoses_icd")
    ids = {"subject_id": "patient", "hadm_id": "visit"}
    tables.read(database, "written", path, ids | {"icd_code": "raw", "icd_version": "version"}, whole=ids)
    tables.refuse(
        database,
        "select rowid, version from written where version is null or version not in ('9', '10')",
        lambda row, value: (
            f"{path}, column icd_version, row {row}: {value or 'empty'!r} is neither 9 nor 10; restore the version"
        ),
    )
    return counts | _laboratory(database, source)


def _mimic3(database: Database, source: Path, after: int) -> dict[str, Any]:
    del after  # MIMIC-III has no anchor years: all its admissions count
    counts = _admissions(database, source, ("SUBJECT_ID", "HADM_ID", "ADMITTIME"))
    counts["admissions_kept"] = counts["admissions_read"]
    path = tables.find(source, "DIAGNOSES_ICD")
    ids = {"SUBJECT_ID": "patient", "HADM_ID": "visit"}
    tables.read(database, "written", path, ids | {"ICD9_CODE": "raw"}, whole=ids)
    database.execute("alter table written add column version varchar default '9'")
    return counts | _laboratory(database, source)


def _admissions(database: Database, source: Path, columns: tuple[str, str, str]) -> dict[str, Any]:
    subject, visit, begin = columns
    path = tables.find(source, "admissions")
    names = {subject: "patient", visit: "visit", begin: "begin"}
    tables.read(database, "stays", path, names, whole=[subject, visit])
    tables.refuse_repeats(database, "stays", "visit", path, visit)
    tables.refuse_empty(database, "stays", path, {begin: "begin"}, "date")
    tables.convert(database, "stays", path, "date", {begin: "begin"})
    return {"admissions_read": tables.number_of_rows(database, "stays")}


def _laboratory(database: Database, source: Path) -> dict[str, Any]:
    """Table ``abnormal`` (visit, item, label, category, first): items flagged abnormal at a visit, and first when."""
    names, events = (tables.look_for(source, name) for name in ("d_labitems", "labevents"))
    database.execute(
        "create temp table abnormal (visit bigint, item int, label varchar, category varchar, first timestamp)"
    )
    if names is None or events is None:
        return {"labevents": "no table"}
    tables.read(
        database, "labitems", names, {"itemid": "item", "label": "label", "category": "category"}, whole=["itemid"]
    )
    missing = {"hadm_id", "itemid", "charttime", "flag"} - set(tables.header(events))
    if missing:
        raise InputError(f"{events}: has no column {sorted(missing)[0]}; give the whole table of laboratory events")
    flagged = f"lower({tables.text('flag')}) = 'abnormal'"
    with tables.reading(events):
        database.execute(
            f"create temp table tested as select try_cast({tables.text('hadm_id')} as bigint) as visit, "
            f"try_cast({tables.text('itemid')} as int) as item, count(*) as rows, "
            f"count(*) filter ({flagged}) as abnormal, "
            f"min(try_cast({tables.text('charttime')} as timestamp)) filter ({flagged}) as first "
            f"from {tables.scan(events)} group by all"
        )
    wanted = ", ".join(f"'{name}'" for name in CATEGORIES)
    database.execute(
        "insert into abnormal select visit, item, label, lower(category) as kind, first "
        "from tested join labitems using (item) join stays using (visit) "
        f"where abnormal > 0 and visit is not null and kind in ({wanted})"
    )
    rows, without, positive = database.execute(
        "select sum(rows), sum(rows) filter (visit is null), sum(abnormal) filter (visit is not null) from tested"
    ).fetchall()[0]
    return {
        "labevents": int(rows),
        "labevents_without_admission": int(without or 0),
        "labevents_abnormal": int(positive or 0),
        "largest_abnormal_set": _largest_set(database),
    }


def _largest_set(database: Database) -> int:
    """Most abnormal items an admission has, of all categories."""
    sets = "select count(*) as n from tested join stays using (visit) where abnormal > 0 group by visit"
    return int((database.execute(f"select max(n) from ({sets})").fetchone() or (0,))[0] or 0)


def _diabetes130(database: Database, source: Path, after: int) -> dict[str, Any]:
    """Encounters in the order of their ids: the only hint of time that the table gives. No laboratory items."""
    del after
    ids = {"patient_nbr": "patient", "encounter_id": "visit"}
    diagnoses = {"diag_1": "d1", "diag_2": "d2", "diag_3": "d3"}
    path = diabetic_data(source)
    tables.read(database, "encounters", path, ids | diagnoses, whole=ids)
    tables.refuse_repeats(database, "encounters", "visit", path, "encounter_id")
    order = "row_number() over (partition by patient order by visit)"
    database.execute(
        f"create temp table stays as select patient, visit, timestamp '2000-01-01' + to_days({order}::int) as begin "
        "from encounters"
    )
    select = "select patient, visit, nullif({}, '?') as raw, '9' as version from encounters"
    parts = (select.format(name) for name in diagnoses.values())
    database.execute(f"create temp table written as {' union all '.join(parts)}")
    raw = [code for (code,) in database.execute("select distinct raw from written where raw is not null").fetchall()]
    database.register("zeros", pa.table({"raw": raw, "restored": [icd.restore_zeros(code) for code in raw]}))
    database.execute("update written set raw = (select restored from zeros where zeros.raw = written.raw)")
    database.execute(
        "create temp table abnormal (visit bigint, item int, label varchar, category varchar, first timestamp)"
    )
    rows = tables.number_of_rows(database, "stays")
    return {"admissions_read": rows, "admissions_kept": rows, "labevents": "no table"}


READERS = {"simulated": _mimic4, "mimic3": _mimic3, "mimic4": _mimic4, "diabetes130": _diabetes130}

# Codes and visits ------------------------------------------------------------------------------------------------


def _map_codes(database: Database, source: Path, digits: Digits, counts: dict[str, Any]) -> None:
    """Table ``events`` (visit, code, n) of the kept admissions.

    ICD-10 codes become ICD-9 by the rule of :func:`scoehr.icd.to_icd9`; rows without an ICD-9 code are dropped.
    """
    distinct = database.execute("select distinct version, raw from written where raw is not null").fetchall()
    nine: dict[tuple[str, str], str] = {}
    for version, raw in distinct:
        code = raw.upper().replace(".", "")
        found: str | None = code
        if version == "10":
            (found,) = icd.to_icd9([code])
        elif not ICD9.fullmatch(code):
            raise InputError(f"{source}: {raw!r} is not an ICD-9 code; write it as text, with its leading zeros")
        if found:
            nine[version, raw] = icd.three_digit(found) if digits == "three" else found
    columns = {"version": [v for v, _ in nine], "raw": [r for _, r in nine], "code": list(nine.values())}
    database.register("mapped", pa.table({name: pa.array(values, pa.string()) for name, values in columns.items()}))
    database.execute(
        "create temp table events as select visit, code, count(*) as n from written join mapped using (version, raw) "
        "join stays using (visit) group by all"
    )
    rows = dict(database.execute("select version, count(*) from written where raw is not null group by all").fetchall())
    kept = "from written left join mapped using (version, raw) where raw is not null and code is null"
    counts |= {
        "diagnosis_rows": tables.number_of_rows(database, "written"),
        "diagnosis_rows_icd10": int(rows.get("10", 0)),
        "diagnosis_rows_unmapped": int(database.execute(f"select count(*) {kept}").fetchall()[0][0]),
        "icd10_codes": sum(version == "10" for version, _ in distinct),
        "icd10_codes_unmapped": sum(version == "10" and (version, raw) not in nine for version, raw in distinct),
    }


def _valid_visits(database: Database, counts: dict[str, Any]) -> None:
    """Table ``visits`` (patient, visit, begin, place): patients with an admission without codes go as a whole."""
    database.execute(
        "create temp table incomplete as select distinct patient from stays anti join events using (visit)"
    )
    database.execute(
        "create temp table visits as select patient, visit, begin, row_number() over (order by patient, begin, visit) "
        "- 1 as place from stays anti join incomplete using (patient)"
    )
    counts["patients_removed"] = tables.number_of_rows(database, "incomplete")
    people = "select count(distinct patient), max(n) from (select patient, count(*) as n from visits group by all)"
    patients, most = database.execute(people).fetchall()[0]
    if not patients or most < 2:
        raise InputError(f"{patients} patients are left and none has two visits; DuaLK needs a history and an answer")


def _arrange(database: Database, dataset: str, counts: dict[str, Any]) -> Records:
    """Arrays from the tables ``visits``, ``events`` and ``abnormal``."""
    rows = database.execute(
        "select patient, epoch(begin) / 86400 as day, place from visits order by place"
    ).fetchnumpy()
    patients, first = np.unique(rows["patient"], return_index=True)
    bounds = np.append(first, len(rows["patient"]))
    owner = np.repeat(np.arange(len(patients)), np.diff(bounds))
    events = database.execute("select place, code, n from events join visits using (visit)").fetchnumpy()
    names, place = np.unique(events["code"].astype(str), return_inverse=True)
    several = np.diff(bounds)[owner[events["place"]]] > 1
    multi = np.zeros(len(names), dtype=bool)
    multi[place[several]] = True
    order = np.argsort(~multi, kind="stable")
    back = np.argsort(order)
    shape = (len(owner), len(names))
    visit_codes = sparse.csr_array((events["n"].astype(np.int16), (events["place"], back[place])), shape=shape)
    visit_codes.sort_indices()
    items, labels, categories, labs, first_day = _labs(database, len(owner))
    counts |= _sizes(visit_codes, bounds, labs, categories)
    return Records(
        dataset,
        patients.astype(np.int64),
        bounds.astype(np.int64),
        (rows["day"] - rows["day"][bounds[:-1]][owner]).astype(np.float32),
        names[order],
        int(multi.sum()),
        visit_codes,
        items,
        labels,
        categories,
        labs,
        first_day,
        counts,
    )


def _labs(database: Database, visits: int) -> tuple[Any, ...]:
    """Items, labels, categories, and visits × items: abnormal at all, and early."""
    rank = " ".join(f"when '{name}' then {number}" for number, name in enumerate(CATEGORIES))
    known = database.execute(
        "select item, min(label) as label, min(category) as kind from abnormal join visits using (visit) "
        f"group by item order by case kind {rank} end, item"
    ).fetchall()
    place = {item: number for number, (item, _, _) in enumerate(known)}
    cells = database.execute(
        "select place, item, coalesce(first <= begin + interval 24 hour, false) as early "
        "from abnormal join visits using (visit)"
    ).fetchnumpy()
    column = np.array([place[item] for item in cells["item"].tolist()], dtype=np.int64)
    shape = (visits, len(known))
    labs, early = (
        sparse.csr_array((np.ones(rows.sum(), dtype=bool), (cells["place"][rows], column[rows])), shape=shape)
        for rows in (np.ones(len(column), dtype=bool), np.asarray(cells["early"], dtype=bool))
    )
    kinds: tuple[Any, ...] = (np.int64, str, str)
    names = [np.array([row[n] for row in known], dtype=kind) for n, kind in enumerate(kinds)]
    return *names, labs, early


def _sizes(codes: sparse.csr_array, bounds: np.ndarray, labs: sparse.csr_array, kinds: np.ndarray) -> dict[str, Any]:
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


# Cohorts ---------------------------------------------------------------------------------------------------------

Splitting = Literal["forced", "random"]


def split(records: Records, how: Splitting = "random", seed: int = 42, train: int = TRAIN) -> Split:
    """Single-visit patients, and train, validation and test of those with several visits.

    * ``forced``, as reported: for every code of the vocabulary the first patient who has it, and the patient with most
      visits, are put into training, so that no code of a test patient is ever new; the rest is shuffled. The
      validation part is the large one, and the study never looks at it.
    * ``random``: by chance alone; the test part is the large one.

    Training has at most ``train`` patients and at most 70 % of those with several visits; the small part has at most
    :data:`SMALL` and 15 %.
    """
    several = np.flatnonzero(records.visits > 1)
    rng = np.random.default_rng(seed)
    n_train, small = min(train, int(0.7 * len(several))), min(SMALL, max(1, int(0.15 * len(several))))
    if n_train < 1 or len(several) < 3:
        raise InputError(f"{len(several)} patients have several visits; at least 3 are needed to train and to test")
    if how == "random":
        order = rng.permutation(several)
        parts = order[:n_train], order[n_train : n_train + small], order[n_train + small :]
    else:
        forced = _covering(records, several)
        rest = rng.permutation(np.setdiff1d(several, forced))
        order = np.concatenate([forced, rest])
        n_train = min(max(n_train, len(forced)), len(several) - 1)
        end = max(n_train, len(order) - small)
        parts = order[:n_train], order[n_train:end], order[end:]
    return Split(np.flatnonzero(records.visits == 1), *(np.sort(part) for part in parts))


def _covering(records: Records, several: np.ndarray) -> np.ndarray:
    """For each target code the first patient with several visits who has it, and the patient with most visits."""
    owner = records.owner
    visit, code = records.visit_codes.nonzero()
    visit, code = visit[code < records.targets], code[code < records.targets]
    kept = records.visits[owner[visit]] > 1
    first = np.full(records.targets, np.iinfo(np.int64).max)
    np.minimum.at(first, code[kept], owner[visit[kept]])
    longest = several[np.argmax(records.visits[several])]
    return np.unique(np.append(first, longest))


def target_codes(records: Records, patients: np.ndarray) -> sparse.csr_array:
    """Which target codes stand at the last visit of each patient, (n, targets) bool."""
    last = records.first[patients + 1] - 1
    return (records.visit_codes[last][:, : records.targets] > 0).tocsr()


def heart_failure(records: Records) -> np.ndarray:
    """Which codes are heart failure, (n_codes,) bool."""
    return np.char.startswith(records.codes, HEART_FAILURE)


# Account ---------------------------------------------------------------------------------------------------------


def account(records: Records, how: Splitting = "forced", seed: int = 42) -> dict[str, Any]:
    """Every count of the preparation, by phase; names as in ``reported.json``."""
    from companions.dualk import graph  # which reads Records

    counts, parts = records.counts, split(records, how, seed)
    several = np.concatenate([parts.train, parts.validation, parts.test])
    targets = target_codes(records, several)
    positive = np.asarray(targets.sum(axis=0)).ravel()
    edges = graph.cooccurrence(records, parts.pretrain)
    hearts = heart_failure(records)[: records.targets]
    inner = {
        name: [len(part), records.targets]
        for name, part in zip(("train", "validation", "test"), parts[1:], strict=True)
    }
    sizes = {name: len(records.category(name)) for name in CATEGORIES}
    phase = {
        "1 admissions and diagnoses": [
            "admissions_read", "admissions_kept", "diagnosis_rows", "diagnosis_rows_icd10", "diagnosis_rows_unmapped",
            "icd10_codes", "icd10_codes_unmapped", "repeated_codes", "patients_removed", "patients", "visits",
            "most_visits", "most_codes_a_visit",
        ],
        "2 abnormal laboratory sets": [
            "labevents", "labevents_without_admission", "labevents_abnormal", "largest_abnormal_set",
            "most_abnormal_a_visit", "abnormal_sets",
        ],
    }  # fmt: skip
    return {
        "dataset": records.dataset,
        **{title: {name: counts[name] for name in names if name in counts} for title, names in phase.items()},
        "3 vocabulary": {
            "laboratory_items": len(records.items),
            "laboratory_items_by_category": sizes,
            "codes_of_several_visits": records.targets,
            "codes": len(records.codes),
        },
        "4 names": {"codes_without_title": int((records.titles == "").sum())},
        "5 cohorts": {
            "split": how,
            "single_visit_patients": len(parts.single),
            "several_visit_patients": len(several),
            "pretrain": len(parts.pretrain),
            **{name: len(part) for name, part in zip(("train", "validation", "test"), parts[1:], strict=True)},
        },
        "6 graph": {
            "nodes": len(records.codes) + 1,
            "edges": edges.n,
            "self_edges": int((edges.source == edges.target).sum()),
            "mean_degree": edges.n / (len(records.codes) + 1),
        },
        "7 node features": {"codes_without_vector": int(graph.without_vector(records.codes).sum())},
        "8 data sets": {
            "single_visit_laboratory": [len(parts.single), len(records.items), len(records.codes)],
            "pretraining": [len(parts.pretrain), counts["most_visits"], counts["most_codes_a_visit"]],
            "targets": inner,
        },
        "9 tasks": {
            "rare_codes": int((positive <= RARE).sum()),
            "rare_codes_never_positive": int((positive == 0).sum()),
            "heart_failure_patients": int((targets[:, hearts].sum(axis=1) > 0).sum()) if hearts.any() else 0,
        },
    }
