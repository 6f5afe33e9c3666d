"""frames with a renderer, settings and outputs of their own; limits"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_id = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def _list(name: str, comment: str) -> sa.Column:
    return sa.Column(name, sa.JSON(), nullable=False, server_default="[]", comment=comment)


def _index_of_ready(*columns: str) -> None:
    ready = sa.text("state = 'ready'")
    op.drop_index("ix_frames_ready", "frames")
    op.create_index("ix_frames_ready", "frames", list(columns), sqlite_where=ready, postgresql_where=ready)


def upgrade() -> None:
    op.create_table(
        "groups",
        sa.Column("job", _id, autoincrement=False, nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("renderer", sa.Text(), nullable=True, comment="null: the job's"),
        sa.Column("label", sa.Text(), nullable=True),
        sa.Column("settings", sa.JSON(), nullable=False),
        sa.Column("content", sa.JSON(), nullable=False),
        sa.Column("outputs", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(["job"], ["jobs.id"], name=op.f("fk_groups_jobs"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("job", "number", name=op.f("pk_groups")),
        comment="frames that differ from the rest of their job; what they lack they have from the job",
    )
    op.add_column("jobs", _list("content", "elements of the settings, canonical XML"))
    op.add_column("jobs", _list("outputs", "files beyond those of the renderer"))
    op.add_column("jobs", _list("lanes", "its renderers, where it has several"))
    silence = "seconds without a word after which an attempt is ended"
    op.add_column("jobs", sa.Column("silence_limit", sa.Float(), nullable=True, comment=silence))
    op.add_column("jobs", sa.Column("memory_limit", sa.BigInteger(), nullable=True, comment="bytes"))
    op.add_column("jobs", sa.Column("output_limit", sa.BigInteger(), nullable=True, comment="bytes"))
    group = "its group's number; null: as the job says"
    op.add_column("frames", sa.Column("group", sa.Integer(), nullable=True, comment=group))
    lane = "which of the job's renderers renders it"
    op.add_column("frames", sa.Column("lane", sa.Integer(), nullable=False, server_default="0", comment=lane))
    _index_of_ready("job", "lane", "id")


def downgrade() -> None:
    _index_of_ready("job", "id")
    for name in ("group", "lane"):
        op.drop_column("frames", name)
    for name in ("content", "outputs", "lanes", "silence_limit", "memory_limit", "output_limit"):
        op.drop_column("jobs", name)
    op.drop_table("groups")
