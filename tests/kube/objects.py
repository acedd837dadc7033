# SPDX-License-Identifier: Apache-2.0
"""One table of good and bad objects, with the place that refuses them and the field they fail at.

Places: `Decode` (unknown or duplicate field, broken text), `Admission` (schema and rules of the
CRD), `Controller` (the API server takes it; `stackspec lint` and the controller say "not supported
yet"), `Preflight` (only the world knows: a named gate of a running stack), "" (good).

A row with `old` is an update. `stackspec lint` sees no stored object, so it is only asked about the
new one, which must be good by itself; that the C++ twin of the rule judges the change in the same
way is Validate.JudgesAChangeByTheStoredObject (tests/unit/api/validate_test.cpp).
"""
import dataclasses


@dataclasses.dataclass(frozen=True)
class Row:
    what: str
    body: object            # spec of a StackSpec, a whole object with apiVersion, or text
    place: str = ""
    field: str = ""
    old: object = None      # spec that is stored already
    status: object = None   # status that is stored already
    message: str = ""       # part of the API server's message
    name: str = "crm"


TAG = {"tag": "v1.16.6"}
S3 = {"bucket": "b", "region": "r", "credentialsSecretRef": {"name": "c"}}
URL = {"urlSecretRef": {"name": "a", "key": "b"}}
DIGEST = "@sha256:" + "a" * 64
PROVEN = {"version": "v1.15.4"}
MIGRATING = {"version": "v1.15.4", "upgrade": {"hopTo": "v1.16.6", "pointOfNoReturn": True}}
LOOKUP = "FUNDRAISING_DONOR_MATCH_LOOKUP_BATCH_SIZE"
CHUNK = "FUNDRAISING_DONOR_MATCH_CREATE_CHUNK_SIZE"
ONE_SOURCE = "exactly one of secretRef and configMapRef must be set"
SHRINKS = "storage never shrinks"
OLDER = "an older image cannot read it"
LOWERED = "the target may be raised, not lowered below it"


def spec(**more):
    return TAG | more


def database(size):
    return spec(database={"managed": {"size": size}})


def storage(size):
    return spec(storage={"type": "local", "local": {"size": size}})


def fundraising(**env):
    return spec(fundraising={"version": "v0.1.0", "env": env})


def of_kind(kind, content):
    return {"apiVersion": "stackspec.dev/v1alpha1", "kind": kind, "metadata": {"name": "crm"},
            "spec": content}


def restore(**more):
    return of_kind("StackRestore", {"stackRef": {"name": "crm"},
                                    "from": {"backupRef": {"name": "b1"}}} | more)


def text(line):
    return ("apiVersion: stackspec.dev/v1alpha1\nkind: StackSpec\nmetadata: {name: crm}\n"
            f"spec:\n  tag: v1.16.6\n  {line}\n")


GOOD = [
    Row("the smallest", TAG),
    Row("two-part tag", {"tag": "v1.14"}),
    Row("image", {"image": "twentycrm/twenty:v1.16.6"}),
    Row("image of a registry with port and digest", {"image": "registry:5000/a/twenty:v1.16.6" + DIGEST}),
    Row("everything of S3", spec(storage={"type": "s3", "s3": S3})),
    Row("sizes as number and text", spec(redis={"managed": {"size": 1073741824}},
                                         database={"managed": {"size": "1.5Gi", "version": "16"}})),
    Row("no server at all", spec(server={"replicas": 0}, worker={"replicas": 0})),
    Row("batch of 60", fundraising(**{LOOKUP: "60", CHUNK: "1"})),
    Row("name of 30 characters", TAG, name="a" * 30),
    Row("environment", spec(env={"LOG_LEVELS": "error"}, envFrom=[{"secretRef": {"name": "s"}}])),
    Row("gateway", spec(gateway={"host": "crm.example.org", "annotations": {"a": "b"}, "port": 4000})),
    Row("resources", spec(server={"resources": {"requests": {"cpu": "500m"}, "limits": {"memory": "2Gi"}}})),
    Row("smoke", spec(smoke=[{"name": "home", "http": {"path": "/", "expectStatus": 200}}])),
    Row("database and Redis of others", spec(database={"external": URL | {"shared": True}},
                                              redis={"external": URL})),
    Row("scheduling", spec(scheduling={"nodeSelector": {"disk": "ssd"}})),
    Row("backup", of_kind("StackBackup", {"stackRef": {"name": "crm"}, "reason": "before the audit"})),
    Row("restore", restore()),
    Row("restore by location", restore(**{"from": {"location": "/backups/b1"}})),
]

