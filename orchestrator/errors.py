"""The one exception that the command line turns into a single line and exit code 2."""


class InputError(Exception):
    """The input or an argument is wrong.

    The message is one line for the user: it names the file, row or key at fault and the mend.
    """
