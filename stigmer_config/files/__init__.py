"""The file system, with no idea of configuration: stable reads, atomic writes, watching."""
