"""Writes the CustomResourceDefinitions in deploy/helm/weft/crds from the manifests' shapes in weft.model.kinds.cilium.

python tools/gen_crds.py           write them
python tools/gen_crds.py --check   exit 1 if they differ from what would be written

What a shape does not know is kept by the API server, not dropped, for the agent refuses it and says so in the object's
condition: a selector whose misspelt field is dropped would select everything.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import yaml
from msgspec import inspect

from weft.model.kinds.cilium import CiliumClusterwideNetworkPolicy, CiliumNetworkPolicy
from weft.model.kinds.meta import ObjectMeta

FOLDER = Path(__file__).resolve().parent.parent / "deploy/helm/weft/crds"
GROUP, VERSION = "cilium.io", "v2"
KINDS: tuple[tuple[type, str, tuple[str, ...], str], ...] = (
    (CiliumNetworkPolicy, "ciliumnetworkpolicies", ("cnp", "ciliumnp"), "Namespaced"),
    (CiliumClusterwideNetworkPolicy, "ciliumclusterwidenetworkpolicies", ("ccnp",), "Cluster"),
)
Schema = dict[str, Any]
KEPT: Schema = {"x-kubernetes-preserve-unknown-fields": True}
_TEXT: Schema = {"type": "string"}
STATUS: Schema = {
    "type": "object",
    "properties": {
        "conditions": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["status", "type"],
                "properties": {
                    "type": _TEXT,
                    "status": _TEXT,
                    "reason": _TEXT,
                    "message": _TEXT,
                    "lastTransitionTime": {"type": "string", "format": "date-time"},
                    "observedGeneration": {"type": "integer", "format": "int64"},
                },
            },
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["type"],
        }
    },
    **KEPT,
}
"""Cilium's conditions: Valid."""


def definition(shape: type, plural: str, short: tuple[str, ...], scope: str) -> Schema:
    """The CustomResourceDefinition of one kind."""
    schema = schema_of(inspect.type_info(shape))
    schema["properties"]["status"] = STATUS
    columns = [
        {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
        {"name": "Valid", "type": "string", "jsonPath": ".status.conditions[?(@.type=='Valid')].status"},
    ]
    version = {
        "name": VERSION,
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": schema},
        "subresources": {"status": {}},
        "additionalPrinterColumns": columns,
    }
    names = {
        "kind": shape.__name__,
        "listKind": f"{shape.__name__}List",
        "plural": plural,
        "singular": shape.__name__.lower(),
        "shortNames": list(short),
        "categories": ["cilium", "ciliumpolicy"],
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{GROUP}"},
        "spec": {"group": GROUP, "scope": scope, "names": names, "versions": [version]},
    }


def schema_of(type_: inspect.Type) -> Schema:
    """A structural schema (apiextensions.k8s.io/v1). TypeError for a type that no manifest has."""
    match type_:
        case inspect.Metadata(type=inner):
            return schema_of(inner)
        case inspect.StructType(cls=cls) if cls is ObjectMeta:
            return {"type": "object"}
        case inspect.StructType(fields=fields):
            return _object(fields)
        case inspect.VarTupleType(item_type=item):
            return {"type": "array", "items": schema_of(item)}
        case inspect.DictType(value_type=value):
            return {"type": "object", "additionalProperties": schema_of(value)}
        case inspect.StrType(min_length=least):
            return {**_TEXT, **({"minLength": least} if least else {})}
        case inspect.BoolType():
            return {"type": "boolean"}
        case inspect.IntType():
            return {"type": "integer"}
        case inspect.AnyType():
            return dict(KEPT)
        case inspect.UnionType(types=types):
            return _union(types)
    raise TypeError(f"{type_}: no manifest has one yet; say here what its schema is")


def _object(fields: tuple[inspect.Field, ...]) -> Schema:
    properties = {field.encode_name: schema_of(field.type) for field in fields}
    required = sorted(field.encode_name for field in fields if field.required)
    found: Schema = {"type": "object", "properties": properties, **KEPT}
    return {**found, "required": required} if required else found


def _union(types: tuple[inspect.Type, ...]) -> Schema:
    """With null, or of a number and a text."""
    some = [one for one in types if not isinstance(one, inspect.NoneType)]
    nullable = {"nullable": True} if len(some) < len(types) else {}
    if len(some) == 1:
        return {**schema_of(some[0]), **nullable}
    if {type(one) for one in some} == {inspect.IntType, inspect.StrType}:
        return {"x-kubernetes-int-or-string": True, **nullable}
    raise TypeError(f"{types}: no manifest has such a union yet; say here what its schema is")


class _Plain(yaml.SafeDumper):
    """Everything written out: what is equal is not one object in a manifest."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def text(crd: Schema) -> str:
    """The file."""
    head = "# Generated by tools/gen_crds.py from weft/model/kinds/cilium.py; do not edit.\n"
    return head + yaml.dump(crd, Dumper=_Plain, sort_keys=False, width=120)


def main(words: list[str]) -> int:
    """Exit code."""
    code = 0
    for kind in KINDS:
        path, wanted = FOLDER / f"{kind[1]}.yaml", text(definition(*kind))
        if "--check" not in words:
            path.write_text(wanted)
        elif not path.exists() or path.read_text() != wanted:
            print(f"{path} is not what tools/gen_crds.py writes: run it", file=sys.stderr)
            code = 1
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
