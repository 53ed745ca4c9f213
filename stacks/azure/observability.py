"""Logs, the alarms of `operations/observability/alarms.py` with a signal in Azure Monitor, their
recipients, and the budget."""

from typing import Any, Final

from cdktn import TerraformResourceLifecycle, TerraformStack
from cdktn_provider_azurerm.application_gateway import ApplicationGateway
from cdktn_provider_azurerm.consumption_budget_resource_group import (
    ConsumptionBudgetResourceGroup,
    ConsumptionBudgetResourceGroupNotification,
    ConsumptionBudgetResourceGroupTimePeriod,
)
from cdktn_provider_azurerm.log_analytics_workspace import LogAnalyticsWorkspace
from cdktn_provider_azurerm.log_analytics_workspace_table_custom_log import (
    LogAnalyticsWorkspaceTableCustomLog,
    LogAnalyticsWorkspaceTableCustomLogColumn,
)
from cdktn_provider_azurerm.monitor_action_group import (
    MonitorActionGroup,
    MonitorActionGroupEmailReceiver,
)
from cdktn_provider_azurerm.monitor_data_collection_endpoint import MonitorDataCollectionEndpoint
from cdktn_provider_azurerm.monitor_data_collection_rule import (
    MonitorDataCollectionRule,
    MonitorDataCollectionRuleDataFlow,
    MonitorDataCollectionRuleDataSources,
    MonitorDataCollectionRuleDataSourcesLogFile,
    MonitorDataCollectionRuleDataSourcesLogFileSettings,
    MonitorDataCollectionRuleDataSourcesLogFileSettingsText,
    MonitorDataCollectionRuleDataSourcesPerformanceCounter,
    MonitorDataCollectionRuleDestinations,
    MonitorDataCollectionRuleDestinationsLogAnalytics,
    MonitorDataCollectionRuleStreamDeclaration,
    MonitorDataCollectionRuleStreamDeclarationColumn,
)
from cdktn_provider_azurerm.monitor_data_collection_rule_association import (
    MonitorDataCollectionRuleAssociation,
)
from cdktn_provider_azurerm.monitor_diagnostic_setting import (
    MonitorDiagnosticSetting,
    MonitorDiagnosticSettingEnabledLog,
)
from cdktn_provider_azurerm.monitor_metric_alert import (
    MonitorMetricAlert,
    MonitorMetricAlertAction,
    MonitorMetricAlertCriteria,
)
from cdktn_provider_azurerm.monitor_scheduled_query_rules_alert_v2 import (
    MonitorScheduledQueryRulesAlertV2,
    MonitorScheduledQueryRulesAlertV2Action,
    MonitorScheduledQueryRulesAlertV2Criteria,
    MonitorScheduledQueryRulesAlertV2CriteriaFailingPeriods,
)
from cdktn_provider_azurerm.resource_group import ResourceGroup

from operations.observability.alarms import Alarm, Urgency
from stacks.azure.alarms import Metric, Query, azure_alarms, duration
from stacks.azure.environment import Environment
from stacks.azure.instances import ScaleSet

_SEVERITIES: Final = {Urgency.PAGE: 1, Urgency.TICKET: 3}
"""Azure's severities of an error and of information."""
_TABLE: Final = "Asciist_CL"
_STREAM: Final = f"Custom-{_TABLE}"
# The columns that Azure's agent fills for a text log.
_COLUMNS: Final = {
    "TimeGenerated": "datetime",
    "RawData": "string",
    "Computer": "string",
    "FilePath": "string",
}
_THIS_MONTH: Final = "${formatdate(\"YYYY-MM-01'T'00:00:00'Z'\", plantimestamp())}"
"""First day of the month of a budget's creation: Azure accepts no earlier start."""


