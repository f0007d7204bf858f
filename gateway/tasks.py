"""The one way to start a background task: a reference is kept and its error is reported."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine

_running: set[asyncio.Task[object]] = set()


def spawn(
    work: Coroutine[object, object, object],
    *,
    name: str,
    on_error: Callable[[BaseException], None] | None = None,
) -> asyncio.Task[object]:
    """Run `work` as a task that cannot be garbage-collected while it runs.

    An exception goes to `on_error`, or to the loop's exception handler; cancellation is silent.
    """
    task: asyncio.Task[object] = asyncio.create_task(work, name=name)  # noqa: TID251 - the one place
    _running.add(task)

    def done(finished: asyncio.Task[object]) -> None:
        _running.discard(finished)
        if finished.cancelled() or (error := finished.exception()) is None:
            return
        if on_error is not None:
            on_error(error)
        else:
            finished.get_loop().call_exception_handler(
                {"message": f"background task {name!r} failed", "exception": error, "task": finished}
            )

    task.add_done_callback(done)
    return task


async def cancel(task: asyncio.Task[object] | None) -> None:
    """Cancel `task` and wait until it has ended; its own error was already reported by `spawn`."""
    if task is None or task.done():
        return
    task.cancel()
    await asyncio.wait([task])
