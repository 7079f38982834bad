"""Checking a host: the facts are gathered in one place, and judged in others that do no I/O.

``facts`` gathers through ``look`` (files, programs) and ``ask`` (sockets), each with limits; it
changes nothing.  ``log``, ``courier``, ``syslog``, ``rotation``, ``postfix``, ``map``, ``port``,
``daemon``, ``settings`` and ``host`` take facts and give findings; ``checks`` lists them all.
"""
