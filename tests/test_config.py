"""The config: what it becomes, and how what is wrong with it is said."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watcher.config import (
    RESTART,
    Heartbeat,
    check_environment,
    default_config,
    examine_config,
    load_config,
    parse_config,
)
from watcher.configtext import LISTEN
from watcher.doctor import examine
from watcher.errors import InvalidInput, WatcherError
from watcher.model import Better, Role, Severity
from watcher.notify.fake_slack import FakeSlack
from watcher.receivers import Secret
from watcher.roles import Pin
from watcher.wiring import heartbeat

BAD = Path(__file__).parent / "bad"
EXAMPLE = Path(__file__).parents[1] / "config.example.toml"
PACK = "rules: [{alert: A, detector: threshold, params: {above: 1}}]"


def test_the_example_lists_what_waits_for_a_restart() -> None:
    head = " ".join(EXAMPLE.read_text().partition("\nstate_dir")[0].replace("#", " ").split())
    assert f"as they are saved: {', '.join(RESTART)}. While" in head


def test_the_example_is_sound_and_shows_the_defaults() -> None:
    config = load_config(EXAMPLE)
    plain = parse_config('[[roots]]\npath = "/data/runs"', Path("/c.toml"))
    for name in ("poll_interval", "catch_up", "checkpoint_every", "shutdown_timeout"):
        assert getattr(config, name) == getattr(plain, name)
    assert (config.ended_after, config.min_silence) == (plain.ended_after, plain.min_silence)
    assert config.pins[0] == Pin("objective/held_out*", Role.VAL_LOSS, Better.LOWER)
    assert config.pins[1] == Pin("debug/*")
    assert config.grants() == {"vision": frozenset({"/data/runs"})}
    assert config.receivers["slack-vision"].secrets == {
        "token": Secret(credential="slack-token"),
        "app_token": Secret(credential="slack-app-token"),
    }
    assert config.roots[0].labels_of("v/u/p/lr1") == {
        "team": "v",
        "user": "u",
        "project": "p",
        "gpus": "8",
    }
    assert config.owners == {"alice": "U0123456789"}
    assert config.listen == plain.listen == LISTEN
    assert config.heartbeat == Heartbeat(Secret("/etc/watcher/heartbeat-url"), 300.0)


def test_only_the_roots_must_be_named() -> None:
    config = parse_config('[[roots]]\npath = "runs"', Path("/etc/w/c.toml"))
    assert config.roots[0].path == "/etc/w/runs"
    assert [r.receiver for r in config.routes] == ["console"]
    assert config.receivers["console"].type == "console"
    assert config.state_dir == ""


def test_log_directories_alone_mean_the_console_and_no_state(tmp_path: Path) -> None:
    config = default_config([str(tmp_path), str(tmp_path)])
    assert [r.path for r in config.roots] == [str(tmp_path)]
    assert (config.state_dir, config.routes[0].receiver) == ("", "console")
    assert config.roots[0].symlinks == "always"


@pytest.mark.parametrize("path", sorted(BAD.glob("*.toml")), ids=lambda p: p.name)
def test_a_bad_config_is_refused_with_all_its_errors(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(BAD)
    with pytest.raises(InvalidInput) as error:
        load_config(Path(path.name))
    assert f"{error.value}\n" == Path(f"{path.name}.txt").read_text("utf-8")
    assert "not-a-real-token" not in str(error.value)


@pytest.mark.parametrize("address", ["", "127.0.0.1:0", "[::1]:9469", "node-1.example.org:80"])
def test_metrics_are_offered_where_the_config_says(address: str) -> None:
    config = parse_config(f'listen = "{address}"\n[[roots]]\npath = "r"', Path("/c.toml"))
    assert config.listen == address


@pytest.mark.parametrize(
    "address", ["9469", ":9469", "localhost", "::1:9469", "h:65536", "h:x", "http://h:1", "h:²"]
)
def test_an_address_that_nobody_can_listen_on_is_refused(address: str) -> None:
    with pytest.raises(InvalidInput, match="is no HOST:PORT; write "):
        parse_config(f'listen = "{address}"\n[[roots]]\npath = "r"', Path("/c.toml"))


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("", "needs url_file or url_credential"),
        ('url_file = "a"\nurl_credential = "b"', "not both"),
        ('url_credential = "../b"', "a name, not a path"),
        ('url_file = "a"\nevery = "1s"', "every: "),
        ('url = "https://hidden.example.org"', 'unknown key "url"'),
    ],
)
def test_a_heartbeat_must_be_whole_and_its_address_is_never_repeated(
    table: str, said: str
) -> None:
    with pytest.raises(InvalidInput) as error:
        parse_config(f'[[roots]]\npath = "r"\n[heartbeat]\n{table}', Path("/c.toml"))
    assert said in str(error.value)
    assert "hidden" not in str(error.value)


def test_what_keeps_a_heartbeat_from_being_sent_is_said_before_the_start(tmp_path: Path) -> None:
    text = f'[[roots]]\npath = "{tmp_path}"\n[heartbeat]\nurl_file = "url"'
    config = parse_config(text, tmp_path / "c.toml")
    assert "heartbeat: " in str(check_environment(config)[0])
    (tmp_path / "url").write_text("https://switch.example.org/token")
    (tmp_path / "url").chmod(0o600)
    assert check_environment(config) == []
    (tmp_path / "url").write_text("http://hidden.example.org/token")
    (problem,) = check_environment(config)
    assert "heartbeat: its address must begin with https" in str(problem)
    with pytest.raises(WatcherError, match="heartbeat: its address must begin with https") as why:
        heartbeat(config)
    assert "hidden" not in str(why.value)


def test_a_teams_alerts_stay_with_its_receivers() -> None:
    config = parse_config(
        """
