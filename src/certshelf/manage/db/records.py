"""Records: the manager's memory within one transaction, one attribute per noun."""

from __future__ import annotations

from functools import cached_property

from sqlalchemy import Connection

from certshelf.manage.db.buckets import Buckets
from certshelf.manage.db.certificates import Certificates
from certshelf.manage.db.credentials import Credentials
from certshelf.manage.db.events import Events
from certshelf.manage.db.issued import Issued
from certshelf.manage.db.issuers import Accounts, Issuers
from certshelf.manage.db.members import Members
from certshelf.manage.db.meta import Meta
from certshelf.manage.db.orders import Challenges, Orders
from certshelf.manage.db.sealing import Sealer
from certshelf.manage.db.tasks import Tasks
from certshelf.manage.keyring import KeyRing


class Records:
    """What Database.read() and write() give: valid until the `with` block ends."""

    def __init__(self, connection: Connection, ring: KeyRing) -> None:
        self.connection = connection
        self.sealer = Sealer(connection, ring)

    @cached_property
    def certificates(self) -> Certificates:
        """Managed certificates."""
        return Certificates(self.connection)

    @cached_property
    def credentials(self) -> Credentials:
        """Named secrets."""
        return Credentials(self.connection, self.sealer)

    @cached_property
    def issuers(self) -> Issuers:
        """Who signs."""
        return Issuers(self.connection, self.sealer)

    @cached_property
    def accounts(self) -> Accounts:
        """Our accounts at ACME CAs."""
        return Accounts(self.connection, self.sealer)

    @cached_property
    def orders(self) -> Orders:
        """The runs that issue certificates, as durable steps."""
        return Orders(self.connection, self.sealer)

    @cached_property
    def challenges(self) -> Challenges:
        """What was presented to a CA."""
        return Challenges(self.connection)

    @cached_property
    def buckets(self) -> Buckets:
        """The limits of CAs."""
        return Buckets(self.connection)

    @cached_property
    def issued(self) -> Issued:
        """The bundles that were issued."""
        return Issued(self.connection, self.sealer)

    @cached_property
    def tasks(self) -> Tasks:
        """Deployment tasks and their runs."""
        return Tasks(self.connection)

    @cached_property
    def members(self) -> Members:
        """The servers of the farm."""
        return Members(self.connection)

    @cached_property
    def events(self) -> Events:
        """The append-only log."""
        return Events(self.connection)

    @cached_property
    def meta(self) -> Meta:
        """Small values of the installation itself."""
        return Meta(self.connection)

    def finish(self) -> None:
        """Write what was kept back until the end of the transaction."""
        if "events" in self.__dict__:
            self.events.flush()
