"""Plain ASGI that leans on tasks, cancel scopes and time-outs, each in the very first step of the request's task.

A server that steps coroutines without a real task, or that swallows cancellation in its awaitables, fails here.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import anyio
import anyio.lowlevel
import anyio.to_thread
import sniffio

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Handler = Callable[[Message, Receive, Send], Awaitable[Any]]

cancelled = asyncio.Event()


async def current_task(scope: Message, receive: Receive, send: Send) -> Any:
    task = asyncio.current_task()
    assert task is not None
    before = task.get_name()
    await asyncio.sleep(0)
    return {
        "is_task": isinstance(task, asyncio.Task),
        "listed": task in asyncio.all_tasks(),
        "same": asyncio.current_task() is task and before == task.get_name(),
        "library": sniffio.current_async_library(),
        "anyio_task": anyio.get_current_task().id == id(task),
    }


async def timeout(scope: Message, receive: Receive, send: Send) -> Any:
    try:
        async with asyncio.timeout(0.01):
            await asyncio.Event().wait()
    except TimeoutError:
        task = asyncio.current_task()
        return {"timed_out": True, "cancelling": task.cancelling() if task else None}
    return {"timed_out": False}


async def timeout_on_receive(scope: Message, receive: Receive, send: Send) -> Any:
    """The body has been read: the next `receive()` waits, is cancelled by the time-out and can be called again."""
    while (await receive()).get("more_body"):
        pass
    outcomes = []
    for _ in range(3):
        try:
            async with asyncio.timeout(0.01):
                await receive()
        except TimeoutError:
            outcomes.append("timed out")
    with anyio.move_on_after(0.01) as moved:
        await receive()
    outcomes.append(f"moved on {moved.cancelled_caught}")
    try:
        await asyncio.wait_for(receive(), 0.01)
    except TimeoutError:
        outcomes.append("waited for")
    return outcomes


async def cancel_scopes(scope: Message, receive: Receive, send: Send) -> Any:
    steps = []
    with anyio.move_on_after(0.01) as outer:
        with anyio.CancelScope(shield=True):
            await anyio.sleep(0.03)
            steps.append("shielded")
        with anyio.CancelScope() as inner:
            await anyio.sleep(10)
        steps.append("never")
    steps.append(f"outer {outer.cancelled_caught} inner {inner.cancelled_caught}")
    with anyio.CancelScope() as immediate:
        immediate.cancel()
        await anyio.lowlevel.checkpoint()
        steps.append("never")
    await anyio.lowlevel.checkpoint()  # nothing is left of the cancellations
    steps.append("free")
    return steps


async def cancel_before_send(scope: Message, receive: Receive, send: Send) -> Any:
    """A `send()` in a scope that is cancelled already must neither hang nor break the response."""
    with anyio.CancelScope() as dead:
        dead.cancel()
        await anyio.lowlevel.checkpoint()
    return "still answered"


async def task_group(scope: Message, receive: Receive, send: Send) -> Any:
    results: dict[str, int] = {}

    async def work(number: int) -> None:
        await anyio.lowlevel.checkpoint()
        results[str(number)] = await anyio.to_thread.run_sync(lambda: number * number)

    async with anyio.create_task_group() as group:
        for number in range(10):
            group.start_soon(work, number)
    async with asyncio.TaskGroup() as native:
        tasks = [native.create_task(asyncio.sleep(0, number)) for number in range(5)]
    return {"squares": dict(sorted(results.items())), "native": [task.result() for task in tasks]}


async def failing_group(scope: Message, receive: Receive, send: Send) -> Any:
    outcome = []

    async def fail() -> None:
        raise ValueError("on purpose")

    async def linger() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            outcome.append("sibling cancelled")

    try:
        async with anyio.create_task_group() as group:
            group.start_soon(linger)
            await anyio.lowlevel.checkpoint()
            group.start_soon(fail)
    except ExceptionGroup as caught:
        outcome += [type(error).__name__ for error in caught.exceptions]
    return outcome


async def race(scope: Message, receive: Receive, send: Send) -> Any:
    """Work that is dropped when the client goes away: what every streaming framework does."""
    while (await receive()).get("more_body"):
        pass

    async def watch(cancel: anyio.CancelScope) -> None:
        message = await receive()
        assert message["type"] == "http.disconnect", message
        cancel.cancel()

    try:
        async with anyio.create_task_group() as group:
            group.start_soon(watch, group.cancel_scope)
            await anyio.sleep_forever()
    finally:
        cancelled.set()


async def receive_as_task(scope: Message, receive: Receive, send: Send) -> Any:
    """`receive()` wrapped in a task, together with others, as applications with several sources do."""
    body = b""
    while True:
        waiting = {asyncio.ensure_future(receive()), asyncio.ensure_future(asyncio.sleep(5))}
        done, pending = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)
        message = done.pop().result()
        assert message is not None, "receive() was slower than five seconds"
        body += message.get("body", b"")
        if not message.get("more_body"):
            return len(body)


async def send_from_tasks(scope: Message, receive: Receive, send: Send) -> None:
    """Every part is sent by another task."""
    await asyncio.create_task(send_once(send, {"type": "http.response.start", "status": 200, "headers": []}))
    for number in range(20):
        part = {"type": "http.response.body", "body": b"%d," % number, "more_body": True}
        await asyncio.create_task(send_once(send, part))
    await asyncio.wait_for(send({"type": "http.response.body", "body": b"end"}), 5)


async def send_once(send: Send, message: Message) -> None:
    await send(message)


async def shielded_cleanup(scope: Message, receive: Receive, send: Send) -> Any:
    order = []
    with anyio.move_on_after(0.01):
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(0.01)
                order.append("cleaned up")
    return order


async def wait_until_cancelled(scope: Message, receive: Receive, send: Send) -> Any:
    with anyio.fail_after(10):
        await cancelled.wait()
    cancelled.clear()
    return "cancelled"


HANDLERS: dict[str, Handler] = {
    f"/{handler.__name__}": handler
    for handler in (
        current_task,
        timeout,
        timeout_on_receive,
        cancel_scopes,
        cancel_before_send,
        task_group,
        failing_group,
        race,
        receive_as_task,
        send_from_tasks,
        shielded_cleanup,
        wait_until_cancelled,
    )
}


async def app(scope: Message, receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        while (await receive())["type"] != "lifespan.shutdown":
            await send({"type": "lifespan.startup.complete"})
        await send({"type": "lifespan.shutdown.complete"})
        return
    answer = await HANDLERS[scope["path"]](scope, receive, send)
    if answer is None:
        return
    body = json.dumps(answer).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
