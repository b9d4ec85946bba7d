"""Every table and figure of DuaLK, with ours beside it."""

from __future__ import annotations

from typing import Any

import pandas as pd

from companions.dualk import results
from companions.dualk.claims import QUOTES
from companions.dualk.experiments import Run
from companions.dualk.results import LOGGED, Runs
from reproduction.estimates import Estimate
from reproduction.exhibits import Exhibit, apart, beside

#: Figures that print no number, and the pages that have ours.
DRAWN = {
    "Figure: map of the embedded diseases": "notebooks/20-dualk-data#dualk-embeddings",
    "Tables: attention by visit and by code": "notebooks/21-dualk-model#dualk-graph-attention",
    "Figure: laboratory items of heart failure": "notebooks/21-dualk-model#dualk-stages",
}
#: Titles of the logs by stage.
LOGS = {
    "joint": "Log: joint pre-training",
    "laboratory": "Log: the laboratory layer",
    "fine-tuning": "Log: fine-tuning",
}


def all_exhibits(found: Runs) -> dict[str, list[Exhibit]]:
    """The exhibits of the study; ``found`` are the runs that the pages show."""
    logs = [_log(found["reported"], stage) for stage in LOGS]
    plain = [
        Exhibit(title, "interpretation", place, None, UNQUOTED) for title, place in DRAWN.items()
    ]
    return {"DuaLK": [_counts(found), *logs, *plain]}


UNQUOTED = "The study prints no number with it; the page shows the same of the models here."


def _counts(found: Runs) -> Exhibit:
    counts = results.counts(found["knowledge-forced"].metrics["account"]).rename(
        columns={"MIMIC-IV, reported": "reported"}
    )
    both = counts[(counts["here"] != "") & (counts["reported"] != "")]
    same = int((both["here"] == both["reported"]).sum())
    meaning = f"Of {len(both)} counts {same} are the same; the study's are of MIMIC-IV."
    place = "notebooks/20-dualk-data#dualk-counts"
    shown = counts[["reported", "here"]]
    return Exhibit("Counts of the preparation", "lines 112 to 346", place, shown, meaning)


def _log(run: Run, stage: str) -> Exhibit:
    """The last reported line of a stage, and the last epoch of ours."""
    lines = [line for line in QUOTES.values["logs"] if line["stage"] == stage]
    line = lines[-1]
    ours = run.history[run.history["stage"] == stage]
    reported = {title: line[name] for name, title in LOGGED.items() if _is_number(line.get(name))}
    here = {}
    if len(ours):
        last = ours.iloc[-1]
        here = {
            title: Estimate(float(last[name]))
            for name, title in LOGGED.items()
            if title in reported and name in last
        }
    source = f"line {line['line']}, epoch {line['epoch']}"
    place = "notebooks/21-dualk-model#dualk-stages"
    shown = beside(reported, here)
    return Exhibit(LOGS[stage], source, place, shown, apart(reported, here))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not pd.isna(value)
