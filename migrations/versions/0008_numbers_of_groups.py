"""groups whose frames render other numbers than their ids, or serve others only"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_id = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    offset = "a frame's id less the number that it renders"
    op.add_column("groups", sa.Column("offset", _id, nullable=False, server_default="0", comment=offset))
    intermediate = "its frames are no part of the result"
    op.add_column(
        "groups",
        sa.Column("intermediate", sa.Boolean(), nullable=False, server_default=sa.false(), comment=intermediate),
    )


def downgrade() -> None:
    for name in ("offset", "intermediate"):
        op.drop_column("groups", name)
