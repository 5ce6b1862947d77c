"""What can be asked from a terminal? Parses, calls, prints; it does not decide.

Exit codes: 0 nothing wrong, 1 findings or invalid input, 2 could not do the work. What went wrong
is said on stderr in one line a problem, never as a traceback.
"""

from __future__ import annotations

import enum
import io
import os
import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from watcher._version import __version__
from watcher.errors import InvalidInput, WatcherError

if TYPE_CHECKING:
    from watcher.store import Store

FOUND, FAILED = 1, 2

app = typer.Typer(
    name="watcher",
    help="Follows TensorBoard event files and says when a training goes wrong.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode=None,  # plain help: it starts three times as fast
    context_settings={"help_option_names": ["-h", "--help"]},
)


class Format(enum.StrEnum):
    """How a listing is printed."""

    TEXT = "text"
    JSON = "json"


class ScanFormat(enum.StrEnum):
    """How findings are printed."""

    TEXT = "text"
    JSONL = "jsonl"


class At(enum.StrEnum):
    """As of when runs are judged."""

    END = "end"
    LIVE = "live"


class Reader(enum.StrEnum):
    """Who reads the event files."""

    OURS = "ours"
    TBPARSE = "tbparse"


ConfigOption = Annotated[
    Path | None, typer.Option("-c", "--config", help="The service's config.toml.")
]
StateOption = Annotated[
    Path | None, typer.Option("-c", "--config", help="The service's config.toml; needed.")
]
JudgedByOption = Annotated[
    Path | None,
    typer.Option("-c", "--config", help="Judge as the service of this config: rules, labels, ..."),
]
PacksOption = Annotated[
    list[Path] | None,
    typer.Option(help="A pack, a directory of packs, or shipped: only these; may be repeated."),
]
FormatOption = Annotated[
    Format, typer.Option("--format", help="text for people, json for programs.")
]


def main() -> None:
    """Run the command line; the console script's entry."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # it was closed by whoever started us
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115 - to stay
    for stream in (sys.stdout, sys.stderr):  # a name must not fail where it cannot be shown
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        try:
            app()
        finally:
            sys.stdout.flush()  # here, where its failure is known what to do with
    except BrokenPipeError:  # the reader of our output went away: nothing to say to anybody
        _mute()
        sys.exit(FAILED)
    except OSError as error:
        _mute()
        _complain(f"watcher: standard output: {error.strerror or error}")
        sys.exit(FAILED)


def _mute() -> None:
    """Let what is still to be written go nowhere: it would fail once more at the very end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _answering(command: Callable[..., int]) -> Callable[..., None]:
    """Turn a command's result into an exit code, and what went wrong into lines on stderr."""

    @wraps(command)
    def run(*args: Any, **kwargs: Any) -> None:
        try:
            code = command(*args, **kwargs)
        except InvalidInput as error:
            for problem in error.problems:
                _complain(str(problem))
            code = FOUND
        except WatcherError as error:
            _complain(f"watcher: {error}")
            code = FAILED
        except KeyboardInterrupt:
            code = 130
        except BrokenPipeError:  # the reader of our output went away: nothing to say to anybody
            _mute()
            code = FAILED
        except OSError as error:
            where = f"{error.filename}: " if error.filename is not None else ""
            _complain(f"watcher: {where}{error.strerror or error}")
            code = FAILED
        except MemoryError:
            _complain("watcher: out of memory; name fewer log directories at once")
            code = FAILED
        raise typer.Exit(code)

    return run


def _complain(line: str) -> None:
    from watcher.notify.message import clean

    for part in line.splitlines():  # an expression's error has a caret on a line of its own
        print(clean(part), file=sys.stderr)  # noqa: T201 - the terminal is this module's output


def _say(line: str = "") -> None:
    from watcher.notify.message import clean

    print(clean(line))  # noqa: T201 - the terminal is this module's output


