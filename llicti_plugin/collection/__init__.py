"""Whole collections of images to `.llc` files and back: planned, converted in shards, compared, resumed.

`plan` writes a manifest: a folder with a row for each file and where its shards, runs of some hundred rows, begin.
`run_shard` converts the files of one shard, one after the other, and writes what became of each into the shard's
sidecar, last and all at once: that it is there is the mark that the shard is done. Nothing else is shared, so shards
run in any order, in any process, on any machine that sees the same folders; an engine (workers.py) decides where. A run
that was stopped goes on with the shards that have no sidecar, whatever engine began it.

Paths may be URLs of what is in a store: files.py is the only place here where files of a collection are looked at,
read, written and removed, and chooses between disks and stores (stores.py); sources.py finds the files.

Where others fit in:

- another engine: a class with `run` of workers.Engine, as that of ray_cluster.py, which calls `run_shard` for each
  number once, and again where the process that did so died;
- another form of output: `conversion.py` makes bytes of bytes and knows nothing of files; shard.py decides where they
  go, one by one or into the tar file of their shard (tar_shards.py).
"""

from llicti_plugin.collection.manifest import Manifest, Settings, plan
from llicti_plugin.collection.shard import run_shard

__all__ = ["Manifest", "Settings", "plan", "run_shard"]
