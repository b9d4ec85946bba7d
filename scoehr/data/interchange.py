"""Patients as records of visits, the form that PyHealth and models of sequences take.

A record is ``{"patient_id": …, "visits": [[code, …], …]}``. Read from hospital tables, a visit is an admission, in the
order of admission, and a code stands in it as often as the diagnosis table has it there. Made of a matrix
(:meth:`scoehr.data.matrix.CodeMatrix.to_records`), visits are the fewest in which no code repeats.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from scoehr.data import reading
from scoehr.files import InputError, replacing, user_path

Record = dict[str, Any]


def statistics(records: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """Patients, visits and events (codes in visits), and their ratios, as PyHealth counts them."""
    sizes = [[len(visit) for visit in record["visits"]] for record in records]
    patients, visits, events = len(sizes), sum(map(len, sizes)), sum(map(sum, sizes))
    return {
        "patients": patients,
        "visits": visits,
        "visits per patient": visits / patients if patients else float("nan"),
        "events": events,
        "codes per visit": events / visits if visits else float("nan"),
    }


def write(records: Iterable[Mapping[str, Any]], path: str | Path) -> int:
    """Write records as JSON lines in the schema of PyHealth's generation tasks; return how many were written.

    ``patient_id`` is text, ``visits`` a list of non-empty lists of codes. Visits without codes, and patients without
    visits, are left out, as those tasks leave them out.
    """
    coded = (
        {
            "patient_id": str(record["patient_id"]),
            "visits": [list(visit) for visit in record["visits"] if visit],
        }
        for record in records
    )
    lines = [json.dumps(record, ensure_ascii=False) for record in coded if record["visits"]]
    with replacing(path) as scratch:
        scratch.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return len(lines)


def read(path: str | Path) -> list[Record]:
    """Read JSON lines of records, such as those of :func:`write` or of a PyHealth generator.

    InputError names the first line that is no record.
    """
    try:
        lines = reading.regular(user_path(path)).read_text(encoding="utf-8-sig").split("\n")
    except UnicodeDecodeError:
        raise InputError(f"{path}: not text in UTF-8; write the records as JSON lines") from None
    return [
        _record(line, f"{path}, row {row}") for row, line in enumerate(lines, 1) if line.strip()
    ]


def _record(line: str, where: str) -> Record:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        raise InputError(f"{where}: not JSON; write one record a line") from None
    if not isinstance(record, dict) or not {"patient_id", "visits"} <= set(record):
        raise InputError(f"{where}: has no patient_id and visits; write both in every record")
    visits = record["visits"]
    listed = isinstance(visits, list) and all(isinstance(visit, list) for visit in visits)
    if not listed or not all(isinstance(code, str) for visit in visits for code in visit):
        raise InputError(
            f"{where}, visits: not lists of codes; write a list of text codes for each visit"
        )
    return record
