"""How the package hangs together: imports run one way, and its root stays small."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "hat_deploy"
MOST_ENTRIES = 25
"""Modules and folders at the package's root."""


def name_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(path): path for path in PACKAGE.rglob("*.py")}


def imported(path: Path) -> Iterator[str]:
    """The package's modules that a module imports, inside functions and for types too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                yield whole if whole in MODULES else str(node.module)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def test_imports_form_no_circle() -> None:
    graph = {name: {*imported(path)} & MODULES.keys() - {name} for name, path in MODULES.items()}
    assert sum(map(len, graph.values())) > 500
    TopologicalSorter(graph).prepare()  # raises CycleError, which names the circle


def test_ray_is_known_to_one_room() -> None:
    room = "hat_deploy.folders.cluster"
    for name, path in MODULES.items():
        if not name.startswith(room):
            modules = {*imported(path)}
            assert not any(module.split(".")[0] == "ray" for module in modules), name
            if name != "hat_deploy.cli.fleet":
                assert not any(module.startswith(room) for module in modules), name


def test_the_root_stays_small() -> None:
    entries = [
        path
        for path in PACKAGE.iterdir()
        if path.suffix == ".py" or (path.is_dir() and path.name != "__pycache__")
    ]
    assert len(entries) <= MOST_ENTRIES
