"""Messages between processes: one file a receiver, msgspec structs, a protocol version in front."""
