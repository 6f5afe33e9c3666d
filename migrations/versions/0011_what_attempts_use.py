"""memory and processor time of attempts"""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("attempts", sa.Column("memory", sa.BigInteger(), comment="bytes that it held at once at most"))
    op.add_column("attempts", sa.Column("processor", sa.Float(), comment="seconds of processor time"))


def downgrade() -> None:
    op.drop_column("attempts", "processor")
    op.drop_column("attempts", "memory")
