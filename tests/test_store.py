"""State survives: restarts, other processes, full and read-only disks, newer versions."""

from __future__ import annotations

import os
import resource
import signal
import sqlite3
import stat
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from tests.notify.examples import NOW, a_notice, an_alert, closed
from watcher.errors import StoreError
from watcher.model import Alert, AlertState, RunKey, RunState, Severity, Transition
from watcher.routing import FIRST, RESOLVED, Heard, Silence
from watcher.store import DATABASE, MIGRATIONS, Changes, RunRow, Store, exclusive

HOSTILE = "caf\udcff/\x1b[31m‮'; DROP TABLE alerts;--"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "state") as store:
        yield store


def changes(*alerts: Alert, at: float = NOW, **more: object) -> Changes:
    by_run: dict[RunKey, list[Alert]] = {}
    for alert in alerts:
        by_run.setdefault(alert.slot.run, []).append(alert)
    return Changes(at, by_run, **more)  # type: ignore[arg-type]


def fired(alert: Alert) -> Transition:
    return Transition(None, alert, NOW)


def test_what_was_committed_is_loaded_by_the_next_service(tmp_path: Path) -> None:
    alert = an_alert(run=HOSTILE, value=float("inf"))
    row = RunRow(alert.slot.run, RunState.RUNNING, 0, NOW - 9, NOW, {"tr\udcffain/loss": 12})
    heard = Heard(Severity.CRITICAL, NOW, "group", 2)
    with Store.open(tmp_path) as store:
        store.commit(
            changes(
                alert,
                transitions=(fired(alert),),
                notices=(a_notice(alert),),
                heard={("slack", alert.fingerprint): heard},
                runs=(row,),
            )
        )
        store.add_silence(Silence("s1", {"run": HOSTILE}, NOW, NOW + 60, "ann", "known"))
    with Store.open(tmp_path) as store:
        saved = store.load()
    assert saved.alerts == {alert.slot.run: (alert,)}
    assert saved.heard == {("slack", alert.fingerprint): heard}
    assert saved.runs == {alert.slot.run: row}
    assert saved.silences == (Silence("s1", {"run": HOSTILE}, NOW, NOW + 60, "ann", "known"),)
    assert saved.tick_at == NOW


def test_a_new_store_is_empty(store: Store) -> None:
    saved = store.load()
    assert (saved.alerts, saved.heard, saved.runs, saved.tick_at) == ({}, {}, {}, None)


def test_state_is_for_the_watchers_user_only(tmp_path: Path) -> None:
    with Store.open(tmp_path / "deep" / "state"):
        pass
    state = tmp_path / "deep" / "state"
    assert stat.S_IMODE(state.stat().st_mode) == 0o700
    assert stat.S_IMODE((state / DATABASE).stat().st_mode) == 0o600


def test_of_each_slot_the_open_alert_or_the_last_closed_one_is_loaded(store: Store) -> None:
    old, new = an_alert(onset=1), an_alert(onset=2)
    store.commit(changes(old))
    store.commit(changes(new, transitions=(Transition(None, closed(old), NOW), fired(new))))
    assert store.load().alerts == {new.slot.run: (new,)}
    store.commit(changes(closed(new), transitions=(Transition(new.state, closed(new), NOW),)))
    assert store.load().alerts == {new.slot.run: (closed(new),)}
    assert store.list_alerts() == [closed(new), closed(old)]


def test_closed_alerts_of_earlier_attempts_are_on_record_but_not_loaded(store: Store) -> None:
    old, new = closed(an_alert()), an_alert(attempt=1)
    row = RunRow(old.slot.run, RunState.RUNNING, 1, NOW, NOW)
    store.commit(changes(old, new, runs=(row,)))
    assert store.load().alerts == {new.slot.run: (new,)}
    assert len(store.list_alerts()) == 2


def test_a_pending_alert_that_vanished_or_moved_leaves_no_trace(store: Store) -> None:
    pending = an_alert(onset=1, state=AlertState.PENDING)
    store.commit(changes(pending))
    moved = an_alert(onset=2, state=AlertState.PENDING)
    store.commit(changes(moved))
    assert store.list_alerts() == [moved]
    store.commit(Changes(NOW, {moved.slot.run: ()}))
    assert store.list_alerts() == []


