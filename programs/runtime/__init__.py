"""What DSPy does with a program: signatures, graph, built modules. No Django, no rows."""
