"""What ``hat-deploy upscale`` shows: a bar while it works, then what became of everything."""

from __future__ import annotations

from collections import Counter
from typing import Self

import typer
from rich import progress
from rich.console import Console

from hat_deploy.folders import Done, Failed, Outcome, Progress, Skipped
from hat_deploy.folders.preview import Pending
from hat_deploy.geometry import image_size
from hat_deploy.terminal.printable import display_name

INCOMPLETE = 3
"""Exit code of a run that finished, but could not process some inputs."""


class Display:
    """Counts outcomes and shows them.

    Args:
        console: for the bar and notes; standard error.
        total: jobs of the run.
        engine: its name, for the summary.
        dry: whether nothing is done, only foretold.
    """

    def __init__(self, console: Console, *, total: int, engine: str, dry: bool) -> None:
        self._console = console
        self._engine = engine
        self._dry = dry
        self._bar = progress.Progress(
            progress.TextColumn("images"),
            progress.MofNCompleteColumn(),
            progress.BarColumn(),
            progress.TextColumn("{task.fields[tiles]}", markup=False),
            progress.TimeElapsedColumn(),
            progress.TextColumn("left"),
            progress.TimeRemainingColumn(),
            console=console,
        )
        self._task = self._bar.add_task("", total=total, tiles="")
        self._done = self._tiles = self._pending = self._padded = 0
        self._kept: Counter[str | None] = Counter()
        self._failed: list[Failed] = []
        self._untried: Counter[str] = Counter()

    def progress(self, now: Progress) -> None:
        """Move the bar."""
        share = now.tiles_done / now.tiles if now.tiles else 0
        tiles = f"tile {now.tiles_done}/{now.tiles}" if now.tiles else ""
        self._bar.update(self._task, completed=now.settled + share, tiles=tiles)

    def add(self, outcome: Outcome) -> None:
        """Count what became of an image; notes are shown at once, failures at the end."""
        match outcome:
            case Done():
                self._done += 1
                self._padded += outcome.padded
                for note in outcome.notes:
                    self.note(f"{display_name(outcome.source)}: {note}")
            case Skipped():
                self._kept[outcome.reason] += 1
            case Failed(tried=True):
                self._failed.append(outcome)
            case Failed():
                self._untried[outcome.reason] += 1

    def foretell(self, found: Pending | Skipped | Failed, scale: int) -> None:
        """Count and show what would become of an image."""
        match found:
            case Pending():
                self._pending += 1
                self._tiles += found.tiles
                size = image_size(found.height, found.width)
                large = image_size(found.height * scale, found.width * scale)
                typer.echo(
                    f"{display_name(found.job.source)} -> {display_name(found.job.target)}, "
                    f"{size} to {large}, {found.tiles} tiles"
                )
            case _:
                self.add(found)

    def problem(self, text: str) -> None:
        """Say what else went wrong."""
        typer.echo(f"error: {text}", err=True)

    def finish(self) -> None:
        """Say what became of everything.

        Raises:
            typer.Exit: with 3, if something could not be processed.
        """
        kept = sum(self._kept.values())
        bad = len(self._failed) + sum(self._untried.values())
        if self._dry:
            head = f"{self._pending} to upscale, {self._tiles} tiles"
        else:
            head = f"{self._done} upscaled"
        typer.echo(f"{head}, {kept} skipped (results exist), {bad} not processed; {self._engine}")
        for reason, count in self._kept.items():
            if reason is not None:
                self.note(f"{count} skipped: {reason}")
        if self._padded:
            self.note(
                f"{self._padded} of {self._done} were smaller than the artifact's tile and were "
                "padded up to it, which changes them: an .onnx exported with --any-size does not"
            )
        for failure in self._failed:
            typer.echo(f"not processed: {display_name(failure.source)}: {failure.reason}", err=True)
        for reason, count in self._untried.items():
            typer.echo(f"not processed: {count} not tried: {display_name(reason)}", err=True)
        if bad:
            raise typer.Exit(INCOMPLETE)

    def note(self, text: str) -> None:
        """Say what is worth knowing."""
        self._bar.console.print(f"note: {text}", markup=False, highlight=False, soft_wrap=True)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()
