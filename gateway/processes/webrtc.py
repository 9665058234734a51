"""The WebRTC worker's process: ICE, DTLS and SRTP of browsers, apart from all that knows whose calls they are."""

from __future__ import annotations

import asyncio
import resource
import signal
import socket
import sys

from gateway.operations import logs
from gateway.processes.guarding import protect_memory
from media.webrtc.worker import Worker


def main(fd: int, level: str) -> None:
    """Run until the gateway closes the channel."""
    logs.start(level)
    protect_memory()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the gateway closes the channel
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))  # three descriptors a session
    asyncio.run(Worker(socket.socket(fileno=fd)).run())


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
