"""Alembic's entry: runs the migrations over the connection that DistRen has opened (see distren/storage/schema.py)."""

from alembic import context

from distren.storage.tables import metadata

connection = context.config.attributes.get("connection")
if connection is None:
    raise SystemExit("run 'distren db upgrade': it opens the database that this server uses")
context.configure(connection=connection, target_metadata=metadata, render_as_batch=True)
with context.begin_transaction():
    context.run_migrations()
