"""A trunk as it is: found by name, registered at with a password, and told another address than the one that is bound.

The carrier is a kamailio that asks for a digest and sends calls to whom it has registered.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from gateway.caller import CallFailed, Track, place_call
from tests.e2e.system import System, call_from, free_port, until
from tests.e2e.test_call import tone
from tests.e2e.test_kamailio import KAMAILIO, MODULES, proxying
from tests.gateway.ingest.nameserver import NameServer

CARRIER = "127.0.0.5"
ADVERTISED = "127.0.0.3"
"""An address of this machine that nothing is bound to by name: what comes there came because we said so."""

SECRET = "correct-horse-battery"

pytestmark = pytest.mark.skipif(KAMAILIO is None, reason="NO REGISTRAR: apt-get install kamailio")

REGISTRAR = """#!KAMAILIO
debug=0
log_stderror=yes
children=2
tcp_children=1
auto_aliases=no
listen=udp:{host}:{port}
listen=tcp:{host}:{port}
alias=carrier.example
mpath="{modules}/"
loadmodule "tm.so"
loadmodule "sl.so"
loadmodule "rr.so"
loadmodule "pv.so"
loadmodule "xlog.so"
loadmodule "textops.so"
loadmodule "siputils.so"
loadmodule "auth.so"
loadmodule "usrloc.so"
loadmodule "registrar.so"
modparam("auth", "nonce_expire", 2)
modparam("registrar", "max_expires", 6)
request_route {{
    if (is_method("REGISTER")) {{
        if (!pv_www_authenticate("carrier.example", "{secret}", "0")) {{
            xlog("L_ALERT", "challenged\\n");
            www_challenge("carrier.example", "1");
            exit;
        }}
        xlog("L_ALERT", "granted $ct for $hdr(Expires)\\n");
        save("location");
        exit;
    }}
    if (has_totag()) {{ if (loose_route()) {{ t_relay(); }} exit; }}
    if (!lookup("location")) {{ sl_send_reply("404", "Not Found"); exit; }}
    record_route();
    t_on_reply("1");
    t_relay();
}}
onreply_route[1] {{
    if (has_body("application/sdp")) {{ xlog("L_ALERT", "answered $rb\\n"); }}
}}
"""

CONFIG = """
[sip]
nameservers = ["127.0.0.1:{nameserver}"]

[[tenants]]
name = "default"

[[trunks]]
name = "carrier"
tenant = "default"
media_networks = ["127.0.0.0/8"]

[trunks.registration]
registrar = "sip:carrier.example"
user = "4420"
password_file = "{password}"
"""


@dataclass
class Registered:
    """A server, and the carrier's own account of what it saw."""

    system: System
    carrier: tuple[str, int]
    nameserver: NameServer
    folder: Path

    def told(self, pattern: str) -> list[str]:
        """What the carrier wrote down."""
        return re.findall(pattern, (self.folder / "kamailio.log").read_text(errors="replace"))

    @property
    def contact(self) -> str:
        """Where the carrier is told that we are."""
        return f"<sip:4420@{ADVERTISED}:{self.system.sip[1]}>"

    def granted(self, seconds: int) -> list[str]:
        """The bindings that the carrier granted for so long."""
        return self.told(f"granted {re.escape(self.contact)} for {seconds}\n")

    def metric(self, name: str) -> float:
        found = re.search(rf"^{re.escape(name)} (\S+)$", self.system.client().get("/metrics").decode(), re.MULTILINE)
        return 0.0 if found is None else float(found[1])


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registered]:
    folder = tmp_path_factory.mktemp("trunks")
    password = folder / "password"
    password.touch(0o600)
    password.write_text(f"{SECRET}\n")
    port, sip_port = free_port(), free_port()
    records = {
        "_sip._udp.carrier.example": [("SRV", f"0 0 {port} sbc.carrier.example.")],
        "sbc.carrier.example": [("A", CARRIER)],
    }
    configuration = REGISTRAR.format(host=CARRIER, port=port, modules=MODULES, secret=SECRET)
    with NameServer(records) as nameserver, proxying(folder, configuration, port, CARRIER):
        config = folder / "callvault.toml"
        config.write_text(CONFIG.format(nameserver=nameserver.address[1], password=password))
        environ = {
            "CALLVAULT_CONFIG": str(config),
            "CALLVAULT_SIP__LISTEN": f"0.0.0.0:{sip_port}",
            "CALLVAULT_SIP__ADVERTISED": ADVERTISED,
            "CALLVAULT_MEDIA__ADDRESS": "0.0.0.0",
            "CALLVAULT_MEDIA__ADVERTISED": ADVERTISED,
        }
        system = System(folder, environ)
        system.sip = ("127.0.0.1", sip_port)
        system.start()
        try:
            yield Registered(system, (CARRIER, port), nameserver, folder)
        finally:
            if system.process is not None:
                system.stop()


def test_we_are_registered_and_stay_so(world: Registered) -> None:
    until(lambda: world.metric('callvault_registrations{state="registered"}') == 1)
    assert ("_sip._udp.carrier.example", "SRV") in world.nameserver.asked
    until(lambda: len(world.granted(3600)) >= 2)  # the carrier grants 6 s, and its nonces are good for two
    assert world.metric('callvault_registrations{state="registered"}') == 1
    assert world.metric('callvault_alarm{alarm="registration_lost"}') == 0


def test_calls_come_by_the_registration_and_media_to_the_advertised_address(world: Registered) -> None:
    until(lambda: world.granted(3600))
    placed = place_call(world.carrier, [Track(tone(1.0, 431))], from_user="registered", to_user="4420")
    asyncio.run(placed)
    row = until(lambda: call_from(world.system.client(), "registered", "stored"))
    assert row["detail"]["duration_ms"] > 900
    assert len(world.system.client().get(f"/v1/calls/{row['id']}/audio")) > 8000
    assert f"IN IP4 {ADVERTISED}" in (world.folder / "kamailio.log").read_text(errors="replace")


def test_who_is_not_at_the_name_is_a_stranger(world: Registered) -> None:
    with pytest.raises(CallFailed, match="403"):
        asyncio.run(place_call(world.system.sip, [Track(tone(0.1, 432))], from_user="stranger", to_user="4420"))


def test_the_binding_is_given_up_at_the_end_and_nothing_of_it_is_logged(world: Registered) -> None:
    until(lambda: world.granted(3600))
    assert world.system.stop() == 0
    assert world.granted(0)
    log = world.system.log()
    assert '"event": "registration"' in log
    for secret in (SECRET, "4420", CARRIER, "carrier.example"):
        assert secret not in log
