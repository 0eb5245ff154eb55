"""`make bench`: this product beside the two references of the same task, in one run (`python -m benchmarks.run`)."""
