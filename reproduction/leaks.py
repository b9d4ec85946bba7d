"""What a text or a table shows of single people: ids, dates, paths of a machine, counts of a handful, hidden bytes.

Two kinds of text are told apart. What a notebook *shows* (outputs, figures, files of numbers) is judged strictly: a
bare number of five digits is taken for an id, since tables of the book separate thousands. What a person *wrote* (code,
prose) may name a column such as ``patient_id`` and speak of one patient; ids, dates and paths it may not hold either.
Reasons never repeat what they complain of: digits are masked, so that a log of the check leaks nothing.
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
from functools import cache
from itertools import pairwise

from bs4 import BeautifulSoup, Comment
from bs4.element import NavigableString, PageElement, PreformattedString, Tag
from dateutil import parser as dates

from scoehr.data import icd

Row = Sequence[str]
#: Smallest number of people that may be told.
SMALLEST = 11
#: The name of a diagnosis code, "" if unknown.
title = cache(icd.title)

# Words ------------------------------------------------------------------------------------------

PEOPLE = (
    r"(?:patients?|people|persons?|individuals?|participants?|subjects?|inpatients?|men|women|males?|females?"
    r"|adults?|newborns?|babies|infants?|child|children|girls?|boys?|deaths?|died|dead|survivors?"
    r"|stays?|admissions?|admitted|pts|cases?|encounters?|hospitali[sz]ations?|discharges?)"
)
#: Words between a number and the people that it counts.
ADJECTIVE = (
    r"(?:real|held-out|test|training|validation|elderly|old|young|male|female|rare|such|more|other|of|the|our"
    r"|these|those|unique|distinct|different|hospital|adult|black|white|pregnant|diabetic|icu|in-hospital)"
)
NUMBERS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
FEW = rf"(?:0?[1-9]|10|{'|'.join(NUMBERS[1:])}|(?:only|just|exactly) (?:one|a(?: single)?)|a single|a (?:couple|pair) of)"
#: A number that stands alone: no part of another, no share.
BEFORE, ALONE = r"(?<![\w.,/–-])", r"(?![\w.,%]|\s*%)"
#: What follows where no people are counted: names of scores, and the first of DuaLK's phases.
MEANT = r"(?! (?:copied|resampled|and diagnoses))"
FEW_PEOPLE = (
    re.compile(
        rf"(?<![\w.,/–-])(?<!than )(?<!least ){FEW} (?:{ADJECTIVE} ){{0,3}}{PEOPLE}\b{MEANT}", re.I
    ),
    re.compile(
        rf"(?:\b|_)(?:{PEOPLE}|n)\s*(?:[:=]|\bis\b|\bare\b|\bwere\b)\s*{FEW}(?![\w.,%]|\s*%)", re.I
    ),
    re.compile(
        rf"{BEFORE}{FEW} of (?:them|these|those|whom) (?:had|have|has|died|are|were)\b", re.I
    ),
    re.compile(rf"(?m)^[^\w\n]*(?:[\w#.]+[ _#]){{0,3}}{PEOPLE}[ \t:=]+(?:{FEW}|one)[ \t]*$", re.I),
    re.compile(rf"\bonly (?:{FEW}|one)\b[^.]{{0,20}}\b(?:had|have|has|died)\b", re.I),
    re.compile(rf"\b{PEOPLE}\s*\((?:n\s*=\s*)?{FEW}\)", re.I),
    re.compile(
        rf"\b{PEOPLE} (?:with|without|who|in|of|at|having)\b[^.:=|\n]{{1,60}}[:=]\s*{FEW}{ALONE}",
        re.I,
    ),
    re.compile(
        rf"{BEFORE}(?:{FEW}|one)\s?(?:/|of|out of)\s?(?:the )?\d[\d,]* (?:{ADJECTIVE} ){{0,3}}{PEOPLE}\b",
        re.I,
    ),
)
#: Written by a person, "two patients" is a way to speak; a figure is a count.
FEW_IN_FIGURES = re.compile(
    rf"(?<![\w.,/–-])(?:[1-9]|10)\s(?:{ADJECTIVE}\s){{0,3}}{PEOPLE}\b", re.I
)
#: The same behind a colon, where people wrote it: "deaths: 4", not "patients: 4.5" nor "patients: int".
FEW_BEHIND = re.compile(rf"\b{PEOPLE}:[ \t]*(?:[1-9]|10){ALONE}", re.I)

#: Heads of columns that belong to one person, one stay or one row of a source, letters and digits only.
OF_ONE = re.compile(
    r"(?:subject|hadm|icustay|stay|row|patient|pat|pt|person|participant|encounter|enc|visit|visitoccurrence|admission"
    r"|case|episode|member|beneficiary|study|record|patientunitstay|patienthealthsystemstay|account|chart)"
    r"(?:id|ids|nbr|numbers|no|key|identifier|identifiers|num|uid|guid|mrn|(?<!visit)number)"
    r"|id|ids|uid|uuid|guid|pid|identifier|mrn|mrns|medicalrecord(?:number|no)?|hospital(?:number|no|id)|uniquepid|ssn"
    r"|socialsecurity(?:number)?|nhs(?:number|no)?|insurance(?:number|no|id)|accession(?:number|no)?"
    r"|(?:first|last|middle|full|sur|given|family|patient|maiden)names?"
    r"|dob|dod|dodhosp|dodssn|(?:date|day|time|year)of(?:birth|death|admission|discharge)"
    r"|(?:birth|death|admit|admission|disch|discharge|chart|store|start|end|in|out|edreg|edout|order|event|visit|lab|note"
    r"|procedure|transfer|encounter|service)(?:date|day|time|datetime|timestamp|dt|dttm|year)s?"
    r"|date|dates|datetime|timestamp|born|anchoryear|zip|zipcode|postcode|postalcode|address|street|phone"
    r"|idsof\w+|idof\w+|ssn\d*|phonenumber|telephone|email|initials|nextofkin"
)
#: A head that ends so is of an id, whoever made it up.
AN_ID = re.compile(r"(?i:[ _-]ids?)$|[a-z]I[Dd]s?$")
#: Names of the same as they stand in running text, where ordinary words are none.
OF_ONE_NAMED = re.compile(
    r"(?:\b|(?<=_))(?:(?:subject|hadm|icustay|stay|row|patient|person|encounter|visit|admission|case|record|episode|member|study"
    r"|participant|patient_?unit_?stay)[_ -]?(?:ids?|nbr|identifiers?|key|no\.|num)"
    r"|(?:subject|patient|person|encounter|visit|admission|record|case)(?:Id|Key|Nbr|ID)"
    r"|mrns?|medical record (?:no|numbers?)|ssn|social security|nhs (?:no|numbers?)"
    r"|(?:chart|admit|disch|death|store|edreg|edout|in|out)_?time|admission_?(?:date|time)|discharge_?(?:date|time)"
    r"|dob|dod|dod_hosp|dod_ssn|(?:date|day) of (?:birth|death)|birth_?(?:date|day)|death_?date|admit_?date"
    r"|anchor_year|zip_?code|post_?code)\b",
    re.I,
)
#: Facts of a person: a table with two of them as heads has people as rows.
FACTS = re.compile(
    r"(?:patient)?(?:name|gender|sex|age|geschlecht|alter|sexe|sexo|edad|ages|ageyears|ageatadmission|anchorage|race|ethnicity|religion|insurance|language"
    r"|maritalstatus|hospitalexpireflag|expireflag|los|lengthofstay|admissiontype|admissionlocation|dischargelocation"
    r"|firstcareunit|lastcareunit|diagnosis|diagnoses|note|notes|drg|occupation|city|ward|bed|doctor|physician)"
)
#: Keys of one person, in quotes.
KEYS_OF_ONE = re.compile(
    r"[\"'](?:pid|ids?|mrn|uid|dob|dod|name|surname)[\"']\s*:\s*[\"'\d\[]", re.I
)
FACT_KEYS = re.compile(
    r"[\"'](?:gender|sex|age|race|ethnicity|religion|insurance|marital_?status|admission_?type|diagnosis|los)[\"']\s*:",
    re.I,
)
A_RECORD = re.compile(
    r"[\"'](?:visits|codes|diagnoses|conditions|icd9_code|events)[\"']\s*:\s*\[\s*[\[\"']", re.I
)
A_NOTE = re.compile(
    r"\[\*\*|\b\d{1,3}\s?-?\s?(?:y/?o|yr-?\s?old|years?[ -]old|months?[ -]old|days?[ -]old|yo)\b"
    r"|(?-i:\b(?:Mr|Mrs|Ms|Miss|Dr)\.?\s(?:[A-Z]\.\s?)*[A-Z][a-z]+|\b(?:Name|Patient): [A-Z][a-z]+ [A-Z])"
    r"|\b(?:chief complaint|history of present illness)\b|\bpt\.? (?:is|was|has|c/o|presents|admitted)\b"
    r"|\b\d{2}[MF] (?:with|w/|s/p|present(?:s|ed|ing)|admitted)|\bborn\b[^.\n]{0,12}\d{4}",
    re.I,
)
#: A word that says that the number behind it is an id.
NUMBERED = re.compile(
    r"\b(?:patient|subject|person|stay|admission|encounter|visit|case|record|hadm|icustay|id|mrn|pid|pt|no|nr|number"
    r"|row|account|episode|participant|member)\b(?:\s+(?:no|nr|id|number|with))?"
    r"[ :#=(.\"'\[-]{1,5}[A-Za-z]{0,4}-?\d{3,}"
    r"(?![\d,.]*\s*%)(?!,\d{3})(?!\.\d)",
    re.I,
)
LETTERED = re.compile(
    r"(?<![\w-])(?!E\d{3,4}\b|V\d{2,4}\b)(?:[A-Z]{1,4}[-_ ]?\d{5,}|(?:mrn|pt|pat|subj|subject|patient|case|stay|p|s)"
    r"[-_#]?\d{3,})(?!\w|\.\d|%)",
    re.I,
)
ACCOUNT = re.compile(
    r"\b[a-z][\w.]*@[a-z]\w+|\b\d{1,5} [A-Z]\w+ (?:Street|St\.|Avenue|Ave|Road|Rd|Lane|Drive|Blvd)|!\[[^\]]*\]\("
)
#: Ids joined to each other, or their digits written in another way.
JOINED = re.compile(
    r"\b(?:case|patient|person|record|stay|admission|visit) ?(?:#|no\.?|nr\.?) ?\d+|"
    r"\b(?:subject|hadm|icustay|mrn|encounter)\b[ :#=]{1,3}\d+(?![\w.,]*\s*%)|"
    r"(?<![\w.,-])\d{4,}[_/]\d{4,}|\b(?:patients|subjects|stays|admissions|ids|cases|records|pats?\.)[ :=]{1,2}\d{3,}"
    r"(?:(?:,? and |, ?|; ?| )\d{2,})+(?![\d,.]*\s*%)|\bpat\. ?\d{2,}|\b0b[01]{8,}"
)
WRITTEN_OTHERWISE = re.compile(
    r"\b0x[0-9a-f]{3,}|(?<![\w.])\d{1,3}(?:_\d{3})+(?!\w)|(?<![\w.])\d{1,3}(?:'\d{3})+(?!\w)", re.I
)
UUID = re.compile(r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b", re.I)
CONTACT = re.compile(
    r"\b\d{3}-\d{2}-\d{4}\b|(?<![\d.])\(?\d{3}\)?[-. ]\d{3}[-. ]\d{4}\b|\+\d{1,3}[ \d-]{8,}\d"
    r"|\b(?:tel|phone|fax)\b\W{0,3}[\d-]{6,}|\b[\w.+-]+@[\w-]+\.[A-Za-z]{2,}\b"
)
#: A number with all its digits together, and several in a row.
BARE = re.compile(r"(?<![\w.,+-])(\d{5,19})(?:\.0+)?(?![\w%]|,\d|\.\d)")
LISTED = re.compile(
    r"(?<![\w.,-])\d{3,19}(?:(?:\.0)?[\"']?\s*[,;|/\s]\s*[\"']?\d{3,19}){2,}(?![\w%]|[.,]\d)"
)
SEPARATED = re.compile(
    r"(?<![\w.,])\d{1,3}(?:,\d{3})+(?:(?:[;/]\s*|,\s+)\d{1,3}(?:,\d{3})+){2,}(?![\w.%])"
)

# Dates ------------------------------------------------------------------------------------------

MONTH = (
    r"(?:jan(?:uary|uar|vier|\.)?|feb(?:ruary|ruar|\.)?|février|mar(?:ch|s|\.)?|märz|apr(?:il|\.)?|avril|may|mai|june?"
    r"|juni|juin|july?|juli|juillet|aug(?:ust|\.)?|août|sept?(?:ember|embre|\.)?|o[ck]t(?:ober|obre|\.)?"
    r"|nov(?:ember|embre|\.)?|de[cz](?:ember|\.)?|décembre)"
)
YEAR = r"(?:1[89]|2[0-2])\d\d"
DAY = r"(?:0?[1-9]|[12]\d|3[01])"
TH = r"(?:st|nd|rd|th|er|\.)?"
WEEKDAY = r"(?:mon|tues?|wed(?:nes)?|thu(?:rs)?|fri|sat(?:ur)?|sun)(?:day)?"
#: "may" is a month before a year or a day with its ending only.
NOT_MAY = r"(?!may\b|mars?\b)"
#: A date for certain, by its form.
CERTAIN_DATE = re.compile(
    "|".join(
        (
            rf"(?<!\d){YEAR}\s?[-/._]\s?(?:0?[1-9]|1[0-2])\s?[-/._]\s?{DAY}(?!\d)",
            rf"(?<!\d){YEAR}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])(?:[T _-]?\d{{4,6}})?(?!\d)",
            rf"(?<!\d){YEAR}-W[0-5]\d(?:-\d)?",
            rf"(?<!\d){YEAR}-[0-3]\d\d(?![\d–-])",
            rf"(?<!\d){YEAR}[-/](?:0[1-9]|1[0-2])(?![\d/–-])",
            rf"(?<![\d/])(?:0?[1-9]|1[0-2])/{YEAR}(?!\d)",
            rf"\b{YEAR}\W{{0,3}}{MONTH}\b",
            rf"\b{MONTH}\W{{0,3}}{YEAR}\b",
            rf"\b{DAY}{TH}\W{{0,2}}(?:of |de )?{NOT_MAY}{MONTH}(?:\b|(?<=\.)|(?=\d\d))",
            rf"\b{DAY}{TH}\W{{0,2}}(?:of )?(?:may|mars?)\W{{0,2}}{YEAR}\b",
            rf"\b{NOT_MAY}{MONTH}\s?-?{DAY}(?:st|nd|rd|th)?(?![\d.%\w])",
            rf"\b(?:may|mars?)\s{DAY}(?:st|nd|rd|th)?,?\s+{YEAR}\b",
            rf"\b(?:may|mars?) {DAY}(?:st|nd|rd|th)\b",
            rf"\b{DAY}[-/ ](?:may|mars?)[-/ ]\d\d(?:\d\d)?\b",
            rf"\b{DAY}\.? (?:de |di )?[^\W\d]{{3,12}}\.?,? (?:de |del )?{YEAR}\b",
            rf"\b{YEAR}[-/. ]{{1,3}}[IVX]{{1,4}}[-/. ]{{1,3}}{DAY}\b",
            rf"\b{DAY}[-/. ]{{1,3}}[IVX]{{1,4}}[-/. ]{{1,3}}{YEAR}\b",
            rf"\b{WEEKDAY},?\s+(?:the\s+)?{DAY}(?:st|nd|rd|th)?\b(?![.%])",
            r"\b(?:datetime(?:64)?|Timestamp|date)\(\s*[\"'\d]",
            r"年|月\d",
        )
    ),
    re.I,
)
#: A date if dateutil reads it as one.
PERHAPS_DATE = re.compile(
    r"(?<![\w.,/-])\d{1,2}\s?([-/._])\s?\d{1,2}\s?\1\s?(?:\d{4}|\d{2})(?![\w/%-]|\.\d)"
)
CLOCK = re.compile(
    r"(?<![\w.:])(?:[01]?\d|2[0-3]):[0-5]\d(?::[0-5]\d(?:[.,]\d+)?)?(?!:|[^\Wh])|\b\d{1,2}\s?[ap]\.?m\.?(?!\w)"
    r"|\b[0-2]\d[0-5]\d ?(?:hrs|hours)\b|\b\d+ days? (?:\+|\d{2}:)|\b(?:[01]\d|2[0-3])h[0-5]\d\b",
    re.I,
)
DASHES = re.compile("[\u2010-\u2015\u2212]")
#: Dates of shifted records lie in years that nothing else is of.
SHIFTED = r"(?:20[3-9]\d|2[12]\d\d)"
SHIFTED_YEAR = re.compile(
    rf"(?:\b(?:in|of|year|since|until|from|by|to)\s+|[\"'(=:\[]\s*){SHIFTED}\b(?![,.]\d)"
)

A_SHIFTED_YEAR = re.compile(rf"(?<![\w.,/×-]){SHIFTED}(?![\w%]|[.,]\d)")

# Places on a machine ------------------------------------------------------------------------------

MACHINE_PATH = re.compile(
    r"(?<![\w.:/<])/(?!path/to/)(?:[\w.@+~-]+/)+[\w.@+~-]*"
    r"|(?<![\w.:/<])/(?:home|root|Users|tmp|work|mnt|data|content|srv|var|opt|scratch|media|private|Volumes|nfs|gpfs"
    r"|lustre|projects?|export|etc|usr|workspace|kaggle|dbfs|shared|storage|cluster|net|vol|run|app)\b(?!>)"
    r"|(?<![\w.])[A-Za-z]:(?:\\{1,2}|/(?!/))[\w$ .-]|\\\\[\w.-]+\\|(?<![\w~])~\w*/\w|\$(?:HOME|USER|PWD|TMPDIR)\b"
    r"|%(?:USERPROFILE|APPDATA|HOMEPATH|TEMP|USERNAME)%|\bfile:/"
    r"|\b(?!https?:)[A-Za-z][A-Za-z0-9+.-]*://[\w@]|\b(?:jdbc|odbc|dbfs|nfs|smb):[\w/]|\.\./(?:home|root|Users)/"
    r"|\b[\w.-]+:/[a-z]\w*/|(?<!\w)[A-Z]:\\"
    r"|(?<![\w:/.])//[\w.-]+/\w|(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?![\w.])|\blocalhost\b|\b(?:host|user|password|pwd|dbname|server)=\S|\bssh\s+[\w.]+@|\b[\w.-]+@[\w.-]+:[/~\w]"
    r"|\b[\w-]+\.(?:local|internal|intranet|lan|corp)\b",
)

# Hidden bytes -------------------------------------------------------------------------------------

ENCODED = re.compile(r"(?<![\w+/=-])[A-Za-z0-9+/_-]{12,}={0,2}(?![\w+/-])")
#: As long as this, a word of letters and digits without a blank is no word.
LONG = 40
DIGEST = re.compile(r"(?:[0-9a-f]{16}|[0-9a-f]{40}|[0-9a-f]{64})")
HASH = re.compile(r"(?<![\w-])(?=[a-f]*\d)[0-9a-f]{20,}(?!\w)", re.I)
#: How packed, pictured and pickled files begin.
MAGIC = (
    b"\x1f\x8b",
    b"PK\x03\x04",
    b"\x89PNG",
    b"\xff\xd8\xff",
    b"GIF8",
    b"%PDF",
    b"BZh",
    b"\xfd7zXZ",
    b"\x80\x04",
    b"PAR1",
)
ESCAPES = re.compile(
    r"\b137, 80, 78, 71\b|\b80, 75, 3, 4\b|\b31, 139, 8\b|(?:\\x[0-9a-fA-F]{2}){4,}|b'\\x|\bbytes\(\[|\\u00[0-9a-f]{2}",
    re.I,
)
DATA_URI = re.compile(r"\bdata:\s*[\w.+-]*/?[\w.+-]*\s*[;,]", re.I)


#: The number of a record in a review packet, which tells nothing of a source.
PACKET = re.compile(r"\b[bcdfghjkmnpqrstvwxz]{4}-\d{3}\b")


#: Stars and backticks of Markdown; and the last line of a column as pandas prints it.
EMPHASIS = re.compile(r"\*{1,2}|`")
SERIES = re.compile(r"\bName: ([\w ]+), (?:Length: \d+, )?dtype: U?[Ii]nt")


@cache
def plain(text: str) -> str:
    """The text as a reader sees it: entities, percent signs and compatibility letters resolved, nothing invisible."""
    text = unicodedata.normalize("NFKC", html.unescape(text))
    if re.search(r"%[0-9A-Fa-f]{2}%[0-9A-Fa-f]{2}|%(?:2F|2D|3A|20)", text):
        text = f"{text}\n{urllib.parse.unquote(text)}"
    text = PACKET.sub("record", text)
    return "".join(
        letter
        for letter in text
        if unicodedata.category(letter) not in ("Cf", "Co", "Cc") or letter in "\n\t\r"
    )


def masked(found: str) -> str:
    """What was found, its digits and all but the first letters of a word hidden, for a message."""
    return re.sub(r"\d", "#", " ".join(found.split()))[:60]


def shown(text: str, public: frozenset[str] = frozenset(), *, bare: bool = True) -> Iterator[str]:
    """Reasons why a text that is shown may not be published.

    ``public`` are numbers that were printed by the studies, as text; they are no ids wherever they stand. ``bare``: a
    bare number of five digits is a reason; false for a cell, which is judged with its column.
    """
    text = plain(text)
    yield from _anywhere(text, public, strict=True, bare=bare)
    text = EMPHASIS.sub("", text)
    if match := ACCOUNT.search(text):
        yield f"a number or an address of a person ({masked(match.group())})"
    if A_SHIFTED_YEAR.search(text):
        yield "a year of shifted records"
    if match := OF_ONE_NAMED.search(text):
        yield f"a name of a row-level column ({masked(match.group())})"
    for rule in FEW_PEOPLE:
        if match := rule.search(text):
            yield f"a count of few patients ({masked(match.group())})"
            break
    if len(set(FACT_KEYS.findall(text))) > 1 or A_RECORD.search(text) or KEYS_OF_ONE.search(text):
        yield "a record of a patient"
    named = SERIES.search(text)
    if named and re.search(r"\s(?:[1-9]|10)\n", text) and COUNTED.fullmatch(named.group(1)):
        yield "a table with counts of 1 to 10 patients"
    for table in tables(text):
        yield from judge(table, public=public, loose=True)


def written(text: str, public: frozenset[str] = frozenset()) -> Iterator[str]:
    """Reasons why code or prose that a person wrote may not be published."""
    text = plain(text)
    yield from _anywhere(text, public, strict=False, bare=True)
    text = EMPHASIS.sub("", text)
    if match := re.search(rf"(?:{OF_ONE_NAMED.pattern})\W{{1,8}}(?:\d{{2,}}|{YEAR})", text, re.I):
        yield f"a row-level column with a value ({masked(match.group())})"
    if match := FEW_IN_FIGURES.search(text) or FEW_BEHIND.search(text):
        yield f"a count of few patients ({masked(match.group())})"
    if len(set(FACT_KEYS.findall(text))) > 1 or re.search(r"[\"']visits[\"']\s*:\s*\[\s*\[", text):
        yield "a record of a patient"
    for table in tables(text):
        yield from judge(table, public=public, headed=False, loose=True)


def _anywhere(text: str, public: frozenset[str], *, strict: bool, bare: bool) -> Iterator[str]:
    """What no text may hold."""
    for kind, pattern in (
        ("a path of a machine", MACHINE_PATH),
        ("an id", UUID),
        ("an id", HASH),
        ("an id", JOINED),
        ("a number or an address of a person", CONTACT),
        ("hidden bytes", ESCAPES),
        ("hidden bytes", DATA_URI),
        ("a time of day", CLOCK),
        ("a year of shifted records", SHIFTED_YEAR),
    ):
        if match := pattern.search(text):
            yield f"{kind} ({masked(match.group())})"
    if match := A_NOTE.search(text):
        yield f"a note on a patient ({masked(match.group())})"
    if found := a_date(text):
        yield f"a date ({masked(found)})"
    yield from _ids(text, public, strict, bare)
    yield from _encoded(text, public)


def a_date(text: str) -> str | None:
    """The first date in a text, in any usual form; numbers with two dots or slashes are asked of dateutil."""
    text = DASHES.sub("-", text)
    if match := CERTAIN_DATE.search(text):
        return match.group()
    for match in PERHAPS_DATE.finditer(text):
        try:
            dates.parse(
                re.sub(r"\s|_", lambda gap: "-" if gap.group() == "_" else "", match.group())
            )
        except (ValueError, OverflowError):
            continue
        return match.group()
    return None


def _ids(text: str, public: frozenset[str], strict: bool, bare: bool) -> Iterator[str]:
    for kind, pattern in (("an id", NUMBERED), ("an id", LETTERED)):
        for match in pattern.finditer(text):
            number = re.search(r"\d+$", match.group())
            if number and number.group() not in public and not _round(number.group()):
                yield f"{kind} ({masked(match.group())})"
                break
    cells = {cell.strip() for table in tables(text) for row in table for cell in row}
    scores = [line for line in text.splitlines() if len(re.findall(r"\d\.\d", line)) > 1]
    cells |= {piece.strip() for line in scores for piece in re.split(r"\s{2,}", line)}
    for match in BARE.finditer(text) if bare else ():
        if match.group() in cells and len(cells) > 3:  # judged with its column
            continue
        if (
            match.group(1) not in public
            and not _round(match.group(1))
            and not _titled(match.group(1), text)
        ):
            yield f"a bare number as long as an id ({masked(match.group())})"
            break
    if strict and (other := WRITTEN_OTHERWISE.search(text)):
        yield f"an id ({masked(other.group())})"
    for pattern in (LISTED, SEPARATED) if strict else (LISTED,):
        if any(_listed(match.group(), public) for match in pattern.finditer(text)):
            yield "a list of ids"


def _round(number: str) -> bool:
    return int(number) % 1000 == 0 and len(number) < 8


def _titled(number: str, text: str) -> bool:
    """Whether a number is a diagnosis code whose name stands in the same text."""
    name = title(number)
    return bool(name) and name in text


def _listed(text: str, public: frozenset[str]) -> bool:
    """Whether numbers in a row are ids: three different ones, neither codes nor printed, nor round, nor years."""
    numbers = (
        set(re.findall(r"\d+", text.replace(",", "") if SEPARATED.fullmatch(text) else text))
        - public
    )
    strange = [number for number in numbers if not title(number) and not _round(number)]
    strange = [number for number in strange if len(number) > 3 and not 1900 <= int(number) <= 2030]
    return len(strange) > 2 and not _ticks(sorted(map(int, strange)))


def _ticks(numbers: list[int]) -> bool:
    """Whether numbers stand on an axis: small ones, equally far from each other."""
    return (
        numbers[-1] < 10_000 and len({after - before for before, after in pairwise(numbers)}) == 1
    )


def _encoded(text: str, public: frozenset[str]) -> Iterator[str]:
    """Words that are no words: long ones, and shorter ones that hold a text which may not be shown."""
    for match in ENCODED.finditer(text):
        word = match.group()
        if DIGEST.fullmatch(word) or (word.isalpha() and word.islower()):
            continue
        if len(word) >= LONG and _mixed(word):
            yield "hidden bytes (a long word)"
            return
        if any(_tells(inner, public) for inner in _decoded(word)):
            yield "hidden bytes (an encoded text)"
            return


def _mixed(word: str) -> bool:
    """Whether a word has digits or capitals inside its parts, as names made of words and hyphens have not."""
    parts = [part for part in re.split(r"[-_/]", word) if part]
    odd = [part for part in parts if len(part) > 14 and not part.isalpha() and not part.isdigit()]
    return bool(odd) or any(len(part) > 24 for part in parts)


def _decoded(word: str) -> Iterator[bytes]:
    """The bytes that a word may stand for."""
    padded = word.rstrip("=") + "=" * (-len(word.rstrip("=")) % 4)
    for read, text in (
        (base64.b64decode, padded.replace("-", "+").replace("_", "/")),
        (bytes.fromhex, word),
    ):
        with contextlib.suppress(binascii.Error, ValueError):
            yield read(text)


def _tells(inner: bytes, public: frozenset[str]) -> bool:
    """Whether bytes begin as a file does, or are a text that may not be shown."""
    if inner.startswith(MAGIC):
        return True
    return inner.isascii() and inner.decode().isprintable() and any(shown(inner.decode(), public))


# Tables -----------------------------------------------------------------------------------------


def tables(text: str) -> Iterator[list[Row]]:
    """Tables in a text: with pipes, tabs, commas or semicolons between the cells, or set in columns by blanks."""
    for block in re.split(r"\n\s*\n", text):
        lines = [
            line
            for line in block.splitlines()
            if line.strip() and not re.fullmatch(r"[\s|:+=-]+", line)
        ]
        if len(lines) < 2:
            continue
        for cut in (r"\s*\|\s*", r"\t", r"\s*;\s*", r"\s*,\s*", r"\s{2,}", r"\s+"):
            rows = [re.split(cut, line.strip().strip("|").strip()) for line in lines]
            usual = Counter(len(row) for row in rows if len(row) > 1).most_common(1)
            wide = [
                row
                for row in rows
                if usual and len(row) in (usual[0][0] - 1, usual[0][0], usual[0][0] + 1)
            ]
            if len(wide) > 1 and 2 * len(wide) >= len(rows):
                yield _headed(wide)
                break


def _headed(rows: list[list[str]]) -> list[Row]:
    """The rows with an empty head before a head that lacks the one of the index, as pandas prints it."""
    widest = max(map(len, rows))
    return [[""] * (widest - len(row)) + row for row in rows]


def in_html(content: str) -> Iterator[tuple[str, list[Row]]]:
    """Caption and rows of each table in HTML."""
    for table in BeautifulSoup(content, "html.parser").find_all("table"):
        caption = table.caption.get_text(" ") if table.caption else ""
        rows = [
            [plain(cell.get_text()).strip() for cell in row.find_all(["th", "td"])]
            for row in table.find_all("tr")
        ]
        yield caption, [row for row in rows if row]


#: Heads of reference points, under which stand scores, not people.
REFERENCE = re.compile(
    r"(?:fresh )?(?:real )?(?:training |test )?(?:patients? )?(?:copied|resampled|shuffled)"
    r"|fresh real patients|empty table"
    r"|independent columns|columns shuffled|no codes|empty patients|training patients? (?:copied|resampled).*"
)
COUNTED = re.compile(
    rf"(?:(?:number|no\.?|nr\.?|count|total|sum|#|n)[ _]?(?:of[ _])?)?(?:[\w-]+[ _]){{0,2}}{PEOPLE}"
    rf"(?:[ _](?:with|without|who|in|of|at|that|by|having|count|number|total|n)\b.*)?"
    r"|n|count|counts|number|freq|frequency"
    r"|size|total|#|no\.?|cohort size|cell count|(?:[\w-]+ )?patients? \(.*\)",
    re.I,
)
SINGULAR = re.compile(
    r"(?:.*[ _])?(?:patient|person|subject|stay|admission|encounter|case|visit|record|participant|row|index|idx"
    r"|example|neighbour|donor)",
    re.I,
)
SMALL = re.compile(
    rf"(?:0?[1-9]|10)(?:\.0+)?(?:\s*\(.*\))?|{'|'.join(NUMBERS)}|[<≤]\s?(?:[2-9]|1[01])|(?:[1-9]|10)\s+{PEOPLE}",
    re.I,
)
CODES = {"code", "icd", "icd9", "icd9code", "icdcode", "icd10"}


def judge(
    rows: Sequence[Row],
    caption: str = "",
    *,
    public: frozenset[str] = frozenset(),
    headed: bool = True,
    loose: bool = False,
) -> Iterator[str]:
    """Reasons why a table, heads first, may not be published: rows of people, ids, dates, or a handful of people.

    With ``headed`` false a head alone is no reason: code and prose name columns. ``loose``: the table was found in a
    text, so that its first row may be none of heads.
    """
    if len(rows) < 2:
        return
    heads = [cell.strip() for cell in rows[0]]
    names = [name_of(head) for head in heads]
    labels = [name_of(row[0]) for row in rows[1:] if row]
    if not headed and not any(re.search(r"\d", cell) for row in rows[1:] for cell in row):
        return
    found = next((name for name in [*names, *labels[:1]] if name and OF_ONE.fullmatch(name)), None)
    if found := found or next((head for head in heads if AN_ID.search(head)), None):
        yield f"a row-level column ({masked(found)})"
    if len({name for name in names if FACTS.fullmatch(name)}) > 1:
        yield "a row-level table: facts of single people are its columns"
    if len({name for name in labels if FACTS.fullmatch(name)}) > 2:
        yield "a row-level table: facts of single people are its rows"
    if any(BARE.fullmatch(head) and head not in public and not _round(head) for head in heads[1:]):
        yield "columns headed by ids"
    yield from _id_columns(rows, heads, public)
    words = {name_of(word) for head in heads for word in head.split()}
    records = bool({"patient", "visit"} & words and CODES & words)
    if not records and _small_cells(rows, caption, loose):
        yield "a table with counts of 1 to 10 patients"


def name_of(head: str) -> str:
    """A head in small letters and digits alone; # stands for a number."""
    return re.sub(r"[\W_]+", "", re.sub(r"(?<=\w) ?#$", "no", head)).lower()


