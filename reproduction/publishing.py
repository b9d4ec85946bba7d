"""The publishing check: every file that would be committed where things are published, looked at whole.

:func:`check` is called by ``scoehr check`` (so by ``make check``, the hook and the continuous build), by ``scoehr
publish`` on what it is about to write, and by a test on the tree itself. A file passes if its name is known, if what
it was made from is known to be open (:func:`scoehr.data.datasets.is_open`), and if nothing in it shows a single person
(:mod:`reproduction.leaks`).
"""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
import re
import struct
import subprocess
import xml.etree.ElementTree as ET
import zlib
from collections.abc import Callable, Iterator
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import nbformat
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from matplotlib.font_manager import findfont
from matplotlib.ft2font import FT2Font
from nbformat import NotebookNode
from safetensors import SafetensorError, safe_open

from reproduction import leaks
from scoehr.data.datasets import OPEN, is_open
from scoehr.files import CHECKOUT

#: Folders that are published.
PUBLISHED = ("book", "saved_models", "synthetic_data")
KIB, MIB = 2**10, 2**20


class Complaint(NamedTuple):
    """Why a file may not be published: the file in the tree, the place in the file ("" for all of it), the reason."""

    file: str
    place: str
    reason: str

    def __str__(self) -> str:
        return f"{self.file}{', ' * bool(self.place)}{self.place}: {self.reason}"


Found = Iterator[tuple[str, str]]


class Unreadable(ValueError):
    """A file is not what its name says."""


# The tree ----------------------------------------------------------------------------------------


def check(tree: str | Path) -> list[Complaint]:
    """Complaints about the files below ``tree`` that would be committed to published folders; empty if all may be."""
    tree = Path(tree)
    names = committed(tree)
    found = []
    for name in names:
        found += [Complaint(name, place, reason) for place, reason in _file(tree, name)]
    for folder in sorted(
        {"/".join(name.split("/")[:2]) for name in names if re.match(r"saved_models/[^/]+/", name)}
    ):
        if f"{folder}/config.json" not in names:
            found.append(
                Complaint(folder, "", "has no config.json, so nothing says what it was made from")
            )
    return list(dict.fromkeys(found))


def committed(tree: Path) -> list[str]:
    """The files of published folders that git tracks or would add; without git, all of them."""
    command = [
        "git",
        "-C",
        str(tree),
        "ls-files",
        "-z",
        "-co",
        "--exclude-standard",
        "--",
        *PUBLISHED,
    ]
    if (tree / ".git").exists():
        listed = subprocess.run(command, capture_output=True, check=True).stdout.decode(
            errors="replace"
        )
        names = {
            name
            for name in listed.split("\0")
            if name and ((tree / name).exists() or (tree / name).is_symlink())
        }
    else:
        paths = [path for folder in PUBLISHED for path in (tree / folder).rglob("*")]
        names = {
            path.relative_to(tree).as_posix()
            for path in paths
            if path.is_symlink() or not path.is_dir()
        }
    return sorted(names)


def _file(tree: Path, name: str) -> Found:
    path = tree / name
    if path.is_symlink():
        yield "", "is a link; put the file itself here"
        return
    kind = next((kind for kind in KINDS if re.fullmatch(kind.name, name)), None)
    if kind is None:
        yield "", "is no file that is published here; move it elsewhere"
        return
    if path.stat().st_size > kind.largest:
        yield "", f"is larger than {kind.largest // KIB:,} KiB; publish less"
        return
    try:
        yield from kind.check(path)
    except (Unreadable, UnicodeDecodeError, ValueError, KeyError, TypeError, AttributeError, SafetensorError, OSError,
            RecursionError, pa.ArrowException, ET.ParseError, nbformat.ValidationError) as error:  # fmt: skip
        yield (
            "",
            f"cannot be read as what its name says ({leaks.masked(str(error)) or type(error).__name__})",
        )


@cache
def _public() -> frozenset[str]:
    """Numbers of five digits or more that the studies printed."""
    files = sorted(CHECKOUT.glob("*/*/reported.json"))
    return frozenset(
        number for file in files for number in re.findall(r"\d{5,}", file.read_text("utf-8"))
    )


@lru_cache(maxsize=100_000)
def _reasons(text: str) -> tuple[str, ...]:
    """Reasons why a text that is shown may not be published; many stand in many files."""
    return tuple(leaks.shown(text, _public()))


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


# Prose -------------------------------------------------------------------------------------------

