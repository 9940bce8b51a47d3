"""The release, apart from the package's own module, which is above everything else."""

from __future__ import annotations

__version__ = "0.1.0"
