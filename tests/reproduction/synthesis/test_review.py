"""The blinded review: what reviewers get, what their sheets say, and what is refused."""

import csv
import re
from html.parser import HTMLParser

import chromium
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shell import done, inside, refused
from sklearn.metrics import roc_auc_score

from reproduction.synthesis import review
from scoehr.data import icd
from scoehr.data.matrix import CodeMatrix
from scoehr.data.simulate import sample_matrix
from scoehr.files import ROOT, InputError, read_json

#: Fleiss (1971), table 1: 30 patients put into 5 diagnoses by 6 psychiatrists each; kappa is .430.
FLEISS = """
00060 03003 01401 00006 03030 20400 00402 20310 20040 00006 10050 11040 03300 10050 02031
00501 30012 51000 02040 10203 00006 01050 02013 20040 10041 05010 40002 02040 10500 00006
"""
#: The paper's shares in percent, every, most, any of three reviewers, make these votes of 100 records a side.
PAPER = [[0, 7, 12, 81], [0, 5, 14, 81]]


@pytest.fixture(scope="module")
def people():
    """Two samples of simulated patients, in one vocabulary."""
    codes = np.array(list(icd.members())[:300])
    rng = np.random.default_rng(0)
    titles = [icd.title(code) for code in codes]
    return [
        CodeMatrix.from_array(
            rng.poisson(0.03, (150, 300)), codes, titles, patients=np.arange(n, n + 150)
        )
        for n in (0, 1000)
    ]


@pytest.fixture(scope="module")
def packet(people):
    return review.packet(*people, seed=1)


@pytest.fixture
def written(packet, tmp_path):
    """A packet on disk: its folder and its key."""
    review.write(packet, tmp_path / "packet", tmp_path / "key.csv", dataset="simulated")
    return tmp_path / "packet", tmp_path / "key.csv"


def sheet(path, records, answers):
    """A returned sheet."""
    pd.DataFrame({"record": records, "realism": answers}).to_csv(path, index=False)
    return path


# The packet ---------------------------------------------------------------------------------------------------------


def test_packet_holds_a_hundred_of_each(packet, people):
    assert (packet.records.shape[0], *np.unique(packet.origins, return_counts=True)[1]) == (
        200,
        100,
        100,
    )
    for side, origin in zip(people, review.ORIGINS, strict=True):
        theirs = {tuple(row) for row in side.dense(int)}
        rows = packet.records.align(side.codes).dense(int)[packet.origins == origin]
        assert all(tuple(row) in theirs for row in rows)


def test_packet_is_shuffled_under_its_seed(people, packet):
    again, other = (review.packet(*people, seed=seed) for seed in (1, 2))
    assert again.records.equals(packet.records) and np.array_equal(again.origins, packet.origins)
    assert other.name != packet.name and not np.array_equal(other.origins, packet.origins)
    assert (
        np.sum(packet.origins[1:] != packet.origins[:-1]) > 70
    )  # some 100 changes where the order is random


def test_folder_does_not_tell_which_is_which(written, packet, people):
    folder, key = written
    texts = [path.read_text(encoding="utf-8") for path in folder.iterdir()]
    assert not any("origin" in text or "synthetic" in text for text in texts)
    numbers = pd.read_csv(folder / "scores.csv")["record"].tolist()
    assert numbers == [f"{packet.name}-{number:03d}" for number in range(1, 201)]
    assert pd.read_csv(key)["record"].tolist() == numbers
    assert pd.read_csv(key)["origin"].value_counts().to_dict() == {"real": 100, "synthetic": 100}


