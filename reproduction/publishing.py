"""The publishing check: every file that git would take where things are published, looked at whole.

:func:`check` is called by ``scoehr check`` (so by ``make check``, the hook and the continuous
build), by ``scoehr publish`` on what it is about to write, and by a test on the tree itself. A file
passes if its name is known, if what it was made from is known to be open
(:func:`scoehr.data.datasets.is_open`), and if nothing in it shows a single person
(:mod:`reproduction.leaks`).
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import struct
import subprocess
import tempfile
import xml.etree.ElementTree as ET
import zlib
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import nbformat
import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
from matplotlib.font_manager import findfont
from matplotlib.ft2font import FT2Font
from nbformat import NotebookNode
from safetensors import safe_open

from reproduction import bundles, leaks
from scoehr.data.datasets import OPEN, is_open
from scoehr.data.folder import FILES
from scoehr.data.matrix import CodeMatrix
from scoehr.data.patients import Patients
from scoehr.files import CHECKOUT

#: Folders that are published.
PUBLISHED = ("book", "saved_models", "synthetic_data")
KIB, MIB = 2**10, 2**20


class Complaint(NamedTuple):
    """Why a file may not be published: the file, the place in it ("" for all of it), the reason."""

    file: str
    place: str
    reason: str

    def __str__(self) -> str:
        return f"{self.file}{', ' * bool(self.place)}{self.place}: {self.reason}"


Found = Iterator[tuple[str, str]]
Judge = Callable[[str], Iterable[str]]


# The tree ----------------------------------------------------------------------------------------


def check(tree: str | Path) -> list[Complaint]:
    """Complaints about the published files below ``tree`` that git would take; empty if none."""
    tree = Path(tree)
    names = committed(tree)
    found = [Complaint(name, *each) for name in names for each in _file(tree, name)]
    homes = [FOLDER.match(name) for name in names]
    for home in sorted({each[0] for each in homes if each}):
        if not {f"{home}/config.json", f"{home}/settings.json"} & set(names):
            found.append(Complaint(home, "", "has no settings, so nothing says what it is made of"))
    return list(dict.fromkeys(found))


def committed(tree: Path) -> list[str]:
    """The files of published folders that git tracks or would add; without git, all of them."""
    paths = [path for folder in PUBLISHED for path in (tree / folder).rglob("*")]
    names = {path.relative_to(tree).as_posix() for path in paths if _is_file(path)}
    if (tree / ".git").exists():
        command = ["git", "-C", str(tree), "ls-files", "-z", "-co", "--exclude-standard"]
        listed = subprocess.run(command, capture_output=True, check=True).stdout
        names &= set(listed.decode(errors="replace").split("\0"))
    return sorted(names)


def _is_file(path: Path) -> bool:
    return path.is_symlink() or not path.is_dir()


def _file(tree: Path, name: str) -> Found:
    path = tree / name
    kind = next((kind for kind in KINDS if re.fullmatch(kind.name, name)), None)
    if path.is_symlink():
        yield "", "is a link; put the file itself here"
    elif kind is None:
        yield "", "is no file that is published here; move it elsewhere"
    elif path.stat().st_size > kind.largest:
        yield "", f"is larger than {kind.largest // KIB:,} KiB; publish less"
    else:
        try:
            yield from kind.check(path)
        except Exception as error:  # whatever a reader stumbles over, the file is not sound
            reason = leaks.masked(str(error)) or type(error).__name__
            yield "", f"cannot be read as what its name says ({reason})"


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


# Prose -------------------------------------------------------------------------------------------

#: Markup that may carry more than it shows.
ACTIVE = re.compile(
    r"<\s*(?:script|iframe|object|embed|svg|img|link|meta|form|video|audio|base)\b"
    r"|\bon\w+\s*=\s*[\"']|<!--|\]\(data:",
    re.I,
)
#: Code that unpacks or shows what cannot be read in it.
HIDES = re.compile(
    r"<\s*(?:script|iframe|img|svg)\b|<!--|^%%|\b(?:b(?:16|32|64|85)|a85)decode\b|\bfromhex\b"
    r"|\bdecompress\(|\bpickle\b|\bmarshal\b|\b(?:exec|eval)\(",
    re.M,
)
HIDDEN = "markup that may hold more than it shows"


def _paragraphs(judge: Judge) -> Callable[[Path], Found]:
    """A check of a text, paragraph by paragraph, by the reasons that ``judge`` gives."""

    def checked(path: Path) -> Found:
        for number, paragraph in enumerate(re.split(r"\n\s*\n", _text(path)), 1):
            yield from ((f"paragraph {number}", reason) for reason in judge(paragraph))

    return checked


def _and_no_markup(judge: Judge) -> Judge:
    """The reasons of ``judge`` against a text, and whether its markup is active."""
    return lambda text: [*judge(text), *([HIDDEN] if ACTIVE.search(text) else [])]


_written, _shown = _and_no_markup(leaks.written), _and_no_markup(leaks.shown)


def _entry_of_literature(text: str) -> Iterator[str]:
    """Days of publication and numbers of articles are its own."""
    own = r"(?:date|year|month|volume|number|pages|doi|url|eprint|isbn|issn|urldate)"
    yield from leaks.written(re.sub(rf"(?m)^\s*{own}\s*=.*$", "", text))


def _drawn_by_hand(text: str) -> Iterator[str]:
    """A style sheet or a drawing of a few shapes: nothing is fetched, no words are shown."""
    yield from leaks.shown(text)
    if re.search(r"url\(|@import|<[!?]|</?(?!svg|rect|g|circle)\w|>\s*[^\s<]", text):
        yield HIDDEN


#: What a script of a page has no need of: the network, text that is run, markup, what is kept.
REACHES = re.compile(
    r"\b(?:fetch|import|importScripts|eval|Function|sendBeacon)\b|XMLHttp|WebSocket|EventSource"
    r"|https?:|(?:inner|outer|Adjacent)HTML|\bdocument\.write|cookie|Storage"
)


def _script(text: str) -> Iterator[str]:
    """A program of the pages: it fetches and stores nothing, and shows no words of patients."""
    yield from leaks.shown(text)
    if REACHES.search(text):
        yield HIDDEN


def _versions(text: str) -> Iterator[str]:
    for line in text.splitlines():
        if not re.fullmatch(r"[a-z][\w-]{1,24} [0-9][\w.+]{0,20}", line):
            yield "a line is not a package and its version"
    yield from leaks.shown(text)


# JSON --------------------------------------------------------------------------------------------


def _json(path: Path) -> Any:
    """The file's value; a key may stand once in an object."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len({key for key, _ in pairs}) < len(pairs):
            raise ValueError("a key stands twice")
        return dict(pairs)

    return json.loads(_text(path), object_pairs_hook=once)


