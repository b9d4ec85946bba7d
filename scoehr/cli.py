"""The shell of the module: ``python -m scoehr COMMAND``; ``scoehr`` has those of the book as well.

Exit status 0 when done; 2 with one line on standard error when it cannot be done. What takes time
to import is imported inside the commands, so that ``--help`` answers at once.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping
from json import loads
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from scoehr.files import InputError, about, replacing, warn, write_json
from scoehr.shell import PATH, SEED, SOURCE, may_replace, may_write, new_shell, place, run_shell

if TYPE_CHECKING:
    from scoehr.data.kinds import Wish
    from scoehr.data.matrix import CodeMatrix
    from scoehr.data.patients import Patients
    from scoehr.generators import Generator, Whole
    from scoehr.metrics import Metric

app = new_shell(
    "scoehr", "Synthetic patients by diffusion: data, training, sampling, scores, and the book."
)


Digits = Literal["three", "full"]
Kind = Literal["count", "binary"]
Seed = Annotated[int, typer.Option(parser=SEED, help="Fixes every random number.")]
Source = Annotated[
    str | None, typer.Option(parser=SOURCE, help="Folder or file of the data set's tables.")
]
KindName = Annotated[Kind, typer.Option("--kind", help="Occurrences, or 0/1: ever recorded.")]
#: Endings of tables of patients and codes, of scores, and of reports.
TABLES, JSON, HTML = (".parquet", ".csv"), (".json",), (".html",)
Table = Annotated[
    Path,
    typer.Argument(parser=PATH, help="Parquet or CSV; long (patient_id, code, count) or wide."),
]
ColumnsFile = Annotated[
    Path | None,
    place("What columns are: CSV (name, kind, levels) or YAML; else found.", "--columns"),
]


# Data ---------------------------------------------------------------------------------------------


@app.command()
def simulate(
    out: Annotated[Path, place("Folder for the tables.")],
    patients: Annotated[int, typer.Option(min=1, help="Number of patients.")] = 46_520,
    seed: Seed = 0,
) -> None:
    """Write a simulated cohort as MIMIC-III tables."""
    from scoehr.data.simulate import TABLES, write_tables
    from scoehr.data.writing import SEAL

    may_replace(out, {SEAL, *(f"{table}.csv.gz" for table in TABLES)})
    with replacing(out) as scratch:
        account = write_tables(scratch, patients=patients, seed=seed)
    _print_account(account)
    print(f"wrote {out}")


@app.command()
def data(
    name: Annotated[
        str, typer.Argument(help="A data set by name, such as mimic3; an unknown one lists all.")
    ],
    source: Source = None,
    digits: Annotated[
        Digits, typer.Option(help="Three-digit categories, or full codes.")
    ] = "three",
    kind: KindName = "count",
    columns: ColumnsFile = None,
    out: Annotated[
        Path | None, place("Write codes (.parquet or .csv), or whole patients (a folder).")
    ] = None,
) -> None:
    """Read a data set; print what was kept and dropped.

    With --columns, or a folder as --out or as table, also what each column was taken for.
    """
    from scoehr.data import datasets, folder, kinds, patients

    folders = (out and not out.suffix, name == "table" and source and Path(source).is_dir())
    whole = bool(columns or any(folders))
    if out and whole and out.suffix:
        raise InputError(f"{out}: whole patients are several tables; give --out a folder")
    if out and whole:
        may_replace(out, folder.FILES, source, columns)
    elif out:
        may_write(out, source, endings=TABLES)
    found: Patients | CodeMatrix
    if whole:
        said = kinds.wishes(columns) if columns else None
        found, account = patients.load(name, source, digits=digits, said=said)
    else:
        found, account = datasets.load(name, source, digits=digits, kind=kind)
    _print_account(account)
    if out:
        found.write(out)
        print(f"wrote {out}")


@app.command()
def split(
    table: Table,
    out: Annotated[Path, place("Folder for train, validation and test (.parquet, or folders).")],
    test: Annotated[
        float, typer.Option(min=0, max=1, help="Fraction of the patients held out.")
    ] = 0.30,
    validation: Annotated[
        float, typer.Option(min=0, max=1, help="Fraction to choose epochs by.")
    ] = 0.10,
    seed: Seed = 1,
) -> None:
    """Cut a table, or a folder of whole patients, into train, validation and test."""
    ending = "" if table.is_dir() else ".parquet"
    may_replace(out, {f"{name}{ending}" for name in ("train", "validation", "test")}, table)
    found = read_patients(table) if table.is_dir() else read_table(table)
    parts = found.split(test=test, validation=validation, seed=seed)._asdict()
    with replacing(out) as scratch:
        scratch.mkdir()
        for name, part in parts.items():
            part.write(scratch / f"{name}{ending}")
    for name, part in parts.items():
        print(f"wrote {out / name}{ending}: {len(part):,} patients")


# One generator ------------------------------------------------------------------------------------


@app.command()
def fit(
    table: Table,
    out: Annotated[Path, place("Folder for the trained generator.")],
    preset: Annotated[
        str,
        typer.Option(
            help="thinning, whole (with columns and visits), private, fast, reported, paper or a"
            " baseline: medwgan, edm, copula, …"
        ),
    ] = "thinning",
    validation: Annotated[
        Path | None, place("Table whose loss is recorded; thinning stops by it.")
    ] = None,
    kind: Annotated[
        Kind | None, typer.Option(help="Learn occurrences or 0/1, in place of the preset's.")
    ] = None,
    seed: Seed = 0,
    change: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="Change a setting of the preset."),
    ] = None,
    codes: Annotated[
        Path | None, place("Public list of codes (column code) to learn; preset private needs it.")
    ] = None,
    columns: ColumnsFile = None,
) -> None:
    """Train a generator on a patient by code table.

    A training that was killed continues from its checkpoints, which lie beside --out until it ends.
    """
    from scoehr import generators

    may_replace(out, generators.model_files(), table, validation, codes, columns)
    settings = _settings(change or []) | ({"kind": kind} if kind else {})
    whole = preset == generators.Whole.name
    if whole and codes:
        raise InputError(f"--codes {codes}: is for preset private; whole learns those it reads")
    if columns and not whole:
        raise InputError(f"--columns {columns}: only preset whole learns columns")
    generator: Any
    if whole:
        generator = generators.Whole(generators.WholeConfig.from_dict(settings))
    else:
        generator = generators.preset(preset, **settings)
    private = isinstance(generator, generators.Private)
    public = _public_codes(codes, validation, generator.config.vocabulary if private else None)
    with replacing(out) as scratch:  # first: a place that cannot be written is found at once
        read = _whole_to_learn(table, columns) if whole else _to_learn(table, public, private)
        held_out = _held_out(validation, read) if validation else None
        _train(generator, read, held_out, seed, _checkpoints(out), scratch)
    shutil.rmtree(_checkpoints(out), ignore_errors=True)  # not before the model stands in place
    if private:
        _print_promise(generator)
    if whole:
        print(f"{sum(map(len, generator.rules.values()))} rules that every patient keeps")
    n, ending = 1000 if private else len(read), "" if whole else ".parquet"
    print(f"wrote {out}: to sample, scoehr sample {out} -n {n} --out synthetic{ending}")


@app.command()
def sample(
    model: Annotated[
        Path, typer.Argument(parser=PATH, help="Folder that `scoehr fit` or `scoehr run` wrote.")
    ],
    n: Annotated[
        int, typer.Option("-n", "--patients", min=1, help="Number of synthetic patients.")
    ],
    out: Annotated[Path, place("Long table patient_id, code, count: .parquet, or .csv.")],
    seed: Seed = 0,
    sampler: Annotated[
        str | None,
        typer.Option(
            help="Latent: euler_maruyama, heun, dpm_solver_pp_2m, ddim;"
            " thinning: exact_jumps, tau_leaping."
        ),
    ] = None,
    steps: Annotated[int | None, typer.Option(min=2, help="Steps of the sampler.")] = None,
    given: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CODE",
            help="A code that every patient has (thinning, whole), or COLUMN=VALUE (whole); "
            "repeatable.",
        ),
    ] = None,
    without: Annotated[
        list[str] | None,
        typer.Option(metavar="CODE", help="What no patient has (whole); repeatable."),
    ] = None,
) -> None:
    """Draw synthetic patients from a trained generator."""
    from scoehr import generators
    from scoehr.data.matrix import write_batches

    generator = generators.load_any(model)
    if isinstance(generator, generators.Whole):
        if sampler or steps:
            raise InputError("a model of whole patients has one sampler; leave --sampler out")
        _may_write_patients(out, model)
        made = generator.sample(n, seed=seed, given=given or (), without=without or ())
        return _write_patients(made, generator, out)
    if without:
        raise InputError("--without is for models of whole patients; fit preset whole")
    may_write(out, model, endings=TABLES)
    generators.check_disk(n, len(generator.vocabulary.codes), out)
    batches = generator.batches(n, seed=seed, sampler=sampler, steps=steps, condition=given or ())
    codes, occurrences = write_batches(out, batches, n)
    _report_condition(generator, "of the records grown were accepted")
    print(
        f"wrote {out}: {n:,} patients, {codes:,} codes, mean cell {occurrences / (n * codes):.4f}"
    )


@app.command()
def complete(
    model: Annotated[
        Path, typer.Argument(parser=PATH, help="Folder that `scoehr fit --preset whole` wrote.")
    ],
    partial: Annotated[Path, typer.Argument(parser=PATH, help="Patients of whom parts are known.")],
    out: Annotated[Path, place("Whole patients, as sample writes them.")],
    visits: Annotated[
        bool, typer.Option("--visits", help="Go on with further visits after the last.")
    ] = False,
    seed: Seed = 0,
) -> None:
    """Fill in what partial patients lack; what they have is kept."""
    from scoehr import generators

    generator = generators.load_any(model)
    if not isinstance(generator, generators.Whole):
        raise InputError(f"{model}: is of codes alone; fit preset whole")
    _may_write_patients(out, model, partial)
    found = read_patients(partial, generator.said)
    with about(partial):
        made = generator.complete(found, visits=visits, seed=seed)
    _write_patients(made, generator, out)


@app.command()
def evaluate(
    real: Annotated[
        Path, typer.Argument(parser=PATH, help="Table of real patients that training has not seen.")
    ],
    synthetic: Annotated[Path, typer.Argument(parser=PATH, help="Table of synthetic patients.")],
    train: Annotated[Path | None, place("Table that the generator was trained on.")] = None,
    html: Annotated[
        Path | None, place("Write a report here, a page that needs nothing else.")
    ] = None,
    json: Annotated[Path | None, place("Write every score, reference and gap here.")] = None,
    attacks: Annotated[
        bool, typer.Option("--attacks", help="Attack the table; done for --html with --train.")
    ] = False,
    model: Annotated[Path | None, place("Folder of the generator: attack it as well.")] = None,
    card: Annotated[
        bool, typer.Option("--card", help="Write the numbers into the cards of --model.")
    ] = False,
    everything: Annotated[bool, typer.Option("--all", help="Print all scores.")] = False,
    kind: KindName = "count",
    seed: Seed = 0,
) -> None:
    """Score synthetic against held-out real patients: eight numbers, or a report.

    Beside each score stands what fresh real patients get on the same data. With --train, attacks
    ask what the table tells of the patients it was made from; with --model, what the generator
    does.
    """
    from scoehr import metrics
    from scoehr.metrics.report import summary

    for path, endings in ((json, JSON), (html, HTML)):
        if path:
            may_write(path, real, synthetic, train, model, endings=endings)
    generator = _attacked(model, train, attacks=attacks, card=card)
    paths = [path for path in (real, synthetic, train) if path]
    attacked = bool(train and (attacks or model or html))
    results, sets = _scored(paths, kind, generator, attacked=attacked, seed=seed)
    results |= summary(results)
    _print_headline(results)
    if everything:
        if "whole" in results:
            _print_scores(results, metrics.WHOLE)
        _print_scores(results, metrics.METRICS)
        _print_attacks(results.get("attacks"))
    if html:
        tables = {"held-out real": real, "synthetic": synthetic, "trained on": train}
        _write_page(html, results, sets, _facts(tables, results["n"], generator))
    if json:
        write_json(json, results)
    if model and card:
        _write_cards(model, results, generator)
    for path in filter(None, (html, json, model if card else None)):
        print(f"wrote {path}")


# Helpers ------------------------------------------------------------------------------------------


def read_table(path: Path, kind: Kind = "count") -> CodeMatrix:
    """The patients of a user's own table, codes as they are written."""
    from scoehr.data.datasets import load

    if path.is_dir():
        return _of_kind(read_patients(path).to_matrix(), kind)
    return load("table", path, digits="full", kind=kind).matrix


