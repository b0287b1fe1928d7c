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

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._items: deque[T] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._error: BaseException | None = None

    def put(self, item: T, timeout_s: float | None = None) -> bool:
        """Hand an item over; False if there was no room within `timeout_s` (None: wait until there is).

        Raises:
            Closed: either side has closed.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._closed or len(self._items) < self._capacity, timeout_s)
            if self._closed:
                raise Closed
            if len(self._items) >= self._capacity:
                return False
            self._items.append(item)
            self._changed.notify_all()
            return True

    def get(self, timeout_s: float | None = None) -> T | None:
        """Take the oldest item; None if there was none within `timeout_s` (None: wait until there is one).

        Raises:
            Closed: closed and empty.
            BaseException: the one that the producer closed with, after the items before it were taken.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._items, timeout_s)
            if self._items:
                item = self._items.popleft()
                self._changed.notify_all()
                return item
            if not self._closed:
                return None
            if self._error is not None:
                raise self._error
            raise Closed

    def close(self, error: BaseException | None = None) -> None:
        """End the stream. Only the first call counts."""
        with self._changed:
            if not self._closed:
                self._closed = True
                self._error = error
            self._changed.notify_all()


class Slot(Lane[T]):
    """Room for one item. A newer one replaces an item that nobody has taken, so nothing ever queues up."""

    def __init__(self) -> None:
        super().__init__(capacity=1)

    def put(self, item: T, timeout_s: float | None = None) -> bool:
        """Hand an item over at once; always True.

        Raises:
            Closed: either side has closed.
        """
        with self._changed:
            if self._closed:
                raise Closed
            self._items.clear()
            self._items.append(item)
            self._changed.notify_all()
            return True


@contextmanager
def filling(lane: Lane[Any]) -> Iterator[None]:
    """The top of a producer's thread: closes the lane after the block, with the exception that ended it."""
    try:
        yield
        lane.close()
    except Closed:
        lane.close()
    except BaseException as error:  # kept, and raised in the thread that reads the lane
        lane.close(error)
