"""Folders of stores, page by page: no more than a page of names is held."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from functools import partial
from typing import Any

from hat_deploy.folders.places.remote import Remote
from hat_deploy.folders.places.stores import Store, standing_of, store_of, told

PAGE = 1000
"""Names that a store gives at once."""


def objects(folder: Remote, *, recursive: bool) -> Iterator[Remote]:
    """The objects below a folder in the store's order, each with its size and time of change.

    Args:
        recursive: whether those in folders inside come too; else those folders come, as names
            without a size.

    Raises:
        Missing: there is no such bucket.
        StoreError: it cannot be listed.
    """
    store = store_of(folder)
    for info in _infos(store, folder, recursive=recursive):
        place = Remote(f"{folder.scheme}://{info['name'].rstrip('/')}")
        if info["type"] == "directory":
            if not recursive:
                yield place
        elif not info["name"].endswith("/"):  # else the mark of an empty folder
            found = standing_of(info)
            yield Remote(place.url, found.size, found.mtime_ns)


def _infos(store: Store, folder: Remote, *, recursive: bool) -> Iterator[dict[str, Any]]:
    paged = {"s3": _of_s3, "gs": _of_gcs, "az": _of_azure}.get(store.scheme)
    if paged is None:
        yield from _by_folders(store, folder, recursive=recursive)
        return
    bucket, _, key = store.path(folder).partition("/")
    yield from paged(store, folder, bucket, f"{key}/" if key else "", "" if recursive else "/")


def _of_s3(
    store: Store, folder: Remote, bucket: str, prefix: str, delimiter: str
) -> Iterator[dict[str, Any]]:
    asked = {"Bucket": bucket, "Prefix": prefix, "Delimiter": delimiter}
    while True:
        page = store.ask(folder, lambda: store.files.call_s3("list_objects_v2", **asked))
        for found in page.get("CommonPrefixes", []):
            yield {"name": f"{bucket}/{found['Prefix']}", "type": "directory"}
        for found in page.get("Contents", []):
            yield {
                "name": f"{bucket}/{found['Key']}",
                "type": "file",
                "size": found["Size"],
                "LastModified": found["LastModified"],
                "ETag": found.get("ETag"),
            }
        if not page.get("IsTruncated"):
            return
        asked["ContinuationToken"] = page["NextContinuationToken"]


def _of_gcs(
    store: Store, folder: Remote, bucket: str, prefix: str, delimiter: str
) -> Iterator[dict[str, Any]]:
    from fsspec.asyn import sync

    asked = {"prefix": prefix, "delimiter": delimiter or None, "maxResults": PAGE}
    call = store.files._call_list_objects
    while True:
        page = store.ask(folder, lambda: sync(store.files.loop, call, bucket, **asked))
        for inside in page.get("prefixes", []):
            yield {"name": f"{bucket}/{inside}", "type": "directory"}
        for found in page.get("items", []):
            yield store.files._process_object(bucket, found)
        if "nextPageToken" not in page:
            return
        asked["pageToken"] = page["nextPageToken"]


def _of_azure(
    store: Store, folder: Remote, container: str, prefix: str, delimiter: str
) -> Iterator[dict[str, Any]]:
    """Its own library asks again where a page fails."""
    from fsspec.asyn import sync

    entries = _azure_entries(store.files, container, prefix, delimiter)
    try:
        while page := sync(store.files.loop, _some, entries):
            yield from page
    except Exception as error:
        raise told(error, folder) from error


async def _some(entries: AsyncIterator[dict[str, Any]]) -> list[dict[str, Any]]:
    """The next entries, as many as a page has."""
    found: list[dict[str, Any]] = []
    async for entry in entries:
        found.append(entry)
        if len(found) == PAGE:
            break
    return found


async def _azure_entries(
    files: Any, container: str, prefix: str, delimiter: str
) -> AsyncIterator[dict[str, Any]]:
    async with files.service_client.get_container_client(container=container) as client:
        if delimiter:
            blobs = client.walk_blobs(name_starts_with=prefix, delimiter=delimiter)
        else:
            blobs = client.list_blobs(name_starts_with=prefix)
        async for blob in blobs:
            folder = not hasattr(blob, "size") or blob.name.endswith("/")
            yield {
                "name": f"{container}/{blob.name}",
                "type": "directory" if folder else "file",
                "size": getattr(blob, "size", 0),
                "last_modified": getattr(blob, "last_modified", None),
                "etag": getattr(blob, "etag", None),
            }


def _by_folders(store: Store, folder: Remote, *, recursive: bool) -> Iterator[dict[str, Any]]:
    """Where a store has no pages: a folder at a time."""
    waiting = [store.path(folder)]
    while waiting:
        path = waiting.pop()
        for info in store.ask(folder, partial(store.files.ls, path, detail=True)):
            if info["type"] == "directory" and recursive:
                waiting.append(info["name"])
            else:
                yield info
