"""A headless Chromium whose microphone is a WAV file, and a page that sends it over WHIP as any page would."""

from __future__ import annotations

import http.server
import json
import queue
import shutil
import subprocess
import tempfile
import threading
import wave
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

CHROMIUM = shutil.which("chromium")
PAGE_S = 30.0  # beyond what is said, for the browser to start and the session to stand

MICROPHONE_HZ = 48_000

# The track is put in place once the connection stands, so that nothing of the file is said to nobody. Candidates are
# told as they are found; their addresses are names in .local, as pages that only send get them.
PAGE = """<!doctype html><title>sender</title><script>
const told = (what) => fetch('/done', {method: 'POST', body: JSON.stringify(what)});
async function main() {
  const ask = %s;
  const connection = new RTCPeerConnection();
  const sender = connection.addTransceiver('audio', {direction: 'sendonly'}).sender;
  const waiting = [];
  let session = null, tag = null, patched = [];
  const auth = {Authorization: 'Bearer ' + ask.token};
  const trickle = async (candidate) => {
    const description = connection.localDescription.sdp;
    const line = (name) => description.match(new RegExp('^a=' + name + ':.*$', 'm'))[0];
    const body = [line('ice-ufrag'), line('ice-pwd'), 'm=audio 9 UDP/TLS/RTP/SAVPF 0', line('mid'),
                  candidate ? 'a=' + candidate.candidate : 'a=end-of-candidates', ''].join('\\r\\n');
    const headers = {...auth, 'Content-Type': 'application/trickle-ice-sdpfrag', 'If-Match': tag};
    patched.push((await fetch(session, {method: 'PATCH', headers, body})).status);
  };
  connection.onicecandidate = ({candidate}) => session ? trickle(candidate) : waiting.push(candidate);
  await connection.setLocalDescription(await connection.createOffer());
  const headers = {...auth, 'Content-Type': 'application/sdp'};
  const answer = await fetch(ask.url, {method: 'POST', headers, body: connection.localDescription.sdp});
  if (answer.status !== 201) return told({status: answer.status, text: await answer.text()});
  session = new URL(answer.headers.get('Location'), ask.url).href;
  tag = answer.headers.get('ETag');
  const links = answer.headers.get('Link');
  await connection.setRemoteDescription({type: 'answer', sdp: await answer.text()});
  while (waiting.length) await trickle(waiting.shift());
  while (connection.connectionState !== 'connected') await new Promise((done) => setTimeout(done, 10));
  const plain = {echoCancellation: false, noiseSuppression: false, autoGainControl: false};
  const media = await navigator.mediaDevices.getUserMedia({audio: plain});
  await sender.replaceTrack(media.getAudioTracks()[0]);
  await new Promise((done) => setTimeout(done, 1000 * ask.seconds));
  const gone = await fetch(session, {method: 'DELETE', headers: auth});
  const call = answer.headers.get('Callvault-Call');
  await told({status: 201, call, links, patched, deleted: gone.status, offer: connection.localDescription.sdp});
}
main().catch((error) => told({status: 0, text: String(error)}));
</script>"""


def send(url: str, token: str, samples: NDArray[np.int16], seconds: float) -> dict[str, Any]:
    """Have a browser say `samples` (48 kHz) into its microphone and send them to a WHIP endpoint; what the page saw."""
    asked = json.dumps({"url": url, "token": token, "seconds": seconds})
    results: queue.Queue[dict[str, Any]] = queue.Queue()

    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer(PAGE.replace("%s", asked).encode() if self.path == "/" else b"")

        def do_POST(self) -> None:
            results.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self._answer(b"")

        def _answer(self, body: bytes) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        microphone = Path(folder) / "said.wav"
        with wave.open(str(microphone), "wb") as file:
            file.setparams((1, 2, MICROPHONE_HZ, 0, "NONE", ""))
            file.writeframes(samples.astype("<i2").tobytes())
        browser = _start(Path(folder), microphone, server.server_address[1])
        try:
            return results.get(timeout=seconds + PAGE_S)
        finally:
            browser.kill()
            browser.wait()
            server.shutdown()
            server.server_close()


def _start(folder: Path, microphone: Path, port: int) -> subprocess.Popen[bytes]:
    assert CHROMIUM is not None
    flags = [
        *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
        *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--mute-audio"),
        *("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"),
        f"--use-file-for-fake-audio-capture={microphone}%noloop",
        f"--user-data-dir={folder / 'profile'}",
    ]
    return subprocess.Popen(
        [CHROMIUM, *flags, f"http://localhost:{port}/"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
