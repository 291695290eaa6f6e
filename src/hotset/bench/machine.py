"""The machine and the versions behind a figure, and the one core that a measurement is held to."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import platform
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING

import hotset

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            name, _, value = line.partition(":")
            if name.strip() in {"model name", "Model"}:
                return value.strip()
    if sys.platform == "darwin":
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            command = ["/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string"]
            return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()  # noqa: S603
    return platform.processor() or "unknown"


def machine() -> dict[str, str]:
    """Return processor, cores, operating system and interpreter."""
    gil = ""
    if sysconfig.get_config_var("Py_GIL_DISABLED"):
        # A rival that does not declare itself safe turns the GIL back on for the whole process.
        enabled = getattr(sys, "_is_gil_enabled", lambda: False)()
        gil = ", free-threaded" + (" with the GIL turned on by a rival" if enabled else "")
    return {
        "processor": _processor(),
        "architecture": platform.machine(),
        "cores": str(os.cpu_count() or 1),
        "system": platform.platform(terse=True),
        "python": f"{platform.python_implementation()} {platform.python_version()}{gil}",
    }


def versions(distributions: Iterable[str]) -> dict[str, str]:
    """Return the version of hotset and of each installed distribution."""
    found = {"hotset": hotset.__version__}
    for name in sorted(set(distributions) - {"", "hotset"}):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


@contextlib.contextmanager
def pinned() -> Iterator[int | None]:
    """Hold the process to one core where the system can do that; yield the core, or None.

    The core with the highest number is taken: interrupts tend to land on the first.
    """
    if not hasattr(os, "sched_setaffinity"):
        yield None
        return
    before = os.sched_getaffinity(0)
    core = max(before)
    try:
        os.sched_setaffinity(0, {core})
    except OSError:
        yield None
        return
    try:
        yield core
    finally:
        os.sched_setaffinity(0, before)
