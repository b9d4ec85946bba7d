"""The book on paper."""

import subprocess

import pytest

from reproduction import book, pdf
from scoehr import InputError

PAGES = """\
<span id="document-reading"></span><span id="document-notebooks/26-scale"></span>
<a href="26-scale.html">a</a> <a href="notebooks/00-answer.html#claims">b</a>
<a href="../reading.html">c</a> <a href="#here">d</a> <a href="https://example.org/x.html">e</a>
<details class="exhibit"><summary>f</summary></details>"""


def test_links_to_pages_become_links_within_and_what_opens_is_open():
    text = pdf.one_page(PAGES)
    assert '<a href="#document-notebooks/26-scale">a</a>' in text
    assert '<a href="#claims">b</a>' in text
    assert '<a href="#document-reading">c</a>' in text
    assert '<a href="#here">d</a>' in text and '<a href="https://example.org/x.html">e</a>' in text
    assert '<details open class="exhibit">' in text


@pytest.fixture
def rendered(tmp_path, monkeypatch):
    """A folder with a book of two pages, as Sphinx leaves it."""
    html, single = (tmp_path / "_build" / name for name in ("html", "singlehtml"))
    for folder in (html, single / "notebooks"):
        folder.mkdir(parents=True)
    (html / "reading.html").write_text(f"<p>first</p>{pdf.MARK}", encoding="utf-8")
    (single / "notebooks" / "00-answer.html").write_text(f"<h1>All</h1>{PAGES}", encoding="utf-8")
    monkeypatch.setattr(book, "render", lambda place, builder: single / "index.html")
    return tmp_path


@pytest.mark.skipif(pdf.browser() is None, reason="no Chromium here")
def test_chromium_prints_the_book_and_it_is_linked(rendered):
    printed = pdf.write(rendered)
    assert printed.read_bytes().startswith(b"%PDF") and printed.stat().st_size > 5_000
    assert pdf.LINK in (printed.parent / "reading.html").read_text(encoding="utf-8")


def test_without_chromium_the_reader_hears_what_to_install(rendered, monkeypatch):
    monkeypatch.setattr(pdf, "browser", lambda: None)
    with pytest.raises(InputError, match="install it"):
        pdf.write(rendered)
    assert not (rendered / "_build" / "html" / "book.pdf").exists()


@pytest.mark.skipif(pdf.browser() is None, reason="no Chromium here")
def test_the_mark_of_the_link_is_on_the_page_on_reading():
    text = (book.CHECKOUT / "book" / "reading.md").read_text(encoding="utf-8")
    assert text.count(pdf.MARK) == 1
    assert subprocess.run([pdf.browser(), "--version"], check=False).returncode == 0
