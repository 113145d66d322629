"""The workflows and forms an executor serves."""

from __future__ import annotations

import pkgutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType, ModuleType

from stepwire.flow.errors import DefinitionError, UnknownWorkflow
from stepwire.flow.free_forms import FreeForm, registered_forms
from stepwire.flow.importing import import_module, import_package
from stepwire.flow.manifest import Manifest
from stepwire.flow.workflows import Workflow


class Registry:
    """Workflows by name, and free-standing forms by key; made once, then only read."""

    def __init__(self, workflows: Iterable[Workflow] = (), forms: Mapping[str, FreeForm] | None = None) -> None:
        found: dict[str, Workflow] = {}
        for workflow in workflows:
            known = found.setdefault(workflow.name, workflow)
            if known is not workflow:
                problem = f"two workflows are named {workflow.name!r}, here and at {known.location}"
                raise DefinitionError(problem, "rename one of the functions", workflow.location)
        self.workflows: Mapping[str, Workflow] = MappingProxyType(found)
        self.forms: Mapping[str, FreeForm] = forms or {}

    @classmethod
    def discover(cls, packages: Sequence[str]) -> Registry:
        """Import packages with all their submodules and collect the workflows in them, and the forms registered.

        Raises:
            PackageNotFound: a package does not exist.
            DefinitionError: a module cannot be imported, two workflows share a name, or a parameter cannot be filled.
        """
        modules = [module for package in packages for module in _modules(package)]
        workflows = (value for module in modules for value in vars(module).values() if isinstance(value, Workflow))
        registry = cls(workflows, registered_forms())
        for workflow in registry.workflows.values():
            workflow.prepare()
        for form in registry.forms.values():
            form.prepare()
        return registry

    def get(self, name: str) -> Workflow | None:
        """Return the workflow of that name, or None."""
        return self.workflows.get(name)

    def manifests(self) -> dict[str, Manifest]:
        """Return the manifest of every workflow, by name."""
        return {name: workflow.manifest for name, workflow in self.workflows.items()}

    def __getitem__(self, name: str) -> Workflow:
        found = self.workflows.get(name)
        if found is None:
            raise UnknownWorkflow(name)
        return found

    def __contains__(self, name: object) -> bool:
        return name in self.workflows

    def __iter__(self) -> Iterator[str]:
        return iter(self.workflows)

    def __len__(self) -> int:
        return len(self.workflows)


def _modules(package: str) -> Iterator[ModuleType]:
    root = import_package(package)
    yield root
    # Each package is imported here before the walk looks into it: an error in one is raised, not passed over.
    for info in pkgutil.walk_packages(getattr(root, "__path__", ()), f"{package}."):
        # Importing a __main__ runs a program.
        if info.name.rpartition(".")[2] != "__main__":
            yield import_module(info.name)