# -------------------------------------------------------------------- the service


@app.command()
@_answering
def run(
    logdirs: Annotated[
        list[Path] | None, typer.Argument(help="Watch these, with alerts on the console.")
    ] = None,
    config: ConfigOption = None,
    once: Annotated[
        bool, typer.Option(help="Look once, deliver, and stop; exit 1 if an alert fires.")
    ] = False,
) -> int:
    """Run the service; with LOGDIR and no config: watch these and print alerts."""
    from watcher import daemon
    from watcher.config import default_config, load_config

    if config is None and not logdirs:
        raise WatcherError("nothing to watch: name a LOGDIR, or a config with -c config.toml")
    if config is not None and logdirs:
        raise WatcherError("name either a LOGDIR or a config, not both; roots go in the config")
    chosen = load_config(config) if config else default_config([str(d) for d in logdirs or []])
    if config is None and not once and sys.stderr.isatty():
        names = ", ".join(root.path for root in chosen.roots)
        _complain(f"watching {names}; alerts are printed here, Ctrl-C ends it")
    return daemon.serve(chosen, config_path=config, once=once)


@app.command()
@_answering
def demo(
    seconds: Annotated[float, typer.Option(help="How long the zoo trains.")] = 60.0,
    keep: Annotated[Path | None, typer.Option(help="Keep the event files here.")] = None,
) -> int:
    """Show a small zoo of trainings that go wrong, live, with alerts."""
    from watcher.demo import show

    return show(seconds, keep, _say)


# -------------------------------------------------------------------- looking at logs


@app.command()
@_answering
def scan(
    logdirs: Annotated[
        list[Path] | None,
        typer.Argument(help="Log directories; those of the config without any."),
    ] = None,
    config: JudgedByOption = None,
    rules: PacksOption = None,
    labels: Annotated[
        Path | None, typer.Option(help="A CSV of runs and labels to compare with.")
    ] = None,
    form: Annotated[ScanFormat, typer.Option("--format", help="How to print.")] = ScanFormat.TEXT,
    charts: Annotated[Path | None, typer.Option(help="Draw each finding here, as PNG.")] = None,
    converged: Annotated[
        bool, typer.Option("--converged", help="Say when each run should have stopped.")
    ] = False,
    at: Annotated[
        At, typer.Option(help="end: at each run's last event; live: as if now were now.")
    ] = At.END,
    now: Annotated[float | None, typer.Option(help="Judge as if now were this Unix time.")] = None,
    reader: Annotated[Reader, typer.Option(help="A second opinion on the reading.")] = Reader.OURS,
) -> int:
    """Say what would have fired, and when. Exit 1 if anything did."""
    from watcher import report
    from watcher.agreement import read_labels

    known = read_labels(labels) if labels is not None else None
    if charts is not None:
        charts.mkdir(parents=True, exist_ok=True)  # before the long work, should it fail
    survey = report.survey_of_logs(
        logdirs or [], rules or [], config, _when(at, now), reader is Reader.TBPARSE
    )
    for line in report.health(survey):
        _complain(line)
    write = report.as_jsonl if form is ScanFormat.JSONL else report.as_text
    for line in write(survey):
        _say(line)
    if known is not None:
        for line in report.against_labels(survey, known):
            (_complain if form is ScanFormat.JSONL else _say)(line)
    if converged:
        for line in report.convergence(survey):
            (_complain if form is ScanFormat.JSONL else _say)(line)
    if charts is not None:
        for line in report.draw(survey, charts):
            _complain(line)
    if survey.unreachable and not survey.runs:
        return FAILED  # nothing could be read, so nothing was found healthy
    return FOUND if survey.alerts else 0


def _when(at: At, now: float | None) -> float | None:
    from watcher.clock import SystemClock

    if now is not None:
        if not 0 <= now < 1e11:
            raise WatcherError(f"--now {now}: not a Unix time in seconds; as `date +%s` prints it")
        return now
    return SystemClock().now() if at is At.LIVE else None


