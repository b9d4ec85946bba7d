"""The ledger of claims, the printed numbers, and that nothing of either is missing from the book.

What has to be there is typed here once more, from the plan of the reproduction, apart from ``reproduction/synthesis/reported.json``.
"""

import json
import math
import re
from dataclasses import asdict

import numpy as np
import pytest
import yaml
from bs4 import BeautifulSoup
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import stats

from reproduction import claims
from reproduction.estimates import Estimate, newcombe, normal, student, welch, wilson
from reproduction.synthesis import experiments, reported
from reproduction.synthesis.claims import LEDGER
from reproduction.synthesis.reported import QUOTES
from scoehr import metrics
from scoehr.data.matrix import CodeMatrix
from scoehr.data.simulate import sample_matrix
from scoehr.files import CHECKOUT
from scoehr.metrics import fidelity
from scoehr.metrics.clusters import Clusters
from scoehr.metrics.reported import cosine_share, ddm, log_cluster, pcd

# What has to be there ------------------------------------------------------------------------------------------------

#: Log-cluster, PCD, DDM, share not protected (%), mean cell of every printed model.
ROWS = {
    "reported": (-5.01, 37.25, 0.0021, 2.79, 0.0085),
    "reported-64": (-3.47, 33.64, 0.0023, 2.23, 0.0106),
    "reported-256": (-3.69, 36.47, 0.0021, 2.46, 0.0083),
    "reported-none": (-3.28, 28.85, 0.0025, 1.79, 0.0128),
    "reported-rate-00025": (-6.00, 35.65, 0.0019, 2.81, 0.0062),
    "reported-rate-0005": (-3.65, 36.95, 0.0022, 2.49, 0.0093),
    "reported-epochs-30": (-5.17, 39.51, 0.0021, 2.64, 0.0088),
    "reported-rate-0025": (-5.27, 39.15, 0.0021, 3.03, 0.0088),
    "reported-rate-005": (-29748.27, 131.44, 5.4636, 0.0, 51.259),
    "reported-epochs-12": (-6.49, 36.30, 0.0021, 1.99, 0.0087),
    "reported-epochs-25": (-4.56, 34.31, 0.0022, 2.53, 0.0102),
    "reported-epochs-50": (-3.46, 37.80, 0.0022, 2.59, 0.0094),
    "reported-epochs-75": (-3.35, 35.55, 0.0022, 2.68, 0.0093),
    "reported-epochs-100": (-3.97, 38.59, 0.0021, 2.50, 0.0091),
}
#: DDM, PCD, log-cluster, SRA of each model in the paper, with margins, for MIMIC-III and for emergency records.
PAPER = {
    "paper": {
        "medGAN": (0.0019, 0.0001, 120, 8, -2.9, 0.1, 0.83, 0.02),
        "medBGAN": (0.0016, 0.0001, 146, 6, -3.2, 0.1, 0.86, 0.03),
        "medWGAN": (0.0025, 0.0001, 22.1, 0.4, -5.4, 0.2, 0.81, 0.03),
        "ScoEHR": (0.0029, 0.0001, 21.8, 0.3, -6.0, 0.1, 0.87, 0.02),
    },
    "paper_ed": {
        "medGAN": (0.012, 0.001, 24.1, 0.2, -3.7, 0.3, 0.81, 0.02),
        "medBGAN": (0.014, 0.001, 20.7, 0.5, -2.5, 0.2, 0.85, 0.03),
        "medWGAN": (0.0088, 0.0001, 15.2, 0.3, -6.1, 0.4, 0.83, 0.04),
        "ScoEHR": (0.0037, 0.0001, 33.6, 0.2, -7.8, 0.5, 0.86, 0.03),
    },
}
#: First, last and lowest loss of every published curve, and the epoch of the lowest.
CURVES = {
    ("autoencoder", "64", "train"): (13.3603, 2.4172, 2.3839, 198),
    ("autoencoder", "144", "train"): (9.3367, 0.6978, 0.5824, 184),
    ("autoencoder", "256", "train"): (7.2347, 0.7347, 0.7347, 200),
    ("autoencoder", "64", "test"): (8.9695, 4.3562, 4.3434, 199),
    ("autoencoder", "144", "test"): (5.0946, 2.3419, 2.1762, 183),
    ("autoencoder", "256", "test"): (3.7386, 1.7354, 1.7232, 193),
    ("score", "64", "train"): (7.2496, 4.7424, 4.7424, 50),
    ("score", "144", "train"): (16.3140, 10.0250, 9.9905, 49),
    ("score", "256", "train"): (26.8825, 13.8805, 13.8691, 46),
    ("score", "none", "train"): (50.8228, 6.2692, 6.1319, 46),
    ("score", "64", "test"): (5.9517, 4.7645, 4.7305, 45),
    ("score", "144", "test"): (12.8265, 10.1112, 10.0253, 38),
    ("score", "256", "test"): (19.3499, 13.9191, 13.8589, 46),
    ("score", "none", "test"): (22.4750, 6.2439, 6.2087, 41),
}
#: Every printed value, by the id of its experiment. Those without a value were not attempted, or left none.
VALUES = {
    "D1": (49993, 52769, 1.0555, 9.1038, 46520, 1071, 32564, 13956, 58976, 1.2678, 11.0384),
    "D2": (0.0131, 46520, 1071),
    "A1": tuple(
        value for key, values in CURVES.items() if key[0] == "autoencoder" for value in values
    ),
    "A2": (0.0117, 0.0126, 0.0131, 268, 252, 377, 24),
    "N1": tuple(value for key, values in CURVES.items() if key[0] == "score" for value in values),
    "T1": ROWS["reported"],
    "T2": sum(
        (ROWS[name] for name in ("reported", "reported-64", "reported-256", "reported-none")), ()
    ),
    "T3": sum((row for name, row in ROWS.items() if "-rate-" in name), ROWS["reported-epochs-30"]),
    "T4": sum((row for name, row in ROWS.items() if "-epochs-" in name), ()),
    "F1": (*(row[-1] for row in ROWS.values()), 0.0132),
    "C1": (3.5, 27, 42, 73, 270, 37, 68, 120, 510, 0.3, 0.4, 1.2, 1.5, 2.3, 6.2, 2.7, 3.3, 19),
    "P1": sum(PAPER["paper"].values(), ()),
    "P2": sum(PAPER["paper_ed"].values(), ()),
    "P3": (5, 22.8, -1.4),
    "SRA": (),
    "PR": tuple(row[3] for row in ROWS.values()),
    "H2": (81, 100, 93, 95),
    "W1": (9,),
    "W2": (),
}
CLAIMS = {
    "P1.log-cluster", "P1.pcd", "P1.sra", "P1.ranking", "P2.ddm", "P2.log-cluster", "P2.sra", "P3.needed", "P3.ddm",
    "PR.none",
    "H2.clinicians", "D1.cohort", "D2.matrix", "A1.epochs", "A2.size", "N1.epochs", "T1.log-cluster", "T1.pcd",
    "T1.ddm", "T1.reproducible", "T2.autoencoder", "T2.dimension", "T3.smallest", "T3.largest", "T4.twelve",
    "T4.converged", "F1.fewer", "F1.quoted", "C1.time", "C1.memory", "C1.gpu", "SRA.labels", "PR.share",
    "W1.preprocessing", "W2.records",
}  # fmt: skip

