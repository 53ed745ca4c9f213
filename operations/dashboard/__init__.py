"""A local web page that draws the Datadog dashboard with the metrics of a service on this
machine."""
