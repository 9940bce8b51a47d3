"""Every command under its name."""

from __future__ import annotations

import typer

from hat_deploy.cli import attribute, bench, doctor, evaluate, export, info, models, upscale, verify

LISTING = ("info", "models", "doctor")
"""Commands that only print: where nobody reads any more, there is nothing left to do."""

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
