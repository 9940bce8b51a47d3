"""Options that are taken from environment variables where the command line does not give them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import typer
from typer.core import TyperCommand

from hat_deploy.errors import ArtifactError, CheckpointError, UsageError

MODEL = "HAT_DEPLOY_MODEL"
ENGINE = "HAT_DEPLOY_ENGINE"
DEVICE = "HAT_DEPLOY_DEVICE"
THREADS = "HAT_DEPLOY_THREADS"
MEMORY = "HAT_DEPLOY_MEMORY"


def from_environment(context: typer.Context, name: str) -> bool:
    """Whether a parameter's value came from its variable."""
    source = context.get_parameter_source(name)
    return source is not None and source.name == "ENVIRONMENT"


class Command(TyperCommand):
    """A command whose errors name the variable that a bad value came from."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the command line; the values are checked here as far as they can be alone."""
        with _variable_named(ctx):
            return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        with _variable_named(ctx):
            return super().invoke(ctx)


@contextmanager
def _variable_named(context: Any) -> Iterator[None]:
    try:
        yield
    except (UsageError, CheckpointError, ArtifactError) as error:
        said = str(error)
        variables = [
            f"{parameter.envvar}={value}"
            for parameter in context.command.params
            if from_environment(context, parameter.name)
            and (value := os.environ.get(parameter.envvar, "")) in said
        ]
        if variables:
            error.args = (f"{said} (from the environment: {', '.join(variables)})",)
        raise
