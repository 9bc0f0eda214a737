"""Those who watch a Swell through its admin address: pages open on the live data, and a scraper of `/metrics`.

They run as threads of the calling process, on its cores. Called by `observed.py` and the soak.
"""

import contextlib
import http.client
import threading
from collections.abc import Callable, Iterator

from rig.environment import RigError
from rig.servers import HOST

PAGES = 2
SCRAPE_SECONDS = 1.0
PATIENCE_SECONDS = 10


class Watchers:
    """Two pages that follow the live data, and one who scrapes. Counts what they got: nobody may be turned away."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._connections: list[http.client.HTTPConnection] = []
        self.events = [0] * PAGES
        self.scrapes = 0
        self.failure: Exception | None = None

    @contextlib.contextmanager
    def looking(self) -> Iterator[None]:
        """Let them look for as long as the context lasts."""
        pages = [threading.Thread(target=self._guarded, args=(self._page, at)) for at in range(PAGES)]
        threads = [*pages, threading.Thread(target=self._guarded, args=(self._scraper,))]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._over.set()
            for thread in threads:
                thread.join()

    def _guarded(self, act: Callable[..., None], *given: int) -> None:
        try:
            act(*given)
        except (OSError, http.client.HTTPException, RigError) as error:
            self.failure = error

    def _connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(HOST, self._port, timeout=PATIENCE_SECONDS)

    def _page(self, at: int) -> None:
        with contextlib.closing(self._connect()) as connection:
            connection.request("GET", "/api/events", headers={"Accept": "text/event-stream"})
            answer = connection.getresponse()
            if answer.status != 200:
                raise RigError(f"the live data was answered with {answer.status}")
            while not self._over.is_set():
                if answer.readline().startswith(b"data:"):
                    self.events[at] += 1

    def _scraper(self) -> None:
        with contextlib.closing(self._connect()) as connection:
            while True:
                connection.request("GET", "/metrics")
                answer = connection.getresponse()
                if answer.status != 200 or b"http_server_request_duration" not in answer.read():
                    raise RigError(f"a scrape was answered with {answer.status}")
                self.scrapes += 1
                if self._over.wait(SCRAPE_SECONDS):
                    return

    def check(self, seconds: float) -> None:
        """Raises `RigError` unless all of them saw what there was to see in `seconds`."""
        if self.failure is not None:
            raise RigError(f"who looks was turned away: {self.failure}")
        if min(*self.events, self.scrapes) < int(seconds):
            raise RigError(
                f"in {seconds:.0f} s the pages got {self.events} events, and {self.scrapes} scrapes were made"
            )
