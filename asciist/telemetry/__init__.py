"""Telemetry: the metric catalogue and structured logs."""
