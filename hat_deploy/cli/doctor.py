"""``hat-deploy doctor``: what this machine can run."""

from __future__ import annotations

from dataclasses import asdict

import typer

from hat_deploy.cli.options import AsJson, print_json


def command(as_json: AsJson = False) -> None:
    """Say which engines this machine can run, and why it cannot run the others."""
    from hat_deploy import cache
    from hat_deploy.engines import doctor

    findings = doctor.examine()
    if as_json:
        engines = [asdict(finding) for finding in findings]
        print_json({"engines": engines, "cache": str(cache.cache_folder())})
        return
    width = max(len(finding.engine) for finding in findings)
    for finding in findings:
        mark = "yes" if finding.usable else "no "
        typer.echo(f"{mark} {finding.engine:{width}}  {finding.detail}")
    typer.echo(f"cache: {cache.cache_folder()}")
