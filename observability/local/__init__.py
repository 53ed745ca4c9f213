"""A local dashboard: the definition sent to Datadog, drawn with the metrics of a service on this machine."""
