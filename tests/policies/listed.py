"""What cannot be read from the code: which verbs an admin page calls, and why some ways in need no verb."""

from __future__ import annotations

from collections.abc import Mapping

OPEN = "open to all, holds no rows"

PLAIN_VIEWS: Mapping[str, str] = {
    "program-execute": "POST",
    "openai-chat-completions": "POST",
    "openai-models": "GET",
    "openai-model": "GET",
    "execution-wait": "GET",
    "execution-events": "GET",
    "evaluation-wait": "GET",
    "evaluation-events": "GET",
    "repricing-wait": "GET",
    "repricing-events": "GET",
    "optimizer-list": "GET",
    "optimization-wait": "GET",
    "optimization-events": "GET",
    "dataset-export": "GET",
    "import-wait": "GET",
    "import-events": "GET",
    "program-cost": "GET",
    "usage": "GET",
    "graphql": "GET POST",
    "schema": "GET",
    "docs": "GET",
    "/": "GET",
    "/healthz": "GET",
    "/readyz": "GET",
}
"""The methods that each view answers which is no viewset's, by its name or its address."""

REST_VERBS: Mapping[str, tuple[str, ...]] = {
    "POST /api/v1/programs/{ref}/execute/": ("execute_program", "aexecute_program", "stream_execution"),
    "POST /v1/chat/completions": ("execute_program", "aexecute_program", "stream_execution"),
    "POST /api/v1/prompt-versions/": ("set_prompt",),
}
"""Verbs of plain views, and the second ones of viewsets, which say their first themselves."""

_WAITS = "reads one row in the scope of visible_to, asked again while it lasts"

REST: Mapping[str, str] = {
    "GET /v1/models": "reads programs in the scope of visible_to",
    "GET /v1/models/{model}": "reads one program in the scope of visible_to",
    "GET /api/v1/executions/{pk}/": _WAITS,
    "GET /api/v1/executions/{pk}/events/": _WAITS,
    "GET /api/v1/evaluations/{pk}/": _WAITS,
    "GET /api/v1/evaluations/{pk}/events/": _WAITS,
    "GET /api/v1/repricings/{pk}/": _WAITS,
    "GET /api/v1/repricings/{pk}/events/": _WAITS,
    "GET /api/v1/optimizations/{pk}/": _WAITS,
    "GET /api/v1/optimizations/{pk}/events/": _WAITS,
    "GET /api/v1/imports/{pk}/": _WAITS,
    "GET /api/v1/imports/{pk}/events/": _WAITS,
    "GET /api/v1/datasets/{pk}/export/": "reads one dataset in the scope of visible_to",
    "GET /api/v1/executions/{pk}/lineage/": "reads one execution in the scope of visible_to",
    "GET /api/v1/programs/{pk}/timeline/": "reads one program in the scope of visible_to, and its histories",
    "GET /api/v1/programs/{ref}/cost/": "sums of the usage of one program, in the scope of visible_to",
    "GET /api/v1/usage/": "sums of usage, in the scope of visible_to",
    "GET /api/v1/optimizers/": "asks the right to view optimizations; holds no rows",
    "GET /api/v1/metrics/kinds/": "asks the right to view metrics; holds no rows",
    "GET /api/v1/users/me/": "one's own account",
    "GET /api/v1/budgets/{pk}/periods/": "reads one budget in the scope of visible_to",
    "GET /api/schema/": OPEN,
    "GET /api/docs/": OPEN,
    "GET /graphql/": "a page for staff that asks as they do; holds no rows",
    "POST /graphql/": "carries queries and mutations, each of which is a way in of its own",
    "GET /": OPEN,
    "GET /healthz": OPEN,
    "GET /readyz": OPEN,
}

