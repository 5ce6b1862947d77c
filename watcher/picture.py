"""Which curves tell what happened? Chooses them for an alert and has them drawn."""

from __future__ import annotations

from watcher.model import Alert, Role
from watcher.notify.chart import CurveLike, chart
from watcher.series import Window
from watcher.watched import Watched

_SIDES = {Role.TRAIN_LOSS: Role.VAL_LOSS, Role.VAL_LOSS: Role.TRAIN_LOSS}

_NAMES = {Role.TRAIN_LOSS: "training loss", Role.VAL_LOSS: "validation loss"}
_METRICS = {Role.TRAIN_METRIC, Role.VAL_METRIC}


def picture(run: Watched, alert: Alert) -> bytes | None:
    """Draw an alert as a PNG: its own series, the loss's other side, the learning rate beneath.

    Beneath a metric is the loss that it is compared with. None if there is nothing to
    draw: the rule looks at no series, or they are not held any more.
    """
    if alert.attempt != run.attempt:
        return None
    curves = {tag: window.curve for tag, window in chosen(run, alert).items()}
    if not curves:
        return None
    title = f"{alert.run}: {alert.alert}"
    return chart(curves, alert.onset_step, alert.best_step, title, beneath=_beneath(run, alert))


def _beneath(run: Watched, alert: Alert) -> tuple[str, CurveLike] | None:
    """Choose what explains the curves but has a scale of its own."""
    rates = [w for w in _of_role(run, Role.LEARNING_RATE).values() if len(w)]
    looked_at = _looked_at(run, alert)
    losses = [tag for tag, w in looked_at.items() if _is_loss(run, tag) and len(w)]
    if losses and _is_metric(run, next(iter(looked_at))):
        side = _NAMES[run.assigned[losses[0]].role]
        return side, looked_at[losses[0]].curve
    return ("learning rate", rates[0].curve) if rates else None


def chosen(run: Watched, alert: Alert) -> dict[str, Window]:
    """Return the series to draw by tag: what the rule looked at, and the loss's other side.

    Training comes before validation, so that both look the same in every picture.

    Not a metric beside a loss, nor a loss beside the metric that the rule is about: each has a
    scale of its own. The training losses where the rule looked at no series.
    """
    shown = _looked_at(run, alert)
    if shown and _is_metric(run, first := next(iter(shown))):
        return {first: shown[first]}
    losses = {t: w for t, w in shown.items() if _is_loss(run, t)}
    shown = losses or shown
    for tag in list(shown):
        shown |= _other_side(run, tag)
    rates = _of_role(run, Role.LEARNING_RATE)
    found = {tag: w for tag, w in shown.items() if tag not in rates and len(w)}
    vals = _of_role(run, Role.VAL_LOSS)
    found = dict(sorted(found.items(), key=lambda item: item[0] in vals))
    return found or {t: w for t, w in _of_role(run, Role.TRAIN_LOSS).items() if len(w)}


def _looked_at(run: Watched, alert: Alert) -> dict[str, Window]:
    """Return the series of a rule's inputs by tag, what it is about first."""
    return {tag: run.windows[tag] for tag in alert.inputs.values() if tag in run.windows}


def _is_loss(run: Watched, tag: str) -> bool:
    return tag in run.assigned and run.assigned[tag].role in _SIDES


def _is_metric(run: Watched, tag: str) -> bool:
    return tag in run.assigned and run.assigned[tag].role in _METRICS


def _other_side(run: Watched, tag: str) -> dict[str, Window]:
    meaning = run.assigned.get(tag)
    if meaning is None or meaning.role not in _SIDES:
        return {}
    same = _of_role(run, _SIDES[meaning.role])
    about = run.windows[tag]
    return {
        t: w for t, w in same.items() if run.assigned[t].stem == meaning.stem and _beside(w, about)
    }


def _beside(window: Window, about: Window) -> bool:
    """Whether both can be drawn over the same steps: one of them may count something else, as
    Keras does in ``evaluation_loss_vs_iterations``, or be a single closing value.
    """
    span, whole = (w.last_step - w.first_step for w in (window, about))
    return len(window) > 1 and whole / 10 <= span <= 2 * max(whole, 1)


def _of_role(run: Watched, role: Role) -> dict[str, Window]:
    held = run.windows.items()
    return {t: w for t, w in held if t in run.assigned and run.assigned[t].role is role}
