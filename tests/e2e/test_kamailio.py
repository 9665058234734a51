"""A real kamailio in front: it says who called it, by UDP and by TCP, and stays on the route of every dialog."""

from __future__ import annotations

import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e.judge import SCENARIOS, Verdict, needs_sipp, sipp, undisturbed
from tests.e2e.system import until
from tests.gateway.ingest.answering import ListeningServer
from tests.gateway.sip.harness import HOST

KAMAILIO = shutil.which("kamailio", path="/usr/sbin:/usr/bin:/usr/local/sbin")
MODULES = next(iter(sorted(Path("/usr/lib").glob("*/kamailio/modules"))), Path("/usr/lib/kamailio/modules"))
CALLER = "127.0.0.2"
CALLS = 25

pytestmark = [
    needs_sipp,
    pytest.mark.alone,
    pytest.mark.skipif(KAMAILIO is None, reason="NO KAMAILIO IN FRONT: apt-get install kamailio"),
]

CONFIGURATION = """#!KAMAILIO
debug=0
log_stderror=yes
children=2
tcp_children=2
auto_aliases=no
listen=udp:{host}:{port}
listen=tcp:{host}:{port}
mpath="{modules}/"
loadmodule "tm.so"
loadmodule "sl.so"
loadmodule "rr.so"
loadmodule "pv.so"
loadmodule "textops.so"
loadmodule "siputils.so"
{secure}
request_route {{
    if (is_method("CANCEL")) {{ if (t_check_trans()) {{ t_relay(); }} exit; }}
    remove_hf("X-Source-Address");
    append_hf("X-Source-Address: $si\\r\\n");
    if (has_totag()) {{ if (loose_route()) {{ t_relay(); }} exit; }}
    record_route();
    $du = "sip:{host}:{behind};transport={way}";
    t_relay();
}}
"""


@contextmanager
def kamailio(folder: Path, behind: int, way: str) -> Iterator[int]:
    """A proxy that sends every call to `behind`; gives its port."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port = probe.getsockname()[1]
    configuration = CONFIGURATION.format(host=HOST, port=port, modules=MODULES, behind=behind, way=way, secure="")
    with proxying(folder, configuration, port):
        yield port


@contextmanager
def proxying(folder: Path, configuration: str, port: int, host: str = HOST) -> Iterator[None]:
    """A kamailio of that configuration, which listens there."""
    file = folder / "kamailio.cfg"
    file.write_text(configuration)
    command = [str(KAMAILIO), "-DD", "-E", "-f", str(file), "-m", "16", "-M", "4", "-Y", str(folder)]
    with (folder / "kamailio.log").open("wb") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=folder)
    try:
        until(lambda: accepts(port, host) or process.poll() is not None)
        assert process.poll() is None, (folder / "kamailio.log").read_text(errors="replace")
        yield
    finally:
        process.terminate()
        process.wait(30)


def accepts(port: int, host: str = HOST) -> bool:
    """Whether somebody listens."""
    with socket.socket() as client:
        return client.connect_ex((host, port)) == 0


TRUNK = {"name": "carrier", "tenant": "default", "sources": [f"{CALLER}/32"]}
BEHIND = {"sip": {"listen": f"{HOST}:0", "proxies": [f"{HOST}/32"]}, "trunks": [TRUNK]}


@pytest.mark.parametrize("way", ["udp", "tcp"])
def test_calls_through_a_proxy_belong_to_who_called_it(way: str, tmp_path: Path) -> None:
    def run() -> Verdict:
        with ListeningServer(BEHIND) as server, kamailio(tmp_path, server.address[1], way) as port:
            scenario = ["-sf", str(SCENARIOS / "proxied.xml")]
            verdict = sipp(port, tmp_path, scenario, CALLS, "-r", "25", "-i", CALLER)
            assert {(event.granted.trunk, event.granted.source) for event in server.invited} == {("carrier", CALLER)}
            assert {(event.flow.transport, event.flow.remote[0]) for event in server.invited} == {(way, HOST)}
            assert server.ends == {"bye": CALLS}
        return verdict

    assert undisturbed(run) == Verdict(successful=CALLS, failed=0, retransmissions=0)


@pytest.mark.parametrize("way", ["udp", "tcp"])
def test_our_bye_finds_the_caller_through_the_proxy(way: str, tmp_path: Path) -> None:
    def run() -> Verdict:
        with ListeningServer(BEHIND, hang_up=True) as server, kamailio(tmp_path, server.address[1], way) as port:
            scenario = ["-sf", str(SCENARIOS / "hung_up_on.xml")]
            verdict = sipp(port, tmp_path, scenario, CALLS, "-r", "25", "-i", CALLER)
            until(lambda: not server.agent.dialogs)  # each BYE was answered
            assert server.ends == {"local": CALLS}
        return verdict

    assert undisturbed(run) == Verdict(successful=CALLS, failed=0, retransmissions=0)
