"""Images that lie, end early or cost more than they seem to, each named for its flaw; made here, not stored."""

import struct
import zlib
from io import BytesIO

from PIL import Image


def encoded(image: Image.Image, image_format: str, **options: object) -> bytes:
    """The file that Pillow writes of `image`."""
    file = BytesIO()
    image.save(file, image_format, **options)
    return file.getvalue()


def gradient(width: int = 64, height: int = 48, mode: str = "RGB") -> Image.Image:
    """A smooth picture in which every brightness occurs."""
    return Image.linear_gradient("L").resize((width, height)).convert(mode)


def png_chunk(kind: bytes, content: bytes) -> bytes:
    """A PNG chunk with its length and checksum."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def with_png_chunks(*chunks: bytes) -> bytes:
    """A valid PNG with more chunks behind its header."""
    png = encoded(gradient(), "PNG")
    return png[:33] + b"".join(chunks) + png[33:]


def with_jpeg_segments(segments: bytes) -> bytes:
    """A valid JPEG with more segments behind its start."""
    jpeg = encoded(gradient(), "JPEG")
    return jpeg[:2] + segments + jpeg[2:]


def exif(orientation: int, order: str = "<") -> bytes:
    """The smallest EXIF block that holds an orientation."""
    mark = b"II" if order == "<" else b"MM"
    return mark + struct.pack(f"{order}HIHHHIHHI", 42, 8, 1, 0x0112, 3, 1, orientation, 0, 0)


def png_of_header(width: int, height: int, depth: int = 8, colour: int = 2) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + png_chunk(b"IDAT", zlib.compress(b"")) + png_chunk(b"IEND", b"")


def _scan_bomb(scans: int) -> bytes:
    jpeg = encoded(gradient(2000, 1500), "JPEG", progressive=True)
    last = jpeg.rindex(b"\xff\xda")
    return jpeg[:-2] + jpeg[last:-2] * scans + b"\xff\xd9"


def _gif_header_bytes(gif: bytes) -> int:
    return 13 + (3 << (gif[10] & 7) + 1)


def _gif_of_tiny_blocks(blocks: int) -> bytes:
    gif = encoded(gradient(mode="P"), "GIF")
    start = _gif_header_bytes(gif)
    return gif[:start] + b"\x21\xfe" + b"\x01x" * blocks + b"\0" + gif[start:]


def _gif_of_screen(width: int, height: int) -> bytes:
    """Its frame is small, and to be disposed of by clearing the whole screen."""
    gif = encoded(gradient(mode="P"), "GIF")
    start = _gif_header_bytes(gif)
    control = b"\x21\xf9\x04\x08\0\0\0\0"
    return gif[:6] + struct.pack("<HH", width, height) + gif[10:start] + control + gif[start:]


def _gif_of_frame_at(left: int, top: int) -> bytes:
    gif = encoded(gradient(mode="P"), "GIF")
    frame = gif.index(b",", _gif_header_bytes(gif))
    return gif[: frame + 1] + struct.pack("<HH", left, top) + gif[frame + 5 :]


def _rle_bmp(width: int, height: int, body: bytes) -> bytes:
    palette = bytes(4 * 256)
    offset = 14 + 40 + len(palette)
    info = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 1, len(body), 0, 0, 256, 0)
    return b"BM" + struct.pack("<IHHI", offset + len(body), 0, 0, offset) + info + palette + body


def refused() -> dict[str, bytes]:
    """Files that must be refused with a RejectedError."""
    jpeg, png = encoded(gradient(), "JPEG"), encoded(gradient(), "PNG")
    gif, webp, bmp = encoded(gradient(mode="P"), "GIF"), encoded(gradient(), "WEBP"), encoded(gradient(), "BMP")
    cases = {
        "one byte": b"\xff",
        "text": b"not an image at all",
        "zeros": bytes(4096),
        "svg": b'<svg xmlns="http://www.w3.org/2000/svg"/>',
        "eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 100 100\n",
        "tiff": encoded(gradient(), "TIFF"),
        "ico": encoded(gradient(64, 64), "ICO"),
        "ppm": encoded(gradient(), "PPM"),
        "html behind a JPEG signature": b"\xff\xd8\xff<html>" + b"x" * 500,
        "PNG of 169 megapixels": png_of_header(13_000, 13_000),
        "PNG of the largest size there is": png_of_header(2**31 - 1, 2**31 - 1),
        "PNG of no width": png_of_header(0, 100),
        "PNG of a colour type that there is not": png_of_header(10, 10, colour=5),
        "PNG without pixels": png_of_header(100, 100),
        "PNG with a wrong checksum": png[:29] + b"\0\0\0\0" + png[33:],
        "PNG of 700 thousand empty chunks": with_png_chunks(png_chunk(b"teXt", b"") * 700_000),
        "JPEG of two million empty segments": with_jpeg_segments(b"\xff\xfe\x00\x02" * 2_000_000),
        "JPEG of fill bytes alone": b"\xff\xd8" + b"\xff" * 9_000_000,
        "JPEG whose segment is longer than the file": jpeg[:2] + b"\xff\xe1\xff\xff" + jpeg[2:600],
        "JPEG without a scan": jpeg[: jpeg.index(b"\xff\xda")],
        "JPEG of a marker and nothing": b"\xff\xd8\xff\xd9",
        "GIF of 4 million one-byte comments": _gif_of_tiny_blocks(4_000_000),
        "GIF of a trailer and nothing": gif[: _gif_header_bytes(gif)] + b";",
        "GIF of a screen of 4 gigapixels": _gif_of_screen(65_535, 65_535),
        "GIF of a frame past 8 gigapixels": _gif_of_frame_at(65_000, 65_535),
        "GIF signature alone": b"GIF89a",
        "WebP signature alone": b"RIFF\x04\0\0\0WEBP",
        "BMP signature alone": b"BM",
        "BMP of a negative size": bmp[:18] + struct.pack("<ii", -5, 0) + bmp[26:],
        "BMP of 5 million runs of nothing": _rle_bmp(900, 900, b"\0\0" * 4_900_000 + b"\0\1"),
        "BMP of one row of 49 megapixels in RLE": _rle_bmp(49_000_000, 1, b"\1\1\0\0\0\1"),
        "BMP of 100 megapixels in RLE": _rle_bmp(10_000, 10_000, b"\xff\x01" * 1000 + b"\0\x01"),
    }
    for name, image in (("JPEG", jpeg), ("PNG", png), ("GIF", gif), ("WebP", webp), ("BMP", bmp)):
        cases |= {f"{name} cut at {part}": image[: int(len(image) * part)] for part in (0.05, 0.3, 0.6, 0.8)}
    return cases


def converted() -> dict[str, bytes]:
    """Files that look dangerous and must be converted all the same, at little cost."""
    bomb = zlib.compress(bytes(64_000_000), 9)
    jpeg = encoded(gradient(), "JPEG")
    return {
        "PNG with a text chunk of 64 MB": with_png_chunks(png_chunk(b"zTXt", b"x\0\0" + bomb)),
        "PNG with a colour profile of 64 MB": with_png_chunks(png_chunk(b"iCCP", b"x\0\0" + bomb)),
        "PNG with broken EXIF": with_png_chunks(png_chunk(b"eXIf", b"II*\0\xff\xff\xff\xff")),
        "PNG with words behind its end": encoded(gradient(), "PNG") + b"trailing" * 1000,
        "JPEG of 300 scans": _scan_bomb(300),
        "JPEG with broken EXIF": with_jpeg_segments(b"\xff\xe1\x00\x10Exif\0\0II*\0\x08\0\0\0"),
        "JPEG with stray bytes between segments": jpeg[:20] + b"stray" + jpeg[20:],
        "JPEG with a second image behind its end": jpeg + jpeg,
        "JPEG that begins another file": jpeg + b"PK\x03\x04" * 1000,
        "GIF with frames that are never read": encoded(
            gradient(mode="P"), "GIF", save_all=True, append_images=[gradient(mode="P").rotate(n) for n in range(1, 60)]
        ),
        "animated WebP": encoded(gradient(), "WEBP", save_all=True, append_images=[gradient().rotate(90), gradient()]),
        "animated PNG": encoded(gradient(), "PNG", save_all=True, append_images=[gradient().rotate(90), gradient()]),
    }
