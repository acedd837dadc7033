-- SPDX-License-Identifier: Apache-2.0
-- With self-heal on, Git puts it back at once: suspend in Git then.
obj.spec = obj.spec or {}
obj.spec.suspend = true
return obj
