"""Is everything there that the service needs? One line a thing, in words, with what to do.

Looks only: nothing is written, and nothing is sent but a question to Slack about its token.
"""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from watcher.config import Config, Root, state_trouble
from watcher.errors import WatcherError
from watcher.model import WallTime
from watcher.notify.base import Examined, SendError
from watcher.receivers import Receiver, Secret
from watcher.source.listing import is_event_file
from watcher.source.mounts import mount_of
from watcher.wiring import notifier

_SKEW = 60.0  # seconds that an event file may be ahead of our clock
_LOW = 1 << 30  # bytes left on the state's disk that are worth a warning
_MOST_FILES = 20_000  # looked at for the newest one: this is a check, not a survey


@dataclass(frozen=True, slots=True)
class Finding:
    """What was looked at and how it is; ``good`` is False if something must be done."""

    said: str
    good: bool = True


def examine(config: Config | None, now: WallTime) -> Iterator[Finding]:
    """Look at the installation and, with a ``config``, at all that it names."""
    yield from _installation()
    if config is None:
        return
    for root in config.roots:
        yield from _root(root, now)
    yield _state(config.state_dir)
    for receiver in config.receivers.values():
        yield from _receiver(receiver)
    if config.heartbeat:
        every = f"every {config.heartbeat.every:.0f} s, address"
        yield _secret("heartbeat", every, config.heartbeat.url)


def _installation() -> Iterator[Finding]:
    yield Finding(f"python {platform.python_version()} on {platform.system()}")
    for name in ("numpy", "pandas"):
        try:
            yield Finding(f"{name} {version(name)}")
        except PackageNotFoundError:
            yield Finding(f"{name}: not installed; install the watcher again", good=False)
    from watcher.source import scan

    yield Finding(f"scanner: {scan.described()}")


def _root(root: Root, now: WallTime) -> Iterator[Finding]:
    path = Path(root.path)
    try:
        with os.scandir(path) as entries:
            next(entries, None)
    except OSError as error:
        why = f"{error.strerror}; mount it, or let the service's user read it"
        yield Finding(f"root {path}: {why}", good=False)
        return
    where, kind = mount_of(os.path.realpath(path))
    kind = kind or "unknown file system"
    writable = "; writable, which is not needed" if os.access(path, os.W_OK) else ""
    yield Finding(f"root {path}: readable, {kind} mounted at {where}{writable}")
    found = _newest(path)
    if found is None:
        yield Finding(f"root {path}: no event files yet")
        return
    newest, file = found
    if newest > now + _SKEW:
        ahead = f"newest event file is {newest - now:.0f} s in the future"
        yield Finding(f"root {path}: {ahead}; set the clocks with NTP", good=False)
    else:
        yield Finding(f"root {path}: newest event file is {max(0.0, now - newest):.0f} s old")
    yield from _stamps(path, file, newest)


def _stamps(root: Path, file: str, changed: float) -> Iterator[Finding]:
    """Compare the training host's clock with the file server's, at the newest record."""
    from watcher.source import follow, skew

    try:
        news = follow.look(follow.Cursor(file), {}, changed, 0.0)
    except OSError as error:
        yield Finding(f"root {root}: {file}: {error.strerror}", good=False)
        return
    if news is None or not len(news.points):
        return
    ahead = float(news.points.wall_time[-1]) - changed
    said = skew.words(ahead)
    if not abs(ahead) < skew.ABSURD:
        yield Finding(f"root {root}: in {file} the newest record's time is no time")
    elif said:
        yield Finding(f"root {root}: in {file} {said}", good=ahead < 0)
    else:
        yield Finding(f"root {root}: the newest record is stamped {ahead:+.0f} s from its file")


def _newest(path: Path) -> tuple[float, str] | None:
    """Return when the newest event file was changed, and its path."""
    newest: tuple[float, str] | None = None
    seen = 0
    for directory, below, names in os.walk(path):
        below[:] = [name for name in below if not name.startswith(".")]
        for name in filter(is_event_file, names):
            seen += 1
            try:
                file = os.path.join(directory, name)  # noqa: PTH118
                one = (os.lstat(file).st_mtime, file)
            except OSError:
                continue
            newest = one if newest is None else max(newest, one)
        if seen >= _MOST_FILES:
            break
    return newest


def _state(state_dir: str) -> Finding:
    if not state_dir:
        return Finding("state_dir: none; a restart forgets what was sent")
    path = Path(state_dir)
    if trouble := state_trouble(path):
        return Finding(trouble, good=False)
    free = shutil.disk_usage(path if path.exists() else path.parent).free
    low = free < _LOW
    said = f"state_dir {path}: writable, {free / 1e9:.1f} GB free{'; make room' if low else ''}"
    return Finding(said, good=not low)


def _receiver(receiver: Receiver) -> Iterator[Finding]:
    if receiver.missing:
        yield Finding(f"receiver {receiver.name}: {receiver.missing}", good=False)
    if not receiver.secrets:
        yield Finding(f"receiver {receiver.name}: {receiver.type}, no secret")
    for name, secret in receiver.secrets.items():
        yield _secret(f"receiver {receiver.name}", f"{receiver.type}, {name}", secret)
    yield from _granted(receiver)


def _granted(receiver: Receiver) -> Iterator[Finding]:
    """Ask whether a receiver could send, where it can tell and its secrets can be read."""
    try:
        found = notifier(receiver)
    except WatcherError:
        return  # its secret was told about
    if not isinstance(found, Examined):
        return
    try:
        lacking = found.lacks()
    except SendError as error:
        yield Finding(f"receiver {receiver.name}: {error}", good=False)
        return
    said = f"lacks scopes: {lacking}; add them to the app, install it again" if lacking else ""
    enough = f"its scopes suffice; watcher notify-test {receiver.name} tries the channel"
    channel = str(getattr(receiver.text, "channel", "C"))
    if channel[:1] not in "CDG":
        enough += f'; by an id (C…) instead of "{channel}" nothing is told twice after a crash'
    yield Finding(f"receiver {receiver.name}: {said or enough}", good=not said)


def _secret(whose: str, what: str, secret: Secret) -> Finding:
    if secret.elsewhere:
        given = f'credential "{secret.credential}" is handed over by systemd, not looked at here'
        return Finding(f"{whose}: {what}: {given}")
    try:
        secret.read()
    except WatcherError as error:
        return Finding(f"{whose}: {error}", good=False)
    return Finding(f"{whose}: {what} readable")
