"""Tables, figures and sentences of the three notebooks, all made from finished runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from companions.dualk import bridge, claims, cohorts, experiments, interpret, signal
from companions.dualk.baselines import TITLES as BASELINES
from companions.dualk.claims import QUOTES
from companions.dualk.evaluate import KS
from companions.dualk.experiments import ENOUGH, TITLES, Run
from companions.dualk.protocols import CORRECTED, FIRST_DAY, FLAWS, REPORTED
from reproduction import figures, tables
from reproduction import plan as plans
from reproduction.claims import OPEN, Untestable
from reproduction.estimates import Estimate, bootstrap
from reproduction.tables import Html, Words, cell, patients

#: Figures of the main table, with their titles.
MAIN = {
    "recall@20": "recall@20",
    "ndcg@20": "nDCG@20",
    "auprc": "AUPRC",
    "new.recall@20": "recall@20, new codes",
    "recurring.recall@20": "recall@20, recurring codes",
    "calibration": "calibration error",
}
#: Categories of ICD-9 whose codes the map of embeddings shows.
MAPPED = {
    "42": "other heart disease",
    "40": "hypertension",
    "39": "rheumatic heart disease",
    "25": "diabetes and other glands",
    "58": "kidney disease",
    "29": "psychoses",
}
Runs = Mapping[str, Run]


def runs(dataset: str, source: str | None, profile: str, seed: int) -> dict[str, Run]:
    """Every run that the pages show, of the largest finished profile; made if need be."""
    found = experiments.of_book(dataset, source, profile, seed)
    return {name: experiments.run(experiment) for name, experiment in found.items()}


def published(seed: int = 0) -> dict[str, dict[str, Run]]:
    """Finished runs of the open data sets, at the largest profile with all main rows."""
    kept: dict[str, dict[str, Run]] = {}
    for dataset in ("simulated", "diabetes130"):
        for profile in ("standard", "paper"):
            plan = experiments.plan(dataset, None, profile, seed)
            done = {name: Run(row) for name, row in plan.items() if row.finished}
            if {"corrected", "control", "history", "baselines"} <= set(done):
                kept[dataset] = done
    return kept


def several(dataset: str, source: str | None, profile: str, seed: int) -> dict[str, dict[str, Run]]:
    """The runs asked for and the published ones by data set; those of most patients are last."""
    return _with_published(runs(dataset, source, profile, seed), seed)


def _with_published(asked: dict[str, Run], seed: int) -> dict[str, dict[str, Run]]:
    name = asked["corrected"].experiment.dataset
    if name == "simulated":
        return {name: asked} | published(seed)
    return published(seed) | {name: asked}


def judged(dataset: str, source: str | None, profile: str, seed: int) -> pd.DataFrame:
    """The study's claims, each judged by the last runs of :func:`several` that give a verdict.

    The runs asked for come first where others of their data set are published.
    """
    asked = runs(dataset, source, profile, seed)
    found = _with_published(asked, seed).values()
    first, *others = map(claims.LEDGER.table, (asked, *found))
    for table in others:
        given = ~table["verdict"].str.startswith((OPEN, "not run yet"))
        first[given] = table[given]
    return first


def replicated(found: Mapping[str, Runs]) -> list[Run]:
    """The network of the history at all its finished random seeds, on the last data set."""
    row = list(found.values())[-1]["history"].experiment
    return [Run(each) for each in plans.done(row)]


def taught(found: Mapping[str, Runs]) -> dict[str, Runs]:
    """The data sets on which the corrected network has learnt, if flaws were put back there."""
    kept = {}
    for dataset, made in found.items():
        if not any(name.startswith(experiments.FLAW) for name in made):
            continue
        with suppress(Untestable):
            claims.learnt(made, "corrected")
            kept[dataset] = made
    return kept


def origin(found: Runs, *, dataset: str, profile: str, seed: int) -> Html:
    """The line on the data and the scale that the numbers of a page come from."""
    first = next(iter(found.values()))
    made = first.experiment
    few = "<strong>Too few test patients for any figure here to mean much.</strong>"
    return tables.origin(
        made.dataset,
        made.profile,
        seed,
        f"The book's data set <code>{dataset}</code> has no sequences of visits to learn from."
        if made.dataset != dataset
        else "",
        few if first.config["data"]["test"] < ENOUGH else "",
    )


def scale(found: Runs) -> pd.DataFrame:
    """What was run beside the study: patients, codes, widths and epochs, a row a quantity."""
    run = found["reported"]
    size, study, said = run.experiment.scale, experiments.scale("paper"), QUOTES.values["counts"]
    words = {"single": "single-visit", "train": "training", "test": "test"}
    names = {"single": "single_visit_patients"}
    rows = {
        f"{word} patients": (
            said["5 cohorts"][names.get(key, key)]["value"],
            run.config["data"][key],
        )
        for key, word in words.items()
    }
    rows |= {
        "codes": (said["3 vocabulary"]["codes"]["value"], run.config["data"]["codes"]),
        "features of a node": (study.model.features, size.model.features),
        "width of the network": (study.model.width, size.model.width),
        "epochs of fine-tuning": (study.training.epochs, size.training.epochs),
        "batch of fine-tuning": (study.training.batch, size.training.batch),
    }
    return pd.DataFrame(rows, index=["the study", "here"], dtype=object).T


# Data --------------------------------------------------------------------------------------------


def counts(account: Mapping[str, Any]) -> pd.DataFrame:
    """Every count of the nine phases, here and as reported; counts of few people become a range."""
    phases = {name: part for name, part in account.items() if isinstance(part, dict)}
    rows = list(_walk(phases, QUOTES.values["counts"]))
    titles, *columns = zip(*rows, strict=True)
    return pd.DataFrame(dict(zip(("here", "MIMIC-IV, reported"), columns, strict=True)), titles)


def _walk(
    here: Mapping[str, Any], theirs: Mapping[str, Any], indent: str = ""
) -> Iterator[tuple[str, str, str]]:
    """Title, count here and reported count of every entry, nested ones under their heading."""
    for name, value in here.items():
        other = theirs.get(name, {})
        title = indent + name.replace("_", " ")
        if isinstance(value, dict):
            yield title, "", ""
            yield from _walk(value, other, indent + "\u2003")
        else:
            reported = _count("", other["value"]) if "value" in other else ""
            yield title, _count(name, value), reported


def _count(name: str, value: Any) -> str:
    people = "patients" in name or name in ("pretrain", "train", "validation", "test")
    if isinstance(value, list):
        return " × ".join([patients(value[0]), *(f"{part:,}" for part in value[1:])])
    return patients(value) if people else cell(value)


def knowledge(run: Run) -> pd.DataFrame:
    """Triples of each relation."""
    triples = run.metrics["triples"]
    return pd.DataFrame({"triples": triples | {"in all": sum(triples.values())}})


def ranking(run: Run) -> pd.DataFrame:
    """How well held-out triples are ranked, a row a method."""
    table = pd.DataFrame.from_dict(run.metrics["ranking"], orient="index")
    columns = {"mrr": "mean reciprocal rank", **{f"hits@{k}": f"Hits@{k}" for k in (1, 3, 10)}}
    return table.reindex(columns=list(columns)).rename(columns=columns)


@figures.styled
def scatter(maps: Mapping[str, pd.DataFrame]) -> Figure:
    """Maps of the codes side by side, a colour a group (columns x, y, group)."""
    figure, axes = figures.panels(len(maps), width=3.6, height=3.2)
    for ax, (title, points) in zip(axes, maps.items(), strict=True):
        shades = figures.colours(list(dict.fromkeys(points["group"])))
        for name, rows in points.groupby("group", sort=False):
            style: Any = {"color": shades[str(name)], "label": str(name), "linewidths": 0}
            ax.scatter(rows["x"], rows["y"], s=22, **style)
        ax.set(title=title, xticks=[], yticks=[])
        ax.grid(False)
    return figures.shared_legend(figure, axes, columns=3)


def maps(done: Run) -> dict[str, pd.DataFrame]:
    """The nodes of some diseases before and after training, in two dimensions."""
    import torch

    model, trainer = experiments.network(done)
    with torch.no_grad():
        encoded = model.graph(trainer.graph).numpy()
    found = {"from the knowledge graph": trainer.features, "after training": encoded}
    made, seed = {}, done.experiment.seed
    for name, vectors in found.items():
        table = interpret.embedding_map(trainer.records, vectors, list(MAPPED), seed, most=60)
        made[name] = table.assign(group=table["group"].map(MAPPED))
    return made


# Model -------------------------------------------------------------------------------------------


def parameters(found: Runs) -> pd.DataFrame:
    """Parameters of each part: of runs, and at the study's size."""
    shown = [name for name in ("reported", "better") if name in found]
    columns = {TITLES[name]: found[name].config["parameters"] for name in shown}
    return pd.DataFrame(columns | {"as reported, full size": full_size()}).rename_axis(None)


