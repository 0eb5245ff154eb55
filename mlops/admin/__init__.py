"""The admin site of the foundation, and the base that every app's admin stands on."""
