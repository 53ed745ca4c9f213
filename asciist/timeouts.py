"""Durations that depend on each other, and follow from the request timeout."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Timeouts:
    """Interdependent durations in seconds, derived from the request timeout, and the maximum
    receive count."""

    request: int = 10
    """Maximum seconds from a complete upload to its answer; determines the deadline in the
    message."""

    @property
    def worker(self) -> int:
        """Maximum seconds that a worker spends on one message: at most 10, and never more than the
        request timeout.

        An answer after the deadline would be useless.
        """
        return min(self.request, 10)

    @property
    def visibility(self) -> int:
        """Visibility timeout of the request queue, in seconds.

        AWS recommends six times the function's timeout, so that a throttled invocation does not
        expose its message to a second worker.
        """
        return 6 * self.worker

    @property
    def max_receive_count(self) -> int:
        """Deliveries before a message becomes a dead letter. With their backoff, they fit into the
        default request timeout."""
        return 5

    @property
    def upload(self) -> int:
        """Maximum seconds for a request body to arrive: by default 60, enough for 10 MB over a 1.4
        Mbit/s uplink."""
        return 6 * self.request

    @property
    def upload_idle(self) -> int:
        """Maximum seconds without a byte of a request body: the client has disconnected, or its
        Content-Length is wrong."""
        return self.request

    @property
    def gunicorn(self) -> int:
        """Seconds without a heartbeat after which gunicorn replaces a web process; longer than any
        request waits."""
        return self.request + 5

    @property
    def load_balancer_idle(self) -> int:
        """Idle timeout of the load balancer, in seconds.

        Longer than answering a request or replacing a web process takes, so that clients get a
        response, not a closed connection.
        """
        return self.gunicorn + 45

    @property
    def keep_alive(self) -> int:
        """Seconds that the web tier keeps an idle connection open.

        Longer than the load balancer's idle timeout, so that it never sends a request on a
        connection just closed.
        """
        return self.load_balancer_idle + 5

    @property
    def graceful_stop(self) -> int:
        """Seconds for in-flight requests to finish when a process is asked to stop: twice the
        request timeout."""
        return 2 * self.request

    @property
    def deregistration_delay(self) -> int:
        """Maximum seconds for a deregistered target to finish its requests: longer than the slowest
        upload and its answer. The load balancer waits no longer than the requests need."""
        return self.upload + self.request + 10

    @property
    def reply_retention(self) -> int:
        """Retention of an unread reply in SQS, in seconds: the request timeout, or 60 (the minimum
        of SQS) if that is longer."""
        return max(60, self.request)
