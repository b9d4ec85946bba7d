"""A blinded review by clinicians: the packet that they score, and what their scores say.

In the paper three clinicians saw 100 real and 100 synthetic patients, mixed, and called each
realistic or unrealistic; three rules turn their votes on a patient into one label (Naseer et al.
2023, as quoted in the report).
"""

from __future__ import annotations

import csv
import hashlib
import html
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import sparse

from reproduction.estimates import Estimate, bootstrap, newcombe, wilson
from scoehr.data.datasets import credentialed
from scoehr.data.matrix import CodeMatrix
from scoehr.files import CHECKOUT, ROOT, InputError, check_seed, neutral, replacing

#: The paper's scale, and what the key tells of a record.
REALISM = ("realistic", "unrealistic")
ORIGINS = ("real", "synthetic")
#: The paper's three rules: whether a record with so many votes for realistic, of so many reviewers,
#: counts as such.
RULES: dict[str, Callable[[np.ndarray, int], np.ndarray]] = {
    "every reviewer": lambda votes, reviewers: votes == reviewers,
    "most reviewers": lambda votes, reviewers: 2 * votes > reviewers,
    "any reviewer": lambda votes, reviewers: votes > 0,
}
#: Folders that are published.
PUBLISHED = ("book", "saved_models", "synthetic_data")
DRAWS = 2000


# The packet ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Packet:
    """Real and synthetic records, shuffled and numbered anew.

    Attributes:
        records: matrix whose patients are the numbers that reviewers see, with the codes of both
            sides
        origins: array of shape (n_records,), "real" or "synthetic"
    """

    records: CodeMatrix
    origins: np.ndarray

    @property
    def name(self) -> str:
        """The letters before every number: sheets and keys of another packet have others."""
        return str(self.records.patients[0]).split("-")[0]

    def lines(self, row: int) -> pd.DataFrame:
        """Columns code, title, count of one record, in the order of the codes."""
        cells = slice(self.records.counts.indptr[row], self.records.counts.indptr[row + 1])
        columns, counts = self.records.counts.indices[cells], self.records.counts.data[cells]
        codes, titles = self.records.codes[columns], self.records.titles[columns]
        return pd.DataFrame({"code": codes, "title": titles, "count": counts})


def packet(real: CodeMatrix, synthetic: CodeMatrix, *, n: int = 100, seed: int = 0) -> Packet:
    """Draw ``n`` patients of each side and shuffle them.

    Where one side is of presence, the other is cut to it, and titles known to one side serve both:
    neither counts nor titles give a record away. InputError if a side has fewer patients, or the
    two are coded differently.
    """
    rng = np.random.default_rng(check_seed(seed))
    strange = synthetic.codes[~np.isin(synthetic.codes, real.codes)]
    if 2 * len(strange) > len(synthetic.codes):
        raise InputError(
            f"most codes of the synthetic patients, such as {strange[0]}, are unknown to the real "
            "ones; give tables of one vocabulary"
        )
    both = {"real": real, "synthetic": synthetic}
    sides = [_drawn(origin, matrix, n, rng) for origin, matrix in both.items()]
    if "binary" in (real.kind, synthetic.kind):
        sides = [side.to_binary() for side in sides]
    titles: dict[str, str] = {}
    for side in sides:
        known = side.titles != ""
        titles |= zip(side.codes[known], side.titles[known], strict=True)
    codes = sorted({*real.codes.tolist(), *synthetic.codes.tolist()})
    order = rng.permutation(2 * n)
    counts = sparse.csr_array(sparse.vstack([side.align(codes).counts for side in sides]))[order]
    name = _name(counts)
    numbers = [f"{name}-{number:03d}" for number in range(1, 2 * n + 1)]
    named = [titles.get(code, "") for code in codes]
    records = CodeMatrix(counts, np.array(numbers), np.array(codes), np.array(named), sides[0].kind)
    return Packet(records, np.repeat(ORIGINS, n)[order])


