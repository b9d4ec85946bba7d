"""A public list of codes in the place of a private table's own, which tell of its patients."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from scipy import sparse

from scoehr.data.matrix import CodeMatrix
from scoehr.files import InputError

#: Columns that a table of patients has and a list of codes has not.
OF_PATIENTS = ("patient_id", "subject_id", "hadm_id", "visit", "count")


def public_codes(path: str | Path) -> dict[str, str]:
    """Titles by code of a public list.

    The list is a Parquet or CSV table with a column ``code`` and, if it has one, ``title``; of a
    file ``.txt`` every line is a code. :class:`InputError` if it is none of these, or a table of
    patients.
    """
    path = Path(path)
    try:
        columns = _columns(path)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; check --codes") from None
    except (OSError, ValueError, csv.Error, pa.ArrowException):
        raise InputError(
            f"{path}: not a list of codes; give .parquet, .csv or .txt (UTF-8)"
        ) from None
    if found := [name for name in OF_PATIENTS if name in columns]:
        raise InputError(
            f"{path}: has a column {found[0]}, so it is of patients; give a public list"
        )
    if "code" not in columns:
        raise InputError(f"{path}: has no column code; name the column of codes so")
    codes = columns["code"]
    titles = columns.get("title", [""] * len(codes))
    listed = {code: title for code, title in zip(codes, titles, strict=True) if code}
    if not listed:
        raise InputError(f"{path}: lists no code; write one a row")
    return listed


def on_codes(matrix: CodeMatrix, codes: dict[str, str]) -> CodeMatrix:
    """The patients with these codes alone (titles by code); their others are left out silently.

    How many were left out, or are never there, would tell of the patients.
    """
    names = np.array(list(codes), dtype=str)
    place = pd.Index(matrix.codes).get_indexer(pd.Index(names))
    there = sparse.diags_array(place >= 0, dtype=np.int32)
    counts = sparse.csr_array(matrix.counts[:, np.maximum(place, 0)] @ there, dtype=np.int32)
    counts.eliminate_zeros()
    titles = np.array(list(codes.values()), dtype=str)
    return CodeMatrix(counts, matrix.patients, names, titles, matrix.kind)


def _columns(path: Path) -> dict[str, list[str]]:
    """Columns of text by name, in lower case."""
    if path.suffix.lower() == ".parquet":
        table = pq.read_table(path, partitioning=None)
        columns = {name.lower(): table[name] for name in table.column_names}
        return {
            name: _texts(column) if name in ("code", "title") else []
            for name, column in columns.items()
        }
    text = path.read_text(encoding="utf-8-sig")
    if path.suffix.lower() == ".txt":
        lines = [line.strip() for line in text.splitlines()]
        return {"code": lines[1:] if lines[:1] == ["code"] else lines}
    rows = [row for row in csv.reader(io.StringIO(text, newline=""), strict=True) if row]
    return {
        name.strip().lower(): [cell.strip() for cell in cells]
        for name, *cells in zip(*rows, strict=True)
    }


def _texts(column: pa.ChunkedArray) -> list[str]:
    """Texts or whole numbers as texts, empty cells empty; ValueError for codes of other types."""
    values = column.to_pylist()
    if not all(value is None or type(value) in (str, int) for value in values):
        raise ValueError("a code is a text")
    return ["" if value is None else str(value).strip() for value in values]
