"""``hat-deploy cache``: what is kept for the next time, and its end."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from hat_deploy.cli.options import AsJson, parse_age, print_json
from hat_deploy.errors import UsageError
from hat_deploy.terminal.wording import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hat_deploy.cache import Entry

SUMMARY = "List or clear what is kept for the next time: exported artifacts, compiled models."


def list_command(as_json: AsJson = False) -> None:
    """List what the cache keeps, what was used last first."""
    from rich.table import Table

    from hat_deploy import cache
    from hat_deploy.artifact.cached import title
    from hat_deploy.terminal.screen import SafeConsole

    found, limit = cache.entries(), cache.size_limit()
    total = sum(entry.size for entry in found)
    if as_json:
        print_json(
            {
                "folder": str(cache.cache_folder()),
                "bytes": total,
                "limit_bytes": limit,
                "entries": [
                    {
                        "file": entry.path.name,
                        "what": title(entry),
                        "bytes": entry.size,
                        "last_used": _time(entry.used, "%Y-%m-%dT%H:%M:%S%z"),
                    }
                    for entry in found
                ],
            }
        )
        return
    if found:
        table = Table("what", "last used", box=None, pad_edge=False)
        table.add_column("size", justify="right")
        for entry in found:
            table.add_row(title(entry), _time(entry.used, "%Y-%m-%d %H:%M"), _megabytes(entry.size))
        SafeConsole().print(table)
    typer.echo(
        f"{_count(found)}, {_megabytes(total)} of {_megabytes(limit)} (HAT_DEPLOY_CACHE_SIZE)"
    )
    typer.echo(f"in {cache.cache_folder()}")


def clear_command(
    older_than: Annotated[
        str | None,
        typer.Option(
            metavar="AGE",
            help="Remove only what was not used for so long, as 12h, 30d or 8w.",
        ),
    ] = None,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Remove without asking; needed in scripts.")
    ] = False,
) -> None:
    """Remove what the cache keeps; what a running process uses stays, and sources are untouched."""
    from hat_deploy import cache

    unwanted = cache.unused_for(parse_age("--older-than", older_than) or 0.0)
    total = sum(entry.size for entry in unwanted)
    what = f"{_count(unwanted)}, {_megabytes(total)}, in {cache.cache_folder()}"
    if unwanted and not yes:
        if not sys.stdin.isatty():
            raise UsageError(f"{what} would be removed, and nobody can be asked here: add --yes")
        if not typer.confirm(f"remove {what}?"):
            typer.echo("nothing was removed")
            return
    left = cache.remove(unwanted)
    freed = total - sum(entry.size for entry in left)
    typer.echo(f"removed {len(unwanted) - len(left)} of {_count(unwanted)}, {_megabytes(freed)}")
    if left:
        typer.echo(f"{_count(left)} stay: running processes use them, or they cannot be removed")


def _count(entries: Sequence[Entry]) -> str:
    return counted(len(entries), "entry", "entries")


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"


def _time(seconds: float, form: str) -> str:
    return time.strftime(form, time.localtime(seconds))


app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
_COMMANDS: dict[str, Callable[..., None]] = {"list": list_command, "clear": clear_command}
for _name, _command in _COMMANDS.items():
    app.command(_name, short_help=(_command.__doc__ or "").partition("\n")[0])(_command)
