"""Reference *naive*: what one writes first. Django, one row per execution, one Celery message, prefork workers."""