BOOK = LEDGER.book
#: The settings of every row of the plan at the reported scale.
PLANNED = {name: asdict(row.config) for name, row in experiments.plan(profile="paper").items()}
SOURCES = {
    path.stem: path.read_text(encoding="utf-8") for path in (CHECKOUT / "notebooks").glob("*.py")
}
WORDS = {"holds", "contradicted", "not supported", "not shown", "cannot be tested"}


def test_every_id_has_its_page():
    assert set(BOOK["evidence"]) == set(VALUES)
    toc = yaml.safe_load((CHECKOUT / "book" / "_toc.yml").read_text(encoding="utf-8"))
    chapters = [chapter for part in toc["parts"] for chapter in part["chapters"]]
    sections = [section for chapter in chapters for section in chapter.get("sections", [])]
    pages = {page["file"] for page in (*chapters, *sections)}
    targets = [*BOOK["evidence"].values(), *(claim["evidence"] for claim in BOOK["claims"])]
    assert [target for target in targets if target.partition("#")[0] not in pages] == []
    for name, target in BOOK["evidence"].items():
        assert target.endswith(f"#{name.lower()}")
    lacking = [target for target in targets if not anchored(target)]
    assert lacking == [], "pages without the anchor that the book links to"


def anchored(target):
    page, _, anchor = target.partition("#")
    return f"({anchor})=" in SOURCES.get(page.removeprefix("notebooks/"), "")


