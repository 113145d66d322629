"""The language: steps, lists, forms, and what runs one step; it knows neither SQL nor Kafka."""