def _figures(path: Path) -> Found:
    yield from _value(_json(path), "")


def _value(value: Any, place: str) -> Found:
    """What is wrong with a value of JSON, or below it."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _entry(key, inner, f"{place}/{leaks.masked(key)}")
    elif isinstance(value, list):
        numbers = [each for each in value if isinstance(each, int | float)]
        if _like_ids(np.array(numbers, dtype=float), len(value)):
            yield place, "a list of whole numbers as long as ids"
        for each in value:
            yield from _value(each, place)
    elif isinstance(value, str) and not leaks.DIGEST.fullmatch(value):
        yield from ((place, reason) for reason in leaks.shown(value))


def _entry(key: str, value: Any, place: str) -> Found:
    yield from ((place, reason) for reason in _name_of_one(key))
    if re.fullmatch(r"\d{4,}(?:\.0)?", key) and not leaks.title(key):
        yield place, "a key as long as an id"
    if isinstance(value, int | float) and "_per_" not in key:
        if leaks.SINGULAR.fullmatch(key) and value > 60 and value == int(value):
            yield place, "the number of one patient"
        counts = leaks.COUNTED.fullmatch(key) and key not in PLAIN
        if counts and value is not True and value in range(1, leaks.SMALLEST):
            yield place, "a count of 1 to 10 patients"
    if isinstance(value, dict) and sum(bool(leaks.FACTS.fullmatch(each)) for each in value) > 1:
        yield place, "facts of a single person"
    yield from _value(value, place)


#: Keys that may count anything but people.
PLAIN = ("n", "number", "count", "size", "total")


def _name_of_one(name: str) -> Iterator[str]:
    """Reasons against the name of a column or an entry."""
    if leaks.OF_ONE.fullmatch(leaks.name_of(name)):
        yield "a row-level column"
    yield from leaks.shown(name)


def _like_ids(values: np.ndarray, size: int | None = None) -> bool:
    """Whether most numbers are different whole ones of four digits or more."""
    whole = values[np.isfinite(values) & (np.abs(values) >= 1000) & (values == np.floor(values))]
    return len(np.unique(whole)) > 2 and 2 * len(whole) > (size or values.size)


# What a run was made from ------------------------------------------------------------------------


def _config(path: Path) -> Found:
    """A run's data must be open, and its weights and vocabulary those that it names."""
    config = _json(path)
    yield from _value(config, "")
    yield from made_from(config, path.parents[2].name)
    named = {"vocabulary.csv": config.get("vocabulary"), "pairs.parquet": config.get("pairs")}
    for file, digest in (named | config.get("weights", {})).items():
        digest = digest["sha256"] if isinstance(digest, dict) else digest
        beside = path.parent / Path(file).name
        if digest and beside.exists() and hashlib.sha256(beside.read_bytes()).hexdigest() != digest:
            yield beside.name, "is another file than the config names"


