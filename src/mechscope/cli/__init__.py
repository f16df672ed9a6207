"""The command line: parse, call a service, show. No logic."""
