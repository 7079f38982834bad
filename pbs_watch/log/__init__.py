"""The log: syslog headers and time, whole lines, what became of a file, and reading it."""
