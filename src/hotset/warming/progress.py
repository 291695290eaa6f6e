"""A bar for each strategy on standard error, by rich."""

from __future__ import annotations

import threading

try:
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
except ImportError as error:
    raise ImportError("a progress bar needs rich: pip install 'hotset[progress]'") from error

__all__ = ["Bar"]


class Bar:
    """Called with a strategy's name, what it has done, and how much there is to do, or None. Thread-safe."""

    def __init__(self, console: Console | None = None) -> None:
        columns = (TextColumn("{task.description:<24}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        self._progress = Progress(*columns, console=console or Console(stderr=True), transient=True)
        self._lock = threading.Lock()
        self._tasks: dict[str, TaskID] = {}
        self._progress.start()

    def __call__(self, name: str, done: int, total: int | None) -> None:
        """Show it."""
        with self._lock:
            task = self._tasks.get(name)
            if task is None:
                task = self._tasks[name] = self._progress.add_task(escape(name), total=None)
        self._progress.update(task, completed=done, total=total)

    def close(self) -> None:
        """Take the bars away. May be called twice."""
        self._progress.stop()