@app.command()
@_answering
def read(
    logdir: Annotated[Path, typer.Argument(help="A log directory, or one event file.")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="FILE.csv, .parquet or .feather.")
    ] = None,
    wide: Annotated[bool, typer.Option(help="One column a tag, not one row a point.")] = False,
    superseded: Annotated[
        bool, typer.Option("--superseded/--no-superseded", help="Keep points a resume took back.")
    ] = False,
) -> int:
    """Print or save the scalars as a table."""
    from watcher import report

    read = report.table(logdir, output, wide=wide, superseded=superseded, warn=_complain)
    return 0 if read else FAILED


@app.command()
@_answering
def explain(
    run: Annotated[Path, typer.Argument(help="A run's directory.")],
    rule: Annotated[str | None, typer.Argument(help="Only this rule.")] = None,
    config: JudgedByOption = None,
    rules: PacksOption = None,
) -> int:
    """Say which tag got which role, what each rule sees, and what it says now."""
    from watcher import report

    survey = report.survey_of_logs([run], rules or [], config, None, False)
    for line in report.explained(survey, rule):
        _say(line)
    return 0


# -------------------------------------------------------------------- rules and config


@app.command()
@_answering
def check(
    packs: Annotated[list[Path] | None, typer.Argument(help="Rule packs or directories.")] = None,
    config: ConfigOption = None,
) -> int:
    """Check a config and rule packs: every error at once. Exit 1 if there is any."""
    from watcher import report

    problems, checked = report.problems(config, packs or [])
    for problem in problems:
        _complain(str(problem))
    if problems:
        return FOUND
    _say(f"{checked}: no problems")
    return 0


@app.command()
@_answering
def test(
    packs: Annotated[list[Path], typer.Argument(help="Rule packs or directories.")],
) -> int:
    """Run the packs' own tests. Exit 1 if one fails."""
    from watcher import ruletest
    from watcher.report import packs_of
    from watcher.rules import read_packs

    failed = ran = 0
    for pack in read_packs(packs_of(packs)):
        failures = ruletest.run_tests(pack)
        for failure in failures:
            _complain(str(failure))
        failed += len(failures)
        ran += len(pack.tests)
    _say(f"{ran} rule test{'s' * (ran != 1)}, {failed} failed")
    return FOUND if failed else 0


# -------------------------------------------------------------------- the service's state


@app.command()
@_answering
def status(config: StateOption = None, form: FormatOption = Format.TEXT) -> int:
    """Say how the service, its roots and its receivers are doing."""
    return _show("status", config, form)


@app.command()
@_answering
def alerts(config: StateOption = None, form: FormatOption = Format.TEXT) -> int:
    """List the alerts that fire, and those closed of late. Exit 1 if one fires."""
    return _show("alerts", config, form)


@app.command()
@_answering
def runs(config: StateOption = None, form: FormatOption = Format.TEXT) -> int:
    """List the runs that are known, and how each is doing."""
    return _show("runs", config, form)


def _show(what: str, config: Path | None, form: Format) -> int:
    from watcher import statepages

    lines, code = statepages.page(what, config, as_json=form is Format.JSON)
    for line in lines:
        _say(line)
    return code


silence = typer.Typer(help="Keep alerts quiet for a while.", no_args_is_help=True)
app.add_typer(silence, name="silence")


def _store(config: Path | None) -> Store:
    from watcher import statepages

    return statepages.writable(config)


@silence.command("add")
@_answering
def silence_add(
    matchers: Annotated[list[str], typer.Argument(help="name=glob; !glob negates.")],
    span: Annotated[str, typer.Option("--for", help="30m, 2h, 1d.")],
    config: StateOption = None,
    by: Annotated[str, typer.Option(help="Who asks for it.")] = "",
    comment: Annotated[str, typer.Option(help="Why.")] = "",
) -> int:
    """Keep alerts that match all MATCHERS quiet."""
    from watcher import statepages

    _say(statepages.add_silence(config, matchers, span, by, comment))
    return 0


