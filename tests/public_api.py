"""The public names of nkfast and their signatures, a line each.

``python tests/public_api.py`` prints them; tests/data/public_api.txt holds what is promised.
Annotations are left out: types may become more exact.
"""

import inspect

import nkfast
import nkfast.cli
import nkfast.dask

MODULES = (nkfast, nkfast.activations, nkfast.dask, nkfast.gp, nkfast.images, nkfast.sketch)
EXTRA = (("nkfast.cli.main", nkfast.cli.main),)


def _signature(thing):
    try:
        signature = inspect.signature(thing)
    except ValueError:  # of a builtin
        return "(...)"
    plain = [p.replace(annotation=p.empty) for p in signature.parameters.values()]
    return str(signature.replace(parameters=plain, return_annotation=signature.empty))


def _members(name, kind):
    for key in sorted(dir(kind)):
        if key.startswith("_") or key == "set_output" or key.endswith("_request"):
            continue  # scikit-learn's
        member = inspect.getattr_static(kind, key)
        ours = next((c for c in kind.__mro__ if key in vars(c)), kind).__module__
        if not ours.startswith("nkfast"):
            continue
        if isinstance(member, property):
            yield f"{name}.{key}"
        elif callable(getattr(kind, key)):
            yield f"{name}.{key}{_signature(getattr(kind, key))}"


def lines():
    """Return the public surface, sorted."""
    found = {f"{name}{_signature(thing)}" for name, thing in EXTRA}
    for module in MODULES:
        for key in module.__all__:
            thing = getattr(module, key)
            name = f"{module.__name__}.{key}"
            if inspect.ismodule(thing) or isinstance(thing, str):
                found.add(name)
                continue
            found.add(f"{name}{_signature(thing)}")
            if inspect.isclass(thing):
                found.update(_members(name, thing))
    return sorted(found)


if __name__ == "__main__":
    print("\n".join(lines()))
