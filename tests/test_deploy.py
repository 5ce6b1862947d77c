"""What an operator copies from ``deploy/`` is sound."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from ruamel.yaml import YAML

DEPLOY = Path(__file__).parents[1] / "deploy"
UNIT = (DEPLOY / "watcher.service").read_text(encoding="utf-8")
MOST_EXPOSED = 1.5  # of 10, by systemd's own count


def _run(tool: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    found = shutil.which(tool)
    if found is None:
        pytest.skip(f"needs {tool}, which comes with systemd")
    return subprocess.run([found, *arguments], capture_output=True, text=True, check=False)


def _settings(name: str) -> list[str]:
    return re.findall(rf"^{name}=(.*)$", UNIT, re.MULTILINE)


def test_the_unit_verifies_without_a_word() -> None:
    done = _run("systemd-analyze", "verify", "--man=no", str(DEPLOY / "watcher.service"))
    assert (done.returncode, done.stderr) == (0, "")


def test_the_sandbox_is_strict() -> None:
    unit = str(DEPLOY / "watcher.service")
    done = _run("systemd-analyze", "security", "--offline=true", "--no-pager", unit)
    exposure = re.search(r"Overall exposure level for \S+: ([\d.]+)", done.stdout)
    assert exposure is not None, done.stderr
    assert float(exposure[1]) <= MOST_EXPOSED


def test_the_unit_says_what_the_service_relies_on() -> None:
    assert _settings("Type") == ["notify"]
    assert _settings("NotifyAccess") == ["main"]
    assert _settings("WatchdogSec") == ["90"]
    command = "/opt/watcher/bin/watcher run -c /etc/watcher/config.toml"
    assert _settings("ExecStart") == [f"/usr/bin/env {command}"]
    assert _settings("ExecReload") == ["/bin/kill -HUP $MAINPID"]
    assert _settings("LoadCredential") == [
        "slack-token:/etc/watcher/slack-token",
        "slack-app-token:/etc/watcher/slack-app-token",
    ]
    assert _settings("User") == _settings("StateDirectory") == ["watcher"]
    assert _settings("ProtectSystem") == ["strict"]
    assert "MPLCONFIGDIR=%C/watcher/matplotlib" in _settings("Environment")
    assert not _settings("ReadWritePaths")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may make users and root's files")
def test_the_user_and_the_places_can_be_made(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    for tool, *flags in (("systemd-sysusers",), ("systemd-tmpfiles", "--create")):
        conf = DEPLOY / f"{tool.removeprefix('systemd-')}.d" / "watcher.conf"
        done = _run(tool, *flags, f"--root={tmp_path}", str(conf))
        assert done.returncode == 0, done.stderr
    assert "\nwatcher:" in "\n" + (tmp_path / "etc" / "passwd").read_text()
    token = tmp_path / "etc" / "watcher" / "slack-token"
    assert (token.stat().st_mode & 0o777, token.read_bytes()) == (0o600, b"")


def test_the_slack_app_asks_for_what_is_used_and_takes_no_calls() -> None:
    manifest = YAML(typ="safe").load(DEPLOY / "slack-app-manifest.yaml")
    assert {"chat:write", "files:write", "channels:history"} <= set(
        manifest["oauth_config"]["scopes"]["bot"]
    )
    assert manifest["settings"]["socket_mode_enabled"] is True  # buttons, without a web address
    assert "request_url" not in manifest["settings"]["interactivity"]
    assert manifest["features"]["bot_user"]["display_name"]


def test_the_readme_names_every_file_and_only_files_that_exist() -> None:
    readme = (DEPLOY / "README.md").read_text(encoding="utf-8")
    files = {f.relative_to(DEPLOY).as_posix() for f in DEPLOY.rglob("*") if f.is_file()}
    named = set(re.findall(r"^\| `([^`]+)` \| [^|]+ \|$", readme, re.MULTILINE))
    assert files - {"README.md"} <= named
    assert {n for n in named if "." in n} <= files


def test_the_sandbox_lets_metrics_be_asked_for() -> None:
    assert "AF_INET" in _settings("RestrictAddressFamilies")[0].split()
    for closed in ("PrivateNetwork", "IPAddressDeny", "SocketBindDeny"):
        assert not _settings(closed)


def test_the_image_runs_as_an_ordinary_user_on_the_same_paths() -> None:
    image = (DEPLOY / "Containerfile").read_text(encoding="utf-8")
    assert "\nUSER watcher\n" in image
    assert 'CMD ["run", "-c", "/etc/watcher/config.toml"]' in image
