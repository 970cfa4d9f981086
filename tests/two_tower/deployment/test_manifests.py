from two_tower.config import DeployConfig
from two_tower.deployment import manifests

CONFIG = DeployConfig()


def test_a_release_is_pinned_beside_the_variables_of_the_user() -> None:
    pod = manifests.inference_service("s3://b", CONFIG, "old")["spec"]["predictor"]
    pod["containers"][0]["env"].insert(0, {"name": "OURS", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}})
    pod["containers"].append({"name": "sidecar"})
    pinned = manifests.pin(pod, "new")
    assert [one["name"] for one in pinned["containers"][0]["env"]] == [
        "OURS",
        "TWO_TOWER_ADMIN_TOKEN",
        "TWO_TOWER_ITEMS_TOKEN",
        "TWO_TOWER_RELEASE",
    ]
    assert manifests.pinned_release(pinned) == "new" and manifests.pinned_release(pod) == "old"
    assert pinned["containers"][1:] == [{"name": "sidecar"}]


def test_a_service_without_a_release_follows_the_pointer() -> None:
    for made in (manifests.inference_service("s3://b", CONFIG, None),):
        assert manifests.pinned_release(made["spec"]["predictor"]) is None


def test_the_services_of_two_slots_select_their_own_pods() -> None:
    blue, green = (manifests.deployment(f"two-tower-{color}", "s3://b", CONFIG, None) for color in ("blue", "green"))
    for slot, other in ((blue, green), (green, blue)):
        selector = manifests.service("any", slot["metadata"]["name"])["spec"]["selector"].items()
        assert selector <= slot["spec"]["template"]["metadata"]["labels"].items()
        assert not selector <= other["spec"]["template"]["metadata"]["labels"].items()
