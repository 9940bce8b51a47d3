"""Pages from templates: Jinja2 escapes all text that it puts into them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from hat_deploy import __version__, files
from hat_deploy.errors import UsageError
from hat_deploy.terminal.printable import whole_characters

SUFFIXES = (".html", ".htm")


@dataclass(frozen=True)
class Table:
    """What a page shows as a table."""

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    """The first cell names the row."""


def render(template: str, **values: object) -> Markup:
    """Fill in a template of this folder.

    Args:
        template: its file name.
        values: by the names that it uses. Text is escaped; what ``render`` returned is not.
    """
    return Markup(environment().get_template(template).render(values))


@cache
def environment() -> Environment:
    """Where the templates are, and how they are filled in."""
    made = Environment(
        autoescape=True,
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        trim_blocks=True,
        undefined=StrictUndefined,
    )
    made.globals["version"] = __version__
    return made


def check_path(path: Path) -> None:
    """Refuse a report that would not be called a page, before anything is measured.

    Raises:
        UsageError: the suffix is another.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise UsageError(f"--report {path}: a report is a page, give a name that ends in .html")


def save(html: str, path: Path) -> None:
    """Write a page in one step.

    Raises:
        UsageError: the file cannot be written.
    """
    files.write(path, whole_characters(html).encode(), "report")
