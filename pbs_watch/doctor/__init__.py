"""Checking a host: the facts are gathered in one place, and judged in others that do no I/O.

``look`` (files, programs), ``ask`` (sockets) and ``processes`` (/proc) have limits and change
nothing; ``places``, ``mail`` and ``records`` gather through them what ``subject`` and ``checks``
want.  ``settings``, ``daemon``, ``port``, ``log``, ``journal``, ``rotation``, ``syslog``,
``courier``, ``postfix`` (with ``restrictions``, ``services`` and ``tables``), ``map`` and ``host``
take facts and give findings.  ``checks`` holds the table of all; docs/doctor.rst explains each.
"""