def _settings(path: Path) -> Found:
    """The settings of the runs of a bundle."""
    for run, config in _json(path).items():
        yield from _entry(run, config, run)
        yield from ((f"{run}/{place}", reason) for place, reason in made_from(config, run))


def made_from(config: dict[str, Any], run: str) -> Found:
    """What is wrong with the data that a run says it was made from, as places and reasons."""
    dataset, fingerprint = config["experiment"].get("dataset"), config["data"].get("fingerprint")
    if not re.match(rf"(?:[a-z_]+-)?{re.escape(str(dataset))}-", run):
        yield "dataset", "is another than the run is named after"
    if config.get("credentialed") is not False:
        yield "credentialed", "is not false; runs on credentialed data stay where they were made"
    if not is_open(dataset, fingerprint):
        yield "fingerprint", NOT_OPEN


NOT_OPEN = "is of no data that are known to be open (scoehr/data/open.json lists those)"


# Tables ------------------------------------------------------------------------------------------

#: Columns of numbers that may be long.
LONG = {"value", "low", "high", "parameters", "seconds", "patients"}
#: Columns that say where a code stands.
PLACES = {"first", "second"}
#: Codes of ICD-9 in all are fewer.
LARGEST_VOCABULARY = 20_000


def _table(path: Path) -> Found:
    """A table of a run: no column of one person, no text that may not be shown, no ids."""
    table = pa.csv.read_csv(path, **CSV) if path.suffix == ".csv" else pq.read_table(path)
    footer = {} if path.suffix == ".csv" else pq.read_metadata(path).metadata or {}
    if table.schema.metadata or set(footer) - {b"ARROW:schema"}:
        yield "metadata", "is no part of this table"
    for name, column in zip(table.column_names, table.columns, strict=True):
        place = leaks.masked(name)
        if leaks.FACTS.fullmatch(leaks.name_of(name)) and name != "name":
            yield place, "is a fact of a single person"
        yield from ((place, reason) for reason in _name_of_one(name))
        yield from ((place, reason) for reason in _column(name, column))


CSV: dict[str, Any] = {"convert_options": pa.csv.ConvertOptions(column_types={"code": pa.string()})}


def _column(name: str, column: pa.ChunkedArray) -> Iterator[str]:
    while pa.types.is_list(column.type):
        column = pa.chunked_array(column.combine_chunks().flatten())
    different = column.unique().drop_null()
    if pa.types.is_string(column.type):
        for text in different.to_pylist():
            known = leaks.title(text) if name == "code" else len(text) <= 80
            yield from () if known else ("holds words that are none of a table",)
            yield from () if name == "code" else leaks.shown(text)
    elif not pa.types.is_boolean(column.type) and not pa.types.is_null(column.type):
        yield from _numbers(name, different.to_numpy(zero_copy_only=False).astype(float))


def _numbers(name: str, values: np.ndarray) -> Iterator[str]:
    long = np.abs(values) >= (LARGEST_VOCABULARY if name in PLACES else 10_000)
    if name not in LONG and (long & (values == np.floor(values)) & np.isfinite(values)).any():
        yield "holds whole numbers as long as ids"
    if name in PLACES and len(values) and values.min() < 0:
        yield "holds no places of codes"


def _vocabulary(path: Path) -> Found:
    table = pa.csv.read_csv(path, **CSV)
    if table.column_names != ["code", "title"]:
        yield "header", "is not code, title"
    yield from _titles(*(column.to_pylist() for column in table.columns))


def _titles(codes: Iterable[str], titles: Iterable[str]) -> Found:
    """Codes must be known and have the names that they have in the code list."""
    for number, (code, title) in enumerate(zip(codes, titles, strict=True), 1):
        if not leaks.title(code) or title != leaks.title(code):
            yield f"code {number}", "is no known code with its own title"


