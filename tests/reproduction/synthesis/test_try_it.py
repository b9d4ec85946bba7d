"""Patients that a page draws in a browser: the law of Python's, and a page that says what it does."""

import json
import re
import shutil
from types import SimpleNamespace

import chromium
import numpy as np
import pytest
import torch
from scipy import sparse
from scipy.stats import chi2, chi2_contingency

from reproduction.synthesis import experiments, try_it
from scoehr.files import CHECKOUT
from scoehr.thinning import thin

pytestmark = pytest.mark.timeout(0)  # drawing takes minutes of a processor, more on a busy machine

STATIC = CHECKOUT / "book" / "_static"
#: Codes that are compared, and the level of each comparison.
CODES, LEVEL = 50, 1e-3
#: Heart failure.
GIVEN = "428"
PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>Page</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="stylesheet" href="_static/style.css">
<script src="_static/thinning.js"></script><script src="_static/try-it.js"></script></head>
<body><main class="bd-article"><div id="try-it">waiting</div></main></body></html>"""


@pytest.fixture(scope="module")
def experiment():
    return try_it.planned("simulated", None, "standard", 0)


@pytest.fixture(scope="module")
def model(experiment):
    return experiment.result.generator


@pytest.fixture(scope="module")
def page(experiment, tmp_path_factory):
    """A page with the model of the published run beside it, as in the book."""
    folder = tmp_path_factory.mktemp("book")
    shutil.copytree(STATIC, folder / "_static")
    try_it.write(experiment, folder / try_it.SCRIPT)
    (folder / "page.html").write_text(PAGE, encoding="utf-8")
    return folder / "page.html"


@pytest.fixture(scope="module")
def browser(page, tmp_path_factory):
    driver = chromium.start(tmp_path_factory.mktemp("profile"))
    driver.set_script_timeout(3600)
    opened(driver, page)
    yield driver
    driver.quit()


def opened(driver, page):
    from selenium.webdriver.support.wait import WebDriverWait

    driver.get(page.as_uri())
    WebDriverWait(driver, 300).until(
        lambda _: (
            driver.find_elements("css selector", "#try-it :is(form, .status)")
            and "being loaded" not in driver.find_element("id", "try-it").text
        )
    )


def script(driver, body, *arguments):
    """What JavaScript returns that has the model as ``rate``."""
    text = f"""
        const done = arguments[arguments.length - 1], given = arguments;
        (async () => {{
          globalThis.rate ??= new thinning.RateModel(await thinning.unpack(scoehrModel));
          {body}
        }})().then(done, (error) => done(String(error)));"""
    return driver.execute_async_script(text, *arguments)


# The law ------------------------------------------------------------------------------------------


def states(model):
    """Twenty patients thinned to levels from 0 to 0.99."""
    whole = torch.tensor(model.sample(20, seed=1, progress=False).counts.toarray()).float()
    level = torch.linspace(0, 0.99, 20)
    return thin(whole, level, torch.Generator().manual_seed(0)), level


@chromium.INSTALLED
@pytest.mark.browser
def test_rates_are_those_of_python(browser, model):
    x, level = states(model)
    with torch.no_grad():
        expected = model.rate.log_rate(x, level).double().numpy()
    cells = [[[int(code), int(row[code])] for code in row.nonzero()[:, 0]] for row in x]
    body = "return given[0].map((x, i) => [...rate.logRate(new Map(x), given[1][i])]);"
    found = np.array(script(browser, body, cells, level.double().tolist()))
    assert found.shape == expected.shape == (20, 1059)
    np.testing.assert_allclose(np.exp(found - expected), 1, rtol=0, atol=1e-3)


def drawn(driver, n, given):
    """Counts of patients drawn in the browser ``(proposed, n_codes)``, and which were accepted.

    Twenty-five are drawn under each random seed, the place of the first.
    """
    body = """
        const [n, codes, seed] = given, found = [];
        let missing = n;
        for (const { x, accepted } of thinning.proposals(rate, codes, thinning.randomNumbers(seed))) {
          found.push([accepted, [...x]]);
          if (accepted && --missing === 0) return found;
        }"""
    found = [each for seed in range(0, n, 25) for each in script(driver, body, 25, given, seed)]
    counts = np.zeros((len(found), 1059), dtype=int)
    for row, (_, cells) in zip(counts, found, strict=True):
        for code, count in cells:
            row[code] = count
    return counts, np.array([accepted for accepted, _ in found])


def codes_p(one, other, given=()):
    """P-value that the most frequent codes are as frequent in both ``(n, n_codes)``, by chi-square.

    The squared distance of the shares in the metric of their covariance, since codes of a patient
    depend on each other.
    """
    chosen = [code for code in np.argsort(-(other > 0).sum(axis=0)) if code not in given][:CODES]
    one, other = (one > 0)[:, chosen], (other > 0)[:, chosen]
    apart = one.mean(axis=0) - other.mean(axis=0)
    covariance = sum(np.cov(x.T) / len(x) for x in (one.astype(float), other.astype(float)))
    return chi2.sf(apart @ np.linalg.solve(covariance, apart), CODES)


def lengths_p(one, other):
    """P-value that both have the same distribution of lengths, by chi-square over their deciles."""
    one, other = one.sum(axis=1), other.sum(axis=1)
    edges = np.unique(np.quantile(other, np.arange(0.1, 1, 0.1)))
    table = [np.bincount(np.searchsorted(edges, x), minlength=len(edges) + 1) for x in (one, other)]
    return chi2_contingency(table).pvalue


@chromium.INSTALLED
@pytest.mark.browser
def test_patients_are_those_of_python(browser, model):
    here, _ = drawn(browser, 2000, [])
    there = model.sample(8000, seed=2, progress=False).counts.toarray()
    assert codes_p(here, there) > LEVEL
    assert lengths_p(here, there) > LEVEL


@chromium.INSTALLED
@pytest.mark.browser
def test_patients_on_condition_are_those_of_python(browser, model):
    given = [int(np.flatnonzero(model.vocabulary.codes == GIVEN)[0])]
    grown, accepted = drawn(browser, 600, given)
    there = model.sample(2000, condition=[GIVEN], seed=4, progress=False).counts.toarray()
    here = grown[accepted]
    assert (here[:, given] > 0).all() and len(here) == 600 < len(grown)
    assert codes_p(here, there, given) > LEVEL
    assert lengths_p(here, there) > LEVEL
    # patients who are taken whether they have the code once or often are others, and it shows
    assert lengths_p(grown, there) < LEVEL
