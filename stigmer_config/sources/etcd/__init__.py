"""The `etcd` layer: client, layer, and the thread that follows it. Needs the extra `etcd`."""
