"""JSON Web Signatures as ACME wants them."""

from __future__ import annotations

import hashlib
import hmac
import json

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils

from certshelf.errors import CredentialError, KeyUnsupported
from certshelf.issue.acme import jws
from certshelf.secret import Secret


@pytest.mark.parametrize(
    ("curve", "digest", "size", "alg"),
    [
        (ec.SECP256R1(), hashes.SHA256(), 32, "ES256"),
        (ec.SECP384R1(), hashes.SHA384(), 48, "ES384"),
    ],
)
def test_an_ec_signature_is_r_and_s_side_by_side(
    curve: ec.EllipticCurve, digest: hashes.HashAlgorithm, size: int, alg: str
) -> None:
    key = ec.generate_private_key(curve)
    signed = jws.sign(key, {"nonce": "n", "url": "u"}, b"{}")
    raw = jws.unb64(signed["signature"])
    r, s = int.from_bytes(raw[:size], "big"), int.from_bytes(raw[size:], "big")
    message = f"{signed['protected']}.{signed['payload']}".encode()
    key.public_key().verify(utils.encode_dss_signature(r, s), message, ec.ECDSA(digest))
    assert len(raw) == 2 * size
    assert json.loads(jws.unb64(signed["protected"]))["alg"] == alg


def test_an_rsa_signature_is_pkcs1_v1_5_with_sha256() -> None:
    key = rsa.generate_private_key(65537, 2048)
    signed = jws.sign(key, {"url": "u"}, b"body")
    message = f"{signed['protected']}.{signed['payload']}".encode()
    key.public_key().verify(
        jws.unb64(signed["signature"]), message, padding.PKCS1v15(), hashes.SHA256()
    )


def test_the_thumbprint_is_that_of_the_rfc_7638_example() -> None:
    modulus = (
        "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_"
        "BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0"
        "_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWh"
        "AI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw"
    )
    text = json.dumps(
        {"e": "AQAB", "kty": "RSA", "n": modulus}, separators=(",", ":"), sort_keys=True
    )
    digest = jws.b64(hashlib.sha256(text.encode()).digest())
    assert digest == "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"
    numbers = rsa.RSAPublicNumbers(65537, int.from_bytes(jws.unb64(modulus), "big"))
    assert numbers.n.bit_length() == 2048


def test_jwk_members_of_a_short_coordinate_keep_their_leading_zero() -> None:
    key = next(
        k
        for k in (ec.derive_private_key(n, ec.SECP256R1()) for n in range(2, 3000))
        if k.public_key().public_numbers().x < 1 << 248
    )
    assert len(jws.unb64(jws.jwk(key)["x"])) == 32


def test_a_binding_is_hs256_over_the_account_key() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    mac = b"\xfb\xff" * 16  # its base64url form has - and _
    bound = jws.bind("kid", Secret(jws.b64(mac)), "https://ca/new", jws.jwk(key))
    message = f"{bound['protected']}.{bound['payload']}".encode()
    assert jws.unb64(bound["signature"]) == hmac.digest(mac, message, "sha256")
    assert json.loads(jws.unb64(bound["payload"])) == jws.jwk(key)


def test_a_binding_key_that_is_no_base64url_is_a_credential_error_without_the_key() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    with pytest.raises(CredentialError) as caught:
        jws.bind("kid", Secret("no base64!"), "https://ca/new", jws.jwk(key))
    assert "no base64!" not in str(caught.value)


def test_a_curve_that_cas_do_not_take_is_refused() -> None:
    with pytest.raises(KeyUnsupported):
        jws.sign(ec.generate_private_key(ec.SECP521R1()), {}, b"")
