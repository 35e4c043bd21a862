"""Why a member does not serve what the shelf holds: a closed list, each with what to do."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class Cause(StrEnum):
    """The ids of docs/reference/findings.md, section "Causes"."""

    ADDRESS_UNKNOWN = "address-unknown"
    PORT_CLOSED = "port-closed"
    TIMEOUT = "timeout"
    CONNECTION_CLOSED = "connection-closed"
    NOT_TLS = "not-tls"
    STARTTLS_REFUSED = "starttls-refused"
    HANDSHAKE_REFUSED = "handshake-refused"
    PROTOCOL = "protocol"
    CLIENT_CERTIFICATE = "client-certificate"
    POLLING = "polling"
    SHELF_EXPIRED = "shelf-expired"
    OWN_CERTIFICATE = "own-certificate"
    IIS_NO_CERTIFICATE = "iis-no-certificate"
    IIS_HIDDEN_STORE = "iis-hidden-store"
    IIS_NOT_RELOADED = "iis-not-reloaded"
    NO_CERTIFICATE_FOR_NAME = "no-certificate-for-name"
    WILDCARD_BEFORE_EXACT = "wildcard-before-exact"
    READER_BEHIND = "reader-behind"
    ANOTHER_SOURCE = "another-source"


class Text(NamedTuple):
    """What a cause means and what to do about it."""

    why: str
    do: str


TEXTS: dict[Cause, Text] = {
    Cause.ADDRESS_UNKNOWN: Text(
        "the member's host name has no address", "correct it: certshelf member rm, then member add"
    ),
    Cause.PORT_CLOSED: Text(
        "nothing listens on that port", "start the server, or correct the member's port"
    ),
    Cause.TIMEOUT: Text(
        "nothing answered in time", "look for a firewall in between, or an overloaded server"
    ),
    Cause.CONNECTION_CLOSED: Text(
        "the server closed the connection without a TLS answer",
        "look into its log; the reader may have no certificate for the name",
    ),
    Cause.NOT_TLS: Text(
        "the port speaks something else than TLS",
        "correct the member's port; STARTTLS is tried on 25, 587, 143, 389 and 3389",
    ),
    Cause.STARTTLS_REFUSED: Text(
        "the server does not offer STARTTLS", "switch TLS on in that mail, LDAP or RDP server"
    ),
    Cause.HANDSHAKE_REFUSED: Text(
        "the server has no certificate for this name, or refuses it",
        "check that the shelf has its file and the server's reader runs: certshelf explain HOST",
    ),
    Cause.PROTOCOL: Text(
        "the server speaks no TLS version that is still accepted (1.2 or 1.3)",
        "switch TLS 1.2 on there",
    ),
    Cause.CLIENT_CERTIFICATE: Text(
        "the server wants a client certificate before it shows its own",
        "nothing, if that is meant; such a name cannot be checked from here",
    ),
    Cause.POLLING: Text(
        "the file is newer than the server's last look",
        "wait: IIS looks every 300 s unless its PollingInterval says otherwise",
    ),
    Cause.SHELF_EXPIRED: Text(
        "the certificate on the shelf itself has expired", "certshelf cert renew"
    ),
    Cause.OWN_CERTIFICATE: Text(
        "the server's configuration names a certificate for this name",
        "take it out, so that the shelf answers: certshelf iis plan, or the server's how-to page",
    ),
    Cause.IIS_NO_CERTIFICATE: Text(
        "IIS found no file that it can open: none of that name, another password than the one it "
        "was given ('The specified network password is not correct'), or encryption that this "
        "Windows does not read",
        "run the script of certshelf iis check-script on the server",
    ),
    Cause.IIS_HIDDEN_STORE: Text(
        "IIS serves the same certificate without any name: an IP:port binding hides the store",
        "netsh http show sslcert on the server, then netsh http delete sslcert ipport=...",
    ),
    Cause.IIS_NOT_RELOADED: Text(
        "IIS has not taken the new file within its polling interval: it cannot open it, or cannot "
        "reach the share",
        "run the script of certshelf iis check-script on the server",
    ),
    Cause.NO_CERTIFICATE_FOR_NAME: Text(
        "the server knows no certificate for this name and shows its default",
        "check that its reader sees the shelf, and the name is in its configuration",
    ),
    Cause.WILDCARD_BEFORE_EXACT: Text(
        "the server still serves the wildcard's certificate although the name has a file now",
        "wait for its cache, then restart its reader; on IIS recycle nothing, check the file name",
    ),
    Cause.READER_BEHIND: Text(
        "the server's reader serves an earlier version of the file",
        "look at the reader's log there: it may not reach the shelf, or refuse the new file",
    ),
    Cause.ANOTHER_SOURCE: Text(
        "the certificate is good for the name and did not come from this shelf",
        "find who else puts certificates there: a load balancer, a CDN, another ACME client",
    ),
}
