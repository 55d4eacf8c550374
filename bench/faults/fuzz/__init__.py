"""What strangers may send, made up by the hundred thousand."""