DECODE = [
    Row("unknown field", spec(flag={"A": True}), "Decode", "spec.flag"),
    Row("unknown field deep down", spec(database={"managed": {"sise": "1Gi"}}), "Decode",
        "spec.database.managed.sise"),
    Row("unknown field in a list", spec(envFrom=[{"secretRef": {"name": "a"}, "x": 1}]), "Decode",
        "spec.envFrom[0].x"),
    Row("field given twice", text("tag: v1.17.4"), "Decode", "",
        message='line 6: key "tag" already set in map'),
    Row("no YAML", text("env: {A: 'b"), "Decode", ""),
    Row("5 MB", text("env: {A: '" + "a" * 5_000_000 + "'}"), "Decode", ""),
    Row("a bomb of aliases", text("env: &a0 {A: b}\n" + "".join(
        f"  x{n}: &a{n} [" + ", ".join([f"*a{n - 1}"] * 10) + "]\n" for n in range(1, 9))), "Decode", ""),
    Row("100000 levels", text("env: " + "[" * 100_000 + "]" * 100_000), "Decode", ""),
    Row("a character that YAML does not have", text("env: {A: \"\x01\"}"), "Decode", ""),
]

TYPES = [
    Row("text for a number", spec(server={"replicas": "2"}), "Admission", "spec.server.replicas"),
    Row("number for a text", {"tag": 1.16}, "Admission", "spec.tag"),
    Row("boolean in the environment", spec(env={"A": True}), "Admission", "spec.env.A"),
    Row("list for an object", spec(flags=[]), "Admission", "spec.flags"),
    Row("fraction of a replica", spec(server={"replicas": 1.5}), "Admission", "spec.server.replicas"),
    Row("more than 32 bits", spec(server={"replicas": 4294967297}), "Admission", "spec.server.replicas"),
    Row("size with a fraction of a byte", spec(redis={"managed": {"size": 1.5}}), "Admission",
        "spec.redis.managed.size"),
]

