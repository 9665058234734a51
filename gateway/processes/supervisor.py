"""Child processes of the gateway: started with their settings on standard input, restarted when they die.

A child ends when its standard input does, so none outlives a gateway that was killed.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Callable, Sequence

log = logging.getLogger(__name__)

STOP_S = 15.0  # then it is killed; whatever it held is in the spool or redelivered by the queue
BACKOFF_S = (0.2, 0.5, 1.0, 2.0, 5.0)
STEADY_S = 30.0  # a child that lived this long starts again with the shortest pause
LINE_BYTES_MAX = 1 << 16


class Child:
    """One supervised process of ours: `python -m MODULE`. What it prints as JSON lines goes to `on_line`."""

    def __init__(
        self,
        name: str,
        module: str,
        settings_json: str,
        *,
        arguments: Sequence[str] = (),
        on_line: Callable[[dict[str, object]], None] | None = None,
    ) -> None:
        self.name = name
        self._argv = (sys.executable, "-m", module, *arguments)
        self._settings_json = settings_json
        self._on_line = on_line
        self._process: Process | None = None
        self.restarts = 0

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process and self._process.returncode is None else None

    async def run(self) -> None:
        """Keep the process running until cancelled; then let it finish, within a limit."""
        failures = 0
        loop = asyncio.get_running_loop()
        while True:
            started = loop.time()
            try:
                code = await self._once()
            finally:
                await self._end()
            failures = 0 if loop.time() - started > STEADY_S else failures + 1
            self.restarts += 1
            pause_s = BACKOFF_S[min(failures, len(BACKOFF_S) - 1)]
            log.error("child process ended, restarting", extra={"child": self.name, "code": code, "pause_s": pause_s})
            await asyncio.sleep(pause_s)

    async def _once(self) -> int:
        stdout = PIPE if self._on_line else DEVNULL
        self._process = await asyncio.create_subprocess_exec(
            *self._argv,
            stdin=PIPE,
            stdout=stdout,
            limit=LINE_BYTES_MAX,
            start_new_session=True,  # a terminal's Ctrl-C is for the gateway, which stops its children in order
        )
        assert self._process.stdin is not None
        self._process.stdin.write(self._settings_json.encode() + b"\n")
        if self._on_line is not None and self._process.stdout is not None:
            async for line in self._process.stdout:
                self._on_line(json.loads(line))
        return await self._process.wait()

    async def _end(self) -> None:
        process = self._process
        if process is None or process.returncode is not None:
            return
        if process.stdin is not None:
            process.stdin.close()
        try:
            async with asyncio.timeout(STOP_S):
                if process.stdout is not None:
                    while await process.stdout.read(LINE_BYTES_MAX):
                        pass
                await process.wait()
        except TimeoutError:
            log.error("child process did not end, killing it", extra={"child": self.name, "pid": process.pid})
            process.kill()
            await process.wait()
