"""The console writes lines and tells when nobody reads them."""

from __future__ import annotations

import io
import os

import pytest

from tests.notify.examples import a_notice, an_alert
from watcher.notify.base import SendError
from watcher.notify.console import Console


def test_one_line_an_alert() -> None:
    stream = io.StringIO()
    Console(stream).send(a_notice(an_alert("A"), an_alert("B")), None, ())
    first, second = stream.getvalue().splitlines()
    assert first.startswith(
        "CRITICAL  vision/resnet50  A  train/loss  since step 800, best step 790 (0.2314)"
    )
    assert "  B  " in second


def test_what_a_narrow_encoding_cannot_show_is_escaped() -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    Console(stream).send(a_notice(an_alert(run="größe/損失")), None, ())
    assert b"gr\\xf6\\xdfe/\\u640d\\u5931" in raw.getvalue()


def test_a_closed_pipe_is_told_and_not_retried() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    stream = os.fdopen(writing, "w")
    with pytest.raises(SendError) as caught:
        Console(stream).send(a_notice(), None, ())
    assert not caught.value.retryable
    with pytest.raises(BrokenPipeError):
        stream.close()
