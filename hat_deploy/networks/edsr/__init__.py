"""EDSR: residual blocks of two convolutions, and pixel shuffles.

Structure and key names follow "Enhanced Deep Residual Networks for Single Image Super-Resolution"
(CVPR workshops 2017, arXiv 1707.02921) and its authors' edsr-PyTorch. ``config`` needs nothing;
the rest needs torch.
"""

from __future__ import annotations
