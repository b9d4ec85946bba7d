"""What every trial of :mod:`benchmarks.reliability` shares: an outcome, and how an answer is
judged.
"""

from __future__ import annotations

import signal
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from scoehr.files import InputError

#: Processor seconds in which a small input is to be answered.
PATIENCE = 20


class Outcome(NamedTuple):
    """What was tried, and what is wrong with the answer ("" if nothing is)."""

    case: str
    fault: str


class TooLong(Exception):
    """No answer in time."""


@contextmanager
def in_time() -> Iterator[None]:
    """:class:`TooLong` in the main thread if the block takes more than :data:`PATIENCE`."""

    def stop(number: int, frame: Any) -> None:
        raise TooLong

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, PATIENCE)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def judged(
    case: str, work: Callable[[], Any], wrong: Callable[[Any], str], named: Path | None = None
) -> Outcome:
    """The outcome of a call on bad input.

    Refused in one line, that holds ``named`` where given,
    it passes; what is taken is for ``wrong`` to
    judge ("" if right).
    """
    try:
        with in_time(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = work()
    except InputError as error:
        return Outcome(case, sentence_fault(str(error), named))
    except FloatingPointError as error:  # what the shell also says in one line
        return Outcome(case, sentence_fault(str(error)))
    except TooLong:
        return Outcome(case, "no answer in time")
    except Exception as error:
        return Outcome(
            case, f"traceback: {type(error).__name__}: {' '.join(str(error).split())[:120]}"
        )
    return Outcome(case, wrong(found))


def sentence_fault(message: str, named: Path | None = None) -> str:
    """What is wrong with a message of a refusal ("" if nothing)."""
    if len(message.splitlines()) != 1 or not message.strip():
        return f"the message has {len(message.splitlines())} lines: {message[:120]!r}"
    if named is not None and str(named) not in message:
        return f"the message does not name {named.name}: {message[:160]!r}"
    return ""