def _id_columns(rows: Sequence[Row], heads: Row, public: frozenset[str]) -> Iterator[str]:
    body = rows[1:]
    for place in range(max(map(len, rows))):
        column = [row[place].strip() for row in body if place < len(row)]
        column = [cell for cell in column if cell not in ("", "–") and cell not in public]
        head = heads[place] if place < len(heads) else ""
        if (
            _are_ids(column)
            or _mostly_bare(column)
            or (SINGULAR.fullmatch(head.strip()) and _not_numbered_anew(column))
        ):
            yield f"a column of ids ({masked(head) or 'without a head'})"
            return
    if any(
        _are_ids([cell.strip() for cell in row[1:] if cell not in public], most=3) for row in rows
    ):
        yield "a row of ids"


def _are_ids(cells: list[str], most: int = 2) -> bool:
    """Whether cells are ids: all different whole numbers of four digits or more, written together, and no codes."""
    if len(cells) < most or len(set(cells)) < len(cells):
        return False
    if not all(re.fullmatch(r"[A-Za-z]{0,4}[-_#]?\d{4,19}(?:\.0)?", cell) for cell in cells):
        return False
    digits = [re.sub(r"\D", "", cell.removesuffix(".0")) for cell in cells]
    known = [
        cell for cell, number in zip(cells, digits, strict=True) if title(cell) or _round(number)
    ]
    return len(known) < len(cells) / 2 and not all(1900 <= int(number) <= 2030 for number in digits)


