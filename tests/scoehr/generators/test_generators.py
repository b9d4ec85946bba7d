import json
import shutil

import numpy as np
import pytest
import torch

from reproduction.synthesis import results
from scoehr import InputError, generators
from scoehr.data.matrix import CodeMatrix, write_batches
from scoehr.generators import ScoEHR, Thinning, check_disk, check_memory
from scoehr.metrics import evaluate
from scoehr.models import SelfAttention
from tests.problems import patients

MATRIX = patients()
SMALL = {
    "reported": {"latent": 64, "width": 32, "autoencoder_epochs": 2, "epochs": 1, "steps": 4},
    "paper": {
        "latent": 64,
        "width": 32,
        "autoencoder_epochs": 2,
        "epochs": 1,
        "steps": 4,
        "batch": 128,
    },
    "thinning": {"width": 32, "epochs": 3, "batch": 50},
    "fast": {
        "latent": 16,
        "width": 32,
        "autoencoder_epochs": 5,
        "epochs": 5,
        "batch": 64,
        "autoencoder_batch": 64,
    },
}


def fitted(preset="fast", **changes):
    return generators.preset(preset, **{**SMALL[preset], **changes}).fit(
        MATRIX, seed=1, progress=False
    )


@pytest.fixture(scope="module")
def fast():
    return fitted()


@pytest.mark.parametrize("preset", SMALL)
def test_each_variant_makes_patients_of_its_kind(preset):
    model = fitted(preset)
    sample = model.sample(150, seed=2, progress=False)
    assert sample.shape == (150, MATRIX.shape[1])
    assert sample.kind == model.config.kind == ("binary" if preset == "paper" else "count")
    assert list(sample.codes) == list(MATRIX.codes)
    assert list(sample.titles) == list(MATRIX.titles)
    assert set(model.history["stage"]) == (
        {"rate"} if preset == "thinning" else {"autoencoder", "score"}
    )
    assert np.isfinite(model.history["train_loss"]).all()


def test_the_presets_are_what_their_sources_set():
    reported, paper = generators.preset("reported").config, generators.preset("paper").config
    assert (reported.head, reported.autoencoder_epochs, reported.batch, reported.epochs) == (
        "relu",
        200,
        64,
        50,
    )
    assert (reported.schedule, reported.reinitialise, reported.autoencoder_shuffle) == (
        "reported",
        True,
        False,
    )
    assert (reported.sampler, reported.steps, reported.ema, reported.standardise) == (
        "euler_maruyama",
        1000,
        0.0,
        False,
    )
    assert (paper.head, paper.kind, paper.schedule, paper.reinitialise) == (
        "sigmoid",
        "binary",
        "official",
        False,
    )


def test_same_seed_same_patients(fast):
    assert fast.sample(50, seed=3, progress=False).equals(fast.sample(50, seed=3, progress=False))
    assert not fast.sample(50, seed=3, progress=False).equals(
        fast.sample(50, seed=4, progress=False)
    )
    assert (
        fitted().sample(50, seed=3, progress=False).equals(fast.sample(50, seed=3, progress=False))
    )


def test_fitting_does_not_touch_the_global_generator():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    fitted(epochs=1, autoencoder_epochs=1)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize(
    ("preset", "changes"),
    [
        ("fast", {"autoencoder_epochs": 40, "epochs": 40, "width": 64, "depth": 2}),
        ("thinning", {"epochs": 20, "width": 64}),
    ],
)
def test_it_learns_the_marginals(preset, changes):
    model = fitted(preset, **changes)
    sample = model.sample(1000, seed=1, progress=False)
    real, made = MATRIX.to_binary().dense().mean(0), sample.to_binary().dense().mean(0)
    assert np.corrcoef(real, made)[0, 1] > 0.9
    assert made.mean() == pytest.approx(real.mean(), rel=0.5)


@pytest.mark.parametrize(
    ("sampler", "steps", "evaluations"),
    [("heun", 6, 11), ("dpm_solver_pp_2m", 10, 10), ("ddim", 7, 7)],
)
def test_samplers_are_exchangeable(fast, sampler, steps, evaluations):
    sample = fast.sample(20, sampler=sampler, steps=steps, progress=False)
    assert len(sample) == 20
    assert fast.evaluations == evaluations


def test_without_autoencoder_the_counts_are_padded_and_cut_again():
    model = generators.preset("reported", latent=None, width=32, epochs=1, steps=3).fit(
        MATRIX, progress=False
    )
    assert len(model.shift) == 64
    sample = model.sample(10, progress=False)
    assert sample.shape == (10, 60)
    assert sample.counts.data.min(initial=0) >= 0


