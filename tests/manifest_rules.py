"""What a strict schema does not see of a set of Kubernetes objects: names that must match, quantities, selectors, images.

Every rule is a function from objects to problems, each a sentence that names the object.
"""

import re
from collections.abc import Callable, Iterator
from decimal import Decimal

from tests.manifests import Object, containers, meets, pods

# Objects that people make, by reference: secrets, and the certificate authority.
SECRETS = {
    "callscribe-s3": {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"},
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
            asked, most = container["resources"]["requests"], container["resources"]["limits"]
            for resource, request in asked.items():
                if resource in most and amount(request) > amount(most[resource]):
                    yield f"{name}: asks for more {resource} than its limit"
                if "/" in resource and request != most.get(resource):
                    yield f"{name}: request and limit of {resource} differ"
            if "memory" not in most:
                yield f"{name}: no memory limit"
        for volume in pod.get("volumes", ()):
            if "emptyDir" in volume and not amount(volume["emptyDir"].get("sizeLimit", 0)):
                yield f"{name}: emptyDir {volume['name']} has no size limit"
    for each in objects:
        if each["kind"] == "ResourceQuota":
            for quantity in each["spec"]["hard"].values():
                amount(quantity)


def names_exist(objects: list[Object]) -> Iterator[str]:
    """Accounts, config maps, secrets and their keys, claims, priority classes, volumes, ports, containers."""
    known = {(each["kind"], each["metadata"].get("name")) for each in objects}
    known |= {("ConfigMap", name) for name in CONFIG_MAPS} | {("Secret", name) for name in SECRETS}
    maps = {each["metadata"]["name"]: each.get("data", {}) for each in objects if each["kind"] == "ConfigMap"}
    for name, _, pod in pods(objects):
        wanted = {("ServiceAccount", pod.get("serviceAccountName"))}
        if "priorityClassName" in pod:
            wanted.add(("PriorityClass", pod["priorityClassName"]))
        for volume in pod.get("volumes", ()):
            if "persistentVolumeClaim" in volume:
                wanted.add(("PersistentVolumeClaim", volume["persistentVolumeClaim"]["claimName"]))
            if "configMap" in volume:
                wanted.add(("ConfigMap", volume["configMap"]["name"]))
        volumes = {volume["name"] for volume in pod.get("volumes", ())}
        for container in containers(pod):
            for source in container.get("envFrom", ()):
                kind = "Secret" if "secretRef" in source else "ConfigMap"
                wanted.add((kind, (source.get("secretRef") or source["configMapRef"])["name"]))
            for variable in container.get("env", ()):
                reference = variable.get("valueFrom", {})
                if secret := reference.get("secretKeyRef"):
                    wanted.add(("Secret", secret["name"]))
                    if secret["key"] not in SECRETS[secret["name"]]:
                        yield f"{name}: {secret['name']} has no {secret['key']}"
                if entry := reference.get("configMapKeyRef"):
                    wanted.add(("ConfigMap", entry["name"]))
                    if entry["key"] not in maps.get(entry["name"], {}):
                        yield f"{name}: {entry['name']} has no {entry['key']}"
            if strays := {mount["name"] for mount in container.get("volumeMounts", ())} - volumes:
                yield f"{name}: no volume {strays}"
            ports = {port["name"] for port in container.get("ports", ())}
            for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
                port = container.get(probe, {}).get("httpGet", {}).get("port")
                if port is not None and port not in ports:
                    yield f"{name}: {probe} asks port {port}"
        for kind, missing in wanted - known:
            yield f"{name}: no {kind} {missing}"
    for each in objects:
        if each["kind"] == "RoleBinding":
            role = each["roleRef"]
            named = [(role["kind"], role["name"]), *((one["kind"], one["name"]) for one in each["subjects"])]
            for kind, missing in set(named) - known:
                yield f"RoleBinding {each['metadata']['name']}: no {kind} {missing}"
        if each["kind"] == "Job":
            inside = {container["name"] for container in containers(each["spec"]["template"]["spec"])}
            for rule in each["spec"].get("podFailurePolicy", {}).get("rules", ()):
                meant = rule.get("onExitCodes", {}).get("containerName")
                if meant is not None and meant not in inside:
                    yield f"Job: podFailurePolicy names container {meant}"
        if each["kind"] == "LocalQueue" and ("ClusterQueue", each["spec"]["clusterQueue"]) not in known:
            yield f"LocalQueue {each['metadata']['name']}: no ClusterQueue {each['spec']['clusterQueue']}"
    queues = {each["metadata"]["name"] for each in objects if each["kind"] == "LocalQueue"}
    for each in objects:
        queue = each["metadata"].get("labels", {}).get("kueue.x-k8s.io/queue-name")
        if queue is not None and queue not in queues:
            yield f"{each['kind']}: no LocalQueue {queue}"


def selectors_meet(objects: list[Object]) -> Iterator[str]:
    """Of deployments, services and network policies."""
    labels = {name: found for name, found, _ in pods(objects)}
    ports = {name: {port["name"] for one in containers(pod) for port in one.get("ports", ())}
             for name, _, pod in pods(objects)}  # fmt: skip
    for each in objects:
        kind, name = each["kind"], each["metadata"].get("name")
        if kind == "Deployment" and not meets(each["spec"]["selector"], each["spec"]["template"]["metadata"]["labels"]):
            yield f"Deployment {name}: its selector does not meet its own pods"
        if kind == "Deployment":
            own = [one for one, found in labels.items() if meets(each["spec"]["selector"], found)]
            if own != [f"Deployment {name}"]:
                yield f"Deployment {name}: its selector meets {own}"
        if kind == "Service":
            behind = [one for one, found in labels.items() if meets({"matchLabels": each["spec"]["selector"]}, found)]
            if not behind:
                yield f"Service {name}: meets no pod"
            for port in each["spec"]["ports"]:
                if any(port["targetPort"] not in ports[one] for one in behind):
                    yield f"Service {name}: no pod has a port {port['targetPort']}"
        if kind == "NetworkPolicy":
            peers = [peer for rules, way in (("ingress", "from"), ("egress", "to"))
                     for rule in each["spec"].get(rules, ()) for peer in rule.get(way, ())]  # fmt: skip
            mine = [peer["podSelector"] for peer in peers if "podSelector" in peer and "namespaceSelector" not in peer]
            for selector in (each["spec"]["podSelector"], *mine):
                if not any(meets(selector, found) for found in labels.values()):
                    yield f"NetworkPolicy {name}: meets no pod with {selector}"
    special = [each["spec"]["podSelector"] for each in objects
               if each["kind"] == "NetworkPolicy" and each["metadata"]["name"] not in EVERYWHERE]  # fmt: skip
    for name, found in labels.items():
        if not any(meets(selector, found) for selector in special):
            yield f"{name}: no network policy lets it out"


def pods_are_restricted(objects: list[Object]) -> Iterator[str]:
    """Pod security `restricted`, and beyond it: a read-only root, a known user, tokens where they are needed alone."""
    allowed = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}
    talkers = {"callscribe-worker", "callscribe-reconciler"}
    for name, _, pod in pods(objects):
        security = pod["securityContext"]
        if not security["runAsNonRoot"] or security["runAsUser"] != 10001:
            yield f"{name}: runs as another user"
        if security["seccompProfile"] != {"type": "RuntimeDefault"}:
            yield f"{name}: no seccomp profile"
        if any(pod.get(key) for key in ("hostNetwork", "hostPID", "hostIPC")):
            yield f"{name}: shares something of the host"
        for container in containers(pod):
            own = container["securityContext"]
            if own["allowPrivilegeEscalation"] or own["capabilities"] != {"drop": ["ALL"]}:
                yield f"{name}: has privileges"
            if not own["readOnlyRootFilesystem"]:
                yield f"{name}: its root file system can be written to"
        for volume in pod.get("volumes", ()):
            if not (set(volume) - {"name"}) <= allowed:
                yield f"{name}: volume {volume['name']} is of a kind that restricted pods may not have"
        if pod["automountServiceAccountToken"] != (pod["serviceAccountName"] in talkers):
            yield f"{name}: token of {pod['serviceAccountName']}: {pod['automountServiceAccountToken']}"


def everything_is_in_the_namespace(objects: list[Object]) -> Iterator[str]:
    """Of callscribe, but for what belongs to the cluster."""
    for each in objects:
        if each["kind"] not in CLUSTER_WIDE and each["metadata"].get("namespace") != "callscribe":
            yield f"{each['kind']} {each['metadata'].get('name')}: in namespace {each['metadata'].get('namespace')}"


RULES: tuple[Callable[[list[Object]], Iterator[str]], ...] = (
    images_are_pinned, quantities_parse, names_exist, selectors_meet, pods_are_restricted,
    everything_is_in_the_namespace,
)  # fmt: skip
