"""The certificates by which the engine and this host know each other, out of the settings.

They are loaded once where the settings are read, so that a file which cannot be used is named then;
the engine's library would say no more than that it cannot connect.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pbs_watch.config import Config
from pbs_watch.errors import ConfigError

SETTINGS = ("shared_ca_file", "shared_cert_file", "shared_key_file")

OF_POSTFIX = ("tls_CAfile", "tls_cert_file", "tls_key_file")
"""What mysql_table(5) calls them."""


@dataclass(frozen=True, slots=True)
class Tls:
    """Paths; empty ``ca``: what the system trusts."""

    ca: str = ""
    cert: str = ""
    key: str = ""


def of_settings(config: Config) -> Tls | None:
    """Those that the settings name, ``None``: none; raises :class:`ConfigError`."""
    found = Tls(*(str(getattr(config, name) or "") for name in SETTINGS))
    if found.key and not found.cert:
        raise ConfigError(
            "shared_key_file: needs shared_cert_file; name the certificate as well",
            "shared_key_file",
        )
    return loaded(found, SETTINGS) if found.ca or found.cert else None


def first_named(config: Config) -> str:
    """The first of :data:`SETTINGS` that is said."""
    return next(name for name in SETTINGS if getattr(config, name))


def loaded(found: Tls, names: Sequence[str]) -> Tls:
    """The same, once its files are known to be of use; ``names``: of the settings of the three.

    Raises :class:`ConfigError`, with the setting and the file.
    """
    import ssl  # noqa: PLC0415 - where it is used

    for path, name in zip((found.ca, found.cert, found.key), names, strict=True):
        if path:
            _refuse_unreadable(path, name)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    name, path, what = names[0], found.ca, "holds no certificate in PEM"
    try:
        if found.ca:
            context.load_verify_locations(found.ca)
        name, path = names[1], found.cert
        what = f"holds no certificate in PEM whose key is in {found.key or 'the same file'}"
        if found.cert:
            # A key with a passphrase: nobody is there to be asked for it.
            context.load_cert_chain(found.cert, found.key or found.cert, lambda: "")
    except (OSError, ValueError) as error:
        said = getattr(error, "reason", None) or str(error)
        setting = name if name in SETTINGS else "shared"
        raise ConfigError(f"{name}: {path} {what} ({said})", setting) from None
    return found


def _refuse_unreadable(path: str, name: str) -> None:
    try:
        with Path(path).open("rb") as file:
            file.read(1)
    except OSError as error:
        setting = name if name in SETTINGS else "shared"
        raise ConfigError(f"{name}: {path} cannot be read ({error.strerror})", setting) from None
