"""Grants shared by several hosts, through an engine that exists: Valkey/Redis or MariaDB/MySQL."""
