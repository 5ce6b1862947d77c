"""Tests of teams that share a service: what one of them breaks is its own matter."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from tests.logs import write_run
from watcher.config import load_config
from watcher.daemon import ready
from watcher.errors import InvalidInput
from watcher.service import Service

CONFIG = """
poll_interval = "60s"
listen = ""
state_dir = "state"
[[roots]]
path = "logs"
labels = "{team}"
[receivers.all]
type = "console"
[receivers.vision]
type = "console"
[receivers.nlp]
type = "console"
[teams.vision]
packs = ["vision.yaml"]
receivers = ["vision"]
[teams.nlp]
packs = ["nlp.yaml"]
receivers = ["nlp"]
[route]
receiver = "all"
"""
PACK = "rules: [{alert: %s, expr: train_loss.last > %s}]\n"
BROKEN = "rules: [{alert: VisionHigh, detector: nann}]\n"


class Shared:
    """A service for two teams, and what their receivers are owed."""

    def __init__(self, tmp: Path) -> None:
        self.tmp = tmp
        write_run(tmp / "logs/a", {"train/loss": [9.0] * 20})
        (tmp / "config.toml").write_text(CONFIG)
        self.pack("vision", PACK % ("VisionHigh", 5))
        self.pack("nlp", PACK % ("NlpHigh", 100))

    def pack(self, team: str, text: str) -> None:
        (self.tmp / f"{team}.yaml").write_text(text)

    def begun(self) -> AbstractContextManager[Service]:
        path = self.tmp / "config.toml"
        return ready(load_config(path), path)

    def told(self, service: Service, receiver: str) -> list[tuple[str, str]]:
        """Look once, and return what a receiver is then owed."""
        for root in service.engine.roots:
            service.engine.poll(root)
        said = []
        now = service._clock.now()
        while due := service._store.due(receiver, now):
            for owed in due:
                service._store.mark_sent(owed.notice, {}, owed.notice.alerts, now)
                said += [(a.alert, a.state.value) for a in owed.notice.alerts]
        return said

    def own(self, service: Service) -> str:
        """What the watcher says of itself just now."""
        own = service.engine.roots[str(self.tmp / "logs")].state.own.values()
        return " ".join(alert.reason for alert in own if alert.open)


@pytest.fixture
def shared(tmp_path: Path) -> Shared:
    return Shared(tmp_path)


@pytest.fixture
def service(shared: Shared) -> Iterator[Service]:
    with shared.begun() as service:
        yield service


def test_a_teams_broken_pack_leaves_its_last_good_one_in_force_and_the_others_alone(
    shared: Shared, service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    assert shared.told(service, "vision") == [("VisionHigh", "firing")]
    shared.pack("vision", BROKEN)
    shared.pack("nlp", PACK % ("NlpHigh", 5))
    service.reload()
    assert not service.reloaded
    assert shared.told(service, "vision") == [("RulesRefused", "firing")]
    assert shared.told(service, "nlp") == [("NlpHigh", "firing")]  # its own change is in force
    assert "vision.yaml:1:" in shared.own(service)
    assert "its last good rules stay in force" in shared.own(service)
    assert "nann" in caplog.text
    shared.pack("vision", PACK % ("VisionHigh", 5))
    service.reload()
    assert service.reloaded
    assert shared.told(service, "vision") == [("RulesRefused", "resolved")]


def test_a_first_start_with_one_broken_pack_goes_on_without_that_teams_rules(
    shared: Shared,
) -> None:
    shared.pack("vision", BROKEN)
    with shared.begun() as service:
        assert [rule.alert for rule in service.engine.plan.rules if rule.team] == ["NlpHigh"]
        assert shared.told(service, "vision") == [("RulesRefused", "firing")]
        assert "none of its rules is in force" in shared.own(service)
    with shared.begun() as service:  # a restart knows that it was told
        assert shared.told(service, "vision") == []
        shared.pack("vision", PACK % ("VisionHigh", 100))
        service.reload()
        assert shared.told(service, "vision") == [("RulesRefused", "resolved")]


def test_a_teams_last_good_pack_stays_in_force_over_a_restart(shared: Shared) -> None:
    with shared.begun() as service:
        assert shared.told(service, "vision") == [("VisionHigh", "firing")]
    shared.pack("vision", BROKEN)
    for say in ([("RulesRefused", "firing")], []):
        with shared.begun() as service:
            assert shared.told(service, "vision") == say
            assert "its last good rules stay in force" in shared.own(service)
    write_run(shared.tmp / "logs/b", {"train/loss": [8.0] * 20})  # and they judge what is new
    with shared.begun() as service:
        assert shared.told(service, "vision") == [("VisionHigh", "firing")]
        shared.pack("vision", PACK % ("VisionHigh", 5))
        service.reload()
        assert shared.told(service, "vision") == [("RulesRefused", "resolved")]


def test_what_is_wrong_with_the_operators_own_packs_is_refused_whole(
    shared: Shared, service: Service
) -> None:
    before = service.engine.plan.rules
    (shared.tmp / "mine.yaml").write_text(BROKEN)
    (shared.tmp / "config.toml").write_text(f'{CONFIG}[rules]\npacks = ["mine.yaml"]\n')
    service.reload()
    assert not service.reloaded
    assert service.engine.plan.rules is before
    assert ("ConfigRefused", "firing") in shared.told(service, "all")
    assert "mine.yaml:1:" in shared.own(service)
    (shared.tmp / "config.toml").write_text(CONFIG)
    service.reload()
    assert service.reloaded
    assert shared.told(service, "all") == [("ConfigRefused", "resolved")]
    (shared.tmp / "config.toml").write_text(f'{CONFIG}[rules]\npacks = ["mine.yaml"]\n')
    with pytest.raises(InvalidInput, match="nann"):
        load_config(shared.tmp / "config.toml").rules_after(())


def test_what_waits_for_a_restart_keeps_no_change_of_rules_waiting(
    shared: Shared, service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    assert shared.told(service, "nlp") == []
    fresh = CONFIG.replace('receivers = ["nlp"]', 'receivers = ["other"]')
    fresh += '[receivers.other]\ntype = "console"\n[rules]\ndisable = ["LossNaN"]\n'
    (shared.tmp / "config.toml").write_text(fresh)
    shared.pack("nlp", PACK % ("NlpHigh", 5))
    shared.pack("vision", BROKEN)
    service.reload()
    assert not service.reloaded
    assert "restart the service to change receivers, and the routes with it" in caplog.text
    assert "LossNaN" not in {rule.alert for rule in service.engine.plan.rules}
    assert shared.told(service, "nlp") == [("NlpHigh", "firing")]  # there is no "other" yet
    assert ("RulesRefused", "firing") in shared.told(service, "vision")


def test_a_teams_rules_leave_the_runs_of_another_team_alone(
    shared: Shared, service: Service
) -> None:
    for team in ("vision", "nlp", "guests"):
        write_run(shared.tmp / f"logs/{team}/r", {"train/loss": [9.0] * 20})
    shared.pack("nlp", PACK % ("NlpHigh", 5))
    service.reload()
    assert sorted(shared.told(service, "nlp")) == [("NlpHigh", "firing")] * 3
    held = service.engine.roots[str(shared.tmp / "logs")].state.alerts()
    seen = {(a.alert, a.run) for a in held if a.team}
    assert ("NlpHigh", "nlp/r") in seen
    assert ("NlpHigh", "guests/r") in seen  # which is no team of the config
    assert not {("NlpHigh", "vision/r"), ("VisionHigh", "nlp/r")} & seen


def test_a_pack_whose_name_is_not_utf8_stops_neither_a_reload_nor_a_start(shared: Shared) -> None:
    (shared.tmp / "packs").mkdir()
    config = CONFIG.replace('packs = ["vision.yaml"]', 'packs = ["packs"]')
    (shared.tmp / "config.toml").write_text(config)
    odd = os.fsdecode(os.fsencode(shared.tmp / "packs") + b"/\xff.yaml")
    Path(odd).write_text(PACK % ("VisionHigh", 5))
    for _ in range(2):
        with shared.begun() as service:
            service.reload()
            assert service.reloaded
            assert "VisionHigh" in {rule.alert for rule in service.engine.plan.rules}
        Path(odd).write_text(PACK % ("VisionHigh", 6))
    Path(odd).write_text(BROKEN)
    with shared.begun() as service:
        assert "VisionHigh" in {rule.alert for rule in service.engine.plan.rules}


def test_what_was_kept_and_cannot_be_read_stops_no_start(shared: Shared) -> None:
    with shared.begun() as service:
        service._store._db.execute("UPDATE packs SET texts = x'00ff' WHERE team = 'vision'")
        service._store._db.commit()
    shared.pack("vision", BROKEN)
    with shared.begun() as service:
        assert [rule.alert for rule in service.engine.plan.rules if rule.team] == ["NlpHigh"]


def test_packs_that_a_team_no_longer_has_do_not_come_back(shared: Shared) -> None:
    with shared.begun():
        pass
    without = CONFIG.replace('packs = ["vision.yaml"]\n', "")
    (shared.tmp / "config.toml").write_text(without)
    with shared.begun():
        pass
    (shared.tmp / "config.toml").write_text(CONFIG)
    shared.pack("vision", BROKEN)
    with shared.begun() as service:
        assert [rule.alert for rule in service.engine.plan.rules if rule.team] == ["NlpHigh"]


def test_rules_that_the_operator_wrote_for_a_team_are_there_once(
    shared: Shared, service: Service
) -> None:
    mine = "team: vision\n" + PACK % ("OpHigh", 5)
    (shared.tmp / "mine.yaml").write_text(mine)
    (shared.tmp / "config.toml").write_text(f'{CONFIG}[rules]\npacks = ["mine.yaml"]\n')
    shared.pack("vision", BROKEN)
    for _ in range(3):
        service.reload()
        names = [rule.alert for rule in service.engine.plan.rules if rule.team == "vision"]
        assert sorted(names) == ["OpHigh", "VisionHigh"]


def test_a_team_that_went_and_came_back_while_receivers_wait_has_its_rules(
    shared: Shared, service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    waits = CONFIG + '[receivers.new]\ntype = "console"\n'
    gone = waits.replace('[teams.vision]\npacks = ["vision.yaml"]\nreceivers = ["vision"]\n', "")
    for text in (waits, gone, waits):
        (shared.tmp / "config.toml").write_text(text)
        service.reload()
        teams = {rule.team for rule in service.engine.plan.rules}
        assert ("vision" in teams) is (text is waits)
        assert service.waiting == "receivers"
    (shared.tmp / "config.toml").write_text(f'{waits}[teams.audio]\npacks = ["nlp.yaml"]\n')
    service.reload()
    assert service.waiting == "receivers, team audio"
    assert "restart the service to change receivers, team audio, and the routes" in caplog.text


def test_a_first_root_that_is_away_keeps_nothing_from_being_told_of_rules(
    shared: Shared,
) -> None:
    config = CONFIG.replace("[[roots]]", '[[roots]]\npath = "away"\n[[roots]]', 1)
    (shared.tmp / "config.toml").write_text(config)
    shared.pack("vision", BROKEN)
    with shared.begun() as service:
        assert ("RulesRefused", "firing") in shared.told(service, "vision")
