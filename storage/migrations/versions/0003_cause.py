"""The incident of the actual cause, when the deployment was not it; earlier programs never read one."""

from __future__ import annotations

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("ALTER TYPE record_kind ADD VALUE 'cause'")


def downgrade() -> None:
    raise NotImplementedError("The journal is never thrown away: restore the store's backup instead.")
