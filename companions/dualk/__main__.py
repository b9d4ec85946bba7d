"""The shell: ``python -m companions.dualk prepare|train|evaluate|runs --dataset … --source … --json
OUT``.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from scoehr.cli import JSON, Seed, Source
from scoehr.files import InputError, write_json
from scoehr.shell import PATH, may_write, new_shell, run_shell

app = new_shell(
    "companions.dualk",
    "DuaLK: next-visit diagnoses from a disease graph and laboratory knowledge.",
)
Dataset = Annotated[
    str, typer.Option("--dataset", help="simulated, mimic3, mimic4 or diabetes130.")
]
Profile = Annotated[
    str, typer.Option("--profile", help="Scale of the run: quick, standard or paper.")
]
Json = Annotated[Path, typer.Option("--json", parser=PATH, help="Write the results here.")]
#: Figures that ``evaluate`` prints.
SHOWN = (
    *("recall@10", "recall@20", "ndcg@20", "auprc", "new.recall@20"),
    *("reported.f1", "reported.recall@20"),
)
#: Runs that ``train`` and ``evaluate`` know by name.
Which = Annotated[
    str,
    typer.Option("--run", help="corrected, better, reported, first-day, or flaw-… of one flaw."),
]


@app.command()
def prepare(
    json: Json,
    dataset: Dataset = "simulated",
    source: Source = None,
    digits: Annotated[
        Literal["full", "three"], typer.Option(help="Full codes, as the study, or categories.")
    ] = "full",
    after: Annotated[
        int, typer.Option(help="Admissions of MIMIC-IV count if their year is later.")
    ] = 2012,
    split: Annotated[
        Literal["forced", "random"], typer.Option(help="The study's split, or by chance.")
    ] = "forced",
    patients: Annotated[
        int, typer.Option(min=10, help="Simulated patients, where no source is given.")
    ] = 2_000,
    seed: Seed = 0,
) -> None:
    """Read the tables; write every count of the nine phases beside the study's."""
    from companions.dualk import counts, results
    from companions.dualk import prepare as phases

    may_write(json, source, endings=JSON)
    found = phases.load(dataset, source, digits=digits, after=after, simulated=patients, seed=seed)
    account = counts.account(found, split, 42 + seed)
    write_json(json, {"account": account, "reported": results.QUOTES.values["counts"]})
    print(results.counts(account).to_string())
    print(f"wrote {json}")


@app.command()
def train(
    json: Json,
    dataset: Dataset = "simulated",
    source: Source = None,
    profile: Profile = "quick",
    seed: Seed = 0,
    run: Which = "corrected",
) -> None:
    """Train one run through all its stages, or go on with it; write its history and parameters."""
    may_write(json, source, endings=JSON)
    made = _made(dataset, source, profile, seed, run)
    write_json(
        json, {"run": made.id, "config": made.config, "history": made.history.to_dict("records")}
    )
    print(f"wrote {json}: {made.id}, in {made.folder}")


@app.command()
def evaluate(
    json: Json,
    dataset: Dataset = "simulated",
    source: Source = None,
    profile: Profile = "quick",
    seed: Seed = 0,
    run: Which = "corrected",
) -> None:
    """Score a run on its test patients beside the baselines, training it first if need be."""
    from companions.dualk import experiments

    may_write(json, source, endings=JSON)
    made = _made(dataset, source, profile, seed, run)
    patients = made.metrics["patients"]
    if patients < experiments.ENOUGH:
        few = f"{patients} test patients are too few for these figures to mean anything"
        print(f"warning: {few}", file=sys.stderr)
    write_json(json, {"run": made.id, **made.metrics})
    print(f"{'':24}{made.experiment.name:>26}{'copy-forward':>26}")
    for name in SHOWN:
        cells = (f"{made.value(name, of):.3f}" for of in ("", "copy-forward"))
        print(f"{name:24}" + "".join(f"{cell:>26}" for cell in cells))
    print(f"wrote {json}")


@app.command()
def runs(
    dataset: Dataset = "simulated",
    source: Source = None,
    profile: Profile = "quick",
    seed: Seed = 0,
) -> None:
    """Make every run that the book shows, or go on with them."""
    from companions.dualk import experiments

    for experiment in experiments.plan(dataset, source, profile, seed).values():
        if experiments.applies(experiment):
            print(f"finished: {experiments.run(experiment).id}", flush=True)


def _made(dataset: str, source: str | None, profile: str, seed: int, name: str) -> Any:
    from companions.dualk import experiments

    plan = experiments.plan(dataset, source, profile, seed)
    models = [key for key, experiment in plan.items() if experiment.kind == "model"]
    if name not in models:
        raise InputError(f"no run {name!r}; choose one of {', '.join(models)}")
    if not experiments.applies(plan[name]):
        lacking = f"a table of laboratory events, which {dataset} lacks here"
        raise InputError(f"run {name!r} needs {lacking}")
    return experiments.run(replace(plan[name], verbose=True))


def main(arguments: list[str] | None = None) -> None:
    """Run the shell on ``arguments`` and leave with its exit status."""
    run_shell(app, "dualk", arguments)


if __name__ == "__main__":
    main()
