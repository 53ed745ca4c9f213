"""The worker tier: messages in, art in the store, replies out."""
