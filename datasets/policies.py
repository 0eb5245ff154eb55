"""Who may do what with datasets and corpora."""

from __future__ import annotations

from mlops.policies import Policy, engineers

dataset_policy = Policy(
    "dataset", {"view": engineers, "create": engineers, "change": engineers, "freeze": engineers, "delete": engineers}
)

corpus_policy = Policy("corpus", {"view": engineers, "create": engineers, "freeze": engineers, "delete": engineers})

import_policy = Policy("import", {"view": engineers, "cancel": engineers})
