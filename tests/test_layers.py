"""The layers of reprolib: who may import whom, and how long a file may be."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "reprolib"
FILES = {
    ".".join(file.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__"): file
    for file in sorted(PACKAGE.rglob("*.py"))
}
LAYERS = [
    ("vocabulary",),
    ("schema",),
    ("run",),
    ("params", "losses", "features", "gradcam", "statistics", "figures"),
    ("mnist", "natural"),
    ("worlds",),
    ("report",),
    ("__main__",),
]
"""From the bottom up; packages of one layer do not know each other."""
LONGEST = 300


def _imports(module: str) -> set[str]:
    """The modules of reprolib that a module imports anywhere, without the first part of their names."""
    found = set()
    for node in ast.walk(ast.parse(FILES[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[2] for alias in node.names if alias.name.startswith("reprolib.")}
        if isinstance(node, ast.ImportFrom) and node.module and node.module.partition(".")[0] == "reprolib":
            parent = node.module.partition(".")[2]
            for alias in node.names:
                inner = f"{parent}.{alias.name}".lstrip(".")
                found.add(inner if inner in FILES else parent)
    return found - {""}


def _layer(module: str) -> int:
    (level,) = [level for level, names in enumerate(LAYERS) if module.partition(".")[0] in names]
    return level


@pytest.mark.parametrize("module", [name for name in FILES if name != "__init__"])
def test_a_module_imports_from_below(module: str) -> None:
    package = module.partition(".")[0]
    for other in _imports(module):
        below, same = _layer(other) < _layer(module), other.partition(".")[0] == package
        shared = "." not in module + other and _layer(other) == _layer(module)  # single modules of one layer
        assert below or same or shared, f"{module} imports {other}"


def test_no_imports_go_in_a_circle() -> None:
    open_ones = {module: _imports(module) for module in FILES}
    while done := [module for module, wanted in open_ones.items() if not wanted & set(open_ones)]:
        for module in done:
            del open_ones[module]
    assert not open_ones


def test_no_file_is_long() -> None:
    assert not {name for name, file in FILES.items() if len(file.read_text().splitlines()) > LONGEST}
