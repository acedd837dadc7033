-- SPDX-License-Identifier: Apache-2.0
obj.spec = obj.spec or {}
obj.spec.suspend = false
return obj