def test_a_notice_is_queued_once_however_often_its_tick_is_written(store: Store) -> None:
    tick = changes(an_alert(), notices=(a_notice(),))
    store.commit(tick)
    store.commit(tick)
    (owed,) = store.due("slack", NOW)
    store.claim(owed.notice.id)
    store.mark_sent(owed.notice, {"ts": "1"}, owed.notice.alerts, NOW)
    store.commit(tick)
    assert store.due("slack", NOW) == []


def test_only_the_oldest_notice_of_a_group_is_due(store: Store) -> None:
    first, second = a_notice(id="1"), a_notice(id="2")
    other = a_notice(id="3", group_key="other")
    store.commit(changes(notices=(first, second, other)))
    assert [o.notice.id for o in store.due("slack", NOW)] == ["1", "3"]
    store.mark_failed(first, "down", next_attempt_at=NOW + 9, paused_until=NOW + 3, doubtful=True)
    assert store.due("slack", NOW) == []
    assert [o.notice.id for o in store.due("slack", NOW + 3)] == ["3"]
    late = store.due("slack", NOW + 9)
    assert [(o.notice.id, o.doubtful) for o in late] == [("3", False), ("1", True)]


@pytest.mark.parametrize("step", [-7200.0, 7200.0])
def test_a_retry_waits_no_longer_and_no_shorter_when_the_clock_is_set(
    store: Store, step: float
) -> None:
    first, other = a_notice(id="1"), a_notice(id="2", receiver="mail")
    store.commit(changes(notices=(first, other)))
    store.mark_failed(first, "down", next_attempt_at=NOW + 9, paused_until=NOW + 9, doubtful=False)
    fresh = a_notice(id="3", receiver="late", queued_at=NOW + step, next_attempt_at=NOW + step)
    store.commit(changes(notices=(fresh,)))  # by the clock as it is, before anybody noticed
    store.clock_set(step, NOW + step)
    assert store.due("slack", NOW + step + 8) == []
    assert len(store.due("slack", NOW + step + 9)) == 1
    assert len(store.due("mail", NOW + step)) == 1
    assert len(store.due("late", NOW + step)) == 1


def test_what_is_owed_to_a_receiver_that_is_no_more_is_given_up(store: Store) -> None:
    here, gone = a_notice(id="1"), a_notice(id="2", receiver="renamed")
    store.commit(changes(notices=(here, gone)))
    assert store.give_up_others({"slack", "mail"}, NOW) == ["renamed"]
    assert len(store.due("slack", NOW)) == 1
    assert store.due("renamed", NOW) == []
    ((dead, why),) = store.list_dead()
    assert (dead.id, "config" in why) == ("2", True)
    assert store.give_up_others({"slack", "mail"}, NOW) == []


def test_a_spoilt_record_is_left_out_and_stops_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    good, bad = an_alert("Good"), an_alert("Bad")
    with Store.open(tmp_path) as store:
        store.commit(changes(good, bad, notices=(a_notice(id="1"), a_notice(id="2"))))
    with sqlite3.connect(tmp_path / DATABASE) as db:
        db.execute("UPDATE alerts SET body = '{' WHERE body LIKE '%Bad%'")
        db.execute("UPDATE notices SET alerts = '[1]' WHERE id = '1'")
    db.close()
    with Store.open(tmp_path) as store:
        assert [alert.alert for alert in store.list_alerts()] == ["Good"]
        assert [a.alert for held in store.load().alerts.values() for a in held] == ["Good"]
        assert store.due("slack", NOW) == []
        assert [owed.notice.id for owed in store.due("slack", NOW)] == ["2"]
        assert [delivery.dead for delivery in store.counts()] == [1]
    assert "unreadable" in caplog.text


