"""The one exception that reaches a user as a message instead of a traceback."""


class UserError(Exception):
    """A mistake that the user can mend: the text names the value, the place and the remedy.

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
