"""The command line as people use it: one clear line for what is wrong, and never a traceback."""

from __future__ import annotations

import json
import math
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from tests.logs import write_run
from tests.notify.examples import NOW, a_notice, an_alert
from watcher.store import Changes, Store

FIELDS = [
    "root",
    "run",
    "attempt",
    "alert",
    "detector",
    "severity",
    "state",
    "onset_step",
    "fired_step",
    "fired_at",
    "resolved_step",
    "best_step",
    "value",
    "reason",
    "advice",
    "inputs",
    "labels",
]
FALLING = [1 / (1 + i / 20) for i in range(60)]
BAD = Path(__file__).parent / "bad"


def cli(*words: object, **environment: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "watcher", *map(str, words)],
        capture_output=True,
        text=True,
        errors="surrogateescape",
        timeout=60,
        env={**os.environ, **environment},
        check=False,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done


def one_line(done: subprocess.CompletedProcess[str], code: int, *words: str) -> None:
    assert done.returncode == code, done
    assert done.stderr.count("\n") == 1, done.stderr
    assert all(word in done.stderr for word in words), done.stderr


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("cli") / "logs"
    write_run(root / "nan", {"train/loss": [*FALLING, *[math.nan] * 20]})
    write_run(root / "fine", {"train/loss": FALLING})
    return root


def test_a_scan_finds_and_exits_with_one(logs: Path) -> None:
    done = cli("scan", logs)
    assert (done.returncode, done.stderr) == (1, "")
    assert "nan: LossNaN of train/loss, since step 60" in done.stdout
    assert cli("scan", logs / "fine").returncode == 0
    assert "LossNaN" in cli("scan", next((logs / "nan").iterdir())).stdout


def test_json_lines_have_exactly_the_promised_fields(logs: Path) -> None:
    for extra in ((), ("--reader", "tbparse"), ("--at", "live")):
        lines = cli("scan", logs, "--format", "jsonl", *extra).stdout.splitlines()
        found = [json.loads(line) for line in lines]
        assert found
        assert all(list(one) == FIELDS for one in found)


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("scan", "LOGS/none"), 2, ("no such directory",)),
        (("scan", "LOGS", "--labels", "LOGS/none.csv"), 1, ("none.csv: cannot be read",)),
        (("scan", "LOGS", "--labels", str(BAD / "keys.toml")), 1, ("no column",)),
        (("scan", "LOGS", "--rules", "none.yaml"), 1, ("none.yaml: no such rule pack",)),
        (("scan", "LOGS", "--now", "nan"), 2, ("Unix time",)),
        (("scan", "LOGS", "--charts", "/proc/none"), 2, ("/proc/none",)),
        (("read", "LOGS/none"), 2, ("no such directory",)),
        (("read", "LOGS", "-o", "x.foo"), 2, (".parquet",)),
        (("read", "LOGS", "-o", "/none/x.csv"), 2, ("/none/x.csv",)),
        (("explain", "LOGS/nan", "Foo"), 2, ("no rule Foo", "LossNaN")),
        (("explain", "LOGS/nan", "losNaN"), 2, ('did you mean "LossNaN"',)),
        (("explain", "LOGS/nan", "Overfitting"), 2, ("none of the series it needs", "val_loss")),
        (("status",), 2, ("-c config.toml",)),
        (("run",), 2, ("nothing to watch",)),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(
    logs: Path, words: tuple[str, ...], code: int, said: tuple[str, ...]
) -> None:
    done = cli(*(word.replace("LOGS", str(logs)) for word in words))
    one_line(done, code, *said)
    assert done.stdout == ""


@pytest.mark.parametrize("bad", sorted(BAD.glob("*.yaml")) + sorted(BAD.glob("*.toml")))
def test_check_says_everything_at_once_with_its_place(bad: Path) -> None:
    done = cli("check", *(["-c", bad] if bad.suffix == ".toml" else [bad]))
    assert done.returncode == 1
    assert done.stderr
    assert str(bad) in done.stderr


