"""Which curves tell what happened? Chooses them for an alert and has them drawn."""

from __future__ import annotations

from watcher.model import Alert, Role
from watcher.notify.chart import chart
from watcher.series import Window
from watcher.watched import Watched

_SIDES = {Role.TRAIN_LOSS: Role.VAL_LOSS, Role.VAL_LOSS: Role.TRAIN_LOSS}


def picture(run: Watched, alert: Alert) -> bytes | None:
    """Draw an alert as a PNG: its own series, the loss's other side, the learning rate beneath.

    None if there is nothing to draw: the rule looks at no series, or they are not held any more.
    """
    if alert.attempt != run.attempt:
        return None
    curves = {tag: window.curve for tag, window in chosen(run, alert).items()}
    if not curves:
        return None
    rates = _of_role(run, Role.LEARNING_RATE)
    rate = next((w.curve for w in rates.values() if len(w)), None)
    title = f"{alert.run}: {alert.alert}"
    return chart(curves, alert.onset_step, alert.best_step, title, learning_rate=rate)


def chosen(run: Watched, alert: Alert) -> dict[str, Window]:
    """Return the series to draw by tag: what the rule looked at, and the loss's other side.

    Not a metric beside a loss: it has a scale of its own. The training losses where the rule
    looked at no series.
    """
    shown = {tag: run.windows[tag] for tag in alert.inputs.values() if tag in run.windows}
    losses = {t: w for t, w in shown.items() if t in run.assigned and _is_loss(run, t)}
    shown = losses or shown
    for tag in list(shown):
        shown |= _other_side(run, tag)
    rates = _of_role(run, Role.LEARNING_RATE)
    found = {tag: w for tag, w in shown.items() if tag not in rates and len(w)}
    return found or {t: w for t, w in _of_role(run, Role.TRAIN_LOSS).items() if len(w)}


def _is_loss(run: Watched, tag: str) -> bool:
    return run.assigned[tag].role in _SIDES


def _other_side(run: Watched, tag: str) -> dict[str, Window]:
    meaning = run.assigned.get(tag)
    if meaning is None or meaning.role not in _SIDES:
        return {}
    same = _of_role(run, _SIDES[meaning.role])
    return {t: w for t, w in same.items() if run.assigned[t].stem == meaning.stem}


def _of_role(run: Watched, role: Role) -> dict[str, Window]:
    held = run.windows.items()
    return {t: w for t, w in held if t in run.assigned and run.assigned[t].role is role}