def _drawn(origin: str, matrix: CodeMatrix, n: int, rng: np.random.Generator) -> CodeMatrix:
    if len(matrix) < n:
        raise InputError(
            f"{len(matrix)} {origin} patients are too few for {n} records; give more patients or "
            "ask less"
        )
    return matrix.take(rng.choice(len(matrix), n, replace=False))


def _name(counts: sparse.csr_array) -> str:
    """Four consonants, which spell no word and no number, from what the records hold."""
    held = b"".join(part.tobytes() for part in (counts.indptr, counts.indices, counts.data))
    digest = hashlib.sha256(held).digest()
    return "".join("bcdfghjkmnpqrstvwxz"[byte % 19] for byte in digest[:4])


def write(
    made: Packet, folder: Path, key: Path, *, dataset: str, fingerprint: str | None = None
) -> None:
    """Write packet.csv, scores.csv and packet.html to a new ``folder``, the origins to ``key``.
    InputError if either is there already, if the key would lie in the folder that reviewers get, or
    if real records would lie where things are published, unless ``dataset`` and ``fingerprint`` are
    known to be open (:func:`scoehr.data.datasets.credentialed`).
    """
    if there := [path for path in (folder, key) if path.exists()]:
        once = "give a new path, for a key fits one packet only"
        raise InputError(f"{there[0]}: is there already; {once}")
    if folder.resolve() in key.resolve().parents:
        raise InputError(f"{key}: lies in the folder that reviewers get; put the key elsewhere")
    if credentialed(dataset, fingerprint) and (home := _published(folder)):
        raise InputError(
            f"{folder}: lies in {home}, which is published, and the records are real; write it "
            "elsewhere"
        )
    numbers = made.records.patients
    records = {number: _safe(made.lines(row)) for row, number in enumerate(numbers)}
    lines = pd.concat(records, names=["record"])
    with replacing(folder) as scratch, replacing(key) as secret:
        scratch.mkdir()
        lines.droplevel(1).to_csv(scratch / "packet.csv")
        (scratch / "packet.html").write_text(page(made), encoding="utf-8")
        sheet = pd.DataFrame({"record": numbers, "realism": ""})
        sheet.to_csv(scratch / "scores.csv", index=False)
        pd.DataFrame({"record": numbers, "origin": made.origins}).to_csv(secret, index=False)


def _safe(lines: pd.DataFrame) -> pd.DataFrame:
    """Lines of a record whose words no spreadsheet takes for a formula."""
    return lines.assign(code=lines["code"].map(neutral), title=lines["title"].map(neutral))


def _published(path: Path) -> str | None:
    """The published folder that a path lies in."""
    homes = [(root / name).resolve() for root in (CHECKOUT, ROOT) for name in PUBLISHED]
    within = [home for home in homes if path.resolve().is_relative_to(home)]
    return f"{within[0].name}/" if within else None


def page(made: Packet) -> str:
    """The packet as one offline HTML page whose form keeps its answers and saves them as CSV."""
    parts = {
        "name": made.name,
        "number": str(len(made.origins)),
        "cards": "\n".join(card(made, row) for row in range(len(made.origins))),
    }
    text = resources.files(__package__).joinpath("review.html").read_text(encoding="utf-8")
    for name, part in parts.items():
        text = text.replace(f"@{name}@", part)
    return text


def card(made: Packet, row: int) -> str:
    """One record as the reviewer sees it: its diagnoses and the two answers, as HTML."""
    number = made.records.patients[row]
    rows = "".join(
        f'<tr><td class="words">{html.escape(line.code)}</td>'
        f'<td class="words">{html.escape(line.title)}</td>'
        f"<td>{line.count}</td></tr>"
        for line in made.lines(row).itertuples(index=False, name="Line")
    )
    choices = "".join(
        f'<label><input type="radio" name="{number}" value="{label}"> {label}</label>'
        for label in REALISM
    )
    return (
        f'<article class="record" id="{number}">\n<h2>Record {number}</h2>\n'
        '<table class="scores"><thead><tr>'
        '<th scope="col" class="words">Code</th><th scope="col" class="words">Diagnosis</th>'
        f'<th scope="col">Times</th></tr></thead>\n<tbody>{rows or EMPTY}</tbody></table>\n'
        f"<fieldset><legend>Record {number} is</legend>{choices}</fieldset>\n</article>"
    )


