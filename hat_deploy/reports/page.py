"""The page around everything: head, style, script, tables and lists. Text is escaped here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path

from hat_deploy import __version__, files
from hat_deploy.errors import UsageError
from hat_deploy.terminal.printable import whole_characters

SUFFIXES = (".html", ".htm")


def page(title: str, body: Iterable[str]) -> str:
    """A whole HTML document.

    Args:
        title: text.
        body: pieces of HTML, in order.
    """
    here = Path(__file__).parent
    style = (here / "page.css").read_text(encoding="utf-8")
    script = (here / "page.js").read_text(encoding="utf-8")
    content = "\n".join(body)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="generator" content="hat-deploy {escape(__version__)}">
<link rel="icon" href="data:,">
<title>{escape(title)}</title>
<style>
{style}</style>
</head>
<body>
<h1>{escape(title)}</h1>
{content}
<script>
{script}</script>
</body>
</html>
"""


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


def verdict(passed: bool | None, headline: str, reasons: Sequence[str]) -> str:
    """The box at the top; ``passed`` is None where nothing was to be decided."""
    kind = {True: " good", False: " bad", None: ""}[passed]
    return f'<div class="verdict{kind}"><strong>{escape(headline)}</strong>{bullets(reasons)}</div>'


def bullets(lines: Sequence[str]) -> str:
    """A list of sentences; nothing where there are none."""
    items = "".join(f"<li>{escape(line)}</li>" for line in lines)
    return f"<ul>{items}</ul>" if items else ""


def paragraph(text: str, kind: str = "") -> str:
    """Text; ``kind`` is a class of the style sheet."""
    return f'<p class="{kind}">{escape(text)}</p>' if kind else f"<p>{escape(text)}</p>"


def heading(text: str, level: int = 2) -> str:
    """A heading."""
    return f"<h{level}>{escape(text)}</h{level}>"


def table(caption: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Figures; the first column names the row. Wider than the window, it scrolls by itself."""
    head = "".join(f'<th scope="col">{escape(column)}</th>' for column in columns)
    lines = []
    for name, *cells in rows:
        values = "".join(f"<td>{escape(cell)}</td>" for cell in cells)
        lines.append(f'<tr><th scope="row">{escape(name)}</th>{values}</tr>')
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(caption)}"><table>'
        f"<caption>{escape(caption)}</caption><thead><tr>{head}</tr></thead>"
        f"<tbody>{''.join(lines)}</tbody></table></div>"
    )


def facts(pairs: Mapping[str, object]) -> str:
    """Names and what they are."""
    items = "".join(
        f"<dt>{escape(name)}</dt><dd>{escape(str(value))}</dd>" for name, value in pairs.items()
    )
    return f"<dl>{items}</dl>"
