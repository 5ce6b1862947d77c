"""When should this run have stopped? What went wrong in the end, else when it had converged.

The words for people; whether a loss has come to rest is ``converged.py``'s to say.
"""

from __future__ import annotations

from watcher.alerts import loudness
from watcher.converged import converged
from watcher.model import Alert, AlertState, Role, Severity, Status
from watcher.notify.message import number, subject, what
from watcher.watched import Watched

# findings that say what to go back to, and those that say that there is nothing to go back to
_TURNED = frozenset({"overfitting", "divergence", "collapse", "nan"})
_SPOILT = frozenset({"nan", "slow_learning", "frozen", "underfitting", "vanished"})


def when_to_stop(run: Watched) -> str:
    """Return one sentence about the run as it is held now, "" if it might go on as it is."""
    well = {bound.slot for bound in run.bounds if bound.verdict.status is Status.OK}
    last = [a for a in run.alerts.values() if _in_the_end(a, run) and a.slot not in well]
    for alert in sorted(last, key=lambda a: loudness(a.severity), reverse=True):
        if alert.detector == "divergence" and alert.severity is Severity.INFO:
            continue  # of a loss that may be another one since
        if alert.detector in _TURNED and alert.best_step is not None:
            then = f"{alert.alert} of {subject(alert)} came after it"
            return f"should have stopped at its best, step {alert.best_step}: {then}"
        if alert.detector in _SPOILT and alert.severity is not Severity.INFO:
            return f"has not converged: {what(alert)}"
    rates = [w for t, w in run.windows.items() if _is(run, t, Role.LEARNING_RATE)]
    for role in (Role.VAL_LOSS, Role.TRAIN_LOSS):
        for tag, window in run.windows.items():
            if _is(run, tag, role) and run.assigned[tag].main:
                done = converged(window, rates[0] if rates else None)
                if done is not None:
                    best = f"best {number(done.best_value)} at step {done.best_step}"
                    return f"{tag} converged at step {done.step}, {best}: {done.reason}"
    return ""


def _in_the_end(alert: Alert, run: Watched) -> bool:
    """Whether it fires, or did so until the run ended, and not until its rule was taken away."""
    if alert.shadow:
        return False
    ended = alert.state is AlertState.ENDED and (alert.resolved_at or 0.0) >= run.seen_at
    return ended or alert.state is AlertState.FIRING


def _is(run: Watched, tag: str, role: Role) -> bool:
    return tag in run.assigned and run.assigned[tag].role is role
