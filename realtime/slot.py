"""How threads hand items over: `Slot` is a latest-value slot (live), `Lane` a bounded queue (file to file).

Both end in the same way. The producer closes, with its exception if it had one. The consumer takes what still waits
and then gets that exception, or `Closed`. A consumer that leaves closes too, which wakes a producer that waits.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Closed(Exception):
    """The other side has ended and nothing is left. It marks the end of a stream and is not an error."""


class Lane(Generic[T]):
    """A queue of at most `capacity` items, first in, first out. The producer waits while it is full."""

    def __init__(self, capacity: int = 1) -> None:
        self._capacity = capacity
        self._items: deque[T] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._error: BaseException | None = None

    def put(self, item: T) -> None:
        """Hand an item over, as soon as there is room; raises Closed when either side has closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or len(self._items) < self._capacity)
            if self._closed:
                raise Closed
            self._items.append(item)
            self._changed.notify_all()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait for an item and leave it there; False if none came within `timeout_s` (None: no limit).

        When the lane is closed and empty, it raises the exception that the producer closed with, or `Closed`.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._items, timeout_s)
            if self._closed and not self._items:
                raise self._error or Closed
            return bool(self._items)

    def get(self, timeout_s: float | None = None) -> T | None:
        """Take the oldest item; None if there was none within `timeout_s`. Raises as `wait`."""
        with self._changed:
            if not self.wait(timeout_s):
                return None
            item = self._items.popleft()
            self._changed.notify_all()
            return item

    def close(self, error: BaseException | None = None) -> None:
        """End the stream. Only the first call counts."""
        with self._changed:
            if not self._closed:
                self._closed = True
                self._error = error
            self._changed.notify_all()


class Slot(Lane[T]):
    """Room for one item. A newer one replaces an item that nobody has taken, so nothing ever queues up."""

    def put(self, item: T) -> None:
        """Hand an item over at once; raises as `Lane.put`."""
        with self._changed:
            if not self._closed:
                self._items.clear()
            super().put(item)


@contextmanager
def filling(lane: Lane[Any]) -> Iterator[None]:
    """The top of a producer's thread: closes the lane after the block, with the exception that ended it."""
    error: BaseException | None = None
    try:
        yield
    except Closed:
        pass
    except BaseException as ending:  # kept, and raised in the thread that reads the lane
        error = ending
    lane.close(error)
