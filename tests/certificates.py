"""A certificate authority and a server's certificate, made by openssl for one test."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Certificates:
    ca: Path
    cert: Path
    key: Path


def make(home: Path, *addresses: str) -> Certificates:
    """``addresses``: those of the server; readable by the server's user."""
    home.mkdir(exist_ok=True)
    found = Certificates(home / "ca.pem", home / "cert.pem", home / "key.pem")
    names = ",".join(f"IP:{address}" for address in addresses)
    _openssl(
        home, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
        "-keyout", "ca.key", "-out", "ca.pem", "-days", "30", "-subj", "/CN=test ca",
    )  # fmt: skip
    _openssl(
        home, "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
        "-keyout", "key.pem", "-out", "cert.csr", "-subj", "/CN=engine",
    )  # fmt: skip
    (home / "names").write_text(f"subjectAltName={names}\n")
    _openssl(
        home, "x509", "-req", "-in", "cert.csr", "-CA", "ca.pem", "-CAkey", "ca.key",
        "-CAcreateserial", "-out", "cert.pem", "-days", "30", "-extfile", "names",
    )  # fmt: skip
    for path in (found.ca, found.cert, found.key):
        path.chmod(0o644)
    home.chmod(0o755)
    return found


def _openssl(home: Path, *words: str) -> None:
    subprocess.run(["openssl", *words], cwd=home, check=True, capture_output=True)
