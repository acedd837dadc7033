-- SPDX-License-Identifier: Apache-2.0
-- Which buttons a StackSpec has now.
local status = obj.status or {}
local suspended = (obj.spec or {}).suspend == true
local stalled = false
for _, condition in ipairs(status.conditions or {}) do
  if condition.type == "Stalled" and condition.status == "True" then stalled = true end
end
local serves = status.version ~= nil and status.version ~= ""
local waits = stalled or (status.failures or 0) > 0
return {
  ["suspend"] = { disabled = suspended, iconClass = "fa fa-fw fa-pause" },
  ["resume"] = { disabled = not suspended, iconClass = "fa fa-fw fa-play" },
  ["retry"] = { disabled = not waits, iconClass = "fa fa-fw fa-redo" },
  ["backup"] = { disabled = not serves, iconClass = "fa fa-fw fa-save" },
}
