"""Corpora in the admin site: imported from files, searched, frozen and, while nothing uses them, deleted."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _
from unfold.decorators import action as unfold_action
from unfold.widgets import (
    UnfoldAdminFileFieldWidget,
    UnfoldAdminIntegerFieldWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextInputWidget,
)

from datasets import services
from datasets.admin.forms import ENCODINGS, FileForm
from datasets.admin.texts import beginning
from datasets.models import Corpus, Passage
from datasets.models.datasets import READY
from datasets.policies import corpus_policy
from datasets.types import Search
from mlops.admin import links
from mlops.admin.base import ReadOnlyInline, RecordAdmin, ServiceAdmin, actor_of
from mlops.admin.buttons import button
from mlops.errors import DomainError
from mlops.models import LanguageModel
from mlops.types import LanguageModelKind

FOUND = 5
UNITS = [("words", _("words")), ("characters", _("characters"))]


class CorpusImportForm(FileForm):
    options = ("chunk_size", "overlap", "unit", "encoding")

    file = forms.FileField(
        label=_("File"),
        allow_empty_file=True,
        widget=UnfoldAdminFileFieldWidget,
        help_text=_("Text or Markdown (form feeds between documents), or CSV, TSV, JSON, JSONL with title and text."),
    )
    name = forms.CharField(label=_("Name"), widget=UnfoldAdminTextInputWidget)
    description = forms.CharField(label=_("Description"), required=False, widget=UnfoldAdminTextInputWidget)
    chunk_size = forms.IntegerField(
        label=_("Size of a passage"),
        required=False,
        widget=UnfoldAdminIntegerFieldWidget,
        help_text=_("Documents are cut between sentences into passages of at most this size; empty: not cut."),
    )
    overlap = forms.IntegerField(
        label=_("Overlap"),
        required=False,
        widget=UnfoldAdminIntegerFieldWidget,
        help_text=_("How much of a passage the next one repeats at most."),
    )
    unit = forms.ChoiceField(label=_("Counted in"), choices=UNITS, widget=UnfoldAdminSelectWidget)
    encoding = forms.ChoiceField(label=_("Encoding"), choices=ENCODINGS, required=False, widget=UnfoldAdminSelectWidget)
    embedding_model = forms.ModelChoiceField(
        queryset=LanguageModel.objects.filter(kind=LanguageModelKind.EMBEDDING, is_enabled=True),
        label=_("Embedding model"),
        required=False,
        widget=UnfoldAdminSelectWidget,
        help_text=_("Gives passages vectors, for searches by meaning. You pay for it."),
    )


@admin.display(description=_("text"))
def beginning_of_text(passage: Passage) -> str:
    return beginning(passage.text)


def _freeze(request: HttpRequest, row: Corpus, data: dict[str, Any]) -> None:
    services.freeze_corpus(actor=actor_of(request), corpus=row)


def search_panel(request: HttpRequest, corpus: Corpus) -> SafeString | None:
    """A search to try, asked for in the address of the page."""
    if corpus.state != READY:
        return None
    query, search = request.GET.get("try", "").strip(), request.GET.get("by", Search.BM25.value)
    searches = [(Search.BM25.value, _("by words"))]
    if corpus.embedding_model_id is not None:
        searches += [(Search.VECTOR.value, _("by meaning")), (Search.HYBRID.value, _("by both"))]
    context: dict[str, Any] = {"query": query, "search": search, "searches": searches}
    if query:
        try:
            context["found"] = services.search_passages(
                actor=actor_of(request), corpus=corpus, query=query, k=FOUND, search=search
            )
        except DomainError as error:
            context["error"] = error.message
    return SafeString(render_to_string("datasets/admin/search.html", context))


class PassageInline(ReadOnlyInline):
    model = Passage
    policy = corpus_policy
    fields = readonly_fields = ("position", "title", beginning_of_text)
    ordering = ("position",)
    per_page = 10
    hide_title = True

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).defer("embedding")


@admin.register(Corpus)
class CorpusAdmin(RecordAdmin):
    policy = corpus_policy
    delete_action = "delete"
    list_display = ("name", "version", "state", "size", "embedding_model", "frozen_at", "created_at")
    list_select_related = ("embedding_model",)
    list_filter = ("state", ("frozen_at", admin.EmptyFieldListFilter))
    search_fields = ("name", "description")
    fields = (
        "name", "version", "state", "size", "embedding_model", "dimensions", "description", "content_hash", "frozen_at",
    )  # fmt: skip
    readonly_fields = ("version", "state", "size", "dimensions", "content_hash", "frozen_at")
    inlines = (PassageInline,)
    actions_list = ("import_file",)
    buttons = ("freeze",)

    class Media:
        css = {"all": ("datasets/import.css",)}

    freeze = button(
        "freeze", _("Freeze"), _freeze, description=_("The corpus cannot be deleted from now on."),
        available=lambda row: row.frozen_at is None and row.state == READY, icon="lock",
    )  # fmt: skip

    def perform_delete(self, request: HttpRequest, row: Corpus) -> None:
        services.delete_corpus(actor=actor_of(request), corpus=row)

    @unfold_action(description=_("Import"), url_path="import", icon="upload_file")  # type: ignore[untyped-decorator]  # unfold has no types
    def import_file(self, request: HttpRequest) -> HttpResponse:
        """GET the form, POST a file: on to the page of its import."""
        actor = actor_of(request)
        if not corpus_policy.can(actor, "create"):
            raise PermissionDenied
        form = CorpusImportForm(request.POST, request.FILES) if request.method == "POST" else CorpusImportForm()
        if form.is_valid():
            try:
                job = services.import_corpus(actor=actor, **form.arguments())
                return HttpResponseRedirect(reverse("admin:datasets_import_change", args=[job.pk]))
            except DomainError as error:
                form.refuse(error)
        title = _("Import a corpus")
        context = {**self.admin_site.each_context(request), "title": title, "form": form, "opts": self.model._meta}
        return render(request, "datasets/admin/import.html", context, status=400 if form.errors else 200)


@admin.register(Passage)
class PassageAdmin(ServiceAdmin):
    policy = corpus_policy
    list_display = ("corpus", "position", "title", beginning_of_text)
    list_select_related = ("corpus",)
    list_filter = (("corpus", admin.RelatedOnlyFieldListFilter),)
    search_fields = ("title", "text")
    fields = readonly_fields = ("corpus", "position", "title", "text", "created_at")
    ordering = ("corpus", "position")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).defer("embedding")


links.add_panel("datasets.corpus", links.Panel("search", _("Try a search"), search_panel))
