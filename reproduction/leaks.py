"""What a text or a table shows of single people: ids, dates, machines, few patients, hidden bytes.

There are two kinds of text. What a notebook *shows* (outputs, figures, files of numbers) is
judged strictly: a bare number of five digits counts as an id, since tables of the book separate
thousands. What a person *wrote* (code, prose) may name a column such as ``patient_id`` and speak of
one patient; ids, dates and paths it may not hold either. Reasons never repeat what they complain
of: digits are masked, so that a log of the check leaks nothing.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import html
import re
import unicodedata
import urllib.parse
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cache, lru_cache
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import yaml
from bs4 import BeautifulSoup, Comment
from bs4.element import NavigableString, PageElement, PreformattedString, Tag

from scoehr.data import icd
from scoehr.files import CHECKOUT

Row = Sequence[str]
#: The smallest number of people that may be published.
SMALLEST = 11
#: The name of a diagnosis code, "" if unknown.
title = cache(icd.title)


@cache
def public() -> frozenset[str]:
    """Numbers of five digits or more that the studies reported; they are no ids."""
    texts = [file.read_text(encoding="utf-8") for file in CHECKOUT.glob("*/*/reported.json")]
    return frozenset(re.findall(r"\d{5,}", "\n".join(texts)))


class Rule(NamedTuple):
    """A reason, and what gives it."""

    reason: str
    pattern: re.Pattern[str]


def _filled(value: str | list[str], parts: dict[str, str]) -> str:
    """A pattern of ``leaks.yml``, its alternatives joined and its parts put in."""
    whole = value if isinstance(value, str) else f"(?:{'|'.join(value)})"
    return re.sub(r"<([A-Z_]+)>", lambda name: parts[name[1]], whole)


def _read() -> tuple[dict[str, list[Rule]], dict[str, re.Pattern[str]]]:
    """The rules by the texts that they are for, and the patterns of heads, keys and numbers."""
    text = yaml.safe_load(Path(__file__).with_suffix(".yml").read_text(encoding="utf-8"))
    parts: dict[str, str] = {}
    for name, value in text["parts"].items():
        parts[name] = _filled(value, parts)
    rules: dict[str, list[Rule]] = {}
    for where, entries in text["rules"].items():
        found = [(each["reason"], _filled(each["any"], parts)) for each in entries]
        rules[where] = [Rule(reason, re.compile(any_of, re.I | re.M)) for reason, any_of in found]
    patterns = {name: _filled(value, parts) for name, value in text["patterns"].items()}
    return rules, {name: re.compile(pattern, re.I) for name, pattern in patterns.items()}


RULES, PATTERNS = _read()
ANYWHERE, SHOWN, WRITTEN = (RULES[where] for where in ("anywhere", "shown", "written"))
OF_ONE, FACTS, FACT_KEYS = (PATTERNS[name] for name in ("OF_ONE", "FACTS", "FACT_KEYS"))
NUMBERED, LETTERED = (PATTERNS[name] for name in ("NUMBERED", "LETTERED"))
COUNTED, OF_PEOPLE, SMALL = (PATTERNS[name] for name in ("COUNTED", "OF_PEOPLE", "SMALL"))
REFERENCE, SINGULAR = (PATTERNS[name] for name in ("REFERENCE", "SINGULAR"))
#: A head that ends so is of an id, whoever made it up.
AN_ID = re.compile(r"(?i:[ _-]ids?)$|[a-z]I[Dd]s?$")
#: A number with all its digits together, and several in a row.
BARE = re.compile(r"(?<![\w.,+-])(\d{5,19})(?:\.0+)?(?![\w%]|,\d|\.\d)")
LISTED = re.compile(
    r"(?<![\w.,-])\d{3,19}(?:(?:\.0)?[\"']?\s*[,;|/\s]\s*[\"']?\d{3,19}){2,}(?![\w%]|[.,]\d)"
)
SEPARATED = re.compile(
    r"(?<![\w.,])\d{1,3}(?:,\d{3})+(?:(?:[;/]\s*|,\s+)\d{1,3}(?:,\d{3})+){2,}(?![\w.%])"
)

#: A date if two of its numbers can be a month and a day.
IN_THREE = re.compile(
    r"(?<![\w.,/-])(\d{1,4})\s?([-/._])\s?(\d{1,2})\s?\2\s?(\d{4}|\d{2})(?![\d/%-]|\.\d)"
)
#: Categories of letters that are not seen.
INVISIBLE = ("Cf", "Co", "Cc")
DASHES = re.compile("[\u2010-\u2015\u2212]")
ENCODED = re.compile(r"(?<![\w+/=-])[A-Za-z0-9+/_-]{12,}={0,2}(?![\w+/-])")
#: As long as this, a word of letters and digits without a blank is no word.
LONG = 40
DIGEST = re.compile(r"(?:[0-9a-f]{16}|[0-9a-f]{40}|[0-9a-f]{64})")
#: How packed, pictured and pickled files begin.
MAGIC = (b"\x1f\x8b", b"PK\x03\x04", b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"%PDF", b"BZh",
         b"\xfd7zXZ", b"\x80\x04", b"PAR1")  # fmt: skip

#: The number of a record in a review packet, which tells nothing of a source.
PACKET = re.compile(r"\b[bcdfghjkmnpqrstvwxz]{4}-\d{3}\b")
#: Stars and backticks of Markdown (those of a note that was made anonymous aside); and the last
#: line of a column as pandas prints it.
EMPHASIS = re.compile(r"(?<![\[*])\*{1,3}|`")
SERIES = re.compile(r"\bName: ([\w ]+), (?:Length: \d+, )?dtype: U?[Ii]nt")


# Texts ------------------------------------------------------------------------------------------


@cache
def plain(text: str) -> str:
    """The text as a reader sees it: entities and percent signs resolved, nothing invisible."""
    text = unicodedata.normalize("NFKC", html.unescape(text))
    if re.search(r"%[0-9A-Fa-f]{2}%[0-9A-Fa-f]{2}|%(?:2F|2D|3A|20)", text):
        text = f"{text}\n{urllib.parse.unquote(text)}"
    text = EMPHASIS.sub("", PACKET.sub("record", DASHES.sub("-", text)))
    unseen = {one for one in set(text) - set("\n\t\r") if unicodedata.category(one) in INVISIBLE}
    return "".join(letter for letter in text if letter not in unseen)


def masked(found: str) -> str:
    """What was found, its digits and all but the first letters hidden, for a message."""
    return re.sub(r"\d", "#", " ".join(found.split()))[:60]


@lru_cache(maxsize=100_000)
def shown(text: str, *, bare: bool = True) -> tuple[str, ...]:
    """Reasons why a text that is shown may not be published.

    ``bare``: a bare number of five digits is a reason; false for a cell, which is judged with its
    column.
    """
    text = plain(text)
    reasons = [*_reasons(text, SHOWN, strict=True, bare=bare)]
    named = SERIES.search(text)
    if named and COUNTED.fullmatch(named[1]) and re.search(r"\s(?:[1-9]|10)\n", text):
        reasons.append(FEW_IN_TABLE)
    return tuple(reasons)


def written(text: str) -> Iterator[str]:
    """Reasons why code or prose that a person wrote may not be published."""
    yield from _reasons(plain(text), WRITTEN, strict=False, bare=True)


def _reasons(text: str, rules: list[Rule], *, strict: bool, bare: bool) -> Iterator[str]:
    """Reasons against a text as a reader sees it; ``strict`` where it is shown."""
    yield from _broken(text, ANYWHERE + rules)
    yield from _ids(text, strict=strict, bare=bare)
    yield from _encoded(text)
    if len(set(FACT_KEYS.findall(text))) > 1:
        yield A_RECORD
    for table in tables(text):
        yield from judge(table, headed=strict, loose=True)


def _broken(text: str, rules: list[Rule]) -> Iterator[str]:
    """The reasons of the rules that a text breaks."""
    for reason, pattern in rules:
        if match := pattern.search(text):
            yield f"{reason} ({masked(match.group())})"
    if found := next(filter(_in_three, IN_THREE.finditer(text)), None):
        yield f"a date ({masked(found.group())})"


def _in_three(match: re.Match[str]) -> bool:
    """Whether one of three numbers can be a month, and another beside it a day."""
    first, second, third = (int(match[place]) for place in (1, 3, 4))
    a_month = 1 <= second <= 12 and (1 <= first <= 31 or 1 <= third <= 31)
    return a_month or (1 <= first <= 12 and 1 <= second <= 31)


def _ids(text: str, *, strict: bool, bare: bool) -> Iterator[str]:
    for pattern in (NUMBERED, LETTERED):
        if match := next((each for each in pattern.finditer(text) if _an_id(each[1])), None):
            yield f"an id ({masked(match.group())})"
    in_tables = _cells(text) if bare else set()
    for match in BARE.finditer(text) if bare else ():
        judged_with_column = match.group() in in_tables and len(in_tables) > 3
        name = title(match[1])
        if not judged_with_column and _an_id(match[1]) and not (name and name in text):
            yield f"a bare number as long as an id ({masked(match.group())})"
            break
    for pattern in (LISTED, SEPARATED) if strict else (LISTED,):
        if any(_listed(match.group()) for match in pattern.finditer(text)):
            yield "a list of ids"


def _an_id(number: str) -> bool:
    """Whether a long number is none that the studies reported, and not round."""
    return number not in public() and not _round(number)


def _round(number: str) -> bool:
    return int(number) % 1000 == 0 and len(number) < 8


def _cells(text: str) -> set[str]:
    """What stands in the cells of the tables of a text, or in a line of scores."""
    cells = {cell.strip() for table in tables(text) for row in table for cell in row}
    scores = [line for line in text.splitlines() if len(re.findall(r"\d\.\d", line)) > 1]
    return cells | {piece.strip() for line in scores for piece in re.split(r"\s{2,}", line)}


def _listed(text: str) -> bool:
    """Whether three different numbers are neither codes nor reported, round, years or ticks."""
    text = text.replace(",", "") if SEPARATED.fullmatch(text) else text
    strange = [number for number in set(re.findall(r"\d{4,}", text)) if _strange(number)]
    numbers = sorted(map(int, strange))
    ticks = len({after - before for before, after in pairwise(numbers)}) == 1
    return len(numbers) > 2 and not (ticks and numbers[-1] < 10_000)


def _strange(number: str) -> bool:
    """Whether a number is no code, nor reported, nor round, nor a year of our time."""
    return not title(number) and _an_id(number) and not 1900 <= int(number) <= 2030


def _encoded(text: str) -> Iterator[str]:
    """Words that are no words: long ones, and shorter ones that hold what may not be shown."""
    for word in ENCODED.findall(text):
        if DIGEST.fullmatch(word) or (word.isalpha() and word.islower()):
            continue
        if len(word) >= LONG and _mixed(word):
            yield "hidden bytes (a long word)"
            return
        if any(_tells(inner) for inner in _decoded(word)):
            yield "hidden bytes (an encoded text)"
            return


def _mixed(word: str) -> bool:
    """Whether a word has digits or capitals inside its parts, as names of words have not."""
    parts = [part for part in re.split(r"[-_/]", word) if part]
    odd = [part for part in parts if len(part) > 14 and not part.isalpha() and not part.isdigit()]
    return bool(odd) or any(len(part) > 24 for part in parts)


def _decoded(word: str) -> Iterator[bytes]:
    """The bytes that a word may stand for."""
    bare = word.rstrip("=")
    padded = (bare + "=" * (-len(bare) % 4)).replace("-", "+").replace("_", "/")
    for read, text in ((base64.b64decode, padded), (bytes.fromhex, word)):
        with contextlib.suppress(binascii.Error, ValueError):
            yield read(text)


def _tells(inner: bytes) -> bool:
    """Whether bytes begin as a file does, or are a text that may not be shown."""
    if inner.startswith(MAGIC):
        return True
    return inner.isascii() and inner.decode().isprintable() and bool(shown(inner.decode()))


# Tables -----------------------------------------------------------------------------------------

#: What may stand between the cells of a row.
CUTS = (r"\s*\|\s*", r"\t", r"\s*;\s*", r"\s*,\s*", r"\s{2,}", r"\s+")


def tables(text: str) -> Iterator[list[list[str]]]:
    """Tables in a text: with pipes, tabs, commas or semicolons between the cells, or blanks."""
    for block in re.split(r"\n\s*\n", text):
        lines = [line for line in block.splitlines() if re.search(r"[^\s|:+=-]", line)]
        found = (_cut(lines, cut) for cut in (CUTS if len(lines) > 1 else ()))
        if table := next(filter(None, found), None):
            yield table


def _cut(lines: list[str], cut: str) -> list[list[str]]:
    """The rows of about the usual width; none if those are few.

    An empty head comes before a head that lacks the one of the index, as pandas prints it.
    """
    rows = [re.split(cut, line.strip().strip("|").strip()) for line in lines]
    usual = Counter(len(row) for row in rows if len(row) > 1).most_common(1)
    wide = [row for row in rows if usual and abs(len(row) - usual[0][0]) <= 1]
    if len(wide) < 2 or 2 * len(wide) < len(rows):
        return []
    widest = max(map(len, wide))
    return [[""] * (widest - len(row)) + row for row in wide]


CODES = {"code", "icd", "icd9", "icd9code", "icdcode", "icd10"}
A_RECORD = "a record of a patient"
FEW_IN_TABLE = "a table with counts of 1 to 10 patients"


def judge(
    rows: Sequence[Row], caption: str = "", *, headed: bool = True, loose: bool = False
) -> Iterator[str]:
    """Reasons why a table, heads first, may not be published: people, ids, dates, or few of them.

    With ``headed`` false a head alone is no reason: code and prose name columns. ``loose``: the
    table was found in a text, so that its first row may be none of heads.
    """
    digits = any(re.search(r"\d", cell) for row in rows[1:] for cell in row)
    if len(rows) < 2 or not (headed or digits):
        return
    heads = [cell.strip() for cell in rows[0]]
    names = [name_of(head) for head in heads]
    labels = [name_of(row[0]) for row in rows[1:] if row]
    found = next((name for name in [*names, *labels[:1]] if OF_ONE.fullmatch(name)), None)
    if found := found or next((head for head in heads if AN_ID.search(head)), None):
        yield f"a row-level column ({masked(found)})"
    for each, few in ((names, 1), (labels, 2)):
        if len({name for name in each if FACTS.fullmatch(name)}) > few:
            yield "a row-level table: facts of single people"
    if any(BARE.fullmatch(head) and _an_id(head) for head in heads[1:]):
        yield "columns headed by ids"
    yield from _id_columns(rows, heads)
    words = {name_of(word) for head in heads for word in head.split()}
    records = {"patient", "visit"} & words and CODES & words
    if not records and _small_cells(rows, caption, loose):
        yield FEW_IN_TABLE


def name_of(head: str) -> str:
    """A head in small letters and digits alone; # stands for a number."""
    return re.sub(r"[\W_]+", "", re.sub(r"(?<=\w) ?#$", "no", head)).lower()


