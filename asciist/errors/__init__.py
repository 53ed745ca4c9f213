"""The errors of asciist.

::

    AsciistError
    ├── RejectedError              Client error; retrying will not help.
    │   ├── BadRequestError        Malformed request: no image, no width, not JSON, not base64 ...
    │   ├── BadOptionError         An option is unknown or has an invalid value.
    │   ├── TooManyBytesError      The upload exceeds the byte limit.
    │   ├── SlowUploadError        The upload did not arrive in time.
    │   ├── UnsupportedEncodingError  The request body is compressed.
    │   └── ImageRejectedError     The image cannot be converted. A reply takes it to the web tier.
    │       ├── UnknownFormatError     The image format is not supported.
    │       ├── DamagedImageError      The image data cannot be decoded.
    │       └── TooManyPixelsError     The image has too many pixels, or would take too much memory.
    ├── ArtifactNotFoundError      The store has no object with that key.
    ├── UndrawableArtError         The art cannot be drawn as a picture of that form.
    ├── OverloadedError            No capacity at the moment; retrying later may help.
    ├── ReadOnlyError              The service is in read-only mode.
    ├── DeadlineExceededError      The art was not ready before the deadline.
    ├── UnavailableError           A dependency (store, queue) failed.
    │   └── AccessDeniedError      A dependency refuses the credentials of this process.
    ├── ReplyAddressGoneError      The process that requested the reply has stopped.
    ├── MalformedMessageError      The message body is invalid in every version that is read.
    ├── ServiceError               Raised by the client: the service is unreachable or failed.
    └── SettingsError              The environment holds invalid settings.

An error has two texts: `public_message`, a sentence for clients (see `asciist.errors.sentences`),
and `str(error)`, which is for the log and may contain keys and the names of dependencies.
`service.errors` maps the classes to HTTP statuses.
"""

from asciist.errors import sentences


class AsciistError(Exception):
    """Base class of every error that asciist raises on purpose."""

    def __init__(self, public_message: str, *, detail: str = "") -> None:
        """`detail` is for the log only."""
        super().__init__(f"{public_message} ({detail})" if detail else public_message)
        self.public_message = public_message


class RejectedError(AsciistError):
    """Client error; retrying will not help."""


class BadRequestError(RejectedError):
    """The request is malformed or incomplete."""


class BadOptionError(RejectedError):
    """An option is unknown or has an invalid value."""


class TooManyBytesError(RejectedError):
    """The upload exceeds the byte limit."""


class SlowUploadError(RejectedError):
    """The request body did not arrive in time."""


class UnsupportedEncodingError(RejectedError):
    """The request body is compressed, which is not supported."""


class ImageRejectedError(RejectedError):
    """The image cannot be converted. A worker sends the reason in a reply, and the Requester raises
    this error from it."""


class UnknownFormatError(ImageRejectedError):
    """The image format is not supported."""


class DamagedImageError(ImageRejectedError):
    """The image data is damaged and cannot be decoded."""


class TooManyPixelsError(ImageRejectedError):
    """The image has too many pixels, or its conversion would need too much memory."""


class ArtifactNotFoundError(AsciistError):
    """The store has no object with the key."""

    def __init__(self, key: str) -> None:
        super().__init__(sentences.IMAGE_NOT_FOUND, detail=key)


class UndrawableArtError(AsciistError):
    """The art cannot be rendered as an image: the font lacks one of its characters, or it is too
    large for an SVG."""


class OverloadedError(AsciistError):
    """No capacity is free at the moment."""

    def __init__(self) -> None:
        super().__init__(sentences.BUSY)


class ReadOnlyError(AsciistError):
    """The service is in read-only mode: it serves stored art, and writes nothing."""

    def __init__(self) -> None:
        super().__init__(sentences.READ_ONLY)


class DeadlineExceededError(AsciistError):
    """The art was not ready before the request's deadline."""

    def __init__(self) -> None:
        super().__init__(sentences.DEADLINE_EXCEEDED)


class UnavailableError(AsciistError):
    """A dependency failed; the same call may succeed later."""

    def __init__(self, detail: str) -> None:
        super().__init__(sentences.UNAVAILABLE, detail=detail)


class AccessDeniedError(UnavailableError):
    """A dependency refuses the credentials of this process. Retrying will not help."""


class ReplyAddressGoneError(AsciistError):
    """The process that requested the reply has stopped."""

    def __init__(self, reply_to: str) -> None:
        super().__init__("reply address gone", detail=reply_to)


class MalformedMessageError(AsciistError):
    """The message body is invalid in every supported version."""

    def __init__(self, detail: str) -> None:
        super().__init__("malformed message", detail=detail)


class ServiceError(AsciistError):
    """The service could not be reached or failed, or another server answered. Raised by the
    client."""

    def __init__(
        self, public_message: str, *, detail: str = "", retry_after_seconds: float | None = None
    ) -> None:
        """`retry_after_seconds` is the delay after which the service asks to retry; None if it does
        not."""
        super().__init__(public_message, detail=detail)
        self.retry_after_seconds = retry_after_seconds


class SettingsError(AsciistError):
    """One or more settings are invalid; the message lists all of them."""
