"""The parser of every command's options."""

import argparse
import os
from pathlib import Path

from selnext_mm.text import did_you_mean

# Words in the placeholders of options that name files.
OF_FILES = ('DIR', 'FILE', 'JSON', 'PNG', 'PATH', 'OUT', 'RESULTS')


def names_files(action: argparse.Action) -> bool:
    """Whether the values of ``action`` are names, usually of files, and not free text."""
    place = str(action.metavar)
    return (
        not action.option_strings
        or action.type is Path
        or action.dest == 'out'
        or any(word in place for word in OF_FILES)
    )


class Parser(argparse.ArgumentParser):
    """Suggests the closest option for an unknown one, and expands ``~`` in every value.

    Abbreviations of long options are not accepted: new options would change their meaning.

    Args:
        intermixed: options may stand between positional arguments.
        kwargs: of ``argparse.ArgumentParser``.
    """

    def __init__(self, intermixed: bool = False, **kwargs) -> None:
        super().__init__(**{'allow_abbrev': False, **kwargs})
        self.intermixed = intermixed

    def _get_values(self, action, arg_strings):
        # It would mean the folder in which the command is called.
        if '' in arg_strings and names_files(action):
            name = '/'.join(action.option_strings) or str(action.metavar or action.dest)
            self.error(f"{name} '': an empty name; is a variable of the shell not set?")
        return super()._get_values(action, arg_strings)

    def parse_args(self, args=None, namespace=None):
        parse = self.parse_known_intermixed_args if self.intermixed else self.parse_known_args
        found, left = parse(args, namespace)
        if left:
            options = [
                option
                for action in self._actions
                if action.help != argparse.SUPPRESS
                for option in action.option_strings
            ]
            wrong = next((word for word in left if word.startswith('-')), '').partition('=')[0]
            hint = did_you_mean(wrong, options) if wrong else ''
            self.error(f'unrecognized arguments: {" ".join(left)}{hint}')
        for name, value in vars(found).items():
            setattr(found, name, at_home(value))
        return found


def at_home(value):
    """``value`` with ``~`` expanded if a string or path starts with it, also inside lists.

    The shell does so only at the start of a word, not in ``--out=~/runs``.
    """
    if isinstance(value, list):
        return [at_home(item) for item in value]
    if isinstance(value, Path):
        return value.expanduser()
    return os.path.expanduser(value) if isinstance(value, str) else value