def _synthetic(path: Path) -> Found:
    """A table of synthetic patients, numbered from 0, of a run that is published too."""
    patients = CodeMatrix.read(path)
    yield from _as_written(path, patients, [""])
    known = pq.read_table(path, columns=["patient_id"])["patient_id"].unique()
    if 2 * len(known) < len(patients):
        yield "patient_id", "is not numbered from 0 to the number of patients"
    yield from _made_up(patients)


def _whole(path: Path) -> Found:
    """Whole synthetic patients, of whom this is the table of patients."""
    patients = Patients.read(path.parent)
    yield from _as_written(path.parent, patients, FILES)
    yield from _made_up(patients)
    for column in (*patients.columns.columns, *patients.visit_columns.columns):
        reasons = [*_name_of_one(column.name)]
        reasons += [reason for level in column.levels for reason in leaks.shown(level)]
        yield from ((leaks.masked(column.name), reason) for reason in reasons)


def _beside_patients(path: Path) -> Found:
    """Visits or codes of whole patients, which are looked at with the table of patients."""
    if not (path.parent / "patients.parquet").is_file():
        yield "", "stands without its table of patients; write the folder again"


def _made_up(patients: CodeMatrix | Patients) -> Found:
    """Known codes with their titles, ids numbered from 0, counts that are counts."""
    yield from _titles(patients.codes.tolist(), patients.titles.tolist())
    if not np.array_equal(patients.patients, np.arange(len(patients))):
        yield "patient_id", "is not numbered from 0 to the number of patients"
    numbers = patients.counts.data
    if numbers.size and not 0 <= numbers.min() <= numbers.max() < 1000:
        yield "columns", "hold numbers that are no counts"


def _as_written(path: Path, patients: CodeMatrix | Patients, names: Iterable[str]) -> Found:
    """Whether the files at a path hold what is written of a published run's patients, no more."""
    known = (path.parents[1] / "saved_models").glob("*/settings.json")
    if not any(path.stem in json.loads(_text(settings)) for settings in known):
        yield "", "belongs to no run in saved_models, so nothing says what it was made from"
    with tempfile.TemporaryDirectory() as scratch:
        patients.write(Path(scratch) / path.name)
        for name in names:
            if not _same_table(path / name, Path(scratch) / path.name / name):
                yield name, "holds more than scoehr writes of synthetic patients"


def _same_table(one: Path, other: Path) -> bool:
    """Whether two Parquet files say the same, what is written beside their columns included."""
    files = [pq.ParquetFile(path) for path in (one, other)]
    beside = [(set(file.metadata.metadata or ()), file.metadata.created_by[:19]) for file in files]
    tables = [file.read() for file in files]
    return beside[0] == beside[1] and tables[0].equals(tables[1], check_metadata=True)


# Weights -----------------------------------------------------------------------------------------

#: Words in names of tensors that libraries give.
LIBRARY = {"att", "attn", "dst", "edge", "hh", "ih", "l", "lin", "proj", "src", "state"}


@cache
def _words_of_code() -> set[str]:
    """The words in the modules of the checkout: names of tensors are made of them."""
    files = [*CHECKOUT.glob("scoehr/**/*.py"), *CHECKOUT.glob("companions/**/*.py")]
    return LIBRARY | {word for file in files for word in re.findall(r"[a-z]+", _text(file))}


def _weights(path: Path) -> Found:
    with safe_open(path, "numpy") as tensors:
        if tensors.metadata():
            yield "metadata", "is no part of weights here"
        for name in tensors.keys():  # noqa: SIM118 - not a dictionary
            values = tensors.get_tensor(name)
            if values.dtype.kind != "f" and name != "inputs.chosen":
                yield leaks.masked(name), "holds no weights"
            elif _like_ids(values.ravel()):
                yield leaks.masked(name), "holds whole numbers as long as ids"
            strange = set(re.findall(r"[A-Za-z]+", name)) - _words_of_code()
            if strange or len(name) > 60 or re.search(r"\d{3,}|[^\w./]", name):
                yield leaks.masked(name), "is no name of weights"


# Pictures ----------------------------------------------------------------------------------------


