"""What a picture in memory may be."""

from __future__ import annotations

import numpy as np
import pytest
from picture_files import RGB

from hat_deploy.images import Metadata, Picture, Pixels


@pytest.mark.parametrize(
    "pixels",
    [np.zeros((2, 2), np.float32), np.zeros((2, 2, 2), np.uint8), np.zeros((0, 2), np.uint8)],
    ids=lambda pixels: f"{pixels.dtype}{pixels.shape}",
)
def test_only_pictures_are_pictures(pixels: Pixels) -> None:
    with pytest.raises(ValueError, match="an image must be"):
        Picture(pixels=pixels)


def test_metadata_defaults_to_none() -> None:
    assert Picture(pixels=RGB).metadata == Metadata(icc=None, exif=None, xmp=None)
