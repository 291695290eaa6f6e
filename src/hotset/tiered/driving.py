"""The two loops that drive a flow: by blocking, and on an event loop. A class takes them as its methods.

To block is what most reads that miss do, several times: that loop is in C.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from hotset._wire import drive

if TYPE_CHECKING:
    from collections.abc import Generator

__all__ = ["adrive", "drive"]

_T = TypeVar("_T")


async def adrive(self: Any, flow: Generator[Any, Any, _T]) -> _T:
    """Drive a flow to its end on the running loop, and return what it returns. Its effects are given `self`."""
    try:
        effect = flow.send(None)
        while True:
            try:
                result = await effect.wait(self)
            except BaseException as error:  # noqa: BLE001 - the flow decides
                effect = flow.throw(error)
            else:
                effect = flow.send(result)
    except StopIteration as stop:
        return stop.value  # type: ignore[no-any-return]
    finally:
        flow.close()
