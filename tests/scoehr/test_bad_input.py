"""What cannot be used is refused in one line with status 2, and leaves nothing half-written."""

import gzip
import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pandas as pd
import pytest
from shell import COMMAND, done, inside, long_table, refused, scoehr, start

from scoehr import generators
from scoehr.cli import _settings
from scoehr.generators import saved

SMALL = [
    "--preset",
    "fast",
    "--set",
    "latent=16",
    "--set",
    "epochs=2",
    "--set",
    "autoencoder_epochs=2",
    "--set",
    "width=32",
]


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    """Tables of sixty simulated patients in the schema of MIMIC-III."""
    folder = tmp_path_factory.mktemp("cohort") / "tables"
    done("simulate", "--out", folder, "--patients", 60)
    return folder


@pytest.fixture
def tables(cohort, tmp_path):
    """A copy of the tables that a test may spoil, unpacked."""
    folder = tmp_path / "tables"
    folder.mkdir()
    for file in cohort.iterdir():
        if file.suffix == ".gz":
            (folder / file.stem).write_bytes(gzip.decompress(file.read_bytes()))
        else:
            shutil.copy(file, folder)
    return folder


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A model trained for a moment."""
    place = tmp_path_factory.mktemp("trained")
    done("fit", long_table(place / "patients.csv"), "--out", place / "model", *SMALL)
    return place / "model"


@pytest.fixture
def model(trained, tmp_path):
    """A copy of the model that a test may spoil."""
    return shutil.copytree(trained, tmp_path / "model")


def spoil(path: Path, change) -> Path:
    """Put ``change(lines)`` in place of the lines of a text file."""
    path.write_text(
        "\n".join(change(path.read_text(encoding="utf-8").splitlines())) + "\n", encoding="utf-8"
    )
    return path


def cells(line: int, column: int, value: str):
    """A change that puts ``value`` into one cell of a CSV; line 0 is the header."""

    def change(lines):
        row = lines[line].split(",")
        row[column] = value
        return [*lines[:line], ",".join(row), *lines[line + 1 :]]

    return change


# Tables of a data set -----------------------------------------------------------------------------------------------


def read_mimic(tables, out):
    return inside("data", "mimic3", "--source", tables, "--out", out)


def test_the_unspoilt_tables_are_read(tables, tmp_path):
    assert read_mimic(tables, tmp_path / "matrix.parquet").returncode == 0
    assert (tmp_path / "matrix.parquet").exists()


@pytest.mark.parametrize(
    ("table", "change", "words"),
    [
        (
            "DIAGNOSES_ICD",
            lambda lines: [lines[0].replace("ICD9_CODE", "CODE"), *lines[1:]],
            ["ICD9_CODE"],
        ),
        ("DIAGNOSES_ICD", lambda lines: ['"A","B"', "1,2"], ["DIAGNOSES_ICD", "column"]),
        ("DIAGNOSES_ICD", lambda lines: lines[:1], ["empty"]),
        ("DIAGNOSES_ICD", cells(3, 2, "99999999"), ["99999999", "ADMISSIONS"]),
        ("ADMISSIONS", lambda lines: [*lines, lines[1]], ["HADM_ID"]),
        ("PATIENTS", lambda lines: [*lines, lines[1]], ["SUBJECT_ID"]),
        ("ADMISSIONS", cells(2, 3, "the 3rd of May"), ["ADMITTIME", "the 3rd of May"]),
        ("DIAGNOSES_ICD", cells(2, 1, "twelve"), ["SUBJECT_ID", "twelve"]),
    ],
    ids=[
        "missing column",
        "wrong table",
        "empty table",
        "unknown admission",
        "duplicate admission",
        "duplicate patient",
        "malformed date",
        "non-numeric id",
    ],
)
def test_spoilt_table(tables, tmp_path, table, change, words):
    spoil(tables / f"{table}.csv", change)
    refused(read_mimic(tables, tmp_path / "matrix.parquet"), *words)
    assert not (tmp_path / "matrix.parquet").exists()


def test_missing_table(tables, tmp_path):
    (tables / "ADMISSIONS.csv").unlink()
    refused(read_mimic(tables, tmp_path / "matrix.parquet"), "ADMISSIONS")


def test_missing_folder(tmp_path):
    refused(read_mimic(tmp_path / "nowhere", tmp_path / "matrix.parquet"), "nowhere")


def test_source_not_given():
    refused(inside("data", "mimic3"), "--source")


def test_truncated_gz(tables, tmp_path):
    file = tables / "DIAGNOSES_ICD.csv"
    packed = gzip.compress(file.read_bytes())
    file.unlink()
    (tables / "DIAGNOSES_ICD.csv.gz").write_bytes(packed[: len(packed) // 2])
    refused(read_mimic(tables, tmp_path / "matrix.parquet"), "DIAGNOSES_ICD.csv.gz")
    assert not (tmp_path / "matrix.parquet").exists()


def test_mixed_encodings(tables, tmp_path):
    file = tables / "DIAGNOSES_ICD.csv"
    file.write_bytes(file.read_bytes() + '9999,9,9,1,"caf\xe9 \u20ac"\n'.encode("cp1252"))
    refused(read_mimic(tables, tmp_path / "matrix.parquet"), "DIAGNOSES_ICD.csv", "UTF-8")


def test_unknown_data_set():
    refused(inside("data", "mimic5"), "mimic5", "mimic4")


# A user's own table -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", []),
        ("patient_id,code,count\n", []),
        ("patient_id,code,count\n1,401,two\n", ["count", "two"]),
        ("patient_id,code,count\n1,401,-2\n", ["count", "-2"]),
        ("patient_id,code,count\n1,401,1.5\n", ["count", "1.5"]),
        ("patient_id,code,count\n1,401,2\n1,401,3\n", ["401"]),
        ("patient_id,401,402\n1,0,1\n1,1,1\n", ["1"]),
    ],
    ids=[
        "no bytes",
        "no rows",
        "non-numeric",
        "negative",
        "broken",
        "duplicate long key",
        "duplicate wide key",
    ],
)
def test_spoilt_own_table(tmp_path, text, words):
    table, out = tmp_path / "table.csv", tmp_path / "matrix.parquet"
    table.write_text(text, encoding="utf-8")
    refused(inside("data", "table", "--source", table, "--out", out), "table.csv", *words)
    assert not out.exists()


def test_parquet_that_is_none(tmp_path):
    (tmp_path / "table.parquet").write_bytes(b"PAR1 but no more")
    refused(
        inside("split", tmp_path / "table.parquet", "--out", tmp_path / "parts"), "table.parquet"
    )
    assert not (tmp_path / "parts").exists()


def test_too_few_patients_to_split(tmp_path):
    table = long_table(tmp_path / "table.csv", patients=3, codes=60)
    refused(inside("split", table, "--out", tmp_path / "parts"), "too few")


# Settings -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--preset", "reported", "--set", "latent=100"], ["latent", "64"]),
        (["--preset", "slow"], ["slow", "fast"]),
        (["--set", "epoch=2"], ["epoch"]),
        (["--set", "epochs"], ["NAME=VALUE"]),
        (["--set", "epochs=0"], ["epochs"]),
        (["--set", "epochs=many"], ["epochs", "many"]),
        (["--set", "learning_rate=-1"], ["learning_rate", "-1"]),
        (["--validation", "nowhere.csv"], ["nowhere.csv"]),
    ],
    ids=[
        "latent size",
        "preset",
        "setting",
        "no value",
        "no epochs",
        "a word",
        "negative rate",
        "validation",
    ],
)
def test_unusable_settings(tmp_path, arguments, words):
    table = long_table(tmp_path / "table.csv")
    refused(inside("fit", table, "--out", tmp_path / "model", *arguments), *words)
    assert not (tmp_path / "model").exists()


def test_one_patient_is_too_few_for_the_fast_preset(tmp_path):
    (tmp_path / "one.csv").write_text("patient_id,code\n1,A\n1,B\n")
    refused(
        inside("fit", tmp_path / "one.csv", "--out", tmp_path / "model", *SMALL),
        "one patient",
        "more patients",
    )
    assert not (tmp_path / "model").exists()


def test_folder_of_other_things_is_left_alone(tmp_path):
    table = long_table(tmp_path / "table.csv")
    for command in (["fit", table], ["simulate"]):
        refused(inside(*command, "--out", tmp_path), "other things")
    assert table.exists()


# Models -------------------------------------------------------------------------------------------------------------


def draw(model, out, n=20):
    return inside("sample", model, "-n", n, "--out", out)


def test_more_samples_than_the_disk_holds(model, tmp_path):
    refused(draw(model, tmp_path / "out.parquet", 10**13), "GiB")
    assert not (tmp_path / "out.parquet").exists()


def test_model_of_another_version(model, tmp_path):
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps({**config, "format": 99}))
    refused(draw(model, tmp_path / "out.parquet"), "config.json", "version")


@pytest.mark.parametrize(
    "text",
    ["{", "[]", "{}", '{"format": 1}'],
    ids=["cut", "a list", "no entries", "entries missing"],
)
def test_model_with_spoilt_settings(model, tmp_path, text):
    (model / "config.json").write_text(text)
    refused(draw(model, tmp_path / "out.parquet"), "config.json")


@pytest.mark.parametrize("key", ["config", "weights", "vocabulary"])
def test_model_with_a_damaged_entry(model, tmp_path, key):
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps({**config, key: ["spoilt"]}))
    refused(draw(model, tmp_path / "out.parquet"), "config.json", key)


def test_missing_vocabulary(model, tmp_path):
    (model / "vocabulary.csv").unlink()
    refused(draw(model, tmp_path / "out.parquet"), "vocabulary.csv", "restore")


def test_corrupted_weights(model, tmp_path):
    file = model / "score.safetensors"
    content = bytearray(file.read_bytes())
    content[-7] ^= 1
    file.write_bytes(content)
    refused(draw(model, tmp_path / "out.parquet"), "score.safetensors")


def test_swapped_weights(model, tmp_path):
    score, autoencoder = model / "score.safetensors", model / "autoencoder.safetensors"
    score.rename(model / "other")
    autoencoder.rename(score)
    (model / "other").rename(autoencoder)
    refused(draw(model, tmp_path / "out.parquet"), ".safetensors")


def test_missing_weights(model, tmp_path):
    (model / "score.safetensors").unlink()
    refused(draw(model, tmp_path / "out.parquet"), "score.safetensors")


def test_no_model(tmp_path):
    refused(draw(tmp_path / "nowhere", tmp_path / "out.parquet"), "nowhere")


def test_output_that_cannot_be_made(model, tmp_path):
    (tmp_path / "file").write_text("")
    refused(draw(model, tmp_path / "file" / "out.parquet"), "file")


def test_older_output_stays_when_drawing_fails(model, tmp_path):
    out = tmp_path / "out.parquet"
    out.write_bytes(b"older")
    (model / "score.safetensors").unlink()
    refused(draw(model, out))
    assert out.read_bytes() == b"older"


# The machine --------------------------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 16 KiB."""
    place = tmp_path / "disk"
    place.mkdir()
    options = ["-t", "tmpfs", "-o", "size=16k", "tmpfs", place]
    if (
        os.geteuid() != 0
        or subprocess.run(["mount", *options], capture_output=True, check=False).returncode
    ):
        pytest.skip("mounting a small disk takes the rights of root")
    yield place
    subprocess.run(["umount", place], check=True)