def test_long_table_and_page_show_every_count_with_its_title(written, packet):
    folder, _ = written
    table = pd.read_csv(folder / "packet.csv", dtype={"code": str})
    assert list(table) == ["record", "code", "title", "count"]
    matrix = CodeMatrix.from_long(
        table.rename(columns={"record": "patient_id"}),
        patients=packet.records.patients,
        codes=packet.records.codes,
    )
    assert (matrix.counts != packet.records.counts).nnz == 0
    assert table["title"].tolist() == [icd.title(code) for code in table["code"]]
    shown = Cells()
    shown.feed((folder / "packet.html").read_text(encoding="utf-8"))
    assert shown.rows == [
        [line.code, line.title, str(line.count)] for line in table.itertuples(name="Line")
    ]
    assert shown.names == [number for number in packet.records.patients for _ in review.REALISM]


class Cells(HTMLParser):
    """The text of the table cells of a page, row by row, and the names of its radio buttons."""

    def __init__(self):
        super().__init__()
        self.rows, self.names, self.inside = [], [], False

    def handle_starttag(self, tag, attrs):
        if tag == "td":
            self.inside = True
            self.rows[-1].append("")
        elif tag == "tr":
            self.rows.append([])
        elif tag == "input" and dict(attrs)["type"] == "radio":
            self.names.append(dict(attrs)["name"])

    def handle_data(self, data):
        if self.inside:
            self.rows[-1][-1] += data

    def handle_endtag(self, tag):
        if tag == "td":
            self.inside = False
        elif tag == "table":
            self.rows = [row for row in self.rows if len(row) == 3]


def test_page_escapes_and_needs_no_network(people):
    titles = np.full(300, "<script>alert(1)</script> & more")
    hostile = [CodeMatrix(side.counts, side.patients, side.codes, titles) for side in people]
    text = review.page(review.packet(*hostile, n=5))
    assert (
        "<script>alert" not in text and "&lt;script&gt;alert(1)&lt;/script&gt; &amp; more" in text
    )
    assert not re.search(r"https?:|src=|@import|url\(", text)


def test_presence_of_one_side_hides_counts_of_the_other(people):
    real, synthetic = people
    made = review.packet(real, synthetic.to_binary())
    assert made.records.kind == "binary" and made.records.counts.data.max() == 1


def test_titles_of_one_side_serve_both(people):
    real, synthetic = people
    bare = CodeMatrix(synthetic.counts, synthetic.patients, synthetic.codes, np.full(300, ""))
    assert (
        review.packet(real, bare, seed=1).records.titles.tolist()
        == review.packet(real, synthetic, seed=1).records.titles.tolist()
    )


def test_too_few_patients_and_another_vocabulary_are_refused(people):
    real, synthetic = people
    with pytest.raises(InputError, match="150 real patients are too few for 151"):
        review.packet(real, synthetic, n=151)
    other = CodeMatrix(real.counts, real.patients, np.char.add(real.codes, "9"), real.titles)
    with pytest.raises(InputError, match="one vocabulary"):
        review.packet(other, synthetic)


@pytest.mark.parametrize("folder", ["book", "saved_models", "synthetic_data/deep"])
@pytest.mark.parametrize("dataset", ["mimic3", "mimic4", "table"])
def test_credentialed_records_are_not_written_where_things_are_published(
    packet, tmp_path, dataset, folder
):
    out = ROOT / folder / "packet-of-a-test"
    with pytest.raises(InputError, match="which is published"):
        review.write(packet, out, tmp_path / "key.csv", dataset=dataset)
    assert not out.exists() and not (tmp_path / "key.csv").exists()


def test_a_link_into_a_published_folder_is_seen(packet, tmp_path):
    (tmp_path / "link").symlink_to(ROOT / "book")
    with pytest.raises(InputError, match="book/, which is published"):
        review.write(
            packet, tmp_path / "link" / "packet-of-a-test", tmp_path / "key.csv", dataset="mimic3"
        )


@pytest.mark.parametrize("folder", ["book", "saved_models"])
def test_the_name_of_an_open_set_does_not_open_other_data(packet, tmp_path, folder):
    with pytest.raises(InputError, match="which is published"):
        review.write(
            packet,
            ROOT / folder / "p",
            tmp_path / "k.csv",
            dataset="diabetes130",
            fingerprint="0" * 16,
        )


