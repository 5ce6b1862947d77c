"""A reader in a process of its own, on a file system that misbehaves when told to."""

from __future__ import annotations

import errno
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from watcher.model import Poll
from watcher.source.logdir import Logdir, SourceOptions

FAULTS = Path(__file__).with_name("faults.c")
_REPO = Path(__file__).parents[2]


def compiled(directory: Path, source: Path = FAULTS) -> Path:
    """Return the library to preload that a source makes; skip without a compiler."""
    compiler = shutil.which("cc")
    if compiler is None or sys.platform != "linux":
        pytest.skip("needs Linux and a C compiler to put faults below a process")
    library = directory / f"{source.stem}.so"
    command = [compiler, "-O1", "-shared", "-fPIC", "-o", str(library), str(source), "-ldl"]
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    if made.returncode:
        pytest.skip(f"cannot compile {source.name} here: {made.stderr.splitlines()[:1]}")
    return library


class BadDisk:
    """Says which calls on which paths fail, hang or fall short, in processes with its ``env``."""

    def __init__(self, library: Path, home: Path, under: Path) -> None:
        self._rules, self._log = home / "rules", home / "calls"
        self._lines: dict[int, str] = {}
        self._next = 1
        self.env = os.environ | {
            "LD_PRELOAD": str(library),
            "FAULTS": str(self._rules),
            "FAULTS_UNDER": str(under),
            "FAULTS_LOG": str(self._log),
            "PYTHONPATH": str(_REPO),
        }
        self._write()

    def on(self, call: str, what: int | str, path: Path, times: int = -1) -> int:
        """Let ``call`` on paths that contain ``path`` misbehave; return a number for ``off``."""
        number, self._next = self._next, self._next + 1
        self._lines[number] = f"{number} {call} {what} {times} {path}\n"
        self._write()
        return number

    def off(self, number: int) -> None:
        """End one misbehaviour."""
        del self._lines[number]
        self._write()

    def calls(self) -> list[tuple[str, int, str]]:
        """Return what was called since the last time: call, flags, path."""
        if not self._log.exists():
            return []
        lines = self._log.read_text().splitlines()
        self._log.unlink()
        split = [line.split(" ", 2) for line in lines]
        return [(call, int(flags), path) for call, flags, path in split]

    def _write(self) -> None:
        new = self._rules.with_name("rules.new")
        new.write_text("".join(self._lines.values()))
        new.replace(self._rules)


class Reader:
    """A ``Logdir`` in a process of its own."""

    def __init__(self, disk: BadDisk, *roots: Path, options: SourceOptions | None = None) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.source.faults"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=disk.env,
        )
        self._send(([str(root) for root in roots], options or SourceOptions()))

    def _send(self, what: Any) -> None:
        assert self._process.stdin is not None
        pickle.dump(what, self._process.stdin)
        self._process.stdin.flush()

    def poll(self, now: float) -> Poll:
        """Poll there."""
        assert self._process.stdout is not None
        self._send(now)
        poll: Poll = pickle.load(self._process.stdout)
        return poll

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait()


def _serve() -> None:
    commands, answers = sys.stdin.buffer, sys.stdout.buffer
    roots, options = pickle.load(commands)
    logdir = Logdir(roots, options)
    while True:
        try:
            now = pickle.load(commands)
        except EOFError:
            return
        pickle.dump(logdir.poll(now), answers)
        answers.flush()


NAMED = {
    errno.ENOENT: "missing",
    errno.EACCES: "permission denied",
    errno.ESTALE: "stale file handle",
    errno.EIO: "input/output error",
    errno.ETIMEDOUT: "timed out",
    errno.ENOTCONN: "not connected",
    errno.ELOOP: "link loop",
    errno.ENAMETOOLONG: "name too long",
}

if __name__ == "__main__":
    _serve()
