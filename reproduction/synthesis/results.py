"""Tables and sentences of the main study's pages, made from the numbers of finished runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import pandas as pd
from scipy import sparse

from reproduction import tables
from reproduction.estimates import newcombe, wilson
from reproduction.synthesis import experiments, scores
from reproduction.synthesis.experiments import Run
from reproduction.synthesis.scores import Rows
from reproduction.tables import Html
from scoehr.data.datasets import DATASETS
from scoehr.data.matrix import CodeMatrix, Kind
from scoehr.generators import GENERATORS, Generator, ScoEHR
from scoehr.generators.conditions import count_pairs
from scoehr.metrics import METRICS
from scoehr.metrics.reported import cosine_share

#: A run, or a row of the plan with its runs over random seeds.
Entry = TypeVar("Entry", bound=Run | Sequence[Run])
#: What the cells of a kind of matrix hold, in a sentence.
KINDS = {"count": "counts", "binary": "presence of codes"}
#: Real patients with a code; fewer are too few to judge the rest of their records by.
ENOUGH = 100


# Runs ---------------------------------------------------------------------------------------------


def runs(dataset: str, source: str | None, profile: str, seed: int) -> dict[str, Run]:
    """The main rows' runs but diverged ones, made if they or their patients are not there."""
    plan = experiments.main(experiments.plan(dataset, source, profile, seed))
    made = {name: experiments.run(row, again=_lacks_patients(row)) for name, row in plan.items()}
    return {name: run for name, run in made.items() if run.verdict == "finished"}


def _lacks_patients(row: experiments.Experiment) -> bool:
    """Whether a run is published without its synthetic patients, as pages read them."""
    drawn = row.finished and row.result.verdict == "finished"
    return drawn and not row.stored.synthetic.exists()


def rows(dataset: str, source: str | None, profile: str, seed: int) -> dict[str, list[Run]]:
    """Every row that has finished runs, over its random seeds; the main ones made if need be."""
    runs(dataset, source, profile, seed)
    return experiments.finished(dataset, source, profile, seed)


def main(found: Rows) -> dict[str, Sequence[Run]]:
    """The main rows among others."""
    return grouped(found, experiments.MAIN)


def grouped(found: Rows, group: str) -> dict[str, Sequence[Run]]:
    """The rows of one group of the plan."""
    return {name: runs for name, runs in found.items() if runs[0].experiment["group"] == group}


def rivals(found: Rows) -> dict[str, Sequence[Run]]:
    """The rows of the contest: the main ones and the other generators."""
    return main(found) | grouped(found, "baselines")


def elsewhere(dataset: str, profile: str, seed: int) -> dict[str, dict[str, list[Run]]]:
    """Finished rows of the other open data sets, by data set; nothing is computed."""
    others = [name for name in DATASETS if name != dataset and not DATASETS[name].credentialed]
    found = {name: experiments.finished(name, None, profile, seed) for name in others}
    return {name: rows for name, rows in found.items() if rows}


def missing(found: Rows, names: Sequence[str]) -> str:
    """One sentence on the rows of the plan that have no finished run; empty if all have."""
    lacking = [name for name in names if not found.get(name)]
    return f"Not run yet: {', '.join(f'`{name}`' for name in lacking)}." if lacking else ""


def by_kind(found: Mapping[str, Entry]) -> dict[str, dict[str, Entry]]:
    """Runs, or rows of the plan, grouped by what their cells hold.

    Scores of counts and of presence do not compare.
    """
    groups: dict[str, dict[str, Entry]] = {}
    for name, entry in found.items():
        groups.setdefault(_kind(_first(entry)), {})[name] = entry
    return groups


def coded(found: Mapping[str, Entry]) -> dict[str, Entry]:
    """The runs, or rows, that have an autoencoder."""
    return _where(found, lambda run: bool(run.config["config"].get("latent")))


def weighted(found: Mapping[str, Entry]) -> dict[str, Entry]:
    """The runs, or rows, whose weights are kept, so that they can be sampled again."""
    return _where(found, lambda run: run.weighted)


def scored(found: Mapping[str, Entry]) -> dict[str, Entry]:
    """The runs, or rows, of score-based diffusion, not of thinning."""
    return _where(found, lambda run: run.config["generator"] == ScoEHR.name)


