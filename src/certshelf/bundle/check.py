"""Is a bundle sound for this name now? Pure: the answer is the reason, or None."""

from __future__ import annotations

from datetime import datetime

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from certshelf.bundle.chain import key_matches
from certshelf.bundle.keys import KEY_TYPES, accepted
from certshelf.bundle.model import Bundle, Leaf, LeafChain
from certshelf.clock import iso
from certshelf.errors import BundleError, BundleRefused, KeyMismatch, KeyUnsupported
from certshelf.names import HostName

__all__ = ["check", "key_matches"]


_SERVER = ExtendedKeyUsageOID.SERVER_AUTH


def check(bundle: Bundle | LeafChain, host: HostName | None, now: datetime) -> BundleError | None:
    """Why this bundle must not be served for host at this moment (aware), or None when it may.

    For a wildcard host (a file `_.example.com.pfx`) the leaf must name that wildcard. host: None
    for a leaf that is asked for without a name. Of a LeafChain the key is not ours to check.
    """
    if isinstance(bundle, Bundle) and (refusal := _key(bundle)):
        return refusal
    reason = _usage(bundle.leaf) or _validity(bundle, now)
    if reason is None and host is not None:
        reason = _name(bundle, host)
    return BundleRefused(reason[0], hint=reason[1]) if reason else None


def _key(bundle: Bundle) -> BundleError | None:
    if not accepted(bundle.key):
        return KeyUnsupported(
            f"a key of type {bundle.key_type}", hint="one of " + ", ".join(KEY_TYPES)
        )
    if not key_matches(bundle.key, bundle.leaf):
        return KeyMismatch(
            "the private key does not belong to the certificate",
            hint="put the key that the certificate was requested with into the file",
        )
    return None


def _usage(leaf: x509.Certificate) -> tuple[str, str] | None:
    """A leaf for TLS servers: no CA, and serverAuth unless it names no purpose (RFC 5280)."""
    try:
        extensions = leaf.extensions
    except (ValueError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType) as error:
        return f"its extensions cannot be parsed: {error}", "issue it again"
    for extension in extensions:
        value = extension.value
        if isinstance(value, x509.BasicConstraints) and value.ca:
            return "it is a CA certificate, no leaf", "use the certificate issued for the host"
        if isinstance(value, x509.ExtendedKeyUsage) and _SERVER not in value:
            return "it is not for TLS servers (no serverAuth in its extended key usage)", (
                "issue one for TLS servers"
            )
    return None


def _validity(bundle: Leaf, now: datetime) -> tuple[str, str] | None:
    if now < bundle.not_before:
        return f"not valid before {iso(bundle.not_before)}", "compare this machine's clock"
    if now > bundle.not_after:
        return f"expired at {iso(bundle.not_after)}", "renew it"
    return None


def _name(bundle: Leaf, host: HostName) -> tuple[str, str] | None:
    if bundle.covers(host):
        return None
    names = bundle.names
    shown = ", ".join(map(str, names[:5])) + (f" and {len(names) - 5} more" if names[5:] else "")
    return f"it does not cover {host}: it names {shown or 'no host'}", "issue it for this name"
