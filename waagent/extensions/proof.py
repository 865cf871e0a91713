"""What was installed before a policy required signatures: the package that its publisher signed takes its place.

    prove(...) -> ExtensionError | None      leaves the mark of a good signature, or tells why it may not run

The package is fetched once, its signature is checked, and it is unpacked anew; config/, status/ and mrseq are kept,
as whenever a package is unpacked. To compare it with what is there would not do: whether a file that it does not
have was written by the handler or came with a package of somebody else cannot be told. The install command follows,
because what it has put beside the package's files is gone, too; so the state is NotInstalled from here on.

Source: extensions 9.5.
"""

from __future__ import annotations

from waagent.errors import ExtensionError, MachineError, SystemRefused
from waagent.extensions import handler as handlers
from waagent.extensions import packages
from waagent.extensions.layout import Layout
from waagent.extensions.packages import Release, Source
from waagent.extensions.signature import Signatures
from waagent.fabric.desired import Handler
from waagent.system import System


def prove(
    system: System, layout: Layout, handler: Handler, release: Release, source: Source, signatures: Signatures
) -> ExtensionError | None:
    name, version = handler.name, release.version
    then = (
        f"{version} stays as it is and is not enabled; remove the extension and add it again, or update it to a"
        " version that is signed"
    )

    def approve(tree: str) -> None:
        signatures.names_agree(handler, version, handlers.manifest_of(system, tree, name), then)

    def accept(archive: str) -> None:
        signatures.good(handler, archive, then)
        packages.put(system, layout, name, version, archive, approve)

    try:
        signatures.demand(handler, then)
        packages.obtain(system, layout, handler, release, source, accept)
        handlers.write_state(system, layout, name, version, handlers.NOT_INSTALLED)
        handlers.initialise(system, layout, name, version)
        system.write(layout.validated(name, version), b"", mode=0o600)
    except (ExtensionError, MachineError, SystemRefused, OSError) as error:
        if isinstance(error, ExtensionError) and error.facts.get("denied") is True:
            return error
        return signatures.refused(handler, f"what is installed cannot be checked: {error}", then)
    return None