EMPTY = '<tr><td class="words" colspan="3">no diagnosis recorded</td></tr>'


# The scores ---------------------------------------------------------------------------------------


def score(sheets: Sequence[Path], key: Path, *, seed: int = 0) -> dict[str, Any]:
    """The result of sheets: :func:`judge` of the votes, and each reviewer's right answers.
    A sheet is a CSV file with columns record and realism, one row a record of the packet.
    InputError names the file, column and row of the first thing that is wrong with a sheet or the
    key.
    """
    if len({path.resolve() for path in sheets}) < len(sheets):
        raise InputError("a sheet is given twice; give one sheet a reviewer")
    origins = _answers(key, "origin", ORIGINS)
    synthetic = np.array([origin == "synthetic" for origin in origins.values()])
    if synthetic.all() or not synthetic.any():
        raise InputError(
            f"{key}, column origin: has no {ORIGINS[int(not synthetic.all())]} record; restore "
            "the key"
        )
    given = np.array([_given(path, list(origins)) for path in sheets])
    number, most = given.sum(axis=0), len(sheets) + 1
    votes = [np.bincount(number[side], minlength=most) for side in (~synthetic, synthetic)]
    answers = zip(sheets, (given != synthetic).sum(axis=1), strict=True)
    right = {str(path): wilson(sum_, len(synthetic)) for path, sum_ in answers}
    return {**judge(votes, seed=seed), "right answers": right}


def plain(found: Any) -> Any:
    """What :func:`score` gives as plain data, an estimate as {"value", "interval"}."""
    if isinstance(found, Estimate):
        interval = [found.low, found.high] if found.has_interval else None
        return {"value": found.value, "interval": interval}
    if isinstance(found, dict):
        return {name: plain(part) for name, part in found.items()}
    return found


def _given(path: Path, records: list[str]) -> list[bool]:
    """Whether a sheet calls each record realistic."""
    answers = _answers(path, "realism", REALISM, records)
    if lost := [record for record in records if record not in answers]:
        raise InputError(
            f"{path}, column record: lacks {lost[0]} ({len(lost)} missing); score every record"
        )
    return [answers[record] == "realistic" for record in records]


