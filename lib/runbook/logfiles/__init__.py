"""Read the service's log files: JSON lines and text, mixed, rotated and compressed, in bounded memory and time.

Plain bytes in, tallies out; it knows no target and no DataFrame, so that its worker processes start quickly.
"""

from runbook.logfiles.crew import PassBroken, PassTooLong, read_all
from runbook.logfiles.sources import LogFile, find_files
from runbook.logfiles.tally import FileRead, Period, Reading, Tally

__all__ = ["FileRead", "LogFile", "PassBroken", "PassTooLong", "Period", "Reading", "Tally", "find_files", "read_all"]