def full_size() -> dict[str, int]:
    """Parameters of the network at the sizes that the study prints."""
    import torch

    from companions.dualk.models import DuaLK, ModelConfig, Sizes, parameter_table

    words, nodes = QUOTES.value("counts/3 vocabulary"), QUOTES.value("counts/6 graph/nodes/value")
    items = {name: n["value"] for name, n in words["laboratory_items_by_category"].items()}
    config, sizes = ModelConfig(), Sizes(words["codes_of_several_visits"]["value"], items)
    with torch.device("meta"):
        return parameter_table(DuaLK(torch.zeros(nodes, config.features), sizes, config))


#: Figures of a line of the logs, with their titles.
LOGGED = {
    "train_loss": "training loss",
    "loss": "loss",
    "f1": "F1, number of codes known",
    **{f"recall@{k}": f"recall@{k}, capped" for k in KS},
    "learning_rate": "learning rate",
    "scored_on": "scored on",
}
#: Those that tables show; the page of exhibits has all.
SHOWN = ("train_loss", "loss", "f1", "recall@20", "scored_on")
#: Patients that the study scores a stage by; the stages before fine-tuning by those of training.
SCORED_ON = {"fine-tuning": "test patients", "laboratory": "held-out admissions"}


def log(found: Mapping[str, Run]) -> pd.DataFrame:
    """The last epoch of each stage of some runs, in columns of the study's log."""
    parts = []
    for name, run in found.items():
        last = run.history.groupby("stage", sort=False).tail(1)
        columns = [key for key in SHOWN if key in last]
        titles = [f"{TITLES[name]}: {stage}" for stage in last["stage"]]
        parts.append(last.set_index(pd.Index(titles))[["epoch", *columns]].rename(columns=LOGGED))
    return pd.concat(parts)


