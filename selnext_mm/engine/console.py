"""What a run does not print, though its log file has it."""

import logging
import re
import time

from mmengine.logging import MMLogger

# Beginnings of lines that tell a user nothing, or what other lines of ours tell.
NOTICES = (
    '"FileClient" will be deprecated',
    '"HardDiskBackend" is the alias',
    'Distributed training is not used, all SyncBatchNorm',
    'Exp name: ',
    'Hooks will be executed in the following order',  # they are in environment.txt
    'The previous best checkpoint ',
)
# The AP of a validation once more, for a spreadsheet: of interest after a test.
IN_TRAINING = ('bbox_mAP_copypaste: ', 'segm_mAP_copypaste: ')
PROGRESS = re.compile(r'(Epoch|Iter)\((val|test)\).* eta: ')
QUIET_SECONDS = 10  # after another line, before one of these


class ConsoleFilter(logging.Filter):
    """Drops notices of mmengine and mmdet, and progress of an evaluation that is soon done.

    Attributes:
        training: whether to drop, too, what is of interest after a test only.
    """

    training = False

    def __init__(self) -> None:
        super().__init__()
        self._printed = time.monotonic()

    def filter(self, record: logging.LogRecord) -> bool:
        text, now = str(record.msg), time.monotonic()
        if text.startswith(NOTICES + IN_TRAINING if self.training else NOTICES):
            return False
        if PROGRESS.match(text) and now - self._printed < QUIET_SECONDS:
            return False
        self._printed = now
        return True


def filter_console(logger: MMLogger) -> ConsoleFilter:
    """Put a :class:`ConsoleFilter` before what ``logger`` prints; its file keeps every line."""
    found = ConsoleFilter()
    for handler in logger.handlers:
        if type(handler) is logging.StreamHandler:
            handler.addFilter(found)
    return found