def test_no_spreadsheet_runs_a_code_or_a_title(tmp_path):
    codes = np.array(["=1+1", "+401", "-401", "@x", "428"])
    titles = ['=HYPERLINK("http://x.org")', "+a", "-b", "@c", "plain"]
    real = CodeMatrix.from_array(np.ones((3, 5), int), codes, titles)
    made = review.packet(real, real, n=2)
    review.write(made, tmp_path / "packet", tmp_path / "key.csv", dataset="simulated")
    table = pd.read_csv(tmp_path / "packet" / "packet.csv", dtype=str)
    cells = [cell for name in table for cell in table[name]]
    assert not [cell for cell in cells if cell[0] in "=+-@\t\r"]
    assert set(table["code"]) == {"'=1+1", "'+401", "'-401", "'@x", "428"}


def test_nothing_is_overwritten_and_the_key_stays_out(written, packet, tmp_path):
    folder, key = written
    before = key.read_bytes()
    for place, secret, said in [
        (folder, tmp_path / "new.csv", "is there already"),
        (tmp_path / "new", key, "is there already"),
        (tmp_path / "new", tmp_path / "new" / "key.csv", "the folder that reviewers get"),
    ]:
        with pytest.raises(InputError, match=said):
            review.write(packet, place, secret, dataset="simulated")
    assert key.read_bytes() == before and not (tmp_path / "new").exists()


# What the scores say ------------------------------------------------------------------------------------------------


def test_kappa_of_fleiss():
    table = np.array([list(map(int, row)) for row in FLEISS.split()])
    assert table.sum(axis=0).tolist() == [26, 26, 30, 55, 43]
    assert review.fleiss_kappa(table) == pytest.approx(0.430, abs=5e-4)
    rows, times = np.unique(table, axis=0, return_counts=True)
    assert review.fleiss_kappa(rows, [times, 2 * times]) == pytest.approx(
        [review.fleiss_kappa(table)] * 2
    )


def test_kappa_at_its_ends():
    assert review.fleiss_kappa([[3, 0], [0, 3]]) == 1
    assert review.fleiss_kappa([[1, 1], [1, 1]]) == -1
    assert np.isnan(review.fleiss_kappa([[3, 0], [3, 0]])) and np.isnan(
        review.fleiss_kappa([[1, 0], [0, 1]])
    )


def test_the_votes_of_the_paper():
    said = review.judge(PAPER)
    shares = {
        name: [rule["real"].value, rule["synthetic"].value] for name, rule in said["rules"].items()
    }
    assert shares == {
        "every reviewer": [0.81, 0.81],
        "most reviewers": [0.93, 0.95],
        "any reviewer": [1, 1],
    }
    _, low, high = said["rules"]["every reviewer"]["real"][:3]
    assert (low, high) == pytest.approx((0.7222, 0.8749), abs=1e-4)  # Wilson's for 81 of 100
    # 200 records, 3 reviewers: P = (162 + 38 / 3) / 200 and p = (12 + 2 * 26 + 3 * 162) / 600.
    p = 550 / 600
    chance = p**2 + (1 - p) ** 2
    assert said["kappa"].value == pytest.approx(((162 + 38 / 3) / 200 - chance) / (1 - chance))
    assert said["auc"].low < 0.5 < said["auc"].high


def test_difference_as_newcombe_prints_it():
    """Newcombe (1998), table II, method 10: 56/70 - 48/80 has .0524 to .3339, and 9/10 - 3/10 has .1705 to .8090."""
    for (a, m), (b, n), expected in [
        ((56, 70), (48, 80), (0.0524, 0.3339)),
        ((9, 10), (3, 10), (0.1705, 0.8090)),
    ]:
        rule = review.judge([[m - a, a], [n - b, b]])["rules"]["any reviewer"]
        assert rule["difference"][1:3] == pytest.approx(expected, abs=1e-4)


