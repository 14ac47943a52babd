"""Gates with the recipes for Keycloak."""

from gate import RECIPES, Gate, cluster

from .server import API_SECRET


def gates(folder, keycloak, receiver, service):
    """Two that ask for the receiver's list, and one that asks Keycloak about each token; one after the other."""
    clusters = [cluster("keycloak", keycloak.port), cluster("receive", receiver.port)]
    recipe, asking = RECIPES / "keycloak.yaml", RECIPES / "introspection" / "keycloak.yaml"
    listed = receiver.revocation()
    for name, recipe, after in (("gate-1", recipe, listed), ("gate-2", recipe, listed), ("gate-asks", asking, "")):
        configuration = recipe.read_text().replace("https://keycloak.example.com", keycloak.base) + after
        # The recipe with introspection asks with the secret.
        yield Gate(name, folder, service, configuration, clusters, INTROSPECTION_SECRET=API_SECRET)
