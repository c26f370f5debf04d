"""The `etcd` layer: its client, the layer, and the threads that follow the store. Needs the extra `etcd`."""
