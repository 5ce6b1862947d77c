"""What does an ``expr`` say about these curves? A small language in Python's syntax.

Compiled from an allow-list of the syntax tree to closures; Python itself cannot be reached.

    val_loss.last > 1.2 * val_loss.best and val_loss.steps_since_best > 500

- A series is a role (``val_loss``) or a quoted glob over tags (``"Loss/val*"``), and always has a
  field: ``last first best best_step count steps_since_best seconds_since_last nan_count``, or over
  the last ``n`` points (at most 512) ``mean(n) median(n) std(n) slope(n) pct_change(n) ema(n)``.
- Numbers, ``+ - * / // %``, comparisons (chained too), ``and or not``, parentheses.
- ``abs min max log exp sqrt``, and ``isfinite``, which is a condition.

What is not known makes the answer UNKNOWN, unless it does not matter: a series the run lacks, too
few points, a division by zero, a comparison with NaN. ``best`` is the lowest value where lower is
better, else the highest. ``nan_count`` counts ±Inf, too; the windowed fields pass over both.
``slope`` is per step, ``pct_change`` a fraction of the value n points before (0.1 is 10 %),
``std`` that of a sample, ``ema`` has span n. The first series named is the trigger: it decides
when the rule looks, and which of several series it looks at in turn.
"""

from __future__ import annotations

import ast
import functools
import math
import operator
import re
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, NoReturn

import numpy as np

from watcher.detectors import Inputs
from watcher.detectors._noise import median
from watcher.model import Better, Floats, Role, Selector, WallTime
from watcher.places import did_you_mean
from watcher.series import TAIL, Window

MAX_LENGTH = 1000  # characters
MAX_NODES = 200  # of the syntax tree that carry meaning
MAX_DEPTH = 25
TRIGGER = "value"  # the input of the first series named

Number = float | None  # None: unknown
Truth = bool | None
Evaluate = Callable[[Inputs, WallTime], Number]
Decide = Callable[[Inputs, WallTime], Truth]


# what people write who come from other languages, and what it is here
_MEANT = (
    (re.compile(r"&&").search, "and"),
    (re.compile(r"\|\|").search, "or"),
    (re.compile(r"!(?!=)").search, "not"),
    (re.compile(r"(?<![<>=!])=(?!=)").search, "=="),
)


class ExprError(ValueError):
    """An expression is wrong at ``offset``; the text shows it with a caret under the place."""

    def __init__(self, message: str, text: str, offset: int, width: int = 1) -> None:
        self.message, self.offset = message, offset
        caret = " " * offset + "^" * max(1, min(width, len(text) - offset))
        super().__init__(f"{message}\n    {text}\n    {caret}")


@dataclass(frozen=True, slots=True)
class Expression:
    """A checked expression. ``inputs``: the series it names. ``timed``: the clock may decide."""

    text: str
    inputs: Mapping[str, Selector]
    timed: bool
    decide: Decide = field(repr=False)
    leaves: tuple[tuple[int, Evaluate], ...] = field(repr=False)  # by where each ends in the text

    def filled(self, inputs: Inputs, now: WallTime) -> str:
        """Return the expression with the number that each series had at ``now`` beside it."""
        said, at = [], 0
        for end, evaluate in self.leaves:
            said += [self.text[at:end], f" ({_shown(evaluate(inputs, now))})"]
            at = end
        return " ".join("".join([*said, self.text[at:]]).split())


def _shown(number: Number) -> str:
    if number is None:
        return "unknown"
    whole = math.isfinite(number) and number == int(number) and abs(number) < 1e15
    return str(int(number)) if whole else f"{number:.4g}"


@functools.lru_cache(maxsize=1024)
def compile_expr(text: str) -> Expression:
    """Return the checked expression; ExprError for the first thing wrong with it."""
    line = "".join(" " if c in "\r\n\t" else c for c in text).rstrip()
    if len(line) > MAX_LENGTH:
        raise ExprError(f"longer than {MAX_LENGTH} characters", line[:60], 59)
    lead = len(line) - len(line.lstrip())
    compiler = _Compiler(line, lead)
    decide = compiler.truth(compiler.parse(), 0)
    if not compiler.inputs:
        raise ExprError("names no series; name a role or a quoted tag", line, lead, len(line))
    return Expression(
        line, compiler.inputs, compiler.timed, decide, tuple(sorted(compiler.leaves, key=_end))
    )


def _end(leaf: tuple[int, Evaluate]) -> int:
    return leaf[0]


# ------------------------------------------------------------------------- compiling

_BINARY: Mapping[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}
_COMPARE: Mapping[type[ast.cmpop], Callable[[float, float], bool]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}


