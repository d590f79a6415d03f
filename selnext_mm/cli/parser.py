"""The parser of every command's options."""

import argparse

from selnext_mm.text import did_you_mean


class Parser(argparse.ArgumentParser):
    """Names the option that was meant where one is unknown; takes no short forms of long options.

    A short form would change its meaning when another option is added.
    """

    def __init__(self, **kwargs) -> None:
        super().__init__(**{'allow_abbrev': False, **kwargs})

    def parse_args(self, args=None, namespace=None):
        found, left = self.parse_known_args(args, namespace)
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
        return found
