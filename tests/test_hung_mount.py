"""A mount that hangs, below a real service: it stalls its own root, and nothing waits for it."""

from __future__ import annotations

import errno
import math
import signal
import time
from pathlib import Path

import pytest

from tests.logs import EventLog
from tests.source.faults import BadDisk
from tests.test_end_to_end import Service


class TwoRoots(Service):
    """A service with a second root, ``hung``, on a bad disk."""

    def __init__(self, home: Path, library: Path) -> None:
        self.hung = home / "hung"
        (self.hung / "run").mkdir(parents=True)
        self.disk = BadDisk(library, home, self.hung)
        super().__init__(home, self.disk.env)
        config = home / "config.toml"
        config.write_text(config.read_text() + f'[[roots]]\npath = "{self.hung}"\n')

    def stuck(self) -> bool:
        """Whether a call on the bad disk was made since the last time this was asked."""
        return bool(self.disk.calls())


@pytest.fixture
def service(tmp_path, faults):
    made = TwoRoots(tmp_path, faults)
    yield made
    if made.process.poll() is None:
        made.stop(signal.SIGKILL)


@pytest.mark.parametrize("call", ["lstat", "pread"])
def test_r13_a_mount_that_hangs_stalls_only_its_own_root_and_shutdown_does_not_wait(service, call):
    service.train("../hung/run", 3)
    service.disk.on(call, "hang", service.hung)
    service.start()
    service.wait(service.stuck)
    service.train("a", 20, nan_from=12)
    service.wait(lambda: service.said("CRITICAL", "NaN", "step 12"))
    assert service.stop(signal.SIGTERM) == 0  # though the mount hangs still
    assert service.said("leaving without it")
    assert not service.said("Traceback")


def test_r13_a_mount_that_hangs_after_shutdown_began_is_not_waited_for(service):
    service.start()
    service.wait(service.stuck)
    service.process.send_signal(signal.SIGTERM)
    service.disk.on("stat", "hang", service.hung)
    assert service.stop(signal.SIGTERM) == 0  # though the mount hangs still


def test_r13_an_unreachable_root_is_one_alert_and_none_about_its_runs(service):
    service.train("../hung/run", 20)
    service.train("a", 20)
    service.start()
    service.wait(lambda: any(call == "pread" for call, _, _ in service.disk.calls()))
    service.disk.on("stat", errno.ENOTCONN, service.hung)
    service.wait(lambda: service.said("CRITICAL", "RootUnreachable", "not connected"))
    service.wait(lambda: service.said("Stalled", " a "))
    assert service.stop(signal.SIGTERM) == 0
    assert len(service.said("RootUnreachable")) == 1
    assert len(service.said("Stalled")) == 1
    assert service.alerts().keys() == {(".", "RootUnreachable"), ("a", "Stalled")}


def test_r13_a_mount_that_hangs_while_a_checkpoint_is_looked_for_holds_up_no_other_root(service):
    log = EventLog(service.hung / "run", time.time())
    for step in range(20):
        log.add(step, {"train/loss": 2 * 0.97**step}, time.time())
    service.start()
    service.wait(lambda: any(call == "pread" for call, _, _ in service.disk.calls()))
    time.sleep(3)  # until the directory counts as settled, and is not listed at each poll
    service.disk.on("opendir", "hang", service.hung / "run")
    log.add(20, {"train/loss": math.nan}, time.time())
    log.close()
    service.wait(lambda: any(call == "opendir" for call, _, _ in service.disk.calls()))
    service.train("a", 20, nan_from=12)
    service.wait(lambda: service.said("CRITICAL", "NaN", " a "))
    assert service.stop(signal.SIGTERM) == 0  # though the mount hangs still
