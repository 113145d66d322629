"""Forms in a terminal: questions from a page's JSON schema, their answers, and the exchange with the gateway."""
