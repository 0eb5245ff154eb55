"""Rows of programs: signatures, programs with their modules and connections, prompts, deployments."""

from programs.models.demos import Demo
from programs.models.programs import Deployment, Module, ModuleConnection, Program
from programs.models.prompts import PromptSet, PromptVersion
from programs.models.signatures import Signature, SignatureField

__all__ = [
    "Demo",
    "Deployment",
    "Module",
    "ModuleConnection",
    "Program",
    "PromptSet",
    "PromptVersion",
    "Signature",
    "SignatureField",
]
