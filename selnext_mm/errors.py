"""What reaches a user: the exception that is a message, and the exit statuses."""

# Exit statuses of the commands: 0 done, 2 a UserError, 130 Ctrl-C, and
STOPPED = 75  # EX_TEMPFAIL: told to stop (SIGTERM, SIGUSR1), state saved; start again with --resume


class UserError(Exception):
    """A mistake that the user can fix: the text names the value, the place and the remedy.

    Command-line entry points print it as one message and exit with status 2; ``--debug``
    shows the traceback.
    """

    def __init__(self, text: str = '') -> None:
        # torch's data loaders raise what a worker raised again, with the worker's whole traceback
        # as the text; the message is its end.
        text = str(text)
        if text.startswith('Caught UserError in '):
            text = text.rpartition('UserError: ')[2].strip()
        super().__init__(text)