def _id_columns(rows: Sequence[Row], heads: Row) -> Iterator[str]:
    for place in range(max(map(len, rows))):
        column = [row[place].strip() for row in rows[1:] if place < len(row)]
        column = [cell for cell in column if cell not in ("", "–") and cell not in public()]
        head = heads[place] if place < len(heads) else ""
        of_one = SINGULAR.fullmatch(head) and _numbers_of_a_source(column)
        if _are_ids(column) or _mostly_bare(column) or of_one:
            yield f"a column of ids ({masked(head) or 'without a head'})"
            return
    across = [[cell.strip() for cell in row[1:] if cell not in public()] for row in rows]
    if any(_are_ids(row, most=3) for row in across):
        yield "a row of ids"


def _are_ids(cells: list[str], most: int = 2) -> bool:
    """Whether all cells are different whole numbers of four digits or more, and no codes."""
    if len(cells) < most or len(set(cells)) < len(cells):
        return False
    found = [re.fullmatch(r"[A-Za-z]{0,4}[-_#]?(\d{4,19})(?:\.0)?", cell) for cell in cells]
    numbers = [match[1] for match in found if match]
    if len(numbers) < len(cells) or all(1900 <= int(number) <= 2030 for number in numbers):
        return False
    known = [title(cell) or _round(number) for cell, number in zip(cells, numbers, strict=True)]
    return 2 * sum(map(bool, known)) < len(cells)


