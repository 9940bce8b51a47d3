"""``hat-deploy status``: how far a folder of results is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from hat_deploy.cli.options import AsJson, print_json

if TYPE_CHECKING:
    from hat_deploy.folders.status import Status

INCOMPLETE = 3
"""Exit code where something failed or is missing."""
SHOWN = 10
"""Reasons and shares that are named."""


def command(
    output: Annotated[
        str,
        typer.Argument(
            metavar="FOLDER", help="The folder of results, here or in a store as s3://bucket/out/."
        ),
    ],
    as_json: AsJson = False,
) -> None:
    """Add up what the journals in a folder of results say: done, failed, missing, and the rate.

    Exit code 3 where images failed or are missing.
    """
    from hat_deploy.folders.places.remote import located
    from hat_deploy.folders.status import status_of

    found = status_of(located(output))
    if as_json:
        print_json(_values(found))
    else:
        _print(found)
    if found.failures or found.missing != 0:
        raise typer.Exit(INCOMPLETE)


def _print(found: Status) -> None:
    missing = "missing: not known yet" if found.missing is None else f"{found.missing} missing"
    typer.echo(f"{found.done} done, {len(found.failures)} failed, {missing}")
    for reason, count in found.reasons.most_common(SHOWN):
        typer.echo(f"failed: {count}: {reason}")
    if found.silent and found.shards > 1:
        more = f" and {len(found.silent) - SHOWN} more" if len(found.silent) > SHOWN else ""
        names = ", ".join(found.silent[:SHOWN])
        typer.echo(f"shards that have not listed all their images: {names}{more}")
    rate = f", {found.rate:.2f} images a second" if found.rate else ""
    left = f", {found.seconds_left / 3600:.1f} hours left" if found.seconds_left else ""
    typer.echo(f"{found.at_work} at work{rate}{left}")


def _values(found: Status) -> dict[str, object]:
    return {
        "done": found.done,
        "failed": [{"source": one.source, "reason": one.reason} for one in found.failures],
        "missing": found.missing,
        "shards": found.shards,
        "shards_not_listed": found.silent,
        "at_work": found.at_work,
        "images_per_second": round(found.rate, 3),
        "seconds_left": None if found.seconds_left is None else round(found.seconds_left),
    }
