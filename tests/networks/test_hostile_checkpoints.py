"""Files made to exhaust or confuse: each is one sentence, with little memory and no traceback."""

from __future__ import annotations

import io
import struct
import sys
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from independent import authors_state_dict
from limited import run_limited
from tiny import random_network, save_tensors, tiny_config
from torch import Tensor

from hat_deploy.networks.checkpoint import load_network

Weights = dict[str, Tensor]
BLOCK = "layers.0.residual_group.blocks.0."


@cache
def _weights() -> Weights:
    return authors_state_dict(random_network(tiny_config()))


def weights() -> Weights:
    return dict(_weights())


def save(path: Path, **changes: Any) -> None:
    save_tensors(weights() | changes, path)


def numbered(number: str) -> Callable[[Path], str]:
    def make(path: Path) -> str:
        save(path, **{f"layers.{number}.x": torch.zeros(1)})
        return "but no layers.2"

    return make


def block_numbered(path: Path) -> str:
    save(path, **{f"layers.1.residual_group.blocks.{10**9}.x": torch.zeros(1)})
    return "but no layers.1.residual_group.blocks.2"


def other_digits(path: Path) -> str:
    save(path, **{"layers.\u0662.x": torch.zeros(1)})
    return "no place for"


def many_groups(path: Path) -> str:
    save(path, **{f"layers.{i}.x": torch.zeros(1) for i in range(2, 5000)})
    return "layers.2.residual_group.blocks.0.attn.relative_position_bias_table"


def expanded(path: Path) -> str:
    save(path, **{"conv_last.weight": torch.zeros(1, 1, 1, 1).expand(100_000, 100_000, 3, 3)})
    return "they are expanded"


def expanded_half(path: Path) -> str:
    one = torch.zeros(1, dtype=torch.float16)
    save(path, **{"conv_first.weight": one.expand(10**6, 10**6)})
    return "they are expanded"


def shared(path: Path) -> str:
    one = torch.zeros(2**20)
    save(path, **{f"more.{i}": one for i in range(3000)})
    return "share their values"


def wide_windows(path: Path) -> str:
    table = torch.zeros(255**2, 2)
    names = [name for name in weights() if name.endswith("blocks.0." + "attn." + TABLE)]
    save(path, **{name: table.clone() for name in names})
    return "window_size is 128; expected a whole number from 1 to 64"


def windows_of_64(path: Path) -> str:
    window = torch.zeros(127**2, 16)
    tables = {name: window.clone() for name in weights() if name.endswith(f".attn.{TABLE}")}
    overlap = {name: torch.zeros(159**2, 16) for name in weights() if "overlap_attn.r" in name}
    save(path, **tables, **overlap)
    return "embed_dim 12 is not divisible by num_heads"


TABLE = "relative_position_bias_table"


def wide_overlap(path: Path) -> str:
    names = [name for name in weights() if name.endswith(f"overlap_attn.{TABLE}")]
    save(path, **{name: torch.zeros(1003**2, 2) for name in names})
    return "overlap_size is 1000"


def wide_first(path: Path) -> str:
    save(path, **{"conv_first.weight": torch.zeros(19200, 3, 3, 3)})
    return "it would have 18,825,231,995 parameters; expected at most 1,073,741,824"


def wide_but_allowed(path: Path) -> str:
    save(path, **{"conv_first.weight": torch.zeros(2400, 3, 3, 3)})
    return "has shape (12,); this HAT has (2400,) there"


def wide_mlp(path: Path) -> str:
    save(path, **{BLOCK + "mlp.fc1.weight": torch.zeros(10**7, 1)})
    return "mlp_channels is 10000000; expected a whole number from 1 to 65536"


def empty_but_wide(path: Path) -> str:
    save(path, **{"conv_last.weight": torch.zeros(0, 2**40, 3, 3)})
    return "upsampler_channels is 1099511627776"


def deflated(path: Path) -> str:
    plain = path.with_name("plain.pth")
    save(plain, padding=torch.zeros(2**24))
    with zipfile.ZipFile(plain) as old, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
        for member in old.namelist():
            with old.open(member) as source, new.open(member, "w", force_zip64=True) as target:
                while chunk := source.read(2**20):
                    target.write(chunk)
    plain.unlink()
    assert path.stat().st_size < 2**20
    return "compressed inside"