@silence.command("list")
@_answering
def silence_list(config: StateOption = None, form: FormatOption = Format.TEXT) -> int:
    """List the silences that have not ended."""
    return _show("silences", config, form)


@silence.command("expire")
@_answering
def silence_expire(
    silence_id: Annotated[str, typer.Argument(metavar="ID", help="As `list` shows it.")],
    config: StateOption = None,
) -> int:
    """End a silence now."""
    from watcher.clock import SystemClock

    with _store(config) as store:
        if not store.expire_silence(silence_id, SystemClock().now()):
            raise WatcherError(f"no silence {silence_id} is in force; see watcher silence list")
    _say(f"silence {silence_id} expired")
    return 0


@app.command()
@_answering
def resend(
    receiver: Annotated[str, typer.Argument(help="As `status` shows it.")],
    config: StateOption = None,
) -> int:
    """Queue what was given up for a receiver again, as it is by now, one message a run."""
    from watcher.clock import SystemClock

    with _store(config) as store:
        known = {delivery.receiver for delivery in store.counts()}
        if receiver not in known:
            told = ", ".join(sorted(known)) or "none yet"
            raise WatcherError(f"nothing was ever queued for {receiver}; there is: {told}")
        queued = store.revive(receiver, SystemClock().now())
    _say(f"{queued} queued again for {receiver}; a running service sends at its next look")
    return 0


# -------------------------------------------------------------------- trying it out


@app.command()
@_answering
def doctor(config: ConfigOption = None) -> int:
    """Look at mounts, rights, clocks and secrets. Exit 1 if something must be done."""
    from watcher.clock import SystemClock
    from watcher.config import load_config
    from watcher.doctor import examine

    loaded = load_config(config) if config else None
    findings = list(examine(loaded, SystemClock().now()))
    for finding in findings:
        _say(f"{'ok  ' if finding.good else 'BAD '} {finding.said}")
    return 0 if all(finding.good for finding in findings) else FOUND


@app.command("notify-test")
@_answering
def notify_test(
    receiver: Annotated[str, typer.Argument(help="As it is named under [receivers].")],
    config: ConfigOption = None,
) -> int:
    """Send one test message. Exit 1 if it is refused for good, 2 if it cannot be delivered now."""
    import secrets

    from watcher.clock import SystemClock
    from watcher.config import default_config, load_config
    from watcher.notifytest import send_test

    loaded = load_config(config) if config else default_config([])
    outcome = send_test(loaded, receiver, SystemClock().now(), secrets.token_hex(4))
    (_complain if outcome.code else _say)(outcome.said)
    return outcome.code


@app.command("fake-slack")
@_answering
def fake_slack(
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any free one.")] = 0,
) -> int:
    """Serve a strict local Slack and print what is sent to it, until Ctrl-C."""
    import threading

    from watcher.notify.fake_slack import FakeSlack

    def show(message: dict[str, Any]) -> None:
        _say(f"#{message['channel']}: {message.get('text', '')}")
        sys.stdout.flush()

    def refused(method: str, why: str) -> None:
        _say(f"refused {method}: {why}")
        sys.stdout.flush()

    with FakeSlack(port=port, on_message=show, on_refusal=refused) as slack:
        _say(f'api_url = "{slack.api}"  channel {", ".join(slack.channels)}  token {slack.token}')
        _say(f"app token {slack.app_token}  page http://127.0.0.1:{slack.port}/")
        sys.stdout.flush()
        threading.Event().wait()
    return 0


def _version(wanted: bool) -> None:
    if wanted:
        _say(f"watcher {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Say which version."),
    ] = False,
) -> None:
    """Follows TensorBoard event files and says when a training goes wrong."""
