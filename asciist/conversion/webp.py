"""Pillow's WebP plugin, made to let go of libwebp as soon as the one frame that is wanted is out."""

from PIL.WebPImagePlugin import WebPImageFile


class OneFrameWebPFile(WebPImageFile):
    """libwebp's decoder keeps two canvases of four bytes a pixel; Pillow keeps the decoder for a next frame."""

    def _get_next(self) -> tuple[bytes, int, int]:
        frame = super()._get_next()
        self._decoder = None
        return frame
