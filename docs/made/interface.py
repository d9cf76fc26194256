"""The reference of what can be imported, a page for each package, from docstrings."""

import pkgutil

import llmqueue_gym
from made.templates import render

# Packages with what they are for. Kernels and the command line are left out; policies and predictors have pages.
PACKAGES = {
    "systems": "What serves, and the scenario",
    "envs": "Environments and rollouts",
    "evaluation": "Metrics, intervals, comparisons",
    "theory": "Exact results",
    "workloads": "What comes, and when",
    "distributions": "Laws of sizes",
    "predictors": "What is predicted",
    "policies": "What policies are made of",
    "profiles": "Cost profiles",
    "boards": "Frozen scenarios and rankings",
    "export": "Into an engine",
    "integrations": "Adapters for training libraries",
}
SINGLE = ("jobs", "requests", "programs", "columns", "registry", "storage", "errors")
_OWN_PAGES = ("policies", "predictors")  # of these the modules that all share


def modules(package: str) -> list[str]:
    """Return the names of the public modules of a package, itself first."""
    found = [f"llmqueue_gym.{package}"]
    path = [f"{llmqueue_gym.__path__[0]}/{package.replace('.', '/')}"]
    for module in pkgutil.walk_packages(path, f"{found[0]}."):
        last = module.name.rpartition(".")[2]
        shared = package not in _OWN_PAGES or last in ("base", "fit", "quality", "cost") or ".learned" in module.name
        if not any(part.startswith("_") for part in module.name.split(".")) and shared:
            found.append(module.name)
    return found


def pages() -> dict[str, str]:
    """Return the pages by file name."""
    parts = {"top": ("The package itself", ["llmqueue_gym"])}
    parts |= {name: (words, modules(name)) for name, words in PACKAGES.items()}
    parts["tables"] = ("Tables, registries, errors", [f"llmqueue_gym.{name}" for name in SINGLE])
    made = {f"api/{name}.rst": render("api.rst.jinja", title=title, modules=of) for name, (title, of) in parts.items()}
    return {"api/index.md": render("apis.md.jinja", parts=parts), **made}