def logs(run: Run) -> pd.DataFrame:
    """Every line of the study's logs, with the same epoch of a run of its protocol under it."""
    rows = {}
    for line in QUOTES.values["logs"]:
        stage, epoch = line["stage"], line["epoch"]
        theirs = {LOGGED[key]: line[key] for key in SHOWN if key in line}
        theirs[LOGGED["scored_on"]] = SCORED_ON.get(stage, "training patients")
        rows[f"{stage}, epoch {epoch}, reported"] = theirs
        ours = run.history.query("stage == @stage and epoch == @epoch")
        if len(ours):
            found = ours.iloc[0]
            rows[f"{stage}, epoch {epoch}, here"] = {
                LOGGED[key]: found[key] for key in SHOWN if key in line or key == "scored_on"
            }
    return pd.DataFrame.from_dict(rows, orient="index", columns=[LOGGED[key] for key in SHOWN])


def curves(found: Mapping[str, Run], stage: str = "fine-tuning") -> Figure:
    """Losses of a stage against the epoch, a panel a run; the study's reported ones dashed."""
    histories = {}
    for name, run in found.items():
        rows = run.history[run.history["stage"] == stage]
        histories[TITLES[name]] = [rows.rename(columns={"loss": "validation_loss"})]
    logged = [row for row in QUOTES.values["logs"] if row["stage"] == stage]
    points = [
        {"set": kind, "epoch": row["epoch"], "loss": row[key]}
        for row in logged
        for kind, key in (("train", "train_loss"), ("test", "loss"))
    ]
    theirs = {TITLES["reported"]: pd.DataFrame(points)} if points else None
    return figures.curves(histories, theirs, ylabel="binary cross-entropy")


