"""Which torchvision belongs to which torch. Nothing but the standard library is imported here."""

import importlib.metadata
import operator
import re

from selnext_mm.doctor.remedies import version_key

LAST_PAIRED = 14  # torchvision 0.(N + 15) is made for torch 2.N up to here
COMPARE = {
    '==': operator.eq,
    '!=': operator.ne,
    '>=': operator.ge,
    '<=': operator.le,
    '>': operator.gt,
    '<': operator.lt,
}


def asked_of_torch(version: str) -> str:
    """The torch version that torchvision's metadata requires, e.g. ``==2.13.0``; '' if unknown.

    It is also unknown if the metadata belongs to another version than ``version``. Later releases
    require a range: 0.29.2 needs ``>=2.14.0``.
    """
    try:
        if importlib.metadata.version('torchvision').split('+')[0] != version.split('+')[0]:
            return ''
        lines = importlib.metadata.requires('torchvision') or []
    except importlib.metadata.PackageNotFoundError:
        return ''
    pattern = re.compile(r'torch\s*\(?([=<>!][^;()]*)\)?\s*(;.*)?')
    return next((found[1].strip() for line in lines if (found := pattern.fullmatch(line))), '')


def satisfies(version: str, asked: str) -> bool:
    """Whether a version meets ``asked``, e.g. ``>=2.14.0,<3``; False if that cannot be parsed."""
    for part in asked.split(','):
        found = re.fullmatch(r'\s*(==|!=|>=|<=|<|>)\s*([\w.]+)\s*', part)
        if not found or not COMPARE[found[1]](version_key(version), version_key(found[2])):
            return False
    return True


def release_for(torch: str) -> str:
    """The torchvision releases for a torch, e.g. ``0.28.*``; '' where the rule no longer holds."""
    minor = int(re.match(r'2\.(\d+)', torch)[1])
    return f'0.{minor + 15}.*' if minor <= LAST_PAIRED else ''


def fits(torchvision: str, torch: str) -> bool:
    """Whether torchvision is made for this torch (2.N): by its metadata, else by the rule."""
    if asked := asked_of_torch(torchvision):
        return satisfies(torch, asked)
    release = release_for(torch)
    return bool(release) and torchvision.startswith(release.rstrip('*'))