#: Markup that may carry more than it shows.
ACTIVE = re.compile(
    r"<\s*(?:script|iframe|object|embed|svg|img|link|meta|form|video|audio|base)\b|\bon\w+\s*=\s*[\"']",
    re.I,
)

#: Code that unpacks or shows what cannot be read in it.
HIDES = re.compile(
    r"<\s*(?:script|iframe|img|svg)\b|^%%|\b(?:b(?:16|32|64|85)|a85)decode\b|\bfromhex\b|\bdecompress\(|\bpickle\b"
    r"|\bmarshal\b|\b(?:exec|eval)\(",
    re.M,
)


def _prose(path: Path) -> Found:
    for number, paragraph in enumerate(re.split(r"\n\s*\n", _text(path)), 1):
        yield from (
            (f"paragraph {number}", reason) for reason in leaks.written(paragraph, _public())
        )
        if ACTIVE.search(paragraph):
            yield f"paragraph {number}", "markup that may hold more than it shows"


def _references(path: Path) -> Found:
    """A bibliography: days of publication and numbers of articles are its own."""
    for entry in re.split(r"\n(?=@)", _text(path)):
        kept = re.sub(
            r"(?m)^\s*(?:date|year|month|volume|number|pages|doi|url|eprint|isbn|issn|urldate)\s*=.*$",
            "",
            entry,
        )
        yield from (("an entry", reason) for reason in leaks.written(kept, _public()))


def _shown(path: Path) -> Found:
    for number, paragraph in enumerate(re.split(r"\n\s*\n", _text(path)), 1):
        yield from ((f"paragraph {number}", reason) for reason in _reasons(paragraph))
        if ACTIVE.search(paragraph) or "<!--" in paragraph:
            yield f"paragraph {number}", "markup that may hold more than it shows"


def _style(path: Path) -> Found:
    text = _text(path)
    yield from (("", reason) for reason in leaks.shown(text))
    if re.search(r"url\(|@import", text):
        yield "", "fetches something"


def _versions(path: Path) -> Found:
    for line in _text(path).splitlines():
        if not re.fullmatch(r"[a-z][\w-]{1,24} [0-9][\w.+]{0,20}", line):
            yield "", "a line is not a package and its version"
        yield from (("", reason) for reason in _reasons(line) if "bare number" not in reason)


# JSON ---------------------------------------------------------------------------------------------


def _json(path: Path) -> Any:
    """The file's value; a key may stand once in an object."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len({key for key, _ in pairs}) < len(pairs):
            raise Unreadable("a key stands twice")
        return dict(pairs)

    return json.loads(_text(path), object_pairs_hook=once)


def _figures(path: Path) -> Found:
    yield from _value(_json(path), "")


def _value(value: Any, place: str) -> Found:
    """What is wrong with a value of JSON, or below it."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _entry(key, inner, place)
    elif isinstance(value, list):
        if _ids_in(value):
            yield place, "a list of whole numbers as long as ids"
        for each in value:
            yield from _value(each, place)
    elif isinstance(value, str) and not leaks.DIGEST.fullmatch(value):
        yield from ((place, reason) for reason in _reasons(value))


def _ids_in(values: list[Any]) -> bool:
    """Whether most of a list are different whole numbers of four digits or more."""
    numbers = [each for each in values if isinstance(each, int | float) and _finite(each)]
    whole = {each for each in numbers if each == int(each) and abs(each) >= 1000}
    return len(whole) > 2 and 2 * len(whole) > len(values)


def _finite(value: Any) -> bool:
    return not isinstance(value, float) or value - value == 0


def _entry(key: str, value: Any, place: str) -> Found:
    name = leaks.name_of(key)
    here = f"{place}/{leaks.masked(key)}"
    if leaks.OF_ONE.fullmatch(name):
        yield here, "a row-level column"
    if re.fullmatch(r"\d{4,}(?:\.0)?", key) and not leaks.title(key):
        yield here, "a key as long as an id"
    if (
        "_per_" not in key
        and leaks.SINGULAR.fullmatch(key)
        and isinstance(value, int)
        and value > 60
    ):
        yield here, "the number of one patient"
    if (
        "_per_" not in key
        and leaks.COUNTED.fullmatch(key)
        and key not in ("n", "number", "count", "size", "total")
        and _few(value)
    ):
        yield here, "a count of 1 to 10 patients"
    if (
        isinstance(value, dict)
        and sum(bool(leaks.FACTS.fullmatch(leaks.name_of(inner))) for inner in value) > 1
    ):
        yield here, "facts of a single person"
    yield from ((here, reason) for reason in _reasons(key))
    yield from _value(value, here)