def test_every_claim_is_in_the_ledger_and_its_entries_in_the_plan():
    assert {claim["id"] for claim in BOOK["claims"]} == CLAIMS
    assert len(BOOK["claims"]) == len(CLAIMS)
    plan = experiments.plan()
    for claim in BOOK["claims"]:
        assert claim["id"].partition(".")[0] in VALUES
        assert claim["study"] in {"paper", "report"} and claim["source"] and claim["statement"]
        assert "rests_on" in claim or claim["test"] in LEDGER.tests
        assert set(claim.get("needs", [])) <= set(plan), claim["id"]
        given_runs = {name for name in plan if re.search(rf"'{name}'", str(claim.get("given")))}
        if claim.get("test") not in {
            "converted",
            "bounded",
            "ranges",
            "fewer",
        }:  # these read printed rows, not runs
            assert given_runs == set(claim.get("needs", [])), claim["id"]


def test_the_quoted_values_are_those_of_the_studies():
    facts = QUOTES.values
    keys = ("log_cluster", "pcd", "ddm", "cosine", "density")
    assert {row["experiment"]: tuple(row[key] for key in keys) for row in facts["report"]} == ROWS
    keys = [key + mark for key in ("ddm", "pcd", "log_cluster", "sra") for mark in ("", " ±")]
    for table, models in PAPER.items():
        for row in facts[table][:4]:
            assert tuple(row[key] for key in keys) == models[row["title"]]
    found = {}
    for curve in facts["curves"]:
        assert len(curve["epochs"]) == len(curve["loss"]) and curve["epochs"] == sorted(
            set(curve["epochs"])
        )
        lowest = int(np.argmin(curve["loss"]))
        ends = (curve["loss"][0], curve["loss"][-1], curve["loss"][lowest], curve["epochs"][lowest])
        found[curve["stage"], curve["latent"], curve["set"]] = ends
    assert found == CURVES


def numbers(value):
    """All numbers in nested lists and dictionaries."""
    if isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from numbers(part)
    elif isinstance(value, int | float):
        yield float(value)


def test_a_product_of_quoted_values_has_three_digits():
    row = "report/reported/density"
    assert QUOTES.value(row) * QUOTES.value("report_codes") == pytest.approx(9.1035)
    assert QUOTES.fill(f"{{{row} * report_codes}} of {{{row}}}") == "9.1 of 0.0085"


@pytest.mark.parametrize("name", VALUES)
def test_every_printed_value_is_in_the_file_of_quoted_values(name):
    assert set(map(float, VALUES[name])) - set(numbers(QUOTES.values)) == set()


# The arithmetic of the printed numbers -------------------------------------------------------------------------------


@given(
    st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), min_size=20, max_size=20),
    st.integers(0, 40),
)
@settings(max_examples=60, deadline=None)
def test_the_conversion_is_the_published_score_of_the_same_clusters(sizes, last):
    """On any clusters of two sets of one size, the report's score converts to the published one exactly."""
    real, synthetic = (np.array([*column, last]) for column in zip(*sizes, strict=True))
    real[-1], synthetic[-1] = (
        1,
        1,
    )  # the last cluster holds a real row, so that the report's code does not stop
    real[0] += max(0, synthetic.sum() - real.sum())
    synthetic[0] += max(0, real.sum() - synthetic.sum())
    kept = real + synthetic > 0
    real, synthetic = real[kept], synthetic[kept]
    names = np.arange(len(real))
    made = Clusters(
        np.r_[np.repeat(names, real), np.repeat(names, synthetic)], int(real.sum()), len(real)
    )
    none = np.empty((0, 1))
    score = log_cluster(none, none, clusters=made)
    low, high = reported.bounds(len(real))
    assert low - 1e-4 <= score <= high
    if score < -1e-3:  # the report computes in single precision
        assert reported.published(score, len(real)) == pytest.approx(
            fidelity.log_cluster(made), abs=1e-3
        )


def test_no_clusters_have_the_impossible_value():
    assert math.isnan(reported.published(-29748.27, 20))
    assert reported.published(-6.49, 20) == pytest.approx(-2.223, abs=5e-4)
    made = reported.impossible(-29748.27, 20, 10048)
    assert (
        made.n_real == 10048 and len(made.labels) == 2 * 10048 and (made.labels[:10048] == 0).all()
    )
    none = np.empty((0, 1))
    again = log_cluster(none, none, on_missing="broadcast", clusters=made)
    assert again == pytest.approx(-29748.27, rel=2e-3)


