"""What a strict schema does not see of Kubernetes objects: names that must match, quantities, selectors, images.

Every rule is a function from objects to problems, each a sentence that names the object.
"""

import re
from collections.abc import Callable, Collection, Iterator
from decimal import Decimal

from tests.manifests import Object, containers, meets, pods

# Objects that people make, by reference: secrets, and the certificate authority.
SECRETS = {
    "callscribe-s3": {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"},
    "callscribe-s3-eraser": {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"},
    "callscribe-s3-metrics": {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"},
    "callscribe-prefect": {"PREFECT_API_URL", "PREFECT_API_KEY", "PREFECT_API_AUTH_STRING"},
    "callscribe-hub": {"HF_TOKEN", "HF_ENDPOINT"},
    "callscribe-prefect-database": {"PREFECT_SERVER_DATABASE_CONNECTION_URL"},
    "registry": set(),
}
CONFIG_MAPS = {"callscribe-ca"}
CLUSTER_WIDE = {"Namespace", "PriorityClass", "ResourceFlavor", "ClusterQueue"}
QUANTITY = re.compile(r"(\d+(?:\.\d+)?)(m|k|M|G|T|Ki|Mi|Gi|Ti)?")
FACTORS = {"m": Decimal("0.001"), "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
FACTORS |= {f"{unit}i": 1024**power for power, unit in enumerate("KMGT", start=1)}
# What pod security `restricted` lets a volume be.
VOLUMES = {
    "configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret",
}  # fmt: skip
TALKERS = {"callscribe-worker", "callscribe-reconciler"}  # accounts whose pods talk to the Kubernetes API
EVERYWHERE = {"deny-all", "dns"}  # policies that select every pod


def amount(quantity: object) -> Decimal:
    """A Kubernetes quantity as a number; a ValueError where it is none."""
    found = QUANTITY.fullmatch(str(quantity))
    if found is None:
        message = f"{quantity!r} is no quantity"
        raise ValueError(message)
    return Decimal(found[1]) * FACTORS.get(found[2] or "", 1)


def images_are_pinned(objects: list[Object]) -> Iterator[str]:
    """By digest."""
    for name, _, pod in pods(objects):
        for container in containers(pod):
            if re.search(r"@sha256:[0-9a-f]{64}$", container["image"]) is None:
                yield f"{name}: image {container['image']} has no digest"


def quantities_parse(objects: list[Object]) -> Iterator[str]:
    """And a request is no more than its limit; of GPUs they are the same."""
    for name, _, pod in pods(objects):
        for container in containers(pod):
            yield from (f"{name}: {problem}" for problem in _amounts(container["resources"]))
        for volume in pod.get("volumes", ()):
            if "emptyDir" in volume and not amount(volume["emptyDir"].get("sizeLimit", 0)):
                yield f"{name}: emptyDir {volume['name']} has no size limit"
    for each in objects:
        if each["kind"] == "ResourceQuota":
            for quantity in each["spec"]["hard"].values():
                amount(quantity)


def _amounts(resources: Object) -> Iterator[str]:
    asked, most = resources["requests"], resources["limits"]
    for resource, request in asked.items():
        if resource in most and amount(request) > amount(most[resource]):
            yield f"asks for more {resource} than its limit"
        if "/" in resource and request != most.get(resource):
            yield f"request and limit of {resource} differ"
    if "memory" not in most:
        yield "no memory limit"


def names_exist(objects: list[Object]) -> Iterator[str]:
    """Accounts, config maps, secrets, claims, priority classes, roles, queues: by kind and name."""
    known = {(each["kind"], each["metadata"].get("name")) for each in objects}
    known |= {("ConfigMap", name) for name in CONFIG_MAPS} | {("Secret", name) for name in SECRETS}
    for name, _, pod in pods(objects):
        yield from (f"{name}: no {kind} {missing}" for kind, missing in set(_named_by(pod)) - known)
    for each in objects:
        name = f"{each['kind']} {each['metadata'].get('name')}"
        wanted: list[tuple[str, str]] = []
        if each["kind"] == "RoleBinding":
            wanted += [(one["kind"], one["name"]) for one in (each["roleRef"], *each["subjects"])]
        if each["kind"] == "LocalQueue":
            wanted.append(("ClusterQueue", each["spec"]["clusterQueue"]))
        if queue := each["metadata"].get("labels", {}).get("kueue.x-k8s.io/queue-name"):
            wanted.append(("LocalQueue", queue))
        yield from (f"{name}: no {kind} {missing}" for kind, missing in set(wanted) - known)


def _named_by(pod: Object) -> Iterator[tuple[str, str]]:
    """What a pod refers to, as (kind, name)."""
    yield "ServiceAccount", pod["serviceAccountName"]
    if "priorityClassName" in pod:
        yield "PriorityClass", pod["priorityClassName"]
    for volume in pod.get("volumes", ()):
        if "persistentVolumeClaim" in volume:
            yield "PersistentVolumeClaim", volume["persistentVolumeClaim"]["claimName"]
        if "configMap" in volume:
            yield "ConfigMap", volume["configMap"]["name"]
    kinds = {
        "secretRef": "Secret",
        "configMapRef": "ConfigMap",
        "secretKeyRef": "Secret",
        "configMapKeyRef": "ConfigMap",
    }
    for container in containers(pod):
        sources = [*container.get("envFrom", ()), *(one.get("valueFrom", {}) for one in container.get("env", ()))]
        for source in sources:
            yield from ((kinds[key], said["name"]) for key, said in source.items() if key in kinds)


def keys_exist(objects: list[Object]) -> Iterator[str]:
    """Keys of secrets and config maps that environment variables are taken from."""
    keys: dict[str, Collection[str]] = dict(SECRETS)
    keys |= {each["metadata"]["name"]: each.get("data", {}) for each in objects if each["kind"] == "ConfigMap"}
    for name, _, pod in pods(objects):
        for variable in (one for container in containers(pod) for one in container.get("env", ())):
            source = variable.get("valueFrom", {})
            said = source.get("secretKeyRef") or source.get("configMapKeyRef")
            if said and said["key"] not in keys.get(said["name"], ()):
                yield f"{name}: {said['name']} has no {said['key']}"


def parts_of_a_pod_go_together(objects: list[Object]) -> Iterator[str]:
    """Mounts name volumes, probes name ports, and podFailurePolicy names a container."""
    for name, _, pod in pods(objects):
        volumes = {volume["name"] for volume in pod.get("volumes", ())}
        for container in containers(pod):
            if strays := {mount["name"] for mount in container.get("volumeMounts", ())} - volumes:
                yield f"{name}: no volume {strays}"
            for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
                port = container.get(probe, {}).get("httpGet", {}).get("port")
                if port is not None and port not in _ports(pod):
                    yield f"{name}: {probe} asks port {port}"
    for job in (each for each in objects if each["kind"] == "Job"):
        inside = {container["name"] for container in containers(job["spec"]["template"]["spec"])}
        for rule in job["spec"].get("podFailurePolicy", {}).get("rules", ()):
            meant = rule.get("onExitCodes", {}).get("containerName")
            if meant is not None and meant not in inside:
                yield f"Job: podFailurePolicy names container {meant}"


def _ports(pod: Object) -> set[str]:
    return {port["name"] for container in containers(pod) for port in container.get("ports", ())}


def selectors_meet(objects: list[Object]) -> Iterator[str]:
    """Of deployments, and services, whose ports exist."""
    labels = {name: found for name, found, _ in pods(objects)}
    ports = {name: _ports(pod) for name, _, pod in pods(objects)}
    for each in objects:
        name = each["metadata"].get("name")
        if each["kind"] == "Deployment":
            own = [one for one, found in labels.items() if meets(each["spec"]["selector"], found)]
            if own != [f"Deployment {name}"]:
                yield f"Deployment {name}: its selector meets {own or 'no pod'}"
        if each["kind"] == "Service":
            behind = [one for one, found in labels.items() if meets({"matchLabels": each["spec"]["selector"]}, found)]
            wanted = {port["targetPort"] for port in each["spec"]["ports"]}
            if not behind or any(not wanted <= ports[one] for one in behind):
                yield f"Service {name}: no pod with its ports, of {behind}"


def policies_meet(objects: list[Object]) -> Iterator[str]:
    """Every network policy is of some pod and names pods that are there; every pod has one that lets it out."""
    labels = {name: found for name, found, _ in pods(objects)}
    policies = [each for each in objects if each["kind"] == "NetworkPolicy"]
    for policy in policies:
        for selector in (policy["spec"]["podSelector"], *_peers(policy["spec"])):
            if not any(meets(selector, found) for found in labels.values()):
                yield f"NetworkPolicy {policy['metadata']['name']}: meets no pod with {selector}"
    special = [each["spec"]["podSelector"] for each in policies if each["metadata"]["name"] not in EVERYWHERE]
    for name, found in labels.items():
        if not any(meets(selector, found) for selector in special):
            yield f"{name}: no network policy lets it out"


def _peers(policy: Object) -> list[Object]:
    """The pods of this namespace that a policy lets in or out."""
    peers = [peer for rule in policy.get("ingress", ()) for peer in rule.get("from", ())]
    peers += [peer for rule in policy.get("egress", ()) for peer in rule.get("to", ())]
    return [peer["podSelector"] for peer in peers if "podSelector" in peer and "namespaceSelector" not in peer]


def pods_are_restricted(objects: list[Object]) -> Iterator[str]:
    """Pod security `restricted`, and beyond it: a known user, and tokens where they are needed alone."""
    for name, _, pod in pods(objects):
        security = pod["securityContext"]
        if not security["runAsNonRoot"] or security["runAsUser"] != 10001:
            yield f"{name}: runs as another user"
        if security["seccompProfile"] != {"type": "RuntimeDefault"}:
            yield f"{name}: no seccomp profile"
        if any(pod.get(key) for key in ("hostNetwork", "hostPID", "hostIPC")):
            yield f"{name}: shares something of the host"
        for volume in pod.get("volumes", ()):
            if not (set(volume) - {"name"}) <= VOLUMES:
                yield f"{name}: volume {volume['name']} is of a kind that restricted pods may not have"
        if pod["automountServiceAccountToken"] != (pod["serviceAccountName"] in TALKERS):
            yield f"{name}: token of {pod['serviceAccountName']}: {pod['automountServiceAccountToken']}"


def containers_are_restricted(objects: list[Object]) -> Iterator[str]:
    """The same of containers, and beyond it: a read-only root file system."""
    for name, _, pod in pods(objects):
        for container in containers(pod):
            own = container["securityContext"]
            if own["allowPrivilegeEscalation"] or own["capabilities"] != {"drop": ["ALL"]}:
                yield f"{name}: has privileges"
            if not own["readOnlyRootFilesystem"]:
                yield f"{name}: its root file system can be written to"


def everything_is_in_the_namespace(objects: list[Object]) -> Iterator[str]:
    """Of callscribe, but for what belongs to the cluster."""
    for each in objects:
        if each["kind"] not in CLUSTER_WIDE and each["metadata"].get("namespace") != "callscribe":
            yield f"{each['kind']} {each['metadata'].get('name')}: in namespace {each['metadata'].get('namespace')}"


RULES: tuple[Callable[[list[Object]], Iterator[str]], ...] = (
    images_are_pinned, quantities_parse, names_exist, keys_exist, parts_of_a_pod_go_together, selectors_meet,
    policies_meet, pods_are_restricted, containers_are_restricted, everything_is_in_the_namespace,
)  # fmt: skip
