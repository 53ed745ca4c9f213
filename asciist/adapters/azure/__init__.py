"""Azure adapter: the request queue, on Storage Queue. Artifacts go through
`asciist.adapters.object_store`."""

from asciist.adapters.azure.storage_queue import DEAD_LETTERS, StorageQueue

__all__ = ["DEAD_LETTERS", "StorageQueue"]