@pytest.mark.parametrize("command", ["simulate", "data", "split", "fit", "sample", "evaluate"])
def test_full_disk(small_disk, trained, tmp_path, command):
    table = long_table(tmp_path / "table.csv", patients=400, codes=100)
    arguments = {
        "simulate": ["--patients", 500, "--out", small_disk / "tables"],
        "data": ["table", "--source", table, "--out", small_disk / "matrix.parquet"],
        "split": [table, "--out", small_disk / "parts"],
        "fit": [table, "--out", small_disk / "model", *SMALL],
        "sample": [trained, "-n", 4000, "--out", small_disk / "out.parquet"],
        "evaluate": [table, table, "--train", table, "--json", small_disk / "scores.json"],
    }
    if command == "evaluate":  # its file is small: leave no room at all
        (small_disk / "filler").write_bytes(bytes(os.statvfs(small_disk).f_bavail * 4096))
    said = (
        "patients need about" if command == "sample" else "no space left on device"
    )  # which looks first
    refused(scoehr(command, *arguments[command]), said)
    assert [
        path.name for path in small_disk.rglob("*") if path.is_file() and path.name != "filler"
    ] == []


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_interrupt_while_fitting(tmp_path, ending):
    table = long_table(tmp_path / "table.csv")
    command = [
        *COMMAND,
        "fit",
        table,
        "--out",
        "model",
        "--preset",
        "fast",
        "--set",
        "autoencoder_epochs=100000",
    ]
    process = start(command, tmp_path)
    assert process.stdout.readline()  # the table is read
    time.sleep(2)
    process.send_signal(ending)
    out, err = process.communicate(timeout=60)
    refused(subprocess.CompletedProcess(command, process.returncode, out, err), "interrupted")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["table.csv"]