def test_an_empty_table_scores_what_is_said():
    """On unrelated codes with truly empty synthetic rows, by the report's own code."""
    rng = np.random.default_rng(0)
    rate = rng.uniform(0.02, 0.3, 60)
    real, none = rng.poisson(rate, (3000, 60)), np.zeros((3000, 60))
    said = reported.empty(density=real.mean(), codes=60, patients=3000, clusters=20)
    assert ddm(real, none) == pytest.approx(said["DDM"], rel=1e-4)
    assert pcd(real, none) == pytest.approx(said["PCD, with chance"], rel=0.01)
    assert said["PCD, diagonal alone"] < pcd(real, none)
    assert pcd(real, rng.poisson(rate, (3000, 60))) == pytest.approx(
        reported.chance_pcd(60, 3000), rel=0.05
    )
    assert said["log-cluster, at least"] <= log_cluster(real, none) <= said["log-cluster, at most"]
    assert cosine_share(real, none) == said["cosine share (%)"] == 0


def test_what_the_printed_numbers_say():
    facts = reported.empty(**reported.scale())
    assert facts["DDM"] == pytest.approx(0.0014, abs=5e-5)
    table = reported.report()
    assert table["log-cluster, corrected"].idxmin() == "no autoencoder"
    assert table["log-cluster, corrected"].idxmax() == "rate 0.001, 12 epochs"
    digits = reported.ddm_digits()
    assert (digits.round(4) == table["DDM"]).all()
    bounds = dict(zip(ROWS, reported.least_error(table["codes per patient"]).round(4), strict=True))
    expected = {
        "reported": 0.0047,
        "reported-64": 0.0026,
        "reported-none": 0.0004,
        "reported-rate-00025": 0.0070,
    }
    assert {name: bounds[name] for name in expected} == expected
    twins = reported.spread()
    assert twins["PCD"] == pytest.approx(0.55)
    assert twins["codes per patient"] == pytest.approx(0.0009 * QUOTES.values["report_codes"])
    assert len(reported.differences()) == 4 * (6 + 6 + 15)


@pytest.mark.parametrize(
    ("epochs", "share"), [(12, 0.70), (25, 0.92), (30, 0.96), (75, 1.006), (100, 1.007)]
)
def test_the_reported_schedule_is_a_geometric_sum(epochs, share):
    spent = reported.budget("reported", epochs, epochs)
    assert spent == pytest.approx(0.5 * (1 - math.exp(-0.1 * epochs)) / (1 - math.exp(-0.1)))
    assert spent / reported.budget("reported", 50, 50) == pytest.approx(share, abs=0.005)


def test_the_interval_of_two_shares_is_newcombes():
    apart = newcombe(wilson(9, 10), wilson(3, 10))
    assert apart[1:3] == pytest.approx((0.1705, 0.8090), abs=5e-5)  # his table II, case (b)


@pytest.mark.filterwarnings("error")
def test_draws_that_are_no_numbers_give_no_interval():
    assert not normal([0.5, math.nan, math.nan]).has_interval
    draws = np.random.default_rng(0).normal(0.4, 0.1, 2000)
    found = normal([0.5, *draws, math.nan])
    assert (found.value, found.low) == (0.5, pytest.approx(0.5 - 0.196, abs=0.01))


def test_a_place_without_a_value_is_an_error():
    with pytest.raises(KeyError, match=r"no report/reported/pdc"):
        QUOTES.value("report/reported/pdc")


# The ledger ----------------------------------------------------------------------------------------------------------

CODES = np.argsort(-sample_matrix(2000, seed=9).dense().mean(axis=0))[:30]
ROWS_SCORED, SEEDS = 40, 3


def patients(seed, n=120):
    cells = sample_matrix(n, seed=seed).dense()[:, CODES]
    return CodeMatrix.from_array(cells, codes=[f"c{place:02d}" for place in range(len(CODES))])


def spoiled(seed, share):
    """Patients of whose codes only this share is kept: the smaller, the worse."""
    matrix = patients(seed)
    cells = np.random.default_rng(seed).binomial(matrix.dense().astype(int), share)
    return CodeMatrix.from_array(cells, codes=matrix.codes)


@pytest.fixture(scope="session")
def results():
    """Results of ``evaluate`` by the share of codes kept, one a random seed."""
    real, train = patients(1), patients(2)
    reference = metrics.references(real, train=train, n=ROWS_SCORED)
    return {
        share: [
            metrics.evaluate(
                real,
                spoiled(10 + seed, share),
                train=train,
                reference=reference,
                n=ROWS_SCORED,
                seed=seed,
            )
            for seed in range(SEEDS)
        ]
        for share in (1.0, 0.15)
    }


