"""Only the type checker reads this: the public API as users write it.

Each annotation is a promise: a change of a type that users see makes `mypy --strict` fail here.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from certshelf import Bundle, HostName, Secret, Shelf, __version__, open_shelf
from certshelf.errors import CertshelfError
from certshelf.finding import Finding, Severity
from certshelf.resolve.resolver import Resolver
from certshelf.serve.python import server_context
from certshelf.shelf.files import ShelfFile
from certshelf.shelf.publish import Outcome, Publication, Result
from certshelf.shelf.shelf import Found

version: str = __version__

# names
host: HostName = HostName.parse("www.example.com")
files: tuple[str, ...] = host.file_names()
candidates: tuple[HostName, ...] = host.candidates()
text: str = host.ascii + host.unicode
covered: bool = HostName.parse("*.example.com").covers(host)

# bundles
bundle: Bundle = Bundle.from_pem(Path("bundle.pem").read_bytes())
bundle = Bundle.from_pfx(Path("bundle.pfx").read_bytes(), Secret("password"))
ends: datetime = bundle.not_after
thumbprints: tuple[str, str] = (bundle.thumbprint, bundle.sha256)
pem: bytes = bundle.to_pem()
pfx: bytes = bundle.to_pfx(Secret("password"))

# a shelf, as a server opens it and as the manager's home describes it
shelf: Shelf = open_shelf("file:///srv/shelf", password="password")
shelf = open_shelf(Path("/srv/shelf"), password=Secret("password"), owner="my-tool")
shelf = open_shelf()
shelf = open_shelf(home="/var/lib/certshelf")
shelf = open_shelf(home=None)

# publishing: one result per file, green only when every file is
publication: Publication = shelf.publish(bundle)
publication = shelf.publish(bundle, [host], adopt=True, older=True)
done: bool = publication.ok
for result in publication.results:
    one: Result = result
    outcome: Outcome = one.outcome
    where: tuple[HostName, str] = (one.host, one.file)
    error: CertshelfError | None = one.error
    hint: str = one.error.hint if one.error else ""

# looking
found: Found | None = shelf.find(host)
answer: Bundle | None = found.file.bundle if found else None
listing: Iterator[ShelfFile] = shelf.inventory()
findings: Iterator[Finding] = shelf.verify()
wrong: list[str] = [f.what for f in findings if f.severity is Severity.ERROR]
retired: tuple[str, ...] = shelf.retire(host)


# serving
def configure(context: ssl.SSLContext) -> None:
    """Settings for every context that a handshake may switch to."""
    context.set_alpn_protocols(["h2", "http/1.1"])


context: ssl.SSLContext = server_context(shelf)
context = server_context(shelf, configure=configure, tickets=False, default=True)
resolver: Resolver = Resolver(shelf).start()
context = server_context(resolver)
served: Bundle | None = resolver.resolve("www.example.com")
resolver.close()
