"""`two-tower doctor`."""

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from pipelines.cli.command import command
from pipelines.cli.options import ClusterAssignments
from pipelines.cli.output import Output
from pipelines.exit_status import ExitStatus

if TYPE_CHECKING:
    from pipelines.kubeflow.doctor import Finding

_STYLES = {"works": "green", "absent": "dim", "problem": "red", "unknown": "yellow"}


@command("two-tower doctor --host http://localhost:8080 --namespace shop --set deployer=kserve", extras="pipeline")
def doctor(
    output: Output,
    host: Annotated[
        str, typer.Option(envvar="KF_PIPELINES_ENDPOINT", help="URL of the Pipelines API. Default: the in-cluster one.")
    ] = "",
    token: Annotated[str, typer.Option(envvar="TWO_TOWER_TOKEN", help="Bearer token, if the API requires one.")] = "",
    namespace: Annotated[str, typer.Option(help="Namespace of the runs. Default: that of the kubeconfig file.")] = "",
    kubernetes_api: Annotated[
        str,
        typer.Option(
            help="URL of `kubectl proxy`. Default: the setting of this name, the kubeconfig, or this pod's cluster."
        ),
    ] = "",
    pipeline: Annotated[Literal["training", "refresh_items", "dataset"], typer.Option(help="Pipeline.")] = "training",
    releases: Annotated[str, typer.Option(help="s3:// or gs:// URL of the releases.")] = "",
    assignments: ClusterAssignments = None,
) -> int:
    """Ask a cluster what it has, and print what works with these settings. Exit status 3: something does not.

    Questions that cannot be asked, for example without access to Kubernetes, are listed as unknown.
    """
    with output.progress("asking the cluster"):
        from pipelines.kubeflow.examine import examine

        findings = examine(host, token, namespace, kubernetes_api, pipeline, releases, assignments or [])
    _print(output, findings)
    output.json([vars(finding) for finding in findings])
    if all(finding.state == "unknown" for finding in findings):
        output.warn("nothing could be asked. Pass --host URL, or set KUBECONFIG.")
        return ExitStatus.BAD_INPUT
    return ExitStatus.HELD if any(finding.state == "problem" for finding in findings) else ExitStatus.DONE


def _print(output: Output, findings: "list[Finding]") -> None:
    from pipelines.cli.console import labelled

    for finding in findings:
        hint = f"\n{'':22}→ {finding.setting}" if finding.setting else ""
        text = labelled(f"{finding.state:<8}", _STYLES[finding.state], f" {finding.topic:<12} {finding.detail}{hint}")
        output.text.print(text, soft_wrap=True)
