-- SPDX-License-Identifier: Apache-2.0
-- Health of a StackSpec (its conditions follow kstatus). An error here would show as Unknown, the
-- worst state of all, so nothing is taken for granted.
local status = obj.status or {}
local spec = obj.spec or {}
local conditions = {}
for _, condition in ipairs(status.conditions or {}) do
  if condition.type ~= nil then conditions[condition.type] = condition end
end
local function is_true(kind)
  return conditions[kind] ~= nil and conditions[kind].status == "True"
end
local function health(state)
  local text = status.message or ""
  local phase = status.phase or ""
  if phase ~= "" and text:sub(1, #phase) ~= phase then
    text = text ~= "" and phase .. ": " .. text or phase
  end
  if text == "" then text = "waiting for the controller" end
  return { status = state, message = text }
end

local generation = (obj.metadata or {}).generation
if generation ~= nil and status.observedGeneration ~= generation then
  return { status = "Progressing", message = "the controller has not seen this spec yet" }
end
if is_true("Stalled") then return health("Degraded") end
if status.phase == "AwaitingApproval" then return health("Suspended") end
if spec.suspend == true and status.phase == "Suspended" then return health("Suspended") end
if is_true("Reconciling") then return health("Progressing") end
if is_true("Ready") then return health("Healthy") end
if conditions.Ready ~= nil and conditions.Ready.status == "False" then return health("Degraded") end
return health("Progressing")
