"""Saved models: what was altered, damaged or exchanged is refused in one sentence, and nothing else is."""

import csv
import json
import random
import shutil

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from scoehr import InputError, generators
from scoehr.data.matrix import CodeMatrix
from scoehr.data.patients import Patients
from scoehr.files import ROOT, sha256
from scoehr.generators import saved
from tests.problems import patients
from tests.scoehr.test_files import held

MATRIX = patients(120, 12)
SMALL = {
    "thinning": {"width": 8, "depth": 1, "epochs": 1, "batch": 50},
    "fast": {
        "latent": 4,
        "width": 8,
        "depth": 1,
        "autoencoder_epochs": 1,
        "epochs": 1,
        "batch": 50,
    },
    "copula": {},
    "edm": {"width": 8, "depth": 1, "epochs": 1, "batch": 50},
    "medgan": {"embedding": 4, "width": 8, "autoencoder_epochs": 1, "epochs": 1, "batch": 20},
    "private": {
        "width": 8,
        "depth": 1,
        "epochs": 1,
        "batch": 60,
        "delta": 1e-4,
        "epsilon": 1e4,
        "marginals_noise": 0.1,
    },
    "whole": {"width": 8, "depth": 1, "epochs": 1, "batch": 20},
}
#: What a value of config.json may be changed to.
VALUES = [
    None,
    True,
    -1,
    0,
    1,
    3,
    7,
    10**30,
    1e30,
    0.5,
    "",
    "x",
    "count",
    [],
    [1],
    {},
    {"a": 1},
    [[[[]]]],
]


def admissions():
    """Sixty patients with one to three admissions."""
    rng = np.random.default_rng(0)
    records = [
        {
            "patient_id": i,
            "visits": [list(map(str, rng.choice(9, 3, replace=False))) for _ in range(1 + i % 3)],
        }
        for i in range(60)
    ]
    return Patients.from_records(records)


def load(folder):
    return generators.load_any(folder)


@pytest.fixture(scope="module", params=SMALL)
def original(request, tmp_path_factory):
    """A saved model of each kind."""
    place, settings = tmp_path_factory.mktemp("original") / "model", SMALL[request.param]
    patients = admissions() if request.param == "whole" else MATRIX
    return generators.preset(request.param, **settings).fit(patients, progress=False).save(place)


@pytest.fixture
def folder(original, tmp_path):
    """A copy that a test may spoil."""
    return shutil.copytree(original, tmp_path / "model")


def rewrite(folder, change, *, sign=False):
    """Change the entries of config.json in place; ``sign`` renews their SHA-256 as well."""
    entries = json.loads((folder / "config.json").read_text())
    change(entries)
    if sign:
        return saved.write_config(folder / "config.json", entries)
    (folder / "config.json").write_text(json.dumps(entries))


def renew(folder, name, *, sign=False):
    """Put the SHA-256 of a changed file into config.json."""

    def change(entries):
        if name == "vocabulary.csv":
            entries["vocabulary"]["sha256"] = sha256(folder / name)
        elif name.endswith(".safetensors"):
            entries["weights"][name] = sha256(folder / name)
        else:
            entries[name.split(".")[0]] = sha256(folder / name)

    rewrite(folder, change, sign=sign)


def places(value, at=()):
    """The paths to every value of nested dictionaries and lists."""
    inner = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    for key, item in inner:
        yield (*at, key)
        yield from places(item, (*at, key))


def put(entries, rng):
    """Put something else in the place of one value, take it away, or add one."""
    *way, last = rng.choice(list(places(entries)))
    holder = entries
    for key in way:
        holder = holder[key]
    how = rng.randrange(4)
    if how == 0:
        del holder[last]
    elif how == 1 and isinstance(holder, dict):
        holder["more"] = rng.choice(VALUES)
    else:
        holder[last] = rng.choice(VALUES)


def flip(path, rng):
    data = bytearray(path.read_bytes())
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    path.write_bytes(data)


