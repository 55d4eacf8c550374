"""Which secrets systemd is told to hand out."""

from __future__ import annotations

from pathlib import Path

from appliance.machine.credentials import credentials


def test_the_key_of_tls_by_the_path_that_was_given(tmp_path: Path) -> None:
    live, archive = tmp_path / "live.pem", tmp_path / "archive-1.pem"
    archive.touch()
    live.symlink_to(archive)
    (tmp_path / "semi-pd.toml").write_text(f'tls_cert = "{live}"\ntls_key = "{live}"\n')
    assert credentials(tmp_path) == {"tls-key": str(live)}


def test_none_without_tls(tmp_path: Path) -> None:
    (tmp_path / "semi-pd.toml").write_text("port = 8000\n")
    assert credentials(tmp_path) == {}
