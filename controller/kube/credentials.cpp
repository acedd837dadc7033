// SPDX-License-Identifier: Apache-2.0
#include <mutex>

#include "base/file.hpp"
#include "base/log.hpp"
#include "kube/access.hpp"

namespace stackspec {
namespace {

constexpr std::chrono::seconds kReadAgain{60};
constexpr std::chrono::seconds kBeforeItEnds{60};

std::string bearer(const std::string& token) {
  return token.empty() ? "" : "Bearer " + token;
}

std::string trimmed(std::string text) {
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.pop_back();
  return text;
}

class FixedCredentials final : public Credentials {
 public:
  explicit FixedCredentials(const std::string& token) : header_(bearer(token)) { log::mask(token); }
  Result<std::string> authorization() override { return header_; }
  void refused() override {}

 private:
  std::string header_;
};

/// A token that is got anew now and then, the old one being good for as long as that fails.
class RenewedCredentials : public Credentials {
 public:
  explicit RenewedCredentials(const Clock& clock) : clock_(clock) {}

  Result<std::string> authorization() final {
    const std::lock_guard lock(mutex_);
    if (token_ && clock_.steady_now() < renew_at_) return bearer(*token_);
    auto renewed = renew();
    if (renewed) {
      token_ = renewed->token;
      log::mask(*token_);
      renew_at_ = renewed->renew_at;
    } else if (!token_) {
      return std::move(renewed).error();
    } else {
      log::warn("token not renewed", {{"detail", renewed.error().message}});
      renew_at_ = clock_.steady_now() + std::chrono::seconds(10);
    }
    return bearer(*token_);
  }

  void refused() final {
    const std::lock_guard lock(mutex_);
    renew_at_ = {};
  }

 protected:
  struct Renewed {
    std::string token;
    SteadyTime renew_at;
  };
  virtual Result<Renewed> renew() = 0;
  const Clock& clock_;

 private:
  std::mutex mutex_;
  std::optional<std::string> token_;  // guarded by mutex_
  SteadyTime renew_at_ = {};          // guarded by mutex_
};

class FileCredentials final : public RenewedCredentials {
 public:
  FileCredentials(std::string path, const Clock& clock)
      : RenewedCredentials(clock), path_(std::move(path)) {}

 private:
  Result<Renewed> renew() override {
    auto text = read_file(path_, 1U << 20U);
    if (!text) return std::move(text).error().in("token file");
    const std::string token = trimmed(*text);
    if (token.empty()) return Error{ErrorKind::Forbidden, "token file " + path_ + " is empty"};
    return Renewed{token, clock_.steady_now() + kReadAgain};
  }

  std::string path_;
};

class ExecCredentials final : public RenewedCredentials {
 public:
  ExecCredentials(ExecPlugin plugin, std::shared_ptr<ClientIdentity> identity, const Clock& clock)
      : RenewedCredentials(clock), plugin_(std::move(plugin)), identity_(std::move(identity)) {}

 private:
  Result<Renewed> renew() override {
    const ExecToken got = TRY(run_exec_plugin(plugin_));
    if (identity_) identity_->set(got.identity);
    const auto now = clock_.steady_now();
    if (!got.expires) return Renewed{got.token, SteadyTime::max()};
    return Renewed{got.token, now + (*got.expires - clock_.wall_now()) - kBeforeItEnds};
  }

  ExecPlugin plugin_;
  std::shared_ptr<ClientIdentity> identity_;
};

}  // namespace

std::unique_ptr<Credentials> make_credentials(const ClusterAccess& access, const Clock& clock) {
  if (access.exec) {
    return std::make_unique<ExecCredentials>(*access.exec, access.server.identity, clock);
  }
  if (!access.token_file.empty()) {
    return std::make_unique<FileCredentials>(access.token_file, clock);
  }
  return std::make_unique<FixedCredentials>(access.token);
}

}  // namespace stackspec