@pytest.mark.parametrize(
    ("table", "spoil"),
    [("runs", "judged = '{'"), ("heard", "severity = '?'"), ("silences", "matchers = '['")],
)
def test_a_spoilt_row_of_any_table_stops_no_start(tmp_path: Path, table: str, spoil: str) -> None:
    alert = an_alert()
    heard = {("slack", alert.fingerprint): Heard(Severity.CRITICAL, NOW, "group", 2)}
    rows = [RunRow(RunKey("/logs", name), RunState.RUNNING, 0, NOW, NOW) for name in "ab"]
    with Store.open(tmp_path) as store:
        store.commit(changes(alert, heard=heard, runs=tuple(rows), notices=(a_notice(id="1"),)))
        store.add_silence(Silence("s1", {"run": "a"}, NOW, NOW + 60))
    with sqlite3.connect(tmp_path / DATABASE) as db:
        db.execute(f"UPDATE {table} SET {spoil} WHERE rowid = 1")
        db.execute("UPDATE notices SET alerts = '[1]'")
        db.execute("UPDATE ticks SET at = 'x'")
    db.close()
    with Store.open(tmp_path) as store:
        saved = store.load()
        assert (len(saved.runs), len(saved.heard), len(saved.silences)) == (
            2 - (table == "runs"),
            1 - (table == "heard"),
            1 - (table == "silences"),
        )
        assert saved.tick_at is None
        assert store.told("1") is None


