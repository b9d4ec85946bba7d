"""The shell of the whole book: the commands of :mod:`scoehr.cli`, and those of runs and pages.

What takes time to import is imported inside the commands, so that ``scoehr --help`` answers at
once.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from scoehr.cli import JSON, Seed, Source, app, read_table
from scoehr.files import ROOT, InputError, alone, write_json
from scoehr.shell import PATH, may_write, needs, needs_checkout, run_shell

#: The graph of the whole report.
WORKFLOW = Path(__file__).resolve().parent / "workflow" / "Snakefile"

DatasetName = Annotated[
    str,
    typer.Option("--dataset", help="A data set by name, such as mimic3; an unknown one lists all."),
]
ProfileName = Annotated[
    str,
    typer.Option(
        "--profile", help="Scale of the study: quick, standard, paper or another of the plan."
    ),
]
BookProfile = Annotated[
    str | None,
    typer.Option(
        "--profile", help="Scale of the study; by default that of the published runs, else quick."
    ),
]
Cores = Annotated[int, typer.Option(min=1, help="Runs made at the same time.")]
CORES = len(os.sched_getaffinity(0))
#: The studies, and the module of each that has its plan.
STUDIES = {
    "synthesis": "reproduction.synthesis.experiments",
    "dualk": "companions.dualk.experiments",
    "mortality_attack": "companions.mortality_attack.experiments",
}
Study = Annotated[
    Literal["synthesis", "dualk", "mortality_attack"], typer.Option(help="Study of the row.")
]
Executor = Annotated[
    Path | None,
    typer.Option(
        "--workflow-profile",
        parser=PATH,
        help="Snakemake profile to run by, such as workflow/profiles/slurm.",
    ),
]


# Clinicians' review ------------------------------------------------------------------------------


@app.command()
def review(
    files: Annotated[
        list[Path],
        typer.Argument(
            parser=PATH,
            metavar="FILE",
            help="[REAL] SYNTHETIC for a packet; with --score, the sheets.",
        ),
    ],
    out: Annotated[
        Path | None, typer.Option(parser=PATH, help="New folder for what reviewers get.")
    ] = None,
    key: Annotated[
        Path | None,
        typer.Option(parser=PATH, help="Which record is which; default: beside the folder."),
    ] = None,
    score: Annotated[
        bool, typer.Option("--score", help="Evaluate returned sheets by the key.")
    ] = False,
    json: Annotated[
        Path | None, typer.Option(parser=PATH, help="Write the scores of the sheets here.")
    ] = None,
    dataset: DatasetName = "simulated",
    source: Source = None,
    records: Annotated[
        int, typer.Option(min=1, help="Real, and as many synthetic, records.")
    ] = 100,
    seed: Seed = 0,
) -> None:
    """Export a blinded packet for clinicians, or score it.

    Without REAL, the real records are held-out patients of the data set.
    """
    if score:
        _score_sheets(files, key, json, seed)
        return
    if out is None or len(files) > 2:
        raise InputError(
            "a packet is made of [REAL] SYNTHETIC and --out FOLDER; sheets are scored with --score"
        )
    key = key or out.with_name(f"{out.name}-key-not-for-reviewers.csv")
    may_write(key, source, *files, endings=(".csv",))
    _make_packet(files, out, key, dataset, source, records, seed)


def _score_sheets(files: list[Path], key: Path | None, json: Path | None, seed: int) -> None:
    from reproduction.synthesis import review as reviews

    if key is None:
        raise InputError("the sheets cannot be scored without the packet's key; give --key")
    if json:
        may_write(json, key, *files, endings=JSON)
    found = reviews.score(files, key, seed=seed)
    _print_review(found)
    if json:
        write_json(json, reviews.plain(found))
        print(f"wrote {json}")


def _make_packet(
    files: list[Path],
    out: Path,
    key: Path,
    dataset: str,
    source: str | None,
    records: int,
    seed: int,
) -> None:
    from reproduction.synthesis import review as reviews
    from scoehr.data.datasets import fingerprint, load

    if len(files) == 2:
        dataset, real, digest = "table", read_table(files[0]), None
    else:
        whole = load(dataset, source).matrix
        real, digest = whole.split().test, fingerprint(whole)
    packet = reviews.packet(real, read_table(files[-1]), n=records, seed=seed)
    reviews.write(packet, out, key, dataset=dataset, fingerprint=digest)
    print(f"wrote {out}: {2 * records} records, half of them real")
    print("give each reviewer packet.html or scores.csv")
    print(f"wrote {key}: which record is which; keep it away from reviewers")


# The study ----------------------------------------------------------------------------------------


@app.command()
def experiments(
    dataset: DatasetName = "simulated",
    source: Source = None,
    profile: ProfileName = "quick",
    seed: Seed = 0,
    cores: Cores = CORES,
    show: Annotated[
        bool, typer.Option("--list", help="Only list the runs, and whether they are finished.")
    ] = False,
    executor: Executor = None,
    study: Annotated[
        Literal["synthesis", "dualk", "mortality_attack", "all"],
        typer.Option(help="Study whose runs are made; all: those that the book shows."),
    ] = "all",
) -> None:
    """Make every planned run at all its random seeds; finished ones are kept."""
    from reproduction.plan import replicates

    if not show:
        needs("pipeline", "companions")
        settings = _workflow(dataset, source, profile, seed) | {"study": study}
        _snakemake(settings, cores, "experiments", executor)
        every = f"every run of {dataset} at {profile} is finished"
        print(f"{every}: scoehr experiments --list names them")
        return
    for name in STUDIES if study == "all" else [study]:
        found = _study(name)
        rows = found.planned if study == name else found.of_book
        for row in rows(dataset, source, profile, seed).values():
            for each in replicates(row):
                print(f"{'finished' if each.finished else 'to do':9} {row.title:44} {each.id}")


@app.command()
def run(
    name: Annotated[str, typer.Argument(help="A row of `scoehr experiments --list`.")],
    dataset: DatasetName = "simulated",
    source: Source = None,
    profile: ProfileName = "quick",
    seed: Seed = 0,
    study: Study = "synthesis",
    again: Annotated[
        bool, typer.Option("--again", help="Make a published run here, with its weights.")
    ] = False,
) -> None:
    """Make one planned run, or continue it."""
    from reproduction import runs

    rows = _study(study).planned(dataset, source, profile, seed)
    if name not in rows:
        raise InputError(f"no experiment {name!r}; choose one of {', '.join(rows)}")
    made = runs.run(rows[name], again=again)
    print(f"{made.id}: {made.verdict}, in {made.folder}")


def _study(name: str) -> Any:
    """The module of the runs of a study."""
    import importlib

    if name != "synthesis":
        needs("companions")
    return importlib.import_module(STUDIES[name])


@app.command()
def report(
    dataset: DatasetName = "simulated",
    source: Source = None,
    profile: BookProfile = None,
    seed: Seed = 0,
    cores: Cores = CORES,
    executor: Executor = None,
) -> None:
    """Make the whole book, or continue it."""
    profile = _book(dataset, source, profile, seed, "pipeline", "companions")
    _snakemake(_workflow(dataset, source, profile, seed), cores, "all", executor)
    from reproduction import book
    from reproduction import pdf as printing

    place = book.folder(dataset, profile, source)
    index = book.index(place)
    if index.is_file() and printing.browser():
        print(f"wrote {printing.write(place)}")
    print(f"wrote {index}")


@app.command()
def pdf(
    dataset: DatasetName = "simulated",
    source: Source = None,
    profile: BookProfile = None,
    seed: Seed = 0,
) -> None:
    """Print the book that `build` or `report` made as one PDF; needs Chromium."""
    profile = _book(dataset, source, profile, seed)
    from reproduction import book
    from reproduction import pdf as printing

    place = book.folder(dataset, profile, source)
    if not book.index(place).is_file():
        raise InputError(f"{place}: holds no book; make it first, with scoehr report")
    print(f"wrote {printing.write(place)}")


@app.command()
def notebook(
    name: Annotated[str, typer.Argument(help="A file of notebooks/, without its ending.")],
    dataset: DatasetName = "simulated",
    source: Source = None,
    profile: BookProfile = None,
    seed: Seed = 0,
) -> None:
    """Execute one notebook of the book."""
    profile = _book(dataset, source, profile, seed)
    from reproduction import book

    print(f"wrote {book.execute(name, dataset=dataset, source=source, profile=profile, seed=seed)}")


@app.command()
def build(
    dataset: DatasetName = "simulated",
    source: Source = None,
    profile: BookProfile = None,
    seed: Seed = 0,
) -> None:
    """Make the HTML book from the executed notebooks."""
    profile = _book(dataset, source, profile, seed)
    from reproduction import book
    from reproduction.synthesis import try_it

    setting: dict[str, Any] = {"dataset": dataset, "source": source, "profile": profile}
    setting["seed"] = seed
    place = book.folder(dataset, profile, source)
    for name in book.notebooks():
        if not (place / "notebooks" / f"{name}.ipynb").is_file():
            book.execute(name, **setting)
    book.assemble(place)
    try_it.write(try_it.planned(**setting), place / book.OFFLINE / try_it.SCRIPT)
    print(f"wrote {book.render(place)}")


@app.command()
def publish(
    dataset: DatasetName = "simulated",
    source: Source = None,
    profile: ProfileName = "standard",
    seed: Seed = 0,
    only_runs: Annotated[
        bool, typer.Option("--runs", help="Gather the finished runs, leave notebooks as they are.")
    ] = False,
) -> None:
    """Gather finished runs into saved_models, and copy checked notebooks to book/notebooks."""
    _book(dataset, source, profile, seed)
    from reproduction import plan

    for study in STUDIES:
        made = _study(study)
        rows = made.of_book(dataset, source, profile, seed).values()
        if path := plan.publish(made.PLAN, rows):
            print(f"wrote {path}")
    if only_runs:
        return
    from reproduction import book
    from reproduction.synthesis import answer, experiments, results

    ready = book.publishable(dataset, profile, source)
    test = results.shares(experiments.cohort(dataset, source).test)
    picture = answer.picture(results.runs(dataset, source, profile, seed), test)
    for path in book.publish(ready, picture):
        print(f"wrote {path}")


@app.command()
def check(
    tree: Annotated[
        Path, typer.Argument(help="Folder that holds book/, saved_models/ and synthetic_data/.")
    ] = ROOT,
) -> None:
    """Look for what must not be published in files that would be committed."""
    needs("book")
    from reproduction import publishing

    if not tree.is_dir():
        raise InputError(f"{tree}: no such folder; check the path")
    complaints = publishing.check(tree)
    for complaint in complaints:
        print(complaint)
    if complaints:
        number = f"{tree}: {len(complaints)} reasons not to publish stand above"
        raise InputError(f"{number}; mend each, or move its file")
    print(f"{tree}: {len(publishing.committed(tree)):,} files may be published")


def _book(dataset: str, source: str | None, profile: str | None, seed: int, *extras: str) -> str:
    """Refuse at once what the book cannot be made with; the profile that it is made at.

    That is the one asked for, else that of the runs that are there. ``extras`` are needed besides
    those of the book.
    """
    needs_checkout("the book")
    needs("book", *extras)
    from reproduction.synthesis import experiments as study

    if profile is not None:
        _known(dataset, profile)
        return profile
    _known(dataset, study.PLAN.profiles[0])
    return study.published_profile(dataset, source, seed)


def _known(dataset: str, profile: str) -> None:
    """Refuse a data set and a profile that nobody knows."""
    from reproduction.synthesis import experiments as study
    from scoehr.data.datasets import DATASETS

    if dataset not in DATASETS:
        raise InputError(f"no data set {dataset!r}; choose one of {', '.join(DATASETS)}")
    study.PLAN.scale(profile)


def _workflow(dataset: str, source: str | None, profile: str, seed: int) -> dict[str, Any]:
    """The settings of the workflow, checked."""
    from scoehr.data.datasets import DATASETS

    _known(dataset, profile)
    if DATASETS[dataset].needs_source and source is None:
        raise InputError(f"data set {dataset!r} needs a folder of tables; give --source")
    if source and not Path(source).exists():
        raise InputError(f"{source}: no such file or folder; check --source")
    settings: dict[str, Any] = {"dataset": dataset, "profile": profile, "seed": seed}
    return settings | ({"source": str(Path(source).resolve())} if source else {})


def _snakemake(settings: dict[str, Any], cores: int, target: str, profile: Path | None) -> None:
    """Run the workflow; locks and half-made files that a killed run left are cleared first."""
    command = [sys.executable, "-m", "snakemake", target, "--snakefile", str(WORKFLOW)]
    command += ["--directory", str(ROOT)]
    given = ROOT / "logs" / "report.json"  # since what stands in a command is read as YAML
    command += ["--configfile", str(given)]
    if profile is None:
        command += ["--cores", str(cores)]
    else:
        command += ["--workflow-profile", str(profile.resolve())]
    with alone(ROOT / "logs" / "report.lock", "another report") as lock:
        write_json(given, settings)
        if any((ROOT / ".snakemake" / "locks").glob("*")):
            _call([*command, "--unlock", "--quiet", "all"], lock)
        status = _call([*command, "--rerun-incomplete", "--quiet", "rules", "host"], lock)
    if status:
        raise InputError(
            "the work is not finished: the reason stands above; the same command goes on from there"
        )


def _call(command: list[str], lock: int) -> int:
    """The exit status of a command in a process group of its own, which one interrupt ends."""
    import subprocess

    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    known = {**os.environ, "PATH": path, "SCOEHR_ROOT": str(ROOT)}
    group = subprocess.Popen(command, start_new_session=True, pass_fds=[lock], env=known)
    try:
        return group.wait()
    except KeyboardInterrupt:
        os.killpg(group.pid, signal.SIGTERM)
        group.wait()
        raise


def _print_review(found: dict[str, Any]) -> None:
    """The rules as a table, then agreement and accuracy, a line each, with 95 % intervals."""
    numbers = ", ".join(f"{number} {name}" for name, number in found["records"].items())
    print(f"{found['reviewers']} reviewers, records: {numbers}")
    print(f"\n{'realistic if so say':22}{'real':24}{'synthetic':24}difference")
    for name, rule in found["rules"].items():
        print(f"{name:22}" + "".join(f"{f'{share:.3f}':24}" for share in rule.values()).rstrip())
    print()
    titles = {"kappa": "Fleiss' kappa", "accuracy": "right answers", "auc": "AUC"}
    for name, title in titles.items():
        print(f"{title:22}{found[name]:.3f}")
    for sheet, share in found["right answers"].items():
        print(f"right answers of {sheet}: {share:.3f}")


def main(arguments: list[str] | None = None) -> None:
    """Run the shell on ``arguments``, by default the process's; leave with its exit status."""
    run_shell(app, "scoehr", arguments)


if __name__ == "__main__":
    main()
