"""A Sphinx extension: fields of named tuples stand in their signature, not one by one."""

from __future__ import annotations

from typing import Any


def setup(app: Any) -> dict[str, bool]:
    """Called by Sphinx, see ``book/_config.yml``."""
    app.connect("autodoc-skip-member", is_field)
    return {"parallel_read_safe": True}


def is_field(app: Any, what: str, name: str, member: Any, skip: bool, options: Any) -> bool | None:
    """True for a field of a named tuple, whose only words are "Alias for field number"."""
    return True if type(member).__name__ == "_tuplegetter" else None
