// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "control/reconciler.hpp"

// The objects around a stack, as the reconciler reads and writes them: its own, its Secrets, its
// events. Internal to control/.

namespace stackspec {

/// Errors: NotFound; Invalid when spec or status cannot be decoded.
Result<Stack> load_stack(ObjectApi& objects, const StackKey& key);

/// Writes `status` where it differs from the stored one. True in `written` when it did.
enum class Written { No, Yes };
Result<Written> save_status(ObjectApi& objects, const Stack& stack, const StackStatus& status);

struct Secrets {
  SecretValues values;
  std::vector<std::string> missing;  ///< `Secret crm-s3`
  bool generated = false;            ///< The stack's own Secret was made in this pass.
};

/// Every Secret and ConfigMap the spec names, by value. The stack's own is generated once, with an
/// immutable twin from which a deleted one is restored. Registers every value with log::mask().
Result<Secrets> load_secrets(ObjectApi& objects, const Stack& stack, const RandomHex& random);

/// sha256, first 16 digits, of each generated key: tells whether two copies are the same.
std::map<std::string, std::string> fingerprints(const Stack& stack, const SecretValues& values);

/// One Event object per event, under a name made of its content: the same event again is one row.
void record_events(ObjectApi& objects, const Stack& stack, const std::vector<Event>& events,
                   WallTime now);

/// The catalog of spec.catalogRef. Errors: NotFound, Invalid.
Result<Catalog> load_catalog(ObjectApi& objects, const Stack& stack);

}  // namespace stackspec