ADMIN_VERBS: Mapping[str, tuple[str, ...]] = {
    "auth.group add": ("create_group",),
    "auth.group change": ("update_group",),
    "auth.group delete": ("delete_group",),
    "mlops.user add": ("create_user",),
    "mlops.user change": ("update_user",),
    "mlops.user grant_credits": ("grant_credits",),
    "mlops.user refund_credits": ("refund_credits",),
    "mlops.user set_password": ("set_password",),
    "mlops.user deactivate": ("deactivate_user",),
    "mlops.user anonymise": ("anonymise_user",),
    "mlops.user action deactivate_selected": ("deactivate_user",),
    "password_change": ("change_own_password",),
    "mlops.apitoken add": ("create_token",),
    "mlops.apitoken rotate": ("rotate_token",),
    "mlops.apitoken revoke": ("revoke_token",),
    "mlops.apitoken action revoke_selected": ("revoke_token",),
    "axes.accessattempt unlock": ("unlock_login",),
    "axes.accessattempt action unlock_selected": ("unlock_login",),
    "mlops.languagemodel add": ("create_language_model",),
    "mlops.languagemodel change": ("update_language_model",),
    "mlops.languagemodel delete": ("delete_language_model",),
    "mlops.languagemodel set_secret": ("set_secret",),
    "mlops.languagemodel set_fallbacks": ("set_fallbacks",),
    "mlops.languagemodel set_default": ("set_default",),
    "mlops.budget add": ("create_budget",),
    "mlops.budget change": ("update_budget",),
    "mlops.budget delete": ("delete_budget",),
    "mlops.modelprice add": ("add_price",),
    "mlops.modelprice delete": ("delete_price",),
    "mlops.modelprice import_prices": ("import_prices",),
    "executions.repricing add": ("reprice",),
    "executions.repricing apply": ("apply_repricing",),
    "executions.repricing cancel": ("cancel_repricing",),
    "datasets.dataset delete": ("delete_dataset",),
    "datasets.dataset import_file": ("import_dataset",),
    "datasets.dataset freeze": ("freeze_dataset",),
    "datasets.dataset split": ("split_dataset",),
    "datasets.corpus delete": ("delete_corpus",),
    "datasets.corpus import_file": ("import_corpus",),
    "datasets.corpus freeze": ("freeze_corpus",),
    "datasets.import cancel": ("cancel_import",),
    "programs.program add": ("create_program",),
    "programs.program change": ("update_program",),
    "programs.program delete": ("delete_program",),
    "programs.program validate": ("validate_program",),
    "programs.program submit": ("submit_program",),
    "programs.program deploy": ("deploy_program",),
    "programs.program archive": ("archive_program",),
    "programs.program roll_back": ("roll_back_program",),
    "programs.program new_version": ("new_version",),
    "programs.program evaluate_program": ("evaluate_program",),
    "programs.program estimate_evaluation": ("estimate_evaluation",),
    "programs.program compile": ("compile_program",),
    "programs.program estimate_compile": ("estimate_optimization",),
    "programs.program action archive": ("archive_program",),
    "programs.program inline module": ("add_module", "update_module", "remove_module"),
    "programs.program inline moduleconnection": ("add_connection", "remove_connection"),
    "programs.promptversion add": ("create_prompt_version",),
    "programs.promptversion activate": ("activate_prompt_version",),
    "programs.signature add": ("create_signature",),
    "programs.signature change": ("update_signature",),
    "programs.signature delete": ("delete_signature",),
    "programs.signature new_version": ("new_signature_version",),
    "executions.execution execute": ("execute_program",),
    "executions.execution cancel": ("cancel_execution",),
    "executions.execution replay": ("replay_execution",),
    "executions.execution rate": ("rate_execution",),
    "executions.execution refund": ("refund_execution",),
    "executions.execution action cancel_selected": ("cancel_execution",),
    "executions.execution action collect_selected": ("collect_examples",),
    "executions.evaluation cancel": ("cancel_evaluation",),
    "executions.evaluation action cancel_selected": ("cancel_evaluation",),
    "executions.metric add": ("create_metric",),
    "executions.metric change": ("update_metric",),
    "executions.metric delete": ("delete_metric",),
    "executions.metric try_out": ("try_metric",),
    "executions.metric new_version": ("new_metric_version",),
    "executions.metric freeze": ("freeze_metric",),
    "optimizations.optimization cancel": ("cancel_optimization",),
    "optimizations.optimization action cancel_selected": ("cancel_optimization",),
    "optimizations.candidate adopt": ("adopt_candidate",),
    "optimizations.schedule add": ("create_schedule",),
    "optimizations.schedule change": ("change_schedule",),
    "optimizations.schedule delete": ("delete_schedule",),
    "optimizations.schedule run": ("run_schedule_now",),
}

