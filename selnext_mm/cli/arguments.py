"""Arguments that several commands take."""

from mmengine.config import DictAction


class Options(DictAction):
    """``key=value ...``; a word without "=" is an error of the command line, not a traceback."""

    def __call__(self, parser, namespace, values, option_string=None):
        for value in values:
            key, equals, _ = value.partition('=')
            if not equals or not key:
                parser.error(f'argument {option_string}: {value!r}; expected key=value')
        try:
            super().__call__(parser, namespace, values, option_string)
        except (AssertionError, ValueError, IndexError) as error:
            parser.error(f'argument {option_string}: {" ".join(values)} cannot be read: {error}')
