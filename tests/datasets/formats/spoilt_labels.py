"""Label files of every format, spoilt at one place: a token of text, or a field of JSON."""

import json
import re

from hypothesis import strategies as st

from tests.engine.preflight.spoilt import places
from tests.engine.spoilt_annotations import VALUES, value_at

TOKENS = (
    *('', ' ', 'x', '-1', '0', '1', '2', '7', '0.5', '1.5', '-0.5', '1e9', '1e400', '12,5', '1_0'),
    *('nan', 'inf', '-inf', 'null', '~', 'true', 'yes', '[]', '{}', '[1, 2]', '{a: 1}', '猫', '\t'),
    *('\x00', '\u202e', '\ufeff', '\ud800', '..', '/', '../..', '/etc/passwd', 'a b', '"', "'"),
    *(
        '#',
        ':',
        '- ',
        '&a',
        '*a',
        '!!python/object:os.system',
        '%',
        '<',
        '>',
        '&amp;',
        '&x;',
        ']]>',
    ),
    *('cat', 'Cat', 'dog', '9' * 400, '٣', '0x1F', '1e-400', '99999999999'),
)
BYTES = ('truncated', 'flip', 'bom', 'utf-16', 'latin-1', 'nul', 'garbage', 'line', 'twice')
WORD = re.compile(r'[^\s<>/=,\[\]"]+')


@st.composite
def spoilt(draw, data: bytes, kind: str) -> bytes:
    """``data`` of a file that ends in ``kind``, changed at one place."""
    if draw(st.integers(0, 4)) == 0:
        return _bytes(draw, data)
    if kind == '.json':
        made = json.loads(data)
        every = list(places(made))
        path = draw(st.sampled_from(every))
        node = value_at(made, path[:-1])
        if draw(st.integers(0, 3)) == 0:
            del node[path[-1]]
        else:
            node[path[-1]] = draw(st.sampled_from(VALUES))
        return json.dumps(made).encode('utf-8', 'surrogatepass')
    text = data.decode()
    words = list(WORD.finditer(text))
    if not words:
        return _bytes(draw, data)
    word = draw(st.sampled_from(words))
    token = draw(st.sampled_from(TOKENS))
    return (text[: word.start()] + token + text[word.end() :]).encode('utf-8', 'surrogatepass')


def _bytes(draw, data: bytes) -> bytes:
    how = draw(st.sampled_from(BYTES))
    place = draw(st.integers(0, max(0, len(data) - 1)))
    if how == 'truncated':
        return data[:place]
    if how == 'flip':
        return data[:place] + bytes([draw(st.integers(0, 255))]) + data[place + 1 :]
    if how == 'bom':
        return b'\xef\xbb\xbf' + data
    if how in ('utf-16', 'latin-1'):
        return data.decode().replace('cat', 'cät').encode(how)
    if how == 'nul':
        return b'\x00' * len(data)
    if how == 'garbage':
        return data + draw(st.sampled_from((b'x', b'\n1', b'<a>', b'{}', b'\xff', b'\n- 1\n')))
    lines = data.splitlines(keepends=True) or [b'']
    number = draw(st.integers(0, len(lines) - 1))
    changed = [lines[number]] * 2 if how == 'twice' else []
    return b''.join([*lines[:number], *changed, *lines[number + 1 :]])
