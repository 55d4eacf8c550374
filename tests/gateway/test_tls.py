"""TLS with a certificate of our own, and what may not be bound without it."""

from __future__ import annotations

import contextlib
import shutil
import socket
import ssl
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from pydantic import ValidationError

from engine.config import ServerArgs, explain
from engine.errors import CANNOT_START, CannotStart
from engine.gateway.tls import tls_context
from tests.gateway.running_gateway import running_gateway
from tests.gateway.stand import KEY, MODEL, make_ports


def make_certificate(directory: Path, *options: str) -> tuple[Path, Path]:
    """A self-signed certificate for 127.0.0.1, and its key."""
    certificate, key = directory / "cert.pem", directory / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-days", "2"]
    names = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run(
        [*command, *names, *(options or ("-nodes",)), "-keyout", str(key), "-out", str(certificate)],
        check=True,
        capture_output=True,
    )
    return certificate, key


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    if shutil.which("openssl") is None:
        pytest.skip("there is no openssl to make a certificate with")
    return make_certificate(tmp_path_factory.mktemp("tls"))


@pytest.mark.system
def test_a_stream_over_tls(model_path: Path, certificate: tuple[Path, Path]) -> None:
    chain, key = certificate
    with running_gateway(model_path, tls_cert=chain, tls_key=key, slow_reader_seconds=0.5) as gateway:
        trust = ssl.create_default_context(cafile=str(chain))
        url = gateway.url.replace("http:", "https:")
        headers = {"Authorization": f"Bearer {KEY}"}
        with httpx.Client(base_url=url, verify=trust, headers=headers, trust_env=False) as client:
            response = client.post("/v1/completions", json={"model": MODEL, "prompt": "Hi", "stream": True})
            assert response.status_code == 200 and response.text.endswith("data: [DONE]\n\n")
        with gateway.connect() as plain:
            plain.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
            with contextlib.suppress(ConnectionResetError):
                assert b"HTTP/1.1 200" not in plain.recv(65536)
        old = ssl.create_default_context(cafile=str(chain))
        with pytest.warns(DeprecationWarning, match="TLSv1_1"):
            old.maximum_version = ssl.TLSVersion.TLSv1_1
        with gateway.connect() as raw, pytest.raises(ssl.SSLError):
            old.wrap_socket(raw, server_hostname="127.0.0.1")


def test_a_certificate_that_cannot_be_used(certificate: tuple[Path, Path], tmp_path: Path) -> None:
    chain, key = certificate
    with pytest.raises(CannotStart, match="the files are not PEM, or the key is missing"):
        tls_context(chain, None)
    _, other = make_certificate(tmp_path)
    with pytest.raises(CannotStart, match="the key is of another certificate"):
        tls_context(chain, other)
    locked_chain, locked_key = make_certificate(tmp_path, "-passout", "pass:secret")
    with pytest.raises(CannotStart, match="protected by a password"):
        tls_context(locked_chain, locked_key)
    both = tmp_path / "both.pem"
    both.write_text(chain.read_text() + key.read_text())
    assert tls_context(both, None).minimum_version is ssl.TLSVersion.TLSv1_2


@pytest.mark.system
def test_a_broken_certificate_is_one_sentence(
    model_path: Path, certificate: tuple[Path, Path], unused_port: int
) -> None:
    ports = make_ports(model_path, port=unused_port, tls_cert=certificate[0])
    command = [sys.executable, "-m", "engine.gateway", str(ports.runtime_dir)]
    process = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    shutil.rmtree(ports.runtime_dir)
    assert process.returncode == CANNOT_START
    assert process.stderr.startswith(f"The certificate {certificate[0]} cannot be used: ")
    assert process.stderr.count("\n") == 1
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", unused_port), timeout=5)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "localhost"])
def test_loopback_needs_no_tls(model_path: Path, host: str) -> None:
    assert ServerArgs(model_path=model_path, host=host).host == host


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org", "0"])
def test_beyond_this_machine_needs_tls(model_path: Path, certificate: tuple[Path, Path], host: str) -> None:
    with pytest.raises(ValidationError) as refused:
        ServerArgs(model_path=model_path, host=host)
    assert explain(refused.value) == (
        f"The setting host cannot be {host!r}: without TLS only a loopback address may be bound; "
        "set tls_cert and tls_key, or insecure_bind."
    )
    chain, key = certificate
    assert ServerArgs(model_path=model_path, host=host, tls_cert=chain, tls_key=key).url_scheme == "https"
    assert ServerArgs(model_path=model_path, host=host, insecure_bind=True).url_scheme == "http"


def test_a_key_without_a_certificate(model_path: Path, certificate: tuple[Path, Path]) -> None:
    with pytest.raises(ValidationError) as refused:
        ServerArgs(model_path=model_path, tls_key=certificate[1])
    assert "it needs tls_cert" in explain(refused.value)


@pytest.mark.system
def test_serve_says_so_in_one_sentence(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "appliance", "serve", "--device", "cpu", "--bind", "0.0.0.0"]
    environment = {"HOME": str(tmp_path), "PATH": ""}
    process = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60, check=False)
    assert process.returncode == CANNOT_START
    assert process.stderr.startswith("The setting host cannot be '0.0.0.0': ") and process.stderr.count("\n") == 1
