"""SwinIR: a HAT's windows without its CAB and OCAB, and five ways to reconstruct an image.

Structure and key names follow "SwinIR: Image Restoration Using Swin Transformer" (ICCV workshops
2021, arXiv 2108.10257). ``config`` needs nothing; the rest needs torch.
"""

from __future__ import annotations
