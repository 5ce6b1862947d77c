"""Alertmanager's acceptance tests of its list of alerts, by name: ours is a command (api_test.go).

Without a counterpart: TestAlertGetReturnsCurrentAlertStatus' muting state, as the listing says
what is true and not who was told; TestFilterAlertRequest's matchers, as there is no request: the
listing is one JSON document to filter.
"""

from __future__ import annotations

import json
from pathlib import Path

from tests.acceptance.stage import Stage
from watcher import statepages
from watcher.routing import Route


def test_alert_get_returns_the_current_status_silenced_or_not(tmp_path: Path) -> None:
    """TestAlertGetReturnsCurrentAlertStatus."""
    config = tmp_path / "config.toml"
    config.write_text('state_dir = "."\n[[roots]]\npath = "logs"\n')

    def states() -> dict[str, str]:
        (line,), _ = statepages.page("alerts", config, as_json=True)
        return {alert["alert"]: alert["state"] for alert in json.loads(line)}

    with Stage(tmp_path, Route("hook")) as on:
        on.collector("hook")
        on.silence(0, 100, alert="silent")
        on.fire(1, "silent")
        on.fire(2, "loud", run="other")
        on.resolve(5, "loud")
        on.run(3)
        assert states() == {"silent": "firing", "loud": "firing"}
        on.run(6)
        assert states() == {"silent": "firing", "loud": "resolved"}
