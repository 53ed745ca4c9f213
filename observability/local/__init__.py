"""The dashboard on this machine: the definition that Datadog gets, drawn against what the service sends."""
