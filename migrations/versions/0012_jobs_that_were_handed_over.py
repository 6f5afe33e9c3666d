"""jobs that were handed over to a peer, or are on their way there"""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

_Id = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    op.create_table(
        "moves",
        sa.Column("job", _Id, autoincrement=False, nullable=False),
        sa.Column("peer", sa.String(63), nullable=False),
        sa.Column("key", sa.String(32), nullable=False, comment="made by the client, so that a repeat is known"),
        sa.Column("state", sa.String(16), nullable=False, comment="leaving, sent, moved or refused"),
        sa.Column("paused", sa.Integer(), nullable=False, comment="1: it was paused before"),
        sa.Column("became", _Id, comment="the job's id at the peer"),
        sa.Column("error", sa.Text(), comment="the class of the error that it was refused with"),
        sa.Column("reason", sa.Text(), comment="and its line"),
        sa.PrimaryKeyConstraint("job", name="pk_moves"),
        comment="jobs that were handed over to a peer, or are on their way there; they outlive the job itself",
    )


def downgrade() -> None:
    op.drop_table("moves")