roots = [{path = "/r"}]
receivers = {a = {type = "console"}, b = {type = "console"}, c = {type = "console"}}
[teams.v]
receivers = ["b"]
[route]
receiver = "a"
[[route.routes]]
match = {severity = "critical"}
receiver = "c"
min_severity = "warning"
""",
        Path("c.toml"),
    )
    team, everyone = config.routes
    assert (team.receiver, [r.receiver for r in team.routes]) == ("b", ["b"])
    assert team.match == {"rule_team": "v"}
    assert team.routes[0].min_severity is Severity.WARNING
    assert (everyone.receiver, [r.receiver for r in everyone.routes]) == ("a", ["c"])


def test_teams_rules_bear_the_teams_name_and_disabled_ones_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "ours.yaml").write_text(PACK)
    (tmp_path / "theirs.yaml").write_text(f"team: liar\n{PACK}")
    text = """
roots = [{path = "."}]
rules = {packs = ["ours.yaml"]}
teams = {v = {packs = ["theirs.yaml"]}}
"""
    config = parse_config(text, tmp_path / "c.toml")
    assert [r.id for r in config.load_rules()] == ["A", "v/A"]
    assert tmp_path / "theirs.yaml" in config.rule_files()
    off = text.replace('["ours.yaml"]', '["ours.yaml"], disable = ["A"]')
    assert parse_config(off, tmp_path / "c.toml").load_rules() == ()
    odd = parse_config(off.replace('["A"]', '["AA"]'), tmp_path / "c.toml")
    with pytest.raises(InvalidInput, match='no rule "AA"'):
        odd.load_rules()


def test_check_names_what_is_not_there(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("x\n")
    token.chmod(0o644)
    text = """
state_dir = "no/state"
roots = [{path = "gone"}, {path = "token"}]
rules = {packs = ["no.yaml"]}
[receivers.s]
type = "slack"
channel = "C1"
token_file = "token"
"""
    config = parse_config(text, tmp_path / "c.toml")
    said = "\n".join(map(str, check_environment(config)))
    for part in ("gone: no such directory", "token: not a directory", f"chmod 600 {token}"):
        assert part in said
    assert "no.yaml: no such rule pack" in said
    assert f"state_dir {tmp_path}/no/state" in said


def test_check_names_what_is_wrong_by_itself_and_around_it_at_once(tmp_path: Path) -> None:
    """Keys that are wrong are left out, and the rest is looked at all the same."""
    (tmp_path / "c.toml").write_text("""