answers = st.integers(1, 5).flatmap(
    lambda reviewers: st.lists(
        st.tuples(st.booleans(), st.lists(st.booleans(), min_size=reviewers, max_size=reviewers)),
        min_size=2,
    )
)


@settings(max_examples=50)
@given(answers.filter(lambda rows: len({origin for origin, _ in rows}) == 2))
def test_judge_against_the_definitions(rows):
    """Record by record, as the rules are worded, and scikit-learn's AUC."""
    synthetic = np.array([origin for origin, _ in rows])
    given_ = np.array([row for _, row in rows])
    reviewers = given_.shape[1]
    votes = [
        np.bincount(given_.sum(axis=1)[side], minlength=reviewers + 1)
        for side in (~synthetic, synthetic)
    ]
    said = review.judge(votes)
    words = {
        "every reviewer": all,
        "most reviewers": lambda row: sum(row) > len(row) - sum(row),
        "any reviewer": any,
    }
    for name, rule in words.items():
        label = np.array([rule(row) for row in given_])
        for origin, side in (("real", ~synthetic), ("synthetic", synthetic)):
            share = said["rules"][name][origin]
            assert share.value == pytest.approx(label[side].mean())
            assert share.low - 1e-9 <= share.value <= share.high + 1e-9
    assert said["auc"].value == pytest.approx(roc_auc_score(synthetic, -given_.sum(axis=1)))
    assert said["accuracy"].value == pytest.approx((given_ != synthetic[:, None]).mean())


def test_intervals_cover_the_truth():
    """Reviewers of known skill: 95 % intervals hold the true accuracy and AUC in most of 100 reviews."""
    rng = np.random.default_rng(3)
    hold = []
    for _ in range(100):
        votes = [rng.multinomial(100, [q**2, 2 * q * (1 - q), (1 - q) ** 2]) for q in (0.2, 0.5)]
        said = review.judge(votes)
        # Two independent reviewers who call real records realistic with .8, synthetic ones with .5.
        truths = {"accuracy": (0.8 + 0.5) / 2, "auc": 0.7475}
        hold.append([said[name].low <= truth <= said[name].high for name, truth in truths.items()])
    assert (np.mean(hold, axis=0) > 0.9).all() and np.mean(hold) < 1


# Sheets -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def returned(written, packet, tmp_path):
    """The sheets of three reviewers: one knows, one errs always, one calls all realistic."""
    real = packet.origins == "real"
    right = np.where(real, "realistic", "unrealistic")
    wrong = np.where(real, "unrealistic", "realistic")
    columns = {"right": right, "wrong": wrong, "kind": np.full(200, "Realistic ")}
    return [
        sheet(tmp_path / f"{name}.csv", packet.records.patients, column)
        for name, column in columns.items()
    ]


def test_score_of_known_reviewers(returned, written):
    said = review.score(returned, written[1])
    assert [share.value for share in said["right answers"].values()] == [1, 0, 0.5]
    assert said["rules"]["every reviewer"]["real"].value == 0
    assert said["rules"]["most reviewers"]["synthetic"].value == 1
    assert (said["accuracy"].value, said["auc"].value) == (0.5, 0.5)
    assert review.score(returned[:1], written[1])["auc"].value == 1
    assert np.isnan(review.score(returned[:1], written[1])["kappa"].value)


def test_sheet_in_any_order_with_a_remark_and_a_byte_order_mark(returned, written, tmp_path):
    with returned[0].open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    text = "Realism,remark,Record\r\n" + "".join(
        f"{row['realism']},x,{row['record']}\r\n" for row in rows[::-1]
    )
    other = tmp_path / "other.csv"
    other.write_text(text, encoding="utf-8-sig")
    one, two = (review.score([path], written[1]) for path in (returned[0], other))
    assert [one["auc"], one["rules"]] == [two["auc"], two["rules"]]


