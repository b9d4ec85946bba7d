"""The folder of a saved generator: config.json, vocabulary.csv, history.csv and the weights.

config.json names the SHA-256 of every other file of the model, and one of itself: what was altered
is not loaded.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Collection
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import safetensors
import torch
from safetensors.torch import save_file
from scipy import sparse
from torch import Tensor

from scoehr.data.matrix import CodeMatrix
from scoehr.data.patients import Patients
from scoehr.files import InputError, about, clear, neutral, read_json, replacing, restored, sha256
from scoehr.generators.settings import shown

FORMAT = 4  # raised when folders of the version before can no longer be read
VOCABULARY, HISTORY, PAIRS = "vocabulary.csv", "history.csv", "pairs.parquet"
TYPES = {torch.float32: "F32", torch.int64: "I64"}  # as safetensors calls them
REMEDY = "restore the file or fit the model again"
Weights = dict[str, dict[str, Tensor]]  # file name -> tensors


# Writing --------------------------------------------------------------------------------------


def write(
    folder: Path,
    head: dict[str, Any],
    weights: Weights,
    words: CodeMatrix | Patients,
    history: pd.DataFrame,
    pairs: sparse.csr_array | None = None,
) -> None:
    """Write the files into an existing folder.

    Args:
        head: further entries of config.json.
        weights: tensors by file and name.
        words: whose codes and titles are written.
        history: the losses, a row an epoch.
        pairs: how many training patients have two codes together, ``(n_codes, n_codes)``, the upper
            triangle alone.
    """
    for name, tensors in weights.items():
        save_file({key: value.contiguous() for key, value in tensors.items()}, folder / name)
        (folder / name).chmod(0o644)  # safetensors would let nobody else read them
    _write_vocabulary(folder / VOCABULARY, words.codes, words.titles)
    history.to_csv(folder / HISTORY, index=False)
    named = {"history": sha256(folder / HISTORY)}
    if pairs is not None:
        _write_pairs(folder / PAIRS, pairs)
        named["pairs"] = sha256(folder / PAIRS)
    entries = {
        "format": FORMAT,
        "weights": {name: sha256(folder / name) for name in weights},
        "vocabulary": {"codes": len(words.codes), "sha256": sha256(folder / VOCABULARY)},
        **named,
        "threads": torch.get_num_threads(),  # of the training: other numbers give other bits
        **head,
    }
    write_config(folder / "config.json", entries)


def write_config(path: Path, entries: dict[str, Any]) -> None:
    """Write config.json with the SHA-256 of its own entries, all or nothing."""
    text = json.dumps({**entries, "sha256": ""}, ensure_ascii=False)
    signed = json.loads(text)
    signed["sha256"] = digest(signed)
    with replacing(path) as scratch:
        scratch.write_text(
            json.dumps(signed, indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
        )


def digest(entries: dict[str, Any]) -> str:
    """SHA-256 of all entries of a config.json but ``sha256`` itself, in any order."""
    others = {key: value for key, value in entries.items() if key != "sha256"}
    return hashlib.sha256(json.dumps(others, sort_keys=True).encode()).hexdigest()


def _write_vocabulary(path: Path, codes: Collection[str], titles: Collection[str]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file, quoting=csv.QUOTE_ALL, lineterminator="\n")
        rows.writerow(["code", "title"])
        rows.writerows(
            (neutral(code), neutral(title)) for code, title in zip(codes, titles, strict=True)
        )


def _write_pairs(path: Path, pairs: sparse.csr_array) -> None:
    """One row a pair of codes that any patient has together, by their numbers in the vocabulary."""
    cells = pairs.tocoo()
    columns = {"first": cells.row, "second": cells.col, "patients": cells.data}
    table = pa.table({name: values.astype(np.int32) for name, values in columns.items()})
    pq.write_table(
        table.sort_by([("first", "ascending"), ("second", "ascending")]), path, compression="zstd"
    )


# Reading --------------------------------------------------------------------------------------


def config(folder: Path) -> dict[str, Any]:
    """config.json, its form checked; :class:`InputError` if it is not a saved generator's.

    :func:`check` finds whether it was altered, once its kind is known.
    """
    path = folder / "config.json"
    if not folder.exists():
        clear(folder)  # a killed process may have moved it away
    entries = read_json(path)
    for key in ("format", "generator", "config", "weights", "vocabulary"):
        if not isinstance(entries, dict) or key not in entries:
            raise InputError(
                f"{path}: has no entry {key!r}, so it is not of a saved model; give the folder of "
                "one"
            )
    if type(entries["format"]) is not int or entries["format"] != FORMAT:
        raise InputError(
            f"{path}: format {shown(entries['format'])} is of another version of scoehr, this one "
            f"reads {FORMAT}; install that version or fit the model again"
        )
    kinds = {"generator": str, "config": dict, "weights": dict, "vocabulary": dict, "data": dict}
    for key, kind in kinds.items():
        if not isinstance(entries.get(key, {}), kind):
            raise damaged(path, key)
    return entries


def damaged(path: Path, key: str) -> InputError:
    """The error to raise for an entry of config.json that no saved model has."""
    return InputError(f"{path}: entry {key!r} is damaged; {REMEDY}")


def naming(folder: Path) -> AbstractContextManager[None]:
    """Put the name of config.json before an error about one of its values."""
    return about(folder / "config.json")


def check(folder: Path, config: dict[str, Any]) -> None:
    """:class:`InputError` if config.json is not as it was saved."""
    if config.get("sha256") != digest(config):
        path = folder / "config.json"
        raise InputError(f"{path}: was altered since the model was saved; {REMEDY}")


def vocabulary(folder: Path, config: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """Codes and titles, ``(n_codes,)`` each; :class:`InputError` if the file is another."""
    path = _named(folder / VOCABULARY, config["vocabulary"].get("sha256"))
    try:
        text = path.read_bytes().decode("utf-8")
        header, *rows = csv.reader(io.StringIO(text, newline=""), strict=True)
    except (ValueError, csv.Error):
        raise InputError(f"{path}: not a list of codes; {REMEDY}") from None
    if header != ["code", "title"] or any(len(row) != 2 for row in rows):
        raise InputError(f"{path}: has other columns than code and title; {REMEDY}")
    codes = np.array([restored(code) for code, _ in rows], dtype=str)
    titles = np.array([restored(title) for _, title in rows], dtype=str)
    if len(codes) != config["vocabulary"].get("codes") or len(set(codes)) < len(codes):
        raise InputError(f"{path}: not as many different codes as config.json has; {REMEDY}")
    return codes, titles


def weights(
    folder: Path, config: dict[str, Any], blueprint: Weights, open_ended: Collection[str] = ()
) -> Weights:
    """Tensors by file and name, those of ``blueprint`` in their shapes and types.

    Args:
        blueprint: tensors that take no memory (on PyTorch's device "meta").
        open_ended: names of those whose last dimension may be any, and whose values infinite.

    Raises:
        InputError: a file is missing, unreadable, not config.json's, or of another shape (found
        before
            memory is taken); a value is not finite.
    """
    if set(config["weights"]) != set(blueprint):
        raise damaged(folder / "config.json", "weights")
    return {
        name: _tensors(_named(folder / name, config["weights"][name]), tensors, open_ended)
        for name, tensors in blueprint.items()
    }


def history(folder: Path, config: dict[str, Any]) -> pd.DataFrame:
    """The losses by stage and epoch."""
    path = _named(folder / HISTORY, config.get("history"))
    if not path.read_bytes().strip():
        return pd.DataFrame()
    try:
        return pd.read_csv(path)
    except ValueError:  # of pandas, and of encodings
        raise InputError(f"{path}: not a table of losses; {REMEDY}") from None


def pairs(folder: Path, config: dict[str, Any], more: int = 0) -> sparse.csr_array | None:
    """How many training patients have two codes together ``(n_codes, n_codes)``, if recorded.

    After the codes there may be ``more`` facts.
    """
    if "pairs" not in config:
        return None
    path, n_codes = _named(folder / PAIRS, config["pairs"]), config["vocabulary"]["codes"] + more
    try:
        first, second, patients = (
            column.to_numpy() for column in pq.read_table(path, partitioning=None)
        )
        return sparse.csr_array((patients, (first, second)), shape=(n_codes, n_codes))
    except (pa.ArrowException, OSError, ValueError):
        raise InputError(f"{path}: not a table of pairs of codes; {REMEDY}") from None


def _named(path: Path, digest: Any) -> Path:
    """The file, if it is the one that config.json names."""
    if not path.is_file():
        raise InputError(f"{path}: no such file; restore it or fit the model again")
    if sha256(path) != digest:
        raise InputError(
            f"{path}: not the file that config.json names (other SHA-256); restore it or fit again"
        )
    return path


def _tensors(
    path: Path, blueprint: dict[str, Tensor], open_ended: Collection[str]
) -> dict[str, Tensor]:
    try:
        with safetensors.safe_open(path, "pt") as file:
            other = set(file.keys()) ^ set(blueprint)
            for name in sorted(other) or blueprint:
                if other or not _fits(file.get_slice(name), blueprint[name], name in open_ended):
                    raise InputError(f"{path}: {name} is not what config.json describes; {REMEDY}")
            tensors = {name: file.get_tensor(name) for name in blueprint}
    except safetensors.SafetensorError as error:
        raise InputError(
            f"{path}: not readable as safetensors ({error}); restore the file or fit again"
        ) from None
    for name, tensor in tensors.items():
        if bool((tensor.isnan() if name in open_ended else ~tensor.isfinite()).any()):
            raise InputError(f"{path}: {name} holds values that are not finite; {REMEDY}")
    return tensors


def _fits(found: Any, wanted: Tensor, open_ended: bool) -> bool:
    """Whether a stored tensor, whose values are not read, has the shape and type that is wanted."""
    shape, same = list(found.get_shape()), list(wanted.shape)
    if open_ended and shape:
        shape[-1] = same[-1]
    return shape == same and found.get_dtype() == TYPES[wanted.dtype]
