"""The first page: did it reproduce, what is wrong with it, what to use, on which data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from reproduction import figures
from reproduction.claims import CONTRADICTED, HOLDS, NOT_SHOWN, UNSUPPORTED, said, tally
from reproduction.synthesis import ablations, contest, experiments, results, scores
from reproduction.synthesis.experiments import Run
from reproduction.synthesis.scores import Rows
from reproduction.tables import cell
from scoehr.data.datasets import DATASETS

#: Scores of every model on the first page.
HEADLINE = (*ablations.CORRECTED, "privacy.membership_auc")
#: Scores of the picture: those for which a floor-normalised gap can exist.
PICTURE = (
    "fidelity.pcd_top200",
    "fidelity.cmd",
    "fidelity.log_cluster_weighted",
    "fidelity.patient_codes_ks",
    "fidelity.patient_codes_wasserstein",
    "utility.discriminator_auc",
)
AUC = "utility.discriminator_auc"
#: What the verdict on the conclusion says in a word.
ANSWERS = {
    HOLDS: "Yes",
    CONTRADICTED: "No",
    UNSUPPORTED: "Not on these data",
    NOT_SHOWN: "It is not shown",
}
#: The claim that all others lead to.
CONCLUSION = "T1.reproducible"
NO_CREDENTIALED = (
    "No model here was trained on MIMIC or other credentialed records; the values that the studies "
    "reported are of MIMIC-III."
)
#: Reported scores by their short titles, and reference points in a sentence.
REPORTED = {"reported.ddm": "DDM", "reported.pcd": "PCD", "reported.log_cluster": "log-cluster"}
WORDS = {"independent": "shuffled columns", "zero": "an empty table"}


def reproduced(claims: pd.DataFrame) -> str:
    """Whether the studies reproduce, by their :meth:`reproduction.claims.Ledger.table`."""
    whole = claims.loc[CONCLUSION]
    word = ANSWERS.get(whole["verdict"], "It cannot be told")
    return (
        f"**Did it reproduce?** {word}. Of {len(claims)} claims of the paper and the report "
        f"{tally(claims)}. The report's conclusion, *{whole['statement'].rstrip('.')}*, "
        f'<a href="00-claims.html">{said(whole["verdict"])}</a>.'
    )


def flaws(found: Rows) -> str:
    """What is wrong with the reported model and with the scores that it was judged by."""
    here = scores.over_seeds(found["reported"], AUC) if "reported" in found else None
    seen = (
        f"A classifier tells patients of the reported model from real ones with an AUC of {here}, "
        f"fresh real patients with one of {cell(scores.point(found, 'real', AUC))}."
    )
    return f"**What is wrong with it?** {blindness(found)} {seen if here else ''}"


def advice(contests: Sequence[Rows]) -> str:
    """Which model to use, by the contests of all data sets."""
    return f"**What should I use?** `thinning`, the thinning diffusion. {contest.choice(contests)}"


def basis(dataset: str, profile: str, seed: int) -> str:
    """On which data all of this rests, and whether any run is on credentialed data."""
    closed = [name for name, entry in DATASETS.items() if entry.credentialed]
    found = [name for name in closed if experiments.finished(name, None, profile, seed)]
    runs = f"Runs on {', '.join(found)} stand beside." if found else NO_CREDENTIALED
    beside = "" if dataset in closed else runs
    return f"**On which data?** {DATASETS[dataset].description}. {beside}"


def summary(name: str, runs: Sequence[Run]) -> str:
    """The results of one row in three sentences whose wording follows their numbers."""
    title, ended = runs[0].experiment["title"], [run for run in runs if run.verdict == "finished"]
    name = scores.label(name, runs)
    if not ended:
        return f"**{name}** ({title}). Training diverged under every random seed ({len(runs)})."
    here = {key: scores.over_seeds(runs, key) for key in HEADLINE}
    real = {key: cell(scores.point({name: ended}, "real", key)) for key in HEADLINE}
    seconds = scores.estimate(ended, results.thousand, limits=scores.COUNT)
    return (
        f"**{name}** ({title}). Its patients have {here['fidelity.density_ratio']} times the codes "
        f"of real patients; {here['fidelity.codes_missing']} codes that test patients have never "
        f"occur in them (as many fresh real patients lack {real['fidelity.codes_missing']}). A "
        "classifier tells them from real patients with an AUC of "
        f"{here['utility.discriminator_auc']}, fresh real patients with one of "
        f"{real['utility.discriminator_auc']}. A patient costs "
        f"{ended[0].costs['evaluations_per_patient']:,} evaluations of the network, a thousand "
        f"patients {seconds} seconds."
    )


def blindness(found: Rows) -> str:
    """One sentence on each reported score that an empty table or shuffled columns win."""
    fooled = []
    for key, title in REPORTED.items():
        floor = scores.point(found, "real", key)
        others = {words: scores.point(found, point, key) for point, words in WORDS.items()}
        beaten = [
            words
            for words, value in others.items()
            if value is not None and floor is not None and value <= floor
        ]
        if beaten:
            better = " and ".join(beaten)
            fooled.append(f"{title} rates {better} at least as good as fresh real patients")
    if not fooled:
        return ""
    return f"Read lower as better, as the report does, its {'; its '.join(fooled)}."


def picture(found: Mapping[str, Run], prevalence: np.ndarray) -> Figure:
    """The study in one figure, from the runs on counts; ``prevalence`` of the test patients."""
    group = results.by_kind(found).get("count") or found
    gap = scores.means(scores.gaps({name: [run] for name, run in group.items()}, PICTURE))
    made = {scores.label(name, [run]): results.shares(run.synthetic) for name, run in group.items()}
    return figures.answer(prevalence, made, gap)
