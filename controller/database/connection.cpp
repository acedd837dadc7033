// SPDX-License-Identifier: Apache-2.0
#include "database/connection.hpp"

#include <arpa/inet.h>
#include <poll.h>

#include <charconv>

#include "base/authorities.hpp"

namespace stackspec {
namespace {

using Steady = std::chrono::steady_clock;

constexpr std::chrono::milliseconds kSlice{50};  ///< How often a wait looks at the stop token.
constexpr std::chrono::milliseconds kSocketGrace{1000};

/// libpq's texts have lines and indentation; ours are one line.
std::string one_line(std::string_view text) {
  std::string line;
  for (const char letter : text) {
    const bool blank = letter == '\n' || letter == '\t' || letter == ' ';
    if (!blank) line += letter;
    if (blank && !line.empty() && line.back() != ' ') line += ' ';
  }
  while (!line.empty() && line.back() == ' ') line.pop_back();
  return line;
}

bool is_literal(const std::string& host) {
  in6_addr address{};
  return ::inet_pton(AF_INET, host.c_str(), &address) == 1 ||
         ::inet_pton(AF_INET6, host.c_str(), &address) == 1;
}

ErrorKind kind_of(std::string_view sqlstate) {
  if (sqlstate == "42501") return ErrorKind::Forbidden;
  // 57: cancelled or shutting down; 55P03: a lock; 53: out of something; 40: try again.
  for (const std::string_view transient : {"57", "55P03", "53", "40", "08"}) {
    if (sqlstate.starts_with(transient)) return ErrorKind::Unavailable;
  }
  return ErrorKind::Invalid;
}

Error error_of(const PGresult* result) {
  const char* state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
  const char* message = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
  const std::string text = message != nullptr ? message : PQresultErrorMessage(result);
  return {kind_of(state != nullptr ? state : "08"), one_line(text)};
}

Rows rows_of(const PGresult* result) {
  Rows rows;
  const int columns = PQnfields(result);
  for (int r = 0; r < PQntuples(result); ++r) {
    Row& row = rows.emplace_back();
    for (int c = 0; c < columns; ++c) {
      if (PQgetisnull(result, r, c) != 0) {
        row.emplace_back();
      } else {
        row.emplace_back(std::string(PQgetvalue(result, r, c),
                                     static_cast<std::size_t>(PQgetlength(result, r, c))));
      }
    }
  }
  return rows;
}

}  // namespace

std::int64_t number_at(const Row& row, std::size_t column) {
  std::int64_t number = 0;
  const std::string text = text_at(row, column);
  std::from_chars(text.data(), text.data() + text.size(), number);
  return number;
}

std::vector<std::string> first_column(const Rows& rows) {
  std::vector<std::string> texts;
  for (const auto& row : rows) texts.push_back(text_at(row, 0));
  return texts;
}

Result<std::unique_ptr<Connection>> Connection::open(const DatabaseTarget& target,
                                                     const DatabaseTimeouts& timeouts,
                                                     const std::stop_token& stop) {
  const std::string port = std::to_string(target.port);
  const bool verifies = target.ssl_mode.starts_with("verify");
  // Certificates are compared with a name, also where that is an address.
  const bool literal = is_literal(target.host) && !verifies;
  const char* names[] = {literal ? "hostaddr" : "host",
                         "port",
                         "user",
                         "password",
                         "dbname",
                         "application_name",
                         "client_encoding",
                         "gssencmode",
                         "passfile",
                         "sslmode",
                         "sslrootcert",
                         nullptr};
  const char* values[] = {target.host.c_str(),
                          port.c_str(),
                          target.user.c_str(),
                          target.password.c_str(),
                          target.dbname.c_str(),
                          target.application_name.c_str(),
                          "UTF8",
                          "disable",
                          "/dev/null",
                          target.ssl_mode.c_str(),
                          verifies ? kSystemAuthorities : "",
                          nullptr};
  std::unique_ptr<Connection> connection(
      new Connection(PQconnectStartParams(names, values, 0), timeouts, !target.external));
  auto ready = connection->establish(stop);
  if (!ready) return std::move(ready).error();
  return connection;
}

Result<void> Connection::establish(const std::stop_token& stop) {
  if (!connection_) return Error{ErrorKind::Unavailable, "connect: out of memory"};
  PQsetNoticeProcessor(
      connection_.get(), [](void*, const char*) {}, nullptr);
  const auto deadline = Steady::now() + timeouts_.connect;
  auto state = PGRES_POLLING_WRITING;
  while (PQstatus(connection_.get()) != CONNECTION_BAD && state != PGRES_POLLING_OK) {
    switch (wait(state == PGRES_POLLING_READING ? POLLIN : POLLOUT, deadline, stop)) {
      case Wait::Ready: break;
      case Wait::Stopped: return Error{ErrorKind::Cancelled, "cancelled"};
      case Wait::TimedOut:
        return broken("connect: no answer within " + std::to_string(timeouts_.connect.count()) +
                      " ms");
    }
    state = PQconnectPoll(connection_.get());
    if (state == PGRES_POLLING_FAILED) break;
  }
  if (state == PGRES_POLLING_OK && PQsetnonblocking(connection_.get(), 1) == 0) return {};
  return broken("connect: " + one_line(PQerrorMessage(connection_.get())));
}

Connection::Wait Connection::wait(short events, Steady::time_point deadline,
                                  const std::stop_token& stop) const {
  for (;;) {
    if (stop.stop_requested()) return Wait::Stopped;
    const auto left =
        std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Steady::now());
    if (left.count() <= 0) return Wait::TimedOut;
    pollfd wanted{PQsocket(connection_.get()), events, 0};
    if (::poll(&wanted, 1, static_cast<int>(std::min(left, kSlice).count())) > 0) {
      return Wait::Ready;
    }
  }
}

