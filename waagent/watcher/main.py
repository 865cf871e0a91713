"""waagent watch: poll the goal state, start a worker on change, keep the status report fresh. Lean.

One turn, every Extensions.GoalStatePeriod seconds: ask the wire server and the host plugin whether anything has
changed; if so, or if no worker has come to its end in this boot, or the last one failed before the extensions were
through, or this process has not started any, and none is at work, start one; upload the status; once a minute say
whether the host's services answer. When it began is in /run/waagent/agent-start: the handlers of extensions are
enabled once more for each start of the agent.
A worker that ends without settling the change is followed by another after 6, 12, 24, … up to 300 seconds.

Twice a minute it asks whether a step of the stage periodic is due, and starts the stage if one is.

Where stage local has found that this is no Azure VM, nobody is asked for anything.
LIB/disable_agent switches all of this off: the process says so and ends.

Exit status: 0 after SIGTERM or when switched off.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from functools import partial

from waagent.errors import WaagentError
from waagent.extensions import report
from waagent.fabric import endpoint as endpoints
from waagent.fabric import poll
from waagent.system.clock import Clock
from waagent.system.http import Http
from waagent.watcher import settings as settings_of
from waagent.watcher.environment import leave_environment
from waagent.watcher.host_health import HostHealth
from waagent.watcher.launch import this_program
from waagent.watcher.notify import Notifier
from waagent.watcher.periodic import ASK_EVERY, Periodic
from waagent.watcher.reporting import Reporter
from waagent.watcher.whose import Whose
from waagent.watcher.worker import Worker

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType
    from typing import NoReturn

    from waagent.watcher.settings import Settings

STARTED = "/run/waagent/agent-start"
LONGEST_WAIT = 300.0
TOLD_AGAIN = 6 * 3600.0


class Watcher:
    """watch() for ever, or one turn(). start(event) gives the Worker of an event; a test has its own.

    Without `periodic` nobody is asked whether a periodic step is due.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        periodic: Periodic | None = None,
        start: Callable[[str], Worker] | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.settings, self.periodic = settings, periodic
        self.clock = clock or Clock()
        self.http = Http(self.clock)
        self.reporter = Reporter(self.http, settings, self.clock)
        self.host_health = HostHealth(self.http, settings)
        self.whose = Whose(settings.lib)
        start = start or (lambda event: Worker(event, this_program()))
        self.worker, self.uploader = start("goal-state"), start("status")
        self.known = self._read_known()
        self._read_at = 0.0
        self._begun = False  # whether a worker was started by this process
        self._for_change = False  # whether the last one was started because something had changed
        self._start_after, self._wait = 0.0, 0.0
        self._upload_after = 0.0
        self._told: dict[str, float] = {}

    @property
    def period(self) -> float:
        return float(self.settings.period if self.worker.completed() else self.settings.initial)

    def watch(self, notifier: Notifier) -> NoReturn:
        """One turn in each period, until something is raised."""
        turn_at = 0.0
        while True:
            now = self.clock.monotonic()
            if now >= turn_at:
                self.turn()
                now = self.clock.monotonic()
                turn_at = now + self.period
            wake_at = turn_at
            if self.periodic is not None:
                self._attempt("stage periodic", partial(self.periodic.turn, now), now)
                wake_at = min(turn_at, self.periodic.ask_at)
            notifier.say("WATCHDOG=1")
            _sleep(wake_at - now, notifier, self.clock)

    def turn(self) -> None:
        now = self.clock.monotonic()
        if self.whose.is_nobodys():
            self._tell("whose", "this is no Azure VM: nobody is asked for a goal state", now)
            return
        self._refresh_known()
        try:
            polled = poll.poll(
                self.http, endpoints.parse(self.known.endpoint), self.known, self.settings.fast_track, now=now
            )
        except WaagentError as error:
            self._tell("poll", error.message, now)
            return
        self.known = polled.known
        for problem in polled.errors:
            then = f"continuing with what is known, next try in {self.period:.0f} s"
            self._tell("poll", f"{problem.message}; {then}", now)
        if not polled.errors:
            self._recovered("poll")
        self._work(bool(polled.changed), polled.answered, now)
        self._report(now)
        self.host_health.turn(self.known, now, self.reporter.observed)  # heard or not, it changes nothing here

    def _work(self, changed: bool, answered: bool, now: float) -> None:
        """Start a worker when one is wanted, none is at work, and it is not too soon after the last."""
        if self.worker.busy():
            return
        if not changed and self._begun and self._through():
            self._start_after = self._wait = 0.0
            return
        fresh = changed and not self._for_change  # no worker has tried it, so there is nothing to wait for
        if not answered or (now < self._start_after and not fresh):
            return
        if self._attempt("worker", self.worker.start, now):
            self._begun, self._for_change = True, changed
        self._wait = min(max(2 * self._wait, 6.0), LONGEST_WAIT)
        self._start_after = now + self._wait

    def _through(self) -> bool:
        """Whether the last worker has left nothing to do: it ended well, or what failed was not the extensions."""
        end = self.worker.end()
        if end != "failed":
            return end != ""
        if not self.known.status_blob:
            return True  # the platform gave no goal state of extensions
        identity, agent = report.processed(self.settings.lib)
        # Which of the two is in force only a worker knows. What failed is written down under neither.
        known = (f"incarnation:{self.known.incarnation}", f"etag:{self.known.etag}")
        return identity in known and agent == _read_start(STARTED)

    def _report(self, now: float) -> None:
        error = self.reporter.turn(self.known, now)
        if error is None:
            self._recovered("status")
            return
        self._tell("status", f"{error.message}; a worker uploads it directly", now)
        if now >= self._upload_after and not self.uploader.busy():
            self._attempt("worker for the status", self.uploader.start, now)
            self._upload_after = now + 60.0

    def _read_known(self) -> poll.Known:
        """What the last worker wrote down, or just an address."""
        try:
            with open(f"{self.settings.lib}/goal-state.json", encoding="utf-8") as stream:
                known = poll.known_of(stream.read())
        except OSError:
            known = None
        return known or poll.Known(self._endpoint())

    def _refresh_known(self) -> None:
        """Read the file again when it has been replaced since."""
        try:
            changed_at = os.stat(f"{self.settings.lib}/goal-state.json").st_mtime
        except OSError:
            return
        if changed_at != self._read_at:
            self._read_at = changed_at
            fresh = self._read_known()
            fresh.ask_vm_settings_at = self.known.ask_vm_settings_at
            if (fresh.incarnation, fresh.etag) != (self.known.incarnation, self.known.etag):
                self._start_after = self._wait = 0.0  # what was wanted was done; what comes now is new
            self.known = fresh

    def _endpoint(self) -> str:
        try:
            with open(f"{self.settings.lib}/WireServerEndpoint", encoding="ascii", errors="replace") as stream:
                return endpoints.parse(stream.read()).text
        except (OSError, WaagentError):
            return endpoints.WIRE_SERVER

    def _attempt(self, what: str, start: Callable[[], None], now: float) -> bool:
        """Where there is no room for a process now there may be some later; the watcher lives on."""
        try:
            start()
        except OSError as error:
            self._tell(what, f"cannot start the {what}: {error.strerror}; it is tried again", now)
            return False
        self._recovered(what)
        return True

    def _tell(self, about: str, message: str, now: float) -> None:
        """Say it once, and again after six hours if it goes on."""
        if now >= self._told.get(about, 0.0):
            level = "<4>" if "JOURNAL_STREAM" in os.environ else ""
            print(f"{level}watcher: {message}", file=sys.stderr)
            self._told[about] = now + TOLD_AGAIN

    def _recovered(self, about: str) -> None:
        if self._told.pop(about, None) is not None:
            print(f"watcher: {about} works again", file=sys.stderr)


