"""How does state survive a restart? All that is asked of the database is here.

One SQLite database in WAL mode keeps what the event files cannot tell again: alert states, what
was queued and sent, silences, the run index. A tick is one transaction. Keys that hold names from
the file system are ASCII JSON, so that names which are not valid UTF-8 survive.

``commit`` and the outbox's methods are short transactions under one lock: one ``Store`` may be
shared by threads, and several processes may open the same file.
"""

from __future__ import annotations

import hashlib
import json
import logging
import sqlite3
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import asdict, replace
from typing import Any, TypeVar

from watcher.database import DATABASE, MIGRATIONS, Database, exclusive
from watcher.model import (
    Alert,
    AlertState,
    Notice,
    RunKey,
    RunState,
    Slot,
    WallTime,
)
from watcher.records import (
    Changes,
    Delivery,
    Owed,
    RunRow,
    Saved,
    as_key,
    dump_alerts,
    load_alert,
    load_chartless,
    load_heard,
    load_notice,
    load_owed,
    load_run,
    load_silence,
    printable,
)
from watcher.routing import Deed, Heard, HeardKey, Silence, loudest_first

__all__ = [
    "DATABASE",
    "MIGRATIONS",
    "Changes",
    "Delivery",
    "Owed",
    "RunRow",
    "Saved",
    "Store",
    "exclusive",
]

_T = TypeVar("_T")
_UNREADABLE = (ValueError, KeyError, TypeError, AttributeError)  # of a record that was spoilt
log = logging.getLogger(__name__)

_MANY = 5  # notices of one group that nobody is to get one by one
_KEEP = 90 * 86400.0  # seconds that closed matters stay on record


