"""The images as a source for Ray Data: one task that finds them while others compute."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow
from ray.data import Datasource, ReadTask
from ray.data.block import BlockMetadata

from hat_deploy.folders.cluster.blocks import blocks, packed
from hat_deploy.folders.search import Search


class Listing(Datasource):
    """Rows of :data:`hat_deploy.folders.cluster.blocks.Message`, as they are found.

    Args:
        workers: that share them.
    """

    def __init__(self, search: Search, workers: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._search = search
        self._workers = workers

    def get_name(self) -> str:
        """For Ray's dashboard."""
        return "Listing"

    def estimate_inmemory_data_size(self) -> int | None:
        """Nobody knows before the end."""
        return None

    def get_read_tasks(
        self, parallelism: int, per_task_row_limit: int | None = None, data_context: Any = None
    ) -> list[ReadTask]:
        """One: a folder is listed once."""
        search, workers = self._search, self._workers

        def read() -> Iterator[pyarrow.Table]:
            for message in blocks(search, workers):
                yield pyarrow.table(packed(message))

        unknown = BlockMetadata(num_rows=None, size_bytes=None, input_files=None, exec_stats=None)
        return [ReadTask(read, unknown)]
