"""What monitoring sees: a real service on real files, asked over real HTTP."""

from __future__ import annotations

import http.client
import os
import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from apscheduler.events import EVENT_JOB_ERROR, JobExecutionEvent
from prometheus_client.parser import text_string_to_metric_families
from ruamel.yaml import YAML

from tests.logs import EventLog
from tests.notify.fake_webhook import FakeWebhook
from tests.waiting import wait
from watcher import evaluate, listener
from watcher.config import Root, parse_config
from watcher.daemon import ready
from watcher.metrics import CONTENT_TYPE, Process
from watcher.model import Severity
from watcher.service import Service

PATIENCE = 20.0  # seconds until a wait is given up; never decides what is right
PACK = """
rules:
  - alert: TrainingNaN
    detector: nan
  - alert: TriedOut
    mode: shadow
    severity: warning
    detector: threshold
    inputs: {value: {tag: secret-tag}}
    params: {above: 0.5}
"""

Values = dict[tuple[str, frozenset[tuple[str, str]]], float]


class House:
    """A root with one run that went NaN, a service on it, and whoever asks it."""

    def __init__(self, tmp: Path, stack: ExitStack, more: str = "", listen: str = "") -> None:
        self.logs, self.stack = tmp / "logs", stack
        (tmp / "pack.yaml").write_text(PACK)
        log = EventLog(self.logs / "secret-run", start=time.time())
        for step in range(8):
            loss = float("nan") if step == 7 else 1.0 / (step + 1)
            log.add(step, {"train/loss": loss, "secret-tag": 1.0}, time.time())
        log.close()
        listen = listen or "127.0.0.1:0"
        self.config = parse_config(
            f'poll_interval = "60s"\nlisten = "{listen}"\n[[roots]]\npath = "logs"\n'
            f'[rules]\npacks = ["pack.yaml"]\n{more}',
            tmp / "config.toml",
        )

    def start(self) -> Service:
        self.service = self.stack.enter_context(ready(self.config))
        self.stack.enter_context(self.service.running())
        self.wait(lambda: self.service.engine.tally.ticks)  # the look, and what comes of it
        return self.service

    @property
    def root(self):
        return next(iter(self.service.engine.roots.values()))

    def ask(self, path: str, method: str = "GET") -> SimpleNamespace:
        listener = self.service._listener
        assert listener is not None
        client = http.client.HTTPConnection(listener.url.removeprefix("http://"), timeout=PATIENCE)
        client.request(method, path)
        answer = client.getresponse()
        body = answer.read().decode()
        client.close()
        return SimpleNamespace(code=answer.status, headers=answer.headers, body=body)

    def values(self) -> Values:
        families = text_string_to_metric_families(self.ask("/metrics").body)
        found = [s for family in families for s in family.samples]
        return {(s.name, frozenset(s.labels.items())): s.value for s in found}

    def value(self, name: str, **labels: str) -> float:
        return self.values()[name, frozenset(labels.items())]

    def wait(self, until) -> None:
        wait(until, PATIENCE)


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def house(tmp_path: Path, stack: ExitStack) -> House:
    made = House(tmp_path, stack)
    made.start()
    return made


# -------------------------------------------------------------------- the metrics