class Store(Database):
    """The state of the service, in one database."""

    # ---------------------------------------------------------------- the tick

    def load(self) -> Saved:
        """Return what a service needs to go on where it stopped."""
        runs = {row.run: row for row in self.list_runs()}
        held: dict[Slot, Alert] = {}
        for alert in self._read("SELECT body FROM alerts ORDER BY changed", (), _alert_of):
            known = runs.get(alert.slot.run)
            if alert.open or known is None or known.attempt == alert.slot.attempt:
                held[alert.slot] = alert
        alerts: dict[RunKey, tuple[Alert, ...]] = {}
        for slot, alert in held.items():
            alerts[slot.run] = (*alerts.get(slot.run, ()), alert)
        tick = self._read("SELECT at FROM ticks", (), lambda row: float(row["at"]))
        return Saved(
            alerts=alerts,
            heard=dict(self._read(_all("heard"), (), _heard_of)),
            runs=runs,
            silences=self.list_silences(),
            tick_at=tick[0] if tick else None,
        )

    def _read(
        self,
        sql: str,
        values: tuple[Any, ...],
        make: Callable[[sqlite3.Row], _T],
        spoilt: Callable[[sqlite3.Row, str], None] = lambda row, why: None,
    ) -> list[_T]:
        """Return what rows hold; one that nobody can read is told, left out, and ``spoilt``."""
        found = []
        for row in self._rows(sql, values):
            try:
                found.append(make(row))
            except _UNREADABLE as error:
                told = f"{error!r} in={sql!r}"
                if told not in self._left_out:  # it is met again and again
                    self._left_out.add(told)
                    log.error("record left out, it is unreadable error=%s", told)
                spoilt(row, f"its record is unreadable: {error!r}")
        return found

    def commit(self, changes: Changes) -> None:
        """Write one tick in one transaction. Writing the same tick twice changes nothing more.

        1. Alerts as they are now, and those that came and went within the tick.
        2. The log of transitions.
        3. Notices, each by its id only once, and what their receivers have heard.
        4. The run index and the time of the tick.
        """
        with self._transaction() as db:
            self._write_alerts(db, changes)
            db.executemany(
                "INSERT INTO transitions VALUES (NULL, ?, ?, ?, ?, ?, ?)",
                [
                    (
                        t.at,
                        t.alert.fingerprint,
                        t.before,
                        t.alert.state,
                        t.alert.severity,
                        t.escalated,
                    )
                    for t in changes.transitions
                ],
            )
            _queue(db, changes.notices)
            for (receiver, fingerprint), heard in changes.heard.items():
                _write_heard(db, receiver, fingerprint, heard)
            db.executemany(
                "INSERT OR REPLACE INTO runs (run, state, attempt, first_seen, last_seen, judged,"
                " outcome) VALUES (?, ?, ?, ?, ?, ?, ?)",
                [
                    (
                        as_key(asdict(r.run)),
                        r.state,
                        r.attempt,
                        r.first_seen,
                        r.last_seen,
                        as_key(dict(r.judged)),
                        printable(r.outcome),
                    )
                    for r in changes.runs
                ],
            )
            db.execute("INSERT OR REPLACE INTO ticks VALUES (1, ?)", (changes.tick_at,))

    @staticmethod
    def _write_alerts(db: sqlite3.Connection, changes: Changes) -> None:
        at = changes.tick_at
        order = db.execute("SELECT coalesce(max(changed), 0) FROM alerts").fetchone()[0]
        held = [alert for alerts in changes.alerts.values() for alert in alerts]
        seen = {t.alert.fingerprint: t.alert for t in changes.transitions}
        for alert in [*seen.values(), *held]:
            order += 1
            slot = asdict(alert.slot)
            db.execute(
                "INSERT OR REPLACE INTO alerts VALUES (?, ?, ?, ?, ?, ?, ?)",
                (
                    alert.fingerprint,
                    as_key(slot),
                    as_key(slot["run"]),
                    alert.state,
                    order,
                    at,
                    json.dumps(asdict(alert)),
                ),
            )
        # a pending alert that vanished, or whose onset moved, leaves no trace
        kept = {alert.fingerprint for alert in held}
        for run in changes.alerts:
            key = (as_key(asdict(run)), AlertState.PENDING)
            sql = "SELECT fingerprint FROM alerts WHERE run = ? AND state = ?"
            for row in db.execute(sql, key).fetchall():
                if row["fingerprint"] not in kept:
                    db.execute("DELETE FROM alerts WHERE fingerprint = ?", tuple(row))

    def prune(self, now: WallTime, keep: float = _KEEP) -> None:
        """Forget what was settled more than ``keep`` seconds ago; dead letters too."""
        before = now - keep
        with self._transaction() as db:
            db.execute("DELETE FROM transitions WHERE at < ?", (before,))
            db.execute("DELETE FROM notices WHERE settled_at < ?", (before,))
            db.execute("DELETE FROM threads WHERE at < ?", (before,))
            db.execute("DELETE FROM acknowledged WHERE at < ?", (before,))
            db.execute("DELETE FROM silences WHERE ends_at < ?", (before,))
            db.execute(
                "DELETE FROM runs WHERE state = ? AND last_seen < ?", (RunState.GONE, before)
            )
            is_open = (AlertState.PENDING, AlertState.FIRING)
            db.execute(
                "DELETE FROM alerts WHERE at < ? AND state NOT IN (?, ?)", (before, *is_open)
            )
            db.execute(
                "DELETE FROM heard WHERE at < ? AND fingerprint NOT IN"
                " (SELECT fingerprint FROM alerts WHERE state IN (?, ?))",
                (before, *is_open),
            )

    # ---------------------------------------------------------------- the outbox

    def due(self, receiver: str, now: WallTime, limit: int = 50) -> list[Owed]:
        """Return what may be sent now, oldest first: of each group only the oldest unsent.

        Empty while the receiver is paused. Whatever is marked as being sent was cut off by a
        crash, since one receiver is served by one job: it comes back as doubtful.
        """
        return self._read(
            """SELECT n.*, t.receipt AS thread, t.alerts AS shown FROM notices n
               LEFT JOIN threads t USING (receiver, group_key)
               WHERE n.receiver = ? AND n.next_attempt_at <= ? AND n.seq IN (
                   SELECT min(seq) FROM notices
                   WHERE receiver = ? AND state IN ('queued', 'sending') GROUP BY group_key)
               AND NOT EXISTS (
                   SELECT 1 FROM receivers WHERE name = n.receiver AND paused_until > ?)
               ORDER BY n.next_attempt_at, n.seq LIMIT ?""",
            (receiver, now, receiver, now, limit),
            load_owed,
            lambda row, why: self._give_up([row["id"]], why, now),  # it would stop the others
        )

    def _give_up(self, notices: Iterable[str], why: str, now: WallTime) -> None:
        with self._transaction() as db:
            for notice_id in notices:
                _set_aside(db, notice_id, why, now)

    def clock_set(self, step: float, now: WallTime) -> None:
        """Carry over for how long retries wait, when wall time was set by ``step`` to ``now``.

        What was queued since then, before anybody noticed, is left as it is.
        """
        with self._transaction() as db:
            db.execute(
                "UPDATE notices SET next_attempt_at = next_attempt_at + ?1"
                " WHERE state IN ('queued', 'sending') AND (?1 < 0 OR queued_at <= ?2)",
                (step, now - step),
            )
            db.execute(
                "UPDATE receivers SET paused_until = paused_until + ? WHERE paused_until > 0",
                (step,),
            )
            db.execute("UPDATE threads SET chart_at = chart_at + ?", (step,))

    def claim(self, notice_id: str) -> None:
        """Note that sending begins: from here on a crash leaves the notice doubtful."""
        with self._transaction() as db:
            db.execute(
                "UPDATE notices SET state = 'sending', attempts = attempts + 1 WHERE id = ?",
                (notice_id,),
            )

    def mark_sent(
        self, notice: Notice, receipt: Mapping[str, str], shown: tuple[Alert, ...], now: WallTime
    ) -> None:
        """Settle a notice. ``receipt`` and ``shown`` become the group's first message."""
        with self._transaction() as db:
            db.execute(
                "UPDATE notices SET state = 'sent', settled_at = ?, receipt = ?, error = NULL,"
                " doubtful = 0 WHERE id = ?",
                (now, json.dumps(dict(receipt)), notice.id),
            )
            _write_thread(db, notice, receipt, shown, now)
            db.execute(
                "INSERT OR REPLACE INTO receivers VALUES (?, 0, 0, '', ?)", (notice.receiver, now)
            )

    def mark_thread(
        self, notice: Notice, receipt: Mapping[str, str], shown: tuple[Alert, ...], now: WallTime
    ) -> None:
        """Replace what is known of the group's first message, after a chart was added to it."""
        with self._transaction() as db:
            _write_thread(db, notice, receipt, shown, now)
            _chart_at(db, notice, None)

    def chartless(self, receiver: str, now: WallTime, limit: int = 20) -> list[Owed]:
        """Return the first messages whose chart is owed now, the oldest first."""
        sql = (
            "SELECT * FROM threads WHERE receiver = ? AND chart_at <= ? ORDER BY chart_at LIMIT ?"
        )
        return self._read(sql, (receiver, now, limit), load_chartless)

    def mark_chart_later(self, notice: Notice, at: WallTime | None) -> None:
        """Put a chart off until ``at``; None gives it up."""
        with self._transaction() as db:
            _chart_at(db, notice, at)

    def mark_failed(
        self,
        notice: Notice,
        error: str,
        *,
        next_attempt_at: WallTime,
        paused_until: WallTime,
        doubtful: bool,
    ) -> None:
        """Put a notice back, to be tried again at ``next_attempt_at``; pause its receiver."""
        with self._transaction() as db:
            db.execute(
                "UPDATE notices SET state = 'queued', next_attempt_at = ?, error = ?,"
                " doubtful = ? WHERE id = ?",
                (next_attempt_at, printable(error), doubtful, notice.id),
            )
            db.execute(
                "INSERT INTO receivers VALUES (?, 1, ?, ?, NULL) ON CONFLICT (name) DO UPDATE SET"
                " failures = failures + 1, paused_until = excluded.paused_until,"
                " error = excluded.error",
                (notice.receiver, paused_until, printable(error)),
            )

    def mark_dead(
        self, notice: Notice, error: str, now: WallTime, instead: Notice | None = None
    ) -> None:
        """Give a notice up and keep it as a dead letter; queue ``instead`` in its place."""
        with self._transaction() as db:
            _set_aside(db, notice.id, error, now)
            if instead:
                _queue(db, [instead])

    def revive(self, receiver: str, now: WallTime) -> int:
        """Queue a receiver's dead letters again, say after its token was renewed; return how many.

        What one group is owed becomes one notice, with its alerts as they are by now.
        """
        with self._transaction() as db:
            db.execute("DELETE FROM receivers WHERE name = ?", (receiver,))
            self._merge(db, receiver, "dead", 1)
            return db.execute(
                "UPDATE notices SET state = 'queued', next_attempt_at = ?, settled_at = NULL,"
                " queued_at = ? WHERE receiver = ? AND state = 'dead'",
                (now, now, receiver),
            ).rowcount

    def merge(self, receiver: str) -> None:
        """Make one notice of many of one group that wait for a receiver, with its alerts as they
        are by now: whoever mends it is not to hear of all that came and went, one by one.
        """
        with self._transaction() as db:
            self._merge(db, receiver, "queued")

    def begin(self, now: WallTime) -> None:
        """Let every receiver be tried at once: with a service that starts, something may have been
        mended. What waits for those that failed is merged where it is much.
        """
        with self._transaction() as db:
            for row in db.execute("SELECT name FROM receivers WHERE failures > 0").fetchall():
                self._merge(db, row["name"], "queued")
            db.execute("UPDATE receivers SET paused_until = 0")
            db.execute(
                "UPDATE notices SET next_attempt_at = ? WHERE state = 'queued'"
                " AND next_attempt_at > ?",
                (now, now),
            )

    def _merge(
        self, db: sqlite3.Connection, receiver: str, state: str, least: int = _MANY
    ) -> None:
        """Merge notices of groups that are owed so many, but for those one of which may have
        arrived: that is yet to be seen.
        """
        sql = (
            "SELECT * FROM notices WHERE receiver = ? AND state = ? AND (group_key, note) NOT IN"
            " (SELECT group_key, note FROM notices WHERE receiver = ? AND doubtful) ORDER BY seq"
        )
        groups: dict[tuple[str, str], list[Notice]] = defaultdict(list)
        for notice in self._read(sql, (receiver, state, receiver), load_notice):
            groups[notice.group_key, notice.note].append(notice)
        for notices in groups.values():
            if len(notices) < least:
                continue
            first, last = notices[0], notices[-1]
            alerts = self._owed(notices)
            if len(notices) == 1 and alerts == first.alerts:
                continue
            reason = (first if any(alert.open for alert in alerts) else last).reason
            text = dump_alerts(alerts)
            merged = hashlib.sha256(f"{first.id} {text}".encode()).hexdigest()[:32]
            db.execute(  # by another id: of the old one a part may be known to have arrived
                "UPDATE notices SET id = ?, alerts = ?, reason = ? WHERE id = ?",
                (merged, text, reason, first.id),
            )
            db.executemany("DELETE FROM notices WHERE id = ?", [(n.id,) for n in notices[1:]])

    def _owed(self, notices: list[Notice]) -> tuple[Alert, ...]:
        """Return the alerts of several notices as they are by now; of what came and went in them,
        again and again, the last.
        """
        begun = {a.fingerprint for notice in notices for a in notice.alerts if a.open}
        owed = {a.fingerprint: a for notice in notices for a in notice.alerts}
        latest = {alert.slot: alert.fingerprint for alert in owed.values()}
        known = [self._as_it_is(alert) for alert in owed.values()]
        kept = (
            a
            for a in known
            if a.open or a.fingerprint not in begun or latest[a.slot] == a.fingerprint
        )
        return tuple(sorted(kept, key=loudest_first))

    def give_up_others(self, receivers: Collection[str], now: WallTime) -> list[str]:
        """Give up what is owed to receivers that are no more; return their names."""
        owed = self._rows("SELECT id, receiver FROM notices WHERE state IN ('queued', 'sending')")
        others = {row["id"]: row["receiver"] for row in owed if row["receiver"] not in receivers}
        self._give_up(others, "no receiver of this name is in the config any more", now)
        return sorted(set(others.values()))

    # ---------------------------------------------------------------- teams' last good packs

    def keep_packs(self, texts: Mapping[str, Mapping[str, str]], teams: Collection[str]) -> None:
        """Keep these packs, by team and file, and none of other than these teams."""
        with self._transaction() as db:
            known = {row["team"] for row in db.execute("SELECT team FROM packs")}
            gone = [(team,) for team in known.difference(teams)]
            db.executemany("DELETE FROM packs WHERE team = ?", gone)
            rows = [(team, as_key(dict(packs))) for team, packs in texts.items()]
            db.executemany("INSERT OR REPLACE INTO packs VALUES (?, ?)", rows)

    def kept_packs(self) -> dict[str, dict[str, str]]:
        """Return the packs that were kept, as written, by team and file."""
        return dict(self._read("SELECT team, texts FROM packs", (), _packs_of))

    # ---------------------------------------------------------------- receivers

    def failures(self, receiver: str) -> int:
        """Count the failures in a row of a receiver."""
        rows = self._rows("SELECT failures FROM receivers WHERE name = ?", (receiver,))
        return int(rows[0]["failures"]) if rows else 0

    # ---------------------------------------------------------------- for people

    def list_alerts(self, *states: AlertState) -> list[Alert]:
        """Return every alert on record, last changed first, of the given states or of all."""
        marks = ", ".join("?" * len(states))
        where = f"WHERE state IN ({marks})" if states else ""
        sql = f"SELECT body FROM alerts {where} ORDER BY changed DESC"
        return self._read(sql, states, _alert_of)

    def list_runs(self) -> list[RunRow]:
        """Return the run index."""
        return self._read(_all("runs"), (), load_run)

    def list_dead(self, limit: int = 100) -> list[tuple[Notice, str]]:
        """Return the newest dead letters, each with the reason it was given up."""
        sql = "SELECT * FROM notices WHERE state = 'dead' ORDER BY seq DESC LIMIT ?"
        return self._read(sql, (limit,), lambda row: (load_notice(row), row["error"] or ""))

    def counts(self) -> tuple[Delivery, ...]:
        """Return how each receiver is doing."""
        found: dict[str, Delivery] = {
            r["name"]: Delivery(
                r["name"], 0, 0, 0, r["failures"], r["paused_until"], r["error"], r["sent_at"]
            )
            for r in self._rows(_all("receivers"))
        }
        sql = """SELECT receiver, sum(state IN ('queued', 'sending')) AS queued,
                 sum(state = 'sent') AS sent, sum(state = 'dead') AS dead
                 FROM notices GROUP BY receiver"""
        for r in self._rows(sql):
            known = found.get(r["receiver"], Delivery(r["receiver"]))
            found[r["receiver"]] = replace(
                known, queued=r["queued"], sent=r["sent"], dead=r["dead"]
            )
        return tuple(found[name] for name in sorted(found))

    def queued_since(self) -> dict[str, WallTime]:
        """Return since when the oldest unsent notice waits, for each receiver that has one."""
        sql = """SELECT receiver, min(queued_at) AS since FROM notices
                 WHERE state IN ('queued', 'sending') GROUP BY receiver"""
        return {r["receiver"]: r["since"] for r in self._rows(sql)}

    def list_silences(self) -> tuple[Silence, ...]:
        """Return every silence on record, expired ones too."""
        return tuple(self._read(_all("silences"), (), load_silence))

    def add_silence(self, silence: Silence) -> None:
        """Add a silence, or replace the one with its id."""
        with self._transaction() as db:
            _write_silence(db, silence)

    def expire_silence(self, silence_id: str, now: WallTime) -> bool:
        """End a silence now; False if there is none of this id that has not ended."""
        with self._transaction() as db:
            sql = "UPDATE silences SET ends_at = ? WHERE id = ? AND ends_at > ?"
            return db.execute(sql, (now, silence_id, now)).rowcount > 0

    # ---------------------------------------------------------------- by a button

    def told(self, notice_id: str) -> Notice | None:
        """Return a notice with its alerts as they are now, None if it is not on record."""
        sql = "SELECT * FROM notices WHERE id = ?"
        found = self._read(sql, (notice_id,), load_notice)
        if not found:
            return None
        (notice,) = found
        now = [self._as_it_is(alert) for alert in notice.alerts]
        return replace(notice, alerts=tuple(now))

    def _as_it_is(self, alert: Alert) -> Alert:
        sql = "SELECT body FROM alerts WHERE fingerprint = ?"
        return next(iter(self._read(sql, (alert.fingerprint,), _alert_of)), alert)

    def act(self, deed: Deed, now: WallTime) -> None:
        """Do what a button asks for, in one transaction. The same deed twice is done once."""
        with self._transaction() as db:
            for silence in deed.silences:
                _write_silence(db, silence)
            db.executemany(
                "INSERT OR IGNORE INTO acknowledged VALUES (?, ?, ?)",
                [(fingerprint, printable(deed.by), now) for fingerprint in deed.acknowledged],
            )
            _queue(db, [deed.notice])

    def list_acknowledged(self) -> frozenset[str]:
        """Return the fingerprints of the alerts that somebody has taken note of."""
        return frozenset(row["fingerprint"] for row in self._rows(_all("acknowledged")))


