"""What each service process needs to stand up: settings, Kafka, database, logging, metrics, health, run and drain."""
