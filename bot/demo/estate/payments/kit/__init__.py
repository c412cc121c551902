"""What the releases of the payments service share: settings, HTTP server, metrics, program."""
