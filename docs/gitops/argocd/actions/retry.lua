-- SPDX-License-Identifier: Apache-2.0
-- Tries again what stalled; the controller echoes the token in status.lastHandledRetry.
local os = require("os")
obj.metadata.annotations = obj.metadata.annotations or {}
obj.metadata.annotations["stackspec.dev/retry"] = os.date("!%Y-%m-%dT%XZ")
return obj