def test_reader_that_goes_away(tmp_path):
    table = long_table(tmp_path / "table.csv")
    reader, writer = os.pipe()
    os.close(reader)
    command = [*COMMAND, "data", "table", "--source", str(table)]
    result = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writer)
    assert (result.returncode, result.stderr) == (
        1,
        "",
    )  # as other commands end whose reader has gone


def test_refusals_in_a_process_of_their_own(model, tmp_path):
    """The imports, and what the libraries print, add nothing to the line."""
    (model / "score.safetensors").unlink()
    table = long_table(tmp_path / "table.csv")
    for command, word in {
        ("sample", model, "-n", 5, "--out", tmp_path / "out.parquet"): "score.safetensors",
        ("fit", table, "--out", tmp_path / "new", "--set", "learning_rate=-1"): "learning_rate",
        ("evaluate", table, "nowhere.csv", "--json", tmp_path / "scores.json"): "nowhere.csv",
        ("data", "mimic3", "--source", tmp_path): "DIAGNOSES_ICD",
    }.items():
        refused(scoehr(*command), word)


# Scores -------------------------------------------------------------------------------------------------------------


def test_evaluate_against_a_missing_table(tmp_path):
    table = long_table(tmp_path / "table.csv")
    refused(
        inside("evaluate", table, tmp_path / "nowhere.parquet", "--json", tmp_path / "scores.json"),
        "nowhere.parquet",
    )
    assert not (tmp_path / "scores.json").exists()


