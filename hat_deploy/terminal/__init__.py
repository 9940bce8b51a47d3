"""What reaches standard output and error: safe text, drawn displays, readers that leave."""

from __future__ import annotations