def spoil(folder, rng):
    """One of many damages, the SHA-256 of single files renewed where a careful hand would renew it."""
    names = ["config.json", *(saved.config(folder)["weights"]), "vocabulary.csv", "history.csv"]
    names += ["pairs.parquet"] if (folder / "pairs.parquet").exists() else []
    path = folder / rng.choice(names)
    match rng.randrange(7):
        case 0:
            flip(path, rng)
        case 1:
            path.write_bytes(path.read_bytes()[: rng.randrange(path.stat().st_size)])
        case 2:
            path.unlink()
        case 3:
            path.write_bytes(rng.randbytes(200))
        case 4:
            rewrite(folder, lambda entries: put(entries, rng))
        case 5:
            head, *rows = (folder / "vocabulary.csv").read_text().splitlines(keepends=True)
            rng.shuffle(rows)
            (folder / "vocabulary.csv").write_text("".join([head, *rows]))
            renew(folder, "vocabulary.csv")
        case 6:
            weigh(folder, rng, rng.choice([2.0, float("nan"), -1.0]))


def weigh(folder, rng, factor, *, sign=False):
    """Multiply the values of one tensor, its file's SHA-256 renewed."""
    name = rng.choice(sorted(path.name for path in folder.glob("*.safetensors")))
    tensors = load_file(folder / name)
    chosen = rng.choice(
        sorted(key for key, tensor in tensors.items() if tensor.is_floating_point())
    )
    tensors[chosen] = tensors[chosen] * factor + (0 if factor == factor else float("nan"))
    save_file(tensors, folder / name)
    renew(folder, name, sign=sign)


def same(folder, other):
    """Whether two folders say the same, however it is written."""
    if {path.name for path in folder.iterdir()} != {path.name for path in other.iterdir()}:
        return False
    try:
        if json.loads((folder / "config.json").read_text()) != json.loads(
            (other / "config.json").read_text()
        ):
            return False
    except ValueError:
        return False
    others = {path.name for path in folder.iterdir()} - {"config.json"}
    return all((folder / name).read_bytes() == (other / name).read_bytes() for name in others)


def refused(folder):
    """The one sentence of the refusal."""
    with pytest.raises(InputError) as error:
        load(folder)
    message = str(error.value)
    assert "\n" not in message and str(folder) in message and len(message) < 400
    return message


def test_a_model_comes_back_whole(original):
    model = load(original)
    again = load(model.save(original.parent / "again"))
    draw = {"seed": 1, "progress": False}
    assert (
        model.sample(5, **draw).counts.toarray().tolist()
        == again.sample(5, **draw).counts.toarray().tolist()
    )
    assert json.loads((original / "config.json").read_text())["threads"] == torch.get_num_threads()


@pytest.mark.parametrize("start", range(0, 60, 20))
def test_whatever_is_altered_is_refused(original, tmp_path, start):
    for seed in range(start, start + 20):
        folder = shutil.copytree(original, tmp_path / str(seed))
        spoil(folder, random.Random(seed))
        if not same(folder, original):
            refused(folder)


@pytest.mark.parametrize("start", range(0, 60, 20))
def test_even_with_all_hashes_renewed_nothing_but_refusals(original, tmp_path, start):
    """Values are checked of themselves: a model loads, or is refused in words."""
    for seed in range(start, start + 20):
        folder, rng = shutil.copytree(original, tmp_path / str(seed)), random.Random(1000 + seed)
        rewrite(folder, lambda entries, rng=rng: put(entries, rng), sign=True)
        try:
            load(folder)
        except InputError as error:
            assert "\n" not in str(error)


def test_weights_that_are_not_finite_are_refused_with_all_hashes_renewed(folder):
    weigh(folder, random.Random(0), float("nan"), sign=True)
    assert "not finite" in refused(folder)


@pytest.mark.parametrize("size", [16384, 10**12])
def test_sizes_are_compared_before_memory_is_taken(folder, size):
    config = json.loads((folder / "config.json").read_text())["config"]
    if "width" in config:
        rewrite(folder, lambda entries: entries["config"].update(width=size, depth=200), sign=True)
        refused(folder)