def test_strange_entries_neither_stop_a_scan_nor_hide_the_sound_run(tmp_path: Path) -> None:
    name = "events.out.tfevents.1700000000.host.1.0"
    for odd in ("fifo", "dangling", "zero", "zeros", "loop", "directory"):
        (tmp_path / odd).mkdir()
    os.mkfifo(tmp_path / "fifo" / name)
    (tmp_path / "dangling" / name).symlink_to(tmp_path / "nowhere")
    (tmp_path / "zero" / name).touch()
    (tmp_path / "zeros" / name).write_bytes(bytes(4096))
    (tmp_path / "loop" / "self").symlink_to("..")
    (tmp_path / "directory" / name).mkdir()
    log = write_run(tmp_path / "huge", {"train/loss": FALLING})
    from tensorboard.summary.writer.record_writer import masked_crc32c

    header = (1 << 62).to_bytes(8, "little")
    with log.open("ab") as file:
        file.write(header + int(masked_crc32c(header)).to_bytes(4, "little") + b"x" * 100)
    write_run(tmp_path / "good", {"train/loss": [*FALLING, math.nan]})
    done = cli("scan", tmp_path)
    assert done.returncode == 1
    assert "good: LossNaN" in done.stdout
    assert "2 runs with scalars" in done.stdout
    assert all(str(tmp_path) in line for line in done.stderr.splitlines())


def test_hostile_names_are_printed_harmlessly(tmp_path: Path) -> None:
    for name in ("a\nb\x1b[31m", "<!channel>", os.fsdecode(b"bad\xff")):
        write_run(tmp_path / name, {"train/loss": [*FALLING, math.nan]})
    for words in (("scan", tmp_path), ("scan", tmp_path, "--format", "jsonl")):
        done = cli(*words, NO_COLOR="1")
        assert done.returncode == 1
        assert "\x1b" not in done.stdout
        assert len(done.stdout.splitlines()) == 3 + ("--format" not in words)


def test_a_log_of_which_nothing_can_be_read_is_a_failure(tmp_path: Path) -> None:
    write_run(tmp_path / "a", {"loss": [1.0, 2.0]})
    (file,) = (tmp_path / "a").iterdir()
    file.write_bytes(b"\xff" * 200)
    done = cli("read", tmp_path)
    assert (done.returncode, done.stdout) == (2, "run,tag,step,wall_time,value\n")
    assert "nothing sound" in done.stderr
    assert cli("read", tmp_path / "none").returncode == 2
    (tmp_path / "empty").mkdir()
    assert cli("read", tmp_path / "empty").returncode == 0


def test_each_run_is_told_when_it_should_have_stopped(logs: Path) -> None:
    lines = cli("scan", logs / "fine", "--converged").stdout.splitlines()
    assert lines[-1] == f"{logs / 'fine'}: has not converged"


def test_a_run_that_went_wrong_has_not_converged(tmp_path: Path) -> None:
    down = [0.1 + 0.9 ** (i / 2) for i in range(60)]
    up = [*down[:20], *(down[19] * 1.03**i for i in range(40))]
    write_run(tmp_path / "overfits", {"train/loss": down, "val/loss": up})
    write_run(tmp_path / "chance", {"train/loss": [0.6931 + i % 2 * 1e-4 for i in range(60)]})
    lines = cli("scan", tmp_path, "--converged").stdout.splitlines()[-2:]
    assert lines[0].startswith("chance: has not converged: the loss ")
    stopped = "overfits: should have stopped at its best, step 19: "
    assert lines[1] == f"{stopped}Overfitting of val/loss came after it"


def test_what_no_rule_looks_at_is_named(tmp_path: Path) -> None:
    write_run(tmp_path / "odd", {"custom/thing": FALLING})
    done = cli("scan", tmp_path)
    one_line(done, 0, "no rule looks at any series of odd: only a silence would be told")
    (tmp_path / "mine.yaml").write_text("rules: [{alert: High, expr: \"'Los/val'.last > 1\"}]")
    write_run(tmp_path / "usual", {"Loss/val": FALLING})
    said = cli("scan", tmp_path / "usual", "--rules", "shipped", "--rules", tmp_path / "mine.yaml")
    one_line(said, 0, "High: no run that it may look at has Los/val")