def _of_kind(matrix: CodeMatrix, kind: Kind) -> CodeMatrix:
    return matrix.to_binary() if kind == "binary" else matrix


def read_patients(path: Path, said: Mapping[str, Wish] | None = None) -> Patients:
    """The whole patients of a user's own tables; ``said`` of those of its columns that it has."""
    from scoehr.data.folder import named_columns
    from scoehr.data.patients import load

    there = named_columns(path) if said else []
    found = {name: wish for name, wish in (said or {}).items() if name in there}
    return load("table", path, said=found).patients


def _checkpoints(out: Path) -> Path:
    """The folder of the checkpoints of a training, beside what it will write."""
    return Path(os.path.abspath(out)).with_name(f".{out.name}.training")


def _train(
    generator: Any, patients: Any, held_out: Any, seed: int, checkpoints: Path, scratch: Path
) -> None:
    """Train a generator and write it to ``scratch``."""
    from scoehr.training import Diverged

    try:
        generator.fit(patients, held_out, seed=seed, folder=checkpoints)
    except Diverged as error:
        shutil.rmtree(checkpoints, ignore_errors=True)
        raise InputError(str(error)) from None
    scratch.mkdir()
    generator.write(scratch)


def _whole_to_learn(table: Path, columns: Path | None) -> Patients:
    """The whole patients to train on; says what each column was taken for."""
    from scoehr.data import kinds
    from scoehr.data.patients import load

    patients, account = load("table", table, said=kinds.wishes(columns) if columns else {})
    _print_account({"table": str(table)} | account)
    return patients


