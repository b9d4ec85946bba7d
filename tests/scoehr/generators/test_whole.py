"""The generator of whole patients against laws that are known, its conditions, and its files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse
from shell import done, inside, refused

from benchmarks.rules import hospital as planted
from scoehr.data import rules
from scoehr.data.columns import Column, Columns
from scoehr.data.patients import Patients
from scoehr.files import InputError
from scoehr.generators import Thinning, ThinningConfig, load_any
from scoehr.generators.whole import Whole, WholeConfig
from tests.problems import patients as counts_alone

# A law of three binary columns and two counts ----------------------------------------------------

CODES = np.array(["a", "b"])


def law(n: int, seed: int) -> Patients:
    """Patients of one visit: sex, of the patient; u and v, of the visit; codes a (0 to 2), b."""
    rng = np.random.default_rng(seed)
    sex = rng.integers(0, 2, n)
    u = (rng.random(n) < np.where(sex, 0.7, 0.2)).astype(int)
    v = u ^ (rng.random(n) < 0.1)
    a = rng.binomial(2, np.where(sex & v, 0.6, 0.15))
    b = np.where(u, 0, rng.binomial(1, 0.5, n))  # never with u
    column = [Column(name, "category", ("no", "yes")) for name in ("sex", "u", "v")]
    return Patients(
        sparse.csr_array(np.stack([a, b], axis=1).astype(np.int32)),
        np.arange(n + 1),
        np.arange(n),
        CODES,
        np.array(["", ""]),
        columns=Columns((column[0],), (sex,), n),
        visit_columns=Columns(tuple(column[1:]), (u, v), n),
    )


def cells(patients: Patients) -> np.ndarray:
    """sex, u, v, a, b of each patient."""
    columns = (*patients.columns.values, *patients.visit_columns.values)
    return np.column_stack([*columns, patients.counts.toarray()])


def shares(rows: np.ndarray) -> np.ndarray:
    return np.bincount(rows @ [48, 24, 12, 3, 1], minlength=96) / len(rows)


def apart(one: np.ndarray, other: np.ndarray) -> float:
    """Total variation of the joint distributions of all five."""
    return float(np.abs(shares(one) - shares(other)).sum() / 2)


TRUTH = cells(law(300_000, 9))


@pytest.fixture(scope="module")
def fitted() -> Whole:
    config = WholeConfig(width=48, depth=1, epochs=40, batch=128, learning_rate=4e-3, ema=0.99)
    return Whole(config, device="cpu").fit(law(6000, 0), law(500, 5), progress=False)


def test_all_facts_together_follow_the_law(fitted):
    drawn = cells(fitted.sample(20_000, seed=1, progress=False))
    assert apart(drawn, TRUTH) < 0.05


@pytest.mark.parametrize(
    ("given", "without", "meets"),
    [
        (["u=yes"], [], lambda x: x[:, 1] == 1),
        (["a", "v=yes"], [], lambda x: (x[:, 3] > 0) & (x[:, 2] == 1)),
        ([], ["a"], lambda x: x[:, 3] == 0),
        (["sex=yes", "b"], ["a"], lambda x: (x[:, 0] == 1) & (x[:, 4] > 0) & (x[:, 3] == 0)),
        ([], ["u=no"], lambda x: x[:, 1] == 1),
    ],
)
def test_a_condition_gives_the_patients_of_the_law_who_meet_it(fitted, given, without, meets):
    drawn = cells(fitted.sample(6000, seed=2, given=given, without=without, progress=False))
    assert meets(drawn).all()
    assert apart(drawn, TRUTH[meets(TRUTH)]) < 0.08


def test_what_was_accepted_and_how_many_have_it_is_said(fitted):
    fitted.sample(500, seed=2, given=["sex=yes"], without=["a"], progress=False)
    truth = TRUTH[TRUTH[:, 0] == 1]
    assert fitted.accepted / fitted.proposed == pytest.approx((truth[:, 3] == 0).mean(), abs=0.05)
    assert "sex=yes: 3," in fitted.support or "sex=yes: 2," in fitted.support


@pytest.mark.parametrize(
    ("given", "match"),
    [
        (["u=yes", "b"], "all of them: 0; give codes that patients have together"),
        (["u=maybe"], "u=maybe: no such value; u has no, yes"),
        (["c"], "condition 'c' is no code of this model"),
        ("a", "give a list"),
    ],
)
def test_what_nobody_is_is_refused(fitted, given, match):
    with pytest.raises(InputError, match=match):
        fitted.sample(10, given=given, progress=False)


def test_hidden_columns_are_restored_from_all_that_is_left(fitted):
    """Of patients whose codes and sex are known, u and v have the posterior of the law."""
    real = law(8000, 3)
    partial = Patients(
        real.counts, real.starts, real.patients, real.codes, real.titles, columns=real.columns
    )
    found = fitted.complete(partial, progress=False)
    assert np.array_equal(found.counts.toarray(), real.counts.toarray())
    assert found.columns.equals(real.columns)
    assert apart(cells(found), cells(real)) < 0.04


def test_empty_cells_are_filled_and_others_kept(fitted):
    real = law(3000, 4)
    u = real.visit_columns.of("u").copy()
    u[::2] = -1
    columns = Columns(real.visit_columns.columns, (u, real.visit_columns.of("v")), len(u))
    partial = Patients(
        real.counts, real.starts, real.patients, CODES, real.titles, visit_columns=columns
    )
    found = fitted.complete(partial, progress=False).visit_columns
    assert np.array_equal(found.of("u")[1::2], u[1::2])
    assert np.array_equal(found.of("v"), columns.of("v"))
    truth = TRUTH[:, 1] == TRUTH[:, 2]
    assert (found.of("u") == found.of("v"))[::2].mean() == pytest.approx(truth.mean(), abs=0.03)


# Visits ------------------------------------------------------------------------------------------

RHO = np.array([0.9, 0.5])  # chance that a visit records a chronic condition
HAS, ACUTE, AGAIN, MOST = 0.4, 0.15, 0.5, 4


def hospital(n: int, seed: int) -> Patients:
    """Chronic and acute codes, a ward that is kept with chance .8, days between visits; an eighth
    of the patients have no visit.
    """
    rng = np.random.default_rng(seed)
    numbers = 1 + (rng.random((n, MOST - 1)) < AGAIN).cumprod(axis=1).sum(axis=1)
    numbers[rng.random(n) < 1 / 8] = 0
    owner, starts = np.repeat(np.arange(n), numbers), np.concatenate([[0], np.cumsum(numbers)])
    chronic = (rng.random((n, 2)) < HAS)[owner] & (rng.random((len(owner), 2)) < RHO)
    acute = rng.random((len(owner), 4)) < ACUTE
    acute[:, -1] = acute[:, -2]
    first = np.arange(len(owner)) == starts[owner]
    ward, days = np.zeros(len(owner), dtype=int), np.full(len(owner), np.nan)
    for i in range(len(owner)):
        keeps = not first[i] and rng.random() < 0.8
        ward[i] = ward[i - 1] if keeps else rng.integers(3)
        days[i] = np.nan if first[i] else rng.choice([30, 60, 90] if ward[i] else [7, 14])
    columns = (Column("ward", "category", ("x", "y", "z")), Column("days", "number"))
    return Patients(
        sparse.csr_array(np.hstack([chronic, acute]).astype(np.int32)),
        starts,
        np.arange(n),
        np.array(list("abcdef")),
        np.array([""] * 6),
        columns=Columns((Column("site", "category", ("s", "t")),), (np.arange(n) % 2,), n),
        visit_columns=Columns(columns, (ward, days), len(owner)),
    )


@pytest.fixture(scope="module")
def admitted() -> Whole:
    config = WholeConfig(width=48, depth=1, epochs=24, batch=128, learning_rate=4e-3, ema=0.99)
    return Whole(config, device="cpu").fit(hospital(5000, 0), progress=False)


@pytest.fixture(scope="module")
def drawn(admitted) -> Patients:
    return admitted.sample(6000, seed=1, progress=False)


def test_visits_follow_one_another_as_often_as_in_the_law(drawn):
    assert (drawn.numbers == 0).mean() == pytest.approx(1 / 8, abs=0.02)
    at_risk = np.array([(drawn.numbers >= k).sum() for k in range(1, MOST + 1)])
    assert drawn.numbers.max() == MOST
    assert at_risk[1:] / at_risk[:-1] == pytest.approx(AGAIN, abs=0.05)


def test_codes_recur_and_come_together_as_in_the_law(drawn):
    presence, known = drawn.presence().toarray(), drawn.earlier().toarray() > 0
    assert presence.mean(axis=0) == pytest.approx(np.r_[HAS * RHO, [ACUTE] * 4], abs=0.025)
    again = [presence[known[:, j], j].mean() for j in range(6)]
    assert again == pytest.approx(np.r_[RHO, [ACUTE] * 4], abs=0.06)
    assert (presence[:, 4] == presence[:, 5]).mean() > 0.985
    never = (drawn.order == 2) & ~known[:, 0]
    silent = HAS * (1 - RHO[0]) ** 2  # Bayes: what is left of the chance after two visits without
    assert presence[never, 0].mean() == pytest.approx(silent / (silent + 1 - HAS) * 0.9, abs=0.05)


def test_columns_are_kept_and_change_as_in_the_law(drawn):
    ward, days = drawn.visit_columns.of("ward"), drawn.visit_columns.of("days")
    later = np.flatnonzero(drawn.order)
    assert np.array_equal(np.isnan(days), drawn.order == 0)
    same = (ward[later] == ward[later - 1]).mean()
    assert same == pytest.approx(0.8 + 0.2 / 3, abs=0.03)
    soon = np.isin(days[later], [7, 14])
    assert (soon == (ward[later] == 0)).mean() > 0.97
    assert np.isin(days[later], [7, 14, 30, 60, 90]).all()
    assert (days[later][soon] == 7).mean() == pytest.approx(0.5, abs=0.09)


def test_visits_go_on_as_in_the_law(admitted):
    """Of patients whose first visit had the first chronic code, the next has it with chance .9."""
    real = hospital(4000, 7)
    begun = np.flatnonzero(real.numbers > 0)
    first = real.starts[begun]
    partial = Patients(
        real.counts[first],
        np.arange(len(begun) + 1),
        begun,
        real.codes,
        real.titles,
        columns=real.columns[begun],
        visit_columns=real.visit_columns[first],
    )
    found = admitted.complete(partial, visits=True, progress=False)
    assert np.array_equal(found.patients, begun)
    assert (found.counts[found.starts[:-1]] != partial.counts).nnz == 0
    assert found.visit_columns[found.starts[:-1]].equals(partial.visit_columns)
    assert (found.numbers > 1).mean() == pytest.approx(AGAIN, abs=0.04)
    second = found.starts[:-1][found.numbers > 1] + 1
    codes = found.presence()[:, [0]].toarray()[:, 0]
    had = codes[second - 1] > 0
    assert codes[second][had].mean() == pytest.approx(RHO[0], abs=0.05)
    still = HAS * (1 - RHO[0]) / (HAS * (1 - RHO[0]) + 1 - HAS)
    assert codes[second][~had].mean() == pytest.approx(still * RHO[0], abs=0.04)


def test_a_condition_on_visits_is_met_at_one_of_them(admitted):
    found = admitted.sample(300, seed=3, given=["site=t", "a"], without=["ward=z"], progress=False)
    assert (found.to_matrix().counts[:, [0]].toarray() > 0).all()
    assert (found.columns.of("site") == 1).all()
    assert not (found.visit_columns.of("ward") == 2).any()


# Without columns it is thinning ------------------------------------------------------------------


def test_without_columns_and_visits_it_is_thinning_bit_for_bit():
    matrix = counts_alone(300, 20)
    settings = {"width": 16, "depth": 1, "epochs": 3, "batch": 64, "lengths": "supported"}
    thinning = Thinning(ThinningConfig(**settings, patience=None, pooling=0.0, support=0.0)).fit(
        matrix, seed=1, progress=False
    )
    alone = Patients(matrix.counts, np.arange(301), matrix.patients, matrix.codes, matrix.titles)
    whole = Whole(WholeConfig(**settings)).fit(alone, seed=1, progress=False)
    mine, theirs = whole.rate.state_dict(), thinning.rate.state_dict()
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(mine[name], theirs[name]) for name in theirs)
    made, other = (model.sample(100, seed=2, progress=False) for model in (whole, thinning))
    assert (made.counts != other.counts).nnz == 0


def test_lengths_that_many_patients_have_are_kept_where_blurred_ones_are_not():
    found = np.random.default_rng(0)
    length = 3 * found.choice([1, 3, 5, 8], 2000, p=[0.4, 0.3, 0.2, 0.1])
    counts = np.stack([found.multinomial(n, np.ones(10) / 10) for n in length]).astype(np.int32)
    names = (np.arange(2001), np.arange(2000), np.array(list("abcdefghij")), np.array([""] * 10))
    real = Patients(sparse.csr_array(counts), *names)
    right = {}
    for lengths in ("exact", "supported", "blurred"):
        config = WholeConfig(width=16, depth=1, epochs=12, batch=64, ema=0.9, lengths=lengths)
        made = Whole(config, device="cpu").fit(real, progress=False).sample(1000, progress=False)
        sizes = np.asarray(made.counts.sum(axis=1)).ravel()
        right[lengths] = np.isin(sizes, [3, 9, 15, 24]).mean()
        assert sizes.mean() == pytest.approx(length.mean(), rel=0.08)
    assert right["exact"] == 1 and right["supported"] > 0.99 > 0.95 > right["blurred"]


# Rules --------------------------------------------------------------------------------------------


def test_no_patient_breaks_a_rule_that_all_training_patients_keep():
    """The 79 codes of the review: sex, pregnancy, A with B, C without D, E with F, insurance."""
    real = planted(5000, 0)
    config = WholeConfig(width=48, depth=1, epochs=12, batch=128, learning_rate=4e-3, ema=0.99)
    model = Whole(config, device="cpu").fit(real, progress=False)
    assert len(model.rules["patient"]) >= 8 and not model.breaks(real).any()
    made = model.sample(5000, seed=1, progress=False)
    assert model.breaks(made).mean() <= 0.002
    has = dict(zip(made.codes, made.to_matrix().counts.toarray().T > 0, strict=True))
    assert not (has["C"] & has["D"]).any() and not (has["pregnant"] & has["male"]).any()
    assert np.array_equal(has["A"], has["B"]) and not (has["E"] & ~has["F"]).any()
    assert (has["public"].astype(int) + has["private"] + has["unpaid"] == 1).all()
    assert has["D"].mean() == pytest.approx(0.094, abs=0.02)
    rare = rules.broken(model.rules["patient"], planted(5000, 1)).sum()
    assert rare == 0
    model.rules = {"patient": [], "visit": []}
    assert rules.broken(rules.find(real), model.sample(1000, seed=1, progress=False)).nnz > 10


# Use and files -----------------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_patients_and_another_does_not(admitted):
    one, again, other = (admitted.sample(50, seed=seed, progress=False) for seed in (5, 5, 6))
    assert one.equals(again) and not one.equals(other)


def test_a_saved_model_draws_the_same_patients(admitted, tmp_path):
    admitted.save(tmp_path / "model")
    loaded = Whole.load(tmp_path / "model")
    assert loaded.config == admitted.config and loaded.codings == admitted.codings
    assert loaded.sample(40, seed=2, progress=False).equals(
        admitted.sample(40, seed=2, progress=False)
    )
    assert (loaded.pairs != admitted.pairs).nnz == 0


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda entries: entries["columns"].pop(), "facts.safetensors|pairs.parquet"),
        (lambda entries: entries["limits"].update(visits=0), "visits must be at least 1"),
        (lambda entries: entries.pop("columns"), "entry 'columns' is damaged"),
    ],
)
def test_a_damaged_model_is_refused(fitted, tmp_path, change, match):
    from scoehr.generators import saved

    folder = fitted.save(tmp_path / "model")
    entries = json.loads((folder / "config.json").read_text())
    change(entries)
    saved.write_config(folder / "config.json", entries)
    with pytest.raises(InputError, match=match):
        Whole.load(folder)


def test_what_cannot_be_learned_or_drawn_is_refused(fitted):
    with pytest.raises(InputError, match="not fitted"):
        Whole().sample(1)
    with pytest.raises(InputError, match="at least 1"):
        fitted.sample(0)
    real = law(5, 0)
    other = Columns((Column("w", "number"),), (np.zeros(5),), 5)
    partial = Patients(real.counts, real.starts, real.patients, CODES, real.titles, columns=other)
    with pytest.raises(InputError, match="column w: is none of the model's"):
        fitted.complete(partial)


# Shell -------------------------------------------------------------------------------------------


def test_a_folder_of_whole_patients_is_fitted_sampled_and_completed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    some = hospital(300, 0)
    some.write("real")
    small = ["--set", "epochs=2", "--set", "width=16", "--set", "batch=64"]
    said = done("fit", "real", "--preset", "whole", "--out", "m", *small)
    assert "site" in said and "category of 2" in said
    found = inside("sample", "m", "-n", "40", "--out", "s", "--given", "a", "--given", "site=t")
    assert "of 300 training patients have a: " in found.stderr and "condition" in found.stderr
    made = Patients.read("s")
    assert len(made) == 40 and (made.to_matrix().counts[:, [0]].toarray() > 0).all()
    assert made.columns.columns == some.columns.columns and (made.columns.of("site") == 1).all()
    first = made.starts[:-1]
    begun = (made.counts[first], np.arange(41), made.patients, made.codes, made.titles)
    Patients(*begun, columns=made.columns).write("p")
    done("complete", "m", "p", "--visits", "--out", "c")
    after = Patients.read("c")
    assert (after.counts[after.starts[:-1]] != made.counts[first]).nnz == 0
    assert after.columns.equals(made.columns) and len(after.visit_columns.names) == 2
    more = ("--json", "e.json", "--html", "e.html", "--model", "m", "--card")
    said = done("evaluate", "real", "s", "--train", "real", *more)
    assert "Discriminator AUC, all columns and codes" in said
    assert "Recurrence of codes, MAE" not in said
    assert "Recurrence of codes, MAE" in done("evaluate", "real", "s", "--all")
    scores = json.loads(Path("e.json").read_text())
    assert scores["whole"]["rules_broken"] == 0
    assert scores["attacks"]["scores"]["own_loss_auc"] == pytest.approx(0.5, abs=0.05)
    assert "Recurrence of codes, MAE" in Path("e.html").read_text()
    card = Path("m/MODEL_CARD.md").read_text()
    assert "3 columns: site, ward, days" in card
    made.to_matrix().write("codes.parquet")
    refused(
        inside(
            "evaluate", "codes.parquet", "codes.parquet", "--train", "codes.parquet", "--model", "m"
        ),
        "makes whole patients; give folders",
    )


# A user's own tables -----------------------------------------------------------------------------

SMALL = ["--set", "epochs=1", "--set", "width=8", "--set", "batch=32"]


def put(folder, patients, codes="patient_id,code\n0,a\n"):
    folder.mkdir()
    (folder / "patients.csv").write_text("patient_id," + patients)
    (folder / "codes.csv").write_text(codes)
    return folder


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """A folder of people of many ages, and a model of them."""
    place = tmp_path_factory.mktemp("own")
    people = "".join(f"{k},{'FM'[k % 2]},{20 + k % 41},{k % 4}\n" for k in range(123))
    codes = "patient_id,code\n" + "".join(f"{k},{'abc'[k % 3]}\n" for k in range(123))
    put(place / "real", "sex,age,ward\n" + people, codes)
    said = done("fit", place / "real", "--preset", "whole", "--out", place / "m", *SMALL)
    assert "number" in said and "ordered of 4 (0, 1, 2, 3)" in said
    return place


def test_partial_patients_are_read_as_the_model_has_them(own, tmp_path):
    few = put(tmp_path / "few", "age,sex\n0,30,F\n1,30,\n2,20,\n")  # by the rules a category
    done("complete", own / "m", few, "--out", tmp_path / "c")
    made = Patients.read(tmp_path / "c").columns
    assert made.of("age").tolist() == [30, 30, 20]
    assert made.of("sex")[0] == 0 and (made.of("sex") >= 0).all()


@pytest.mark.parametrize(
    ("patients", "codes", "said"),
    [
        ("sex\n0,X\n", "a", "patients.csv: column sex, row 1: 'X' is none of its levels (F, M)"),
        ("age\n0,old\n", "a", "patients.csv: column age, row 1: 'old' is not a number"),
        ("sex,zip\n0,F,7\n1,F,8\n", "a", "column zip: is none of the model's"),
        ("sex\n0,F\n", "zzz", "code zzz is not in the vocabulary"),
    ],
)
def test_partial_patients_that_the_model_cannot_have_are_refused(
    own, tmp_path, patients, codes, said
):
    partial = put(tmp_path / "p", patients, f"patient_id,code\n0,{codes}\n")
    refused(inside("complete", own / "m", partial, "--out", tmp_path / "c"), said, str(partial))
    assert not (tmp_path / "c").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--given", "age=500"], "age=500: no such value; age has 20, 21"),
        (["--given", "age=30.5"], "age=30.5: no such value"),
        (["--given", "sex=F", "--without", "sex=F"], "sex=F: is given and excluded at once"),
        (["--given", "a", "--without", "a"], "a: is given and excluded at once"),
    ],
)
def test_conditions_that_nobody_can_meet_are_refused_at_once(own, tmp_path, options, said):
    refused(inside("sample", own / "m", "-n", 5, "--out", tmp_path / "s", *options), said)


def test_columns_of_another_kind_are_refused(own):
    model = load_any(own / "m")
    ages = Columns((Column("age", "ordered", ("20", "30")),), (np.array([0, 1]),), 2)
    none = sparse.csr_array((2, 0), dtype=np.int32)
    partial = Patients(none, np.arange(3), np.arange(2), [], [], columns=ages)
    with pytest.raises(InputError, match="column age: is ordered, for the model number"):
        model.complete(partial)


def test_fit_learns_the_columns_as_they_are_said(own, tmp_path):
    wishes = tmp_path / "columns.csv"
    fit = ["fit", own / "real", "--preset", "whole", *SMALL, "--columns", wishes]
    wishes.write_text("name,kind\nward,category\nsex,drop\n")
    said = done(*fit, "--out", tmp_path / "m")
    assert "left out, as said" in said and "category of 4 (0, 1, 2, 3)" in said
    columns = load_any(tmp_path / "m").vocabulary.columns
    assert {column.name: column.kind for column in columns.columns} == {
        "age": "number",
        "ward": "category",
    }
    for text, why in (("hight,number", "no table has it"), ("age,number,visit", "of patients")):
        wishes.write_text(f"name,kind,level\n{text}{',' * (2 - text.count(','))}\n")
        refused(inside(*fit, "--out", tmp_path / "n"), why)
    wishes.write_text("name,kind\nage,number\n")
    refused(inside("fit", own / "real", "--out", tmp_path / "n", "--columns", wishes), "whole")
    codes = ["fit", own / "real", "--preset", "whole", "--out", tmp_path / "n", "--codes", wishes]
    refused(inside(*codes), "is for preset private")


def test_new_codes_and_levels_of_validation_do_not_stop_a_training(own, tmp_path):
    held_out = put(tmp_path / "v", "sex,age\n0,X,30\n1,F,30\n", "patient_id,code\n0,a\n1,zzz\n")
    fit = ("fit", own / "real", "--preset", "whole", "--out", tmp_path / "m", *SMALL)
    found = inside(*fit, "--validation", held_out)
    assert found.returncode == 0 and "codes that training lacks are left out: zzz" in found.stderr


def test_codes_alone_of_a_folder_are_learned_with_a_warning(own, tmp_path):
    found = inside("fit", own / "real", "--out", tmp_path / "m", *SMALL)
    assert found.returncode == 0 and "--preset whole learns them" in found.stderr


def test_a_csv_of_columns_alone_gives_whole_patients(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    pregnant = rng.random(500) < 0.2
    sex = np.where(pregnant | (rng.random(500) < 0.4), "F", "M")
    rows = {"patient_id": range(500), "sex": sex, "pregnant": np.where(pregnant, "yes", "no")}
    Path("h").mkdir()
    pd.DataFrame(rows | {"age": rng.integers(18, 45, 500)}).to_csv("h/patients.csv", index=False)
    done("fit", "h", "--preset", "whole", "--out", "m", "--set", "width=16", "--set", "epochs=4")
    done("sample", "m", "-n", "400", "--out", "s")
    made = Patients.read("s")
    assert made.columns.names == ("sex", "pregnant", "age") and not len(made.codes)
    frame = made.columns.to_frame()
    assert frame["age"].between(18, 44).all() and frame["age"].nunique() > 20
    assert (frame["sex"][frame["pregnant"] == "yes"] == "F").all()
