"""From labels of any format to COCO files: decide classes, task and splits, then write."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

from selnext_mm.datasets.formats.faults import Faults
from selnext_mm.datasets.formats.geometry import TEXTS
from selnext_mm.datasets.formats.records import (
    BOXES,
    MASKS,
    SPLITS,
    Labels,
    Tally,
    preview,
)
from selnext_mm.datasets.formats.spool import Spool
from selnext_mm.datasets.formats.stratify import choose_validation, lines_on_split
from selnext_mm.datasets.formats.write import CocoWriter
from selnext_mm.errors import UserError
from selnext_mm.text import counted, near

MASK_SHARE = 0.99  # minimum share of objects with a mask for the task "masks"
LINES = {
    **TEXTS,
    'ignored': 'annotations marked "ignore", left out',
    'swapped corners': 'boxes with swapped corners, which were put in order',
    'learnt': 'WARNING: images to score on that are training images, too, so that the scores are '
    'better than the model; take them out of one split, or use --val 0.2',
    'odd mark': 'objects whose <difficult> is neither 0 nor 1, taken as not difficult',
    'image without label file': 'images without a label file, taken as images without objects',
    'label without image': 'label files that belong to no image, not read',
    'crowd habit': 'files that mark most objects as iscrowd, as some tools do for every mask, a '
    'mark that was not taken over',
}
Parts = dict[str, tuple[Labels, str]]  # split -> the labels and the name of the split in them


def _always(split: str) -> Callable[[str], str]:
    return lambda name: split


class Conversion:
    """One run of the conversion.

    Args:
        parts: at least ``train``.
        folder: an empty folder to write into.
        advance: called with (what, done now, total) as work goes on.
    """

    def __init__(
        self, parts: Parts, folder: Path, advance: Callable[[str, int, int], None]
    ) -> None:
        self.parts, self.folder, self.advance = parts, folder, advance
        self.tally = Tally()
        self.spool = Spool(folder, self.tally)
        self.choices: list[str] = []
        self.no_masks = ''

    def run(self, fraction: float | None, seed: int) -> dict:
        """Write the files; return their description for the manifest.

        Args:
            fraction: share of the training images to validate on, if ``parts`` has no ``val``.
            seed: of that choice.
        """
        self._read()
        classes, fields = self._classes()
        masks = self._task()
        outputs = self._outputs(fraction, seed)
        splits = self._write(classes, fields, masks, outputs)
        labels = self.parts['train'][0]
        for part in dict.fromkeys(labels for labels, _ in self.parts.values()):
            self.choices = [*part.choices, *self.choices]
        self.choices += self.tally.lines(LINES)
        return dict(
            format=labels.format,
            task=MASKS if masks else BOXES,
            no_masks=self.no_masks,
            classes=classes,
            splits=splits,
            choices=list(dict.fromkeys(self.choices)),
        )

    def _read(self) -> None:
        faults = Faults()
        for labels in dict.fromkeys(labels for labels, _ in self.parts.values()):

            def advance(done: int, total: int = len(labels.files())) -> None:
                self.advance('labels', done, total)

            labels.prepare(self.tally, advance)
            faults.take(labels.faults)
        for split in SPLITS:
            if split in self.parts:
                labels, source = self.parts[split]
                remember = split == 'train' and 'val' not in self.parts
                with labels.faults.collect():
                    self.spool.add(split, labels, source, self.advance, remember)
                faults.take(labels.faults)
        faults.stop()
        used = self.spool.used
        if not used['train']:
            raise UserError(
                f'no labels found: {self.spool.images["train"]} training images in '
                f'{self.spool.roots["train"]} have no object that can be learnt{self._reasons()}; '
                'label them, or name the folder or file that has their labels'
            )
        if 'val' in used and not used['val']:
            raise UserError(
                f'the val split is empty: {self.spool.images["val"]} images in '
                f'{self.spool.roots["val"]} have no object{self._reasons()}; label them, or use '
                'a part of the training images by --val 0.2'
            )
        if 'test' in used and not used['test']:
            self.choices.append(
                f'no test split: its {self.spool.images["test"]} images have no labels'
            )
            del self.parts['test'], used['test']

    def _reasons(self) -> str:
        lines = self.tally.lines(LINES)
        return f' ({"; ".join(lines)})' if lines else ''

    def _classes(self) -> tuple[list[str], list[dict]]:
        labels, source = self.parts['train']
        used = self.spool.used
        everywhere = sum(used.values(), Counter())
        listed = labels.class_names()
        if listed is None:
            names = sorted(used['train'])
        else:
            in_train = set(getattr(labels, 'listed', {}).get(source, listed))
            names = [n for n in listed if n in in_train]
        for split in ('val', 'test'):
            extra = sorted(set(used.get(split, ())) - set(names))
            if extra:
                found = near(extra[0], names, count=1)
                found = found or [n for n in names if n.casefold() == extra[0].casefold()]
                hint = f' (did you mean {found[0]!r}?)' if found else ''
                raise UserError(
                    f'the class names differ between the splits: {split} has '
                    f'{preview([repr(e) for e in extra])}{hint}, train has only {preview(names)}; '
                    'give every class one name, and training images'
                )
        parents = getattr(labels, 'parents', set())
        dropped = [n for n in names if n in parents and not everywhere[n]]
        if dropped:
            self.choices.append(f'left out: {preview(dropped)}, a parent category without a box')
        names = [n for n in names if n not in dropped]
        unused = [n for n in names if not everywhere[n]]
        if unused:
            self.choices.append(f'classes without an object: {preview(unused)}')
        if len(names) == 1:
            self.choices.append(f'one class only: {names[0]}')
        return names, [labels.class_fields(n) for n in names]

    def _task(self) -> bool:
        """Whether the labels are masks; if only some objects have one, this is reported."""
        masks, bare = self.spool.masks, self.spool.bare
        if not masks:
            return False
        total = masks + bare
        counts, examples = self.spool.without_mask.counts, self.spool.without_mask.examples
        number = counts['images']
        where = f'{counted(number, "image")} ({preview(examples.get("images", []), number)})'
        if not self.spool.real_masks:
            self.no_masks = 'every mask is just the four corners of its box'
        elif masks < MASK_SHARE * total:
            self.no_masks = (
                f'only {masks} of {total} objects have a mask; the others are in {where}: give '
                'them masks, or remove them'
            )
        if self.no_masks:
            self.choices.append(f'boxes: {self.no_masks}')
            return False
        if bare:
            self.choices.append(f'objects without a mask, left out: {bare} of {total}, in {where}')
        return True

    def _outputs(self, fraction: float | None, seed: int) -> dict[str, Callable[[str], str]]:
        """Split that was read -> function from an image's name to its output split."""
        outputs = {split: _always(split) for split in self.spool.used}
        if 'val' not in outputs:
            present = self.spool.present['train']
            chosen = choose_validation(present, fraction, seed)
            self.choices += lines_on_split(present, chosen, seed)
            outputs['train'] = lambda name: 'val' if name in chosen else 'train'
        return outputs

    def _write(self, classes, fields, masks, outputs) -> dict:
        """Write the COCO files; ids are consecutive over all splits."""
        splits, image_id, annotation_id = {}, 1, 1
        # A generated split continues the ids of the one before it, hence one pass for each.
        for split in SPLITS:
            source = split if split in outputs else 'train'
            if split == 'test' and 'test' not in outputs:
                continue
            path = self.folder / f'{split}.json'
            writer = CocoWriter(path, classes, fields, masks, image_id, annotation_id)

            def belongs(name: str, split: str = split, output=outputs[source]) -> bool:
                return output(name) == split

            for picture in self.spool.read(source, belongs):
                writer.add(picture)
            writer.finish()
            image_id, annotation_id = writer.image_id, writer.annotation_id
            splits[split] = dict(
                image_root=str(self.spool.roots[source]),
                annotations=path.name,
                images=writer.images,
                objects=writer.objects,
                bitmaps=writer.bitmaps,
                bytes=path.stat().st_size,
            )
        for split in self.spool.used:
            (self.folder / f'{split}.jsonl').unlink()
        if self.spool.crowds:
            self.choices.append(
                'objects marked as crowd or difficult, neither learnt nor counted as missed: '
                f'{self.spool.crowds}'
            )
        return splits
