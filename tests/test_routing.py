"""Who hears of it: Alertmanager's acceptance tests by name, and what is our own."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from hypothesis import given
from hypothesis import strategies as st

from tests.notify.examples import NOW, an_alert, closed
from watcher.globs import all_fit
from watcher.model import Alert, AlertState, Notice, RunKey, Severity, Slot, Transition
from watcher.precedence import SILENCES
from watcher.routing import (
    DAY,
    ENDED,
    FIRST,
    LOUDER,
    REPEAT,
    RESOLVED,
    STORM,
    SUPERSEDED,
    Heard,
    HeardKey,
    Route,
    Silence,
    labels,
    queue,
    remember,
    silenced,
)

ROUTE = Route("slack")


@dataclass
class Team:
    """A tick's routing with its memory."""

    routes: tuple[Route, ...] = (ROUTE,)
    silences: tuple[Silence, ...] = ()
    heard: dict[HeardKey, Heard] = field(default_factory=dict)

    def tick(
        self, *alerts: Alert, now: float = NOW, transitions: tuple[Transition, ...] = ()
    ) -> tuple[Notice, ...]:
        notices = queue(transitions, alerts, self.heard, self.routes, now, silences=self.silences)
        for key, heard in remember(notices, self.heard).items():
            if heard is None:
                self.heard.pop(key, None)
            else:
                self.heard[key] = heard
        return notices


def reasons(notices: tuple[Notice, ...]) -> list[str]:
    return [notice.reason for notice in notices]


def test_first_notification_then_silence_while_nothing_changes() -> None:
    team, alert = Team(), an_alert()
    (notice,) = team.tick(alert)
    assert (notice.reason, notice.receiver, notice.alerts) == (FIRST, "slack", (alert,))
    assert team.tick(alert, now=NOW + 30) == ()


def test_batching_one_message_for_several_alerts_of_one_run_in_one_tick() -> None:
    one = an_alert("A", detector="x", severity=Severity.WARNING)
    two = an_alert("B", detector="y")
    other = an_alert("A", run="other", detector="x")
    notices = Team().tick(one, two, other)
    assert [[a.alert for a in n.alerts] for n in notices] == [["B", "A"], ["A"]]


def test_resolved_only_to_those_who_heard_of_the_firing() -> None:
    team, alert = Team(), an_alert()
    assert team.tick(closed(alert)) == ()
    team.tick(alert)
    assert reasons(team.tick(closed(alert), now=NOW + 30)) == [RESOLVED]
    assert team.tick(closed(alert), now=NOW + 60) == ()


def test_the_end_of_a_run_and_a_resume_are_no_good_news() -> None:
    for state, reason in ((AlertState.ENDED, ENDED), (AlertState.SUPERSEDED, SUPERSEDED)):
        team, alert = Team(), an_alert()
        team.tick(alert)
        assert reasons(team.tick(closed(alert, state))) == [reason]


def test_an_alert_that_was_replaced_in_its_slot_is_still_closed() -> None:
    team, old = Team(), an_alert(onset=1)
    team.tick(old)
    new = an_alert(onset=2, state=AlertState.PENDING)
    step = Transition(AlertState.FIRING, closed(old), NOW)
    assert reasons(team.tick(new, transitions=(step,))) == [RESOLVED]


def test_repeat_backs_off_exponentially() -> None:
    team, alert = Team(), an_alert()
    team.tick(alert)
    hours = range(24 * 16)
    times = [hour / 24 for hour in hours if team.tick(alert, now=NOW + hour * 3600.0)]
    assert times == [1, 3, 7, 15]


def test_a_reminder_names_all_that_is_still_wrong_with_the_run() -> None:
    team, one = Team(), an_alert("A", detector="x")
    two = an_alert("B", detector="y", fired_at=NOW + 3600)
    team.tick(one)
    assert reasons(team.tick(one, two, now=NOW + 3600)) == [FIRST]
    (notice,) = team.tick(one, two, now=NOW + DAY)
    assert notice.reason == REPEAT
    assert len(notice.alerts) == 2


