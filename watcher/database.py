"""How is the state kept on disk? Opened, migrated, shared by threads and processes, and held.

One SQLite database in WAL mode. What is in it, and what it is asked, is in ``store``.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any, Self

from watcher.errors import StoreError

DATABASE = "watcher.db"
_HELD = "watcher.lock"
BUSY_TIMEOUT = 10.0  # seconds to wait for the other process' transaction
_WAL_PAUSE = 0.01  # seconds between tries to turn to WAL mode
_LOCK_TRIES, _LOCK_PAUSE = 5, 0.05  # seconds between tries to hold the state directory

Migration = tuple[str, ...]  # statements; never edit one that was released, add another
MIGRATIONS: tuple[Migration, ...] = (
    (
        "CREATE TABLE ticks (id INTEGER PRIMARY KEY CHECK (id = 1), at REAL NOT NULL)",
        """CREATE TABLE alerts (fingerprint TEXT PRIMARY KEY, slot TEXT NOT NULL,
            run TEXT NOT NULL, state TEXT NOT NULL, changed INTEGER NOT NULL, at REAL NOT NULL,
            body TEXT NOT NULL)""",
        "CREATE INDEX alerts_of_run ON alerts (run, state)",
        "CREATE INDEX alerts_by_change ON alerts (changed)",
        """CREATE TABLE transitions (id INTEGER PRIMARY KEY, at REAL NOT NULL,
            fingerprint TEXT NOT NULL, before TEXT, after TEXT NOT NULL, severity TEXT NOT NULL,
            escalated INTEGER NOT NULL)""",
        "CREATE INDEX transitions_by_time ON transitions (at)",
        """CREATE TABLE notices (seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE,
            receiver TEXT NOT NULL, group_key TEXT NOT NULL, reason TEXT NOT NULL,
            alerts TEXT NOT NULL, queued_at REAL NOT NULL, attempts INTEGER NOT NULL DEFAULT 0,
            next_attempt_at REAL NOT NULL, state TEXT NOT NULL DEFAULT 'queued',
            doubtful INTEGER NOT NULL DEFAULT 0, settled_at REAL, error TEXT, receipt TEXT)""",
        "CREATE INDEX notices_owed ON notices (receiver, state, group_key, seq)",
        """CREATE TABLE threads (receiver TEXT NOT NULL, group_key TEXT NOT NULL,
            receipt TEXT NOT NULL, alerts TEXT NOT NULL, at REAL NOT NULL,
            PRIMARY KEY (receiver, group_key))""",
        """CREATE TABLE heard (receiver TEXT NOT NULL, fingerprint TEXT NOT NULL,
            severity TEXT NOT NULL, at REAL NOT NULL, group_key TEXT NOT NULL,
            repeats INTEGER NOT NULL, PRIMARY KEY (receiver, fingerprint))""",
        """CREATE TABLE receivers (name TEXT PRIMARY KEY, failures INTEGER NOT NULL,
            paused_until REAL NOT NULL, error TEXT NOT NULL, sent_at REAL)""",
        """CREATE TABLE runs (run TEXT PRIMARY KEY, state TEXT NOT NULL, attempt INTEGER NOT NULL,
            first_seen REAL NOT NULL, last_seen REAL NOT NULL, judged TEXT NOT NULL)""",
        """CREATE TABLE silences (id TEXT PRIMARY KEY, matchers TEXT NOT NULL,
            starts_at REAL NOT NULL, ends_at REAL NOT NULL, created_by TEXT NOT NULL,
            comment TEXT NOT NULL)""",
    ),
    (
        "ALTER TABLE notices ADD COLUMN note TEXT NOT NULL DEFAULT ''",
        """CREATE TABLE acknowledged (fingerprint TEXT PRIMARY KEY, created_by TEXT NOT NULL,
            at REAL NOT NULL)""",
        "ALTER TABLE threads ADD COLUMN chart_at REAL",  # when to try to add it; NULL: not owed
        "ALTER TABLE threads ADD COLUMN chart_tries INTEGER NOT NULL DEFAULT 0",
    ),
    ("CREATE TABLE packs (team TEXT PRIMARY KEY, texts TEXT NOT NULL)",),
    ("ALTER TABLE runs ADD COLUMN outcome TEXT NOT NULL DEFAULT ''",),
)


class Database:
    """The state database, for ``Store`` to ask. Close it, or use it as a context manager."""

    def __init__(self, connection: sqlite3.Connection, name: str) -> None:
        self._db = connection
        self._name = name
        self._lock = threading.RLock()
        self._left_out: set[str] = set()  # what was told of unreadable records
        self._inode: int | None = None

    @classmethod
    def open(
        cls,
        state_dir: Path | str,
        *,
        read_only: bool = False,
        make: bool = True,
        migrations: tuple[Migration, ...] = MIGRATIONS,
    ) -> Self:
        """Open ``state_dir/watcher.db``, made and migrated as needed; ":memory:" keeps nothing.

        StoreError if it cannot be used: no rights, full, damaged, or of a newer version; and if
        it is not there or of an older version, where it is not to be made (``make``), or only to
        be read.
        """
        name = ":memory:" if state_dir == ":memory:" else str(Path(state_dir) / DATABASE)
        with _told(name):
            if name != ":memory:" and make and not read_only:
                _make_private(Path(name))
            elif name != ":memory:" and not Path(name).exists():
                raise StoreError(f"{name}: no state yet; start the service, or name its state_dir")
            with ExitStack() as undo:
                store = cls(undo.enter_context(closing(_connect(name, read_only))), name)
                store._prepare(migrations, read_only, make)
                store._inode = _inode(name)
                undo.pop_all()
        return store

    def in_place(self) -> bool:
        """Whether the file that was opened stands where it was, as far as the disk can tell."""
        try:
            return _inode(self._name) == self._inode
        except OSError:
            return True

    def close(self) -> None:
        """Close the database; what was committed stays."""
        with self._lock:
            self._db.close()

    def __enter__(self) -> Self:
        """Use as a context manager."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()

    def _prepare(self, migrations: tuple[Migration, ...], read_only: bool, make: bool) -> None:
        version = self._db.execute("PRAGMA user_version").fetchone()[0]
        if version > len(migrations):
            raise StoreError(
                f"{self._name}: written by a newer watcher (state version {version}, this one "
                f"knows {len(migrations)}); upgrade the watcher or restore the older backup"
            )
        if (read_only or not make) and version < len(migrations):  # an older service may run on it
            raise StoreError(
                f"{self._name}: state version {version} is older than this watcher's "
                f"{len(migrations)}; start the service once, it migrates the state"
            )
        if read_only:
            return
        if self._name != ":memory:":
            self._use_wal()
        self._db.execute("PRAGMA synchronous = FULL")
        for number in range(version, len(migrations)):
            with self._transaction():
                # another process may have migrated while this one waited
                if self._db.execute("PRAGMA user_version").fetchone()[0] > number:
                    continue
                for statement in migrations[number]:
                    self._db.execute(statement)
                self._db.execute(f"PRAGMA user_version = {number + 1}")

    def _use_wal(self) -> None:
        """Turn to WAL mode. SQLite does not wait for another process that does so just now."""
        tries = round(BUSY_TIMEOUT / _WAL_PAUSE)
        for left in reversed(range(tries)):
            try:
                self._db.execute("PRAGMA journal_mode = WAL")
            except sqlite3.OperationalError as error:
                if "locked" not in str(error) or not left:
                    raise
                time.sleep(_WAL_PAUSE)
            else:
                return

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """Commit all or nothing; a failure is a StoreError and leaves the database as it was."""
        with self._lock, _told(self._name), self._db:  # which commits or rolls back
            self._db.execute("BEGIN IMMEDIATE")
            yield self._db

    def _rows(self, sql: str, values: tuple[Any, ...] = ()) -> list[sqlite3.Row]:
        with self._lock, _told(self._name):
            return self._db.execute(sql, values).fetchall()