@pytest.mark.parametrize("version", [2, 3, 5, 4.0, "4"])
def test_a_folder_of_another_format_is_refused(folder, version):
    rewrite(folder, lambda entries: entries.update(format=version), sign=True)
    assert f"format {version!r} is of another version of scoehr" in refused(folder)


def published():
    configs = sorted((ROOT / "saved_models").glob("synthesis-*/models/*/config.json"))
    return [path.parent for path in configs]


@pytest.mark.parametrize(
    "folder", published(), ids=lambda path: path.parent.parent.name + path.name
)
def test_published_models_are_read(folder):
    assert len(load(folder).sample(2, progress=False)) == 2


TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=5)


@settings(deadline=None)
@given(st.dictionaries(TEXT, TEXT, min_size=1, max_size=6))
def test_codes_of_any_letters_come_back(tmp_path_factory, words):
    path = tmp_path_factory.mktemp("words")
    saved._write_vocabulary(path / "vocabulary.csv", list(words), list(words.values()))
    entries = {
        "format": 4,
        "vocabulary": {"codes": len(words), "sha256": sha256(path / "vocabulary.csv")},
    }
    codes, titles = saved.vocabulary(path, entries)
    assert dict(zip(codes.tolist(), titles.tolist(), strict=True)) == words


def test_formulas_in_the_vocabulary_are_none(tmp_path):
    matrix = CodeMatrix.from_array(np.eye(2, dtype=int), ["=1+1", "b,c"], titles=["@SUM(A1)", "-2"])
    folder = generators.preset("copula").fit(matrix, progress=False).save(tmp_path / "model")
    cells = [
        cell for row in csv.reader((folder / "vocabulary.csv").open(newline="")) for cell in row
    ]
    assert not [cell for cell in cells if cell[:1] in "=+-@"]
    again = load(folder).vocabulary
    assert (list(again.codes), list(again.titles)) == (["=1+1", "b,c"], ["@SUM(A1)", "-2"])


def test_a_card_shows_text_as_text(tmp_path):
    model = generators.preset("copula").fit(MATRIX, progress=False)
    title = "<script>alert(1)</script> | ![x](http://a.b/c) `x`\n# head"
    text = (
        model.save(tmp_path / "model", experiment={"title": title, "dataset": title})
        / "MODEL_CARD.md"
    ).read_text()
    text += (tmp_path / "model" / "DATA_CARD.md").read_text()
    assert "<script>" not in text and "![x](" not in text and "\n# head" not in text
    assert "&lt;script&gt;" in text


def test_a_moved_model_is_put_back_before_it_is_called_missing(tmp_path):

    folder = generators.preset("copula").fit(MATRIX, progress=False).save(tmp_path / "model")
    process = held(tmp_path, "replacing", folder, "scratch.mkdir()")
    process.kill()
    process.wait()
    (nest,) = [path for path in tmp_path.iterdir() if path.name != "model"]
    folder.rename(nest / "old")
    assert generators.load(folder).sample(2, progress=False).shape == (2, 12)


def test_no_model_of_no_code():
    nothing = CodeMatrix.from_array(np.zeros((3, 0), dtype=int), [])
    for preset in ("thinning", "fast", "copula", "edm", "medgan", "private"):
        with pytest.raises(InputError, match="has no code"):
            generators.preset(preset).fit(nothing, progress=False)
        with pytest.raises(InputError, match="has no patient"):
            generators.preset(preset).fit(MATRIX.take(np.arange(0)), progress=False)
    nobody = Patients.from_records([{"patient_id": 0, "visits": [[]]}], codes=["a"])
    with pytest.raises(InputError, match="no visit"):
        generators.Whole().fit(nobody)


def test_a_generator_of_admissions_of_an_earlier_version_is_refused(folder):
    rewrite(folder, lambda entries: entries.update(generator="visits"), sign=True)
    for read in (generators.load, generators.load_any):
        with pytest.raises(InputError, match="replaced by whole patients; fit preset whole"):
            read(folder)