def _may_write_patients(out: Path, *inputs: Path) -> None:
    """Whole patients are written as a folder, or as one table where nothing is lost by it."""
    if out.suffix:
        may_write(out, *inputs, endings=(".parquet", ".jsonl"))
    else:
        from scoehr.data import folder

        may_replace(out, folder.FILES, *inputs)


def _write_patients(made: Patients, generator: Whole, out: Path) -> None:
    """Write whole patients and say how they came about."""
    made.write(out)
    _report_condition(generator, "of the patients drawn met the condition and the rules")
    print(f"wrote {out}: {len(made):,} patients, {int(made.starts[-1]):,} visits")


def _report_condition(generator: Generator | Whole, share: str) -> None:
    """Say how many training patients meet the condition of the last sample, and what it cost."""
    if generator.proposed:
        accepted = f"{generator.accepted / generator.proposed:.1%} {share}"
        print("; ".join(filter(None, [generator.support, accepted])), file=sys.stderr)


def _public_codes(
    path: Path | None, validation: Path | None, vocabulary: str | None
) -> dict[str, str] | None:
    """The public list of codes, which a private generator of a public vocabulary needs.

    ``vocabulary`` is its setting, None for other generators: they take no list.
    """
    from scoehr.generators import public_codes

    if vocabulary == "public" and path is None:
        raise InputError(
            "the codes of a private table tell of its patients; give a public list of codes by "
            "--codes, or --set vocabulary=noised to spend a part of epsilon on the table's own"
        )
    if vocabulary == "noised" and path is not None:
        raise InputError(
            f"--codes {path}: a public list is not noised; leave out --codes or vocabulary=noised"
        )
    if vocabulary and validation:
        raise InputError(
            "a private training writes down no losses of patients; leave --validation out"
        )
    if path is not None and not vocabulary:
        raise InputError(
            f"--codes {path}: is for preset private; the others learn the codes of the table"
        )
    return public_codes(path) if path is not None else None