def test_evaluate_tables_without_a_common_code(tmp_path):
    table = long_table(tmp_path / "table.csv")
    other = tmp_path / "other.csv"
    pd.read_csv(table).assign(code=lambda frame: "X" + frame["code"].astype(str)).to_csv(
        other, index=False
    )
    refused(inside("evaluate", table, other, "--json", tmp_path / "scores.json"), "code")


# Training and its settings ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("preset", "changes"),
    {
        "thinning": [
            "sampler=foo", "sampler=heun", "sample_batch=0", "width=0", "depth=0", "ema=2", "clip=0",
            "steps=0", "ema=1",
            "kind=Binary", "kind=signed", "network=plain", "learning_rate=0", "learning_rate=nan", "learning_rate=inf",
            "epochs=99999999999999999999",
            "batch=0", "blur=-1", "width=true", "epochs=2.5", "width=1000000000", "schedule=never", "sample_batch=1e12",
        ],
        "fast": ["latent=0", "width=33", "width=2", "steps=1", "head=tanh", "attention=[0]", "epoch_fraction=0"],
        "private": ["max_codes=0", "delta=1", "epsilon=0", "max_gradient_norm=0", "width=7"],
        "edm": ["steps=1", "width=3"],
        "copula": ["steps=2", "prior=0"],
        "medgan": ["steps=3", "batch=1", "discriminator_steps=100000", "embedding=0"],
    }.items(),
)  # fmt: skip
def test_settings_are_refused_before_any_table_is_read(tmp_path, preset, changes):
    for change in changes:
        result = inside(
            "fit",
            tmp_path / "no-table.csv",
            "--out",
            tmp_path / "model",
            "--preset",
            preset,
            "--set",
            change,
        )
        refused(result, change.split("=")[0])
        assert "no-table" not in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_network_larger_than_the_memory_is_refused_before_it_is_made(tmp_path):
    table = long_table(tmp_path / "table.csv")
    changes = ("--set", "width=16384", "--set", "depth=256")
    refused(inside("fit", table, "--out", tmp_path / "model", *changes), "GiB", "free", "width")
    assert [path.name for path in tmp_path.iterdir()] == ["table.csv"]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 1e-3), ("1E3", 1000.0), ("1.e-3", 1e-3), (".5", 0.5), ("3", 3), ("-2", -2), ("010", 10),
        ("true", True),
        ("False", False), ("null", None), ("[16, 8]", [16, 8]), ("[]", []), ("word", "word"), ("1:30", "1:30"),
        ("on", "on"), ("a: b", "a: b"), ("[[[", "[[["), ("*x", "*x"),
    ],
)  # fmt: skip
def test_values_of_settings_are_what_they_look_like(text, value):
    found = _settings([f"rate={text}"])["rate"]
    assert found == value and type(found) is type(value)


