"""The verbs of executions. `execute_program` and `aexecute_program` are also the Python interface of the product."""
