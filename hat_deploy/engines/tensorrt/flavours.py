"""TensorRT's two flavours, and everything that depends on which one it is. Loads neither."""

from __future__ import annotations

from contextlib import suppress
from enum import Enum
from importlib.metadata import PackageNotFoundError, version

from hat_deploy.engines.cuda.driver import format_cuda
from hat_deploy.errors import EXTRAS, HatDeployError, first_installed, installed


class Flavour(str, Enum):  # noqa: UP042 - StrEnum is newer than Python 3.10
    """One flavour; as text it is its name, in descriptions and on the command line."""

    TENSORRT = (
        "tensorrt",
        "TensorRT",
        ("tensorrt",),
        (),
        "which tries kernels on the GPU: for a full HAT some minutes",
    )
    RTX = (
        "rtx",
        "TensorRT for RTX",
        ("tensorrt_rtx", "tensorrt_rtx_bindings"),
        ("sm75", "sm80", "sm86", "sm89", "sm120", "sm121"),
        "for a full HAT about a minute",
    )

    label: str
    """What people call it."""
    modules: tuple[str, ...]
    """The names that its library may be imported by."""
    targets: tuple[str, ...]
    """GPU generations it builds for, whether or not one is present; empty: the one that is."""
    duration: str
    """How long a build takes, for people."""

    def __new__(
        cls,
        name: str,
        label: str,
        modules: tuple[str, ...],
        targets: tuple[str, ...],
        duration: str,
    ) -> Flavour:
        """A member, whose value is its name alone."""
        member = str.__new__(cls, name)
        member._value_ = name
        member.label = label
        member.modules = modules
        member.targets = targets
        member.duration = duration
        return member

    __str__ = str.__str__
    __format__ = str.__format__  # type: ignore[assignment]

    @classmethod
    def of(cls, name: str) -> Flavour:
        """The flavour of that name.

        Raises:
            ValueError: there is none.
        """
        for flavour in cls:
            if flavour == name:
                return flavour
        raise ValueError(f"flavour {name}: use one of {', '.join(cls)}")

    @property
    def extra(self) -> str:
        """The package's extra that installs it."""
        return EXTRAS[self.modules[0]]

    @property
    def installed(self) -> bool:
        """Whether its library is there; it is not loaded."""
        return any(map(installed, self.modules))

    def module(self, purpose: str) -> str:
        """The name that its library is installed under.

        Args:
            purpose: starts the sentence that says what is missing.

        Raises:
            MissingExtraError: it is not installed.
        """
        return first_installed(*self.modules, title=self.label, purpose=purpose)

    @property
    def least_driver(self) -> int:
        """The CUDA that the driver must take for the library that is installed, as 13000.

        Its wheels name the release of CUDA they are built for; without wheels the oldest is
        taken, which TensorRT 8.6 is built for.
        """
        base = self.modules[0].replace("_", "-")
        for major in (13, 12):
            for name in (f"{base}-cu{major}", f"{base}-cu{major}-libs"):
                with suppress(PackageNotFoundError):
                    version(name)
                    return major * 1000
        return 11000

    def require_driver(self, found: int | None) -> None:
        """Refuse a driver that is too old, for which the library crashes the process.

        Args:
            found: the newest CUDA that the driver takes; None where that is not known.

        Raises:
            HatDeployError: it is too old.
        """
        if found is not None and found < self.least_driver:
            raise HatDeployError(
                f"{self.label} needs a driver for CUDA {format_cuda(self.least_driver)}, and this "
                f"machine's takes up to CUDA {format_cuda(found)}: update the NVIDIA driver"
            )

    def builds_for(self, gpu: str) -> bool:
        """Whether it builds for a GPU that is in this machine, such as ``sm89``."""
        return not self.targets or gpu in self.targets
