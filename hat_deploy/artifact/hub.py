"""Checkpoints of a model hub, named as ``hf:ORG/NAME[@REVISION][/FILE]``.

The only module that opens a connection, and only where a user names such a model. huggingface_hub
keeps what it downloads in a cache of its own, where it is found again without a network.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from hat_deploy import files
from hat_deploy.errors import CheckpointError, HatDeployError, UsageError, needed_for
from hat_deploy.networks.unstored import CHECKPOINTS, CONFIG_NAME
from hat_deploy.version import __version__

PREFIX = "hf:"
MOST_LISTED = 20
"""Files that a message names."""
_NAME = re.compile(
    r"hf:(?P<repository>[\w.-]+/[\w.-]+)(?:@(?P<revision>[^/@\s]+))?(?:/(?P<file>[^\s/].*))?"
)
_SHA256 = re.compile(r"[0-9a-f]{64}")
_GENERAL = ("model", "pytorch_model", "weights", "checkpoint", "params", "net_g_latest")
"""File names that say nothing of the model."""
_COMMIT = re.compile(r"[0-9a-f]{40}")
_REFUSED = (401, 403, 404)
_LIBRARY = "hat-deploy"
"""What the hub is told of who asks, beside the version."""
PATIENCE = 10.0
"""Seconds to wait for the hub's first answer."""

log = logging.getLogger("hat_deploy")


@dataclass(frozen=True)
class Downloaded:
    """A checkpoint that lies in the hub's cache."""

    path: Path
    name: str
    """For people: of the file, or of the repository where that says more."""
    origin: str
    """What it is for good: ``hf:ORG/NAME@COMMIT/FILE``."""


@dataclass(frozen=True)
class _Asked:
    named: str
    repository: str
    revision: str
    file: str | None


class _Away(Exception):
    """The hub cannot be reached; a clause says why."""


def names_one(named: str | Path) -> bool:
    """Whether a user means the hub."""
    return str(named).startswith(PREFIX)


def find(named: str) -> Downloaded:
    """The checkpoint, downloaded unless it is in the hub's cache.

    A ``config.json`` beside it comes too, for it may say what no checkpoint stores. Where the hub
    cannot be reached, what was downloaded before is taken, and a note says so. The revision that
    was found is told in a note.

    Raises:
        UsageError: it is no such name, there is no such repository, revision or file, several
            files could be meant, or it may not be read.
        CheckpointError: the hub cannot be reached and the cache does not have it, or what came is
            not what the hub says.
        MissingExtraError: huggingface_hub is not installed.
    """
    asked = _parsed(named)
    try:
        listed = None if _is_pinned(asked) else _listed(asked)
    except _Away as away:
        listed = None
        log.warning("note: %s; what was downloaded before is used", away)
    file = asked.file or _only_weights(asked, _kept(asked) if listed is None else listed)
    if Path(file).suffix.lower() not in CHECKPOINTS:
        raise UsageError(
            f"{named}: {file} is no checkpoint ({', '.join(CHECKPOINTS)}), which is all that is "
            "taken from a hub"
        )
    path = _download(asked, file, listed)
    _require_whole(path)
    commit = _commit_of(path)
    if asked.file is None or asked.revision != commit:
        log.warning("note: %s is hf:%s@%s/%s", named, asked.repository, commit, file)
    stem = Path(file).stem
    return Downloaded(
        path,
        asked.repository.partition("/")[2] if stem in _GENERAL else stem,
        f"hf:{asked.repository}@{commit}/{file}",
    )


def _parsed(named: str) -> _Asked:
    match = _NAME.fullmatch(named)
    if match is None or ".." in Path(match["file"] or "").parts:
        raise UsageError(
            f"{named}: expected hf:ORG/NAME, hf:ORG/NAME/FILE or, with a branch, tag or commit, "
            "hf:ORG/NAME@REVISION/FILE"
        )
    with needed_for("A model from a hub"):
        import huggingface_hub  # noqa: F401 - says what is missing
    return _Asked(named, match["repository"], match["revision"] or "main", match["file"])


def _only_weights(asked: _Asked, files: list[str]) -> str:
    """The repository's one checkpoint."""
    found = sorted(file for file in files if Path(file).suffix.lower() in CHECKPOINTS)
    if len(found) == 1:
        return found[0]
    if not found:
        raise UsageError(f"{asked.named} has no checkpoint ({', '.join(CHECKPOINTS)})")
    more = f" and {len(found) - MOST_LISTED} more" if len(found) > MOST_LISTED else ""
    raise UsageError(
        f"{asked.named} has {len(found)} checkpoints: add one of {', '.join(found[:MOST_LISTED])}"
        f"{more}, as in hf:{asked.repository}@{asked.revision}/{found[0]}"
    )


def _is_pinned(asked: _Asked) -> bool:
    """Whether it is the file of a commit that was downloaded before: the hub has nothing to add."""
    from huggingface_hub import constants, try_to_load_from_cache

    if asked.file is None or not _COMMIT.fullmatch(asked.revision):
        return False
    kept = try_to_load_from_cache(
        asked.repository, asked.file, constants.HF_HUB_CACHE, asked.revision
    )
    return isinstance(kept, str)


