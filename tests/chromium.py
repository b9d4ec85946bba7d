"""Chromium without a window, for the tests that look at pages."""

import json
import shutil

import pytest

CHROMIUM = (
    shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
)
DRIVER = shutil.which("chromedriver")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage",
)  # fmt: skip
#: Seconds that a page may take on a busy machine.
PATIENCE = 300
INSTALLED = pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="no Chromium with its driver here")
#: Marks of a test that opens pages.
NEEDED = [pytest.mark.browser, INSTALLED]


def start(profile, *flags, **experimental):
    """A browser whose profile lies in a new folder; it must be quit."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (*FLAGS, f"--user-data-dir={profile}", *flags):
        options.add_argument(flag)
    for name, value in experimental.items():
        options.add_experimental_option(name, value)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    driver.get("about:blank")
    driver.get_log("browser"), driver.get_log("performance")  # what it did before the first page
    return driver


def visit(driver, page):
    """Open a file and wait until scripts see it, or what it leads to, with all that it loads.

    The driver can come back from the first page of a busy browser before it has left the blank one.
    """
    from selenium.webdriver.support.wait import WebDriverWait

    driver.execute_script("window.isLeft = true")
    driver.get(page.as_uri())
    arrived = "return !window.isLeft && document.readyState === 'complete'"
    WebDriverWait(driver, PATIENCE).until(lambda _: driver.execute_script(arrived))


def events(driver):
    """What the pages asked of the network since this was called last."""
    return [json.loads(entry["message"])["message"] for entry in driver.get_log("performance")]


def addresses(driver):
    """The addresses off this machine that pages asked for since the last look."""
    asked = [each for each in events(driver) if each["method"] == "Network.requestWillBeSent"]
    found = [each["params"]["request"]["url"] for each in asked]
    here = ("file:", "data:", "about:", "chrome", "blob:")
    return [each for each in found if not each.startswith(here)]
