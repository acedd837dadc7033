# SPDX-License-Identifier: Apache-2.0
"""Entry of the stand-in: `server`, `worker`, `has-schema`, `setup-db`, `migrate`, `seed` or `command …`."""
import sys

import release

ROLES = ("server", "worker", "command", "setup-db", "migrate", "has-schema", "seed")


def main(arguments):
    if not arguments or arguments[0] not in ROLES:
        sys.exit(f"usage: one of {', '.join(ROLES)}")
    this = release.load()
    if arguments[0] == "server":
        import server
        return server.run(this)
    if arguments[0] == "worker":
        import worker
        return worker.run(this)
    import commands
    return commands.run(this, arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