def _where(found: Mapping[str, Entry], holds: Callable[[Run], bool]) -> dict[str, Entry]:
    return {name: entry for name, entry in found.items() if holds(_first(entry))}


def _first(entry: Run | Sequence[Run]) -> Run:
    return entry if isinstance(entry, Run) else entry[0]


def _all(entry: Run | Sequence[Run]) -> Sequence[Run]:
    return [entry] if isinstance(entry, Run) else entry


def _kind(run: Run) -> Kind:
    """What the cells of the patients hold that a run is compared with."""
    return "binary" if run.config["config"]["kind"] == "binary" else "count"


def cohort(group: Mapping[str, Entry], source: str | None = None) -> experiments.Cohort:
    """The patients that a group of runs of one kind was trained on and is scored against."""
    run = _first(next(iter(group.values())))
    return experiments.cohort(run.experiment["dataset"], source, kind=_kind(run))


# Where the numbers come from ----------------------------------------------------------------------


def origin(
    found: Mapping[str, Run | Sequence[Run]], *, dataset: str, profile: str, seed: int
) -> Html:
    """The line on the data and the scale that the numbers of a page come from.

    ``found`` holds runs, or rows of the plan with their runs over random seeds.
    """
    made = next((run for entry in found.values() for run in _all(entry)), None)
    shown = made.experiment["profile"] if made else profile
    other = f"Nothing of profile <code>{profile}</code> is shown." if profile != shown else ""
    return tables.origin(dataset, shown, seed, other)


# Settings and costs -------------------------------------------------------------------------------


def settings(found: Mapping[str, Entry]) -> pd.DataFrame:
    """The settings that distinguish the runs, a column a run; a dash where one has no meaning."""
    columns = {scores.label(name, _all(one)): _settings(_first(one)) for name, one in found.items()}
    return pd.DataFrame(columns)


def _settings(run: Run) -> dict[str, str]:
    config, data = run.config["config"], run.config["data"]
    kind = GENERATORS[run.config["generator"]]
    sampler = config.get("sampler") if config.get("sampler") in kind.samplers else "–"
    return {
        "data": KINDS[_kind(run)],
        "training patients": tables.patients(data["train"]) if data else "–",
        **_latent(config),
        "network": "U-Net" if config.get("network") == "unet" else kind.architecture,
        "width": str(config.get("width", "–")),
        "parameters": f"{run.costs['parameters']:,}",
        "epochs": str(config.get("epochs", "–")),
        "learning-rate schedule": config.get("schedule", "–"),
        "network output": config.get("prediction", kind.output),
        "sampler": sampler.replace("_", " "),
        "steps": str(config["steps"]) if kind.samplers.get(sampler) else "–",
    }


def _latent(config: Mapping[str, Any]) -> dict[str, str]:
    names = ("decoder head", "autoencoder epochs", "latents standardised")
    if not (latent := config.get("latent")):
        return {"diffusion on": "codes", **dict.fromkeys(names, "–")}
    standardised = "yes" if config["standardise"] else "no"
    values = (config["head"], str(config["autoencoder_epochs"]), standardised)
    return {"diffusion on": f"{latent} latent dimensions", **dict(zip(names, values, strict=True))}


def costs(found: Rows) -> pd.DataFrame:
    """Seconds a stage, network evaluations a patient and peak memory, a row a row of the plan."""
    table = {}
    for name, runs in found.items():
        first = next((run for run in runs if run.verdict == "finished"), runs[0]).costs
        table[scores.label(name, runs)] = {
            "parameters": f"{first['parameters']:,}",
            "autoencoder (s)": str(scores.over_seeds(runs, "costs.autoencoder_seconds")),
            "model (s)": str(scores.estimate(runs, network_seconds, limits=scores.COUNT)),
            "1,000 patients (s)": str(scores.estimate(runs, thousand, limits=scores.COUNT)),
            "evaluations a patient": tables.cell(first.get("evaluations_per_patient")),
            "peak memory (MiB)": str(scores.estimate(runs, memory, limits=scores.COUNT)),
        }
    return pd.DataFrame.from_dict(table, orient="index")


def network_seconds(run: Run) -> float | None:
    """Seconds of training without the autoencoder: of a network, a GAN, a copula's pairs."""
    return _stages(run, but=("autoencoder_seconds", "sampling_seconds"))


