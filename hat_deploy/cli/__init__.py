"""The command line: one module per command, each importing what it needs when it runs."""

from __future__ import annotations

import sys
from typing import Any

from hat_deploy.cli import interrupts
from hat_deploy.terminal.printable import guard, printable
from hat_deploy.terminal.streams import keep_descriptors

PRINTING = {"-h", "--help", "--version", "--show-completion"}
"""Options that print something and do nothing else."""


def main() -> None:
    """Run the command line and end the process, which must be its own.

    Errors meant for the user are one sentence and an exit code. Ctrl-C ends with one line and
    130 whatever it meets, and a second one at once; SIGTERM likewise with 143.
    """
    keep_descriptors()
    interrupts.install()
    code: Any = 0
    try:
        _run()
    except SystemExit as ended:
        code = ended.code
    except BaseException:
        if not interrupts.seen():
            raise
    # Whatever became of the interrupt on its way, swallowed or turned into another error.
    interrupts.finish()
    sys.exit(code)


def _run() -> None:
    from hat_deploy.cli import streams
    from hat_deploy.cli.commands import LISTING, app
    from hat_deploy.errors import HatDeployError, explained

    wanted = sys.argv[1:]
    if not wanted or wanted[0] in LISTING or PRINTING & set(wanted):
        streams.end_with_the_reader()
    else:
        streams.outlive_the_reader()
    guard()
    try:
        app(standalone_mode=True)
    except HatDeployError as error:
        _fail(str(error), error.exit_code)
    except ImportError as error:
        missing = explained(error, "This command")
        if missing is None:
            raise
        _fail(str(missing), missing.exit_code)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        _fail(f"{where}{error.strerror or error}", HatDeployError.exit_code)


def _fail(sentence: str, code: int) -> None:
    if not interrupts.seen():
        print(f"error: {printable(sentence)}", file=sys.stderr)
    sys.exit(code)


def __getattr__(name: str) -> Any:
    """``app``, imported when it is asked for: before, nothing could answer a Ctrl-C."""
    if name == "app":
        from hat_deploy.cli.commands import app

        return app
    raise AttributeError(f"module 'hat_deploy.cli' has no attribute '{name}'")