def test_what_a_later_version_added_to_an_alert_is_left_out(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        store.commit(changes(an_alert()))
    with sqlite3.connect(tmp_path / DATABASE) as db:
        db.execute("UPDATE alerts SET body = json_set(body, '$.colour', 'red')")
    db.close()
    with Store.open(tmp_path) as store:
        assert store.list_alerts() == [an_alert()]


def test_what_was_claimed_and_not_settled_comes_back_as_doubtful(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        store.commit(changes(notices=(a_notice(),)))
        store.claim(a_notice().id)
    with Store.open(tmp_path) as store:
        (owed,) = store.due("slack", NOW)
        assert owed.doubtful
        assert owed.notice.attempts == 1


def test_dead_letters_are_kept_shown_and_can_be_revived(store: Store) -> None:
    dead, instead = a_notice(id="1"), a_notice(id="2", receiver="mail")
    store.commit(changes(notices=(dead,)))
    store.mark_dead(dead, "the bot is not in the channel \udcff", NOW, instead)
    ((notice, error),) = store.list_dead()
    assert notice.id == "1"
    assert error == "the bot is not in the channel \\udcff"
    assert [(d.receiver, d.queued, d.dead) for d in store.counts()] == [
        ("mail", 1, 0),
        ("slack", 0, 1),
    ]
    assert store.revive("slack", NOW + 5) == 1
    assert [o.notice.id for o in store.due("slack", NOW + 5)] == ["1"]


def test_what_is_revived_is_told_once_a_group_as_it_is_by_now(store: Store) -> None:
    stays, ended = an_alert("Stays"), an_alert("Ended")
    again = an_alert("Ended", onset=900)  # the same rule of the same run, once more
    given_up = (
        a_notice(stays, ended, id="1"),
        a_notice(closed(ended), id="2", reason=RESOLVED),
        a_notice(again, id="3"),
        a_notice(an_alert("Over", run="b"), id="4", group_key="b"),
    )
    later = replace(stays, severity=Severity.WARNING, value=9.0)
    over = closed(an_alert("Over", run="b"))
    store.commit(changes(later, closed(ended), again, notices=given_up))
    store.commit(changes(over))
    for notice in given_up:
        store.mark_dead(notice, "the token was revoked", NOW)
    assert store.revive("slack", NOW + 5) == 2
    first, second = (owed.notice for owed in store.due("slack", NOW + 5))
    assert (first.reason, first.alerts) == (FIRST, (again, later))
    assert second.alerts == (over,)
    assert store.list_dead() == []
    assert store.revive("slack", NOW + 6) == 0


def test_the_end_of_what_was_told_before_is_revived_as_well(store: Store) -> None:
    """A receiver that keeps incidents closes each by its own key."""
    told, later = an_alert("A"), an_alert("A", onset=900)
    given_up = (
        a_notice(closed(told), id="1", reason=RESOLVED),
        a_notice(later, id="2"),
        a_notice(closed(later), id="3", reason=RESOLVED),
    )
    store.commit(changes(closed(later), notices=given_up))
    for notice in given_up:
        store.mark_dead(notice, "the key was refused", NOW)
    assert store.revive("slack", NOW + 5) == 1
    (owed,) = store.due("slack", NOW + 5)
    assert {alert.fingerprint for alert in owed.notice.alerts} == {
        told.fingerprint,
        later.fingerprint,
    }
    assert owed.notice.id not in "123"


def test_what_may_have_arrived_is_revived_as_it_was_to_be_looked_up(store: Store) -> None:
    one, two = a_notice(id="1"), a_notice(closed(an_alert()), id="2", reason=RESOLVED)
    store.commit(changes(notices=(one, two)))
    store.claim("1")
    store.mark_failed(one, "no answer", next_attempt_at=NOW, paused_until=NOW, doubtful=True)
    for notice in (one, two):
        store.mark_dead(notice, "the token was revoked", NOW)
    assert store.revive("slack", NOW + 5) == 2
    (owed,) = store.due("slack", NOW + 5)
    assert (owed.notice.id, owed.doubtful, owed.notice.alerts) == ("1", True, one.alerts)


def test_a_command_does_not_migrate_the_state_under_an_older_service(tmp_path: Path) -> None:
    older = MIGRATIONS[:-1]
    with Store.open(tmp_path, migrations=older):
        for how in ({"make": False}, {"read_only": True}):
            with pytest.raises(StoreError, match="start the service once"):
                Store.open(tmp_path, **how)  # type: ignore[arg-type]
        Store.open(tmp_path, migrations=older, make=False).close()


def test_silences_can_be_expired_once(store: Store) -> None:
    store.add_silence(Silence("s", {}, NOW, NOW + 60))
    assert store.expire_silence("s", NOW + 1)
    assert not store.expire_silence("s", NOW + 2)
    assert store.list_silences()[0].ends_at == NOW + 1


def test_old_matters_are_pruned_and_open_ones_stay(store: Store) -> None:
    old, firing = closed(an_alert("A")), an_alert("B")
    heard = {("slack", a.fingerprint): Heard(Severity.INFO, NOW, "g") for a in (old, firing)}
    runs = tuple(
        RunRow(RunKey("/logs", name), state, 0, NOW, NOW)
        for name, state in (("here", RunState.FINISHED), ("gone", RunState.GONE))
    )
    notices = (a_notice(id="1"), a_notice(id="2", group_key="x"))
    store.commit(changes(old, firing, notices=notices, heard=heard, runs=runs))
    store.mark_sent(a_notice(id="1"), {}, (), NOW)
    store.prune(NOW + 89 * 86400)
    assert len(store.list_alerts()) == 2
    store.prune(NOW + 91 * 86400)
    saved = store.load()
    assert store.list_alerts() == [firing]
    assert list(saved.heard) == [("slack", firing.fingerprint)]
    assert [run.run for run in saved.runs] == ["here"]
    assert [(d.sent, d.queued) for d in store.counts()] == [(0, 1)]


def test_two_writers_wait_for_each_other(tmp_path: Path) -> None:
    def silence(name: str) -> None:
        with Store.open(tmp_path) as store:
            for i in range(50):
                store.add_silence(Silence(f"{name}{i}", {}, NOW, NOW + 1))

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(silence, "abc"))
    with Store.open(tmp_path, read_only=True) as store:
        assert len(store.list_silences()) == 150


def test_another_process_reads_while_the_service_writes(tmp_path: Path) -> None:
    with Store.open(tmp_path) as writer, Store.open(tmp_path, read_only=True) as reader:
        writer.commit(changes(an_alert()))
        assert reader.list_alerts() == [an_alert()]
        with pytest.raises(StoreError, match="cannot be written"):
            reader.commit(changes(at=NOW + 1))


def test_reading_needs_a_state_and_says_so(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no state yet; start the service"):
        Store.open(tmp_path, read_only=True)


def test_only_one_service_holds_a_state_directory(tmp_path: Path) -> None:
    with (
        exclusive(tmp_path),
        pytest.raises(StoreError, match="in use by another watcher"),
        exclusive(tmp_path),
    ):
        pass
    with exclusive(tmp_path):
        pass


def test_a_newer_state_is_refused_in_one_line_with_the_next_step(tmp_path: Path) -> None:
    Store.open(tmp_path).close()
    with sqlite3.connect(tmp_path / DATABASE) as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(StoreError, match=r"newer watcher \(state version 99.*upgrade") as error:
        Store.open(tmp_path)
    assert "\n" not in str(error.value)


def test_an_older_state_is_migrated_forward_and_keeps_its_rows(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        store.commit(changes(an_alert()))
    newer = (*MIGRATIONS, ("ALTER TABLE runs ADD COLUMN note TEXT", "CREATE TABLE more (x)"))
    with pytest.raises(StoreError, match="start the service once"):
        Store.open(tmp_path, read_only=True, migrations=newer)
    with Store.open(tmp_path, migrations=newer) as store:
        assert store.list_alerts() == [an_alert()]
    with pytest.raises(StoreError, match="newer"):
        Store.open(tmp_path)


def test_a_migration_that_fails_leaves_the_state_as_it_was(tmp_path: Path) -> None:
    Store.open(tmp_path).close()
    broken = (*MIGRATIONS, ("CREATE TABLE more (x)", "nonsense"))
    with pytest.raises(StoreError, match="nonsense"):
        Store.open(tmp_path, migrations=broken)
    Store.open(tmp_path).close()


@pytest.mark.parametrize("rubbish", [b"x" * 8192, b"SQLite format 3\0" + b"\xff" * 8192])
def test_a_damaged_state_is_said_so(tmp_path: Path, rubbish: bytes) -> None:
    (tmp_path / DATABASE).write_bytes(rubbish)
    with pytest.raises(StoreError, match="restore a backup"):
        Store.open(tmp_path)


def test_a_state_directory_that_cannot_be_made_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="give the watcher's user a directory"):
        Store.open(tmp_path / "file" / "state")


def _in_child(work: Callable[[], str]) -> str:
    """Do some work in a process of its own and return what it said."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            said = work()
        except BaseException as error:  # noqa: BLE001 - a child must never go on as pytest
            said = f"raised {error!r}"
        os.write(writing, said.encode())
        os._exit(0)
    os.close(writing)
    os.waitpid(pid, 0)
    with os.fdopen(reading) as pipe:
        return pipe.read()


def test_a_read_only_state_directory_can_be_read_but_not_written() -> None:
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        with Store.open(place) as store:
            store.commit(changes(an_alert()))
        (place / DATABASE).chmod(0o444)
        place.chmod(0o555)
        said = _in_child(lambda: _read_and_write(place))
        place.chmod(0o755)
    assert said.startswith("1 alert; ")
    assert "cannot be" in said
    assert "\n" not in said


def _read_and_write(place: Path) -> str:
    if os.geteuid() == 0:  # nothing is read-only for root
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
    with Store.open(place, read_only=True) as store:
        said = f"{len(store.list_alerts())} alert; "
    try:
        with Store.open(place) as store:
            store.commit(changes(an_alert("Other")))
    except StoreError as error:
        return said + str(error)
    return said + "written"


def test_a_full_disk_loses_nothing_that_was_held(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        store.commit(changes(an_alert()))
    # a limit on file sizes can only be set for a process
    assert _in_child(lambda: _write_until_full(tmp_path)) == "written after all"
    with Store.open(tmp_path) as store:
        assert store.list_alerts()[-1] == an_alert()
        store.commit(changes(at=NOW + 1))


def _write_until_full(place: Path) -> str:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with Store.open(place) as store:
        resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, hard))
        for i in range(1000):
            alert = an_alert(run=f"run{i}", reason="x" * 10_000)
            tick = changes(alert, notices=(a_notice(alert, group_key=str(i)),))
            try:
                store.commit(tick)
            except StoreError as error:
                if "\n" in str(error) or "full" not in str(error):
                    return f"unclear: {error}"
                break
        # nothing of the failed tick is there, all that was committed before is
        if (len(store.list_alerts()), len(store.due("slack", NOW, 9999))) != (i + 1, i):
            return "a tick was written in part"
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        store.commit(tick)
        return "written after all" if len(store.list_alerts()) == i + 2 else "lost"


def test_a_tick_is_written_wholly_or_not_at_all(store: Store) -> None:
    nameless = a_notice(id=None)  # what goes wrong late in the transaction
    row = RunRow(an_alert().slot.run, None, 0, NOW, NOW)  # type: ignore[arg-type]
    with pytest.raises(StoreError):
        store.commit(changes(an_alert(), notices=(nameless,), runs=(row,)))
    assert store.list_alerts() == []
    store.commit(changes(an_alert()))
    assert store.list_alerts() == [an_alert()]
