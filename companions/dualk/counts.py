"""Every count of the preparation, which a holder of MIMIC-IV can compare with the study's."""

from __future__ import annotations

from typing import Any

import numpy as np

from companions.dualk import graph
from companions.dualk.cohorts import (
    CATEGORIES,
    Records,
    Split,
    Splitting,
    heart_failure,
    split,
    target_codes,
)
from scoehr.data import hospitals

#: Codes with at most so many positive targets are rare in the study.
RARE = 3
#: Entries of :attr:`Records.counts` by phase.
READ = {
    "1 admissions and diagnoses": [
        "admissions_read", "admissions_kept", "diagnosis_rows", "diagnosis_rows_icd10",
        "diagnosis_rows_unmapped", "icd10_codes", "icd10_codes_unmapped", *hospitals.NAMED,
        "repeated_codes", "patients_removed", "patients", "visits", "most_visits",
        "most_codes_a_visit",
    ],
    "2 abnormal laboratory sets": [
        "labevents", "labevents_without_admission", "labevents_of_no_admission",
        "labevents_abnormal", "largest_abnormal_set", "most_abnormal_a_visit", "abnormal_sets",
    ],
}  # fmt: skip


def account(records: Records, how: Splitting = "forced", seed: int = 42) -> dict[str, Any]:
    """Every count of the preparation, by phase; names as in ``reported.json``."""
    counts, parts = records.counts, split(records, how, seed)
    edges = graph.cooccurrence(records, parts.pretrain)
    nodes = len(records.codes) + 1
    found: dict[str, Any] = {"dataset": records.dataset}
    for phase, names in READ.items():
        found[phase] = {name: counts[name] for name in names if name in counts}
    sizes = {name: len(records.category(name)) for name in CATEGORIES}
    without = graph.without_vector(records.codes)
    return found | {
        "3 vocabulary": {
            "laboratory_items": len(records.items),
            "laboratory_items_by_category": sizes,
            "codes_of_several_visits": records.targets,
            "codes": len(records.codes),
        },
        "4 names": {"codes_without_title": int((records.titles == "").sum())},
        "5 cohorts": _cohorts(parts, how),
        "6 graph": {
            "nodes": nodes,
            "edges": edges.n,
            "self_edges": int((edges.source == edges.target).sum()),
            "mean_degree": edges.n / nodes,
        },
        "7 node features": {"codes_without_vector": int(without.sum())},
        "8 data sets": _data_sets(records, parts),
        "9 tasks": _tasks(records, parts),
    }


def _cohorts(parts: Split, how: Splitting) -> dict[str, Any]:
    sizes = {name: len(part) for name, part in parts._asdict().items() if name != "single"}
    return {
        "split": how,
        "single_visit_patients": len(parts.single),
        "several_visit_patients": sum(sizes.values()),
        "pretrain": len(parts.pretrain),
        **sizes,
    }


def _data_sets(records: Records, parts: Split) -> dict[str, Any]:
    most = [records.counts["most_visits"], records.counts["most_codes_a_visit"]]
    parted = {name: part for name, part in parts._asdict().items() if name != "single"}
    return {
        "single_visit_laboratory": [len(parts.single), len(records.items), len(records.codes)],
        "pretraining": [len(parts.pretrain), *most],
        "targets": {name: [len(part), records.targets] for name, part in parted.items()},
    }


def _tasks(records: Records, parts: Split) -> dict[str, int]:
    """How rare the codes of the last visits are, and how many patients have heart failure there."""
    several = np.concatenate([parts.train, parts.validation, parts.test])
    targets = target_codes(records, several)
    positive = np.asarray(targets.sum(axis=0)).ravel()
    failure = targets[:, heart_failure(records)[: records.targets]]
    return {
        "rare_codes": int((positive <= RARE).sum()),
        "rare_codes_never_positive": int((positive == 0).sum()),
        "heart_failure_patients": int((failure.sum(axis=1) > 0).sum()) if failure.shape[1] else 0,
    }
