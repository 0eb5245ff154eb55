#!/usr/bin/env python
"""Django's command line for this project."""

import os
import sys

from django.core.management import execute_from_command_line
from django.db import DatabaseError, connection


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    try:
        execute_from_command_line(sys.argv)
    except DatabaseError:
        stop_without_database()
        raise


def stop_without_database() -> None:
    """End with a sentence when the database cannot be reached; any other error of it keeps its traceback."""
    try:
        connection.ensure_connection()
    except DatabaseError as error:
        sys.exit(f"DATABASE_URL: no connection to the database. {error}".rstrip())


if __name__ == "__main__":
    main()
