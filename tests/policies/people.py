"""The people of the matrix, and the little world that they ask things of."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from django.contrib.auth.models import AnonymousUser, Group
from django.test import Client
from rest_framework.test import APIClient

from mlops.models import User
from mlops.types import Role
from programs.models import Program
from tests.factories import make_program, make_token, make_user
from tests.policies.table import Person

ROLES = {
    Person.DEACTIVATED: Role.ADMIN,
    Person.STRANGER: Role.ML_USER,
    Person.OWNER: Role.ML_USER,
    Person.OUTSIDER: Role.ML_ENGINEER,
    Person.ENGINEER: Role.ML_ENGINEER,
    Person.ADMIN: Role.ADMIN,
}
MEMBERS = (Person.OWNER, Person.ENGINEER)


@dataclass
class World:
    """People, each with a bearer token and, in browsers, a session from before the deactivated one was deactivated."""

    users: dict[Person, User]
    tokens: dict[Person, str]
    browsers: dict[Person, Client]
    group: Group

    @classmethod
    def create(cls, *, in_browsers: bool = True) -> World:
        users = {person: make_user(role.value, credits=1_000) for person, role in ROLES.items()}
        group = Group.objects.create(name="insiders")
        group.user_set.set([users[person] for person in MEMBERS])
        tokens = {person: make_token(user)[1] for person, user in users.items()}
        browsers = {person: Client() for person in Person}
        for person, user in users.items() if in_browsers else ():
            browsers[person].force_login(user)
        gone = users[Person.DEACTIVATED]
        gone.is_active = False
        gone.save(update_fields=["is_active"])
        return cls(users, tokens, browsers, group)

    def actor(self, person: Person) -> User | AnonymousUser:
        """As a service is given them."""
        return User.objects.get(pk=self.users[person].pk) if person in self.users else AnonymousUser()

    def api(self, person: Person) -> APIClient:
        client = APIClient()
        if person in self.tokens:
            client.credentials(HTTP_AUTHORIZATION=f"Bearer {self.tokens[person]}")
        return client

    @property
    def owner(self) -> User:
        return self.users[Person.OWNER]

    @property
    def engineer(self) -> User:
        return self.users[Person.ENGINEER]

    @property
    def admin(self) -> User:
        return self.users[Person.ADMIN]

    def program(self, status: str = "draft", **fields: Any) -> Program:
        """A program that is limited to the group."""
        return make_program(status=status, **{"group": self.group, **fields})

    @cached_property
    def draft(self) -> Program:
        return self.program()
