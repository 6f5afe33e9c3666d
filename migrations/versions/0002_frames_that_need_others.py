"""frames that need others"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_id = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def _number(name: str, comment: str) -> sa.Column:
    return sa.Column(name, sa.Integer(), nullable=False, server_default="0", comment=comment)


def upgrade() -> None:
    op.create_table(
        "dependencies",
        sa.Column("job", _id, autoincrement=False, nullable=False),
        sa.Column("frame", _id, autoincrement=False, nullable=False),
        sa.Column("of_job", _id, autoincrement=False, nullable=False, comment="the frame that is needed"),
        sa.Column("of_frame", _id, autoincrement=False, nullable=False),
        sa.ForeignKeyConstraint(["job"], ["jobs.id"], name=op.f("fk_dependencies_jobs"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("job", "frame", "of_job", "of_frame", name=op.f("pk_dependencies")),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_dependencies_of", "dependencies", ["of_job", "of_frame"])
    op.add_column("jobs", _number("needed", "1: frames somewhere need frames of this job"))
    op.add_column("frames", _number("needs", "how many frames it needs"))
    op.add_column("frames", _number("waits_for", "how many of those are not done"))
    op.add_column("frames", _number("starved", "1: failed as one of those did"))


def downgrade() -> None:
    for name in ("needs", "waits_for", "starved"):
        op.drop_column("frames", name)
    op.drop_column("jobs", "needed")
    op.drop_index("ix_dependencies_of", "dependencies")
    op.drop_table("dependencies")