def _still(width: int) -> Callable[[Path], Found]:
    """A check of a picture that is so many dots wide, at 192 dots an inch."""

    def checked(path: Path) -> Found:
        content = path.read_bytes()
        yield from (("", reason) for reason in picture(content))
        facts = {kind: body for kind, body, _ in _chunks(content)}
        wide = facts[b"IHDR"][:4] == struct.pack(">I", width)
        if not wide or facts.get(b"pHYs", b"")[:4] != b"\0\0\x1d\x87":
            yield "", "a picture that the book did not draw"

    return checked


def picture(content: bytes) -> Iterator[str]:
    """Reasons why bytes are not a PNG as matplotlib writes it: pixels and their density alone."""
    try:
        chunks = list(_chunks(content))
    except struct.error:
        chunks = []
    kinds = b" ".join(kind for kind, _, _ in chunks)
    if not re.fullmatch(rb"IHDR (?:pHYs )?(?:IDAT )+IEND", kinds):
        yield "a picture that holds more than pixels"
    elif not all(sound for _, _, sound in chunks):
        yield "a damaged picture"
    elif chunks[0][1][8:] != b"\x08\x06\0\0\0":
        yield "a picture that the book did not draw"


def _chunks(content: bytes) -> Iterator[tuple[bytes, bytes, bool]]:
    """The parts of a PNG: kind, content, and whether its checksum is right."""
    place = 8 if content.startswith(b"\x89PNG\r\n\x1a\n") else len(content)
    while place < len(content):
        length, kind = struct.unpack_from(">I4s", content, place)
        body = content[place + 8 : place + 8 + length]
        (checksum,) = struct.unpack_from(">I", content, place + 8 + length)
        yield kind, body, checksum == zlib.crc32(kind + body)
        place += 12 + length


# What matplotlib writes into a figure of the book: values made of these tokens, text in its own
# metadata alone.
NUMBER = r"-?(?:\d{1,4}|\d*\.\d+)(?:e-?\d+)?"
LINK = (
    r"(?:[mpCh][0-9a-f]{10}|image[0-9a-f]{10}|DejaVu[A-Za-z]+(?:-[A-Z][A-Za-z]+)*-[0-9a-f]{1,5}"
    r"|[A-Z]\w{0,3}_0_[0-9a-f]{10})"
)
DRAWN = (
    r"(?:(?:sub)?figure|axes|patch|text|line2d|[xy]tick|legend|table|offsetbox|matplotlib\.axis"
    r"|[A-Z][A-Za-z]+(?:Collection|Mesh))_\d{1,4}"
)
WORD = (
    r"[MLQCHVZz]|translate|scale|rotate|matrix|none|evenodd|normal|square|butt|round|miter|bevel"
    r"|(?:fill|stroke)(?:-opacity)?|opacity|stroke-(?:width|dashoffset|miterlimit|dasharray|linecap"
    r"|linejoin)|fill-rule|mix-blend-mode"
)
TOKEN = rf"(?:{NUMBER}(?:pt)?|{WORD}|#[0-9a-f]{{6}}|url\(#{LINK}\)|#?{LINK}|{DRAWN})"
OWN = r"text/css|http://purl\.org/dc/dcmitype/StillImage"
VALUE = re.compile(rf"[\s(]*{TOKEN}(?:[\s,;:()]+{TOKEN})*[\s)]*|{OWN}|")
ATTRIBUTE = re.compile(
    r"id|d|style|transform|x|y|width|height|viewBox|clip-path|href|version|type|opacity|resource"
    r"|preserveAspectRatio"
)
ELEMENT = re.compile(
    r"\{http://(?:www\.w3\.org/2000/svg|purl\.org/dc/elements/1\.1/|creativecommons\.org/ns#"
    r"|www\.w3\.org/1999/02/22-rdf-syntax-ns#)\}(?:svg|metadata|RDF|Work|type|format|creator|Agent"
    r"|title|defs|style|g|path|use|clipPath|rect|image|pattern)"
)
OWN_TEXT = re.compile(
    r"image/svg\+xml|Matplotlib v[\d.]+(?:post\d+)?, https://matplotlib\.org/"
    r"|\*\{stroke-linejoin: round; stroke-linecap: butt\}|"
)
DECLARED = re.compile(
    r'\s*<\?xml version="1\.0" encoding="utf-8" standalone="no"\?>\s*'
    r'<!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1\.1//EN"\s*'
    r'"http://www\.w3\.org/Graphics/SVG/1\.1/DTD/svg11\.dtd">\s*(?=<svg )'
)


