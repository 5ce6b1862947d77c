"""What a click does: by whom, to what, and that the same click twice does it once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.notify.examples import NOW, a_notice, an_alert, closed
from watcher.notify.clicks import Click, click_of, handle, respond
from watcher.records import Changes
from watcher.routing import silenced
from watcher.store import Store

HOUR = 3600.0


def a_click(action: str = "silence_1h", notice_id: str = "n1", user: str = "U1") -> Click:
    return Click(f"1700000000.1 {user}", action, notice_id, user, "C1", "1700000000.000001")


@pytest.fixture
def book() -> Iterator[Store]:
    alert = an_alert()
    with Store.open(":memory:") as store:
        store.commit(
            Changes(NOW, alerts={alert.slot.run: (alert,)}, notices=(a_notice(alert, id="n1"),))
        )
        yield store


def test_a_silence_holds_for_its_span_for_this_alert_of_this_run(book: Store) -> None:
    answer = handle(book, a_click(), {}, NOW)
    assert answer.receiver == "slack"
    silences = book.list_silences()
    assert silenced(an_alert(), silences, NOW + HOUR - 1)
    assert not silenced(an_alert(), silences, NOW + HOUR)
    for other in (an_alert("Spike"), an_alert(run="vision/other"), an_alert(attempt=1)):
        assert not silenced(other, silences, NOW + 1)
    assert silences[0].created_by == "U1"


def test_silencing_a_run_takes_every_alert_of_this_try_of_it(book: Store) -> None:
    handle(book, a_click("silence_run"), {}, NOW)
    silences = book.list_silences()
    assert silenced(an_alert("Spike"), silences, NOW + 20 * 24 * HOUR)
    assert not silenced(an_alert("Spike", attempt=1), silences, NOW + 1)
    assert not silenced(an_alert(run="vision/other"), silences, NOW + 1)


def test_acknowledging_is_kept_and_the_message_is_to_say_so(book: Store) -> None:
    handle(book, a_click("acknowledge"), {}, NOW)
    assert book.list_acknowledged() == {an_alert().fingerprint}
    book.mark_sent(a_notice(id="n1"), {"ts": "1"}, (an_alert(),), NOW)
    (owed,) = book.due("slack", NOW)
    assert owed.notice.note == "Acknowledged by <@U1>"
    assert owed.notice.alerts == (an_alert(),)


def test_the_same_click_told_twice_is_done_once(book: Store) -> None:
    for later in (0.0, 2.0):
        handle(book, a_click(), {}, NOW + later)
        handle(book, a_click("acknowledge"), {}, NOW + later)
    assert len(book.list_silences()) == 1
    book.mark_sent(a_notice(id="n1"), {"ts": "1"}, (an_alert(),), NOW)
    words = []
    while owed := book.due("slack", NOW + 9):
        words.append(owed[0].notice.note)
        book.mark_sent(owed[0].notice, {"ts": "1"}, (an_alert(),), NOW)
    assert len(words) == 2


@pytest.mark.parametrize("action", ["acknowledge", "silence_1h", "silence_run", "more"])
def test_who_is_not_of_the_team_is_refused_and_nothing_happens(book: Store, action: str) -> None:
    answer = handle(book, a_click(action), {"vision": frozenset({"U7"})}, NOW)
    assert "Only members of team vision" in answer.words
    assert not book.list_silences()
    assert not book.list_acknowledged()
    assert (
        not handle(book, a_click(action, user="U7"), {"vision": frozenset({"U7"})}, NOW).words
        or action == "more"
    )


def test_the_team_of_a_runs_path_counts_as_well() -> None:
    alert = replace(an_alert(), team="", labels={"team": "speech"})
    answer = respond(a_notice(alert), a_click(), {"speech": frozenset({"U7"})}, NOW)
    assert answer.deed is None


def test_what_is_over_is_not_silenced_and_what_is_forgotten_is_said(book: Store) -> None:
    over = respond(a_notice(closed(an_alert())), a_click(), {}, NOW)
    assert (over.deed, "over already" in over.words) == (None, True)
    assert "no record" in handle(book, a_click(notice_id="gone"), {}, NOW).words


def test_more_says_the_causes_and_what_helps_to_who_asked() -> None:
    alert = an_alert(advice_key="nan", reason="<!channel> & more")
    words = respond(a_notice(alert), a_click("more"), {}, NOW).words
    assert "usually helps:" in words
    assert "often caused by:" in words
    assert "&lt;!channel&gt; &amp; more" in words
    many = [an_alert("A" * 300, reason="x" * 900, advice_key="nan")] * 20
    assert len(respond(a_notice(*many), a_click("more"), {}, NOW).words) <= 3000


@given(st.text(st.characters(exclude_characters="\x00"), min_size=1))
def test_a_silence_fits_a_run_of_any_name_and_no_other(name: str) -> None:
    alert = an_alert(run=name)
    answer = respond(a_notice(alert), a_click(), {}, NOW)
    assert answer.deed is not None
    assert silenced(alert, answer.deed.silences, NOW)
    for other in (name + "x", "x" + name, "x"):
        if other != name:
            assert not silenced(an_alert(run=other), answer.deed.silences, NOW)


def a_payload(user: str = "U1", **action: str) -> dict:
    ours = {"action_id": "more", "block_id": "watcher", "value": "n", "action_ts": "1"}
    where = {"channel_id": "C1", "message_ts": "1"}
    return {"actions": [ours | action], "user": {"id": user}, "container": where}


def test_a_click_is_read() -> None:
    assert click_of(a_payload()) == Click("1 U1", "more", "n", "U1", "C1", "1")


@pytest.mark.parametrize(
    "payload",
    [
        {},
        {"actions": []},
        {"actions": "x", "user": {"id": "U1"}, "container": {}},
        a_payload(action_id="rm -rf"),
        a_payload(block_id="other"),
        a_payload(user="U1> <!channel"),
    ],
)
def test_what_is_no_click_of_ours_is_left_alone(payload: dict) -> None:
    assert click_of(payload) is None
