"""The sizes of the house: ``python -m benchmarks.sizes [FOLDER ...]`` prints a row a package.

A function is measured with its docstring. The design's limits, which ``tests/test_house.py`` keeps,
are :data:`LONGEST` and :data:`COLUMNS`; its goals are a median of 8 lines, a 90th percentile of 25.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np

from scoehr.files import CHECKOUT

PACKAGES = ("scoehr", "reproduction", "companions")
#: Lines of a function, and columns of a line, at most.
LONGEST, COLUMNS = 60, 100
COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
FUNCTION = (ast.FunctionDef, ast.AsyncFunctionDef)


def files(*folders: str) -> list[Path]:
    """The Python files below folders of the checkout."""
    return sorted(path for folder in folders for path in (CHECKOUT / folder).rglob("*.py"))


@cache
def tree(path: Path) -> ast.Module:
    """The syntax tree of a file."""
    return ast.parse(path.read_text(encoding="utf-8"))


def functions(path: Path) -> Iterator[tuple[str, int]]:
    """Name and lines of every function of a file, methods and inner functions among them."""
    for node in ast.walk(tree(path)):
        if isinstance(node, FUNCTION):
            yield node.name, (node.end_lineno or 0) - node.lineno + 1


def wide(path: Path) -> list[int]:
    """Numbers of the lines that are wider than :data:`COLUMNS`."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return [number for number, line in enumerate(lines, 1) if len(line) > COLUMNS]


def measure(paths: list[Path]) -> dict[str, float]:
    """Files, lines, lengths of functions; comprehensions and wide lines a hundred lines."""
    lines = sum(len(path.read_text(encoding="utf-8").splitlines()) for path in paths)
    lengths = [length for path in paths for _, length in functions(path)]
    nodes = [node for path in paths for node in ast.walk(tree(path))]
    comprehensions = sum(isinstance(node, COMPREHENSIONS) for node in nodes)
    return {
        "files": len(paths),
        "lines": lines,
        "median": float(np.median(lengths)),
        "90th": float(np.percentile(lengths, 90)),
        "longest": max(lengths),
        "comprehensions %": 100 * comprehensions / lines,
        "wide lines %": 100 * sum(len(wide(path)) for path in paths) / lines,
    }


def main(folders: list[str]) -> None:
    """Print a row a folder."""
    for number, folder in enumerate(folders):
        row = measure(files(folder))
        if number == 0:
            print(f"{'':28}" + "".join(f"{head:>18}" for head in row))
        print(f"{folder:28}" + "".join(f"{value:18,.5g}" for value in row.values()))


if __name__ == "__main__":
    main(sys.argv[1:] or list(PACKAGES))
