"""Patients that a page draws in a browser: the law of Python's, and a page that says what it does."""

import json
import shutil

import chromium
import numpy as np
import pytest
import torch
from scipy.stats import chi2, chi2_contingency

from reproduction.synthesis import try_it
from reproduction.synthesis.experiments import Run
from scoehr.files import CHECKOUT
from scoehr.thinning import thin

pytestmark = pytest.mark.timeout(0)  # drawing takes minutes of a processor, more on a busy machine

STATIC = CHECKOUT / "book" / "_static"
#: Codes that are compared, and the level of each comparison.
CODES, LEVEL = 50, 1e-3
#: Heart failure.
GIVEN = "428"
PHONE = {"deviceMetrics": {"width": 390, "height": 844, "pixelRatio": 2, "mobile": True}}
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

    chromium.visit(driver, page)
    WebDriverWait(driver, chromium.PATIENCE).until(
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
    grown, accepted = drawn(browser, 400, given)
    there = model.sample(2000, condition=[GIVEN], seed=4, progress=False).counts.toarray()
    here = grown[accepted]
    assert (here[:, given] > 0).all() and len(here) == 400 < len(grown)
    assert codes_p(here, there, given) > LEVEL
    assert lengths_p(here, there) > LEVEL
    # patients who are taken whether they have the code once or often are others, and it shows
    assert lengths_p(grown, there) < LEVEL


# The model file -----------------------------------------------------------------------------------


def test_the_file_is_small_and_the_same_each_time(experiment, page):
    first = (page.parent / try_it.SCRIPT).read_bytes()
    try_it.write(experiment, page.parent / "again.js")
    assert (page.parent / "again.js").read_bytes() == first and len(first) < 6e6


@chromium.INSTALLED
@pytest.mark.browser
def test_pairs_are_those_of_the_training_patients_and_few_are_hidden(browser, experiment):
    body = """
        const tensors = await thinning.unpack(scoehrModel);
        return ["first", "second", "patients"].map((part) => [...tensors[`pairs.${part}`].data]);"""
    first, second, found = np.array(script(browser, body))
    train = experiment.cohort().train
    present = (train.counts > 0).astype(int)
    expected = (present.T @ present).toarray()[first, second]
    assert (found == np.where(expected < 11, 1, expected)).all() and len(train) == 20_000
    assert not np.isin(found, np.arange(2, 11)).any() and (found == 1).any()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"credentialed": True}, "credentialed is not false"),
        ({"data": {"fingerprint": "0123456789abcdef"}}, "fingerprint is of no data"),
        ({"experiment": {"dataset": "mimic3"}}, "dataset is another"),
    ],
)
def test_a_model_of_data_that_are_not_open_is_refused(experiment, tmp_path, change, reason):
    folder = tmp_path / experiment.id
    shutil.copytree(experiment.stored.model, folder)
    assert try_it.refused(Run(folder)) == []
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps(config | change), encoding="utf-8")
    assert any(reason in each for each in try_it.refused(Run(folder)))


def test_a_model_without_weights_is_refused(experiment, tmp_path):
    folder = tmp_path / experiment.id
    shutil.copytree(experiment.stored.model, folder, ignore=lambda *_: ["rate.safetensors"])
    assert try_it.refused(Run(folder)) == ["its weights are not kept"]


# The page -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def phone(page, tmp_path_factory):
    """The page on a phone whose reader wants no motion."""
    profile = tmp_path_factory.mktemp("phone")
    driver = chromium.start(profile, "--force-prefers-reduced-motion", mobileEmulation=PHONE)
    yield driver
    driver.quit()


@pytest.fixture
def reader(phone, page):
    """What a reader does on the page, opened anew."""
    opened(phone, page)
    return Reader(phone)


class Reader:
    def __init__(self, driver):
        self.driver = driver

    def add(self, text):
        box = self.driver.find_element("id", "try-it-code")
        box.send_keys(text + "\n")

    def button(self, text):
        buttons = self.driver.find_elements("css selector", "#try-it button")
        return next(each for each in buttons if text in each.text)

    def wait(self, condition):
        from selenium.webdriver.support.wait import WebDriverWait

        return WebDriverWait(self.driver, 600).until(lambda _: condition())

    def press(self, text):
        """Press a button by the keyboard."""
        self.button(text).send_keys("\n")

    def text(self, selector="#try-it"):
        return self.driver.find_element("css selector", selector).text

    def rows(self):
        script = """return [...document.querySelectorAll("#try-it tbody tr")].map((row) =>
            [...row.cells].map((cell) => cell.innerText));"""
        return self.driver.execute_script(script)

    def fits(self):
        return self.driver.execute_script("return document.documentElement.scrollWidth") <= 390


