"""The command line: one module per command, each importing what it needs when it runs."""

from __future__ import annotations

import sys

import typer

from hat_deploy.cli import attribute, bench, doctor, evaluate, export, info, models, upscale, verify
from hat_deploy.errors import HatDeployError
from hat_deploy.printable import guard, printable

INTERRUPTED = 130

app = typer.Typer(
    name="hat-deploy",
    help="HAT super-resolution: checkpoint to ONNX and TensorRT to upscaled folders, "
    "every artifact checked against PyTorch.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command("export")(export.command)
app.command("upscale")(upscale.command)
app.command("verify")(verify.command)
app.command("bench")(bench.command)
app.command("evaluate")(evaluate.command)
app.command("attribute")(attribute.command)
app.command("info")(info.command)
app.command("models")(models.command)
app.command("doctor")(doctor.command)


@app.callback(invoke_without_command=True)
def _root(version: bool = typer.Option(False, "--version", help="Print the version.")) -> None:
    if version:
        from hat_deploy import __version__

        typer.echo(f"hat-deploy {__version__}")
        raise typer.Exit


def main() -> None:
    """Run the command line; errors meant for the user are one sentence and an exit code."""
    guard()
    try:
        app(standalone_mode=True)
    except HatDeployError as error:
        typer.echo(f"error: {printable(str(error))}", err=True)
        sys.exit(error.exit_code)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        typer.echo(printable(f"error: {where}{error.strerror or error}"), err=True)
        sys.exit(HatDeployError.exit_code)
    except KeyboardInterrupt:
        typer.echo("interrupted", err=True)
        sys.exit(INTERRUPTED)
