"""ids of results and logs; results of all attempts are kept; jobs that are being deleted"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    following = "the next file id to be given"
    op.add_column(
        "jobs", sa.Column("next_file", sa.BigInteger(), nullable=False, server_default="0", comment=following)
    )
    op.add_column("jobs", sa.Column("deleted", sa.Float(), nullable=True, comment="since when it is being deleted"))
    ids = "file id of its result; that of its log is the next one"
    op.add_column("attempts", sa.Column("file", sa.BigInteger(), nullable=True, comment=ids))
    op.add_column("attempts", sa.Column("result", sa.String(length=64), nullable=True))
    op.add_column("attempts", sa.Column("result_size", sa.BigInteger(), nullable=True))
    op.create_index("ix_attempts_job_file", "attempts", ["job", "file"])
    op.execute("UPDATE jobs SET next_file = 1 + (SELECT count(*) FROM files WHERE files.job = jobs.id)")
    op.execute(
        "UPDATE attempts SET file = ranked.file FROM (SELECT token, jobs.next_file + 2 * (row_number() OVER"
        " (PARTITION BY job ORDER BY started, token) - 1) AS file FROM attempts JOIN jobs ON jobs.id = attempts.job)"
        " AS ranked WHERE ranked.token = attempts.token"
    )
    op.execute(
        "UPDATE jobs SET next_file = next_file + 2 * (SELECT count(*) FROM attempts WHERE attempts.job = jobs.id)"
    )
    op.execute(
        "UPDATE attempts SET result = frames.result, result_size = frames.result_size FROM frames"
        " WHERE frames.job = attempts.job AND frames.id = attempts.frame AND frames.token = attempts.token"
    )


def downgrade() -> None:
    op.drop_index("ix_attempts_job_file", "attempts")
    for name in ("file", "result", "result_size"):
        op.drop_column("attempts", name)
    for name in ("next_file", "deleted"):
        op.drop_column("jobs", name)
