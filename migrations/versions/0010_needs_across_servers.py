"""needs across servers: frames of peers that ours need, and frames of ours that theirs need"""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

_id = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "far_jobs",
        sa.Column("job", _id, autoincrement=False, nullable=False),
        sa.Column("peer", sa.String(63), nullable=False),
        sa.Column("of_job", _id, nullable=False, comment="the job's id at the peer"),
        sa.PrimaryKeyConstraint("job", name="pk_far_jobs"),
        sa.ForeignKeyConstraint(["job"], ["jobs.id"], name="fk_far_jobs_jobs", ondelete="CASCADE"),
        comment="jobs that stand for those of peers, with the frames of theirs that ours need",
    )
    op.create_table(
        "watches",
        sa.Column("peer", sa.String(63), nullable=False),
        sa.Column("job", _id, autoincrement=False, nullable=False),
        sa.Column("frame", _id, autoincrement=False, nullable=False),
        sa.Column("told", sa.String(80), comment="what the peer has been told of the frame last"),
        sa.PrimaryKeyConstraint("peer", "job", "frame", name="pk_watches"),
        comment="frames of ours that frames of peers need",
    )


def downgrade() -> None:
    for table in ("watches", "far_jobs"):
        op.drop_table(table)