def test_settings_without_end_are_not_echoed(tmp_path):
    bomb = "a=[" + "[x," * 3000
    for change in (
        "x" * 9000 + "=1",
        "width=" + "9" * 9000,
        "kind=" + "x" * 9000,
        bomb,
        "y" * 9000,
    ):
        result = inside("fit", tmp_path / "table.csv", "--out", tmp_path / "model", "--set", change)
        refused(result)
        assert len(result.stderr) < 300
    assert _settings(["rate=1", "rate=2"]) == {"rate": 2}


@pytest.mark.parametrize("command", ["fit", "sample", "split", "simulate"])
@pytest.mark.parametrize("seed", ["-1", "18446744073709551616", "three", "1.5"])
def test_seeds_that_are_none(tmp_path, command, seed):
    refused(inside(command, "--seed", seed, "--out", tmp_path / "x", "x", "x"), "seed")


def test_seeds_that_scikit_learn_would_not_take(tmp_path):
    table = long_table(tmp_path / "table.csv", patients=60)
    for seed in (2**32, 2**63 - 1):
        done("split", table, "--out", tmp_path / "parts", "--seed", seed)


def test_a_table_of_no_code_is_refused(tmp_path):
    table = tmp_path / "table.csv"
    table.write_text("patient_id,code\n1,\n2,\n")
    for preset in ("thinning", "fast", "copula"):
        refused(
            inside("fit", table, "--out", tmp_path / "model", "--preset", preset),
            "table.csv",
            "code",
        )


