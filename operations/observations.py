"""Observations of a deployment in a real account that an emulator cannot show."""

import re
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPException
from typing import Any, Final

from botocore.exceptions import BotoCoreError, ClientError

from operations.deployment import Deployment, DeploymentError, light_load

LOAD_PAUSE_SECONDS: Final = 0.5
BUDGET_SECONDS: Final = 900.0
"""Maximum duration of one observation, in seconds."""
FAILURES: Final = (BotoCoreError, ClientError, DeploymentError, HTTPException, OSError)
"""Errors of a deployment, as opposed to mistakes of the program."""
_CONNECTIONS: Final = 16
"""Number of connections, enough to exceed the firewall's limit for an address."""


class NotObservedError(Exception):
    """There is nothing to observe. The message gives the reason."""


class Observations:
    """Observes a deployment, and lists the observations in `found`.

    A failed observation never fails a trial.
    """

    def __init__(
        self, deployment: Deployment, *, budget_seconds: float, say: Callable[[str], object]
    ) -> None:
        self._deployment, self._budget_seconds, self._say = deployment, budget_seconds, say
        self.found: list[tuple[str, str]] = []

    def of_a_new_deployment(self) -> None:
        self._observe("from the launch of an instance to its signal of readiness", self._boots)
        self._observe("the first conversion of the function (cold start)", self._cold_starts)
        self._observe("the service's own metrics arrive in CloudWatch", self._metrics)
        self._observe("the e-mail address for alarms", self._subscriptions)

    def of_the_firewall(self) -> None:
        self._observe("the firewall refuses an address that sends too much", self._flood)

    def of_scaling_and_repair(self) -> None:
        what = "one instance more, until the load balancer considers it healthy"
        self._observe(what, self._scale_out)
        self._observe("an instance that was stopped is replaced", self._replace)

    def until(self, look: Callable[[], Any]) -> Any:
        """Return the first true result of `look`, or its last result after the budget."""
        give_up = time.monotonic() + self._budget_seconds
        while not (found := look()) and time.monotonic() < give_up:
            time.sleep(min(5, self._budget_seconds))
        return found

    def _observe(self, what: str, look: Callable[[], str]) -> None:
        try:
            observed = look()
        except NotObservedError as error:
            observed = f"not observed: {error}"
        # LookupError: a resource that a call above expects is missing.
        except (*FAILURES, LookupError) as error:
            observed = f"not observed: {type(error).__name__}: {error}"
        observed = " ".join(observed.split()).replace("|", "\\|")  # one cell of a Markdown table
        self.found.append((what, observed))
        self._say(f"      {what}: {observed}")

    def _group(self) -> dict[str, Any]:
        """Return the web tier's auto-scaling group with its instances."""
        names = list(self._deployment.physical_ids("web", "AWS::AutoScaling::AutoScalingGroup"))
        scaling = self._deployment.aws("autoscaling")
        groups = scaling.describe_auto_scaling_groups(AutoScalingGroupNames=names)
        found: dict[str, Any] = groups["AutoScalingGroups"][0]
        if not found["Instances"]:
            raise NotObservedError("the group has no instance")
        return found

    def _boots(self) -> str:
        """Compare the time of each launch with the time of its instance's success signal in the
        stack's events."""
        activities = self._deployment.aws("autoscaling").describe_scaling_activities(
            AutoScalingGroupName=self._group()["AutoScalingGroupName"]
        )["Activities"]
        launched = {
            instance: activity["StartTime"]
            for activity in activities
            for instance in re.findall(r"^Launching.*: (i-\w+)", activity["Description"])
        }
        events = self._deployment.aws("cloudformation").get_paginator("describe_stack_events")
        seconds = [
            (event["Timestamp"] - launched[instance]).total_seconds()
            for page in events.paginate(StackName=f"{self._deployment.prefix}-web")
            for event in page["StackEvents"]
            for instance in re.findall(
                r"SUCCESS signal with UniqueId (i-\w+)", event.get("ResourceStatusReason", "")
            )
            if instance in launched
        ]
        if not seconds:
            raise NotObservedError("no instance has sent a signal")
        return ", ".join(f"{value:.0f} s" for value in seconds)

    def _cold_starts(self) -> str:
        logs = self._deployment.aws("logs")
        starts = [
            start
            for group in self._deployment.physical_ids("worker", "AWS::Logs::LogGroup")
            for event in logs.filter_log_events(
                logGroupName=group, filterPattern='"Init Duration"', limit=50
            )["events"]
            for start in re.findall(r"Init Duration: ([\d.]+ ms)", event["message"])
        ]
        if not starts:
            raise NotObservedError("no line of the log has an Init Duration")
        return ", ".join(starts)

    def _metrics(self) -> str:
        """List the metrics of the service's namespace, which take some minutes to appear."""
        metrics, namespace = self._deployment.aws("cloudwatch"), self._deployment.prefix
        found = self.until(lambda: metrics.list_metrics(Namespace=namespace)["Metrics"])
        if not found:
            raise NotObservedError("none has arrived")
        return ", ".join(sorted({metric["MetricName"] for metric in found}))

    def _subscriptions(self) -> str:
        notifications = self._deployment.aws("sns")
        found = [
            entry
            for topic in self._deployment.physical_ids("observability", "AWS::SNS::Topic")
            for entry in notifications.list_subscriptions_by_topic(TopicArn=topic)["Subscriptions"]
        ]
        if not found:
            raise NotObservedError("alarm_email is empty")
        waiting = [
            entry["Endpoint"] for entry in found if not entry["SubscriptionArn"].startswith("arn:")
        ]
        return f"not confirmed yet: {', '.join(waiting)}" if waiting else "confirmed"

    def _flood(self) -> str:
        """Send requests until one gets a 429, which is the firewall's answer."""
        target, started = self._deployment.smoke(), time.monotonic()
        statuses: list[int] = []

        def send() -> None:
            while 429 not in statuses and time.monotonic() < started + self._budget_seconds:
                statuses.append(target.request("GET", "/healthz").status)

        with ThreadPoolExecutor(_CONNECTIONS) as pool:
            for sent in [pool.submit(send) for _ in range(_CONNECTIONS)]:
                sent.result()
        seconds = time.monotonic() - started
        if 429 not in statuses:
            raise NotObservedError(f"no 429 after {len(statuses)} requests in {seconds:.0f} s")
        # Requests in flight at the first 429 may still have been answered.
        blocked = f"429 after {statuses.index(429)} requests in {seconds:.0f} s"
        # The firewall counts over five minutes, so the block outlasts the flood.
        if not self.until(lambda: target.request("GET", "/healthz").status == 200):
            return f"{blocked}; still refused"
        return f"{blocked}; served again {time.monotonic() - started - seconds:.0f} s later"

    def _healthy(self) -> set[str]:
        """Return the ids of the healthy targets of the web tier."""
        kind = "AWS::ElasticLoadBalancingV2::TargetGroup"
        (targets,) = self._deployment.physical_ids("web", kind)
        described = self._deployment.aws("elbv2").describe_target_health(TargetGroupArn=targets)
        return {
            item["Target"]["Id"]
            for item in described["TargetHealthDescriptions"]
            if item["TargetHealth"]["State"] == "healthy"
        }

    def _scale_out(self) -> str:
        group, before = self._group(), self._healthy()
        if group["DesiredCapacity"] >= group["MaxSize"]:
            raise NotObservedError("the group has its maximum size")
        started = time.monotonic()
        self._deployment.aws("autoscaling").set_desired_capacity(
            AutoScalingGroupName=group["AutoScalingGroupName"],
            DesiredCapacity=group["DesiredCapacity"] + 1,
        )
        if not self.until(lambda: len(self._healthy()) > len(before)):
            raise NotObservedError(f"no instance more within {self._budget_seconds:.0f} s")
        return f"{time.monotonic() - started:.0f} s"

    def _replace(self) -> str:
        """Stop an instance, and wait until the group has replaced it."""
        group = self._group()
        stopped, wanted = group["Instances"][0]["InstanceId"], group["DesiredCapacity"]
        started = time.monotonic()
        with light_load(self._deployment.smoke(), pause_seconds=LOAD_PAUSE_SECONDS) as load:
            self._deployment.aws("ec2").stop_instances(InstanceIds=[stopped])
            self.until(lambda: stopped not in self._healthy())
            replaced = self.until(lambda: len(self._healthy()) >= max(wanted, 1))
        word = "after" if replaced else "not within"
        return f"{word} {time.monotonic() - started:.0f} s; meanwhile {load}"
