"""The shell: ``python -m companions.mortality_attack COMMAND``. Status 0 when done, else 2 with one
line.

``--source`` is the folder of MIMIC-III's tables, the URL of a PostgreSQL server that has them, or a
set of the Challenge 2012: its folder of text files, or a Parquet or CSV file. Left out, stays are
simulated.
"""

from __future__ import annotations

import sys
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from scoehr.cli import Seed
from scoehr.files import InputError, read_json, write_json
from scoehr.shell import PATH, SOURCE, may_replace, may_write, new_shell, run_shell

app = new_shell(
    "mortality_attack",
    "Death in hospital from the first 48 hours in intensive care: predicted and attacked.",
)
Source = Annotated[
    str | None,
    typer.Option(
        parser=SOURCE, help="MIMIC-III folder or postgresql:// URL, or a Challenge 2012 set."
    ),
]
Outcomes = Annotated[
    Path | None,
    typer.Option(parser=PATH, help="Outcomes of a Challenge 2012 set; found if beside it."),
]
Model = Annotated[
    Path | None,
    typer.Option(parser=PATH, help="Folder of a trained model; without it one is trained."),
]
Profile = Annotated[
    Literal["tiny", "quick", "standard", "paper"], typer.Option(help="Scale of the study.")
]
Row = Annotated[str, typer.Option("--row", help="Row of plan.yaml to train.")]
Json = Annotated[Path | None, typer.Option(parser=PATH, help="Write the results here.")]
Part = Annotated[
    Literal["auto", "test", "all"],
    typer.Option(
        help="Stays judged: test ones, or all. auto: test ones of the source trained on, else all."
    ),
]
BEST = "best-all"


@app.command("extract")
def extract_(
    source: Source = None,
    outcomes: Outcomes = None,
    out: Annotated[
        Path | None,
        typer.Option(parser=PATH, help="New folder for stays.parquet and events.parquet."),
    ] = None,
    json: Json = None,
) -> None:
    """Read a source; say what was kept and left out."""
    from companions.mortality_attack import experiments

    _may_write(json, source, outcomes)
    if out:
        may_replace(out, {"stays.parquet", "events.parquet"}, source, outcomes)
    begin = time.perf_counter()
    data = _stays(source, outcomes, "standard")
    facts = experiments.cohort(data) | {"source": data.kind, "seconds": time.perf_counter() - begin}
    for name, value in facts["account"].items():
        print(f"{name:52} {value:>12,}")
    for row in facts["features"]:
        print(f"{row['title']:30} {row['stays']:7.1%} of stays {row['cells']:7.1%} of hours")
    if out:
        data.write(out)
        print(f"wrote {out}")
    _write(json, facts)


@app.command("train")
def train_(
    source: Source = None,
    outcomes: Outcomes = None,
    profile: Profile = "quick",
    row: Row = BEST,
    seed: Seed = 0,
    out: Annotated[
        Path | None,
        typer.Option(
            "--model", "--out", parser=PATH, help="Also copy the trained model to this new folder."
        ),
    ] = None,
    json: Json = None,
) -> None:
    """Train the models of a row, or go on with them."""
    _may_write(json, source, outcomes)
    if out and out.exists():
        raise InputError(f"{out}: is there already; give --model a new folder")
    made = _trained(source, outcomes, profile, row, seed)
    print(f"model: {made.folder}")
    if out:
        made.export(out)
        print(f"wrote {out}")
    _print(made.metrics["test"])
    _write(json, {"model": str(made.folder), **made.metrics["test"], **made.metrics})


@app.command("evaluate")
def evaluate_(
    source: Source = None,
    outcomes: Outcomes = None,
    model: Model = None,
    profile: Profile = "quick",
    row: Row = BEST,
    part: Part = "auto",
    seed: Seed = 0,
    json: Json = None,
) -> None:
    """Score a model on a source, with 95 % intervals over patients."""
    from companions.mortality_attack import evaluate, experiments

    _may_write(json, source, outcomes, model)
    folder, fitted, statistics, series = _judged(source, outcomes, model, profile, row, part, seed)
    config = read_json(folder / "config.json")
    chance = experiments.ensemble(fitted, series)
    if "line" in config:
        chance = evaluate.on_line(chance, config["line"])
    threshold = float(config.get("threshold", 0.5))
    found = evaluate.estimates(
        evaluate.drawn(chance, series.died > 0, series.patients, threshold, seed=seed)
    )
    _print(found)
    facts = {
        "threshold": {"value": threshold, "interval": None},
        "stays": len(series),
        "deaths": int(series.died.sum()),
        "trained_on": experiments.seen(folder, series),
        "calibration": evaluate.calibration(chance, series.died),
        "subgroups": evaluate.subgroups(chance, series, statistics, seed=seed),
        "model": str(folder),
    }
    if facts["trained_on"]:
        words = f"{facts['trained_on']} of these {len(series)} stays were trained on"
        print(f"warning: {words}; their scores are too good", file=sys.stderr)
    elif facts["trained_on"] is None:
        print("note: the model does not say which stays it was trained on", file=sys.stderr)
    _write(json, found | facts)