def _listed(asked: _Asked) -> list[str]:
    """The repository's files.

    Raises:
        _Away: the hub cannot be reached, and the cache has some of them.
    """
    from huggingface_hub import HfApi, constants

    try:
        with _explained(asked):
            api = HfApi(constants.ENDPOINT, library_name=_LIBRARY, library_version=__version__)
            info = api.model_info(asked.repository, revision=asked.revision, timeout=PATIENCE)
    except CheckpointError as error:
        if _kept(asked):
            raise _Away(str(error)) from error
        raise
    return [sibling.rfilename for sibling in info.siblings or []]


def _kept(asked: _Asked) -> list[str]:
    """The checkpoints of a revision in the hub's cache, whose layout is documented."""
    from huggingface_hub import constants

    repository = Path(constants.HF_HUB_CACHE) / f"models--{asked.repository.replace('/', '--')}"
    try:
        commit = (repository / "refs" / asked.revision).read_text(encoding="utf-8").strip()
    except OSError:
        commit = asked.revision
    snapshot = repository / "snapshots" / commit
    return [
        path.relative_to(snapshot).as_posix()
        for path in snapshot.rglob("*")
        if path.suffix.lower() in CHECKPOINTS and path.is_file()
    ]


def _download(asked: _Asked, file: str, listed: list[str] | None) -> Path:
    """The file's place in the hub's cache.

    Args:
        listed: the repository's files; None takes what the cache has.
    """
    from huggingface_hub import constants, hf_hub_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    def get(file: str, revision: str) -> Path:
        found = hf_hub_download(
            asked.repository,
            file,
            revision=revision,
            local_files_only=listed is None,
            cache_dir=constants.HF_HUB_CACHE,
            endpoint=constants.ENDPOINT,
            library_name=_LIBRARY,
            library_version=__version__,
        )
        return Path(found)

    beside = (Path(file).parent / CONFIG_NAME).as_posix()
    with _explained(asked, file):
        if listed is not None and file not in listed:
            raise UsageError(
                f"{asked.named}: {asked.repository} at {asked.revision} has no file {file}"
            )
        path = get(file, asked.revision)
        if listed is None or beside in listed:
            with suppress(LocalEntryNotFoundError):
                get(beside, _commit_of(path))
    return path


def _commit_of(path: Path) -> str:
    """Of a file in the hub's cache: ``.../snapshots/COMMIT/FILE``."""
    parts = path.parts
    return parts[len(parts) - parts[::-1].index("snapshots")]


def _require_whole(path: Path) -> None:
    """Refuse a file that is not what its name in the hub's cache says: the hash of large files."""
    stored = path.resolve()
    if _SHA256.fullmatch(stored.name) and files.sha256(stored) != stored.name:
        raise CheckpointError(
            f"{path} in the hub's cache is damaged: its SHA-256 is not the hub's; delete {stored} "
            "and start again"
        )


@contextmanager
def _explained(asked: _Asked, file: str | None = None) -> Iterator[None]:
    """The library's errors as sentences."""
    from huggingface_hub import constants
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    hub, name = constants.ENDPOINT, asked.named
    try:
        yield
    except HatDeployError:
        raise
    except HFValidationError as error:
        raise UsageError(f"{name} is no name of a repository: {_line(error)}") from error
    except GatedRepoError as error:
        raise UsageError(
            f"{name}: {hub} lets only those read {asked.repository} who were granted access: ask "
            "for it there, and set HF_TOKEN"
        ) from error
    except RepositoryNotFoundError as error:
        raise UsageError(
            f"{name}: {hub} has no repository {asked.repository}, or it is private and HF_TOKEN "
            "is not set to a token that may read it"
        ) from error
    except RevisionNotFoundError as error:
        raise UsageError(
            f"{name}: {asked.repository} has no branch, tag or commit {asked.revision}"
        ) from error
    except LocalEntryNotFoundError as error:
        raise CheckpointError(
            f"{name}: {file} was not downloaded before (to {constants.HF_HUB_CACHE}), and {hub} "
            "does not give it now"
        ) from error
    except OfflineModeIsEnabled as error:
        raise CheckpointError(f"{name}: HF_HUB_OFFLINE is set, so {hub} is not asked") from error
    except HfHubHTTPError as error:
        status = error.response.status_code
        if status in _REFUSED:
            raise UsageError(
                f"{name}: {hub} refuses to show {asked.repository} ({status}): set HF_TOKEN to a "
                "token that may read it"
            ) from error
        raise CheckpointError(f"{name}: {hub} answered {status}: try again later") from error
    except Exception as error:  # of the HTTP library, which differs between releases, or the disk
        if isinstance(error, OSError) and error.filename is not None:
            raise
        what = f"the download of {file} from {hub} failed" if file else f"{hub} cannot be reached"
        raise CheckpointError(f"{name}: {what} ({_line(error)}): try again") from error


def _line(error: BaseException) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), repr(error))