def test_a_target_that_cannot_be_made_is_found_before_the_training(tmp_path, monkeypatch):
    """No patient is read: the table is not there."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("")
    monkeypatch.chdir(tmp_path / "empty")
    for out in (".", tmp_path / "file" / "model", "/dev/null/model", "/proc/model"):
        result = inside("fit", "no-table.csv", "--out", out, *SMALL)
        refused(result)
        assert "no-table" not in result.stderr, result.stderr


def wait_for(path, pattern, process):
    end = time.monotonic() + 200
    while not list(path.glob(pattern)):
        assert process.poll() is None and time.monotonic() < end
        time.sleep(0.02)


def test_a_killed_fit_goes_on_to_the_same_bits(tmp_path):
    table = long_table(tmp_path / "table.csv")
    longer = [*SMALL, "--set", "epochs=30"]
    process = start([*COMMAND, "fit", table, "--out", tmp_path / "model", *longer], tmp_path)
    wait_for(tmp_path, ".model.training/autoencoder-*", process)
    process.kill()
    process.wait()
    assert not (tmp_path / "model").exists()
    assert len([path for path in tmp_path.iterdir() if path.name.startswith(".model.")]) == 2
    again = inside("fit", table, "--out", tmp_path / "model", *longer)
    assert again.returncode == 0, again.stderr
    assert "autoencoder: 100%" not in again.stderr, "that was trained before"
    done("fit", table, "--out", tmp_path / "undisturbed", *longer)
    for name in ("score.safetensors", "autoencoder.safetensors"):
        assert (tmp_path / "model" / name).read_bytes() == (
            tmp_path / "undisturbed" / name
        ).read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "table.csv", "undisturbed"]


def test_a_resumed_training_says_if_its_threads_are_others(tmp_path):
    table = long_table(tmp_path / "table.csv")
    process = start(
        [*COMMAND, "fit", table, "--out", tmp_path / "model", *SMALL, "--set", "epochs=3000"],
        tmp_path,
        OMP_NUM_THREADS="1",
    )
    wait_for(tmp_path, ".model.training/autoencoder-*", process)
    process.kill()
    process.wait()
    result = scoehr(
        "fit", table, "--out", tmp_path / "model", *SMALL, "--set", "epochs=1", OMP_NUM_THREADS="2"
    )
    assert result.returncode == 0, result.stderr
    assert "began with 1 thread(s) and continues with 2" in result.stderr
    assert json.loads((tmp_path / "model" / "config.json").read_text())["threads"] == 2


# Conditions ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def exclusive(tmp_path_factory):
    """A model of patients who have A or B but not both, and C beside either."""
    place = tmp_path_factory.mktemp("exclusive")
    rows = [(i, code) for i in range(200) for code in ("AB"[i % 2], *("C" if i % 5 == 0 else ""))]
    pd.DataFrame([*rows, *((i, "D") for i in (0, 1))], columns=["patient_id", "code"]).to_csv(
        place / "t.csv", index=False
    )
    done("fit", place / "t.csv", "--out", place / "model", "--set", "width=8", "--set", "epochs=1")
    return place / "model"


def test_codes_that_no_patient_has_together_are_answered_with_numbers(exclusive, tmp_path):
    out = tmp_path / "out.parquet"
    result = inside("sample", exclusive, "-n", 5, "--given", "A", "--given", "B", "--out", out)
    refused(result, "of 200 training patients", "A: 100", "B: 100", "all of them: 0")
    refused(
        inside(
            "sample",
            exclusive,
            "-n",
            5,
            *("--given", "A", "--given", "B", "--given", "C"),
            "--out",
            out,
        ),
        "C: 40",
        ": 0",
    )
    assert not out.exists()


def test_a_condition_that_is_met_says_by_how_many(exclusive, tmp_path):
    result = inside(
        "sample",
        exclusive,
        "-n",
        5,
        "--given",
        "A",
        "--given",
        "C",
        "--out",
        tmp_path / "out.parquet",
    )
    assert result.returncode == 0
    assert "A: 100, C: 40; all of them: 20" in result.stderr
    assert "% of the records grown were accepted" in result.stderr
    refused(
        inside("sample", exclusive, "-n", 5, "--given", "X", "--out", tmp_path / "out.parquet"),
        "X",
        "vocabulary.csv",
    )


def test_a_model_without_pairs_says_that_it_cannot_check(exclusive, tmp_path):
    model = shutil.copytree(exclusive, tmp_path / "model")
    entries = json.loads((model / "config.json").read_text())
    del entries["pairs"]
    saved.write_config(model / "config.json", entries)
    result = inside(
        "sample", model, "-n", 5, "--given", "A", "--given", "B", "--out", tmp_path / "out.parquet"
    )
    assert result.returncode == 0
    assert "does not know how many patients have A and B" in result.stderr


# Privacy ------------------------------------------------------------------------------------------

PRIVATE = [
    "--preset",
    "private",
    "--set",
    "width=8",
    "--set",
    "epochs=1",
    "--set",
    "delta=1e-4",
    "--set",
    "epsilon=1e4",
]
PRIVATE += ["--set", "marginals_noise=0.1"]


def test_a_private_table_is_learned_on_public_codes_alone(tmp_path):
    table = long_table(tmp_path / "table.csv", patients=300)
    lines = table.read_text().splitlines()
    table.write_text("\n".join([*lines, "0,SECRET,1"]) + "\n")
    (tmp_path / "codes.csv").write_text(
        "Code,title\n400,first\n401,=second\n999,nobody's\n401,second\n"
    )
    said = done(
        "fit", table, "--out", tmp_path / "model", *PRIVATE, "--codes", tmp_path / "codes.csv"
    )
    assert "300" not in said and "25" not in said.replace(str(tmp_path), "")
    files = {
        path.name: path.read_bytes().decode("utf-8", "replace")
        for path in (tmp_path / "model").iterdir()
    }
    assert not [name for name, text in files.items() if "SECRET" in text]
    assert set(files) == {
        "config.json",
        "vocabulary.csv",
        "history.csv",
        "rate.safetensors",
        "MODEL_CARD.md",
        "DATA_CARD.md",
    }
    entries = json.loads(files["config.json"])
    assert entries["data"] == {} and "300" not in files["DATA_CARD.md"]
    model = generators.load(tmp_path / "model")
    assert list(model.vocabulary.codes) == ["400", "401", "999"]


def test_a_private_table_can_have_its_codes_chosen_under_noise(tmp_path):
    table = long_table(tmp_path / "table.csv", patients=300)
    lines = table.read_text().splitlines()
    table.write_text("\n".join([*lines, "0,SECRET,1"]) + "\n")
    noised = ["--set", "vocabulary=noised", "--set", "vocabulary_noise=0.1"]
    said = done("fit", table, "--out", tmp_path / "model", *PRIVATE, *noised)
    assert "300" not in said and "noised vocabulary" in said
    assert not [path for path in (tmp_path / "model").iterdir() if b"SECRET" in path.read_bytes()]
    assert len(generators.load(tmp_path / "model").vocabulary.codes) > 1
    (tmp_path / "codes.txt").write_text("401\n")
    refused(
        inside(
            "fit", table, "--out", tmp_path / "other", *PRIVATE, *noised, "--codes",
            tmp_path / "codes.txt",
        ),
        "not noised",
    )  # fmt: skip


def test_a_private_training_without_a_public_list_is_refused(tmp_path):
    table = long_table(tmp_path / "table.csv")
    lists = {
        "none.csv": "name\n401\n",
        "empty.csv": "code\n",
        "patients.csv": "patient_id,code\n1,401\n",
        "ragged.csv": "code,title\n1\n",
    }
    for name, text in lists.items():
        (tmp_path / name).write_text(text)
        refused(
            inside("fit", table, "--out", tmp_path / "model", *PRIVATE, "--codes", tmp_path / name),
            name,
        )
    refused(
        inside("fit", table, "--out", tmp_path / "model", *PRIVATE, "--codes", tmp_path / "no.csv"),
        "no.csv",
        "no such file",
    )
    refused(
        inside("fit", table, "--out", tmp_path / "model", *PRIVATE, "--codes", table),
        "patient_id",
        "public",
    )
    refused(inside("fit", table, "--out", tmp_path / "model", *PRIVATE), "--codes", "public")
    refused(
        inside(
            "fit", table, "--out", tmp_path / "model", *SMALL, "--codes", tmp_path / "empty.csv"
        ),
        "preset private",
    )
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize("name", ["list.txt", "list.csv", "list.parquet"])
def test_public_lists_in_every_form(tmp_path, name):
    frame = pd.DataFrame({"code": [" 401 ", "E11", "401", ""]})
    match Path(name).suffix:
        case ".txt":
            (tmp_path / name).write_text(
                "\ufeff401\r\nE11\r\n401\r\n\r\n", encoding="utf-8", newline=""
            )
        case ".csv":
            frame.to_csv(tmp_path / name, index=False)
        case _:
            frame.to_parquet(tmp_path / name)
    assert generators.public_codes(tmp_path / name) == {"401": "", "E11": ""}
