"""The built book in a real browser: nothing fails to load, nothing complains, every formula and image is there."""

import json
import shutil

import pytest
import tiny_study

CHROMIUM = (
    shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
)
DRIVER = shutil.which("chromedriver")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage",
)  # fmt: skip

pytestmark = [
    pytest.mark.browser,
    pytest.mark.timeout(0),  # processor time is limited, in tiny_study
    pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="no Chromium with its driver here"),
]


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    driver.get("about:blank")
    (
        driver.get_log("browser"),
        driver.get_log("performance"),
    )  # what the browser did before the first page
    yield driver
    driver.quit()


def settled(driver):
    """Wait until MathJax, where the page loads it, has set the formulas."""
    driver.set_script_timeout(30)
    driver.execute_async_script(
        "const done = arguments[0]; (window.MathJax?.startup?.promise ?? Promise.resolve()).then(() => done())"
    )


def events(driver):
    return [json.loads(entry["message"])["message"] for entry in driver.get_log("performance")]


def test_every_page_of_the_book(browser):
    html = tiny_study.book().parent
    pages = sorted([*html.glob("*.html"), *(html / "notebooks").glob("*.html")])
    assert len(pages) >= 14
    complaints = {page.name: list(problems(browser, page)) for page in pages}
    assert {name: found for name, found in complaints.items() if found} == {}


def problems(driver, page):
    driver.set_window_size(1280, 900)
    driver.get(page.as_uri())
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
    driver.set_window_size(400, 900)
    if driver.execute_script("return document.documentElement.scrollWidth > window.innerWidth + 1"):
        yield "wider than a narrow screen"
