"""Alertmanager's acceptance tests of sending, by name, on our own clock (send_test.go).

Without a counterpart here:

- TestMergeAlerts: nobody pushes alerts; one slot of one run has one source, nothing is merged.
- The tests of its cluster and of its web prefix: one service holds one state directory.
- Those of UTF-8 label names: ours are names of a config, and what names of runs may hold is
  tested in ``tests/notify/test_hostile.py``.

Knowingly different: a repeat doubles its interval, ``group_interval`` counts from the last notice,
a message names what is new (a reminder names all that fires), and a closing waits for nobody.
"""

from __future__ import annotations

from pathlib import Path

from tests.acceptance.stage import Stage
from watcher.model import Severity
from watcher.routing import Route

GROUP = ("root",)


def test_repeat_an_alert_is_said_again_until_it_resolves(tmp_path: Path) -> None:
    """TestRepeat; but the interval doubles each time, so that a week's fault is no daily noise."""
    with Stage(tmp_path, Route("hook", group_wait=1, group_interval=1, repeat_interval=3)) as on:
        hook = on.collector("hook")
        on.fire(1, "test")
        on.resolve(13, "test")
        on.run(40)
        hook.want(
            (2, 2, ["test"]), (5, 5, ["test"]), (11, 11, ["test"]), (13, 13, ["test resolved"])
        )


def test_retry_a_failing_receiver_gets_it_in_the_end_and_the_other_one_once(
    tmp_path: Path,
) -> None:
    """TestRetry."""
    with Stage(
        tmp_path, Route("good", group_wait=1, go_on=True), Route("bad", group_wait=1)
    ) as on:
        good, bad = on.collector("good"), on.collector("bad")
        bad.hook.answers.extend([(500, {}, 0.0)] * 2)
        on.fire(1, "test1")
        on.run(60)
        good.want((2, 2, ["test1"]))
        bad.want((4, 12, ["test1"]))
        assert bad.tried == 3


def test_batching_what_comes_together_is_one_message(tmp_path: Path) -> None:
    """TestBatching; but what joins later is told alone, since its thread names the others."""
    route = Route("hook", group_by=GROUP, group_wait=2, group_interval=3, repeat_interval=20)
    with Stage(tmp_path, route) as on:
        hook = on.collector("hook")
        on.fire(1, "test1")
        on.fire(2, "test5", run="other")
        on.fire(4, "test2", "test3", run="third")
        on.fire(5, "test4")
        on.run(26)
        every = [f"test{i}" for i in range(1, 6)]
        hook.want(
            (3, 3, ["test1", "test5"]),
            (6, 6, ["test2", "test3", "test4"]),
            (23, 23, every),
        )


def test_resolved_one_message_says_that_all_of_a_group_is_over(tmp_path: Path) -> None:
    """TestResolved; our alerts resolve by their curves, not by the silence of a sender."""
    with Stage(tmp_path, Route("hook", group_by=GROUP, group_wait=1, group_interval=5)) as on:
        hook = on.collector("hook")
        names = ["v1", "v2", "v3"]
        on.fire(1, *names)
        on.resolve(11, *names)
        on.run(40)
        hook.want((2, 2, names), (11, 11, [f"{n} resolved" for n in names]))


def test_resolved_filter_who_wants_no_resolutions_still_hears_that_it_is_back(
    tmp_path: Path,
) -> None:
    """TestResolvedFilter."""
    routes = [
        Route(name, group_by=GROUP, group_wait=1, group_interval=2, go_on=True)
        for name in ("all", "firing")
    ]
    with Stage(tmp_path, *routes, quiet=["firing"]) as on:
        every, firing = on.collector("all"), on.collector("firing")
        on.fire(1, "v1", "v2")
        on.resolve(5, "v1")
        on.fire(5, "v3")
        on.fire(10, "v1")  # the same fault again
        on.resolve(20, "v1", "v2", "v3")
        on.run(30)
        every.want(
            (2, 2, ["v1", "v2"]),
            (5, 5, ["v1 resolved", "v3"]),
            (10, 10, ["v1"]),
            (20, 20, ["v1 resolved", "v2 resolved", "v3 resolved"]),
        )
        firing.want((2, 2, ["v1", "v2"]), (5, 5, ["v3"]), (10, 10, ["v1"]))


def test_reload_neither_tells_again_nor_forgets_the_group_interval(tmp_path: Path) -> None:
    """TestReload; a reload takes routes anew and leaves what receivers have heard."""
    route = Route("hook", group_by=GROUP, group_wait=1, group_interval=6)
    with Stage(tmp_path, route) as on:
        hook = on.collector("hook")

        def reload() -> None:
            on.routes = (Route("hook", group_by=GROUP, group_wait=2, group_interval=6),)

        on.fire(1, "test1")
        on.at(3, reload)
        on.fire(4, "test2")
        on.run(60)
        hook.want((2, 2, ["test1"]), (8, 8, ["test2"]))


def test_cold_start_a_restart_tells_nothing_twice_and_loses_nothing(tmp_path: Path) -> None:
    """TestColdStart, and the restart that its TestMergeAlerts and TestRepeat leave out."""
    with Stage(tmp_path, Route("hook", group_wait=2, repeat_interval=20)) as on:
        hook = on.collector("hook")
        on.fire(1, "test")
        for second in (2, 4, 9):  # while it waits, as soon as it is out, later
            on.at(second, on.restart)
        on.resolve(30, "test")
        on.run(40)
        hook.want((3, 3, ["test"]), (23, 23, ["test"]), (30, 30, ["test resolved"]))


def test_webhook_timeout_a_slow_receiver_is_asked_again(tmp_path: Path) -> None:
    """TestWebhookTimeout: the notice that got no answer in time comes again, with the same key."""
    with Stage(tmp_path, Route("hook")) as on:
        hook = on.collector("hook", timeout=0.1)
        hook.hook.answers.append((200, {}, 0.4))
        on.fire(1, "test")
        on.run(20)
        hook.want((2, 6, ["test"]))
        keys = [headers["Idempotency-Key"] for headers in hook.hook.headers]
        assert len(keys) == 2
        assert len(set(keys)) == 1


def test_louder_does_not_wait_for_the_group_interval(tmp_path: Path) -> None:
    """Without a namesake: Alertmanager's groups know no severity."""
    with Stage(tmp_path, Route("hook", group_interval=60)) as on:
        hook = on.collector("hook")
        on.fire(1, "quiet", severity=Severity.WARNING)
        on.fire(5, "loud", severity=Severity.CRITICAL)
        on.run(20)
        hook.want((1, 1, ["quiet"]), (5, 5, ["loud"]))