def test_signed_keeps_the_negative_counts_of_the_same_network():
    settings = {"latent": None, "width": 32, "epochs": 1, "steps": 3}
    cut, kept = (
        generators.preset("reported", **settings, kind=kind)
        .fit(MATRIX, progress=False)
        .sample(10, progress=False)
        for kind in ("count", "signed")
    )
    assert kept.counts.data.min() < 0
    assert (kept.counts.toarray().clip(0) == cut.counts.toarray()).all()
    assert kept.to_binary().counts.toarray().max() == 1
    assert kept.to_binary().equals(cut.to_binary())
    results = evaluate(MATRIX, kept, n=10)
    assert results["reported"]["ddm"] is not None


def test_a_batch_that_was_made_is_not_made_again(tmp_path):
    model = fitted(epochs=1, autoencoder_epochs=1)
    first = model.sample(30, seed=3, store=tmp_path, progress=False)
    made = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert made
    again = model.sample(30, seed=3, store=tmp_path, progress=False)
    assert again.equals(first)
    assert again.equals(model.sample(30, seed=3, progress=False))
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == made
    assert not model.sample(30, seed=4, store=tmp_path, progress=False).equals(first)
    assert (
        not fitted(epochs=2, autoencoder_epochs=1)
        .sample(30, seed=3, store=tmp_path, progress=False)
        .equals(first)
    )


def test_unreachable_codes_are_never_produced():
    model = fitted("reported", autoencoder_epochs=1)
    assert len(model.unreachable()) == 0
    weight = model.autoencoder.decoder.weight.detach()
    model.autoencoder.decoder.bias.data = 0.5 - weight.abs().sum(1) + torch.linspace(-0.1, 0.1, 60)
    lost = model.unreachable()
    assert list(lost) == list(MATRIX.codes[:30])
    rng = torch.Generator().manual_seed(0)
    corners = torch.sign(torch.randn(20_000, 64, generator=rng))
    produced = (
        model.decode(torch.cat([corners, weight.sign()])).sum(0) > 0
    )  # the best corner of each code is among them
    assert set(lost) == set(MATRIX.codes[~produced.numpy()])


def test_thinning_has_samplers_of_its_own():
    model = fitted("thinning")
    with pytest.raises(InputError, match="sampler 'heun' does not suit thinning"):
        model.sample(3, sampler="heun", progress=False)
    with pytest.raises(InputError, match="exact_jumps takes no steps"):
        model.sample(3, steps=5, progress=False)
    with pytest.raises(InputError, match="exact_jumps takes no steps"):
        generators.preset("thinning", steps=5)
    model.sample(3, sampler="tau_leaping", progress=False)
    assert model.evaluations == Thinning.samplers["tau_leaping"]


def test_every_generator_says_what_it_is_and_every_preset_is_found():
    for kind in generators.GENERATORS.values():
        assert kind.summary.endswith(".") and kind.architecture and kind.output and kind.weights
        for name in kind.presets or [kind.name]:
            model = generators.preset(name)
            assert type(model) is kind
            assert set(model.blueprint(MATRIX)) <= set(kind.weights)
        if kind.samplers:
            assert kind.settings().sampler in kind.samplers


def test_a_saved_model_knows_its_kind(tmp_path):
    folder = fitted("thinning").save(tmp_path / "model")
    assert isinstance(generators.load(folder), Thinning)
    with pytest.raises(InputError, match="holds a model of kind 'thinning'"):
        ScoEHR.load(folder)


def test_attention_is_an_option():
    with_attention = generators.preset(
        "reported", latent=64, width=32, attention=(8,)
    )._new_network(64)
    assert sum(isinstance(layer, SelfAttention) for layer in with_attention.modules()) == 6


def test_reconstruction_keeps_the_patients(fast):
    again = fast.reconstruct(MATRIX)
    assert np.array_equal(again.patients, MATRIX.patients)


