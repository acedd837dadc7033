-- SPDX-License-Identifier: Apache-2.0
-- A backup now, proven by restoring it.
local os = require("os")
local backup = {
  apiVersion = "stackspec.dev/v1alpha1",
  kind = "StackBackup",
  metadata = {
    name = obj.metadata.name .. "-" .. os.date("!%Y%m%d%H%M%S"),
    namespace = obj.metadata.namespace,
  },
  spec = { stackRef = { name = obj.metadata.name }, reason = "asked for in Argo CD" },
}
return { { operation = "create", resource = backup } }