@pytest.fixture
def run(tmp_path, results):
    """Write a finished run: how good it is, its last losses, its costs."""

    def write(name, seed, *, dataset="mimic3", kept=1.0, loss=1.0, cost=1.0, verdict="finished"):
        folder = tmp_path / f"{dataset}-{name}-{kept}-{loss}-{cost}-{verdict}-{seed}"
        folder.mkdir(exist_ok=True)
        facts = {"name": name, "dataset": dataset, "patients": None}
        config = {
            "experiment": facts,
            "verdict": verdict,
            "data": {"account": {"patients": 46520, "codes": 1071}},
            "config": PLANNED[name],
        }
        noise = 1 + 0.01 * seed
        costs = {"score_seconds": cost, "sampling_seconds": cost, "peak_memory_bytes": 1e9 * cost}
        (folder / "config.json").write_text(json.dumps(config))
        (folder / "costs.json").write_text(
            json.dumps({key: noise * value for key, value in costs.items()})
        )
        scores = results[kept][seed] if verdict == "finished" else {}
        (folder / "metrics.json").write_text(json.dumps(scores))
        rows = [f"{stage},{epoch},{noise * loss * (1 + 9 / epoch)}" for stage in ("autoencoder", "score")
                for epoch in range(1, 21)]  # fmt: skip
        (folder / "history.csv").write_text("\n".join(["stage,epoch,validation_loss", *rows]))
        return experiments.Run(folder)

    return write


@pytest.fixture
def world(run):
    """Runs of every entry of the plan: alike, but for the entries named."""

    def make(seeds=SEEDS, dataset="mimic3", **different):
        options = {name.replace("_", "-"): value for name, value in different.items()}
        return {
            name: [
                run(name, seed, dataset=dataset, **options.get(name, {})) for seed in range(seeds)
            ]
            for name in experiments.plan()
        }

    return make


def verdicts(found):
    return LEDGER.table(found)["verdict"].to_dict()


def test_with_every_entry_present_no_claim_lacks_a_verdict(world):
    table = LEDGER.table(world())
    assert set(table.index) == CLAIMS and set(table["verdict"]) <= WORDS
    assert (table.loc[table["verdict"] != "holds", "why"] != "").all()
    assert not table["reported"].str.contains("{", regex=False).any()


def test_without_runs_only_the_printed_numbers_speak():
    found = verdicts({})
    waiting = {name for name, word in found.items() if word.startswith("not run yet: ")}
    assert waiting == {claim["id"] for claim in BOOK["claims"] if claim.get("needs")}
    assert {name for name, word in found.items() if word == "contradicted"} == {
        "D1.cohort", "T1.log-cluster", "T1.ddm", "T1.reproducible", "T4.twelve",
        "F1.quoted", "W1.preprocessing", "W2.records",
    }  # fmt: skip
    unclear = {name for name, word in found.items() if word == "not shown"}
    assert unclear == {"P1.pcd", "P1.sra", "P2.sra"}, "ranges that overlap leave both open"
    held = {name for name, word in found.items() if word == "holds"}
    assert held == {"F1.fewer"}, (
        "printed numbers confirm only what is said of the printed patients themselves"
    )


def test_a_missing_entry_is_named_by_the_claims_that_need_it(world):
    found = world()
    del found["reported-none"]
    for claim in BOOK["claims"]:
        word = verdicts(found)[claim["id"]] if "reported-none" in claim.get("needs", []) else None
        assert word is None or word == "not run yet: reported-none"


def test_verdicts_follow_the_runs(world):
    """Where every row is as good as the others none is shown to be better; one that is worse is found."""
    alike = verdicts(world())
    worse = {name: {"kept": 0.15} for name in (
        "reported_none", "reported_none_unclipped", "reported_64", "reported_256", "reported_256_plain",
        "official_epochs_50", "reported_rate_005")}  # fmt: skip
    clear = verdicts(world(**worse))
    for name in ("T2.autoencoder", "T2.dimension", "P3.needed", "T3.largest"):
        assert (alike[name], clear[name]) == ("not shown", "holds"), name
    assert (alike["T4.converged"], clear["T4.converged"]) == ("cannot be tested", "contradicted")
    assert alike["T3.smallest"] == clear["T3.smallest"] == "not shown"
    assert verdicts(world(reported={"kept": 0.15}))["T2.autoencoder"] == "contradicted"
    assert alike["PR.share"] == "not shown", "a copied training set scores like fresh real patients"