def figure(content: str) -> Iterator[str]:
    """Reasons why an SVG is no figure that the book draws, or shows what may not be published."""
    body = DECLARED.sub("", content, count=1)
    comments = re.findall(r"<!--(.*?)-->", body, re.DOTALL)
    marks = re.findall(r"<!|<\?|&(?!(?:amp|lt|gt|quot|apos);)", body)
    if body == content or len(marks) != len(comments):
        yield "a figure with a declaration or an instruction that the book does not write"
        return
    try:
        root = ET.fromstring(content)
    except ET.ParseError:
        yield "a figure that cannot be read"
        return
    for text in [*comments, "\n\n".join(comments), *_lettering(root)]:
        yield from leaks.shown(text)
    for element in root.iter():
        yield from _drawn(element)
    long = {value for each in root.iter() if re.fullmatch(r"\d{5}", value := each.get("y", ""))}
    if len(long) > 2:
        yield "a figure with whole numbers as long as ids"


def _drawn(element: ET.Element) -> Iterator[str]:
    tag = str(element.tag)
    if not ELEMENT.fullmatch(tag):
        yield f"<{leaks.masked(tag)}> in a figure"
    if not OWN_TEXT.fullmatch((element.text or "").strip()) or (element.tail or "").strip():
        yield "a text in a figure that matplotlib did not write"
    for raw, value in element.attrib.items():
        name = raw.split("}")[-1]
        if tag.endswith("}image") and name == "href":
            yield from _pixels(value, element.get("id", ""))
        elif not ATTRIBUTE.fullmatch(name) or not _value_of(name, value):
            yield f"an attribute {leaks.masked(name)} that matplotlib does not write"


def _value_of(name: str, value: str) -> bool:
    """Whether a value is made of what matplotlib writes."""
    return bool(VALUE.fullmatch(value)) or (name == "y" and bool(re.fullmatch(r"\d{5}", value)))


def _pixels(value: str, name: str) -> Iterator[str]:
    """An embedded picture is a PNG whose name matplotlib has made from its bytes."""
    kind, _, content = value.partition(",")
    if kind != "data:image/png;base64":
        yield "a picture in a figure that is no PNG"
        return
    pixels = base64.b64decode(re.sub(r"\s", "", content), validate=True)
    yield from picture(pixels)
    if name != f"image{hashlib.sha256(f'scoehr{pixels!s}'.encode()).hexdigest()[:10]}":
        yield "a picture in a figure that the book did not draw"


def _lettering(root: ET.Element) -> Iterator[str]:
    """The words that a figure draws; matplotlib names a letter by its place in the font."""
    letters = _letters()
    for group in root.iter("{http://www.w3.org/2000/svg}g"):
        links = [use.get("{http://www.w3.org/1999/xlink}href", "") for use in group]
        places = [re.fullmatch(r"#DejaVu[\w-]*-([0-9a-f]{1,5})", link) for link in links]
        yield "".join(letters.get(int(place[1], 16), " ") for place in places if place)


@cache
def _letters() -> dict[int, str]:
    """The letter at each place of the font of the book's figures."""
    font = FT2Font(findfont("DejaVu Sans"))
    return {int(place): chr(letter) for letter, place in font.get_charmap().items()}


# Notebooks ---------------------------------------------------------------------------------------

#: The key of a notebook's metadata that says what it was executed on, and what stands there.
STAMP, STAMPED = "scoehr", ("dataset", "fingerprint", "credentialed", "cells")
#: What else a published notebook says of itself.
LANGUAGE: dict[str, dict[str, Any]] = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {
        "codemirror_mode": {"name": "ipython", "version": 3}, "file_extension": ".py",
        "mimetype": "text/x-python", "name": "python", "nbconvert_exporter": "python",
        "pygments_lexer": "ipython3",
    },
}  # fmt: skip
TAG = re.compile(
    r"hide-(?:input|output|cell)|remove-(?:cell|input|output)|(?:injected-)?parameters|full-width"
    r"|scroll-output"
)
CELL = ("cell_type", "id", "metadata", "source", "execution_count", "outputs")
OUTPUT = ("output_type", "data", "metadata", "execution_count", "name", "text")


