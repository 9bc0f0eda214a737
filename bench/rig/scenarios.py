"""The scenarios: what is asked, over how many connections, and what the only good answer is.

Data only. The paths are those of `apps/bench_app.py`, `apps/bench_fastapi.py` and the nginx configuration in `servers`.
"""

from dataclasses import dataclass
from typing import Literal

Kind = Literal["http", "http2", "idle", "ws-echo", "ws-broadcast"]

BROWSER_HEADERS = (
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
    "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8",
    "Accept-Language: en-GB,en;q=0.7,de;q=0.3",
    "Accept-Encoding: gzip, deflate, br, zstd",
    "Referer: http://localhost/start?from=menu",
    "Cookie: session=0d9f6a7c1b5e4f38a2c1; theme=dark; consent=yes",
    "Upgrade-Insecure-Requests: 1",
    "Sec-Fetch-Dest: document",
    "Sec-Fetch-Mode: navigate",
    "Sec-Fetch-Site: same-origin",
    "Cache-Control: max-age=0",
    "DNT: 1",
)
FASTAPI_BODY = '{"id":7,"name":"swell","tags":["wind","water"],"price":9.5}'
IDLE_CONNECTIONS = 10_000


@dataclass(frozen=True)
class Scenario:
    """One kind of load. `load` are the load generator's options; `unit` is what is counted."""

    name: str
    title: str
    load: tuple[str, ...]
    kind: Kind = "http"
    app: str = "bench_app:app"
    connections: int = 64
    unit: str = "request"
    nginx: bool = False
    """nginx can answer this from its configuration alone."""
    syscalls_requests: int = 20_000
    """Exchanges counted while the system calls are traced."""


HELLO = ("--expect-text", "Hello, World!")

SCENARIOS = (
    Scenario("get", "GET 13 B", HELLO, nginx=True),
    Scenario(
        "get-browser",
        "GET 13 B, 12 browser headers",
        (*HELLO, *(part for line in BROWSER_HEADERS for part in ("--header", line))),
        nginx=True,
    ),
    Scenario("get-10k", "GET 10 KB", ("--path", "/10k", "--expect-fill", "10240"), nginx=True),
    Scenario("post-1k", "POST echo 1 KB", ("--path", "/echo", "--body-bytes", "1024", "--expect-fill", "1024")),
    Scenario("post-64k", "POST echo 64 KB", ("--path", "/echo", "--body-bytes", "65536", "--expect-fill", "65536")),
    Scenario("suspend", "suspends once: sleep(0)", ("--path", "/suspend", *HELLO)),
    Scenario("later", "suspends once: future, 1 ms timer", ("--path", "/later", *HELLO), connections=256),
    Scenario(
        "stream", "streaming 100 × 1 KB", ("--path", "/stream", "--expect-fill", "102400"), syscalls_requests=2000
    ),
    Scenario("pipeline", "pipelined GET, depth 16", ("--depth", "16", *HELLO), nginx=True, syscalls_requests=100_000),
    Scenario("fastapi", "FastAPI JSON", ("--path", "/items/7", "--expect-text", FASTAPI_BODY), app="bench_fastapi:app"),
    Scenario("http2", "HTTP/2 GET 13 B, 32 × 32 streams", ("-m", "32"), kind="http2", connections=32),
    Scenario("connect", "new connection per request", ("--close", *HELLO), nginx=True, syscalls_requests=5000),
    Scenario(
        "ws-echo",
        "WebSocket echo 64 B",
        ("--path", "/ws/echo", "--message-bytes", "64"),
        kind="ws-echo",
        unit="message",
    ),
    Scenario(
        "ws-broadcast",
        "WebSocket broadcast to 64",
        ("--path", "/ws/broadcast", "--message-bytes", "64"),
        kind="ws-broadcast",
        unit="delivery",
    ),
    Scenario(
        "idle",
        "10,000 idle connections",
        HELLO,
        kind="idle",
        connections=IDLE_CONNECTIONS,
        unit="connection",
        nginx=True,
    ),
)
BY_NAME = {scenario.name: scenario for scenario in SCENARIOS}
