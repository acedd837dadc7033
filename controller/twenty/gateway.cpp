// SPDX-License-Identifier: Apache-2.0
#include "twenty/component.hpp"

namespace stackspec {
namespace {

// Relative paths are below nginx's prefix folder, so that an unprivileged nginx needs no other.
constexpr const char* kHead = R"(worker_processes 1;
worker_shutdown_timeout 30s;
error_log stderr warn;
pid nginx.pid;
events {
  worker_connections 1024;
}
http {
  access_log off;
  server_tokens off;
  client_body_temp_path temp_body;
  proxy_temp_path temp_proxy;
  fastcgi_temp_path temp_fastcgi;
  uwsgi_temp_path temp_uwsgi;
  scgi_temp_path temp_scgi;
  types {
    text/html html;
  }
  default_type application/octet-stream;
  client_max_body_size 100m;
  server_names_hash_bucket_size 128;
  map $http_upgrade $connection_upgrade {
    default upgrade;
    '' '';
  }
  map $http_x_request_id $stack_request_id {
    default $request_id;
    "~^[A-Za-z0-9._-]{1,128}$" $http_x_request_id;
  }
  map $http_x_forwarded_proto $stack_proto {
    default $scheme;
    "~^https?$" $http_x_forwarded_proto;
  }
  proxy_http_version 1.1;
  proxy_connect_timeout 5s;
  proxy_read_timeout 3600s;
  proxy_send_timeout 3600s;
  proxy_buffering off;
  proxy_next_upstream off;
  proxy_set_header Host $http_host;
  proxy_set_header Upgrade $http_upgrade;
  proxy_set_header Connection $connection_upgrade;
  proxy_set_header X-Real-IP $remote_addr;
  proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
  proxy_set_header X-Forwarded-Proto $stack_proto;
  proxy_set_header X-Forwarded-Host $http_host;
  proxy_set_header X-Request-Id $stack_request_id;
  proxy_hide_header X-Request-Id;
  add_header X-Request-Id $stack_request_id always;
)";

// add_header here replaces the ones above, so the request id is named again.
constexpr const char* kMaintenance = R"(    error_page 503 /maintenance.html;
    location / {
      return 503;
    }
    location = /maintenance.html {
      internal;
      root .;
      add_header X-Request-Id $stack_request_id always;
      add_header Retry-After 30 always;
      add_header Cache-Control no-store always;
    }
)";

constexpr const char* kHealth = R"(    location = /health {
      default_type application/json;
      return 200 '{"status":"ok"}';
    }
)";

std::string route(const char* prefix, const std::string& upstream) {
  return std::string("    location ") + prefix + " {\n      proxy_pass http://" + upstream +
         ";\n    }\n";
}

/// `/fundraising/` is the gateway's own prefix and is taken off (`/fundraising/health` is the
/// service's `/health`); `/api/fundraising/` is a path of the service and stays.
std::string routes(const Endpoints& endpoints, bool has_fundraising) {
  std::string text;
  if (has_fundraising) {
    const std::string service =
        endpoints.fundraising_host + ":" + std::to_string(endpoints.fundraising_port);
    text += route("/fundraising/", service + "/") + route("/api/fundraising/", service);
  }
  return text + route("/", endpoints.server_host + ":" + std::to_string(endpoints.server_port));
}

/// On one host everything stays on loopback; in a container the pod's address is what counts.
std::string listener(const Endpoints& endpoints, int port, const std::string& locations) {
  const std::string address = endpoints.gateway_host == "127.0.0.1" ? "127.0.0.1:" : "";
  return "  server {\n    listen " + address + std::to_string(port) + ";\n" + locations + "  }\n";
}

}  // namespace

std::string gateway_configuration(const Endpoints& endpoints, bool has_fundraising, bool open) {
  const std::string through = routes(endpoints, has_fundraising);
  return kHead +
         listener(endpoints, endpoints.gateway_port,
                  std::string(kHealth) + (open ? through : kMaintenance)) +
         listener(endpoints, endpoints.gateway_closed_port, kMaintenance) +
         listener(endpoints, endpoints.gateway_private_port, kHealth + through) + "}\n";
}

std::string maintenance_page() {
  return R"(<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="refresh" content="30">
<title>Maintenance</title>
<style>
body { font-family: system-ui, sans-serif; margin: 20vh auto; max-width: 30rem; padding: 0 1rem; color: #222; background: #fff; }
@media (prefers-color-scheme: dark) { body { color: #ddd; background: #111; } }
</style>
</head>
<body>
<h1>Back in a moment</h1>
<p>This system is being upgraded. Your data is safe; this page looks again every 30 seconds.</p>
</body>
</html>
)";
}

}  // namespace stackspec
