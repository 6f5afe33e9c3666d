"""peers: other servers, what they are owed, and which jobs came from them"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_id = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "peers",
        sa.Column("name", sa.String(63), nullable=False),
        sa.Column(
            "address", sa.Text(), comment="amqp:// URL of its broker, with the password; null where it reaches ours"
        ),
        sa.Column("secret", sa.Text(), comment="password of its user on our broker; null where we reach its"),
        sa.Column("instance", sa.String(32), comment="of the peer, once it has been heard"),
        sa.Column("created", sa.Float(), nullable=False),
        sa.Column("epoch", sa.String(32), nullable=False, comment="names the numbering of what we send"),
        sa.Column("sent", sa.BigInteger(), nullable=False, server_default="0", comment="highest number given"),
        sa.Column("their_epoch", sa.String(32)),
        sa.Column(
            "handled",
            sa.BigInteger(),
            nullable=False,
            server_default="0",
            comment="highest number of theirs dealt with",
        ),
        sa.Column("software", sa.Text()),
        sa.Column("seen", sa.Float()),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_peers")),
    )
    op.create_table(
        "peer_outbox",
        sa.Column("peer", sa.String(63), nullable=False),
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("created", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("peer", "number", name=op.f("pk_peer_outbox")),
        comment="messages that a peer has not confirmed",
    )
    op.create_table(
        "peer_jobs",
        sa.Column("job", _id, autoincrement=False, nullable=False),
        sa.Column("peer", sa.String(63), nullable=False),
        sa.ForeignKeyConstraint(["job"], ["jobs.id"], name=op.f("fk_peer_jobs_jobs"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("job", name=op.f("pk_peer_jobs")),
        comment="jobs that came from a peer",
    )
    op.create_index("ix_peer_jobs_peer", "peer_jobs", ["peer"])


def downgrade() -> None:
    op.drop_index("ix_peer_jobs_peer", "peer_jobs")
    for table in ("peer_jobs", "peer_outbox", "peers"):
        op.drop_table(table)
