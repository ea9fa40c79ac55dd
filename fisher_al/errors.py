"""The one exception that stands for a mistake in the input rather than in the code."""


class UserError(Exception):
    """Wrong input, option or file: the message names it and the way out; scripts print it and exit with 2."""