def test_findings_are_compared_with_labels_and_their_onsets(logs: Path, tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("run,label,onset_step\nnan,nan,60\nfine,healthy,\n")
    said = cli("scan", logs, "--labels", tmp_path / "labels.csv").stdout
    assert re.search(r"^nan +1 +1 +100% +1 of 1$", said, re.MULTILINE), said
    assert re.search(r"^healthy +1 +1 +100%$", said, re.MULTILINE), said


def test_charts_are_written_as_png(logs: Path, tmp_path: Path) -> None:
    cli("scan", logs, "--charts", tmp_path / "out")
    drawn = list((tmp_path / "out").iterdir())
    assert [path.read_bytes()[:4] for path in drawn] == [b"\x89PNG"]
    assert "there before" not in cli("scan", logs, "--charts", tmp_path / "out").stderr
    drawn[0].rename(tmp_path / "out" / "000-of-another-scan.png")
    assert "000-of-another-scan.png" in cli("scan", logs, "--charts", tmp_path / "out").stderr


def test_a_run_of_any_name_can_be_drawn(tmp_path: Path) -> None:
    write_run(tmp_path / "logs" / ("学" * 80), {"train/loss": [*FALLING, *[math.nan] * 20]})
    done = cli("scan", tmp_path / "logs", "--charts", tmp_path / "out")
    assert (done.returncode, done.stderr) == (1, "")
    assert len(list((tmp_path / "out").iterdir())) == 1


@pytest.mark.parametrize("ending", ["csv", "parquet", "feather"])
def test_tables_are_saved(logs: Path, tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"table.{ending}"
    assert cli("read", logs, "-o", path, *(["--wide"] if ending == "csv" else [])).returncode == 0
    frame = getattr(pd, f"read_{ending}")(path)
    assert len(frame) == 140


def test_a_reader_that_goes_away_is_no_error_message(logs: Path) -> None:
    words = [sys.executable, "-m", "watcher", "read", str(logs)]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout
    assert process.stderr
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait() in (1, 2)


def test_help_starts_without_the_heavy_libraries() -> None:
    words = [sys.executable, "-X", "importtime", "-m", "watcher", "--help"]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert not loaded & {"pandas", "matplotlib", "tensorboard", "numpy", "pydantic"}


def test_the_state_is_shown_and_silences_come_and_go(logs: Path, tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    state = tmp_path / "state"
    config.write_text(f'state_dir = "{state}"\n[[roots]]\npath = "{logs}"\n')
    assert "ok" in cli("doctor", "-c", config).stdout
    Store.open(state).close()
    state.rename(tmp_path / "kept")
    state.symlink_to(tmp_path / "nowhere")
    assert "BAD  state_dir" in cli("doctor", "-c", config).stdout
    state.unlink()
    (tmp_path / "kept").rename(state)
    for what in ("status", "alerts", "runs"):
        assert cli(what, "-c", config).returncode == (what == "status")  # it does not run
        json.loads(cli(what, "-c", config, "--format", "json").stdout)
    made = cli("silence", "add", "run=nan*", "--for", "2h", "--by", "ada", "-c", config)
    assert "run=nan*" in made.stdout
    assert "it matches 0 of the 0 that fire now" in made.stdout
    (held,) = json.loads(cli("silence", "list", "-c", config, "--format", "json").stdout)
    assert held["ends_at"] - held["starts_at"] == 7200
    assert cli("silence", "expire", held["id"], "-c", config).returncode == 0
    assert "0 silences" in cli("silence", "list", "-c", config).stdout
    one_line(cli("silence", "expire", held["id"], "-c", config), 2, "no silence")
    one_line(cli("silence", "add", "nan", "--for", "2h", "-c", config), 2, "name=glob")
    one_line(cli("silence", "add", "run=b", "--for", "2x", "-c", config), 2, "not a duration")
    wrong = cli("silence", "add", "alert=LosNaN", "--for", "2h", "-c", config)
    one_line(wrong, 2, 'no rule of the name "LosNaN"', 'did you mean "LossNaN"')
    assert cli("silence", "add", "alert=Loss*", "--for", "2h", "-c", config).returncode == 0
    assert cli("run", "--once", "-c", config).returncode == 1
    shown = cli("alerts", "-c", config).stdout
    assert "(silenced by " in shown
    assert "1 firing, 1 of them silenced" in shown
    wrong = cli("silence", "add", "sevrity=!critical", "--for", "2h", "-c", config)
    one_line(wrong, 2, 'no alert has the label "sevrity"', 'did you mean "severity"')


@pytest.mark.parametrize(
    "words", [("resend", "console"), ("silence", "add", "run=a", "--for", "2h"), ("alerts",)]
)
def test_who_asks_before_the_service_ever_ran_makes_no_state(
    tmp_path: Path, words: tuple[str, ...]
) -> None:
    (tmp_path / "logs").mkdir()
    config = tmp_path / "config.toml"
    config.write_text('state_dir = "state"\n[[roots]]\npath = "logs"\n')
    one_line(cli(*words, "-c", config), 2, "no state yet")
    assert not (tmp_path / "state").exists()


@pytest.fixture
def team(tmp_path: Path) -> Path:
    """A team's config: its runs' paths give labels that its rule matches."""
    rule = "alert: VisionHigh\n    expr: train_loss.last > 0.1\n    match: {project: resnet*}"
    (tmp_path / "mine.yaml").write_text(f"rules:\n  - {rule}\n")
    write_run(tmp_path / "logs/resnet50/ada/a", {"train/loss": FALLING})
    config = tmp_path / "config.toml"
    config.write_text(
        'state_dir = "state"\n[[roots]]\npath = "logs"\nlabels = "{project}/{user}"\n'
        '[rules]\npacks = ["mine.yaml"]\n'
    )
    return tmp_path


def test_a_scan_with_a_config_says_what_its_service_would(team: Path) -> None:
    whole = cli("scan", "-c", team / "config.toml")
    assert "resnet50/ada/a: VisionHigh" in whole.stdout
    below = cli("scan", team / "logs/resnet50", "-c", team / "config.toml")
    assert below.stdout == whole.stdout
    why = cli("explain", team / "logs/resnet50/ada/a", "VisionHigh", "-c", team / "config.toml")
    assert "VisionHigh (threshold) sees" in why.stdout or "VisionHigh (expression)" in why.stdout
    write_run(team / "logs/resnet50/old/b", {"train/loss": FALLING})
    assert "2 runs" in cli("scan", "-c", team / "config.toml").stdout
    text = (team / "config.toml").read_text()
    (team / "config.toml").write_text(text.replace("labels =", 'prune = ["old"]\nlabels ='))
    assert "1 run " in cli("scan", "-c", team / "config.toml").stdout
    write_run(team / "other", {"train/loss": FALLING})
    elsewhere = cli("scan", team / "other", "-c", team / "config.toml")
    one_line(elsewhere, 2, "under no root of")


def test_a_rule_that_can_look_at_nothing_is_named(team: Path) -> None:
    done = cli("scan", team / "logs", "--rules", team / "mine.yaml")
    one_line(done, 0, "VisionHigh looks at no run here", "project=resnet*", "-c config")
    assert "0 findings" in done.stdout
    one_line(cli("scan"), 2, "name a log directory")


def test_one_name_in_two_packs_and_all_that_is_wrong_is_said_by_every_command(
    tmp_path: Path, logs: Path
) -> None:
    one, two = tmp_path / "one.yaml", tmp_path / "two.yaml"
    for pack in (one, two):
        pack.write_text("rules: [{alert: Mine, expr: train_loss.last > 5}]\n")
    for words in (("check", one, two), ("test", one, two)):
        one_line(cli(*words), 1, 'alert "Mine" is also in', "one.yaml")
    one_line(cli("scan", logs, "--rules", one, "--rules", two), 1, "is also in")
    for pack in (one, two):
        pack.write_text("rules: [{alert: Mine, expr: 5 >}]\n")
    for words in (("check", one, two), ("test", one, two)):
        said = cli(*words).stderr
        assert all(f"{pack}:1:" in said for pack in (one, two)), said
    assert "LossNaN" in cli("scan", logs, "--rules", "shipped").stdout


def test_what_was_given_up_can_be_sent_again(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    config = tmp_path / "config.toml"
    config.write_text('state_dir = "state"\nlisten = ""\n[[roots]]\npath = "logs"\n')
    Store.open(tmp_path / "state").close()
    one_line(cli("resend", "console", "-c", config), 2, "none yet")
    notice = a_notice(an_alert(run="resnet/lr3"), receiver="console")
    with Store.open(tmp_path / "state") as store:
        store.commit(Changes(NOW, {}, notices=(notice,)))
        store.mark_dead(notice, "the token was revoked", NOW)
    status = cli("status", "-c", config).stdout
    assert "0 sent, 0 queued, 1 given up" in status
    assert re.search("^given up: .+ of resnet/lr3: the token was revoked$", status, re.MULTILINE)
    one_line(cli("resend", "vision", "-c", config), 2, "there is: console")
    assert "1 queued again for console" in cli("resend", "console", "-c", config).stdout
    assert "resnet/lr3" in cli("run", "--once", "-c", config).stdout
    assert re.search(
        "1 sent, the last .+ ago, 0 queued, 0 given", cli("status", "-c", config).stdout
    )


def test_alerts_of_rules_in_shadow_are_told_apart_and_not_counted(tmp_path: Path) -> None:
    pack = "rules: [{alert: High, expr: train_loss.last > 1, mode: shadow}]\n"
    (tmp_path / "pack.yaml").write_text(pack)
    config = tmp_path / "config.toml"
    config.write_text(
        'state_dir = "state"\nlisten = ""\n[[roots]]\npath = "logs"\n'
        '[rules]\npacks = ["pack.yaml"]\n'
    )
    write_run(tmp_path / "logs" / "run", {"train/loss": [2.0] * 20})
    assert cli("run", "--once", "-c", config).returncode == 0
    done = cli("alerts", "-c", config)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "0 firing, 1 in shadow")
    assert "(shadow: not sent)" in done.stdout
    status = cli("status", "-c", config).stdout
    assert "alerts: 0 firing, 1 in shadow" in status
    assert "/logs: 1 run\n" in status
    assert status.startswith("NOT RUNNING: this is what the service left; start it\n")
    assert cli("status", "-c", config).returncode == 1
    assert json.loads(cli("alerts", "-c", config, "--format", "json").stdout)[0]["shadow"]


def test_the_doctor_says_what_is_missing(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text(f'[[roots]]\npath = "{tmp_path}/none"\n')
    done = cli("doctor", "-c", config)
    assert done.returncode == 1
    assert "BAD" in done.stdout


@pytest.mark.parametrize("command", ["scan", "read", "--help"])
@pytest.mark.parametrize(
    ("shell", "code"),
    [("{} >&-", {0, 1}), ("{} >/dev/full", {2}), ("{} | head -c 1 >/dev/null", {0, 2})],
)
def test_output_that_goes_nowhere_is_no_traceback_and_no_finding(
    tmp_path: Path, command: str, shell: str, code: set[int]
) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    for run in range(360):  # 64 KiB and more of lines: a pipe takes no more at once
        write_run(tmp_path / f"run-{run:0240}", {"train/loss": [math.nan] * 8})
    words = [command] if command.startswith("-") else [command, str(tmp_path)]
    line = shell.format(shlex.join([sys.executable, "-m", "watcher", *words]))
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", line],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "Traceback" not in done.stderr, done.stderr
    assert done.returncode in code
    assert done.stderr.count("\n") <= 1


def test_what_was_given_up_for_one_cause_is_listed_once(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    config = tmp_path / "config.toml"
    config.write_text('state_dir = "state"\nlisten = ""\n[[roots]]\npath = "logs"\n')
    with Store.open(tmp_path / "state") as store:
        for i in range(9):
            alert = an_alert(run=f"run{i}")
            notice = a_notice(alert, receiver="console", group_key=str(i), id=f"n{i}")
            store.commit(Changes(NOW, {}, notices=(notice,)))
            store.mark_dead(notice, "invalid_auth", NOW)
    given_up = [
        line
        for line in cli("status", "-c", config).stdout.splitlines()
        if line.startswith("given up")
    ]
    assert len(given_up) == 3
    assert given_up[-1].endswith("invalid_auth; and 6 more like it")


def test_a_config_with_errors_keeps_nobody_from_looking_and_silencing(tmp_path: Path) -> None:
    """A colleague's half-edited file is no reason to be woken again."""
    (tmp_path / "logs").mkdir()
    config = tmp_path / "config.toml"
    config.write_text('state_dir = "state"\nlog_level = "loud"\n[[roots]]\npath = "logs"\n')
    Store.open(tmp_path / "state").close()
    added = cli("silence", "add", "run=a/*", "--for", "2h", "-c", config)
    assert added.returncode == 0
    assert "config.toml:2:1: log_level" in added.stderr
    assert "run=a/*" in cli("silence", "list", "-c", config).stdout
    assert "NOT RUNNING" in cli("status", "-c", config).stdout
    config.write_text('state_dir = "state"\npoll_interval = 5 s\n')
    added = cli("silence", "add", "alert=Theirs", "--for", "2h", "-c", config)
    assert (added.returncode, added.stderr.count("\n")) == (0, 1)
    assert "config.toml:2:19: not TOML" in added.stderr
    config.write_text('state_dir = 3\n[[roots]]\npath = "logs"\n')
    one_line(cli("status", "-c", config), 1, "config.toml:1:1: state_dir")
