"""What a file given as a checkpoint really is, judged by its bytes and not by its name."""

from __future__ import annotations

import enum
import io
import json
import struct
import zipfile
from collections import Counter
from pathlib import Path

from hat_deploy.errors import CheckpointError
from hat_deploy.networks.limits import MAX_HEADER_BYTES, MAX_TENSORS

HEAD = 512
"""Bytes read to recognise a file."""

EXPECTED = "expected a .pth or .safetensors file with the weights of a network"

_SIGNATURES: tuple[tuple[bytes, str], ...] = (
    (b"version https://git-lfs", "a Git LFS pointer, so the weights themselves are still to be "
     "fetched (git lfs pull)"),
    (b"\x89PNG", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"\x1f\x8b", "a gzip archive: unpack it first"),
    (b"7z\xbc\xaf", "a 7z archive: unpack it first"),
    (b"Rar!", "a RAR archive: unpack it first"),
    (b"\x89HDF", "an HDF5 file, of Keras perhaps"),
    (b"GGUF", "a GGUF file"),
    (b"ftrt", "a TensorRT plan: pass it as an engine"),
    (b"ptrt", "a TensorRT plan: pass it as an engine"),
)  # fmt: skip

_ONNX_FIELDS = b"\x12\x1a\x22\x28\x32\x3a\x42\x72"
"""Tags that may follow the first field of an ONNX model."""

_SUFFIXES = {
    ".onnx": "an ONNX model: pass it as an engine",
    ".plan": "a TensorRT plan: pass it as an engine",
    ".engine": "a TensorRT plan: pass it as an engine",
    ".trt": "a TensorRT plan: pass it as an engine",
}


_DTYPES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}
"""Floating types as the headers of ``.safetensors`` files call them."""


class Format(enum.Enum):
    """The two families of checkpoint file."""

    TORCH = "torch"
    SAFETENSORS = "safetensors"


def checkpoint_format(path: Path) -> Format:
    """Which reader ``path`` needs.

    Raises:
        CheckpointError: there is no such file, or it is no checkpoint; the message says what
            it is instead.
    """
    head = _head(path)
    if _starts_safetensors(head):
        return Format.SAFETENSORS
    if head.startswith(b"PK\x03\x04"):
        _check_zip(path)
        return Format.TORCH
    if head.startswith(b"\x80"):
        return Format.TORCH
    raise CheckpointError(f"{path} is {_describe(head, path.suffix.lower())}; {EXPECTED}")


def _head(path: Path) -> bytes:
    if path.is_dir():
        raise CheckpointError(f"{path} is a folder; {EXPECTED}")
    if not path.exists():
        raise CheckpointError(f"there is no file {path}; {EXPECTED}")
    if not path.is_file():
        raise CheckpointError(f"{path} is not a regular file; {EXPECTED}")
    try:
        with path.open("rb") as file:
            head = file.read(HEAD)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}") from error
    if not head:
        raise CheckpointError(f"{path} is empty: the download or copy went wrong; {EXPECTED}")
    return head


def _starts_safetensors(head: bytes) -> bool:
    """Eight bytes with the length of a JSON object, then that object."""
    return len(head) > 8 and head[8:9] == b"{" and struct.unpack("<Q", head[:8])[0] < 1 << 32


class _Directory(io.FileIO):
    """A file that gives no more at once than a plausible archive's directory has."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > MAX_HEADER_BYTES:
            raise zipfile.BadZipFile(f"a directory of {size} bytes")
        return super().read(size) or b""


def safetensors_dtypes(path: Path) -> tuple[str, ...]:
    """Floating types of a ``.safetensors`` file's tensors, the commonest first; needs no torch.

    Empty where the header cannot be read: whoever reads the weights says why.
    """
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(length)) if length <= MAX_HEADER_BYTES else {}
        found = Counter(entry["dtype"] for key, entry in header.items() if key != "__metadata__")
    except (OSError, ValueError, RecursionError, AttributeError, KeyError, TypeError):
        return ()
    return tuple(_DTYPES[name] for name, _ in found.most_common() if name in _DTYPES)


def _check_zip(path: Path) -> None:
    """Let pass only an archive that ``torch.save`` wrote, which stores and does not compress.

    A compressed member may grow a thousandfold when it is read, and the same bytes may be listed
    under many names.
    """
    try:
        with _Directory(path) as file, zipfile.ZipFile(file) as archive:
            members = archive.infolist()
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}") from error
    except (zipfile.BadZipFile, NotImplementedError, ValueError, struct.error) as error:
        raise CheckpointError(
            f"{path} is a truncated or damaged zip archive: a PyTorch checkpoint whose download "
            "or copy was not completed; fetch it again"
        ) from error
    _check_kind(path, [member.filename for member in members])
    if len(members) > MAX_TENSORS:
        raise CheckpointError(
            f"{path} lists {len(members):,} members; a checkpoint has at most {MAX_TENSORS:,}"
        )
    if any(member.compress_type != zipfile.ZIP_STORED for member in members):
        raise CheckpointError(
            f"{path} is compressed inside, which torch.save never does, so it was not opened: "
            "load it where you trust it and save it again with torch.save"
        )
    stated, size = sum(member.file_size for member in members), path.stat().st_size
    if stated > size:
        raise CheckpointError(
            f"{path} has {size:,} bytes, and its members state {stated:,}: it is damaged"
        )


def _check_kind(path: Path, names: list[str]) -> None:
    if any(name.split("/")[-1] == "constants.pkl" for name in names):
        raise CheckpointError(
            f"{path} is a TorchScript archive, a compiled program; expected a state dict, "
            "as torch.save(network.state_dict(), path) writes"
        )
    if not any(name.endswith("/data.pkl") for name in names):
        listing = ", ".join(name[:100] for name in names[:3]) or "nothing"
        raise CheckpointError(
            f"{path} is a zip archive that holds {listing}, not a PyTorch checkpoint; "
            "if the checkpoint is inside, unpack it first"
        )


def _describe(head: bytes, suffix: str) -> str:
    for signature, name in _SIGNATURES:
        if head.startswith(signature):
            return name
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<!doctype html", b"<html", b"<head", b"<script")):
        return "an HTML page, not a checkpoint: the download went wrong"
    if text.startswith(b"<?xml"):
        return "an XML document, not a checkpoint: the download went wrong"
    # An ONNX model is a protobuf: field 1 is ir_version, a small number; other fields follow.
    if head[0] == 0x08 and len(head) > 2 and head[1] < 0x20 and head[2] in _ONNX_FIELDS:
        return _SUFFIXES[".onnx"]
    if suffix in _SUFFIXES:
        return _SUFFIXES[suffix]
    if all(32 <= byte < 127 or byte in b"\t\r\n" for byte in head):
        return f"a text file that begins with {head[:40].decode('ascii')!r}"
    return "no checkpoint that can be recognised: it is damaged, truncated or of another kind"
