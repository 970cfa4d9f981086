"""The deployers of a cluster: KServe in the mode that the cluster has, or Kubernetes without KServe."""

from two_tower.config import DeployConfig
from two_tower.deployment import blue_green, deployment_mode, manifests
from two_tower.deployment.blue_green import BlueGreen
from two_tower.deployment.knative import Knative
from two_tower.deployment.kubernetes import Kubernetes
from two_tower.errors import InputError


def connect(releases: str, config: DeployConfig) -> Knative | BlueGreen:
    """Connect to the cluster that the settings name.

    Args:
        releases: URL of the releases.
        config: Settings of the deployment, with the deployer kserve or kubernetes.

    Raises:
        InputError: The pods of the cluster cannot read the releases, or the cluster or its mode is not known.
    """
    if "://" not in releases:
        raise InputError(
            f"releases={releases!r} is a folder on this machine, and the pods of a service cannot read it. Publish "
            "to object storage: --releases s3://BUCKET/PREFIX."
        )
    api = Kubernetes(config.kubernetes_api, config.namespace)
    if config.deployer == "kubernetes":
        return BlueGreen(releases, config, api, blue_green.DEPLOYMENT, annotations={})
    service = api.get(f"{api.path('serving.kserve.io/v1beta1', 'inferenceservices')}/{config.service}")
    mode = deployment_mode.of_service(service) if service else ""
    annotations: dict[str, str] = {}
    if not mode:
        manifest = manifests.inference_service(releases, config, None)
        mode, annotations = deployment_mode.of_cluster(api, manifest)
    if service and not service["spec"]["predictor"].get("containers"):
        raise InputError(
            f"InferenceService {config.service} has no container of its own, so it does not serve releases. Choose "
            "another name: --set service=NAME."
        )
    if mode in deployment_mode.KNATIVE:
        return Knative(releases, config, api)
    if mode in deployment_mode.STANDARD and service is None:
        return BlueGreen(releases, config, api, blue_green.STANDARD, annotations)
    raise InputError(_other_mode(config.service, api.namespace, mode))


def _other_mode(service: str, namespace: str, mode: str) -> str:
    if mode not in deployment_mode.STANDARD:
        return f"KServe deploys {service} in the mode {mode}. Use Knative or Standard, or --set deployer=kubernetes."
    return (
        f"InferenceService {service} is in KServe's mode {mode}, which does not split traffic and cannot be changed. "
        f"The deploy step makes {service}-blue, {service}-green and a Service {service} instead: delete this one "
        f"(`kubectl -n {namespace} delete inferenceservice {service}`), or choose another name with --set service=NAME."
    )
