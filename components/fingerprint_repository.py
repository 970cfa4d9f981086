from kfp import dsl

from components import DATA_IMAGE


@dsl.component(base_image=DATA_IMAGE, install_kfp_package=False)
def fingerprint_repository(address: str, known: str) -> str:
    """Return a text that changes with the definitions and the data of a feature repository: `known`, or their hash."""
    if known:
        return known
    from two_tower.data.fingerprint import address_fingerprint

    return address_fingerprint(address)