def _few(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value < leaks.SMALLEST


def _config(path: Path) -> Found:
    """What a run was made from must be open, and its weights and vocabulary those that it names."""
    config = _json(path)
    yield from _value(config, "")
    facts = config.get("experiment", config)
    dataset, run = facts.get("dataset"), path.parent.name
    data = config["data"]
    fingerprint = data if isinstance(data, str) else data.get("fingerprint")
    credentialed = config.get("credentialed", False if dataset == "physionet2012" else "missing")
    if not re.match(rf"(?:visits-|dualk-|mortality_attack-)?{re.escape(str(dataset))}-", run):
        yield "dataset", "is another than the folder is named after"
    if credentialed is not False:
        yield "credentialed", "is not false; runs on credentialed data stay where they were made"
    if not is_open(dataset, fingerprint):
        yield (
            "fingerprint",
            "is of no data that are known to be open (scoehr/data/open.json lists those)",
        )
    files = {
        "vocabulary.csv": config.get("vocabulary", {}).get("sha256"),
        "pairs.parquet": config.get("pairs"),
    }
    for file, digest in (files | config.get("weights", {})).items():
        beside = path.parent / Path(file).name
        if digest and beside.exists() and hashlib.sha256(beside.read_bytes()).hexdigest() != digest:
            yield Path(file).name, "is another file than the config names"


# Tables ------------------------------------------------------------------------------------------

NUMBER = r"-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?"
SCORE = re.compile(rf"(?:{NUMBER}|nan|-?inf|True|False|)")
#: Columns of the tables of a run that hold words, and the columns that any of them may have.
WORDS = {"stage", "scored_on"}
COLUMN = re.compile(
    r"stage|epoch|member|train_loss|validation_loss|validation_auroc|learning_rate|seconds|generator_loss|epsilon"
    r"|scored_on|loss|f1|merit|recall@\d+|(?:reported|test)_\w{2,9}"
    r"|(?:[a-z-]+ )?(?:new\.|recurring\.|reported\.)?(?:recall@\d+|ndcg@\d+|auprc|f1)"
)


def _scores(path: Path) -> Found:
    """history.csv and draws.csv: numbers below known heads."""
    rows = list(csv.reader(io.StringIO(_text(path))))
    heads = rows[0]
    for head in heads:
        if not COLUMN.fullmatch(head):
            yield leaks.masked(head), "is no column of this table"
    for number, row in enumerate(rows[1:], 1):
        for head, cell in zip(heads, row, strict=True):
            good = (
                re.fullmatch(r"[a-z][a-z _-]{0,24}|", cell)
                if head in WORDS
                else SCORE.fullmatch(cell)
            )
            if not good or (head not in WORDS and re.fullmatch(r"\d{5,}(?:\.0)?", cell)):
                yield f"row {number}, {leaks.masked(head)}", "is no score"


def _frequency(path: Path) -> Found:
    rows = list(csv.reader(io.StringIO(_text(path))))
    if rows[0][:3] != ["code", "real", "synthetic"] or rows[0][3:] not in (
        [],
        ["reconstructed", "reachable"],
    ):
        yield "header", "is not that of frequencies"
    for number, (code, *cells) in enumerate(rows[1:], 1):
        if not leaks.title(code):
            yield f"row {number}", "is of no known code"
        if len(cells) + 1 != len(rows[0]) or any(
            not SCORE.fullmatch(cell) or _large(cell) for cell in cells
        ):
            yield f"row {number}", "holds more than mean counts"


def _large(cell: str) -> bool:
    return cell not in ("True", "False", "") and float(cell) >= 1000


def _vocabulary(path: Path) -> Found:
    rows = list(csv.reader(io.StringIO(_text(path))))
    if rows[0] != ["code", "title"]:
        yield "header", "is not code, title"
    yield from _titles(
        [row[0] for row in rows[1:]], [row[1] if len(row) == 2 else "" for row in rows[1:]]
    )


def _titles(codes: list[str], titles: list[str]) -> Found:
    """Codes must be known and have the names that they have in the code list."""
    if len(codes) != len(titles) or len(set(codes)) < len(codes):
        yield "vocabulary", "has not one title a code"
    for number, (code, title) in enumerate(zip(codes, titles, strict=False), 1):
        if not leaks.title(code) or title != leaks.title(code):
            yield f"code {number}", "is no known code with its own title"


#: Codes of ICD-9 in all are fewer.
LARGEST_VOCABULARY = 20_000
FORMS = {
    b"scoehr": (["patient_id", "code", "count"], {"kind", "codes", "titles", "patients"}),
    b"scoehr.visits": (["patient_id", "visit", "code"], {"codes", "titles", "patients", "visits"}),
}


def _synthetic(path: Path) -> Found:
    """A table of synthetic patients, numbered from 0, of a run that is published too."""
    config = path.parents[1] / "saved_models" / path.stem / "config.json"
    if not config.is_file():
        yield "", "belongs to no run in saved_models, so nothing says what it was made from"
    else:
        yield from (("run", reason) for _, reason in _config(config))
    file = pq.ParquetFile(path)
    key = next((key for key in FORMS if key in (file.schema_arrow.metadata or {})), None)
    if (
        key is None
        or set(file.metadata.metadata or {}) != {key, b"ARROW:schema"}
        or set(file.schema_arrow.metadata) != {key}
    ):
        yield "metadata", "is not what scoehr writes"
        return
    if not str(file.metadata.created_by).startswith("parquet-cpp-arrow version"):
        yield "metadata", "was written by another program"
    names, keys = FORMS[key]
    schema = file.schema_arrow
    kinds = [str(field.type) for field in schema]
    wanted = {"patient_id": "int64", "visit": "int32", "count": "int32",
              "code": "dictionary<values=string, indices=int32, ordered=0>"}  # fmt: skip
    if (
        schema.names != names
        or kinds != [wanted[name] for name in names]
        or any(field.metadata for field in schema)
    ):
        yield "columns", "are not those of synthetic patients"
        return
    extra = json.loads(schema.metadata[key])
    if set(extra) != keys or not isinstance(extra["patients"], int):
        yield "metadata", "holds more than a vocabulary and the number of patients"
        return
    yield from _titles(extra["codes"], extra["titles"])
    table = file.read()
    ids = table["patient_id"].to_numpy()
    known = np.unique(ids)
    if len(ids) and (
        ids.min() < 0 or ids.max() >= extra["patients"] or 2 * len(known) < extra["patients"]
    ):
        yield "patient_id", "is not numbered from 0 to the number of patients"
    if not set(table["code"].unique().to_pylist()) <= set(extra["codes"]):
        yield "code", "is not in the vocabulary"
    others = [table[name].to_numpy() for name in names if name in ("count", "visit")] + [
        np.array(extra.get("visits", [0]))
    ]
    if any(len(column) and (column.min() < 0 or column.max() >= 1000) for column in others):
        yield "columns", "hold numbers that are no counts"


def _pairs(path: Path) -> Found:
    """How many training patients of an open set have two codes together, by the places of the codes."""
    if not (path.parent / "config.json").is_file():
        yield "", "belongs to no run, so nothing says what it was made from"
    file = pq.ParquetFile(path)
    if set(file.metadata.metadata or {}) - {b"ARROW:schema"} or file.schema_arrow.names != [
        "first",
        "second",
        "patients",
    ]:
        yield "columns", "are not those of pairs of codes"
        return
    table = file.read()
    places = [table[name].to_numpy() for name in ("first", "second")]
    if any(
        len(column) and not 0 <= column.min() <= column.max() < LARGEST_VOCABULARY
        for column in places
    ):
        yield "columns", "hold no places of codes"


#: Words that names of tensors are made of.
_TENSOR = (
    "again ahead another att attn attention back begin best bias block blocks by cells chosen "
    "classifier code conv decay decoder down dst edge embed encoder end feature features first "
    "ganzp gap gmp gpp graph grow head hh hidden histogram ih in inputs into key largest last "
    "layers lin linear many mean middle modulation network norm odds out over past patient place "
    "proj query rate rates repeat s scale scores self sensitivity shares shift shortcut shrink "
    "since size sizes spread src state threshold time times to touched up value visit weight "
    "whole l"
)
TENSOR = frozenset(_TENSOR.split())


def _weights(path: Path) -> Found:
    with path.open("rb") as file:
        (size,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(min(size, MIB)))
    if "__metadata__" in header:
        yield "metadata", "is no part of weights here"
    with safe_open(path, "numpy") as tensors:
        for name in tensors.keys():  # noqa: SIM118 - not a dictionary
            strange = set(re.findall(r"[A-Za-z]+", name)) - TENSOR
            if strange or len(name) > 60 or re.search(r"\d{3,}|[^\w./]", name):
                yield leaks.masked(name), "is no name of weights"
            values = tensors.get_tensor(name)
            if values.dtype.kind != "f" and name != "inputs.chosen":
                yield leaks.masked(name), "holds no weights"
            elif _like_ids(values):
                yield leaks.masked(name), "holds whole numbers as long as ids"


def _like_ids(values: np.ndarray) -> bool:
    flat = values.ravel()
    whole = flat[(np.abs(flat) >= 1000) & (flat == np.floor(flat)) & np.isfinite(flat)]
    return len(whole) > 2 and 2 * len(whole) > len(flat)


# Pictures ----------------------------------------------------------------------------------------


def _answer(path: Path) -> Found:
    yield from (("", reason) for reason in picture(path.read_bytes(), dots=7559, width=1536))


def picture(content: bytes, *, dots: int | None = None, width: int | None = None) -> Iterator[str]:
    """Reasons why bytes are not a PNG as matplotlib writes it for the book: pixels and their density, nothing else."""
    if not content.startswith(b"\x89PNG\r\n\x1a\n"):
        yield "not a PNG file"
        return
    place, kinds = 8, []
    while place + 12 <= len(content):
        length, kind = struct.unpack(">I4s", content[place : place + 8])
        body, end = content[place + 8 : place + 8 + length], place + 12 + length
        if (
            end > len(content)
            or zlib.crc32(kind + body) != struct.unpack(">I", content[end - 4 : end])[0]
        ):
            yield "a damaged picture"
            return
        kinds.append(kind)
        if kind == b"IHDR" and (
            body[8:10] != b"\x08\x06" or (width and struct.unpack(">I", body[:4])[0] != width)
        ):
            yield "a picture that the book did not draw"
        if kind == b"pHYs" and dots and struct.unpack(">II", body[:8]) != (dots, dots):
            yield "a picture that the book did not draw"
        place = end
        if kind == b"IEND":
            break
    inner = [kind for kind in kinds if kind != b"IDAT"]
    if inner != ([b"IHDR", b"pHYs", b"IEND"] if dots else [b"IHDR", b"IEND"]) or place != len(
        content
    ):
        yield "a picture that holds more than pixels"


def _logo(path: Path) -> Found:
    text = _text(path)
    for tag in ET.fromstring(text).iter():
        if (
            str(tag.tag).split("}")[-1] not in ("svg", "rect", "g", "circle")
            or (tag.text or "").strip()
            or (tag.tail or "").strip()
        ):
            yield "", "holds more than shapes"
        for name, value in tag.attrib.items():
            plainly = re.fullmatch(
                rf"{NUMBER}|\.\d+|#[0-9A-Fa-f]{{3,6}}|(?:{NUMBER} ?){{4}}|img|scoehr", value
            )
            if not plainly or (re.fullmatch(r".*\d{4}.*", value) and not value.startswith("#")):
                yield leaks.masked(name), "is no measure of a shape"
    if "<!" in text or "<?" in text:
        yield "", "holds a comment or a declaration"


# What matplotlib writes into a figure of the book: attributes by form, text nowhere but in its own metadata.
SHORT = r"-?(?:\d{1,4}|\d*\.\d+|\d{1,6}\.\d+)(?:e-?\d+)?"
NUMBERS = rf"{SHORT}(?:[ ,]{SHORT})*"
LINK = (
    r"(?:[mpCh][0-9a-f]{10}|image[0-9a-f]{10}|DejaVu[A-Za-z]+(?:-[A-Z][A-Za-z]+)*-[0-9a-f]{1,5}"
    r"|[A-Z]\w{0,3}_0_[0-9a-f]{10})"
)
DRAWN = (
    r"(?:figure|axes|patch|text|line2d|xtick|ytick|legend|table|matplotlib\.axis|offsetbox"
    r"|LineCollection|PathCollection|FillBetweenPolyCollection|PolyCollection|QuadMesh|EllipseCollection)_\d{1,4}"
)
PROPERTY = (
    rf"(?:(?:fill|stroke): (?:#[0-9a-f]{{6}}|none|url\(#{LINK}\))"
    rf"|(?:fill-opacity|stroke-opacity|opacity): (?:0?\.\d+|0|1)"
    rf"|stroke-(?:width|dashoffset|miterlimit): {SHORT}|stroke-dasharray: {NUMBERS}"
    r"|stroke-line(?:cap|join): (?:square|butt|round|miter|bevel)|fill-rule: evenodd|mix-blend-mode: normal)"
)
FIGURE = {
    "id": rf"{LINK}|{DRAWN}",
    "d": rf"(?:[MLQCHVZz](?:\s?{SHORT}(?:\s{SHORT})*)?\s*)*",
    "style": rf"{PROPERTY}(?:; {PROPERTY})*",
    "transform": rf"(?:(?:translate|scale|rotate|matrix)\({NUMBERS}\)\s?)+",
    "x": SHORT, "y": rf"{SHORT}|\d{{5}}", "width": rf"{SHORT}(?:pt)?", "height": rf"{SHORT}(?:pt)?", "viewBox": NUMBERS,
    "clip-path": rf"url\(#{LINK}\)", "href": rf"#{LINK}", "version": r"1\.1", "type": "text/css", "opacity": SHORT,
    "resource": "http://purl\\.org/dc/dcmitype/StillImage", "preserveAspectRatio": "none",
}  # fmt: skip
ELEMENTS = {"svg", "metadata", "RDF", "Work", "type", "format", "creator", "Agent", "title", "defs", "style", "g",
            "path", "use", "clipPath", "rect", "image", "pattern"}  # fmt: skip
OWN_TEXT = re.compile(
    r"image/svg\+xml|Matplotlib v[\d.]+(?:post\d+)?, https://matplotlib\.org/"
    r"|\*\{stroke-linejoin: round; stroke-linecap: butt\}|"
)
DECLARED = re.compile(
    r'\s*<\?xml version="1\.0" encoding="utf-8" standalone="no"\?>\s*<!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1\.1//EN"\s*'
    r'"http://www\.w3\.org/Graphics/SVG/1\.1/DTD/svg11\.dtd">\s*(?=<svg )'
)
SPACES = ("http://www.w3.org/2000/svg", "http://purl.org/dc/elements/1.1/", "http://creativecommons.org/ns#",
          "http://www.w3.org/1999/02/22-rdf-syntax-ns#", "http://www.w3.org/1999/xlink")  # fmt: skip


def figure(content: str) -> Iterator[str]:
    """Reasons why an SVG is not a figure as the book draws it, or shows what may not be published."""
    declared = DECLARED.match(content)
    if not declared:
        yield "a picture that the book did not draw"
        return
    body = content[declared.end() :]
    comments = re.findall(r"<!--(.*?)-->", body, re.DOTALL)
    if len(re.findall(r"<!|<\?|&(?!(?:amp|lt|gt|quot|apos);)", body)) != len(comments):
        yield "a figure with a declaration or an instruction"
        return
    for comment in [*comments, "\n\n".join(comments)]:
        yield from _reasons(comment)
    try:
        root = ET.fromstring(content)
    except ET.ParseError:
        yield "a figure that cannot be read"
        return
    whole = set()
    for element in root.iter():
        yield from _drawn(element)
        whole |= {
            value
            for name, value in element.attrib.items()
            if name == "y" and re.fullmatch(r"\d{5}", value)
        }
    if len(whole) > 2:
        yield "a figure with whole numbers as long as ids"
    yield from (reason for text in _lettering(root) for reason in _reasons(text))


def _drawn(element: ET.Element) -> Iterator[str]:
    space, _, tag = str(element.tag).rpartition("}")
    if tag not in ELEMENTS or space[1:] not in SPACES:
        yield f"<{leaks.masked(tag)}> in a figure"
    if not OWN_TEXT.fullmatch((element.text or "").strip()) or (element.tail or "").strip():
        yield "a text in a figure that matplotlib did not write"
    for raw, value in element.attrib.items():
        name = raw.split("}")[-1]
        if tag == "image" and name == "href":
            yield from _pixels(value, element.attrib.get("id", ""))
        elif name not in FIGURE or not re.fullmatch(FIGURE[name], value):
            yield f"an attribute {leaks.masked(name)} of <{leaks.masked(tag)}> that matplotlib does not write"


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
    """The words that a figure draws, letter by letter; matplotlib names a letter by its place in the font."""
    letter_of = _letters()
    for group in root.iter("{http://www.w3.org/2000/svg}g"):
        links = [
            use.get("{http://www.w3.org/1999/xlink}href", "")
            for use in group
            if use.tag.endswith("}use")
        ]
        letters = [re.fullmatch(r"#DejaVu[\w-]*-([0-9a-f]{1,5})", link) for link in links]
        if text := "".join(
            letter_of.get(int(letter.group(1), 16), " ") for letter in letters if letter
        ):
            yield text


@cache
def _letters() -> dict[int, str]:
    """The letter at each place of the font of the book's figures."""
    font = FT2Font(findfont("DejaVu Sans"))
    return {int(place): chr(letter) for letter, place in font.get_charmap().items()}


# Notebooks ---------------------------------------------------------------------------------------

NOTEBOOK = {"cells", "metadata", "nbformat", "nbformat_minor"}
CELL = {"code": {"cell_type", "execution_count", "id", "metadata", "outputs", "source"},
        "markdown": {"cell_type", "id", "metadata", "source"}}  # fmt: skip
CELL_TAGS = {"hide-input", "hide-output", "hide-cell", "remove-cell", "remove-input", "remove-output", "parameters",
             "injected-parameters", "full-width", "scroll-output"}  # fmt: skip
OUTPUT = {"display_data": {"output_type", "data", "metadata"},
          "execute_result": {"output_type", "data", "metadata", "execution_count"},
          "stream": {"output_type", "name", "text"}}  # fmt: skip
LANGUAGE: dict[str, dict[str, Any]] = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {
        "codemirror_mode": {"name": "ipython", "version": 3}, "file_extension": ".py", "mimetype": "text/x-python",
        "name": "python", "nbconvert_exporter": "python", "pygments_lexer": "ipython3",
    },
}  # fmt: skip
#: The key of a notebook's metadata that says what it was executed on.
STAMP = "scoehr"


