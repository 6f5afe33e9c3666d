"""`distren broker start|stop|status`: the private broker in the data folder."""

from __future__ import annotations

import click

from distren.broker.choose import private_broker
from distren.broker.private import PrivateBroker, Status
from distren.cli.context import Cli, json_option, pass_cli


@click.group(short_help="Start, stop or show the private broker.")
def broker() -> None:
    """The private broker in the data folder ('distren up' starts one by itself)."""


@broker.command()
@json_option
@pass_cli
def start(cli: Cli) -> None:
    """Start a RabbitMQ of its own, on the loopback address; it runs until 'distren broker stop'."""
    private = _private(cli)
    private.start()
    _show(cli, private.status())


@broker.command()
@json_option
@pass_cli
def stop(cli: Cli) -> None:
    """Stop the private broker; what it holds is kept."""
    stopped = _private(cli).stop()
    cli.show({"stopped": stopped}, lambda: "the broker has ended" if stopped else "no broker runs here")


@broker.command()
@json_option
@pass_cli
def status(cli: Cli) -> None:
    """Show whether the private broker runs, and how to reach it."""
    _show(cli, _private(cli).status())


def _private(cli: Cli) -> PrivateBroker:
    settings = cli.settings()
    return private_broker(settings.broker_folder, cluster_name=settings.server)


def _show(cli: Cli, found: Status) -> None:
    record = {
        "running": found.running,
        "ready": found.ready,
        "kind": found.kind,
        "pid": found.pid,
        "version": found.version,
        "amqp_url": found.amqp_url,
        "management_url": found.management_url,
        "folder": str(found.folder),
        "log": str(found.log),
    }
    cli.show(record, lambda: _lines(found))


def _lines(found: Status) -> str:
    if not found.running:
        return f"no broker runs in {found.folder}: 'distren broker start' starts one"
    state = f"RabbitMQ {found.version or ''}".strip() + (" is ready" if found.ready else " is starting")
    process = f" (process {found.pid})" if found.pid is not None else ""
    return (
        f"{state}{process}\naddress     {found.amqp_url}\nmanagement  {found.management_url}\n"
        f"folder      {found.folder}\nlog         {found.log}"
    )
