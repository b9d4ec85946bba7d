"""The built book in a real browser: nothing fails to load, nothing complains, every formula and image is there."""

import chromium
import pytest
import tiny_study
from chromium import events
from toy import Toy

from scoehr.data.matrix import CodeMatrix
from scoehr.metrics import attack, evaluate, report

# Processor time is limited, in tiny_study.
pytestmark = [*chromium.NEEDED, pytest.mark.timeout(0)]


@pytest.fixture(scope="module")
def html():
    """The folder of the built book."""
    return tiny_study.book().parent


@pytest.fixture(scope="module")
def browser(html, tmp_path_factory):
    """Started when the book is there, which takes minutes."""
    driver = chromium.start(tmp_path_factory.mktemp("profile"))
    yield driver
    driver.quit()


def settled(driver):
    """Wait until MathJax, where the page loads it, has set the formulas."""
    driver.set_script_timeout(chromium.PATIENCE)
    driver.execute_async_script(
        "const done = arguments[0]; (window.MathJax?.startup?.promise ?? Promise.resolve()).then(() => done())"
    )


#: Of the tables that are seen: their captions, columns, and whether they are wider than the text.
TABLES = """
return [...document.querySelectorAll('article table')].filter(t => t.checkVisibility()).map(t => {
  const box = t.closest('.table-scroll') ?? t.parentElement;
  return [t.caption?.innerText ?? t.innerText, t.rows[0].cells.length, box.scrollWidth > box.clientWidth + 1];
})"""
#: Of the blocks of code and of printed lines that are seen, those that are cut at the right.
CUT = """
return [...document.querySelectorAll('article pre')].filter(e => e.checkVisibility())
  .filter(e => e.scrollWidth > e.clientWidth + 1)
  .map(e => e.innerText.split('\\n').reduce((a, b) => a.length < b.length ? b : a))"""
#: The numbers of the formulas that are wider than the text.
FORMULAS = """
return [...document.querySelectorAll('mjx-container[display="true"]')]
  .filter(e => e.scrollWidth > e.clientWidth + 1).map(e => e.closest('[id]').id)"""
#: What is set in bold, and where on the screen it ends.
BOTTOMS = """
return [...document.querySelectorAll('article strong')]
  .map(e => [e.textContent, e.getBoundingClientRect().bottom])"""
WORDS = "return document.querySelector('article').innerText.split(/\\s+/).length"
WIDER = "return document.documentElement.scrollWidth > window.innerWidth + 1"
DESKTOP, PHONE = (1400, 900), (390, 844)
MOST_TABLES, MOST_COLUMNS, MOST_WORDS = 5, 7, 2500
#: Pages in which one looks things up: the formulas, the functions and the index of their names.
LISTS = ("methods.html", "reference.html", "genindex.html", "py-modindex.html", "search.html")


def resize(driver, size):
    """A window of this size inside, smaller than any that a desktop's window manager allows."""
    facts = {"width": size[0], "height": size[1], "deviceScaleFactor": 1, "mobile": size == PHONE}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", facts)


def crowded(driver):
    """What does not fit on a page of the book, as a desktop shows it."""
    yield from (f"cut at the right: {line}" for line in driver.execute_script(CUT))
    tables = driver.execute_script(TABLES)
    if len(tables) > MOST_TABLES:
        yield f"{len(tables)} tables"
    for caption, columns, wide in tables:
        if columns > MOST_COLUMNS or wide:
            yield f"a table of {columns} columns, too wide: {caption}"
    words = driver.execute_script(WORDS)
    if words > MOST_WORDS:
        yield f"{words} words"


def test_the_answer_is_in_the_first_screen(browser, html):
    resize(browser, DESKTOP)
    chromium.visit(browser, html / "notebooks" / "00-answer.html")
    bottoms = dict(reversed(browser.execute_script(BOTTOMS)))
    for question in (
        "Did it reproduce?",
        "What is wrong with it?",
        "What should I use?",
        "On which data?",
    ):
        assert bottoms[question] < DESKTOP[1], question


def test_every_page_of_the_book(browser, html):
    pages = sorted([*html.glob("*.html"), *(html / "notebooks").glob("*.html")])
    assert len(pages) >= 14
    complaints = {page.name: list(problems(browser, page)) for page in pages}
    assert {name: found for name, found in complaints.items() if found} == {}


def test_the_report_on_synthetic_patients_fits_a_desk_and_a_phone(browser, tmp_path):
    toy = Toy(codes=30, mean_cell=0.15)
    real, train, made = (
        CodeMatrix.from_array(toy.sample(n, seed), [f"{k:03d}" for k in range(30)])
        for seed, n in enumerate((200, 300, 200))
    )
    results = evaluate(real, made, train=train) | {"attacks": attack(real, made, train=train)}
    page = tmp_path / "report.html"
    facts = {"synthetic": "a_name_without_any_place_to_break_it_" * 4 + ".parquet"}
    page.write_text(report.page(results, real, made, facts), encoding="utf-8")
    assert list(problems(browser, page)) == []
    for size in (DESKTOP, PHONE):
        resize(browser, size)
        chromium.visit(browser, page)
        browser.execute_script("document.querySelectorAll('details').forEach(d => d.open = true)")
        assert browser.execute_script("return window.innerWidth") == size[0]
        assert not browser.execute_script(WIDER)
        assert browser.execute_script("return document.images.length") == 7


def problems(driver, page):
    resize(driver, DESKTOP)
    chromium.visit(driver, page)
    settled(driver)
    for event in events(driver):
        parameters = event["params"]
        if event["method"] == "Network.loadingFailed":
            yield f"failed request: {parameters['errorText']}"
        if event["method"] == "Network.requestWillBeSent":
            address = parameters["request"]["url"]
            if not address.startswith(("file:", "data:", "about:", "chrome")):
                yield f"asks the network for {address}"
    yield from (
        f"console: {entry['message']}"
        for entry in driver.get_log("browser")
        if entry["level"] == "SEVERE"
    )
    broken = (
        "return [...document.images].filter(i => !i.complete || !i.naturalWidth).map(i => i.src)"
    )
    yield from (f"image not loaded: {source}" for source in driver.execute_script(broken))
    text = driver.execute_script("return document.querySelector('main').innerText")
    yield from (
        f"shows {word!r}"
        for word in ("Traceback (most recent", "Error:", "\\(", "\\[")
        if word in text
    )
    formulas = "return [document.querySelectorAll('.math').length, document.querySelectorAll('mjx-container').length]"
    written, drawn = driver.execute_script(formulas)
    if written > drawn:
        yield f"{written} formulas, {drawn} drawn"
    yield from (f"formula cut: {name}" for name in driver.execute_script(FORMULAS))
    of_book = driver.execute_script("return Boolean(document.querySelector('article'))")
    if of_book and page.name not in LISTS:
        yield from crowded(driver)
    for size in (DESKTOP, PHONE):
        resize(driver, size)
        if driver.execute_script(WIDER):
            yield f"wider than a screen of {size[0]} px"