Error Connection::broken(std::string_view why) {
  given_up_ = true;
  return {ErrorKind::Unavailable, std::string(why)};
}

bool Connection::usable() const {
  return !given_up_ && PQstatus(connection_.get()) == CONNECTION_OK;
}

bool Connection::send(std::string_view sql, const std::vector<std::string>& values) {
  std::vector<const char*> texts;
  for (const auto& value : values) texts.push_back(value.c_str());
  return PQsendQueryParams(connection_.get(), std::string(sql).c_str(),
                           static_cast<int>(texts.size()), nullptr, texts.data(), nullptr, nullptr,
                           0) == 1;
}

Result<Rows> Connection::query(std::string_view sql, const std::vector<std::string>& values,
                               const std::stop_token& stop) {
  if (!send(sql, values)) return broken(one_line(PQerrorMessage(connection_.get())));
  return collect(stop);
}

/// Null: there is nothing more of this statement.
Result<Connection::PgResult> Connection::next_result(Steady::time_point deadline,
                                                     const std::stop_token& stop) {
  for (;;) {
    const int unsent = PQflush(connection_.get());
    if (unsent == 0 && PQisBusy(connection_.get()) == 0) {
      return PgResult(PQgetResult(connection_.get()));
    }
    const auto events = static_cast<short>(unsent == 1 ? POLLIN | POLLOUT : POLLIN);
    const Wait outcome = wait(events, deadline, stop);
    if (outcome == Wait::Stopped) {
      given_up_ = true;
      return Error{ErrorKind::Cancelled, "cancelled"};
    }
    if (outcome == Wait::TimedOut) return broken("no answer in time");
    if (PQconsumeInput(connection_.get()) == 0) {
      return broken(one_line(PQerrorMessage(connection_.get())));
    }
  }
}

Result<Rows> Connection::collect(const std::stop_token& stop) {
  const auto deadline = Steady::now() + timeouts_.statement + kSocketGrace;
  PgResult last;
  while (auto next = TRY(next_result(deadline, stop))) last = std::move(next);
  if (!last) return broken("the session ended");
  const auto status = PQresultStatus(last.get());
  if (status == PGRES_TUPLES_OK || status == PGRES_COMMAND_OK) return rows_of(last.get());
  return error_of(last.get());
}

Result<std::optional<Rows>> Connection::try_query(std::string_view sql,
                                                  const std::stop_token& stop) {
  TRY(query("SAVEPOINT attempt", {}, stop));
  auto rows = query(sql, {}, stop);
  if (!rows && !usable()) return std::move(rows).error();
  if (!rows) TRY(query("ROLLBACK TO SAVEPOINT attempt", {}, stop));
  TRY(query("RELEASE SAVEPOINT attempt", {}, stop));
  if (!rows) return std::optional<Rows>();
  return std::optional<Rows>(std::move(rows).value());
}

Result<void> Connection::run(const std::vector<Ask>& asks, const std::stop_token& stop) {
  return direct_ ? run_at_once(asks, stop) : run_in_turn(asks, stop);
}

