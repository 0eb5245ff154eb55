"""Admin pages of programs, signatures, prompts and deployments."""

from programs.admin import programs, prompts, signatures

__all__ = ["programs", "prompts", "signatures"]
