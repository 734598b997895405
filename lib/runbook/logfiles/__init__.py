"""Read the service's log files: JSON lines and text, mixed, rotated and compressed, in bounded memory and time.

Plain bytes in, tallies out; it knows no target and no DataFrame, and nothing is imported here, so that its worker
processes start quickly.
"""