def training_seconds(run: Run) -> float | None:
    """Seconds of all stages of training."""
    return _stages(run, but=("sampling_seconds",))


def _stages(run: Run, but: Sequence[str]) -> float | None:
    stages = [name for name in run.costs if name.endswith("_seconds") and name not in but]
    return sum(run.costs[name] for name in stages) if stages else None


def thousand(run: Run) -> float | None:
    """Seconds that a thousand synthetic patients took; None for a run that made none."""
    seconds = run.costs.get("sampling_seconds")
    return None if seconds is None else 1000 * seconds / run.experiment["evaluated"]


def memory(run: Run) -> float:
    """Peak memory of the process that made a run, in MiB."""
    return run.costs["peak_memory_bytes"] / 2**20


# Codes --------------------------------------------------------------------------------------------


def shares(matrix: CodeMatrix) -> np.ndarray:
    """Prevalence: the share of patients with each code, ``(n_codes,)``."""
    return np.asarray((matrix.counts > 0).mean(axis=0)).ravel()


def never_produced(
    found: Mapping[str, Run], source: str | None = None, most: int = 6
) -> pd.DataFrame:
    """The codes that test patients have and a run never makes, the most common ``most`` of each.

    Only codes of enough patients are named (see :data:`reproduction.tables.SMALLEST_CELL`).
    """
    table = []
    for name, run in found.items():
        test = cohort({name: run}, source).test
        real, patients = shares(test), np.asarray((test.counts > 0).sum(axis=0))
        gone = np.flatnonzero((shares(run.synthetic) == 0) & (patients >= tables.SMALLEST_CELL))
        for place in gone[np.argsort(-real[gone], kind="stable")][:most]:
            table.append((name, test.codes[place], test.titles[place], 100 * real[place]))
    return pd.DataFrame(table, columns=["run", "code", "title", "test patients (%)"])


def pairs(model: Generator, train: CodeMatrix) -> sparse.csr_array:
    """How many training patients have two codes together, ``(n_codes, n_codes)``, upper triangle.

    Counted again where the model was published without them.
    """
    kept = model.pairs
    return count_pairs(train.align(model.vocabulary.codes)) if kept is None else kept