def test_louder_is_told_at_once_and_only_once() -> None:
    team, alert = Team(), an_alert(severity=Severity.WARNING)
    team.tick(alert)
    loud = replace(alert, severity=Severity.CRITICAL)
    assert reasons(team.tick(loud, now=NOW + 1)) == [LOUDER]
    assert team.tick(loud, now=NOW + 2) == ()


def test_cold_start_gives_the_same_notice_and_a_repeated_tick_the_same_id() -> None:
    alert = an_alert()
    assert Team().tick(alert)[0].id == Team().tick(alert, now=NOW + 999)[0].id
    again = replace(alert, fired_at=NOW + 5000)
    assert Team().tick(again)[0].id != Team().tick(alert)[0].id


def test_group_wait_collects_what_comes_a_little_later() -> None:
    team = Team((replace(ROUTE, group_wait=30),))
    one, two = an_alert("A", detector="x"), an_alert("B", detector="y", fired_at=NOW + 20)
    assert team.tick(one) == ()
    assert team.tick(one, two, now=NOW + 20) == ()
    (notice,) = team.tick(one, two, now=NOW + 30)
    assert len(notice.alerts) == 2


def test_what_resolves_within_group_wait_is_never_mentioned() -> None:
    team = Team((replace(ROUTE, group_wait=30),))
    assert team.tick(an_alert()) == ()
    assert team.tick(closed(an_alert()), now=NOW + 40) == ()


def test_group_interval_holds_back_what_joins_unless_it_is_louder() -> None:
    team = Team()
    one = an_alert("A", detector="x", severity=Severity.WARNING)
    quiet = an_alert("B", detector="y", severity=Severity.WARNING)
    loud = an_alert("C", detector="z", severity=Severity.CRITICAL)
    team.tick(one)
    assert team.tick(one, quiet, now=NOW + 60) == ()
    (notice,) = team.tick(one, quiet, loud, now=NOW + 61)
    assert [a.alert for a in notice.alerts] == ["C", "B"]
    later = an_alert("D", detector="w", severity=Severity.WARNING)
    assert team.tick(one, quiet, loud, later, now=NOW + 70) == ()
    assert reasons(team.tick(one, quiet, loud, later, now=NOW + 361)) == [FIRST]


def test_what_comes_and_goes_is_told_once_an_interval_unless_it_is_louder() -> None:
    team = Team()
    for i in range(4):  # fires for thirty seconds of each minute
        flap = an_alert(run="r", onset=i, fired_at=NOW + 60 * i, severity=Severity.WARNING)
        told = reasons(team.tick(flap, now=NOW + 60 * i))
        told += reasons(team.tick(closed(flap), now=NOW + 60 * i + 30))
        assert told == ([] if i else [FIRST, RESOLVED])
    back = an_alert(run="r", onset=9, fired_at=NOW + 280, severity=Severity.WARNING)
    assert team.tick(back, now=NOW + 280) == ()
    worse = replace(back, severity=Severity.CRITICAL)
    assert reasons(copied(team).tick(worse, now=NOW + 290)) == [FIRST]
    assert reasons(team.tick(back, now=NOW + 300)) == [FIRST]


def test_what_has_just_been_closed_holds_nothing_else_back() -> None:
    """Another rule, another run, another try of the same run: each is told at once."""
    nan = an_alert("LossNaN", run="r")
    for other in (
        an_alert("LossDiverged", run="r", detector="divergence"),
        an_alert("LossNaN", run="s"),
        an_alert("LossNaN", run="r", attempt=1),
    ):
        team = Team((replace(ROUTE, group_by=()),))
        team.tick(nan)
        team.tick(closed(nan, AlertState.ENDED), now=NOW + 60)
        assert reasons(team.tick(other, now=NOW + 70)) == [FIRST]


