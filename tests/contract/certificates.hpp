// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <memory>
#include <string>

#include "fakes/temp_folder.hpp"

namespace stackspec::testing {

/// Two authorities; the first has signed a server for 127.0.0.1, one for another name, one that is
/// only called 127.0.0.1, and two clients.
class Certificates {
 public:
  Certificates() {
    authority("ca");
    authority("other-ca");
    signed_by_ca("server", "/CN=server", "subjectAltName=IP:127.0.0.1,DNS:localhost");
    signed_by_ca("elsewhere", "/CN=elsewhere", "subjectAltName=DNS:kubernetes.default.svc");
    signed_by_ca("only-called", "/CN=127.0.0.1", "extendedKeyUsage=serverAuth");
    signed_by_ca("client", "/CN=stackspec-client", "extendedKeyUsage=clientAuth");
    signed_by_ca("renewed", "/CN=renewed", "extendedKeyUsage=clientAuth");
  }
  std::string file(const std::string& name) const { return folder_ / name; }

 private:
  void run(const std::string& command) const {
    ASSERT_EQ(std::system((command + " >/dev/null 2>&1").c_str()), 0) << command;
  }
  std::string new_key(const std::string& name) const {
    return "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -keyout " +
           file(name + ".key") + " -out " + file(name + ".pem");
  }
  void authority(const std::string& name) const { run(new_key(name) + " -subj /CN=" + name); }
  void signed_by_ca(const std::string& name, const std::string& subject,
                    const std::string& extension) const {
    run(new_key(name) + " -CA " + file("ca.pem") + " -CAkey " + file("ca.key") + " -subj " +
        subject + " -addext basicConstraints=critical,CA:FALSE -addext " + extension);
  }

  TempFolder folder_;
};

/// They are made once for all tests of a suite.
class WithCertificates : public ::testing::Test {
 protected:
  static void SetUpTestSuite() { certificates_ = std::make_unique<Certificates>(); }
  static void TearDownTestSuite() { certificates_.reset(); }

  inline static std::unique_ptr<Certificates> certificates_;
};

}  // namespace stackspec::testing