ADMISSION = [
    Row("tag latest", {"tag": "latest"}, "Admission", "spec.tag"),
    Row("tag without v", {"tag": "1.16.6"}, "Admission", "spec.tag"),
    Row("neither tag nor image", {"suspend": True}, "Admission", "spec",
        message="exactly one of tag and image must be set"),
    Row("tag and image", {"tag": "v1.16.6", "image": "twentycrm/twenty:v1.16.6"}, "Admission", "spec",
        message="exactly one of tag and image must be set"),
    Row("the image that does not exist", {"image": "twentyhq/twenty:v1.16.6"}, "Admission", "spec.image",
        message="twentyhq/twenty does not exist; the official image is docker.io/twentycrm/twenty"),
    Row("image latest", {"image": "twentycrm/twenty:latest"}, "Admission", "spec.image"),
    Row("negative replicas", spec(server={"replicas": -1}), "Admission", "spec.server.replicas"),
    Row("too many replicas", spec(worker={"replicas": 51}), "Admission", "spec.worker.replicas"),
    Row("empty bucket", spec(storage={"type": "s3", "s3": S3 | {"bucket": ""}}), "Admission",
        "spec.storage.s3.bucket"),
    Row("s3 without s3", spec(storage={"type": "s3"}), "Admission", "spec.storage",
        message="s3 must be set exactly when type is s3"),
    Row("local with s3", spec(storage={"type": "local", "s3": S3}), "Admission", "spec.storage",
        message="s3 must be set exactly when type is s3"),
    Row("storage without type", spec(storage={}), "Admission", "spec.storage.type"),
    Row("type of storage", spec(storage={"type": "gcs"}), "Admission", "spec.storage.type"),
    Row("size with a blank", spec(redis={"managed": {"size": "1 Gi"}}), "Admission", "spec.redis.managed.size"),
    Row("no size", database("0"), ""),  # a size that is too small is Preflight's: it knows the data
    Row("database managed and external", spec(database={"managed": {}, "external": URL}), "Admission",
        "spec.database", message="at most one of managed and external"),
    Row("redis managed and external", spec(redis={"managed": {}, "external": URL}), "Admission",
        "spec.redis", message="at most one of managed and external"),
    Row("batch of 61", fundraising(**{LOOKUP: "61"}), "Admission", "spec.fundraising.env",
        message=f"{LOOKUP} and …_CREATE_CHUNK_SIZE must be 1..60"),
    Row("chunk of 0", fundraising(**{CHUNK: "0"}), "Admission", "spec.fundraising.env"),
    Row("empty source of environment", spec(envFrom=[{}]), "Admission", "spec.envFrom[0]", message=ONE_SOURCE),
    Row("two sources in one", spec(fundraising={"version": "v0.1.0", "envFrom": [
        {"secretRef": {"name": "a"}, "configMapRef": {"name": "b"}}]}), "Admission",
        "spec.fundraising.envFrom[0]", message=ONE_SOURCE),
    Row("source of an extension", spec(extensions=[{"name": "a", "image": "b", "envFrom": [{}]}]),
        "Admission", "spec.extensions[0].envFrom[0]", message=ONE_SOURCE),
    Row("source of a smoke test", spec(smoke=[{"name": "a", "image": "b", "envFrom": [{}]}]),
        "Admission", "spec.smoke[0].envFrom[0]", message=ONE_SOURCE),
    Row("smoke test of nothing", spec(smoke=[{"name": "a"}]), "Admission", "spec.smoke[0]",
        message="exactly one of http and image must be set"),
    Row("unknown choice", spec(upgrade={"onFailure": "Rollback"}), "Admission", "spec.upgrade.onFailure"),
    Row("name with a dot", TAG, "Admission", "metadata.name", name="crm.a",
        message="metadata.name must be a DNS label that starts with a letter, at most 30 characters, "
                "no dots: names of Services and Jobs are made from it"),
    Row("name of 31 characters", TAG, "Admission", "metadata.name", name="a" * 31),
    Row("name that starts with a digit", TAG, "Admission", "metadata.name", name="1crm"),
    Row("restore of nothing", restore(**{"from": {}}), "Admission", "spec.from",
        message="exactly one of backupRef and location must be set"),
    Row("backup of nothing", of_kind("StackBackup", {"reason": "x"}), "Admission", "spec.stackRef"),
]

