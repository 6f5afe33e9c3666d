"""workers in quarantine, frames that end their workers"""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "workers",
        sa.Column("started", sa.Float(), nullable=False, server_default="0", comment="when its process began"),
    )
    op.add_column("workers", sa.Column("quarantine", sa.Text(), comment="why this process gets no frames"))
    op.add_column(
        "frames",
        sa.Column(
            "pardoned",
            sa.Integer(),
            nullable=False,
            server_default="0",
            comment="workers that issues up to this one have ended count no more",
        ),
    )


def downgrade() -> None:
    op.drop_column("frames", "pardoned")
    op.drop_column("workers", "quarantine")
    op.drop_column("workers", "started")
