"""Looks after what the associations with peers are on our broker, in a thread of its own: it may take seconds."""

from __future__ import annotations

import logging
from concurrent.futures import Future, ThreadPoolExecutor, wait

from distren.amqp import address
from distren.broker import locate
from distren.broker.management import Management
from distren.config import Settings
from distren.errors import DistrenError
from distren.federation import association, shovelcheck
from distren.federation.member import Member

log = logging.getLogger(__name__)

_ENDS_WITHIN = 4.0
"""seconds that a look takes at most, unless the broker does not answer; who removes a peer waits a second longer"""


class Associations:
    """Makes and mends them where this server, called `own`, may manage its broker at `broker_url`."""

    def __init__(self, own: str, settings: Settings, broker_url: str) -> None:
        self._own, self._settings, self._broker_url = own, settings, broker_url
        self._threads = ThreadPoolExecutor(1, thread_name_prefix="peers")
        self._under_way: dict[str, Future[None]] = {}
        self._management: Management | None = None

    def stop(self) -> None:
        """Do nothing more; waits for what is under way."""
        self._threads.shutdown(cancel_futures=True)
        if self._management is not None:
            self._management.close()

    def cease(self) -> None:
        """Begin nothing more."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def leave(self, name: str) -> None:
        """Begin nothing more for a peer that is none any more, so that nothing is made again that is taken away now."""
        under_way = self._under_way.pop(name, None)
        if under_way is not None and not under_way.cancel():
            wait([under_way], _ENDS_WITHIN)

    def look_after(self, member: Member) -> None:
        """In the background, unless that is under way."""
        under_way = self._under_way.get(member.name)
        if under_way is None or under_way.done():
            self._under_way[member.name] = self._threads.submit(self._look, member)

    def _look(self, member: Member) -> None:
        try:
            if not member.link.is_up:
                with_management = self._establish(member)
                if not member.link.is_open:
                    member.link.open()
                if not with_management:
                    return
            if (management := self._api()) is not None:
                trouble = shovelcheck.check(management, self._broker_url, self._own, member.peer)
                if trouble and trouble != member.health.trouble:
                    log.warning("a peer can not be reached: %s", trouble, extra={"peer": member.name})
                member.health.trouble = trouble
        except DistrenError as error:
            if str(error) != member.health.trouble:
                log.warning("the association with a peer is not in order: %s", error, extra={"peer": member.name})
            member.health.trouble = str(error)
        except Exception:
            log.exception("the association with a peer could not be looked after")

    def _establish(self, member: Member) -> bool:
        """Make what is missing on our broker; False where we may not, and trust that somebody else has."""
        management = self._api()
        if management is None:
            return False
        try:
            user = address.user(self._broker_url)
            association.establish(management, self._own, member.peer, farm_user=user)
        except DistrenError as error:
            log.warning("the association with a peer is taken as it is: %s", error, extra={"peer": member.name})
            return False
        return True

    def _api(self) -> Management | None:
        if self._management is None:
            try:
                self._management = locate.management(
                    self._settings.model_copy(update={"broker": self._settings.broker or self._broker_url})
                )
            except DistrenError as error:
                log.warning("the broker can not be managed: %s", error)
        return self._management
