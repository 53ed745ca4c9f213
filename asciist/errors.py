"""The errors of asciist.

::

    AsciistError
    ├── RejectedError              the caller's to mend; asking again changes nothing
    │   ├── BadRequestError        no image, no width, not JSON, not base64 ...
    │   ├── BadOptionError         a width or a style that there is not
    │   ├── TooManyBytesError      an upload over the byte limit
    │   ├── SlowUploadError        an upload that did not arrive in time
    │   ├── UnsupportedEncodingError   a compressed request body
    │   └── ImageRejectedError     the image; the only branch that crosses the queue, as a failure reply
    │       ├── UnknownFormatError     not one of the formats we read
    │       ├── DamagedImageError      its bytes cannot be decoded
    │       └── TooManyPixelsError     its header promises more than we decode
    ├── ArtifactNotFoundError      nothing is stored under that key
    ├── OverloadedError            no capacity now; asking again later helps
    ├── DeadlineExceededError      the art did not come in time
    ├── UnavailableError           a neighbour (store, queue) failed
    ├── ReplyAddressGoneError      nobody listens at a reply address any more
    ├── MalformedMessageError      a message that no release of ours wrote
    ├── ServiceError               a client's view: no answer of the service, or one that asking again later may mend
    └── SettingsError              the environment is wrong

Every error carries two texts: `public_message`, one sentence that a client may read, and `str(error)`, which is for the
log and may name keys and neighbours. The web tier alone knows which HTTP status belongs to which class.
"""


class AsciistError(Exception):
    """Base of all errors raised on purpose."""

    def __init__(self, public_message: str, *, detail: str = "") -> None:
        super().__init__(f"{public_message} ({detail})" if detail else public_message)
        self.public_message = public_message


class RejectedError(AsciistError):
    """The request cannot be served as it is, now or later."""


class BadRequestError(RejectedError):
    """The request lacks something or is not well formed."""


class BadOptionError(RejectedError):
    """An option has a value that there is not."""


class TooManyBytesError(RejectedError):
    """The upload is larger than the byte limit."""


class SlowUploadError(RejectedError):
    """The body did not arrive within the time given to an upload."""


class UnsupportedEncodingError(RejectedError):
    """The request body is compressed, which is not supported."""


class ImageRejectedError(RejectedError):
    """The image cannot be converted. A worker sends it as a failure reply; the requester raises it again."""


class UnknownFormatError(ImageRejectedError):
    """The bytes are of no format on the allow-list."""


class DamagedImageError(ImageRejectedError):
    """The bytes claim a format and do not keep to it."""


class TooManyPixelsError(ImageRejectedError):
    """The header promises more pixels than are decoded in that format."""


class ArtifactNotFoundError(AsciistError):
    """Nothing is stored under the key."""

    def __init__(self, key: str) -> None:
        super().__init__("nothing is stored here, or no longer: send the image", detail=key)


class OverloadedError(AsciistError):
    """No capacity is free now."""


class DeadlineExceededError(AsciistError):
    """The art was not there when the request's deadline passed."""


class UnavailableError(AsciistError):
    """A neighbour failed; the same call may succeed later."""

    def __init__(self, detail: str) -> None:
        super().__init__("the service is temporarily unavailable", detail=detail)


class ReplyAddressGoneError(AsciistError):
    """The process that asked for the reply is gone."""

    def __init__(self, reply_to: str) -> None:
        super().__init__("nobody waits for this reply", detail=reply_to)


class MalformedMessageError(AsciistError):
    """A message body that is not one of ours."""

    def __init__(self, detail: str) -> None:
        super().__init__("malformed message", detail=detail)


class ServiceError(AsciistError):
    """The service could not be reached, failed, or what answered is not the service. A client raises it."""


class SettingsError(AsciistError):
    """One or more settings are wrong; the message lists every one of them."""
