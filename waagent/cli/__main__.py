"""waagent: find the verb's file and hand over.

Imports nothing before it knows the verb, because most starts of this program are the stages of a boot.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

HERE = os.path.dirname(os.path.abspath(__file__))
NOT_VERBS = (
    "__init__", "__main__", "boot_plot", "catalogue", "extension_run", "extension_view", "hook_text",
    "legacy", "old_commands", "text", "validate_hook",
)  # fmt: skip
# Verbs that are words of the old command line as well: what stands behind them decides.
OLD_TOO = ("collect-logs", "daemon", "deprovision", "version")


def verbs() -> list[str]:
    """The verbs there are: the files of this directory, with "-" for "_"."""
    names = (name[:-3] for name in os.listdir(HERE) if name.endswith(".py"))
    return sorted(name.replace("_", "-") for name in names if name not in NOT_VERBS)


def main(argv: list[str] | None = None, *, old: bool = True) -> int:
    """old: words of the old command line are understood."""
    arguments = sys.argv[1:] if argv is None else argv
    verb = arguments[0] if arguments else ""
    if verb == "watch":  # the one process that stays: it must not load what the others need
        from waagent.watcher.main import main as watch

        return watch(arguments[1:])
    if verb == "help" and len(arguments) == 2 and arguments[1] in (*verbs(), "watch"):
        return main([arguments[1], "--help"])
    if verb in verbs() and not (old and verb in OLD_TOO and _is_old(arguments)):
        return _run(verb, arguments[1:])
    from waagent.cli import legacy

    return legacy.main(arguments, verbs())


def _is_old(arguments: list[str]) -> bool:
    from waagent.cli import legacy

    return legacy.is_old(arguments)


def _run(verb: str, arguments: list[str]) -> int:
    import argparse
    import importlib

    from waagent.errors import WaagentError
    from waagent.system import System

    file = importlib.import_module(f"waagent.cli.{verb.replace('-', '_')}")
    form = argparse.RawTextHelpFormatter
    parser = _Parser(prog=f"waagent {verb}", description=file.__doc__, formatter_class=form)
    parser.add_argument("--root", metavar="DIR", default="/", help="act on the machine in DIR, not on this one")
    file.arguments(parser)
    args = parser.parse_intermixed_args(arguments)  # an option may stand before the argument that it is about
    if not os.path.isdir(args.root):
        return _fail(f"waagent {verb}: --root {args.root}: no such directory")
    try:
        status = int(file.main(args, System(args.root)))
        sys.stdout.flush()  # here, where a reader that went away (a pipe to head) is expected
        return status
    except WaagentError as error:
        return _fail(f"waagent {verb}: {error.message}")
    except ModuleNotFoundError as error:
        if not error.name or error.name.startswith("waagent"):
            raise
        told = f"the Python module {error.name} is not installed; look for python3-{error.name} among the packages"
        return _fail(f"waagent {verb}: {told}")
    except PermissionError as error:
        return _fail(f"waagent {verb}: {error.filename}: {error.strerror}; try it as root")
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 141
    except KeyboardInterrupt:
        return 130


def _fail(message: str) -> int:
    print(message, file=sys.stderr)
    return 1


def _Parser(**words: object) -> argparse.ArgumentParser:
    """A parser that answers a wrong argument with one line, not with the whole usage."""
    import argparse

    class Parser(argparse.ArgumentParser):
        def error(self, message: str) -> NoReturn:
            self.exit(2, f"{self.prog}: {message}; see {self.prog} --help\n")

    return Parser(**words)  # type: ignore[arg-type]


if TYPE_CHECKING:
    import argparse

if __name__ == "__main__":
    sys.exit(main())