def attention(done: Run, patients: int = 1) -> list[tuple[str, pd.DataFrame]]:
    """How the attention of some test patients is shared, by visit and by code within a visit.

    Only for simulated patients, since no real one may be shown.
    """
    if done.experiment.dataset != "simulated":
        return []
    model, trainer = experiments.network(done)
    test = trainer.parts.test
    chosen = test[np.argsort(-trainer.records.visits[test], kind="stable")[:patients]]
    found = []
    for number, patient in enumerate(chosen.tolist(), start=1):
        seen = interpret.attention(model, trainer.graph, trainer.feed, patient)
        codes = seen.codes.sort_values(["visit", "weight"], ascending=[True, False])
        codes = codes.groupby("visit").head(2).rename(columns={"weight": "attention of the code"})
        visits = seen.visits.rename(columns={"weight": "attention of the visit"})
        table = codes.merge(visits, on="visit").tail(8).reset_index(drop=True)
        columns = ["visit", "attention of the visit", "code", "title", "attention of the code"]
        found.append((f"simulated patient {number}", table[columns]))
    return found


@figures.styled
def gradients(table: pd.DataFrame, most: int = 12) -> Figure:
    """Integrated gradients: share by laboratory category, and the items that weigh most."""
    figure, (left, right) = figures.panels(2, width=3.6, height=3.2)
    shares = interpret.by_category(table)
    shades = figures.colours(list(shares.index))
    rows = np.arange(len(shares))[::-1]
    left.barh(rows, 100 * shares, color=[shades[name] for name in shares.index], height=0.6)
    left.set_yticks(rows, list(shares.index))
    left.set(xlabel="share of the attribution (%)", title="by category")
    top = table.reindex(table["attribution"].abs().sort_values(ascending=False).index).head(most)
    rows, colours = np.arange(len(top))[::-1], [shades[name] for name in top["category"]]
    right.barh(rows, top["attribution"], color=colours, height=0.7)
    right.set_yticks(rows, top["item"], fontsize=8)
    right.set(xlabel="attribution to the logit", title="by item")
    for ax in (left, right):
        ax.grid(axis="y", visible=False)
    return figure


def heart_failure_gradients(done: Run) -> pd.DataFrame | None:
    """Mean attributions of laboratory items to the first code of heart failure, or None."""
    model, trainer = experiments.network(done)
    codes = np.flatnonzero(cohorts.heart_failure(trainer.records)[: trainer.records.targets])
    if not trainer.sizes.items or not len(codes):
        return None
    test = trainer.parts.test[:500]
    return interpret.decoder_gradients(model, trainer.graph, trainer.feed, test, int(codes[0]))


# Results -----------------------------------------------------------------------------------------


def protocols() -> pd.DataFrame:
    """What each protocol does, field by field."""
    columns = {"as reported": REPORTED, "corrected": CORRECTED, "with the first day": FIRST_DAY}
    found = {title: protocol.describe() for title, protocol in columns.items()}
    table = pd.DataFrame(found).map(_word)
    return table.rename(index=lambda name: name.replace("_", " ")).rename_axis(None)


def _word(value: Any) -> str:
    return ("yes" if value else "no") if isinstance(value, bool) else str(value)


def main(found: Runs) -> pd.DataFrame:
    """The corrected figures of every model and baseline on the same test patients."""
    shown = [name for name in ("corrected", "control", "better", "first-day") if name in found]
    rows = {f"DuaLK, {TITLES[name]}": _figures(found[name]) for name in shown}
    if "history" in found:
        rows[TITLES["history"]] = _figures(found["history"])
        rows["RETAIN, every visit an answer"] = _figures(found["history"], "retain, every visit")
    for name, title in (BASELINES | {"oracle": "who knows all that is hidden"}).items():
        if name in found["baselines"].metrics["baselines"]:
            rows[title] = _figures(found["baselines"], name)
    return pd.DataFrame.from_dict(rows, orient="index")


def _figures(run: Run, of: str = "") -> dict[str, str]:
    return {title: str(run.value(key, of)) for key, title in MAIN.items()}


def ahead(done: Sequence[Run]) -> str:
    """By how much the network of the history is ahead of others, mean over random seeds."""
    others = {"recurrence": BASELINES["recurrence"], "retain, every visit": "RETAIN, every visit"}
    parts = []
    for other, title in others.items():
        every, new = (over_seeds(done, key, other) for key in ("recall@20", "new.recall@20"))
        parts.append(f"ahead of {title} by {every} in recall@20 and by {new} among new codes")
    return (
        f"Over random seeds ({len(done)}: other cohorts, other weights) it is "
        f"{', and '.join(parts)}; intervals are by bootstrap of the seeds and of the patients "
        "within each."
    )


