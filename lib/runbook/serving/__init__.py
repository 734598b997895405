"""The archive in a browser, and the runs that Alertmanager starts: read-only, each bounded."""
