// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <string>
#include <vector>

#include "api/stack.hpp"
#include "base/result.hpp"
#include "platform/platform.hpp"
#include "twenty/component.hpp"

namespace stackspec::local {

/// An environment under construction: what a container would get, in the order a pod renders it.
class Environment {
 public:
  void set(const std::string& name, const std::string& value) { values_[name] = value; }

  /// `KEY=VALUE` lines of a release's image.env; absent file: nothing.
  void add_image(const std::string& image_env_file);
  /// Errors: NotFound, naming the Secret or ConfigMap.
  Result<void> add_from(const std::vector<EnvFrom>& sources, const SecretValues& secrets);
  /// Resolves secrets and expands `$(NAME)` of what is already set; `$$(` is a literal `$(`.
  /// Errors: NotFound, naming Secret and key.
  Result<void> add(const std::vector<EnvVar>& variables, const SecretValues& secrets);

  /// `NAME=value`, sorted. Error: Invalid when a value holds a zero byte.
  Result<std::vector<std::string>> rendered() const;

 private:
  std::string expanded(const std::string& text) const;

  std::map<std::string, std::string> values_;
};

/// The value of one key. Errors: NotFound, naming Secret and key; never the value.
Result<std::string> secret_value(const SecretKeyRef& ref, const SecretValues& secrets);

}  // namespace stackspec::local