def main(arguments: list[str]) -> int:
    """arguments: none, but for --help."""
    if arguments and arguments[0] in ("--help", "-h"):
        print(__doc__)
        return 0
    if arguments:
        print(f"waagent watch: unknown argument {arguments[0]!r}; see waagent watch --help", file=sys.stderr)
        return 2
    notifier = Notifier()
    settings = settings_of.read()
    if os.path.exists(f"{settings.lib}/disable_agent"):
        notifier.say("READY=1", "STATUS=switched off")
        print(f"watcher: switched off by {settings.lib}/disable_agent; remove it and start waagent.service again")
        return 0
    signal.signal(signal.SIGTERM, _leave)
    _say_when(STARTED)
    try:
        leave_environment(os.environ)
    except OSError as error:
        print(f"watcher: cannot tell workers of the environment: {error}", file=sys.stderr)
    clock = Clock()
    periodic = Periodic(this_program(), clock.monotonic() + ASK_EVERY)  # a boot has other things to do at first
    watcher = Watcher(settings, periodic=periodic, clock=clock)
    notifier.say("READY=1", "STATUS=watching the goal state")
    try:
        watcher.watch(notifier)
    except _Leaving:
        notifier.say("STOPPING=1")
        return 0


def _say_when(file: str) -> None:
    """Write down that this process has begun; one that cannot is taken for the one before it."""
    fresh = f"{file}.new"
    try:
        os.makedirs(os.path.dirname(file), mode=0o755, exist_ok=True)
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
        with open(descriptor, "w", encoding="ascii") as stream:
            stream.write(f"{time.clock_gettime(time.CLOCK_BOOTTIME):.3f} {os.getpid()}\n")
        os.replace(fresh, file)
    except OSError as error:
        print(f"watcher: cannot write {file}: {error.strerror}", file=sys.stderr)


def _read_start(file: str) -> str:
    try:
        with open(file, encoding="ascii", errors="replace") as stream:
            return stream.read().strip()
    except OSError:
        return ""


class _Leaving(Exception):
    pass


def _leave(number: int, frame: FrameType | None) -> None:
    raise _Leaving


def _sleep(seconds: float, notifier: Notifier, clock: Clock) -> None:
    """Wait, but answer the watchdog in time."""
    step = notifier.watchdog / 2 if notifier.watchdog else seconds
    while seconds > 0:
        clock.sleep(min(seconds, step))
        seconds -= step
        if seconds > 0:
            notifier.say("WATCHDOG=1")
