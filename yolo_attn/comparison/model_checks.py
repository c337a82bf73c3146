"""Check before the first run that every model can be built and takes the pretrained weights."""

from __future__ import annotations

from typing import Any

from ..errors import UserError
from ..experiment.plan import Plan
from ..messages import counted


def check_models(plan: Plan) -> None:
    """Build every model and load the weights of ``pretrained``, as the runs will do.

    Ultralytics' log shows the warnings of ``yolo-attn check`` about each model.

    Raises:
        UserError: If models cannot be built or the weights do not fit; one message for all of them. A fault of a layer
            keeps its own exception.
    """
    reasons: dict[str, None] = {}  # a set that keeps the order
    for file in dict.fromkeys(model.file for model in plan.planned_models):
        try:
            _check(file, plan.arguments)
        except UserError as error:
            reasons[str(error)] = None
    if len(reasons) == 1:
        raise UserError(next(iter(reasons)))
    if reasons:
        listed = " ".join(f"({number}) {reason.rstrip('.')}." for number, reason in enumerate(reasons, 1))
        raise UserError(f"{counted(len(reasons), 'problem')} with the models: {listed}")


def findings_of(model_yaml: str) -> list[str]:
    """Return the warnings of ``yolo-attn check`` about a model YAML at the scale of its name; none for a checkpoint."""
    from ..integration.queries import model_findings  # start-up time

    if not model_yaml.endswith((".yaml", ".yml")):
        return []
    return model_findings.graph_of(model_yaml)[1]


def _check(file: str, arguments: dict[str, Any]) -> None:
    from ..integration.queries import validation, yolo_command  # start-up time
    from ..integration.weights import loading  # start-up time

    model = validation.open_model(file)
    weights = arguments.get("pretrained")
    if isinstance(weights, str) and file.endswith((".yaml", ".yml")):
        yolo_command.check_model(weights)
        with loading.options(partial=arguments.get("partial") is True):
            model.load(weights)