def _queue(db: sqlite3.Connection, notices: Iterable[Notice]) -> None:
    db.executemany(
        "INSERT OR IGNORE INTO notices"
        " (id, receiver, group_key, reason, alerts, queued_at, next_attempt_at, note)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        [
            (
                n.id,
                n.receiver,
                n.group_key,
                n.reason,
                dump_alerts(n.alerts),
                n.queued_at,
                n.next_attempt_at,
                n.note,
            )
            for n in notices
        ],
    )


def _write_silence(db: sqlite3.Connection, silence: Silence) -> None:
    db.execute(
        "INSERT OR REPLACE INTO silences VALUES (?, ?, ?, ?, ?, ?)",
        (
            silence.id,
            as_key(dict(silence.matchers)),
            silence.starts_at,
            silence.ends_at,
            printable(silence.created_by),
            printable(silence.comment),
        ),
    )


def _write_heard(
    db: sqlite3.Connection, receiver: str, fingerprint: str, heard: Heard | None
) -> None:
    if heard is None or heard.over:
        db.execute(
            "DELETE FROM heard WHERE receiver = ? AND fingerprint = ?", (receiver, fingerprint)
        )
        return
    db.execute(
        "INSERT OR REPLACE INTO heard VALUES (?, ?, ?, ?, ?, ?)",
        (receiver, fingerprint, heard.severity, heard.at, heard.group_key, heard.repeats),
    )