@contextmanager
def exclusive(state_dir: Path) -> Iterator[None]:
    """Hold the state directory: a second service on it would send everything twice."""
    path = state_dir / _HELD
    with _told(str(path)):
        _make_private(path)
        held = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        if not _locked(held):
            raise StoreError(
                f"{state_dir}: in use by another watcher; stop it or set another state_dir"
            )
        yield
    finally:
        os.close(held)


def _inode(name: str) -> int | None:
    """Return the inode of a file, None if there is none. Raises OSError if that cannot be told."""
    try:
        return os.stat(name).st_ino  # noqa: PTH116 - the name may be ":memory:"
    except (FileNotFoundError, NotADirectoryError):
        return None


def _locked(held: int) -> bool:
    """Lock a file; whoever only asks whether it is locked lets go of it at once."""
    for _ in range(_LOCK_TRIES):
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(_LOCK_PAUSE)
        else:
            return True
    return False


def in_use(state_dir: Path) -> bool:
    """Whether a service holds the state directory."""
    try:
        asked = os.open(state_dir / _HELD, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        fcntl.flock(asked, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(asked)
    return False


# -------------------------------------------------------------------- connecting


def _connect(name: str, read_only: bool) -> sqlite3.Connection:
    def connect(query: str) -> sqlite3.Connection:
        uri = name if name == ":memory:" else f"{Path(name).resolve().as_uri()}?{query}"
        db = sqlite3.connect(
            uri, uri=True, timeout=BUSY_TIMEOUT, isolation_level=None, check_same_thread=False
        )
        db.row_factory = sqlite3.Row
        return db

    if not read_only:
        return connect("mode=rwc")
    db = connect("mode=ro")
    try:
        db.execute("PRAGMA user_version").fetchone()
    except sqlite3.OperationalError:
        db.close()
        wal = Path(f"{name}-wal")
        if wal.exists() and wal.stat().st_size:
            raise
        # WAL needs a writable directory even for reading, except when nobody writes
        return connect("mode=ro&immutable=1")
    return db


def _make_private(path: Path) -> None:
    """Make the state directory 0700 and the file 0600 when they are new."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not path.exists():
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))


_NEXT_STEP = (
    (
        "readonly",
        "cannot be written; make its directory writable for the watcher's user, or mount its file"
        " system for writing",
    ),
    ("full", "the disk is full, and this was not written; free some space"),
    (
        "disk i/o",
        "cannot be written or read (full disk or quota, or a broken disk); see the kernel log",
    ),
    ("unable to open", "cannot be opened; check the directory's owner and mode"),
    ("locked", "another process has held it for too long; stop that process"),
    ("malformed", "damaged; restore a backup, or move it away to start anew"),
    ("not a database", "is no state database; restore a backup, or move it away to start anew"),
)


@contextmanager
def _told(name: str) -> Iterator[None]:
    """Turn what SQLite and the system say into one line with the next step."""
    try:
        yield
    except sqlite3.Error as error:
        said = str(error)
        step = next((step for word, step in _NEXT_STEP if word in said.lower()), "see the log")
        raise StoreError(f"{name}: {step} ({said})") from error
    except OSError as error:
        raise StoreError(
            f"{name}: {error.strerror}; give the watcher's user a directory it can write to"
        ) from error
