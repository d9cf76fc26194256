"""The command line, `llmqueue`. Each command imports what it needs when it runs, so that help is immediate.

Whatever a user got wrong is told in one line on stderr, with exit status 2 and nothing on stdout.
"""

import contextlib
import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Sequence
from typing import Any

import click

from llmqueue_gym.cli.bench import bench
from llmqueue_gym.cli.catalogue import envs, policies, predictors, rules, systems, workloads
from llmqueue_gym.cli.compare import compare
from llmqueue_gym.cli.export import export
from llmqueue_gym.cli.leaderboard import leaderboard
from llmqueue_gym.cli.plan import plan
from llmqueue_gym.cli.profile import profile
from llmqueue_gym.cli.record import record
from llmqueue_gym.cli.simulate import simulate
from llmqueue_gym.cli.studies import reproduce
from llmqueue_gym.cli.theory import theory
from llmqueue_gym.errors import BadInput, nearest


class _Commands(click.Group):
    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        """Name the nearest command where there is no such one; click does so only in its newest versions."""
        if self.get_command(ctx, args[0]) is None and not args[0].startswith("-"):
            raise BadInput(f"unknown command {args[0]!r}; {nearest(args[0], self.commands)}")
        return super().resolve_command(ctx, args)


@click.group(cls=_Commands, invoke_without_command=True)
@click.version_option(package_name="llmqueue-gym", prog_name="llmqueue")
@click.pass_context
def cli(ctx: click.Context) -> None:
    """Scheduling with predictions: analyse, simulate and rank policies, from the M/G/1 queue to LLM serving."""
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


_LISTS = (systems, envs, policies, predictors, workloads, rules, profile)
_STUDIES = (theory, simulate, compare, plan, reproduce, bench, leaderboard, export, record)
for _command in (*_LISTS, *_STUDIES):
    cli.add_command(_command)


GRACE = 0.5  # s from an interrupt on, after which the process ends wherever it is
CALL = 5.0  # s of processor time that a call of a user's function may take; those that end take microseconds
LONGEST = 1000  # characters of an error


def main(args: Sequence[str] | None = None) -> None:
    """Run the command line and exit: 0 done, 2 wrong input, 130 interrupted."""
    given = sys.argv[1:] if args is None else args
    if args is None:
        _end_when_interrupted()
        _end_what_does_not_come_back()
    try:
        with warnings.catch_warnings(record=True) as doubts:
            _refuse_odd(given)
            status = cli.main(args, prog_name="llmqueue", standalone_mode=False) or 0
        told = dict.fromkeys(" ".join(str(doubt.message).split()) for doubt in doubts)
        if told:  # in one line, and of what went well alone
            click.echo(f"llmqueue: warning: {'; '.join(told)}"[:LONGEST], err=True)
        sys.exit(status)
    except click.Abort:
        sys.exit(130)
    except click.NoSuchOption as error:
        known = [name for option in error.ctx.command.params for name in option.opts] if error.ctx else []
        _fail(f"unknown option {error.option_name!r}; {nearest(error.option_name, [*known, '--help'])}")
    except click.ClickException as error:
        _fail(error.format_message())
    except BadInput as error:
        _fail(str(error))
    except MemoryError as error:
        _fail(f"not enough memory; choose fewer jobs ({error})")
    except OSError as error:
        _fail(f"{error.filename}: {error.strerror}" if error.filename else str(error))


def _end_when_interrupted() -> None:
    """Let an interrupt end the process soon even where it waits for compiled code, which hears of none."""
    heard, told = os.pipe()
    os.set_blocking(told, False)
    signal.set_wakeup_fd(told, warn_on_full_buffer=False)

    def wait() -> None:
        while os.read(heard, 1) != bytes([signal.SIGINT]):
            pass
        time.sleep(GRACE)
        os._exit(130)

    threading.Thread(target=wait, daemon=True).start()


def _end_what_does_not_come_back() -> None:
    """Let a user's compiled function that loops for ever be an error; compiled code can be stopped in no other way."""

    def look() -> None:
        seen, since = None, 0.0
        while not seen or time.process_time() < since + CALL:
            time.sleep(0.2)
            jit: Any = sys.modules.get("llmqueue_gym._jit")  # not imported for this
            call = getattr(jit, "running", lambda: None)()  # it may be half-imported
            if call != seen:
                seen, since = call, time.process_time()
        with contextlib.suppress(SystemExit):
            _fail(f"function {seen[0]!r} does not come back from a call within {CALL:g} s; look at its loops")
        os._exit(2)

    threading.Thread(target=look, daemon=True).start()


def _refuse_odd(args: Sequence[str]) -> None:
    """Refuse a value that is empty, such as that of a variable of the shell which is not set, or that is not text."""
    for before, text in zip(["", *args], args, strict=False):
        name, equals, value = text.partition("=")
        if not text.strip() or (name.startswith("--") and equals and not value.strip()):
            raise BadInput(f"{name.strip() or before or 'an argument'} is empty; give a value, or leave it out")
        if any(letter < " " or "\ud800" <= letter <= "\udfff" for letter in text):
            raise BadInput(f"{text!r} is not a line of text in UTF-8")


def _fail(message: str) -> None:
    line = " ".join(message.split())
    click.echo(f"llmqueue: error: {line if len(line) <= LONGEST else line[:LONGEST] + ' ...'}", err=True)
    sys.exit(2)