TRANSITIONS = [
    Row("down before anything is proven", {"tag": "v1.14.0"}, old={"tag": "v1.15.0"}, status={}),
    Row("back to the proven version", {"tag": "v1.15.4"}, old={"tag": "v1.17.0"}, status=PROVEN),
    Row("below the proven version", {"tag": "v1.15.3"}, "Admission", "spec", {"tag": "v1.17.0"}, PROVEN, OLDER),
    Row("below, by image", {"image": "reg:5000/t/twenty:v1.14.0"}, "Admission", "spec", {"tag": "v1.17.0"},
        PROVEN, OLDER),
    Row("numbers, no texts", {"tag": "v1.100.0"}, old={"tag": "v1.17.0"}, status=PROVEN),
    Row("newest patch of the proven minor", {"tag": "v1.15"}, old={"tag": "v1.17.0"}, status=PROVEN),
    Row("minor below", {"tag": "v1.14"}, "Admission", "spec", {"tag": "v1.17.0"}, PROVEN, OLDER),
    Row("other edit of an old target", {"tag": "v1.14.0", "suspend": True}, old={"tag": "v1.14.0"}, status=PROVEN),
    Row("raised past the point of no return", {"tag": "v1.18.1"}, old={"tag": "v1.17.0"}, status=MIGRATING),
    Row("the hop itself", {"tag": "v1.16.6"}, old={"tag": "v1.17.0"}, status=MIGRATING),
    Row("lowered past the point of no return", {"tag": "v1.16.5"}, "Admission", "spec", {"tag": "v1.17.0"},
        MIGRATING, LOWERED),
    Row("database grows", database("20Gi"), old=database("10Gi")),
    Row("the same size in other words", database("20480Mi"), old=database("20Gi")),
    Row("the same size as a number", database(21474836480), old=database("20Gi")),
    Row("database shrinks", database("19Gi"), "Admission", "spec.database.managed.size", database("20Gi"),
        message=SHRINKS),
    Row("redis shrinks", spec(redis={"managed": {"size": "1Gi"}}), "Admission", "spec.redis.managed.size",
        spec(redis={"managed": {"size": "2Gi"}}), message=SHRINKS),
    Row("storage shrinks", storage("1Gi"), "Admission", "spec.storage.local.size", storage("10Gi"), message=SHRINKS),
    Row("backups shrink", spec(backup={"destination": {"pvc": {"size": "1Gi"}}}), "Admission",
        "spec.backup.destination.pvc.size", spec(backup={"destination": {"pvc": {"size": "2Gi"}}}), message=SHRINKS),
    Row("size of the database removed", TAG, "Admission", "spec", database("20Gi"),
        message="spec.database.managed.size: cannot be removed once set"),
    Row("size of the storage removed", TAG, "Admission", "spec", storage("20Gi"),
        message="spec.storage.local.size: cannot be removed once set"),
    Row("database given away", spec(database={"external": URL}), "Admission", "spec", TAG,
        message="spec.database: cannot change between managed and external; move the data with a "
                "StackRestore into a new stack"),
    Row("redis given away", spec(redis={"external": URL}), "Admission", "spec", TAG,
        message="spec.redis: cannot change between managed and external, its queues would be lost; "
                "delete the StackSpec, its data stays, and create it with the other Redis"),
    Row("database shared later", spec(database={"external": URL | {"shared": True}}), "Admission",
        "spec.database.external.shared", spec(database={"external": URL}),
        message="spec.database.external.shared: immutable"),
    Row("restore changed", restore(into="Stack"), "Admission", "spec", restore(),
        message="a StackRestore cannot be changed; create another one"),
]

NOT_SUPPORTED = [
    Row("window", spec(upgrade={"window": [{"cron": "0 22 * * 6", "durationMinutes": 240}]}), "Controller",
        "spec.upgrade.window"),
    Row("approval", spec(upgrade={"mode": "Approve"}), "Controller", "spec.upgrade.mode"),
    Row("schedule of backups", spec(backup={"schedule": "0 3 * * *"}), "Controller", "spec.backup.schedule"),
    Row("n8n", spec(n8n={"enabled": True}), "Controller", "spec.n8n.enabled"),
    Row("restore beside the stack", restore(into="Scratch"), "Controller", "spec.into"),
]

PREFLIGHT = [
    Row("release nobody knows: gate ReleaseUnknown", {"tag": "v9.99.0"}, "Preflight"),
    Row("Secret that is not there: gate of Preflight", spec(secretsRef={"name": "missing"}), "Preflight"),
]

ROWS = GOOD + DECODE + TYPES + ADMISSION + TRANSITIONS + NOT_SUPPORTED + PREFLIGHT