def stamp(notebook: NotebookNode, facts: dict[str, Any]) -> NotebookNode:
    """Write into a notebook its data (dataset, fingerprint, credentialed) and a hash of its cells."""
    kept = {key: facts[key] for key in ("dataset", "fingerprint", "credentialed")}
    notebook.metadata[STAMP] = {**kept, "cells": digest(notebook)}
    return notebook


def digest(notebook: NotebookNode) -> str:
    """SHA-256 of the cells, so that a notebook changed by hand is told from one that was executed."""
    cells = json.loads(nbformat.writes(notebook, version=4))["cells"]
    return hashlib.sha256(json.dumps(cells, sort_keys=True).encode()).hexdigest()


def _notebook(path: Path) -> Found:
    raw = _json(path)
    if set(raw) != NOTEBOOK:
        yield "", "holds more than cells and metadata"
    notebook = nbformat.from_dict(raw)
    yield from (("metadata", reason) for reason in provenance(nbformat.read(path, as_version=4)))
    yield from findings(notebook)


def provenance(notebook: NotebookNode) -> Iterator[str]:
    """Reasons why what a notebook was executed on is not known to be open."""
    facts = notebook.metadata.get(STAMP)
    if not facts:
        yield "no fingerprint of its data; execute it again with scoehr notebook"
        return
    if facts.get("credentialed") is not False:
        yield "executed on credentialed data"
    if not is_open(facts.get("dataset"), facts.get("fingerprint")):
        yield "the fingerprint is of no data that are known to be open (scoehr/data/open.json lists those)"
    if facts.get("cells") != digest(notebook):
        yield "changed since it was executed; execute it again with scoehr notebook"


