"""Tests of the tick: runs, tries, resumes, restarts, ends, with the simplest of detectors."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.batches import batch, columns
from tests.logs import T0
from tests.simple_detectors import Limit, Quiet
from watcher import judging
from watcher.detectors.stalled import Stalled
from watcher.model import (
    AlertState,
    Hold,
    Poll,
    Role,
    Rule,
    RunState,
    Selector,
    Severity,
    Signs,
)
from watcher.pipeline import KnownRun, Plan, State, tick

HIGH = [1.0] * 5 + [9.0] * 5
CALM = [1.0] * 10


pytestmark = pytest.mark.usefixtures("simple_detectors")


def rule(detector="high", **more):
    inputs = {} if detector == "quiet" else {"value": Selector(Role.TRAIN_LOSS)}
    params = Quiet() if detector == "quiet" else Limit()
    return Rule(alert=detector.title(), detector=detector, inputs=inputs, params=params, **more)


PLAN = Plan((rule(), rule("quiet")))
UNTIMED = Plan((rule(),))


def at(step):
    return T0 + 60.0 * step


def test_a_breach_fires_once_at_its_step_and_resolves_when_it_is_over():
    state = State()
    out = tick(state, Poll((batch({"loss": [*HIGH, 1.0]}, fresh=True),)), PLAN, at(10))
    assert [(t.alert.state, t.alert.onset_step) for t in out.transitions] == [
        (AlertState.FIRING, 5),
        (AlertState.RESOLVED, 5),
    ]
    assert out.transitions[-1].alert.resolved_step == 10


@pytest.mark.parametrize(
    ("first", "second", "said"),
    [
        (Severity.INFO, Severity.WARNING, ["First", "Second"]),
        (Severity.WARNING, Severity.WARNING, ["First"]),
        (Severity.WARNING, Severity.INFO, ["First"]),
        (Severity.CRITICAL, Severity.CRITICAL, ["First"]),
    ],
)
def test_the_same_of_another_series_is_said_only_if_it_is_worse(first, second, said):
    train, val = Selector(Role.TRAIN_LOSS), Selector(Role.VAL_LOSS)
    rules = (
        replace(rule(), alert="First", inputs={"value": train}, severity=first),
        replace(rule(), alert="Second", inputs={"value": val}, severity=second),
    )
    curves = {"train/loss": HIGH, "val/loss": [*CALM[:7], 9.0, 9.0, 9.0]}
    out = tick(State(), Poll((batch(curves, fresh=True),)), Plan(rules), at(10))
    assert [t.alert.alert for t in out.transitions] == said


def test_the_same_of_two_series_comes_to_its_end_in_each():
    train, val = Selector(Role.TRAIN_LOSS), Selector(Role.VAL_LOSS)
    for first, second in ((Severity.INFO, Severity.WARNING), (Severity.INFO, Severity.CRITICAL)):
        rules = (
            replace(rule(), alert="First", inputs={"value": train}, severity=first),
            replace(rule(), alert="Second", inputs={"value": val}, severity=second),
        )
        curves = {"train/loss": [*HIGH, *CALM], "val/loss": [*CALM[:7], 9.0, 9.0, 9.0, *CALM]}
        out = tick(State(), Poll((batch(curves, fresh=True),)), Plan(rules), at(20))
        ended = [t.alert.alert for t in out.transitions if t.alert.state is AlertState.RESOLVED]
        assert sorted(ended) == ["First", "Second"]


def test_train_and_validation_directories_are_one_run():
    state = State()
    train = batch({"epoch_loss": CALM}, run="exp/train", fresh=True)
    val = batch({"epoch_loss": CALM}, run="exp/validation", fresh=True)
    tick(state, Poll((train, val)), PLAN, at(10))
    (run,) = state.runs.values()
    assert run.key.run == "exp"
    assert sorted(run.windows) == ["train/epoch_loss", "validation/epoch_loss"]


def test_runs_called_after_their_only_tag_so_far_stay_apart():
    state = State()
    first = [batch({"loss": CALM}, run=f"loss_{name}", fresh=True) for name in ("mse", "huber")]
    tick(state, Poll(tuple(first)), PLAN, at(10))
    assert sorted(key.run for key in state.runs) == ["loss_huber", "loss_mse"]


def test_children_of_add_scalars_join_their_run_whose_file_holds_nothing_yet():
    state = State()
    tick(state, Poll((batch({}, run="exp", fresh=True),)), PLAN, at(0))
    children = [batch({"loss": CALM}, run=f"exp/loss_{side}", fresh=True) for side in ("a", "b")]
    tick(state, Poll(tuple(children)), PLAN, at(10))
    assert [key.run for key in state.runs] == ["exp"]


def test_a_new_attempt_starts_history_over_and_ends_what_fired():
    state = State()
    tick(state, Poll((batch({"loss": HIGH}, fresh=True),)), UNTIMED, at(9))
    again = batch({"loss": CALM}, attempt=1, fresh=True)
    out = tick(state, Poll((again,)), UNTIMED, at(20))
    assert [t.alert.state for t in out.transitions] == [AlertState.ENDED]
    (run,) = state.runs.values()
    assert (run.attempt, len(run.windows["loss"])) == (1, 10)


def test_a_resume_from_before_the_fault_supersedes_its_alert():
    state = State()
    tick(state, Poll((batch({"loss": HIGH}, fresh=True),)), UNTIMED, at(9))
    resumed = batch({"loss": CALM}, fresh=True, superseded_from=3, retained=3)
    out = tick(state, Poll((resumed,)), UNTIMED, at(20))
    assert [t.alert.state for t in out.transitions] == [AlertState.SUPERSEDED]


def test_a_resume_from_after_the_onset_keeps_the_alert():
    state = State()
    tick(state, Poll((batch({"loss": HIGH}, fresh=True),)), UNTIMED, at(9))
    resumed = batch(
        {"loss": [*HIGH[:8], 9.0, 9.0, 9.0]}, fresh=True, superseded_from=8, retained=8
    )
    out = tick(state, Poll((resumed,)), UNTIMED, at(20))
    assert out.transitions == ()
    assert [a.state for a in state.alerts()] == [AlertState.FIRING]


def test_points_read_again_after_a_restart_are_not_judged_again():
    first = State()
    out = tick(first, Poll((batch({"loss": [*HIGH, 1.0]}, fresh=True),)), UNTIMED, at(10))
    assert len(out.transitions) == 2
    (run,) = first.runs.values()
    second = State(known={run.key: KnownRun(0, dict(run.judged), tuple(run.alerts.values()))})
    more = batch({"loss": [*HIGH, 1.0, 1.0, 9.0]}, fresh=True)
    out = tick(second, Poll((more,)), UNTIMED, at(12))
    assert [(t.alert.state, t.alert.onset_step) for t in out.transitions] == [
        (AlertState.FIRING, 12)
    ]


def test_a_resume_read_again_after_a_restart_is_not_judged_again():
    first = State()
    tick(first, Poll((batch({"loss": CALM}, fresh=True),)), UNTIMED, at(9))
    resumed = batch({"loss": [*CALM[:8], 9.0, 1.0]}, fresh=True, superseded_from=8, retained=8)
    assert len(tick(first, Poll((resumed,)), UNTIMED, at(20)).transitions) == 2
    (run,) = first.runs.values()
    second = State(known={run.key: KnownRun(0, dict(run.judged), tuple(run.alerts.values()))})
    whole = (batch({"loss": CALM}, fresh=True), resumed)
    assert tick(second, Poll(whole), UNTIMED, at(21)).transitions == ()


def test_history_before_the_catch_up_gets_one_look_at_its_end():
    held = State(judge_from=at(100))
    out = tick(held, Poll((batch({"loss": HIGH}, fresh=True, seen_at=at(99)),)), PLAN, at(100))
    assert [t.alert.state for t in out.transitions if t.alert.detector == "high"] == [
        AlertState.FIRING
    ]
    over = State(judge_from=at(100))
    out = tick(
        over, Poll((batch({"loss": [*HIGH, 1.0]}, fresh=True, seen_at=at(99)),)), PLAN, at(100)
    )
    assert not [t for t in out.transitions if t.alert.detector == "high"]


def test_a_run_that_goes_silent_stalls_by_the_clock_handed_in_and_comes_back():
    state = State()
    tick(state, Poll((batch({"loss": CALM}, fresh=True),)), PLAN, at(9))
    assert tick(state, Poll(()), PLAN, at(9) + 299).transitions == ()
    out = tick(state, Poll(()), PLAN, at(9) + 301)
    assert [(t.alert.alert, t.alert.onset_step) for t in out.transitions] == [("Quiet", 9)]
    out = tick(state, Poll((batch({"loss": [1.0]}, first=20),)), PLAN, at(20))
    assert [t.alert.state for t in out.transitions] == [AlertState.RESOLVED]


def test_a_firing_alert_of_a_run_that_finishes_is_ended_not_resolved():
    state = State()
    done = batch({"loss": HIGH}, fresh=True, signs=Signs("DONE", last=True))
    out = tick(state, Poll((done,)), PLAN, at(9))
    assert [t.alert.state for t in out.transitions] == [AlertState.FIRING, AlertState.ENDED]
    assert [run.state for run in state.runs.values()] == [RunState.FINISHED]
    assert tick(state, Poll(()), PLAN, at(500)).transitions == ()


def test_a_run_silent_for_hours_has_ended_and_is_not_called_resolved():
    state = State()
    tick(state, Poll((batch({"loss": HIGH}, fresh=True),)), PLAN, at(9))
    tick(state, Poll(()), PLAN, at(9) + 400)
    out = tick(state, Poll(()), PLAN, at(9) + PLAN.ended_after + 1)
    assert {t.alert.state for t in out.transitions} == {AlertState.ENDED}
    assert [run.state for run in state.runs.values()] == [RunState.ENDED]


EPOCH = np.arange(90)


@pytest.mark.parametrize(
    ("rate", "over"),
    [
        (0.1 * (1 - np.arange(1, 91) / 90), True),
        (0.05 * (1 + np.cos(np.pi * EPOCH / 90)), True),
        (0.05 * (1 + np.cos(np.pi * EPOCH / 89)), True),  # to the very zero
        (0.05 * (1 + np.cos(np.pi * EPOCH / 98)), False),  # hung at 92 %
        (0.1 * 0.1 ** (EPOCH // 30), False),  # its last stage is a third of the run
        (0.1 * 0.1 ** (EPOCH // 31), False),
        (0.1 * 0.9**EPOCH, False),  # comes down for ever
        (0.1 * np.minimum(1, EPOCH / 50 + 0.01), False),
    ],
)
def test_a_learning_rate_that_comes_down_to_zero_ends_a_silent_run_and_a_low_one_does_not(
    rate, over
):
    state, end = State(), at(89)
    curves = {"loss": [1.0] * 90, "lr": rate.tolist()}
    tick(state, Poll((batch(curves, fresh=True),)), PLAN, end)
    said = tick(state, Poll(()), PLAN, end + 400).transitions
    assert [t.alert.alert for t in said] == ([] if over else ["Quiet"])
    assert [run.state is RunState.FINISHED for run in state.runs.values()] == [over]


def test_a_run_that_writes_seldom_has_stalled_before_it_counts_as_ended():
    every, state = 7200.0, State()
    plan = Plan((rule(), replace(rule("quiet"), params=Quiet(4 * every))))
    points = columns({"loss": CALM}, every=every)
    end = float(points.wall_time[-1])
    seldom = replace(batch({}, fresh=True, observed_at=end, seen_at=end), points=points)
    tick(state, Poll((seldom,)), plan, end)
    assert tick(state, Poll(()), plan, end + PLAN.ended_after + 1).transitions == ()
    out = tick(state, Poll(()), plan, end + 5 * every)
    assert [(t.alert.alert, t.alert.state) for t in out.transitions] == [
        ("Quiet", AlertState.FIRING)
    ]
    out = tick(state, Poll(()), plan, end + 9 * every)
    assert [t.alert.state for t in out.transitions] == [AlertState.ENDED]


def test_a_removed_run_is_gone_and_its_alerts_are_ended():
    state = State()
    tick(state, Poll((batch({"loss": HIGH}, fresh=True),)), PLAN, at(9))
    gone = replace(batch({"loss": []}), gone=True)
    out = tick(state, Poll((gone,)), PLAN, at(10))
    assert [t.alert.state for t in out.transitions] == [AlertState.ENDED]
    assert [run.state for run in state.runs.values()] == [RunState.GONE]


@pytest.mark.parametrize("gone", [("run",), ("run/eval",), ("run", "run/eval")])
def test_a_directory_that_is_back_is_as_it_was(gone):
    """What it brings again is neither added to what was held nor told again."""
    rules = (rule(), replace(rule("quiet"), params=Quiet(1e9)))
    state, plan = State(), Plan(rules)
    curves = {"run": batch({"loss": HIGH}, run="run", fresh=True),
              "run/eval": batch({"loss": CALM}, run="run/eval", fresh=True)}  # fmt: skip
    tick(state, Poll(tuple(curves.values())), plan, at(9))
    (run,) = state.runs.values()
    before = {tag: (window.count, window.extremes) for tag, window in run.windows.items()}
    away = tuple(batch({"loss": []}, run=name, gone=True) for name in gone)
    tick(state, Poll(away), plan, at(10))
    back = tick(state, Poll(tuple(curves[name] for name in gone)), plan, at(11))
    assert back.transitions == ()
    assert {t: (w.count, w.extremes) for t, w in run.windows.items()} == before
    more = tuple(batch({"loss": [9.0]}, first=10, run=name) for name in curves)
    tick(state, Poll(more), plan, at(12))
    assert {alert.alert for alert in run.firing} == {"High"}


def test_another_run_in_the_place_of_one_that_was_removed_is_judged_from_its_start():
    state = State()
    tick(state, Poll((batch({"loss": [1.0] * 500}, fresh=True),)), UNTIMED, at(499))
    tick(state, Poll((batch({"loss": []}, gone=True),)), UNTIMED, at(500))
    tick(state, Poll((batch({"loss": CALM}, fresh=True),)), UNTIMED, at(600))
    out = tick(state, Poll((batch({"loss": [9.0] * 5}, first=10),)), UNTIMED, at(615))
    assert [(t.alert.state, t.alert.onset_step) for t in out.transitions] == [
        (AlertState.FIRING, 10)
    ]
    (run,) = state.runs.values()
    assert not run.rereading


def test_a_run_that_goes_on_after_a_sign_of_the_end_is_as_any_other():
    state, sign = State(), Signs("DONE", last=True)
    tick(state, Poll((batch({"loss": CALM}, fresh=True, signs=sign),)), PLAN, at(9))
    assert {run.state for run in state.runs.values()} == {RunState.FINISHED}
    high = batch({"loss": [9.0] * 5}, first=100)
    out = tick(state, Poll((high,)), PLAN, at(104))
    assert [(t.alert.alert, t.alert.state) for t in out.transitions] == [
        ("High", AlertState.FIRING)
    ]
    out = tick(state, Poll(()), PLAN, at(104) + 301)
    assert [t.alert.alert for t in out.transitions] == ["Quiet"]
    again = batch({"loss": []}, signs=sign, observed_at=at(120), seen_at=at(104))
    out = tick(state, Poll((again,)), PLAN, at(120))
    assert {t.alert.state for t in out.transitions} == {AlertState.ENDED}
    assert {run.state for run in state.runs.values()} == {RunState.FINISHED}


def test_points_that_a_writer_kept_back_leave_the_sign_as_it_is():
    state, sign = State(), Signs("DONE")
    tick(state, Poll((batch({"loss": CALM}, fresh=True, signs=Signs("DONE", True)),)), PLAN, at(9))
    said = []
    for step in (10, 11, 12):
        late = batch({"loss": [9.0]}, first=step, signs=sign)
        said += tick(state, Poll((late,)), PLAN, at(step)).transitions
    assert [t.alert.state for t in said] == [AlertState.FIRING]  # and not ended at each poll
    said = tick(state, Poll(()), PLAN, at(12) + 241).transitions
    assert [t.alert.state for t in said] == [AlertState.ENDED]
    assert {run.state for run in state.runs.values()} == {RunState.FINISHED}


def test_what_a_framework_writes_last_is_no_end_once_steps_follow():
    state, last = State(), {"loss": CALM, "train/train_runtime": [60.0]}
    tick(state, Poll((batch(last, fresh=True),)), PLAN, at(9))
    tick(state, Poll((batch({"loss": CALM}, first=20),)), PLAN, at(29))
    out = tick(state, Poll(()), PLAN, at(29) + 301)
    assert [t.alert.alert for t in out.transitions] == ["Quiet"]


def test_the_gap_before_a_file_that_was_begun_anew_is_no_pause_of_the_run():
    state = State()
    tick(state, Poll((batch({"loss": CALM}, fresh=True),)), PLAN, at(9))
    more = batch({"loss": CALM}, first=100, begun=(at(100),))
    tick(state, Poll((more,)), PLAN, at(109))
    back = replace(
        batch({"loss": [1.0] * 150}, fresh=True),
        superseded_from=115,
        retained=115,
        begun=(at(115),),
    )
    tick(state, Poll((back,)), PLAN, at(149))
    (run,) = state.runs.values()
    assert (run.pace.interval, run.pace.longest) == (60.0, 60.0)


def test_neighbours_that_ended_at_the_same_step_make_a_silent_run_finished():
    state = State()
    for name in ("sweep/a", "sweep/b"):
        done = batch({"loss": CALM}, run=name, fresh=True, signs=Signs("DONE", last=True))
        tick(state, Poll((done,)), PLAN, at(9))
    tick(state, Poll((batch({"loss": CALM}, run="sweep/c", fresh=True),)), PLAN, at(9))
    assert tick(state, Poll(()), PLAN, at(9) + 400).transitions == ()
    assert {run.state for run in state.runs.values()} == {RunState.FINISHED}


def test_of_runs_that_stop_at_the_same_step_from_the_third_on_it_is_a_hint():
    """They may have hung there all alike, or it may be the end of each."""
    state, plan, said = State(), Plan((Rule("Stalled", "stalled", {}, Stalled()),)), []
    for i, name in enumerate(("sweep/a", "sweep/b", "sweep/c")):
        end = at(16) + i * 1500.0
        stopped = batch({"loss": [1.0] * 17}, run=name, fresh=True, observed_at=end, seen_at=end)
        said += tick(state, Poll((stopped,)), plan, end).transitions
    for seconds in range(0, 3000, 60):
        said += tick(state, Poll(()), plan, end + seconds).transitions
    told = {t.alert.run: t.alert for t in said if t.alert.state is AlertState.FIRING}
    assert [told[f"sweep/{name}"].severity for name in "abc"] == [
        Severity.WARNING,
        Severity.WARNING,
        Severity.INFO,
    ]
    assert "2 neighbours stopped at this step too" in told["sweep/c"].reason
    assert {run.state for run in state.runs.values()} == {RunState.STALLED}
    done = batch({"loss": []}, run="sweep/c", signs=Signs("DONE", last=True), seen_at=end)
    (over,) = tick(state, Poll((done,)), plan, end + 3000).transitions
    assert over.alert.state is AlertState.ENDED
    assert "it is complete, DONE" in over.alert.reason


def test_neighbours_that_ended_where_one_went_further_say_nothing():
    state = State()
    far = batch({"loss": [1.0] * 12}, run="sweep/far", fresh=True, signs=Signs("DONE", last=True))
    tick(state, Poll((far,)), PLAN, at(11))
    for name in ("sweep/a", "sweep/b"):
        done = batch({"loss": CALM}, run=name, fresh=True, signs=Signs("DONE", last=True))
        tick(state, Poll((done,)), PLAN, at(11))
    tick(state, Poll((batch({"loss": CALM}, run="sweep/c", fresh=True),)), PLAN, at(11))
    out = tick(state, Poll(()), PLAN, at(11) + 400)
    assert [t.alert.slot.run.run for t in out.transitions] == ["sweep/c"]


def test_an_unreachable_root_makes_one_alert_and_none_for_its_runs():
    state = State()
    tick(state, Poll((batch({"loss": CALM}, fresh=True),)), UNTIMED, at(9))
    out = tick(state, Poll((), unreachable={"/logs": "stale file handle"}), UNTIMED, at(100))
    assert [t.alert.alert for t in out.transitions] == ["RootUnreachable"]
    assert "stale file handle" in out.transitions[0].alert.reason
    out = tick(state, Poll((batch({"loss": [1.0]}, first=10),)), UNTIMED, at(101))
    assert [t.alert.state for t in out.transitions] == [AlertState.RESOLVED]


@pytest.mark.parametrize("cut", [4100, 4150, 4190, 4230])
@pytest.mark.parametrize("hold", [{"for_": Hold(16, "points")}, {"for_": Hold(16, "steps")}])
def test_a_hold_in_points_ends_where_it_ends_wherever_polls_cut_them(cut, hold):
    high = [1.0] * 4090 + [9.0] * 910
    plan = Plan((rule(**hold),))
    whole = tick(State(), Poll((batch({"loss": high}, fresh=True),)), plan, at(5000)).transitions
    state, said = State(), []
    for fresh, first, last in ((True, 0, cut), (False, cut, 5000)):
        part = batch({"loss": high[first:last]}, first=first, fresh=fresh)
        said += tick(state, Poll((part,)), plan, at(last)).transitions
    assert [t.alert.fired_step for t in said] == [t.alert.fired_step for t in whole]


def test_for_in_seconds_fires_by_the_clock_without_new_points():
    plan = Plan((rule(for_=Hold(600.0, "seconds")),))
    state = State()
    tick(state, Poll((batch({"loss": HIGH}, fresh=True),)), plan, at(9))
    assert tick(state, Poll(()), plan, at(9) + 599).transitions == ()
    out = tick(state, Poll(()), plan, at(9) + 601)
    assert [t.alert.state for t in out.transitions] == [AlertState.FIRING]


def test_rules_are_tied_to_hundreds_of_series_without_looking_at_each_again_for_each(monkeypatch):
    ties = []
    tie = judging.tie
    monkeypatch.setattr(judging, "tie", lambda *asked: ties.append(1) or tie(*asked))
    state = State()
    curves = {f"loss/{i}": HIGH if i == 400 else CALM for i in range(500)}
    out = tick(state, Poll((batch(curves, fresh=True),)), UNTIMED, at(10))
    assert [t.alert.inputs for t in out.transitions] == [{"value": "loss/400"}]
    assert len(ties) <= judging.ONE_BY_ONE + 1


def test_a_team_sees_only_the_roots_it_was_granted():
    plan = Plan((rule(team="vision"),), grants={"vision": frozenset({"/elsewhere"})})
    out = tick(State(), Poll((batch({"loss": HIGH}, fresh=True),)), plan, at(9))
    assert out.transitions == ()


def test_absurd_wall_times_do_no_harm():
    points = batch({"loss": HIGH}, fresh=True)
    points.points.wall_time[3:7] = [float("nan"), 1e300, -5.0, float("inf")]
    out = tick(State(), Poll((points,)), PLAN, at(9), recorded=True)
    assert [(t.alert.state, t.alert.onset_step) for t in out.transitions] == [
        (AlertState.FIRING, 5)
    ]


def test_a_run_that_was_silent_before_it_was_seen_has_not_stalled():
    state = State()
    old = batch({"loss": HIGH}, fresh=True, seen_at=at(9) - 7200)
    out = tick(state, Poll((old,)), PLAN, at(9))
    assert [t.alert.state for t in out.transitions] == [AlertState.FIRING, AlertState.ENDED]
    assert [run.state for run in state.runs.values()] == [RunState.ENDED]
    assert tick(state, Poll(()), PLAN, at(9) + 9000).transitions == ()


def test_a_rule_that_is_new_or_changed_looks_at_what_is_there():
    state = State()
    lenient = Plan((rule(), replace(rule(), alert="Own", params=Limit(20.0))))
    out = tick(state, Poll((batch({"loss": HIGH}, fresh=True),)), lenient, at(9))
    assert [t.alert.alert for t in out.transitions] == ["High"]
    same = replace(
        lenient, rules=tuple(replace(one, origin="p.yaml:9") for one in lenient.rules), version=1
    )
    assert tick(state, Poll(()), same, at(9) + 1).transitions == ()
    strict = replace(same.rules[1], params=Limit(7.0))
    alone = tick(state, Poll(()), replace(same, rules=(strict,), version=3), at(9) + 3)
    assert [(t.alert.alert, t.alert.state) for t in alone.transitions] == [
        ("High", AlertState.ENDED),
        ("Own", AlertState.FIRING),
    ]
    named = replace(strict, alert="Renamed")
    out = tick(state, Poll(()), replace(same, rules=(named,), version=4), at(9) + 4)
    assert [(t.alert.alert, t.alert.state) for t in out.transitions] == [
        ("Own", AlertState.ENDED),
        ("Renamed", AlertState.FIRING),
    ]


def test_an_alert_of_a_series_that_a_better_one_stands_for_now_is_ended_not_resolved():
    state = State()
    parts = {"loss_cls": HIGH, "loss_box": HIGH}
    out = tick(state, Poll((batch(parts, fresh=True),)), PLAN, at(9))
    assert {t.alert.state for t in out.transitions} == {AlertState.FIRING}
    out = tick(state, Poll((batch({"loss": [9.0]}, first=10),)), PLAN, at(10))
    ends = [t.alert for t in out.transitions if t.alert.slot.subject != "loss"]
    assert ends
    assert {(a.state, a.reason) for a in ends} == {
        (
            AlertState.ENDED,
            "its rule looks at another series now; it last said: too high",
        )
    }


def test_an_alert_whose_rule_is_taken_out_of_force_is_ended_and_says_so():
    state = State()
    tick(state, Poll((batch({"loss": HIGH}, fresh=True),)), UNTIMED, at(9))
    out = tick(state, Poll(()), Plan((rule("quiet"),), version=1), at(9) + 30)
    (end,) = out.transitions
    assert end.alert.state is AlertState.ENDED
    assert end.alert.reason.startswith("its rule is no longer in force; it last said: ")
