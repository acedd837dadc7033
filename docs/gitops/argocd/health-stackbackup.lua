-- SPDX-License-Identifier: Apache-2.0
local status = obj.status or {}
local states = { Proven = "Healthy", Failed = "Degraded" }
local phase = status.phase or "Pending"
return { status = states[phase] or "Progressing", message = status.message or phase }
