"""Every command under its name."""

from __future__ import annotations

from collections.abc import Callable

import typer

from hat_deploy.cli import (
    attribute,
    bench,
    cache,
    doctor,
    evaluate,
    export,
    info,
    models,
    ranges,
    status,
    upscale,
    verify,
)
from hat_deploy.cli.environment import Command

COMMANDS: dict[str, Callable[..., None]] = {
    "export": export.command,
    "upscale": upscale.command,
    "status": status.command,
    "verify": verify.command,
    "ranges": ranges.command,
    "bench": bench.command,
    "evaluate": evaluate.command,
    "attribute": attribute.command,
    "info": info.command,
    "models": models.command,
    "doctor": doctor.command,
}
"""In the order in which ``--help`` lists them."""
LISTING = ("status", "info", "models", "doctor")
"""Commands that only print: where nobody reads any more, there is nothing left to do."""

app = typer.Typer(
    name="hat-deploy",
    help="Take HAT super-resolution from a checkpoint to ONNX, to TensorRT and to folders of "
    "upscaled images. Every export is checked against PyTorch.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for _name, _command in COMMANDS.items():
    # A summary of one's own is shown whole; one taken from the docstring would be cut short.
    _summary = (_command.__doc__ or "").partition("\n")[0]
    app.command(_name, cls=Command, short_help=_summary)(_command)
app.add_typer(cache.app, name="cache", help=cache.SUMMARY, short_help=cache.SUMMARY)


@app.callback(invoke_without_command=True)
def _root(
    version: bool = typer.Option(False, "--version", help="Print the version and exit."),
) -> None:
    if version:
        from hat_deploy.version import __version__

        typer.echo(f"hat-deploy {__version__}")
        raise typer.Exit
