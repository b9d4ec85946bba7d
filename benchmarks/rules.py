"""Do synthetic patients keep the rules that real ones keep?

``python -m benchmarks.rules`` draws a hospital whose patients keep nine rules, trains generators on
it and writes to ``rules.json`` how often each rule is broken, beside patients with the same codes
drawn on their own, and whether rare pairs of codes that are allowed survive. Minutes on one core.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from scipy import sparse

from scoehr.data import rules
from scoehr.data.columns import Column, Columns
from scoehr.data.matrix import CodeMatrix
from scoehr.data.patients import Patients
from scoehr.data.rules import Fact, Rule
from scoehr.files import write_json
from scoehr.generators import Whole, preset
from scoehr.metrics.arrays import independent_columns

RESULTS = Path(__file__).with_name("rules.json")
PATIENTS = 5_000
CODES = ["female", "male", "pregnant", "prostate", "A", "B", "C", "D", "E", "F"]
CODES += ["public", "private", "unpaid", *(f"x{number:02}" for number in range(66))]
#: What every patient of the hospital keeps, by its name in the table.
KEPT = {
    "exactly one sex": ("one of", "female", "male"),
    "the pregnant are women": ("implies", "pregnant", "female"),
    "prostates are men's": ("implies", "prostate", "male"),
    "B with A": ("implies", "A", "B"),
    "A with B": ("implies", "B", "A"),
    "no D with C": ("excludes", "C", "D"),
    "F with E": ("implies", "E", "F"),
    "exactly one of three insurances": ("one of", "public", "private", "unpaid"),
}


def hospital(n: int = PATIENTS, seed: int = 0) -> Patients:
    """Patients of 79 codes with rules between them, and one column of text and one of numbers."""
    rng = np.random.default_rng(seed)
    found = dict.fromkeys(CODES)
    found["female"] = rng.random(n) < 0.5
    found["male"] = ~found["female"]
    found["pregnant"] = found["female"] & (rng.random(n) < 0.1)
    found["prostate"] = found["male"] & (rng.random(n) < 0.08)
    found["A"] = found["B"] = rng.random(n) < 0.05
    found["C"] = rng.random(n) < 0.06
    found["D"] = ~found["C"] & (rng.random(n) < 0.1)
    found["F"] = rng.random(n) < 0.2
    found["E"] = found["F"] & (rng.random(n) < 0.2)
    insurance = rng.choice(3, n, p=[0.5, 0.3, 0.2])
    for number, name in enumerate(("public", "private", "unpaid")):
        found[name] = insurance == number
    mixed = rng.random((n, 3)) < [0.3, 0.2, 0.1]  # what the others go with
    for number in range(66):
        rate = 0.3 / (number + 1) + 0.1 * mixed[:, number % 3] / (number // 6 + 1)
        found[f"x{number:02}"] = rng.random(n) < rate
    grid = np.column_stack([found[code] for code in CODES]).astype(int)
    matrix = CodeMatrix.from_array(grid, CODES)
    ward = np.where(found["pregnant"], 0, np.where(found["prostate"], -1, rng.integers(1, 3, n)))
    columns = Columns(
        (Column("ward", "category", ("birth", "east", "west")), Column("age", "number")),
        (ward, rng.normal(50, 9, n)),
    )
    made = Patients.from_matrix(matrix)
    return Patients(
        made.counts, made.starts, made.patients, made.codes, made.titles, columns=columns
    )


def broken(patients: Patients) -> dict[str, float]:
    """Share of patients who break each rule, of those with its first fact; and ``any`` of them."""
    has = dict(zip(patients.codes, patients.to_matrix().counts.toarray().T > 0, strict=True))
    kept = [
        Rule(kind, tuple(Fact("", code) for code in codes), 0, 0.0)  # type: ignore[arg-type]
        for kind, *codes in KEPT.values()
    ]
    breaks = rules.broken(kept, patients).toarray()
    found = {}
    for name, (kind, first, *_), rows in zip(KEPT, KEPT.values(), breaks.T, strict=True):
        found[name] = float(rows.mean() if kind == "one of" else rows[has[first]].mean())
    return found | {"any": float(breaks.any(axis=1).mean())}


def rare(train: Patients, held_out: Patients) -> dict[str, float]:
    """How many pairs of codes held-out patients show once or twice, and the share allowed."""
    together = sparse.triu(held_out.presence().T @ held_out.presence(), 1).tocoo()
    few = (together.data >= 1) & (together.data <= 2)
    found = {
        frozenset(fact.value for fact in rule.facts)
        for rule in rules.find(train)
        if rule.kind == "excludes"
    }
    pairs = [
        frozenset(held_out.codes[[a, b]].tolist())
        for a, b in zip(together.row[few], together.col[few], strict=True)
    ]
    return {"pairs": len(pairs), "allowed": float(np.mean([pair not in found for pair in pairs]))}


def measure() -> dict[str, Any]:
    """Shares of each generator's patients, and of independent codes, who break each rule."""
    real, rng = hospital(), np.random.default_rng(1)
    alone = CodeMatrix.from_array(independent_columns(real.counts, rng), CODES)
    thinning = preset("thinning").fit(real.to_matrix(), seed=0, progress=False)
    whole = Whole().fit(real, seed=0, progress=False)
    kept = whole.sample(PATIENTS, progress=False)
    found, share = sum(map(len, whole.rules.values())), whole.accepted / whole.proposed
    whole.rules = {"patient": [], "visit": []}
    made = {
        "other real patients": hospital(seed=1),
        "independent codes": Patients.from_matrix(alone),
        "thinning, codes alone": Patients.from_matrix(thinning.sample(PATIENTS, progress=False)),
        "whole, rules off": whole.sample(PATIENTS, progress=False),
        "whole": kept,
    }
    return {
        "patients": PATIENTS,
        "broken": {name: broken(patients) for name, patients in made.items()},
        "rules": found,
        "kept": share,
        "rare": rare(real, hospital(seed=2)),
    }


if __name__ == "__main__":
    write_json(RESULTS, measure())
    print(f"wrote {RESULTS}")