SPOILED = {
    "a missing record": (lambda rows: rows[:-1], ["column record", "lacks", "-200", "(1 missing)"]),
    "a score out of range": (
        lambda rows: [*rows[:4], [rows[4][0], "7"], *rows[5:]],
        ["column realism", "row 5", "'7'"],
    ),
    "an empty score": (
        lambda rows: [[rows[0][0], ""], *rows[1:]],
        ["column realism", "row 1", "'empty'"],
    ),
    "a record twice": (
        lambda rows: [*rows, rows[2]],
        ["column record", "row 201", "has a row already"],
    ),
    "an unknown record": (
        lambda rows: [*rows[:9], ["abcd-010", "realistic"], *rows[10:]],
        ["row 10", "not in the key"],
    ),
    "a short row": (lambda rows: [rows[0][:1], *rows[1:]], ["column realism", "row 1", "'empty'"]),
}


@pytest.mark.parametrize("fault", SPOILED)
def test_bad_sheets_are_refused_in_one_line(returned, written, tmp_path, fault):
    spoil, words = SPOILED[fault]
    with returned[0].open(encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    bad = tmp_path / "bad.csv"
    bad.write_text(
        "".join(",".join(row) + "\n" for row in [header, *spoil(rows)]), encoding="utf-8"
    )
    out = tmp_path / "said.json"
    result = inside("review", "--score", returned[1], bad, "--key", written[1], "--json", out)
    refused(result, str(bad), *words)
    assert not out.exists()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"record;realism\n", ["header", "no column record", "commas"]),
        (b"record,score\n", ["header", "no column realism (it has record, score)"]),
        (b"", ["header", "it has nothing"]),
        (b"\xff\xfe\x00", ["not text in UTF-8"]),
    ],
)
def test_wrong_headers_and_files_are_refused(written, tmp_path, content, words):
    bad = tmp_path / "bad.csv"
    bad.write_bytes(content)
    refused(inside("review", "--score", bad, "--key", written[1]), str(bad), *words)


def test_bad_keys_are_refused(returned, written, tmp_path):
    refused(inside("review", "--score", *returned), "--key")
    refused(
        inside("review", "--score", *returned, "--key", tmp_path / "none.csv"),
        "none.csv",
        "no such file",
    )
    refused(
        inside("review", "--score", returned[0], returned[0], "--key", written[1]), "given twice"
    )
    one = tmp_path / "one.csv"
    one.write_text("record,origin\n" + "".join(f"a-{n},real\n" for n in range(9)), encoding="utf-8")
    refused(inside("review", "--score", *returned, "--key", one), "one.csv", "no synthetic record")
    one.write_text("record,origin\na-1,reel\n", encoding="utf-8")
    refused(
        inside("review", "--score", *returned, "--key", one), "column origin", "row 1", "'reel'"
    )


# The shell ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def parquet(tmp_path_factory):
    """Held-out and synthetic patients as files."""
    folder = tmp_path_factory.mktemp("tables")
    for name, seed in (("real", 1), ("synthetic", 2)):
        sample_matrix(120, seed=seed).write(folder / f"{name}.parquet")
    return folder


def test_from_tables_to_a_verdict(parquet, tmp_path):
    out = tmp_path / "packet"
    said = done("review", parquet / "real.parquet", parquet / "synthetic.parquet", "--out", out)
    key = tmp_path / "packet-key-not-for-reviewers.csv"
    assert str(out) in said and str(key) in said
    sheets = []
    for n in range(3):
        frame = pd.read_csv(out / "scores.csv")
        frame["realism"] = np.random.default_rng(n).choice(review.REALISM, len(frame), p=[0.9, 0.1])
        frame.to_csv(tmp_path / f"scores-{n}.csv", index=False)
        sheets.append(tmp_path / f"scores-{n}.csv")
    printed = done("review", "--score", *sheets, "--key", key, "--json", tmp_path / "said.json")
    results = read_json(tmp_path / "said.json")
    assert results["records"] == {"real": 100, "synthetic": 100} and results["reviewers"] == 3
    assert list(results["rules"]) == list(review.RULES)
    for name, rule in results["rules"].items():
        (line,) = [line for line in printed.splitlines() if line.startswith(name)]
        assert f"{rule['real']['value']:.3f} [{rule['real']['interval'][0]:.3f}" in line
    assert abs(results["kappa"]["value"]) < 0.2 and "Fleiss' kappa" in printed


