"""One marked login, followed from the syslog to its end.

``line`` makes it and says beforehand whether it can be granted; ``chain`` holds the links that it
goes through, ``steps`` waits for each; ``scratch`` is a daemon of our own to follow it through.
"""
