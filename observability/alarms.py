"""What someone is woken by: one list for both vendors. Each has its heading in `docs/runbook.md`."""

import re
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, kw_only=True)
class AlarmText:
    """How an alarm speaks to someone who was asleep."""

    title: str
    """Its name, and its heading in the runbook."""
    meaning: str
    """What users feel, in one sentence."""

    @property
    def anchor(self) -> str:
        """Of the heading in the runbook, as GitHub makes it."""
        return re.sub(r"[^\w\- ]", "", self.title.lower()).replace(" ", "-")

    def description(self, runbook: str) -> str:
        """The text that comes with the alarm; `runbook` is the address of the runbook."""
        return f"{self.meaning} What to do: {runbook}#{self.anchor}"


BUDGET_BURNS_FAST: Final = AlarmText(
    title="Many users get errors or wait too long",
    meaning="So many requests fail or take too long that a month's error budget lasts two days.",
)
BUDGET_BURNS: Final = AlarmText(
    title="Some users get errors or wait too long",
    meaning="Requests have failed or taken too long for hours: a month's error budget lasts five days.",
)
SLOW_ANSWERS: Final = AlarmText(
    title="Answers are slow",
    meaning="One answer in a hundred takes longer than users are willing to wait.",
)
DEAD_LETTERS: Final = AlarmText(
    title="Messages were given up",
    meaning="Conversions failed at every delivery: their users got an error or a timeout.",
)
STALE_QUEUE: Final = AlarmText(
    title="Messages wait past their deadline",
    meaning="No worker takes requests in time: users wait and get a timeout.",
)
UNHEALTHY_HOSTS: Final = AlarmText(
    title="A web instance is unhealthy",
    meaning="An instance does not answer /readyz and gets no requests: the others carry its share.",
)
THROTTLES: Final = AlarmText(
    title="The converter is throttled",
    meaning="Lambda refuses to run the converter: requests wait, and time out if it goes on.",
)
CONVERTER_ERRORS: Final = AlarmText(
    title="The converter fails",
    meaning="Invocations of the converter end with an error: their users wait for another delivery, or in vain.",
)
NO_TRAFFIC: Final = AlarmText(
    title="No requests arrive",
    meaning="Nobody was served for a while: users cannot reach the service, or its metrics do not reach us.",
)

ALARMS: Final = (
    BUDGET_BURNS_FAST,
    BUDGET_BURNS,
    SLOW_ANSWERS,
    DEAD_LETTERS,
    STALE_QUEUE,
    UNHEALTHY_HOSTS,
    THROTTLES,
    CONVERTER_ERRORS,
    NO_TRAFFIC,
)
