"""All questions of `two-tower doctor`, to a Pipelines API, a Kubernetes API, a registry and an object store."""

from pipelines.kubeflow import doctor, doctor_cluster
from pipelines.kubeflow.compiled import Plan
from pipelines.kubeflow.doctor import Finding
from pipelines.kubeflow.kube_access import KubeAccess
from two_tower.errors import InputError
from two_tower.releases import release


def examine(
    host: str, token: str, namespace: str, kubernetes_api: str, pipeline: str, releases: str, assignments: list[str]
) -> list[Finding]:
    """Ask what can be asked with the given access.

    Args:
        host: URL of the Pipelines API; empty for the one inside the cluster.
        token: Bearer token of the Pipelines API.
        namespace: Namespace of the runs; empty for that of the API or of the kubeconfig file.
        kubernetes_api: URL of a proxy of the Kubernetes API; empty for the kubeconfig file or the pod's cluster.
        pipeline: Pipeline that is to be submitted.
        releases: URL of the releases; empty if they are not asked for.
        assignments: Settings, KEY=VALUE.

    Raises:
        InputError: A setting is not allowed.
    """
    plan = Plan.of(pipeline, assignments)
    endpoint, findings = doctor.of_pipelines(host, token, namespace, plan)
    on_nodes = None
    try:
        access = KubeAccess.of(kubernetes_api or plan.settings.deploy.kubernetes_api)
    except InputError as error:
        findings.append(Finding("kubernetes", "unknown", str(error)))
    else:
        shared = endpoint is not None and not endpoint.namespace
        own = namespace or (endpoint.namespace if endpoint else "") or ("kubeflow" if shared else access.namespace)
        account = plan.cluster.service_account or ("pipeline-runner" if shared else "default-editor")
        findings += doctor_cluster.of_cluster(doctor_cluster.Cluster(access, plan, own, account))
        on_nodes = doctor_cluster.images_on_nodes(access)
    findings += doctor.of_images(plan, on_nodes)
    if releases:
        findings.append(doctor.of_storage(releases, release.list_releases))
    return findings
