"""Converters: conversions in the calling process, or in processes of their own that all web processes of a machine share."""
