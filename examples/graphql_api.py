"""A GraphQL API with a subscription: wave heights reported by buoys, on Strawberry.

    pip install strawberry-graphql && swell --limit-body-size 64k examples.graphql_api:app

GraphiQL, the query editor, is at http://127.0.0.1:8000/ (the editor itself is loaded from a public CDN). In one tab:

    subscription { reports(buoy: "Helgoland") { buoy height at } }

and in another:

    mutation { report(buoy: "Helgoland", height: 2.4) { at } }

Subscriptions speak the graphql-transport-ws protocol. Number of buoys, history, subscribers, waiting reports and the
depth and size of a query are all bounded.
"""

import asyncio
import math
from collections import deque
from collections.abc import AsyncGenerator
from datetime import UTC, datetime

import strawberry
from strawberry.asgi import GraphQL
from strawberry.extensions import MaxAliasesLimiter, MaxTokensLimiter, QueryDepthLimiter
from strawberry.subscriptions import GRAPHQL_TRANSPORT_WS_PROTOCOL

MAX_BUOYS = 100
MAX_NAME = 40  # characters
MAX_HEIGHT = 40.0  # metres; the highest wave ever measured by a buoy stayed far below
HISTORY = 50  # reports kept per buoy
MAX_SUBSCRIBERS = 500
MAX_WAITING = 32  # reports waiting for one slow subscriber; the oldest gives way


@strawberry.type
class Report:
    """One measurement."""

    buoy: str
    height: float  # significant wave height in metres
    at: datetime


class Sea:
    """The state of the sea, in memory. Knows nothing of GraphQL's execution."""

    def __init__(self) -> None:
        self.reports: dict[str, deque[Report]] = {}
        self.listeners: set[asyncio.Queue[Report]] = set()

    def add(self, report: Report) -> None:
        if report.buoy not in self.reports and len(self.reports) >= MAX_BUOYS:
            raise ValueError(f"there are {MAX_BUOYS} buoys already")
        self.reports.setdefault(report.buoy, deque(maxlen=HISTORY)).append(report)
        for listener in self.listeners:
            if listener.full():
                listener.get_nowait()
            listener.put_nowait(report)

    async def listen(self) -> AsyncGenerator[Report, None]:
        if len(self.listeners) >= MAX_SUBSCRIBERS:
            raise ValueError(f"there are {MAX_SUBSCRIBERS} subscribers already")
        queue: asyncio.Queue[Report] = asyncio.Queue(MAX_WAITING)
        self.listeners.add(queue)
        try:
            while True:
                yield await queue.get()
        finally:
            self.listeners.discard(queue)


sea = Sea()


@strawberry.type
class Query:
    """What can be asked."""

    @strawberry.field
    def buoys(self) -> list[str]:
        """The names of all buoys that ever reported."""
        return sorted(sea.reports)

    @strawberry.field
    def history(self, buoy: str, limit: int = 10) -> list[Report]:
        """A buoy's last reports, newest first."""
        newest_first = reversed(sea.reports.get(buoy, ()))
        return list(newest_first)[: max(0, min(limit, HISTORY))]

    @strawberry.field
    def subscribers(self) -> int:
        """How many subscriptions are open."""
        return len(sea.listeners)


@strawberry.type
class Mutation:
    """What can be changed."""

    @strawberry.mutation
    def report(self, buoy: str, height: float) -> Report:
        if not 0 < len(buoy.strip()) <= MAX_NAME:
            raise ValueError(f"a buoy's name has 1 to {MAX_NAME} characters")
        if not (math.isfinite(height) and 0 <= height <= MAX_HEIGHT):
            raise ValueError(f"a height lies between 0 and {MAX_HEIGHT:g} m")
        made = Report(buoy=buoy.strip(), height=height, at=datetime.now(UTC))
        sea.add(made)
        return made


@strawberry.type
class Subscription:
    """What can be listened to."""

    @strawberry.subscription
    async def reports(self, buoy: str | None = None) -> AsyncGenerator[Report, None]:
        """Reports as they come in, of one buoy or of all."""
        async for report in sea.listen():
            if buoy is None or report.buoy == buoy:
                yield report


schema = strawberry.Schema(
    query=Query,
    mutation=Mutation,
    subscription=Subscription,
    extensions=[
        lambda: QueryDepthLimiter(max_depth=15),  # GraphiQL's own introspection needs 13
        lambda: MaxTokensLimiter(max_token_count=1000),
        lambda: MaxAliasesLimiter(max_alias_count=15),
    ],
)
app = GraphQL[None, None](schema, subscription_protocols=[GRAPHQL_TRANSPORT_WS_PROTOCOL])
