"""A finished certificate: download it with the chain one wants, revoke it (RFC 8555 7.4.2, 7.6)."""

from __future__ import annotations

from enum import IntEnum

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from certshelf.bundle.model import PrivateKey
from certshelf.errors import AcmeProblem, IssuerUnreachable
from certshelf.issue.acme import jws
from certshelf.issue.acme.account import Account
from certshelf.issue.acme.client import AcmeClient, Signer
from certshelf.issue.acme.response import Response

Chain = tuple[x509.Certificate, ...]
_MAX_CHAIN = 10
_MAX_ALTERNATES = 10


class Reason(IntEnum):
    """Why a certificate is revoked: the codes of RFC 5280 5.3.1 that a subscriber may give."""

    unspecified = 0
    keyCompromise = 1  # noqa: N815 - the words of RFC 5280, as users type them
    affiliationChanged = 3  # noqa: N815
    superseded = 4
    cessationOfOperation = 5  # noqa: N815


async def download(
    client: AcmeClient, account: Account, url: str, *, preferred_issuer: str = ""
) -> Chain:
    """The leaf and its chain, leaf first, the root left out; safe to repeat.

    preferred_issuer: the common name that the chain shall end in, at its top certificate's
    issuer ("ISRG Root X1"); the CA's default chain when none of its alternates does, or "".
    """
    response = await client.post(url, None, account.signer)
    chain = _read(response)
    if not preferred_issuer or ends_in(chain, preferred_issuer):
        return without_root(chain)
    for other in response.related("alternate")[:_MAX_ALTERNATES]:
        alternate = _read(await client.post(other, None, account.signer))
        # the same leaf only: an alternate is another way up, not another certificate
        if alternate[0] == chain[0] and ends_in(alternate, preferred_issuer):
            return without_root(alternate)
    return without_root(chain)


async def alternates(client: AcmeClient, account: Account, url: str) -> tuple[Chain, ...]:
    """Every chain that the CA offers for the certificate, its default first."""
    response = await client.post(url, None, account.signer)
    others = response.related("alternate")[:_MAX_ALTERNATES]
    return (_read(response), *[_read(await client.post(u, None, account.signer)) for u in others])


async def revoke(
    client: AcmeClient,
    signer: Account | PrivateKey,
    leaf: x509.Certificate,
    reason: Reason = Reason.unspecified,
) -> None:
    """Revoke a certificate, signed by its account or by its own key; safe to repeat.

    Its own key is enough: that is how a leaked key is reported (RFC 8555 section 7.6).
    """
    url = (await client.directory()).revoke_cert
    payload = {"certificate": jws.b64(leaf.public_bytes(Encoding.DER)), "reason": int(reason)}
    by = signer.signer if isinstance(signer, Account) else Signer(signer)
    try:
        await client.post(url, payload, by)
    except AcmeProblem as problem:
        if problem.type != "alreadyRevoked":
            raise


def ends_in(chain: Chain, common_name: str) -> bool:
    """Whether the chain's top certificate, or who signed it, has this common name."""
    top = chain[-1]
    return common_name in (*_common_names(top.issuer), *_common_names(top.subject))


def without_root(chain: Chain) -> Chain:
    """The chain without a self-signed certificate above the leaf: servers never send the root."""
    return (chain[0], *(c for c in chain[1:] if c.issuer != c.subject))


def _common_names(name: x509.Name) -> list[str]:
    return [str(a.value) for a in name.get_attributes_for_oid(NameOID.COMMON_NAME)]


def _read(response: Response) -> Chain:
    try:
        chain = tuple(x509.load_pem_x509_certificates(response.body))
    except ValueError as error:
        raise IssuerUnreachable(
            f"no PEM certificates came from {response.url}", retry_at=response.retry_at
        ) from error
    if not 0 < len(chain) <= _MAX_CHAIN:
        raise IssuerUnreachable(f"{len(chain)} certificates came from {response.url}")
    return chain
