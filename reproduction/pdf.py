"""The whole book as one PDF: all pages as one, printed by Chromium, linked from the HTML book."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from reproduction import book
from scoehr.files import InputError, replacing

#: Names under which Chromium is installed.
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
#: What Chromium is started with, to print without a screen, a network or a profile of its own.
OPTIONS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--no-pdf-header-footer", "--virtual-time-budget=120000",
)  # fmt: skip
#: Seconds that printing may take.
SECONDS = 900
#: The empty line of the page on reading that holds the link to the PDF where there is one.
MARK = '<p class="pdf"></p>'
LINK = '<p class="pdf"><a href="book.pdf">The whole book as one PDF</a></p>'


def browser() -> str | None:
    """Where Chromium is; None where it is not."""
    return next(filter(None, map(shutil.which, BROWSERS)), None)


def write(place: Path) -> Path:
    """Print the assembled book in ``place`` and link it from its HTML; return the PDF.

    Raises:
        InputError: there is no Chromium.
        RuntimeError: it printed nothing.
    """
    chromium = browser()
    if chromium is None:
        raise InputError(
            "a PDF is printed by Chromium; install it (Debian: apt-get install chromium)"
        )
    single = book.render(place, "singlehtml")
    page = single.parent / "book.html"
    page.write_text(one_page(_whole(single.parent)), encoding="utf-8")
    target = book.index(place).with_name("book.pdf")
    with tempfile.TemporaryDirectory() as profile, replacing(target) as scratch:
        own = (f"--user-data-dir={profile}", f"--print-to-pdf={scratch}", page.as_uri())
        done = subprocess.run(
            [chromium, *OPTIONS, *own], capture_output=True, text=True, timeout=SECONDS, check=False
        )
        if not scratch.exists():
            raise RuntimeError(f"the book was not printed: {done.stderr[-500:]}")
    reading = target.with_name("reading.html")
    reading.write_text(reading.read_text(encoding="utf-8").replace(MARK, LINK), encoding="utf-8")
    return target


def _whole(folder: Path) -> str:
    """The one page that Sphinx wrote, below the folder that its links start from."""
    (page,) = (folder / "notebooks").glob("*.html")
    return page.read_text(encoding="utf-8")


def one_page(text: str) -> str:
    """HTML in which links to pages are links within, and what opens is open."""
    pages = set(re.findall(r'id="document-(?:notebooks/)?([\w-]+)"', text))

    def within(link: re.Match[str]) -> str:
        name, anchor = link["name"], link["anchor"]
        if name not in pages and name != "00-answer":
            return link[0]
        whole = f"document-{'notebooks/' if name[:2].isdigit() else ''}{name}"
        return f'href="#{anchor or whole}"'

    linked = re.sub(
        r'href="(?:\.\./|notebooks/)?(?P<name>[\w-]+)\.html(?:#(?P<anchor>[^"]*))?"', within, text
    )
    return re.sub(r'<details class="(exhibit|ledger)"', r'<details open class="\1"', linked)
