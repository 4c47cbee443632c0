"""The shim that makes syncs slow (bench/slowsync.c), built with gcc."""

import subprocess
from pathlib import Path

from bench.lines import Wrong

_SOURCE = Path(__file__).with_name("slowsync.c")


class Count:
    """How many syncs a process has made: a file of 8 bytes that it keeps."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def calls(self) -> int:
        return int.from_bytes(self.path.read_bytes(), "little")


def built(work: Path) -> Path:
    made = work / "slowsync.so"
    command = ["gcc", "-O2", "-Wall", "-Werror", "-shared", "-fPIC", "-o", str(made), str(_SOURCE), "-ldl"]
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except FileNotFoundError:
        raise Wrong("gcc is not installed: apt-get install gcc libc6-dev") from None
    if done.returncode:
        raise Wrong(f"the shim does not compile: {done.stderr}")
    return made


def variables(shim: Path, microseconds: int, count: Count) -> dict[str, str]:
    return {"LD_PRELOAD": str(shim), "SLOWSYNC_US": str(microseconds), "SLOWSYNC_COUNT": str(count.path)}
