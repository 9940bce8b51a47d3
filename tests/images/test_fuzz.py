"""A thousand damaged files of each format through the decoder: a picture or a sentence, always.

Beside them a hundredth as many, but at least a hundred, with damaged EXIF alone, which must not
cost the picture or reach a result, and of 0xFF and markers, longer and longer.

``FUZZ_CASES`` sets how many, ``FUZZ_FIRST`` from which number on; a number always stands for the
same file. A crash, a hang, another exception or too much memory is reported with its number,
and the run goes on behind it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import mutations
import pytest

CASES = int(os.environ.get("FUZZ_CASES", "1000"))
FIRST = int(os.environ.get("FUZZ_FIRST", "0"))
SECONDS, GROWTH = 10, 128
MOST_FAILURES = 20


@pytest.mark.skipif(sys.platform == "win32", reason="needs setrlimit and setitimer")
@pytest.mark.parametrize("form", (*mutations.FORMATS, *mutations.SPECIAL))
def test_every_damaged_file_is_decoded_or_refused(form: str) -> None:
    failures = []
    cases = CASES if form in mutations.FORMATS else max(100, CASES // 100)
    first, last = FIRST, FIRST + cases
    while first < last and len(failures) < MOST_FAILURES:
        reached, why = run(form, first, last)
        if why:
            failures.append(f"{form} {reached}: {why}")
        first = reached + 1
    assert not failures, "\n".join(failures)


def run(form: str, first: int, last: int) -> tuple[int, str]:
    """Decode cases until one ends the process: its number and how it ended; or the last, and ''."""
    command = [
        sys.executable,
        str(Path(__file__).parent / "decode_damaged.py"),
        form,
        str(first),
        str(last),
    ]
    done = subprocess.run(
        [*command, str(SECONDS), str(GROWTH)], capture_output=True, text=True, errors="replace"
    )
    *_, reached = done.stdout.split() or [str(first - 1)]
    if reached == "done":
        return last, ""
    if done.returncode < 0:
        return int(reached), f"ended by {signal.Signals(-done.returncode).name}"
    return int(reached), " / ".join(done.stderr.splitlines()[-3:]) or f"exit {done.returncode}"


def test_a_number_stands_for_one_file_and_numbers_for_different_ones() -> None:
    for form in (*mutations.FORMATS, *mutations.SPECIAL):
        files = mutations.seeds(form)
        cases = [mutations.case(form, number, files) for number in range(50)]
        assert cases == [mutations.case(form, number, files) for number in range(50)]
        assert len(set(cases)) > 45


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="needs setrlimit and setitimer")
@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ("os.abort()", "SIGABRT"),
        ("time.sleep(60)", "SIGALRM"),
        ("np.ones(160 << 20, np.uint8)", "grew by over"),
        ("np.ones(1 << 30, np.uint8)", "MemoryError"),
        ("1 / 0", "ZeroDivisionError"),
    ],
)
def test_faults_are_noticed(fault: str, expected: str) -> None:
    """The harness itself, with a decoder that misbehaves at its second damaged file."""
    code = f"""
import os, sys, time
sys.path.insert(0, {str(Path(__file__).parent)!r})
import decode_damaged, mutations, numpy as np
from hat_deploy.images import Picture

calls = []
def decode_bytes(data, **options):
    calls.append(data)
    if len(calls) == len(mutations.seeds("png")) + 2:
        {fault}
    return Picture(pixels=np.zeros((1, 1), np.uint8))

decode_damaged.decode_bytes = decode_bytes
decode_damaged.main("png", 0, 5, {5 if "sleep" in fault else 60}, 64 << 20)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.split()[-1] == "1"
    ending = signal.Signals(-done.returncode).name if done.returncode < 0 else done.stderr
    assert expected in ending
