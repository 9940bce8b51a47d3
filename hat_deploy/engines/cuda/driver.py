"""What the NVIDIA driver says, asked without any library."""

from __future__ import annotations

import ctypes
import sys


def count() -> int:
    """GPUs that this process sees."""
    driver = _driver()
    found = ctypes.c_int()
    if driver is None or driver.cuDeviceGetCount(ctypes.byref(found)) != 0:
        return 0
    return found.value


def local_gpu(number: int = 0) -> str | None:
    """A GPU the driver sees, by default the first, as ``sm89``; None without it. Needs no CUDA
    toolkit."""
    driver = _driver()
    if driver is None:
        return None
    device, major, minor = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
    # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR of the driver API
    found = (
        driver.cuDeviceGet(ctypes.byref(device), number) == 0
        and driver.cuDeviceGetAttribute(ctypes.byref(major), 75, device) == 0
        and driver.cuDeviceGetAttribute(ctypes.byref(minor), 76, device) == 0
    )
    return f"sm{major.value}{minor.value}" if found else None


def local_gpu_name(number: int = 0) -> str | None:
    """What the driver calls that GPU, such as ``NVIDIA L4``."""
    driver = _driver()
    if driver is None:
        return None
    device, name = ctypes.c_int(), ctypes.create_string_buffer(256)
    found = (
        driver.cuDeviceGet(ctypes.byref(device), number) == 0
        and driver.cuDeviceGetName(name, len(name), device) == 0
    )
    return name.value.decode("utf-8", "replace") if found else None


def local_gpu_address(number: int = 0) -> str | None:
    """Where that GPU sits, such as ``00000000:65:00.0``; ``nvidia-smi`` numbers GPUs otherwise than
    CUDA, and knows them by this."""
    driver = _driver()
    if driver is None:
        return None
    device, address = ctypes.c_int(), ctypes.create_string_buffer(32)
    found = (
        driver.cuDeviceGet(ctypes.byref(device), number) == 0
        and driver.cuDeviceGetPCIBusId(address, len(address), device) == 0
    )
    return address.value.decode("ascii", "replace") if found else None


def in_use() -> bool:
    """Whether this process has used CUDA already, and so has chosen the GPUs that it sees."""
    driver = _library()
    # Unlike other calls it does not start CUDA: it fails where nothing has.
    return driver is not None and driver.cuDeviceGetCount(ctypes.byref(ctypes.c_int())) == 0


def driver_version() -> str | None:
    """The driver's release, such as ``570.86.15``, from the library that comes with it."""
    try:
        nvml = ctypes.CDLL("nvml.dll" if sys.platform == "win32" else "libnvidia-ml.so.1")
    except OSError:
        return None
    text = ctypes.create_string_buffer(96)
    if nvml.nvmlInit_v2() != 0:
        return None
    try:
        found = nvml.nvmlSystemGetDriverVersion(text, len(text)) == 0
    finally:
        nvml.nvmlShutdown()
    return text.value.decode("ascii", "replace") if found else None


def cuda_version() -> int | None:
    """The newest CUDA that the driver takes, 13000 for 13.0; None without a driver."""
    driver = _library()
    number = ctypes.c_int()
    if driver is None or driver.cuDriverGetVersion(ctypes.byref(number)) != 0:
        return None
    return number.value


def format_cuda(number: int) -> str:
    """CUDA's number of a version, 12080, for people: 12.8."""
    return f"{number // 1000}.{number % 1000 // 10}"


def _driver() -> ctypes.CDLL | None:
    """The driver's library, ready to be asked; None where it is absent or has no device."""
    driver = _library()
    return driver if driver is not None and driver.cuInit(0) == 0 else None


def _library() -> ctypes.CDLL | None:
    try:
        return ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return None
