"""terms: which process acts for a server"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "identity",
        sa.Column(
            "term", sa.Integer(), nullable=False, server_default="0", comment="counts the processes that have acted"
        ),
    )
    op.add_column(
        "identity",
        sa.Column("mark", sa.String(32), comment="a random word that tells this database from any other"),
    )


def downgrade() -> None:
    op.drop_column("identity", "mark")
    op.drop_column("identity", "term")
