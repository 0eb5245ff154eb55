"""The verbs of programs: the only code that writes their rows."""

from programs.services.connections import add_connection, remove_connection
from programs.services.lifecycle import (
    archive_program,
    before_archiving,
    before_deploying,
    deploy_program,
    freeze,
    roll_back_program,
    submit_program,
)
from programs.services.modules import ModuleChanges, ModuleInput, add_module, remove_module, update_module
from programs.services.programs import (
    ProgramChanges,
    create_program,
    delete_program,
    new_version,
    update_program,
)
from programs.services.prompts import (
    activate_prompt_version,
    choose_prompt_set,
    create_prompt_version,
    ensure_prompt_set,
    set_prompt,
)
from programs.services.results import create_result_version
from programs.services.scores import record_scores
from programs.services.signatures import (
    SignatureChanges,
    create_signature,
    delete_signature,
    new_signature_version,
    update_signature,
)
from programs.services.validation import validate_program

__all__ = [
    "ModuleChanges",
    "ModuleInput",
    "ProgramChanges",
    "SignatureChanges",
    "activate_prompt_version",
    "add_connection",
    "add_module",
    "archive_program",
    "before_archiving",
    "before_deploying",
    "choose_prompt_set",
    "create_program",
    "create_prompt_version",
    "create_result_version",
    "create_signature",
    "delete_program",
    "delete_signature",
    "deploy_program",
    "ensure_prompt_set",
    "freeze",
    "new_signature_version",
    "new_version",
    "record_scores",
    "remove_connection",
    "remove_module",
    "roll_back_program",
    "set_prompt",
    "submit_program",
    "update_module",
    "update_program",
    "update_signature",
    "validate_program",
]
