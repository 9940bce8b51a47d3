"""Windows of a feature map: partition, shift, overlap, masks and position indices.

Feature maps are NHWC, (batch, height, width, channels), height and width multiples of the
window. Windows are (batch * windows, tokens, channels), tokens row by row.

Everything is slices, concatenations and transposes of static shape: ``roll``, ``unfold`` and
masks of the whole image are what exporters and engines stumble over.
"""

from __future__ import annotations

from dataclasses import dataclass

from hat_deploy.errors import needed_for

with needed_for("Running a network in PyTorch"):
    import torch
    from torch import Tensor

MASKED = -100.0
"""What the authors add to the attention between two regions that a shift brought together."""


def partition(x: Tensor, window: int) -> Tensor:
    """(B, H, W, C) to (B * windows, window * window, C)."""
    b, h, w, c = x.shape
    x = x.reshape(b, h // window, window, w // window, window, c)
    return x.transpose(2, 3).reshape(-1, window * window, c)


def merge(windows: Tensor, window: int, batch: int, height: int, width: int) -> Tensor:
    """The inverse of :func:`partition`, to (batch, height, width, C); there may be no windows."""
    c = windows.shape[-1]
    x = windows.reshape(batch, height // window, width // window, window, window, c)
    return x.transpose(2, 3).reshape(batch, height, width, c)


def overlapping(x: Tensor, window: int, overlap: int) -> Tensor:
    """Windows of side ``overlap`` at a stride of ``window``, zeros outside the map.

    Returns:
        (B * windows, overlap * overlap, C), windows in the order of :func:`partition`.
    """
    _, h, w, c = x.shape
    border = (overlap - window) // 2
    chunks = -(-overlap // window)
    after = (chunks - 1) * window - border
    x = torch.nn.functional.pad(x, (0, 0, border, after, border, after))

    def stack(x: Tensor, axis: int, length: int) -> Tensor:
        """Split ``axis`` into (windows, overlap): each window is a run of whole chunks."""
        count = length // window
        pieces = []
        for chunk in range(chunks):
            piece = x.narrow(axis, chunk * window, length).unflatten(axis, (count, window))
            size = min(window, overlap - chunk * window)
            pieces.append(piece if size == window else piece.narrow(axis + 1, 0, size))
        return torch.cat(pieces, axis + 1)

    x = stack(x, 1, h)
    x = stack(x, 3, w)
    return x.transpose(2, 3).reshape(-1, overlap * overlap, c)


def rolled(x: Tensor, shift: int) -> Tensor:
    """(B, H, W, C), moved down and right by ``shift`` pixels, cyclically; up and left where < 0."""
    for axis in (1, 2) if shift else ():
        cut = -shift % x.shape[axis]
        x = torch.cat([x.narrow(axis, cut, x.shape[axis] - cut), x.narrow(axis, 0, cut)], axis)
    return x


def spread(kinds: Tensor, batch: int, rows: int, columns: int) -> Tensor:
    """What belongs to each kind of window of a shifted map, for every window.

    Args:
        kinds: (2, 2, tokens, C): whether at the bottom, whether at the right.
        rows, columns: how many windows there are.

    Returns:
        (batch * rows * columns, tokens, C), windows in the order of :func:`partition`.
    """
    x = kinds
    for axis, count in ((0, rows), (1, columns)):
        sizes = [count - 1 if axis == each else -1 for each in range(4)]
        last = x.narrow(axis, 1, 1)
        x = torch.cat([x.narrow(axis, 0, 1).expand(sizes), last], axis) if count > 1 else last
    return x.expand(batch, *x.shape).flatten(0, 2)


@dataclass(frozen=True)
class Region:
    """The windows of a shifted map that share one mask: interior, right, bottom or corner."""

    x: Tensor
    """(B, height, width, C), a whole number of windows."""
    bottom: bool
    right: bool


def shifted_regions(x: Tensor, window: int, shift: int) -> list[Region]:
    """A cyclically shifted map, cut into its (at most four) kinds of window.

    Only windows of the last row and the last column hold pixels of opposite borders, so a
    mask for each window of the image is never needed: four patterns are all there are.
    Empty regions are left out.
    """
    regions = []
    for bottom, rows in enumerate(_split(x, 1, window, shift)):
        for right, part in enumerate(_split(rows, 2, window, shift)):
            if part.shape[1] and part.shape[2]:
                regions.append(Region(part, bool(bottom), bool(right)))
    return regions


def unshift(regions: list[Region], window: int, shift: int) -> Tensor:
    """The inverse of :func:`shifted_regions`."""
    rows: dict[bool, Tensor] = {}
    for bottom in (False, True):
        parts = {region.right: region.x for region in regions if region.bottom == bottom}
        if parts:
            rows[bottom] = _join(parts, 2, window, shift)
    return _join(rows, 1, window, shift)


def _split(x: Tensor, axis: int, window: int, shift: int) -> tuple[Tensor, Tensor]:
    """Interior and wrapped window of one axis of the shifted map."""
    length = x.shape[axis]
    wrapped = length - window + shift
    interior = x.narrow(axis, shift, length - window)
    edge = torch.cat([x.narrow(axis, wrapped, window - shift), x.narrow(axis, 0, shift)], axis)
    return interior, edge


def _join(parts: dict[bool, Tensor], axis: int, window: int, shift: int) -> Tensor:
    edge = parts[True]
    pieces = [edge.narrow(axis, window - shift, shift), edge.narrow(axis, 0, window - shift)]
    if False in parts:
        pieces.insert(1, parts[False])
    return torch.cat(pieces, axis)


def edge_mask(window: int, shift: int, *, bottom: bool, right: bool) -> Tensor:
    """The mask of an edge window of the shifted map, (window**2, window**2), 0 or ``MASKED``."""
    line = torch.arange(window) >= window - shift
    nothing = torch.zeros(window, dtype=torch.bool)
    rows = (line if bottom else nothing)[:, None].expand(window, window)
    columns = (line if right else nothing)[None, :].expand(window, window)
    region = (2 * rows.long() + columns.long()).flatten()
    return torch.where(region[:, None] == region[None, :], 0.0, MASKED)


def shifted_masks(window: int, shift: int, across: int) -> Tensor:
    """The masks of all windows of a shifted map, (across**2, window**2, window**2), row by row.

    Args:
        across: windows in a row and in a column of the map.
    """
    last = across - 1
    masks = [
        edge_mask(window, shift, bottom=row == last, right=column == last)
        for row in range(across)
        for column in range(across)
    ]
    return torch.stack(masks)


def relative_position_index(window: int) -> Tensor:
    """Rows of W-MSA's bias table for each (query, key), (window**2, window**2)."""
    position = torch.arange(window)
    return _pairs(position[:, None] - position + window - 1, 2 * window - 1)


def overlapping_position_index(window: int, overlap: int) -> Tensor:
    """Rows of OCAB's bias table for each (query, key), (window**2, overlap**2).

    The authors' offset runs below zero and indexes the table from its end; the modulo keeps
    exactly that meaning.
    """
    return overlapping_position_offset(window, overlap) % (window + overlap - 1) ** 2


def overlapping_position_offset(window: int, overlap: int) -> Tensor:
    """The same as the authors' files store it, (window**2, overlap**2), negative in part."""
    offset = torch.arange(overlap) - torch.arange(window)[:, None] + window - overlap + 1
    return _pairs(offset, window + overlap - 1)


def _pairs(offset: Tensor, side: int) -> Tensor:
    """Offsets along one axis, (queries, keys), as rows of a table of ``side`` x ``side``.

    Both axes have the same offsets. Nothing is stored but the result: (queries**2, keys**2).
    """
    queries, keys = offset.shape
    both = (offset * side)[:, None, :, None] + offset[None, :, None, :]
    return both.reshape(queries**2, keys**2)
