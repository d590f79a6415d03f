"""Which files are images: one list for every command and data set."""

from pathlib import Path

IMAGE_SUFFIXES = (
    *('.jpg', '.jpeg', '.jfif', '.png', '.bmp', '.webp', '.tif', '.tiff', '.gif', '.ppm', '.pgm'),
)


def is_image(path: Path) -> bool:
    """Whether the name of ``path`` is that of an image; hidden files are none."""
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith('.')