/// Not every pooler knows pipelines.
Result<void> Connection::run_in_turn(const std::vector<Ask>& asks, const std::stop_token& stop) {
  for (const Ask& ask : asks) {
    if (!ask.may_fail) {
      const Rows rows = TRY(query(ask.sql, ask.values, stop));
      if (ask.take) ask.take(rows);
    } else if (const auto rows = TRY(try_query(ask.sql, stop)); rows && ask.take) {
      ask.take(*rows);
    }
  }
  return {};
}

Result<void> Connection::run_at_once(const std::vector<Ask>& asks, const std::stop_token& stop) {
  if (PQenterPipelineMode(connection_.get()) == 0) return broken("no pipeline");
  const auto due = TRY(send_all(asks));
  auto done = take_all(due, stop);
  if (usable() && PQexitPipelineMode(connection_.get()) == 0) return broken("the pipeline stays");
  return done;
}

bool Connection::send_prepared(const Ask& ask, std::vector<Due>& due) {
  const std::size_t hash = std::hash<std::string>()(ask.sql);
  const std::string name = "look" + std::to_string(hash);
  if (prepared_.insert(hash).second) {
    due.push_back({Due::What::Preparation, &ask});
    if (PQsendPrepare(connection_.get(), name.c_str(), ask.sql.c_str(), 0, nullptr) == 0) {
      return false;
    }
  }
  std::vector<const char*> texts;
  for (const auto& value : ask.values) texts.push_back(value.c_str());
  return PQsendQueryPrepared(connection_.get(), name.c_str(), static_cast<int>(texts.size()),
                             texts.data(), nullptr, nullptr, 0) == 1;
}

/// After a failure the server skips everything up to a sync. So a statement that may fail stands
/// between two, after a savepoint; what follows goes back to the savepoint, whatever became of it.
/// The first in a part fails when there is no transaction, and the rest of the part with it.
Result<std::vector<Connection::Due>> Connection::send_all(const std::vector<Ask>& asks) {
  std::vector<Due> due;
  bool sent = true, tried = false, saved = false;
  const auto sync = [&] {
    sent = sent && PQpipelineSync(connection_.get()) == 1;
    due.push_back({Due::What::Sync});
  };
  for (const Ask& ask : asks) {
    if (ask.may_fail && !tried) sync();
    if (ask.may_fail || tried) {
      sent = sent && send(saved ? "ROLLBACK TO SAVEPOINT attempt" : "SAVEPOINT attempt", {});
      due.push_back({Due::What::Savepoint});
      saved = true;
    }
    sent = sent && (ask.prepared ? send_prepared(ask, due) : send(ask.sql, ask.values));
    due.push_back({Due::What::Answer, &ask});
    tried = ask.may_fail;
    if (tried) sync();
  }
  if (tried) {
    sent = sent && send("ROLLBACK TO SAVEPOINT attempt", {});
    due.push_back({Due::What::Savepoint});
  }
  sync();
  if (!sent) return broken(one_line(PQerrorMessage(connection_.get())));
  return due;
}

Result<void> Connection::take_all(const std::vector<Due>& due, const std::stop_token& stop) {
  Result<void> all;
  for (const Due& one : due) {
    const auto deadline = Steady::now() + timeouts_.statement + kSocketGrace;
    const PgResult result = TRY(next_result(deadline, stop));
    if (!result) return broken("the session ended");
    auto taken = take(one, result.get());
    if (given_up_) return taken;
    if (!taken && all) all = std::move(taken);
    if (one.what == Due::What::Sync) continue;
    if (TRY(next_result(deadline, stop))) return broken("an answer too many");
  }
  return all;
}

Result<void> Connection::take(const Due& due, const PGresult* result) {
  const auto status = PQresultStatus(result);
  const bool good = status == PGRES_TUPLES_OK || status == PGRES_COMMAND_OK;
  if (due.what == Due::What::Sync) {
    if (status != PGRES_PIPELINE_SYNC) return broken("the pipeline is out of step");
    return {};
  }
  if (due.what == Due::What::Preparation && !good) {
    prepared_.erase(std::hash<std::string>()(due.ask->sql));
  }
  if (good && due.what == Due::What::Answer && due.ask->take) due.ask->take(rows_of(result));
  if (good || status == PGRES_PIPELINE_ABORTED) return {};
  if (status != PGRES_FATAL_ERROR && status != PGRES_EMPTY_QUERY)
    return broken("no answer of rows");
  if (due.what == Due::What::Answer && due.ask->may_fail) return {};
  return error_of(result);
}

Result<void> Connection::forget_prepared(const std::stop_token& stop) {
  if (prepared_.empty()) return {};
  TRY(query("DEALLOCATE ALL", {}, stop));
  prepared_.clear();
  return {};
}

}  // namespace stackspec
