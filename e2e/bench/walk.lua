-- A script for wrk: walks the lines "METHOD PATH" of the file named by REQUESTS; a PUT sends SIZE bytes.
local requests, body, next_one, refused = {}, "", 0, 0

function init(args)
  for line in io.lines(os.getenv("REQUESTS")) do
    local method, path = line:match("^(%S+) (%S+)$")
    requests[#requests + 1] = { method = method, path = path }
  end
  body = string.rep("s", tonumber(os.getenv("SIZE")))
end

function request()
  next_one = next_one % #requests + 1
  local one = requests[next_one]
  if one.method == "PUT" then
    return wrk.format("PUT", one.path, { ["Content-Length"] = #body }, body)
  end
  return wrk.format(one.method, one.path)
end

function response(status, headers, answer)
  if status >= 300 then
    refused = refused + 1
    if refused == 1 then io.stderr:write(status, " ", answer:sub(1, 300), "\n") end
  end
end

function done(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format('{"requests": %d, "seconds": %.6f, "p50": %.6f, "p99": %.6f, "errors": %d}\n',
    summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e6, latency:percentile(99) / 1e6,
    errors.status + errors.connect + errors.read + errors.write + errors.timeout))
end