def findings(notebook: NotebookNode) -> list[tuple[str, str]]:
    """What a notebook shows that must not be published, as places and reasons; empty when it may be.

    Sources, outputs of every kind, attributes, comments and metadata are looked at whole. A cell that failed or was not
    executed is a finding too.
    """
    found = list(_metadata(notebook.metadata))
    for number, cell in enumerate(notebook.cells):
        found += [(f"cell {number}", reason) for reason in _cell(cell)]
    return list(dict.fromkeys(found))


def _metadata(metadata: NotebookNode) -> Found:
    for key, value in metadata.items():
        if key in LANGUAGE and all(
            LANGUAGE[key].get(inner) == each for inner, each in value.items()
        ):
            continue
        known = key == STAMP and set(value) == {"dataset", "fingerprint", "credentialed", "cells"}
        if (
            known
            and value["dataset"] in OPEN
            and re.fullmatch(r"[0-9a-f]{16}", str(value["fingerprint"]))
        ):
            continue
        yield "metadata", f"{leaks.masked(key)} is no part of a published notebook"


def _cell(cell: NotebookNode) -> Iterator[str]:
    kind = cell.get("cell_type")
    if kind not in CELL or not set(cell) <= CELL[kind]:
        yield (
            f"a {leaks.masked(str(kind))} cell, or one with attachments"
            if kind not in CELL
            else "attachments"
        )
    if not re.fullmatch(r"[a-z0-9-]{1,32}", cell.get("id", "cell")) or re.search(
        r"\d{4}", cell.get("id", "cell")
    ):
        yield "a name of a cell that the book does not give"
    yield from _cell_metadata(cell.get("metadata", {}))
    source = _joined(cell.source)
    for reason in leaks.written(source, _public()):
        yield f"source: {reason}"
    if (HIDES if kind == "code" else ACTIVE).search(source) or "<!--" in source:
        yield "source: markup that may hold more than it shows"
    if kind == "code" and source.strip() and cell.get("execution_count") is None:
        yield "not executed"
    for output in cell.get("outputs", []):
        yield from _output(output)


