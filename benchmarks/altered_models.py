"""Saved models as they come damaged or tampered with.

A folder that was altered is to be refused in one line that names it,
or to draw the very patients that the
model drew before. Where every SHA-256 was renewed,
the folder is a model of its own: it is refused, or draws
whole counts.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from benchmarks.trials import Outcome, judged
from scoehr import generators
from scoehr.data.columns import Column, Columns
from scoehr.data.matrix import CodeMatrix
from scoehr.data.patients import Patients
from scoehr.files import sha256
from scoehr.generators import saved

Rng = np.random.Generator
#: Presets, and settings that make them small.
PRESETS: dict[str, dict[str, Any]] = {
    "thinning": {"epochs": 1, "width": 8, "depth": 1},
    "fast": {"epochs": 1, "autoencoder_epochs": 1, "latent": 8, "width": 8, "depth": 1, "steps": 3},
    "edm": {"epochs": 1, "width": 8, "depth": 1, "steps": 3},
    "medgan": {"epochs": 1, "autoencoder_epochs": 1, "width": 8},
    "copula": {},
    "whole": {"epochs": 1, "width": 8, "depth": 1},
}
#: What an entry of config.json may turn into.
VALUES: list[Any] = [
    None, 0, 1, -1, 3, 0.5, 1e30, 10**19, 20_000, "", "foo", "signed", "binary", "tau_leaping",
    "private", "copula", "<script>", [], [1], {}, {"a": 1},
    True, float("nan"), float("inf"), "9" * 400, [[[[]]]],
]  # fmt: skip


@cache
def patients() -> CodeMatrix:
    """A few patients of a few codes."""
    rng = np.random.default_rng(3)
    counts = rng.poisson(rng.uniform(0.1, 1, 24), (80, 24))
    return CodeMatrix.from_array(
        counts, [f"{400 + code}" for code in range(24)], titles=["title"] * 24
    )


def whole_patients() -> Patients:
    """The same with a sex and an age, each of two visits."""
    matrix, rng = patients(), np.random.default_rng(4)
    n = len(matrix) // 2
    kinds = (Column("sex", "category", ("F", "M")), Column("age", "number"))
    columns = Columns(kinds, (rng.integers(0, 2, n), rng.integers(20, 90, n)), n)
    starts = np.arange(0, len(matrix) + 1, 2)
    return Patients(
        matrix.counts, starts, np.arange(n), matrix.codes, matrix.titles, columns=columns
    )


def models(folder: Path) -> dict[str, Path]:
    """A sound model a preset."""
    found = {}
    for name, settings in PRESETS.items():
        found[name] = folder / name
        if not found[name].exists():
            fitted(name, settings).save(found[name])
    return found


def fitted(name: str, settings: dict[str, Any], seed: int = 0) -> Any:
    """A model of a preset, of a few patients."""
    if name == generators.Whole.name:
        model = generators.Whole(generators.WholeConfig(**settings))
        return model.fit(whole_patients(), seed=seed, progress=False)
    return generators.preset(name, **settings).fit(patients(), seed=seed, progress=False)


def drawn(folder: Path) -> CodeMatrix | Patients:
    """The patients that a saved model draws."""
    return generators.load_any(folder).sample(25, seed=0, progress=False)


# Alterations: each changes files of a folder ------------------------------------------------------


def _config(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "config.json").read_text(encoding="utf-8"))


def _put(folder: Path, config: Any) -> None:
    (folder / "config.json").write_text(json.dumps(config, indent=1), encoding="utf-8")


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths to all entries."""
    found = [path] if path else []
    items = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    return found + [each for key, inner in items for each in _places(inner, (*path, key))]


def _entry(rng: Rng, folder: Path) -> str:
    """An entry of config.json replaced, left out or added."""
    config = _config(folder)
    places = _places(config)
    path = places[int(rng.integers(len(places)))]
    value = VALUES[int(rng.integers(len(VALUES)))]
    inner = config
    for key in path[:-1]:
        inner = inner[key]
    how = rng.random()
    if how < 0.7:
        inner[path[-1]] = value
    elif how < 0.85:
        del inner[path[-1]]
    elif isinstance(inner, dict):
        inner["another"] = value
    _put(folder, config)
    return f"entry {'/'.join(map(str, path))} {'is ' + repr(value)[:30] if how < 0.7 else 'gone or joined'}"


def _any_file(rng: Rng, folder: Path, *endings: str) -> Path:
    files = sorted(path for path in folder.iterdir() if not endings or path.suffix in endings)
    return files[int(rng.integers(len(files)))]


def _bits(rng: Rng, folder: Path) -> str:
    path = _any_file(rng, folder)
    data = bytearray(path.read_bytes())
    for _ in range(int(rng.integers(1, 4))):
        data[int(rng.integers(len(data)))] ^= 1 << int(rng.integers(8))
    path.write_bytes(data)
    return f"bits of {path.name}"


def _truncated(rng: Rng, folder: Path) -> str:
    path = _any_file(rng, folder)
    data = path.read_bytes()
    path.write_bytes(data[: int(rng.integers(len(data)))])
    return f"{path.name} cut off"


def _gone(rng: Rng, folder: Path) -> str:
    path = _any_file(rng, folder)
    path.unlink()
    return f"{path.name} gone"


def _garbage(rng: Rng, folder: Path) -> str:
    path = _any_file(rng, folder)
    data = [
        b"",
        b"\0" * 64,
        rng.bytes(300),
        b"[" * 9000,
        b"{}",
        b"\x80\x04\x95K\x00.",
        (2**60).to_bytes(8, "little") + b"{}",
    ]
    path.write_bytes(data[int(rng.integers(len(data)))])
    return f"{path.name} of other bytes"


