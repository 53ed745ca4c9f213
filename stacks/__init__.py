"""The AWS system: four stacks over one `Environment`."""
