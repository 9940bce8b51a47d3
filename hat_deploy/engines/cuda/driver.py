"""What the NVIDIA driver says, asked without any library."""

from __future__ import annotations

import ctypes
import sys


def local_gpu() -> str | None:
    """The first GPU the driver sees, as ``sm89``; None without one. Needs no CUDA toolkit."""
    driver = _driver()
    if driver is None:
        return None
    device, major, minor = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
    # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR of the driver API
    found = (
        driver.cuDeviceGet(ctypes.byref(device), 0) == 0
        and driver.cuDeviceGetAttribute(ctypes.byref(major), 75, device) == 0
        and driver.cuDeviceGetAttribute(ctypes.byref(minor), 76, device) == 0
    )
    return f"sm{major.value}{minor.value}" if found else None


def local_gpu_name() -> str | None:
    """What the driver calls that GPU, such as ``NVIDIA L4``."""
    driver = _driver()
    if driver is None:
        return None
    device, name = ctypes.c_int(), ctypes.create_string_buffer(256)
    found = (
        driver.cuDeviceGet(ctypes.byref(device), 0) == 0
        and driver.cuDeviceGetName(name, len(name), device) == 0
    )
    return name.value.decode("utf-8", "replace") if found else None


def _driver() -> ctypes.CDLL | None:
    """The driver's library, ready to be asked; None where it is absent or has no device."""
    try:
        driver = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return None
    return driver if driver.cuInit(0) == 0 else None