def _print_promise(generator: Any) -> None:
    delta, vocabulary = generator.config.delta, generator.config.vocabulary
    print(f"differential privacy: ε = {generator.spent:.3g} at δ = {delta:g}", end=", ")
    print(f"{vocabulary} vocabulary of {len(generator.vocabulary.codes):,} codes")


def _to_learn(table: Path, public: dict[str, str] | None, private: bool) -> CodeMatrix:
    """The table to train on, of which nothing is said under privacy, not even its size."""
    from scoehr.generators import on_codes

    matrix = read_table(table)
    if table.is_dir():
        warn(f"{table}: columns are left out and visits summed; --preset whole learns them")
    if public is None:
        said = "read" if private else f"{len(matrix):,} patients, {len(matrix.codes):,} codes"
        print(f"{table}: {said}", flush=True)
        return matrix
    print(f"{table}: read, to be learned on {len(public):,} public codes", flush=True)
    return on_codes(matrix, public)


def _held_out(path: Path, learned: Any) -> Any:
    """The patients of --validation over the columns and codes of training; others are named."""
    from scoehr.data import CodeMatrix
    from scoehr.data.kinds import Wish

    held_out: Any
    if isinstance(learned, CodeMatrix):
        held_out, lost = read_table(path).restrict(learned.codes)
    else:
        columns = (*learned.columns.columns, *learned.visit_columns.columns)
        said = {each.name: Wish(each.name, each.kind) for each in columns}
        held_out, lost = read_patients(path, said).restrict(learned.codes)
    if lost.size and not held_out.counts.nnz:
        raise InputError(f"{path}: has no code that training has; give patients of the same codes")
    if lost.size:
        named = ", ".join(lost[:8])
        warn(f"{path}: codes that training lacks are left out: {named} ({len(lost)} in all)")
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
    """A number in any usual form, true, false, null, or a list of JSON; else the text."""
    words = {"true": True, "false": False, "null": None, "none": None, "~": None}
    if text.lower() in words:
        return words[text.lower()]
    for read in (int, float, loads):
        try:
            return read(text)
        except (ValueError, RecursionError):
            continue
    return text


