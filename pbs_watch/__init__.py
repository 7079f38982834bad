"""pop-before-smtp for an unmodified Courier and Postfix."""

__version__ = "0.1.0"
