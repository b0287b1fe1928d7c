"""How threads hand items over: `Slot` keeps the newest only (live), `Lane` keeps all in order (file to file).

Both are bounded, both end in the same way: the producer closes, with its exception where it had one; the
consumer gets what was still waiting, then that exception, or `Closed`. No wait is longer than the caller's
timeout.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")


class Closed(Exception):
    """The other side has ended and nothing is left. Not an error: the end of a stream."""


class Lane(Generic[T]):
    """A first-in, first-out hand-over of at most `capacity` items; a full one makes the producer wait."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._items: deque[T] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._error: BaseException | None = None

    def put(self, item: T, timeout_s: float) -> bool:
        """Hand `item` over; False when it was still full after `timeout_s`.

        Raises:
            Closed: the lane was closed, by either side.
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

    def get(self, timeout_s: float) -> T | None:
        """The oldest item, or None when there was none within `timeout_s`.

        Raises:
            Closed: closed and empty.
            BaseException: the one the producer closed with, once the items before it have been taken.
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
        """End the stream. The first call counts; later ones change nothing."""
        with self._changed:
            if not self._closed:
                self._closed = True
                self._error = error
            self._changed.notify_all()


class Slot(Lane[T]):
    """Room for one item: a newer one replaces what nobody has taken yet, so nothing ever queues up."""

    def __init__(self) -> None:
        super().__init__(capacity=1)

    def put(self, item: T, timeout_s: float = 0.0) -> bool:
        """Hand `item` over at once, in the place of one that nobody has taken; always True.

        Raises:
            Closed: the slot was closed, by either side.
        """
        with self._changed:
            if self._closed:
                raise Closed
            self._items.clear()
            self._items.append(item)
            self._changed.notify_all()
            return True
