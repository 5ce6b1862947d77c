"""What the tests share."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.simple_detectors import register
from tests.source.faults import compiled
from watcher import detectors

_SHARED = Path(__file__).resolve().parents[2] / "shared"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let long tests be run longer than CI has time for."""
    parser.addoption("--kills", type=int, default=8, help="of a service, at random moments")
    parser.addoption("--mutations", type=int, default=3000, help="broken files to compare")
    parser.addoption("--first-mutation", type=int, default=0, help="the first one's number")


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """Real curves and logs kept beside the checkout; they are not part of the project."""
    if not _SHARED.is_dir():
        pytest.skip("needs the real logs in ../shared, which are not part of the project")
    return _SHARED


@pytest.fixture
def mutations(request: pytest.FixtureRequest) -> range:
    """Numbers of the broken files that both scanners read."""
    first = request.config.getoption("--first-mutation")
    return range(first, first + request.config.getoption("--mutations"))


@pytest.fixture(scope="session")
def faults(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library that makes calls fail below the program; skips where it cannot be made."""
    return compiled(tmp_path_factory.mktemp("faults"))


@pytest.fixture
def simple_detectors(monkeypatch: pytest.MonkeyPatch) -> None:
    """The detectors of ``tests.simple_detectors``, beside the product's own, for one test."""
    monkeypatch.setattr(detectors, "_registry", dict(detectors.detectors()))
    register()
