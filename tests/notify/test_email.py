"""Mail over real SMTP: encryption, logins, threads, charts, hostile names, every failure."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from email.message import EmailMessage
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.notify.examples import HOSTILE, NOW, a_notice, an_alert, closed
from tests.notify.fake_smtp import FakeSmtp, certificate
from watcher.notify.base import Attaches, SendError
from watcher.notify.email import Email
from watcher.notify.mail import Envelope, letter

ADA, BOB = "ada@example.org", "bob@example.org"
ENVELOPE = Envelope("watcher@example.org", (ADA,), NOW)


@pytest.fixture(scope="module")
def pem(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl, to make a certificate")
    return certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def fake() -> Iterator[FakeSmtp]:
    with FakeSmtp() as fake:
        yield fake


def sender(fake: FakeSmtp, **more: object) -> Email:
    """Return what mails to ``fake``; ``more`` replaces its fields."""
    plain = Email(
        "localhost",
        "watcher@example.org",
        (ADA, BOB),
        port=fake.port,
        security="plain",
        timeout=2.0,
        clock=lambda: NOW,
    )
    return replace(plain, **more)  # type: ignore[arg-type]


def parts(mail: EmailMessage) -> dict[str, EmailMessage]:
    return {part.get_content_type(): part for part in mail.walk()}  # type: ignore[misc]


def test_a_mail_says_what_happened_as_text_and_as_html(fake: FakeSmtp) -> None:
    alert = an_alert(advice_key="nan", annotations={"runbook": "https://wiki.example.org/nan?a&b"})
    sender(fake).send(a_notice(alert), None, (alert,))
    (got,) = fake.received
    assert (got.sender, got.to) == ("watcher@example.org", (ADA, BOB))
    mail = got.mail
    assert mail["Subject"] == "🔴 Critical: LossIsNaN · vision/resnet50"
    assert mail["From"] == "The watcher <watcher@example.org>"
    assert mail["To"] == f"{ADA}, {BOB}"
    assert mail["Date"].datetime.timestamp() == NOW
    assert (mail["Auto-Submitted"], mail["Importance"]) == ("auto-generated", "high")
    assert mail.get_content_type() == "multipart/alternative"
    text = parts(mail)["text/plain"].get_content()
    html = parts(mail)["text/html"].get_content()
    for words in ("train/loss became NaN at step 800", "790", "checkpoint", "vision/resnet50"):
        assert words in text
        assert words in html
    assert 'href="https://wiki.example.org/nan?a&amp;b"' in html


def test_all_of_a_group_is_one_thread(fake: FakeSmtp) -> None:
    mailer, alert = sender(fake), an_alert()
    receipt = mailer.send(a_notice(alert), None, (alert,))
    assert mailer.attach(a_notice(alert), receipt, (alert,), b"\x89PNG") == receipt
    end = closed(alert)
    assert mailer.send(a_notice(end, reason="resolved"), receipt, (end,)) == receipt
    first, chart, last = (got.mail for got in fake.received)
    assert first["In-Reply-To"] is None
    for mail in (chart, last):
        assert mail["In-Reply-To"] == first["Message-ID"]
        assert mail["References"] == f"{first['References']} {first['Message-ID']}"
        assert mail["Subject"] == f"Re: {first['Subject']}"
    assert len({mail["Message-ID"] for mail in (first, chart, last)}) == 3
    assert "Resolved: LossIsNaN" in parts(last)["text/plain"].get_content()
    forgot = letter(a_notice(end), None, ENVELOPE)  # the state was lost in between
    assert forgot["References"] == first["References"]
    other = letter(a_notice(alert, group_key="other"), None, ENVELOPE)
    assert other["References"] != first["References"]


def test_a_retry_is_the_same_mail(fake: FakeSmtp) -> None:
    for _ in range(2):
        sender(fake).send(a_notice(), None, ())
    one, two = (got.mail["Message-ID"] for got in fake.received)
    assert one == two


def test_the_chart_stands_in_the_mail(fake: FakeSmtp) -> None:
    alert, mailer = an_alert(), sender(fake)
    assert isinstance(mailer, Attaches)
    first = {"message_id": "<a@example.org>", "subject": "s"}
    mailer.attach(a_notice(alert), first, (alert,), b"\x89PNG bytes")
    found = parts(fake.received[0].mail)
    image = found["image/png"]
    assert image.get_content() == b"\x89PNG bytes"
    assert image.get_content_disposition() == "inline"
    assert f'src="cid:{image["Content-ID"][1:-1]}"' in found["text/html"].get_content()
    assert "Curves of vision/resnet50" in found["text/plain"].get_content()
    sender(fake, charts=False).attach(a_notice(alert), first, (alert,), b"\x89PNG")
    assert len(fake.received) == 1


def test_hostile_names_change_no_header_and_no_html(fake: FakeSmtp) -> None:
    word = "=?utf-8?q?a=0D=0ABcc:_x@example.org=E2=80=AE?="
    for text in (HOSTILE, word, "x" * 5000):
        alert = an_alert(
            text, run=text, reason=text, team=text, inputs={"value": text}, labels={text: text},
            annotations={"summary": text, "runbook": f'https://e.example/"><script>{text}'},
        )  # fmt: skip
        sender(fake).send(a_notice(alert), None, ())
        sender(fake).send(a_notice(*[alert] * 40), None, ())
    for got in fake.received:
        mail = got.mail
        assert got.to == (ADA, BOB)
        assert mail["Bcc"] is None
        assert set(mail.keys()) <= {
            "Subject", "From", "To", "Date", "Message-ID", "References", "Importance",
            "Auto-Submitted", "X-Auto-Response-Suppress", "MIME-Version", "Content-Type",
        }  # fmt: skip
        assert mail["Subject"].isprintable()
        html = parts(mail)["text/html"].get_content()
        assert "<script" not in html
        assert "<https" not in html
        for line in (html + parts(mail)["text/plain"].get_content()).splitlines():
            assert line.isprintable()


@given(st.text(max_size=60), st.text(max_size=60))
def test_no_name_at_all_breaks_a_header(name: str, run: str) -> None:
    mail = letter(a_notice(an_alert(name, run=run)), None, ENVELOPE)
    head = mail.as_bytes().split(b"\r\n\r\n")[0].split(b"\r\n")
    named = [line.split(b":")[0] for line in head if not line.startswith((b" ", b"\t"))]
    assert named == [
        b"Subject", b"From", b"To", b"Date", b"Message-ID", b"References", b"Auto-Submitted",
        b"X-Auto-Response-Suppress", b"Importance", b"MIME-Version", b"Content-Type",
    ]  # fmt: skip
    assert str(mail["Subject"]).isprintable()


@pytest.mark.parametrize(("implicit", "security"), [(False, "starttls"), (True, "tls")])
def test_it_is_encrypted_before_anyone_logs_in(pem: Path, implicit: bool, security: str) -> None:
    with FakeSmtp(pem, implicit=implicit) as fake:
        login = {"username": "watcher", "password": "s3cret"}
        mailer = sender(fake, security=security, ca_file=str(pem), **login)
        mailer.send(a_notice(), None, ())
        (got,) = fake.received
        assert (got.encrypted, got.login) == (True, "watcher:s3cret")
        assert "s3cret" not in repr(mailer)


def test_a_certificate_that_nobody_vouches_for_gets_no_mail(pem: Path) -> None:
    with FakeSmtp(pem) as fake:
        error = failure(sender(fake, security="starttls"))
        assert "set ca_file" in str(error)
        assert error.retryable
        assert "MAIL" not in fake.verbs


def test_tls_to_a_server_that_speaks_none_names_the_setting(fake: FakeSmtp) -> None:
    error = failure(sender(fake, security="tls"))
    assert "does security fit the port?" in str(error)


def test_certificates_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    (tmp_path / "no.pem").write_text("nonsense")
    with FakeSmtp() as fake:
        for name in ("no.pem", "gone.pem"):
            ca_file = str(tmp_path / name)
            error = failure(sender(fake, security="starttls", ca_file=ca_file))
            assert f"ca_file {ca_file} cannot be used" in str(error)
            assert not error.retryable


def test_without_starttls_nothing_is_sent_in_the_clear(fake: FakeSmtp) -> None:
    error = failure(sender(fake, security="starttls", username="u", password="s3cret"))
    assert "offers no STARTTLS" in str(error)
    assert not error.retryable
    assert not {"AUTH", "MAIL"} & set(fake.verbs)
    with pytest.raises(ValueError, match="this machine only"):
        sender(fake, host="mail.example.org")


def failure(mailer: Email) -> SendError:
    with pytest.raises(SendError) as caught:
        mailer.send(a_notice(), None, ())
    assert "\n" not in str(caught.value)
    assert "s3cret" not in f"{caught.value} {mailer!r}"
    return caught.value


@pytest.mark.parametrize(
    ("verb", "answer", "retryable", "ambiguous"),
    [
        ("GREETING", "421 busy", True, False),
        ("GREETING", "554 go away", False, False),
        ("GREETING", "", True, False),
        ("GREETING", 0.6, True, False),
        ("AUTH", "535 5.7.8 bad: s3cret", False, False),
        ("AUTH", "454 later", True, False),
        ("MAIL", "451 later", True, False),
        ("MAIL", "550 not you", False, False),
        ("DATA", "452 full", True, False),
        ("DATA", "554 no", False, False),
        ("BODY", "451 later\r\n", True, False),
        ("BODY", "552 too large", False, False),
        ("BODY", "", True, True),
        ("BODY", 0.6, True, True),
    ],
)
def test_failures_say_whether_to_retry(
    fake: FakeSmtp, verb: str, answer: str | float, retryable: bool, ambiguous: bool
) -> None:
    fake.answers[verb].append(answer)
    error = failure(sender(fake, username="u", password="s3cret", timeout=0.2))
    assert (error.retryable, error.ambiguous) == (retryable, ambiguous)
    assert fake.verbs.count("DATA") <= 1


def test_a_server_that_is_not_there_got_nothing(fake: FakeSmtp) -> None:
    error = failure(sender(fake, port=9))
    assert (error.retryable, error.ambiguous) == (True, False)


def test_a_farewell_that_fails_does_not_send_the_mail_twice(fake: FakeSmtp) -> None:
    fake.answers["QUIT"].append("500 what?")
    sender(fake).send(a_notice(), None, ())
    assert len(fake.received) == 1


def test_who_is_put_off_gets_the_mail_later_and_nobody_gets_it_twice(fake: FakeSmtp) -> None:
    mailer = sender(fake)
    fake.answers["RCPT"] += ["250 ok", "450 greylisted"]
    error = failure(mailer)
    assert error.retryable
    assert f"{BOB} refused: 450 greylisted" in str(error)
    mailer.send(a_notice(), None, ())
    assert [got.to for got in fake.received] == [(ADA,), (BOB,)]


def test_one_address_that_is_gone_does_not_keep_the_others_waiting(
    fake: FakeSmtp, caplog: pytest.LogCaptureFixture
) -> None:
    fake.answers["RCPT"] += ["550 no such user", "250 ok"]
    assert "message_id" in sender(fake).send(a_notice(), None, ())
    assert f"{ADA} refused: 550 no such user" in caplog.text
    fake.answers["RCPT"] += ["550 no such user", "450 later"]
    assert failure(sender(fake)).retryable  # the other one may still get it
    fake.answers["RCPT"] += ["550 no such user", "551 nor this one"]
    error = failure(sender(fake))
    assert not error.retryable
    assert "correct to" in str(error)
