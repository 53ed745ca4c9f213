"""The request/reply protocol between the web tier and the worker tier, and its ports."""
