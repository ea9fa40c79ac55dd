"""What tests of hostile input share."""

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st


def examples(number):
    """The same examples every time, in bounded time."""
    return settings(
        max_examples=number,
        derandomize=True,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


def require_one_line(outcome):
    assert outcome.code == 2, outcome.err
    assert outcome.err.startswith("error: ")
    assert outcome.err.count("\n") == 1, outcome.err


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
