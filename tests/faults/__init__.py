"""The faults the system must survive, each as a named test with the real services as processes of their own."""
