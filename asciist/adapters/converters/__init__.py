"""Converters: conversions in the calling process, or in converter processes shared by all web
processes of a machine."""
