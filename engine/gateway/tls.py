"""The certificate the gateway shows."""

from __future__ import annotations

import ssl
from pathlib import Path

from engine.errors import CannotStart


def tls_context(certificate: Path, key: Path | None) -> ssl.SSLContext:
    """TLS 1.2 and up. Without `key` it is in the certificate's file. Raises `CannotStart`."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(certificate, key, password=_no_password)
    except (ssl.SSLError, OSError, ValueError) as error:
        where = f"{certificate} and the key {key}" if key else str(certificate)
        raise CannotStart(f"The certificate {where} cannot be used: {_reason(error)}.") from error
    return context


def _no_password() -> str:
    """OpenSSL would ask the terminal."""
    raise ValueError("the key is protected by a password")


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        known = {"KEY_VALUES_MISMATCH": "the key is of another certificate"}
        return known.get(error.reason or "", "the files are not PEM, or the key is missing")
    return (error.strerror or str(error)).lower() if isinstance(error, OSError) else str(error)