class TestFolder:
    @pytest.fixture
    def folder(self, fast, tmp_path):
        return fast.save(tmp_path / "model", note="kept")

    def test_round_trip(self, fast, folder):
        model = ScoEHR.load(folder)
        assert model.config == fast.config
        assert model.sample(30, seed=1, progress=False).equals(
            fast.sample(30, seed=1, progress=False)
        )
        assert model.history.equals(fast.history.reset_index(drop=True)) or len(
            model.history
        ) == len(fast.history)
        assert json.loads((folder / "config.json").read_text())["note"] == "kept"
        assert {path.name for path in folder.iterdir()} == {
            "config.json", "vocabulary.csv", "history.csv", "score.safetensors", "autoencoder.safetensors",
            "MODEL_CARD.md", "DATA_CARD.md",
        }  # fmt: skip

    def test_corrupted_weights(self, folder):
        data = bytearray((folder / "score.safetensors").read_bytes())
        data[-5] ^= 1
        (folder / "score.safetensors").write_bytes(data)
        with pytest.raises(
            InputError, match=r"score\.safetensors: not the file that config\.json names"
        ):
            ScoEHR.load(folder)

    def test_reordered_vocabulary(self, folder):
        head, first, second, *others = (
            (folder / "vocabulary.csv").read_text().splitlines(keepends=True)
        )
        (folder / "vocabulary.csv").write_text("".join([head, second, first, *others]))
        with pytest.raises(
            InputError, match=r"vocabulary\.csv: not the file that config\.json names"
        ):
            ScoEHR.load(folder)

    def test_codes_and_titles_come_back_as_they_were(self, tmp_path):
        words = {"1E5": "", "1.0": 'a "quoted", title', "007": "two\nlines", "Ä": "nan"}
        matrix = CodeMatrix.from_array(
            np.eye(4, dtype=int), list(words), titles=list(words.values())
        )
        again = generators.load(generators.preset("copula").fit(matrix).save(tmp_path / "model"))
        assert dict(zip(again.vocabulary.codes, again.vocabulary.titles, strict=True)) == words

    def test_swapped_weights(self, folder, tmp_path):
        other = fitted(epochs=1).save(tmp_path / "other")
        shutil.copy(other / "score.safetensors", folder)
        with pytest.raises(InputError, match="not the file"):
            ScoEHR.load(folder)

    def test_missing_weights(self, folder):
        (folder / "autoencoder.safetensors").unlink()
        with pytest.raises(InputError, match=r"autoencoder\.safetensors: no such file"):
            ScoEHR.load(folder)

    def test_another_version(self, folder):
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**config, "format": 99}))
        with pytest.raises(InputError, match="format 99 is of another version"):
            ScoEHR.load(folder)

    @pytest.mark.parametrize("text", ["{", '{"format": 1}', "[]"])
    def test_damaged_config(self, folder, text):
        (folder / "config.json").write_text(text)
        with pytest.raises(InputError, match=r"config\.json"):
            ScoEHR.load(folder)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"head": "sigmoid"}, "presence, not counts"),
        ({"network": "transformer"}, "network 'transformer' is unknown"),
        ({"sampler": "leap"}, "sampler 'leap' is unknown"),
        ({"widht": 3}, "unknown setting 'widht'"),
    ],
)
def test_settings_are_checked(settings, message):
    with pytest.raises(InputError, match=message):
        generators.preset("reported", **settings)


def test_a_latent_the_unet_cannot_take_is_refused_before_training():
    with pytest.raises(InputError, match="latent size 100 does not suit the U-Net"):
        fitted("reported", latent=100)


def test_sampling_before_fitting():
    with pytest.raises(InputError, match="not fitted"):
        ScoEHR().sample(3)


@pytest.mark.parametrize(
    ("n", "message"),
    [(0, "at least 1"), (10**13, r"GiB are free; ask for at most [\d,]+ at a time")],
)
def test_memory_is_checked_first(n, message):
    with pytest.raises(InputError, match=message):
        check_memory(n, 1071)


def test_batches_written_as_they_are_made_are_the_sample(tmp_path):
    model, sizes = fitted(sample_batch=32), []

    def told():
        for batch in model.batches(70, seed=3, progress=False):
            sizes.append(len(batch))
            yield batch

    codes, total = write_batches(tmp_path / "a.parquet", told(), 70)
    read = CodeMatrix.read(tmp_path / "a.parquet")
    assert read.equals(model.sample(70, seed=3, progress=False))
    assert (sizes, codes, total) == ([32, 32, 6], len(MATRIX.codes), read.counts.sum())


def test_a_table_larger_than_the_disk_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"on the disk of .*; ask for at most [\d,]+ at a time"):
        check_disk(10**13, 1071, tmp_path / "new" / "a.parquet")
    check_disk(10, 1071, tmp_path / "new" / "a.parquet")
    assert not (tmp_path / "new").exists()


def test_on_condition_every_patient_has_the_codes_and_what_goes_with_them():
    """A and B come together, C comes alone."""
    rng = np.random.default_rng(0)
    sick = rng.random(3000) < 0.2
    counts = np.c_[sick, sick, rng.random(3000) < 0.3].astype(int)
    matrix = CodeMatrix.from_array(counts, ["A", "B", "C"], titles=["a", "b", "c"], kind="binary")
    model = generators.preset("thinning", kind="binary", width=32, epochs=30).fit(
        matrix, progress=False
    )
    free, given = (
        model.sample(2000, seed=1, condition=codes, progress=False).dense()
        for codes in ((), ("A",))
    )
    assert free[:, 0].mean() == pytest.approx(0.2, abs=0.04)
    assert (given[:, 0] == 1).all()
    assert given[:, 1].mean() > 0.95
    assert given[:, 2].mean() == pytest.approx(0.3, abs=0.05)


