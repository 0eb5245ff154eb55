"""The sample workspace: a support desk of Velorum, a made-up shop and workshop for bicycle parts."""
