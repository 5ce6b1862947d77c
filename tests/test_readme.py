"""What the README shows works as it is written."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.detectors.curves import window_of
from tests.logs import write_run
from watcher import detectors
from watcher.config import parse_config
from watcher.detectors import Inputs, RunFacts
from watcher.model import Status
from watcher.rules import parse_pack
from watcher.ruletest import run_tests

README = Path(__file__).parents[1] / "README.md"
TEXT = README.read_text("utf-8")


def snippets(language: str) -> list[str]:
    """Return the README's code blocks in one language."""
    return re.findall(rf"^```{language}\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)


def test_it_is_short_enough_to_be_read():
    assert len(TEXT.splitlines()) < 250


def test_its_config_is_a_config():
    (config,) = (parse_config(text, Path("config.toml")) for text in snippets("toml"))
    assert [root.path for root in config.roots] == ["/mnt/cluster/tensorboard"]
    assert config.labels_for("/mnt/cluster/tensorboard", "vision/ada/r50/1")["user"] == "ada"


def test_its_pack_passes_its_own_tests():
    (pack,) = (parse_pack(text, "mypack.yaml") for text in snippets("yaml"))
    assert pack.tests
    assert run_tests(pack) == []


def test_its_library_calls_run(tmp_path, monkeypatch, capsys):
    write_run(tmp_path / "runs" / "a", {"train/loss": [2.0, 1.0, float("nan")]})
    monkeypatch.chdir(tmp_path)
    exec(compile(snippets("python")[0], "README.md", "exec"), {})
    assert "LossNaN" in capsys.readouterr().out


def test_its_detector_is_one(monkeypatch):
    monkeypatch.setattr(detectors, "_registry", dict(detectors.detectors()))
    exec(compile(snippets("python")[1], "README.md", "exec"), {"__name__": __name__})
    kind = detectors.detectors()["flatline"]

    def says(*values):
        inputs = Inputs({"value": window_of(values)}, RunFacts(points=len(values)))
        return kind.detect(inputs, kind.params(), 0.0).status

    falls = np.linspace(2.0, 1.0, 60)
    assert says(*falls, np.nan) is Status.OK
    assert says(*falls[:20]) is Status.UNKNOWN
    assert says(*falls, *[1.0] * 50, np.nan) is Status.BREACH


@pytest.fixture(scope="module")
def commands() -> set[str]:
    shown = subprocess.run(
        [sys.executable, "-m", "watcher", "--help"], capture_output=True, text=True, check=True
    )
    return set(re.findall(r"^  ([a-z-]+)  ", shown.stdout, re.MULTILINE))


def test_its_commands_exist(commands):
    named = set(re.findall(r"^watcher ([a-z-]+)", "\n".join(snippets("sh")), re.MULTILINE))
    assert named
    assert named <= commands
