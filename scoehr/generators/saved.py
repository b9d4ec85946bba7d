"""The folder of a saved generator: config.json, vocabulary.csv, history.csv and the weights (safetensors)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from scoehr.codes import CodeMatrix
from scoehr.files import InputError, read_json, sha256
from scoehr.visits import Visits

FORMAT = 2  # raised when a folder of the version before can no longer be read
VOCABULARY = "vocabulary.csv"


def write(
    folder: Path,
    head: dict[str, Any],
    weights: dict[str, dict[str, Tensor]],
    words: CodeMatrix | Visits,
    history: pd.DataFrame,
) -> None:
    """Write the files into an existing folder.

    ``head`` opens config.json, which adds the SHA-256 of every file that a model is made from: ``weights``, tensors by
    file and name, and the codes and titles of ``words``.
    """
    for name, tensors in weights.items():
        save_file({key: value.contiguous() for key, value in tensors.items()}, folder / name)
        (folder / name).chmod(0o644)  # safetensors would let nobody else read them
    pd.DataFrame({"code": words.codes, "title": words.titles}).to_csv(folder / VOCABULARY, index=False)
    config = {
        "format": FORMAT,
        "weights": {name: sha256(folder / name) for name in weights},
        "vocabulary": {"codes": len(words.codes), "sha256": sha256(folder / VOCABULARY)},
        **head,
    }
    (folder / "config.json").write_text(json.dumps(config, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    history.to_csv(folder / "history.csv", index=False)


def config(folder: Path) -> dict[str, Any]:
    """config.json, checked; :class:`InputError` if it is not a saved generator's or of another version."""
    path = folder / "config.json"
    saved = read_json(path)
    for key in ("format", "generator", "config", "weights", "vocabulary"):
        if not isinstance(saved, dict) or key not in saved:
            raise InputError(f"{path}: has no entry {key!r}, so it is not of a saved model; give the folder of one")
    if saved["format"] != FORMAT:
        raise InputError(
            f"{path}: format {saved['format']} is of another version of scoehr, this one reads {FORMAT}; "
            "install that version or fit the model anew"
        )
    for key in ("config", "weights", "vocabulary"):
        if not isinstance(saved[key], dict):
            raise InputError(f"{path}: entry {key!r} is damaged; restore the file or fit the model anew")
    return saved


def vocabulary(folder: Path, config: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """Codes and titles, each ``(n_codes,)``; :class:`InputError` if the file is missing or not config.json's."""
    path = _named(folder / VOCABULARY, config["vocabulary"].get("sha256"))
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    return table["code"].to_numpy(), table["title"].to_numpy()


def weights(folder: Path, config: dict[str, Any]) -> dict[str, dict[str, Tensor]]:
    """Tensors by file and name; :class:`InputError` if a file is missing, unreadable, or not config.json's."""
    return {name: _tensors(_named(folder / name, digest)) for name, digest in config["weights"].items()}


def history(folder: Path) -> pd.DataFrame:
    """The losses by stage and epoch; nothing where the file was left out."""
    path = folder / "history.csv"
    return pd.read_csv(path) if path.exists() else pd.DataFrame()


def _named(path: Path, digest: str | None) -> Path:
    """The file, if it is the one that config.json names."""
    if not path.exists():
        raise InputError(f"{path}: no such file; restore it or fit the model anew")
    if sha256(path) != digest:
        raise InputError(f"{path}: not the file that config.json names (other SHA-256); restore it or fit anew")
    return path


def _tensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except SafetensorError as error:
        raise InputError(f"{path}: not readable as safetensors ({error}); restore the file or fit anew") from None