def _answers(
    path: Path, column: str, allowed: Sequence[str], known: Collection[str] | None = None
) -> dict[str, str]:
    """The column of a CSV file by its column record; ``known`` are the records that may occur."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file)
            names = [name.strip().lower() for name in rows.fieldnames or []]
            rows.fieldnames = names
            table = [(rows.line_num - 1, row) for row in rows]
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; check the path") from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: not text in UTF-8; save it as CSV (UTF-8)") from None
    if missing := [name for name in ("record", column) if name not in names]:
        has = ", ".join(names) or "nothing"
        raise InputError(
            f"{path}, header: has no column {missing[0]} (it has {has}); save it as CSV with commas"
        )
    found: dict[str, str] = {}
    for row, entry in table:
        record, answer = (str(entry[name] or "").strip() for name in ("record", column))
        wrong, of = "", "record"
        if known is not None and record not in known:
            wrong = f"{record or 'empty'!r} is not in the key; take both of one packet"
        elif record in found:
            wrong = f"{record} has a row already; keep one row a record"
        elif answer.lower() not in allowed:
            choice = f"neither {allowed[0]} nor {allowed[1]}; write one"
            wrong, of = f"{answer or 'empty'!r} is {choice}", column
        if wrong:
            raise InputError(f"{path}, column {of}, row {row}: {wrong}")
        found[record] = answer.lower()
    return found


def judge(votes: ArrayLike, *, seed: int = 0) -> dict[str, Any]:
    """The paper's three rules, agreement, and how well reviewers tell synthetic from real.
    Args:
        votes: array of shape (2, reviewers + 1); how many real (first row) and synthetic records
            have 0, 1, …, all reviewers calling them realistic
        seed: of the bootstrap

    Returns:
        dict
        ``rules``: for each of :data:`RULES` the share of real and of synthetic records that count
        as realistic (Wilson intervals), and their difference (Newcombe 1998, method 10). ``kappa``:
        Fleiss'. ``accuracy``: share of right answers, taking realistic for real. ``auc``: of
        ranking synthetic above real records by the votes for unrealistic; 0.5 means that the
        reviewers cannot tell. The last three with intervals by the bootstrap over records. All
        intervals are 95 %; ``kappa`` is NaN for one reviewer.
    """
    table = np.asarray(votes)
    reviewers, totals = table.shape[1] - 1, table.sum(axis=1)
    rng = np.random.default_rng(check_seed(seed))
    draws = np.stack(
        [rng.multinomial(n, row / n, DRAWS) for n, row in zip(totals, table, strict=True)], axis=1
    )
    number = np.arange(reviewers + 1)
    measures = {"kappa": _kappa, "accuracy": _accuracy, "auc": _auc}
    return {
        "reviewers": reviewers,
        "records": dict(zip(ORIGINS, totals.tolist(), strict=True)),
        "rules": {name: _rule(table, rule(number, reviewers)) for name, rule in RULES.items()},
        **{key: bootstrap(float(of(table)), of(draws)) for key, of in measures.items()},
    }


def fleiss_kappa(ratings: ArrayLike, weights: ArrayLike | None = None) -> np.ndarray:
    """Agreement of many raters beyond chance (Fleiss 1971, eq. 7): 1 complete, 0 that of chance.

    ``ratings`` of shape (n, categories) says how many raters put a subject into a category, equally
    many raters a subject; ``weights`` of shape (…, n) how many such subjects there are. NaN for one
    rater, and where all ratings are the same.
    """
    table = np.asarray(ratings)
    times = np.ones(len(table)) if weights is None else np.asarray(weights)
    raters = table[0].sum()
    with np.errstate(invalid="ignore", divide="ignore"):
        agreeing = (table * (table - 1)).sum(axis=1) / (raters * (raters - 1))
        observed = times @ agreeing / times.sum(axis=-1)
        chance = ((times @ table / times.sum(axis=-1, keepdims=True) / raters) ** 2).sum(axis=-1)
        return (observed - chance) / (1 - chance)


def _kappa(votes: np.ndarray) -> np.ndarray:
    number = np.arange(votes.shape[-1])
    return fleiss_kappa(np.c_[number, number[::-1]], votes.sum(axis=-2))


def _accuracy(votes: np.ndarray) -> np.ndarray:
    number = np.arange(votes.shape[-1])
    right = votes[..., 0, :] @ number + votes[..., 1, :] @ number[::-1]
    return right / (votes.sum(axis=(-1, -2)) * number[-1])


def _auc(votes: np.ndarray) -> np.ndarray:
    """Chance that a synthetic record has fewer votes than a real one, half of the ties with it."""
    real, synthetic = np.moveaxis(votes / votes.sum(axis=-1, keepdims=True), -2, 0)
    fewer = synthetic.cumsum(axis=-1) - synthetic / 2
    return (real * fewer).sum(axis=-1)


def _rule(votes: np.ndarray, realistic: np.ndarray) -> dict[str, Estimate]:
    """Shares of real and synthetic records that count as realistic, and their difference."""
    real, synthetic = (wilson(row[realistic].sum(), row.sum()) for row in votes)
    return {"real": real, "synthetic": synthetic, "difference": newcombe(real, synthetic)}
