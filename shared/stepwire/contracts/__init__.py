"""What travels between services and outside systems: frozen records, topics, callback tokens."""