poll_interval = "30x"
log_level = "loud"
[[roots]]
path = "gone"
labels = "{team"
colour = 1
[receivers.a]
type = "console"
[route]
receiver = "b"
[[route.routes]]
match = {alert = "LossNan", detector = "nan", severity = "critcal"}
""")
    config, problems = examine_config(tmp_path / "c.toml")
    said = "\n".join(map(str, problems))
    assert config is not None
    assert len(problems) == 6
    for part in (
        'c.toml:2:1: poll_interval: "30x" is not',
        'c.toml:3:1: log_level: "loud" is not',
        'labels: "{team" is neither',
        'c.toml:7:1: unknown key "colour"',
        'c.toml:11:1: receiver: no receiver "b"',
        "gone: no such directory",
    ):
        assert part in said


def test_a_value_that_no_alert_can_have_is_named(tmp_path: Path) -> None:
    text = """
roots = [{path = "."}]
receivers = {a = {type = "console"}}
[route]
receiver = "a"
[[route.routes]]
match = {alert = "LossNan", detector = "nan", severity = "critcal"}
"""
    config = parse_config(text, tmp_path / "c.toml")
    assert [problem.message for problem in check_environment(config)] == [
        'route: no alert has alert "LossNan"; did you mean "LossNaN"?',
        'route: no alert has severity "critcal"; did you mean "critical"?',
    ]


def test_check_names_what_a_receiver_lacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = """
roots = [{path = "."}]
[receivers.m]
type = "email"
host = "mail.example.org"
from = "w@example.org"
to = ["a@example.org"]
ca_file = "gone.pem"
[receivers.a]
type = "apprise"
urls_credential = "urls"
[route]
receiver = "m"
"""
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    monkeypatch.setattr("sys.path", [])  # nothing is installed
    monkeypatch.delitem(sys.modules, "apprise", raising=False)
    said = "\n".join(map(str, check_environment(parse_config(text, tmp_path / "c.toml"))))
    assert f"receiver m: ca_file {tmp_path}/gone.pem: missing" in said
    assert f"receiver a: {tmp_path}/urls: secret cannot be read: there is no such file" in said
    assert "add LoadCredential=urls:PATH to the unit" in said
    assert "receiver a: apprise is not installed; run pip install 'tb-watcher[apprise]'" in said


def test_what_only_systemd_hands_over_is_no_problem_of_a_check_by_hand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    text = """
roots = [{path = "."}]
[heartbeat]
url_credential = "beat"
[receivers.a]
type = "slack"
channel = "#a"
token_credential = "slack-token"
"""
    config = parse_config(text, tmp_path / "c.toml")
    assert check_environment(config) == []
    said = {f.said for f in examine(config, 0.0) if "credential" in f.said and f.good}
    assert len(said) == 2
    assert all("handed over by systemd, not looked at here" in one for one in said)


@pytest.mark.parametrize(
    ("scopes", "good", "said"),
    [
        ("chat:write,files:write,files:read,channels:history", True, "nothing is told twice"),
        ("chat:write", False, "lacks scopes: files:write (charts), files:read"),
        (None, False, "the bot token is not valid"),
    ],
)
def test_the_doctor_asks_slack_what_the_token_may_do(
    tmp_path: Path, scopes: str | None, good: bool, said: str
) -> None:
    with FakeSlack() as slack:
        slack.scopes = scopes or ""
        (tmp_path / "token").write_text(slack.token if scopes else "xoxb-wrong")
        (tmp_path / "token").chmod(0o600)
        text = (
            f'roots = [{{path = "."}}]\n[receivers.a]\ntype = "slack"\nchannel = "#a"\n'
            f'token_file = "token"\napi_url = "{slack.api}"\n'
        )
        found = list(examine(parse_config(text, tmp_path / "c.toml"), 0.0))
        assert slack.calls == ["auth.test"]
        assert slack.messages == []
    assert [f.good for f in found if said in f.said] == [good], found


def test_secrets_come_from_safe_files_and_credentials(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "token"
    file.write_text("s3cret\n")
    file.chmod(0o600)
    assert Secret(file=str(file)).read() == "s3cret"
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    with pytest.raises(WatcherError, match="LoadCredential=token"):
        Secret(credential="token").read()
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert Secret(credential="token").read() == "s3cret"
    file.chmod(0o640)
    with pytest.raises(WatcherError, match="chmod 600") as error:
        Secret(file=str(file)).read()
    assert "s3cret" not in str(error.value)
    file.chmod(0o600)
    file.write_text("\n")
    with pytest.raises(WatcherError, match="empty"):
        Secret(file=str(file)).read()


@given(st.text(alphabet='[]roots.path="/a{}#\n,1', max_size=60))
def test_no_text_makes_the_reader_fail_otherwise(text: str) -> None:
    try:
        parse_config(text, Path("c.toml"))
    except InvalidInput:
        return


def test_shipped_names_the_packs_that_come_with_the_program(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("rules:\n  - alert: Mine\n    detector: nan\n")
    (tmp_path / "logs").mkdir()
    for packs, names in (
        ('["mine.yaml"]', {"Mine"}),
        ('["shipped", "mine.yaml"]', {"Mine", "LossNaN", "Overfitting"}),
    ):
        config = parse_config(
            f'[[roots]]\npath = "logs"\n[rules]\npacks = {packs}\n', tmp_path / "c.toml"
        )
        assert names <= {rule.alert for rule in config.load_rules()}
        assert config.without_shipped is (len(names) == 1)


def test_a_label_that_nothing_has_is_named_for_rules_and_routes(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    rules = "rules: [{alert: Mine, detector: nan, match: {usr: a, run: b}, labels: {tier: x}}]"
    (tmp_path / "mine.yaml").write_text(rules)
    text = (
        '[[roots]]\npath = "logs"\nlabels = "{team}/{user}"\n[rules]\npacks = ["mine.yaml"]\n'
        '[receivers.a]\ntype = "console"\n[route]\nreceiver = "a"\n'
        '[[route.routes]]\nmatch = { taem = "x", tier = "y", severity = "w*", user = "u" }\n'
    )
    said = [str(p) for p in check_environment(parse_config(text, tmp_path / "c.toml"))]
    assert len(said) == 2
    assert any('Mine: no run has the label "usr"; did you mean "user"?' in one for one in said)
    assert any('route: no alert has the label "taem"; did you mean "team"?' in one for one in said)


def test_a_timeout_in_which_a_receiver_would_look_hung_is_refused(tmp_path: Path) -> None:
    text = (
        '[[roots]]\npath = "."\n[receivers.a]\ntype = "webhook"\nurl_file = "u"\ntimeout = "10m"\n'
    )
    with pytest.raises(InvalidInput) as caught:
        parse_config(text, tmp_path / "c.toml")
    said = "\n".join(map(str, caught.value.problems))
    assert "timeout" in said
    assert "60" in said


def test_a_nested_route_has_of_its_parent_what_it_does_not_say(tmp_path: Path) -> None:
    text = """
roots = [{path = "."}]
receivers = {a = {type = "console"}, b = {type = "console"}}
[route]
receiver = "a"
group_by = ["team"]
group_interval = "30s"
repeat_interval = "2h"
min_severity = "warning"
[[route.routes]]
match = {severity = "critical"}
group_interval = "1m"
[[route.routes.routes]]
match = {team = "x"}
receiver = "b"
"""
    config = parse_config(text, tmp_path / "c.toml")
    (nested,) = config.routes[0].routes
    (deeper,) = nested.routes
    said = (nested.receiver, nested.group_by, nested.group_interval, nested.repeat_interval)
    assert said == ("a", ("team",), 60.0, 7200.0)
    assert (deeper.receiver, deeper.group_by, deeper.group_interval) == ("b", ("team",), 60.0)
    assert deeper.min_severity is Severity.INFO