def listed_many_times(path: Path) -> str:
    """One member's bytes, under the names of a thousand."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x/data.pkl", b"\x80\x02}.")
        archive.writestr("x/data/0", bytes(2**20))
        for i in range(1, 1000):
            archive.filelist.append(archive.getinfo("x/data/0"))
            archive.NameToInfo[f"x/data/{i}"] = archive.getinfo("x/data/0")
    return "its members state"


def long_directory(path: Path) -> str:
    directory = b"PK\x01\x02" + bytes(42)
    count = 2**20
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 65535, 65535, 46 * count, 30, 0)
    path.write_bytes(b"PK\x03\x04" + bytes(26) + directory * count + end)
    return "damaged zip archive"


def longer_than_its_record(path: Path) -> str:
    """The pickle claims a storage that is larger than the member that holds it."""
    save_tensors({"a": torch.zeros(16)}, path)
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            short = content[:8] if name.endswith("/data/0") else content
            archive.writestr(name, short)
    return ""


def legacy_of_a_terabyte(path: Path) -> str:
    buffer = io.BytesIO()
    torch.save({"a": torch.zeros(1)}, buffer, _use_new_zipfile_serialization=False)
    content = buffer.getvalue()
    one, many = b"X\x03\x00\x00\x00cpuq", b"K\x01"
    at = content.index(many, content.index(one))
    path.write_bytes(content[:at] + b"\x8a\x06" + (2**40).to_bytes(6, "little") + content[at + 2 :])
    return "damaged"


def attributes_over_methods(path: Path) -> str:
    held = OrderedDict(weights())
    held.__dict__["values"] = held.__dict__["get"] = held.__dict__["keys"] = 5
    torch.save(held, path)
    return ""


def names_of_all_kinds(path: Path) -> str:
    torch.save({-1: 1, (1, (2,)): 2, 1.5: 3}, path)
    return "holds no weights (found: 3 things without names)"


def many_digits_for_a_name(path: Path) -> str:
    torch.save({10**4999: torch.zeros(1)}, path)
    return ""


def long_name(path: Path) -> str:
    save(path, **{"x" * 10**6: torch.zeros(1)})
    return "no place for: xxx"


def deep_pickle(path: Path) -> str:
    path.write_bytes(b"\x80\x02" + b"]" * 200_000 + b".")
    return "damaged"


def mean(value: object) -> Callable[[Path], str]:
    def make(path: Path) -> str:
        save(path, mean=value)
        return "mean"

    return make


def nested(path: Path) -> str:
    save(path, **{"conv_first.weight": torch.nested.nested_tensor([torch.ones(2), torch.ones(3)])})
    return "conv_first.weight is not a plain tensor"


def jagged(path: Path) -> str:
    parts = [torch.ones(2), torch.ones(3)]
    save(path, extra=torch.nested.nested_tensor(parts, layout=torch.jagged))
    return ""


def sparse(path: Path) -> str:
    save(path, **{"conv_last.weight": torch.zeros(3, 64, 3, 3).to_sparse()})
    return ""


def sparse_rows(path: Path) -> str:
    save(path, **{"norm.weight": torch.eye(12).to_sparse_csr()})
    return ""


def quantized(path: Path) -> str:
    values = torch.quantize_per_tensor(torch.zeros(12), 0.1, 0, torch.qint8)
    save(path, **{"norm.weight": values})
    return ""


def meta(path: Path) -> str:
    save(path, **{"norm.weight": torch.zeros(10**12, device="meta")})
    return "norm.weight is not a plain tensor"


def complex_weights(path: Path) -> str:
    save(path, **{"norm.weight": torch.zeros(12, dtype=torch.complex64)})
    return "norm.weight is torch.complex64"


def bool_index(path: Path) -> str:
    save(path, relative_position_index_SA=torch.zeros(16, 16, dtype=torch.bool))
    return "relative_position_index_SA"


def unsigned_index(path: Path) -> str:
    save(path, relative_position_index_SA=torch.zeros(16, 16, dtype=torch.uint64))
    return "relative_position_index_SA"


def packed(path: Path) -> str:
    values = torch.zeros(12, dtype=torch.uint8).view(torch.float4_e2m1fn_x2)
    save(path, **{"norm.weight": values})
    return "norm.weight"


def tensors_header(length: int, content: bytes) -> Callable[[Path], str]:
    def make(path: Path) -> str:
        path.write_bytes(struct.pack("<Q", length) + content)
        return ""

    return make


def deep_tensors_header(path: Path) -> str:
    header = b'{"a":' + b"[" * 10**6
    path.write_bytes(struct.pack("<Q", len(header)) + header)
    return "damaged safetensors"


def long_tensors_header(path: Path) -> str:
    header = b'{"__metadata__":{' + b",".join(b'"%d":""' % i for i in range(2 * 10**6)) + b"}}"
    path.write_bytes(struct.pack("<Q", len(header)) + header)
    return "states a header of"


def tensors_overlapping(path: Path) -> str:
    entry = b'{"dtype":"F32","shape":[1024],"data_offsets":[0,4096]}'
    header = b"{" + b",".join(b'"%d":%s' % (i, entry) for i in range(10**4)) + b"}"
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(4096))
    return "damaged safetensors"


def a_huge_file(path: Path) -> str:
    save(path)
    with path.open("r+b") as file:
        file.truncate(2**40)
    return ""


def deep_config(path: Path) -> str:
    save(path)
    (path.parent / "config.json").write_text("[" * 100_000)
    return "config.json"


def long_config(path: Path) -> str:
    save(path)
    with (path.parent / "config.json").open("w") as file:
        file.truncate(2**33)
    return "config.json"


def huge_number(path: Path) -> str:
    save(path)
    (path.parent / "config.json").write_text('{"img_range": 1' + "0" * 4000 + "}")
    return "img_range"


HOSTILE: dict[str, Callable[[Path], str]] = {
    "layer 3e8": numbered("300000000"),
    "layer of 5,000 digits": numbered("9" * 5000),
    "layer written 02": numbered("02"),
    "mean int": mean(torch.tensor([0, 0, 0])),
    "mean bool": mean(torch.tensor([True, False, True])),
    "mean complex": mean(torch.zeros(3, dtype=torch.complex64)),
    "mean of one": mean(torch.zeros(1)),
    "tensors header of 2^62": tensors_header(2**31, b"{"),
    "tensors header beyond the file": tensors_header(2**20, b"{}"),
    "tensors header of no JSON": tensors_header(4, b"{abc"),
    **{
        make.__name__: make
        for make in (
            many_digits_for_a_name, block_numbered, other_digits, many_groups, expanded,
            expanded_half, shared, wide_windows, windows_of_64, wide_overlap, wide_first,
            wide_but_allowed, wide_mlp,
            empty_but_wide, deflated, listed_many_times, long_directory, longer_than_its_record,
            legacy_of_a_terabyte, names_of_all_kinds, long_name, deep_pickle,
            nested, jagged, sparse, sparse_rows, quantized, meta, complex_weights, bool_index,
            unsigned_index, packed, deep_tensors_header, long_tensors_header, tensors_overlapping,
            a_huge_file, deep_config, long_config, huge_number,
        )
    },
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="limits the memory of a process as Linux does")
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_hostile_files_are_one_sentence(tmp_path: Path) -> None:
    files, expected = [], []
    for i, make in enumerate(HOSTILE.values()):
        folder = tmp_path / str(i)
        folder.mkdir()
        files.append(folder / "given.pth")
        expected.append(make(files[-1]))
    ended = run_limited(["info", str(file)] for file in files)
    wrong = {
        name: (end.status, end.stdout[-300:], end.stderr[-1500:])
        for name, words, end in zip(HOSTILE, expected, ended, strict=True)
        if end.status != 2
        or end.stdout
        or not end.stderr.startswith("error: ")
        or end.stderr.count("\n") != 1
        or len(end.stderr) > 1000
        or words not in end.stderr
    }
    assert not wrong, "\n".join(f"{name}: {how}" for name, how in wrong.items())
    assert len(ended) == len(files)


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.float8_e5m2])
def test_eight_bit_floats_are_read(tmp_path: Path, dtype: torch.dtype) -> None:
    small = {name: x.to(dtype) for name, x in weights().items() if x.is_floating_point()}
    loaded = load_network(save_tensors(small, tmp_path / "w.pth")).state_dict()
    assert all(torch.equal(loaded[name], x.float()) for name, x in small.items())


def test_views_of_one_storage_and_other_orders_are_read(tmp_path: Path) -> None:
    """Not hostile: slices of one array, and channels-last weights."""
    plain = weights()
    flat = torch.cat([x.flatten() for x in plain.values() if x.is_floating_point()])
    views, at = {}, 0
    for name, x in plain.items():
        if x.is_floating_point():
            views[name] = flat[at : at + x.numel()].view(x.shape)
            at += x.numel()
    views["conv_last.weight"] = plain["conv_last.weight"].to(memory_format=torch.channels_last)
    loaded = load_network(save_tensors(views, tmp_path / "w.pth")).state_dict()
    assert all(torch.equal(loaded[name], plain[name]) for name in loaded)


def test_a_dictionary_whose_attributes_hide_its_methods_is_read(tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    attributes_over_methods(path)
    assert load_network(path).config == tiny_config()
