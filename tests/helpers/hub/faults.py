"""What happens instead of an answer of the tests' Hub."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from fastapi.responses import JSONResponse


@dataclass
class Fault:
    """What happens instead of an answer to requests whose "METHOD /path" matches `pattern`.

    status and headers: answer so. edit: the true answer's body, changed. cut_after: close the connection
    after so many bytes of the answer. slow: send one byte a second, for a minute. times: only the first so many
    requests.
    """

    pattern: str
    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    edit: Callable[[bytes], bytes] | None = None
    cut_after: int | None = None
    slow: bool = False
    times: float = float("inf")


class FaultyTransport:
    """ASGI middleware that plays the hub's faults."""

    def __init__(self, app, hub):
        self.app, self.hub = app, hub

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        request = f"{scope['method']} {scope['path']}"
        self.hub.requests.append(request)
        fault = self.hub.fault_for(request)
        if fault is None:
            return await self.app(scope, receive, send)
        if fault.status:
            return await JSONResponse({"error": "fault"}, fault.status, headers=fault.headers)(scope, receive, send)
        sent = 0

        async def changed(message):
            nonlocal sent
            if message["type"] == "http.response.body":
                body = message.get("body", b"")
                if fault.edit:
                    message = message | {"body": fault.edit(body)}
                if fault.cut_after is not None:
                    # an answer that ends before its Content-Length: uvicorn closes the connection
                    message = message | {"body": body[: max(fault.cut_after - sent, 0)], "more_body": True}
                if fault.slow:
                    for place in range(60):
                        await send(message | {"body": body[place : place + 1], "more_body": True})
                        await asyncio.sleep(1)
                    return
                sent += len(body)
            await send(message)

        if scope["method"] == "PUT" and fault.cut_after is not None:  # cut before the upload has been read
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"1")]})
            return None
        return await self.app(scope, receive, changed)
