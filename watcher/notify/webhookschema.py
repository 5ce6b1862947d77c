"""What does a webhook's body promise? One model, published as ``webhook.schema.json``.

The model is not used to send: it describes what ``message.webhook`` makes, and a test holds the
two and the published file together. Fields may be added within a version; one that changes its
meaning or goes away makes a new version.

In a checkout, ``python -m watcher.notify.webhookschema`` writes the file anew.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

FILE = Path(__file__).with_name("webhook.schema.json")

Number = float | Literal["NaN", "Infinity", "-Infinity"]  # JSON has no words for the last three


class WebhookAlert(BaseModel):
    """One finding. Names of runs and tags are in one line; what is not printable is escaped."""

    model_config = ConfigDict(title="Alert", strict=True)

    fingerprint: str = Field(description="Which finding it is: the same until it is closed.")
    root: str = Field(description="The log directory the run lies under.")
    run: str = Field(description='The run, relative to its root; "." is the root itself.')
    attempt: int = Field(description="Which try of the run, counted from 0.")
    alert: str = Field(description="The rule's name.")
    detector: str
    severity: Literal["info", "warning", "critical"]
    state: Literal["firing", "resolved", "ended", "superseded"] = Field(
        description="firing; or how it closed: resolved, ended (the run ended while it was "
        "firing) or superseded (a resume took the steps back)."
    )
    onset_step: int | None = Field(description="Since which step it goes wrong.")
    fired_step: int | None = Field(description="At which step that was certain.")
    fired_at: Number | None = Field(description="When, in Unix seconds.")
    resolved_step: int | None = Field(description="Null unless it resolved.")
    best_step: int | None = Field(description="The step to go back to.")
    value: Number | None = Field(description="In the series' own unit.")
    summary: str = Field(description="The rule's summary, filled in; else the reason.")
    reason: str = Field(description="What the detector saw, in a sentence.")
    advice: str = Field(description="What usually helps, in one text.")
    helps: list[str] = Field(description="What usually helps, one suggestion each.")
    checkpoint: str = Field(
        description='The saved model to go back to, below the root; "" if none was found.'
    )
    runbook: str = Field(description='The address of the rule\'s runbook; "" if it has none.')
    inputs: dict[str, str] = Field(description="The tags that were looked at.")
    labels: dict[str, str] = Field(description="The run's labels, and the rule's.")


class WebhookNotice(BaseModel):
    """One message about one group of alerts."""

    model_config = ConfigDict(title="A notice of the watcher", strict=True)

    version: Literal[1]
    id: str = Field(description="The same over every retry: what was seen is to be ignored.")
    receiver: str = Field(description="The receiver's name in the config.")
    group: str = Field(description="What the alerts have in common; the same for all its news.")
    reason: str = Field(
        description='Why now: "first notification", "louder", "repeat interval elapsed", '
        '"resolved", "ended while firing", "superseded by resume" or "storm: ...", and perhaps '
        "which receiver it was meant for."
    )
    queued_at: float = Field(description="When it was decided to send it, in Unix seconds.")
    text: str = Field(description="All of it in lines, for people.")
    alerts: list[WebhookAlert] = Field(min_length=1)


def schema() -> str:
    """Return the JSON Schema (draft 2020-12) of a webhook's body, as it is published."""
    described = WebhookNotice.model_json_schema()
    draft = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    return json.dumps(draft | described, indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    FILE.write_text(schema(), "utf-8")
