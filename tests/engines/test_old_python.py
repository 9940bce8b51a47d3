"""What the TensorRT engine imports stays within Python 3.10: older TensorRTs run there."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NEWER = {
    "asyncio": {"Runner", "TaskGroup", "timeout"},
    "contextlib": {"chdir"},
    "datetime": {"UTC"},
    "enum": {"StrEnum", "ReprEnum", "verify", "member", "nonmember", "EnumCheck"},
    "operator": {"call"},
    "tomllib": set(),
    "typing": {
        "LiteralString", "Never", "NotRequired", "Required", "Self", "TypeVarTuple", "Unpack",
        "assert_never", "assert_type", "dataclass_transform", "override", "reveal_type",
    },
    "wsgiref.types": set(),
}  # fmt: skip
"""What 3.11 and 3.12 added to modules of the standard library; empty: the module itself."""
NEWER_BUILTINS = {"BaseExceptionGroup", "ExceptionGroup"}


def top_level(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Statements that run on import: not those in functions, or for type checkers only."""
    for node in body:
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        yield node
        for field in ("body", "orelse", "finalbody", "handlers"):
            if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                yield from top_level(getattr(node, field, []))


def imported(node: ast.stmt) -> Iterator[tuple[str, str]]:
    if isinstance(node, ast.Import):
        yield from ((alias.name, "") for alias in node.names)
    elif isinstance(node, ast.ImportFrom) and node.module:
        yield from ((node.module, alias.name) for alias in node.names)


def source_of(module: str) -> Path | None:
    path = ROOT.joinpath(*module.split("."))
    return next((p for p in (path.with_suffix(".py"), path / "__init__.py") if p.is_file()), None)


def closure(*roots: str) -> dict[str, Path]:
    """The modules of this package that importing ``roots`` runs."""
    found: dict[str, Path] = {}
    waiting = list(roots)
    while waiting:
        module = waiting.pop()
        path = source_of(module)
        if module in found or path is None:
            continue
        found[module] = path
        waiting += [module.rpartition(".")[0]] if "." in module else []
        for node in top_level(ast.parse(path.read_text(encoding="utf-8")).body):
            for name, part in imported(node):
                waiting += [name, f"{name}.{part}"] if name.startswith("hat_deploy") else []
    return found


MODULES = closure("hat_deploy.engines.tensorrt.engine", "hat_deploy.engines.cuda.cuda_python")


def test_the_closure_is_found() -> None:
    assert {
        "hat_deploy",
        "hat_deploy.artifact",
        "hat_deploy.engines.tensorrt.slot",
    } <= MODULES.keys()
    assert "hat_deploy.engines.torch" not in MODULES


@pytest.mark.parametrize("module", sorted(MODULES))
def test_it_is_python_310(module: str) -> None:
    tree = ast.parse(MODULES[module].read_text(encoding="utf-8"), feature_version=(3, 10))
    assert any(
        isinstance(node, ast.ImportFrom) and node.module == "__future__" for node in tree.body
    ), "annotations would be evaluated"
    for node in top_level(tree.body):
        for name, part in imported(node):
            newer = NEWER.get(name)
            assert newer is None or (newer and part not in newer), f"{name}.{part}"
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    assert not used & NEWER_BUILTINS


def test_a_module_that_is_newer_would_be_found() -> None:
    tree = ast.parse("from enum import StrEnum\nimport tomllib")
    names = [pair for node in top_level(tree.body) for pair in imported(node)]
    assert names == [("enum", "StrEnum"), ("tomllib", "")]
    with pytest.raises(SyntaxError):
        ast.parse("try: pass\nexcept* ValueError: pass", feature_version=(3, 10))