def _print_account(account: dict[str, Any], indent: str = "") -> None:
    """Names and figures in two columns; a nested dictionary is indented under its name."""
    for name, value in account.items():
        label = f"{indent}{str(name).replace('_', ' ')}"
        if isinstance(value, dict):
            print(label)
            _print_account(value, indent + "  ")
        else:
            print(f"{label:44} {_figure(value)}")


def _figure(value: Any) -> str:
    """A number as people read it: 1,234 or .0640."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:,.4f}"


def _scored(
    paths: list[Path], kind: Kind, generator: Any, *, attacked: bool, seed: int
) -> tuple[dict[str, Any], list[CodeMatrix]]:
    """Results of real, synthetic and perhaps training patients, and the first two as tables.

    Where all are folders, of columns and visits too.
    """
    from scoehr import generators, metrics

    whole = [read_patients(path) for path in paths] if all(map(Path.is_dir, paths)) else []
    if isinstance(generator, generators.Whole) and not whole:
        raise InputError("the model makes whole patients; give folders of whole patients")
    tables = [_of_kind(side.to_matrix(), kind) for side in whole]
    tables = tables or [read_table(path, kind) for path in paths]
    how: dict[str, Any] = {"seed": seed, "progress": sys.stderr.isatty()}
    results = metrics.evaluate(*tables[:2], train=tables[2] if tables[2:] else None, **how)
    if whole:
        results = metrics.merged(results, metrics.evaluate_whole(*whole, **how))
    if attacked:
        attack = metrics.attack_whole if whole else metrics.attack
        results["attacks"] = attack(*(whole or tables), model=generator, seed=seed)
    return results, tables[:2]


def _attacked(model: Path | None, train: Path | None, *, attacks: bool, card: bool) -> Any:
    """The generator that is attacked as well, if any; InputError if the options do not fit."""
    from scoehr import generators

    if (attacks or model) and train is None:
        raise InputError("attacks need the table of the members; give it by --train")
    if card and model is None:
        raise InputError("--card writes into the folder of a generator; give it by --model")
    generator = generators.load_any(model) if model else None
    if card and not getattr(generator, "releases_data_facts", True):
        raise InputError(
            "scores of a private generator's training patients are without noise and would lie "
            "beside its promise; leave --card out and keep them at home by --json"
        )
    return generator


def _write_cards(model: Path, results: dict[str, Any], generator: Any) -> None:
    """The results beside a saved generator, and its cards with them."""
    from scoehr.generators import cards

    write_json(model / "metrics.json", results)
    cards.write(model, generator.summary)


def _facts(tables: dict[str, Path | None], n: dict[str, int], generator: Any) -> dict[str, str]:
    """What was compared, as the report says it."""
    sizes = {"held-out real": "real", "synthetic": "synthetic", "trained on": "train"}
    facts = {
        name: f"{path.name}, {n[sizes[name]]:,} patients" for name, path in tables.items() if path
    }
    if generator is not None:
        facts["generator"] = generator.summary
        spent = getattr(generator, "spent", None)
        facts["differential privacy"] = f"ε = {spent:.3g}" if spent else "none"
    return facts


def _write_page(
    path: Path, results: dict[str, Any], sets: list[CodeMatrix], facts: dict[str, str]
) -> None:
    from scoehr.metrics.report import page

    real, synthetic = sets
    with replacing(path) as scratch:
        scratch.write_text(page(results, real, synthetic, facts), encoding="utf-8")


def _print_headline(results: dict[str, Any]) -> None:
    """At most eight numbers, and what they say."""
    from scoehr.metrics.report import headline, number, verdicts

    given, n = ("real", "synthetic", "train"), results["n"]
    counts = ", ".join(f"{n[name]:,} {name}" for name in given if name in n)
    print(f"patients given: {counts}; {n['rows']:,} of each compared, {n['codes']:,} codes")
    lines = headline(results)
    width = max((len(line.title) for line in lines), default=0)
    print(f"\n{'':{width + 2}}{'synthetic':>11}{'fresh real':>12}")
    for line in lines:
        cells = f"{number(line.value):>11}{number(line.floor):>12}"
        print(f"  {line.title:{width}}{cells}  {line.reading}")
    print()
    for _, sentence in verdicts(lines).values():
        print(sentence)


def _print_scores(results: dict[str, Any], table: dict[str, Metric]) -> None:
    """A line a score by family; those that carry a caution stand last, below it."""
    width = max(len(metric.title) for metric in table.values())
    print(f"\n{'':{width + 2}}{'synthetic':>11}{'real':>11}{'independent':>13}{'gap':>8}")
    heading = ""
    for key, metric in sorted(table.items(), key=lambda item: bool(item[1].caution)):
        above = metric.caution or key.split(".")[0]
        if above != heading:
            print(above)
        heading = above
        print(_line(key, metric, results, width))


def _line(key: str, metric: Metric, results: dict[str, Any], width: int) -> str:
    """A score: of the synthetic set, fresh real patients, independent columns; gap and verdict."""
    family, name = key.split(".")
    points = (results["reference"][point][family] for point in ("real", "independent"))
    real, independent = (score_text(made.get(name)) for made in points)
    made, gap = score_text(results[family].get(name)), results["gap"].get(key)
    cells = f"{made:>11}{real:>11}{independent:>13}{score_text(gap, 2):>8}"
    return f"  {metric.title:{width}}{cells}  {_verdict(gap)}".rstrip()


def _print_attacks(results: dict[str, Any] | None) -> None:
    """One line a score: on the synthetic set or its generator, and on fresh real patients."""
    from scoehr.metrics import ATTACKS, RISKS

    if results is None:
        return
    n = results["n"]
    counts = f"{n['members']:,} members, {n['members']:,} others, {n['reference']:,} known"
    print(f"\n{'attacks':51}{'synthetic':>11}{'floor':>11}   {counts}")
    for table, made in ((ATTACKS, results), (RISKS, results["risks"])):
        for key, metric in table.items():
            cells = (score_text(made[side][key]) for side in ("scores", "floor"))
            print(f"  {metric.title:49}{''.join(f'{cell:>11}' for cell in cells)}")


def score_text(value: Any, digits: int = 4) -> str:
    """A score as printed; a dash for one that is undefined."""
    return "-" if value is None or value != value else f"{value:.{digits}f}"


def _verdict(gap: float | None) -> str:
    """The gap in words: 0 is as good as fresh real patients, 1 as bad as independent columns."""
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
    """Run the shell on ``arguments`` (default: the process's); leave with its exit status."""
    run_shell(app, "scoehr", arguments)


if __name__ == "__main__":
    main()
