"""The one exception that reaches a user as a message instead of a traceback."""


class UserError(Exception):
    """A mistake that the user can mend: the text names the value, the place and the remedy.

    Command-line entry points print it as one message and exit with status 2; ``--debug``
    shows the traceback.
    """