def _mostly_bare(cells: list[str]) -> bool:
    """Whether most cells are different numbers as long as an id, their digits together."""
    bare = [match[1] for cell in cells if (match := BARE.fullmatch(cell))]
    strange = [number for number in bare if not _round(number) and not title(number)]
    return len(set(strange)) == len(strange) > len(cells) / 2


def _numbers_of_a_source(cells: list[str]) -> bool:
    """Whether the cells below "patient" are other than 0 or 1 and onward."""
    if not cells or not all(re.fullmatch(r"\d{1,19}(?:\.0)?", cell) for cell in cells):
        return False
    return max(int(float(cell)) for cell in cells) > max(60, 2 * len(cells))


def _small_cells(rows: Sequence[Row], caption: str, loose: bool) -> bool:
    """Whether a number from 1 to 10 stands below, or beside, a head that counts people."""
    if loose and len(rows[0]) == 2 and SMALL.fullmatch(rows[0][1].strip()):
        rows = [["", ""], *rows]
    elif loose and all(re.match(r"[–\d.-]", head.strip()) for head in rows[0][1:]):
        return False  # the heads are not among the rows
    of_people = bool(OF_PEOPLE.search(caption))
    for label, *cells in rows[1:]:
        for head, cell in zip(rows[0][1:], cells, strict=False):
            if SMALL.fullmatch(cell.strip()) and _counts([head, label], cell, of_people):
                return True
    return False


