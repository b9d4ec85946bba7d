"""What the runs say, in words and tables: the parts of the book that are made, not written.

Every sentence is put together from numbers of finished runs, so that none can outlive the numbers it speaks of.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from reproduction import figures
from reproduction.synthesis import claims, experiments, seeds
from reproduction.synthesis import reported as quoted
from reproduction.synthesis.seeds import Rows
from scoehr.data.datasets import DATASETS
from scoehr.data.matrix import CodeMatrix, Kind
from scoehr.files import replacing
from scoehr.generators import ScoEHR
from scoehr.metrics import METRICS
from scoehr.metrics.reported import cosine_share

#: Packages whose versions decide the numbers or the looks of the book.
PACKAGES = (
    "torch", "torchsde", "numpy", "scipy", "pandas", "duckdb", "scikit-learn", "safetensors", "icd-mappings",
    "matplotlib", "jupytext", "papermill", "jupyter-book", "snakemake",
)  # fmt: skip
#: Said where the numbers are of the smallest profile.
QUICK = "This profile shows that everything runs; its models are too small and too briefly trained to be judged by."
#: A run, or a row of the plan with its runs over random seeds.
Entry = TypeVar("Entry", bound=experiments.Run | Sequence[experiments.Run])
#: What the paper and the report printed: all values, the report's table, the paper's.
reported, printed, paper = quoted.values, quoted.report, quoted.paper


class _Piece:
    """A piece of text that a notebook shows unless it is empty, and that a Markdown page may include."""

    mime: ClassVar[str]

    def __init__(self, text: str):
        self.text = text

    def __repr__(self) -> str:
        return self.text

    def _ipython_display_(self) -> None:
        from IPython.display import display  # only notebooks need IPython

        if self.text:
            display({self.mime: self.text, "text/plain": self.text}, raw=True)


class Html(_Piece):
    """A piece of HTML."""

    mime = "text/html"


class Words(_Piece):
    """A piece of Markdown. It has no HTML of its own, which would be shown in its place."""

    mime = "text/markdown"


# Runs ----------------------------------------------------------------------------------------------------------------


def runs(dataset: str, source: str | None, profile: str, seed: int) -> dict[str, experiments.Run]:
    """Every run that the pages show (:func:`study.shown`) by name, made if need be; diverged ones are left out."""
    plan = experiments.shown(dataset, source, profile, seed)
    made = {name: experiments.run(experiment) for name, experiment in plan.items()}
    return {name: run for name, run in made.items() if run.verdict == "finished"}


def rows(
    dataset: str, source: str | None, profile: str, seed: int
) -> dict[str, list[experiments.Run]]:
    """Every row of the plan that has finished runs, over its random seeds; the main ones are made if need be."""
    runs(dataset, source, profile, seed)
    return experiments.finished(dataset, source, profile, seed)


def main(found: Rows) -> dict[str, Sequence[experiments.Run]]:
    """The main rows among others."""
    return grouped(found, experiments.MAIN)


def grouped(found: Rows, group: str) -> dict[str, Sequence[experiments.Run]]:
    """The rows of one group of the plan."""
    return {name: runs for name, runs in found.items() if runs[0].experiment["group"] == group}


def rivals(found: Rows) -> dict[str, Sequence[experiments.Run]]:
    """The rows of the contest: the main ones and the other generators."""
    return main(found) | grouped(found, "baselines")


def elsewhere(dataset: str, profile: str, seed: int) -> dict[str, dict[str, list[experiments.Run]]]:
    """Finished rows of the other open data sets, by data set; nothing is computed."""
    others = [
        name for name, entry in DATASETS.items() if name != dataset and not entry.credentialed
    ]
    found = {name: experiments.finished(name, None, profile, seed) for name in others}
    return {name: rows for name, rows in found.items() if rows}


def missing(found: Rows, names: Sequence[str]) -> Html:
    """A line for each of these rows of the plan that has no finished run; nothing if all have."""
    return Html(
        "".join(f"<p>not run yet: <code>{name}</code></p>" for name in names if name not in found)
    )


def origin(
    found: Mapping[str, experiments.Run | Sequence[experiments.Run]],
    *,
    dataset: str,
    profile: str,
    seed: int,
) -> Html:
    """The box that says from which data, at what scale and from which runs the numbers of a page come.

    ``found`` holds runs, or rows of the plan with their runs over random seeds.
    """
    made = [run for entry in found.values() for run in _all(entry)]
    sizes = [data for run in made if (data := run.config["data"])]  # none of private runs
    built, profile = profile, next((run.experiment["profile"] for run in made), profile)
    parts = [
        "<strong>Where these numbers come from.</strong> "
        f"Data set <code>{dataset}</code>, profile <code>{profile}</code>, random seed {seed}."
    ]
    if profile == "quick":
        parts.append(QUICK)
    if sizes:
        parts += [
            f"{figures.patients(sizes[0]['train'])} training, {figures.patients(sizes[0]['validation'])} validation and "
            f"{figures.patients(sizes[0]['test'])} test patients; {made[0].experiment['evaluated']:,} synthetic patients "
            "a run.",
            *regime(found),
            _named(made),
            f"The smaller runs of profile <code>{built}</code> lie in <code>saved_models</code>."
            * (built != profile),
        ]
    return Html(f'<div class="origin">{" ".join(part for part in parts if part)}</div>')


def regime(found: Mapping[str, experiments.Run | Sequence[experiments.Run]]) -> list[str]:
    """How the runs stand to what their studies ran: what is narrower, and † what departs from the regime."""
    rows = {name: _all(entry) for name, entry in found.items()}
    narrow: dict[str, list[str]] = {}
    outside: list[str] = []
    for name, runs in rows.items():
        departures = next((run.departures for run in runs if run.departures), [])
        if departures:
            outside.append(f"{name} ({', '.join(departures)})")
        elif width := experiments.narrower(runs[0]):
            narrow.setdefault(width, []).append(name)
    said = [
        f"{_listed(names)}: {width}, all else as in the study." for width, names in narrow.items()
    ]
    if outside:
        said.append(
            f"† Not in the reported regime, so no claim is judged by it: {'; '.join(outside)}."
        )
    return said


def _listed(names: Sequence[str], most: int = 4) -> str:
    """Names in a sentence, the first few of many."""
    more = f" and {len(names) - most} more rows" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _named(made: Sequence[experiments.Run]) -> str:
    if len(made) <= MOST_NAMED:
        return f"Runs: {', '.join(f'<code>{run.id}</code>' for run in made)}."
    names = {run.experiment["name"] for run in made}
    return f"{len(made)} runs of {len(names)} rows of <code>workflow/experiments.yaml</code>."


#: Runs that the box names one by one, at most.
MOST_NAMED = 8

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
    return results.get(family, {}).get(name)


def by_kind(found: Mapping[str, Entry]) -> dict[str, dict[str, Entry]]:
    """Runs, or rows of the plan, grouped by what their cells hold: scores of counts and of presence do not compare."""
    groups: dict[str, dict[str, Entry]] = {}
    for name, entry in found.items():
        groups.setdefault(_kind(_first(entry)), {})[name] = entry
    return groups


def _first(entry: experiments.Run | Sequence[experiments.Run]) -> experiments.Run:
    return entry if isinstance(entry, experiments.Run) else entry[0]


def _all(entry: experiments.Run | Sequence[experiments.Run]) -> Sequence[experiments.Run]:
    return [entry] if isinstance(entry, experiments.Run) else entry


def _kind(run: experiments.Run) -> Kind:
    """What the cells of the patients hold that a run is compared with."""
    return "binary" if run.config["config"]["kind"] == "binary" else "count"


def sheet(results: Mapping[str, Mapping[str, Any]], keys: Sequence[str]) -> pd.DataFrame:
    """A row a score, a column a set of results."""
    columns = {name: [score(result, key) for key in keys] for name, result in results.items()}
    return pd.DataFrame(columns, index=[METRICS[key].title for key in keys], dtype=object)


def interval(run: experiments.Run, key: str) -> str:
    """A score with its 95 % interval over patients, as text."""
    return str(seeds.over_seeds([run], key))


def shares(matrix: CodeMatrix) -> np.ndarray:
    """Prevalence: the share of patients with each code, ``(n_codes,)``."""
    return np.asarray((matrix.counts > 0).mean(axis=0)).ravel()


NETWORKS = {
    "unet": "U-Net", "mlp": "residual MLP", "record": "residual MLP on records", "plain": "residual MLP", "gan": "GAN",
    "copula": "none",
}  # fmt: skip
#: What a network puts out where its settings do not say.
PUTS_OUT = {"thinning": "rate", "private": "rate", "edm": "record", "gan": "code"}
#: What the cells of a kind of matrix hold, in a sentence.
KINDS = {"count": "counts", "binary": "presence of codes"}


def cohort(group: Mapping[str, Entry], source: str | None = None) -> experiments.Cohort:
    """The patients that a group of runs of one kind was trained on and is scored against."""
    run = _first(next(iter(group.values())))
    return experiments.cohort(run.experiment["dataset"], source, kind=_kind(run))


def settings(found: Mapping[str, Entry]) -> pd.DataFrame:
    """The settings that tell the runs apart, a column a run; a dash where a setting means nothing for a run."""
    return pd.DataFrame(
        {seeds.label(name, _all(entry)): _settings(_first(entry)) for name, entry in found.items()}
    )


def _settings(run: experiments.Run) -> dict[str, str]:
    config = run.config["config"]
    latent = config.get("latent")
    return {
        "data": KINDS[_kind(run)],
        "training patients": figures.patients(run.config["data"]["train"])
        if run.config["data"]
        else "–",
        "diffusion on": f"{latent} latent dimensions" if latent else "codes",
        "decoder head": config["head"] if latent else "–",
        "autoencoder epochs": str(config["autoencoder_epochs"]) if latent else "–",
        "latents standardised": ("yes" if config["standardise"] else "no") if latent else "–",
        "network": NETWORKS[config.get("network", run.config["generator"])],
        "width": str(config.get("width", "–")),
        "parameters": f"{run.costs['parameters']:,}",
        "epochs": str(config.get("epochs", "–")),
        "learning-rate schedule": config.get("schedule", "–"),
        "network puts out": config.get("prediction", PUTS_OUT.get(run.config["generator"], "–")),
        "sampler": config["sampler"].replace("_", " "),
        "steps": "–" if config["sampler"] == "events" else str(config["steps"]),
    }


def coded(found: Mapping[str, Entry]) -> dict[str, Entry]:
    """The runs, or rows, that have an autoencoder."""
    return {
        name: entry for name, entry in found.items() if _first(entry).config["config"].get("latent")
    }


def scored(found: Mapping[str, Entry]) -> dict[str, Entry]:
    """The runs, or rows, of score-based diffusion, not of thinning."""
    return {
        name: entry
        for name, entry in found.items()
        if _first(entry).config["generator"] == ScoEHR.name
    }


def costs(found: Rows) -> pd.DataFrame:
    """Seconds a stage, network evaluations a patient and peak memory over random seeds, a row a row of the plan."""
    rows = {}
    for name, runs in found.items():
        first = next((run for run in runs if run.verdict == "finished"), runs[0]).costs
        rows[seeds.label(name, runs)] = {
            "parameters": f"{first['parameters']:,}",
            "autoencoder (s)": str(seeds.over_seeds(runs, "costs.autoencoder_seconds")),
            "model (s)": str(seeds.estimate(runs, network_seconds, least=0)),
            "1,000 patients (s)": str(seeds.estimate(runs, thousand, least=0)),
            "evaluations a patient": figures.cell(first.get("evaluations_per_patient")),
            "peak memory (MiB)": str(seeds.estimate(runs, memory, least=0)),
        }
    return pd.DataFrame.from_dict(rows, orient="index")


def network_seconds(run: experiments.Run) -> float | None:
    """Seconds of training but for the autoencoder: of scores or rates, of a GAN's players, of a copula's pairs."""
    return _stages(run, but=("autoencoder_seconds", "sampling_seconds"))


def training_seconds(run: experiments.Run) -> float | None:
    """Seconds of all stages of training."""
    return _stages(run, but=("sampling_seconds",))


def _stages(run: experiments.Run, but: Sequence[str]) -> float | None:
    stages = [
        value for name, value in run.costs.items() if name.endswith("_seconds") and name not in but
    ]
    return sum(stages) if stages else None


def memory(run: experiments.Run) -> float:
    """Peak memory of the process that made a run, in MiB."""
    return run.costs["peak_memory_bytes"] / 2**20


def never_produced(
    found: Mapping[str, experiments.Run], source: str | None = None, most: int = 6
) -> pd.DataFrame:
    """The codes that test patients have and a run never makes, the most common ``most`` of each run.

    Only codes that enough patients have to name them (see :data:`reproduction.figures.SMALLEST_CELL`).
    """
    rows = []
    for name, run in found.items():
        test = cohort({name: run}, source).test
        real, patients = shares(test), np.asarray((test.counts > 0).sum(axis=0))
        gone = np.flatnonzero((shares(run.synthetic) == 0) & (patients >= figures.SMALLEST_CELL))
        for place in gone[np.argsort(-real[gone], kind="stable")][:most]:
            rows.append((name, test.codes[place], test.titles[place], 100 * real[place]))
    return pd.DataFrame(rows, columns=["run", "code", "title", "test patients (%)"])


def sees(
    results: Mapping[str, Mapping[str, Any]], keys: Sequence[str], fresh: Sequence[str]
) -> pd.DataFrame:
    """Whether a score tells each spoiled set from fresh samples: a row a score, a column a fault.

    True where the score is worse than that of every fresh sample, by more than those differ among themselves; None
    where it is undefined on the spoiled set or on all fresh ones.
    """
    rows = {}
    for key in keys:
        floor = [value for name in fresh if (value := score(results[name], key)) is not None]
        faults = [name for name in results if name not in fresh]
        rows[METRICS[key].title] = {
            name: _worse(key, score(results[name], key), floor) for name in faults
        }
    return pd.DataFrame.from_dict(rows, orient="index", dtype=object)


def cosine_draws(
    data: experiments.Cohort, n: int, seed: int, draws: int = 20
) -> dict[str, list[float]]:
    """The reported cosine share, again and again: of held-out patients with others held out, and with copied ones.

    Returns {"real": shares, "copy": shares}, each of ``draws`` random sets of ``n`` patients, or of half of the test
    patients if there are fewer.
    """
    rng, test, train = np.random.default_rng(seed), data.test.counts, data.train.counts
    n = min(n, test.shape[0] // 2, train.shape[0])
    found: dict[str, list[float]] = {"real": [], "copy": []}
    for _ in range(draws):
        order = rng.permutation(test.shape[0])
        others = {
            "real": test[order[n : 2 * n]],
            "copy": train[rng.permutation(train.shape[0])[:n]],
        }
        for name, rows in others.items():
            found[name].append(cosine_share(test[order[:n]], rows))
    return found


def copies_seen(
    found: Rows,
    keys: Sequence[str],
    again: Mapping[str, Mapping[str, Sequence[float]]] | None = None,
) -> pd.DataFrame:
    """Whether each privacy score tells training patients handed out again from fresh real ones, a row a score.

    It does where the copies score worse beyond chance. Where ``again`` has values of many draws, {key: {"real": …,
    "copy": …}}, that is by more than the draws of fresh patients differ among themselves. Else, for shares, areas and
    accuracies, it is where Newcombe's 95 % interval of the difference of two shares of as many patients excludes 0.
    """
    patients = next(
        run.metrics["n"]["rows"] for runs in found.values() for run in runs if run.metrics
    )
    table = {}
    for key in keys:
        fresh, copied = (seeds.reference(found, point, key) for point in ("real", "copy"))
        if draws := (again or {}).get(key):
            fresh, copied = (float(np.mean(draws[point])) for point in ("real", "copy"))
        if fresh is None or copied is None:
            continue
        worse = bool(_worse(key, copied, draws["real"] if draws else [fresh]))
        if not draws and (METRICS[key].low, METRICS[key].high) == (0, 1):
            low, high = quoted.newcombe(round(copied * patients), round(fresh * patients), patients)
            worse = worse and (low > 0 or high < 0)
        table[METRICS[key].title] = {
            "fresh real": fresh,
            "copied": copied,
            "sees the copies": "yes" if worse else "no",
        }
    return pd.DataFrame.from_dict(table, orient="index")


def _worse(key: str, value: float | None, floor: Sequence[float]) -> bool | None:
    if value is None or not floor:
        return None
    best, worst = min(floor), max(floor)
    above, below = value > worst + (worst - best), value < best - (worst - best)
    return {"lower": above, "higher": below, "target": above or below}[METRICS[key].better]


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
            rows.append((title, figures.patients(value) if few else figures.cell(value)))
    return pd.DataFrame({"value": [value for _, value in rows]}, index=[title for title, _ in rows])


# The answer ----------------------------------------------------------------------------------------------------------


def answer(found: Rows) -> str:
    """The one-page answer in Markdown: a paragraph a model, then its scores beside those of the reference points."""
    parts = [f"- {says(name, runs)}" for name, runs in found.items()] + ["", *_blindness(found)]
    for kind, group in by_kind(found).items():
        caption = f"The main scores on {KINDS[kind]}, with those of fresh real patients and of independent columns. "
        table = figures.table(
            seeds.scores(group, HEADLINE, references=("real", "independent")),
            caption + seeds.said(group),
        )
        parts += ["", table._repr_html_()]
    return "\n".join(parts)


def says(name: str, runs: Sequence[experiments.Run]) -> str:
    """What the runs of one row found, in three sentences whose wording follows their numbers."""
    title, ended = runs[0].experiment["title"], [run for run in runs if run.verdict == "finished"]
    name = seeds.label(name, runs)
    if not ended:
        return f"**{name}** ({title}). Training diverged under every random seed ({len(runs)})."
    row = {name: ended}
    here = {key: seeds.over_seeds(runs, key) for key in HEADLINE}
    real = {key: figures.cell(seeds.reference(row, "real", key)) for key in HEADLINE}
    seconds = seeds.estimate(ended, thousand, least=0)
    return (
        f"**{name}** ({title}). Its patients have {here['fidelity.density_ratio']} times the codes of real patients; "
        f"{here['fidelity.codes_missing']} codes that test patients have never occur in them (as many fresh real "
        f"patients lack {real['fidelity.codes_missing']}). A classifier tells them from real patients with an AUC of "
        f"{here['utility.discriminator_auc']}, fresh real patients with one of {real['utility.discriminator_auc']}. A "
        f"patient costs {ended[0].costs['evaluations_per_patient']:,} evaluations of the network, a thousand patients "
        f"{seconds} seconds."
    )


def thousand(run: experiments.Run) -> float | None:
    """Seconds that a thousand synthetic patients took; None for a run that made none."""
    seconds = run.costs.get("sampling_seconds")
    return None if seconds is None else 1000 * seconds / run.experiment["evaluated"]


def _blindness(found: Rows) -> list[str]:
    """One sentence on each reported score that an empty table or a copy wins, by the references of the first run."""
    fooled = []
    for key, title in {
        "reported.ddm": "DDM",
        "reported.pcd": "PCD",
        "reported.log_cluster": "log-cluster",
    }.items():
        floor, *others = (seeds.reference(found, which, key) for which in ("real", *WORDS))
        beaten = [
            words
            for words, value in zip(WORDS.values(), others, strict=True)
            if value is not None and floor is not None and value <= floor
        ]
        if beaten:
            fooled.append(
                f"{title} rates {' and '.join(beaten)} at least as good as fresh real patients"
            )
    if not fooled:
        return []
    return [f"Read lower as better, as the report does, its {'; its '.join(fooled)}."]


#: References in a sentence.
WORDS = {"independent": "shuffled columns", "zero": "an empty table"}


def picture(found: Mapping[str, experiments.Run], prevalence: np.ndarray) -> Figure:
    """The study in one figure, from the runs on counts; ``prevalence`` is that of the test patients."""
    group = by_kind(found).get("count") or found
    gap = seeds.middles(seeds.gaps({name: [run] for name, run in group.items()}, PICTURE))
    made = {seeds.label(name, [run]): shares(run.synthetic) for name, run in group.items()}
    return figures.answer(prevalence, made, gap)


# Pages made at build time --------------------------------------------------------------------------------------------


def write(folder: Path, *, dataset: str, source: str | None, profile: str, seed: int) -> None:
    """Write what the prose pages include: origin, claims, account, environment, and the answer with its figure."""
    found = runs(dataset, source, profile, seed)
    data = experiments.cohort(dataset, source)
    folder.mkdir(parents=True, exist_ok=True)
    figures.save(picture(found, shares(data.test)), folder / "answer.svg")
    caption = "Above: share of patients with each code, synthetic against real. Below: floor-normalised gaps."
    figure = f"```{{figure}} generated/answer.svg\n:alt: {caption}\n:width: 100%\n\n{caption}\n```"
    every = rows(dataset, source, profile, seed)
    _write(folder / "answer.md", answer(main(every)) + "\n\n" + figure)
    beside = claims.companions(dataset, source, profile, seed)
    ledgers = [
        claims.page(claims.ledger(every)),
        *(claims.folded(title, table) for title, table in beside.items()),
    ]
    _write(folder / "claims.md", "\n\n".join(ledgers))
    _write(folder / "origin.md", origin(every, dataset=dataset, profile=profile, seed=seed).text)
    _write(folder / "environment.md", environment())
    _write(
        folder / "account.md",
        f"{DATASETS[dataset].description}\n\n"
        + figures.table(
            account(data.account), f"What the loader of {dataset} read, dropped and kept"
        )._repr_html_(),
    )


def environment() -> str:
    """Versions of Python and of the packages that decide numbers or looks, as a Markdown table."""
    rows = [("python", platform.python_version()), *((name, version(name)) for name in PACKAGES)]
    return "| package | version |\n|---|---|\n" + "\n".join(
        f"| {name} | {number} |" for name, number in rows
    )


def _write(path: Path, text: str) -> None:
    with replacing(path) as scratch:
        scratch.write_text(text + "\n", encoding="utf-8")
