"""Programs as models of OpenAI's API: chat completions and the list of models, for clients made for that.

What a request means here that OpenAI's own models would do otherwise is written down in docs/openai.md.
"""