def test_real_records_are_held_out_ones_of_the_data_set(shared_data, parquet, tmp_path):
    from scoehr.data.datasets import load

    source = shared_data / "mimic3-demo"
    test = load("mimic3", source).matrix.split().test
    test.write(tmp_path / "synthetic.parquet")
    arguments = [
        "review",
        tmp_path / "synthetic.parquet",
        "--dataset",
        "mimic3",
        "--source",
        source,
        "--records",
        30,
    ]
    done(*arguments, "--out", tmp_path / "packet")
    table = pd.read_csv(tmp_path / "packet" / "packet.csv", dtype={"code": str})
    key = pd.read_csv(tmp_path / "packet-key-not-for-reviewers.csv").set_index("record")["origin"]
    shown = {
        origin: sorted(
            tuple(zip(rows["code"], rows["count"], strict=True))
            for record, rows in table.groupby("record")
            if key[record] == origin
        )
        for origin in review.ORIGINS
    }
    assert (
        len(test) == 30 and shown["real"] == shown["synthetic"]
    )  # thirty of thirty held-out patients, on both sides
    refused(inside(*arguments, "--out", ROOT / "book" / "packet-of-a-test"), "book/", "published")


def test_wrong_use_is_explained(parquet, tmp_path):
    table = parquet / "real.parquet"
    refused(inside("review", table), "--out FOLDER")
    refused(inside("review", table, table, table, "--out", tmp_path / "packet"), "--score")
    assert list(tmp_path.iterdir()) == []


# The form -----------------------------------------------------------------------------------------------------------


@pytest.mark.browser
@chromium.INSTALLED
def test_form_keeps_and_saves_what_the_reviewer_chose(written, packet, tmp_path):
    from selenium.webdriver.support.wait import WebDriverWait

    folder, key = written
    downloads = {"download.default_directory": str(tmp_path / "saved")}
    driver = chromium.start(tmp_path / "profile", "--window-size=1000,900", prefs=downloads)
    try:
        chromium.visit(driver, folder / "packet.html")
        driver.find_element("id", "initials").send_keys("A. B")
        first = str(packet.records.patients[0])
        driver.find_element("css selector", f"#{first} input[value=unrealistic]").click()
        driver.find_element("id", "next").click()
        assert driver.switch_to.active_element.get_attribute("name") == packet.records.patients[1]
        driver.refresh()
        assert driver.find_element("id", "count").text == "1 of 200 scored"
        assert driver.find_element(
            "css selector", f"#{first} input[value=unrealistic]"
        ).is_selected()
        driver.execute_script(
            "document.querySelectorAll('input[value=realistic]').forEach((input) => input.click())"
        )
        driver.find_element("css selector", f"#{first} input[value=unrealistic]").click()
        driver.find_element("id", "save").click()
        saved = tmp_path / "saved" / f"scores-{packet.name}-AB.csv"
        WebDriverWait(driver, chromium.PATIENCE).until(lambda _: saved.exists())
        assert driver.find_element("id", "said").text == f"Saved as {saved.name} in your downloads."
        assert [entry["message"] for entry in driver.get_log("browser")] == []
        assert chromium.addresses(driver) == []
    finally:
        driver.quit()
    answers = pd.read_csv(saved)
    assert answers["realism"].tolist() == ["unrealistic"] + ["realistic"] * 199
    assert review.score([saved], key)["reviewers"] == 1
