"""Every table and figure of the paper and of the report, with ours beside it."""

from __future__ import annotations

from typing import Any

import pandas as pd

from reproduction import figures
from reproduction.estimates import Estimate
from reproduction.exhibits import Exhibit, apart, beside, rest
from reproduction.synthesis import ablations, results, scores
from reproduction.synthesis.claims import LEDGER
from reproduction.synthesis.experiments import Run
from reproduction.synthesis.reported import PAPER, QUOTES
from reproduction.synthesis.scores import Rows, over_seeds
from reproduction.tables import cell

#: The scores of the report's tables by our key.
SCORES = {key: name for name, key in ablations.REPORTED.items() if name != "density ratio"}
#: The paper's models, and the rows of the plan that make them again.
MODELS = {"medGAN": "medgan", "medBGAN": "medbgan", "medWGAN": "medwgan", "ScoEHR": "paper"}
#: A reported value and ours, by the title of a line.
Lines = dict[str, tuple[float, Estimate]]
#: The report's sweeps: exhibit, table of the plan, title.
SWEEPS = (
    ("T2", "sizes", "Table: with and without the autoencoder"),
    ("T3", "rates", "Table: learning rates"),
    ("T4", "epochs", "Table: epochs"),
)


def all_exhibits(found: Rows) -> dict[str, list[Exhibit]]:
    """The exhibits of the report and of the paper; ``found`` are the finished rows."""
    claims = LEDGER.table(found)
    report = [
        _cohort(found, claims),
        _main(found, claims),
        _curves(found, claims, "A1", "autoencoder", "Figure: loss of the autoencoders"),
        _reconstruction(found, claims),
        _curves(found, claims, "N1", "score", "Figures: loss of the score networks"),
        *(_sweep(found, claims, *sweep) for sweep in SWEEPS),
        _density(found, claims),
        _costs(found, claims),
    ]
    paper = [_mimic(found, claims), _emergency(claims), _bare(found, claims), _clinicians(claims)]
    return {"The report": report, "The paper, as the report quotes it": paper}


def _exhibit(
    name: str, title: str, source: str, shown: Any, meaning: str, claims: pd.DataFrame
) -> Exhibit:
    """An exhibit with the page that the ledger of claims names, and the claims that rest on it."""
    place = LEDGER.book["evidence"][name]
    return Exhibit(title, source, place, shown, meaning + rest(claims, name))


# The report ---------------------------------------------------------------------------------------


def _cohort(found: Rows, claims: pd.DataFrame) -> Exhibit:
    run = next(iter(found.values()))[0]
    account = run.config["data"]["account"]
    patients, visits = account["patients"], account.get("admissions")
    here = {
        "patients": patients,
        "visits": visits,
        "visits per patient": visits / patients if visits else None,
        "codes per visit": None,
        "codes": account["codes"],
        "density": account["mean_cell"],
        "train": run.config["data"]["train"],
        "test": run.config["data"]["test"],
    }
    said = {f"report's {row['where']}": row for row in QUOTES.values["cohort"]}
    columns = {**said, "here": here}
    lines = {
        name: [cell(column.get(name), digits=5) for column in columns.values()] for name in here
    }
    table = pd.DataFrame.from_dict(lines, orient="index", columns=list(columns))
    text, workbook = said["report's text"]["patients"], said["report's workbook"]["patients"]
    meaning = (
        f"The report counts {text:,} patients in its text and {workbook:,} in its workbook, so "
        f"that the two are different cohorts; here there are {patients:,}."
    )
    return _exhibit("D1", "Table: the cohort", "text and workbook", table, meaning, claims)


def _beside(name: str, title: str, source: str, lines: Lines, claims: pd.DataFrame) -> Exhibit:
    """Reported values beside ours, and how far these lie apart."""
    reported = {words: value for words, (value, _) in lines.items()}
    here = {words: ours for words, (_, ours) in lines.items()}
    return _exhibit(name, title, source, beside(reported, here), apart(reported, here), claims)


def _ours(found: Rows, row: str, key: str) -> Estimate:
    return over_seeds(found.get(row, []), key)


def _main(found: Rows, claims: pd.DataFrame) -> Exhibit:
    theirs = ablations.of_report("reported")
    lines = {name: (theirs[key], _ours(found, "reported", key)) for key, name in SCORES.items()}
    title = "Table: results of the model of 144 dimensions"
    return _beside("T1", title, "results", lines, claims)


def _curves(found: Rows, claims: pd.DataFrame, name: str, stage: str, title: str) -> Exhibit:
    """The reported losses dashed, ours as lines where there are runs."""
    rows = ablations.pick(found, "sizes")
    reported = ablations.reported_curves(stage)
    empty = pd.DataFrame(columns=["epoch", "train_loss", "validation_loss"], dtype=float)
    ours = {
        latent: scores.curves(rows[latent], stage) if latent in rows else [] for latent in reported
    }
    drawn = figures.curves(
        {latent: histories or [empty] for latent, histories in ours.items()},
        reported,
        ylabel="loss per patient",
        log=stage == "autoencoder",
    )
    last = {latent: _last(curve) for latent, curve in reported.items()}
    here = {
        latent: Estimate(sum(h["validation_loss"].iloc[-1] for h in found_) / len(found_))
        for latent, found_ in ours.items()
        if found_
    }
    meaning = f"Of the losses on unseen patients after the last epoch: {apart(last, here)}"
    return _exhibit(name, title, "training curves", drawn, meaning, claims)