def conditioned(
    model: Generator,
    train: CodeMatrix,
    real: CodeMatrix,
    *,
    codes: int = 6,
    patients: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """Patients sampled on condition of a code beside the real patients who have it.

    A row each for the most common ``codes`` of held-out ``real`` patients: mean occurrences in a
    record, of real patients with the code and of as many synthetic ones as ``patients`` on
    condition of it; and how the prevalence of all other codes among the real patients with the code
    correlates with that among the synthetic ones, and among all real patients, which is what
    ignoring the condition gives. Empty where no code has :data:`ENOUGH` patients. ``train`` are the
    patients that the model was trained on.
    """
    model.pairs = pairs(model, train)
    aligned = real.align(model.vocabulary.codes)
    table = pd.DataFrame(list(_conditioned(model, aligned, codes, patients, seed)))
    return table.set_index("code") if len(table) else table


def _conditioned(
    model: Generator, real: CodeMatrix, codes: int, patients: int, seed: int
) -> Iterator[dict[str, Any]]:
    has = real.counts > 0
    many, everyone = np.asarray(has.sum(axis=0)).ravel(), shares(real)
    for place in np.argsort(-many, kind="stable")[:codes]:
        if many[place] < ENOUGH:
            return
        name = str(real.codes[place])
        sick = real.take(np.flatnonzero(has[:, [place]].toarray()[:, 0]))
        made = model.sample(patients, seed=seed, condition=[name], progress=False)
        others = np.arange(len(real.codes)) != place
        among = shares(sick)[others]
        yield {
            "code": f"{name} {real.titles[place]}".strip(),
            "patients": len(sick),
            "occurrences": sick.counts.sum() / len(sick),
            "synthetic": made.counts.sum() / patients,
            "correlation, all patients": _correlation(everyone[others], among),
            "correlation": _correlation(shares(made)[others], among),
        }


def _correlation(one: np.ndarray, other: np.ndarray) -> float:
    """Pearson's, NaN where a side does not vary."""
    return float(np.corrcoef(one, other)[0, 1]) if one.std() and other.std() else float("nan")


# What a score can tell ----------------------------------------------------------------------------


def score(results: Mapping[str, Any], key: str) -> float | None:
    """One score of a results JSON, or of a reference point in it, by its key ``family.metric``."""
    family, name = key.split(".")
    return results.get(family, {}).get(name)


def sheet(results: Mapping[str, Mapping[str, Any]], keys: Sequence[str]) -> pd.DataFrame:
    """A row a score, a column a set of results."""
    columns = {name: [score(result, key) for key in keys] for name, result in results.items()}
    return pd.DataFrame(columns, index=[METRICS[key].title for key in keys], dtype=object)


def sees(
    results: Mapping[str, Mapping[str, Any]], keys: Sequence[str], fresh: Sequence[str]
) -> pd.DataFrame:
    """Whether a score tells each spoiled set from fresh samples: a row a score, a column a fault.

    True where the score is worse than that of every fresh sample, by more than those differ among
    themselves; None where it is undefined on the spoiled set or on all fresh ones.
    """
    table, faults = {}, [name for name in results if name not in fresh]
    for key in keys:
        values = {name: score(results[name], key) for name in results}
        floor = [value for name in fresh if (value := values[name]) is not None]
        table[METRICS[key].title] = {name: _worse(key, values[name], floor) for name in faults}
    return pd.DataFrame.from_dict(table, orient="index", dtype=object)


def cosine_draws(
    data: experiments.Cohort, n: int, seed: int, draws: int = 20
) -> dict[str, list[float]]:
    """The reported cosine share of many draws: of held-out patients with others, and with copies.

    Returns {"real": shares, "copy": shares}, each of ``draws`` random sets of ``n`` patients, or of
    half of the test patients if there are fewer.
    """
    rng, test, train = np.random.default_rng(seed), data.test.counts, data.train.counts
    n = min(n, test.shape[0] // 2, train.shape[0])
    found: dict[str, list[float]] = {"real": [], "copy": []}
    for _ in range(draws):
        order = rng.permutation(test.shape[0])
        copies = train[rng.permutation(train.shape[0])[:n]]
        found["real"].append(cosine_share(test[order[:n]], test[order[n : 2 * n]]))
        found["copy"].append(cosine_share(test[order[:n]], copies))
    return found


def copies_seen(
    found: Rows,
    keys: Sequence[str],
    again: Mapping[str, Mapping[str, Sequence[float]]] | None = None,
) -> pd.DataFrame:
    """Whether each privacy score tells copied training patients from fresh real ones, a row each.

    It does where the copies score worse beyond chance. Where ``again`` has values of many draws,
    {key: {"real": …, "copy": …}}, that is by more than the draws of fresh patients differ among
    themselves. Else, for shares, areas and accuracies, it is where Newcombe's 95 % interval of the
    difference of two shares of as many patients excludes 0.
    """
    every = (run for runs in found.values() for run in runs)
    patients = next(run.metrics["n"]["rows"] for run in every if run.metrics)
    table = {}
    for key in keys:
        fresh, copied = (scores.point(found, point, key) for point in ("real", "copy"))
        draws = (again or {}).get(key)
        if draws:
            fresh, copied = (float(np.mean(draws[point])) for point in ("real", "copy"))
        if fresh is None or copied is None:
            continue
        worse = bool(_worse(key, copied, draws["real"] if draws else [fresh]))
        if not draws and (METRICS[key].low, METRICS[key].high) == (0, 1):
            worse = worse and _apart(copied, fresh, patients)
        row = {"fresh real": fresh, "copied": copied, "sees the copies": "yes" if worse else "no"}
        table[METRICS[key].title] = row
    return pd.DataFrame.from_dict(table, orient="index")


def _apart(one: float, other: float, n: int) -> bool:
    """Whether two shares of ``n`` differ by an interval that excludes 0."""
    gap = newcombe(wilson(round(one * n), n), wilson(round(other * n), n))
    return gap.above() or gap.below()


def _worse(key: str, value: float | None, floor: Sequence[float]) -> bool | None:
    if value is None or not floor:
        return None
    best, worst = min(floor), max(floor)
    above, below = value > worst + (worst - best), value < best - (worst - best)
    return {"lower": above, "higher": below, "target": above or below}[METRICS[key].better]
