"""The laws of the house: who imports whom, and how long and how well named things are."""

import ast
import graphlib
import importlib
import inspect

import pytest

from benchmarks import sizes

FILES = sizes.files(*sizes.PACKAGES)
STUDIES = ("reproduction.synthesis", "companions.dualk", "companions.mortality_attack")
#: The rooms, and those that each may import; of two that fit a file, the longer name is its room.
MAY_IMPORT = {
    "scoehr": (),
    "reproduction": ("scoehr",),
    "reproduction.synthesis": ("scoehr", "reproduction"),
    "reproduction.cli": ("scoehr", "reproduction", *STUDIES),
    "reproduction.__main__": ("reproduction.cli",),
    "companions.dualk": ("scoehr", "reproduction"),
    "companions.mortality_attack": ("scoehr", "reproduction"),
    "companions": (),
}


def name(path):
    """The module of a file."""
    parts = path.relative_to(sizes.CHECKOUT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name(path): path for path in FILES}


def room(module):
    """The room that a module stands in, None for one of another package."""
    fit = [each for each in MAY_IMPORT if f"{module}.".startswith(f"{each}.")]
    return max(fit, key=len, default=None)


def modules(statement):
    """The modules that a statement imports, by name; a text that is a module's name imports it too."""
    if isinstance(statement, ast.Import):
        return [alias.name for alias in statement.names]
    if isinstance(statement, ast.ImportFrom):
        inner = [f"{statement.module}.{alias.name}" for alias in statement.names]
        return [each if each in MODULES else statement.module for each in inner]
    text = statement.value if isinstance(statement, ast.Constant) else None
    return [text] if text in MODULES and "." in text else []


def at_import(node):
    """The statements that run when a file is imported, those for types alone left out."""
    for child in ast.iter_child_nodes(node):
        types_only = isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING"
        if not isinstance(child, (*sizes.FUNCTION, ast.Lambda)) and not types_only:
            yield child
            yield from at_import(child)


def public(nodes):
    """Those of some syntax nodes that define a public function or class."""
    kinds = (*sizes.FUNCTION, ast.ClassDef)
    return [node for node in nodes if isinstance(node, kinds) and node.name[0] != "_"]


def undocumented(module):
    """Public names of a file without docstring; a method may have that of the class above."""
    loaded = importlib.import_module(module)
    for node in public(sizes.tree(MODULES[module]).body):
        if not ast.get_docstring(node):
            yield node.name
        for inner in public(node.body) if isinstance(node, ast.ClassDef) else ():
            if not inspect.getdoc(getattr(getattr(loaded, node.name), inner.name)):
                yield f"{node.name}.{inner.name}"


@pytest.mark.parametrize("module", MODULES)
def test_a_file_imports_only_what_its_room_may(module):
    home = room(module)
    for statement in ast.walk(sizes.tree(MODULES[module])):
        for other in modules(statement):
            assert room(other) in (None, home, *MAY_IMPORT[home]), f"line {statement.lineno}"


def test_no_two_files_import_each_other():
    graph = {}
    for module, path in MODULES.items():
        found = {other for node in at_import(sizes.tree(path)) for other in modules(node)}
        graph[module] = {other for other in found if other in MODULES and other != module}
    assert list(graphlib.TopologicalSorter(graph).static_order())


@pytest.mark.parametrize("module", MODULES)
def test_functions_are_short_and_lines_narrow(module):
    path = MODULES[module]
    assert [each for each in sizes.functions(path) if each[1] > sizes.LONGEST] == []
    assert sizes.wide(path) == []


@pytest.mark.parametrize("module", MODULES)
def test_public_names_are_documented(module):
    assert ast.get_docstring(sizes.tree(MODULES[module])), "the file"
    assert list(undocumented(module)) == []
