"""Certificates for somebody else's CSR."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Bring the schema from the version before to this one."""
    op.add_column("certificate", sa.Column("csr", sa.Text(), server_default="", nullable=False))
