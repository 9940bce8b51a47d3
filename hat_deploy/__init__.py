"""hat-deploy: HAT super-resolution from checkpoint to engine, every artifact checked.

``Upscaler`` upscales arrays and needs neither torch nor a checkpoint, only an artifact and
its engine's library. The command line, ``hat-deploy --help``, covers the rest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hat_deploy import telemetry

__version__ = "0.1.0"
__all__ = ["Upscaler", "__version__"]

if TYPE_CHECKING:
    from hat_deploy.upscaler import Upscaler


telemetry.switch_off()


def __getattr__(name: str) -> Any:
    if name == "Upscaler":
        from hat_deploy.upscaler import Upscaler

        return Upscaler
    raise AttributeError(f"module 'hat_deploy' has no attribute '{name}'")
