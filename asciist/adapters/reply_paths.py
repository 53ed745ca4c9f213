"""Replies by whichever path a request asks for."""

from asciist.protocol.messages import ConversionReply
from asciist.protocol.ports import ReplySender


class ReplyToAnyAddress:
    """ReplySender that sends a reply through a queue or as a callback, as its address says.

    So the web tier alone decides on the reply path, and while that is changed a worker answers old and new web processes.
    """

    def __init__(self, *, request_queue_url: str, queues: ReplySender, callbacks: ReplySender) -> None:
        """An address is the URL of a reply queue if it begins like that of the request queue, which is in the same account."""
        self._queues_begin = request_queue_url[: request_queue_url.rfind("/") + 1]
        self._queues = queues
        self._callbacks = callbacks
        self.max_reply_bytes = min(queues.max_reply_bytes, callbacks.max_reply_bytes)

    def send(self, reply_to: str, reply: ConversionReply) -> None:
        sender = self._queues if reply_to.startswith(self._queues_begin) else self._callbacks
        sender.send(reply_to, reply)
