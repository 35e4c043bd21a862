"""A bundle as PKCS#12 bytes and back: two ways to write, and one guarded way to read."""

from __future__ import annotations

import warnings

from cryptography.exceptions import InternalError, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import (
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    pkcs12,
)

from certshelf.bundle.chain import assemble
from certshelf.bundle.inspect import (
    MAX_BAGS,
    MAX_ROUNDS,
    PfxFacts,
    Sealed,
    guard,
    guard_inside,
    profile_of,
)
from certshelf.bundle.model import Bundle, PfxProfile
from certshelf.bundle.unseal import unseal
from certshelf.errors import (
    PfxError,
    PfxHostile,
    PfxKeyMissing,
    PfxPasswordWrong,
    PfxUnreadable,
    PfxUnsupported,
)
from certshelf.secret import Secret

__all__ = ["decode", "encode", "profile_of", "rounds_for"]

ROUNDS_RANDOM = 2_048
ROUNDS_HUMAN = 200_000
_RANDOM_LENGTH = 32
_RANDOM_DISTINCT = 16


def encode(
    bundle: Bundle,
    password: Secret | None,
    profile: PfxProfile = PfxProfile.MODERN,
    rounds: int | None = None,
) -> bytes:
    """The bundle as PKCS#12 bytes.

    password: None or empty writes a file without encryption. rounds: of the key derivation, for
    the key and for the certificates each; None lets rounds_for() choose.
    Raises PfxError when the password or the rounds cannot be written.
    """
    return pkcs12.serialize_key_and_certificates(
        _bmp(bundle.friendly_name).encode() or None,
        bundle.key,
        bundle.leaf,
        list(bundle.chain) or None,
        _encryption(password, profile, rounds),
    )


def decode(data: bytes, password: Secret | None) -> Bundle:
    """Read PKCS#12 bytes, whoever wrote them.

    The guard runs first, so that a hostile file costs under 10 ms; then encrypted content is opened
    and counted by us, so that no file beyond the limits reaches the library. At most about 2 s of
    CPU for the slowest file that is accepted.
    Raises one of the six kinds of PfxError, KeyMismatch or KeyUnsupported.
    """
    facts = guard(data)
    secret = _password_bytes(password) if password else None
    contents = [plain for one in facts.sealed for plain in _unsealed(one, secret)]
    try:
        guard_inside(facts, contents)
    except PfxUnreadable as error:  # a wrong password's rubbish may begin like a sequence
        raise _wrong_password() from error
    found = _load(data, secret, facts)
    certificates = [c for c in (found.cert, *found.additional_certs) if c is not None]
    if len(certificates) > MAX_BAGS:
        raise PfxHostile(f"{len(certificates)} certificates inside: {MAX_BAGS} are accepted")
    if found.key is None:
        raise PfxKeyMissing(
            "no private key inside", hint="export it again together with its private key"
        )
    name = (found.cert.friendly_name if found.cert else None) or b""
    try:
        return assemble(
            found.key, [c.certificate for c in certificates], name.decode(errors="replace")
        )
    except ValueError as error:
        raise _no_certificate(error) from error


def rounds_for(password: Secret) -> int:
    """How many rounds of key derivation a password needs.

    2,048 for a random one, which this takes it for when it has at least 32 characters, 16 of them
    different, and no space: guessing it is hopeless anyway, and every reader pays for each round
    at each cold load. 200,000 for any other.
    """
    text = password.reveal()
    random = (
        len(text) >= _RANDOM_LENGTH
        and len(set(text)) >= _RANDOM_DISTINCT
        and not any(c.isspace() for c in text)
    )
    return ROUNDS_RANDOM if random else ROUNDS_HUMAN


def _encryption(
    password: Secret | None, profile: PfxProfile, rounds: int | None
) -> KeySerializationEncryption:
    if not password:
        return NoEncryption()
    rounds = rounds_for(password) if rounds is None else rounds
    if not 1 <= rounds <= MAX_ROUNDS // 3:
        raise PfxError(f"{rounds:,} rounds: 1 to {MAX_ROUNDS // 3:,} can be written")
    cipher, mac = _CIPHERS[profile]
    return (
        PrivateFormat.PKCS12.encryption_builder()
        .key_cert_algorithm(cipher)
        .kdf_rounds(rounds)
        .hmac_hash(mac)
        .build(_password_bytes(password))
    )


_CIPHERS: dict[PfxProfile, tuple[pkcs12.PBES, hashes.HashAlgorithm]] = {
    PfxProfile.MODERN: (pkcs12.PBES.PBESv2SHA256AndAES256CBC, hashes.SHA256()),
    PfxProfile.WINDOWS_2016: (pkcs12.PBES.PBESv1SHA1And3KeyTripleDESCBC, hashes.SHA1()),  # noqa: S303
}


def _bmp(text: str) -> str:
    """The text as a BMPString holds it: 16 bits a character (RFC 7292 appendix B.1)."""
    return "".join(c if c < "\U00010000" else "\ufffd" for c in text)


def _password_bytes(password: Secret) -> bytes:
    """The password in UTF-8. A NUL would end it early in OpenSSL, or crash the library."""
    if "\0" in password.reveal():
        raise PfxPasswordWrong("a PFX password cannot hold a NUL character")
    try:
        return password.reveal_bytes()
    except UnicodeEncodeError:
        raise PfxPasswordWrong("a PFX password is text in Unicode") from None


def _unsealed(sealed: Sealed, password: bytes | None) -> list[bytes]:
    plain = unseal(sealed, password)
    if not plain:
        raise _wrong_password()
    return plain


def _wrong_password() -> PfxPasswordWrong:
    return PfxPasswordWrong(
        "wrong password or damaged: PKCS#12 cannot tell the two apart",
        hint="try the password with another file of this shelf; if that opens, this file is"
        " damaged",
    )


def _load(data: bytes, password: bytes | None, facts: PfxFacts) -> pkcs12.PKCS12KeyAndCertificates:
    """The library's own reader, its failures told apart."""
    try:
        with warnings.catch_warnings():
            if facts.is_ber:  # read well, with a warning that it is not DER
                warnings.filterwarnings(
                    "ignore", message="PKCS#12 bundle could not be parsed as DER"
                )
            return pkcs12.load_pkcs12(data, password)
    except UnsupportedAlgorithm as error:
        raise PfxUnsupported(f"algorithm not supported here: {error}") from error
    except (ValueError, TypeError, InternalError) as error:
        text = str(error)
        if "Invalid password" in text:
            raise _wrong_password() from error
        if "deserialize" in text:
            raise PfxUnreadable("truncated or not a PFX") from error
        raise _no_certificate(error) from error


def _no_certificate(error: Exception) -> PfxUnreadable:
    return PfxUnreadable(f"a key or certificate inside cannot be parsed: {error}")