class _Compiler:
    """Turns one syntax tree into closures; notes the series it names on the way."""

    def __init__(self, text: str, lead: int) -> None:
        self.inputs: dict[str, Selector] = {}
        self.leaves: list[tuple[int, Evaluate]] = []
        self.timed = False
        self._names: dict[Selector, str] = {}
        self._nodes = 0
        self._text, self._lead = text, lead
        self._bytes = text.lstrip().encode()

    def parse(self) -> ast.expr:
        """Return the tree, or say where Python's parser stumbled."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # the parser's opinion of escapes and calls
                return ast.parse(self._text.lstrip(), mode="eval").body
        except SyntaxError as error:
            end = len(self._text)
            at = min(self._lead + error.offset - 1, end) if error.offset else end
            meant = next(
                (f'; write "{right}"' for wrong, right in _MEANT if wrong(self._text)), ""
            )
            raise ExprError(f"cannot be read: {error.msg}{meant}", self._text, at) from None
        except (ValueError, RecursionError, MemoryError):
            raise ExprError("cannot be read", self._text, self._lead) from None

    def truth(self, node: ast.expr, depth: int) -> Decide:
        """Compile what must be a condition."""
        self._count(node, depth)
        match node:
            case ast.BoolOp(op=op, values=values):
                parts = [self.truth(value, depth + 1) for value in values]
                return _joined(parts, isinstance(op, ast.Or))
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                return _not(self.truth(operand, depth + 1))
            case ast.Compare():
                return self._comparison(node, depth)
            case ast.Call(func=ast.Name(id="isfinite")):
                return _isfinite(*self._arguments(node, 1, 1, depth))
        self.number(node, depth)  # what is wrong with it by itself comes first
        self._refuse(node, "is a number where a condition is needed; compare it with something")

    def number(self, node: ast.expr, depth: int) -> Evaluate:
        """Compile what must be a number."""
        self._count(node, depth)
        match node:
            case ast.Constant(value=bool()):
                self._refuse(node, "true and false are not numbers")
            case ast.Constant(value=int() | float() as value):
                return _constant(self._as_float(node, value))
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return _lifted(operator.neg, [self.number(operand, depth + 1)])
            case ast.UnaryOp(op=ast.UAdd(), operand=operand):
                return self.number(operand, depth + 1)
            case ast.BinOp(left=left, op=op, right=right) if type(op) in _BINARY:
                sides = [self.number(left, depth + 1), self.number(right, depth + 1)]
                return _lifted(_BINARY[type(op)], sides)
            case ast.BinOp(op=ast.Pow()):
                self._refuse(node, "** is not allowed; multiply")
            case ast.Call(func=ast.Name(id=name)):
                return self._function(node, name, depth)
            case ast.Call(func=ast.Attribute(value=series, attr=name)):
                return self._windowed(node, series, name)
            case ast.Attribute(value=series, attr=name):
                return self._field(node, series, name)
            case ast.Name(id=name) if name in _ROLES:
                self._refuse(node, f"needs a field: write {name}.last")
            case ast.Constant(value=str()):
                self._refuse(node, "needs a field: put .last after the tag")
            case ast.Name(id=name):
                self._refuse(node, f'"{name}" is not a role{did_you_mean(name, _ROLES)}')
            case ast.Compare() | ast.BoolOp() | ast.UnaryOp(op=ast.Not()):
                self._refuse(node, "is a condition where a number is needed")
        self._refuse(
            node, "is not part of the language: numbers, series, comparisons, and, or, not"
        )

    def _comparison(self, node: ast.Compare, depth: int) -> Decide:
        parts: list[Decide] = []
        left = self.number(node.left, depth + 1)
        for op, right_node in zip(node.ops, node.comparators, strict=True):
            if type(op) not in _COMPARE:
                self._refuse(node, "compare with < <= > >= == or !=")
            right = self.number(right_node, depth + 1)
            parts.append(_compared(_COMPARE[type(op)], left, right))
            left = right
        return parts[0] if len(parts) == 1 else _joined(parts, False)

    def _function(self, node: ast.Call, name: str, depth: int) -> Evaluate:
        if name == "isfinite":
            self._refuse(node, "is a condition where a number is needed")
        if name not in _FUNCTIONS:
            hint = did_you_mean(name, [*_FUNCTIONS, "isfinite"])
            self._refuse(node.func, f'"{name}" is not a function{hint}')
        least, most, apply = _FUNCTIONS[name]
        return _lifted(apply, self._arguments(node, least, most, depth))

    def _arguments(self, node: ast.Call, least: int, most: int, depth: int) -> list[Evaluate]:
        if node.keywords or not least <= len(node.args) <= most:
            wanted = str(least) if least == most else f"at least {least}"
            self._refuse(node, f"takes {wanted} number{'s' if least > 1 else ''}")
        return [self.number(arg, depth + 1) for arg in node.args]

    def _field(self, node: ast.Attribute, series: ast.expr, name: str) -> Evaluate:
        selector = self._series(series)
        if name in _WINDOWED:
            self._refuse(node, f"needs a number of points: write {name}(20)")
        if name == "seconds_since_last":
            self.timed = True
            return self._leaf(node, selector, _seconds_since_last)
        if name not in _FIELDS:
            known = [*_FIELDS, *_WINDOWED, "seconds_since_last"]
            close = did_you_mean(name, known)
            self._refuse(node, f'"{name}" is not a field{close}')
        read = _FIELDS[name]

        def field_of(inputs: Inputs, key: str, now: WallTime) -> Number:
            window = inputs.get(key)
            if window is None or not len(window):
                return None
            return read(window, inputs.better.get(key, Better.LOWER))

        return self._leaf(node, selector, field_of)

    def _windowed(self, node: ast.Call, series: ast.expr, name: str) -> Evaluate:
        selector = self._series(series)
        if name not in _WINDOWED:
            if name in _FIELDS or name == "seconds_since_last":
                self._refuse(node, f"takes no number of points: write {name}")
            self._refuse(node, f'"{name}" is not a field{did_you_mean(name, _WINDOWED)}')
        least, beyond, apply = _WINDOWED[name]
        match node:
            case ast.Call(args=[ast.Constant(value=int() as n)], keywords=[]) if (
                least <= n <= TAIL - beyond and not isinstance(n, bool)
            ):
                pass
            case _:
                self._refuse(node, f"takes a whole number from {least} to {TAIL - beyond}")

        def over(inputs: Inputs, key: str, now: WallTime) -> Number:
            window = inputs.get(key)
            if window is None or len(window.value) < n + beyond:
                return None
            with np.errstate(all="ignore"):  # an overflow is an infinity, which says enough
                return apply(window, n)

        return self._leaf(node, selector, over)

    def _leaf(
        self,
        node: ast.expr,
        selector: Selector,
        read: Callable[[Inputs, str, WallTime], Number],
    ) -> Evaluate:
        key = self._names.setdefault(selector, self._new_name(selector))
        self.inputs[key] = selector

        def evaluate(inputs: Inputs, now: WallTime) -> Number:
            return read(inputs, key, now)

        self.leaves.append((self._span(node)[1], evaluate))
        return evaluate

    def _new_name(self, selector: Selector) -> str:
        if not self._names:
            return TRIGGER
        return selector.role.value if selector.role else f'"{selector.tag}"'

    def _series(self, node: ast.expr) -> Selector:
        match node:
            case ast.Name(id=name) if name in _ROLES:
                return Selector(role=Role(name))
            case ast.Name(id=name):
                hint = did_you_mean(name, _ROLES)
                self._refuse(node, f'"{name}" is not a role{hint or "; put a tag in quotes"}')
            case ast.Constant(value=str() as tag) if tag.strip():
                return Selector(tag=tag)
        self._refuse(node, "is not a series; name a role or a quoted tag")

    # --------------------------------------------------------------------- refusing

    def _count(self, node: ast.expr, depth: int) -> None:
        self._nodes += 1
        if depth > MAX_DEPTH or self._nodes > MAX_NODES:
            self._refuse(node, "is too large; split the rule")

    def _as_float(self, node: ast.expr, value: float) -> float:
        try:
            return float(value)
        except OverflowError:
            self._refuse(node, "is too large a number")

    def _span(self, node: ast.expr) -> tuple[int, int]:
        """Return where ``node`` begins and ends in the text: the parser counts in bytes."""
        start, end = node.col_offset, node.end_col_offset or node.col_offset + 1
        return (
            self._lead + len(self._bytes[:start].decode()),
            self._lead + len(self._bytes[:end].decode()),
        )

    def _refuse(self, node: ast.expr, message: str) -> NoReturn:
        start, end = self._span(node)
        raise ExprError(message, self._text, start, end - start)


# ------------------------------------------------------------------------- deciding


def _constant(value: float) -> Evaluate:
    return lambda inputs, now: value


def _lifted(apply: Callable[..., float], parts: list[Evaluate]) -> Evaluate:
    """Apply to what is known; unknown where a part is, or where there is no answer."""

    def evaluate(inputs: Inputs, now: WallTime) -> Number:
        values = []
        for part in parts:
            value = part(inputs, now)
            if value is None:
                return None
            values.append(value)
        try:
            return apply(*values)
        except (ZeroDivisionError, ValueError):  # x / 0, log(-1)
            return None
        except OverflowError:  # exp(1000)
            return math.inf

    return evaluate


def _compared(apply: Callable[[float, float], bool], left: Evaluate, right: Evaluate) -> Decide:
    def decide(inputs: Inputs, now: WallTime) -> Truth:
        a, b = left(inputs, now), right(inputs, now)
        if a is None or b is None or math.isnan(a) or math.isnan(b):
            return None
        return bool(apply(a, b))

    return decide


def _isfinite(part: Evaluate) -> Decide:
    def decide(inputs: Inputs, now: WallTime) -> Truth:
        value = part(inputs, now)
        return None if value is None else math.isfinite(value)

    return decide


def _not(part: Decide) -> Decide:
    def decide(inputs: Inputs, now: WallTime) -> Truth:
        value = part(inputs, now)
        return None if value is None else not value

    return decide


def _joined(parts: list[Decide], decisive: bool) -> Decide:
    """Return ``decisive`` if one part is, whatever is unknown; unknown before the other.

    With False this is ``and``, with True ``or``.
    """

    def decide(inputs: Inputs, now: WallTime) -> Truth:
        known = True
        for part in parts:
            value = part(inputs, now)
            if value is decisive:
                return decisive
            known = known and value is not None
        return not decisive if known else None

    return decide


# ------------------------------------------------------------------------- fields


def _best(window: Window, better: Better) -> Number:
    found = window.extremes
    best = found.low if better is Better.LOWER else found.high
    return None if math.isnan(best) else best


def _best_step(window: Window, better: Better) -> Number:
    if _best(window, better) is None:
        return None
    found = window.extremes
    return float(found.low_step if better is Better.LOWER else found.high_step)


def _steps_since_best(window: Window, better: Better) -> Number:
    best = _best_step(window, better)
    return None if best is None else window.last_step - best


def _seconds_since_last(inputs: Inputs, key: str, now: WallTime) -> Number:
    """Return how long the series has been silent, without mixing the two clocks.

    Ours tells how long ago the run wrote at all; the run's own tells how far this series is
    behind the newest one that the rule sees.
    """
    window = inputs.get(key)
    if window is None or not len(window):
        return None
    walls = [w.last_wall for w in inputs.windows.values() if math.isfinite(w.last_wall)]
    behind = max(walls) - window.last_wall if math.isfinite(window.last_wall) else 0.0
    return max(0.0, now - inputs.run.seen_at) + behind


def _tail(window: Window, n: int) -> Floats:
    value = window.value[-n:]
    return value[np.isfinite(value)]


def _mean(window: Window, n: int) -> Number:
    value = _tail(window, n)
    return float(value.mean()) if len(value) else None


def _median(window: Window, n: int) -> Number:
    value = _tail(window, n)
    return median(value) if len(value) else None


def _std(window: Window, n: int) -> Number:
    value = _tail(window, n)
    return float(value.std(ddof=1)) if len(value) > 1 else None


def _slope(window: Window, n: int) -> Number:
    finite = np.isfinite(window.value[-n:])
    step = window.step[-n:][finite].astype(np.float64)
    if len(step) < 2:
        return None
    step -= step.mean()
    spread = float(step @ step)
    return float(step @ window.value[-n:][finite]) / spread if spread > 0 else None


def _pct_change(window: Window, n: int) -> Number:
    before, last = float(window.value[-n - 1]), window.last_value
    if before == 0 or not math.isfinite(before) or not math.isfinite(last):
        return None
    return (last - before) / abs(before)


def _ema(window: Window, n: int) -> Number:
    value = _tail(window, TAIL)
    if not len(value):
        return None
    weight = (1 - 2 / (n + 1)) ** np.arange(len(value) - 1, -1, -1, dtype=np.float64)
    return float(value @ weight / weight.sum())


_ROLES = frozenset(role.value for role in Role)
_FIELDS: Mapping[str, Callable[[Window, Better], Number]] = {
    "last": lambda window, better: window.last_value,
    "first": lambda window, better: window.first_value,
    "best": _best,
    "best_step": _best_step,
    "count": lambda window, better: float(window.count),
    "steps_since_best": _steps_since_best,
    "nan_count": lambda window, better: float(window.extremes.nonfinite),
}
# name: fewest points that make sense, points needed beyond n, and how
_WINDOWED: Mapping[str, tuple[int, Literal[0, 1], Callable[[Window, int], Number]]] = {
    "mean": (1, 0, _mean),
    "median": (1, 0, _median),
    "std": (2, 0, _std),
    "slope": (2, 0, _slope),
    "pct_change": (1, 1, _pct_change),
    "ema": (1, 0, _ema),
}
# name: fewest and most arguments, and how
_FUNCTIONS: Mapping[str, tuple[int, int, Callable[..., float]]] = {
    "abs": (1, 1, abs),
    "min": (2, 20, min),
    "max": (2, 20, max),
    "log": (1, 1, math.log),
    "exp": (1, 1, math.exp),
    "sqrt": (1, 1, math.sqrt),
}
