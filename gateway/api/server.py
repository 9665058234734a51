"""Runs the API on the gateway's event loop, with uvicorn."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator

import uvicorn
from fastapi import FastAPI

KEEP_ALIVE_S = 15
CONNECTIONS_MAX = 1000  # of all tenants together; one more gets 503
GRACEFUL_S = 5


class ApiServer(uvicorn.Server):
    """A uvicorn server whose signals are the gateway's own affair."""

    def __init__(self, app: FastAPI, listen: tuple[str, int]) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                host=listen[0],
                port=listen[1],
                log_config=None,
                access_log=False,
                server_header=False,
                lifespan="off",
                timeout_keep_alive=KEEP_ALIVE_S,
                timeout_graceful_shutdown=GRACEFUL_S,
                limit_concurrency=CONNECTIONS_MAX,
            )
        )

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """The gateway drains calls first; it stops this server itself."""
        yield

    @property
    def port(self) -> int:
        """The port that is listened on, once started."""
        return int(self.servers[0].sockets[0].getsockname()[1])

    async def ready(self) -> None:
        """Wait until requests are taken."""
        while not self.started:  # noqa: ASYNC110 -- uvicorn has a flag and no event
            await asyncio.sleep(0.01)