def _counts(titles: list[str], cell: str, of_people: bool) -> bool:
    """Whether a cell below and beside such titles is a number of people."""
    titles = [each.strip().replace("_", " ").lower() for each in titles]
    for each in titles:
        a_share = "%" in each and not re.match(r"\d+ *\(", cell)
        if a_share or re.search(r" (?:a|per|each) ", each) or REFERENCE.fullmatch(each):
            return False
    bare = [re.sub(r"\s*\(.*\)$|,.*$", "", each) for each in titles]
    return of_people or any(COUNTED.fullmatch(each) for each in bare)


# Markup -----------------------------------------------------------------------------------------

#: What tables, captions and boxes of the book are made of.
ELEMENT = re.compile(
    r"div|table|caption|thead|tbody|tr|th|td|p|code|strong|em|label|input|style|article|h2|h3"
    r"|fieldset|legend|ul|ol|li|sub|sup|a|br|details|summary|abbr"
)
ATTRIBUTE = re.compile(r"class|border|style|scoped?|id|type|name|value|href|colspan|rowspan")
#: What shows where a number of runs is pointed at: their ids, then value and interval.
TRACE = re.compile(r"(runs? [\w-]+(, [\w-]+)*|python -m benchmarks\.\w+); ")


def markup(content: str) -> Iterator[str]:
    """Reasons why HTML may not be published: texts, attributes, tables, strange elements."""
    soup = BeautifulSoup(content, "html.parser")
    for found in soup.find_all(True):
        yield from _element(found)
    for text in soup.find_all(string=lambda each: isinstance(each, PreformattedString)):
        yield "a comment" if isinstance(text, Comment) else "a declaration or an instruction"
    for table in soup.find_all("table"):
        yield from _table(table)
        table.replace_with(NavigableString("\n\n"))
    yield from shown(soup.get_text())


def _table(table: Tag) -> Iterator[str]:
    caption = table.caption.get_text(" ") if table.caption else ""
    rows = [
        [plain(cell.get_text()).strip() for cell in row.find_all(["th", "td"])]
        for row in table.find_all("tr")
    ]
    yield from judge([row for row in rows if row], caption)
    yield from shown(caption)
    for words in {cell for row in rows for cell in row}:
        yield from shown(words, bare=not re.fullmatch(r"[\d.,]+", words))


def _element(found: PageElement) -> Iterator[str]:
    if not isinstance(found, Tag):
        return
    if not ELEMENT.fullmatch(found.name):
        yield f"<{masked(found.name)}>, which no page of the book has"
    for name, value in found.attrs.items():
        words = " ".join(value) if isinstance(value, list) else str(value)
        traced = (found.name, name) == ("abbr", "title") and TRACE.match(words)
        if not (traced or ATTRIBUTE.fullmatch(name)):
            yield f"an attribute {masked(name)}, which no page of the book has"
        if name == "style" and words not in ("text-align: right;", ""):
            yield "a style of its own"
        yield from shown(words)
    if found.name == "style":
        yield from shown(found.get_text())