def test_costs_and_losses_decide_their_claims(world):
    alike = verdicts(world())
    growing = {"reported_64": 1, "reported": 2, "reported_256": 3, "reported_none": 9}
    sized = verdicts(
        world(**{name: {"cost": size, "loss": 1 / size} for name, size in growing.items()})
    )
    for name in ("C1.time", "C1.memory", "A2.size"):
        assert (alike[name], sized[name]) == ("not shown", "holds"), name
    turned = verdicts(
        world(**{name: {"cost": 1 / size, "loss": size} for name, size in growing.items()})
    )
    assert [turned[name] for name in ("C1.time", "C1.memory", "A2.size")] == ["contradicted"] * 3
    assert alike["A1.epochs"] == alike["N1.epochs"] == "holds"


def test_a_diverged_rival_is_beaten_and_a_diverged_row_is_not_best(world):
    gone = {"verdict": "diverged"}
    assert verdicts(world(reported_rate_005=gone))["T3.largest"] == "holds"
    assert verdicts(world(reported_rate_00025=gone))["T3.smallest"] == "contradicted"
    assert (
        verdicts(world(**{name.replace("-", "_"): gone for name in experiments.plan()}))["T1.pcd"]
        == "cannot be tested"
    )


def test_runs_on_other_data_contradict_no_claim_on_a_model(world):
    """What they are against is not supported; reported values and arithmetic decide as before."""
    worse = {"reported": {"kept": 0.15}}
    here, elsewhere = (verdicts(world(dataset=name, **worse)) for name in ("mimic3", "simulated"))
    assert (here["T2.autoencoder"], elsewhere["T2.autoencoder"]) == (
        "contradicted",
        "not supported",
    )
    changed = {name for name in here if here[name] != elsewhere[name]} - {"D2.matrix"}
    assert {(here[name], elsewhere[name]) for name in changed} == {
        ("contradicted", "not supported")
    }
    assert elsewhere["T1.ddm"] == elsewhere["W1.preprocessing"] == "contradicted"


@pytest.mark.parametrize(
    ("low", "high", "against", "words"),
    [
        (0.5, 1.5, False, "holds"),
        (-1.5, -0.5, True, "contradicted"),
        (-0.5, 1.5, False, "about 4 times as many random seeds would show it"),
        (-1.0, 1.0001, False, "is so small that no number of random seeds"),
    ],
)
def test_what_is_not_shown_says_what_it_would_take(low, high, against, words):
    gap = Estimate((low + high) / 2, low, high, n=3)
    found = claims.verdict(gap.above(), "", intervals=[gap], against=gap.below())
    assert words in (found.verdict, *found.why.split("about ", 1)) or words in found.why
    assert gap.below() == against


def test_one_random_seed_tells_no_rows_apart(world):
    table = LEDGER.table(world(seeds=1, reported_none={"kept": 0.15}))
    assert table.loc["T2.autoencoder", "verdict"] == "cannot be tested"
    assert "one random seed" in table.loc["T2.autoencoder", "why"]


@given(
    st.lists(st.floats(-5, 5), min_size=2, max_size=6),
    st.lists(st.floats(-5, 5), min_size=2, max_size=6),
)
@settings(max_examples=50, deadline=None)
def test_the_interval_of_a_difference_is_welchs(ones, others):
    assume(min(np.var(ones), np.var(others)) > 1e-6)
    limits = stats.ttest_ind(ones, others, equal_var=False).confidence_interval()
    assert welch(ones, others)[1:3] == pytest.approx((limits.low, limits.high))
    limits = stats.ttest_1samp(ones, 0).confidence_interval()
    assert student(ones)[1:3] == pytest.approx((limits.low, limits.high))


def test_the_ledger_as_a_page(world):
    text = claims.page(LEDGER.table(world()))
    soup = BeautifulSoup(text, "html.parser")
    rows = soup.find("tbody").find_all("tr")
    assert len(rows) == len(CLAIMS)
    for row, claim in zip(rows, BOOK["claims"], strict=True):
        page, _, anchor = claim["evidence"].partition("#")
        assert row.find("a")["href"] == f"{page}.html#{anchor}"
        verdict = row.find_all("strong")[-1].get_text()
        assert verdict.partition(" ")[2] in WORDS, "a verdict is a word, not only a colour"
