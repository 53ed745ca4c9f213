"""Tools for a running deployment: alarm model, dashboards, probe, smoke test, capacity."""
