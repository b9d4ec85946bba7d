"""The shell: ``scoehr COMMAND``. Exit status 0 when done; 2 with one line on standard error when it cannot be done.

What takes time to import is imported inside the commands, so that ``scoehr --help`` answers at once.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from json import loads
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from scoehr import files
from scoehr.files import ROOT, InputError, alone, replacing, warn, write_json
from scoehr.shell import PATH, SEED, SOURCE, explain, may_replace, may_write, needs, needs_checkout, run_shell

#: The graph of the whole report.
WORKFLOW = files.WORKFLOW / "Snakefile"

if TYPE_CHECKING:
    from scoehr.codes import CodeMatrix
    from scoehr.metrics import Metric

__all__ = ["app", "explain", "main", "run_shell"]

app = typer.Typer(
    name="scoehr",
    help="Synthetic patients by latent continuous-time diffusion: data, training, sampling, scores, and the book.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


Digits = Literal["three", "full"]
Kind = Literal["count", "binary"]
Seed = Annotated[int, typer.Option(parser=SEED, help="Fixes every random number.")]
DatasetName = Annotated[str, typer.Option("--dataset", help="simulated, mimic3, mimic4, diabetes130 or table.")]
Source = Annotated[str | None, typer.Option(parser=SOURCE, help="Folder or file of the data set's tables.")]
ProfileName = Annotated[
    str, typer.Option("--profile", help="Scale of the study: quick, standard, paper or another of the plan.")
]
KindName = Annotated[Kind, typer.Option("--kind", help="Occurrences, or 0/1: ever recorded.")]
Cores = Annotated[int, typer.Option(min=1, help="Runs made at the same time.")]
#: Endings of tables of patients and codes, and of scores.
TABLES, JSON = (".parquet", ".csv"), (".json",)
CORES = len(os.sched_getaffinity(0))
Executor = Annotated[
    Path | None,
    typer.Option(
        "--workflow-profile", parser=PATH, help="Snakemake profile to run by, such as workflow/profiles/slurm."
    ),
]
Table = Annotated[Path, typer.Argument(parser=PATH, help="Parquet or CSV; long (patient_id, code, count) or wide.")]


# Data ---------------------------------------------------------------------------------------------------------------


@app.command()
def simulate(
    out: Annotated[Path, typer.Option(parser=PATH, help="Folder for the tables.")],
    patients: Annotated[int, typer.Option(min=1, help="Number of patients.")] = 46_520,
    seed: Seed = 0,
) -> None:
    """Write a simulated cohort as MIMIC-III tables."""
    from scoehr.simulate import SEAL, TABLES, write_tables

    may_replace(out, {SEAL, *(f"{table}.csv.gz" for table in TABLES)})
    with replacing(out) as scratch:
        account = write_tables(scratch, patients=patients, seed=seed)
    _print_account(account)
    print(f"wrote {out}")


@app.command()
def data(
    name: Annotated[str, typer.Argument(help="simulated, mimic3, mimic4, diabetes130 or table.")],
    source: Source = None,
    digits: Annotated[Digits, typer.Option(help="Three-digit categories, or full codes.")] = "three",
    kind: KindName = "count",
    out: Annotated[
        Path | None, typer.Option(parser=PATH, help="Write the patient by code table here: .parquet, or .csv.")
    ] = None,
) -> None:
    """Read a data set; say what was kept and dropped."""
    from scoehr.datasets import load

    if out:
        may_write(out, source, endings=TABLES)
    loaded = load(name, source, digits=digits, kind=kind)
    _print_account(loaded.account)
    if out:
        loaded.matrix.write(out)
        print(f"wrote {out}")


@app.command()
def split(
    table: Table,
    out: Annotated[
        Path, typer.Option(parser=PATH, help="Folder for train.parquet, validation.parquet and test.parquet.")
    ],
    test: Annotated[float, typer.Option(min=0, max=1, help="Fraction of the patients held out.")] = 0.30,
    validation: Annotated[float, typer.Option(min=0, max=1, help="Fraction to choose epochs by.")] = 0.10,
    seed: Seed = 1,
) -> None:
    """Cut a table into train, validation and test."""
    may_replace(out, {f"{name}.parquet" for name in ("train", "validation", "test")}, table)
    parts = _read(table).split(test=test, validation=validation, seed=seed)._asdict()
    with replacing(out) as scratch:
        for name, part in parts.items():
            part.write(scratch / f"{name}.parquet")
    for name, part in parts.items():
        print(f"wrote {out / name}.parquet: {len(part):,} patients")


# One generator ------------------------------------------------------------------------------------------------------


@app.command()
def fit(
    table: Table,
    out: Annotated[Path, typer.Option(parser=PATH, help="Folder for the trained generator.")],
    preset: Annotated[
        str, typer.Option(help="thinning, private, fast, reported, paper or a baseline: medwgan, edm, copula, …")
    ] = "thinning",
    validation: Annotated[
        Path | None, typer.Option(parser=PATH, help="Table whose losses are written down each epoch.")
    ] = None,
    kind: Annotated[Kind | None, typer.Option(help="Learn occurrences or 0/1, in place of the preset's.")] = None,
    seed: Seed = 0,
    change: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="Change a setting of the preset.")
    ] = None,
    codes: Annotated[
        Path | None,
        typer.Option(parser=PATH, help="Public list of codes (column code) to learn; preset private needs it."),
    ] = None,
) -> None:
    """Train a generator on a patient by code table, or go on with it.

    A training that was killed goes on from its checkpoints, which lie beside --out until it is finished.
    """
    from scoehr import generators
    from scoehr.training import Diverged

    weights = {f"{part}.safetensors" for part in ("autoencoder", "score", "rate", "generator", "denoiser", "copula")}
    ours = {"config.json", "vocabulary.csv", "history.csv", "pairs.parquet", "MODEL_CARD.md", "DATA_CARD.md"}
    may_replace(out, ours | weights, table, validation, codes)
    settings = _settings(change or []) | ({"kind": kind} if kind else {})
    generator = generators.preset(preset, **settings)
    public = _public_codes(codes, validation, isinstance(generator, generators.Private))
    checkpoints = Path(os.path.abspath(out)).with_name(f".{out.name}.training")
    with replacing(out) as scratch:  # so that a place that cannot be written is found before the training
        matrix = _to_learn(table, public)
        held_out = _held_out(validation, matrix) if validation else None
        try:
            generator.fit(matrix, held_out, seed=seed, folder=checkpoints)
        except Diverged as error:
            shutil.rmtree(checkpoints, ignore_errors=True)
            raise InputError(str(error)) from None
        scratch.mkdir()
        generator.write(scratch)
    shutil.rmtree(checkpoints, ignore_errors=True)
    if isinstance(generator, generators.Private):
        print(f"differential privacy: ε = {generator.spent:.3g} at δ = {generator.config.delta:g}")
    n = len(matrix) if public is None else 1000
    print(f"wrote {out}: to sample, scoehr sample {out} -n {n} --out synthetic.parquet")


@app.command()
def sample(
    model: Annotated[Path, typer.Argument(parser=PATH, help="Folder that `scoehr fit` or `scoehr run` wrote.")],
    n: Annotated[int, typer.Option("-n", "--patients", min=1, help="Number of synthetic patients.")],
    out: Annotated[Path, typer.Option(parser=PATH, help="Long table patient_id, code, count: .parquet, or .csv.")],
    seed: Seed = 0,
    sampler: Annotated[
        str | None, typer.Option(help="Latent: euler_maruyama, heun, dpm_solver_pp_2m, ddim; thinning: events, births.")
    ] = None,
    steps: Annotated[int | None, typer.Option(min=2, help="Steps of the sampler.")] = None,
    given: Annotated[
        list[str] | None, typer.Option(metavar="CODE", help="A code that every patient has (thinning); repeatable.")
    ] = None,
) -> None:
    """Draw synthetic patients from a trained generator."""
    from scoehr import generators
    from scoehr.codes import write_batches

    may_write(out, model, endings=TABLES)
    generator = generators.load(model)
    generators.check_disk(n, len(generator.vocabulary.codes), out)
    batches = generator.batches(n, seed=seed, sampler=sampler, steps=steps, condition=given or ())
    codes, occurrences = write_batches(out, batches, n)
    if generator.grown:
        taken = f"{generator.accepted / generator.grown:.1%} of the records grown were taken"
        print("; ".join(filter(None, [generator.having, taken])), file=sys.stderr)
    print(f"wrote {out}: {n:,} patients, {codes:,} codes, mean cell {occurrences / (n * codes):.4f}")


@app.command()
def evaluate(
    real: Annotated[Path, typer.Argument(parser=PATH, help="Table of real patients that training has not seen.")],
    synthetic: Annotated[Path, typer.Argument(parser=PATH, help="Table of synthetic patients.")],
    json: Annotated[Path, typer.Option(parser=PATH, help="Write every score, reference and gap here.")],
    train: Annotated[Path | None, typer.Option(parser=PATH, help="Table that the generator was trained on.")] = None,
    kind: KindName = "count",
    seed: Seed = 0,
) -> None:
    """Score synthetic against held-out real patients.

    Beside each score stand what fresh real patients and independent columns get on the same data.
    """
    from scoehr import metrics

    may_write(json, real, synthetic, train, endings=JSON)
    sets = [_read(path, kind) for path in (real, synthetic)]
    training = _read(train, kind) if train else None
    results = metrics.evaluate(*sets, train=training, seed=seed, progress=sys.stderr.isatty())
    write_json(json, results)
    _print_scores(results, metrics.METRICS)
    print(f"wrote {json}")


@app.command()
def review(
    files: Annotated[
        list[Path],
        typer.Argument(parser=PATH, metavar="FILE", help="[REAL] SYNTHETIC for a packet; with --score, the sheets."),
    ],
    out: Annotated[Path | None, typer.Option(parser=PATH, help="New folder for what reviewers get.")] = None,
    key: Annotated[
        Path | None, typer.Option(parser=PATH, help="Which record is which; default: beside the folder.")
    ] = None,
    score: Annotated[bool, typer.Option("--score", help="Evaluate returned sheets by the key.")] = False,
    json: Annotated[Path | None, typer.Option(parser=PATH, help="Write what the sheets say here.")] = None,
    dataset: DatasetName = "simulated",
    source: Source = None,
    records: Annotated[int, typer.Option(min=1, help="Real, and as many synthetic, records.")] = 100,
    seed: Seed = 0,
) -> None:
    """Export a blinded packet for clinicians, or score it.

    Without REAL, the real records are held-out patients of the data set.
    """
    from scoehr import review as reviews

    if score:
        if key is None:
            raise InputError("the sheets cannot be scored without the packet's key; give --key")
        if json:
            may_write(json, key, *files, endings=JSON)
        found = reviews.score(files, key, seed=seed)
        _print_review(found)
        if json:
            write_json(json, found)
            print(f"wrote {json}")
        return
    if out is None or len(files) > 2:
        raise InputError("a packet is made of [REAL] SYNTHETIC and --out FOLDER; sheets are scored with --score")
    key = key or out.with_name(f"{out.name}-key-not-for-reviewers.csv")
    may_write(key, source, *files, endings=(".csv",))
    if len(files) == 2:
        dataset, real, digest = "table", _read(files[0]), None
    else:
        from scoehr.datasets import fingerprint, load

        whole = load(dataset, source).matrix
        real, digest = whole.split().test, fingerprint(whole)
    packet = reviews.packet(real, _read(files[-1]), n=records, seed=seed)
    reviews.write(packet, out, key, dataset=dataset, fingerprint=digest)
    print(f"wrote {out}: {2 * records} records, half of them real; give each reviewer packet.html or scores.csv")
    print(f"wrote {key}: which record is which; keep it away from reviewers")


@app.command()
def visits(
    dataset: DatasetName = "simulated",
    source: Source = None,
    profile: ProfileName = "quick",
    seed: Seed = 0,
    patients: Annotated[int | None, typer.Option("-n", "--patients", min=1, help="Draw so many for --out.")] = None,
    out: Annotated[
        Path | None, typer.Option(parser=PATH, help="Synthetic admissions: .parquet, or .jsonl for PyHealth.")
    ] = None,
) -> None:
    """Learn admissions, draw others and score them, or go on with it.

    A table of your own has the columns patient_id, visit and code.
    """
    from scoehr import records, visits_study

    _known(dataset, profile)
    if out:
        may_write(out, source, endings=(".parquet", ".jsonl"))
    made = visits_study.run(visits_study.VisitRun(dataset, source, profile, seed))
    print(visits_study.scores([made]).to_string())
    print(f"{made.id}: in {made.folder}")
    if out:
        drawn = made.generator.sample(patients, seed=seed) if patients else made.synthetic
        drawn.write(out) if out.suffix.lower() == ".parquet" else records.write(drawn.to_records(), out)
        print(f"wrote {out}: {len(drawn):,} patients, {drawn.starts[-1]:,} admissions")


# The study ----------------------------------------------------------------------------------------------------------


@app.command()
def experiments(
    dataset: DatasetName = "simulated",
    source: Source = None,
    profile: ProfileName = "quick",
    seed: Seed = 0,
    cores: Cores = CORES,
    show: Annotated[bool, typer.Option("--list", help="Only list the runs, and whether they are finished.")] = False,
    executor: Executor = None,
) -> None:
    """Make every planned run at all its random seeds, or go on with them."""
    from scoehr import study

    for row in study.plan(dataset, source, profile, seed).values() if show else ():
        for each in study.replicates(row):
            print(f"{'finished' if each.finished else 'to do':9} {row.title:44} {each.id}")
    if not show:
        needs("pipeline")
        _snakemake(_workflow(dataset, source, profile, seed), cores, "experiments", executor)
        print(f"every run of {dataset} at {profile} is finished: scoehr experiments --list names them")


@app.command()
def run(
    name: Annotated[str, typer.Argument(help="One of `scoehr experiments`.")],
    dataset: DatasetName = "simulated",
    source: Source = None,
    profile: ProfileName = "quick",
    seed: Seed = 0,
) -> None:
    """Make one planned run, or go on with it."""
    from scoehr import study

    plan = study.plan(dataset, source, profile, seed)
    if name not in plan:
        raise InputError(f"no experiment {name!r}; choose one of {', '.join(plan)}")
    made = study.run(plan[name])
    print(f"{made.id}: {made.verdict}, in {made.folder}")


@app.command()
def report(
    dataset: DatasetName = "simulated",
    source: Source = None,
    profile: ProfileName = "quick",
    seed: Seed = 0,
    cores: Cores = CORES,
    executor: Executor = None,
) -> None:
    """Make the whole book, or go on with it."""
    needs_checkout("the book")
    needs("book", "pipeline", "companions")
    _snakemake(_workflow(dataset, source, profile, seed), cores, "all", executor)
    from scoehr import book

    print(f"wrote {book.folder(dataset, profile, source) / '_build' / 'html' / 'index.html'}")


@app.command()
def notebook(
    name: Annotated[str, typer.Argument(help="A file of notebooks/, without its ending.")],
    dataset: DatasetName = "simulated",
    source: Source = None,
    profile: ProfileName = "quick",
    seed: Seed = 0,
) -> None:
    """Execute one notebook of the book."""
    _book(dataset, profile)
    from scoehr import book

    print(f"wrote {book.execute(name, dataset=dataset, source=source, profile=profile, seed=seed)}")


@app.command()
def build(
    dataset: DatasetName = "simulated", source: Source = None, profile: ProfileName = "quick", seed: Seed = 0
) -> None:
    """Make the HTML book from the executed notebooks."""
    _book(dataset, profile)
    from scoehr import book

    print(f"wrote {book.build(dataset=dataset, source=source, profile=profile, seed=seed)}")


@app.command()
def publish(
    dataset: DatasetName = "simulated", source: Source = None, profile: ProfileName = "standard", seed: Seed = 0
) -> None:
    """Copy checked notebooks to book/notebooks."""
    _book(dataset, profile)
    from scoehr import book

    for path in book.publish(dataset=dataset, source=source, profile=profile, seed=seed):
        print(f"wrote {path}")


@app.command()
def check(
    tree: Annotated[Path, typer.Argument(help="Folder that holds book/, saved_models/ and synthetic_data/.")] = ROOT,
) -> None:
    """Look for what must not be published in files that would be committed."""
    needs("book")
    from scoehr import publishing

    if not tree.is_dir():
        raise InputError(f"{tree}: no such folder; check the path")
    complaints = publishing.check(tree)
    for complaint in complaints:
        print(complaint)
    if complaints:
        raise InputError(f"{tree}: {len(complaints)} reasons not to publish stand above; mend each, or move its file")
    print(f"{tree}: {len(publishing.committed(tree)):,} files may be published")


def _book(dataset: str, profile: str) -> None:
    """Refuse at once what the book cannot be made with."""
    needs_checkout("the book")
    needs("book")
    _known(dataset, profile)


def _known(dataset: str, profile: str) -> None:
    """Refuse a data set and a profile that nobody knows."""
    from scoehr import study
    from scoehr.datasets import DATASETS

    if dataset not in DATASETS:
        raise InputError(f"no data set {dataset!r}; choose one of {', '.join(DATASETS)}")
    study.scale(profile)


def _workflow(dataset: str, source: str | None, profile: str, seed: int) -> dict[str, Any]:
    """What the workflow is told, checked."""
    from scoehr.datasets import DATASETS

    _known(dataset, profile)
    if DATASETS[dataset].needs_source and source is None:
        raise InputError(f"data set {dataset!r} has to be told where its tables lie; give --source")
    if source and not Path(source).exists():
        raise InputError(f"{source}: no such file or folder; check --source")
    told: dict[str, Any] = {"dataset": dataset, "profile": profile, "seed": seed}
    return told | ({"source": str(Path(source).resolve())} if source else {})


def _snakemake(settings: dict[str, Any], cores: int, target: str, profile: Path | None) -> None:
    """Run the workflow; locks and half-made files that a killed run left are cleared first."""
    command = [sys.executable, "-m", "snakemake", target, "--snakefile", str(WORKFLOW), "--directory", str(ROOT)]
    command += ["--cores", str(cores)] if profile is None else ["--workflow-profile", str(profile.resolve())]
    told = ROOT / "logs" / "report.json"  # a file, since Snakemake reads what stands in a command as YAML
    command += ["--configfile", str(told)]
    with alone(ROOT / "logs" / "report.lock", "another report") as lock:
        write_json(told, settings)
        if any((ROOT / ".snakemake" / "locks").glob("*")):
            _call([*command, "--unlock", "--quiet", "all"], lock)
        status = _call([*command, "--rerun-incomplete", "--quiet", "rules", "host"], lock)
    if status:
        raise InputError("the work is not finished: the reason stands above; the same command goes on from there")


def _call(command: list[str], lock: int) -> int:
    """Run a command in a process group of its own, which one interrupt ends as a whole; return its exit status."""
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


# Helpers ------------------------------------------------------------------------------------------------------------


def _read(path: Path, kind: Kind = "count") -> CodeMatrix:
    from scoehr.datasets import load

    return load("table", path, digits="full", kind=kind).matrix


def _public_codes(path: Path | None, validation: Path | None, private: bool) -> dict[str, str] | None:
    """The public list of codes that a private generator needs, and no other takes."""
    from scoehr.generators import public_codes

    if private and path is None:
        raise InputError("the codes of a private table tell of its patients; give a public list of codes by --codes")
    if private and validation:
        raise InputError("a private training writes down no losses of patients; leave --validation out")
    if path is not None and not private:
        raise InputError(f"--codes {path}: is for preset private; the others learn the codes of the table")
    return public_codes(path) if path is not None else None


def _to_learn(table: Path, public: dict[str, str] | None) -> CodeMatrix:
    """The table to train on. Under privacy nothing is said of it, not even how many of its codes the list lacks."""
    from scoehr.generators import on_codes

    matrix = _read(table)
    if public is None:
        print(f"{table}: {len(matrix):,} patients, {len(matrix.codes):,} codes", flush=True)
        return matrix
    print(f"{table}: read, to be learned on {len(public):,} public codes", flush=True)
    return on_codes(matrix, public)


def _held_out(path: Path, matrix: CodeMatrix) -> CodeMatrix:
    """The patients of --validation over the codes of training; a warning names those that are left out."""
    held_out, lost = _read(path).restrict(matrix.codes)
    if lost.size and not held_out.counts.nnz:
        raise InputError(f"{path}: has no code that training has; give patients of the same codes")
    if lost.size:
        warn(f"{path}: codes that training lacks are left out: {', '.join(lost[:8])} ({len(lost)} in all)")
    return held_out


def _settings(changes: list[str]) -> dict[str, Any]:
    """``NAME=VALUE`` texts as a dictionary; of two of one name the last counts."""
    found: dict[str, Any] = {}
    for change in changes:
        name, given, value = (part.strip() for part in change.partition("="))
        if not given or not name:
            raise InputError(f"--set {change[:60]}: write it as NAME=VALUE")
        found[name] = _value(value)
    return found


def _value(text: str) -> Any:
    """A number in any usual form, true, false, null, or a list as JSON has it; any other text as it is."""
    words = {"true": True, "false": False, "null": None, "none": None, "~": None}
    if text.lower() in words:
        return words[text.lower()]
    for read in (int, float, loads):
        try:
            return read(text)
        except (ValueError, RecursionError):
            continue
    return text


def _print_account(account: dict[str, Any]) -> None:
    """Names and figures in two columns; a nested dictionary is indented under its name."""

    def show(entries: dict[str, Any], indent: str) -> None:
        for name, value in entries.items():
            label = f"{indent}{str(name).replace('_', ' ')}"
            if isinstance(value, dict):
                print(label)
                show(value, indent + "  ")
            else:
                print(f"{label:44} {_figure(value)}")

    show(account, "")


def _figure(value: Any) -> str:
    """A number as people read it: 1,234 or .0640."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:,.4f}"


