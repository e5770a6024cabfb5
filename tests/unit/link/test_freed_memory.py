"""What a coordinator frees goes back to the system, also from below something that stays."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

PROGRAM = """
from pathlib import Path
from server.link.freed_memory import give_back_freed_memory

def held():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon:"))

{first}
pieces = [bytearray(100_000) for _ in range(1000)]
full, last = held(), pieces[-1]
del pieces
print(full - held())
"""


def freed_kb(first: str) -> int:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(first=first)], capture_output=True, text=True, check=True
    )
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library keeps memory in its own way")
def test_pieces_below_one_that_stays_go_back() -> None:
    assert freed_kb("give_back_freed_memory()") > 90_000
    assert freed_kb("") < 10_000  # what would be otherwise