def _write_thread(
    db: sqlite3.Connection,
    notice: Notice,
    receipt: Mapping[str, str],
    shown: tuple[Alert, ...],
    now: WallTime,
) -> None:
    text = json.dumps(dict(receipt))
    db.execute(
        "INSERT INTO threads VALUES (?, ?, ?, ?, ?, ?, 0) ON CONFLICT (receiver, group_key)"
        " DO UPDATE SET receipt = excluded.receipt, alerts = excluded.alerts, at = excluded.at",
        (notice.receiver, notice.group_key, text, dump_alerts(shown), now, now),
    )


def _chart_at(db: sqlite3.Connection, notice: Notice, at: WallTime | None) -> None:
    db.execute(
        "UPDATE threads SET chart_at = ?, chart_tries = chart_tries + 1"
        " WHERE receiver = ? AND group_key = ?",
        (at, notice.receiver, notice.group_key),
    )


def _packs_of(row: sqlite3.Row) -> tuple[str, dict[str, str]]:
    return row["team"], {str(file): str(text) for file, text in json.loads(row["texts"]).items()}


def _all(table: str) -> str:
    return f"SELECT * FROM {table} ORDER BY rowid"


def _heard_of(row: sqlite3.Row) -> tuple[HeardKey, Heard]:
    return (row["receiver"], row["fingerprint"]), load_heard(row)


def _alert_of(row: sqlite3.Row) -> Alert:
    return load_alert(json.loads(row["body"]))


def _set_aside(db: sqlite3.Connection, notice_id: str, why: str, now: WallTime) -> None:
    """Make a dead letter of a notice."""
    db.execute(
        "UPDATE notices SET state = 'dead', settled_at = ?, error = ? WHERE id = ?",
        (now, printable(why), notice_id),
    )