def _cell_metadata(metadata: NotebookNode) -> Iterator[str]:
    for key, value in metadata.items():
        if key == "mystnb" and list(value) == ["image"] and list(value["image"]) == ["alt"]:
            yield from (
                f"alternative text: {reason}"
                for reason in leaks.shown(value["image"]["alt"], _public())
            )
        elif key != "tags" or not set(value) <= CELL_TAGS:
            yield f"metadata: {leaks.masked(key)} is no part of a published notebook"


def _output(output: NotebookNode) -> Iterator[str]:
    kind = output.get("output_type")
    if kind == "error":
        yield f"{output.ename}: {leaks.masked(_joined(output.evalue))}"
        return
    if kind not in OUTPUT or not set(output) <= OUTPUT[kind] or output.get("metadata"):
        yield "an output that holds more than it shows"
    if kind == "stream":
        yield from leaks.shown(_joined(output.text), _public())
    for mime, content in output.get("data", {}).items():
        if mime not in MIMES:
            yield f"an output of the kind {leaks.masked(mime)}, which the book does not make"
            continue
        yield from MIMES[mime](_joined(content))


def _joined(text: Any) -> str:
    return "".join(text) if isinstance(text, list) else str(text)


def _markdown(content: str) -> Iterator[str]:
    yield from leaks.shown(content, _public())
    if ACTIVE.search(content) or "<!--" in content or "](data:" in content:
        yield "markup that may hold more than it shows"