def _tensors(rng: Rng, folder: Path) -> str:
    """A tensor scaled, made NaN, reshaped, retyped, renamed or left out, another added."""
    path = _any_file(rng, folder, ".safetensors")
    tensors = load_file(path)
    name = str(rng.choice(sorted(tensors)))
    changes: dict[str, Callable[[torch.Tensor], torch.Tensor | None]] = {
        "scaled": lambda tensor: (tensor * 3 + 1).to(tensor.dtype),
        "NaN": lambda tensor: (
            torch.full_like(tensor, float("nan")) if tensor.is_floating_point() else tensor + 10**6
        ),
        "infinite": lambda tensor: (
            torch.full_like(tensor, float("inf")) if tensor.is_floating_point() else tensor - 10**6
        ),
        "of another shape": lambda tensor: torch.zeros((*tensor.shape, 2), dtype=tensor.dtype),
        "flat": lambda tensor: tensor.flatten()[:1].clone(),
        "of another type": lambda tensor: tensor.to(torch.float64),
        "gone": lambda tensor: None,
        "turned": lambda tensor: tensor.flip(0).contiguous() if tensor.dim() else tensor + 1,
    }
    how = str(rng.choice(list(changes)))
    new = changes[how](tensors.pop(name))
    if new is not None:
        tensors[name] = new
    save_file(tensors, path)
    return f"{path.name}: {name} {how}"


def _vocabulary(rng: Rng, folder: Path) -> str:
    """Rows exchanged, repeated, left out, renamed; another header."""
    path = folder / "vocabulary.csv"
    head, *rows = path.read_text(encoding="utf-8").splitlines()
    one, other = rng.choice(len(rows), 2, replace=False)
    changes: dict[str, Callable[[], list[str]]] = {
        "rows exchanged": lambda: _exchanged(rows, int(one), int(other)),
        "a row twice": lambda: [*rows, rows[int(one)]],
        "a row for another": lambda: [*rows[:-1], rows[0]],
        "a row gone": lambda: rows[1:], "a code renamed": lambda: ['"=1+1","x"', *rows[1:]],
        "a short row": lambda: ['"a"', *rows[1:]],
    }  # fmt: skip
    how = str(rng.choice([*changes, "another header"]))
    lines = [head, *changes[how]()] if how in changes else ["code", *rows]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return f"vocabulary.csv: {how}"


def _exchanged(rows: list[str], one: int, other: int) -> list[str]:
    rows = list(rows)
    rows[one], rows[other] = rows[other], rows[one]
    return rows


def _other_model(rng: Rng, folder: Path) -> str:
    """A file of another sound model of the same folder of models in this one's place."""
    path = _any_file(rng, folder)
    other = Path(folder.parents[1] / "sound" / str(rng.choice(list(PRESETS)))) / path.name
    if other.exists():
        shutil.copy(other, path)
    return f"{path.name} of another model"


def _format(rng: Rng, folder: Path) -> str:
    config = _config(folder)
    config["format"] = [0, 1, 2, 3, "4", 4.0, None, True][int(rng.integers(8))]
    if rng.random() < 0.4:
        config.pop("sha256", None)
    _put(folder, config)
    return f"format {config['format']!r}"


ALTERATIONS = [
    _entry,
    _entry,
    _entry,
    _tensors,
    _tensors,
    _vocabulary,
    _bits,
    _truncated,
    _gone,
    _garbage,
    _other_model,
    _format,
]


def renew(folder: Path) -> None:
    """Write every SHA-256 anew, as far as config.json can be read."""
    try:
        config = _config(folder)
        config["weights"] = {name: sha256(folder / name) for name in config["weights"]}
        for key, name in (("history", saved.HISTORY), ("pairs", saved.PAIRS)):
            if key in config:
                config[key] = sha256(folder / name)
        config["vocabulary"]["sha256"] = sha256(folder / saved.VOCABULARY)
        config["sha256"] = saved.digest(config)
        _put(folder, config)
    except (ValueError, TypeError, KeyError, AttributeError, OSError, RecursionError):
        return


# Cases --------------------------------------------------------------------------------------------


def cases(number: int, seed: int, folder: Path) -> Iterator[Outcome]:
    """So many altered models below ``folder``; every third with renewed SHA-256."""
    sound = models(folder / "sound")
    before = {name: drawn(path) for name, path in sound.items()}
    for each in range(number):
        yield case(each, seed, folder / "altered" / str(each), sound, before)


def case(
    each: int,
    seed: int,
    folder: Path,
    sound: dict[str, Path],
    before: dict[str, CodeMatrix | Patients],
) -> Outcome:
    """The altered model of this number."""
    rng = np.random.default_rng([seed, 1, each])
    name = list(PRESETS)[each % len(PRESETS)]
    folder.parent.mkdir(parents=True, exist_ok=True)
    shutil.copytree(sound[name], folder)
    what = ALTERATIONS[int(rng.integers(len(ALTERATIONS)))](rng, folder)
    renewed = each % 3 == 2
    if renewed:
        renew(folder)

    def wrong(found: Any) -> str:
        if renewed:
            return (
                ""
                if not found.counts.nnz or found.counts.data.min() >= 0
                else "draws negative counts"
            )
        return "" if found.equals(before[name]) else "loads and draws other patients"

    outcome = judged(f"{name}: {what}{', renewed' * renewed}", lambda: drawn(folder), wrong, folder)
    shutil.rmtree(folder)
    return outcome
