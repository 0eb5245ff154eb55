"""`manage.py create_token USERNAME [--role ROLE] [--credits N] [--name NAME] [limits of the token]`"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from mlops.errors import DomainError
from mlops.models import User
from mlops.models.base import new_id
from mlops.money import from_decimal
from mlops.services.credits import grant_credits
from mlops.services.history import operator
from mlops.services.tokens import Limits, create_token
from mlops.services.users import create_user, update_user
from mlops.types import MICRO_PER_CREDIT, Role


class Command(BaseCommand):
    help = "Make a bearer token; the account is made when it is missing. The token is the last line, shown this once."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("username")
        parser.add_argument("--role", choices=[role.value for role in Role], help="role of the account")
        parser.add_argument("--credits", default="0", help="credits to grant, such as 100 or 2.5")
        parser.add_argument("--name", default="command line", help="what the token is for")
        parser.add_argument("--scope", action="append", help="what it may be used for, once per scope; default: all")
        parser.add_argument("--program", action="append", help="a program it is good for, once per name; default: all")
        parser.add_argument("--rate-limit", type=int, help="requests per minute")
        parser.add_argument("--days", type=int, help="days after which it expires; default: never")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            with transaction.atomic():
                user = self._account(options["username"], options["role"], options["credits"])
                raw = create_token(actor=user, user=user, name=options["name"], **_limits(options))[1]
        except DomainError as error:
            raise CommandError(error.message) from None
        self.stdout.write(raw)

    def _account(self, username: str, role: str | None, credits: str) -> User:
        actor = operator()
        user: User | None = User.objects.filter(username=username).first()
        if user is None:
            user = create_user(actor=actor, username=username, role=role or Role.ML_USER.value)
            self.stdout.write(_("Made the account %(name)s (%(role)s).") % {"name": username, "role": user.role})
        elif role is not None and role != user.role:
            user = update_user(actor=actor, user=user, fields={"role": role})
            self.stdout.write(_("The role of %(name)s is now %(role)s.") % {"name": username, "role": role})
        if amount := from_decimal(credits, MICRO_PER_CREDIT, field="credits"):
            grant_credits(actor=actor, user=user, amount=amount, key=f"create_token:{new_id()}", note="create_token")
        return user


def _limits(options: Mapping[str, Any]) -> Limits:
    limits: Limits = {"rate_limit": options["rate_limit"], "programs": options["program"] or []}
    if options["scope"]:
        limits["scopes"] = options["scope"]
    if options["days"] is not None:
        limits["expires_at"] = _in_days(options["days"])
    return limits


def _in_days(days: int) -> datetime:
    try:
        return timezone.now() + timedelta(days=days)
    except OverflowError:
        raise CommandError(_("No calendar has that many days.")) from None