class Observability:
    """The workspace of all logs, and the alarms."""

    def __init__(
        self,
        stack: TerraformStack,
        *,
        environment: Environment,
        group: ResourceGroup,
        gateway: ApplicationGateway,
        web: ScaleSet,
        worker: ScaleSet,
    ) -> None:
        self._stack, self._environment, self._group = stack, environment, group
        self._workspace = LogAnalyticsWorkspace(
            stack,
            "logs",
            name=environment.prefix,
            **self._place(),
            sku="PerGB2018",
            retention_in_days=environment.sizes.log_days,
            local_authentication_enabled=False,  # identities only, and no shared key
        )
        MonitorDiagnosticSetting(
            stack,
            "access_log",
            name="access-log",
            target_resource_id=gateway.id,
            log_analytics_workspace_id=self._workspace.id,
            # A table of its own, AGWAccessLogs, which the queries read.
            log_analytics_destination_type="Dedicated",
            enabled_log=[
                MonitorDiagnosticSettingEnabledLog(category="ApplicationGatewayAccessLog")
            ],
        )
        self._collect_logs({"web": web, "worker": worker})
        self._told = {
            Urgency.PAGE: self._action_group("alarms", environment.alarm_email),
            Urgency.TICKET: self._action_group(
                "tickets", environment.ticket_email or environment.alarm_email
            ),
        }
        resources = {
            "gateway": gateway.id,
            "web_autoscale": web.autoscale.id,
            "worker_autoscale": worker.autoscale.id,
        }
        for alarm, signal in azure_alarms(environment).items():
            if isinstance(signal, Metric):
                self._metric_alert(alarm, signal, resources[signal.resource])
            else:
                self._query_alert(alarm, signal)
        if environment.sizes.monthly_budget:
            self._budget()

    def _place(self) -> dict[str, Any]:
        return {"location": self._group.location, "resource_group_name": self._group.name}

    def _collect_logs(self, scale_sets: dict[str, ScaleSet]) -> None:
        """Ship the logs of the units and of cloud-init, and the disk usage, from all instances."""
        table = LogAnalyticsWorkspaceTableCustomLog(
            self._stack,
            "log_table",
            name=_TABLE,
            workspace_id=self._workspace.id,
            column=[
                LogAnalyticsWorkspaceTableCustomLogColumn(name=name, type=type_)
                for name, type_ in _COLUMNS.items()
            ],
        )
        endpoint = MonitorDataCollectionEndpoint(
            self._stack,
            "log_endpoint",
            name=self._environment.prefix,
            **self._place(),
            kind="Linux",
        )
        sources = MonitorDataCollectionRuleDataSources(
            log_file=[
                MonitorDataCollectionRuleDataSourcesLogFile(
                    name="units",
                    format="text",
                    streams=[_STREAM],
                    file_patterns=["/var/log/asciist/*.log", "/var/log/cloud-init-output.log"],
                    settings=MonitorDataCollectionRuleDataSourcesLogFileSettings(
                        text=MonitorDataCollectionRuleDataSourcesLogFileSettingsText(
                            record_start_timestamp_format="ISO 8601"
                        )
                    ),
                )
            ],
            performance_counter=[
                MonitorDataCollectionRuleDataSourcesPerformanceCounter(
                    name="disk",
                    streams=["Microsoft-Perf"],
                    sampling_frequency_in_seconds=60,
                    counter_specifiers=["Logical Disk(*)\\% Used Space"],
                )
            ],
        )
        rule = MonitorDataCollectionRule(
            self._stack,
            "log_rule",
            name=self._environment.prefix,
            **self._place(),
            kind="Linux",
            data_collection_endpoint_id=endpoint.id,
            destinations=MonitorDataCollectionRuleDestinations(
                log_analytics=[
                    MonitorDataCollectionRuleDestinationsLogAnalytics(
                        name="workspace", workspace_resource_id=self._workspace.id
                    )
                ]
            ),
            data_sources=sources,
            stream_declaration=[
                MonitorDataCollectionRuleStreamDeclaration(
                    stream_name=_STREAM,
                    column=[
                        MonitorDataCollectionRuleStreamDeclarationColumn(name=name, type=type_)
                        for name, type_ in _COLUMNS.items()
                    ],
                )
            ],
            data_flow=[
                MonitorDataCollectionRuleDataFlow(
                    streams=[_STREAM],
                    destinations=["workspace"],
                    output_stream=_STREAM,
                    transform_kql="source",
                ),
                MonitorDataCollectionRuleDataFlow(
                    streams=["Microsoft-Perf"], destinations=["workspace"]
                ),
            ],
            depends_on=[table],  # Azure rejects a rule whose table does not exist
        )
        for name, scale_set in scale_sets.items():
            MonitorDataCollectionRuleAssociation(
                self._stack,
                f"{name}_logs",
                name="logs",
                target_resource_id=scale_set.scale_set.id,
                data_collection_rule_id=rule.id,
            )

    def _action_group(self, name: str, email: str) -> MonitorActionGroup:
        return MonitorActionGroup(
            self._stack,
            name,
            name=f"{self._environment.prefix}-{name}",
            resource_group_name=self._group.name,
            short_name=name,
            email_receiver=[MonitorActionGroupEmailReceiver(name="mail", email_address=email)]
            if email
            else None,
        )

    def _metric_alert(self, alarm: Alarm, metric: Metric, resource: str) -> None:
        (window,) = alarm.windows
        MonitorMetricAlert(
            self._stack,
            _identifier(alarm),
            name=self._name(alarm),
            resource_group_name=self._group.name,
            description=alarm.description(self._environment.runbook),
            severity=_SEVERITIES[alarm.urgency],
            scopes=[resource],
            frequency="PT1M",
            window_size=duration(window.minutes),
            criteria=[
                MonitorMetricAlertCriteria(
                    metric_namespace=metric.namespace,
                    metric_name=metric.name,
                    aggregation=metric.aggregation,
                    operator=metric.operator,
                    threshold=metric.threshold,
                )
            ],
            action=[MonitorMetricAlertAction(action_group_id=self._told[alarm.urgency].id)],
        )

    def _query_alert(self, alarm: Alarm, query: Query) -> None:
        """Create an alarm that fires if the query, which includes the thresholds, returns a row."""
        MonitorScheduledQueryRulesAlertV2(
            self._stack,
            _identifier(alarm),
            name=self._name(alarm),
            **self._place(),
            description=alarm.description(self._environment.runbook),
            severity=_SEVERITIES[alarm.urgency],
            scopes=[self._workspace.id],
            evaluation_frequency="PT5M",
            window_duration=query.window,
            auto_mitigation_enabled=True,
            skip_query_validation=True,  # a new workspace does not have the tables yet
            criteria=[
                MonitorScheduledQueryRulesAlertV2Criteria(
                    query=query.text,
                    time_aggregation_method="Count",
                    operator="GreaterThan",
                    threshold=0,  # the query itself compares with the alarm's threshold
                    failing_periods=MonitorScheduledQueryRulesAlertV2CriteriaFailingPeriods(
                        minimum_failing_periods_to_trigger_alert=1, number_of_evaluation_periods=1
                    ),
                )
            ],
            action=MonitorScheduledQueryRulesAlertV2Action(
                action_groups=[self._told[alarm.urgency].id]
            ),
        )

    def _budget(self) -> None:
        ConsumptionBudgetResourceGroup(
            self._stack,
            "budget",
            name=self._environment.prefix,
            resource_group_id=self._group.id,
            amount=self._environment.sizes.monthly_budget,
            time_grain="Monthly",
            time_period=ConsumptionBudgetResourceGroupTimePeriod(start_date=_THIS_MONTH),
            # A plan in a later month computes another start, which would replace the budget.
            lifecycle=TerraformResourceLifecycle(ignore_changes=["time_period"]),
            notification=[
                ConsumptionBudgetResourceGroupNotification(
                    enabled=True,
                    operator="GreaterThan",
                    threshold=100,
                    threshold_type=kind,
                    contact_groups=[self._told[Urgency.TICKET].id],
                )
                for kind in ("Actual", "Forecasted")
            ],
        )

    def _name(self, alarm: Alarm) -> str:
        # Azure allows no colon in the name of an alert.
        return f"{self._environment.prefix}: {alarm.title}".replace(":", " -")


def _identifier(alarm: Alarm) -> str:
    return alarm.anchor.replace("-", "_")
