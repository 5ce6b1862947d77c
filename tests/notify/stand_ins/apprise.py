"""A stand-in for apprise where it is not installed: as much of its interface as we use.

``spy://ok/...`` takes a message, ``spy://no/...`` does not, ``spy://oops/...`` raises; any other
address is none.
"""

from __future__ import annotations

import logging
from typing import Any

told: list[dict[str, Any]] = []


class AppriseAsset:
    """What is the same for all services."""

    def __init__(self, async_mode: bool = True) -> None:
        self.async_mode = async_mode


class _Service:
    socket_connect_timeout = socket_read_timeout = 4.0

    def __init__(self, url: str) -> None:
        self.url = url


class Apprise:
    """Services that are told together."""

    def __init__(self, asset: AppriseAsset) -> None:
        assert not asset.async_mode
        self.services: list[_Service] = []

    @staticmethod
    def instantiate(url: str) -> _Service | None:
        """Return the service at an address, None if there is none."""
        if url.startswith("spy://"):
            return _Service(url)
        logging.getLogger("apprise").error("unparseable %s", url)
        return None

    def add(self, service: _Service) -> bool:
        """Take a service in."""
        self.services.append(service)
        return True

    def notify(self, **said: Any) -> bool:
        """Return whether all took it."""
        (service,) = self.services
        told.append({**said, "url": service.url, "timeout": service.socket_read_timeout})
        if service.url.startswith("spy://oops"):
            raise RuntimeError(service.url)
        return service.url.startswith("spy://ok")
