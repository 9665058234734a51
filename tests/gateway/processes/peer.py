"""A worker process for the channel's tests: does what the messages say, and says that it has."""

from __future__ import annotations

import os
import socket
import sys
import time


def main() -> None:
    """`spin`, `sleep` for a second; `exit`; `count` the descriptors that came along."""
    if sys.argv[2:] == ["broken"]:
        sys.exit(3)
    channel = socket.socket(fileno=int(sys.argv[1]))
    channel.send(b"ready")
    while True:
        data, descriptors, _, _ = socket.recv_fds(channel, 1 << 16, 4)
        for descriptor in descriptors:
            os.close(descriptor)
        if data == b"spin":
            end_s = time.monotonic() + 1
            while time.monotonic() < end_s:
                pass
        elif data == b"sleep":
            time.sleep(1)
        elif data in {b"", b"exit"}:
            return
        channel.send(data + b" %d" % len(descriptors))


if __name__ == "__main__":
    main()
