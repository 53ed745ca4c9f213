"""Sends each reply by the reply path of its request."""

from asciist.protocol.messages import ConversionReply
from asciist.protocol.ports import ReplySender


class ReplyToAnyAddress:
    """ReplySender that sends a reply through a queue or as a callback, depending on its address.

    The web tier alone thus decides on the reply path; while the path is being changed, a worker
    answers old and new web processes.
    """

    def __init__(
        self, *, request_queue_url: str, queues: ReplySender, callbacks: ReplySender
    ) -> None:
        """Recognize the URL of a reply queue by its prefix, which equals that of the request queue
        in the same account."""
        self._queues_begin = request_queue_url[: request_queue_url.rfind("/") + 1]
        self._queues = queues
        self._callbacks = callbacks
        self.max_reply_bytes = min(queues.max_reply_bytes, callbacks.max_reply_bytes)

    def send(self, reply_to: str, reply: ConversionReply) -> None:
        sender = self._queues if reply_to.startswith(self._queues_begin) else self._callbacks
        sender.send(reply_to, reply)
