"""What systemd hears: over a real datagram socket, and nothing where there is no systemd."""

from __future__ import annotations

import os
import socket

from watcher.sdnotify import notify, watchdog_seconds


def test_words_arrive_as_one_datagram(tmp_path, monkeypatch):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        notify("WATCHDOG=1", "STATUS=following 3 runs")
        assert systemd.recv(1024) == b"WATCHDOG=1\nSTATUS=following 3 runs"


def test_an_abstract_socket_is_reached(monkeypatch):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(f"\0watcher-test-{os.getpid()}")
        monkeypatch.setenv("NOTIFY_SOCKET", f"@watcher-test-{os.getpid()}")
        notify("READY=1")
        assert systemd.recv(1024) == b"READY=1"


def test_without_systemd_or_after_it_went_away_nothing_happens(tmp_path, monkeypatch):
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    notify("READY=1")
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "gone"))
    notify("READY=1")


def test_the_watchdogs_interval_is_ours_only_if_it_is_meant_for_us(monkeypatch):
    monkeypatch.setenv("WATCHDOG_USEC", "90000000")
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))
    assert watchdog_seconds() == 90.0
    monkeypatch.setenv("WATCHDOG_PID", "1")
    assert watchdog_seconds() is None
