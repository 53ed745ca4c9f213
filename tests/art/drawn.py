"""Art drawn at random."""

from itertools import repeat

from hypothesis import strategies as st

from asciist.art import RGB_BYTES, Art, Frame, Movement

COLOURS = st.sampled_from([bytes(3), b"\xff\xff\xff", b"\x07\x50\xc8", b"\x07\x50\xc9"])


@st.composite
def animations(
    draw: st.DrawFn, *, columns: int = 5, rows: int = 3, characters: str = "ab ▚"
) -> Art:
    """Animations of one to five frames, in each of which at most three cells change, with no, one
    or two colours."""
    layers = draw(st.integers(0, 2))
    cell = st.tuples(
        st.sampled_from(characters), st.lists(COLOURS, min_size=layers, max_size=layers)
    )
    cells = draw(st.lists(cell, min_size=rows * columns, max_size=rows * columns))
    frames = []
    for _ in range(draw(st.integers(1, 5))):
        places = st.integers(0, rows * columns - 1)
        for place, new in draw(st.dictionaries(places, cell, max_size=3)).items():
            cells[place] = new
        lines = [cells[start : start + columns] for start in range(0, len(cells), columns)]
        frames.append(
            Frame(
                text="\n".join("".join(character for character, _ in line) for line in lines),
                colours=b"".join(
                    colours[layer]
                    for line in lines
                    for layer in range(layers)
                    for _, colours in line
                ),
                milliseconds=draw(st.integers(11, 2000)),
            )
        )
    return Art(
        frames=frames,
        is_light=draw(st.booleans()),
        movement=Movement(
            plays=draw(st.integers(0, 3)), shown_frames=len(frames), image_frames=len(frames)
        ),
    )


def animation(*frames: tuple[str, int], plays: int = 0, is_light: bool = False) -> Art:
    """Return an animation without colours, of texts and their milliseconds."""
    return Art(
        frames=[Frame(text=text, milliseconds=milliseconds) for text, milliseconds in frames],
        is_light=is_light,
        movement=Movement(plays=plays, shown_frames=len(frames), image_frames=len(frames)),
    )


def rgb(*colours: str, columns: int) -> bytes:
    """Return the colours of rows of cells: `columns` times each of `colours`, in hexadecimal."""
    cells = b"".join(bytes.fromhex(colour) for each in colours for colour in repeat(each, columns))
    assert len(cells) == RGB_BYTES * columns * len(colours)
    return cells
