"""What --help says of a setting: the string behind the field in the source."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import textwrap
from typing import Annotated, Any, get_type_hints

import tyro
from tyro.constructors import StructConstructorSpec, StructFieldSpec, StructTypeInfo

REGISTRY = tyro.constructors.ConstructorRegistry()
"""How tyro reads dataclasses here: by its own rules it would keep the source's line breaks."""


@REGISTRY.struct_rule
def _described(info: StructTypeInfo) -> StructConstructorSpec | None:
    """A dataclass, with the help of each field as one paragraph."""
    if not dataclasses.is_dataclass(info.type):
        return None
    kinds, texts = get_type_hints(info.type, include_extras=True), field_texts(info.type)
    fields = []
    for field in dataclasses.fields(info.type):
        kind, default = kinds[field.name], _default(field, info.default)
        if default == ():
            kind = Annotated[kind, tyro.conf.arg(help_behavior_hint="(default: none)")]
        fields.append(StructFieldSpec(field.name, kind, default, helptext=texts.get(field.name)))
    return StructConstructorSpec(instantiate=info.type, fields=tuple(fields))


def field_texts(kind: type) -> dict[str, str]:
    """Field -> the string that stands behind it in a class or its bases, without line breaks."""
    texts: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        if not dataclasses.is_dataclass(base) or base.__module__ == "types":
            continue  # dataclasses.make_dataclass has no source
        (tree,) = ast.parse(textwrap.dedent(inspect.getsource(base))).body
        for field, behind in zip(tree.body, tree.body[1:], strict=False):
            is_text = isinstance(behind, ast.Expr) and isinstance(behind.value, ast.Constant)
            if isinstance(field, ast.AnnAssign) and is_text:
                texts[field.target.id] = " ".join(str(behind.value.value).split())
    return texts


def _default(field: dataclasses.Field[Any], given: Any) -> Any:
    """A field's value in the object that is given as the default, if one is, or else its own."""
    if dataclasses.is_dataclass(given):
        return getattr(given, field.name)
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return tyro.MISSING_NONPROP if field.default is dataclasses.MISSING else field.default
