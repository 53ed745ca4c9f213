"""Art as one text, in which it is stored and sent.

Still art without colours is its characters. Any other begins with a character that art never
contains. Of an animation, each frame has the rows that differ from the frame before::

    U+001C <version> <layers> [<plays> <frames that are shown> <frames of the image>]
    <milliseconds> <rows of the frame> [<first>-<last> ...]
    <the characters of these rows, from 0, each row on a line>
    <the colours of these rows in base64, on one line, unless there are 0 layers>
    <milliseconds> <rows of the frame> [<first>-<last> ...]
    ...

0 plays are endless.
"""

import binascii
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Final

from asciist.art import RGB_BYTES, Art, Frame, Movement, still

VERSION: Final = 2
"""Version of this format. Increment it if the text of any art changes: stored art of another
version is treated as absent."""

_MARK: Final = "\x1c"

_HEAD: Final = re.compile(
    rf"{_MARK}{VERSION} ([012])(?: (\d{{1,9}}) (\d{{1,9}}) (\d{{1,9}}))?", re.ASCII
)
_FRAME: Final = re.compile(r"(\d{1,9}) (\d{1,9})((?: \d{1,9}-\d{1,9})*)", re.ASCII)


def encode(art: Art) -> str:
    """Return art as text."""
    first, movement = art.frames[0], art.movement
    if movement is None and not first.colours:
        return first.text
    numbers = [
        first.layers,
        *([movement.plays, movement.shown_frames, movement.image_frames] if movement else []),
    ]
    lines = [f"{_MARK}{VERSION} {' '.join(map(str, numbers))}"]
    before: list[tuple[str, bytes]] = []
    for frame in art.frames:
        rows = rows_of(frame)
        changed = _ranges(
            number for number, row in enumerate(rows) if before[number : number + 1] != [row]
        )
        places = "".join(f" {first}-{last}" for first, last in changed)
        lines.append(f"{frame.milliseconds} {len(rows)}{places}")
        new = [row for first, last in changed for row in rows[first : last + 1]]
        lines += [text for text, _ in new]
        if first.colours:
            lines.append(binascii.b2a_base64(b"".join(c for _, c in new), newline=False).decode())
        before = rows
    return "\n".join(lines)


def decode(text: str, *, is_light: bool, max_frames: int | None = None) -> Art:
    """Return the art that a text encodes, with at most its first `max_frames`. Raises ValueError if
    what is read is malformed or of another version."""
    if not text.startswith(_MARK):
        return still(text, is_light=is_light)
    lines = _lines(text)
    match = _HEAD.fullmatch(next(lines))
    if match is None:
        raise ValueError("not art of this version")
    layers, *numbers = match.groups()
    frames = tuple(islice(_frames(lines, int(layers)), max_frames))
    if not frames or (numbers[0] is None and len(frames) != 1):
        raise ValueError("an animation without frames, or a still image with several")
    movement = None
    if numbers[0] is not None:
        plays, shown_frames, image_frames = map(int, numbers)
        movement = Movement(plays=plays, shown_frames=shown_frames, image_frames=image_frames)
    return Art(frames=frames, is_light=is_light, movement=movement)


def rows_of(frame: Frame) -> list[tuple[str, bytes]]:
    """Return the characters and the colours of each row of a frame."""
    texts = frame.text.split("\n")
    row_bytes = len(frame.colours) // len(texts)
    return [
        (text, frame.colours[number * row_bytes : (number + 1) * row_bytes])
        for number, text in enumerate(texts)
    ]


def _lines(text: str) -> Iterator[str]:
    """Yield the lines of a text that may be large, without splitting all of it first."""
    start = 0
    while (end := text.find("\n", start)) >= 0:
        yield text[start:end]
        start = end + 1
    yield text[start:]


def _frames(lines: Iterator[str], layers: int) -> Iterator[Frame]:
    texts: list[str] = []
    colours: list[bytes] = []
    for head in lines:
        match = _FRAME.fullmatch(head)
        if match is None:
            raise ValueError("a malformed frame")
        rows = int(match[2])
        del texts[rows:], colours[rows:]
        changed = [(int(first), int(last)) for first, last in re.findall(r"(\d+)-(\d+)", match[3])]
        for first, last in changed:
            if not first <= last < rows or first > len(texts):
                raise ValueError("a frame changes rows that it lacks")
            new = list(islice(lines, last - first + 1))
            if len(new) <= last - first:
                raise ValueError("a frame is truncated")
            texts[first : last + 1] = new
        if len(texts) != rows or not texts or len(set(map(len, texts))) > 1:
            raise ValueError("a frame lacks rows, or some are longer than others")
        if layers:
            _read_colours(next(lines, ""), changed, colours, layers * RGB_BYTES * len(texts[0]))
        yield Frame(text="\n".join(texts), colours=b"".join(colours), milliseconds=int(match[1]))


def _read_colours(
    line: str, changed: Sequence[tuple[int, int]], colours: list[bytes], row_bytes: int
) -> None:
    """Replace the colours of changed rows with those of a line. Raises ValueError."""
    read = binascii.a2b_base64(line, strict_mode=True) if line else b""
    if len(read) != row_bytes * sum(last - first + 1 for first, last in changed):
        raise ValueError("a frame has the colours of other cells")
    start = 0
    for first, last in changed:
        for number in range(first, last + 1):
            colours[number : number + 1] = [read[start : start + row_bytes]]
            start += row_bytes


def _ranges(numbers: Iterable[int]) -> list[tuple[int, int]]:
    """Return (first, last) of each run of consecutive numbers. `numbers` are in order."""
    ranges: list[tuple[int, int]] = []
    for number in numbers:
        if ranges and ranges[-1][1] == number - 1:
            ranges[-1] = (ranges[-1][0], number)
        else:
            ranges.append((number, number))
    return ranges
