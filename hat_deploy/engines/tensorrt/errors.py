"""What TensorRT says went wrong: texts from its log and its recorder, which also has codes."""

from __future__ import annotations

from typing import Any

from hat_deploy.engines.cuda.base import DeviceError


class TensorRTError(DeviceError):
    """TensorRT refused; its own reasons are part of the message."""

    def __init__(self, message: str, *, out_of_memory: bool) -> None:
        super().__init__(message)
        self.out_of_memory = out_of_memory


class Reports:
    """Collects errors until they are asked for; one for each library in a process.

    TensorRT goes on with the first log it is given, and complains of another.

    Args:
        trt: the library's module.
    """

    def __init__(self, trt: Any) -> None:
        self._no_memory = trt.ErrorCodeTRT.FAILED_ALLOCATION
        self._logged: list[str] = []
        self._recorded: list[tuple[Any, str]] = []
        self.log = error_log(trt, self._logged)
        """To be given to a ``Runtime``."""
        self.recorder = _recorder(trt, self._recorded)
        """To be set as its ``error_recorder``: errors then come with codes."""

    def clear(self) -> None:
        """Forget what was said before."""
        self._logged.clear()
        self._recorded.clear()

    def error(self, what: str) -> TensorRTError:
        """What was not done, and the reasons given since, in one sentence."""
        texts = [text for _, text in self._recorded] + self._logged
        codes = [code for code, _ in self._recorded]
        return TensorRTError(f"{what}: {reasons(texts)}", out_of_memory=self._no_memory in codes)


def reasons(texts: list[str]) -> str:
    """Errors in one sentence; the first is the cause, the last the context."""
    return "; ".join(dict.fromkeys(" ".join(t.split()) for t in texts)) or "it gives no reason"


def error_log(trt: Any, found: list[str]) -> Any:
    """A log for TensorRT that keeps what it reports as an error.

    Args:
        trt: the library's module.
        found: where the texts go.
    """

    class Log(trt.ILogger):  # type: ignore[misc]
        """Keeps what is logged as an error."""

        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: Any, message: str) -> None:
            if severity in (self.INTERNAL_ERROR, self.ERROR):
                found.append(message)

    return Log()


def _recorder(trt: Any, found: list[tuple[Any, str]]) -> Any:
    class Recorder(trt.IErrorRecorder):  # type: ignore[misc]
        """Where one is set, most errors come here and not to the log."""

        def __init__(self) -> None:
            trt.IErrorRecorder.__init__(self)

        def report_error(self, code: Any, text: str) -> bool:
            found.append((code, text))
            return False

        def has_overflowed(self) -> bool:
            return False

        def num_errors(self) -> int:
            return len(found)

        def get_num_errors(self) -> int:  # what TensorRT itself calls; the bindings say the other
            return len(found)

        def get_error_code(self, index: int) -> Any:
            return found[index][0]

        def get_error_desc(self, index: int) -> str:
            return found[index][1]

        def clear(self) -> None:
            found.clear()

    return Recorder()