def strip(notebook: NotebookNode) -> NotebookNode:
    """An executed notebook without what differs between two runs, ready for a page.

    Cell ids are numbered, timings go, the parameter cells are hidden (a page states its parameters
    in words), and a figure's caption becomes the alternative text of its image.
    """
    notebook = nbformat.from_dict(notebook)
    metadata = {key: dict(value) for key, value in notebook.metadata.items() if key in LANGUAGE}
    for key, value in metadata.items():
        metadata[key] = {each: LANGUAGE[key][each] for each in LANGUAGE[key] if each in value}
    if facts := notebook.metadata.get(STAMP):
        metadata[STAMP] = {key: facts[key] for key in STAMPED if key in facts}
    cells = [_strip_cell(cell, place) for place, cell in enumerate(notebook.cells)]
    kept = {"nbformat": notebook.nbformat, "nbformat_minor": notebook.nbformat_minor}
    return nbformat.from_dict({**kept, "metadata": metadata, "cells": cells})


def _strip_cell(cell: NotebookNode, place: int) -> dict[str, Any]:
    kept = {key: cell[key] for key in CELL if key in cell}
    tags = [tag for tag in cell.get("metadata", {}).get("tags", []) if TAG.fullmatch(tag)]
    if {"parameters", "injected-parameters"} & set(tags) and "remove-cell" not in tags:
        tags.append("remove-cell")
    kept["id"] = f"cell-{place:03d}"
    kept["metadata"] = {"tags": tags} if "tags" in cell.metadata or tags else {}
    if "outputs" in kept:
        kept["outputs"] = [_strip_output(output) for output in cell.outputs]
    if alt := _alternative_text(cell):
        kept["metadata"]["mystnb"] = {"image": {"alt": alt}}
    return kept


def _strip_output(output: NotebookNode) -> dict[str, Any]:
    if output.output_type == "error":
        return output
    kept = {key: output[key] for key in OUTPUT if key in output}
    return kept | ({"metadata": {}} if "metadata" in kept else {})


def _alternative_text(cell: NotebookNode) -> str:
    for output in cell.get("outputs", []):
        if "image/svg+xml" in output.get("data", {}):
            return re.sub(r"\s+", " ", _joined(output.data.get("text/plain", "")))
    return ""


def stamp(notebook: NotebookNode, facts: dict[str, Any]) -> NotebookNode:
    """Write into a notebook dataset, fingerprint, credentialed, and a hash of its cells."""
    known = {key: facts[key] for key in STAMPED[:3]}
    notebook.metadata[STAMP] = known | {"cells": digest(notebook)}
    return notebook


def digest(notebook: NotebookNode) -> str:
    """SHA-256 of the cells: a notebook changed by hand has another than one that was executed."""
    return bundles.digest(json.loads(nbformat.writes(notebook, version=4))["cells"])


def _notebook(path: Path) -> Found:
    raw = _json(path)
    yield from (("metadata", reason) for reason in provenance(nbformat.read(path, as_version=4)))
    yield from findings(nbformat.from_dict(raw))


def provenance(notebook: NotebookNode) -> Iterator[str]:
    """Reasons why what a notebook was executed on is not known to be open."""
    facts = notebook.metadata.get(STAMP)
    if not facts:
        yield "no fingerprint of its data; execute it again with scoehr notebook"
        return
    if facts.get("credentialed") is not False:
        yield "executed on credentialed data"
    if not is_open(facts.get("dataset"), facts.get("fingerprint")):
        yield f"the fingerprint {NOT_OPEN}"
    if facts.get("cells") != digest(notebook):
        yield "changed since it was executed; execute it again with scoehr notebook"


def findings(notebook: NotebookNode) -> list[tuple[str, str]]:
    """What a notebook shows that must not be published, as places and reasons; empty if it may be.

    Sources, outputs of every kind, attributes, comments and metadata are looked at whole. A cell
    that failed or was not executed is a finding too.
    """
    kept = strip(notebook)
    found = []
    if {**kept, "cells": []} != {**notebook, "cells": []}:
        found.append(("metadata", "holds more than a published notebook"))
    for number, (cell, shown) in enumerate(zip(notebook.cells, kept.cells, strict=True)):
        if cell != shown or cell.cell_type not in ("code", "markdown"):
            found.append((f"cell {number}", "holds more than it shows"))
        found += [(f"cell {number}", reason) for reason in _cell(cell)]
    return list(dict.fromkeys(found))


def _cell(cell: NotebookNode) -> Iterator[str]:
    code = cell.cell_type == "code"
    source = _joined(cell.source)
    yield from (f"source: {reason}" for reason in leaks.written(source))
    if (HIDES if code else ACTIVE).search(source):
        yield f"source: {HIDDEN}"
    if code and source.strip() and cell.get("execution_count") is None:
        yield "not executed"
    for output in cell.get("outputs", []):
        yield from _output(output)