def _last(curve: pd.DataFrame) -> float:
    """The last reported loss on unseen patients."""
    return float(curve[curve["set"] == "test"].sort_values("epoch")["loss"].iloc[-1])


def _reconstruction(found: Rows, claims: pd.DataFrame) -> Exhibit:
    rows, lines = ablations.pick(found, "autoencoders"), {}
    for row in QUOTES.values["autoencoder"]:
        name = f"{row['latent']} dimensions: codes per patient after / before"
        ours = scores.estimate(rows.get(str(row["latent"]), []), _kept)
        lines[name] = (row["density after"] / row["density before"], ours)
    title = "Figures: frequency of codes before and after the autoencoder"
    return _beside("A2", title, "histograms", lines, claims)


def _kept(run: Run) -> float | None:
    """The codes per patient after reconstruction over those before."""
    cells = scores.codes_per_patient(run)
    after, before = cells["reconstructed"], cells["real"]
    return after / before if after is not None and before else None


def _sweep(found: Rows, claims: pd.DataFrame, name: str, which: str, title: str) -> Exhibit:
    lines = {}
    for row in ablations.rows_of(which):
        theirs = ablations.of_report(row.reported)
        for key, score in SCORES.items():
            if key in theirs:
                lines[f"{row.label}: {score}"] = (theirs[key], _ours(found, row.name, key))
    return _beside(name, title, "ablations", lines, claims)


def _density(found: Rows, claims: pd.DataFrame) -> Exhibit:
    key, lines = "fidelity.density_ratio", {}
    for row in QUOTES.values["report"]:
        name = row["experiment"]
        lines[row["title"]] = (ablations.of_report(name)[key], _ours(found, name, key))
    title = "Table: mean frequency of synthetic data, over that of real data"
    return _beside("F1", title, "feature frequency", lines, claims)


def _costs(found: Rows, claims: pd.DataFrame) -> Exhibit:
    """Minutes, the same number of patients sampled; memory in GB."""
    rows, lines = ablations.pick(found, "sizes"), {}
    memory = {row["latent"]: row["training (GB)"] for row in QUOTES.values["memory"]}
    minutes = QUOTES.value("report_patients_scored") / 1000 / 60
    for row in QUOTES.values["cost"]:
        latent = row["latent"]
        runs = rows.get(latent, [])
        training, sampling = (row[f"{stage} (min)"] for stage in ("training", "sampling"))
        thousand = scores.estimate(runs, results.thousand).times(minutes)
        used = scores.estimate(runs, results.memory).times(2**20 / 1e9)
        lines[f"{latent}: training (min)"] = (training, scores.estimate(runs, _minutes))
        lines[f"{latent}: sampling (min)"] = (sampling, thousand)
        lines[f"{latent}: memory of training (GB)"] = (memory[latent], used)
    title = "Table: hours and memory, on a T4 GPU there and a processor here"
    return _beside("C1", title, "computational cost", lines, claims)


def _minutes(run: Run) -> float | None:
    seconds = results.network_seconds(run)
    return None if seconds is None else seconds / 60


# The paper ----------------------------------------------------------------------------------------


def _mimic(found: Rows, claims: pd.DataFrame) -> Exhibit:
    lines = {}
    for row in QUOTES.values["paper"]:
        for key, name in ablations.PAPER.items():
            if row["title"] in MODELS and name in row:
                ours = _ours(found, MODELS[row["title"]], key)
                lines[f"{row['title']}: {scores.title(key)}"] = (row[name], ours)
    return _beside("P1", "Table: MIMIC-III", "main table", lines, claims)


def _emergency(claims: pd.DataFrame) -> Exhibit:
    rows = QUOTES.values["paper_ed"]
    names = {f"{row['title']}: {title}": row[key] for row in rows for key, title in PAPER.items()}
    meaning = (
        "These emergency records are not open, so nothing here stands beside them; the page of the "
        "table scores the paper's model on the mixed columns of Diabetes130."
    )
    title = "Table: emergency records of Yale"
    return _exhibit("P2", title, "second table", beside(names, {}), meaning, claims)


def _bare(found: Rows, claims: pd.DataFrame) -> Exhibit:
    row = next(row for row in QUOTES.values["paper"] if row["title"].endswith("autoencoder"))
    lines = {
        scores.title(key): (row[name], _ours(found, "reported-none-unclipped", key))
        for key, name in ablations.PAPER.items()
        if name in row
    }
    return _beside("P3", "Table: without the autoencoder", "ablation", lines, claims)


def _clinicians(claims: pd.DataFrame) -> Exhibit:
    rows = QUOTES.values["clinicians"]
    table = pd.DataFrame(rows).set_index("rule").rename_axis(None)
    widest = max(abs(row["real"] - row["synthetic"]) for row in rows)
    meaning = (
        f"The shares of real and of synthetic records called realistic differ by {widest} points "
        "at most; no clinician has been asked here."
    )
    title, shown = "Table: three clinicians, realistic records in percent", table
    return _exhibit("H2", title, "clinical evaluation", shown, meaning, claims)