@pytest.mark.browser
@chromium.INSTALLED
def test_a_reader_draws_a_patient_who_has_what_was_asked(reader, experiment, model):
    assert experiment.id in reader.text() and "20,000" in reader.text()
    reader.add(GIVEN)
    reader.add("427 Cardiac dysrhythmias")
    train = experiment.cohort().train
    has = {
        code: train.counts[:, [train.codes.tolist().index(code)]].toarray() > 0
        for code in (GIVEN, "427")
    }
    each = {code: f"{present.sum():,} have {code}" for code, present in has.items()}
    both = (has[GIVEN] & has["427"]).sum()
    assert reader.text(".support") == (
        f"Of 20,000 training patients {each[GIVEN]} and {each['427']}; {both:,} have all."
    )
    reader.press("Draw a patient")
    rows = reader.wait(reader.rows)
    assert [row[:2] for row in rows[:2]] == [["given", GIVEN], ["given", "427"]]
    titles = dict(zip(model.vocabulary.codes, model.vocabulary.titles, strict=True))
    assert all(row[2] == titles[row[1]] for row in rows)
    levels = [float(row[0]) for row in rows[2:]]
    assert levels == sorted(levels) and "evaluations of the network" in reader.text("caption")
    hidden = "return document.querySelectorAll('#try-it .to-come').length"
    assert reader.driver.execute_script(hidden) == 0 and reader.fits()
    assert chromium.addresses(reader.driver) == []
    assert [each for each in reader.driver.get_log("browser") if each["level"] == "SEVERE"] == []


@pytest.mark.browser
@chromium.INSTALLED
def test_a_reader_draws_many_and_stops(reader):
    """What is chosen while patients are drawn is for the next draw."""
    at_once = """
        const button = (text) => [...document.querySelectorAll("#try-it button")]
          .find((each) => each.innerText.startsWith(text));
        button("Draw 200").click();
        button("401").click();
        button("Stop").click();
        return button("Draw a patient").disabled;"""
    assert reader.driver.execute_script(at_once)
    rows = reader.wait(reader.rows)
    assert 0 < len(rows) <= 15 and all(len(row) == 4 and row[2].endswith(" %") for row in rows)
    assert "diagnoses each" in reader.text("caption") and reader.fits()
    assert not reader.button("Draw a patient").get_property("disabled")


@pytest.mark.browser
@chromium.INSTALLED
def test_what_cannot_be_drawn_is_explained(reader, experiment):
    reader.add("heart attack of a dragon")
    assert "has no diagnosis “heart attack of a dragon”" in reader.text(".status")
    train = experiment.cohort().train
    present = (train.counts > 0).astype(int)
    together = (present.T @ present).toarray()
    first, second = np.argwhere(together == 0)[0]
    reader.add(train.codes[first])
    reader.add(train.codes[second])
    assert "none have all. Choose diagnoses that patients have together." in reader.text(".support")
    assert reader.button("Draw a patient").get_property("disabled")
    reader.press(f"{train.codes[second]} ")
    assert not reader.button("Draw a patient").get_property("disabled")


@pytest.mark.browser
@chromium.INSTALLED
def test_every_control_has_a_name(reader):
    reader.add(GIVEN)
    unnamed = """return [...document.querySelectorAll("#try-it input, #try-it button")].filter((each) =>
        !(each.labels?.length || each.innerText || each.getAttribute("aria-label"))).length;"""
    assert reader.driver.execute_script(unnamed) == 0


@pytest.mark.browser
@chromium.INSTALLED
def test_a_book_without_a_model_says_so(phone, page, tmp_path):
    shutil.copytree(STATIC, tmp_path / "_static")
    (tmp_path / "page.html").write_text(PAGE, encoding="utf-8")
    opened(phone, tmp_path / "page.html")
    assert "could not be loaded" in Reader(phone).text()
    (tmp_path / try_it.SCRIPT).parent.mkdir()
    (tmp_path / try_it.SCRIPT).write_text(
        'globalThis.scoehrModel = {"refused": ["fingerprint is unknown"]};'
    )
    opened(phone, tmp_path / "page.html")
    assert Reader(phone).text() == "No model is in this book: fingerprint is unknown."
