"""Nothing here runs without the extra ``video``."""

from __future__ import annotations

import pytest

pytest.importorskip("av")
