"""Real PostgreSQL and Apache Kafka from packages, for development, demo, bench and tests: nothing to install first."""