def over_seeds(done: Sequence[Run], key: str, baseline: str) -> Estimate:
    """A figure of a row less that of a baseline, mean over its random seeds."""
    draws = [run.draws[key] - run.draws[f"{baseline} {key}"] for run in done]
    values = [run.difference(run, key, theirs=baseline).value for run in done]
    return _mean(list(zip(values, draws, strict=True)))


def changed(run: Run, base: Run, key: str = "recall@20") -> Estimate:
    """A figure of a row less another's on the same patients, mean over the seeds of both."""
    pairs = _pairs(run, base)
    values = [one.difference(other, key).value for one, other in pairs]
    draws = [one.draws[key] - other.draws[key] for one, other in pairs]
    return _mean(list(zip(values, draws, strict=True)))


def _pairs(run: Run, base: Run) -> list[tuple[Run, Run]]:
    """Two rows at the random seeds at which both are finished, else as they are."""
    one, other = (
        {row.seed: Run(row) for row in plans.done(each.experiment)} for each in (run, base)
    )
    return [(one[seed], other[seed]) for seed in sorted(one.keys() & other.keys())] or [(run, base)]


def _mean(found: Sequence[tuple[float, pd.Series]]) -> Estimate:
    """A difference over random seeds, each with draws: bootstrap of seeds, and patients in each."""
    values, apart = zip(*found, strict=True)
    if len(found) == 1:
        return bootstrap(values[0], apart[0])
    draws = np.stack([part.to_numpy() for part in apart])
    rng, shape = np.random.default_rng(0), (draws.shape[1], len(found))
    seeds, columns = rng.integers(len(found), size=shape), rng.integers(draws.shape[1], size=shape)
    mean = draws[seeds, columns].mean(axis=1)
    return bootstrap(float(np.mean(values)), mean)._replace(n=len(found))


def both(found: Runs) -> pd.DataFrame:
    """The study's figures beside plain ones, of both protocols, of copy-forward and as reported."""
    keys = ["reported.f1", *(f"{kind}recall@{k}" for kind in ("reported.", "") for k in KS[:2])]
    rows = {}
    for name in ("reported", "corrected", "better"):
        rows[f"DuaLK, {TITLES[name]}"] = {_metric(key): str(found[name].value(key)) for key in keys}
    for name in ("reported", "corrected"):
        values = {_metric(key): str(found[name].value(key, "copy-forward")) for key in keys}
        rows[f"copy-forward, cohorts {TITLES[name]}"] = values
    for row in QUOTES.values["repository"]:
        if row["stage"] == "fine-tuning" and "f1" in row:
            theirs = {f"reported.{key}": value for key, value in row.items()}
            rows[f"reported, MIMIC-IV, epoch {row['epoch']}"] = {
                _metric(key): cell(theirs.get(key)) for key in keys
            }
    return pd.DataFrame.from_dict(rows, orient="index")


def _metric(key: str) -> str:
    if key == "reported.f1":
        return "F1, number of codes known"
    return key.replace("reported.", "capped ")


def every_flaw(found: Mapping[str, Runs]) -> pd.DataFrame:
    """The rows of :func:`flaws` of each data set, its name before theirs."""
    return pd.concat([flaws(made).add_prefix(f"{name}: ", axis=0) for name, made in found.items()])


def flaws(found: Runs) -> pd.DataFrame:
    """What each flaw is worth: the corrected protocol with one flaw at a time, and with all."""
    base, rows = found["corrected"], {}
    rows["none (corrected)"] = _flaw_row(base, base)
    for name, title in FLAWS.items():
        run = found.get(_flaw_name(name))
        if run is not None:
            rows[title] = _flaw_row(run, base)
    if "reported" in found:
        rows["all (as reported)"] = _flaw_row(found["reported"], base)
    return pd.DataFrame.from_dict(rows, orient="index")


def _flaw_row(run: Run, base: Run) -> dict[str, str]:
    same = run.experiment.protocol.split == base.experiment.protocol.split and run is not base
    row = {"recall@20": str(run.value("recall@20"))}
    row["change"] = "–" if run is base else "other patients"
    if same:
        equal = run.draws["recall@20"].equals(base.draws["recall@20"])
        row["change"] = "none: same ranking" if equal else str(changed(run, base))
    row["less copy-forward"] = str(run.difference(run, "recall@20", theirs="copy-forward"))
    return row | {
        "capped recall@20": str(run.value("reported.recall@20")),
        "F1, number of codes known": str(run.value("reported.f1")),
    }


