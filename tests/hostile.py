"""What tests of hostile input share: how many examples there are, and what comes of each.

`make hostile` sets HOSTILE, by how much to multiply the examples and the seed that new ones are drawn from,
and HOSTILE_COUNTS, the JSON file in which it finds what came of them.
"""

import atexit
import functools
import json
import os
import signal
from pathlib import Path

from conftest import require_one_line, snapshot
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.errors import StopTest, UnsatisfiedAssumption

from fisher_al.method.registry import METHODS

TIMES, _, SEED = os.environ.get("HOSTILE", "1 0").partition(" ")
COUNTS = os.environ.get("HOSTILE_COUNTS")

# Seconds that one example may take.
LIMIT = 60

counts: dict[str, dict[str, int]] = {}


class HangError(BaseException):
    """An example takes too long; no Exception, so that nothing that is tested handles it."""


class ChangedError(AssertionError):
    """A file is not as it was."""


def examples(number, kind):
    """So many examples of this kind of input, in bounded time: the same every time, or those of a seed."""

    def decorate(test):
        test.hypothesis.inner_test = _counted(test.hypothesis.inner_test, kind)
        profile = settings(
            max_examples=number * int(TIMES),
            derandomize=COUNTS is None,
            deadline=None,
            database=None,
            phases=list(Phase) if COUNTS is None else [Phase.generate],  # each example once, to be counted
            suppress_health_check=list(HealthCheck),
        )
        return profile(test if COUNTS is None else seed(int(SEED))(test))

    return decorate


def _counted(test, kind):
    row = counts.setdefault(kind, dict.fromkeys(("tried", "survived", "tracebacks", "hangs", "changed"), 0))

    @functools.wraps(test)
    def limited(*arguments, **options):
        signal.signal(signal.SIGALRM, _hang)
        signal.alarm(LIMIT)
        came = "survived"
        try:
            test(*arguments, **options)
        except (UnsatisfiedAssumption, StopTest):  # no example of this kind
            came = None
            raise
        except BaseException as error:
            came = {HangError: "hangs", ChangedError: "changed"}.get(type(error), "tracebacks")
            raise
        finally:
            signal.alarm(0)
            if came:
                row["tried"] += 1
                row[came] += 1

    return limited


def _hang(*_):
    raise HangError


@atexit.register
def _write_counts():
    if COUNTS:
        Path(COUNTS).write_text(json.dumps(counts))


def require_unchanged(folder, before):
    """Assert that every file under the folder is as `snapshot` found it."""
    if snapshot(folder) != before:
        raise ChangedError(sorted(path for path, _ in snapshot(folder).items() ^ before.items()))


def require_line_or_result(outcome):
    """Assert that a script did its work, or refused with one line."""
    if outcome.code != 0:
        require_one_line(outcome)


def mutated(content: bytes, draw) -> bytes:
    """The content with something cut, flipped, inserted or put in its place."""
    position = draw(st.integers(0, len(content) - 1))
    return draw(
        st.sampled_from(
            [
                content[:position],
                content[:position]
                + bytes([content[position] ^ draw(st.integers(1, 255))])
                + content[position + 1 :],
                content[:position] + draw(st.binary(min_size=1, max_size=9)) + content[position:],
                content[:position] + content[position + draw(st.integers(1, 99)) :],
                draw(st.binary(max_size=99)),
            ]
        )
    )


numbers = st.one_of(st.integers(), st.integers(0, 20), st.floats()).map(str)
words = st.one_of(
    numbers, st.text(max_size=8).filter(lambda text: "\0" not in text), st.sampled_from(sorted(METHODS))
)


def given_options(*flags):
    """Command lines of up to three of the options, each with up to two words behind it."""
    pairs = st.lists(st.tuples(st.sampled_from(flags), st.lists(words, max_size=2)), max_size=3)
    return pairs.map(lambda chosen: [word for flag, values in chosen for word in (flag, *values)])
