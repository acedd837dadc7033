// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>

#include "base/process.hpp"
#include "base/result.hpp"
#include "platform/local/environment.hpp"
#include "platform/local/folders.hpp"

namespace stackspec::local {

/// What programs need to know about where they run.
struct Host {
  std::string data_folder;
  std::string release_folder;
  RunAs user;
};

/// `<releases>/<tag>` or `<releases>/fundraising/<version>`.
std::string release_path(const Host& host, Component component, const std::string& version);
bool has_release(const Host& host, Component component, const std::string& version);
/// Where a release's programs are started, as in its image.
std::string working_folder(const std::string& release);

/// The folder of PostgreSQL's programs: of the major of an existing cluster, else the newest here.
/// Errors: NotFound when there are none; Invalid when `wanted_major` is another.
Result<std::string> postgres_programs(const StackFolder& folder, const std::string& wanted_major);

/// The process of a component. Everything it needs is on disk when this returns, but for the data
/// of PostgreSQL, which its own start makes. Errors: NotFound (release folder, program, Secret),
/// Invalid.
Result<ProcessSpec> component_process(const Host& host, const StackFolder& folder,
                                      const Stack& stack, const ComponentSpec& component,
                                      const Endpoints& endpoints, const SecretValues& secrets);

}  // namespace stackspec::local
