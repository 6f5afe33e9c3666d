"""lent frames: what peers have of ours, and what we have of theirs"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_id = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "loans",
        sa.Column("job", _id, autoincrement=False, nullable=False),
        sa.Column("frame", _id, autoincrement=False, nullable=False),
        sa.Column("peer", sa.String(63), nullable=False),
        sa.Column("issue", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("job", "frame", "peer", name="pk_loans"),
        sa.ForeignKeyConstraint(["job"], ["jobs.id"], name="fk_loans_jobs", ondelete="CASCADE"),
        comment="frames that a peer has been lent and has not brought back",
    )
    op.create_table(
        "loan_jobs",
        sa.Column("job", _id, autoincrement=False, nullable=False),
        sa.Column("peer", sa.String(63), nullable=False),
        sa.Column("priority", sa.Integer, nullable=False, comment="as the peer has been told"),
        sa.PrimaryKeyConstraint("job", "peer", name="pk_loan_jobs"),
        comment="jobs of which a peer has been lent frames, until it is told that they have ended",
    )
    op.create_table(
        "loan_results",
        sa.Column("token", sa.String(32), nullable=False),
        sa.Column("peer", sa.String(63), nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False, comment="frame.completed"),
        sa.PrimaryKeyConstraint("token", name="pk_loan_results"),
        comment="results of lent frames whose tarball is still at the peer",
    )
    op.create_table(
        "guests",
        sa.Column("job", _id, autoincrement=False, nullable=False),
        sa.Column("peer", sa.String(63), nullable=False),
        sa.Column("of_job", _id, nullable=False, comment="the job's id at the peer"),
        sa.Column("renderer", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("job", name="pk_guests"),
        sa.ForeignKeyConstraint(["job"], ["jobs.id"], name="fk_guests_jobs", ondelete="CASCADE"),
        comment="jobs that hold frames which a peer has lent us",
    )
    op.create_index("ix_guests_of_job", "guests", ["of_job"])
    op.create_table(
        "guest_frames",
        sa.Column("job", _id, autoincrement=False, nullable=False),
        sa.Column("frame", _id, autoincrement=False, nullable=False),
        sa.Column("issue", sa.Integer, nullable=False, comment="the lender's"),
        sa.Column("render", sa.LargeBinary, nullable=False, comment="the lender's frame.render"),
        sa.Column("arriving", sa.Integer, nullable=False, comment="1: its inputs are not all here yet"),
        sa.Column("told", sa.String(32), comment="the token of the attempt that the lender has been told of"),
        sa.PrimaryKeyConstraint("job", "frame", name="pk_guest_frames"),
        sa.ForeignKeyConstraint(["job"], ["jobs.id"], name="fk_guest_frames_jobs", ondelete="CASCADE"),
        comment="frames that a peer has lent us and that have not been brought back",
    )


def downgrade() -> None:
    for table in ("guest_frames", "guests", "loan_results", "loan_jobs", "loans"):
        op.drop_table(table)
