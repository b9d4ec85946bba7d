"""Every table and figure of the LSTM attack study, with ours beside it."""

from __future__ import annotations

from companions.mortality_attack.claims import QUOTES
from companions.mortality_attack.experiments import PLAN
from companions.mortality_attack.results import Runs
from companions.mortality_attack.train import TuningConfig
from reproduction.estimates import Estimate
from reproduction.exhibits import Exhibit, apart, beside

#: The study's scores, and ours by their names.
SCORES = {"auroc": "AUROC", "f1": "F1", "precision": "precision", "recall": "recall"}
#: Figures of which no number is printed, and the pages that have ours.
DRAWN = {
    "Figure: curves of tuning": ("line 460", "notebooks/18-mortality-model#m12"),
    "Figure: curves of 1,000 epochs": ("line 518", "notebooks/18-mortality-model#m4"),
    "Figures: maps of susceptibility": ("section 10", "notebooks/19-mortality-attack#m8"),
}


def all_exhibits(found: Runs) -> dict[str, list[Exhibit]]:
    """The exhibits of the study; ``found`` are the runs that the pages show."""
    unquoted = "The study prints no number with it; the page shows the same of the models here."
    drawn = [
        Exhibit(title, source, place, None, unquoted) for title, (source, place) in DRAWN.items()
    ]
    return {"The LSTM attack study": [_cohort(found), _table(found), *_search(found), *drawn]}


def _cohort(found: Runs) -> Exhibit:
    said = QUOTES.value("positives/value")
    reported = {"stays": QUOTES.value("samples/value"), "share of deaths": said}
    cohort = found["cohort"].metrics
    share = cohort["deaths"] / cohort["stays"]
    here = {"stays": Estimate(cohort["stays"]), "share of deaths": Estimate(share)}
    later = QUOTES.value("positives_later/value")
    meaning = (
        f"The study gives the share of deaths as {said:.0%} and later as "
        f"{later:.0%}. {apart(reported, here)}"
    )
    place = "notebooks/17-mortality-cohort#m1"
    return Exhibit("The stays", "line 308", place, beside(reported, here), meaning)


def _search(found: Runs) -> list[Exhibit]:
    """The study's network and the search that it came from beside ours, if there is one."""
    tuned, theirs = found.get("tuned-study"), TuningConfig()
    if tuned is None or not (config := tuned.experiment.tuning):
        return []
    best, network = tuned.metrics["search"]["trials"][0], PLAN.text["ladder"]["model"]
    reported = {
        "trials": theirs.trials, "folds": theirs.folds, "epochs": theirs.blocks * theirs.epochs,
        "hidden units": network["hidden"], "units of the dense layer": network["dense"],
        "parameters": QUOTES.value("parameters/value"),
    }  # fmt: skip
    here = {
        "trials": config.trials, "folds": config.folds, "epochs": config.blocks * config.epochs,
        "hidden units": 2 ** best["log2_hidden"],
        "units of the dense layer": 2 ** best["log2_dense"],
        "parameters": tuned.metrics["parameters"],
    }  # fmt: skip
    meaning = (
        "The same space is searched; the best trial here has an AUROC of "
        f"{best['auroc']:.3f} on the folds that chose it, and "
        f"{Estimate.read(tuned.metrics['test']['auroc']):.3f} on unseen stays."
    )
    place, title = "notebooks/18-mortality-model#m12", "Tables: network and search"
    return [Exhibit(title, "section 9", place, beside(reported, here), meaning)]


def _table(found: Runs) -> Exhibit:
    """The reported row beside our model under its protocol, and the same model on unseen stays."""
    row, run = QUOTES.value("results/LSTM attack study"), found["reported"]
    reported = {title: row[name] for name, title in SCORES.items()}
    here, unseen = (
        {title: Estimate.read(run.metrics[part][name]) for name, title in SCORES.items()}
        for part in ("reported", "test")
    )
    shown = beside(reported, here).rename(columns={"here": "here, scored as reported"})
    shown["here, unseen stays"] = [str(unseen[title]) for title in reported]
    lost = here["AUROC"].value - unseen["AUROC"].value
    meaning = (
        f"Of the AUROC {lost:.2f} comes from scoring stays that were trained on: the same model "
        f"has {unseen['AUROC'].value:.2f} on unseen ones. {apart(reported, here)}"
    )
    place, title = "notebooks/18-mortality-model#m4", "Table: results beside earlier studies"
    return Exhibit(title, f"line {row['line']}", place, shown, meaning)