MIMES: dict[str, Callable[[str], Iterator[str]]] = {
    "text/plain": lambda content: leaks.shown(content, _public()),
    "text/html": lambda content: leaks.markup(content, _public()),
    "text/markdown": _markdown,
    "image/svg+xml": figure,
}


# What may be published -----------------------------------------------------------------------------


class Kind(NamedTuple):
    """A file that may lie in a published folder: its name (a pattern), its largest size, and how it is looked at."""

    name: str
    largest: int
    check: Callable[[Path], Found]


_RUN = rf"saved_models/(?:visits-|dualk-|mortality_attack-)?(?:{'|'.join(OPEN)})-[a-z0-9_-]{{3,80}}"
KINDS = (
    Kind(r"book/(?:_config|_toc|[a-z]{3,20}(?:-[a-z]+)*)\.yml|book/[a-z]{3,20}(?:-[a-z]+)*\.md", 256 * KIB, _prose),
    Kind(r"(?:saved_models|synthetic_data)/README\.md", 32 * KIB, _prose),
    Kind(r"book/references\.bib", 256 * KIB, _references),
    Kind(r"book/_static/answer\.png", 2 * MIB, _answer),
    Kind(r"book/_static/logo\.svg", 8 * KIB, _logo),
    Kind(r"book/_static/style\.css", 32 * KIB, _style),
    Kind(r"book/notebooks/\d\d-[a-z]+(?:-[a-z]+)*\.ipynb", 8 * MIB, _notebook),
    Kind(rf"{_RUN}/config\.json", 64 * KIB, _config),
    Kind(rf"{_RUN}/(?:metrics|costs|model-\d{{1,2}}/model)\.json", MIB, _figures),
    Kind(rf"{_RUN}/(?:history|draws)\.csv", 512 * KIB, _scores),
    Kind(rf"{_RUN}/frequency\.csv", 256 * KIB, _frequency),
    Kind(rf"{_RUN}/vocabulary\.csv", 512 * KIB, _vocabulary),
    Kind(rf"{_RUN}/pairs\.parquet", 4 * MIB, _pairs),
    Kind(rf"{_RUN}/environment\.txt", 4 * KIB, _versions),
    Kind(rf"{_RUN}/(?:MODEL|DATA)_CARD\.md", 32 * KIB, _shown),
    Kind(rf"{_RUN}/(?:autoencoder|score|rate|admissions|weights|maps)\.safetensors", 64 * MIB, _weights),
    Kind(rf"{_RUN}/model-\d{{1,2}}/model\.safetensors", 64 * MIB, _weights),
    Kind(rf"synthetic_data/(?:visits-)?(?:{'|'.join(OPEN)})-[a-z0-9-]{{3,80}}\.parquet", 32 * MIB, _synthetic),
)  # fmt: skip