def test_on_condition_records_are_as_long_as_of_patients_with_the_codes(capsys):
    """A stands in most of the long records and in few of the short ones; all epochs are trained."""
    rng = np.random.default_rng(0)
    long = rng.random(4000) < 0.3
    a = rng.random(4000) < np.where(long, 0.6, 0.2)
    counts = np.c_[a, rng.poisson(np.where(long, 1.5, 0.15)[:, None], (4000, 8))]
    matrix = CodeMatrix.from_array(counts, list("ABCDEFGHI"))
    model = generators.preset("thinning", width=64, epochs=40, patience=None)
    model.fit(matrix, progress=False)
    counted, model.pairs = model.pairs, None  # as it is published
    shown = results.conditioned(model, matrix, matrix, codes=9, patients=4000, seed=1).loc["A"]
    assert (model.pairs != counted).nnz == 0
    assert not capsys.readouterr().err, "no warning stands on the page"
    real, others = counts[a].sum(1), counts.sum(1)
    assert shown["patients"] == a.sum()
    assert shown["occurrences"] == pytest.approx(real.mean())
    assert shown["synthetic"] == pytest.approx(real.mean(), rel=0.15)
    assert real.mean() > 1.3 * others.mean(), "which all records are not"
    assert results.conditioned(model, matrix, matrix.take(np.arange(99))).empty


@pytest.mark.parametrize("sampler", ["exact_jumps", "tau_leaping"])
def test_on_condition_counts_are_those_of_patients_with_the_code(sampler):
    """Who has it five times would come five times as often as who has it once, if each occurrence were a patient.

    Untrained, a model of one code is Bayes' rule and so exact; leaps of births are nearly so.
    """
    counts = np.repeat([0, 1, 5], [800, 800, 400])[:, None]
    model = generators.preset("thinning", epochs=1, learning_rate=1e-12, blur=0.0).fit(
        CodeMatrix.from_array(counts, ["A"]), progress=False
    )
    made = model.sample(3000, seed=1, sampler=sampler, condition=["A"], progress=False).dense()
    assert made.min() == 1
    assert (made < 3).mean() == pytest.approx(2 / 3, abs=0.03)


def test_conditions_that_cannot_be_met(fast):
    with pytest.raises(
        InputError, match="a model of kind 'scoehr' cannot sample on condition; fit preset thinning"
    ):
        fast.sample(3, condition=["000"], progress=False)
    with pytest.raises(InputError, match="condition 'XYZ' is no code of this model"):
        fitted("thinning").sample(3, condition=["XYZ"], progress=False)


@pytest.mark.parametrize("preset", ["thinning", "edm", "fast", "medgan"])
def test_a_corrected_table_does_not_go_on_from_the_weights_of_the_old_one(preset, tmp_path):
    old = patients(300)
    one, other = np.argsort(-old.counts.sum(axis=0))[:2]
    counts = old.dense(np.int32)
    counts[:40, [one, other]] = counts[:40, [other, one]]  # the sum of all cells stays
    new = CodeMatrix.from_array(counts, old.codes, patients=old.patients)
    stages = ("autoencoder_epochs",) if preset in ("fast", "medgan") else ()
    names = []
    for matrix in (old, new):
        store = tmp_path / str(len(names))
        model = generators.preset(preset, epochs=2, **dict.fromkeys(stages, 2))
        model.fit(matrix, folder=store, progress=False)
        names.append({path.name for path in store.iterdir()})
    assert names[0] and not names[0] & names[1]


def test_conditions_are_lists_of_codes_that_patients_have():
    counts = np.repeat([[1, 0, 0], [0, 1, 0]], 50, axis=0)
    matrix = CodeMatrix.from_array(counts, ["A", "B", "C"])
    model = generators.preset("thinning", width=8, epochs=1).fit(matrix, progress=False)
    with pytest.raises(InputError, match="give a list of codes"):
        model.sample(3, condition="A", progress=False)
    for condition, words in {
        ("A", "B"): "A: 50, B: 50; all of them: 0",
        ("C",): "C: 0; all of them: 0",
    }.items():
        with pytest.raises(InputError, match=words):
            model.sample(3, condition=condition, progress=False)
    assert len(model.sample(3, condition=["A"], progress=False)) == 3
    assert 0 < model.accepted <= model.proposed


@pytest.mark.parametrize("seed", [-1, 2**63, "one", 1.5, True])
def test_seeds_that_are_none_are_refused_before_the_work(fast, seed):
    with pytest.raises(InputError, match="seed"):
        fast.sample(3, seed=seed, progress=False)
    with pytest.raises(InputError, match="seed"):
        generators.preset("copula").fit(MATRIX, seed=seed)


@pytest.mark.parametrize("seed", ["3", np.int64(3)])
def test_seeds_of_other_types(fast, seed):
    assert fast.sample(5, seed=seed, progress=False).equals(fast.sample(5, seed=3, progress=False))