def _print_scores(results: dict[str, Any], table: dict[str, Metric]) -> None:
    """One line a score: the synthetic set's, fresh real patients', independent columns', the gap, and a verdict."""
    counts = ", ".join(f"{number:,} {name}" for name, number in results["n"].items() if name not in ("rows", "codes"))
    print(f"patients given: {counts}; {results['n']['rows']:,} of each compared, {results['n']['codes']:,} codes")
    print(f"\n{'':51}{'synthetic':>11}{'real':>11}{'independent':>13}{'gap':>8}")
    for key, metric in table.items():
        family, name = key.split(".")
        if key == next(other for other in table if other.startswith(f"{family}.")):
            print(family)
        real, independent = (results["reference"][point][family].get(name) for point in ("real", "independent"))
        gap = results["gap"].get(key)
        cells = f"{_score(results[family].get(name)):>11}{_score(real):>11}{_score(independent):>13}{_score(gap, 2):>8}"
        print(f"  {metric.title:49}{cells}  {_verdict(gap)}".rstrip())


def _print_review(found: dict[str, Any]) -> None:
    """The rules as a table, then agreement and telling apart, one line each, with 95 % intervals."""

    def text(entry: dict[str, Any]) -> str:
        limits = entry["interval"]
        return _score(entry["value"], 3) + (f" [{limits[0]:.3f}, {limits[1]:.3f}]" if limits else "")

    numbers = ", ".join(f"{number} {name}" for name, number in found["records"].items())
    print(f"{found['reviewers']} reviewers, records: {numbers}")
    print(f"\n{'realistic if so say':22}{'real':24}{'synthetic':24}difference")
    for name, rule in found["rules"].items():
        print(f"{name:22}" + "".join(f"{text(entry):24}" for entry in rule.values()).rstrip())
    print()
    for name, title in {"kappa": "Fleiss' kappa", "accuracy": "right answers", "auc": "AUC"}.items():
        print(f"{title:22}{text(found[name])}")
    for sheet, share in found["right answers"].items():
        print(f"right answers of {sheet}: {text(share)}")


def _score(value: Any, digits: int = 4) -> str:
    return "-" if value is None or value != value else f"{value:.{digits}f}"


def _verdict(gap: float | None) -> str:
    """The floor-normalised gap in words: 0 is as good as fresh real patients, 1 as bad as independent columns."""
    if gap is None or gap != gap:
        return ""
    if gap < 0.1:
        return "like fresh real patients"
    if gap < 0.5:
        return "nearer to real patients"
    if gap < 1:
        return "nearer to independent columns"
    return "no better than independent columns"


def main(arguments: list[str] | None = None) -> None:
    """Run the shell on ``arguments`` (default: those of the process) and leave with its exit status."""
    run_shell(app, "scoehr", arguments)


if __name__ == "__main__":
    main()