def test_the_page_tells_what_was_read_judged_and_sent(house: House) -> None:
    house.wait(lambda: house.value("watcher_deliveries_total", receiver="console", outcome="sent"))
    root = str(house.logs)
    told = house.values()

    def value(name: str, **labels: str) -> float:
        return told[name, frozenset(labels.items())]

    assert value("watcher_root_reachable", root=root) == 1
    assert value("watcher_runs", root=root, state="running") == 1
    assert value("watcher_runs", root=root, state="gone") == 0
    assert value("watcher_points_total", root=root) == 16
    assert value("watcher_series", root=root) >= 1
    assert value("watcher_skipped_bytes", root=root) == 0
    assert value("watcher_poll_seconds_count", root=root) == 1
    assert 0 < value("watcher_last_poll_seconds", root=root) < PATIENCE
    assert value("watcher_poll_under_way_seconds", root=root) == 0
    assert 0 <= value("watcher_poll_age_seconds", root=root) < PATIENCE
    assert value("watcher_tick_seconds_count") >= 1
    assert value("watcher_alerts_firing", severity="critical", mode="live") == 1
    assert value("watcher_alerts_firing", severity="warning", mode="shadow") == 1
    fired = "watcher_alert_transitions_total"
    assert value(fired, rule="TrainingNaN", state="firing", mode="live") == 1
    assert value(fired, rule="TriedOut", state="firing", mode="shadow") == 1
    assert value(fired, rule="RootUnreachable", state="firing", mode="live") == 0
    assert value("watcher_notices_queued", receiver="console") == 0
    assert value("watcher_oldest_queued_notice_age_seconds", receiver="console") == 0
    assert value("watcher_receiver_paused", receiver="console") == 0
    assert value("watcher_job_troubles_total", task="send", kind="error") == 0
    assert value("watcher_detector_failures_total", rule="TrainingNaN") == 0
    assert value("watcher_state_readable") == value("watcher_healthy") == 1
    assert value("process_resident_memory_bytes") > 1e6


def test_names_units_and_help_are_as_prometheus_wants_them(house: House) -> None:
    answer = house.ask("/metrics")
    assert (answer.code, answer.headers["Content-Type"]) == (200, CONTENT_TYPE)
    families = list(text_string_to_metric_families(answer.body))
    assert len({family.name for family in families}) == len(families)
    for family in families:
        assert re.fullmatch(r"(watcher|process)(_[a-z]+)+", family.name), family.name
        assert family.documentation, family.name
        if family.name.startswith("watcher"):
            assert family.documentation.endswith("."), family.name
        assert not re.search(r"_(ms|minutes|hours|kb|mb|percent)(_|$)", family.name)
        assert not re.search(r"_(count|sum|bucket|total|gauge|counter)$", family.name)
        for sample in family.samples:
            assert sample.name.endswith("_total") == (family.type == "counter"), sample.name


def test_runs_and_tags_never_become_labels(house: House) -> None:
    page = house.ask("/metrics").body
    assert "secret-run" not in page
    assert "secret-tag" not in page
    labels = {name for _, pairs in house.values() for name, _ in pairs}
    assert labels <= {
        *("root", "state", "receiver", "outcome", "rule", "mode", "severity", "part", "task"),
        *("kind", "health", "version", "python", "scanner"),
    }


