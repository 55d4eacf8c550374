"""The certificate of an installation that is reached from other machines: made once, told, kept, replaced."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.lab import Lab, running_lab

pytestmark = [pytest.mark.long, pytest.mark.system, pytest.mark.timeout(1200)]

INSTALL_AGAIN = "/opt/semi-pd/current/source/install.sh"
CERTIFICATE = "/etc/semi-pd/tls/cert.pem"
FINGERPRINT = re.compile(r"(?:sha256|SHA256) Fingerprint=((?:[0-9A-F]{2}:){31}[0-9A-F]{2})")
HEALTH = ("curl", "--silent", "--show-error", "--cacert", CERTIFICATE)


@pytest.fixture(scope="module")
def bound(bundles: Path) -> Iterator[tuple[Lab, str]]:
    """A machine that was installed with `--bind`, and the fingerprint that this printed."""
    with running_lab("bound", bundles) as lab:
        said = lab.install("--bind", "0.0.0.0")
        assert f"make {CERTIFICATE}" in said
        found = FINGERPRINT.search(said)
        assert found, said
        yield lab, found[1]


def served_fingerprint(lab: Lab, port: int) -> str:
    ask = (
        f"openssl s_client -connect 127.0.0.1:{port} </dev/null 2>/dev/null | openssl x509 -noout -fingerprint -sha256"
    )
    found = FINGERPRINT.search(lab.run("bash", "-c", ask))
    assert found
    return found[1]


def test_both_ports_speak_tls_with_the_certificate_that_was_told(bound: tuple[Lab, str]) -> None:
    lab, told = bound
    assert {served_fingerprint(lab, 8000), served_fingerprint(lab, 8080)} == {told}
    assert '"ready"' in lab.run(*HEALTH, "https://localhost:8000/health")
    console = f"{lab.name}:8080"
    said = lab.run(*HEALTH, "--resolve", f"{console}:127.0.0.1", f"https://{console}/first-run")
    assert "one-time token" in said.lower()
    assert "0.0.0.0:8080" in lab.run("ss", "--listening", "--tcp", "--numeric")
    mode = lab.run("stat", "--format", "%a %U", "/etc/semi-pd/tls/key.pem", CERTIFICATE)
    assert mode.split() == ["600", "root", "644", "root"]


def test_the_key_is_handed_to_those_who_speak_tls_and_to_nobody_else(bound: tuple[Lab, str]) -> None:
    lab, _ = bound
    for unit in ("gateway", "console"):
        key = f"/run/credentials/semi-pd-{unit}.service/tls-key"
        assert lab.run("stat", "--format", "%a", key).strip() in ("400", "440")
        lab.run("cmp", key, "/etc/semi-pd/tls/key.pem")
    assert lab.run("find", "/run/credentials", "-path", "*semi-pd*", "-name", "tls-key").count("tls-key") == 2
    refused = lab.run("runuser", "-u", "semi-pd", "--", "cat", "/etc/semi-pd/tls/key.pem", status=1)
    assert "Permission denied" in refused


def test_no_secret_is_in_a_process_list_or_an_environment(bound: tuple[Lab, str]) -> None:
    lab, _ = bound
    read = "for pid in $(pgrep --euid semi-pd); do cat /proc/$pid/cmdline /proc/$pid/environ; done | tr '\\0' '\\n'"
    said = lab.run("bash", "-c", read)
    assert "engine.gateway" in said
    assert lab.run("cat", "/var/lib/semi-pd/api-key").strip() not in said
    assert "PRIVATE KEY" not in said
    readable = lab.run("find", "/var/lib/semi-pd", "/run/semi-pd", "-type", "f", "-perm", "/077")
    assert readable == ""


def test_it_is_kept(bound: tuple[Lab, str]) -> None:
    lab, told = bound
    assert "nothing has changed" in lab.run(INSTALL_AGAIN)
    assert served_fingerprint(lab, 8080) == told


def test_a_new_one_is_made_where_there_is_none(bound: tuple[Lab, str]) -> None:
    lab, told = bound
    lab.run("rm", CERTIFICATE)
    said = lab.run(INSTALL_AGAIN)
    assert "restart the services, for the certificate is new" in said
    found = FINGERPRINT.search(said)
    assert found
    assert found[1] != told
    assert {served_fingerprint(lab, 8000), served_fingerprint(lab, 8080)} == {found[1]}


def test_the_administrators_own_is_served_and_stays(bound: tuple[Lab, str]) -> None:
    lab, _ = bound
    make = (
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30 -subj /CN=own "
        "-addext subjectAltName=DNS:localhost -keyout /root/key.pem -out /root/chain.pem"
    )
    lab.run(*make.split())
    lab.run("install", "-m", "644", "/root/chain.pem", CERTIFICATE)
    lab.run("install", "-m", "600", "/root/key.pem", "/etc/semi-pd/tls/key.pem")
    lab.run("systemctl", "restart", "semi-pd-gateway", "semi-pd-console")
    own = FINGERPRINT.search(lab.run("openssl", "x509", "-in", "/root/chain.pem", "-noout", "-fingerprint", "-sha256"))
    assert own
    said = lab.run(INSTALL_AGAIN)
    assert "nothing has changed" in said
    assert own[1] in said
    assert {served_fingerprint(lab, 8000), served_fingerprint(lab, 8080)} == {own[1]}


def test_one_that_was_installed_for_this_machine_alone_is_bound_later(bound: tuple[Lab, str]) -> None:
    lab, _ = bound
    lab.run("rm", "-r", "/etc/semi-pd/tls", "/etc/semi-pd/conf.d/50-install.toml")
    assert "http://127.0.0.1:8000" in lab.run(INSTALL_AGAIN)
    settings = 'host = "0.0.0.0"\ntls_cert = "/etc/semi-pd/tls/cert.pem"\ntls_key = "/etc/semi-pd/tls/key.pem"\n'
    lab.run("bash", "-c", f"cat >/etc/semi-pd/conf.d/tls.toml <<'E'\n{settings}E\n")
    assert FINGERPRINT.search(lab.run(INSTALL_AGAIN))
    assert '"ready"' in lab.run(*HEALTH, "https://localhost:8000/health")
