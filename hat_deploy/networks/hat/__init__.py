"""HAT, the Hybrid Attention Transformer: its shape, its network, its checkpoints.

Structure and key names follow "Activating More Pixels in Image Super-Resolution
Transformer" (CVPR 2023, arXiv 2205.04437). ``config`` needs nothing; the rest needs torch.
"""

from __future__ import annotations
