"""The class to explain: from the user's text to its index, and from an index to its name."""

from torch import nn

from selnext_mm.errors import UserError
from selnext_mm.text import counted, near


def class_name(model: nn.Module, index: int) -> str:
    """Name of a class in ``model.dataset_meta``, or ``class 17`` where it has none."""
    names = (getattr(model, 'dataset_meta', None) or {}).get('classes') or ()
    return str(names[index]) if index < len(names) else f'class {index}'


def find_class(model: nn.Module, text: str) -> int:
    """Index of a class given as an index, a name or one of the synonyms of a name.

    Raises:
        UserError: if the model's names are unknown or lack this one.
    """
    if text.isdecimal():
        return int(text)
    names = (getattr(model, 'dataset_meta', None) or {}).get('classes') or ()
    if not names:
        raise UserError(
            f'--target-class {text}: neither the checkpoint nor the config names the classes; '
            'give an index'
        )
    wanted = text.strip().lower()
    for index, name in enumerate(names):
        name = str(name).lower()
        if wanted in (name, *(part.strip() for part in name.split(','))):
            return index
    likely = near(text, map(str, names), 3, 0.4)
    hint = f'did you mean {", ".join(likely)}?' if likely else f'such as {", ".join(names[:3])}'
    raise UserError(f'--target-class {text}: not among the {counted(len(names), "class")}; {hint}')