@app.command("attack")
def attack_(
    source: Source = None,
    outcomes: Outcomes = None,
    model: Model = None,
    profile: Profile = "quick",
    row: Row = "bilstm-study",
    part: Part = "auto",
    seed: Seed = 0,
    stays: Annotated[int | None, typer.Option(min=1, help="Attack at most so many stays.")] = None,
    kappa: Annotated[float, typer.Option(min=0, help="Confidence κ.")] = 0.0,
    penalty: Annotated[float | None, typer.Option(min=0, help="λ of the L1 norm.")] = None,
    step_size: Annotated[
        float | None, typer.Option("--step-size", "--rate", help="Of a step against the slope.")
    ] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Steps at most.")] = None,
    optimiser: Annotated[
        Literal["sgd", "adam", "rmsprop"], typer.Option(help="Of the margin.")
    ] = "sgd",
    momentum: Annotated[bool, typer.Option(help="FISTA; for sgd.")] = False,
    box: Annotated[
        Literal["normalised", "clinical"], typer.Option(help="Where values may go.")
    ] = "normalised",
    measured_only: Annotated[bool, typer.Option(help="Leave filled-in cells alone.")] = True,
    direction: Annotated[
        Literal["both", "0to1", "1to0"], typer.Option(help="Verdicts attacked.")
    ] = "both",
    json: Json = None,
) -> None:
    """Attack the first network of a folder on a source's stays: which verdicts turn, and where."""
    import numpy as np

    from companions.mortality_attack import attack, experiments, susceptibility

    _may_write(json, source, outcomes, model)
    base = experiments.PLAN.text["attacks"]["settings"]["attack"]
    scaled = experiments.scaled_steps(base["steps"], experiments.PLAN.scale(profile))
    asked = {"penalty": penalty, "step_size": step_size, "steps": steps}
    config = attack.AttackConfig(
        **base
        | {"steps": scaled, "kappa": kappa, "optimiser": optimiser, "momentum": momentum}
        | {"box": box, "measured_only": measured_only, "direction": direction}
        | {key: value for key, value in asked.items() if value is not None}
    )
    folder, fitted, statistics, series = _judged(source, outcomes, model, profile, row, part, seed)
    series = series.take(np.arange(len(series))[:stays])
    victim = _network(folder, fitted)
    before, begin = attack.fingerprint(victim), time.perf_counter()
    found = attack.attack(victim, series, statistics, config)
    facts = experiments.summary(found, series, config.steps, seed)
    facts["seconds"] = time.perf_counter() - begin
    facts["victim"] = {"before": before, "after": attack.fingerprint(victim)}
    _print_attack(facts)
    facts["features"] = _by_feature(found)
    facts["noise"] = susceptibility.noise(
        victim, series, statistics, found, measured_only=measured_only, seed=seed
    )
    _write(json, facts | {"attack": asdict(config), "model": str(folder)})


def _network(folder: Path, fitted: list[Any]) -> Any:
    """The first network of a folder's models."""
    from companions.mortality_attack.models import Classifier

    network = next((model for model in fitted if isinstance(model, Classifier)), None)
    if network is None:
        raise InputError(f"{folder}: holds no network to attack; give --model one that does")
    return network


@app.command("tune")
def tune_(
    source: Source = None,
    outcomes: Outcomes = None,
    model: Model = None,
    what: Annotated[Literal["model", "attack"], typer.Option(help="What is tuned.")] = "model",
    objective: Annotated[
        str,
        typer.Option(
            help="Of an attack: sparsity, sparse_small, sparse_small_max, max_num_nonzero_perts."
        ),
    ] = "sparse_small",
    trials: Annotated[int, typer.Option(min=1, help="Until there are so many.")] = 15,
    folds: Annotated[int, typer.Option(min=2, help="Of the training part.")] = 3,
    epochs: Annotated[int, typer.Option(min=1, help="Epochs a block.")] = 3,
    blocks: Annotated[
        int, typer.Option(min=1, help="Blocks; trials may be pruned after each.")
    ] = 5,
    storage: Annotated[
        str, typer.Option(parser=SOURCE, help="Journal file, or a URL of Optuna's storages.")
    ] = "runs/tuning.log",
    logs: Annotated[Path | None, typer.Option(parser=PATH, help="Folder for TensorBoard.")] = None,
    profile: Profile = "quick",
    row: Row = "bilstm-study",
    stays: Annotated[int, typer.Option(min=1, help="Candidate stays of an attack.")] = 200,
    seed: Seed = 0,
    json: Json = None,
) -> None:
    """Search the study's spaces, or go on searching."""
    import numpy as np

    from companions.mortality_attack import attack, experiments, train, tune

    _may_write(json, source, outcomes, model, storage)
    kind = _kind(source)
    name = f"{what}-{kind}-{profile}-s{seed}" + (f"-{objective}" if what == "attack" else "")
    direction: tune.Direction = "minimize" if what == "model" else "maximize"
    opened = tune.open_study(name, direction=direction, storage=storage, seed=seed)
    if what == "model":
        data = _rows(source, outcomes, profile, seed)[row].prepared()
        config = train.TuningConfig(trials, folds, epochs, blocks)
        goal = tune.model_objective(data, config, seed=seed)
    else:
        _, fitted, statistics, series = _judged(source, outcomes, model, profile, row, "auto", seed)
        base = attack.AttackConfig()
        steps = experiments.scaled_steps(base.steps, experiments.PLAN.scale(profile))
        some = series.take(np.arange(len(series))[:stays])
        goal = tune.attack_objective(
            fitted[0], some, statistics, replace(base, steps=steps), objective
        )
    tune.search(opened, goal, trials, logs=logs)
    for entry in tune.table(opened, 5):
        print("  ".join(f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}"
                        for key, value in entry.items()))  # fmt: skip
    _write(json, {"study": name, "trials": tune.table(opened, trials)})