def _mostly_bare(cells: list[str]) -> bool:
    """Whether most cells are different numbers as long as an id, their digits together."""
    bare = [
        cell
        for cell in cells
        if BARE.fullmatch(cell) and not _round(cell.removesuffix(".0")) and not title(cell)
    ]
    return len(set(bare)) == len(bare) > len(cells) / 2


def _not_numbered_anew(cells: list[str]) -> bool:
    """Whether the cells below "patient" are other than 0 or 1 and onward: numbers of a source."""
    if not cells or not all(re.fullmatch(r"\d{1,19}(?:\.0)?", cell) for cell in cells):
        return False
    numbers = sorted({int(float(cell)) for cell in cells})
    return numbers[-1] > max(60, 2 * len(cells))


def _small_cells(rows: Sequence[Row], caption: str, loose: bool) -> bool:
    """Whether a number from 1 to 10 stands below, or beside, a head that counts people."""
    of_people = re.search(
        rf"\b(?:numbers?|counts?) of (?:[\w-]+ ){{0,2}}{PEOPLE}\b|^{PEOPLE} (?:by|per)\b",
        caption,
        re.I,
    )
    if loose and len(rows[0]) == 2 and SMALL.fullmatch(rows[0][1].strip()):
        rows = [["", ""], *rows]
    elif loose and all(re.match(r"[–\d.-]", head.strip()) for head in rows[0][1:]):
        return False  # the heads are not among the rows
    for row in rows[1:]:
        for head, cell in zip(rows[0][1:] if len(row) > 1 else (), row[1:], strict=False):
            titles = [each.strip().replace("_", " ").lower() for each in (head, row[0])]
            bare = [re.sub(r"\s*\(.*\)$|,.*$", "", each) for each in titles]
            if any(re.search(r" (?:a|per|each) ", each) for each in titles):
                continue
            if any(
                ("%" in each and not re.match(r"\d+ *\(", cell)) or REFERENCE.fullmatch(each)
                for each in titles
            ):
                continue
            counted = any(each and COUNTED.fullmatch(each) for each in bare)
            if (counted or of_people) and SMALL.fullmatch(cell.strip()):
                return True
    return False


