"""What the service reports about itself: the metric catalogue and structured logs."""
