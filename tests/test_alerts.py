"""The state machine of alerts: Prometheus' semantics, by example and by property."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from watcher.alerts import Look, advance, close, fingerprint, loudness
from watcher.model import (
    OK,
    UNKNOWN,
    Alert,
    AlertState,
    Hold,
    Rule,
    RunKey,
    Severity,
    Slot,
    Status,
    Transition,
    Verdict,
)

SLOT = Slot("LossIsNaN", RunKey("/logs", "a"), 0, "loss")
RULE = Rule("LossIsNaN", "nan", {}, None, labels={"tier": "gold"})


def breach(onset: int | None = 10, severity: Severity | None = None) -> Verdict:
    return Verdict(
        Status.BREACH, "NaN", onset, float("nan"), best=9, severity=severity, advice="nan"
    )


@dataclass
class Bench:
    """Feeds verdicts to one slot, ten seconds, five steps and one point apart."""

    rule: Rule = RULE
    held: Alert | None = None
    n: int = 0

    def say(self, verdict: Verdict) -> tuple[Transition, ...]:
        self.n += 1
        look = Look(
            self.rule,
            SLOT,
            100.0 + 10 * self.n,
            5 * self.n,
            self.n,
            {"value": "loss"},
            {"user": "u"},
        )
        self.held, said = advance(self.held, verdict, look)
        return said

    @property
    def state(self) -> AlertState | None:
        return self.held.state if self.held else None


def test_a_breach_without_for_fires_at_once() -> None:
    bench = Bench()
    (said,) = bench.say(breach())
    assert (said.before, said.alert.state, said.at) == (None, AlertState.FIRING, 110.0)
    assert bench.held == said.alert
    assert (said.alert.fired_step, said.alert.onset_step, said.alert.best_step) == (5, 10, 9)
    assert said.alert.labels == {"user": "u", "tier": "gold"}
    assert said.alert.fingerprint == fingerprint(SLOT, 10)


@pytest.mark.parametrize(
    "hold", [Hold(2, "points"), Hold(10, "steps"), Hold(20, "seconds")], ids=lambda h: h.unit
)
def test_for_counts_further_points_steps_or_seconds(hold: Hold) -> None:
    bench = Bench(replace(RULE, for_=hold))
    assert [t.alert.state for t in bench.say(breach())] == [AlertState.PENDING]
    assert bench.say(breach()) == ()
    (said,) = bench.say(breach())
    assert (said.before, said.alert.state) == (AlertState.PENDING, AlertState.FIRING)
    assert said.alert.active_at == 110.0
    assert said.alert.fired_at == 130.0


def test_a_pending_alert_that_turns_ok_vanishes() -> None:
    bench = Bench(replace(RULE, for_=Hold(5, "points")))
    bench.say(breach())
    assert bench.say(OK) == ()
    assert bench.held is None


def test_unknown_keeps_the_state_and_fires_nothing() -> None:
    bench = Bench(replace(RULE, for_=Hold(10, "seconds")))
    assert bench.say(UNKNOWN) == ()
    assert bench.held is None
    bench.say(breach())
    held = bench.held
    for _ in range(5):
        assert bench.say(UNKNOWN) == ()
    assert bench.held is held
    (said,) = bench.say(breach())
    assert said.alert.state is AlertState.FIRING
    assert bench.say(UNKNOWN) == ()
    assert bench.state is AlertState.FIRING


def test_until_it_fires_the_onset_may_become_clearer_then_it_is_fixed() -> None:
    bench = Bench(replace(RULE, for_=Hold(1, "points")))
    bench.say(breach(onset=10))
    bench.say(breach(onset=8))
    assert bench.held
    assert bench.held.onset_step == 8
    assert bench.held.fingerprint == fingerprint(SLOT, 8)
    bench.say(breach(onset=6))
    assert bench.held.onset_step == 8
    assert bench.held.fingerprint == fingerprint(SLOT, 8)


def test_a_breach_without_an_onset_began_when_it_was_first_seen() -> None:
    bench = Bench(replace(RULE, for_=Hold(1, "points")))
    bench.say(breach(onset=None))
    bench.say(breach(onset=None))
    assert bench.held
    assert bench.held.onset_step == 5


def test_while_firing_what_is_known_is_kept_up_to_date() -> None:
    bench = Bench()
    bench.say(breach())
    assert bench.say(replace(breach(), reason="worse", value=7.0, best=3, advice="lr")) == ()
    held = bench.held
    assert held
    assert (held.reason, held.value, held.best_step, held.advice_key) == (
        "worse",
        7.0,
        3,
        "lr",
    )


def test_it_becomes_louder_but_never_quieter() -> None:
    bench = Bench()
    bench.say(breach(severity=Severity.WARNING))
    (said,) = bench.say(breach(severity=Severity.CRITICAL))
    assert said.escalated
    assert said.before is AlertState.FIRING
    assert bench.say(breach(severity=Severity.INFO)) == ()
    assert bench.held
    assert bench.held.severity is Severity.CRITICAL


def test_the_rules_severity_wins_over_the_detectors_hint() -> None:
    bench = Bench(replace(RULE, severity=Severity.INFO))
    bench.say(breach(severity=Severity.CRITICAL))
    assert bench.held
    assert bench.held.severity is Severity.INFO


def test_ok_resolves_at_once_without_keep_firing_for() -> None:
    bench = Bench()
    bench.say(breach())
    (said,) = bench.say(OK)
    assert (said.before, said.alert.state) == (AlertState.FIRING, AlertState.RESOLVED)
    assert (said.alert.resolved_at, said.alert.resolved_step) == (120.0, 10)
    assert bench.say(OK) == ()


def test_keep_firing_for_bridges_a_pause_and_starts_over_with_each_breach() -> None:
    bench = Bench(replace(RULE, keep_firing_for=Hold(2, "points")))
    bench.say(breach())
    assert bench.say(OK) == ()
    assert bench.say(OK) == ()
    bench.say(breach())
    assert bench.held
    assert bench.held.ok_at is None
    assert bench.say(OK) == ()
    assert bench.say(OK) == ()
    (said,) = bench.say(OK)
    assert said.alert.state is AlertState.RESOLVED


def test_a_resolved_alert_with_a_new_onset_is_a_new_alert() -> None:
    bench = Bench()
    bench.say(breach(onset=10))
    bench.say(OK)
    (said,) = bench.say(breach(onset=20))
    assert said.before is None
    assert said.alert.fingerprint == fingerprint(SLOT, 20)


def test_a_resolved_alert_with_the_same_onset_begins_a_new_life() -> None:
    bench = Bench()
    (first,) = bench.say(breach())
    bench.say(OK)
    (again,) = bench.say(breach())
    assert again.before is AlertState.RESOLVED
    assert again.alert.fingerprint == first.alert.fingerprint
    assert again.alert.fired_at == 130.0
    assert again.alert.resolved_at is None


@pytest.mark.parametrize("state", [AlertState.ENDED, AlertState.SUPERSEDED])
def test_what_a_runs_end_or_a_resume_closed_is_not_resolved_and_a_breach_starts_anew(
    state: AlertState,
) -> None:
    bench = Bench()
    bench.say(breach())
    assert bench.held
    bench.held, said = close(bench.held, state, 500.0, 50)
    assert (said.before, said.alert.state, said.at) == (AlertState.FIRING, state, 500.0)
    assert bench.say(OK) == ()
    assert bench.state is state
    (new,) = bench.say(breach(onset=99))
    assert new.before is None
    assert new.alert.state is AlertState.FIRING


def test_numbers_are_plain_whatever_a_detector_answers() -> None:
    bench = Bench()
    odd = Verdict(
        Status.BREACH,
        "odd",
        onset=np.int64(7),  # type: ignore[arg-type]
        value=np.float32(0.5),  # type: ignore[arg-type]
        best=float("nan"),  # type: ignore[arg-type]
    )
    bench.say(odd)
    assert bench.held
    assert (type(bench.held.onset_step), type(bench.held.value)) == (int, float)
    assert bench.held.best_step is None
    assert bench.held.fingerprint == fingerprint(SLOT, 7)


def test_a_rule_in_shadow_makes_shadow_alerts() -> None:
    bench = Bench(replace(RULE, mode="shadow"))
    bench.say(breach())
    assert bench.held
    assert bench.held.shadow


def test_a_fingerprint_tells_slots_and_onsets_apart_and_is_stable() -> None:
    assert fingerprint(SLOT, 10) == fingerprint(replace(SLOT), 10)
    others = {
        fingerprint(SLOT, 11),
        fingerprint(SLOT, None),
        fingerprint(replace(SLOT, attempt=1), 10),
        fingerprint(replace(SLOT, run=RunKey("/logs", "b")), 10),
        fingerprint(replace(SLOT, subject="acc"), 10),
        fingerprint(replace(SLOT, rule="x"), 10),
        fingerprint(replace(SLOT, run=RunKey("/logs", "a\udcff")), 10),
    }
    assert len(others | {fingerprint(SLOT, 10)}) == 8


_NEXT = {
    None: {AlertState.PENDING, AlertState.FIRING},
    AlertState.PENDING: {AlertState.FIRING},
    AlertState.FIRING: {AlertState.RESOLVED, AlertState.FIRING},
    AlertState.RESOLVED: {AlertState.PENDING, AlertState.FIRING},
}
_holds = st.builds(
    Hold, st.sampled_from([0.0, 1.0, 3.0, 12.0]), st.sampled_from(["points", "steps", "seconds"])
)
_verdicts = st.one_of(
    st.just(OK),
    st.just(UNKNOWN),
    st.builds(
        breach,
        st.one_of(st.none(), st.integers(0, 3)),
        st.one_of(st.none(), st.sampled_from(list(Severity))),
    ),
)


@given(st.lists(_verdicts, max_size=30), _holds, _holds)
def test_every_history_is_a_walk_through_the_states(
    verdicts: list[Verdict], for_: Hold, keep: Hold
) -> None:
    bench = Bench(replace(RULE, for_=for_, keep_firing_for=keep))
    for verdict in verdicts:
        before = bench.held
        said = bench.say(verdict)
        for t in said:
            assert t.alert.state in _NEXT[t.before]
            assert t.escalated == (t.before is t.alert.state is AlertState.FIRING)
        if verdict.status is Status.UNKNOWN:
            assert bench.held is before
            assert said == ()
        if said:
            assert said[-1].alert == bench.held
        if before and before.state is AlertState.FIRING and bench.state is AlertState.FIRING:
            assert bench.held
            assert bench.held.fingerprint == before.fingerprint
            assert loudness(bench.held.severity) >= loudness(before.severity)
            assert bench.held.fired_at == before.fired_at
        if bench.state is AlertState.FIRING:
            assert bench.held
            assert bench.held.fired_at is not None
            assert bench.held.resolved_at is None


@given(st.lists(_verdicts, max_size=30), _holds, _holds)
def test_two_in_a_row_never_resolve_without_firing(
    verdicts: list[Verdict], for_: Hold, keep: Hold
) -> None:
    bench = Bench(replace(RULE, for_=for_, keep_firing_for=keep))
    firing = False
    for verdict in verdicts:
        for t in bench.say(verdict):
            if t.alert.state is AlertState.RESOLVED:
                assert firing
            firing = t.alert.state is AlertState.FIRING


def test_a_reason_that_moved_on_says_when_it_first_was_so() -> None:
    """The onset is the alert's identity and stays; the reason has the newest numbers."""
    bench = Bench()
    bench.say(breach(10))
    bench.say(breach(10))
    assert bench.held
    assert bench.held.reason == "NaN"
    bench.say(breach(31))
    assert (bench.held.onset_step, bench.held.reason) == (10, "NaN")
    bench.say(replace(breach(31), reason="NaN since step 31"))
    assert bench.held.reason == "NaN since step 31; as first told, since step 10"
    bench.say(replace(breach(31), reason="NaN near step 310"))
    assert bench.held.reason == "NaN near step 310"
