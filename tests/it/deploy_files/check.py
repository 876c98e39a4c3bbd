"""Reads the files in deploy/ with the published schemas, and prints what they come to as JSON; what is wrong ends it.

check.py kubernetes FOLDER   assembles the kustomization as kustomize does, as far as ours need it, and validates each object
check.py compose FILE        validates a compose file by the compose specification
"""

import json
import os
import sys

import yaml

KNOWN = {"apiVersion", "kind", "namespace", "resources", "labels", "images", "patches"}


def load(path):
    with open(path) as file:
        return [document for document in yaml.safe_load_all(file) if document is not None]


def merged(old, new):
    """A strategic merge: maps are merged, lists of what has a name are merged by it, other lists are replaced."""
    if isinstance(old, dict) and isinstance(new, dict):
        result = dict(old)
        for key, value in new.items():
            if value is None:
                result.pop(key, None)
            else:
                result[key] = merged(old[key], value) if key in old else value
        return result
    by_name = lambda list_: isinstance(list_, list) and all(isinstance(entry, dict) and "name" in entry for entry in list_)
    if by_name(old) and by_name(new):
        result = {entry["name"]: entry for entry in old}
        for entry in new:
            result[entry["name"]] = merged(result.get(entry["name"], {}), entry)
        return list(result.values())
    return new


def assembled(folder):
    (file,) = load(os.path.join(folder, "kustomization.yaml"))
    unknown = set(file) - KNOWN
    if unknown:
        sys.exit(f"{folder}: this check does not know {sorted(unknown)} of kustomize")
    objects = []
    for name in file["resources"]:
        path = os.path.join(folder, name)
        objects += assembled(path) if os.path.isdir(path) else load(path)
    for patch in file.get("patches", []):
        (change,) = load(os.path.join(folder, patch["path"]))
        identity = lambda object_: (object_["apiVersion"], object_["kind"], object_["metadata"]["name"])
        targets = [index for index, object_ in enumerate(objects) if identity(object_) == identity(change)]
        if len(targets) != 1:
            sys.exit(f"{folder}/{patch['path']}: there are {len(targets)} objects that it could change")
        objects[targets[0]] = merged(objects[targets[0]], change)
    images = {image["name"]: image for image in file.get("images", [])}
    for object_ in objects:
        metadata = object_["metadata"]
        for label in file.get("labels", []):
            if set(label) != {"pairs"}:
                sys.exit(f"{folder}: this check knows no labels that change selectors")
            metadata["labels"] = {**metadata.get("labels", {}), **label["pairs"]}
        if "namespace" in file:
            metadata["namespace"] = file["namespace"]
        for container in object_.get("spec", {}).get("template", {}).get("spec", {}).get("containers", []):
            image = images.get(container["image"])
            if image is not None:
                container["image"] = f"{image['newName']}:{image['newTag']}"
    return objects


def kubernetes(folder):
    import kubernetes_validate

    objects = assembled(folder)
    # The oldest that has all that we use, and the newest that there is a schema of.
    for version in ["1.30", kubernetes_validate.latest_version()]:
        for object_ in objects:
            kubernetes_validate.validate(object_, version, strict=True)
    return objects


def compose(path):
    from compose_spec import PyCompose

    with open(path) as file:
        text = file.read()
    # It refuses what the specification does not have.
    PyCompose.from_yaml(text)
    return yaml.safe_load(text)


print(json.dumps({"kubernetes": kubernetes, "compose": compose}[sys.argv[1]](sys.argv[2])))
