// SPDX-License-Identifier: Apache-2.0
#include "catalog/catalog.hpp"

#include <gtest/gtest.h>

#include <algorithm>

namespace stackspec {
namespace {

Version v(std::string_view text) {
  return parse_version(text).value();
}

std::string tags(const Result<std::vector<Hop>>& path) {
  if (!path) return std::string(to_string(path.error().kind)) + ": " + path.error().message;
  std::string text;
  for (const Hop& hop : path.value()) text += (text.empty() ? "" : " ") + to_string(hop.to);
  return text;
}

TEST(Catalog, LeadsThroughEveryReleaseInBetween) {
  const struct {
    const char* from;
    const char* target;
    const char* path;
  } rows[] = {
      {"v1.14.0", "v1.17", "v1.15.4 v1.16.6 v1.17.4"},
      {"v1.15.0", "v1.17.0", "v1.16.6 v1.17.0"},
      {"v1.15.4", "v1.15.4", ""},
      {"v1.16.0", "v1.16.6", "v1.16.6"},
      {"v1.16.6", "v1.16", ""},
      {"v1.7.7", "v1.10.0", "v1.8.2 v1.10.0"},
      {"v0.55.6", "v1.0.0", "v0.60.7 v1.0.0"},
      {"v1.20.0", "v2.1.0", "v1.21.2 v1.23.9 v2.0.0 v2.1.0"},
      {"v1.21.2", "v1.22", "v1.22.6"},
      {"v1.21.2", "v1.22.4", "v1.22.4"},
      {"v1.22.4", "v1.23", "v1.23.9"},
      {"v2.45.0", "v2.48.2", "v2.46.0 v2.47.0 v2.48.2"},
      {"v2.46.0", "v2.47", "v2.47.0"},
  };
  for (const auto& row : rows) {
    SCOPED_TRACE(std::string(row.from) + " to " + row.target);
    EXPECT_EQ(tags(Catalog::builtin().path(v(row.from), v(row.target))), row.path);
  }
}

TEST(Catalog, SaysWhyATargetCannotBeReached) {
  const struct {
    const char* from;
    const char* target;
    ErrorKind kind;
    const char* says;
  } rows[] = {
      {"v1.15.4", "v1.16.5", ErrorKind::Forbidden, "broken on every 1.15 database); use v1.16.6"},
      {"v1.15.4", "v1.16.0", ErrorKind::Forbidden, "1.16.0-1.16.5"},
      {"v2.4.0", "v2.5.3", ErrorKind::Forbidden, "use v2.5.0"},
      {"v0.53.0", "v0.52.3", ErrorKind::Forbidden, "withdrawn by the vendor"},
      {"v1.17.4", "v1.16.6", ErrorKind::Invalid, "restore a backup"},
      {"v1.17.4", "v1.17.3", ErrorKind::Invalid, "older than v1.17.4"},
      {"v1.8.2", "v1.9.0", ErrorKind::NotFound, "from v0.53 to v2.46"},
      {"v1.23.9", "v1.24.0", ErrorKind::NotFound, "spec.catalogRef"},
      {"v2.46.0", "v3.0.0", ErrorKind::NotFound, "correct the tag"},
      {"v2.46.0", "v2.999.0", ErrorKind::NotFound, "spec.catalogRef"},
      {"v0.40.0", "v0.53.0", ErrorKind::NotFound, "which is running"},
  };
  for (const auto& row : rows) {
    SCOPED_TRACE(std::string(row.from) + " to " + row.target);
    const auto path = Catalog::builtin().path(v(row.from), v(row.target));
    ASSERT_FALSE(path);
    EXPECT_EQ(to_string(path.error().kind), to_string(row.kind));
    EXPECT_NE(path.error().message.find(row.says), std::string::npos) << path.error().message;
    if (row.kind != ErrorKind::Invalid && std::string(row.from) != "v0.40.0") {
      EXPECT_FALSE(Catalog::builtin().place(v(row.target)));
    }
  }
}

TEST(Catalog, GivesTheReasonOfEveryHop) {
  const auto path = Catalog::builtin().path(v("v1.7.7"), v("v2.0.0")).value();
  const auto why = [&](const char* tag) {
    const auto hop =
        std::find_if(path.begin(), path.end(), [&](const Hop& one) { return one.to == v(tag); });
    return hop == path.end() ? std::string("not on the path") : hop->why;
  };
  EXPECT_EQ(why("v1.8.2"), "next minor");
  EXPECT_EQ(why("v1.10.0"), "next minor; nothing was released between 1.8 and 1.10");
  EXPECT_EQ(why("v1.16.6"), "next minor; 1.16.0-1.16.5 are denied: broken on every 1.15 database");
  EXPECT_NE(why("v1.23.9").find("1.22 left out: "), std::string::npos) << why("v1.23.9");
  EXPECT_EQ(why("v2.0.0"), "next minor; nothing was released between 1.23 and 2.0");
  const auto newer = Catalog::builtin().path(v("v2.46.0"), v("v2.47.1")).value();
  EXPECT_EQ(newer[0].why, "next minor, newer than this catalog; asked for instead of v2.47.0");
}

/// What every path must be, checked against the order of the catalog and nothing else.
void expect_sound(const Catalog& catalog, std::size_t from, std::size_t to,
                  const std::vector<Hop>& path) {
  const auto& all = catalog.releases();
  Version before = all[from].recommended;
  std::size_t at = from;
  for (const Hop& hop : path) {
    ASSERT_LT(before, hop.to);
    ASSERT_EQ(catalog.denied(hop.to), nullptr) << to_string(hop.to);
    ASSERT_FALSE(hop.why.empty());
    std::size_t next = at + 1;
    while (!all[next].minor.same_minor(hop.to)) {
      ASSERT_TRUE(all[next].skippable) << to_string(all[next].minor) << " was passed over";
      ASSERT_LT(++next, all.size());
    }
    at = next;
    before = hop.to;
  }
  ASSERT_EQ(at, to);
  ASSERT_EQ(before, all[to].recommended);
}

TEST(Catalog, IsSoundAndComposableForEveryPairOfReleases) {
  const Catalog& catalog = Catalog::builtin();
  const auto& all = catalog.releases();
  ASSERT_GE(all.size(), 75U);
  for (std::size_t a = 0; a < all.size(); ++a) {
    for (std::size_t c = 0; c < all.size(); ++c) {
      const auto whole = catalog.path(all[a].recommended, all[c].minor);
      ASSERT_EQ(static_cast<bool>(whole), c >= a);
      if (c < a) continue;
      ASSERT_EQ(whole.value(), catalog.path(all[a].recommended, all[c].recommended).value());
      expect_sound(catalog, a, c, whole.value());
      if (testing::Test::HasFatalFailure()) FAIL() << to_string(all[a].minor);
      if (whole->size() < 2) continue;
      const std::size_t middle = whole->size() / 2;
      auto joined = catalog.path(all[a].recommended, (*whole)[middle].to).value();
      const auto rest = catalog.path((*whole)[middle].to, all[c].recommended).value();
      joined.insert(joined.end(), rest.begin(), rest.end());
      ASSERT_EQ(joined, whole.value());
    }
  }
}

TEST(Catalog, KnowsWhatAReleaseNeeds) {
  const Catalog& catalog = Catalog::builtin();
  EXPECT_EQ(catalog.find(v("v2.33.0"))->min_postgres, 13);
  EXPECT_EQ(catalog.find(v("v2.34.0"))->min_postgres, 15);
  EXPECT_EQ(catalog.find(v("v2.50"))->min_postgres, 15);
  EXPECT_EQ(catalog.find(v("v1.14.0"))->migrations, 70);
  EXPECT_EQ(catalog.find(v("v1.15"))->migrations, 77);
  EXPECT_EQ(catalog.find(v("v1.16.6"))->migrations, 98);
  EXPECT_EQ(catalog.find(v("v1.17"))->migrations, 98);
  EXPECT_EQ(catalog.find(v("v1.18"))->migrations, std::nullopt);
  EXPECT_EQ(catalog.find(v("v1.16"))->sentinels.size(), 1U);
  EXPECT_TRUE(catalog.find(v("v1.16"))->flushes_queues);
  EXPECT_FALSE(catalog.find(v("v2.46"))->flushes_queues);
  EXPECT_EQ(catalog.find(v("v1.9")), nullptr);
}

TEST(Catalog, NamesTheLineAndTheFieldOfEveryError) {
  const struct {
    const char* text;
    const char* error;
  } rows[] = {
      {"releases: []", "line 1: releases: must have at least one release"},
      {"{}", "line 1: releases: must have at least one release"},
      {"[]", "line 1: a catalog must be a mapping"},
      {"relases: []", "line 1: relases: is not known; the fields here are releases, denied, tail"},
      {"releases:\n- {minor: v1.1, recommended: v1.1.0, patch: 3}", "line 2: releases[0].patch: "},
      {"releases:\n- {recommended: v1.1.0}", "line 2: releases[0].minor: is required"},
      {"releases:\n- {minor: v1.1.0, recommended: v1.1.0}", "must be a minor without a patch"},
      {"releases:\n- {minor: 1.10, recommended: v1.1.0}", "releases[0].minor: must be a text"},
      {"releases:\n- minor: v1.1\n  recommended: v1.2.0",
       "line 3: releases[0].recommended: must be a patch of v1.1"},
      {"releases:\n- {minor: v1.1, recommended: v1.1.0}\n- {minor: v1.1, recommended: v1.1.0}",
       "line 3: releases[1].minor: must be newer than v1.1"},
      {"releases:\n- {minor: v1.1, recommended: v1.1.0, minPostgres: 3}", "from 9 to 99"},
      {"releases:\n- {minor: v1.1, recommended: v1.1.0, skippable: 3}", "must be true or false"},
      {"releases:\n- {minor: v1.1, recommended: v1.1.0, skippable: true}", "skipWhy: is required"},
      {"releases:\n- {minor: v1.1, recommended: v1.1.0, sentinels: [{name: a}]}",
       "releases[0].sentinels[0].sql: is required"},
      {"releases:\n- {minor: v1.1, recommended: v1.1.0}\ndenied:\n"
       "- {first: v1.1.0, last: v1.1.3, why: bad}",
       "line 4: denied[0].first: denies v1.1.0, which is recommended"},
      {"releases:\n- {minor: v1.1, recommended: v1.1.0}\ndenied:\n"
       "- {first: v1.1.3, last: v1.1.2, why: bad}",
       "denied[0].last: must be a later patch"},
      {"releases:\n- {minor: v1.1, recommended: v1.1.0}\ntail: {minors: 1000000}", "0 to 200"},
      {"releases: {a: b}", "releases: must be a list"},
      {"a: [", ""},
      {"a: 1\n---\nb: 1", "one YAML document, not 2"},
  };
  for (const auto& row : rows) {
    SCOPED_TRACE(row.text);
    const auto parsed = Catalog::parse(row.text);
    ASSERT_FALSE(parsed);
    EXPECT_EQ(to_string(parsed.error().kind), "Invalid");
    EXPECT_NE(parsed.error().message.find(row.error), std::string::npos) << parsed.error().message;
  }
}

TEST(Catalog, TakesAnOwnLadder) {
  const auto parsed = Catalog::parse(R"(
releases:
- {minor: v5.1, recommended: v5.1.2}
- {minor: v5.4, recommended: v5.4.0, skippable: true, skipWhy: slow}
- {minor: v6.0, recommended: v6.0.9}
)");
  ASSERT_TRUE(parsed) << parsed.error().message;
  EXPECT_EQ(tags(parsed->path(v("v5.1.0"), v("v6.0"))), "v6.0.9");
  EXPECT_FALSE(parsed->place(v("v6.1.0"))) << "no tail was given";
}

}  // namespace
}  // namespace stackspec