def worth(found: Runs) -> dict[str, list[Estimate]]:
    """What each flaw, by its title, adds to recall@20 at each random seed: over the same bootstrap
    draws of patients where they are the same, over independent ones where the split differs.
    """
    rows = {title: found.get(_flaw_name(name)) for name, title in FLAWS.items()}
    base = found["corrected"]
    return {
        title: [one.difference(other, "recall@20") for one, other in _pairs(run, base)]
        for title, run in rows.items()
        if run is not None
    }


def _flaw_name(name: str) -> str:
    """The row of a flaw of the protocol."""
    return experiments.FLAW + name.replace("_", "-")


def strata(found: Runs) -> Figure:
    """Recall@20 by how often training has a code, a panel a group of codes, the rarest first."""
    names = [key for key in found["corrected"].metrics["scores"] if key.startswith("stratum")]
    parts = {
        f"DuaLK, {TITLES[name]}": (name, "") for name in ("corrected", "better") if name in found
    }
    for name in ("copy-forward", "recurrence", "oracle"):
        if name in found["baselines"].metrics["baselines"]:
            parts[BASELINES.get(name, "who knows all that is hidden")] = ("baselines", name)
    titles = ["rarest codes", *(f"group {n}" for n in range(2, len(names))), "most frequent codes"]
    panels = {}
    for key, title in zip(names, titles, strict=True):
        panels[title] = {words: found[run].value(key, of) for words, (run, of) in parts.items()}
    return figures.dots(panels)


def heart_failure(found: Runs) -> Figure:
    """The heart-failure task: AUROC and AUPRC of everyone and of new cases."""
    who = {
        "all": "everyone",
        "without earlier": "without it so far",
        "copy-forward": "everyone, earlier repeated",
    }
    panels: dict[str, dict[str, Estimate]] = {"AUROC": {}, "AUPRC": {}}
    for name in ("reported", "corrected"):
        for group, words in who.items():
            entry = found[name].metrics["heart_failure"][group]
            for key, panel in panels.items():
                panel[f"{TITLES[name]}: {words}"] = Estimate.read(entry.get(key.lower()))
    return figures.dots(panels)


def verdict(found: Runs) -> Words:
    """Whether DuaLK beats repeating earlier diagnoses, in sentences that follow the numbers."""
    names = [name for name in ("reported", "corrected", "better") if name in found]
    return Words("\n".join(_sentence(found, name) for name in names))


def _sentence(found: Runs, name: str) -> str:
    try:
        run = claims.learnt(found, name)
    except Untestable as reason:
        return f"- **DuaLK, {TITLES[name]}**: no verdict, since {reason}."
    apart = run.difference(run, "recall@20", theirs="copy-forward")
    worse = "is worse than" if apart.below() else "does not differ clearly from"
    word = "beats" if apart.above() else worse
    return (
        f"- **DuaLK, {TITLES[name]}** {word} copy-forward: recall@20 {run.value('recall@20')} "
        f"against {run.value('recall@20', 'copy-forward')}, difference {apart}."
    )


def across(found: Mapping[str, Runs]) -> pd.DataFrame:
    """DuaLK and copy-forward on every data set with finished runs."""
    rows = {}
    for dataset, made in found.items():
        for name in ("reported", "corrected", "better"):
            if name not in made:
                continue
            run = made[name]
            rows[f"{dataset}: DuaLK, {TITLES[name]}"] = {
                "profile": run.experiment.profile,
                "test patients": patients(run.metrics["patients"]),
                "recall@20": str(run.value("recall@20")),
                "copy-forward": str(run.value("recall@20", "copy-forward")),
                "difference": str(run.difference(run, "recall@20", theirs="copy-forward")),
            }
    return pd.DataFrame.from_dict(rows, orient="index")


# Signal ------------------------------------------------------------------------------------------


def signals(dataset: str, source: str | None, profile: str, seed: int) -> dict[str, Run]:
    """The runs of synthetic visits by data set: published ones, or that of the book's data set."""
    return _published("signal", seed) or _of_book("signal", dataset, source, profile, seed)


