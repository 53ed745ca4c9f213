"""The objective, alarms and panels of the service, independent of the vendor, and their rendering
for Datadog."""