def test_what_comes_and_goes_within_each_look_is_told_once_an_interval() -> None:
    team = Team()
    for i in range(20):
        now = NOW + 30 * i
        flap = closed(an_alert(run="r", onset=i, fired_at=now))
        fired = Transition(None, replace(flap, state=AlertState.FIRING), now)
        over = Transition(AlertState.FIRING, flap, now)
        told = team.tick(flap, now=now, transitions=(fired, over))
        assert reasons(told) == ([RESOLVED] if i in (0, 10) else [])


def test_a_storm_of_what_comes_and_goes_is_told_once_an_interval() -> None:
    team = Team()
    for i in range(5):
        flaps = [an_alert(run=f"r{n}", onset=i, fired_at=NOW + 60 * i) for n in range(STORM + 5)]
        first = team.tick(*flaps, now=NOW + 60 * i)
        last = team.tick(*map(closed, flaps), now=NOW + 60 * i + 30)
        assert (len(first), len(last)) == ((0, 0) if i else (1, 1))


def copied(team: Team) -> Team:
    return Team(team.routes, team.silences, dict(team.heard))


def test_inhibition_a_nan_silences_its_consequences_on_the_same_attempt_only() -> None:
    nan = an_alert("N", detector="nan")
    same = an_alert("D", detector="divergence")
    elsewhere = an_alert("D", detector="divergence", run="other")
    earlier = an_alert("D", detector="divergence", attempt=1)
    told = {a.fingerprint for n in Team().tick(nan, same, elsewhere, earlier) for a in n.alerts}
    assert told == {nan.fingerprint, elsewhere.fingerprint, earlier.fingerprint}


def test_inhibition_ends_with_its_cause_and_does_not_hide_a_resolution() -> None:
    team = Team()
    nan, spike = an_alert("N", detector="nan"), an_alert("S", detector="spike")
    team.tick(nan, spike)
    (notice,) = team.tick(closed(nan), spike, now=NOW + 600)
    assert {a.alert for a in notice.alerts} == {"N", "S"}
    team = Team()
    team.tick(spike)
    assert [n.alerts[0].alert for n in team.tick(spike, nan)] == ["N"]
    assert reasons(team.tick(closed(spike), nan)) == [RESOLVED]


def test_a_shadow_alert_inhibits_nothing_and_is_not_told() -> None:
    shadow = an_alert("N", detector="nan", shadow=True)
    spike = an_alert("S", detector="spike")
    (notice,) = Team().tick(shadow, spike)
    assert notice.alerts == (spike,)


def test_no_detector_inhibits_itself_or_what_inhibits_it() -> None:
    for source, targets in SILENCES.items():
        assert source not in targets
        assert not any(source in SILENCES.get(target, ()) for target in targets)


def test_an_unreachable_root_silences_its_runs() -> None:
    root = replace(
        an_alert("RootUnreachable", detector="unreachable"),
        slot=Slot("RootUnreachable", RunKey("/logs", "."), 0, ""),
    )
    other = an_alert("S", detector="stalled", root="/elsewhere")
    notices = Team().tick(root, an_alert("S", detector="stalled"), other)
    assert [n.alerts[0].slot.run.root for n in notices] == ["/logs", "/elsewhere"]


def test_pending_alerts_are_nobodys_business() -> None:
    assert Team().tick(an_alert(state=AlertState.PENDING, fired_at=None)) == ()


def test_routes_go_depth_first_to_the_first_that_matches() -> None:
    routes = (
        Route(
            "all",
            routes=(
                Route("pager", match={"severity": "critical"}, go_on=True),
                Route("vision", match={"run": "vision/*"}),
                Route("never", match={"run": "vision/*"}),
            ),
        ),
    )
    loud, quiet = an_alert(), an_alert(severity=Severity.INFO)
    elsewhere = an_alert(run="nlp/bert", severity=Severity.INFO)
    assert [n.receiver for n in Team(routes).tick(loud)] == ["pager", "vision"]
    assert [n.receiver for n in Team(routes).tick(quiet)] == ["vision"]
    assert [n.receiver for n in Team(routes).tick(elsewhere)] == ["all"]