@app.command()
def run(
    source: Source = None, outcomes: Outcomes = None, profile: Profile = "quick", seed: Seed = 0
) -> None:
    """Make every run of the plan, or go on with them."""
    from companions.mortality_attack import experiments

    for planned in _rows(source, outcomes, profile, seed).values():
        made = experiments.run(planned)
        print(
            f"{made.id}: {made.metrics['costs']['processor_seconds']:.0f} s of a processor",
            flush=True,
        )


# Helpers ------------------------------------------------------------------------------------------


def _kind(source: str | None) -> str:
    """The data set that a source is."""
    from companions.mortality_attack import experiments

    if source is None:
        return "simulated"
    if "://" not in source and not Path(source).exists():
        raise InputError(f"{source}: no such file or folder; check --source")
    return experiments.readable(source) or "physionet2012"


def _stays(source: str | None, outcomes: Path | None, profile: str) -> Any:
    from companions.mortality_attack import experiments

    number = experiments.PLAN.text["profiles"][profile]["stays"]
    return experiments.stays(_kind(source), source, str(outcomes) if outcomes else None, number)


def _rows(source: str | None, outcomes: Path | None, profile: str, seed: int) -> dict[str, Any]:
    """The rows of the plan on a source."""
    from companions.mortality_attack import experiments

    at = (source, str(outcomes) if outcomes else None)
    return dict(experiments.plan(_kind(source), profile, seed, *at))


def _trained(source: str | None, outcomes: Path | None, profile: str, row: str, seed: int) -> Any:
    from companions.mortality_attack import experiments

    rows = _rows(source, outcomes, profile, seed)
    if row not in rows or rows[row].task != "model":
        able = [name for name, planned in rows.items() if planned.task == "model"]
        raise InputError(f"no row {row!r} to train; choose one of {', '.join(able)}")
    return experiments.run(rows[row])


def _judged(
    source: str | None,
    outcomes: Path | None,
    model: Path | None,
    profile: str,
    row: str,
    part: str,
    seed: int,
) -> Any:
    """The model's folder, its models with their statistics, and the stays it is judged on, in the
    units it reads.
    """
    from companions.mortality_attack import experiments, protocol

    data = _stays(source, outcomes, profile)
    if model is None:
        made = _trained(source, outcomes, profile, row, seed)
        folder, (fitted, statistics) = made.folder, made.load()
    else:
        folder, (fitted, statistics) = model, experiments.load_models(model)
    config = read_json(folder / "config.json")
    rules = protocol.Protocol(**config["experiment"]["protocol"])
    same = config["data"]["fingerprint"] == experiments.fingerprint(data)
    if part == "test" or (part == "auto" and same):
        trained = config["experiment"]["seed"]
        rows = protocol.split(data, trained, mixed=rules.mixed_patients).test
        data = data.take(rows)
    return folder, fitted, statistics, protocol.prepare(data, statistics, rules)


def _by_feature(found: Any) -> dict[str, dict[str, float]]:
    """Sums of the maps of each series of measurements."""
    from companions.mortality_attack import features, susceptibility

    sums = susceptibility.by_feature(found.best[found.success])
    return {
        name: {key: float(sums[key][place]) for key in sums}
        for place, name in enumerate(features.names())
    }


def _print_attack(facts: dict[str, Any]) -> None:
    for name in ("both", "0to1", "1to0"):
        share, cells = facts[name]["success"], facts[name]["best"]["median"]["cells"]["value"]
        print(
            f"{name:5} {share['stays']:6} attacked, {share['value']:7.1%} turned, "
            f"median cells changed {cells:g}"
        )


def _print(found: dict[str, Any]) -> None:
    from companions.mortality_attack.evaluate import SCORES

    for name, title in SCORES.items():
        low, high = found[name]["interval"]
        print(f"{title:12} {found[name]['value']:.3f} [{low:.3f}, {high:.3f}]")


def _may_write(json: Path | None, *read: Path | str | None) -> None:
    """Refuse, before any work, a place where results cannot be written."""
    if json:
        may_write(json, *read, endings=(".json",))


def _write(path: Path | None, facts: dict[str, Any]) -> None:
    if path:
        write_json(path, facts)
        print(f"wrote {path}")


def main(arguments: list[str] | None = None) -> None:
    """Run the shell on ``arguments`` and leave with its exit status."""
    run_shell(app, "mortality_attack", arguments)


if __name__ == "__main__":
    main()
