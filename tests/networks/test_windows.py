from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.independent import make_torchvision_importable
from hat_deploy.networks import windows

SIZES = [(1, 1), (1, 3), (3, 1), (2, 2), (3, 4)]


def numbered(rows: int, columns: int) -> torch.Tensor:
    """(2, rows, columns, 1), every element another number."""
    return torch.arange(2 * rows * columns).reshape(2, rows, columns, 1).float()


def test_partition_goes_row_by_row() -> None:
    first, second = windows.partition(numbered(2, 4)[:1], 2)[..., 0].tolist()
    assert first == [0, 1, 4, 5]
    assert second == [2, 3, 6, 7]


@pytest.mark.parametrize("grid", SIZES)
@pytest.mark.parametrize("window", [1, 4, 7])
def test_merge_undoes_partition(grid: tuple[int, int], window: int) -> None:
    x = numbered(grid[0] * window, grid[1] * window)
    parts = windows.partition(x, window)
    assert torch.equal(windows.merge(parts, window, *x.shape[:3]), x)


@settings(max_examples=60, deadline=None)
@given(
    window=st.integers(1, 8),
    border=st.integers(0, 12),
    rows=st.integers(1, 3),
    columns=st.integers(1, 3),
)
def test_overlapping_windows_are_unfold(window: int, border: int, rows: int, columns: int) -> None:
    overlap = window + 2 * border
    x = numbered(rows * window, columns * window).expand(-1, -1, -1, 2) + torch.tensor([0.0, 0.5])
    unfolded = torch.nn.functional.unfold(
        x.permute(0, 3, 1, 2), overlap, stride=window, padding=border
    )
    expected = unfolded.unflatten(1, (2, overlap * overlap)).permute(0, 3, 2, 1).flatten(0, 1)
    assert torch.equal(windows.overlapping(x, window, overlap), expected)


@pytest.mark.parametrize("grid", SIZES)
@pytest.mark.parametrize(("window", "shift"), [(4, 2), (7, 3), (2, 1)])
def test_shifted_regions_are_a_roll(grid: tuple[int, int], window: int, shift: int) -> None:
    x = numbered(grid[0] * window, grid[1] * window)
    rolled = torch.roll(x, (-shift, -shift), (1, 2))
    row, column = x.shape[1] - window, x.shape[2] - window
    regions = windows.shifted_regions(x, window, shift)
    for region in regions:
        rows = slice(row, None) if region.bottom else slice(0, row)
        columns = slice(column, None) if region.right else slice(0, column)
        assert torch.equal(region.x, rolled[:, rows, columns])
    assert sum(region.x.numel() for region in regions) == x.numel()
    assert torch.equal(windows.unshift(regions, window, shift), x)


@pytest.mark.parametrize(("window", "shift"), [(4, 2), (7, 3)])
def test_edge_masks_separate_opposite_borders(window: int, shift: int) -> None:
    """Two pixels of a shifted window see each other where they were neighbours before."""
    for bottom, right in [(False, True), (True, False), (True, True)]:
        mask = windows.edge_mask(window, shift, bottom=bottom, right=right)
        for query in range(window**2):
            for key in range(window**2):
                (qy, qx), (ky, kx) = divmod(query, window), divmod(key, window)
                wrapped = window - shift
                apart = (bottom and (qy < wrapped) != (ky < wrapped)) or (
                    right and (qx < wrapped) != (kx < wrapped)
                )
                assert mask[query, key] == (windows.MASKED if apart else 0.0)


def test_position_index_of_a_window_of_two() -> None:
    assert windows.relative_position_index(2).tolist() == [
        [4, 3, 1, 0],
        [5, 4, 2, 1],
        [7, 6, 4, 3],
        [8, 7, 5, 4],
    ]


@pytest.mark.parametrize(("window", "overlap"), [(2, 4), (4, 6), (7, 9), (4, 4), (3, 9)])
def test_overlapping_index_depends_on_the_offset_alone(window: int, overlap: int) -> None:
    index = windows.overlapping_position_index(window, overlap)
    rows = {}
    for query in range(window**2):
        for key in range(overlap**2):
            (qy, qx), (ky, kx) = divmod(query, window), divmod(key, overlap)
            rows.setdefault((ky - qy, kx - qx), set()).add(int(index[query, key]))
    used = [row for found in rows.values() for row in found]
    assert all(len(found) == 1 for found in rows.values())
    assert sorted(used) == list(range((window + overlap - 1) ** 2))


def test_the_authors_offset_reads_the_same_rows() -> None:
    table = torch.randn((16 + 24 - 1) ** 2)
    offset = windows.overlapping_position_offset(16, 24)
    assert offset.min() == -22 * 40
    assert offset.max() == 16 * 40
    assert torch.equal(table[offset], table[windows.overlapping_position_index(16, 24)])


@pytest.mark.parametrize("window", [2, 5, 7, 8, 12, 16])
@pytest.mark.parametrize("ratio", [0.0, 0.25, 0.5, 1.0, 2.5])
def test_indices_are_those_of_another_implementation(window: int, ratio: float) -> None:
    make_torchvision_importable()
    from spandrel.architectures.HAT.__arch.HAT import HAT

    shape = SimpleNamespace(window_size=window, overlap_ratio=ratio)
    overlap = window + int(window * ratio)
    theirs = HAT.calculate_rpi_sa(shape), HAT.calculate_rpi_oca(shape)
    ours = (
        windows.relative_position_index(window),
        windows.overlapping_position_offset(window, overlap),
    )
    for mine, other in zip(ours, theirs, strict=True):
        assert mine.dtype == other.dtype
        assert mine.is_contiguous()
        assert torch.equal(mine, other)
    wrapped = windows.overlapping_position_index(window, overlap)
    rows = torch.arange((window + overlap - 1) ** 2)
    assert torch.equal(rows[wrapped], rows[theirs[1]])