def test_min_severity_keeps_the_quiet_away_until_they_are_loud_enough() -> None:
    team = Team((replace(ROUTE, min_severity=Severity.CRITICAL),))
    alert = an_alert(severity=Severity.WARNING)
    assert team.tick(alert) == ()
    assert reasons(team.tick(replace(alert, severity=Severity.CRITICAL))) == [FIRST]


def test_reload_whoever_heard_of_it_hears_of_its_end_though_the_routes_changed() -> None:
    team, alert = Team(), an_alert()
    team.tick(alert)
    team.routes = (Route("webhook"),)
    (notice,) = team.tick(closed(alert))
    assert (notice.receiver, notice.reason) == ("slack", RESOLVED)


def test_nobody_is_told_twice_by_two_routes() -> None:
    routes = (Route("slack", go_on=True), Route("slack", group_by=("team",)))
    assert len(Team(routes).tick(an_alert())) == 1


def test_a_storm_becomes_one_digest_whose_end_is_one_message_too() -> None:
    team = Team()
    alerts = [an_alert(run=f"run{i}") for i in range(STORM + 5)]
    (digest,) = team.tick(*alerts)
    assert len(digest.alerts) == STORM + 5
    assert digest.reason == f"storm: {STORM + 5} messages in one"
    assert team.tick(*alerts, now=NOW + 60) == ()
    (end,) = team.tick(*[closed(a) for a in alerts], now=NOW + 90)
    assert end.group_key == digest.group_key
    assert end.reason == RESOLVED


def test_a_silence_mutes_until_it_expires_then_what_still_fires_is_told() -> None:
    silence = Silence("s", {"run": "vision/*", "alert": "!Other"}, NOW, NOW + 100, "ann", "known")
    team, alert = Team(silences=(silence,)), an_alert()
    assert silenced(alert, team.silences, NOW) is silence
    assert silenced(an_alert("Other"), team.silences, NOW) is None
    assert team.tick(alert) == ()
    assert reasons(team.tick(alert, now=NOW + 100)) == [FIRST]


def test_matching_is_by_glob_with_negation_and_absent_labels_are_empty() -> None:
    found = labels(an_alert())
    assert all_fit(found, {"run": "vision/*", "tier": "res*", "team": "!nlp"})
    assert all_fit(found, {"absent": ""})
    assert all_fit(found, {"absent": "!x"})
    assert not all_fit(found, {"absent": "?*"})
    assert not all_fit(found, {"run": "!vision/*"})


_runs = st.sampled_from(["a", "b", "c\udcff"])
_detectors = st.sampled_from(["nan", "spike", "plateau", "x"])
_states = st.sampled_from(list(AlertState))


@given(
    st.lists(
        st.dictionaries(
            st.tuples(_runs, _detectors), st.tuples(_states, st.sampled_from(Severity))
        ),
        max_size=12,
    )
)
def test_whatever_happens_closings_follow_firings_and_ids_are_unique(
    ticks: list[dict[tuple[str, str], tuple[AlertState, Severity]]],
) -> None:
    team, seen, firing = Team(), set(), set()
    for i, states in enumerate(ticks):
        now = NOW + 400.0 * i
        alerts = [
            an_alert(d, run=r, detector=d, state=s, severity=v, fired_at=now)
            for (r, d), (s, v) in states.items()
        ]
        for notice in team.tick(*alerts, now=now):
            assert notice.id not in seen
            seen.add(notice.id)
            assert len({a.slot.run for a in notice.alerts}) == 1
            for alert in notice.alerts:
                assert alert.state is not AlertState.PENDING
                if alert.open:
                    firing.add(alert.fingerprint)
                else:
                    firing.remove(alert.fingerprint)
    assert firing == {f for (_, f), known in team.heard.items() if not known.over}
