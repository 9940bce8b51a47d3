"""A list of images in a file, in place of a folder: JSON lines, CSV or Parquet, read as it goes."""

from __future__ import annotations

import csv
import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

from hat_deploy.errors import UsageError, needed_for
from hat_deploy.folders.job_list import Job, Rejected, forced_suffix
from hat_deploy.folders.job_stream import JobStream, renamed, require_writable
from hat_deploy.folders.places.remote import Location, Remote, located
from hat_deploy.folders.places.stores import store_of
from hat_deploy.images.picture import SUFFIXES
from hat_deploy.terminal.printable import display_name

FORMATS = (".jsonl", ".csv", ".parquet")
LONGEST_LINE = 2**17
"""Characters of a line, at most."""


def stream_manifest(
    manifest: Location,
    output: Location | None,
    *,
    format: str | None = None,  # noqa: A002 - the option's name
) -> JobStream:
    """The jobs that a manifest names. Nothing is written.

    A row has a ``source`` and may have a ``target``: the name of the result inside ``output``.
    A source without a scheme or a leading slash lies beside the manifest. Without a target, a
    result is called like its source: such a source as it is written, another by its whole path,
    ``bucket/in/a.png``.

    Args:
        manifest: ends in one of :data:`FORMATS`.
        output: the folder for results.
        format: a suffix that replaces the sources' own, where no target is named.

    Raises:
        UsageError: there is no such file, it is none of these formats, or ``output`` is missing.
        StoreError, MissingExtraError: it cannot be read.
    """
    suffix = forced_suffix(format)
    if manifest.suffix.lower() not in FORMATS:
        known = ", ".join(FORMATS)
        raise UsageError(f"--manifest {display_name(manifest)}: expected a file in {known}")
    if isinstance(manifest, Path) and not manifest.is_file():
        raise UsageError(f"--manifest {display_name(manifest)} does not exist")
    if output is None:
        raise UsageError("a manifest says nothing of where results go: add -o FOLDER")
    require_writable(output)
    if isinstance(manifest, Remote):
        store_of(manifest).is_folder(manifest)  # says so if there is none

    def jobs() -> Iterator[Job | Rejected]:
        with _here(manifest) as file:
            for number, row in _rows(file, manifest.suffix.lower()):
                try:
                    yield _job(row, manifest, output, suffix)
                except UsageError as error:
                    yield Rejected(manifest, f"row {number}: {error}")

    return JobStream([output], jobs())


@contextmanager
def _here(manifest: Location) -> Iterator[Path]:
    """The manifest as a file of this machine."""
    if isinstance(manifest, Path):
        yield manifest
        return
    store = store_of(manifest)
    with tempfile.TemporaryDirectory(prefix="hat-deploy-") as folder:
        file = Path(folder, "manifest")
        store.ask(manifest, lambda: store.files.get_file(store.path(manifest), str(file)))
        yield file


def _rows(file: Path, kind: str) -> Iterator[tuple[int, dict[str, Any] | str]]:
    """Each row with its number, from 1 on; a clause where it is none."""
    if kind == ".parquet":
        yield from enumerate(_parquet(file), 1)
    elif kind == ".csv":
        with file.open(encoding="utf-8-sig", errors="replace", newline="") as lines:
            rows = csv.DictReader(lines)
            if "source" not in (rows.fieldnames or ()):
                raise UsageError(
                    f"the first line of a CSV names its columns: 'source' was expected, and there "
                    f"are {', '.join(map(display_name, rows.fieldnames or ())) or 'none'}"
                )
            try:
                yield from enumerate(rows, 1)
            except csv.Error as error:
                raise UsageError(f"the CSV cannot be read to its end: {error}") from error
    else:
        with file.open(encoding="utf-8-sig", errors="replace") as lines:
            for number, line in enumerate(iter(lambda: lines.readline(LONGEST_LINE), ""), 1):
                if line.strip():
                    yield number, _object(line)


def _object(line: str) -> dict[str, Any] | str:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return "it is no JSON"
    return found if isinstance(found, dict) else "it is no JSON object"


def _parquet(file: Path) -> Iterator[dict[str, Any]]:
    with needed_for("A manifest in Parquet", library="pyarrow"):
        import pyarrow
        import pyarrow.parquet as parquet
    try:
        with parquet.ParquetFile(file) as table:
            names = [name for name in ("source", "target") if name in table.schema_arrow.names]
            if "source" not in names:
                raise UsageError("a column 'source' was expected in the Parquet file")
            for batch in table.iter_batches(columns=names, batch_size=4096):
                yield from batch.to_pylist()
    except (pyarrow.ArrowException, OSError) as error:
        raise UsageError(f"the Parquet file cannot be read: {error}") from error


def _job(
    row: dict[str, Any] | str, manifest: Location, output: Location, suffix: str | None
) -> Job:
    if isinstance(row, str):
        raise UsageError(f"{row}, with 'source' and perhaps 'target'")
    source, target = row.get("source"), row.get("target") or None
    if not isinstance(source, str) or not source or "\0" in source:
        raise UsageError("it has no 'source'")
    place = located(source)
    inside = source
    if isinstance(place, Remote):
        inside = place.url.partition("://")[2].partition("?")[0]
    elif not place.is_absolute():
        place = manifest.parent / source
    if target is None:
        inside = inside.lstrip("/")
        ending = PurePosixPath(inside).suffix.lower()
        if suffix is None and ending not in SUFFIXES:
            raise UsageError(f"{display_name(source)} does not end like an image: name a 'target'")
        target = renamed(inside, suffix)
    if not isinstance(target, str) or "\0" in target or PurePosixPath(target).is_absolute():
        raise UsageError(f"'target' {display_name(target)} is no name inside the folder of results")
    if PurePosixPath(target).suffix.lower() not in SUFFIXES:
        raise UsageError(f"'target' {display_name(target)} does not end like an image")
    if any(part in ("", ".", "..") or part.startswith(".") for part in target.split("/")):
        raise UsageError(
            f"'target' {display_name(target)} leaves the folder of results or is hidden"
        )
    return Job(place, output / target, output)
