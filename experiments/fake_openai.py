"""What does a proxy before an engine meet? A server with OpenAI's interface that says who asked, without a model.

    python experiments/fake_openai.py --port 8000 --seats 64

An answer of n tokens is n pieces that name the request and count up, so that whoever gets a piece knows whose it is and
whether one is missing. What is in the body decides: `max_tokens` pieces, `pause` s before each, and `fail`, a status to
answer with. Requests beyond the seats wait, and go by the priority that they state, as the engine of that name has it.
GET /seen tells what came, in which order, and how it ended.
"""

import argparse
import asyncio
import contextlib
import itertools
import json
import math
from collections.abc import AsyncIterator, Callable
from typing import Any

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

ORDERS: dict[str, Callable[[dict[str, Any]], float]] = {  # who is served first: the least of these
    "vllm": lambda seen: seen["body"].get("priority", 0),
    "sglang": lambda seen: -seen["body"].get("priority", 0),
    "dynamo": lambda seen: -max(int(seen["headers"].get("x-dynamo-request-priority", 0)), 0),
}
HEARTBEAT = b": still here\n\n"  # a comment of the protocol, of which a proxy must not lose a byte


class Engine:
    """Serves so many requests at a time; the others wait, and go by priority.

    Attributes:
        seen: of each request, in order of arrival, its name, body, headers, and how it ended.
        served: names in the order in which they got a seat.
        holds: whether requests that ask for it, by `held` in their body, wait at their seats.
    """

    def __init__(self, seats: float = math.inf, order: str = "vllm"):
        self.seats, self.order = seats, ORDERS[order]
        self.seen: list[dict[str, Any]] = []
        self.served: list[str] = []
        self.holds = False
        self._running, self._numbers = 0, itertools.count()
        self._waiting: list[tuple[float, int, str, asyncio.Future[None]]] = []

    @contextlib.asynccontextmanager
    async def seat(self, seen: dict[str, Any]) -> AsyncIterator[None]:
        """Have a seat, after those of smaller keys."""
        if self._running >= self.seats:
            one = (self.order(seen), next(self._numbers), seen["name"], asyncio.get_running_loop().create_future())
            self._waiting.append(one)
            try:
                await one[3]
            except asyncio.CancelledError:
                self._waiting = [other for other in self._waiting if other is not one]
                raise
        else:
            self._running += 1
            self.served.append(seen["name"])
        try:
            yield
        finally:
            self._waiting.sort()
            if self._waiting:
                _, _, name, turn = self._waiting.pop(0)
                self.served.append(name)
                turn.set_result(None)
            else:
                self._running -= 1


def app_of(engine: Engine) -> Starlette:
    """Return the server of an engine."""

    async def answer(request: Request) -> Response:
        try:
            body = await request.json()
        except ClientDisconnect:
            return Response()
        name = request.headers.get("x-request-id", "")
        seen = {"name": name, "path": request.url.path, "body": body, "headers": dict(request.headers), "end": None}
        engine.seen.append(seen)
        if body.get("fail"):
            seen["end"] = "failed"
            return JSONResponse({"error": {"message": f"no {name}"}}, body["fail"], {"x-why": "asked for"})
        pieces = _pieces(engine, seen, body.get("max_tokens", 8), body.get("pause", 0.0))
        if body.get("stream"):
            return StreamingResponse(_events(seen, body, pieces), media_type="text/event-stream")
        told = [piece async for piece in pieces]
        usage = {"prompt_tokens": 7, "completion_tokens": len(told)}
        return JSONResponse({"id": name, "choices": [{"message": {"content": "".join(told)}}], "usage": usage})

    async def seen(request: Request) -> Response:
        told = [{**one, "body": {"priority": one["body"].get("priority")}} for one in engine.seen]
        return JSONResponse({"seen": told, "served": engine.served})

    async def models(request: Request) -> Response:
        return JSONResponse({"data": [{"id": "fake"}], "key": request.headers.get("authorization")})

    paths = ("/v1/chat/completions", "/v1/completions", "/v1/responses")
    routes = [Route(path, answer, methods=["POST"]) for path in paths]
    return Starlette(routes=[*routes, Route("/seen", seen), Route("/v1/models", models)])


async def _pieces(engine: Engine, seen: dict[str, Any], n: int, pause: float) -> AsyncIterator[str]:
    try:
        async with engine.seat(seen):
            while engine.holds and seen["body"].get("held"):
                await asyncio.sleep(0.005)
            for k in range(n):
                await asyncio.sleep(pause)
                yield f"{seen['name']}:{k} "
        seen["end"] = "done"
    finally:
        seen["end"] = seen["end"] or "cancelled"


async def _events(seen: dict[str, Any], body: dict[str, Any], pieces: AsyncIterator[str]) -> AsyncIterator[bytes]:
    yield HEARTBEAT
    n = 0
    async for piece in pieces:
        n += 1
        yield (
            b"data: " + json.dumps({"id": seen["name"], "choices": [{"delta": {"content": piece}}]}).encode() + b"\n\n"
        )
    if body.get("stream_options"):
        usage = {"prompt_tokens": 7, "completion_tokens": n}
        yield b"data: " + json.dumps({"choices": [], "usage": usage}).encode() + b"\n\n"
    yield b"data: [DONE]\n\n"


def main() -> None:
    """Serve until told to end."""
    import uvicorn

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--seats", type=float, default=math.inf)
    parser.add_argument("--order", choices=list(ORDERS), default="vllm")
    given = parser.parse_args()
    app = app_of(Engine(given.seats, given.order))
    uvicorn.run(app, host="127.0.0.1", port=given.port, log_level="warning", access_log=False)


if __name__ == "__main__":
    main()