ADMIN: Mapping[str, str] = {
    "programs.program timeline": "reads one program in the scope of visible_to, and its histories",
    "programs.signature inline signaturefield": "fields are saved with their signature, by update_signature",
    "index": "links to the lists that may be opened",
    "login": "everybody may log in; who is no staff is let no further",
    "logout": "ends one's own session",
    "password_change_done": "says that it was changed",
    "autocomplete": "asks the right to view of the page that it completes",
    "jsi18n": "translations, holds no rows",
    "view_on_site": "no model has a page on the site; nothing to go to",
    "search": "searches the lists that may be opened, in the scope of visible_to",
    "app_list": "links to the lists that may be opened",
    "{url}": "every other address: not found, or the log-in page",
}

_DOORBELL = "works on rows that a verb has accepted, for their owner"
_SWEEP = "looks after what lost workers have left; nobody asks for it"

TASK_VERBS: Mapping[str, tuple[str, ...]] = {
    "optimizations.run_schedule": ("compile_program", "evaluate_program"),
}
"""Tasks take no actor: this one acts for the schedule's owner, whose right is asked when it runs."""

TASKS: Mapping[str, str] = {
    "mlops.look_after_budgets": "settles and tells of budgets; nobody asks for it",
    "datasets.work_imports": _DOORBELL,
    "datasets.sweep_imports": _SWEEP,
    "datasets.discard_orphans": _SWEEP,
    "executions.wake": _DOORBELL,
    "executions.sweep": _SWEEP,
    "executions.count_usage": "adds up what has ended; nobody asks for it",
    "executions.work_evaluations": _DOORBELL,
    "executions.sweep_evaluations": _SWEEP,
    "executions.work_repricings": _DOORBELL,
    "executions.sweep_repricings": _SWEEP,
    "mlops.forget_expired_keys": _SWEEP,
    "mlops.forget_expired_sessions": "deletes sessions that are over; nobody asks for it",
    "mlops.sweep_reservations": _SWEEP,
    "optimizations.forget_answers": _SWEEP,
    "optimizations.work": _DOORBELL,
    "optimizations.sweep": _SWEEP,
}

COMMAND_VERBS: Mapping[str, tuple[str, ...]] = {
    "check_credits": ("repair_balance",),
    "create_token": ("create_user", "create_token", "grant_credits"),
    "import_prices": ("import_prices",),
    "rotate_secrets": ("rotate_secrets",),
    "reprice": ("reprice", "apply_repricing"),
    "serve": ("ensure_default_model",),
}
"""Commands act as `operator()`: whoever has a shell on the installation is its admin. `reprice` acts for the user it is
told, since a job has an owner."""

COMMANDS: Mapping[str, str] = {
    "rebuild_usage": "proves sums that are calculated, or makes them so",
    "demo": "calls the other commands, then REST",
    "load_sample": "makes the sample by verbs, as the operator",
}

NO_MUTATION: Mapping[str, str] = {
    "aexecute_program": "execute_program for callers on an event loop",
    "change_own_password": "passwords are typed into the admin site",
    "create_group": "groups are the admin site's",
    "create_result_version": "part of a compile that has ended",
    "delete_group": "groups are the admin site's",
    "ensure_default_model": "done at the first start",
    "import_corpus": "files come in over REST",
    "import_dataset": "files come in over REST",
    "repair_balance": "a command of operators",
    "rotate_secrets": "a command of operators",
    "set_password": "passwords are typed into the admin site",
    "set_prompt": "createPromptVersion with activate does it",
    "stream_execution": "a mutation has one answer; what is read as it comes is REST's",
    "unlock_login": "the admin site's",
    "update_group": "groups are the admin site's",
}
"""Verbs without a mutation."""