def test_failures_of_a_detector_and_of_the_scheduler_are_counted(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(evaluate.failures, "TrainingNaN", 3)
    house.service.trouble["poll", "still running"] += 2
    assert house.value("watcher_detector_failures_total", rule="TrainingNaN") == 3
    assert house.value("watcher_job_troubles_total", task="poll", kind="still_running") == 2


def test_a_receiver_that_does_not_answer_shows(tmp_path: Path, stack: ExitStack) -> None:
    hook = stack.enter_context(FakeWebhook())
    hook.answers.extend([(503, {"Retry-After": "60"}, 0)] * 3)
    more = f'[receivers.hook]\ntype = "webhook"\nurl = "{hook.url}"\n'
    house = House(tmp_path, stack, more)
    house.start()
    house.wait(lambda: house.value("watcher_deliveries_total", receiver="hook", outcome="failed"))
    assert house.value("watcher_receiver_paused", receiver="hook") == 1
    assert house.value("watcher_receiver_failures", receiver="hook") == 1
    assert house.value("watcher_notices_queued", receiver="hook") == 1
    assert house.value("watcher_oldest_queued_notice_age_seconds", receiver="hook") > 0


def test_damage_and_a_root_that_goes_away_show(house: House) -> None:
    root = str(house.logs)
    (file,) = house.logs.glob("*/events*")
    with file.open("r+b") as damaged:
        damaged.seek(-1, os.SEEK_END)
        damaged.write(b"\xff")
    with file.open("ab") as damaged:
        damaged.write(b"\0" * 100)
    house.logs.rename(house.logs.with_name("elsewhere"))
    house.service.engine.poll(root)
    assert house.value("watcher_root_reachable", root=root) == 0
    assert house.value("watcher_alerts_firing", severity="critical", mode="live") == 2
    assert house.ask("/healthz").body.startswith(f"ok\nroot '{root}' unreachable: ")


def test_a_reload_that_is_refused_shows_until_one_is_taken(house: House) -> None:
    pack = next(path for path in house.logs.parent.iterdir() if path.name == "pack.yaml")
    assert house.value("watcher_config_last_reload_successful") == 1
    assert house.value("watcher_restart_due") == 0
    pack.write_text(PACK.replace("detector: threshold", "detector: treshold"))
    house.service.reload()
    assert house.value("watcher_config_last_reload_successful") == 0
    pack.write_text(PACK)
    house.service.reload()
    assert house.value("watcher_config_last_reload_successful") == 1


def test_a_root_whose_name_is_not_utf8_can_be_told(tmp_path: Path, stack: ExitStack) -> None:
    house = House(tmp_path, stack)
    name = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9")
    house.logs.rename(name)
    object.__setattr__(house.config, "roots", (Root(name),))
    house.start()
    assert house.value("watcher_root_reachable", root=f"{tmp_path}/caf\\udce9") == 1
    house.root.unreachable = f"{name}: no"
    assert house.ask("/healthz").code == 200


def test_a_closed_database_leaves_the_rest_of_the_page(house: House) -> None:
    with house.service._store._lock:  # not within a transaction that is then rolled back
        house.service._store._db.execute("DROP TABLE notices")
    told = house.values()
    assert told["watcher_state_readable", frozenset()] == 0
    assert told["watcher_healthy", frozenset()] == 1


# -------------------------------------------------------------------- health


def test_health_is_ok_until_a_job_is_silent_for_too_long(house: House) -> None:
    house.wait(lambda: "sender to console" in house.service._alive)
    answer = house.ask("/healthz")
    assert (answer.code, answer.body) == (200, "ok\n")
    house.service._alive["scheduler"] = time.monotonic() - 100.0
    answer = house.ask("/healthz")
    assert (answer.code, answer.body) == (503, "no sign of life from the scheduler for 100 s\n")
    assert house.value("watcher_healthy") == 0
    assert house.value("watcher_sign_of_life_age_seconds", part="scheduler") >= 100


def test_a_job_that_only_ever_fails_is_not_well(house: House) -> None:
    house.service._alive.clear()
    error = JobExecutionEvent(EVENT_JOB_ERROR, f"poll {house.logs}", "default", None)
    house.service._note(error)
    assert house.ask("/healthz").code == 200
    house.service._alive[f"evaluator of {house.logs}"] -= 1000.0
    house.service._note(error)
    assert house.ask("/healthz").code == 503
    assert house.value("watcher_job_troubles_total", task="poll", kind="error") == 2


def test_a_root_that_waits_for_the_tick_of_another_is_not_late(house: House) -> None:
    house.service._alive[f"evaluator of {house.logs}"] -= 1000.0
    house.service.engine.ticking = "/mnt/other"
    assert house.ask("/healthz").code == 200
    house.service.engine.ticking = str(house.logs)
    assert house.ask("/healthz").code == 503


def test_one_sender_that_hangs_is_not_hidden_by_another(tmp_path: Path, stack: ExitStack) -> None:
    more = '[receivers.other]\ntype = "console"\n[receivers.plain]\ntype = "console"\n'
    house = House(tmp_path, stack, f'{more}[route]\nreceiver = "other"\n')
    entered, leave = threading.Event(), threading.Event()
    stack.callback(leave.set)

    class Hangs:
        def send(self, *_: object) -> dict[str, str]:
            entered.set()
            leave.wait()
            return {}

    service = house.service = stack.enter_context(ready(house.config))
    service._notifiers["other"] = Hangs()
    stack.enter_context(service.running())
    stack.callback(leave.set)
    house.wait(entered.is_set)
    service._alive["sender to other"] -= 1000.0  # as if it had been that long
    answer = house.ask("/healthz")
    assert answer.code == 503
    assert "no sign of life from the sender to other for 10" in answer.body
    assert "plain" not in answer.body


def test_a_hung_mount_is_shown_and_is_no_reason_to_be_restarted(house: House) -> None:
    house.root.polling_since = time.monotonic() - 300.0
    house.service._alive[f"evaluator of {house.logs}"] = time.monotonic() - 300.0
    house.service._housekeep()
    answer = house.ask("/healthz")
    assert answer.code == 200
    assert "no answer for 300 s, the mount may hang" in answer.body
    assert house.value("watcher_root_reachable", root=str(house.logs)) == 0
    assert house.value("watcher_poll_under_way_seconds", root=str(house.logs)) >= 300
    house.root.polling_since = None


# -------------------------------------------------------------------- who asks


def test_only_reading_is_allowed(house: House) -> None:
    for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS"):
        answer = house.ask("/metrics", method)
        assert (answer.code, answer.headers["Allow"]) == (405, "GET, HEAD")
    assert house.ask("/metrics", "BREW").code == 501


def test_there_are_two_pages_and_no_more(house: House) -> None:
    for path in ("/", "/metrics/", "/../etc/passwd", "/debug"):
        answer = house.ask(path)
        assert (answer.code, answer.headers["Server"]) == (404, "tb-watcher")


def test_a_head_has_no_body_and_a_query_changes_nothing(house: House) -> None:
    answer = house.ask("/healthz?full=1", "HEAD")
    assert (answer.code, answer.body, answer.headers["Content-Length"]) == (200, "", "3")


def test_clients_that_say_nothing_hold_up_nobody(
    tmp_path: Path, stack: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listener._Handler, "timeout", None)  # no silent client is given up
    house = House(tmp_path, stack)
    house.start()
    ours = house.service._listener
    assert ours is not None
    for _ in range(30):
        silent = stack.enter_context(socket.create_connection(ours._server.server_address))
        silent.sendall(b"GET /metr")

    def served() -> int:
        return sum("process_request" in thread.name for thread in threading.enumerate())

    assert house.ask("/healthz").code == 200
    house.wait(lambda: served() < 10)
    ours.close()  # it returns, and they are there still
    house.service._listener = None
    assert served()


def test_a_page_that_is_never_made_binds_one_thread_and_no_other_page(
    tmp_path: Path, stack: ExitStack
) -> None:
    house = House(tmp_path, stack)
    house.start()
    asked = threading.Thread(target=house.ask, args=("/metrics",))
    with house.service._store._lock:  # as if the disk of the state hung
        asked.start()
        time.sleep(0.1)
        answer = house.ask("/metrics")
        assert (answer.code, answer.body) == (503, "busy with an earlier request\n")
        assert house.ask("/healthz").code == 200
    asked.join()
    assert house.ask("/metrics").code == 200


def test_a_port_that_is_taken_is_one_line_and_the_service_goes_on(
    tmp_path: Path, stack: ExitStack, caplog: pytest.LogCaptureFixture
) -> None:
    taken = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
    address = f"127.0.0.1:{taken.getsockname()[1]}"
    service = House(tmp_path, stack, listen=address).start()
    said = [r.getMessage() for r in caplog.records if "no metrics" in r.getMessage()]
    assert len(said) == 1
    assert f"listen={address}" in said[0]
    assert service._listener is None


def test_an_ipv6_address_works_as_well(tmp_path: Path, stack: ExitStack) -> None:
    house = House(tmp_path, stack, listen="[::1]:0")
    house.start()
    assert house.ask("/healthz").code == 200


# -------------------------------------------------------------------- the dead man's switch


@pytest.fixture
def switch(tmp_path: Path, stack: ExitStack) -> FakeWebhook:
    made = stack.enter_context(FakeWebhook())
    secret = tmp_path / "url"
    secret.write_text(made.url)
    secret.chmod(0o600)
    return made


HEARTBEAT = '[heartbeat]\nurl_file = "url"\nevery = "10s"\n'


def test_signs_of_life_are_sent_while_every_job_gives_its_own(
    tmp_path: Path, stack: ExitStack, switch: FakeWebhook
) -> None:
    service = House(tmp_path, stack, HEARTBEAT).start()
    job = service._scheduler.get_job("heartbeat")
    assert job.trigger.interval.total_seconds() == 10
    service._beat()
    beating = service._heartbeat._under_way
    beating.join()
    assert switch.paths == ["/hook/very-secret"]
    service._alive["scheduler"] = time.monotonic() - 100.0
    service._beat()
    assert service._heartbeat._under_way is beating


def test_a_switch_that_does_not_answer_holds_up_nothing(
    tmp_path: Path, stack: ExitStack, switch: FakeWebhook
) -> None:
    house = House(tmp_path, stack, HEARTBEAT)
    service = house.start()
    switch.answers.append((200, {}, 60))
    service._beat()
    house.wait(lambda: switch.paths)
    service._beat()  # the first is under way still
    stack.pop_all().close()
    assert service._heartbeat._under_way.is_alive()  # nobody waited for it
    assert len(switch.paths) == 1


def test_an_outage_of_the_switch_is_said_once_and_without_its_address(
    tmp_path: Path, stack: ExitStack, switch: FakeWebhook, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    service = House(tmp_path, stack, HEARTBEAT).start()
    switch.answers.extend([(500, {}, 0), (404, {}, 0), (0, {}, 0), (302, {"Location": "x"}, 0)])
    for _ in range(6):
        service._heartbeat.begin().join()
    said = [r.getMessage() for r in caplog.records if "heartbeat" in r.getMessage()]
    assert said == [
        "heartbeat not taken, trying again at the next reason=heartbeat 127.0.0.1: HTTP 500",
        "heartbeat taken again",
    ]
    assert "very-secret" not in caplog.text + repr(service._heartbeat) + repr(service.config)


# -------------------------------------------------------------------- what hangs on the names

RULES = YAML(typ="safe").load(Path(__file__).parents[1] / "deploy" / "prometheus-rules.yaml")
WORDS = {"absent", "changes", "delta", "increase", "or", "up"}


def _alerts() -> list[dict[str, Any]]:
    return [rule for group in RULES["groups"] for rule in group["rules"]]


def test_every_metric_and_label_in_the_alert_rules_exists(house: House) -> None:
    told: dict[str, set[str]] = {"up": {"job"}}
    for name, labels in house.values():
        told.setdefault(name, {"job"}).update(label for label, _ in labels)
    for rule in _alerts():
        bare = re.sub(r"\{[^}]*\}|\[[^]]*\]", "", rule["expr"])
        used = set(re.findall(r"[a-z_]{2,}", bare))
        metrics = used - WORDS | used & {"up"}
        assert metrics
        assert metrics <= set(told), rule["alert"]
        known = set.union(*(told[name] for name in metrics))
        text = f"{rule['expr']} {rule['annotations']}"
        assert set(re.findall(r"(\w+)=\"", rule["expr"])) <= known, rule["alert"]
        assert set(re.findall(r"\$labels\.(\w+)", text)) <= known, rule["alert"]


def test_the_values_that_the_alert_rules_pick_exist(house: House) -> None:
    told = {pair for _, pairs in house.values() for pair in pairs} | {("job", "watcher")}
    for rule in _alerts():
        assert set(re.findall(r"(\w+)=\"([^\"]*)\"", rule["expr"])) <= told


def test_each_alert_rule_says_how_bad_it_is_and_what_to_do() -> None:
    names = [rule["alert"] for rule in _alerts()]
    assert len(set(names)) == len(names)
    for rule in _alerts():
        assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}
        assert rule["labels"]["severity"] in [s.value for s in Severity]
        assert set(rule["annotations"]) == {"summary", "description"}
        assert re.fullmatch(r"\d+[smh]", rule.get("for", "0s"))


def test_the_process_is_told_of_where_the_sandbox_hides_the_machine(tmp_path: Path) -> None:
    (tmp_path / "self").symlink_to("/proc/self")  # as ProcSubset=pid does: no /proc/stat
    told = {
        f.name: f.samples[0].value for f in Process(registry=None, proc=str(tmp_path)).collect()
    }
    assert told["process_resident_memory_bytes"] > 1e6
    assert abs(told["process_start_time_seconds"] - time.time()) < 86400
    assert {"process_cpu_seconds", "process_open_fds", "process_max_fds"} <= set(told)