def bridges(dataset: str, source: str | None, profile: str, seed: int) -> dict[str, Run]:
    """The runs of graph and laboratory stage by data set: that of the book's, published ones."""
    return _of_book("bridge", dataset, source, profile, seed) | _published("bridge", seed)


def _published(row: str, seed: int) -> dict[str, Run]:
    return {name: found[row] for name, found in published(seed).items() if row in found}


def _of_book(row: str, *at: Any) -> dict[str, Run]:
    made = experiments.of_book(*at)[row]
    return {made.dataset: experiments.run(made, progress=False)}


def signal_table(run: Run) -> pd.DataFrame:
    """A row a set of patients: recall@20 on real test patients of the predictors it taught."""
    rows = {}
    for name, title in signal.SETS.items():
        size = run.metrics["sets"][name]
        counts = {"patients": size["patients"], "with several visits": size["several"]}
        rows[title] = {words: patients(n) for words, n in counts.items()}
        for predictor, words in signal.PREDICTORS.items():
            rows[title][words] = str(_taught(run, name, predictor, "recall@20"))
    return pd.DataFrame.from_dict(rows, orient="index")


def signal_differences(run: Run) -> Figure:
    """Recall@20 of what a set of patients taught less that of real ones, a panel a predictor."""
    panels: dict[str, dict[str, Estimate]] = {}
    for predictor, words in signal.PREDICTORS.items():
        less = {name: _taught(run, name, predictor, "less recall@20") for name in signal.SETS}
        panels[words] = {signal.SETS[name]: less[name] for name in less if name != signal.REAL}
    return figures.dots(panels, {"real patients": dict.fromkeys(panels, 0.0)})


def _taught(run: Run, name: str, predictor: str, key: str) -> Estimate:
    """A figure of a predictor taught by a set of patients."""
    return Estimate.read(run.metrics["scores"][name][predictor][key])


def signal_kept(run: Run) -> str:
    """How much of the signal synthetic visits keep, of what real ones teach, in words."""
    parts, floor = [], _taught(run, signal.REAL, "frequency", "recall@20").value
    for predictor, title in signal.PREDICTORS.items():
        real = _taught(run, signal.REAL, predictor, "recall@20")
        if not real.above(floor):
            parts.append(
                f"nothing can be said of {title}, which real patients teach no more either"
            )
            continue
        less = _taught(run, signal.SYNTHETIC, predictor, "less recall@20")
        parts.append(f"{less.kept(real.value - floor):z.0f} % ({title})")
    return (
        "Of what real patients teach beyond the most frequent codes, in recall@20 on the test "
        f"patients, synthetic ones keep: {'; '.join(parts)}."
    )


# Bridge ------------------------------------------------------------------------------------------


def bridge_table(run: Run) -> pd.DataFrame:
    """A row a set of visits: its graph beside that of test patients, and what it taught."""
    scores = run.metrics["scores"]
    titles = {name: bridge.TITLES[name] for name in scores}
    rows = {titles[name]: _beside_test(scores[name], "") for name in scores}
    rows |= {
        f"{titles[name]}, less real": _beside_test(scores[name], "less ")
        for name in scores
        if name != signal.REAL
    }
    return pd.DataFrame.from_dict(rows, orient="index")


def bridge_kept(run: Run) -> str:
    """How much of the graph and the laboratory knowledge synthetic visits keep, in words."""
    _, made, apart = (run.metrics["scores"][name] for name in bridge.TITLES)
    parts = []
    for key, title in bridge.FIGURES.items():
        less = Estimate.read(apart.get(f"less {key}"))
        if less.below():
            kept = Estimate.read(made[f"less {key}"]).kept(-less.value)
            parts.append(f"{kept:z.0f} % ({title})")
    if not parts:
        return "These visits of real patients are no better than independent columns."
    return (
        "Of what the visits of real training patients have beyond independent columns, those of "
        f"synthetic ones keep: {'; '.join(parts)}. The generator learnt from them for "
        f"{run.experiment.signal.epochs} epochs."
    )


def _beside_test(scores: Mapping[str, Any], which: str) -> dict[str, str]:
    """Every figure of the bridge that a set of visits has."""
    return {
        title: f"{Estimate.read(scores[which + key]):.3f}"
        for key, title in bridge.FIGURES.items()
        if key in scores
    }