def _output(output: NotebookNode) -> Iterator[str]:
    if output.output_type == "error":
        yield f"{output.ename}: {leaks.masked(_joined(output.evalue))}"
    if output.output_type == "stream":
        yield from leaks.shown(_joined(output.text))
    for mime, content in output.get("data", {}).items():
        if mime in MIMES:
            yield from MIMES[mime](_joined(content))
        else:
            yield f"an output of the kind {leaks.masked(mime)}, which the book does not make"


def _joined(text: Any) -> str:
    return "".join(text) if isinstance(text, list) else str(text)


MIMES: dict[str, Judge] = {
    "text/plain": leaks.shown,
    "text/html": leaks.markup,
    "text/markdown": _shown,
    "image/svg+xml": figure,
}


# What may be published ---------------------------------------------------------------------------


class Kind(NamedTuple):
    """A published file: its name (a pattern), its largest size, and how it is looked at."""

    name: str
    largest: int
    check: Callable[[Path], Found]


_OPEN = "|".join(OPEN)
_BUNDLE = rf"saved_models/(?:synthesis|dualk|mortality_attack)-(?:{_OPEN})-[a-z0-9-]+"
_MODEL = rf"{_BUNDLE}/models/[a-z0-9_-]{{1,60}}-s\d+"
#: Folders that say what they are made of.
FOLDER = re.compile(r"saved_models/[^/]+(?:/models/[^/]+)?(?=/)")
_WHOLE = rf"synthetic_data/(?:{_OPEN})-[a-z0-9-]{{3,80}}"
_PROSE = _paragraphs(_written)
KINDS = (
    Kind(r"book/(?:_config|_toc)\.yml|book/[a-z]{3,20}(?:-[a-z]+)*\.md", 256 * KIB, _PROSE),
    Kind(r"(?:saved_models|synthetic_data)/README\.md", 32 * KIB, _PROSE),
    Kind(r"book/references\.bib", 256 * KIB, _paragraphs(_entry_of_literature)),
    Kind(r"book/_static/answer\.png", 2 * MIB, _still(8 * 192)),
    Kind(r"book/_static/try-it\.png", 128 * KIB, _still(612)),
    Kind(r"book/_static/report\.png", 256 * KIB, _still(1100)),
    Kind(r"book/_static/(?:logo\.svg|style\.css)", 32 * KIB, _paragraphs(_drawn_by_hand)),
    Kind(r"book/_static/[a-z]+(?:-[a-z]+)*\.js", 32 * KIB, _paragraphs(_script)),
    Kind(r"book/notebooks/\d\d-[a-z]+(?:-[a-z]+)*\.ipynb", 8 * MIB, _notebook),
    Kind(rf"{_BUNDLE}/settings\.json", 4 * MIB, _settings),
    Kind(rf"{_BUNDLE}/(?:results|references)\.json", 16 * MIB, _figures),
    Kind(rf"{_BUNDLE}/runs\.csv", MIB, _table),
    Kind(rf"{_BUNDLE}/(?:scores|histories|frequencies|draws|maps)\.parquet", 16 * MIB, _table),
    Kind(rf"{_MODEL}/config\.json", 64 * KIB, _config),
    Kind(rf"{_MODEL}/model-\d{{1,2}}/model\.json", MIB, _figures),
    Kind(rf"{_MODEL}/history\.csv", 512 * KIB, _table),
    Kind(rf"{_MODEL}/vocabulary\.csv", 512 * KIB, _vocabulary),
    Kind(rf"{_MODEL}/pairs\.parquet", 4 * MIB, _table),
    Kind(rf"{_BUNDLE}/environment\.txt", 4 * KIB, _paragraphs(_versions)),
    Kind(rf"{_MODEL}/(?:MODEL|DATA)_CARD\.md", 32 * KIB, _paragraphs(_shown)),
    Kind(rf"{_MODEL}/(?:model-\d{{1,2}}/)?[a-z]+\.safetensors", 64 * MIB, _weights),
    Kind(rf"synthetic_data/(?:{_OPEN})-[a-z0-9-]{{3,80}}\.parquet", 32 * MIB, _synthetic),
    Kind(rf"{_WHOLE}/patients\.parquet", 2 * MIB, _whole),
    Kind(rf"{_WHOLE}/(?:visits|codes)\.parquet", 8 * MIB, _beside_patients),
)  # fmt: skip
