"""Running programs: one run, its result, sample tools. No Django, no rows."""
