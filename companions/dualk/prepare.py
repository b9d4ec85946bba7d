"""From raw tables to visits: the study's phases of preparation, sparse all the way, every count kept.

DuckDB reads the CSV(.gz) tables as they are released (:mod:`scoehr.data.reading`). The result, :class:`Records`, holds the
visits of all patients in time order, their codes and their abnormal laboratory items; :func:`split` makes the cohorts;
:func:`account` says of every phase what a holder of MIMIC-IV can compare with the study's figures.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import duckdb
import numpy as np
from scipy import sparse

from companions.dualk import simulate
from scoehr.data import datasets, icd, reading
from scoehr.data.datasets import Digits
from scoehr.data.reading import Database
from scoehr.data.simulate import SEAL, check_seal, seal_again
from scoehr.files import ROOT, InputError, user_path

#: Data sets of this companion.
DATASETS = ("simulated", "mimic3", "mimic4", "diabetes130")
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
        raise InputError(
            f"data set {dataset!r} is unknown to DuaLK; choose one of {', '.join(DATASETS)}"
        )
    place = tables_of(dataset, source, simulated, seed)
    scratch = tempfile.gettempdir()
    with duckdb.connect(
        config={"threads": 2, "memory_limit": "2GB", "temp_directory": scratch}
    ) as database:
        counts = READERS[dataset](database, place, digits, after)
        _valid_visits(database, counts)
        records = _arrange(database, dataset, counts)
    return records


def tables_of(dataset: str, source: str | Path | None, patients: int, seed: int) -> Path:
    """Where the tables of a data set lie; those of the simulated cohort are written if need be."""
    if source is None and dataset != "simulated":
        raise InputError(
            f"data set {dataset!r} needs the folder of its tables; give it by --source"
        )
    if source is None:
        place = (
            ROOT / "data" / "dualk-simulated" / f"{patients}-patients-seed-{seed}-{simulate.FORM}"
        )
        write = partial(simulate.write_tables, patients=patients, seed=seed)
        if not place.exists():
            write(place)
        elif not (place / SEAL).exists():
            seal_again(place, write)
        check_seal(place)
        return place
    place = user_path(source)
    if not place.exists():
        raise InputError(f"{place}: no such file or folder; check the path")
    if dataset == "simulated":
        check_seal(place)
    return place


def _mimic4(database: Database, source: Path, digits: Digits, after: int) -> dict[str, Any]:
    """Tables ``stays`` (patient, visit, begin) of the kept admissions, ``coded`` and ``abnormal``; the counts."""
    _, account = datasets.HOSPITALS["mimic4"](database, source, digits)
    _stays(database)
    path = reading.find(source, "patients")
    columns = {"subject_id": "patient", "anchor_year": "anchor", "anchor_year_group": "years"}
    reading.read(database, "people", path, columns, whole=["subject_id", "anchor_year"])
    reading.refuse(
        database,
        "select rowid, years from people where not coalesce(regexp_matches(years, '^\\d{4}(\\D|$)'), false)",
        lambda row, value: (
            f"{path}, column anchor_year_group, row {row}: {value or 'empty'!r} does not begin with a year; "
            "write it as 2014 - 2016"
        ),
    )
    reading.refuse(
        database,
        "select rowid, patient from stays anti join people using (patient)",
        lambda row, value: (
            f"{path}: has no patient {value} of admissions row {row}; give tables of one release"
        ),
    )
    moved = "anchor - left(years, 4)::int from people where people.patient = stays.patient"
    database.execute(f"delete from stays where year(begin) - (select {moved}) <= {after}")
    return _counts(database, account) | _laboratory(database, source)


def _mimic3(database: Database, source: Path, digits: Digits, after: int) -> dict[str, Any]:
    del after  # MIMIC-III has no anchor years: all its admissions count
    _, account = datasets.HOSPITALS["mimic3"](database, source, digits)
    _stays(database)
    return _counts(database, account) | _laboratory(database, source)


def _diabetes130(database: Database, source: Path, digits: Digits, after: int) -> dict[str, Any]:
    """Encounters in the order of their ids, a day apart. No laboratory items."""
    del after
    _, account = datasets.HOSPITALS["diabetes130"](database, source, digits)
    number = "row_number() over (partition by patient order by begin)"
    _stays(database, f"timestamp '2000-01-01' + to_days({number}::int)")
    _no_results(database)
    return _counts(database, account) | {"labevents": "no table"}


def _stays(database: Database, begin: str = "begin") -> None:
    """Table ``stays`` of all admissions that :mod:`scoehr.data.datasets` has read."""
    database.execute(
        f"create temp table stays as select patient, visit, {begin} as begin from admissions"
    )


def _counts(database: Database, account: dict[str, Any]) -> dict[str, Any]:
    """Table ``coded`` (visit, code, n) of the kept admissions, and the counts of what the reader did."""
    database.execute(
        "create temp table coded as select visit, code, count(*) as n from diagnoses join places using (raw) "
        "join stays using (visit) group by all"
    )
    tenth = "select count(distinct raw) from diagnoses where starts_with(raw, '10:')"
    unmapped = account.get("codes_unmapped", {})
    return {
        "admissions_read": account["admissions"],
        "admissions_kept": reading.number_of_rows(database, "stays"),
        "diagnosis_rows": account["rows_read"],
        "diagnosis_rows_icd10": account.get("rows_icd10", 0),
        "diagnosis_rows_unmapped": sum(unmapped.values()),
        "icd10_codes": int((database.execute(tenth).fetchone() or (0,))[0]),
        "icd10_codes_unmapped": len(unmapped),
        **{name: account[name] for name in datasets.NAMED if name in account},
    }


def _no_results(database: Database) -> None:
    """An empty table ``abnormal`` (visit, item, label, category, first)."""
    database.execute(
        "create temp table abnormal (visit bigint, item bigint, label varchar, category varchar, first timestamp)"
    )


def _laboratory(database: Database, source: Path) -> dict[str, Any]:
    """Table ``abnormal`` (visit, item, label, category, first): items flagged abnormal at a visit, and first when."""
    names, events = (reading.look_for(source, name) for name in ("d_labitems", "labevents"))
    _no_results(database)
    if names is None or events is None:
        return {"labevents": "no table"}
    columns = {"itemid": "item", "label": "label", "category": "category"}
    reading.read(database, "labitems", names, columns, whole=["itemid"])
    reading.refuse_repeats(database, "labitems", "item", names, "itemid")
    _tested(database, events)
    wanted = ", ".join(f"'{name}'" for name in CATEGORIES)
    database.execute(
        "insert into abnormal select visit, item, label, lower(category) as kind, first "
        "from tested join labitems using (item) join stays using (visit) "
        f"where abnormal > 0 and visit is not null and kind in ({wanted})"
    )
    rows, without, positive = database.execute(
        "select sum(rows), sum(rows) filter (visit is null), sum(abnormal) filter (visit is not null) from tested"
    ).fetchall()[0]
    unknown = (
        "select sum(rows) from tested anti join admissions using (visit) where visit is not null"
    )
    return {
        "labevents": int(rows or 0),
        "labevents_without_admission": int(without or 0),
        "labevents_of_no_admission": int((database.execute(unknown).fetchone() or (0,))[0] or 0),
        "labevents_abnormal": int(positive or 0),
        "largest_abnormal_set": _largest_set(database),
    }


def _tested(database: Database, path: Path) -> None:
    """Table ``tested`` (visit, item, rows, abnormal, first) from the events, which are read once and never held."""
    names = reading.header(path)
    forms = {"hadm_id": "whole", "itemid": "whole", "charttime": "date"}
    missing = next((name for name in (*forms, "flag") if name not in names), None)
    if missing:
        raise InputError(
            f"{path}: has no column {missing}; give the whole table of laboratory events"
        )
    visit, item, time = (reading.checked(name, form) for name, form in forms.items())
    flagged = f"lower({reading.text('flag')}) = 'abnormal'"
    key = next((reading.text(name) for name in ("labevent_id", "row_id") if name in names), "null")
    with reading.reading_checked(database, path, forms):
        database.execute(
            f"create temp table tested as select {visit} as visit, {item} as item, count(*) as rows, "
            f"count(*) filter ({flagged}) as abnormal, min({time}) filter ({flagged}) as first, "
            f"if(count({key}) > 1 and min({key}) = max({key}), min({key}), null) as again "
            f"from {reading.scan(path)} group by all"
        )
    twice = database.execute("select min(again) from tested").fetchone()
    if twice and twice[0] is not None:
        raise InputError(
            f"{path}: the row with the id {twice[0]} stands there more than once; give every row once"
        )


def _largest_set(database: Database) -> int:
    """Most abnormal items an admission has, of all categories."""
    sets = "select count(*) as n from tested join stays using (visit) where abnormal > 0 group by visit"
    return int((database.execute(f"select max(n) from ({sets})").fetchone() or (0,))[0] or 0)


READERS = {"simulated": _mimic4, "mimic3": _mimic3, "mimic4": _mimic4, "diabetes130": _diabetes130}

# Visits ----------------------------------------------------------------------------------------------------------


def _valid_visits(database: Database, counts: dict[str, Any]) -> None:
    """Table ``visits`` (patient, visit, begin, place): patients with an admission without codes go as a whole."""
    database.execute(
        "create temp table incomplete as select distinct patient from stays anti join coded using (visit)"
    )
    database.execute(
        "create temp table visits as select patient, visit, begin, row_number() over (order by patient, begin, visit) "
        "- 1 as place from stays anti join incomplete using (patient)"
    )
    counts["patients_removed"] = reading.number_of_rows(database, "incomplete")
    people = "select count(distinct patient), max(n) from (select patient, count(*) as n from visits group by all)"
    patients, most = database.execute(people).fetchall()[0]
    if not patients or most < 2:
        raise InputError(
            f"{patients} patients are left and none has two visits; DuaLK needs a history and an answer"
        )


def _arrange(database: Database, dataset: str, counts: dict[str, Any]) -> Records:
    """Arrays from the tables ``visits``, ``coded`` and ``abnormal``."""
    rows = database.execute(
        "select patient, epoch(begin) / 86400 as day, place from visits order by place"
    ).fetchnumpy()
    patients, first = np.unique(rows["patient"], return_index=True)
    bounds = np.append(first, len(rows["patient"]))
    owner = np.repeat(np.arange(len(patients)), np.diff(bounds))
    events = database.execute(
        "select place, code, n from coded join visits using (visit)"
    ).fetchnumpy()
    names, place = np.unique(events["code"].astype(str), return_inverse=True)
    several = np.diff(bounds)[owner[events["place"]]] > 1
    multi = np.zeros(len(names), dtype=bool)
    multi[place[several]] = True
    order = np.argsort(~multi, kind="stable")
    back = np.argsort(order)
    shape = (len(owner), len(names))
    visit_codes = sparse.csr_array(
        (events["n"].astype(np.int16), (events["place"], back[place])), shape=shape
    )
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
        sparse.csr_array(
            (np.ones(rows.sum(), dtype=bool), (cells["place"][rows], column[rows])), shape=shape
        )
        for rows in (np.ones(len(column), dtype=bool), np.asarray(cells["early"], dtype=bool))
    )
    kinds: tuple[Any, ...] = (np.int64, str, str)
    names = [np.array([row[n] for row in known], dtype=kind) for n, kind in enumerate(kinds)]
    return *names, labs, early


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
    n_train, small = (
        min(train, int(0.7 * len(several))),
        min(SMALL, max(1, int(0.15 * len(several)))),
    )
    if n_train < 1 or len(several) < 3:
        raise InputError(
            f"{len(several)} patients have several visits; at least 3 are needed to train and to test"
        )
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
            "icd10_codes", "icd10_codes_unmapped", *datasets.NAMED, "repeated_codes", "patients_removed", "patients",
            "visits", "most_visits", "most_codes_a_visit",
        ],
        "2 abnormal laboratory sets": [
            "labevents", "labevents_without_admission", "labevents_of_no_admission", "labevents_abnormal",
            "largest_abnormal_set", "most_abnormal_a_visit", "abnormal_sets",
        ],
    }  # fmt: skip
    return {
        "dataset": records.dataset,
        **{
            title: {name: counts[name] for name in names if name in counts}
            for title, names in phase.items()
        },
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
            **{
                name: len(part)
                for name, part in zip(("train", "validation", "test"), parts[1:], strict=True)
            },
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
            "pretraining": [
                len(parts.pretrain),
                counts["most_visits"],
                counts["most_codes_a_visit"],
            ],
            "targets": inner,
        },
        "9 tasks": {
            "rare_codes": int((positive <= RARE).sum()),
            "rare_codes_never_positive": int((positive == 0).sum()),
            "heart_failure_patients": int((targets[:, hearts].sum(axis=1) > 0).sum())
            if hearts.any()
            else 0,
        },
    }
