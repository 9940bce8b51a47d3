"""The outcomes of a run as one Parquet file, which appears whole."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any, Self

import pyarrow
import pyarrow.parquet as parquet

from hat_deploy.files import replacing
from hat_deploy.folders.journal_segments import FOLDER
from hat_deploy.folders.outcome_log import line
from hat_deploy.folders.outcomes import Outcome
from hat_deploy.folders.places.remote import Location, Remote
from hat_deploy.folders.places.stores import store_of

ROWS = 10_000
"""Outcomes that are kept in memory."""
SCHEMA = pyarrow.schema(
    [
        ("source", pyarrow.string()),
        ("target", pyarrow.string()),
        ("outcome", pyarrow.string()),
        ("reason", pyarrow.string()),
        ("seconds", pyarrow.float64()),
        ("tiles", pyarrow.int64()),
        ("notes", pyarrow.list_(pyarrow.string())),
    ]
)
"""As ``--report``; a name's bytes that are no text become question marks."""


def place_of(root: Location, run: str) -> Location:
    """Where the file of a run goes: beside the journals of a folder of results."""
    if isinstance(root, Remote):
        return root / FOLDER / f"outcomes-{run}.parquet"
    return root / f"{FOLDER}-outcomes-{run}.parquet"


class Table:
    """The file, put together in a temporary one; it gets its name when the block ends.

    However the block ends: what is known of a run that was interrupted is written, too.

    Raises:
        OSError, StoreError: it cannot be written.
    """

    def __init__(self, place: Location) -> None:
        self._place = place
        self._rows: list[dict[str, Any]] = []

    def add(self, outcome: Outcome) -> None:
        """Add an outcome."""
        self._rows.append(_text(line(outcome)))
        if len(self._rows) >= ROWS:
            self._write()

    def __enter__(self) -> Self:
        self._folder = tempfile.TemporaryDirectory(prefix="hat-deploy-")
        self._file = Path(self._folder.name, "outcomes.parquet")
        self._writer = parquet.ParquetWriter(self._file, SCHEMA, compression="zstd")
        return self

    def __exit__(self, *_: object) -> None:
        with self._folder:
            self._write()
            self._writer.close()
            if isinstance(self._place, Remote):
                store_of(self._place).upload(self._file, self._place)
            else:
                with replacing(self._place) as partial:
                    shutil.copyfile(self._file, partial)

    def _write(self) -> None:
        if self._rows:
            self._writer.write_table(pyarrow.Table.from_pylist(self._rows, schema=SCHEMA))
            self._rows.clear()


def _text(values: Any) -> Any:
    """The same with strings that are all UTF-8."""
    if isinstance(values, dict):
        return {name: _text(value) for name, value in values.items()}
    if isinstance(values, list):
        return [*map(_text, values)]
    return values.encode(errors="replace").decode() if isinstance(values, str) else values
