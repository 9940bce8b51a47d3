"""What ``hat-deploy upscale`` shows: a bar while it works, then what became of everything."""

from __future__ import annotations

import time
from collections import Counter
from typing import Self

import typer
from rich import progress
from rich.console import Console

from hat_deploy.cli.options import print_json
from hat_deploy.folders import ClipProgress, Done, Failed, Outcome, Progress, Skipped
from hat_deploy.folders.job_list import JobList
from hat_deploy.folders.job_stream import JobStream
from hat_deploy.folders.preview import Pending
from hat_deploy.geometry import image_size
from hat_deploy.terminal.printable import display_name
from hat_deploy.terminal.wording import counted

INCOMPLETE = 3
"""Exit code of a run that finished, but could not process some inputs."""


SHOWN = 3
"""Folders of results that are named."""
EVERY = 10.0
"""Seconds between two lines on the progress, where there is no terminal to draw a bar on."""


class Display:
    """Counts outcomes and shows them.

    Args:
        console: for the bar and notes; standard error. Where it is quiet, only what went wrong
            is shown.
        listed: what the run is about.
        engine: its name, for the summary.
        dry: whether nothing is done, only foretold.
        as_json: print the result as JSON in the end, and no other text on standard output.
    """

    def __init__(
        self,
        console: Console,
        listed: JobList | JobStream,
        *,
        engine: str,
        dry: bool = False,
        as_json: bool = False,
    ) -> None:
        total = len(listed.jobs) if isinstance(listed, JobList) else None
        self._console = console
        self._listed = listed
        self._engine = engine
        self._dry = dry
        self._as_json = as_json
        self._began = self._last = time.monotonic()
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
        self._damaged: list[tuple[Done, str]] = []
        self._untried: Counter[str] = Counter()
        self._foretold: list[dict[str, object]] = []

    def progress(self, now: Progress) -> None:
        """Move the bar."""
        share = now.tiles_done / now.tiles if now.tiles else 0
        tiles = f"tile {now.tiles_done}/{now.tiles}" if now.tiles else ""
        if now.clip is not None:
            share = now.clip.frame / now.clip.frames if now.clip.frames else 0
            share, tiles = min(share, 1), _clip(now.clip)
        self._bar.update(self._task, completed=now.settled + share, total=now.jobs, tiles=tiles)
        if not self._console.is_terminal and time.monotonic() - self._last > EVERY:
            self._last = time.monotonic()
            at = "" if now.clip is None else f"; {_clip(now.clip)}"
            self._note(self._so_far(now.settled + share, now.jobs) + at)

    def _so_far(self, settled: float, jobs: int | None) -> str:
        """How far the run is, for those who see no bar."""
        seconds = time.monotonic() - self._began
        if jobs is None:
            return f"{int(settled)} images, {_duration(seconds)} gone, more are being listed"
        text = f"{int(settled)} of {jobs} images, {_duration(seconds)} gone"
        if settled:
            text += f", about {_duration(seconds / settled * (jobs - settled))} left"
        return text

    def add(self, outcome: Outcome) -> None:
        """Count what became of an image; notes are shown at once, failures at the end."""
        match outcome:
            case Done():
                self._done += 1
                self._padded += outcome.padded
                self._damaged += [(outcome, damage) for damage in outcome.damaged]
                for note in outcome.notes:
                    self.note(f"{display_name(outcome.source)}: {note}")
            case Skipped():
                self._kept[outcome.reason] += 1
            case Failed(tried=True):
                self._failed.append(outcome)
            case Failed():
                self._untried[outcome.reason] += 1

    def foretell(self, found: Pending | Skipped | Failed) -> None:
        """Count and show what would become of an image."""
        match found:
            case Pending():
                self._pending += 1
                self._tiles += found.tiles
                size = image_size(found.height, found.width)
                large = image_size(*found.result)
                source, target = map(display_name, (found.job.source, found.job.target))
                tiles = counted(found.tiles, "tile")
                self.say(f"{source} -> {target}, {size} to {large}, {tiles}")
                if self._as_json:
                    self._foretold.append(
                        {
                            "source": str(found.job.source),
                            "target": str(found.job.target),
                            "size": list(found.result),
                            "tiles": found.tiles,
                        }
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
        bad = len(self._failed) + sum(self._untried.values())
        self._summarise(bad)
        for reason, count in self._kept.items():
            if reason is not None:
                self.note(f"{count} skipped: {reason}")
        if self._padded:
            self.note(
                f"{self._padded} of {self._done} were smaller than the artifact's tile and were "
                "padded up to it, which changes them: an .onnx exported with --any-size does not"
            )
        for done, damage in self._damaged:
            typer.echo(f"damaged: {display_name(done.source)}: {display_name(damage)}", err=True)
        for failure in self._failed:
            typer.echo(f"not processed: {display_name(failure.source)}: {failure.reason}", err=True)
        for reason, count in self._untried.items():
            typer.echo(f"not processed: {count} not tried: {display_name(reason)}", err=True)
        if not self._dry and self._done:
            self.say(f"results in {self._places()}")
        if self._as_json:
            print_json(self._result())
        if bad or self._damaged:
            raise typer.Exit(INCOMPLETE)

    def _summarise(self, bad: int) -> None:
        kept = sum(self._kept.values())
        if self._dry:
            head = f"{self._pending} to upscale, {counted(self._tiles, 'tile')}"
        else:
            head = f"{self._done} upscaled"
        self.say(f"{head}, {kept} skipped (results exist), {bad} not processed; {self._engine}")
        passed = +self._listed.passed
        if passed:
            counts = ", ".join(f"{count} {what}" for what, count in passed.items())
            self.note(f"passed over: {counts}")

    def _places(self) -> str:
        """The folders that results went to, or the one file."""
        if isinstance(self._listed, JobStream):
            return ", ".join(map(display_name, self._listed.roots[:SHOWN]))
        jobs = self._listed.jobs
        if len(jobs) == 1:
            return display_name(jobs[0].target)
        roots = list(dict.fromkeys(job.root for job in jobs))
        more = f" and {len(roots) - SHOWN} more" if len(roots) > SHOWN else ""
        return ", ".join(map(display_name, roots[:SHOWN])) + more

    def _result(self) -> dict[str, object]:
        """What became of everything, as JSON types."""
        outcome = {"to_upscale": self._foretold} if self._dry else {"upscaled": self._done}
        return {
            **outcome,
            "skipped": sum(self._kept.values()),
            "failed": [
                {"source": str(failed.source), "reason": failed.reason} for failed in self._failed
            ],
            "damaged": [
                {"source": str(done.source), "where": damage} for done, damage in self._damaged
            ],
            "not_tried": sum(self._untried.values()),
            "passed_over": {what.name.lower(): n for what, n in (+self._listed.passed).items()},
            "engine": self._engine,
            "seconds": round(time.monotonic() - self._began, 3),
        }

    def say(self, text: str) -> None:
        """Say on standard output what was asked for."""
        if not (self._console.quiet or self._as_json):
            typer.echo(text)

    def note(self, text: str) -> None:
        """Say what is worth knowing."""
        self._note(f"note: {text}")

    def _note(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Take the bar away, or leave it as it is at its end."""
        self._bar.stop()


def _clip(at: ClipProgress) -> str:
    """How far a clip is.

    >>> _clip(ClipProgress(frame=24, frames=144, rate=2.0, size=3_500_000))
    'frame 24/144, 2.00 a second, 1 min 0 s left, 3.5 MB'
    """
    text = f"frame {at.frame}/{at.frames or '?'}, {at.rate:.2f} a second"
    if at.seconds_left is not None:
        text += f", {_duration(at.seconds_left)} left"
    return f"{text}, {at.size / 1e6:.1f} MB"


def _duration(seconds: float) -> str:
    """Hours, minutes and seconds as people say them.

    >>> _duration(9), _duration(75), _duration(7260)
    ('9 s', '1 min 15 s', '2 h 1 min')
    """
    minutes, left = divmod(round(seconds), 60)
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes} min {left} s" if minutes else f"{left} s"