# Markup -----------------------------------------------------------------------------------------

#: What tables, captions and boxes of the book are made of.
TAGS = {
    "div", "table", "caption", "thead", "tbody", "tr", "th", "td", "p", "code", "strong", "em", "label", "input",
    "style", "article", "h2", "h3", "fieldset", "legend", "ul", "ol", "li", "sub", "sup", "a", "br",
}  # fmt: skip
ATTRIBUTES = {
    "class",
    "border",
    "style",
    "scope",
    "scoped",
    "id",
    "type",
    "name",
    "value",
    "href",
    "colspan",
    "rowspan",
}


def markup(content: str, public: frozenset[str] = frozenset()) -> Iterator[str]:
    """Reasons why HTML may not be published: its text and attributes, its tables, and what is no part of the book's."""
    soup = BeautifulSoup(content, "html.parser")
    for found in soup.find_all(True):
        yield from _element(found, public)
    for text in soup.find_all(string=lambda each: isinstance(each, PreformattedString)):
        yield "a comment" if isinstance(text, Comment) else "a declaration or an instruction"
    for caption, rows in in_html(content):
        yield from judge(rows, caption, public=public)
    for cell in soup.find_all(["th", "td"]):
        words = plain(cell.get_text()).strip()
        yield from shown(words, public, bare=not re.fullmatch(r"[\d.,]+", words))
    for part in _texts(soup):
        yield from shown(part, public)


def _element(found: PageElement, public: frozenset[str]) -> Iterator[str]:
    if not isinstance(found, Tag):
        return
    if found.name not in TAGS:
        yield f"<{masked(found.name)}>, which no page of the book has"
    for name, value in found.attrs.items():
        words = " ".join(value) if isinstance(value, list) else str(value)
        if name not in ATTRIBUTES:
            yield f"an attribute {masked(name)}, which no page of the book has"
        if name == "style" and words not in ("text-align: right;", ""):
            yield "a style of its own"
        yield from shown(words, public)
    if found.name == "style":
        yield from shown(found.get_text(), public)


def _texts(soup: BeautifulSoup) -> Iterator[str]:
    """The captions and the running text without tables."""
    for table in soup.find_all("table"):
        yield table.caption.get_text() if table.caption else ""
        table.replace_with(NavigableString("\n\n"))
    yield soup.get_text()
