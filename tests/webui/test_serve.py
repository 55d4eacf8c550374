"""The console as a process: it listens over TLS, streams, and ends at once when it is asked to."""

from __future__ import annotations

import os
import shutil
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from engine.errors import CANNOT_START
from tests.webui.stand import OWNER, PASSWORD, Stand

CERTIFICATE = (
    "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost "
    "-addext subjectAltName=DNS:localhost,IP:127.0.0.1 -keyout {key} -out {certificate}"
)

pytestmark = pytest.mark.system


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    if shutil.which("openssl") is None:
        pytest.skip("there is no openssl to make a certificate with")
    path = tmp_path / "chain.pem"
    command = CERTIFICATE.format(key=tmp_path / "key.pem", certificate=path)
    subprocess.run(command.split(), check=True, capture_output=True)
    return path


@pytest.fixture
def stand(runtime_dir: Path, certificate: Path, unused_port: int) -> Iterator[Stand]:
    key = certificate.with_name("key.pem")
    with Stand(runtime_dir, tls_cert=certificate, tls_key=key, console_port=unused_port) as stand:
        stand.services.close()  # the process shall be the one that writes
        yield stand


@pytest.fixture
def console(stand: Stand) -> Iterator[subprocess.Popen[str]]:
    environment = {**os.environ, "XDG_STATE_HOME": str(stand.instance.state_dir.parent)}
    assert stand.instance.state_dir.name == "semi-pd"
    process = subprocess.Popen(
        [sys.executable, "-m", "webui", str(stand.ports.runtime_dir)],
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    for line in process.stderr:
        if "Booting worker" in line:
            break
    yield process
    process.kill()
    process.wait()
    process.stderr.close()


def test_over_tls_a_browser_claims_it_and_streams_until_the_end(
    stand: Stand, console: subprocess.Popen[str], certificate: Path
) -> None:
    trust = ssl.create_default_context(cafile=str(certificate))
    transport = httpx.HTTPTransport(verify=trust, retries=50)
    url = stand.settings.console_url
    with httpx.Client(base_url=url, transport=transport, headers={"Origin": url}, timeout=60.0) as browser:
        page = browser.get("/first-run").text
        csrf = page.split('name="csrf-token" content="')[1].split('"')[0]
        form = {"csrf_token": csrf, "token": stand.instance.setup_token(), "name": OWNER}
        claimed = browser.post("/first-run", data=form | {"password": PASSWORD, "again": PASSWORD})
        assert claimed.status_code == 303
        for cookie in claimed.headers.get_list("set-cookie"):
            assert cookie.startswith("__Host-") and "Secure" in cookie
        assert "max-age" in claimed.headers["Strict-Transport-Security"]
        with browser.stream("GET", "/live/stream") as stream:
            lines = stream.iter_lines()
            assert next(lines).startswith("data: {")
            console.terminate()
            for _ in lines:
                pass
    assert console.wait(30) == 0


def test_a_port_that_is_taken_is_one_sentence(stand: Stand, console: subprocess.Popen[str]) -> None:
    environment = {**os.environ, "XDG_STATE_HOME": str(stand.instance.state_dir.parent)}
    command = [sys.executable, "-m", "webui", str(stand.ports.runtime_dir)]
    second = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert second.returncode == CANNOT_START
    assert second.stderr.startswith(f"The console cannot listen on 127.0.0.1 port {stand.settings.console_port}")
