# SPDX-License-Identifier: GPL-3.0-or-later
"""The order in which the server works: exact requests first and all of them, live requests latest-wins."""

import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

T = TypeVar("T")


class RequestQueue(Generic[T]):
    """Requests that wait for the one worker. Thread-safe.

    An exact request goes before every live one: a render or a bake waits for it, while a viewport can wait.

    Args:
        ready: whether a request can be worked on now; the others wait, and `reconsider` asks again.
    """

    def __init__(self, ready: Callable[[T], bool]) -> None:
        self._ready = ready
        self._changed = threading.Condition()
        self._exact: deque[T] = deque()
        self._live: OrderedDict[Hashable, T] = OrderedDict()

    def put(self, request: T) -> None:
        """Add a request that is never dropped; these come out in the order they went in."""
        with self._changed:
            self._exact.append(request)
            self._changed.notify()

    def put_live(self, key: Hashable, request: T) -> None:
        """Add a live request in the place of the one that waits under the same key, if any."""
        with self._changed:
            # A replaced request keeps its turn, so that a busy character cannot push another one back.
            self._live[key] = request
            self._changed.notify()

    def take(self) -> T:
        """Wait for the next request that is ready, and return it."""
        with self._changed:
            while True:
                for request in self._exact:
                    if self._ready(request):
                        self._exact.remove(request)
                        return request
                for key, request in self._live.items():
                    if self._ready(request):
                        return self._live.pop(key)
                self._changed.wait()

    def reconsider(self) -> None:
        """Ask again which requests are ready."""
        with self._changed:
            self._changed.notify()

    def discard(self, unwanted: Callable[[T], bool]) -> None:
        """Drop the requests for which `unwanted` is true: nobody waits for them any more."""
        with self._changed:
            self._exact = deque(request for request in self._exact if not unwanted(request))
            for key in [key for key, request in self._live.items() if unwanted(request)]:
                del self._live[key]
